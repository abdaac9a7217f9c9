"""What a template has and a scan does not show: ears under hair, lips that were blurred away.

Drawn onto what is there, such a part is crushed and runs through itself.  Two signs together tell
it: the fit could not be taken apart there, and the template is curved where the scan is not.  One
alone is not enough: sound lips of a soft scan lack half of their curvature, and a lip may cross
another one that is really there.
"""

import numpy as np
from numpy.typing import NDArray

from licp.features import HeatCurvature
from licp.geometry import components

__all__ = ["absent_parts", "lacking_curvature"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Curvature, of 1 at most, that is noise on flat skin.
_NOISE = 0.05


def lacking_curvature(features: Floats, found: Floats) -> Floats:
    """How much of its curvature each vertex does not find in its match, (n,).

    More curvature on the scan is no lack, one of the other sign is.  Our own.

    Parameters
    ----------
    features, found : (n, k) float64
        Curvature of the template and of what it matches.

    Examples
    --------
    >>> h = np.array([[0.5], [0.5], [0.5], [-0.5]])
    >>> lacking_curvature(h, np.array([[0.2], [0.9], [-0.4], [-0.2]])).round(3).tolist()
    [0.3, 0.0, 0.5, 0.3]
    """
    shared = np.maximum(found * np.sign(features), 0.0)
    lack: Floats = np.maximum(np.abs(features) - shared, 0.0).mean(axis=1)
    return lack


def absent_parts(
    features: Floats,
    found: Floats,
    seen: Bools,
    heat: HeatCurvature,
    faces: Ints,
    tangled: Ints,
    share: float,
) -> Bools:
    """Vertices of the parts around a tangle whose curvature the scan does not show, (n,).

    Parameters
    ----------
    features, found : (n, k) float64
        Curvature of the template and of what it matches.
    seen : (n,) bool
        Vertices whose match means anything.
    heat : HeatCurvature
        Of the template.
    faces : (m, 3) int64
        Triangles, by vertex.
    tangled : (t,) int64
        Vertices that run through others.
    share : float
        Part of its curvature that such a part lacks, averaged over the widest scale of the features
        (16 mm of 400).  With a scan that shows it, 1 % of all vertices of a head lack 0.2 to 0.3,
        those of an ear at most 0.17; ears under hair lack 0.4, where there are none at all 0.6.

    Returns
    -------
    (n,) bool
        Nothing where no tangled vertex is in such a part.
    """
    lack = heat.spread(np.where(seen, lacking_curvature(features, found), 0.0))
    curved = heat.spread(np.where(seen, np.abs(features).mean(axis=1) + _NOISE, 0.0))
    lacks = lack > share * np.maximum(curved, 1e-9)
    part = components(faces[lacks[faces].all(axis=1)], len(features))
    hit = part[tangled[lacks[tangled]]]
    absent: Bools = lacks & np.isin(part, hit[hit >= 0])
    return absent
