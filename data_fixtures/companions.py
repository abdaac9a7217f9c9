"""What others made of Headspace: registrations as MICA has them, regions as REALY has them."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from .files import write_obj
from .head import template
from .scan import Scan

Array = NDArray[np.float64]
Int = NDArray[np.int64]

FLAME_VERTICES = 5023
KEYPOINTS = 85


def write_flame(folder: Path, sid: int, root: str, result: Scan, resolution: int = 5000) -> None:
    """Write registrations/<sid>/<root>.obj and FLAME_parameters/<sid>/<root>.npz.

    The mesh is the template on the head, upright and in metres, filled up with unused vertices to
    as many as FLAME has; the parameters are random, and one of the arrays is a Python object.
    """
    rng = np.random.default_rng(sid)
    mesh, parameters = (folder / kind / f"{sid:05d}" for kind in ("registrations",
                                                                  "FLAME_parameters"))
    for place in (mesh, parameters):
        place.mkdir(parents=True, exist_ok=True)
    head = (result.truth / result.unit - result.translation) @ result.rotation / 1000
    vertices = np.zeros((FLAME_VERTICES, 3))
    vertices[:len(head)] = head
    write_obj(mesh / f"{root}.obj", vertices, template(resolution).faces, digits=7)
    np.savez(parameters / f"{root}.npz", betas=rng.normal(size=400).astype(np.float32),
             pose=rng.normal(0, 0.1, 15).astype(np.float32), trans=np.zeros(3, np.float32),
             gender=np.array({"name": "generic"}, object))


def keypoints(resolution: int = 5000) -> tuple[Int, Array]:
    """Faces (85,) and barycentric coordinates (85, 3) of points of the template.

    The first 68 are the landmarks, up to a little shift inside of a triangle; then come 17 on the
    cheeks.
    """
    mean = template(resolution)
    rng = np.random.default_rng(68)
    cheek = np.setdiff1d(mean.regions["face"], np.concatenate(
        [mean.regions[k] for k in ("nose", "lips", "eyes")]))
    more = np.sort(rng.choice(cheek, KEYPOINTS - 68, replace=False))
    vertex = np.r_[mean.landmarks, more]
    face = np.array([np.flatnonzero((mean.faces == v).any(1))[0] for v in vertex])
    weights = 0.8 * (mean.faces[face] == vertex[:, None]) + rng.dirichlet([1, 1, 1], KEYPOINTS) / 5
    return face, weights


def write_realy(folder: Path, results: Mapping[int, Scan], resolution: int = 5000) -> None:
    """Write a REALY folder: regions and keypoints of scans 1, 2, ..., scales, template."""
    mean = template(resolution)
    v = mean.vertices
    face = np.isin(np.arange(len(v)), mean.regions["face"])
    mouth = face & (np.hypot(v[:, 0] / 34, (v[:, 1] + 48) / 24) < 1)
    nose = np.isin(np.arange(len(v)), mean.regions["nose"]) & ~mouth
    label = np.where(nose, 1, np.where(mouth, 2, np.where(face & (v[:, 1] > 12), 3,
                                                          np.where(face, 4, 0))))
    triangle, weights = keypoints(resolution)
    (folder / "REALY_HIFI3D_keypoints").mkdir(parents=True, exist_ok=True)
    scales = []
    for number, result in enumerate(results.values(), 1):
        scale = float(np.random.default_rng(number).uniform(8, 10))
        scales.append(scale)
        points = (result.vertices / result.unit - result.translation) @ result.rotation / scale
        truth = (result.truth / result.unit - result.translation) @ result.rotation / scale
        region = label[np.asarray(cKDTree(truth).query(points)[1])]
        place = folder / "REALY_scan_region" / str(number)
        place.mkdir(parents=True, exist_ok=True)
        for k, name in enumerate(("nose", "mouth", "forehead", "cheek"), 1):
            part = result.faces[(region[result.faces] == k).all(1)]
            used, inner = np.unique(part, return_inverse=True)
            write_obj(place / f"{name}.obj", points[used], inner.reshape(-1, 3), digits=6)
        marks = np.einsum("kc,kcj->kj", weights, truth[mean.faces[triangle]])
        (folder / "REALY_HIFI3D_keypoints" / f"{number}.obj").write_text(
            "".join(f"v {x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in marks.tolist()))
    (folder / "metrical_scale.txt").write_text("".join(f"{s:.18e}\n" for s in scales))
    write_obj(folder / "template.obj", v, mean.faces, mean.uv)
    rows = [[int(f), float(w[0]), float(w[1])] for f, w in zip(triangle, weights, strict=True)]
    (folder / "template.txt").write_text(json.dumps(rows) + "\n")
