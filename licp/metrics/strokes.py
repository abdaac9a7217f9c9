"""Strokes: what a brush left on an image, as lines."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.spatial import KDTree

__all__ = ["strokes"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Pixels this near touch, at a side or a corner.
_TOUCH = 1.5
# Of lines, in half widths of the brush: what is so near goes with them, and ends so near join them.
_WIDTH, _JOINS = 2.0, 4.0


def strokes(painted: NDArray[np.bool_]) -> list[Floats]:
    """Lines along the middle of what is painted.

    Of all that touches, the longest way through it is a line, and what is beside that, within the
    width of the brush, goes with it.  The same is done with what is left, so a ring is two lines
    that meet, a crossing one line and two that end at it, a dot a line of one point.

    Parameters
    ----------
    painted : (height, width) bool
        Which pixels are.

    Returns
    -------
    list of (k, 2) float64
        Pixels in order, first right, then down.

    Examples
    --------
    >>> image = np.zeros((4, 9), bool)
    >>> image[1, 2:5] = image[3, 7] = True
    >>> [line.tolist() for line in strokes(image)]
    [[[2.0, 1.0], [3.0, 1.0], [4.0, 1.0]], [[7.0, 3.0]]]
    """
    rows, columns = np.nonzero(painted)
    if not len(rows):
        return []
    at = np.column_stack([columns, rows]).astype(np.float64)
    box = painted[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    depth = ndimage.distance_transform_edt(np.pad(box, 1))[1:-1, 1:-1][box]
    i, j = KDTree(at).query_pairs(_TOUCH, output_type="ndarray").T
    # Ways through the middle of a broad stroke are the short ones.
    length = np.linalg.norm(at[i] - at[j], axis=1) / np.minimum(depth[i], depth[j]) ** 2
    graph = sparse.csr_array((length, (i, j)), shape=(len(at), len(at)))
    graph = (graph + graph.T).tocsr()

    lines: list[Floats] = []
    traced = np.empty(0, np.int64)
    left = np.arange(len(at))
    while len(left):
        paths = [_drawn(left[path], depth) for path in _longest_ways(graph[left][:, left])]
        lines += [at[_joined(path, traced, at, depth)] for path in paths]
        traced = np.concatenate([traced, *paths])
        left = left[_brushes_off(left, traced, at, depth)[0] > _WIDTH]
    return lines


def _drawn(path: Ints, depth: Floats) -> Ints:
    """A way from rim to rim without half a brush at its ends; ``depth`` there becomes the brush."""
    size = 2 * int(depth[path].max()) + 1
    depth[path] = ndimage.maximum_filter1d(depth[path], size, mode="nearest")
    ends = np.minimum(depth[path[[0, -1]]].astype(int) - 1, (len(path) - 1) // 2)
    return path[ends[0] : len(path) - ends[1]]


def _brushes_off(some: Ints, traced: Ints, at: Floats, depth: Floats) -> tuple[Floats, Ints]:
    """How far pixels are from the nearest traced ones, in half widths of the brush, and these."""
    distance, near = KDTree(at[traced]).query(at[some])
    nearest = traced[near]
    return distance / depth[nearest], nearest


def _joined(path: Ints, traced: Ints, at: Floats, depth: Floats) -> Ints:
    """The path, led on to the lines beside which it ends."""
    if not len(traced):
        return path
    off, nearest = _brushes_off(path[[0, -1]], traced, at, depth)
    near = off <= _JOINS
    return np.concatenate([nearest[:1][near[:1]], path, nearest[1:][near[1:]]])


def _longest_ways(graph: sparse.csr_array) -> list[Ints]:
    """The longest of all shortest ways through each connected part of a graph, about."""
    part = connected_components(graph, directed=False)[1].astype(np.int64)
    start = np.unique(part, return_index=True)[1]
    start = _farthest(dijkstra(graph, indices=start, min_only=True), part)
    distance, before, _ = dijkstra(graph, indices=start, min_only=True, return_predecessors=True)
    before = np.where(before < 0, np.arange(len(part)), before)
    on_way = np.zeros(len(part), bool)
    on_way[_farthest(distance, part)] = True
    # After k rounds, all that comes up to 2**k steps before.
    for _ in range(int(len(part)).bit_length()):
        on_way[before[on_way]] = True
        before = before[before]
    way = np.flatnonzero(on_way)
    way = way[np.lexsort((-distance[way], part[way]))]
    return np.split(way, np.flatnonzero(np.diff(part[way])) + 1)


def _farthest(distance: Floats, part: Ints) -> Ints:
    """Of each part, the number of the one that is farthest."""
    order = np.lexsort((distance, part))
    return order[np.flatnonzero(np.r_[np.diff(part[order]), 1])]
