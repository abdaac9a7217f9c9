"""Correspondences: which point of the scan each template vertex is drawn to, and how much."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from licp.schedule import Stage
from licp.similarity import Similarity
from licp.surface import Surface, nearest

__all__ = ["Matcher", "Matches", "State"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class State(IntEnum):
    """Why a template vertex was matched, or not."""

    MATCHED = 0
    BORDER = 1
    """Its match lies on the border of the scan or of a hole."""
    NORMAL = 2
    """The surfaces face different ways."""
    DISTANCE = 3
    """Its match is too far away."""
    MASKED = 4
    """It was told not to match, it or its match."""
    COMPONENT = 5
    """It belongs to a small separate part, which follows its surroundings."""
    REGION = 6
    """No scan vertex carries its region label."""
    HIDDEN = 7
    """It lies inside (mouth bag, eye socket, nostril), where no scanner sees it."""


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
    """

    points: Floats
    normals: Floats
    state: NDArray[np.uint8]


class Matcher:
    """Finds matches on one scan.

    The search is in feature space: (position, normal, curvature at several scales), weighted by
    the stage, so that what tells tangential position leads while positions do not mean much yet.
    The foot is then the exact closest point on the triangles around the vertex that was found.

    Parameters
    ----------
    target : Surface
        The scan in the template's frame and unit, at a spacing fit for the search.
    features : (s, k) float64
        Curvature features of its vertices.
    fine : Surface, optional
        The full scan, on which matches end, if ``target`` is a coarser one.
    ignored : (s,) bool, optional
        Scan vertices that must not pull.
    labels : (s,) int, optional
        Regions of the scan vertices.
    workers : int
        Threads of the search.
    """

    def __init__(
        self,
        target: Surface,
        features: Floats,
        *,
        fine: Surface | None = None,
        ignored: Bools | None = None,
        labels: Ints | None = None,
        workers: int = 1,
    ) -> None:
        self.target = target
        self.features = features
        self.fine = fine
        self.ignored = ignored
        self.labels = labels
        self.workers = workers

    def moved(self, move: Similarity) -> "Matcher":
        """The same scan elsewhere; curvature features stay what they are."""
        return Matcher(
            self.target.moved(move),
            self.features,
            fine=None if self.fine is None else self.fine.moved(move),
            ignored=self.ignored,
            labels=self.labels,
            workers=self.workers,
        )

    def at(self, stage: Stage) -> "StageMatcher":
        """Search structures for the weights of one stage."""
        return StageMatcher(self, stage)


class StageMatcher:
    """Matches with the weights and gates of one stage."""

    def __init__(self, matcher: Matcher, stage: Stage) -> None:
        self._scan = matcher
        self._stage = stage
        target = matcher.target
        self._space = self._features(target.vertices, target.normals, matcher.features)
        self._whole = self._tree(None)

    def _features(self, points: Floats, normals: Floats, curvature: Floats) -> Floats:
        s = self._stage
        return np.hstack([points, s.normal_weight * normals, s.curvature_weight * curvature])

    def _tree(self, among: Ints | None) -> KDTree:
        space = self._space if among is None else self._space[among]
        return KDTree(space, balanced_tree=False, compact_nodes=False)

    def _search(self, queries: Floats, labels: Ints | None) -> Ints:
        """Nearest scan vertex in feature space, -1 where no vertex has the label, (n,).

        Template vertices labelled -1 may match anything; so may scan vertices labelled -1 be
        matched by anything.
        """
        workers = self._scan.workers
        if labels is None or self._scan.labels is None:
            return nearest(self._whole, queries, workers)[1]
        found = np.full(len(queries), -1, np.int64)
        for label in np.unique(labels):
            mine = np.flatnonzero(labels == label)
            if label < 0:
                found[mine] = nearest(self._whole, queries[mine], workers)[1]
                continue
            among = np.flatnonzero((self._scan.labels == label) | (self._scan.labels < 0))
            if len(among):
                found[mine] = among[nearest(self._tree(among), queries[mine], workers)[1]]
        return found

    def match(
        self,
        vertices: Floats,
        normals: Floats,
        curvature: Floats,
        labels: Ints | None = None,
        reach: Floats | float = np.inf,
    ) -> Matches:
        """Match every vertex of the template and apply the gates.

        Parameters
        ----------
        vertices, normals : (n, 3) float64
            The template as it is now.
        curvature : (n, k) float64
            Its features.
        labels : (n,) int64, optional
            Its regions.
        reach : float or (n,) float64
            Longest residual of each vertex, where that is less than the distance gate.
        """
        scan, stage, target = self._scan, self._stage, self._scan.target
        near = self._search(self._features(vertices, normals, curvature), labels)
        nowhere = near < 0
        near = np.where(nowhere, 0, near)
        face, barycentric, points = target.project(vertices, near)
        facing = target.normals_at(face, barycentric)
        if scan.fine is None:
            on_border = target.border.holds(face, barycentric)
        else:
            at = nearest(scan.fine.points, points, scan.workers)[1]
            fine_face, fine_barycentric, points = scan.fine.project(points, at)
            on_border = scan.fine.border.holds(fine_face, fine_barycentric)
        # Beyond the rim of a scan the search in feature space finds something inside that looks
        # alike; the nearest point tells.
        beyond = nearest(target.points, vertices, scan.workers)[1]
        on_border |= target.at_border[beyond]
        cosine = np.clip(np.einsum("ij,ij->i", normals, facing), -1.0, 1.0)
        residual = np.linalg.norm(points - vertices, axis=1)

        state = np.full(len(vertices), State.MATCHED, np.uint8)
        state[residual > stage.distance_gate] = State.DISTANCE
        state[residual > reach] = State.HIDDEN
        state[cosine < stage.normal_gate] = State.NORMAL
        state[on_border] = State.BORDER
        if scan.ignored is not None:
            hit = (scan.ignored[target.faces[face]] & (barycentric > 0)).any(1)
            state[hit] = State.MASKED
        state[nowhere] = State.REGION
        return Matches(points, facing, state)
