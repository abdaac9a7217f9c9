"""What a batch works on: the scans of a plain folder, or subjects of Headspace."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from licp.errors import DatasetError, InputError
from licp.files import checksum
from licp.headspace import Headspace, Metadata, Subject

__all__ = [
    "Source",
    "folder_meshes",
    "folder_sources",
    "headspace_sources",
    "recognised",
    "source_record",
]

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
    files : dict of str to Path or None
        Of the "scan" and its "landmarks", by which it is recognised.
    metadata : Metadata
        What is said of the scan: nothing of one that is not a subject's, or whose file is damaged.
    """

    key: str
    scan: Path | Subject
    landmarks: Path | bool
    files: Mapping[str, Path | None]
    metadata: Metadata


def source_record(files: Mapping[str, Path | None]) -> dict[str, Any]:
    """What is put down of the files of a source, to recognise them by.

    Names, lengths and checksums survive a move of the data.  The time of the last change need not,
    but where it is the same, nothing has to be read to say so.
    """
    record: dict[str, Any] = {}
    for what, path in files.items():
        record[what] = None if path is None else path.name
        if path is not None:
            about = path.stat()
            record[f"{what}_bytes"] = about.st_size
            record[f"{what}_modified_ns"] = about.st_mtime_ns
            record[f"{what}_sha256"] = checksum(path)
    return record


def recognised(files: Mapping[str, Path | None], record: Mapping[str, Any]) -> bool:
    """Whether the files of a source are those of a :func:`source_record`.

    Content is read only where lengths are the same and times are not.
    """

    def same(what: str, path: Path | None) -> bool:
        if path is None:
            return record[what] is None
        about = path.stat()
        if (path.name, about.st_size) != (record[what], record[f"{what}_bytes"]):
            return False
        if about.st_mtime_ns == record[f"{what}_modified_ns"]:
            return True
        return bool(checksum(path) == record[f"{what}_sha256"])

    try:
        return all(same(what, path) for what, path in files.items())
    except (KeyError, OSError):  # a record that tells less, or a file for the worker to stumble on
        return False


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
    # Absolute: workers on other machines may be in another folder.
    for path in folder_meshes(folder.absolute(), template):
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
        files = {"scan": path, "landmarks": marks}
        sources.append(Source(key, path, marks or False, files, Metadata()))
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
        marks = _path(subject, "landmarks") if landmarks else None
        files = {"scan": _path(subject, "scan"), "landmarks": marks}
        sources.append(Source(subject.id, subject, landmarks, files, _metadata(subject)))
    return sources


def _path(subject: Subject, part: str) -> Path | None:
    """A file of a subject; None if it is missing, which is for the worker to say."""
    try:
        return subject.scan_path if part == "scan" else subject.landmark_path
    except DatasetError:
        return None


def _metadata(subject: Subject) -> Metadata:
    try:
        return subject.metadata
    except DatasetError:
        return Metadata()


def _value(text: str) -> Any:
    if "," in text:
        return [_value(part) for part in text.split(",")]
    low, colon, high = text.partition(":")
    try:
        return (float(low), float(high)) if colon else float(text)
    except ValueError:
        return _WORDS.get(text.strip().lower(), text)
