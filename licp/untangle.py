"""Takes apart what a fit has pushed through itself: closed lips, thin ears, linings of nostrils.

What cannot be pushed apart is drawn from its surroundings, in the end.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial import KDTree

from licp.faults import Faults, flipped_faces
from licp.geometry import all_of, any_of, components, edges, grown, unsigned, vertex_normals
from licp.intersections import self_intersections
from licp.surface import Surface, group_sums
from licp.threads import ALONE, Crew

__all__ = ["Tangled", "Untangled", "redrawn", "tangled", "unfold", "untangle", "untangled"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Most tangles are gone after one to eight rounds; some (lips of a generated head, 217 pairs) go
# only after more than eight without any gain.  With five instead of twelve those stay; hopeless
# ones, mouths of MRI heads, take half as long again.
_ROUNDS, _PATIENCE = 24, 12
# Faces around a tangle that may move or be run into, in rings of neighbours: a push spreads over
# three of them.
_RINGS = 6
# No vertex moves further in one round than this part of the mean edge, so that a later round sees
# where it got; skins that met end up twice the second one apart.
_STRIDE, _GAP = 0.5, 0.1
# Averages over neighbours that smooth normals and pushes.  Of a push, what is pushed itself keeps
# the first part; what is around it takes as much of its neighbours'.
_SMOOTHING, _KEPT = 3, 0.7
# Pairs nearby that tell how two skins lie to each other.
_VOTES = 15
# Part of the rest distances of a tangle that must say its skins lie back to back, flesh between
# them.  Lips, which face each other, touch in many templates and say little.
_BACK_TO_BACK = 0.7
# Rings around a tangle that are drawn from what is around them, fewest first; two of those that may
# move are left, which a thin plate needs to go on smoothly.
_REDRAWN = range(1, _RINGS - 1)
# Part of a patch that must hold what is drawn: of one that ends all around nothing tells where it
# belongs.  The other keeps parts that hang on nothing from making the system singular.
_HELD, _RIDGE = 0.1, 1e-12
# Vertices of the largest template for which that is done: finer ones have tangles at lips that
# reach over more rings, so that it would take as long as bending does and mend a third of them.
_COARSE = 22_000


@dataclass(frozen=True, eq=False)
class Tangled:
    """A fit before it is taken apart.

    Attributes
    ----------
    fit : Surface
    crossings : (c, 2) int64
        All pairs of faces that run through each other.
    new : (k, 2) int64
        Those of them that may be bent and did not at rest.
    """

    fit: Surface
    crossings: Ints
    new: Ints

    @property
    def torn(self) -> Ints:
        """Faces of the new pairs, (s,)."""
        return np.unique(self.new)


@dataclass(frozen=True, eq=False)
class Untangled:
    """A fit that was taken apart as far as that goes.

    Attributes
    ----------
    fit : Surface
        The one that was given if nothing was moved.
    faults : Faults
        Of all its faces.
    crossings : (c, 2) int64
        All pairs of faces that run through each other.
    at_fault : (t, 2) int64
        Those of them that may be bent and did not at rest; and each face that has turned over,
        twice.
    """

    fit: Surface
    faults: Faults
    crossings: Ints
    at_fault: Ints

    @property
    def left(self) -> Ints:
        """All faces that are still at fault, (l,)."""
        return np.unique(self.at_fault)


def tangled(fit: Surface, known: Ints, bends: Bools, crew: Crew = ALONE) -> Tangled:
    """Where a fit runs through itself.

    Parameters
    ----------
    fit : Surface
        The template bent.
    known, bends, crew
        Of :func:`untangled`.
    """
    found = self_intersections(fit.vertices, fit.faces, fit.triangles, crew)
    return Tangled(fit, found, _new_pairs(found, known, bends))


def untangled(
    rest: Floats, before: Tangled, known: Ints, bends: Bools, crew: Crew = ALONE
) -> Untangled:
    """Take a fit apart where it runs through itself and did not before, and unfold flipped faces.

    Parameters
    ----------
    rest : (n, 3) float64
        The template before, turned and scaled as the fit is.
    before : Tangled
        The template after.
    known : (j, 2) int64
        Pairs of faces that run through each other in the template before.
    bends : (m,) bool
        Faces that may be bent: eyeballs and teeth may not, so what runs through them stays.
    crew : Crew, optional
        Who shares the work.

    Returns
    -------
    Untangled
    """
    fit, found = before.fit, before.crossings
    faces, place = fit.faces[bends], np.cumsum(bends) - 1
    best = fit
    if len(before.new):
        best = _reshaped(fit, untangle(rest, fit.vertices, faces, place[before.new]))
    crossings = crew.begin(_crossings, best, fit, found)
    flipped = flipped_faces(rest, best.vertices, fit.faces)
    if flipped.any():
        best = _reshaped(best, unfold(rest, best.vertices, faces))
        crossings = crew.begin(_crossings, best, fit, found)
        flipped = flipped_faces(rest, best.vertices, fit.faces)
    return _told(best, crossings(), flipped, known, bends)


def redrawn(rest: Floats, told: Untangled, known: Ints, bends: Bools) -> Untangled:
    """Draw what could not be taken apart from its surroundings, if that leaves fewer faults.

    A patch around each tangle that is left, as small as will do, goes where a thin plate takes its
    rest shape between what is around it; it lies no longer where the scan has it.

    Parameters
    ----------
    rest, known, bends
        Of :func:`untangled`.
    told : Untangled
        What that left.

    Returns
    -------
    Untangled
        The one that was given if nothing is better, or the template has more than 22,000 vertices.

    Notes
    -----
    Our own.
    """
    groups = told.at_fault[all_of(bends[told.at_fault])]
    if not len(groups) or len(rest) > _COARSE:
        return told
    X, place = told.fit.vertices.copy(), np.cumsum(bends) - 1
    for some, F in _patches(told.fit.faces[bends], place[groups], len(rest)):
        X[some] = _redrawn(_Tangle(rest[some], F), X[some])
    fit = _reshaped(told.fit, X)
    found = _crossings(fit, told.fit, told.crossings)
    flipped = flipped_faces(rest, X, fit.faces)
    better = _told(fit, found, flipped, known, bends)
    return better if better.faults.number < told.faults.number else told


def _told(fit: Surface, found: Ints, flipped: Bools, known: Ints, bends: Bools) -> Untangled:
    faults = Faults(len(known), len(found), int(flipped.sum()))
    at_fault = _at_fault(_new_pairs(found, known, bends), flipped)
    return Untangled(fit, faults, found, at_fault)


def _at_fault(pairs: Ints, flipped: Bools) -> Ints:
    """Pairs of faces that cross (k, 2), and each of the flipped ones (m,) as a pair of its own."""
    folded = np.flatnonzero(flipped)
    both: Ints = np.r_[pairs, np.c_[folded, folded]]
    return both


def _new_pairs(found: Ints, known: Ints, bends: Bools) -> Ints:
    """Pairs of faces (k, 2) that may both be bent and are not among the known ones."""
    pairs = _added(found, known)
    new: Ints = pairs[all_of(bends[pairs])]
    return new


def _reshaped(fit: Surface, vertices: Floats) -> Surface:
    return fit if np.array_equal(vertices, fit.vertices) else fit.reshaped(vertices)


def _crossings(fit: Surface, before: Surface, found: Ints) -> Ints:
    """Pairs of faces (k, 2) that run through each other, where only some vertices moved since."""
    moved = any_of(any_of(fit.vertices != before.vertices)[fit.faces])
    if not moved.any():
        return found
    stayed = found[~any_of(moved[found])]
    new = self_intersections(fit.vertices, fit.faces, fit.triangles, among=moved)
    return np.concatenate([stayed, new])


def untangle(rest: Floats, vertices: Floats, faces: Ints, crossings: Ints) -> Floats:
    """Move as little as it takes for pairs of faces not to run through each other any more.

    Where two skins have met, they are pushed apart along the difference of their normals, each by
    half of how deep they overlap, until nothing crosses that did not before the fit.  Whether they
    face each other, as lips do, or lie back to back, as both sides of an ear, is told by how they
    lie in the rest shape.  All else stays where it is.

    Parameters
    ----------
    rest, vertices : (n, 3) float64
        Before and after the fit, any unit.
    faces : (m, 3) int64
        Triangles, by vertex.
    crossings : (k, 2) int64
        Pairs of faces to separate, of :func:`licp.intersections.self_intersections`.

    Returns
    -------
    (n, 3) float64
        With as few crossings as were reached without flipped faces; at worst ``vertices``.

    Notes
    -----
    Our own.

    Examples
    --------
    Two sheets that face each other, the middle of one bulged through the other:

    >>> x, y = (k.ravel() for k in np.meshgrid(np.arange(9.0), np.arange(9.0)))
    >>> low = np.stack([x, y, 0 * x], 1)
    >>> at = np.arange(81).reshape(9, 9)
    >>> a, b, c, d = (k.ravel() for k in (at[:-1, :-1], at[:-1, 1:], at[1:, 1:], at[1:, :-1]))
    >>> sheet = np.r_[np.c_[a, b, c], np.c_[a, c, d]]
    >>> V, F = np.r_[low, low + [0.1, 0.2, 1.0]], np.r_[sheet, sheet[:, ::-1] + 81]
    >>> bent = V.copy()
    >>> bent[:81, 2] += 1.3 * np.exp(-0.2 * ((x - 4) ** 2 + (y - 4) ** 2))
    >>> pairs = self_intersections(bent, F)
    >>> len(pairs) > 10, len(self_intersections(untangle(V, bent, F, pairs), F))
    (True, 0)
    """
    moved = vertices.copy()
    for some, F in _patches(faces, crossings, len(rest)):
        moved[some] = _apart(_Tangle(rest[some], F), vertices[some])
    return moved


def unfold(rest: Floats, vertices: Floats, faces: Ints) -> Floats:
    """Move the corners of flipped faces where their neighbours went, if that makes fewer of them.

    Single faces flip where two parts of a fit slide against each other, at the rim of an ear.

    Parameters
    ----------
    rest, vertices, faces
        Of :func:`untangle`; the rest shape turned and scaled as the fit is.

    Returns
    -------
    (n, 3) float64
        ``vertices`` themselves if nothing is flipped.  No part has more crossings than before.

    Examples
    --------
    >>> V = np.array([[0, 0, 0], [2, 0, 0], [0, 2, 0], [-2, 0, 0], [0, -2, 0.0]])
    >>> F = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 1]])
    >>> unfold(V, V + [[1.1, 1.1, 0]] + np.zeros((5, 3)), F)[0].tolist()
    [1.1, 1.1, 0.0]
    >>> unfold(V, np.r_[[[1.1, 1.1, 0]], V[1:]], F)[0].tolist()
    [0.0, 0.0, 0.0]
    """
    flipped = np.flatnonzero(flipped_faces(rest, vertices, faces))
    if not len(flipped):
        return vertices
    moved = vertices.copy()
    for some, F in _patches(faces, flipped[:, None], len(rest)):
        tangle, X = _Tangle(rest[some], F), vertices[some]
        folded = tangle.flipped(X)
        Y = X + tangle.iron(X, folded)
        fewer = tangle.flipped(Y).sum() < folded.sum()
        if fewer and len(tangle.pairs(Y)) <= len(tangle.pairs(X)):
            moved[some] = Y
    return moved


def _apart(tangle: "_Tangle", X: Floats) -> Floats:
    """The best of all rounds: fewest crossings, and no more flipped faces than before."""
    best, pairs = X, tangle.pairs(X)
    least, flips = len(pairs), tangle.flipped(X).sum()
    last = 0
    for number in range(_ROUNDS):
        if not len(pairs) or number - last > _PATIENCE:
            break
        X = X + tangle.push(X, pairs)
        pairs = tangle.pairs(X)
        if len(pairs) < least and tangle.flipped(X).sum() <= flips:
            best, least, last = X, len(pairs), number
    return best


def _redrawn(tangle: "_Tangle", X: Floats) -> Floats:
    """The best of all sizes of a patch, as often as that leaves fewer faults."""
    faults, better = tangle.faults(X), True
    while len(faults) and better:
        start, at_fault, better = X, faults, False
        for rings in _REDRAWN:
            Y = _apart(tangle, tangle.drawn(start, at_fault, rings))
            left = tangle.faults(Y)
            if len(left) < len(faults):
                X, faults, better = Y, left, True
            if not len(faults):
                break
    return X


def _patches(faces: Ints, groups: Ints, n: int) -> Iterator[tuple[Ints, Ints]]:
    """Vertices around groups of faces (k, 1 or 2) that hang together, and all faces between them.

    Those of a group hang together, however far apart they are along the surface.  Faces are by the
    places of their vertices among these.
    """
    near = np.zeros(n, bool)
    near[faces[groups].ravel()] = True
    for _ in range(_RINGS):
        near[faces[any_of(near[faces])].ravel()] = True
    F = faces[all_of(near[faces])]
    ends = faces[groups]
    part = components(np.r_[F, np.c_[ends[:, 0, :2], ends[:, -1, 2:]]], n)
    for k in range(part.max() + 1):
        mine = part == k
        yield np.flatnonzero(mine), (np.cumsum(mine) - 1)[F[mine[F[:, 0]]]]


def _added(found: Ints, known: Ints) -> Ints:
    """Pairs of faces (k, 2) that are not among the known ones (j, 2)."""
    width = 1 + max(found.max(initial=0), known.max(initial=0))
    new: Ints = found[~np.isin(found @ [width, 1], known @ [width, 1])]
    return new


class _Tangle:
    """A patch of surface that has met itself."""

    def __init__(self, rest: Floats, faces: Ints) -> None:
        self.rest, self.faces = rest, faces
        n = len(rest)
        a, b = edges(faces)[0].T
        self._edge = float(np.linalg.norm(rest[a] - rest[b], axis=1).mean())
        ends = np.r_[a, b], np.r_[b, a]
        joined = sparse.csr_array((np.ones(2 * len(a)), ends), shape=(n, n))
        self._mean = sparse.diags_array(1.0 / joined.sum(axis=1)) @ joined
        self._known = self_intersections(rest, faces)
        self._rest_normals = self._smooth_normals(rest)
        self._rest_centres = rest[faces].mean(axis=1)

    def pairs(self, X: Floats) -> Ints:
        """Crossings that the rest shape does not have."""
        return _added(self_intersections(X, self.faces), self._known)

    def flipped(self, X: Floats) -> Bools:
        """Faces (m,) that have turned over."""
        return flipped_faces(self.rest, X, self.faces)

    def faults(self, X: Floats) -> Ints:
        """Faces of these crossings, and those that have turned over, as pairs (k, 2)."""
        return _at_fault(self.pairs(X), self.flipped(X))

    def iron(self, X: Floats, flipped: Bools) -> Floats:
        """Displacements (n, 3) that take corners of flipped faces where their neighbours went."""
        corners = np.zeros(len(X), bool)
        corners[self.faces[flipped].ravel()] = True
        went = X - self.rest
        step: Floats = np.where(corners[:, None], self._mean @ went - went, 0.0)
        return step

    def drawn(self, X: Floats, at_fault: Ints, rings: int) -> Floats:
        """Faces and so many rings around them as a thin plate, at rest in the rest shape."""
        corners = np.zeros((1, len(X)), bool)
        corners[0, self.faces[at_fault].ravel()] = True
        free = grown(corners, unsigned(self._mean.indptr, self._mean.indices), rings)[0]
        if np.mean(~free) < _HELD:
            return X
        K = self._plate[free]
        went = X - self.rest
        ridge = sparse.diags_array(np.full(np.count_nonzero(free), _RIDGE))
        went[free] = splu((K[:, free] + ridge).tocsc()).solve(-(K[:, ~free] @ went[~free]))
        return self.rest + went

    @cached_property
    def _plate(self) -> Any:
        """Bending energy of a thin plate (n, n), vertices evenly spread."""
        L = sparse.eye_array(len(self.rest)) - self._mean
        return (L.T @ L).tocsr()

    def push(self, X: Floats, pairs: Ints) -> Floats:
        """One round: displacements (n, 3) that take the faces of each pair apart."""
        below, above = self.faces[pairs[:, 0]], self.faces[pairs[:, 1]]
        up = self._ways(X, pairs)
        low = np.einsum("pkj,pj->pk", X[below], up)
        high = np.einsum("pkj,pj->pk", X[above], up)
        middle = 0.5 * (low.max(axis=1) + high.min(axis=1))[:, None]
        gap = _GAP * self._edge
        moves = np.r_[np.minimum(middle - gap - low, 0.0), np.maximum(middle + gap - high, 0.0)]
        at = np.r_[below, above].ravel()
        pushes = np.bincount(at, moves.ravel() != 0.0, minlength=len(X))[:, None]
        each = (moves[:, :, None] * np.r_[up, up][:, None]).reshape(-1, 3)
        step: Floats = group_sums(each, at, len(X)) / np.maximum(pushes, 1.0)
        length = np.linalg.norm(step, axis=1, keepdims=True)
        step *= np.minimum(1.0, _STRIDE * self._edge / np.maximum(length, 1e-300))
        own = np.where(pushes > 0, _KEPT, 0.0)
        around = np.where(pushes > 0, 1.0 - _KEPT, _KEPT)
        for _ in range(_SMOOTHING):
            step = own * step + around * (self._mean @ step)
        return step

    def _ways(self, X: Floats, pairs: Ints) -> Floats:
        """Unit vectors (p, 3) along which the first face of each pair belongs below the second."""
        first, second = pairs.T
        now, then, at = self._smooth_normals(X), self._rest_normals, self._rest_centres
        # Whether skins face each other or lie back to back is told by all pairs nearby, in both.
        faced = np.einsum("pj,pj->p", at[second] - at[first], then[first] - then[second])
        both = np.r_[np.c_[at[first], at[second]], np.c_[at[second], at[first]]]
        k = min(_VOTES, len(both))
        votes = np.r_[faced, faced][KDTree(both).query(both[: len(pairs)], k=k)[1].reshape(-1, k)]
        back = votes.sum(axis=1) < -_BACK_TO_BACK * np.abs(votes).sum(axis=1)
        sign = np.where(back, -1.0, 1.0)
        up = now[first] - now[second]
        # Skins that look the same way have no direction in which to part.
        length = np.maximum(np.linalg.norm(up, axis=1, keepdims=True), 0.2)
        ways: Floats = up * (sign[:, None] / length)
        return ways

    def _smooth_normals(self, X: Floats) -> Floats:
        """Normals of the faces (m, 3) as their surroundings have them."""
        normals = vertex_normals(X, self.faces)
        for _ in range(_SMOOTHING):
            normals = 0.5 * (normals + self._mean @ normals)
        mean = normals[self.faces].mean(axis=1)
        smooth: Floats = mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9)
        return smooth
