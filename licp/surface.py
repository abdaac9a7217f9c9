"""Triangle surfaces that are searched many times, template or scan: what is known is kept."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from licp.closest import Border, TriangleTree, closest_on_incident
from licp.directions import along, own_axes
from licp.geometry import (
    any_of,
    border_vertices,
    face_edges,
    face_normals_areas,
    first_equal,
    grouped_faces,
    grown,
    neighbours_by_edges,
    unsigned,
    vertex_areas,
    vertex_faces,
    vertex_fans,
    vertex_normals,
)
from licp.laplacian import cotangent_laplacian
from licp.similarity import Similarity

__all__ = ["Surface", "even_sample", "even_subset", "group_sums", "spatial_order"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Rows = tuple[NDArray[np.uint64], NDArray[np.uint32]]


class Surface:
    """A triangle surface that is searched many times.

    Parameters
    ----------
    vertices : (n, 3) float64
    faces : (m, 3) int64
        Every vertex used, wound outwards (see :func:`licp.repair.clean_scan`).

    Attributes
    ----------
    vertices : (n, 3) float64
    faces : (m, 3) int64

    Examples
    --------
    >>> import trimesh
    >>> ball = trimesh.creation.icosphere(2)
    >>> s = Surface(ball.vertices, ball.faces)
    >>> bool(s.at_border.any()), s.normals.shape
    (False, (162, 3))
    """

    def __init__(self, vertices: Floats, faces: Ints) -> None:
        self.vertices = vertices
        self.faces = faces

    @cached_property
    def normals(self) -> Floats:
        """Unit normals of the vertices, (n, 3)."""
        return vertex_normals(self.vertices, self.faces)

    @cached_property
    def areas(self) -> Floats:
        """Areas of the faces, (m,)."""
        return face_normals_areas(self.vertices, self.faces)[1]

    @cached_property
    def vertex_areas(self) -> Floats:
        """Of :func:`licp.geometry.vertex_areas`, (n,)."""
        return vertex_areas(self.vertices, self.faces, self.areas)

    @property
    def size(self) -> float:
        """Root of the area."""
        return float(np.sqrt(self.areas.sum()))

    @property
    def spacing(self) -> float:
        """Root of the mean area of a vertex."""
        return self.size / float(np.sqrt(len(self.vertices)))

    @cached_property
    def edges(self) -> tuple[Ints, Ints, Ints]:
        """Of :func:`licp.geometry.face_edges`."""
        return face_edges(self.faces)

    @cached_property
    def laplacian(self) -> tuple[sparse.csc_array, Floats]:
        """Of :func:`licp.laplacian.cotangent_laplacian`."""
        return cotangent_laplacian(self.vertices, self.faces, self.edges)

    @cached_property
    def at_border(self) -> Bools:
        """Vertices at an end of a border edge, (n,)."""
        return border_vertices(*self.edges[:2], len(self.vertices))

    @cached_property
    def beside_border(self) -> Bools:
        """Vertices of faces that have one at the border, (n,)."""
        near: Bools = grown(self.at_border[None], self.neighbours, 1)[0]
        return near

    @cached_property
    def border(self) -> Border:
        """Tells which points of the surface lie on its border."""
        return Border(self.faces, len(self.vertices), self.edges)

    @cached_property
    def incidence(self) -> tuple[Ints, Ints]:
        """Faces of each vertex as compressed rows."""
        return vertex_faces(self.faces, len(self.vertices))

    @cached_property
    def fans(self) -> Rows:
        """The same with the other corners of each face, for kernels."""
        return vertex_fans(self.faces, len(self.vertices))

    @cached_property
    def neighbours(self) -> Rows:
        """Vertices next to each one as compressed rows, for kernels."""
        return unsigned(*neighbours_by_edges(self.edges[0], len(self.vertices)))

    @cached_property
    def triangles(self) -> TriangleTree:
        """Search tree over the triangles."""
        return TriangleTree(self.vertices, self.faces)

    def project(self, points: Floats, near: Ints) -> tuple[Ints, Floats, Floats]:
        """Closest points among the triangles around one vertex of each query.

        Returns
        -------
        face : (q,) int64
        barycentric : (q, 3) float64
        point : (q, 3) float64
        """
        return closest_on_incident(points, near, self.vertices, self.faces, *self.incidence)[:3]

    def normals_at(self, face: Ints, barycentric: Floats) -> Floats:
        """Unit normals (q, 3), interpolated over the faces."""
        return _unit(np.einsum("qk,qkj->qj", barycentric, self.normals[self.faces[face]]))

    def moved(self, move: Similarity) -> "Surface":
        """The same surface elsewhere; what is known of it already is shared."""
        other = object.__new__(Surface)
        other.vertices, other.faces = move.apply(self.vertices), self.faces
        other.normals = move.rotate(self.normals)
        self._hand_on(other)
        known = self.__dict__
        if "laplacian" in known:
            L, mass = self.laplacian
            other.__dict__["laplacian"] = L, move.scale**2 * mass
        for name in ("areas", "vertex_areas"):
            if name in known:
                other.__dict__[name] = move.scale**2 * known[name]
        if "triangles" in known:
            other.__dict__["triangles"] = self.triangles.moved(move)
        return other

    def reshaped(self, vertices: Floats) -> "Surface":
        """The same faces with their vertices at other places; what depends on faces is shared."""
        other = Surface(vertices, self.faces)
        self._hand_on(other)
        if "triangles" in self.__dict__:
            other.__dict__["triangles"] = self.triangles.reshaped(vertices, self.faces)
        return other

    def _hand_on(self, other: "Surface") -> None:
        """Tell another surface of the same faces what depends on them alone, if it is known."""
        names = "edges", "at_border", "beside_border", "border", "incidence", "fans", "neighbours"
        for name in names:
            if name in self.__dict__:
                other.__dict__[name] = self.__dict__[name]

    def without(self, flagged: Bools) -> "Surface":
        """What is left without some vertices and the faces at them."""
        gone = any_of(flagged[self.faces])
        used, beside = np.zeros((2, len(self.vertices)), bool)
        used[self.faces[~gone].ravel()] = True
        beside[self.faces[gone].ravel()] = True
        left = Surface(self.vertices[used], (np.cumsum(used) - 1)[self.faces[~gone]])
        left.normals = self.normals[used]
        left.__dict__["at_border"] = (self.at_border | beside)[used]
        return left

    def thinned(self, kept: Ints, faces: Ints, cell: Ints) -> "Surface":
        """The surface of some of its vertices (see :func:`licp.coarsening.thin`).

        Normals are the means over cells, and a vertex is at the border if one of its cell is.
        """
        c = len(kept)
        some = Surface(self.vertices[kept], faces)
        some.normals = _unit(group_sums(self.normals, cell, c))
        some.__dict__["at_border"] = np.bincount(cell, self.at_border, minlength=c) > 0
        return some

    def coarsened(self, spacing: float) -> "Surface":
        """A coarser surface with about one vertex for each cube of the given width.

        Vertices in one cube whose normals share an octant are averaged, so two skins that
        pass through one cube (lips, an ear and the head behind it) stay apart.
        """
        axes = own_axes(self.vertices)
        columns = along(axes, self.vertices)
        cell = ((columns - columns.min(axis=1, keepdims=True)) / spacing).astype(np.int64).T
        octant = np.array([1, 2, 4]) @ (along(axes, self.normals) > _ZERO)
        cell[:, 0] = 8 * cell[:, 0] + octant
        first = first_equal(cell)
        kinds = np.flatnonzero(first == np.arange(len(first)))
        # Numbered by place, so that the order of the vertices does not matter.
        rank = np.empty(len(first), np.int64)
        rank[kinds[np.lexsort(cell[kinds].T)]] = np.arange(len(kinds))
        group = rank[first]
        count = np.bincount(group)
        mean = group_sums(self.vertices, group, len(count)) / count[:, None]
        F = grouped_faces(self.faces, group)
        n = len(mean)
        used = np.zeros(n, bool)
        used[F.ravel()] = True
        coarse = Surface(mean[used], (np.cumsum(used) - 1)[F])
        # Faces that collapse leave slits and folds: normals and border are those of the vertices
        # that were averaged.
        coarse.normals = _unit(group_sums(self.normals, group, n)[used])
        coarse.__dict__["at_border"] = (np.bincount(group, self.at_border) > 0)[used]
        return coarse


# Where in its cell the first point of an order lies: nothing that others would be, too.
_INSIDE = 0.618
# Normals in the plane of symmetry of a template have no side, but for rounding.
_ZERO = 1e-6


def group_sums(rows: Floats, group: Ints, count: int) -> Floats:
    """Sums over groups of rows (n, 3), (count, 3)."""
    return np.stack([np.bincount(group, x, minlength=count) for x in rows.T], 1)


def _unit(vectors: Floats) -> Floats:
    """Vectors (n, 3) of length one; zeros stay."""
    length = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None]
    unit: Floats = vectors / np.where(length > 0, length, 1.0)
    return unit


def spatial_order(points: Floats) -> Ints:
    """Order of points along a Morton curve in their own frame, (n,).

    Neighbours in the order are neighbours in space; order, pose and unit of the input do not
    matter.
    """
    columns = along(own_axes(points), points)
    columns -= columns.min(axis=1, keepdims=True)
    extent = float(columns.max()) or 1.0
    # The first, the last and the middle lie inside of cells, so that rounding, which differs
    # between units, does not tell where they are.
    cell = (columns * ((2**20 - 2) / extent) + _INSIDE).astype(np.uint64)
    code = np.zeros(len(points), np.uint64)
    for axis in range(3):
        x = cell[axis]
        for shift, mask in (
            (32, 0x1F00000000FFFF),
            (16, 0x1F0000FF0000FF),
            (8, 0x100F00F00F00F00F),
            (4, 0x10C30C30C30C30C3),
            (2, 0x1249249249249249),
        ):
            x = (x | (x << np.uint64(shift))) & np.uint64(mask)
        code |= x << np.uint64(axis)
    order: Ints = np.argsort(code, kind="stable")
    return order


def even_sample(points: Floats, weights: Floats, count: int) -> tuple[Ints, Floats]:
    """Indices of at most ``count`` points, and the share of the weight that each speaks for.

    Chosen along the Morton curve, so their number per area follows the weights and the order of
    the input does not matter.  A point that has more than one share is there once.
    """
    order = spatial_order(points)
    order = order[weights[order] > 0]
    if len(order) <= count:
        return order, weights[order]
    reached = np.cumsum(weights[order])
    at = np.searchsorted(reached, (np.arange(count) + 0.5) / count * reached[-1])
    chosen, shares = np.unique(np.minimum(at, len(order) - 1), return_counts=True)
    return order[chosen], shares * (reached[-1] / count)


def even_subset(points: Floats, weights: Floats, count: int) -> Ints:
    """Indices of at most ``count`` points; those of :func:`even_sample`."""
    return even_sample(points, weights, count)[0]
