"""What a template has and a scan does not show: told by curvature, and left to its surroundings."""

import importlib
from typing import Any

import numpy as np
import pytest
from heads import ball
from scipy.spatial import KDTree

import licp
from benchmarks.heads import generated_head
from benchmarks.robust import flattened
from data_fixtures.head import template
from licp import State
from licp.absence import absent_parts, lacking_curvature
from licp.features import HeatCurvature
from licp.level import Pyramid
from licp.surface import Surface
from licp.traits import Traits

RESOLUTION = 5000


def test_more_curvature_is_no_lack_and_of_the_other_sign_is_none_found() -> None:
    h = np.array([[0.4, -0.2]])
    assert lacking_curvature(h, h)[0] == 0.0
    assert lacking_curvature(h, 2 * h)[0] == 0.0
    assert lacking_curvature(h, 0 * h)[0] == pytest.approx(0.3)
    assert lacking_curvature(h, -h)[0] == pytest.approx(0.3)
    assert lacking_curvature(0 * h, h)[0] == 0.0


def test_only_tangled_parts_that_lack_curvature_are_absent() -> None:
    """Two caps of a ball are curved; the scan shows one of them."""
    V, F = ball(4)
    heat = HeatCurvature(V, F, (0.1, 0.15, 0.2))
    top, bottom = V[:, 2] > 0.8, V[:, 2] < -0.8
    features = np.where((top | bottom)[:, None], 0.6, 0.0) * np.ones((1, 3))
    found = np.where(bottom[:, None], features, 0.0)
    seen = np.ones(len(V), bool)
    north, south = np.argmax(V[:, 2]), np.argmin(V[:, 2])

    def absent(*tangled: int, seen: np.ndarray = seen, share: float = 0.3) -> np.ndarray:
        return absent_parts(features, found, seen, heat, F, np.array(tangled, int), share)

    lost = absent(int(north), int(south))
    assert lost[top].mean() > 0.95 and not lost[V[:, 2] < 0.6].any()
    assert not absent(int(south)).any() and not absent().any()
    assert not absent(int(np.argmax(V[:, 0]))).any()
    assert not absent(int(north), seen=~top).any()
    assert absent(int(north), share=0.95).sum() < lost.sum()


def test_vertices_of_a_coarser_level_are_those_of_the_whole_template() -> None:
    V, F = ball(5)
    V = V / np.sqrt(4 * np.pi)
    one = np.ones(len(V))
    traits = Traits(one, one, one, one > 0, None, V, V)
    pyramid = Pyramid(Surface(V, F), traits, 0, 0.05, None, 0.08, 0.001)
    assert pyramid.last > 0
    for number, level in enumerate(pyramid.levels):
        assert np.array_equal(pyramid.on(V, number), level.rest)


def test_ears_that_a_scan_does_not_show_keep_their_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    head, regions = generated_head(30, RESOLUTION), template(RESOLUTION).regions
    ears = np.zeros(len(head.vertices), bool)
    ears[np.r_[regions["ear_left"], regions["ear_right"]]] = True
    W, G = head.scan_vertices, head.scan_faces
    flat = flattened(head, KDTree(head.truth[ears]).query(W)[0] < 8.0).scan_vertices
    morpher = licp.Morpher((head.vertices, head.faces))

    def off(fit: licp.MorphResult) -> float:
        return float(np.linalg.norm(fit.vertices - head.truth, axis=1)[ears].mean())

    seen: list[licp.Iteration] = []
    fit = morpher.morph((flat, G), callback=seen.append)
    # What is bent anew is not told; the history is of the fit that was kept.
    assert [i.number for i in seen] == list(range(1, len(morpher.schedule) + 1))
    assert len(fit.history) == len(morpher.schedule)
    absent = fit.state == State.ABSENT
    assert absent[ears].mean() > 0.9 and absent[~ears].mean() < 0.05
    assert np.isnan(fit.residual[absent]).all()
    assert fit.confidence[absent].mean() < 0.5 * fit.confidence[~absent].mean()
    assert fit.quality.self_intersections <= fit.quality.rest_self_intersections
    assert fit.quality.flipped_faces == 0
    there = importlib.import_module("licp.morph")
    monkeypatch.setattr(there, "_DOUBTS", 0)
    crushed = morpher.morph((flat, G))
    assert not (crushed.state == State.ABSENT).any()
    assert crushed.quality.self_intersections > 100
    assert off(fit) < 0.8 * off(crushed)
    assert off(morpher.morph((W, G))) < 1.5  # with ears
    # Where too little is left to bend by, the first fit stands.
    bend, asked = licp.Morpher._bend, []

    def once(self: licp.Morpher, *arguments: Any, **options: Any) -> Any:
        asked.append(self)
        if len(asked) > 1:
            raise licp.OverlapError("nothing left")
        return bend(self, *arguments, **options)

    monkeypatch.setattr(there, "_DOUBTS", 5)
    monkeypatch.setattr(licp.Morpher, "_bend", once)
    assert np.array_equal(morpher.morph((flat, G)).vertices, crushed.vertices)
    assert len(asked) > 1
