"""A scan, prepared once for any number of templates."""

import time
from copy import copy
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from licp.cloud import Cloud
from licp.coarsening import thinned
from licp.compiled import interruptible
from licp.errors import InputError
from licp.fairing import faired
from licp.io import as_mesh
from licp.pinholes import without_pinholes
from licp.repair import RepairReport, clean_scan
from licp.similarity import Similarity
from licp.surface import Surface

__all__ = ["PreparedScan"]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Vertex spacing that a search runs on, in parts of the size of what is searched: 2.6 mm of 400.
# Denser scans are thinned to it, and matches end on the full scan.
_SPACING = 0.0065
# They are thinned by their own size, before the pose is known, and again where that was too much
# for the template: a head on a bust.
_TOO_SPARSE = 1.3
# Longest border around a hole that is none, 12 mm of 400: 4 mm across.  Of dense scans in which 5,
# 10 and 20 % of the faces are missing, ICT heads are 1.68, 1.71 and 1.72 mm off instead of 2.99,
# 4.48 and 20.7; with 16 mm the same, with 32 mm scans that lack single vertices get worse.
_PINHOLE = 0.03


class PreparedScan:
    """A scan that is checked, repaired, faired and thinned.  Immutable.

    It is for morphs: what looks at the scan as it was given (pictures, distances by region, the
    transfer of regions) takes a mesh.

    Parameters
    ----------
    scan : path, trimesh.Trimesh, (vertices, faces) or Mesh
        Any unit and pose.

    Attributes
    ----------
    count : int
        Vertices of the scan as it was given.
    source : (k,) int64
        Those of them that are left, in the order of ``full``.
    report : RepairReport
    full : Surface
        Repaired, in the frame of the scan, with the normals of ``fair``.
    fair : Surface
        The same without the noise of single vertices: what a template is morphed to.
    sparse : Surface
        The same, thinned for searching.
    kept : (c,) int64 or None
        Vertices of ``fair`` that are those of ``sparse``; None if the two are one.
    ignored : (k,) bool or None
        Vertices of ``full`` that count for nothing; None if all count.
    shown : Surface
        ``full`` without them.
    seconds : float
        Wall clock that all this took.

    Raises
    ------
    MeshError, MeshFileError
        If the scan cannot be used.

    Examples
    --------
    >>> import trimesh
    >>> scan = PreparedScan(trimesh.creation.icosphere(7))
    >>> scan.count, len(scan.kept) < 30_000
    (163842, True)
    """

    @interruptible
    def __init__(self, scan: Any) -> None:
        begun = time.perf_counter()
        mesh = as_mesh(scan, "scan")
        clean = clean_scan(mesh.vertices, mesh.faces)
        self.count = len(mesh.vertices)
        self._clean = clean
        self.source: Ints = clean.source
        self.report: RepairReport = clean.report
        self.full = full = Surface(clean.vertices, clean.faces)
        full.areas = clean.areas
        # Before anything looks at borders.
        full.edges = without_pinholes(full.vertices, full.faces, clean.edges, _PINHOLE * full.size)
        _ = full.border  # found once for both
        self.fair = faired(self.full)
        # Distances are measured to the scan as it is; which way it faces, noise cannot tell.
        self.full.normals = self.fair.normals
        self.sparse, self.kept = thinned(self.fair, _SPACING * self.fair.size)
        _made_ready(self.sparse)
        _ = self.fair.incidence, self.fair.beside_border
        self.ignored: Bools | None = None
        self.shown = self.full
        self.seconds = time.perf_counter() - begun

    def __repr__(self) -> str:
        """One line with what is left of it."""
        return f"<PreparedScan: {len(self.source)} of {self.count} vertices; {self.report}>"

    @classmethod
    def of(cls, scan: Any) -> "PreparedScan":
        """The scan prepared, unless it is already."""
        return scan if isinstance(scan, cls) else cls(scan)

    def ignoring(self, flags: Bools) -> "PreparedScan":
        """The same scan, of which some vertices as it was given (``count``,) count for nothing.

        Of vertices that were merged (copies on a seam), one that is flagged is enough.

        They stay: what would meet them must not meet what lies beside them instead.

        Raises
        ------
        InputError
            If no face is left.
        """
        other = copy(self)
        other.__dict__.pop("cloud", None)
        other.ignored = self._clean.any(flags)
        other.shown = self.full.without(other.ignored)
        if not len(other.shown.faces):
            raise InputError("scan_mask ignores every face of the scan")
        return other

    @cached_property
    def cloud(self) -> Cloud:
        """What a search of all poses looks at."""
        if self.ignored is None:
            return Cloud.of(self.sparse)
        ignored = self.ignored if self.kept is None else self.ignored[self.kept]
        seen = self.sparse.without(ignored)
        return Cloud.of(seen if len(seen.faces) else self.shown)

    def seen_from(self, pose: Similarity) -> tuple[Surface, tuple[Surface, Ints] | None]:
        """The scan in the frame of a template of size one, thinned to fit that.

        Parameters
        ----------
        pose : Similarity
            From that frame to the scan's.

        Returns
        -------
        target : Surface
        fine : tuple or None
            The whole scan in the same frame and the vertices of it that are those of the target;
            None if the two are one.
        """
        target, kept = self.sparse, self.kept
        if kept is not None and target.spacing > _TOO_SPARSE * _SPACING * pose.scale:
            target, kept = thinned(self.fair, _SPACING * pose.scale)
            _made_ready(target)
        back = pose.inverse()
        fine = None if kept is None else (self.fair.moved(back), kept)
        return target.moved(back), fine


def _made_ready(surface: Surface) -> None:
    """Find what a search needs of a surface; kept there, and the same wherever it is moved to."""
    _ = surface.laplacian, surface.fans, surface.border, surface.neighbours
    _ = surface.at_border, surface.beside_border
