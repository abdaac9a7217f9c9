"""The methods that are compared, each behind the same small door.

A method is called as its own documentation calls it, with its own defaults.  Where that would not
end in bounded time, or needs what a benchmark has to provide, the settings say what was done.
"""

import contextlib
import importlib
import importlib.metadata
import inspect
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pydoc import locate
from typing import Any

import numpy as np
from numpy.typing import NDArray

import licp
from benchmarks.process import Cost, measured, memory
from licp.similarity import fit_similarity

__all__ = ["METHODS", "Fit", "Method", "Problem", "fit"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Problem:
    """What a method is given; the truth is not among it.

    Attributes
    ----------
    vertices, faces : (n, 3) float64, (m, 3) int64
        Template.
    scan_vertices, scan_faces : (s, 3) float64, (t, 3) int64
    start : Similarity or None
        From template to scan; None leaves the alignment to the method.
    marks : tuple of (k,) int64 and (k, 3) float64
        Template vertices and their true positions, for a method whose documentation aligns with
        landmarks.  They serve the alignment alone.
    threads : int
    """

    vertices: Floats
    faces: Ints
    scan_vertices: Floats
    scan_faces: Ints
    start: licp.Similarity | None
    marks: tuple[Ints, Floats]
    threads: int


@dataclass(frozen=True)
class Fit:
    """Vertices (n, 3) in the scan's frame, what they cost, what the method adds; its defaults."""

    vertices: Floats
    cost: Cost
    more: dict[str, Any]
    defaults: dict[str, Any]


@dataclass(frozen=True)
class Method(ABC):
    """A way to morph a template to a scan.

    Attributes
    ----------
    label : str
        In tables.
    packages : tuple of str
        Distributions it consists of, as pip names them; the first one's version is its own.
    modules : tuple of str
        To import before the clock starts.
    settings : dict
        Everything that was set, and what it was left at.
    alignment : str
        Its own alignment, in words.
    pace : float
        About how many seconds it takes for each thousand template vertices on a 20k scan, by
        which quick runs choose.
    api : str
        The function or class that holds its defaults.
    """

    label: str
    packages: tuple[str, ...]
    modules: tuple[str, ...]
    settings: dict[str, Any]
    alignment: str
    pace: float
    api: str

    def defaults(self) -> dict[str, Any]:
        """What the parameters of the function or parameter class are when nobody sets them."""
        return _defaults(locate(self.api))

    def versions(self) -> dict[str, str] | None:
        """Of its packages; None if one is not installed."""
        try:
            return {name: importlib.metadata.version(name) for name in self.packages}
        except importlib.metadata.PackageNotFoundError:
            return None

    @abstractmethod
    def register(self, problem: Problem) -> Floats:
        """Vertices (n, 3) of the template on the scan."""

    def more(self, problem: Problem) -> dict[str, Any]:
        """What else there is to say, measured after the rest."""
        return {}


@dataclass(frozen=True)
class _Licp(Method):
    def versions(self) -> dict[str, str]:
        """Of the checkout, installed or not."""
        return {"licp": licp.__version__}

    def register(self, problem: Problem) -> Floats:
        return licp.morph(
            (problem.vertices, problem.faces),
            (problem.scan_vertices, problem.scan_faces),
            start=problem.start,
            threads=problem.threads,
        ).vertices

    def more(self, problem: Problem) -> dict[str, Any]:
        """The same with a template that was prepared before."""
        morpher = licp.Morpher((problem.vertices, problem.faces))
        clock = time.perf_counter()
        result = morpher.morph(
            (problem.scan_vertices, problem.scan_faces),
            start=problem.start,
            threads=problem.threads,
        )
        seconds = time.perf_counter() - clock
        return {"prepared": seconds, "backend": result.backend, "phases": dict(result.seconds)}


@dataclass(frozen=True)
class _Peer(Method):
    """Aligns, if that is left to it, then deforms what is aligned."""

    align: Callable[[Problem], Floats] = field(kw_only=True, repr=False)
    deform: Callable[[Floats, Problem], Floats] = field(kw_only=True, repr=False)

    def register(self, problem: Problem) -> Floats:
        if problem.start is None:
            placed = self.align(problem)
        else:
            placed = problem.start.apply(problem.vertices)
        return np.asarray(self.deform(placed, problem), np.float64)


def fit(name: str, problem: Problem, small: Problem, repeats: int, patience: float) -> Fit:
    """Run a method: first on a small problem, which imports and compiles, then by the clock."""
    method = METHODS[name]
    for module in method.modules:
        importlib.import_module(module)
    imported = memory()[0]
    method.register(small)
    vertices, cost = measured(
        lambda: method.register(problem), repeats=repeats, patience=patience, above=imported
    )
    if vertices.shape != problem.vertices.shape:
        raise ValueError(f"returned {vertices.shape} vertices, not {problem.vertices.shape}")
    if not np.isfinite(vertices).all():
        raise ValueError("returned vertices that are not finite")
    return Fit(vertices, cost, method.more(problem), method.defaults())


def _defaults(thing: Any) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        told = {
            p.name: p.default
            for p in inspect.signature(thing).parameters.values()
            if p.default is not p.empty
        }
        if told:
            plain = (bool, int, float, type(None))
            return {k: v if isinstance(v, plain) else str(v) for k, v in told.items()}
    return _fields(thing())


def _fields(thing: Any) -> dict[str, Any]:
    """Of an object without a signature to ask, as C++ has them."""
    values = {name: getattr(thing, name) for name in dir(thing) if not name.startswith("_")}
    return {
        name: value if isinstance(value, (bool, int, float)) else _fields(value)
        for name, value in values.items()
    }


def _trimesh(vertices: Floats, faces: Ints) -> Any:
    import trimesh

    return trimesh.Trimesh(vertices, faces, process=False)


def _landmark_alignment(problem: Problem) -> Floats:
    from trimesh.registration import procrustes
    from trimesh.transformations import transform_points

    ids, positions = problem.marks
    return np.asarray(
        transform_points(problem.vertices, procrustes(problem.vertices[ids], positions)[0])
    )


def _nricp(function: str, placed: Floats, problem: Problem) -> Floats:
    from trimesh import registration

    run = getattr(registration, function)
    return np.asarray(
        run(_trimesh(placed, problem.faces), _trimesh(problem.scan_vertices, problem.scan_faces))
    )


def _meshmonk_rigid(problem: Problem) -> Floats:
    # What pyramid_register(rigid_params={}) does first.
    import meshmonk

    return np.asarray(
        meshmonk.rigid_register(
            _trimesh(problem.vertices, problem.faces),
            _trimesh(problem.scan_vertices, problem.scan_faces),
        ).aligned_vertices
    )


def _meshmonk(function: str, placed: Floats, problem: Problem) -> Floats:
    import meshmonk

    run = getattr(meshmonk, function)
    return np.asarray(
        run(
            _trimesh(placed, problem.faces),
            _trimesh(problem.scan_vertices, problem.scan_faces),
        ).aligned_vertices
    )


def _symmetry_alignment(problem: Problem) -> Floats:
    from pyclarcs.alignment import align_rescale, align_to_symmetry_plane

    template = align_to_symmetry_plane(problem.vertices, _symmetry_plane(problem.vertices))
    scan = align_to_symmetry_plane(problem.scan_vertices, _symmetry_plane(problem.scan_vertices))
    # It aligns both to the plane x = 0; here, the scan stays where it is.
    back = fit_similarity(scan, problem.scan_vertices, with_scale=False)
    return back.apply(align_rescale(template, scan))


def _symmetry_plane(points: Floats) -> Any:
    from pyclarcs.coarse import coarse_symmetry
    from pyclarcs.fine import em_icp_sym, em_icp_sym_corres
    from pyclarcs.principal_axes import best_principal_axis_plane

    plane = coarse_symmetry(points, best_principal_axis_plane(points), verbose=False)
    plane = em_icp_sym(points, plane, verbose=False)
    return em_icp_sym_corres(points, plane, verbose=False)


def _clarcs(placed: Floats, problem: Problem) -> Floats:
    from pyclarcs.io import compute_surface_normals
    from pyclarcs.nonrigid import apply_deformation, estimate_registration_params, register

    faces, scan_faces = problem.faces.tolist(), problem.scan_faces.tolist()
    estimated = estimate_registration_params(placed, problem.scan_vertices)
    field = register(
        placed,
        compute_surface_normals(placed, faces),
        problem.scan_vertices,
        compute_surface_normals(problem.scan_vertices, scan_faces),
        faces,
        scan_faces,
        n_levels=estimated["n_levels"],
        dist_cutoff=min(estimated["dist_cutoff"], 4 * estimated["sigma"]),
        verbose=False,
    )
    return np.asarray(apply_deformation(placed, field))


def _cpd_units(problem: Problem) -> tuple[Floats, float]:
    """Middle and spread of the scan: coherent point drift works on points of unit variance."""
    return problem.scan_vertices.mean(0), float(problem.scan_vertices.std())


def _cpd_rigid(problem: Problem) -> Floats:
    from biocpd import RigidRegistration

    middle, spread = _cpd_units(problem)
    moved, _ = RigidRegistration(
        X=(problem.scan_vertices - middle) / spread,
        Y=(problem.vertices - middle) / spread,
    ).register()
    return np.asarray(middle + spread * moved)


_CPD = {
    "alpha": 2.0,
    "beta": 2.0,
    "low_rank": True,
    "num_eig": 80,
    "low_rank_method": "pivoted_cholesky",
    "use_kdtree": True,
    "k": 10,
    "radius_mode": False,
    "w": 0.05,
    "max_iterations": 50,
}
_CONVERGED = _CPD | {"tolerance": 1e-6}


def _cpd(settings: dict[str, Any], placed: Floats, problem: Problem) -> Floats:
    from biocpd import DeformableRegistration

    middle, spread = _cpd_units(problem)
    moved, _ = DeformableRegistration(
        X=(problem.scan_vertices - middle) / spread, Y=(placed - middle) / spread, **settings
    ).register()
    return middle + spread * np.asarray(moved, np.float64)


_LANDMARKS = (
    "`registration.procrustes` on landmarks, as its example does.  It is given the true positions "
    "of the 68 landmarks (where a set has none: of 68 vertices), for the alignment alone"
)
_RIGID = "`rigid_params={}`: its rigid ICP with defaults"
_SYMMETRY = (
    "symmetry planes of both (`best_principal_axis_plane`, `coarse_symmetry`, `em_icp_sym`, "
    "`em_icp_sym_corres`, `align_to_symmetry_plane`), then `align_rescale`, as its pipeline does"
)
_CPD_ALIGNMENT = "`RigidRegistration` with its defaults (it has a scale)"
_UNIT = "both point sets in units of the scan's standard deviation about its mean"

METHODS: dict[str, Method] = {
    "licp": _Licp(
        "licp", ("licp",), ("licp",), {"call": "licp.morph(template, scan)"},
        "its global search over all poses", 0.3, "licp.schedule.Schedule.progressive",
    ),
    "amberg": _Peer(
        "trimesh `nricp_amberg`", ("trimesh", "rtree"), ("trimesh", "rtree"),
        {"call": "nricp_amberg(template, scan)"}, _LANDMARKS, 2.6,
        "trimesh.registration.nricp_amberg",
        align=_landmark_alignment, deform=partial(_nricp, "nricp_amberg"),
    ),
    "sumner": _Peer(
        "trimesh `nricp_sumner`", ("trimesh", "rtree"), ("trimesh", "rtree"),
        {"call": "nricp_sumner(template, scan)"}, _LANDMARKS, 1.8,
        "trimesh.registration.nricp_sumner",
        align=_landmark_alignment, deform=partial(_nricp, "nricp_sumner"),
    ),
    "meshmonk-pyramid": _Peer(
        "meshmonk `pyramid_register`", ("meshmonk",), ("meshmonk", "trimesh"),
        {"call": "pyramid_register(template, scan)"}, _RIGID, 0.8,
        "meshmonk.PyramidParams",
        align=_meshmonk_rigid, deform=partial(_meshmonk, "pyramid_register"),
    ),
    "meshmonk-nonrigid": _Peer(
        "meshmonk `nonrigid_register`", ("meshmonk",), ("meshmonk", "trimesh"),
        {"call": "nonrigid_register(template, scan)"}, _RIGID, 1.8,
        "meshmonk.NonrigidParams",
        align=_meshmonk_rigid, deform=partial(_meshmonk, "nonrigid_register"),
    ),
    "pyclarcs": _Peer(
        "pyclarcs `register`", ("pyclarcs",),
        ("pyclarcs.nonrigid", "pyclarcs.io", "pyclarcs.alignment"),
        {
            "call": "register(template, scan, n_levels, dist_cutoff)",
            "n_levels": "by size, as its command line does",
            "dist_cutoff": "at most 4 sigma, both as it estimates them: its own cutoff grows with "
            "what template and scan do not share, to 18 minutes a head",
        },
        _SYMMETRY, 14.0, "pyclarcs.nonrigid.register",
        align=_symmetry_alignment, deform=_clarcs,
    ),
    "biocpd": _Peer(
        "biocpd `DeformableRegistration`", ("biocpd",), ("biocpd", "sklearn.utils.extmath"),
        {"call": "DeformableRegistration(scan, template), as in its README", "unit": _UNIT, **_CPD},
        _CPD_ALIGNMENT, 0.3, "biocpd.DeformableRegistration",
        align=_cpd_rigid, deform=partial(_cpd, _CPD),
    ),
    "biocpd-converged": _Peer(
        "biocpd, `tolerance=1e-6`", ("biocpd",), ("biocpd", "sklearn.utils.extmath"),
        {
            "call": "as above, but it goes on: with its default tolerance of 1e-3 it stops after "
            "three iterations",
            "unit": _UNIT,
            **_CONVERGED,
        },
        _CPD_ALIGNMENT, 0.4, "biocpd.DeformableRegistration",
        align=_cpd_rigid, deform=partial(_cpd, _CONVERGED),
    ),
}  # fmt: skip
"""By the names that ``--methods`` takes."""
