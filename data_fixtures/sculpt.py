"""The mean head as an implicit function: negative inside, zero on the skin, millimetres.

Everything here is modelled by hand from general anatomical proportions of an adult: smooth
unions of ellipsoids and capsules for the large forms, Gaussian bumps and grooves for the small
ones. The origin lies half way between the ear canals; x points to the subject's left, y up and
z forward.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Point = tuple[Array, Array, Array]
Triple = tuple[float, float, float]

EYE = np.array([31.5, 20.0, 67.5])
"""Centre of the left eyeball."""
EYE_RADIUS = 13.5
CANTHI = (17.0, 46.0)
"""x of the inner and the outer corner of the left eye."""
CHEILION = 25.0
"""x of the left corner of the mouth."""


def _ellipsoid(p: Point, centre: Triple, radii: Triple) -> Array:
    """Approximate signed distance, exact to first order on the surface."""
    u, v, w = ((q - c) / r for q, c, r in zip(p, centre, radii, strict=True))
    k = np.sqrt(u * u + v * v + w * w)
    u, v, w = (q / r for q, r in zip((u, v, w), radii, strict=True))
    return np.asarray(k * (k - 1) / np.maximum(np.sqrt(u * u + v * v + w * w), 1e-9))


def _capsule(p: Point, a: Triple, b: Triple, ra: float, rb: float) -> Array:
    """Distance to a rod whose radius goes from ra to rb."""
    axis = tuple(e - s for s, e in zip(a, b, strict=True))
    u, v, w = (q - s for q, s in zip(p, a, strict=True))
    t = (u * axis[0] + v * axis[1] + w * axis[2]) / (axis[0]**2 + axis[1]**2 + axis[2]**2)
    t = np.minimum(np.maximum(t, 0), 1)
    u, v, w = (q - t * e for q, e in zip((u, v, w), axis, strict=True))
    return np.asarray(np.sqrt(u * u + v * v + w * w) - ra - t * (rb - ra))


def _join(f: Array, g: Array, k: float) -> Array:
    """Union whose seam is rounded over a width of k (twice differentiable)."""
    h = np.maximum(k - np.abs(f - g), 0) / k
    return np.minimum(f, g) - h * h * h * (k / 6)


def _bump(p: Point, centre: Triple, sigma: Triple) -> Array:
    u, v, w = ((q - c) / r for q, c, r in zip(p, centre, sigma, strict=True))
    return np.exp(-0.5 * (u * u + v * v + w * w))


def _groove(s: Array, width: float) -> Array:
    return np.exp(-0.5 * (s / width) ** 2)


def smoothstep(x: Array, low: float | Array, high: float | Array) -> Array:
    """0 below low, 1 above high, twice differentiable between."""
    t = np.minimum(np.maximum((x - low) / (high - low), 0), 1)
    return np.asarray(t * t * t * (t * (6 * t - 15) + 10))


def mouth_line(x: Array) -> Array:
    """Height at which the lips meet."""
    return -47.5 - 1.2 * np.exp(-((x / 3.5) ** 2)) + 0.9 * np.exp(-(((x - 8) / 6) ** 2)) + (
        0.0008 * x * x)


def vermilion(x: Array) -> tuple[Array, Array]:
    """Heights of the red of the lower and of the upper lip at x."""
    lower = 9.6 * np.sqrt(np.maximum(1 - (x / (CHEILION + 1)) ** 2, 0))
    upper = 8.8 * np.sqrt(np.maximum(1 - (x / (CHEILION + 2)) ** 2, 0))
    return lower, upper * (1 - 0.10 * np.exp(-((x / 3) ** 2)) - 0.004 * x)


def lid_lines(x: Array) -> tuple[Array, Array]:
    """Heights of the lower and the upper lid margin of the left eye at x."""
    inner, outer = CANTHI
    t = np.clip((x - inner) / (outer - inner), 0, 1)
    base = 17.6 + 3.0 * t
    arch = np.sqrt(np.maximum(t * (1 - t), 0)) * 2
    upper = base + 5.2 * arch * (1 - 0.25 * (t - 0.5)) * (0.45 + 0.55 * arch)
    lower = base - 3.9 * arch * (1 + 0.5 * (t - 0.5)) * (0.5 + 0.5 * arch)
    return lower, upper


def implicit(points: Array) -> Array:
    """Signed function of the mean head without ears, eyelid openings and mouth opening."""
    x, y, z = points.T.copy()
    x = np.sqrt(x * x + 1.0)  # mirror without a crease in the middle
    p = x, y, z
    f = _join(_ellipsoid(p, (0, 47, 17), (66, 81, 75)),
              _ellipsoid(p, (0, 47, -20), (75, 85, 79)), 30)
    f = _join(f, _ellipsoid(p, (0, -16, 34), (63, 62, 53)), 30)
    f = _join(f, _ellipsoid(p, (0, -52, 33), (54, 42, 48)), 24)
    f = _join(f, _ellipsoid(p, (0, -78, 73), (17, 15, 16)), 28)
    f = _join(f, _ellipsoid(p, (46, -3, 38), (17, 16, 34)), 34)
    f = _join(f, _capsule(p, (0, -40, -20), (0, -260, -38), 47, 56), 34)
    # muzzle: the teeth under the lips
    f = _join(f, _ellipsoid(p, (0, -45, 62), (30, 26, 32)), 18)
    # forehead, temple, brow ridge, sockets
    f -= 2.5 * _bump(p, (24, 72, 80), (20, 18, 30))
    f += 4.0 * _bump(p, (66, 32, 52), (14, 20, 20))
    f -= 3.4 * _bump(p, (20, 37, 92), (15, 7, 14)) + 3.0 * _bump(p, (44, 37, 72), (10, 6, 14))
    f += 7.5 * _bump(p, (27, 20, 86), (13, 10, 16)) + 4.0 * _bump(p, (46, 18, 66), (9, 8, 12))
    f += 3.0 * _bump(p, (11, 22, 90), (5, 9, 12))
    # cheek: fullness, and the groove from nose to mouth
    f -= 3.5 * _bump(p, (34, -14, 76), (14, 12, 16))
    f += 2.5 * _bump(p, (50, -40, 58), (12, 16, 18))
    fold = (x - 19 - 0.42 * (-24 - y)) * 0.9
    f += 2.0 * _groove(fold, 3.5) * smoothstep(-y, 22, 32) * (1 - smoothstep(-y, 46, 60)) * (z > 30)
    # eyeball under the lids, lid crease, lower lid fold
    lid = _ellipsoid(p, (EYE[0], EYE[1], EYE[2] + 0.3), (15.0, EYE_RADIUS + 1.5, EYE_RADIUS + 1.5))
    f = _join(f, lid, 8)
    lower, upper = lid_lines(x)
    near = smoothstep(x, 13, 22) * (1 - smoothstep(x, 42, 52)) * smoothstep(z, 40, 60)
    f += 1.7 * _groove(y - upper - 4.2, 1.5) * near
    f -= 0.8 * _groove(y - upper - 7.5, 2.0) * near
    f += 0.4 * _groove(y - lower + 6.0, 1.8) * near
    # nose
    nose = _capsule(p, (0, 22, 82), (0, -14, 98), 7.0, 11.0)
    nose = _join(nose, _capsule(p, (0, 22, 84), (0, -12, 106), 5.5, 6.5), 8)
    nose = _join(nose, _ellipsoid(p, (0, -15, 107), (9.5, 8.5, 9.5)), 8)
    nose = _join(nose, _capsule(p, (0, -18, 107), (0, -26, 94), 5.0, 4.5), 6)
    nose = _join(nose, _ellipsoid(p, (10.8, -19.5, 95), (6.2, 7.5, 8.5)), 11)
    f = _join(f, _ellipsoid(p, (0, -9, 80), (21, 25, 16)), 12)
    f = _join(f, nose, 13)
    f += 0.5 * _groove((x - 14.5) + 0.30 * (y + 14), 2.2) * _bump(p, (14, -14, 97), (8, 5, 12))
    # philtrum
    f += 1.1 * _groove(x, 2.8) * smoothstep(-y, 28, 32) * (1 - smoothstep(-y, 35, 45)) * (z > 50)
    f -= 0.6 * _groove(x - 5.5, 1.8) * smoothstep(-y, 28, 33) * (1 - smoothstep(-y, 36, 46)) * (
        z > 50)
    # lips
    s = y - mouth_line(x)
    w = np.sqrt(np.maximum(1 - (x / (CHEILION + 2)) ** 2, 0))
    lower, upper = vermilion(x)
    front = smoothstep(z, 50, 70)
    up, low = np.maximum(s, 0) / np.maximum(upper, 0.5), np.maximum(-s, 0) / np.maximum(lower, 0.5)
    f -= front * w * np.where(s > 0, 3.3 * np.exp(-(((up - 0.56) / 0.42) ** 2)),
                              3.8 * np.exp(-(((low - 0.56) / 0.42) ** 2)))
    f += front * 2.0 * _groove(x - 25.5, 3) * _groove(y + 49, 4)
    # hollow under the lower lip, chin
    f += 3.0 * _bump(p, (0, -66, 90), (18, 5.5, 14))
    f -= 1.5 * _bump(p, (7, -81, 90), (9, 8, 12))
    # jaw line, neck muscles, throat
    f -= 3.0 * _bump(p, (50, -58, 18), (12, 12, 20))
    muscle = _groove(x - 42 + 0.28 * (-70 - y), 9) * smoothstep(-y, 85, 130)
    f -= 1.5 * muscle * smoothstep(z, -30, 10)
    f -= 3.0 * _bump(p, (0, -122, 32), (7, 9, 20))
    f += 3.5 * _bump(p, (0, -62, -70), (22, 20, 22))
    return f
