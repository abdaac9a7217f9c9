"""Named regions of a template: where on the head each vertex is."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from licp.checks import whole_number
from licp.errors import InputError
from licp.files import as_path, named, read_json, write_file
from licp.io import as_mesh
from licp.readonly import ReadOnlyArrays

__all__ = ["Regions"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Regions(ReadOnlyArrays, Mapping[str, Ints]):
    """Named vertex subsets of one template.  Immutable.

    They may overlap, since anatomy nests: lips are in the face, and a vertex may be of "lips",
    "face" and whatever a measurement wants to call it.  Where each vertex must be in one set only
    (:meth:`sets`), it is in the smallest of the sets that were asked for.

    Parameters
    ----------
    subsets : Regions or mapping of str to (k,) int
        Vertices by name, in any order.
    count : int
        Vertices of the template.

    Raises
    ------
    InputError
        If there is no region, or one is empty, not a list of vertices, or of another template.

    Examples
    --------
    >>> regions = Regions({"face": [0, 1, 2], "nose": [1]}, count=5)
    >>> regions["nose"].tolist(), regions.mask("face").tolist()
    ([1], [True, True, True, False, False])
    >>> regions.sets(["face", "nose"]).tolist()
    [0, 1, 0, -1, -1]
    """

    def __init__(self, subsets: Mapping[str, Any], count: int) -> None:
        if not isinstance(subsets, Mapping) or not subsets:
            raise InputError("regions are {name: [vertices], ...}, at least one of them")
        self.count = whole_number(count, "count", 0)
        if isinstance(subsets, Regions) and subsets.count != count:
            raise InputError(
                f"these regions are of a template of {subsets.count} vertices, not of {count}"
            )
        self._subsets = {
            str(name): _vertices(name, subsets[name], count) for name in sorted(subsets, key=str)
        }

    def __getitem__(self, name: str) -> Ints:
        """Vertices (k,) of a region, ascending."""
        return self._subsets[name]

    def __iter__(self) -> Iterator[str]:
        """Names, in alphabetical order."""
        return iter(self._subsets)

    def __len__(self) -> int:
        """How many regions there are."""
        return len(self._subsets)

    def __eq__(self, other: object) -> bool:
        """Whether names, vertices and count are the same."""
        return (
            isinstance(other, Regions)
            and self.count == other.count
            and list(self) == list(other)
            and all(np.array_equal(self[name], other[name]) for name in self)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Names and sizes."""
        sizes = ", ".join(f"{name} {len(ids)}" for name, ids in self.items())
        return f"<Regions of {self.count} vertices: {sizes}>"

    def mask(self, *names: str) -> Bools:
        """Vertices that are in any of the named regions, (n,).

        Raises
        ------
        InputError
            If there is no region of a name.
        """
        inside = np.zeros(self.count, bool)
        for name in names:
            inside[self._known(name)] = True
        return inside

    def sets(self, names: Sequence[str]) -> Ints:
        """Number of the smallest named region that each vertex is in, -1 for none, (n,).

        Raises
        ------
        InputError
            If there is no region of a name.
        """
        found = np.full(self.count, -1, np.int64)
        order = sorted(range(len(names)), key=lambda k: -len(self._known(names[k])))
        for k in order:
            found[self[names[k]]] = k
        return found

    def _known(self, name: str) -> Ints:
        if name not in self:
            raise InputError(f"there is no region {name!r}; there are {', '.join(self)}")
        return self[name]

    @classmethod
    def load(cls, path: str | os.PathLike[str], template: Any) -> "Regions":
        """From JSON, ``{name: [vertices], ...}``, possibly below a key "regions".

        Parameters
        ----------
        path : str or path
            A file.
        template : Mesh, path, trimesh.Trimesh, (vertices, faces) or int
            What they are regions of, or how many vertices it has.

        Raises
        ------
        InputError
            If the file cannot be read, or does not fit the template.
        """
        path = as_path(path, InputError)
        content = read_json(path, InputError)
        if isinstance(content, dict):
            content = content.get("regions", content)
        if not isinstance(template, (int, np.integer)):
            template = len(as_mesh(template).vertices)
        try:
            return cls(content, int(template))
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    def to_dict(self) -> dict[str, list[int]]:
        """Plain numbers, ready for JSON."""
        return {name: ids.tolist() for name, ids in self.items()}

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write what :meth:`load` reads; the file appears whole or not at all.

        Raises
        ------
        OutputError
            If it cannot be written there.
        """
        path = named(path, ".json", "regions")
        write_file(path, (json.dumps({"regions": self.to_dict()}) + "\n").encode())
        return path


def _vertices(name: Any, ids: Any, count: int) -> Ints:
    """Ascending vertices of one region, checked."""
    try:
        vertices = np.array(ids)
    except ValueError:
        vertices = np.zeros(0)
    if vertices.ndim != 1 or vertices.dtype.kind not in "iu" or not len(vertices):
        raise InputError(f"region {name} is not a list of vertices")
    if vertices.min() < 0 or vertices.max() >= count:
        raise InputError(
            f"region {name} has vertices {vertices.min()} to {vertices.max()}; the template's are "
            f"0 to {count - 1}"
        )
    unique = np.unique(vertices.astype(np.int64))
    unique.flags.writeable = False
    return unique
