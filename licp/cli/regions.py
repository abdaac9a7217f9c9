"""``licp regions``: the regions of one template on another."""

from pathlib import Path

import click

from licp.cli.group import EPILOG
from licp.cli.outputs import FILE, check_outputs
from licp.files import named
from licp.io import load_mesh
from licp.landmark_file import load_landmarks
from licp.region_transfer import transfer_regions
from licp.regions import Regions

__all__ = ["regions"]


@click.command(epilog=EPILOG)
@click.argument("template", type=FILE)
@click.argument("known", metavar="REGIONS", type=FILE)
@click.argument("other", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="Regions of OTHER: .json.")
@click.option(
    "--landmarks", type=FILE, help="Of TEMPLATE on OTHER; as for `licp morph`, see the README."
)
@click.option("-q", "--quiet", is_flag=True, help="No summary.")
def regions(
    template: Path, known: Path, other: Path, output: Path, landmarks: Path | None, quiet: bool
) -> None:
    """Find the REGIONS of TEMPLATE, as JSON {name: [vertices], ...}, on the template OTHER.

    The generated template that comes with licp has regions: licp.demo.TEMPLATE, licp.demo.REGIONS.
    """
    named(output, ".json", "regions")
    check_outputs([output], [template, known, other, landmarks])
    source, target = load_mesh(template), load_mesh(other)
    subsets = Regions.load(known, source)
    marks = None if landmarks is None else load_landmarks(landmarks, source)
    found = transfer_regions(subsets, source, target, landmarks=marks)
    found.save(output)
    if not quiet:
        sizes = ", ".join(f"{name} {len(ids)}" for name, ids in found.items())
        click.echo(f"{output}: vertices of {target.name}: {sizes}")
