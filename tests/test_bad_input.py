"""Whatever cannot be used is refused with its own exception that says what is wrong and where."""

import dataclasses
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from heads import (
    SHORT,
    arrays,
    ball,
    part,
    pose,
    potato,
    scan,
    scan_arrays,
    short_morpher,
    short_result,
)

from licp import (
    InputError,
    LandmarkError,
    LicpError,
    Mesh,
    MeshError,
    MeshFileError,
    Morpher,
    OutputError,
    OverlapError,
    Schedule,
    Similarity,
    Stage,
    morph,
    save_mesh,
)

V, F = ball(2)
HERE = Similarity.identity()
N = len(V)


def spoilt(array: np.ndarray, value: float, *rows: int) -> np.ndarray:
    array = array.astype(np.result_type(array, type(value)))
    array[list(rows), 1] = value
    return array


MESHES = {
    "NaN": ((spoilt(V, np.nan, 3, 70), F), r"2 of 162 vertices.*vertex 3 =.*vertex 70"),
    "infinity": ((spoilt(V, np.inf, 5), F), r"1 of 162 vertices.*vertex 5"),
    "no vertices": ((np.zeros((0, 3)), F), "no vertices"),
    "no faces": ((V, np.zeros((0, 3), int)), "no faces"),
    "points only": ((V, []), "point cloud"),
    "flat points": ((V[:, :2], F), r"\(n, 3\), not \(162, 2\)"),
    "text": (([["a", "b", "c"]], F), "real numbers"),
    "complex": ((V * 1j, F), "real numbers"),
    "too high": ((V, spoilt(F, 162, 7)), r"1 of 320 faces.*0 to 161.*row 7"),
    "negative": ((V, spoilt(F, -1, 9)), r"do not exist.*row 9"),
    "fractions": ((V, spoilt(F, 0.5, 9)), "whole numbers"),
    "pentagons": ((V, np.tile(F[:, :1], (1, 5))), r"\(m, 3\) or \(m, 4\), not \(320, 5\)"),
    "edges": ((V, F[:, :2]), r"\(m, 3\) or \(m, 4\)"),
    "one point": ((np.ones_like(V), F), "none of the 320 faces has an area"),
    "lines": ((V * [1, 0, 0], F), "none of the 320 faces has an area"),
    "huge numbers": (([*V.tolist()[:-1], [10**400, 0, 0]], F), "real numbers"),
    "huge indices": ((V, [*F.tolist()[:-1], [0, 1, 2**70]]), "whole numbers"),
    "number": (5, "cannot use"),
    "nothing": (None, "cannot use"),
    "vertices alone": (V, r"array of shape \(162, 3\)"),
    "three": ((V, F, F), "tuple of length 3"),
}  # fmt: skip


@cache
def ball_morpher() -> Morpher:
    return Morpher((V, F), schedule=Schedule.progressive(2))


@pytest.mark.parametrize("name", MESHES)
def test_meshes_that_cannot_be_used(name: str) -> None:
    mesh, message = MESHES[name]
    with pytest.raises(MeshError, match=message):
        Morpher(mesh)
    with pytest.raises(MeshError, match=message):
        ball_morpher().morph(mesh)


def test_the_message_says_which_mesh() -> None:
    bad = spoilt(V, np.nan, 3), F
    with pytest.raises(MeshError, match="template"):
        morph(bad, (V, F))
    with pytest.raises(MeshError, match="scan"):
        morph((V, F), bad)
    flat = V * [1, 0, 0], F
    with pytest.raises(MeshError, match="template: none"):
        morph(flat, (V, F))
    with pytest.raises(MeshError, match="scan: none"):
        morph((V, F), flat)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    whole = save_mesh(tmp_path / "whole.ply", Mesh(V, F)).read_bytes()
    files = {
        "cut.ply": (whole[:1500], "cut off"),
        "empty.obj": (b"", "empty"),
        "words.obj": (b"this is no mesh\n" * 9, "OBJ"),
        "mesh.docx": (whole, "unknown mesh format"),
        "noise.ply": (bytes(range(256)) * 9, "ply|PLY"),
        "noise.stl": (b"solid" * 4, "noise.stl"),
    }
    for name, (data, message) in files.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(MeshFileError, match=message) as caught:
            ball_morpher().morph(tmp_path / name)
        assert name in str(caught.value)
    for path, message in ((tmp_path / "none.obj", "no such file"), (tmp_path, "folder")):
        with pytest.raises(MeshFileError, match=message):
            Morpher(str(path))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere/fit.obj", "does not exist"),
        ("file/fit.obj", "file"),
        ("fit", "ending"),
        ("fit.docx", "cannot write .docx"),
        ("folder.obj", "folder"),
    ],
)
def test_places_where_nothing_can_be_written(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "folder.obj").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match=message):
        short_result().save(tmp_path / name)
    with pytest.raises(OSError):
        short_result().save(tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before  # nothing half written


FRONT = np.ones(N)
PER_VERTEX = [
    ("data_weights", -FRONT, "from 0 to 10000"),
    ("data_weights", spoilt(FRONT[:, None].repeat(2, 1), np.nan, 3)[:, 1], "finite"),
    ("data_weights", 0 * FRONT, "no template vertex that may match"),
    ("data_weights", FRONT[1:], r"162 vertices, not \(161,\)"),
    ("data_weights", 3.0, "162"),
    ("data_weights", ["a"] * N, "float64"),
    ("data_weights", [[1], [1, 2]], "162"),
    ("data_weights", np.full(N, None), "float64"),
    ("stiffness", 0 * FRONT, "from 0.0001"),
    ("stiffness", 1e5 * FRONT, "from 0.0001 to 10000"),
    ("data_weights", 1e200 * FRONT, "to 10000"),
    ("stiffness", -FRONT, "from 0.0001 to 10000"),
    ("stiffness", np.inf * FRONT, "finite"),
    ("stiffness", FRONT[1:], "162"),
    ("stiffness", spoilt(2 * FRONT[:, None].repeat(2, 1), 1.1e-4, 3)[:, 1], "more than 10000"),
    ("data_weights", 1e-5 * FRONT, "largest of the data_weights must be 0.0001"),
    ("mask", np.ones(N, bool), "no template vertex that may match"),
    ("mask", np.ones(N, int), "bool"),
    ("mask", np.zeros(N + 1, bool), "162"),
    ("labels", FRONT, "int64"),
    ("labels", np.zeros(N - 1, int), "162"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "values", "message"), PER_VERTEX)
def test_template_options(name: str, values: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Morpher((V, F), **{name: values})  # type: ignore[arg-type]
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("scan_mask", np.ones(N, bool), "scan_mask"),
        ("scan_mask", np.ones(N), "bool"),
        ("scan_mask", np.zeros(N + 1, bool), "162"),
        ("scan_labels", np.zeros(N, int), "template with labels"),
        ("threads", 0, "positive integer, not 0"),
        ("threads", -2, "positive integer"),
        ("threads", 1.5, "positive integer"),
        ("threads", True, "positive integer"),
        ("threads", "2", "positive integer"),
        ("callback", 3, "callback"),
        ("start", "somewhere", "'somewhere'"),
        ("start", "landmarks", "needs landmarks"),
        ("start", np.zeros((4, 4)), "matrix"),
        ("start", np.diag([1.0, 1, 0, 1]), "singular"),
        ("start", np.diag([1.0, 1, -1, 1]), "reflection"),
        ("start", np.diag([1.0, 2, 1, 1]), "orthogonal"),
        ("start", np.full((4, 4), np.nan), "matrix"),
        ("start", np.eye(3), r"\(4, 4\)"),
        ("start", {}, "similarity"),
        ("start", [["a"]], "similarity"),
        ("start", 1.0, "similarity"),
        ("landmarks", 5, "landmarks must be"),
    ],
)
def test_call_options(name: str, values: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ball_morpher().morph((V, F), **{"start": HERE, name: values})  # type: ignore[arg-type]


def test_labels_of_one_side_alone() -> None:
    with pytest.raises(InputError, match="scan needs scan_labels"):
        Morpher((V, F), labels=np.zeros(N, int)).morph((V, F), start=HERE)


@pytest.mark.parametrize("schedule", [20, "soft", Stage(0.1, 0.1, 0.1), [Stage(0.1, 0.1, 0.1)]])
def test_schedules_that_are_none(schedule: object) -> None:
    with pytest.raises(InputError, match="Schedule"):
        Morpher((V, F), schedule=schedule)  # type: ignore[arg-type]


def test_back_ends_that_are_none() -> None:
    with pytest.raises(InputError, match="'umfpack'"):
        Morpher((V, F), backend="umfpack")  # type: ignore[arg-type]


@pytest.mark.parametrize("step", [3.0, 30.0, 1e3, 1e7])
def test_starts_far_off_have_no_overlap(step: float) -> None:
    far = Similarity(1.0, np.eye(3), pose().translation * 0 + step * 380.0)
    with pytest.raises(OverlapError, match="start"):
        short_morpher().morph(scan_arrays(), start=far.after(pose()))


@pytest.mark.parametrize("scale", [1e-4, 1e-2, 1e4])
def test_starts_of_another_size_have_no_overlap(scale: float) -> None:
    start = dataclasses.replace(pose(), scale=scale * pose().scale)
    with pytest.raises(OverlapError):
        short_morpher().morph(scan_arrays(), start=start)


def test_metres_are_not_millimetres_where_the_scale_is_kept() -> None:
    W, G = potato(3)
    for unit in (1e-3, 1e3):
        with pytest.raises(OverlapError):
            morph(potato(2), (unit * W, G), rigid=True)


def test_landmarks_that_fit_nothing() -> None:
    places = arrays()[0][[3, 50, 200, 400]]
    for ids in ([3, 50, 200, 944], [3, 50, 200, -1]):
        with pytest.raises(LandmarkError, match=r"landmark 3, vertex (944|-1) of 944"):
            short_morpher().morph(scan_arrays(), landmarks=(ids, places))


@pytest.mark.parametrize(
    "places", [[1e6, 0.0, 0.0], [[1e6, 0, 0]] + 3 * [[0.0, 0, 0]]], ids=["all", "one"]
)
def test_landmarks_in_another_frame_or_unit(places: object) -> None:
    ids = [3, 50, 200, 400]
    there = scan().truth[ids] + places
    with pytest.raises(LandmarkError, match="farther from the scan than it is large"):
        short_morpher().morph(scan_arrays(), landmarks=(ids, there))


def test_landmarks_do_not_stand_in_for_matches() -> None:
    ids = np.arange(0, 944, 8)
    away = scan().truth[ids] + np.array([0.0, 400.0, 0.0])
    with pytest.raises(OverlapError):
        short_morpher().morph(
            scan_arrays(), landmarks=(ids, away, 100 * np.ones(len(ids))), start="global"
        )


def test_nothing_to_match_is_no_fit() -> None:
    labelled = Morpher((V, F), labels=np.zeros(N, int))
    with pytest.raises(OverlapError, match=f"{N} region"):
        labelled.morph((V, F), start=HERE, scan_labels=np.ones(N, int))
    one = part((V, F), np.arange(len(F)) == 7)
    with pytest.raises(OverlapError, match="border"):
        morph((V, F), one, start=HERE)
    lone = Morpher((V, F), mask=np.arange(N) != 3)
    with pytest.raises(OverlapError, match=r": 1 \w+, 161 that may not match"):
        lone.morph(part((V, F), ~(F == 3).any(1)), start=HERE)


def test_every_error_is_one_of_ours_and_of_python() -> None:
    for error in (InputError, MeshError, LandmarkError, MeshFileError, OverlapError):
        assert issubclass(error, LicpError) and issubclass(error, ValueError)
    assert issubclass(OutputError, LicpError) and issubclass(OutputError, OSError)


def test_what_the_callback_raises_comes_out_and_harms_nothing() -> None:
    def fail(_: object) -> None:
        raise RuntimeError("user code")

    with pytest.raises(RuntimeError, match="user code"):
        short_morpher().morph(scan_arrays(), start=pose(), callback=fail)
    again = short_morpher().morph(scan_arrays(), start=pose())
    assert np.array_equal(again.vertices, short_result().vertices)


@pytest.mark.parametrize("faces", [1, 4])
def test_tiny_meshes_end_with_a_result_or_a_named_error(faces: int) -> None:
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1.3, 0], [0, 0, 2.0]])
    tiny = corners, np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])[:faces]
    for template, target in ((tiny, tiny), (tiny, (V, F)), ((V, F), tiny)):
        try:
            fit = morph(template, target, schedule=SHORT)
        except LicpError as error:
            assert len(str(error)) > 20
        else:
            assert np.isfinite(fit.vertices).all()


def test_a_template_that_hangs_on_nothing() -> None:
    """Separate triangles, most of which match nothing."""
    corners = V[F[:12]].reshape(-1, 3)
    apart = corners + 0.4 * (corners.reshape(-1, 3, 3).mean(1).repeat(3, 0) - corners)
    try:
        fit = morph((apart, np.arange(36).reshape(-1, 3)), (V, F), start=HERE)
    except LicpError:
        return
    assert np.abs(fit.vertices).max() < 10
