"""Cotangent Laplacian and lumped mass of a mesh, sound on obtuse and thin triangles."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from licp.compiled import kernel
from licp.errors import MeshError
from licp.geometry import face_edges

__all__ = ["cotangent_laplacian"]

# A triangle whose two shorter sides outreach the longest by less than this part of the longest
# is mollified.  1 % leaves angles below 164 degrees alone between sides of one length, below 142
# where one is twenty times the other, and bounds every cotangent by about 100, which the thin plate
# squares; a hundred times less lets one sliver decide the conditioning of the whole system.
_MOLLIFY = 1e-2

# Least mass of a vertex in parts of the mean: thin-plate entries grow like 1 / mass.  Fine
# regions of head templates (lashes, lips) go down to about 1e-2.
_MASS_FLOOR = 1e-3


@kernel
def _triangle_terms(
    V: NDArray[np.float64], F: NDArray[np.int64], mollify: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Half cotangents opposite to, and Voronoi areas at, the three corners of every face."""
    m = len(F)
    half_cot = np.zeros((m, 3))
    area_at = np.zeros((m, 3))
    length = np.empty(3)
    for f in range(m):
        i, j, k = F[f, 0], F[f, 1], F[f, 2]
        if i == j or j == k or k == i:
            continue
        for c in range(3):
            p, q = F[f, (c + 1) % 3], F[f, (c + 2) % 3]
            length[c] = np.sqrt(
                (V[p, 0] - V[q, 0]) ** 2 + (V[p, 1] - V[q, 1]) ** 2 + (V[p, 2] - V[q, 2]) ** 2
            )
        longest = max(length[0], length[1], length[2])
        if longest == 0.0:
            continue
        a, b, c_ = length[0] / longest, length[1] / longest, length[2] / longest
        slack = a + b + c_ - 2.0
        if slack < mollify:
            # The same amount on every side lengthens the slack by that amount.
            a += mollify - slack
            b += mollify - slack
            c_ += mollify - slack
        a2, b2, c2 = a * a, b * b, c_ * c_
        s = 0.5 * (a + b + c_)
        area = np.sqrt(s * (s - a) * (s - b) * (s - c_))
        cot_a = (b2 + c2 - a2) / (4.0 * area)
        cot_b = (c2 + a2 - b2) / (4.0 * area)
        cot_c = (a2 + b2 - c2) / (4.0 * area)
        half_cot[f, 0] = 0.5 * cot_a
        half_cot[f, 1] = 0.5 * cot_b
        half_cot[f, 2] = 0.5 * cot_c
        unit = longest * longest
        if cot_a < 0.0:
            area_at[f, 0], area_at[f, 1], area_at[f, 2] = 0.5 * area, 0.25 * area, 0.25 * area
        elif cot_b < 0.0:
            area_at[f, 0], area_at[f, 1], area_at[f, 2] = 0.25 * area, 0.5 * area, 0.25 * area
        elif cot_c < 0.0:
            area_at[f, 0], area_at[f, 1], area_at[f, 2] = 0.25 * area, 0.25 * area, 0.5 * area
        else:
            area_at[f, 0] = (b2 * cot_b + c2 * cot_c) / 8.0
            area_at[f, 1] = (c2 * cot_c + a2 * cot_a) / 8.0
            area_at[f, 2] = (a2 * cot_a + b2 * cot_b) / 8.0
        for c in range(3):
            area_at[f, c] *= unit
    return half_cot, area_at


@kernel
def _assemble(
    E: NDArray[np.int64], side: NDArray[np.int64], half_cot: NDArray[np.float64], n: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
    """Compressed rows, ascending, of a Laplacian with these half cotangents at the corners."""
    weight = np.zeros(len(E))
    for f in range(len(side)):
        for k in range(3):
            if side[f, k] >= 0:
                weight[side[f, k]] += half_cot[f, (k + 2) % 3]
    indptr = np.zeros(n + 1, np.int32)
    for i in range(n):
        indptr[i + 1] = 1
    for e in range(len(E)):
        indptr[E[e, 0] + 1] += 1
        indptr[E[e, 1] + 1] += 1
    for i in range(n):
        indptr[i + 1] += indptr[i]
    fill = indptr[:-1].copy()
    indices = np.empty(indptr[n], np.int32)
    data = np.empty(indptr[n])
    # Edges are sorted by their lower, then their higher end: first what is before the diagonal.
    for e in range(len(E)):
        i, j = E[e, 1], E[e, 0]
        indices[fill[i]], data[fill[i]] = j, -weight[e]
        fill[i] += 1
    diagonal = fill.copy()
    for i in range(n):
        indices[fill[i]], data[fill[i]] = i, 0.0
        fill[i] += 1
    for e in range(len(E)):
        i, j = E[e, 0], E[e, 1]
        indices[fill[i]], data[fill[i]] = j, -weight[e]
        fill[i] += 1
        data[diagonal[i]] += weight[e]
        data[diagonal[j]] += weight[e]
    return indptr, indices, data


def cotangent_laplacian(
    V: ArrayLike,
    F: ArrayLike,
    edges: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | None = None,
) -> tuple[sparse.csc_array, NDArray[np.float64]]:
    """Cotangent Laplacian and lumped mass of a triangle mesh, safe on any triangles.

    ``L u = sum_j w_ij (u_i - u_j)`` with ``w_ij = (cot a + cot b) / 2`` over the angles opposite
    to the edge, that is *minus* the Laplace-Beltrami operator integrated over the cell of the
    vertex.  Cotangents are computed from edge lengths, and a triangle that is almost a line has
    its three lengths increased together until it is not (the intrinsic mollification of Sharp
    and Crane 2020, but per triangle instead of over the whole mesh).  Every triangle therefore
    adds a positive semidefinite term, whatever its shape, and healthy triangles, obtuse ones
    included, keep their exact cotangents, so linear functions on flat parts stay harmonic.
    Clamping negative cotangents instead would lose that on every obtuse triangle.

    Parameters
    ----------
    V : (n, 3) array_like of float
        Vertex positions, any unit.
    F : (m, 3) array_like of int
        Triangles.  Faces that name a vertex twice are ignored; borders, several components,
        non-manifold edges and unreferenced vertices are fine.
    edges : tuple, optional
        What :func:`licp.geometry.face_edges` returns, if it is known already.

    Returns
    -------
    L : (n, n) csc_array
        Symmetric positive semidefinite, rows sum to zero, independent of the unit.  The whole
        diagonal is stored, zeros of unreferenced vertices included.
    mass : (n,) float64
        Mixed Voronoi area of every vertex, in squared units of `V`; never less than a thousandth
        of the mean.

    Raises
    ------
    MeshError
        Wrong shapes, positions that are not finite, indices out of range, or no area at all.

    References
    ----------
    Pinkall and Polthier 1993 (cotangents); Meyer, Desbrun, Schroeder and Barr 2003 (mixed
    areas); Sharp and Crane 2020, "A Laplacian for nonmanifold triangle meshes" (mollification).

    Examples
    --------
    >>> import numpy as np
    >>> V = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    >>> L, mass = cotangent_laplacian(V, [[0, 1, 2], [0, 2, 3]])
    >>> bool(np.allclose(L.toarray()[0], [1, -0.5, 0, -0.5]))
    True
    >>> round(float(mass.sum()), 6)
    1.0
    """
    V = np.ascontiguousarray(V, dtype=np.float64)
    F = np.ascontiguousarray(F, dtype=np.int64)
    if V.ndim != 2 or V.shape[1] != 3:
        raise MeshError(f"V must have shape (n, 3), not {V.shape}")
    if F.ndim != 2 or F.shape[1] != 3 or len(F) == 0:
        raise MeshError(f"F must have shape (m, 3) with at least one triangle, not {F.shape}")
    if not np.isfinite(V).all():
        bad = np.flatnonzero(~np.isfinite(V).all(axis=1))
        raise MeshError(f"{len(bad)} vertices are not finite, the first is vertex {bad[0]}")
    if F.min() < 0 or F.max() >= len(V):
        bad = np.flatnonzero((F < 0).any(axis=1) | (F >= len(V)).any(axis=1))
        raise MeshError(
            f"face {bad[0]} names a vertex outside 0..{len(V) - 1} ({len(bad)} such faces)"
        )
    n = len(V)
    half_cot, area_at = _triangle_terms(V, F, _MOLLIFY)

    total = area_at.sum()
    if not (np.isfinite(total) and total > 0.0):
        raise MeshError("the faces have no area: all vertices coincide or overflow")
    mass = np.bincount(F.ravel(), weights=area_at.ravel(), minlength=n)
    mass = np.maximum(mass, _MASS_FLOOR * total / np.count_nonzero(mass))

    ends, _, side = face_edges(F) if edges is None else edges
    indptr, indices, data = _assemble(ends, side, half_cot, n)
    return sparse.csc_array((data, indices, indptr), shape=(n, n)), mass
