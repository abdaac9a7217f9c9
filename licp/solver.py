"""Sparse symmetric positive definite systems: factors, and a solver that keeps them.

`Analysis` orders and analyses a sparsity pattern once, `Analysis.factorize` makes a `Factor` from
numbers: one of our own (:mod:`licp.cholesky`), of CHOLMOD or of SciPy.
`ElasticSystem` prepares the thin-plate matrices of one template, and an `ElasticSolver` solves a
sequence of them with few factorisations, none of them of a thin plate: those of a membrane do.
"""

import threading
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from licp.cholesky import LdlPattern
from licp.compiled import kernel
from licp.errors import InputError, SolverError
from licp.geometry import unsigned
from licp.ordering import nested_dissection

__all__ = [
    "Analysis",
    "Backend",
    "ElasticSolver",
    "ElasticSystem",
    "Factor",
    "SolveInfo",
    "backends",
    "default_backend",
]

Backend = Literal["numba", "cholmod", "scipy"]

# Rows of K sum to zero only to rounding, so a component whose weights sum to q times the machine
# epsilon times alpha times the trace of K is solved to about 0.3 / q (measured, both back
# ends, 4k to 45k vertices).  Below q = 1000 its weights say nothing.
_LEAST_WEIGHT = 2e-13
# Weights that are so many times alpha times the stiffness leave none of it in double precision.
_MOST_WEIGHT = 4e15

# Such components get this part of their mean stiffness as weight, enough to factorise safely.
_RIDGE = 1e-12

# Price of a numeric factorisation in iterations of conjugate gradients: 4 to 6 on head templates of
# 3k to 45k vertices.  More, since what is expected of a kept factor is a bound.  A constant, not a
# clock, so that results do not depend on the machine.
_FACTOR_COST = 10

# A plate that is clamped around a hole resists bending there like weights of its own, root
# ``2 / distance^2`` (what is zero at a rim with its slope costs bending in proportion to
# ``(u / distance^2)^2``: Rellich's inequality), blunted within three of the lengths over which it
# bends.  Without this the systems of soft stages take twice the iterations; half and twice as much
# are alike.
_CLAMP, _RIM = 2.0, 3.0

# Iterations a fresh factor may need: up to 5 for a tenth, 50 for 1e-8, measured with a quarter of
# the weights zero.
_FRESH_LIMIT = 200


class _Numeric(Protocol):
    """A numeric factor of a matrix in its natural order, for right-hand sides (n, k)."""

    def solve(self, B: NDArray[np.float64]) -> NDArray[np.float64]: ...


class _Symbolic(Protocol):
    """What a back end prepares for one sparsity pattern, in its natural order."""

    def factorize(self, A: sparse.csc_array) -> _Numeric: ...


class _SuperLU:
    """SciPy: no symbolic phase to keep, and positive definiteness is read off the pivots."""

    def factorize(self, A: sparse.csc_array) -> _Numeric:
        try:
            lu = splu(
                A,
                permc_spec="NATURAL",
                diag_pivot_thresh=0.0,
                options={"SymmetricMode": True, "Equil": False},
            )
        except RuntimeError as error:
            raise SolverError(f"the matrix is singular ({error})") from error
        # Pivots left the diagonal only where one was zero; pivots below zero are an
        # indefinite matrix.  The pivots of a unit-diagonal matrix are at most 1.
        pivots = lu.U.diagonal()
        if not (np.array_equal(lu.perm_r, lu.perm_c) and (pivots > 0.0).all()):
            raise SolverError("the matrix is not positive definite")
        return lu  # type: ignore[no-any-return]


class _Cholmod:
    """CHOLMOD through scikit-sparse 0.4 or 0.5, whose interfaces have nothing in common.

    Simplicial, since factors of meshes are sparse: supernodes take twice the time with 11k
    vertices and gain nothing with 180k.  Every factor is a copy of the symbolic one.  One lock for
    all copies, because in 0.4 they share a work space.
    """

    def __init__(self, A: sparse.csc_array) -> None:
        from sksparse import cholmod

        self._errors: tuple[type[Exception], ...] = (cholmod.CholmodError, MemoryError)
        self._old = not hasattr(cholmod, "CholeskyFactor")
        self._lock = threading.Lock()
        if self._old:
            self._symbolic = cholmod.analyze(
                sparse.csc_matrix(A), mode="simplicial", ordering_method="natural"
            )
        else:
            self._symbolic = cholmod.CholeskyFactor(
                A, lower=True, order="natural", supernodal_mode="simplicial"
            )

    def factorize(self, A: sparse.csc_array) -> "_CholmodNumeric":
        with self._lock:
            numeric = self._symbolic.copy()
            try:
                if self._old:
                    numeric.cholesky_inplace(sparse.csc_matrix(A))
                else:
                    numeric.factorize(A)
            except self._errors as error:
                raise SolverError(f"CHOLMOD: {error}") from error
            # Without square roots, 0.4 does not notice.
            if self._old and not (numeric.D() > 0.0).all():
                raise SolverError("CHOLMOD: the matrix is not positive definite")
        return _CholmodNumeric(numeric, self._lock, self._errors)


class _CholmodNumeric:
    def __init__(self, numeric: Any, lock: threading.Lock, errors: Any) -> None:
        self._solve = numeric if callable(numeric) else numeric.solve
        self._lock = lock
        self._errors = errors

    def solve(self, B: NDArray[np.float64]) -> NDArray[np.float64]:
        with self._lock:
            try:
                return np.ascontiguousarray(self._solve(np.asfortranarray(B)))
            except self._errors as error:
                raise SolverError(f"CHOLMOD: {error}") from error


def backends() -> tuple[Backend, ...]:
    """Back ends that work here, best first; "numba" and "scipy" are always among them.

    Returns
    -------
    tuple of {"numba", "cholmod", "scipy"}

    Examples
    --------
    >>> backends()[0]
    'numba'
    """
    try:
        from sksparse import cholmod  # noqa: F401
    except (ImportError, OSError):  # OSError: the shared libraries of SuiteSparse are broken
        return ("numba", "scipy")
    return ("numba", "cholmod", "scipy")


def default_backend() -> Backend:
    """The first of :func:`backends`, "numba".

    With 11k vertices it factorises a membrane in 0.65 times the time of CHOLMOD and a quarter of
    that of SciPy, with 180k in 0.75 and 0.8; and other threads go on meanwhile.

    Examples
    --------
    >>> default_backend() in backends()
    True
    """
    return backends()[0]


@kernel
def _gather_scaled(
    data: NDArray[np.float64],
    source: NDArray[np.int32],
    row: NDArray[np.int32],
    indptr: NDArray[np.int32],
    scale: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Numbers of the permuted, unit-diagonal matrix from those of the caller's matrix."""
    out = np.empty(len(source))
    for j in range(len(indptr) - 1):
        for e in range(indptr[j], indptr[j + 1]):
            out[e] = data[source[e]] * scale[row[e]] * scale[j]
    return out


class Analysis:
    """Ordering and symbolic analysis of one symmetric sparsity pattern.  Immutable, shareable.

    The matrix is permuted by nested dissection and scaled to unit diagonal before it is
    factorised, with any back end, so all see the same numbers and pivots can be judged.

    Parameters
    ----------
    A : (n, n) csc_array
        Only its pattern counts: symmetric, and every diagonal entry stored.
    coordinates : (n, 3) array_like of float, optional
        Positions of the unknowns, for a better ordering (see `nested_dissection`).
    backend : {"numba", "cholmod", "scipy"}, optional
        `default_backend()` if not given.

    Raises
    ------
    InputError
        Unknown or missing back end, `A` not in CSC format, or a pattern that is not symmetric or
        lacks diagonal entries.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import sparse
    >>> A = sparse.csc_array([[4.0, 1.0], [1.0, 3.0]])
    >>> x = Analysis(A).factorize(A).solve(np.array([1.0, 2.0]))
    >>> bool(np.allclose(A @ x, [1.0, 2.0]))
    True
    """

    def __init__(
        self,
        A: sparse.csc_array,
        coordinates: ArrayLike | None = None,
        backend: Backend | None = None,
    ) -> None:
        available = backends()
        self.backend: Backend = available[0] if backend is None else backend
        if self.backend not in ("numba", "cholmod", "scipy"):
            raise InputError(f'backend must be "numba", "cholmod" or "scipy", not {backend!r}')
        if self.backend not in available:
            raise InputError(
                'backend "cholmod" needs scikit-sparse (pip install "licp[cholmod]") and '
                'SuiteSparse; backend="numba" needs nothing'
            )
        if not (sparse.issparse(A) and A.format == "csc" and A.shape[0] == A.shape[1]):
            raise InputError("A must be a square sparse array in CSC format")
        self.permutation = nested_dissection(A, coordinates)
        self._indptr, self._indices = A.indptr.copy(), A.indices.copy()

        # Numbered from 1: sparse operations may drop zeros.
        number = np.arange(1, A.nnz + 1)
        numbered = sparse.csc_array((number, A.indices, A.indptr), shape=A.shape)
        if not numbered.has_canonical_format:
            raise InputError("A must have sorted indices and no duplicate entries")
        mirrored = sparse.csc_array(numbered.T)
        mirrored.sort_indices()
        if not (
            np.array_equal(mirrored.indices, A.indices)
            and np.array_equal(mirrored.indptr, A.indptr)
        ):
            raise InputError("the pattern of A is not symmetric")
        column = np.repeat(np.arange(A.shape[0]), np.diff(A.indptr))
        self.diagonal_at = np.flatnonzero(A.indices == column)
        if len(self.diagonal_at) != A.shape[0]:
            lacking = np.setdiff1d(np.arange(A.shape[0]), A.indices[self.diagonal_at])
            raise InputError(f"A stores no diagonal entry in row {lacking[0]}")

        permuted = sparse.csc_array(numbered[self.permutation][:, self.permutation])
        if self.backend != "scipy":
            permuted = sparse.csc_array(sparse.tril(permuted, format="csc"))
        permuted.sort_indices()
        self._source = (permuted.data - 1).astype(np.int32)
        pattern = sparse.csc_array(
            (
                np.ones(permuted.nnz),
                permuted.indices.astype(np.int32),
                permuted.indptr.astype(np.int32),
            ),
            shape=A.shape,
        )
        self._pattern = pattern
        self._symbolic: _Symbolic
        if self.backend == "numba":
            self._symbolic = LdlPattern(pattern)
        else:
            self._symbolic = _Cholmod(pattern) if self.backend == "cholmod" else _SuperLU()

    @property
    def n(self) -> int:
        """Number of unknowns."""
        return len(self.diagonal_at)

    def factorize(self, A: sparse.csc_array) -> "Factor":
        """Factorise a matrix of the analysed pattern.  May be called from several threads.

        Parameters
        ----------
        A : (n, n) csc_array
            Symmetric positive definite, same stored entries as the analysed matrix.

        Returns
        -------
        Factor

        Raises
        ------
        InputError
            `A` has another pattern.
        SolverError
            `A` is not positive definite or not finite.
        """
        if not (
            A.nnz == len(self._indices)
            and np.array_equal(A.indptr, self._indptr)
            and np.array_equal(A.indices, self._indices)
        ):
            raise InputError("A does not have the sparsity pattern that was analysed")
        diagonal = A.data[self.diagonal_at]
        if not np.isfinite(A.data).all():
            raise SolverError("the matrix has entries that are not finite")
        if not (diagonal > 0.0).all():
            raise SolverError(
                "the matrix is not positive definite: diagonal entry "
                f"{np.argmin(diagonal)} is {diagonal.min():g}"
            )
        scale = 1.0 / np.sqrt(diagonal)
        P = self._pattern
        data = _gather_scaled(A.data, self._source, P.indices, P.indptr, scale[self.permutation])
        scaled = sparse.csc_array((data, P.indices, P.indptr), shape=P.shape)
        return Factor(self._symbolic.factorize(scaled), scale, self.permutation)


@kernel
def _gather_rows(
    B: NDArray[np.float64], permutation: NDArray[np.int64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Rows of B (n, k) in the order of a factor, scaled."""
    out = np.empty_like(B)
    for i in range(len(B)):
        j = permutation[i]
        for c in range(B.shape[1]):
            out[i, c] = scale[j] * B[j, c]
    return out


@kernel
def _scatter_rows(
    Y: NDArray[np.float64], permutation: NDArray[np.int64], scale: NDArray[np.float64]
) -> tuple[NDArray[np.float64], bool]:
    """What takes the way back of `_gather_rows`, and whether it is finite."""
    out = np.empty_like(Y)
    total = 0.0
    for i in range(len(Y)):
        j = permutation[i]
        for c in range(Y.shape[1]):
            out[j, c] = scale[j] * Y[i, c]
            total += 0.0 * out[j, c]
    return out, total == 0.0


class Factor:
    """Numeric factor of one matrix, made by `Analysis.factorize`."""

    def __init__(
        self, numeric: _Numeric, scale: NDArray[np.float64], permutation: NDArray[np.int64]
    ) -> None:
        self._numeric = numeric
        self._scale = scale
        self._permutation = permutation

    def solve(self, B: NDArray[np.float64]) -> NDArray[np.float64]:
        """Solve ``A X = B``.

        Parameters
        ----------
        B : (n,) or (n, k) float64
            Right-hand sides.

        Returns
        -------
        X : same shape as `B`, float64

        Raises
        ------
        InputError
            `B` has another number of rows.
        SolverError
            The solution is not finite.
        """
        return self._back(self._numeric.solve(self._forth(B, self._scale)), self._scale, B)

    def solve_twice(
        self, between: NDArray[np.float64], around: NDArray[np.float64], B: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Solve twice, with scalings: ``diag(around) A^-1 diag(between) A^-1 diag(around) B``.

        Parameters
        ----------
        between, around : (n,) float64
            Scalings.
        B : (n,) or (n, k) float64
            Right-hand sides.

        Returns
        -------
        X : same shape as `B`, float64

        Raises
        ------
        InputError, SolverError
            As `solve`.
        """
        scale = around * self._scale
        inner = (between * self._scale**2)[self._permutation, None]
        half = inner * self._numeric.solve(self._forth(B, scale))
        return self._back(self._numeric.solve(half), scale, B)

    def _forth(self, B: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
        n = len(self._permutation)
        if B.ndim not in (1, 2) or len(B) != n:
            raise InputError(f"B must have shape ({n},) or ({n}, k), not {B.shape}")
        rows = np.ascontiguousarray(B, dtype=np.float64).reshape(n, -1)
        forth: NDArray[np.float64] = _gather_rows(rows, self._permutation, scale)
        return forth

    def _back(
        self, Y: NDArray[np.float64], scale: NDArray[np.float64], B: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        X: NDArray[np.float64]
        X, finite = _scatter_rows(Y, self._permutation, scale)
        if not finite:
            raise SolverError("the solution is not finite: the matrix is singular to rounding")
        return X.reshape(B.shape)


@kernel
def _rings(
    indptr: NDArray[np.int32], indices: NDArray[np.int32], held: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Number of edges from each vertex to the nearest one that is held; inf where none is."""
    n = len(held)
    ring = np.full(n, np.inf)
    queue = np.empty(n, np.int64)
    tail = 0
    for i in range(n):
        if held[i]:
            ring[i] = 0.0
            queue[tail] = i
            tail += 1
    head = 0
    while head < tail:
        i = queue[head]
        head += 1
        for e in range(indptr[i], indptr[i + 1]):
            j = indices[e]
            if ring[j] == np.inf:
                ring[j] = ring[i] + 1.0
                queue[tail] = j
                tail += 1
    return ring


@kernel
def _apply(
    indptr: NDArray[np.uint64],
    indices: NDArray[np.uint32],
    data: NDArray[np.float64],
    mass: NDArray[np.float64],
    alpha: float,
    diagonal: NDArray[np.float64],
    along: NDArray[np.float64],
    X: NDArray[np.float64],
) -> NDArray[np.float64]:
    """``(alpha L M^-1 L + diag(diagonal) + along along') X`` with a symmetric L."""
    bent, out = np.empty_like(X), np.empty_like(X)
    for i in range(len(X)):
        a, b, c = 0.0, 0.0, 0.0
        for e in range(indptr[i], indptr[i + 1]):
            j, k = indices[e], data[e]
            a += k * X[j, 0]
            b += k * X[j, 1]
            c += k * X[j, 2]
        stress = alpha / mass[i]
        bent[i, 0], bent[i, 1], bent[i, 2] = stress * a, stress * b, stress * c
    for i in range(len(X)):
        a, b, c = 0.0, 0.0, 0.0
        for e in range(indptr[i], indptr[i + 1]):
            j, k = indices[e], data[e]
            a += k * bent[j, 0]
            b += k * bent[j, 1]
            c += k * bent[j, 2]
        x, y, z, d = X[i, 0], X[i, 1], X[i, 2], diagonal[i]
        u, v, w = along[i, 0], along[i, 1], along[i, 2]
        normal = u * x + v * y + w * z
        out[i, 0] = a + d * x + normal * u
        out[i, 1] = b + d * y + normal * v
        out[i, 2] = c + d * z + normal * w
    return out


@kernel
def _advance(
    X: NDArray[np.float64],
    R: NDArray[np.float64],
    P: NDArray[np.float64],
    Q: NDArray[np.float64],
    B: NDArray[np.float64],
    step: float,
) -> tuple[float, float]:
    """A step along P, in place; squared residual, and energy of X as far as it is solved."""
    rr, energy = 0.0, 0.0
    for i in range(len(X)):
        for c in range(3):
            X[i, c] += step * P[i, c]
            R[i, c] -= step * Q[i, c]
            rr += R[i, c] * R[i, c]
            energy += X[i, c] * (B[i, c] - R[i, c])
    return rr, energy


class ElasticSystem:
    """The matrices ``alpha K + diag(w)`` of one template, with the thin plate ``K = L M^-1 L``.

    Ordering and symbolic analysis are paid here, once.  `ElasticSolver` holds what changes.

    Nothing is factorised that couples more than neighbours.  Where ``w = M``, an eigenvalue x of
    ``sqrt(alpha) M^-1 L`` becomes ``1 + x^2`` in the plate and ``(1 + x)^2``, at most twice as
    much, in the square of the membrane ``sqrt(alpha) L + M``.  So ``B M^-1 B`` with
    ``B = sqrt(alpha) L + sqrt(M diag(w))`` preconditions conjugate gradients at any stiffness;
    where weights are zero, see `factorize`.  A factor of B has a third of the entries of one of the
    plate and is made in a seventh of the time, for 4 iterations to a few per cent (measured, with
    up to a quarter of the vertices in holes).  Our own.

    Parameters
    ----------
    L : (n, n) csc_array
        Symmetric, rows sum to zero, whole diagonal stored: of `cotangent_laplacian`.
    mass : (n,) float64
        Positive; where it is divided by a number, the plate is as many times stiffer.
    coordinates : (n, 3) array_like of float, optional
        Vertex positions, for a better ordering.
    backend : {"numba", "cholmod", "scipy"}, optional
        `default_backend()` if not given.

    Raises
    ------
    InputError
        If L or the mass cannot be those of a mesh.

    Examples
    --------
    >>> from licp.laplacian import cotangent_laplacian
    >>> import numpy as np
    >>> V = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.0]])
    >>> system = ElasticSystem(*cotangent_laplacian(V, [[0, 1, 2], [0, 2, 3]]), V)
    >>> system.n
    4
    """

    def __init__(
        self,
        L: sparse.csc_array,
        mass: NDArray[np.float64],
        coordinates: ArrayLike | None = None,
        backend: Backend | None = None,
    ) -> None:
        self.L = L
        self.mass = mass
        self.coordinates = coordinates
        self.analysis = Analysis(L, coordinates, backend)
        n = self.analysis.n
        if mass.shape != (n,) or not (np.isfinite(mass).all() and (mass > 0.0).all()):
            raise InputError(f"mass must be {n} positive, finite numbers")
        self._rows = unsigned(L.indptr, L.indices)
        self._at = self.analysis.diagonal_at
        if not (np.isfinite(L.data).all() and (L.data[self._at] >= 0.0).all()):
            raise InputError("L must be finite with a diagonal that is nowhere negative")
        column = np.repeat(np.arange(n), np.diff(L.indptr))
        stiffness = np.bincount(column, L.data**2 / mass[L.indices], minlength=n)
        self._stiffness_at = stiffness
        count, component = sparse.csgraph.connected_components(L, directed=False)
        self._component = component
        self._size = np.bincount(component, minlength=count)
        self._stiffness = np.bincount(component, weights=stiffness, minlength=count) / self._size
        # Vertices in no face have no stiffness of their own.
        self._hold = np.where(self._stiffness > 0.0, self._stiffness, stiffness.mean() or 1.0)

    def __reduce__(self) -> tuple[Any, ...]:
        return ElasticSystem, (self.L, self.mass, self.coordinates, self.analysis.backend)

    @property
    def n(self) -> int:
        """Number of vertices."""
        return self.analysis.n

    def diagonal(self, alpha: float, added: NDArray[np.float64]) -> NDArray[np.float64]:
        """Diagonal of ``alpha K + diag(added)``, (n,)."""
        diagonal: NDArray[np.float64] = alpha * self._stiffness_at + added
        return diagonal

    def ridge(self, alpha: float, w: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weight that holds components without weights of their own, (n,); zero for others.

        Raises
        ------
        SolverError
            There are weights, but all so small that rounding of ``alpha K`` hides them, or some so
            large that theirs hides ``alpha K``.
        """
        mean = np.bincount(self._component, weights=w, minlength=len(self._size)) / self._size
        hidden = mean <= _LEAST_WEIGHT * alpha * self._stiffness
        if hidden.all() and mean.any():
            best = np.max(mean / (_LEAST_WEIGHT * self._hold))
            raise SolverError(
                f"alpha = {alpha:g} is too stiff for the weights (mean {w.mean():g}): use at most "
                f"{0.9 * best:.2g}, or more or larger weights"
            )
        least = np.max(mean / (_MOST_WEIGHT * self._hold))
        if alpha < least:
            raise SolverError(
                f"alpha = {alpha:g} is too soft for the weights (mean {w.mean():g}): use at least "
                f"{1.1 * least:.2g}, or smaller weights"
            )
        ridge: NDArray[np.float64] = np.where(hidden, _RIDGE * alpha * self._hold, 0.0)[
            self._component
        ]
        return ridge

    def factorize(self, alpha: float, diagonal: NDArray[np.float64]) -> Factor:
        """Factorise the membrane ``B`` whose square ``B M^-1 B`` is near ``alpha K + diag``."""
        L, mass = self.L, self.mass
        held = diagonal > 0.0
        length = (alpha * mass[held].sum() / diagonal[held].sum()) ** 0.25
        away = _rings(L.indptr, L.indices, held) * np.sqrt(mass) + _RIM * length
        clamped = _CLAMP * np.sqrt(alpha) * mass / away**2
        data = np.sqrt(alpha) * L.data
        data[self._at] += np.where(held, np.sqrt(diagonal * mass), clamped)
        return self.analysis.factorize(sparse.csc_array((data, L.indices, L.indptr), shape=L.shape))

    def apply(
        self,
        alpha: float,
        diagonal: NDArray[np.float64],
        along: NDArray[np.float64],
        X: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """``(alpha K + diag(diagonal) + along along') X`` for `X` and `along` of shape (n, 3)."""
        out: NDArray[np.float64] = _apply(
            *self._rows, self.L.data, self.mass, alpha, diagonal, along, X
        )
        return out


@dataclass(frozen=True)
class SolveInfo:
    """How a system was solved.

    Attributes
    ----------
    iterations : int
        Applications of a factor, those of a factor that was then given up included.
    refactored : bool
        Whether a new factor was made.
    residual : float
        Estimated error in the energy norm, relative to the solution.
    """

    iterations: int
    refactored: bool
    residual: float


class ElasticSolver:
    """Solves a sequence of slowly changing systems ``(alpha K + diag(w)) X = B``.

    Weights may count more along one direction at each vertex, its normal: factors know only
    scalars, but conjugate gradients do not mind.

    The factor of an earlier matrix preconditions conjugate gradients on the present one, which is
    always the one that is solved.  A new factor is made when iterating would cost more (see
    `solve`); that is decided by counting, never by a clock, so results are reproducible.
    One solver per thread; `system` may be shared.

    Parameters
    ----------
    system : ElasticSystem

    Examples
    --------
    >>> from licp.laplacian import cotangent_laplacian
    >>> import numpy as np
    >>> V = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.0]])
    >>> solver = ElasticSolver(ElasticSystem(*cotangent_laplacian(V, [[0, 1, 2], [0, 2, 3]]), V))
    >>> for alpha in (1.0, 0.5):
    ...     X, info = solver.solve(alpha, np.array([1.0, 0, 0, 0]), np.eye(4, 3))
    ...     print(info.refactored, bool(np.allclose(X[:, 0], 1.0, atol=1e-2)))
    True True
    False True
    """

    def __init__(self, system: ElasticSystem) -> None:
        self.system = system
        self._factor: Factor | None = None
        self._kept_diagonal = np.empty(0)
        self._last = np.empty(0), 1.0
        self._fresh = 0
        self._spent = 0
        self._solves = 0
        self._ahead = False  # a factor that `expect` made, which has solved nothing

    def expect(self, alpha: float, tol: float = 1e-3) -> None:
        """Be ready for a system of this stiffness whose weights are about those of the last one.

        Makes a new factor if the kept one would be worn out, so that this may be done elsewhere
        while the weights are still being found.  Nothing happens before the first `solve`, or
        where it was called already.

        Parameters
        ----------
        alpha, tol
            Of the next `solve`.
        """
        full, slack = self._last
        if self._ahead or self._factor is None:
            return
        if self._outworn(alpha, full, slack, tol):
            self._renew(alpha, full)
            self._ahead = True

    def solve(
        self,
        alpha: float,
        w: NDArray[np.float64],
        B: NDArray[np.float64],
        tol: float = 1e-3,
        guess: NDArray[np.float64] | None = None,
        along: NDArray[np.float64] | None = None,
    ) -> tuple[NDArray[np.float64], SolveInfo]:
        """Solve ``(alpha K + diag(w)) X = B``.

        The kept square M, rescaled to the diagonal of the present matrix A, is judged by
        ``t = M^-1 w``, which is about one everywhere for a new one because K takes constants to
        zero.  Where weights came or went over a region that is wide against the stiffness, and
        where alpha changed, t is about the eigenvalue of ``M^-1 A`` for smooth displacements; for
        rough ones it is near one.  That, and the factor of two between a plate and the square of a
        membrane, bounds the condition number, hence the iterations; if more are expected than a
        solve cost on average since the factor was made, its making included, a new one is made.  A
        residual alone would not do: it hardly sees the error inside a region that lost its weights.

        Parameters
        ----------
        alpha : float
            Stiffness, positive.
        w : (n,) float64
            Weights, not negative; zeros are fine.  A component without any is held where it is,
            by the least ridge that makes it solvable.
        B : (n, 3) float64
            Right-hand sides.
        tol : float
            Energy norm of the error over that of the solution, 1e-10 to 1.  At soft stages the
            error of single vertices without weight may be hundreds of times that, relative to the
            largest displacement (up to 710 on a sphere of 642 vertices), hence the default.
        guess : (n, 3) float64, optional
            Where to start, zero by default.
        along : (n, 3) float64, optional
            Directions at the vertices, of the length of the root of the weight that is added
            along them; none by default.

        Returns
        -------
        X : (n, 3) float64
        info : SolveInfo

        Raises
        ------
        InputError
            An argument has the wrong shape or range.
        SolverError
            `alpha` is too stiff or too soft for the weights, the matrix is not positive definite to
            rounding, or `tol` cannot be reached.
        """
        n = self.system.n
        if not (np.isfinite(alpha) and alpha > 0.0):
            raise InputError(f"alpha must be positive and finite, not {alpha}")
        if not 1e-10 <= tol < 1.0:
            raise InputError(f"tol must be in [1e-10, 1), not {tol}")
        if w.shape != (n,) or not (np.isfinite(w) & (w >= 0.0)).all():
            raise InputError(f"w must be {n} finite weights, none negative")
        for name, array in (("B", B), ("guess", guess), ("along", along)):
            if array is not None and (array.shape != (n, 3) or not np.isfinite(array).all()):
                raise InputError(f"{name} must be a finite array of shape ({n}, 3)")
        diagonal = w + self.system.ridge(alpha, w)
        if along is None:
            along = np.zeros((n, 3))
        # Factors are of the weights along the directions, which are the larger ones.
        full = diagonal + np.einsum("ij,ij->i", along, along)
        slack = float((diagonal[full > 0.0] / full[full > 0.0]).min(initial=1.0))
        X = np.zeros((n, 3)) if guess is None else np.array(guess, dtype=np.float64, order="C")

        self._last = full, slack
        ahead, self._ahead = self._ahead, False
        spent, residual = 0, np.inf
        if ahead or (self._factor is not None and not self._outworn(alpha, full, slack, tol)):
            # No longer than a new factor and solving with it would take.
            limit = _FACTOR_COST + self._fresh
            spent, residual = self._iterate(alpha, diagonal, along, full, B, X, tol, limit)
            self._spent += spent
            self._solves += 1
        if residual <= tol:
            if ahead:
                self._fresh = spent
            return X, SolveInfo(spent, ahead, residual)

        self._renew(alpha, full)
        fresh, residual = self._iterate(alpha, diagonal, along, full, B, X, tol, _FRESH_LIMIT)
        self._fresh, self._spent, self._solves = fresh, self._spent + fresh, 1
        if not residual <= tol:
            raise SolverError(
                f"a fresh factor leaves an error of {residual:.1e} where {tol:.1e} was asked for: "
                f"alpha = {alpha:g} is out of scale with the weights (mean {w.mean():g})"
            )
        return X, SolveInfo(spent + fresh, True, residual)

    def _renew(self, alpha: float, full: NDArray[np.float64]) -> None:
        """A factor of this matrix instead of the kept one."""
        self._factor = self.system.factorize(alpha, full)
        self._kept_diagonal = self.system.diagonal(alpha, full)
        self._spent, self._solves = _FACTOR_COST, 0

    def _rescale(self, alpha: float, diagonal: NDArray[np.float64]) -> NDArray[np.float64]:
        """Factors (n,) that give M the diagonal of the present matrix.

        They undo the change of alpha for rough modes and of single weights at low stiffness.
        """
        scale: NDArray[np.float64] = np.sqrt(
            self._kept_diagonal / self.system.diagonal(alpha, diagonal)
        )
        return scale

    def _outworn(self, alpha: float, full: NDArray[np.float64], slack: float, tol: float) -> bool:
        """Whether the kept factor is expected to cost more than the average since it was made.

        ``slack`` is the least part of the weights that counts in all directions.
        """
        assert self._factor is not None
        t = self._factor.solve_twice(self.system.mass, self._rescale(alpha, full), full)
        # Half: what the square of a membrane differs from a plate.
        low, high = 0.5 * slack * min(1.0, float(t.min())), max(1.0, float(t.max()))
        if low <= 0.0:
            return True
        root = np.sqrt(high / low)
        # A third (measured; solves of a morph are loose and start near the solution) of
        # Chebyshev's bound on the iterations of conjugate gradients.
        expected = 1.0
        if root > 1.0:
            expected = 0.35 * np.log(2.0 / tol) / np.log((root + 1.0) / (root - 1.0))
        return bool(expected > self._spent / self._solves)

    def _iterate(
        self,
        alpha: float,
        diagonal: NDArray[np.float64],
        along: NDArray[np.float64],
        full: NDArray[np.float64],
        B: NDArray[np.float64],
        X: NDArray[np.float64],
        tol: float,
        limit: int,
    ) -> tuple[int, float]:
        """Preconditioned conjugate gradients on `X`, in place; iterations and error estimate."""
        assert self._factor is not None
        apply = self.system.apply
        R = np.array(B, dtype=np.float64, order="C")
        if X.any():
            R -= apply(alpha, diagonal, along, X)
        around, mass = self._rescale(alpha, full), self.system.mass
        P = np.zeros_like(X)
        # One step for all columns, which weights along directions couple; so iterates turn with
        # the surface.
        rz_old = np.inf
        rr = float(np.vdot(R, R))
        for iteration in range(limit):
            if rr == 0.0:
                return iteration, 0.0
            Z = self._factor.solve_twice(mass, around, R)
            rz = float(np.vdot(R, Z))
            P *= rz / rz_old
            P += Z
            Q = apply(alpha, diagonal, along, P)
            pq = float(np.vdot(P, Q))
            if not (rz > 0.0 and pq > 0.0):
                return iteration + 1, np.inf
            step = rz / pq
            rz_old, rr_old = rz, rr
            rr, energy = _advance(X, R, P, Q, B, step)
            # `step * rz` is exactly how much the squared energy of the error fell, so nearly
            # its value before the step; the residual tells by how much the step cut it.
            if energy > 0.0:
                error = np.sqrt(step * rz / energy * min(rr / rr_old, 1.0))
                if error <= tol:
                    return iteration + 1, float(error)
        return limit, np.inf
