"""Landmarks: points of the template that are known to lie at given places of the scan."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from licp.errors import LandmarkError
from licp.geometry import any_of
from licp.mesh import Mesh
from licp.readonly import ReadOnlyArrays, frozen

__all__ = ["BoundLandmarks", "Landmarks", "as_landmarks"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# A similarity has seven unknowns: three points would do, but leave nothing to check them by.
FEWEST = 4
# The same bound as for vertices: beyond it, products of coordinates overflow.
_HUGE = 1e50
# A landmark that counts a hundred times leaves its neighbours no say; far more, and nothing else
# is heard in double precision.
_SUREST = 100.0


@dataclass(frozen=True, eq=False)
class Landmarks(ReadOnlyArrays):
    """Pairs of template points and scan positions.

    Parameters
    ----------
    template : (k,) int, or pair of (k,) int and (k, 3) float
        Vertex ids of the template; or, for points inside its triangles, the rows of
        ``Mesh.faces`` and barycentric coordinates.  Like all else, copied and read-only.
    positions : (k, 3) float
        Where they are, in the frame and unit of the scan.
    confidence : (k,) float, optional
        1 (the default) for points to be met, less for noisy ones, at most 100; 0 leaves a point
        out, and its position may then be NaN.

    Examples
    --------
    >>> Landmarks([4, 7], [[0.0, 0, 0], [1, 0, 0]]).confidence.tolist()
    [1.0, 1.0]
    """

    template: Any
    positions: ArrayLike
    confidence: ArrayLike | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without the template."""
        put = object.__setattr__
        try:
            positions = np.array(self.positions, np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise LandmarkError(f"landmark positions must be numbers: {error}") from error
        if positions.ndim != 2 or positions.shape[1] != 3:
            raise LandmarkError(f"landmark positions must have shape (k, 3), not {positions.shape}")
        k = len(positions)
        if np.abs(positions[np.isfinite(positions)]).max(initial=0.0) > _HUGE:
            raise LandmarkError(f"landmark positions beyond {_HUGE:g} cannot be computed with")
        try:
            c = np.ones(k) if self.confidence is None else np.array(self.confidence, np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise LandmarkError(f"landmark confidences must be numbers: {error}") from error
        if c.shape != (k,):
            raise LandmarkError(f"{k} landmark positions but confidences of shape {c.shape}")
        if not ((c >= 0) & (c <= _SUREST)).all():
            raise LandmarkError(
                f"landmark confidences must be finite and from 0 to {_SUREST:g}: 1 is a point to "
                "be met"
            )
        bad = np.flatnonzero((c > 0) & ~np.isfinite(positions).all(1))
        if len(bad):
            raise LandmarkError(
                f"{len(bad)} landmark positions are not finite (first: landmark {bad[0]}); "
                "give missing ones confidence 0"
            )
        template: Any
        if _is_barycentric(self.template):
            template = _ids(self.template[0], k, "face"), _weights(self.template[1], k)
        else:
            template = _ids(self.template, k, "vertex")
        put(self, "template", template)
        put(self, "positions", frozen(positions))
        put(self, "confidence", frozen(c))

    def bind(self, mesh: Mesh, index: Ints, body: Ints) -> "BoundLandmarks":
        """Look the template points up; those with confidence 0 are left out.

        Parameters
        ----------
        mesh : Mesh
            The template as the user knows it.
        index : (n,) int64
            Its vertices in the repaired template, -1 for dropped ones.
        body : (m,) int64
            The repaired template's vertices in the part that deforms, -1 for the others.
        """
        positions, confidence = np.asarray(self.positions), np.asarray(self.confidence)
        if isinstance(self.template, tuple):
            faces, weights = self.template
            corners = mesh.faces[_known(faces, len(mesh.faces), "face")]
            weights = np.maximum(weights, 0.0)
            weights /= weights.sum(1, keepdims=True)
        else:
            ids = _known(self.template, len(mesh.vertices), "vertex")
            corners, weights = np.repeat(ids[:, None], 3, axis=1), _whole(len(ids))
        points = _between(weights, mesh.vertices[corners])
        # A corner that nothing hangs on need not be in the repaired template.
        main = np.take_along_axis(corners, weights.argmax(1)[:, None], 1)
        corners = index[np.where(weights > 0, corners, main)]
        corners = np.where(corners < 0, -1, body[corners])
        use = confidence > 0
        lost = np.flatnonzero(use & any_of(corners < 0))
        if len(lost):
            raise LandmarkError(
                f"{len(lost)} landmarks (first: landmark {lost[0]}) lie on vertices that no face "
                "uses or on a small separate part of the template, which do not deform by "
                "themselves; choose points of the main surface"
            )
        return BoundLandmarks(
            corners[use], weights[use], points[use], positions[use], confidence[use]
        )


@dataclass(frozen=True, eq=False)
class BoundLandmarks:
    """Landmarks on the deforming part of one template.

    Attributes
    ----------
    corners : (k, 3) int64
        Vertices each landmark hangs on.
    barycentric : (k, 3) float64
    points : (k, 3) float64
        Where they are on the template, in its own frame.
    positions : (k, 3) float64
    confidence : (k,) float64
        Positive.
    """

    corners: Ints
    barycentric: Floats
    points: Floats
    positions: Floats
    confidence: Floats

    def __len__(self) -> int:
        """Number of usable landmarks."""
        return len(self.positions)

    def on(self, vertices: Floats) -> Floats:
        """Where the landmarks are on the template with these vertices, (k, 3)."""
        return _between(self.barycentric, vertices[self.corners])

    def at(self, positions: Floats) -> "BoundLandmarks":
        """The same landmarks with their scan positions in another frame."""
        return replace(self, positions=positions)

    def hung(self, at: Ints, offsets: Floats) -> "BoundLandmarks":
        """The same landmarks on single vertices (k,) beside them, at offsets (k, 3) from those."""
        corners = np.repeat(at[:, None], 3, axis=1)
        positions = self.positions - offsets
        return replace(self, corners=corners, barycentric=_whole(len(at)), positions=positions)

    def check_near(self, scan: Floats) -> None:
        """Refuse landmarks that are farther from the scan's vertices (s, 3) than it is large."""
        low, high = scan.min(axis=0), scan.max(axis=0)
        beyond = np.maximum(low - self.positions, self.positions - high).max(axis=1, initial=0.0)
        off = beyond / max(float(np.linalg.norm(high - low)), 1e-300)
        if (off > 1.0).any():
            worst = self.positions[off.argmax()]
            raise LandmarkError(
                f"{np.count_nonzero(off > 1.0)} of {len(self)} landmark positions are farther from "
                f"the scan than it is large (the worst at {worst}): give them in its frame and "
                "unit, and missing ones confidence 0"
            )

    def suffice(self) -> bool:
        """Whether they determine a similarity with something to spare."""
        return len(self) >= FEWEST and not self._aligned()

    def check_enough(self) -> None:
        """Refuse sets that do not :meth:`suffice`."""
        if len(self) < FEWEST:
            raise LandmarkError(
                f"alignment needs at least {FEWEST} landmarks with positive confidence, got "
                f"{len(self)}; give more, or leave the start to the geometry (start='global')"
            )
        if self._aligned():
            raise LandmarkError(
                "the landmarks lie on a line (or in one point) of the template or of the scan and "
                "leave the rotation open; add some beside it"
            )

    def _aligned(self) -> bool:
        for places in (self.points, self.positions):
            spread = np.linalg.svd(places - places.mean(0), compute_uv=False)
            if spread[1] <= 1e-3 * spread[0]:
                return True
        return False


def as_landmarks(obj: Any) -> Landmarks:
    """Landmarks from themselves or from (template, positions[, confidence])."""
    if isinstance(obj, Landmarks):
        return obj
    if isinstance(obj, (tuple, list)) and len(obj) in (2, 3):
        return Landmarks(*obj)
    raise LandmarkError(
        "landmarks must be licp.Landmarks or (template ids, positions[, confidence]), not "
        f"{type(obj).__name__}"
    )


def _is_barycentric(template: Any) -> bool:
    """A pair whose second entry has rows; two vertex ids have not."""
    return isinstance(template, (tuple, list)) and len(template) == 2 and np.iterable(template[1])


def _ids(values: Any, k: int, what: str) -> Ints:
    """Own read-only copy of vertex or face ids (k,)."""
    try:
        ids = np.array(values)
    except ValueError:
        raise LandmarkError(
            "points of the template are vertex ids (k,), or a pair of face ids (k,) and "
            "barycentric coordinates (k, 3); these are neither"
        ) from None
    if ids.shape != (k,):
        raise LandmarkError(f"{k} landmark positions but {what} ids of shape {ids.shape}")
    if k and ids.dtype.kind not in "iu":
        raise LandmarkError(f"{what} ids of landmarks must be integers, not {ids.dtype}")
    return frozen(ids.astype(np.int64))


def _weights(values: Any, k: int) -> Floats:
    """Own read-only copy of barycentric coordinates (k, 3)."""
    try:
        weights = np.array(values, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise LandmarkError(f"barycentric coordinates must be numbers: {error}") from error
    if weights.shape != (k, 3):
        raise LandmarkError(
            f"barycentric coordinates must have shape ({k}, 3), not {weights.shape}"
        )
    if not (np.isfinite(weights).all() and np.allclose(weights.sum(1), 1, atol=1e-3)):
        raise LandmarkError("barycentric coordinates must be finite and add up to 1")
    if (weights < -1e-6).any():
        raise LandmarkError("barycentric coordinates must not be negative")
    return frozen(weights)


def _known(ids: Ints, n: int, what: str) -> Ints:
    """These ids, if they are below n."""
    bad = np.flatnonzero((ids < 0) | (ids >= n))
    if len(bad):
        raise LandmarkError(
            f"{len(bad)} landmarks name a {what} that the template does not have "
            f"(first: landmark {bad[0]}, {what} {ids[bad[0]]} of {n}; ids start at 0)"
        )
    return ids


def _whole(k: int) -> Floats:
    """Barycentric coordinates (k, 3) of first corners."""
    return np.eye(3)[np.zeros(k, int)]


def _between(weights: Floats, corners: Floats) -> Floats:
    """Points (k, 3) at barycentric coordinates (k, 3) of corners (k, 3, 3)."""
    points: Floats = np.einsum("kc,kcj->kj", weights, corners)
    return points
