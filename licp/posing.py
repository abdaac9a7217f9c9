"""Where a template starts: poses that are searched or given, refined, and the best one chosen."""

import numpy as np
from numpy.typing import NDArray

from licp.alignment import agreement, align_globally, refine_alignment
from licp.cloud import Cloud
from licp.correspondence import Matcher
from licp.errors import OverlapError
from licp.feature_tree import Looks
from licp.features import HeatCurvature
from licp.landmarks import BoundLandmarks
from licp.scan import PreparedScan
from licp.similarity import Similarity, fit_similarity
from licp.surface import even_subset
from licp.template import PreparedTemplate
from licp.threads import Crew

__all__ = ["landmark_pose", "searched_poses", "settled_pose"]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# A scan and a template of one unit do not differ more than this: a face beside a bust, not metres
# beside millimetres.
_ONE_UNIT = 8.0
# With equal shares of the weight so many vertices fix seven numbers as well as all do.
_FEW = 1000


def searched_poses(
    template: PreparedTemplate, cloud: Cloud, rigid: bool, crew: Crew
) -> list[Similarity]:
    """Poses from the template's unit frame to the scan without any start, best first.

    Parameters
    ----------
    template : PreparedTemplate
        Prepared.
    cloud : Cloud
        Of the scan.
    rigid : bool
        Whether template and scan are in one unit and of one size.
    crew : Crew
        Who shares the work.

    Raises
    ------
    OverlapError
        If both cannot be of one size.
    """
    if not rigid:
        return align_globally(template.cloud, cloud, crew=crew)
    grown = Similarity(1.0 / template.to_unit.scale, np.eye(3), np.zeros(3))
    own = template.cloud.scaled(grown.scale)
    ratio = cloud.radius / own.radius
    if not 1 / _ONE_UNIT < ratio < _ONE_UNIT:
        raise OverlapError(
            f"rigid=True keeps the scale, but the scan is {ratio:.3g} times as large as the "
            "template: bring both to one unit, or leave out rigid"
        )
    found = align_globally(own, cloud, with_scale=False, crew=crew)
    return [pose.after(grown) for pose in found]


def landmark_pose(template: PreparedTemplate, marks: BoundLandmarks, rigid: bool) -> Similarity:
    """The pose from the template's unit frame to the scan that landmarks agree on.

    Parameters
    ----------
    template : PreparedTemplate
        Prepared.
    marks : BoundLandmarks
        Enough of them (see :meth:`licp.landmarks.BoundLandmarks.suffice`).
    rigid : bool
        Whether the scale is kept.
    """
    own = template.to_unit.inverse()
    at = own.apply(marks.on(template.rest))
    return fit_similarity(at, marks.positions, marks.confidence, not rigid).after(own)


def settled_pose(
    template: PreparedTemplate,
    poses: list[Similarity],
    scan: PreparedScan,
    gate: float,
    labels: Ints | None,
    rigid: bool,
    crew: Crew,
) -> tuple[Similarity, Matcher]:
    """Refine the poses; the one that explains most, with the scan in the template's unit frame.

    Parameters
    ----------
    template, scan
        Prepared.
    poses : list of Similarity
        From the unit frame to the scan.
    gate : float
        How near they must come in parts of the template's size.
    labels : (k,) int64, optional
        Regions of the vertices of the whole scan.
    rigid : bool
        Whether the scale is kept.
    crew : Crew
        Who shares the work.

    Raises
    ------
    OverlapError
        If nothing comes within the gate, from none of the poses.
    """
    traits = template.pyramid.finest.traits
    some = even_subset(template.rest, np.where(traits.free, traits.trust, 0.0), _FEW)
    looks = Looks(template.rest[some], traits.normals[some], traits.features[some])
    best, most, apart = None, -np.inf, None
    for pose in poses:
        target, fine = scan.seen_from(pose)
        matcher = Matcher(
            target,
            HeatCurvature.on(target).of(target.vertices, target.normals, crew),
            fine=fine,
            ignored=scan.ignored,
            labels=labels if labels is None or fine is None else labels[fine[1]],
            crew=crew,
        )
        usable = None if matcher.ignored is None else ~matcher.ignored
        try:
            _check_overlap(looks, matcher, gate, usable)
        except OverlapError as error:  # others may do
            apart = error
            continue
        move = refine_alignment(
            looks,
            target,
            matcher.tree,
            usable=usable,
            with_scale=not rigid,
            crew=crew,
        )
        agreed = 0.0
        if len(poses) > 1:
            agreed = agreement(looks.moved(move), matcher.looks, matcher.tree, usable, crew)
        if agreed > most:
            most = agreed
            best = pose.after(move), matcher.moved(move.inverse())
    if best is None:
        raise apart or OverlapError("there is no pose to begin with")
    return best


def _check_overlap(looks: Looks, matcher: Matcher, gate: float, usable: Bools | None) -> None:
    d, at = matcher.tree.nearest(looks, crew=matcher.crew)
    d = d if usable is None else np.where(usable[at], d, np.inf)
    if not (d < gate).any():
        raise OverlapError(
            "template and scan have nothing in common: from the start, given or found, the nearest "
            f"scan vertex is {d.min() / gate:.1f} times the distance gate away; check start, "
            "masks and landmarks"
        )
