"""Make a mesh fit for solving and searching, and say what was wrong with it.

Two entries: :func:`clean` for any mesh, :func:`clean_scan` for scans, which also lose debris and
spikes. What comes out is a plain triangle mesh and the way back to the original vertices; holes,
non-manifold edges and several parts are reported, never an error.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from licp.errors import MeshError
from licp.geometry import (
    any_of,
    as_faces,
    as_points,
    components,
    face_edges,
    face_normals_areas,
    first_equal,
    neighbours_by_edges,
    sort_pairs,
    sorted_corners,
    union,
    vertex_normals,
)

__all__ = ["CleanMesh", "RepairReport", "clean", "clean_scan", "outward_normals"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Faces that meet at a seam closer than 60 degrees are two sheets that touch, not one that was cut.
_FOLDED = -0.5
# An open part is turned if on balance its normals point inwards at least this much; flat parts
# have no inside.
_INWARD = -0.1
# Open parts with less than this share of the area of the largest follow the largest: bags and
# sockets inside a head are wound to be seen from within.
_INDEPENDENT = 0.2
# Parts with less than this share of the area of the largest are debris (12 cm2 beside a head; an
# ear has 25).
_DEBRIS = 0.01
# Spikes, see _spike_scores. Without spikes the score stays below 2.9 on real and simulated scans.
_SUSPECT = 0.5
# Every spike we have seen has vertices that are raised a quarter of their mean edge length above
# their neighbours; noise as large as a tenth of the spacing raises few this much.
_RAISED = 0.1
_SPIKE = 3.5
_FLANK = 1.2
# Where a spike is many edges wide, none of its edges is longer than those around it. What tells it
# then is that it is twice as high as the ring around its foot is wide (a rim of an ear is as high
# as wide) all the way down, between 6 and 80 mm of 400 (noise is lower), and nowhere further than
# 8 mm from its axis (root mean square over a ring).
_SLIM = 2.0
_LOWEST, _TALLEST = 0.015, 0.2
_WIDEST = 0.02
# Flanks are steeper than 60 degrees and face away from the axis. Once they are less than this part
# of the ring, the foot is reached: the rest is sought within this many widths, or one that leans
# would go on along a nose.
_STEEP, _OUTWARD = 0.5, 0.6
_FOOT, _REACH = 0.3, 1.5
# More spikes than this share of the vertices is the shape of a mesh, not defects of a scan. The
# coarser a mesh, the more of its shape looks like that: from 2 % for 1,000 vertices to 50 %.
_SPIKE_SHARE = (0.02, 0.5)
_SHARE_PER_VERTEX = 2e-5
# Cuts, see _cuts: neighbours within one degree, the whole region within one degree of its mean on
# average, at least this many faces, between these shares of the whole area. Measured skin that
# flat and that large does not exist; a shape that is mostly flat is no head with a cut.
_COPLANAR = np.cos(np.deg2rad(1.0))
_CUT_FACES = 20
_CUT_SHARE = (0.005, 0.4)


@dataclass(frozen=True)
class RepairReport:
    """What was found and done; counts unless said otherwise.

    Attributes
    ----------
    duplicate_vertices
        Vertices merged into another one at the same place (cut seams healed).
    unreferenced_vertices
        Vertices that no proper face uses; left out.
    degenerate_faces
        Faces without area; dropped.
    duplicate_faces
        Faces on the same three vertices as an earlier one; dropped.
    flipped_faces
        Faces wound against their neighbours; turned over.
    inverted : bool
        The largest part was inside out as a whole; turned, with the small parts.
    turned_components
        Parts turned inside out, the largest included.
    non_manifold_edges
        Edges of more than two faces; kept.
    border_edges
        Edges of one face: around holes and the rim.
    components
        Connected parts of the result.
    cut_faces
        Faces of plane cuts that close a scan below or behind; removed by :func:`clean_scan`.
    spike_vertices, debris_components, debris_vertices
        Removed by :func:`clean_scan`.
    """

    duplicate_vertices: int = 0
    unreferenced_vertices: int = 0
    degenerate_faces: int = 0
    duplicate_faces: int = 0
    flipped_faces: int = 0
    inverted: bool = False
    turned_components: int = 0
    non_manifold_edges: int = 0
    border_edges: int = 0
    components: int = 1
    cut_faces: int = 0
    spike_vertices: int = 0
    debris_components: int = 0
    debris_vertices: int = 0

    def to_dict(self) -> dict[str, int | bool]:
        """All counts by name, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """One line with what is worth knowing."""
        values = self.to_dict()
        inverted = values.pop("inverted")
        components = values.pop("components")
        parts = [f"{v} {k.replace('_', ' ')}" for k, v in values.items() if v]
        parts += ["the surface was inside out"] * bool(inverted)
        parts.append(f"{components} component" + "s" * (components != 1))
        return ", ".join(parts)


@dataclass(frozen=True, eq=False)
class CleanMesh:
    """A repaired mesh and where its vertices come from.

    Attributes
    ----------
    vertices : (k, 3) float64
        In the order of the original, coordinates unchanged.
    faces : (m, 3) int64
        Wound consistently, outwards.
    index : (n,) int64
        For each original vertex its vertex here; -1 if it was dropped.
    source : (k,) int64
        For each vertex here its original; of merged ones the first.
    report : RepairReport
        What was done.
    """

    vertices: Floats
    faces: Ints
    index: Ints
    source: Ints
    report: RepairReport

    def least(self, values: Floats) -> Floats:
        """Least of the values (n,) of the vertices that were merged into each one, (k,)."""
        least = np.full(len(self.source), np.inf)
        kept = self.index >= 0
        np.minimum.at(least, self.index[kept], values[kept])
        return least

    def any(self, flags: Bools) -> Bools:
        """Whether some vertex that was merged into each one is flagged, from flags (n,), (k,)."""
        found = np.zeros(len(self.source), bool)
        found[self.index[flags & (self.index >= 0)]] = True
        return found


def clean(vertices: ArrayLike, faces: ArrayLike) -> CleanMesh:
    """Weld cut seams, drop useless faces and vertices, wind faces consistently and outwards.

    1. Faces without area and repeated faces are dropped.
    2. Vertices are welded where the mesh was cut: two border edges at bit-identical positions,
       whose faces continue each other. So templates whose uv seams are split into double
       vertices, and STL files, become one sheet again. *Not* welded: vertices that merely
       coincide away from borders (closed lips and eyelids stay two skins), single border
       vertices that touch, more than two border edges at one place, and borders whose faces
       fold back onto each other by more than 120 degrees (two skins that touch at their rims).
    3. Faces are turned so that neighbours agree; the winding of most area wins.
    4. Parts are turned outwards: closed ones by the sign of their volume, open ones by whether
       their normals point away from their centre. Open parts much smaller than the largest keep
       their winding relative to it.

    Parameters
    ----------
    vertices : (n, 3) float
        Positions, any unit.
    faces : (m, 3) int
        Vertex indices.

    Returns
    -------
    CleanMesh

    Raises
    ------
    MeshError
        Not arrays of that shape, indices out of range, or no face with an area.

    Notes
    -----
    Our own. Step 4 uses that the flux of the centred position through a closed surface is three
    times its volume (divergence theorem); of an open one it still has the right sign.

    Examples
    --------
    Two triangles of a square, cut apart, the second one wound the wrong way round:

    >>> V = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 1, 0], [0, 1, 0]]
    >>> mesh = clean(V, [[0, 1, 2], [3, 5, 4]])
    >>> mesh.faces.tolist(), mesh.index.tolist()
    ([[0, 1, 2], [0, 2, 3]], [0, 1, 2, 0, 2, 3])
    >>> print(mesh.report)
    2 duplicate vertices, 1 flipped faces, 4 border edges, 1 component
    """
    return _repair(vertices, faces, scan=False)


def outward_normals(vertices: ArrayLike, faces: ArrayLike, moved: Floats | None = None) -> Floats:
    """Normals of the vertices of a mesh that may be wound either way, zero off its faces, (n, 3).

    Parameters
    ----------
    vertices, faces
        Of :func:`clean`.
    moved : (n, 3) float64, optional
        Where the vertices are, if they are elsewhere than where the mesh is wound outwards.
    """
    kept = clean(vertices, faces)
    at = kept.vertices if moved is None else moved[kept.source]
    return np.vstack([vertex_normals(at, kept.faces), np.zeros(3)])[kept.index]


def clean_scan(vertices: ArrayLike, faces: ArrayLike) -> CleanMesh:
    """Like :func:`clean`, and without plane cuts, spikes and debris.

    *Cuts* are connected plane regions of at least 20 faces and 0.5 % of the area, as left where a
    volume or a bust was cut off and closed: no part of a head, so they become an open border.

    *Spikes* are vertices that stick out of the surface around them (a ring three to four edges
    away) and drag their edges with them: height times mean edge length, both in units of the
    median edge of that ring, above 3.5; with them go vertices up to two edges away that score
    above 1.2. *Debris* are parts with less than 1 % of the area of the largest part, which always
    stays.

    Parameters
    ----------
    vertices : (n, 3) float
        Positions, any unit.
    faces : (m, 3) int
        Vertex indices.

    Returns
    -------
    CleanMesh

    Raises
    ------
    MeshError
        As :func:`clean`.

    Examples
    --------
    >>> import trimesh
    >>> ball = trimesh.creation.icosphere(subdivisions=4)
    >>> V = ball.vertices.copy()
    >>> V[100] *= 1.3
    >>> clean_scan(V, ball.faces).report.spike_vertices
    1
    """
    return _repair(vertices, faces, scan=True)


def _repair(vertices: ArrayLike, faces: ArrayLike, scan: bool) -> CleanMesh:
    V = as_points(vertices)
    F = as_faces(faces, len(V))
    n = len(V)
    N, A = face_normals_areas(V, F)
    flat = A == 0.0
    if flat.all():
        raise MeshError(
            f"{'scan' if scan else 'template'}: none of the {len(F)} faces has an area: all their "
            "vertices coincide or lie on lines"
        )
    F, N, A = _take(~flat, F, N, A)
    first = first_equal(sorted_corners(F)) == np.arange(len(F))
    F, N, A = _take(first, F, N, A)
    repeated = int((~first).sum())
    E, counts, sides = face_edges(F)
    root = _weld(V, F, N, E, counts, sides)
    welded = int((root != np.arange(n)).sum())
    if welded:
        F = root[F]
        first = first_equal(sorted_corners(F)) == np.arange(len(F))
        F, N, A = _take(first, F, N, A)
        repeated += int((~first).sum())
        E, counts, sides = face_edges(F)
    used = np.zeros(n, bool)
    used[F.ravel()] = True
    unused = n - welded - int(used.sum())

    flip = _against_neighbours(F, sides, counts, A)
    F, N = _turn(flip, F, N)
    labels = components(F, n)
    turned, inverted = _inside_out(V, F, labels, E[counts == 1])
    parts = len(turned)
    if turned.any():
        F, N = _turn(turned[labels[F[:, 0]]], F, N)

    cuts = spikes = debris = debris_parts = 0
    if scan:
        cut = _cuts(N, A, sides, counts)
        cuts = int(cut.sum())
        spike = _spikes(V, F, N, E, float(np.sqrt(A.sum())))
        if spike.sum() > np.clip(_SHARE_PER_VERTEX * used.sum(), *_SPIKE_SHARE) * used.sum():
            spike[:] = False
        spikes = int(spike.sum())
        keep = ~cut & ~any_of(spike[F]) if spikes else ~cut
        if spikes or cuts:
            labels = components(F[keep], n)
        part = labels[F[:, 0]]
        area = np.bincount(part[keep], A[keep])
        small = area < _DEBRIS * area.max(initial=0.0)
        debris = int(np.append(small, False)[labels].sum())
        debris_parts, parts = int(small.sum()), len(small) - int(small.sum())
        keep &= ~np.append(small, False)[part]
        if parts == 0:
            raise MeshError("nothing is left of the surface once its spikes are gone")
        counts = counts - np.bincount(sides[~keep].ravel(), minlength=len(E))
        F = F[keep]
        used[:] = False
        used[F.ravel()] = True

    source = np.flatnonzero(used)
    new = np.full(n, -1)
    new[source] = np.arange(len(source))
    report = RepairReport(
        duplicate_vertices=welded,
        unreferenced_vertices=unused,
        degenerate_faces=int(flat.sum()),
        duplicate_faces=repeated,
        flipped_faces=int(flip.sum()),
        inverted=inverted,
        turned_components=int(turned.sum()),
        non_manifold_edges=int((counts > 2).sum()),
        border_edges=int((counts == 1).sum()),
        components=parts,
        cut_faces=cuts,
        spike_vertices=spikes,
        debris_components=debris_parts,
        debris_vertices=debris,
    )
    return CleanMesh(V[source], new[F], new[root], source, report)


def _take(keep: Bools, F: Ints, N: Floats, A: Floats) -> tuple[Ints, Floats, Floats]:
    return (F, N, A) if keep.all() else (F[keep], N[keep], A[keep])


def _turn(flip: Bools, F: Ints, N: Floats) -> tuple[Ints, Floats]:
    """Faces turned over where flagged, and their normals."""
    if not flip.any():
        return F, N
    return np.where(flip[:, None], F[:, [0, 2, 1]], F), np.where(flip[:, None], -N, N)


def _weld(V: Floats, F: Ints, N: Floats, E: Ints, counts: Ints, sides: Ints) -> Ints:
    """For each vertex the lowest of those it is welded to (itself if none), (n,)."""
    n = len(V)
    place = np.arange(n)
    border = np.unique(E[counts == 1])
    # Adding zero makes -0 equal 0 bit for bit.
    place[border] = border[first_equal((V[border] + 0.0).view(np.int64))]
    if np.array_equal(place[border], border):
        return place
    placed = face_edges(place[F])[2]
    open_side = np.flatnonzero((counts[sides] == 1) & (placed >= 0))
    where = placed.ravel()[open_side]
    order = np.argsort(where, kind="stable")
    two = np.bincount(where)[where[order]] == 2
    first, second = open_side[order[two]].reshape(-1, 2).T
    a, b = F.ravel()[first], F.ravel()[first + 1 - 3 * (first % 3 == 2)]
    c, d = F.ravel()[second], F.ravel()[second + 1 - 3 * (second % 3 == 2)]
    same_way = place[a] == place[c]
    agree = (N[first // 3] * N[second // 3]).sum(1) * np.where(same_way, -1, 1) > _FOLDED
    pairs = np.concatenate(
        [np.stack([a, np.where(same_way, c, d)], 1), np.stack([b, np.where(same_way, d, c)], 1)]
    )[np.tile(agree, 2)]
    root: Ints = union(pairs[:, [0, 1, 1]], n)
    return np.where(root < 0, np.arange(n), root)


def _inside_out(V: Floats, F: Ints, labels: Ints, border: Ints) -> tuple[Bools, bool]:
    """Which components to turn, (c,), and whether the largest is among them."""
    c = labels.max() + 1
    area, flux, reach = _flux(V, F, labels, c)
    closed = np.ones(c, bool)
    closed[labels[border.ravel()]] = False
    turned = flux < np.where(closed, -1e-9, _INWARD) * reach
    largest = int(np.argmax(area))
    follows = ~closed & (area < _INDEPENDENT * area[largest])
    turned[follows] = turned[largest]
    return turned, bool(turned[largest])


def _cuts(N: Floats, A: Floats, sides: Ints, counts: Ints) -> Bools:
    """Faces of large plane regions, (m,)."""
    m = len(N)
    region = _even_regions(N, sides, counts)
    area = np.bincount(region, A)
    mean = np.stack([np.bincount(region, A * x) for x in N.T], 1)
    share = area / area.sum()
    cut = (
        (np.bincount(region) >= _CUT_FACES)
        & (share >= _CUT_SHARE[0])
        & (np.linalg.norm(mean, axis=1) >= _COPLANAR * area)
    )
    if share[cut].sum() > _CUT_SHARE[1]:
        return np.zeros(m, bool)
    flags: Bools = cut[region]
    return flags


def _spikes(V: Floats, F: Ints, N: Floats, E: Ints, size: float) -> Bools:
    normals = vertex_normals(V, F)
    mean = _mean_edges(V, E)
    start, neighbour = neighbours_by_edges(E, len(V))
    suspect = _crooked(F, N, normals)
    _keep_raised(suspect, V, normals, mean, start, neighbour)
    spike, slim = _find_spikes(V, mean, start, neighbour, np.flatnonzero(suspect))
    flags: Bools = _with_flanks(V, normals, start, neighbour, spike, slim, size)
    return flags


@njit(cache=True, nogil=True)
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
            a = f
            while root[a] != a:
                root[a] = root[root[a]]
                a = root[a]
            while root[g] != g:
                root[g] = root[root[g]]
                g = root[g]
            root[max(a, g)] = min(a, g)
    for f in range(m):
        # Roots are never above what hangs on them, so theirs are final already.
        root[f] = root[root[f]]
    return root


@njit(cache=True, nogil=True)
def _flux(V: Any, F: Any, labels: Any, c: int) -> Any:
    """Area, flux and flux at most (were all normals parallel to it) of the centred position."""
    area = np.zeros(c)
    flux = np.zeros(c)
    reach = np.zeros(c)
    middle = np.zeros((c, 3))
    centre = np.empty(3)
    normal = np.empty(3)
    for last in range(2):
        for f in range(F.shape[0]):
            i, j, k = F[f]
            part = labels[i]
            for d in range(3):
                e, g = (d + 1) % 3, (d + 2) % 3
                normal[d] = 0.5 * (
                    (V[j, e] - V[i, e]) * (V[k, g] - V[i, g])
                    - (V[j, g] - V[i, g]) * (V[k, e] - V[i, e])
                )
                centre[d] = (V[i, d] + V[j, d] + V[k, d]) / 3.0
            weight = np.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2)
            if last == 0:
                area[part] += weight
                for d in range(3):
                    middle[part, d] += weight * centre[d]
            else:
                arm = 0.0
                for d in range(3):
                    centre[d] -= middle[part, d] / area[part]
                    flux[part] += normal[d] * centre[d]
                    arm += centre[d] ** 2
                reach[part] += weight * np.sqrt(arm)
    return area, flux, reach


@njit(cache=True, nogil=True)
def _mean_edges(V: Any, E: Any) -> Any:
    """Mean length of the edges at each vertex, 0 if there are none."""
    mean = np.zeros(V.shape[0])
    count = np.zeros(V.shape[0])
    for i in range(E.shape[0]):
        a, b = E[i, 0], E[i, 1]
        length = np.sqrt(
            (V[a, 0] - V[b, 0]) ** 2 + (V[a, 1] - V[b, 1]) ** 2 + (V[a, 2] - V[b, 2]) ** 2
        )
        mean[a] += length
        mean[b] += length
        count[a] += 1.0
        count[b] += 1.0
    for v in range(mean.size):
        if count[v] > 0.0:
            mean[v] /= count[v]
    return mean


@njit(cache=True, nogil=True)
def _against_neighbours(F: Any, sides: Any, counts: Any, area: Any) -> Any:
    """Faces to turn so that across manifold edges all agree; of each patch the smaller area."""
    m = F.shape[0]
    flip = np.zeros(m, np.bool_)
    across = np.full((counts.size, 2), -1, np.int64)
    clash = False
    for f in range(m):
        for k in range(3):
            e = sides[f, k]
            if counts[e] != 2:
                continue
            if across[e, 0] < 0:
                across[e, 0] = 3 * f + k
            else:
                across[e, 1] = 3 * f + k
                other = across[e, 0]
                clash |= F[other // 3, other % 3] == F[f, k]
    if not clash:
        return flip
    seen = np.zeros(m, np.bool_)
    queue = np.empty(m, np.int64)
    for seed in range(m):
        if seen[seed]:
            continue
        seen[seed] = True
        queue[0] = seed
        head, tail = 0, 1
        balance = 0.0
        while head < tail:
            f = queue[head]
            head += 1
            balance += -area[f] if flip[f] else area[f]
            for k in range(3):
                e = sides[f, k]
                if counts[e] != 2:
                    continue
                other = across[e, 0] + across[e, 1] - (3 * f + k)
                g = other // 3
                if not seen[g]:
                    seen[g] = True
                    flip[g] = flip[f] ^ (F[g, other % 3] == F[f, k])
                    queue[tail] = g
                    tail += 1
        if balance < 0.0:
            for i in range(tail):
                flip[queue[i]] = not flip[queue[i]]
    return flip


@njit(cache=True, nogil=True)
def _crooked(F: Any, face_normals: Any, normals: Any) -> Any:
    """Vertices with a face more than 60 degrees off their normal: every spike has some."""
    crooked = np.zeros(normals.shape[0], np.bool_)
    for f in range(F.shape[0]):
        for k in range(3):
            v = F[f, k]
            dot = 0.0
            for d in range(3):
                dot += face_normals[f, d] * normals[v, d]
            if dot < _SUSPECT:
                crooked[v] = True
    return crooked


@njit(cache=True, nogil=True)
def _keep_raised(suspect: Any, V: Any, normals: Any, mean: Any, start: Any, neighbour: Any) -> None:
    """Take the flag from vertices that lie level with the mean of their neighbours."""
    for v in range(suspect.size):
        if not suspect[v]:
            continue
        height = 0.0
        for i in range(start[v], start[v + 1]):
            for d in range(3):
                height += (V[v, d] - V[neighbour[i], d]) * normals[v, d]
        suspect[v] = abs(height) > _RAISED * mean[v] * (start[v + 1] - start[v])


@njit(cache=True, nogil=True)
def _find_spikes(V: Any, mean: Any, start: Any, neighbour: Any, suspects: Any) -> Any:
    """Suspects that score, and vertices within two edges of them that stick out too.

    Also those that are the tip of something slim.
    """
    n = V.shape[0]
    spike, tip = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    mark = np.full(n, -1, np.int64)
    queue = np.empty(n, np.int64)
    tried = np.zeros(n, np.bool_)
    grow = np.empty(n, np.int64)
    found, stamp = 0, 0
    for s in suspects:
        height, stretch, slim = _stick_out(V, mean, start, neighbour, s, spike, mark, queue, stamp)
        stamp += 1
        tip[s] = slim > _SLIM
        if height * stretch > _SPIKE:
            grow[found] = s
            found += 1
    for i in range(found):
        spike[grow[i]] = True
    begin = 0
    for _ in range(2):
        end = found
        for i in range(begin, end):
            for j in range(start[grow[i]], start[grow[i] + 1]):
                w = neighbour[j]
                if spike[w] or tried[w]:
                    continue
                tried[w] = True
                height, stretch, _ = _stick_out(
                    V, mean, start, neighbour, w, spike, mark, queue, stamp
                )
                stamp += 1
                if height * stretch > _FLANK:
                    grow[found] = w
                    found += 1
        # Only now, so that the order of vertices does not matter.
        for i in range(end, found):
            spike[grow[i]] = True
        begin = end
    return spike, tip


@njit(cache=True, nogil=True)
def _with_flanks(
    V: Any, normals: Any, start: Any, neighbour: Any, spike: Any, tip: Any, size: float
) -> Any:
    """Spikes, and what is slim below them and other tips, down to its foot."""
    n = V.shape[0]
    out = spike.copy()
    known = np.zeros(n, np.bool_)
    # s for what belongs to the part that began at s, n + s for what has been beside it.
    mark = np.full(n, -1, np.int64)
    own, ring = np.empty(n, np.int64), np.empty(n, np.int64)
    centre, axis = np.empty(3), np.empty(3)
    for s in range(n):
        if known[s] or not (spike[s] or tip[s]):
            continue
        own[0], many, first = s, 1, 0
        known[s], mark[s] = True, s
        while first < many:
            for j in range(start[own[first]], start[own[first] + 1]):
                w = neighbour[j]
                if (spike[w] or tip[w]) and not known[w]:
                    known[w], mark[w] = True, s
                    own[many] = w
                    many += 1
            first += 1
        told = many
        begin, around, slim, reach = 0, 0, 0, np.inf
        while True:
            left = 0
            for i in range(around):
                if mark[ring[i]] != s:
                    ring[left] = ring[i]
                    left += 1
            around = left
            for i in range(begin, many):
                for j in range(start[own[i]], start[own[i] + 1]):
                    w = neighbour[j]
                    if mark[w] != s and mark[w] != n + s:
                        mark[w] = n + s
                        ring[around] = w
                        around += 1
            if around < 3:
                break
            high, wide = _proportions(V, own[:many], ring[:around], centre, axis)
            if high > _TALLEST * size or wide > _WIDEST * size or high < _SLIM * wide:
                break
            if high > _LOWEST * size:
                slim = many
            begin = many
            for i in range(around):
                w = ring[i]
                if _on_flank(V[w], normals[w], centre, axis, reach):
                    mark[w] = s
                    own[many] = w
                    many += 1
            if many == begin:
                break
            if many - begin < _FOOT * around:
                # What is few edges wide is known to its foot already.
                if begin == told:
                    break
                reach = min(reach, _REACH * wide)
        for i in range(slim):
            out[own[i]] = True
    return out


@njit(cache=True, nogil=True)
def _on_flank(x: Any, normal: Any, centre: Any, axis: Any, reach: float) -> bool:
    """Whether a vertex is within reach of an axis, and steep there, and faces away from it."""
    along, up = 0.0, 0.0
    for d in range(3):
        along += (x[d] - centre[d]) * axis[d]
        up += normal[d] * axis[d]
    off, away = 0.0, 0.0
    for d in range(3):
        r = x[d] - centre[d] - along * axis[d]
        off += r * r
        away += normal[d] * r
    off = np.sqrt(off)
    return up < _STEEP and away > _OUTWARD * off and off < reach


@njit(cache=True, nogil=True)
def _proportions(V: Any, own: Any, ring: Any, centre: Any, axis: Any) -> Any:
    """Height of a part over the centre of the ring around it, and how wide that ring is.

    The width is the root mean square distance from the axis, which goes from the centre to the
    part's farthest vertex. Writes both.
    """
    centre[:] = 0.0
    for w in ring:
        for d in range(3):
            centre[d] += V[w, d] / len(ring)
    high, top = -1.0, own[0]
    for v in own:
        far = 0.0
        for d in range(3):
            far += (V[v, d] - centre[d]) ** 2
        if far > high:
            high, top = far, v
    high = np.sqrt(high)
    for d in range(3):
        axis[d] = (V[top, d] - centre[d]) / max(high, 1e-300)
    wide = 0.0
    for w in ring:
        along, all_of = 0.0, 0.0
        for d in range(3):
            along += (V[w, d] - centre[d]) * axis[d]
            all_of += (V[w, d] - centre[d]) ** 2
        wide += max(all_of - along * along, 0.0)
    return high, np.sqrt(wide / len(ring))


@njit(cache=True, nogil=True)
def _stick_out(
    V: Any,
    mean: Any,
    start: Any,
    neighbour: Any,
    v: int,
    spike: Any,
    mark: Any,
    queue: Any,
    stamp: int,
) -> Any:
    """Height of a vertex over the ring three and four edges away, its mean edge length, slimness.

    The first two in units of the median (over the ring) mean edge length. The plane of the ring is
    that of least squares. Slimness is the distance from the centre of the ring in parts of the
    ring's distance from the line between them (root mean square). Known spikes are left out of the
    ring. Zeros if the ring has fewer than six vertices, or height times edge length is below what
    counts for a flank.
    """
    queue[0] = v
    mark[v] = stamp
    begin, end, ring = 0, 1, 0
    for depth in range(4):
        if depth == 2:
            ring = end
        last = end
        for i in range(begin, last):
            for j in range(start[queue[i]], start[queue[i] + 1]):
                w = neighbour[j]
                if mark[w] != stamp:
                    mark[w] = stamp
                    queue[end] = w
                    end += 1
        begin = last
    lengths = np.empty(end - ring)
    centre = np.zeros(3)
    m = 0
    for i in range(ring, end):
        w = queue[i]
        if not spike[w]:
            lengths[m] = mean[w]
            for d in range(3):
                centre[d] += V[w, d]
            m += 1
    if m < 6:
        return 0.0, 0.0, 0.0
    sort_pairs(lengths[:m], lengths[:m].copy())
    unit = lengths[m // 2]
    apart = 0.0
    for d in range(3):
        centre[d] /= m
        apart += (V[v, d] - centre[d]) ** 2
    # No plane through the centre is further away than the centre.
    apart = np.sqrt(apart)
    if apart * mean[v] <= _FLANK * unit * unit:
        return 0.0, 0.0, 0.0
    spread = np.zeros((3, 3))
    wide = 0.0
    for i in range(ring, end):
        w = queue[i]
        if not spike[w]:
            along = 0.0
            for a in range(3):
                for b in range(3):
                    spread[a, b] += (V[w, a] - centre[a]) * (V[w, b] - centre[b])
                along += (V[w, a] - centre[a]) * (V[v, a] - centre[a])
            wide -= (along / apart) ** 2
    wide = np.sqrt(max(wide + np.trace(spread), 0.0) / m)
    normal = np.linalg.eigh(spread)[1][:, 0]
    height = 0.0
    for d in range(3):
        height += (V[v, d] - centre[d]) * normal[d]
    return abs(height) / unit, mean[v] / unit, apart / max(wide, 1e-9 * apart)
