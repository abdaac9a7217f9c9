"""Kernels where nothing can be written, and what comes while they run."""

import signal
import threading
from typing import Any

import numpy as np
import pytest
from heads import scan_arrays, short_morpher

import licp.compiled
from licp.compiled import interruptible, kernel


def test_without_a_folder_for_machine_code_all_is_compiled_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = licp.compiled.njit

    def njit(**options: Any) -> Any:
        if options.get("cache"):
            raise RuntimeError("cannot cache function 'f': no locator available for file 'f.py'")
        return real(**options)

    monkeypatch.setattr(licp.compiled, "njit", njit)
    with pytest.warns(RuntimeWarning, match="NUMBA_CACHE_DIR"):

        @kernel(error_model="numpy")
        def inverse(x: float) -> float:
            return 1.0 / x

    assert inverse(0.0) == np.inf and inverse(4.0) == 0.25


def test_other_errors_of_a_compiler_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def njit(**options: Any) -> Any:
        raise RuntimeError("something else")

    monkeypatch.setattr(licp.compiled, "njit", njit)
    with pytest.raises(RuntimeError, match="something else"):
        kernel(lambda x: x)


@pytest.mark.parametrize("depth", [1, 3])
def test_what_interrupts_a_kernel_is_raised_as_what_it_is(depth: int) -> None:
    @interruptible
    def interrupted() -> None:
        error: BaseException = KeyboardInterrupt("told")
        for _ in range(depth):
            outer = SystemError("f returned a result with an exception set")
            outer.__cause__ = error
            error = outer
        raise error

    with pytest.raises(KeyboardInterrupt, match="told"):
        interrupted()


def test_other_system_errors_stay() -> None:
    @interruptible
    def broken(error: SystemError) -> None:
        raise error

    for text in ("error return without exception set", "bad"):
        with pytest.raises(SystemError, match=text):
            broken(SystemError(text))


class _LateError(Exception):
    pass


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no timers")
def test_a_timer_ends_a_morph_with_its_own_error() -> None:
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals come to the main thread")
    morpher, scan = short_morpher(), scan_arrays()
    whole = morpher.morph(scan)
    seconds = sum(whole.seconds.values())

    def late(*_: object) -> None:
        raise _LateError

    before = signal.signal(signal.SIGALRM, late)
    ends = 0
    try:
        for part in np.linspace(0.05, 0.9, 12):
            try:
                signal.setitimer(signal.ITIMER_REAL, part * seconds)
                morpher.morph(scan)
            except _LateError:
                ends += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0.0)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert ends
    assert np.array_equal(morpher.morph(scan).vertices, whole.vertices)
