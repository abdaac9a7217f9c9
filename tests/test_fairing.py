"""Scans without the noise of single vertices: what goes, what stays, and what it is worth."""

import numpy as np
import pytest
import trimesh

import licp
from benchmarks.heads import generated_head
from data_fixtures.scan import ScanOptions
from licp.fairing import faired
from licp.surface import Surface
from tests.heads import rotation


def sheet(n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """A flat piece of the triangular lattice, with edges of one length."""
    i, j = (x.ravel() for x in np.meshgrid(np.arange(n), np.arange(n), indexing="ij"))
    V = np.column_stack([i + 0.5 * j, np.sqrt(0.75) * j, np.zeros(n * n)])
    a = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).ravel()
    F = np.concatenate([np.c_[a, a + n, a + 1], np.c_[a + n, a + n + 1, a + 1]])
    return V, F


def inner(V: np.ndarray) -> np.ndarray:
    """Away from the border, which stays."""
    middle = V[:, :2].mean(0)
    return np.linalg.norm(V[:, :2] - middle, axis=1) < 60


@pytest.mark.parametrize(("length", "least", "most"), [(10, 0.98, 1.0), (2.5, 0.0, 0.45)])
def test_long_waves_stay_and_short_ones_go(length: float, least: float, most: float) -> None:
    V, F = sheet()
    wave = V.copy()
    # All of one height, so that the bound on how far vertices move does not come in.
    wave[:, 2] = 0.1 * np.cos(2 * np.pi * V[:, 0] / length)
    fair = faired(Surface(wave, F)).vertices[:, 2]
    on = inner(V)
    left = (fair[on] @ wave[on, 2]) / (wave[on, 2] @ wave[on, 2])
    assert least <= left <= most


def test_noise_goes_and_nothing_shrinks() -> None:
    ball = trimesh.creation.icosphere(6, radius=70.0)  # 40,962 vertices
    rng = np.random.default_rng(0)
    rough = ball.vertices * (1 + rng.normal(0, 0.3 / 70, len(ball.vertices)))[:, None]
    radius = np.linalg.norm(faired(Surface(rough, ball.faces)).vertices, axis=1)
    assert radius.std() < 0.7 * 0.3
    assert abs(radius.mean() - 70) < 0.01
    clean = np.linalg.norm(faired(Surface(ball.vertices, ball.faces)).vertices, axis=1)
    assert np.abs(clean - 70).max() < 0.01


def test_no_vertex_moves_further_than_half_of_them() -> None:
    V, F = sheet()
    V[:, 2] += np.random.default_rng(0).normal(0, 0.05, len(V))
    at = np.linalg.norm(V[:, :2] - V[:, :2].mean(0), axis=1).argmin()
    V[at, 2] += 5.0  # an edge, as far as one vertex can be one
    moved = np.linalg.norm(faired(Surface(V, F)).vertices - V, axis=1)
    free = ~Surface(V, F).at_border
    assert moved[at] == pytest.approx(np.median(moved[free]), rel=0.02)
    assert moved.max() < 1.001 * moved[at]
    assert (moved[~free] == 0).all()


def test_the_same_wherever_in_whatever_unit_and_order() -> None:
    V, F = sheet(150)
    rng = np.random.default_rng(0)
    V[:, 2] += rng.normal(0, 0.1, len(V))
    fair = faired(Surface(V, F)).vertices
    move = licp.Similarity(1e-3, rotation(3), np.array([5.0, -3.0, 1.0]))
    there = faired(Surface(move.apply(V), F)).vertices
    assert np.abs(move.inverse().apply(there) - fair).max() < 1e-9
    order = rng.permutation(len(V))
    rank = np.argsort(order)
    shuffled = faired(Surface(V[order], rank[F][rng.permutation(len(F))])).vertices
    assert np.abs(shuffled[rank] - fair).max() < 1e-12


def test_sparse_surfaces_and_mere_borders_are_left_alone() -> None:
    ball = trimesh.creation.icosphere(4)
    surface = Surface(np.asarray(ball.vertices), np.asarray(ball.faces))
    assert faired(surface) is surface
    n = 4000
    V = np.random.default_rng(0).normal(size=(3 * n, 3))
    loose = Surface(V, np.arange(3 * n).reshape(n, 3))
    assert faired(loose) is loose


def test_a_noisy_scan_is_fitted_better(monkeypatch: pytest.MonkeyPatch) -> None:
    head = generated_head(31, 2000, options=ScanOptions(20_000))
    rng = np.random.default_rng(1)
    noisy = head.scan_vertices + rng.normal(0, 0.6, head.scan_vertices.shape)
    morpher = licp.Morpher((head.vertices, head.faces))

    def error() -> float:
        fit = morpher.morph((noisy, head.scan_faces))
        return float(np.linalg.norm(fit.vertices - head.truth, axis=1)[head.covered].mean())

    fair = error()
    monkeypatch.setattr("licp.scan.faired", lambda surface: surface)
    assert fair < 0.93 * error()
