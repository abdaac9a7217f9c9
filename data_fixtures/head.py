"""A family of human-like heads with exact dense correspondence, made of formulas alone.

No scan, data set or model of anybody went into it: see :mod:`data_fixtures.sculpt` for the mean
head, :mod:`data_fixtures.surface` for its parametrisation and :mod:`data_fixtures.identity` for how
heads differ. Units are millimetres; x points to the subject's left, y up, z forward.

>>> import numpy as np
>>> vertices = head({"nose_length": 2.0}, resolution=1000)
>>> vertices.shape == template(1000).vertices.shape
True
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from .identity import EXPRESSION, IDENTITY, displace
from .layout import Layout, layout
from .sampling import fibonacci_sphere, hull
from .sculpt import CANTHI, CHEILION, EYE, lid_lines, mouth_line, smoothstep, vermilion
from .surface import (
    NECK_AXIS,
    MeanPoints,
    eyeball,
    frontal,
    mean_points,
    neck_angle,
    to_domain,
)

__all__ = ["EXPRESSION", "IDENTITY", "Template", "head", "landmark_positions", "random_expression",
           "random_identity", "surface", "template", "texture_coordinates"]

Array = NDArray[np.float64]
Int = NDArray[np.int64]
Coefficients = Mapping[str, float] | ArrayLike | None

_JAW = np.array([[0, -99, 83], [16, -97, 77], [31, -91, 64], [45, -82, 48], [55, -70, 34],
                 [63, -52, 24], [68, -32, 18], [70, -14, 14], [71, 4, 12]], float)
_BROW = np.array([[8, 35], [16, 41], [26, 43.5], [37, 42], [48, 35]], float)
_NOSE = np.array([[0, 22], [0, 9.5], [0, -3], [0, -14]], float)
_NOSE_BASE = np.array([[0, -29], [7, -28], [14, -25]], float)
_BLOCK = 8192


@dataclass(frozen=True)
class Template:
    """The mean head as a mesh, with everything that is known about its vertices.

    Attributes
    ----------
    vertices : (n, 3) float64
        Mean head, mm.
    faces : (m, 3) int64
    uv : (n, 2) float64
        Texture coordinates in [0, 1], no seam.
    landmarks : (68,) int64
        Vertices in the order of iBUG-68 (jaw from the subject's right ear to the left).
    regions : dict of str to int64 array
        Named vertex subsets; they may overlap.
    curves : dict of str to int64 array
        Feature curves as vertices in order.
    mirror : (n,) int64
        The vertex on the other side of each vertex.
    """

    vertices: Array
    faces: Int
    uv: Array
    landmarks: Int
    regions: dict[str, Int]
    curves: dict[str, Int]
    mirror: Int


def coefficients(names: tuple[str, ...], values: Coefficients) -> Array:
    """Parameters as an array, whichever way they were given."""
    if values is None:
        return np.zeros(len(names))
    if isinstance(values, Mapping):
        unknown = set(values) - set(names)
        if unknown:
            raise ValueError(f"unknown parameters {sorted(unknown)}; known are {list(names)}")
        return np.array([float(values.get(name, 0.0)) for name in names])
    result = np.asarray(values, float)
    if result.shape != (len(names),):
        raise ValueError(f"need {len(names)} values, got an array of shape {result.shape}")
    return result


def random_identity(rng: np.random.Generator) -> Array:
    """Identity parameters ~ N(0, 1), cut off at 2.5."""
    return np.clip(rng.standard_normal(len(IDENTITY)), -2.5, 2.5)


def random_expression(rng: np.random.Generator) -> Array:
    """A mild random expression."""
    return rng.uniform(0, 1, len(EXPRESSION)) * [0.3, 0.8, 0.8]


def surface(domain: Array, identity: Coefficients = None, expression: Coefficients = None) -> Array:
    """Points of any head at any domain points.

    Parameters
    ----------
    domain : (n, 3) float64
        Unit vectors.
    identity : mapping of names to numbers, or (48,) array, optional
        In standard deviations; see IDENTITY.
    expression : mapping of names to numbers, or (3,) array, optional
        From 0 to 1; see EXPRESSION.

    Returns
    -------
    (n, 3) float64, mm
    """
    return deform(mean_points(domain), identity, expression)


def deform(mean: MeanPoints, identity: Coefficients, expression: Coefficients) -> Array:
    """Move points of the mean head to another head (blockwise, to save memory)."""
    i, e = coefficients(IDENTITY, identity), coefficients(EXPRESSION, expression)
    return np.concatenate([displace(mean.part(slice(k, k + _BLOCK)), i, e)
                           for k in range(0, len(mean.position), _BLOCK)])


@dataclass(frozen=True)
class _Model:
    layout: Layout
    mean: MeanPoints


@cache
def _model(resolution: int) -> _Model:
    plan = layout(resolution)
    return _Model(plan, mean_points(plan.domain))


@cache
def _eyes(resolution: int) -> tuple[Array, Int]:
    """Directions and faces of one eyeball."""
    directions = fibonacci_sphere(max(60, resolution // 40))
    return directions, hull(directions)


def head(identity: Coefficients = None, expression: Coefficients = None, resolution: int = 5000,
         eyeballs: bool = False) -> Array:
    """Vertices of one head, in the template's order.

    Parameters
    ----------
    identity : mapping of names to numbers, or (48,) array, optional
        In standard deviations; see IDENTITY. None is the mean head.
    expression : mapping of names to numbers, or (3,) array, optional
        From 0 (neutral) to 1; see EXPRESSION.
    resolution : int
        About how many vertices the head has, from 1000 to 45,000.
    eyeballs : bool
        Append the left and the right eyeball, as components of their own.

    Returns
    -------
    (n, 3) float64, mm
    """
    i, e = coefficients(IDENTITY, identity), coefficients(EXPRESSION, expression)
    vertices = deform(_model(resolution).mean, i, e)
    if not eyeballs:
        return vertices
    front = EYE + np.array([0.0, 0, 13])
    both = np.stack([front, front * [-1, 1, 1]])
    zero, no = np.zeros(2), np.zeros(2, bool)
    shift = deform(MeanPoints(both, zero, zero, no, no), i, e) - both
    directions = _eyes(resolution)[0]
    balls = [eyeball(directions, side) + d for side, d in zip((1, -1), shift, strict=True)]
    return np.concatenate([vertices, *balls])


def _marks() -> Array:
    """Mean positions of the 68 landmarks, before lips and lids are rolled in."""
    def front(xy: ArrayLike) -> Array:
        return frontal(*np.asarray(xy, float).T)

    def both(left: Array) -> Array:  # from the subject's right to the left, middle shared
        return np.concatenate([left[:0:-1] * [-1, 1, 1], left])

    def mirrored(right_to_left: Array, order: list[int]) -> Array:
        return np.concatenate([right_to_left[order] * [-1, 1, 1], right_to_left])

    x = CANTHI[0] + (CANTHI[1] - CANTHI[0]) * np.array([0, 0.33, 0.67, 1, 0.67, 0.33])
    low, up = lid_lines(x)
    eye = front(np.stack([x, np.where(np.arange(6) < 4, up, low)], 1))
    outer = np.array([0, 6.5, 15.5])
    red_low, red_up = vermilion(outer)
    inner = np.array([0, 11.0])
    corner = front([[CHEILION + 1.5, float(mouth_line(np.array(CHEILION + 1.5)))]])
    inside = front([[CHEILION, float(mouth_line(np.array(CHEILION)))]])
    upper = both(front(np.stack([outer, mouth_line(outer) + red_up], 1)))
    lower = both(front(np.stack([outer, mouth_line(outer) - red_low], 1)))[::-1]
    upper_in = both(front(np.stack([inner, mouth_line(inner) + 2.4], 1)))
    lower_in = both(front(np.stack([inner, mouth_line(inner) - 2.4], 1)))[::-1]
    flip = np.array([-1.0, 1, 1])
    return np.concatenate([
        both(_JAW), mirrored(front(_BROW), [4, 3, 2, 1, 0]), front(_NOSE), both(front(_NOSE_BASE)),
        mirrored(eye, [3, 2, 1, 0, 5, 4]),
        corner * flip, upper, corner, lower, inside * flip, upper_in, inside, lower_in])


@cache
def landmark_domain() -> Array:
    """Domain points of the 68 landmarks."""
    return to_domain(_marks())


def landmark_positions(identity: Coefficients = None, expression: Coefficients = None) -> Array:
    """(68, 3) exact places of the landmarks, which need not be vertices."""
    return surface(landmark_domain(), identity, expression)


def _landmarks(model: _Model) -> Int:
    """The vertex nearest to each landmark, on the right border where there is one."""
    p, curves = model.mean.position, model.layout.curves
    target = mean_points(landmark_domain()).position
    lips = np.r_[curves["upper_lip_inner"], curves["lower_lip_inner"]]
    pools = [np.setdiff1d(np.arange(len(p)), lips)] * 68
    for side, start, ids in (("right", 36, (36, 37, 38, 39)), ("left", 42, (42, 43, 44, 45))):
        for k in range(start, start + 6):
            pools[k] = curves[f"{'upper' if k in ids else 'lower'}_lid_{side}"]
    for k in range(60, 65):
        pools[k] = curves["upper_lip_inner"]
    for k in range(65, 68):
        pools[k] = curves["lower_lip_inner"]
    return np.array([pool[np.argmin(((p[pool] - t) ** 2).sum(1))]
                     for pool, t in zip(pools, target, strict=True)])


def texture_coordinates(domain: Array) -> Array:
    """Map the whole head without a seam.

    The crown is in the middle, the face below it, the neck round the edge; the face is enlarged.
    """
    psi = np.pi - neck_angle(domain)
    r = np.interp(psi, np.deg2rad([0, 60, 130, 158, 180]), [0, 0.14, 0.41, 0.47, 0.495])
    a = np.arctan2(domain[:, 0], domain @ np.cross(NECK_AXIS, [1.0, 0, 0]))
    a = a + 0.55 * np.sin(a)
    return np.stack([0.5 + r * np.sin(a), 0.5 - r * np.cos(a)], 1)


def eyeball_coordinates(directions: Array) -> Array:
    """Texture coordinates of an eyeball, in a corner which the head leaves free."""
    return np.asarray(0.07 + 0.06 * directions[:, :2])


def edge_path(vertices: Array, faces: Int, stops: Int) -> Int:
    """Shortest way along edges through the given vertices."""
    a, b = faces.ravel(), np.roll(faces, -1, 1).ravel()
    length = np.linalg.norm(vertices[a] - vertices[b], axis=1)
    graph = coo_array((length, (a, b)), shape=(len(vertices),) * 2).tocsr()
    graph = graph.maximum(graph.T)
    _, before = dijkstra(graph, indices=stops, return_predecessors=True)
    way = [int(stops[0])]
    for k in range(len(stops) - 1):
        leg, at = [], int(stops[k + 1])
        while at != stops[k]:
            leg.append(at)
            at = int(before[k, at])
        way += leg[::-1]
    return np.array(way)


def _regions(model: _Model) -> dict[str, Int]:
    p, ear = model.mean.position, model.mean.ear
    x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
    auricle = ear > 0.5
    face = (z > 20 + 0.35 * np.maximum(x - 30, 0)) & (y < 48) & (y > -100) & ~auricle
    neck = (y < -60 - 0.55 * np.maximum(z + 20, 0)) & ~face
    near_eye = (np.hypot((x - EYE[0]) / 21, (y - EYE[1]) / 14) < 1) & (z > 55)
    lower_red, upper_red = vermilion(x)
    s = y - mouth_line(x)
    lips = (x < CHEILION + 2) & (s < upper_red + 1) & (s > -lower_red - 1) & (z > 70)
    above = y > np.mean(lid_lines(x), axis=0)
    masks = {
        "face": face, "neck": neck, "ears": auricle,
        "ear_left": auricle & (p[:, 0] > 0), "ear_right": auricle & (p[:, 0] < 0),
        "cranium": ~(face | neck | auricle),
        "eyes": near_eye, "eye_left": near_eye & (p[:, 0] > 0),
        "eye_right": near_eye & (p[:, 0] < 0),
        "nose": (y < 24) & (y > -30) & (x < 8 + 14 * smoothstep(-y, -20, 14)) & (z > 78),
        "lips": lips, "lip_upper": lips & (s > 0), "lip_lower": lips & (s <= 0),
        "under_chin": (y < -75) & (y > -140) & (z > 5) & (z < 92 + 0.6 * (y + 75)) & (x < 60),
        "lids_upper": near_eye & above, "lids_lower": near_eye & ~above,
    }
    return {name: np.flatnonzero(mask) for name, mask in masks.items()}


@cache
def template(resolution: int = 5000, eyeballs: bool = False) -> Template:
    """The mean head with faces, texture coordinates, landmarks, regions and feature curves.

    Parameters
    ----------
    resolution : int
        About how many vertices the head has, from 1000 to 45,000.
    eyeballs : bool
        Append both eyeballs as components of their own (region "eyeballs").
    """
    model = _model(resolution)
    plan, p = model.layout, model.mean.position
    landmarks, curves, regions = _landmarks(model), dict(plan.curves), _regions(model)
    curves["jaw"] = edge_path(p, plan.faces, landmarks[:17])
    for side, ids in (("right", slice(17, 22)), ("left", slice(22, 27))):
        curves[f"brow_{side}"] = edge_path(p, plan.faces, landmarks[ids])
    faces, uv, mirror = plan.faces, texture_coordinates(plan.domain), plan.mirror
    if eyeballs:
        directions, ball = _eyes(resolution)
        n, k = len(p), len(directions)
        faces = np.concatenate([faces, ball + n, ball + n + k])
        uv = np.concatenate([uv, *[eyeball_coordinates(directions)] * 2])
        regions["eyeballs"] = np.arange(n, n + 2 * k)
        mirror = np.r_[mirror, np.arange(n, n + 2 * k)]
    return Template(head(None, None, resolution, eyeballs), faces, uv, landmarks, regions, curves,
                    mirror)
