"""Throughput of workers, and their memory as scans go by.

One worker and several take turns, so that what else the machine does falls on both alike.
"""

import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

import licp
from benchmarks.heads import HeadSet
from benchmarks.report import Panel, curves, environment, provenance, table, write_json
from licp.batch import WorkerPool

__all__ = ["FULL", "QUICK", "Batches", "Plan"]

Record = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes
    ----------
    rounds : int
        Turns of one worker and of all.
    scans : int
        Morphs a turn; heads come up again and again.
    """

    rounds: int
    scans: int


_TICKS = os.sysconf("SC_CLK_TCK")
FULL = Plan(5, 40)
QUICK = Plan(2, 12)


class _Crew:
    """Workers that stay, and what they have used; the system must have /proc."""

    def __init__(self, morpher: licp.Morpher, workers: int) -> None:
        before = {p.pid for p in multiprocessing.active_children()}
        self.morpher, self.pool = morpher, WorkerPool(workers)
        self.workers, self._before = workers, before
        self.done = 0
        self.memory: list[tuple[int, float]] = []

    def turn(self, scans: Sequence[Path]) -> Record:
        """Morph all; rates are of the time in which all workers were busy."""
        finished, used, busy = [], [], []
        for _, result in licp.morph_many(self.morpher, enumerate(scans), self.pool):
            if isinstance(result, licp.Failure):
                raise RuntimeError(str(result))
            seconds, megabytes = self._cost()
            finished.append(time.perf_counter())
            used.append(seconds)
            busy.append(_busy())
            self.done += 1
            self.memory.append((self.done, megabytes))
        first, last = self.workers, len(finished) - self.workers
        count = last - first
        elapsed, own = finished[last] - finished[first], used[last] - used[first]
        return {
            "workers": self.workers,
            "per_minute": 60 * count / elapsed,
            "processor_seconds": own / count,
            "others": max(busy[last] - busy[first] - own, 0.0) / elapsed,
        }

    def _cost(self) -> tuple[float, float]:
        """Processor seconds of all workers, and megabytes of the largest."""
        seconds, sizes = 0.0, [0.0]
        for process in multiprocessing.active_children():
            if process.pid not in self._before:
                stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
                seconds += (int(stat[11]) + int(stat[12])) / _TICKS
                sizes.append(int(stat[21]) * os.sysconf("SC_PAGESIZE") / 1e6)
        return seconds, max(sizes)


class Batches:
    """Records, one a turn, and a folder for them.

    Parameters
    ----------
    folder : Path
        ``results.json``, ``table.md`` and a picture are written there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.records: list[Record] = []
        self.memory: dict[str, list[tuple[int, float]]] = {}
        self.environment: Record = {}

    def run(self, plan: Plan, sets: Sequence[HeadSet], workers: int) -> Iterator[str]:
        """Measure everything, yielding a line when something is done."""
        self.environment = environment(1)
        for heads in sets:
            with tempfile.TemporaryDirectory() as folder:
                yield from self._set(plan, heads, workers, Path(folder))

    def _set(self, plan: Plan, heads: HeadSet, workers: int, folder: Path) -> Iterator[str]:
        scans = []
        for head in heads:
            scan = licp.Mesh(head.scan_vertices, head.scan_faces)
            scans.append(licp.save_mesh(folder / f"{head.name}.ply", scan))
        morpher = licp.Morpher((head.vertices, head.faces))
        # One after the other: a crew knows its workers by those that were there before.
        crews = []
        try:
            for count in dict.fromkeys((1, workers)):
                crew = _Crew(morpher, count)
                crews.append(crew)
                crew.turn(list(islice(cycle(scans), 6 * count)))  # set up, and warm
            for number in range(plan.rounds):
                for crew in crews:
                    record = crew.turn(list(islice(cycle(scans), plan.scans)))
                    self.records.append({"set": heads.name, "round": number, **record})
                    yield (
                        f"{heads.name}  {crew.workers} workers: {record['per_minute']:.1f} scans a "
                        f"minute, {record['processor_seconds']:.2f} processor seconds each"
                    )
        finally:
            for crew in crews:
                self.memory[f"{heads.name}, {crew.workers} workers"] = crew.memory
                crew.pool.kill()

    def write(self) -> None:
        """Write results and tables."""
        content = {
            "environment": self.environment, "records": self.records, "memory": self.memory,
        }  # fmt: skip
        write_json(self.folder / "results.json", content)
        (self.folder / "table.md").write_text(self.markdown())

    def markdown(self) -> str:
        """One row for each set and number of workers; medians over rounds, and their range."""
        rows = []
        for name in dict.fromkeys(r["set"] for r in self.records):
            mine = [r for r in self.records if r["set"] == name]
            counts = sorted({r["workers"] for r in mine})
            one = {r["round"]: r for r in mine if r["workers"] == counts[0]}
            for count in counts:
                several = [r for r in mine if r["workers"] == count]
                ratios = [r["per_minute"] / one[r["round"]]["per_minute"] for r in several]
                memory = self.memory[f"{name}, {count} workers"]
                quarter = [m for _, m in memory][len(memory) // 4 :]
                rows.append(
                    [
                        f"{name}, {count} worker{'s' * (count > 1)}",
                        _spread([r["per_minute"] for r in several], ".1f"),
                        _spread(ratios, ".2f"),
                        _spread([r["processor_seconds"] for r in several], ".2f"),
                        _spread([r["others"] for r in several], ".1f"),
                        f"{quarter[0]:.0f}",
                        f"{memory[-1][1]:.0f}",
                        f"{memory[-1][0]:,}",
                    ]
                )
        header = (
            "", "scans a minute", "x one worker", "processor seconds a scan",
            "processors others kept busy", "MB after a quarter", "MB at the end", "scans",
        )  # fmt: skip
        return f"{table(header, rows)}\n\n{provenance([self.environment])}\n"

    def pictures(self) -> Iterator[Path]:
        """Write memory against scans."""
        lines = [
            (name, [n for n, _ in rows], [m for _, m in rows], f"C{k}-")
            for k, (name, rows) in enumerate(self.memory.items())
        ]
        path = self.folder / "memory-versus-scans.png"
        curves(path, [Panel("largest worker", "scans so far", "MB", lines)])
        yield path


def _busy() -> float:
    """Seconds that all processors have been at work, for anybody."""
    user, nice, system = Path("/proc/stat").read_text().split()[1:4]
    return (int(user) + int(nice) + int(system)) / _TICKS


def _spread(values: Sequence[float], form: str) -> str:
    """Median, and from least to most in brackets."""
    return f"{np.median(values):{form}} ({min(values):{form}}-{max(values):{form}})"
