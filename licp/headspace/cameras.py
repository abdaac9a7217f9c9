"""The scanner's cameras: points to pixels, pixels to rays, and pixels to points of the surface.

A ``.tka`` file holds a rotation ``%M``, the centre ``%X %Y %Z`` and the focal length ``%f`` (mm),
the size of a pixel ``%x %y`` (mm), the principal point ``%a %b`` (pixels), the radial distortion
``%K %K2`` and the image size ``%is``. The frame is that of the scans. Lenses follow R. Y. Tsai, "A
versatile camera calibration technique" (1987): a point seen at distance r (mm) from the principal
point belongs at ``r (1 + K r^2 + K2 r^4)``, so undistorting is a formula and distorting an
equation to solve. A file without ``%K`` has no distortion.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from licp.compiled import kernel
from licp.errors import DatasetError, InputError
from licp.files import as_path, read_text
from licp.mesh import Mesh
from licp.readonly import ReadOnlyArrays

__all__ = ["Camera", "SurfacePoints", "read_camera"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# About this many queries share a cell when triangles look for the pixels they cover.
_PER_CELL = 2.0
_SCALARS = {"X": "centre", "Y": "centre", "Z": "centre", "f": "focal length"}
_SCALARS |= {"x": "pixel size", "y": "pixel size", "a": "principal point", "b": "principal point"}


@dataclass(frozen=True, eq=False)
class SurfacePoints:
    """Points of a mesh, one for each pixel asked for.

    Attributes
    ----------
    faces : (n,) int64
        Triangle, -1 where the pixel shows nothing of the surface.
    barycentric : (n, 3) float64
        Weights of its corners; zeros where there is none.
    positions : (n, 3) float64
        NaN where there is none.
    """

    faces: Ints
    barycentric: Floats
    positions: Floats

    @property
    def hit(self) -> NDArray[np.bool_]:
        """Pixels that show the surface, (n,) bool."""
        return self.faces >= 0


@dataclass(frozen=True, eq=False)
class Camera(ReadOnlyArrays):
    """A calibrated camera.

    Parameters
    ----------
    rotation : (3, 3) float
        From the frame of the scan to the camera's: x to the right, y down, z into the scene.
    centre : (3,) float
        In the frame of the scan.
    focal : float
        Focal length, mm.
    pixel : (2,) float
        Width and height of a pixel, mm.
    principal : (2,) float
        Principal point, pixels.
    distortion : (2,) float
        K in 1/mm^2 and K2 in 1/mm^4.
    size : pair of int, optional
        Width and height of the image.
    name : str
        What error messages call the camera.
    other : mapping of str to tuple of float
        Entries of the file that are not used.

    Raises
    ------
    DatasetError
        If a part is not finite, has the wrong shape or cannot be (a rotation that is none).

    Examples
    --------
    >>> camera = Camera(np.eye(3), [0, 0, -1000], 10.0, [0.01, 0.01], [320, 240])
    >>> camera.project([[10.0, 20.0, 0.0]]).tolist()
    [[330.0, 260.0]]
    >>> ray = camera.unproject([[330.0, 260.0]])
    >>> (camera.centre + ray * 1000 / ray[:, 2:]).round(9).tolist()
    [[10.0, 20.0, 0.0]]
    """

    rotation: Floats
    centre: Floats
    focal: float
    pixel: Floats
    principal: Floats
    distortion: Floats = field(default_factory=lambda: np.zeros(2))
    size: tuple[int, int] | None = None
    name: str = "camera"
    other: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check and copy everything."""
        put = object.__setattr__
        shapes = {"rotation": (3, 3), "centre": (3,), "focal": (), "pixel": (2,)}
        for part, shape in {**shapes, "principal": (2,), "distortion": (2,)}.items():
            try:
                value = np.array(getattr(self, part), np.float64)
            except (TypeError, ValueError):
                value = np.array(np.nan)
            # Nothing about a camera is longer than a kilometre: larger numbers are damage.
            if value.shape != shape or not (np.abs(value) < 1e6).all():
                raise DatasetError(
                    f"{self.name}: the {part} must be finite numbers of shape {shape}, not "
                    f"{str(getattr(self, part))[:60]}"
                )
            value.flags.writeable = False
            put(self, part, value if shape else float(value))
        if self.focal <= 0 or (self.pixel <= 0).any():
            raise DatasetError(f"{self.name}: focal length and pixel size must be positive")
        # Files give the matrix to six digits or so; a mirrored frame is a frame, too.
        if np.abs(self.rotation @ self.rotation.T - np.eye(3)).max() > 1e-3:
            raise DatasetError(f"{self.name}: the matrix is no rotation")
        put(self, "other", dict(self.other))

    def project(self, points: ArrayLike) -> Floats:
        """Pixels (n, 2) that points (n, 3) are seen at, first right, then down.

        NaN for points that cannot be seen: behind the camera, or so far outside of the image that
        the distortion, a polynomial, has no answer. Nothing is said about what hides a point; see
        :meth:`lift`.
        """
        P = (_rows(points, 3, "points") - self.centre) @ self.rotation.T
        with np.errstate(divide="ignore", invalid="ignore"):
            plane = self.focal * P[:, :2] / np.where(P[:, 2:] > 0, P[:, 2:], np.nan)
        return self._distorted(plane) / self.pixel + self.principal

    def unproject(self, pixels: ArrayLike) -> Floats:
        """Directions (n, 3), of unit length, of the rays from ``centre`` through pixels (n, 2)."""
        plane = self._plane(pixels)
        # The inverse, not the transpose: files round the matrix, and what is lifted projects back.
        back = np.linalg.inv(self.rotation).T
        D = np.column_stack([plane, np.full(len(plane), self.focal)]) @ back
        directions: Floats = D / np.linalg.norm(D, axis=1)[:, None]
        return directions

    def lift(self, pixels: ArrayLike, mesh: Mesh) -> SurfacePoints:
        """Where the rays through pixels first meet the front of a surface.

        A ray that meets a face from behind first (looking into the head through a hole) shows
        nothing of the front: it counts as a miss.

        Parameters
        ----------
        pixels : (n, 2) float
            Any number, in any order; fractions of pixels are kept.
        mesh : Mesh
            In the camera's frame: a scan as it is in its file.

        Returns
        -------
        SurfacePoints

        Notes
        -----
        Seen from the camera, a triangle is one in the image plane as well, once the distortion is
        undone, so the search is two-dimensional. Every triangle visits the pixels in its bounding
        box: nothing is built for the mesh, and the result is exact. Our own.
        """
        Q = self._plane(pixels) / self.focal
        V, F = mesh.vertices, mesh.faces
        P = (V - self.centre) @ self.rotation.T
        cells, origin, width, order, start = _grid(Q)
        face, weights = _hits(
            np.ascontiguousarray(P), F, Q[order], order, start, origin, width, cells
        )
        hit = np.flatnonzero(face >= 0)
        corners = V[F[face[hit]]]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        points = np.einsum("kc,kcj->kj", weights[hit], corners)
        winding = 1.0 if _volume(V - V.mean(0), F) >= 0 else -1.0
        behind = winding * ((points - self.centre) * normals).sum(1) >= 0
        face[hit[behind]] = -1
        weights[hit[behind]] = 0.0
        positions = np.full((len(Q), 3), np.nan)
        positions[hit[~behind]] = points[~behind]
        return SurfacePoints(face, weights, positions)

    def _plane(self, pixels: ArrayLike) -> Floats:
        """Undistorted image plane, mm."""
        seen = (_rows(pixels, 2, "pixels") - self.principal) * self.pixel
        r2 = (seen**2).sum(1, keepdims=True)
        K, K2 = self.distortion
        plane: Floats = seen * (1 + K * r2 + K2 * r2**2)
        return plane

    def _distorted(self, plane: Floats) -> Floats:
        """Solve r (1 + K r^2 + K2 r^4) = |plane| by Newton's method, on the first branch."""
        K, K2 = self.distortion
        if K == 0 and K2 == 0:
            return plane
        wanted = np.sqrt((plane**2).sum(1))
        r = wanted.copy()
        tolerance = 1e-13 * self.focal
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            for _ in range(30):
                r2 = r * r
                slope = 1 + 3 * K * r2 + 5 * K2 * r2**2
                step = (r * (1 + K * r2 + K2 * r2**2) - wanted) / slope
                if not (np.abs(step) > tolerance).any():
                    break
                # Where the polynomial falls, the first branch lies nearer to the centre.
                r = np.where(slope > 0, np.maximum(r - step, 0.5 * r), 0.5 * r)
            good = (np.abs(step) <= 1e-9 * self.focal) & (slope > 0)
            scale = np.where(wanted > 0, r / wanted, 1.0)
        return plane * np.where(good, scale, np.nan)[:, None]


def read_camera(path: str | os.PathLike[str]) -> Camera:
    """Read a ``.tka`` file.

    Raises
    ------
    DatasetError
        If it cannot be read, or something is missing or no number; says what.
    """
    path = as_path(path, DatasetError)
    values: dict[str, list[float]] = {}
    key = None
    for token in read_text(path, DatasetError).split():
        if token.startswith("%"):
            key = token[1:]
            if key in values:
                raise DatasetError(f"{path}: %{key[:20]} is given twice")
            values[key] = []
            continue
        try:
            number = float(token)
        except ValueError:
            raise DatasetError(f"{path}: {token[:20]!r} is not a number") from None
        if key is None:
            raise DatasetError(f"{path}: starts with numbers; is this a .tka file?")
        values[key].append(number)
    lacks = [f"%{k} ({what})" for k, what in _SCALARS.items() if len(values.get(k, ())) != 1]
    if len(values.get("M", ())) != 9:
        lacks.insert(0, "%M (rotation, 9 numbers)")
    if lacks:
        raise DatasetError(f"{path}: lacks {', '.join(lacks)}; is the file cut off?")
    one = {k: values.pop(k)[0] for k in _SCALARS}
    size = values.pop("is", [])
    whole = len(size) == 2 and all(0 < s < 1e6 and s == int(s) for s in size)
    return Camera(
        np.reshape(values.pop("M"), (3, 3)),
        np.array([one["X"], one["Y"], one["Z"]]),
        one["f"],
        np.array([one["x"], one["y"]]),
        np.array([one["a"], one["b"]]),
        np.array([sum(values.pop("K", [])), sum(values.pop("K2", []))]),
        (int(size[0]), int(size[1])) if whole else None,
        path.name,
        {k: tuple(v) for k, v in values.items()},
    )


def _rows(values: ArrayLike, columns: int, what: str) -> Floats:
    try:
        rows = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        rows = np.empty(0)
    if rows.ndim != 2 or rows.shape[1] != columns:
        raise InputError(f"{what} must be numbers of shape (n, {columns}), not {rows.shape}")
    if not np.isfinite(rows).all():
        bad = np.flatnonzero(~np.isfinite(rows).all(1))
        raise InputError(f"{len(bad)} {what} are not finite (first: {what[:-1]} {bad[0]})")
    return rows


def _grid(Q: Floats) -> tuple[Ints, Floats, Floats, Ints, Ints]:
    """Queries (n, 2) sorted into cells: counts along both axes, origin, width, order, starts."""
    n = len(Q)
    low = Q.min(0) if n else np.zeros(2)
    extent = np.maximum(Q.max(0) - low if n else np.ones(2), 1e-12)
    # Square cells, at least one and at most as many as there are queries along an axis.
    side = np.sqrt(extent.prod() * _PER_CELL / max(n, 1))
    cells = np.clip(np.ceil(extent / side), 1, max(n, 1)).astype(np.int64)
    width = extent / cells
    cell = np.minimum(((Q - low) / width).astype(np.int64), cells - 1)
    key = cell[:, 0] * cells[1] + cell[:, 1]
    order = np.argsort(key, kind="stable")
    start = np.searchsorted(key[order], np.arange(int(cells.prod()) + 1))
    return cells, low, width, order, start


@kernel
def _volume(V: Any, F: Any) -> Any:
    """Six times the signed volume between the faces and the origin: positive if wound outwards."""
    total = 0.0
    for f in range(F.shape[0]):
        a, b, c = F[f, 0], F[f, 1], F[f, 2]
        total += V[a, 0] * (V[b, 1] * V[c, 2] - V[b, 2] * V[c, 1])
        total += V[a, 1] * (V[b, 2] * V[c, 0] - V[b, 0] * V[c, 2])
        total += V[a, 2] * (V[b, 0] * V[c, 1] - V[b, 1] * V[c, 0])
    return total


@kernel
def _hits(
    P: Any, F: Any, Q: Any, order: Any, start: Any, origin: Any, width: Any, cells: Any
) -> Any:
    """Nearest triangle over each query of the plane z = 1, and its barycentric coordinates."""
    n = Q.shape[0]
    face = np.full(n, -1, np.int64)
    weights = np.zeros((n, 3))
    depth = np.zeros(n)  # of the nearest so far, as 1 / z
    for f in range(F.shape[0]):
        az, bz, cz = P[F[f, 0], 2], P[F[f, 1], 2], P[F[f, 2], 2]
        if az <= 0.0 or bz <= 0.0 or cz <= 0.0:
            continue
        ax, ay = P[F[f, 0], 0] / az, P[F[f, 0], 1] / az
        bx, by = P[F[f, 1], 0] / bz, P[F[f, 1], 1] / bz
        cx, cy = P[F[f, 2], 0] / cz, P[F[f, 2], 1] / cz
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if area == 0.0:
            continue
        x0 = np.floor((min(ax, bx, cx) - origin[0]) / width[0])
        x1 = np.floor((max(ax, bx, cx) - origin[0]) / width[0])
        y0 = np.floor((min(ay, by, cy) - origin[1]) / width[1])
        y1 = np.floor((max(ay, by, cy) - origin[1]) / width[1])
        # The last cells hold the queries on the upper borders as well.
        if x1 < 0 or y1 < 0 or x0 > cells[0] or y0 > cells[1]:
            continue
        left, right = int(min(max(x0, 0), cells[0] - 1)), int(min(x1, cells[0] - 1))
        low, high = int(min(max(y0, 0), cells[1] - 1)), int(min(y1, cells[1] - 1))
        for x in range(left, right + 1):
            for i in range(start[x * cells[1] + low], start[x * cells[1] + high + 1]):
                px, py = Q[i, 0], Q[i, 1]
                v = ((px - ax) * (cy - ay) - (cx - ax) * (py - ay)) / area
                w = ((bx - ax) * (py - ay) - (px - ax) * (by - ay)) / area
                u = 1.0 - v - w
                # Rounding must not open a gap between neighbours.
                if u < -1e-12 or v < -1e-12 or w < -1e-12:
                    continue
                u, v, w = max(u, 0.0) / az, max(v, 0.0) / bz, max(w, 0.0) / cz
                near = u + v + w
                j = order[i]
                if near > depth[j]:
                    depth[j], face[j] = near, f
                    weights[j, 0], weights[j, 1], weights[j, 2] = u / near, v / near, w / near
    return face, weights
