"""The search for what a scan does not show, with bending replaced by a script."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from licp import doubting
from licp.absence import Doubt
from licp.schedule import Stage

N = 20_000
STAGES = (Stage(0.1, 0.1, 0.1), Stage(0.01, 0.02, 0.02))
NOTHING = np.zeros(0, np.int64)


def fit(faults: int) -> Any:
    """Something bent with so many faults, each with a vertex of its own."""
    left = np.arange(faults)
    told = SimpleNamespace(left=left, faults=SimpleNamespace(number=faults))
    shape = SimpleNamespace(stopped=False)
    return SimpleNamespace(untangled=told, tangled=SimpleNamespace(torn=left), shape=shape)


@dataclass
class Script:
    """What is absent whenever that is asked, how many faults each bending leaves; what was done."""

    absent: list[int]
    faults: list[int]
    calls: list[str] = field(default_factory=list)

    def encounter(self, trusted: Any = None) -> Any:
        finest = SimpleNamespace(traits=SimpleNamespace(free=np.ones(N, bool)))
        template = SimpleNamespace(
            pyramid=SimpleNamespace(finest=finest),
            bends=np.ones(10_000, bool),  # 50 faults are few
            absent=lambda doubt, share: np.arange(N) < self.absent[0 if share == 0.3 else -1],
            at_faces=lambda faces: faces,
        )
        met = SimpleNamespace(template=template, trusted=trusted)
        met.trusting = self.encounter
        return met

    def bend(self, encounter: Any, stages: Any, most: float = np.inf, start: Any = None) -> Any:
        if encounter.trusted is not None:
            self.calls.append(f"without {int((encounter.trusted == 0).sum())}")
        else:
            self.calls.append("again" if start else f"normals {stages[0].normal_weight:.3g}")
        faults = self.faults.pop(0)
        if not 0 <= faults <= most:
            return None
        return fit(faults), Doubt(np.ones(N), NOTHING, np.arange(faults))

    @staticmethod
    def doubt(bent: Any, _: Any = None) -> Doubt:
        return Doubt(np.ones(N), NOTHING)


def doubted(
    monkeypatch: pytest.MonkeyPatch, first: int, absent: list[int], faults: list[int]
) -> tuple[int, int, list[str]]:
    """Faults and absent vertices in the end, and what was tried."""
    script = Script(absent, faults)
    monkeypatch.setattr(doubting, "_bend_if", script.bend)
    monkeypatch.setattr(doubting, "_doubt", script.doubt)
    bent, gone = doubting.bend_doubting(fit(first), script.encounter(), STAGES)
    assert not script.faults
    return bent.untangled.faults.number, int(gone.sum()), script.calls


def test_few_faults_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doubted(monkeypatch, 50, [9], []) == (50, 0, [])


def test_what_was_doubted_is_believed_again_if_that_leaves_no_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert doubted(monkeypatch, 300, [20], [0, 0]) == (0, 0, ["without 20", "again"])
    # 20 vertices are not worth a fault.
    assert doubted(monkeypatch, 300, [20], [0, 2]) == (0, 20, ["without 20", "again"])


def test_a_fault_is_worth_so_many_vertices_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = doubted(monkeypatch, 300, [1000], [250, -1, -1])
    assert tried == (300, 0, ["without 1000", "again", "normals 0.12"])
    # More than 20 each: nothing is left to believe again.
    tried = doubted(monkeypatch, 300, [1000], [251, -1])
    assert tried == (300, 0, ["without 1000", "normals 0.12"])


def test_what_cannot_be_the_cheapest_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = doubted(monkeypatch, 300, [1199], [0, -1])
    assert tried == (0, 1199, ["without 1199", "again"])
    # Four vertices a fault: other weights alone are tried, and then no more than what was best.
    assert doubted(monkeypatch, 300, [1200], [-1]) == (300, 0, ["normals 0.12"])
    assert doubted(monkeypatch, 300, [1200], [400]) == (300, 0, ["normals 0.12"])
    # Nor what adds to something cheaper: 60 faults without 200 vertices.
    tried = doubted(monkeypatch, 300, [200, 440], [60, -1, -1])
    assert tried == (60, 200, ["without 200", "again", "normals 0.12"])
    tried = doubted(monkeypatch, 300, [200, 439], [60, 40, -1, -1])
    assert tried == (60, 200, ["without 200", "without 439", "again", "normals 0.12"])


def test_in_the_end_a_fault_is_worth_four_vertices(monkeypatch: pytest.MonkeyPatch) -> None:
    least = doubted(monkeypatch, 300, [1000], [40, -1])
    assert least[:2] == (40, 1000)  # 1,160 instead of 1,200
    least = doubted(monkeypatch, 300, [1000], [60, -1, -1])
    assert least[:2] == (300, 0)  # 1,240


def test_what_is_lost_is_tried_with_other_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doubted(monkeypatch, 300, [0], [0]) == (0, 0, ["normals 0.12"])
    assert doubted(monkeypatch, 300, [0], [299]) == (299, 0, ["normals 0.12"])
    assert doubted(monkeypatch, 300, [0], [301]) == (300, 0, ["normals 0.12"])
    # Not if it is beyond hope.
    assert doubted(monkeypatch, 501, [0], []) == (501, 0, [])
