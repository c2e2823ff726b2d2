"""Where received tensors are put: aligned buffers that are used again once nobody holds them."""

from __future__ import annotations

import mmap
import threading
import time
from collections import deque
from typing import Any

import numpy as np

from flowmesh.runtime import timer
from flowmesh.runtime.values import Loan, Received

ALIGNMENT = 64
POOLED = 1 << 20
"""From so many bytes on a buffer is worth keeping."""
MAX_IDLE = 512 << 20
IDLE_SECONDS = 5.0


def size_class(size: int) -> int:
    """What is allocated for `size` bytes: few different sizes, at most an eighth too much."""
    step = max(mmap.PAGESIZE, 1 << max(0, size.bit_length() - 4))
    return (size + step - 1) // step * step


class BufferPool:
    """Aligned memory for tensors. Thread-safe; buffers come back by themselves when the last array over them is gone."""

    def __init__(self, max_idle: int = MAX_IDLE):
        self._max_idle = max_idle
        self._lock = threading.Lock()
        self._idle: dict[int, list[tuple[float, Any]]] = {}
        self._idle_bytes = 0
        self._returned: deque[tuple[int, Any]] = deque()
        self._timer: int | None = None

    def take(self, size: int) -> tuple[Received, int]:
        """Memory for `size` bytes and where in it they begin; what is in it is undefined."""
        if size < POOLED:
            raw = Received((size + ALIGNMENT,), np.uint8)
            return raw, -raw.ctypes.data % ALIGNMENT
        wanted = size_class(size)
        with self._lock:
            self._collect()
            idle = self._idle.get(wanted)
            region = None
            if idle:
                region = idle.pop()[1]
                self._idle_bytes -= wanted
        if region is None:
            region = mmap.mmap(-1, wanted)
            if hasattr(mmap, "MADV_HUGEPAGE"):
                region.madvise(mmap.MADV_HUGEPAGE)
        memory = Received((size,), np.uint8, region)
        memory.loan = Loan(self._returned, (wanted, region))
        self._watch()
        return memory, 0

    def _collect(self) -> None:
        now = time.monotonic()
        while self._returned:
            size, region = self._returned.popleft()
            if self._idle_bytes + size <= self._max_idle:
                self._idle.setdefault(size, []).append((now, region))
                self._idle_bytes += size

    def _watch(self) -> None:
        """Has idle buffers given back to the system after a while."""
        with self._lock:
            if self._timer is None:
                self._timer = timer.schedule(time.monotonic() + IDLE_SECONDS, self._trim)

    def _trim(self) -> None:
        limit = time.monotonic() - IDLE_SECONDS
        with self._lock:
            self._timer = None
            self._collect()
            for size, idle in list(self._idle.items()):
                kept = [entry for entry in idle if entry[0] > limit]
                self._idle_bytes -= size * (len(idle) - len(kept))
                if kept:
                    self._idle[size] = kept
                else:
                    del self._idle[size]
            again = bool(self._idle)
        if again:
            self._watch()

    @property
    def idle_bytes(self) -> int:
        """How much is kept for later."""
        with self._lock:
            self._collect()
            return self._idle_bytes


shared_pool = BufferPool()
"""The buffers of this process."""
