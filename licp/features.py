"""Curvature-like features that stay with the anatomy when the surface moves."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from licp.compiled import kernel
from licp.geometry import unsigned
from licp.laplacian import cotangent_laplacian
from licp.surface import Surface
from licp.threads import ALONE, Crew

__all__ = ["FEATURE_SCALES", "HeatCurvature"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Radii of the heat kernels in parts of the template's size (the root of its area, 400 mm for a
# head with neck): 4 and 12 mm.  Ears and lips at one end, brow and chin at the other; a third one
# between or beyond them tells nothing more.
FEATURE_SCALES = (0.01, 0.03)

# Accuracy of a heat step, relative.  Fits do not tell 6e-3 from 5e-2: noise and connectivity
# change the features by far more.
_ACCURACY = 2e-2
# Iterations of a heat step: radii of a few spacings need 5 to 40.  Only slivers ask for more, and
# what they leave unsolved is their own.
_LIMIT = 400


class HeatCurvature:
    """How far a surface lies below or above its own heat-smoothed self, at several scales.

    With ``H_s = (M + s^2/4 L)^-1 M`` (one implicit step of the heat flow) the feature of scale
    ``s`` is ``clip(((H_s V) - V) . N / s, -1, 1)``: about ``s/4`` times the sum of the principal
    curvatures, negative on bumps, positive in hollows.  Our own; unchanged by rigid motion.

    The radii are a few vertex spacings, so diagonally preconditioned conjugate gradients need
    few steps; a factorisation would cost more than all of them.

    Parameters
    ----------
    vertices : (n, 3) float64
        The shape the heat flows on; fixed while a template deforms.
    faces : (m, 3) int64
    scales : sequence of float
        Radii in the unit of the vertices.

    Examples
    --------
    >>> import trimesh
    >>> ball = trimesh.creation.icosphere(3)
    >>> h = HeatCurvature(ball.vertices, ball.faces, [0.2]).of(ball.vertices, ball.vertex_normals)
    >>> h.shape, bool((abs(h + 0.2 / 2) < 0.02).all())
    ((642, 1), True)
    """

    def __init__(
        self,
        vertices: Floats,
        faces: Ints,
        scales: "tuple[float, ...] | list[float]" = FEATURE_SCALES,
    ) -> None:
        self._set(*cotangent_laplacian(vertices, faces), scales)

    @classmethod
    def on(
        cls, surface: Surface, scales: "tuple[float, ...] | list[float]" = FEATURE_SCALES
    ) -> "HeatCurvature":
        """Of a surface, whose Laplacian may be known."""
        heat = object.__new__(cls)
        heat._set(*surface.laplacian, scales)
        return heat

    def _set(
        self, L: sparse.csc_array, mass: Floats, scales: "tuple[float, ...] | list[float]"
    ) -> None:
        self._rows = *unsigned(L.indptr, L.indices), L.data
        self._mass = mass
        self._scales = tuple(scales)

    def of(
        self,
        vertices: Floats,
        normals: Floats,
        crew: Crew = ALONE,
        accuracy: float = _ACCURACY,
    ) -> Floats:
        """Features (n, len(scales)) of the surface with its vertices at ``vertices``.

        The crew shares the scales, widest first.  The accuracy is that of a heat
        step, relative to all of it.
        """

        def feature(s: float) -> Floats:
            flow: Floats = np.einsum("ij,ij->i", self._flow(vertices, s, accuracy), normals) / s
            return flow

        columns = crew.share(feature, self._scales[::-1])[::-1]
        return np.clip(np.stack(columns, 1), -1.0, 1.0)

    def spread(
        self, values: Floats, radius: float | None = None, accuracy: float = _ACCURACY
    ) -> Floats:
        """Heat-smoothed values (n,), at the largest scale if no radius is given."""
        columns = np.repeat(values[:, None], 3, axis=1)
        s = self._scales[-1] if radius is None else radius
        smooth: Floats = values + self._flow(columns, s, accuracy)[:, 0]
        return smooth

    def _flow(self, values: Floats, s: float, accuracy: float) -> Floats:
        """How a heat step of radius ``s`` changes values (n, 3)."""
        flow: Floats = _heat_step(
            *self._rows, self._mass, 0.25 * s * s,
            np.ascontiguousarray(values, np.float64), accuracy, _LIMIT,
        )  # fmt: skip
        return flow


@kernel
def _heat_step(
    indptr: Any, indices: Any, data: Any, mass: Any, c: float, V: Any, accuracy: float, limit: int
) -> Any:
    """``U`` with ``(M + c L) U = -c L V`` (n, 3), by conjugate gradients.

    All columns share one step, so the iterates turn with the surface.
    """
    n = len(V)
    U, R, P, Q = np.zeros((n, 3)), np.empty((n, 3)), np.zeros((n, 3)), np.empty((n, 3))
    inverse = np.empty(n)
    old = 0.0
    for i in range(n):
        x, y, z, own = 0.0, 0.0, 0.0, 0.0
        for e in range(indptr[i], indptr[i + 1]):
            j, value = indices[e], -c * data[e]
            if j == i:
                own = -value
            x += value * V[j, 0]
            y += value * V[j, 1]
            z += value * V[j, 2]
        R[i, 0], R[i, 1], R[i, 2] = x, y, z
        inverse[i] = 1.0 / (mass[i] + own)
        old += (x * x + y * y + z * z) * inverse[i]
    enough = accuracy * accuracy * old
    beta = 0.0
    for _ in range(limit):
        if old <= enough:
            break
        for i in range(n):
            w = inverse[i]
            P[i, 0] = R[i, 0] * w + beta * P[i, 0]
            P[i, 1] = R[i, 1] * w + beta * P[i, 1]
            P[i, 2] = R[i, 2] * w + beta * P[i, 2]
        bent = 0.0
        for i in range(n):
            x, y, z = mass[i] * P[i, 0], mass[i] * P[i, 1], mass[i] * P[i, 2]
            for e in range(indptr[i], indptr[i + 1]):
                j, value = indices[e], c * data[e]
                x += value * P[j, 0]
                y += value * P[j, 1]
                z += value * P[j, 2]
            Q[i, 0], Q[i, 1], Q[i, 2] = x, y, z
            bent += x * P[i, 0] + y * P[i, 1] + z * P[i, 2]
        if not bent > 0.0:
            break
        step, new = old / bent, 0.0
        for i in range(n):
            U[i, 0] += step * P[i, 0]
            U[i, 1] += step * P[i, 1]
            U[i, 2] += step * P[i, 2]
            x, y, z = R[i, 0] - step * Q[i, 0], R[i, 1] - step * Q[i, 1], R[i, 2] - step * Q[i, 2]
            R[i, 0], R[i, 1], R[i, 2] = x, y, z
            new += (x * x + y * y + z * z) * inverse[i]
        beta, old = new / old, new
    return U
