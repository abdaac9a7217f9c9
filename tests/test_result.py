import dataclasses
import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from heads import arrays, found, morpher, part, pose, potato, result, scan_arrays, size
from heads import template as head

from licp import Mesh, MorphResult, Schedule, Similarity, State, load_mesh, morph
from licp.flags import flags_of
from licp.io import as_mesh
from licp.quality import Distances, Distortion, Quality
from licp.solver import backends


def strict(text: str) -> dict:
    """JSON as other languages read it."""

    def refuse(word: str) -> float:
        raise AssertionError(f"{word} is no JSON")

    parsed: dict = json.loads(text, parse_constant=refuse)
    return parsed


def half() -> MorphResult:
    """A fit with much that was not seen."""
    W, G = potato(4)
    return morph(
        potato(),
        part((W, G), W[G].mean(1)[:, 2] > 0),
        start=Similarity.identity(),
        schedule=Schedule.progressive(3),
    )


def test_shapes_and_types() -> None:
    fit, n = result(), len(head().vertices)
    assert fit.vertices.shape == (n, 3) and fit.vertices.dtype == np.float64
    for name in ("state", "residual", "confidence", "expected_error"):
        assert getattr(fit, name).shape == (n,)
    assert fit.state.dtype == np.uint8 and set(fit.state) <= set(State)
    assert np.array_equal(fit.mesh.faces, head().faces)
    assert np.array_equal(fit.mesh.vertices, fit.vertices)
    matched = fit.state == State.MATCHED
    assert np.array_equal(np.isnan(fit.residual), ~matched)
    assert (fit.residual[matched] >= 0).all() and np.median(fit.residual[matched]) < 0.01 * size()
    assert ((fit.confidence >= 0) & (fit.confidence <= 1)).all()
    assert fit.confidence[matched].mean() > fit.confidence[~matched].mean()
    assert fit.matched == pytest.approx(matched.mean())


def test_nothing_can_be_written_to() -> None:
    for fit in (result(), pickle.loads(pickle.dumps(result()))):
        for name in ("vertices", "state", "residual", "confidence", "expected_error"):
            with pytest.raises(ValueError, match="read-only"):
                getattr(fit, name)[0] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        result().converged = False  # type: ignore[misc]


def test_it_tells_how_it_came_about() -> None:
    fit = result()
    schedule = morpher().schedule
    assert [h.stiffness for h in fit.history] == [s.stiffness for s in schedule]
    assert [h.iterations for h in fit.history] == [s.iterations for s in schedule]
    for record in fit.history:
        assert record.energy > 0 and record.step > 0 and record.seconds > 0
        assert 0 < record.matched <= 1 and 0 <= record.median_residual < 0.15
        assert record.solver_iterations >= record.iterations
    # It works its way in.
    assert fit.history[-1].median_residual < 0.2 * fit.history[0].median_residual
    assert fit.history[-1].step < 1e-3 and fit.converged and not fit.stopped
    assert 1 <= sum(h.refactorisations for h in fit.history) <= len(schedule)
    assert fit.threads >= 1 and fit.backend in backends()
    assert set(fit.seconds) == {"prepare", "align", "deform", "assess"}
    assert all(t >= 0 for t in fit.seconds.values())


def test_what_was_seen_is_what_was_matched() -> None:
    fit = half()
    assert fit.seen.mean() == fit.matched < 1
    assert np.array_equal(fit.seen, ~np.isnan(fit.residual))
    assert {str(s) for s in State} == set(fit.to_dict()["states"])
    assert fit.to_dict()["matched"] == fit.matched
    # What takes a mesh takes a result.
    assert as_mesh(fit) is fit.mesh


def test_the_similarity_is_from_template_to_scan() -> None:
    gone = found().similarity.apply(head().vertices) - pose().apply(head().vertices)
    assert np.linalg.norm(gone, axis=1).mean() < 0.02 * size()
    assert found().similarity.scale == pytest.approx(pose().scale, rel=0.03)


def test_quality_is_of_the_whole_template() -> None:
    q = result().quality
    assert q.template_to_scan is not None and q.scan_to_template is not None
    for d in (q.template_to_scan, q.scan_to_template):
        assert 0 <= d.median <= d.p95 <= d.maximum < 0.1 * size()
    assert 0.85 < q.template_seen <= 1 and 0.9 < q.scan_explained <= 1
    assert q.flipped_faces == 0 and q.rest_self_intersections == 0
    assert q.edge_distortion.p05 < 0 < q.edge_distortion.p95 < 0.5
    partial = half().quality
    assert partial.template_seen < 0.7 and partial.scan_explained > 0.9


def test_json_is_strict_and_complete() -> None:
    for fit in (result(), half()):
        out = strict(fit.to_json())
        assert out["converged"] == fit.converged and out["backend"] == fit.backend
        assert sum(out["states"].values()) == len(fit.vertices)
        assert out["states"]["border"] == (fit.state == State.BORDER).sum()
        assert len(out["history"]) == len(fit.history)
        assert out["quality"]["template_seen"] == fit.quality.template_seen
        assert set(out["repairs"]) == {"template", "scan"}
        assert out["mean_expected_error"] == fit.mean_expected_error > 0
        assert not {"state", "confidence", "expected_error"} & set(out)
        again = Similarity(**out["similarity"])
        assert np.array_equal(again.matrix(), fit.similarity.matrix())


def test_json_holds_arrays_on_demand() -> None:
    fit = half()
    assert np.isnan(fit.residual).any()
    out = strict(fit.to_json(arrays=True))
    for name in ("state", "confidence", "expected_error"):
        assert out[name] == getattr(fit, name).tolist()
    read = np.array([np.nan if r is None else r for r in out["residual"]])
    assert np.array_equal(read, fit.residual, equal_nan=True)


def test_one_line_says_the_most_important() -> None:
    assert "converged" in repr(result()) and "median distance" in repr(result())
    assert f"expected error {result().mean_expected_error:.3g}" in repr(result())
    assert "\n" not in repr(result()) and f"{len(head().vertices)} vertices" in repr(result())


@pytest.mark.parametrize("ending", [".obj", ".ply", ".glb"])
def test_files_keep_order_faces_and_uv(tmp_path: Path, ending: str) -> None:
    V, F = arrays()
    textured = Mesh(V, F, uv=head().uv, uv_faces=F)
    fit = morph(textured, scan_arrays(), start=pose(), schedule=Schedule.progressive(2))
    path = fit.save(tmp_path / f"fit{ending}")
    assert path == tmp_path / f"fit{ending}" and path.is_file()
    back = load_mesh(path)
    assert np.array_equal(back.faces, F)
    assert abs(back.vertices - fit.vertices).max() < 1e-5 * size()
    assert back.uv is not None and back.face_uv is not None
    assert abs(back.uv[back.face_uv] - head().uv[F]).max() < 1e-6
    other = trimesh.load(path, process=False, force="mesh")  # and others read it too
    assert other.faces.shape == F.shape
    assert np.allclose(other.vertices[other.faces], fit.vertices[F], atol=1e-3)


def test_quads_and_materials_stay(tmp_path: Path) -> None:
    n = 12
    y, x = np.divmod(np.arange(n * n), n)
    V = np.stack([x, 1.3 * y, np.sin(x / 2.0) + np.cos(y / 3.0)], 1)
    a = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).ravel()
    quads = np.stack([a, a + 1, a + n + 1, a + n], 1)
    sheet = Mesh(V, quads, face_materials=(np.arange(len(quads)) % 2), materials=("skin", "hair"))
    fit = morph(sheet, (V * [1.1, 1, 1], sheet.faces), start=np.eye(4))
    assert fit.mesh.polygons is not None and np.array_equal(fit.mesh.polygons, quads)
    back = load_mesh(fit.save(tmp_path / "sheet.obj"))
    assert back.polygons is not None and np.array_equal(back.polygons, quads)
    assert back.materials == ("skin", "hair") and back.face_materials is not None
    assert np.array_equal(back.face_materials, np.arange(len(quads)) % 2)


def test_saving_replaces_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "fit.ply"
    target.write_text("old")
    result().save(target)
    assert np.array_equal(load_mesh(target).vertices, result().vertices)
    assert [p.name for p in tmp_path.iterdir()] == ["fit.ply"]


def flagged(**changed: float) -> set[str]:
    """Flags of a good fit of a cube of 100 with one number changed."""
    near = Distances(0.1, 0.2, 0.3)
    even = Distortion(-0.1, 0.0, 0.1, 0.2)
    good = Quality(
        template_to_scan=replace(near, p95=changed.pop("forth", 0.2)),
        scan_to_template=replace(near, p95=changed.pop("back", 0.2)),
        template_seen=changed.pop("seen", 0.9),
        scan_explained=changed.pop("explained", 0.9),
        flipped_faces=int(changed.pop("flipped", 0)),
        self_intersections=int(changed.pop("crossings", 70)),
        rest_self_intersections=70,
        scale=1.0,
        edge_distortion=replace(
            even, p05=changed.pop("shrunk", -0.1), p95=changed.pop("stretched", 0.1)
        ),
        area_distortion=even,
    )
    converged = bool(changed.pop("converged", True))
    matched = changed.pop("matched", 0.8)
    assert not changed
    box = trimesh.creation.box(extents=[100.0] * 3).subdivide_loop(4)
    square = box.vertices * 100 / np.sqrt(box.area)  # of size 100
    return set(flags_of(good, Mesh(square, box.faces), converged, matched))


@pytest.mark.parametrize(
    ("name", "below", "above", "flag"),
    [
        ("seen", 0.51, 0.49, "little seen"),
        ("matched", 0.46, 0.44, "few matches"),
        ("explained", 0.61, 0.59, "scan not explained"),
        ("forth", 0.49, 0.51, "far from scan"),
        ("back", 0.49, 0.51, "far from scan"),
        ("shrunk", -0.24, -0.26, "distorted"),
        ("stretched", 0.17, 0.19, "distorted"),
        ("flipped", 3, 4, "flipped faces"),
        ("crossings", 70 + 92, 70 + 93, "self-intersections"),
        ("converged", True, False, "not converged"),
    ],
)
def test_each_flag_at_its_limit(name: str, below: float, above: float, flag: str) -> None:
    assert flagged(**{name: below}) == set()
    assert flagged(**{name: above}) == {flag}
