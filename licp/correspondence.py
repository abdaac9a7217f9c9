"""Correspondences: which point of the scan each template vertex is drawn to, and how much."""

from copy import copy
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from licp.closest import leaning_feet
from licp.compiled import kernel
from licp.feature_tree import FeatureTree, Looks
from licp.geometry import all_of, any_of
from licp.schedule import Stage
from licp.similarity import Similarity
from licp.surface import Surface
from licp.territory import Territory
from licp.threads import ALONE, Crew
from licp.traits import Traits
from licp.walk import walk_nearest

__all__ = ["Matcher", "Matches", "StageMatcher", "State"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Feet = tuple[Ints, Floats, Floats, Floats]
Ends = tuple[Floats, Floats, Bools, Bools]


# Stiffness length below which matches end on the full scan where the search is on a thinner one:
# 6 mm of 400.  What stiffer stages cannot bend to need not be looked up.
_SETTLED = 0.015


# What normals weigh in a match's lean towards where they agree, in parts of their weight in the
# search.  1 takes another 3 % of the error of MakeHuman heads and adds 1 % to that of ICT heads;
# less in the search as well loses wide open mouths.
_LEAN = 0.7


# Least cosine between the normals of a match for vertices inside of something: lips and lids agree,
# nostrils that a scanner closed do not.  With the 0.6 of all others their linings come out of the
# nose; 0.75 to 0.85 are alike, with 0.9 open lids do not close any more.
_INSIDE = 0.8


class State(IntEnum):
    """Why a template vertex was matched, or not.

    ``MATCHED`` vertices were seen by the scan; all others were filled in by what surrounds them.

    Attributes
    ----------
    MATCHED
    BORDER
        Its match lies on the border of the scan or of a hole, or it lies beyond that.
    NORMAL
        The surfaces face different ways.
    DISTANCE
        Its match is too far away.
    MASKED
        It was told not to match, it or its match.
    COMPONENT
        It belongs to a small separate part, which follows its surroundings.
    REGION
        No scan vertex carries its region label.
    HIDDEN
        It lies inside or at the mouth of something, and met nothing near that faces its way.
    ABSENT
        The scan shows no such part (see :mod:`licp.absence`).

    Examples
    --------
    >>> print(State(1), State.BORDER == 1)
    border True
    """

    MATCHED = 0
    BORDER = 1
    NORMAL = 2
    DISTANCE = 3
    MASKED = 4
    COMPONENT = 5
    REGION = 6
    HIDDEN = 7
    ABSENT = 8

    def __str__(self) -> str:
        """The name in lower case, as in reports."""
        return self.name.lower()


@dataclass(frozen=True, eq=False)
class Matches:
    """One match for each template vertex.

    Attributes
    ----------
    points : (n, 3) float64
        Where each vertex is drawn to.
    normals : (n, 3) float64
        The scan's unit normals there.
    state : (n,) uint8
        A :class:`State`; only ``MATCHED`` ones pull.
    curvature : (n, k) float64
        Features of the scan where it was found that looks most like each vertex.
    """

    points: Floats
    normals: Floats
    state: NDArray[np.uint8]
    curvature: Floats


class Matcher:
    """Finds matches on one scan.

    The search is in feature space: (position, normal, curvature at two scales), weighted by
    the stage, so that what tells tangential position leads while positions do not mean much yet.
    The foot is then the exact closest point on the triangles around the vertex that was found,
    moved towards the point of them that is closest in position and normal.

    Parameters
    ----------
    target : Surface
        The scan in the template's frame and unit, at a spacing fit for the search.
    features : (s, k) float64
        Curvature features of its vertices.
    fine : (Surface, (s,) int64), optional
        The full scan, on which matches of soft stages end, if ``target`` is a coarser one, and its
        vertex near each one of ``target``.
    ignored : bool, optional
        Vertices of the scan that must not pull: of the full one, if there is one.
    labels : (s,) int, optional
        Regions of the scan vertices.
    crew : Crew
        Who shares the work.
    """

    def __init__(
        self,
        target: Surface,
        features: Floats,
        *,
        fine: tuple[Surface, Ints] | None = None,
        ignored: Bools | None = None,
        labels: Ints | None = None,
        crew: Crew = ALONE,
    ) -> None:
        self.target = target
        self.fine = fine
        self.ignored = ignored if ignored is None or fine is None else ignored[fine[1]]
        self.fine_ignored = ignored
        self.labels = labels
        self.crew = crew
        self.looks = Looks(target.vertices, target.normals, features)
        self.tree = FeatureTree(self.looks)

    def moved(self, move: Similarity) -> "Matcher":
        """The same scan elsewhere; curvature features stay what they are."""
        other = copy(self)
        other.target = self.target.moved(move)
        other.fine = None if self.fine is None else (self.fine[0].moved(move), self.fine[1])
        other.looks = self.looks.moved(move)
        other.tree = self.tree.moved(move)
        return other

    def labelled(self, traits: Traits) -> Territory | None:
        """What labels permit; None if template or scan have none."""
        if traits.labels is None or self.labels is None:
            return None
        return Territory.of_labels(traits.labels, self.labels)

    def at(self, stage: Stage) -> "StageMatcher":
        """With the weights and gates of one stage."""
        return StageMatcher(self, stage)


class StageMatcher:
    """Matches with the weights and gates of one stage."""

    def __init__(self, matcher: Matcher, stage: Stage) -> None:
        self._scan = matcher
        self.stage = stage

    def resemblance(self, vertices: Floats, normals: Floats, traits: Traits) -> Ints:
        """Template vertex that each scan vertex looks most like, -1 beyond the distance gate, (s,).

        Parameters
        ----------
        vertices, normals : (n, 3) float64
            The template as it is now.
        traits : Traits
            Of its vertices.
        """
        tree = FeatureTree(Looks(vertices, normals, traits.features))
        gap, at = self._nearest(tree, self._scan.looks)
        return np.where(gap < self.stage.distance_gate, at, -1)

    def _nearest(self, tree: FeatureTree, looks: Looks) -> tuple[Floats, Ints]:
        s = self.stage
        return tree.nearest(looks, s.normal_weight, s.curvature_weight, self._scan.crew)

    def _search(self, looks: Looks, territory: Territory | None) -> Ints:
        """Nearest scan vertex in feature space, -1 where the territory has none, (n,)."""
        scan = self._scan
        found = self._nearest(scan.tree, looks)[1]
        if territory is None:
            return found

        def again(mine: Ints, among: Ints) -> Ints:
            here = FeatureTree(scan.looks.some(among))
            return among[self._nearest(here, looks.some(mine))[1]]

        return territory.keep(found, again)

    def _feet(self, vertices: Floats, normals: Floats, near: Ints) -> Feet:
        """Where on the triangles around the vertices that were found matches end."""
        target = self._scan.target
        # Not in curvature, which differs between heads: 8 % more error on one family of heads.
        lean = _LEAN * self.stage.normal_weight
        surface = target.vertices, target.normals, target.faces
        return leaning_feet(vertices, normals, near, *surface, *target.fans, lean)

    def _ends(self, vertices: Floats, normals: Floats, near: Ints) -> Ends:
        """Feet on the scan, which way it faces there, and which gates of the scan they fail.

        These are its border, on which they lie or from beyond which they come, and what is ignored.
        """
        scan, target = self._scan, self._scan.target
        face, barycentric, points, facing = self._feet(vertices, normals, near)
        # Beyond the rim of a scan the search in feature space finds something inside that looks
        # alike; the nearest point tells.
        if scan.fine is None:
            on_border = target.border.holds(face, barycentric) | _beyond(vertices, near, target)
        elif self.stage.stiffness >= _SETTLED:
            # Thinning leaves slits, so only vertices tell the border.
            beside_it = target.at_border[target.faces[face]] | (barycentric <= 0)
            nearest = walk_nearest(vertices, near, target.vertices, target.neighbours)
            on_border = all_of(beside_it) | target.at_border[nearest]
        else:
            fine, beside = scan.fine
            at = walk_nearest(points, beside[near], fine.vertices, fine.neighbours)
            fine_face, fine_barycentric, points = fine.project(points, at)
            on_border = fine.border.holds(fine_face, fine_barycentric)
            on_border |= _beyond(vertices, at, fine)
            ignored = _touch(scan.fine_ignored, fine, fine_face, fine_barycentric)
            return points, facing, on_border, ignored
        return points, facing, on_border, _touch(scan.ignored, target, face, barycentric)

    def match(
        self,
        vertices: Floats,
        normals: Floats,
        traits: Traits,
        territory: Territory | None = None,
    ) -> Matches:
        """Match every vertex of the template and apply the gates.

        Parameters
        ----------
        vertices, normals : (n, 3) float64
            The template as it is now.
        traits : Traits
            Of its vertices; curvature is the undeformed template's.
        territory : Territory, optional
            What the vertices may match; anything if not given.
        """
        scan, stage = self._scan, self.stage
        looks = Looks(vertices, normals, traits.features)
        near = self._search(looks, territory)
        nowhere = near < 0
        near = np.where(nowhere, 0, near)
        ends = scan.crew.share_rows(self._ends, vertices, normals, near)
        points, facing, on_border, ignored = ends
        gates = stage.distance_gate, stage.normal_gate, _INSIDE
        state = _states(vertices, normals, points, facing, on_border, traits.reach, *gates)
        state[traits.beyond] = State.BORDER
        state[ignored] = State.MASKED
        state[nowhere] = State.REGION
        return Matches(points, facing, state, scan.looks.curvature[near])


def _beyond(points: Floats, near: Ints, surface: Surface) -> Bools:
    """Whether the nearest points of a surface, walked to from vertices, lie on its border, (q,)."""
    at = walk_nearest(points, near, surface.vertices, surface.neighbours)
    beyond = surface.beside_border[at]
    mesh = surface.vertices, surface.faces, surface.incidence
    beyond[beyond] = surface.border.nearest_to(points[beyond], at[beyond], *mesh)
    return beyond


def _touch(flags: Bools | None, surface: Surface, face: Ints, barycentric: Floats) -> Bools:
    """Whether points of a surface belong to a flagged vertex, (q,)."""
    if flags is None:
        return np.zeros(len(face), bool)
    return any_of(flags[surface.faces[face]] & (barycentric > 0))


_MATCHED, _BORDER, _NORMAL, _DISTANCE, _HIDDEN = (
    int(s) for s in (State.MATCHED, State.BORDER, State.NORMAL, State.DISTANCE, State.HIDDEN)
)


@kernel
def _states(
    X: Any,
    N: Any,
    points: Any,
    facing: Any,
    on_border: Any,
    reach: Any,
    farthest: float,
    least_cosine: float,
    inside_cosine: float,
) -> Any:
    """Which gates matches pass; the last one that they do not is told."""
    state = np.empty(len(X), np.uint8)
    for i in range(len(X)):
        squared, cosine = 0.0, 0.0
        for k in range(3):
            squared += (points[i, k] - X[i, k]) ** 2
            cosine += N[i, k] * facing[i, k]
        gap, cosine = np.sqrt(squared), min(max(cosine, -1.0), 1.0)
        state[i] = _MATCHED
        if gap > farthest:
            state[i] = _DISTANCE
        if np.isfinite(reach[i]) and (gap > reach[i] or cosine < inside_cosine):
            state[i] = _HIDDEN
        if cosine < least_cosine:
            state[i] = _NORMAL
        if on_border[i]:
            state[i] = _BORDER
    return state
