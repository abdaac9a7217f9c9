"""From the unit sphere to the skin: the parametrisation of the mean head.

A point of the unit sphere (the *domain*) is mapped to a ray from a centre behind the eyes, and the
ray to the place where it leaves the implicit head of :mod:`data_fixtures.sculpt`. Discs of the
domain are mapped to auricles instead, and lips, lids and nostrils are rolled inwards. The domain
carries all correspondence: every mesh of a head, template or scan, is a set of domain points.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, PchipInterpolator, RectBivariateSpline

from .sculpt import (
    CANTHI,
    CHEILION,
    EYE,
    EYE_RADIUS,
    implicit,
    lid_lines,
    mouth_line,
    smoothstep,
)

Array = NDArray[np.float64]
Bool = NDArray[np.bool_]

CENTRE = np.array([0.0, 25.0, 0.0])
"""Where all rays start."""
NECK_AXIS = np.array([0.0, -200.0, -30.0]) / np.hypot(200.0, 30.0)
NECK_ANGLE = np.deg2rad(22.0)
"""The template ends on the domain circle of this angle round NECK_AXIS."""
EAR_ANGLE = 0.42
"""Radius of the domain disc that becomes an auricle, radians."""

_ANGLES = np.deg2rad(np.array([[0, 0], [22, 14.6], [45, 20], [62, 30], [80, 48], [100, 75],
                               [120, 104], [150, 143], [180, 180]]))
_BLOCK = 4096


@dataclass(frozen=True)
class MeanPoints:
    """Points of the mean head and where they belong.

    Attributes
    ----------
    position : (n, 3) float64
        Position on the mean head, mm.
    ear : (n,) float64
        1 on the auricles, 0 on the head, smooth between.
    lower : (n,) float64
        1 on the lower lip and the jaw, 0 above the mouth; jumps across the open mouth.
    mouth, eye : (n,) bool
        True between the lips and between the lids. Templates have holes there; for scans, the
        bottom of the furrow between closed lips, and the eyeball.
    """

    position: Array
    ear: Array
    lower: Array
    mouth: Bool
    eye: Bool

    def part(self, rows: slice | NDArray[np.int64]) -> "MeanPoints":
        """Some of the points."""
        return MeanPoints(self.position[rows], self.ear[rows], self.lower[rows], self.mouth[rows],
                          self.eye[rows])


def _root(start: Array, direction: Array, low: float, high: float) -> Array:
    """Distance along each ray at which the implicit head changes from inside to outside."""
    result = np.empty(len(start))
    for block in range(0, len(start), _BLOCK):
        o, d = start[block:block + _BLOCK], direction[block:block + _BLOCK]
        a, b = np.full(len(o), low), np.full(len(o), high)
        fa, fb = implicit(o + a[:, None] * d), implicit(o + b[:, None] * d)
        best, active = a.copy(), np.arange(len(o))
        for _ in range(60):  # Illinois variant of regula falsi
            t = b - fb * (b - a) / np.where(fb == fa, 1.0, fb - fa)
            f = implicit(o[active] + t[:, None] * d[active])
            best[active] = t
            go = (np.abs(f) > 1e-7) & (np.abs(b - a) > 1e-9)
            other = f * fb < 0
            fa = np.where(other, fb, fa * 0.5)
            a = np.where(other, b, a)
            active, a, fa, b, fb = active[go], a[go], fa[go], t[go], f[go]
            if not len(active):
                break
        result[block:block + _BLOCK] = best
    return result


@cache
def _spread_neck() -> PchipInterpolator:
    return PchipInterpolator(*_ANGLES.T)


def _azimuth(d: Array) -> Array:
    """Angle round the neck axis, 0 in front."""
    return np.asarray(np.arctan2(d[:, 0], d @ np.cross(NECK_AXIS, [1.0, 0, 0])))


@cache
def _neck_rim() -> CubicSpline:
    """Angle between the neck axis and the ray to a level cut through the neck, by azimuth."""
    around = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    level = np.stack([np.sin(around), -0.15 * np.cos(around), np.cos(around)], 1)
    start = np.broadcast_to([0.0, -164.0, -28.0], level.shape)
    ray = start + _root(start, level, 5.0, 150.0)[:, None] * level - CENTRE
    azimuth = _azimuth(ray) % (2 * np.pi)
    angle = np.arctan2(np.linalg.norm(np.cross(ray, NECK_AXIS), axis=1), ray @ NECK_AXIS)
    order = np.argsort(azimuth)
    azimuth, angle = azimuth[order], angle[order]
    return CubicSpline(np.r_[azimuth, azimuth[0] + 2 * np.pi], np.r_[angle, angle[0]],
                       bc_type="periodic")


def _to_ray(psi: Array, azimuth: Array) -> Array:
    """Ray angle of a domain angle: the neck is spread out, and cut level."""
    even = _spread_neck()(psi)
    border = float(_spread_neck()(NECK_ANGLE))
    pull = _neck_rim()(azimuth % (2 * np.pi)) / border - 1
    return np.asarray(even * (1 + pull * (1 - smoothstep(even, 0.9 * border, 0.75))))


def _from_ray(psi: Array, azimuth: Array) -> Array:
    """Inverse of _to_ray by bisection."""
    low, high = np.zeros_like(psi), np.full_like(psi, np.pi)
    for _ in range(45):
        middle = (low + high) / 2
        less = _to_ray(middle, azimuth) < psi
        low, high = np.where(less, middle, low), np.where(less, high, middle)
    return (low + high) / 2


def _turn(d: Array, angles: Callable[[Array, Array], Array]) -> Array:
    """Change the angle to the neck axis, keep the azimuth."""
    cosine = np.clip(d @ NECK_AXIS, -1, 1)
    side = d - cosine[:, None] * NECK_AXIS
    length = np.linalg.norm(side, axis=1)
    psi = angles(np.arctan2(length, cosine), _azimuth(d))
    aside = side * (np.sin(psi) / np.maximum(length, 1e-12))[:, None]
    return np.asarray(np.cos(psi)[:, None] * NECK_AXIS + aside)


def to_domain(positions: Array) -> Array:
    """Domain points whose rays pass through the given positions."""
    ray = positions - CENTRE
    ray /= np.linalg.norm(ray, axis=1)[:, None]
    return _turn(ray, _from_ray)


def neck_angle(domain: Array) -> Array:
    """Angle of domain points to the neck axis, radians."""
    return np.asarray(np.arccos(np.clip(domain @ NECK_AXIS, -1, 1)))


def _cast(domain: Array) -> Array:
    """Where rays leave the head; below the end of the neck, a sweep over the shoulders."""
    beyond = np.maximum(1 - neck_angle(domain) / NECK_ANGLE, 0)
    ray = _turn(domain, lambda psi, a: _to_ray(np.maximum(psi, NECK_ANGLE), a))
    start = np.broadcast_to(CENTRE, ray.shape)
    p = CENTRE + _root(start, ray, 15.0, 300.0)[:, None] * ray
    out = p[:, [0, 2]] - [0, -28]
    p[:, [0, 2]] += (beyond**2)[:, None] * out * [2.2, 0.7]
    p[:, 1] -= 22 * beyond + 38 * beyond**2
    return p


def frontal(x: Array, y: Array) -> Array:
    """Points of the skin (before lips and lids are rolled in) straight behind (x, y)."""
    start = np.stack([x, y, np.full_like(x, 10.0)], 1)
    z = _root(start, np.broadcast_to([0.0, 0, 1], start.shape), 0.0, 160.0)
    return start + z[:, None] * [0, 0, 1]


def _lateral(y: Array, z: Array) -> Array:
    """Left side of the head, without the ear, at heights y and depths z."""
    start = np.stack([np.zeros_like(y), y, z], 1)
    x = _root(start, np.broadcast_to([1.0, 0, 0], start.shape), 0.0, 160.0)
    return start + x[:, None] * [1, 0, 0]


# The auricle in ear coordinates: a to the back, b up (both mm from the ear canal in the plane of
# the side of the head) and h away from the head. Columns: angle from back over top to front, every
# 30 degrees. Rows: rings from the surrounding skin over the back of the ear and the helix into the
# concha; first the distance to the canal as a fraction of the outline, then h.
_OUTLINE = np.array([26, 29.5, 32, 32.5, 28.5, 17, 10.5, 11, 16, 27, 29, 26.5])
_RINGS = (
    # depth        0     30    60    90   120   150   180   210   240   270   300   330
    (0.00, "skin", None),
    (0.45, "r", [0.85, 0.88, 0.90, 0.92, 0.98, 1.45, 2.00, 2.00, 1.50, 1.02, 0.90, 0.86]),
    (0.80, "r", [0.42, 0.50, 0.60, 0.72, 0.90, 1.15, 1.40, 1.40, 1.20, 0.86, 0.60, 0.45]),
    (1.15, "r", [0.62, 0.68, 0.75, 0.84, 0.97, 1.06, 1.12, 1.15, 1.10, 0.93, 0.80, 0.68]),
    (1.55, "r", [0.95, 0.96, 0.97, 0.98, 1.00, 1.00, 0.95, 0.98, 1.02, 1.00, 0.98, 0.96]),
    (1.75, "r", [0.98, 0.98, 0.98, 0.98, 0.97, 0.93, 0.84, 0.88, 0.93, 0.95, 0.96, 0.97]),
    (1.90, "r", [0.91, 0.91, 0.90, 0.90, 0.90, 0.86, 0.72, 0.78, 0.84, 0.88, 0.90, 0.91]),
    (2.10, "r", [0.79, 0.79, 0.79, 0.79, 0.80, 0.78, 0.60, 0.68, 0.74, 0.76, 0.78, 0.79]),
    (2.35, "r", [0.64, 0.63, 0.62, 0.63, 0.66, 0.68, 0.50, 0.57, 0.62, 0.60, 0.62, 0.64]),
    (2.60, "r", [0.53, 0.51, 0.50, 0.50, 0.52, 0.54, 0.42, 0.47, 0.50, 0.47, 0.49, 0.52]),
    (2.90, "r", [0.38, 0.36, 0.35, 0.35, 0.36, 0.38, 0.32, 0.34, 0.35, 0.33, 0.34, 0.37]),
    (3.40, "r", [0.18, 0.17, 0.17, 0.17, 0.17, 0.18, 0.16, 0.16, 0.17, 0.16, 0.16, 0.17]),
    (4.20, "r", [0.06, 0.06, 0.06, 0.06, 0.06, 0.06, 0.06, 0.06, 0.06, 0.06, 0.06, 0.06]),
)
_HEIGHTS = (
    [0.0] * 12,
    [0.0] * 12,
    [0.3, 0.3, 0.3, 0.3, 0.3, 0.2, 0.1, 0.1, 0.2, 0.5, 0.5, 0.4],
    [6.5, 6.3, 5.5, 4.5, 3.0, 1.5, 1.0, 1.0, 1.5, 3.5, 5.0, 6.2],
    [14.5, 13.0, 10.6, 8.4, 7.0, 5.0, 4.5, 4.5, 5.0, 8.5, 11.5, 13.5],
    [17.5, 16.0, 13.6, 11.4, 9.8, 7.5, 7.0, 6.0, 6.5, 10.5, 13.5, 16.0],
    [17.8, 16.5, 14.2, 12.0, 10.4, 8.4, 7.4, 6.2, 6.8, 10.7, 13.8, 16.5],
    [13.5, 12.2, 10.2, 8.8, 8.0, 7.0, 6.8, 5.5, 6.2, 10.5, 13.3, 14.5],
    [15.0, 13.6, 11.0, 9.0, 7.6, 6.0, 5.5, 4.6, 5.8, 10.4, 13.2, 15.0],
    [13.2, 11.8, 9.8, 8.4, 7.2, 6.0, 3.4, 3.0, 4.4, 8.8, 11.0, 13.0],
    [5.0, 5.0, 5.5, 6.0, 6.0, 5.0, 0.8, 0.8, 1.2, 2.5, 3.5, 4.2],
    [1.5, 1.8, 2.0, 2.2, 2.2, 1.2, -1.5, -1.5, -1.0, 0.0, 0.5, 1.0],
    [-1.5] * 12,
)


@dataclass(frozen=True)
class _Ear:
    pole: Array  # domain point of the ear canal
    tangents: Array  # (2, 3) domain directions to the back and up
    canal: Array  # (y, z) of the canal
    axes: Array  # (2, 2) the directions a and b in (y, z)
    tables: tuple[RectBivariateSpline, RectBivariateSpline]  # radius and height over (depth, angle)
    last: float


@cache
def _ear() -> _Ear:
    canal = np.array([-1.0, -4.0])
    tilt = np.deg2rad(14)
    axes = np.array([[-np.sin(tilt), -np.cos(tilt)], [np.cos(tilt), -np.sin(tilt)]])
    pole = to_domain(_lateral(canal[:1], canal[1:]))[0]
    frame = np.c_[np.zeros(2), axes]
    frame -= (frame @ pole)[:, None] * pole
    frame[0] /= np.linalg.norm(frame[0])
    frame[1] -= frame[1] @ frame[0] * frame[0]
    frame[1] /= np.linalg.norm(frame[1])
    depth = np.array([ring[0] for ring in _RINGS])
    theta = np.arange(13) * np.pi / 6
    fine = np.arange(-12, 85) * np.pi / 36
    radius = np.array([np.full(12, 33.0) if r is None else np.asarray(r) * _OUTLINE
                       for _, _, r in _RINGS])

    def table(rows: Array) -> RectBivariateSpline:
        closed = CubicSpline(theta, np.c_[rows, rows[:, :1]].T, bc_type="periodic")
        return RectBivariateSpline(depth, fine, closed(fine).T)

    return _Ear(pole, frame, canal, axes, (table(radius), table(np.array(_HEIGHTS))), depth[-1])


def ear_poles() -> Array:
    """(2, 3) domain points of the left and the right ear canal."""
    pole = _ear().pole
    return np.stack([pole, pole * [-1, 1, 1]])


def helix() -> Array:
    """Domain points along the rim of the left auricle, closed, from the front over the top."""
    ear = _ear()
    theta = np.linspace(np.pi, -np.pi, 241)
    angle = EAR_ANGLE * np.exp(-1.82)
    ring = np.cos(theta)[:, None] * ear.tangents[0] + np.sin(theta)[:, None] * ear.tangents[1]
    return np.asarray(np.cos(angle) * ear.pole + np.sin(angle) * ring)


def _auricle(domain: Array, base: Array) -> tuple[Array, Array]:
    """Move the points of the left ear's disc from the side of the head to the auricle."""
    ear = _ear()
    angle = np.arccos(np.clip(domain @ ear.pole, -1, 1))
    inside = np.flatnonzero(angle < EAR_ANGLE)
    position, weight = base.copy(), np.zeros(len(domain))
    if not len(inside):
        return position, weight
    depth = np.log(EAR_ANGLE / np.maximum(angle[inside], 1e-12))
    local = domain[inside] @ ear.tangents.T
    theta = np.arctan2(local[:, 1], local[:, 0]) % (2 * np.pi)
    t = np.minimum(depth, ear.last)
    radius = ear.tables[0](t, theta, grid=False) * np.exp(t - depth)
    height = ear.tables[1](t, theta, grid=False)
    ab = radius[:, None] * np.stack([np.cos(theta), np.sin(theta)], 1)
    yz = ear.canal + ab @ ear.axes
    blend = smoothstep(depth, 0.0, 0.45)[:, None]
    yz = (1 - blend) * base[inside][:, 1:] + blend * yz
    skin = _lateral(yz[:, 0], yz[:, 1])
    skin[:, 0] += height
    position[inside] = skin
    weight[inside] = smoothstep(depth, 0.75, 1.4)
    return position, weight


def lip_gap(x: Array) -> tuple[Array, Array]:
    """Half height of the strip of skin left out between the lips, and the window of the mouth."""
    window = np.sqrt(np.maximum(1 - (x / CHEILION) ** 2, 0))
    return 2.4 * window, window


def mean_points(domain: Array) -> MeanPoints:
    """Map domain points to the mean head.

    Parameters
    ----------
    domain : (n, 3) float64
        Unit vectors.
    """
    d = np.asarray(domain, float).copy()
    flip = d[:, 0] < 0
    d[:, 0] = np.abs(d[:, 0])
    p = _cast(d)
    x, y, z = p.T.copy()
    face = z > 40

    s = y - mouth_line(x)
    gap, window = lip_gap(x)
    mouth = face & (np.abs(s) < gap - 1e-4) & (x < CHEILION)
    softness = 0.3 + 7.0 * smoothstep(x, 14, 30) + 8.0 * smoothstep(x, 28, 60)
    lower = 0.5 - 0.5 * np.tanh(s / softness)

    low, up = lid_lines(x)
    between = face & (x > CANTHI[0]) & (x < CANTHI[1])
    eye = between & (y > low + 1e-4) & (y < up - 1e-4)

    p, ear = _auricle(d, p)
    # lips roll inwards; the strip between them becomes the bottom of the furrow
    far = np.maximum(np.abs(s) - gap, 0)
    p[:, 1] -= face * np.where(mouth, 0.86 * s, np.sign(s) * 0.86 * gap * np.exp(-far / 2.0))
    p[:, 2] -= face * 3.6 * window * np.exp(-((far / 1.8) ** 2))
    # lid margins turn in to the eyeball, which fills the opening between them
    rim = np.maximum(np.maximum(y - up, low - y), 0)
    outside = np.maximum(np.maximum(CANTHI[0] - x, x - CANTHI[1]), 0)
    rim = face * np.exp(-(rim**2 + outside**2) / 0.9**2)
    ray = p - EYE
    distance = np.linalg.norm(ray, axis=1)
    ray /= distance[:, None]
    turn = np.where(eye, EYE_RADIUS + _cornea(ray) - distance,
                    np.maximum(EYE_RADIUS + 0.15 - distance, -3.0))
    p += (rim * turn)[:, None] * ray
    # nostrils
    q = (np.stack([x, y, z], 1) - [6.8, -25.5, 100.0]) / [2.6, 3.2, 4.6]
    p += 6.0 * np.exp(-0.5 * (q * q).sum(1) ** 1.5)[:, None] * [0.0, 0.93, -0.37]
    p[flip, 0] *= -1
    return MeanPoints(p, ear, lower, mouth, eye)


def _cornea(ray: Array) -> Array:
    return 0.9 * smoothstep(ray[:, 2], 0.86, 0.97)


def eyeball(direction: Array, side: int) -> Array:
    """Points of the left (side = 1) or right (side = -1) eyeball, with a slight cornea."""
    return EYE * [side, 1, 1] + (EYE_RADIUS + _cornea(direction))[:, None] * direction
