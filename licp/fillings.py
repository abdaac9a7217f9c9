"""Fillings: faces that somebody closed the holes of a scan with, where the scanner saw nothing.

Programs that close holes mostly do so without new vertices, so that faces reach right across.  A
template that met them would be told that it was seen there.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from licp.compiled import kernel
from licp.geometry import any_of, bucket, union

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
# More of them than this share of the faces is the way that a mesh was made.
_SHARE = 0.05


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
    patch = _patches(E, sides, ratio > _BESIDE)
    begins = any_of((long & (ratio > _ACROSS))[sides])
    flags = np.isin(patch, patch[begins])
    if begins.any():
        _join(flags, sides, N)
    if np.count_nonzero(flags) > _SHARE * len(flags):
        flags[:] = False
    return flags


def _patches(E: Ints, sides: Ints, joins: Bools) -> Ints:
    """Number of the patch of each face; faces hang together by some edges (k,), (m,)."""
    face, side = np.nonzero(joins[sides])
    edge = sides[face, side]
    order = np.argsort(edge, kind="stable")
    same = edge[order][1:] == edge[order][:-1]
    rows = np.stack([face[order][:-1][same], face[order][1:][same]], 1)
    root: Ints = union(rows[:, [0, 1, 1]], len(sides))
    return np.where(root < 0, np.arange(len(sides)), root)


def _join(flags: Bools, sides: Ints, N: Floats) -> None:
    """Flag faces, too, that bend less towards a filling than towards all else."""
    beside = _beside(sides)
    for _ in range(_ROUNDS):
        at = np.flatnonzero(any_of(flags[beside] & (beside >= 0)) & ~flags)
        near = beside[at]
        cosine = np.where(near >= 0, np.einsum("fj,fkj->fk", N[at], N[near]), -1.0)
        inside = np.where(flags[near] & (near >= 0), cosine, -1.0).max(axis=1, initial=-1.0)
        outside = np.where(flags[near], -1.0, cosine).max(axis=1, initial=-1.0)
        joins = at[inside > outside + _CREASE]
        if not len(joins):
            break
        flags[joins] = True


def _beside(sides: Ints) -> Ints:
    """Face beyond each side of each face, -1 if there is not just one, (m, 3)."""
    flat = sides.ravel()
    order = np.argsort(flat, kind="stable")
    count = np.bincount(flat)
    two = count[flat[order]] == 2
    first, second = order[two].reshape(-1, 2).T
    beside = np.full(len(flat), -1)
    beside[first], beside[second] = second // 3, first // 3
    return beside.reshape(-1, 3)


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
