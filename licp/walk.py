"""Nearest neighbours on a mesh from a guess: walking downhill instead of searching a tree."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from licp.compiled import kernel

__all__ = ["walk_nearest"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def walk_nearest(
    queries: Floats, guess: Ints, points: Floats, neighbours: tuple[NDArray[Any], NDArray[Any]]
) -> Ints:
    """Walk along mesh edges to the vertex where the distance to a query is least nearby.

    Parameters
    ----------
    queries : (q, 3) float64
        Any points.
    guess : (q,) int64
        Where to start.
    points : (s, 3) float64
        The mesh vertices.
    neighbours : (s + 1,) int, (e,) int
        Of the mesh, see :func:`licp.geometry.vertex_neighbours`.

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
    found: Ints = _walk(queries, guess, points, *neighbours)
    return found


@kernel
def _gap(Q: Any, i: Any, S: Any, j: Any) -> Any:
    x, y, z = Q[i, 0] - S[j, 0], Q[i, 1] - S[j, 1], Q[i, 2] - S[j, 2]
    return x * x + y * y + z * z


@kernel
def _walk(Q: Any, guess: Any, S: Any, start: Any, around: Any) -> Any:
    found = np.empty(len(Q), np.int64)
    for i in range(len(Q)):
        best = np.uint64(guess[i])
        d = _gap(Q, i, S, best)
        while True:
            here = best
            for e in range(start[here], start[here + np.uint64(1)]):
                j = np.uint64(around[e])
                x = _gap(Q, i, S, j)
                if x < d:
                    best, d = j, x
            if best == here:
                break
        found[i] = best
    return found
