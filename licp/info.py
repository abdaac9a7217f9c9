"""What this installation runs on."""

import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Any

from numba.core.dispatcher import Dispatcher
from threadpoolctl import threadpool_info

from licp import __version__
from licp.solver import backends
from licp.threads import search_threads

__all__ = ["describe", "installation"]

_PACKAGES = ("numpy", "scipy", "numba", "trimesh", "scikit-sparse")


def installation() -> dict[str, Any]:
    """Versions, processors, BLAS libraries, solver back end and compiled kernels.

    Returns
    -------
    dict
        Plain values, ready for JSON: ``licp``, ``python``, ``platform``, ``packages`` (version or
        None), ``processors`` (``total``, ``usable``), ``blas`` (list of ``library``, ``version``,
        ``threads``, ``path``), ``backend`` (``active``, ``available``) and ``kernels``
        (``folders``, ``compiled``, ``total``).

    Examples
    --------
    >>> backend = installation()["backend"]
    >>> backend["active"] in backend["available"]
    True
    """
    available = backends()  # loads CHOLMOD, and with it the BLAS that it is linked to
    blas = [
        {
            "library": pool["internal_api"],
            "version": pool["version"],
            "threads": pool["num_threads"],
            "path": pool["filepath"],
        }
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    ]
    return {
        "licp": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "processors": {"total": os.cpu_count() or 1, "usable": search_threads(None)},
        "blas": blas,
        "backend": {
            "active": available[0],
            "available": list(available),
        },
        "kernels": _kernels(),
    }


def describe(info: dict[str, Any]) -> str:
    """Lay out what :func:`installation` returns as lines to read."""
    backend, kernels, processors = info["backend"], info["kernels"], info["processors"]
    rows = [
        ("licp", info["licp"]),
        ("Python", f"{info['python']} on {info['platform']}"),
        *((name, version or "not installed") for name, version in info["packages"].items()),
        ("processors", f"{processors['usable']} usable of {processors['total']}"),
        *(
            ("BLAS", f"{b['library']} {b['version'] or '?'}, {b['threads']} threads, {b['path']}")
            for b in info["blas"]
        ),
        ("back ends", ", ".join(backend["available"])),
        (
            "kernels",
            f"{kernels['compiled']} of {kernels['total']} compiled, in "
            + (", ".join(kernels["folders"]) or "no folder"),
        ),
    ]
    return "\n".join(f"{name:14s} {value}" for name, value in rows)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _kernels() -> dict[str, Any]:
    """Numba kernels of the modules that are loaded, and where their machine code is kept."""
    kernels = {
        value
        for name, module in sys.modules.items()
        if name.startswith("licp.")
        for value in vars(module).values()
        if isinstance(value, Dispatcher) and value.py_func.__module__.startswith("licp.")
    }
    folders = {Path(k.stats.cache_path) for k in kernels if k.stats.cache_path}
    compiled = sum(
        any(
            Path(k.stats.cache_path).glob(
                f"{k.py_func.__module__.rpartition('.')[2]}.{k.py_func.__qualname__}-*.nbi"
            )
        )
        for k in kernels
        if k.stats.cache_path
    )
    return {
        "folders": sorted(map(str, folders)),
        "compiled": compiled,
        "total": len(kernels),
    }
