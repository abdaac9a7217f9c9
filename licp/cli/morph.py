"""``licp morph``: one template, one scan."""

from pathlib import Path
from typing import Any

import click

from licp.cli.group import EPILOG
from licp.cli.outputs import (
    BACKEND,
    FILE,
    LEVELS,
    REGIONS,
    check_outputs,
    chosen_schedule,
    companions,
    draw,
    end,
    progress,
    summary,
    write_report,
)
from licp.files import named
from licp.io import check_output, load_mesh
from licp.landmark_file import load_landmarks
from licp.morph import Morpher
from licp.regions import Regions

__all__ = ["morph"]


@click.command(epilog=EPILOG)
@click.argument("template", type=FILE)
@click.argument("scan", type=FILE)
@click.option(
    "-o", "--output", type=FILE, required=True, help="Morphed template: .obj, .ply or .glb."
)
@click.option(
    "--landmarks",
    type=FILE,
    help="Text (vertex x y z [confidence] a line) or JSON; see the README.",
)
@REGIONS
@click.option("--json", "report", type=FILE, help="Write a report: similarity, quality, history.")
@click.option("--picture", type=FILE, help="Write a .png of scan, fit and distances.")
@click.option(
    "--start",
    type=click.Choice(["global", "landmarks"]),
    help="Where the pose comes from.  [default: landmarks if there are four, else global]",
)
@click.option("--rigid", is_flag=True, help="Keep the scale: both are in one unit, of one size.")
@click.option("--threads", type=click.IntRange(1), help="[default: all processors]")
@LEVELS
@BACKEND
@click.option(
    "--vertex-data",
    is_flag=True,
    help="Put state, residual, confidence and expected error of every vertex into the report.",
)
@click.option("--unit", help="Of the scan, for what is said of lengths, such as mm.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar, no summary.")
def morph(
    template: Path,
    scan: Path,
    output: Path,
    landmarks: Path | None,
    regions: Path | None,
    report: Path | None,
    picture: Path | None,
    start: str | None,
    rigid: bool,
    threads: int | None,
    levels: int | None,
    backend: Any,
    vertex_data: bool,
    unit: str | None,
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
    if picture is not None:
        named(picture, ".png", "pictures")
    outputs = [output, report, picture]
    check_outputs(outputs, [template, scan, landmarks, regions])
    model, target = load_mesh(template), load_mesh(scan)
    check_outputs(outputs, companions(model, target))
    marks = None if landmarks is None else load_landmarks(landmarks, model)
    subsets = None if regions is None else Regions.load(regions, model)
    schedule = chosen_schedule(subsets, levels)
    with progress(quiet) as callback:
        morpher = Morpher(
            model, schedule=schedule, regions=subsets, backend=backend, threads=threads
        )
        result = morpher.morph(
            target, landmarks=marks, start=start, rigid=rigid, threads=threads, callback=callback
        )
    said = {"unit": unit} if unit else {}
    # The mesh last: what is written beside it takes names that are free.
    if report is not None:
        about = {"template": str(template), "scan": str(scan), "output": str(output)}
        write_report(report, result, about, vertex_data)
    if picture is not None:
        draw(result, target, picture, **said)
    result.save(output)
    if not quiet:
        click.echo(f"{output}: {summary(result, **said)}")
    end(result)
