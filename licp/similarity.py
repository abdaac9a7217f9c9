"""Similarity transforms: rotation, uniform scale and translation."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from licp.errors import InputError

__all__ = ["Similarity", "fit_similarities", "fit_similarity", "similarities_of_moments"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Similarity:
    """The map ``x -> scale * rotation @ x + translation``.

    Parameters
    ----------
    scale : float
        Positive.
    rotation : (3, 3) float
        Proper rotation.
    translation : (3,) float
        In the unit of the frame that is mapped to.

    Raises
    ------
    InputError
        If a part has the wrong shape, is not finite, or the rotation is not one (a reflection,
        a shear).

    Examples
    --------
    >>> move = Similarity(2.0, np.eye(3), np.array([1.0, 0.0, 0.0]))
    >>> move.apply([[1.0, 1.0, 1.0]]).tolist()
    [[3.0, 2.0, 2.0]]
    >>> move.inverse().apply(move.apply([[1.0, 1.0, 1.0]])).tolist()
    [[1.0, 1.0, 1.0]]
    """

    scale: float
    rotation: Floats
    translation: Floats

    def __post_init__(self) -> None:
        """Check and copy everything."""
        put = object.__setattr__
        try:
            put(self, "scale", float(self.scale))
            put(self, "rotation", np.array(self.rotation, np.float64))
            put(self, "translation", np.array(self.translation, np.float64))
        except (TypeError, ValueError) as error:
            raise InputError(f"a similarity needs numbers: {error}") from error
        if self.rotation.shape != (3, 3) or self.translation.shape != (3,):
            raise InputError(
                "a similarity needs a rotation of shape (3, 3) and a translation of shape (3,), "
                f"not {self.rotation.shape} and {self.translation.shape}"
            )
        if not (
            np.isfinite(self.scale)
            and np.isfinite(self.rotation).all()
            and np.isfinite(self.translation).all()
        ):
            raise InputError("a similarity must be finite")
        if self.scale <= 0:
            raise InputError(f"the scale of a similarity must be positive, not {self.scale}")
        if (
            np.abs(self.rotation @ self.rotation.T - np.eye(3)).max() > 1e-6
            or np.linalg.det(self.rotation) < 0
        ):
            raise InputError("the rotation of a similarity must be orthogonal with determinant +1")

    @classmethod
    def identity(cls) -> "Similarity":
        """Nothing moves."""
        return cls(1.0, np.eye(3), np.zeros(3))

    @classmethod
    def from_matrix(cls, matrix: ArrayLike) -> "Similarity":
        """From a homogeneous matrix (4, 4) without shear or reflection."""
        try:
            M = np.asarray(matrix, np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"not a similarity, nor a matrix of numbers: {error}") from error
        if M.shape != (4, 4) or not np.isfinite(M).all() or not np.allclose(M[3], (0, 0, 0, 1)):
            raise InputError("a similarity matrix has shape (4, 4) and last row 0 0 0 1")
        scale = float(np.cbrt(np.linalg.det(M[:3, :3])))
        if scale <= 0:
            raise InputError("the matrix is singular or holds a reflection")
        return cls(scale, M[:3, :3] / scale, M[:3, 3])

    def matrix(self) -> Floats:
        """Homogeneous matrix (4, 4)."""
        M = np.eye(4)
        M[:3, :3] = self.scale * self.rotation
        M[:3, 3] = self.translation
        return M

    def apply(self, points: ArrayLike) -> Floats:
        """Move points (n, 3)."""
        P: Floats = self.scale * np.asarray(points, np.float64) @ self.rotation.T
        return P + self.translation

    def rotate(self, directions: ArrayLike) -> Floats:
        """Turn directions (n, 3), such as normals."""
        D: Floats = np.asarray(directions, np.float64) @ self.rotation.T
        return D

    def inverse(self) -> "Similarity":
        """The map back."""
        back = self.rotation.T / self.scale
        return Similarity(1.0 / self.scale, self.rotation.T, -back @ self.translation)

    def after(self, first: "Similarity") -> "Similarity":
        """The map that does ``first``, then this one."""
        return Similarity(
            self.scale * first.scale,
            self.rotation @ first.rotation,
            self.scale * self.rotation @ first.translation + self.translation,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, ready for JSON."""
        return {
            "scale": self.scale,
            "rotation": self.rotation.tolist(),
            "translation": self.translation.tolist(),
        }


def fit_similarities(
    source: Floats, target: Floats, weights: Floats, with_scale: bool = True
) -> tuple[Floats, Floats, Floats]:
    """Weighted least-squares similarities of many point sets at once.

    Parameters
    ----------
    source, target : (c, n, 3) float64
        Pairs of points; either may have a first axis of length 1.
    weights : (c, n) float64
        Not negative, not all zero.
    with_scale : bool
        False keeps the scale 1.

    Returns
    -------
    scale : (c,)
    rotation : (c, 3, 3)
    translation : (c, 3)

    Notes
    -----
    Closed form by singular value decomposition (Umeyama 1991).
    """
    w = weights / weights.sum(1, keepdims=True)
    a0 = (w[:, None, :] @ source)[:, 0]
    b0 = (w[:, None, :] @ target)[:, 0]
    a, b = source - a0[:, None], target - b0[:, None]
    cross = np.swapaxes(b * w[:, :, None], 1, 2) @ a
    return similarities_of_moments(a0, b0, cross, (w * (a**2).sum(2)).sum(1), with_scale)


def similarities_of_moments(
    source: Floats, target: Floats, cross: Floats, spread: Floats, with_scale: bool = True
) -> tuple[Floats, Floats, Floats]:
    """What :func:`fit_similarities` returns, from weighted means over the points of each set.

    Parameters
    ----------
    source, target : (c, 3) float64
        Of the points.
    cross : (c, 3, 3) float64
        Of the products of their deviations, target by source.
    spread : (c,) float64
        Of the squared deviation of source points.
    with_scale : bool
        False keeps the scale 1.
    """
    U, S, Vt = np.linalg.svd(cross)
    sign = np.where(np.linalg.det(U @ Vt) < 0, -1.0, 1.0)
    U[:, :, 2] *= sign[:, None]
    R = U @ Vt
    gain = S[:, 0] + S[:, 1] + sign * S[:, 2]
    scale = np.where(spread > 0, gain / np.where(spread > 0, spread, 1.0), 1.0)
    if not with_scale:
        scale = np.ones_like(scale)
    t = target - scale[:, None] * (R @ source[:, :, None])[:, :, 0]
    return scale, R, t


def fit_similarity(
    source: ArrayLike, target: ArrayLike, weights: ArrayLike | None = None, with_scale: bool = True
) -> Similarity:
    """Weighted least-squares similarity that carries one point set to another.

    Parameters
    ----------
    source, target : (n, 3) float
        Pairs of points.
    weights : (n,) float, optional
        Not negative; all one if not given.
    with_scale : bool
        False keeps the scale 1.

    Raises
    ------
    InputError
        If the points do not determine a similarity (all in one place).

    Examples
    --------
    >>> a = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    >>> fit_similarity(a, 3.0 * a + 1.0).scale.__round__(6)
    3.0
    """
    A = np.asarray(source, np.float64)[None]
    B = np.asarray(target, np.float64)[None]
    w = np.ones(A.shape[:2]) if weights is None else np.asarray(weights, np.float64)[None]
    if not (np.isfinite(w).all() and (w >= 0).all() and w.any()):
        raise InputError("weights must be finite, not negative and not all zero")
    scale, R, t = fit_similarities(A, B, w, with_scale)
    # Nine digits of each coordinate are enough to tell a spread from rounding.
    spread = [
        np.sqrt(np.average((P[0] - np.average(P[0], 0, w[0])) ** 2, 0, w[0]).sum()) for P in (A, B)
    ]
    extent = [np.abs(P[0][w[0] > 0]).max() for P in (A, B)]
    if not all(s > 1e-9 * e for s, e in zip(spread, extent, strict=True)) or not scale[0] > 0:
        raise InputError("the points lie in one place and determine no similarity")
    return Similarity(float(scale[0]), R[0], t[0])
