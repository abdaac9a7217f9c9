"""Arrays that nobody changes by accident, here or in another process."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ReadOnlyArrays", "frozen", "read_only_view"]


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """The same array in C order, which can be read only."""
    array = np.ascontiguousarray(array)
    array.flags.writeable = False
    return array


def read_only_view(array: NDArray[Any]) -> NDArray[Any]:
    """The same array for a kernel, as one that can be read only."""
    # Kernels are compiled once for each kind of array; a caller's array may be read-only or not.
    view = array.view()
    view.flags.writeable = False
    return view


class ReadOnlyArrays:
    """Keeps the arrays of an object read-only where it is copied or sent to another process.

    NumPy does not: what it unpickles can be written to.

    Examples
    --------
    >>> import copy
    >>> class Pair(ReadOnlyArrays):
    ...     def __init__(self):
    ...         self.both = frozen(np.zeros(2)), frozen(np.ones(2))
    >>> copy.deepcopy(Pair()).both[1].flags.writeable
    False
    """

    def __setstate__(self, state: dict[str, Any]) -> None:
        """As it was, and read-only again."""
        self.__dict__.update(state)
        _freeze(state.values())


def _freeze(values: Iterable[Any]) -> None:
    for value in values:
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
        elif isinstance(value, (tuple, list)):
            _freeze(value)
        elif isinstance(value, Mapping):
            _freeze(value.values())
