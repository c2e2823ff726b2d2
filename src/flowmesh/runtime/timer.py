"""Deadlines that nobody waits for in a thread of their own: one timer thread, alive only while there is something to time."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

_log = logging.getLogger(__name__)


class Clock(Protocol):
    """What tells the time and calls functions at moments of it."""

    def now(self) -> float:
        """The time in seconds."""

    def schedule(self, at: float, callback: Callable[[], None]) -> int:
        """Has `callback` called at `at`; the number returned cancels it."""

    def cancel(self, number: int) -> None:
        """Withdraws a callback that has not been called."""


class Timer:
    """Calls functions at moments of the monotonic clock. Thread-safe."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._heap: list[tuple[float, int]] = []
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._numbers = itertools.count()
        self._running = False

    @staticmethod
    def now() -> float:
        """The reading of `time.monotonic`."""
        return time.monotonic()

    def schedule(self, at: float, callback: Callable[[], None]) -> int:
        """Has `callback` called at `at`; the number returned cancels it."""
        with self._condition:
            number = next(self._numbers)
            self._callbacks[number] = callback
            heapq.heappush(self._heap, (at, number))
            if self._running:
                self._condition.notify()
            else:
                self._running = True
                threading.Thread(target=self._run, name="flowmesh-timer", daemon=True).start()
        return number

    def cancel(self, number: int) -> None:
        """Withdraws a callback that has not been called; the thread ends when it was the last."""
        with self._condition:
            self._callbacks.pop(number, None)
            if not self._callbacks:
                self._heap.clear()
                self._condition.notify()

    def _run(self) -> None:
        while True:
            with self._condition:
                callback = self._next()
            if callback is None:
                return
            try:
                callback()
            except Exception:
                _log.exception("A deadline callback failed")

    def _next(self) -> Callable[[], None] | None:
        """Waits for the next callback that is due; None when nothing is left."""
        while True:
            while self._heap and self._heap[0][1] not in self._callbacks:
                heapq.heappop(self._heap)
            if not self._heap:
                self._running = False
                return None
            at, number = self._heap[0]
            left = at - time.monotonic()
            if left <= 0:
                heapq.heappop(self._heap)
                return self._callbacks.pop(number)
            self._condition.wait(left)


clock = Timer()
"""The clock of this process."""


def schedule(at: float, callback: Callable[[], None]) -> int:
    """Has `callback` called at this reading of `time.monotonic`."""
    return clock.schedule(at, callback)


def cancel(number: int) -> None:
    """Withdraws a callback."""
    clock.cancel(number)
