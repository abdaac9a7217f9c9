"""Directions in space: evenly spread ones, and the axes that points have of their own."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from licp.compiled import kernel

__all__ = ["along", "even_directions", "own_axes"]

Floats = NDArray[np.float64]

# Principal axes whose variances are closer than this part of the largest, and sides of one whose
# skewness is below this, are told by rounding: then it is the frame that tells.
_ROUND = 1e-3


def even_directions(count: int) -> Floats:
    """Unit vectors that cover the sphere evenly, (count, 3): Fibonacci's spiral.

    Examples
    --------
    >>> bool(np.abs(even_directions(100).mean(0)).max() < 0.01)
    True
    """
    k = np.arange(count) + 0.5
    z = 1.0 - 2.0 * k / count
    turn = np.pi * (1.0 + np.sqrt(5.0)) * k
    ring = np.sqrt(1.0 - z * z)
    return np.stack([ring * np.cos(turn), ring * np.sin(turn), z], 1)


def along(directions: Floats, rows: Floats) -> Floats:
    """Products (d, s) of directions and rows; not of BLAS, whose threads would stay awake."""
    x, y, z = rows.T
    products: Floats = directions[:, :1] * x
    products += directions[:, 1:2] * y
    products += directions[:, 2:] * z
    return products


def own_axes(points: Floats, weights: Floats | None = None) -> Floats:
    """Principal axes of points, as the rows of a rotation (3, 3) into their own frame.

    They turn with the points; along the two that are most skewed, what reaches further lies above.
    Of what has no such axes (a ball), those of the frame.

    Parameters
    ----------
    points : (n, 3) float64
        Any unit.
    weights : (n,) float64, optional
        One each if not given.

    Examples
    --------
    >>> points = np.random.default_rng(0).gamma(1.0, [3.0, 2.0, 1.0], (1000, 3))
    >>> turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    >>> bool(np.allclose(own_axes(points @ turn.T), own_axes(points) @ turn.T))
    True
    """
    if len(points) < 4:
        return np.eye(3)
    w = np.ones(len(points)) if weights is None else weights
    mean, covariance = _spread(points, w)
    variances, axes = np.linalg.eigh(covariance)
    if not (np.diff(variances) > _ROUND * variances[-1]).all():
        return np.eye(3)
    axes = axes.T.copy()
    skewness = _third_moments(points, w, mean, axes) / variances**1.5
    upright = np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], 1)[:, 0]
    axes *= np.where(np.abs(skewness) > _ROUND, np.sign(skewness), np.sign(upright))[:, None]
    # Left and right of what is symmetric are told by the two others.
    third = int(np.argmin(np.abs(skewness)))
    axes[third] *= np.sign(np.linalg.det(axes))
    return axes


@kernel
def _spread(points: Any, w: Any) -> Any:
    """Weighted mean and covariance of points (n, 3)."""
    mean, square = np.zeros(3), np.zeros((3, 3))
    total = 0.0
    for i in range(len(points)):
        total += w[i]
        for k in range(3):
            mean[k] += w[i] * points[i, k]
    mean /= total
    for i in range(len(points)):
        x, y, z = points[i, 0] - mean[0], points[i, 1] - mean[1], points[i, 2] - mean[2]
        square[0, 0] += w[i] * x * x
        square[1, 0] += w[i] * y * x
        square[1, 1] += w[i] * y * y
        square[2, 0] += w[i] * z * x
        square[2, 1] += w[i] * z * y
        square[2, 2] += w[i] * z * z
    square[0, 1], square[0, 2], square[1, 2] = square[1, 0], square[2, 0], square[2, 1]
    return mean, square / total


@kernel
def _third_moments(points: Any, w: Any, mean: Any, axes: Any) -> Any:
    """Weighted means of the cubes of deviations along each axis, (3,)."""
    cubes = np.zeros(3)
    total = 0.0
    for i in range(len(points)):
        total += w[i]
        x, y, z = points[i, 0] - mean[0], points[i, 1] - mean[1], points[i, 2] - mean[2]
        for k in range(3):
            d = axes[k, 0] * x + axes[k, 1] * y + axes[k, 2] * z
            cubes[k] += w[i] * d * d * d
    return cubes / total
