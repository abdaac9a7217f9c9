"""The README: its examples run, and its tables are those of the code."""

import re
from pathlib import Path
from typing import Any

import pytest

import licp
from licp import cli, demo
from licp.cli.group import EPILOG
from licp.landmark_file import load_landmarks

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


def test_tables_are_complete() -> None:
    states = table("| state | the vertex |")
    assert states[1 : 1 + len(licp.State)] == [s.name for s in licp.State]
    codes = table("| exit code | |")
    documented = {line.split()[0] for line in EPILOG.split("\n")[2:] if line.strip()}
    assert set(codes[1 : 1 + len(documented)]) == documented
    assert all(f"`{field}`" in TEXT for field in licp.MorphResult.__dataclass_fields__)
    for option in cli.main.commands["morph"].params:  # type: ignore[attr-defined]
        assert any(name in TEXT for name in option.opts) or option.name in ("template", "scan")


def test_landmark_examples_are_read(tmp_path: Path) -> None:
    template = licp.load_mesh(demo.TEMPLATE)
    block = r"^```{}\n(.*?)^```"
    text = re.search(
        block.format(""), TEXT.partition("### Landmarks")[2].partition("On the")[2], re.M | re.S
    )
    table_ = re.search(block.format("json"), TEXT, re.M | re.S)
    for found in (text, table_):
        assert found is not None
        (tmp_path / "marks").write_text(found.group(1))
        marks = load_landmarks(tmp_path / "marks", template)
        assert len(marks.positions) == 2
