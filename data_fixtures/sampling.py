"""Evenly spread domain points: the raw material of every mesh, template or scan."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, cKDTree

from .surface import EAR_ANGLE, MeanPoints, ear_poles, mean_points

Array = NDArray[np.float64]
Int = NDArray[np.int64]


def unit(v: Array) -> Array:
    """Rows of v at length 1."""
    return np.asarray(v / np.maximum(np.linalg.norm(v, axis=1), 1e-300)[:, None])


def fibonacci_sphere(n: int) -> Array:
    """Give n nearly even points of the unit sphere."""
    i = np.arange(n) + 0.5
    y = 1 - 2 * i / n
    r, a = np.sqrt(1 - y * y), np.pi * (1 + np.sqrt(5)) * i
    return np.stack([r * np.cos(a), y, r * np.sin(a)], 1)


def hull(domain: Array) -> Int:
    """Delaunay triangles of points of the unit sphere, counter-clockwise seen from outside."""
    f = ConvexHull(domain).simplices.astype(np.int64)
    a, b, c = domain[f[:, 0]], domain[f[:, 1]], domain[f[:, 2]]
    inwards = (np.cross(b - a, c - a) * a).sum(1) < 0
    f[inwards] = f[inwards][:, ::-1]
    return f


def face_areas(v: Array, f: Int) -> Array:
    """Areas of triangles."""
    return np.asarray(
        0.5 * np.linalg.norm(np.cross(v[f[:, 1]] - v[f[:, 0]], v[f[:, 2]] - v[f[:, 0]]), axis=1))


@dataclass(frozen=True)
class Coverage:
    """A fine irregular mesh of the whole mean head, openings not yet cut out."""

    domain: Array
    mean: MeanPoints
    faces: Int


@cache
def coverage(n: int = 24000) -> Coverage:
    """Mesh from which other samplings are drawn by area."""
    poles = ear_poles()
    head = fibonacci_sphere(n)
    parts = [head[(head @ poles.T < np.cos(EAR_ANGLE)).all(1)]]
    k = n // 5
    i = np.arange(k) + 0.5
    for pole in poles:  # logarithmic spirals: rings of the auricle shrink towards the canal
        angle, turn = EAR_ANGLE * np.exp(-4.6 * i / k), np.pi * (1 + np.sqrt(5)) * i
        t = unit(np.cross(pole, [[0.0, 1, 0]]))[0]
        ring = np.cos(turn)[:, None] * t + np.sin(turn)[:, None] * np.cross(pole, t)
        parts.append(np.cos(angle)[:, None] * pole + np.sin(angle)[:, None] * ring)
    domain = unit(np.concatenate(parts))
    faces = hull(domain)
    area = face_areas(mean_points(domain).position, faces)
    rng = np.random.default_rng(0)
    domain = unit(np.concatenate([domain, scatter(n, area, domain, faces, rng)]))
    return Coverage(domain, mean_points(domain), hull(domain))


def scatter(n: int, weights: Array, values: Array, faces: Int, rng: np.random.Generator) -> Array:
    """Values at n random points of a mesh, as many on each face as its weight asks for."""
    level = np.cumsum(weights)
    face = np.searchsorted(level, (np.arange(n) + rng.random(n)) * (level[-1] / n))
    corner = faces[np.minimum(face, len(faces) - 1)]
    b = rng.random((n, 2))
    b = np.where((b.sum(1) > 1)[:, None], 1 - b, b)
    return np.asarray(values[corner[:, 0]] * (1 - b.sum(1))[:, None]
                      + values[corner[:, 1]] * b[:, :1] + values[corner[:, 2]] * b[:, 1:])


def spread(candidates: Array, weights: Array, n: int, fixed: Array, iterations: int) -> Array:
    """Pick n evenly spread points among the candidates (Lloyd's algorithm).

    Parameters
    ----------
    candidates : (m, k) float64
        Points in a space where distance means unlikeness.
    weights : (m,) float64
        Larger where points should stand closer.
    n : int
        Number of points wanted.
    fixed : (f, k) float64
        Points that exist already and keep others away.
    iterations : int
        Rounds of moving each point to the middle of the candidates nearest to it.

    Returns
    -------
    (n, k) float64
    """
    points = candidates[((np.arange(n) + 0.5) * (len(candidates) / n)).astype(int)]
    for _ in range(iterations):
        tree = cKDTree(np.concatenate([points, fixed]), balanced_tree=False, compact_nodes=False)
        nearest = tree.query(candidates)[1]
        total = np.bincount(nearest, weights, n + len(fixed))[:n]
        sums = np.stack([np.bincount(nearest, weights * c, n + len(fixed))[:n]
                         for c in candidates.T], 1)
        points = np.where((total > 0)[:, None], sums / np.maximum(total, 1e-300)[:, None], points)
    return np.asarray(points)


def edges(f: Int, n: int) -> tuple[Int, Int]:
    """Interior edges of a manifold mesh.

    Returns
    -------
    corners : (e, 4) int64
        Both ends of each edge and the two vertices facing it.
    faces : (e, 2) int64
        The two faces beside it: (start, end, third) and (end, start, fourth), up to rotation.
    """
    start, end, third = f.T.ravel(), np.roll(f, -1, 1).T.ravel(), np.roll(f, -2, 1).T.ravel()
    face = np.tile(np.arange(len(f)), 3)
    order = np.argsort(np.minimum(start, end) * n + np.maximum(start, end), kind="stable")
    key = (np.minimum(start, end) * n + np.maximum(start, end))[order]
    first = np.flatnonzero(key[1:] == key[:-1])
    a, b = order[first], order[first + 1]
    return np.stack([start[a], end[a], third[a], third[b]], 1), np.stack([face[a], face[b]], 1)


def flip(v: Array, f: Int, rounds: int = 40, apart: int = 0) -> Int:
    """Flip edges until the triangles are well shaped in space (intrinsic Delaunay).

    No interior edge will join two of the first `apart` vertices.
    """
    f, n = f.copy(), len(v)
    moved = np.ones(n, bool)

    def corner(at: Int, p: Int, q: Int) -> Array:
        s, t = v[p] - v[at], v[q] - v[at]
        return np.asarray(np.arctan2(np.linalg.norm(np.cross(s, t), axis=1), (s * t).sum(1)))

    for _ in range(rounds):
        near = np.flatnonzero(moved[f].any(1))
        corners, faces = edges(f[near], n)
        faces = near[faces]
        a, b, c, d = corners.T
        excess = corner(c, a, b) + corner(d, a, b) - np.pi
        excess = np.where((a < apart) & (b < apart), np.inf, excess)
        excess = np.where((c < apart) & (d < apart), -np.inf, excess)
        wanted = np.flatnonzero(excess > 1e-6)
        wanted = wanted[np.argsort(-excess[wanted], kind="stable")]
        a, b, c, d = corners[wanted].T
        old = np.cross(v[b] - v[a], v[c] - v[a]) + np.cross(v[a] - v[b], v[d] - v[b])
        one, two = np.cross(v[d] - v[a], v[c] - v[a]), np.cross(v[b] - v[d], v[c] - v[d])
        fits = ((one * old).sum(1) > 0) & ((two * old).sum(1) > 0) & ((one * two).sum(1) > 0)
        fits |= (a < apart) & (b < apart)
        keys = np.minimum(f, np.roll(f, -1, 1)) * n + np.maximum(f, np.roll(f, -1, 1))
        fits &= ~np.isin(np.minimum(c, d) * n + np.maximum(c, d), keys)
        wanted = wanted[fits]
        if not len(wanted):
            break
        best = np.full(len(f), len(wanted))
        rank = np.arange(len(wanted))
        np.minimum.at(best, faces[wanted], rank[:, None])
        now = wanted[(best[faces[wanted]] == rank[:, None]).all(1)]
        a, b, c, d = corners[now].T
        f[faces[now, 0]] = np.stack([a, d, c], 1)
        f[faces[now, 1]] = np.stack([d, b, c], 1)
        moved = np.zeros(n, bool)
        moved[corners[wanted]] = True
    return f
