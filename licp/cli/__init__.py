"""The command line: the group of all commands."""

import click

from licp import __version__
from licp.cli.batch import batch
from licp.cli.demo import demo
from licp.cli.evaluate import evaluate
from licp.cli.group import EPILOG, Group
from licp.cli.info import info
from licp.cli.morph import morph
from licp.cli.regions import regions

__all__ = ["main"]


@click.group(cls=Group, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="licp")
def main() -> None:
    """Morph a template head mesh to 3D head scans."""


main.add_command(batch)
main.add_command(demo)
main.add_command(evaluate)
main.add_command(info)
main.add_command(morph)
main.add_command(regions)
