"""The benchmarks: measures on known cases, isolation, tables, and a small run."""

import json
import math
import os
import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from heads import potato
from PIL import Image

from benchmarks import __main__ as command
from benchmarks.compare import Comparison, Plan, summarise
from benchmarks.heads import Head, HeadSet, disturbed, find_sets, generated_head
from benchmarks.measures import Errors, errors, measure
from benchmarks.peers import METHODS, Problem
from benchmarks.process import isolated, measured, memory
from benchmarks.report import include, table
from licp import Mesh, save_mesh

ONE = HeadSet("generated", None, None, 1, 1000, 3000)


def known(vertices: np.ndarray | None = None) -> Head:
    """A head that is the scan; the truth is the scan itself, or where it is said to be."""
    V, F = potato(3)
    V = 80 * V
    S, G = (80 * potato(4)[0], potato(4)[1])
    return Head("known", "potato", V, F, S, G, V if vertices is None else vertices, np.arange(5))


def test_errors_on_known_distances() -> None:
    truth = np.zeros((20, 3))
    off = np.zeros((20, 3))
    off[:, 1] = np.arange(20)
    assert errors(off, truth) == Errors(9.5, 9.5, pytest.approx(18.05))
    assert errors(off, truth, np.arange(20) < 3) == Errors(1.0, 1.0, pytest.approx(1.9))
    assert errors(off, truth, np.array([19, 17])) == Errors(18.0, 18.0, pytest.approx(18.9))
    assert errors(off, truth, np.zeros(20, bool)) is None


def test_measures_of_the_truth_and_of_a_slide() -> None:
    head = known()
    assert head.covered.all()
    right = measure(head, head.truth)
    assert right.covered == right.everywhere == right.landmarks == Errors(0.0, 0.0, 0.0)
    assert right.flipped == right.crossings == 0 and right.seen > 0.99
    assert right.to_scan and right.to_template
    assert right.to_scan["p95"] < 0.1 and right.to_template["p95"] < 3.0
    turned = head.truth @ np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1.0]]).T
    slid = measure(known(turned), head.truth)
    assert slid.everywhere.mean > 30  # the wrong places...
    assert slid.to_scan == right.to_scan  # ...on the right surface


def test_covered_means_within_3_mm_of_a_scan_vertex() -> None:
    head = known()
    up = head.truth.copy()
    up[7] *= 1 + 10 / np.linalg.norm(up[7])
    assert np.flatnonzero(~known(up).covered).tolist() == [7]


def test_measures_count_folds_and_crossings() -> None:
    head = known()
    through = head.truth.copy()
    through[3] *= -1.5  # through the inside and out on the other side
    told = measure(head, through)
    assert told.crossings > 0
    assert told.flipped + told.crossings > 3
    assert told.landmarks and told.landmarks.mean == pytest.approx(
        2.5 * np.linalg.norm(head.truth[3]) / 5
    )


def test_disturbed_pose_is_2_degrees_and_3_mm_off() -> None:
    head = known()
    one, same, other = disturbed(head, 0), disturbed(head, 0), disturbed(head, 1)
    assert np.array_equal(one.matrix(), same.matrix())
    assert not np.allclose(one.matrix(), other.matrix())
    off = one.after(head.pose.inverse())
    angle = np.rad2deg(np.arccos((np.trace(off.rotation) - 1) / 2))
    middle = head.truth.mean(0)
    assert angle == pytest.approx(2.0, abs=1e-6) and off.scale == pytest.approx(1.0)
    assert np.linalg.norm(off.apply(middle[None])[0] - middle) == pytest.approx(3.0)


def test_generated_heads_are_the_same_each_time() -> None:
    one, same, other = (generated_head(k, 1000, 2000) for k in (0, 0, 1))
    assert np.array_equal(one.scan_vertices, same.scan_vertices)
    assert np.array_equal(one.truth, same.truth)
    assert not np.allclose(one.truth, other.truth)
    assert one.truth.shape == one.vertices.shape and one.covered.any()


def test_folders_of_scans(tmp_path: Path) -> None:
    head = known()
    for k in range(2):
        save_mesh(tmp_path / f"scan_{k:03d}.ply", Mesh(head.scan_vertices, head.scan_faces))
        more = np.concatenate([head.truth, np.ones((3, 3))])  # of what the template lacks
        np.savez(tmp_path / f"gt_{k:03d}.npz", gt_vertices=more, template_landmarks=np.arange(4))
    with pytest.raises(FileNotFoundError, match="--template"):
        find_sets((str(tmp_path),), None, None, None)
    save_mesh(tmp_path / "template.obj", Mesh(head.vertices, head.faces))
    (found,) = find_sets((str(tmp_path),), None, None, None)
    assert (found.name, found.count) == (tmp_path.name, 2)
    read = list(found)[1]
    assert read.name == "scan_001" and read.landmarks is not None and len(read.landmarks) == 4
    np.testing.assert_allclose(read.truth, head.truth)
    np.testing.assert_allclose(read.vertices, head.vertices, atol=1e-3)
    with pytest.raises(FileNotFoundError, match=r"generated, ict, mh"):
        find_sets(("nowhere",), None, None, None)
    assert [s.name for s in find_sets((), tmp_path, None, None)] == ["generated"]


def test_shared_sets_are_found(shared_data: Path) -> None:
    sets = {s.name: s for s in find_sets((), None, None, 1)}
    assert list(sets) == ["generated", "ict", "mh"]
    ict, mh = sets["ict"].head(0), sets["mh"].head(0)
    assert len(ict.vertices) == 11248 and ict.landmarks is not None and len(ict.landmarks) == 68
    assert len(mh.vertices) == 4260 and mh.landmarks is None
    for head in (ict, mh):  # truth and template belong together
        off = head.pose.apply(head.vertices) - head.truth
        assert np.linalg.norm(off, axis=1).mean() < 10
        assert 0.5 < head.covered.mean() < 1


def test_a_function_in_a_process_of_its_own() -> None:
    good = isolated(math.hypot, 3.0, 4.0, timeout=60, threads=1)
    assert (good.value, good.failure) == (5.0, None)
    assert isolated(os.getenv, "OMP_NUM_THREADS", timeout=60, threads=3).value == "3"
    assert "math domain error" in str(isolated(math.sqrt, -1.0, timeout=60, threads=1).failure)
    assert "SIGABRT" in str(isolated(os.abort, timeout=60, threads=1).failure)
    clock = time.perf_counter()
    assert "not done after 0.5 s" in str(isolated(time.sleep, 60, timeout=0.5, threads=1).failure)
    assert time.perf_counter() - clock < 30


def test_cost_of_calls() -> None:
    calls: Iterator[int] = iter(range(9))
    value, cost = measured(lambda: next(calls), repeats=3, patience=60.0, above=0.0)
    assert value == 2 and len(cost.seconds) == len(cost.processor) == 3
    slow = measured(lambda: time.sleep(0.02), repeats=3, patience=0.01, above=0.0)[1]
    assert len(slow.seconds) == 1 and slow.seconds[0] >= 0.02 > slow.processor[0]
    above = memory()[0]
    assert 10 < above <= memory()[1]
    hungry = partial(measured, repeats=1, patience=1.0, above=0.0)
    took = [
        isolated(hungry, partial(eval, f"len(b'x' * {n})"), timeout=60, threads=1).value[1]
        for n in (1, 300_000_000)
    ]
    assert 270 < took[1].megabytes - took[0].megabytes < 330  # 286 MB


def test_tables(tmp_path: Path) -> None:
    text = table(("method", "mm"), [("a", "1.0"), ("b", "-")])
    assert text == "| method | mm |\n| :-- | --: |\n| a | 1.0 |\n| b | - |"
    page = tmp_path / "page.md"
    page.write_text("top\n<!-- x -->\nold\n<!-- /x -->\nend\n")
    include("x", text, page)
    include("x", text, page)
    assert page.read_text() == f"top\n<!-- x -->\n{text}\n<!-- /x -->\nend\n"
    with pytest.raises(ValueError, match="no place for y"):
        include("y", text, page)


def test_a_row_is_the_mean_of_what_did_not_fail() -> None:
    def record(mean: float, seconds: list[float]) -> dict[str, object]:
        error = {"mean": mean, "median": mean, "p95": mean}
        return {
            "failure": None, "seconds": seconds, "processor": seconds, "megabytes": mean,
            "more": {}, "measures": {
                "covered": error, "everywhere": error, "landmarks": None, "to_scan": None,
                "to_template": {"median": 1.0, "p95": 2.0}, "flipped": 4, "crossings": 0,
            },
        }  # fmt: skip

    row = summarise([record(1.0, [9, 2, 3]), record(2.0, [5]), {"failure": "crashed"}])
    assert row["covered"] == (1.5, 1.5, 1.5) and row["landmarks"] is None
    assert row["seconds"] == 4.0 and row["megabytes"] == 2.0 and row["flipped"] == 4
    assert (row["failed"], row["total"]) == (1, 3)
    assert summarise([{"failure": "crashed"}])["covered"] is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of licp on one small head, from near the truth."""
    path = tmp_path_factory.mktemp("compare")
    plan = Plan(("licp",), ("given",), repeats=1, timeout=300)
    (record,) = Comparison(path).run(plan, [ONE])
    assert record["failure"] is None, record["failure"]
    return path


def test_licp_on_a_small_head(folder: Path) -> None:
    told = json.loads((folder / "results.json").read_text())
    (record,), (run,) = told["records"], told["runs"]
    head = ONE.head(0)
    before = errors(disturbed(head, 0).apply(head.vertices), head.truth, head.covered)
    assert before is not None
    assert record["measures"]["covered"]["mean"] < 0.6 * before.mean
    assert record["seconds"][0] > 0 and record["more"]["prepared"] > 0
    assert run["threads"] == 1 and run["versions"]["numpy"] == np.__version__
    page = (folder / "table.md").read_text()
    assert f"| licp | given | {record['measures']['covered']['mean']:.2f} / " in page
    assert "0 of 1" in page and run["date"] in page and "licp.morph" in page


def test_a_failure_stops_nothing_and_results_are_kept(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    comparison = Comparison(tmp_path, keep=True)
    plan = Plan(("licp",), ("own", "given"), timeout=0.01)
    with_own = list(comparison.run(plan, [ONE]))
    assert ["not done" in r["failure"] for r in with_own] == [True, True]
    assert len(comparison.records) == 2  # the good one of before was replaced
    assert "1 of 1" in comparison.markdown()


def test_pictures_and_tables_are_drawn_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, head = json.loads((folder / "results.json").read_text()), ONE.head(0)
    comparison = Comparison(tmp_path)
    good = told["records"][0] | {"measures": measure(head, head.truth).to_dict()}
    comparison.records, comparison.runs = [good], told["runs"]
    np.save(comparison.path(good), head.truth)
    comparison.write()
    monkeypatch.setattr(command, "find_sets", lambda *_: [ONE])
    run = CliRunner().invoke(command.main, ["compare", "--draw", "--out", str(tmp_path)])
    assert run.exit_code == 0, run.output
    assert "0.00 / 0.00 / 0.00" in run.output
    for name in ("errors-generated-given.png", "error-versus-time.png"):
        assert np.ptp(np.asarray(Image.open(tmp_path / name)).reshape(-1, 4)[:, :3]) > 200


@pytest.mark.parametrize("name", [n for n in METHODS if n not in ("licp", "pyclarcs")])
def test_peers_come_closer_to_the_truth(name: str) -> None:
    if METHODS[name].versions() is None:
        pytest.skip(f"{name} is not installed; all peers: pip install '.[bench]'")
    head = generated_head(0, 1000, 3000)
    start = disturbed(head, 0)
    marks = np.arange(0, len(head.vertices), 14)
    problem = Problem(
        head.vertices, head.faces, head.scan_vertices, head.scan_faces, start,
        (marks, head.truth[marks]), 1,
    )  # fmt: skip
    before = errors(start.apply(head.vertices), head.truth, head.covered)
    after = errors(METHODS[name].register(problem), head.truth, head.covered)
    assert before is not None and after is not None and after.mean < before.mean
