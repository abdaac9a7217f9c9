"""What is measured of one scan of a batch, from the files that the batch left and the data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from licp.batch.many import load_scan
from licp.batch.sources import Source
from licp.closest import Border, TriangleTree
from licp.errors import DatasetError, InputError, LicpError, MeshError
from licp.geometry import mesh_size
from licp.headspace import Camera, Subject
from licp.io import load_mesh
from licp.landmark_file import load_landmarks
from licp.landmarks import Landmarks
from licp.mesh import Mesh
from licp.metrics.distances import RegionDistances, landmark_errors, region_distances
from licp.metrics.drawings import Drawing, lift_drawings, read_drawings, read_painted
from licp.metrics.transfer import Places, attach, loose_ends

__all__ = ["Annotation", "Job", "Known", "Measures", "measure"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of the template, and the same for all subjects.

    Attributes
    ----------
    template : Mesh
    landmarks : (68,) int64 or None
        Vertices that are iBUG-68, -1 where there is none.
    regions : mapping of str to (k,) int64
    spacing : float
        Of the samples along contours, in parts of the fit's size (the root of its area).
    colours : mapping of str to three int
        Of contours that are painted on photographs.
    """

    template: Mesh
    landmarks: Ints | None
    regions: Mapping[str, Ints]
    spacing: float
    colours: Mapping[str, tuple[int, int, int]]


@dataclass(frozen=True, eq=False)
class Job:
    """One scan.

    Attributes
    ----------
    key : str
    mesh : Path
        The morphed template.
    source : Source or None
        The scan and its landmarks; None if they are not at hand.
    drawings : Path or None
        Folder of the annotations of this scan.
    """

    key: str
    mesh: Path
    source: Source | None
    drawings: Path | None


@dataclass(frozen=True, eq=False)
class Annotation:
    """A contour of one subject.

    Attributes
    ----------
    drawn : (k, 3) float64
        On the scan.
    places : Places
        On the template.
    ends : (k,) bool
        Where drawing stopped.
    gap : float
        Mean distance from the scan to the morph along it.
    """

    drawn: Floats
    places: Places
    ends: NDArray[np.bool_]
    gap: float


@dataclass(frozen=True, eq=False)
class Measures:
    """What was measured; parts that are not at hand are None or empty, and ``notes`` say why.

    Attributes
    ----------
    key : str
    vertices : (n, 3) float64
        The morphed template.
    size : float
        The square root of its area.
    landmarks : (68,) float64 or None
        Errors, NaN where the template has no such landmark; or (k,) for a file of landmarks.
    ibug : bool
        Whether they are iBUG-68.
    regions : dict of str to RegionDistances
    distance : (n,) float64 or None
        From each vertex to the scan; NaN where the closest point lies on the scan's border.
    annotations : dict of str to Annotation
    notes : list of str
    """

    key: str
    vertices: Floats
    size: float
    landmarks: Floats | None
    ibug: bool
    regions: dict[str, RegionDistances]
    distance: Floats | None
    annotations: dict[str, Annotation]
    notes: list[str]


def measure(known: Known, job: Job, begin: Callable[[str], None]) -> Measures:
    """Measure one scan; raises only if mesh or scan cannot be used."""
    begin("read")
    mesh = load_mesh(job.mesh)
    if len(mesh.vertices) < len(known.template.vertices):
        raise MeshError(
            f"{job.mesh}: has {len(mesh.vertices)} vertices, the template "
            f"{len(known.template.vertices)}; was it made from another one?"
        )
    # A GLB has copies of vertices on seams after the others.
    mesh = known.template.with_vertices(mesh.vertices[: len(known.template.vertices)])
    V, F = mesh.vertices, mesh.faces
    size = mesh_size(V, F)
    if job.source is None:
        return Measures(job.key, V, size, None, False, {}, None, {}, ["no scan"])
    scan = load_scan(job.source.scan)
    begin("measure")
    notes: list[str] = []
    fit, tree = TriangleTree(V, F), TriangleTree(scan.vertices, scan.faces)
    distance, face, barycentric = tree.query(V)
    distance[Border(scan.faces, len(scan.vertices)).holds(face, barycentric)] = np.nan
    landmarks = _landmarks(known, job.source, scan, mesh, notes)
    regions = region_distances(mesh, scan, known.regions, tree=fit, scan_tree=tree)
    annotations = {}
    if job.drawings is not None:
        spacing = known.spacing * size
        for name, drawn in _contours(known, job.source, job.drawings, scan, spacing, notes).items():
            places, gap = attach(drawn, V, F, tree=fit)
            annotations[name] = Annotation(
                drawn, places, loose_ends(drawn, spacing), float(gap.mean())
            )
    ibug = not isinstance(job.source.landmarks, Path)
    return Measures(job.key, V, size, landmarks, ibug, regions, distance, annotations, notes)


def _landmarks(
    known: Known, source: Source, scan: Mesh, mesh: Mesh, notes: list[str]
) -> Floats | None:
    try:
        if isinstance(source.landmarks, Path):
            return landmark_errors(mesh, load_landmarks(source.landmarks, known.template))
        if known.landmarks is None or not isinstance(source.scan, Subject):
            return None
        there = known.landmarks >= 0
        positions = source.scan.landmarks(scan).positions[there]
        errors = np.full(len(there), np.nan)
        errors[there] = landmark_errors(mesh, Landmarks(known.landmarks[there], positions))
    except LicpError as error:
        notes.append(f"no landmarks: {error}")
        return None
    return errors


def _contours(
    known: Known, source: Source, folder: Path, scan: Mesh, spacing: float, notes: list[str]
) -> dict[str, Floats]:
    """The contours of a folder on the scan; a note if there are none."""
    try:
        drawings = _drawings(known, folder)
        if not drawings:
            notes.append(f"no annotations in {folder}")
            return {}
        flat = any(p.shape[1] == 2 for d in drawings.values() for q in d.values() for p in q)
        cameras = _cameras(source) if flat else {}
        return lift_drawings(drawings, cameras, scan, spacing)
    except LicpError as error:
        notes.append(f"no annotations: {error}")
        return {}


def _drawings(known: Known, folder: Path) -> dict[str, Drawing]:
    if (folder / "contours.json").is_file():
        return read_drawings(folder / "contours.json")
    if not known.colours:
        return {}
    from PIL import Image

    found = {}
    for path in sorted(folder.glob("*.png")):
        try:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(f"{path}: not a readable image: {error}") from error
        found[path.stem] = read_painted(pixels, known.colours)
    return found


def _cameras(source: Source) -> Mapping[str, Camera]:
    if not isinstance(source.scan, Subject):
        raise DatasetError(
            "contours are drawn on photographs, whose cameras only a Headspace tree has"
        )
    return source.scan.cameras()
