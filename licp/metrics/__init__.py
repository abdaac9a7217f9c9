"""How good registrations are: by annotations, landmarks, distances, and models made of them.

>>> from licp.metrics import annotation_agreement, attach  # doctest: +SKIP
>>> places, _ = attach(contour_on_scan, result.vertices, template.faces)  # doctest: +SKIP
>>> on_template = places.on(template.vertices, template.faces)  # doctest: +SKIP
>>> annotation_agreement([on_template, ...], size).density  # doctest: +SKIP
"""

from licp.metrics.agreement import Agreement, annotation_agreement, pool
from licp.metrics.distances import RegionDistances, landmark_errors, region_distances
from licp.metrics.drawings import lift_drawings, read_drawings, read_painted
from licp.metrics.model import ModelQuality, model_quality, procrustes
from licp.metrics.overlay import draw_with_points, figure_heat, figure_overlay, figure_swap
from licp.metrics.realy import RegionError, region_errors
from licp.metrics.transfer import (
    Places,
    attach,
    contour_distance,
    loose_ends,
    merge_contours,
    resample,
    swap,
    swap_distances,
)

__all__ = [
    "Agreement",
    "ModelQuality",
    "Places",
    "RegionDistances",
    "RegionError",
    "annotation_agreement",
    "attach",
    "contour_distance",
    "draw_with_points",
    "figure_heat",
    "figure_overlay",
    "figure_swap",
    "landmark_errors",
    "lift_drawings",
    "loose_ends",
    "merge_contours",
    "model_quality",
    "pool",
    "procrustes",
    "read_drawings",
    "read_painted",
    "region_distances",
    "region_errors",
    "resample",
    "swap",
    "swap_distances",
]
