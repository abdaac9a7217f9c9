"""Contours as annotators leave them: lines on photographs, read and lifted to the scan."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from licp.errors import InputError
from licp.files import as_path, read_json
from licp.headspace import Camera
from licp.mesh import Mesh
from licp.metrics.strokes import strokes
from licp.metrics.transfer import merge_contours, resample

__all__ = ["Drawing", "lift_drawings", "read_drawings", "read_painted"]

Floats = NDArray[np.float64]

Drawing = dict[str, list[Floats]]
"""For each contour, its pieces: (k, 2) pixels of a view or (k, 3) positions on the scan."""

# Rays are half a pixel apart: scans are about as fine as the photographs, or coarser.
_PIXEL_STEP = 0.5
# Where successive rays land this many times farther apart than is usual, there is an edge between.
_JUMP = 8.0


def read_drawings(path: str | os.PathLike[str]) -> dict[str, Drawing]:
    """Contours by view from JSON: ``{view: {contour: [[[u, v], ...], ...]}}``.

    Each contour is a list of pieces, each piece a list of points in order.  Points with two
    numbers are pixels of the view, first right, then down; points with three are positions on the
    scan, and the name of their "view" means nothing.

    Raises
    ------
    InputError
        If the file cannot be read or is of another form; with the place.
    """
    path = as_path(path, InputError)
    content = read_json(path, InputError)
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise InputError(f"{path}: expected {{view: {{contour: [[[u, v], ...], ...]}}}}")
    found: dict[str, Drawing] = {}
    for view, lines in content.items():
        found[view] = {}
        for name, pieces in lines.items():
            if not isinstance(pieces, list):
                raise InputError(f"{path}: {view}, {name}: expected a list of pieces")
            found[view][name] = [
                _piece(piece, f"{path}: {view}, {name}, piece {k}")
                for k, piece in enumerate(pieces, 1)
                if piece != []
            ]
    return found


def read_painted(image: ArrayLike, colours: Mapping[str, Sequence[int]]) -> Drawing:
    """Contours painted on a photograph, each in a colour of its own.

    Parameters
    ----------
    image : (height, width, 3) uint8
        Not from a JPEG, whose colours are not exact.
    colours : mapping of str to three int
        Red, green and blue of each contour, 0 to 255.

    Returns
    -------
    dict of str to list of (k, 2) float64
        Lines along the middle of what has that colour: :func:`licp.metrics.strokes.strokes`.

    Raises
    ------
    InputError
        If the image or a colour has another form.
    """
    pixels = np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise InputError(
            f"an image must have shape (height, width, 3) and type uint8, not {pixels.shape} "
            f"and {pixels.dtype}"
        )
    found: Drawing = {}
    for name, colour in colours.items():
        rgb = np.asarray(colour)
        if rgb.shape != (3,) or rgb.min() < 0 or rgb.max() > 255:
            raise InputError(f"the colour of {name} must be three numbers, 0 to 255, not {colour}")
        found[name] = strokes((pixels == rgb).all(2))
    return found


def lift_drawings(
    drawings: Mapping[str, Drawing], cameras: Mapping[str, Camera], scan: Mesh, spacing: float
) -> dict[str, Floats]:
    """Contours of all views on the scan, evenly sampled; what two views show counts once.

    Parameters
    ----------
    drawings : mapping of str to Drawing
        By view.
    cameras : mapping of str to Camera
        Of the views; those that hold positions need none.
    scan : Mesh
        As in its file.
    spacing : float
        Of the samples, in the unit of the scan.

    Returns
    -------
    dict of str to (k, 3) float64
        Of each contour that met the scan.  Rays that miss it are left out; lines are broken where
        the surface behind them jumps.

    Raises
    ------
    InputError
        If a view has no camera.
    """
    pieces: dict[str, list[Floats]] = {}
    for view, lines in drawings.items():
        flat = [(name, piece) for name, parts in lines.items() for piece in parts]
        drawn = [(name, resample(piece, _PIXEL_STEP)) for name, piece in flat if _is_flat(piece)]
        if drawn and view not in cameras:
            raise InputError(
                f"contours are drawn on view {view}, which has no camera; there are "
                + (", ".join(cameras) or "none")
            )
        for name, piece in flat:
            pieces.setdefault(name, []).extend([] if _is_flat(piece) else [piece])
        if drawn:
            points = cameras[view].lift(np.concatenate([r for _, r in drawn]), scan).positions
            ends = np.cumsum([len(rays) for _, rays in drawn])[:-1]
            for (name, _), line in zip(drawn, np.split(points, ends), strict=True):
                pieces[name].extend(_unbroken(line))
    return {name: merge_contours(parts, spacing) for name, parts in pieces.items() if parts}


def _is_flat(piece: Floats) -> bool:
    return int(piece.shape[1]) == 2


def _unbroken(points: Floats) -> list[Floats]:
    """The stretches of a line between misses (NaN) and jumps."""
    hit = np.isfinite(points).all(1)
    step = np.linalg.norm(np.diff(points, axis=0), axis=1)
    usual = np.median(step[np.isfinite(step)]) if np.isfinite(step).any() else 0.0
    # Comparisons with NaN are false, so misses break the line as well.
    joined = step <= _JUMP * usual
    runs = np.split(points, np.flatnonzero(~joined) + 1)
    kept = np.split(hit, np.flatnonzero(~joined) + 1)
    return [run for run, there in zip(runs, kept, strict=True) if there.all()]


def _piece(piece: Any, place: str) -> Floats:
    try:
        points = np.array(piece, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{place}: expected a list of points: {str(error)[:100]}") from error
    if points.ndim != 2 or points.shape[1] not in (2, 3) or not np.isfinite(points).all():
        raise InputError(
            f"{place}: expected finite points with two or three numbers, found shape {points.shape}"
        )
    return points
