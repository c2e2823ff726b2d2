"""The benchmark of backup workers, by counts: nobody waits for the slowest, and its gradient is dropped."""

from __future__ import annotations

import argparse
import threading
import time

import pytest

from benchmarks import stragglers
from flowmesh.resources.accumulators import Accumulator

STEPS = 4


@pytest.mark.parametrize("policy", [None, "continue"])
def test_a_late_gradient_is_dropped(policy: str | None) -> None:
    """Three replicas, two gradients a step: the third one's first gradient comes when all steps are over."""
    over, came, pause_of_the_test = (threading.Event() for _ in range(3))

    def pause(replica: int, number: int) -> None:
        if replica == 2 and number == 0:
            assert over.wait(60)
        if replica == 2 and number == 1:
            came.set()

    def before_end(gradients: Accumulator) -> None:
        before = gradients.num_dropped
        over.set()
        if policy is not None:
            assert came.wait(60), "the straggler goes on at once, for the step under way"
        deadline = time.monotonic() + 60
        while gradients.num_dropped == before:
            assert time.monotonic() < deadline
            pause_of_the_test.wait(0.01)

    outcome = stragglers.train(2, 1, STEPS, pause, policy, before_end)
    assert len(outcome.seconds) == STEPS
    assert outcome.value == -STEPS, "each step is the mean of its gradients, which are 1"
    if policy is not None:
        assert outcome.dropped == 1
    assert outcome.dropped >= 1
    assert outcome.given >= STEPS * 2 + outcome.dropped


def test_the_section() -> None:
    args = argparse.Namespace(workers=2, steps=3, median=0.1, sigma=0.3, seed=1)
    table = [
        ("a way", 0, stragglers.Outcome([0.2, 0.3, 0.4], 6, 0)),
        ("a way", 1, stragglers.Outcome([0.1, 0.24, 0.4], 8, 2)),
    ]
    text = stragglers.section(table, args)
    assert "| a way | 0 | 300 ms | 1.00 | 0 of 6 |" in text
    assert "| a way | 1 | 240 ms | 0.80 | 2 of 8 |" in text


def test_delays_are_the_same_for_the_same_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(stragglers.time, "sleep", slept.append)
    for _ in range(2):
        pause = stragglers.sleeper(3, 0.1, 0.3)
        for replica in (0, 1):
            pause(replica, 0)
    assert slept[:2] == slept[2:]
    assert slept[0] != slept[1]
