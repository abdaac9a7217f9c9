"""Write meshes as the text files that scanners and modelling programs write."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float64]


def write_obj(path: Path, vertices: Array, faces: NDArray[np.int64], uv: Array | None = None,
              colours: NDArray[np.uint8] | None = None, texture: str | None = None,
              digits: int = 3) -> None:
    """Write an OBJ file, and an MTL file beside it if there is a texture image to name.

    Parameters
    ----------
    path : Path
        Of the OBJ file.
    vertices : (n, 3) float64
        Coordinates.
    faces : (m, 3) int64
        Vertices of each triangle, from 0.
    uv : (n, 2) float64, optional
        One texture coordinate a vertex.
    colours : (n, 3) uint8, optional
        Written behind the coordinates, from 0 to 1.
    texture : str, optional
        File name of the image.
    digits : int
        Decimals of the coordinates.
    """
    lines = []
    if texture:
        material = path.with_suffix(".mtl")
        material.write_text("newmtl skin\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nillum 1\n"
                            f"map_Kd {texture}\n")
        lines += [f"mtllib {material.name}"]
    rows, form = vertices, "v" + f" %.{digits}f" * 3
    if colours is not None:
        rows, form = np.concatenate([vertices, colours / 255.0], 1), form + " %.3f" * 3
    lines += [form % tuple(r) for r in rows.tolist()]
    corner = "%d"
    if uv is not None:
        lines += [f"vt {a:.4f} {b:.4f}" for a, b in uv.tolist()]
        corner = "%d/%d"
    if texture:
        lines += ["usemtl skin"]
    index = (faces + 1).repeat(2, 1) if uv is not None else faces + 1
    form = "f " + " ".join([corner] * 3)
    lines += [form % tuple(r) for r in index.tolist()]
    path.write_text("\n".join(lines) + "\n")


def write_image(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write an image in the format of the path's suffix."""
    Image.fromarray(pixels).save(path, quality=88)
