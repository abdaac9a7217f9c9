import numpy as np
from heads import ball, potato

from licp.geometry import vertex_neighbours
from licp.walk import walk_nearest


def test_walks_on_a_ball_end_at_the_nearest_vertex_wherever_they_start() -> None:
    V, F = ball(4)
    rng = np.random.default_rng(0)
    Q = 1.3 * (rng.normal(size=(200, 3)) / 1.0)
    Q /= np.linalg.norm(Q, axis=1, keepdims=True)
    exact = ((Q[:, None] - V) ** 2).sum(2).argmin(1)
    found = walk_nearest(Q, rng.integers(0, len(V), 200), V, vertex_neighbours(F, len(V)))
    assert np.array_equal(found, exact)


def test_walks_never_end_farther_off_than_they_began() -> None:
    V, F = potato()
    rng = np.random.default_rng(1)
    space = V + rng.normal(size=V.shape)
    Q, guess = rng.normal(size=(100, 3)), rng.integers(0, len(V), 100)
    start, around = vertex_neighbours(F, len(V))
    found = walk_nearest(Q, guess, space, (start, around))
    before = np.linalg.norm(Q - space[guess], axis=1)
    after = np.linalg.norm(Q - space[found], axis=1)
    assert (after <= before).all() and (after < before).any()
    for q, at, d in zip(Q, found, after, strict=True):
        ring = around[start[at] : start[at + 1]]
        assert (np.linalg.norm(q - space[ring], axis=1) >= d).all()
