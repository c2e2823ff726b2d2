"""Shared memory between two processes of one host: segments of the sender, which the receiver maps and gives back."""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from flowmesh.distributed.transport.direct.memory import size_class
from flowmesh.runtime import timer
from flowmesh.runtime.values import Loan, Received

THRESHOLD = 256 << 10
"""Tensors from so many bytes on go through shared memory."""
MAX_BYTES = 4 << 30
"""What one connection may have in segments; beyond that tensors go over the socket."""
IDLE_SECONDS = 5.0

supported = hasattr(os, "memfd_create")


class Segment:
    """One piece of shared memory, made by the sender."""

    __slots__ = ("array", "fd", "free_since", "number", "region", "size")

    def __init__(self, number: int, size: int):
        self.number = number
        self.size = size
        self.fd = os.memfd_create("flowmesh", os.MFD_CLOEXEC)
        try:
            os.ftruncate(self.fd, size)
            self.region = mmap.mmap(self.fd, size)
        except BaseException:
            os.close(self.fd)
            raise
        self.array = np.frombuffer(self.region, np.uint8)
        self.free_since = 0.0

    def announced(self) -> None:
        """The receiver has it: the descriptor is not needed any more."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


class SendPool:
    """The segments of a sending side. Thread-safe."""

    def __init__(self, forget: Any, max_bytes: int = MAX_BYTES):
        """`forget(numbers)` tells the receiver that it may unmap segments."""
        self._forget = forget
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._free: list[Segment] = []
        self._busy: dict[int, Segment] = {}
        self.unsent: deque[int] = deque()
        """Segments of copies that were never sent and that nobody holds any more: to be collected."""
        self._bytes = 0
        self._next = 1
        self._timer: int | None = None
        self._closed = False

    def take(self, size: int) -> tuple[Segment, bool] | None:
        """A segment of at least `size` bytes and whether it is new; None when too much is in use."""
        wanted = size_class(size)
        self.collect()
        with self._lock:
            if self._closed:
                return None
            fits = [s for s in self._free if wanted <= s.size <= 2 * wanted]
            if fits:
                best = min(fits, key=lambda s: s.size)
                self._free.remove(best)
                self._busy[best.number] = best
                return best, False
            if self._bytes + wanted > self._max_bytes:
                return None
            number = self._next
            self._next += 1
            self._bytes += wanted
        try:
            made = Segment(number, wanted)
        except OSError:
            with self._lock:
                self._bytes -= wanted
            return None
        with self._lock:
            self._busy[number] = made
        return made, True

    def collect(self) -> None:
        """Takes what is in `unsent` back."""
        while self.unsent:
            try:
                number = self.unsent.popleft()
            except IndexError:  # another thread has taken it
                return
            self.give_back(number)

    def give_back(self, number: int) -> None:
        """The receiver has no more use for what is in the segment."""
        with self._lock:
            segment = self._busy.pop(number, None)
            if segment is None:
                return
            segment.free_since = time.monotonic()
            self._free.append(segment)
            if self._timer is None and not self._closed:
                self._timer = timer.schedule(time.monotonic() + IDLE_SECONDS, self._trim)

    def _trim(self) -> None:
        limit = time.monotonic() - IDLE_SECONDS
        with self._lock:
            self._timer = None
            old = [s for s in self._free if s.free_since <= limit]
            self._free = [s for s in self._free if s.free_since > limit]
            self._bytes -= sum(s.size for s in old)
            if self._free and not self._closed:
                self._timer = timer.schedule(time.monotonic() + IDLE_SECONDS, self._trim)
        if old:
            self._forget([s.number for s in old])

    def close(self) -> None:
        """Drops all segments; those that the receiver has mapped live on there."""
        with self._lock:
            self._closed = True
            number, self._timer = self._timer, None
            segments = [*self._free, *self._busy.values()]
            self._free, self._busy = [], {}
            self._forget = _nothing  # whoever made this is not kept alive by it
        if number is not None:
            timer.cancel(number)
        for segment in segments:
            segment.announced()

    @property
    def bytes(self) -> int:
        """How much memory the segments have together."""
        return self._bytes


def _nothing(numbers: Sequence[int]) -> None:
    """Nobody is told."""


class Mappings:
    """The segments of the other side, mapped here. Used by the reading thread only, but for `returned`."""

    def __init__(self) -> None:
        self._regions: dict[int, mmap.mmap] = {}
        self.returned: deque[int] = deque()
        """Segments that nobody here uses any more, to be given back."""

    def add(self, number: int, size: int, fd: int) -> None:
        """Maps a segment; closes its descriptor. OSError or ValueError when that cannot be done."""
        try:
            self._regions[number] = mmap.mmap(fd, size)
        finally:
            os.close(fd)

    def view(self, number: int, size: int) -> Received:
        """The data in a segment; the segment goes to `returned` when the last array over it is gone. KeyError if there is none."""
        region = self._regions[number]
        if size > len(region):
            raise KeyError(number)
        memory = Received((size,), np.uint8, region)
        memory.loan = Loan(self.returned, number)
        return memory

    def size_of(self, numbers: Sequence[int]) -> int:
        """The bytes of these segments together."""
        regions = self._regions
        return sum(len(regions[n]) for n in numbers if n in regions)

    def forget(self, number: int) -> None:
        """Drops the mapping, as soon as nobody uses it."""
        self._regions.pop(number, None)

    def close(self) -> None:
        """Drops all mappings, each as soon as nobody uses it."""
        self._regions.clear()
