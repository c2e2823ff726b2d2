"""Memory that the C library keeps after it was freed: given back to the system when a peer has gone.

Each connection has threads, and what they allocate lies in the C library's arenas between what lives on. When peers come and go for days
little of it is in use, but the pages stay.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable

from flowmesh.runtime import pool, timer
from flowmesh.runtime.timer import Clock

DELAY = 5.0
"""Seconds after an occasion: several peers often go at a time, and their threads take a moment to end."""


def _find() -> Callable[[], None]:
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # not glibc
        return lambda: None
    return lambda: trim(0)


give_back = _find()
"""Gives unused pages of the C library's arenas back; takes some milliseconds, a tenth of a second after much was freed."""


class Trimmer:
    """Has `give_back` called in the background a while after an occasion. Thread-safe."""

    def __init__(self, clock: Clock = timer.clock, trim: Callable[[], None] | None = None) -> None:
        self._clock = clock
        self._trim = trim
        self._lock = threading.Lock()
        self._number: int | None = None
        self._closed = False

    def soon(self) -> None:
        """There may be something to give back."""
        with self._lock:
            if self._number is None and not self._closed:
                self._number = self._clock.schedule(self._clock.now() + DELAY, self._due)

    def _due(self) -> None:
        with self._lock:
            self._number = None
        pool.slow_pool().submit(self._trim or give_back)

    def close(self) -> None:
        """Nothing is given back any more."""
        with self._lock:
            self._closed = True
            number, self._number = self._number, None
        if number is not None:
            self._clock.cancel(number)
