"""Pose: the similarity that brings a template to a scan, from anywhere or from landmarks."""

from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from licp.cloud import Cloud
from licp.compiled import kernel
from licp.directions import even_directions
from licp.errors import InputError
from licp.feature_tree import FeatureTree, Looks
from licp.geometry import best_apart
from licp.similarity import Similarity, fit_similarity, similarities_of_moments
from licp.surface import Surface, even_subset
from licp.threads import ALONE, Crew

__all__ = ["agreement", "align_globally", "grip", "refine_alignment"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Pyramid of the search: how many poses survive, on how many points of each side, for how many
# ICP steps, and the feature distance from which pairs lose their say.  Hundreds of starts 35
# degrees apart are cheap on a hundred points, and the basin of a head is wider than that; the
# reach shrinks so that what only one of the two shows (shoulders, a neck, a missing back) fades.
# Whole and front-only heads stand out in the quick one; else the thorough one, which takes three
# times as long, decides.
_QUICK = ((480, 64, 2, 0.6), (60, 128, 4, 0.4), (12, 256, 5, 0.3), (3, 600, 6, 0.2))
_THOROUGH = ((480, 100, 3, 0.6), (100, 200, 5, 0.4), (30, 300, 8, 0.3), (10, 600, 8, 0.2))
# How many times as large the cost is in the end as after each level but the last, since then it
# counts nearer pairs: at least 1.16, 1.08 and 1.05 in 2,236 searches of heads, faces and bodies.
_RISES = (1.15, 1.07, 1.04)
# Poses closer than this (rotation matrices, Frobenius norm: 15 degrees) are one in the search;
# at its end (40 degrees) refinement brings them together anyway.
_ALIKE, _RIVAL = 0.37, 0.97
# A rival stays in the race if its cost is within this factor of the best. Whole and front-only
# heads win by 1.25 and more; a skull cap without mouth and chin may not win at all here.
_CLEAR = 1.15
# What is left unexplained of two shapes (of 2) from which on the scan may be a part of a head, or
# more than one, and its radius tells nothing: whole heads have 0.4 to 0.7, front halves 0.8 to 1.1.
# Where nothing stands out, busts begin a little earlier.
_POOR, _UNCLEAR = 1.1, 0.95
# Of a part, pieces of the template are tried at these sizes of it in that radius, each held within
# a ninth.  A piece it is if one pose stands out and leaves no more than this, and less than before
# by as much.  Faces cut to 70 to 130 mm round the nose leave 0.33 to 1.05, bodies and busts 1.03
# and more, and there hardly any pose stands out.
_LARGER, _HELD = (1.25, 1.5, 1.8, 2.15, 2.6), (0.9, 1.12)
_A_PIECE, _GAIN = 1.05, 0.05
# Of a body, the template is tried round the ends at these sizes in the radius of the scan, each
# held within a fifth, until a pose is sure.  On 200 made-up bodies with heads of seven kinds the
# right one left 0.5 to 1.08, before a wall 1.15, and wrong ones always more than it.
_SMALLER, _HELD_SMALLER = (0.65, 0.48, 0.36, 0.26, 0.195, 0.145), (0.84, 1.19)
_SURE, _FOUND = 0.9, 1.2
# How many of either go on.
_COMPETE = 4
# A pose that shrinks to a point, or swallows everything, has lost the other shape.
_FREE = (0.4, 2.5)
_DIRECTIONS, _ROLLS = 48, 10
# Rotations of a box into itself.
_TURNS = np.array([np.diag(d) for d in ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1))], float)
# Weights of normals and curvature in the refinement: 40 mm and 64 mm a unit, of 400.
_LIKENESS = (0.1, 0.16)
# Feature distance at which pairs lose their say in the refinement, 40 mm of 400: parts that the
# scan lacks must not pull.
_LIKE = 0.1
# How much further than to its matches a step of the refinement goes, but the last.
_FURTHER = 2.0
# Refinement beyond this is no refinement: a start is at most a third off in size and 45 degrees
# off in pose, else the template has slid down a scrap of a scan.
_MOST_GROWTH, _MOST_TURN = 1.33, np.deg2rad(45.0)


def start_rotations() -> Floats:
    """Rotations that cover SO(3) evenly, (c, 3, 3): directions times rolls.

    The first four bring principal axes to each other.
    """
    axis = even_directions(_DIRECTIONS)
    helper = np.where(np.abs(axis[:, :1]) < 0.9, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    u = np.cross(helper, axis)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    v = np.cross(axis, u)
    roll = 2.0 * np.pi * np.arange(_ROLLS) / _ROLLS
    c, s = np.cos(roll)[None, :, None], np.sin(roll)[None, :, None]
    first = c * u[:, None] + s * v[:, None]
    second = c * v[:, None] - s * u[:, None]
    third = np.broadcast_to(axis[:, None], first.shape)
    evenly = np.stack([first, second, third], 3).reshape(-1, 3, 3)
    return np.concatenate([_TURNS, evenly])


def align_globally(
    template: Cloud, scan: Cloud, *, with_scale: bool = True, crew: Crew = ALONE
) -> list[Similarity]:
    """Similarities from template to scan without any start.

    Multi-start ICP, our own: poses all over SO(3) are refined together by robust two-way ICP in
    (position, normal, curvature) space, coarse to fine, and only the best go on to the next level.
    Where a scan is explained badly, it may be a part of a head, for which pieces of the template
    are tried at several sizes, or a bust or a body, whose ends are searched for a head.

    Parameters
    ----------
    template, scan : Cloud
        Any unit, anywhere.
    with_scale : bool
        False keeps the scale 1: both are in one unit.
    crew : Crew
        Who shares the poses.

    Returns
    -------
    list of Similarity
        From the template's frame to the scan's, best first: one where it stands out, a few
        different ones where a scan shows too little to tell at this resolution.
    """
    # In one unit of length both shapes keep scale 1; otherwise their radii are a first guess.
    unit, scales = (scan.radius, _FREE) if with_scale else (template.radius, (1.0, 1.0))
    found, cost = _descend(_QUICK, template, scan, unit, scales, crew)
    stands_out = len(found) == 1
    if not stands_out:
        found, cost = _descend(_THOROUGH, template, scan, unit, scales, crew)
    known: tuple[Sequence[float], tuple[float, float]] = ((template.radius / scan.radius,), scales)
    if cost > _POOR:
        sizes, held = (_LARGER, _HELD) if with_scale else known
        trials = _trials(_pieces(template, scan, sizes), held, 0.0, cost - _GAIN, crew)
        there, sure = _told(trials, _A_PIECE)
        if sure:
            return there
        found = found + there
    if cost > (_POOR if stands_out else _UNCLEAR):
        sizes, held = (_SMALLER, _HELD_SMALLER) if with_scale else known
        trials = _trials(_ends(template, scan, sizes), held, _SURE, cost, crew)
        there, sure = _told(trials, _FOUND)
        found = there if sure else found + there
    return found


def _pieces(template: Cloud, scan: Cloud, sizes: Sequence[float]) -> Iterator[tuple[Cloud, Cloud]]:
    """Pieces of the template as large as the scan, at several sizes of it, with the scan."""
    for size in sizes:
        part = scan.sized(size)
        share = scan.area / template.area * (template.radius / part.radius) ** 2
        for piece in template.pieces(share):
            yield piece, part


def _ends(template: Cloud, scan: Cloud, sizes: Sequence[float]) -> Iterator[tuple[Cloud, Cloud]]:
    """The template, at several sizes, with what lies round the ends of the scan."""
    for size in sizes:
        for part in scan.parts(size):
            yield template, part


def _trials(
    pairs: Iterable[tuple[Cloud, Cloud]],
    held: tuple[float, float],
    enough: float,
    below: float,
    crew: Crew,
) -> list[tuple[float, list[Similarity]]]:
    """Costs below one and poses of pairs, best first, up to the first that is enough alone."""
    trials: list[tuple[float, list[Similarity]]] = []
    for template, scan in pairs:
        found, cost = _descend(_QUICK, template, scan, scan.radius, held, crew, below)
        if cost < below:
            trials.append((cost, found))
        if len(found) == 1 and cost < enough:
            break
    return sorted(trials, key=itemgetter(0))


def _told(
    trials: list[tuple[float, list[Similarity]]], enough: float
) -> tuple[list[Similarity], bool]:
    """The best poses that stand out, and True; else some that have to compete with those before."""
    clear = [(cost, poses[0]) for cost, poses in trials if len(poses) == 1]
    if clear and clear[0][0] < enough:
        return [pose for cost, pose in clear[:_COMPETE] if cost < _CLEAR * clear[0][0]], True
    return [pose for _, poses in trials[:_COMPETE] for pose in poses], False


def _descend(
    pyramid: tuple[tuple[int, int, int, float], ...],
    template: Cloud,
    scan: Cloud,
    scan_unit: float,
    scales: tuple[float, float],
    crew: Crew,
    below: float = np.inf,
) -> tuple[list[Similarity], float]:
    """Poses that are left at the foot of a pyramid, best first, and the cost of the best.

    Nothing, if that is sure not to be below a given one.
    """
    R = start_rotations()
    s = np.ones(len(R))
    t = np.zeros((len(R), 3))
    most = max(count for _, count, _, _ in pyramid)
    source, goal = template.standard(most, template.radius), scan.standard(most, scan_unit)
    unlike = _squared_distances(source[2], goal[2])
    level = None
    for number, (keep, count, steps, reach) in enumerate(pyramid, 1):
        if level is not None:
            costs = level.cost(s, R, t)
            if costs.min() * _RISES[number - 2] >= below:
                return [], np.inf
            best = _distinct(costs, R, keep)
            s, R, t = s[best], R[best], t[best]
        level = _Level(
            source[0][:count],
            source[1][:count],
            goal[0][:count],
            goal[1][:count],
            unlike[:count, :count],
            reach,
            crew,
        )
        for left in reversed(range(steps)):
            before = s, R, t
            s, R, t = level.step(s, R, t, scales)
            if left and number == len(pyramid):
                # Matches move along: with steps of twice the length half as many do.
                s, R, t = _twice(*before, s, R, t)
    assert level is not None
    cost = level.cost(s, R, t)
    to_standard = template.own_frame(template.radius)
    from_standard = scan.own_frame(scan_unit).inverse()
    found = [
        from_standard.after(Similarity(float(s[k]), R[k], t[k])).after(to_standard)
        for k in _distinct(cost, R, len(R), _RIVAL)
        if cost[k] <= _CLEAR * max(cost.min(), 0.0) + 1e-6
    ]
    return found, float(cost.min())


def _twice(
    s: Floats, R: Floats, t: Floats, to_s: Floats, to_R: Floats, to_t: Floats
) -> tuple[Floats, Floats, Floats]:
    """The move from some poses to others done once more."""
    grow, turn = to_s / s, to_R @ np.swapaxes(R, 1, 2)
    ahead = np.stack([to_t, t], 2)
    ahead = grow[:, None, None] * (turn @ ahead)
    return to_s * grow, turn @ to_R, ahead[:, :, 0] + to_t - ahead[:, :, 1]


def _squared_distances(a: Floats, b: Floats) -> NDArray[np.float32]:
    """Between rows (p, f) and rows (q, f), (p, q)."""
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2.0 * a @ b.T
    distances: NDArray[np.float32] = np.maximum(squares, 0.0).astype(np.float32)
    return distances


class _Level:
    """Two-way matches between two standard clouds, for many poses at once."""

    def __init__(
        self,
        points: Floats,
        normals: Floats,
        scan_points: Floats,
        scan_normals: Floats,
        unlike: NDArray[np.float32],
        reach: float,
        crew: Crew,
    ) -> None:
        self.T, self.NT, self.S = points, normals, scan_points
        # Columns, so that the innermost loop runs along memory; half the precision, twice the pace.
        self.columns = np.ascontiguousarray(np.hstack([scan_points, scan_normals]).T, np.float32)
        self.unlike = np.ascontiguousarray(unlike)
        self.reach = reach
        self.crew = crew

    def _of_each(self, what: Any, s: Floats, R: Floats, t: Floats) -> tuple[Any, ...]:
        """What a kernel says of the matches of each pose."""

        def of(s: Floats, R: Floats, t: Floats) -> Any:
            found = _nearest_both_ways(s, R, t, self.T, self.NT, self.columns, self.unlike)
            return what(self.T, self.S, *found, self.reach)

        return self.crew.share_rows(of, s, R, t)

    def step(
        self, s: Floats, R: Floats, t: Floats, scales: tuple[float, float]
    ) -> tuple[Floats, Floats, Floats]:
        """Fit each pose to its matches, no smaller and no larger than these."""
        source, target, cross, spread = self._of_each(_moments, s, R, t)
        return similarities_of_moments(source, target, cross, spread, scales)

    def cost(self, s: Floats, R: Floats, t: Floats) -> Floats:
        """Part of both shapes that the other one does not explain, 0 to 2, (c,)."""
        cost: Floats = self._of_each(_unexplained, s, R, t)[0]
        return cost


def _belief(d: Floats, reach: float) -> Floats:
    """One for perfect pairs, half at the reach; its square is the Geman-McClure weight."""
    b: Floats = 1.0 / (1.0 + (d / reach) ** 2)
    return b


@kernel
def _moments(T: Any, S: Any, d: Any, j: Any, e: Any, k: Any, reach: float) -> Any:
    """Of matched points, weighted by squared beliefs: both means, cross product and spread."""
    c, p, q = d.shape[0], d.shape[1], e.shape[1]
    a0, b0, cross, spread = np.zeros((c, 3)), np.zeros((c, 3)), np.zeros((c, 3, 3)), np.zeros(c)
    scale = 1.0 / (reach * reach)
    for pose in range(c):
        total = 0.0
        for i in range(p + q):
            # Both shapes have the same say, whatever their number of points.
            if i < p:
                a, b, gap, count = i, j[pose, i], d[pose, i], p
            else:
                a, b, gap, count = k[pose, i - p], i - p, e[pose, i - p], q
            w = 1.0 / ((1.0 + gap * scale) ** 2 * count)
            total += w
            for x in range(3):
                a0[pose, x] += w * T[a, x]
                b0[pose, x] += w * S[b, x]
                spread[pose] += w * T[a, x] * T[a, x]
                for y in range(3):
                    cross[pose, x, y] += w * S[b, x] * T[a, y]
        a0[pose] /= total
        b0[pose] /= total
        spread[pose] /= total
        for x in range(3):
            spread[pose] -= a0[pose, x] * a0[pose, x]
            for y in range(3):
                cross[pose, x, y] = cross[pose, x, y] / total - b0[pose, x] * a0[pose, y]
    return a0, b0, cross, spread


@kernel
def _unexplained(T: Any, S: Any, d: Any, j: Any, e: Any, k: Any, reach: float) -> Any:
    """Mean lack of belief in the matches of both shapes; a tuple of one."""
    cost = np.full(len(d), 2.0)
    scale = 1.0 / (reach * reach)
    for pose in range(len(d)):
        for gap in d[pose]:
            cost[pose] -= 1.0 / (1.0 + gap * scale) / d.shape[1]
        for gap in e[pose]:
            cost[pose] -= 1.0 / (1.0 + gap * scale) / e.shape[1]
    return (cost,)


def _distinct(cost: Floats, R: Floats, count: int, apart: float = _ALIKE) -> list[int]:
    """Indices of the best poses, no two of them alike."""
    # |R - Q|^2 = 6 - 2 trace(R' Q) for rotations.
    flat = R.reshape(-1, 9)
    return best_apart(cost, 6.0 - 2.0 * (flat @ flat.T) <= apart**2, count)


@kernel
def _nearest_both_ways(
    s: Any, R: Any, t: Any, points: Any, normals: Any, columns: Any, extra: Any
) -> Any:
    """Nearest neighbours by brute force, of posed points (p, 3) and columns (6, q) to each other.

    For a few hundred points in many poses this beats search trees by far, and one pass serves
    both directions.  ``extra`` (p, q) is added to the squared distances.
    """
    c, p, q = len(s), len(points), columns.shape[1]
    d = np.empty((c, p), np.float32)
    j = np.empty((c, p), np.int64)
    e = np.full((c, q), np.inf, np.float32)
    k = np.zeros((c, q), np.int64)
    row = np.empty(q, np.float32)
    query = np.empty(6, np.float32)
    c0, c1, c2 = columns[0], columns[1], columns[2]
    c3, c4, c5 = columns[3], columns[4], columns[5]
    for pose in range(c):
        for i in range(p):
            for a in range(3):
                x, n = 0.0, 0.0
                for b in range(3):
                    x += R[pose, a, b] * points[i, b]
                    n += R[pose, a, b] * normals[i, b]
                query[a], query[3 + a] = s[pose] * x + t[pose, a], n
            # Written out: a loop over the six would read and write the row six times.
            y0, y1, y2 = query[0], query[1], query[2]
            y3, y4, y5 = query[3], query[4], query[5]
            for b in range(q):
                z0, z1, z2 = y0 - c0[b], y1 - c1[b], y2 - c2[b]
                z3, z4, z5 = y3 - c3[b], y4 - c4[b], y5 - c5[b]
                near = extra[i, b] + z0 * z0 + z1 * z1 + z2 * z2
                row[b] = near + z3 * z3 + z4 * z4 + z5 * z5
            best, at = row[0], 0
            for b in range(q):
                if row[b] < best:
                    best, at = row[b], b
                if row[b] < e[pose, b]:
                    e[pose, b], k[pose, b] = row[b], i
            d[pose, i], j[pose, i] = best, at
    return d, j, e, k


def grip(features: Floats) -> Floats:
    """How well curvature features (n, k) hold a match, (n,).

    Curved places decide: a flat one matches anywhere along itself.  At the widest scale; finer ones
    are noise in part.
    """
    held: Floats = 0.025 + np.abs(features[:, -1])
    return held


def refine_alignment(
    looks: Looks,
    target: Surface,
    tree: FeatureTree,
    *,
    usable: NDArray[np.bool_] | None = None,
    with_scale: bool = True,
    steps: int = 5,
    crew: Crew = ALONE,
) -> Similarity:
    """Similarity ICP on positions, normals and curvature features: the move of the template.

    Closest points alone slide along necks and tilt round skulls; matched by curvature too, and
    weighted by it, template and scan meet where there is something to hold on to.

    Parameters
    ----------
    looks : Looks
        Points of the template near the scan, spread evenly, in parts of the template's size, with
        :class:`licp.features.HeatCurvature`.
    target : Surface
        The scan in the template's frame.
    tree : FeatureTree
        Of the same looks of the scan's vertices.
    usable : (s,) bool, optional
        Scan vertices that may be matched.
    with_scale : bool
        False keeps the scale.
    steps : int
        ICP steps; 5 bring a start that is 20 degrees off to where bending takes over.
    crew : Crew
        Who shares the search.
    """
    allowed = ~target.at_border if usable is None else usable & ~target.at_border
    held = grip(looks.curvature)
    move = Similarity.identity()
    for left in reversed(range(steps)):
        here = looks.moved(move)
        d, j = tree.nearest(here, *_LIKENESS, crew)
        facing = np.einsum("ij,ij->i", here.normals, target.normals[j]) > 0.5
        weight = np.where(allowed[j] & facing, held * _belief(d, _LIKE) ** 2, 0.0)
        if np.count_nonzero(weight) < 4:
            break
        # Matches move along, so each step would take back only a third of what is left.
        further = _FURTHER if left else 1.0
        goal = here.points + further * (target.vertices[j] - here.points)
        try:
            move = fit_similarity(looks.points, goal, weight, with_scale)
        except InputError:  # all found the same vertex
            break
    turn = np.arccos(np.clip((np.trace(move.rotation) - 1) / 2, -1, 1))
    if not (1 / _MOST_GROWTH < move.scale < _MOST_GROWTH and turn < _MOST_TURN):
        # The scan shows too little to hold the template where it was put: believe the start.
        move = Similarity.identity()
    return move


def agreement(
    looks: Looks,
    target: Looks,
    tree: FeatureTree,
    usable: NDArray[np.bool_] | None = None,
    crew: Crew = ALONE,
) -> float:
    """How well template or scan are explained by the other where they are, 0 to 1.

    Our own: one less the product of what both lack.  A head on a body leaves much of the scan
    alone, a face alone much of the template, but never both.

    Parameters
    ----------
    looks, target : Looks
        Of the template, as in :func:`refine_alignment`, and of the scan.
    tree : FeatureTree
        Of ``target``.
    usable : (s,) bool, optional
        Which of ``target`` count; all if not given.
    crew : Crew
        Who shares the search.
    """
    counts = np.ones(len(target.points)) if usable is None else usable.astype(np.float64)
    some = even_subset(target.points, counts, len(looks.points))
    forth, at = tree.nearest(looks, *_LIKENESS, crew)
    back = FeatureTree(looks).nearest(target.some(some), *_LIKENESS, crew)[0]
    shown, known = (counts[at] * _belief(forth, _LIKE)).mean(), _belief(back, _LIKE).mean()
    return float(1.0 - (1.0 - shown) * (1.0 - known))
