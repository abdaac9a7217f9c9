"""Cameras: calibration files, projection both ways, pixels lifted to surfaces; drawn contours."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from data_fixtures.cameras import VIEWS, View, views, write_tka
from data_fixtures.contours import CONTOUR_COLOURS, contours, draw_views, write_drawings
from data_fixtures.head import random_identity, template
from data_fixtures.scan import Scan, ScanOptions, scan
from licp import Mesh
from licp.errors import DatasetError, InputError
from licp.headspace import Camera, read_camera

Floats = NDArray[np.float64]
RESOLUTION = 1000


@pytest.fixture(scope="module")
def head() -> Scan:
    rng = np.random.default_rng(3)
    options = ScanOptions(vertices=4000, texture_size=64, headspace_frame=True, noise=0, warp=0)
    return scan(random_identity(rng), None, rng, options, RESOLUTION)


@pytest.fixture(scope="module")
def cameras(head: Scan) -> dict[str, View]:
    return views(head, np.random.default_rng(1))


def front(distortion: tuple[float, float] = (0.0, 0.0)) -> Camera:
    """Looks along z from a metre away; a pixel is a millimetre on the plane z = 0."""
    return Camera(np.eye(3), np.array([0.0, 0, -1000]), 10.0, np.array([0.01, 0.01]),
                  np.array([100.0, 50.0]), np.array(distortion))  # fmt: skip


def read(view: View, folder: Path) -> Camera:
    path = folder / f"calib_{view.name}.tka"
    write_tka(path, view)
    return read_camera(path)


def by_brute_force(
    camera: Camera, pixels: Floats, v: Floats, f: NDArray[np.int64]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Distances along the rays to the nearest triangle, inf if there is none; is it the front?"""
    d = camera.unproject(pixels)[:, None]
    a, b, c = (v[f[:, k]] for k in range(3))
    n = np.cross(b - a, c - a)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = ((a - camera.centre) * n).sum(1) / (d * n).sum(2)
        p = camera.centre + t[..., None] * d
        inside = np.ones(t.shape, bool)
        for x, y in ((a, b), (b, c), (c, a)):
            inside &= (np.cross(y - x, p - x) * n).sum(2) >= 0
    t = np.where(inside & (t > 0), t, np.inf)
    nearest, rows = t.argmin(1), np.arange(len(t))
    return t[rows, nearest], (d[:, 0] * n[nearest]).sum(1) < 0


def test_projection_by_hand() -> None:
    points = [[0.0, 0, 0], [30, -20, 0], [30, -20, 1000]]
    np.testing.assert_allclose(front().project(points), [[100, 50], [130, 30], [115, 40]])
    turned = Camera(Rotation.from_euler("y", 90, degrees=True).as_matrix(), [1000, 0, 0], 10.0,
                    [0.01, 0.02], [0, 0])  # fmt: skip
    # The camera looks along -x; its x axis points along z.
    np.testing.assert_allclose(turned.project([[0.0, 4, 7]]), [[7, 2]], atol=1e-9)


def test_points_behind_the_camera_have_no_pixel() -> None:
    pixels = front().project([[0.0, 0, -999], [0, 0, -1000], [5, 5, -2000]])
    np.testing.assert_array_equal(np.isnan(pixels).all(1), [False, True, True])
    assert front().project(np.zeros((0, 3))).shape == (0, 2)
    with pytest.raises(InputError, match=r"shape \(n, 3\)"):
        front().project([1.0, 2, 3])
    with pytest.raises(InputError, match=r"1 points are not finite .first: point 1"):
        front().project([[0.0, 0, 0], [np.nan, 0, 0]])


@pytest.mark.parametrize("distortion", [(1e-3, 0.0), (-1e-3, 2e-6), (5e-4, -1e-6)])
def test_distortion_is_that_of_tsai(distortion: tuple[float, float]) -> None:
    camera = front(distortion)
    seen = np.array([[100.0, 50], [500, 350], [-300, 50]])
    r = np.linalg.norm(seen - [100, 50], axis=1) * 0.01  # mm
    factor = 1 + distortion[0] * r**2 + distortion[1] * r**4
    on_plane = (seen - [100, 50]) * factor[:, None]  # z = 0: a pixel is a millimetre
    ray = camera.unproject(seen)
    np.testing.assert_allclose(np.linalg.norm(ray, axis=1), 1)
    np.testing.assert_allclose(camera.centre[:2] + 1000 * (ray / ray[:, 2:])[:, :2], on_plane,
                               atol=1e-9)  # fmt: skip
    points = np.column_stack([on_plane, np.zeros(3)])
    np.testing.assert_allclose(camera.project(points), seen, atol=1e-8)


def test_where_distortion_has_no_inverse_there_is_no_pixel() -> None:
    camera = front((-1e-2, 0.0))  # r (1 - r^2 / 100) has its maximum at 5.77 mm: 3.85
    x = np.array([0.0, 100, 380, 384, 386, 1000])
    pixels = camera.project(np.column_stack([x, 0 * x, 0 * x]))
    np.testing.assert_array_equal(np.isnan(pixels[:, 0]), x > 385)
    assert (np.diff(pixels[:4, 0]) > 0).all() and pixels[3, 0] < 100 + 577.4


def test_cameras_agree_with_those_that_made_the_files(
    head: Scan, cameras: dict[str, View], tmp_path: Path
) -> None:
    assert len(VIEWS) == 15
    for view in cameras.values():
        camera = read(view, tmp_path)
        assert camera.size == view.size and dict(camera.other) == {"S": (1.0,), "c": (0.0,)}
        pixels, depth = view.project(head.vertices)
        np.testing.assert_allclose(camera.project(head.vertices), pixels, atol=1e-6)
        assert (depth > 700).all()
        ray = camera.unproject(pixels[::50])
        to = head.vertices[::50] - camera.centre
        off = to - (to * ray).sum(1)[:, None] * ray
        assert np.abs(off).max() < 1e-6


def test_lifting_is_exact_ray_casting(head: Scan, cameras: dict[str, View], tmp_path: Path) -> None:
    mesh, rng = Mesh(head.vertices, head.faces), np.random.default_rng(0)
    for name in ("1C", "5A"):
        camera = read(cameras[name], tmp_path)
        pixels = rng.uniform([40, 40], [260, 360], (250, 2))
        lifted = camera.lift(pixels, mesh)
        t, facing = by_brute_force(camera, pixels, mesh.vertices, mesh.faces)
        p = camera.centre + np.where(np.isfinite(t), t, 0)[:, None] * camera.unproject(pixels)
        hit = lifted.hit
        np.testing.assert_array_equal(hit, np.isfinite(t) & facing)
        assert 60 < hit.sum() < 240
        np.testing.assert_allclose(lifted.positions[hit], p[hit], atol=1e-7)
        np.testing.assert_allclose(camera.project(lifted.positions[hit]), pixels[hit], atol=1e-8)
        corners = mesh.vertices[mesh.faces[lifted.faces[hit]]]
        np.testing.assert_allclose(
            np.einsum("kc,kcj->kj", lifted.barycentric[hit], corners), p[hit], atol=1e-7
        )
        assert np.isnan(lifted.positions[~hit]).all() and not lifted.barycentric[~hit].any()


def test_no_pixel_falls_between_triangles() -> None:
    ball = trimesh.creation.icosphere(3, radius=100.0)
    mesh = Mesh(ball.vertices, ball.faces)
    camera = front((3e-4, -1e-6))
    towards = mesh.vertices[mesh.vertices @ [0, 0, 1] < -40]
    middles = mesh.vertices[ball.edges_unique].mean(1)
    middles = middles[middles[:, 2] < -40]
    for points in (towards, middles):
        lifted = camera.lift(camera.project(points), mesh)
        assert lifted.hit.all()
        np.testing.assert_allclose(lifted.positions, points, atol=1e-6)


def test_units_winding_and_order_do_not_matter() -> None:
    ball = trimesh.creation.icosphere(3, radius=100.0)
    pixels = np.random.default_rng(0).uniform([0, -50], [200, 150], (300, 2))
    lifted = front().lift(pixels, Mesh(ball.vertices, ball.faces))
    assert 150 < lifted.hit.sum() < 290
    assert (lifted.positions[lifted.hit][:, 2] < 0).all()  # the near side
    inside_out = front().lift(pixels, Mesh(ball.vertices, ball.faces[:, ::-1]))
    np.testing.assert_array_equal(inside_out.faces, lifted.faces)
    order = np.random.default_rng(1).permutation(300)
    shuffled = front().lift(pixels[order], Mesh(ball.vertices, ball.faces))
    np.testing.assert_array_equal(shuffled.faces, lifted.faces[order])
    one = front().lift(pixels[:1], Mesh(ball.vertices, ball.faces))
    np.testing.assert_array_equal(one.positions, lifted.positions[:1])
    assert front().lift(np.zeros((0, 2)), Mesh(ball.vertices, ball.faces)).positions.shape == (0, 3)
    metres = Camera(np.eye(3), [0, 0, -1.0], 10.0, [0.01, 0.01], [100, 50])
    small = metres.lift(pixels, Mesh(ball.vertices / 1000, ball.faces))
    np.testing.assert_array_equal(small.faces, lifted.faces)


def test_a_look_through_a_hole_shows_nothing() -> None:
    ball = trimesh.creation.icosphere(3, radius=100.0)
    centre = ball.triangles_center
    hole = (centre[:, 2] < 0) & (np.hypot(centre[:, 0], centre[:, 1]) < 30)
    mesh = Mesh(ball.vertices, ball.faces[~hole])
    lifted = front().lift([[100.0, 50], [100, 110]], mesh)
    np.testing.assert_array_equal(lifted.hit, [False, True])


GOOD = """%M
1 0 0
0 1 0
0 0 1
%X 1.5
%Y -2
%Z -1e3
%f 12
%K 0.001
%x .01
%y .01
%a 320
%b 240
"""


def test_calibration_files_in_other_shapes(tmp_path: Path) -> None:
    path = tmp_path / "calib_1A.tka"
    path.write_text(GOOD.replace("%M\n1 0 0\n", "%M 1 0 0\r\n").replace("%K 0.001\n", ""))
    camera = read_camera(path)
    np.testing.assert_array_equal(camera.rotation, np.eye(3))
    np.testing.assert_array_equal(camera.centre, [1.5, -2, -1000])
    np.testing.assert_array_equal(camera.distortion, [0, 0])
    assert camera.size is None and camera.focal == 12 and not camera.other
    path.write_text(GOOD + "%is 640 480\n%K2 -1e-6\n%unknown 1 2 3\n")
    camera = read_camera(path)
    np.testing.assert_array_equal(camera.distortion, [0.001, -1e-6])
    assert camera.size == (640, 480) and camera.other["unknown"] == (1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    "old, new, why",
    [
        ("%f 12\n", "", r"lacks %f \(focal length\)"),
        ("0 0 1\n", "", r"lacks %M \(rotation, 9 numbers\)"),
        ("%b 240\n", "%b\n", "lacks %b"),
        ("1 0 0", "2 0 0", "no rotation"),
        ("1 0 0", "1 zero 0", "'zero' is not a number"),
        ("%X 1.5", "%X nan", "centre must be finite"),
        ("%f 12", "%f 1e30", "focal must be finite"),
        ("%x .01", "%x 0", "must be positive"),
        ("%Y -2", "%X -2", "%X is given twice"),
        ("%M\n", "", "starts with numbers"),
    ],
)
def test_damaged_calibration_files(tmp_path: Path, old: str, new: str, why: str) -> None:
    path = tmp_path / "calib_1A.tka"
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(DatasetError, match=why) as caught:
        read_camera(path)
    assert "calib_1A.tka" in str(caught.value)


def test_contours_follow_edges_of_the_template() -> None:
    for resolution in (1000, 5000):
        mean = template(resolution)
        edges = {tuple(e) for e in mean.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).tolist()}
        edges |= {(b, a) for a, b in edges}
        found = contours(mean)
        assert list(found) == list(CONTOUR_COLOURS)
        for name, chain in found.items():
            assert all(e in edges for e in pairwise(chain.tolist())), name
            closed = name.startswith(("eye", "ear", "lips"))
            assert (chain[0] == chain[-1]) == closed
            inner = chain[:-1] if closed else chain
            assert len(np.unique(inner)) == len(inner) > 4
        assert set(mean.landmarks[36:42]) <= set(found["eye_right"].tolist())
        assert (mean.vertices[found["ear_left"], 0] > 50).all()


def test_drawn_contours_lift_back_to_where_they_run(
    head: Scan, cameras: dict[str, View], tmp_path: Path
) -> None:
    lines = contours(template(RESOLUTION))
    drawings = draw_views(head, cameras, lines)
    write_drawings(tmp_path, drawings)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1C.png", "2C.png", "contours.json"]
    mesh = Mesh(head.vertices, head.faces)
    for name, drawing in drawings.items():
        camera = read(cameras[name], tmp_path)
        side = "right" if name == "1C" else "left"
        for label in ("jaw", "lips_outer", f"eye_{side}", f"brow_{side}", f"ear_{side}"):
            chain = head.truth[lines[label]]
            true = np.concatenate([np.linspace(a, b, 30) for a, b in pairwise(chain)])
            pixels = np.concatenate(drawing.pieces[label])
            lifted = camera.lift(pixels, mesh)
            assert len(pixels) > 20 and lifted.hit.mean() > 0.95, (name, label)
            off = cKDTree(true).query(lifted.positions[lifted.hit])[0]
            # The ear of this coarse template has edges of 10 mm.
            assert np.median(off) < (2 if "ear" in label else 1) and off.max() < 5, (name, label)
            x, y = np.floor(pixels + 0.5).astype(int).T
            shown = (drawing.image[y, x] == CONTOUR_COLOURS[label]).all(1)
            assert shown.mean() > 0.6  # lines may cross
        hidden = "ear_left" if name == "1C" else "ear_right"
        assert not drawing.pieces[hidden]
