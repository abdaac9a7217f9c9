"""Search in feature space: one tree for all weights of its features and all places of its shape."""

from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from licp.compiled import kernel
from licp.errors import InputError
from licp.similarity import Similarity
from licp.threads import ALONE, Crew

__all__ = ["FeatureTree", "Looks"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Scales of curvature; kernels that know them take three quarters of the time.
_SCALES = 2
# Points of a leaf: 8 and 32 take 5 to 10 % longer.
_LEAF = 16
# Weights of normals and curvature for which boxes are cut, the middle of those that heads are
# searched with.  It hardly matters: with twice or half of them a search takes 4 % longer at most.
_CUT_NORMAL, _CUT_CURVATURE = 0.05, 0.08


@dataclass(frozen=True, eq=False)
class Looks:
    """What is compared in a search.

    Attributes
    ----------
    points, normals : (n, 3) float64
    curvature : (n, 2) float64
        At both :data:`licp.features.FEATURE_SCALES`.

    Raises
    ------
    InputError
        If they do not fit each other.
    """

    points: Floats
    normals: Floats
    curvature: Floats

    def __post_init__(self) -> None:
        """Kernels do not look."""
        n = len(self.points)
        shapes = self.points.shape, self.normals.shape, self.curvature.shape
        if shapes != ((n, 3), (n, 3), (n, _SCALES)):
            raise InputError(
                f"looks must be of shapes ({n}, 3) twice and ({n}, {_SCALES}): {shapes}"
            )

    @cached_property
    def rows(self) -> Floats:
        """All side by side, (n, 8)."""
        return np.hstack([self.points, self.normals, self.curvature])

    def some(self, which: Ints) -> "Looks":
        """Those of some of the points."""
        return Looks(self.points[which], self.normals[which], self.curvature[which])

    def moved(self, move: Similarity) -> "Looks":
        """The same looks elsewhere."""
        return Looks(move.apply(self.points), move.rotate(self.normals), self.curvature)


class FeatureTree:
    """Nearest points in (position, normal, curvature), with weights that come with the queries.

    Boxes hold the features as they are and distances to them are weighted, so one tree serves all
    stages of a schedule; queries are brought to where it was built, so it serves all poses, too.
    A tree of SciPy's is of one weight and one pose, and takes as long to build as 7,000 queries.

    Parameters
    ----------
    looks : Looks
        At least one.

    Examples
    --------
    >>> n = np.array([[0.0, 0, 1], [0, 0, -1]])  # two skins of a lip
    >>> tree = FeatureTree(Looks(np.array([[0.0, 0, 0], [0, 0, 0.1]]), n, np.zeros((2, 2))))
    >>> query = Looks(np.array([[0.0, 0, 0.08]]), n[:1], np.zeros((1, 2)))
    >>> [tree.nearest(query, normal_weight=w)[1].tolist() for w in (0.0, 1.0)]
    [[1], [0]]
    """

    def __init__(self, looks: Looks) -> None:
        cut = np.repeat([1.0, _CUT_NORMAL, _CUT_CURVATURE], [3, 3, _SCALES])
        self._built = _build(looks.rows, cut, _LEAF)
        self._move = Similarity.identity()

    def moved(self, move: Similarity) -> "FeatureTree":
        """The tree of the same looks elsewhere; nothing is built."""
        other = copy(self)
        other._move = move.after(self._move)
        return other

    def nearest(
        self,
        looks: Looks,
        normal_weight: float = 0.0,
        curvature_weight: float = 0.0,
        crew: Crew = ALONE,
    ) -> tuple[Floats, Ints]:
        """Distances to, and indices of, the points that are most alike.

        Parameters
        ----------
        looks : Looks
            Queries (q).
        normal_weight, curvature_weight : float
            Length that a unit of each is worth.
        crew : Crew
            Who shares the queries.

        Returns
        -------
        distance : (q,) float64
        index : (q,) int64
        """
        queries = looks.moved(self._move.inverse()).rows
        worth = self._move.scale**2, float(normal_weight) ** 2, float(curvature_weight) ** 2

        def search(some: Floats) -> tuple[Floats, Ints]:
            found: tuple[Floats, Ints] = _search(some, *worth, *self._built)
            return found

        squared, index = crew.share_rows(search, queries)
        return np.sqrt(squared), index


@kernel
def _build(S: Any, cut: Any, leaf: int) -> Any:
    """Boxes of points (n, k), each cut in two across its widest side, until few points are left.

    Returns the points by columns in the order of the leaves, that order, lower and upper corners
    of the boxes, their first and last point, the first of their two children (0: a leaf) and the
    depth.
    """
    n, k = S.shape
    order = np.arange(n)
    # No box is empty, so there are fewer than twice as many as points.
    low, high = np.empty((2 * n, k)), np.empty((2 * n, k))
    begin, end = np.zeros(2 * n, np.int64), np.zeros(2 * n, np.int64)
    child, depth = np.zeros(2 * n, np.int64), np.zeros(2 * n, np.int64)
    end[0], nodes, box = n, 1, 0
    while box < nodes:
        a, b = begin[box], end[box]
        low[box], high[box] = np.inf, -np.inf
        for r in range(a, b):
            i = order[r]
            for j in range(k):
                x = S[i, j]
                low[box, j], high[box, j] = min(low[box, j], x), max(high[box, j], x)
        if b - a > leaf:
            axis, widest = 0, 0.0
            for j in range(k):
                wide = (high[box, j] - low[box, j]) * cut[j]
                if wide > widest:
                    axis, widest = j, wide
            middle = 0.5 * (low[box, axis] + high[box, axis])
            # Sides as narrow as rounding have no middle: their points are one.
            if low[box, axis] < middle < high[box, axis]:
                first, last = a, b - 1
                while True:
                    while first <= last and S[order[first], axis] <= middle:
                        first += 1
                    while first <= last and S[order[last], axis] > middle:
                        last -= 1
                    if first >= last:
                        break
                    order[first], order[last] = order[last], order[first]
                child[box] = nodes
                begin[nodes], end[nodes], depth[nodes] = a, first, depth[box] + 1
                begin[nodes + 1], end[nodes + 1], depth[nodes + 1] = first, b, depth[box] + 1
                nodes += 2
        box += 1
    columns = np.empty((k, n))
    for r in range(n):
        for j in range(k):
            columns[j, r] = S[order[r], j]
    corners = np.empty((nodes, 2, k))
    corners[:, 0], corners[:, 1] = low[:nodes], high[:nodes]
    most = depth[nodes - 1]
    return columns, order, corners, begin[:nodes], end[:nodes], child[:nodes], most


# Sums in any order: four terms at a time.
@kernel(fastmath={"reassoc", "contract"})
def _search(
    Q: Any,
    point: float,
    normal: float,
    curvature: float,
    columns: Any,
    order: Any,
    corners: Any,
    begin: Any,
    end: Any,
    child: Any,
    depth: int,
) -> Any:
    """Squared weighted distances to, and indices of, nearest points."""
    n = len(Q)
    index, squared = np.empty(n, np.int64), np.empty(n)
    waiting, least = np.empty(depth + 2, np.int64), np.empty(depth + 2)
    some = np.empty((end - begin)[child == 0].max())
    for i in range(n):
        best, at = np.inf, 0
        waiting[0], least[0], count = 0, 0.0, 1
        while count:
            count -= 1
            if least[count] >= best:
                continue
            box = waiting[count]
            while child[box]:
                c = child[box]
                d = _to_box(Q, i, corners, c, point, normal, curvature)
                e = _to_box(Q, i, corners, c + 1, point, normal, curvature)
                box = c
                if e < d:
                    box, c, d, e = c + 1, c, e, d
                else:
                    c += 1
                if e < best:
                    waiting[count], least[count] = c, e
                    count += 1
                if d >= best:
                    break
            if child[box]:
                continue
            a, m = begin[box], end[box] - begin[box]
            for r in range(m):
                some[r] = _to_point(Q, i, columns, a + r, point, normal, curvature)
            for r in range(m):
                if some[r] < best:
                    best, at = some[r], a + r
        squared[i], index[i] = best, order[at]
    return squared, index


@kernel(fastmath={"reassoc", "contract"}, inline="always")
def _to_point(
    Q: Any, i: int, columns: Any, r: int, point: float, normal: float, curvature: float
) -> float:
    x, y, z = 0.0, 0.0, 0.0
    for j in range(3):
        x += (Q[i, j] - columns[j, r]) ** 2
    for j in range(3, 6):
        y += (Q[i, j] - columns[j, r]) ** 2
    for j in range(6, 6 + _SCALES):
        z += (Q[i, j] - columns[j, r]) ** 2
    return point * x + normal * y + curvature * z


@kernel(fastmath={"reassoc", "contract"}, inline="always")
def _to_box(
    Q: Any, i: int, corners: Any, c: int, point: float, normal: float, curvature: float
) -> float:
    x, y, z = 0.0, 0.0, 0.0
    for j in range(3):
        x += max(max(corners[c, 0, j] - Q[i, j], Q[i, j] - corners[c, 1, j]), 0.0) ** 2
    for j in range(3, 6):
        y += max(max(corners[c, 0, j] - Q[i, j], Q[i, j] - corners[c, 1, j]), 0.0) ** 2
    for j in range(6, 6 + _SCALES):
        z += max(max(corners[c, 0, j] - Q[i, j], Q[i, j] - corners[c, 1, j]), 0.0) ** 2
    return point * x + normal * y + curvature * z
