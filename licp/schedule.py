"""The progressive schedule as plain data: what each stage of a morph allows and asks for."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from licp.checks import finite_number, whole_number
from licp.errors import InputError, described

__all__ = ["Schedule", "Stage"]

_LEVELS = 13
# More would take hours, and weights beyond this leave nothing of positions.
_MOST_LEVELS, _HEAVIEST = 10_000, 1e6
_FIRST_SETS = ("face", "cranium", "neck", "ear_left", "ear_right", "lip_upper", "lip_lower")
_MORE_SETS = ("eye_left", "eye_right", "nose")


@dataclass(frozen=True)
class Stage:
    """One rung of the ladder.  All lengths in parts of the template's size.

    The template's size is the square root of its area: about 400 mm for a head with neck, so
    0.0025 is about 1 mm.

    Parameters
    ----------
    stiffness : float
        Length over which the template bends to follow matches: the thin-plate energy has the
        weight ``stiffness**4``.  Detail that is finer stays as the template has it.
    normal_weight : float
        Length that one unit of normal difference counts for in the search.
    curvature_weight : float
        Length that one unit of (clipped, scaled) curvature difference counts for in the search.
    normal_gate : float
        Least cosine between the normals of a match: 53 degrees, which keeps a match from the other
        side of an ear or a lip.  Heads that show everything do without it as well.
    distance_gate : float
        Longest residual of a match: 60 mm of 400, more than heads differ once they are aligned.  In
        the default it ends at 20 mm, and binds only where the scan shows something else.
    iterations : int
        Times matches are searched and the template is moved.
    sets : tuple of str
        Regions of the template that are correspondence sets: a vertex in one of them matches only
        scan that may be of the same (see :mod:`licp.territory`), one in several of them counts to
        the smallest, one in none matches anything.  Without any, all is one set.

    Examples
    --------
    >>> Stage(stiffness=0.05, normal_weight=0.1, curvature_weight=0.1).iterations
    1
    """

    stiffness: float
    normal_weight: float
    curvature_weight: float
    normal_gate: float = 0.6
    distance_gate: float = 0.15
    iterations: int = 1
    sets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name in (
            "stiffness",
            "normal_weight",
            "curvature_weight",
            "normal_gate",
            "distance_gate",
        ):
            value = finite_number(getattr(self, name), f"{name} of a stage")
            object.__setattr__(self, name, value)
        iterations = whole_number(self.iterations, "iterations of a stage")
        object.__setattr__(self, "iterations", iterations)
        if not 1e-4 <= self.stiffness <= 5:
            raise InputError(
                f"stiffness is a length in parts of the template's size, 1e-4 to 5 "
                f"(stiffer is rigid in double precision), not {self.stiffness}"
            )
        if not (0 <= self.normal_weight <= _HEAVIEST and 0 <= self.curvature_weight <= _HEAVIEST):
            raise InputError(f"weights of a stage must not be negative, nor above {_HEAVIEST:g}")
        if not -1 <= self.normal_gate <= 1:
            raise InputError(f"normal_gate is a cosine, not {self.normal_gate}")
        if not self.distance_gate > 0:
            raise InputError(f"distance_gate must be positive, not {self.distance_gate}")
        if (
            isinstance(self.sets, str)
            or not isinstance(self.sets, Iterable)
            or not all(isinstance(name, str) for name in self.sets)
        ):
            raise InputError(f"sets of a stage must be names of regions, not {self.sets!r}")
        object.__setattr__(self, "sets", tuple(self.sets))


@dataclass(frozen=True)
class Schedule:
    """Stages from stiff to soft, and how the rest shape follows.

    Parameters
    ----------
    stages : tuple of Stage
        Done in order.
    controls : int
        Number of local similarities that carry the rest shape along; 0 keeps the template as the
        rest shape, which costs 1 to 3 % on ICT and MakeHuman heads.  150 are 33 mm of 400 apart;
        half or twice as many, narrower or wider ones change nothing that counts.
    control_radius : float
        Standard deviation of their Gaussian weights, in parts of the template's size: 20 mm, so
        that neighbours overlap.

    Examples
    --------
    >>> schedule = Schedule.progressive(levels=3)
    >>> [round(s.stiffness, 4) for s in schedule]
    [0.1, 0.021, 0.0044]
    >>> print(schedule)
    stage  stiffness  normal  curvature  cosine  distance  iterations
        1     0.1000   0.110      0.145    0.60     0.150           1
        2     0.0210   0.035      0.052    0.60     0.087           1
        3     0.0044   0.011      0.019    0.60     0.050           1
    """

    stages: tuple[Stage, ...]
    controls: int = 150
    control_radius: float = 0.05

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not isinstance(self.stages, (tuple, list)):
            raise InputError(f"stages must be a tuple of Stage, not {type(self.stages).__name__}")
        object.__setattr__(self, "stages", tuple(self.stages))
        object.__setattr__(self, "controls", whole_number(self.controls, "controls", 0))
        if not self.stages or not all(isinstance(s, Stage) for s in self.stages):
            raise InputError("a schedule needs at least one Stage, and nothing else, in stages")
        radius = finite_number(self.control_radius, "control_radius")
        if not radius > 0:
            raise InputError(f"control_radius must be a positive number, not {radius!r}")
        object.__setattr__(self, "control_radius", radius)

    @classmethod
    def progressive(
        cls,
        levels: int = _LEVELS,
        *,
        stiff: float = 0.1,
        soft: float = 0.0044,
        iterations: int = 1,
    ) -> "Schedule":
        """The default: a geometric ladder from stiff to soft.

        Parameters
        ----------
        levels : int
            13: one more or less changes the error of our tuning heads by 1 % at most, up or down
            with the family.
        stiff : float
            Where to begin; 40 mm of 400: wide enough to bridge differences between heads that
            the similarity leaves, short enough to start moving at once.
        soft : float
            Where to end; 1.8 mm of 400: finer detail of a 3dMD scan is noise.
        iterations : int
            Per level; more levels do more good.
        """
        levels = whole_number(levels, "levels")
        if levels > _MOST_LEVELS:
            raise InputError(f"levels must be {_MOST_LEVELS} or fewer, not {levels}")
        stiff, soft = finite_number(stiff, "stiff"), finite_number(soft, "soft")
        if not (stiff > 0 and soft > 0):
            raise InputError(f"stiff and soft must be positive numbers, not {stiff} and {soft}")
        u = np.linspace(0.0, 1.0, levels) if levels > 1 else np.ones(1)

        def ladder(first: float, last: float, at: NDArray[np.float64]) -> list[float]:
            return [float(x) for x in first * (last / first) ** at]

        # Normals and curvature lead at first (44 mm and 58 mm per unit), since positions mean
        # little before the shapes agree; at the end (4.4 mm and 7.6 mm) positions decide.
        rungs = zip(
            ladder(stiff, soft, u),
            ladder(0.11, 0.011, u),
            ladder(0.145, 0.019, u),
            ladder(0.15, 0.05, u),
            strict=True,
        )
        return cls(
            tuple(Stage(s, n, c, distance_gate=d, iterations=iterations) for s, n, c, d in rungs)
        )

    def growing(self, *sets: Sequence[str]) -> "Schedule":
        """The same stages with correspondence sets that grow in number.

        Parameters
        ----------
        *sets : sequences of str
            Names of regions, few sets first.  Each list is for an equal part of the stages.

        Examples
        --------
        >>> schedule = Schedule.progressive(4).growing(["head", "neck"], ["face", "skull", "neck"])
        >>> [len(stage.sets) for stage in schedule]
        [2, 2, 3, 3]
        """
        if not sets:
            return self
        if any(isinstance(names, str) or not isinstance(names, Sequence) for names in sets):
            raise InputError(f"each of the sets is a list of names, not one: {sets!r}")
        stages = [
            replace(stage, sets=tuple(sets[k * len(sets) // len(self.stages)]))
            for k, stage in enumerate(self.stages)
        ]
        return replace(self, stages=tuple(stages))

    @classmethod
    def regional(cls, names: Collection[str], levels: int = _LEVELS) -> "Schedule":
        """The default for a template with regions: sets of the head, then those of the face, too.

        All is one set in the first bending, which tells where on the scan the regions are.  Then
        come face, cranium, neck, each ear and each lip, and in the second half of the stages each
        eye and the nose as well; of these, those that the template has.  Lips are among the first,
        since it is stiff stages that would draw both lips of an open mouth to one.

        Parameters
        ----------
        names : collection of str
            Of the template's regions; see :class:`licp.Regions`.
        levels : int
            See :meth:`progressive`.

        Examples
        --------
        >>> regional = Schedule.regional(["face", "neck", "nose"], levels=2)
        >>> [stage.sets for stage in regional]
        [('face', 'neck'), ('face', 'neck', 'nose')]
        """
        if not isinstance(names, Collection) or isinstance(names, str):
            raise InputError(f"names of regions must be a collection, not {described(names)}")
        first = tuple(name for name in _FIRST_SETS if name in names)
        then = tuple(name for name in _MORE_SETS if name in names)
        return cls.progressive(levels).growing(first, first + then)

    def __iter__(self) -> Iterator[Stage]:
        return iter(self.stages)

    def __len__(self) -> int:
        return len(self.stages)

    def __str__(self) -> str:
        """A table."""
        head = "stage  stiffness  normal  curvature  cosine  distance  iterations"
        rows = [
            f"{k:5d}  {s.stiffness:9.4f}  {s.normal_weight:6.3f}  {s.curvature_weight:9.3f}  "
            f"{s.normal_gate:6.2f}  {s.distance_gate:8.3f}  {s.iterations:10d}"
            for k, s in enumerate(self.stages, 1)
        ]
        return "\n".join([head, *rows])
