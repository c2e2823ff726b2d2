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

import threading
import time
from collections.abc import Callable
from typing import Any, TypeAlias

from flowmesh.runtime import cores
from flowmesh.runtime.cores import Habit

_TAKEN = 50e-6
"""A look that takes so long tells that the core, or the interpreter, was somebody else's meanwhile."""

Ready: TypeAlias = list[tuple[int, int]]
"""What a poll object returns."""

_looking = threading.Lock()
_arrivals = 0


def arrived() -> None:
    """Says that a thread has something to handle."""
    global _arrivals
    _arrivals += 1  # any change will do


class Spinner:
    """Waits on one poll object; for one thread at a time."""

    def __init__(
        self,
        poll: Any,
        seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        crowd: cores.Crowd = cores.crowd,
    ) -> None:
        self._poll = poll.poll
        self._seconds = cores.looking_time() if seconds is None else seconds
        self._clock = clock
        self._crowd = crowd
        self._habits: dict[int, Habit] = {}

    def wait(self, kind: int, milliseconds: float | None = None) -> Ready:
        """What `poll` has found; at most so long, for ever by default. `kind` is that of the wait: waits of one kind are taken
        to last about as long as each other."""
        if self._seconds:
            habit = self._habits.get(kind)
            if habit is None:
                habit = self._habits[kind] = Habit()
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

    def _look(self, habit: Habit) -> Ready:
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
