"""Pinholes of a scan: borders around so little that nothing of a template lies beyond them.

A match on the border of a scan must not pull, since what it belongs to may lie beyond.  Around a
hole that is hardly wider than a match is off anyway, it may; else a scan in which every tenth face
is missing has nothing but borders.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from licp.compiled import kernel
from licp.geometry import any_of, bucket, vertex_normals

__all__ = ["without_pinholes"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def without_pinholes(
    V: Floats, F: Ints, edges: tuple[Ints, Ints, Ints], longest: float
) -> tuple[Ints, Ints, Ints]:
    """Edges of a mesh, those around pinholes counted as if there were faces in them.

    Our own.  Where holes touch in a vertex, each goes on along the border that comes first around
    it.

    Parameters
    ----------
    V : (n, 3) float64
        Vertices.
    F : (m, 3) int64
        Faces, wound outwards.
    edges : (k, 2) int64, (k,) int64, (m, 3) int64
        Of :func:`licp.geometry.face_edges`.
    longest : float
        Length of the border around a hole up to which it is a pinhole.

    Returns
    -------
    (k, 2) int64, (k,) int64, (m, 3) int64
        The same with other counts.

    Examples
    --------
    >>> import trimesh
    >>> from licp.geometry import face_edges
    >>> ball = trimesh.creation.icosphere(3)
    >>> V, F = np.asarray(ball.vertices), np.asarray(ball.faces)[1:]
    >>> edges = face_edges(F)
    >>> [int((without_pinholes(V, F, edges, x)[1] == 1).sum()) for x in (0.0, 1.0)]
    [3, 0]
    """
    pairs, counts, sides = edges
    face, side = np.nonzero((counts[sides] == 1) & (sides >= 0))
    if not len(face):
        return edges
    begin, end = F[face, side], F[face, (side + 1) % 3]
    start, order = bucket(begin, len(V))
    around = any_of((np.diff(start) > 0)[F])
    N = vertex_normals(V, F[around])
    small = _small(V, N, begin, end, start, order, longest)
    closed = counts.copy()
    closed[sides[face[small], side[small]]] = 2
    return pairs, closed, sides


@kernel
def _small(V: Any, N: Any, begin: Any, end: Any, start: Any, order: Any, longest: float) -> Any:
    """Which sides lie on a loop that is no longer than that."""
    count = begin.size
    small = np.zeros(count, np.bool_)
    seen = np.zeros(count, np.bool_)
    loop = np.empty(count, np.int64)
    for first in range(count):
        if seen[first]:
            continue
        h, many, length = first, 0, 0.0
        while h >= 0 and not seen[h]:
            seen[h] = True
            loop[many] = h
            many += 1
            squared = 0.0
            for d in range(3):
                squared += (V[end[h], d] - V[begin[h], d]) ** 2
            length += np.sqrt(squared)
            h = _next(V, N, begin, end, start, order, h)
        if h == first and length <= longest:
            for i in range(many):
                small[loop[i]] = True
    return small


@kernel
def _next(V: Any, N: Any, begin: Any, end: Any, start: Any, order: Any, h: int) -> Any:
    """The side on which the hole beside one goes on: the first around its end, on from the hole."""
    at = end[h]
    low, high = start[at], start[at + 1]
    if high - low == 1:
        return order[low]
    best, turn = -1, 10.0
    a = V[begin[h]] - V[at]
    n = N[at]
    for i in range(low, high):
        b = V[end[order[i]]] - V[at]
        along = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
        along -= (a[0] * n[0] + a[1] * n[1] + a[2] * n[2]) * (
            b[0] * n[0] + b[1] * n[1] + b[2] * n[2]
        )
        across = n[0] * (a[1] * b[2] - a[2] * b[1])
        across += n[1] * (a[2] * b[0] - a[0] * b[2])
        across += n[2] * (a[0] * b[1] - a[1] * b[0])
        angle = np.arctan2(across, along)
        if angle <= 0.0:
            angle += 2.0 * np.pi
        if angle < turn:
            best, turn = order[i], angle
    return best
