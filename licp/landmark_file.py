"""Landmarks from text and JSON files."""

import math
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from licp.errors import LandmarkError
from licp.files import as_path, parse_json, read_text
from licp.io import as_mesh
from licp.landmarks import Landmarks

__all__ = ["load_landmarks"]

_COLUMNS = ["vertex", "x", "y", "z", "confidence"]


def load_landmarks(path: str | os.PathLike[str], template: Any) -> Landmarks:
    r"""Read landmarks and check them against the template.

    Parameters
    ----------
    path : path
        Text has one landmark a line: ``vertex x y z [confidence]``, separated by blanks, commas or
        semicolons, with a header or without; ``#`` starts a comment.  JSON is a list of objects
        with ``"position": [x, y, z]``, either ``"vertex": id`` or ``"face": id`` and
        ``"barycentric": [u, v, w]``, and possibly ``"confidence": c``; the position may be null
        where the confidence is 0.  Ids start at 0; positions are in the frame and unit of the
        scan.
    template : Mesh
        The mesh that ids refer to.

    Raises
    ------
    LandmarkError
        If the file cannot be read or does not fit the template; with the line, or the place in
        the list.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from licp.mesh import Mesh
    >>> triangle = Mesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     name = pathlib.Path(folder, "marks.csv")
    ...     _ = name.write_text("vertex,x,y,z\n2,10,0,5  # nose\n")
    ...     load_landmarks(name, triangle).positions.tolist()
    [[10.0, 0.0, 5.0]]
    """
    path, template = as_path(path, LandmarkError), as_mesh(template, "template")
    text = read_text(path, LandmarkError)
    entries = _from_json(text, path) if text.lstrip()[:1] in ("[", "{") else _from_text(text, path)
    if not entries:
        raise LandmarkError(f"{path}: no landmarks in the file")

    # Some face of each vertex, so that all landmarks can be points of faces.
    face_of = np.full(len(template.vertices), -1, np.int64)
    face_of[template.faces] = np.arange(len(template.faces))[:, None]
    faces, weights = [], []
    for e in entries:
        if not (math.isfinite(e.confidence) and e.confidence >= 0):
            raise LandmarkError(
                f"{e.place}: a confidence is finite and not negative, not {e.confidence}"
            )
        if e.confidence > 0 and not all(map(math.isfinite, e.position)):
            raise LandmarkError(f"{e.place}: the position is not finite; give it confidence 0")
        what, ids = ("vertex", face_of) if e.weights is None else ("face", template.faces)
        if not 0 <= e.number < len(ids):
            raise LandmarkError(
                f"{e.place}: the template has no {what} {e.number}; they are 0 to {len(ids) - 1}"
            )
        if e.weights is None:
            face = int(face_of[e.number])
            if face < 0:
                raise LandmarkError(f"{e.place}: no face of the template uses vertex {e.number}")
            faces.append(face)
            weights.append((template.faces[face] == e.number).astype(float).tolist())
        elif min(e.weights) < -1e-6 or not abs(sum(e.weights) - 1) <= 1e-3:
            raise LandmarkError(
                f"{e.place}: barycentric coordinates add up to 1, none negative, not {e.weights}"
            )
        else:
            faces.append(e.number)
            weights.append(e.weights)
    return Landmarks(
        (np.array(faces), np.array(weights)),
        [e.position for e in entries],
        [e.confidence for e in entries],
    )


class _Entry(NamedTuple):
    """One landmark as the file has it."""

    place: str
    number: int  # of a face if there are weights, else of a vertex
    weights: list[float] | None
    position: list[float]
    confidence: float


def _from_text(text: str, path: Path) -> list[_Entry]:
    entries: list[_Entry] = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = re.split(r"\s*[,;]\s*|\s+", line.partition("#")[0].strip())
        if fields == [""]:
            continue
        place = f"{path}, line {number}"
        if not entries and [f.lower() for f in fields] in (_COLUMNS, _COLUMNS[:4]):
            continue
        if len(fields) not in (4, 5):
            raise LandmarkError(
                f"{place}: expected vertex, x, y, z and possibly confidence, found {len(fields)} "
                "values"
            )
        try:
            vertex = int(fields[0])
        except ValueError:
            raise LandmarkError(f"{place}: {fields[0]!r} is not a vertex number") from None
        try:
            numbers = [float(f) for f in fields[1:]]
        except ValueError as error:
            raise LandmarkError(f"{place}: {error}") from None
        confidence = numbers[3] if len(numbers) == 4 else 1.0
        entries.append(_Entry(place, vertex, None, numbers[:3], confidence))
    return entries


def _from_json(text: str, path: Path) -> list[_Entry]:
    items = parse_json(text, path, LandmarkError)
    if not isinstance(items, list):
        raise LandmarkError(f"{path}: expected a list of landmarks")
    entries: list[_Entry] = []
    for number, item in enumerate(items, 1):
        place = f"{path}, landmark {number} of {len(items)}"
        if not isinstance(item, dict):
            raise LandmarkError(f'{place}: expected an object {{"vertex": ..., "position": ...}}')
        if {"vertex", "face", "barycentric"} & set(item) not in (
            {"vertex"},
            {"face", "barycentric"},
        ):
            raise LandmarkError(
                f'{place}: needs either "vertex", or "face" and "barycentric", found '
                + (", ".join(item) or "nothing")
            )
        key = "vertex" if "vertex" in item else "face"
        index = item[key]
        if isinstance(index, bool) or not isinstance(index, int):
            raise LandmarkError(f"{place}: {key} must be a whole number, not {index!r}")
        confidence = item.get("confidence", 1.0)
        if isinstance(confidence, bool) or not isinstance(confidence, (int, float)):
            raise LandmarkError(f"{place}: confidence must be a number, not {confidence!r}")
        position = item.get("position")
        weights = None if key == "vertex" else _triple(item["barycentric"], place, "barycentric")
        if position is None:
            position = [math.nan] * 3
        else:
            position = _triple(position, place, "position")
        try:
            entries.append(_Entry(place, index, weights, position, float(confidence)))
        except OverflowError:
            raise LandmarkError(f"{place}: the confidence is beyond all measure") from None
    return entries


def _triple(value: Any, place: str, name: str) -> list[float]:
    if not (
        isinstance(value, list)
        and len(value) == 3
        and all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in value)
    ):
        raise LandmarkError(f"{place}: {name} must be a list of three numbers, not {value!r}")
    try:
        return [float(x) for x in value]
    except OverflowError:
        raise LandmarkError(f"{place}: {name} has a number that is beyond all measure") from None
