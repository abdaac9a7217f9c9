"""How far off vertices are expected to be, against formula, truth and invariances."""

from functools import partial

import numpy as np
import pytest
import trimesh
from heads import arrays, found, morpher, pose, result, scan, scan_arrays, size, template
from scipy.stats import spearmanr

import licp
from licp import State
from licp.expectation import expected_errors
from licp.features import HeatCurvature


def test_formula_on_a_ball() -> None:
    ball = trimesh.creation.icosphere(4)
    n = len(ball.vertices)
    spread = partial(HeatCurvature(ball.vertices, ball.faces).spread, accuracy=1e-3)
    seen, areas = np.ones(n, bool), np.full(n, 0.1)

    def told(curvature: float, found: float, gap: float = 0.0) -> np.ndarray:
        each = np.full(n, curvature), np.full(n, found), seen, np.full(n, gap)
        return expected_errors(*each, areas, spread)

    wanted = 0.0187 * 0.02 / (0.1**2 + 0.03**2) ** (2 / 3)
    assert np.allclose(told(0.1, 0.08), wanted, rtol=1e-6)
    assert np.allclose(told(0.1, 0.12), wanted, rtol=1e-6)
    assert np.allclose(told(0.1, 0.06), 2 * wanted, rtol=1e-6)
    assert np.allclose(told(0.1, 0.08, 0.01), np.hypot(wanted, 0.01), rtol=1e-6)
    # Equal curvature: nothing to expect but the gap, wherever it is flat.
    assert np.allclose(told(0.0, 0.0, 0.01), 0.01)


def test_what_is_not_seen_tells_nothing() -> None:
    ball = trimesh.creation.icosphere(4)
    n = len(ball.vertices)
    spread = partial(HeatCurvature(ball.vertices, ball.faces).spread, accuracy=1e-3)
    seen, areas = ball.vertices[:, 2] > 0, np.full(n, 0.1)
    curvature = np.where(seen, 0.1, 0.5)
    differs = np.where(seen, 0.02, -9.0)
    error = expected_errors(curvature, curvature - differs, seen, np.full(n, 0.3), areas, spread)
    far = ball.vertices[:, 2] < -0.5
    assert np.allclose(error[far], error[far].max(), rtol=1e-3)
    assert error[far].min() > 5 * np.sqrt(error[ball.vertices[:, 2] > 0.5] ** 2 - 0.3**2).max()
    nothing = expected_errors(
        curvature, curvature, np.zeros(n, bool), np.full(n, np.nan), areas, spread
    )
    assert np.isfinite(nothing).all() and nothing.min() > 1


def test_against_the_truth() -> None:
    """Where, and how much: from heads that had no part in its numbers."""
    fit, truth = result(), scan().truth
    error = np.linalg.norm(fit.vertices - truth, axis=1)
    seen = fit.state == State.MATCHED
    assert spearmanr(fit.expected_error[seen], error[seen])[0] > 0.3
    assert 0.5 < error[seen].mean() / fit.mean_expected_error < 2
    assert (error[seen] < 2 * fit.expected_error[seen]).mean() > 0.75


def test_a_template_on_itself_expects_little() -> None:
    fit = morpher().morph((pose().apply(arrays()[0]), arrays()[1]), start=pose())
    assert fit.mean_expected_error < 0.1 * result().mean_expected_error


def test_other_units_and_poses() -> None:
    """Told in the unit of the scan, and the same wherever it stands."""
    move = licp.Similarity.from_matrix(
        np.array([[0, -1e-3, 0, 5], [1e-3, 0, 0, 6], [0, 0, 1e-3, 7], [0, 0, 0, 1.0]])
    )
    V, F = scan_arrays()
    moved = morpher().morph((move.apply(V), F), start=move.after(pose()))
    assert np.allclose(moved.expected_error, 1e-3 * result().expected_error, rtol=0.05)


def test_more_is_expected_without_a_part_and_with_noise() -> None:
    V, F = scan_arrays()
    noise = np.random.default_rng(3).normal(0, 0.01 * size(), V.shape)
    noisy = morpher().morph((V + noise, F), start=pose())
    assert noisy.mean_expected_error > 1.3 * result().mean_expected_error

    nose = np.zeros(len(arrays()[0]), bool)
    nose[template().regions["nose"]] = True
    masked = licp.morph(arrays(), (V, F), start=pose(), mask=nose)
    assert masked.expected_error[nose].mean() > 1.2 * result().expected_error[nose].mean()
    assert np.isfinite(found().expected_error).all()


def test_mean_is_of_what_was_matched() -> None:
    fit = result()
    matched = fit.state == State.MATCHED
    assert fit.mean_expected_error == pytest.approx(fit.expected_error[matched].mean())


def test_averages_on_the_coarsest_level_are_those_of_all_vertices() -> None:
    ball = trimesh.creation.icosphere(5)
    pyramid = licp.Morpher((ball.vertices, ball.faces))._prepared.pyramid
    assert len(pyramid.levels) > 1
    rest = pyramid.finest.rest
    values = 1.0 + rest[:, 0]
    whole = HeatCurvature(rest, ball.faces).spread(values, 0.1, 1e-6)
    off = np.abs(pyramid.spread(values, 0.1) - whole)
    assert off.max() < 0.02 * np.ptp(values) and off.mean() < 0.004 * np.ptp(values)
