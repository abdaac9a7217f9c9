"""Ablation: each switch does something and leaves nothing behind, and the table is right."""

import json
from pkgutil import resolve_name

import numpy as np
import pytest
from click.testing import CliRunner

import licp
from benchmarks.__main__ import main
from benchmarks.ablate import DEFAULT, VARIANTS, Ablation, Variant, paired
from benchmarks.heads import HeadSet

SMALL = HeadSet("generated", None, None, 1, 1000, 3000)


def named(*names: str) -> list[Variant]:
    return [v for v in VARIANTS if v.name in names]


def test_paired_change_in_per_cent() -> None:
    change, error = paired(np.array([1.0, 2.0, 3.0]), np.array([1.1, 2.4, 3.1]))
    assert change == pytest.approx(10.0)
    assert error == pytest.approx(100 * np.std([0.1, 0.4, 0.1], ddof=1) / np.sqrt(3) / 2.0)


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v.replaced], ids=lambda v: v.name)
def test_what_is_replaced_is_there_and_comes_back(variant: Variant) -> None:
    before = {name: resolve_name(name) for name in variant.replaced}
    with variant.active():
        for name, original in before.items():
            assert resolve_name(name) is not original
    for name, original in before.items():
        assert resolve_name(name) is original


def test_a_name_that_is_gone_undoes_the_others() -> None:
    there = "licp.morph._SOLVE"
    before = resolve_name(there)
    gone = Variant("x", "y", replaced={there: lambda _: 1.0, "licp.morph._GONE": lambda _: 1.0})
    with pytest.raises(AttributeError, match="_GONE"):
        gone.active()
    assert resolve_name(there) is before


def test_schedules_of_variants() -> None:
    usual = licp.Schedule.progressive()
    (single,) = named("progressive schedule")
    (stage,) = single.schedule(usual)
    assert stage.stiffness == usual.stages[-1].stiffness and stage.iterations == len(usual)
    (fixed,) = named("annealed search weights")
    weights = {(s.normal_weight, s.curvature_weight) for s in fixed.schedule(usual)}
    assert len(weights) == 1
    first, last = usual.stages[0], usual.stages[-1]
    assert last.curvature_weight < weights.pop()[1] < first.curvature_weight


@pytest.fixture(scope="module")
def ablation(tmp_path_factory: pytest.TempPathFactory) -> Ablation:
    """One small head under the variants that change public parameters least and most."""
    gone = Variant("gone", "nothing", replaced={"licp.morph.Morpher._gone": lambda f: f})
    same = Variant("nothing", "the same")
    switches = named(
        "normals in the search", "both gates at borders", "both refinements of the pose",
        "own pose", "exact foot on triangles", "walking search", "loose solves",
    )  # fmt: skip
    made = Ablation(tmp_path_factory.mktemp("ablate"), [same, gone, *switches])
    for _ in made.run([SMALL], 1):
        pass
    made.write()
    return made


def test_switches_change_the_fit_and_nothing_else_does(ablation: Ablation) -> None:
    told = {r["ingredient"]: r for r in ablation.records}
    assert told["nothing"]["same"]
    assert told["nothing"]["measures"] == told[DEFAULT.name]["measures"]
    assert "not in this version" in told["gone"]["failure"]
    for variant in ablation.variants[2:]:
        assert told[variant.name]["failure"] is None
        assert not told[variant.name]["same"], f"{variant.name} has no effect any more"


def test_table_of_changes(ablation: Ablation) -> None:
    table = ablation.markdown()
    told = json.loads((ablation.folder / "results.json").read_text())
    usual = told["records"][0]["measures"]["covered"]["mean"]
    rows = {line.split(" | ")[0]: line for line in table.splitlines()}
    assert rows["| default"].split(" | ")[2] == f"{usual:.3f}"
    assert "| same bits |" in rows["| nothing"] and "not in this version" in rows["| gone"]
    worse = next(r for r in told["records"] if r["ingredient"] == "exact foot on triangles")
    change = 100 * (worse["measures"]["covered"]["mean"] / usual - 1)
    assert f"| {change:+.1f} |" in rows["| exact foot on triangles"]
    assert "Heads: generated 1." in table
    for path in ablation.pictures():
        assert path.read_bytes()[1:4] == b"PNG"


def test_help_names_the_commands() -> None:
    told = CliRunner().invoke(main, ["--help"]).output
    assert all(name in told for name in ("compare", "scale", "ablate", "robust"))
    missing = CliRunner().invoke(main, ["ablate", "--sets", "nowhere"])
    assert missing.exit_code == 2 and "nowhere" in missing.output
