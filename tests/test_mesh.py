import pickle
from pathlib import Path

import numpy as np
import pytest
import trimesh

from licp.errors import MeshError
from licp.io import as_mesh
from licp.mesh import Mesh, fan_rows

SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
TWO = np.array([[0, 1, 2], [0, 2, 3]])


def test_arrays_are_read_only_copies() -> None:
    V, F = SQUARE.copy(), TWO.copy()
    mesh = Mesh(V, F)
    V[0], F[0] = 9, 3
    assert np.array_equal(mesh.vertices, SQUARE) and np.array_equal(mesh.faces, TWO)
    with pytest.raises(ValueError, match="read-only"):
        mesh.vertices[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        mesh.faces[0] = 1


def test_pickles_stay_read_only() -> None:
    mesh = pickle.loads(pickle.dumps(Mesh(SQUARE, TWO, name="a")))
    assert mesh.name == "a" and np.array_equal(mesh.faces, TWO)
    assert not mesh.vertices.flags.writeable and not mesh.faces.flags.writeable


def test_quads_are_split_in_order_and_kept() -> None:
    V = np.random.default_rng(0).random((7, 3))
    rows = [[0, 1, 2, 3], [4, 5, 6, -1], [3, 2, 5, 4]]
    mesh = Mesh(V, rows, uv=np.zeros((4, 2)), uv_faces=[[0, 1, 2, 3], [1, 2, 3, -1], [3, 2, 1, 0]])
    assert mesh.polygons is not None and mesh.polygons.tolist() == rows
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [4, 5, 6], [3, 2, 5], [3, 5, 4]]
    assert mesh.face_uv is not None
    assert mesh.face_uv.tolist() == [[0, 1, 2], [0, 2, 3], [1, 2, 3], [3, 2, 1], [3, 1, 0]]


def test_four_columns_without_quads_are_triangles() -> None:
    mesh = Mesh(SQUARE, [[0, 1, 2, -1]], uv=[[0, 0]], uv_faces=[[0, 0, 0, -1]])
    assert mesh.polygons is None and mesh.faces.tolist() == [[0, 1, 2]]
    assert mesh.uv_faces is not None and mesh.uv_faces.shape == (1, 3)


@pytest.mark.parametrize(
    ("vertices", "faces", "message"),
    [
        (np.zeros((0, 3)), TWO, "no vertices"),
        (SQUARE, np.zeros((0, 3), int), "no faces"),
        (SQUARE, [], "no faces"),
        (SQUARE[:, :2], TWO, r"\(n, 3\), not \(4, 2\)"),
        (SQUARE * 1j, TWO, "real numbers"),
        ([["a", "b", "c"]], TWO, "real numbers"),
        ([[0, 0, 0], [1, 1]], TWO, "real numbers"),
        (SQUARE, [[0, 1, 4]], r"do not exist.*0 to 3.*row 0 = \[0, 1, 4\]"),
        (SQUARE, [[0, 1, 2], [0, -1, 2]], r"row 1 = \[0, -1, 2\]"),
        (SQUARE, [[0, 1, 2, -2]], "do not exist"),
        (SQUARE, [[0, 1.5, 2]], "whole numbers"),
        (SQUARE, [[0, 1, np.nan]], "whole numbers"),
        (SQUARE, [[0, 1, 2], [0, 1, 2, 3]], "whole numbers"),
        (SQUARE, [[0, 1]], r"\(m, 3\) or \(m, 4\)"),
        (SQUARE, [[0, 1, 2, 3, 0]], r"\(m, 3\) or \(m, 4\)"),
    ],
)
def test_bad_arrays_are_refused(vertices: object, faces: object, message: str) -> None:
    with pytest.raises(MeshError, match=message):
        Mesh(vertices, faces)  # type: ignore[arg-type]


def test_vertices_that_are_not_finite_are_named_and_counted() -> None:
    V = np.tile(SQUARE, (3, 1))
    V[[2, 5, 7, 9], 1] = np.nan, np.inf, -np.inf, 1e60
    with pytest.raises(MeshError, match=r"scan: 4 of 12 vertices.*vertex 2 = .*vertex 5.*vertex 7"):
        Mesh(V, TWO, name="scan")


@pytest.mark.parametrize(
    "extra",
    [
        {"uv": np.zeros((4, 2))},
        {"uv": np.zeros((4, 2)), "uv_faces": [[0, 1, 4], [0, 1, 2]]},
        {"uv": np.zeros((4, 2)), "uv_faces": [[0, 1, 2]]},
        {"uv": np.zeros((4, 3)), "uv_faces": TWO},
        {"colors": np.zeros((3, 3))},
        {"colors": np.full((4, 3), np.nan)},
        {"face_materials": [0, 0]},
        {"face_materials": [0, 1], "materials": ["a"]},
        {"face_materials": [0], "materials": ["a"]},
    ],
)
def test_extras_that_do_not_fit_are_refused(extra: dict) -> None:
    with pytest.raises(MeshError):
        Mesh(SQUARE, TWO, **extra)


def test_with_vertices_moves_and_keeps_the_rest() -> None:
    mesh = Mesh(
        SQUARE,
        [[0, 1, 2, 3]],
        uv=SQUARE[:, :2],
        uv_faces=[[0, 1, 2, 3]],
        colors=np.ones((4, 3)),
        face_materials=[0],
        materials=["skin"],
        texture="a.bmp",
        name="template",
    )
    target = SQUARE + 5
    moved = mesh.with_vertices(target)
    target[:] = 0
    assert np.array_equal(moved.vertices, SQUARE + 5) and np.array_equal(mesh.vertices, SQUARE)
    for name in ("faces", "polygons", "uv", "uv_faces", "colors", "face_materials", "materials"):
        assert getattr(moved, name) is getattr(mesh, name)
    assert moved.texture == Path("a.bmp") and moved.name == "template"
    with pytest.raises(MeshError, match="3 positions for 4 vertices"):
        mesh.with_vertices(SQUARE[:3])
    with pytest.raises(MeshError, match="not finite"):
        mesh.with_vertices(SQUARE * np.nan)


def test_seams_are_split_behind_the_vertices() -> None:
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0.5, 0.5], [0, 0]])
    # Vertex 2 has two uvs; vertex 0 two rows of uv with the same values, which is no seam.
    mesh = Mesh(SQUARE, TWO, uv=uv, uv_faces=[[0, 1, 2], [5, 4, 3]])
    source, faces, new = mesh.split_at_seams()
    assert source.tolist() == [0, 1, 2, 3, 2]
    assert np.array_equal(source[faces], mesh.faces)
    assert np.array_equal(new[faces], uv[mesh.uv_faces])


def test_corners_without_uv_get_a_copy_with_zero() -> None:
    mesh = Mesh(SQUARE, TWO, uv=np.ones((4, 2)), uv_faces=[[0, 1, 2], [-1, -1, -1]])
    source, faces, uv = mesh.split_at_seams()
    assert np.array_equal(source[faces], mesh.faces)
    assert (uv[faces[0]] == 1).all() and (uv[faces[1]] == 0).all()


def test_trimesh_there_and_back() -> None:
    rng = np.random.default_rng(1)
    colors = rng.integers(0, 256, (4, 4)) / 255
    mesh = Mesh(np.r_[SQUARE, SQUARE], TWO, colors=np.r_[colors, colors])  # unused and double
    there = mesh.to_trimesh()
    assert isinstance(there, trimesh.Trimesh)
    back = Mesh.from_trimesh(there)
    assert np.array_equal(back.vertices, mesh.vertices)
    assert np.array_equal(back.faces, mesh.faces)
    assert np.array_equal(back.colors, mesh.colors)
    there.vertices[0] = 7
    assert mesh.vertices[0, 0] == 0


def test_colours_beyond_their_range_end_at_it() -> None:
    mesh = Mesh(SQUARE, TWO, colors=[[1.2, 0.5, -0.1]] * 4)
    assert np.array_equal(mesh.to_trimesh().visual.vertex_colors, [[255, 128, 0, 255]] * 4)
    assert np.array_equal(mesh.color_bytes, [[255, 128, 0]] * 4)


def test_trimesh_keeps_uv_without_seams() -> None:
    mesh = Mesh(SQUARE, TWO, uv=SQUARE[:, :2] / 2, uv_faces=TWO)
    back = Mesh.from_trimesh(mesh.to_trimesh())
    assert back.uv is not None and np.array_equal(back.uv[back.uv_faces], mesh.uv[TWO])


def test_as_mesh_accepts(tmp_path: Path) -> None:
    path = tmp_path / "m.obj"
    path.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    mesh = as_mesh(path)
    assert as_mesh(mesh) is mesh
    box = trimesh.creation.box()
    assert np.array_equal(as_mesh(box).vertices, box.vertices)
    assert as_mesh(str(path)).vertices.shape == (3, 3)
    assert as_mesh((SQUARE.tolist(), TWO.tolist())).faces.tolist() == TWO.tolist()
    assert as_mesh([SQUARE, np.array([[0, 1, 2, 3]], np.uint8)]).polygons is not None
    assert as_mesh((SQUARE.astype(np.float32), TWO.astype(float))).faces.dtype == np.int64


@pytest.mark.parametrize("thing", [None, 3, SQUARE, (SQUARE,), (SQUARE, TWO, TWO), {"v": SQUARE}])
def test_as_mesh_says_what_it_accepts(thing: object) -> None:
    with pytest.raises(MeshError, match=r"scan: cannot use .*file path.*Trimesh.*pair"):
        as_mesh(thing, "scan")


def test_as_mesh_leaves_a_trimesh_alone() -> None:
    box = trimesh.creation.box()
    V, cache = box.vertices.copy(), set(box._cache.cache)
    as_mesh(box)
    assert np.array_equal(box.vertices, V) and box.vertices.flags.writeable
    assert set(box._cache.cache) == cache


def test_point_clouds_are_refused() -> None:
    with pytest.raises(MeshError, match="faces"):
        as_mesh(trimesh.PointCloud(SQUARE), "scan")


def test_fans() -> None:
    rows, source = fan_rows(np.array([3, 4, 6]))
    assert rows.tolist() == [
        [0, 1, 2, -1],
        [3, 4, 5, 6],
        [7, 8, 9, -1],
        [7, 9, 10, -1],
        [7, 10, 11, -1],
        [7, 11, 12, -1],
    ]
    assert source.tolist() == [0, 1, 2, 2, 2, 2]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"materials": None}, "materials are names, not builtins.NoneType"),
        ({"materials": 5}, "materials are names"),
        ({"materials": ["a\\"]}, "a material cannot be called"),
        ({"materials": ["a\nv 9 9 9"]}, "a material cannot be called"),
        ({"materials": ["a"], "face_materials": [[0], [0, 1]]}, "face_materials must be one"),
        ({"mtllib": 5}, "expected the path"),
        ({"texture": np.zeros((4, 4, 3))}, "a texture is a path or an image"),
        ({"texture": 5}, "a texture is a path or an image"),
    ],
)
def test_parts_of_the_wrong_kind_are_refused(more: dict, message: str) -> None:
    with pytest.raises(MeshError, match=message):
        Mesh(np.eye(3), [[0, 1, 2]], **more)


def test_masked_values_are_no_numbers() -> None:
    V = np.ma.masked_greater(np.eye(3), 0.5)
    with pytest.raises(MeshError, match="vertices are a masked array with values missing"):
        Mesh(V, [[0, 1, 2]])
    with pytest.raises(MeshError, match="faces are a masked array with values missing"):
        Mesh(np.eye(3), np.ma.masked_equal([[0, 1, 2]], 1))
    assert len(Mesh(np.ma.array(np.eye(3)), [[0, 1, 2]]).vertices) == 3
