"""``licp info``: what is installed."""

import json

import click

__all__ = ["info"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(as_json: bool) -> None:
    """Show versions, processors, BLAS, back ends and compiled kernels."""
    from licp.info import describe, installation

    found = installation()
    click.echo(json.dumps(found, indent=2) if as_json else describe(found))
