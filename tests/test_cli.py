"""The command line: files, exit codes, what is printed, and what is left behind."""

import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from click.testing import CliRunner, Result
from PIL import Image

import licp
from licp import cli, demo
from licp.cli.outputs import progress
from licp.errors import OverlapError, SolverError
from licp.morph import Iteration, Morpher

BALL = trimesh.creation.icosphere(2)
SHAPE = np.array([80.0, 100, 120])
VERTICES = BALL.vertices * SHAPE
FINE = trimesh.creation.icosphere(3)
MARKS = [12, 50, 90, 130, 20]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working folder with a template, a scan and landmarks."""
    licp.save_mesh(tmp_path / "template.obj", licp.Mesh(VERTICES, BALL.faces))
    bumpy = FINE.vertices * SHAPE * (1 + 0.08 * FINE.vertices[:, :1])
    licp.save_mesh(tmp_path / "scan.ply", licp.Mesh(bumpy + 7.0, FINE.faces))
    rows = np.column_stack([MARKS, VERTICES[MARKS] * (1 + 0.08 * BALL.vertices[MARKS, :1]) + 7.0])
    np.savetxt(tmp_path / "marks.txt", rows, fmt="%d %.6f %.6f %.6f")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, arguments)


def morph(*more: str, output: str = "out.obj") -> Result:
    base = ("morph", "template.obj", "scan.ply", "-o", output, "--landmarks", "marks.txt")
    return run(*base, *more)


def left(folder: Path) -> set[str]:
    """Names of files beyond the inputs."""
    return {p.name for p in folder.iterdir()} - {"template.obj", "scan.ply", "marks.txt"}


def test_morph_writes_mesh_report_and_picture(folder: Path) -> None:
    done = morph("--json", "out.json", "--picture", "out.png", "--vertex-data", "--threads", "1")
    assert done.exit_code == 0, done.output
    assert left(folder) == {"out.obj", "out.json", "out.png"}
    out = licp.load_mesh("out.obj")
    assert np.array_equal(out.faces, BALL.faces)
    assert Image.open("out.png").width > 1000
    report = json.loads(Path("out.json").read_text())
    assert report["licp"] == licp.__version__
    assert report["template"] == "template.obj"
    assert report["threads"] == 1
    assert report["quality"]["template_to_scan"]["median"] < 0.5
    assert len(report["state"]) == len(report["confidence"]) == len(out.vertices)
    # Nothing but the summary, and no bar where nobody looks.
    assert done.stdout.startswith("out.obj: 162 vertices, 100% matched, converged")
    assert "template to scan: median" in done.stdout
    assert done.stderr == ""


def test_output_is_what_the_library_gives(folder: Path) -> None:
    assert morph("--levels", "4", "--backend", "scipy", output="out.ply").exit_code == 0
    marks = licp.Landmarks(MARKS, np.loadtxt("marks.txt")[:, 1:])
    same = licp.morph(
        "template.obj",
        "scan.ply",
        landmarks=marks,
        backend="scipy",
        schedule=licp.Schedule.progressive(4),
    )
    assert np.allclose(licp.load_mesh("out.ply").vertices, same.vertices, atol=1e-9)


def test_global_start_and_rigid_reach_the_engine(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def spy(self: Morpher, scan: Any, **options: Any) -> None:
        seen.update(options)
        raise OverlapError("enough")

    monkeypatch.setattr(Morpher, "morph", spy)
    morph("--start", "global", "--rigid", "--threads", "3")
    assert (seen["start"], seen["rigid"], seen["threads"]) == ("global", True, 3)
    morph()
    assert (seen["start"], seen["rigid"], seen["threads"]) == (None, False, None)


def test_quiet_prints_nothing(folder: Path) -> None:
    done = morph("-q", "--levels", "8")
    assert (done.exit_code, done.output) == (0, "")
    assert left(folder) == {"out.obj"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["template.obj", "scan.ply"], 2, "--output"),
        (["template.obj", "scan.ply", "-o", "a.obj", "--threads", "0"], 2, "--threads"),
        (["template.obj", "scan.ply", "-o", "a.obj", "--start", "landmarks"], 2, "--landmarks"),
        (["template.obj", "scan.ply", "-o", "a.obj", "--vertex-data"], 2, "--json"),
        (["none.obj", "scan.ply", "-o", "a.obj"], 3, "none.obj: no such file"),
        (["template.obj", "cut.ply", "-o", "a.obj"], 3, "cut.ply"),
        (["template.obj", "scan.ply", "-o", "a.obj", "--landmarks", "bad"], 3, "bad, line 2"),
        (["template.obj", "scan.ply", "-o", "a.xyz"], 5, "a.xyz"),
        (["template.obj", "scan.ply", "-o", "no/a.obj"], 5, "no does not exist"),
        (["template.obj", "scan.ply", "-o", "a.obj", "--json", "no/a"], 5, "no does not exist"),
        (["template.obj", "scan.ply", "-o", "a.obj", "--picture", "a.gif"], 5, ".png"),
        (["template.obj", "scan.ply", "-o", "scan.ply"], 5, "is an input"),
        (["template.obj", "scan.ply", "-o", "a.obj", "--json", "./a.obj"], 5, "another output"),
    ],
)
def test_exit_codes_of_bad_calls(
    folder: Path, arguments: list[str], code: int, message: str
) -> None:
    Path("cut.ply").write_bytes(Path("scan.ply").read_bytes()[:2000])
    Path("bad").write_text("1 2 3 4\nnose 2 3 4\n")
    done = run("morph", *arguments)
    assert done.exit_code == code, done.output
    assert message in done.stderr
    assert done.stdout == ""
    assert left(folder) == {"cut.ply", "bad"}
    if code != 2:
        assert done.stderr.startswith("licp: error: ")
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [(SolverError("two\nlines"), 1), (OverlapError("two lines"), 4), (KeyboardInterrupt(), 130)],
)
def test_exit_codes_of_runs_that_end_early(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(Morpher, "morph", fail)
    done = morph("--json", "out.json")
    assert done.exit_code == code
    assert done.stderr == f"licp: error: {'interrupted' if code == 130 else 'two lines'}\n"
    assert left(folder) == set()


def test_not_converged_is_said_and_everything_is_written(folder: Path) -> None:
    done = morph("--levels", "1", "--json", "out.json")
    assert done.exit_code == 6
    assert done.stderr.startswith("licp: warning: not converged: the last step moved ")
    assert "NOT converged" in done.stdout
    assert json.loads(Path("out.json").read_text())["converged"] is False
    assert left(folder) == {"out.obj", "out.json"}


def test_nothing_half_written_and_older_files_survive(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("out.obj").write_text("older")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    done = morph("--levels", "8", "--json", "out.json")
    assert done.exit_code == 5
    assert "out.json: cannot be written: No space left on device" in done.stderr
    assert left(folder) == {"out.obj"}
    assert Path("out.obj").read_text() == "older"


def test_the_unit_is_said(folder: Path) -> None:
    done = morph("--levels", "2", "--unit", "furlongs")
    assert len(re.findall(r"\d furlongs$", done.stdout, re.M)) == 3
    plain = morph("--levels", "2")
    assert plain.stdout.count("in the unit of the scan") == 3


def test_a_missing_folder_is_said_once(folder: Path) -> None:
    done = morph(output="nowhere/out.obj")
    assert done.exit_code == 5
    assert done.stderr.count("nowhere/out.obj") == 1
    assert "does not exist; create it first" in done.stderr


def test_the_package_can_be_run() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "licp", "--version"], capture_output=True, text=True, check=True
    )
    assert licp.__version__ in done.stdout


def test_bar_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stage = licp.Schedule.progressive(1).stages[0]
    step = Iteration(3, 20, stage, np.zeros((1, 3)), 0.0, 0.9, 0.0, 0.0)
    for stream, quiet, shown in (
        (Terminal(), False, True),
        (Terminal(), True, False),
        (io.StringIO(), False, False),
    ):
        monkeypatch.setattr(sys, "stderr", stream)
        with progress(quiet) as callback:
            time.sleep(0.11)  # bars move ten times a second at most
            callback(step)
        assert ("3/20" in stream.getvalue()) is shown
        assert ("matched=90%" in stream.getvalue()) is shown


def test_help_documents_exit_codes_and_version() -> None:
    for command in ((), ("morph",), ("batch",), ("demo",)):
        lines = run(*command, "--help").output.partition("Exit codes:")[2].split("\n")
        codes = [int(line.split()[0]) for line in lines if line.strip()]
        assert codes == [0, 1, 2, 3, 4, 5, 6, 7, 130]
    assert run("--version").output == f"licp, version {licp.__version__}\n"


def test_regions_go_to_another_template_and_into_a_morph(folder: Path) -> None:
    high = np.flatnonzero(VERTICES[:, 2] > np.median(VERTICES[:, 2])).tolist()
    Path("known.json").write_text(json.dumps({"face": high, "all": list(range(len(VERTICES)))}))
    moved = run(
        "regions", "template.obj", "known.json", "scan.ply", "-o", "new.json",
        "--landmarks", "marks.txt",
    )  # fmt: skip
    assert moved.exit_code == 0 and "face" in moved.output
    found = licp.Regions.load("new.json", "scan.ply")
    assert abs(len(found["face"]) / len(FINE.vertices) - 0.5) < 0.1
    # Before anything is read, so before any work.
    early = run("regions", "none.obj", "none.json", "scan.ply", "-o", "new.txt")
    assert early.exit_code == 5 and "new.txt: regions are written as .json" in early.stderr
    assert morph("--regions", "known.json").exit_code == 0
    refused = morph("--regions", "new.json")
    assert refused.exit_code == 3 and "new.json: region" in refused.stderr
    assert morph("--regions", "known.json", output="known.json").exit_code == 5


def test_info() -> None:
    found = json.loads(run("info", "--json").output)
    assert found["licp"] == licp.__version__
    assert found["backend"]["active"] in run("info").output


def test_demo_on_its_own_data(folder: Path) -> None:
    done = run("demo", "-o", "new/folder")
    assert done.exit_code == 0, done.output
    assert all((Path("new/folder") / name).stat().st_size for name in ("report.json", "demo.png"))
    out, template = licp.load_mesh("new/folder/morph.obj"), licp.load_mesh(demo.TEMPLATE)
    assert np.array_equal(out.faces, template.faces)
    report = json.loads(Path("new/folder/report.json").read_text())
    assert report["quality"]["template_to_scan"]["median"] < 1.0
    assert report["quality"]["flipped_faces"] < 0.01 * len(out.faces)
    assert "compiles" in done.output
    assert "demo.png" in done.output


def test_demo_into_a_file_is_refused(folder: Path) -> None:
    done = run("demo", "-o", "scan.ply")
    assert done.exit_code == 5
    assert done.stderr.startswith("licp: error: scan.ply: cannot be made")


def test_materials_and_images_of_inputs_are_not_overwritten(folder: Path) -> None:
    Image.new("RGB", (2, 2)).save("skin.png")
    Path("skin.mtl").write_text("newmtl a\nmap_Kd skin.png\n")
    mesh = licp.Mesh(VERTICES, BALL.faces, uv=VERTICES[:, :2] / 240, uv_faces=BALL.faces)
    licp.save_mesh("scan.obj", mesh)
    text = Path("scan.obj").read_text()
    Path("scan.obj").write_text(f"mtllib skin.mtl\nusemtl a\n{text}")
    before = Path("skin.png").read_bytes(), Path("skin.mtl").read_bytes()
    for option, name in (("--picture", "skin.png"), ("--json", "skin.mtl")):
        done = run("morph", "template.obj", "scan.obj", "-o", "out.obj", option, name)
        assert done.exit_code == 5 and f"{name}: is an input" in done.stderr
    assert (Path("skin.png").read_bytes(), Path("skin.mtl").read_bytes()) == before


def test_names_that_are_too_long_are_told(folder: Path) -> None:
    done = morph(output="a" * 300 + ".obj")
    assert done.exit_code == 5 and "cannot be written" in done.stderr
