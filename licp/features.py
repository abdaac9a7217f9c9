"""Curvature-like features that stay with the anatomy when the surface moves."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from licp.laplacian import cotangent_laplacian
from licp.solver import Analysis, Backend

__all__ = ["FEATURE_SCALES", "HeatCurvature"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Radii of the heat kernels in parts of the template's size (the root of its area, 400 mm for a
# head with neck): 4, 8 and 16 mm.  Ears and lips at one end, brow and chin at the other.
FEATURE_SCALES = (0.01, 0.02, 0.04)


class HeatCurvature:
    """How far a surface lies below or above its own heat-smoothed self, at several scales.

    With ``H_s = (M + s^2/4 L)^-1 M`` (one implicit step of the heat flow) the feature of scale
    ``s`` is ``clip(((H_s V) - V) . N / s, -1, 1)``: about ``s/4`` times the sum of the principal
    curvatures, negative on bumps, positive in hollows.  Our own; unchanged by rigid motion.

    Parameters
    ----------
    vertices : (n, 3) float64
        The shape the heat flows on; fixed, so that factors can be kept while a template deforms.
    faces : (m, 3) int64
    scales : sequence of float
        Radii in the unit of the vertices.
    backend : {"cholmod", "scipy"}, optional

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
        backend: Backend | None = None,
    ) -> None:
        self._made_of = (vertices, faces, tuple(scales), backend)
        L, mass = cotangent_laplacian(vertices, faces)
        self._mass = mass[:, None]
        self._scales = tuple(scales)
        analysis = Analysis(L, vertices, backend)
        self._factors = [
            analysis.factorize(sparse.csc_array(L * (0.25 * s * s) + sparse.diags_array(mass)))
            for s in self._scales
        ]

    def __reduce__(self) -> tuple[Any, ...]:
        # Factors live in the memory of their library: the other process makes its own.
        return HeatCurvature, self._made_of

    def of(self, vertices: Floats, normals: Floats) -> Floats:
        """Features (n, len(scales)) of the surface with its vertices at ``vertices``."""
        loaded = self._mass * vertices
        h = np.empty((len(vertices), len(self._scales)))
        for k, (s, factor) in enumerate(zip(self._scales, self._factors, strict=True)):
            smooth = factor.solve(loaded)
            h[:, k] = np.einsum("ij,ij->i", smooth - vertices, normals) / s
        return np.clip(h, -1.0, 1.0, out=h)

    def spread(self, values: Floats) -> Floats:
        """Heat-smoothed values (n,) at the largest scale."""
        smooth: Floats = self._factors[-1].solve(self._mass[:, 0] * values)
        return smooth
