"""What is known of each template vertex before it moves."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

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
        Weight of its match: what its area counts for, times what the caller says.
    bending : (n,) float64
        Factor on the bending stiffness.
    reach : (n,) float64
        Longest residual.
    free : (n,) bool
        Whether it may match.
    beyond : (n,) bool
        Whether it lies beyond the rim of the scan, and so must not match.
    labels : (n,) int64 or None
    normals : (n, 3) float64
        Of the whole template, undeformed.
    features : (n, k) float64
        Curvature of the whole template, undeformed.
    sets : mapping of tuple of str to (n,) int64
        For each ``Stage.sets`` of the schedule, the number of the one that each vertex is in.
    """

    trust: Floats
    bending: Floats
    reach: Floats
    free: Bools
    beyond: Bools
    labels: Ints | None
    normals: Floats
    features: Floats
    sets: Mapping[tuple[str, ...], Ints] = field(default_factory=dict)

    def trusting(self, factor: Floats) -> "Traits":
        """With the trust in each match times a factor (n,); what is not trusted is not free."""
        return replace(self, trust=self.trust * factor, free=self.free & (factor > 0))

    def showing(self, near: Bools) -> "Traits":
        """Where only these (n,) do not lie beyond the rim of the scan."""
        return replace(self, beyond=~near)

    def on(self, coarse: Coarsening) -> "Traits":
        """Those of the kept vertices, which speak for their cells."""
        kept, pulls = coarse.kept, self.free & ~self.beyond
        count = coarse.gathered(np.ones(len(self.trust)))
        return Traits(
            coarse.gathered(np.where(pulls, self.trust, 0.0)),
            coarse.gathered(self.bending) / count,
            self.reach[kept],
            coarse.gathered(self.free.astype(np.float64)) > 0,
            coarse.gathered((~self.beyond).astype(np.float64)) == 0,
            None if self.labels is None else self.labels[kept],
            self.normals[kept],
            self.features[kept],
            {names: own[kept] for names, own in self.sets.items()},
        )
