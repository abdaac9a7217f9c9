"""Cuts: plane faces where a volume, a bust or a scan was cut off and closed, no part of a head."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from licp.compiled import kernel
from licp.directions import along, even_directions, own_axes
from licp.geometry import best_apart, unite

__all__ = ["cut_faces"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Plane regions: neighbours within one degree, the whole region within one degree of its mean on
# average, at least this many faces, between these shares of the whole area. Measured skin that
# flat and that large does not exist; a shape that is mostly flat is no head with a cut.
_COPLANAR = np.cos(np.deg2rad(1.0))
_FACES = 20
_SHARE = (0.005, 0.4)
# Ends: sought with so many samples in so many directions, behind all but this share of the area.
_SAMPLES, _DIRECTIONS = 2000, 160
# Every fourth sample tells in which directions to look closer.
_FIRST = 4
_BEYOND = 0.015
# From ten degrees and 10 mm of 400 off, a plane is found within six rounds that look less far each.
_ROUNDS = (0.025, 0.02, 0.015, 0.01, 0.005, 0.003)
_TOWARDS = 0.8
# Of what faces that way within 3 mm of the plane, 0.7 lies within 0.8 mm of it, and is 2 % of the
# area: 0.86 and more do on ten heads that were cut off, up to 0.56 on 60 other heads and busts.
_NEAR, _WIDE = 0.002, 0.0075
_FLAT, _LEAST = 0.7, 0.02
# And 4 mm beyond it there are some spikes at most; beside a flat temple, there is an ear.
_PAST = 0.003
# Marching cubes and smoothing leave a rounded rim: what turns towards the plane within 4 mm of it.
_RIM = (0.01, 0.2)


def cut_faces(V: Floats, F: Ints, N: Floats, A: Floats, sides: Ints, counts: Ints) -> Bools:
    """Faces of cuts, (m,).  Our own.

    Parameters
    ----------
    V : (n, 3) float64
        Vertices.
    F : (m, 3) int64
        Faces, wound outwards.
    N, A : (m, 3) and (m,) float64
        Their normals and areas; what is known to be no skin may have none.
    sides, counts : (m, 3) and (k,) int64
        Of :func:`licp.geometry.face_edges`.

    Examples
    --------
    >>> import trimesh
    >>> from licp.geometry import face_edges, face_normals_areas
    >>> ball = trimesh.creation.icosphere(4)
    >>> V, F = ball.vertices.copy(), ball.faces
    >>> V[:, 2] = np.maximum(V[:, 2], -0.8)
    >>> N, A = face_normals_areas(V, F)
    >>> sound = A > 0
    >>> _, counts, sides = face_edges(F[sound])
    >>> cut = cut_faces(V, F[sound], N[sound], A[sound], sides, counts)
    >>> plane = (V[F[sound]][:, :, 2] == -0.8).all(1)
    >>> bool(cut[plane].all()), bool(V[F[sound]][cut][:, :, 2].max() < -0.7)
    (True, True)
    """
    flags, plane = _plane_regions(N, A, sides, counts)
    planes = [(N[f], V[F[f]].mean(0) @ N[f]) for f in plane] + _ends(V, F, N, A)
    C = V[F].mean(1) if planes else np.empty((0, 3))
    area = A.sum()
    for n, height in planes:
        below, towards = (height - C @ n) / np.sqrt(area), N @ n
        on = (np.abs(below) < _NEAR) & (towards > _TOWARDS)
        if A[below < -_RIM[0]].sum() < _PAST * area and np.count_nonzero(on) >= _FACES:
            flags |= (below < _NEAR) | (below < _RIM[0]) & (towards > _RIM[1])
    if A[flags].sum() > _SHARE[1] * area:
        flags[:] = False
    return flags


def _plane_regions(N: Floats, A: Floats, sides: Ints, counts: Ints) -> tuple[Bools, Ints]:
    """Faces of large regions that are plane to the letter, and the first one of each region."""
    region = _even_regions(N, sides, counts)
    large = np.bincount(region) >= _FACES
    # Hardly a face of a scan is in one.
    some, n = large[region], len(large)
    of, a = region[some], A[some]
    area = np.bincount(of, a, n)[large]
    mean = np.stack([np.bincount(of, a * x, n)[large] for x in N[some].T], 1)
    large[large] = (area >= _SHARE[0] * A.sum()) & (
        np.linalg.norm(mean, axis=1) >= _COPLANAR * area
    )
    return large[region], np.flatnonzero(large)


def _ends(V: Floats, F: Ints, N: Floats, A: Floats) -> list[tuple[Floats, float]]:
    """Normals and heights of planes, however rough, at which much of a surface ends."""
    reached = np.cumsum(A)
    at = np.searchsorted(reached, (np.arange(_SAMPLES) + 0.5) / _SAMPLES * reached[-1])
    C, size = V[F[at]].mean(1), np.sqrt(reached[-1])
    middle = C.mean(0)
    points, facing = (C - middle) / size, N[at]
    n, heights = _outlook(points[::_FIRST])
    seen = np.mean(_on(points[::_FIRST], facing[::_FIRST], n, heights, _ROUNDS[0]), axis=1)
    some = np.flatnonzero(seen >= _LEAST / 2)
    alike = along(n[some], n[some]) > _TOWARDS
    first = some[best_apart(-seen[some], alike, len(some))]
    n, heights = n[first], heights[first]
    for reach in _ROUNDS:
        on = _on(points, facing, n, heights, reach).astype(np.float64)
        n = np.stack([(on * x).sum(1) for x in facing.T], 1)
        n /= np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-300)
        heights = (on * along(n, points)).sum(1) / np.maximum(on.sum(1), 1.0)
    near = np.mean(_on(points, facing, n, heights, _NEAR), axis=1)
    wide = np.mean(_on(points, facing, n, heights, _WIDE), axis=1)
    flat = (near >= _LEAST) & (near > _FLAT * wide)
    return [(m, size * h + middle @ m) for m, h in zip(n[flat], heights[flat], strict=True)]


def _on(points: Floats, facing: Floats, n: Floats, heights: Floats, reach: float) -> Bools:
    """Points that lie within a reach of each plane and face its way, (d, s)."""
    on: Bools = np.abs(along(n, points) - heights[:, None]) < reach
    on &= along(n, facing) > _TOWARDS
    return on


def _outlook(points: Floats) -> tuple[Floats, Floats]:
    """Directions (d, 3), evenly spread, and how far points (s, 3) reach in each but for a few."""
    directions = even_directions(_DIRECTIONS) @ own_axes(points)
    last = int((1.0 - _BEYOND) * len(points))
    return directions, np.partition(along(directions, points), last, axis=1)[:, last]


@kernel
def _even_regions(N: Any, sides: Any, counts: Any) -> Any:
    """For each face the lowest of those it hangs together with across edges that do not bend."""
    m = N.shape[0]
    root = np.arange(m)
    first = np.full(counts.size, -1, np.int64)
    for f in range(m):
        for k in range(3):
            e = sides[f, k]
            if counts[e] != 2:
                continue
            g = first[e]
            if g < 0:
                first[e] = f
                continue
            if N[f, 0] * N[g, 0] + N[f, 1] * N[g, 1] + N[f, 2] * N[g, 2] <= _COPLANAR:
                continue
            unite(root, f, g)
    for f in range(m):
        # Roots are never above what hangs on them, so theirs are final already.
        root[f] = root[root[f]]
    return root
