import numpy as np
import pytest
import trimesh
from heads import (
    arrays,
    error,
    morpher,
    part,
    pose,
    potato,
    rotation,
    scan,
    scan_arrays,
    size,
    template,
)

import licp.alignment
from data_fixtures.body import with_body
from licp.alignment import agreement, align_globally, refine_alignment, start_rotations
from licp.cloud import Cloud
from licp.feature_tree import FeatureTree, Looks
from licp.features import HeatCurvature
from licp.repair import clean
from licp.similarity import Similarity
from licp.surface import Surface

V, F = potato(4)


def angle(a: np.ndarray, b: np.ndarray) -> float:
    """Degrees between two rotations."""
    return float(np.rad2deg(np.arccos(np.clip((np.trace(a.T @ b) - 1) / 2, -1, 1))))


def cloud(vertices: np.ndarray, faces: np.ndarray) -> Cloud:
    mesh = clean(vertices, faces)
    return Cloud.of(Surface(mesh.vertices, mesh.faces))


def test_starts_cover_all_rotations() -> None:
    starts = start_rotations()
    assert np.allclose(starts @ np.swapaxes(starts, 1, 2), np.eye(3), atol=1e-12)
    assert np.allclose(np.linalg.det(starts), 1)
    far = [
        np.arccos(np.clip((np.einsum("nij,ij->n", starts, rotation(k)).max() - 1) / 2, -1, 1))
        for k in range(300)
    ]
    assert np.rad2deg(max(far)) < 40


def test_clouds_are_even_samples() -> None:
    points = cloud(V, F)
    assert 1900 < len(points.points) <= 2000
    area = 0.5 * np.linalg.norm(np.cross(V[F[:, 1]] - V[F[:, 0]], V[F[:, 2]] - V[F[:, 0]]), axis=1)
    centre = area @ V[F].mean(1) / area.sum()
    assert np.allclose(points.centre, centre, atol=0.005)
    assert points.radius == pytest.approx(
        np.sqrt(area @ ((V[F].mean(1) - centre) ** 2).sum(1) / area.sum()), rel=0.01
    )
    for count in (50, 200):  # the first ones cover the shape as well as the same number of any
        gap = np.linalg.norm(V[:, None] - points.points[:count], axis=2).min(1).max()
        assert gap < 2.0 * np.sqrt(area.sum() / count)


def test_clouds_leave_the_border_out() -> None:
    half = clean(*part((V, F), V[F].mean(1)[:, 2] > 0))
    surface = Surface(half.vertices, half.faces)
    rim = surface.vertices[surface.at_border]
    points = Cloud.of(surface).points
    assert np.linalg.norm(points[:, None] - rim, axis=2).min() > 0


def test_clouds_move_with_the_surface() -> None:
    R, here = rotation(0), cloud(V, F)
    there = cloud(50 * V @ R.T + 9, F)
    assert there.radius == pytest.approx(50 * here.radius)
    assert np.allclose(there.centre, 50 * R @ here.centre + 9)
    larger = cloud(1024 * V, F)
    assert np.array_equal(larger.points, 1024 * here.points)
    assert np.allclose(larger.features, here.features, rtol=0, atol=1e-9)
    assert np.array_equal(here.scaled(1024).points, larger.points)


def test_any_pose_and_unit_is_found() -> None:
    W, G = potato(5)
    angles = []
    for seed in range(5):
        true = Similarity(1000.0 ** (seed - 2), rotation(seed), np.array([3e3, -2e3, 1e3]))
        found = align_globally(cloud(V, F), cloud(true.apply(W), G))
        angles.append(angle(found[0].rotation, true.rotation))
        assert found[0].scale == pytest.approx(true.scale, rel=0.02)
        gone = np.linalg.norm(found[0].apply(V) - true.apply(V), axis=1)
        assert gone.mean() < 0.03 * true.scale * np.ptp(V, axis=0).max()
    # Nothing on a potato is sharp; what it is searched by is another sample in each pose.
    assert np.median(angles) < 2 and max(angles) < 4


def test_the_shape_itself_is_found() -> None:
    found = align_globally(cloud(V, F), cloud(V, F))
    assert np.allclose(found[0].apply(V), V, atol=1e-3)


@pytest.mark.parametrize("unit", [1.0, 1.2])
def test_without_scale_the_scale_stays(unit: float) -> None:
    W, G = potato(5)
    R = rotation(2)
    found = align_globally(cloud(V, F), cloud(unit * W @ R.T, G), with_scale=False)
    assert found[0].scale == pytest.approx(1.0, abs=1e-12)
    assert angle(found[0].rotation, R) < 20  # the wrong scale does not lead astray


def test_half_a_shape_is_found() -> None:
    W, G = potato(5)
    R = rotation(3)
    half = part((W @ R.T, G), W[G].mean(1)[:, 2] > -0.2)
    found = align_globally(cloud(V, F), cloud(*half))
    assert min(angle(p.rotation, R) for p in found) < 15


def test_another_head_is_found() -> None:
    found = align_globally(cloud(*arrays()), cloud(*scan_arrays()))
    T = arrays()[0]
    assert angle(found[0].rotation, pose().rotation) < 10
    gone = np.linalg.norm(found[0].apply(T) - pose().apply(T), axis=1)
    assert gone.mean() < 0.05 * size()


def face_alone(radius: float) -> tuple[np.ndarray, np.ndarray]:
    """What of the scan lies round the tip of the nose, mm."""
    W, G = scan_arrays()
    nose = scan().truth[template().landmarks[30]]
    return part((W, G), (np.linalg.norm(W[G] - nose, axis=2) < radius).all(1))


@pytest.mark.parametrize("rigid", [False, True])
@pytest.mark.parametrize("radius", [80.0, 90.0, 100.0, 110.0])
def test_a_face_alone_is_found(radius: float, rigid: bool) -> None:
    """Its own size tells nothing of that of the head."""
    fit = morpher().morph(face_alone(radius), rigid=rigid)
    assert angle(fit.similarity.rotation, pose().rotation) < 10
    assert fit.similarity.scale == pytest.approx(1.0 if rigid else pose().scale, rel=0.08)


def test_pieces_are_round_curved_places() -> None:
    """A ball with two bumps: each is the middle of a piece, of the area that was asked for."""
    W = V / np.linalg.norm(V, axis=1)[:, None]
    bumps = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    W = W * (1 + 0.3 * np.exp(-(((W[:, None] - bumps) ** 2).sum(2)) / 0.06).sum(1))[:, None]
    whole = cloud(W, F)
    pieces = list(whole.pieces(0.06))
    for bump in bumps:
        assert min(angle_between(p.centre, bump) for p in pieces) < 12
    for piece in pieces:
        near = np.linalg.norm(W - piece.centre, axis=1)
        held = near <= np.linalg.norm(piece.points - piece.centre, axis=1).max()
        share = whole.surface.vertex_areas[held].sum() / whole.area
        assert share == pytest.approx(0.06, rel=0.35)
        assert piece.radius == whole.radius  # it is looked at as a part of that
    assert list(whole.pieces(0.95)) == []  # each would be nearly all of it


def angle_between(a: np.ndarray, b: np.ndarray) -> float:
    """Degrees."""
    return float(np.rad2deg(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))))


def test_poses_that_are_not_sure_compete(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is found on a part of the scan or of the template, the best is taken."""
    for name in ("_A_PIECE", "_FOUND", "_SURE"):
        monkeypatch.setattr(licp.alignment, name, 0.0)
    W, G = scan_arrays()
    X, H = with_body(pose().inverse().apply(W), G, 3, np.random.default_rng(3))
    for scene in ((pose().apply(X), H), face_alone(100.0)):
        fit = morpher().morph(scene)
        assert angle(fit.similarity.rotation, pose().rotation) < 10
        assert fit.similarity.scale == pytest.approx(pose().scale, rel=0.08)


@pytest.mark.parametrize("rigid", [False, True])
@pytest.mark.parametrize("parts", [1, 3])
def test_a_head_on_a_body_is_found(parts: int, rigid: bool) -> None:
    """The head is a small part of what is scanned, far from its middle."""
    W, G = scan_arrays()
    X, H = with_body(pose().inverse().apply(W), G, parts, np.random.default_rng(parts))
    whole = pose().apply(X) @ rotation(6).T
    fit = morpher().morph((whole, H), rigid=rigid)
    alone = morpher().morph((W, G), rigid=rigid)
    assert error(fit.vertices @ rotation(6)) < 1.2 * error(alone.vertices)
    assert "scan not explained" in fit.flags


def test_parts_are_round_the_ends() -> None:
    """Two balls far apart on a rod: each is a part, of the size that was asked for."""
    W, G = potato(4)
    far = np.array([0, 0, 14.0])
    rod = trimesh.creation.capsule(height=12.0, radius=0.1)
    rod = rod.subdivide_to_size(0.3)
    joined = trimesh.util.concatenate(
        [
            trimesh.Trimesh(W, G),
            trimesh.Trimesh(W + far, G),
            rod.apply_translation(far / 2),
        ]
    )
    whole = cloud(np.array(joined.vertices), np.array(joined.faces))
    single = cloud(W, G)
    size = single.radius / whole.radius
    parts = list(whole.parts(size))
    for middle in (single.centre, single.centre + far):
        assert min(np.linalg.norm(p.centre - middle) for p in parts) < 0.1 * single.radius
    for found in parts:
        assert found.radius == pytest.approx(single.radius)
        assert np.linalg.norm(found.points - found.centre, axis=1).max() < 2 * 2.9 * found.radius
    assert list(whole.parts(5.0)) == []  # each would be all of it


def test_walls_have_no_round_ends() -> None:
    W, G = potato(4)
    corners = np.array([[-6, -6, -1.5], [6, -6, -1.5], [6, 6, -1.5], [-6, 6, -1.5]])
    wall = trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]]).subdivide_to_size(0.4)
    joined = trimesh.util.concatenate([trimesh.Trimesh(W, G), wall])
    whole = cloud(np.array(joined.vertices), np.array(joined.faces))
    parts = list(whole.parts(cloud(W, G).radius / whole.radius))
    assert parts
    for found in parts:
        assert np.linalg.norm(found.centre) < 3.0


def test_the_order_of_vertices_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    order = rng.permutation(len(V))
    shuffled = V[order], rng.permutation(np.argsort(order)[F])
    target = cloud(V @ rotation(4).T, F)
    one, two = align_globally(cloud(V, F), target), align_globally(cloud(*shuffled), target)
    assert len(one) == len(two)
    assert np.allclose(one[0].matrix(), two[0].matrix(), rtol=0, atol=1e-9)


def looks_of(vertices: np.ndarray) -> Looks:
    normals = Surface(vertices, F).normals
    return Looks(vertices, normals, HeatCurvature(vertices, F).of(vertices, normals))


def refined(start: Similarity, **options: object) -> tuple[Similarity, float]:
    """The unit-size potato, put off its place by ``start``, brought back to it; and how well."""
    unit = V / np.sqrt(15.0)
    surface, there = Surface(unit, F), looks_of(unit)
    half, tree = there.some(np.arange(0, len(unit), 2)), FeatureTree(there)
    move = refine_alignment(half.moved(start), surface, tree, **options)  # type: ignore[arg-type]
    back = move.after(start)
    return back, agreement(half.moved(back), there, tree)


def turned(degrees: float, scale: float = 1.0) -> Similarity:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    R = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return Similarity(scale, R, np.array([0.01, -0.02, 0.015]))


def test_small_errors_of_the_pose_are_taken_back() -> None:
    back, agreed = refined(turned(5, 1.05))
    assert np.allclose(back.matrix(), np.eye(4), atol=1e-9)
    assert 0.99 < agreed <= 1
    assert angle(refined(turned(10, 1.05))[0].rotation, np.eye(3)) < 5
    assert np.allclose(refined(Similarity.identity())[0].matrix(), np.eye(4), atol=1e-9)


def test_agreement_asks_one_of_both_to_be_explained() -> None:
    unit = V / np.sqrt(15.0)
    whole = looks_of(unit)
    half = whole.some(np.flatnonzero(unit[:, 2] > 0))
    beside = whole.moved(Similarity(1.0, np.eye(3), np.array([9.0, 0, 0])))
    for a, b in ((whole, half), (half, whole)):
        assert agreement(a, b, FeatureTree(b)) > 0.99
    assert agreement(beside, whole, FeatureTree(whole)) < 0.01
    shifted = whole.moved(Similarity(1.0, np.eye(3), np.array([0.1, 0, 0])))
    lost = agreement(shifted, half, FeatureTree(half))
    assert 0.2 < lost < agreement(shifted, whole, FeatureTree(whole)) < 0.95


def test_refining_without_scale_keeps_it() -> None:
    assert refined(turned(5, 1.03), with_scale=False)[0].scale == pytest.approx(1.03, abs=1e-12)


def test_unusable_parts_do_not_count() -> None:
    unit = V / np.sqrt(15.0)
    bump = unit[:, 2] > 0.15
    grown = unit + np.where(bump, 0.06, 0.0)[:, None] * [0.0, 1.0, 0.0]
    surface = Surface(grown, F)
    here = looks_of(unit)
    tree = FeatureTree(Looks(grown, surface.normals, here.curvature))
    moved = {
        name: refine_alignment(here, surface, tree, usable=usable).apply(unit)
        for name, usable in (("all", None), ("some", ~bump))
    }
    off = {k: np.linalg.norm(x - unit, axis=1).mean() for k, x in moved.items()}
    assert off["some"] < 0.3 * off["all"]


def test_a_scrap_does_not_take_the_template_away() -> None:
    """What shows too little leaves the start alone."""
    unit = V / np.sqrt(15.0)
    near = np.linalg.norm(unit[F].mean(1) - unit[7], axis=1) < 0.06
    scrap = clean(unit, F[near])
    surface = Surface(scrap.vertices, scrap.faces)
    here = looks_of(unit)
    there = Looks(scrap.vertices, surface.normals, here.curvature[scrap.source])
    move = refine_alignment(here, surface, FeatureTree(there))
    assert np.linalg.norm(move.apply(unit) - unit, axis=1).mean() < 0.03


def test_nothing_usable_leaves_the_start() -> None:
    back, _ = refined(turned(5), usable=np.zeros(len(V), bool))
    assert np.array_equal(back.matrix(), turned(5).matrix())
