"""Stanford PLY: bytes to :class:`~licp.mesh.Mesh` and back, vertex for vertex.

ASCII and both binary byte orders; polygons of any size, mixed; vertex colours; uv per vertex
(``s t``, ``u v``, ``texture_u texture_v``) or per corner (``texcoord``). Other elements and
properties are skipped. Format: G. Turk, "The PLY Polygon File Format", 1994.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from licp.compiled import kernel
from licp.errors import MeshFileError
from licp.mesh import Mesh, fan_rows

__all__ = ["decode_ply", "encode_ply"]

_TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"},
    **{"int64": "i8", "uint64": "u8", "float": "f4", "double": "f8", "float32": "f4"},
    **{"float64": "f8"},
}
_UV = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"))


@dataclass
class _Element:
    name: str
    count: int
    # name of property -> (type of the length of a list or "", type of the values)
    properties: dict[str, tuple[str, str]] = field(default_factory=dict)


def decode_ply(data: bytes, path: Path) -> Mesh:
    """Read the content of a PLY file.

    Parameters
    ----------
    data : bytes
        Content.
    path : Path
        Where it comes from: for messages, and to find the texture beside it.

    Raises
    ------
    MeshFileError
        Not a PLY, no faces, or cut off; says in which vertex or face.
    MeshError
        If the numbers are read but make no mesh.
    """
    elements, order, texture, begin = _header(data, path)
    body: NDArray[Any]
    if order:
        body, at = np.frombuffer(data, np.uint8), begin
    else:
        try:
            body, at = np.array(data[begin:].split(), np.float64), 0
        except ValueError as error:
            raise MeshFileError(f"{path}: damaged ASCII PLY: {error}") from None
    tables: dict[str, dict[str, tuple[NDArray[np.int64], NDArray[Any]]]] = {}
    for element in elements:
        tables[element.name], at = _read(body, at, element, order, path)

    vertex, face = tables.get("vertex", {}), tables.get("face", {})
    # Lists of numbers are no coordinates.
    vertex = {name: told for name, told in vertex.items() if (told[0] == 1).all()}
    if not all(c in vertex for c in "xyz"):
        raise MeshFileError(f"{path}: the PLY has no vertices with x, y and z")
    V = np.column_stack([vertex[c][1] for c in "xyz"]).astype(np.float64)
    polygons = next((face[k] for k in ("vertex_indices", "vertex_index") if k in face), None)
    if polygons is None or len(polygons[0]) == 0:
        raise MeshFileError(f"{path}: {len(V)} vertices but no faces; a point cloud cannot be used")
    counts, flat = polygons
    if counts.min() < 3:
        raise MeshFileError(f"{path}: face {counts.argmin()} has {counts.min()} corners, not 3")
    if flat.dtype.kind == "f":
        broken = np.flatnonzero(flat != np.floor(flat))  # NaN, too
        if len(broken):
            raise MeshFileError(f"{path}: a face has {flat[broken[0]]:g} for a vertex")
    lost = np.flatnonzero(flat < 0)
    if len(lost):
        raise MeshFileError(f"{path}: a face has {flat[lost[0]]:g} for a vertex")
    rows, _ = fan_rows(counts)
    extra: dict[str, Any] = {"texture": texture}
    uv_names = next((pair for pair in _UV if all(c in vertex for c in pair)), None)
    faces = np.append(flat.astype(np.int64), -1)[rows]
    if uv_names is not None:
        uv = np.column_stack([vertex[c][1] for c in uv_names])
        extra.update(uv=uv, uv_faces=faces)
    elif "texcoord" in face and np.array_equal(face["texcoord"][0], 2 * counts):
        extra.update(uv=face["texcoord"][1].reshape(-1, 2), uv_faces=rows)
    rgb = [c for c in ("red", "green", "blue", "alpha") if c in vertex]
    if len(rgb) >= 3:
        full = [_full_scale(order, elements, c) for c in rgb]
        extra["colors"] = np.column_stack([vertex[c][1] for c in rgb]) / full
    return Mesh(V, faces, name=path.name, **extra)


def encode_ply(mesh: Mesh) -> bytes:
    """Binary little-endian PLY with the vertices and polygons of the mesh in its order.

    Coordinates are doubles: what is read back is equal bit for bit. Colours have eight bits. The
    uv is written if no vertex lies on a uv seam; many readers split vertices otherwise.
    """
    V, columns = mesh.vertices, [("x", "<f8"), ("y", "<f8"), ("z", "<f8")]
    values = [V[:, 0], V[:, 1], V[:, 2]]
    source, _, uv = mesh.split_at_seams()
    if mesh.uv is not None and len(source) == len(V):
        columns += [("s", "<f8"), ("t", "<f8")]
        values += [uv[:, 0], uv[:, 1]]
    colors = mesh.color_bytes
    if colors is not None:
        names = ("red", "green", "blue", "alpha")[: colors.shape[1]]
        columns += [(c, "u1") for c in names]
        values += list(colors.T)
    table = np.empty(len(V), np.dtype(columns))
    for (name, _), value in zip(columns, values, strict=True):
        table[name] = value
    rows = mesh.corners
    counts = (rows >= 0).sum(1)
    at = np.cumsum(1 + 4 * counts) - (1 + 4 * counts)
    faces = np.empty(int((1 + 4 * counts).sum()), np.uint8)
    faces[at] = counts
    for k in range(rows.shape[1]):
        there = rows[:, k] >= 0
        raw = rows[there, k].astype("<i4").view(np.uint8).reshape(-1, 4)
        faces[at[there, None] + (1 + 4 * k + np.arange(4))] = raw
    kinds = {"<f8": "double", "u1": "uchar"}
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(V)}"]
    header += [f"property {kinds[kind]} {name}" for name, kind in columns]
    header += [f"element face {len(rows)}", "property list uchar int vertex_indices"]
    header += ["end_header\n"]
    return "\n".join(header).encode() + table.tobytes() + faces.tobytes()


def _header(data: bytes, path: Path) -> tuple[list[_Element], str, Path | None, int]:
    """Elements, byte order ("" for ASCII), texture, offset of the body."""
    end = data.find(b"end_header", 0, 1 << 20)
    begin = data.find(b"\n", end) + 1
    if data[:3] != b"ply" or end < 0 or begin == 0:
        raise MeshFileError(f"{path}: not a PLY file, or cut off in its header")
    elements: list[_Element] = []
    order, texture = None, None
    for number, line in enumerate(data[:end].decode("utf-8", "replace").splitlines(), 1):
        words = line.split()
        try:
            if words[:1] == ["format"]:
                order = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}[
                    words[1]
                ]
            elif words[:1] == ["element"]:
                elements.append(_Element(words[1], int(words[2])))
            elif words[:2] == ["property", "list"]:
                elements[-1].properties[words[4]] = (_TYPES[words[2]], _TYPES[words[3]])
            elif words[:1] == ["property"]:
                elements[-1].properties[words[2]] = ("", _TYPES[words[1]])
            elif [w.lower() for w in words[:2]] == ["comment", "texturefile"] and words[2:]:
                file = path.parent / line.split(maxsplit=2)[2].strip()
                texture = file if file.is_file() else None
        except (KeyError, IndexError, ValueError):
            raise MeshFileError(f"{path}, line {number}: unknown PLY header {line!r}") from None
    if order is None:
        raise MeshFileError(f"{path}: the PLY header does not say its format")
    return elements, order, texture, begin


def _read(
    body: NDArray[Any], at: int, element: _Element, order: str, path: Path
) -> tuple[dict[str, tuple[NDArray[np.int64], NDArray[Any]]], int]:
    """(lengths, values) of each property of an element, and the offset behind it.

    ``body`` holds bytes, or, of an ASCII file, one number for each token.
    """
    kinds = list(element.properties.values())
    size = np.array([np.dtype(v).itemsize if order else 1 for _, v in kinds], np.int64)
    prefix = np.array([np.dtype(c or "i1").itemsize if order else 1 for c, _ in kinds], np.int64)
    prefix[[c == "" for c, _ in kinds]] = 0
    if element.count < 0 or element.count * int((size * (prefix == 0) + prefix).sum()) > body.size:
        # Before any memory is asked for: a damaged header may promise anything.
        raise MeshFileError(
            f"{path}: cut off; {element.count} of element {element.name!r} are announced"
        )
    where, counts, end, row = _walk(body, at, element.count, size, prefix, order == ">")
    if row < element.count:
        raise MeshFileError(
            f"{path}: cut off or damaged; ends in {element.name} {row} of {element.count}"
        )
    out = {}
    for p, (name, (_, kind)) in enumerate(element.properties.items()):
        start, length = where[:, p], counts[:, p]
        if prefix[p]:
            inside = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
            start = np.repeat(start, length) + size[p] * inside
        if order:
            raw = np.ascontiguousarray(body[start[:, None] + np.arange(size[p])])
            values = raw.view(np.dtype(order + kind))[:, 0]
        else:
            values = body[start]
        out[name] = (length, values)
    return out, end


def _full_scale(order: str, elements: list[_Element], channel: str) -> float:
    """The value that stands for full colour in a channel."""
    kind = next(e for e in elements if e.name == "vertex").properties[channel][1]
    return 1.0 if kind[0] == "f" else float(np.iinfo(kind).max)


@kernel
def _walk(body: Any, at: int, count: int, size: Any, prefix: Any, big: bool) -> Any:
    """Where the values of each property of each row begin, and how many they are.

    ``prefix`` is the size of the length of a list, 0 for plain values. Returns (where, counts,
    offset behind, rows complete).
    """
    where = np.empty((count, size.size), np.int64)
    counts = np.ones((count, size.size), np.int64)
    for row in range(count):
        for p in range(size.size):
            if at + prefix[p] > body.size:
                return where, counts, at, row
            if prefix[p] == 1:
                counts[row, p] = np.int64(body[at])
            elif prefix[p] > 1:
                value = 0
                for k in range(prefix[p]):
                    byte = body[at + k] if big else body[at + prefix[p] - 1 - k]
                    value = value * 256 + int(byte)
                counts[row, p] = value
            at += prefix[p]
            where[row, p] = at
            if counts[row, p] < 0 or counts[row, p] > (body.size - at) // size[p]:
                return where, counts, at, row
            at += counts[row, p] * size[p]
    return where, counts, at, count
