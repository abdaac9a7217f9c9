"""Exact closest points on triangle meshes.

Two layers over one triangle kernel: :func:`closest_on_incident` searches the triangles around a
vertex that is already known, and :class:`TriangleTree` searches the whole mesh.
:func:`leaning_feet` searches like the former, in normals as well (the step taken in every iteration
of a registration); for that, six dimensions, it has a kernel of its own.  :class:`Border` tells
which of the points found lie on the border, where a match or a distance says nothing about the
surface.

All kernels run serially without the GIL, so that callers may split queries over threads; each
query is answered on its own, in any order, with the same bits.
"""

from copy import copy
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from licp.compiled import kernel
from licp.errors import InputError, MeshError
from licp.geometry import as_faces, as_points, border_vertices, checked_mesh, face_edges
from licp.readonly import read_only_view
from licp.similarity import Similarity

__all__ = [
    "Border",
    "TriangleTree",
    "closest_on_incident",
    "closest_on_triangle",
    "leaning_feet",
    "tree_of",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Triangles in a leaf: fewer make the tree deeper, more make every visit dearer; 2 to 8 are alike.
_LEAF = 4


@kernel(error_model="numpy")
def closest_on_triangle(p: Any, a: Any, b: Any, c: Any) -> Any:
    """Point of a triangle that is closest to a point.

    Our own formulation: the foot on the plane if it lies inside, otherwise the best point of the
    sides that face the query.  Thin triangles, whose plane is uncertain, try all sides as well;
    triangles that are a segment or a point are searched as such.  The error is a few roundings;
    at worst, for heights of 1e-7 of the longest side, it is 1e-8 of that side.

    Parameters
    ----------
    p, a, b, c : tuple of 3 floats
        Query and corners, in one unit.

    Returns
    -------
    u, v, w : float
        Barycentric coordinates: never negative, and the point is ``u a + v b + w c``.  A
        coordinate is exactly zero if the point was found on the opposite side.
    squared_distance : float

    Examples
    --------
    >>> closest_on_triangle((0., -3., 4.), (0., 0., 0.), (1., 0., 0.), (0., 1., 0.))
    (1.0, 0.0, 0.0, 25.0)
    """
    abx, aby, abz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    acx, acy, acz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    bcx, bcy, bcz = c[0] - b[0], c[1] - b[1], c[2] - b[2]
    apx, apy, apz = p[0] - a[0], p[1] - a[1], p[2] - a[2]
    bpx, bpy, bpz = p[0] - b[0], p[1] - b[1], p[2] - b[2]
    ab2 = abx * abx + aby * aby + abz * abz
    ac2 = acx * acx + acy * acy + acz * acz
    bc2 = bcx * bcx + bcy * bcy + bcz * bcz
    nx, ny, nz = aby * acz - abz * acy, abz * acx - abx * acz, abx * acy - aby * acx
    nn = nx * nx + ny * ny + nz * nz
    longest = max(ab2, ac2, bc2)

    # u, v, w: coordinates of the foot on the plane, times nn.
    qx, qy, qz = apy * nz - apz * ny, apz * nx - apx * nz, apx * ny - apy * nx
    v = -(acx * qx + acy * qy + acz * qz)
    w = abx * qx + aby * qy + abz * qz
    u = nn - v - w
    bu, bv, bw, best = 1.0, 0.0, 0.0, np.inf
    if nn > 0.0 and u >= 0.0 and v >= 0.0 and w >= 0.0:
        bv, bw = v / nn, w / nn
        bu = max(1.0 - bv - bw, 0.0)
        dx = apx - bv * abx - bw * acx
        dy = apy - bv * aby - bw * acy
        dz = apz - bv * abz - bw * acz
        best = dx * dx + dy * dy + dz * dz

    # If the height is below 1e-4 of the longest side, rounding may turn the signs.
    thin = nn <= 1e-8 * longest * longest
    # The closest point of a side can only be the answer if the query lies beyond that side.
    if thin or w < 0.0:
        t = _along(abx, aby, abz, apx, apy, apz, ab2)
        d = _off(abx, aby, abz, apx, apy, apz, t)
        if d < best:
            bu, bv, bw, best = 1.0 - t, t, 0.0, d
    if thin or u < 0.0:
        t = _along(bcx, bcy, bcz, bpx, bpy, bpz, bc2)
        d = _off(bcx, bcy, bcz, bpx, bpy, bpz, t)
        if d < best:
            bu, bv, bw, best = 0.0, 1.0 - t, t, d
    if thin or v < 0.0:
        t = _along(acx, acy, acz, apx, apy, apz, ac2)
        d = _off(acx, acy, acz, apx, apy, apz, t)
        if d < best:
            bu, bv, bw, best = 1.0 - t, 0.0, t, d
    return bu, bv, bw, best


@kernel(error_model="numpy")
def _along(ex: float, ey: float, ez: float, px: float, py: float, pz: float, e2: float) -> float:
    """Parameter of the point of the segment 0..e that is closest to p."""
    if e2 == 0.0:
        return 0.0
    return min(max((px * ex + py * ey + pz * ez) / e2, 0.0), 1.0)


@kernel(error_model="numpy")
def _off(ex: float, ey: float, ez: float, px: float, py: float, pz: float, t: float) -> float:
    return (px - t * ex) ** 2 + (py - t * ey) ** 2 + (pz - t * ez) ** 2


def closest_on_incident(
    points: ArrayLike,
    vertex_ids: ArrayLike,
    vertices: ArrayLike,
    faces: ArrayLike,
    indptr: Ints,
    indices: Ints,
) -> tuple[Ints, Floats, Floats, Floats]:
    """Closest point among the triangles around a given vertex of each query.

    Parameters
    ----------
    points : (q, 3) float
        Queries.
    vertex_ids : (q,) int
        The vertex whose triangles are searched, one for each query.
    vertices : (n, 3) float
        Positions, in the unit of the points.
    faces : (m, 3) int
        Triangles, by vertex.
    indptr, indices : (n + 1,), (3 m,) int64
        Faces of each vertex, from :func:`licp.geometry.vertex_faces`.

    Returns
    -------
    face : (q,) int64
        -1 where the vertex has no triangle.
    barycentric : (q, 3) float64
        Weights of the corners of ``face``, never negative; zeros where there is no triangle.
    point : (q, 3) float64
        The closest point; the vertex itself where there is no triangle.
    squared_distance : (q,) float64
        From the query to ``point``.

    Raises
    ------
    InputError
        If there is not one existing vertex for each query.
    MeshError
        If the arrays of the mesh have the wrong shape.

    Examples
    --------
    >>> from licp.geometry import vertex_faces
    >>> V, F = [[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]]
    >>> f, b, x, d2 = closest_on_incident([[0.25, 0.25, 2]], [1], V, F, *vertex_faces(F, 3))
    >>> f.tolist(), b.tolist(), x.tolist(), d2.tolist()
    ([0], [[0.5, 0.25, 0.25]], [[0.25, 0.25, 0.0]], [4.0])
    """
    P = _queries(points)
    V = as_points(vertices)
    F = np.ascontiguousarray(faces, np.int64)
    at = np.ascontiguousarray(vertex_ids, np.int64)
    if at.shape != (len(P),):
        raise InputError(f"vertex_ids must have shape ({len(P)},) like the points, not {at.shape}")
    if len(indptr) != len(V) + 1 or F.ndim != 2 or F.shape[1] != 3 or len(indices) != F.size:
        raise MeshError(
            "vertices, faces, indptr and indices are not of one mesh: "
            f"shapes {V.shape}, {F.shape}, {np.shape(indptr)}, {np.shape(indices)}"
        )
    if at.size and (at.min() < 0 or at.max() >= len(V)):
        bad = np.flatnonzero((at < 0) | (at >= len(V)))
        raise InputError(
            f"{len(bad)} vertex_ids do not exist in a mesh of {len(V)} vertices "
            f"(first: vertex_ids[{bad[0]}] = {at[bad[0]]})"
        )
    result: tuple[Ints, Floats, Floats, Floats] = _incident(
        *map(read_only_view, (P, at, V, F, np.asarray(indptr), np.asarray(indices)))
    )
    return result


@kernel(error_model="numpy")
def _nearest_around(p: Any, at: int, V: Any, F: Any, indptr: Any, indices: Any) -> Any:
    """Face around a vertex that is closest to a point, -1 if there is none; where, and how far."""
    face, bu, bv, bw, best = -1, 0.0, 0.0, 0.0, np.inf
    for j in range(indptr[at], indptr[at + 1]):
        f = indices[j]
        a, b, c = F[f, 0], F[f, 1], F[f, 2]
        u, v, w, d = closest_on_triangle(
            p,
            (V[a, 0], V[a, 1], V[a, 2]),
            (V[b, 0], V[b, 1], V[b, 2]),
            (V[c, 0], V[c, 1], V[c, 2]),
        )
        if d < best:
            face, bu, bv, bw, best = f, u, v, w, d
    return face, bu, bv, bw, best


@kernel(error_model="numpy")
def _incident(P: Any, at: Any, V: Any, F: Any, indptr: Any, indices: Any) -> Any:
    q = P.shape[0]
    face = np.empty(q, np.int64)
    bary = np.empty((q, 3))
    point = np.empty((q, 3))
    squared = np.empty(q)
    for i in range(q):
        p = (P[i, 0], P[i, 1], P[i, 2])
        f, u, v, w, best = _nearest_around(p, at[i], V, F, indptr, indices)
        face[i], bary[i, 0], bary[i, 1], bary[i, 2] = f, u, v, w
        if f < 0:
            best = 0.0
            for k in range(3):
                point[i, k] = V[at[i], k]
                best += (p[k] - point[i, k]) ** 2
        else:
            for k in range(3):
                point[i, k] = u * V[F[f, 0], k] + v * V[F[f, 1], k] + w * V[F[f, 2], k]
        squared[i] = best
    return face, bary, point, squared


def leaning_feet(
    points: Floats,
    facing: Floats,
    vertex_ids: Ints,
    vertices: Floats,
    normals: Floats,
    faces: Ints,
    indptr: NDArray[np.uint64],
    fans: NDArray[np.uint32],
    lean: float,
) -> tuple[Ints, Floats, Floats, Floats]:
    """Closest points around given vertices, moved towards where normals agree.  Our own.

    With the closest points alone, a vertex could not move by less than a face of the mesh to where
    it fits better.  Triangles are as flat in a space of positions and normals as they are in that
    of positions, as normals are interpolated over a face.  Each foot moves towards the point of the
    same triangles that is closest in that space, but no further than the query is away: where they
    meet, normals tell noise and ragged rims.

    Parameters
    ----------
    points, facing : (q, 3) float64
        Queries: positions and normals.
    vertex_ids : (q,) int64
        The vertex whose triangles are searched, one for each query.
    vertices, normals : (n, 3) float64
        The same of the mesh.
    faces : (m, 3) int64
        Triangles, by vertex.
    indptr, fans : (n + 1,) uint64, (3 m, 3) uint32
        Faces of each vertex, from :func:`licp.geometry.vertex_fans`.
    lean : float
        Length that a unit of difference between normals is worth.

    Returns
    -------
    face : (q,) int64
        Of the closest point; -1 where the vertex has no triangle.
    barycentric : (q, 3) float64
        Of the closest point; zeros where there is no triangle.
    point : (q, 3) float64
        The foot; the vertex itself where there is no triangle.
    facing : (q, 3) float64
        Unit normal, interpolated, at the closest point.

    Examples
    --------
    >>> from licp.geometry import vertex_fans
    >>> V, F = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0.0]]), np.array([[0, 1, 2]])
    >>> N = np.array([[0, 0, 1], [1, 0, 0], [0, 0, 1.0]])
    >>> p, up, rows = np.array([[0.25, 0.25, 1]]), np.array([[0, 0, 1.0]]), vertex_fans(F, 3)
    >>> for lean in (0.0, 1.0):
    ...     found = leaning_feet(p, up, np.array([0]), V, N, F, *rows, lean)
    ...     print(found[2].round(3).tolist())
    [[0.25, 0.25, 0.0]]
    [[0.083, 0.25, 0.0]]
    """
    found: tuple[Ints, Floats, Floats, Floats] = _feet(
        points, facing, vertex_ids, vertices, normals, faces, indptr, fans, lean**2
    )
    return found


@kernel(error_model="numpy")
def _feet(
    P: Any, N: Any, at: Any, S: Any, M: Any, F: Any, indptr: Any, fans: Any, weight: float
) -> Any:
    q = len(P)
    face = np.empty(q, np.int64)
    bary = np.empty((q, 3))
    point = np.empty((q, 3))
    facing = np.empty((q, 3))
    for i in range(q):
        own: Any = np.uint64(at[i])
        f, b, c, v, w, squared, d, e, x, y = _around(P, N, i, own, S, M, indptr, fans, weight)
        face[i] = f
        if f < 0:
            bary[i], point[i], facing[i] = 0.0, S[own], M[own]
            continue
        first = 0 if F[f, 0] == own else 1 if F[f, 1] == own else 2
        u = _rest(v, w)
        bary[i, first], bary[i, (first + 1) % 3], bary[i, (first + 2) % 3] = u, v, w
        z = _rest(x, y)
        gone, long = 0.0, 0.0
        for k in range(3):
            foot = u * S[own, k] + v * S[b, k] + w * S[c, k]
            aside = z * S[own, k] + x * S[d, k] + y * S[e, k] - foot
            up = u * M[own, k] + v * M[b, k] + w * M[c, k]
            point[i, k], facing[i, k] = foot, up
            gone += aside * aside
            long += up * up
        part = min(1.0, np.sqrt(squared / gone)) if gone > 0.0 else 0.0
        for k in range(3):
            aside = z * S[own, k] + x * S[d, k] + y * S[e, k] - point[i, k]
            point[i, k] += part * aside
            facing[i, k] /= np.sqrt(long) if long > 0.0 else 1.0
    return face, bary, point, facing


@kernel(error_model="numpy")
def _rest(v: float, w: float) -> float:
    """What is left for the third coordinate; rounding is nothing."""
    u = 1.0 - v - w
    return u if u > 1e-15 else 0.0


@kernel(error_model="numpy")
def _around(
    P: Any, N: Any, i: int, own: Any, S: Any, M: Any, indptr: Any, fans: Any, weight: float
) -> Any:
    """Closest points around a vertex: by position, with face, squared distance; by normal too.

    All that decides is in the products of the two sides at the vertex and the query, seen from
    there; those of positions and normals add up.
    """
    face, b, c, v, w, near = -1, own, own, 0.0, 0.0, np.inf
    d, e, x, y, alike = own, own, 0.0, 0.0, np.inf
    qq = 0.0
    for k in range(3):
        qq += (P[i, k] - S[own, k]) ** 2
    for row in range(indptr[own], indptr[own + np.uint64(1)]):
        s, t = np.uint64(fans[row, 1]), np.uint64(fans[row, 2])
        ss, st, tt, sq, tq = _products(P, i, S, own, s, t)
        m, n, less = _lowest(ss, st, tt, sq, tq)
        if less < near:
            face, b, c, v, w, near = fans[row, 0], s, t, m, n, less
        oo, op, pp, oq, pq = _products(N, i, M, own, s, t)
        m, n, less = _lowest(
            ss + weight * oo,
            st + weight * op,
            tt + weight * pp,
            sq + weight * oq,
            tq + weight * pq,
        )
        if less < alike:
            d, e, x, y, alike = s, t, m, n, less
    return face, b, c, v, w, max(qq + near, 0.0), d, e, x, y


@kernel(error_model="numpy")
def _products(Q: Any, i: int, S: Any, own: Any, b: Any, c: Any) -> Any:
    """Products of the sides to b and c and of a query, seen from a vertex."""
    bb, bc, cc, bq, cq = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(3):
        s, t, r = S[b, k] - S[own, k], S[c, k] - S[own, k], Q[i, k] - S[own, k]
        bb += s * s
        bc += s * t
        cc += t * t
        bq += s * r
        cq += t * r
    return bb, bc, cc, bq, cq


@kernel(error_model="numpy")
def _lowest(bb: float, bc: float, cc: float, bq: float, cq: float) -> Any:
    """Where ``|v b + w c - q|^2 - |q|^2`` is least over the triangle, and its value there.

    The foot on the plane, or the best point of all three sides: choices instead of branches, which
    would be guessed wrong half the time.
    """
    area = bb * cc - bc * bc
    v, w = cc * bq - bc * cq, bb * cq - bc * bq
    inside = (area > 1e-12 * bb * cc) & (v >= 0.0) & (w >= 0.0) & (v + w <= area)
    whole = area if inside else 1.0
    v, w = v / whole, w / whole
    third, along = bb - 2.0 * bc + cc, bb - bc - bq + cq
    r = min(max(bq / (bb if bb > 0.0 else 1.0), 0.0), 1.0)
    s = min(max(cq / (cc if cc > 0.0 else 1.0), 0.0), 1.0)
    t = min(max(along / (third if third > 0.0 else 1.0), 0.0), 1.0)
    least, d = r * (r * bb - 2.0 * bq), s * (s * cc - 2.0 * cq)
    e = bb - 2.0 * bq + t * (t * third - 2.0 * along)
    nearer = d < least
    x, y, least = (0.0 if nearer else r), (s if nearer else 0.0), (d if nearer else least)
    nearer = e < least
    x, y, least = (1.0 - t if nearer else x), (t if nearer else y), (e if nearer else least)
    f = -(v * bq + w * cq)
    return (v if inside else x), (w if inside else y), (f if inside else least)


class TriangleTree:
    """Bounding-box tree over the triangles of a mesh, built once, for exact closest points.

    A perfectly balanced binary tree: every node splits its triangles in halves at the median of
    their centroids, along the axis in which these are spread most.  Ranges and children follow
    from the index of a node, so nothing but the boxes is stored.  Boxes and corners stay where the
    tree was built: queries are brought there.

    Parameters
    ----------
    vertices : (n, 3) float
    faces : (m, 3) int
        At least one.  Degenerate triangles count as the segments or points they are.

    Attributes
    ----------
    depth : int
        Node ``j`` of level ``l`` has index ``2**l - 1 + j`` and holds the triangles
        ``order[(m * j) >> l:(m * (j + 1)) >> l]``; leaves are the nodes of level ``depth``.
    boxes : (2**(depth + 1) - 1, 6) float64
        Lower, then upper corner of each node.
    order : (m,) int64
        Faces in the order of the leaves.
    corners : (m, 3, 3) float64
        Corners of the triangles, in the order of the leaves.

    Raises
    ------
    MeshError
        If there are no faces, faces refer to missing vertices, or positions are not finite.

    Examples
    --------
    >>> tree = TriangleTree([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]])
    >>> distance, face, barycentric = tree.query([[0.25, 0.25, 2], [5, 0, 3]])
    >>> distance.tolist(), face.tolist(), barycentric[1].tolist()
    ([2.0, 5.0], [0, 0], [0.0, 1.0, 0.0])
    """

    def __init__(self, vertices: ArrayLike, faces: ArrayLike) -> None:
        V, F = checked_mesh(vertices, faces)
        if not len(F):
            raise MeshError("a mesh without faces has no surface to search")
        self.depth = max((len(F) - 1) // _LEAF, 0).bit_length()
        self.boxes: Floats
        self.order: Ints
        self.corners: Floats
        self._move: Similarity | None = None
        self.boxes, self.order, self.corners = _build(
            read_only_view(V), read_only_view(F), self.depth
        )

    def reshaped(self, vertices: Floats, faces: Ints) -> "TriangleTree":
        """A tree of the same faces with their vertices (n, 3) at other places.

        Who shares a leaf stays, so it takes a fifth of the time of a new one; where little moved,
        queries take no longer.
        """
        other = copy(self)
        other._move = None
        other.boxes, other.corners = _boxes(
            read_only_view(vertices), read_only_view(faces), self.order, self.depth
        )
        return other

    def moved(self, move: Similarity) -> "TriangleTree":
        """The tree of the same mesh elsewhere; nothing is built."""
        other = copy(self)
        other._move = move if self._move is None else move.after(self._move)
        return other

    def query(
        self, points: ArrayLike, upper_bound: ArrayLike | None = None
    ) -> tuple[Floats, Ints, Floats]:
        """Closest point of the whole mesh to each query.

        Parameters
        ----------
        points : (q, 3) float
            Queries, in the unit of the mesh.
        upper_bound : float or (q,) float, optional
            Search no farther than this; the closer it is, the faster.  Default: no limit.

        Returns
        -------
        distance : (q,) float64
            inf where nothing lies within ``upper_bound``.
        face : (q,) int64
            The lowest of several equally close faces; -1 where there is none.
        barycentric : (q, 3) float64
            Weights of the corners of ``face``, never negative; zeros where there is none.

        Raises
        ------
        InputError
            If points have the wrong shape or are not finite, or a bound is negative or NaN.
        """
        P = _queries(points)
        bound = np.asarray(np.inf if upper_bound is None else upper_bound, np.float64)
        if bound.shape not in ((), (len(P),)):
            raise InputError(
                f"upper_bound must be a number or have shape ({len(P)},), not {bound.shape}"
            )
        if not (bound >= 0).all():
            raise InputError("upper_bound must not be negative or NaN")
        grown = 1.0
        if self._move is not None:
            grown, P = self._move.scale, self._move.inverse().apply(P)
        limit = np.ascontiguousarray(np.broadcast_to((bound / grown) ** 2, len(P)))
        squared, face, bary = _query(
            read_only_view(P),
            read_only_view(limit),
            self.boxes,
            self.order,
            self.corners,
            self.depth,
        )
        return grown * np.sqrt(squared), face, bary


@kernel(error_model="numpy")
def _build(V: Any, F: Any, depth: int) -> Any:
    m = F.shape[0]
    order = np.arange(m)
    C = np.empty((m, 3))
    for f in range(m):
        for k in range(3):
            C[f, k] = V[F[f, 0], k] + V[F[f, 1], k] + V[F[f, 2], k]
    for level in range(depth):
        for j in range(1 << level):
            start, stop = (m * j) >> level, (m * (j + 1)) >> level
            axis, spread = 0, -1.0
            for k in range(3):
                low, high = C[start, k], C[start, k]
                for i in range(start + 1, stop):
                    low, high = min(low, C[i, k]), max(high, C[i, k])
                if high - low > spread:
                    axis, spread = k, high - low
            _select(C, order, axis, start, stop - 1, (m * (2 * j + 1)) >> (level + 1))
    boxes, corners = _boxes(V, F, order, depth)
    return boxes, order, corners


@kernel(error_model="numpy")
def _boxes(V: Any, F: Any, order: Any, depth: int) -> Any:
    """Boxes of all nodes, and the corners of the triangles in the order of the leaves."""
    m = F.shape[0]
    corners = np.empty((m, 3, 3))
    boxes = np.empty((2 * (1 << depth) - 1, 6))
    first = (1 << depth) - 1
    for j in range(1 << depth):
        for k in range(3):
            low, high = np.inf, -np.inf
            for i in range((m * j) >> depth, (m * (j + 1)) >> depth):
                for c in range(3):
                    x = V[F[order[i], c], k]
                    corners[i, c, k] = x
                    low, high = min(low, x), max(high, x)
            boxes[first + j, k], boxes[first + j, k + 3] = low, high
    for node in range(first - 1, -1, -1):
        for k in range(3):
            boxes[node, k] = min(boxes[2 * node + 1, k], boxes[2 * node + 2, k])
            boxes[node, k + 3] = max(boxes[2 * node + 1, k + 3], boxes[2 * node + 2, k + 3])
    return boxes, corners


@kernel(error_model="numpy")
def _select(C: Any, order: Any, axis: int, low: int, high: int, middle: int) -> None:
    """Reorder rows low..high so that none before the middle is above any from the middle on."""
    while low < high:
        x, y, z = C[low, axis], C[(low + high) // 2, axis], C[high, axis]
        pivot = max(min(x, y), min(max(x, y), z))
        i, j = low, high
        while i <= j:
            while C[i, axis] < pivot:
                i += 1
            while C[j, axis] > pivot:
                j -= 1
            if i <= j:
                for k in range(3):
                    C[i, k], C[j, k] = C[j, k], C[i, k]
                order[i], order[j] = order[j], order[i]
                i += 1
                j -= 1
        if middle <= j:
            high = j
        elif middle >= i:
            low = i
        else:
            return


@kernel(error_model="numpy")
def _box_distance(boxes: Any, node: int, p: Any) -> Any:
    """Squared distance of a point to the box of a node; zero inside."""
    x = max(boxes[node, 0] - p[0], 0.0, p[0] - boxes[node, 3])
    y = max(boxes[node, 1] - p[1], 0.0, p[1] - boxes[node, 4])
    z = max(boxes[node, 2] - p[2], 0.0, p[2] - boxes[node, 5])
    return x * x + y * y + z * z


@kernel(error_model="numpy")
def _query(P: Any, limit: Any, boxes: Any, order: Any, corners: Any, depth: int) -> Any:
    q, m = P.shape[0], order.shape[0]
    first = (1 << depth) - 1
    squared = np.full(q, np.inf)
    face = np.full(q, -1, np.int64)
    bary = np.zeros((q, 3))
    nodes = np.empty(depth + 1, np.int64)
    lower = np.empty(depth + 1)
    for i in range(q):
        p = (P[i, 0], P[i, 1], P[i, 2])
        best = limit[i]
        nodes[0], lower[0] = 0, _box_distance(boxes, 0, p)
        top = 1
        while top > 0:
            top -= 1
            node, bound = nodes[top], lower[top]
            # Boxes exactly at the best distance are opened: they may hold a lower face.
            while node < first and bound <= best:
                near, far = 2 * node + 1, 2 * node + 2
                d_near, d_far = _box_distance(boxes, near, p), _box_distance(boxes, far, p)
                if d_far < d_near:
                    near, far, d_near, d_far = far, near, d_far, d_near
                if d_far <= best:
                    nodes[top], lower[top] = far, d_far
                    top += 1
                node, bound = near, d_near
            if bound > best:
                continue
            j = node - first
            for t in range((m * j) >> depth, (m * (j + 1)) >> depth):
                u, v, w, d = closest_on_triangle(
                    p,
                    (corners[t, 0, 0], corners[t, 0, 1], corners[t, 0, 2]),
                    (corners[t, 1, 0], corners[t, 1, 1], corners[t, 1, 2]),
                    (corners[t, 2, 0], corners[t, 2, 1], corners[t, 2, 2]),
                )
                if d < best or (d == best and (face[i] < 0 or order[t] < face[i])):
                    best, squared[i], face[i] = d, d, order[t]
                    bary[i, 0], bary[i, 1], bary[i, 2] = u, v, w
    return squared, face, bary


class Border:
    """Tells which points of a mesh lie on its border; set up once for its faces.

    Parameters
    ----------
    faces : (m, 3) int
    n : int
        Number of vertices.
    edges : tuple, optional
        What :func:`licp.geometry.face_edges` returns of them, if it is known already.

    Examples
    --------
    >>> border = Border([[0, 1, 2], [2, 1, 3]], 4)
    >>> border.holds([0, 0, 1], [[0.5, 0.5, 0], [0, 0.5, 0.5], [0, 0, 1]]).tolist()
    [True, False, True]
    """

    def __init__(
        self, faces: ArrayLike, n: int, edges: tuple[Ints, Ints, Ints] | None = None
    ) -> None:
        F = as_faces(faces, n)
        pairs, counts, sides = face_edges(F) if edges is None else edges
        self._corners = border_vertices(pairs, counts, n)[F]
        # Side k runs from corner k to the next; sides of no length have index -1.
        self._opposite = np.append(counts == 1, False)[sides][:, [1, 2, 0]]

    def holds(self, face: ArrayLike, barycentric: ArrayLike) -> Bools:
        """Flags (q,) of the points that lie on a border edge or at an end of one.

        Parameters
        ----------
        face : (q,) int
            -1 (no point) gives False.
        barycentric : (q, 3) float
            Coordinates up to 1e-9 count as zero.
        """
        f = np.ascontiguousarray(face, np.int64)
        bary = np.ascontiguousarray(barycentric, np.float64)
        flags: Bools = _on_border(*map(read_only_view, (f, bary, self._opposite, self._corners)))
        return flags

    def nearest_to(
        self, points: Floats, vertex_ids: Ints, vertices: Floats, faces: Ints, incidence: Any
    ) -> Bools:
        """Flags (q,) of points whose closest one around a given vertex lies on the border.

        What :func:`closest_on_incident` and :meth:`holds` tell, without checks of what is given.

        Parameters
        ----------
        points : (q, 3) float64
            Queries.
        vertex_ids : (q,) int64
            The vertex whose triangles are searched, one for each query.
        vertices : (n, 3) float64
            Of the mesh.
        faces : (m, 3) int64
            Of the mesh.
        incidence : tuple
            Of :func:`licp.geometry.vertex_faces`.
        """
        mesh = vertices, faces, *incidence
        arrays = points, vertex_ids, *mesh, self._opposite, self._corners
        flags: Bools = _feet_on_border(*map(read_only_view, arrays))
        return flags


@kernel
def _on_border(face: Any, bary: Any, opposite: Any, corners: Any) -> Any:
    flags = np.zeros(len(face), np.bool_)
    for i in range(len(face)):
        if face[i] >= 0:
            flags[i] = _held(face[i], bary[i, 0], bary[i, 1], bary[i, 2], opposite, corners)
    return flags


@kernel
def _held(f: int, u: float, v: float, w: float, opposite: Any, corners: Any) -> Any:
    """Whether a point of a face lies on a border edge or at an end of one."""
    inside, corner, edge = 0, False, False
    for k, weight in enumerate((u, v, w)):
        if weight > 1e-9:
            inside += 1
            corner |= corners[f, k]
        else:
            edge |= opposite[f, k]
    return edge or (corner and inside == 1)


@kernel
def _feet_on_border(
    P: Any, at: Any, V: Any, F: Any, start: Any, around: Any, opposite: Any, corners: Any
) -> Any:
    flags = np.zeros(len(at), np.bool_)
    for i in range(len(at)):
        p = (P[i, 0], P[i, 1], P[i, 2])
        f, u, v, w, _ = _nearest_around(p, at[i], V, F, start, around)
        if f >= 0:
            flags[i] = _held(f, u, v, w, opposite, corners)
    return flags


def tree_of(vertices: ArrayLike, faces: ArrayLike, tree: TriangleTree | None) -> TriangleTree:
    """The given tree if there is one, else a new one."""
    if tree is None:
        return TriangleTree(vertices, faces)
    if len(tree.order) != len(np.asarray(faces)):
        raise MeshError(
            f"the tree is of a mesh of {len(tree.order)} faces, not {len(np.asarray(faces))}"
        )
    return tree


def _queries(points: ArrayLike) -> Floats:
    P = np.ascontiguousarray(points, np.float64)
    if P.ndim != 2 or P.shape[1] != 3:
        raise InputError(f"points must have shape (q, 3), not {P.shape}")
    if not np.isfinite(P).all():
        bad = np.flatnonzero(~np.isfinite(P).all(1))
        raise InputError(f"{len(bad)} points are not finite (first: point {bad[0]})")
    return P
