import numpy as np
import pytest
from heads import Arrays, ball, part, potato, rotation
from scipy.spatial import KDTree

from licp.closest import TriangleTree
from licp.coarsening import thin
from licp.geometry import vertex_areas
from licp.repair import clean
from licp.similarity import Similarity
from licp.surface import Surface, even_sample, even_subset, spatial_order


def upper_half(mesh: Arrays) -> Arrays:
    half = clean(*part(mesh, (mesh[0][mesh[1]][:, :, 2] >= -1e-9).all(1)))
    return half.vertices, half.faces


def shuffled(mesh: Arrays, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(mesh[0]))
    return mesh[0][order], rng.permutation(np.argsort(order)[mesh[1]]), order


def test_normals_point_outwards_and_the_rim_is_the_border() -> None:
    V, F = upper_half(ball(3))
    surface = Surface(V, F)
    assert (np.einsum("ij,ij->i", surface.normals, V) > 0.95).all()
    edges, count = np.unique(
        np.sort(F[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1), axis=0, return_counts=True
    )
    assert np.array_equal(np.flatnonzero(surface.at_border), np.unique(edges[count == 1]))
    assert surface.at_border.any() and not Surface(*ball(2)).at_border.any()


def test_project_finds_the_closest_point_around_a_vertex() -> None:
    V, F = potato(3)
    surface = Surface(V, F)
    rng = np.random.default_rng(0)
    points = V[rng.integers(len(V), size=200)] * (1 + 0.05 * rng.normal(size=(200, 1)))
    near = KDTree(surface.vertices).query(points)[1]
    face, weights, foot = surface.project(points, near)
    assert np.allclose(np.einsum("qk,qkj->qj", weights, V[F[face]]), foot, atol=1e-12)
    assert (F[face] == near[:, None]).any(1).all()
    assert (weights >= 0).all() and np.allclose(weights.sum(1), 1)
    for q in range(0, 200, 10):
        alone = TriangleTree(V, F[(F == near[q]).any(1)]).query(points[q : q + 1])
        distance = np.linalg.norm(points[q] - foot[q])
        assert distance == pytest.approx(float(np.asarray(alone[0]).item()), abs=1e-12)


def test_normals_are_interpolated_over_faces() -> None:
    V, F = ball(3)
    surface = Surface(V, F)
    face = np.arange(50)
    corner = surface.normals_at(face, np.tile([0.0, 1.0, 0.0], (50, 1)))
    assert np.allclose(corner, surface.normals[F[face, 1]])
    middle = surface.normals_at(face, np.full((50, 3), 1 / 3))
    assert np.allclose(np.linalg.norm(middle, axis=1), 1)
    mean = V[F[face]].mean(1)
    assert (
        np.einsum("ij,ij->i", middle, mean / np.linalg.norm(mean, axis=1)[:, None]) > 0.999
    ).all()


def test_moving_equals_building_in_the_new_place() -> None:
    V, F = upper_half(potato(2))
    move = Similarity(30.0, rotation(3), np.array([1.0, 2.0, 3.0]))
    surface = Surface(V, F)
    before = surface.vertices.copy(), surface.normals.copy()
    moved, built = surface.moved(move), Surface(move.apply(V), F)
    assert np.array_equal(moved.vertices, built.vertices)
    assert np.allclose(moved.normals, built.normals, atol=1e-12)
    assert np.array_equal(moved.at_border, built.at_border)
    points = built.vertices[:50] * 1.01
    near, same = (KDTree(s.vertices).query(points)[1] for s in (moved, built))
    assert np.array_equal(near, same)
    want = built.triangles.query(points)
    assert np.allclose(moved.triangles.query(points)[0], want[0])
    # A tree that is there is moved with the surface, twice in a row as well.
    assert surface.triangles.corners.shape == (len(F), 3, 3)
    halfway = Similarity(0.5, rotation(4), np.array([0.0, 3.0, 0.0]))
    there = surface.moved(halfway).moved(move.after(halfway.inverse()))
    assert there.triangles.corners is surface.triangles.corners
    got = there.triangles.query(points)
    # On an edge, either face will do: feet are what is compared.
    feet = [np.einsum("qk,qki->qi", b, built.vertices[F[f]]) for _, f, b in (got, want)]
    assert np.allclose(got[0], want[0]) and np.allclose(*feet, atol=1e-9)
    within, beyond = (there.triangles.query(points, x * want[0])[0] for x in (1.001, 0.999))
    assert np.isfinite(within).all() and np.isinf(beyond).all()
    assert np.array_equal(surface.vertices, before[0])
    assert np.array_equal(surface.normals, before[1])


def test_tree_of_a_reshaped_surface_is_fitted_to_it() -> None:
    V, F = upper_half(potato(2))
    surface = Surface(V, F)
    order = surface.triangles.order
    W = V * [1.4, 0.9, 1.0] + 0.05 * np.sin(9 * V[:, ::-1])
    points = np.random.default_rng(5).normal(size=(200, 3))
    got, want = surface.reshaped(W).triangles, Surface(W, F).triangles
    assert got.order is order and not np.array_equal(got.boxes, surface.triangles.boxes)
    for a, b in zip(got.query(points), want.query(points), strict=True):
        assert np.array_equal(a, b)
    elsewhere = surface.moved(Similarity(3.0, rotation(1), np.ones(3))).reshaped(W)
    assert np.array_equal(elsewhere.triangles.query(points)[0], want.query(points)[0])


def test_coarser_surfaces_keep_the_shape() -> None:
    fine = Surface(*ball(6))
    coarse = fine.coarsened(0.1)
    area = vertex_areas(coarse.vertices, coarse.faces).sum()
    assert 600 < len(coarse.vertices) < 4000 < len(fine.vertices)
    assert np.unique(coarse.faces).size == len(coarse.vertices)
    assert abs(np.linalg.norm(coarse.vertices, axis=1) - 1).max() < 0.01
    assert area == pytest.approx(4 * np.pi, rel=0.1)
    outward = np.einsum("ij,ij->i", coarse.normals, coarse.vertices)
    assert np.median(outward) > 0.99 and (outward > 0.9).mean() > 0.98


def test_two_skins_in_one_cube_stay_apart() -> None:
    V, F = ball(5)
    skins = Surface(np.r_[V, 0.99 * V], np.r_[F, F[:, ::-1] + len(V)]).coarsened(0.1)
    radius = np.linalg.norm(skins.vertices, axis=1)
    outer = np.einsum("ij,ij->i", skins.normals, skins.vertices) > 0
    assert 0.3 < outer.mean() < 0.7
    assert (radius[outer] > 0.995).mean() > 0.97 and (radius[~outer] < 0.995).mean() > 0.97
    sides = outer[skins.faces]
    assert (sides.all(1) | ~sides.any(1)).mean() > 0.99


def test_coarsening_does_not_depend_on_the_order_of_vertices() -> None:
    mesh = potato(5)
    V, F, _ = shuffled(mesh)
    a, b = Surface(*mesh).coarsened(0.08), Surface(V, F).coarsened(0.08)
    assert len(a.vertices) == len(b.vertices) and len(a.faces) == len(b.faces)
    assert KDTree(a.vertices).query(b.vertices)[0].max() < 1e-12


def test_spatial_order_walks_along_the_surface() -> None:
    V, _ = potato(4)
    order = spatial_order(V)
    assert np.array_equal(np.sort(order), np.arange(len(V)))

    def steps(points: np.ndarray) -> float:
        return float(np.linalg.norm(np.diff(points, axis=0), axis=1).mean())

    assert steps(V[order]) < 0.2 * steps(np.random.default_rng(0).permutation(V))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_subsets_do_not_depend_on_order_or_unit(scale: float) -> None:
    V, F = potato(4)
    W, G, _ = shuffled((V, F))
    chosen = V[even_subset(V, vertex_areas(V, F), 300)]
    again = scale * W
    again = again[even_subset(again, vertex_areas(again, G), 300)] / scale
    assert np.allclose(chosen, again, atol=1e-12)  # the same points in the same sequence


def test_subsets_follow_the_weights() -> None:
    V, _ = ball(5)
    weights = np.where(V[:, 2] > 0, 3.0, 1.0)
    weights[V[:, 0] > 0.5] = 0.0
    chosen = even_subset(V, weights, 1000)
    assert 900 < len(chosen) <= 1000 and len(np.unique(chosen)) == len(chosen)
    assert (weights[chosen] > 0).all()
    upper = (V[chosen, 2] > 0).mean()
    expected = weights[V[:, 2] > 0].sum() / weights.sum()
    assert upper == pytest.approx(expected, abs=0.03)


def test_few_points_are_all_chosen() -> None:
    V, _ = ball(1)
    weights = np.r_[0.0, np.ones(len(V) - 1)]
    assert np.array_equal(np.sort(even_subset(V, weights, 1000)), np.arange(1, len(V)))


@pytest.mark.parametrize("count", [200, 1000, 10_000])
def test_a_sample_speaks_for_all_of_the_weight(count: int) -> None:
    V, _ = ball(4)
    weights = np.where(V[:, 2] > 0.9, 100.0, 1.0)
    chosen, shares = even_sample(V, weights, count)
    assert shares.sum() == pytest.approx(weights.sum())
    upper = weights[V[:, 2] > 0.9].sum() / weights.sum()
    found = shares[V[chosen, 2] > 0.9].sum() / shares.sum()
    assert found == pytest.approx(upper, abs=2.0 / np.sqrt(count))


def test_thinning_keeps_vertices_and_averages_normals() -> None:
    V, F = upper_half(ball(5))
    rng = np.random.default_rng(0)
    full = Surface(V * (1 + 5e-3 * rng.normal(size=(len(V), 1))), F)
    kept, faces, cell = thin(full.vertices, full.faces, 0.12)
    some = full.thinned(kept, faces, cell)
    assert np.array_equal(some.vertices, full.vertices[kept])
    off = np.linalg.norm(some.normals - V[kept], axis=1)[~some.at_border]
    assert off.mean() < 0.6 * np.linalg.norm(full.normals - V, axis=1).mean()
    near_rim = abs(some.vertices[:, 2]) < 0.01
    assert some.at_border[near_rim].all() and not some.at_border[V[kept][:, 2] > 0.2].any()


@pytest.mark.parametrize("unit", [1e-3, 0.0254, 10.0, 3.0])
def test_the_order_of_points_is_the_same_in_every_unit(unit: float) -> None:
    """The last point along the longest side must not fall in one cell here, in another there."""
    for seed in range(20):
        points = np.random.default_rng(seed).normal(0, 100, (200, 3)).round(2)
        assert np.array_equal(spatial_order(points), spatial_order(unit * points))
        weights = np.ones(len(points))
        assert np.array_equal(
            even_subset(points, weights, 50), even_subset(unit * points, weights, 50)
        )
