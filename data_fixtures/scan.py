"""Turn heads into scans like those of a 3dMD system, with everything known about them.

The scan samples the same smooth surface as the template, but at random points of its own: no
vertex, edge or crease of the template can be found in it. Parts that no camera sees are missing.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from .head import (
    EXPRESSION,
    IDENTITY,
    Coefficients,
    coefficients,
    deform,
    landmark_positions,
    template,
    texture_coordinates,
)
from .layout import layout
from .sampling import coverage, face_areas, flip, hull, scatter, spread, unit
from .sculpt import smoothstep
from .surface import NECK_ANGLE, MeanPoints, mean_points, neck_angle
from .texture import above_cap_line, pick_colours, skin_texture

Array = NDArray[np.float64]
Int = NDArray[np.int64]
Bool = NDArray[np.bool_]

UPRIGHT_FROM_RAW = Rotation.from_euler("xy", [-45, -45], degrees=True).as_matrix()
"""Headspace's tilt: this rotation, about the centre, turns raw scans upright (x first, then y)."""


@dataclass(frozen=True)
class ScanOptions:
    """What the scanner does to a head.

    Attributes
    ----------
    vertices : int
        About how many vertices the scan has, up to 200,000.
    noise, warp : float
        Standard deviation of the error of single vertices, and of smooth waves of some 15 mm, mm.
    spikes, debris, holes : int
        Numbers of spikes, of floating fragments and of small holes in random places.
    chin_hole, cranial_hole, ear_dropouts : bool
        Large missing parts.
    cap : bool
        The head wears a cap with a ridge along its edge, and...
    hair : float
        ...hair of so many mm under it (or without a cap, sticking out freely). Cap and hair belong
        to the surface: the truth lies on them.
    shoulders : bool
        The scan goes on below the neck; otherwise it ends about where the template ends.
    seam : float
        Step between the halves seen by the left and the right camera, mm.
    headspace_frame : bool
        Raw Headspace frame (tilted, off centre) rather than upright.
    tilt : float
        Standard deviation of the random pose, degrees (at most 20 are applied).
    unit : float
        Length of a millimetre in the scan's unit (0.001 for metres).
    texture_size : int
        Pixels along a side of the texture.
    """

    vertices: int = 25000
    noise: float = 0.08
    warp: float = 0.18
    spikes: int = 0
    debris: int = 0
    holes: int = 0
    chin_hole: bool = False
    cranial_hole: bool = False
    ear_dropouts: bool = False
    cap: bool = False
    hair: float = 0.0
    shoulders: bool = False
    seam: float = 0.0
    headspace_frame: bool = False
    tilt: float = 6.0
    unit: float = 1.0
    texture_size: int = 512


@dataclass(frozen=True)
class Scan:
    """A simulated scan and the truth about it.

    Attributes
    ----------
    vertices, faces : (v, 3) float64, (f, 3) int64
    uv : (v, 2) float64
    colours : (v, 3) uint8
    texture : (s, s, 3) uint8
    truth : (n, 3) float64
        Position of every template vertex on the noise-free surface, in the scan's frame.
    covered : (n,) bool
        Template vertices at whose place the scan has surface.
    landmarks : (68,) int64
        Scan vertex nearest to each landmark of the template.
    rotation, translation, unit : (3, 3) float64, (3,) float64, float
        scan = unit * (rotation @ head + translation).
    identity, expression : (48,) float64, (3,) float64
    options : ScanOptions
    """

    vertices: Array
    faces: Int
    uv: Array
    colours: NDArray[np.uint8]
    texture: NDArray[np.uint8]
    truth: Array
    covered: Bool
    landmarks: Int
    rotation: Array
    translation: Array
    unit: float
    identity: Array
    expression: Array
    options: ScanOptions


def random_options(rng: np.random.Generator, **fixed: object) -> ScanOptions:
    """Draw what may go wrong with a scan; arguments given by name are not drawn."""
    options = ScanOptions(
        spikes=int(rng.integers(0, 3)), debris=int(rng.integers(0, 4)),
        holes=int(rng.integers(0, 4)), chin_hole=bool(rng.random() < 0.6),
        cranial_hole=bool(rng.random() < 0.3), ear_dropouts=bool(rng.random() < 0.8),
        cap=bool(rng.random() < 0.5), hair=float(rng.choice([0.0, rng.uniform(1, 8)])),
        shoulders=bool(rng.random() < 0.3), seam=float(rng.uniform(0, 0.5)))
    return replace(options, **fixed)  # type: ignore[arg-type]


def _waves(p: Array, rng: np.random.Generator, length: float) -> Array:
    """Smooth random field of unit variance."""
    k = 32
    w, phase = rng.normal(size=(k, 3)) / length, rng.uniform(0, 2 * np.pi, k)
    return np.asarray(np.sqrt(2 / k) * np.cos(p @ w.T + phase).sum(1))


def _normals(v: Array, f: Int) -> Array:
    n = np.cross(v[f[:, 1]] - v[f[:, 0]], v[f[:, 2]] - v[f[:, 0]])
    total = np.stack([np.bincount(f.ravel(), np.repeat(c, 3), len(v)) for c in n.T], 1)
    return unit(np.asarray(total, float))


def _dress(mean: MeanPoints, v: Array, options: ScanOptions, seed: int) -> Array:
    """Put cap and hair on; depends on the mean position only, like every correspondence."""
    if not options.cap and options.hair == 0:
        return v
    p = mean.position
    rise = above_cap_line(p)
    thick = options.hair * smoothstep(rise, 2, 45) * np.clip(
        0.9 + 0.3 * _waves(p, np.random.default_rng(seed), 45.0), 0, 2)
    if options.cap:
        thick = thick + 1.0 * smoothstep(rise, -1, 2.5) + 1.4 * np.exp(-(((rise - 3) / 2.2) ** 2))
    thick = thick * (1 - smoothstep(mean.ear, 0.0, 0.3)) * smoothstep(p[:, 1], -60, -20)
    return v + thick[:, None] * unit(p - np.array([0.0, 35.0, -8.0], float))


def _sample(target: int, mean_of: "_Dressed", rng: np.random.Generator) -> tuple[Array, Int]:
    """Random, evenly spread domain points and their triangles."""
    cover = coverage()
    v = mean_of(cover.mean)
    limit = 0.02 if mean_of.options.shoulders else NECK_ANGLE - 0.06
    faces = cover.faces[(neck_angle(cover.domain) > limit)[cover.faces].all(1)]
    split = target > 60000  # one step of subdivision instead of many random points
    n = target // 4 if split else target
    values = np.concatenate([40 * cover.domain, v], 1)
    p = cover.mean.position[faces].mean(1)
    face = smoothstep(p[:, 2], 35, 70) * smoothstep(-p[:, 1], -60, -40) * (p[:, 1] > -110)
    weights = face_areas(v, faces) * (1 + 1.2 * face)  # finer where there is more to see
    candidates = scatter(5 * n, weights, values, faces, rng)
    points = spread(candidates, np.ones(len(candidates)), n, np.empty((0, 6)), 2)
    domain = unit(points[:, :3])
    faces = hull(domain)
    inner = unit(domain[faces].mean(1))
    faces = faces[(neck_angle(inner) > limit) & (face_areas(domain, faces) < 0.05)]
    faces = flip(mean_of(mean_points(domain)), faces, 12)
    if split:
        domain, faces = _split(domain, faces)
    return domain, faces


def _split(domain: Array, f: Int) -> tuple[Array, Int]:
    """Quarter every triangle of the domain, with new points off the middle of the edges."""
    n = len(domain)
    a, b = f, np.roll(f, -1, 1)
    key, edge = np.unique(np.minimum(a, b) * n + np.maximum(a, b), return_inverse=True)
    edge = edge.reshape(f.shape) + n
    middle = unit(domain[key // n] + domain[key % n])
    parts = [np.stack(t, 1) for t in (
        (f[:, 0], edge[:, 0], edge[:, 2]), (f[:, 1], edge[:, 1], edge[:, 0]),
        (f[:, 2], edge[:, 2], edge[:, 1]), (edge[:, 0], edge[:, 1], edge[:, 2]))]
    return np.concatenate([domain, middle]), np.concatenate(parts)


@dataclass(frozen=True)
class _Dressed:
    """Maps points of the mean head to the head that stands before the scanner."""

    identity: Array
    expression: Array
    options: ScanOptions
    seed: int

    def __call__(self, mean: MeanPoints) -> Array:
        return _dress(mean, deform(mean, self.identity, self.expression), self.options, self.seed)


def _seen(v: Array, f: Int) -> Bool:
    """Faces that at least one of ten cameras sees."""
    normal = _normals(v, f)
    edge = float(np.median(np.linalg.norm(v[f[:, 0]] - v[f[:, 1]], axis=1)))
    cell = 1.5 * edge
    seen = np.zeros(len(v), bool)
    for k in range(10):
        azimuth = 2 * np.pi * k / 9
        elevation = np.deg2rad((-12, 12, 30)[k % 3]) if k < 9 else np.deg2rad(80)
        d = np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation),
                      np.cos(azimuth) * np.cos(elevation)])
        right = unit(np.cross([0.0, 1, 0], d)[None])[0]
        plane = np.floor(v @ np.stack([right, np.cross(d, right)], 1) / cell).astype(int)
        plane -= plane.min(0)
        key, depth = plane[:, 0] * (plane[:, 1].max() + 1) + plane[:, 1], v @ d
        nearest = np.full(key.max() + 1, -np.inf)
        np.maximum.at(nearest, key, depth)
        facing = normal @ d
        slack = 1.0 + cell * np.sqrt(1 / np.maximum(facing, 0.25) ** 2 - 1)
        seen |= (facing > 0.25) & (depth > nearest[key] - slack)
    kept = np.asarray(seen[f].all(1), bool)
    for _ in range(2):  # close pin-holes
        touched = np.zeros(len(v), bool)
        touched[f[kept]] = True
        kept = kept | np.asarray(touched[f].all(1), bool)
    return kept


def _large(f: Int, n: int, share: float = 0.02) -> Bool:
    """Faces of components with at least that share of all faces."""
    a, b = f.ravel(), np.roll(f, -1, 1).ravel()
    label = connected_components(coo_array((np.ones(len(a)), (a, b)), shape=(n, n)), False)[1]
    size = np.bincount(label[f[:, 0]], minlength=label.max() + 1)
    big = np.flatnonzero(np.asarray(size) >= share * len(f))
    return np.asarray(np.isin(label[f[:, 0]], big), bool)


def _missing(v: Array, f: Int, mean: MeanPoints, options: ScanOptions,
             rng: np.random.Generator) -> Bool:
    """Faces lost to shadow, shine and hair."""
    c, normal = v[f].mean(1), _normals(v, f)[f].mean(1)
    place, ear = mean.position[f].mean(1), mean.ear[f].max(1)
    lost = np.zeros(len(f), bool)
    if options.chin_hole:
        under = smoothstep(-normal[:, 1], 0.45, 0.95) * (place[:, 2] > 0) * (place[:, 1] < -70)
        lost |= under + 0.15 * _waves(v, rng, 14.0)[f].mean(1) > 0.6
    if options.cranial_hole:
        middle = c[np.argmax(c[:, 1])] + rng.normal(0, 18, 3) * [1, 0, 1]
        radius = rng.uniform(14, 30) * (1 + 0.15 * _waves(v, rng, 8.0)[f].mean(1))
        lost |= np.linalg.norm((c - middle) * [1, 0.6, 1], axis=1) < radius
    if options.ear_dropouts:
        behind = (np.abs(place[:, 0]) > 55) & (np.abs(normal[:, 0]) < 0.3) & (place[:, 2] < 5) & (
            np.abs(place[:, 1]) < 45)
        lost |= ((ear > 0.5) | behind) & (_waves(v, rng, 6.0)[f].mean(1) > 0.9)
    for _ in range(options.holes):
        middle = c[rng.integers(len(c))]
        lost |= np.linalg.norm(c - middle, axis=1) < rng.uniform(3, 8)
    if not options.shoulders:
        end = v[np.abs(mean.position[:, 1] + 160) < 8, 1].mean()
        lost |= c[:, 1] < end + rng.uniform(0, 30) + 2.0 * np.sin(c[:, 0] / 9 + c[:, 2] / 7)
    return lost


def _fragments(v: Array, edge: float, rng: np.random.Generator, count: int) -> tuple[Array, Int]:
    """Small crumpled patches floating near the head."""
    k = 5
    i = np.arange(k * k).reshape(k, k)
    a, b, c, d = (q.ravel() for q in (i[:-1, :-1], i[1:, :-1], i[1:, 1:], i[:-1, 1:]))
    patch = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    grid = np.stack([i % k, i // k, 0 * i], -1).reshape(-1, 3) * edge
    out, middle = [], v.mean(0)
    for _ in range(count):
        at = v[rng.integers(len(v))]
        at = at + unit((at - middle)[None])[0] * rng.uniform(8, 40)
        turn = Rotation.from_quat(rng.normal(size=4)).as_matrix()
        out.append((grid + rng.normal(0, 0.35 * edge, grid.shape)) @ turn.T + at)
    faces = np.concatenate([patch + k * k * j for j in range(count)])
    return np.concatenate(out), faces


def _pose(options: ScanOptions, rng: np.random.Generator) -> tuple[Array, Array]:
    angles = np.clip(rng.normal(0, np.array([1, 1.3, 0.7]) * options.tilt), -20, 20)
    rotation = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    if options.headspace_frame:
        return UPRIGHT_FROM_RAW.T @ rotation, rng.normal(0, 60, 3)
    return rotation, rng.normal(0, 30, 3)


def scan(identity: Coefficients, expression: Coefficients, rng: np.random.Generator,
         options: ScanOptions | None = None, resolution: int = 5000) -> Scan:
    """Scan one head.

    Parameters
    ----------
    identity : mapping of names to numbers, (48,) array or None
        See :func:`data_fixtures.head.head`.
    expression : mapping of names to numbers, (3,) array or None
        See there, too.
    rng : numpy.random.Generator
        Source of all randomness: the same state gives the same scan.
    options : ScanOptions, optional
        What the scanner does to the head.
    resolution : int
        Of the template whose true vertex positions are wanted.
    """
    identity, expression = coefficients(IDENTITY, identity), coefficients(EXPRESSION, expression)
    options = options or ScanOptions()
    dressed = _Dressed(identity, expression, options, int(rng.integers(2**31)))
    domain, f = _sample(int(1.04 * options.vertices), dressed, rng)
    mean = mean_points(domain)
    v = dressed(mean)
    lips = landmark_positions(identity, expression)[[62, 66], 1]
    if lips[0] - lips[1] > 2:  # no skin between open lips
        f = f[~mean.mouth[f].any(1)]
    f = f[_seen(v, f)]
    f = f[~_missing(v, f, mean, options, rng)]
    f = f[_large(f, len(v))]
    used, f = np.unique(f, return_inverse=True)
    f = f.reshape(-1, 3)
    clean, mean, uv = v[used], mean.part(used), texture_coordinates(domain[used])

    normal = _normals(clean, f)
    error = rng.normal(0, options.noise, len(clean))
    if options.warp:
        error += options.warp * _waves(clean, rng, 14.0)
    v = clean + error[:, None] * normal
    if options.seam:
        edge = clean[:, 0] + 6 * np.sin(clean[:, 1] / 30)
        v += options.seam * (smoothstep(edge, -0.7, 0.7) - 0.5)[:, None] * [0.3, 0.2, 0.9]
    for _ in range(options.spikes):
        i = rng.integers(len(v))
        near = np.argsort(((clean - clean[i]) ** 2).sum(1), kind="stable")[:7]
        v[near] += normal[i] * rng.uniform(4, 14) * rng.random((len(near), 1))
    size = len(v)
    if options.debris:
        spacing = float(np.median(np.linalg.norm(clean[f[:, 0]] - clean[f[:, 1]], axis=1)))
        more, faces = _fragments(clean, spacing, rng, options.debris)
        v, f = np.concatenate([v, more]), np.concatenate([f, faces + size])
        uv = np.concatenate([uv, np.full((len(more), 2), 0.5)])

    plan = layout(resolution)
    template_mean = mean_points(plan.domain)
    truth = dressed(template_mean)
    distance, nearest = cKDTree(clean).query(truth)
    nearest = np.asarray(nearest)
    reach = max(3.0, 1.2 * float(np.median(np.linalg.norm(clean[f[:size, 0]] - clean[f[:size, 1]],
                                                           axis=1))))
    same_side = (_normals(truth, plan.faces) * normal[nearest]).sum(1) > 0.3
    rotation, translation = _pose(options, rng)

    def placed(p: Array) -> Array:
        return options.unit * (p @ rotation.T + translation)

    texture = skin_texture(rng, options.texture_size, options.cap)
    return Scan(placed(v), f, uv, pick_colours(texture, uv), texture, placed(truth),
                (distance < reach) & same_side, nearest[template(resolution).landmarks], rotation,
                translation, options.unit, identity, expression, options)
