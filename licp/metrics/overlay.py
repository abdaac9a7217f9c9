"""Pictures of annotations: of all subjects on the template, and of one subject on another's scan.

What is drawn on a surface is hidden by what lies before it, as on :func:`licp.render.draw`'s
pictures, and by the surface itself where that is seen from behind, through a mouth or a hole.
Meshes are shown in a frame with y up and z towards the viewer.
"""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree

from licp.errors import InputError
from licp.files import named, write_file
from licp.geometry import mesh_size, vertex_normals
from licp.io import as_mesh
from licp.mesh import Mesh
from licp.metrics.agreement import Agreement
from licp.render import Frame, View, draw, view_axes

__all__ = ["COLOURS", "draw_with_points", "figure_heat", "figure_overlay", "figure_swap"]

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]

COLOURS: tuple[tuple[float, float, float], ...] = (
    (0.84, 0.15, 0.16),
    (0.12, 0.47, 0.71),
    (0.17, 0.63, 0.17),
    (1.00, 0.50, 0.05),
    (0.58, 0.40, 0.74),
    (0.09, 0.75, 0.81),
    (0.89, 0.47, 0.76),
    (0.55, 0.34, 0.29),
    (0.74, 0.74, 0.13),
    (0.10, 0.10, 0.45),
    (0.00, 0.35, 0.30),
    (1.00, 0.80, 0.30),
)
"""Of contours, in order; they start anew after the last one."""

_GREY = (0.80, 0.77, 0.74)
_PANEL, _LINE, _DPI = (460, 540), 34, 100
_COLORMAP = "viridis"
# Cosine between a surface's normal and the viewer from which on it is seen from behind.
_AVERTED = -0.2
# Corners of an octahedron and its faces: a dot that looks alike from all sides.
_CORNERS = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float)
_FACES = np.array(
    [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]]
)


def draw_with_points(
    mesh: Any,
    points: Sequence[tuple[ArrayLike, ArrayLike]],
    view: View = "front",
    *,
    radius: float,
    size: tuple[int, int] = _PANEL,
    frame: Frame | None = None,
    colors: ArrayLike | None = None,
    opacity: float = 1.0,
) -> Bytes:
    """Draw a mesh with coloured dots on it.

    Parameters
    ----------
    mesh, view, size, frame, colors
        Of :func:`licp.render.draw`.
    points : sequence of ((k, 3) float, (3,) or (k, 3) float)
        Positions and colours (0 to 1).
    radius : float
        Of the dots, in the unit of the mesh.
    opacity : float
        Of the dots, 0 to 1.

    Returns
    -------
    (height, width, 4) uint8
    """
    mesh = as_mesh(mesh)
    frame = Frame.around(mesh.vertices, view, size) if frame is None else frame
    base = draw(mesh, view, size=size, frame=frame, colors=colors, relief=1.0)
    at = [np.asarray(p, np.float64).reshape(-1, 3) for p, _ in points]
    paint = [
        np.broadcast_to(np.asarray(c, np.float64), p.shape)
        for p, c in zip(at, (c for _, c in points), strict=True)
    ]
    dots, shades = (
        np.concatenate([np.empty((0, 3)), *at]),
        np.concatenate([np.empty((0, 3)), *paint]),
    )
    front = _in_front(mesh, dots, view)
    dots, shades = dots[front], shades[front]
    if not len(dots):
        return base
    n, k = len(mesh.vertices), len(dots)
    vertices = np.concatenate([mesh.vertices, (dots[:, None] + radius * _CORNERS).reshape(-1, 3)])
    offset = n + len(_CORNERS) * np.arange(k)
    faces = np.concatenate([mesh.faces, (offset[:, None, None] + _FACES).reshape(-1, 3)])
    both = Mesh(vertices, faces)
    # Colours of the dots before black, and how much of each pixel they cover: the surface hides
    # what lies behind it, and the mesh below keeps its texture.
    black = np.zeros((n, 3))
    ink = np.concatenate([black, shades.repeat(len(_CORNERS), 0)])
    stencil = np.concatenate([black, np.ones((k * len(_CORNERS), 3))])
    shown, cover = (
        draw(both, view, size=size, frame=frame, colors=c, relief=0.0).astype(np.float64)
        for c in (ink, stencil)
    )
    part = opacity * cover[..., :3] / 255.0
    picture = base.astype(np.float64)
    picture[..., :3] = picture[..., :3] * (1 - part) + opacity * shown[..., :3]
    picture[..., 3] = np.maximum(picture[..., 3], opacity * cover[..., 0])
    return np.asarray(np.round(np.clip(picture, 0, 255)), np.uint8)


def figure_overlay(
    template: Any,
    agreements: Mapping[str, Agreement],
    path: str | os.PathLike[str],
    *,
    views: tuple[View, ...] = ("front", "three-quarter", "profile"),
    title: str = "",
) -> Path:
    """Write a picture of all subjects' annotations on the unwarped template.

    The upper row has one colour a contour: lines are sharp where the registrations are
    consistent.  The lower row shows the local density: the part of the other subjects whose
    contour passes there.

    Parameters
    ----------
    template : path, trimesh.Trimesh, (vertices, faces) or Mesh
        Unwarped, y up and z to the front.
    agreements : mapping of str to Agreement
        By contour.
    path : path
        A ``.png``; it appears whole or not at all.
    views : tuple of {"front", "three-quarter", "profile"}
        One column each.
    title : str
        Above the picture.

    Raises
    ------
    OutputError
        If it cannot be written there.
    InputError
        If there are no contours.
    """
    if not agreements:
        raise InputError("there are no annotations to draw")
    mesh = as_mesh(template, "template")
    radius = _dot(mesh)
    scale = _scale(0.0, 1.0)
    rows: list[list[tuple[Any, Any]]] = [[], []]
    for number, found in enumerate(agreements.values()):
        dots = np.concatenate(found.places)
        rows[0].append((dots, COLOURS[number % len(COLOURS)]))
        rows[1].append((dots, scale.to_rgba(np.concatenate(found.local))[:, :3]))
    every = np.concatenate([dots for dots, _ in rows[0]])
    pictures = [
        [
            draw_with_points(
                mesh,
                row,
                view,
                radius=radius,
                size=_PANEL,
                frame=Frame.around(every, view, _PANEL, margin=0.15),
                colors=_GREY,
                opacity=opacity,
            )
            for view in views
        ]
        for row, opacity in zip(rows, (0.8, 1.0), strict=True)
    ]
    names = {name.replace("_", " "): COLOURS[k % len(COLOURS)] for k, name in enumerate(agreements)}
    return _write(path, pictures, title, names, (scale, "local density"))


def figure_swap(
    panels: Sequence[tuple[str, Any, Mapping[str, ArrayLike], Mapping[str, ArrayLike]]],
    path: str | os.PathLike[str],
    *,
    view: View = "front",
    title: str = "",
) -> Path:
    """Write a picture of scans with their own annotations and those brought from elsewhere.

    Parameters
    ----------
    panels : sequence of (caption, mesh, own, brought)
        Four in a row, showing what is around the contours.  Own ones are black under the colours
        of the brought ones, each a mapping of names to positions (k, 3) in the frame of the mesh.
    path : path
        A ``.png``; it appears whole or not at all.
    view : {"front", "three-quarter", "profile"}
        Of all scans.
    title : str
        Above the picture.

    Raises
    ------
    OutputError
        If it cannot be written there.
    InputError
        If there are no panels.
    """
    if not panels:
        raise InputError("there are no scans to draw")
    names = list(dict.fromkeys(n for _, _, own, brought in panels for n in (*own, *brought)))
    shade = {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(names)}
    pictures: list[list[Bytes]] = [[]]
    captions: list[list[str]] = [[]]
    for caption, shape, own, brought in panels:
        mesh = as_mesh(shape)
        plain = mesh.texture_image() is None and mesh.colors is None
        radius = _dot(mesh)
        dots = [np.asarray(p) for p in (*own.values(), *brought.values())]
        around = np.concatenate(dots) if dots else mesh.vertices
        picture = draw_with_points(
            mesh,
            [
                *((p, (0.0, 0.0, 0.0) if brought else shade[n]) for n, p in own.items()),
                *((p, shade[n]) for n, p in brought.items()),
            ],
            view,
            radius=radius,
            size=_PANEL,
            frame=Frame.around(around, view, _PANEL, margin=0.15),
            colors=_GREY if plain else None,
        )
        if len(pictures[-1]) == 4:
            pictures.append([])
            captions.append([])
        pictures[-1].append(picture)
        captions[-1].append(caption)
    legend = {"own": (0.0, 0.0, 0.0)} | {n.replace("_", " "): c for n, c in shade.items()}
    return _write(path, pictures, title, legend, None, captions)


def figure_heat(
    template: Any,
    values: ArrayLike,
    path: str | os.PathLike[str],
    *,
    label: str,
    views: tuple[View, ...] = ("front", "three-quarter", "profile"),
    limit: float | None = None,
    title: str = "",
) -> Path:
    """Write a picture of the template with a number at each vertex as colour.

    Parameters
    ----------
    template : path, trimesh.Trimesh, (vertices, faces) or Mesh
        Unwarped, y up and z to the front.
    values : (n,) float
        Not negative; NaN is grey.
    path : path
        A ``.png``; it appears whole or not at all.
    label : str
        Of the colour bar.
    views : tuple of {"front", "three-quarter", "profile"}
        One column each.
    limit : float, optional
        End of the colour bar; 95 % of the vertices are below it if not given.
    title : str
        Above the picture.

    Raises
    ------
    OutputError
        If it cannot be written there.
    InputError
        If there is not one number for each vertex.
    """
    mesh = as_mesh(template, "template")
    heat = np.asarray(values, np.float64)
    if heat.shape != (len(mesh.vertices),):
        raise InputError(f"values must have shape ({len(mesh.vertices)},), not {heat.shape}")
    known = np.isfinite(heat)
    if limit is None:
        limit = float(np.percentile(heat[known], 95)) if known.any() else 1.0
    scale = _scale(0.0, limit if limit > 0 else 1.0)
    colors = np.where(known[:, None], scale.to_rgba(np.where(known, heat, 0.0))[:, :3], _GREY)
    pictures = [[draw(mesh, view, size=_PANEL, colors=colors, relief=0.5) for view in views]]
    return _write(path, pictures, title, {}, (scale, label))


def _in_front(mesh: Mesh, dots: Floats, view: View) -> NDArray[np.bool_]:
    """Whether the surface under a dot faces the viewer, or nearly so: rims show from both sides."""
    forward = vertex_normals(mesh.vertices, mesh.faces) @ view_axes(view)[2]
    return np.asarray(forward[KDTree(mesh.vertices).query(dots)[1]] > _AVERTED)


def _dot(mesh: Mesh) -> float:
    """Radius of a dot: 0.6 mm for a head of 400 mm."""
    return 0.0015 * mesh_size(mesh.vertices, mesh.faces)


def _scale(low: float, high: float) -> Any:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(low, high), _COLORMAP)


def _write(
    path: str | os.PathLike[str],
    pictures: list[list[Bytes]],
    title: str,
    legend: Mapping[str, tuple[float, float, float]],
    scale: tuple[Any, str] | None,
    captions: list[list[str]] | None = None,
) -> Path:
    """Panels in rows, with a title above, a colour bar at the right and a legend below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path = named(path, ".png", "pictures")
    columns = max(map(len, pictures))
    # Legends are wrapped by their width in pixels, about eight a letter.
    lines: list[list[str]] = [[]]
    room = columns * _PANEL[0] - 40
    for name in legend:
        if lines[-1] and sum(8 * len(n) + 40 for n in (*lines[-1], name)) > room:
            lines.append([])
        lines[-1].append(name)
    head = _LINE if title else 0
    foot = (_LINE * len(lines)) if legend else 0
    caption = _LINE if captions else 0
    width = columns * _PANEL[0] + (110 if scale else 0)
    height = head + foot + len(pictures) * (_PANEL[1] + caption)
    figure = Figure((width / _DPI, height / _DPI), dpi=_DPI)
    FigureCanvasAgg(figure)
    if title:
        figure.text(0.5, 1 - head / 2 / height, title, ha="center", va="center", fontsize=13)
    for i, row in enumerate(pictures):
        low = height - head - (i + 1) * (_PANEL[1] + caption)
        for j, picture in enumerate(row):
            figure.figimage(picture, j * _PANEL[0], low)
            if captions:
                x, y = (j + 0.5) * _PANEL[0] / width, (low + _PANEL[1] + caption / 2) / height
                figure.text(x, y, captions[i][j], ha="center", va="center", fontsize=11)
    if scale:
        axes = figure.add_axes(
            (
                (columns * _PANEL[0] + 15) / width,
                (foot + 0.15 * _PANEL[1]) / height,
                20 / width,
                0.7 * _PANEL[1] / height,
            )
        )
        figure.colorbar(scale[0], cax=axes, extend="max", label=scale[1])
    for i, names in enumerate(lines if legend else []):
        x, y = 20, foot - (i + 0.5) * _LINE
        for name in names:
            figure.text(x / width, y / height, "●", color=legend[name], va="center", fontsize=14)
            figure.text((x + 18) / width, y / height, name, va="center", fontsize=10)
            x += 8 * len(name) + 40
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=_DPI, metadata={"Software": "licp"})
    write_file(path, data.getvalue())
    return path
