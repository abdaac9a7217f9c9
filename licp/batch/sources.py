"""What a batch works on: the scans of a plain folder, or subjects of Headspace."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from licp.errors import DatasetError, InputError
from licp.headspace import Headspace, Subject

__all__ = ["Source", "folder_meshes", "folder_sources", "headspace_sources"]

_WORDS: dict[str, Any] = {"true": True, "yes": True, "false": False, "no": False}


@dataclass(frozen=True, eq=False)
class Source:
    """One scan.

    Attributes
    ----------
    key : str
        Name of its outputs.
    scan : Path or Subject
    landmarks : Path or bool
        A file of landmarks, or whether to look for those of the subject.
    about : dict
        How its file is recognised: by name and length, which survive a move of the data.
    """

    key: str
    scan: Path | Subject
    landmarks: Path | bool
    about: dict[str, Any]


def folder_meshes(folder: Path, template: Path | None = None) -> list[Path]:
    """The meshes of a folder (not below it) that may be scans, by name; a template is none."""
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in (".obj", ".ply")
        and path.is_file()
        and path.name[0] != "."
        and not (template is not None and path.samefile(template))
    ]


def folder_sources(folder: Path, landmarks: bool, template: Path | None = None) -> list[Source]:
    """The scans of a folder, see :func:`folder_meshes`.

    Raises
    ------
    InputError
        If two differ in their ending only: they would have one name.
    """
    found: dict[str, Path] = {}
    for path in folder_meshes(folder, template):
        if path.stem in found:
            raise InputError(
                f"{path} and {found[path.stem].name} would have outputs of one name; rename one "
                "of them"
            )
        found[path.stem] = path
    sources = []
    for key, path in found.items():
        beside = [path.with_name(f"{key}.landmarks{end}") for end in (".txt", ".json")]
        marks = next((p for p in beside if landmarks and p.is_file()), None)
        sources.append(Source(key, path.resolve(), marks or False, _about(path, marks)))
    return sources


def headspace_sources(
    root: Path | Headspace, filters: Sequence[str], subjects: Path | None, landmarks: bool
) -> list[Source]:
    """The subjects of Headspace that fit all filters and stand in a list.

    Parameters
    ----------
    root : Path or Headspace
        Folder of the data set, or the data set.
    filters : sequence of str
        ``key=value`` for :meth:`Headspace.select`: text, a number, yes or no, a range ``2:15``,
        or several values with commas; or ``has=landmarks``.
    subjects : Path, optional
        For :meth:`Headspace.subset`.
    landmarks : bool
        Whether they are of use.

    Raises
    ------
    DatasetError
        If there is no Headspace.
    InputError
        If a filter cannot be used.
    """
    chosen = root if isinstance(root, Headspace) else Headspace(root)
    if subjects is not None:
        chosen = chosen.subset(subjects)
    wanted: dict[str, Any] = {}
    for text in filters:
        name, equals, value = text.partition("=")
        if not equals or name in wanted:
            raise InputError(f"--select {text}: expected KEY=VALUE, each key once")
        wanted[name] = value.split(",") if name == "has" else _value(value)
    if wanted:
        chosen = chosen.select(**wanted)
    sources = []
    for subject in chosen:
        scan, marks = _path(subject, "scan"), _path(subject, "landmarks") if landmarks else None
        sources.append(Source(subject.id, subject, landmarks, _about(scan, marks)))
    return sources


def _path(subject: Subject, part: str) -> Path | None:
    """A file of a subject; None if it is missing, which is for the worker to say."""
    try:
        return subject.scan_path if part == "scan" else subject.landmark_path
    except DatasetError:
        return None


def _about(scan: Path | None, landmarks: Path | None) -> dict[str, Any]:
    about: dict[str, Any] = {}
    for name, path in (("scan", scan), ("landmarks", landmarks)):
        about[name] = None if path is None else path.name
        about[f"{name}_bytes"] = None if path is None else path.stat().st_size
    return about


def _value(text: str) -> Any:
    if "," in text:
        return [_value(part) for part in text.split(",")]
    low, colon, high = text.partition(":")
    try:
        return (float(low), float(high)) if colon else float(text)
    except ValueError:
        return _WORDS.get(text.strip().lower(), text)
