import dataclasses

import numpy as np
import pytest
from heads import Arrays, ball, part, potato, rotation
from scipy.spatial import KDTree

from licp.closest import TriangleTree
from licp.correspondence import _LEAN, Matcher, Matches, State
from licp.geometry import vertex_normals
from licp.repair import clean
from licp.schedule import Stage
from licp.similarity import Similarity
from licp.surface import Surface
from licp.threads import Crew
from licp.traits import Traits

STAGE = Stage(stiffness=0.05, normal_weight=0.1, curvature_weight=0.0)
V, F = ball(3)
NONE = np.zeros((len(V), 2))


def traits(
    features: np.ndarray = NONE, labels: np.ndarray | None = None, reach: object = np.inf
) -> Traits:
    n = len(features)
    one = np.ones(n)
    return Traits(one, one, reach * one, one > 0, one < 0, labels, np.zeros((n, 3)), features)


def matcher(mesh: Arrays, **options: object) -> Matcher:
    target = Surface(*mesh)
    return Matcher(target, np.zeros((len(target.vertices), 2)), **options)  # type: ignore[arg-type]


def match(on: Matcher, stage: Stage = STAGE, labels: np.ndarray | None = None) -> Matches:
    """Matches of the unit sphere."""
    told = traits(labels=labels)
    return on.at(stage).match(V, V, told, territory=on.labelled(told))


def front(mesh: Arrays) -> Arrays:
    half = clean(*part(mesh, mesh[0][mesh[1]].mean(1)[:, 2] > 0))
    return half.vertices, half.faces


def counts(matches: Matches) -> list[int]:
    return np.bincount(matches.state, minlength=len(State)).tolist()


def test_matches_on_a_larger_sphere_lie_straight_outside() -> None:
    W, G = ball(5)
    found = match(matcher((1.1 * W @ rotation(0).T, G)))
    assert counts(found) == [len(V)] + [0] * (len(State) - 1) and found.state.dtype == np.uint8
    assert np.allclose(found.points, 1.1 * V, atol=2e-3)
    assert np.allclose(found.normals, V, atol=5e-3)


def test_feet_are_the_closest_points_of_triangles() -> None:
    mesh = potato(3)
    found = match(matcher(mesh), dataclasses.replace(STAGE, normal_weight=0.0))
    distance = TriangleTree(*mesh).query(V)[0]
    reached = np.linalg.norm(found.points - V, axis=1)
    # The nearest vertex is nearly always a corner of the closest triangle.
    assert (reached >= distance - 1e-12).all()
    assert (reached < distance + 1e-9).mean() > 0.95


def test_what_lies_beyond_the_rim_does_not_match() -> None:
    W, G = ball(5)
    top = V[:, 2] > 0.5
    found = matcher((1.1 * W, G)).at(STAGE).match(V, V, traits().showing(~top))
    assert (found.state[top] == State.BORDER).all()
    assert (found.state[~top] == State.MATCHED).all()


def test_what_ends_on_the_border_is_gated() -> None:
    found = match(matcher(front(ball(5))))
    behind, before = V[:, 2] < -0.1, V[:, 2] > 0.1
    assert (found.state[behind] == State.BORDER).all()
    assert (found.state[before] == State.MATCHED).all()


def test_surfaces_that_face_away_are_gated() -> None:
    W, G = ball(4)
    on = matcher((W, G[:, ::-1]))
    assert counts(match(on))[State.NORMAL] == len(V)
    assert counts(match(on, dataclasses.replace(STAGE, normal_gate=-1.0)))[State.MATCHED] == len(V)


def test_far_matches_are_gated() -> None:
    W, G = ball(4)
    on = matcher((W + np.array([0.3, 0.0, 0.0]), G))
    found = match(on, dataclasses.replace(STAGE, distance_gate=0.15))
    far = np.linalg.norm(found.points - V, axis=1) > 0.15
    assert 0.1 < far.mean() < 0.9
    assert np.array_equal(found.state == State.DISTANCE, far)


def test_hidden_vertices_match_only_what_is_near() -> None:
    W, G = ball(4)
    reach = np.where(V[:, 1] > 0, 0.1, np.inf)
    for grown, state in ((1.05, State.MATCHED), (1.12, State.HIDDEN)):
        found = matcher((grown * W, G)).at(STAGE).match(V, V, traits(reach=reach))
        assert (found.state[V[:, 1] > 0] == state).all()
        assert (found.state[V[:, 1] <= 0] == State.MATCHED).all()


def test_ignored_vertices_do_not_pull() -> None:
    W, G = ball(5)
    found = match(matcher((W, G), ignored=W[:, 1] > 0))
    assert (found.state[V[:, 1] > 0.1] == State.MASKED).all()
    assert (found.state[V[:, 1] < -0.1] == State.MATCHED).all()


def test_ignored_vertices_of_a_dense_scan_do_not_pull_where_it_was_thinned() -> None:
    W, G = ball(5)
    fine, coarse = Surface(1.05 * W, G), Surface(*ball(4))
    ignored = np.random.default_rng(3).random(len(W)) < 0.05
    beside = KDTree(fine.vertices).query(coarse.vertices)[1]
    on = Matcher(coarse, np.zeros((len(coarse.vertices), 2)), fine=(fine, beside), ignored=ignored)
    found = match(on, dataclasses.replace(STAGE, stiffness=0.01))
    _, face, barycentric = fine.triangles.query(found.points)
    spoilt = (ignored[fine.faces[face]] & (barycentric > 1e-9)).any(1)
    assert spoilt.any() and ((found.state == State.MASKED) == spoilt).all()


def test_regions_restrict_matches() -> None:
    W, G = ball(5)
    regions = (W[:, 2] > 0).astype(int)
    labels = np.where(V[:, 1] > 0, 1, -1)
    labels[V[:, 0] > 0.9] = 7
    found = match(matcher((W, G), labels=regions), STAGE, labels)
    assert (found.points[labels == 1, 2] > -0.05).all()
    free = match(matcher((W, G)))
    assert np.allclose(found.points[labels == -1], free.points[labels == -1])
    assert (found.state[labels == 7] == State.REGION).all()
    assert (found.state[labels == -1] == State.MATCHED).all()


def test_scan_vertices_of_any_region_take_every_label() -> None:
    W, G = ball(4)
    on = matcher((W, G), labels=np.full(len(W), -1))
    assert np.array_equal(match(on, STAGE, np.arange(len(V)) % 3).points, match(on).points)


def test_matches_end_on_the_finer_surface() -> None:
    W, G = ball(6)
    fine = Surface(1.05 * W, G)
    coarse = fine.coarsened(0.15)
    beside = KDTree(fine.vertices).query(coarse.vertices)[1]
    on = Matcher(coarse, np.zeros((len(coarse.vertices), 2)), fine=(fine, beside))
    found = match(on, dataclasses.replace(STAGE, stiffness=0.01))
    assert np.allclose(np.linalg.norm(found.points, axis=1), 1.05, atol=3e-4)
    assert (found.state == State.MATCHED).mean() > 0.99
    stiff = match(on)
    assert (stiff.state == State.MATCHED).mean() > 0.99
    assert not np.array_equal(stiff.points, found.points)


def test_curvature_tells_what_position_leaves_open() -> None:
    """Slid along a cylinder with ridges, features find the ridge that positions miss."""
    n, m = 64, 200
    row, column = np.divmod(np.arange(n * m), n)
    angle, z = 2 * np.pi * column / n, row * 0.05
    a = np.arange(n * (m - 1))
    right = (a // n) * n + (a + 1) % n
    G = np.r_[np.stack([a, right, a + n], 1), np.stack([right, right + n, a + n], 1)]
    r = 1 + 0.02 * np.cos(2 * np.pi * z / 5.0)
    W = np.stack([r * np.cos(angle), r * np.sin(angle), z], 1)
    feature = np.stack([np.cos(2 * np.pi * z / 5.0), np.zeros(n * m)], 1)
    target = Surface(W, G)
    on = Matcher(target, feature)
    ridge = np.flatnonzero(row == 100)
    slid = W[ridge] + [0.0, 0.0, 0.4]
    N = vertex_normals(W, G)[ridge]
    stage = dataclasses.replace(STAGE, distance_gate=9.0)
    plain = on.at(stage).match(slid, N, traits(feature[ridge]))
    led = on.at(dataclasses.replace(stage, curvature_weight=500.0)).match(
        slid, N, traits(feature[ridge])
    )
    assert np.allclose(plain.points[:, 2], 5.4, atol=0.05)
    assert np.allclose(led.points[:, 2], 5.0, atol=0.06)


def test_normals_move_matches_by_less_than_a_face() -> None:
    """Around a sphere with turned normals: u = (R x + k^2 n) / |R x + k^2 n|, and R u is least."""
    W, G = ball(4)
    radius, turn, kappa = 1.1, 0.1, 0.5 / _LEAN
    c, s = np.cos(turn), np.sin(turn)
    N = V @ np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]).T
    stage = dataclasses.replace(STAGE, normal_weight=kappa)
    on = matcher((radius * W, G)).at(stage)
    found = on.match(V, N, traits())
    u = radius * V + (_LEAN * kappa) ** 2 * N
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    moved = np.linalg.norm(radius * (u - V), axis=1)
    assert 0.015 < moved.max() < 0.025  # faces have sides of 0.08
    assert np.linalg.norm(found.points - radius * u, axis=1).max() < 0.3 * moved.max()
    # Where template and scan touch, nothing moves.
    assert np.allclose(on.match(radius * V, N, traits()).points, radius * V, atol=1e-9)


def test_a_moved_scan_gives_moved_matches() -> None:
    mesh = front(potato(4))
    move = Similarity(2.0, rotation(4), np.array([3.0, 1.0, 2.0]))
    stage = Stage(0.05, normal_weight=0.2, curvature_weight=0.0, distance_gate=5.0)
    here = match(matcher(mesh), dataclasses.replace(stage, normal_weight=0.1, distance_gate=2.5))
    there = matcher(mesh).moved(move).at(stage).match(move.apply(V), move.rotate(V), traits())
    assert np.allclose(there.points, move.apply(here.points), atol=1e-9)
    assert np.allclose(there.normals, move.rotate(here.normals), atol=1e-9)
    assert np.array_equal(there.state, here.state)


@pytest.mark.parametrize("workers", [2, 5])
def test_the_number_of_threads_changes_nothing(workers: int) -> None:
    mesh = potato(4)
    with Crew(workers) as crew:
        one, many = match(matcher(mesh)), match(matcher(mesh, crew=crew))
    assert np.array_equal(one.points, many.points) and np.array_equal(one.state, many.state)
