"""The fifteen cameras of a 3dMD head system: calibration files, photographs, projection.

Everything is computed in ways of its own, so that readers can be checked against it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .sampling import unit
from .scan import Scan

Array = NDArray[np.float64]
Int = NDArray[np.int64]
Image8 = NDArray[np.uint8]

VIEWS = tuple(f"{pod}{lens}" for pod in range(1, 6) for lens in "ABC")
"""Names of the views: five pods with two grey cameras, A and B, and one in colour, C."""

_POD = {1: (-48.0, 4.0), 2: (48.0, 4.0), 3: (-125.0, 10.0), 4: (125.0, 10.0), 5: (180.0, 35.0)}
_LENS = {"A": (-5.0, -4.0), "B": (5.0, -4.0), "C": (0.0, 3.0)}


@dataclass(frozen=True)
class View:
    """One camera, in the frame and unit of a scan.

    Attributes
    ----------
    name : str
    matrix : (3, 3) float64
        World to camera: x to the right, y down, z into the scene.
    centre : (3,) float64
    focal, pixel : float, (2,) float64
        mm.
    principal : (2,) float64
        Pixels.
    distortion : (2,) float64
        K and K2: a point seen at r mm from the principal point belongs at r (1 + K r^2 + K2 r^4).
    size : (int, int)
        Width and height in pixels.
    """

    name: str
    matrix: Array
    centre: Array
    focal: float
    pixel: Array
    principal: Array
    distortion: Array
    size: tuple[int, int]

    def project(self, points: Array) -> tuple[Array, Array]:
        """Pixels (n, 2) and depths (n,) of points in front of the camera."""
        p = (points - self.centre) @ self.matrix.T
        plane = self.focal * p[:, :2] / p[:, 2:]
        want = np.hypot(*plane.T)
        low, high = np.zeros_like(want), 1.5 * want  # bisection: sure, if slow
        for _ in range(50):
            r = (low + high) / 2
            less = r * (1 + self.distortion[0] * r**2 + self.distortion[1] * r**4) < want
            low, high = np.where(less, r, low), np.where(less, high, r)
        scale = np.where(want > 0, low / np.maximum(want, 1e-300), 1.0)[:, None]
        return plane * scale / self.pixel + self.principal, p[:, 2]


def views(result: Scan, rng: np.random.Generator, size: tuple[int, int] = (300, 400)
          ) -> dict[str, View]:
    """Cameras round the head that was scanned, in the frame of the scan.

    Parameters
    ----------
    result : Scan
        In millimetres.
    rng : numpy.random.Generator
        Small differences between cameras.
    size : (int, int)
        Of the photographs; the real ones are some five times as large.
    """
    found = {}
    for name in VIEWS:
        angles = np.array(_POD[int(name[0])]) + _LENS[name[1]] + rng.normal(0, 0.5, 2)
        azimuth, elevation = np.deg2rad(angles)
        away = np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation),
                         np.cos(azimuth) * np.cos(elevation)])
        right = unit(np.cross([0.0, 1, 0], away)[None])[0]
        matrix = np.stack([right, -np.cross(away, right), -away]) @ result.rotation.T
        centre = (away * rng.uniform(950, 1050) + [0, -10, 0]) @ result.rotation.T
        pixel = np.full(2, 6.4 / size[1]) * [1.0, 1.002]
        found[name] = View(
            name, np.round(matrix, 9), np.round(centre + result.translation, 6), 16.0, pixel,
            np.round(np.array(size) / 2 + rng.normal(0, 4, 2), 4),
            np.array([rng.uniform(-8e-4, 8e-4), rng.uniform(-4e-6, 4e-6)]).round(9), size)
    return found


def write_tka(path: Path, view: View) -> None:
    """Write a calibration file."""
    rows = "".join(" ".join(f"{m:.9f}" for m in row) + " \n" for row in view.matrix)
    numbers = {"X": view.centre[0], "Y": view.centre[1], "Z": view.centre[2], "f": view.focal,
               "K": view.distortion[0], "K2": view.distortion[1], "S": 1, "x": view.pixel[0],
               "y": view.pixel[1], "a": view.principal[0], "b": view.principal[1]}
    path.write_text("%M\n" + rows + "".join(f"%{k} {v:.12g}\n" for k, v in numbers.items())
                    + f"%is {view.size[0]} {view.size[1]}\n%c 0\n")


def photograph(view: View, result: Scan) -> tuple[Image8, Array]:
    """The scan as the camera sees it.

    Returns
    -------
    (height, width, 3) uint8
        A and B are grey.
    (height, width) float64
        Depth of what is in front, inf where there is nothing.
    """
    width, height = view.size
    pixels, depth = view.project(result.vertices)
    f = result.faces
    corner = pixels[f]
    a, b, c = corner[:, 0], corner[:, 1], corner[:, 2]
    turn = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    f, corner = f[turn < 0], corner[turn < 0]  # y goes down: faces that look at us turn left
    side = np.linalg.norm(corner - np.roll(corner, 1, 1), axis=2).max(1)
    steps = np.ceil(side / 0.7).astype(int)
    at, near, colour = [], [], []
    for k in np.unique(steps):
        i, j = (x.ravel() for x in np.meshgrid(np.arange(k + 1), np.arange(k + 1)))
        w = np.stack([i, j, k - i - j], 1)[i + j <= k] / k
        part = f[steps == k]
        at.append((w @ corner[steps == k]).reshape(-1, 2))
        near.append((depth[part] @ w.T).ravel())
        colour.append((w @ result.uv[part]).reshape(-1, 2))
    place = np.floor(np.concatenate(at) + 0.5).astype(int)
    inside = ((place >= 0) & (place < view.size)).all(1)
    key, z = place[inside] @ [1, width], np.concatenate(near)[inside]
    order = np.argsort(-z, kind="stable")  # the nearest is painted last
    key, uv = key[order], np.concatenate(colour)[inside][order]
    depths = np.full(height * width, np.inf)
    depths[key] = z[order]
    front = np.full(height * width, -1)
    front[key] = np.arange(len(key))
    image = np.full((height * width, 3), 40, np.uint8)
    rows, columns = result.texture.shape[:2]
    shown = np.flatnonzero(front >= 0)
    u, v = uv[front[shown]].T
    image[shown] = result.texture[np.clip(((1 - v) * rows).astype(int), 0, rows - 1),
                                  np.clip((u * columns).astype(int), 0, columns - 1)]
    if view.name[-1] != "C":
        image[:] = image.mean(1, keepdims=True).astype(np.uint8)
    return image.reshape(height, width, 3), depths.reshape(height, width)


def project_polyline(view: View, points: Array, step: float = 0.5) -> tuple[Array, Array]:
    """Pixels and depths along a polyline, at most `step` pixels apart."""
    coarse = view.project(points)[0]
    count = np.ceil(np.linalg.norm(np.diff(coarse, axis=0), axis=1) / step).astype(int).clip(1)
    at = np.concatenate([k + np.arange(n) / n for k, n in enumerate(count)] + [[len(points) - 1]])
    fine = np.stack([np.interp(at, np.arange(len(points)), x) for x in points.T], 1)
    return view.project(fine)


def visible(view: View, depths: Array, pixels: Array, depth: Array, slack: float = 3.0
            ) -> NDArray[np.bool_]:
    """Whether points lie on what the photograph shows at their pixels, within `slack` mm.

    The pixels around must not show something much farther away: the point lies on an outline
    then, and a ray through it may just as well miss.
    """
    width, height = view.size
    x, y = np.floor(pixels + 0.5).astype(int).T
    inside = (x > 0) & (y > 0) & (x < width - 1) & (y < height - 1)
    x, y = np.where(inside, x, 1), np.where(inside, y, 1)
    around = np.max([depths[y + j, x + i] for i in (-1, 0, 1) for j in (-1, 0, 1)], axis=0)
    return np.asarray(inside & (np.abs(depths[y, x] - depth) < slack)
                      & (around < depth + 3 * slack))


def runs(mask: NDArray[np.bool_]) -> Sequence[slice]:
    """Stretches of True."""
    edge = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    return [slice(int(a), int(b)) for a, b in edge.reshape(-1, 2)]
