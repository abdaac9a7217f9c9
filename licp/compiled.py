"""Functions compiled to machine code, which is kept wherever that can be."""

import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from numba import njit

__all__ = ["interruptible", "kernel"]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def kernel(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile a function on its first call, without Python's lock.

    The machine code is kept beside the module, in the user's cache folder or in
    ``NUMBA_CACHE_DIR``.  Where none of them can be written, every process compiles anew, and is
    warned once.

    Parameters
    ----------
    function : callable, optional
        What to compile; without it, a decorator with these options is returned.
    **options : Any
        Of :func:`numba.njit`.

    Examples
    --------
    >>> from licp.geometry import edge_lengths
    >>> type(edge_lengths).__name__
    'CPUDispatcher'
    """
    if function is None:
        return lambda own: kernel(own, **options)
    try:
        return njit(cache=True, nogil=True, **options)(function)
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
        warnings.warn(
            "machine code cannot be kept, so every process compiles for a minute: set "
            "NUMBA_CACHE_DIR to a folder that can be written",
            RuntimeWarning,
            stacklevel=1,
        )
        return njit(nogil=True, **options)(function)


def interruptible(do: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Have a function that calls kernels raise what interrupted it, as Ctrl-C does.

    What a signal raises while a kernel runs arrives behind one ``SystemError`` or more, which
    ``except Exception`` would swallow.
    """

    @wraps(do)
    def done(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return do(*args, **kwargs)
        except SystemError as error:
            behind: BaseException | None = error
            while isinstance(behind, SystemError) and "exception set" in str(behind):
                behind = behind.__cause__ or behind.__context__
            if behind is None or behind is error:
                raise
            raise behind from None

    return done
