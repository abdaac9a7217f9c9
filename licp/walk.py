"""Nearest neighbours on a mesh from a guess: walking downhill instead of searching a tree."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["walk_nearest"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def walk_nearest(
    queries: Floats,
    guess: Ints,
    space: Floats,
    neighbours: tuple[NDArray[Any], NDArray[Any]],
    weights: Floats | None = None,
) -> Ints:
    """Walk along mesh edges to the vertex where the distance to a query is least nearby.

    Parameters
    ----------
    queries : (q, k) float64
        In any space of features.
    guess : (q,) int64
        Where to start.
    space : (s, k) float64
        The mesh vertices in the same space.
    neighbours : (s + 1,) int, (e,) int
        Of the mesh, see :func:`licp.geometry.vertex_neighbours`.
    weights : (k,) float64, optional
        Of the squares of each coordinate, 1 by default.

    Returns
    -------
    (q,) int64
        Vertices with no neighbour nearer to the query: the nearest ones, if the guess was good.

    Examples
    --------
    >>> import trimesh
    >>> from licp.geometry import vertex_neighbours
    >>> ball = trimesh.creation.icosphere(3)
    >>> V = np.asarray(ball.vertices)
    >>> ring = vertex_neighbours(ball.faces, len(V))
    >>> walk_nearest(2.0 * V[:3], np.array([9, 9, 9]), V, ring).tolist()
    [0, 1, 2]
    """
    each = np.ones(space.shape[1]) if weights is None else weights
    found: Ints = _walk(queries, guess, space, *neighbours, each)
    return found


@njit(cache=True, nogil=True)
def _gap(Q: Any, i: Any, S: Any, j: Any, weights: Any, most: float) -> Any:
    # In threes: a test for each coordinate costs more than it spares.
    total = 0.0
    threes = Q.shape[1] // 3 * 3
    for k in range(0, threes, 3):
        x, y, z = Q[i, k] - S[j, k], Q[i, k + 1] - S[j, k + 1], Q[i, k + 2] - S[j, k + 2]
        total += weights[k] * x * x + weights[k + 1] * y * y + weights[k + 2] * z * z
        if total >= most:
            return total
    for k in range(threes, Q.shape[1]):
        total += weights[k] * (Q[i, k] - S[j, k]) ** 2
    return total


@njit(cache=True, nogil=True)
def _walk(Q: Any, guess: Any, S: Any, start: Any, around: Any, weights: Any) -> Any:
    found = np.empty(len(Q), np.int64)
    for i in range(len(Q)):
        best = np.uint64(guess[i])
        d = _gap(Q, i, S, best, weights, np.inf)
        while True:
            here = best
            for e in range(start[here], start[here + np.uint64(1)]):
                j = np.uint64(around[e])
                x = _gap(Q, i, S, j, weights, d)
                if x < d:
                    best, d = j, x
            if best == here:
                break
        found[i] = best
    return found
