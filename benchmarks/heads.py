"""Heads whose truth is known: what every method is measured on."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

import licp
from data_fixtures.head import EXPRESSION, random_expression, random_identity
from data_fixtures.head import template as made_up_template
from data_fixtures.scan import ScanOptions, random_options
from data_fixtures.scan import scan as made_up_scan
from licp.similarity import fit_similarity

__all__ = [
    "GENERATED",
    "Head",
    "HeadSet",
    "disturbed",
    "find_sets",
    "generated_head",
    "head_regions",
    "load_template",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

GENERATED = "generated"
COVERED = 3.0
"""A vertex is covered if its true position is within so many mm of a scan vertex."""
_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
# Of the shared folder: set, its scans, its template.
_KNOWN = {
    "ict": ("scanlike_ict", "ict_facekit/ict_head.npz"),
    "mh": ("scanlike_mh", "makehuman/template.obj"),
}


@dataclass(frozen=True, eq=False)
class Head:
    """A scan, the template to be morphed to it, and the truth.  Millimetres.

    Attributes
    ----------
    group, name : str
        The set it belongs to, and its own name there.
    vertices, faces : (n, 3) float64, (m, 3) int64
        Template.
    scan_vertices, scan_faces : (s, 3) float64, (t, 3) int64
    truth : (n, 3) float64
        Where every template vertex belongs, in the scan's frame.
    landmarks : (k,) int64 or None
        Template vertices that are landmarks, if any are known.
    """

    group: str
    name: str
    vertices: Floats
    faces: Ints
    scan_vertices: Floats
    scan_faces: Ints
    truth: Floats
    landmarks: Ints | None = None

    @cached_property
    def covered(self) -> Bools:
        """Template vertices at whose true position the scan has surface."""
        return np.asarray(KDTree(self.scan_vertices).query(self.truth)[0]) < COVERED

    @cached_property
    def pose(self) -> licp.Similarity:
        """The best similarity from the template to the truth."""
        return fit_similarity(self.vertices, self.truth)


def disturbed(head: Head, seed: int, degrees: float = 2.0, millimetres: float = 3.0) -> Any:
    """The true pose, turned about the head's middle and shifted, both in a random direction."""
    text = f"{head.group}/{head.name}".encode()
    axis, shift = np.random.default_rng([seed, *text]).normal(size=(2, 3))
    turn = Rotation.from_rotvec(axis * np.deg2rad(degrees) / np.linalg.norm(axis)).as_matrix()
    middle = head.truth.mean(0)
    shift *= millimetres / np.linalg.norm(shift)
    return licp.Similarity(1.0, turn, middle + shift - turn @ middle).after(head.pose)


@dataclass(frozen=True)
class HeadSet:
    """Heads of one family, made or read one by one.

    Attributes
    ----------
    name : str
    folder, template : Path or None
        Of the scans and of the template mesh; None for generated heads.
    count : int
        How many heads there are.
    resolution, scan_vertices : int
        About how many vertices generated templates and scans have.
    """

    name: str
    folder: Path | None
    template: Path | None
    count: int
    resolution: int = 5000
    scan_vertices: int = 20000

    def __iter__(self) -> Iterator[Head]:
        """Yield the heads in order."""
        for k in range(self.count):
            yield self.head(k)

    def head(self, k: int) -> Head:
        """The k-th head."""
        if self.folder is None or self.template is None:
            return generated_head(k, self.resolution, self.scan_vertices)
        return _read(self.name, _scans(self.folder)[k], self.template)


def generated_head(
    k: int,
    resolution: int = 5000,
    scan_vertices: int = 20000,
    options: ScanOptions | None = None,
    jaw: float | None = None,
) -> Head:
    """The k-th made-up head, upright, with what goes wrong with scans at random or as given.

    ``jaw`` says how far its mouth is open, from 0 to 1, if chance is not to.
    """
    rng = np.random.default_rng([2302, 2194, k])
    identity = random_identity(rng)
    expression = random_expression(rng) * (rng.random() < 0.4)
    if jaw is not None:
        expression[EXPRESSION.index("jaw_open")] = jaw
    options = options or random_options(rng, vertices=scan_vertices)
    mean = made_up_template(resolution)
    made = made_up_scan(identity, expression, rng, options, resolution)
    return Head(
        GENERATED,
        f"head_{k:03d}",
        mean.vertices,
        mean.faces,
        made.vertices,
        made.faces,
        made.truth,
        mean.landmarks,
    )


def find_sets(
    names: tuple[str, ...], data: Path | None, template: Path | None, count: int | None
) -> list[HeadSet]:
    """The sets of these names; all that are there if no name is given.

    Parameters
    ----------
    names : tuple of str
        "generated", "ict", "mh", or a folder with ``scan_XXX.ply`` and ``gt_XXX.npz``.
    data : Path, optional
        The folder that holds ``scanlike_ict``, ``scanlike_mh`` and their templates; by default
        ``../shared/data`` beside the checkout.
    template : Path, optional
        For folders: a mesh, or an ``.npz`` with ``neutral`` and ``tris_skin``; by default the
        ``template.obj`` in the folder.
    count : int, optional
        At most so many heads of each set.
    """
    root = _SHARED if data is None else data
    known = {key: (root / scans, root / mesh) for key, (scans, mesh) in _KNOWN.items()}
    if not names:
        names = (GENERATED, *(key for key, (scans, _) in known.items() if scans.is_dir()))
    found = []
    for name in names:
        if name == GENERATED:
            found.append(HeadSet(name, None, None, 6 if count is None else count))
            continue
        folder, mesh = known.get(name, (Path(name), template or Path(name) / "template.obj"))
        total = len(_scans(folder))
        if not total:
            raise FileNotFoundError(
                f"{folder} has no scan_*.ply: sets are {GENERATED}, {', '.join(_KNOWN)} (found "
                "under --data) or a folder"
            )
        if not mesh.is_file():
            raise FileNotFoundError(f"no template {mesh}: name one with --template")
        number = total if count is None else min(count, total)
        found.append(HeadSet(name if name in known else folder.name, folder, mesh, number))
    return found


def head_regions(head: Head) -> licp.Regions:
    """Regions of a head's template: its own, or those of the generated one, transferred."""
    made = made_up_template()
    known = licp.Regions(made.regions, len(made.vertices))
    if np.array_equal(made.vertices, head.vertices):
        return known
    marks = None if head.landmarks is None else (made.landmarks, head.vertices[head.landmarks])
    mesh = made.vertices, made.faces
    return licp.transfer_regions(known, mesh, (head.vertices, head.faces), landmarks=marks)


def _scans(folder: Path) -> list[Path]:
    return sorted(folder.glob("scan_*.ply"))


def _read(group: str, path: Path, template: Path) -> Head:
    vertices, faces, landmarks = load_template(template)
    scan = licp.load_mesh(path)
    truth = np.load(path.with_name(path.name.replace("scan", "gt")).with_suffix(".npz"))
    if landmarks is None and "template_landmarks" in truth:
        landmarks = truth["template_landmarks"].astype(np.int64)
    return Head(
        group,
        path.stem,
        vertices,
        faces,
        np.asarray(scan.vertices),
        np.asarray(scan.faces),
        truth["gt_vertices"][: len(vertices)].astype(np.float64),
        landmarks,
    )


def load_template(path: Path) -> tuple[Floats, Ints, Ints | None]:
    """A template and its landmarks; only the skin where a model has more."""
    if path.suffix == ".npz":
        model = np.load(path)
        faces = model["tris_skin"].astype(np.int64)
        marks = model["landmarks68"].astype(np.int64) if "landmarks68" in model else None
        return model["neutral"][: faces.max() + 1].astype(np.float64), faces, marks
    mesh = licp.load_mesh(path)
    return np.asarray(mesh.vertices), np.asarray(mesh.faces), None
