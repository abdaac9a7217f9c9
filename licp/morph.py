"""Laplacian ICP: the loop, and what a template pays once."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from licp.alignment import Cloud, align_globally, refine_alignment
from licp.correspondence import Matcher, Matches, State
from licp.errors import InputError, OverlapError
from licp.features import HeatCurvature
from licp.geometry import components, face_normals_areas, vertex_areas, vertex_normals
from licp.intersections import self_intersections
from licp.landmarks import BoundLandmarks, as_landmarks
from licp.laplacian import cotangent_laplacian, thin_plate_energy
from licp.mesh import as_mesh
from licp.quality import assess
from licp.repair import clean, clean_scan
from licp.restshape import LocalSimilarities, follow
from licp.result import MorphResult, StageRecord
from licp.schedule import Schedule, Stage
from licp.similarity import Similarity, fit_similarity
from licp.solver import Backend, ElasticSolver, ElasticSystem
from licp.surface import Surface, even_subset, nearest
from licp.threads import one_blas_thread, search_threads
from licp.visibility import visible_share

__all__ = ["Iteration", "Morpher", "morph"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Separate parts with less than this share of the largest one's area (eyeballs, teeth) follow
# their surroundings as rigidly as a similarity does; larger ones are matched themselves.
_BODY_SHARE = 0.2
# Vertices seen from less than this share of the views they face lie inside: mouth bags and eye
# sockets have up to 0.1 at their openings, the skin between ear and head 0.1 and more.  They match
# only what is as near as this (8 mm of 400), as inner lips and lids do; before the shapes agree,
# a mouth bag finds the cheeks.
_HIDDEN, _HIDDEN_REACH = 0.05, 0.02
# A scan and a template of one unit do not differ more than this: a face beside a bust, not metres
# beside millimetres.
_ONE_UNIT = 8.0
# Vertex spacing of the scan the search runs on, in parts of the template's size: 2.6 mm of 400.
# Denser scans are thinned to it for the search, and matches end on the full scan.
_SPACING = 0.0065
# Relative accuracy of a linear solve.  The next iteration matches anew, so more buys nothing.
_SOLVE = 3e-2
# Root-mean-square displacement below which the last step counts as none: 0.4 mm of 400.
_STILL = 1e-3


@dataclass(frozen=True, eq=False)
class Iteration:
    """What a callback is told after each iteration.

    Attributes
    ----------
    number, total : int
        Of iterations, from 1.
    stage : Stage
    vertices : (m, 3) float64
        The deforming part of the template, in the scan's frame.
    energy, matched, median_residual, step : float
        As in :class:`licp.StageRecord`.
    """

    number: int
    total: int
    stage: Stage
    vertices: Floats
    energy: float
    matched: float
    median_residual: float
    step: float


Callback = Callable[[Iteration], bool | None]


class Morpher:
    """A template with everything that depends on it alone, to be morphed to many scans.

    Immutable after construction; ``morph`` may be called from several threads at once.

    Parameters
    ----------
    template : path, trimesh.Trimesh, (vertices, faces) or Mesh
        Any unit and pose.
    schedule : Schedule, optional
        ``Schedule.progressive()`` if not given.
    data_weights : (n,) float, optional
        How much each vertex trusts its match, 1 by default.
    stiffness : (n,) float, optional
        Factor on the bending stiffness at each vertex, 1 by default.
    mask : (n,) bool, optional
        Vertices that follow, but never match.
    labels : (n,) int, optional
        Region of each vertex: it matches only scan vertices of the same region (see ``morph``);
        -1 matches anything.
    backend : {"cholmod", "scipy"}, optional
        The faster one that is installed.

    Raises
    ------
    MeshError, MeshFileError, InputError
        If the template or a per-vertex array cannot be used.

    Examples
    --------
    >>> import trimesh
    >>> ball = trimesh.creation.icosphere(3)
    >>> morpher = Morpher(ball)
    >>> egg = ball.copy()
    >>> egg.vertices *= [1.0, 1.3, 1.0]
    >>> morpher.morph(egg).vertices.shape
    (642, 3)
    """

    def __init__(
        self,
        template: Any,
        *,
        schedule: Schedule | None = None,
        data_weights: ArrayLike | None = None,
        stiffness: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        backend: Backend | None = None,
    ) -> None:
        self.template = as_mesh(template, "template")
        self.schedule = Schedule.progressive() if schedule is None else schedule
        if not isinstance(self.schedule, Schedule):
            raise InputError(f"schedule must be a licp.Schedule, not {type(schedule).__name__}")
        n = len(self.template.vertices)
        weights = _per_vertex(data_weights, n, "data_weights", np.float64)
        bending = _per_vertex(stiffness, n, "stiffness", np.float64)
        masked = _per_vertex(mask, n, "mask", np.bool_)
        regions = _per_vertex(labels, n, "labels", np.int64)
        for name, values in (("data_weights", weights), ("stiffness", bending)):
            if values is not None and not (np.isfinite(values).all() and (values >= 0).all()):
                raise InputError(f"{name} must be finite and not negative")
        if bending is not None and not (bending > 0).all():
            raise InputError("stiffness must be positive everywhere")

        with one_blas_thread:
            self._prepare(weights, bending, masked, regions, backend)

    def _prepare(
        self,
        weights: Floats | None,
        bending: Floats | None,
        masked: Bools | None,
        regions: Ints | None,
        backend: Backend | None,
    ) -> None:
        """Everything that depends on the template alone."""
        clean_template = clean(self.template.vertices, self.template.faces)
        self._clean = clean_template
        part = components(clean_template.faces, len(clean_template.vertices))
        area = vertex_areas(clean_template.vertices, clean_template.faces)
        part_area = np.bincount(part, area)
        in_body = part_area[part] >= _BODY_SHARE * part_area.max()
        self._body = np.flatnonzero(in_body)
        share = visible_share(clean_template.vertices, clean_template.faces)
        self._reach = np.where(share[in_body] < _HIDDEN, _HIDDEN_REACH, np.inf)
        self._in_body = np.where(in_body, np.cumsum(in_body) - 1, -1)
        faces = self._in_body[clean_template.faces]
        self._faces = faces[(faces >= 0).all(1)]

        centre = area[in_body] @ clean_template.vertices[in_body] / area[in_body].sum()
        size = float(np.sqrt(area[in_body].sum()))
        self._to_unit = Similarity(1.0 / size, np.eye(3), -centre / size)
        self._rest = self._to_unit.apply(clean_template.vertices[in_body])
        self._normals = vertex_normals(self._rest, self._faces)
        source = clean_template.source[self._body]
        self._labels = None if regions is None else regions[source]
        self._masked = None if masked is None else masked[source]

        L, mass = cotangent_laplacian(self._rest, self._faces)
        self._L, self._mass = L, mass
        self._bending = np.ones(len(mass)) if bending is None else bending[source]
        # Where stiffness varies, its stiff part dominates the error that a solve is judged by.
        self._tolerance = _SOLVE / np.sqrt(self._bending.max() / self._bending.min())
        self._trust = mass if weights is None else mass * weights[source]
        if not self._may_match().any():
            raise InputError("mask and data_weights leave no template vertex that may match")
        self._system = ElasticSystem(
            thin_plate_energy(L, mass / self._bending), self._rest, backend
        )
        self._curvature = HeatCurvature(self._rest, self._faces, backend=self.backend)
        self._local = (
            LocalSimilarities(
                self._rest,
                self.schedule.controls,
                self.schedule.control_radius,
            )
            if self.schedule.controls
            else None
        )
        self._delta = L @ self._rest
        self._rest_features = self._curvature.of(self._rest, self._normals)
        self._cloud = Cloud.of(Surface(self._rest, self._faces), backend=self.backend)
        self._followers = self._follower_weights()
        self._rest_crossings = len(
            self_intersections(clean_template.vertices, clean_template.faces)
        )

    @property
    def backend(self) -> Backend:
        """The solver's back end."""
        return self._system.analysis.backend

    def morph(
        self,
        scan: Any,
        *,
        landmarks: Any = None,
        start: Any = None,
        rigid: bool = False,
        scan_mask: ArrayLike | None = None,
        scan_labels: ArrayLike | None = None,
        callback: Callback | None = None,
        threads: int | None = None,
    ) -> MorphResult:
        """Morph the template to a scan.

        Parameters
        ----------
        scan : path, trimesh.Trimesh, (vertices, faces) or Mesh
            Any unit and pose.
        landmarks : Landmarks or (template ids, positions[, confidence]), optional
            Known pairs.  They pull throughout, and give the start if there are at least four.
        start : Similarity, (4, 4) matrix, "global" or "landmarks", optional
            Where to begin.  A similarity from template to scan is taken as it is and only
            refined; "global" searches all poses; the default is landmarks where there are
            enough, else the global search.
        rigid : bool
            True keeps the scale: template and scan are in one unit and of one size.
        scan_mask : (s,) bool, optional
            Scan vertices to ignore.
        scan_labels : (s,) int, optional
            Region of each scan vertex, for a template with ``labels``; -1 for any.
        callback : callable, optional
            Called with an :class:`Iteration` after each one; ends the run if it returns True.
        threads : int, optional
            For searches; all processors this process may use if not given.  BLAS is held to one
            thread of the whole process while this runs.

        Returns
        -------
        MorphResult

        Raises
        ------
        MeshError, MeshFileError
            If the scan cannot be used.
        LandmarkError
            If landmarks do not fit, or are too few for ``start="landmarks"``.
        InputError
            If another argument cannot be used.
        OverlapError
            If nothing of the template meets the scan after alignment.
        """
        watch = _Stopwatch()
        workers = search_threads(threads)
        scan_mesh = as_mesh(scan, "scan")
        s = len(scan_mesh.vertices)
        ignored = _per_vertex(scan_mask, s, "scan_mask", np.bool_)
        if ignored is not None and ignored.all():
            raise InputError("scan_mask ignores every vertex of the scan")
        if callback is not None and not callable(callback):
            raise InputError(f"callback must be callable, not {type(callback).__name__}")
        regions = _per_vertex(scan_labels, s, "scan_labels", np.int64)
        if regions is not None and self._labels is None:
            raise InputError("scan_labels need a template with labels")
        if self._labels is not None and regions is None:
            raise InputError("the template has labels, so the scan needs scan_labels")
        marks = None
        if landmarks is not None:
            marks = as_landmarks(landmarks).bind(self.template, self._clean.index, self._in_body)
        pose = _start(start, marks)
        watch.lap("read")
        with one_blas_thread:
            clean_mesh = clean_scan(scan_mesh.vertices, scan_mesh.faces)
            full = Surface(clean_mesh.vertices, clean_mesh.faces)
            watch.lap("prepare")

            if pose == "landmarks":
                assert marks is not None
                own = self._to_unit.inverse()
                fitted = fit_similarity(
                    own.apply(marks.on(self._rest)), marks.positions, marks.confidence, not rigid
                )
                poses = [fitted.after(own)]
            elif pose == "global":
                poses = self._search(full, rigid)
            else:
                poses = [pose.after(self._to_unit.inverse())]
            pose, matcher = self._settle(
                poses,
                full,
                None if ignored is None else ignored[clean_mesh.source],
                None if regions is None else regions[clean_mesh.source],
                rigid,
                workers,
            )
            if marks is not None:
                marks = marks.at(pose.inverse().apply(marks.positions))
            watch.lap("align")

            X, matches, history, stopped = self._deform(matcher, marks, pose, callback)
            watch.lap("deform")

            vertices, state, residual, confidence = self._complete(X, matches, pose)
            quality = assess(
                pose.apply(self._to_unit.apply(self._clean.vertices)),
                vertices[self._clean.source],
                self._clean.faces,
                full.vertices,
                full.faces,
                scan_tree=full.triangles,
                rest_self_intersections=self._rest_crossings,
            )
            watch.lap("assess")
        return MorphResult(
            mesh=self.template.with_vertices(vertices),
            similarity=pose.after(self._to_unit),
            state=state,
            residual=residual,
            confidence=confidence,
            history=history,
            quality=quality,
            converged=not stopped and history[-1].step < _STILL,
            stopped=stopped,
            backend=self.backend,
            threads=workers,
            seconds=watch.laps,
            repairs={"template": self._clean.report, "scan": clean_mesh.report},
        )

    def _deform(
        self,
        matcher: Matcher,
        marks: BoundLandmarks | None,
        pose: Similarity,
        callback: Callback | None,
    ) -> tuple[Floats, Matches, tuple[StageRecord, ...], bool]:
        """Match, weigh, solve, move: Laplacian ICP in the template's frame."""
        X = self._rest.copy()
        solver = ElasticSolver(self._system)
        total = sum(stage.iterations for stage in self.schedule)
        history: list[StageRecord] = []
        done = 0
        for stage in self.schedule:
            clock, first, inner, factors = time.perf_counter(), done, 0, 0
            search = matcher.at(stage)
            alpha = stage.stiffness**4
            for _ in range(stage.iterations):
                normals = vertex_normals(X, self._faces)
                matches = search.match(
                    X, normals, self._curvature.of(X, normals), self._labels, self._reach
                )
                w, pull = self._weigh(X, matches, marks, stage)
                if not w.any():
                    raise OverlapError(
                        "not one template vertex has a match that passes the gates: "
                        f"{_count_states(matches)}; check masks, labels, start and winding"
                    )
                bend, force = self._bend(X)
                d, info = solver.solve(alpha, w, pull - alpha * force, tol=self._tolerance)
                X += d

                done, inner = done + 1, inner + info.iterations
                factors += info.refactored
                told = self._measure(matches, w, pull, alpha * bend, d)
                stop = callback is not None and bool(
                    callback(Iteration(done, total, stage, pose.apply(X), *told))
                )
                if stop:
                    break
            seconds = time.perf_counter() - clock
            history.append(
                StageRecord(stage.stiffness, *told, done - first, inner, factors, seconds)
            )
            if stop:
                return X, matches, tuple(history), True
        return X, matches, tuple(history), False

    def _weigh(
        self, X: Floats, matches: Matches, marks: BoundLandmarks | None, stage: Stage
    ) -> tuple[Floats, Floats]:
        """Weights (m,) and weighted residuals (m, 3) of matches and landmarks."""
        w = np.where((matches.state == State.MATCHED) & self._may_match(), self._trust, 0.0)
        pull = w[:, None] * (matches.points - X)
        if marks is not None and len(marks):
            # All landmarks together weigh as much as all matches together.  Certain ones do so to
            # the end; the less certain they are, the faster they fade as detail comes in.  A
            # landmark inside a triangle is lumped to its corners; iterating takes care of the rest.
            detail = stage.stiffness / self.schedule.stages[0].stiffness
            fade = min(detail, 1.0) ** (2.0 * (1.0 - np.minimum(marks.confidence, 1.0)))
            strength = marks.confidence * fade / len(marks)
            gap = marks.positions - marks.on(X)
            share = (strength[:, None] * marks.barycentric).ravel()
            at = marks.corners.ravel()
            w = w + np.bincount(at, share, minlength=len(w))
            for axis in range(3):
                pull[:, axis] += np.bincount(
                    at, share * np.repeat(gap[:, axis], 3), minlength=len(w)
                )
        return w, pull

    def _bend(self, X: Floats) -> tuple[float, Floats]:
        """Bending energy per unit stiffness, and half its gradient (m, 3)."""
        rest = self._delta if self._local is None else self._local.carry(X, self._delta)
        bent = self._L @ X - rest
        stress = bent * (self._bending / self._mass)[:, None]
        force: Floats = self._L.T @ stress
        return float(np.einsum("ij,ij->", bent, stress)), force

    def _measure(
        self, matches: Matches, w: Floats, pull: Floats, bending: float, d: Floats
    ) -> tuple[float, float, float, float]:
        """Energy, matched part, median residual and step of one iteration."""
        on = w > 0
        residual = np.linalg.norm(pull[on] / w[on, None], axis=1)
        matched = matches.state == State.MATCHED
        return (
            bending + float(w[on] @ residual**2),
            float(self._mass[matched].sum() / self._mass.sum()),
            float(np.median(residual)) if len(residual) else 0.0,
            float(np.sqrt(self._mass @ (d**2).sum(1) / self._mass.sum())),
        )

    def _may_match(self) -> Bools:
        free: Bools = self._trust > 0
        return free if self._masked is None else free & ~self._masked

    def _search(self, scan: Surface, rigid: bool) -> list[Similarity]:
        """Poses from the unit frame to the scan without any start, best first."""
        cloud = Cloud.of(scan, backend=self.backend)
        if not rigid:
            return align_globally(self._cloud, cloud)
        grown = Similarity(1.0 / self._to_unit.scale, np.eye(3), np.zeros(3))
        template = self._cloud.scaled(grown.scale)
        ratio = cloud.radius / template.radius
        if not 1 / _ONE_UNIT < ratio < _ONE_UNIT:
            raise OverlapError(
                f"rigid=True keeps the scale, but the scan is {ratio:.3g} times as large as the "
                "template: bring both to one unit, or leave out rigid"
            )
        found = align_globally(template, cloud, with_scale=False)
        return [pose.after(grown) for pose in found]

    def _settle(
        self,
        poses: list[Similarity],
        full: Surface,
        ignored: Bools | None,
        labels: Ints | None,
        rigid: bool,
        workers: int,
    ) -> tuple[Similarity, Matcher]:
        """Refine the poses; the one that explains most, with the scan in the unit frame."""
        best, agreement = None, -np.inf
        for pose in poses:
            matcher = self._matcher(full.moved(pose.inverse()), ignored, labels, workers)
            self._check_overlap(matcher)
            move, agreed = self._refine(matcher, rigid)
            if agreed > agreement:
                agreement = agreed
                best = pose.after(move), matcher.moved(move.inverse())
        assert best is not None
        return best

    def _matcher(
        self, full: Surface, ignored: Bools | None, labels: Ints | None, workers: int
    ) -> Matcher:
        """The scan in the unit frame, ready to be matched."""
        area = face_normals_areas(full.vertices, full.faces)[1].sum()
        target, fine = full, None
        if np.sqrt(area / len(full.vertices)) < 0.6 * _SPACING:
            target, fine = full.coarsened(_SPACING), full
            at = nearest(full.points, target.vertices, workers)[1]
            ignored = None if ignored is None else ignored[at]
            labels = None if labels is None else labels[at]
        features = HeatCurvature(target.vertices, target.faces, backend=self.backend).of(
            target.vertices, target.normals
        )
        return Matcher(target, features, fine=fine, ignored=ignored, labels=labels, workers=workers)

    def _refine(self, matcher: Matcher, rigid: bool) -> tuple[Similarity, float]:
        """Small similarity of the template that settles it on the scan, and how well it fits."""
        # A few thousand vertices with equal shares of the weight fix seven numbers as well as all.
        some = even_subset(self._rest, np.where(self._may_match(), self._trust, 0.0), 4000)
        return refine_alignment(
            self._rest[some],
            self._normals[some],
            self._rest_features[some],
            matcher.target,
            matcher.features,
            usable=None if matcher.ignored is None else ~matcher.ignored,
            with_scale=not rigid,
            workers=matcher.workers,
        )

    def _check_overlap(self, matcher: Matcher) -> None:
        gate = self.schedule.stages[0].distance_gate
        d = nearest(matcher.target.points, self._rest, matcher.workers)[0]
        if not (self._may_match() & (d < gate)).any():
            raise OverlapError(
                "template and scan have nothing in common: from this start the nearest scan vertex "
                f"is {d.min() / gate:.1f} times the distance gate away; check start, or leave it "
                "out to search all poses"
            )

    def _follower_weights(self) -> list[tuple[Ints, Floats]]:
        """Template vertices outside the deforming part, by component, with what they follow."""
        on_clean = self._clean.index
        body_of = np.where(on_clean < 0, -1, self._in_body[on_clean])
        loose = np.flatnonzero(body_of < 0)
        if not len(loose):
            return []
        part = components(self._clean.faces, len(self._clean.vertices))
        group = np.where(on_clean[loose] < 0, len(part) + loose, part[on_clean[loose]])
        groups = []
        for label in np.unique(group):
            mine = loose[group == label]
            at = self._to_unit.apply(self.template.vertices[mine])
            centre = at.mean(0)
            reach = max(float(np.linalg.norm(at - centre, axis=1).max()), 0.02)
            d = np.linalg.norm(self._rest - centre, axis=1)
            groups.append((mine, np.exp(-0.5 * ((d - d.min()) / reach) ** 2)))
        return groups

    def _complete(
        self, X: Floats, matches: Matches, pose: Similarity
    ) -> tuple[Floats, NDArray[np.uint8], Floats, Floats]:
        """Vertices in the scan's frame, state, residual and confidence of the whole template."""
        state = np.where(self._may_match(), matches.state, np.uint8(State.MASKED))
        seen = state == State.MATCHED
        gap = np.linalg.norm(matches.points - X, axis=1)
        close = np.where(seen, 1.0 / (1.0 + (gap / 0.005) ** 2), 0.0)
        around = np.clip(self._curvature.spread(close), 0.0, 1.0)
        trust = np.where(seen, 0.5 * (close + around), 0.5 * around)

        n = len(self.template.vertices)
        body_of = np.where(self._clean.index < 0, -1, self._in_body[self._clean.index])
        here = body_of >= 0
        unit = np.empty((n, 3))
        unit[here] = X[body_of[here]]
        full_state = np.full(n, State.COMPONENT, np.uint8)
        full_state[here] = state[body_of[here]]
        residual = np.full(n, np.nan)
        residual[here] = np.where(seen, gap, np.nan)[body_of[here]] * pose.scale
        confidence = np.zeros(n)
        confidence[here] = trust[body_of[here]]
        for mine, weights in self._followers:
            at = self._to_unit.apply(self.template.vertices[mine])
            unit[mine] = follow(self._rest, X, weights, at)
            confidence[mine] = 0.5 * (weights @ trust) / weights.sum()
        return pose.apply(unit), full_state, residual, confidence


def morph(
    template: Any,
    scan: Any,
    *,
    landmarks: Any = None,
    schedule: Schedule | None = None,
    data_weights: ArrayLike | None = None,
    stiffness: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    scan_mask: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    scan_labels: ArrayLike | None = None,
    start: Any = None,
    rigid: bool = False,
    callback: Callback | None = None,
    threads: int | None = None,
    backend: Backend | None = None,
) -> MorphResult:
    """Morph a template head to a scan, fully automatically.

    ``Morpher(template, ...).morph(scan, ...)`` in one call; see there for the parameters.  With
    many scans, make the :class:`Morpher` once.

    Examples
    --------
    >>> import trimesh
    >>> ball = trimesh.creation.icosphere(3)
    >>> result = morph(ball, trimesh.creation.icosphere(4, radius=70.0))
    >>> bool(abs(result.similarity.scale - 70.0) < 1.0), result.vertices.shape
    (True, (642, 3))
    """
    morpher = Morpher(
        template,
        schedule=schedule,
        data_weights=data_weights,
        stiffness=stiffness,
        mask=mask,
        labels=labels,
        backend=backend,
    )
    return morpher.morph(
        scan,
        landmarks=landmarks,
        start=start,
        rigid=rigid,
        scan_mask=scan_mask,
        scan_labels=scan_labels,
        callback=callback,
        threads=threads,
    )


class _Stopwatch:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now


def _per_vertex(values: Any, n: int, name: str, kind: Any) -> NDArray[Any] | None:
    """A private copy of a per-vertex argument."""
    if values is None:
        return None
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError(f"{name} must be one row of {n} values: {error}") from error
    if array.shape != (n,):
        raise InputError(f"{name} must have one value for each of {n} vertices, not {array.shape}")
    wanted = {np.bool_: "b", np.int64: "iu", np.float64: "iufb"}[kind]
    if array.dtype.kind not in wanted:
        raise InputError(f"{name} must be {np.dtype(kind).name}, not {array.dtype}")
    return array.astype(kind)


def _count_states(matches: Matches) -> str:
    counts = np.bincount(matches.state, minlength=len(State))
    return ", ".join(f"{counts[s]} {s.name.lower()}" for s in State if counts[s])


def _start(start: Any, marks: BoundLandmarks | None) -> Any:
    """A Similarity, "global" or "landmarks"."""
    if start is None:
        return "landmarks" if marks is not None and marks.suffice() else "global"
    if isinstance(start, str):
        if start == "global":
            return start
        if start == "landmarks":
            if marks is None:
                raise InputError('start="landmarks" needs landmarks')
            marks.check_enough()
            return start
        raise InputError(f'start must be a similarity, "global" or "landmarks", not {start!r}')
    return start if isinstance(start, Similarity) else Similarity.from_matrix(start)
