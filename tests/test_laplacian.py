"""Cotangent Laplacian, mass and energies against analytic values, on good and on bad triangles."""

import numpy as np
import pytest
import trimesh
from energies import membrane_energy, thin_plate_energy
from numpy.typing import NDArray
from scipy import sparse

from licp.errors import MeshError
from licp.laplacian import cotangent_laplacian


def grid(n: int, shear: float = 0.0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Flat n x n grid of unit squares, each cut in two; `shear` makes the triangles obtuse."""
    x, y = np.meshgrid(np.arange(n, dtype=float), np.arange(n, dtype=float), indexing="ij")
    V = np.column_stack([x.ravel() + shear * y.ravel(), y.ravel(), np.zeros(n * n)])
    i = np.arange(n * n).reshape(n, n)
    a, b, c, d = (part.ravel() for part in (i[:-1, :-1], i[1:, :-1], i[1:, 1:], i[:-1, 1:]))
    return V, np.concatenate([np.column_stack([a, b, c]), np.column_stack([a, c, d])])


NASTY = {
    "zero area, three points on a line": ([[0, 0, 0], [1, 0, 0], [2, 0, 0], [1, 1, 0]],
                                          [[0, 1, 2], [0, 1, 3]]),
    "two vertices coincide": ([[0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0]],
                              [[0, 1, 2], [1, 2, 3], [0, 1, 3]]),
    "three vertices coincide": ([[0, 0, 0]] * 3 + [[1, 0, 0], [0, 1, 0]],
                                [[0, 1, 2], [0, 3, 4], [1, 3, 4]]),
    "needle": ([[0, 0, 0], [1e-9, 0, 0], [0, 1, 0], [1, 0, 0]], [[0, 1, 2], [1, 3, 2]]),
    "cap": ([[0, 0, 0], [1, 0, 0], [0.5, 1e-9, 0], [0.5, 1, 0]], [[0, 1, 2], [2, 1, 3]]),
    "vertex named twice": ([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 0, 1], [0, 1, 2]]),
    "unreferenced vertex": ([[0, 0, 0], [9, 9, 9], [1, 0, 0], [0, 1, 0]], [[0, 2, 3]]),
    "three faces at an edge": ([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1]],
                               [[0, 1, 2], [1, 0, 3], [0, 1, 4]]),
}  # fmt: skip


def test_equilateral_triangle_by_hand() -> None:
    V = [[0, 0, 0], [1, 0, 0], [0.5, np.sqrt(0.75), 0]]
    L, mass = cotangent_laplacian(V, [[0, 1, 2]])
    cot = 1 / np.sqrt(3)
    np.testing.assert_allclose(L.toarray(), cot / 2 * (3 * np.eye(3) - np.ones((3, 3))))
    np.testing.assert_allclose(mass, np.sqrt(0.75) / 2 / 3)


def test_mass_of_an_obtuse_triangle_is_half_and_quarters() -> None:
    _, mass = cotangent_laplacian([[0, 0, 0], [2, 0, 0], [1, 0.5, 0]], [[0, 1, 2]])
    np.testing.assert_allclose(mass, [0.125, 0.125, 0.25])


@pytest.mark.parametrize("shear", [0.0, 0.7, 2.5])
def test_linear_functions_are_harmonic_inside_a_flat_grid(shear: float) -> None:
    V, F = grid(7, shear)
    L, _ = cotangent_laplacian(V, F)
    interior = np.zeros((7, 7), bool)
    interior[1:-1, 1:-1] = True
    assert np.abs((L @ V)[interior.ravel()]).max() < 1e-12


def test_quadratic_function_inside_a_flat_grid() -> None:
    V, F = grid(9)
    L, mass = cotangent_laplacian(V, F)
    interior = np.zeros((9, 9), bool)
    interior[1:-1, 1:-1] = True
    u = V[:, 0] ** 2 + V[:, 1] ** 2
    np.testing.assert_allclose((L @ u / mass)[interior.ravel()], -4.0)


def test_sphere_has_the_eigenvalues_of_spherical_harmonics() -> None:
    ball = trimesh.creation.icosphere(subdivisions=4)
    L, mass = cotangent_laplacian(ball.vertices, ball.faces)
    x, y, z = ball.vertices.T
    for degree, u in ((1, x), (1, z), (2, x * y), (2, 3 * z * z - 1), (3, x * y * z)):
        assert u @ (L @ u) / (u @ (mass * u)) == pytest.approx(degree * (degree + 1), rel=0.02)
    assert mass.sum() == pytest.approx(ball.area)


def test_thin_plate_squares_the_eigenvalue() -> None:
    ball = trimesh.creation.icosphere(subdivisions=4)
    L, mass = cotangent_laplacian(ball.vertices, ball.faces)
    x, y, _ = ball.vertices.T
    u = x * y
    K = thin_plate_energy(L, mass)
    assert u @ (K @ u) / (u @ (mass * u)) == pytest.approx(36, rel=0.04)


def test_closed_surface_rows_sum_to_zero_and_matrix_is_exactly_symmetric() -> None:
    ball = trimesh.creation.icosphere(subdivisions=3)
    L, mass = cotangent_laplacian(ball.vertices, ball.faces)
    for K in (L, membrane_energy(L, mass), thin_plate_energy(L, mass)):
        assert abs(K - K.T).max() == 0
        assert np.abs(K.sum(axis=1)).max() < 1e-13 * K.diagonal().max()
        assert K.has_sorted_indices and K.has_canonical_format
        assert K.indices.dtype == np.int32


@pytest.mark.parametrize("V, F", NASTY.values(), ids=NASTY.keys())
def test_nasty_triangles_stay_semidefinite_and_bounded(V: list, F: list) -> None:
    L, mass = cotangent_laplacian(V, F)
    assert np.isfinite(L.data).all()
    assert abs(L).max() < 200
    eigenvalues = np.linalg.eigvalsh(L.toarray())
    assert eigenvalues.min() > -1e-12 * eigenvalues.max()
    assert np.abs(L.sum(axis=1)).max() < 1e-12
    assert (mass > 0).all() and mass.min() >= 1e-4 * mass.max()
    K = thin_plate_energy(L, mass)
    assert np.linalg.eigvalsh(K.toarray()).min() > -1e-12 * K.diagonal().max()
    for A in (L, K):
        stored = A.indices == np.repeat(np.arange(len(V)), np.diff(A.indptr))
        assert stored.sum() == len(V), "every diagonal entry is stored, zeros too"


def test_one_sliver_leaves_the_others_alone() -> None:
    V, F = grid(5)
    clean, _ = cotangent_laplacian(V, F)
    more = np.concatenate([V, [[9, 9, 9], [10, 9, 9], [9.5, 9, 9]]])
    L, _ = cotangent_laplacian(more, np.concatenate([F, [[25, 26, 27]]]))
    assert abs(L[:25][:, :25] - clean).max() == 0


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_unit_of_length(unit: float) -> None:
    ball = trimesh.creation.icosphere(subdivisions=2)
    L, mass = cotangent_laplacian(ball.vertices, ball.faces)
    scaled, scaled_mass = cotangent_laplacian(ball.vertices * unit, ball.faces)
    np.testing.assert_allclose(scaled.data, L.data, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(scaled_mass, mass * unit**2)
    K, scaled_K = thin_plate_energy(L, mass), thin_plate_energy(scaled, scaled_mass)
    np.testing.assert_allclose(scaled_K.data * unit**2, K.data, rtol=1e-9, atol=1e-9)


def test_real_head_is_obtuse_and_fine(shared_data) -> None:  # type: ignore[no-untyped-def]
    mesh = trimesh.load(
        shared_data / "makehuman" / "template.obj", process=False, maintain_order=True
    )
    V, F = np.asarray(mesh.vertices), np.asarray(mesh.faces)
    L, mass = cotangent_laplacian(V, F)
    assert np.isfinite(L.data).all() and abs(L).max() < 200
    smallest = sparse.linalg.eigsh(L + 1e-6 * sparse.eye_array(len(V)), k=1, sigma=-1e-3)[0][0]
    assert smallest > 0
    assert (mass > 0).all()


def test_does_not_change_its_input() -> None:
    V, F = grid(3)
    before = V.copy(), F.copy()
    L, mass = cotangent_laplacian(V, F)
    data = L.data.copy()
    membrane = membrane_energy(L, mass)
    membrane.data[:] = 0
    np.testing.assert_array_equal(L.data, data)
    np.testing.assert_array_equal(V, before[0])
    np.testing.assert_array_equal(F, before[1])


@pytest.mark.parametrize(
    "V, F, says",
    [
        (np.zeros((3, 2)), [[0, 1, 2]], r"\(n, 3\)"),
        (np.zeros((3, 3)), [[0, 1, 2, 0]], r"\(m, 3\)"),
        (np.zeros((3, 3)), np.zeros((0, 3), int), "at least one"),
        ([[0, 0, 0], [1, 0, 0], [0, np.nan, 0]], [[0, 1, 2]], "vertex 2"),
        (np.eye(3), [[0, 1, 2], [0, 1, 3]], "face 1"),
        (np.eye(3), [[0, 1, -1]], "face 0"),
        (np.ones((3, 3)), [[0, 1, 2]], "no area"),
    ],
)
def test_bad_meshes_are_named(V: list, F: list, says: str) -> None:
    with pytest.raises(MeshError, match=says):
        cotangent_laplacian(V, F)
