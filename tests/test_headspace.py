"""The Headspace reader on made-up trees in its layout, with all that is odd about it."""

import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_fixtures.companions import keypoints, write_realy
from data_fixtures.head import template
from data_fixtures.headspace_tree import (
    QUIRKS,
    Extras,
    every_quirk,
    lyhm_list,
    write_subject,
    write_tree,
)
from data_fixtures.scan import Scan
from licp import load_mesh
from licp.errors import (
    DatasetError,
    DatasetWarning,
    InputError,
    LicpError,
    MeshError,
    MeshFileError,
)
from licp.headspace import (
    IBUG68,
    PARTS,
    Headspace,
    Realy,
    Subject,
    parse_metadata,
    read_barycentric,
    read_camera,
    upright_pose,
)

ODD = {k: (quirk,) for k, quirk in enumerate(QUIRKS, 2)}  # subjects 2, 3, ... have one each
NUMBER = {quirk: f"{k:05d}" for k, (quirk,) in ODD.items()}
SIZE, RESOLUTION = 800, 1000


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, Scan]]:
    """A tree of subject 1, one subject for each quirk, and 1519."""
    root = tmp_path_factory.mktemp("headspace")
    extras = Extras(photographs=("1C", "2A"), size=(60, 80), flame=True)
    scans = write_tree(root, [1], 4, ODD, SIZE, extras=extras, resolution=RESOLUTION)
    scans |= write_tree(root, [*ODD, 1519], 4, ODD, SIZE, resolution=RESOLUTION)
    write_realy(root / "REALY", {1: scans[1], 2: scans[1519]}, RESOLUTION)
    return root, scans


@pytest.fixture
def hs(written: tuple[Path, dict[int, Scan]]) -> Headspace:
    return Headspace(written[0])


@pytest.fixture
def copy(written: tuple[Path, dict[int, Scan]], tmp_path: Path) -> Iterator[Path]:
    """A root with subject 1 that may be damaged."""
    for part in ("headspaceOnline/subjects", "headspacePngTka/subjects"):
        shutil.copytree(written[0] / part / "00001", tmp_path / part / "00001")
    shutil.copytree(written[0] / "MICA-FLAME", tmp_path / "MICA-FLAME")
    yield tmp_path


@pytest.mark.parametrize("place", ["", "headspaceOnline", "headspaceOnline/subjects", ".."])
def test_the_tree_is_found(written: tuple[Path, dict[int, Scan]], place: str) -> None:
    root = written[0] / place
    hs = Headspace(root if place != ".." else written[0].parent / written[0].name / "..")
    assert hs.path.name == "subjects" and hs.version == "02"
    assert hs.keys() == sorted([*NUMBER.values(), "00001", "01519"])
    assert hs["1"].scan_path.is_file()
    if place != "..":  # from above, the images lie too deep to be looked for by name
        assert "images" in hs["1"].parts


def test_what_is_no_tree_is_refused_with_the_places(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such folder"):
        Headspace(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="headspaceOnline/subjects"):
        Headspace(tmp_path)
    (tmp_path / "headspacePngTka" / "subjects" / "00001").mkdir(parents=True)
    with pytest.raises(DatasetError, match="looked for folders 00001"):
        Headspace(tmp_path)  # photographs alone are no scans
    (tmp_path / "subjects" / "00001").mkdir(parents=True)
    assert len(Headspace(tmp_path)) == 1
    with pytest.raises(DatasetError, match="no folders subjects/00001"):
        Headspace(tmp_path, images=tmp_path / "subjects" / "00001")
    with pytest.raises(DatasetError, match="registrations"):
        Headspace(tmp_path, flame=tmp_path)
    with pytest.raises(InputError, match="version"):
        Headspace(tmp_path, version="v02")


def test_subjects_are_looked_up_by_text_and_number(hs: Headspace) -> None:
    assert hs["01519"] == hs[1519] == hs[np.int64(1519)] == hs["1519"]
    assert "01519" in hs and 1519 in hs and "1" in hs
    assert 1518 not in hs and "x" not in hs and None not in hs and -1 not in hs
    assert [s.id for s in hs] == hs.keys() and len(hs) == len(QUIRKS) + 2
    with pytest.raises(DatasetError, match="no subject 00777 among the"):
        hs[777]
    for nonsense in ("eight", 1.5, -3, True, None):
        with pytest.raises(DatasetError, match="no subject id"):
            hs[nonsense]


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    place = tmp_path / "headspaceOnline" / "subjects"
    (place / "00003").mkdir(parents=True)
    (place / "notes").mkdir()
    (place / "00004").write_text("a file")
    hs = Headspace(tmp_path)
    assert hs.keys() == ["00003"]
    chosen = hs.select(sex="male")
    write_subject(place / "00003", 3, 1, ["no_scan"], 600)
    sex = hs[3].metadata.sex
    assert chosen.keys() == (["00003"] if sex == "male" else [])


def test_scans_are_what_was_written(hs: Headspace, written: tuple[Path, dict[int, Scan]]) -> None:
    for number, scan in written[1].items():
        subject = hs[number]
        if {"corrupt_obj", "truncated_obj", "no_scan"} & set(ODD.get(number, ())):
            with pytest.raises(LicpError, match=f"{number:05d}"):
                subject.scan()
            continue
        mesh = subject.scan()
        np.testing.assert_allclose(mesh.vertices, scan.vertices, atol=6e-4)
        np.testing.assert_array_equal(mesh.faces, scan.faces)
        colours = "vertex_colours" in ODD.get(number, ())
        assert (mesh.colors is not None) == colours and (mesh.uv is None) == colours
        textured = not colours and "missing_texture" not in ODD.get(number, ())
        assert mesh.texture == (subject.path / f"{mesh.name[:-4]}.bmp" if textured else None)


def test_unused_vertices_and_broken_topology_are_kept(hs: Headspace) -> None:
    mesh = hs[NUMBER["non_manifold"]].scan()
    unused = np.setdiff1d(np.arange(len(mesh.vertices)), mesh.faces)
    np.testing.assert_array_equal(unused[-3:], len(mesh.vertices) - np.array([3, 2, 1]))
    edges = np.sort(mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    assert np.unique(edges, axis=0, return_counts=True)[1].max() >= 3


def test_landmarks_are_ibug68_on_the_scan(
    hs: Headspace, written: tuple[Path, dict[int, Scan]]
) -> None:
    scan, mesh = written[1][1], hs[1].scan()
    marks = hs[1].landmarks()
    true = scan.vertices[scan.landmarks]
    np.testing.assert_array_equal(marks.positions, mesh.vertices[marks.vertices])
    error = np.linalg.norm(marks.positions - true, axis=1)
    assert 0.5 < error.mean() < 8 and np.median(error[9:17]) < 12
    backwards = np.linalg.norm(marks.positions[9:17][::-1] - true[9:17], axis=1)
    assert backwards.mean() > 30  # the left half of the jaw runs the other way in the file
    assert len(IBUG68) == len(set(IBUG68)) == len(marks) == 68 and IBUG68[8] == "jaw_8"
    np.testing.assert_array_equal(marks["jaw_8"], marks.positions[8])
    np.testing.assert_array_equal(marks["eye_left"], marks.positions[42:48])
    np.testing.assert_array_equal(hs[1].landmarks(mesh).positions, marks.positions)
    with pytest.raises(KeyError, match="IBUG68"):
        marks["elbow"]


def test_landmarks_that_cannot_be_used(hs: Headspace, copy: Path) -> None:
    with pytest.raises(DatasetError, match=f"subject {NUMBER['missing_landmarks']} has no landm"):
        hs[NUMBER["missing_landmarks"]].landmarks()
    with pytest.raises(DatasetError, match=r"expected 68 landmarks.*found 40"):
        hs[NUMBER["truncated_landmarks"]].landmarks()
    with pytest.raises(MeshFileError, match="damaged"):
        hs[NUMBER["corrupt_obj"]].landmarks()
    subject = Headspace(copy)[1]
    good = subject.landmark_path.read_text().split()
    for bad, why in (("0", "count from 1"), ("-4", "not a vertex"), ("7.5", "not a vertex"),
                     ("nan", "not a vertex"), ("99999", r"jaw_3 = 99999 of \d+"),
                     ("9" * 30, "not a vertex")):  # fmt: skip
        subject.landmark_path.write_text("\n".join([*good[:3], bad, *good[4:]]))
        with pytest.raises(DatasetError, match=why):
            subject.landmarks()


def test_upright_means_eyes_above_chin_and_left_is_x(
    hs: Headspace, written: tuple[Path, dict[int, Scan]]
) -> None:
    for number in (1, 1519):
        scan = written[1][number]
        pose = hs[number].upright()
        face = pose.apply(scan.vertices[scan.landmarks])
        up, left = face[36:48].mean(0) - face[8], face[45] - face[36]
        assert up[1] > 0.75 * np.linalg.norm(up) and left[0] > 0.75 * np.linalg.norm(left)
        assert pose.scale == 1.0
        assert np.abs(pose.apply(hs[number].scan().vertices).mean(0)).max() < 1e-9
    with pytest.raises(DatasetError, match="finite"):
        upright_pose([[np.nan, 0, 0]])


def test_metadata_are_typed(hs: Headspace) -> None:
    about = hs[1].metadata
    assert about.id == "00001" and about.sex in ("male", "female")
    assert isinstance(about.age, float) and about.other == {}
    assert all(isinstance(v, bool) for v in (about.spectacles, about.hair_bulge, about.chin_hole,
                                             about.cap_artefact, about.cranial_hole))  # fmt: skip
    assert about.beard == "none" and about.ethnicity and about.eye_colour and about.hair_colour
    assert hs[NUMBER["empty_age"]].metadata.age is None
    assert hs[NUMBER["person_file"]].metadata_path.name == "{0}person{0}.txt".format(
        NUMBER["person_file"]
    )
    assert hs[NUMBER["person_file"]].metadata.id == NUMBER["person_file"]
    with pytest.raises(DatasetError, match=r"no metadata: looked for .*subject\.txt.*holds 13"):
        _ = hs[NUMBER["missing_metadata"]].metadata
    subject = hs[1]
    assert subject.metadata is subject.metadata  # read once
    assert subject.metadata == about != hs[1519].metadata


@pytest.mark.parametrize(
    "line, name, value",
    [
        ("Gender: F", "sex", "female"),
        ("age:7", "age", 7.0),
        ("Age: 18 months", "age", 1.5),
        ("age: 31.5 years", "age", 31.5),
        ("declaredethnicGroup:asian: chinese", "ethnicity", "asian: chinese"),
        ("eye color:blue", "eye_colour", "blue"),
        ("EyeColourDescriptor:green", "eye_colour", "green"),
        ("hair_colour:red", "hair_colour", "red"),
        ("hairBulgeFlag:1", "hair_bulge", True),
        ("Hair Bulge: no", "hair_bulge", False),
        ("capArtifacts:true", "cap_artefact", True),
        ("capArtefactFlag:0", "cap_artefact", False),
        ("holeInCranium:1", "cranial_hole", True),
        ("cranialHoleFlag:1", "cranial_hole", True),
        ("underChinHoleFlag:0", "chin_hole", False),
        ("mustache:thin", "moustache", "thin"),
        ("glasses:yes", "spectacles", True),
        ("qualityDescriptor:spikes: two", "quality", "spikes: two"),
    ],
)
def test_metadata_keys_are_matched_by_their_words(line: str, name: str, value: object) -> None:
    about = parse_metadata(line)
    assert getattr(about, name) == value and about.other == {}


def test_metadata_keep_what_they_do_not_know() -> None:
    text = "\ufeffimageQuality:fair\nshoe size:38\nage:about forty\ncapture:second\n\nnonsense\n"
    about = parse_metadata(text.lstrip("\ufeff") + "chinHole:perhaps\nage:999\r\nimage:4:3\n")
    assert about.quality == "fair" and about.age is None and about.chin_hole is None
    assert dict(about.other) == {"shoe size": "38", "age": "about forty", "capture": "second",
                                 "chinHole": "perhaps", "image": "4:3"}  # fmt: skip
    for damaged in ("", "no colons here", "\0\0\0:\0"):
        with pytest.raises(DatasetError, match="key:value"):
            parse_metadata(damaged)


def test_version_01_has_the_girl_in_the_wrong_folder(tmp_path: Path) -> None:
    scans = write_tree(tmp_path, [7, 1400, 1518, 1519], 4, {}, 600, "v01", resolution=RESOLUTION)
    hs = Headspace(tmp_path)
    assert hs.version == "01" and hs.keys() == ["00007", "01518", "01519"]
    girl = hs[1519]
    assert girl.path.name == "01400" and (girl.metadata.sex, girl.metadata.age) == ("female", 8.0)
    assert girl.metadata.cap_artefact is None  # the file tells of somebody else
    np.testing.assert_allclose(girl.scan().vertices, scans[1400].vertices, atol=6e-4)
    assert hs.select(age=8, sex="female").keys()[-1] == "01519"
    with pytest.raises(DatasetError, match=r"version 01 .* no scan of subject 01400"):
        hs[1400]

    shutil.rmtree(hs.path / "01518")  # now nothing tells the version
    with pytest.warns(DatasetWarning, match="may be of version 01"):
        part = Headspace(tmp_path)
    assert part.version is None and part.keys() == ["00007", "01400"]
    assert Headspace(tmp_path, version="01").keys() == ["00007", "01519"]
    assert Headspace(tmp_path, version="02")[1400].metadata.id == "01400"


def test_selections_filter_and_are_lazy(hs: Headspace) -> None:
    ages = {s.id: s.metadata.age for s in hs if "metadata" in s.parts}
    with pytest.warns(DatasetWarning, match=f"1 subjects left out.*{NUMBER['missing_metadata']}"):
        young = hs.select(age=(2, 40)).keys()
    assert young == [sid for sid, age in ages.items() if age is not None and 2 <= age <= 40]
    assert 0 < len(young) < len(ages)
    told = hs.select(has="metadata")
    old = told.select(age=(40.5, None))
    assert sorted([*young, *old.keys(), NUMBER["empty_age"]]) == told.keys()
    assert told.select(age=None).keys() == [NUMBER["empty_age"]]
    assert told.select(age=lambda a: a is None or a > 200).keys() == [NUMBER["empty_age"]]
    women = told.select(sex="Female", cap_artefact=True)
    assert [s.id for s in women] == [s.id for s in told if s.metadata.sex == "female"]
    assert len(told.select(sex={"male", "FEMALE"})) == len(told)
    assert len(women.select(sex="male")) == 0 and "selected when" in repr(told.select(age=3))
    assert NUMBER["no_scan"] not in hs.select(has=("scan", "landmarks"))
    assert [s.id for s in hs.select(lambda s: int(s.id) < 3)] == ["00001", "00002"]

    def readable(subject: Subject) -> bool:
        return len(subject.scan().vertices) > 0

    with pytest.warns(DatasetWarning, match="3 subjects left out"):
        assert len(hs.select(readable)) == len(hs) - 3  # corrupt, truncated, none

    with pytest.raises(DatasetError, match="of this selection"):
        told.select(sex="female")[next(s.id for s in told if s.metadata.sex == "male")]
    with pytest.raises(InputError, match="no metadata height"):
        hs.select(height=3)
    with pytest.raises(InputError, match="no part shoes"):
        hs.select(has="shoes")
    with pytest.raises(InputError, match="lowest, highest"):
        hs.select(age=(1, 2, 3))


def test_a_field_that_nobody_states_is_warned_of(tmp_path: Path) -> None:
    for sid in ("00001", "00002"):
        (tmp_path / sid).mkdir()
        (tmp_path / sid / "subject.txt").write_text("gender:male\nholeAtTheTop:0\n")
    with pytest.warns(DatasetWarning, match="no subject in .* states cranial_hole"):
        assert len(Headspace(tmp_path).select(cranial_hole=False)) == 0


def test_subsets_come_from_lists(hs: Headspace, tmp_path: Path) -> None:
    listed = tmp_path / "1212.txt"
    listed.write_text("# of the head model\n1, 3;1519\n00004 00004\n\n")
    assert hs.subset(listed).keys() == ["00001", "00003", "00004", "01519"]
    assert hs.subset([4, "1", np.int64(3)]).keys() == ["00001", "00003", "00004"]
    listed.write_text("\n".join(map(str, lyhm_list([int(k) for k in hs.keys()], 1))))
    with pytest.warns(DatasetWarning, match="of 1212 subjects of the list are not in"):
        part = hs.subset(listed)
    assert len(part) == round(0.8 * len(hs))
    for text, why in (("1\nseven\n", "line 2: 'seven'"), ("", "no subject ids"),
                      ("130101120000", "line 1")):  # fmt: skip
        listed.write_text(text)
        with pytest.raises(DatasetError, match=why):
            hs.subset(listed)
    with pytest.raises(DatasetError, match="no such list"):
        hs.subset(tmp_path / "none.txt")


def test_table_has_a_row_for_everybody(hs: Headspace, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {row["id"]: row for row in hs.table()}
    assert list(rows) == hs.keys() and len({tuple(row) for row in rows.values()}) == 1
    assert all(rows["00001"][f"has_{part}"] for part in PARTS)
    assert rows["00001"]["sex"] == hs[1].metadata.sex and rows["00001"]["problem"] is None
    assert "no metadata" in rows[NUMBER["missing_metadata"]]["problem"]
    for quirk, part in (("no_scan", "scan"), ("missing_landmarks", "landmarks"),
                        ("missing_texture", "texture")):  # fmt: skip
        assert not rows[NUMBER[quirk]][f"has_{part}"]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="pip install pandas"):
        hs.to_frame()


def test_table_as_data_frame(hs: Headspace) -> None:
    pytest.importorskip("pandas")
    frame = hs.to_frame()
    assert list(frame.index) == hs.keys() and frame.loc["00001", "age"] == hs[1].metadata.age


def test_subjects_and_selections_travel(hs: Headspace) -> None:
    subject = hs[1]
    _ = subject.metadata
    again = pickle.loads(pickle.dumps(subject))
    assert again == subject and again.metadata == subject.metadata
    part = pickle.loads(pickle.dumps(hs.select(lambda s: s.id > "00005")))
    assert part.keys() == [k for k in hs.keys() if k > "00005"]


def test_images(hs: Headspace, written: tuple[Path, dict[int, Scan]], copy: Path) -> None:
    subject = hs[1]
    assert list(subject.images()) == ["1C", "2A"]
    picture = subject.image("1C")
    assert picture.shape == (80, 60, 3) and picture.dtype == np.uint8 and picture.std() > 20
    with pytest.raises(DatasetError, match="no image '3C'; it has 1C, 2A"):
        subject.image("3C")
    damaged = Headspace(copy)[1]
    damaged.images()["1C"].write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    with pytest.raises(DatasetError, match="not a readable image"):
        damaged.image("1C")
    shutil.rmtree(copy / "headspacePngTka")
    with pytest.raises(DatasetError, match="00001 has no images: no folder headspacePngTka"):
        Headspace(copy)[1].images()
    elsewhere = Headspace(copy, images=written[0] / "headspacePngTka")
    assert list(elsewhere[1].images()) == ["1C", "2A"] and len(elsewhere[1].cameras()) == 15


def test_flame(hs: Headspace, written: tuple[Path, dict[int, Scan]], copy: Path) -> None:
    fit = hs[1].flame()
    assert fit.mesh is not None and fit.parameters is not None
    scan = written[1][1]
    true = (scan.truth - scan.translation) @ scan.rotation / 1000
    np.testing.assert_allclose(fit.mesh.vertices[: len(true)], true, atol=1e-6)
    assert len(fit.mesh.vertices) == 5023
    parameters = fit.parameters
    assert parameters.shape.shape == (300,) and parameters.expression.shape == (100,)
    assert parameters.pose.shape == (15,) and list(parameters.other) == ["trans"]

    subject = Headspace(copy)[1]
    (npz,) = (copy / "MICA-FLAME").glob("**/00001/*.npz")
    np.savez(npz, betas=np.ones(20), pose=np.zeros(15))
    with pytest.raises(DatasetError, match=r"lacks betas \(300 .* holds betas \(20,\), pose"):
        subject.flame()
    npz.unlink()
    assert subject.flame().parameters is None
    (obj,) = (copy / "MICA-FLAME").glob("**/00001/*.obj")
    obj.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    with pytest.raises(DatasetError, match="5023 vertices, this mesh 3"):
        subject.flame()
    obj.unlink()
    with pytest.raises(DatasetError, match="00001 has no FLAME registration: looked in"):
        subject.flame()


def test_realy(written: tuple[Path, dict[int, Scan]], tmp_path: Path) -> None:
    benchmark = Realy(written[0] / "REALY")
    assert list(benchmark) == [1, 2] and 3 not in benchmark
    scan, result = benchmark[1], written[1][1]
    assert scan.millimetres is not None and 8 < scan.millimetres < 10
    regions = scan.regions()
    whole = (result.vertices - result.translation) @ result.rotation / scan.millimetres
    for name, mesh in regions.items():
        nearest = np.abs(whole[:, None] - mesh.vertices[None]).max(2).min(0)
        assert nearest.max() < 1e-5, name
    assert regions["forehead"].vertices[:, 1].mean() > regions["mouth"].vertices[:, 1].mean()

    mesh = load_mesh(written[0] / "REALY" / "template.obj")
    faces, weights = read_barycentric(written[0] / "REALY" / "template.txt", mesh)
    true_faces, true_weights = keypoints(RESOLUTION)
    np.testing.assert_array_equal(faces, true_faces)
    np.testing.assert_allclose(weights, true_weights, atol=1e-12)
    corners = result.truth[template(RESOLUTION).faces[faces]]
    true = (np.einsum("kc,kcj->kj", weights, corners) - result.translation) @ result.rotation
    np.testing.assert_allclose(scan.keypoints() * scan.millimetres, true, atol=1e-4)

    with pytest.raises(DatasetError, match="no region 'ear'"):
        scan.region("ear")
    with pytest.raises(DatasetError, match="REALY_scan_region"):
        Realy(tmp_path)
    (tmp_path / "REALY_scan_region" / "4").mkdir(parents=True)
    empty = Realy(tmp_path)[4]
    assert empty.millimetres is None
    for read in (empty.regions, empty.keypoints):
        with pytest.raises(DatasetError, match="scan 4 lacks its"):
            read()
    points = tmp_path / "points.txt"
    for text, why in (("[[0, 0.5]]", "entry 1 of 1: expected"), ("{", "not valid JSON"),
                      ("[[0, 1, 0], [999999, 1, 0]]", "entry 2 of 2: the template has no"),
                      ("[[0, 0.8, 0.8]]", "outside"), ("[]", "expected a list"),
                      ("[[0, NaN, 0]]", "expected"), ("[" * 5000, "JSON")):  # fmt: skip
        points.write_text(text)
        with pytest.raises(DatasetError, match=why):
            read_barycentric(points, mesh)


def everything(subject: Subject) -> list[Callable[[], Any]]:
    return [subject.scan, subject.landmarks, lambda: subject.metadata, subject.upright,
            subject.images, lambda: subject.image("1C"), subject.cameras,
            lambda: subject.camera("1C"), subject.flame, subject.summary]  # fmt: skip


def damage(data: bytes, rng: np.random.Generator) -> Iterator[bytes]:
    """Cut off, flip, repeat, replace, blow up."""
    yield b""
    yield bytes(rng.integers(0, 256, 400, dtype=np.uint8))
    yield b"\0" * 100
    for part in (0.1, 0.5, 0.97):
        yield data[: int(part * len(data))]
    for _ in range(4):
        spoiled = np.frombuffer(data, np.uint8).copy()
        at = rng.integers(0, len(data), 1 + len(data) // 300)
        spoiled[at] = rng.integers(0, 256, len(at))
        yield spoiled.tobytes()
    words = data.split(b" ")
    for word in (b"nan", b"inf", b"-1", b"1e999", b"9999999999999999999999", b"\xff\xfe", b"%M"):
        k = int(rng.integers(0, len(words)))
        yield b" ".join([*words[:k], word, *words[k + 1 :]])
    yield data + data


def test_whatever_is_in_the_files_errors_have_one_base(copy: Path) -> None:
    rng = np.random.default_rng(0)
    subject = Headspace(copy)[1]
    root = subject.scan_path.stem
    for part in ("2A.png", *(f"calib_{v}.tka" for v in ("1A", "1B", "2B", "3C"))):
        (copy / "headspacePngTka" / "subjects" / "00001" / root / part).unlink()
    for place in copy.glob("MICA-FLAME/LYHM/*/0*"):
        if place.name != "00001":
            shutil.rmtree(place)
    files = sorted(p for p in copy.rglob("*") if p.is_file() and p.suffix != ".bmp")
    files = [p for p in files if p.suffix != ".tka" or p.stem == "calib_1C"]
    assert len(files) == 8 and {p.suffix for p in files} == {
        ".obj", ".mtl", ".txt", ".png", ".tka", ".npz"}  # fmt: skip
    failures = 0
    for path in files:
        data = path.read_bytes()
        for spoiled in damage(data, rng):
            path.write_bytes(spoiled)
            for read in everything(Headspace(copy)[1]):
                try:
                    read()
                except LicpError as error:
                    failures += 1
                    assert "00001" in str(error) or root in str(error) or "calib" in str(error)
        path.unlink()
        path.mkdir()  # a folder where a file should be
        for read in everything(Headspace(copy)[1]):
            try:
                read()
            except LicpError:
                failures += 1
        path.rmdir()
        path.write_bytes(data)
    assert failures > 100
    for read in everything(Headspace(copy)[1]):
        read()  # all is well again


def test_numbers_that_make_no_mesh_are_reported_with_the_subject(copy: Path) -> None:
    subject = Headspace(copy)[1]
    text = subject.scan_path.read_text()
    start = text.index("\nv ") + 3
    subject.scan_path.write_text(text[:start] + "nan" + text[text.index(" ", start) :])
    with pytest.raises(MeshError, match=r"subject 00001: .*vertex 0 = .nan"):
        subject.scan()


def test_several_candidates_are_not_guessed_between(copy: Path) -> None:
    subject = Headspace(copy)[1]
    scan = subject.scan_path
    shutil.copy(scan, scan.with_name("copy of it.obj"))
    assert subject.scan_path == scan  # the usual name wins
    shutil.copy(scan, scan.with_name("130101000000.obj"))
    with pytest.raises(DatasetError, match="several files that could be the scan"):
        subject.scan()


def test_every_quirk_is_given_out() -> None:
    subjects = [*range(1, 58), 1400, 1518, 1519]
    given = every_quirk(subjects, 3)
    counts = {q: sum(q in names for names in given.values()) for q in QUIRKS}
    assert set(counts.values()) == {2} and not {1400, 1518, 1519} & set(given)
    assert len(lyhm_list(subjects, 3)) == 1212 == len(set(lyhm_list(subjects, 3)))


def test_camera_file_of_a_subject_is_that_of_the_view(hs: Headspace) -> None:
    camera = hs[1].camera("1C")
    assert camera.size == (60, 80) and camera.name == "calib_1C.tka"
    (path,) = (hs[1].image_folder or Path()).glob("*/calib_1C.tka")
    np.testing.assert_array_equal(read_camera(path).rotation, camera.rotation)
    with pytest.raises(DatasetError, match="no camera '9C'; it has 1A"):
        hs[1].camera("9C")
