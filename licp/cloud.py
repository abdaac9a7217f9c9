"""What a search of poses looks at: an even sample of a shape, with normals and curvature."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from licp.directions import own_axes
from licp.features import HeatCurvature
from licp.geometry import best_apart
from licp.similarity import Similarity
from licp.surface import Surface, even_subset

__all__ = ["Cloud"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Vertices that show what the search looks at; denser surfaces are thinned to about as many.
_ENOUGH = 8000
# Points of a whole shape, and of a part of one: the last round of a search looks at 600, and what
# is curved is told from all that there are.
_OF_ALL, _OF_A_PART = 2000, 600
# Weight of normals against positions in the search, in root-mean-square radii of the shape.
_NORMAL_WEIGHT = 0.4
# Curvature in the search: radii of its heat kernels in the same unit (about 7, 13 and 28 mm), and
# the weight of the clipped features.  They tell a face from the back of a head, and nose and
# sockets from a chin, where little of the head is there.
_CURVATURE_SCALES = (0.06, 0.12, 0.25)
_CURVATURE_WEIGHT = 1.0
# A head sits at an end of the body, like hands, feet or the corners of a torso, and is about three
# of its radii long.  What has more than this share of the whole shape is no part of it.  At its own
# size a crown has -0.09 and less (curvature, see licp.features), a floor or a wall 0.
_ENDS, _ACROSS, _ALL, _ROUND = 6, 2.9, 0.9, -0.05

# A piece of a head that can be placed shows what is curved, at the middle one of the scales: so
# many places are looked at, and so many pieces taken whose middles are this far apart, of their
# reach.
_PLAIN, _PLACES, _PIECES, _ASIDE = 1, 64, 3, 0.8


@dataclass(frozen=True, eq=False)
class Cloud:
    """Points with normals, in the order in which a prefix still covers the shape.

    Attributes
    ----------
    surface : Surface
        What it is a sample of.
    chosen : (k,) int64
        Which of its vertices.
    curvature : (n, f) float64
        Of all vertices of the surface, at scales relative to the radius.
    centre : (3,) float64
        Area-weighted mean.
    radius : float
        Area-weighted root-mean-square distance from the centre.
    """

    surface: Surface
    chosen: Ints
    curvature: Floats
    centre: Floats
    radius: float

    @classmethod
    def of(cls, surface: Surface) -> "Cloud":
        """Even sample of a surface without its border, where closest points heap up."""
        area = surface.vertex_areas
        if len(area) > _ENOUGH:
            surface = surface.coarsened(np.sqrt(area.sum() / (0.75 * _ENOUGH)))
            area = surface.vertex_areas
        centre = area @ surface.vertices / area.sum()
        radius = np.sqrt(area @ ((surface.vertices - centre) ** 2).sum(1) / area.sum())
        chosen = _sample(surface, area, _OF_ALL)
        return cls(surface, chosen, _curvature(surface, radius), centre, float(radius))

    @property
    def points(self) -> Floats:
        """Where they are, (k, 3)."""
        return self.surface.vertices[self.chosen]

    @property
    def features(self) -> Floats:
        """How they are curved, (k, f)."""
        return self.curvature[self.chosen]

    @cached_property
    def axes(self) -> Floats:
        """Rotation into the own frame, (3, 3)."""
        return own_axes(self.points)

    def own_frame(self, unit: float) -> Similarity:
        """Into that frame, about the centre and in the given unit."""
        axes = self.axes
        return Similarity(1.0 / unit, axes, axes @ self.centre / -unit)

    @property
    def area(self) -> float:
        """Of the surface."""
        return float(self.surface.vertex_areas.sum())

    def sized(self, factor: float) -> "Cloud":
        """The same, looked at as a part of a shape so many times as large."""
        radius = factor * self.radius
        return replace(self, curvature=_curvature(self.surface, radius), radius=radius)

    def parts(self, size: float) -> Iterator["Cloud"]:
        """What lies round each round end, as a sample of a shape so many times as large."""
        seen = self.sized(size)
        ends = self.points[seen.features[:, -1] < _ROUND]
        for end in ends[_far_apart(ends, self.centre, min(_ENDS, len(ends)))]:
            area = seen._round(end, _ACROSS * seen.radius)
            if area.sum() <= _ALL * self.area:
                yield seen._part(area)

    def pieces(self, share: float) -> Iterator["Cloud"]:
        """What lies round its most curved places, of that share of its area, as parts of it."""
        if share > _ALL:
            return
        # Each point stands for as much area.
        points, curved = self.points, np.abs(self.features[:, _PLAIN])
        apart = np.linalg.norm(points[:_PLACES, None] - points, axis=2)
        last = min(int(share * len(points)), len(points) - 1)
        reach = np.partition(apart, last, axis=1)[:, last]
        bent = (apart <= reach[:, None]) @ curved
        near = apart[:, : len(apart)] <= _ASIDE * reach[:, None]
        for place in best_apart(-bent, near, _PIECES):
            yield self._part(self._round(points[place], reach[place]))

    def _round(self, middle: Floats, reach: float) -> Floats:
        """Area of each vertex of the surface that is so near to a place, else 0."""
        near = np.linalg.norm(self.surface.vertices - middle, axis=1) <= reach
        area: Floats = self.surface.vertex_areas * near
        return area

    def _part(self, area: Floats) -> "Cloud":
        """What carries area, looked at as a part of the shape."""
        centre = area @ self.surface.vertices / area.sum()
        return replace(self, chosen=_sample(self.surface, area, _OF_A_PART), centre=centre)

    def scaled(self, factor: float) -> "Cloud":
        """The same shape in another unit."""
        return replace(
            self,
            surface=self.surface.moved(Similarity(factor, np.eye(3), np.zeros(3))),
            centre=factor * self.centre,
            radius=factor * self.radius,
        )

    def standard(self, count: int, unit: float) -> tuple[Floats, Floats, Floats]:
        """The first points in the own frame and the given unit; normals and features, weighted."""
        frame, normals = self.own_frame(unit), self.surface.normals[self.chosen[:count]]
        return (
            frame.apply(self.points[:count]),
            _NORMAL_WEIGHT * frame.rotate(normals),
            _CURVATURE_WEIGHT * self.features[:count],
        )


def _sample(surface: Surface, area: Floats, count: int) -> Ints:
    """Vertices with equal shares of the given area, off the border if any are; any prefix even."""
    inner = area * ~surface.at_border
    chosen = even_subset(surface.vertices, inner if inner.any() else area, count)
    # Bit-reversed order: every prefix is spread along the curve like the whole.
    k = np.arange(len(chosen))
    reversed_bits = np.zeros(len(chosen))
    for bit in range(max(len(chosen) - 1, 1).bit_length()):
        reversed_bits += ((k >> bit) & 1) * 0.5 ** (bit + 1)
    return chosen[np.argsort(reversed_bits, kind="stable")]


def _far_apart(points: Floats, centre: Floats, count: int) -> list[int]:
    """The point farthest from the centre, then what is farthest from all those before."""
    found: list[int] = []
    gap = np.linalg.norm(points - centre, axis=1)
    for number in range(count):
        found.append(int(np.argmax(gap)))
        apart = np.linalg.norm(points - points[found[-1]], axis=1)
        gap = np.minimum(gap, apart) if number else apart
    return found


def _curvature(surface: Surface, radius: float) -> Floats:
    """Curvature of its vertices, as a search looks at a shape of that radius, (n, f)."""
    scales = [radius * x for x in _CURVATURE_SCALES]
    return HeatCurvature.on(surface, scales).of(surface.vertices, surface.normals)
