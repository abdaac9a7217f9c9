"""Which fits to look at: thresholds on what a morph says about itself.

Lengths are in parts of the fit's size, the square root of its area (about 400 mm for a head with
neck), numbers of faces in parts of all faces.  On simulated 3dMD-like scans, fits from the right
pose stay below half of nearly all limits and have 1.6 to 2.8 mm of error; fits from a pose turned
by 90 or 180 degrees have 100 mm and more, look close to the scan all the same, and exceed the
limit of the distortion every time.
"""

from licp.geometry import mesh_size
from licp.mesh import Mesh
from licp.quality import Quality

__all__ = ["flags_of"]

# Half of a head: what is filled in outweighs what is seen.
_SEEN = 0.5
# Right fits match 0.87 and more of what is seen, heads of an MRI 0.56; scans in many pieces, which
# are borders nearly everywhere, 0.3.
_MATCHED = 0.5
# Right fits explain 0.77 and more; what lacks is neck and shoulders beyond the template's.
_EXPLAINED = 0.6
# 95 % of the overlap, 2 mm of 400; right fits have 0.0002 (to the scan) and 0.002 (to the fit).
_FAR = 0.005
# Logarithm of edge lengths, 5 % and 95 %; right fits -0.18 and 0.09, wrong ones -0.27 and 0.24.
_SHRUNK, _STRETCHED = -0.25, 0.18
# Right fits have 0.0004 and 0.025 at most, the latter in the ears; half of the wrong ones more.
_FLIPPED, _CROSSING = 0.001, 0.03


def flags_of(quality: Quality, fit: Mesh, converged: bool, matched: float) -> tuple[str, ...]:
    """Reasons to doubt a fit, none for a good one.

    Parameters
    ----------
    quality : Quality
        Of the fit.
    fit : Mesh
        The morphed template.
    converged : bool
        See :class:`licp.MorphResult`.
    matched : float
        Part of the vertices that may match which did.

    Notes
    -----
    ======================  =====================================================================
    not converged           the schedule was not completed, or what is matched still moved
    little seen             the scan shows less than 50 % of the template
    few matches             less than half of what the scan shows was matched
    scan not explained      less than 60 % of the scan is within reach of the fit
    far from scan           5 % of the overlap are farther apart than 0.5 % of the size
    distorted               5 % of the edges are shorter by 22 %, or longer by 20 %, than a
                            similarity makes them
    flipped faces           more than 0.1 % of the faces are turned over
    self-intersections      pairs of faces that run through each other are more than in the
                            template, by 3 % of the number of faces
    ======================  =====================================================================
    """
    faces = len(fit.faces)
    size = mesh_size(fit.vertices, fit.faces)
    distances = (quality.template_to_scan, quality.scan_to_template)
    edge = quality.edge_distortion
    added = quality.self_intersections - quality.rest_self_intersections
    found = {
        "not converged": not converged,
        "little seen": quality.template_seen < _SEEN,
        "few matches": matched < _MATCHED * quality.template_seen,
        "scan not explained": quality.scan_explained < _EXPLAINED,
        "far from scan": any(d is None or d.p95 > _FAR * size for d in distances),
        "distorted": edge.p05 < _SHRUNK or edge.p95 > _STRETCHED,
        "flipped faces": quality.flipped_faces > _FLIPPED * faces,
        "self-intersections": added > _CROSSING * faces,
    }
    return tuple(name for name, is_so in found.items() if is_so)
