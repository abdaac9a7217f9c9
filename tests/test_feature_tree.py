"""Search in feature space against brute force."""

import numpy as np
import pytest

import licp
from licp.feature_tree import FeatureTree, Looks
from licp.similarity import Similarity
from licp.threads import Crew


def looks(count: int, seed: int) -> Looks:
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return Looks(rng.normal(size=(count, 3)), normals, rng.uniform(-1, 1, (count, 2)))


def brute(queries: Looks, points: Looks, normal: float, curvature: float) -> np.ndarray:
    gap = queries.rows[:, None] - points.rows
    weights = np.repeat([1.0, normal**2, curvature**2], [3, 3, 2])
    distances: np.ndarray = np.sqrt(gap**2 @ weights)
    return distances


@pytest.mark.parametrize("count", [1, 2, 16, 17, 3000])
@pytest.mark.parametrize("weights", [(0.0, 0.0), (0.3, 0.0), (2.0, 1.0)])
def test_one_tree_serves_all_weights(count: int, weights: tuple[float, float]) -> None:
    points, queries = looks(count, 1), looks(200, 2)
    distance, index = FeatureTree(points).nearest(queries, *weights)
    every = brute(queries, points, *weights)
    assert np.array_equal(index, every.argmin(1))
    assert np.allclose(distance, every.min(1), rtol=1e-12)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_it_moves_without_being_built_again(workers: int) -> None:
    points, queries = looks(2000, 3), looks(300, 4)
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
    move = Similarity(0.02, turn * np.sign(np.linalg.det(turn)), np.array([30.0, -2.0, 5.0]))
    tree = FeatureTree(points).moved(move).moved(move.inverse()).moved(move)
    with Crew(workers) as crew:
        distance, index = tree.nearest(queries.moved(move), 0.01, 0.02, crew)
    every = brute(queries.moved(move), points.moved(move), 0.01, 0.02)
    assert np.array_equal(index, every.argmin(1))
    assert np.allclose(distance, every.min(1), rtol=1e-9)


def test_points_in_one_place_or_nearly_so() -> None:
    same = looks(1, 6).some(np.zeros(500, np.int64))
    assert np.allclose(FeatureTree(same).nearest(same.some(np.arange(3)), 1.0, 1.0)[0], 0.0)
    # As close as numbers are: a box between neighbours has no middle.
    x = np.ones((500, 3))
    x[::2, 0] = np.nextafter(1.0, 2.0)
    near = Looks(x, same.normals, same.curvature)
    distance, index = FeatureTree(near).nearest(near, 1.0, 1.0)
    assert np.array_equal(near.points[index], x)
    assert (distance == 0).all()


def test_boxes_that_run_deep_are_searched_to_the_end() -> None:
    """Of points that crowd towards one corner each cut takes one off."""
    x = np.zeros((1000, 3))
    x[:, 0] = 2.0 ** -np.arange(1000)
    crowded = Looks(x, np.zeros((1000, 3)), np.zeros((1000, 2)))
    tree = FeatureTree(crowded)
    assert tree._built[-1] > 900
    index = tree.nearest(crowded)[1]
    # Squares of smaller differences are 0.
    assert np.abs(x[index] - x).max() < 1e-160


def test_looks_that_kernels_cannot_compare_are_refused() -> None:
    good = looks(4, 7)
    with pytest.raises(licp.InputError, match="looks"):
        Looks(good.points, good.normals, np.zeros((4, 3)))
    with pytest.raises(licp.InputError, match="looks"):
        Looks(good.points, good.normals[:3], good.curvature)
