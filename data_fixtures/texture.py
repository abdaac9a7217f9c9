"""A painted skin texture for the heads of :mod:`data_fixtures.head`."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy.spatial import cKDTree

from .head import texture_coordinates
from .sampling import coverage
from .sculpt import CHEILION, EYE, lid_lines, mouth_line, smoothstep, vermilion
from .surface import MeanPoints

Array = NDArray[np.float64]
Image8 = NDArray[np.uint8]

CAP = (0.0, 0.6, 38.0)
"""The edge of the cap: x, z factors and offset of the plane y = a x + b z + c."""


def above_cap_line(p: Array) -> Array:
    """Height (mm) of mean points above the edge of the cap; wavy."""
    x, y, z = p.T
    return np.asarray(y - CAP[0] * x - CAP[1] * z - CAP[2] + 2.5 * np.sin(x / 17) * np.cos(z / 23))


@cache
def _atlas(size: int) -> MeanPoints:
    """The mean head point under every pixel."""
    cover = coverage()
    mean, uv = cover.mean, texture_coordinates(cover.domain)
    values = np.concatenate([mean.position, mean.ear[:, None], mean.eye[:, None]], 1)
    corner = uv[cover.faces]
    tree = cKDTree(corner.mean(1))
    at = (np.arange(size) + 0.5) / size
    pixel = np.stack(np.meshgrid(at, 1 - at), -1).reshape(-1, 2)
    grid = np.full((size * size, 5), -999.0)
    for start in range(0, len(pixel), 65536):
        q = pixel[start:start + 65536]
        face = np.asarray(tree.query(q, 8)[1])
        a, b, c = (corner[face, k] - q[:, None] for k in range(3))
        inside = np.stack([b[..., 0] * c[..., 1] - b[..., 1] * c[..., 0],
                           c[..., 0] * a[..., 1] - c[..., 1] * a[..., 0],
                           a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]], -1)
        total = inside.sum(2, keepdims=True)
        inside /= np.where(np.abs(total) < 1e-15, 1e-15, total)
        row, best = np.arange(len(q)), inside.min(2).argmax(1)
        weight = inside[row, best]
        hit = np.flatnonzero(weight.min(1) > -0.5)
        corners = cover.faces[face[hit, best[hit]]]
        grid[start + hit] = (values[corners] * weight[hit][:, :, None]).sum(1)
    zero = np.zeros(len(grid))
    return MeanPoints(grid[:, :3], grid[:, 3], zero, zero > 0, grid[:, 4] > 0.5)


def _noise(rng: np.random.Generator, size: int, cells: int) -> Array:
    """Smooth noise in [-1, 1]."""
    small = Image.fromarray(rng.integers(0, 256, (cells, cells), dtype=np.uint8))
    big = small.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(big, float).ravel() / 127.5 - 1


def _iris(r: Array, colour: Array) -> Array:
    """Eye colours by the distance to the middle of the pupil, mm."""
    white = np.array([0.90, 0.88, 0.86])
    ring = smoothstep(r, 5.2, 6.2)[:, None]
    pupil = smoothstep(r, 1.9, 2.5)[:, None]
    shade = 0.55 + 0.45 * smoothstep(6.0 - r, 0.0, 3.0)[:, None]
    return np.asarray((ring * white + (1 - ring) * colour * shade) * (0.06 + 0.94 * pupil))


def skin_texture(rng: np.random.Generator, size: int = 1024, cap: bool = True) -> Image8:
    """Paint one head.

    Parameters
    ----------
    rng : numpy.random.Generator
        Decides the colours of skin, lips, brows, eyes and cap.
    size : int
        Width and height in pixels.
    cap : bool
        Cover the hair with a cap, as in the Headspace recordings; otherwise a shaved head.

    Returns
    -------
    (size, size, 3) uint8, first row at v = 1
    """
    atlas = _atlas(size)
    p = atlas.position
    ax, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
    tone = np.array([[0.93, 0.76, 0.66], [0.86, 0.66, 0.52], [0.66, 0.46, 0.34],
                     [0.45, 0.30, 0.22]])
    k = rng.uniform(0, 2.6)
    i = int(k)
    skin = tone[i] + (k - i) * (tone[min(i + 1, 3)] - tone[i])
    dark = np.array([0.16, 0.10, 0.07]) * rng.uniform(0.6, 2.2)
    iris = np.array([[0.33, 0.47, 0.60], [0.35, 0.25, 0.15], [0.40, 0.45, 0.30]])[rng.integers(3)]

    def place(cx: float, cy: float, sx: float, sy: float) -> Array:
        return np.exp(-0.5 * (((ax - cx) / sx) ** 2 + ((y - cy) / sy) ** 2)) * (z > 30)

    colour = np.broadcast_to(skin, p.shape) * (
        1 + 0.05 * _noise(rng, size, size // 64) + 0.03 * _noise(rng, size, size // 8)
        + 0.02 * _noise(rng, size, size // 2))[:, None]
    red = 0.5 * place(38, -15, 14, 12) + 0.5 * place(0, -16, 10, 9) + 0.35 * atlas.ear
    red = red + 0.15 * place(0, -85, 16, 10)
    colour = colour * (1 - red[:, None] * [0.02, 0.16, 0.16])
    colour = colour * (1 - 0.16 * (place(31, 8, 14, 5) + place(20, 30, 18, 6)))[:, None]
    stubble = rng.uniform(0, 0.3) * smoothstep(-y, 24, 48) * smoothstep(z, 10, 40) * (
        1 - smoothstep(-y, 98, 110))
    scalp = 0.0 if cap else 0.35 * smoothstep(above_cap_line(p), -4, 6) * (1 - atlas.ear)
    grain = 0.6 + 0.4 * _noise(rng, size, size // 2)
    colour = colour * (1 - (np.maximum(stubble, scalp) * grain)[:, None])

    def blend(mask: Array, paint: Array) -> None:
        nonlocal colour
        colour = colour + np.clip(mask, 0, 1)[:, None] * (paint - colour)

    front = z > 55
    s = y - mouth_line(p[:, 0])
    lower_red, upper_red = vermilion(p[:, 0])
    lip = smoothstep(upper_red - s, -0.6, 1.0) * smoothstep(lower_red + s, -0.6, 1.0)
    blend(0.75 * lip * front * smoothstep(CHEILION + 1 - ax, -0.5, 2), skin * [0.82, 0.48, 0.47])
    blend(0.8 * np.exp(-((s / 0.7) ** 2)) * front * (ax < CHEILION), skin * [0.45, 0.22, 0.22])
    brow = np.interp(ax, [8, 16, 26, 37, 48], [36.5, 40.5, 43.0, 41.5, 35.5])
    width = np.interp(ax, [6, 12, 30, 50], [2.2, 3.2, 2.6, 0.8])
    hair = np.exp(-(((y - brow) / width) ** 2)) * smoothstep(ax, 6, 10) * smoothstep(-ax, -51, -44)
    blend(0.9 * hair * front * (0.75 + 0.25 * _noise(rng, size, size // 3)), dark)
    low, up = lid_lines(ax)
    lash = np.exp(-((np.minimum(np.abs(y - up), 1.6 * np.abs(y - low)) / 0.8) ** 2))
    blend(0.85 * lash * (np.abs(ax - EYE[0]) < 15.5) * front, dark)
    distance = np.hypot(ax - EYE[0], y - EYE[1])
    blend(atlas.eye.astype(float), _iris(distance, iris))
    blend(0.7 * np.exp(-0.5 * (((ax - 6.8) / 2.4) ** 2 + ((y + 23) / 2.6) ** 2)) * (z > 88)
          * (y < -20), skin * 0.25)
    if cap:
        cloth = np.array([[0.92, 0.92, 0.90], [0.20, 0.25, 0.45], [0.12, 0.12, 0.13]])[
            rng.integers(3)]
        on = smoothstep(above_cap_line(p), -0.5, 1.0) * (1 - atlas.ear)
        weave = 1 + 0.06 * _noise(rng, size, size // 2) + 0.05 * _noise(rng, size, size // 32)
        blend(on, cloth * weave[:, None])
        blend(0.5 * np.exp(-(((above_cap_line(p) - 3) / 1.2) ** 2)) * (1 - atlas.ear), cloth * 0.4)
    colour[p[:, 0] < -900] = skin
    at = (np.arange(size) + 0.5) / size
    u, v = np.meshgrid(at, 1 - at)
    r = np.hypot(u - 0.07, v - 0.07).ravel() / 0.06
    blend((r < 1.1).astype(float), _iris(r * 13.5, iris))
    pixels = np.clip(colour * 255, 0, 255).astype(np.uint8).reshape(size, size, 3)
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(size / 2048)))


def pick_colours(texture: Image8, uv: Array) -> Image8:
    """Colours (n, 3) of the texture at texture coordinates."""
    rows, columns = texture.shape[:2]
    i = np.clip(((1 - uv[:, 1]) * rows).astype(int), 0, rows - 1)
    j = np.clip((uv[:, 0] * columns).astype(int), 0, columns - 1)
    return np.asarray(texture[i, j])
