"""Closest points against references that share no code with the kernels."""

import itertools

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from licp.closest import (
    Border,
    TriangleTree,
    closest_on_incident,
    closest_on_triangle,
    leaning_feet,
)
from licp.errors import InputError, MeshError
from licp.geometry import vertex_faces, vertex_fans

BOX = trimesh.creation.box((2, 2, 2))
FLAT = ([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]])


def reference_distance(p, triangle):
    """Least distance over the affine hulls of all subsets of corners whose foot is inside."""
    return reference_foot(p, triangle)[0]


def reference_foot(p, triangle):
    """That distance, in any dimension, and the barycentric coordinates of the foot."""
    best, foot = np.inf, np.zeros(3)
    for size in (1, 2, 3):
        for subset in itertools.combinations(range(3), size):
            c = triangle[list(subset)]
            E = (c[1:] - c[0]).T
            t = np.linalg.lstsq(E, p - c[0], rcond=1e-14)[0] if size > 1 else np.zeros(0)
            if (t >= 0).all() and t.sum() <= 1:
                distance = np.linalg.norm(p - c[0] - E @ t)
                if distance < best:
                    best, foot = distance, np.zeros(3)
                    foot[list(subset)] = [1 - t.sum(), *t]
    return best, foot


def feet(V, F, face, barycentric):
    return np.einsum("qk,qki->qi", barycentric, V[F[face]])


def random_triangles(rng, kind, count):
    T = rng.normal(size=(count, 3, 3))
    if kind == "point":
        T[:, 1] = T[:, 2] = T[:, 0]
    elif kind == "doubled corner":
        T[:, 2] = T[:, 1]
    elif kind == "collinear":
        T[:, 2] = T[:, 0] + rng.normal(size=(count, 1)) * (T[:, 1] - T[:, 0])
    elif kind == "sliver":
        height = 10.0 ** rng.uniform(-9, -2, (count, 1))
        T[:, 2] = T[:, 0] + rng.uniform(size=(count, 1)) * (T[:, 1] - T[:, 0]) + height * T[:, 2]
    return T


@pytest.mark.parametrize("kind", ["any", "point", "doubled corner", "collinear", "sliver"])
def test_triangle_agrees_with_least_squares(kind):
    rng = np.random.default_rng(0)
    T = random_triangles(rng, kind, 200)
    T = T[np.arange(200)[:, None], rng.permuted(np.tile(np.arange(3), (200, 1)), axis=1)]
    for triangle, p in zip(T, 2 * rng.normal(size=(200, 3)), strict=True):
        u, v, w, squared = closest_on_triangle(tuple(p), *map(tuple, triangle))
        b = np.array([u, v, w])
        assert (b >= 0).all() and abs(b.sum() - 1) < 1e-12
        assert np.sqrt(squared) == pytest.approx(np.linalg.norm(b @ triangle - p), abs=1e-12)
        assert np.sqrt(squared) == pytest.approx(reference_distance(p, triangle), abs=1e-8)


def test_triangle_close_to_its_own_points():
    rng = np.random.default_rng(1)
    for kind, most in (("any", 1e-12), ("collinear", 1e-12), ("sliver", 3e-8)):
        for triangle in random_triangles(rng, kind, 100):
            p = rng.dirichlet(np.ones(3)) @ triangle
            assert closest_on_triangle(tuple(p), *map(tuple, triangle))[3] < most**2


def test_box_inside_and_outside():
    tree = TriangleTree(BOX.vertices, BOX.faces)
    p = np.random.default_rng(2).uniform(-3, 3, (500, 3))
    outside = np.linalg.norm(np.maximum(np.abs(p) - 1, 0), axis=1)
    inside = 1 - np.abs(p).max(1)
    distance, face, b = tree.query(p)
    np.testing.assert_allclose(distance, np.where(outside > 0, outside, inside), atol=1e-12)
    foot = feet(BOX.vertices, BOX.faces, face, b)
    np.testing.assert_allclose(np.linalg.norm(foot - p, axis=1), distance, atol=1e-12)


def soup(rng, count):
    """Corners of triangles of all kinds and sizes, some of them twice."""
    kinds = ["any", "point", "doubled corner", "collinear", "sliver"]
    T = np.concatenate([random_triangles(rng, kind, count // 5) for kind in kinds])
    T = T * 10.0 ** rng.uniform(-3, 0, (len(T), 1, 1)) + rng.normal(size=(len(T), 1, 3))
    return np.concatenate([T, T[::7]])


@pytest.mark.parametrize("count", [5, 20, 300])
def test_tree_agrees_with_all_triangles(count):
    rng = np.random.default_rng(count)
    T = soup(rng, count)
    V, F = T.reshape(-1, 3), np.arange(3 * len(T)).reshape(-1, 3)
    p = np.concatenate([2 * rng.normal(size=(60, 3)), V[rng.integers(len(V), size=20)]])
    every = np.array([[closest_on_triangle(tuple(q), *map(tuple, t))[3] for t in T] for q in p])
    distance, face, b = TriangleTree(V, F).query(p)
    np.testing.assert_array_equal(distance, np.sqrt(every.min(1)))
    np.testing.assert_array_equal(face, every.argmin(1))  # the lowest of equals
    assert (b >= 0).all()


def test_tree_of_many_triangles_in_one_place():
    V = np.ones((3, 3))
    distance, face, _ = TriangleTree(V, np.tile([0, 1, 2], (1000, 1))).query([[1, 1, 3]])
    assert distance.tolist() == [2.0] and face.tolist() == [0]


def test_upper_bound():
    tree = TriangleTree(*FLAT)
    p = np.tile([0.2, 0.2, 2.0], (4, 1))
    distance, face, b = tree.query(p, [np.inf, 2.0, 1.999, 0.0])
    assert distance.tolist() == [2, 2, np.inf, np.inf]
    assert face.tolist() == [0, 0, -1, -1]
    assert not b[2:].any()
    assert tree.query(p, 1.0)[1].tolist() == [-1] * 4


def test_order_of_queries_and_faces_does_not_matter():
    rng = np.random.default_rng(3)
    sphere = trimesh.creation.icosphere(3)
    p = rng.normal(size=(300, 3))
    distance, face, b = TriangleTree(sphere.vertices, sphere.faces).query(p)
    order = rng.permutation(len(p))
    for got, want in zip(
        TriangleTree(sphere.vertices, sphere.faces).query(p[order]),
        (distance, face, b),
        strict=True,
    ):
        np.testing.assert_array_equal(got, want[order])
    shuffle = rng.permutation(len(sphere.faces))
    got = TriangleTree(sphere.vertices, sphere.faces[shuffle]).query(p)
    np.testing.assert_array_equal(got[0], distance)
    # On a common side another face may be the lowest: the point is the same.
    where = feet(sphere.vertices, sphere.faces, face, b)
    again = feet(sphere.vertices, sphere.faces[shuffle], *got[1:])
    np.testing.assert_allclose(again, where, atol=1e-14)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_similarity(scale):
    rng = np.random.default_rng(4)
    sphere = trimesh.creation.icosphere(3)
    R = Rotation.from_rotvec([0.3, -1.2, 0.7]).as_matrix()
    p = rng.normal(size=(300, 3))
    want = TriangleTree(sphere.vertices, sphere.faces).query(p)
    move = [scale * (x @ R.T + [3, -2, 5]) for x in (sphere.vertices, p)]
    got = TriangleTree(move[0], sphere.faces).query(move[1])
    np.testing.assert_allclose(got[0], scale * want[0], rtol=0, atol=1e-13 * scale)
    where = feet(sphere.vertices, sphere.faces, *want[1:])
    np.testing.assert_allclose(feet(sphere.vertices, sphere.faces, *got[1:]), where, atol=1e-12)


def test_incident_agrees_with_the_triangles_around():
    rng = np.random.default_rng(5)
    sphere = trimesh.creation.icosphere(2)
    V = np.concatenate([sphere.vertices, [[9, 9, 9]]])
    F = sphere.faces
    at = rng.integers(len(V) - 1, size=200)
    p = V[at] + 0.1 * rng.normal(size=(200, 3))
    face, b, point, squared = closest_on_incident(p, at, V, F, *vertex_faces(F, len(V)))
    for i in range(200):
        around = np.flatnonzero((F == at[i]).any(1))
        assert face[i] in around
        best = min(reference_distance(p[i], V[F[f]]) for f in around)
        assert np.sqrt(squared[i]) == pytest.approx(best, abs=1e-12)
    np.testing.assert_allclose(point, feet(V, F, face, b), atol=1e-15)


@pytest.mark.parametrize("lean", [0.0, 0.3, 3.0])
def test_feet_lean_towards_where_normals_agree(lean):
    rng = np.random.default_rng(7)
    sphere = trimesh.creation.icosphere(2)
    V, F = np.asarray(sphere.vertices), np.asarray(sphere.faces, np.int64)
    V = np.concatenate([V, V[F[0]].mean(0)[None]])
    F = np.concatenate([F, [[F[0, 0], F[0, 1], len(V) - 1], [F[0, 0], F[0, 0], F[0, 1]]]])  # flat
    N = V + 0.2 * rng.normal(size=V.shape)
    N /= np.linalg.norm(N, axis=1, keepdims=True)
    start, incident = vertex_faces(F, len(V))
    at = rng.integers(len(V), size=100)
    P, up = V[at] + 0.1 * rng.normal(size=(100, 3)), rng.normal(size=(100, 3))
    queries, space = np.hstack([P, lean * up]), np.hstack([V, lean * N])
    face, b, point, facing = leaning_feet(P, up, at, V, N, F, *vertex_fans(F, len(V)), lean)
    nearest = closest_on_incident(P, at, V, F, start, incident)
    # On an edge, either of its faces is right.
    assert (F[face] == at[:, None]).any(axis=1).all() and (b >= 0).all()
    np.testing.assert_allclose(feet(V, F, face, b), nearest[2], atol=1e-12)
    for i in range(100):
        around = incident[start[at[i]] : start[at[i] + 1]]
        like = [(*reference_foot(queries[i], space[F[f]]), f) for f in around]
        _, weights, f = min(like, key=lambda found: found[0])
        aside = weights @ V[F[f]] - nearest[2][i]
        gap, length = np.sqrt(nearest[3][i]), np.linalg.norm(aside)
        aside *= min(1.0, gap / length) if length > 0 else 0.0
        np.testing.assert_allclose(point[i], nearest[2][i] + aside, atol=1e-9)
        normal = b[i] @ N[F[face[i]]]
        np.testing.assert_allclose(facing[i], normal / np.linalg.norm(normal), atol=1e-12)
    if lean == 0.0:
        np.testing.assert_allclose(point, nearest[2], atol=1e-7)


def test_leaning_without_triangles_is_the_vertex():
    V, N = np.array([*FLAT[0], [5, 5, 5]], float), np.tile([0.0, 0.0, 1.0], (4, 1))
    face, b, point, facing = leaning_feet(
        np.ones((1, 3)), N[:1], np.array([3]), V, N, np.array(FLAT[1]),
        *vertex_fans(FLAT[1], 4), 1.0,
    )  # fmt: skip
    assert face.tolist() == [-1] and not b.any()
    assert point.tolist() == [[5, 5, 5]] and facing.tolist() == [[0, 0, 1]]


def test_incident_without_triangles_is_the_vertex():
    V = [*FLAT[0], [5, 5, 5]]
    face, b, point, squared = closest_on_incident(
        [[5, 5, 7]], [3], V, FLAT[1], *vertex_faces(FLAT[1], 4)
    )
    assert face.tolist() == [-1] and not b.any()
    assert point.tolist() == [[5, 5, 5]] and squared.tolist() == [4]


def test_inputs_stay_and_may_be_read_only():
    V, F = np.array(FLAT[0], float), np.array(FLAT[1])
    p = np.array([[0.1, 0.1, 1.0]])
    for a in (V, F, p):
        a.flags.writeable = False
    assert TriangleTree(V, F).query(p)[0].tolist() == [1.0]
    assert closest_on_incident(p, [0], V, F, *vertex_faces(F, 3))[3].tolist() == [1.0]
    W = V.copy()
    TriangleTree(W, F)
    assert W.flags.writeable
    np.testing.assert_array_equal(W, V)


def test_no_queries():
    assert [x.shape for x in TriangleTree(*FLAT).query(np.zeros((0, 3)))] == [(0,), (0,), (0, 3)]


def test_border():
    # Two triangles share the side 1-2; a third one hangs on it: three faces, not a border.
    F = np.array([[0, 1, 2], [2, 1, 3]])
    border = Border(F, 5)
    inside, side, corner = [0.2, 0.3, 0.5], [0, 0.4, 0.6], [0, 0, 1]
    assert border.holds([0, 0, 0, -1], [inside, side, corner, side]).tolist() == [0, 0, 1, 0]
    assert border.holds([0, 0], [[0.4, 0, 0.6], [0.4, 0.6, 1e-12]]).all()
    assert (
        not Border(np.concatenate([F, [[1, 2, 4]]]), 5).holds([0, 1], [side, [0.5, 0.5, 0]]).any()
    )
    sphere = trimesh.creation.icosphere(1)
    tree = TriangleTree(sphere.vertices, sphere.faces)
    _, face, b = tree.query(sphere.vertices)
    assert not Border(sphere.faces, len(sphere.vertices)).holds(face, b).any()


def test_border_of_a_disc_is_where_outer_points_land():
    n = 40
    angle = 2 * np.pi * np.arange(n) / n
    V = np.concatenate([[[0, 0, 0]], np.c_[np.cos(angle), np.sin(angle), 0 * angle]])
    F = np.c_[np.zeros(n, int), 1 + np.arange(n), 1 + (np.arange(n) + 1) % n]
    p = np.random.default_rng(6).uniform(-2, 2, (300, 3))
    _, face, b = TriangleTree(V, F).query(p)
    radius = np.linalg.norm(p[:, :2], axis=1)
    clear = np.abs(radius - 1) > 0.01
    np.testing.assert_array_equal(Border(F, n + 1).holds(face, b)[clear], (radius > 1)[clear])


def test_bad_meshes():
    with pytest.raises(MeshError, match="without faces"):
        TriangleTree(FLAT[0], np.zeros((0, 3), int))
    with pytest.raises(MeshError, match=r"not finite.*vertex 1"):
        TriangleTree([[0, 0, 0], [np.nan, 0, 0], [0, 1, 0]], FLAT[1])
    with pytest.raises(MeshError, match="do not exist"):
        TriangleTree(FLAT[0], [[0, 1, 3]])


def test_bad_queries():
    tree = TriangleTree(*FLAT)
    with pytest.raises(InputError, match="shape"):
        tree.query([0, 0, 0])
    with pytest.raises(InputError, match="point 1"):
        tree.query([[0, 0, 0], [0, np.inf, 0]])
    with pytest.raises(InputError, match="negative"):
        tree.query([[0, 0, 0]], -1.0)
    with pytest.raises(InputError, match="upper_bound"):
        tree.query([[0, 0, 0]], [1.0, 2.0])
    rows = vertex_faces(FLAT[1], 3)
    with pytest.raises(InputError, match=r"vertex_ids\[0\] = 3"):
        closest_on_incident([[0, 0, 0]], [3], *FLAT, *rows)
    with pytest.raises(InputError, match="vertex_ids must have shape"):
        closest_on_incident([[0, 0, 0]], [0, 1], *FLAT, *rows)
    with pytest.raises(MeshError, match="not of one mesh"):
        closest_on_incident([[0, 0, 0]], [0], *FLAT, rows[0][:-1], rows[1])
