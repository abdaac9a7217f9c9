"""Laplacian ICP in one call: what a template pays once, and a morph from pose to result."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from licp.bending import (
    Apart,
    bend,
    bend_roughly,
    near_matches,
    straightened,
    taken_apart,
    tidied,
    told_places,
)
from licp.compiled import interruptible
from licp.correspondence import Matcher
from licp.doubting import bend_doubting
from licp.errors import InputError
from licp.icp import Encounter, Iteration, Watch
from licp.io import as_mesh
from licp.landmark_file import load_landmarks
from licp.landmarks import BoundLandmarks, as_landmarks
from licp.posing import landmark_pose, searched_poses, settled_pose
from licp.quality import assess_surfaces
from licp.regions import Regions
from licp.repair import CleanMesh
from licp.result import MorphResult
from licp.scan import PreparedScan
from licp.schedule import Schedule
from licp.similarity import Similarity
from licp.solver import Backend
from licp.template import PreparedTemplate
from licp.territory import Places
from licp.threads import Crew, one_blas_thread, search_threads

__all__ = ["Iteration", "Morpher", "morph"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Relative accuracy of a linear solve.  The next iteration matches anew, so more buys nothing: with
# 0.03 or 0.08 the error of our tuning heads is the same within 0.3 %.
_SOLVE = 0.05
# Factors on data or stiffness beyond this leave nothing of the other in double precision.
_MOST = 1e4
# Threads that prepare a template: what can be done aside takes about as long as the rest.
_SET_UP = 2
# Root-mean-square displacement of what is matched below which the last step counts as none, 0.4 mm
# of 400.  It is the first one on all vertices, so linings and what the scan lacks still move.
_STILL = 1e-3

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
        How much each vertex trusts its match, 1 by default, from 0 to 10,000; the largest 0.0001
        at least.
    stiffness : (n,) float, optional
        Factor on the bending stiffness at each vertex, 1 by default, from 0.0001 to 10,000, which
        must not differ by more than 10,000 times.
    mask : (n,) bool, optional
        Vertices that follow, but never match.
    labels : (n,) int, optional
        Region of each vertex: it matches only scan vertices of the same region (see ``morph``);
        -1 matches anything.  Of copies of one vertex on a seam, the least weight, any mask, and
        stiffness and label of the first count for all.
    regions : Regions or mapping of str to (k,) int, optional
        Named vertex subsets, for a schedule whose stages have ``sets``: a vertex matches only scan
        that may be of the same set.
    backend : {"numba", "cholmod", "scipy"}, optional
        Of the solver; "numba" if not given.
    threads : int, optional
        For the preparation; as many as have something to do (two) if not given.

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

    @interruptible
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
        threads: int | None = None,
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
        if weights is not None:
            _check_weights(weights, "data_weights")
            if 0 < weights.max() < 1 / _MOST:
                raise InputError(
                    f"the largest of the data_weights must be {1 / _MOST:g} or more (1: as usual), "
                    f"not {weights.max():g}"
                )
        if bending is not None:
            _check_weights(bending, "stiffness", 1 / _MOST)

        sets = self._sets()
        if sets and of_labels is not None:
            raise InputError("labels and a schedule with sets say the same thing: give one of them")

        self._contrast = 1.0 if bending is None else float(bending.max() / bending.min())
        if self._contrast > _MOST:
            raise InputError(
                f"stiffness must not differ by more than {_MOST:g} times, not by "
                f"{self._contrast:.3g}"
            )
        self._weights = np.ones(n) if weights is None else weights
        with one_blas_thread, Crew(min(_SET_UP, search_threads(threads))) as crew:
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

    def __repr__(self) -> str:
        """One line with what it morphs, and how."""
        return f"<Morpher: {self.template!r}, {len(self.schedule)} stages, {self.backend}>"

    @property
    def _tolerance(self) -> float:
        # Where stiffness varies, its stiff part dominates the error that a solve is judged by, and
        # where much is trusted, its matches do.
        return float(_SOLVE / np.sqrt(self._contrast * max(self._weights.max(), 1.0)))

    @property
    def repaired(self) -> CleanMesh:
        """The template as it is morphed, and the way back to its vertices."""
        return self._prepared.clean

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

    def trusting(self, weights: ArrayLike) -> Morpher:
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
        if factor is None:
            raise InputError(f"weights must be one row of {len(self.template.vertices)} values")
        _check_weights(factor, "weights")
        other = copy(self)
        other._weights = self._weights * factor
        _check_weights(other._weights, "data_weights times weights")
        other._prepared = self._prepared.trusting(self._prepared.on_body(factor))
        if not other._prepared.pyramid.finest.traits.free.any():
            raise InputError("these weights leave no template vertex that may match")
        return other

    @interruptible
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
        landmarks : Landmarks, (template ids, positions[, confidence]) or path, optional
            Known pairs, or a file of them (see :func:`licp.load_landmarks`).  They pull throughout,
            and give the start if there are at least four.
        start : Similarity, (4, 4) matrix, "global" or "landmarks", optional
            Where to begin.  A similarity from template to scan is taken as it is and only
            refined; "global" searches all poses; the default is landmarks where there are
            enough, else the global search.
        rigid : bool
            True keeps the scale: template and scan are in one unit and of one size.
        scan_mask : (s,) bool, optional
            Scan vertices that count for nothing: not for the pose, not as matches, not in quality.
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
        SolverError
            If weights, stiffness and schedule are so far out of scale with each other, or so little
            holds parts of the template, that there is no fit in double precision.
        """
        if not isinstance(rigid, (bool, np.bool_)):
            raise InputError(f"rigid is True or False, not {rigid!r}")
        if callback is not None and not callable(callback):
            raise InputError(f"callback must be callable, not {type(callback).__name__}")
        workers, template = search_threads(threads), self._prepared
        ready, regions = self._ready(scan, scan_mask, scan_labels)
        watch = _Stopwatch({"prepare": ready.seconds})
        marks = self._bound(landmarks, ready)
        start = _start(start, marks)
        with one_blas_thread, Crew(workers) as crew:
            # Needed last.
            tree = crew.begin(lambda: ready.shown.triangles)
            poses = self._poses(start, marks, ready, rigid, crew)
            gate = self.schedule.stages[0].distance_gate
            pose, matcher = settled_pose(template, poses, ready, gate, regions, rigid, crew)
            watch.lap("align")

            pose, bent, absent = self._bent(pose, matcher, marks, rigid, callback)
            fit, shape = bent.untangled.fit, bent.shape
            known = template.clean.index >= 0
            vertices = bent.vertices.copy()
            vertices[known] = fit.vertices[template.clean.index[known]]
            watch.lap("deform")

            told = crew.begin(template.told, fit, bent.matches, absent, pose.scale)
            tree()
            quality = assess_surfaces(
                template.before,
                fit.moved(pose),
                ready.shown,
                bent.untangled.faults,
                crew,
                template.follows,
            )
            state, residual, confidence, expected = told()
            watch.lap("assess")
        return MorphResult(
            mesh=self.template.with_vertices(pose.apply(vertices)),
            similarity=pose.after(template.to_unit),
            state=state,
            residual=residual,
            confidence=confidence,
            expected_error=expected,
            history=shape.history,
            quality=quality,
            converged=not shape.stopped and shape.history[-1].step < _STILL,
            stopped=shape.stopped,
            backend=self.backend,
            threads=workers,
            seconds=watch.laps,
            repairs={"template": template.clean.report, "scan": ready.report},
        )

    def _ready(
        self, scan: Any, mask: ArrayLike | None, labels: ArrayLike | None
    ) -> tuple[PreparedScan, Ints | None]:
        """The scan without what is masked, and the labels of its whole surface."""
        ready = PreparedScan.of(scan)
        ignored = _per_vertex(mask, ready.count, "scan_mask", np.bool_)
        if ignored is not None and ignored.any():
            ready = ready.ignoring(ignored)
        regions = _per_vertex(labels, ready.count, "scan_labels", np.int64)
        labelled = self._prepared.pyramid.finest.traits.labels is not None
        if regions is not None and not labelled:
            raise InputError("scan_labels need a template with labels")
        if labelled and regions is None:
            raise InputError("the template has labels, so the scan needs scan_labels")
        return ready, None if regions is None else regions[ready.source]

    def _bound(self, landmarks: Any, ready: PreparedScan) -> BoundLandmarks | None:
        """Landmarks on the repaired template, checked against the scan."""
        if landmarks is None:
            return None
        clean, in_body = self._prepared.clean, self._prepared.in_body
        if isinstance(landmarks, (str, os.PathLike)):
            landmarks = load_landmarks(landmarks, self.template)
        marks = as_landmarks(landmarks).bind(self.template, clean.index, in_body)
        marks.check_near(ready.full.vertices)
        return marks

    def _poses(
        self, start: Any, marks: BoundLandmarks | None, ready: PreparedScan, rigid: bool, crew: Crew
    ) -> list[Similarity]:
        """Where to begin, from the template's unit frame to the scan: what :func:`_start` says."""
        template = self._prepared
        if start == "landmarks" and marks is not None:
            return [landmark_pose(template, marks, rigid)]
        if start == "global":
            return searched_poses(template, ready.cloud, rigid, crew)
        return [start.after(template.to_unit.inverse())]

    def _bent(
        self,
        pose: Similarity,
        matcher: Matcher,
        marks: BoundLandmarks | None,
        rigid: bool,
        callback: Callback | None,
    ) -> tuple[Similarity, Apart, Bools]:
        """The template bent to the scan, the pose it was bent from, what of it is not shown."""
        template, stages, tolerance = self._prepared, self.schedule.stages, self._tolerance
        rough = bend_roughly(_encounter(template, matcher, pose, marks, None, tolerance), stages)
        places = told_places(template, matcher, stages, rough)
        if rough is not None:
            level = template.pyramid.levels[rough.number]
            pose, matcher = straightened(pose, matcher, level, rough, rigid)
            template = template.showing(near_matches(template, rough))
        encounter = _encounter(template, matcher, pose, marks, places, tolerance)
        watching = None if callback is None else _watching(callback, pose)
        bent = taken_apart(bend(encounter, stages, watch=watching), encounter)
        bent, absent = bend_doubting(bent, encounter, stages)
        return pose, tidied(bent, template), absent


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

    ``Morpher(template, ...).morph(scan, ...)`` in one call.  With many scans, make the
    :class:`Morpher` once.

    Parameters
    ----------
    template, scan : path, trimesh.Trimesh, (vertices, faces), Mesh or MorphResult
        Vertices (n, 3) and (s, 3), any unit and pose each.  The scan may be a
        :class:`PreparedScan`.
    landmarks : Landmarks, (template ids, positions[, confidence]) or path, optional
        Known pairs.  They pull throughout, and four or more give the start.
    schedule : Schedule, optional
        Stages from stiff to soft; :meth:`Schedule.progressive` if not given, with regions
        :meth:`Schedule.regional`.
    data_weights, stiffness : (n,) float, optional
        Trust in each vertex's match, and factor on the bending stiffness there; 1 by default.
    mask, scan_mask : (n,) and (s,) bool, optional
        Vertices of the template that follow but never match; of the scan that count for nothing.
    labels, scan_labels : (n,) and (s,) int, optional
        Regions of the vertices of both: equal ones match, -1 matches anything.
    regions : Regions or mapping of str to (k,) int, optional
        Named vertex subsets of the template, which matches keep to.
    start : Similarity, (4, 4) matrix, "global" or "landmarks", optional
        Where to begin; all poses are searched if it is not given and there are no landmarks.
    rigid : bool
        Keep the scale.
    callback : callable, optional
        Called with an :class:`Iteration` after each one; ends the run if it returns True.
    threads : int, optional
        All processors this process may use if not given.
    backend : {"numba", "cholmod", "scipy"}, optional
        Of the solver; "numba" if not given.

    Returns
    -------
    MorphResult
        ``vertices`` (n, 3) float64 in the frame and unit of the scan, and how far to trust them.

    Raises
    ------
    MeshError, MeshFileError, LandmarkError, InputError, OverlapError, SolverError
        All of them :class:`LicpError`; see :class:`Morpher` and :meth:`Morpher.morph`.

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
        with Crew(min(_SET_UP, search_threads(threads))) as crew:
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
                threads=threads,
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


def _encounter(
    template: PreparedTemplate,
    matcher: Matcher,
    pose: Similarity,
    marks: BoundLandmarks | None,
    places: Places | None,
    tolerance: float,
) -> Encounter:
    """What is bent, to what: landmarks too where that pose has them."""
    own = None if marks is None else marks.at(pose.inverse().apply(marks.positions))
    return Encounter(template, matcher, own, places, tolerance)


def _watching(callback: Callback, pose: Similarity) -> Watch:
    """Tells a callback iterations in the scan's frame."""

    def watch(iteration: Iteration) -> bool:
        there = pose.apply(iteration.vertices)
        return bool(callback(replace(iteration, vertices=there)))

    return watch


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


def _check_weights(values: Floats, name: str, least: float = 0.0) -> None:
    if not ((values >= least) & (values <= _MOST)).all():
        raise InputError(
            f"{name} must be finite and from {least:g} to {_MOST:g} (1: as usual), "
            f"not {values.min():g} to {values.max():g}"
        )


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
