"""licp and its peers on the same scans, on the same machine, in one run."""

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.heads import Head, HeadSet, disturbed, generated_head
from benchmarks.measures import measure
from benchmarks.peers import METHODS, Fit, Method, Problem, fit
from benchmarks.process import isolated
from benchmarks.report import (
    environment,
    error_versus_time,
    heat_maps,
    provenance,
    table,
    write_json,
)
from licp.errors import MeshError

__all__ = ["STARTS", "Comparison", "Plan", "summarise"]

OWN, GIVEN = STARTS = ("own", "given")
LOST = 10.0
"""A mean error, mm, that tells of a wrong alignment rather than of a wrong shape."""
INSTALL = "pip install '.[bench]'"
HEADER = (
    "method", "start", "covered (mm)", "all (mm)", "landmarks (mm)", "to scan (mm)",
    "to template (mm)", "flipped", "crossings", "seconds", "x licp", "cores", "MB", "failed",
)  # fmt: skip

Record = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes
    ----------
    methods, starts : tuple of str
    repeats : int
        Timed calls of each method on each head...
    patience : float
        ...as long as they took less than so many seconds together.
    timeout : float
        Seconds until a method is given up on a head.
    threads, seed : int
        Allowed threads; seed of the disturbed poses.
    longest : float
        Methods expected to take longer on a head, seconds, are left out; inf is none.
    """

    methods: tuple[str, ...] = tuple(METHODS)
    starts: tuple[str, ...] = STARTS
    repeats: int = 3
    patience: float = 10.0
    timeout: float = 1200.0
    threads: int = 1
    seed: int = 0
    longest: float = float("inf")


class Comparison:
    """Records of fits, one a method, start and head, and a folder to keep them in.

    Parameters
    ----------
    folder : Path
        ``results.json``, ``table.md``, ``fits/`` and pictures are written there.
    keep : bool
        Start from the records that are there; those of fits that are made again are replaced.
    """

    def __init__(self, folder: Path, keep: bool = False) -> None:
        self.folder = folder
        (folder / "fits").mkdir(parents=True, exist_ok=True)
        path = folder / "results.json"
        old = json.loads(path.read_text()) if keep and path.is_file() else {}
        self.runs: list[Record] = old.get("runs", [])
        self.methods: dict[str, Record] = old.get("methods", {})
        self.absent: list[str] = old.get("absent", [])
        self.left_out: list[list[str]] = old.get("left_out", [])
        self.records: list[Record] = old.get("records", [])

    def run(self, plan: Plan, sets: Iterable[HeadSet]) -> Iterator[Record]:
        """Fit everything, yielding each record when it is there; no failure stops this."""
        self.runs.append(environment(plan.threads))
        present = []
        self.absent = [name for name in self.absent if name not in plan.methods]
        self.left_out = [pair for pair in self.left_out if pair[0] not in plan.methods]
        for name in plan.methods:
            versions = METHODS[name].versions()
            if versions is None:
                self.absent.append(name)
            else:
                present.append(name)
                self.methods[name] = _described(METHODS[name], versions)
        small = generated_head(0, 1000, 3000)
        for heads in sets:
            for head in heads:
                thousands = len(head.vertices) / 1000
                told = measure(head, head.truth)
                truth = {"flipped": told.flipped, "crossings": told.crossings}
                for name in present:
                    if METHODS[name].pace * thousands > plan.longest:
                        if [name, head.group] not in self.left_out:
                            self.left_out.append([name, head.group])
                        continue
                    for start in plan.starts:
                        record = self._fit(plan, head, name, start, small) | {"truth": truth}
                        self._add(record)
                        yield record

    def _fit(self, plan: Plan, head: Head, name: str, start: str, small: Head) -> Record:
        given = [
            _problem(h, disturbed(h, plan.seed) if start == GIVEN else None, plan.threads)
            for h in (head, small)
        ]
        record: Record = {
            "set": head.group, "head": head.name, "method": name, "start": start,
            "run": len(self.runs) - 1, "date": time.strftime("%Y-%m-%d %H:%M:%S"),
            "template_vertices": len(head.vertices), "scan_vertices": len(head.scan_vertices),
        }  # fmt: skip
        outcome = isolated(
            fit, name, *given, plan.repeats, plan.patience,
            timeout=plan.timeout, threads=plan.threads,
        )  # fmt: skip
        failure, found = outcome.failure, outcome.value
        if isinstance(found, Fit):
            try:
                record["measures"] = measure(head, found.vertices).to_dict()
            except MeshError as error:
                failure = f"result cannot be measured: {error}"
            else:
                record |= {
                    "seconds": list(found.cost.seconds), "processor": list(found.cost.processor),
                    "megabytes": found.cost.megabytes, "more": found.more,
                }  # fmt: skip
                self.methods[name]["defaults"] = found.defaults
                np.save(self.path(record), found.vertices.astype(np.float32))
        return record | {"failure": failure}

    def path(self, record: Record) -> Path:
        """Where the vertices of a fit are kept."""
        name = "-".join(record[key] for key in ("set", "head", "method", "start"))
        return self.folder / "fits" / (name + ".npy")

    def _add(self, record: Record) -> None:
        key = _key(record)
        self.records = [r for r in self.records if _key(r) != key] + [record]
        self.write()

    def write(self) -> None:
        """Write results and table."""
        write_json(
            self.folder / "results.json",
            {
                "runs": self.runs,
                "methods": self.methods,
                "absent": self.absent,
                "left_out": self.left_out,
                "records": self.records,
            },
        )
        (self.folder / "table.md").write_text(self.markdown(), "utf-8")

    def markdown(self) -> str:
        """Tables, one a set of heads, where they come from, and the settings."""
        parts = []
        for group in dict.fromkeys(r["set"] for r in self.records):
            records = [r for r in self.records if r["set"] == group]
            heads = {r["head"]: r for r in records}.values()
            size = [
                int(np.median([r[k] for r in heads]))
                for k in ("template_vertices", "scan_vertices")
            ]
            parts.append(
                f"**{group}**: heads: {len(heads)}, template {size[0]:,} vertices, scans about "
                f"{size[1]:,}.\n\n{table(HEADER, self._rows(records))}"
            )
            prepared = [
                f"{summarise(own)['prepared']:.2f} s ({start})"
                for start in STARTS
                if (own := [r for r in records if (r["method"], r["start"]) == ("licp", start)])
                and summarise(own)["prepared"] is not None
            ]
            if prepared:
                parts.append(
                    f"licp with a template that was prepared before: {', '.join(prepared)}."
                )
            truths = [r["truth"] for r in heads if "truth" in r]
            if truths:
                flipped, crossings = (
                    float(np.mean([t[k] for t in truths])) for k in ("flipped", "crossings")
                )
                parts.append(
                    f"The true shapes have {flipped:.0f} flipped faces and {crossings:.0f} "
                    "crossings."
                )
            lost = [
                f"{METHODS[r['method']].label}, {r['start']}, {r['head']}: {error['mean']:.1f} mm"
                for r in records
                if not r["failure"] and (error := r["measures"]["covered"]) and error["mean"] > LOST
            ]
            if lost:
                parts.append(f"Lost, but in the means: {'; '.join(lost)}.")
            failures = [r for r in records if r["failure"]]
            if failures:
                parts.append(
                    "\n".join(
                        f"- {METHODS[r['method']].label}, {r['start']}, {r['head']}: {r['failure']}"
                        for r in failures
                    )
                )
        used = sorted({r["run"] for r in self.records})
        parts.append(provenance([self.runs[k] for k in used]))
        if self.absent:
            parts.append(
                "Not installed: "
                + ", ".join(METHODS[name].label for name in self.absent)
                + f".  All peers: `{INSTALL}`."
            )
        if self.left_out:
            parts.append(
                "Left out, as too slow for a quick run: "
                + "; ".join(f"{METHODS[name].label} on {group}" for name, group in self.left_out)
                + "."
            )
        rows = [
            (
                m["label"],
                ", ".join(f"{p} {v}" for p, v in m["versions"].items()),
                "; ".join(f"{k}: {v}" if k != "call" else str(v) for k, v in m["settings"].items()),
                m["alignment"],
            )
            for name, m in self.methods.items()
            if any(r["method"] == name for r in self.records)
        ]
        settings = table(("method", "version", "call and settings", "its own alignment"), rows)
        parts.append(settings.replace("--:", ":--"))
        return "\n\n".join(parts) + "\n"

    def _rows(self, records: Sequence[Record]) -> list[list[str]]:
        rows = []
        for start in STARTS:
            licp = summarise([r for r in records if (r["method"], r["start"]) == ("licp", start)])
            for name in METHODS:
                own = [r for r in records if (r["method"], r["start"]) == (name, start)]
                if own:
                    rows.append([METHODS[name].label, start, *_cells(summarise(own), licp)])
        return rows

    def pictures(self, sets: Iterable[HeadSet]) -> Iterator[Path]:
        """Write heat maps of the first head of each set, and error against time."""
        panels = []
        for heads in sets:
            records = [r for r in self.records if r["set"] == heads.name and not r["failure"]]
            if not records:
                continue
            head = heads.head(0)
            for start in STARTS:
                own = [
                    r
                    for r in records
                    if (r["head"], r["start"]) == (head.name, start)
                    and r["template_vertices"] == len(head.vertices)
                ]
                own.sort(key=lambda r: list(METHODS).index(r["method"]))
                if own:
                    path = self.folder / f"errors-{heads.name}-{start}.png"
                    self._heat(path, head, start, own)
                    yield path
            points = []
            for name in METHODS:
                for start in STARTS:
                    own = [r for r in records if (r["method"], r["start"]) == (name, start)]
                    if own:
                        means = summarise(own)
                        points.append(
                            (METHODS[name].label, start, means["seconds"], means["covered"][0])
                        )
            panels.append((heads.name, points))
        if panels:
            path = self.folder / "error-versus-time.png"
            error_versus_time(path, panels)
            yield path

    def _heat(self, path: Path, head: Head, start: str, records: Sequence[Record]) -> None:
        back = head.pose.inverse()
        columns = []
        for record in records:
            vertices = np.load(self.path(record)).astype(np.float64)
            error = np.linalg.norm(vertices - head.truth, axis=1)
            mean = record["measures"]["covered"]["mean"]
            columns.append(
                (f"{METHODS[record['method']].label}\n{mean:.2f} mm".replace("`", ""),
                 back.apply(vertices), error)
            )  # fmt: skip
        title = f"{head.group} {head.name}, start: {start}.  Grey: not covered by the scan."
        heat_maps(path, title, columns, head.faces, head.covered)


def summarise(records: Sequence[Record]) -> dict[str, Any]:
    """Numbers of one row: means over the heads that did not fail; times are medians.

    Returns
    -------
    dict
        ``covered``, ``everywhere``, ``landmarks`` (mean, median, p95), ``to_scan``,
        ``to_template`` (median, p95), ``flipped``, ``crossings``, ``seconds``, ``cores``
        (processor time over wall clock), ``megabytes`` (the most of any head), ``prepared``,
        ``failed``, ``total``.  What is not known is None.
    """
    good = [r for r in records if not r["failure"]]

    def mean(*keys: str) -> float | None:
        values = []
        for record in good:
            value: Any = record["measures"]
            for key in keys:
                value = None if value is None else value[key]
            if value is not None:
                values.append(value)
        return float(np.mean(values)) if values else None

    def row(key: str, *parts: str) -> tuple[float, ...] | None:
        values = [mean(key, part) for part in parts]
        return None if None in values else tuple(v for v in values if v is not None)

    seconds = [float(np.median(r["seconds"])) for r in good]
    cores = [sum(r["processor"]) / sum(r["seconds"]) for r in good]
    prepared = [r["more"]["prepared"] for r in good if "prepared" in r["more"]]
    return {
        **{k: row(k, "mean", "median", "p95") for k in ("covered", "everywhere", "landmarks")},
        **{k: row(k, "median", "p95") for k in ("to_scan", "to_template")},
        "flipped": mean("flipped"),
        "crossings": mean("crossings"),
        "seconds": float(np.median(seconds)) if seconds else None,
        "cores": float(np.median(cores)) if cores else None,
        "megabytes": max((r["megabytes"] for r in good), default=None),
        "prepared": float(np.median(prepared)) if prepared else None,
        "failed": len(records) - len(good),
        "total": len(records),
    }


def _cells(own: dict[str, Any], licp: dict[str, Any]) -> list[str]:
    def show(value: Any, form: str = ".2f") -> str:
        if value is None:
            return "-"
        if isinstance(value, tuple):
            return " / ".join(format(x, form) for x in value)
        return format(value, form)

    ratio = own["seconds"] / licp["seconds"] if own["seconds"] and licp["seconds"] else None
    return [
        *(show(own[k]) for k in ("covered", "everywhere", "landmarks", "to_scan", "to_template")),
        show(own["flipped"], ".0f"),
        show(own["crossings"], ".0f"),
        show(own["seconds"], ".2f"),
        show(ratio, ".0f" if ratio and ratio >= 10 else ".2f"),
        show(own["cores"], ".1f"),
        show(own["megabytes"], ".0f"),
        f"{own['failed']} of {own['total']}",
    ]


def _key(record: Record) -> tuple[str, ...]:
    return tuple(record[k] for k in ("set", "head", "method", "start"))


def _described(method: Method, versions: dict[str, str]) -> Record:
    return {
        "label": method.label, "versions": versions, "settings": method.settings,
        "alignment": method.alignment,
    }  # fmt: skip


def _problem(head: Head, start: Any, threads: int) -> Problem:
    if head.landmarks is not None:
        marks = head.landmarks
    else:
        marks = np.linspace(0, len(head.vertices) - 1, 68).astype(np.int64)
    return Problem(
        head.vertices, head.faces, head.scan_vertices, head.scan_faces, start,
        (marks, head.truth[marks]), threads,
    )  # fmt: skip
