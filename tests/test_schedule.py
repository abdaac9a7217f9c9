import dataclasses
import json

import numpy as np
import pytest

from licp.errors import InputError
from licp.schedule import Schedule, Stage

STAGE = Stage(stiffness=0.05, normal_weight=0.1, curvature_weight=0.1)


def test_the_default_goes_from_stiff_to_soft_in_equal_ratios() -> None:
    stages = Schedule.progressive().stages
    stiffness = np.array([s.stiffness for s in stages])
    assert len(stages) == 13
    assert stiffness[0] == pytest.approx(0.1) and stiffness[-1] == pytest.approx(0.0044)
    assert np.allclose(stiffness[1:] / stiffness[:-1], (0.0044 / 0.1) ** (1 / 12))
    for name in ("normal_weight", "curvature_weight", "distance_gate"):
        assert (np.diff([getattr(s, name) for s in stages]) < 0).all()


def test_its_ends_length_and_repeats_can_be_chosen() -> None:
    schedule = Schedule.progressive(5, stiff=0.2, soft=0.01, iterations=3)
    assert len(schedule) == 5 and list(schedule) == list(schedule.stages)
    assert schedule.stages[0].stiffness == pytest.approx(0.2)
    assert schedule.stages[-1].stiffness == pytest.approx(0.01)
    assert {s.iterations for s in schedule} == {3}
    assert len(Schedule.progressive(1)) == 1


def test_schedules_are_values() -> None:
    assert Schedule.progressive(4) == Schedule.progressive(4) != Schedule.progressive(5)
    assert hash(Schedule((STAGE,))) == hash(Schedule([STAGE]))  # type: ignore[arg-type]
    softer = dataclasses.replace(STAGE, stiffness=0.01)
    assert Schedule((STAGE, softer)).stages == (STAGE, softer)
    with pytest.raises(dataclasses.FrozenInstanceError):
        STAGE.stiffness = 1.0  # type: ignore[misc]


def test_it_prints_one_line_a_stage() -> None:
    lines = str(Schedule.progressive(3)).splitlines()
    assert len(lines) == 4 and lines[1].split()[:2] == ["1", "0.1000"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stiffness": 0.0}, "stiffness"),
        ({"stiffness": -1.0}, "stiffness"),
        ({"stiffness": 1e3}, "stiffness"),
        ({"stiffness": np.nan}, "stiffness"),
        ({"stiffness": "soft"}, "stiffness"),
        ({"normal_weight": -0.1}, "weight"),
        ({"normal_weight": np.nan}, "normal_weight"),
        ({"normal_weight": np.inf}, "normal_weight"),
        ({"curvature_weight": -0.1}, "weight"),
        ({"curvature_weight": None}, "curvature_weight"),
        ({"normal_gate": 1.1}, "normal_gate"),
        ({"normal_gate": np.nan}, "normal_gate"),
        ({"distance_gate": 0.0}, "distance_gate"),
        ({"distance_gate": np.nan}, "distance_gate"),
        ({"stiffness": 10**400}, "stiffness"),
        ({"stiffness": np.complex128(0.05)}, "stiffness"),
        ({"normal_weight": 1e308}, "weight"),
        ({"curvature_weight": 1e308}, "weight"),
        ({"sets": None}, "sets"),
        ({"sets": "face"}, "sets"),
        ({"sets": (1,)}, "sets"),
        ({"iterations": 0}, "iteration"),
        ({"iterations": 1.5}, "iteration"),
        ({"iterations": "3"}, "iteration"),
    ],
)
def test_stages_that_cannot_be_meant_are_refused(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(STAGE, **change)


@pytest.mark.parametrize(
    "arguments",
    [
        {"stages": ()},
        {"stages": (STAGE, "soft")},
        {"stages": STAGE},
        {"stages": 5},
        {"stages": (STAGE,), "controls": -1},
        {"stages": (STAGE,), "controls": 1.5},
        {"stages": (STAGE,), "control_radius": 0.0},
        {"stages": (STAGE,), "control_radius": np.nan},
        {"stages": (STAGE,), "control_radius": 10**400},
    ],
)
def test_schedules_that_cannot_be_meant_are_refused(arguments: dict) -> None:
    with pytest.raises(InputError, match=r"stage|control"):
        Schedule(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"levels": 0},
        {"levels": 2.5},
        {"levels": 10**400},
        {"stiff": 0.0},
        {"stiff": 10**400},
        {"soft": -1.0},
        {"iterations": 0},
    ],
)
def test_ladders_that_cannot_be_meant_are_refused(arguments: dict) -> None:
    with pytest.raises(InputError):
        Schedule.progressive(**arguments)


@pytest.mark.parametrize("sets", [("face", "nose"), (None,), (["face"], "nose"), (["face", 1],)])
def test_sets_that_grow_are_lists_of_names(sets: tuple) -> None:
    with pytest.raises(InputError, match="sets"):
        Schedule.progressive().growing(*sets)


def test_numbers_of_any_kind_are_kept_as_those_of_python() -> None:
    stage = dataclasses.replace(STAGE, stiffness=np.float32(0.25), distance_gate=np.int64(2))
    assert type(stage.stiffness) is type(stage.distance_gate) is float
    assert json.loads(json.dumps(dataclasses.asdict(stage)))["stiffness"] == 0.25
    assert type(Schedule((STAGE,), control_radius=np.float32(0.5)).control_radius) is float


@pytest.mark.parametrize("names", [None, 3, "face"])
def test_names_of_regions_are_a_collection(names: object) -> None:
    with pytest.raises(InputError, match="must be a collection"):
        Schedule.regional(names)  # type: ignore[arg-type]
