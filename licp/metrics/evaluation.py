"""Evaluation of a batch: what its folder holds, and one summary of all that was measured."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from licp.errors import InputError
from licp.files import checksum, csv_table, read_json
from licp.geometry import mesh_size
from licp.headspace import IBUG68_GROUPS
from licp.io import load_mesh
from licp.mesh import Mesh
from licp.metrics.agreement import Agreement, annotation_agreement, pool
from licp.metrics.model import ModelQuality, model_quality, procrustes
from licp.metrics.subject import Measures
from licp.metrics.transfer import swap_distances

__all__ = ["Batch", "Summary", "model_lacks", "open_batch", "summarise", "table"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Of the kernel of agreement, the default of `annotation_agreement`.
_WIDTH = 0.005
# More parts to leave out change the generalisation little, and take long for a thousand shapes.
_FOLDS = 20
# Fits that a shape model takes.
_FEWEST = 3
# What is read of the distances in a report.
_WAYS = ("template_to_scan", "scan_to_template")
_PARTS = ("median", "p95")


@dataclass(frozen=True, eq=False)
class Batch:
    """The folder of a batch.

    Attributes
    ----------
    folder : Path
    manifest : dict
    template : Mesh
    reports : dict of str to dict
        Of the scans that were done.
    failures : dict of str to str
        Reasons.
    stale : int
        Reports that another manifest made; they do not count.
    """

    folder: Path
    manifest: dict[str, Any]
    template: Mesh
    reports: dict[str, dict[str, Any]]
    failures: dict[str, str]
    stale: int

    def mesh(self, key: str) -> Path:
        """Where the mesh of a scan is."""
        return self.folder / "meshes" / str(self.reports[key]["mesh"]["file"])


def open_batch(folder: Path, template: Path | None = None) -> Batch:
    """Read what ``licp batch`` left.

    Parameters
    ----------
    folder : Path
        Its output folder.
    template : Path, optional
        Where the template is now, if it was moved.

    Raises
    ------
    InputError
        If that is no such folder, or the template is missing or another one.
    """
    if not (folder / "manifest.json").is_file():
        raise InputError(f"{folder}: no output folder of `licp batch`: there is no manifest.json")
    manifest = _object(folder / "manifest.json")
    if not (
        isinstance(manifest.get("template", ""), str)
        and isinstance(manifest.get("settings", {}), dict)
    ):
        raise InputError(f"{folder}: its manifest.json is none that `licp batch` wrote")
    path = Path(manifest.get("template", "")) if template is None else template
    if not path.is_file():
        raise InputError(f"{path}: the batch's template is not there; say where with --template")
    if checksum(path) != manifest.get("template_sha256"):
        raise InputError(f"{path}: is not the template that the batch in {folder} was made with")
    reports, failures, stale = {}, {}, 0
    for file in sorted((folder / "reports").glob("*.json")):
        try:
            report = _object(file)
        except InputError as error:
            failures[file.stem] = f"damaged report: {error}"
            continue
        if report.get("manifest") != manifest.get("digest"):
            stale += 1
        elif isinstance(report.get("failure"), dict):
            failures[file.stem] = str(report["failure"].get("message", ""))
        elif _complete(report):
            reports[file.stem] = report
        else:
            failures[file.stem] = f"damaged report: {file} lacks something"
    if not reports:
        raise InputError(f"{folder}: the batch has no results yet")
    return Batch(folder, manifest, load_mesh(path), reports, failures, stale)


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

    def markdown(self) -> str:
        """A page to read."""
        return _markdown(self.content, self.rows, self.contours)


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


def _size(template: Mesh) -> float:
    return mesh_size(template.vertices, template.faces)


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
    size = _size(template)
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
    size = _size(template)
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
    for way in _WAYS:
        d = report["quality"][way]
        row |= {f"{way}_{part}": None if d is None else d[part] for part in _PARTS}
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
    for way in _WAYS:
        several = [batch.reports[m.key]["quality"][way] for m in measures]
        several = [d for d in several if d is not None]
        found[way] = (
            {p: float(np.median([d[p] for d in several])) for p in _PARTS} if several else None
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
        for way in _WAYS:
            known = [d for d in (getattr(r, way) for r in several) if d is not None]
            for part in ("median", "p95"):
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


def _complete(report: Mapping[str, Any]) -> bool:
    """Whether a report holds what is read of it here, in the form that ``licp batch`` writes."""
    try:
        quality = report["quality"]
        ways = [quality[way] for way in _WAYS]
        numbers = [report["matched"], report["mean_expected_error"]]
        numbers += [d[p] for d in ways if d is not None for p in _PARTS]
        return (
            isinstance(report["mesh"]["file"], str)
            and isinstance(report["flags"], list)
            and all(isinstance(flag, str) for flag in report["flags"])
            and isinstance(report["converged"], bool)
            and all(isinstance(n, (int, float)) for n in numbers)
        )
    except (KeyError, TypeError, IndexError):
        return False


def _object(path: Path) -> dict[str, Any]:
    content = read_json(path, InputError)
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object")
    return content


def _markdown(
    content: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], contours: Sequence[Any]
) -> str:
    lines = [
        "# Evaluation",
        "",
        f"`{content['batch']}`: {content['scans']} scans, {len(content['flagged'])} of them "
        f"flagged; {len(content['failed in the batch'])} failed in the batch, "
        f"{len(content['failed here'])} here.  licp {content['licp']}.",
        "",
        "Lengths are in the unit of the scans, unless stated otherwise.",
        "",
        "A fit lies on the scan nearly everywhere, so distances hardly tell its error, which is "
        "along the surface.  Where there is no truth, the error that each fit expects of itself "
        f"tells most: its median over scans is {content['expected error']:.3g}.",
    ]
    fit = [(name.replace("_", " "), d) for name, d in content["fit"].items() if d]
    lines += ["", "## Distances", "", "Medians over scans, where template and scan overlap.", ""]
    lines += _table(["", "median", "95 %"], [[n, d["median"], d["p95"]] for n, d in fit])
    if content["regions"]:
        names = [
            f"{w}_{p}" for w in ("template_to_scan", "scan_to_template") for p in ("median", "p95")
        ]
        lines += ["", "By region of the template:", ""]
        lines += _table(
            ["", "to scan: median", "95 %", "from scan: median", "95 %", "seen"],
            [[n, *(d[x] for x in names), d["seen"]] for n, d in content["regions"].items()],
        )
    marks = content["landmarks"]
    if marks:
        groups = {"all": marks["all"], **marks.get("groups", {})}
        lines += [
            "",
            "## Landmarks",
            "",
            f"{marks['scans']} scans have some.  Their own error "
            "(about 4 mm for those of Headspace) is part of these numbers.",
            "",
        ]
        lines += _table(
            ["", "mean", "median", "95 %"],
            [[n, d["mean"], d["median"], d["p95"]] for n, d in groups.items()],
        )
    if contours:
        lines += [
            "",
            "## Annotations",
            "",
            "Contours of all subjects, brought to the unwarped template.  Density and homogeneity "
            "as `licp.metrics.agreement` defines them (0 to 1, higher is better; not the "
            "paper's formulas).  Low: the local density that 90 % of the places exceed.  Spread: "
            "mean distance of two subjects' contours on the template, in its unit.  Swap: "
            "distance of other subjects' contours from one's own, in one's own shape; median over "
            "subjects.",
            "",
        ]
        names = ["subjects", "density", "homogeneity", "low", "spread", "swap_median"]
        lines += _table(
            ["", *(n.removesuffix("_median") for n in names)],
            [[c["contour"], *(c[n] for n in names)] for c in contours],
        )
        pooled = content["annotations"]["pooled"]
        lines += ["", "All contours, by the width of the kernel (in the template's unit):", ""]
        lines += _table(
            ["width", "density", "homogeneity", "spread"],
            [[p[n] for n in ("width", "density", "homogeneity", "spread")] for p in pooled],
        )
    alone = content["annotations"]["not compared"]
    if alone:
        told = "; ".join(f"{name} ({', '.join(keys)})" for name, keys in alone.items())
        lines += ["", f"Contours without another subject's beside them: {told}."]
    model = content["model"]
    lines += ["", "## Shape model", ""]
    if model:
        lines += [f"Of {model['scans']} fits that are not flagged.", ""]
        shown = [k for k in (1, 2, 5, 10, 20) if k <= len(model["compactness"])]
        names = ["compactness", "generalisation", "specificity"]
        lines += _table(["modes", *names], [[k, *(model[n][k - 1] for n in names)] for k in shown])
    else:
        lines += [model_lacks(content)]
    doubtful = [row for row in rows if row["flags"]]
    if doubtful:
        lines += ["", "## Flagged", ""]
        lines += _table(["scan", "why"], [[row["key"], row["flags"]] for row in doubtful])
    notes = {key: "; ".join(several) for key, several in content["notes"].items()}
    for title, reasons in (
        ("Something lacks", notes),
        ("Failed in the batch", content["failed in the batch"]),
        ("Failed here", content["failed here"]),
    ):
        if reasons:
            lines += ["", f"## {title}", ""]
            lines += _table(["scan", "why"], [[k, _line(v)] for k, v in reasons.items()])
    return "\n".join(lines) + "\n"


def _line(text: str) -> str:
    return " ".join(text.split())[:160].replace("|", "\\|")


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    def cell(value: Any) -> str:
        if value is None:
            return "-"
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    return [
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(cell(v) for v in row) + " |" for row in rows),
    ]
