"""How many threads run: those of a search are the caller's choice, those of BLAS are one."""

import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from licp.errors import InputError

__all__ = [
    "Share",
    "beside",
    "in_threads",
    "one_blas_thread",
    "search_threads",
    "sharing",
    "slices",
]

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


class Share(Protocol):
    """Does something with each item; results in their order."""

    def __call__(self, do: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]: ...


@contextmanager
def sharing(workers: int) -> Iterator[Share]:
    """Shares items out to this thread and others, for work that leaves Python.

    Examples
    --------
    >>> with sharing(2) as share:
    ...     share(abs, [-1, 2, -3])
    [1, 2, 3]
    """
    if workers <= 1:
        yield lambda do, items: [do(item) for item in items]
        return
    with ThreadPoolExecutor(workers - 1) as pool:

        def share(do: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
            results: dict[int, Result] = {}
            waiting: SimpleQueue[tuple[int, Item]] = SimpleQueue()
            for numbered in enumerate(items):
                waiting.put(numbered)

            def work() -> None:
                with suppress(Empty):
                    while True:
                        number, item = waiting.get_nowait()
                        results[number] = do(item)

            others = [pool.submit(work) for _ in range(min(workers, waiting.qsize()) - 1)]
            work()
            for each in others:
                each.result()
            return [results[number] for number in sorted(results)]

        yield share


def in_threads(do: Callable[[Item], Result], items: Iterable[Item], workers: int) -> list[Result]:
    """:func:`sharing` for a single time."""
    with sharing(workers) as share:
        return share(do, items)


@contextmanager
def beside(workers: int) -> Iterator[Callable[..., Callable[[], Any]]]:
    """Begins things in a second thread, and tells them when asked; with one, in this one at once.

    Examples
    --------
    >>> with beside(2) as begin:
    ...     larger = begin(max, 2, 3)
    ...     larger()
    3
    """
    if workers <= 1:

        def at_once(do: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
            done = do(*arguments)
            return lambda: done

        yield at_once
        return
    with ThreadPoolExecutor(1) as pool:
        yield lambda do, *arguments: pool.submit(do, *arguments).result


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
    thread = threading.Thread(target=do)
    thread.start()
    thread.join()


one_blas_thread = _OneBlasThread()
