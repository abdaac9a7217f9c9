"""Time and memory as templates and scans grow, and what keeping factors is worth.

Every size has a process of its own, so that its peak memory is its own.
"""

import copy
import gc
import inspect
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import trimesh
from numpy.typing import NDArray

import licp
from benchmarks.heads import HeadSet, generated_head
from benchmarks.process import isolated, measured, memory
from benchmarks.report import Panel, curves, environment, provenance, table, write_json
from data_fixtures.head import random_identity
from data_fixtures.head import template as made_up_template
from data_fixtures.scan import ScanOptions
from data_fixtures.scan import scan as made_up_scan
from licp.solver import Backend, ElasticSolver, ElasticSystem, backends
from licp.threads import one_blas_thread

__all__ = [
    "FULL",
    "QUICK",
    "Plan",
    "Scale",
    "System",
    "exponent",
    "recorded",
    "replayed",
    "time_call",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Surface = tuple[Floats, Ints]
Record = dict[str, Any]

# Generated heads end at these sizes; larger ones are subdivided.
_LARGEST_TEMPLATE, _LARGEST_SCAN = 45_000, 180_000
SETUP, MORPH, WHOLE, BUSY = "set-up", "morph", "both", "processor"
# What is kept between solves.
_ANEW = "nothing: ordered, analysed and factorised every time"
_NUMERIC = "the analysis: factorised every time"
_KEPT = "factors, for conjugate gradients (as licp does)"


@dataclass(frozen=True)
class Plan:
    """What to run; sizes are vertices, about.

    Attributes
    ----------
    templates, scan : tuple of int, int
        Templates of growing size on one scan.
    scans, template : tuple of int, int
        Scans of growing size under one template.
    factors : tuple of int
        Templates whose linear systems are solved again in several ways.
    steps : int
        Times that meshes of other sets are subdivided.
    repeats, patience : int, float
        Calls, as long as those before took less than so many seconds.
    """

    templates: tuple[int, ...]
    scan: int
    scans: tuple[int, ...]
    template: int
    factors: tuple[int, ...]
    steps: int
    repeats: int
    patience: float = 10.0
    timeout: float = 1200.0


FULL = Plan(
    (5000, 11000, 45000, 180000), 20000, (20000, 180000, 1000000), 11000, (11000, 45000), 2, 5
)
QUICK = Plan((2500, 5000, 11000), 12000, (12000, 48000), 5000, (5000,), 0, 3)


@cache
def grown_template(size: int) -> Surface:
    """The made-up mean head at any size."""
    if size <= _LARGEST_TEMPLATE:
        mean = made_up_template(size)
        return mean.vertices, mean.faces
    return subdivided(grown_template(size // 4))


@cache
def grown_scan(size: int) -> Surface:
    """One made-up scan at any size."""
    if size <= _LARGEST_SCAN:
        rng = np.random.default_rng([2302, 2194])
        options = ScanOptions(vertices=size, texture_size=64, chin_hole=True, holes=2)
        made = made_up_scan(random_identity(rng), None, rng, options, 1000)
        return made.vertices, made.faces
    return subdivided(grown_scan(size // 4))


def subdivided(surface: Surface) -> Surface:
    """Every triangle quartered, and new vertices as noisy as scanners are (0.02 mm)."""
    subdivide: Any = trimesh.remesh.subdivide  # has no types
    vertices, faces = subdivide(*surface)
    noise = np.random.default_rng(len(vertices)).normal(0, 0.02, (len(vertices), 3))
    noise[: len(surface[0])] = 0.0
    return np.asarray(vertices + noise), np.asarray(faces, np.int64)


def time_call(
    path: str, backend: Backend | None, threads: int, repeats: int, patience: float
) -> Record:
    """Seconds and memory of what is in a file; runs in a process of its own."""
    imported = memory()[0]
    with np.load(path) as given:
        template, scan, small, little = (
            (given[f"{name}_v"], given[f"{name}_f"])
            for name in ("template", "scan", "small", "little")
        )
    licp.Morpher(small, backend=backend).morph(little, threads=threads)
    morpher, setup = measured(
        lambda: licp.Morpher(template, backend=backend),
        repeats=repeats, patience=patience, above=imported,
    )  # fmt: skip
    laps: list[dict[str, float]] = []

    def call() -> None:
        laps.append(morpher.morph(scan, threads=threads).seconds)

    gc.collect()
    _, morph = measured(call, repeats=repeats, patience=patience, above=imported)
    return {
        "phases": {
            SETUP: float(np.median(setup.seconds)),
            **{name: float(np.median([lap[name] for lap in laps])) for name in laps[0]},
            MORPH: float(np.median(morph.seconds)),
            WHOLE: float(np.median(setup.seconds) + np.median(morph.seconds)),
            BUSY: float(np.median(setup.processor) + np.median(morph.processor)),
        },
        "repeats": len(laps),
        "cores": sum(morph.processor) / sum(morph.seconds),
        "imports": imported,
        "setup_megabytes": setup.megabytes,
        "megabytes": morph.megabytes,
    }


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Slope of the straight line through the logarithms.

    Examples
    --------
    >>> round(exponent([1, 10, 100], [3, 30, 300]), 6)
    1.0
    """
    slope = np.polyfit(np.log(sizes), np.log(np.maximum(values, 1e-9)), 1)[0]
    return round(float(slope), 9) + 0.0


@dataclass(frozen=True, eq=False)
class System:
    """One linear system of a morph; those of one ``run`` came one after the other.

    Attributes
    ----------
    system : ElasticSystem
    run : int
    arguments : dict
        Of :meth:`licp.solver.ElasticSolver.solve`.
    """

    system: ElasticSystem
    run: int
    arguments: dict[str, Any]


def recorded(template: Surface, scan: Surface, threads: int) -> list[System]:
    """The linear systems that one morph solves."""
    found: list[System] = []
    runs = itertools.count()
    named = inspect.signature(ElasticSolver.solve)

    class Recorder(ElasticSolver):
        def __init__(self, system: ElasticSystem) -> None:
            super().__init__(system)
            self.run = next(runs)

        def solve(self, *given: Any, **more: Any) -> Any:
            arguments = dict(named.bind(self, *given, **more).arguments)
            del arguments["self"]
            found.append(System(self.system, self.run, copy.deepcopy(arguments)))
            return super().solve(*given, **more)

    with patch("licp.icp.ElasticSolver", Recorder):
        licp.Morpher(template).morph(scan, threads=threads)
    return found


def replayed(sequence: Sequence[System], backend: Backend) -> dict[str, Record]:
    """Solve a sequence again, keeping nothing, the analysis, or factors too.

    Returns
    -------
    dict
        By what is kept: ``seconds``; how often matrices were ``factorised`` and factors
        ``applied``; and how much a solution ``differs`` at most from an accurate one, in parts of
        its largest displacement.
    """

    def prepared(s: System) -> ElasticSystem:
        return ElasticSystem(s.system.L, s.system.mass, s.system.coordinates, backend)

    systems = {id(s.system): prepared(s) for s in sequence}
    solvers = {s.run: ElasticSolver(systems[id(s.system)]) for s in sequence}
    ways: dict[str, Callable[[System], ElasticSolver]] = {
        _ANEW: lambda s: ElasticSolver(prepared(s)),
        _NUMERIC: lambda s: ElasticSolver(systems[id(s.system)]),
        _KEPT: lambda s: solvers[s.run],
    }
    out: dict[str, Record] = {}
    with one_blas_thread:
        truth = [ways[_NUMERIC](s).solve(**s.arguments | {"tol": 1e-8})[0] for s in sequence]
        for name, solver in ways.items():
            clock = time.perf_counter()
            solved = [solver(s).solve(**s.arguments) for s in sequence]
            out[name] = {
                "seconds": time.perf_counter() - clock,
                "factorised": sum(info.refactored for _, info in solved),
                "applied": sum(info.iterations for _, info in solved),
                "differs": max(
                    float(np.abs(X - Y).max() / (np.abs(Y).max() or 1.0))
                    for (X, _), Y in zip(solved, truth, strict=True)
                ),
            }
    return out


class Scale:
    """Records, one a size, and a folder for them.

    Parameters
    ----------
    folder : Path
        ``results.json``, ``table.md`` and pictures are written there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.records: list[Record] = []
        self.factors: list[Record] = []
        self.environment: Record = {}

    def run(self, plan: Plan, sets: Sequence[HeadSet], threads: int) -> Iterator[str]:
        """Measure everything, yielding a line when something is done; no failure stops this."""
        self.environment = environment(threads)
        for size in plan.templates:
            yield self._size(
                "template", "generated", grown_template(size), grown_scan(plan.scan), plan, threads
            )
        for size in plan.scans:
            yield self._size(
                "scan", "generated", grown_template(plan.template), grown_scan(size), plan, threads
            )
        for heads in sets:
            if heads.folder is None:
                continue
            head = heads.head(0)
            template, scan = (head.vertices, head.faces), (head.scan_vertices, head.scan_faces)
            for step in range(plan.steps + 1):
                yield self._size("template", heads.name, template, scan, plan, threads)
                template = subdivided(template) if step < plan.steps else template
            template = head.vertices, head.faces
            for _ in range(plan.steps):
                scan = subdivided(scan)
                yield self._size("scan", heads.name, template, scan, plan, threads)
        template, scan = grown_template(plan.template), grown_scan(plan.scan)
        for backend in backends():
            for count in dict.fromkeys((1, threads)):
                yield self._size("back end", "generated", template, scan, plan, count, backend)
        for size in plan.factors:
            yield from self._replay(grown_template(size), scan, threads)

    def _size(
        self,
        kind: str,
        group: str,
        template: Surface,
        scan: Surface,
        plan: Plan,
        threads: int,
        backend: Backend | None = None,
    ) -> str:
        small = generated_head(0, 1000, 3000)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "case.npz"
            np.savez(
                path, template_v=template[0], template_f=template[1], scan_v=scan[0],
                scan_f=scan[1], small_v=small.vertices, small_f=small.faces,
                little_v=small.scan_vertices, little_f=small.scan_faces,
            )  # fmt: skip
            told = isolated(
                time_call, str(path), backend, threads, plan.repeats, plan.patience,
                timeout=plan.timeout, threads=threads,
            )  # fmt: skip
        record = {
            "kind": kind, "set": group, "template": len(template[0]), "scan": len(scan[0]),
            "backend": backend or backends()[0], "threads": threads, "failure": told.failure,
        } | (told.value or {})  # fmt: skip
        self.records.append(record)
        name = f"{kind} {group}: {record['template']} on {record['scan']}"
        if told.failure:
            return f"{name}: {told.failure}"
        return f"{name}: {record['phases'][WHOLE]:.2f} s, {record['megabytes']:.0f} MB"

    def _replay(self, template: Surface, scan: Surface, threads: int) -> Iterator[str]:
        sequence = recorded(template, scan, threads)
        for backend in backends():
            for way, told in replayed(sequence, backend).items():
                record = {"template": len(template[0]), "backend": backend, "kept": way}
                self.factors.append(record | {"systems": len(sequence)} | told)
                yield f"{len(template[0])}, {backend}, {way}: {told['seconds']:.2f} s"

    def write(self) -> None:
        """Write results and table."""
        write_json(
            self.folder / "results.json",
            {"environment": self.environment, "sizes": self.records, "factors": self.factors},
        )
        (self.folder / "table.md").write_text(self.markdown(), "utf-8")

    def markdown(self) -> str:
        """The tables, and where they come from."""
        parts = []
        for kind, title in (("template", "Growing templates"), ("scan", "Growing scans")):
            for group in dict.fromkeys(r["set"] for r in self.records if r["kind"] == kind):
                rows = self._series(kind, group)
                if rows:
                    parts.append(f"**{title}, {group}** (seconds)\n\n{_sizes(rows, kind)}")
        missed = [r for r in self.records if r["failure"]]
        parts += [f"- {r['kind']} {r['template']} on {r['scan']}: {r['failure']}" for r in missed]
        ends = [r for r in self.records if r["kind"] == "back end" and not r["failure"]]
        if ends:
            parts.append("**Back ends and threads** (seconds)\n\n" + _back_ends(ends))
        if self.factors:
            parts.append(
                "**The linear systems of one morph, solved again** (seconds, one thread)\n\n"
                + self._factor_table()
            )
        parts.append(provenance([self.environment]))
        return "\n\n".join(parts) + "\n"

    def _series(self, kind: str, group: str) -> list[Record]:
        """Records of one series; the smallest scan of other sets is the smallest template's."""
        good = [r for r in self.records if r["set"] == group and not r["failure"]]
        own = [r for r in good if r["kind"] == kind]
        if kind == "scan" and own and group != "generated":
            own = [
                r for r in good if r["kind"] == "template" and r["template"] == own[0]["template"]
            ] + own
        return sorted(own, key=lambda r: r[kind])

    def _factor_table(self) -> str:
        rows = []
        for r in self.factors:
            (usual,) = (
                s["seconds"]
                for s in self.factors
                if (s["template"], s["backend"], s["kept"]) == (r["template"], r["backend"], _KEPT)
            )
            rows.append(
                [
                    r["kept"],
                    f"{r['template']:,}",
                    r["backend"],
                    *(str(r[key]) for key in ("systems", "factorised", "applied")),
                    f"{r['seconds']:.2f}",
                    f"{r['seconds'] / usual:.1f}",
                    f"{r['differs']:.0e}",
                ]
            )
        header = (
            "what is kept", "template", "back end", "systems", "factorised", "applied", "seconds",
            "x last", "differs",
        )  # fmt: skip
        return table(header, rows)

    def pictures(self) -> Iterator[Path]:
        """Write time against size."""
        panels = []
        for kind in ("template", "scan"):
            rows = self._series(kind, "generated")
            if len(rows) > 1:
                sizes = [r[kind] for r in rows]
                lines = [
                    (name, sizes, [r["phases"][name] for r in rows], f"C{k}o-")
                    for k, name in enumerate(rows[0]["phases"])
                    if name != BUSY
                ]
                panels.append(
                    Panel(
                        f"growing {kind}", f"vertices of the {kind}", "seconds", lines, True, True
                    )
                )
        if panels:
            path = self.folder / "time-versus-size.png"
            curves(path, panels)
            yield path


def _sizes(rows: Sequence[Record], kind: str) -> str:
    phases, memories = list(rows[0]["phases"]), ("setup_megabytes", "megabytes")
    body = [
        [
            f"{r['template']:,}",
            f"{r['scan']:,}",
            *(f"{r['phases'][p]:.3f}" for p in phases),
            *(f"{r[m]:.0f}" for m in memories),
        ]
        for r in rows
    ]
    if len(rows) > 1:
        sizes = [r[kind] for r in rows]
        series = [[r["phases"][p] for r in rows] for p in phases]
        series += [[r[m] for r in rows] for m in memories]
        body.append(["exponent", "", *(f"{exponent(sizes, values):.2f}" for values in series)])
    return table(("template", "scan", *phases, "MB after set-up", "MB"), body)


def _back_ends(rows: Sequence[Record]) -> str:
    first = rows[0]["phases"]
    body = [
        [
            f"{r['backend']}, {r['threads']} thread{'s' * (r['threads'] > 1)}",
            *(f"{r['phases'][p]:.3f}" for p in first),
            f"{r['phases'][WHOLE] / first[WHOLE]:.2f}",
            f"{r['cores']:.1f}",
            f"{r['megabytes']:.0f}",
        ]
        for r in rows
    ]
    return table(("", *first, "x first row", "cores", "MB"), body)
