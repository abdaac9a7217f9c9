"""Landmark errors, distances by region, REALY's protocol, and quality of shape models."""

import numpy as np
import pytest
from numpy.typing import NDArray

from data_fixtures.companions import keypoints, write_realy
from data_fixtures.head import head, random_identity
from licp.closest import TriangleTree
from licp.errors import InputError, LandmarkError, MeshError
from licp.headspace import Realy
from licp.metrics import (
    landmark_errors,
    model_quality,
    procrustes,
    region_distances,
    region_errors,
)
from tests import heads

Floats = NDArray[np.float64]
V, F = heads.arrays()
REGIONS = {k: heads.template().regions[k] for k in ("face", "nose", "ears", "cranium", "neck")}


def test_landmark_errors() -> None:
    ids = heads.template().landmarks
    positions = V[ids] + np.linspace(0, 6.7, 68)[:, None] * [0.6, 0.0, 0.8]
    np.testing.assert_allclose(landmark_errors((V, F), (ids, positions)), np.linspace(0, 6.7, 68))
    # Those of no confidence are left out, and may be anywhere.
    positions[3] = np.nan
    confidence = (np.arange(68) != 3).astype(float)
    assert len(landmark_errors((V, F), (ids, positions, confidence))) == 67
    inner = (np.array([5]), np.array([[0.2, 0.3, 0.5]]))
    point = [[0.2, 0.3, 0.5] @ V[F[5]]]
    assert landmark_errors((V, F), (inner, point))[0] == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(LandmarkError):
        landmark_errors((V, F), ([len(V)], [[0, 0, 0]]))


def test_regions_see_their_own_error_only() -> None:
    """Of a fit that is right but for the nose, the nose alone is far."""
    scan = heads.scan()
    fit = scan.truth.copy()
    nose = REGIONS["nose"]
    fit[nose] += 4.0 * (scan.rotation @ [0.0, 0, 1])
    found = region_distances((fit, F), (scan.vertices, scan.faces), REGIONS)
    for name in ("cranium", "ears", "neck"):
        good = found[name].template_to_scan
        assert good is not None
        assert good.median < 1.0, name
    bad = found["nose"]
    assert bad.template_to_scan is not None
    assert bad.scan_to_template is not None
    assert bad.template_to_scan.median > 1.5
    assert bad.scan_to_template.median > 1.5


def test_scan_points_belong_to_the_closest_region() -> None:
    """Points of the scan that face another region never enter, however far they are."""
    found = region_distances(
        (heads.scan().truth, F), (heads.scan().vertices, heads.scan().faces), REGIONS
    )
    for region in found.values():
        assert region.scan_to_template is not None
        assert region.scan_to_template.maximum < 25.0  # spikes apart, all is near
    assert found["face"].seen > 0.8
    assert 0 <= found["ears"].seen <= 1


def test_meshes_may_be_inside_out() -> None:
    scan = heads.scan()
    right = region_distances((scan.truth, F), (scan.vertices, scan.faces), REGIONS)
    for fit, other in ((F, scan.faces[:, ::-1]), (F[:, ::-1], scan.faces)):
        found = region_distances((scan.truth, fit), (scan.vertices, other), REGIONS)
        for name, region in found.items():
            assert region.seen == pytest.approx(right[name].seen)
            assert region.template_to_scan is not None
            assert region.template_to_scan.median == pytest.approx(
                right[name].template_to_scan.median  # type: ignore[union-attr]
            )


def test_one_tree_of_each_mesh_serves_all_regions(monkeypatch: pytest.MonkeyPatch) -> None:
    made, build = [], TriangleTree.__init__

    def counted(self: TriangleTree, vertices: Floats, faces: Floats) -> None:
        made.append(len(faces))
        build(self, vertices, faces)

    scan = heads.scan()
    monkeypatch.setattr(TriangleTree, "__init__", counted)
    region_distances((scan.truth, F), (scan.vertices, scan.faces), REGIONS)
    assert made == [len(F), len(scan.faces)]


def test_regions_of_offset_planes_both_ways() -> None:
    x, y = np.meshgrid(np.arange(9.0), np.arange(9.0))
    grid = np.stack([x, y, 0 * x], -1).reshape(-1, 3)
    i = (np.arange(8)[:, None] * 9 + np.arange(8)).ravel()
    faces = np.concatenate([np.stack([i, i + 1, i + 10], 1), np.stack([i, i + 10, i + 9], 1)])
    left = np.flatnonzero(grid[:, 0] <= 4)
    scan = grid + np.where(grid[:, :1] <= 4, 0.25, 0.5) * [0, 0, 1]
    found = region_distances((grid, faces), (scan, faces), {"left": left})["left"]
    assert found.template_to_scan is not None
    assert found.scan_to_template is not None
    assert found.template_to_scan.median == pytest.approx(0.25)
    assert found.scan_to_template.median == pytest.approx(0.25)
    for factor in (0.001, 1000.0):
        again = region_distances((factor * grid, faces), (factor * scan, faces), {"left": left})
        assert again["left"].seen == pytest.approx(found.seen)


@pytest.mark.parametrize(
    "region, words", [([], "list of vertices"), ([0], "no face"), ([0, 10**6], "vertices 0 to")]
)
def test_bad_regions_are_named(region: list[int], words: str) -> None:
    with pytest.raises(InputError, match=f"lid.*{words}"):
        region_distances((V, F), (V, F), {"lid": region})


@pytest.fixture(scope="module")
def realy(tmp_path_factory: pytest.TempPathFactory) -> Realy:
    folder = tmp_path_factory.mktemp("realy")
    write_realy(folder, {7: heads.scan()}, 1000)
    return Realy(folder)


def test_realy_ranks_shapes_in_millimetres(realy: Realy) -> None:
    scan = realy[1]
    regions = {name: scan.region(name) for name in ("nose", "cheek")}
    marks = keypoints(1000)
    assert scan.millimetres is not None
    results = []
    for shape in (heads.scan().truth, V):
        found = region_errors(
            (shape, F), marks, regions, scan.keypoints(), millimetres=scan.millimetres, threads=1
        )
        assert list(found) == ["nose", "cheek"]
        results.append({name: e.mean for name, e in found.items()})
    true, mean = results
    for name in regions:
        assert true[name] < 0.8, name  # coarse triangles and noise
        assert mean[name] > 1.5 * true[name], name


def test_realy_does_not_depend_on_pose_or_unit(realy: Realy) -> None:
    scan = realy[1]
    regions = {"nose": scan.region("nose")}
    moved = 0.001 * V @ heads.rotation(3).T + 5.0
    a, b = (
        region_errors((X, F), keypoints(1000), regions, scan.keypoints(), threads=1)["nose"]
        for X in (V, moved)
    )
    assert b.mean == pytest.approx(a.mean, rel=1e-4)
    assert len(a.errors) == len(scan.region("nose").vertices)


def test_realy_refuses(realy: Realy) -> None:
    scan = realy[1]
    regions = {"nose": scan.region("nose")}
    with pytest.raises(LandmarkError, match="four keypoints"):
        region_errors((V, F), [1, 2, 3], regions, V[[1, 2, 3]])
    with pytest.raises(InputError, match="millimetres"):
        region_errors((V, F), keypoints(1000), regions, scan.keypoints(), millimetres=-1.0)
    with pytest.raises(MeshError):
        region_errors((V, F), keypoints(1000), {"nose": (V[:0], F[:0])}, scan.keypoints())


@pytest.fixture(scope="module")
def family() -> Floats:
    rng = np.random.default_rng(4)
    return np.array([head(random_identity(rng), None, 1000) for _ in range(14)])


def test_procrustes_undoes_pose(family: Floats) -> None:
    rng = np.random.default_rng(5)
    posed = np.array([X @ heads.rotation(k).T + rng.normal(0, 50, 3) for k, X in enumerate(family)])
    a, b = procrustes(family), procrustes(posed)
    # The same shapes up to one common pose.
    back = b @ heads.rotation(0)
    back += (a[0] - back[0]).mean(0)
    np.testing.assert_allclose(back, a, atol=1e-3)
    sizes = [np.linalg.norm(X - X.mean(0)) for X in procrustes(family, with_scale=True)]
    assert np.ptp(sizes) / np.mean(sizes) < 2e-3
    assert np.ptp([np.linalg.norm(X - X.mean(0)) for X in a]) / np.mean(sizes) > 0.02


def test_model_quality_of_known_modes() -> None:
    """Two orthogonal ways to vary, four to one in variance."""
    rng = np.random.default_rng(6)
    basis = np.linalg.qr(rng.normal(size=(150, 2)))[0].T.reshape(2, 50, 3)
    amounts = rng.normal(size=(60, 2))
    amounts -= amounts.mean(0)
    amounts = np.linalg.qr(amounts)[0] * [2.0, 1.0]
    shapes = 10 * rng.normal(size=(50, 3)) + np.einsum("sk,knj->snj", amounts, basis)
    found = model_quality(shapes, modes=4)
    np.testing.assert_allclose(found.compactness, [0.8, 1, 1, 1], atol=1e-9)
    assert found.generalisation[0] > 0.01
    np.testing.assert_allclose(found.generalisation[1:], 0, atol=1e-9)
    assert found.variance == pytest.approx(5.0 / 60 / 50)


def test_good_correspondence_makes_a_better_model(family: Floats) -> None:
    rng = np.random.default_rng(7)
    worse = []
    for X in family:
        waves, phase = rng.normal(size=(12, 3)) / 30, rng.uniform(0, 6.28, 12)
        worse.append(X + 3.0 * np.cos(V @ waves.T + phase).sum(1)[:, None] / 3.5 * [0.6, 0.8, 0])
    a, b = (model_quality(procrustes(X), modes=6) for X in (family, np.array(worse)))
    assert (a.compactness > b.compactness).all()
    assert (a.generalisation < b.generalisation).all()
    assert (a.specificity < b.specificity).all()
    for q in (a, b):
        assert (np.diff(q.compactness) >= 0).all()
        assert (np.diff(q.generalisation) <= 0).all()


def test_model_quality_scales_with_the_unit_and_repeats(family: Floats) -> None:
    a, b, c = (model_quality(f * family, modes=3, samples=50) for f in (1.0, 1.0, 1000.0))
    np.testing.assert_array_equal(a.specificity, b.specificity)
    np.testing.assert_allclose(c.compactness, a.compactness)
    np.testing.assert_allclose(c.generalisation, 1000 * a.generalisation)
    np.testing.assert_allclose(c.specificity, 1000 * a.specificity)


def test_folds_are_close_to_leaving_one_out(family: Floats) -> None:
    one = model_quality(family, modes=3, samples=1).generalisation
    some = model_quality(family, modes=3, samples=1, folds=7).generalisation
    np.testing.assert_allclose(some, one, rtol=0.15)


def test_model_refuses(family: Floats) -> None:
    with pytest.raises(InputError, match="three shapes"):
        model_quality(family[:2])
    with pytest.raises(InputError, match="folds"):
        model_quality(family, folds=15)
    broken = family.copy()
    broken[5, 3] = np.nan
    with pytest.raises(InputError, match="shape 5"):
        procrustes(broken)
    with pytest.raises(InputError, match="shape"):
        model_quality([V, V[:10]])  # type: ignore[list-item]
    still = model_quality(np.repeat(V[None], 4, 0), modes=1, samples=3)
    assert max(still.generalisation[0], still.specificity[0], still.variance) < 1e-9
