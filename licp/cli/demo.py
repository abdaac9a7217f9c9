"""``licp demo``: a generated template and scan, morphed and drawn."""

from pathlib import Path

import click
import numpy as np

from licp.cli.group import EPILOG
from licp.cli.outputs import FILE, check_outputs, draw, end, progress, summary, write_report
from licp.errors import OutputError
from licp.io import load_mesh
from licp.morph import Morpher

__all__ = ["demo"]


@click.command(epilog=EPILOG)
@click.option(
    "-o",
    "--output",
    type=FILE,
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
    check_outputs(names, [])
    if not quiet:
        click.echo(
            "Morphing the demo template to the demo scan.  The first run after installation "
            "compiles, which takes longer than the morph."
        )
    scan = load_mesh(SCAN)
    with progress(quiet) as callback:
        result = Morpher(TEMPLATE).morph(scan, callback=callback)
    result.save(names[0])
    write_report(names[1], result, {"template": TEMPLATE.name, "scan": SCAN.name}, False)
    draw(result, scan, names[2], "mm")
    if not quiet:
        click.echo(summary(result, "mm"))
        with np.load(TRUTH) as truth:
            off = np.linalg.norm(result.vertices - truth["gt_vertices"], axis=1)[truth["covered"]]
        click.echo(
            f"  from where the vertices truly are: mean {off.mean():.2f}, median "
            f"{np.median(off):.2f} mm, where the scan shows them"
        )
        click.echo("written: " + ", ".join(map(str, names)))
    end(result)
