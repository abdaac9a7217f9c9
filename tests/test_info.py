"""What ``licp info`` tells."""

import json

import licp
from licp import info
from licp.solver import default_backend


def test_holds_what_a_report_of_a_problem_needs() -> None:
    found = json.loads(json.dumps(info.installation()))
    assert set(found) == {
        "licp",
        "python",
        "platform",
        "packages",
        "processors",
        "blas",
        "backend",
        "kernels",
    }
    assert found["licp"] == licp.__version__
    assert found["backend"]["active"] == default_backend()
    assert {"numba", "scipy"} <= set(found["backend"]["available"])
    assert 1 <= found["processors"]["usable"] <= found["processors"]["total"]
    assert all(found["packages"][name] for name in ("numpy", "scipy", "numba", "trimesh"))
    assert 0 <= found["kernels"]["compiled"] <= found["kernels"]["total"]


def test_compiled_kernels_are_counted() -> None:
    licp.geometry.vertex_areas([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]])
    kernels = info.installation()["kernels"]
    assert kernels["compiled"] > 0
    assert kernels["folders"]


def test_text_has_every_version_and_back_end() -> None:
    found = info.installation()
    found["packages"]["scikit-sparse"] = None
    text = info.describe(found)
    assert all(v in text for v in found["packages"].values() if v)
    assert "not installed" in text
    assert "numba, " in text
