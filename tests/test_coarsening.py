import numpy as np
import pytest
from heads import ball, potato, rotation

from licp.coarsening import coarsen
from licp.geometry import components, face_edges, face_normals_areas, vertex_normals
from licp.level import Pyramid
from licp.surface import Surface
from licp.traits import Traits


def test_kept_vertices_are_apart_and_every_other_one_is_near_one() -> None:
    V, F = potato(5)
    coarse = coarsen(V, F, 0.15)
    W = V[coarse.kept]
    d = np.linalg.norm(W[:, None] - W, axis=2)
    np.fill_diagonal(d, np.inf)
    assert d.min() > 0.1  # along edges it is 0.15
    assert np.linalg.norm(V - W[coarse.cell], axis=1).max() <= 0.15
    assert np.array_equal(coarse.cell[coarse.kept], np.arange(len(coarse.kept)))


def test_the_coarse_mesh_is_closed_and_wound_like_the_fine_one() -> None:
    V, F = ball(5)
    coarse = coarsen(V, F, 0.15)
    W = V[coarse.kept]
    assert (face_edges(coarse.faces)[1] > 1).all()
    assert len(W) - 1.5 * len(coarse.faces) + len(coarse.faces) == 2  # Euler
    assert np.einsum("ij,ij->i", vertex_normals(W, coarse.faces), W).min() > 0.95
    area = face_normals_areas(W, coarse.faces)[1].sum()
    assert area == pytest.approx(4 * np.pi, rel=0.02)


def test_sheets_that_touch_stay_apart() -> None:
    V, F = ball(4)
    both = np.vstack([V, V + np.array([0, 0, 1e-3])]), np.vstack([F, F + len(V)])
    coarse = coarsen(*both, 0.2)
    of = components(both[1], len(both[0]))
    assert (of[coarse.kept[coarse.cell]] == of).all()
    assert (np.ptp(of[coarse.kept[coarse.faces]], axis=1) == 0).all()


def test_spacing_may_differ_from_vertex_to_vertex() -> None:
    V, F = ball(5)
    spacing = np.where(V[:, 2] > 0, 0.08, 0.24)
    coarse = coarsen(V, F, spacing)
    W = V[coarse.kept]
    dense = np.count_nonzero(W[:, 2] > 0.3) / np.count_nonzero(W[:, 2] < -0.3)
    assert 5 < dense < 13  # a third of the spacing, nine times the vertices
    assert (np.linalg.norm(V - W[coarse.cell], axis=1) <= spacing[coarse.kept][coarse.cell]).all()
    assert (face_edges(coarse.faces)[1] > 1).all()
    moved = coarse.prolong(V, 2.0 * W + 1.0, np.tile(2.0 * np.eye(3), (len(W), 1, 1)))
    assert np.allclose(moved, 2.0 * V + 1.0, atol=1e-12)
    same = coarsen(V, F, np.full(len(V), 0.15)), coarsen(V, F, 0.15)
    assert np.array_equal(same[0].kept, same[1].kept)
    assert np.array_equal(same[0].follow.data, same[1].follow.data)


def test_coarse_levels_are_dense_where_the_template_is() -> None:
    V, F = ball(5)
    V = V + np.array([0.0, 0.0, 0.6])  # crowds the vertices of a sphere round its top
    V /= np.linalg.norm(V, axis=1, keepdims=True) * np.sqrt(4 * np.pi)
    one = np.ones(len(V))
    traits = Traits(one, one, one, one > 0, one < 0, None, vertex_normals(V, F), V)
    coarse, fine = Pyramid(Surface(V, F), traits, 60, 0.05, None, 0.08, 0.001).levels
    above = [np.count_nonzero(level.rest[:, 2] > 0) / len(level.rest) for level in (coarse, fine)]
    assert above[1] > 0.75 and abs(above[0] - above[1]) < 0.1


def test_prolongation_is_exact_for_similarities_and_good_for_smooth_bending() -> None:
    V, F = potato(5)
    coarse = coarsen(V, F, 0.12)
    A = 1.7 * rotation(3)
    maps = np.tile(A, (len(coarse.kept), 1, 1))
    assert np.allclose(coarse.prolong(V, V[coarse.kept] @ A.T + 5, maps), V @ A.T + 5, atol=1e-12)
    bent = V + 0.05 * np.sin(3 * V)
    slope = np.eye(3) * (1 + 0.15 * np.cos(3 * V[coarse.kept]))[:, None, :]
    error = np.linalg.norm(coarse.prolong(V, bent[coarse.kept], slope) - bent, axis=1)
    plain = np.linalg.norm(V[coarse.kept][coarse.cell] - V, axis=1)
    assert error.max() < 0.03 * plain.max()


def test_small_parts_beside_a_wide_spacing_follow_the_nearest_cell() -> None:
    V, F = ball(4)
    crumb = np.array([[1.2, 0, 0], [1.21, 0, 0], [1.2, 0.01, 0]])
    W, G = np.vstack([V, crumb]), np.vstack([F, len(V) + np.arange(3)[None]])
    coarse = coarsen(W, G, 0.3)
    assert (coarse.cell >= 0).all() and (coarse.cell < len(coarse.kept)).all()
    assert set(coarse.faces.ravel()) == set(range(len(coarse.kept)))
    assert len(coarsen(W, G, 10.0).faces) == 0  # too wide for this mesh


def test_a_pyramid_ends_with_the_template_and_hands_shapes_down() -> None:
    V, F = potato(5)
    V = V / np.sqrt(face_normals_areas(V, F)[1].sum())
    one = np.ones(len(V))
    traits = Traits(one, one, one, one > 0, one < 0, None, vertex_normals(V, F), V)
    pyramid = Pyramid(Surface(V, F), traits, 60, 0.05, None, 0.08, 0.001)
    sizes = [len(level.rest) for level in pyramid.levels]
    assert sizes == sorted(sizes) and sizes[-1] == len(V) and len(sizes) == 2
    assert pyramid.levels[0].traits.trust.sum() == pytest.approx(len(V))
    assert [pyramid.fit_for(s) for s in (0.08, 0.02, 0.002)] == [0, 0, 1]
    # The softest stage is done on the whole template, whatever its stiffness.
    ending = Pyramid(Surface(V, F), traits, 60, 0.05, None, 0.08, 0.02)
    assert [ending.fit_for(s) for s in (0.08, 0.021, 0.02)] == [0, 0, 1]
    angle = np.deg2rad(8)
    c, s = np.cos(angle), np.sin(angle)
    R = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    moved = pyramid.refined(pyramid.levels[0].rest @ R.T, 0, 1)
    assert np.allclose(moved, V @ R.T, atol=1e-12)
    turned = pyramid.levels[0].normals(pyramid.levels[0].rest @ R.T)
    # Turns about a normal itself cannot be seen in it.
    assert np.abs(turned - pyramid.levels[0].traits.normals @ R.T).max() < 0.02


def test_cells_lie_beyond_the_rim_only_if_all_of_them_does() -> None:
    V, F = potato(5)
    one = np.ones(len(V))
    traits = Traits(one, one, one, one > 0, one < 0, None, vertex_normals(V, F), V)
    coarse = coarsen(V, F, 0.12)
    near = V[:, 2] < 0.1
    told = traits.showing(near).on(coarse)
    shown = np.bincount(coarse.cell, near, len(coarse.kept))
    assert np.array_equal(told.beyond, shown == 0) and 0 < told.beyond.mean() < 1
    # What lies beyond has no say in a cell that is cut by the rim.
    assert np.allclose(told.trust, coarse.gathered(near.astype(float)))
    assert told.free.all() and not traits.on(coarse).beyond.any()


def test_local_similarities_reach_neighbours_on_coarse_templates() -> None:
    V, F = potato()
    one = np.ones(len(V))
    traits = Traits(one, one, one, one > 0, one < 0, None, vertex_normals(V, F), V)
    # The radius is less than the distance of any two.
    level = Pyramid(Surface(V, F), traits, 150, 0.02, None, 1e-3, 1e-3).finest
    assert np.allclose(level.maps(2.0 * V), 2.0 * np.eye(3), atol=1e-9)
    assert level.bend(2.0 * V)[0] < 1e-18
