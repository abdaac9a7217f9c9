"""A body under a head: a trunk, arms and legs of capsules, as a scan of a whole person has them."""

import numpy as np
import trimesh
from numpy.typing import NDArray

Array = NDArray[np.float64]
Int = NDArray[np.int64]
Bone = tuple[Array, Array, float]

EDGE = 15.0
"""The longest, mm."""
NOISE = 0.2


def with_body(vertices: Array, faces: Int, many: int,
              rng: np.random.Generator) -> tuple[Array, Int]:
    """A scan of a head and, below it, as many of trunk, arms and legs; upright, in mm.

    What lies inside of other parts is left out, as no scanner sees it. The vertices of the head
    come first and stay as they are; nothing joins them to the body.
    """
    if not many:
        return vertices, faces
    bones = [bone for part in _bones(vertices, rng)[:many] for bone in part]
    meshes = [_capsule(bone) for bone in bones]
    kept, count = [faces], len(vertices)
    for number, (points, triangles) in enumerate(meshes):
        hidden = np.zeros(len(points), bool)
        for other, bone in enumerate(bones):
            if other != number:
                hidden |= _gap(points, bone) < 0
        kept.append(triangles[~hidden[triangles].any(1)] + count)
        count += len(points)
    body = np.concatenate([points for points, _ in meshes])
    body += rng.normal(0, NOISE, body.shape)
    joined = np.concatenate(kept)
    used = np.zeros(count, bool)
    used[joined] = used[:len(vertices)] = True
    return np.concatenate([vertices, body])[used], (np.cumsum(used) - 1)[joined]


def _bones(vertices: Array, rng: np.random.Generator) -> tuple[list[Bone], ...]:
    """Ends and radii, mm, of trunk, arms and legs."""
    low = np.quantile(vertices[:, 1], 0.01)
    rim = vertices[vertices[:, 1] < low + 15]
    neck = np.array([rim[:, 0].min() + rim[:, 0].max(), 2 * low,
                     rim[:, 2].min() + rim[:, 2].max()]) / 2
    width = rng.uniform(150, 190)
    chest = _beside(neck, 0, -60, -10)
    hip = _beside(chest, rng.normal(0, 40), -rng.uniform(430, 520), rng.normal(0, 40))
    trunk = [(neck, chest, 0.42 * np.ptp(rim[:, 0]))]
    arms, legs = [], []
    for side in (-1.0, 1.0):
        shoulder = _beside(chest, side * (width - 45), -20, 0)
        trunk += [(_beside(chest, 0, -25, 0), shoulder, 60.0),
                  (_beside(shoulder, -20 * side, -40, 0), _beside(hip, 70 * side, 0, 0), 97.0)]
        raised = rng.uniform(0.1, 1.5)
        along = np.array([side * np.sin(raised), -np.cos(raised), rng.normal(0, 0.3)])
        elbow = shoulder + 280 * along / np.linalg.norm(along)
        along = along + rng.normal(0, 0.4, 3)
        arms += [(shoulder, elbow, 45.0),
                 (elbow, elbow + 300 * along / np.linalg.norm(along), 34.0)]
        knee = _beside(hip, 90 * side, -420, rng.normal(0, 40))
        ankle = _beside(knee, 10 * side, -430, -20)
        legs += [(_beside(hip, 85 * side, -20, 0), knee, 70.0), (knee, ankle, 48.0),
                 (ankle, _beside(ankle, 5 * side, -15, 150), 36.0)]
    return trunk, arms, legs


def _beside(place: Array, x: float, y: float, z: float) -> Array:
    return place + np.array([x, y, z])


def _capsule(bone: Bone) -> tuple[Array, Int]:
    a, b, radius = bone
    length = float(np.linalg.norm(b - a))
    mesh = trimesh.creation.capsule(height=length, radius=radius)
    mesh.apply_transform(trimesh.geometry.align_vectors([0, 0, 1], (b - a) / length))
    points, triangles = trimesh.remesh.subdivide_to_size(mesh.vertices, mesh.faces, EDGE)
    joined = trimesh.Trimesh(points + (a + b) / 2, triangles)
    return np.array(joined.vertices), np.array(joined.faces)


def _gap(points: Array, bone: Bone) -> Array:
    """How far outside of a bone's skin, (n,)."""
    a, b, radius = bone
    along = np.clip((points - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
    gap: Array = np.linalg.norm(points - a - along[:, None] * (b - a), axis=1) - radius
    return gap
