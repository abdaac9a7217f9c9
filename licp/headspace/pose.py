"""How raw Headspace scans stand."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from licp.errors import DatasetError
from licp.similarity import Similarity

__all__ = ["upright_pose"]

_S = np.sqrt(0.5)
# Rotation by -45 degrees about x, then by -45 degrees about y.
_UPRIGHT: NDArray[np.float64] = np.array([[_S, 0, -_S], [0, 1, 0], [_S, 0, _S]]) @ np.array(
    [[1, 0, 0], [0, _S, _S], [0, -_S, _S]]
)


def upright_pose(vertices: ArrayLike) -> Similarity:
    """The map from the raw frame of a scan to an upright one.

    The scanner's frame is tilted by 45 degrees about two axes. The mean of the vertices becomes
    the origin; x points to the subject's left, y up, z forward. What is left is how the subject
    held the head: up to some 20 degrees.

    Parameters
    ----------
    vertices : (n, 3) float
        Of a raw scan.

    Raises
    ------
    DatasetError
        If there are no vertices or they are not finite.

    Examples
    --------
    >>> pose = upright_pose([[10.0, 0, 0], [11.0, 0, 0]])
    >>> pose.apply([[10.5, 0.0, 0.0]]).round(9).tolist()
    [[0.0, 0.0, 0.0]]
    >>> (pose.rotate([[0.0, 0.5 ** 0.5, 0.5 ** 0.5]]).round(6) + 0.0).tolist()  # upwards
    [[0.0, 1.0, 0.0]]
    """
    V = np.asarray(vertices, np.float64)
    if V.ndim != 2 or V.shape[1] != 3 or not len(V) or not np.isfinite(V).all():
        raise DatasetError(
            f"the pose needs finite vertices of shape (n, 3), not an array of shape {V.shape}"
        )
    return Similarity(1.0, _UPRIGHT, -_UPRIGHT @ V.mean(0))
