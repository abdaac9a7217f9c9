"""What ``licp info`` tells."""

import importlib
import json

import pytest

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
    assert "scipy" in found["backend"]["available"]
    assert 1 <= found["processors"]["usable"] <= found["processors"]["total"]
    assert all(found["packages"][name] for name in ("numpy", "scipy", "numba", "trimesh"))
    assert 0 <= found["kernels"]["compiled"] <= found["kernels"]["total"]


def test_compiled_kernels_are_counted() -> None:
    licp.geometry.vertex_areas([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]])
    kernels = info.installation()["kernels"]
    assert kernels["compiled"] > 0
    assert kernels["folders"]


def test_text_has_every_version_and_the_advice() -> None:
    found = info.installation()
    found["packages"]["scikit-sparse"] = None
    found["backend"]["advice"] = "do this"
    text = info.describe(found)
    assert all(v in text for v in found["packages"].values() if v)
    assert "not installed" in text
    assert "do this" in text


def test_advice_for_every_kind_of_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    assert info._advice("cholmod") is None

    def fail(error: Exception) -> None:
        def load(name: str) -> None:
            raise error

        monkeypatch.setattr(importlib, "import_module", load)

    fail(ModuleNotFoundError("sksparse"))
    missing = info._advice("scipy")
    assert missing is not None
    assert "apt-get install libsuitesparse-dev libopenblas-dev" in missing
    assert "conda install -c conda-forge scikit-sparse" in missing
    fail(OSError("libcholmod.so.3 is gone"))
    broken = info._advice("scipy")
    assert broken is not None
    assert "libcholmod.so.3 is gone" in broken
