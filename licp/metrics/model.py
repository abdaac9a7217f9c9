"""Quality of the shape model that registrations make: compactness, generalisation, specificity.

Good correspondence gives a model with few modes that describe unseen heads and make up plausible
ones (the three criteria of R. H. Davies, "Learning shape: optimal models for analysing natural
variability", 2002).  Shapes are aligned by generalised Procrustes analysis and described by
principal components; distances are means over vertices, in the unit of the aligned shapes.

All three favour a registration that smooths everything away: read them beside the distances to
the scans.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from licp.errors import InputError
from licp.similarity import fit_similarities

__all__ = ["ModelQuality", "model_quality", "procrustes"]

Floats = NDArray[np.float64]

# Rounds of Procrustes analysis: the mean of heads settles to 1e-6 of their size in 3 or 4.
_ROUNDS = 10


@dataclass(frozen=True, eq=False)
class ModelQuality:
    """What :func:`model_quality` returns, for 1, 2, ... k modes.

    Attributes
    ----------
    compactness : (k,) float64
        Part of the total variance that the first modes hold, 0 to 1; higher is better.
    generalisation : (k,) float64
        Mean vertex distance between a shape and its reconstruction by a model made without it;
        lower is better.
    specificity : (k,) float64
        Mean vertex distance between random shapes of the model and the real one that is closest
        (in root mean square); lower is better.
    variance : float
        Total variance: mean squared vertex distance to the mean shape.
    """

    compactness: Floats
    generalisation: Floats
    specificity: Floats
    variance: float

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, ready for JSON."""
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in vars(self).items()
        }


def procrustes(shapes: ArrayLike, *, with_scale: bool = False) -> Floats:
    """Generalised Procrustes analysis: shapes moved to where they agree best.

    Parameters
    ----------
    shapes : (s, n, 3) float
        In correspondence.
    with_scale : bool
        Whether sizes are fitted, too, about that of the first one.

    Returns
    -------
    (s, n, 3) float64
        In the frame of the first shape.

    Raises
    ------
    InputError
        If the shapes are not finite or of another form.
    """
    X = _shapes(shapes)
    mean = X[:1]
    ones = np.ones((1, X.shape[1]))
    size = np.linalg.norm(mean - mean.mean(1, keepdims=True))
    moved = X
    for _ in range(_ROUNDS):
        scale, R, t = fit_similarities(X, mean, ones.repeat(len(X), 0), with_scale)
        moved = scale[:, None, None] * (X @ np.swapaxes(R, 1, 2)) + t[:, None]
        new = moved.mean(0, keepdims=True)
        if with_scale:  # else all would shrink, round by round
            middle = new.mean(1, keepdims=True)
            new = middle + (new - middle) * (size / np.linalg.norm(new - middle))
        step, mean = np.linalg.norm(new - mean), new
        if step < 1e-6 * size:
            break
    return moved


def model_quality(
    shapes: ArrayLike,
    *,
    modes: int = 20,
    samples: int = 500,
    folds: int | None = None,
    seed: int = 0,
) -> ModelQuality:
    """Compactness, generalisation and specificity of the shapes' principal components.

    Parameters
    ----------
    shapes : (s, n, 3) float
        Aligned (:func:`procrustes`) and in correspondence, at least three.
    modes : int
        At most this many; there are never more than the smallest training set allows.
    samples : int
        Random shapes for the specificity.
    folds : int, optional
        Parts that are left out in turn for the generalisation; each shape alone if not given,
        which takes s decompositions.
    seed : int
        Of the random shapes.

    Returns
    -------
    ModelQuality

    Raises
    ------
    InputError
        Fewer than three shapes, numbers that are not positive.

    Examples
    --------
    One way to vary is one mode:

    >>> rng = np.random.default_rng(1)
    >>> base, way = rng.normal(size=(2, 50, 3))
    >>> q = model_quality([base + a * way for a in rng.normal(size=12)], modes=2)
    >>> q.compactness.round(6).tolist(), q.generalisation.round(6).tolist()
    ([1.0, 1.0], [0.0, 0.0])
    """
    X = _shapes(shapes)
    s, n = X.shape[:2]
    if s < 3:
        raise InputError(f"a model needs at least three shapes, got {s}")
    folds = s if folds is None else folds
    if modes < 1 or samples < 1 or not 2 <= folds <= s:
        raise InputError(
            f"modes and samples must be positive, folds 2 to {s}, not {modes}, {samples}, {folds}"
        )
    A = X.reshape(s, -1)
    modes = min(modes, s - int(np.ceil(s / folds)) - 1, 3 * n)
    if modes < 1:
        raise InputError("a fold leaves too few shapes for one mode; take more folds")
    mean, basis, spread = _components(A, modes)
    total = float(((A - mean) ** 2).sum() / s)
    compactness = np.cumsum(spread**2) / total if total > 0 else np.ones(modes)

    generalisation = np.zeros(modes)
    for out in np.array_split(np.arange(s), folds):
        centre, own, _ = _components(np.delete(A, out, 0), modes)
        rest = A[out] - centre
        for k in range(modes):
            rest = rest - np.outer(rest @ own[k], own[k])
            generalisation[k] += np.linalg.norm(rest.reshape(-1, n, 3), axis=2).mean(1).sum()

    specificity = np.zeros(modes)
    weights = np.random.default_rng(seed).normal(size=(samples, modes)) * spread
    own = (A - mean) @ basis.T
    beyond = ((A - mean) ** 2).sum(1)
    for k in range(modes):
        w, c = weights[:, : k + 1], own[:, : k + 1]
        beyond = beyond - own[:, k] ** 2  # what of each real shape these modes do not show
        closest = ((w[:, None] - c[None]) ** 2).sum(2) + beyond
        for at, to in zip(w, np.argmin(closest, 1), strict=True):
            gap = (mean + at @ basis[: k + 1] - A[to]).reshape(n, 3)
            specificity[k] += np.linalg.norm(gap, axis=1).mean()
    return ModelQuality(
        np.minimum(compactness, 1.0), generalisation / s, specificity / samples, total / n
    )


def _components(A: Floats, count: int) -> tuple[Floats, Floats, Floats]:
    """Mean (d,), unit modes (count, d), and standard deviations along them."""
    mean = A.mean(0)
    B = A - mean
    # The Gram matrix is small where there are more coordinates than shapes.
    values, vectors = np.linalg.eigh(B @ B.T)
    order = np.argsort(-values, kind="stable")[:count]
    values = np.maximum(values[order], 0.0)
    modes = vectors[:, order].T @ B
    length = np.linalg.norm(modes, axis=1)
    real = length > 1e-9 * max(float(length.max(initial=0.0)), 1e-300)
    modes[real] /= length[real, None]
    modes[~real] = 0.0
    return mean, modes, np.sqrt(np.where(real, values, 0.0) / len(A))


def _shapes(shapes: ArrayLike) -> Floats:
    try:
        X = np.asarray(shapes, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"shapes must have equally many vertices each: {error}") from error
    if X.ndim != 3 or X.shape[2] != 3 or 0 in X.shape:
        raise InputError(f"shapes must have shape (s, n, 3), not {X.shape}")
    if not np.isfinite(X).all():
        bad = np.flatnonzero(~np.isfinite(X).all((1, 2)))
        raise InputError(f"{len(bad)} shapes are not finite (first: shape {bad[0]})")
    return X
