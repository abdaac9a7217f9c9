"""What licp raises on purpose (and :class:`licp.batch.JobTimeoutError`, where jobs are).

Every class derives from :class:`LicpError`; those that report a bad argument are also
``ValueError``, those that report a file that cannot be written are also ``OSError``, so that
callers may catch either.
"""

from typing import Any

import numpy as np

__all__ = [
    "DatasetError",
    "DatasetWarning",
    "InputError",
    "LandmarkError",
    "LicpError",
    "MeshError",
    "MeshFileError",
    "OutputError",
    "OverlapError",
    "SolverError",
    "described",
]


class LicpError(Exception):
    """Base of all errors raised by licp."""


class InputError(LicpError, ValueError):
    """An argument has the wrong shape, type or range."""


class MeshError(InputError):
    """A mesh cannot be used: NaN or inf, nothing in it, faces that are not triangles or quads."""


class LandmarkError(InputError):
    """Landmarks do not fit each other or the meshes, or there are too few of them."""


class DatasetError(InputError):
    """A data set or one of its subjects lacks something, or has it in a form that is no use."""


class DatasetWarning(UserWarning):
    """Something about a data set that goes on without, but should be known."""


class MeshFileError(InputError):
    """A file is unreadable, truncated or of an unknown format."""


class OutputError(LicpError, OSError):
    """A result cannot be written where it should go."""


class OverlapError(LicpError, ValueError):
    """Template and scan have nothing in common after alignment."""


class SolverError(LicpError, RuntimeError):
    """A linear system could not be solved (not symmetric positive definite)."""


def described(obj: Any) -> str:
    """What messages call an argument of the wrong kind."""
    if isinstance(obj, np.ndarray):
        return f"an array of shape {obj.shape}"
    if isinstance(obj, (tuple, list)):
        return f"a {type(obj).__name__} of length {len(obj)}"
    return f"{type(obj).__module__}.{type(obj).__qualname__}"
