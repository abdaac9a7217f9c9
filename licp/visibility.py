"""Which parts of a head can be seen from outside: scanners see nothing else."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from licp.compiled import kernel
from licp.directions import along, own_axes
from licp.geometry import vertex_areas, vertex_normals

__all__ = ["visible_share"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# A view through the corner of each eighth of space and three around it: the faces of an octahedron,
# each cut into four.  With their opposites, they are the same views in a mirror, so what is
# symmetric is seen alike on both sides.
_NEAR, _BESIDE = np.cos(np.pi / 8), np.sin(np.pi / 8) / np.sqrt(2.0)
_VIEWS = [
    (3**-0.5, 3**-0.5, 3**-0.5),
    (_NEAR, _BESIDE, _BESIDE),
    (_BESIDE, _NEAR, _BESIDE),
    (_BESIDE, _BESIDE, _NEAR),
]
_MIRRORS = [(1.0, 1.0, 1.0), (-1.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0, -1.0)]
# Each pair of opposite views is one depth image this many pixels wide.
_PIXELS = 120
# A vertex is seen if nothing is in front of it by more than this many pixels: less than the depth
# of any cavity, more than the slope of a surface across a pixel.
_SLACK = 2.5


def visible_share(vertices: Floats, faces: Ints, asked: Bools | None = None) -> Floats:
    """Share of the views that a vertex faces in which nothing hides it.  Our own.

    Orthographic depth images from all around; they turn with the surface, whose principal axes tell
    where from.  Faces hide from both sides.

    Parameters
    ----------
    vertices : (n, 3) float64
        Any unit.
    faces : (m, 3) int64
        Wound outwards.
    asked : (n,) bool, optional
        Vertices whose share is wanted, all if not given.  They fill the images.

    Returns
    -------
    (k,) float64
        Of each vertex that is asked for: 1 on convex parts, about 0 deep in a mouth; weighted by
        the cosine of the view. 1 where the normal is undefined.

    Examples
    --------
    >>> import trimesh
    >>> ball, inner = trimesh.creation.icosphere(2), trimesh.creation.icosphere(1, radius=0.5)
    >>> both = trimesh.util.concatenate(ball, inner)
    >>> share = visible_share(both.vertices, both.faces)
    >>> bool(share[:162].min() > 0.9), float(share[162:].max())
    (True, 0.0)
    """
    of = slice(None) if asked is None else asked
    axes = own_axes(vertices[of], vertex_areas(vertices, faces)[of])
    whole, normals = along(axes, vertices), vertex_normals(vertices, faces)[of]
    own = whole if asked is None else along(axes, vertices[of])
    seen, faced = np.zeros(len(normals)), np.zeros(len(normals))
    for view in np.array(_VIEWS):
        right = np.cross(view, (1.0, 0.0, 0.0) if view[0] < 0.9 else (0.0, 1.0, 0.0))
        right /= np.linalg.norm(right)
        image = np.stack([right, np.cross(view, right), view])
        for mirror in np.array(_MIRRORS):
            turn = image * mirror
            P = turn @ own
            low, high = P.min(axis=1), P.max(axis=1)
            scale = (_PIXELS - 1) / ((high - low)[:2].max() or 1.0)
            shift = 0.5 * (_PIXELS - 1 - scale * (low + high))[:, None]
            P = scale * P + shift
            Q = P if own is whole else scale * (turn @ whole) + shift
            front, back = _depth_images(Q[0], Q[1], Q[2], faces, _PIXELS)
            _look(P[0], P[1], P[2], normals @ (view * mirror @ axes), front, back, seen, faced)
    return np.where(faced > 0, seen / np.where(faced > 0, faced, 1.0), 1.0)


@kernel
def _look(
    X: Any, Y: Any, Z: Any, cosine: Any, front: Any, back: Any, seen: Any, faced: Any
) -> None:
    """Add what both views of a pair see of each vertex, and how much it faces them."""
    for i in range(len(X)):
        x, y, c = int(round(X[i])), int(round(Y[i])), cosine[i]
        faced[i] += abs(c)
        if (Z[i] >= front[x, y] - _SLACK) if c > 0.0 else (Z[i] <= back[x, y] + _SLACK):
            seen[i] += abs(c)


@kernel
def _depth_images(X: Any, Y: Any, Z: Any, F: Any, size: int) -> Any:
    """Greatest and least depth of the faces at each pixel centre."""
    front = np.full((size, size), -np.inf)
    back = np.full((size, size), np.inf)
    for f in range(F.shape[0]):
        a, b, c = np.uint64(F[f, 0]), np.uint64(F[f, 1]), np.uint64(F[f, 2])
        ax, bx, cx = X[a], X[b], X[c]
        left, right = max(np.ceil(min(ax, bx, cx)), 0), min(np.floor(max(ax, bx, cx)), size - 1)
        if left > right:
            continue
        ay, by, cy = Y[a], Y[b], Y[c]
        low, high = max(np.ceil(min(ay, by, cy)), 0), min(np.floor(max(ay, by, cy)), size - 1)
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        # Most faces of a fine mesh lie between pixel centres.
        if low > high or area == 0.0:
            continue
        az, bz, cz = Z[a], Z[b], Z[c]
        # Barycentric coordinates and depth are linear in the pixel.
        vx, vy = (cy - ay) / area, -(cx - ax) / area
        wx, wy = -(by - ay) / area, (bx - ax) / area
        for x in range(int(left), int(right) + 1):
            for y in range(int(low), int(high) + 1):
                v = (x - ax) * vx + (y - ay) * vy
                w = (x - ax) * wx + (y - ay) * wy
                z = az + v * (bz - az) + w * (cz - az)
                # Choices instead of branches, half of which would be guessed wrong.
                inside = (v >= 0.0) & (w >= 0.0) & (v + w <= 1.0)
                front[x, y] = max(front[x, y], z if inside else -np.inf)
                back[x, y] = min(back[x, y], z if inside else np.inf)
    return front, back
