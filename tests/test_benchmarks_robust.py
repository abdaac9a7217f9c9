"""Robustness: what is done to scans, what counts, and a small run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import KDTree

from benchmarks.heads import Head, HeadSet, generated_head
from benchmarks.robust import FACTORS, Factor, Plan, Robustness, cut, posed
from data_fixtures.head import template as made_up_template
from data_fixtures.scan import ScanOptions
from licp.geometry import edges

PLAN = Plan(poses=2, every=3, resolution=1000, scan_vertices=3000)
BY_NAME = {factor.name: factor for factor in FACTORS}


@pytest.fixture(scope="module")
def head() -> Head:
    return generated_head(0, PLAN.resolution, options=ScanOptions(PLAN.scan_vertices))


def spoilt(head: Head, name: str, level: float) -> Head:
    return BY_NAME[name].spoil(head, level, np.random.default_rng(1), PLAN)


@pytest.mark.parametrize("name", list(BY_NAME))
def test_none_of_it_changes_nothing_and_inputs_stay(head: Head, name: str) -> None:
    before = head.scan_vertices.copy()
    np.testing.assert_array_equal(spoilt(head, name, 0).scan_vertices, before)
    worse = spoilt(head, name, BY_NAME[name].levels[-1])
    assert (
        worse.scan_vertices.shape != before.shape
        or (worse.scan_vertices != before).any()
        or len(worse.scan_faces) < len(head.scan_faces)
    )
    np.testing.assert_array_equal(head.scan_vertices, before)
    again = spoilt(head, name, BY_NAME[name].levels[-1])
    np.testing.assert_array_equal(worse.scan_vertices, again.scan_vertices)


def test_cut_keeps_faces_between_kept_vertices(head: Head) -> None:
    keep = head.scan_vertices[:, 0] > 0
    half = cut(head, keep)
    assert (half.scan_vertices[:, 0] > 0).all()
    assert len(half.scan_faces) == keep[head.scan_faces].all(1).sum()
    assert set(np.unique(half.scan_faces)) == set(range(len(half.scan_vertices)))


def test_holes_are_as_large_as_said_and_grow(head: Head) -> None:
    lost = []
    for radius in (20, 40):
        kept = KDTree(spoilt(head, "hole", radius).scan_vertices)
        gone = head.scan_vertices[kept.query(head.scan_vertices)[0] > 0]
        assert 1.5 * radius < np.linalg.norm(np.ptp(gone, axis=0)) < 2 * np.sqrt(3) * radius
        lost.append({tuple(v) for v in gone})
    assert lost[0] < lost[1]


def test_of_a_face_alone_a_ball_is_left(head: Head) -> None:
    face = spoilt(head, "face alone", 70).scan_vertices
    nose = head.truth[head.vertices[:, 2].argmax()]
    assert 65 < np.linalg.norm(face - nose, axis=1).max() < 70
    assert {tuple(v) for v in face} < {tuple(v) for v in head.scan_vertices}
    smile = made_up_template(PLAN.resolution).landmarks[48]  # a corner of the mouth
    assert KDTree(face).query(head.truth[smile])[0] < 10


def test_noise_and_spikes_are_as_large_as_said(head: Head) -> None:
    off = spoilt(head, "noise", 2.0).scan_vertices - head.scan_vertices
    assert off.std() == pytest.approx(2.0, rel=0.05)
    height = np.linalg.norm(spoilt(head, "spikes", 5).scan_vertices - head.scan_vertices, axis=1)
    assert 5 <= (height > 0).sum() < 100 and 20 <= height.max() < 130


def test_ears_are_gone_and_only_they(head: Head) -> None:
    regions = made_up_template(PLAN.resolution).regions
    one = spoilt(head, "missing ears", 1)
    left, right = (np.intersect1d(regions[f"ear_{s}"], np.flatnonzero(head.covered))
                   for s in ("left", "right"))  # fmt: skip
    assert not one.covered[left].any() and one.covered[right].mean() > 0.9
    assert len(one.scan_vertices) > 0.8 * len(head.scan_vertices)


def test_covered_ears_are_flat_and_only_they(head: Head) -> None:
    regions = made_up_template(PLAN.resolution).regions
    one = spoilt(head, "covered ears", 1)
    assert np.array_equal(one.scan_faces, head.scan_faces)
    assert np.isfinite(one.scan_vertices).all()
    moved = (one.scan_vertices != head.scan_vertices).any(1)
    left = KDTree(head.truth[regions["ear_left"]]).query(head.scan_vertices)[0]
    assert moved[left < 7.9].all() and not moved[left > 8.1].any()
    # Each vertex is the mean of those around it.
    inner = np.flatnonzero(moved)[:20]
    pairs = edges(one.scan_faces)[0]
    for v in inner:
        ring = np.r_[pairs[pairs[:, 0] == v, 1], pairs[pairs[:, 1] == v, 0]]
        assert np.allclose(one.scan_vertices[v], one.scan_vertices[ring].mean(0), atol=1e-5)


def test_mouths_open_as_far_as_said(head: Head) -> None:
    gaps = []
    for jaw in (0.3, 1.0):
        mouth = spoilt(head, "open mouth", jaw)
        upper, lower = mouth.landmarks[62], mouth.landmarks[66]
        gaps.append(float(np.linalg.norm(mouth.truth[upper] - mouth.truth[lower])))
    assert gaps[0] > 3.0 and gaps[1] > 2.5 * gaps[0]


def test_bodies_are_below_the_head_and_grow(head: Head) -> None:
    count = len(head.scan_vertices)
    lowest = head.pose.inverse().apply(head.scan_vertices)[:, 1].min()
    tall = []
    for parts in (1, 2, 3):
        more = spoilt(head, "body", parts)
        np.testing.assert_array_equal(more.scan_vertices[:count], head.scan_vertices)
        np.testing.assert_array_equal(more.scan_faces[: len(head.scan_faces)], head.scan_faces)
        upright = head.pose.inverse().apply(more.scan_vertices)
        assert np.mean(upright[count:, 1] < lowest) > 0.95
        tall.append(len(upright))
    assert 1500 < np.ptp(upright[:, 1]) < 2000
    assert tall == sorted(tall)


def test_shoulders_are_below_the_neck(head: Head) -> None:
    more = spoilt(head, "shoulders", 1)
    upright = [h.pose.inverse().apply(h.scan_vertices) for h in (head, more)]
    assert upright[1][:, 1].min() < upright[0][:, 1].min() - 20
    assert np.ptp(upright[1][:, 0]) > np.ptp(upright[0][:, 0]) + 20
    same = more.pose.inverse().apply(more.truth) - head.pose.inverse().apply(head.truth)
    assert np.abs(same).max() < 1e-6


def test_poses_are_similarities_of_any_unit(head: Head) -> None:
    units = []
    for seed in range(20):
        turned, move = posed(head, np.random.default_rng(seed))
        units.append(move.scale)
        np.testing.assert_allclose(move.apply(head.truth), turned.truth)
    assert min(units) < 0.02 and max(units) > 50


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Robustness:
    hole = replace(BY_NAME["hole"], levels=(0, 50))
    made = Robustness(tmp_path_factory.mktemp("robust"), [hole])
    for _ in made.run(PLAN, [HeadSet("generated", None, None, 1, 1000, 3000)], 1):
        pass
    made.write()
    return made


def test_a_small_run(run: Robustness) -> None:
    none, hole = run.records
    assert none["failure"] is hole["failure"] is None
    assert none["lost"] is None and hole["lost"]["mean"] > 0
    assert 0.5 * none["seen"]["mean"] < hole["seen"]["mean"] < 2 * none["seen"]["mean"]
    assert len(run.poses) == PLAN.poses and all(p["deviation"] < 1.0 for p in run.poses)
    table = run.markdown()
    cells = (f"{hole['seen'][kind]:.2f}" for kind in ("mean", "expected", "p95"))
    assert f"| 50 | {' | '.join(cells)} |" in table
    assert 0.3 < none["seen"]["mean"] / none["seen"]["expected"] < 3
    assert "| generated | 2 | 100.0 % |" in table
    names = {path.name for path in run.pictures()}
    assert names == {"robust-hole.png", "robust-pose.png", "robust-heads-generated.png"}


def test_failures_are_counted(tmp_path: Path) -> None:
    def flat(head: Head, level: float, *_: object) -> Head:
        return replace(head, scan_vertices=np.full_like(head.scan_vertices, np.nan))

    made = Robustness(tmp_path, [Factor("nothing left", "", (1,), flat)])
    small = HeadSet("generated", None, None, 1, 1000, 3000)
    for _ in made.run(replace(PLAN, poses=0), [small], 1):
        pass
    (record,) = made.records
    assert record["failure"].startswith("MeshError")
    assert "| 1 | - | - | - | - | - | 1 |" in made.markdown()
