"""What Headspace says about a subject and the capture: ``subject.txt``.

Lines are ``key:value``, split at the first colon. How some of the keys are spelled is known only
to those who hold the data, so they are matched by their words, whatever the case, separators,
suffix (Flag, Descriptor) and dialect (colour, color), and what matches nothing is kept as it is.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from licp.errors import DatasetError

__all__ = ["Metadata", "parse_metadata"]

_YES = {"1", "true", "yes", "y", "present"}
_NO = {"0", "false", "no", "n", "none", "absent"}
_SEXES = {"m": "male", "man": "male", "boy": "male", "f": "female", "woman": "female"}
_SEXES |= {"girl": "female", "male": "male", "female": "female"}
# A key belongs to the first field whose pattern it matches; keys come without separators and in
# lower case. "age" must not match "image", nor "cap" the captures.
_KEYS = {
    "id": r"(subject|person)?(id|index|number)",
    "sex": r"(gender|sex)",
    "age": r"age(years|inyears|atcapture)?",
    "ethnicity": r".*ethnic.*",
    "eye_colour": r".*eye.*colou?r.*",
    "hair_colour": r".*hair.*colou?r.*",
    "hair_bulge": r".*bulge.*",
    "cap_artefact": r".*art[ei]fact.*",
    "cranial_hole": r".*crani.*hole.*|.*hole.*crani.*",
    "chin_hole": r".*chin.*hole.*|.*hole.*chin.*",
    "beard": r".*beard.*",
    "moustache": r".*mo?u?stache.*",
    "expression": r".*expression.*",
    "spectacles": r".*(spectacle|glasses).*",
    "quality": r".*quality.*",
}
_FLAGS = ("spectacles", "hair_bulge", "cap_artefact", "cranial_hole", "chin_hole")


@dataclass(frozen=True)
class Metadata:
    """Subject and capture; None is what the file does not say or leaves empty.

    Attributes
    ----------
    id : str or None
        As written in the file.
    sex : "male", "female" or None
    age : float or None
        Years.
    ethnicity, eye_colour, hair_colour : str or None
        As declared.
    beard, moustache : str or None
        Descriptions; "none" says that there is none.
    expression : str or None
        "neutral" or a description.
    spectacles : bool or None
    quality : str or None
        Description of defects; "none" says that there are none.
    hair_bulge : bool or None
        Hair bulges under the cap.
    cap_artefact : bool or None
        Folds and ridges of the cap.
    cranial_hole, chin_hole : bool or None
        The scan has a large hole in the cranium, or under the chin.
    other : mapping of str to str
        Keys that are none of these, and values that do not fit their type, as written.
    """

    id: str | None = None
    sex: str | None = None
    age: float | None = None
    ethnicity: str | None = None
    eye_colour: str | None = None
    hair_colour: str | None = None
    beard: str | None = None
    moustache: str | None = None
    expression: str | None = None
    spectacles: bool | None = None
    quality: str | None = None
    hair_bulge: bool | None = None
    cap_artefact: bool | None = None
    cranial_hole: bool | None = None
    chin_hole: bool | None = None
    other: Mapping[str, str] = field(default_factory=dict, hash=False)


def parse_metadata(text: str, source: str | Path = "metadata") -> Metadata:
    r"""Read the content of a ``subject.txt``.

    Parameters
    ----------
    text : str
        Lines ``key:value``; empty lines and lines without a colon are skipped.
    source : str or path
        For messages.

    Raises
    ------
    DatasetError
        If no line has the form ``key:value``.

    Examples
    --------
    >>> about = parse_metadata("gender:Female\nage:\nunderChinHoleFlag:1\nshoe size: 38")
    >>> about.sex, about.age, about.chin_hole, about.other["shoe size"]
    ('female', None, True, '38')
    """
    values: dict[str, Any] = {}
    other: dict[str, str] = {}
    pairs = [line.partition(":") for line in text.splitlines() if ":" in line]
    pairs = [(k.strip(), c, v.strip()) for k, c, v in pairs if k.strip()]
    if not pairs or "\0" in text:
        raise DatasetError(f"{source}: no lines 'key:value' found; is the file damaged?")
    for key, _, value in pairs:
        name = _field(key)
        if name is None or values.get(name) is not None:
            other.setdefault(key, value)
            continue
        values[name] = _typed(name, value)
        if values[name] is None and value:
            other.setdefault(key, value)
    return Metadata(**values, other=other)


def _field(key: str) -> str | None:
    letters = re.sub(r"[^a-z]", "", key.lower())
    return next((name for name, p in _KEYS.items() if re.fullmatch(p, letters)), None)


def _typed(name: str, value: str) -> Any:
    if name == "sex":
        return _SEXES.get(value.lower())
    if name == "age":
        return _years(value)
    if name in _FLAGS:
        word = value.lower()
        return True if word in _YES else False if word in _NO else None
    return value or None


def _years(value: str) -> float | None:
    match = re.fullmatch(r"(\d+(?:\.\d*)?)\s*(y|yrs?|years?|m|months?)?(\s*old)?", value.lower())
    if match is None:
        return None
    years = float(match[1]) / (12 if (match[2] or "").startswith("m") else 1)
    # Nobody is older; missing values are often written as 999 or the like.
    return years if math.isfinite(years) and years <= 130 else None
