import copy
import json
import pickle

import numpy as np
import pytest
from heads import rotation

from licp.errors import InputError
from licp.similarity import Similarity, best_rotations, fit_similarities, fit_similarity

POINTS = np.random.default_rng(0).normal(size=(20, 3)) * [3.0, 1.0, 0.5] + [10.0, -4.0, 2.0]


def some(seed: int = 1, scale: float = 2.5) -> Similarity:
    return Similarity(scale, rotation(seed), np.array([100.0, -3.0, 0.25]))


def test_apply_is_scale_times_rotation_plus_translation() -> None:
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    move = Similarity(2.0, quarter, np.array([0.0, 0.0, 5.0]))
    assert move.apply([[1.0, 0, 0], [0, 1, 1]]).tolist() == [[0, 2, 5], [-2, 0, 7]]
    assert move.rotate([[1.0, 0, 0]]).tolist() == [[0, 1, 0]]


def test_inverse_composition_and_matrix_agree() -> None:
    a, b = some(1), some(2, 0.01)
    assert np.allclose(a.inverse().apply(a.apply(POINTS)), POINTS, rtol=0, atol=1e-12)
    assert np.allclose(a.after(b).apply(POINTS), a.apply(b.apply(POINTS)), rtol=0, atol=1e-12)
    assert np.allclose(a.after(b).matrix(), a.matrix() @ b.matrix(), rtol=0, atol=1e-12)
    homogeneous = np.c_[POINTS, np.ones(len(POINTS))] @ a.matrix().T
    assert np.allclose(homogeneous[:, :3], a.apply(POINTS), rtol=0, atol=1e-12)
    back = Similarity.from_matrix(a.matrix())
    assert back.scale == pytest.approx(a.scale) and np.allclose(back.rotation, a.rotation)
    assert np.array_equal(Similarity.identity().apply(POINTS), POINTS)


def test_arrays_are_copied_on_the_way_in() -> None:
    R, t = np.eye(3), np.zeros(3)
    move = Similarity(1.0, R, t)
    R[0, 0], t[0] = 5.0, 5.0
    assert np.array_equal(move.apply(POINTS), POINTS)


def test_to_dict_is_json() -> None:
    assert json.loads(json.dumps(some().to_dict()))["scale"] == 2.5


@pytest.mark.parametrize(
    ("scale", "turn", "shift", "message"),
    [
        (0.0, np.eye(3), np.zeros(3), "positive, .*not 0"),
        (-1.0, np.eye(3), np.zeros(3), "positive, .*not -1"),
        (1e-200, np.eye(3), np.zeros(3), "1e-100 to 1e\\+100, not 1e-200"),
        (np.nan, np.eye(3), np.zeros(3), "finite"),
        (1.0, np.full((3, 3), np.inf), np.zeros(3), "finite"),
        (1.0, np.eye(3), [0, np.nan, 0], "finite"),
        (1.0, np.diag([1.0, 1, -1]), np.zeros(3), r"determinant \+1"),
        (1.0, np.diag([1.0, 1, 1.1]), np.zeros(3), "orthogonal"),
        (1.0, np.eye(4), np.zeros(3), r"\(4, 4\)"),
        (1.0, np.eye(3), np.zeros(2), r"\(2,\)"),
        ("wide", np.eye(3), np.zeros(3), "numbers"),
        (1.0, [["a"]], np.zeros(3), "numbers"),
        (None, np.eye(3), np.zeros(3), "numbers"),
    ],
)
def test_what_is_no_similarity_is_refused(
    scale: object, turn: object, shift: object, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Similarity(scale, turn, shift)  # type: ignore[arg-type]


def test_parts_are_read_only_in_other_processes_too() -> None:
    turn = rotation(3)
    move = Similarity(2.0, turn, np.zeros(3))
    for one in (move, pickle.loads(pickle.dumps(move)), copy.deepcopy(move)):
        for part in (one.rotation, one.translation):
            with pytest.raises(ValueError, match="read-only"):
                part[0] = 1.0
        assert np.array_equal(one.apply(POINTS), move.apply(POINTS))
    assert turn.flags.writeable


@pytest.mark.parametrize(
    "matrix",
    [
        np.zeros((4, 4)),
        np.eye(3),
        np.diag([1.0, 1, -1, 1]),
        np.diag([1.0, 2, 1, 1]),
        np.diag([1.0, 1, 1, 2]),
        np.full((4, 4), np.nan),
        [["a"]],
        {},
        3.0,
    ],
)
def test_matrices_that_are_no_similarity_are_refused(matrix: object) -> None:
    with pytest.raises(InputError):
        Similarity.from_matrix(matrix)  # type: ignore[arg-type]


def test_fit_recovers_the_similarity() -> None:
    move = some()
    fit = fit_similarity(POINTS, move.apply(POINTS))
    assert fit.scale == pytest.approx(move.scale, rel=1e-12)
    assert np.allclose(fit.rotation, move.rotation, atol=1e-12)
    assert np.allclose(fit.translation, move.translation, atol=1e-11)


def test_points_without_weight_do_not_count() -> None:
    target = some().apply(POINTS)
    target[:5] += 100.0
    weights = np.r_[np.zeros(5), np.linspace(1, 3, 15)]
    fit = fit_similarity(POINTS, target, weights)
    assert np.allclose(fit.apply(POINTS[5:]), target[5:], atol=1e-11)


def test_fit_is_the_weighted_least_squares_optimum() -> None:
    rng = np.random.default_rng(3)
    target = some().apply(POINTS) + rng.normal(size=POINTS.shape)
    weights = rng.random(len(POINTS))

    def cost(move: Similarity) -> float:
        return float(weights @ ((move.apply(POINTS) - target) ** 2).sum(1))

    best = fit_similarity(POINTS, target, weights)
    about = best.apply(weights[None] @ POINTS / weights.sum())[0]
    for k in range(6):
        angle = 0.01 * (-1) ** k
        c, s = np.cos(angle), np.sin(angle)
        turn = np.roll(np.roll([[c, -s, 0], [s, c, 0], [0, 0, 1]], k // 2, 0), k // 2, 1)
        other = Similarity(1.0, turn, about - turn @ about).after(best)
        assert cost(other) > cost(best)
        grown = 1.0 + angle
        assert cost(Similarity(grown, np.eye(3), (1 - grown) * about).after(best)) > cost(best)
        assert cost(Similarity(1.0, np.eye(3), angle * np.eye(3)[k % 3]).after(best)) > cost(best)


def test_without_scale_the_scale_is_one() -> None:
    fit = fit_similarity(POINTS, some(4, 3.0).apply(POINTS), with_scale=False)
    assert fit.scale == 1.0
    assert np.allclose(fit.rotation, rotation(4), atol=1e-12)


def test_mirror_images_do_not_give_a_reflection() -> None:
    fit = fit_similarity(POINTS, POINTS * [-1, 1, 1])
    assert np.linalg.det(fit.rotation) == pytest.approx(1.0)


def test_planar_points_determine_the_rotation() -> None:
    flat = POINTS * [1, 1, 0]
    assert np.allclose(fit_similarity(flat, some().apply(flat)).rotation, rotation(1), atol=1e-9)


def test_many_at_once_equal_one_by_one() -> None:
    rng = np.random.default_rng(5)
    target, weights = rng.normal(size=(4, 20, 3)), rng.random((4, 20))
    s, R, t = fit_similarities(POINTS[None], target, weights)
    for k in range(4):
        one = fit_similarity(POINTS, target[k], weights[k])
        assert one.scale == pytest.approx(s[k])
        assert np.allclose(one.rotation, R[k]) and np.allclose(one.translation, t[k])


@pytest.mark.parametrize("place", [0.0, 1.0, 0.1])
def test_points_in_one_place_are_refused(place: float) -> None:
    with pytest.raises(InputError, match="one place"):
        fit_similarity(POINTS, np.full_like(POINTS, place))
    with pytest.raises(InputError, match="one place"):
        fit_similarity(np.full_like(POINTS, place), POINTS)


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
@pytest.mark.parametrize("unit", [1e-30, 1.0, 1e30])
def test_best_rotations_are_those_of_singular_values(rank: int, unit: float) -> None:
    rng = np.random.default_rng(rank)
    H = unit * rng.normal(size=(200, 3, rank)) @ rng.normal(size=(200, rank, 3))
    R, gain = best_rotations(H)
    assert np.allclose(R @ np.swapaxes(R, 1, 2), np.eye(3), atol=1e-12)
    assert np.allclose(np.linalg.det(R), 1.0)
    U, S, Vt = np.linalg.svd(H)
    mirrored = np.where(np.linalg.det(U @ Vt) < 0, -1.0, 1.0)  # half of them
    assert np.allclose(gain, S[:, 0] + S[:, 1] + mirrored * S[:, 2], rtol=1e-9, atol=0.0)
    assert np.allclose(np.einsum("cij,cij->c", R, H), gain, rtol=1e-9, atol=1e-12 * unit)
    if rank >= 2:
        U[:, :, 2] *= mirrored[:, None]
        assert np.allclose(R, U @ Vt, atol=1e-4)
