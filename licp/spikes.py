"""What sticks out of a scan: spikes, and faces that are stretched to points far off."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from licp.compiled import kernel
from licp.geometry import (
    any_of,
    bucket,
    edge_lengths,
    neighbours_by_edges,
    sort_pairs,
    vertex_normals,
)

__all__ = ["find_spikes", "stretched_faces"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# A face is stretched if one of its edges is this many times as long as half of those at one of its
# ends, and longer than 20 mm of 400.  Eight times as long are some on the spikes of scans and where
# volumes were cut off and closed, 16 times a few of the latter.
_STRETCH, _LONG = 24.0, 0.05
# Spikes, see _stick_out. Without spikes the score stays below 2.9 on real and simulated scans.
_SUSPECT = 0.5
# Every spike we have seen has vertices that are raised a quarter of their mean edge length above
# their neighbours; noise as large as a tenth of the spacing raises few this much.
_RAISED = 0.1
_SPIKE = 3.5
_FLANK = 1.2
# Where a spike is many edges wide, none of its edges is longer than those around it. What tells it
# then is that it is twice as high as the ring around its foot is wide (a rim of an ear is as high
# as wide) all the way down, between 6 and 80 mm of 400 (noise is lower), and nowhere further than
# 8 mm from its axis (root mean square over a ring).
_SLIM = 2.0
_LOWEST, _TALLEST = 0.015, 0.2
_WIDEST = 0.02
# Flanks are steeper than 60 degrees and face away from the axis. Once they are less than this part
# of the ring, the foot is reached: the rest is sought within this many widths, or one that leans
# would go on along a nose.
_STEEP, _OUTWARD = 0.5, 0.6
_FOOT, _REACH = 0.3, 1.5


def stretched_faces(lengths: Floats, E: Ints, sides: Ints, size: float, n: int) -> Bools:
    """Faces with an edge that is far longer than others at one of its ends, (m,).

    So are all faces at a point that is far off, wherever it is: sideways, no height tells it.

    Parameters
    ----------
    lengths : (k,) float64
        Of the edges.
    E : (k, 2) int64
        Edges.
    sides : (m, 3) int64
        Those of each face.
    size : float
        Of the scan, the root of its area.
    n : int
        Number of vertices.

    Examples
    --------
    >>> import trimesh
    >>> from licp.geometry import edge_lengths, face_edges
    >>> ball = trimesh.creation.icosphere(4)
    >>> V = ball.vertices.copy()
    >>> V[100] = 40.0, 0.0, 0.0
    >>> E, _, sides = face_edges(ball.faces)
    >>> stretched = stretched_faces(edge_lengths(V, E), E, sides, 3.5, len(V))
    >>> bool((stretched == (ball.faces == 100).any(1)).all())
    True
    """
    long = np.flatnonzero(lengths > _LONG * size)
    if not len(long):
        return np.zeros(len(sides), bool)
    start, end = bucket(E.ravel(), n)
    stretched = np.zeros(len(E), bool)
    stretched[long] = _outgrown(E, lengths, start, end // 2, long)
    return any_of(stretched[sides])


@kernel
def _outgrown(E: Any, length: Any, start: Any, edge: Any, some: Any) -> Any:
    """Whether each of some edges is many times as long as half of those at one of its ends."""
    flags = np.zeros(some.size, np.bool_)
    for i in range(some.size):
        for k in range(2):
            v = E[some[i], k]
            usual = np.median(length[edge[start[v] : start[v + 1]]])
            if length[some[i]] > _STRETCH * usual:
                flags[i] = True
    return flags


def find_spikes(V: Floats, F: Ints, N: Floats, E: Ints, size: float) -> Bools:
    """Vertices of spikes, (n,): see :func:`licp.repair.clean_scan`.

    Parameters
    ----------
    V : (n, 3) float64
        Vertices.
    F : (m, 3) int64
        Faces.
    N : (m, 3) float64
        Normals of the faces.
    E : (k, 2) int64
        Edges.
    size : float
        Of the scan, the root of its area.
    """
    normals = vertex_normals(V, F)
    mean = _mean_edges(edge_lengths(V, E), E, len(V))
    start, neighbour = neighbours_by_edges(E, len(V))
    suspect = _crooked(F, N, normals)
    _keep_raised(suspect, V, normals, mean, start, neighbour)
    spike, slim = _find_spikes(V, mean, start, neighbour, np.flatnonzero(suspect))
    flags: Bools = _with_flanks(V, normals, start, neighbour, spike, slim, size)
    return flags


@kernel
def _mean_edges(lengths: Any, E: Any, n: int) -> Any:
    """Mean length of the edges at each vertex, 0 if there are none."""
    mean = np.zeros(n)
    count = np.zeros(n)
    for i in range(E.shape[0]):
        a, b = E[i, 0], E[i, 1]
        mean[a] += lengths[i]
        mean[b] += lengths[i]
        count[a] += 1.0
        count[b] += 1.0
    for v in range(mean.size):
        if count[v] > 0.0:
            mean[v] /= count[v]
    return mean


@kernel
def _crooked(F: Any, face_normals: Any, normals: Any) -> Any:
    """Vertices with a face more than 60 degrees off their normal: every spike has some."""
    crooked = np.zeros(normals.shape[0], np.bool_)
    for f in range(F.shape[0]):
        for k in range(3):
            v = F[f, k]
            dot = 0.0
            for d in range(3):
                dot += face_normals[f, d] * normals[v, d]
            if dot < _SUSPECT:
                crooked[v] = True
    return crooked


@kernel
def _keep_raised(suspect: Any, V: Any, normals: Any, mean: Any, start: Any, neighbour: Any) -> None:
    """Take the flag from vertices that lie level with the mean of their neighbours."""
    for v in range(suspect.size):
        if not suspect[v]:
            continue
        height = 0.0
        for i in range(start[v], start[v + 1]):
            for d in range(3):
                height += (V[v, d] - V[neighbour[i], d]) * normals[v, d]
        suspect[v] = abs(height) > _RAISED * mean[v] * (start[v + 1] - start[v])


@kernel
def _find_spikes(V: Any, mean: Any, start: Any, neighbour: Any, suspects: Any) -> Any:
    """Suspects that score, and vertices within two edges of them that stick out too.

    Also those that are the tip of something slim.
    """
    n = V.shape[0]
    spike, tip = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    mark = np.full(n, -1, np.int64)
    queue = np.empty(n, np.int64)
    tried = np.zeros(n, np.bool_)
    grow = np.empty(n, np.int64)
    found, stamp = 0, 0
    for s in suspects:
        height, stretch, slim = _stick_out(V, mean, start, neighbour, s, spike, mark, queue, stamp)
        stamp += 1
        tip[s] = slim > _SLIM
        if height * stretch > _SPIKE:
            grow[found] = s
            found += 1
    for i in range(found):
        spike[grow[i]] = True
    begin = 0
    for _ in range(2):
        end = found
        for i in range(begin, end):
            for j in range(start[grow[i]], start[grow[i] + 1]):
                w = neighbour[j]
                if spike[w] or tried[w]:
                    continue
                tried[w] = True
                height, stretch, _ = _stick_out(
                    V, mean, start, neighbour, w, spike, mark, queue, stamp
                )
                stamp += 1
                if height * stretch > _FLANK:
                    grow[found] = w
                    found += 1
        # Only now, so that the order of vertices does not matter.
        for i in range(end, found):
            spike[grow[i]] = True
        begin = end
    return spike, tip


@kernel
def _with_flanks(
    V: Any, normals: Any, start: Any, neighbour: Any, spike: Any, tip: Any, size: float
) -> Any:
    """Spikes, and what is slim below them and other tips, down to its foot."""
    n = V.shape[0]
    out = spike.copy()
    known = np.zeros(n, np.bool_)
    # s for what belongs to the part that began at s, n + s for what has been beside it.
    mark = np.full(n, -1, np.int64)
    own, ring = np.empty(n, np.int64), np.empty(n, np.int64)
    centre, axis = np.empty(3), np.empty(3)
    for s in range(n):
        if known[s] or not (spike[s] or tip[s]):
            continue
        own[0], many, first = s, 1, 0
        known[s], mark[s] = True, s
        while first < many:
            for j in range(start[own[first]], start[own[first] + 1]):
                w = neighbour[j]
                if (spike[w] or tip[w]) and not known[w]:
                    known[w], mark[w] = True, s
                    own[many] = w
                    many += 1
            first += 1
        told = many
        begin, around, slim, reach = 0, 0, 0, np.inf
        while True:
            left = 0
            for i in range(around):
                if mark[ring[i]] != s:
                    ring[left] = ring[i]
                    left += 1
            around = left
            for i in range(begin, many):
                for j in range(start[own[i]], start[own[i] + 1]):
                    w = neighbour[j]
                    if mark[w] != s and mark[w] != n + s:
                        mark[w] = n + s
                        ring[around] = w
                        around += 1
            if around < 3:
                break
            high, wide = _proportions(V, own[:many], ring[:around], centre, axis)
            if high > _TALLEST * size or wide > _WIDEST * size or high < _SLIM * wide:
                break
            if high > _LOWEST * size:
                slim = many
            begin = many
            for i in range(around):
                w = ring[i]
                if _on_flank(V[w], normals[w], centre, axis, reach):
                    mark[w] = s
                    own[many] = w
                    many += 1
            if many == begin:
                break
            if many - begin < _FOOT * around:
                # What is few edges wide is known to its foot already.
                if begin == told:
                    break
                reach = min(reach, _REACH * wide)
        for i in range(slim):
            out[own[i]] = True
    return out


@kernel
def _on_flank(x: Any, normal: Any, centre: Any, axis: Any, reach: float) -> bool:
    """Whether a vertex is within reach of an axis, and steep there, and faces away from it."""
    along, up = 0.0, 0.0
    for d in range(3):
        along += (x[d] - centre[d]) * axis[d]
        up += normal[d] * axis[d]
    off, away = 0.0, 0.0
    for d in range(3):
        r = x[d] - centre[d] - along * axis[d]
        off += r * r
        away += normal[d] * r
    off = np.sqrt(off)
    return up < _STEEP and away > _OUTWARD * off and off < reach


@kernel
def _proportions(V: Any, own: Any, ring: Any, centre: Any, axis: Any) -> Any:
    """Height of a part over the centre of the ring around it, and how wide that ring is.

    The width is the root mean square distance from the axis, which goes from the centre to the
    part's farthest vertex. Writes both.
    """
    centre[:] = 0.0
    for w in ring:
        for d in range(3):
            centre[d] += V[w, d] / len(ring)
    high, top = -1.0, own[0]
    for v in own:
        far = 0.0
        for d in range(3):
            far += (V[v, d] - centre[d]) ** 2
        if far > high:
            high, top = far, v
    high = np.sqrt(high)
    for d in range(3):
        axis[d] = (V[top, d] - centre[d]) / max(high, 1e-300)
    wide = 0.0
    for w in ring:
        along, all_of = 0.0, 0.0
        for d in range(3):
            along += (V[w, d] - centre[d]) * axis[d]
            all_of += (V[w, d] - centre[d]) ** 2
        wide += max(all_of - along * along, 0.0)
    return high, np.sqrt(wide / len(ring))


@kernel
def _stick_out(
    V: Any,
    mean: Any,
    start: Any,
    neighbour: Any,
    v: int,
    spike: Any,
    mark: Any,
    queue: Any,
    stamp: int,
) -> Any:
    """Height of a vertex over the ring three and four edges away, its mean edge length, slimness.

    The first two in units of the median (over the ring) mean edge length. The plane of the ring is
    that of least squares. Slimness is the distance from the centre of the ring in parts of the
    ring's distance from the line between them (root mean square). Known spikes are left out of the
    ring. Zeros if the ring has fewer than six vertices, or height times edge length is below what
    counts for a flank.
    """
    queue[0] = v
    mark[v] = stamp
    begin, end, ring = 0, 1, 0
    for depth in range(4):
        if depth == 2:
            ring = end
        last = end
        for i in range(begin, last):
            for j in range(start[queue[i]], start[queue[i] + 1]):
                w = neighbour[j]
                if mark[w] != stamp:
                    mark[w] = stamp
                    queue[end] = w
                    end += 1
        begin = last
    lengths = np.empty(end - ring)
    centre = np.zeros(3)
    m = 0
    for i in range(ring, end):
        w = queue[i]
        if not spike[w]:
            lengths[m] = mean[w]
            for d in range(3):
                centre[d] += V[w, d]
            m += 1
    if m < 6:
        return 0.0, 0.0, 0.0
    sort_pairs(lengths[:m], lengths[:m].copy())
    unit = lengths[m // 2]
    apart = 0.0
    for d in range(3):
        centre[d] /= m
        apart += (V[v, d] - centre[d]) ** 2
    # No plane through the centre is further away than the centre.
    apart = np.sqrt(apart)
    if apart * mean[v] <= _FLANK * unit * unit:
        return 0.0, 0.0, 0.0
    spread = np.zeros((3, 3))
    wide = 0.0
    for i in range(ring, end):
        w = queue[i]
        if not spike[w]:
            along = 0.0
            for a in range(3):
                for b in range(3):
                    spread[a, b] += (V[w, a] - centre[a]) * (V[w, b] - centre[b])
                along += (V[w, a] - centre[a]) * (V[v, a] - centre[a])
            wide -= (along / apart) ** 2
    wide = np.sqrt(max(wide + np.trace(spread), 0.0) / m)
    normal = np.linalg.eigh(spread)[1][:, 0]
    height = 0.0
    for d in range(3):
        height += (V[v, d] - centre[d]) * normal[d]
    return abs(height) / unit, mean[v] / unit, apart / max(wide, 1e-9 * apart)
