"""REALY: parts of a hundred Headspace scans, cut out to measure reconstructions on.

``REALY_scan_region/<k>/{nose,mouth,forehead,cheek}.obj`` are the parts, in a unit of their own;
``REALY_HIFI3D_keypoints/<k>.obj`` 85 keypoints in the same frame, as vertices without faces;
``metrical_scale.txt`` the millimetres in a unit, one line a scan. On the side of the method, the
keypoints are points of its template: JSON ``[[triangle, w0, w1], ...]``.
"""

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from licp.errors import DatasetError
from licp.files import as_path, read_json, read_text
from licp.io import as_mesh, load_mesh
from licp.mesh import Mesh
from licp.obj import decode_obj_vertices

__all__ = ["REALY_REGIONS", "Realy", "RealyScan", "read_barycentric"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

REALY_REGIONS = ("nose", "mouth", "forehead", "cheek")
"""The four parts of every scan."""

_KEYPOINTS = 85


@dataclass(frozen=True)
class RealyScan:
    """One scan of the benchmark. Files are read when asked for.

    Attributes
    ----------
    id : int
        From 1; not the number of the Headspace subject.
    folder : Path
        Of the regions.
    keypoint_path : Path
    millimetres : float or None
        Millimetres in a unit of the regions and keypoints; None without ``metrical_scale.txt``.
    """

    id: int
    folder: Path
    keypoint_path: Path
    millimetres: float | None

    def region(self, name: str) -> Mesh:
        """A part of the scan, in the unit of its file.

        Raises
        ------
        DatasetError
            If there is no such region, or no file for it.
        MeshFileError, MeshError
            If the file is damaged.
        """
        if name not in REALY_REGIONS:
            raise DatasetError(f"no region {name!r}; there are {', '.join(REALY_REGIONS)}")
        path = self.folder / f"{name}.obj"
        if not path.is_file():
            raise DatasetError(f"REALY scan {self.id} lacks its {name}: no file {path}")
        return load_mesh(path)

    def regions(self) -> dict[str, Mesh]:
        """All four parts by name; see :meth:`region`."""
        return {name: self.region(name) for name in REALY_REGIONS}

    def keypoints(self) -> Floats:
        """Positions (85, 3), in the frame and unit of the regions.

        Raises
        ------
        DatasetError
            If the file is missing, damaged or has another number of points.
        """
        path = self.keypoint_path
        if not path.is_file():
            raise DatasetError(f"REALY scan {self.id} lacks its keypoints: no file {path}")
        points = decode_obj_vertices(_bytes(path), path)
        if len(points) != _KEYPOINTS or not np.isfinite(points).all():
            raise DatasetError(
                f"{path}: expected {_KEYPOINTS} finite keypoints, found {len(points)}"
            )
        return points


class _NoSuchScanError(DatasetError, KeyError):
    """Both what a mapping raises, and what all else of a data set does."""

    __str__ = Exception.__str__


class Realy(Mapping[int, RealyScan]):
    """The scans of a REALY folder: ``Realy(root)[7]``.

    Parameters
    ----------
    root : path
        Holds ``REALY_scan_region`` and the rest, or its ``data`` folder does.

    Raises
    ------
    DatasetError
        If there are no scan regions.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        root = as_path(root, DatasetError)
        tried = [root, root / "data", root / "data" / "REALY"]
        found = [p for p in tried if (p / "REALY_scan_region").is_dir()]
        if not found:
            raise DatasetError(
                f"{root}: no folder REALY_scan_region in it, nor in "
                + " or ".join(str(p) for p in tried[1:])
            )
        self.path = found[0]
        regions = self.path / "REALY_scan_region"
        self._ids = sorted(
            int(p.name) for p in regions.iterdir() if re.fullmatch("[0-9]{1,6}", p.name)
        )
        self._scale = _scales(self.path / "metrical_scale.txt")

    def __getitem__(self, number: int) -> RealyScan:
        """Scan number ``number``."""
        if number not in self._ids:
            raise _NoSuchScanError(f"no REALY scan {number!r} in {self.path}")
        scale = self._scale[number - 1] if 0 < number <= len(self._scale) else None
        return RealyScan(
            number,
            self.path / "REALY_scan_region" / str(number),
            self.path / "REALY_HIFI3D_keypoints" / f"{number}.obj",
            scale,
        )

    def __iter__(self) -> Iterator[int]:
        """Numbers, ascending."""
        return iter(self._ids)

    def __len__(self) -> int:
        """Number of scans."""
        return len(self._ids)

    def __repr__(self) -> str:
        """Where and how many."""
        return f"<Realy {str(self.path)!r}: {len(self)} scans>"


def read_barycentric(path: str | os.PathLike[str], template: Any) -> tuple[Ints, Floats]:
    """Points of a template from JSON ``[[triangle, w0, w1], ...]``.

    Parameters
    ----------
    path : path
        Of the JSON file.
    template : path, trimesh.Trimesh, (vertices, faces) or Mesh
        What the triangles are counted in.

    Returns
    -------
    faces : (k,) int64
        Rows of ``template.faces``.
    barycentric : (k, 3) float64
        Weights of their corners, the third being what the first two leave. Together they are
        what :class:`licp.Landmarks` takes as points of a template.

    Raises
    ------
    DatasetError
        If the file is damaged or does not fit the template; with the place in the list.
    """
    path, template = as_path(path, DatasetError), as_mesh(template, "template")
    rows = read_json(path, DatasetError)
    if not isinstance(rows, list) or not rows:
        raise DatasetError(f"{path}: expected a list [[triangle, w0, w1], ...]")
    faces = np.empty(len(rows), np.int64)
    weights = np.empty((len(rows), 3))
    for k, row in enumerate(rows):
        place = f"{path}, entry {k + 1} of {len(rows)}"
        if not (isinstance(row, list) and len(row) == 3 and all(map(_is_number, row))):
            raise DatasetError(f"{place}: expected [triangle, w0, w1], not {str(row)[:60]}")
        f, a, b = row
        if f != int(f) or not 0 <= f < len(template.faces):
            raise DatasetError(
                f"{place}: the template has no triangle {f}; they are 0 to "
                f"{len(template.faces) - 1}"
            )
        if min(a, b, 1 - a - b) < -1e-6:
            raise DatasetError(f"{place}: the weights {a}, {b} lie outside of the triangle")
        faces[k] = int(f)
        weights[k] = a, b, 1.0 - a - b
    weights = np.maximum(weights, 0.0)
    return faces, weights / weights.sum(1, keepdims=True)


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and abs(value) < 1e15
        and math.isfinite(value)
    )


def _scales(path: Path) -> list[float]:
    if not path.is_file():
        return []
    try:
        values = [float(token) for token in read_text(path, DatasetError).split()]
    except ValueError as error:
        raise DatasetError(f"{path}: expected a number a line: {error}") from None
    if not all(math.isfinite(v) and v > 0 for v in values):
        raise DatasetError(f"{path}: scales must be positive")
    return values


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror or error}") from error
