"""Error as scans get worse: one thing at a time, from none of it to far too much."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import spsolve
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

import licp
from benchmarks.heads import Head, HeadSet, generated_head
from benchmarks.measures import errors
from benchmarks.report import (
    Panel,
    curves,
    environment,
    heat_maps,
    provenance,
    table,
    write_json,
)
from data_fixtures.body import with_body
from data_fixtures.head import template as made_up_template
from data_fixtures.scan import ScanOptions
from licp.errors import LicpError
from licp.geometry import edges, vertex_normals

__all__ = ["FACTORS", "FULL", "QUICK", "Factor", "Plan", "Robustness", "cut", "flattened", "posed"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Record = dict[str, Any]
Generator = np.random.Generator

SUCCESS = 1.0
"""A fit from any pose is the same as the upright one if vertices are, on average, so many mm off
it at most."""


@dataclass(frozen=True)
class Factor:
    """Something that goes wrong with scans.

    Attributes
    ----------
    name, unit : str
    levels : tuple of float
        How much of it, from none; quick runs have every third of four and more.
    spoil : callable
        Head, level, a generator that is the same for all levels, plan -> head with a worse scan.
    cuts : bool
        Whether it takes parts away, rather than makes them worse.
    made_up : bool
        Whether only generated heads tell enough about themselves for this.
    """

    name: str
    unit: str
    levels: tuple[float, ...]
    spoil: Callable[[Head, float, Generator, "Plan"], Head]
    cuts: bool = False
    made_up: bool = False


def cut(head: Head, keep: Bools) -> Head:
    """Only the flagged scan vertices, and the faces between them."""
    faces = head.scan_faces[keep[head.scan_faces].all(1)]
    used, faces = np.unique(faces, return_inverse=True)
    return replace(
        head,
        scan_vertices=head.scan_vertices[used],
        scan_faces=faces.reshape(-1, 3).astype(np.int64),
    )


def _hole(head: Head, radius: float, rng: Generator, plan: "Plan") -> Head:
    """Cut a ball out, round the true place of some vertex that the scan shows."""
    middle = head.truth[rng.choice(np.flatnonzero(head.covered))]
    return cut(head, np.linalg.norm(head.scan_vertices - middle, axis=1) >= radius)


def _face(head: Head, radius: float, rng: Generator, plan: "Plan") -> Head:
    """Leave a ball round the tip of the nose, the foremost vertex of the upright template."""
    tip = head.truth[np.argmax(head.vertices[:, 2])]
    near = np.linalg.norm(head.scan_vertices - tip, axis=1) < radius
    return cut(head, near) if radius else head


def _noise(head: Head, deviation: float, rng: Generator, plan: "Plan") -> Head:
    noise = rng.normal(size=head.scan_vertices.shape)
    return replace(head, scan_vertices=head.scan_vertices + deviation * noise)


def _spikes(head: Head, count: float, rng: Generator, plan: "Plan") -> Head:
    """Pull cones 10 mm wide and 20 to 60 mm high out of the scan."""
    vertices = head.scan_vertices
    normals = vertex_normals(vertices, head.scan_faces)
    tips, heights = rng.integers(len(vertices), size=1000), rng.uniform(20, 60, 1000)
    raised = vertices.copy()
    for tip, height in zip(tips[: int(count)], heights, strict=False):
        d = np.linalg.norm(vertices - vertices[tip], axis=1)
        raised += np.maximum(1 - d / 5, 0)[:, None] * height * normals[tip]
    return replace(head, scan_vertices=raised)


def _pinholes(head: Head, percent: float, rng: Generator, plan: "Plan") -> Head:
    """Leave single faces out."""
    there = rng.random(len(head.scan_faces)) >= percent / 100
    return replace(head, scan_faces=head.scan_faces[there])


def _far_off(head: Head, count: float, rng: Generator, plan: "Plan") -> Head:
    """Put single vertices where a scanner has its origin, 2 m away."""
    vertices = head.scan_vertices.copy()
    origin = vertices.mean(axis=0) + np.array([0.0, 0.0, 2000.0])
    vertices[rng.permutation(len(vertices))[: int(count)]] = origin
    return replace(head, scan_vertices=vertices)


def _ears(head: Head, count: float, rng: Generator, plan: "Plan") -> Head:
    """Cut off ears, and 4 mm around them."""
    return cut(head, _from_ears(head, count, plan) > 4.0) if count else head


def _from_ears(head: Head, count: float, plan: "Plan") -> Floats:
    """Distance of each scan vertex from the true places of one ear or both."""
    regions = made_up_template(plan.resolution).regions
    names = ("ear_left", "ear_right")[: int(count)]
    ears = head.truth[np.concatenate([regions[name] for name in names])]
    return np.asarray(KDTree(ears).query(head.scan_vertices)[0])


def flattened(head: Head, near: Bools) -> Head:
    """The flagged scan vertices where a film between the others would be."""
    a, b = edges(head.scan_faces)[0].T
    n = len(head.scan_vertices)
    joined = sparse.coo_array((np.ones(2 * len(a)), (np.r_[a, b], np.r_[b, a])), shape=(n, n))
    L = (sparse.diags_array(joined.sum(axis=1)) - joined).tocsr()
    inner, outer = np.flatnonzero(near), np.flatnonzero(~near)
    # Scraps that are flagged as a whole stay, held by next to nothing.
    hold = 1e-9 * sparse.eye_array(len(inner))
    pull = 1e-9 * head.scan_vertices[inner] - L[inner][:, outer] @ head.scan_vertices[outer]
    vertices = head.scan_vertices.copy()
    vertices[inner] = spsolve((L[inner][:, inner] + hold).tocsc(), pull)
    return replace(head, scan_vertices=vertices)


def _covered_ears(head: Head, count: float, rng: Generator, plan: "Plan") -> Head:
    """Smooth skin where ears are, and 8 mm around them, as under tight hair."""
    return flattened(head, _from_ears(head, count, plan) < 8.0) if count else head


def _mouth(head: Head, jaw: float, rng: Generator, plan: "Plan") -> Head:
    """The same head scanned again with the mouth open."""
    if not jaw:
        return head
    options = ScanOptions(plan.scan_vertices)
    return generated_head(_number(head), plan.resolution, options=options, jaw=jaw)


def _number(head: Head) -> int:
    """Of a generated head."""
    return int(head.name.rpartition("_")[2])


def _shoulders(head: Head, there: float, rng: Generator, plan: "Plan") -> Head:
    """The same head scanned again, shoulders and all."""
    if not there:
        return head
    options = ScanOptions(plan.scan_vertices, shoulders=True)
    return generated_head(_number(head), plan.resolution, options=options)


def _body(head: Head, parts: float, rng: Generator, plan: "Plan") -> Head:
    """The scan goes on below: a trunk, arms, legs."""
    upright = head.pose.inverse().apply(head.scan_vertices)
    vertices, faces = with_body(upright, head.scan_faces, int(parts), rng)
    count = len(head.scan_vertices)
    below = np.concatenate([head.scan_vertices, head.pose.apply(vertices[count:])])
    return replace(head, scan_vertices=below, scan_faces=faces)


FACTORS = (
    Factor("hole", "radius (mm)", (0, 10, 20, 30, 40, 60, 80), _hole, cuts=True),
    Factor("noise", "standard deviation (mm)", (0, 0.1, 0.25, 0.5, 1, 2, 4), _noise),
    Factor("spikes", "number", (0, 5, 20, 50, 100, 200, 400), _spikes),
    Factor("missing faces", "percent", (0, 5, 10, 20), _pinholes),
    Factor("points far off", "number", (0, 1, 20, 100), _far_off),
    Factor("missing ears", "number", (0, 1, 2), _ears, cuts=True, made_up=True),
    Factor("covered ears", "number", (0, 1, 2), _covered_ears, cuts=True, made_up=True),
    Factor("open mouth", "jaw, 0: as it is", (0, 0.3, 0.6, 0.8, 1), _mouth, made_up=True),
    Factor("shoulders", "0: none, 1: scanned too", (0, 1), _shoulders, made_up=True),
    Factor("body", "1: trunk, 2: and arms, 3: and legs", (0, 1, 2, 3), _body),
    Factor("face alone", "radius (mm)", (0, 130, 110, 90, 70), _face, cuts=True),
)


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes
    ----------
    poses : int
        Random start poses and units of all heads together.
    every : int
        Levels that are used: every first, every second.
    resolution, scan_vertices : int
        About how many vertices generated templates and scans have.
    """

    poses: int
    every: int
    resolution: int
    scan_vertices: int


FULL, QUICK = Plan(200, 1, 5000, 20000), Plan(16, 3, 2000, 12000)


def posed(head: Head, rng: Generator) -> tuple[Head, licp.Similarity]:
    """The head in any orientation, place and unit (0.001 to 1000), and what brought it there."""
    turn = Rotation.from_quat(rng.normal(size=4)).as_matrix()
    scale = float(10.0 ** rng.uniform(-3, 3))
    move = licp.Similarity(scale, turn, scale * rng.normal(0, 300, 3))
    return replace(
        head, scan_vertices=move.apply(head.scan_vertices), truth=move.apply(head.truth)
    ), move


class Robustness:
    """Records of fits, and a folder for them.

    Parameters
    ----------
    folder : Path
        ``results.json``, ``table.md`` and a picture a factor are written there.
    """

    def __init__(self, folder: Path, factors: Sequence[Factor] = FACTORS) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.factors = factors
        self.records: list[Record] = []
        self.poses: list[Record] = []
        self.shapes: dict[str, tuple[Head, list[tuple[str, Floats, Floats]]]] = {}
        self.environment: Record = {}

    def run(self, plan: Plan, sets: Sequence[HeadSet], threads: int) -> Iterator[str]:
        """Morph everything, yielding a line a head and factor; no failure stops this."""
        self.environment = environment(threads)
        many = sum(heads.count for heads in sets)
        done = 0
        for heads in sets:
            morpher = None
            for k in range(heads.count):
                if heads.folder is None:
                    options = ScanOptions(plan.scan_vertices)
                    head = generated_head(k, plan.resolution, options=options)
                else:
                    head = heads.head(k)
                if morpher is None:
                    morpher = licp.Morpher((head.vertices, head.faces))
                for number, factor in enumerate(self.factors):
                    if factor.made_up and heads.folder is not None:
                        continue
                    levels = (
                        factor.levels if len(factor.levels) < 4 else factor.levels[:: plan.every]
                    )
                    for level in levels:
                        rng = np.random.default_rng([number, k, 5])
                        worse = factor.spoil(head, level, rng, plan)
                        record, shape = _fit(morpher, head, worse, factor, level, threads)
                        self.records.append(record)
                        if k == 0 and shape is not None and level in (levels[0], levels[-1]):
                            label = f"{factor.name} {level:g}" if level else "as it is"
                            self._show(worse, shape, label)
                    yield f"{head.group} {head.name} {factor.name}"
                first, last = (plan.poses * j // many for j in (done, done + 1))
                self._turn(morpher, head, range(first, last), threads)
                done += 1
                yield f"{head.group} {head.name} poses"

    def _show(self, worse: Head, shape: Floats, label: str) -> None:
        """Keep a fit for the pictures, once if nothing was done to the scan."""
        error = np.linalg.norm(shape - worse.truth, axis=1)
        columns = self.shapes.setdefault(worse.group, (worse, []))[1]
        if label not in (name for name, _, _ in columns):
            columns.append((label, worse.pose.inverse().apply(shape), error))

    def _turn(
        self, morpher: licp.Morpher, head: Head, numbers: Sequence[int], threads: int
    ) -> None:
        back = head.pose.inverse()
        try:
            upright = morpher.morph(
                (back.apply(head.scan_vertices), head.scan_faces), threads=threads
            )
        except LicpError as error:
            self.poses.append({"set": head.group, "head": head.name, "failure": str(error)})
            return
        usual = head.pose.apply(upright.vertices)
        for number in numbers:
            turned, move = posed(head, np.random.default_rng([11, number]))
            record: Record = {
                "set": head.group, "head": head.name, "number": number,
                "unit": 1 / move.scale, "degrees": _angle(move.after(head.pose)), "failure": None,
            }  # fmt: skip
            try:
                fit = morpher.morph((turned.scan_vertices, turned.scan_faces), threads=threads)
            except LicpError as error:
                record["failure"] = f"{type(error).__name__}: {error}"
            else:
                off = errors(move.inverse().apply(fit.vertices), usual)
                assert off is not None
                record["deviation"] = off.mean
            self.poses.append(record)

    def write(self) -> None:
        """Write results and table."""
        write_json(
            self.folder / "results.json",
            {"environment": self.environment, "records": self.records, "poses": self.poses},
        )
        (self.folder / "table.md").write_text(self.markdown(), "utf-8")

    def markdown(self) -> str:
        """The tables, and where they come from."""
        parts = []
        for factor in self.factors:
            means = self._means(factor)
            if not means:
                continue
            groups = list(dict.fromkeys(group for group, _ in means))
            levels = list(dict.fromkeys(level for _, level in means))
            header = [f"{factor.name}, {factor.unit}"]
            for group in groups:
                header += [f"{group}: seen (mm)", "expected", "95 %", "lost (mm)", "expected"]
                header.append("failed")
            rows = [
                [f"{level:g}", *(cell for group in groups for cell in _cells(means[group, level]))]
                for level in levels
            ]
            parts.append(table(header, rows))
        if self.poses:
            parts.append(self._pose_table())
        heads = list(dict.fromkeys((r["set"], r["head"]) for r in self.records))
        count = {group: sum(g == group for g, _ in heads) for group, _ in heads}
        told = ", ".join(f"{group} {n}" for group, n in count.items())
        parts.append(f"Heads: {told}.\n{provenance([self.environment])}")
        return "\n\n".join(parts) + "\n"

    def _means(self, factor: Factor) -> dict[tuple[str, float], dict[str, Any]]:
        """Means over heads by set and level."""
        found: dict[tuple[str, float], list[Record]] = {}
        for r in self.records:
            if r["factor"] == factor.name:
                found.setdefault((r["set"], r["level"]), []).append(r)
        return {key: _mean(records) for key, records in found.items()}

    def _pose_table(self) -> str:
        rows = []
        groups = list(dict.fromkeys(p["set"] for p in self.poses))
        for group in [*groups, *(["all"] if len(groups) > 1 else [])]:
            own = [p for p in self.poses if group in ("all", p["set"])]
            off = np.array([np.inf if p["failure"] else p["deviation"] for p in own])
            good = off <= SUCCESS
            rows.append([
                group, str(len(own)), f"{100 * good.mean():.1f} %", f"{np.median(off):.2g}",
                f"{off.max():.2g}", str(sum(p["failure"] is not None for p in own)),
            ])  # fmt: skip
        header = (
            "start pose and unit", "starts", f"within {SUCCESS:g} mm of the upright fit",
            "median (mm)", "worst (mm)", "failed",
        )  # fmt: skip
        return table(header, rows)

    def pictures(self) -> Iterator[Path]:
        """Write one plot a factor, and heads under the most of each."""
        lines: list[tuple[str, Sequence[float], Sequence[float], str]]
        for factor in self.factors:
            means = self._means(factor)
            lines = []
            for k, group in enumerate(dict.fromkeys(key[0] for key in means)):
                for kind, label, dash in (("seen", "seen", "-"), ("lost", "lost, filled in", "--")):
                    points = [
                        (level, value[kind])
                        for (g, level), value in means.items()
                        if g == group and value[kind] is not None
                    ]
                    if len(points) > 1:
                        x, y = zip(*points, strict=True)
                        lines.append((f"{group}, {label}", x, y, f"C{k}o{dash}"))
            if lines:
                path = self.folder / f"robust-{factor.name.replace(' ', '-')}.png"
                curves(path, [Panel(factor.name, factor.unit, "mean error (mm)", lines)])
                yield path
        lines = []
        for k, group in enumerate(dict.fromkeys(p["set"] for p in self.poses)):
            off = np.sort(
                [p["deviation"] for p in self.poses if p["set"] == group and not p["failure"]]
            )
            total = sum(p["set"] == group for p in self.poses)
            if len(off):
                share = 100 * np.arange(1, len(off) + 1) / total
                lines.append((group, list(share), list(np.maximum(off, 1e-9)), f"C{k}.-"))
        if lines:
            path = self.folder / "robust-pose.png"
            title = "start pose and unit"
            axes = ("starts, % (sorted)", "off the upright fit (mm)")
            curves(path, [Panel(title, *axes, lines, log_y=True)])
            yield path
        for group, (head, columns) in self.shapes.items():
            path = self.folder / f"robust-heads-{group}.png"
            title = f"{group} {head.name}.  Grey: not covered by the scan that nothing was done to."
            heat_maps(path, title, columns, head.faces, head.covered)
            yield path


def _fit(
    morpher: licp.Morpher, head: Head, worse: Head, factor: Factor, level: float, threads: int
) -> tuple[Record, Floats | None]:
    record: Record = {
        "factor": factor.name, "level": level, "set": head.group, "head": head.name,
        "failure": None,
    }  # fmt: skip
    clock = time.perf_counter()
    try:
        fit = morpher.morph((worse.scan_vertices, worse.scan_faces), threads=threads)
    except LicpError as error:
        return record | {"failure": f"{type(error).__name__}: {error}"}, None
    record["seconds"] = time.perf_counter() - clock
    there = worse.covered if factor.cuts else np.ones(len(head.covered), bool)
    seen, lost = head.covered & there, head.covered & ~there
    for name, where in (("seen", seen), ("lost", lost)):
        told = errors(fit.vertices, worse.truth, where)
        if told is None:
            record[name] = None
            continue
        expected = float(fit.expected_error[where].mean())
        record[name] = {"mean": told.mean, "p95": told.p95, "expected": expected}
    return record, fit.vertices


def _mean(records: Sequence[Record]) -> dict[str, Any]:
    good = [r for r in records if not r["failure"]]
    out: dict[str, Any] = {"failed": len(records) - len(good)}
    for name, kind, key in (
        ("seen", "seen", "mean"),
        ("seen expected", "seen", "expected"),
        ("p95", "seen", "p95"),
        ("lost", "lost", "mean"),
        ("lost expected", "lost", "expected"),
    ):
        values = [r[kind][key] for r in good if r[kind] is not None]
        out[name] = float(np.mean(values)) if values else None
    return out


def _cells(mean: dict[str, Any]) -> list[str]:
    kinds = ("seen", "seen expected", "p95", "lost", "lost expected")
    numbers = ("-" if mean[k] is None else f"{mean[k]:.2f}" for k in kinds)
    return [*numbers, str(mean["failed"])]


def _angle(move: licp.Similarity) -> float:
    return float(np.rad2deg(np.arccos(np.clip((np.trace(move.rotation) - 1) / 2, -1, 1))))
