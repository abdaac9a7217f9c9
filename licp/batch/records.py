"""What a batch leaves in its folder: a manifest, a mesh and a report for each scan, tables.

The report of a scan is written after its mesh, names the mesh's checksum and the manifest it was
made under, and so says by itself whether there is anything left to do.
"""

import hashlib
import io
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from licp import __version__
from licp.batch.dispatch import Failure
from licp.batch.sources import recognised
from licp.errors import OutputError
from licp.files import check_place, checksum, csv_table, write_file
from licp.headspace import Metadata
from licp.io import ENDINGS
from licp.result import MorphResult

__all__ = ["Records", "Row", "manifest", "write_fit"]

Row = dict[str, Any]

# What Headspace says of its scans that a fit may suffer from.
_FLAGS = ("chin_hole", "cranial_hole", "cap_artefact", "hair_bulge")


def manifest(template: Path, settings: Mapping[str, Any], backend: str) -> dict[str, Any]:
    """What results depend on, with a digest of it, and what else one may want to know later.

    Parameters
    ----------
    template : Path
        Counts by its content, not by its name.
    settings : mapping
        Ready for JSON.
    backend : str
        Of the solver.
    """
    decisive = {
        "licp": __version__,
        "template_sha256": checksum(template),
        "settings": dict(settings),
        "backend": backend,
    }
    text = json.dumps(decisive, sort_keys=True, allow_nan=False)
    return {
        "digest": hashlib.sha256(text.encode()).hexdigest(),
        **decisive,
        "template": str(template),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "platform": platform.platform(),
    }


class Records:
    """The folder of a batch.

    ``manifest.json``, ``meshes/<key><ending>``, ``reports/<key>.json``, ``quality.csv``,
    ``quality.parquet`` where pyarrow is installed, and ``failures.csv``.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    manifest : dict
        From :func:`manifest`.
    ending : str
        Of meshes: ".ply", ".obj" or ".glb".

    Attributes
    ----------
    rows : dict of str to dict
        One row of the table for each scan that is done under this manifest.
    failures : dict of str to dict
    changed : tuple of str
        What is otherwise than in the manifest that the folder was made under.

    Raises
    ------
    OutputError
        If nothing can be written there.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any], ending: str) -> None:
        self.folder, self.ending = folder, ending
        self.digest: str = manifest["digest"]
        try:
            for name in ("meshes", "reports"):
                (folder / name).mkdir(parents=True, exist_ok=True)
            for left in [*folder.glob(".*.part"), *folder.glob("*/.*.part")]:
                left.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be written: {error.strerror or error}") from error
        for name in ("manifest.json", "quality.csv", "quality.parquet", "failures.csv"):
            check_place(folder / name)
        path = folder / "manifest.json"
        older = _read(path)
        self.changed = () if older is None else _changed(older, manifest)
        if older is None or self.changed:
            _write(path, manifest)
        self.reload()

    def reload(self) -> None:
        """Know what lies in the folder, and nothing else.

        Reports are believed if they were made under this manifest and their mesh is whole.  Workers
        that were stopped may have written more of them than they could say.
        """
        rows: dict[str, Row] = {}
        failures: dict[str, Row] = {}
        origins: dict[str, tuple[Any, Any]] = {}
        for path in sorted((self.folder / "reports").glob("*.json")):
            key, report = path.stem, _read(path)
            try:
                if report["key"] != key or report["manifest"] != self.digest:
                    continue
                if "failure" in report:
                    failures[key] = _failure_row(report["failure"])
                elif report["mesh"] == _mesh_entry(self.mesh(key)):
                    rows[key] = _row(report)
                    origins[key] = report["source"], report["metadata"]
            # Half a report, another shape of it, or no mesh.
            except (OSError, KeyError, TypeError, ValueError, AttributeError):
                continue
        self.rows, self.failures, self._origins = rows, failures, origins

    def mesh(self, key: str) -> Path:
        """Where the mesh of a scan goes."""
        return self.folder / "meshes" / f"{key}{self.ending}"

    def report(self, key: str) -> Path:
        """Where the report of a scan goes."""
        return self.folder / "reports" / f"{key}.json"

    def done(self, key: str, files: Mapping[str, Path | None], metadata: Metadata) -> bool:
        """Whether a scan, recognised by its files and what is said of it, is not left to do."""
        if key not in self.rows:
            return False
        source, flags = self._origins[key]
        return bool(flags == _flags(metadata)) and recognised(files, source)

    def add(self, key: str, row: Row) -> None:
        """Take note of a scan that is done."""
        self.rows[key] = row
        self.failures.pop(key, None)

    def fail(self, failure: Failure) -> None:
        """Take note of a failure, in the place of the report; what was there before goes."""
        key = failure.key
        self.rows.pop(key, None)
        self.failures[key] = _failure_row(asdict(failure))
        _write(self.report(key), {"key": key, "manifest": self.digest, "failure": asdict(failure)})
        try:
            self.mesh(key).unlink(missing_ok=True)
        except OSError as error:
            why = error.strerror or error
            raise OutputError(f"{self.mesh(key)}: cannot be removed: {why}") from error

    def write_tables(self) -> None:
        """Write the tables anew, from all that is known."""
        rows = [self.rows[key] for key in sorted(self.rows)]
        failures = [self.failures[key] for key in sorted(self.failures)]
        write_file(self.folder / "quality.csv", csv_table(rows, _COLUMNS))
        write_file(self.folder / "failures.csv", csv_table(failures, _FAILURE_COLUMNS))
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError:
            return
        schema = pyarrow.schema([(name, _arrow_type(pyarrow, name)) for name in _COLUMNS])
        data = io.BytesIO()
        parquet.write_table(pyarrow.Table.from_pylist(rows, schema), data)
        write_file(self.folder / "quality.parquet", data.getvalue())


def _changed(older: Mapping[str, Any], newer: Mapping[str, Any]) -> tuple[str, ...]:
    """What decides on results and is not the same in two manifests."""
    if older.get("digest") == newer["digest"]:
        return ()

    def flat(manifest: Mapping[str, Any]) -> dict[str, Any]:
        settings = manifest.get("settings")
        return {
            "version": manifest.get("licp"),
            "template": manifest.get("template_sha256"),
            "backend": manifest.get("backend"),
            **(settings if isinstance(settings, dict) else {}),
        }

    before, now = flat(older), flat(newer)
    names = [name for name in {**now, **before} if before.get(name) != now.get(name)]
    return tuple(names) or ("manifest",)


def write_fit(
    result: MorphResult,
    key: str,
    mesh: Path,
    report: Path,
    metadata: Metadata,
    about: Mapping[str, Any],
    vertex_data: bool,
) -> Row:
    """Write the mesh, then the report, and return the row of the table.

    Of what is said ``about`` the scan, the table has the name of the file ``source["scan"]`` and
    ``notes`` (a list of str).
    """
    result.save(mesh)
    for ending in ENDINGS:
        if mesh.suffix != ending:  # of a start with another format, and so of another fit
            mesh.with_suffix(ending).unlink(missing_ok=True)
    content = {
        "key": key,
        "licp": __version__,
        **about,
        "metadata": _flags(metadata),
        "mesh": _mesh_entry(mesh),
        "matched": result.matched,
        **result.to_dict(vertex_data),
    }
    _write(report, content)
    return _row(content)


_DISTANCES = [
    f"{way}_{part}"
    for way in ("template_to_scan", "scan_to_template")
    for part in ("median", "p95", "maximum")
]
_DISTORTIONS = [
    f"{kind}_distortion_{part}"
    for kind in ("edge", "area")
    for part in ("p05", "median", "p95", "worst")
]
_COUNTS = ["flipped_faces", "self_intersections", "rest_self_intersections"]
_NUMBERS = [
    "matched",
    "mean_confidence",
    "mean_expected_error",
    "scale",
    "template_seen",
    "scan_explained",
]
_COLUMNS = ["key", "file", "converged", "flags", "notes", "adjusted", *_FLAGS]
_COLUMNS += [*_NUMBERS, *_DISTANCES, *_COUNTS]
_COLUMNS += [*_DISTORTIONS, "seconds"]
_FAILURE_COLUMNS = ["key", "phase", "error", "message"]


def _row(report: Mapping[str, Any]) -> Row:
    """One row of the table of quality numbers; None where there is none."""
    quality = report["quality"]
    row: Row = {
        "key": report["key"],
        "file": report["source"]["scan"],
        "converged": report["converged"],
        "flags": "; ".join(report["flags"]),
        "notes": "; ".join(report["notes"]),
        "adjusted": "; ".join(report["adjusted"]),
        **report["metadata"],
        "matched": report["matched"],
        "mean_confidence": report["mean_confidence"],
        "mean_expected_error": report["mean_expected_error"],
        "seconds": sum(report["seconds"].values()),
    }
    for name, value in quality.items():
        if isinstance(value, Mapping):
            row |= {f"{name}_{part}": number for part, number in value.items()}
        else:
            row[name] = value
    return _readable({name: row.get(name) for name in _COLUMNS})


def _flags(metadata: Metadata) -> dict[str, bool | None]:
    return {name: getattr(metadata, name) for name in _FLAGS}


def _failure_row(failure: Mapping[str, Any]) -> Row:
    return _readable({name: failure[name] for name in _FAILURE_COLUMNS})


def _readable(row: Row) -> Row:
    """A row that can be written anywhere: names of files may hold bytes that are no text."""

    def text(value: Any) -> Any:
        whole = isinstance(value, str)
        return value.encode("utf-8", "backslashreplace").decode() if whole else value

    return {name: text(value) for name, value in row.items()}


def _arrow_type(pyarrow: Any, name: str) -> Any:
    if name in ("key", "file", "flags", "notes", "adjusted"):
        return pyarrow.string()
    if name == "converged" or name in _FLAGS:
        return pyarrow.bool_()
    return pyarrow.int64() if name in _COUNTS else pyarrow.float64()


def _mesh_entry(path: Path) -> dict[str, str]:
    return {"file": path.name, "sha256": checksum(path)}


def _read(path: Path) -> Any:
    """A JSON object; None where there is none, or half of one."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _write(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2, allow_nan=False, default=str) + "\n"
    write_file(Path(path), text.encode())
