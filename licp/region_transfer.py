"""Regions of one template on another."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from licp.errors import InputError
from licp.geometry import vertex_normals
from licp.io import as_mesh
from licp.mesh import Mesh
from licp.morph import morph
from licp.regions import Regions
from licp.repair import clean
from licp.surface import Surface

__all__ = ["transfer_regions"]

Floats = NDArray[np.float64]

# A vertex farther than this from the other template (8 mm of 400), or facing away from it, lies
# where the other has nothing: mouth bags, eyeballs, a longer neck.
_REACH = 0.02


def transfer_regions(
    regions: Mapping[str, ArrayLike], template: Any, other: Any, **options: Any
) -> Regions:
    """Find the regions of a template on another one.

    The template is morphed to the other one, whose vertices take the regions of the closest point:
    those in which at least half of it lies, by barycentric coordinates.  Vertices with nothing of
    the template near them that faces their way are in no region.

    Parameters
    ----------
    regions : Regions or mapping of str to (k,) int
        Of the template.
    template, other : path, trimesh.Trimesh, (vertices, faces) or Mesh
        Any unit and pose, wound either way.
    **options
        Of :func:`licp.morph`, such as landmarks.

    Raises
    ------
    InputError
        If these regions are not of the template, or one of them has no place on the other.
    LicpError
        If the morph fails.

    Examples
    --------
    >>> import trimesh
    >>> ball, fine = trimesh.creation.icosphere(3), trimesh.creation.icosphere(4)
    >>> top = Regions({"top": np.flatnonzero(ball.vertices[:, 2] > 0.5)}, len(ball.vertices))
    >>> moved = transfer_regions(top, ball, fine, start=np.eye(4))
    >>> bool(abs(fine.vertices[moved["top"], 2].min() - 0.5) < 0.1)
    True
    """
    of, to = as_mesh(template, "template"), as_mesh(other, "other template")
    regions = Regions(regions, len(of.vertices))
    fit = Surface(morph(of, to, **options).vertices, of.faces)
    fit.normals = _outward(of, fit.vertices)
    distance, face, barycentric = fit.triangles.query(to.vertices)
    there = fit.normals_at(face, barycentric)
    facing = np.einsum("qj,qj->q", there, _outward(to, to.vertices)) > 0
    near = facing & (distance < _REACH * fit.size)
    found = {}
    for name in regions:
        share = (barycentric * regions.mask(name)[of.faces[face]]).sum(1)
        found[name] = np.flatnonzero(near & (share >= 0.5))
        if not len(found[name]):
            raise InputError(f"{to.name}: no vertex lies where {of.name} has its {name}")
    return Regions(found, len(to.vertices))


def _outward(mesh: Mesh, vertices: Floats) -> Floats:
    """Normals (n, 3) of a mesh at other positions, wound as a morph repairs it; zero off faces."""
    kept = clean(mesh.vertices, mesh.faces)
    normals = vertex_normals(vertices[kept.source], kept.faces)
    return np.vstack([normals, np.zeros(3)])[kept.index]
