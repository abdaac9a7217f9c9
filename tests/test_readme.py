"""The README: its examples run, and its tables are those of the code."""

import re
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import licp
from data_fixtures.contours import contours
from data_fixtures.headspace_tree import Extras, write_tree
from licp import cli, demo
from licp.cli.group import EPILOG
from licp.landmark_file import load_landmarks
from tests import heads

TEXT = (Path(__file__).parents[1] / "README.md").read_text("utf-8")


def table(heading: str) -> list[str]:
    """First cells of the first table after a text."""
    return re.findall(r"^\| ?`?([^|`]*?)`? *\|.*\n", TEXT.partition(heading)[2], re.M)


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    real, seen = licp.Morpher.morph, {}

    def once(self: licp.Morpher, scan: Any, **options: Any) -> licp.MorphResult:
        """Examples differ in how they call; the same morph again would show nothing new."""
        key = options.get("landmarks") is None
        if key not in seen:
            seen[key] = real(self, scan, **options)
        return seen[key]

    monkeypatch.setattr(licp.Morpher, "morph", once)
    space: dict[str, object] = {}
    examples = re.findall(r"^```python\n(.*?)^```", TEXT, re.M | re.S)
    assert len(examples) >= 4
    for example in examples:
        exec(example, space)
    assert isinstance(space["result"], licp.MorphResult)
    assert {"morphed.obj", "fit.png"} <= {p.name for p in tmp_path.iterdir()}


def test_examples_with_data_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    many, headspace, cameras, metrics = re.findall(r"^```py\n(.*?)^```", TEXT, re.M | re.S)

    @contextmanager
    def in_threads(*_: Any) -> Iterator[tuple[Executor, int]]:
        with ThreadPoolExecutor(1) as threads:
            yield threads, 1

    monkeypatch.setattr(sys.modules["licp.batch.many"], "open_executor", in_threads)
    licp.save_mesh("template.obj", licp.Mesh(*heads.arrays()))
    Path("folder_of_scans").mkdir()
    licp.save_mesh("folder_of_scans/one.ply", licp.Mesh(*heads.scan_arrays()))
    exec(many, {"__name__": "__main__"})
    assert len(licp.load_mesh("one.obj").vertices) == len(heads.template().vertices)

    extras = Extras(photographs=("1C",), size=(60, 80))
    write_tree(tmp_path / "tree", [1242], 3, vertices=2500, extras=extras, resolution=1000)
    Path("lyhm_subjects.txt").write_text("1242\n")
    space: dict[str, Any] = {}
    exec(headspace.replace("/data/headspace", str(tmp_path / "tree")), space)
    assert space["marks"]["jaw_8"] is not None
    assert space["lyhm"].keys() == ["01242"]
    exec(cameras, space)
    assert space["points"].hit.any()

    template, scan, fit = heads.template(), heads.scan(), heads.short_result()
    contour = scan.truth[contours(template)["jaw"]]
    space = {
        "result": fit, "scan": licp.Mesh(*heads.scan_arrays()), "template": template,
        "template_ids": template.landmarks, "positions": scan.vertices[scan.landmarks],
        "nose_vertices": template.regions["nose"], "size": heads.size(),
        "fits_and_contours": [(fit, contour), (fit, contour + 1.0)],
    }  # fmt: skip
    exec(metrics, space)
    assert len(space["errors"]) == 68
    assert space["regions"]["nose"].template_to_scan.median < 2
    assert 0.5 < space["found"].density < 1


def test_tables_are_complete() -> None:
    states = table("| state | the vertex |")
    assert states[1 : 1 + len(licp.State)] == [s.name for s in licp.State]
    codes = table("| exit code | |")
    documented = {line.split()[0] for line in EPILOG.split("\n")[2:] if line.strip()}
    assert set(codes[1 : 1 + len(documented)]) == documented
    assert all(f"`{field}`" in TEXT for field in licp.MorphResult.__dataclass_fields__)
    synopsis = re.search(r"^licp morph (.*?)^licp ", TEXT, re.M | re.S)
    assert synopsis is not None
    words = set(re.findall(r"[\w-]+", synopsis.group(1)))
    for option in cli.main.commands["morph"].params:  # type: ignore[attr-defined]
        names = [name.upper() if option.param_type_name == "argument" else name
                 for name in option.opts]  # fmt: skip
        assert words.intersection(names), option.name


def test_landmark_examples_are_read(tmp_path: Path) -> None:
    template = licp.load_mesh(demo.TEMPLATE)
    block = r"^```{}\n(.*?)^```"
    text = re.search(block.format(""), TEXT.partition("`landmarks` may be a file")[2], re.M | re.S)
    table_ = re.search(block.format("json"), TEXT, re.M | re.S)
    for found in (text, table_):
        assert found is not None
        (tmp_path / "marks").write_text(found.group(1))
        marks = load_landmarks(tmp_path / "marks", template)
        assert len(marks.positions) == 2
