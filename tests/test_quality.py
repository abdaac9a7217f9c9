"""Quality numbers on shapes where they are known."""

import dataclasses
import json
import math

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from licp.closest import TriangleTree
from licp.errors import InputError, MeshError
from licp.quality import (
    Faults,
    area_distortion,
    assess,
    assess_surfaces,
    edge_distortion,
    flipped_faces,
    surface_distances,
)
from licp.surface import Surface

SPHERE = trimesh.creation.icosphere(4)  # flat by 1 - cos(2 degrees) of the radius at most
R = Rotation.from_rotvec([0.3, -1.2, 0.7]).as_matrix()


def grid(n, low=-1.0, high=1.0):
    """A square of n x n vertices, facing +z."""
    x = np.linspace(low, high, n)
    V = np.stack([*np.meshgrid(x, x, indexing="ij"), np.zeros((n, n))], -1).reshape(-1, 3)
    i = np.arange(n * n).reshape(n, n)
    a, b, c, d = i[:-1, :-1].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel(), i[:-1, 1:].ravel()
    return V, np.concatenate([np.c_[a, b, c], np.c_[a, c, d]])


def test_concentric_spheres():
    V, F = SPHERE.vertices, SPHERE.faces
    for gap in (0.02, -0.02):
        got = surface_distances(V, F, (1 + gap) * V[::-1], len(V) - 1 - F)
        for d in (got.template_to_scan, got.scan_to_template):
            assert [d.median, d.p95, d.maximum] == pytest.approx([abs(gap)] * 3, abs=6e-4)
        assert (got.template_seen, got.scan_explained) == (1, 1)


def test_reach_is_relative_to_the_size_of_the_template():
    V, F = SPHERE.vertices, SPHERE.faces
    size = math.sqrt(SPHERE.area)
    for scale in (1e-3, 1.0, 1e3):
        for gap, part in ((0.009 * size, 1), (0.012 * size, 0)):
            got = surface_distances(scale * V, F, scale * (1 + gap) * V, F)
            assert (got.template_seen, got.scan_explained) == (part, part)
            assert got.template_to_scan.median == pytest.approx(scale * gap, rel=0.02)
    assert surface_distances(V, F, 1.1 * V, F, reach=0.1).template_seen == 1


def test_parallel_squares_overlap_in_the_smaller_one():
    V, F = grid(41)
    S, G = grid(81, -2, 2)
    got = surface_distances(V + np.array([0, 0, 0.015]), F, S, G)
    d = got.template_to_scan
    assert [d.median, d.p95, d.maximum] == pytest.approx([0.015] * 3, abs=1e-12)
    d = got.scan_to_template  # what lies beyond ends at the border and drops out
    assert [d.median, d.p95, d.maximum] == pytest.approx([0.015] * 3, abs=1e-12)
    assert got.template_seen == pytest.approx(1)
    assert got.scan_explained == pytest.approx(39**2 / 80**2)  # inner vertices, equal cells


def test_a_hole_in_the_scan_is_not_seen():
    V, F = SPHERE.vertices, SPHERE.faces
    open_scan = F[(V[F][:, :, 2] < 0.8).all(1)]
    got = surface_distances(V, F, V, open_scan)
    cap = V[:, 2] > 0.8
    assert got.template_to_scan.maximum < 1e-12
    assert got.template_seen == pytest.approx(1 - cap.mean(), abs=0.03)
    assert got.scan_explained == 1


def test_percentiles_are_of_area_not_of_vertices():
    # A step of 0.01 over a quarter of the square, which holds most of the vertices.
    x = np.unique(np.r_[np.linspace(-1, 0.5, 7), np.linspace(0.5, 1, 60)])
    V, F = grid(len(x))
    V[:, 0] = np.repeat(x, len(x))
    V[:, 2] = np.where(V[:, 0] > 0.5 + 1e-9, 0.01, 0.0)
    got = surface_distances(V, F, *grid(31, -3, 3))
    assert np.mean(V[:, 2] > 0) > 0.8
    assert got.template_to_scan.median == pytest.approx(0)
    assert got.template_to_scan.p95 == pytest.approx(0.01)


def test_nothing_overlaps():
    V, F = grid(5)
    got = surface_distances(V + np.array([9, 0, 0]), F, V, F)
    assert dataclasses.astuple(got) == (None, None, 0, 0)
    q = assess(V, V + np.array([9, 0, 0]), F, V, F)
    assert q.template_to_scan is None and q.template_seen == 0
    assert json.loads(json.dumps(q.to_dict()))["scan_to_template"] is None


def test_surfaces_seen_from_behind_do_not_overlap():
    V, F = SPHERE.vertices, SPHERE.faces
    # Unless that is so of all of a mesh, which is inside out.
    found = surface_distances(V, F, V, F[:, ::-1])
    assert found == surface_distances(V, F, V, F) == surface_distances(V, F[:, ::-1], V, F)
    assert found.scan_explained == found.template_seen == 1.0
    # A cavity behind the skin: 0.1 away, but looking the other way.
    S, G = np.concatenate([V, 0.9 * V]), np.concatenate([F, F[:, ::-1] + len(V)])
    got = surface_distances(V, F, S, G)
    assert got.scan_to_template.maximum < 1e-12
    assert got.scan_explained == pytest.approx(1 / 1.81)


def test_samples_of_the_scan():
    V, F = grid(9, -0.5, 0.5)
    S, G = grid(60)
    S = np.concatenate([S, [[0, 0, 50]]])  # no triangle uses it
    all_of_them = surface_distances(V, F, S, G, samples=3600)
    assert all_of_them == surface_distances(V, F, S, G, samples=9999)
    some = surface_distances(V, F, S, G, samples=700)
    assert some == surface_distances(V, F, S, G, samples=700)
    order = np.random.default_rng(0).permutation(len(S))
    back = np.argsort(order)
    assert some == surface_distances(V, F, S[order], back[G], samples=700)
    assert some.scan_explained == pytest.approx(all_of_them.scan_explained, abs=0.03)
    assert some.scan_to_template.maximum < 1e-12
    with pytest.raises(InputError, match="samples and reach"):
        surface_distances(V, F, S, G, samples=0)
    with pytest.raises(InputError, match="samples and reach"):
        surface_distances(V, F, S, G, reach=0)


def test_trees_already_there_change_nothing():
    V, F = SPHERE.vertices, SPHERE.faces
    tree, scan_tree = TriangleTree(V, F), TriangleTree(1.01 * V, F)
    want = surface_distances(V, F, 1.01 * V, F)
    assert surface_distances(V, F, 1.01 * V, F, tree=tree, scan_tree=scan_tree) == want
    with pytest.raises(MeshError, match="the tree is of a mesh of"):
        surface_distances(V, F, V, F[:-1], scan_tree=scan_tree)


def rough(seed=0):
    """A closed surface with creases: a jagged sphere."""
    rng = np.random.default_rng(seed)
    return SPHERE.vertices * (1 + 0.08 * rng.normal(size=(len(SPHERE.vertices), 1)))


def test_motion_and_scale_flip_nothing():
    V, F = rough(), SPHERE.faces
    for scale in (1e-3, 1.0, 1e3):
        assert not flipped_faces(V, scale * (V @ R.T + [3, -2, 5]), F).any()


def test_one_inverted_triangle_is_one():
    V, F = grid(6)
    v = 14
    for face in np.flatnonzero((F == v).any(1)):
        opposite = V[F[face][F[face] != v]].mean(0)
        W = V.copy()
        W[v] = opposite + 0.1 * (opposite - V[v])
        assert np.flatnonzero(flipped_faces(V, W, F)).tolist() == [face]
        for scale in (1e-3, 1e3):
            assert np.flatnonzero(flipped_faces(V, scale * (W @ R.T + 4), F)).tolist() == [face]
        assert np.flatnonzero(flipped_faces(V, W, np.roll(F, 1, axis=1))).tolist() == [face]
        assert not flipped_faces(W, W, F).any()  # it was so before


def test_inverted_triangles_on_a_rough_surface():
    V, F = rough(1), SPHERE.faces
    for v in range(0, 300, 23):
        face = np.flatnonzero((F == v).any(1))[0]
        opposite = V[F[face][F[face] != v]].mean(0)
        W = V.copy()
        W[v] = opposite + 0.15 * (opposite - V[v])
        assert flipped_faces(V, W, F)[face]


def test_bending_and_creases_are_not_flips():
    V, F = grid(21)
    bent = V.copy()
    angle = np.deg2rad(80) * (V[:, 0] > 0)
    bent[:, 0], bent[:, 2] = V[:, 0] * np.cos(angle), V[:, 0] * np.sin(angle)
    assert not flipped_faces(V, bent, F).any()
    # Folded back onto itself: the faces along the fold are flips, unless they were before.
    folded = V * [1, 1, 1]
    folded[:, 0] = -np.abs(V[:, 0])
    folded[:, 2] = 1e-3 * (V[:, 0] > 0)
    touched = flipped_faces(V, folded, F)
    assert touched.any()
    assert not V[F[touched]].mean(1)[:, 0].max() > 0.2
    assert not flipped_faces(folded, folded @ R.T, F).any()


def test_small_noise_flips_nothing_and_large_noise_does():
    rng = np.random.default_rng(2)
    V, F = grid(21)  # spacing 0.1
    noise = rng.normal(size=V.shape)
    assert not flipped_faces(V, V + 0.005 * noise, F).any()
    assert flipped_faces(V, V + 0.05 * noise, F).sum() > 20


def test_degenerate_faces_are_never_flipped():
    V = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5.0]])
    F = [[0, 1, 2], [0, 1, 1], [2, 1, 3]]
    W = V.copy()
    W[3] = W[2]
    assert flipped_faces(V, W, F).tolist() == [False] * 3
    assert flipped_faces(V[:3], V[:3][:, [1, 0, 2]], F[:1]).tolist() == [False]  # no neighbours


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_similarity_distorts_nothing(scale):
    V, F = rough(), SPHERE.faces
    W = scale * (V @ R.T + [3, -2, 5])
    for d in (edge_distortion(V, W, F), area_distortion(V, W, F)):
        assert dataclasses.astuple(d) == pytest.approx((0, 0, 0, 0), abs=1e-10)
    assert assess(V, W, F, W, F).scale == pytest.approx(scale)


def test_distortion_of_a_part():
    V, F = grid(11)
    W = 3 * V  # the global scale
    W[:, 0] += 3 * np.maximum(V[:, 0] - 0.4, 0)  # the last 30 % twice as wide
    d = area_distortion(V, W, F)
    assert dataclasses.astuple(d) == pytest.approx((0, 0, math.log(2), math.log(2)), abs=1e-9)
    d = edge_distortion(V, W, F)
    assert (d.p05, d.median, d.worst) == pytest.approx((0, 0, math.log(2)), abs=1e-9)
    assert d.p95 == pytest.approx(math.log(2))


def test_collapse_stays_finite():
    V, F = grid(5)
    W = V.copy()
    W[F[0]] = W[F[0][0]]
    for d in (edge_distortion(V, W, F), area_distortion(V, W, F)):
        assert d.worst == pytest.approx(math.log(1e6))
    q = assess(V, 0 * V, F, V, F)
    assert all(np.isfinite(dataclasses.astuple(q.area_distortion)))


def test_assess_is_the_same_in_every_frame_and_unit():
    V, F = rough(), SPHERE.faces
    W = V + 0.02 * np.random.default_rng(3).normal(size=V.shape)
    W[40] *= 0.2
    scan, G = 1.01 * SPHERE.vertices, F[SPHERE.triangles_center[:, 2] < 0.7]
    want = assess(V, W, F, scan, G)
    assert want.flipped_faces > 0 and want.self_intersections > 0
    assert want.rest_self_intersections == 0
    for scale in (1e-3, 1e3):
        moved, target = (scale * (X @ R.T + [3, -2, 5]) for x, X in enumerate((W, scan)))
        got = assess(V, moved, F, target, G).to_dict()
        for name in ("template_to_scan", "scan_to_template"):
            got[name] = {k: d / scale for k, d in got[name].items()}
        got["scale"] /= scale
        flat, expected = (
            [y for x in q.values() for y in (x.values() if isinstance(x, dict) else [x])]
            for q in (got, want.to_dict())
        )
        assert flat == pytest.approx(expected, abs=1e-9)


def test_assess_counts_what_the_fit_added():
    V, F = SPHERE.vertices, SPHERE.faces
    n = len(V)
    two, both = np.concatenate([V, V + np.array([2.5, 0, 0])]), np.concatenate([F, F + n])
    fit = two.copy()
    fit[n:, 0] -= 1
    q = assess(two, fit, both, fit, both)
    assert q.rest_self_intersections == 0 and q.self_intersections > 50
    surface, faults = Surface(fit, both), Faults(7, 8, 9)
    assert assess_surfaces(Surface(two, both), surface, surface, faults) == dataclasses.replace(
        q, rest_self_intersections=7, self_intersections=8, flipped_faces=9
    )


def test_inputs_stay():
    V, F = grid(6)
    keep = [x.copy() for x in (V, F)]
    W = V + 0.1
    for x in (V, W, F):
        x.flags.writeable = False
    assess(V, W, F, V, F)
    np.testing.assert_array_equal(V, keep[0])
    np.testing.assert_array_equal(F, keep[1])


def test_bad_meshes():
    V, F = grid(4)
    with pytest.raises(MeshError, match="different meshes: 16 and 15"):
        flipped_faces(V, V[:-1], F[(F < 15).all(1)])
    bad = V.copy()
    bad[3, 1] = np.nan
    for call in (flipped_faces, edge_distortion, area_distortion):
        with pytest.raises(MeshError, match="first: vertex 3"):
            call(V, bad, F)
    with pytest.raises(MeshError, match="first: vertex 3"):
        assess(V, V, F, bad, F)
    with pytest.raises(MeshError, match="without faces"):
        assess(V, V, F[:0], V, F)
    with pytest.raises(MeshError, match="without faces"):
        assess(V, V, F, V, F[:0])
    with pytest.raises(MeshError, match="no area"):
        edge_distortion(0 * V, V, F)


def test_true_fit_of_a_head(shared_data):
    head = np.load(shared_data / "ict_facekit" / "ict_head.npz")
    n = int(head["n_skin_verts"])
    V, F = head["neutral"][:n].astype(float), head["tris_skin"]
    truth = np.load(shared_data / "scanlike_ict" / "gt_000.npz")["gt_vertices"][:n]
    scan = trimesh.load(shared_data / "scanlike_ict" / "scan_000.ply", process=False)
    q = assess(V, truth, F, scan.vertices, scan.faces)
    assert q.template_to_scan.median < 0.2 and q.template_to_scan.p95 < 0.5  # mm
    assert q.scan_to_template.median < 0.2 and q.scan_to_template.p95 < 0.6
    assert 0.8 < q.template_seen < 0.95  # the scan ends at the neck
    assert q.flipped_faces < 20
    # Moved by 2 mm, everything says so.
    worse = assess(V, truth + np.array([0, 0, 2]), F, scan.vertices, scan.faces)
    assert worse.template_to_scan.median > 3 * q.template_to_scan.median
    assert worse.flipped_faces == q.flipped_faces
