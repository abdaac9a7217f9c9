"""``licp batch``: outputs, resuming, what makes it start again, failures, data sets."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import licp
from data_fixtures.headspace_tree import write_tree
from licp import cli
from licp.batch.fit import FitJob, fit_to_files, load_template_landmarks
from licp.batch.records import Row
from licp.landmark_file import load_landmarks
from licp.solver import default_backend
from tests import heads
from tests.test_batch import environment

KEYS = ["a", "b", "c"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working folder with a template and scans, one of them cut off; batches run in threads."""
    licp.save_mesh(tmp_path / "template.obj", licp.Mesh(*heads.arrays()))
    (tmp_path / "scans").mkdir()
    for shift, key in enumerate(KEYS):
        write_scan(tmp_path / "scans" / f"{key}.ply", 10.0 * shift)
    whole = (tmp_path / "scans" / "a.ply").read_bytes()
    (tmp_path / "scans" / "broken.ply").write_bytes(whole[:9999])
    (tmp_path / "scans" / "readme.txt").write_text("no scan")

    @contextmanager
    def in_threads(executor: Executor | None, *_: Any) -> Iterator[tuple[Executor, int]]:
        if executor is not None:
            yield executor, 4
        else:
            with ThreadPoolExecutor(1) as threads:
                yield threads, 2

    monkeypatch.setattr(sys.modules["licp.cli.batch"], "open_executor", in_threads)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_scan(path: Path, shift: float) -> None:
    scan, template = heads.scan(), heads.template()
    licp.save_mesh(path, licp.Mesh(scan.vertices + shift, scan.faces))
    rows = np.column_stack([template.landmarks, scan.vertices[scan.landmarks] + shift])
    np.savetxt(path.with_suffix(".landmarks.txt"), rows, fmt="%d %.5f %.5f %.5f")


def command(*more: str, root: str = "scans") -> list[str]:
    base = ["batch", root, "--template", "template.obj", "--out", "out"]
    base += ["--backend", default_backend()]  # other processes have a default of their own
    return [*base, *([] if "--levels" in more else ["--levels", "4"]), *more]


def run(*more: str, root: str = "scans") -> Result:
    return CliRunner().invoke(cli.main, command(*more, root=root), catch_exceptions=False)


def table(name: str = "quality.csv") -> dict[str, dict[str, str]]:
    with open(Path("out") / name, newline="") as file:
        return {row["key"]: row for row in csv.DictReader(file)}


def report(key: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((Path("out/reports") / f"{key}.json").read_text())
    return content


def stamps() -> dict[str, int]:
    """When each report was written."""
    return {p.stem: p.stat().st_mtime_ns for p in Path("out/reports").glob("*.json")}


def redone(before: dict[str, int]) -> set[str]:
    return {key for key, when in stamps().items() if before.get(key) != when}


def test_outputs_tables_and_exit_code(folder: Path) -> None:
    done = run("--vertex-data")
    assert done.exit_code == 7
    assert "3 done, " in done.stdout
    assert "1 failed" in done.stdout
    assert "broken (read): MeshFileError: " in done.stdout
    assert {p.name for p in Path("out").iterdir()} == {
        "manifest.json", "meshes", "reports", "quality.csv", "quality.parquet", "failures.csv",
    }  # fmt: skip
    assert {p.name for p in Path("out/meshes").iterdir()} == {f"{k}.ply" for k in KEYS}
    manifest = json.loads(Path("out/manifest.json").read_text())
    assert manifest["licp"] == licp.__version__
    assert len(manifest["settings"]["schedule"]["stages"]) == 4
    for key in KEYS:
        assert report(key)["manifest"] == manifest["digest"]
        mesh = licp.load_mesh(Path("out/meshes") / f"{key}.ply")
        assert np.array_equal(mesh.faces, heads.arrays()[1])
        assert len(report(key)["confidence"]) == len(mesh.vertices)
    # Landmarks beside the scan are used: the same as by hand.
    mesh = licp.load_mesh("template.obj")
    marks = load_landmarks("scans/b.landmarks.txt", mesh)
    alone = licp.morph(
        mesh, "scans/b.ply", landmarks=marks, schedule=licp.Schedule.progressive(4), threads=1
    )
    assert np.array_equal(licp.load_mesh("out/meshes/b.ply").vertices, alone.vertices)
    rows = table()
    assert set(rows) == set(KEYS)
    assert float(rows["b"]["template_to_scan_p95"]) == alone.quality.template_to_scan.p95  # type: ignore[union-attr]
    assert rows["b"]["file"] == "b.ply"
    failures = table("failures.csv")
    assert set(failures) == {"broken"}
    assert (failures["broken"]["phase"], failures["broken"]["error"]) == ("read", "MeshFileError")
    assert report("broken")["failure"]["message"] in failures["broken"]["message"]


def test_parquet_has_the_same_numbers(folder: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    run()
    rows = parquet.read_table("out/quality.parquet").to_pylist()
    assert [row["key"] for row in rows] == KEYS
    for row in rows:
        text = table()[row["key"]]
        assert set(text) == set(row)
        assert float(text["edge_distortion_p05"]) == row["edge_distortion_p05"]
        assert isinstance(row["flipped_faces"], int)


def test_a_second_start_does_what_is_left(folder: Path) -> None:
    run()
    first, before = table(), stamps()
    assert run().exit_code == 7
    assert redone(before) == {"broken"}  # failures are tried again
    assert table() == first

    write_scan(folder / "scans" / "broken.ply", 30.0)
    Path("out/meshes/a.ply").write_bytes(Path("out/meshes/a.ply").read_bytes()[:-1] + b"x")
    Path("out/reports/b.json").write_text('{"key": "b", "mani')
    Path("out/meshes/.c.ply.0123.part").write_text("half")
    before = stamps()
    done = run()
    assert done.exit_code == 0
    assert redone(before) == {"a", "b", "broken"}
    assert "4 scans, 1 of them done before" in done.stdout
    assert not list(Path("out").rglob("*.part"))
    assert set(table()) == {*KEYS, "broken"}
    assert table("failures.csv") == {}
    for column in set(first["a"]) - {"seconds"}:
        assert table()["a"][column] == first["a"][column]

    before = stamps()
    assert run().exit_code == 0
    assert redone(before) == set()


def test_other_settings_template_or_version_do_everything_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("scans/broken.ply").unlink()
    run()
    for change in ("rigid", "template", "version", "landmarks"):
        before, more = stamps(), []
        if change == "rigid":
            more = ["--rigid"]
        elif change == "template":
            with open("template.obj", "a") as file:
                file.write("# another\n")
        elif change == "version":
            monkeypatch.setattr("licp.batch.records.__version__", "99")
        else:
            more = ["--no-landmarks"]
        done = run(*more)
        assert redone(before) == set(KEYS), change
        (line,) = (x for x in done.stdout.splitlines() if x.endswith("; everything is done again"))
        assert change in line.removeprefix("changed: ")
        assert "regions" not in line and "backend" not in line


def test_another_format_leaves_no_meshes_of_the_last(folder: Path) -> None:
    Path("scans/broken.ply").unlink()
    run("--levels", "2")
    run("--levels", "3", "--format", "obj")
    assert {p.name for p in Path("out/meshes").iterdir()} == {f"{key}.obj" for key in KEYS}


def test_half_of_a_change_is_seen(folder: Path) -> None:
    run()
    changed = json.loads(Path("out/manifest.json").read_text())
    Path("scans/c.ply").unlink()
    run("--levels", "3")  # a and b, as if stopped before c
    write_scan(folder / "scans" / "c.ply", 20.0)
    before = stamps()
    assert set(table()) == {"a", "b"}
    run("--levels", "3")
    assert redone(before) == {"c", "broken"}
    assert report("c")["manifest"] != changed["digest"]
    assert set(table()) == set(KEYS)


def test_another_scan_of_that_name_is_done_again_and_its_failure_leaves_no_old_mesh(
    folder: Path,
) -> None:
    run()
    Path("scans/a.ply").write_bytes(Path("scans/a.ply").read_bytes()[:9000])
    before = stamps()
    done = run()
    assert redone(before) == {"a", "broken"}
    assert "2 done" in done.stdout
    assert not Path("out/meshes/a.ply").exists()
    assert set(table()) == {"b", "c"}
    assert set(table("failures.csv")) == {"a", "broken"}


def test_another_content_of_that_length_is_done_again_and_another_time_is_not(
    folder: Path,
) -> None:
    Path("scans/broken.ply").unlink()
    run()
    before, rows = stamps(), table()
    scan, marks = Path("scans/b.ply"), Path("scans/c.landmarks.txt")
    for path in folder.glob("scans/*"):
        os.utime(path, ns=(0, 1))  # as after a copy that keeps no times
    assert "3 scans, 3 of them done before" in run().stdout
    assert redone(before) == set()

    sizes = scan.stat().st_size, marks.stat().st_size
    mesh = licp.load_mesh(scan)
    licp.save_mesh(scan, mesh.with_vertices(mesh.vertices + 1.0))
    marks.write_text(marks.read_text().replace("1", "2"))
    assert (scan.stat().st_size, marks.stat().st_size) == sizes
    run()
    assert redone(before) == {"b", "c"}
    assert table()["a"] == rows["a"]
    # What is known of too little to tell is done again.
    known = report("a")
    del known["source"]["scan_sha256"]
    Path("out/reports/a.json").write_text(json.dumps(known))
    before = stamps()
    run()
    assert redone(before) == {"a"}


def hang_when_written(morpher: licp.Morpher, job: FitJob, begin: Callable[[str], None]) -> Row:
    """Do the job, and of scan c never say so."""
    row = fit_to_files(morpher, job, begin)
    if job.key == "c":
        time.sleep(3600)
    return row


# Where tests run in the background of a shell, signals of its keyboard are ignored.
HANGING = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from licp.cli import main
from tests.test_cli_batch import hang_when_written
sys.modules["licp.cli.batch"].fit_to_files = hang_when_written
main()
"""


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_stopped_before_a_worker_is_heard_and_started_again(
    folder: Path, sign: signal.Signals, code: int
) -> None:
    Path("scans/broken.ply").unlink()
    for shift, key in enumerate("de", 3):
        write_scan(folder / "scans" / f"{key}.ply", 10.0 * shift)
    process = subprocess.Popen(
        [sys.executable, "-c", HANGING, *command("--workers", "1")],
        env=environment() | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 180
    while not Path("out/reports/c.json").is_file():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(sign)
    _, errors = process.communicate(timeout=180)  # ends when the workers have let go, too
    assert process.returncode == code
    before = stamps()
    assert set(before) == {"a", "b", "c"}
    if sign == signal.SIGINT:
        assert errors == "licp: error: interrupted\n"
        assert set(table()) == set(before)
        interrupted = table()
    done = run()
    assert done.exit_code == 0
    assert redone(before) == {"d", "e"}
    assert set(table()) == set(stamps()) == {p.stem for p in Path("out/meshes").iterdir()}
    assert len(table()) == 5
    if sign == signal.SIGINT:
        assert {key: table()[key] for key in before} == interrupted
    assert not list(Path("out").rglob("*.part"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3", "line 1"),  # cut off
        ("999999 1 2 3\n", "no vertex 999999"),
        ("", "no landmarks in the file"),
    ],
)
def test_landmarks_of_no_use_are_left_out_and_it_is_said(
    folder: Path, text: str, message: str
) -> None:
    for key in ("b", "c", "broken"):
        Path(f"scans/{key}.ply").unlink()
    Path("scans/a.landmarks.txt").write_text(text)
    done = run("--levels", "2")
    assert done.exit_code == 0
    assert message in done.stdout
    (note,) = report("a")["notes"]
    assert note.startswith("no landmarks: ")
    assert message in note
    assert table()["a"]["notes"] == note
    alone = licp.morph(
        "template.obj", "scans/a.ply", schedule=licp.Schedule.progressive(2), threads=1
    )
    assert np.array_equal(licp.load_mesh("out/meshes/a.ply").vertices, alone.vertices)
    # The file is part of the source: once it is right, the scan is done again, with it.
    write_scan(Path("scans/a.ply"), 0.0)
    run("--levels", "2")
    assert report("a")["notes"] == []
    assert table()["a"]["notes"] == ""


def test_landmarks_the_template_cannot_follow_are_left_out(folder: Path) -> None:
    for key in ("b", "c", "broken"):
        Path(f"scans/{key}.ply").unlink()
    vertices, faces = heads.arrays()
    n = len(vertices)
    speck = vertices[0] + np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    mesh = licp.Mesh(
        np.concatenate([vertices, speck]), np.concatenate([faces, [[n, n + 1, n + 2]]])
    )
    licp.save_mesh("template.obj", mesh)
    Path("scans/a.landmarks.txt").write_text(f"{n} 1 2 3\n")
    assert run("--levels", "2").exit_code == 0
    (note,) = report("a")["notes"]
    assert "small separate part" in note


@pytest.mark.parametrize("root", ["tree", "tree/headspaceOnline", "tree/headspaceOnline/subjects"])
def test_headspace_is_found_with_meshes_beside_it(folder: Path, root: str) -> None:
    write_tree(folder / "tree", [1], 3, vertices=2500)
    for name in ("template.obj", "other.ply"):
        licp.save_mesh(Path(root, name), licp.Mesh(*heads.arrays()))
    done = run("--template", f"{root}/template.obj", "--levels", "1", root=root)
    assert done.exit_code == 0, done.output
    assert set(table()) == {"00001"}
    assert "its 1 files .obj and .ply (other.ply) are not" in done.stderr


def test_the_template_is_no_scan_and_a_number_no_subject(folder: Path) -> None:
    for key in ("b", "c", "broken"):
        Path(f"scans/{key}.ply").unlink()
    Path("scans/mean.obj").symlink_to(folder / "template.obj")
    Path("scans/2024").mkdir()
    Path("scans/2024/readme.txt").write_text("nothing")
    assert run("--levels", "1").exit_code == 0
    assert set(table()) == {"a"}
    Path("scans/a.ply").unlink()
    Path("scans/2024/readme.txt").unlink()
    Path("scans/2024").rmdir()
    done = run("--levels", "1")
    assert done.exit_code == 3
    assert "nor is there an .obj or .ply beside the template" in done.stderr


def test_headspace_says_what_its_scans_suffer_from(folder: Path) -> None:
    quirks = {1: ["truncated_landmarks"], 2: ["missing_metadata"]}
    write_tree(folder / "tree", [1, 2], 3, quirks, vertices=2500)
    about = Path("tree/headspaceOnline/subjects/00001/subject.txt")
    text = re.sub(
        r"(?m)^(hairBulge|capArtefact|cranialHole|underChinHole)Flag:.*\n", "", about.read_text()
    )
    about.write_text(text + "cranialHoleFlag:1\nunderChinHoleFlag:0\ncapArtefactFlag:perhaps\n")
    np.savetxt("ibug.txt", heads.template().landmarks, fmt="%d")
    marks = ["--template-landmarks", "ibug.txt", "--levels", "2"]
    assert run(*marks, root="tree").exit_code == 0
    assert report("00001")["metadata"] == {
        "chin_hole": False, "cranial_hole": True, "cap_artefact": None, "hair_bulge": None,
    }  # fmt: skip
    rows = table()
    flags = ["chin_hole", "cranial_hole", "cap_artefact", "hair_bulge"]
    assert [rows["00001"][f] for f in flags] == ["False", "True", "", ""]
    assert [rows["00002"][f] for f in flags] == [""] * 4
    assert "expected 68 landmarks" in rows["00001"]["notes"]
    assert report("00002")["notes"] == []
    unused = "cranial_hole: not used, the template has no region cranium"
    assert report("00001")["adjusted"] == [unused] and rows["00001"]["adjusted"] == unused
    assert rows["00002"]["adjusted"] == ""
    before = stamps()
    assert run(*marks, root="tree").exit_code == 0
    assert redone(before) == set()

    licp.Regions(heads.template().regions, len(heads.template().vertices)).save("regions.json")
    assert run(*marks, "--regions", "regions.json", root="tree").exit_code == 0
    assert redone(before) == {"00001", "00002"}
    flag, told = report("00001")["adjusted"]
    assert flag == "cranial_hole" and re.fullmatch(
        r"left out \d+ of \d+ vertices at the edge of a hole", told
    )
    assert table()["00002"]["adjusted"] == ""

    before = stamps()
    about.write_text(
        about.read_text() + "colourOfTheDoor:red\n"
    )  # nothing that a fit may suffer from
    assert run(*marks, "--regions", "regions.json", root="tree").exit_code == 0
    assert redone(before) == set()
    about.write_text(about.read_text().replace("cranialHoleFlag:1", "cranialHoleFlag:0"))
    assert run(*marks, "--regions", "regions.json", root="tree").exit_code == 0
    assert redone(before) == {"00001"} and report("00001")["adjusted"] == []


def test_headspace_with_landmarks_filters_and_a_subject_without_scan(folder: Path) -> None:
    quirks = {2: ["no_scan"], 3: ["missing_landmarks"]}
    write_tree(folder / "tree", [1, 2, 3], 3, quirks, vertices=2500)
    np.savetxt("ibug.txt", heads.template().landmarks, fmt="%d")
    marks = ["--template-landmarks", "ibug.txt"]
    assert run(*marks, root="tree").exit_code == 7
    assert set(table()) == {"00001", "00003"}
    assert "00002 has no scan" in table("failures.csv")["00002"]["message"]
    assert report("00001")["source"]["landmarks"].startswith("ldmks")
    assert report("00003")["source"]["landmarks"] is None
    assert "00003 has no landmarks" in table()["00003"]["notes"]
    before = stamps()
    assert run(*marks, "--select", "has=scan", root="tree").exit_code == 0
    assert redone(before) == set()
    # What is not selected stays in the table.
    assert set(table()) == {"00001", "00003"}
    nobody = run("--select", "age=200:300", root="tree")
    assert nobody.exit_code == 3
    assert "no subject is left" in nobody.stderr


def test_template_landmarks_are_read_from_text_and_json(tmp_path: Path) -> None:
    ids = heads.template().landmarks
    texts = {
        "marks.txt": " ".join(map(str, ids)),
        "list.json": json.dumps(ids.tolist()),
        "about.json": json.dumps({"landmarks": ids.tolist(), "regions": {}}),
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        found = load_template_landmarks(tmp_path / name, licp.Mesh(*heads.arrays()))
        assert np.array_equal(found, ids)
    wrong = (
        ("[0.9, 1]", "whole numbers"),
        ("[true]", "whole numbers"),
        ('{"marks": []}', '"landmarks"'),
        ("[1, 2]", "found 2"),
        ("3", "no file"),
    )
    for text, message in wrong:
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(licp.LandmarkError, match=message):
            load_template_landmarks(tmp_path / "bad.json", licp.Mesh(*heads.arrays()))


def test_dask_scheduler_whose_workers_come_late(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed")
    said: list[str] = []

    def say(line: str, **_: Any) -> None:
        said.append(line)
        if "the cluster has no workers" in line:
            cluster.scale(1)

    monkeypatch.setattr("tqdm.tqdm.write", say)
    monkeypatch.setattr(sys.modules["licp.cli.batch"], "_LOOK", 0.05)
    with distributed.LocalCluster(
        n_workers=0, processes=False, dashboard_address=None, silence_logs=50
    ) as cluster:
        done = run("--scheduler", cluster.scheduler_address)
    assert done.exit_code == 7
    assert [line.split(":")[0] for line in said] == ["the cluster has no workers", "broken"]
    assert set(table()) == set(KEYS)
    assert set(table("failures.csv")) == {"broken"}


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--workers", "2", "--scheduler", "tcp://localhost:1"], 2, "--scheduler"),
        (["--timeout", "9", "--scheduler", "tcp://localhost:1"], 2, "--timeout"),
        (["--timeout", "0"], 2, "--timeout"),
        (["--select", "sex=female"], 2, "Headspace tree"),
        (["--template-landmarks", "scans/readme.txt"], 3, "no file of vertex numbers"),
        (["--template", "none.obj"], 3, "none.obj: no such file"),
        (["--out", "template.obj"], 5, "template.obj"),
    ],
)
def test_bad_calls(folder: Path, more: list[str], code: int, message: str) -> None:
    done = run(*more)
    assert done.exit_code == code, done.output
    assert message in done.stderr
    assert not Path("out").exists()


_HOLD = """
import sys, time
from pathlib import Path
from licp.files import sole_writer
with sole_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such locks")
def test_two_batches_do_not_write_to_one_folder(folder: Path) -> None:
    place = [sys.executable, "-c", _HOLD, str(folder / "out")]
    with subprocess.Popen(place, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        done = run()
        assert done.exit_code == 5 and "another process is writing there" in done.stderr
        assert os.listdir("out") == []
        other.kill()
    assert run().exit_code == 7
    assert set(table()) == {"a", "b", "c"}


def test_roots_that_hold_nothing(folder: Path) -> None:
    (folder / "empty").mkdir()
    assert run(root="empty").exit_code == 3
    assert "no such folder" in run(root="nowhere").stderr
    (folder / "scans" / "a.obj").write_text("v 0 0 0\n")
    done = run()
    assert done.exit_code == 3
    assert "a.ply and a.obj" in done.stderr
    assert os.listdir("empty") == []


def test_names_that_are_no_text_stop_nothing(folder: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    try:
        os.rename("scans/c.ply", f"scans/{odd}.ply")
    except OSError:
        pytest.skip("this file system takes no such name")
    assert run("--levels", "1").exit_code == 7  # of the broken one
    assert set(table()) == {"a", "b", "caf\\udce9"}
    before = stamps()
    run("--levels", "1")
    assert redone(before) == {"broken"}


@pytest.mark.parametrize("name", ["quality.csv", "failures.csv"])
def test_tables_that_cannot_be_written_are_told_before_any_work(folder: Path, name: str) -> None:
    Path("out", name).mkdir(parents=True)
    done = run()
    assert done.exit_code == 5 and f"{name}: is a folder" in done.stderr
    assert not list(Path("out/reports").iterdir())


@pytest.mark.parametrize("text", ['{"quality": null}', '{"seconds": 3}', "[" * 100_000])
def test_reports_of_another_shape_are_made_again(folder: Path, text: str) -> None:
    run("--levels", "1")
    path = Path("out/reports/a.json")
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole | json.loads(text)) if text[0] == "{" else text)
    before = stamps()
    run("--levels", "1")
    assert redone(before) == {"a", "broken"} and set(table()) == set(KEYS)
