"""Named regions, their transfer, and what sets of them may match."""

import json
import pickle
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import trimesh
from heads import arrays, morpher, pose, potato, result, scan_arrays, size, template
from scipy.spatial import KDTree

from data_fixtures.head import random_identity
from data_fixtures.head import template as made_up_template
from data_fixtures.scan import ScanOptions
from data_fixtures.scan import scan as made_up_scan
from licp import InputError, Morpher, OutputError, Regions, Schedule, State, demo, load_mesh
from licp import transfer_regions as transfer
from licp.geometry import vertex_neighbours
from licp.similarity import fit_similarity
from licp.territory import Places, Territory, dilated


@cache
def regions() -> Regions:
    return Regions(template().regions, len(template().vertices))


def test_the_smallest_region_owns_a_vertex_of_several() -> None:
    nested = Regions({"head": range(9), "face": [0, 1, 2, 3], "nose": [2, 3], "ear": [8]}, 10)
    for names in (["head", "face", "nose"], ["nose", "head", "face"]):
        owner = [names[k] if k >= 0 else "" for k in nested.sets(names)]
        assert owner == [*["face"] * 2, *["nose"] * 2, *["head"] * 5, ""]
    assert nested.mask("nose", "ear").nonzero()[0].tolist() == [2, 3, 8]


def test_file_keeps_regions(tmp_path: Path) -> None:
    path = regions().save(tmp_path / "regions.json")
    again = Regions.load(path, arrays())
    assert again.to_dict() == regions().to_dict() == json.loads(path.read_text())["regions"]
    path.write_text(json.dumps(again.to_dict()))
    assert Regions.load(path, np.int64(again.count)).count == again.count
    assert Regions.load(path, again.count).to_dict() == pickle.loads(pickle.dumps(again)).to_dict()


@pytest.mark.parametrize(
    ("subsets", "message"),
    [
        ({}, "at least one"),
        ([1, 2], "at least one"),
        ({"nose": []}, "nose is not a list"),
        ({"nose": [0.5]}, "nose is not a list"),
        ({"nose": [[1], [2, 3]]}, "nose is not a list"),
        ({"nose": [5]}, "nose has vertices 5 to 5; the template's are 0 to 4"),
        ({"nose": [-1, 2]}, "nose has vertices -1 to 2"),
    ],
)
def test_regions_that_fit_nothing_are_refused(subsets: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Regions(subsets, 5)  # type: ignore[arg-type]


def test_regions_of_another_template_are_refused() -> None:
    few = Regions({"nose": [0, 1]}, 5)
    assert Regions(few, 5).to_dict() == few.to_dict()
    with pytest.raises(InputError, match="of a template of 5 vertices, not of 12"):
        Regions(few, 12)
    with pytest.raises(InputError, match="of a template of 5 vertices"):
        Morpher(arrays(), regions=few)


def test_names_may_be_of_any_kind() -> None:
    assert list(Regions({"b": [1], 1: [2]}, 5)) == ["1", "b"]  # type: ignore[dict-item]


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "regions.json"
    with pytest.raises(InputError, match=r"regions\.json: cannot be read: No such file"):
        Regions.load(path, 5)
    path.write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"regions\.json: not valid JSON"):
        Regions.load(path, 5)
    path.write_text('{"nose": [7]}')
    with pytest.raises(InputError, match=r"regions\.json: region nose has vertices 7 to 7"):
        Regions.load(path, 5)
    with pytest.raises(OutputError, match="written as \\.json"):
        regions().save(tmp_path / "regions.txt")
    with pytest.raises(InputError, match="no region 'nsoe'; there are cranium, "):
        regions().mask("nsoe")


def test_transfer_finds_the_same_places_on_another_mesh() -> None:
    finer = made_up_template(2500)
    found = transfer(regions(), arrays(), (finer.vertices, finer.faces), start=np.eye(4))
    for name in ("face", "cranium", "neck", "nose", "eye_left", "ear_right", "lips"):
        ours, true = set(found[name].tolist()), set(finer.regions[name].tolist())
        assert len(ours & true) > 0.75 * len(ours | true), name


def test_transfer_takes_a_mapping_as_morphers_do() -> None:
    ball = trimesh.creation.icosphere(3)
    top = {"top": np.flatnonzero(ball.vertices[:, 2] > 0.5)}
    fine = trimesh.creation.icosphere(4)
    found = transfer(top, ball, fine, start=np.eye(4))
    same = transfer(Regions(top, len(ball.vertices)), ball, fine, start=np.eye(4))
    assert np.array_equal(found["top"], same["top"])
    with pytest.raises(InputError):
        transfer({"top": [len(ball.vertices)]}, ball, fine)


def test_transfer_takes_templates_that_are_inside_out() -> None:
    (V, F), (W, G) = potato(3), potato(4)  # a ball may turn
    n, extra = len(V), np.full((1, 3), 99.0)  # of no face, so nowhere near
    top = {"top": np.flatnonzero(V[:, 2] > 0.5)}
    expected = transfer(top, (V, F), (W, G), start=np.eye(4))["top"]
    for a, b in ((-1, 1), (1, -1), (-1, -1)):
        mine, other = (np.vstack([V, extra]), F[:, ::a]), (np.vstack([W, extra]), G[:, ::b])
        found = transfer({"top": np.r_[top["top"], n]}, mine, other, start=np.eye(4))["top"]
        assert len(np.setxor1d(found, expected)) < 0.05 * len(expected)


def test_transfer_says_what_does_not_fit() -> None:
    ball = trimesh.creation.icosphere(2)
    with pytest.raises(InputError, match=f"of {regions().count} vertices, not of 162"):
        transfer(regions(), ball, arrays())
    whole = trimesh.creation.icosphere(3)
    pole = Regions({"pole": [int(whole.vertices[:, 2].argmax())]}, len(whole.vertices))
    half = trimesh.Trimesh(whole.vertices, whole.faces[(whole.vertices[whole.faces, 2] < 0).all(1)])
    with pytest.raises(InputError, match="has its pole"):
        transfer(pole, whole, half, start=np.eye(4))


def test_the_demo_template_has_regions() -> None:
    mesh = load_mesh(demo.TEMPLATE)
    known = Regions.load(demo.REGIONS, mesh)
    assert {name for stage in Schedule.regional(known) for name in stage.sets} <= set(known)
    assert len(Schedule.regional(known).stages[-1].sets) == 10
    height = {name: mesh.vertices[known[name], 1].mean() for name in known}
    assert height["neck"] < height["under_chin"] < height["lip_lower"] < height["lip_upper"]
    assert height["lip_upper"] < height["nose"] < height["eyes"] < height["cranium"]


def test_labels_are_territories_too() -> None:
    territory = Territory.of_labels(np.array([3, -1, 8]), np.array([3, 8, -1, 5]))
    allowed = [
        [bool(territory.holds(np.full(3, at))[k]) for at in range(4)] for k in range(3)
    ]  # fmt: skip
    assert allowed == [
        [True, False, True, False], [True] * 4, [False, True, True, False]
    ]  # fmt: skip


def test_strays_are_searched_anew_and_others_stay() -> None:
    permits = np.array([[True, False, False], [False, False, False], [True, True, True]])
    territory = Territory(np.array([0, 0, 1, -1]), permits)
    asked = []

    def again(mine: np.ndarray, among: np.ndarray) -> np.ndarray:
        asked.append((mine.tolist(), among.tolist()))
        return among[np.zeros(len(mine), int)]

    found = np.array([0, 2, 1, 2])
    assert territory.keep(found, again).tolist() == [0, 0, -1, 2]
    assert asked == [([1], [0])]
    assert found.tolist() == [0, 2, 1, 2]


def test_dilation_goes_along_the_surface() -> None:
    ball = trimesh.creation.icosphere(3)
    V, ring = ball.vertices, vertex_neighbours(ball.faces, len(ball.vertices))
    labels = np.where(V[:, 2] > 0, 0, 1)
    grown = dilated(labels, 2, ring, 2)
    edge = ball.edges_unique_length.max()
    assert grown[-1].all() and grown[0][labels == 0].all()
    assert (V[grown[0], 2] > -2 * edge).all() and grown[0][V[:, 2] > -edge].all()
    two = np.concatenate([ring[0], ring[0][1:] + len(ring[1])])
    apart = dilated(np.r_[labels, labels * 0 + 1], 2, (two, np.r_[ring[1], ring[1] + len(V)]), 9)
    assert not apart[0, len(V) :].any()


def test_one_set_of_everything_is_no_set() -> None:
    every = {"all": np.arange(len(template().vertices))}
    sets = replace(
        Schedule.progressive(),
        stages=tuple(replace(stage, sets=("all",)) for stage in Schedule.progressive()),
    )
    same = Morpher(arrays(), schedule=sets, regions=every).morph(scan_arrays(), start=pose())
    assert np.array_equal(same.vertices, result().vertices)


def test_regions_do_no_harm_and_keep_to_their_territory() -> None:
    fit = Morpher(arrays(), regions=regions()).morph(scan_arrays(), start=pose())
    usual = np.linalg.norm(result().vertices - fit.vertices, axis=1).mean()
    assert 0 < usual < 1e-3 * size()


def test_a_set_with_no_place_on_the_scan_matches_nothing() -> None:
    # The scan ends above the neck, which a first bending sees.
    V, F = scan_arrays()
    upright = pose().inverse().apply(V)
    low = np.quantile(template().vertices[regions()["neck"], 1], 0.9)
    cut = V, F[(upright[F][:, :, 1] > low + 60).all(1)]
    fit = Morpher(arrays(), regions=regions()).morph(cut, start=pose())
    neck = regions()["neck"]
    assert (fit.state[neck] != State.MATCHED).mean() > 0.9
    assert (fit.state[neck] == State.REGION).any()


def test_an_open_mouth_stays_open() -> None:
    rng = np.random.default_rng(5)
    made = made_up_scan(
        random_identity(rng), {"jaw_open": 0.4}, rng, ScanOptions(vertices=5000, texture_size=64),
        1000,
    )  # fmt: skip
    start = fit_similarity(template().vertices, made.truth)
    fit = morpher().morph((made.vertices, made.faces), start=start)

    def gap(vertices: np.ndarray) -> float:
        marks = template().landmarks
        upper, lower = vertices[marks[61:64]], vertices[marks[[67, 66, 65]]]
        return float(np.linalg.norm(upper - lower, axis=1).mean())

    assert gap(made.truth) > 3 * gap(start.apply(template().vertices))
    assert 0.6 * gap(made.truth) < gap(fit.vertices) < 1.2 * gap(made.truth)
    # No outer upper lip on the lower one, nor the other way.
    upper, lower = (regions()[name] for name in ("lip_upper", "lip_lower"))
    matched = fit.state == State.MATCHED
    to_upper, to_lower = (
        KDTree(made.truth[part]).query(fit.vertices)[0] for part in (upper, lower)
    )
    assert (to_upper < to_lower)[upper[matched[upper]]].mean() > 0.97
    assert (to_lower < to_upper)[lower[matched[lower]]].mean() > 0.97


def test_sets_need_regions_of_their_names_and_no_labels() -> None:
    sets = Schedule.regional(regions())
    with pytest.raises(InputError, match="needs regions"):
        Morpher(arrays(), schedule=sets)
    with pytest.raises(InputError, match="there is no region"):
        Morpher(arrays(), schedule=sets, regions={"all": [0, 1]})
    with pytest.raises(InputError, match="give one of them"):
        Morpher(arrays(), regions=regions(), labels=np.zeros(regions().count, int))
    with pytest.raises(InputError, match="names of regions"):
        replace(sets.stages[0], sets="face")


def test_places_reach_six_millimetres_beyond_their_edge() -> None:
    """Along a strip; what looks like nothing may be of any set."""
    n = 60
    ends = np.r_[0, np.cumsum(np.r_[1, np.full(n - 2, 2), 1])]
    chain = np.concatenate([[1], *([k - 1, k + 1] for k in range(1, n - 1)), [n - 2]])
    alike = np.where(np.arange(n) < 20, 0, 1)
    alike[50] = -1
    sets = {("a", "b"): np.array([0, 1])}
    traits = SimpleNamespace(sets={("a", "b"): np.array([0, 1, -1])})
    for spacing, rings in ((0.005, 3), (0.015, 1), (0.1, 1)):
        places = Places(alike, sets, (ends, chain), spacing)
        permits = places.of(("a", "b"), traits).permits
        of_a = (np.arange(n) < 20 + rings) | (abs(np.arange(n) - 50) <= rings)
        assert np.array_equal(permits[0], of_a)
        assert np.array_equal(permits[1], np.arange(n) >= 20 - rings)
        assert permits[2].all() and places.of((), traits) is None


def test_transfer_leaves_out_what_is_far_from_the_template() -> None:
    (V, F), (W, G) = potato(3), potato(4)
    inner = 0.85 * W, G + len(W)
    both = np.vstack([W, inner[0]]), np.vstack([G, inner[1]])
    found = transfer({"all": np.arange(len(V))}, (V, F), both, start=np.eye(4))["all"]
    assert (found < len(W)).mean() == 1.0 and len(found) > 0.95 * len(W)
