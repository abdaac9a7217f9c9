import pickle

import numpy as np
import pytest
from heads import ball, potato, rotation
from scipy import sparse
from scipy.sparse.linalg import splu

from licp.features import FEATURE_SCALES, HeatCurvature
from licp.geometry import vertex_normals
from licp.laplacian import cotangent_laplacian


def expected(s: float, eigenvalue: float, radius: float) -> float:
    """Positions on spheres and cylinders are eigenfunctions of the Laplacian."""
    decay = 0.25 * s * s * eigenvalue
    return -radius * decay / (1 + decay) / s


@pytest.mark.parametrize("radius", [1.0, 90.0])
def test_spheres_have_their_exact_value(radius: float) -> None:
    V, F = ball(4)
    scales = [0.1 * radius, 0.3 * radius, radius]
    heat = HeatCurvature(radius * V, F, scales)
    exact = heat.of(radius * V, V, accuracy=6e-3)
    quick = heat.of(radius * V, V)
    for k, s in enumerate(scales):
        assert np.allclose(exact[:, k], expected(s, 2 / radius**2, radius), rtol=0.01)
        assert np.allclose(quick[:, k], expected(s, 2 / radius**2, radius), rtol=0.02)


def test_hollows_are_positive_and_bumps_negative() -> None:
    V, F = ball(3)
    h = HeatCurvature(V, F, [0.2])
    assert (h.of(V, V) < 0).all() and np.array_equal(h.of(V, -V), -h.of(V, V))


def test_cylinders_have_half_the_curvature_and_planes_none() -> None:
    n, m = 60, 81
    row, column = np.divmod(np.arange(n * m), n)
    angle, z = 2 * np.pi * column / n, row * (2 * np.pi / n)
    a, b = np.arange(n * (m - 1)), (np.arange(n * (m - 1)) // n) * n
    right = b + (a + 1) % n
    F = np.r_[np.stack([a, right, a + n], 1), np.stack([right, right + n, a + n], 1)]
    V = np.stack([np.cos(angle), np.sin(angle), z], 1)
    middle = abs(row - m // 2) < 3
    h = HeatCurvature(V, F, [0.3]).of(V, V * [1, 1, 0])[:, 0]
    assert np.allclose(h[middle], expected(0.3, 1.0, 1.0), rtol=0.01)

    flat = np.stack([column, row, 0 * row], 1).astype(float)
    inner = (column > 15) & (column < n - 16) & middle
    keep = np.ptp(flat[F][:, :, 0], axis=1) < 2  # not round the back
    h = HeatCurvature(flat, F[keep], [1.0, 3.0]).of(flat, np.tile([0.0, 0, 1], (n * m, 1)))
    assert (abs(h[inner]) < 1e-9).all()


def test_values_move_with_the_surface_and_do_not_depend_on_the_unit() -> None:
    V, F = potato()
    N, R = vertex_normals(V, F), rotation(0)
    h = HeatCurvature(V, F).of(V, N)
    assert h.shape == (len(V), len(FEATURE_SCALES))
    moved = 1000 * (V @ R.T) + 7
    again = HeatCurvature(moved, F, [1000 * s for s in FEATURE_SCALES]).of(moved, N @ R.T)
    assert np.allclose(h, again, rtol=0, atol=1e-9)


def test_two_meshes_of_one_surface_agree() -> None:
    (V, F), (W, G) = potato(4), potato(5)
    coarse = HeatCurvature(V, F, [0.2, 0.4]).of(V, vertex_normals(V, F))
    fine = HeatCurvature(W, G, [0.2, 0.4]).of(W, vertex_normals(W, G))[: len(V)]
    assert np.ptp(coarse, axis=0).min() > 0.1  # there is something to agree on
    assert abs(coarse - fine).max() < 0.01


def test_needles_are_clipped() -> None:
    V, F = ball(3)
    heat = HeatCurvature(V, F, [0.1])
    W = V.copy()
    W[7] *= 3.0
    h = heat.of(W, V)
    assert h[7, 0] == -1.0 and h.min() >= -1.0 and h.max() <= 1.0


def test_heat_keeps_constants_and_the_total() -> None:
    V, F = potato()
    heat = HeatCurvature(V, F)
    mass = cotangent_laplacian(V, F)[1]
    values = np.random.default_rng(0).random(len(V))
    smooth = heat.spread(values)
    assert np.allclose(heat.spread(np.full(len(V), 3.0)), 3.0, rtol=1e-9)
    assert mass @ smooth == pytest.approx(mass @ values, rel=1e-4)
    assert smooth.std() < values.std()


def test_it_survives_the_way_to_another_process() -> None:
    V, F = potato(2)
    heat, N = HeatCurvature(V, F), vertex_normals(V, F)
    assert np.array_equal(pickle.loads(pickle.dumps(heat)).of(V, N), heat.of(V, N))


def test_values_are_those_of_a_direct_solve() -> None:
    V, F = potato()
    N = vertex_normals(V, F)
    L, mass = cotangent_laplacian(V, F)
    M = sparse.diags_array(mass)
    scales = [0.1, 0.5]
    exact = np.stack(
        [
            ((splu(sparse.csc_array(M + 0.25 * s * s * L)).solve(M @ V) - V) * N).sum(1) / s
            for s in scales
        ],
        1,
    )
    heat = HeatCurvature(V, F, scales)
    for accuracy, far in ((6e-3, 2e-3), (1e-9, 1e-9)):
        h = heat.of(V, N, accuracy=accuracy)
        assert np.abs(h - np.clip(exact, -1, 1)).max() < far * np.abs(exact).max()
    assert np.abs(heat.of(V, N) - exact).max() < 0.02 * np.abs(exact).max()
