"""What is known of each template vertex before it moves."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from licp.coarsening import Coarsening

__all__ = ["Traits"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Traits:
    """What is said or known of each vertex.

    Attributes
    ----------
    trust : (n,) float64
        Weight of its match: area times what the caller says.
    bending : (n,) float64
        Factor on the bending stiffness.
    reach : (n,) float64
        Longest residual.
    free : (n,) bool
        Whether it may match.
    labels : (n,) int64 or None
    normals : (n, 3) float64
        Of the whole template, undeformed.
    features : (n, k) float64
        Curvature of the whole template, undeformed.
    """

    trust: Floats
    bending: Floats
    reach: Floats
    free: Bools
    labels: Ints | None
    normals: Floats
    features: Floats

    def on(self, coarse: Coarsening) -> "Traits":
        """Those of the kept vertices, which speak for their cells."""
        kept = coarse.kept
        count = coarse.gathered(np.ones(len(self.trust)))
        return Traits(
            coarse.gathered(np.where(self.free, self.trust, 0.0)),
            coarse.gathered(self.bending) / count,
            self.reach[kept],
            self.free[kept],
            None if self.labels is None else self.labels[kept],
            self.normals[kept],
            self.features[kept],
        )
