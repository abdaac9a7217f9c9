import numpy as np
import pytest
import trimesh

from licp import geometry as g
from licp.errors import MeshError


@pytest.fixture(scope="module")
def patch() -> tuple[np.ndarray, np.ndarray]:
    """A bumpy ball with holes and unused vertices, vertices and faces in random order."""
    rng = np.random.default_rng(3)
    ball = trimesh.creation.icosphere(subdivisions=3)
    V = np.r_[ball.vertices * (1 + 0.1 * rng.random((len(ball.vertices), 1))), rng.random((5, 3))]
    F = np.asarray(ball.faces)[rng.random(len(ball.faces)) > 0.1]
    order = rng.permutation(len(V))
    place = np.argsort(order)
    return V[order], place[F][rng.permutation(len(F))]


def test_unit_cube_areas_and_normals() -> None:
    box = trimesh.creation.box()
    N, A = g.face_normals_areas(box.vertices, box.faces)
    assert np.allclose(A, 0.5)
    assert np.allclose((N * box.triangles_center).sum(1), 0.5)  # outwards, half a side away
    assert g.vertex_areas(box.vertices, box.faces).sum() == pytest.approx(6.0)


def test_vertex_normals_of_a_sphere_point_away_from_its_centre() -> None:
    ball = trimesh.creation.icosphere(subdivisions=4)
    N = g.vertex_normals(ball.vertices, ball.faces)
    assert np.allclose(np.linalg.norm(N, axis=1), 1)
    assert (N * ball.vertices).sum(1).min() > 0.999


def test_vertex_normals_are_area_weighted_sums(patch: tuple[np.ndarray, np.ndarray]) -> None:
    V, F = patch
    N, A = g.face_normals_areas(V, F)
    expected = np.zeros_like(V)
    for k in range(3):
        np.add.at(expected, F[:, k], N * A[:, None])
    used = np.unique(F)
    expected[used] /= np.linalg.norm(expected[used], axis=1)[:, None]
    assert np.allclose(g.vertex_normals(V, F), expected, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_normals_do_not_depend_on_the_unit(
    patch: tuple[np.ndarray, np.ndarray], scale: float
) -> None:
    V, F = patch
    assert np.allclose(g.vertex_normals(V * scale, F), g.vertex_normals(V, F), atol=1e-10)
    assert np.allclose(
        g.face_normals_areas(V * scale, F)[1], g.face_normals_areas(V, F)[1] * scale**2
    )


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_degenerate_faces_have_no_normal_but_thin_ones_do(scale: float) -> None:
    V = np.array([[0, 0, 0], [3, 1, 2], [6, 2, 4], [0, 0, 0], [3, 1 + 1e-6, 2]]) * scale
    N, A = g.face_normals_areas(V, [[0, 1, 2], [0, 1, 1], [0, 3, 1], [0, 2, 4]])
    assert np.array_equal(np.linalg.norm(N, axis=1) > 0.5, [False, False, False, True])
    assert (A[:3] == 0).all() and A[3] > 0
    assert (g.vertex_normals(V, [[0, 1, 2]]) == 0).all()


def test_normals_that_cancel_are_zero() -> None:
    V = np.array([[0.1, 0.2, 0.3], [1.7, 0.1, 0.4], [0.2, 1.9, 0.8]])
    assert (g.vertex_normals(V, [[0, 1, 2], [0, 2, 1]]) == 0).all()


def test_edges_against_a_dictionary(patch: tuple[np.ndarray, np.ndarray]) -> None:
    _, F = patch
    count: dict[tuple[int, int], int] = {}
    for a, b, c in F.tolist():
        for i, j in ((a, b), (b, c), (c, a)):
            count[min(i, j), max(i, j)] = count.get((min(i, j), max(i, j)), 0) + 1
    E, C, S = g.face_edges(F)
    assert [tuple(e) for e in E.tolist()] == sorted(count)
    assert C.tolist() == [count[k] for k in sorted(count)]
    assert np.array_equal(E[S], np.sort(np.stack([F, np.roll(F, -1, axis=1)], 2), axis=2))
    assert {1, 2} == set(C.tolist())


def test_edges_of_a_vertex_with_thousands_of_faces() -> None:
    n = 5000
    rim = np.random.default_rng(0).permutation(n - 1) + 1
    F = np.stack([np.zeros(n - 1, int), rim, np.roll(rim, -1)], 1)
    E, C = g.edges(F)
    assert len(E) == 2 * (n - 1)
    assert np.array_equal(E[: n - 1], np.stack([np.zeros(n - 1), np.arange(1, n)], 1))
    assert (C[: n - 1] == 2).all() and (C[n - 1 :] == 1).all()


def test_sides_that_join_a_vertex_to_itself_are_no_edges() -> None:
    E, C, S = g.face_edges([[4, 4, 2]])
    assert E.tolist() == [[2, 4]] and C.tolist() == [2] and S.tolist() == [[-1, 0, 0]]


def test_borders() -> None:
    ball = trimesh.creation.icosphere(subdivisions=2)
    n, F = len(ball.vertices), np.asarray(ball.faces)
    assert not g.border_vertices(*g.face_edges(F)[:2], n).any()
    flags = g.border_vertices(*g.face_edges(F[1:])[:2], n)
    assert np.array_equal(np.flatnonzero(flags), np.sort(F[0]))


def test_components_are_ordered_by_size() -> None:
    small, large = trimesh.creation.box(), trimesh.creation.icosphere(subdivisions=1)
    F = np.r_[small.faces, large.faces + 9]  # vertex 8 belongs to no face
    labels = g.components(F, 9 + len(large.vertices))
    assert labels[:8].tolist() == [1] * 8 and labels[8] == -1 and (labels[9:] == 0).all()


def test_components_match_scipy(patch: tuple[np.ndarray, np.ndarray]) -> None:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    V, F = patch
    F = F[::7]  # many pieces
    E, _ = g.edges(F)
    n = len(V)
    graph = coo_array((np.ones(len(E)), (E[:, 0], E[:, 1])), shape=(n, n))
    _, expected = connected_components(graph, directed=False)
    labels = g.components(F, n)
    used = np.unique(F)
    assert (labels[np.setdiff1d(np.arange(n), used)] == -1).all()
    pairs = np.unique(np.stack([labels[used], expected[used]], 1), axis=0)
    assert len(pairs) == labels.max() + 1 == len(np.unique(expected[used]))
    assert (np.diff(np.bincount(labels[used])) <= 0).all()


def test_incident_faces_and_neighbours(patch: tuple[np.ndarray, np.ndarray]) -> None:
    V, F = patch
    n = len(V)
    p, i = g.vertex_faces(F, n)
    q, j = g.vertex_neighbours(F, n)
    assert p[-1] == 3 * len(F) and len(p) == len(q) == n + 1
    for v in range(0, n, 17):
        rows = np.flatnonzero((F == v).any(1))
        assert i[p[v] : p[v + 1]].tolist() == rows.tolist()
        assert j[q[v] : q[v + 1]].tolist() == [w for w in np.unique(F[rows]) if w != v]


def test_no_faces_is_fine() -> None:
    F = np.zeros((0, 3), int)
    assert g.edges(F)[0].shape == (0, 2)
    assert g.components(F, 3).tolist() == [-1, -1, -1]
    assert (g.vertex_normals(np.ones((3, 3)), F) == 0).all()


def test_indices_out_of_range_are_named() -> None:
    V = np.zeros((3, 3))
    with pytest.raises(MeshError, match=r"1 faces.*face 1 = \[0, 1, 3\], with 3 vertices"):
        g.vertex_normals(V, [[0, 1, 2], [0, 1, 3]])
    with pytest.raises(MeshError, match="do not exist"):
        g.components([[0, 1, -1]], 3)
    with pytest.raises(MeshError, match=r"\(m, 3\)"):
        g.edges([[0, 1, 2, 3]])


def test_inputs_may_be_read_only_and_stay_unchanged(
    patch: tuple[np.ndarray, np.ndarray],
) -> None:
    V, F = patch[0].copy(), patch[1].copy()
    V.flags.writeable = F.flags.writeable = False
    n = len(V)
    assert np.array_equal(g.vertex_normals(V, F), g.vertex_normals(*patch))
    assert np.array_equal(g.vertex_areas(V, F), g.vertex_areas(*patch))
    assert np.array_equal(g.components(F, n), g.components(patch[1], n))
    assert np.array_equal(g.edges(F)[0], g.edges(patch[1].astype(np.int32))[0])
