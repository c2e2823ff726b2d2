"""Deadlines, on a clock the test moves."""

import time

import pytest

from flowmesh.core.deadline import Deadline


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def test_after(clock: Clock) -> None:
    deadline = Deadline.after(2.5)
    assert (deadline.remaining(), deadline.remaining_ms(), deadline.expired) == (2.5, 2500, False)
    clock.now += 2
    assert (deadline.remaining(), deadline.expired) == (0.5, False)
    clock.now += 0.5
    assert (deadline.remaining(), deadline.remaining_ms(), deadline.expired) == (0, 1, True)
    assert deadline.at == 102.5


def test_never(clock: Clock) -> None:
    for deadline in (Deadline(), Deadline.after(None), Deadline.from_ms(0)):
        assert deadline.remaining() is None
        assert deadline.remaining_ms() == 0
        assert not deadline.expired
        assert repr(deadline) == "Deadline(never)"


def test_no_time_at_all(clock: Clock) -> None:
    assert Deadline.after(0).expired
    assert Deadline.after(-1).remaining() == 0


def test_from_ms(clock: Clock) -> None:
    assert Deadline.from_ms(1500) == Deadline.after(1.5)
    assert repr(Deadline.from_ms(1500)) == "Deadline(in 1.500 s)"
    assert hash(Deadline.from_ms(1500)) == hash(Deadline.after(1.5))
    assert Deadline.after(1) != 1


def test_min(clock: Clock) -> None:
    soon, late, never = Deadline.after(1), Deadline.after(2), Deadline.after(None)
    assert soon.min(late) is late.min(soon) is soon
    assert soon.min(never) is never.min(soon) is soon
    assert never.min(never) is never
