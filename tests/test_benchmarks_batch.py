"""The benchmark of batches: a small run, its table and picture."""

from pathlib import Path

import pytest

from benchmarks.batch import Batches, Plan
from benchmarks.heads import HeadSet


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="needs /proc")
def test_a_small_run(tmp_path: Path) -> None:
    made = Batches(tmp_path)
    lines = list(made.run(Plan(1, 4), [HeadSet("generated", None, None, 1, 1000, 3000)], 1))
    assert len(lines) == 1
    (record,) = made.records
    assert record["workers"] == 1
    assert record["per_minute"] > 0
    assert record["processor_seconds"] > 0
    ((name, memory),) = made.memory.items()
    assert name == "generated, 1 workers"
    assert [n for n, _ in memory] == list(range(1, 6 + 4 + 1))
    assert 50 < memory[-1][1] < 2000


def test_table_and_picture(tmp_path: Path) -> None:
    made = Batches(tmp_path)
    made.environment = {
        "command": "c", "date": "d", "machine": "m", "load": 0, "threads": 1, "python": "3",
        "versions": {}, "commit": "x", "backend": "scipy",
    }  # fmt: skip
    for number, (one, two) in enumerate([(50.0, 100.0), (60.0, 90.0), (40.0, 76.0)]):
        for workers, rate in ((1, one), (2, two)):
            made.records.append({
                "set": "generated", "round": number, "workers": workers, "per_minute": rate,
                "processor_seconds": 1.0, "others": 0.0,
            })  # fmt: skip
    for workers in (1, 2):
        made.memory[f"generated, {workers} workers"] = [(n, 200.0 + n) for n in range(1, 9)]
    text = made.markdown()
    assert "| generated, 1 worker | 50.0 (40.0-60.0) | 1.00 (1.00-1.00) |" in text
    # Ratios are of turns beside each other.
    assert (
        "| generated, 2 workers | 90.0 (76.0-100.0) | 1.90 (1.50-2.00) | 1.00 (1.00-1.00) | "
        "0.0 (0.0-0.0) | 203 | 208 | 8 |"
    ) in text
    made.write()
    (path,) = made.pictures()
    assert path.read_bytes()[1:4] == b"PNG"
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "memory-versus-scans.png", "results.json", "table.md",
    ]  # fmt: skip
