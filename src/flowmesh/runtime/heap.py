"""Memory that a peer leaves behind when it goes, given back to the system.

Sessions and connections are full of cycles (a graph and its operations), which Python finds only when there are many more of them. And each connection
has threads, and what they allocate lies in the C library's arenas between what lives on: little of it is in use when peers come and
go for days, but the pages stay.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from collections.abc import Callable

from flowmesh.runtime import pool, timer
from flowmesh.runtime.timer import Clock

DELAY = 5.0
"""Seconds after an occasion: several peers often go at a time, and their threads take a moment to end."""
INTERVAL = 30.0
"""Seconds between two times."""
_MANY_BLOCKS = 5_000_000
"""In a process with more small objects than these looking for cycles would keep everybody else waiting for half a second."""


def _find() -> Callable[[], None]:
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # not glibc
        return lambda: None
    return lambda: trim(0)


_trim = _find()


def give_back() -> None:
    """Frees cycles, and gives unused pages of the C library's arenas back. Takes some 20 ms, a tenth of a second after much was freed."""
    if gc.isenabled() and sys.getallocatedblocks() < _MANY_BLOCKS:
        gc.collect()
    _trim()


class Trimmer:
    """Has `give_back` called in the background a while after an occasion. Thread-safe."""

    def __init__(self, clock: Clock = timer.clock, trim: Callable[[], None] | None = None) -> None:
        self._clock = clock
        self._trim = trim
        self._lock = threading.Lock()
        self._number: int | None = None
        self._last = float("-inf")
        self._closed = False

    def soon(self) -> None:
        """There may be something to give back."""
        with self._lock:
            if self._number is None and not self._closed:
                at = max(self._clock.now() + DELAY, self._last + INTERVAL)
                self._number = self._clock.schedule(at, self._due)

    def _due(self) -> None:
        with self._lock:
            self._number = None
            self._last = self._clock.now()
        pool.slow_pool().submit(self._trim or give_back)

    def close(self) -> None:
        """Nothing is given back any more."""
        with self._lock:
            self._closed = True
            number, self._number = self._number, None
        if number is not None:
            self._clock.cancel(number)
