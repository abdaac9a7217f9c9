"""One resolution of a template: everything the loop needs of it, prepared once."""

from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from licp.coarsening import Coarsening, coarsen
from licp.compiled import kernel
from licp.correspondence import Matches, State
from licp.features import HeatCurvature
from licp.geometry import vertex_normals
from licp.landmarks import BoundLandmarks
from licp.restshape import LocalSimilarities
from licp.solver import Backend, ElasticSystem
from licp.surface import Surface
from licp.threads import ALONE, Crew
from licp.traits import Traits

__all__ = ["Level", "Pyramid"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# A coarse level keeps vertices this many of their own spacings apart: a quarter of them, dense
# where the template is, which takes 3 % of the error of ICT heads against evenly spread ones.
_WIDER = 2.0
# Spacings beyond these parts of the mean one count as that: what is next to a sliver has none.
_DENSEST, _SPARSEST = 0.2, 2.0
# No level keeps vertices further apart than this on average, 10 mm of 400: noses and ears must keep
# a shape.
_WIDEST = 0.024
# Accuracy of averages: flat places have a hundredth of the squared curvature of an ear.
_FINE = 1e-3
# Local similarities are of at least so many vertex spacings around their controls.
_AROUND = 2.0
# What a match weighs along the surface, in parts of its weight along the normal.  1 is friction:
# early mistakes stay.  0.4 to 0.6 do best on our tuning heads; less lets matches wander.
_SLIDE = 0.5
# Landmarks of confidence c fade with the stiffness length to the power 4 (1 - c).  Those that are
# 4 mm off (correlated; chin and corners of the mouth worst), with c = 0.1, take 3.8 % of the error
# of eight tuning heads; with 2 instead of 4 they add 2.9 %, with 6 they take 2.7 %.
_FADE = 4.0
# Stiffness lengths of this many spacings and more leave little to bend in between: down to 2 mm for
# the coarse level of a template of 11,000 vertices.  With 0.35, 0.5 and 1 errors of our tuning
# heads are the same within 0.5 %; times are not.
_BENDS = 0.25


class Level:
    """A template at one resolution.  Immutable.

    Parameters
    ----------
    surface : Surface
        The undeformed template, in parts of its size.
    traits : Traits
    local : callable, optional
        Tells the :class:`licp.restshape.LocalSimilarities` that carry the rest shape along; without
        them it stays.
    backend : {"numba", "cholmod", "scipy"}, optional

    Attributes
    ----------
    rest, faces, traits
    mass : (n,) float64
    spacing : float
        Root of the mean area of a vertex.
    system : ElasticSystem
    local : LocalSimilarities or None
    """

    def __init__(
        self,
        surface: Surface,
        traits: Traits,
        local: Callable[[], LocalSimilarities] | None = None,
        backend: Backend | None = None,
    ) -> None:
        self.rest = rest = surface.vertices
        self.faces = surface.faces
        self.traits = traits
        self.spacing = surface.spacing
        self._L, self.mass = surface.laplacian
        self._transposed = self._L.T.tocsr()
        self.system = ElasticSystem(self._L, self.mass / traits.bending, rest, backend)
        self.local = None if local is None else local()
        self._delta = self._L @ rest
        own = surface.normals
        self._own_normals = None if np.array_equal(own, traits.normals) else own

    def with_traits(self, traits: Traits) -> "Level":
        """The same level with other trust, all that is prepared shared."""
        other = copy(self)
        other.traits = traits
        return other

    def normals(self, X: Floats) -> Floats:
        """Unit normals (n, 3) of the whole template with this level's vertices at ``X``.

        A coarse level turns the template's normals as its own have turned since.
        """
        now, own, fine = vertex_normals(X, self.faces), self._own_normals, self.traits.normals
        if own is None:
            return now
        turned: Floats = _turned(own, now, fine)
        return turned

    def maps(self, X: Floats) -> Floats:
        """How the surroundings of each vertex have turned and grown, (n, 3, 3)."""
        if self.local is None:
            return np.broadcast_to(np.eye(3), (len(X), 3, 3))
        return self.local.maps(X)

    def bend(self, X: Floats) -> tuple[float, Floats]:
        """Bending energy per unit stiffness, and half its gradient (n, 3)."""
        rest = self._delta if self.local is None else self.local.carry(X, self._delta)
        bent = self._L @ X - rest
        stress = bent * (self.traits.bending / self.mass)[:, None]
        force: Floats = self._transposed @ stress
        return float(np.einsum("ij,ij->", bent, stress)), force

    def weigh(
        self, X: Floats, matches: Matches, marks: BoundLandmarks | None, detail: float
    ) -> tuple[Floats, Floats, Floats]:
        """Weights (n,), weighted residuals (n, 3) and directions (n, 3) of matches and landmarks.

        Residuals are whole, but a match weighs less along the surface than along its normal (see
        :meth:`licp.solver.ElasticSolver.solve`): where it ends along the surface moves on with
        the vertex.  ``detail`` is the stiffness length in parts of the first one.
        """
        pulls = (matches.state == State.MATCHED) & self.traits.free
        held = np.where(pulls, self.traits.trust, 0.0)
        along = np.sqrt((1.0 - _SLIDE) * held)[:, None] * matches.normals
        w = held
        pull = w[:, None] * (matches.points - X)
        if marks is not None and len(marks):
            # All landmarks together weigh as much as all matches together.  Certain ones do so to
            # the end; the less certain they are, the faster they fade as detail comes in.  A
            # landmark inside a triangle is lumped to its corners; iterating takes care of the rest.
            fade = min(detail, 1.0) ** (_FADE * (1.0 - np.minimum(marks.confidence, 1.0)))
            strength = marks.confidence * fade / len(marks)
            gap = marks.positions - marks.on(X)
            share = (strength[:, None] * marks.barycentric).ravel()
            at = marks.corners.ravel()
            w = w + np.bincount(at, share, minlength=len(w))
            for axis in range(3):
                pull[:, axis] += np.bincount(
                    at, share * np.repeat(gap[:, axis], 3), minlength=len(w)
                )
        return w - (1.0 - _SLIDE) * held, pull, along

    def measure(
        self, X: Floats, matches: Matches, bending: float, d: Floats
    ) -> tuple[float, float, float, float]:
        """Energy, matched part, median residual and step of one iteration."""
        on = (matches.state == State.MATCHED) & self.traits.free
        squared, misfit, seen, moved = _measures(
            X, matches.points, on, self.traits.trust, self.mass, d
        )
        return (
            bending + misfit,
            seen,
            float(np.sqrt(np.median(squared))) if len(squared) else 0.0,
            float(np.sqrt(moved)),
        )


@kernel
def _turned(own: Any, now: Any, fine: Any) -> Any:
    """Unit vectors ``fine`` (n, 3) under the shortest rotations from ``own`` to ``now``."""
    out = np.empty_like(fine)
    for i in range(len(fine)):
        a, b, c = own[i]
        d, e, f = now[i]
        x, y, z = fine[i]
        # Rodrigues' formula; there is none between opposite normals.
        u, v, w = b * f - c * e, c * d - a * f, a * e - b * d
        p, q, r = v * z - w * y, w * x - u * z, u * y - v * x
        twice = 1.0 / max(1.0 + a * d + b * e + c * f, 0.05)
        x += p + (v * r - w * q) * twice
        y += q + (w * p - u * r) * twice
        z += r + (u * q - v * p) * twice
        length = np.sqrt(x * x + y * y + z * z)
        if length == 0.0:
            length = 1.0
        out[i, 0], out[i, 1], out[i, 2] = x / length, y / length, z / length
    return out


@kernel
def _measures(X: Any, points: Any, on: Any, trust: Any, mass: Any, d: Any) -> Any:
    """Of pulling matches: squared gaps, their trusted sum, part of all, mean squared step."""
    squared = np.empty(len(X))
    count, misfit, seen, total, moved = 0, 0.0, 0.0, 0.0, 0.0
    for i in range(len(X)):
        total += mass[i]
        if on[i]:
            seen += mass[i]
            moved += mass[i] * (d[i, 0] ** 2 + d[i, 1] ** 2 + d[i, 2] ** 2)
            gap = 0.0
            for k in range(3):
                gap += (points[i, k] - X[i, k]) ** 2
            misfit += trust[i] * gap
            squared[count] = gap
            count += 1
    return squared[:count], misfit, seen / total, moved / seen if count else 0.0


class Pyramid:
    """The template at all its resolutions, coarse to fine.  Immutable.

    Parameters
    ----------
    surface, traits, backend
        Of the finest :class:`Level`.
    controls, radius : int, float
        Of :class:`licp.restshape.LocalSimilarities`, the radius at least two spacings of the
        coarsest level; no controls, no following rest shape.
    stiff, soft : float
        Stiffness lengths of the stiffest and the softest stage.  Coarser levels than the first
        needs are not made; the last is done on the whole template, however fine it is.
    crew : Crew, optional
        Who shares the work.
    """

    def __init__(
        self,
        surface: Surface,
        traits: Traits,
        controls: int,
        radius: float,
        backend: Backend | None,
        stiff: float,
        soft: float,
        crew: Crew = ALONE,
    ) -> None:
        self._soft = soft
        self._steps: list[Coarsening] = []
        shapes = [(surface, traits)]
        while True:
            surface, traits = shapes[0]
            spacing = _WIDER * surface.spacing
            if spacing > _WIDEST or stiff < _BENDS * spacing:
                break
            own = np.sqrt(surface.laplacian[1])
            own = np.clip(own, _DENSEST * own.mean(), _SPARSEST * own.mean())
            step = coarsen(surface.vertices, surface.faces, _WIDER * own, surface.neighbours)
            if not len(step.faces):
                break
            kept = Surface(surface.vertices[step.kept], step.faces)
            shapes.insert(0, (kept, traits.on(step)))
            self._steps.insert(0, step)
        self._heat = HeatCurvature.on(shapes[0][0])
        self.levels: list[Level] = []
        known: LocalSimilarities | None = None
        for k, (surface, traits) in enumerate(shapes):
            local = None
            if known is not None:
                # Those of the coarsest level serve all: what they tell is smooth.
                local = crew.begin(known.on, surface.vertices, self._steps[k - 1].kept)
            elif controls:
                reach = max(radius, _AROUND * surface.spacing)
                local = crew.begin(LocalSimilarities, surface.vertices, controls, reach)
            self.levels.append(Level(surface, traits, local, backend))
            known = self.levels[-1].local

    def with_traits(self, traits: Traits) -> "Pyramid":
        """The same pyramid with other trust in matches, all that is prepared shared."""
        other = copy(self)
        other.levels = [self.finest.with_traits(traits)]
        for level, step in zip(self.levels[-2::-1], self._steps[::-1], strict=True):
            traits = traits.on(step)
            other.levels.insert(0, level.with_traits(traits))
        return other

    @property
    def last(self) -> int:
        """Number of the finest level."""
        return len(self.levels) - 1

    @property
    def finest(self) -> Level:
        """The whole template."""
        return self.levels[-1]

    def fit_for(self, stiffness: float) -> int:
        """Number of the coarsest level that can bend over this length; at last the finest."""
        if stiffness > self._soft:
            for k, level in enumerate(self.levels):
                if stiffness >= _BENDS * level.spacing:
                    return k
        return self.last

    def on(self, X: Floats, number: int) -> Floats:
        """Those of the vertices ``X`` of the whole template that are a coarser level's."""
        for step in self._steps[number:][::-1]:
            X = X[step.kept]
        return X

    def followed(self, values: Floats, number: int) -> Floats:
        """Values of the vertices of a coarser level, handed to the whole template."""
        for step in self._steps[number:]:
            values = step.follow @ values
        return values

    def refined(self, X: Floats, coarse: int, fine: int) -> Floats:
        """The vertices of a finer level that follow ``X`` of a coarser one."""
        for k in range(coarse, fine):
            X = self._steps[k].prolong(self.levels[k + 1].rest, X, self.levels[k].maps(X))
        return X

    def spread(self, values: Floats, radius: float) -> Floats:
        """Heat-smoothed values (n,) of the whole template.

        On the coarsest level, which is fine enough for radii of a few of its spacings: fine ones
        would need as many steps as there are edges in a radius.
        """
        area = self.finest.mass
        total = values * area
        for step in self._steps[::-1]:
            total, area = step.gathered(total), step.gathered(area)
        return self.followed(self._heat.spread(total / area, radius, _FINE), 0)

    def bound(self, marks: BoundLandmarks | None, number: int) -> BoundLandmarks | None:
        """Landmarks of the whole template, hung on the vertices of a coarser level."""
        if marks is None or number == self.last:
            return marks
        at = marks.corners[np.arange(len(marks)), marks.barycentric.argmax(1)]
        for step in self._steps[number:][::-1]:
            at = step.cell[at]
        return marks.hung(at, marks.on(self.finest.rest) - self.levels[number].rest[at])
