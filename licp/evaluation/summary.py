"""One summary of all that was measured of the scans of a batch."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from licp.errors import InputError
from licp.evaluation.folder import PARTS, WAYS, Batch
from licp.evaluation.subject import Measures
from licp.files import csv_table
from licp.geometry import mesh_size
from licp.headspace import IBUG68_GROUPS
from licp.mesh import Mesh
from licp.metrics.agreement import Agreement, annotation_agreement, pool
from licp.metrics.model import ModelQuality, model_quality, procrustes
from licp.metrics.transfer import swap_distances

__all__ = ["Summary", "model_lacks", "summarise", "table"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Of the kernel of agreement, the default of `annotation_agreement`.
_WIDTH = 0.005
# More parts to leave out change the generalisation little, and take long for a thousand shapes.
_FOLDS = 20
# Fits that a shape model takes.
_FEWEST = 3


@dataclass(frozen=True, eq=False)
class Summary:
    """What was found over all scans.

    Attributes
    ----------
    content : dict
        All numbers, ready for JSON.
    rows : list of dict
        One for each scan.
    contours : list of dict
        One for each contour.
    agreements : dict of str to Agreement
        At the middle width.
    distance : (n,) float64 or None
        For each template vertex, the median over scans of its distance to the scan, NaN where
        fewer than half of the scans have one.
    """

    content: dict[str, Any]
    rows: list[dict[str, Any]]
    contours: list[dict[str, Any]]
    agreements: dict[str, Agreement]
    distance: Floats | None


def summarise(
    batch: Batch, measures: Sequence[Measures], failures: Mapping[str, str], *, modes: int = 20
) -> Summary:
    """Put the measures of all scans together.

    Parameters
    ----------
    batch : Batch
        Whose scans they are.
    measures : sequence of Measures
        In any order.
    failures : mapping of str to str
        Why others were not measured.
    modes : int
        Of the shape model.
    """
    measures = sorted(measures, key=lambda m: m.key)
    agreements, contours, swaps = _annotations(batch.template, measures)
    rows = [_row(batch, m, agreements, swaps) for m in measures]
    good = [m for m in measures if not batch.reports[m.key]["flags"]]
    content = {
        "batch": str(batch.folder),
        "licp": batch.manifest.get("licp"),
        "manifest": batch.manifest.get("digest"),
        "scans": len(measures),
        "flagged": {
            m.key: batch.reports[m.key]["flags"] for m in measures if batch.reports[m.key]["flags"]
        },
        "failed in the batch": batch.failures,
        "failed here": dict(sorted(failures.items())),
        "made by another manifest": batch.stale,
        "expected error": float(
            np.median([batch.reports[m.key]["mean_expected_error"] for m in measures])
        ),
        "fit": _fit(batch, measures),
        "landmarks": _landmarks(measures),
        "regions": _regions(measures),
        "annotations": {
            "contours": contours,
            "not compared": _alone(measures, agreements),
            "pooled": _pooled(batch.template, measures, agreements),
        },
        "model": _model(good, modes),
        "notes": {m.key: m.notes for m in measures if m.notes},
    }
    known = [m.distance for m in measures if m.distance is not None]
    distance = None
    if known:
        stack = np.array(known)
        seen = np.isfinite(stack).mean(0) >= 0.5
        distance = np.full(stack.shape[1], np.nan)
        distance[seen] = np.nanmedian(stack[:, seen], axis=0)
    return Summary(content, rows, contours, agreements, distance)


def table(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows as CSV; the columns are those of all rows, in order of appearance."""
    return csv_table(rows, list(dict.fromkeys(name for row in rows for name in row)))


def _on_template(
    template: Mesh, measures: Iterable[Measures]
) -> dict[str, list[tuple[Measures, Floats]]]:
    """By contour: the subjects that have it, and where it is on the template."""
    found: dict[str, list[tuple[Measures, Floats]]] = {}
    for m in measures:
        for name, annotation in m.annotations.items():
            points = annotation.places.on(template.vertices, template.faces)
            found.setdefault(name, []).append((m, points))
    return {name: several for name, several in found.items() if len(several) > 1}


def _annotations(
    template: Mesh, measures: Sequence[Measures]
) -> tuple[dict[str, Agreement], list[dict[str, Any]], dict[str, dict[str, float]]]:
    """Agreement by contour; its table; and swap distances by subject and contour."""
    size = mesh_size(template.vertices, template.faces)
    agreements, rows = {}, []
    swaps: dict[str, dict[str, float]] = {}
    for name, several in _on_template(template, measures).items():
        drawn = [m.annotations[name] for m, _ in several]
        curves, ends = [p for _, p in several], [a.ends for a in drawn]
        try:
            found = annotation_agreement(curves, size, width=_WIDTH, ends=ends)
        except InputError:  # scraps that do not lie beside each other
            continue
        apart = swap_distances(
            [a.places for a in drawn],
            [a.drawn for a in drawn],
            [m.vertices for m, _ in several],
            template.faces,
        )
        for (m, _), value in zip(several, apart, strict=True):
            swaps.setdefault(m.key, {})[name] = float(value)
        agreements[name] = found
        rows.append(
            {
                "contour": name,
                **found.to_dict(),
                "swap_median": float(np.median(apart)),
                "swap_p95": float(np.percentile(apart, 95)),
                "gap": float(np.mean([a.gap for a in drawn])),
            }
        )
    return agreements, rows, swaps


def _alone(
    measures: Sequence[Measures], agreements: Mapping[str, Agreement]
) -> dict[str, list[str]]:
    """The subjects that have a contour of which nothing is told."""
    found: dict[str, list[str]] = {}
    for m in measures:
        for name in m.annotations:
            if name not in agreements:
                found.setdefault(name, []).append(m.key)
    return found


def _pooled(
    template: Mesh, measures: Sequence[Measures], agreements: Mapping[str, Agreement]
) -> list[dict[str, float]]:
    """All contours together, at half the width, the width and twice it."""
    size = mesh_size(template.vertices, template.faces)
    together = _on_template(template, measures)
    found = []
    for width in (_WIDTH / 2, _WIDTH, 2 * _WIDTH) if agreements else ():
        several = agreements
        if width != _WIDTH:
            several = {
                name: annotation_agreement(
                    [points for _, points in curves],
                    size,
                    width=width,
                    ends=[m.annotations[name].ends for m, _ in curves],
                )
                for name, curves in together.items()
                if name in agreements
            }
        found.append({"width": width * size, **pool(list(several.values()))})
    return found


def _row(
    batch: Batch,
    m: Measures,
    agreements: Mapping[str, Agreement],
    swaps: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    report = batch.reports[m.key]
    row: dict[str, Any] = {
        "key": m.key,
        "flags": "; ".join(report["flags"]),
        "converged": report["converged"],
        "matched": report["matched"],
    }
    for way in WAYS:
        d = report["quality"][way]
        row |= {f"{way}_{part}": None if d is None else d[part] for part in PARTS}
    row |= {f"landmarks_{k}": v for k, v in _statistics(m.landmarks).items()}
    row["swap"] = float(np.mean([*swaps[m.key].values()])) if m.key in swaps else None
    for name, d in m.regions.items():
        for way, found in (("to", d.template_to_scan), ("from", d.scan_to_template)):
            row[f"{name}_{way}_scan_median"] = None if found is None else found.median
            row[f"{name}_{way}_scan_p95"] = None if found is None else found.p95
        row[f"{name}_seen"] = d.seen
    row["notes"] = "; ".join(m.notes)
    return row


def _fit(batch: Batch, measures: Sequence[Measures]) -> dict[str, dict[str, float] | None]:
    """Over scans: how far fit and scan are apart, by the batch's own reports."""
    found: dict[str, dict[str, float] | None] = {}
    for way in WAYS:
        several = [batch.reports[m.key]["quality"][way] for m in measures]
        several = [d for d in several if d is not None]
        found[way] = (
            {p: float(np.median([d[p] for d in several])) for p in PARTS} if several else None
        )
    return found


def _statistics(errors: Floats | None) -> dict[str, float | None]:
    known = np.empty(0) if errors is None else errors[np.isfinite(errors)]
    if not len(known):
        return dict.fromkeys(("mean", "median", "p95"))
    median, p95 = np.percentile(known, (50, 95))
    return {"mean": float(known.mean()), "median": float(median), "p95": float(p95)}


def _landmarks(measures: Sequence[Measures]) -> dict[str, Any] | None:
    """Of all scans, and by groups of iBUG-68 where they are those."""
    several = [m.landmarks for m in measures if m.landmarks is not None]
    if not several:
        return None
    found: dict[str, Any] = {"scans": len(several), "all": _statistics(np.concatenate(several))}
    if all(m.ibug for m in measures if m.landmarks is not None):
        stack = np.array(several)
        found["groups"] = {
            name: _statistics(stack[:, part].ravel())
            for name, part in IBUG68_GROUPS.items()
            if np.isfinite(stack[:, part]).any()
        }
    return found


def _regions(measures: Sequence[Measures]) -> dict[str, dict[str, float | None]]:
    """Medians over scans."""
    found: dict[str, dict[str, float | None]] = {}
    for name in dict.fromkeys(n for m in measures for n in m.regions):
        several = [m.regions[name] for m in measures if name in m.regions]
        row: dict[str, float | None] = {}
        for way in WAYS:
            known = [d for d in (getattr(r, way) for r in several) if d is not None]
            for part in PARTS:
                values = [getattr(d, part) for d in known]
                row[f"{way}_{part}"] = float(np.median(values)) if values else None
        row["seen"] = float(np.median([r.seen for r in several]))
        found[name] = row
    return found


def _model(measures: Sequence[Measures], modes: int) -> dict[str, Any] | None:
    """Of the fits that are not flagged; None if they are too few."""
    if len(measures) < _FEWEST:
        return None
    shapes = procrustes(np.array([m.vertices for m in measures]))
    found: ModelQuality = model_quality(shapes, modes=modes, folds=min(len(shapes), _FOLDS))
    return {"scans": len(shapes), "folds": min(len(shapes), _FOLDS), **found.to_dict()}


def model_lacks(content: Mapping[str, Any]) -> str:
    """Why a summary has no shape model."""
    good = content["scans"] - len(content["flagged"])
    return f"None: {good} fits are not flagged, and it takes {_FEWEST}."
