"""Planes where something was cut off and closed, exact or rough."""

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from benchmarks.heads import generated_head
from licp import Morpher
from licp.repair import clean_scan

Floats = NDArray[np.float64]
BALL = trimesh.creation.icosphere(6)
V, F = np.asarray(BALL.vertices), np.asarray(BALL.faces)


def cut_off(V: Floats, level: float, rounding: float) -> Floats:
    """What lies below a level moved up to it, with an edge that is round."""
    z = V[:, 2]
    soft = level + rounding * np.logaddexp(0.0, (z - level) / rounding)
    return np.concatenate([V[:, :2], soft[:, None]], 1)


@pytest.mark.parametrize("rounding", [0.002, 0.01])
@pytest.mark.parametrize("noise", [0.0, 0.0005])
@pytest.mark.parametrize("level", [-0.7, -0.4, 0.0])
def test_a_plane_end_goes_however_rough(level: float, noise: float, rounding: float) -> None:
    rng = np.random.default_rng(0)
    P = cut_off(V, level, rounding) + rng.normal(0, noise, V.shape)
    turn = Rotation.from_rotvec([0.7, -1.9, 0.4]).as_matrix()
    gone = np.isin(np.arange(len(V)), clean_scan(250.0 * P @ turn.T, F).source, invert=True)
    below = V[:, 2] < level - 5 * rounding
    assert gone[below].mean() > 0.98
    assert not gone[V[:, 2] > level + 0.05].any()


@pytest.mark.parametrize("squeeze", [0.4, 0.7, 1.0])
def test_round_shapes_have_no_plane_end(squeeze: float) -> None:
    P = V * [1.0, 0.8, squeeze]
    assert clean_scan(P, F).report.cut_faces == 0


def test_heads_and_parts_of_heads_have_no_plane_end() -> None:
    for k in range(4):
        head = generated_head(k, 1500, 9000)
        P, G = head.scan_vertices, head.scan_faces
        for towards in ([1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, -1]):
            half = G[((P - P.mean(0)) @ towards > 0)[G].all(1)]
            assert clean_scan(P, half).report.cut_faces == 0


def test_a_fit_to_a_head_that_was_closed_below_is_one_to_an_open_one() -> None:
    """The rim of a plane that was smoothed is round; it had been taken for skin."""
    head = generated_head(1, 2000, 12_000)
    morpher = Morpher((head.vertices, head.faces))
    whole, level = head.truth, np.quantile(head.truth[:, 1], 0.2)
    dense = trimesh.Trimesh(whole, head.faces, process=False).subdivide().subdivide()
    axes = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    z_up = np.asarray(dense.vertices) @ np.array(axes).T
    closed = cut_off(z_up, level, 2.0) @ np.array(axes)
    open_faces = dense.faces[(dense.vertices[:, 1] > level)[dense.faces].all(1)]
    off = []
    for P, faces in ((dense.vertices, open_faces), (closed, dense.faces)):
        fit = morpher.morph((P, faces))
        seen = whole[:, 1] > level + 5.0
        off.append(np.linalg.norm(fit.vertices - whole, axis=1)[seen].mean())
    assert off[1] < 1.3 * off[0]
