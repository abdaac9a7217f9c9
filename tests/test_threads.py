"""Work shared by threads: nothing lost, nothing done twice, nothing waited for in vain."""

import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import licp.threads
from licp.threads import ALONE, Crew, one_blas_thread


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    done = []

    def slow(k: int) -> int:
        time.sleep(0.002 * (k % 3))
        done.append(k)
        return k * k

    with Crew(workers) as crew:
        assert crew.share(slow, range(20)) == [k * k for k in range(20)]
        assert sorted(done) == list(range(20))
        assert crew.share(slow, []) == []
        (both,) = crew.share_rows(lambda a, b: (a + b,), np.arange(101), np.arange(101))
        assert np.array_equal(both, 2 * np.arange(101))


def test_sharing_does_not_wait_for_a_busy_helper() -> None:
    held = threading.Event()
    with Crew(2) as crew:
        busy = crew.begin(held.wait, 30.0)
        begun = crew.begin(threading.get_ident)
        assert crew.share(abs, [-1, -2, -3]) == [1, 2, 3]
        # Nobody has begun it, so this thread does it.
        assert begun() == threading.get_ident()
        held.set()
        assert busy() is True


def test_helpers_may_share_in_turn() -> None:
    with Crew(3) as crew:
        nested = crew.begin(lambda: crew.share(lambda k: crew.share(abs, [k, -k]), [1, 2, 3]))
        assert nested() == [[1, 1], [2, 2], [3, 3]]


@pytest.mark.parametrize("crew", [ALONE, Crew(2)])
def test_what_fails_aside_fails_here(crew: Crew) -> None:
    def fail(k: int) -> None:
        raise ValueError(f"no {k}")

    with pytest.raises(ValueError, match="no "):
        crew.share(fail, [1, 2, 3])
    with pytest.raises(ValueError, match="no 7"):
        crew.begin(fail, 7)()


def test_a_limit_that_cannot_be_set_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no such BLAS")

    entered = False
    with monkeypatch.context() as patch:
        patch.setattr(licp.threads, "threadpool_limits", fail)
        with pytest.raises(OSError, match="no such BLAS"), one_blas_thread:
            entered = True
    assert not entered
    # The next one finds everything as it was.
    before = blas_threads()
    with one_blas_thread, one_blas_thread:
        assert blas_threads() == [1] * len(before)
    assert blas_threads() == before


def blas_threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
