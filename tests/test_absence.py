"""What a template has and a scan does not show: told by curvature, and left to its surroundings."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from heads import ball
from scipy.spatial import KDTree

import licp
from benchmarks.heads import generated_head
from benchmarks.robust import cut, flattened
from data_fixtures.head import template
from licp import State
from licp.absence import Doubt, absent_parts, lacking, lacking_curvature
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


def test_only_parts_in_question_that_lack_curvature_are_absent() -> None:
    """Two caps of a ball are curved; the scan shows one of them."""
    V, F = ball(4)
    heat = HeatCurvature(V, F, (0.1, 0.15, 0.2))
    top, bottom = V[:, 2] > 0.8, V[:, 2] < -0.8
    features = np.where((top | bottom)[:, None], 0.6, 0.0) * np.ones((1, 3))
    found = np.where(bottom[:, None], features, 0.0)
    everything = np.ones(len(V), bool)
    lacks = lacking(features, found, everything, heat)
    assert lacks[V[:, 2] > 0.95].min() > 0.85 and lacks[V[:, 2] < 0.3].max() < 0.05
    north, south = int(np.argmax(V[:, 2])), int(np.argmin(V[:, 2]))

    def absent(*seeds: int, share: float = 0.3, lacks: np.ndarray = lacks) -> np.ndarray:
        return absent_parts(lacks, F, np.array(seeds, int), share)

    lost = absent(north, south)
    assert lost[top].mean() > 0.95 and not lost[V[:, 2] < 0.6].any()
    assert not absent(south).any() and not absent().any()
    assert not absent(int(np.argmax(V[:, 0]))).any()
    assert not absent(north, lacks=lacking(features, found, ~top, heat)).any()
    # What hardly reaches from what is seen tells nothing.
    part = lacking(features, 0 * features, top, heat)
    assert 0.8 < part[top].min() and part.max() <= 1.0
    assert part[(V[:, 2] > 0.4) & (V[:, 2] < 0.5)].max() < 0.3
    assert absent(north, share=0.95).sum() < lost.sum()


def test_what_was_tangled_is_crushed_if_it_lacks_much_and_more_than_by_chance() -> None:
    n = 1000
    lacks = np.zeros(n)
    lacks[:100] = 0.5
    torn, left = np.r_[50:150], np.array([900])
    doubt = Doubt(lacks, torn, left)
    assert doubt.seeds.tolist() == [*range(50, 100), 900]
    assert doubt.crushed == 50 - 7
    assert Doubt(lacks, np.r_[94:150], left).crushed == 0
    assert Doubt(lacks, torn[:0], left[:0]).seeds.size == 0


def test_vertices_of_a_coarser_level_are_those_of_the_whole_template() -> None:
    V, F = ball(5)
    V = V / np.sqrt(4 * np.pi)
    one = np.ones(len(V))
    traits = Traits(one, one, one, one > 0, one < 0, None, V, V)
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
    there = importlib.import_module("licp.doubting")
    monkeypatch.setattr(there, "_DOUBTS", 0)
    monkeypatch.setattr("licp.bending.redrawn", lambda rest, told, known, bends: told)
    crushed = morpher.morph((flat, G))
    assert not (crushed.state == State.ABSENT).any()
    assert crushed.quality.self_intersections > 100
    assert off(fit) < 0.8 * off(crushed)
    assert off(morpher.morph((W, G))) < 1.5  # with ears
    # Where too little is left to bend by, the first fit stands.
    asked = []

    def nothing_left(*arguments: Any, **options: Any) -> Any:
        asked.append(arguments)
        raise licp.OverlapError("nothing left")

    monkeypatch.setattr(there, "_DOUBTS", 5)
    monkeypatch.setattr(there, "bend", nothing_left)
    assert np.array_equal(morpher.morph((flat, G)).vertices, crushed.vertices)
    assert asked


@pytest.mark.parametrize("how", ["covered", "cut"])
def test_ears_that_were_crushed_are_absent_though_skins_were_pushed_apart(how: str) -> None:
    """Crossings that are taken apart leave a crumpled ear that crosses nothing."""
    head, regions = generated_head(41, RESOLUTION), template(RESOLUTION).regions
    ears = np.r_[regions["ear_left"], regions["ear_right"]]
    away = KDTree(head.truth[ears]).query(head.scan_vertices)[0]
    scan = flattened(head, away < 8.0) if how == "covered" else cut(head, away > 4.0)
    morpher = licp.Morpher((head.vertices, head.faces))
    fit = morpher.morph((scan.scan_vertices, scan.scan_faces))
    assert (fit.state == State.ABSENT)[ears].mean() > 0.6
    assert np.linalg.norm(fit.vertices - head.truth, axis=1)[ears].mean() < 7.0
    whole = morpher.morph((head.scan_vertices, head.scan_faces))
    assert not (whole.state == State.ABSENT)[ears].any()


def test_lips_and_eyes_of_another_style_are_seldom_absent(shared_data: Path) -> None:
    """A template of another make lacks something everywhere, and that is no absence.

    Single fits stand at a fork: five border vertices more or less send one the other way.
    """
    morpher = licp.Morpher(shared_data / "makehuman" / "template.obj")
    fits = []
    for number in range(6):
        head = generated_head(number, RESOLUTION)
        fits.append(morpher.morph((head.scan_vertices, head.scan_faces)))
    whole = [fit for fit in fits if not (fit.state == State.ABSENT).any()]
    # Before faults and absent parts were weighed against each other 12 of 16 fits lost some.
    assert len(whole) >= 4
    added = [f.quality.self_intersections - f.quality.rest_self_intersections for f in whole]
    assert np.median(added) < 40
    assert np.median([f.quality.flipped_faces for f in whole]) < 10
