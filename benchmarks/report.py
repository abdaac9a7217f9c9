"""What a benchmark leaves behind: JSON with everything, Markdown tables, pictures."""

import importlib.metadata
import io
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import licp
from licp.files import write_file
from licp.render import Frame, draw
from licp.solver import backends

__all__ = [
    "Panel",
    "bars",
    "curves",
    "environment",
    "error_versus_time",
    "heat_maps",
    "include",
    "keep_pictures",
    "provenance",
    "table",
    "write_json",
]

Floats = NDArray[np.float64]

README = Path(__file__).with_name("README.md")
_PANEL = (300, 350)
_DPI = 100
_PACKAGES = ("licp", "numpy", "scipy", "numba", "scikit-sparse")


def environment(threads: int) -> dict[str, Any]:
    """What ran where and when: command, date, machine, versions, commit, solver, threads."""
    return {
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{_processor()}, {_usable()} of {os.cpu_count()} processors usable",
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "commit": _commit(),
        "backend": backends()[0],
        "threads": threads,
    }


def provenance(runs: Sequence[dict[str, Any]]) -> str:
    """The lines under a table that say where it comes from."""
    lines = []
    for run in runs:
        versions = ", ".join(f"{name} {v}" for name, v in run["versions"].items() if v)
        lines.append(
            f"`{run['command']}`, {run['date']}, {run['machine']}, load {run['load']} at the "
            f"start, {run['threads']} threads allowed, Python {run['python']}, {versions}, commit "
            f"{run['commit']}, solver {run['backend']}."
        )
    return "\n".join(lines)


def write_json(path: Path, content: Any) -> None:
    """Write JSON; the file appears whole or not at all."""
    write_file(path, (json.dumps(content, indent=1) + "\n").encode())


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    rule = [":--"] + ["--:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def include(name: str, text: str, path: Path = README) -> None:
    """Put text between ``<!-- NAME -->`` and ``<!-- /NAME -->`` in a file."""
    whole = path.read_text("utf-8")
    before, opening, rest = whole.partition(f"<!-- {name} -->\n")
    _, closing, after = rest.partition(f"<!-- /{name} -->")
    if not (opening and closing):
        raise ValueError(f"{path} has no place for {name}")
    write_file(path, (before + opening + text.rstrip() + "\n" + closing + after).encode())


def keep_pictures(folder: Path, pictures: dict[str, str]) -> str:
    """Copy pictures (name: what they show) beside the README; Markdown that shows those there."""
    shown = ""
    for name, what in pictures.items():
        if (folder / name).is_file():
            write_file(README.with_name(name), (folder / name).read_bytes())
            shown += f"\n![{what}]({name})\n"
    return shown


def heat_maps(
    path: Path,
    title: str,
    columns: Sequence[tuple[str, Floats, Floats]],
    faces: NDArray[np.int64],
    shown: NDArray[np.bool_],
    limit: float = 8.0,
) -> None:
    """Write a picture of errors, one column a method, seen from the front and from the left.

    Parameters
    ----------
    path : Path
        A ``.png``.
    title : str
        Above everything.
    columns : sequence of (label, (n, 3) float64, (n,) float64)
        What is written above, vertices in a frame with y up and z forward, error of each, mm.
    faces : (m, 3) int64
        Of all columns.
    shown : (n,) bool
        Other vertices are grey.
    limit : float
        Error at the end of the colours, mm.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    (w, h), top, bar = _PANEL, 60, 90
    width, height = max(len(columns), 2) * w + bar, 2 * h + top
    figure = Figure((width / _DPI, height / _DPI), dpi=_DPI)
    canvas = FigureCanvasAgg(figure)
    colours = ScalarMappable(Normalize(0, limit), "viridis")
    figure.text(10 / width, 1 - 14 / height, title, va="center", fontsize=11)
    everything = np.concatenate([v for _, v, _ in columns])
    views: tuple[Literal["front", "profile"], ...] = ("front", "profile")
    frames = {view: Frame.around(everything, view, _PANEL) for view in views}
    for j, (label, vertices, error) in enumerate(columns):
        heat = np.where(shown[:, None], colours.to_rgba(error)[:, :3], 0.8)
        figure.text((j + 0.5) * w / width, 1 - 42 / height, label, ha="center", va="center")
        for i, (view, frame) in enumerate(frames.items()):
            picture = draw(
                (vertices, faces), view, size=_PANEL, frame=frame, colors=heat, relief=0.5
            )
            figure.figimage(picture, j * w, height - top - (i + 1) * h)
    axes = figure.add_axes((1 - 80 / width, 0.2, 16 / width, 0.55))
    figure.colorbar(colours, cax=axes, extend="max", label="error (mm)")
    _save(canvas, path)


def error_versus_time(
    path: Path, panels: Sequence[tuple[str, Sequence[tuple[str, str, float, float]]]]
) -> None:
    """Write a plot of error against time, one panel a set of heads.

    Parameters
    ----------
    path : Path
        A ``.png``.
    panels : sequence of (title, points)
        Each point is (method, start, seconds, error in mm).  Methods have colours, starts markers.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator, NullLocator

    methods = list(dict.fromkeys(p[0] for _, points in panels for p in points))
    starts = list(dict.fromkeys(p[1] for _, points in panels for p in points))
    colour = {m: f"C{k}" if k else "black" for k, m in enumerate(methods)}
    marker = dict(zip(starts, "os^v", strict=False))
    figure = Figure((4.4 * len(panels) + 2.6, 4.2), dpi=_DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for axes, (title, points) in zip(
        np.atleast_1d(figure.subplots(1, len(panels), sharey=True)), panels, strict=True
    ):
        for method, start, seconds, error in points:
            axes.plot(seconds, error, marker[start], color=colour[method], ms=8, alpha=0.85)
        axes.set(xscale="log", title=title, xlabel="seconds a head")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("mean error over covered vertices (mm)")
    keys = [
        Line2D([], [], color=colour[m], marker="o", ls="", label=m.replace("`", ""))
        for m in methods
    ]
    keys += [
        Line2D([], [], color="0.5", marker=marker[s], ls="", label=f"start: {s}") for s in starts
    ]
    figure.legend(handles=keys, loc="outside right upper", frameon=False)
    _save(canvas, path)


@dataclass(frozen=True)
class Panel:
    """One plot of curves: each a label, abscissae, ordinates and a style as Matplotlib has them."""

    title: str
    x: str
    y: str
    lines: Sequence[tuple[str, Sequence[float], Sequence[float], str]]
    log_x: bool = False
    log_y: bool = False


def curves(path: Path, panels: Sequence[Panel]) -> None:
    """Write panels of curves side by side as a ``.png``; linear ordinates start at zero."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    figure = Figure((4.4 * len(panels) + 2.0, 3.9), dpi=_DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    every = np.atleast_1d(figure.subplots(1, len(panels)))
    for axes, panel in zip(every, panels, strict=True):
        for label, x, y, style in panel.lines:
            axes.plot(x, y, style, ms=4, label=label)
        axes.set(title=panel.title, xlabel=panel.x, ylabel=panel.y)
        for log, axis, name in ((panel.log_x, axes.xaxis, "x"), (panel.log_y, axes.yaxis, "y")):
            if log:
                axes.set(**{name + "scale": "log"})
                axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                axis.set_major_formatter("{x:,.9g}")
                axes.tick_params(labelsize=8)
                axis.set_minor_locator(NullLocator())
        if not panel.log_y:
            axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    every[-1].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _save(canvas, path)


def bars(
    path: Path,
    title: str,
    labels: Sequence[str],
    series: Mapping[str, Sequence[tuple[float, float]]],
    limit: float = 30.0,
) -> None:
    """Write horizontal bars as a ``.png``; each series has a mean and its error a label.

    Bars longer than the limit are cut off, and say how long they are.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((10, 0.36 * len(labels) + 1.2), dpi=_DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    height = 0.8 / len(series)
    for k, (name, values) in enumerate(series.items()):
        mean, error = np.array(values, float).T
        y = np.arange(len(labels)) + (k - (len(series) - 1) / 2) * height
        axes.barh(y, mean, height, xerr=np.nan_to_num(error), color=f"C{k}", label=name)
        for at in np.flatnonzero(mean > limit):
            axes.text(0.99 * limit, y[at], f"{mean[at]:.0f}", ha="right", va="center", fontsize=7)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlim(*np.clip(axes.get_xlim(), -limit, limit))
    axes.set_xlabel(title)
    axes.axvline(0, color="0.3", lw=0.8)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(frameon=False)
    _save(canvas, path)


def _save(canvas: Any, path: Path) -> None:
    data = io.BytesIO()
    canvas.figure.savefig(data, format="png", dpi=_DPI, metadata={"Software": "licp"})
    write_file(path, data.getvalue())


def _usable() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    if package == "licp":
        return licp.__version__
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str:
    try:
        here = Path(__file__).parent
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True,
            check=True, timeout=20,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return told.stdout.strip()
