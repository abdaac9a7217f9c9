"""What is wrong with the faces of a fit: those that turned over, and what runs through itself."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from licp.compiled import kernel
from licp.errors import MeshError
from licp.geometry import checked_mesh, face_normals_areas
from licp.readonly import read_only_view

__all__ = ["Faults", "checked_shapes", "flipped_faces"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Faults:
    """Faces of a fit that have turned over or run through others, by number.

    Attributes
    ----------
    rest_crossings, crossings : int
        Pairs of faces that run through each other, before the fit and after it.
    flipped : int
        Faces that have turned over.
    """

    rest_crossings: int
    crossings: int
    flipped: int

    @property
    def number(self) -> int:
        """All that the fit has."""
        return self.crossings + self.flipped


def flipped_faces(rest_vertices: ArrayLike, vertices: ArrayLike, faces: ArrayLike) -> Bools:
    """Faces that have turned over against their neighbourhood.

    Every face has the rotation that carries its rest normal to its new normal and, in the plane,
    its rest corners as close as possible to the new ones (Procrustes).  The neighbourhood of a
    face are the other faces at its three vertices (those across an edge count twice), weighted by
    rest area.  A face is flipped if its new normal is more than 90 degrees from where the
    rotations of its neighbourhood carry its rest normal, on average.

    So creases of the rest shape do not count, nor does any rigid motion or bending shared with the
    neighbours; of a whole patch turned over only the rim counts.  Degenerate faces are never
    flipped.

    Parameters
    ----------
    rest_vertices, vertices : (n, 3) float
        Before and after.
    faces : (m, 3) int
        Triangles, by vertex.

    Returns
    -------
    (m,) bool

    Raises
    ------
    MeshError
        If the arrays do not fit each other or are not finite.

    Examples
    --------
    >>> V0 = np.array([[0, 0, 0], [2, 0, 0], [0, 2, 0], [-2, 0, 0], [0, -2, 0.]])
    >>> F = [[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 1]]
    >>> V1 = V0.copy()
    >>> V1[0] = 1.1, 1.1, 0  # across the side of the first face
    >>> flipped_faces(V0, V1, F).tolist()
    [True, False, False, False]
    """
    V0, V1, F = checked_shapes(rest_vertices, vertices, faces)
    n0, area0 = face_normals_areas(V0, F)
    n1, area1 = face_normals_areas(V1, F)
    weight = np.where(area1 > 0, area0, 0.0)
    flipped: Bools = _agreement(*map(read_only_view, (V0, V1, F, n0, n1, weight))) < -1e-9
    return flipped


@kernel(error_model="numpy")
def _agreement(V0: Any, V1: Any, F: Any, N0: Any, N1: Any, weight: Any) -> Any:
    """Cosine-like agreement of each face with its neighbourhood, times a positive factor <= 1."""
    m = F.shape[0]
    own = np.zeros((m, 3, 3))
    around = np.zeros((V0.shape[0], 3, 3))
    total = np.zeros(V0.shape[0])
    for f in range(m):
        if weight[f] == 0.0:
            continue
        x0, y0, p0, q0 = _in_plane(V0, F, N0, f)
        x1, y1, p1, q1 = _in_plane(V1, F, N1, f)
        cos = p0[0] * p1[0] + p0[1] * p1[1] + p0[2] * p1[2]
        cos += q0[0] * q1[0] + q0[1] * q1[1] + q0[2] * q1[2]
        sin = p0[0] * q1[0] + p0[1] * q1[1] + p0[2] * q1[2]
        sin -= q0[0] * p1[0] + q0[1] * p1[1] + q0[2] * p1[2]
        length = np.hypot(cos, sin)
        cos, sin = cos / length, sin / length
        for i in range(3):
            x = cos * x1[i] + sin * y1[i]
            y = cos * y1[i] - sin * x1[i]
            for j in range(3):
                own[f, i, j] = weight[f] * (x * x0[j] + y * y0[j] + N1[f, i] * N0[f, j])
                for k in range(3):
                    around[F[f, k], i, j] += own[f, i, j]
        for k in range(3):
            total[F[f, k]] += weight[f]

    agreement = np.zeros(m)
    for f in range(m):
        if weight[f] == 0.0:
            continue
        a, b, c = F[f, 0], F[f, 1], F[f, 2]
        for i in range(3):
            for j in range(3):
                others = around[a, i, j] + around[b, i, j] + around[c, i, j] - 3.0 * own[f, i, j]
                agreement[f] += N1[f, i] * others * N0[f, j]
        agreement[f] /= total[a] + total[b] + total[c]
    return agreement


@kernel(error_model="numpy")
def _in_plane(V: Any, F: Any, N: Any, f: int) -> Any:
    """Two axes in the plane of a face, and the coordinates of its corners about their mean."""
    a, b, c = F[f, 0], F[f, 1], F[f, 2]
    mx = (V[a, 0] + V[b, 0] + V[c, 0]) / 3.0
    my = (V[a, 1] + V[b, 1] + V[c, 1]) / 3.0
    mz = (V[a, 2] + V[b, 2] + V[c, 2]) / 3.0
    x = (V[a, 0] - mx, V[a, 1] - my, V[a, 2] - mz)
    length = np.sqrt(x[0] ** 2 + x[1] ** 2 + x[2] ** 2)
    x = (x[0] / length, x[1] / length, x[2] / length)
    y = (
        N[f, 1] * x[2] - N[f, 2] * x[1],
        N[f, 2] * x[0] - N[f, 0] * x[2],
        N[f, 0] * x[1] - N[f, 1] * x[0],
    )
    p = (
        (V[a, 0] - mx) * x[0] + (V[a, 1] - my) * x[1] + (V[a, 2] - mz) * x[2],
        (V[b, 0] - mx) * x[0] + (V[b, 1] - my) * x[1] + (V[b, 2] - mz) * x[2],
        (V[c, 0] - mx) * x[0] + (V[c, 1] - my) * x[1] + (V[c, 2] - mz) * x[2],
    )
    q = (
        (V[a, 0] - mx) * y[0] + (V[a, 1] - my) * y[1] + (V[a, 2] - mz) * y[2],
        (V[b, 0] - mx) * y[0] + (V[b, 1] - my) * y[1] + (V[b, 2] - mz) * y[2],
        (V[c, 0] - mx) * y[0] + (V[c, 1] - my) * y[1] + (V[c, 2] - mz) * y[2],
    )
    return x, y, p, q


def checked_shapes(
    rest_vertices: ArrayLike, vertices: ArrayLike, faces: ArrayLike
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    V0, F = checked_mesh(rest_vertices, faces)
    V1, _ = checked_mesh(vertices, faces)
    if V0.shape != V1.shape:
        raise MeshError(
            f"rest_vertices and vertices are of different meshes: {len(V0)} and {len(V1)} vertices"
        )
    if not len(F):
        raise MeshError("a mesh without faces has no quality to measure")
    return V0, V1, F
