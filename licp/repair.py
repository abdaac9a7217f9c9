"""Make a mesh fit for solving and searching, and say what was wrong with it.

Two entries: :func:`clean` for any mesh, :func:`clean_scan` for scans, which also lose debris and
spikes. What comes out is a plain triangle mesh and the way back to the original vertices; holes,
non-manifold edges and several parts are reported, never an error.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree

from licp.compiled import kernel
from licp.cuts import cut_faces
from licp.errors import MeshError
from licp.fillings import filling_faces
from licp.geometry import (
    Edges,
    any_of,
    as_faces,
    as_points,
    components,
    edge_lengths,
    face_edges,
    face_normals_areas,
    first_equal,
    joined,
    kept_edges,
    sorted_corners,
)
from licp.spikes import find_spikes, stretched_faces

__all__ = ["CleanMesh", "RepairReport", "clean", "clean_scan"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Two places at a seam of a scan are one if they are nearer than this part of the median edge there,
# 4 to 20 micrometres: rounding, of single precision or of numbers in a text, not a second skin.
# Lips of a template may lie as close.
_SAME = 0.005
# Faces that meet at a seam closer than 60 degrees are two sheets that touch, not one that was cut.
_FOLDED = -0.5
# An open part is turned if on balance its normals point inwards at least this much; flat parts
# have no inside.
_INWARD = 0.1
# What a flux of rounding may come to, in parts of the area to the power 1.5.
_ROUNDING = 1e-6
# Open parts with less than this share of the area of the largest follow the largest: bags and
# sockets inside a head are wound to be seen from within.
_INDEPENDENT = 0.2
# A large part that is wound against the largest, and of whose faces this share lies behind it, is
# the inner wall of something hollow, wound towards the hollow as it should be.
_WITHIN = 0.9
# Parts with less than this share of the area of the largest are debris (12 cm2 beside a head; an
# ear has 25).
_DEBRIS = 0.01
# So are parts of fewer faces, however large these are, beside one of a hundred times as many.
_SCRAP = 4
# More border edges than this share of all, and faces share no vertices. Where four of five faces
# are missing, it is less.
_APART = 0.95
# More faces that reach too far, to points or across holes, than this share of all is the way that a
# mesh was made.
_REACHING = 0.05
# A face counts for at most so many times the area of the median face where parts are compared, and
# where the size of a scan is told: one that is larger is no part of a surface.
_HUGE, _ABSURD = 100.0, 1000.0
# More spikes than this share of the vertices is the shape of a mesh, not defects of a scan. The
# coarser a mesh, the more of its shape looks like that: from 2 % for 1,000 vertices to 50 %.
_SPIKE_SHARE = (0.02, 0.5)
_SHARE_PER_VERTEX = 2e-5


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
    inner_walls
        Large parts that lie within the largest and are wound against it, as the inside of what is
        hollow; left as they are, but removed by :func:`clean_scan`.
    components
        Connected parts of the result.
    stretched_faces
        Faces that reach from the surface to points far off it; removed by :func:`clean_scan`.
    filling_faces
        Faces that reach across what was a hole; removed by :func:`clean_scan`.
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
    inner_walls: int = 0
    non_manifold_edges: int = 0
    border_edges: int = 0
    components: int = 1
    stretched_faces: int = 0
    filling_faces: int = 0
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
    edges : (e, 2) int64, (e,) int64, (m, 3) int64
        Of :func:`licp.geometry.face_edges`.
    areas : (m,) float64
        Of the faces.
    report : RepairReport
        What was done.
    """

    vertices: Floats
    faces: Ints
    index: Ints
    source: Ints
    edges: Edges
    areas: Floats
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
    mesh = _sound(vertices, faces, "template", 0.0)
    return _finished(mesh.V, mesh.F, mesh.edges, mesh.A, mesh.root, mesh.report)


def clean_scan(vertices: ArrayLike, faces: ArrayLike) -> CleanMesh:
    """Like :func:`clean`, and without cuts, stretched faces, fillings, spikes and debris.

    Borders are welded where their vertices are nearer than 0.5 % of the median edge there, too.

    *Stretched* faces have an edge longer than 5 % of the root of the area, and 24 times as long as
    half of those at one of its ends: faces at a point that is far off.

    *Fillings* have an edge longer than 5 % of it, and four times as long as is usual at both ends:
    faces with which a hole was closed; see :mod:`licp.fillings`.

    *Cuts* are connected plane regions of at least 20 faces and 0.5 % of the area, as left where a
    volume or a bust was cut off and closed: no part of a head, so they become an open border. So do
    rougher planes of 2 % of the area beyond which there is nothing, and what turns towards one
    within 1 % of the root of the area; see :mod:`licp.cuts`. *Inner walls* of something hollow go.

    *Spikes* are vertices that stick out of the surface around them (a ring three to four edges
    away) and drag their edges with them: height times mean edge length, both in units of the
    median edge of that ring, above 3.5; with them go vertices up to two edges away that score
    above 1.2. *Debris* are parts with less than 1 % of the area of the largest part, which always
    stays, or of fewer faces than four and than 1 % of those of the part that has most.

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
        As :func:`clean`, and for more than 400 faces of which hardly any two share an edge.

    Examples
    --------
    >>> import trimesh
    >>> ball = trimesh.creation.icosphere(subdivisions=4)
    >>> V = ball.vertices.copy()
    >>> V[100] *= 1.3
    >>> clean_scan(V, ball.faces).report.spike_vertices
    1
    """
    return _without_flaws(_sound(vertices, faces, "scan", _SAME))


@dataclass(frozen=True, eq=False)
class _Sound:
    """A mesh whose faces are sound, before its vertices are numbered anew.

    Normals and areas of the faces, and the median area; edges, as
    :func:`licp.geometry.face_edges` returns them; for each vertex the one that it was merged into,
    its component, and whether that is an inner wall; how many a face uses.
    """

    V: Floats
    F: Ints
    N: Floats
    A: Floats
    usual: float
    edges: Edges
    root: Ints
    labels: Ints
    wall: Bools
    used: int
    report: RepairReport


def _sound(vertices: ArrayLike, faces: ArrayLike, what: str, same: float) -> _Sound:
    V = as_points(vertices)
    F = as_faces(faces, len(V))
    n = len(V)
    F, N, A, flat, repeated = _proper(V, F, what)
    E, counts, sides = face_edges(F)
    root = _weld(V, F, N, E, counts, sides, same)
    welded = int((root != np.arange(n)).sum())
    if welded:
        # Both ends of a short side may have been welded to each other.
        F, N, A, thin, again = _proper(V, root[F], what)
        flat, repeated = flat + thin, repeated + again
        E, counts, sides = face_edges(F)
    flip = _against_neighbours(F, sides, counts, A)
    F, N, sides = _turn(flip, F, N, sides)
    labels = components(F, n)
    used = int((labels >= 0).sum())
    usual = float(np.median(A))
    sane = np.minimum(A, _HUGE * usual)
    turned, walls, inverted = _inside_out(V, F, N, sane, labels, E[counts == 1])
    if turned.any():
        F, N, sides = _turn(turned[labels[F[:, 0]]], F, N, sides)
    report = RepairReport(
        duplicate_vertices=welded,
        unreferenced_vertices=n - welded - used,
        degenerate_faces=flat,
        duplicate_faces=repeated,
        flipped_faces=int(flip.sum()),
        inverted=inverted,
        turned_components=int(turned.sum()),
        inner_walls=int(walls.sum()),
        components=len(turned),
    )
    wall = np.append(walls, False)[labels]
    return _Sound(V, F, N, A, usual, (E, counts, sides), root, labels, wall, used, report)


def _without_flaws(mesh: _Sound) -> CleanMesh:
    """Without inner walls, plane cuts, stretched faces, fillings, spikes and debris."""
    V, F, N, A, labels, n = mesh.V, mesh.F, mesh.N, mesh.A, mesh.labels, len(mesh.V)
    E, counts, sides = mesh.edges
    alone = np.count_nonzero(counts == 1) / len(counts)
    if len(F) > _SCRAP / _DEBRIS and alone > _APART:
        raise MeshError(
            f"scan: {alone:.0%} of its edges belong to one face alone, so it is no surface: merge "
            "vertices at one place (done here where they are nearer than 0.5 % of an edge)"
        )
    sane = np.minimum(A, _ABSURD * mesh.usual)
    size = float(np.sqrt(sane.sum()))
    share = np.minimum(A, _HUGE * mesh.usual)
    lengths = edge_lengths(V, E)
    torn = _if_few(stretched_faces(lengths, E, sides, size, n))
    cut = cut_faces(V, F, N, np.where(torn, 0.0, sane), sides, counts)
    torn &= ~cut
    filled = _if_few(filling_faces(lengths, E, sides, N, size, n)) & ~(cut | torn)
    far = np.zeros(n, bool)
    far[F[torn].ravel()] = True
    skin = ~(cut | torn | filled | mesh.wall[F[:, 0]])
    if not skin.all():
        F, N, A, share = F[skin], N[skin], A[skin], share[skin]
        labels = components(F, n)
    edges = kept_edges(mesh.edges, skin)
    spike = find_spikes(V, F, N, edges[0], size)
    if spike.sum() > np.clip(_SHARE_PER_VERTEX * mesh.used, *_SPIKE_SHARE) * mesh.used:
        spike[:] = False
    keep = ~any_of(spike[F]) if spike.any() else np.ones(len(F), bool)
    if not keep.all():
        labels = components(F[keep], n)
    if far.any():
        # A point that was far off lost all of its faces.
        spike |= far & (np.bincount(F.ravel(), minlength=n) == 0)
    part = labels[F[:, 0]]
    small = np.append(_debris(part[keep], share[keep]), False)
    keep &= ~small[part]
    if not keep.any():
        raise MeshError("nothing is left of the surface once its spikes are gone")
    report = replace(
        mesh.report,
        components=int((~small).sum()) - 1,
        stretched_faces=int(torn.sum()),
        filling_faces=int(filled.sum()),
        cut_faces=int(cut.sum()),
        spike_vertices=int(spike.sum()),
        debris_components=int(small.sum()),
        debris_vertices=int(small[labels].sum()),
    )
    return _finished(V, F[keep], kept_edges(edges, keep), A[keep], mesh.root, report)


def _finished(
    V: Floats, F: Ints, edges: Edges, A: Floats, root: Ints, report: RepairReport
) -> CleanMesh:
    """Without the vertices that are not used, and with all of the report."""
    used = np.zeros(len(V), bool)
    used[F.ravel()] = True
    source = np.flatnonzero(used)
    new = np.full(len(V), -1)
    new[source] = np.arange(len(source))
    pairs, counts, sides = edges
    report = replace(
        report,
        non_manifold_edges=int((counts > 2).sum()),
        border_edges=int((counts == 1).sum()),
    )
    # In their order vertices stay, so edges do, too.
    edges = new[pairs], counts, sides
    return CleanMesh(V[source], new[F], new[root], source, edges, A, report)


def _proper(V: Floats, F: Ints, what: str) -> tuple[Ints, Floats, Floats, int, int]:
    """Faces with an area, each once, their normals and areas; how many had none, were repeated."""
    N, A = face_normals_areas(V, F)
    wide = A > 0.0
    if not wide.any():
        raise MeshError(
            f"{what}: none of the {len(F)} faces has an area: all their vertices coincide or lie "
            "on lines, or they are too thin or too small for double precision"
        )
    F, N, A = _take(wide, F, N, A)
    first = first_equal(sorted_corners(F)) == np.arange(len(F))
    F, N, A = _take(first, F, N, A)
    return F, N, A, int((~wide).sum()), int((~first).sum())


def _if_few(flags: Bools) -> Bools:
    """These faces, but none if they are so many that the mesh was made like that."""
    few = np.count_nonzero(flags) <= _REACHING * len(flags)
    return flags if few else np.zeros(len(flags), bool)


def _take(keep: Bools, F: Ints, N: Floats, A: Floats) -> tuple[Ints, Floats, Floats]:
    return (F, N, A) if keep.all() else (F[keep], N[keep], A[keep])


def _turn(flip: Bools, F: Ints, N: Floats, sides: Ints) -> tuple[Ints, Floats, Ints]:
    """Faces turned over where flagged, their normals, and the edges that their sides lie on."""
    if not flip.any():
        return F, N, sides
    over = flip[:, None]
    return (
        np.where(over, F[:, [0, 2, 1]], F),
        np.where(over, -N, N),
        np.where(over, sides[:, [2, 1, 0]], sides),
    )


def _weld(V: Floats, F: Ints, N: Floats, E: Ints, counts: Ints, sides: Ints, same: float) -> Ints:
    """For each vertex the lowest of those it is welded to (itself if none), (n,)."""
    n = len(V)
    place = np.arange(n)
    rim = E[counts == 1]
    if not len(rim):
        return place
    border = np.unique(rim)
    usual = np.median(edge_lengths(V, rim))
    # Any number of vertices may lie at one place: pairs are of places.
    first = first_equal((V[border] + 0.0).view(np.int64))
    near = np.stack([border, border[first]], 1)[first != np.arange(len(border))]
    if same > 0.0:
        places = border[first == np.arange(len(border))]
        close = KDTree(V[places]).query_pairs(same * usual, output_type="ndarray")
        near = np.concatenate([near, places[close]])
    if not len(near):
        return place
    place = joined(near, n)
    placed = face_edges(place[F])[2]
    open_side = np.flatnonzero((counts[sides] == 1) & (placed >= 0))
    where = placed.ravel()[open_side]
    order = np.argsort(where, kind="stable")
    two = np.bincount(where)[where[order]] == 2
    one, other = open_side[order[two]].reshape(-1, 2).T
    a, b = F.ravel()[one], F.ravel()[one + 1 - 3 * (one % 3 == 2)]
    c, d = F.ravel()[other], F.ravel()[other + 1 - 3 * (other % 3 == 2)]
    same_way = place[a] == place[c]
    agree = (N[one // 3] * N[other // 3]).sum(1) * np.where(same_way, -1, 1) > _FOLDED
    pairs = np.concatenate(
        [np.stack([a, np.where(same_way, c, d)], 1), np.stack([b, np.where(same_way, d, c)], 1)]
    )[np.tile(agree, 2)]
    return joined(pairs, n)


def _inside_out(
    V: Floats, F: Ints, N: Floats, A: Floats, labels: Ints, border: Ints
) -> tuple[Bools, Bools, bool]:
    """Which components to turn, (c,), which are inner walls, whether the largest is turned."""
    c = labels.max() + 1
    part = labels[F[:, 0]]
    area = np.bincount(part, A)
    flux, reach = _flux(V, F, labels, c)
    closed = np.ones(c, bool)
    closed[labels[border.ravel()]] = False
    # Flat parts have no inside: theirs is rounding.
    least = np.maximum(np.where(closed, 1e-9, _INWARD) * reach, _ROUNDING * area**1.5)
    turned = flux < -least
    largest = int(np.argmax(area))
    large = area >= _INDEPENDENT * area[largest]
    turned[~closed & ~large] = turned[largest]
    walls = np.zeros(c, bool)
    others = np.flatnonzero(large & (turned != turned[largest]))
    if len(others):
        whole = part == largest
        tree, facing = KDTree(V[F[whole]].mean(1)), N[whole] * (-1.0 if turned[largest] else 1.0)
        for other in others:
            centres = V[F[part == other]].mean(1)
            near = tree.query(centres)[1]
            height = np.einsum("ij,ij->i", centres - tree.data[near], facing[near])
            walls[other] = np.mean(height < 0.0) > _WITHIN
        turned[walls] = turned[largest]
    return turned, walls, bool(turned[largest])


def _debris(part: Ints, A: Floats) -> Bools:
    """Which components (c,) are debris, from the part and area of each face."""
    area, count = np.bincount(part, A), np.bincount(part)
    # Where all parts are of so few faces, they are the scan: triangles that share no vertices.
    few = min(_SCRAP, _DEBRIS * count.max(initial=0))
    small: Bools = (area < _DEBRIS * area.max(initial=0.0)) | (count < few)
    if len(small):
        small[np.argmax(area)] = False
    return small


@kernel
def _flux(V: Any, F: Any, labels: Any, c: int) -> Any:
    """Flux of the centred position, and flux at most (were all normals parallel to it)."""
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
    return flux, reach


@kernel
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
