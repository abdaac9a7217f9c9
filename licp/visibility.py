"""Which parts of a head can be seen from outside: scanners see nothing else."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from licp.geometry import vertex_normals

__all__ = ["visible_share"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Pairs of opposite views all around; each pair is one depth image this many pixels wide.
_PAIRS, _PIXELS = 16, 120
# A vertex is seen if nothing is in front of it by more than this many pixels: less than the depth
# of any cavity, more than the slope of a surface across a pixel.
_SLACK = 2.5


def visible_share(vertices: Floats, faces: Ints) -> Floats:
    """Share of the views that a vertex faces in which nothing hides it.  Our own.

    Orthographic depth images from directions all around; faces hide from both sides.

    Parameters
    ----------
    vertices : (n, 3) float64
        Any unit.
    faces : (m, 3) int64
        Wound outwards.

    Returns
    -------
    (n,) float64
        1 on convex parts, about 0 deep in a mouth; weighted by the cosine of the view. 1 where
        the normal is undefined.

    Examples
    --------
    >>> import trimesh
    >>> ball, inner = trimesh.creation.icosphere(2), trimesh.creation.icosphere(1, radius=0.5)
    >>> both = trimesh.util.concatenate(ball, inner)
    >>> share = visible_share(both.vertices, both.faces)
    >>> share[:162].min() > 0.9, share[162:].max()
    (True, 0.0)
    """
    normals, columns = vertex_normals(vertices, faces), np.ascontiguousarray(vertices.T)
    k = np.arange(_PAIRS) + 0.5
    z = 1.0 - k / _PAIRS
    turn = np.pi * (1.0 + np.sqrt(5.0)) * k
    ring = np.sqrt(1.0 - z * z)
    seen = np.zeros(len(vertices))
    faced = np.zeros(len(vertices))
    for view in np.stack([ring * np.cos(turn), ring * np.sin(turn), z], 1):
        right = np.cross(view, (1.0, 0.0, 0.0) if abs(view[0]) < 0.9 else (0.0, 1.0, 0.0))
        right /= np.linalg.norm(right)
        P = np.stack([right, np.cross(view, right), view]) @ columns
        P -= P.min(axis=1, keepdims=True)
        P *= (_PIXELS - 1) / (P[:2].max() or 1.0)
        front, back = _depth_images(P[0], P[1], P[2], faces, _PIXELS)
        cosine = normals @ view
        x, y = P[:2].round().astype(np.int64)
        at = x * _PIXELS + y
        faced += np.abs(cosine)
        before = P[2] >= front.ravel()[at] - _SLACK
        behind = P[2] <= back.ravel()[at] + _SLACK
        seen += np.abs(cosine) * np.where(cosine > 0, before, behind)
    return np.where(faced > 0, seen / np.where(faced > 0, faced, 1.0), 1.0)


@njit(cache=True, nogil=True)
def _depth_images(X: Any, Y: Any, Z: Any, F: Any, size: int) -> Any:
    """Greatest and least depth of the faces at each pixel centre."""
    front = np.full((size, size), -np.inf)
    back = np.full((size, size), np.inf)
    for f in range(F.shape[0]):
        ax, ay, az = X[F[f, 0]], Y[F[f, 0]], Z[F[f, 0]]
        bx, by, bz = X[F[f, 1]], Y[F[f, 1]], Z[F[f, 1]]
        cx, cy, cz = X[F[f, 2]], Y[F[f, 2]], Z[F[f, 2]]
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if area == 0.0:
            continue
        # Barycentric coordinates and depth are linear in the pixel.
        vx, vy = (cy - ay) / area, -(cx - ax) / area
        wx, wy = -(by - ay) / area, (bx - ax) / area
        for x in range(int(np.ceil(min(ax, bx, cx))), int(np.floor(max(ax, bx, cx))) + 1):
            for y in range(int(np.ceil(min(ay, by, cy))), int(np.floor(max(ay, by, cy))) + 1):
                v = (x - ax) * vx + (y - ay) * vy
                w = (x - ax) * wx + (y - ay) * wy
                if v >= 0.0 and w >= 0.0 and v + w <= 1.0:
                    z = az + v * (bz - az) + w * (cz - az)
                    if z > front[x, y]:
                        front[x, y] = z
                    if z < back[x, y]:
                        back[x, y] = z
    return front, back
