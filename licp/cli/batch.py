"""``licp batch``: one template, a folder of scans or a data set, as often as it takes."""

import sys
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from licp.batch.dispatch import Failure, dispatch, open_executor
from licp.batch.fit import FitJob, fit_to_files, load_template_landmarks
from licp.batch.records import Records, manifest
from licp.batch.sources import Source, folder_meshes, folder_sources, headspace_sources
from licp.cli.group import EPILOG, SOME_FAILED
from licp.cli.outputs import BACKEND, FILE, LEVELS, REGIONS, chosen_schedule
from licp.errors import DatasetError, DatasetWarning, InputError
from licp.files import sole_writer
from licp.headspace import Headspace
from licp.io import load_mesh
from licp.morph import Morpher
from licp.regions import Regions

__all__ = ["batch"]

# Seconds between lines of progress where there is no terminal, and between tables.
_TICK = 30.0
# Seconds between looks at whether a cluster has workers.
_LOOK = 10.0


@click.command(epilog=EPILOG)
@click.argument("root", type=FILE)
@click.option("--template", type=FILE, required=True, help="Mesh to be morphed.")
@click.option("-o", "--out", type=FILE, required=True, help="Folder, made if it is not there.")
@click.option(
    "--select",
    "filters",
    multiple=True,
    metavar="KEY=VALUE",
    help="Headspace subjects by metadata, all that are given: sex=female, age=2:15, "
    "cranial_hole=no, beard=none,stubble, has=landmarks.",
)
@click.option("--subjects", type=FILE, help="File with a list of Headspace subjects.")
@click.option("--workers", type=click.IntRange(1), help="[default: all processors]")
@click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler, such as tcp://10.0.0.1:8786.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Give a scan up after so long, and replace its worker.  [default: never]",
)
@click.option(
    "--landmarks/--no-landmarks",
    default=True,
    show_default=True,
    help="Use landmarks where there are any: of Headspace, if --template-landmarks are given; "
    "of SCAN.obj, the file SCAN.landmarks.txt or .json, as `licp morph` reads it.",
)
@click.option(
    "--template-landmarks",
    type=FILE,
    help="The 68 vertices of the template that are iBUG-68, from 0, -1 for none: text, or JSON "
    '[...] or {"landmarks": [...]}.',
)
@REGIONS
@click.option("--rigid", is_flag=True, help="Keep the scale: all are in one unit, of one size.")
@LEVELS
@BACKEND
@click.option(
    "--format",
    "ending",
    type=click.Choice(["ply", "obj", "glb"]),
    default="ply",
    show_default=True,
    help="Of the meshes.",
)
@click.option(
    "--vertex-data",
    is_flag=True,
    help="Put state, residual, confidence and expected error of every vertex into the reports.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress, no summary.")
def batch(
    root: Path,
    template: Path,
    out: Path,
    filters: tuple[str, ...],
    subjects: Path | None,
    workers: int | None,
    scheduler: str | None,
    timeout: float | None,
    landmarks: bool,
    template_landmarks: Path | None,
    regions: Path | None,
    rigid: bool,
    levels: int | None,
    backend: Any,
    ending: str,
    vertex_data: bool,
    quiet: bool,
) -> None:
    """Morph a template to all scans in ROOT: a Headspace tree, or a folder of .obj and .ply.

    Landmarks that cannot be used are left out, and the reports and tables say so.  With --regions,
    what Headspace says of holes, hair and cap is used, and they say how.

    OUT gets meshes/KEY.ply, reports/KEY.json, quality.csv (and .parquet, if pyarrow is there),
    failures.csv, and manifest.json, which says what was done with what.  Stopped in whatever way,
    the same command goes on where it was: scans are done again only if they failed, if their
    file, landmarks, mesh or report changed, if what Headspace says of them did, or if the template,
    the settings or the version of licp did.
    """
    if workers is not None and scheduler is not None:
        raise click.UsageError("--workers are of this machine, a --scheduler has its own")
    if timeout is not None and scheduler is not None:
        raise click.UsageError("--timeout ends workers of this machine, not those of a --scheduler")
    mesh = load_mesh(template)
    subsets = None if regions is None else Regions.load(regions, mesh)
    schedule = chosen_schedule(subsets, levels)
    recipe = partial(Morpher, mesh, schedule=schedule, regions=subsets, backend=backend, threads=1)
    morpher = recipe()  # refuses now what would fail in every worker
    marks = None
    if template_landmarks is not None and landmarks:
        marks = load_template_landmarks(template_landmarks, mesh)
    with _shown_warnings():
        sources = _sources(root, template, filters, subjects, landmarks, marks is not None)
    settings = {
        "schedule": asdict(schedule),
        "rigid": rigid,
        "landmarks": landmarks,
        "template_landmarks": None if marks is None else marks.tolist(),
        "regions": None if subsets is None else subsets.to_dict(),
        "format": ending,
        "vertex_data": vertex_data,
    }
    folder = out.resolve()
    click.get_current_context().with_resource(sole_writer(folder))
    records = Records(folder, manifest(template, settings, morpher.backend), f".{ending}")
    todo = [s for s in sources if not records.done(s.key, s.files, s.metadata)]
    if not quiet:
        _announce(records, len(sources), len(todo))

    def jobs() -> Iterator[tuple[str, FitJob]]:
        for s in todo:
            spots = marks if s.landmarks is True else s.landmarks or None
            known = s.scan, spots, s.files, s.metadata
            to = records.mesh(s.key), records.report(s.key), records.digest
            yield s.key, FitJob(s.key, *known, rigid, *to, vertex_data)

    try:
        if todo:
            with (
                _executor(scheduler) as executor,
                open_executor(executor, workers, None, timeout) as opened,
            ):
                outcomes = dispatch(fit_to_files, recipe, jobs(), *opened)
                _follow(outcomes, records, len(sources), len(todo), quiet)
    except BaseException:
        records.reload()
        raise
    finally:
        records.write_tables()
    keys = {s.key for s in sources}
    failed = [row for key, row in sorted(records.failures.items()) if key in keys]
    if not quiet:
        _summarise(records, keys, failed)
    if failed:
        click.get_current_context().exit(SOME_FAILED)


def _sources(
    root: Path,
    template: Path,
    filters: tuple[str, ...],
    subjects: Path | None,
    landmarks: bool,
    known: bool,
) -> list[Source]:
    """Of Headspace where there is one, for meshes may lie beside it; else the folder's scans."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    meshes = folder_meshes(root, template)
    try:
        tree = Headspace(root)
        # Folders of scans may have others in them that are named by numbers.
        if meshes and not any("scan" in subject.parts for subject in tree):
            raise DatasetError(f"no scan in {tree.path}")
    except DatasetError as error:
        if not meshes:
            raise DatasetError(
                f"{error}; nor is there an .obj or .ply beside the template"
            ) from None
        if filters or subjects is not None:
            raise click.UsageError(
                "--select and --subjects need a Headspace tree, not a plain folder"
            ) from None
        return folder_sources(root, landmarks, template)
    if meshes:
        warnings.warn(
            f"{root} holds a Headspace tree, whose subjects are taken; its {len(meshes)} files "
            f".obj and .ply ({meshes[0].name}{', ...' * (len(meshes) > 1)}) are not",
            DatasetWarning,
            stacklevel=2,
        )
    found = headspace_sources(tree, filters, subjects, landmarks and known)
    if not found:
        raise InputError(f"{root}: no subject is left by --select and --subjects")
    return found


@contextmanager
def _executor(scheduler: str | None) -> Iterator[Executor | None]:
    """A Dask cluster's executor, or nothing for processes of this machine."""
    if scheduler is None:
        yield None
        return
    try:
        from distributed import Client
    except ImportError:
        raise InputError("--scheduler needs Dask: pip install 'licp[dask]'") from None
    try:
        client = Client(scheduler, timeout=30)
    except (OSError, ValueError) as error:
        raise InputError(f"no Dask scheduler answers at {scheduler}: {error}") from error
    with client, _told_of_waiting(client):
        yield client.get_executor(pure=False)


@contextmanager
def _told_of_waiting(client: Any) -> Iterator[None]:
    """Say when a cluster has no workers: its jobs wait for some to come, for ever if need be."""
    over = threading.Event()

    def look() -> None:
        waiting = False
        while not over.wait(_LOOK):
            try:
                empty = not client.nthreads()
            except Exception:  # the connection: the jobs' to report
                continue
            if empty and not waiting:
                tqdm.write("the cluster has no workers: waiting for some", file=sys.stderr)
            waiting = empty

    threading.Thread(target=look, daemon=True).start()
    try:
        yield
    finally:
        over.set()


@contextmanager
def _shown_warnings() -> Iterator[None]:
    """What a data set warns of, as lines on standard error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DatasetWarning)
        yield
    for warning in caught:
        click.echo(f"licp: warning: {warning.message}", err=True)


def _announce(records: Records, count: int, todo: int) -> None:
    if records.changed:
        click.echo(f"changed: {', '.join(records.changed)}; everything is done again")
    if todo < count:
        click.echo(f"{count} scans, {count - todo} of them done before")


def _follow(
    outcomes: Iterator[tuple[str, Any]], records: Records, count: int, todo: int, quiet: bool
) -> None:
    """Take notes of all outcomes, with a bar on a terminal and lines elsewhere."""
    terminal = sys.stderr.isatty()
    failed = flagged = 0
    last = time.monotonic()
    with tqdm(
        total=count,
        initial=count - todo,
        unit="scan",
        smoothing=0.0,
        file=sys.stderr,
        disable=quiet or not terminal,
    ) as bar:
        start = last
        for number, (key, outcome) in enumerate(outcomes, 1):
            if isinstance(outcome, Failure):
                records.fail(outcome)
                failed += 1
                if not quiet:
                    tqdm.write(
                        f"{key}: failed ({outcome.phase}): {_line(outcome.message)}",
                        file=sys.stderr,
                    )
            else:
                records.add(key, outcome)
                flagged += bool(outcome["flags"])
            bar.set_postfix(failed=failed, flagged=flagged, refresh=False)
            bar.update()
            now = time.monotonic()
            if now - last > _TICK:
                last = now
                records.write_tables()
                if not (quiet or terminal):
                    line = tqdm.format_meter(number, todo, now - start, unit="scan", ncols=0)
                    click.echo(f"{line}, failed={failed}, flagged={flagged}", err=True)


def _summarise(records: Records, keys: set[str], failed: list[dict[str, Any]]) -> None:
    rows = [row for key, row in sorted(records.rows.items()) if key in keys]
    doubtful = [row for row in rows if row["flags"]]
    click.echo(f"{len(rows)} done, {len(doubtful)} of them flagged; {len(failed)} failed")
    for title, lines in (
        ("flagged:", [f"  {row['key']}: {row['flags']}" for row in doubtful]),
        ("notes:", [f"  {row['key']}: {_line(row['notes'])}" for row in rows if row["notes"]]),
        (
            "failed, to be tried again by the next start:",
            [f"  {r['key']} ({r['phase']}): {r['error']}: {_line(r['message'])}" for r in failed],
        ),
    ):
        if lines:
            click.echo(title)
            click.echo("\n".join(lines[:20]))
            if len(lines) > 20:
                click.echo(f"  ... and {len(lines) - 20} more")
    tables = (
        click.format_filename(records.folder / f"{name}.csv") for name in ("quality", "failures")
    )
    click.echo(f"tables: {', '.join(tables)}")


def _line(message: str) -> str:
    return " ".join(message.split())[:200]
