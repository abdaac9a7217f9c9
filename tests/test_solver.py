"""Factors against dense solves, both back ends, both interfaces of scikit-sparse, kept factors."""

import pickle
import sys
import types
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import trimesh
from energies import membrane_energy, thin_plate_energy
from numpy.typing import NDArray
from scipy import sparse

import licp.solver
from licp.errors import InputError, SolverError
from licp.laplacian import cotangent_laplacian
from licp.solver import Analysis, ElasticSolver, ElasticSystem, backends, default_backend

Array = NDArray[np.float64]
BACKENDS = backends()
BALL = trimesh.creation.icosphere(subdivisions=3)
N = len(BALL.vertices)


def plate(V: Array = BALL.vertices, F: Any = BALL.faces) -> tuple[sparse.csc_array, Array]:
    L, mass = cotangent_laplacian(V, F)
    return thin_plate_energy(L, mass), mass


def elastic(backend: Any = None, V: Array = BALL.vertices, F: Any = BALL.faces) -> ElasticSystem:
    return ElasticSystem(*cotangent_laplacian(V, F), V, backend)


def two_balls() -> tuple[Array, NDArray[np.int64]]:
    """A ball and a small one beside it, and a vertex that is in no face."""
    V = np.concatenate([BALL.vertices, 0.1 * BALL.vertices + 2.0, [[0.0, 0.0, 0.0]]])
    return V, np.concatenate([BALL.faces, BALL.faces + N])


def dense(K: sparse.csc_array, alpha: float, w: Array, B: Array) -> Array:
    return np.linalg.solve(alpha * K.toarray() + np.diag(w), B)


def with_diagonal(K: sparse.csc_array, alpha: float, w: Array) -> sparse.csc_array:
    A = alpha * K
    A.setdiag(A.diagonal() + w)
    return A


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Any:
    return request.param


# --------------------------------------------------------------------------------- factors


@pytest.mark.parametrize("energy", [membrane_energy, thin_plate_energy])
@pytest.mark.parametrize("columns", [(), (1,), (3,), (4,)])
def test_factor_agrees_with_dense(
    backend: Any, energy: Callable[..., sparse.csc_array], columns: tuple[int, ...]
) -> None:
    K = energy(*cotangent_laplacian(BALL.vertices, BALL.faces))
    w = np.random.default_rng(0).random(N)
    A = with_diagonal(K, 0.1, w)
    B = np.random.default_rng(1).standard_normal((N, *columns))
    X = Analysis(A, BALL.vertices, backend).factorize(A).solve(B)
    assert X.shape == B.shape
    np.testing.assert_allclose(X, dense(K, 0.1, w, B), rtol=1e-8, atol=1e-10)


def test_one_analysis_serves_many_matrices(backend: Any) -> None:
    K, mass = plate()
    analysis = Analysis(K, BALL.vertices, backend)
    B = np.eye(N, 3)
    factors = [(a, analysis.factorize(with_diagonal(K, a, mass))) for a in (1.0, 1e-3, 1e-6)]
    # The earlier factors are still those of their own matrices.
    for alpha, factor in factors:
        np.testing.assert_allclose(factor.solve(B), dense(K, alpha, mass, B), rtol=1e-6, atol=1e-8)


def test_back_ends_agree() -> None:
    K, mass = plate()
    A, B = with_diagonal(K, 1e-2, mass), np.eye(N, 3)
    X, *others = (Analysis(A, BALL.vertices, b).factorize(A).solve(B) for b in BACKENDS)
    for Y in others:
        np.testing.assert_allclose(X, Y, rtol=1e-9, atol=1e-11)


INDEFINITE = {
    "negative diagonal": np.diag([1.0, -1.0, 1.0]),
    "zero diagonal": np.diag([1.0, 0.0, 1.0]),
    "saddle": np.array([[1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
    "zero pivot": np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]]),
    "not finite": np.diag([1.0, np.nan, 1.0]),
}


@pytest.mark.parametrize("matrix", INDEFINITE.values(), ids=INDEFINITE.keys())
def test_not_positive_definite_is_an_error(backend: Any, matrix: Array) -> None:
    pattern = sparse.csc_array(np.ones((3, 3)))
    A = sparse.csc_array((matrix.T.ravel(), pattern.indices, pattern.indptr), shape=(3, 3))
    with pytest.raises(SolverError):
        Analysis(pattern, None, backend).factorize(A)


def test_indefinite_mesh_matrix_is_an_error(backend: Any) -> None:
    K, mass = plate()
    shift = np.full(N, -1.5 * mass.min())
    assert (with_diagonal(K, 1.0, shift).diagonal() > 0).all(), "only the factor can tell"
    with pytest.raises(SolverError):
        Analysis(K, BALL.vertices, backend).factorize(with_diagonal(K, 1.0, shift))


def test_bad_patterns_are_named() -> None:
    full = sparse.csc_array(np.ones((3, 3)))
    with pytest.raises(InputError, match="not symmetric"):
        Analysis(sparse.csc_array(np.triu(np.ones((3, 3)))))
    with pytest.raises(InputError, match="diagonal entry in row 1"):
        Analysis(sparse.csc_array(np.array([[1.0, 1, 0], [1, 0, 1], [0, 1, 1]])))
    with pytest.raises(InputError, match="CSC"):
        Analysis(full.tocsr())
    with pytest.raises(InputError, match="pattern"):
        Analysis(full).factorize(sparse.csc_array(np.eye(3)))
    with pytest.raises(InputError, match="shape"):
        Analysis(full).factorize(full + sparse.csc_array(3 * np.eye(3))).solve(np.ones(4))


# ------------------------------------------------------------------------------- back ends


def test_cholmod_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sksparse", None)
    monkeypatch.setitem(sys.modules, "sksparse.cholmod", None)
    assert backends() == ("numba", "scipy")
    assert default_backend() == "numba"
    K, mass = plate()
    system = elastic()
    assert system.analysis.backend == "numba"
    X, _ = ElasticSolver(system).solve(1.0, mass, mass[:, None] * np.ones((N, 3)))
    np.testing.assert_allclose(X, 1.0, atol=1e-2)
    with pytest.raises(InputError, match="scikit-sparse"):
        Analysis(K, backend="cholmod")


def test_unknown_backend_is_named() -> None:
    with pytest.raises(InputError, match="pardiso"):
        Analysis(sparse.eye_array(3, format="csc"), backend="pardiso")  # type: ignore[arg-type]


class NotPositiveDefiniteError(Exception):
    """Stands for CholmodNotPositiveDefiniteError, a CholmodError."""


def lower_cholesky(A: sparse.csc_array) -> Array:
    lower = np.tril(A.toarray())
    try:
        return np.asarray(np.linalg.cholesky(lower + np.tril(lower, -1).T))
    except np.linalg.LinAlgError as error:
        raise NotPositiveDefiniteError("column 1") from error


def imitation_04() -> types.ModuleType:
    """The part of sksparse.cholmod 0.4.16 that is used, as strict as the real one."""

    class Factor:
        def __init__(self, pattern: Any, L: Array | None = None) -> None:
            self._pattern, self._L = pattern, L

        def copy(self) -> "Factor":
            return Factor(self._pattern, self._L)

        def cholesky_inplace(self, A: sparse.csc_matrix, beta: float = 0) -> None:
            assert sparse.isspmatrix_csc(A) and A.nnz == self._pattern.nnz
            self._L = lower_cholesky(A)

        def __call__(self, b: Array) -> Array:
            assert self._L is not None, "symbolic factor"
            return np.asarray(scipy.linalg.cho_solve((self._L, True), b))

        def D(self) -> Array:  # noqa: N802
            assert self._L is not None, "symbolic factor"
            return np.diag(self._L) ** 2

    def analyze(
        A: sparse.csc_matrix,
        mode: str = "auto",
        ordering_method: str = "default",
        use_long: bool | None = None,
    ) -> Factor:
        assert sparse.isspmatrix_csc(A), "warns and converts"
        assert mode in ("simplicial", "supernodal", "auto")
        assert ordering_method in ("natural", "amd", "metis", "nesdis", "default", "best")
        return Factor(A)

    module = types.ModuleType("sksparse.cholmod")
    module.analyze, module.CholmodError = analyze, NotPositiveDefiniteError  # type: ignore[attr-defined]
    return module


def imitation_05() -> types.ModuleType:
    """The part of sksparse.cholmod 0.5.0 that is used, as strict as the real one."""

    class CholeskyFactor:
        def __init__(
            self,
            A: sparse.csc_array,
            *,
            lower: bool = True,
            order: str | None = "default",
            sym_kind: str | None = None,
            supernodal_mode: str | None = None,
        ) -> None:
            assert lower and order in ("default", "best", "natural", "metis", "postordered")
            assert supernodal_mode in (None, "auto", "simplicial", "supernodal")
            assert A.format == "csc" and A.has_canonical_format and A.nnz > 0
            self._nnz, self._L = A.nnz, None

        def copy(self) -> "CholeskyFactor":
            other = CholeskyFactor.__new__(CholeskyFactor)
            other._nnz, other._L = self._nnz, self._L
            return other

        def factorize(
            self, A: sparse.csc_array, ldl: bool | None = None, beta: float = 0.0
        ) -> "CholeskyFactor":
            assert A.format == "csc" and A.nnz == self._nnz
            self._L = lower_cholesky(A)
            return self

        def solve(self, b: Array, system: str = "A") -> Array:
            if self._L is None:
                raise NotPositiveDefiniteError("Factor is symbolic.")
            if not isinstance(b, np.ndarray):
                raise ValueError("b must be an ndarray or sparse matrix.")
            return np.asarray(scipy.linalg.cho_solve((self._L, True), b))

    module = types.ModuleType("sksparse.cholmod")
    module.CholeskyFactor = CholeskyFactor  # type: ignore[attr-defined]
    module.CholmodError = NotPositiveDefiniteError  # type: ignore[attr-defined]
    return module


@pytest.mark.parametrize("imitation", [imitation_04, imitation_05])
def test_both_interfaces_of_scikit_sparse(
    imitation: Callable[[], types.ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    package = types.ModuleType("sksparse")
    package.cholmod = imitation()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sksparse", package)
    monkeypatch.setitem(sys.modules, "sksparse.cholmod", package.cholmod)
    K, mass = plate()
    analysis = Analysis(K, BALL.vertices, "cholmod")
    B = np.eye(N, 3)
    first, second = (analysis.factorize(with_diagonal(K, a, mass)) for a in (1.0, 1e-3))
    np.testing.assert_allclose(first.solve(B), dense(K, 1.0, mass, B), atol=1e-8)
    np.testing.assert_allclose(second.solve(B), dense(K, 1e-3, mass, B), atol=1e-8)
    with pytest.raises(SolverError, match="CHOLMOD"):
        analysis.factorize(with_diagonal(K, 1.0, np.full(N, -1.5 * mass.min())))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ElasticSolver(elastic("cholmod")).solve(1.0, mass, B)


# --------------------------------------------------------------------------- kept factors


def test_tolerance_bounds_the_error_against_dense(backend: Any) -> None:
    K, mass = plate()
    solver = ElasticSolver(elastic(backend))
    rng = np.random.default_rng(0)
    for alpha, tol in ((1.0, 1e-2), (0.4, 1e-3), (0.2, 1e-6), (0.1, 1e-9)):
        w = mass * (rng.random(N) < 0.95)
        B = w[:, None] * rng.standard_normal((N, 3))
        X, info = solver.solve(alpha, w, B, tol=tol)
        exact = dense(K, alpha, w, B)
        A = alpha * K.toarray() + np.diag(w)
        error = np.sqrt(np.vdot(X - exact, A @ (X - exact)) / np.vdot(exact, A @ exact))
        assert info.residual <= tol
        assert error <= 2 * tol, "the estimate is honest"


def test_factor_is_kept_while_it_is_good(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    factorisations = []
    original = Analysis.factorize

    def counted(self: Analysis, A: sparse.csc_array) -> Any:
        factorisations.append(A)
        return original(self, A)

    monkeypatch.setattr(licp.solver.Analysis, "factorize", counted)
    _, mass = plate()
    solver = ElasticSolver(elastic(backend))
    rng = np.random.default_rng(0)
    infos = []
    for alpha in (1.0, 1.0, 0.8, 0.7):
        w = mass * (rng.random(N) < 0.95)
        infos.append(solver.solve(alpha, w, w[:, None] * BALL.vertices)[1])
    assert [info.refactored for info in infos] == [True, False, False, False]
    assert all(info.iterations <= 6 for info in infos)
    assert len(factorisations) == 1


def test_long_schedule_refactors_sometimes(backend: Any) -> None:
    _, mass = plate()
    solver = ElasticSolver(elastic(backend))
    rng = np.random.default_rng(0)
    infos = []
    for alpha in np.geomspace(1.0, 1e-6, 20):
        for _ in range(2):
            w = mass * (rng.random(N) < 0.95)
            B = w[:, None] * (BALL.vertices + 0.05 * rng.standard_normal((N, 3)))
            infos.append(solver.solve(alpha, w, B, tol=1e-2)[1])
    made = sum(info.refactored for info in infos)
    assert 2 <= made <= 16
    assert max(info.iterations for info in infos) <= 16
    assert all(info.residual <= 1e-2 for info in infos)


def test_factor_is_given_up_when_stiffness_jumps(backend: Any) -> None:
    K, mass = plate()
    solver = ElasticSolver(elastic(backend))
    B = mass[:, None] * np.random.default_rng(0).standard_normal((N, 3))
    solver.solve(1.0, mass, B)
    X, info = solver.solve(1e-6, mass, B, tol=1e-6)
    assert info.refactored
    np.testing.assert_allclose(X, dense(K, 1e-6, mass, B), rtol=1e-5, atol=1e-5)


def test_region_that_lost_its_weights_is_filled_in_right(backend: Any) -> None:
    """The trap of residuals: at low stiffness they hardly see the error inside a new hole."""
    _, mass = plate()
    solver = ElasticSolver(elastic(backend))
    B = mass[:, None] * np.ones((N, 3))
    solver.solve(1e-5, mass, B)
    w = np.where(BALL.vertices[:, 2] > 0.5, 0.0, mass)
    X, info = solver.solve(1e-5, w, w[:, None] * np.ones((N, 3)), tol=1e-4)
    assert info.refactored
    # Energies say little of vertices without weight, so the tolerance there is twenty times that.
    np.testing.assert_allclose(X, 1.0, atol=2e-3)


@pytest.mark.parametrize("height", [0.9, 0.5, 0.0, -0.5])
@pytest.mark.parametrize("alpha", [1.0, 1e-2, 1e-4, 1e-6])
def test_holes_of_any_size_take_few_iterations(height: float, alpha: float) -> None:
    """The square of a membrane is near a plate only if holes are clamped."""
    _, mass = plate()
    w = np.where(BALL.vertices[:, 2] > height, 0.0, mass)
    _, info = ElasticSolver(elastic("scipy")).solve(alpha, w, w[:, None] * BALL.vertices, tol=0.01)
    assert info.iterations <= 5


def test_guess_saves_iterations_and_stays_unchanged(backend: Any) -> None:
    K, mass = plate()
    B = mass[:, None] * np.random.default_rng(0).standard_normal((N, 3))
    solver = ElasticSolver(elastic(backend))
    solver.solve(0.1, mass, B, tol=1e-6)
    w = mass * (np.random.default_rng(1).random(N) < 0.98)
    cold, without = solver.solve(0.08, w, B, tol=1e-6)
    exact = dense(K, 0.08, w, B)
    guess = exact + 1e-4 * np.random.default_rng(2).standard_normal((N, 3))
    before = guess.copy()
    warm, with_guess = solver.solve(0.08, w, B, tol=1e-6, guess=guess)
    np.testing.assert_array_equal(guess, before)
    assert not without.refactored and not with_guess.refactored
    assert with_guess.iterations < without.iterations
    np.testing.assert_allclose(warm, exact, atol=1e-5)
    np.testing.assert_allclose(cold, exact, atol=1e-5)


@pytest.mark.parametrize("huge", [1e20, 1e100, 1e200])
def test_weights_beside_which_nothing_is_left_of_the_stiffness_are_named(
    backend: Any, huge: float
) -> None:
    _, mass = plate()
    solver = ElasticSolver(elastic(backend))
    solver.solve(1.0, mass, mass[:, None] * np.ones((N, 3)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(SolverError, match=r"alpha = 1 is too soft.* use at least"):
            solver.solve(1.0, huge * (BALL.vertices[:, 2] > 0), np.ones((N, 3)))
    X, _ = solver.solve(1.0, mass, mass[:, None] * np.ones((N, 3)))
    np.testing.assert_allclose(X, 1.0, atol=1e-2)


def test_component_without_weights_is_held(backend: Any) -> None:
    V, F = two_balls()
    _, mass = plate(V, F)
    n = len(V)
    w = mass.copy()
    w[N:] = 0.0
    solver = ElasticSolver(elastic(backend, V, F))
    for alpha in (1.0, 0.5, 1e-3, 1e-9):
        X, _ = solver.solve(alpha, w, w[:, None] * np.ones((n, 3)), tol=1e-6)
        np.testing.assert_allclose(X[:N], 1.0, atol=1e-5)
        np.testing.assert_allclose(X[N:], 0.0, atol=1e-12)


def test_component_that_loses_its_weights_between_solves(backend: Any) -> None:
    V, F = two_balls()
    _, mass = plate(V, F)
    solver = ElasticSolver(elastic(backend, V, F))
    ones = np.ones((len(V), 3))
    for lost in (False, True, False):
        w = mass.copy()
        if lost:
            w[N:] = 0.0
        X, _ = solver.solve(0.1, w, w[:, None] * ones, tol=1e-6)
        np.testing.assert_allclose(X[:N], 1.0, atol=1e-4)
        np.testing.assert_allclose(X[N:], 0.0 if lost else 1.0, atol=1e-4)


def test_no_weights_and_nothing_to_do_give_zero(backend: Any) -> None:
    _, mass = plate()
    solver = ElasticSolver(elastic(backend))
    for w in (np.zeros(N), mass):
        X, info = solver.solve(1.0, w, np.zeros((N, 3)))
        assert not X.any() and info.residual == 0.0 and info.iterations == 0


def test_few_weights_move_everything_rigidly(backend: Any) -> None:
    _, mass = plate()
    w = np.where(np.arange(N) < 3, mass, 0.0)
    X, _ = ElasticSolver(elastic(backend)).solve(
        10.0, w, w[:, None] * np.array([[1.0, 2.0, 3.0]]), tol=1e-4
    )
    np.testing.assert_allclose(X, np.tile([1.0, 2.0, 3.0], (N, 1)), rtol=1e-3)


def test_stiffness_beyond_rounding_is_an_error_that_says_how_much(backend: Any) -> None:
    _, mass = plate()
    solver = ElasticSolver(elastic(backend))
    B = mass[:, None] * np.ones((N, 3))
    with pytest.raises(SolverError, match="use at most") as caught:
        solver.solve(1e15, mass, B)
    most = float(str(caught.value).split("at most ")[1].split(",")[0])
    X, _ = solver.solve(most, mass, B)
    np.testing.assert_allclose(X, 1.0, atol=1e-2)


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_unit_of_length(backend: Any, unit: float) -> None:
    def run(unit: float) -> tuple[Array, list[int]]:
        _, mass = plate(BALL.vertices * unit)
        solver = ElasticSolver(elastic(backend, BALL.vertices * unit))
        iterations = []
        for alpha in (1.0, 0.5, 0.01):
            B = mass[:, None] * np.sin(5 * BALL.vertices) * unit
            X, info = solver.solve(alpha * unit**4, mass, B)
            iterations.append(info.iterations)
        return X / unit, iterations

    (X, iterations), (Y, same) = run(1.0), run(unit)
    assert iterations == same
    np.testing.assert_allclose(X, Y, atol=1e-6)


def test_repeatable_and_shared_between_threads(backend: Any) -> None:
    _, mass = plate()
    system = elastic(backend)

    def run(seed: int) -> Array:
        rng = np.random.default_rng(seed)
        solver = ElasticSolver(system)
        for alpha in np.geomspace(1.0, 1e-4, 8):
            w = mass * (rng.random(N) < 0.9)
            X, _ = solver.solve(alpha, w, w[:, None] * rng.standard_normal((N, 3)))
        return X

    expected = [run(seed) for seed in range(6)]
    with ThreadPoolExecutor(4) as pool:
        for X, Y in zip(expected, pool.map(run, range(6)), strict=True):
            np.testing.assert_array_equal(X, Y)


def test_system_can_be_sent_to_another_process(backend: Any) -> None:
    _, mass = plate()
    system = elastic(backend)
    copy = pickle.loads(pickle.dumps(system))
    assert copy.analysis.backend == backend
    B = mass[:, None] * BALL.vertices
    X, Y = (ElasticSolver(s).solve(0.1, mass, B)[0] for s in (system, copy))
    np.testing.assert_array_equal(X, Y)


def test_does_not_change_its_input(backend: Any) -> None:
    K, mass = plate()
    B = mass[:, None] * np.ones((N, 3))
    before = K.data.copy(), mass.copy(), B.copy()
    solver = ElasticSolver(elastic(backend))
    for alpha in (1.0, 0.5):
        solver.solve(alpha, mass, B)
    for then, now in zip(before, (K.data, mass, B), strict=True):
        np.testing.assert_array_equal(then, now)


@pytest.mark.parametrize(
    "change, says",
    [
        ({"alpha": 0.0}, "alpha"),
        ({"alpha": np.nan}, "alpha"),
        ({"tol": 1e-15}, "tol"),
        ({"w": np.ones(3)}, "weights"),
        ({"w": -np.ones(N)}, "negative"),
        ({"w": np.full(N, np.inf)}, "finite"),
        ({"B": np.ones((N, 2))}, "B must"),
        ({"B": np.full((N, 3), np.nan)}, "B must"),
        ({"guess": np.ones(N)}, "guess must"),
    ],
)
def test_bad_arguments_are_named(change: dict[str, Any], says: str) -> None:
    _, mass = plate()
    arguments = {"alpha": 1.0, "w": mass, "B": np.ones((N, 3))} | change
    with pytest.raises(InputError, match=says):
        ElasticSolver(elastic("scipy")).solve(**arguments)


def test_negative_stiffness_is_rejected() -> None:
    L, mass = cotangent_laplacian(BALL.vertices, BALL.faces)
    with pytest.raises(InputError, match="nowhere negative"):
        ElasticSystem(-L, mass, BALL.vertices, "scipy")


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan])
def test_mass_must_be_positive(bad: float) -> None:
    L, mass = cotangent_laplacian(BALL.vertices, BALL.faces)
    mass[7] = bad
    with pytest.raises(InputError, match="mass"):
        ElasticSystem(L, mass, BALL.vertices, "scipy")


def test_weights_along_normals_are_those_of_the_block_system(backend: Any) -> None:
    mesh = trimesh.creation.icosphere(3)
    V = np.array(mesh.vertices)
    n = len(V)
    K, _ = plate(V, mesh.faces)
    rng = np.random.default_rng(0)
    w, B = rng.uniform(0.1, 0.3, n), rng.normal(size=(n, 3))
    along = rng.uniform(0.2, 0.9, n)[:, None] * V
    X, _ = ElasticSolver(elastic(backend, V, mesh.faces)).solve(0.7, w, B, tol=1e-9, along=along)
    A = np.kron(0.7 * K.toarray() + np.diag(w), np.eye(3))
    for i in range(n):
        A[3 * i : 3 * i + 3, 3 * i : 3 * i + 3] += np.outer(along[i], along[i])
    assert np.allclose(X.ravel(), np.linalg.solve(A, B.ravel()), atol=1e-6)


def test_being_ready_twice_is_being_ready_once(backend: Any) -> None:
    system = elastic(backend)
    solver, w = ElasticSolver(system), np.ones(system.n)
    B = BALL.vertices.copy()
    solver.solve(1e-2, w, B)
    for _ in range(2):
        solver.expect(1e4)  # far from what the kept factor is of
    X, info = solver.solve(1e4, w, B)
    assert info.refactored and info.iterations <= 10
    once = ElasticSolver(system)
    once.solve(1e-2, w, B)
    once.expect(1e4)
    assert np.array_equal(X, once.solve(1e4, w, B)[0])
