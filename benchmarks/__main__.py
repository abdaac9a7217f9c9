"""Command line of the benchmarks."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

from benchmarks import batch as batches
from benchmarks import robust as robustness
from benchmarks import scale as growth
from benchmarks.ablate import Ablation
from benchmarks.compare import STARTS, Comparison, Plan
from benchmarks.heads import HeadSet, find_sets
from benchmarks.peers import METHODS
from benchmarks.report import include, keep_pictures
from licp.threads import search_threads

_OUT = Path("benchmark-results")
# Of what compare draws, those that show generated heads alone, or none.
_PICTURES = {
    "error-versus-time.png": "Error against time",
    "errors-generated-own.png": "Errors on a generated head",
}
_Command = Callable[..., None]

_SETS = click.option(
    "--sets", multiple=True, metavar="SET",
    help="generated, ict, mh, or a folder of scan_XXX.ply and gt_XXX.npz; repeatable.  "
    "All that are there if not given.",
)  # fmt: skip
_DATA = click.option(
    "--data", type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder that holds scanlike_ict, scanlike_mh and their templates.  [default: "
    "../shared/data beside the checkout]",
)  # fmt: skip
_TEMPLATE = click.option(
    "--template", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Template of a folder given with --sets.  [default: its template.obj]",
)  # fmt: skip
_HEADS = click.option("--heads", type=click.IntRange(1), help="At most so many heads of each set.")
_THREADS = click.option(
    "--threads", type=click.IntRange(1), help="[default: all usable processors]"
)
_README = click.option(
    "--readme", is_flag=True, help="Put tables and two of the pictures into benchmarks/README.md."
)


def _common(name: str, quick: str) -> Callable[[_Command], _Command]:
    """The options that all commands but compare have, and no others."""
    first = (
        click.option("--quick", is_flag=True, help=quick),
        click.option(
            "--out", type=click.Path(file_okay=False, path_type=Path), default=_OUT / name,
            show_default=True, help="Folder for results.json, table.md and pictures.",
        ),
        _SETS, _DATA, _TEMPLATE, _HEADS, _README,
    )  # fmt: skip

    def decorate(command: _Command) -> _Command:
        for option in reversed(first):
            command = option(command)
        return command

    return decorate


def _found(
    sets: tuple[str, ...], data: Path | None, template: Path | None, heads: int | None, quick: bool
) -> list[HeadSet]:
    """The sets; generated heads are small in quick runs."""
    try:
        found = find_sets(sets, data, template, heads)
    except FileNotFoundError as error:
        raise click.UsageError(str(error)) from error
    if quick:
        found = [replace(s, resolution=2000, scan_vertices=12000) for s in found]
    return found


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measure licp.  Results are written to benchmark-results/COMMAND, or where --out says."""


@main.command()
@click.option(
    "--quick",
    is_flag=True,
    help="One head of each set, from its own alignment, without slow peers.",
)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=_OUT / "compare",
    show_default=True, help="Folder for results.json, table.md, fits and pictures.",
)  # fmt: skip
@_SETS
@_DATA
@_TEMPLATE
@_HEADS
@click.option(
    "--methods", multiple=True, type=click.Choice(tuple(METHODS)),
    help="Only these; repeatable.  All that are installed if not given.",
)  # fmt: skip
@click.option(
    "--starts", multiple=True, type=click.Choice(STARTS),
    help="Only this start: the method's own alignment, or the true pose disturbed by 2 degrees "
    "and 3 mm.",
)  # fmt: skip
@click.option(
    "--repeats", type=click.IntRange(1),
    help="Timed calls, 3 by default; what takes more than 10 s is called once.",
)  # fmt: skip
@click.option(
    "--timeout", type=float, default=1200.0, show_default=True,
    help="Seconds until a method is given up on a head.",
)  # fmt: skip
@_THREADS
@click.option("--seed", type=int, default=0, show_default=True, help="Of the disturbed poses.")
@click.option(
    "--keep", is_flag=True,
    help="Add to the results in --out: only what is run again is replaced.",
)  # fmt: skip
@_README
@click.option("--draw", is_flag=True, help="Run nothing: tables and pictures of the results.")
def compare(
    quick: bool,
    out: Path,
    sets: tuple[str, ...],
    data: Path | None,
    template: Path | None,
    heads: int | None,
    methods: tuple[str, ...],
    starts: tuple[str, ...],
    repeats: int | None,
    timeout: float,
    threads: int | None,
    seed: int,
    keep: bool,
    readme: bool,
    draw: bool,
) -> None:
    """Compare licp with its peers on scans whose truth is known."""
    found = _found(sets, data, template, heads or (1 if quick else None), quick)
    plan = Plan(
        methods or tuple(METHODS),
        starts or (STARTS[:1] if quick else STARTS),
        repeats or (1 if quick else 3),
        timeout=timeout,
        threads=search_threads(threads),
        seed=seed,
        longest=13.0 if quick else math.inf,
    )
    comparison = Comparison(out, keep or draw)
    if not draw:
        for record in comparison.run(plan, found):
            told = record["failure"] or (
                f"{record['measures']['covered']['mean']:.2f} mm, {min(record['seconds']):.2f} s"
            )
            names = (record[k] for k in ("set", "head", "method", "start"))
            click.echo(f"{'  '.join(names)}: {told}", err=True)
    comparison.write()
    for path in comparison.pictures(found):
        click.echo(path, err=True)
    click.echo(comparison.markdown())
    if readme:
        include("compare", comparison.markdown() + keep_pictures(out, _PICTURES))


@main.command()
@_common("scale", "Small templates and scans, no subdivided ones.")
@_THREADS
def scale(
    quick: bool,
    out: Path,
    sets: tuple[str, ...],
    data: Path | None,
    template: Path | None,
    heads: int | None,
    readme: bool,
    threads: int | None,
) -> None:
    """Time and memory as templates and scans grow; factors, back ends, threads.

    Of other sets than the generated heads, the first head is subdivided.
    """
    found = _found(sets, data, template, heads, quick)
    plan = growth.QUICK if quick else growth.FULL
    results = growth.Scale(out)
    for line in results.run(plan, found, search_threads(threads)):
        click.echo(line, err=True)
    _finish("scale", results, readme)


@main.command()
@_common("ablate", "One head of each set.")
def ablate(
    quick: bool,
    out: Path,
    sets: tuple[str, ...],
    data: Path | None,
    template: Path | None,
    heads: int | None,
    readme: bool,
) -> None:
    """Switch off each ingredient of the default in turn, on one thread."""
    found = _found(sets, data, template, heads or (1 if quick else None), quick)
    results = Ablation(out)
    for record in results.run(found, 1):
        told = record["failure"] or f"{record['measures']['covered']['mean']:.2f} mm"
        names = (record[key] for key in ("set", "head", "ingredient", "instead"))
        click.echo(f"{'  '.join(names)}: {told}", err=True)
    _finish("ablate", results, readme)


@main.command()
@_common("robust", "One head of each set, every third level, 16 poses instead of 200.")
@_THREADS
def robust(
    quick: bool,
    out: Path,
    sets: tuple[str, ...],
    data: Path | None,
    template: Path | None,
    heads: int | None,
    readme: bool,
    threads: int | None,
) -> None:
    """Error against holes, noise, spikes, ears, open mouths, bodies, faces alone, poses.

    Three heads of each set unless --heads says otherwise.
    """
    found = _found(sets, data, template, heads or (1 if quick else 3), quick)
    plan = robustness.QUICK if quick else robustness.FULL
    results = robustness.Robustness(out)
    for line in results.run(plan, found, search_threads(threads)):
        click.echo(line, err=True)
    _finish("robust", results, readme)


@main.command()
@_common("batch", "Two turns of 12 scans instead of five of 40.")
@click.option("--workers", type=click.IntRange(1), help="[default: all usable processors]")
@click.option("--scans", type=click.IntRange(8), help="Morphs a turn.")
def batch(
    quick: bool,
    out: Path,
    sets: tuple[str, ...],
    data: Path | None,
    template: Path | None,
    heads: int | None,
    readme: bool,
    workers: int | None,
    scans: int | None,
) -> None:
    """Scans a minute of one worker and of several, in turns, and the memory of the largest.

    Generated heads unless --sets says otherwise.
    """
    found = _found(sets or ("generated",), data, template, heads, quick)
    plan = batches.QUICK if quick else batches.FULL
    plan = plan if scans is None else replace(plan, scans=scans)
    results = batches.Batches(out)
    for line in results.run(plan, found, search_threads(workers)):
        click.echo(line, err=True)
    _finish("batch", results, readme)


def _finish(
    name: str,
    results: growth.Scale | Ablation | robustness.Robustness | batches.Batches,
    readme: bool,
) -> None:
    """Tables and pictures."""
    results.write()
    for path in results.pictures():
        click.echo(path, err=True)
    click.echo(results.markdown())
    if readme:
        include(name, results.markdown())


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
