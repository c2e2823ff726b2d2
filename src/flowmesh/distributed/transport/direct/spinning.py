"""Looking for a moment whether something arrives, before a thread sleeps until it does.

Two tasks that take turns in a step wait for each other some 50 us at a time. To go to sleep and be woken on another core takes as long
again (in a virtual machine 40 to 70 us a message), and no less processor time than to look until it is there. That pays where answers come
soon and a core is free; whether they do, each kind of wait finds out for itself:

* a look in vain, or one during which the core was taken away, makes the next looks rarer, down to one in 256 waits;
* nobody looks while more threads of this machine want to run than there are cores, which is asked every few milliseconds;
* as soon as another thread of the process has something to handle the look ends, and no two threads look at a time;
* with one core there is nothing to gain.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable
from typing import Any, TypeAlias

_SECONDS = 200e-6
"""How long a thread looks, unless FLOWMESH_SPIN_MICROSECONDS says something else."""
_TAKEN = 50e-6
"""A look that takes so long tells that the core, or the interpreter, was somebody else's meanwhile."""
_MOST_DOUBT = 8
_LOAD = "/proc/loadavg"
_ASK = 0.005
"""Seconds after which it is asked again whether there are cores to spare."""
_WEIGHT = 0.25
"""Of one answer, against those before it: a moment's bustle is no crowd."""
_CROWDED = 0.4

Ready: TypeAlias = list[tuple[int, int]]
"""What a poll object returns."""

_looking = threading.Lock()
_arrivals = 0


def arrived() -> None:
    """Says that a thread has something to handle."""
    global _arrivals
    _arrivals += 1  # any change will do


@functools.cache
def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def _allowed() -> float:
    """The seconds for which a thread of this process may look; 0 for not at all."""
    given = os.environ.get("FLOWMESH_SPIN_MICROSECONDS", "").strip()
    try:
        return max(0.0, float(given) * 1e-6)
    except ValueError:
        pass
    return _SECONDS if _cores() > 1 else 0.0


def _wanted() -> int:
    """How many threads of this machine run or want to, this one included; 0 where the system does not tell."""
    try:
        with open(_LOAD, "rb") as file:
            return int(file.read().split()[3].split(b"/")[0])
    except (OSError, ValueError, IndexError):
        return 0


class _Crowd:
    """Whether there are cores to spare."""

    def __init__(self) -> None:
        self._next = 0.0
        self._share = 0.0
        """How often there were none lately."""

    def is_there(self, now: float) -> bool:
        """Whether others want the core on which a thread would look."""
        if now >= self._next:
            self._next = now + _ASK
            self._share += _WEIGHT * ((_wanted() > _cores()) - self._share)
        return self._share > _CROWDED


_crowd = _Crowd()


class _Habit:
    """What waits of one kind have taught."""

    __slots__ = ("doubt", "rest")

    def __init__(self) -> None:
        self.doubt = 0
        self.rest = 0
        """Waits to come that sleep at once."""

    def succeeded(self) -> None:
        self.doubt = max(0, self.doubt - 1)

    def failed(self, weight: int) -> None:
        self.doubt = min(_MOST_DOUBT, self.doubt + weight)
        self.rest = (1 << self.doubt) - 1


class Spinner:
    """Waits on one poll object; for one thread at a time."""

    def __init__(
        self,
        poll: Any,
        seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        crowd: _Crowd = _crowd,
    ) -> None:
        self._poll = poll.poll
        self._seconds = _allowed() if seconds is None else seconds
        self._clock = clock
        self._crowd = crowd
        self._habits: dict[int, _Habit] = {}

    def wait(self, kind: int, milliseconds: float | None = None) -> Ready:
        """What `poll` has found; at most so long, for ever by default. `kind` is that of the wait: waits of one kind are taken
        to last about as long as each other."""
        if self._seconds:
            habit = self._habits.get(kind)
            if habit is None:
                habit = self._habits[kind] = _Habit()
            if habit.rest:
                habit.rest -= 1
            elif not self._crowd.is_there(self._clock()) and _looking.acquire(blocking=False):
                try:
                    found = self._look(habit)
                finally:
                    _looking.release()
                if found:
                    return found
        return self._poll(milliseconds)  # type: ignore[no-any-return]

    def _look(self, habit: _Habit) -> Ready:
        poll, clock, before = self._poll, self._clock, _arrivals
        found: Ready = poll(0)
        if found:
            return found  # it was there: nothing is learnt
        last = clock()
        end = last + self._seconds
        while True:
            found = poll(0)
            now = clock()
            if now - last > _TAKEN:
                habit.failed(3)
                return found
            if found:
                habit.succeeded()
                return found
            if now >= end or before != _arrivals:
                habit.failed(2)
                return found
            last = now
