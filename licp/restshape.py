"""The rest shape: what the elastic energy pulls the template back to."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import KDTree

from licp.similarity import fit_similarities

__all__ = ["LocalSimilarities", "farthest_points"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Gaussian weights below this are left out: 3.7 standard deviations.
_NEGLIGIBLE = 1e-3


class LocalSimilarities:
    """Local similarities of a deforming template, blended over its vertices.  Our own.

    A thin plate whose rest shape stands still charges for turning and growing, which heads do
    everywhere.  Here each of a few hundred control points finds the similarity that best carries
    its surroundings (Gaussian weights) from the template to the present shape; the rotation and
    scale of a vertex are the weighted mean of those around it, and carry its differential
    coordinates along.

    Parameters
    ----------
    vertices : (n, 3) float64
        The template.
    controls : int
        Number of control points, spread by farthest-point sampling.
    radius : float
        Standard deviation of the weights, in the unit of the vertices; on coarse templates at
        least twice the median spacing, so that a dozen vertices speak for every control.

    Examples
    --------
    >>> import trimesh
    >>> V = trimesh.creation.icosphere(2).vertices
    >>> local = LocalSimilarities(V, controls=20, radius=0.4)
    >>> bool(np.allclose(local.carry(2.0 * V + 1.0, V), 2.0 * V))
    True
    """

    def __init__(self, vertices: Floats, controls: int, radius: float) -> None:
        if len(vertices) > 1:
            # A thousand tell the median as well as all.
            some = vertices[:: max(1, len(vertices) // 1000)]
            spacing = np.median(np.asarray(KDTree(vertices).query(some, k=2)[0])[:, 1])
            radius = max(radius, 2.0 * float(spacing))
        centres = farthest_points(vertices, min(controls, len(vertices)))
        rows, columns, values = _gaussian(vertices, vertices[centres], radius, _NEGLIGIBLE)
        shape = (len(vertices), len(centres))
        G = sparse.csr_array((values, (rows, columns)), shape=shape)
        total = np.asarray(G.sum(axis=1), np.float64).ravel()
        # A vertex out of reach of all controls takes after the nearest one.
        lost = np.flatnonzero(total == 0)
        if len(lost):
            d = np.linalg.norm(vertices[lost, None] - vertices[centres], axis=2)
            near = sparse.csr_array((np.ones(len(lost)), (lost, d.argmin(1))), shape=shape)
            G = sparse.csr_array(G + near)
            total[lost] = 1.0
        # Products of sparse and dense arrays have no static type.
        self._blend: Any = sparse.csr_array(sparse.diags_array(1.0 / total) @ G)
        gather = sparse.csr_array(G.T)
        weight = np.asarray(gather.sum(axis=1), np.float64).ravel()
        self._gather: Any = sparse.csr_array(sparse.diags_array(1.0 / weight) @ gather)
        self._rest = vertices
        G = self._gather
        self._rest_mean, H = _moments(G.indptr, G.indices, G.data, vertices, vertices)
        H -= self._rest_mean[:, :, None] * self._rest_mean[:, None, :]
        spread = np.trace(H, axis1=1, axis2=2)
        # A control that sees one vertex, or a few on a line, knows neither scale nor rotation.
        extent = np.linalg.svd(H, compute_uv=False)
        self._knows = extent[:, 1] > 1e-6 * radius**2
        self._spread = np.where(self._knows, spread, 1.0)

    def maps(self, vertices: Floats) -> Floats:
        """How the surroundings of each template vertex have turned and grown, (n, 3, 3).

        Parameters
        ----------
        vertices : (n, 3) float64
            The present shape.
        """
        blended: Floats = self._blend @ self._of_controls(vertices).reshape(-1, 9)
        return blended.reshape(len(vertices), 3, 3)

    def carry(self, vertices: Floats, vectors: Floats) -> Floats:
        """Turn and scale one vector of each template vertex as its surroundings have been.

        Parameters
        ----------
        vertices : (n, 3) float64
            The present shape.
        vectors : (n, 3) float64
            Vectors in the template's frame.
        """
        B = self._blend
        carried: Floats = _carried(
            B.indptr, B.indices, B.data, self._of_controls(vertices), vectors
        )
        return carried

    def _of_controls(self, vertices: Floats) -> Floats:
        """Similarities of the surroundings of the controls, (c, 3, 3)."""
        G = self._gather
        mean, H = _moments(G.indptr, G.indices, G.data, vertices, self._rest)
        H -= mean[:, :, None] * self._rest_mean[:, None, :]
        U, S, Vt = np.linalg.svd(H)
        sign = np.where(np.linalg.det(U @ Vt) < 0, -1.0, 1.0)
        U[:, :, 2] *= sign[:, None]
        scale = np.where(self._knows, (S[:, 0] + S[:, 1] + sign * S[:, 2]) / self._spread, 1.0)
        U[~self._knows], Vt[~self._knows] = np.eye(3), np.eye(3)
        similarities: Floats = scale[:, None, None] * (U @ Vt)
        return similarities


def follow(rest: Floats, moved: Floats, weights: Floats, points: Floats) -> Floats:
    """Move points (k, 3) by the weighted best similarity from ``rest`` to ``moved`` (n, 3)."""
    s, R, t = fit_similarities(rest[None], moved[None], weights[None])
    followed: Floats = s[0] * points @ R[0].T + t[0]
    return followed


@njit(cache=True, nogil=True)
def _moments(start: Any, at: Any, weight: Any, X: Any, Y: Any) -> Any:
    """Weighted sums of X (n, 3), and of its products with Y (n, 3), by compressed rows."""
    rows = len(start) - 1
    mean, cross = np.empty((rows, 3)), np.empty((rows, 3, 3))
    for r in range(rows):
        # Scalars stay in registers: three times the pace of sums in arrays.
        x, y, z = 0.0, 0.0, 0.0
        xx, xy, xz, yx, yy, yz, zx, zy, zz = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for e in range(start[r], start[r + 1]):
            i, w = at[e], weight[e]
            a, b, c = w * X[i, 0], w * X[i, 1], w * X[i, 2]
            u, v, t = Y[i, 0], Y[i, 1], Y[i, 2]
            x, y, z = x + a, y + b, z + c
            xx, xy, xz = xx + a * u, xy + a * v, xz + a * t
            yx, yy, yz = yx + b * u, yy + b * v, yz + b * t
            zx, zy, zz = zx + c * u, zy + c * v, zz + c * t
        mean[r, 0], mean[r, 1], mean[r, 2] = x, y, z
        cross[r, 0, 0], cross[r, 0, 1], cross[r, 0, 2] = xx, xy, xz
        cross[r, 1, 0], cross[r, 1, 1], cross[r, 1, 2] = yx, yy, yz
        cross[r, 2, 0], cross[r, 2, 1], cross[r, 2, 2] = zx, zy, zz
    return mean, cross


@njit(cache=True, nogil=True)
def _carried(start: Any, at: Any, weight: Any, maps: Any, vectors: Any) -> Any:
    """Vectors (n, 3) under blends, by compressed rows, of maps (c, 3, 3)."""
    out = np.empty(vectors.shape)
    for i in range(len(vectors)):
        u, v, t = vectors[i, 0], vectors[i, 1], vectors[i, 2]
        x, y, z = 0.0, 0.0, 0.0
        for e in range(start[i], start[i + 1]):
            c, w = at[e], weight[e]
            x += w * (maps[c, 0, 0] * u + maps[c, 0, 1] * v + maps[c, 0, 2] * t)
            y += w * (maps[c, 1, 0] * u + maps[c, 1, 1] * v + maps[c, 1, 2] * t)
            z += w * (maps[c, 2, 0] * u + maps[c, 2, 1] * v + maps[c, 2, 2] * t)
        out[i, 0], out[i, 1], out[i, 2] = x, y, z
    return out


@njit(cache=True, nogil=True)
def farthest_points(points: Floats, count: int) -> Ints:
    """Indices of points spread by farthest-point sampling, from the one farthest off the mean."""
    n = len(points)
    centre = np.zeros(3)
    for i in range(n):
        centre += points[i]
    centre /= n
    chosen = np.empty(count, np.int64)
    nearest = np.full(n, np.inf)
    last, best = 0, -1.0
    for i in range(n):
        d = ((points[i] - centre) ** 2).sum()
        if d > best:
            last, best = i, d
    for k in range(count):
        chosen[k] = last
        x, y, z = points[last, 0], points[last, 1], points[last, 2]
        best = -1.0
        for i in range(n):
            d = (points[i, 0] - x) ** 2 + (points[i, 1] - y) ** 2 + (points[i, 2] - z) ** 2
            if d < nearest[i]:
                nearest[i] = d
            if nearest[i] > best:
                last, best = i, nearest[i]
    return chosen


@njit(cache=True, nogil=True)
def _squared(A: Any, i: int, B: Any, j: int) -> Any:
    x, y, z = A[i, 0] - B[j, 0], A[i, 1] - B[j, 1], A[i, 2] - B[j, 2]
    return x * x + y * y + z * z


@njit(cache=True, nogil=True)
def _gaussian(points: Floats, centres: Floats, radius: float, least: float):  # type: ignore[no-untyped-def]
    """Gaussian weights that are not negligible, as (row, column, value)."""
    limit = -2.0 * np.log(least) * radius * radius
    n, m = len(points), len(centres)
    count = 0
    for i in range(n):
        for j in range(m):
            if _squared(points, i, centres, j) < limit:
                count += 1
    rows = np.empty(count, np.int64)
    columns = np.empty(count, np.int64)
    values = np.empty(count)
    k = 0
    for i in range(n):
        for j in range(m):
            d = _squared(points, i, centres, j)
            if d < limit:
                rows[k], columns[k] = i, j
                values[k] = np.exp(-0.5 * d / (radius * radius))
                k += 1
    return rows, columns, values
