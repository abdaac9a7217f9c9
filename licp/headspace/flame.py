"""FLAME registrations of Headspace scans, as the MICA project distributes them.

``registrations/<subject>/<root>.obj`` is a mesh of 5,023 vertices in metres, in FLAME's frame, and
``FLAME_parameters/<subject>/<root>.npz`` what FLAME makes it from: 300 shape and 100 expression
coefficients as ``betas``, rotations of root, neck, jaw and eyes as ``pose`` (axis times angle).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from licp.errors import DatasetError
from licp.io import load_mesh
from licp.mesh import Mesh

__all__ = ["FlameFit", "FlameParameters", "read_flame_mesh", "read_flame_parameters"]

Floats = NDArray[np.float64]

_VERTICES = 5023
_SHAPE = 300


@dataclass(frozen=True, eq=False)
class FlameParameters:
    """Coefficients of a FLAME head.

    Attributes
    ----------
    shape : (300,) float64
    expression : (k,) float64
        Usually 100.
    pose : (15,) float64
        Three numbers for each of root, neck, jaw, left and right eye: axis times angle, radians.
    other : mapping of str to array
        Whatever else of numbers the file holds, such as ``trans``.
    """

    shape: Floats
    expression: Floats
    pose: Floats
    other: Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, eq=False)
class FlameFit:
    """What there is of FLAME for a subject; None for what there is not.

    Attributes
    ----------
    mesh : Mesh or None
        5,023 vertices in metres, in FLAME's frame (not the scan's).
    parameters : FlameParameters or None
    """

    mesh: Mesh | None
    parameters: FlameParameters | None


def read_flame_mesh(path: Path) -> Mesh:
    """Read a registration.

    Raises
    ------
    MeshFileError, MeshError
        If the file is damaged.
    DatasetError
        If it has another number of vertices than FLAME.
    """
    mesh = load_mesh(path)
    if len(mesh.vertices) != _VERTICES:
        raise DatasetError(
            f"{path}: FLAME has {_VERTICES} vertices, this mesh {len(mesh.vertices)}; is it a "
            "registration?"
        )
    return mesh


def read_flame_parameters(path: Path) -> FlameParameters:
    """Read coefficients. Objects in the file are left alone: they could run code.

    Raises
    ------
    DatasetError
        If the file is damaged or lacks ``betas`` or ``pose``.
    """
    arrays: dict[str, NDArray[np.generic]] = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            for name in file.files:
                try:
                    array = file[name]
                except ValueError as error:
                    if "pickle" in str(error):
                        continue
                    raise
                if array.dtype.kind in "iuf":
                    arrays[name] = array
    except Exception as error:  # whatever NumPy, zip and zlib trip over in damaged files
        detail = f"{type(error).__name__}: {error}"
        raise DatasetError(f"{path}: not a readable .npz file ({detail[:200]})") from error
    parts = []
    for name, least in (("betas", _SHAPE), ("pose", 9)):
        if name not in arrays or arrays[name].size < least:
            found = ", ".join(f"{k} {v.shape}" for k, v in arrays.items()) or "nothing"
            raise DatasetError(f"{path}: lacks {name} ({least} numbers or more); it holds {found}")
        value = arrays.pop(name).astype(np.float64).ravel()
        if not np.isfinite(value).all():
            raise DatasetError(f"{path}: {name} is not finite")
        parts.append(value)
    betas, pose = parts
    return FlameParameters(betas[:_SHAPE], betas[_SHAPE:], pose, arrays)
