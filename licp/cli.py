"""The command line: ``licp morph``, ``licp demo`` and ``licp info``."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
from tqdm import tqdm

from licp import __version__
from licp.errors import InputError, LicpError, OutputError, OverlapError
from licp.io import check_output, check_place, load_mesh, write_file
from licp.landmark_file import load_landmarks
from licp.mesh import Mesh
from licp.morph import Iteration, Morpher
from licp.result import MorphResult
from licp.schedule import Schedule

__all__ = ["main"]

_NOT_CONVERGED = 6
_INTERRUPTED = 130
_EXIT_CODES: tuple[tuple[type[LicpError], int], ...] = (
    (OverlapError, 4),
    (OutputError, 5),
    (InputError, 3),
    (LicpError, 1),
)
_EPILOG = """\b
Exit codes:
  0    done
  1    internal error
  2    wrong usage
  3    input that cannot be used: meshes, landmarks, values
  4    template and scan do not overlap
  5    output that cannot be written
  6    done and written, but not converged
  130  interrupted
"""


class _Group(click.Group):
    """Commands whose errors end in one line and a documented exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LicpError as error:
            message = " ".join(str(error).split())
            code = next(code for kind, code in _EXIT_CODES if isinstance(error, kind))
        except KeyboardInterrupt:
            message, code = "interrupted", _INTERRUPTED
        click.echo(f"licp: error: {message}", err=True)
        ctx.exit(code)


_FILE = click.Path(path_type=Path)


@click.group(cls=_Group, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="licp")
def main() -> None:
    """Morph a template head mesh to 3D head scans."""


@main.command(epilog=_EPILOG)
@click.argument("template", type=_FILE)
@click.argument("scan", type=_FILE)
@click.option(
    "-o", "--output", type=_FILE, required=True, help="Morphed template: .obj, .ply or .glb."
)
@click.option(
    "--landmarks",
    type=_FILE,
    help="Text (vertex x y z [confidence] a line) or JSON; see the README.",
)
@click.option("--json", "report", type=_FILE, help="Write a report: similarity, quality, history.")
@click.option("--picture", type=_FILE, help="Write a .png of scan, fit and distances.")
@click.option(
    "--start",
    type=click.Choice(["global", "landmarks"]),
    help="Where the pose comes from.  [default: landmarks if there are four, else global]",
)
@click.option("--rigid", is_flag=True, help="Keep the scale: both are in one unit, of one size.")
@click.option("--threads", type=click.IntRange(1), help="[default: all processors]")
@click.option("--levels", type=click.IntRange(1), help="Stages of the schedule.  [default: 16]")
@click.option(
    "--backend", type=click.Choice(["cholmod", "scipy"]), help="[default: the faster one there is]"
)
@click.option(
    "--vertex-data",
    is_flag=True,
    help="Put state, residual and confidence of every vertex into the report.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress bar, no summary.")
def morph(
    template: Path,
    scan: Path,
    output: Path,
    landmarks: Path | None,
    report: Path | None,
    picture: Path | None,
    start: str | None,
    rigid: bool,
    threads: int | None,
    levels: int | None,
    backend: Any,
    vertex_data: bool,
    quiet: bool,
) -> None:
    """Morph TEMPLATE to SCAN.

    The output has the vertices and faces of TEMPLATE, in their order, in the frame of SCAN.
    """
    if start == "landmarks" and landmarks is None:
        raise click.UsageError("--start landmarks needs --landmarks")
    if vertex_data and report is None:
        raise click.UsageError("--vertex-data goes into the report, so it needs --json")
    check_output(output)
    if picture is not None and picture.suffix.lower() != ".png":
        raise OutputError(f"{picture}: pictures are written as .png")
    _check_outputs([output, report, picture], [template, scan, landmarks])
    model, target = load_mesh(template), load_mesh(scan)
    marks = None if landmarks is None else load_landmarks(landmarks, model)
    schedule = None if levels is None else Schedule.progressive(levels)
    with _progress(quiet) as callback:
        result = Morpher(model, schedule=schedule, backend=backend).morph(
            target, landmarks=marks, start=start, rigid=rigid, threads=threads, callback=callback
        )
    result.save(output)
    if report is not None:
        about = {"template": str(template), "scan": str(scan), "output": str(output)}
        _write_report(report, result, about, vertex_data)
    if picture is not None:
        _draw(result, target, picture)
    if not quiet:
        click.echo(f"{output}: {_summary(result)}")
    _exit(result)


@main.command(epilog=_EPILOG)
@click.option(
    "-o",
    "--output",
    type=_FILE,
    default=Path("licp_demo"),
    show_default=True,
    help="Folder, made if it is not there.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress bar, no summary.")
def demo(output: Path, quiet: bool) -> None:
    """Morph a generated template to a generated scan and draw it."""
    from licp.demo import SCAN, TEMPLATE, TRUTH

    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{output}: cannot be made: {error.strerror or error}") from error
    names = [output / "morph.obj", output / "report.json", output / "demo.png"]
    _check_outputs(names, [])
    if not quiet:
        click.echo(
            "Morphing the demo template to the demo scan.  The first run after installation "
            "compiles, which takes longer than the morph."
        )
    scan = load_mesh(SCAN)
    with _progress(quiet) as callback:
        result = Morpher(TEMPLATE).morph(scan, callback=callback)
    result.save(names[0])
    _write_report(names[1], result, {"template": TEMPLATE.name, "scan": SCAN.name}, False)
    _draw(result, scan, names[2], "mm")
    if not quiet:
        click.echo(_summary(result, "mm"))
        with np.load(TRUTH) as truth:
            off = np.linalg.norm(result.vertices - truth["gt_vertices"], axis=1)[truth["covered"]]
        click.echo(
            f"  from where the vertices truly are: mean {off.mean():.2f}, median "
            f"{np.median(off):.2f} mm, where the scan shows them"
        )
        click.echo("written: " + ", ".join(map(str, names)))
    _exit(result)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(as_json: bool) -> None:
    """Show versions, processors, BLAS, back end, and what would be faster."""
    from licp.info import describe, installation

    found = installation()
    click.echo(json.dumps(found, indent=2) if as_json else describe(found))


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[Iteration], None]]:
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


def _check_outputs(outputs: Sequence[Path | None], inputs: Sequence[Path | None]) -> None:
    """Say before long work what cannot be written, or would overwrite something needed."""
    there = [p.resolve() for p in inputs if p is not None]
    for path in outputs:
        if path is None:
            continue
        check_place(path)
        if path.resolve() in there:
            raise OutputError(f"{path}: is an input or another output; choose another name")
        there.append(path.resolve())


def _write_report(
    path: Path, result: MorphResult, about: dict[str, str], vertex_data: bool
) -> None:
    report = {"licp": __version__, **about, **result.to_dict(vertex_data)}
    write_file(path, (json.dumps(report, indent=2, allow_nan=False) + "\n").encode())


def _draw(result: MorphResult, scan: Mesh, path: Path, unit: str = "unit of the scan") -> None:
    from licp.render import figure_fit  # Matplotlib takes a while to load

    figure_fit(result, scan, path, unit=unit)


def _summary(result: MorphResult, unit: str = "in the unit of the scan") -> str:
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
    lines += [
        f"  flipped faces {q.flipped_faces}, self-intersections {q.self_intersections} "
        f"(template {q.rest_self_intersections})",
        f"  {sum(result.seconds.values()):.1f} s, {result.backend}, {result.threads} threads",
    ]
    return "\n".join(lines)


def _exit(result: MorphResult) -> None:
    if not result.converged:
        step = result.history[-1].step
        click.echo(
            f"licp: warning: not converged: the last step moved {step:.2%} of the template's size",
            err=True,
        )
        click.get_current_context().exit(_NOT_CONVERGED)
