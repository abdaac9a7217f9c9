"""Holes of a scan that are too small for anything to lie in them."""

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray

from benchmarks.heads import generated_head
from licp import Morpher, PreparedScan
from licp.geometry import face_edges, vertex_normals
from licp.pinholes import without_pinholes

BALL = trimesh.creation.icosphere(4)
V = np.asarray(BALL.vertices)
EDGE = float(BALL.edges_unique_length.mean())


def open_edges(F: NDArray[np.int64], longest: float) -> int:
    edges = face_edges(F)
    found = without_pinholes(V, F, edges, longest)
    assert found[0] is edges[0] and found[2] is edges[2]
    assert (found[1][edges[1] != 1] == edges[1][edges[1] != 1]).all()
    return int((found[1] == 1).sum())


def test_a_loop_closes_if_it_is_short_enough() -> None:
    F = np.asarray(BALL.faces)
    ring = F[(F != 300).all(1)]  # one vertex gone: five or six edges around it
    around = int((face_edges(ring)[1] == 1).sum())
    assert around in (5, 6)
    assert open_edges(ring, 0.8 * around * EDGE) == around
    assert open_edges(ring, 1.3 * around * EDGE) == 0
    assert open_edges(F, 9.0) == 0


def test_holes_that_touch_in_a_vertex_are_two() -> None:
    F = np.asarray(BALL.faces)
    at = np.flatnonzero((F == 300).any(1))
    # Two faces at one vertex that share no edge.
    first = at[0]
    second = next(f for f in at if len(np.intersect1d(F[first], F[f])) == 1)
    pinched = np.delete(F, [first, second], 0)
    assert open_edges(pinched, 0.0) == 6
    assert open_edges(pinched, 4.0 * EDGE) == 0
    # The same beside a hole that stays: its own edges stay open.
    wide = (np.linalg.norm(V - V[300], axis=1) < 0.4)[F].all(1)
    outside = np.flatnonzero(~wide & np.isin(F, F[wide]).any(1))
    touching = next(f for f in outside if len(np.intersect1d(F[f], F[wide])) == 1)
    rim = int((face_edges(F[~wide])[1] == 1).sum())
    both = np.delete(F, np.r_[np.flatnonzero(wide), touching], 0)
    assert open_edges(both, 4.0 * EDGE) == rim


@pytest.mark.parametrize("vertices", [25_000, 60_000])
def test_a_scan_full_of_pinholes_is_met_as_well_as_a_whole_one(vertices: int) -> None:
    head = generated_head(2, 2000, vertices)
    kept = head.scan_faces[np.random.default_rng(0).random(len(head.scan_faces)) > 0.1]
    morpher = Morpher((head.vertices, head.faces))
    fits = [morpher.morph((head.scan_vertices, F)) for F in (head.scan_faces, kept)]
    whole, holed = (np.linalg.norm(f.vertices - head.truth, axis=1)[fits[0].seen] for f in fits)
    assert holed.mean() < 1.08 * whole.mean()
    assert fits[1].matched > 0.8 * fits[0].matched


def test_large_holes_keep_their_borders() -> None:
    ball = trimesh.creation.icosphere(5, radius=100.0)
    F = np.asarray(ball.faces)
    cap = (np.asarray(ball.vertices)[:, 2] > 90.0)[F].any(1)
    scan = PreparedScan((ball.vertices, F[~cap]))
    normals = vertex_normals(scan.full.vertices, scan.full.faces)
    assert np.allclose(scan.full.normals, normals, atol=0.1)
    rim = np.abs(scan.full.vertices[:, 2] - 90.0) < 6.0
    assert scan.full.at_border.sum() > 50
    assert rim[scan.full.at_border].all()
