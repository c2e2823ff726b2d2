"""Pools of threads: a small one for heavy units, a large one for what may block. Threads start when there is work and end when
there was none for a while."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable

_log = logging.getLogger(__name__)

IDLE_SECONDS = 2.0


class WorkPool:
    """Runs callables on up to `size` daemon threads. Thread-safe."""

    def __init__(
        self, size: int, name: str = "flowmesh-compute", idle: float = IDLE_SECONDS
    ) -> None:
        self._size = max(1, size)
        self._name = name
        self._idle_seconds = idle
        self._condition = threading.Condition()
        self._jobs: deque[Callable[[], None]] = deque()
        self._threads = 0
        self._idle = 0
        self._started = 0

    @property
    def size(self) -> int:
        """How many threads there may be."""
        return self._size

    def submit(self, job: Callable[[], None]) -> None:
        """Has `job` called on one of the threads, in the order of submission."""
        with self._condition:
            self._jobs.append(job)
            if self._idle >= len(self._jobs) or self._threads >= self._size:
                self._condition.notify()
                return
            self._threads += 1
            self._started += 1
            number = self._started
        threading.Thread(target=self._work, name=f"{self._name}-{number}", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._condition:
                self._idle += 1
                arrived = self._condition.wait_for(lambda: bool(self._jobs), self._idle_seconds)
                self._idle -= 1
                if not arrived:
                    self._threads -= 1
                    return
                job = self._jobs.popleft()
            try:
                job()
            except BaseException:
                _log.exception("A job of the compute pool failed")


SLOW_THREADS = 1024
"""How many slow units may block at a time; more wait."""

_shared: dict[int, WorkPool] = {}
_slow = WorkPool(SLOW_THREADS, "flowmesh-slow")
_lock = threading.Lock()


def slow_pool() -> WorkPool:
    """The process-wide pool for what may block: files, Python functions."""
    return _slow


def shared_pool(threads: int = 0) -> WorkPool:
    """The process-wide pool with this many threads; 0 means one for each core, at least 4."""
    size = threads if threads > 0 else max(4, os.cpu_count() or 1)
    with _lock:
        pool = _shared.get(size)
        if pool is None:
            pool = _shared[size] = WorkPool(size)
        return pool
