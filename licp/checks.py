"""Checks of arguments that several modules have."""

from typing import Any

import numpy as np

from licp.errors import InputError

__all__ = ["finite_number", "whole_number"]


def whole_number(value: Any, name: str, least: int = 1) -> int:
    """An argument that counts something, checked."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        kind = "a positive integer" if least == 1 else f"an integer from {least} on"
        raise InputError(f"{name} must be {kind}, not {value!r}")
    return int(value)


def finite_number(value: Any, name: str) -> float:
    """An argument that is a finite real number, as one of Python's."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise InputError(f"{name} must be a number, not {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = np.inf
    if not np.isfinite(number):
        raise InputError(f"{name} must be finite, not {str(value)[:20]}")
    return number
