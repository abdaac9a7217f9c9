"""Pictures of annotations: what is drawn, what is hidden, files."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from data_fixtures.contours import contours
from licp import Mesh
from licp.errors import InputError, OutputError
from licp.metrics import (
    annotation_agreement,
    draw_with_points,
    figure_heat,
    figure_overlay,
    figure_swap,
)
from licp.render import draw
from tests import heads

Floats = NDArray[np.float64]
V, F = heads.arrays()
RED = (1.0, 0.0, 0.0)
SIZE = (120, 140)
PANEL = (160, 190)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("licp.metrics.overlay._PANEL", PANEL)


def red(picture: NDArray[np.uint8]) -> int:
    """Pixels that are rather red."""
    r, g, b = picture[..., :3].astype(int).transpose(2, 0, 1)
    return int(((r > 150) & (g < 90) & (b < 90)).sum())


def test_dots_are_where_they_belong_and_hidden_behind() -> None:
    nose = V[np.argmax(V[:, 2])]
    back = V[np.argmin(V[:, 2])]
    seen = draw_with_points((V, F), [([nose], RED)], radius=8.0, size=SIZE)
    assert red(seen) > 20
    _, columns = np.nonzero(seen[..., 0].astype(int) - seen[..., 1] > 100)
    assert abs(columns.mean() - SIZE[0] / 2) < 3  # on the midline
    # A dot inside the back of the head shows from no side that the face is on.
    hidden = draw_with_points((V, F), [([np.add(back, [0, 0, 6.0])], RED)], radius=2.0, size=SIZE)
    assert red(hidden) == 0
    np.testing.assert_array_equal(hidden, draw((V, F), size=SIZE))


def test_dots_on_the_far_side_do_not_show_through_a_hole() -> None:
    sphere, faces = heads.ball()
    opened = sphere, faces[(sphere[faces][..., 2] < 0.6).all(1)]
    dot = [([[0.0, 0.0, -1.0]], RED)]
    assert red(draw_with_points(opened, dot, radius=0.2, size=SIZE)) == 0
    inside_out = sphere, opened[1][:, ::-1]
    assert red(draw_with_points(inside_out, dot, radius=0.2, size=SIZE)) > 20


def test_no_dots_and_opacity() -> None:
    plain = draw((V, F), size=SIZE)
    np.testing.assert_array_equal(draw_with_points((V, F), [], radius=1.0, size=SIZE), plain)
    nose = V[np.argmax(V[:, 2])]
    full, half = (
        draw_with_points((V, F), [([nose], (0.0, 1.0, 0.0))], radius=8.0, size=SIZE, opacity=o)
        for o in (1.0, 0.5)
    )
    middle = np.argmax(full[..., 1].astype(int) - full[..., 0]), slice(0, 3)
    f, h, p = (x.reshape(-1, 4)[middle].astype(float) for x in (full, half, plain))
    np.testing.assert_allclose(h, (f + p) / 2, atol=1.5)


def test_texture_stays_under_dots() -> None:
    colours = np.tile([0.1, 0.2, 0.9], (len(V), 1))
    mesh = Mesh(V, F, colors=colours)
    picture = draw_with_points(mesh, [(V[np.argmax(V[:, 2])][None], RED)], radius=6.0, size=SIZE)
    blue = (picture[..., 2].astype(int) - picture[..., 0] > 60).sum()
    assert red(picture) > 10
    assert blue > 1000


def test_overlay_shows_where_contours_agree(tmp_path: Path) -> None:
    lines = contours(heads.template())
    rng = np.random.default_rng(0)
    sharp = [V[lines["lips_outer"]] for _ in range(4)]
    blurred = [V[lines["jaw"]] + rng.normal(0, 6, 3) for _ in range(4)]
    found = {
        "lips": annotation_agreement(sharp, heads.size()),
        "jaw": annotation_agreement(blurred, heads.size()),
    }
    path = figure_overlay((V, F), found, tmp_path / "a.png", views=("front",), title="four")
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    height = pixels.shape[0]
    lower = pixels[height // 2 :, : int(0.8 * pixels.shape[1])]
    yellow = (lower[..., 0] > 200) & (lower[..., 1] > 200) & (lower[..., 2] < 90)
    dark = (lower[..., 2] > lower[..., 1] + 20) & (lower[..., 0] < 110)
    # Where the lips are, density is full; along the jaw, which lies below, it is not.
    assert yellow.sum() > 10
    assert dark.sum() > 10
    assert np.nonzero(dark)[0].mean() > np.nonzero(yellow)[0].mean()
    figure_overlay((V, F), found, tmp_path / "b.png", views=("front",), title="four")
    assert path.read_bytes() == (tmp_path / "b.png").read_bytes()


def test_swap_and_heat_are_written(tmp_path: Path) -> None:
    scan = heads.scan()
    line = {"jaw": V[contours(heads.template())["jaw"]]}
    mesh = Mesh(scan.vertices @ scan.rotation, scan.faces)
    panels = [(f"{k}", mesh, line, {} if k == 0 else line) for k in range(5)]
    figure_swap(panels, tmp_path / "swap.png", title="swap")
    with Image.open(tmp_path / "swap.png") as picture:
        assert picture.size[0] == 4 * PANEL[0]  # the fifth begins a second row
        assert 2 * PANEL[1] < picture.size[1] < 3 * PANEL[1] + 200
    heat = np.abs(V[:, 0])
    heat[:100] = np.nan
    figure_heat((V, F), heat, tmp_path / "heat.png", label="|x| (mm)", views=("front",))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["heat.png", "swap.png"]


def test_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no annotations"):
        figure_overlay((V, F), {}, tmp_path / "a.png")
    with pytest.raises(InputError, match="no scans"):
        figure_swap([], tmp_path / "a.png")
    with pytest.raises(InputError, match="values"):
        figure_heat((V, F), [1.0], tmp_path / "a.png", label="x")
    with pytest.raises(OutputError, match="png"):
        figure_heat((V, F), V[:, 0], tmp_path / "a.jpg", label="x", views=("front",))
