"""The Headspace data set: finding it on disk, its subjects, selections and tables."""

import importlib
import operator
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from math import inf
from pathlib import Path
from typing import Any

from licp.errors import DatasetError, DatasetWarning, InputError, LicpError
from licp.files import as_path, read_text
from licp.headspace.metadata import Metadata
from licp.headspace.subject import PARTS, Subject, list_folder

__all__ = ["Headspace"]

_FILTERS = tuple(f.name for f in fields(Metadata) if f.name not in ("id", "other"))
_LAST = {"01": "01518", "02": "01519"}
_MOVED, _MOVED_TO = "01400", "01519"


class Headspace:
    """The subjects of a Headspace download, or some of them.

    Iterating gives subjects in the order of their ids; ``hs["01242"]``, ``hs[1242]`` and
    ``"01242" in hs`` look one up.  Only names of folders are read until a subject is asked for
    more.

    Parameters
    ----------
    root : path
        The folder the archive was unpacked in, ``headspaceOnline`` or ``subjects`` in it, or one
        above.
    images : path, optional
        ``headspacePngTka``, if it does not lie beside ``headspaceOnline``.
    flame : path, optional
        The folder of ``registrations`` and ``FLAME_parameters``, if it does not lie there either.
    version : "01" or "02", optional
        Of the data, if it is known; see :attr:`version`.

    Raises
    ------
    DatasetError
        If there is no such tree, or a folder passed is not what it should be.

    Examples
    --------
    >>> hs = Headspace("/data/headspace")  # doctest: +SKIP
    >>> children = hs.select(age=(2, 15), cranial_hole=False, has="landmarks")  # doctest: +SKIP
    >>> for subject in children:  # doctest: +SKIP
    ...     print(subject.id, subject.metadata.age, subject.scan())
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        images: str | os.PathLike[str] | None = None,
        flame: str | os.PathLike[str] | None = None,
        version: str | None = None,
    ) -> None:
        if version not in (None, "01", "02"):
            raise InputError(f"version must be '01' or '02', not {version!r}")
        root = as_path(root, DatasetError)
        self.path = _find_subjects(root)
        """The folder of the subjects' folders."""
        folders = _numbered(self.path)
        self.version = version or _recognise(folders)
        """"01" or "02"; None if the tree is part of one of them and does not tell.

        The scan of an eight-year-old girl stands in 01400 in version 01, with metadata that are
        not hers, and in 01519 in version 02.  In a tree of version 01 she is subject 01519, with
        the metadata that are known, and there is no subject 01400.
        """
        near = list(dict.fromkeys([self.path.parent.parent, self.path.parent, root]))
        self._images = _find_images(None if images is None else as_path(images, DatasetError), near)
        self._flame = _find_flame(None if flame is None else as_path(flame, DatasetError), near)
        if self.version == "01" and _MOVED in folders and _MOVED_TO not in folders:
            folders[_MOVED_TO] = folders.pop(_MOVED)
        elif self.version is None and _MOVED in folders:
            warnings.warn(
                f"{self.path} may be of version 01 of Headspace, in which the folder {_MOVED} "
                f"holds the scan of subject {_MOVED_TO}, a girl of 8 years; say which it is with "
                "Headspace(..., version='01' or '02')",
                DatasetWarning,
                stacklevel=2,
            )
        self._folders = folders
        self._listed: dict[str, None] | None = dict.fromkeys(sorted(folders))
        self._ids: Callable[[], list[str]] | None = None

    def keys(self) -> list[str]:
        """Ids, ascending."""
        return list(self._known)

    def __len__(self) -> int:
        """Number of subjects."""
        return len(self._known)

    def __iter__(self) -> Iterator[Subject]:
        """Subjects by id, ascending."""
        return map(self._subject, self._known)

    def __contains__(self, key: object) -> bool:
        """Whether there is a subject with that id, as text or number."""
        try:
            return _id(key) in self._known
        except InputError:
            return False

    def __getitem__(self, key: object) -> Subject:
        """The subject with that id, as text or number.

        Raises
        ------
        DatasetError
            If there is none.
        """
        sid = _id(key)
        if sid not in self._known:
            if self.version == "01" and sid == _MOVED and _MOVED_TO in self._folders:
                raise DatasetError(
                    f"version 01 of Headspace has no scan of subject {_MOVED}: what stands in its "
                    f"folder is subject {_MOVED_TO}"
                )
            part = "" if sid not in self._folders else " of this selection"
            raise DatasetError(
                f"no subject {sid} among the {len(self)}{part} in {self.path}"
                + (f" ({self.keys()[0]} to {self.keys()[-1]})" if len(self) else "")
            )
        return self._subject(sid)

    def __repr__(self) -> str:
        """Where and how many, as far as that is known without reading metadata."""
        count = f"{len(self)} subjects" if self._listed is not None else "selected when asked for"
        return f"<Headspace {str(self.path)!r}, version {self.version or 'unknown'}: {count}>"

    def select(
        self,
        where: Callable[[Subject], bool] | None = None,
        *,
        has: str | Iterable[str] = (),
        **filters: Any,
    ) -> "Headspace":
        """The subjects whose metadata fit all filters; found out when they are asked for.

        Parameters
        ----------
        where : callable, optional
            Takes a :class:`Subject`, says whether it is wanted.
        has : str or several
            What there must be a file for: "scan", "texture", "landmarks", "metadata", "images",
            "cameras", "flame".
        **filters
            Fields of :class:`Metadata`. A value must be equal (text in any case), a pair of
            numbers bounds a number on both sides (None leaves one open), a set or list names all
            values that fit, and a callable is asked. What a subject does not state (None) fits
            only None.

        Returns
        -------
        Headspace
            With fewer subjects. A :class:`~licp.errors.DatasetWarning` names those left out
            because their files cannot be used, and fields that no subject states at all.

        Raises
        ------
        InputError
            If there is no such field or part.
        """
        unknown = sorted(set(filters) - set(_FILTERS))
        if unknown:
            raise InputError(f"no metadata {', '.join(unknown)}; there are {', '.join(_FILTERS)}")
        parts = frozenset([has] if isinstance(has, str) else has)
        if parts - set(PARTS):
            raise InputError(f"no part {', '.join(parts - set(PARTS))}; there are {PARTS}")
        tests = {name: _test(wanted) for name, wanted in filters.items()}

        def ids() -> list[str]:
            found, failed, unstated = [], [], set(tests) if len(self) else set()
            for subject in self:
                try:
                    about = {name: getattr(subject.metadata, name) for name in tests}
                    unstated -= {name for name, value in about.items() if value is not None}
                    if (
                        all(test(about[name]) for name, test in tests.items())
                        and (not parts or parts <= subject.parts)
                        and (where is None or where(subject))
                    ):
                        found.append(subject.id)
                except LicpError as error:
                    failed.append((subject.id, error))
            if failed:
                names = ", ".join(sid for sid, _ in failed[:5]) + ", ..." * (len(failed) > 5)
                warnings.warn(
                    f"{len(failed)} subjects left out of the selection, for their files cannot be "
                    f"used: {names} ({failed[0][1]})",
                    DatasetWarning,
                    stacklevel=2,
                )
            if unstated:
                warnings.warn(
                    f"no subject in {self.path} states {', '.join(sorted(unstated))}; is the key "
                    "spelled in an unknown way? See Metadata.other",
                    DatasetWarning,
                    stacklevel=2,
                )
            return found

        return self._part(ids)

    def subset(self, subjects: str | os.PathLike[str] | Iterable[object]) -> "Headspace":
        """The subjects named in a list, such as that of the 1212 the head model was made of.

        Parameters
        ----------
        subjects : path, or iterable of int or str
            A text file with ids, separated by line ends, blanks, commas or semicolons; ``#``
            starts a comment.

        Returns
        -------
        Headspace
            Those of them that are there; a :class:`~licp.errors.DatasetWarning` says how many are
            not.

        Raises
        ------
        DatasetError
            If the file cannot be read or holds anything but ids.
        """
        wanted = (
            _read_list(Path(subjects))
            if isinstance(subjects, (str, os.PathLike))
            else {_id(s) for s in subjects}
        )
        missing = sorted(wanted - set(self._known))
        if missing:
            warnings.warn(
                f"{len(missing)} of {len(wanted)} subjects of the list are not in {self.path} "
                f"(first: {', '.join(missing[:5])})",
                DatasetWarning,
                stacklevel=2,
            )
        return self._part(lambda: sorted(wanted & set(self._known)))

    def table(self) -> list[dict[str, Any]]:
        """One row a subject, see :meth:`Subject.summary`; plain types, ready for JSON or CSV."""
        return [subject.summary() for subject in self]

    def to_frame(self) -> Any:
        """The table as a ``pandas.DataFrame`` with the ids as index.

        Raises
        ------
        InputError
            If pandas is not installed.
        """
        try:
            pandas = importlib.import_module("pandas")
        except ImportError:
            raise InputError("a data frame needs pandas: pip install pandas") from None
        return pandas.DataFrame(self.table()).set_index("id")

    @property
    def _known(self) -> dict[str, None]:
        """Ids in order, found out once."""
        if self._listed is None:
            self._listed = dict.fromkeys(self._ids() if self._ids is not None else ())
        return self._listed

    def _subject(self, sid: str) -> Subject:
        corrected = None
        if sid == _MOVED_TO and self._folders[sid].name == _MOVED:
            corrected = Metadata(id=_MOVED_TO, sex="female", age=8.0)
        folder = None if self._images is None else self._images / sid
        if corrected is not None and folder is not None and not folder.is_dir():
            folder = folder.with_name(_MOVED)
        return Subject(sid, self._folders[sid], folder, self._flame, corrected)

    def _part(self, ids: Callable[[], list[str]]) -> "Headspace":
        part = object.__new__(Headspace)
        part.__dict__.update(self.__dict__, _ids=ids, _listed=None)
        return part

    def __getstate__(self) -> dict[str, Any]:
        """Selections are made before they travel to another process."""
        return {**self.__dict__, "_listed": self._known, "_ids": None}


def _id(key: object) -> str:
    """Five digits from text, a number or a subject."""
    if isinstance(key, Subject):
        return key.id
    if isinstance(key, str):
        if re.fullmatch(r"[0-9]{1,9}", key):
            return f"{int(key):05d}"
    elif not isinstance(key, bool):
        try:
            number = operator.index(key)  # type: ignore[arg-type]
        except TypeError:
            number = -1
        if number >= 0:
            return f"{number:05d}"
    raise DatasetError(f"{key!r} is no subject id; use text ('01242') or a number (1242)")


def _numbered(folder: Path) -> dict[str, Path]:
    """Subfolders named by a number, by id."""
    try:
        entries = [e.name for e in os.scandir(folder) if e.is_dir()]
    except OSError:
        return {}
    names = sorted(n for n in entries if re.fullmatch(r"[0-9]{1,5}", n))
    return {_id(name): folder / name for name in names}


def _find_subjects(root: Path) -> Path:
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder")
    places = [".", "subjects", "headspaceOnline/subjects", "headspaceOnline"]
    tried = [root / p for p in places]
    tried += [below / p for below in list_folder(root) for p in places[1:3]]
    for folder in tried:
        # Photographs lie in numbered folders, too.
        if "headspacepngtka" not in map(str.lower, folder.parts) and _numbered(folder):
            return folder.absolute()
    raise DatasetError(
        f"{root}: no Headspace in it; looked for folders 00001, 00002, ... in "
        + ", ".join(str(p) for p in tried[:4])
        + " and one level below"
    )


def _find_images(given: Path | None, near: list[Path]) -> Path | None:
    tried = [p / "headspacePngTka" for p in near] if given is None else [given]
    for folder in tried:
        for place in (folder / "headspacePngTka" / "subjects", folder / "subjects", folder):
            if _numbered(place):
                return place.absolute()
    if given is not None:
        raise DatasetError(f"{given}: no folders subjects/00001, 00002, ... of images in it")
    return None


def _find_flame(given: Path | None, near: list[Path]) -> Path | None:
    below = ("", "MICA-FLAME/LYHM", "MICA-FLAME", "LYHM", "MICA/LYHM", "MICA", "FLAME", "flame")
    tried = [p / b for p in (near if given is None else [given]) for b in below]
    for folder in tried:
        if any((folder / kind).is_dir() for kind in ("registrations", "FLAME_parameters")):
            return folder.absolute()
    if given is not None:
        raise DatasetError(f"{given}: no folder registrations or FLAME_parameters in it")
    return None


def _recognise(folders: dict[str, Path]) -> str | None:
    """The last subject tells, if it was unpacked."""
    return next((version for version in ("02", "01") if _LAST[version] in folders), None)


def _read_list(path: Path) -> set[str]:
    if not path.is_file():
        raise DatasetError(f"{path}: no such list of subjects")
    ids = set()
    for number, line in enumerate(read_text(path, DatasetError).splitlines(), 1):
        for token in re.split(r"[\s,;]+", line.partition("#")[0].strip()):
            if re.fullmatch(r"[0-9]{1,5}", token):
                ids.add(_id(token))
            elif token:
                raise DatasetError(f"{path}, line {number}: {token[:20]!r} is no subject id")
    if not ids:
        raise DatasetError(f"{path}: no subject ids in it")
    return ids


def _test(wanted: Any) -> Callable[[Any], bool]:
    """What a value of metadata must satisfy."""
    if callable(wanted):
        return lambda value: bool(wanted(value))
    if isinstance(wanted, tuple):
        if len(wanted) != 2 or not all(w is None or isinstance(w, (int, float)) for w in wanted):
            raise InputError(f"a tuple must be (lowest, highest), two numbers, not {wanted!r}")
        low, high = (b if w is None else w for w, b in zip(wanted, (-inf, inf), strict=True))
        return lambda value: isinstance(value, (int, float)) and low <= value <= high
    if isinstance(wanted, (set, frozenset, list)):
        allowed = [_plain(w) for w in wanted]
        return lambda value: _plain(value) in allowed
    return lambda value: bool(_plain(value) == _plain(wanted))


def _plain(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value
