"""Error of a shape against regions of a scan, after the protocol of the REALY benchmark.

REALY (Chai et al., "REALY: Rethinking the Evaluation of 3D Face Reconstruction", ECCV 2022) asks
how far nose, mouth, forehead and cheek of a scan are from where they correspond to a
reconstruction, each aligned by itself.  The steps here are

1. a similarity of the shape to the scan by keypoints;
2. for each region, a rigid alignment by closest points, which are only those of the region;
3. for each region, a non-rigid registration of the scan's region to the shape, by licp;
4. the mean distance between the region's vertices and where the registration took them.

What differs from the published benchmark, so that numbers are **not comparable** with its table:
step 3 is this library's engine and not theirs, without keypoints, so that its errors (which grow
with stiffness) are its own; step 2 keeps the scale and trims the farthest tenth; all else that
their code does and a description does not say.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from licp.closest import TriangleTree
from licp.errors import InputError, LandmarkError
from licp.io import as_mesh
from licp.landmarks import Landmarks
from licp.mesh import Mesh
from licp.morph import Morpher
from licp.similarity import Similarity, fit_similarity

__all__ = ["RegionError", "region_errors"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Closest points of the farthest tenth have no say: a region may show what the shape lacks.
_TRIM = 0.9
# ICP stops when no point moves by more than this part of the region's extent.
_STEP, _STEPS = 1e-6, 100


@dataclass(frozen=True, eq=False)
class RegionError:
    """Error over one region.

    Attributes
    ----------
    mean, median, p95 : float
        Over the region's vertices, in millimetres if ``millimetres`` was right.
    errors : (k,) float64
        Of each vertex.
    converged : bool
        Of the non-rigid registration.
    """

    mean: float
    median: float
    p95: float
    errors: Floats
    converged: bool

    def to_dict(self) -> dict[str, Any]:
        """The numbers, ready for JSON."""
        return {k: v for k, v in vars(self).items() if k != "errors"}


def region_errors(
    shape: Any,
    keypoints: tuple[ArrayLike, ArrayLike] | ArrayLike,
    regions: Mapping[str, Any],
    positions: ArrayLike,
    *,
    millimetres: float = 1.0,
    threads: int | None = None,
) -> dict[str, RegionError]:
    """Errors of a shape over regions of a scan.

    Parameters
    ----------
    shape : Mesh, path, trimesh.Trimesh or (vertices, faces)
        A reconstruction or morph, any unit and pose.
    keypoints : pair of (k,) int and (k, 3) float, or (k,) int
        Rows of ``faces`` and barycentric coordinates, or vertices; for REALY's 85,
        :func:`licp.headspace.read_barycentric`.
    regions : mapping of str to mesh
        Parts of a scan; :meth:`licp.headspace.RealyScan.regions`.
    positions : (k, 3) float
        The keypoints on the scan, in the frame and unit of the regions;
        :meth:`licp.headspace.RealyScan.keypoints`.
    millimetres : float
        In a unit of the scan.
    threads : int, optional
        For searches.

    Returns
    -------
    dict of str to RegionError

    Raises
    ------
    LandmarkError
        If the keypoints do not fit.
    MeshError
        If a mesh cannot be used.
    OverlapError
        If a region and the shape have nothing in common.
    """
    if not (np.isfinite(millimetres) and millimetres > 0):
        raise InputError(f"millimetres must be positive, not {millimetres}")
    mesh = as_mesh(shape, "shape")
    parts = {name: as_mesh(part, name) for name, part in regions.items()}
    every = np.arange(len(mesh.vertices))
    marks = Landmarks(keypoints, positions).bind(mesh, every, every)
    if not marks.suffice():
        raise LandmarkError("at least four keypoints, not on a line, are needed for a similarity")
    pose = fit_similarity(marks.on(mesh.vertices), marks.positions)
    placed = mesh.with_vertices(pose.apply(mesh.vertices))
    tree = TriangleTree(placed.vertices, placed.faces)
    return {
        name: _region_error(part, placed, tree, millimetres, threads)
        for name, part in parts.items()
    }


def _region_error(
    part: Mesh, shape: Mesh, tree: TriangleTree, millimetres: float, threads: int | None
) -> RegionError:
    move = _rigid(part.vertices, shape, tree)
    there = move.apply(part.vertices)
    fit = Morpher(part.with_vertices(there), threads=threads).morph(
        (shape.vertices, shape.faces), start=Similarity.identity(), rigid=True, threads=threads
    )
    used = np.unique(part.faces)
    errors = millimetres * np.linalg.norm(fit.vertices - there, axis=1)[used]
    median, p95 = np.percentile(errors, (50, 95))
    return RegionError(float(errors.mean()), float(median), float(p95), errors, fit.converged)


def _rigid(points: Floats, shape: Mesh, tree: TriangleTree) -> Similarity:
    """Rigid ICP of points (k, 3) to a surface, point to closest point."""
    move = Similarity.identity()
    at = points
    extent = np.linalg.norm(np.ptp(points, axis=0))
    for _ in range(_STEPS):
        distance, face, barycentric = tree.query(at)
        foot = np.einsum("kc,kcj->kj", barycentric, shape.vertices[shape.faces[face]])
        near = distance <= np.quantile(distance, _TRIM)
        move = fit_similarity(points, foot, near.astype(float), with_scale=False)
        before, at = at, move.apply(points)
        if np.abs(at - before).max() < _STEP * extent:
            break
    return move
