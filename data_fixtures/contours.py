"""Contours that annotators draw: where they truly run, and what they look like on photographs."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .cameras import View, photograph, project_polyline, runs, visible
from .files import write_image
from .head import Template, edge_path
from .scan import Scan

Array = NDArray[np.float64]
Int = NDArray[np.int64]

CONTOUR_COLOURS = {
    "jaw": (255, 255, 0), "brow_right": (0, 160, 0), "brow_left": (0, 255, 0),
    "nose_bridge": (0, 255, 255), "nose_base": (0, 160, 160),
    "eye_right": (0, 0, 160), "eye_left": (0, 0, 255),
    "lips_outer": (255, 0, 0), "lips_inner": (160, 0, 0),
    "ear_right": (160, 0, 160), "ear_left": (255, 0, 255),
}
"""The contours and the colour each is drawn in."""


def contours(template: Template) -> dict[str, Int]:
    """Vertices (k,) along each contour, neighbours joined by edges of the template.

    Closed ones, which are eyes, lips and ears, begin and end at the same vertex. Left and right
    are the subject's.
    """
    c, marks = template.curves, template.landmarks

    def path(stops: Iterable[int] | Int) -> Int:
        return edge_path(template.vertices, template.faces, np.asarray(stops, np.int64))

    def ring(upper: Int, lower: Int) -> Int:
        return np.concatenate([upper, lower[-2::-1]])

    right, left = c["upper_lip_inner"][[0, -1]]
    found = {
        "jaw": c["jaw"], "brow_right": c["brow_right"], "brow_left": c["brow_left"],
        "nose_bridge": path(marks[27:31]), "nose_base": path(marks[31:36]),
        "eye_right": ring(c["upper_lid_right"], c["lower_lid_right"]),
        "eye_left": ring(c["upper_lid_left"], c["lower_lid_left"]),
        "lips_outer": path(np.r_[right, c["upper_lip_outer"], left, c["lower_lip_outer"][::-1],
                                 right]),
        "lips_inner": ring(c["upper_lip_inner"], c["lower_lip_inner"]),
        "ear_right": path(c["helix_right"]), "ear_left": path(c["helix_left"]),
    }
    return found


@dataclass(frozen=True)
class Drawing:
    """Contours on one photograph.

    Attributes
    ----------
    image : (height, width, 3) uint8
        The photograph with the lines on it.
    pieces : dict of str to list of (k, 2) float64
        Pixels along the visible stretches of each contour, right and down.
    """

    image: NDArray[np.uint8]
    pieces: dict[str, list[Array]]


def draw_views(result: Scan, cameras: Mapping[str, View], lines: Mapping[str, Int],
               names: Iterable[str] = ("1C", "2C")) -> dict[str, Drawing]:
    """Draw the true contours of a scan on photographs, where they can be seen.

    Parameters
    ----------
    result : Scan
        With the truth for the template that the contours are of.
    cameras : mapping of str to View
        See :func:`data_fixtures.cameras.views`.
    lines : mapping of str to (k,) int64
        See :func:`contours`.
    names : iterable of str
        Views to draw on.
    """
    drawings = {}
    for name in names:
        image, depths = photograph(cameras[name], result)
        pieces: dict[str, list[Array]] = {}
        for label, chain in lines.items():
            pixels, depth = project_polyline(cameras[name], result.truth[chain])
            seen = visible(cameras[name], depths, pixels, depth)
            pieces[label] = [pixels[part] for part in runs(seen) if part.stop - part.start > 3]
            for piece in pieces[label]:
                x, y = np.floor(piece + 0.5).astype(int).T
                image[y, x] = CONTOUR_COLOURS.get(label, (255, 255, 255))
        drawings[name] = Drawing(image, pieces)
    return drawings


def write_drawings(folder: Path, drawings: Mapping[str, Drawing]) -> None:
    """Write <view>.png, and contours.json: {view: {contour: [[[u, v], ...], ...]}}."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, drawing in drawings.items():
        write_image(folder / f"{name}.png", drawing.image)
    table = {name: {label: [np.round(p, 3).tolist() for p in pieces]
                    for label, pieces in drawing.pieces.items()}
             for name, drawing in drawings.items()}
    (folder / "contours.json").write_text(json.dumps(table) + "\n")
