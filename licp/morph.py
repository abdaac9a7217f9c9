"""Laplacian ICP: the loop, and what a template pays once."""

import time
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from licp.absence import Doubt
from licp.alignment import grip
from licp.correspondence import Matcher, Matches, StageMatcher, State
from licp.errors import InputError, OverlapError, SolverError
from licp.landmarks import BoundLandmarks, as_landmarks
from licp.mesh import as_mesh
from licp.posing import landmark_pose, searched_poses, settled_pose
from licp.quality import assess_surfaces
from licp.regions import Regions
from licp.result import MorphResult, StageRecord
from licp.scan import PreparedScan
from licp.schedule import Schedule, Stage
from licp.similarity import Similarity, fit_similarity
from licp.solver import Backend, ElasticSolver
from licp.template import PreparedTemplate
from licp.territory import Places, Territory
from licp.threads import Crew, one_blas_thread, search_threads
from licp.traits import Traits
from licp.untangle import Untangled, untangled

__all__ = ["Iteration", "Morpher", "morph"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Relative accuracy of a linear solve.  The next iteration matches anew, so more buys nothing: with
# 0.03 or 0.08 the error of our tuning heads is the same within 0.3 %.
_SOLVE = 0.05
# A solve starts from this part of the last step: 14 % fewer iterations of conjugate gradients; with
# 0.3 or 0.9 half of that.
_AHEAD = 0.5
# Stiffness length of the first bending, which tells the pose: 20 mm of 400.  Three stages down to
# 12 mm do not tell more: the error is the same within 0.3 % (ICT, MakeHuman), 0.8 % (generated).
_ROUGH = 0.05
# Threads that prepare a template: what can be done aside takes about as long as the rest.
_SET_UP = 2
# Parts of a fit that ran through itself are doubted if they lack this part of their curvature on
# the scan, one after the other; how often a template is bent anew for that.  A third try takes
# wide open mouths apart that the first two leave; 0.13 doubts sound parts.
_LACKING, _DOUBTS = (0.3, 0.2, 0.15), 5
# Tangles of less than this part of the faces are left: finer templates have small ones at lips, and
# bending anew takes as long as bending did.  Crushed ears and lost mouths have 0.7 to 3 %.
_FEW = 0.005
# So many times as many that could be taken apart are worth a look at what the scan shows there:
# crushed ears have 1.3 to 10 %, a third of all ICT fits have more than 1 % at closed lips.
_TORN = 2
# Vertices without a match that one fault or crushed vertex less may cost: absent ears 0.3 to 6.
_WORTH = 20
# Vertices that must get a match back for one fault more: a few flipped faces in a mouth.  5 to 50
# are alike, with 100 one of 32 wide open mouths stays lost.
_BACK = 20
# Stiffness length from which on what was doubted is believed again: 20 mm of 400.  From 9 mm on,
# two of five wide open mouths find what crosses again.
_LATE = 0.05
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
        The deforming part of the template, in the scan's frame; where it runs through itself after
        the last iteration, it is still taken apart (see :func:`licp.untangle.untangled`).
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
        ``Schedule.progressive()`` if not given; with regions, ``Schedule.regional(regions)``.
    data_weights : (n,) float, optional
        How much each vertex trusts its match, 1 by default.
    stiffness : (n,) float, optional
        Factor on the bending stiffness at each vertex, 1 by default.
    mask : (n,) bool, optional
        Vertices that follow, but never match.
    labels : (n,) int, optional
        Region of each vertex: it matches only scan vertices of the same region (see ``morph``);
        -1 matches anything.
    regions : Regions or mapping of str to (k,) int, optional
        Named vertex subsets, for a schedule whose stages have ``sets``: a vertex matches only scan
        that may be of the same set.
    backend : {"numba", "cholmod", "scipy"}, optional
        Of the solver; "numba" if not given.

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
        regions: Mapping[str, ArrayLike] | None = None,
        backend: Backend | None = None,
    ) -> None:
        self.template = as_mesh(template, "template")
        n = len(self.template.vertices)
        self.regions = None if regions is None else Regions(regions, n)
        if schedule is None:
            schedule = Schedule.progressive() if regions is None else Schedule.regional(regions)
        self.schedule = schedule
        if not isinstance(self.schedule, Schedule):
            raise InputError(f"schedule must be a licp.Schedule, not {type(schedule).__name__}")
        weights = _per_vertex(data_weights, n, "data_weights", np.float64)
        bending = _per_vertex(stiffness, n, "stiffness", np.float64)
        masked = _per_vertex(mask, n, "mask", np.bool_)
        of_labels = _per_vertex(labels, n, "labels", np.int64)
        for name, values in (("data_weights", weights), ("stiffness", bending)):
            if values is not None:
                _check_weights(values, name)
        if bending is not None and not (bending > 0).all():
            raise InputError("stiffness must be positive everywhere")

        sets = self._sets()
        if sets and of_labels is not None:
            raise InputError("labels and a schedule with sets say the same thing: give one of them")

        # Where stiffness varies, its stiff part dominates the error that a solve is judged by.
        contrast = 1.0 if bending is None else bending.max() / bending.min()
        self._tolerance = _SOLVE / np.sqrt(contrast)
        with one_blas_thread, Crew(_SET_UP) as crew:
            self._prepared = PreparedTemplate(
                self.template,
                self.schedule,
                weights,
                bending,
                masked,
                of_labels,
                sets,
                backend,
                crew,
            )

    def _sets(self) -> dict[tuple[str, ...], Ints]:
        """Set of each vertex for every list of sets in the schedule."""
        lists = {stage.sets for stage in self.schedule} - {()}
        if lists and self.regions is None:
            raise InputError(f"a schedule with sets ({', '.join(min(lists))}) needs regions")
        return {names: self.regions.sets(names) for names in lists if self.regions is not None}

    @property
    def backend(self) -> Backend:
        """The solver's back end."""
        return self._prepared.pyramid.finest.system.analysis.backend

    def trusting(self, weights: ArrayLike) -> "Morpher":
        """The same template with each vertex's ``data_weights`` times a factor, for some scans.

        Everything that takes time is shared.

        Parameters
        ----------
        weights : (n,) float
            0 leaves a vertex without a match: it follows its surroundings.

        Raises
        ------
        InputError
            If they cannot be used, or leave no vertex that may match.

        Examples
        --------
        >>> import trimesh
        >>> ball = trimesh.creation.icosphere(3)
        >>> upper = Morpher(ball).trusting(ball.vertices[:, 2] > 0)
        >>> float(upper.morph(ball).matched) < 0.6
        True
        """
        factor = _per_vertex(weights, len(self.template.vertices), "weights", np.float64)
        assert factor is not None
        _check_weights(factor, "weights")
        other = self._of(self._prepared.trusting(self._prepared.on_body(factor)))
        if not other._prepared.pyramid.finest.traits.free.any():
            raise InputError("these weights leave no template vertex that may match")
        return other

    def _of(self, prepared: PreparedTemplate) -> "Morpher":
        """The same with another prepared template."""
        other = copy(self)
        other._prepared = prepared
        return other

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
        scan : path, trimesh.Trimesh, (vertices, faces), Mesh or PreparedScan
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
            Called with an :class:`Iteration` after each one; ends the run if it returns True.  Not
            called where a fit that runs through itself is bent anew.
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
        workers = search_threads(threads)
        ready = PreparedScan.of(scan)
        watch = _Stopwatch({"prepare": ready.seconds})
        s = ready.count
        ignored = _per_vertex(scan_mask, s, "scan_mask", np.bool_)
        if ignored is not None and ignored.all():
            raise InputError("scan_mask ignores every vertex of the scan")
        if callback is not None and not callable(callback):
            raise InputError(f"callback must be callable, not {type(callback).__name__}")
        regions = _per_vertex(scan_labels, s, "scan_labels", np.int64)
        template = self._prepared
        labelled = template.pyramid.finest.traits.labels is not None
        if regions is not None and not labelled:
            raise InputError("scan_labels need a template with labels")
        if labelled and regions is None:
            raise InputError("the template has labels, so the scan needs scan_labels")
        marks = None
        if landmarks is not None:
            marks = as_landmarks(landmarks).bind(
                self.template, template.clean.index, template.in_body
            )
        pose = _start(start, marks)
        with one_blas_thread, Crew(workers) as crew:
            # Needed last.
            measurable = crew.begin(lambda: (ready.full.triangles, ready.full.normals))
            if pose == "landmarks":
                assert marks is not None
                poses = [landmark_pose(template, marks, rigid)]
            elif pose == "global":
                poses = searched_poses(template, ready.cloud, rigid, crew)
            else:
                poses = [pose.after(template.to_unit.inverse())]
            pose, matcher = settled_pose(
                template,
                poses,
                ready,
                self.schedule.stages[0].distance_gate,
                None if ignored is None else ignored[ready.source],
                None if regions is None else regions[ready.source],
                rigid,
                crew,
            )
            watch.lap("align")

            def bound(pose: Similarity) -> BoundLandmarks | None:
                return None if marks is None else marks.at(pose.inverse().apply(marks.positions))

            rough = self._bend_roughly(pose, matcher, bound(pose))
            places = self._places(rough, matcher)
            pose, matcher = self._straighten(pose, matcher, rough, rigid)
            bent = self._bend(pose, matcher, bound(pose), places, callback)
            bent, absent = self._bend_doubting(bent, pose, matcher, bound(pose), places)
            fit, shape = bent.untangled.fit, bent.shape
            known = template.clean.index >= 0
            vertices = bent.vertices.copy()
            vertices[known] = fit.vertices[template.clean.index[known]]
            watch.lap("deform")

            told = crew.begin(template.told, fit, bent.matches, absent, pose.scale)
            measurable()
            quality = assess_surfaces(
                template.before, fit.moved(pose), ready.full, bent.untangled.faults, crew
            )
            state, residual, confidence = told()
            watch.lap("assess")
        return MorphResult(
            mesh=self.template.with_vertices(pose.apply(vertices)),
            similarity=pose.after(template.to_unit),
            state=state,
            residual=residual,
            confidence=confidence,
            history=shape.history,
            quality=quality,
            converged=not shape.stopped and shape.history[-1].step < _STILL,
            stopped=shape.stopped,
            backend=self.backend,
            threads=workers,
            seconds=watch.laps,
            repairs={"template": template.clean.report, "scan": ready.report},
        )

    def _deform(
        self,
        stages: tuple[Stage, ...],
        matcher: Matcher,
        marks: BoundLandmarks | None,
        pose: Similarity,
        places: Places | None,
        callback: Callback | None = None,
        start: "_Bent | None" = None,
    ) -> "_Shape":
        """Match, weigh, solve, move: Laplacian ICP in the template's frame."""
        pyramid, stiffest = self._prepared.pyramid, stages[0].stiffness
        history: list[StageRecord] = []
        if start is not None:
            stages = tuple(stage for stage in stages if stage.stiffness <= _LATE) or stages[-1:]
            history += start.shape.history
        number = pyramid.fit_for(stages[0].stiffness)
        level, X = pyramid.levels[number], pyramid.levels[number].rest
        if start is not None:
            X = pyramid.on(start.body, number)
        solver, hung = ElasticSolver(level.system), pyramid.bound(marks, number)
        total = sum(stage.iterations for stage in stages)
        done, stop = 0, False
        d: Floats | None = None
        search = matcher.at(stages[0])
        begin = matcher.crew.begin
        for stage in stages:
            clock, first, inner, factors = time.perf_counter(), done, 0, 0
            wanted = pyramid.fit_for(stage.stiffness)
            if wanted > number:
                X = pyramid.refined(X, number, wanted)
                number, level, d = wanted, pyramid.levels[wanted], None
                solver, hung = ElasticSolver(level.system), pyramid.bound(marks, number)
            search = matcher.at(stage)
            territory = _territory(matcher, places, stage, level.traits)
            alpha = stage.stiffness**4
            for _ in range(stage.iterations):
                # Neither needs the matches; the first only guesses their weights.
                ready = begin(solver.expect, alpha, self._tolerance)
                bent = begin(level.bend, X)
                matches = search.match(X, level.normals(X), level.traits, territory)
                detail = stage.stiffness / stiffest
                w, pull, along = level.weigh(X, matches, hung, detail)
                if not w.any():
                    raise OverlapError(
                        "not one template vertex has a match that passes the gates: "
                        f"{_count_states(matches)}; check masks, labels, start and winding"
                    )
                bend, force = bent()
                ready()
                d, info = solver.solve(
                    alpha,
                    w,
                    pull - alpha * force,
                    tol=self._tolerance,
                    along=along,
                    guess=None if d is None else _AHEAD * d,
                )
                told = level.measure(X, matches, alpha * bend, d)
                X = X + d

                done, inner = done + 1, inner + info.iterations
                factors += info.refactored
                if callback is not None:
                    now = pose.apply(pyramid.refined(X, number, pyramid.last))
                    stop = bool(callback(Iteration(done, total, stage, now, *told)))
                if stop:
                    break
            seconds = time.perf_counter() - clock
            history.append(
                StageRecord(stage.stiffness, *told, done - first, inner, factors, seconds)
            )
            if stop:
                break
        return _Shape(number, X, matches, search, tuple(history), stop)

    def _bend(
        self,
        pose: Similarity,
        matcher: Matcher,
        marks: BoundLandmarks | None,
        places: Places | None,
        callback: Callback | None = None,
        start: "_Bent | None" = None,
    ) -> "_Bent":
        """All stages, or the last ones from a start; then all of the template, taken apart."""
        template, pyramid = self._prepared, self._prepared.pyramid
        shape = self._deform(self.schedule.stages, matcher, marks, pose, places, callback, start)
        X, matches = shape.vertices, shape.matches
        if shape.number < pyramid.last:
            finest = pyramid.finest
            territory = _territory(matcher, places, shape.search.stage, finest.traits)
            X = pyramid.refined(X, shape.number, pyramid.last)
            matches = shape.search.match(X, finest.normals(X), finest.traits, territory)
        vertices = template.placed(X)
        apart = untangled(
            template.whole.vertices,
            template.whole.reshaped(vertices[template.clean.source]),
            template.crossings,
            template.bends,
            matcher.crew,
        )
        return _Bent(shape, X, matches, vertices, apart)

    def _bend_doubting(
        self,
        bent: "_Bent",
        pose: Similarity,
        matcher: Matcher,
        marks: BoundLandmarks | None,
        places: Places | None,
    ) -> tuple["_Bent", Bools]:
        """Bent again without what the scan may not show, if the fit ran through itself there.

        Such a part then follows its surroundings, as an ear under hair does.  Also tells which it
        is, (m,) bool.
        """
        template, free = self._prepared, self._prepared.pyramid.finest.traits.free
        absent = failed = np.zeros(len(free), bool)
        apart, most = bent.untangled, _FEW * len(template.bends)
        if len(apart.left) <= most and len(apart.torn) <= _TORN * most:
            return bent, absent
        doubt = self._doubt(bent, matcher, places)
        if len(apart.left) <= most and not doubt.crushed:
            return bent, absent
        passes = 0
        for share in _LACKING:
            while (len(doubt.left) or doubt.crushed) and not bent.shape.stopped:
                part = template.absent(doubt, share)
                doubted, more = absent | part, np.count_nonzero(part & ~absent)
                # No more than all that is wrong can be won.
                hope = min(len(doubt.seeds), _wrong(bent, doubt))
                if not 0 < more <= _WORTH * hope or np.array_equal(doubted, failed):
                    break
                if passes == _DOUBTS or np.count_nonzero(doubted) > 0.5 * np.count_nonzero(free):
                    break
                passes += 1
                other = self._of(template.trusting(np.where(doubted, 0.0, 1.0)))
                again = other._bend_if(pose, matcher, marks, places)
                if again is None or more > _WORTH * (_wrong(bent, doubt) - _wrong(*again)):
                    failed = doubted
                    break
                (bent, doubt), absent = again, doubted
        if absent.any():
            # Led there by its surroundings, a mouth that is wide open may be found after all.
            again = self._bend_if(pose, matcher, marks, places, start=bent)
            least = np.count_nonzero(absent)
            if again is not None and _BACK * (_wrong(*again) - _wrong(bent, doubt)) <= least:
                return again[0], np.zeros_like(absent)
        return bent, absent

    def _doubt(self, bent: "_Bent", matcher: Matcher, places: Places | None) -> Doubt:
        """What a fit lacks where it is or was tangled."""
        finest, X, search = self._prepared.pyramid.finest, bent.body, bent.shape.search
        territory = _territory(matcher, places, search.stage, finest.traits)
        found = search.curvature_found(X, finest.normals(X), finest.traits, territory)
        return self._prepared.doubt(found, bent.matches, bent.untangled)

    def _bend_if(
        self,
        pose: Similarity,
        matcher: Matcher,
        marks: BoundLandmarks | None,
        places: Places | None,
        start: "_Bent | None" = None,
    ) -> tuple["_Bent", Doubt] | None:
        """Like :meth:`_bend`, with what to doubt; nothing where too little is left that matches."""
        try:
            bent = self._bend(pose, matcher, marks, places, start=start)
        except (OverlapError, SolverError):
            return None
        return bent, self._doubt(bent, matcher, places)

    def _bend_roughly(
        self, pose: Similarity, matcher: Matcher, marks: BoundLandmarks | None
    ) -> "_Shape | None":
        """A first, stiff bending, if the schedule has a stage that is as stiff."""
        rough = tuple(stage for stage in self.schedule if stage.stiffness >= _ROUGH)[-1:]
        return self._deform(rough, matcher, marks, pose, None) if rough else None

    def _straighten(
        self, pose: Similarity, matcher: Matcher, shape: "_Shape | None", rigid: bool
    ) -> tuple[Similarity, Matcher]:
        """Pose that a first bending settled on.

        Once nose meets nose and ear meets ear, a similarity is left with what all agree on; the
        rigid search gave some of their difference in shape to the pose.
        """
        if shape is None:
            return pose, matcher
        level = self._prepared.pyramid.levels[shape.number]
        pulled = (shape.matches.state == State.MATCHED) & level.traits.free
        # Squared: the back of a head may slide by centimetres, ears and nose by millimetres.
        sure = level.traits.trust * grip(level.traits.features) ** 2
        seen = np.where(pulled, sure, 0.0)
        if np.count_nonzero(seen) < 4:
            return pose, matcher
        move = fit_similarity(level.rest, shape.vertices, seen, not rigid)
        return pose.after(move), matcher.moved(move.inverse())

    def _places(self, shape: "_Shape | None", matcher: Matcher) -> Places | None:
        """What the correspondence sets of the schedule may match, told by a first bending."""
        if not any(stage.sets for stage in self.schedule):
            return None
        pyramid = self._prepared.pyramid
        level = pyramid.finest if shape is None else pyramid.levels[shape.number]
        X = level.rest if shape is None else shape.vertices
        search = matcher.at(self.schedule.stages[0]) if shape is None else shape.search
        alike = search.resemblance(X, level.normals(X), level.traits)
        return Places(alike, level.traits.sets, matcher.target.neighbours, matcher.target.spacing)


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
    regions: Mapping[str, ArrayLike] | None = None,
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

    def prepared() -> PreparedScan:
        ready = PreparedScan.of(scan)
        if landmarks is None and start is None:
            _ = ready.cloud  # kept there
        return ready

    with one_blas_thread:
        with Crew(_SET_UP) as crew:
            ready = crew.begin(prepared)
            morpher = Morpher(
                template,
                schedule=schedule,
                data_weights=data_weights,
                stiffness=stiffness,
                mask=mask,
                labels=labels,
                regions=regions,
                backend=backend,
            )
        return morpher.morph(
            ready(),
            landmarks=landmarks,
            start=start,
            rigid=rigid,
            scan_mask=scan_mask,
            scan_labels=scan_labels,
            callback=callback,
            threads=threads,
        )


@dataclass(frozen=True, eq=False)
class _Bent:
    """A shape on all vertices: of the body, their matches, of the whole mesh, taken apart."""

    shape: "_Shape"
    body: Floats
    matches: Matches
    vertices: Floats
    untangled: Untangled


@dataclass(frozen=True, eq=False)
class _Shape:
    """Where the loop ended: level, vertices there, last matches and what found them."""

    number: int
    vertices: Floats
    matches: Matches
    search: StageMatcher
    history: tuple[StageRecord, ...]
    stopped: bool


def _wrong(bent: _Bent, doubt: Doubt) -> int:
    """What is wrong with a fit: faults, and vertices that were crushed without leaving any."""
    return bent.untangled.faults.number + doubt.crushed


def _territory(
    matcher: Matcher, places: Places | None, stage: Stage, traits: Traits
) -> Territory | None:
    """What a stage may match: by the labels of template and scan, or by the sets of the stage."""
    return matcher.labelled(traits) if places is None else places.of(stage.sets, traits)


class _Stopwatch:
    def __init__(self, laps: dict[str, float]) -> None:
        self.laps = dict(laps)
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


def _check_weights(values: Floats, name: str) -> None:
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise InputError(f"{name} must be finite and not negative")


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
