import pickle

import numpy as np
import pytest
from heads import ball, potato, rotation
from scipy.spatial.distance import pdist

from licp.restshape import Followers, LocalSimilarities, farthest_points

VECTORS = np.random.default_rng(0).normal(size=(642, 3))


@pytest.mark.parametrize(
    ("controls", "radius"), [(1, 0.5), (30, 0.3), (150, 0.2), (10**6, 0.2), (3, 0.25)]
)
def test_similarities_are_carried_exactly(controls: int, radius: float) -> None:
    """Also where a vertex sees no control (3 of 0.25)."""
    V, _ = potato()
    R = rotation(0)
    local = LocalSimilarities(V, controls, radius)
    moved = 3.0 * (V @ R.T) + [5.0, 6.0, 7.0]
    assert np.allclose(local.carry(moved, VECTORS), 3.0 * (VECTORS @ R.T), atol=1e-9)
    assert np.allclose(local.carry(V, VECTORS), VECTORS, atol=1e-9)


def test_each_part_turns_with_its_surroundings() -> None:
    V, _ = potato()
    V = V * [1.0, 1.0, 4.0]
    c, s = np.cos(0.8), np.sin(0.8)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    bent = np.where(V[:, 2:] > 0, V @ turn.T, V)
    carried = LocalSimilarities(V, 150, 0.3).carry(bent, VECTORS)
    top, bottom = V[:, 2] > 3.0, V[:, 2] < -3.0  # beyond twice the reach of the weights
    assert top.sum() > 50 and bottom.sum() > 50
    assert np.allclose(carried[top], VECTORS[top] @ turn.T, atol=1e-6)
    assert np.allclose(carried[bottom], VECTORS[bottom], atol=1e-6)


def test_a_finer_template_is_carried_as_its_coarser_one_says() -> None:
    V, _ = potato()
    speak = np.sort(np.random.default_rng(3).choice(len(V), 150, replace=False))
    coarse = LocalSimilarities(V[speak], 40, 0.3)
    fine = coarse.on(V, speak)
    R = rotation(1)
    assert np.allclose(fine.carry(2.0 * V @ R.T + 1.0, VECTORS), 2.0 * VECTORS @ R.T, atol=1e-9)
    bent = V + 0.2 * np.sin(3 * V[:, ::-1])
    assert np.allclose(fine.maps(bent)[speak], coarse.maps(bent[speak]), atol=1e-12)
    # The others are asked nothing.
    other = np.setdiff1d(np.arange(len(V)), speak)
    torn = bent.copy()
    torn[other] += 1.0
    assert np.array_equal(fine.carry(torn, VECTORS), fine.carry(bent, VECTORS))


def test_controls_on_a_line_do_not_make_up_a_turn() -> None:
    line = np.outer(np.arange(30.0), [0.0, 0.0, 1.0])
    local = LocalSimilarities(line, 5, 2.0)
    vectors = np.random.default_rng(2).normal(size=(30, 3))
    assert np.allclose(local.carry(line, vectors), vectors, atol=1e-9)


def test_scale_follows_local_growth() -> None:
    V, _ = ball(3)
    carried = LocalSimilarities(V, 50, 0.4).carry(V * 1.7, V)
    assert np.allclose(np.linalg.norm(carried, axis=1), 1.7)


def test_turning_inside_out_never_reflects() -> None:
    V, _ = potato()
    local = LocalSimilarities(V, 1, 10.0)
    rows = [local.carry(V * [-1, 1, 1], np.tile(e, (len(V), 1)))[0] for e in np.eye(3)]
    assert np.linalg.det(np.stack(rows, 1)) > 0


def test_the_shape_it_was_made_of_stays_as_it_was() -> None:
    V, _ = potato()
    before, given = V.copy(), VECTORS.copy()
    LocalSimilarities(V, 20, 0.3).carry(V * 2, VECTORS)
    assert np.array_equal(V, before) and np.array_equal(VECTORS, given)


def test_parts_move_whole_with_what_surrounds_them() -> None:
    V, _ = potato()
    R, rng = rotation(2), np.random.default_rng(4)
    whole = [0.0, 0.1, 1.0] + 0.05 * rng.normal(size=(40, 3))
    points, part = np.r_[whole, [[0.0, 0.0, -0.8]], [[0.3, 0.1, 1.6]]], np.r_[[1] * 40, 2, 0]
    beside = Followers(V, 0.15, points, part)
    assert np.allclose(beside.placed(2.0 * V @ R.T + 1.0), 2.0 * points @ R.T + 1.0)
    bent = V + 0.2 * np.sin(3 * V[:, ::-1])
    now = beside.placed(bent)
    growth = pdist(now[:40]) / pdist(whole)
    assert 0.5 < growth.mean() < 1.5 and np.allclose(growth, growth.mean())
    # What is far off does not count.
    torn = bent + 50.0 * (V[:, 2:] < 0.0)
    assert np.allclose(np.delete(beside.placed(torn), 40, 0), np.delete(now, 40, 0), atol=1e-9)
    assert np.allclose(beside.told((V[:, 2] > 0) * 1.0), np.r_[[1.0] * 40, 0.0, 1.0])


def test_thousands_of_specks_share_what_they_follow() -> None:
    V, _ = potato(4)
    at = potato(5)[0] * 1.02
    beside = Followers(V, 0.1, at, np.arange(len(at)))
    assert len(pickle.dumps(beside)) < 1.5e7  # a weight for each pair would take 210 MB
    bent = V + 0.1 * np.sin(2 * V[:, ::-1])
    now = beside.placed(bent)
    assert np.allclose(beside.placed(2.0 * V + 1.0), 2.0 * at + 1.0)
    some = np.arange(0, len(at), 100)
    alone = Followers(V, 0.1, at[some], np.arange(len(some))).placed(bent)
    assert np.linalg.norm(now[some] - alone, axis=1).max() < 0.02


@pytest.mark.parametrize("count", [0, 1])
def test_no_part_and_one_are_parts_enough(count: int) -> None:
    V, _ = potato()
    points = np.tile([0.0, 0.0, 2.0], (count, 1))
    beside = Followers(V, 0.15, points, np.zeros(count, int))
    assert np.allclose(beside.placed(V - 3.0), points - 3.0) and len(beside.told(V[:, 0])) == count


def test_farthest_points_cover_the_shape() -> None:
    V, _ = potato(4)
    chosen = farthest_points(V, 60)
    assert len(np.unique(chosen)) == 60
    assert chosen[0] == np.argmax(np.linalg.norm(V - V.mean(0), axis=1))
    between = np.linalg.norm(V[:, None] - V[chosen], axis=2)
    cover = between.min(1).max()
    gaps = np.linalg.norm(V[chosen][:, None] - V[chosen], axis=2) + 9.0 * np.eye(60)
    assert gaps.min() >= cover > 0  # no two closer than the worst gap: the property of the method
    assert np.array_equal(farthest_points(V, 20), chosen[:20])


def test_order_tells_nothing_of_farthest_points_that_are_as_far() -> None:
    rng = np.random.default_rng(7)
    half = rng.normal(size=(200, 3))
    both = np.r_[half, half * [-1, 1, 1]]
    chosen = both[farthest_points(both, 60)]
    for order in (rng.permutation(400) for _ in range(5)):
        moved = both[order] + 0.1 - 0.1  # with the rounding of another origin
        assert np.allclose(moved[farthest_points(moved, 60)], chosen)
