"""The 68 landmarks of a Headspace scan, in the order of iBUG-68.

A landmark file has a vertex number a line, counted from 1 in the order of the OBJ. The order is
that of iBUG-68, but for the left half of the jaw line, which runs from the ear to the chin. The
landmarks are automatic: some 4 mm off on average, chin and corners of the mouth most, so they are
good for a start and as soft constraints, not as truth.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from licp.errors import DatasetError
from licp.files import as_path, read_text
from licp.mesh import Mesh

__all__ = ["IBUG68", "IBUG68_GROUPS", "ScanLandmarks", "read_landmark_ids"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

IBUG68_GROUPS: Mapping[str, slice] = {
    "jaw": slice(0, 17),
    "brow_right": slice(17, 22),
    "brow_left": slice(22, 27),
    "nose_bridge": slice(27, 31),
    "nose_base": slice(31, 36),
    "eye_right": slice(36, 42),
    "eye_left": slice(42, 48),
    "mouth_outer": slice(48, 60),
    "mouth_inner": slice(60, 68),
}
"""Groups of iBUG-68; left and right are the subject's."""

IBUG68: tuple[str, ...] = tuple(
    f"{group}_{k}" for group, part in IBUG68_GROUPS.items() for k in range(part.stop - part.start)
)
"""Names of the 68 landmarks: the group and the number within it, ``jaw_8`` is the chin."""


@dataclass(frozen=True, eq=False)
class ScanLandmarks(Mapping[str, Floats]):
    """Named points of a scan: ``landmarks["jaw_8"]`` is a position (3,).

    Attributes
    ----------
    vertices : (68,) int64
        Vertices of the scan, from 0, in the order of iBUG-68.
    positions : (68, 3) float64
        In the frame and unit of the scan.
    """

    vertices: Ints
    positions: Floats

    names = IBUG68

    def __getitem__(self, name: str) -> Floats:
        """Position (3,) of a landmark, or positions (k, 3) of a group such as "eye_left"."""
        if name not in IBUG68_GROUPS and name not in IBUG68:
            raise KeyError(f"no landmark {name!r}; see licp.headspace.IBUG68 for their names")
        part = IBUG68_GROUPS[name] if name in IBUG68_GROUPS else IBUG68.index(name)
        positions: Floats = self.positions[part]
        return positions

    def __iter__(self) -> Iterator[str]:
        """Names in order."""
        return iter(IBUG68)

    def __len__(self) -> int:
        """Always 68."""
        return len(IBUG68)

    @classmethod
    def on(cls, scan: Mesh, vertices: Ints, source: str | Path = "landmarks") -> "ScanLandmarks":
        """Look the vertices up on the scan.

        Raises
        ------
        DatasetError
            If the scan has not that many vertices.
        """
        bad = np.flatnonzero(vertices >= len(scan.vertices))
        if len(bad):
            raise DatasetError(
                f"{source}: {len(bad)} landmarks name vertices that {scan.name} does not have "
                f"(first: {IBUG68[bad[0]]} = {vertices[bad[0]] + 1} of {len(scan.vertices)}); "
                "the scan is cut off, or belongs to another subject"
            )
        return cls(vertices, scan.vertices[vertices])


def read_landmark_ids(path: str | os.PathLike[str]) -> Ints:
    """Vertices (68,) from 0, in the order of iBUG-68.

    Raises
    ------
    DatasetError
        If the file cannot be read or does not hold 68 vertex numbers.
    """
    path = as_path(path, DatasetError)
    tokens = read_text(path, DatasetError).split()
    if len(tokens) != len(IBUG68):
        raise DatasetError(
            f"{path}: expected {len(IBUG68)} landmarks, one vertex number a line, found "
            f"{len(tokens)} entries"
        )
    ids = np.empty(len(IBUG68), np.int64)
    for k, token in enumerate(tokens):
        # Nine digits are more vertices than fit into memory.
        if not (token.isascii() and token.isdigit() and len(token) < 10 and int(token) > 0):
            raise DatasetError(
                f"{path}, entry {k + 1}: {token[:20]!r} is not a vertex number (they count from 1)"
            )
        ids[k] = int(token) - 1
    ids[9:17] = ids[9:17][::-1]
    return ids
