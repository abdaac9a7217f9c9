"""Normals, areas, edges, borders and components of triangle meshes.

Pure functions on ``vertices`` (n, 3) float64 and ``faces`` (m, 3) int64; nothing is modified.
Everything is linear in the size of the mesh, deterministic and independent of units.
"""

from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from licp.compiled import kernel
from licp.errors import MeshError

__all__ = [
    "Edges",
    "all_of",
    "any_of",
    "as_faces",
    "as_points",
    "best_apart",
    "border_vertices",
    "bucket",
    "checked_mesh",
    "components",
    "edge_lengths",
    "edges",
    "face_edges",
    "face_normals_areas",
    "first_equal",
    "grouped_faces",
    "grown",
    "joined",
    "kept_edges",
    "mesh_size",
    "neighbours_by_edges",
    "sort_pairs",
    "sorted_corners",
    "union",
    "unite",
    "unsigned",
    "vertex_areas",
    "vertex_faces",
    "vertex_fans",
    "vertex_neighbours",
    "vertex_normals",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Edges = tuple[Ints, Ints, Ints]

# A triangle this much smaller than the square of its longest side, or a normal sum this much
# smaller than its terms, is rounding error: its direction means nothing.
_FLAT = 1e-12


def any_of(flags: Bools) -> Bools:
    """Rows (n,) of a few flags (n, k) that hold a true one, in an eighth of the time of ``any(1)``.

    Examples
    --------
    >>> any_of(np.array([[False, True], [False, False]])).tolist()
    [True, False]
    """
    found: Bools = reduce(np.logical_or, flags.T)
    return found


def all_of(flags: Bools) -> Bools:
    """Rows (n,) of a few flags (n, k) of which all are true; see :func:`any_of`."""
    found: Bools = reduce(np.logical_and, flags.T)
    return found


def face_normals_areas(vertices: ArrayLike, faces: ArrayLike) -> tuple[Floats, Floats]:
    """Unit normals and areas of the triangles.

    Parameters
    ----------
    vertices : (n, 3) float
        Positions, any unit.
    faces : (m, 3) int
        Vertex indices, counter-clockwise seen from outside.

    Returns
    -------
    normals : (m, 3) float64
        Right-handed unit normals; zero for degenerate triangles (area below 5e-13 of the squared
        longest side).
    areas : (m,) float64
        In squared units of the vertices.

    Examples
    --------
    >>> n, a = face_normals_areas([[0, 0, 0], [2, 0, 0], [0, 1, 0]], [[0, 1, 2]])
    >>> n.tolist(), a.tolist()
    ([[0.0, 0.0, 1.0]], [1.0])
    """
    V = as_points(vertices)
    normals, areas = _face_normals_areas(V, as_faces(faces, len(V)))
    return normals, areas


def vertex_normals(vertices: ArrayLike, faces: ArrayLike) -> Floats:
    """Unit vertex normals, weighted by the areas of the incident triangles.

    Returns
    -------
    (n, 3) float64
        Zero where undefined: at unreferenced vertices, at vertices of degenerate triangles only,
        and where the incident normals cancel.

    Examples
    --------
    >>> vertex_normals([[0, 0, 0], [2, 0, 0], [0, 1, 0]], [[0, 1, 2]])[0].tolist()
    [0.0, 0.0, 1.0]
    """
    V = as_points(vertices)
    normals: Floats = _vertex_normals(V, as_faces(faces, len(V)))
    return normals


def vertex_areas(vertices: ArrayLike, faces: ArrayLike, areas: Floats | None = None) -> Floats:
    """One third of the area of the incident triangles of each vertex, shape (n,).

    ``areas`` (m,) are those of the triangles, if they are known already.

    Examples
    --------
    >>> vertex_areas([[0, 0, 0], [2, 0, 0], [0, 3, 0]], [[0, 1, 2]]).tolist()
    [1.0, 1.0, 1.0]
    """
    V = as_points(vertices)
    F = as_faces(faces, len(V))
    third = np.repeat((_face_normals_areas(V, F)[1] if areas is None else areas) / 3.0, 3)
    return np.bincount(F.ravel(), third, minlength=len(V)).astype(np.float64, copy=False)


def edges(faces: ArrayLike) -> tuple[Ints, Ints]:
    """Undirected edges and how many face sides lie on each.

    Returns
    -------
    edges : (e, 2) int64
        Lower index first, in lexicographic order; each edge once. Sides that join a vertex to
        itself are left out.
    counts : (e,) int64
        1 on the border, 2 inside, more where the surface is not manifold.

    Examples
    --------
    >>> e, c = edges([[0, 1, 2], [2, 1, 3]])
    >>> e.tolist(), c.tolist()
    ([[0, 1], [0, 2], [1, 2], [1, 3], [2, 3]], [1, 1, 2, 1, 1])
    """
    e, c, _ = face_edges(faces)
    return e, c


def face_edges(faces: ArrayLike) -> tuple[Ints, Ints, Ints]:
    """Like :func:`edges`, and which edge each face side lies on.

    Returns
    -------
    edges : (e, 2) int64
    counts : (e,) int64
    sides : (m, 3) int64
        ``sides[f, k]`` is the edge from corner ``k`` to corner ``(k + 1) % 3`` of face ``f``;
        -1 where both corners are the same vertex.
    """
    F = as_faces(faces)
    e, c, s = _face_edges(F, int(F.max()) + 1 if F.size else 0)
    return e, c, s


def kept_edges(edges: Edges, keep: Bools) -> Edges:
    """Edges of some of the faces, from those of all, as :func:`face_edges` returns them.

    Parameters
    ----------
    edges : (e, 2) int64, (e,) int64, (m, 3) int64
        Of :func:`face_edges`; no side without length.
    keep : (m,) bool
        Which faces.

    Examples
    --------
    >>> F = np.array([[0, 1, 2], [2, 1, 3]])
    >>> [x.tolist() for x in kept_edges(face_edges(F), np.array([False, True]))]
    [[[1, 2], [1, 3], [2, 3]], [1, 1, 1], [[0, 1, 2]]]
    """
    if keep.all():
        return edges
    pairs, counts, sides = edges
    left = counts - np.bincount(sides[~keep].ravel(), minlength=len(counts))
    held = left > 0
    return pairs[held], left[held], (np.cumsum(held) - 1)[sides[keep]]


def grouped_faces(faces: Ints, group: Ints) -> Ints:
    """Faces (k, 3) between groups of vertices, each once: what is left when groups become one.

    Examples
    --------
    >>> grouped_faces(np.array([[0, 1, 2], [2, 1, 3], [4, 2, 3]]), np.array([0, 1, 2, 2, 1]))
    array([[0, 1, 2]])
    """
    F = group[faces]
    F = F[(F[:, 0] != F[:, 1]) & (F[:, 1] != F[:, 2]) & (F[:, 2] != F[:, 0])]
    once: Ints = F[first_equal(sorted_corners(F)) == np.arange(len(F))]
    return once


def border_vertices(pairs: Ints, counts: Ints, n: int) -> Bools:
    """Flags (n,) of the vertices at an end of a border edge, from :func:`face_edges`.

    Examples
    --------
    >>> border_vertices(*face_edges(np.array([[0, 1, 2]]))[:2], 4).tolist()
    [True, True, True, False]
    """
    flags = np.zeros(n, bool)
    flags[pairs[counts == 1].ravel()] = True
    return flags


def mesh_size(vertices: ArrayLike, faces: ArrayLike) -> float:
    """Root of the area, the size that lengths are told in parts of.

    Examples
    --------
    >>> mesh_size([[0, 0, 0], [4, 0, 0], [0, 2, 0]], [[0, 1, 2]])
    2.0
    """
    return float(np.sqrt(face_normals_areas(vertices, faces)[1].sum()))


def best_apart(cost: Floats, near: Bools, count: int) -> list[int]:
    """The cheapest, then the cheapest of what is near none of those before.

    Parameters
    ----------
    cost : (n,) float64
        Of each.
    near : (n, n) bool
        Which are near each other.
    count : int
        How many at most.
    """
    open_ = np.ones(len(cost), bool)
    kept: list[int] = []
    for i in np.argsort(cost, kind="stable"):
        if open_[i]:
            kept.append(int(i))
            open_ &= ~near[i]
            if len(kept) == count:
                break
    return kept


def grown(flags: Bools, neighbours: tuple[NDArray[Any], NDArray[Any]], rings: int) -> Bools:
    """Flags of vertices, and of those within so many edges of them, for each row (k, n).

    Parameters
    ----------
    flags : (k, n) bool
        Where to begin.
    neighbours : (n + 1,) int, (e,) int
        See :func:`vertex_neighbours`.
    rings : int
        Number of edges.

    Examples
    --------
    >>> strip = np.array([[0, 1, 2], [1, 3, 2], [2, 3, 4], [3, 5, 4]])
    >>> first = np.arange(6)[None] == 0
    >>> grown(first, vertex_neighbours(strip, 6), 1).astype(int).tolist()
    [[1, 1, 1, 0, 0, 0]]
    """
    for _ in range(rings):
        flags = _one_ring_more(flags, *neighbours)
    return flags


@kernel
def _one_ring_more(inside: Any, start: Any, around: Any) -> Any:
    more = inside.copy()
    for k in range(len(inside)):
        for i in range(inside.shape[1]):
            if not inside[k, i]:
                for e in range(start[i], start[i + 1]):
                    if inside[k, around[e]]:
                        more[k, i] = True
                        break
    return more


def components(faces: ArrayLike, n: int) -> Ints:
    """Connected component of each vertex.

    Returns
    -------
    (n,) int64
        0 for the component with most vertices, 1 for the next, ...; equal sizes in the order of
        their lowest vertex; -1 for vertices that no face uses.

    Examples
    --------
    >>> components([[0, 1, 2], [4, 5, 6], [6, 5, 7]], 8).tolist()
    [1, 1, 1, -1, 0, 0, 0, 0]
    """
    F = as_faces(faces, n)
    roots = union(F, n)
    size = np.bincount(roots[roots >= 0], minlength=n)
    by_size = np.argsort(-size, kind="stable")
    rank = np.empty(n + 1, np.int64)
    rank[by_size] = np.arange(n)
    rank[n] = -1  # the root -1 of unreferenced vertices lands here
    labels: Ints = rank[roots]
    return labels


def joined(pairs: Ints, n: int) -> Ints:
    """The lowest of those that each of n hangs together with by pairs (k, 2), or itself, (n,).

    Examples
    --------
    >>> joined(np.array([[1, 3], [4, 3]]), 6).tolist()
    [0, 1, 2, 1, 1, 5]
    """
    root: Ints = union(pairs[:, [0, 1, 1]], n)
    return np.where(root < 0, np.arange(n), root)


def vertex_faces(faces: ArrayLike, n: int) -> tuple[Ints, Ints]:
    """Incident faces of each vertex, as compressed rows.

    Returns
    -------
    indptr : (n + 1,) int64
    indices : (3 m,) int64
        ``indices[indptr[v]:indptr[v + 1]]`` are the faces of vertex ``v``, ascending.

    Examples
    --------
    >>> p, i = vertex_faces([[0, 1, 2], [2, 1, 3]], 4)
    >>> i[p[1]:p[2]].tolist()
    [0, 1]
    """
    p, i = bucket(as_faces(faces, n).ravel(), n)
    return p, i // 3


def unsigned(
    indptr: NDArray[Any], indices: NDArray[Any]
) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    """Compressed rows for kernels: indices without a sign spare a test at each access.

    A heat step takes three quarters of the time, if the row starts have none either.
    """
    return indptr.astype(np.uint64), indices.astype(np.uint32)


def vertex_fans(faces: ArrayLike, n: int) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    """Incident faces of each vertex with their other two corners, as compressed rows.

    For kernels: what they look up lies in a row; see :func:`unsigned`.

    Returns
    -------
    indptr : (n + 1,) uint64
    rows : (3 m, 3) uint32
        ``rows[indptr[v]:indptr[v + 1]]`` are the faces of vertex ``v``, ascending, and in each the
        next and the last corner after it.

    Examples
    --------
    >>> p, rows = vertex_fans([[0, 1, 2], [2, 1, 3]], 4)
    >>> rows[int(p[1]) : int(p[2])].tolist()
    [[0, 2, 0], [1, 3, 2]]
    """
    F = as_faces(faces, n)
    p, i = bucket(F.ravel(), n)
    face, corner = np.divmod(i, 3)
    others = F[face, (corner + 1) % 3], F[face, (corner + 2) % 3]
    return unsigned(p, np.stack([face, *others], 1))


def vertex_neighbours(faces: ArrayLike, n: int) -> tuple[Ints, Ints]:
    """Vertices joined to each vertex by an edge, as compressed rows.

    Returns
    -------
    indptr : (n + 1,) int64
    indices : (2 e,) int64
        ``indices[indptr[v]:indptr[v + 1]]`` are the neighbours of ``v``, each once, ascending.

    Examples
    --------
    >>> p, i = vertex_neighbours([[0, 1, 2], [2, 1, 3]], 4)
    >>> i[p[1]:p[2]].tolist()
    [0, 2, 3]
    """
    return neighbours_by_edges(edges(as_faces(faces, n))[0], n)


def neighbours_by_edges(e: Ints, n: int) -> tuple[Ints, Ints]:
    # With the (higher, lower) pairs first, a stable bucket sort leaves every row ascending.
    start = np.concatenate([e[:, 1], e[:, 0]])
    end = np.concatenate([e[:, 0], e[:, 1]])
    p, order = bucket(start, n)
    return p, end[order]


def as_points(vertices: ArrayLike) -> Floats:
    V = np.ascontiguousarray(vertices, np.float64)
    if V.ndim != 2 or V.shape[1] != 3:
        raise MeshError(f"vertices must have shape (n, 3), not {V.shape}")
    return V


def checked_mesh(vertices: ArrayLike, faces: ArrayLike) -> tuple[Floats, Ints]:
    """Vertices, which must be finite, and faces of them."""
    V = as_points(vertices)
    if not np.isfinite(V).all():
        bad = np.flatnonzero(~np.isfinite(V).all(1))
        raise MeshError(f"{len(bad)} vertices are not finite (first: vertex {bad[0]})")
    return V, as_faces(faces, len(V))


def as_faces(faces: ArrayLike, n: int | None = None) -> Ints:
    F = np.ascontiguousarray(faces, np.int64)
    if F.ndim != 2 or F.shape[1] != 3:
        raise MeshError(f"faces must have shape (m, 3), not {F.shape}")
    # Seen as unsigned numbers negative indices are huge: one pass finds both ends.
    top = 2**63 if n is None else n
    if F.size and int(F.view(np.uint64).max()) >= top:
        bad = np.flatnonzero((F < 0).any(1) | (F >= top).any(1))
        raise MeshError(
            f"{len(bad)} faces refer to vertices that do not exist (first: face {bad[0]} = "
            f"{F[bad[0]].tolist()}" + (")" if n is None else f", with {n} vertices)")
        )
    return F


@kernel
def _face_cross(V: Any, F: Any, f: int) -> Any:
    """Twice the area vector of a face; zero if it is degenerate."""
    a, b, c = F[f, 0], F[f, 1], F[f, 2]
    ux, uy, uz = V[b, 0] - V[a, 0], V[b, 1] - V[a, 1], V[b, 2] - V[a, 2]
    vx, vy, vz = V[c, 0] - V[a, 0], V[c, 1] - V[a, 1], V[c, 2] - V[a, 2]
    wx, wy, wz = vx - ux, vy - uy, vz - uz
    x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    length = np.sqrt(x * x + y * y + z * z)
    longest = max(
        ux * ux + uy * uy + uz * uz, vx * vx + vy * vy + vz * vz, wx * wx + wy * wy + wz * wz
    )
    if length <= _FLAT * longest:
        return 0.0, 0.0, 0.0, 0.0
    return x, y, z, length


@kernel
def _face_normals_areas(V: Any, F: Any) -> Any:
    N = np.zeros((F.shape[0], 3))
    A = np.zeros(F.shape[0])
    for f in range(F.shape[0]):
        x, y, z, length = _face_cross(V, F, f)
        if length > 0.0:
            N[f, 0], N[f, 1], N[f, 2] = x / length, y / length, z / length
            A[f] = 0.5 * length
    return N, A


@kernel
def _vertex_normals(V: Any, F: Any) -> Any:
    n = V.shape[0]
    N = np.zeros((n, 3))
    total = np.zeros(n)
    for f in range(F.shape[0]):
        x, y, z, length = _face_cross(V, F, f)
        for k in range(3):
            v = F[f, k]
            N[v, 0] += x
            N[v, 1] += y
            N[v, 2] += z
            total[v] += length
    for v in range(n):
        length = np.sqrt(N[v, 0] ** 2 + N[v, 1] ** 2 + N[v, 2] ** 2)
        if length > _FLAT * total[v]:
            N[v, 0] /= length
            N[v, 1] /= length
            N[v, 2] /= length
        else:
            N[v, 0] = N[v, 1] = N[v, 2] = 0.0
    return N


@kernel
def bucket(keys: Any, n: int) -> Any:
    """Stable counting sort of keys in [0, n): row starts (n + 1,) and the order (len(keys),)."""
    start = np.zeros(n + 1, np.int64)
    for i in range(keys.size):
        start[keys[i] + 1] += 1
    for k in range(n):
        start[k + 1] += start[k]
    order = np.empty(keys.size, np.int64)
    fill = start[:-1].copy()
    for i in range(keys.size):
        order[fill[keys[i]]] = i
        fill[keys[i]] += 1
    return start, order


@kernel
def edge_lengths(V: Any, E: Any) -> Any:
    """Lengths (k,) of the edges (k, 2) between vertices (n, 3)."""
    lengths = np.empty(E.shape[0])
    for i in range(E.shape[0]):
        total = 0.0
        for d in range(3):
            total += (V[E[i, 0], d] - V[E[i, 1], d]) ** 2
        lengths[i] = np.sqrt(total)
    return lengths


@kernel
def _face_edges(F: Any, n: int) -> Any:
    m = F.shape[0]
    start = np.zeros(n + 1, np.int64)
    for f in range(m):
        for k in range(3):
            a, b = F[f, k], F[f, (k + 1) % 3]
            if a != b:
                start[min(a, b) + 1] += 1
    for v in range(n):
        start[v + 1] += start[v]
    fill = start[:-1].copy()
    high = np.empty(start[n], np.int64)
    owner = np.empty(start[n], np.int64)
    for f in range(m):
        for k in range(3):
            a, b = F[f, k], F[f, (k + 1) % 3]
            if a != b:
                low = min(a, b)
                high[fill[low]] = max(a, b)
                owner[fill[low]] = 3 * f + k
                fill[low] += 1
    E = np.empty((start[n], 2), np.int64)
    count = np.zeros(start[n], np.int64)
    side = np.full((m, 3), -1, np.int64)
    e = -1
    for v in range(n):
        first, end = start[v], start[v + 1]
        sort_pairs(high[first:end], owner[first:end])
        for i in range(first, end):
            if i == first or high[i] != high[i - 1]:
                e += 1
                E[e, 0], E[e, 1] = v, high[i]
            count[e] += 1
            side[owner[i] // 3, owner[i] % 3] = e
    return E[: e + 1].copy(), count[: e + 1].copy(), side


@kernel
def sort_pairs(keys: Any, values: Any) -> Any:
    """Sort keys in place and move values along: by insertion, over gaps if there are many.

    Gaps of a third (D. L. Shell, CACM 1959) keep vertices with thousands of edges cheap.
    """
    gap = 1
    while 9 * gap < keys.size:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, keys.size):
            key, value = keys[i], values[i]
            j = i - gap
            while j >= 0 and keys[j] > key:
                keys[j + gap], values[j + gap] = keys[j], values[j]
                j -= gap
            keys[j + gap], values[j + gap] = key, value
        gap //= 3


@kernel
def unite(parent: Any, a: int, b: int) -> None:
    """Let two trees be one, whose root is the lower of theirs."""
    while parent[a] != a:
        parent[a] = parent[parent[a]]
        a = parent[a]
    while parent[b] != b:
        parent[b] = parent[parent[b]]
        b = parent[b]
    parent[max(a, b)] = min(a, b)


@kernel
def union(F: Any, n: int) -> Any:
    """Lowest vertex of the component of each vertex; -1 for unreferenced vertices."""
    parent = np.full(n, -1, np.int64)
    for f in range(F.shape[0]):
        for k in range(3):
            if parent[F[f, k]] < 0:
                parent[F[f, k]] = F[f, k]
        for k in range(1, 3):
            unite(parent, F[f, 0], F[f, k])
    for v in range(n):
        if parent[v] >= 0:
            # Parents are never above their children, so theirs are final already.
            parent[v] = parent[parent[v]]
    return parent


@kernel
def sorted_corners(F: Any) -> Any:
    out = np.empty(F.shape, np.int64)
    for f in range(F.shape[0]):
        a, b, c = F[f, 0], F[f, 1], F[f, 2]
        low, high = min(a, b, c), max(a, b, c)
        out[f, 0], out[f, 1], out[f, 2] = low, a + b + c - low - high, high
    return out


@kernel
def first_equal(rows: Any) -> Any:
    """For each row of integers (m, 3) the first row equal to it, by an open hash table."""
    m = rows.shape[0]
    size = 16
    while size < 2 * m:
        size *= 2
    table = np.full(size, -1, np.int64)
    first = np.empty(m, np.int64)
    for i in range(m):
        h = np.uint64(0)
        for k in range(3):
            h = (h ^ np.uint64(rows[i, k])) * np.uint64(0x9E3779B97F4A7C15)
            h ^= h >> np.uint64(29)
        slot = np.int64(h & np.uint64(size - 1))
        while True:
            j = table[slot]
            if j < 0:
                table[slot] = i
                first[i] = i
                break
            if rows[j, 0] == rows[i, 0] and rows[j, 1] == rows[i, 1] and rows[j, 2] == rows[i, 2]:
                first[i] = j
                break
            slot = (slot + 1) & (size - 1)
    return first
