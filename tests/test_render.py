"""Pictures: what is where, in which colour, and that files are whole."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray
from PIL import Image

import licp
from licp import render
from licp.errors import InputError, OutputError
from licp.mesh import Mesh
from licp.render import Frame, draw, figure_fit
from licp.result import MorphResult
from licp.similarity import Similarity

BALL = trimesh.creation.icosphere(4)
SQUARE = [[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]


def egg(vertices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Something without symmetry: z longer, pulled up towards +x."""
    x, y, z = vertices.T
    return np.column_stack([80 * x, 100 * y + 25 * x * (x > 0), 120 * z + 15 * x * y])


POSE = Similarity(
    1.2, trimesh.transformations.rotation_matrix(0.7, [1.0, 2, 3])[:3, :3], np.array([50.0, 9, -7])
)
SCAN = Mesh(POSE.apply(egg(BALL.vertices)), BALL.faces)


@pytest.fixture(scope="module")
def fit() -> MorphResult:
    template = trimesh.creation.icosphere(3)
    return licp.morph((egg(template.vertices), template.faces), SCAN, start=POSE)


def panel(path: Path, row: int, column: int) -> NDArray[np.int64]:
    """One panel of a figure."""
    picture = np.asarray(Image.open(path).convert("RGB")).astype(np.int64)
    w, h = render._PANEL
    top, left = render._TITLE + row * h, (0, w, *render._HEATS)[column]
    return picture[top : top + h, left : left + w]


def drawn(picture: NDArray[np.int64]) -> NDArray[np.bool_]:
    return (picture < 250).any(2)


def test_silhouette_of_a_ball_has_its_area() -> None:
    alpha = draw(BALL, size=(200, 300), frame=Frame(0, 0, 3.0))[..., 3] / 255
    assert alpha.shape == (300, 200)
    assert alpha.sum() / 100**2 == pytest.approx(np.pi, rel=5e-3)
    assert np.array_equal(alpha, alpha[::-1])


@pytest.mark.parametrize(
    ("view", "ahead", "right"),
    [("front", [0, 0, 1], [1, 0, 0]), ("profile", [1, 0, 0], [0, 0, -1])],
)
def test_views_look_from_where_they_say(
    view: render.View, ahead: list[float], right: list[float]
) -> None:
    colors = np.zeros((len(BALL.vertices), 3))
    colors[BALL.vertices @ ahead > 0.9, 0] = 1
    colors[BALL.vertices @ right > 0.9, 1] = 1
    colors[BALL.vertices[:, 1] > 0.9, 2] = 1
    picture = draw(BALL, view, size=(101, 101), frame=Frame(0, 0, 2.02), colors=colors, relief=0)
    assert picture[50, 50].tolist() == [255, 0, 0, 255]
    assert picture[50, 98].tolist() == [0, 255, 0, 255]
    assert picture[2, 50].tolist() == [0, 0, 255, 255]


def test_nearer_surface_hides_farther_in_any_order_of_faces() -> None:
    V = np.array([*SQUARE, *SQUARE]) + np.repeat([[0, 0, 0], [0.5, 0, 1]], 4, axis=0)
    colors = np.repeat([[1.0, 0, 0], [0, 0, 1]], 4, axis=0)
    for faces in ([[0, 1, 2, 3], [4, 5, 6, 7]], [[4, 5, 6, 7], [0, 1, 2, 3]]):
        picture = draw((V, faces), size=(50, 40), frame=Frame(0.25, 0, 2), colors=colors, relief=0)
        assert picture[20, 25].tolist() == [0, 0, 255, 255]
        assert picture[20, 4].tolist() == [255, 0, 0, 255]


def test_texture_is_the_right_way_up() -> None:
    pixels = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
    mesh = Mesh(
        SQUARE,
        [[0, 1, 2, 3]],
        uv=[[0, 0], [1, 0], [1, 1], [0, 1]],
        uv_faces=[[0, 1, 2, 3]],
        texture=Image.fromarray(pixels),
    )
    picture = draw(mesh, size=(20, 20), frame=Frame(0, 0, 2), relief=0)
    assert np.array_equal(picture[[5, 5, 15, 15], [5, 15, 5, 15], :3], pixels.reshape(4, 3))


def test_faces_seen_from_behind_are_darker_than_the_same_from_ahead() -> None:
    ahead, behind = (draw((SQUARE, [face]), size=(9, 9)) for face in ([0, 1, 2, 3], [3, 2, 1, 0]))
    assert ahead[4, 4, 3] == behind[4, 4, 3] == 255
    assert behind[4, 4, 0] < 0.6 * ahead[4, 4, 0]


def test_figure_shows_scan_and_fit_in_one_place(fit: MorphResult, tmp_path: Path) -> None:
    path = figure_fit(fit, SCAN, tmp_path / "fit.png", views=("front", "profile"), unit="mm")
    h = render._PANEL[1]
    assert Image.open(path).size == (render._WIDTH, 2 * h + render._TITLE)
    for row in range(2):
        scan, template, heat, error = (drawn(panel(path, row, k)) for k in range(4))
        assert scan.mean() > 0.3
        assert (scan & template).sum() > 0.99 * (scan | template).sum()
        assert (template ^ heat).mean() < 1e-3
        assert (template ^ error).mean() < 1e-3
    assert [p.name for p in tmp_path.iterdir()] == ["fit.png"]


def test_heat_follows_the_distance_and_unmatched_is_grey(fit: MorphResult, tmp_path: Path) -> None:
    own = fit.similarity.inverse().apply(fit.vertices)
    right, high = own[:, 0] > 0, own[:, 1] > 40
    moved = own * np.where(right, 1.05, 1.0)[:, None]
    state = np.where(high, licp.State.BORDER, licp.State.MATCHED).astype(np.uint8)
    off = replace(fit, mesh=fit.mesh.with_vertices(fit.similarity.apply(moved)), state=state)
    path = figure_fit(off, SCAN, tmp_path / "off.png", views=("front",), limit=2.0)
    w, h = render._PANEL
    heat = panel(path, 0, 2)
    near, far, grey = heat[h // 2, w // 3], heat[h // 2, 2 * w // 3], heat[h // 5, w // 2]
    # viridis: from dark violet to yellow
    assert near[2] > near[1] + 20
    assert far[1] > far[2] + 100
    assert np.ptp(grey) <= 2


def test_expected_errors_have_colours_of_their_own(fit: MorphResult, tmp_path: Path) -> None:
    own = fit.similarity.inverse().apply(fit.vertices)
    told = replace(fit, expected_error=np.where(own[:, 0] > 0, 5.0, 0.1))
    error = panel(figure_fit(told, SCAN, tmp_path / "told.png", views="front"), 0, 3)
    w, h = render._PANEL
    near, far = error[h // 2, w // 3], error[h // 2, 2 * w // 3]
    assert near[2] > near[1] + 20
    assert far[1] > far[2] + 100
    # The distance has nothing to do with it.
    plain = panel(figure_fit(fit, SCAN, tmp_path / "fit.png", views="front"), 0, 2)
    assert np.array_equal(panel(tmp_path / "told.png", 0, 2), plain)


def test_limit_is_found_and_the_distance_is_in_the_unit_of_the_scan() -> None:
    assert [render._round_up(x) for x in (0.0, 0.31, 0.5, 0.0021, 70, 2)] == [
        1.0,
        0.5,
        0.5,
        0.005,
        100.0,
        2.0,
    ]


def test_scan_that_is_inside_out_is_shown_from_outside(fit: MorphResult, tmp_path: Path) -> None:
    inverted = Mesh(SCAN.vertices, SCAN.faces[:, ::-1])
    report = replace(fit.repairs["scan"], inverted=True)
    turned = replace(fit, repairs={**fit.repairs, "scan": report})
    path = figure_fit(turned, inverted, tmp_path / "turned.png", views="front")
    assert Image.open(path).size == (render._WIDTH, render._PANEL[1] + render._TITLE)
    scan, template = (panel(path, 0, k)[100:370, 100:300].mean() for k in range(2))
    assert scan > 0.8 * template


def test_refusals(fit: MorphResult, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"written as \.png"):
        figure_fit(fit, SCAN, tmp_path / "fit.jpg")
    with pytest.raises(InputError, match="limit"):
        figure_fit(fit, SCAN, tmp_path / "fit.png", limit=0.0)
    for limit in ("far", np.nan, np.inf):
        with pytest.raises(InputError, match="limit"):
            figure_fit(fit, SCAN, tmp_path / "fit.png", limit=limit)  # type: ignore[arg-type]
    for views in ((), 3, None):
        with pytest.raises(InputError, match="at least one view"):
            figure_fit(fit, SCAN, tmp_path / "fit.png", views=views)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"unknown view \['front'\]"):
        figure_fit(fit, SCAN, tmp_path / "fit.png", views=[["front"]])  # type: ignore[list-item]
    with pytest.raises(InputError, match="the result of a morph, not trimesh"):
        figure_fit(BALL, SCAN, tmp_path / "fit.png")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="unknown view 'back'"):
        draw(BALL, "back")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="positive"):
        draw(BALL, size=(0, 5))
    with pytest.raises(InputError, match="colors must have shape"):
        draw(BALL, colors=np.zeros((5, 3)))
    assert list(tmp_path.iterdir()) == []
