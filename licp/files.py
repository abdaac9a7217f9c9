"""Files, read or refused with a reason, and written whole or not at all."""

import csv
import hashlib
import io
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

from licp.errors import LicpError, OutputError, described

__all__ = [
    "as_path",
    "check_place",
    "checksum",
    "csv_table",
    "named",
    "parse_json",
    "read_json",
    "read_text",
    "sole_writer",
    "write_file",
]


def as_path(path: Any, refusal: type[LicpError]) -> Path:
    """The path of a file or folder, or a refusal of what is none."""
    try:
        return Path(path)
    except TypeError:
        raise refusal(f"expected the path of a file or folder, not {described(path)}") from None


def read_text(path: Path, refusal: type[LicpError]) -> str:
    """A small text file in whichever of the two likely encodings, or a refusal of it."""
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # no such name can be: it holds the character 0
        why = getattr(error, "strerror", None) or error
        raise refusal(f"{path}: cannot be read: {why}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def read_json(path: Path, refusal: type[LicpError]) -> Any:
    """What a JSON file holds, or a refusal of it."""
    return parse_json(read_text(path, refusal), path, refusal)


def parse_json(text: str, path: Path, refusal: type[LicpError]) -> Any:
    """What a JSON text holds, or a refusal of it and the file that it is from."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"{path}, line {error.lineno}"
        raise refusal(f"{where}: not valid JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:  # numbers or nesting beyond all measure
        raise refusal(f"{path}: not valid JSON: {str(error)[:200]}") from error


def check_place(path: Path) -> Path:
    """Say now, before long work, whether a file of any kind can appear there; where it will be.

    That is elsewhere if a link to another file, whether there yet or not, has that name.

    Raises
    ------
    OutputError
        Missing folder, no permission, a folder has that name, or no file can.
    """
    if "\0" in str(path):
        raise OutputError(f"{str(path)!r}: names of files cannot hold the character 0")
    try:
        path = Path(os.path.realpath(path)) if path.is_symlink() else path
        is_folder, has_folder = path.is_dir(), path.parent.is_dir()
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    if is_folder:
        raise OutputError(f"{path}: is a folder")
    if not has_folder:
        raise OutputError(f"{path}: the folder {path.parent} does not exist; create it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: the folder {path.parent} cannot be written to")
    return path


def named(path: Any, ending: str, what: str) -> Path:
    """The path of something that is written in one format, by the ending that says so.

    Raises
    ------
    OutputError
        If it has another.
    """
    found = as_path(path, OutputError)
    if found.suffix.lower() != ending:
        raise OutputError(f"{found}: {what} are written as {ending}")
    return found


def csv_table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    """Rows as CSV, with a line of names above."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def checksum(path: Path) -> str:
    """SHA-256 of the content of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_file(path: Path, data: bytes) -> None:
    """Write a whole file or nothing: a temporary name in the same folder, then a rename.

    What links to another file still does, and who may read a file that was there still may.

    Raises
    ------
    OutputError
        If the system refuses; nothing is left behind.
    """
    path = check_place(path)
    temporary = path.parent / f".{path.name[:40]}.{uuid.uuid4().hex}.part"
    try:
        with open(temporary, "xb") as file:
            file.write(data)
        if path.exists():
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Make a folder, and let no other process that asks for the same write to it meanwhile.

    The system lets go of it when the process ends, however it does.  On systems and file systems
    without such locks nothing is held.

    Raises
    ------
    OutputError
        If another process has it, or the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY) if fcntl is not None else None
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror or error}") from error
    try:
        if held is not None and fcntl is not None:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OutputError(
                    f"{folder}: another process is writing there; wait for it, or name another "
                    "folder"
                ) from None
            except OSError:
                pass
        yield
    finally:
        if held is not None:
            os.close(held)
