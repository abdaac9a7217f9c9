"""The template's triangulation of the domain: symmetric, edges along lids, lips and midline."""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from matplotlib.path import Path as Polygon
from numpy.typing import NDArray
from scipy.spatial import Delaunay, cKDTree

from .sampling import coverage, face_areas, flip, scatter, spread, unit
from .sculpt import CANTHI, CHEILION, EYE, lid_lines, mouth_line, smoothstep, vermilion
from .surface import (
    NECK_ANGLE,
    NECK_AXIS,
    frontal,
    helix,
    lip_gap,
    mean_points,
    neck_angle,
    to_domain,
)

Array = NDArray[np.float64]
Int = NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """Domain points and triangles of the template.

    Attributes
    ----------
    domain : (n, 3) float64
        Unit vectors: first the midline, then the left half, then the right half.
    faces : (m, 3) int64
    mirror : (n,) int64
        The vertex on the other side of each vertex.
    curves : dict of str to (k,) int64
        Vertices in order along the midline, the borders, the red of the lips and the helix.
    """

    domain: Array
    faces: Int
    mirror: Int
    curves: dict[str, Int]


def _spacing(domain: Array, p: Array) -> Array:
    """Edge length wanted at points of the mean head, relative."""
    x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
    face = smoothstep(z, 20, 75) * smoothstep(-y, -75, -35) * (1 - smoothstep(-y, 90, 125))
    eye = np.exp(-0.5 * (((x - EYE[0]) / 20) ** 2 + ((y - EYE[1]) / 12) ** 2)) * smoothstep(
        z, 40, 60)
    mouth = np.exp(-0.5 * ((x / 26) ** 2 + ((y + 48) / 11) ** 2)) * smoothstep(z, 40, 60)
    nose = np.exp(-0.5 * ((x / 16) ** 2 + ((y + 20) / 12) ** 2)) * smoothstep(z, 70, 90)
    ear = np.exp(-0.5 * (((y + 1) / 24) ** 2 + ((z + 14) / 20) ** 2)) * smoothstep(x, 62, 74)
    h = 1.9 - 0.9 * face
    for place, fine in ((eye, 0.42), (mouth, 0.42), (nose, 0.55), (ear, 0.5)):
        h = h + place * (fine - h)
    return np.asarray(h)


def _divide(curve: Array, scale: float) -> Array:
    """Where to cut a dense domain curve (as fractional indices), both ends kept."""
    p = mean_points(curve).position
    h = _spacing(curve, p) * scale
    step = np.linalg.norm(np.diff(p, axis=0), axis=1) / (0.5 * (h[1:] + h[:-1]))
    at = np.r_[0, np.cumsum(step)]
    want = np.linspace(0, at[-1], max(3, round(at[-1])) + 1)
    return np.interp(want, at, np.arange(len(curve)))


def _cut(curve: Array, at: Array) -> Array:
    return unit(np.stack([np.interp(at, np.arange(len(curve)), c) for c in curve.T], 1))


def _encroach(q: Array, start: Array, end: Array) -> NDArray[np.bool_]:
    """Points inside the circle over one of the segments; without them no edge can cross it."""
    middle, radius = (start + end) / 2, np.linalg.norm(end - start, axis=1) / 2
    distance, nearest = cKDTree(middle).query(q, min(6, len(middle)))
    return np.asarray((distance < 1.02 * radius[nearest]).any(1))


def _in_front(x: Array, y: Array) -> Array:
    return to_domain(frontal(x, y))


def _boundary() -> dict[str, Array]:
    """Dense curves of the left half, each from its first to its last corner."""
    t = 0.5 - 0.5 * np.cos(np.linspace(0, np.pi, 240))
    x = CANTHI[0] + (CANTHI[1] - CANTHI[0]) * t
    low, up = lid_lines(x)
    lip = CHEILION * np.sin(np.linspace(0, np.pi / 2, 240))
    gap, line = lip_gap(lip)[0], mouth_line(lip)
    upper, lower = _in_front(lip, line + gap), _in_front(lip, line - gap)
    upper[-1] = lower[-1]
    front = np.cross(NECK_AXIS, [1.0, 0, 0])

    def rim(azimuth: Array) -> Array:
        around = np.cos(azimuth)[:, None] * front + np.sin(azimuth)[:, None] * [1.0, 0, 0]
        return np.asarray(np.cos(NECK_ANGLE) * NECK_AXIS + np.sin(NECK_ANGLE) * around)

    def midline(start: Array, end: Array) -> Array:
        a, b = (np.arctan2(q @ front, q @ NECK_AXIS) % (2 * np.pi) for q in (start, end))
        angle = np.linspace(a, b, 1500)
        return np.asarray(np.cos(angle)[:, None] * NECK_AXIS + np.sin(angle)[:, None] * front)

    red = 0.76 * CHEILION * np.linspace(0, 1, 200)
    lower_red, upper_red = vermilion(red)
    neck = rim(np.linspace(0, np.pi, 400))
    over = _in_front(red, mouth_line(red) + upper_red)
    under = _in_front(red, mouth_line(red) - lower_red)
    neck[[0, -1], 0] = 0
    upper[0, 0] = lower[0, 0] = 0
    return {"upper_lid": _in_front(x, up), "lower_lid": _in_front(x, low),
            "upper_lip": unit(upper), "lower_lip": unit(lower), "neck": neck,
            "upper_red": over, "lower_red": under, "helix": helix(),
            "midline_chin": midline(neck[0], under[0]),
            "midline_lower_lip": midline(under[0], lower[0]),
            "midline_upper_lip": midline(upper[0], over[0]),
            "midline_face": midline(over[0], neck[-1])}


def _flat(domain: Array) -> Array:
    """Stereographic picture of the left half."""
    return np.asarray(domain[:, 1:] / (1 + domain[:, :1]))


@cache
def layout(resolution: int) -> Layout:
    """The template layout with about `resolution` vertices."""
    whole = coverage()
    p, d = whole.mean.position, whole.domain
    keep = ((d[:, 0] > 0) & (neck_angle(d) > NECK_ANGLE) & ~whole.mean.mouth & ~whole.mean.eye)
    count = keep[whole.faces].sum(1)
    faces = whole.faces[count > 0]
    h = _spacing(d, p)
    wanted = face_areas(p, faces) / h[faces].mean(1) ** 2
    total = wanted @ count[count > 0] / 3
    scale = float(np.sqrt(2 * total / (resolution * np.sqrt(3) / 2)))

    dense = _boundary()
    at = {name: _divide(c, scale) for name, c in dense.items()}
    for part in ("lid", "lip"):  # opposite borders in step, so that no edge can cross them
        at[f"lower_{part}"] = at[f"upper_{part}"]
    curve = {name: _cut(c, at[name]) for name, c in dense.items()}
    for part in ("upper", "lower"):
        lip, red = _flat(curve[f"{part}_lip"]), curve[f"{part}_red"]
        free = ~_encroach(_flat(red), lip[:-1], lip[1:])
        free[0] = True
        curve[f"{part}_red"] = red[free]
    middle = np.concatenate([curve["midline_chin"], curve["midline_lower_lip"][1:],
                             curve["midline_upper_lip"], curve["midline_face"][1:]])
    middle[:, 0] = 0
    loops = [curve["upper_lid"], curve["lower_lid"][1:-1], curve["upper_lip"][1:],
             curve["lower_lip"][1:-1], curve["neck"][1:-1],
             curve["upper_red"][1:], curve["lower_red"][1:], curve["helix"][:-1]]
    fixed = np.concatenate([middle, *loops])
    m = len(middle)
    start = np.cumsum([m, *map(len, loops)])
    up_lid, low_lid, up_lip, low_lip, neck, up_red, low_red, rim = (
        np.arange(a, b) for a, b in pairwise(start))
    under, low = np.cumsum([len(curve["midline_chin"]) - 1, len(curve["midline_lower_lip"])])
    over = low + len(curve["midline_upper_lip"]) - 1
    up_lip, corner = np.r_[low, up_lip], up_lip[-1]
    low_lip = np.r_[low - 1, low_lip, corner]
    neck = np.r_[0, neck, m - 1]
    low_lid = np.r_[up_lid[0], low_lid, up_lid[-1]]
    up_red, low_red = np.r_[over, up_red], np.r_[under, low_red]
    rim = np.r_[rim, rim[0]]
    outline = np.r_[np.arange(low), low_lip[1:], up_lip[-2::-1], np.arange(low + 1, m),
                    neck[-2:0:-1]]
    eye = np.r_[up_lid, low_lid[-2:0:-1]]

    def on_skin(q: Array) -> NDArray[np.bool_]:
        inside = Polygon(_flat(fixed)[outline]).contains_points(q)
        return np.asarray(inside & ~Polygon(_flat(fixed)[eye]).contains_points(q))

    n = max((resolution - m) // 2 - (len(fixed) - m), 0)
    rng = np.random.default_rng(5)
    values = np.concatenate([d, p, h[:, None] ** -2], 1)
    sample = scatter(max(14 * n, 20000), wanted, values, faces, rng)
    sample = sample[on_skin(_flat(unit(sample[:, :3])))]
    place = np.concatenate([fixed, mean_points(fixed).position], 1)

    def space(q: Array) -> Array:  # the domain part keeps the two sides of the ear apart
        return np.concatenate([40 * q[:, :3], q[:, 3:6]], 1)

    inner = unit(spread(space(sample), sample[:, 6], n, space(place), 18)[:, :3])
    chains = [np.arange(low), np.arange(low, m), up_lid, low_lid, up_lip, low_lip, neck,
              up_red, low_red, rim]
    start, end = (np.concatenate([c[a:b] for c in chains]) for a, b in ((0, -1), (1, None)))
    flat = _flat(fixed)
    fine = on_skin(_flat(inner)) & ~_encroach(_flat(inner), flat[start], flat[end])
    domain = np.concatenate([fixed, inner[fine]])
    flat = _flat(domain)
    triangles = Delaunay(flat).simplices.astype(np.int64)
    a, b, c = flat[triangles[:, 0]], flat[triangles[:, 1]], flat[triangles[:, 2]]
    turn = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    triangles[turn < 0] = triangles[turn < 0][:, ::-1]
    half = flip(mean_points(domain).position, triangles[on_skin((a + b + c) / 3)], apart=m)

    n = len(domain)
    other = np.r_[np.arange(m), np.arange(n, 2 * n - m)]
    named = {"midline_low": np.arange(low), "midline_high": np.arange(low, m)}
    for name, chain in (("upper_lid", up_lid), ("lower_lid", low_lid), ("helix", rim)):
        named[f"{name}_left"], named[f"{name}_right"] = chain, other[chain]
    for name, chain in (("upper_lip_inner", up_lip), ("lower_lip_inner", low_lip),
                        ("upper_lip_outer", up_red), ("lower_lip_outer", low_red)):
        named[name] = np.r_[other[chain[:0:-1]], chain]
    named["neck_border"] = np.r_[neck, other[neck[-2:0:-1]]]
    return Layout(np.concatenate([domain, domain[m:] * [-1, 1, 1]]),
                  np.concatenate([half, other[half][:, ::-1]]),
                  np.r_[other, np.arange(m, n)], named)
