"""A template, prepared once for any number of scans."""

from collections.abc import Mapping
from copy import copy

import numpy as np
from numpy.typing import NDArray

from licp.absence import Doubt, absent_parts, lacking
from licp.cloud import Cloud
from licp.correspondence import Matches, State
from licp.errors import InputError
from licp.expectation import expected_errors
from licp.features import HeatCurvature
from licp.geometry import all_of, components, vertex_areas
from licp.intersections import self_intersections
from licp.level import Pyramid
from licp.mesh import Mesh
from licp.repair import clean
from licp.restshape import Followers
from licp.schedule import Schedule
from licp.similarity import Similarity
from licp.solver import Backend
from licp.surface import Surface
from licp.threads import Crew
from licp.traits import Traits
from licp.visibility import visible_share

__all__ = ["PreparedTemplate"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Separate parts with less than this share of the largest one's area (eyeballs, teeth) follow
# their surroundings as rigidly as a similarity does; larger ones are matched themselves.
_BODY_SHARE = 0.2
# Vertices seen from less than this share of the views they face lie inside of something or at its
# mouth: lips, lids and nostrils have 0.15 to 0.3, the skin between ear and head 0.1 and more.  They
# match only what is as near as this (8 mm of 400) and faces the same way; before the shapes agree,
# a mouth bag finds the cheeks.  With 0.05, linings of noses and eye sockets come out on real scans;
# simulated ones are the same with 0.05 to 0.3.
_HIDDEN, _HIDDEN_REACH = 0.3, 0.02
# Matches weigh by this power of the area of their vertices: those who make templates put vertices
# where there is something to tell.  1 adds 2 to 3 % to the error of our tuning heads; less takes
# more from that of ICT heads, but lids and nostrils of real scans tear.
_BY_AREA = 0.75
# Steps by which a part must lack more of its curvature to be absent, where too much would be.
_STRICTER = 0.15
# What a match is sure of falls off over this distance from the scan: 2 mm of 400.
_SURE = 0.005


class PreparedTemplate:
    """A template that is checked, repaired and ready to be morphed.  Immutable.

    Everything is in the frame and unit in which its body has the area one about the origin.

    Parameters
    ----------
    mesh : Mesh
    schedule : Schedule
        Says how coarse it is needed, and how many controls carry its rest shape.
    weights, bending, masked, labels : (n,) array, optional
        The ``data_weights``, ``stiffness``, ``mask`` and ``labels`` of :class:`licp.Morpher`.
    sets : mapping
        As in :class:`licp.traits.Traits`, of all vertices.
    backend : {"numba", "cholmod", "scipy"}, optional
    crew : Crew
        Who shares the work.

    Attributes
    ----------
    mesh : Mesh
    clean : CleanMesh
        What is left of it after repair.
    in_body : (n,) int64
        Number in the body, the part that is matched and bent, of each vertex of ``clean``; -1 if it
        is in a small separate part.
    to_unit : Similarity
        From the template's own frame.
    rest : (m, 3) float64
        The body undeformed.
    whole : Surface
        All of ``clean``; ``before`` is the same in the template's own frame.
    bends : (f,) bool
        Faces of the body among those of ``whole``.
    crossings : (k, 2) int64
        Faces of ``whole`` that run through each other.
    pyramid : Pyramid
        The body at all its resolutions.
    cloud : Cloud
        What a search of all poses looks at.

    Raises
    ------
    InputError
        If no vertex is left that may match.
    """

    def __init__(
        self,
        mesh: Mesh,
        schedule: Schedule,
        weights: Floats | None,
        bending: Floats | None,
        masked: Bools | None,
        labels: Ints | None,
        sets: Mapping[tuple[str, ...], Ints],
        backend: Backend | None,
        crew: Crew,
    ) -> None:
        self.mesh = mesh
        self.clean = kept = clean(mesh.vertices, mesh.faces)
        part = components(kept.faces, len(kept.vertices))
        area = vertex_areas(kept.vertices, kept.faces, kept.areas)
        part_area = np.bincount(part, area)
        of_body = part_area[part] >= _BODY_SHARE * part_area.max()
        asked = None if of_body.all() else of_body
        shown = crew.begin(visible_share, kept.vertices, kept.faces, asked)
        self._body = np.flatnonzero(of_body)
        self.in_body = np.where(of_body, np.cumsum(of_body) - 1, -1)
        self._body_of = np.where(kept.index < 0, -1, self.in_body[kept.index])
        faces = self.in_body[kept.faces]
        self.bends = all_of(faces >= 0)

        total = area[of_body].sum()
        centre, size = area[of_body] @ kept.vertices[of_body] / total, float(np.sqrt(total))
        self.to_unit = Similarity(1.0 / size, np.eye(3), -centre / size)
        self.whole = whole = Surface(self.to_unit.apply(kept.vertices), kept.faces)
        whole.edges = kept.edges
        _ = whole.border, whole.areas  # found once for all fits
        self.before = whole.moved(self.to_unit.inverse())
        self.rest = whole.vertices[of_body]
        surface = whole if of_body.all() else Surface(self.rest, faces[self.bends])
        cloud = crew.begin(Cloud.of, surface)
        crossings = crew.begin(
            lambda: self_intersections(whole.vertices, whole.faces, whole.triangles)
        )
        source = kept.source[self._body]
        self._areas = surface.vertex_areas
        trust = self._areas**_BY_AREA
        trust *= self._areas.sum() / trust.sum()
        if weights is not None:
            trust *= kept.least(weights)[self._body]
        free = trust > 0
        if masked is not None:
            free &= ~kept.any(masked)[self._body]
        if not free.any():
            raise InputError("mask and data_weights leave no template vertex that may match")
        self._curvature = HeatCurvature.on(surface)
        curvature = self._curvature.of(self.rest, surface.normals, crew)
        traits = Traits(
            trust,
            np.ones(len(trust)) if bending is None else bending[source],
            np.where(shown() < _HIDDEN, _HIDDEN_REACH, np.inf),
            free,
            np.zeros(len(free), bool),
            None if labels is None else labels[source],
            surface.normals,
            curvature,
            {names: own[source] for names, own in sets.items()},
        )
        stiffness = [stage.stiffness for stage in schedule]
        self.pyramid = Pyramid(
            surface,
            traits,
            schedule.controls,
            schedule.control_radius,
            backend,
            max(stiffness),
            min(stiffness),
            crew,
        )
        self._loose, self._followers = self._beside(part)
        self.cloud = cloud()
        self.crossings = crossings()

    def trusting(self, factor: Floats) -> "PreparedTemplate":
        """The same with the trust in the match of each vertex of the body times a factor (m,).

        Everything that takes time is shared.
        """
        return self._with(self.pyramid.finest.traits.trusting(factor))

    def showing(self, near: Bools) -> "PreparedTemplate":
        """The same where only these vertices of the body (m,) do not lie beyond the scan's rim."""
        return self._with(self.pyramid.finest.traits.showing(near))

    def _with(self, traits: Traits) -> "PreparedTemplate":
        other = copy(self)
        other.pyramid = self.pyramid.with_traits(traits)
        return other

    @property
    def follows(self) -> Bools | None:
        """Vertices of ``whole`` that may not match, (n,); None if there are none."""
        free = self.pyramid.finest.traits.free
        if free.all():
            return None
        flags = np.zeros(len(self.whole.vertices), bool)
        flags[self._body] = ~free
        return flags

    def on_body(self, weights: Floats) -> Floats:
        """Those of weights of all vertices of the mesh (n,) that are of the body (m,)."""
        return self.clean.least(weights)[self._body]

    def doubt(self, found: Floats, matches: Matches, torn: Ints) -> Doubt:
        """What a fit lacks, and where it is tangled, by vertices of the body.

        Parameters
        ----------
        found : (m, k) float64
            Curvature of the scan where each vertex matches.
        matches : Matches
            Of the body.
        torn : (s,) int64
            Faces of ``whole`` that run through others.
        """
        seen = np.isin(matches.state, (State.MATCHED, State.NORMAL, State.HIDDEN))
        lacks = lacking(self.pyramid.finest.traits.features, found, seen, self._curvature)
        return Doubt(lacks, self.at_faces(torn))

    def at_faces(self, faces: Ints) -> Ints:
        """Vertices of the body (k,) at some faces of ``whole``."""
        vertices = np.unique(self.in_body[self.whole.faces[faces]])
        return vertices[vertices >= 0]

    def absent(self, doubt: Doubt, share: float) -> Bools:
        """Vertices of the body (m,) that the scan does not show: :func:`licp.absence.absent_parts`.

        Parameters
        ----------
        doubt : Doubt
            Of a fit.
        share : float
            Part of its curvature that such a part lacks; more, where that would be a third of all:
            a smooth scan lacks something everywhere.
        """
        free, faces = self.pyramid.finest.traits.free, self.pyramid.finest.faces
        while True:
            absent = absent_parts(doubt.lacks, faces, doubt.seeds, share) & free
            if 3 * np.count_nonzero(absent) <= np.count_nonzero(free):
                return absent
            share += _STRICTER

    def _beside(self, part: Ints) -> tuple[Ints, Followers]:
        """Vertices of the mesh that are not in the body, and how they follow it."""
        loose = np.flatnonzero(self._body_of < 0)
        kept = self.clean.index[loose]
        # Each vertex that no face uses is a part by itself.
        group = np.where(kept < 0, len(part) + loose, part[kept])
        number = np.unique(group, return_inverse=True)[1]
        at = self.to_unit.apply(self.mesh.vertices[loose])
        return loose, Followers(self.rest, self.pyramid.finest.spacing, at, number)

    def placed(self, X: Floats) -> Floats:
        """All vertices of the mesh (n, 3) where those of its body are at ``X``."""
        everywhere = X[self._body_of]
        everywhere[self._loose] = self._followers.placed(X)
        return everywhere

    def told(
        self, fit: Surface, matches: Matches, absent: Bools, scale: float
    ) -> tuple[NDArray[np.uint8], Floats, Floats, Floats]:
        """State, residual, confidence and expected error of all vertices of the mesh.

        Parameters
        ----------
        fit : Surface
            What became of ``whole``.
        matches : Matches
            Of the body.
        absent : (m,) bool
            Vertices of the body that the scan does not show.
        scale : float
            Distances are told in so many parts of a unit.
        """
        X = fit.vertices[self._body]
        state = np.where(self.pyramid.finest.traits.free, matches.state, np.uint8(State.MASKED))
        state[absent] = State.ABSENT
        seen = state == State.MATCHED
        gap = np.linalg.norm(matches.points - X, axis=1)
        close = np.where(seen, 1.0 / (1.0 + (gap / _SURE) ** 2), 0.0)
        around = np.clip(self._curvature.spread(close), 0.0, 1.0)
        trust = np.where(seen, 0.5 * (close + around), 0.5 * around)
        curvature = self.pyramid.finest.traits.features[:, -1], matches.curvature[:, -1]
        error = scale * expected_errors(*curvature, seen, gap, self._areas, self.pyramid.spread)

        body_of = self._body_of
        here, n = body_of >= 0, len(body_of)
        full_state = np.full(n, State.COMPONENT, np.uint8)
        full_state[here] = state[body_of[here]]
        residual = np.full(n, np.nan)
        residual[here] = np.where(seen, gap, np.nan)[body_of[here]] * scale
        confidence = np.zeros(n)
        confidence[here] = trust[body_of[here]]
        confidence[self._loose] = 0.5 * self._followers.told(trust)
        expected = np.empty(n)
        expected[here] = error[body_of[here]]
        expected[self._loose] = self._followers.told(error)
        return full_state, residual, confidence, expected
