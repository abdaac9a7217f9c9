"""Pairs of triangles of one mesh that run through each other."""

import itertools
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from licp.closest import TriangleTree, tree_of
from licp.compiled import kernel
from licp.errors import MeshError
from licp.geometry import as_faces
from licp.threads import ALONE, Crew

__all__ = ["self_intersections"]

# Lengths below this part of the longest side are contact, not overlap.  Coordinates of doubles
# are safe to about 1e-13 of the size of a mesh; its triangles are seldom below 1e-3 of that.
_CONTACT = 1e-9

# Level of the tree whose boxes are paired by different threads: three pieces.
_SHARED = 1


def self_intersections(
    vertices: ArrayLike,
    faces: ArrayLike,
    tree: TriangleTree | None = None,
    crew: Crew = ALONE,
    among: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Pairs of faces without a common vertex whose interiors meet.

    Two triangles intersect here if a point lies inside both, not on a side of either: they cross
    along a segment, or they overlap in one plane.  Mere contact (at a vertex, along an edge, a
    vertex resting on a face) does not count, so a mesh cut along texture seams has none; nor do
    degenerate triangles, which have no interior.  Neighbours folded onto each other share a
    vertex: see :func:`licp.quality.flipped_faces`.

    Parameters
    ----------
    vertices : (n, 3) float
        Positions, any unit.
    faces : (m, 3) int
        Triangles, by vertex.
    tree : TriangleTree, optional
        The tree of this very mesh, if there is one already; wherever it was moved to.
    crew : Crew, optional
        Who shares the work.
    among : (m,) bool, optional
        Only pairs with one of these faces or two; all if not given.

    Returns
    -------
    (k, 2) int64
        Lower face first, in lexicographic order.

    Raises
    ------
    MeshError
        As :class:`~licp.closest.TriangleTree`, and if ``tree`` or ``among`` is of another number of
        faces.

    Notes
    -----
    Our own combination of known parts: the tree is paired with itself level by level; a pair of
    triangles is tested by the segments that each cuts out of the common line of both planes or, in
    one plane, by the theorem of the separating axis.  Lengths are compared with 1e-9 of the longer
    of the longest sides.

    Examples
    --------
    >>> V = [[0, 0, 0], [4, 0, 0], [0, 4, 0], [1, 1, -1], [1, 1, 1], [1, 2, 0]]
    >>> self_intersections(V, [[0, 1, 2], [3, 4, 5]]).tolist()
    [[0, 1]]
    """
    tree = tree_of(vertices, faces, tree)
    F = as_faces(faces)
    wanted = np.ones(len(F), bool) if among is None else np.asarray(among, bool)
    if wanted.shape != (len(F),):
        raise MeshError(f"among must have one flag for each of {len(F)} faces, not {wanted.shape}")
    normals, longest, small = _triangles(tree.corners)
    ids = F[tree.order]
    asked = _held(wanted[tree.order], tree.depth)
    # One piece for each pair of a few boxes, if there is somebody to take one.
    level = min(_SHARED, tree.depth) if crew.workers > 1 else 0
    nodes = range((1 << level) - 1, (2 << level) - 1)

    def of(pair: tuple[int, int]) -> NDArray[np.int64]:
        found: NDArray[np.int64] = _pairs(
            *pair, tree.boxes, tree.corners, ids, tree.depth, normals, longest, small, *asked
        )
        return found

    pairs = np.concatenate(crew.share(of, itertools.combinations_with_replacement(nodes, 2)))
    pairs = np.sort(tree.order[pairs], axis=1)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


@kernel(error_model="numpy")
def _pairs(
    one: int,
    other: int,
    boxes: Any,
    corners: Any,
    ids: Any,
    depth: int,
    normals: Any,
    longest: Any,
    small: Any,
    asked: Any,
    holds: Any,
) -> Any:
    """Pairs of triangles that meet, one of them asked for, of two nodes of the tree."""
    m = ids.shape[0]
    first = (1 << depth) - 1
    found = np.empty((64, 2), np.int64)
    count = 0
    # Both halves of a pair are always on one level: at most three more pairs for each level.
    stack = np.empty((3 * depth + 4, 2), np.int64)
    stack[0, 0], stack[0, 1] = one, other
    top = 1
    while top > 0:
        top -= 1
        a, b = stack[top, 0], stack[top, 1]
        if not (holds[a] or holds[b]) or (a != b and not _overlap(boxes, a, boxes, b)):
            continue
        if a < first:
            for i in range(1, 3):
                for j in range(1, 3):
                    if a != b or i <= j:
                        stack[top, 0], stack[top, 1] = 2 * a + i, 2 * b + j
                        top += 1
            continue
        for s in range((m * (a - first)) >> depth, (m * (a - first + 1)) >> depth):
            start = s + 1 if a == b else (m * (b - first)) >> depth
            for t in range(start, (m * (b - first + 1)) >> depth):
                if (
                    (asked[s] or asked[t])
                    and _overlap(small, s, small, t)
                    and not _share(ids, s, t)
                    and _interiors_meet(corners, normals, longest, s, t)
                ):
                    if count == found.shape[0]:
                        more = np.empty((2 * count, 2), np.int64)
                        for i in range(count):
                            more[i, 0], more[i, 1] = found[i, 0], found[i, 1]
                        found = more
                    found[count, 0], found[count, 1] = s, t
                    count += 1
    return found[:count]


@kernel
def _held(asked: Any, depth: int) -> Any:
    """Flags of triangles in the order of the leaves, and of the nodes that hold one."""
    m, first = len(asked), (1 << depth) - 1
    holds = np.zeros(2 * first + 1, np.bool_)
    for j in range(1 << depth):
        for t in range((m * j) >> depth, (m * (j + 1)) >> depth):
            holds[first + j] |= asked[t]
    for node in range(first - 1, -1, -1):
        holds[node] = holds[2 * node + 1] or holds[2 * node + 2]
    return asked, holds


@kernel(error_model="numpy")
def _triangles(corners: Any) -> Any:
    """Unit normals (zero if degenerate), longest sides and boxes of all triangles."""
    m = corners.shape[0]
    normals = np.zeros((m, 3))
    longest = np.empty(m)
    boxes = np.empty((m, 6))
    for t in range(m):
        a, b, c = _row(corners, t, 0), _row(corners, t, 1), _row(corners, t, 2)
        u, v, w = _minus(b, a), _minus(c, a), _minus(c, b)
        n = _cross(u, v)
        area = np.sqrt(_dot(n, n))
        longest[t] = np.sqrt(max(_dot(u, u), _dot(v, v), _dot(w, w)))
        for k in range(3):
            if area > _CONTACT * longest[t] ** 2:
                normals[t, k] = n[k] / area
            boxes[t, k] = min(a[k], b[k], c[k])
            boxes[t, k + 3] = max(a[k], b[k], c[k])
    return normals, longest, boxes


@kernel(error_model="numpy")
def _overlap(A: Any, a: int, B: Any, b: int) -> bool:
    for k in range(3):
        if A[a, k] > B[b, k + 3] or B[b, k] > A[a, k + 3]:
            return False
    return True


@kernel(error_model="numpy")
def _share(ids: Any, s: int, t: int) -> bool:
    for i in range(3):
        for j in range(3):
            if ids[s, i] == ids[t, j]:
                return True
    return False


@kernel(error_model="numpy")
def _interiors_meet(corners: Any, normals: Any, longest: Any, s: int, t: int) -> Any:
    n = (normals[s, 0], normals[s, 1], normals[s, 2])
    o = (normals[t, 0], normals[t, 1], normals[t, 2])
    if _dot(n, n) == 0.0 or _dot(o, o) == 0.0:
        return False
    contact = _CONTACT * max(longest[s], longest[t])
    S = (_row(corners, s, 0), _row(corners, s, 1), _row(corners, s, 2))
    T = (_row(corners, t, 0), _row(corners, t, 1), _row(corners, t, 2))
    heights_t = _heights(T, n, S[0], contact)
    low, high = _extent(heights_t)
    if low == 0.0 and high == 0.0:
        return _overlap_in_plane(S, T, n, contact)
    if low >= 0.0 or high <= 0.0:
        return False
    heights_s = _heights(S, o, T[0], contact)
    low, high = _extent(heights_s)
    if low >= 0.0 or high <= 0.0:
        return False
    line = _cross(n, o)
    a, b = _cut(S, heights_s, line, S[0])
    c, d = _cut(T, heights_t, line, S[0])
    return min(b, d) - max(a, c) > contact * np.sqrt(_dot(line, line))


@kernel(error_model="numpy")
def _heights(T: Any, n: Any, origin: Any, contact: float) -> Any:
    """Heights of three corners over a plane; exactly zero if in contact with it."""
    x, y, z = _along(T, n, origin)
    return (
        x if abs(x) > contact else 0.0,
        y if abs(y) > contact else 0.0,
        z if abs(z) > contact else 0.0,
    )


@kernel(error_model="numpy")
def _cut(T: Any, h: Any, line: Any, origin: Any) -> Any:
    """Interval of the line in which a plane cuts a triangle that has corners on both sides."""
    x = _along(T, line, origin)
    low, high = np.inf, -np.inf
    for i in range(3):
        j = (i + 1) % 3
        if h[i] * h[j] < 0.0:
            p = x[i] + (x[j] - x[i]) * (h[i] / (h[i] - h[j]))
            low, high = min(low, p), max(high, p)
        elif h[i] == 0.0:
            low, high = min(low, x[i]), max(high, x[i])
    return low, high


@kernel(error_model="numpy")
def _overlap_in_plane(S: Any, T: Any, n: Any, contact: float) -> bool:
    for i in range(6):
        U = S if i < 3 else T
        side = _minus(U[(i + 1) % 3], U[i % 3])
        axis = _cross(n, side)
        a, b = _extent(_along(S, axis, S[0]))
        c, d = _extent(_along(T, axis, S[0]))
        if min(b, d) - max(a, c) <= contact * np.sqrt(_dot(side, side)):
            return False
    return True


@kernel(error_model="numpy")
def _along(T: Any, axis: Any, origin: Any) -> Any:
    return (
        _dot(_minus(T[0], origin), axis),
        _dot(_minus(T[1], origin), axis),
        _dot(_minus(T[2], origin), axis),
    )


@kernel(error_model="numpy")
def _extent(x: Any) -> Any:
    return min(x[0], x[1], x[2]), max(x[0], x[1], x[2])


@kernel(error_model="numpy")
def _row(corners: Any, t: int, k: int) -> Any:
    return corners[t, k, 0], corners[t, k, 1], corners[t, k, 2]


@kernel(error_model="numpy")
def _minus(a: Any, b: Any) -> Any:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


@kernel(error_model="numpy")
def _dot(a: Any, b: Any) -> Any:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@kernel(error_model="numpy")
def _cross(a: Any, b: Any) -> Any:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
