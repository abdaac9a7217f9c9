"""What commands share: options, progress, checks of output paths, reports, summaries."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import click
from tqdm import tqdm

from licp import __version__
from licp.cli.group import NOT_CONVERGED
from licp.errors import OutputError
from licp.files import check_place, write_file
from licp.mesh import Mesh
from licp.morph import Iteration
from licp.regions import Regions
from licp.result import MorphResult
from licp.schedule import Schedule
from licp.solver import Backend, default_backend

__all__ = [
    "BACKEND",
    "FILE",
    "LEVELS",
    "REGIONS",
    "check_outputs",
    "chosen_schedule",
    "companions",
    "draw",
    "end",
    "progress",
    "summary",
    "write_report",
]

FILE = click.Path(path_type=Path)
LEVELS = click.option(
    "--levels",
    type=click.IntRange(1),
    help=f"Stages of the schedule.  [default: {len(Schedule.progressive())}]",
)
BACKEND = click.option(
    "--backend",
    type=click.Choice(get_args(Backend)),
    help=f"[default: {default_backend()}]",
)
REGIONS = click.option(
    "--regions", type=FILE, help='JSON {"name": [vertices of the template], ...}.'
)


@contextmanager
def progress(quiet: bool) -> Iterator[Callable[[Iteration], None]]:
    """Callback that moves a bar on a terminal, and does nothing elsewhere."""
    with tqdm(
        total=0,
        desc="aligning",
        unit="step",
        leave=False,
        file=sys.stderr,
        disable=quiet or not sys.stderr.isatty(),
    ) as bar:

        def show(iteration: Iteration) -> None:
            bar.total = iteration.total
            bar.set_description("morphing", refresh=False)
            bar.set_postfix(matched=f"{iteration.matched:.0%}", refresh=False)
            bar.update(iteration.number - bar.n)

        yield show


def companions(*meshes: Mesh) -> list[Path]:
    """Files of materials and images that meshes were read with."""
    return [p for mesh in meshes for p in (mesh.mtllib, mesh.texture) if isinstance(p, Path)]


def check_outputs(outputs: Sequence[Path | None], inputs: Sequence[Path | None]) -> None:
    """Say before long work what cannot be written, or would overwrite something needed."""
    there = [p.resolve() for p in inputs if p is not None]
    for path in outputs:
        if path is None:
            continue
        check_place(path)
        if path.resolve() in there:
            raise OutputError(f"{path}: is an input or another output; choose another name")
        there.append(path.resolve())


def chosen_schedule(regions: Regions | None, levels: int | None) -> Schedule:
    """The default for a template with or without regions, with so many stages if that is said."""
    stages = {} if levels is None else {"levels": levels}
    if regions is None:
        return Schedule.progressive(**stages)
    return Schedule.regional(regions, **stages)


def write_report(path: Path, result: MorphResult, about: dict[str, str], vertex_data: bool) -> None:
    report = {"licp": __version__, **about, **result.to_dict(vertex_data)}
    write_file(path, (json.dumps(report, indent=2, allow_nan=False) + "\n").encode())


def draw(result: MorphResult, scan: Mesh, path: Path, unit: str = "unit of the scan") -> None:
    from licp.render import figure_fit  # Matplotlib takes a while to load

    figure_fit(result, scan, path, unit=unit)


def summary(result: MorphResult, unit: str = "in the unit of the scan") -> str:
    q = result.quality
    lines = [
        f"{len(result.vertices)} vertices, {result.matched:.0%} matched, "
        + ("converged" if result.converged else "NOT converged"),
        f"  template seen {q.template_seen:.0%}, scan explained {q.scan_explained:.0%}",
    ]
    for name, d in (
        ("template to scan", q.template_to_scan),
        ("scan to template", q.scan_to_template),
    ):
        if d is not None:
            lines.append(f"  {name}: median {d.median:.3g}, 95 % below {d.p95:.3g} {unit}")
    lines.append(f"  expected error: mean {result.mean_expected_error:.3g} {unit}")
    lines += [f"  {line}" for line in result.adjusted]
    if result.flags:
        lines.append(f"  look at it: {', '.join(result.flags)}")
    lines += [
        f"  flipped faces {q.flipped_faces}, self-intersections {q.self_intersections} "
        f"(template {q.rest_self_intersections})",
        f"  {sum(result.seconds.values()):.1f} s, {result.backend}, {result.threads} threads",
    ]
    return "\n".join(lines)


def end(result: MorphResult) -> None:
    if not result.converged:
        step = result.history[-1].step
        click.echo(
            f"licp: warning: not converged: the last step moved {step:.2%} of the template's size",
            err=True,
        )
        click.get_current_context().exit(NOT_CONVERGED)
