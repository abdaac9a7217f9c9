"""Scaling: exponents, meshes of any size, recorded systems, and a small run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from heads import potato

from benchmarks.process import memory
from benchmarks.scale import (
    Plan,
    Scale,
    exponent,
    grown_scan,
    grown_template,
    recorded,
    replayed,
    subdivided,
)
from licp.schedule import Schedule
from licp.solver import backends


def test_exponents_of_powers() -> None:
    n = np.array([5e3, 1.1e4, 4.5e4, 1.8e5])
    assert exponent(n, 3 * n**1.3) == pytest.approx(1.3)
    assert exponent(n, np.full(4, 7.0)) == pytest.approx(0.0, abs=1e-12)


def test_subdivision_keeps_vertices_and_quarters_faces() -> None:
    V, F = potato(2)
    W, G = subdivided((100 * V, F))
    assert len(G) == 4 * len(F) and len(W) == len(V) + len(F) * 3 // 2
    np.testing.assert_array_equal(W[: len(V)], 100 * V)
    again = subdivided((100 * V, F))[0]
    np.testing.assert_array_equal(W, again)
    middle = 0.5 * (100 * V[F] + 100 * V[np.roll(F, -1, 1)]).reshape(-1, 3)
    off = np.linalg.norm(W[len(V) :, None] - middle, axis=2).min(1)
    assert 0 < off.max() < 0.2


@pytest.fixture(scope="module")
def systems() -> list:
    return recorded(grown_template(1000), grown_scan(3000), 1)


def test_every_solve_of_a_morph_is_recorded(systems: list) -> None:
    assert len(systems) >= len(Schedule.progressive())
    assert all(s.arguments["B"].shape == (s.system.n, 3) for s in systems)
    alpha = [s.arguments["alpha"] for s in systems if s.run == systems[-1].run]
    assert (np.diff(alpha) < 0).all()


@pytest.mark.parametrize("backend", backends())
def test_all_ways_solve_the_same_systems(systems: list, backend: str) -> None:
    told = replayed(systems, backend)
    nothing, analysis, factors = told.values()
    assert nothing["factorised"] == analysis["factorised"] == len(systems)
    assert 0 < factors["factorised"] < len(systems)
    assert factors["applied"] >= len(systems)
    assert all(way["seconds"] > 0 for way in told.values())
    # In the softest stage a loose solve leaves what nothing pulls at where it was.
    tight = [replace(s, arguments=s.arguments | {"tol": 1e-5}) for s in systems]
    assert max(way["differs"] for way in replayed(tight, backend).values()) < 1e-3


def test_a_small_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.scale.backends", lambda: ("scipy",))
    plan = Plan((1000,), 3000, (), 1000, (), 0, 1)
    made = Scale(tmp_path)
    lines = list(made.run(plan, [], 1))
    assert len(lines) == 2
    first, end = made.records
    assert first["failure"] is end["failure"] is None and end["backend"] == "scipy"
    phases = first["phases"]
    assert phases["both"] == pytest.approx(phases["set-up"] + phases["morph"])
    parts = sum(v for k, v in phases.items() if k not in ("set-up", "morph", "both", "processor"))
    assert 0.5 * phases["morph"] < parts <= 1.001 * phases["morph"]
    if np.isfinite(memory()[0]):
        assert 1 < first["setup_megabytes"] <= first["megabytes"] < 1000


def test_table_and_picture(tmp_path: Path) -> None:
    made = Scale(tmp_path)
    made.environment = {
        "command": "c", "date": "d", "machine": "m", "load": 0, "threads": 1, "python": "3",
        "versions": {}, "commit": "x", "backend": "scipy",
    }  # fmt: skip
    for size in (1000, 10000):
        made.records.append({
            "kind": "template", "set": "generated", "template": size, "scan": 5000,
            "backend": "scipy", "threads": 1, "failure": None, "cores": 1.0,
            "phases": {"set-up": size / 1e3, "morph": 1.0, "both": 1 + size / 1e3},
            "setup_megabytes": 10.0, "megabytes": 20.0,
        })  # fmt: skip
    table = made.markdown()
    assert "| 10,000 | 5,000 | 10.000 | 1.000 | 11.000 | 10 | 20 |" in table
    assert "| exponent |  | 1.00 | 0.00 | 0.74 | 0.00 | 0.00 |" in table
    (path,) = made.pictures()
    assert path.read_bytes()[1:4] == b"PNG"
