"""How many threads run: those of a search are the caller's choice, those of BLAS are one."""

import itertools
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from licp.checks import whole_number

__all__ = [
    "ALONE",
    "THREAD_VARIABLES",
    "Crew",
    "one_blas_thread",
    "search_threads",
    "slices",
]

# Environment variables that say how many threads BLAS, OpenMP and Numba start with.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)

Item = TypeVar("Item")
Result = TypeVar("Result")


def search_threads(threads: int | None) -> int:
    """The given number, or that of the processors this process may use."""
    if threads is None:
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1
    return whole_number(threads, "threads")


class Crew:
    """The thread that makes it and others, which help it with work that leaves Python.

    One crew serves a whole run, since starting a thread takes a while.  Whoever is free takes what
    is next, so nothing waits for a thread that is busy with something else.

    Parameters
    ----------
    workers : int
        Threads, this one included.

    Examples
    --------
    >>> with Crew(2) as crew:
    ...     larger = crew.begin(max, 2, 3)
    ...     crew.share(abs, [-1, 2, -3]), larger()
    ([1, 2, 3], 3)
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool = ThreadPoolExecutor(workers - 1) if workers > 1 else None

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def begin(self, do: Callable[..., Result], *arguments: Any) -> Callable[[], Result]:
        """Have something done aside; what is returned tells the result, and does it if nobody has.

        Alone, it is done at once.
        """
        if self._pool is None:
            done = do(*arguments)
            return lambda: done
        future = self._pool.submit(do, *arguments)
        return lambda: do(*arguments) if future.cancel() else future.result()

    def share(self, do: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Do something with each item; results in their order."""
        each = list(items)
        if self._pool is None or len(each) < 2:
            return [do(item) for item in each]
        results: dict[int, Result] = {}
        numbers = itertools.count()

        def work() -> None:
            while (number := next(numbers)) < len(each):
                results[number] = do(each[number])

        helpers = [self._pool.submit(work) for _ in range(min(self.workers, len(each)) - 1)]
        work()
        for helper in helpers:
            if not helper.cancel():
                helper.result()
        return [results[number] for number in range(len(each))]

    def share_rows(self, do: Callable[..., Any], *rows: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Do something with some rows of arrays of one length at a time; its arrays, joined."""
        # More parts than threads: one may come late.
        parts = 2 * self.workers if self.workers > 1 else 1
        found = self.share(
            lambda part: do(*(array[part] for array in rows)), slices(len(rows[0]), parts)
        )
        return tuple(np.concatenate(columns) for columns in zip(*found, strict=True))


ALONE = Crew(1)


def slices(count: int, parts: int) -> list[slice]:
    """So many items in about equal parts, none of them empty.

    Examples
    --------
    >>> slices(5, 2)
    [slice(0, 2, None), slice(2, 5, None)]
    """
    ends = np.linspace(0, count, max(min(parts, count), 1) + 1).astype(int)
    return [slice(int(a), int(b)) for a, b in itertools.pairwise(ends)]


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
    with ThreadPoolExecutor(1) as thread:
        thread.submit(do).result()


one_blas_thread = _OneBlasThread()
