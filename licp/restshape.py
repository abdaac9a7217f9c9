"""The rest shape: what the elastic energy pulls the template back to."""

from copy import copy
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import KDTree

from licp.compiled import kernel
from licp.directions import along, own_axes
from licp.similarity import best_rotations

__all__ = ["Followers", "LocalSimilarities", "farthest_points"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Gaussian weights below this are left out: 3.7 standard deviations.
_NEGLIGIBLE = 1e-3
# Parts that reach less far than this (8 mm of 400) are specks, whose surroundings reach so far.
_SPECK = 0.02
# Squared distances that differ by less than this part are equal but for rounding.
_EQUAL = 1e-9
# Of equal ones, the farthest this way comes first: no plane of symmetry holds it.
_ASKEW = (1.0, 0.7549, 0.5698)
# At most so many parts have a similarity of their own, and the others share as many.
_MOST = 200


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
        Standard deviation of the weights, in the unit of the vertices: two spacings or more, so
        that a dozen vertices speak for every control.

    Examples
    --------
    >>> import trimesh
    >>> V = trimesh.creation.icosphere(2).vertices
    >>> local = LocalSimilarities(V, controls=20, radius=0.4)
    >>> bool(np.allclose(local.carry(2.0 * V + 1.0, V), 2.0 * V))
    True
    """

    def __init__(self, vertices: Floats, controls: int, radius: float) -> None:
        self._centres = vertices[farthest_points(vertices, min(controls, len(vertices)))]
        self._radius = radius
        weights = self._weights(vertices)
        # Products of sparse and dense arrays have no static type.
        self._blend: Any = _means(weights)
        self._controls = _Controls(_means(weights.T.tocsr()), vertices, radius)
        self._speak: Ints | None = None

    def on(self, vertices: Floats, speak: Ints) -> "LocalSimilarities":
        """The same controls for a finer template.

        Parameters
        ----------
        vertices : (m, 3) float64
            The finer template.
        speak : (n,) int64
            Those of its vertices that are the ones of the coarser one: they tell the controls'
            similarities, as they did there.
        """
        other = copy(self)
        other._blend, other._speak = _means(self._weights(vertices)), speak
        return other

    def _weights(self, vertices: Floats) -> sparse.csr_array:
        """Gaussian weights of the controls for each vertex, (n, c)."""
        start, at, weight = _gaussian(vertices, self._centres, self._radius, _NEGLIGIBLE)
        return sparse.csr_array((weight, at, start), shape=(len(vertices), len(self._centres)))

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
        return self._controls.maps(vertices if self._speak is None else vertices[self._speak])[0]


class Followers:
    """Small parts beside a surface, which go where what surrounds them goes.

    Each part moves as a whole, by the similarity that best carries its surroundings: their weights
    are Gaussian in how much farther off than the nearest vertex they are, as wide as the part
    reaches.  Specks, and all but the largest of very many parts, blend the similarities around a
    few of them that are spread over all: vertices that no face uses may be tens of thousands.

    Parameters
    ----------
    vertices : (n, 3) float64
        The surface undeformed, in parts of its size.
    spacing : float
        Of its vertices; surroundings are as wide at least.
    points : (k, 3) float64
        Of all parts.
    part : (k,) int64
        Number of the part of each point, from 0 and without gaps.

    Examples
    --------
    >>> import trimesh
    >>> V = trimesh.creation.icosphere(2).vertices
    >>> beside = Followers(V, 0.3, np.array([[0.0, 0.0, 1.5]]), np.array([0]))
    >>> beside.placed(2.0 * V + 1.0).round(9).tolist()
    [[1.0, 1.0, 4.0]]
    """

    def __init__(self, vertices: Floats, spacing: float, points: Floats, part: Ints) -> None:
        count = np.bincount(part)
        centre = np.stack([np.bincount(part, x) for x in points.T], 1) / count[:, None]
        extent = np.zeros(len(count))
        np.maximum.at(extent, part, np.linalg.norm(points - centre[part], axis=1))
        largest = np.argsort(-extent, kind="stable")
        large = int((extent[largest[:_MOST]] >= _SPECK).sum())
        speck = np.sort(largest[large:])
        shared = speck[farthest_points(centre[speck], min(_MOST, len(speck)))]

        lead = np.r_[largest[:large], shared]
        reach = np.maximum(extent[lead], max(_SPECK, spacing))
        gather = _around(vertices, centre[lead], reach)
        self._controls = _Controls(gather, vertices, reach)
        # As wide as the worst served one is off: with all of them served, each has its own.
        width = np.asarray(KDTree(centre[shared]).query(centre[speck])[0]).max(initial=0.0)
        start, at, weight = _gaussian(centre[speck], centre[shared], width, _NEGLIGIBLE)
        among = sparse.csr_array((weight, at, start), shape=(len(speck), len(shared)))
        blend: Any = sparse.block_diag([sparse.eye_array(large), among], format="csr")
        row = np.argsort(np.r_[largest[:large], speck])
        self._blend: Any = _means(blend)[row[part]]
        self._points = points

    def placed(self, vertices: Floats) -> Floats:
        """The points (k, 3) where the vertices of the surface are now at ``vertices`` (n, 3)."""
        maps, mean = self._controls.maps(vertices)
        offset = mean - np.einsum("cij,cj->ci", maps, self._controls.rest_mean)
        turned = (self._blend @ maps.reshape(-1, 9)).reshape(-1, 3, 3)
        points: Floats = np.einsum("kij,kj->ki", turned, self._points) + self._blend @ offset
        return points

    def told(self, values: Floats) -> Floats:
        """Means (k,) of values of the vertices (n,) over what surrounds each point."""
        means: Floats = self._blend @ (self._controls.gather @ values)
        return means


class _Controls:
    """Similarities that best carry weighted vertices from one shape to others.

    Parameters
    ----------
    gather : (c, n) csr_array
        Weights of the vertices for each of them, with the sum one.
    rest : (n, 3) float64
        The one shape.
    radius : float or (c,) float64
        How far the weights reach, about.
    """

    def __init__(self, gather: Any, rest: Floats, radius: float | Floats) -> None:
        self.gather = gather
        self._rest = rest
        self.rest_mean, H = _moments(gather.indptr, gather.indices, gather.data, rest, rest)
        H -= self.rest_mean[:, :, None] * self.rest_mean[:, None, :]
        spread = np.trace(H, axis1=1, axis2=2)
        # A control that sees one vertex, or a few on a line, knows neither scale nor rotation.
        extent = np.linalg.svd(H, compute_uv=False)
        self._knows = extent[:, 1] > 1e-6 * np.square(radius)
        self._spread = np.where(self._knows, spread, 1.0)

    def maps(self, vertices: Floats) -> tuple[Floats, Floats]:
        """Rotations times scales (c, 3, 3), and weighted means (c, 3), of the present shape."""
        G = self.gather
        mean, H = _moments(G.indptr, G.indices, G.data, vertices, self._rest)
        H -= mean[:, :, None] * self.rest_mean[:, None, :]
        R, gain = best_rotations(np.where(self._knows[:, None, None], H, 0.0))
        scale = np.where(self._knows, gain / self._spread, 1.0)
        return scale[:, None, None] * R, mean


@kernel
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


@kernel
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


def farthest_points(points: Floats, count: int) -> Ints:
    """Indices of points spread by farthest-point sampling, from the one farthest off the mean.

    Where several are as far, as on both sides of a symmetric shape, their places in their own frame
    tell which one comes first, not their order.
    """
    chosen: Ints = _farthest_points(along(own_axes(points), points).T.copy(), count)
    return chosen


@kernel
def _farthest_points(points: Any, count: int) -> Any:
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
        if _precedes(points, i, d, last, best):
            last, best = i, d
    for k in range(count):
        chosen[k] = last
        x, y, z = points[last, 0], points[last, 1], points[last, 2]
        best = -1.0
        for i in range(n):
            d = (points[i, 0] - x) ** 2 + (points[i, 1] - y) ** 2 + (points[i, 2] - z) ** 2
            if d < nearest[i]:
                nearest[i] = d
            if _precedes(points, i, nearest[i], last, best):
                last, best = i, nearest[i]
    return chosen


@kernel
def _precedes(points: Any, i: int, d: float, last: int, best: float) -> bool:
    """Whether a point at distance ``d`` comes before the last one at distance ``best``."""
    if d <= best * (1.0 - _EQUAL):
        return False
    if d > best * (1.0 + _EQUAL):
        return True
    ahead = 0.0
    for axis in range(3):
        ahead += _ASKEW[axis] * (points[i, axis] - points[last, axis])
    return ahead > 0.0


def _around(vertices: Floats, centres: Floats, reach: Floats) -> sparse.csr_array:
    """Weights (c, n) with the sum one, Gaussian in how much farther off than the nearest one."""
    tree = KDTree(vertices)
    nearest = np.asarray(tree.query(centres)[0])
    limit = nearest + np.sqrt(-2.0 * np.log(_NEGLIGIBLE)) * reach
    found = tree.query_ball_point(centres, limit, return_sorted=True)
    start = np.cumsum([0, *map(len, found)])
    at = np.fromiter(chain.from_iterable(found), np.int64, start[-1])
    row = np.repeat(np.arange(len(centres)), np.diff(start))
    farther = np.linalg.norm(vertices[at] - centres[row], axis=1) - nearest[row]
    weight = np.exp(-0.5 * (farther / reach[row]) ** 2)
    return _means(sparse.csr_array((weight, at, start), shape=(len(centres), len(vertices))))


def _means(weights: sparse.csr_array) -> sparse.csr_array:
    """Rows scaled to a sum of one."""
    total = np.add.reduceat(weights.data, weights.indptr[:-1])
    data = weights.data / np.repeat(total, np.diff(weights.indptr))
    return sparse.csr_array((data, weights.indices, weights.indptr), shape=weights.shape)


@kernel
def _gaussian(points: Floats, centres: Floats, radius: float, least: float) -> Any:
    """Gaussian weights (n, m) that are not negligible, as compressed rows.

    A point out of reach of all centres takes after the nearest one.
    """
    limit = -2.0 * np.log(least) * radius * radius
    n, m = len(points), len(centres)
    start = np.zeros(n + 1, np.int32)
    at, weight = np.empty(4 * n + m, np.int32), np.empty(4 * n + m)
    cx, cy, cz = centres[:, 0].copy(), centres[:, 1].copy(), centres[:, 2].copy()
    squared = np.empty(m)
    count = 0
    for i in range(n):
        if count + m > len(at):
            at = np.concatenate((at, np.empty(len(at), np.int32)))
            weight = np.concatenate((weight, np.empty(len(weight))))
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        # All at once, then those within reach: one loop of both takes twice the time.
        for j in range(m):
            squared[j] = (x - cx[j]) ** 2 + (y - cy[j]) ** 2 + (z - cz[j]) ** 2
        for j in range(m):
            if squared[j] < limit:
                at[count], weight[count] = j, np.exp(-0.5 * squared[j] / (radius * radius))
                count += 1
        if count == start[i]:
            at[count], weight[count] = squared.argmin(), 1.0
            count += 1
        start[i + 1] = count
    return start, at[:count], weight[:count]
