"""Pictures: meshes drawn with a depth buffer, and scan, fit and distances side by side.

Axes of the template's frame are taken as x to the subject's left, y up and z towards the viewer,
as head templates commonly have them.  Views are orthographic, so equal lengths look equal.
"""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from licp.closest import TriangleTree
from licp.compiled import kernel
from licp.errors import InputError, described
from licp.files import named, write_file
from licp.geometry import vertex_normals
from licp.io import as_mesh
from licp.mesh import Mesh
from licp.result import MorphResult

__all__ = ["Frame", "View", "draw", "figure_fit", "view_axes"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]

View = Literal["front", "three-quarter", "profile"]

# Degrees around the vertical axis, towards the subject's left.
_AZIMUTH: dict[View, float] = {"front": 0.0, "three-quarter": 40.0, "profile": 90.0}
# Samples along each side of a pixel; with four samples edges look smooth.
_SAMPLES = 2
# Texels beyond this along a side are finer than the pixels of any picture drawn here.
_TEXELS = 2048
_SCAN_COLOR = (0.80, 0.77, 0.74)
_MORPH_COLOR = (0.62, 0.72, 0.82)
_UNMATCHED_COLOR = (0.80, 0.80, 0.80)
_COLORMAP = "viridis"
# Layout of a figure in pixels: a panel, what a colour bar takes, and the line of titles.
_PANEL = (400, 470)
_BAR, _TITLE, _DPI = 140, 40, 100
# Where panels with a colour bar beside them begin.
_HEATS = 2 * _PANEL[0], 3 * _PANEL[0] + _BAR
_WIDTH = 4 * _PANEL[0] + 2 * _BAR


@dataclass(frozen=True)
class Frame:
    """The part of the view plane that a picture shows.

    Parameters
    ----------
    x, y : float
        Its middle, in the unit of the mesh: to the right and up in the picture.
    height : float
        From the lower to the upper side of the picture, positive.

    Examples
    --------
    >>> Frame.around([[-1.0, -2, 0], [1, 2, 0]], "front", (100, 100), margin=0.0)
    Frame(x=0.0, y=0.0, height=4.0)
    """

    x: float
    y: float
    height: float

    @classmethod
    def around(
        cls, points: ArrayLike, view: View, size: tuple[int, int], margin: float = 0.04
    ) -> "Frame":
        """The smallest frame of a picture of this size (pixels) that shows all points (n, 3)."""
        P = np.asarray(points, np.float64) @ view_axes(view).T
        low, high = P.min(0), P.max(0)
        middle, extent = (low + high) / 2, high - low
        height = max(extent[1], extent[0] * size[1] / size[0]) * (1 + 2 * margin)
        return cls(float(middle[0]), float(middle[1]), float(height) or 1.0)


def draw(
    mesh: Any,
    view: View = "front",
    *,
    size: tuple[int, int] = (480, 560),
    frame: Frame | None = None,
    colors: ArrayLike | None = None,
    relief: float = 1.0,
) -> Bytes:
    """Draw a mesh from one side.

    Parameters
    ----------
    mesh : path, trimesh.Trimesh, (vertices, faces) or Mesh
        In a frame with y up and z towards the viewer.  Faces seen from behind are darker.
    view : {"front", "three-quarter", "profile"}
        The latter two from the subject's left.
    size : (width, height)
        Pixels.
    frame : Frame, optional
        The whole mesh if not given.
    colors : (3,) or (n, 3) float, optional
        For all or for each vertex, 0 to 1.  Without it the mesh shows its texture, else its
        vertex colours, else grey.
    relief : float
        1 shades fully; less keeps colours closer to what was given, 0 exactly.

    Returns
    -------
    (height, width, 4) uint8
        Red, green, blue and opacity; nothing is where opacity is 0.

    Raises
    ------
    InputError
        Unknown view, size that is not positive, colours of another shape.
    MeshError, MeshFileError
        If the mesh cannot be used.

    Examples
    --------
    >>> import trimesh
    >>> picture = draw(trimesh.creation.icosphere(3), size=(64, 64))
    >>> picture.shape, int(picture[32, 32, 3]), int(picture[0, 0, 3])
    ((64, 64, 4), 255, 0)
    """
    mesh = as_mesh(mesh)
    width, height = size
    if width < 1 or height < 1:
        raise InputError(f"the size of a picture must be positive, not {width} x {height}")
    axes = view_axes(view)
    frame = Frame.around(mesh.vertices, view, size) if frame is None else frame
    P = mesh.vertices @ axes.T
    w, h = width * _SAMPLES, height * _SAMPLES
    scale = h / frame.height
    P = np.column_stack(
        [w / 2 + scale * (P[:, 0] - frame.x), h / 2 - scale * (P[:, 1] - frame.y), scale * P[:, 2]]
    )
    face, weights = _rasterize(np.ascontiguousarray(P), np.ascontiguousarray(mesh.faces), w, h)
    pixel = np.flatnonzero(face >= 0)
    face, weights = face[pixel], weights[pixel]
    corners = mesh.faces[face]
    normals = vertex_normals(mesh.vertices, mesh.faces) @ axes.T
    N = np.einsum("pk,pkj->pj", weights, normals[corners])
    N /= np.maximum(np.sqrt(np.einsum("pj,pj->p", N, N)), 1e-12)[:, None]
    color = _colors(mesh, face, corners, weights, colors)
    lit = np.zeros((h * w, 4))
    lit[pixel, :3] = color * (1 - relief + relief * _light(N))[:, None]
    lit[pixel, 3] = 1.0
    # Mean over the samples of each pixel; colours count where there is something.
    mean = np.zeros((height, width, 4))
    for k in range(_SAMPLES**2):
        row, column = divmod(k, _SAMPLES)
        mean += lit.reshape(h, w, 4)[row::_SAMPLES, column::_SAMPLES] / _SAMPLES**2
    mean[..., :3] /= np.maximum(mean[..., 3:], 1e-12)
    return np.asarray(np.round(255 * np.clip(mean, 0, 1)), np.uint8)


def figure_fit(
    result: MorphResult,
    scan: Any,
    path: str | os.PathLike[str],
    *,
    views: View | Sequence[View] = ("front", "three-quarter"),
    unit: str = "unit of the scan",
    limit: float | None = None,
) -> Path:
    """Write a picture of a fit: scan, morphed template, the distance between them, expected error.

    Parameters
    ----------
    result : MorphResult
        What is shown.
    scan : path, trimesh.Trimesh, (vertices, faces) or Mesh
        The scan it was morphed to.  It is shown in the template's frame.
    path : path
        A ``.png``; it appears whole or not at all.
    views : {"front", "three-quarter", "profile"}, or several of them
        One row of the picture for each.
    unit : str
        Of the scan, for the label of the colour bar.
    limit : float, optional
        Distance at the end of the colour bar, in that unit.  Give it to compare pictures.  By
        default 95 % of the matched vertices are below it.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    OutputError
        If it cannot be written there.
    InputError
        Not a result, unknown view, or a limit that is not positive.

    Notes
    -----
    The distance of a vertex is that to the closest point of the scan; how far the vertex may lie
    from its true place beside that point, the expected error tells.  Vertices that were not matched
    are grey: what they lie closest to says nothing about them.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path = named(path, ".png", "pictures")
    rows: Sequence[View] = (views,) if isinstance(views, str) else views
    if not (isinstance(rows, Sequence) and rows):
        raise InputError(f"a picture needs at least one view, not {views!r}")
    for view in rows:
        view_axes(view)  # refuses what is none
    if not isinstance(result, MorphResult):
        raise InputError(f"expected the result of a morph, not {described(result)}")
    if limit is not None and not (isinstance(limit, Real) and 0 < float(limit) < np.inf):
        raise InputError(f"limit must be a positive distance, not {limit!r}")
    scan = as_mesh(scan, "scan")
    distance = TriangleTree(scan.vertices, scan.faces).query(result.vertices)[0]
    if limit is None:
        limit = _limit(distance, result.seen)
    heats = (
        _Heat("distance to the scan", f"distance ({unit})", distance, limit),
        _Heat(
            "expected error",
            f"expected error ({unit})",
            result.expected_error,
            _limit(result.expected_error, result.seen),
        ),
    )
    back = result.similarity.inverse()
    outward = {name: -1 if r.inverted else 1 for name, r in result.repairs.items()}
    fit = _plain(result.mesh, back.apply(result.vertices), outward["template"])
    shown = _plain(scan, back.apply(scan.vertices), outward["scan"])
    textured = shown.texture is not None or shown.colors is not None
    columns: list[tuple[int, str, Mesh, Any, float]] = [
        (0, "scan", shown, None if textured else _SCAN_COLOR, 0.6 if textured else 1.0),
        (_PANEL[0], "morphed template", fit, _MORPH_COLOR, 1.0),
    ]
    for left, heat in zip(_HEATS, heats, strict=True):
        columns.append((left, heat.title, fit, heat.colors(result.seen), 0.5))
    figure = Figure((_WIDTH / _DPI, (len(rows) * _PANEL[1] + _TITLE) / _DPI), dpi=_DPI)
    FigureCanvasAgg(figure)
    top = len(rows) * _PANEL[1]
    whole = top + _TITLE
    for left, name, mesh, colors, relief in columns:
        place = (left + 0.5 * _PANEL[0]) / _WIDTH, (top + _TITLE / 2) / whole
        figure.text(*place, name, ha="center", va="center", fontsize=13)
        for i, view in enumerate(rows):
            frame = Frame.around(fit.vertices, view, _PANEL)
            picture = draw(mesh, view, size=_PANEL, frame=frame, colors=colors, relief=relief)
            figure.figimage(picture, left, top - (i + 1) * _PANEL[1])
    length = 0.7 * _PANEL[1] / whole
    low = (top / whole - length) / 2
    for left, heat in zip(_HEATS, heats, strict=True):
        beside = (left + _PANEL[0] + 15) / _WIDTH
        axes = figure.add_axes((beside, low, 20 / _WIDTH, length))
        figure.colorbar(heat.scale, cax=axes, extend="max", label=heat.label)
        figure.text(beside, low - 40 / whole, "grey: not matched", fontsize=9, color="0.35")
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=_DPI, metadata={"Software": "licp"})
    write_file(path, data.getvalue())
    return path


def view_axes(view: View) -> Floats:
    """Rows (3, 3): right, up and towards the viewer, in the frame of the mesh."""
    if not (isinstance(view, str) and view in _AZIMUTH):
        raise InputError(f"unknown view {view!r}; choose one of {', '.join(_AZIMUTH)}")
    angle = np.deg2rad(_AZIMUTH[view])
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0.0, -s], [0.0, 1.0, 0.0], [s, 0.0, c]])


def _light(normals: Floats) -> Floats:
    """Brightness of surfaces with these unit normals in the view's axes."""
    behind = normals[:, 2] < 0
    N = np.where(behind[:, None], -normals, normals)
    key, fill = np.array([-0.45, 0.55, 0.70]), np.array([0.60, 0.10, 0.79])
    light = 0.20 + 0.55 * np.maximum(N @ key, 0) + 0.40 * np.maximum(N @ fill, 0)
    bright: Floats = np.where(behind, 0.45, 1.0) * np.minimum(light, 1.0)
    return bright


def _colors(
    mesh: Mesh, face: Ints, corners: Ints, weights: Floats, colors: ArrayLike | None
) -> Floats:
    """Colour (p, 3) of points of the surface."""
    if colors is None and mesh.uv is not None and mesh.face_uv is not None:
        image = mesh.texture_image()
        if image is not None:
            return _texels(image, mesh.uv, mesh.face_uv[face], weights)
    if colors is None:
        colors = _SCAN_COLOR if mesh.colors is None else mesh.colors[:, :3]
    C = np.asarray(colors, np.float64)
    if C.shape == (3,):
        return np.broadcast_to(C, (len(face), 3))
    if C.shape != (len(mesh.vertices), 3):
        raise InputError(f"colors must have shape (3,) or ({len(mesh.vertices)}, 3), not {C.shape}")
    mixed: Floats = np.einsum("pk,pkj->pj", weights, C[corners])
    return mixed


def _texels(image: Any, uv: Floats, rows: Ints, weights: Floats) -> Floats:
    image = image.convert("RGB")
    image.thumbnail((_TEXELS, _TEXELS))
    pixels = np.asarray(image)
    h, w = pixels.shape[:2]
    at = np.einsum("pk,pkj->pj", weights, uv[rows])
    known = (rows >= 0).all(1) & np.isfinite(at).all(1)
    u, v = np.where(known[:, None], at, 0.0).T
    x = np.clip(((u - np.floor(u)) * w).astype(np.int64), 0, w - 1)
    y = np.clip(((1 - (v - np.floor(v))) * h).astype(np.int64), 0, h - 1)
    colors: Floats = np.where(known[:, None], pixels[y, x] / 255.0, _SCAN_COLOR)
    return colors


def _plain(mesh: Mesh, vertices: Floats, winding: int) -> Mesh:
    """The mesh at other positions, wound outwards."""
    flip = slice(None, None, winding)
    if winding > 0:
        return mesh.with_vertices(vertices)
    uv_faces = mesh.face_uv
    return Mesh(
        vertices,
        mesh.faces[:, flip],
        uv=mesh.uv,
        uv_faces=None if uv_faces is None else uv_faces[:, flip],
        colors=mesh.colors,
        texture=mesh.texture,
        name=mesh.name,
    )


@dataclass(frozen=True, eq=False)
class _Heat:
    """Values of the vertices as colours, up to a limit."""

    title: str
    label: str
    values: Floats
    limit: float

    @cached_property
    def scale(self) -> Any:
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        return ScalarMappable(Normalize(0, self.limit), _COLORMAP)

    def colors(self, seen: NDArray[np.bool_]) -> Floats:
        colors: Floats = self.scale.to_rgba(self.values)[:, :3]
        return np.where(seen[:, None], colors, _UNMATCHED_COLOR)


def _limit(values: Floats, seen: NDArray[np.bool_]) -> float:
    """What 95 % of the vertices that were seen are below, as a round number."""
    return _round_up(float(np.percentile(values[seen], 95))) if seen.any() else 1.0


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, ... times a power of ten; 1 for zero."""
    if not value > 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(power * next(s for s in (1, 2, 5, 10) if s * power >= 0.999 * value))


@kernel(error_model="numpy")
def _rasterize(P: Any, F: Any, width: int, height: int) -> Any:
    """Frontmost face (-1 for none) at the centre of each pixel, row by row, and where on it."""
    face = np.full(height * width, -1, np.int64)
    depth = np.full(height * width, -np.inf)
    weights = np.zeros((height * width, 3))
    for f in range(F.shape[0]):
        a, b, c = F[f, 0], F[f, 1], F[f, 2]
        ax, ay, bx, by, cx, cy = P[a, 0], P[a, 1], P[b, 0], P[b, 1], P[c, 0], P[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0:
            continue
        x0 = max(np.ceil(min(ax, bx, cx) - 0.5), 0.0)
        x1 = min(np.floor(max(ax, bx, cx) - 0.5), width - 1.0)
        y0 = max(np.ceil(min(ay, by, cy) - 0.5), 0.0)
        y1 = min(np.floor(max(ay, by, cy) - 0.5), height - 1.0)
        if x0 > x1 or y0 > y1:
            continue
        for y in range(int(y0), int(y1) + 1):
            for x in range(int(x0), int(x1) + 1):
                px, py = x + 0.5, y + 0.5
                u = ((bx - px) * (cy - py) - (by - py) * (cx - px)) / area
                v = ((cx - px) * (ay - py) - (cy - py) * (ax - px)) / area
                w = 1.0 - u - v
                if u < 0.0 or v < 0.0 or w < 0.0:
                    continue
                z = u * P[a, 2] + v * P[b, 2] + w * P[c, 2]
                at = y * width + x
                if z > depth[at]:
                    depth[at], face[at] = z, f
                    weights[at, 0], weights[at, 1], weights[at, 2] = u, v, w
    return face, weights
