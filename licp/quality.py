"""How good is a fit?  Distances, coverage, folds, self-intersections and distortion, as numbers.

All of them are our own definitions, written out where they are computed.  None depends on the
position, rotation or unit of the input, but for which vertices of a large scan are sampled; lengths
are returned in its unit, everything else has none.  Percentiles are weighted by area (edges: by
length), so that they speak of parts of the surface, however unevenly it is sampled.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from licp.closest import TriangleTree, tree_of
from licp.errors import InputError, MeshError
from licp.faults import Faults, checked_shapes, flipped_faces
from licp.geometry import (
    all_of,
    checked_mesh,
    edges,
    face_normals_areas,
)
from licp.intersections import self_intersections
from licp.repair import clean
from licp.surface import Surface, even_sample
from licp.threads import ALONE, Crew

__all__ = [
    "Distances",
    "Distortion",
    "Quality",
    "SurfaceDistances",
    "area_distortion",
    "assess",
    "assess_surfaces",
    "distances_to_scan",
    "edge_distortion",
    "searched",
    "surface_distances",
]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Ratios beyond this (or of lengths that are zero) all mean "collapsed" and stay finite.
_COLLAPSE = 1e6
# Defaults of `surface_distances`, which says why.
_SAMPLES, _REACH = 10_000, 0.01


@dataclass(frozen=True)
class Distances:
    """Percentiles of distances over the part of a surface that overlaps the other one.

    Attributes
    ----------
    median, p95, maximum : float
        In the unit of the input.
    """

    median: float
    p95: float
    maximum: float


@dataclass(frozen=True)
class Distortion:
    """Percentiles of the natural logarithm of new over old size, global scale removed.

    Zero is unchanged, 0.1 is 10 % larger, -0.1 is 10 % smaller.

    Attributes
    ----------
    p05, median, p95 : float
    worst : float
        The largest absolute value.  13.8 (a factor of a million) stands for a collapse.
    """

    p05: float
    median: float
    p95: float
    worst: float


@dataclass(frozen=True)
class SurfaceDistances:
    """What :func:`surface_distances` returns.

    Attributes
    ----------
    template_to_scan, scan_to_template : Distances or None
        None where nothing overlaps.
    template_seen : float
        Part of the template's area that the scan shows, 0 to 1.
    scan_explained : float
        Part of the scan's area that the template explains, 0 to 1.
    """

    template_to_scan: Distances | None
    scan_to_template: Distances | None
    template_seen: float
    scan_explained: float


@dataclass(frozen=True)
class Quality(SurfaceDistances):
    """How well a fit meets the scan, and what became of the template's faces.

    Lengths are in the unit of the scan; formulas are in :func:`assess` and in the functions named
    below.

    Attributes
    ----------
    template_to_scan, scan_to_template : Distances or None
        Median, 95 % and maximum of the distances where the two overlap
        (:func:`surface_distances`); None where they do not.  Vertices that were told not to match
        are left out.
    template_seen, scan_explained : float
        Part of the template's area that lies within 1 % of its size of the scan, and the reverse.
    flipped_faces : int
        Faces that are turned over against their neighbourhood.
    self_intersections, rest_self_intersections : int
        Pairs of faces that run through each other after and before: the fit added the difference.
    scale : float
        Global scale from the rest shape to the fit.
    edge_distortion, area_distortion : Distortion
        Of edge lengths and face areas, beyond that scale (:func:`edge_distortion`,
        :func:`area_distortion`).
    """

    flipped_faces: int
    self_intersections: int
    rest_self_intersections: int
    scale: float
    edge_distortion: Distortion
    area_distortion: Distortion

    def to_dict(self) -> dict[str, Any]:
        """Nested dictionary of plain numbers (and None), ready for JSON."""
        return asdict(self)


def assess(
    rest_vertices: ArrayLike,
    vertices: ArrayLike,
    faces: ArrayLike,
    scan_vertices: ArrayLike,
    scan_faces: ArrayLike,
) -> Quality:
    """Measure the fit of a template to a scan.

    Parameters
    ----------
    rest_vertices : (n, 3) float
        The template before.
    vertices : (n, 3) float
        The template after, in the frame of the scan.
    faces : (m, 3) int
        Triangles of the template.
    scan_vertices, scan_faces : (s, 3) float, (t, 3) int
        The scan; vertices that no triangle uses do not count.

    Returns
    -------
    Quality

    Raises
    ------
    MeshError
        If a mesh is empty, not finite, or its arrays do not fit each other.

    See Also
    --------
    surface_distances, flipped_faces, edge_distortion, area_distortion
    licp.intersections.self_intersections

    Examples
    --------
    >>> V, F = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], [[0, 1, 2], [2, 1, 3]]
    >>> scan = [[-5, -5, 0.5], [5, -5, 0.5], [0, 5, 0.5]]
    >>> q = assess(V, V, F, scan, [[0, 1, 2]])
    >>> q.template_to_scan
    Distances(median=0.5, p95=0.5, maximum=0.5)
    >>> q.flipped_faces, q.self_intersections, q.scale
    (0, 0, 1.0)
    """
    V0, V1, F = checked_shapes(rest_vertices, vertices, faces)
    scan = Surface(*checked_mesh(scan_vertices, scan_faces))
    faults = Faults(
        len(self_intersections(V0, F)),
        len(self_intersections(V1, F)),
        int(flipped_faces(V0, V1, F).sum()),
    )
    return assess_surfaces(Surface(V0, F), Surface(V1, F), scan, faults)


def assess_surfaces(
    rest: Surface,
    fit: Surface,
    scan: Surface,
    faults: Faults,
    crew: Crew = ALONE,
    follows: Bools | None = None,
) -> Quality:
    """Like :func:`assess`, of surfaces that are there already and faults that are known.

    Parameters
    ----------
    rest, fit : Surface
        The template before and after.
    scan : Surface
        In the same frame as ``fit``.
    faults : Faults
        Of ``fit``.
    crew : Crew
        Who shares the work.
    follows : (n,) bool, optional
        Vertices of the template that were not to meet the scan: how far they and what lies before
        them are apart does not count as a distance.
    """
    scale = _scale(rest.areas, fit.areas)
    parts: tuple[Callable[[], Any], ...] = (
        lambda: _backward(fit, scan, _SAMPLES, _REACH, follows),
        lambda: distances_to_scan(fit, scan, _REACH, follows),
        lambda: _edge_distortion(rest.vertices, fit.vertices, rest.edges[0], scale),
        lambda: _distortion(rest.areas, fit.areas / scale**2),
    )
    backward, forward, of_edges, of_areas = crew.share(lambda part: part(), parts)
    distances = SurfaceDistances(forward[0], backward[0], forward[1], backward[1])
    return Quality(
        **vars(distances),
        flipped_faces=faults.flipped,
        self_intersections=faults.crossings,
        rest_self_intersections=faults.rest_crossings,
        scale=scale,
        edge_distortion=of_edges,
        area_distortion=of_areas,
    )


def surface_distances(
    vertices: ArrayLike,
    faces: ArrayLike,
    scan_vertices: ArrayLike,
    scan_faces: ArrayLike,
    *,
    samples: int = _SAMPLES,
    reach: float = _REACH,
    tree: TriangleTree | None = None,
    scan_tree: TriangleTree | None = None,
) -> SurfaceDistances:
    """Distances between template and scan over what overlaps, and how much that is.

    Every distance runs from a vertex to the exact closest point of the other surface.  It counts
    if that point is not on the border of the other surface, and the vertex normals (interpolated
    at the closest point) are not more than 90 degrees apart.  So parts that only one of them has
    drop out: the back of an open scan, holes, a longer neck end at the border; a mouth cavity or
    eyeball sees the skin from behind.

    Parameters
    ----------
    vertices, faces : (n, 3) float, (m, 3) int
        The fitted template.
    scan_vertices, scan_faces : (s, 3) float, (t, 3) int
        The scan; vertices that no triangle uses do not count.  Both meshes may be inside out.
    samples : int
        At most this many vertices of the scan are used, each for the share of it around it.  10,000
        leave the percentiles uncertain by at most 1 % of the surface (two standard deviations),
        more where few vertices speak for much of it.
    reach : float
        A point is seen or explained if its distance counts and is at most this part of the square
        root of the template's area.  The default is 4 to 5 mm for a head, beyond the error of a
        fit that works; larger distances still enter the percentiles.
    tree, scan_tree : TriangleTree, optional
        The trees of template and scan, if there are any already.

    Returns
    -------
    SurfaceDistances

    Raises
    ------
    InputError
        If ``samples`` or ``reach`` is not positive.
    MeshError
        If a mesh is empty, not finite, or its arrays do not fit each other.
    """
    if samples < 1 or not reach > 0:
        raise InputError(f"samples and reach must be positive, not {samples} and {reach}")
    fit = searched(*checked_mesh(vertices, faces), tree)
    scan = searched(*checked_mesh(scan_vertices, scan_faces), scan_tree)
    forward, backward = distances_to_scan(fit, scan, reach), _backward(fit, scan, samples, reach)
    return SurfaceDistances(forward[0], backward[0], forward[1], backward[1])


def searched(vertices: Floats, faces: NDArray[np.int64], tree: TriangleTree | None) -> Surface:
    """A surface, whose tree may be known, seen from outside if it is wound inside out."""
    surface = Surface(vertices, faces)
    if clean(vertices, faces).report.inverted:
        surface.normals = -surface.normals
    surface.__dict__["triangles"] = tree_of(vertices, faces, tree)
    return surface


def distances_to_scan(
    fit: Surface, scan: Surface, reach: float, follows: Bools | None = None
) -> tuple[Distances | None, float]:
    """From the template to the scan."""
    used = np.flatnonzero(fit.vertex_areas)
    distance, _, counts = _nearest(fit, used, scan)
    met = None if follows is None else ~follows[used]
    return _measure(distance, counts, fit.vertex_areas[used], reach * fit.size, met)


def _backward(
    fit: Surface, scan: Surface, samples: int, reach: float, follows: Bools | None = None
) -> tuple[Distances | None, float]:
    """From vertices of the scan, each for a share of its area, to the template."""
    used, share = even_sample(scan.vertices, scan.vertex_areas, samples)
    distance, face, counts = _nearest(scan, used, fit)
    met = None if follows is None else ~all_of(follows[fit.faces[face]])
    return _measure(distance, counts, share, reach * fit.size, met)


def _nearest(
    of: Surface, some: NDArray[np.int64], to: Surface
) -> tuple[Floats, NDArray[np.int64], Bools]:
    """Distance of some vertices to the other surface, nearest faces, and which of them overlap."""
    distance, face, barycentric = to.triangles.query(of.vertices[some])
    foot_normals = np.einsum("qk,qki->qi", barycentric, to.normals[to.faces[face]])
    counts = np.einsum("qi,qi->q", of.normals[some], foot_normals) >= 0
    counts &= ~to.border.holds(face, barycentric)
    return distance, face, counts


def _measure(
    distance: Floats, counts: Bools, weight: Floats, limit: float, met: Bools | None
) -> tuple[Distances | None, float]:
    """Distances where they count and were to be met, and the part of all that is within a limit."""
    if not counts.any():
        return None, 0.0
    share = float(weight[counts & (distance <= limit)].sum() / weight.sum())
    if met is not None:
        counts = counts & met
        if not counts.any():
            return None, share
    median, p95 = _percentiles(distance[counts], weight[counts], 50, 95)
    return Distances(median, p95, float(distance[counts].max())), share


def edge_distortion(rest_vertices: ArrayLike, vertices: ArrayLike, faces: ArrayLike) -> Distortion:
    """Change of edge lengths that no similarity explains.

    The logarithm of new over rest length of every edge, less that of the global scale: half the
    area-weighted median of the logarithms of new over rest area of the faces.  Percentiles are
    weighted by rest length; edges of no rest length are left out.

    Parameters
    ----------
    rest_vertices, vertices : (n, 3) float
        Before and after.
    faces : (m, 3) int
        Triangles, by vertex.

    Returns
    -------
    Distortion

    Raises
    ------
    MeshError
        If the arrays do not fit each other or are not finite, or the rest shape has no area.

    Examples
    --------
    >>> V, F = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0.]]), [[0, 1, 2]]
    >>> round(float(np.exp(edge_distortion(V, V * [4, 1, 1], F).p95)), 6)
    2.0
    """
    V0, V1, F = checked_shapes(rest_vertices, vertices, faces)
    return _edge_distortion(V0, V1, edges(F)[0], _scale(*_areas(V0, V1, F)))


def area_distortion(rest_vertices: ArrayLike, vertices: ArrayLike, faces: ArrayLike) -> Distortion:
    """Change of face areas that no similarity explains.

    Like :func:`edge_distortion` with the areas of the faces and the square of the global scale,
    weighted by rest area: the median is zero by construction.
    """
    rest, new = _areas(*checked_shapes(rest_vertices, vertices, faces))
    return _distortion(rest, new / _scale(rest, new) ** 2)


def _areas(V0: Floats, V1: Floats, F: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Of the faces, before and after."""
    return face_normals_areas(V0, F)[1], face_normals_areas(V1, F)[1]


def _scale(rest: Floats, new: Floats) -> float:
    """The global one, of areas before and after."""
    if not rest.any():
        raise MeshError("all faces of the rest shape are degenerate: it has no area to compare")
    some = (rest > 0) & (new > 0)
    if not some.any():
        return 1.0
    (median,) = _percentiles(np.log(new[some] / rest[some]), rest[some], 50)
    return float(np.exp(0.5 * median))


def _edge_distortion(V0: Floats, V1: Floats, E: NDArray[np.int64], scale: float) -> Distortion:
    a, b = E.T
    sides = (V[a] - V[b] for V in (V0, V1))
    rest, new = (np.sqrt(np.einsum("ij,ij->i", side, side)) for side in sides)
    return _distortion(rest, new / scale)


def _distortion(rest: Floats, new: Floats) -> Distortion:
    some = rest > 0
    rest, new = rest[some], new[some]
    log = np.log(np.clip(new / rest, 1 / _COLLAPSE, _COLLAPSE))
    p05, median, p95 = _percentiles(log, rest, 5, 50, 95)
    return Distortion(p05, median, p95, float(np.abs(log).max()))


def _percentiles(values: Floats, weights: Floats, *percents: float) -> list[float]:
    """Least values that are not exceeded by the given parts of the total weight.

    Sorted are only those near them: a quarter of the time of sorting all.
    """
    low, high = values.min(), values.max()
    if not high > low:
        return [float(low)] * len(percents)
    group = ((values - low) * ((len(values) - 1) / (high - low))).astype(np.intp)
    weight = np.bincount(group, weights)
    reached = np.cumsum(weight)
    found = []
    for wanted in np.array(percents) / 100 * reached[-1]:
        g = min(int(np.searchsorted(reached, wanted)), len(reached) - 1)
        some = np.flatnonzero(group == g)
        some = some[np.argsort(values[some])]
        within = np.cumsum(weights[some]) + (reached[g] - weight[g])
        found.append(float(values[some[min(int(np.searchsorted(within, wanted)), len(some) - 1)]]))
    return found
