"""Values that say they are immutable are, wherever they are sent."""

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from heads import short_result
from numpy.typing import NDArray

from licp import Guidance, InputError, Landmarks, Mesh, Regions, Similarity
from licp.headspace import Camera

TRIANGLE = np.eye(3), [[0, 1, 2]]

VALUES: dict[str, Callable[[], Any]] = {
    "mesh": lambda: Mesh(*TRIANGLE, uv=np.eye(3)[:, :2], uv_faces=[[0, 1, 2]]),
    "vertices": lambda: Landmarks([0, 1], np.eye(3)[:2]),
    "points": lambda: Landmarks(([0], [[0.2, 0.3, 0.5]]), np.eye(3)[:1]),
    "regions": lambda: Regions({"a": [0, 2], "b": [1]}, 3),
    "guidance": lambda: Guidance(np.array([True, False]), np.array([False, True])),
    "similarity": Similarity.identity,
    "camera": lambda: Camera(np.eye(3), [0, 0, -9], 10.0, [0.01, 0.01], [320, 240]),
    "result": short_result,
}


def arrays(value: Any) -> Iterator[NDArray[Any]]:
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from arrays(part)
    elif isinstance(value, dict):
        yield from arrays(tuple(value.values()))
    elif hasattr(value, "__dict__"):
        yield from arrays(tuple(vars(value).values()))


@pytest.mark.parametrize("name", VALUES)
def test_arrays_are_read_only_wherever_they_go(name: str) -> None:
    value = VALUES[name]()
    assert list(arrays(value))
    for one in (value, pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)):
        assert not any(array.flags.writeable for array in arrays(one))
        for mine, other in zip(arrays(one), arrays(value), strict=True):
            assert np.array_equal(mine, other, equal_nan=mine.dtype.kind == "f")


def test_regions_are_the_same_if_their_vertices_are() -> None:
    regions = Regions({"a": [0, 2], "b": [1]}, 3)
    assert regions == Regions({"b": [1], "a": [2, 0]}, 3) == pickle.loads(pickle.dumps(regions))
    for other in (
        Regions({"a": [0, 2], "b": [0]}, 3),
        Regions({"a": [0, 2]}, 3),
        Regions({"a": [0, 2], "b": [1]}, 4),
        {"a": [0, 2], "b": [1]},
    ):
        assert regions != other
    for count in (None, 2.5, np.nan, True):
        with pytest.raises(InputError, match="count"):
            Regions({"a": [0]}, count)  # type: ignore[arg-type]


def test_guidance_of_ragged_rows_is_refused() -> None:
    with pytest.raises(InputError, match="raised must be bool"):
        Guidance(raised=[[1], [2, 3]], torn=[True])  # type: ignore[arg-type]
