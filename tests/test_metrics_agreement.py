"""Annotation transfer density and homogeneity: what is good, what is bad, what must not matter."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from data_fixtures.contours import contours
from data_fixtures.head import head, random_expression, random_identity
from licp.closest import TriangleTree
from licp.errors import InputError
from licp.geometry import face_normals_areas, vertex_normals
from licp.metrics import (
    Places,
    annotation_agreement,
    attach,
    loose_ends,
    pool,
    resample,
    swap_distances,
)
from licp.metrics.agreement import Agreement
from licp.similarity import fit_similarity
from tests import heads

Floats = NDArray[np.float64]
NAMES = ("jaw", "brow_left", "eye_left", "lips_outer", "ear_left")
V, F = heads.arrays()
LINES = {name: contours(heads.template())[name] for name in NAMES}
SUBJECTS = 10


@pytest.fixture(scope="module")
def people() -> list[Floats]:
    rng = np.random.default_rng(0)
    return [head(random_identity(rng), random_expression(rng), 1000) for _ in range(SUBJECTS)]


def judge(people: Sequence[Floats], morphs: Sequence[Floats]) -> dict[str, Agreement]:
    """Agreement of the heads' own contours by these morphs."""
    found = {}
    for name, line in LINES.items():
        drawn = [resample(P[line], 1.0) for P in people]
        places = [attach(c, M, F)[0] for c, M in zip(drawn, morphs, strict=True)]
        found[name] = annotation_agreement([p.on(V, F) for p in places], heads.size())
    return found


def pooled(people: Sequence[Floats], morphs: Sequence[Floats]) -> dict[str, float]:
    return pool(list(judge(people, morphs).values()))


def slid(P: Floats, amount: float, rng: np.random.Generator) -> Floats:
    """The head with its vertices moved along its surface, smoothly, by about so many mm."""
    waves = rng.normal(size=(3, 20, 3)) / 40
    phase = rng.uniform(0, 2 * np.pi, (3, 20))
    field = np.stack(
        [np.cos(V @ w.T + p).sum(1) / np.sqrt(20) for w, p in zip(waves, phase, strict=True)], 1
    )
    normals = vertex_normals(P, F)
    field -= (field * normals).sum(1)[:, None] * normals
    _, face, weights = TriangleTree(P, F).query(P + amount * field)
    return Places(face, weights).on(P, F)


def test_perfect_correspondence_is_one_whatever_the_heads(people: list[Floats]) -> None:
    for found in judge(people, people).values():
        assert found.density > 0.9995
        assert found.homogeneity > 0.9999
        assert found.low > 0.999
        assert found.spread < 0.02
        np.testing.assert_allclose(found.subjects, 1.0, atol=1e-3)


def test_monotone_in_sliding(people: list[Floats]) -> None:
    results = [
        pooled(people, [slid(P, a, rng) for P in people])
        for a, rng in ((a, np.random.default_rng(1)) for a in (0.25, 0.5, 1.0, 2.0, 4.0, 8.0))
    ]
    for name, sign in (("density", -1), ("homogeneity", -1), ("spread", 1)):
        values = np.array([r[name] for r in results])
        assert (sign * np.diff(values) > 0).all(), (name, values)
    # A quarter of the width hardly shows, the width itself costs a fifth, four widths most of it.
    densities = [r["density"] for r in results]
    assert densities[1] > 0.97
    assert 0.7 < densities[3] < 0.9
    assert densities[5] < 0.45


def test_ranks_registrations(people: list[Floats]) -> None:
    rng = np.random.default_rng(2)
    ranked = [
        people,
        [slid(P, 1.0, rng) for P in people],
        [fit_similarity(V, P).apply(V) for P in people],
        [
            fit_similarity(Q, P).apply(Q)
            for Q, P in zip(people[1:] + people[:1], people, strict=True)
        ],
        [P[rng.permutation(len(P))] for P in people],
    ]
    results = [pooled(people, morphs) for morphs in ranked]
    for name, sign in (("density", -1), ("homogeneity", -1), ("spread", 1)):
        assert (sign * np.diff([r[name] for r in results]) > 0.01).all(), name
    assert results[-1]["density"] < 0.05
    assert results[-1]["homogeneity"] < 0.07


def test_one_stranger_is_found(people: list[Floats]) -> None:
    rng = np.random.default_rng(3)
    found = judge(people, [slid(people[0], 12.0, rng), *people[1:]])
    for agreement in found.values():
        assert np.argmin(agreement.subjects) == 0
    result = pool(list(found.values()))
    # One of ten takes part in a fifth of the pairs, and contributes a tenth of the places.
    assert 0.75 < result["density"] < 0.95
    assert result["homogeneity"] > result["density"]


def test_blur_of_all_and_absence_of_some_differ() -> None:
    line = np.linspace([0.0, 0, 0], [40, 0, 0], 81)
    # Ten subjects, all off a little; or eight that agree and two elsewhere.
    off = 0.35 * np.arange(10)
    blur = [np.add(line, [0, y, 0]) for y in off]
    absent = [line] * 8 + [np.add(line, [0, 50, 0]), np.add(line, [0, -50, 0])]
    a, b = (annotation_agreement(x, 400.0) for x in (blur, absent))
    presence = np.exp(-((off[:, None] - off) ** 2) / (2 * 2.0**2))
    assert a.density == pytest.approx((presence.sum() - 10) / 90)
    assert 0.75 < a.density < 0.85
    assert b.density == pytest.approx(8 * 7 / 90)
    assert a.homogeneity > 0.9
    assert b.homogeneity == pytest.approx(0.8 * 7 / 9)


def test_formulas_on_parallel_lines() -> None:
    line = np.linspace([0.0, 0, 0], [10, 0, 0], 41)
    lines = [np.add(line, [0, y, 0]) for y in (0.0, 2.0, 3.0)]
    found = annotation_agreement(lines, 200.0, width=0.01)
    k = np.exp(-(np.array([2.0, 3.0, 1.0]) ** 2) / (2 * 2.0**2))
    assert found.width == 2.0
    np.testing.assert_allclose(found.matrix, [[1, k[0], k[1]], [k[0], 1, k[2]], [k[1], k[2], 1]])
    assert found.density == pytest.approx(k.mean())
    assert found.spread == pytest.approx(2.0)
    effective = [(1 + a + b) ** 2 / (1 + a**2 + b**2) for a, b in (k[[0, 1]], k[[0, 2]], k[[1, 2]])]
    assert found.homogeneity == pytest.approx((np.mean(effective) - 1) / 2)
    np.testing.assert_allclose(found.subjects, [k[[0, 1]].mean(), k[[0, 2]].mean(), k[1:].mean()])
    assert found.low == pytest.approx(k[[0, 1]].mean())


@pytest.mark.parametrize("factor", [0.001, 1000.0])
def test_unit_does_not_matter(people: list[Floats], factor: float) -> None:
    line = LINES["jaw"]
    curves = [resample(P[line], 1.0) for P in people[:4]]
    a = annotation_agreement(curves, 400.0)
    b = annotation_agreement([factor * c for c in curves], factor * 400.0)
    assert (a.density, a.homogeneity) == pytest.approx((b.density, b.homogeneity), rel=1e-9)
    assert b.spread == pytest.approx(factor * a.spread)


def test_order_and_sampling_do_not_matter(people: list[Floats]) -> None:
    line = LINES["eye_left"]
    curves = [resample(P[line], 0.8) for P in people[:5]]
    a = annotation_agreement(curves, 400.0)
    b = annotation_agreement([resample(P[line], 0.3) for P in people[4::-1]], 400.0)
    assert b.density == pytest.approx(a.density, abs=0.01)
    assert b.homogeneity == pytest.approx(a.homogeneity, abs=0.01)
    np.testing.assert_allclose(b.matrix[::-1, ::-1], a.matrix, atol=0.02)


def test_collapse_is_seen_by_swapping_alone(people: list[Floats]) -> None:
    """All contours carried to one wrong place agree there; on the subjects they do not."""
    line = LINES["lips_outer"]
    drawn = [resample(P[line], 1.0) for P in people]
    right = [attach(c, P, F)[0] for c, P in zip(drawn, people, strict=True)]
    wrong = [Places(p.face * 0 + 7, p.barycentric * 0 + 1 / 3) for p in right]
    assert annotation_agreement([p.on(V, F) for p in wrong], heads.size()).density == 1.0
    assert swap_distances(right, drawn, people, F).max() < 0.3  # of 1 mm spacing
    assert swap_distances(wrong, drawn, people, F).min() > 10.0


def test_what_was_not_drawn_does_not_count(people: list[Floats]) -> None:
    """Each subject shows another part of a brow; perfect correspondence is perfect all the same."""
    rng = np.random.default_rng(8)
    drawn, places, ends = [], [], []
    for P in people:
        whole = resample(P[LINES["brow_left"]], 0.25)
        a, gap, b = rng.integers([0, 80, 150], [40, 120, 200])
        part = np.concatenate([whole[a : gap - 10], whole[gap + 10 : b]])
        drawn.append(part)
        places.append(attach(part, P, F)[0].on(V, F))
        ends.append(loose_ends(part, 0.25))
        assert ends[-1].sum() == 4
    size = heads.size()
    naive = annotation_agreement(places, size)
    found = annotation_agreement(places, size, ends=ends)
    assert naive.density < 0.93
    assert found.density > 0.999
    assert found.homogeneity > 0.999
    assert found.spread < 0.05
    assert (found.counted <= 1).all()
    # An error across the contour shows as much as it does on whole ones.
    off = [np.add(p, [0.0, 2.0 * (k % 2), 0.0]) for k, p in enumerate(places)]
    assert annotation_agreement(off, size, ends=ends).density < 0.9
    with pytest.raises(InputError, match="loose"):
        annotation_agreement(places, size, ends=ends[1:])
    with pytest.raises(InputError, match="nothing to compare"):
        apart = [np.zeros((1, 3)), np.ones((1, 3))]
        annotation_agreement(apart, size, ends=[[True], [True]])


def test_loose_ends() -> None:
    ring = resample([[0, 0, 0], [4, 0, 0], [4, 4, 0], [0, 4, 0], [0, 0, 0]], 0.25)
    assert not loose_ends(ring, 0.25).any()
    line = resample([[0, 0, 0], [10, 0, 0]], 0.25)
    assert np.flatnonzero(loose_ends(line, 0.25)).tolist() == [0, len(line) - 1]
    # Two views that meet leave no end between them; a hidden part leaves two.
    for gap, count in ((0.8, 2), (3.0, 4)):
        two = np.concatenate([line, np.add(line, [10 + gap, 0.1, 0])])
        assert loose_ends(two, 0.25).sum() == count
    assert loose_ends(line[:1], 0.25).tolist() == [True]
    assert loose_ends(np.zeros((0, 3)), 0.25).shape == (0,)


def test_places_are_bounded_and_local_matches() -> None:
    line = np.linspace([0.0, 0, 0], [10, 0, 0], 400)
    found = annotation_agreement([np.add(line, [0, 0.01 * k, 0]) for k in range(60)], 400.0)
    assert sum(map(len, found.places)) <= 20_000
    assert [len(a) for a in found.places] == [len(b) for b in found.local]
    assert np.concatenate(found.local).mean() == pytest.approx(found.density, abs=1e-6)


@pytest.mark.parametrize(
    "annotations, size, width, words",
    [
        ([np.zeros((3, 3))], 1.0, 0.1, "two subjects"),
        ([np.zeros((3, 3)), np.zeros((0, 3))], 1.0, 0.1, "annotation 1"),
        ([np.zeros((3, 2)), np.zeros((3, 3))], 1.0, 0.1, "annotation 0"),
        ([np.zeros((3, 3)), np.full((3, 3), np.nan)], 1.0, 0.1, "annotation 1"),
        ([np.zeros((3, 3))] * 2, 0.0, 0.1, "positive"),
        ([np.zeros((3, 3))] * 2, 1.0, np.nan, "positive"),
    ],
)
def test_refused(annotations: list[Floats], size: float, width: float, words: str) -> None:
    with pytest.raises(InputError, match=words):
        annotation_agreement(annotations, size, width=width)


def test_nothing_to_pool() -> None:
    with pytest.raises(InputError, match="no contours"):
        pool([])


def test_heads_with_known_contours(shared_data: Path) -> None:
    """Other people's heads: truth, then the undeformed template, then another head, then chaos."""
    lines = json.loads((shared_data / "ict_facekit" / "contours.json").read_text())["contours"]
    with np.load(shared_data / "ict_facekit" / "ict_head.npz") as content:
        rest = content["neutral"][:11248].astype(float)
        faces = content["tris_skin"].astype(np.int64)
    truths = []
    for path in sorted((shared_data / "scanlike_ict").glob("gt_*.npz")):
        with np.load(path) as content:
            truths.append(content["gt_vertices"][: len(rest)].astype(float))
    size = float(np.sqrt(face_normals_areas(rest, faces)[1].sum()))
    rng = np.random.default_rng(0)
    ranked = [
        truths,
        [fit_similarity(rest, T).apply(rest) for T in truths],
        [fit_similarity(truths[k - 1], T).apply(truths[k - 1]) for k, T in enumerate(truths)],
        [T[rng.permutation(len(T))] for T in truths],
    ]
    names = [n for n in ("jaw", "lips_outer", "eye_left", "ear_left") if n in lines]
    assert len(names) == 4
    density, homogeneity = [], []
    for morphs in ranked:
        trees = [TriangleTree(M, faces) for M in morphs]
        found = []
        for name in names:
            drawn = [resample(T[lines[name]], 1.0) for T in truths]
            found.append(
                annotation_agreement(
                    [
                        attach(c, M, faces, tree=tree)[0].on(rest, faces)
                        for c, M, tree in zip(drawn, morphs, trees, strict=True)
                    ],
                    size,
                )
            )
        result = pool(found)
        density.append(result["density"])
        homogeneity.append(result["homogeneity"])
    assert density[0] > 0.999
    assert homogeneity[0] > 0.999
    assert (np.diff(density) < -0.1).all(), density
    assert (np.diff(homogeneity) < -0.1).all(), homogeneity
    assert density[-1] < 0.15
