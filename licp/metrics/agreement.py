"""Annotation transfer density and homogeneity: how well annotations of many subjects agree.

The idea of judging a registration by transferred annotations is that of the paper on Laplacian ICP
(Pears, Dai, Smith and Sun, 2023).  **The definitions here are our own**, not the paper's; numbers
must not be compared with published ones.

One contour, drawn on the scans of S subjects, is carried to the unwarped template
(:mod:`licp.metrics.transfer`): S sampled curves A_1 ... A_S in the template's frame.  If the
registration finds true correspondences they are one curve.  With the distance d(x, A) from a point
to a curve (its samples, and the segments between successive ones, unless the transfer has torn
them apart) and a width h, the *presence* of subject t at a place x is

    p_t(x) = exp(-d(x, A_t)^2 / (2 h^2)),                   1 on the curve, 0.01 at 3 h from it,

and with < > the mean over the samples x of all curves A_s and over t, where that is free,

    agreement          a_st  = < p_t(x) >                   x on A_s
    density            D     = < p_t(x) >                   x on any A_s, t != s
    homogeneity        H     = < (N(x) - 1) / (S - 1) >,    N = (sum_t p_t)^2 / sum_t p_t^2
    spread                   = < d(x, A_t) >                x on any A_s, t != s

Contours are seldom drawn in full: part of them is hidden in the views.  So x says nothing about t
if the point of A_t that is closest to x is a *loose end*, where drawing stopped; such pairs are
left out of all means, and S at a place is the number of subjects that count there.  (This cannot
tell everything: where one half of a jaw was drawn, the other half may be closest to its middle.)

**Density** is the part of the other subjects whose contour passes (within about h) where one
subject's does, averaged along all contours.  **Homogeneity** takes N(x), the effective number of
subjects at a place (inverse participation ratio, the Hill number of order 2), relative to S: 1 if
all subjects contribute alike at all annotated places, 0 if each place is annotated by one subject
alone.  A slight blur shared by all lowers the density and hardly the homogeneity; a fifth of the
subjects being elsewhere lowers both by about as much.  Both lie in [0, 1], are 1 for perfect
correspondence whatever the shapes of the heads, and have no unit.  **Spread** has no width and no
upper bound, and is in the template's unit.

They see errors across a contour, never along it, and a registration that carries the contours of
*all* subjects to one wrong place looks perfect.  The distances of swapped contours in the
subjects' own shapes (:func:`licp.metrics.swap_distances`) do not share the latter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from licp.compiled import kernel
from licp.errors import InputError

__all__ = ["Agreement", "annotation_agreement", "pool"]

Floats = NDArray[np.float64]

# Places at which agreement is looked at: more change the means by less than 0.001.
_PLACES = 20_000
# Successive samples farther apart than this part of the template's size (2 mm) are not joined: one
# of them went to another fold of the surface.
_GAP = 0.005
# Samples that share a bounding box in the search.
_STRETCH = 16


@dataclass(frozen=True, eq=False)
class Agreement:
    """What :func:`annotation_agreement` returns; formulas in :mod:`licp.metrics.agreement`.

    Attributes
    ----------
    density, homogeneity : float
        0 to 1; perfect correspondence has 1.
    low : float
        Local density that 90 % of the places exceed: the worst tenth of the contour.
    spread : float
        Mean distance between the contours of two subjects, in the template's unit.
    width : float
        The width h that was used, in the template's unit.
    matrix : (S, S) float64
        Agreement a_st.  Rows: how much of a subject's contour lies on those of others; columns:
        how much of theirs lies on its own.  Zero where nothing counts.
    counted : (S, S) float64
        Part of A_s that counts for t, 0 to 1.
    places : tuple of (k, 3) float64
        For each subject, points of its contour.
    local : tuple of (k,) float64
        Local density at them: the mean presence of the other subjects that count there, zero if
        there are none.
    weight : float
        Mean number of samples a subject, for :func:`pool`.
    """

    density: float
    homogeneity: float
    low: float
    spread: float
    width: float
    matrix: Floats
    counted: Floats
    places: tuple[Floats, ...]
    local: tuple[Floats, ...]
    weight: float

    @property
    def subjects(self) -> Floats:
        """Density of each subject (S,), its row and its column of ``matrix``; 0 if none counts."""
        part = np.where(np.eye(len(self.matrix), dtype=bool), 0.0, self.counted)
        both = (part * self.matrix).sum(1) + (part * self.matrix).sum(0)
        total = part.sum(1) + part.sum(0)
        found: Floats = np.where(total > 0, both / np.where(total > 0, total, 1.0), 0.0)
        return found

    def to_dict(self) -> dict[str, float]:
        """The numbers, ready for JSON."""
        names = ("density", "homogeneity", "low", "spread", "width")
        return {name: getattr(self, name) for name in names} | {"subjects": len(self.matrix)}


def annotation_agreement(
    annotations: Sequence[ArrayLike],
    size: float,
    *,
    width: float = 0.005,
    ends: Sequence[ArrayLike] | None = None,
) -> Agreement:
    """Agreement of one contour's annotations on the unwarped template.

    Parameters
    ----------
    annotations : sequence of (k, 3) float
        For each subject, points along the contour in the template's frame, evenly sampled on the
        scan, at most half a width apart (:func:`licp.metrics.resample` before the transfer).
    size : float
        Of the template: the square root of its area.
    width : float
        Width h in parts of the size.  The default is 2 mm for a head with neck, about what hands
        and eyes reproduce in drawing; half and double of it tell more about good and bad
        registrations respectively.
    ends : sequence of (k,) bool, optional
        For each subject, which samples are loose ends of what was drawn
        (:func:`licp.metrics.loose_ends` before the transfer).  None if not given: all contours
        are whole.

    Returns
    -------
    Agreement

    Raises
    ------
    InputError
        Fewer than two subjects, an empty or damaged contour, sizes that are not positive, nothing
        that counts.

    Examples
    --------
    Three subjects agree, the fourth lies elsewhere:

    >>> line = np.linspace([0.0, 0, 0], [10, 0, 0], 101)
    >>> found = annotation_agreement([line, line, line, line + [0, 5, 0]], 100.0)
    >>> round(found.density, 3), round(found.homogeneity, 3), round(found.spread, 3)
    (0.5, 0.5, 2.5)
    >>> found.subjects.round(3).tolist()
    [0.667, 0.667, 0.667, 0.0]
    """
    curves = [np.ascontiguousarray(a, np.float64) for a in annotations]
    count = len(curves)
    if count < 2:
        raise InputError(f"agreement needs annotations of at least two subjects, got {count}")
    if not (np.isfinite(size) and size > 0 and np.isfinite(width) and width > 0):
        raise InputError(f"size and width must be positive, not {size} and {width}")
    for number, curve in enumerate(curves):
        if curve.ndim != 2 or curve.shape[1] != 3 or not len(curve):
            raise InputError(
                f"annotation {number} must have shape (k, 3) with k > 0, not {curve.shape}"
            )
        if not np.isfinite(curve).all():
            raise InputError(f"annotation {number} has points that are not finite")
    if ends is None:
        loose = [np.zeros(len(c), bool) for c in curves]
    else:
        loose = [np.asarray(e, bool) for e in ends]
        if [e.shape for e in loose] != [(len(c),) for c in curves]:
            raise InputError("ends must say for each sample of each annotation if it is loose")
    most = max(_PLACES // count, 16)
    places = tuple(c[np.arange(min(len(c), most)) * len(c) // min(len(c), most)] for c in curves)
    start = np.cumsum([0, *map(len, curves)])
    begin = np.cumsum([0, *map(len, places)])
    presence, distance, counted, local, effective, compared = _agree(
        np.concatenate(places),
        begin,
        np.concatenate(curves),
        np.concatenate(loose),
        start,
        size * width,
        size * _GAP,
    )
    # A place stands for as much of its contour as it is one of.
    taken = np.diff(begin)
    stands = np.diff(start) / taken
    pairs = (stands[:, None] * counted)[~np.eye(count, dtype=bool)].sum()
    if not pairs > 0:
        raise InputError("no part of any annotation lies beside another one: nothing to compare")
    weight = np.where(compared > 0, np.repeat(stands, taken), 0.0)
    even = (effective - 1) / np.maximum(compared, 1)
    known = counted > 0
    matrix = np.where(known, presence / np.where(known, counted, 1), 0.0)
    order = np.argsort(local, kind="stable")
    votes = np.cumsum(weight[order])
    return Agreement(
        density=float(stands @ (presence.sum(1) - presence.diagonal()) / pairs),
        homogeneity=float(np.average(even, weights=weight)),
        low=float(local[order][np.searchsorted(votes, 0.1 * votes[-1])]),
        spread=float(stands @ distance.sum(1) / pairs),
        width=float(size * width),
        matrix=matrix,
        counted=counted / taken[:, None],
        places=places,
        local=tuple(np.split(local, begin[1:-1])),
        weight=float(start[-1]) / count,
    )


def pool(agreements: Sequence[Agreement]) -> dict[str, float]:
    """Density, homogeneity and spread of several contours: means weighted by their lengths.

    Parameters
    ----------
    agreements : sequence of Agreement
        One for each contour, sampled at one spacing.

    Raises
    ------
    InputError
        If there are none.
    """
    if not agreements:
        raise InputError("there are no contours to pool")
    weights = [a.weight for a in agreements]
    names = ("density", "homogeneity", "spread")
    return {n: float(np.average([getattr(a, n) for a in agreements], 0, weights)) for n in names}


@kernel(error_model="numpy")
def _agree(
    places: Any, begin: Any, points: Any, loose: Any, start: Any, width: float, gap: float
) -> Any:
    """Sums of presence and distance and counts of each pair; and what is known of each place.

    Of a place: local density, effective number of subjects, and how many others count.
    """
    count = len(start) - 1
    matrix = np.zeros((count, count))
    distance = np.zeros((count, count))
    counted = np.zeros((count, count))
    local = np.zeros(len(places))
    effective = np.ones(len(places))
    others = np.zeros(len(places))
    boxes = _boxes(points, start)
    # Successive places are near each other, and near the same stretch of another curve.
    near = np.zeros(count, np.int64)
    for s in range(count):
        near[:] = 0
        for i in range(begin[s], begin[s + 1]):
            total, squares = 1.0, 1.0
            matrix[s, s] += 1.0
            counted[s, s] += 1.0
            for t in range(count):
                if t == s:
                    continue
                low, high = start[t], start[t + 1]
                squared, at, near[t] = _to_curve(places[i], points, boxes, low, high, gap, near[t])
                if at >= 0 and loose[at]:
                    continue
                presence = np.exp(-squared / (2 * width * width))
                matrix[s, t] += presence
                distance[s, t] += np.sqrt(squared)
                counted[s, t] += 1.0
                others[i] += 1.0
                total += presence
                squares += presence * presence
            if others[i] > 0.0:
                local[i] = (total - 1.0) / others[i]
                effective[i] = total * total / squares
    return matrix, distance, counted, local, effective, others


@kernel(error_model="numpy")
def _boxes(points: Any, start: Any) -> Any:
    """Bounds of each stretch of a curve and the sample after it, kept where the stretch begins."""
    boxes = np.empty((len(points), 6))
    for t in range(len(start) - 1):
        for j in range(start[t], start[t + 1], _STRETCH):
            for k in range(3):
                part = points[j : min(j + _STRETCH + 1, start[t + 1]), k]
                boxes[j, k], boxes[j, 3 + k] = part.min(), part.max()
    return boxes


@kernel(error_model="numpy")
def _to_curve(
    place: Any, points: Any, boxes: Any, first: int, last: int, gap: float, near: int
) -> Any:
    """Squared distance to a curve, the sample that is closest if one is, its stretch's number."""
    best, at = _to_stretch(place, points, first + near * _STRETCH, last, gap)
    found = near
    for j in range(first, last, _STRETCH):
        squared = 0.0
        for k in range(3):
            off = max(boxes[j, k] - place[k], place[k] - boxes[j, 3 + k], 0.0)
            squared += off * off
        if squared < best:
            squared, sample = _to_stretch(place, points, j, last, gap)
            if squared < best:
                best, at, found = squared, sample, (j - first) // _STRETCH
    return best, at, found


@kernel(error_model="numpy")
def _to_stretch(place: Any, points: Any, first: int, last: int, gap: float) -> Any:
    """To the line through successive samples, which is broken at larger gaps."""
    best, at = np.inf, -1
    ax, ay, az, a2 = 0.0, 0.0, 0.0, np.inf
    for j in range(first, min(first + _STRETCH + 1, last)):
        bx, by, bz = points[j, 0] - place[0], points[j, 1] - place[1], points[j, 2] - place[2]
        b2 = bx * bx + by * by + bz * bz
        if b2 < best:
            best, at = b2, j
        if j > first:
            ex, ey, ez = bx - ax, by - ay, bz - az
            e2 = ex * ex + ey * ey + ez * ez
            along = -(ax * ex + ay * ey + az * ez)
            if 0.0 < along < e2 < gap * gap:
                foot = max(a2 - along * along / e2, 0.0)
                if foot < best:
                    best, at = foot, -1
        ax, ay, az, a2 = bx, by, bz, b2
    return best, at
