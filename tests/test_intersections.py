"""Intersecting pairs against a linear program, and known cases."""

import numpy as np
import pytest
import trimesh
from scipy.optimize import linprog
from scipy.spatial.transform import Rotation

from licp.closest import TriangleTree
from licp.errors import MeshError
from licp.intersections import self_intersections
from licp.threads import Crew

BASE = [[0, 0, 0], [4, 0, 0], [0, 4, 0]]


def pair(other, base=BASE):
    return self_intersections(np.array([*base, *other], float), [[0, 1, 2], [3, 4, 5]])


def interiors_meet(S, T):
    """Is some point a mixture of all corners of S and of all corners of T, none with weight 0?"""
    # Variables: six weights and the least of them, which is made as large as it can be.
    A = np.zeros((5, 7))
    A[:3, :3], A[:3, 3:6] = S.T, -T.T
    A[3, :3] = A[4, 3:6] = 1
    less = np.hstack([-np.eye(6), np.ones((6, 1))])
    cost = np.r_[np.zeros(6), -1]
    bounds = [(0, 1)] * 7
    found = linprog(cost, less, np.zeros(6), A, [0, 0, 0, 1, 1], bounds)
    return found.status == 0 and found.x[6] > 1e-7


CASES = {
    "crosses": ([[1, 1, -1], [1, 1, 1], [1, 2, 0]], True),
    "only an edge dips through": ([[1, 1, -1], [1, 1, 5], [9, 9, 5]], True),
    "crosses a side": ([[-1, 1, -1], [-1, 1, 1], [1, 1, 0.5]], True),
    "hovers": ([[1, 1, 1e-3], [2, 1, 1e-3], [1, 2, 1e-3]], False),
    "straddles the plane, but beside": ([[5, 5, -1], [5, 5, 1], [6, 5, 0]], False),
    "rests on a vertex": ([[1, 1, 0], [1, 2, 1], [2, 1, 1]], False),
    "rests on an edge": ([[1, 1, 0], [1, 2, 0], [2, 1, 1]], False),
    "starts in the interior and passes through": ([[1, 1, 0], [1, 2, 1], [2, 1, -1]], True),
    "same side, other vertices (a seam)": ([[4, 0, 0], [0, 0, 0], [0, -4, 1]], False),
    "same side, folded by 10 degrees": ([[4, 0, 0], [0, 0, 0], [0, 4, 0.7]], False),
    "same corner (a seam)": ([[0, 0, 0], [-1, 2, 1], [-2, -1, -1]], False),
    "touches a side from beside": ([[2, 0, -1], [2, 0, 1], [2, -2, 0]], False),
    "same plane, apart": ([[5, 5, 0], [6, 5, 0], [5, 6, 0]], False),
    "same plane, boxes overlap": ([[4, 4, 0], [4, 1, 0], [3, 4, 0]], False),
    "same plane, common side": ([[4, 0, 0], [0, 4, 0], [4, 4, 0]], False),
    "same plane, part of a side": ([[3, 0, 0], [1, 0, 0], [2, -2, 0]], False),
    "same plane, overlap": ([[1, 1, 0], [5, 1, 0], [5, 5, 0]], True),
    "same plane, within": ([[0.5, 0.5, 0], [1, 0.5, 0], [0.5, 1, 0]], True),
    "the same triangle": (BASE, True),
    "the same triangle, turned over": (BASE[::-1], True),
    "a segment through it": ([[1, 1, -1], [1, 1, 1], [1, 1, 1]], False),
    "a point in it": ([[1, 1, 0]] * 3, False),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_known_pairs(name, scale):
    other, meet = CASES[name]
    R = Rotation.from_rotvec([0.3, 0.6, 0.2]).as_matrix()
    for Q in (np.eye(3), R):
        base, moved = (scale * (np.array(x, float) @ Q.T + 7) for x in (BASE, other))
        assert pair(moved, base).tolist() == ([[0, 1]] if meet else [])
        assert pair(base, moved).tolist() == ([[0, 1]] if meet else [])


@pytest.mark.parametrize("size", [1, 2, 8])
def test_agrees_with_linear_program(size):
    # Small integers: a third of the pairs touch, share planes or overlap in part.
    rng = np.random.default_rng(size)
    T = rng.integers(-size, size + 1, (60, 3, 3)).astype(float)
    T[::2, :, 2] = T[::2, :1, 2]
    area = np.linalg.norm(np.cross(T[:, 1] - T[:, 0], T[:, 2] - T[:, 0]), axis=1)
    T = T[area > 0][:24]
    F = np.arange(3 * len(T)).reshape(-1, 3)
    want = [
        [i, j] for i in range(len(T)) for j in range(i + 1, len(T)) if interiors_meet(T[i], T[j])
    ]
    assert 10 < len(want) < len(T) * (len(T) - 1) / 2 - 10
    assert self_intersections(T.reshape(-1, 3), F).tolist() == want


def test_neighbours_never_count():
    folded = [[0, 0, 0], [4, 0, 0], [0, 4, 0], [1, 1, 0]]
    assert self_intersections(folded, [[0, 1, 2], [0, 1, 3]]).shape == (0, 2)


def test_plane_through_a_sphere_meets_the_faces_it_cuts():
    sphere = trimesh.creation.icosphere(3)
    n = len(sphere.vertices)
    V = np.concatenate([sphere.vertices, [[-9, -9, 0.123], [9, -9, 0.123], [0, 9, 0.123]]])
    F = np.concatenate([sphere.faces, [[n, n + 1, n + 2]]])
    z = V[sphere.faces][:, :, 2]
    cut = np.flatnonzero((z.min(1) < 0.123) & (z.max(1) > 0.123))
    got = self_intersections(V, F)
    assert got[:, 0].tolist() == cut.tolist()
    assert (got[:, 1] == len(F) - 1).all()


def test_two_spheres():
    sphere = trimesh.creation.icosphere(3)
    n = len(sphere.vertices)
    F = np.concatenate([sphere.faces, sphere.faces + n])

    def count(shift):
        return len(
            self_intersections(np.concatenate([sphere.vertices, sphere.vertices + shift]), F)
        )

    assert len(self_intersections(sphere.vertices, sphere.faces)) == 0
    assert count([2.01, 0, 0]) == 0
    assert count([1.0, 0.05, 0.02]) > 50
    assert count([0, 0, 0]) >= len(sphere.faces)  # every face lies in its copy


def test_order_of_faces_and_motion_do_not_matter():
    rng = np.random.default_rng(0)
    V = rng.normal(size=(300, 3))
    F = np.array([rng.choice(300, 3, replace=False) for _ in range(200)])
    want = self_intersections(V, F)
    assert len(want) > 64  # the list has grown
    assert (want[:, 0] < want[:, 1]).all()
    assert want.tolist() == sorted(want.tolist())
    shuffle = rng.permutation(200)
    got = np.sort(shuffle[self_intersections(V, F[shuffle])], axis=1)
    assert sorted(got.tolist()) == want.tolist()
    R = Rotation.from_rotvec([0.1, 0.9, 0.4]).as_matrix()
    for scale in (1e-3, 1e3):
        assert self_intersections(scale * (V @ R.T + 5), F).tolist() == want.tolist()
    assert self_intersections(V, np.roll(F, 1, axis=1)).tolist() == want.tolist()


def test_pairs_among_some_faces():
    V = np.random.default_rng(3).normal(size=(900, 3)) * [4, 4, 1]
    F = np.arange(900).reshape(-1, 3)
    every = self_intersections(V, F)
    some = np.random.default_rng(4).random(300) < 0.05
    want = every[some[every].any(1)]
    assert 20 < len(want) < len(every) / 2
    with Crew(2) as crew:
        assert self_intersections(V, F, None, crew, some).tolist() == want.tolist()
    assert len(self_intersections(V, F, among=np.zeros(300, bool))) == 0
    with pytest.raises(MeshError, match="300 faces"):
        self_intersections(V, F, among=some[1:])


def test_tree_of_the_mesh_is_used():
    V = np.random.default_rng(1).normal(size=(60, 3))
    F = np.arange(60).reshape(-1, 3)
    want = self_intersections(V, F)
    assert len(want)
    assert self_intersections(V, F, TriangleTree(V, F)).tolist() == want.tolist()
    with pytest.raises(MeshError, match="20 faces, not 19"):
        self_intersections(V, F[:-1], TriangleTree(V, F))


def test_bad_mesh():
    with pytest.raises(MeshError, match="without faces"):
        self_intersections(BASE, np.zeros((0, 3), int))
