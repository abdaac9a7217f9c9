"""How many threads run: those of a search are the caller's choice, those of BLAS are one."""

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from licp.errors import InputError

__all__ = ["in_threads", "one_blas_thread", "search_threads"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def search_threads(threads: int | None) -> int:
    """The given number, or that of the processors this process may use."""
    if threads is None:
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1
    if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)) or threads < 1:
        raise InputError(f"threads must be a positive integer, not {threads!r}")
    return int(threads)


def in_threads(do: Callable[[Item], Result], items: Iterable[Item], workers: int) -> list[Result]:
    """Results in the order of the items; shared out to threads, for work that leaves Python."""
    if workers <= 1:
        return [do(item) for item in items]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(do, items))


class _OneBlasThread:
    """Holds BLAS to one thread while any morph of this process runs.

    The dense blocks of these factors are small: a second BLAS thread doubled the processor time
    and the wall time of a morph on a busy machine, and gained nothing on an idle one.  The number
    of BLAS threads belongs to the process, so overlapping morphs have to count themselves: the
    first one sets it and the last one restores it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._limits: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if self._running == 0:
                _aside(self._limit)
            self._running += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._running -= 1
            if self._running == 0:
                _aside(self._limits.restore_original_limits)

    def _limit(self) -> None:
        self._limits = threadpool_limits(1, user_api="blas")


def _aside(do: Callable[[], None]) -> None:
    # threadpoolctl lets only the thread that set a limit first set others, until that one ends.
    thread = threading.Thread(target=do)
    thread.start()
    thread.join()


one_blas_thread = _OneBlasThread()
