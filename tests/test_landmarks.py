import numpy as np
import pytest
from heads import (
    SHORT,
    apart,
    arrays,
    morpher,
    pose,
    potato,
    result,
    rotation,
    scan,
    scan_arrays,
    short_morpher,
    short_result,
    size,
)
from heads import template as head

from licp import Landmarks, Mesh, Morpher, State, morph
from licp.correspondence import Matches
from licp.errors import LandmarkError
from licp.landmarks import BoundLandmarks, as_landmarks

SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
MESH = Mesh(SQUARE, [[0, 1, 2], [0, 2, 3]])
ALL = np.arange(4)


def bound(template: object, positions: object, confidence: object = None) -> BoundLandmarks:
    return Landmarks(template, positions, confidence).bind(MESH, ALL, ALL)  # type: ignore[arg-type]


def pairs() -> tuple[np.ndarray, np.ndarray]:
    """The 68 landmarks and their true places in the scan."""
    return head().landmarks, scan().truth[head().landmarks]


def test_vertices_and_points_in_triangles() -> None:
    marks = bound([2, 0], np.zeros((2, 3)))
    assert np.array_equal(marks.on(SQUARE), SQUARE[[2, 0]])
    weights = [[0.5, 0.5, 0], [0.2, 0.3, 0.5]]
    marks = bound(([0, 1], weights), np.zeros((2, 3)))
    assert np.allclose(marks.on(SQUARE), [[0.5, 0, 0], [0.3, 0.8, 0]])
    assert np.allclose(marks.on(10 * SQUARE), [[5, 0, 0], [3, 8, 0]])


def test_those_without_confidence_are_left_out() -> None:
    marks = bound([0, 1, 2], [[np.nan] * 3, [0, 0, 0], [1, 1, 1]], [0, 0.5, 1])
    assert len(marks) == 2 and marks.confidence.tolist() == [0.5, 1]
    assert np.array_equal(marks.on(SQUARE), SQUARE[[1, 2]])


def test_they_are_found_in_a_repaired_template() -> None:
    index, body = np.array([-1, 0, 1, 2]), np.array([5, -1, 6])
    marks = Landmarks([1, 3], np.zeros((2, 3))).bind(MESH, index, body)
    assert marks.corners[:, 0].tolist() == [5, 6]
    for lost in (0, 2):
        with pytest.raises(LandmarkError, match=r"1 landmarks \(first: landmark 1\)"):
            Landmarks([1, lost], np.zeros((2, 3))).bind(MESH, index, body)
    Landmarks([1, 0], np.zeros((2, 3)), [1, 0]).bind(MESH, index, body)


def test_corners_without_weight_need_not_deform() -> None:
    marks = Landmarks(([0], [[0.4, 0.6, 0.0]]), np.zeros((1, 3)))
    found = marks.bind(MESH, np.array([0, 1, -1, 2]), np.arange(3))
    assert found.corners.tolist() == [[0, 1, 1]]
    assert np.allclose(found.on(SQUARE[[0, 1, 3]]), [[0.6, 0, 0]])


def test_they_may_lie_on_a_face_that_repair_drops() -> None:
    (V, F), n = arrays(), len(head().vertices)
    a, b = F[0, :2]
    cracked = np.vstack([V, (V[a] + V[b]) / 2]), np.vstack([F, [[a, b, n]]])
    place = short_result().vertices[[a]]
    fits = [
        Morpher(cracked, schedule=SHORT).morph(scan_arrays(), landmarks=(on, place), start=pose())
        for on in ([a], ([len(F)], [[1.0, 0.0, 0.0]]))
    ]
    assert np.array_equal(fits[0].vertices, fits[1].vertices)


def test_four_off_a_line_suffice() -> None:
    line = np.arange(4)[:, None] * [[1.0, 2.0, 3.0]]
    for positions, enough in (
        (SQUARE, True),
        (SQUARE[:3], False),
        (line, False),
        (0 * line, False),
    ):
        marks = bound(ALL[: len(positions)], positions)
        assert marks.suffice() == enough
        assert bound(ALL[: len(positions)], 1e-6 * positions + 100).suffice() == enough
        if not enough:
            with pytest.raises(LandmarkError, match=r"at least 4 .* got 3|on a line"):
                marks.check_enough()
    # It takes places on the template as well.
    for ids in (ALL * 0, [0, 0, 2, 2], ([0] * 4, [[0.5, 0.5, 0], [1, 0, 0]] * 2)):
        marks = bound(ids, SQUARE)
        assert not marks.suffice()
        with pytest.raises(LandmarkError, match=r"on a line .* of the template"):
            marks.check_enough()
    assert not bound(ALL, SQUARE, [1, 1, 1, 0]).suffice()
    assert not bound([], np.zeros((0, 3))).suffice()


def test_inputs_are_copied_and_pairs_are_taken() -> None:
    given = ALL.copy(), SQUARE.copy(), np.ones(4)
    marks = as_landmarks(given)
    for array in given:
        array[0] = 9
    assert np.array_equal(marks.template, ALL) and np.array_equal(marks.positions, SQUARE)
    assert marks.confidence[0] == 1 and as_landmarks(marks) is marks
    for array in (marks.template, marks.positions, marks.confidence):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 9
    weights = np.tile([0.2, 0.3, 0.5], (2, 1))
    inside = Landmarks([np.array([0, 1]), weights], SQUARE[:2])  # a list of two is a pair, too
    weights[:] = 1 / 3
    assert np.allclose(inside.bind(MESH, ALL, ALL).on(SQUARE), [[0.8, 0.5, 0], [0.3, 0.8, 0]])
    assert as_landmarks([ALL, SQUARE, np.full(4, 0.5)]).confidence.tolist() == [0.5] * 4
    assert len(bound(tuple(ALL), SQUARE)) == 4
    assert len(bound((2, 3), SQUARE[:2])) == 2


@pytest.mark.parametrize(
    ("template", "positions", "confidence", "message"),
    [
        ([0, 1], SQUARE, None, r"4 landmark positions but vertex ids of shape \(2,\)"),
        ([0, 1, 2, 4], SQUARE, None, r"landmark 3, vertex 4 of 4; ids start at 0"),
        ([0, -1, 2, 3], SQUARE, None, r"landmark 1, vertex -1"),
        ([0, 1, 2.5, 3], SQUARE, None, "integers"),
        ([[0], [1, 2], 3, 4], SQUARE, None, "vertex ids .k,., or a pair of face ids .*neither$"),
        (ALL, SQUARE[:, :2], None, r"\(k, 3\), not \(4, 2\)"),
        (ALL, [["a", "b", "c"]] * 4, None, "numbers"),
        (ALL, [[0, 0, 0], [1, 1]], None, "numbers"),
        (ALL, SQUARE + np.diag([0, np.nan, np.inf, 0])[:, 1:], None,
         "2 landmark positions are not finite .first: landmark 1"),
        (ALL, SQUARE * 1e60, None, "landmark"),
        (ALL, SQUARE, [1, 1, 1], r"confidences of shape \(3,\)"),
        (ALL, SQUARE, [1, -1, 1, 1], "finite and from 0 to 100"),
        (ALL, SQUARE, [1, 1e12, 1, 1], "finite and from 0 to 100"),
        (ALL, SQUARE, [1, np.nan, 1, 1], "finite"),
        (ALL, SQUARE, "sure", "confidence"),
        (([0, 1], [[0.5, 0.5, 0.5]] * 2), SQUARE[:2], None, "add up to 1"),
        (([0, 1], [[1.5, -0.5, 0]] * 2), SQUARE[:2], None, "negative"),
        (([0, 1], [[1, 0]] * 2), SQUARE[:2], None, r"\(2, 3\), not \(2, 2\)"),
        (([0, 1], [["a", "b", "c"]] * 2), SQUARE[:2], None, "barycentric"),
        (([0, 2], [[1, 0, 0]] * 2), SQUARE[:2], None, "landmark 1, face 2 of 2"),
        (([0, 1, 1], [[1, 0, 0]] * 3), SQUARE[:2], None, "face ids"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    template: object, positions: object, confidence: object, message: str
) -> None:
    with pytest.raises(LandmarkError, match=message):
        bound(template, positions, confidence)


@pytest.mark.parametrize("junk", [5, "all", [ALL], (ALL, SQUARE, None, None)])
def test_junk_is_refused(junk: object) -> None:
    with pytest.raises(LandmarkError, match="Landmarks"):
        as_landmarks(junk)


def test_they_pull_the_template_to_their_places() -> None:
    ids, places = pairs()
    fit = morpher().morph(scan_arrays(), landmarks=(ids, places), start=pose())

    def gap(vertices: np.ndarray) -> float:
        return float(np.linalg.norm(vertices[ids] - places, axis=1).mean() / size())

    assert gap(fit.vertices) < 3e-4 < 2e-3 < gap(result().vertices)  # 0.1 mm; 0.8 mm
    assert fit.quality.flipped_faces <= result().quality.flipped_faces + 5


def test_points_in_triangles_are_met_too() -> None:
    faces = np.arange(0, len(head().faces), 60)
    weights = np.tile([0.2, 0.3, 0.5], (len(faces), 1))
    places = np.einsum("k,nkj->nj", weights[0], scan().truth[head().faces[faces]])
    fit = morpher().morph(scan_arrays(), landmarks=((faces, weights), places), start=pose())
    met = np.einsum("k,nkj->nj", weights[0], fit.vertices[head().faces[faces]])
    assert np.linalg.norm(met - places, axis=1).mean() < 1e-3 * size()


def test_confidence_weighs() -> None:
    nose = head().landmarks[30]
    aside = short_result().vertices[nose] + 0.05 * size()
    left = [
        np.linalg.norm(
            short_morpher().morph(scan_arrays(), landmarks=([nose], [aside], [c]), start=pose())
            .vertices[nose] - aside
        ) / size()
        for c in (1.0, 0.3, 0.0)
    ]  # fmt: skip
    assert left[0] < 0.01 and left[0] < 0.5 * left[1] and left[1] < 0.9 * left[2]


def test_no_confidence_is_as_good_as_leaving_out() -> None:
    ids, places = pairs()
    keep = np.arange(68) != 30
    spoilt = np.where(keep[:, None], places, np.nan)
    with_nan = short_morpher().morph(scan_arrays(), landmarks=(ids, spoilt, keep * 1.0))
    without = short_morpher().morph(scan_arrays(), landmarks=(ids[keep], places[keep]))
    assert np.array_equal(with_nan.vertices, without.vertices)


def test_they_give_the_start() -> None:
    """Where geometry says nothing, landmarks alone tell how a ball is turned."""
    (V, F), (W, G) = potato(3), potato(4)
    ball, target = V / np.linalg.norm(V, axis=1)[:, None], W / np.linalg.norm(W, axis=1)[:, None]
    R = rotation(7)
    ids = np.array([3, 50, 200, 400, 600])
    places = 40.0 * ball[ids] @ R.T + 5.0
    for start in (None, "landmarks"):
        fit = morph((ball, F), (40.0 * target @ R.T + 5.0, G), landmarks=(ids, places), start=start)
        gone = np.linalg.norm(fit.vertices - 40.0 * ball @ R.T - 5.0, axis=1) / 40.0
        assert gone.mean() < 0.02


def test_too_few_for_the_start_are_refused_or_left_to_the_geometry() -> None:
    ids, places = pairs()
    line = places[0] + np.arange(4)[:, None] * (places[1] - places[0])
    for marks in ((ids[:3], places[:3]), (ids[:4], line), (ids[[0, 0, 9, 9]], places[:4])):
        with pytest.raises(LandmarkError, match=r"at least 4|on a line"):
            morpher().morph(scan_arrays(), landmarks=marks, start="landmarks")
    fit = morpher().morph(scan_arrays(), landmarks=(ids[:3], places[:3]))
    assert apart(fit.vertices, result().vertices).mean() < 0.01
    fit = morpher().morph(scan_arrays(), landmarks=(ids[[0] * 4], places[:4]))
    assert apart(fit.vertices, result().vertices).mean() < 0.02


def test_rigid_landmarks_keep_the_scale() -> None:
    V, F = potato()
    R = rotation(1)
    ids = np.array([3, 50, 200, 400, 600])
    fit = Morpher((V, F)).morph(
        (1.05 * V @ R.T, F), landmarks=(ids, 1.05 * V[ids] @ R.T), rigid=True
    )
    assert fit.similarity.scale == pytest.approx(1.0, abs=1e-12)
    assert np.allclose(fit.similarity.rotation, R, atol=0.02)


def test_the_rest_of_the_template_follows() -> None:
    """A landmark in a part that the scan lacks takes its surroundings along."""
    V, F = arrays()
    masked = np.zeros(len(V), bool)
    masked[head().regions["nose"]] = True
    tip = head().landmarks[30]
    target = short_result().vertices[tip] + 0.03 * size()
    fit = morph(
        (V, F),
        scan_arrays(),
        mask=masked,
        landmarks=([tip], [target]),
        start=pose(),
        schedule=SHORT,
    )
    moved = apart(
        fit.vertices,
        morph((V, F), scan_arrays(), mask=masked, start=pose(), schedule=SHORT).vertices,
    )
    assert moved[tip] > 0.02
    near = head().regions["nose"]
    assert moved[near].mean() > 0.2 * moved[tip]
    assert moved[head().regions["cranium"]].mean() < 0.1 * moved[tip]


def weights(marks: BoundLandmarks, detail: float) -> np.ndarray:
    """What landmarks add to the weights of the vertices of a ball, none of which matches."""
    level = Morpher(potato())._prepared.pyramid.finest
    n = len(level.rest)
    none = Matches(
        np.zeros((n, 3)), np.zeros((n, 3)), np.full(n, State.DISTANCE, np.uint8), np.zeros((n, 2))
    )
    return level.weigh(level.rest, none, marks, detail)[0]


def test_all_together_weigh_as_much_as_all_matches() -> None:
    ids = np.arange(n := len(potato()[0]))
    mesh = Mesh(*potato())
    for few in ([3, 40, 90], [3, 40, 90] * 5):
        marks = Landmarks(few, np.zeros((len(few), 3))).bind(mesh, ids, ids)
        w = weights(marks, 1.0)
        assert w.sum() == pytest.approx(1.0) and np.flatnonzero(w).tolist() == [3, 40, 90]
    assert n > 90


def test_the_less_certain_they_are_the_faster_they_fade() -> None:
    ids, mesh = np.arange(len(potato()[0])), Mesh(*potato())
    for confidence in (0.1, 0.5, 1.0):
        marks = Landmarks([3], np.zeros((1, 3)), [confidence]).bind(mesh, ids, ids)
        for detail in (1.0, 0.3):
            wanted = confidence * detail ** (4 * (1 - confidence))
            assert weights(marks, detail).sum() == pytest.approx(wanted)
