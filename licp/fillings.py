"""Fillings: faces that somebody closed the holes of a scan with, where the scanner saw nothing.

Programs that close holes mostly do so without new vertices, so that faces reach right across.  A
template that met them would be told that it was seen there.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from licp.compiled import kernel
from licp.geometry import any_of, bucket, joined

__all__ = ["filling_faces"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# An edge reaches across if it is four times as long as is usual at either end, and longer than
# 20 mm of 400. Of the faces of 24 real and simulated scans none go by mistake then; of volumes that
# were thinned afterwards, 0.6 % do, on flat places (3 % with 12 mm).
_ACROSS, _LONG = 4.0, 0.05
# With it go faces that hang together by edges twice as long as usual,
_BESIDE = 2.0
# and those in its corners: faces that bend less towards it than towards all else, by this much in
# terms of cosines.  A neck that was closed keeps a rim that is none if they stay.
_CREASE = 0.2
_ROUNDS = 5
# What is usual is the third shortest edge of a vertex: on the border of a hole two are the border's
# own, and most of the others may reach across.
_USUAL = 3


def filling_faces(
    lengths: Floats, E: Ints, sides: Ints, N: Floats, size: float, n: int
) -> Bools:
    """Faces with an edge that reaches right across what was a hole, (m,).

    Our own.  Holes that are hardly wider than the edges around them are left.

    Parameters
    ----------
    lengths : (k,) float64
        Of the edges.
    E : (k, 2) int64
        Edges.
    sides : (m, 3) int64
        Those of each face.
    N : (m, 3) float64
        Normals of the faces.
    size : float
        Of the scan, the root of its area.
    n : int
        Number of vertices.

    Examples
    --------
    A plate of 20 by 20 squares, 10 by 10 of them closed with two faces:

    >>> from licp.geometry import edge_lengths, face_edges, face_normals_areas
    >>> x, y = np.divmod(np.arange(441), 21)
    >>> V = np.stack([x, y, np.zeros(441)], 1)
    >>> first = np.flatnonzero((x < 20) & (y < 20) & ~((x >= 5) & (x < 15) & (y >= 5) & (y < 15)))
    >>> squares = np.stack([first, first + 21, first + 22, first + 1], 1)
    >>> a, b, c, d = 5 * 21 + 5, 15 * 21 + 5, 15 * 21 + 15, 5 * 21 + 15
    >>> F = np.concatenate([squares[:, :3], squares[:, [0, 2, 3]], [[a, b, c], [a, c, d]]])
    >>> E, _, sides = face_edges(F)
    >>> N = face_normals_areas(V, F)[0]
    >>> np.flatnonzero(filling_faces(edge_lengths(V, E), E, sides, N, 20.0, 441)).tolist()
    [600, 601]
    """
    long = lengths > _LONG * size
    if not long.any():
        return np.zeros(len(sides), bool)
    start, end = bucket(E.ravel(), n)
    ratio = _of_usual(E, lengths, start, end // 2)
    begins = any_of((long & (ratio > _ACROSS))[sides])
    if not begins.any():
        return begins
    pairs, edge = _meeting(sides)
    patch = joined(pairs[ratio[edge] > _BESIDE], len(sides))
    flags = np.isin(patch, patch[begins])
    _join(flags, pairs[np.bincount(edge)[edge] == 1], N)
    return flags


def _meeting(sides: Ints) -> tuple[Ints, Ints]:
    """Pairs (p, 2) of faces that follow each other at an edge, and that edge (p,)."""
    order = np.argsort(sides.ravel(), kind="stable")
    edge = sides.ravel()[order]
    same = edge[1:] == edge[:-1]
    return np.stack([order[:-1], order[1:]], 1)[same] // 3, edge[1:][same]


def _join(flags: Bools, pairs: Ints, N: Floats) -> None:
    """Flag faces, too, that bend less towards a filling than towards all else beside them."""
    face, other = np.concatenate([pairs, pairs[:, ::-1]]).T
    cosine = np.einsum("pj,pj->p", N[face], N[other])
    for _ in range(_ROUNDS):
        filled = flags[other]
        inside, outside = np.full((2, len(flags)), -1.0)
        np.maximum.at(inside, face[filled], cosine[filled])
        np.maximum.at(outside, face[~filled], cosine[~filled])
        joins = ~flags & (inside > outside + _CREASE)
        if not joins.any():
            break
        flags |= joins


@kernel
def _of_usual(E: Any, lengths: Any, start: Any, edge: Any) -> Any:
    """Lengths of edges in parts of what is usual at that end where more is."""
    n = start.size - 1
    usual = np.empty(n)
    for v in range(n):
        # The third shortest, without sorting.
        least = np.full(_USUAL, np.inf)
        many = start[v + 1] - start[v]
        for i in range(start[v], start[v + 1]):
            x = lengths[edge[i]]
            for k in range(_USUAL):
                if x < least[k]:
                    x, least[k] = least[k], x
        usual[v] = least[min(many, _USUAL) - 1] if many else 0.0
    ratio = np.empty(lengths.size)
    for i in range(lengths.size):
        ratio[i] = lengths[i] / max(usual[E[i, 0]], usual[E[i, 1]])
    return ratio
