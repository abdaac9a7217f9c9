"""Axes that points have of their own, and directions that are evenly spread."""

import numpy as np
import pytest
import trimesh
from heads import rotation

from licp.directions import even_directions, own_axes


def test_even_directions_leave_no_gap() -> None:
    near = even_directions(200)
    assert np.allclose(np.linalg.norm(near, axis=1), 1.0)
    some = np.random.default_rng(0).normal(size=(2000, 3))
    some /= np.linalg.norm(some, axis=1)[:, None]
    # Caps of four times the area of a two-hundredth cover whatever lies between.
    assert (some @ near.T).max(axis=1).min() > 1.0 - 4.0 * 2.0 / 200


@pytest.mark.parametrize("seed", range(5))
def test_own_axes_turn_with_the_points(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.gamma(2.0, [3.0, 2.0, 1.0], (500, 3))
    weights = rng.random(500)
    axes, R = own_axes(points, weights), rotation(seed)
    assert np.allclose(axes @ axes.T, np.eye(3)) and np.linalg.det(axes) > 0
    own = points @ axes.T
    assert np.allclose(np.cov(own, rowvar=False, aweights=weights)[np.triu_indices(3, 1)], 0)
    moved = 1e-3 * points @ R.T + [5.0, 6.0, 7.0]
    assert np.allclose(own_axes(moved, weights), axes @ R.T, atol=1e-9)
    order = rng.permutation(500)
    assert np.allclose(own_axes(points[order], weights[order]), axes)


def test_own_axes_of_what_is_symmetric() -> None:
    """Neither side reaches further: the other two axes tell which one is which."""
    half = np.random.default_rng(0).gamma(2.0, [1.0, 2.0, 3.0], (500, 3))
    points = np.concatenate([half, half * [-1.0, 1.0, 1.0]])
    axes = own_axes(points)
    for seed in range(20):
        R = rotation(seed)
        assert np.allclose(own_axes(points @ R.T), axes @ R.T, atol=1e-9)


def test_what_has_no_axes_keeps_those_of_the_frame() -> None:
    ball, line = trimesh.creation.icosphere(2).vertices, np.outer(np.arange(9.0), [1.0, 2.0, 3.0])
    for points in (ball, 3.0 * ball + 1.0, line, ball[:1], ball[:0]):
        assert np.array_equal(own_axes(points), np.eye(3))
