"""``licp evaluate``: what a batch is worth, in tables and pictures."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from tqdm import tqdm

from licp.batch.dispatch import Failure, dispatch, open_executor
from licp.batch.fit import load_template_landmarks
from licp.batch.sources import Source, folder_sources, headspace_sources
from licp.cli.group import EPILOG, SOME_FAILED
from licp.cli.outputs import FILE, REGIONS
from licp.errors import InputError, OutputError
from licp.evaluation.folder import Batch, open_batch
from licp.evaluation.page import page
from licp.evaluation.pictures import draw_pictures
from licp.evaluation.subject import Job, Known, Measures, measure
from licp.evaluation.summary import Summary, model_lacks, summarise, table
from licp.files import read_json, write_file
from licp.regions import Regions

__all__ = ["evaluate"]

# Samples along contours, a quarter of the kernel's width.
_SPACING = 0.00125


@click.command(epilog=EPILOG)
@click.argument("batch", type=FILE)
@click.option(
    "--data",
    type=FILE,
    help="The scans: what `licp batch` worked on.  Without them, only what the batch itself "
    "found, and the shape model.",
)
@click.option("--template", type=FILE, help="Where the template is now, if it was moved.")
@click.option(
    "--template-landmarks",
    type=FILE,
    help="The 68 vertices of the template that are iBUG-68, as `licp batch` reads them.  [default: "
    "the batch's]",
)
@REGIONS
@click.option(
    "--annotations",
    type=FILE,
    help="Folder of contours: KEY/contours.json, or KEY/VIEW.png painted in the colours of "
    "colours.json.",
)
@click.option("-o", "--out", type=FILE, help="Folder.  [default: BATCH/evaluation]")
@click.option("--workers", type=click.IntRange(1), help="[default: all processors]")
@click.option("-q", "--quiet", is_flag=True, help="No progress, no summary.")
def evaluate(
    batch: Path,
    data: Path | None,
    template: Path | None,
    template_landmarks: Path | None,
    regions: Path | None,
    annotations: Path | None,
    out: Path | None,
    workers: int | None,
    quiet: bool,
) -> None:
    """Measure the results of `licp batch` in BATCH.

    Landmark errors, distances to the scans by region, agreement of annotations, and the quality of
    the shape model: summary.md, subjects.csv, contours.csv, evaluation.json and pictures.
    """
    found = open_batch(batch, template)
    sources = {} if data is None else _sources(data, found)
    for name, value in (("annotations", annotations), ("regions", regions)):
        if value is not None and data is None:
            raise click.UsageError(f"--{name} need the scans: --data")
    folder = batch / "evaluation" if out is None else out
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror or error}") from error
    known = Known(
        found.template,
        _marks(found, template_landmarks),
        {} if regions is None else Regions.load(regions, found.template),
        _SPACING,
        _colours(annotations),
    )
    jobs = [
        (key, Job(key, found.mesh(key), sources.get(key), _drawings(annotations, key)))
        for key in found.reports
    ]
    if data is None and not quiet:
        click.echo("without --data: no landmarks, no distances by region", err=True)
    measures, failures = _measure(known, jobs, workers, quiet)
    if not measures:
        raise InputError(
            f"none of {len(jobs)} scans can be measured: {next(iter(failures.items()))}"
        )
    if data is None:  # that there are no scans is no fault of theirs
        measures = [replace(m, notes=[]) for m in measures]
    summary = summarise(found, measures, failures)
    _write(folder, summary)
    draw_pictures(folder, found, summary, measures, sources)
    if not quiet:
        click.echo(_words(summary, folder))
    if failures:
        click.get_current_context().exit(SOME_FAILED)


def _sources(data: Path, batch: Batch) -> dict[str, Source]:
    """The scans by key: of a plain folder, or of Headspace."""
    if not data.is_dir():
        raise InputError(f"{data}: no such folder")
    found = {s.key: s for s in folder_sources(data, True)}
    if not set(found) & set(batch.reports):
        found = {s.key: s for s in headspace_sources(data, (), None, True)}
    return found


def _marks(batch: Batch, path: Path | None) -> Any:
    if path is not None:
        return load_template_landmarks(path, batch.template)
    ids = batch.manifest.get("settings", {}).get("template_landmarks")
    return None if ids is None else np.array(ids, np.int64)


def _drawings(annotations: Path | None, key: str) -> Path | None:
    if annotations is None:
        return None
    if not annotations.is_dir():
        raise InputError(f"{annotations}: no such folder")
    return annotations / key


def _colours(annotations: Path | None) -> Mapping[str, tuple[int, int, int]]:
    path = None if annotations is None else annotations / "colours.json"
    if path is None or not path.is_file():
        return {}
    content = read_json(path, InputError)
    try:
        return {str(n): (int(r), int(g), int(b)) for n, (r, g, b) in content.items()}
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(
            f'{path}: expected {{"contour": [red, green, blue], ...}}: {error}'
        ) from error


def _measure(
    known: Known, jobs: Sequence[tuple[str, Job]], workers: int | None, quiet: bool
) -> tuple[list[Measures], dict[str, str]]:
    measures: list[Measures] = []
    failures: dict[str, str] = {}
    with (
        open_executor(None, workers, None) as opened,
        tqdm(
            total=len(jobs), unit="scan", file=sys.stderr, disable=quiet or not sys.stderr.isatty()
        ) as bar,
    ):
        for key, outcome in dispatch(measure, known, jobs, *opened):
            if isinstance(outcome, Failure):
                failures[key] = f"{outcome.error}: {outcome.message}"
                if not quiet:
                    tqdm.write(f"{key}: {' '.join(failures[key].split())[:200]}", file=sys.stderr)
            else:
                measures.append(outcome)
            bar.update()
    return sorted(measures, key=lambda m: m.key), failures


def _write(folder: Path, summary: Summary) -> None:
    text = json.dumps(summary.content, indent=2, allow_nan=False) + "\n"
    write_file(folder / "evaluation.json", text.encode())
    write_file(folder / "subjects.csv", table(summary.rows))
    if summary.contours:
        write_file(folder / "contours.csv", table(summary.contours))
    write_file(folder / "summary.md", page(summary).encode())


def _words(summary: Summary, folder: Path) -> str:
    content = summary.content
    lines = [f"{content['scans']} scans measured, {len(content['flagged'])} of them flagged"]
    if content["landmarks"]:
        marks = content["landmarks"]["all"]
        lines.append(f"  landmarks: mean {marks['mean']:.3g}, median {marks['median']:.3g}")
    lines.append(f"  expected error: median {content['expected error']:.3g}")
    for name, d in content["fit"].items():
        if d:
            lines.append(
                f"  {name.replace('_', ' ')}: median {d['median']:.3g}, 95 % {d['p95']:.3g}"
            )
    if summary.contours:
        pooled = content["annotations"]["pooled"][1]
        lines.append(
            f"  annotations: density {pooled['density']:.3f}, homogeneity "
            f"{pooled['homogeneity']:.3f} at a width of {pooled['width']:.3g}"
        )
    if not content["model"]:
        lines.append(f"  shape model: {model_lacks(content)}")
    if content["notes"]:
        key, notes = next(iter(content["notes"].items()))
        count, why = len(content["notes"]), " ".join(notes[0].split())[:160]
        lines.append(f"  something lacks in {count} scans (see summary.md): {key}: {why}")
    lines.append(f"written: {folder / 'summary.md'}")
    return "\n".join(lines)
