"""A template bent to a scan: the first, stiff bending and what it tells, then all stages."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from licp.alignment import grip
from licp.correspondence import Matcher, Matches, State
from licp.icp import Encounter, Shape, Watch, deform
from licp.level import Level
from licp.schedule import Stage
from licp.similarity import Similarity, fit_similarity
from licp.template import PreparedTemplate
from licp.territory import Places
from licp.untangle import Tangled, Untangled, redrawn, tangled, untangled

__all__ = [
    "Apart",
    "Bent",
    "Stages",
    "bend",
    "bend_roughly",
    "near_matches",
    "straightened",
    "taken_apart",
    "tidied",
    "told_places",
]

Floats = NDArray[np.float64]
Stages = tuple[Stage, ...]

# Stiffness length of the first bending, which tells the pose: 20 mm of 400.  Three stages down to
# 12 mm do not tell more: the error is the same within 0.3 % (ICT, MakeHuman), 0.8 % (generated).
_ROUGH = 0.05
# What matched nothing then and lies further than 12 mm of 400 from all that did is not shown.  With
# 8 mm ears that are only hidden are taken for it, with 16 mm the unseen side of half a head creeps
# over its border.  What lies inside of something is told in other ways.
_NEAR = 0.03
_OUTSIDE = (State.BORDER, State.NORMAL, State.DISTANCE)


@dataclass(frozen=True, eq=False)
class Bent:
    """A template that was bent.

    Attributes
    ----------
    shape : Shape
        Where the loop ended.
    body : (m, 3) float64
        All that bends, in the template's frame.
    matches : Matches
        Of the body.
    vertices : (n, 3) float64
        The whole mesh.
    tangled : Tangled
        The same, and where it runs through itself.
    """

    shape: Shape
    body: Floats
    matches: Matches
    vertices: Floats
    tangled: Tangled


@dataclass(frozen=True, eq=False)
class Apart(Bent):
    """The same, taken apart where it ran through itself.

    Attributes
    ----------
    untangled : Untangled
    """

    untangled: Untangled


def bend(
    encounter: Encounter,
    stages: Stages,
    *,
    stiffest: float | None = None,
    start: Bent | None = None,
    watch: Watch | None = None,
) -> Bent:
    """Bend through all stages; then all of the template.

    Parameters
    ----------
    encounter, stages, stiffest, watch
        Of :func:`licp.icp.deform`.
    start : Bent, optional
        Where to go on.
    """
    template, pyramid = encounter.template, encounter.template.pyramid
    body = None if start is None else start.body
    shape = deform(encounter, stages, stiffest=stiffest, start=body, watch=watch)
    if start is not None:
        shape = replace(shape, history=start.shape.history + shape.history)
    X, matches = shape.vertices, shape.matches
    if shape.number < pyramid.last:
        finest = pyramid.finest
        territory = encounter.territory(shape.search.stage, finest.traits)
        X = pyramid.refined(X, shape.number, pyramid.last)
        matches = shape.search.match(X, finest.normals(X), finest.traits, territory)
    vertices = template.placed(X)
    fit = template.whole.reshaped(vertices[template.clean.source])
    met = tangled(fit, template.crossings, template.bends, encounter.matcher.crew)
    return Bent(shape, X, matches, vertices, met)


def taken_apart(bent: Bent, encounter: Encounter) -> Apart:
    """Taken apart where it runs through itself, as far as that goes."""
    template, met = encounter.template, bent.tangled
    rest, crew = template.whole.vertices, encounter.matcher.crew
    told = untangled(rest, met, template.crossings, template.bends, crew)
    return Apart(bent.shape, bent.body, bent.matches, bent.vertices, met, told)


def tidied(bent: Apart, template: PreparedTemplate) -> Apart:
    """What could not be taken apart drawn from its surroundings."""
    told = bent.untangled
    rest, known = template.whole.vertices, template.crossings
    return replace(bent, untangled=redrawn(rest, told, known, template.bends))


def bend_roughly(encounter: Encounter, stages: Stages) -> Shape | None:
    """A first, stiff bending, if there is a stage that is as stiff."""
    rough = tuple(stage for stage in stages if stage.stiffness >= _ROUGH)[-1:]
    return deform(encounter, rough) if rough else None


def straightened(
    pose: Similarity, matcher: Matcher, level: Level, shape: Shape, rigid: bool
) -> tuple[Similarity, Matcher]:
    """Pose that a first bending settled on.

    Once nose meets nose and ear meets ear, a similarity is left with what all agree on; the rigid
    search gave some of their difference in shape to the pose.

    Parameters
    ----------
    pose : Similarity
        Before.
    matcher : Matcher
        With the scan where that pose has it.
    level : Level
        Of the shape.
    shape : Shape
        Of the first bending.
    rigid : bool
        Whether the scale is kept.
    """
    pulled = (shape.matches.state == State.MATCHED) & level.traits.free
    # Squared: the back of a head may slide by centimetres, ears and nose by millimetres.
    sure = level.traits.trust * grip(level.traits.features) ** 2
    seen = np.where(pulled, sure, 0.0)
    if np.count_nonzero(seen) < 4:
        return pose, matcher
    move = fit_similarity(level.rest, shape.vertices, seen, not rigid)
    return pose.after(move), matcher.moved(move.inverse())


def near_matches(template: PreparedTemplate, shape: Shape) -> NDArray[np.bool_]:
    """Vertices of the body that lie near something that matched in a first bending, (m,).

    The others lie beyond the rim of the scan.  Drawn by their surroundings they would creep over
    it, stage by stage, until they match.

    Parameters
    ----------
    template : PreparedTemplate
        What was bent.
    shape : Shape
        Of the first bending.
    """
    level = template.pyramid.levels[shape.number]
    pulled = (shape.matches.state == State.MATCHED) & level.traits.free
    outside = np.isin(shape.matches.state, _OUTSIDE)
    gap = KDTree(level.rest[pulled]).query(level.rest[outside])[0]
    outside[outside] = gap > _NEAR
    # What follows none of them is not near one.
    beyond: NDArray[np.bool_] = template.pyramid.followed(outside.astype(float), shape.number) > 0
    beyond[beyond] = outside[KDTree(level.rest).query(template.rest[beyond])[1]]
    return ~beyond


def told_places(
    template: PreparedTemplate, matcher: Matcher, stages: Stages, shape: Shape | None
) -> Places | None:
    """What the correspondence sets of the stages may match, told by a first bending."""
    if not any(stage.sets for stage in stages):
        return None
    level = template.pyramid.finest if shape is None else template.pyramid.levels[shape.number]
    X = level.rest if shape is None else shape.vertices
    search = matcher.at(stages[0]) if shape is None else shape.search
    alike = search.resemblance(X, level.normals(X), level.traits)
    return Places(alike, level.traits.sets, matcher.target.neighbours, matcher.target.spacing)
