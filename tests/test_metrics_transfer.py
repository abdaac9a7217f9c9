"""Annotations: contours sampled, lifted from drawings, carried to the template and on."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import KDTree

from data_fixtures.cameras import views, write_tka
from data_fixtures.contours import CONTOUR_COLOURS, contours, draw_views, write_drawings
from licp import Mesh
from licp.errors import InputError
from licp.headspace import Camera, read_camera
from licp.metrics import (
    attach,
    contour_distance,
    lift_drawings,
    loose_ends,
    merge_contours,
    read_drawings,
    read_painted,
    resample,
    swap,
    swap_distances,
)
from tests import heads

Floats = NDArray[np.float64]
V, F = heads.arrays()


def test_places_move_with_the_mesh() -> None:
    rng = np.random.default_rng(0)
    face = rng.integers(len(F), size=200)
    weights = rng.dirichlet([1, 1, 1], 200)
    warped = V * [1.1, 0.9, 1.05] + 3.0
    points, moved = (np.einsum("kc,kcj->kj", weights, X[F[face]]) for X in (V, warped))
    places, distance = attach(points, V, F)
    assert distance.max() < 1e-9
    np.testing.assert_allclose(places.on(warped, F), moved, atol=1e-8)


def test_swap_lands_on_the_other_scan() -> None:
    scan = heads.scan()
    line = V[contours(heads.template())["brow_left"]]
    places, _ = attach(line, V, F)
    swapped = swap(places, scan.truth, F, scan.vertices, scan.faces)
    assert attach(swapped, scan.vertices, scan.faces)[1].max() < 1e-9
    true = scan.truth[contours(heads.template())["brow_left"]]
    assert np.linalg.norm(swapped - true, axis=1).max() < 1.5  # chords of a coarse scan


def test_swap_distances_tell_true_from_false() -> None:
    from data_fixtures.head import head, random_identity

    rng = np.random.default_rng(1)
    people = [head(random_identity(rng), None, 1000) for _ in range(5)]
    line = contours(heads.template())["lips_outer"]
    drawn = [resample(P[line], 0.5) for P in people]
    places = [attach(c, P, F)[0] for c, P in zip(drawn, people, strict=True)]
    assert swap_distances(places, drawn, people, F).max() < 0.15
    off = [np.add(P, [0.0, 3.0, 0.0]) for P in people]
    wrong = [attach(c, P, F)[0] for c, P in zip(drawn, off, strict=True)]
    # One who is off by 3 mm has others' contours 1 to 3 mm off; all who are off alike have none.
    mixed = swap_distances([wrong[0], *places[1:]], drawn, [off[0], *people[1:]], F)
    assert mixed[0] > 1.0
    assert mixed[0] == mixed.max()


def test_resample_and_merge() -> None:
    ring = resample([[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]], 0.5)
    assert len(ring) == 33
    np.testing.assert_array_equal(ring[0], ring[-1])
    np.testing.assert_allclose(np.linalg.norm(np.diff(ring, axis=0), axis=1), 0.5)
    assert resample([[1.0, 2, 3]], 1.0).tolist() == [[1.0, 2.0, 3.0]]
    for factor in (0.001, 1000.0):
        line = np.array([[0.0, 0, 0], [3, 1, 0], [5, 5, 5]])
        np.testing.assert_allclose(
            resample(factor * line, factor * 0.3), factor * resample(line, 0.3)
        )
    line = np.linspace([0.0, 0, 0], [10, 0, 0], 11)
    assert len(merge_contours([line, np.add(line, [0, 0.9, 0])], 0.5)) == 21
    assert len(merge_contours([line, np.add(line, [0, 1.1, 0])], 0.5)) == 42


@pytest.mark.parametrize(
    "contour, spacing, words",
    [
        ([], 1.0, "finite points"),
        ([[0, 0], [np.nan, 1]], 1.0, "finite points"),
        ([[0, 0], [1, 1]], 0.0, "spacing"),
        ([[0, 0, 0, 0]], 1.0, "finite points"),
    ],
)
def test_resample_refuses(contour: object, spacing: float, words: str) -> None:
    with pytest.raises(InputError, match=words):
        resample(contour, spacing)  # type: ignore[arg-type]


def test_empty_contours_are_refused() -> None:
    with pytest.raises(InputError, match="without points"):
        contour_distance(np.zeros((0, 3)), [[0, 0, 0]])
    with pytest.raises(InputError, match="two subjects"):
        swap_distances([], [], [], F)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Camera], Mesh]:
    """Contours of a scan on two photographs, and the cameras."""
    folder = tmp_path_factory.mktemp("drawn")
    scan = heads.scan()
    pods = views(scan, np.random.default_rng(1), (600, 800))
    lines = contours(heads.template())
    write_drawings(folder, draw_views(scan, pods, lines))
    cameras = {}
    for name in ("1C", "2C"):
        write_tka(folder / f"{name}.tka", pods[name])
        cameras[name] = read_camera(folder / f"{name}.tka")
    return folder, cameras, Mesh(scan.vertices, scan.faces)


def test_drawings_are_lifted_to_the_truth(drawn: tuple[Path, dict[str, Camera], Mesh]) -> None:
    folder, cameras, mesh = drawn
    lifted = lift_drawings(read_drawings(folder / "contours.json"), cameras, mesh, 0.5)
    truth = heads.scan().truth
    for name in ("brow_left", "brow_right", "nose_bridge"):
        line = resample(truth[contours(heads.template())[name]], 0.5)
        assert KDTree(line).query(lifted[name])[0].mean() < 1.0  # coarse scan, 4 mm triangles
        assert KDTree(lifted[name]).query(line)[0].mean() < 0.9
    for points in lifted.values():
        assert attach(points, mesh.vertices, mesh.faces)[1].max() < 0.3
        assert np.isfinite(points).all()


def test_painted_pixels_do_as_well(drawn: tuple[Path, dict[str, Camera], Mesh]) -> None:
    from PIL import Image

    folder, cameras, mesh = drawn
    painted = {
        name: read_painted(np.asarray(Image.open(folder / f"{name}.png")), CONTOUR_COLOURS)
        for name in cameras
    }
    lifted = lift_drawings(painted, cameras, mesh, 0.5)
    exact = lift_drawings(read_drawings(folder / "contours.json"), cameras, mesh, 0.5)
    for name in ("brow_left", "eye_left", "lips_outer"):
        assert contour_distance(lifted[name], exact[name]) < 0.6


TURN = np.linspace(0, np.pi, 2000)
ARC = 100.0 + 80.0 * np.column_stack([np.cos(TURN), np.sin(TURN)])
SIDE = np.linspace([20.0, 100.0], [180.0, 140.0], 2000)
DRAWN = {
    "arc": ([ARC], 2),
    "ring": ([ARC, 200.0 - ARC], 0),
    "two": ([ARC, ARC - [0, 60]], 4),
    "cross": ([SIDE, SIDE * [1, -1] + [0, 240]], 4),
    "tee": ([SIDE, np.linspace([100.0, 120.0], [100.0, 20.0], 2000)], 3),
    "dots": ([np.array([[30.0, 40.0]]), np.array([[150.0, 60.0]])], 2),
}


@pytest.mark.parametrize("brush", [0, 1, 3])
@pytest.mark.parametrize("shape", DRAWN)
def test_painted_strokes_are_lines_with_the_ends_of_what_was_drawn(shape: str, brush: int) -> None:
    lines, loose = DRAWN[shape]
    image = np.zeros((220, 200, 3), np.uint8)
    y, x = np.mgrid[:220, :200]
    away = KDTree(np.concatenate(lines)).query(np.column_stack([x.ravel(), y.ravel()]))[0]
    image[away.reshape(x.shape) <= brush + 0.75] = (255, 0, 0)
    found = read_painted(image, {"it": (255, 0, 0), "none": (0, 255, 0)})
    assert found["none"] == []
    exact = np.concatenate([resample(line, 0.5) for line in lines])
    for spacing in (0.25, 0.5, 1.0):  # pixels of 0.3
        pieces = [0.3 * np.column_stack([p, 0 * p[:, 0]]) for p in found["it"]]
        merged = merge_contours(pieces, spacing)
        if shape != "dots":
            assert loose_ends(merged, spacing).sum() == loose
        assert KDTree(exact).query(merged[:, :2] / 0.3)[0].max() < 1.5 * (brush + 1)
        assert KDTree(merged[:, :2] / 0.3).query(exact)[0].max() < 3.0 * (brush + spacing / 0.3)


def test_thousands_of_painted_pixels_are_few_lines() -> None:
    image = np.zeros((2000, 2100, 3), np.uint8)
    x = np.arange(2000)
    for wave in range(4):
        image[(500 * wave + 200 + 50 * np.sin(x / 60)).astype(int), x] = (1, 2, 3)
    image[np.random.default_rng(0).permutation(2000)[:5], 2050] = (1, 2, 3)
    pieces = read_painted(image, {"it": (1, 2, 3)})["it"]
    assert sorted(map(len, pieces))[:5] == [1] * 5 and len(pieces) == 9
    assert sum(map(len, pieces)) > 7900


def test_positions_need_no_camera(tmp_path: Path) -> None:
    path = tmp_path / "contours.json"
    path.write_text(json.dumps({"scan": {"line": [[[0, 0, 0], [0, 0, 4]], []]}}))
    lifted = lift_drawings(read_drawings(path), {}, Mesh(V, F), 1.0)
    np.testing.assert_allclose(lifted["line"][:, 2], [0, 1, 2, 3, 4])


def test_lines_break_where_the_surface_jumps() -> None:
    """Two walls, one 50 mm behind the other: nothing is drawn between them."""
    wall = np.array([[-50, -50, 0], [0, -50, 0], [0, 50, 0], [-50, 50, 0]], float)
    back = np.add(wall, [50, 0, 50.0])
    mesh = Mesh(np.vstack([wall, back]), [[0, 2, 1], [0, 3, 2], [4, 6, 5], [4, 7, 6]])
    camera = Camera(
        np.eye(3), np.array([0, 0, -1000.0]), 10.0, np.array([0.01, 0.01]), np.array([100.0, 100.0])
    )
    pixels = [np.array([[60.0, 100.0], [140.0, 100.0]])]
    lifted = lift_drawings({"view": {"line": pixels}}, {"view": camera}, mesh, 1.0)["line"]
    assert set(np.round(lifted[:, 2], 6)) == {0.0, 50.0}
    missed = lift_drawings(
        {"view": {"line": [np.array([[900.0, 900.0], [950.0, 900.0]])]}}, {"view": camera}, mesh, 1
    )
    assert missed == {}


@pytest.mark.parametrize(
    "text, words",
    [
        ("{", "not valid JSON"),
        ("[1]", "expected"),
        ('{"1C": {"jaw": 3}}', "1C, jaw: expected a list"),
        ('{"1C": {"jaw": [[[1, 2], [3]]]}}', "1C, jaw, piece 1"),
        ('{"1C": {"jaw": [[[1, 2]], [[1, 2, 3, 4]]]}}', "1C, jaw, piece 2"),
        ('{"1C": {"jaw": [[[1, NaN]]]}}', "1C, jaw, piece 1"),
    ],
)
def test_damaged_drawings_are_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "contours.json"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        read_drawings(path)
    assert str(path) in str(caught.value)


def test_missing_things_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_drawings(tmp_path / "none.json")
    with pytest.raises(InputError, match="view 9Z, which has no camera"):
        lift_drawings({"9Z": {"jaw": [np.zeros((2, 2))]}}, {}, Mesh(V, F), 1.0)
    with pytest.raises(InputError, match="uint8"):
        read_painted(np.zeros((4, 4, 3)), {"jaw": (1, 2, 3)})
    with pytest.raises(InputError, match="colour of jaw"):
        read_painted(np.zeros((4, 4, 3), np.uint8), {"jaw": (1, 2)})
