"""A validated mesh that keeps whatever its file has to get back: quads, UVs, materials, colours."""

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from licp.errors import MeshError, described
from licp.files import as_path
from licp.geometry import all_of, any_of
from licp.readonly import ReadOnlyArrays, frozen

if TYPE_CHECKING:
    import trimesh

__all__ = ["Mesh", "as_png", "fan_rows"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Beyond this, products of coordinates overflow; no unit of length gets near it.
_HUGE = 1e50


@dataclass(frozen=True, eq=False, repr=False)
class Mesh(ReadOnlyArrays):
    """Triangles or quads over vertices, checked once, never changed.

    The arrays are read-only copies of what is passed in. ``uv_faces`` and ``face_materials`` have
    one row for each row of ``corners``: the polygons if there are quads, else the triangles.

    Parameters
    ----------
    vertices : (n, 3) float
        Positions, any unit, finite.
    faces : (m, 3) or (m, 4) int
        Zero-based vertex indices, counter-clockwise seen from outside. With four columns, -1 in
        the last one marks a triangle. Quads are split along their first and third corner into
        ``faces`` (always triangles); the source rows stay in ``polygons``.
    uv : (t, 2) float, optional
        Texture coordinates.
    uv_faces : (m, 3) or (m, 4) int, optional
        For each corner of each row of ``faces`` as passed, its row in ``uv``; -1 for none.
    colors : (n, 3) or (n, 4) float, optional
        Vertex colours, 0 to 1, with or without alpha.
    face_materials : (m,) int, optional
        For each row of ``faces`` as passed, its index in ``materials``; -1 for none.
    materials : sequence of str
        Names of materials.
    mtllib : path, optional
        Material library the names come from.
    texture : path or PIL image, optional
        Colour texture that ``uv`` refers to. A path is kept, not opened.
    name : str
        What error messages call the mesh.

    Attributes
    ----------
    faces : (m, 3) int64
        Triangles.
    polygons : (k, 4) int64 or None
        The rows as passed, -1 in the last column of triangles; None if there are no quads.

    Raises
    ------
    MeshError
        Wrong shape or type, no vertices or faces, coordinates that are not finite, indices out of
        range; names the first offenders.

    Examples
    --------
    >>> square = Mesh([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2, 3]])
    >>> square.faces.tolist(), square.polygons.tolist()
    ([[0, 1, 2], [0, 2, 3]], [[0, 1, 2, 3]])
    >>> square.with_vertices(square.vertices * 10).vertices[2].tolist()
    [10.0, 10.0, 0.0]
    """

    vertices: Floats
    faces: Ints
    uv: Floats | None = None
    uv_faces: Ints | None = None
    colors: Floats | None = None
    face_materials: Ints | None = None
    materials: Sequence[str] = ()
    mtllib: Path | None = None
    texture: Any = None
    name: str = "mesh"
    polygons: Ints | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Check and copy everything."""
        put = object.__setattr__
        V = _positions(self.vertices, self.name)
        n = len(V)
        rows = _rows(self.faces, n, self.name, "faces", "vertices")
        if len(rows) == 0:
            raise MeshError(f"{self.name}: there are no faces; a point cloud cannot be used")
        quads = rows.shape[1] == 4 and bool((rows[:, 3] >= 0).any())
        put(self, "vertices", V)
        put(self, "polygons", frozen(rows) if quads else None)
        put(self, "faces", frozen(_triangles(rows)))

        if (self.uv is None) != (self.uv_faces is None):
            raise MeshError(f"{self.name}: uv and uv_faces go together, one of them is missing")
        if self.uv is not None:
            uv = _numbers(self.uv, self.name, "uv", (2,))
            uv_rows = _rows(self.uv_faces, len(uv), self.name, "uv_faces", "uv", holes=True)
            if len(uv_rows) != len(rows) or uv_rows.shape[1] < (4 if quads else 3):
                raise MeshError(
                    f"{self.name}: uv_faces has shape {uv_rows.shape}, faces {rows.shape}; "
                    "every corner of a face needs its uv index"
                )
            put(self, "uv", frozen(uv))
            put(self, "uv_faces", frozen(uv_rows[:, : 4 if quads else 3]))

        if self.colors is not None:
            colors = _numbers(self.colors, self.name, "colors", (3, 4))
            if len(colors) != n or not np.isfinite(colors).all():
                raise MeshError(f"{self.name}: colors must be finite, one row for each vertex")
            put(self, "colors", frozen(colors))

        put(self, "materials", _names(self.materials, self.name))
        if self.face_materials is not None:
            try:
                fm: NDArray[Any] = np.array(self.face_materials)
            except ValueError:  # rows of different lengths
                fm = np.zeros(0)
            if fm.shape != (len(rows),) or fm.dtype.kind not in "iu":
                raise MeshError(f"{self.name}: face_materials must be one integer for each face")
            if fm.min() < -1 or fm.max() >= len(self.materials):
                raise MeshError(
                    f"{self.name}: face_materials refers to material {fm.max()}, but there are "
                    f"{len(self.materials)}"
                )
            put(self, "face_materials", frozen(fm.astype(np.int64)))
        if self.mtllib is not None:
            put(self, "mtllib", as_path(self.mtllib, MeshError))
        if isinstance(self.texture, (str, os.PathLike)):
            put(self, "texture", Path(self.texture))
        elif self.texture is not None and not hasattr(self.texture, "save"):
            raise MeshError(
                f"{self.name}: a texture is a path or an image of Pillow's, not "
                f"{described(self.texture)}"
            )

    def __repr__(self) -> str:
        """One line with what is in the mesh."""
        parts = [f"{len(self.vertices)} vertices", f"{len(self.faces)} triangles"]
        if self.polygons is not None:
            parts.append(f"from {len(self.polygons)} polygons")
        parts += ["uv"] * (self.uv is not None) + ["colors"] * (self.colors is not None)
        return f"<Mesh {self.name!r}: {', '.join(parts)}>"

    @property
    def corners(self) -> Ints:
        """Faces as they are in the file: ``polygons`` (k, 4) if there are quads, else ``faces``."""
        return self.faces if self.polygons is None else self.polygons

    @property
    def face_uv(self) -> Ints | None:
        """For each corner of each triangle, its row in ``uv`` (-1 for none), (m, 3) int64."""
        if self.uv_faces is None or self.polygons is None:
            return self.uv_faces
        return _triangles(self.uv_faces, self.polygons[:, 3] >= 0)

    @property
    def color_bytes(self) -> NDArray[np.uint8] | None:
        """``colors`` from 0 to 255, as files and pictures have them; None if there are none."""
        if self.colors is None:
            return None
        return np.round(np.clip(self.colors, 0, 1) * 255).astype(np.uint8)

    def with_vertices(self, vertices: ArrayLike) -> "Mesh":
        """The same mesh, moved: all but the positions is kept (and shared, being read-only).

        Parameters
        ----------
        vertices : (n, 3) float
            New positions of the same number of vertices, in the same order.

        Raises
        ------
        MeshError
            Not finite, or another number of vertices.
        """
        V = _positions(vertices, self.name)
        if len(V) != len(self.vertices):
            raise MeshError(
                f"{self.name}: got {len(V)} positions for {len(self.vertices)} vertices"
            )
        moved = copy.copy(self)
        object.__setattr__(moved, "vertices", V)
        return moved

    def split_at_seams(self) -> tuple[Ints, Ints, Floats]:
        """One uv for each vertex, with vertices on uv seams copied: what GPUs and glTF want.

        Returns
        -------
        source : (n + s,) int64
            The vertex each new vertex is a copy of: 0 .. n - 1, then the copies.
        faces : (m, 3) int64
            Triangles over the new vertices.
        uv : (n + s, 2) float64
            Zero where a vertex has none (all are zero for a mesh without uv).
        """
        n = len(self.vertices)
        corners = self.face_uv
        if self.uv is None or corners is None:
            return np.arange(n), self.faces, np.zeros((n, 2))
        # Files often write one uv for every corner: only different coordinates make a seam.
        u, v = np.nan_to_num(self.uv).T
        values, value_of = np.unique(u + 1j * v, return_inverse=True)
        value_of = np.append(value_of, len(values))  # where -1, no uv, points to
        pairs, inverse = np.unique(
            self.faces.ravel() * (len(values) + 1) + value_of[corners.ravel()], return_inverse=True
        )
        vertex, value = np.divmod(pairs, len(values) + 1)
        copied = np.r_[False, vertex[1:] == vertex[:-1]]
        slot = np.where(copied, n - 1 + np.cumsum(copied), vertex)
        uv = np.zeros((n + int(copied.sum()), 2))
        values = np.append(values, 0)
        uv[slot] = np.column_stack([values[value].real, values[value].imag])
        source = np.concatenate([np.arange(n), vertex[copied]])
        return source, slot[inverse].reshape(-1, 3), uv

    def texture_image(self) -> Any:
        """The texture as a PIL image; None if there is none or it cannot be read."""
        if not isinstance(self.texture, Path):
            return self.texture
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(self.texture) as image:
                image.load()
                return image
        except (OSError, UnidentifiedImageError, SyntaxError, ValueError):
            return None

    def to_trimesh(self) -> "trimesh.Trimesh":
        """A ``trimesh.Trimesh`` with the same vertices and triangles in the same order.

        It has the uv and texture if no vertex lies on a uv seam (see :meth:`split_at_seams`), else
        the colours.
        """
        import trimesh

        source, _, uv = self.split_at_seams()
        visual: Any = None
        if self.uv is not None and len(source) == len(self.vertices):
            textured: Any = trimesh.visual.TextureVisuals
            visual = textured(uv=uv, image=self.texture_image())
        return trimesh.Trimesh(
            vertices=self.vertices.copy(),
            faces=self.faces.copy(),
            visual=visual,
            vertex_colors=self.color_bytes if visual is None else None,
            process=False,
        )

    @classmethod
    def from_trimesh(cls, mesh: Any, name: str = "mesh") -> "Mesh":
        """From a ``trimesh.Trimesh`` (or anything with ``vertices`` and ``faces``).

        Vertex order is kept; so are vertex colours, uv and the texture image.
        """
        faces = getattr(mesh, "faces", None)
        if faces is None or getattr(mesh, "vertices", None) is None:
            raise MeshError(f"{name}: {type(mesh).__name__} has no faces (or no vertices)")
        n = len(mesh.vertices)
        extra: dict[str, Any] = {}
        visual: Any = getattr(mesh, "visual", None)
        kind = getattr(visual, "kind", None)
        if kind == "vertex" and np.shape(visual.vertex_colors) == (n, 4):
            extra["colors"] = np.asarray(visual.vertex_colors) / 255.0
        elif kind == "texture" and np.shape(visual.uv) == (n, 2):
            material = visual.material
            image = getattr(material, "image", None)
            if image is None:
                image = getattr(material, "baseColorTexture", None)
            path = Path(getattr(image, "filename", None) or "")
            extra.update(uv=visual.uv, uv_faces=faces, texture=path if path.is_file() else image)
        return cls(mesh.vertices, faces, name=name, **extra)


def as_png(image: Any) -> Any:
    """An image of Pillow's in a mode that PNG, and with it glTF, can hold."""
    return image if image.mode in ("L", "LA", "P", "RGB", "RGBA") else image.convert("RGB")


def _names(values: Any, name: str) -> tuple[str, ...]:
    """Names of materials, which must fit into a line of an OBJ."""
    try:
        names = tuple(str(value) for value in values)
    except TypeError:
        raise MeshError(f"{name}: materials are names, not {described(values)}") from None
    for one in names:
        if one.endswith("\\") or len(one.splitlines()) > 1:
            raise MeshError(
                f"{name}: a material cannot be called {one!r}: names end before a backslash or the "
                "end of a line"
            )
    return names


def _refuse_masked(values: Any, name: str, what: str) -> None:
    if np.ma.is_masked(values):
        raise MeshError(f"{name}: {what} are a masked array with values missing; leave them out")


def _numbers(values: Any, name: str, what: str, columns: tuple[int, ...]) -> Floats:
    """Own float64 copy of shape (any, one of ``columns``)."""
    a: NDArray[Any] | None
    try:
        a = np.array(values)
        a = a.astype(np.float64) if a.dtype.kind in "fiubO" else None
    except (TypeError, ValueError, OverflowError):
        a = None
    _refuse_masked(values, name, what)
    if a is None:
        raise MeshError(f"{name}: {what} must be an array of real numbers")
    if a.ndim != 2 or a.shape[1] not in columns:
        want = " or ".join(f"(n, {c})" for c in columns)
        raise MeshError(f"{name}: {what} must have shape {want}, not {a.shape}")
    return a


def _positions(values: Any, name: str) -> Floats:
    V = _numbers(values, name, "vertices", (3,))
    if len(V) == 0:
        raise MeshError(f"{name}: there are no vertices")
    bad = np.flatnonzero(~all_of(np.abs(V) < _HUGE))
    if len(bad):
        first = "; ".join(f"vertex {i} = {V[i].tolist()}" for i in bad[:3])
        raise MeshError(
            f"{name}: {len(bad)} of {len(V)} vertices have coordinates that are not finite or "
            f"beyond {_HUGE:g} ({first}); remove them and the faces that use them"
        )
    return frozen(V)


def _rows(values: Any, n: int, name: str, what: str, of: str, holes: bool = False) -> Ints:
    """Own int64 copy of face rows: 3 or 4 indices below n, -1 for no fourth corner.

    With ``holes``, -1 is allowed everywhere.
    """
    _refuse_masked(values, name, what)
    try:
        given = np.array(values)
        if given.size == 0 and given.ndim < 2:
            given = np.zeros((0, 3), np.int64)
        with np.errstate(invalid="ignore"):  # NaN becomes a number that differs from it
            rows = given.astype(np.int64)
        whole = given.dtype.kind in "iu" or bool((rows == given).all())
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole:
        raise MeshError(
            f"{name}: {what} must be an array of whole numbers with 3 or 4 columns (fill the "
            "fourth of triangles with -1)"
        )
    if rows.ndim != 2 or rows.shape[1] not in (3, 4):
        raise MeshError(f"{name}: {what} must have shape (m, 3) or (m, 4), not {rows.shape}")
    low = np.array([0, 0, 0, -1][: rows.shape[1]]) - (
        np.array([1, 1, 1, 0])[: rows.shape[1]] * holes
    )
    bad = np.flatnonzero(any_of((rows < low) | (rows >= n)))
    if len(bad):
        first = "; ".join(f"row {i} = {rows[i].tolist()}" for i in bad[:3])
        raise MeshError(
            f"{name}: {len(bad)} of {len(rows)} {what} refer to {of} that do not exist: there are "
            f"{n}, so indices run from 0 to {n - 1} ({first})"
        )
    return rows


def _triangles(rows: Ints, quad: NDArray[np.bool_] | None = None) -> Ints:
    """Split the quads among (k, 4) rows along corners 0 and 2, in order; (k, 3) rows pass."""
    if rows.shape[1] == 3:
        return rows
    quad = rows[:, 3] >= 0 if quad is None else quad
    first = np.cumsum(1 + quad) - (1 + quad)
    tri = np.empty((len(rows) + int(quad.sum()), 3), np.int64)
    tri[first] = rows[:, :3]
    tri[first[quad] + 1] = rows[quad][:, [0, 2, 3]]
    return tri


def fan_rows(counts: Ints) -> tuple[Ints, Ints]:
    """Lay polygons whose corners are stored one after another out as rows of a face table.

    Triangles and quads become one row, larger polygons a fan of triangles around their first
    corner.

    Parameters
    ----------
    counts : (k,) int64
        Number of corners of each polygon, at least 3.

    Returns
    -------
    rows : (r, 3) or (r, 4) int64
        Positions in the flat list of corners, -1 in the fourth column of triangles; three columns
        if there are no quads.
    source : (r,) int64
        The polygon of each row.
    """
    start = np.cumsum(counts) - counts
    height = np.where(counts > 4, counts - 2, 1)
    source = np.repeat(np.arange(len(counts)), height)
    step = np.arange(len(source)) - np.repeat(np.cumsum(height) - height, height)
    first = start[source]
    rows = [first, first + step + 1, first + step + 2]
    quad = counts[source] == 4
    if quad.any():
        rows.append(np.where(quad, first + 3, -1))
    return np.column_stack(rows), source
