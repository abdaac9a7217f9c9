"""What each ingredient of the default earns: the same heads with one switched off at a time.

Where a public parameter does it, it is used.  Elsewhere a function or constant of the library is
replaced while a variant runs, since the product has no switches for this.  Where such a name is not
there any more, the row says so.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

import licp
from benchmarks.heads import Head, HeadSet, generated_head, head_regions
from benchmarks.measures import measure
from benchmarks.report import bars, environment, provenance, table, write_json
from data_fixtures.head import template as made_up_template
from licp.errors import LicpError
from licp.schedule import Schedule

__all__ = ["DEFAULT", "VARIANTS", "Ablation", "Variant", "paired"]

Record = dict[str, Any]
Replacement = Callable[[Any], Any]


@dataclass(frozen=True)
class Variant:
    """The default with one thing changed.

    Attributes
    ----------
    name, instead : str
        The ingredient, and what stands in its place.
    schedule : callable
        From the default schedule to the one that is used.
    replaced : mapping of str to callable
        Full names, and what makes the replacement of what is there.
    true_pose : bool
        Whether to start from the best similarity to the truth.
    regions : bool
        Whether the template comes with regions.
    """

    name: str
    instead: str
    schedule: Callable[[Schedule], Schedule] = lambda schedule: schedule
    replaced: Mapping[str, Replacement] = field(default_factory=dict)
    true_pose: bool = False
    regions: bool = False

    def active(self) -> ExitStack:
        """Context in which the replacements hold.

        Raises
        ------
        AttributeError, ImportError
            If the library has no such name.
        """
        with ExitStack() as stack:
            for name, make in self.replaced.items():
                stack.enter_context(patch(name, make(resolve_name(name))))
            return stack.pop_all()


def _each(**values: Any) -> Callable[[Schedule], Schedule]:
    """The same values in all stages."""
    return lambda s: replace(s, stages=tuple(replace(stage, **values) for stage in s))


def _fixed(s: Schedule) -> Schedule:
    """Search weights as in the middle of the ladder throughout."""
    first, last = s.stages[0], s.stages[-1]
    middle = {
        name: float(np.sqrt(getattr(first, name) * getattr(last, name)))
        for name in ("normal_weight", "curvature_weight")
    }
    return _each(**middle)(s)


def _single(s: Schedule) -> Schedule:
    iterations = sum(stage.iterations for stage in s)
    return replace(s, stages=(replace(s.stages[-1], iterations=iterations),))


def _regional(s: Schedule) -> Schedule:
    return Schedule.regional(made_up_template().regions, len(s))


def _stages(count: int) -> Variant:
    name = f"{len(Schedule.progressive())} stages"
    return Variant(name, f"{count} stages", lambda _: Schedule.progressive(count))


def _no_border(holds: Any) -> Any:
    return lambda self, face, barycentric: np.zeros(len(face), bool)


def _no_rim(beyond: Any) -> Any:
    return lambda points, near, surface: np.zeros(len(points), bool)


def _at_vertex(project: Any) -> Any:
    def vertex_as_foot(self: Any, points: Any, near: NDArray[np.int64]) -> Any:
        start, faces = self.incidence
        face = faces[start[near]]
        corner = (self.faces[face] == near[:, None]).astype(np.float64)
        return face, corner, self.vertices[near]

    return vertex_as_foot


def _vertices_as_feet(_: Any) -> Any:
    def feet(self: Any, vertices: Any, normals: Any, near: NDArray[np.int64]) -> Any:
        target = self._scan.target
        face, corner, points = _at_vertex(None)(target, vertices, near)
        return face, corner, points, target.normals[near]

    return feet


_RIM: dict[str, Replacement] = {"licp.correspondence._beyond": _no_rim}
_BORDER: dict[str, Replacement] = {"licp.closest.Border.holds": _no_border}
_STAY: dict[str, Replacement] = {
    "licp.posing.refine_alignment": lambda f: lambda *a, **k: f(*a, **k | {"steps": 0})
}
_BEND: dict[str, Replacement] = {"licp.morph.bend_roughly": lambda _: lambda *_: None}
_LEFT: dict[str, Replacement] = {
    "licp.bending.redrawn": lambda _: lambda rest, told, *_: told,
}
_TANGLED: dict[str, Replacement] = {
    "licp.untangle.untangle": lambda _: lambda rest, vertices, *_: vertices,
    "licp.untangle.unfold": lambda _: lambda rest, vertices, *_: vertices,
}


def _constant(name: str, value: float) -> dict[str, Replacement]:
    return {name: lambda _: value}


DEFAULT = Variant("default", "")
VARIANTS = (
    Variant(
        "scans without noise of single vertices", "as they are",
        replaced={"licp.scan.faired": lambda _: lambda surface: surface},
    ),
    Variant("curvature in the search", "`curvature_weight=0`", _each(curvature_weight=0.0)),
    Variant("normals in the search", "`normal_weight=0`", _each(normal_weight=0.0)),
    Variant("annealed search weights", "their geometric middle throughout", _fixed),
    Variant(
        "progressive schedule",
        "as many iterations of the last stage; no coarse levels, no first bending",
        _single,
    ),
    Variant("local-similarity rest shape", "`controls=0`", lambda s: replace(s, controls=0)),
    Variant("border gate", "matches on the border pull", replaced=_BORDER),
    Variant("gate beyond the rim", "matches beyond it pull", replaced=_RIM),
    Variant("both gates at borders", "both pull", replaced=_BORDER | _RIM),
    Variant(
        "what the first bending found beyond the rim", "may match later",
        replaced=_constant("licp.bending._NEAR", np.inf),
    ),
    Variant("normal gate", "`normal_gate=-1`", _each(normal_gate=-1.0)),
    Variant("distance gate", "`distance_gate=1000`", _each(distance_gate=1000.0)),
    Variant(
        "gates of hidden vertices", "those of all others",
        replaced=_constant("licp.template._HIDDEN_REACH", np.inf),
    ),
    Variant("taking apart what crosses", "it stays", replaced=_TANGLED | _LEFT),
    Variant("what cannot be taken apart is redrawn", "it stays", replaced=_LEFT),
    Variant(
        "doubt where it ran through itself", "none", replaced=_constant("licp.doubting._DOUBTS", 0)
    ),
    Variant("pose refined by features", "0 steps", replaced=_STAY),
    Variant("pose refined by a first bending", "none", replaced=_BEND),
    Variant("both refinements of the pose", "global search only", replaced=_STAY | _BEND),
    Variant("own pose", "best similarity to the truth (an oracle)", true_pose=True),
    Variant(
        "sliding along the surface", "equal weight in all directions",
        replaced=_constant("licp.level._SLIDE", 1.0),
    ),
    Variant(
        "dense parts of the template weigh more", "matches weigh by area",
        replaced=_constant("licp.template._BY_AREA", 1.0),
    ),
    Variant(
        "coarse levels", "full resolution throughout",
        replaced=_constant("licp.level._WIDEST", 0.0),
    ),
    Variant(
        "coarse levels as dense as the template", "their vertices evenly spread",
        replaced=_constant("licp.level._DENSEST", 1.0) | _constant("licp.level._SPARSEST", 1.0),
    ),
    Variant(
        "exact foot on triangles", "nearest vertex",
        replaced={
            "licp.surface.Surface.project": _at_vertex,
            "licp.correspondence.StageMatcher._feet": _vertices_as_feet,
        },
    ),
    Variant(
        "normals in the foot", "nearest in position",
        replaced=_constant("licp.correspondence._LEAN", 0.0),
    ),
    Variant(
        "loose solves", "relative accuracy 1e-6",
        replaced=_constant("licp.morph._SOLVE", 1e-6),
    ),
    Variant("one correspondence set", "7, then 10: with regions", _regional, regions=True),
    *(_stages(count) for count in (8, 10, 16, 24)),
)  # fmt: skip


class Ablation:
    """Records of fits, one a variant and head, and a folder for them.

    Parameters
    ----------
    folder : Path
        ``results.json`` and ``table.md`` are written there.
    variants : sequence of Variant
        Besides the default.
    """

    def __init__(self, folder: Path, variants: Sequence[Variant] = VARIANTS) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.variants = variants
        self.records: list[Record] = []
        self.environment: Record = {}

    def run(self, sets: Iterable[HeadSet], threads: int) -> Iterator[Record]:
        """Morph everything, yielding each record; no failure stops this."""
        self.environment = environment(threads)
        small = generated_head(0, 1000, 3000)
        _fit(DEFAULT, small, _morpher(DEFAULT, small), threads, None)  # compiles
        for heads in sets:
            morphers: dict[int, licp.Morpher] = {}
            for head in heads:
                usual: NDArray[Any] | None = None
                for k, variant in enumerate((DEFAULT, *self.variants)):
                    with ExitStack() as stack:
                        try:
                            stack.enter_context(variant.active())
                        except (AttributeError, ImportError) as error:
                            why = f"not in this version: {error}"
                            record, shape = _record(variant, head, why), None
                        else:
                            if k not in morphers:
                                morphers[k] = _morpher(variant, head)
                            record, shape = _fit(variant, head, morphers[k], threads, usual)
                    usual = shape if variant is DEFAULT else usual
                    self.records.append(record)
                    yield record

    def write(self) -> None:
        """Write results and table."""
        write_json(
            self.folder / "results.json",
            {"environment": self.environment, "records": self.records},
        )
        (self.folder / "table.md").write_text(self.markdown(), "utf-8")

    def markdown(self) -> str:
        """The table, and where it comes from."""
        groups = list(dict.fromkeys(r["set"] for r in self.records))
        header = ["ingredient", "instead"]
        for group in groups:
            header += [f"{group} (mm)", "change (%)"]
            if self._any_landmarks(group):
                header.append("landmarks (mm)")
        header += ["time", "flipped", "crossings", "failed"]
        rows = [self._row(variant, groups) for variant in (DEFAULT, *self.variants)]
        count = {g: len({r["head"] for r in self.records if r["set"] == g}) for g in groups}
        return (
            table(header, rows).replace("| :-- | --: |", "| :-- | :-- |", 1)
            + f"\n\nHeads: {', '.join(f'{g} {n}' for g, n in count.items())}.\n"
            + provenance([self.environment])
            + "\n"
        )

    def pictures(self) -> Iterator[Path]:
        """Write a picture of the changes."""
        groups = list(dict.fromkeys(r["set"] for r in self.records))
        labels = [f"{v.name}: {v.instead}".replace("`", "") for v in self.variants]
        series = {}
        for group in groups:
            pairs = [self._pairs(variant, group) for variant in self.variants]
            series[group] = [paired(*_covered(p)) if p else (np.nan, np.nan) for p in pairs]
        path = self.folder / "changes.png"
        bars(path, "change of the mean error over covered vertices (%)", labels, series)
        yield path

    def _of(self, variant: Variant, group: str | None = None) -> list[Record]:
        return [
            r
            for r in self.records
            if (r["ingredient"], r["instead"]) == (variant.name, variant.instead)
            and group in (None, r["set"])
        ]

    def _pairs(self, variant: Variant, group: str) -> list[tuple[Record, Record]]:
        """Records of the default and of a variant on the heads where both did not fail."""
        both = zip(self._of(DEFAULT, group), self._of(variant, group), strict=True)
        return [(a, b) for a, b in both if not (a["failure"] or b["failure"])]

    def _any_landmarks(self, group: str) -> bool:
        return any(
            r["set"] == group and not r["failure"] and r["measures"]["landmarks"]
            for r in self.records
        )

    def _row(self, variant: Variant, groups: Sequence[str]) -> list[str]:
        row = [variant.name, variant.instead]
        both: list[tuple[Record, Record]] = []
        for group in groups:
            pairs = self._pairs(variant, group)
            both += pairs
            usual, error = _covered(pairs)
            if not pairs:
                row += ["-", "-"]
            elif variant is DEFAULT:
                row += [f"{error.mean():.3f}", ""]
            elif all(b["same"] for _, b in pairs):
                row += [f"{error.mean():.3f}", "same bits"]
            else:
                row += [f"{error.mean():.3f}", _change(*paired(usual, error))]
            if self._any_landmarks(group):
                marks = [b["measures"]["landmarks"]["mean"] for _, b in pairs]
                row.append(f"{np.mean(marks):.3f}" if marks else "-")
        missed = [r["failure"] for r in self._of(variant) if r["failure"]]
        if not both:
            return [*row, "-", "-", "-", missed[0] if missed else "-"]
        good = [b for _, b in both]
        # What takes a path of its own on some heads alone says what that costs there.
        changed = [(a, b) for a, b in both if not b["same"]] or both
        return [
            *row,
            f"{np.median([b['processor'] / a['processor'] for a, b in changed]):.2f}",
            f"{np.mean([r['measures']['flipped'] for r in good]):.1f}",
            f"{np.mean([r['measures']['crossings'] for r in good]):.1f}",
            str(len(missed)),
        ]


def paired(usual: NDArray[Any], other: NDArray[Any]) -> tuple[float, float]:
    """Change of the mean in per cent of the usual mean, and its standard error over pairs.

    Examples
    --------
    >>> import numpy as np
    >>> paired(np.array([1.0, 3.0]), np.array([1.2, 3.2]))
    (10.0, 0.0)
    """
    off = 100 * (other - usual) / usual.mean()
    spread = off.std(ddof=1) / np.sqrt(len(off)) if len(off) > 1 else np.nan
    return round(float(off.mean()), 9), round(float(spread), 9)


def _covered(pairs: Sequence[tuple[Record, Record]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Mean errors over covered vertices of the default and of a variant."""
    usual, other = ([p[k]["measures"]["covered"]["mean"] for p in pairs] for k in (0, 1))
    return np.array(usual), np.array(other)


def _change(mean: float, spread: float) -> str:
    return f"{mean:+.1f}" + ("" if np.isnan(spread) else f" ± {spread:.1f}")


def _morpher(variant: Variant, head: Head) -> licp.Morpher:
    schedule = variant.schedule(Schedule.progressive())
    regions = head_regions(head) if variant.regions else None
    return licp.Morpher((head.vertices, head.faces), schedule=schedule, regions=regions)


def _record(variant: Variant, head: Head, failure: str | None) -> Record:
    return {
        "set": head.group, "head": head.name, "ingredient": variant.name,
        "instead": variant.instead, "failure": failure,
    }  # fmt: skip


def _fit(
    variant: Variant,
    head: Head,
    morpher: licp.Morpher,
    threads: int,
    usual: NDArray[Any] | None,
) -> tuple[Record, NDArray[Any] | None]:
    """One morph: its record, and the vertices unless it failed."""
    scan = (head.scan_vertices, head.scan_faces)
    wall, busy = time.perf_counter(), time.process_time()
    try:
        result = morpher.morph(
            scan, start=head.pose if variant.true_pose else None, threads=threads
        )
    except LicpError as error:
        return _record(variant, head, f"{type(error).__name__}: {error}"), None
    wall, busy = time.perf_counter() - wall, time.process_time() - busy
    return _record(variant, head, None) | {
        "measures": measure(head, result.vertices).to_dict(),
        "seconds": wall,
        "processor": busy,
        "phases": dict(result.seconds),
        "same": usual is not None and np.array_equal(usual, result.vertices),
    }, result.vertices
