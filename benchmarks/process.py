"""Run a function in a process of its own, which may hang, crash or eat all memory without harm."""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from licp.threads import THREAD_VARIABLES

__all__ = ["Cost", "Outcome", "isolated", "measured", "memory"]

_CHECKOUT = Path(__file__).resolve().parents[1]
_MEGABYTE = 2.0**20


@dataclass(frozen=True)
class Outcome:
    """What came back: a value, or why there is none."""

    value: Any
    failure: str | None


@dataclass(frozen=True)
class Cost:
    """What calls took.

    Attributes
    ----------
    seconds, processor : tuple of float
        Wall clock and processor time of each call.
    megabytes : float
        Most memory the process has held, above what it held at the given point.
    """

    seconds: tuple[float, ...]
    processor: tuple[float, ...]
    megabytes: float


def isolated(
    function: Callable[..., Any], *arguments: Any, timeout: float, threads: int
) -> Outcome:
    """Call a function of some module in a fresh process.

    Parameters
    ----------
    function : callable
        At the top level of an importable module.
    *arguments
        For it; they and its value are pickled.
    timeout : float
        Seconds until the process, imports included, is ended.
    threads : int
        For OpenMP, BLAS and Numba.
    """
    with tempfile.TemporaryDirectory() as folder:
        job, answer, log = (Path(folder) / name for name in ("job", "answer", "log"))
        job.write_bytes(pickle.dumps((function, arguments)))
        path = os.pathsep.join(filter(None, [str(_CHECKOUT), os.environ.get("PYTHONPATH")]))
        limits = dict.fromkeys(THREAD_VARIABLES, str(threads))
        environment = os.environ | limits | {"PYTHONPATH": path}
        with log.open("wb") as text:
            child = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.process", str(job), str(answer)],
                stdin=subprocess.DEVNULL,
                stdout=text,
                stderr=text,
                env=environment,
                start_new_session=True,
            )
            try:
                code = child.wait(timeout)
            except subprocess.TimeoutExpired:
                return Outcome(None, f"not done after {timeout:g} s")
            finally:
                _end(child)
        if code == 0:
            value, failure = pickle.loads(answer.read_bytes())
            return Outcome(value, failure)
        said = log.read_text(errors="replace").strip().splitlines()
        ended = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Outcome(None, f"crashed: {ended}" + (f", {said[-1]}" if said else ""))


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a process and those it started."""
    if child.poll() is not None:
        return
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    else:
        child.kill()
    child.wait()


def memory() -> tuple[float, float]:
    """Megabytes that this process holds, and the most it has held; NaN where that is not told."""
    with contextlib.suppress(OSError):
        # Not ru_maxrss: it starts with the size of the process that started this one.
        rows = dict(
            line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines()
        )
        held, most = (int(rows[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM"))
        return held, most
    with contextlib.suppress(ImportError):
        import resource

        unit = _MEGABYTE if sys.platform == "darwin" else 1024
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
        return most, most
    return float("nan"), float("nan")


def measured(
    call: Callable[[], Any], *, repeats: int, patience: float, above: float
) -> tuple[Any, Cost]:
    """Call until it was done often enough or took long enough; the last value and the cost.

    Parameters
    ----------
    call : callable
        Without arguments.
    repeats : int
        At most so many calls.
    patience : float
        No further call after so many seconds.
    above : float
        Megabytes not to count: what :func:`memory` said at some point before.
    """
    seconds: list[float] = []
    processor: list[float] = []
    while len(seconds) < repeats and sum(seconds) <= patience:
        wall, busy = time.perf_counter(), time.process_time()
        value = call()
        seconds.append(time.perf_counter() - wall)
        processor.append(time.process_time() - busy)
    return value, Cost(tuple(seconds), tuple(processor), memory()[1] - above)


def _main(job: Path, answer: Path) -> None:
    function, arguments = pickle.loads(job.read_bytes())
    try:
        told: tuple[Any, str | None] = (function(*arguments), None)
    except Exception as error:
        traceback.print_exc()
        told = (None, f"{type(error).__name__}: {error}".splitlines()[0][:200])
    answer.write_bytes(pickle.dumps(told))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]))
