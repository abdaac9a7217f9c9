"""Bending anew without what the scan may not show, where a fit ran through itself."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from licp.absence import Doubt
from licp.bending import Apart, Bent, Stages, bend, taken_apart
from licp.errors import OverlapError, SolverError
from licp.icp import Encounter

__all__ = ["bend_doubting"]

Bools = NDArray[np.bool_]

# Parts of a fit that ran through itself are doubted if they lack this part of their curvature on
# the scan, one after the other; how often a template is bent anew for that.  A third try takes
# wide open mouths apart that the first two leave; 0.13 doubts sound parts.
_LACKING, _DOUBTS = (0.3, 0.2, 0.15), 5
# Tangles of less than this part of the faces are left: finer templates have small ones at lips, and
# bending anew takes as long as bending did.  Crushed ears and lost mouths have 0.7 to 3 %.
_FEW = 0.005
# So many times as many that could be taken apart are worth a look at what the scan shows there:
# crushed ears have 1.3 to 10 %, a third of all ICT fits have more than 1 % at closed lips.
_TORN = 2
# Vertices without a match that one fault or crushed vertex less may cost on the way, where wide
# open mouths let go of their lips until they find others, and in the end: absent ears cost 0.3 to
# 2, ears and mouth of a head that shows neither 3, lips of another style than the template's 5.
_WORTH, _IN_THE_END = 20, 4
# Vertices that must get a match back for one fault more: a few flipped faces in a mouth.  5 to 50
# are alike, with 100 one of 32 wide open mouths stays lost.
_BACK = 20
# What is still lost is tried once more with normals that count so many times as much in the search.
# Of seven fits of two open mouths, turned in other ways, six come right; none to five where they
# count 0.8 times as much or stages are left out or repeated.  Of 96 fits of 32 turned open mouths
# two instead of five are lost.
_OTHERWISE = 1.2
# Of more than so many times as much nothing would come: half of an MRI head, say.
_HOPELESS = 10
# Stiffness length from which on what was doubted is believed again: 20 mm of 400.  From 9 mm on,
# two of five wide open mouths find what crosses again.
_LATE = 0.05


def bend_doubting(bent: Apart, encounter: Encounter, stages: Stages) -> tuple[Apart, Bools]:
    """Bend again without what the scan may not show, if the fit ran through itself there.

    Such a part then follows its surroundings, as an ear under hair does.

    Parameters
    ----------
    bent : Apart
        With all matches.
    encounter, stages
        What it was bent by.

    Returns
    -------
    bent : Apart
        The same, or a better one.
    absent : (m,) bool
        Vertices of the body that it was bent without.
    """
    found = _doubted(bent, encounter, stages)
    few = _FEW * len(encounter.template.bends)
    if few < found[2] <= _HOPELESS * few and not bent.shape.stopped:
        # Wide open mouths stand where two ways part; this takes the other one.
        stages = tuple(replace(s, normal_weight=_OTHERWISE * s.normal_weight) for s in stages)
        other = _bend_if(encounter, stages)
        if other is not None:
            again = _doubted(other[0], encounter, stages, _cost(found))
            found = min(found, again, key=_cost)
    return found[:2]


def _doubted(
    bent: Apart, encounter: Encounter, stages: Stages, most: float = np.inf
) -> tuple[Apart, Bools, int]:
    """The same from one fit; and what is wrong with it in the end.

    What cannot cost less than all that was tried, or than ``most``, is not.
    """
    template, free = encounter.template, encounter.template.pyramid.finest.traits.free
    absent = failed = np.zeros(len(free), bool)
    left, few = bent.untangled.left, _FEW * len(template.bends)
    if len(left) <= few and len(bent.tangled.torn) <= _TORN * few:
        return bent, absent, 0
    doubt = replace(_doubt(bent, encounter), left=template.at_faces(left))
    if len(left) <= few and not doubt.crushed:
        return bent, absent, 0
    passes = 0
    tried = [(bent, absent, _wrong(bent, doubt))]
    for share in _LACKING:
        while (len(doubt.left) or doubt.crushed) and not bent.shape.stopped:
            part = template.absent(doubt, share)
            doubted = absent | part
            count, more = np.count_nonzero(doubted), np.count_nonzero(part & ~absent)
            if more == 0 or np.array_equal(doubted, failed) or passes == _DOUBTS:
                break
            # Even if nothing were wrong any more.
            if count >= min(most, *map(_cost, tried)) or 2 * count > np.count_nonzero(free):
                break
            passes += 1
            without = encounter.trusting(np.where(doubted, 0.0, 1.0))
            again = _bend_if(without, stages, _wrong(bent, doubt) - more / _WORTH)
            if again is None:
                failed = doubted
                break
            (bent, doubt), absent = again, doubted
            tried.append((bent, absent, _wrong(bent, doubt)))
    if absent.any():
        # Led there by its surroundings, a mouth that is wide open may be found after all.
        worth = np.count_nonzero(absent) / _BACK
        again = _bend_if(encounter, stages, _wrong(bent, doubt) + worth, start=bent)
        if again is not None:
            return again[0], np.zeros_like(absent), _wrong(*again)
    return min(tried, key=_cost)


def _cost(found: tuple[Apart, Bools, int]) -> int:
    """What a fit costs in the end, in vertices without a match."""
    return int(np.count_nonzero(found[1])) + _IN_THE_END * found[2]


def _wrong(bent: Apart, doubt: Doubt) -> int:
    """What is wrong with a fit: faults, and vertices that were crushed without leaving any."""
    return bent.untangled.faults.number + doubt.crushed


def _doubt(bent: Bent, encounter: Encounter) -> Doubt:
    """What a fit lacks, and where it is tangled."""
    template, X, search = encounter.template, bent.body, bent.shape.search
    finest = template.pyramid.finest
    territory = encounter.territory(search.stage, finest.traits)
    # Once more, since the last step moved it.
    now = search.match(X, finest.normals(X), finest.traits, territory)
    return template.doubt(now.curvature, bent.matches, bent.tangled.torn)


def _bend_if(
    encounter: Encounter, stages: Stages, most: float = np.inf, start: Bent | None = None
) -> tuple[Apart, Doubt] | None:
    """A bent template and what to doubt; nothing where too little matches or too much is wrong.

    From a start, only the last stages.
    """
    stiffest = stages[0].stiffness
    if start is not None:
        stages = tuple(stage for stage in stages if stage.stiffness <= _LATE) or stages[-1:]
    try:
        bent = bend(encounter, stages, stiffest=stiffest, start=start)
    except (OverlapError, SolverError):
        return None
    doubt = _doubt(bent, encounter)
    # Taking apart mends nothing that is crushed, and takes as long as bending.
    if doubt.crushed > most:
        return None
    apart = taken_apart(bent, encounter)
    doubt = replace(doubt, left=encounter.template.at_faces(apart.untangled.left))
    return (apart, doubt) if _wrong(apart, doubt) <= most else None
