"""What is known of a scan beforehand: parts of a head that it shows otherwise than they are.

Our own.  A bulge of hair or the ridge of a cap is smooth, and closed surface like any other: no
match tells it from a skull.  What tells it is that it lies outside of where the rest of the head
and the bending of the template put the skull.  So where such things are announced, a first pass
hardly trusts the scan, and a second one trusts it but where it lies outside of the first.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from licp.correspondence import State
from licp.errors import InputError
from licp.geometry import grown, vertex_neighbours
from licp.morph import Morpher
from licp.readonly import ReadOnlyArrays, frozen
from licp.repair import CleanMesh
from licp.result import MorphResult
from licp.scan import PreparedScan
from licp.surface import Surface

__all__ = ["Guidance", "morph_guided"]

Bools = NDArray[np.bool_]

# Trust in what may lie on the head, in the first pass.  The stiffness length grows by its fourth
# root: times 30, from 2 to 60 mm of 400, more than a bulge measures.
_HARDLY = 1e-6
# What lies outside of the first pass by more than this, 3 mm of 400, is not the head.  That
# takes 9.7 % of the error of tuning heads with a bulge and adds 3 % to those without; 2 mm take
# 10.8 % and add 5 %.
_OUTSIDE = 0.0075
# ...nor is what surrounds it, or what surrounds the edge of a hole: the skirts of a bulge, 8 mm.
_AROUND = 0.02


@dataclass(frozen=True, eq=False)
class Guidance(ReadOnlyArrays):
    """Which vertices of a template to doubt on one scan, and why.

    Parameters
    ----------
    raised : (n,) bool
        Where hair or a cap may lie on the head.
    torn : (n,) bool
        Where the scan has a large hole, whose edges are not to be trusted.
    notes : tuple of str
        What was announced, and what nothing could be done about.
    """

    raised: Bools
    torn: Bools
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check and copy; refuse what does not fit together."""
        for name in ("raised", "torn"):
            try:
                values = np.array(getattr(self, name))
            except ValueError:  # rows of different lengths
                values = np.zeros(0)
            if values.ndim != 1 or values.dtype != bool or len(values) != len(self.raised):
                raise InputError(f"{name} must be bool, one for each vertex of the template")
            object.__setattr__(self, name, frozen(values))

    def __bool__(self) -> bool:
        """Whether there is anything to be done."""
        return bool(self.raised.any() or self.torn.any())


def morph_guided(morpher: Morpher, scan: Any, guidance: Guidance, **options: Any) -> MorphResult:
    """Morph a template to a scan in two passes, of which the second leaves out what is doubtful.

    What is left out follows its surroundings and has the state ``MASKED``; the result says in
    ``adjusted`` how much that is.  Without anything to doubt, it is one pass as always.

    Parameters
    ----------
    morpher : Morpher
        The template.
    scan : path, trimesh.Trimesh, (vertices, faces), Mesh or PreparedScan
        Any unit and pose.
    guidance : Guidance
        For this scan and template.
    **options
        Of :meth:`licp.Morpher.morph`; ``start`` is that of the first pass.

    Raises
    ------
    InputError
        If there is no Morpher or no Guidance, or they are of different templates.
    LicpError
        As :meth:`licp.Morpher.morph` does.

    Examples
    --------
    >>> import trimesh
    >>> ball = trimesh.creation.icosphere(3)
    >>> lump = trimesh.creation.icosphere(4)
    >>> lump.vertices *= 1 + 0.2 * np.exp(-20 * ((lump.vertices - [0, 0, 1]) ** 2).sum(1))[:, None]
    >>> top = ball.vertices[:, 2] > 0.3
    >>> doubt = Guidance(raised=top, torn=~top & top, notes=("a lump",))
    >>> result = morph_guided(Morpher(ball), lump, doubt, start=np.eye(4))
    >>> bool(result.vertices[:, 2].max() < 1.1), len(result.adjusted)
    (True, 2)
    """
    for given, kind in ((morpher, Morpher), (guidance, Guidance)):
        if not isinstance(given, kind):
            raise InputError(
                f"morph_guided needs a licp.{kind.__name__}, not {type(given).__name__}"
            )
    n = len(morpher.template.vertices)
    if len(guidance.raised) != n:
        raise InputError(
            f"this guidance is of a template of {len(guidance.raised)} vertices, not of {n}"
        )
    if not guidance:
        return replace(morpher.morph(scan, **options), adjusted=guidance.notes)
    ready = PreparedScan.of(scan)
    wary = morpher.trusting(np.where(guidance.raised, _HARDLY, 1.0))
    first = wary.morph(ready, **options)
    if first.stopped:
        return replace(first, adjusted=guidance.notes)
    # Repair welds what is cut along uv seams, so that surroundings go on beyond them.
    sheet = morpher.repaired
    outside = guidance.raised & _around(sheet, _outside(first, ready.full))
    frayed = guidance.torn & _around(sheet, first.state == State.BORDER)
    doubted = outside | frayed
    result = morpher.trusting(~doubted).morph(ready, **{**options, "start": first.similarity})
    told = [
        f"left out {part.sum()} of {where.sum()} vertices {why}"
        for part, where, why in (
            (outside, guidance.raised, "that the scan shows outside of the head"),
            (frayed, guidance.torn, "at the edge of a hole"),
        )
        if where.any()
    ]
    passed = sum(time for phase, time in first.seconds.items() if phase != "prepare")
    seconds = {"first pass": passed, **result.seconds}
    return replace(result, adjusted=(*guidance.notes, *told), seconds=seconds)


def _outside(fit: MorphResult, scan: Surface) -> Bools:
    """Vertices whose closest point on the scan lies outside of the fit, (n,)."""
    _, face, barycentric = scan.triangles.query(fit.vertices)
    foot = np.einsum("qk,qkj->qj", barycentric, scan.vertices[scan.faces[face]])
    rise = np.einsum("qj,qj->q", foot - fit.vertices, scan.normals_at(face, barycentric))
    beyond: Bools = rise > _OUTSIDE * Surface(fit.vertices, fit.mesh.faces).size
    return beyond


def _around(sheet: CleanMesh, some: Bools) -> Bools:
    """These vertices of a template and what is near them along it, (n,)."""
    n = len(sheet.vertices)
    rings = max(1, round(_AROUND * np.sqrt(n)))  # spacing: the size over the root of n
    near = grown(sheet.any(some)[None], vertex_neighbours(sheet.faces, n), rings)[0]
    found: Bools = some | np.append(near, False)[sheet.index]
    return found
