"""What ``licp batch`` left in a folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from licp.errors import InputError
from licp.files import checksum, read_json
from licp.io import load_mesh
from licp.mesh import Mesh

__all__ = ["PARTS", "WAYS", "Batch", "open_batch"]

# What is read of the distances in a report.
WAYS = ("template_to_scan", "scan_to_template")
PARTS = ("median", "p95")


@dataclass(frozen=True, eq=False)
class Batch:
    """The folder of a batch.

    Attributes
    ----------
    folder : Path
    manifest : dict
    template : Mesh
    reports : dict of str to dict
        Of the scans that were done.
    failures : dict of str to str
        Reasons.
    stale : int
        Reports that another manifest made; they do not count.
    """

    folder: Path
    manifest: dict[str, Any]
    template: Mesh
    reports: dict[str, dict[str, Any]]
    failures: dict[str, str]
    stale: int

    def mesh(self, key: str) -> Path:
        """Where the mesh of a scan is."""
        return self.folder / "meshes" / str(self.reports[key]["mesh"]["file"])


def open_batch(folder: Path, template: Path | None = None) -> Batch:
    """Read what ``licp batch`` left.

    Parameters
    ----------
    folder : Path
        Its output folder.
    template : Path, optional
        Where the template is now, if it was moved.

    Raises
    ------
    InputError
        If that is no such folder, or the template is missing or another one.
    """
    if not (folder / "manifest.json").is_file():
        raise InputError(f"{folder}: no output folder of `licp batch`: there is no manifest.json")
    manifest = _object(folder / "manifest.json")
    if not (
        isinstance(manifest.get("template", ""), str)
        and isinstance(manifest.get("settings", {}), dict)
    ):
        raise InputError(f"{folder}: its manifest.json is none that `licp batch` wrote")
    path = Path(manifest.get("template", "")) if template is None else template
    if not path.is_file():
        raise InputError(f"{path}: the batch's template is not there; say where with --template")
    if checksum(path) != manifest.get("template_sha256"):
        raise InputError(f"{path}: is not the template that the batch in {folder} was made with")
    reports, failures, stale = {}, {}, 0
    for file in sorted((folder / "reports").glob("*.json")):
        try:
            report = _object(file)
        except InputError as error:
            failures[file.stem] = f"damaged report: {error}"
            continue
        if report.get("manifest") != manifest.get("digest"):
            stale += 1
        elif isinstance(report.get("failure"), dict):
            failures[file.stem] = str(report["failure"].get("message", ""))
        elif _complete(report):
            reports[file.stem] = report
        else:
            failures[file.stem] = f"damaged report: {file} lacks something"
    if not reports:
        raise InputError(f"{folder}: the batch has no results yet")
    return Batch(folder, manifest, load_mesh(path), reports, failures, stale)


def _complete(report: Mapping[str, Any]) -> bool:
    """Whether a report holds what is read of it here, in the form that ``licp batch`` writes."""
    try:
        quality = report["quality"]
        ways = [quality[way] for way in WAYS]
        numbers = [report["matched"], report["mean_expected_error"]]
        numbers += [d[p] for d in ways if d is not None for p in PARTS]
        return (
            isinstance(report["mesh"]["file"], str)
            and isinstance(report["flags"], list)
            and all(isinstance(flag, str) for flag in report["flags"])
            and isinstance(report["converged"], bool)
            and all(isinstance(n, (int, float)) for n in numbers)
        )
    except (KeyError, TypeError, IndexError):
        return False


def _object(path: Path) -> dict[str, Any]:
    content = read_json(path, InputError)
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object")
    return content
