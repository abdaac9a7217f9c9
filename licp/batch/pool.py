"""Worker processes with one thread each, replaced when they die."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from licp.errors import LicpError
from licp.threads import search_threads

__all__ = ["WorkerPool"]

_ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "BLIS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "NUMBA_NUM_THREADS",
    ),
    "1",
)
_starting = threading.Lock()


class WorkerPool(Executor):
    """Executor whose workers are single-threaded processes, and whose deaths cost one job only.

    Each worker is a process pool of its own with one job at a time, so the job that kills it (out
    of memory, a crash in native code) is known: its future raises ``BrokenProcessPool``, a new
    worker takes the place, and no other job notices.

    Processes are spawned, not forked: a fork copies the locks of BLAS, OpenMP and numba threads in
    whatever state they are, and numbers of threads are read from the environment when NumPy is
    imported, which a fork has behind it.  Workers ignore Ctrl-C, which the caller deals with, and
    end when the calling process does, however it ends.

    Parameters
    ----------
    workers : int, optional
        All processors this process may use if not given.

    Raises
    ------
    LicpError
        If no process can be started.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = search_threads(workers)
        self._context = _Context()
        self._lock = threading.RLock()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._closed = False
        self._ended = threading.Event()
        # A script without a main guard runs again in each worker; say so before any work is lost.
        first = self._worker()
        try:
            first.submit(os.getpid).result()
        except BrokenProcessPool as error:
            raise LicpError(
                "worker processes cannot be started; a script that uses them must do so under "
                "if __name__ == '__main__':"
            ) from error
        self._idle = [first, *(self._worker() for _ in range(self.workers - 1))]
        self._busy = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Queue a call; it starts when a worker is free."""
        future: Future[Any] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("the pool is shut down")
            self._waiting.append((future, partial(fn, *args, **kwargs)))
        self._feed()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers after their jobs."""
        with self._lock:
            self._closed = True
            if cancel_futures:
                for future, _ in self._waiting:
                    future.cancel()
                self._waiting.clear()
            self._retire()
        if wait:
            self._ended.wait()
            self._context.join()

    def kill(self) -> None:
        """End the workers now; what they are doing is lost."""
        with self._lock:
            self.shutdown(wait=False, cancel_futures=True)
            self._context.kill()
        # Not for the jobs: an interrupt may have come between a job's start and the note of it.
        self._context.join()

    def _worker(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, mp_context=self._context, initializer=_serve)

    def _feed(self) -> None:
        with self._lock:
            while self._idle and self._waiting:
                future, call = self._waiting.popleft()
                if not future.set_running_or_notify_cancel():
                    continue
                worker = self._idle.pop()
                try:
                    inner = worker.submit(call)
                except BrokenProcessPool:  # died while it had nothing to do
                    worker = self._worker()
                    inner = worker.submit(call)
                self._busy += 1
                inner.add_done_callback(partial(self._done, worker, future))

    def _done(self, worker: ProcessPoolExecutor, future: Future[Any], inner: Future[Any]) -> None:
        error = inner.exception()
        with self._lock:
            self._busy -= 1
            self._idle.append(self._worker() if isinstance(error, BrokenProcessPool) else worker)
        self._feed()
        if error is None:
            future.set_result(inner.result())
        else:
            future.set_exception(error)
        with self._lock:
            self._retire()

    def _retire(self) -> None:
        """After the last job, end the workers."""
        if self._closed and not self._waiting and not self._busy:
            for worker in self._idle:
                worker.shutdown(wait=False)
            self._idle.clear()
            self._ended.set()


class _Process(SpawnProcess):
    """A process that finds one thread in its environment before it imports anything."""

    def start(self) -> None:
        with _starting, _environment(_ONE_THREAD), _interrupts_held():
            super().start()


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Keep Ctrl-C from processes that start, who inherit this, while they cannot ignore it yet."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # would be started with the first process, and let them in
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Context(SpawnContext):
    """Makes such processes and remembers them."""

    def __init__(self) -> None:
        super().__init__()
        self._made: list[_Process] = []

    def Process(self, *args: Any, **kwargs: Any) -> _Process:  # type: ignore[override] # noqa: N802
        process = _Process(*args, **kwargs)
        self._made.append(process)
        return process

    def kill(self) -> None:
        """End all of them that have started."""
        for process in self._started():
            process.kill()

    def join(self) -> None:
        """Wait for the end of all of them that have started."""
        for process in self._started():
            process.join()

    def _started(self) -> list[_Process]:
        return [process for process in self._made if process.pid is not None]


def _serve() -> None:
    """Initialise a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, daemon=True).start()


def _follow() -> None:
    """End when the parent does: killed, it cannot say so, and a pool's workers wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
