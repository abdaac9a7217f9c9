"""Load and save meshes: OBJ, PLY and GLB, keeping vertex order, uv, materials and colours."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from licp.compiled import interruptible
from licp.errors import LicpError, MeshError, MeshFileError, OutputError, described
from licp.files import as_path, check_place, write_file
from licp.mesh import Mesh, as_png
from licp.obj import decode_obj, encode_obj
from licp.ply import decode_ply, encode_ply

__all__ = ["ENDINGS", "as_mesh", "check_output", "load_mesh", "save_mesh"]

# What may hold several files, of which trimesh reads one in its own order of vertices.
_PACKED = (".7z", ".bz2", ".gz", ".tar", ".tgz", ".xz", ".zip", ".zst")


@interruptible
def load_mesh(path: str | os.PathLike[str]) -> Mesh:
    r"""Read a mesh; vertex number i of the file is vertex i of the result.

    OBJ and PLY are read by licp, all else (GLB, STL, OFF, ...) by trimesh with nothing merged;
    nothing is unpacked.

    Parameters
    ----------
    path : path
        The ending says the format, in upper or lower case.

    Raises
    ------
    MeshFileError
        No path, missing, empty, compressed, cut off or damaged file, unknown ending, no faces;
        with the line, vertex or face where that is known.
    MeshError
        The file is read but its numbers make no mesh (NaN, indices out of range).

    Examples
    --------
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     name = os.path.join(folder, "one.obj")
    ...     with open(name, "w") as file:
    ...         _ = file.write("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    ...     load_mesh(name)
    <Mesh 'one.obj': 3 vertices, 1 triangles>
    """
    path = as_path(path, MeshFileError)
    if not os.path.isfile(path):
        why = "is a folder, not a mesh file" if os.path.isdir(path) else "no such file"
        raise MeshFileError(f"{path}: {why}")
    try:
        if path.stat().st_size == 0:
            raise MeshFileError(f"{path}: the file is empty")
        kind = path.suffix.lower()
        if kind in (".obj", ".ply"):
            return (decode_obj if kind == ".obj" else decode_ply)(path.read_bytes(), path)
        return _load_trimesh(path)
    except OSError as error:
        raise MeshFileError(f"{path}: cannot be read: {error.strerror or error}") from error


def as_mesh(obj: Any, what: str = "mesh") -> Mesh:
    """Turn anything that stands for a mesh into a :class:`Mesh`.

    Parameters
    ----------
    obj : Mesh, MorphResult, path, trimesh.Trimesh or pair (vertices, faces)
        Vertices (n, 3); faces (m, 3), or (m, 4) with quads. Never modified.
    what : str
        What error messages call it.

    Raises
    ------
    MeshError, MeshFileError

    Examples
    --------
    >>> as_mesh(([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]]), "template")
    <Mesh 'template': 3 vertices, 1 triangles>
    """
    if isinstance(obj, Mesh):
        return obj
    if isinstance(obj, (str, os.PathLike)):
        return load_mesh(obj)
    held = getattr(obj, "mesh", None)
    if isinstance(held, Mesh):
        return held
    if isinstance(obj, (tuple, list)) and len(obj) == 2:
        return Mesh(obj[0], obj[1], name=what)
    if hasattr(obj, "vertices") and hasattr(obj, "faces"):
        return Mesh.from_trimesh(obj, name=what)
    raise MeshError(
        f"{what}: cannot use {described(obj)} as a mesh; pass a file path, a licp Mesh, a "
        "trimesh.Trimesh (of a Scene: scene.to_mesh()) or a pair (vertices (n, 3), "
        "faces (m, 3) or (m, 4))"
    )


def save_mesh(path: str | os.PathLike[str], mesh: Any) -> Path:
    """Write a mesh; vertex i of the mesh is vertex i of the file.

    Each file is complete or not there: it is written under a temporary name and renamed.

    Parameters
    ----------
    path : path
        Where to. The ending chooses the format:

        ``.obj``
            Nine digits; polygons, uv and materials kept, ``.mtl`` and images copied beside it.
        ``.ply``
            Binary, double precision (equal bit for bit when read back); polygons and colours; uv
            if it has no seams.
        ``.glb``
            Single precision triangles, texture embedded if it can be read. glTF has one uv for
            each vertex: copies of the vertices on seams follow the n vertices of the mesh.
    mesh : Mesh, or what :func:`as_mesh` takes
        What to write.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    OutputError
        See :func:`check_output`; or the disk is full.
    """
    path, mesh = check_output(path), as_mesh(mesh)
    try:
        files = _ENCODERS[path.suffix.lower()](mesh, path)
    except OSError as error:
        raise OutputError(f"{path}: a texture or material cannot be copied: {error}") from error
    for name, data in files.items():
        write_file(name, data)
    return path


def check_output(path: str | os.PathLike[str]) -> Path:
    """Say now, before long work, whether a mesh can be saved there.

    Returns
    -------
    Path

    Raises
    ------
    OutputError
        No path, unknown ending, missing folder, no permission, or a folder has that name.
    """
    path = as_path(path, OutputError)
    if path.suffix.lower() not in _ENCODERS:
        raise OutputError(
            f"{path}: cannot write {path.suffix or 'a file without ending'}; "
            f"choose one of {', '.join(_ENCODERS)}"
        )
    check_place(path)
    return path


def _load_trimesh(path: Path) -> Mesh:
    import trimesh

    if path.suffix.lower() in _PACKED:
        raise MeshFileError(f"{path}: is an archive or compressed; unpack it first")
    known = {"." + name for name in trimesh.available_formats() if not f".{name}".endswith(_PACKED)}
    formats = sorted({".obj", ".ply", *known})
    if path.suffix.lower() not in formats:
        raise MeshFileError(
            f"{path}: unknown mesh format {path.suffix!r}; known are {' '.join(formats)}"
        )
    try:
        loaded = trimesh.load_mesh(path, process=False)
    except Exception as error:  # whatever a reader of damaged files trips over
        detail = f"{type(error).__name__}: {error}"
        raise MeshFileError(f"{path}: damaged or cut off ({detail[:200]})") from error
    faces = getattr(loaded, "faces", None)
    if faces is None or len(faces) == 0:
        raise MeshFileError(
            f"{path}: no faces in the file; a point cloud cannot be used, nor what is cut off"
        )
    if path.suffix.lower() == ".off" and len(faces) < _announced_faces(path):
        raise MeshFileError(f"{path}: damaged or cut off: fewer faces than it announces")
    return Mesh.from_trimesh(loaded, name=path.name)


def _announced_faces(path: Path) -> int:
    """How many polygons an OFF file says that it holds; 0 if it does not."""
    found = re.match(rb"\s*\w*OFF\s+(?:#[^\n]*\s+)*\d+\s+(\d+)", path.read_bytes()[:4096])
    return int(found[1]) if found else 0


def _encode_glb(mesh: Mesh, path: Path) -> dict[Path, bytes]:
    import trimesh

    source, faces, uv = mesh.split_at_seams()
    if np.abs(mesh.vertices).max() > np.finfo(np.float32).max:
        raise OutputError(f"{path}: some coordinates are beyond single precision; write a PLY")
    visual = None
    if mesh.uv is not None:
        image = mesh.texture_image()
        image = None if image is None else as_png(image)
        pbr: Any = trimesh.visual.material.PBRMaterial
        textured: Any = trimesh.visual.TextureVisuals
        material = pbr(
            name=next(iter(mesh.materials), "material_0"),
            baseColorTexture=image,
            metallicFactor=0.0,
            roughnessFactor=1.0,
        )
        visual = textured(uv=uv, material=material)
    colors = mesh.color_bytes if visual is None else None
    scene = trimesh.Trimesh(
        mesh.vertices[source], faces, visual=visual, vertex_colors=colors, process=False
    )
    data = scene.export(file_type="glb")
    if not isinstance(data, bytes):
        raise LicpError("trimesh did not encode the GLB")
    return {path: data}


_ENCODERS: dict[str, Callable[[Mesh, Path], dict[Path, bytes]]] = {
    ".obj": encode_obj,
    ".ply": lambda mesh, path: {path: encode_ply(mesh)},
    ".glb": _encode_glb,
}
# What meshes are written as.
ENDINGS = tuple(_ENCODERS)
