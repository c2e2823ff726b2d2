"""Threads look for a moment before they sleep, where that has turned out to pay."""

from __future__ import annotations

import select
from typing import Any

import pytest

from flowmesh.distributed.transport.direct import spinning
from flowmesh.distributed.transport.direct.spinning import Spinner
from flowmesh.runtime import cores

LIMIT = 100e-6
TICK = 10e-6
FOUND = [(3, select.POLLIN)]


class World:
    """A clock, and a poll object on which something arrives after so many looks (None: never while somebody looks)."""

    def __init__(self) -> None:
        self.now = 0.0
        self.tick = TICK
        self.arrives_after: int | None = None
        self.looks = 0
        self.sleeps = 0
        self.on_look: Any = None

        self.crowded = False

    def is_there(self, now: float) -> bool:
        return self.crowded

    def clock(self) -> float:
        self.now += self.tick
        return self.now

    def poll(self, milliseconds: float | None = None) -> list[tuple[int, int]]:
        if milliseconds != 0:
            self.sleeps += 1
            return FOUND
        self.looks += 1
        if self.on_look is not None:
            self.on_look()
        return FOUND if self.arrives_after is not None and self.looks > self.arrives_after else []

    def wait(self, spinner: Spinner, arrives_after: int | None, kind: int = 1) -> None:
        self.arrives_after, self.looks, self.sleeps = arrives_after, 0, 0
        assert spinner.wait(kind) == FOUND


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def spinner(world: World) -> Spinner:
    return Spinner(world, LIMIT, world.clock, world)  # type: ignore[arg-type]


def test_what_comes_soon_is_found_without_sleeping(world: World, spinner: Spinner) -> None:
    for _ in range(20):
        world.wait(spinner, 5)
        assert (world.looks, world.sleeps) == (6, 0)


def test_what_comes_late_is_slept_for(world: World, spinner: Spinner) -> None:
    world.wait(spinner, None)
    assert world.sleeps == 1
    assert 5 <= world.looks <= LIMIT / TICK + 2


def test_looks_in_vain_become_rare_and_pay_again_later(world: World, spinner: Spinner) -> None:
    looked = []
    for _ in range(3000):
        world.wait(spinner, None)
        looked.append(bool(world.looks))
    assert sum(looked) < 20
    assert any(looked[-260:])
    while not world.looks:  # the next look is due within 256 waits
        world.wait(spinner, 5)
    for _ in range(20):
        world.wait(spinner, 5)
        assert world.looks and not world.sleeps


def test_a_single_look_in_vain_costs_a_few_waits(world: World, spinner: Spinner) -> None:
    world.wait(spinner, None)
    rest = 0
    world.wait(spinner, 5)
    while not world.looks:
        rest += 1
        world.wait(spinner, 5)
    assert rest == 3


def test_each_kind_of_wait_has_a_habit_of_its_own(world: World, spinner: Spinner) -> None:
    for _ in range(50):
        world.wait(spinner, None, kind=1)
        world.wait(spinner, 5, kind=2)
        assert world.looks == 6


def test_a_core_that_is_taken_away_ends_the_look(world: World, spinner: Spinner) -> None:
    def taken() -> None:
        world.now += 0.004

    world.on_look = taken
    world.wait(spinner, None)
    assert (world.looks, world.sleeps) == (2, 1)
    world.wait(spinner, None)
    assert (world.looks, world.sleeps) == (0, 1)


def test_a_thread_that_has_something_to_handle_ends_the_look(
    world: World, spinner: Spinner
) -> None:
    world.on_look = spinning.arrived
    world.wait(spinner, None)
    assert (world.looks, world.sleeps) == (2, 1)


def test_one_thread_looks_at_a_time(world: World, spinner: Spinner) -> None:
    other = World()
    second = Spinner(other, LIMIT, other.clock, other)  # type: ignore[arg-type]
    seen = []

    def meanwhile() -> None:
        world.on_look = None
        other.wait(second, 0)
        seen.append((other.looks, other.sleeps))

    world.on_look = meanwhile
    world.wait(spinner, 5)
    assert seen == [(0, 1)]
    other.wait(second, 5)
    assert (other.looks, other.sleeps) == (6, 0)


def test_nobody_looks_while_others_want_the_cores(world: World, spinner: Spinner) -> None:
    world.crowded = True
    world.wait(spinner, 0)
    assert (world.looks, world.sleeps) == (0, 1)
    world.crowded = False
    world.wait(spinner, 5)
    assert (world.looks, world.sleeps) == (6, 0)


def test_without_spinning_every_wait_sleeps(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "looking_time", lambda: 0.0)
    spinner = Spinner(world)
    world.wait(spinner, 0)
    assert (world.looks, world.sleeps) == (0, 1)
