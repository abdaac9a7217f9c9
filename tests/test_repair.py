from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh

from licp import demo
from licp import geometry as g
from licp.errors import MeshError
from licp.io import load_mesh
from licp.repair import CleanMesh, RepairReport, clean, clean_scan

Arrays = tuple[np.ndarray, np.ndarray]


def ball(subdivisions: int = 3) -> Arrays:
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions)
    return np.array(mesh.vertices), np.array(mesh.faces)


def grid(n: int = 12) -> Arrays:
    """A flat sheet of (n + 1)^2 vertices with normals along z."""
    y, x = np.divmod(np.arange((n + 1) ** 2), n + 1)
    V = np.stack([x, y, 0 * x], 1).astype(float)
    a = (np.arange(n)[:, None] * (n + 1) + np.arange(n)).ravel()
    return V, np.r_[np.stack([a, a + 1, a + n + 2], 1), np.stack([a, a + n + 2, a + n + 1], 1)]


def joined(*parts: Arrays) -> Arrays:
    n = np.cumsum([0] + [len(V) for V, _ in parts])
    return (
        np.concatenate([V for V, _ in parts]),
        np.concatenate([F + k for (_, F), k in zip(parts, n, strict=False)]),
    )


def volume(V: np.ndarray, F: np.ndarray) -> float:
    return float(np.linalg.det(V[F]).sum() / 6)


def check(m: CleanMesh, V: np.ndarray) -> None:
    """The bookkeeping that holds for every result."""
    assert np.array_equal(m.vertices, V[m.source])
    assert np.array_equal(m.index[m.source], np.arange(len(m.source)))
    assert (np.diff(m.source) > 0).all()
    kept = m.index >= 0
    assert np.array_equal(m.vertices[m.index[kept]], V[kept])
    assert np.array_equal(np.unique(m.faces), np.arange(len(m.source)))
    for told, found in zip(m.edges, g.face_edges(m.faces), strict=True):
        assert np.array_equal(told, found)
    assert np.array_equal(m.areas, g.face_normals_areas(m.vertices, m.faces)[1])


def test_a_good_mesh_passes_unchanged() -> None:
    V, F = ball()
    for function in (clean, clean_scan):
        mesh = function(V, F)
        assert np.array_equal(mesh.vertices, V) and np.array_equal(mesh.faces, F)
        assert mesh.report == RepairReport()
        assert str(mesh.report) == "1 component"
        check(mesh, V)


def test_unused_vertices_and_useless_faces_go() -> None:
    V, F = ball()
    n = len(V)
    V = np.r_[V, [[5, 5, 5], V[0], (V[1] + V[2]) / 2]]
    F = np.r_[F, [[0, 0, 1], [0, n + 1, 1], [1, 2, n + 2]], F[3:4], F[4:5, ::-1]]
    mesh = clean(V, F)
    assert np.array_equal(mesh.vertices, V[:n]) and np.array_equal(mesh.faces, F[:-5])
    assert mesh.index[n:].tolist() == [-1, -1, -1]
    report = mesh.report
    assert (report.degenerate_faces, report.duplicate_faces) == (3, 2)
    assert report.unreferenced_vertices == 3 and report.duplicate_vertices == 0
    check(mesh, V)


# ---------------------------------------------------------------- welding


def test_a_cut_seam_is_healed() -> None:
    V, F = ball()
    right = V[F].mean(1)[:, 0] > 0
    seam = np.intersect1d(F[right], F[~right])
    double = np.arange(len(V))
    double[seam] = len(V) + np.arange(len(seam))
    cut = F.copy()
    cut[right] = double[F[right]]
    both = np.r_[V, V[seam]]
    mesh = clean(both, cut)
    assert np.array_equal(mesh.vertices, V)
    assert np.array_equal(mesh.faces, F)
    assert mesh.index[len(V) :].tolist() == seam.tolist()
    assert mesh.report.duplicate_vertices == len(seam) and mesh.report.border_edges == 0
    check(mesh, both)


def test_a_seam_that_ends_inside_is_healed() -> None:
    V, F = grid(4)
    double = np.arange(25)  # cut from the rim at (2, 0) through (2, 1), to end at (2, 2)
    double[[2, 7]] = 25, 26
    cut = np.where((V[F].mean(1)[:, :1] > 2) & (V[F].mean(1)[:, 1:2] < 2), double[F], F)
    mesh = clean(np.r_[V, V[[2, 7]]], cut)
    assert np.array_equal(mesh.vertices, V) and np.array_equal(mesh.faces, F)


def test_triangle_soup_becomes_one_surface() -> None:
    V, F = ball()
    mesh = clean(V[F].reshape(-1, 3), np.arange(F.size).reshape(-1, 3))
    assert len(mesh.vertices) == len(V) and mesh.report.border_edges == 0
    assert mesh.report.components == 1
    assert volume(mesh.vertices, mesh.faces) == pytest.approx(volume(V, F))


def test_zero_and_minus_zero_are_the_same_place() -> None:
    V = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [-0.0, 0, 0], [1, -0.0, 0], [0, -1, 0]])
    assert clean(V, [[0, 1, 2], [3, 5, 4]]).report.duplicate_vertices == 2


def test_almost_the_same_place_is_not_welded() -> None:
    V = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1e-15, 0, 0], [1, 1e-15, 0], [0, -1, 0]])
    assert clean(V, [[0, 1, 2], [3, 5, 4]]).report.duplicate_vertices == 0


def test_closed_lips_stay_two_skins() -> None:
    """A sheet folded flat in the middle: the halves of its inside coincide with each other."""
    V, F = grid(8)
    crease = V[:, 0] == 4
    touching = V.copy()
    right = V[:, 0] > 4
    touching[right, 0] = 8 - V[right, 0]
    lips = (V[:, 1] > 2) & (V[:, 1] < 6) & (np.abs(V[:, 0] - 4) < 3)
    touching[right & ~lips, 2] = 0.5  # only the inner part touches
    assert (touching[right & lips, 2] == 0).all() and (right & lips & ~crease).sum() > 4
    mesh = clean(touching, F)
    assert mesh.report.duplicate_vertices == 0
    assert len(mesh.vertices) == len(V) and len(mesh.faces) == len(F)


def test_borders_that_fold_back_onto_each_other_stay_apart() -> None:
    """Two flat skins in contact at their rims, as a slit between closed lids has them."""
    V, F = grid(3)
    mesh = clean(*joined((V, F), (V, F[:, ::-1])))
    assert mesh.report.duplicate_vertices == 0 and mesh.report.components == 2


def test_single_touching_vertices_make_no_bow_tie() -> None:
    V = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0], [-1, 0, 0], [0, -1, 0]]
    mesh = clean(V, [[0, 1, 2], [3, 4, 5]])
    assert mesh.report.duplicate_vertices == 0 and len(mesh.vertices) == 6


def test_three_borders_at_one_place_stay_apart() -> None:
    V, F = np.zeros((9, 3)), np.arange(9).reshape(3, 3)
    V[[1, 4, 7]] = 1, 0, 0
    V[[2, 5, 8]] = [[0, 1, 0], [0, -1, 0.2], [0, -0.3, 1]]
    assert clean(V, F).report.duplicate_vertices == 0


# ---------------------------------------------------------------- winding


@pytest.mark.parametrize("share", [0.0, 0.05, 0.4, 1.0])
@pytest.mark.parametrize("open_", [False, True])
def test_winding_becomes_consistent_and_outward(share: float, open_: bool) -> None:
    V, F = ball()
    if open_:
        F = F[V[F].mean(1)[:, 2] > -0.3]
    wrong = np.random.default_rng(2).random(len(F)) < share
    mixed = np.where(wrong[:, None], F[:, ::-1], F)
    mesh = clean(V, mixed)
    N, _ = g.face_normals_areas(mesh.vertices, mesh.faces)
    assert ((N * mesh.vertices[mesh.faces].mean(1)).sum(1) > 0).all()
    assert mesh.report.flipped_faces == (wrong.sum() if share < 1 else 0)
    assert mesh.report.inverted == (share == 1)
    assert mesh.report.turned_components == int(share == 1)


def test_each_closed_part_is_judged_by_its_volume() -> None:
    V, F = ball()
    mesh = clean(*joined((V, F), (V * 0.1 + 3, F[:, ::-1])))
    assert mesh.report.turned_components == 1 and not mesh.report.inverted
    labels = g.components(mesh.faces, len(mesh.vertices))[mesh.faces[:, 0]]
    for part in (0, 1):
        assert volume(mesh.vertices, mesh.faces[labels == part]) > 0


def test_a_bag_inside_keeps_its_winding_relative_to_the_head() -> None:
    V, F = ball()
    bag = F[V[F].mean(1)[:, 2] < 0.7][:, ::-1]  # open in front, seen from within
    head = joined((V, F), (V * 0.2, bag))
    assert clean(*head).report.turned_components == 0
    both = clean(head[0], head[1][:, ::-1])
    assert both.report.inverted and both.report.turned_components == 2
    assert volume(both.vertices, both.faces) == pytest.approx(volume(*head))


def test_a_flat_sheet_has_no_inside() -> None:
    V, F = grid()
    for faces in (F, F[:, ::-1]):
        mesh = clean(V, faces)
        assert np.array_equal(mesh.faces, faces) and mesh.report.turned_components == 0


def test_a_moebius_band_is_no_error() -> None:
    n = 40
    a = np.linspace(0, 2 * np.pi, n, endpoint=False)[:, None]
    w = np.array([[-0.3, 0.3]])
    r = 1 + w * np.cos(a / 2)
    V = np.stack([r * np.cos(a), r * np.sin(a), w * np.sin(a / 2)], 2).reshape(-1, 3)
    i = np.arange(n - 1) * 2
    F = np.r_[np.stack([i, i + 1, i + 2], 1), np.stack([i + 1, i + 3, i + 2], 1)]
    F = np.r_[F, [[2 * n - 2, 2 * n - 1, 1], [2 * n - 1, 0, 1]]]
    assert len(clean(V, F).faces) == len(F)


def test_non_manifold_edges_are_reported_and_kept() -> None:
    V = [[0, 0, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0], [-1, -1, 0]]
    mesh = clean(V, [[0, 1, 2], [0, 1, 3], [0, 1, 4]])
    assert mesh.report.non_manifold_edges == 1 and len(mesh.faces) == 3
    assert mesh.report.border_edges == 6


# ---------------------------------------------------------------- debris and spikes


def test_debris_goes_and_large_parts_stay() -> None:
    V, F = ball()
    parts = joined((V * 0.05 + 2, F), (V + 9, F), (V * 0.2 + 5, F), (V * 0.09 - 2, F))
    mesh = clean_scan(*parts)
    n = len(V)
    assert np.array_equal(mesh.index >= 0, np.repeat([False, True, True, False], n))
    assert mesh.report.debris_components == 2 and mesh.report.debris_vertices == 2 * n
    assert mesh.report.components == 2
    check(mesh, parts[0])
    assert clean(*parts).report.components == 4


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_spikes_go_and_what_is_around_stays(scale: float) -> None:
    V, F = ball(4)
    edge = np.linalg.norm(V[F[:, 0]] - V[F[:, 1]], axis=1).mean()
    rng = np.random.default_rng(0)
    V = V + rng.normal(0, 0.05 * edge, V.shape)
    tips = np.array([5, 900, 2000])
    V[tips] *= 1 + np.array([[3], [5], [-4]]) * edge
    mesh = clean_scan(V * scale, F)
    dropped = np.flatnonzero(mesh.index < 0)
    assert np.array_equal(dropped, tips)
    assert mesh.report.spike_vertices == 3
    check(mesh, V * scale)


def test_removed_spikes_leave_right_counts() -> None:
    V, F = ball(4)
    V[100] *= 1.4
    mesh = clean_scan(V, F)
    E, C = g.edges(mesh.faces)
    assert mesh.report.border_edges == (C == 1).sum() == 6
    assert mesh.report.components == 1 and len(E) > 0


def test_the_order_of_vertices_does_not_matter() -> None:
    V, F = ball(4)
    V[[100, 101, 700]] *= 1.3
    order = np.random.default_rng(0).permutation(len(V))
    a, b = clean_scan(V, F), clean_scan(V[order], np.argsort(order)[F])
    assert a.report == b.report
    assert np.array_equal((a.index < 0)[order], b.index < 0)


def coned(V: np.ndarray, tips: np.ndarray, height: float, radius: float) -> np.ndarray:
    """How far cones would raise the vertices of a unit ball, (n,)."""
    d = np.linalg.norm(V[:, None] - V[tips], axis=2)
    return height * np.maximum(1 - d / radius, 0).max(1)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
@pytest.mark.parametrize("divisions", [5, 6, 7])
def test_spikes_many_edges_wide_go_down_to_their_feet(divisions: int, scale: float) -> None:
    V, F = ball(divisions)
    edge = np.linalg.norm(V[F[:, 0]] - V[F[:, 1]], axis=1).mean()
    rng = np.random.default_rng(1)
    tips = np.array([5, 900, 2000, 9000])
    up = coned(V, tips, 0.2, 0.045)
    noisy = V + rng.normal(0, 0.05 * edge, V.shape)
    mesh = clean_scan(scale * noisy * (1 + up[:, None]), F)
    gone = mesh.index < 0
    assert gone[tips].all() and gone[up > 0.02].mean() > 0.98
    assert coned(V, tips, 1.0, 0.045 + 1.5 * edge)[gone].min() > 0
    assert mesh.report.components == 1


@pytest.mark.parametrize("noise", [0.25, 0.5, 1.0])
def test_noise_is_no_spike(noise: float) -> None:
    V, F = ball(6)
    edge = np.linalg.norm(V[F[:, 0]] - V[F[:, 1]], axis=1).mean()
    V = V + np.random.default_rng(2).normal(0, noise * edge, V.shape)
    assert clean_scan(V, F).report.spike_vertices < 2e-3 * len(V)


def test_bumps_as_high_as_wide_stay() -> None:
    V, F = ball(6)
    tips = np.array([5, 900, 2000])
    for high in (0.06, 0.12):
        up = coned(V, tips, high, 1.1 * high)
        assert clean_scan(V * (1 + up[:, None]), F).report.spike_vertices == 0


def test_many_spikes_on_a_fine_mesh_go_and_the_shape_of_a_coarse_one_stays() -> None:
    V, F = ball(6)
    tips = np.arange(0, len(V), 900)
    up = coned(V, tips, 0.2, 0.045)
    mesh = clean_scan(V * (1 + up[:, None]), F)
    assert (mesh.index < 0).mean() > 0.02 and (mesh.index[tips] < 0).all()
    V, F = ball(3)
    V = V * (1 + 0.5 * (np.arange(len(V)) % 20 == 0))[:, None]
    assert clean_scan(V, F).report.spike_vertices == 0


def test_sharp_and_thin_shapes_have_no_spikes() -> None:
    box = trimesh.creation.box().subdivide().subdivide().subdivide()
    plate = trimesh.creation.box((1, 1, 0.02)).subdivide().subdivide().subdivide().subdivide()
    for mesh in (box, plate, trimesh.creation.torus(1, 0.1)):
        assert clean_scan(mesh.vertices, mesh.faces).report.spike_vertices == 0


# ---------------------------------------------------------------- failures, bookkeeping


@pytest.mark.parametrize("function", [clean, clean_scan])
def test_nothing_left_is_an_error(function: Callable) -> None:
    with pytest.raises(MeshError, match="none of the 2 faces has an area"):
        function(np.zeros((4, 3)), [[0, 1, 2], [1, 2, 3]])
    with pytest.raises(MeshError, match="none of the 0 faces"):
        function(np.zeros((4, 3)), np.zeros((0, 3), int))
    with pytest.raises(MeshError, match="do not exist"):
        function(np.zeros((4, 3)), [[0, 1, 7]])


@pytest.mark.parametrize("seed", range(6))
def test_any_rubbish_is_survived(seed: int) -> None:
    rng = np.random.default_rng(seed)
    V = rng.integers(0, 4, (60, 3)) * rng.choice([1e-4, 1.0, 1e4])
    F = rng.integers(0, 60, (200, 3))
    before = V.copy(), F.copy()
    for function in (clean, clean_scan):
        mesh = function(V, F)
        check(mesh, V)
        _, C = g.edges(mesh.faces)
        report = mesh.report
        assert report.border_edges == (C == 1).sum()
        assert report.non_manifold_edges == (C > 2).sum()
        assert report.components == g.components(mesh.faces, len(mesh.vertices)).max() + 1
        again = function(V, F)
        assert np.array_equal(again.faces, mesh.faces) and again.report == report
        assert set(report.to_dict()) == set(RepairReport.__dataclass_fields__)
    assert np.array_equal(V, before[0]) and np.array_equal(F, before[1])


# ---------------------------------------------------------------- real and simulated scans


@pytest.mark.parametrize(
    "name",
    [
        "real_james/james.obj",
        "real_lps/lps_head.obj",
        "mri_heads/ch2_60k.ply",
        "fsaverage_head/fsaverage_head.ply",
        "scanlike_ict/scan_003.ply",
        "scanlike_mh/scan_001.ply",
    ],
)
def test_heads_without_spikes_lose_nothing(shared_data: Path, name: str) -> None:
    scan = load_mesh(shared_data / name)
    report = clean_scan(scan.vertices, scan.faces).report
    assert report.spike_vertices == 0
    assert report.debris_vertices < 0.01 * len(scan.vertices)
    assert report.turned_components == report.flipped_faces == 0


def test_large_spikes_on_a_scan_are_found(shared_data: Path) -> None:
    scan = load_mesh(shared_data / "scanlike_ict" / "scan_003.ply")
    N = g.vertex_normals(scan.vertices, scan.faces)
    edge = np.median(np.linalg.norm(np.diff(scan.vertices[scan.faces[:, :2]], axis=1), axis=2))
    rng = np.random.default_rng(0)
    main = np.flatnonzero(g.components(scan.faces, len(N)) == 0)
    inside = np.setdiff1d(
        main, np.flatnonzero(g.border_vertices(*g.face_edges(scan.faces)[:2], len(N)))
    )
    p, j = g.vertex_neighbours(scan.faces, len(N))
    V, tips = scan.vertices.copy(), rng.choice(inside, 10, replace=False)
    for tip in tips:
        some = np.r_[tip, j[p[tip] : p[tip + 1]]]
        V[some] += N[tip] * edge * np.r_[6, rng.uniform(0, 4, len(some) - 1)][:, None]
    mesh = clean_scan(V, scan.faces)
    assert (mesh.index[tips] < 0).sum() >= 9
    untouched = (V == scan.vertices).all(1) & (clean_scan(scan.vertices, scan.faces).index >= 0)
    assert (mesh.index[untouched] < 0).sum() < 30


def demo_scan() -> Arrays:
    mesh = load_mesh(demo.SCAN)
    return mesh.vertices, mesh.faces


@pytest.mark.parametrize("height", [300.0, 20_000.0])
def test_points_far_off_in_any_direction_go(height: float) -> None:
    V, F = demo_scan()
    whole = clean_scan(V, F)
    rng = np.random.default_rng(7)
    inside = whole.source[rng.choice(len(whole.source), 36, replace=False)]
    for axis in range(3):
        moved = V.copy()
        off = inside[axis::3]
        moved[off, axis] += height * rng.choice((-1.0, 1.0), len(off))
        found = clean_scan(moved, F)
        assert (found.index[off] == -1).all()
        assert len(found.source) >= len(whole.source) - 2 * len(off)
        assert found.report.stretched_faces >= 4 * len(off)
        assert found.report.spike_vertices >= whole.report.spike_vertices


def test_points_at_the_origin_go() -> None:
    V, F = demo_scan()
    V = V - V.mean(0) + [2000.0, 0.0, 0.0]
    V[::1000] = 0.0
    found = clean_scan(V, F)
    assert found.vertices[:, 0].min() > 1500.0


@pytest.mark.parametrize("length", [700.0, 1e4, 1e7])
def test_a_face_beside_a_head_is_debris_however_large(length: float) -> None:
    V, F = demo_scan()
    n, whole = len(V), clean_scan(V, F)
    beside = np.vstack([V, V.mean(0) + length * np.eye(3)])
    found = clean_scan(beside, np.vstack([F, [[n, n + 2, n + 1]]]))
    assert np.array_equal(found.source, whole.source)
    assert np.array_equal(found.faces, whole.faces)
    assert found.report.debris_components == whole.report.debris_components + 1


def test_scans_have_no_stretched_faces_nor_has_a_net_of_long_ones() -> None:
    scan = load_mesh(demo.SCAN)
    assert clean_scan(scan.vertices, scan.faces).report.stretched_faces == 0
    box = trimesh.creation.box((1.0, 1.0, 1.0))
    assert clean_scan(box.vertices, box.faces).report.stretched_faces == 0
    # Fans around poles, with triangles a hundred times as long as wide.
    ball = trimesh.creation.uv_sphere(count=[6, 300])
    assert clean_scan(ball.vertices, ball.faces).report.stretched_faces == 0


def test_triangles_that_share_no_vertices_are_no_debris() -> None:
    V, F = ball(4)
    soup = V[F].reshape(-1, 3) + np.random.default_rng(0).normal(0, 1e-4, (3 * len(F), 3))
    found = clean_scan(soup, np.arange(3 * len(F)).reshape(-1, 3))
    assert len(found.faces) > 0.9 * len(F)
    assert found.report.debris_components < 0.1 * len(F)


def test_a_needle_that_is_welded_to_itself_is_no_face() -> None:
    """Its short side is shorter than two places at a seam are apart."""
    V, F = ball(3)
    for short in (1e-3, 3e-4, 1e-6):
        needle = np.array([[0, 0, 1.2], [0, short, 1.2], [0.05, 0, 1.2]])
        n = len(V)
        found = clean_scan(np.vstack([V, needle]), np.vstack([F[:-20], [[n, n + 1, n + 2]]]))
        assert len(found.vertices) == len(np.unique(F[:-20]))
        assert (found.faces != found.faces[:, [1, 2, 0]]).all()
    with pytest.raises(MeshError, match="thin"):
        clean_scan(needle * [1, 1e-4, 1], [[0, 1, 2]])


def test_any_number_of_border_vertices_may_lie_at_one_place() -> None:
    """Pairs of them would be 200 million, and take 3 GB."""
    V, F = ball(4)
    lost = np.arange(20_000).reshape(-1, 2) + len(V)
    to = np.arange(len(lost)) % len(F)
    many = np.vstack([V, np.zeros((lost.size, 3))])
    found = clean_scan(many, np.vstack([F, np.c_[F[to, 0], lost]]))
    assert np.array_equal(found.faces, F)


def test_flat_parts_are_not_turned_by_rounding() -> None:
    V, F = ball(4)
    apart = V[F] + 0.2 * V[F].mean(1, keepdims=True)
    apart[:, :, 0] += np.arange(len(F))[:, None] * 1e-3
    soup = apart.reshape(-1, 3)
    for unit in (1.0, 0.3, 1e5):
        found = clean(unit * soup + unit * 7.0, np.arange(len(soup)).reshape(-1, 3))
        assert found.report.turned_components == 0


@pytest.mark.parametrize("inverted", [False, True])
def test_the_inner_wall_of_something_hollow_is_not_met(inverted: bool) -> None:
    V, F = ball(4)
    both = np.vstack([V, 0.95 * V]), np.vstack([F, F[:, ::-1] + len(V)])
    faces = both[1][:, ::-1] if inverted else both[1]
    whole, scan = clean(both[0], faces), clean_scan(both[0], faces)
    assert np.array_equal(scan.vertices, V) and volume(scan.vertices, scan.faces) > 0
    assert len(whole.vertices) == 2 * len(V)
    wall = 4 * np.pi / 3 * (1 - 0.95**3)
    assert volume(whole.vertices, whole.faces) == pytest.approx(wall, rel=0.01)
    for mesh in (whole, scan):
        assert mesh.report.inner_walls == 1
        assert mesh.report.turned_components == (2 if inverted else 0)
    # Beside the other, it is only wound the wrong way round.
    beside = clean_scan(np.vstack([V, 0.95 * V + [3, 0, 0]]), both[1])
    assert beside.report.inner_walls == 0 and beside.report.turned_components == 1
    assert volume(beside.vertices, beside.faces) == pytest.approx(2 * volume(V, F), rel=0.2)
