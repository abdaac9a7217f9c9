"""Holes that were closed with faces right across."""

from collections.abc import Callable

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray

from benchmarks.heads import Head, generated_head
from licp import Morpher
from licp.repair import clean_scan

Ints = NDArray[np.int64]
BALL = trimesh.creation.icosphere(5)
V, F = np.asarray(BALL.vertices), np.asarray(BALL.faces)
OPEN = F[(V[F][:, :, 2] < 0.85).all(1)]


def rims(F: Ints) -> list[Ints]:
    """Loops of border vertices, each in the order in which new faces would run through it."""
    sides = np.concatenate([F[:, [0, 1]], F[:, [1, 2]], F[:, [2, 0]]])
    known = set(map(tuple, sides.tolist()))
    after = {int(b): int(a) for a, b in sides.tolist() if (b, a) not in known}
    loops = []
    while after:
        first, at = next(iter(after.items()))
        loop = [first]
        del after[first]
        while at in after:
            loop.append(at)
            at = after.pop(at)
        loops.append(np.array(loop))
    return loops


def strip(loop: Ints) -> Ints:
    """Faces to and fro between the two halves of a loop."""
    low, high, faces = 0, len(loop) - 1, []
    while high - low > 1:
        faces.append([loop[low], loop[low + 1], loop[high]])
        low += 1
        if high - low > 1:
            faces.append([loop[low], loop[high - 1], loop[high]])
            high -= 1
    return np.array(faces)


def fan(loop: Ints) -> Ints:
    """Faces from the first vertex of a loop to all others."""
    return np.stack([np.full(len(loop) - 2, loop[0]), loop[1:-1], loop[2:]], 1)


@pytest.mark.parametrize("close", [strip, fan])
@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_what_closes_a_hole_goes(close: Callable[[Ints], Ints], unit: float) -> None:
    (loop,) = rims(OPEN)
    new = close(loop)
    # A cut would be taken for one: this rim goes up and down.
    P = unit * V
    P[loop, 2] += 0.1 * unit * np.sin(3 * np.arctan2(V[loop, 1], V[loop, 0]))
    found = clean_scan(P, np.vstack([OPEN, new]))
    gone = found.report.filling_faces + found.report.stretched_faces
    assert 0.9 * len(new) <= gone <= 1.05 * len(new)
    kept = {tuple(sorted(f)) for f in found.source[found.faces].tolist()}
    assert len(kept - {tuple(sorted(f)) for f in OPEN.tolist()}) <= 0.1 * len(new)
    assert len(found.faces) >= 0.98 * len(OPEN)


def test_no_filling_where_nothing_was_filled() -> None:
    for mesh in (BALL, trimesh.creation.box(), trimesh.creation.uv_sphere(count=[6, 300])):
        assert clean_scan(mesh.vertices, mesh.faces).report.filling_faces == 0
    head = generated_head(0, 1500, 9000)
    assert clean_scan(head.scan_vertices, head.scan_faces).report.filling_faces == 0


def closed(head: Head) -> Ints:
    new = [strip(loop) for loop in rims(head.scan_faces) if len(loop) > 3]
    return np.vstack([head.scan_faces, *new])


def test_a_fit_heeds_what_was_not_seen_before_holes_were_closed() -> None:
    off, far = [], []
    for k in range(4):
        head = generated_head(k, 2000, 12_000)
        morpher = Morpher((head.vertices, head.faces))
        for faces in (head.scan_faces, closed(head)):
            fit = morpher.morph((head.scan_vertices, faces))
            error = np.linalg.norm(fit.vertices - head.truth, axis=1)
            off.append(error[head.covered].mean())
            far.append(error[~head.covered].mean())
    whole, filled = np.reshape(off, (4, 2)).mean(0)
    assert filled < 1.1 * whole
    whole, filled = np.reshape(far, (4, 2)).mean(0)
    assert filled < 1.5 * whole
