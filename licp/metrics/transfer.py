"""Annotation transfer: points of a scan carried to the template, and on to other scans.

A point drawn on a scan goes to the closest point of the morphed template; its face and barycentric
coordinates there name a place of the template, whatever shape the template has.  So annotations of
all subjects can be brought together on the unwarped template, or from one subject to another.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree

from licp.closest import TriangleTree
from licp.errors import InputError

__all__ = [
    "Places",
    "attach",
    "contour_distance",
    "loose_ends",
    "merge_contours",
    "resample",
    "swap",
    "swap_distances",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Places:
    """Places on a mesh that move with it.

    Attributes
    ----------
    face : (k,) int64
        Triangles.
    barycentric : (k, 3) float64
        Weights of their corners.
    """

    face: Ints
    barycentric: Floats

    def on(self, vertices: ArrayLike, faces: ArrayLike) -> Floats:
        """Where they are on the mesh with these vertices (n, 3) and faces (m, 3), as (k, 3)."""
        corners = np.asarray(vertices, np.float64)[np.asarray(faces)[self.face]]
        points: Floats = np.einsum("kc,kcj->kj", self.barycentric, corners)
        return points


def attach(
    points: ArrayLike,
    vertices: ArrayLike,
    faces: ArrayLike,
    *,
    tree: TriangleTree | None = None,
) -> tuple[Places, Floats]:
    """Places of a mesh that are closest to given points.

    Parameters
    ----------
    points : (k, 3) float
        In the unit of the vertices.
    vertices, faces : (n, 3) float, (m, 3) int
        The mesh, for annotations the morphed template.
    tree : TriangleTree, optional
        Its tree, if there is one already.

    Returns
    -------
    places : Places
    distance : (k,) float64
        From each point to its place.

    Raises
    ------
    InputError, MeshError
        If the points or the mesh cannot be used.

    Examples
    --------
    The point half-way along an edge of the morph is half-way along that edge of the template:

    >>> template = [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    >>> morph = [[5, 5, 5], [9, 5, 5], [5, 9, 5]]
    >>> places, distance = attach([[7, 5, 6]], morph, [[0, 1, 2]])
    >>> places.on(template, [[0, 1, 2]]).tolist(), distance.tolist()
    ([[0.5, 0.0, 0.0]], [1.0])
    """
    tree = TriangleTree(vertices, faces) if tree is None else tree
    distance, face, barycentric = tree.query(points)
    return Places(face, barycentric), distance


def swap(
    places: Places,
    vertices: ArrayLike,
    faces: ArrayLike,
    scan_vertices: ArrayLike,
    scan_faces: ArrayLike,
) -> Floats:
    """Annotations of one subject, by their places on the template, on the scan of another.

    Parameters
    ----------
    places : Places
        On the template, from :func:`attach` with the morph of the first subject; k of them.
    vertices, faces : (n, 3) float, (m, 3) int
        The template morphed to the second subject.
    scan_vertices, scan_faces : (s, 3) float, (t, 3) int
        The second subject's scan.

    Returns
    -------
    (k, 3) float64
        Points of the scan.
    """
    there = places.on(vertices, faces)
    return attach(there, scan_vertices, scan_faces)[0].on(scan_vertices, scan_faces)


def contour_distance(first: ArrayLike, second: ArrayLike) -> float:
    """Mean distance between two sampled contours, the mean of both directions.

    Parameters
    ----------
    first, second : (k, 3) float, (q, 3) float
        Points along them (:func:`resample`).  Samples that are x apart leave x/4 between equal
        contours.

    Raises
    ------
    InputError
        If one of them is empty.

    Examples
    --------
    >>> contour_distance([[0, 0, 0], [1, 0, 0]], [[0, 2, 0], [1, 2, 0]])
    2.0
    """
    A, B = (np.asarray(x, np.float64).reshape(-1, 3) for x in (first, second))
    if not (len(A) and len(B)):
        raise InputError("a contour without points has no distance to another")
    forth, back = (np.asarray(KDTree(x).query(y)[0]) for x, y in ((B, A), (A, B)))
    return float((forth.mean() + back.mean()) / 2)


def swap_distances(
    places: Sequence[Places],
    contours: Sequence[ArrayLike],
    morphs: Sequence[ArrayLike],
    faces: ArrayLike,
    *,
    others: int = 4,
) -> Floats:
    """How far other subjects' annotations of a contour end up from each subject's own.

    The contour of another subject goes to the template, and with the template into the shape of
    this one, where it is compared with what was drawn (:func:`contour_distance`).  Our own;
    unlike density and homogeneity it is measured on the subjects, not on the template.

    Parameters
    ----------
    places : sequence of Places
        For each of S subjects, the contour on the template (:func:`attach`).
    contours : sequence of (k, 3) float
        For each, the contour on the scan.
    morphs : sequence of (n, 3) float
        For each, the vertices of the morphed template.
    faces : (m, 3) int
        Of the template.
    others : int
        Each subject gets the contours of this many others, evenly spaced in the sequence.

    Returns
    -------
    (S,) float64
        In the unit of the scans.

    Raises
    ------
    InputError
        If there are fewer than two subjects, or an empty contour.
    """
    count = len(places)
    if count < 2 or others < 1 or not count == len(contours) == len(morphs):
        raise InputError(
            "swapping needs places, contours and morphs of at least two subjects, got "
            f"{count}, {len(contours)} and {len(morphs)}, and at least one other, got {others}"
        )
    steps = np.unique(np.linspace(1, count - 1, min(others, count - 1)).round().astype(int))
    found = np.zeros(count)
    for this in range(count):
        for step in steps:
            brought = places[(this + step) % count].on(morphs[this], faces)
            found[this] += contour_distance(brought, contours[this])
    return found / len(steps)


def resample(contour: ArrayLike, spacing: float) -> Floats:
    """Points at even spacing along a polyline, both ends included.

    Parameters
    ----------
    contour : (k, 2) or (k, 3) float
        Corners in order, pixels or positions; repeat the first one to close it.
    spacing : float
        Largest distance along the line between neighbours, in the unit of the contour.

    Returns
    -------
    (q, 2) or (q, 3) float64

    Raises
    ------
    InputError
        Nothing in it, numbers that are not finite, spacing that is not positive.

    Examples
    --------
    >>> resample([[0, 0], [0, 3], [1, 3]], 1.5).tolist()
    [[0.0, 0.0], [0.0, 1.3333333333333333], [0.0, 2.6666666666666665], [1.0, 3.0]]
    """
    C = np.asarray(contour, np.float64)
    if C.ndim != 2 or C.shape[1] not in (2, 3) or not len(C) or not np.isfinite(C).all():
        raise InputError(
            f"a contour is a list of finite points of two or three numbers, not shape {C.shape}"
        )
    if not (np.isfinite(spacing) and spacing > 0):
        raise InputError(f"spacing must be positive, not {spacing}")
    along = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(C, axis=0), axis=1))]
    if along[-1] == 0:
        return C[:1].copy()
    at = np.linspace(0, along[-1], int(np.ceil(along[-1] / spacing)) + 1)
    return np.stack([np.interp(at, along, x) for x in C.T], 1)


def merge_contours(pieces: Sequence[ArrayLike], spacing: float) -> Floats:
    """One sampled contour from pieces that may overlap, as two views of it give.

    Parameters
    ----------
    pieces : sequence of (k, 3) float
        Polylines on the scan.  Where they overlap, the earlier one is kept.
    spacing : float
        Of the samples.  What lies within two spacings of an earlier piece is taken to be the same.

    Returns
    -------
    (q, 3) float64

    Raises
    ------
    InputError
        See :func:`resample`.

    Examples
    --------
    >>> merge_contours([[[0, 0, 0], [4, 0, 0]], [[2, 0, 1], [8, 0, 1]]], 1.0)[:, 0].tolist()
    [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 7.0, 8.0]
    """
    kept = np.empty((0, 3))
    for piece in pieces:
        more = resample(piece, spacing)
        if more.shape[1] != 3:
            raise InputError("pieces of a contour on a scan have three coordinates")
        new = KDTree(kept).query(more)[0] > 2 * spacing if len(kept) else slice(None)
        kept = np.concatenate([kept, more[new]])
    return kept


def loose_ends(contour: ArrayLike, spacing: float) -> NDArray[np.bool_]:
    """Samples of a drawn contour at which drawing stopped, though the contour may go on.

    They end a run of samples that are up to one and a half spacings apart, and no other run, nor
    their own again, comes within four spacings.

    Parameters
    ----------
    contour : (k, 3) float
        On the scan, as :func:`merge_contours` gives it.
    spacing : float
        Of its samples.

    Returns
    -------
    (k,) bool
        Of a closed contour, none.

    Examples
    --------
    >>> loose_ends([[0, 0, 0], [1, 0, 0], [2, 0, 0], [9, 0, 0], [10, 0, 0]], 1.0).tolist()
    [True, False, True, True, True]
    """
    C = np.asarray(contour, np.float64).reshape(-1, 3)
    if not (np.isfinite(spacing) and spacing > 0):
        raise InputError(f"spacing must be positive, not {spacing}")
    loose = np.zeros(len(C), bool)
    if not len(C):
        return loose
    torn = np.linalg.norm(np.diff(C, axis=0), axis=1) > 1.5 * spacing
    run = np.cumsum(np.r_[0, torn])
    end = np.flatnonzero(np.r_[True, torn] | np.r_[torn, True])
    near = KDTree(C).query_ball_point(C[end], 4 * spacing)
    for k, others in zip(end, near, strict=True):
        along = np.abs(np.array(others) - k) * spacing
        loose[k] = not ((run[others] != run[k]) | (along > 8 * spacing)).any()
    return loose
