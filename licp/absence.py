"""What a template has and a scan does not show: ears under hair, lips that were blurred away.

Drawn onto what is there, such a part is crushed and runs through itself.  Two signs together tell
it: the fit ran through itself there, and the template is curved where the scan is not.  One alone
is not enough: sound lips of a soft scan lack half of their curvature, and a lip may cross another
one that is really there.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from licp.features import HeatCurvature
from licp.geometry import all_of, components

__all__ = ["Doubt", "absent_parts", "lacking", "lacking_curvature"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Curvature, of 1 at most, that is noise on flat skin.
_NOISE = 0.05
# Who was tangled and lacks this part of its curvature was crushed, even where skins that met could
# be pushed apart: four fifths of such vertices at ears under hair or cut off, 0 to 15 % at lips
# that are there.
_BARE = 0.3
# Part of all vertices that may be so by chance: up to 0.5 % are in heads that show everything, 1 to
# 8 % where ears or lips are missing or an open mouth is lost.
_CHANCE = 0.007


@dataclass(frozen=True, eq=False)
class Doubt:
    """Where a fit is or was tangled, and what it lacks there.

    Attributes
    ----------
    lacks : (n,) float64
        Of :func:`lacking`.
    torn : (k,) int64
        Vertices that ran through others before they were pushed apart.
    left : (j,) int64
        Vertices that still do, or whose face has turned over; none before they were.
    """

    lacks: Floats
    torn: Ints
    left: Ints = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def seeds(self) -> Ints:
        """Vertices that were drawn to something else: those left, and torn ones that lack much."""
        return np.union1d(self.left, self._bare)

    @property
    def crushed(self) -> int:
        """Torn vertices that lack much, beyond what is chance."""
        return max(len(self._bare) - int(_CHANCE * len(self.lacks)), 0)

    @property
    def _bare(self) -> Ints:
        return self.torn[self.lacks[self.torn] > _BARE]


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


def lacking(features: Floats, found: Floats, seen: Bools, heat: HeatCurvature) -> Floats:
    """Part of its curvature that the scan does not show around each vertex, (n,).

    Averaged over the widest scale of the features (12 mm of 400).  With a scan that shows all, 0.5
    to 3 % of the vertices of a head lack 0.3 and more, and half of those of an ear 0.15; where ears
    are cut off or under hair, half of theirs lack 0.6.

    Parameters
    ----------
    features, found : (n, k) float64
        Curvature of the template and of what it matches.
    seen : (n,) bool
        Vertices whose match means anything.
    heat : HeatCurvature
        Of the template.
    """
    lack = np.where(seen, lacking_curvature(features, found), 0.0)
    curved = np.where(seen, np.abs(features).mean(axis=1) + _NOISE, 0.0)
    # Far from all that is seen both are nothing but what a heat step leaves.
    part: Floats = heat.spread(lack) / np.maximum(heat.spread(curved), 0.1 * _NOISE)
    return np.clip(part, 0.0, 1.0)


def absent_parts(lacks: Floats, faces: Ints, seeds: Ints, share: float) -> Bools:
    """Vertices of the parts around some whose curvature the scan does not show, (n,).

    Parameters
    ----------
    lacks : (n,) float64
        Of :func:`lacking`.
    faces : (m, 3) int64
        Triangles, by vertex.
    seeds : (t,) int64
        Vertices in question.
    share : float
        Part of its curvature that such a part lacks.

    Returns
    -------
    (n,) bool
        Nothing where no vertex in question is in such a part.
    """
    lost = lacks > share
    part = components(faces[all_of(lost[faces])], len(lacks))
    hit = part[seeds[lost[seeds]]]
    absent: Bools = lost & np.isin(part, hit[hit >= 0])
    return absent
