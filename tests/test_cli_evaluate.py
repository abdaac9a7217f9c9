"""``licp evaluate`` on the output of ``licp batch``: tables, pictures, what is missing or odd."""

import csv
import json
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

import licp
from data_fixtures.contours import CONTOUR_COLOURS
from data_fixtures.headspace_tree import Extras, write_tree
from licp import cli
from licp.evaluation.folder import open_batch

SUBJECTS = [1, 2, 3, 4, 5]
QUIRKS = {2: ("missing_landmarks",), 4: ("truncated_obj",)}


@contextmanager
def in_threads(executor: Executor | None, *_: Any) -> Iterator[tuple[Executor, int]]:
    with ThreadPoolExecutor(1) as threads:
        yield threads, 2


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, arguments, catch_exceptions=False)


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    """Workers are threads, and pictures small."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("batch", "evaluate"):
            patch.setattr(sys.modules[f"licp.cli.{name}"], "open_executor", in_threads)
        patch.setattr("licp.metrics.overlay._PANEL", (115, 135))
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with a batch of it; one scan is cut off, one has no landmarks."""
    folder = tmp_path_factory.mktemp("evaluate")
    extras = Extras(photographs=("1C", "2C"), size=(240, 320), annotations=True, truth=True)
    write_tree(folder / "tree", SUBJECTS, 3, QUIRKS, 3000, extras=extras, resolution=1000)
    about = json.loads((folder / "tree" / "template.json").read_text())
    (folder / "marks.txt").write_text(" ".join(map(str, about["landmarks"])))
    result = invoke(
        "batch", f"{folder}/tree/headspaceOnline", "--template", f"{folder}/tree/template.obj",
        "--out", f"{folder}/out", "--template-landmarks", f"{folder}/marks.txt",
        "--levels", "5", "-q",
    )  # fmt: skip
    assert result.exit_code == 7, result.output
    return folder


def run(folder: Path, *more: str, data: bool = True) -> Result:
    tree = folder / "tree"
    given = ["--data", str(tree), "--regions", str(tree / "template.json")] if data else []
    given += ["--annotations", str(tree / "annotations")] if data and "-A" not in more else []
    return invoke("evaluate", str(folder / "out"), *given, *[m for m in more if m != "-A"])


def content(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "evaluation.json").read_text())
    return found


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def whole(done: Path) -> tuple[Path, Result]:
    result = run(done)
    return done / "out" / "evaluation", result


def test_everything_is_measured(whole: tuple[Path, Result], done: Path) -> None:
    folder, result = whole
    assert result.exit_code == 0, result.output
    assert "4 scans measured" in result.output
    assert sorted(p.name for p in folder.iterdir()) == [
        "annotations.png", "contours.csv", "distance.png", "evaluation.json", "subjects.csv",
        "summary.md", "swapped.png",
    ]  # fmt: skip
    found = content(folder)
    assert found["scans"] == 4
    assert list(found["failed in the batch"]) == ["00004"]
    assert found["failed here"] == {}

    # Landmarks against what the files say, by another way.
    rows = {row["key"]: row for row in table(folder / "subjects.csv")}
    assert list(rows) == ["00001", "00002", "00003", "00005"]
    hs = licp.headspace.Headspace(done / "tree")
    marks = [int(x) for x in (done / "marks.txt").read_text().split()]
    for key in ("00001", "00005"):
        morph = licp.load_mesh(done / "out" / "meshes" / f"{key}.ply").vertices
        errors = np.linalg.norm(morph[marks] - hs[key].landmarks().positions, axis=1)
        assert float(rows[key]["landmarks_mean"]) == pytest.approx(errors.mean())
    assert rows["00002"]["landmarks_mean"] == ""
    assert "no landmarks" in rows["00002"]["notes"]
    assert found["landmarks"]["scans"] == 3
    assert set(found["landmarks"]["groups"]) == set(licp.headspace.IBUG68_GROUPS)

    # The neck is as close as the face; both ways are there.
    for name in ("face", "nose", "cranium"):
        assert 0 <= found["regions"][name]["template_to_scan_median"] < 1.0
        assert 0 <= found["regions"][name]["scan_to_template_median"] < 1.5
        assert 0.4 < found["regions"][name]["seen"] <= 1.0
        assert float(rows["00001"][f"{name}_to_scan_median"]) >= 0

    contours = {row["contour"]: row for row in table(folder / "contours.csv")}
    assert {"jaw", "brow_left", "lips_outer"} <= set(contours)
    for row in contours.values():
        assert 0 < float(row["density"]) <= 1
        assert 0 < float(row["homogeneity"]) <= 1
    widths = found["annotations"]["pooled"]
    assert [w["width"] for w in widths] == sorted(w["width"] for w in widths)
    assert widths[0]["density"] < widths[1]["density"] < widths[2]["density"]
    assert found["model"]["scans"] == 4 - len(found["flagged"])

    assert "something lacks in 1 scans (see summary.md): 00002: no landmarks" in result.output
    text = (folder / "summary.md").read_text()
    assert text.index("## Something lacks") < text.index("no landmarks: subject 00002")
    for word in ("## Landmarks", "## Annotations", "## Shape model", "00004", "| nose |"):
        assert word in text


def test_truth_is_judged_better_than_the_fits(done: Path, tmp_path: Path) -> None:
    """The same folder with the true positions, then with shuffled ones, in the place of fits."""
    pooled = []
    for name in ("true", "fit", "mixed"):
        folder = tmp_path / name
        shutil.copytree(done / "out", folder, ignore=shutil.ignore_patterns("evaluation"))
        template = licp.load_mesh(done / "tree" / "template.obj")
        for path in sorted((folder / "meshes").glob("*.ply")) if name != "fit" else []:
            with np.load(done / "tree" / "truth" / f"{path.stem}.npz") as truth:
                vertices: NDArray[np.float64] = truth["vertices"].astype(float)
            if name == "mixed":
                vertices = np.random.default_rng(int(path.stem)).permutation(vertices)
            licp.save_mesh(path, template.with_vertices(vertices))
        tree = done / "tree"
        result = invoke(
            "evaluate", str(folder), "--data", str(tree), "--annotations",
            str(tree / "annotations"), "-q",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        pooled.append(content(folder / "evaluation")["annotations"]["pooled"][1])
    true, fit, mixed = pooled
    for measure in ("density", "homogeneity"):
        assert true[measure] > fit[measure] + 0.02 > mixed[measure] + 0.3
    assert true["spread"] < fit["spread"] < mixed["spread"]
    assert true["density"] > 0.85  # what two views show differs from subject to subject


def test_painted_annotations(done: Path, whole: tuple[Path, Result], tmp_path: Path) -> None:
    painted = tmp_path / "painted"
    shutil.copytree(done / "tree" / "annotations", painted, ignore=shutil.ignore_patterns("*.json"))
    (painted / "colours.json").write_text(json.dumps(CONTOUR_COLOURS))
    result = run(done, "-A", "--annotations", str(painted), "-o", str(tmp_path / "e"), "-q")
    assert result.exit_code == 0, result.output
    drawn = content(whole[0])["annotations"]["pooled"][1]
    assert content(tmp_path / "e")["annotations"]["pooled"][1]["density"] == pytest.approx(
        drawn["density"], abs=0.02
    )


def test_contours_of_one_subject_are_told(done: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "drawn"
    shutil.copytree(done / "tree" / "annotations", drawn, ignore=shutil.ignore_patterns("*.png"))
    path = drawn / "00003" / "contours.json"
    views = json.loads(path.read_text())
    views["1C"]["scar"] = views["1C"]["brow_left"]
    path.write_text(json.dumps(views))
    result = run(done, "-A", "--annotations", str(drawn), "-o", str(tmp_path / "e"), "-q")
    assert result.exit_code == 0, result.output
    found = content(tmp_path / "e")["annotations"]
    assert found["not compared"] == {"scar": ["00003"]}
    assert "scar" not in {row["contour"] for row in found["contours"]}
    assert "beside them: scar (00003)." in (tmp_path / "e" / "summary.md").read_text()


def test_without_data_what_the_batch_knows(done: Path, tmp_path: Path) -> None:
    result = run(done, "-o", str(tmp_path / "e"), data=False)
    assert result.exit_code == 0, result.output
    found = content(tmp_path / "e")
    assert found["landmarks"] is None
    assert found["regions"] == {} and found["notes"] == {}
    assert "something lacks" not in result.output
    reports = [json.loads(p.read_text()) for p in (done / "out" / "reports").glob("*.json")]
    errors = [r["mean_expected_error"] for r in reports if "mesh" in r]
    assert found["expected error"] == pytest.approx(np.median(errors))
    assert found["expected error"] > 0
    assert found["fit"]["template_to_scan"]["median"] > 0
    assert not list((tmp_path / "e").glob("*.png"))


def test_too_few_fits_for_a_shape_model_are_told(done: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(done / "out", out, ignore=shutil.ignore_patterns("evaluation"))
    for key in ("00001", "00002"):
        path = out / "reports" / f"{key}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"flags": ["odd"]}))
    result = invoke("evaluate", str(out), "--template", str(done / "tree" / "template.obj"))
    assert content(out / "evaluation")["model"] is None
    why = "None: 2 fits are not flagged, and it takes 3."
    assert f"shape model: {why}" in result.output
    assert f"## Shape model\n\n{why}\n" in (out / "evaluation" / "summary.md").read_text()


def test_a_lost_scan_or_mesh_stops_nothing(done: Path, tmp_path: Path) -> None:
    out, tree = tmp_path / "out", tmp_path / "tree"
    shutil.copytree(done / "out", out, ignore=shutil.ignore_patterns("evaluation"))
    shutil.copytree(done / "tree", tree)
    (out / "meshes" / "00003.ply").write_bytes(b"ply\n")
    (out / "reports" / "00004.json").write_text("{")
    shutil.rmtree(tree / "headspaceOnline" / "subjects" / "00005")
    result = invoke("evaluate", str(out), "--data", str(tree), "--template",
                    str(done / "tree" / "template.obj"))  # fmt: skip
    assert result.exit_code == 7
    found = content(out / "evaluation")
    assert list(found["failed here"]) == ["00003"]
    assert found["notes"]["00005"] == ["no scan"]
    assert found["scans"] == 3


@pytest.mark.parametrize(
    "odd",
    [
        {"mesh": "00003.ply"},
        {"quality": None},
        {"quality": {"template_to_scan": {"median": "1"}, "scan_to_template": None}},
        {"flags": 3},
        {"flags": [None]},
        {"matched": "all"},
        {"mean_expected_error": None},
        {"converged": None},
        {"failure": "unknown", "mesh": None},
    ],
)
def test_reports_of_another_form_are_told(done: Path, tmp_path: Path, odd: dict[str, Any]) -> None:
    out = tmp_path / "out"
    shutil.copytree(done / "out", out, ignore=shutil.ignore_patterns("evaluation"))
    path = out / "reports" / "00003.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | odd))
    batch = open_batch(out, done / "tree" / "template.obj")
    assert "00003" not in batch.reports
    assert batch.failures["00003"].startswith("damaged report")
    assert set(batch.reports) == {"00001", "00002", "00005"}


def test_refused(done: Path, tmp_path: Path) -> None:
    assert "manifest.json" in invoke("evaluate", str(tmp_path)).output
    result = invoke("evaluate", str(done / "out"), "--annotations", str(tmp_path))
    assert result.exit_code == 2
    (tmp_path / "manifest.json").write_text('{"settings": []}')
    assert "none that `licp batch` wrote" in invoke("evaluate", str(tmp_path)).output
    other = licp.Mesh(*[np.eye(3), [[0, 1, 2]]])
    licp.save_mesh(tmp_path / "other.obj", other)
    result = invoke("evaluate", str(done / "out"), "--template", str(tmp_path / "other.obj"))
    assert result.exit_code == 3
    assert "is not the template" in result.output
    result = invoke("evaluate", str(done / "out"), "--template", str(tmp_path / "none.obj"))
    assert "--template" in result.output
    (tmp_path / "regions.json").write_text('{"nose": [0, 999999]}')
    result = run(done, "-A", "--regions", str(tmp_path / "regions.json"))
    assert result.exit_code == 3
    assert "nose" in result.output
