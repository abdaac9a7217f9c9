"""Throughput of workers and their memory.

``python -m benchmarks.batch TEMPLATE FOLDER [WORKERS [ROUNDS]]``: morphs the template to all scans
of a folder (``.ply``, ``.obj``), ROUNDS times over, with one worker and with WORKERS (2), and
prints scans a minute once all workers are under way, their ratio, and the memory (RSS, MiB) of the
workers while it goes on.  With WORKERS 1 there is the memory only.  Processor seconds a scan tell
what workers cost each other when something else uses the machine, and scans a minute do not.
"""

import multiprocessing
import os
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

import licp
from benchmarks.heads import load_template
from licp.batch import WorkerPool


def measure(morpher: licp.Morpher, scans: list[Path], workers: int, rounds: int) -> float:
    """Scans a minute, from when each worker has done two."""
    work = (((r, path), path) for r in range(rounds) for path in scans)
    finished, used, memory = [], [], defaultdict(list)
    tick = os.sysconf("SC_CLK_TCK")
    with WorkerPool(workers) as pool:
        for _, result in licp.morph_many(morpher, work, pool):
            if isinstance(result, licp.Failure):
                sys.exit(str(result))
            finished.append(time.perf_counter())
            used.append(0.0)
            for process in multiprocessing.active_children():
                stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
                used[-1] += (int(stat[11]) + int(stat[12])) / tick
                memory[process.pid].append(int(stat[21]) * os.sysconf("SC_PAGESIZE") / 2**20)
    first = 2 * workers
    # The last ones run beside idle workers.
    last = len(finished) - workers
    rate = 60 * (last - first) / (finished[last] - finished[first])
    each = (used[last] - used[first]) / (last - first)
    print(f"{workers} workers: {rate:.1f} scans a minute, {each:.2f} processor seconds each")
    for pid, sizes in memory.items():
        if len(sizes) > 10:
            at = np.linspace(4, len(sizes) - 1, 9).astype(int)
            print(f"  memory of {pid}: " + " ".join(f"{k}: {sizes[k]:.0f}" for k in at))
    return rate


def main(template: Path, folder: Path, workers: int = 2, rounds: int = 1) -> None:
    """Print both rates."""
    scans = sorted(p for p in folder.iterdir() if p.suffix in (".obj", ".ply"))
    morpher = licp.Morpher(load_template(template)[:2])
    one = measure(morpher, scans, 1, rounds)
    if workers > 1:
        print(f"ratio {measure(morpher, scans, workers, rounds) / one:.2f}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
