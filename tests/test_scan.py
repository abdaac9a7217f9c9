"""A scan prepared once: what is left of it, and how sparse it is where."""

import numpy as np
import pytest
import trimesh

import licp
from licp.errors import MeshError
from licp.scan import PreparedScan
from licp.similarity import Similarity


def bowl(subdivisions: int = 7, radius: float = 70.0) -> tuple[np.ndarray, np.ndarray]:
    """A sphere without its top."""
    ball = trimesh.creation.icosphere(subdivisions, radius=radius)
    V, F = np.asarray(ball.vertices), np.asarray(ball.faces)
    return V, F[(V[F][:, :, 2] < 0.6 * radius).all(1)]


def test_a_dense_scan_is_thinned_to_a_share_of_its_size() -> None:
    scan = PreparedScan(bowl())
    assert scan.kept is not None and len(scan.kept) < len(scan.source) / 1.5
    assert 0.9 < scan.sparse.spacing / (0.0065 * scan.full.size) < 1.3
    assert np.array_equal(scan.sparse.vertices, scan.fair.vertices[scan.kept])
    unit = PreparedScan((bowl()[0] * 0.001, bowl()[1]))
    assert abs(len(unit.kept) - len(scan.kept)) < 0.01 * len(scan.kept)


def test_a_sparse_scan_is_its_own_target() -> None:
    scan = PreparedScan(bowl(4))
    assert scan.kept is None and scan.sparse is scan.fair is scan.full
    target, fine = scan.seen_from(Similarity(2.0, np.eye(3), np.ones(3)))
    assert fine is None
    assert np.allclose(target.vertices, (scan.full.vertices - 1) / 2)


def test_a_template_smaller_than_the_scan_gets_more_of_it() -> None:
    scan = PreparedScan(bowl())
    whole = Similarity(scan.full.size, np.eye(3), np.zeros(3))
    part = Similarity(scan.full.size / 2, np.eye(3), np.zeros(3))
    target, fine = scan.seen_from(whole)
    assert fine is not None and len(target.vertices) == len(scan.kept)
    closer, _ = scan.seen_from(part)
    assert closer.spacing < 1.3 * 0.0065
    assert len(closer.vertices) > 2 * len(target.vertices)


def test_one_prepared_scan_serves_several_morphs() -> None:
    ball = trimesh.creation.icosphere(3)
    scan = PreparedScan(bowl(6))
    morpher = licp.Morpher(ball)
    first, again, raw = (morpher.morph(s) for s in (scan, scan, bowl(6)))
    assert np.array_equal(first.vertices, again.vertices)
    assert np.array_equal(first.vertices, raw.vertices)
    assert first.repairs["scan"] == scan.report and first.seconds["prepare"] == scan.seconds


def test_what_cannot_be_used_says_so_here() -> None:
    with pytest.raises(MeshError, match="not finite"):
        PreparedScan((np.full((3, 3), np.nan), [[0, 1, 2]]))


def test_matches_beyond_the_rim_of_a_dense_scan_do_not_pull() -> None:
    """A whole ball on a dense bowl: its top must stay, whatever the thinned rim looks like."""
    V, F = bowl()
    noise = np.random.default_rng(0).normal(0, 0.02, V.shape)
    fit = licp.morph(trimesh.creation.icosphere(4, radius=70.0), (V + noise, F), rigid=True)
    up = fit.vertices[:, 2] > 0.62 * 70
    assert up.sum() > 300
    assert not (fit.state[up] == licp.State.MATCHED).any()
    assert np.abs(np.linalg.norm(fit.vertices[up], axis=1) - 70).max() < 1.0
    down = fit.vertices[:, 2] < 0.55 * 70
    assert (fit.state[down] == licp.State.MATCHED).mean() > 0.99
