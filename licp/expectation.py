"""How far off the vertices of a fit are to be expected.

A fit lies on the scan; what is left of its error is along the surface, where curvature has to tell
which point is which.  Two things that every fit knows decide how far that goes wrong: how much the
curvature of the scan differs from that of the template where they match, which is how much the
heads differ, and how much curvature there is around a vertex to hold on to.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["expected_errors"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# What is around a vertex lies within this radius, 40 mm of 400.  With 24 mm, vertices are ranked
# worse (rank correlation 0.47 to 0.57 instead of 0.51 to 0.59), with 60 mm holes are expected to
# be filled in too well.
_AROUND = 0.1
# Error for each difference of curvature where there is curvature 1; the power by which it falls
# off with more; what is added to curvature, for flat places.  From 72 heads of three families:
# fifths of their vertices, from least to most expected, are 0.8 to 1.3 times as far off.
_ERROR, _POWER, _FLAT = 0.0187, 4 / 3, 0.03
# Differences of curvature are averaged over 12 mm, which takes out noise.
_SMOOTH = 0.03


def expected_errors(
    curvature: Floats,
    found: Floats,
    seen: Bools,
    gaps: Floats,
    areas: Floats,
    spread: Callable[[Floats, float], Floats],
) -> Floats:
    """Mean distance to expect between each vertex and its true place, (n,).

    ``hypot(gap, 0.0187 d / (c^2 + 0.03^2)^(2/3))``.  ``c`` is the root mean square, within 40 mm of
    400 of a vertex, of the template's curvature, which counts as none where nothing is seen; ``d``
    is the mean, over all that is seen, of the absolute difference between the curvatures of
    template and scan, each averaged over 12 mm: noise, which doubles single differences, adds a
    tenth to these.  Our own, like its numbers.

    Parameters
    ----------
    curvature, found : (n,) float64
        Widest feature of the template, and of what it matches.
    seen : (n,) bool
        Vertices that are matched.
    gaps : (n,) float64
        Distances from the matches, in parts of the template's size.
    areas : (n,) float64
        Of the vertices.
    spread : callable
        Averages values (n,) of the template's vertices over a radius.

    Returns
    -------
    (n,) float64
        In parts of the template's size.
    """
    differs = np.abs(spread(np.where(seen, curvature - found, 0.0), _SMOOTH))
    weight = np.where(seen, areas, 0.0)
    # Curvature is 1 at most: who saw nothing knows nothing.
    style = weight @ differs / weight.sum() if seen.any() else 1.0
    squared = np.maximum(spread(np.where(seen, curvature**2, 0.0), _AROUND), 0.0)
    along = _ERROR * style / (squared + _FLAT**2) ** (0.5 * _POWER)
    error: Floats = np.hypot(along, np.where(seen, gaps, 0.0))
    return error
