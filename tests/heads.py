"""Small heads, scans and shapes that several test files share; each is made once."""

from functools import cache

import numpy as np
import trimesh
from scipy.spatial.transform import Rotation

from data_fixtures.head import Template, random_expression, random_identity
from data_fixtures.head import template as made_up_template
from data_fixtures.scan import Scan, ScanOptions
from data_fixtures.scan import scan as made_up_scan
from licp import Morpher, MorphResult, Schedule, Similarity
from licp.similarity import fit_similarity

Arrays = tuple[np.ndarray, np.ndarray]
SHORT = Schedule.progressive(5)
"""For tests of what does not depend on how long one works at it."""


def template() -> Template:
    """A head of about a thousand vertices."""
    return made_up_template(1000)


def arrays() -> Arrays:
    """Its vertices and faces."""
    return template().vertices, template().faces


@cache
def scan() -> Scan:
    """A scan of another head, in the tilted raw frame."""
    rng = np.random.default_rng(5)
    options = ScanOptions(vertices=3000, texture_size=64, headspace_frame=True)
    return made_up_scan(random_identity(rng), random_expression(rng), rng, options, 1000)


def scan_arrays() -> Arrays:
    """Its vertices and faces."""
    return scan().vertices, scan().faces


@cache
def pose() -> Similarity:
    """The best similarity from the template to the head in the scan."""
    return fit_similarity(template().vertices, scan().truth)


@cache
def morpher() -> Morpher:
    """The template, prepared."""
    return Morpher(arrays())


@cache
def result() -> MorphResult:
    """Template to scan, from the true pose."""
    return morpher().morph(scan_arrays(), start=pose())


@cache
def found() -> MorphResult:
    """Template to scan, from no pose at all."""
    return morpher().morph(scan_arrays())


@cache
def short_morpher() -> Morpher:
    """The template with the short schedule."""
    return Morpher(arrays(), schedule=SHORT)


@cache
def short_result() -> MorphResult:
    """Template to scan, from the true pose, with the short schedule."""
    return short_morpher().morph(scan_arrays(), start=pose())


@cache
def size() -> float:
    """Size of the template as the library means it: the root of its area."""
    return float(np.sqrt(trimesh.Trimesh(*arrays(), process=False).area))


def error(vertices: np.ndarray) -> float:
    """Mean distance to the truth where the scan has surface, mm."""
    return float(np.linalg.norm(vertices - scan().truth, axis=1)[scan().covered].mean())


def apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distances of corresponding template vertices in parts of the template's size."""
    distance: np.ndarray = np.linalg.norm(a - b, axis=1) / size()
    return distance


def rotation(seed: int) -> np.ndarray:
    """Any rotation."""
    matrix: np.ndarray = Rotation.from_quat(np.random.default_rng(seed).normal(size=4)).as_matrix()
    return matrix


def ball(subdivisions: int = 3) -> Arrays:
    """Unit sphere."""
    mesh = trimesh.creation.icosphere(subdivisions)
    return np.array(mesh.vertices), np.array(mesh.faces)


def potato(subdivisions: int = 3) -> Arrays:
    """A closed smooth shape without any symmetry; finer ones hold the vertices of coarser ones."""
    V, F = ball(subdivisions)
    r = np.ones(len(V))
    for at, width, height in (
        ((0.0, 0.1, 1.0), 0.35, 0.35),
        ((0.9, 0.4, 0.2), 0.4, 0.2),
        ((-0.8, 0.3, -0.5), 0.45, 0.25),
        ((0.3, -0.9, 0.3), 0.5, 0.3),
        ((-0.5, 0.5, 0.7), 0.35, -0.15),
        ((0.2, 0.8, -0.6), 0.4, -0.15),
    ):
        r += height * np.exp(-((np.linalg.norm(V - at, axis=1) / width) ** 2))
    return V * r[:, None] * [1.0, 1.3, 1.15], F


def part(mesh: Arrays, keep: np.ndarray) -> Arrays:
    """The faces flagged, on the same vertices."""
    return mesh[0], mesh[1][keep]
