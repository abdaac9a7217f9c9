"""Our own sparse factors against dense ones."""

import numpy as np
import pytest
from scipy import sparse

from licp.cholesky import LdlPattern
from licp.errors import SolverError


def random_matrix(n: int, density: float, seed: int) -> np.ndarray:
    """Symmetric positive definite, with a random pattern; barely so."""
    rng = np.random.default_rng(seed)
    A = np.tril(rng.normal(size=(n, n)) * (rng.random((n, n)) < density), -1)
    A = A + A.T
    return A + np.diag(1.001 * np.abs(A).sum(1) + 1e-3)


def lower(A: np.ndarray) -> sparse.csc_array:
    return sparse.csc_array(np.tril(A))


@pytest.mark.parametrize(("n", "density"), [(1, 0.0), (7, 0.0), (40, 0.05), (60, 0.3), (30, 1.0)])
@pytest.mark.parametrize("columns", [1, 2, 3, 5])
def test_solves_what_dense_factors_solve(n: int, density: float, columns: int) -> None:
    A = random_matrix(n, density, n)
    B = np.random.default_rng(1).normal(size=(n, columns))
    keep = B.copy()
    X = LdlPattern(lower(A)).factorize(lower(A)).solve(B)
    np.testing.assert_allclose(A @ X, B, atol=1e-10 * np.abs(A).max() * np.abs(X).max())
    assert np.array_equal(B, keep)


def test_one_pattern_serves_many_matrices() -> None:
    A = random_matrix(50, 0.1, 3)
    pattern = LdlPattern(lower(A))
    factors = [pattern.factorize(lower(A * s)) for s in (1.0, 4.0)]
    B = np.eye(50, 3)
    one, four = (factor.solve(B) for factor in factors)
    np.testing.assert_allclose(one, 4.0 * four, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("value", [-1.0, 0.0, np.nan])
def test_refuses_what_is_not_positive_definite(value: float) -> None:
    A = lower(random_matrix(20, 0.2, 5))
    pattern = LdlPattern(A)
    A.data[A.indptr[13]] = value
    with pytest.raises(SolverError, match="not positive definite"):
        pattern.factorize(A)
