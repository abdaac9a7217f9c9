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

from licp.checks import whole_number
from licp.errors import LicpError
from licp.threads import THREAD_VARIABLES, search_threads

__all__ = ["JobTimeoutError", "WorkerPool"]

_ONE_THREAD = dict.fromkeys(THREAD_VARIABLES, "1")
_starting = threading.Lock()


class JobTimeoutError(LicpError, TimeoutError):
    """A job took longer than it may, and its worker was ended."""


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
    timeout : float, optional
        Seconds a job may take in a worker that has started.  Then the worker is killed and
        replaced, and the future raises :class:`JobTimeoutError`.  No limit if not given.

    Raises
    ------
    InputError
        If ``workers`` is no positive integer.
    LicpError
        If no process can be started.
    """

    def __init__(self, workers: int | None = None, timeout: float | None = None) -> None:
        self.workers = search_threads(None) if workers is None else whole_number(workers, "workers")
        self._timeout = timeout
        self._lock = threading.RLock()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._busy: dict[Future[Any], _Worker] = {}
        self._late: set[Future[Any]] = set()
        self._closed = False
        self._ended = threading.Event()
        # A script without a main guard runs again in each worker; say so before any work is lost.
        first = _Worker()
        try:
            first.submit(os.getpid).result()
        except BrokenProcessPool as error:
            raise LicpError(
                "worker processes cannot be started; a script that uses them must do so under "
                "if __name__ == '__main__':"
            ) from error
        self._idle = [first]
        self._made = [first]

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
            self._join()

    def kill(self) -> None:
        """End the workers now; what they are doing is lost."""
        with self._lock:
            self.shutdown(wait=False, cancel_futures=True)
            for worker in self._made:
                worker.kill()
        # Not for the jobs: an interrupt may have come between a job's start and the note of it.
        self._join()

    def _join(self) -> None:
        for worker in list(self._made):
            worker.join()

    def _free(self) -> "_Worker":
        """A worker that runs and has nothing to do; OSError if there is none and none can start."""
        while self._idle:
            worker = self._idle.pop()
            try:
                worker.begin()
            except BrokenProcessPool:  # died while it had nothing to do
                self._drop(worker)
            else:
                return worker
        worker = _Worker()
        worker.begin()
        self._made.append(worker)
        return worker

    def _drop(self, worker: "_Worker") -> None:
        """Forget a dead worker, and give back what the system lent it."""
        self._made.remove(worker)
        worker.shutdown()

    def _feed(self) -> None:
        """Hand out what waits; where no worker can be had, that fails, unless some are busy."""
        failed: list[Future[Any]] = []
        cause: OSError | None = None
        with self._lock:
            while self._waiting and (self._idle or len(self._made) < self.workers):
                try:
                    worker = self._free()
                except OSError as error:
                    if not self._busy:
                        failed += [future for future, _ in self._waiting]
                        self._waiting.clear()
                        cause = error
                    break
                future, call = self._waiting.popleft()
                if not future.set_running_or_notify_cancel():
                    self._idle.append(worker)
                    continue
                inner = worker.submit(call)
                self._busy[future] = worker
                clock = None
                if self._timeout is not None:
                    clock = threading.Timer(self._timeout, self._expire, (future,))
                    clock.daemon = True
                    worker.when_started(clock.start)
                inner.add_done_callback(partial(self._done, future, clock))
        for future in failed:
            if future.set_running_or_notify_cancel():
                future.set_exception(LicpError(f"no worker process can be started: {cause}"))

    def _expire(self, future: Future[Any]) -> None:
        """End the worker of a job, unless that is done."""
        with self._lock:
            if future in self._busy:
                self._late.add(future)
                self._busy[future].kill()

    def _done(self, future: Future[Any], clock: threading.Timer | None, inner: Future[Any]) -> None:
        if clock is not None:
            clock.cancel()
        error = inner.exception()
        with self._lock:
            worker = self._busy.pop(future)
            if not isinstance(error, BrokenProcessPool):
                self._idle.append(worker)
            else:
                self._drop(worker)
                if future in self._late:
                    error = JobTimeoutError(f"not done within {self._timeout:g} s")
            self._late.discard(future)
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
                worker.shutdown()
            self._idle.clear()
            self._ended.set()


class _Worker:
    """A process pool of one, whose process can be killed."""

    def __init__(self) -> None:
        self._context = _Context()
        self._pool = ProcessPoolExecutor(1, mp_context=self._context, initializer=_serve)

    def begin(self) -> None:
        """Start the process unless it runs; BrokenProcessPool if it has died."""
        self._ready: Future[Any] = self._pool.submit(os.getpid)

    def submit(self, call: Callable[[], Any]) -> Future[Any]:
        """Have the process do this next; if it has died just now, the future says so."""
        try:
            return self._pool.submit(call)
        except BrokenProcessPool as error:
            lost: Future[Any] = Future()
            lost.set_exception(error)
            return lost

    def when_started(self, call: Callable[[], Any]) -> None:
        """Do this now, or once the process that a job waits for is there."""
        self._ready.add_done_callback(lambda _: call())

    def shutdown(self) -> None:
        """End the process after its job."""
        self._pool.shutdown(wait=False)

    def kill(self) -> None:
        """End the process now, if it has started."""
        for process in self._context.started():
            process.kill()

    def join(self) -> None:
        """Wait for the end of the process, if it has started."""
        for process in self._context.started():
            process.join()


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

    def started(self) -> list[_Process]:
        """Those of them that have begun."""
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
