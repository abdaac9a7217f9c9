"""Coarser copies of meshes, and the way back: what stiff stages and dense scans are done on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import KDTree

from licp.compiled import kernel
from licp.geometry import grouped_faces, vertex_neighbours
from licp.surface import Surface, spatial_order

__all__ = ["Coarsening", "coarsen", "thin", "thinned"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Weights with which a vertex follows the coarse ones around it fall off over this many of their
# spacings; less shows the coarse cells, more rounds off what they say.
_FALL = 0.6
# Surfaces whose vertices are closer than this part of the wanted spacing are worth thinning: they
# have three times the vertices and more.
_DENSE = 0.6
# A cell takes over what is nearer to it by more than rounding: of what is symmetric, much is as far
# from one side as from the other.
_NEARER = 1.0 - 1e-9


@dataclass(frozen=True, eq=False)
class Coarsening:
    """Some of the vertices of a mesh, the triangles between them, and who follows whom.

    Attributes
    ----------
    kept : (c,) int64
        Vertices of the fine mesh that are those of the coarse one.
    faces : (k, 3) int64
        Wound like the fine ones.
    cell : (n,) int64
        Coarse vertex that is nearest along the surface to each fine one.
    follow : (n, c) csr_array
        Rows of weights with the sum one.
    """

    kept: Ints
    faces: Ints
    cell: Ints
    follow: Any

    def gathered(self, values: Floats) -> Floats:
        """Sums over cells of one value of each fine vertex, (c,)."""
        total: Floats = np.bincount(self.cell, values, minlength=len(self.kept)).astype(np.float64)
        return total

    def prolong(self, rest: Floats, moved: Floats, maps: Floats) -> Floats:
        """Fine vertices (n, 3) that follow the coarse ones.

        Parameters
        ----------
        rest : (n, 3) float64
            The fine mesh undeformed.
        moved : (c, 3) float64
            The coarse vertices where they are now.
        maps : (c, 3, 3) float64
            How their surroundings have turned and grown.
        """
        held = np.einsum("cij,cj->ci", maps, rest[self.kept])
        around = (self.follow @ maps.reshape(-1, 9)).reshape(-1, 3, 3)
        fine: Floats = self.follow @ (moved - held) + np.einsum("nij,nj->ni", around, rest)
        return fine


def thin(
    vertices: Floats,
    faces: Ints,
    spacing: float | Floats,
    neighbours: tuple[NDArray[Any], NDArray[Any]] | None = None,
) -> tuple[Ints, Ints, Ints]:
    """Keep vertices about ``spacing`` apart along the surface, and connect neighbouring cells.

    The triangles are the dual of the cells of vertices nearest to each kept one: one for every
    fine triangle whose corners lie in three cells.  Sheets that come close in space, like lips,
    stay apart.

    Parameters
    ----------
    vertices : (n, 3) float64
        Any unit.
    faces : (m, 3) int64
        Every vertex in one of them.
    spacing : float or (n,) float64
        Least distance of kept vertices along edges, in the unit of the vertices; or, for each one,
        how far its cell reaches if it is kept.
    neighbours : tuple, optional
        What :func:`licp.geometry.vertex_neighbours` returns, if it is known already.

    Returns
    -------
    kept, faces, cell
        As in :class:`Coarsening`.  Without any faces if the spacing is too wide for the mesh: three
        cells meet nowhere.
    """
    n = len(vertices)
    start, neighbour = vertex_neighbours(faces, n) if neighbours is None else neighbours
    reach = np.full(n, spacing, np.float64)
    kept, cell = _cells(vertices, start, neighbour, spatial_order(vertices), reach)
    F = grouped_faces(faces, cell)
    c = len(kept)
    if not len(F):
        return kept, F, cell

    # A cell that touches fewer than two others has no triangle: its vertices go to the nearest
    # cell that has.
    used = np.zeros(c, bool)
    used[F.ravel()] = True
    if not used.all():
        seeds = np.flatnonzero(used)
        number = np.cumsum(used) - 1
        lost = np.flatnonzero(~used[cell])
        cell = number[cell]
        cell[lost] = KDTree(vertices[kept[seeds]]).query(vertices[lost])[1]
        F, kept = number[F], kept[seeds]
    return kept, F, cell


def thinned(surface: Surface, spacing: float) -> tuple[Surface, Ints | None]:
    """The surface with vertices about ``spacing`` apart, if it has far more.

    Parameters
    ----------
    surface : Surface
        Any unit.
    spacing : float
        In that unit.

    Returns
    -------
    thin : Surface
        With the normals and the border of the surface that was given; or that one itself.
    kept : (c,) int64 or None
        Its vertices in the one that was given; None if that is itself.
    """
    if surface.spacing >= _DENSE * spacing:
        return surface, None
    kept, faces, cell = thin(surface.vertices, surface.faces, spacing, surface.neighbours)
    # Nothing is left of a scrap that is smaller than the spacing.
    return (surface.thinned(kept, faces, cell), kept) if len(faces) else (surface, None)


def coarsen(
    vertices: Floats,
    faces: Ints,
    spacing: float | Floats,
    neighbours: tuple[NDArray[Any], NDArray[Any]] | None = None,
) -> Coarsening:
    """A mesh of fewer vertices (see :func:`thin`), and how the others follow them.

    Parameters
    ----------
    vertices, faces, spacing, neighbours
        Of :func:`thin`.

    Examples
    --------
    >>> import trimesh
    >>> ball = trimesh.creation.icosphere(4)
    >>> coarse = coarsen(ball.vertices, ball.faces, 0.2)
    >>> 200 < len(coarse.kept) < 500, bool(abs(coarse.follow.sum(axis=1) - 1).max() < 1e-12)
    (True, True)
    """
    n = len(vertices)
    reach = np.full(n, spacing, np.float64)
    kept, F, cell = thin(vertices, faces, reach, neighbours)
    c = len(kept)
    at, around = vertex_neighbours(F, c)
    ring = sparse.csr_array((np.ones(len(around)), around, at), shape=(c, c))
    near = sparse.csr_array((ring + sparse.eye_array(c)).tocsr()[cell])
    row = np.repeat(np.arange(n), np.diff(near.indptr))
    away = vertices[row] - vertices[kept[near.indices]]
    d = np.sqrt(np.einsum("ij,ij->i", away, away))
    weight = np.exp(-0.5 * (d / (_FALL * reach[kept[near.indices]])) ** 2) + 1e-9
    weight /= np.bincount(row, weight, minlength=n)[row]
    follow = sparse.csr_array((weight, near.indices, near.indptr), shape=(n, c))
    return Coarsening(kept, F, cell, follow)


@kernel
def _cells(V: Any, start: Any, neighbour: Any, order: Any, reach: Any) -> Any:
    """Kept vertices, in the given order each one that is not near another; and all cells."""
    n = len(V)
    distance = np.full(n, np.inf)
    cell = np.full(n, -1, np.int64)
    kept = np.empty(n, np.int64)
    # A queue in which nobody waits twice is faster than a heap for a few rings.
    queue, waits = np.empty(n, np.int64), np.zeros(n, np.bool_)
    count = 0
    for seed in order:
        if distance[seed] < reach[seed]:
            continue
        distance[seed] = 0.0
        cell[seed] = count
        queue[0], head, tail = seed, 0, 1
        waits[seed] = True
        while head != tail:
            i = queue[head % n]
            head += 1
            waits[i] = False
            d = distance[i]
            for e in range(start[i], start[i + 1]):
                j = neighbour[e]
                x, y, z = V[i, 0] - V[j, 0], V[i, 1] - V[j, 1], V[i, 2] - V[j, 2]
                further = d + np.sqrt(x * x + y * y + z * z)
                if further < _NEARER * distance[j] and further < reach[seed]:
                    distance[j] = further
                    cell[j] = count
                    if not waits[j]:
                        queue[tail % n] = j
                        tail += 1
                        waits[j] = True
        kept[count] = seed
        count += 1
    return kept[:count], cell
