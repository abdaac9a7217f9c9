"""What a morph returns: the shape, where to trust it, and how it came about."""

import json
import os
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from licp.correspondence import State
from licp.flags import flags_of
from licp.io import save_mesh
from licp.mesh import Mesh
from licp.quality import Quality
from licp.readonly import ReadOnlyArrays
from licp.repair import RepairReport
from licp.similarity import Similarity

__all__ = ["MorphResult", "StageRecord"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class StageRecord:
    """What happened in one stage of the schedule, at its last iteration.

    Lengths are in parts of the template's size, so runs on different scans compare.

    Attributes
    ----------
    stiffness : float
        Of the stage.
    energy : float
        Bending of the rest shape plus weighted squared residuals, before the last step.
    matched : float
        Part of the template's area that was matched.
    median_residual : float
        Of the matched vertices.
    step : float
        Root-mean-square displacement of the matched vertices in the last iteration.
    iterations : int
    solver_iterations : int
        Applications of a Cholesky factor, all iterations together.
    refactorisations : int
        New numeric factors.
    seconds : float
    """

    stiffness: float
    energy: float
    matched: float
    median_residual: float
    step: float
    iterations: int
    solver_iterations: int
    refactorisations: int
    seconds: float


@dataclass(frozen=True, eq=False)
class MorphResult(ReadOnlyArrays):
    """A template morphed to a scan.

    Attributes
    ----------
    mesh : Mesh
        The template with its vertices moved; faces, uv, materials and order are the template's.
    similarity : Similarity
        From the template's frame to the scan's, before anything was bent.
    state : (n,) uint8
        For each template vertex, a :class:`licp.State`: matched, or why not.
    residual : (n,) float64
        Distance to its match in the unit of the scan; NaN where there is none.
    confidence : (n,) float64
        From 0 (filled in, far from anything seen) to 1 (seen, smooth and close).  Our own; it ranks
        how well places were seen, and is no probability.
    expected_error : (n,) float64
        Distance to expect between each vertex and its true place, in the unit of the scan: see
        :func:`licp.expectation.expected_errors`.  It takes for granted that the template was
        placed right, which :attr:`flags` may doubt.
    history : tuple of StageRecord
        Of the fit that was kept, in order; stages that were repeated at its end stand there again.
    quality : Quality
        Distances both ways, coverage, fold-overs and distortion, in the unit of the scan.
    converged : bool
        The schedule was completed, and its last step moved what is matched by less than 0.1 % of
        the template's size.
    stopped : bool
        The callback ended the run.
    backend : str
        "numba", "cholmod" or "scipy".
    threads : int
    seconds : dict
        Wall time of each phase; ``prepare`` is what the scan took, whenever it was prepared.
    repairs : dict
        What was repaired in "template" and "scan", each a RepairReport.
    adjusted : tuple of str
        What was done otherwise on this scan, see :func:`licp.morph_guided`.
    """

    mesh: Mesh
    similarity: Similarity
    state: NDArray[np.uint8]
    residual: Floats
    confidence: Floats
    expected_error: Floats
    history: tuple[StageRecord, ...]
    quality: Quality
    converged: bool
    stopped: bool
    backend: str
    threads: int
    seconds: dict[str, float]
    repairs: dict[str, RepairReport]
    adjusted: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Results are read-only, like the mesh."""
        for name in ("state", "residual", "confidence", "expected_error"):
            getattr(self, name).flags.writeable = False

    @property
    def vertices(self) -> Floats:
        """Template vertices (n, 3) float64 in the scan's frame and unit."""
        return self.mesh.vertices

    def __repr__(self) -> str:
        """One line with what one looks at first."""
        q = self.quality.template_to_scan
        distance = "no overlap" if q is None else f"median distance {q.median:.3g}"
        return (
            f"<MorphResult: {len(self.vertices)} vertices, {self.matched:.0%} matched, {distance}, "
            f"expected error {self.mean_expected_error:.3g}, "
            f"{', '.join(self.flags) or 'converged'}, {sum(self.seconds.values()):.2f} s>"
        )

    @cached_property
    def flags(self) -> tuple[str, ...]:
        """Reasons to doubt the fit, none for a good one: see :func:`licp.flags.flags_of`."""
        may = (self.state != State.MASKED) & (self.state != State.COMPONENT)
        matched = float(self.seen[may].mean()) if may.any() else 0.0
        return flags_of(self.quality, self.mesh, self.converged, matched)

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Vertices that were matched at the end, (n,); the others were filled in."""
        seen: NDArray[np.bool_] = self.state == State.MATCHED
        return seen

    @property
    def matched(self) -> float:
        """Part of the template's vertices that were matched at the end."""
        return float(self.seen.mean())

    @property
    def mean_expected_error(self) -> float:
        """Mean of the expected errors of the vertices that were matched; of all, if none were."""
        seen = self.seen
        return float(self.expected_error[seen if seen.any() else ...].mean())

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the morphed template as OBJ, PLY or GLB, in template order.

        The file appears whole or not at all.

        Raises
        ------
        OutputError
            If it cannot be written there.
        """
        return save_mesh(path, self.mesh)

    def to_dict(self, arrays: bool = False) -> dict[str, Any]:
        """Everything but the mesh as plain Python, ready for JSON.

        Parameters
        ----------
        arrays : bool
            Whether state, residual, confidence and expected error of every vertex come too.
        """
        counts = np.bincount(self.state, minlength=len(State))
        out: dict[str, Any] = {
            "converged": self.converged,
            "flags": list(self.flags),
            "stopped": self.stopped,
            "similarity": self.similarity.to_dict(),
            "matched": self.matched,
            "states": {str(s): int(counts[s]) for s in State},
            "mean_confidence": float(self.confidence.mean()),
            "mean_expected_error": self.mean_expected_error,
            "quality": self.quality.to_dict(),
            "history": [asdict(h) for h in self.history],
            "adjusted": list(self.adjusted),
            "repairs": {k: r.to_dict() for k, r in self.repairs.items()},
            "backend": self.backend,
            "threads": self.threads,
            "seconds": self.seconds,
        }
        if arrays:
            out["state"] = self.state.tolist()
            out["residual"] = [None if np.isnan(r) else r for r in self.residual.tolist()]
            out["confidence"] = self.confidence.tolist()
            out["expected_error"] = self.expected_error.tolist()
        return out

    def to_json(self, arrays: bool = False) -> str:
        """The same as a JSON text (RFC 8259: no NaN in it)."""
        return json.dumps(self.to_dict(arrays), indent=2, allow_nan=False)
