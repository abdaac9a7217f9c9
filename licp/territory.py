"""Territories: which part of the scan the correspondence sets of a template may match.

Our own extractor of regions from a scan.  After a first bending, each scan vertex takes the set of
the nearest template vertex in the space of the search (position, normal, curvature), and what is
uncertain about that is dilated along the surface of the scan.  So it goes by geometry alone, and by
landmarks where there are any, since they have drawn the template by then.  It is done once: if
regions followed the template, they would permit whatever it does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from licp.geometry import grown
from licp.traits import Traits

__all__ = ["Places", "Territory", "dilated"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# How far along the scan the edge of a region may be off after a first bending: 6 mm of 400.
# Anything from nothing to 12 mm does about the same on our tuning heads.
_UNSURE = 0.015


@dataclass(frozen=True, eq=False)
class Territory:
    """Who may match what.

    Attributes
    ----------
    sets : (n,) int64
        Row of ``permits`` that each template vertex goes by; -1, the last, for those of no set.
    permits : (k, s) bool
        Whether the vertices of each set may match a scan vertex.
    """

    sets: Ints
    permits: Bools

    @classmethod
    def of_labels(cls, sets: Ints, labels: Ints) -> "Territory":
        """Equal labels belong together; scan vertices labelled -1 may be matched by anything."""
        names, own = np.unique(sets, return_inverse=True)
        permits = (labels == names[:, None]) | (labels < 0) | (names[:, None] < 0)
        return cls(own, permits)

    def holds(self, found: Ints) -> Bools:
        """Whether each template vertex may match the scan vertex that was found for it, (n,)."""
        allowed: Bools = self.permits[self.sets, found]
        return allowed

    def keep(self, found: Ints, again: Callable[[Ints, Ints], Ints]) -> Ints:
        """Matches (n,) with those outside of the own territory searched anew inside it.

        Parameters
        ----------
        found : (n,) int64
            Scan vertices.
        again : callable
            Finds, for some template vertices, the nearest among some scan vertices.

        Returns
        -------
        (n,) int64
            -1 where a set may match nothing.
        """
        found = found.copy()
        stray = np.flatnonzero(~self.holds(found))
        for k in np.unique(self.sets[stray]):
            mine, among = stray[self.sets[stray] == k], np.flatnonzero(self.permits[k])
            found[mine] = again(mine, among) if len(among) else -1
        return found


class Places:
    """Where on the scan the correspondence sets of a template lie, for every list of sets.

    Parameters
    ----------
    alike : (s,) int64
        The template vertex that each scan vertex looks most like, -1 for none.
    sets : mapping of tuple of str to (n,) int64
        Set of each of these template vertices, by list of sets.
    neighbours : (s + 1,) int, (e,) int
        Of the scan, see :func:`licp.geometry.vertex_neighbours`.
    spacing : float
        Of the scan, in parts of the template's size.
    """

    def __init__(
        self,
        alike: Ints,
        sets: Mapping[tuple[str, ...], Ints],
        neighbours: tuple[NDArray[Any], NDArray[Any]],
        spacing: float,
    ) -> None:
        rings = max(1, round(_UNSURE / spacing))
        self._permits = {
            names: dilated(np.where(alike < 0, -1, own[alike]), len(names), neighbours, rings)
            for names, own in sets.items()
        }

    def of(self, names: tuple[str, ...], traits: Traits) -> Territory | None:
        """Of one list of sets, for a template at any resolution; None if the list is empty."""
        return Territory(traits.sets[names], self._permits[names]) if names else None


def dilated(
    labels: Ints, count: int, neighbours: tuple[NDArray[Any], NDArray[Any]], rings: int
) -> Bools:
    """Vertices of a mesh within so many edges of each label, and a row of all, (count + 1, s).

    Parameters
    ----------
    labels : (s,) int64
        From 0 to ``count - 1``; what is within reach of -1 may be of any label.
    count : int
        Number of labels.
    neighbours : (s + 1,) int, (e,) int
        See :func:`licp.geometry.vertex_neighbours`.
    rings : int
        Number of edges.

    Examples
    --------
    >>> import trimesh
    >>> from licp.geometry import vertex_neighbours
    >>> strip = np.array([[0, 1, 2], [1, 3, 2], [2, 3, 4], [3, 5, 4]])
    >>> dilated(np.array([0, 0, 0, 1, 1, 1]), 2, vertex_neighbours(strip, 6), 1).astype(int)
    array([[1, 1, 1, 1, 1, 0],
           [0, 1, 1, 1, 1, 1],
           [1, 1, 1, 1, 1, 1]])
    """
    inside = np.zeros((count + 1, len(labels)), bool)
    inside[-1] = True
    known = np.flatnonzero(labels >= 0)
    inside[labels[known], known] = True
    inside[:, labels < 0] = True
    return grown(inside, neighbours, rings)
