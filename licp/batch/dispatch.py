"""Jobs that share one object, handed to any executor a few at a time; a failure is a value."""

import hashlib
import multiprocessing
import pickle
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from licp.batch.pool import JobTimeoutError, WorkerPool
from licp.checks import whole_number
from licp.errors import InputError, LicpError

__all__ = ["Failure", "Task", "dispatch", "open_executor"]

Shared = TypeVar("Shared")
Task = Callable[[Shared, Any, Callable[[str], None]], Any]
"""Takes what all jobs share, a job, and a function to be told each phase that begins."""

# With an executor that does not say how many workers it has.
_IN_FLIGHT = 64
# Shared objects a worker keeps: calls with two of them may alternate.
_KEPT = 2

_LOST = "the worker died or was not to be reached, twice"
# What a task raises is caught in the worker, so these come from pickling, and would come again.
_UNSENT = (pickle.PicklingError, AttributeError, TypeError)
_UNSENT_WHY = (
    "what is to be done cannot be pickled for a worker process; give paths, arrays, or functions "
    "and classes of a module"
)

# The one thing that outlives a call in a worker: the set-up of the objects last used, by digest.
_prepared: OrderedDict[str, Any] = OrderedDict()
_preparing = threading.Lock()


@dataclass(frozen=True)
class Failure:
    """Why there is no result for a scan.

    Attributes
    ----------
    key : Any
        Of the scan.
    error : str
        Type of the exception.
    message : str
    traceback : str
        As the worker saw it; empty where there was no exception.
    phase : "prepare", "read", "morph", "write" or "worker"
        What failed: the set-up of what jobs share, reading the scan, the morph, writing the result,
        or the process around all of it (killed, out of memory, not to be reached, out of time).
    """

    key: Any
    error: str
    message: str
    traceback: str
    phase: str

    @classmethod
    def of(cls, key: Any, error: BaseException, phase: str) -> "Failure":
        """From an exception."""
        text = "".join(traceback.format_exception(error))
        return cls(key, type(error).__name__, str(error), text, phase)


def open_executor(
    executor: Executor | None,
    workers: int | None,
    in_flight: int | None,
    timeout: float | None = None,
) -> AbstractContextManager[tuple[Executor, int]]:
    """Open a pool of processes unless there is an executor; and how many jobs it may hold.

    Own workers are killed if the block is left by an exception or a closed generator, and when a
    job takes longer than the timeout.

    Raises
    ------
    InputError
        If these do not fit together; at once, before the block is entered.
    """
    if workers is not None:
        workers = whole_number(workers, "workers")
    if timeout is not None and not (
        isinstance(timeout, (int, float)) and 0 < timeout <= threading.TIMEOUT_MAX
    ):
        raise InputError(f"timeout must be a positive number of seconds, not {timeout!r}")
    if executor is not None:
        if not hasattr(executor, "submit"):
            raise InputError(f"an executor has a method submit, {type(executor).__name__} has none")
        if workers is not None:
            raise InputError("an executor has its own workers; give either of them, not both")
        if timeout is not None:
            raise InputError("workers of an executor cannot be ended; timeout= is for licp's own")
        count = getattr(executor, "_max_workers", None)
        usual = 2 * count if isinstance(count, int) else _IN_FLIGHT
        return nullcontext((executor, usual if in_flight is None else in_flight))
    if multiprocessing.current_process().daemon:
        raise InputError(
            "this is a daemonic process, as those of multiprocessing.Pool are, which may start no "
            "others: give an executor, or call Morpher.morph here"
        )
    return _own_workers(workers, in_flight, timeout)


@contextmanager
def _own_workers(
    workers: int | None, in_flight: int | None, timeout: float | None
) -> Iterator[tuple[Executor, int]]:
    pool = WorkerPool(workers, timeout)
    try:
        # One runs and one waits, so that no worker idles while the caller looks at a result.
        yield pool, 2 * pool.workers if in_flight is None else in_flight
    except BaseException:
        pool.kill()
        raise
    pool.shutdown()


def dispatch(
    task: Task[Shared],
    shared: Shared | partial[Shared],
    jobs: Iterable[tuple[Any, Any]],
    executor: Executor,
    in_flight: int,
) -> Iterator[tuple[Any, Any]]:
    """Run a task for each job and yield (key, value or Failure) as they finish.

    Parameters
    ----------
    task : Task
        A function of a module, so that it can be pickled.
    shared : Any, or partial that makes it
        What all jobs need, such as a prepared template (``Morpher``) or what to measure by.  Sent
        to workers that do not have it yet; a partial is called once in each process.  Tasks must
        not change it.
    jobs : iterable of (key, job)
        Consumed as workers become free.
    executor : Executor
        Any.
    in_flight : int
        Jobs handed over and not finished, at most.

    Raises
    ------
    LicpError
        If the executor is broken.
    """
    payload = pickle.dumps(shared, pickle.HIGHEST_PROTOCOL)
    digest = hashlib.sha256(payload).hexdigest()
    pending: dict[Future[Any], tuple[Any, Any, bool]] = {}
    suspects: list[tuple[Any, Any]] = []

    def submit(key: Any, job: Any, again: bool = False, equipment: bytes | None = None) -> None:
        try:
            future = executor.submit(_work, task, key, job, digest, equipment, again)
        except _UNSENT as error:  # Dask pickles here, others later
            future = Future()
            future.set_exception(error)
        except Exception as error:  # BrokenExecutor, shut down, or what Dask raises instead
            raise LicpError(
                f"the executor lost its workers or its scheduler ({error}); licp's own workers, "
                "used without executor=, are replaced when they die"
            ) from error
        pending[future] = key, job, again

    waiting, more = iter(jobs), True
    try:
        while True:
            while more and len(pending) < in_flight:
                try:
                    key, job = next(waiting)
                except StopIteration:
                    more = False
                    break
                submit(key, job)
            if not pending:
                # What was running when a worker died has one more chance, with nothing beside it:
                # memory may have been short.
                if not suspects:
                    return
                submit(*suspects.pop(0), again=True)
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                key, job, again = pending.pop(future)
                try:
                    answer = future.result()
                except JobTimeoutError as error:  # and would be late again
                    yield key, Failure.of(key, error, "worker")
                    continue
                except _UNSENT as error:
                    lost = Failure.of(key, error, "worker")
                    yield key, replace(lost, message=f"{_UNSENT_WHY}: {error}")
                    continue
                except Exception as error:
                    # Not raised by the job, but for want of it; perhaps by a neighbour's fault.
                    if again:
                        lost = Failure.of(key, error, "worker")
                        yield key, replace(lost, message=f"{_LOST}: {lost.message or lost.error}")
                    else:
                        suspects.append((key, job))
                    continue
                if answer is None:
                    submit(key, job, again, payload)
                else:
                    yield key, answer[0]
    finally:
        for future in pending:
            future.cancel()


def _work(
    task: Task[Any], key: Any, job: Any, digest: str, payload: bytes | None, again: bool
) -> Any:
    """In a worker: None if what jobs share is not known and not sent along, else (outcome,).

    ``again`` makes the call another one for Dask, which answers equal calls with one result.
    """
    phase = "prepare"

    def begin(name: str) -> None:
        nonlocal phase
        phase = name

    try:
        known = _known(digest, payload)
        return None if known is None else (task(*known, job, begin),)
    except Exception as error:
        return (Failure.of(key, error, phase),)


def _known(digest: str, payload: bytes | None) -> tuple[Any] | None:
    """What jobs share, set up if this process has not done it yet; None if it was not sent."""
    with _preparing:
        if digest in _prepared:
            _prepared.move_to_end(digest)
        elif payload is None:
            return None
        else:
            shared = pickle.loads(payload)
            _prepared[digest] = shared() if isinstance(shared, partial) else shared
            if len(_prepared) > _KEPT:
                _prepared.popitem(last=False)
        return (_prepared[digest],)
