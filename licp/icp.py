"""Laplacian ICP: match, weigh, solve, move."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from licp.correspondence import Matcher, Matches, StageMatcher, State
from licp.errors import OverlapError, SolverError
from licp.landmarks import BoundLandmarks
from licp.result import StageRecord
from licp.schedule import Stage
from licp.solver import ElasticSolver
from licp.template import PreparedTemplate
from licp.territory import Places, Territory
from licp.traits import Traits

__all__ = ["Encounter", "Iteration", "Shape", "Watch", "deform"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# A solve starts from this part of the last step: 14 % fewer iterations of conjugate gradients; with
# 0.3 or 0.9 half of that.
_AHEAD = 0.5
# No fit is further off, in sizes of the template.
_FAR = 1e3


@dataclass(frozen=True, eq=False)
class Iteration:
    """What a callback is told after each iteration.

    Attributes
    ----------
    number, total : int
        Of iterations, from 1.
    stage : Stage
    vertices : (m, 3) float64
        The deforming part of the template, in the scan's frame; where it runs through itself after
        the last iteration, it is still taken apart (see :func:`licp.untangle.untangled`).
    energy, matched, median_residual, step : float
        As in :class:`licp.StageRecord`.
    """

    number: int
    total: int
    stage: Stage
    vertices: Floats
    energy: float
    matched: float
    median_residual: float
    step: float


Watch = Callable[[Iteration], bool]
"""Told the iterations, with vertices in the template's frame; ends the run if it returns True."""


@dataclass(frozen=True, eq=False)
class Encounter:
    """A template and a scan in the template's frame, and what their matches must heed.

    Attributes
    ----------
    template : PreparedTemplate
    matcher : Matcher
        Of the scan.
    marks : BoundLandmarks or None
        Known pairs.
    places : Places or None
        What the sets of the stages may match.
    tolerance : float
        Relative accuracy of a linear solve.
    """

    template: PreparedTemplate
    matcher: Matcher
    marks: BoundLandmarks | None
    places: Places | None
    tolerance: float

    def territory(self, stage: Stage, traits: Traits) -> Territory | None:
        """What vertices may match: by labels of template and scan, or by the sets of a stage."""
        places = self.places
        return self.matcher.labelled(traits) if places is None else places.of(stage.sets, traits)

    def trusting(self, factor: Floats) -> "Encounter":
        """The same with the trust in the match of each vertex of the body times a factor (m,)."""
        return replace(self, template=self.template.trusting(factor))


@dataclass(frozen=True, eq=False)
class Shape:
    """Where the loop ended.

    Attributes
    ----------
    number : int
        Of the level.
    vertices : (c, 3) float64
        Of that level, in the template's frame.
    matches : Matches
        The last ones.
    search : StageMatcher
        What found them.
    history : tuple of StageRecord
    stopped : bool
        Whether it was told to.
    """

    number: int
    vertices: Floats
    matches: Matches
    search: StageMatcher
    history: tuple[StageRecord, ...]
    stopped: bool


def deform(
    encounter: Encounter,
    stages: tuple[Stage, ...],
    *,
    stiffest: float | None = None,
    start: Floats | None = None,
    watch: Watch | None = None,
) -> Shape:
    """Match, weigh, solve, move: Laplacian ICP in the template's frame.

    Parameters
    ----------
    encounter : Encounter
        Template and scan.
    stages : tuple of Stage
        Done in order.
    stiffest : float, optional
        Stiffness length at which uncertain landmarks count in full; that of the first stage if not
        given.
    start : (m, 3) float64, optional
        Where the body begins; undeformed if not given.
    watch : callable, optional
        Told every iteration.

    Raises
    ------
    OverlapError
        If not one vertex has a match that passes the gates, in a stage without landmarks or in
        the end.
    SolverError
        If nothing holds parts of the template.
    """
    pyramid, matcher = encounter.template.pyramid, encounter.matcher
    begin = matcher.crew.begin
    total = sum(stage.iterations for stage in stages)
    history: list[StageRecord] = []
    done, stop = 0, False
    number = pyramid.fit_for(stages[0].stiffness)
    level = pyramid.levels[number]
    X = level.rest if start is None else pyramid.on(start, number)
    d: Floats | None = None
    solver, hung = ElasticSolver(level.system), pyramid.bound(encounter.marks, number)
    for stage in stages:
        clock, first, inner, factors = time.perf_counter(), done, 0, 0
        wanted = pyramid.fit_for(stage.stiffness)
        if wanted > number:
            X = pyramid.refined(X, number, wanted)
            number, level, d = wanted, pyramid.levels[wanted], None
            solver, hung = ElasticSolver(level.system), pyramid.bound(encounter.marks, number)
        search, territory = matcher.at(stage), encounter.territory(stage, level.traits)
        alpha, detail = stage.stiffness**4, stage.stiffness / (stiffest or stages[0].stiffness)
        for _ in range(stage.iterations):
            # Neither needs the matches; the first only guesses their weights.
            ready = begin(solver.expect, alpha, encounter.tolerance)
            bent = begin(level.bend, X)
            matches = search.match(X, level.normals(X), level.traits, territory)
            w, pull, along = level.weigh(X, matches, hung, detail)
            if not w.any():
                raise _unmatched(matches, level.traits.free)
            bend, force = bent()
            ready()
            d, info = solver.solve(
                alpha, w, pull - alpha * force,
                tol=encounter.tolerance, along=along, guess=None if d is None else _AHEAD * d,
            )  # fmt: skip
            told = level.measure(X, matches, alpha * bend, d)
            X = X + d

            done, inner, factors = done + 1, inner + info.iterations, factors + info.refactored
            if watch is not None:
                now = pyramid.refined(X, number, pyramid.last)
                stop = watch(Iteration(done, total, stage, now, *told))
            if stop:
                break
        seconds = time.perf_counter() - clock
        history.append(StageRecord(stage.stiffness, *told, done - first, inner, factors, seconds))
        if stop:
            break
    if not (np.abs(X) < _FAR).all():
        raise SolverError(
            f"the template was thrown {np.abs(X).max():.1g} times its size away: parts of it hang "
            "on nothing; merge equal vertices if its faces do not share any"
        )
    # Landmarks may have held the template where the scan is not.
    pulls = (matches.state == State.MATCHED) & level.traits.free
    if not (stop or pulls.any()):
        raise _unmatched(matches, level.traits.free)
    return Shape(number, X, matches, search, tuple(history), stop)


def _unmatched(matches: Matches, free: Bools) -> OverlapError:
    counts = np.bincount(matches.state[free], minlength=len(State))
    told = [f"{counts[s]} {s}" for s in State if counts[s]]
    told += [f"{np.count_nonzero(~free)} that may not match"] if not free.all() else []
    return OverlapError(
        f"not one template vertex has a match that passes the gates: {', '.join(told)}; "
        "check landmarks, masks, labels, start and winding"
    )
