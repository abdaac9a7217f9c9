"""The made-up heads: correspondence, topology, scans that do not leak, Headspace's layout."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

sys.path.insert(0, str(Path(__file__).parents[1]))

from data_fixtures.__main__ import main
from data_fixtures.head import (
    EXPRESSION,
    IDENTITY,
    head,
    landmark_positions,
    random_identity,
    surface,
    template,
)
from data_fixtures.headspace_tree import write_subject, write_tree
from data_fixtures.layout import layout
from data_fixtures.scan import UPRIGHT_FROM_RAW, Scan, ScanOptions, random_options, scan
from data_fixtures.texture import skin_texture

Array = NDArray[np.float64]
Int = NDArray[np.int64]
DEMO = Path(__file__).parents[1] / "licp" / "demo"


def nearest(points: Array, v: Array) -> tuple[Array, Int]:
    """Distance to, and number of, the nearest of the vertices v."""
    distance, near = cKDTree(v).query(points)
    return np.asarray(distance), np.asarray(near)


def directed_edges(f: Int) -> Int:
    return np.concatenate([f[:, [0, 1]], f[:, [1, 2]], f[:, [2, 0]]])


def components(f: Int, n: int) -> Int:
    """Label of every vertex."""
    e = directed_edges(f)
    label = connected_components(coo_array((np.ones(len(e)), e.T), shape=(n, n)), False)[1]
    return np.asarray(label)


def border_loops(f: Int) -> list[set[int]]:
    """Vertex sets of the border loops; fails where a border vertex has not exactly two edges."""
    e = np.sort(directed_edges(f), 1)
    unique, count = np.unique(e, axis=0, return_counts=True)
    assert count.max() == 2
    border = unique[count == 1]
    assert (np.bincount(border.ravel())[np.unique(border)] == 2).all()
    n = int(f.max()) + 1
    label = connected_components(coo_array((np.ones(len(border)), border.T), shape=(n, n)), False)[
        1
    ]
    return [
        set(np.unique(border[label[border[:, 0]] == k]).tolist())
        for k in np.unique(label[border[:, 0]])
    ]


def aligned(a: Array, b: Array) -> Array:
    """The points a, rigidly moved onto b."""
    p, q = a - a.mean(0), b - b.mean(0)
    u, _, vt = np.linalg.svd(p.T @ q)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    return np.asarray(p @ (u @ flip @ vt) + b.mean(0))


def upright(result: Scan, points: Array) -> Array:
    return np.asarray((points / result.unit - result.translation) @ result.rotation)


def vertex_normals(v: Array, f: Int) -> Array:
    n = np.cross(v[f[:, 1]] - v[f[:, 0]], v[f[:, 2]] - v[f[:, 0]])
    total = np.zeros_like(v)
    np.add.at(total, f.ravel(), np.repeat(n, 3, axis=0))
    return np.asarray(total / np.maximum(np.linalg.norm(total, axis=1), 1e-12)[:, None])


def plane_distance(points: Array, v: Array, f: Int) -> Array:
    """Distance of points to the tangent plane of the nearest vertex of a mesh."""
    near = nearest(points, v)[1]
    return np.asarray(np.abs(((points - v[near]) * vertex_normals(v, f)[near]).sum(1)))


@pytest.fixture(scope="module")
def clean() -> Scan:
    """A scan without noise or damage."""
    rng = np.random.default_rng(4)
    options = ScanOptions(vertices=9000, noise=0.0, warp=0.0, texture_size=64)
    return scan(random_identity(rng), None, rng, options)


@pytest.mark.parametrize("resolution", [1000, 5000])
def test_template_is_an_oriented_manifold_with_four_openings(resolution: int) -> None:
    mean = template(resolution)
    v, f, curves = mean.vertices, mean.faces, mean.curves
    assert 0.9 * resolution < len(v) < 1.05 * resolution
    assert len(np.unique(f)) == len(v)
    assert len(np.unique(directed_edges(f), axis=0)) == 3 * len(f)  # consistently oriented
    assert components(f, len(v)).max() == 0
    edges = len(np.unique(np.sort(directed_edges(f), 1), axis=0))
    assert len(v) - edges + len(f) == 2 - 4
    wanted = [set(curves["neck_border"].tolist())]
    wanted += [
        set(np.r_[curves[f"upper_{part}"], curves[f"lower_{part}"]].tolist())
        for part in ("lid_left", "lid_right", "lip_inner")
    ]
    assert sorted(map(sorted, border_loops(f))) == sorted(map(sorted, wanted))

    corner = v[f]
    area = 0.5 * np.linalg.norm(
        np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1
    )
    edge = np.linalg.norm(np.roll(corner, -1, 1) - corner, axis=2)
    assert (4 * np.sqrt(3) * area / (edge**2).sum(1)).min() > 0.04  # 1 is equilateral
    assert edge.min() > 0.03
    outwards = (np.cross(corner[:, 0], corner[:, 1]) * corner[:, 2]).sum()  # signed volume
    assert outwards > 0


def test_template_is_symmetric() -> None:
    mean = template(5000)
    np.testing.assert_allclose(mean.vertices[mean.mirror] * [-1, 1, 1], mean.vertices, atol=1e-9)
    np.testing.assert_array_equal(mean.mirror[mean.mirror], np.arange(len(mean.mirror)))
    assert np.abs(mean.vertices[mean.curves["midline_high"], 0]).max() < 1e-12


def test_eyeballs_are_closed_components_behind_the_lids() -> None:
    mean, bald = template(1000, True), template(1000)
    n = len(bald.vertices)
    np.testing.assert_array_equal(mean.vertices[:n], bald.vertices)
    label = components(mean.faces, len(mean.vertices))
    assert label.max() == 2 and len(border_loops(mean.faces)) == 4
    balls = mean.vertices[mean.regions["eyeballs"]]
    lids = mean.vertices[mean.regions["eyes"]]
    assert balls[:, 2].max() < lids[:, 2].max()
    left = balls[balls[:, 0] > 0]
    assert np.ptp(left, axis=0) == pytest.approx([27, 27, 28], abs=1.5)


def test_lips_part_at_the_slit_only() -> None:
    mean = template(5000)
    upper, lower = mean.curves["upper_lip_inner"], mean.curves["lower_lip_inner"]
    assert set(upper.tolist()) & set(lower.tolist()) == {upper[0], upper[-1]}
    edges = {tuple(e) for e in np.sort(directed_edges(mean.faces), 1).tolist()}
    assert not any(
        tuple(sorted((a, b))) in edges for a in upper[1:-1].tolist() for b in lower[1:-1].tolist()
    )
    middle = mean.landmarks[[62, 66]]
    closed, opened = head(), head(None, {"jaw_open": 1.0})
    assert np.ptp(closed[middle, 1]) < 1.5
    assert np.ptp(opened[middle, 1]) > 15
    assert np.linalg.norm(opened[mean.landmarks[27]] - closed[mean.landmarks[27]]) < 0.01
    smile = head(None, [0, 1, 0])[mean.landmarks[[48, 54]], 0]
    assert np.ptp(smile) > np.ptp(closed[mean.landmarks[[48, 54]], 0]) + 4


def test_it_is_a_head() -> None:
    mean = template(5000)
    v, marks = mean.vertices, mean.vertices[mean.landmarks]
    assert len(set(mean.landmarks.tolist())) == 68
    assert np.linalg.norm(marks - landmark_positions(), axis=1).max() < 6
    assert np.ptp(v, axis=0) == pytest.approx([172, 300, 215], abs=15)
    assert v[:, 2].argmax() == mean.landmarks[30] or marks[30, 2] > v[:, 2].max() - 2  # nose tip
    assert (np.diff(marks[:17, 0]) > 0).all()  # jaw: from the subject's right to the left
    assert (marks[36:42, 0] < 0).all() and (marks[42:48, 0] > 0).all()
    height = [
        marks[19, 1],
        marks[37, 1],
        marks[41, 1],
        marks[30, 1],
        marks[33, 1],
        marks[51, 1],
        marks[57, 1],
        marks[8, 1],
    ]
    assert (np.diff(height) < 0).all()
    assert np.linalg.norm(marks[36:42].mean(0) - marks[42:48].mean(0)) == pytest.approx(63, abs=3)
    nostril = v[
        (np.abs(v[:, 0]) > 4) & (np.abs(v[:, 0]) < 9) & (v[:, 2] > 92) & (np.abs(v[:, 1] + 24) < 8)
    ]
    assert len(nostril) > 10

    ear = v[mean.regions["ear_left"]]
    helix, canal = v[mean.curves["helix_left"]], ear[np.hypot(ear[:, 1] + 1, ear[:, 2] + 4) < 6]
    assert np.ptp(ear[:, 1]) == pytest.approx(62, abs=8)
    assert helix[:, 0].max() - canal[:, 0].max() > 8  # a bowl, not a bump
    back = helix[helix[:, 2] < -22]
    skull = v[mean.regions["cranium"]]
    beneath = nearest(back[:, 1:], skull[:, 1:])[1]
    assert np.median(back[:, 0] - skull[beneath][:, 0]) > 8  # stands off the head

    names = {"face", "nose", "lips", "eyes", "ears", "cranium", "neck"}
    assert names <= set(mean.regions)
    whole = np.concatenate([mean.regions[k] for k in ("face", "ears", "cranium", "neck")])
    assert len(whole) == len(np.unique(whole)) > 0.98 * len(v)
    assert (mean.uv > 0).all() and (mean.uv < 1).all()


def test_every_parameter_moves_its_own_way() -> None:
    assert len(IDENTITY) >= 20 and len(set(IDENTITY)) == len(IDENTITY)
    mean = head(resolution=1000)
    fields = np.array([head({name: 1.0}, resolution=1000) - mean for name in IDENTITY])
    largest = np.linalg.norm(fields, axis=2).max(1)
    assert largest.min() > 0.5 and largest.max() < 9
    singular = np.linalg.svd(fields.reshape(len(IDENTITY), -1), compute_uv=False)
    assert singular[-1] > 1e-3 * singular[0]
    for name in EXPRESSION:
        assert np.abs(head(None, {name: 1.0}, 1000) - mean).max() > 3
    with pytest.raises(ValueError, match="unknown parameters"):
        head({"nose": 1.0})


def test_heads_differ_by_millimetres_as_real_ones_do() -> None:
    rng, mean = np.random.default_rng(0), head(resolution=1000)
    error = [
        np.linalg.norm(
            aligned(head(random_identity(rng), resolution=1000), mean) - mean, axis=1
        ).mean()
        for _ in range(20)
    ]
    assert 3 < np.median(error) < 8


def test_all_resolutions_sample_one_surface() -> None:
    identity = random_identity(np.random.default_rng(1))
    np.testing.assert_allclose(
        surface(layout(1000).domain, identity), head(identity, resolution=1000), atol=1e-9
    )
    fine, coarse = head(identity), head(identity, resolution=1000)
    error = plane_distance(coarse, fine, template(5000).faces)
    assert np.median(error) < 0.15 and np.quantile(error, 0.95) < 1.5


def test_same_seed_same_scan() -> None:
    def once(seed: int) -> Scan:
        rng = np.random.default_rng(seed)
        options = random_options(rng, vertices=2500, texture_size=64, debris=2, spikes=2)
        return scan(random_identity(rng), None, rng, options, 1000)

    one, two, other = once(3), once(3), once(5)
    assert one.options == two.options
    for name in ("vertices", "faces", "uv", "colours", "texture", "truth", "covered", "landmarks"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert len(one.vertices) != len(other.vertices) or (one.vertices != other.vertices).any()


def test_truth_is_the_head_and_lies_on_the_scan(clean: Scan) -> None:
    expected = head(clean.identity)
    np.testing.assert_allclose(upright(clean, clean.truth), expected, atol=1e-9)
    error = plane_distance(clean.truth[clean.covered], clean.vertices, clean.faces)
    assert np.median(error) < 0.1 and np.quantile(error, 0.95) < 0.8
    assert 0.85 < clean.covered.mean() < 0.99
    gap = np.linalg.norm(
        clean.vertices[clean.landmarks] - clean.truth[template().landmarks], axis=1
    )
    assert np.median(gap) < 2.5


def test_scan_does_not_leak_the_template(clean: Scan) -> None:
    distance = nearest(clean.truth[clean.covered], clean.vertices)[0]
    # unrelated points of this density coincide to 0.1 mm about once in 300 cases
    assert (distance < 0.1).mean() < 0.02
    assert np.median(distance) > 0.5
    # nor do triangle centres, which a subdivision would share
    centres = clean.vertices[clean.faces].mean(1)
    assert (nearest(clean.truth[clean.covered], centres)[0] < 0.1).mean() < 0.03


def test_scan_misses_what_no_camera_sees(clean: Scan) -> None:
    mean = template()
    seen = clean.covered
    assert seen[mean.regions["face"]].mean() > 0.9
    assert seen[mean.regions["cranium"]].mean() > 0.95
    ear = mean.regions["ear_left"]
    behind = ear[vertex_normals(mean.vertices, mean.faces)[ear, 0] < -0.6]
    assert len(behind) > 20 and seen[behind].mean() < 0.6
    assert components(clean.faces, len(clean.vertices)).max() == 0


def test_options_do_what_they_say() -> None:
    def one(**changes: object) -> Scan:
        options = ScanOptions(**{"vertices": 4000, "texture_size": 64, "tilt": 0.0, **changes})  # type: ignore[arg-type]
        return scan(None, None, np.random.default_rng(2), options, 1000)

    mean = template(1000)
    plain = one()
    under = mean.vertices[:, 1] < -85
    under &= (mean.vertices[:, 2] > 40) & (mean.vertices[:, 1] > -105)
    hole = one(chin_hole=True)
    assert hole.covered[under].mean() < 0.75 * plain.covered[under].mean()
    bust = one(shoulders=True)
    body = upright(bust, bust.vertices)
    assert np.ptp(body[:, 0]) > 250 and body[:, 1].min() < -190

    capped = one(cap=True, hair=8.0)
    grown = np.linalg.norm(upright(capped, capped.truth) - mean.vertices, axis=1)
    assert 5 < grown.max() < 18 and grown[mean.regions["nose"]].max() < 1e-9
    broken = one(debris=3, spikes=2, holes=3, cranial_hole=True, ear_dropouts=True)
    label = components(broken.faces, len(broken.vertices))
    assert label.max() >= 3
    assert broken.covered.mean() < plain.covered.mean()

    metres = one(unit=0.001)
    np.testing.assert_allclose(metres.vertices * 1000, plain.vertices, rtol=0, atol=1e-9)
    talking = scan(
        None,
        {"jaw_open": 1.0},
        np.random.default_rng(2),
        ScanOptions(vertices=4000, texture_size=64),
        1000,
    )
    lips = upright(talking, talking.truth[mean.landmarks[[62, 66]]])
    between = nearest(lips.mean(0), upright(talking, talking.vertices))[0]
    assert between > 5


def test_180k_vertices_on_request() -> None:
    rng = np.random.default_rng(0)
    options = ScanOptions(vertices=180000, noise=0.0, warp=0.0, texture_size=64)
    result = scan(None, None, rng, options, 1000)
    assert len(result.vertices) == pytest.approx(180000, rel=0.1)
    edge = np.linalg.norm(np.diff(result.vertices[result.faces[:, :2]], axis=1)[:, 0], axis=1)
    assert np.median(edge) == pytest.approx(1.0, abs=0.3)
    distance = nearest(result.truth[result.covered], result.vertices)[0]
    assert (distance < 0.02).mean() < 0.02


def read_obj(path: Path) -> tuple[Array, list[list[str]], list[list[str]]]:
    rows = [line.split() for line in path.read_text().splitlines()]
    v = np.array([r[1:] for r in rows if r and r[0] == "v"], float)
    return v, [r for r in rows if r and r[0] == "f"], rows


def test_headspace_folder_reads_back(tmp_path: Path) -> None:
    result = write_tree(tmp_path, [7], 1, vertices=3000)[7]
    folder = tmp_path / "headspaceOnline" / "subjects" / "00007"
    (path,) = folder.glob("*.obj")
    root = path.stem
    assert len(root) == 12 and root.isdigit()
    assert {p.name for p in folder.iterdir()} == {
        f"{root}.obj",
        f"{root}.mtl",
        f"{root}.bmp",
        f"ldmks{root}.txt",
        "subject.txt",
    }
    assert f"map_Kd {root}.bmp" in (folder / f"{root}.mtl").read_text()
    v, faces, _ = read_obj(path)
    np.testing.assert_allclose(v, result.vertices, atol=1e-3)
    assert len(faces) == len(result.faces)

    marks = np.array((folder / f"ldmks{root}.txt").read_text().split(), int)
    assert marks.shape == (68,) and marks.min() >= 1 and marks.max() <= len(v)
    marks[9:17] = marks[9:17][::-1]  # entries 9 to 16 run from the left ear to the chin
    error = np.linalg.norm(v[marks - 1] - v[result.landmarks], axis=1)
    assert 2 < error.mean() < 5.5
    wrong = np.linalg.norm(v[marks[9:17][::-1] - 1] - v[result.landmarks[9:17]], axis=1)
    assert wrong.mean() > 30

    lines = (folder / "subject.txt").read_text().splitlines()
    about = dict(line.split(":", 1) for line in lines)
    assert {
        "id",
        "gender",
        "age",
        "declaredethnicGroup",
        "beardDescriptor",
        "expression",
        "moustacheDescriptor",
        "spectaclesFlag",
        "underChinHoleFlag",
        "qualityDescriptor",
    } <= set(about)
    assert about["id"] == "00007" and int(about["age"]) > 0

    stood = (v - v.mean(0)) @ UPRIGHT_FROM_RAW.T
    face = stood[result.landmarks]
    up = face[36:48].mean(0) - face[8]
    assert up[1] / np.linalg.norm(up) > 0.75  # eyes above the chin, within the residual pose
    across = face[45] - face[36]
    assert across[0] / np.linalg.norm(across) > 0.75  # x to the subject's left
    raw_up = v[result.landmarks[36:48]].mean(0) - v[result.landmarks[8]]
    assert raw_up[1] / np.linalg.norm(raw_up) < 0.95  # the raw frame is tilted


def test_headspace_quirks(tmp_path: Path) -> None:
    def files(name: str, *quirks: str) -> dict[str, Path]:
        write_subject(tmp_path / name, 3, 1, quirks, vertices=1500)
        return {
            p.suffix if p.suffix != ".txt" else p.name.lstrip("0123456789")[:5]: p
            for p in (tmp_path / name).iterdir()
        }

    poor = files(
        "poor", "missing_texture", "missing_landmarks", "empty_age", "person_file", "truncated_obj"
    )
    assert set(poor) == {".obj", ".mtl", "perso"}
    assert "age:\n" in poor["perso"].read_text()
    assert not poor[".obj"].read_text().endswith("\n")
    odd = files("odd", "vertex_colours")
    assert ".bmp" not in odd and read_obj(odd[".obj"])[0].shape[1] == 6
    broken = files("broken", "corrupt_obj")[".obj"]
    with pytest.raises(ValueError):
        read_obj(broken)
    assert set(files("gone", "no_scan")) == {"subje"}
    few = files("few", "missing_mtl", "missing_metadata", "truncated_landmarks")
    assert set(few) == {".obj", ".bmp", "ldmks"}
    assert len(few["ldmks"].read_text().split()) < 68
    _, faces, _ = read_obj(files("fins", "non_manifold")[".obj"])
    f = np.array([[c.split("/")[0] for c in row[1:]] for row in faces], int)
    edges = np.sort(directed_edges(f), 1)
    assert np.unique(edges, axis=0, return_counts=True)[1].max() > 2
    assert (np.sort(f, 1)[:, 1:] == np.sort(f, 1)[:, :-1]).any()
    with pytest.raises(ValueError, match="unknown quirks"):
        files("typo", "no_scam")


def test_headspace_versions_differ_in_one_subject(tmp_path: Path) -> None:
    new = write_tree(tmp_path / "new", [1519], 1, vertices=1500)
    old = write_tree(tmp_path / "old", [1400, 1519], 1, vertices=1500, version="v01")
    assert set(old) == {1400}
    np.testing.assert_array_equal(old[1400].truth, new[1519].truth)
    place = tmp_path / "old" / "headspaceOnline" / "subjects" / "01400"
    assert "id:01400" in (place / "subject.txt").read_text()


def test_command_writes_a_tree_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    main(
        [
            "tree",
            str(tmp_path),
            "4",
            "9",
            "--vertices",
            "1000",
            "--resolution",
            "1000",
            "--version",
            "v01",
        ]
    )
    subjects = tmp_path / "headspaceOnline" / "subjects"
    assert {p.name for p in subjects.iterdir()} == {"00001", "01400", "01518"}
    assert len(json.loads((tmp_path / "quirks.json").read_text())) == 1
    assert len((tmp_path / "lyhm_subjects.txt").read_text().split()) == 1212
    (capture,) = (tmp_path / "headspacePngTka" / "subjects" / "01518").iterdir()
    assert len(list(capture.glob("calib_*.tka"))) == 15
    assert {p.name for p in capture.glob("*.png")} == {"1C.png", "2C.png"}
    truth = np.load(tmp_path / "truth" / "01518.npz")
    about = json.loads((tmp_path / "template.json").read_text())
    assert len(truth["vertices"]) == len(template(1000).vertices)
    assert max(max(ids) for ids in about["contours"].values()) < len(truth["vertices"])
    drawn = json.loads((tmp_path / "annotations" / "01518" / "contours.json").read_text())
    assert set(drawn) == {"1C", "2C"} and set(drawn["1C"]) == set(about["contours"])
    flame = list((tmp_path / "MICA-FLAME" / "LYHM").glob("*/01518/*"))
    assert {p.stem for p in flame} == {capture.name} and len(flame) == 2
    assert (tmp_path / "REALY" / "REALY_scan_region" / "3" / "nose.obj").is_file()


def test_command_writes_scans_with_truth(tmp_path: Path) -> None:
    main(["scans", str(tmp_path), "1", "9", "--vertices", "1500", "--resolution", "1000"])
    assert {p.name for p in tmp_path.iterdir()} == {
        "template.obj",
        "scan_000.ply",
        "gt_000.npz",
        "meta.json",
    }
    truth = np.load(tmp_path / "gt_000.npz")
    assert truth["gt_vertices"].shape == template(1000).vertices.shape
    np.testing.assert_allclose(truth["R"] @ truth["R"].T, np.eye(3), atol=1e-12)


def test_texture_paints_the_face() -> None:
    paint = skin_texture(np.random.default_rng(0), 256).astype(float)
    mean = template()

    def colour(ids: Int) -> Array:
        at = (mean.uv[ids] * [256, -256] + [0, 256]).astype(int)
        return np.asarray(paint[at[:, 1], at[:, 0]].mean(0))

    lips, cheek = colour(mean.landmarks[[50, 52, 56, 58]]), colour(mean.landmarks[[2, 14]])
    assert lips[0] / lips[1] > 1.15 * cheek[0] / cheek[1]  # redder
    assert colour(mean.landmarks[[18, 19, 24, 25]]).sum() < 0.9 * cheek.sum()  # brows darker


def test_embedded_demo_is_whole() -> None:
    names = {"template.obj", "scan.obj", "scan.mtl", "scan.jpg", "truth.npz"}
    assert names <= {p.name for p in DEMO.iterdir()}
    assert sum((DEMO / name).stat().st_size for name in names) < 3_000_000
    truth = np.load(DEMO / "truth.npz")
    v, faces, _ = read_obj(DEMO / "template.obj")
    scanned, _, rows = read_obj(DEMO / "scan.obj")
    assert truth["gt_vertices"].shape == v.shape and len(faces) > len(v)
    assert sum(r[0] == "vt" for r in rows if r) == len(scanned)
    assert 0.8 < truth["covered"].mean() < 1
    distance = nearest(truth["gt_vertices"][truth["covered"]], scanned)[0]
    assert distance.max() < 5 and np.median(distance) > 0.3
    ends = np.linalg.norm(
        scanned[truth["scan_landmarks"]] - truth["gt_vertices"][truth["template_landmarks"]], axis=1
    )
    assert np.median(ends) < 3
