"""How far a fit is from the truth and from the scan, and what it did to the mesh."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.heads import Head
from licp.faults import flipped_faces
from licp.intersections import self_intersections
from licp.quality import surface_distances

__all__ = ["Errors", "Measures", "errors", "measure"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Errors:
    """Distances of vertices to their true places, mm."""

    mean: float
    median: float
    p95: float


@dataclass(frozen=True)
class Measures:
    """All that is said of a fit.

    Attributes
    ----------
    covered, everywhere, landmarks : dict of str to float, or None
        Over the template vertices that the scan shows, all of them, and the landmarks.
    to_scan, to_template : dict of str to float, or None
        Not errors but distances between the surfaces, over what overlaps (see
        :func:`licp.quality.surface_distances`): median and 95 %, no mean.
    seen : float
        Part of the template's area that lies on the scan.
    flipped : int
        Faces turned over against their neighbourhood.
    crossings : int
        Pairs of faces that run through each other and do not do so in the template.
    """

    covered: Errors | None
    everywhere: Errors
    landmarks: Errors | None
    to_scan: dict[str, float] | None
    to_template: dict[str, float] | None
    seen: float
    flipped: int
    crossings: int

    def to_dict(self) -> dict[str, Any]:
        """Nested dictionary of plain numbers, ready for JSON."""
        return asdict(self)


def errors(vertices: Floats, truth: Floats, where: NDArray[Any] | None = None) -> Errors | None:
    """How far vertices (n, 3) are from the truth, where a mask or ids say; None if nowhere."""
    distance = np.linalg.norm(vertices - truth, axis=1)
    if where is not None:
        distance = distance[where]
    if not len(distance):
        return None
    return Errors(
        float(distance.mean()), float(np.median(distance)), float(np.quantile(distance, 0.95))
    )


def measure(head: Head, vertices: Floats) -> Measures:
    """Measure a fit (n, 3) to a head, the same way for every method."""
    surface = surface_distances(vertices, head.faces, head.scan_vertices, head.scan_faces)
    before, after = (
        set(map(tuple, self_intersections(v, head.faces).tolist()))
        for v in (head.vertices, vertices)
    )
    everywhere = errors(vertices, head.truth)
    assert everywhere is not None
    near, back = (
        None if d is None else {"median": d.median, "p95": d.p95}
        for d in (surface.template_to_scan, surface.scan_to_template)
    )
    return Measures(
        errors(vertices, head.truth, head.covered),
        everywhere,
        None if head.landmarks is None else errors(vertices, head.truth, head.landmarks),
        near,
        back,
        surface.template_seen,
        int(flipped_faces(head.vertices, vertices, head.faces).sum()),
        len(after - before),
    )
