"""Wavefront OBJ: bytes to :class:`~licp.mesh.Mesh` and back, vertex for vertex.

General readers reorder or split vertices to suit a renderer. Landmark files and registrations
refer to vertices by number, so here the n-th ``v`` line is the n-th vertex, used or not.
Format: "Object Files (.obj)", appendix B1 of the Wavefront Advanced Visualizer manual. Kept are
``v`` (with colours), ``vt``, ``f``, ``usemtl`` and ``mtllib``; normals (wrong as soon as vertices
move), groups, lines and points are not.
"""

import io
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from licp.compiled import kernel
from licp.errors import MeshFileError
from licp.geometry import all_of, any_of
from licp.mesh import Mesh, as_png, fan_rows

__all__ = ["decode_obj", "decode_obj_vertices", "encode_obj"]

_ERRORS = {
    1: "expected three numbers after 'v' (or one or two after 'vt')",
    2: "a face needs at least three corners",
    3: "cannot read this face; corners are written a, a/b, a//c or a/b/c with whole numbers",
    4: "a face refers to vertex 0 or to a vertex before the first one",
}
_MTLLIB = re.compile(r"^\s*mtllib\s+(.*?)\s*$", re.M)
_MAP = re.compile(r"^(\s*(?:map_\w+|bump|disp|decal|refl|norm)\s+)(.*?)\s*$", re.I | re.M)


def decode_obj(data: bytes, path: Path) -> Mesh:
    """Read the content of an OBJ file.

    Parameters
    ----------
    data : bytes
        Content.
    path : Path
        Where it comes from: for messages, and to find the material library beside it.

    Returns
    -------
    Mesh
        Polygons with more than four corners come out as fans of triangles. Colours are kept if
        every vertex has them; uv indices that point nowhere count as none.

    Raises
    ------
    MeshFileError
        With the line number.
    MeshError
        If the numbers are read but make no mesh.
    """
    text, v, vt, corners, face, names, fail = _read(data, path)
    vi, ti = corners.T.copy()
    start, offset = face.T
    if len(v) == 0:
        raise MeshFileError(f"{path}: no vertices found; is this an OBJ file?")
    if len(start) == 1:
        raise MeshFileError(f"{path}: {len(v)} vertices but no faces; a point cloud cannot be used")
    beyond = np.flatnonzero(vi >= len(v))
    if len(beyond):
        row = int(np.searchsorted(start, beyond[0], side="right")) - 1
        raise fail(
            int(offset[row]),
            f"face {row + 1} refers to vertex {vi[beyond[0]] + 1}, but there are only {len(v)} "
            f"(as do {len(beyond) - 1} more corners)",
        )
    rows, source = fan_rows(np.diff(start))
    extra: dict[str, Any] = {}
    ti[ti >= len(vt)] = -1
    if (ti >= 0).any():
        uv_rows = np.append(ti, -1)[rows]
        uv_rows[any_of(uv_rows[:, :3] < 0)] = -1
        if (uv_rows >= 0).any():
            extra.update(uv=vt, uv_faces=uv_rows)
    if not np.isnan(v[:, 3:6]).any():
        colors = v[:, 3:6] if np.isnan(v[:, 6]).any() else v[:, 3:]
        # Some programs write 0 to 255.
        extra["colors"] = colors / 255.0 if colors.max() > 1.5 else colors
    extra.update(_read_materials(text, names, source, path.parent))
    return Mesh(v[:, :3], np.append(vi, -1)[rows], name=path.name, **extra)


def decode_obj_vertices(data: bytes, path: Path) -> NDArray[np.float64]:
    """Positions (n, 3) of the vertices of an OBJ file, which need not have faces.

    Raises
    ------
    MeshFileError
        With the line number.
    """
    vertices: NDArray[np.float64] = _read(data, path)[1][:, :3]
    return vertices


def encode_obj(mesh: Mesh, path: Path) -> dict[Path, bytes]:
    """Files that make up the OBJ: the mesh itself last, before it what it refers to.

    Vertex order, polygons, uv and materials are those of the mesh; numbers have nine significant
    digits (as many as single precision can tell apart). A face has uv if all its corners do. The
    material library and its images are copied beside the OBJ unless they are there already; no
    other image is overwritten.
    """
    files, library, materials = _companions(mesh, path)
    V, C = mesh.vertices, mesh.colors
    numbers = V if C is None else np.column_stack([V, C])
    out = [f"mtllib {library}\n"] if library else []
    out.append(_format("v" + " %.9g" * 3 + " %.6g" * (numbers.shape[1] - 3), numbers))
    rows, uv_rows = mesh.corners, mesh.uv_faces
    if mesh.uv is not None:
        out.append(_format("vt %.9g %.9g", mesh.uv))
    if uv_rows is None:
        uv_rows = np.full(rows.shape, -1)
    # One format string for each kind of row, joined: the whole list is written in one go.
    quad = rows[:, 3] >= 0 if rows.shape[1] == 4 else np.zeros(len(rows), bool)
    # Corners of a line are all written alike, so one without uv takes it from the others.
    has_uv = all_of((uv_rows >= 0) | (rows < 0))
    kinds = np.array(["f" + c * k + "\n" for k in (3, 4) for c in (" %d", " %d/%d")], object)
    lines = kinds[2 * quad + has_uv]
    if materials and mesh.face_materials is not None:
        change = np.flatnonzero(np.diff(mesh.face_materials, prepend=-1))
        use = np.array([f"usemtl {m}\n".replace("%", "%%") for m in materials] + [""], object)
        lines[change] = use[mesh.face_materials[change]] + lines[change]
    elif library:
        lines[0] = f"usemtl {materials[0]}\n".replace("%", "%%") + lines[0]
    values = np.stack([rows, uv_rows], axis=2) + 1
    shown = np.stack([rows >= 0, (rows >= 0) & has_uv[:, None]], axis=2)
    out.append("".join(lines) % tuple(values[shown].tolist()))
    files[path] = "".join(out).encode("utf-8", "surrogateescape")
    return files


def _format(row: str, table: NDArray[np.float64]) -> str:
    return (row + "\n") * len(table) % tuple(table.ravel().tolist())


def _read(data: bytes, path: Path) -> tuple[Any, ...]:
    """Text, ``v``, ``vt``, corners, faces and names (see _parse), and a maker of exceptions."""
    # A continued line is one line; blanks of the same length keep offsets, so line numbers, right.
    text = data if b"\\" not in data else data.replace(b"\\\r\n", b"   ").replace(b"\\\n", b"  ")
    text += b"\n"

    def fail(offset: int, why: str) -> MeshFileError:
        line = max(data.count(b"\n", 0, offset), data.count(b"\r", 0, offset)) + 1
        return MeshFileError(f"{path}, line {line}: {why}; is the file cut off or damaged?")

    v, vt, corners, face, names, slow, error = _parse(np.frombuffer(text, np.uint8))
    if error[0]:
        raise fail(error[1], _ERRORS[error[0]])
    for table, row, column, i, j in slow.tolist():
        try:
            (v, vt)[table][row, column] = float(text[i:j])
        except ValueError:
            word = text[i:j][:40].decode("latin-1")
            raise fail(i, f"{word!r} is not a number") from None
    return text, v, vt, corners, face, names, fail


def _read_materials(
    text: bytes, names: NDArray[np.int64], source: NDArray[np.int64], folder: Path
) -> dict[str, Any]:
    """Material of each row, material names, library and texture, as arguments of Mesh."""
    library, used, since = None, [], []
    for offset, face in names.tolist():
        line = re.split(rb"[\r\n]", text[offset : offset + 4096], maxsplit=1)[0]
        keyword, _, rest = line.decode("utf-8", "surrogateescape").strip().partition(" ")
        rest = rest.strip()
        if keyword == "usemtl":
            used.append(rest)
            since.append(face)
        elif keyword == "mtllib" and library is None:
            found = (_find(folder, name) for name in [rest, *rest.split()])
            library = next((p for p in found if p is not None), None)
    extra: dict[str, Any] = {"mtllib": library}
    if used:
        extra["materials"] = tuple(dict.fromkeys(used))
        index = np.array([extra["materials"].index(name) for name in used] + [-1])
        extra["face_materials"] = index[np.searchsorted(since, source, side="right") - 1]
    if library is not None:
        for match in _MAP.finditer(_read_text(library)):
            if match[1].strip().lower() == "map_kd" and "texture" not in extra:
                extra["texture"] = _find_image(library.parent, match[2])
    return extra


def _companions(mesh: Mesh, path: Path) -> tuple[dict[Path, bytes], str | None, tuple[str, ...]]:
    """Files to write beside an OBJ, the name of its material library, its material names."""
    folder, materials = path.parent, tuple(mesh.materials)
    files: dict[Path, bytes] = {}

    def place(image: str, data: bytes) -> str:
        """Have an image in the output folder; its name there."""
        target = _free(folder, _image_names(image, path.stem), data, files)
        if not target.exists():
            files[target] = data
        return target.name

    if mesh.mtllib is not None and mesh.mtllib.is_file():
        library = mesh.mtllib
        if library.parent.resolve() == folder.resolve():
            return files, library.name, materials or ("material_0",)

        def relocate(match: re.Match[str]) -> str:
            image = _find_image(library.parent, match[2])
            if image is None:
                return match[0]
            return match[1] + place(image.name, image.read_bytes())

        text = _MAP.sub(relocate, _read_text(library))
    elif mesh.uv is not None and mesh.texture is not None:
        materials = materials or ("material_0",)
        if isinstance(mesh.texture, Path):
            if not mesh.texture.is_file():
                return files, None, materials
            name = place(mesh.texture.name, mesh.texture.read_bytes())
        else:
            buffer = io.BytesIO()
            as_png(mesh.texture).save(buffer, "PNG")
            name = place(f"{path.stem}_texture.png", buffer.getvalue())
        text = "".join(f"newmtl {m}\nKd 1 1 1\nmap_Kd {name}\n" for m in materials)
    else:
        return files, None, materials
    data = text.encode("utf-8", "surrogateescape")
    target = folder / f"{path.stem}.mtl"
    if not (path.is_file() and target.name in _libraries(path)):  # those of what is replaced
        others = (f"{path.stem}_{number}.mtl" for number in itertools.count(2))
        target = _free(folder, itertools.chain([target.name], others), data, files)
    files[target] = data
    return files, target.name, materials or ("material_0",)


def _free(folder: Path, names: Iterator[str], data: bytes, files: dict[Path, bytes]) -> Path:
    """The first of some places in a folder where there is, or is to be, nothing else than this."""

    def fits(target: Path) -> bool:
        if target in files:
            return files[target] == data
        return not target.exists() or (target.is_file() and target.read_bytes() == data)

    return next(filter(fits, map(folder.joinpath, names)))


def _libraries(path: Path) -> list[str]:
    """Material libraries that an OBJ names at its beginning."""
    with open(path, "rb") as file:
        text = file.read(2**16).decode("utf-8", "surrogateescape")
    return [name.strip() for name in _MTLLIB.findall(text)]


def _image_names(name: str, stem: str) -> Iterator[str]:
    """What an image may be called beside the OBJ of a stem, best first."""
    yield name
    yield f"{stem}_{name}"
    for number in itertools.count(2):
        yield f"{stem}_{number}_{name}"


def _read_text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "surrogateescape")


def _find(folder: Path, name: str) -> Path | None:
    """The file a line refers to; a foreign folder in the name is ignored if it leads nowhere."""
    name = name.replace("\\", "/")
    for candidate in (folder / name, folder / name.rsplit("/", 1)[-1]):
        if name and os.path.isfile(candidate):  # unlike Path's, says no to any nonsense
            return candidate
    return None


def _find_image(folder: Path, arguments: str) -> Path | None:
    """The file at the end of a map statement: options come first, names may contain blanks."""
    starts = [0, *(blank.end() for blank in re.finditer(r"\s+", arguments))]
    return next((p for k in starts if (p := _find(folder, arguments[k:]))), None)


_SPACE, _TAB, _LF, _CR, _HASH, _SLASH = 32, 9, 10, 13, 35, 47
_PLUS, _MINUS, _DOT, _ZERO, _NINE = 43, 45, 46, 48, 57
_POWERS = 10.0 ** np.arange(23)  # those that double precision holds exactly


@kernel
def _line_ends(c: Any) -> Any:
    return c == _LF or c == _CR or c == _HASH


@kernel
def _skip_blanks(data: Any, i: int) -> Any:
    while data[i] == _SPACE or data[i] == _TAB:
        i += 1
    return i


@kernel
def _integer(data: Any, i: int) -> Any:
    """Value, offset behind it (0 if there is no number)."""
    sign = 1
    if data[i] == _MINUS or data[i] == _PLUS:
        sign = -1 if data[i] == _MINUS else 1
        i += 1
    first, value = i, 0
    while _ZERO <= data[i] <= _NINE:
        value = value * 10 + int(data[i] - _ZERO)
        i += 1
    return sign * value, (i if 0 < i - first < 18 else 0)


@kernel
def _decimal(data: Any, i: int, end: int) -> Any:
    """Value of a token and whether it is exact; if not, a slower parser has to look at it.

    A mantissa below 2^53 times or over an exact power of ten is rounded once, so correctly
    (W. D. Clinger, "How to read floating point numbers accurately", PLDI 1990). The quotient of
    a longer one is corrected by its remainder, from an exact product (T. J. Dekker, "A
    floating-point technique for extending the available precision", 1971).
    """
    negative = data[i] == _MINUS
    if negative or data[i] == _PLUS:
        i += 1
    mantissa, digits, power, point, seen = 0, 0, 0, False, False
    while i < end:
        c = data[i]
        if _ZERO <= c <= _NINE:
            mantissa = mantissa * 10 + int(c - _ZERO)
            digits += mantissa != 0
            seen = True
            power -= point
        elif c == _DOT and not point:
            point = True
        else:
            break
        i += 1
    if not seen or digits > 18:
        return 0.0, False
    if i < end and (data[i] == 101 or data[i] == 69):  # e, E
        exponent, j = _integer(data, i + 1)
        if j != end or abs(exponent) > 400:
            return 0.0, False
        power += exponent
        i = j
    if i != end or abs(power) > 22 or (power > 0 and mantissa > 2**53):
        return 0.0, False
    high = float(mantissa)
    if power >= 0:
        value = high * _POWERS[power]
    else:
        p = _POWERS[-power]
        value = high / p
        if mantissa > 2**53:
            a, b = value * 134217729.0, p * 134217729.0  # 2^27 + 1 splits into halves
            a, b = a - (a - value), b - (b - p)
            c, d = value - a, p - b
            product = value * p
            rest = ((a * b - product) + a * d + c * b) + c * d
            value += ((high - product) - rest + float(mantissa - np.int64(high))) / p
    return (-value if negative else value), True


@kernel
def _grown(a: Any) -> Any:
    b = np.empty((2 * a.shape[0], a.shape[1]), a.dtype)
    for i in range(a.shape[0]):
        for k in range(a.shape[1]):
            b[i, k] = a[i, k]
    return b


@kernel
def _parse(data: Any) -> Any:
    """One pass over the bytes (which end with a line feed).

    Returns vertices (n, 7) and texture coordinates (t, 2) with NaN where nothing is written,
    (vertex, uv) index of all face corners, (first corner, offset) of each face and the end,
    (offset, faces so far) of usemtl and mtllib lines, tokens left to a slower parser (table, row,
    column, from, to), and (code, offset) of an error.
    """
    v = np.empty((4096, 7))
    vt = np.empty((4096, 2))
    corner = np.empty((4096, 2), np.int64)
    face = np.empty((4096, 2), np.int64)
    name = np.empty((16, 2), np.int64)
    slow = np.empty((16, 5), np.int64)
    nv, nt, nc, nf, nn, ns = 0, 0, 0, 0, 0, 0
    code, where, i, size = 0, 0, 0, data.size
    if size > 3 and data[0] == 0xEF and data[1] == 0xBB and data[2] == 0xBF:
        i = 3  # byte order mark of UTF-8
    while i < size and code == 0:
        c = data[i]
        if c == _SPACE or c == _TAB or c == _LF or c == _CR:
            i += 1
            continue
        where = i
        # The last byte is a line feed, so there always is a next one.
        d = data[i + 1]
        blank = d <= _SPACE
        texture = c == 118 and d == 116 and data[i + 2] <= _SPACE
        if (c == 118 and blank) or texture:  # v, vt
            if nv == v.shape[0]:
                v = _grown(v)
            if nt == vt.shape[0]:
                vt = _grown(vt)
            table, row = (vt, nt) if texture else (v, nv)
            width = table.shape[1]
            for k in range(width):
                table[row, k] = np.nan
            i, k = _skip_blanks(data, i + 1 + texture), 0
            while not _line_ends(data[i]):
                j = i
                while data[j] > _SPACE:
                    j += 1
                if j == i:  # a control character
                    break
                if k < width:
                    value, exact = _decimal(data, i, j)
                    table[row, k] = value
                    if not exact:
                        if ns == slow.shape[0]:
                            slow = _grown(slow)
                        slow[ns, 0], slow[ns, 1], slow[ns, 2] = texture, row, k
                        slow[ns, 3], slow[ns, 4] = i, j
                        ns += 1
                k += 1
                i = _skip_blanks(data, j)
            if texture:
                if k == 1:
                    vt[nt, 1] = 0.0
                nt += 1
            else:
                if k == 4 or k == 5:  # x y z w: the weight of rational curves
                    for m in range(3, 7):
                        v[nv, m] = np.nan
                nv += 1
            if k < (1 if texture else 3):
                code = 1
        elif c == 102 and blank:  # f
            if nf + 1 >= face.shape[0]:
                face = _grown(face)
            face[nf, 0], face[nf, 1] = nc, i
            i = _skip_blanks(data, i + 1)
            while not _line_ends(data[i]):
                a, j = _integer(data, i)
                t = 0
                if j > 0 and data[j] == _SLASH:
                    j += 1
                    if data[j] != _SLASH and data[j] > _SPACE:
                        t, j = _integer(data, j)
                    if j > 0 and data[j] == _SLASH:
                        j += 1
                        if data[j] > _SPACE:
                            _, j = _integer(data, j)
                if j == 0 or not (data[j] == _SPACE or data[j] == _TAB or _line_ends(data[j])):
                    code = 3
                    break
                a = a + nv if a < 0 else a - 1
                if a < 0:
                    code = 4
                    break
                if nc == corner.shape[0]:
                    corner = _grown(corner)
                corner[nc, 0] = a
                corner[nc, 1] = max(-1, t + nt if t < 0 else t - 1)
                nc += 1
                i = _skip_blanks(data, j)
            if code == 0 and nc - face[nf, 0] < 3:
                code = 2
            nf += 1
        elif (c == 117 and d == 115) or (c == 109 and d == 116):  # us(emtl), mt(llib)
            if nn == name.shape[0]:
                name = _grown(name)
            name[nn, 0], name[nn, 1] = i, nf
            nn += 1
        while data[i] != _LF and data[i] != _CR:
            i += 1
    face[nf, 0], face[nf, 1] = nc, size
    return v[:nv], vt[:nt], corner[:nc], face[: nf + 1], name[:nn], slow[:ns], (code, where)
