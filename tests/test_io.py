import bz2
import io
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from licp.errors import (
    DatasetError,
    InputError,
    LandmarkError,
    MeshError,
    MeshFileError,
    OutputError,
)
from licp.files import write_file
from licp.headspace import Headspace
from licp.io import check_output, load_mesh, save_mesh
from licp.landmark_file import load_landmarks
from licp.mesh import Mesh
from licp.regions import Regions

TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\n"


def obj(folder: Path, text: str | bytes, name: str = "m.obj") -> Mesh:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_mesh(path)


@pytest.fixture
def textured(tmp_path: Path) -> Mesh:
    """A quad and two triangles with a uv seam, two materials and an image, as an OBJ on disk."""
    folder = tmp_path / "source"
    (folder / "tex").mkdir(parents=True)
    Image.new("RGB", (4, 2), (200, 100, 50)).save(folder / "tex" / "my skin.bmp")
    (folder / "head.mtl").write_text(
        "newmtl skin\nmap_Kd -s 1 1 1 tex\\my skin.bmp\nnewmtl eye\nKd 1 1 1\n"
    )
    return obj(
        folder,
        "mtllib head.mtl\n"
        "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 9 9 9\nv 2 0 0\nv 2 1 0\n"
        "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nvt 0.25 0.75\n"
        "usemtl skin\nf 1/1 2/2 3/3 4/4\nusemtl eye\nf 2/5 6/2 7/3\nusemtl skin\nf 2/2 7/3 3/3\n",
        "head.obj",
    )


# ---------------------------------------------------------------- reading OBJ


def test_vertex_order_and_unused_vertices_are_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    V = rng.normal(size=(50, 3))
    V[10:20] = V[0]  # the same place many times
    text = "".join(f"v {x!r} {y!r} {z!r}\n" for x, y, z in V.tolist()) + "f 50 1 30\nf 12 13 40\n"
    mesh = obj(tmp_path, text)
    assert np.array_equal(mesh.vertices, V)
    assert mesh.faces.tolist() == [[49, 0, 29], [11, 12, 39]]
    assert mesh.uv is None and mesh.polygons is None and mesh.name == "m.obj"


@pytest.mark.parametrize(
    "face", ["f 1 2 3", "f 1/1 2/1 3/1", "f 1//1 2//1 3//1", "f 1/1/1 2/1/1 3/1/1", "f -3 -2 -1"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_ways_to_write_a_face(tmp_path: Path, face: str, end: str) -> None:
    text = f"# a\n\n{TRIANGLE}vt 0.5 0.25\nvn 0 0 1\no x y\n  {face} # tail\n".replace("\n", end)
    mesh = obj(tmp_path, text)
    assert mesh.faces.tolist() == [[0, 1, 2]]
    if "/1" in face and "//" not in face:
        assert mesh.uv is not None and mesh.uv.tolist() == [[0.5, 0.25]]
    else:
        assert mesh.uv is None


def test_the_last_line_needs_no_end(tmp_path: Path) -> None:
    assert obj(tmp_path, TRIANGLE + "f 1 2 3").faces.tolist() == [[0, 1, 2]]


def test_negative_indices_count_from_where_they_stand(tmp_path: Path) -> None:
    mesh = obj(tmp_path, TRIANGLE + "f -3 -2 -1\n" + TRIANGLE + "f -3 -1 1\n")
    assert mesh.faces.tolist() == [[0, 1, 2], [3, 5, 0]]


def test_continued_lines(tmp_path: Path) -> None:
    mesh = obj(tmp_path, b"v 0 0 \\\n0\nv 1 0 0\nv 0 1 0\nf 1 \\\r\n 2\\\n 3\n")
    assert mesh.vertices[0].tolist() == [0, 0, 0] and mesh.faces.tolist() == [[0, 1, 2]]


def test_polygons(tmp_path: Path) -> None:
    points = "".join(f"v {np.cos(a)} {np.sin(a)} 0\n" for a in range(6))
    mesh = obj(tmp_path, points + "f 1 2 3 4\nf 1 2 3 4 5 6\nf 6 5 4\n")
    fan = [[0, 1, 2, -1], [0, 2, 3, -1], [0, 3, 4, -1], [0, 4, 5, -1]]
    assert mesh.polygons is not None
    assert mesh.polygons.tolist() == [[0, 1, 2, 3], *fan, [5, 4, 3, -1]]


@pytest.mark.parametrize(
    ("color", "expected"), [("0.5 0 1", [0.5, 0, 1]), ("255 0 51", [1, 0, 0.2])]
)
def test_vertex_colours(tmp_path: Path, color: str, expected: list[float]) -> None:
    mesh = obj(tmp_path, f"v 1 2 3 {color}\nv 2 0 0 {color}\nv 0 1 0 {color}\nf 1 2 3\n")
    assert mesh.colors is not None and np.allclose(mesh.colors, expected)
    assert mesh.vertices[0].tolist() == [1, 2, 3]


def test_a_weight_is_no_colour_and_some_colours_are_none(tmp_path: Path) -> None:
    assert obj(tmp_path, "v 1 2 3 1\nv 2 0 0 1\nv 0 1 0 1\nf 1 2 3\n").colors is None
    assert obj(tmp_path, "v 1 2 3 1 1 1\nv 2 0 0\nv 0 1 0\nf 1 2 3\n").colors is None


def test_numbers_are_read_to_the_last_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    values = np.r_[rng.normal(size=300), rng.random(300) * 1e-3, 10.0 ** rng.uniform(-30, 30, 300)]
    formats = ["%r", "%.17g", "%.6f", "%.3e", "%.18f", "%+.9G"]
    tokens = [formats[i % 6] % x for i, x in enumerate(values.tolist())]
    tokens += ["1.", ".5", "-0", "007", "1E+2", "9007199254740993", "0.000000000000000000001234567"]
    tokens += ["123456789012345678901234567890", "4.9e-324"]
    text = "".join(f"v {x} 0 0\n" for x in tokens)
    mesh = obj(tmp_path, text + "f 1 2 3\n")
    assert mesh.vertices[:, 0].tolist() == [float(x) for x in tokens]


def test_material_library_and_texture_are_found(textured: Mesh) -> None:
    assert textured.materials == ("skin", "eye")
    assert textured.face_materials is not None and textured.face_materials.tolist() == [0, 1, 0]
    assert textured.mtllib is not None and textured.mtllib.name == "head.mtl"
    assert textured.texture.name == "my skin.bmp"
    assert textured.texture_image().getpixel((0, 0)) == (200, 100, 50)


def test_missing_materials_images_and_uvs_do_no_harm(tmp_path: Path) -> None:
    mesh = obj(tmp_path, f"mtllib gone.mtl\nusemtl a\n{TRIANGLE}f 1/1 2/2 3/3\n")
    assert mesh.mtllib is None and mesh.texture is None and mesh.uv is None
    (tmp_path / "there.mtl").write_text("newmtl a\nmap_Kd C:\\gone\\skin.bmp\n")
    mesh = obj(tmp_path, f"mtllib there.mtl\nusemtl a\n{TRIANGLE}vt 0 0\nf 1/1 2/1 3/2\n")
    assert mesh.mtllib == tmp_path / "there.mtl" and mesh.texture is None and mesh.uv is None
    save_mesh(tmp_path / "again.obj", mesh)


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("v 0 0 0\nv 1 0\n", 2, "three numbers"),
        ("v 0 0 0\nv 1 0 x\nv 0 0 0\nf 1 2 3\n", 2, "'x' is not a number"),
        (TRIANGLE + "vt\nf 1 2 3\n", 4, "numbers"),
        (TRIANGLE + "\nf 1 2\n", 5, "three corners"),
        (TRIANGLE + "f 1 2 3\nf 1 2 3.5\n", 5, "cannot read this face"),
        (TRIANGLE + "f 1 2 3/\x00\n", 4, "cannot read this face"),
        (TRIANGLE + "f 1 2 0\n", 4, "vertex 0"),
        (TRIANGLE + "f 1 2 -4\n", 4, "before the first"),
        (TRIANGLE + "# c\\\nx\nf 1 2 3\nf 1 2 7\n", 7, "face 2 refers to vertex 7.* only 3"),
    ],
)
def test_broken_objs_name_the_line(tmp_path: Path, text: str, line: int, why: str) -> None:
    with pytest.raises(MeshFileError, match=rf"m\.obj, line {line}: .*{why}"):
        obj(tmp_path, text)


def test_obj_with_nan_names_the_vertex(tmp_path: Path) -> None:
    with pytest.raises(MeshError, match="vertex 1 = "):
        obj(tmp_path, "v 0 0 0\nv nan 0 0\nv 0 1 0\nf 1 2 3\n")


@pytest.mark.parametrize("end", [".obj", ".ply", ".glb", ".stl", ".off"])
def test_useless_files(tmp_path: Path, end: str) -> None:
    path = tmp_path / ("a" + end)
    with pytest.raises(MeshFileError, match="no such file"):
        load_mesh(path)
    path.write_bytes(b"")
    with pytest.raises(MeshFileError, match="empty"):
        load_mesh(path)
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(MeshFileError, match=path.name):
        load_mesh(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(MeshFileError, match="folder"):
        load_mesh(path)


def test_unknown_ending_and_point_clouds(tmp_path: Path) -> None:
    (tmp_path / "a.xyzzy").write_text("hello")
    with pytest.raises(MeshFileError, match=r"unknown mesh format '.xyzzy'.*\.obj.*\.ply"):
        load_mesh(tmp_path / "a.xyzzy")
    with pytest.raises(MeshFileError, match="3 vertices but no faces"):
        obj(tmp_path, TRIANGLE)
    trimesh.PointCloud(np.eye(3)).export(tmp_path / "p.ply")
    with pytest.raises(MeshFileError, match="3 vertices but no faces"):
        load_mesh(tmp_path / "p.ply")


@pytest.mark.parametrize("name", ["m.obj.bz2", "m.obj.zip", "m.obj.gz", "m.tar.gz", "m.STL.BZ2"])
def test_what_is_packed_is_to_be_unpacked(tmp_path: Path, name: str) -> None:
    data = (TRIANGLE + "f 1 2 3\n").encode()
    if name == "m.obj.zip":
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("m.obj", data)
    else:
        (tmp_path / name).write_bytes(bz2.compress(data))
    with pytest.raises(MeshFileError, match="unpack it first"):
        load_mesh(tmp_path / name)
    (tmp_path / "a.xyzzy").write_text("hello")
    with pytest.raises(MeshFileError, match="known are") as caught:
        load_mesh(tmp_path / "a.xyzzy")
    assert not {".bz2", ".zip", ".tar.gz"} & set(str(caught.value).split())


@pytest.mark.parametrize("junk", [None, b"m.obj", 5, io.StringIO("v 0 0 0")])
def test_what_is_no_path_is_said(tmp_path: Path, junk: Any) -> None:
    with pytest.raises(MeshFileError, match=r"the path of a file or folder, not (_io|built)"):
        load_mesh(junk)
    with pytest.raises(OutputError, match="expected the path of a file or folder"):
        save_mesh(junk, Mesh(np.eye(3), [[0, 1, 2]]))
    regions, said = Regions({"a": [0]}, 3), "expected the path of a file or folder"
    with pytest.raises(OutputError, match=said):
        regions.save(junk)
    with pytest.raises(InputError, match=said):
        Regions.load(junk, 3)
    with pytest.raises(LandmarkError, match=said):
        load_landmarks(junk, Mesh(np.eye(3), [[0, 1, 2]]))
    with pytest.raises(DatasetError, match=said):
        Headspace(junk)


# ---------------------------------------------------------------- PLY


def test_ply_of_trimesh_is_read_alike(tmp_path: Path) -> None:
    ball = trimesh.creation.icosphere(subdivisions=2)
    ball.visual.vertex_colors = np.random.default_rng(0).integers(0, 255, (162, 4))
    for encoding in ("binary", "ascii"):
        ball.export(tmp_path / "b.ply", encoding=encoding, vertex_normal=True)
        mesh = load_mesh(tmp_path / "b.ply")
        assert np.array_equal(mesh.vertices.astype(np.float32), ball.vertices.astype(np.float32))
        assert np.array_equal(mesh.faces, ball.faces)
        assert mesh.colors is not None
        assert np.array_equal(np.round(mesh.colors * 255), ball.visual.vertex_colors)


def mixed_ply(order: str) -> bytes:
    """Triangle, quad and pentagon, uv per corner, things to skip before, between and after."""
    name = {"": "ascii", "<": "binary_little_endian", ">": "binary_big_endian"}[order]
    header = (
        f"ply\nformat {name} 1.0\ncomment TextureFile skin.bmp\nelement junk 2\n"
        "property list ushort short a\nproperty uchar b\nelement vertex 6\nproperty float x\n"
        "property double y\nproperty float z\nproperty int flag\nelement face 3\n"
        "property uchar group\nproperty list uchar uint vertex_indices\n"
        "property list uchar float texcoord\nelement edge 1\nproperty int vertex1\nend_header\n"
    ).encode()
    rows: list[tuple[str, list[float]]] = [("H3hB", [3, -1, -2, -3, 7]), ("H0hB", [0, 9])]
    rows += [("fdfi", [i, i * i / 7, 1, 99]) for i in range(6)]
    for face in ([0, 1, 2], [2, 3, 4, 5], [5, 4, 3, 2, 1]):
        k = len(face)
        uv = [c / 8 for v in face for c in (v, k)]
        rows.append((f"BB{k}IB{2 * k}f", [1, k, *face, 2 * k, *uv]))
    rows.append(("i", [3]))
    if not order:
        return header + "\n".join(" ".join(map(repr, r)) for _, r in rows).encode() + b"\n"
    return header + b"".join(struct.pack(order + kind, *row) for kind, row in rows)


@pytest.mark.parametrize("order", ["", "<", ">"])
def test_ply_with_mixed_polygons_and_uv(tmp_path: Path, order: str) -> None:
    (tmp_path / "m.ply").write_bytes(mixed_ply(order))
    (tmp_path / "skin.bmp").write_bytes(b"not opened")
    mesh = load_mesh(tmp_path / "m.ply")
    assert mesh.vertices[:, 1].tolist() == [i * i / 7 for i in range(6)]
    assert mesh.polygons is not None
    fan = [[5, 4, 3, -1], [5, 3, 2, -1], [5, 2, 1, -1]]
    assert mesh.polygons.tolist() == [[0, 1, 2, -1], [2, 3, 4, 5], *fan]
    assert mesh.uv is not None and mesh.texture == tmp_path / "skin.bmp"
    corners = mesh.polygons >= 0
    assert np.array_equal(mesh.uv[mesh.uv_faces][..., 0][corners], mesh.polygons[corners] / 8)
    assert mesh.uv[mesh.uv_faces][..., 1][:, 0].tolist() == [3 / 8, 4 / 8, 5 / 8, 5 / 8, 5 / 8]


@pytest.mark.parametrize("order", ["", "<", ">"])
def test_ply_cut_anywhere_is_noticed(tmp_path: Path, order: str) -> None:
    data = mixed_ply(order)
    for length in range(10, len(data) - 8, 7):
        (tmp_path / "m.ply").write_bytes(data[:length])
        with pytest.raises(MeshFileError, match=r"cut off|damaged"):
            load_mesh(tmp_path / "m.ply")


def test_ply_that_promises_too_much(tmp_path: Path) -> None:
    data = mixed_ply("<").replace(b"element vertex 6", b"element vertex 6000000000000")
    (tmp_path / "m.ply").write_bytes(data)
    with pytest.raises(MeshFileError, match="6000000000000 of element 'vertex'"):
        load_mesh(tmp_path / "m.ply")
    (tmp_path / "m.ply").write_bytes(data.replace(b"property double", b"property quaternion"))
    with pytest.raises(MeshFileError, match=r"line \d+: unknown PLY header"):
        load_mesh(tmp_path / "m.ply")


def test_ply_uv_per_vertex_round_trip(tmp_path: Path) -> None:
    V = np.random.default_rng(0).normal(size=(5, 3)) * 1e3
    uv = np.random.default_rng(1).random((5, 2))
    mesh = Mesh(V, [[0, 1, 2, 3], [3, 4, 0, -1]], uv=uv, uv_faces=[[0, 1, 2, 3], [3, 4, 0, -1]])
    back = load_mesh(save_mesh(tmp_path / "m.PLY", mesh))
    assert np.array_equal(back.vertices, V)
    assert back.polygons is not None and np.array_equal(back.polygons, mesh.polygons)
    assert np.array_equal(back.uv, uv) and np.array_equal(back.uv_faces, mesh.uv_faces)


# ---------------------------------------------------------------- writing


def test_obj_round_trip_keeps_everything(tmp_path: Path, textured: Mesh) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    moved = textured.with_vertices(textured.vertices * np.pi)
    back = load_mesh(save_mesh(folder / "result 1.obj", moved))
    assert np.allclose(back.vertices, moved.vertices, rtol=1e-8, atol=0)
    for name in ("faces", "polygons", "uv", "uv_faces", "face_materials"):
        assert np.array_equal(getattr(back, name), getattr(textured, name)), name
    assert back.materials == textured.materials
    assert sorted(p.name for p in folder.iterdir()) == [
        "my skin.bmp",
        "result 1.mtl",
        "result 1.obj",
    ]
    assert back.texture == folder / "my skin.bmp"
    assert back.texture.read_bytes() == textured.texture.read_bytes()
    # Without the source folder the copy has all it needs; saved again nothing changes.
    again = load_mesh(save_mesh(folder / "again.obj", back))
    assert again.mtllib == folder / "result 1.mtl" and again.texture == back.texture


def test_another_image_of_the_same_name_is_not_overwritten(tmp_path: Path, textured: Mesh) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "my skin.bmp").write_bytes(b"someone else's")
    back = load_mesh(save_mesh(folder / "r.obj", textured))
    assert (folder / "my skin.bmp").read_bytes() == b"someone else's"
    assert back.texture == folder / "r_my skin.bmp"


def test_materials_of_another_obj_are_not_overwritten(tmp_path: Path, textured: Mesh) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "r.mtl").write_text("newmtl a\n")
    (folder / "scan.obj").write_text(f"mtllib r.mtl\nusemtl a\n{TRIANGLE}f 1 2 3\n")
    back = load_mesh(save_mesh(folder / "r.obj", textured))
    assert (folder / "r.mtl").read_text() == "newmtl a\n"
    assert back.mtllib == folder / "r_2.mtl" and back.materials == textured.materials
    # Its own are: what replaces an OBJ replaces its materials.
    save_mesh(folder / "s.obj", textured)
    (folder / "s.mtl").write_text("newmtl old\n")
    assert load_mesh(save_mesh(folder / "s.obj", textured)).mtllib == folder / "s.mtl"
    assert "old" not in (folder / "s.mtl").read_text()


@pytest.mark.parametrize("name", ["a  b", "a\tb", "a\u00a0b"])
def test_images_with_odd_blanks_in_their_names(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.png").write_bytes(b"image")
    (tmp_path / "m.mtl").write_text(f"newmtl a\nmap_Kd -s 1 1 1 {name}.png\n")
    mesh = obj(tmp_path, f"mtllib m.mtl\nusemtl a\n{TRIANGLE}vt 0 0\nf 1/1 2/1 3/1\n")
    assert mesh.texture == tmp_path / f"{name}.png"


def test_an_off_that_is_cut_off_is_noticed(tmp_path: Path) -> None:
    text = trimesh.creation.icosphere(2).export(file_type="off")
    path = tmp_path / "m.off"
    path.write_text(text)
    assert len(load_mesh(path).faces) == 320
    for part in (0.5, 0.8, 0.95):
        path.write_text(text[: int(part * len(text))])
        with pytest.raises(MeshFileError, match="cut off"):
            load_mesh(path)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "F", "I", "HSV"])
@pytest.mark.parametrize("end", [".obj", ".glb"])
def test_images_of_any_mode_are_saved(tmp_path: Path, mode: str, end: str) -> None:
    image = Image.new("RGB", (2, 2), (200, 100, 50))
    image = image.convert("L").convert(mode) if mode in "FI" else image.convert(mode)
    mesh = Mesh(np.eye(3), [[0, 1, 2]], uv=np.eye(3)[:, :2], uv_faces=[[0, 1, 2]], texture=image)
    back = load_mesh(save_mesh(tmp_path / f"m{end}", mesh)).texture_image()
    assert back.convert("RGB").size == (2, 2)


def test_odd_plys(tmp_path: Path) -> None:
    head = "ply\nformat ascii 1.0\n{}element vertex 3\n" + "".join(
        f"property float {c}\n" for c in "xyz"
    )
    head += "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    body = "0 0 0\n1 0 0\n0 1 0\n"
    path = tmp_path / "m.ply"
    path.write_text(head.format("comment TextureFile\n") + body + "3 0 1 2\n")
    assert load_mesh(path).texture is None
    path.write_text(head.format("") + body + "4 0 1 2 -1\n")
    with pytest.raises(MeshFileError, match="a face has -1 for a vertex"):
        load_mesh(path)


def test_glb_refuses_what_single_precision_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="beyond single precision"):
        save_mesh(tmp_path / "m.glb", Mesh(1e40 * np.eye(3), [[0, 1, 2]]))
    assert not list(tmp_path.iterdir())


def test_images_of_one_name_are_all_kept(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    uv = {"uv": [[0, 0], [1, 0], [0, 1]], "uv_faces": [[0, 1, 2]]}
    inks = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}

    def saved(name: str) -> tuple[str, tuple[int, int, int]]:
        """Name and ink of the texture once the mesh is in the folder, always as one file."""
        mesh = Mesh(np.eye(3), [[0, 1, 2]], texture=tmp_path / name / "tex.png", **uv)
        back = load_mesh(save_mesh(tmp_path / "out" / "fit.obj", mesh))
        return back.texture.name, back.texture_image().getpixel((0, 0))

    for name, ink in inks.items():
        (tmp_path / name).mkdir()
        Image.new("RGB", (2, 2), ink).save(tmp_path / name / "tex.png")
    (tmp_path / "out" / "fit_2_tex.png").mkdir()  # no image, and in the way
    files = dict(zip(inks, ("tex.png", "fit_tex.png", "fit_3_tex.png"), strict=True))
    for name in (*inks, *inks):
        assert saved(name) == (files[name], inks[name])
    assert len(list((tmp_path / "out").iterdir())) == 6


def test_two_images_of_one_name_in_one_library(tmp_path: Path, textured: Mesh) -> None:
    folder = tmp_path / "source"
    (folder / "eye").mkdir()
    (folder / "eye" / "my skin.bmp").write_bytes(b"of the eye")
    with open(folder / "head.mtl", "a") as library:
        library.write("map_Kd eye/my skin.bmp\nmap_Ks tex/my skin.bmp\n")
    (tmp_path / "out").mkdir()
    save_mesh(tmp_path / "out" / "r.obj", textured)
    maps = [x for x in (tmp_path / "out" / "r.mtl").read_text().splitlines() if "map" in x]
    assert [x.split(" ", 1)[1] for x in maps] == ["my skin.bmp", "r_my skin.bmp", "my skin.bmp"]
    assert (tmp_path / "out" / "r_my skin.bmp").read_bytes() == b"of the eye"
    assert (tmp_path / "out" / "my skin.bmp").read_bytes() == textured.texture.read_bytes()


def test_a_face_with_uv_at_some_corners_is_written_without(tmp_path: Path) -> None:
    mesh = Mesh(
        np.eye(4)[:, :3],
        [[0, 1, 2, -1], [1, 2, 3, -1], [0, 1, 2, 3], [3, 2, 1, 0]],
        uv=[[0, 0], [1, 0], [0, 1]],
        uv_faces=[[0, -1, 2, -1], [0, 1, 2, -1], [0, 1, 2, -1], [2, 1, 0, 0]],
    )
    lines = save_mesh(tmp_path / "m.obj", mesh).read_text().splitlines()
    assert [x for x in lines if x[0] == "f"] == [
        "f 1 2 3", "f 2/1 3/2 4/3", "f 1 2 3 4", "f 4/3 3/2 2/1 1/1",
    ]  # fmt: skip


def test_obj_mixed_uv_and_colours_round_trip(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    mesh = Mesh(
        rng.random((6, 3)),
        [[0, 1, 2, -1], [0, 1, 2, 3], [3, 4, 5, -1]],
        uv=[[0, 0], [0.5, 1]],
        uv_faces=[[-1, -1, -1, -1], [0, 1, 0, 1], [1, 1, 0, -1]],
        colors=np.round(rng.random((6, 3)), 3),
        face_materials=[0, 0, 1],
        materials=["100%d", "b"],
    )
    back = load_mesh(save_mesh(tmp_path / "m.obj", mesh))
    for name in ("polygons", "uv", "uv_faces", "colors", "face_materials", "materials"):
        assert np.array_equal(getattr(back, name), getattr(mesh, name)), name


def test_obj_of_a_mesh_with_an_image_in_memory(tmp_path: Path) -> None:
    uv = np.array([[0, 0], [1, 0], [0, 1]])
    image = Image.new("RGB", (2, 2), (1, 2, 3))
    mesh = Mesh(np.eye(3), [[0, 1, 2]], uv=uv, uv_faces=[[0, 1, 2]], texture=image)
    back = load_mesh(save_mesh(tmp_path / "m.obj", mesh))
    assert back.texture == tmp_path / "m_texture.png" and back.texture_image().getpixel((1, 1)) == (
        1,
        2,
        3,
    )
    assert load_mesh(save_mesh(tmp_path / "m.obj", mesh)).texture == tmp_path / "m_texture.png"

    (tmp_path / "other_texture.png").write_bytes(b"not ours")
    kept = load_mesh(save_mesh(tmp_path / "other.obj", mesh))
    assert (tmp_path / "other_texture.png").read_bytes() == b"not ours"
    assert kept.texture == tmp_path / "other_other_texture.png"
    assert kept.texture_image().getpixel((1, 1)) == (1, 2, 3)


def test_glb_keeps_order_and_appends_seam_copies(tmp_path: Path, textured: Mesh) -> None:
    back = load_mesh(save_mesh(tmp_path / "m.glb", textured))
    n = len(textured.vertices)
    source, faces, uv = textured.split_at_seams()
    assert len(back.vertices) == len(source) == n + 1
    assert np.array_equal(back.vertices, textured.vertices[source])
    assert np.array_equal(back.faces, faces)
    assert back.uv is not None and np.allclose(back.uv[back.uv_faces], uv[faces])
    assert back.texture_image().convert("RGB").getpixel((0, 0)) == (200, 100, 50)


def test_glb_colours(tmp_path: Path) -> None:
    colors = np.array([[1, 0, 0], [0, 0.2, 0], [0, 0, 1]])
    back = load_mesh(save_mesh(tmp_path / "m.glb", Mesh(np.eye(3), [[0, 1, 2]], colors=colors)))
    assert back.colors is not None and np.allclose(back.colors[:, :3], colors)


@pytest.mark.parametrize("end", ["stl", "off", "glb"])
def test_trimesh_formats_are_not_merged(tmp_path: Path, end: str) -> None:
    box = trimesh.creation.box()
    soup = trimesh.Trimesh(
        box.triangles.reshape(-1, 3), np.arange(36).reshape(-1, 3), process=False
    )
    soup.export(tmp_path / f"a.{end}")
    mesh = load_mesh(tmp_path / f"a.{end}")
    assert np.array_equal(mesh.vertices, soup.vertices)
    assert np.array_equal(mesh.faces, soup.faces)


@pytest.mark.parametrize("name", ["m.obj", "m.ply", "m.glb"])
def test_writing_is_deterministic_and_leaves_no_rubbish(
    tmp_path: Path, textured: Mesh, name: str
) -> None:
    out = [tmp_path / "a", tmp_path / "b"]
    for folder in out:
        folder.mkdir()
        save_mesh(folder / name, textured)
    assert [p.name for p in sorted(out[0].iterdir())] == [p.name for p in sorted(out[1].iterdir())]
    for file in out[0].iterdir():
        assert file.read_bytes() == (out[1] / file.name).read_bytes()
        assert not file.name.startswith(".")


def test_outputs_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = Mesh(np.eye(3), [[0, 1, 2]])
    (tmp_path / "d.obj").mkdir()
    for path, why in (
        (tmp_path / "m.fbx", "cannot write .fbx.*obj, .ply, .glb"),
        (tmp_path / "m", "without ending"),
        (tmp_path / "gone" / "m.obj", "does not exist"),
        (tmp_path / "d.obj", "is a folder"),
        (tmp_path / "a\0.obj", r"'.*a\\x00\.obj': names of files"),
    ):
        with pytest.raises(OutputError, match=why):
            check_output(path)
        with pytest.raises(OutputError, match=why):
            save_mesh(path, mesh)
    with pytest.raises(OutputError, match="names of files"):
        write_file(tmp_path / "a\0.json", b"{}")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="cannot be written to"):
        check_output(tmp_path / "m.obj")


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.obj"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="No space left"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_links_stay_links_and_permissions_stay(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    real, link = tmp_path / "store" / "m.obj", tmp_path / "m.obj"
    link.symlink_to(real)
    write_file(link, b"first")
    assert link.is_symlink() and real.read_bytes() == b"first"
    real.chmod(0o640)
    write_file(link, b"second")
    assert link.is_symlink() and real.read_bytes() == b"second"
    assert real.stat().st_mode & 0o777 == 0o640
    link.unlink()
    link.symlink_to(tmp_path / "gone" / "m.obj")
    with pytest.raises(OutputError, match="does not exist"):
        write_file(link, b"third")
    with pytest.raises(OutputError, match="does not exist"):
        check_output(link)


# ---------------------------------------------------------------- real files


def test_real_scan_vertex_order_and_texture(shared_data: Path) -> None:
    path = shared_data / "real_james" / "james.obj"
    mesh = load_mesh(path)
    lines = [x.split() for x in path.read_text().splitlines()]
    expected = np.array([x[1:4] for x in lines if x[:1] == ["v"]], float)
    assert np.array_equal(mesh.vertices, expected)
    assert len(mesh.faces) == 12228 and mesh.texture == path.parent / "james.jpg"


def test_real_quads_survive(shared_data: Path, tmp_path: Path) -> None:
    mesh = load_mesh(shared_data / "makehuman" / "template.obj")
    assert mesh.polygons is not None and len(mesh.polygons) == 4234
    back = load_mesh(save_mesh(tmp_path / "t.obj", mesh))
    assert np.array_equal(back.vertices, mesh.vertices)
    assert np.array_equal(back.polygons, mesh.polygons)
    assert np.array_equal(back.uv_faces, mesh.uv_faces)


PLY = (
    "ply\nformat ascii 1.0\nelement vertex 3\nproperty {x} x\nproperty float y\nproperty float z\n"
)
PLY += "element face 1\nproperty list uchar int vertex_indices\nend_header\n{body}"


@pytest.mark.parametrize(
    ("x", "body", "why"),
    [
        ("list uchar float", "2 0 1 0 0\n0 1 0\n1 0 0 1\n3 0 1 2\n", "no vertices with x, y and z"),
        ("float", "0 0 0\n1 0 0\n0 1 0\n3 0.9 1 2\n", "0.9 for a vertex"),
        ("float", "0 0 0\n1 0 0\n0 1 0\n3 nan 1 2\n", "nan for a vertex"),
    ],
)
def test_ply_whose_numbers_make_no_mesh(tmp_path: Path, x: str, body: str, why: str) -> None:
    (tmp_path / "m.ply").write_text(PLY.format(x=x, body=body))
    with pytest.raises(MeshFileError, match=why):
        load_mesh(tmp_path / "m.ply")


def test_anything_that_stands_for_a_mesh_is_saved(tmp_path: Path) -> None:
    pair = np.eye(3), [[0, 1, 2]]
    assert np.array_equal(load_mesh(save_mesh(tmp_path / "m.ply", pair)).vertices, np.eye(3))
