"""A page to read of what an evaluation found."""

from collections.abc import Iterable, Sequence
from typing import Any

from licp.evaluation.folder import PARTS, WAYS
from licp.evaluation.summary import Summary, model_lacks

__all__ = ["page"]


def page(summary: Summary) -> str:
    """A summary in Markdown."""
    content, rows, contours = summary.content, summary.rows, summary.contours
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
        names = [f"{way}_{part}" for way in WAYS for part in PARTS]
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
