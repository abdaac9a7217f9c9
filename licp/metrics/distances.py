"""Distances that a registration leaves: at landmarks, and to the scan, region by region."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from licp.closest import TriangleTree
from licp.errors import InputError
from licp.geometry import all_of
from licp.io import as_mesh
from licp.landmarks import Landmarks, as_landmarks
from licp.mesh import Mesh
from licp.quality import Distances, distances_to_scan, searched
from licp.surface import Surface

__all__ = ["RegionDistances", "landmark_errors", "region_distances", "region_faces"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# As in licp.quality.surface_distances: seen is what lies within this part of the template's size.
_REACH = 0.01


@dataclass(frozen=True)
class RegionDistances:
    """Distances between one region of a fit and the scan, in the unit of the scan.

    Attributes
    ----------
    template_to_scan, scan_to_template : Distances or None
        See :class:`licp.quality.SurfaceDistances`.  None where nothing overlaps.
    seen : float
        Part of the region's area that the scan shows, 0 to 1.
    """

    template_to_scan: Distances | None
    scan_to_template: Distances | None
    seen: float


def landmark_errors(morph: Any, landmarks: Landmarks | Any) -> Floats:
    """Distances between landmarks of the morphed template and those of the scan.

    Parameters
    ----------
    morph : Mesh, path, trimesh.Trimesh or (vertices, faces)
        The template, morphed.
    landmarks : Landmarks or (template ids, positions[, confidence])
        Points of the template, and where they are on the scan; those of confidence 0 are left out.

    Returns
    -------
    (k,) float64
        In the unit of the scan, in the order of the landmarks.

    Raises
    ------
    LandmarkError
        If the landmarks do not fit the template.

    Examples
    --------
    >>> morph = [[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]]
    >>> landmark_errors(morph, ([1, 2], [[1, 0, 2], [0, 1, 0]])).tolist()
    [2.0, 0.0]
    """
    mesh = as_mesh(morph, "morph")
    every = np.arange(len(mesh.vertices))
    bound = as_landmarks(landmarks).bind(mesh, every, every)
    errors: Floats = np.linalg.norm(bound.on(mesh.vertices) - bound.positions, axis=1)
    return errors


def region_faces(mesh: Mesh, region: ArrayLike, name: str = "region") -> Ints:
    """Rows of the faces whose three corners are all in a vertex subset.

    Raises
    ------
    InputError
        If the subset is not of this mesh, or holds no face.
    """
    ids = np.asarray(region)
    if ids.ndim != 1 or ids.dtype.kind not in "iu" or not len(ids):
        raise InputError(f"{name}: a region is a list of vertices, not {str(region)[:60]}")
    if ids.min() < 0 or ids.max() >= len(mesh.vertices):
        raise InputError(
            f"{name}: the mesh has vertices 0 to {len(mesh.vertices) - 1}, the region "
            f"{ids.min()} to {ids.max()}"
        )
    inside = np.zeros(len(mesh.vertices), bool)
    inside[ids] = True
    rows = np.flatnonzero(all_of(inside[mesh.faces]))
    if not len(rows):
        raise InputError(f"{name}: no face has all its corners in the region")
    return rows


def region_distances(
    morph: Any,
    scan: Any,
    regions: Mapping[str, ArrayLike],
    *,
    tree: TriangleTree | None = None,
    scan_tree: TriangleTree | None = None,
) -> dict[str, RegionDistances]:
    """Distances both ways between regions of the morphed template and the scan.

    What counts is as in :func:`licp.quality.surface_distances`.  A point of the scan belongs to
    the region that the closest point of the morph lies in.

    Parameters
    ----------
    morph : Mesh, path, trimesh.Trimesh or (vertices, faces)
        The template, morphed.
    scan : Mesh, path, trimesh.Trimesh or (vertices, faces)
        In the same frame.
    regions : mapping of str to (k,) int
        Vertices of the template; they may overlap.
    tree, scan_tree : TriangleTree, optional
        The trees of morph and scan, if there are any already.

    Returns
    -------
    dict of str to RegionDistances

    Raises
    ------
    InputError, MeshError
        If a region or mesh cannot be used.

    Examples
    --------
    >>> V = [[0, 0, 0], [2, 0, 0], [0, 2, 0], [2, 2, 0]]
    >>> F = [[0, 1, 2], [2, 1, 3]]
    >>> scan = [[-5, -5, 0.5], [5, -5, 0.5], [0, 5, 0.5]], [[0, 1, 2]]
    >>> region_distances((V, F), scan, {"half": [0, 1, 2]})["half"].template_to_scan.median
    0.5
    """
    mesh, target = as_mesh(morph, "morph"), as_mesh(scan, "scan")
    rows = {name: region_faces(mesh, region, name) for name, region in regions.items()}
    if not rows:
        return {}
    fit = searched(mesh.vertices, mesh.faces, tree)
    there = searched(target.vertices, target.faces, scan_tree)
    over = fit.triangles.query(there.vertices)[1][there.faces]
    found = {}
    for name, part in rows.items():
        inside = np.zeros(len(fit.faces), bool)
        inside[part] = True
        forth, seen = _one_way(fit, inside, there, fit.size)
        back, _ = _one_way(there, all_of(inside[over]), fit, fit.size)
        found[name] = RegionDistances(forth, back, seen)
    return found


def _one_way(
    of: Surface, part: NDArray[np.bool_], to: Surface, size: float
) -> tuple[Distances | None, float]:
    """Distances of a part of one surface to the other, and how much of the part is near it."""
    some = Surface(of.vertices, of.faces[part])
    some.normals = of.normals
    if not some.size > 0:
        return None, 0.0
    return distances_to_scan(some, to, _REACH * size / some.size)
