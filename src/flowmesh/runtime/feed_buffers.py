"""Memory for the copies of what is fed to one input of a compiled program, used again as soon as the program has let go of it.

A run may return before the program has read its feeds, so each run needs a copy of its own. Taken from the system anew, a copy of some hundred kilobytes costs
page faults and cold memory each time; what was used some runs ago is there already.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np

from flowmesh.runtime.values import private_copy

KEPT_BYTES = 16 << 20
"""Bytes that the buffers of one input may have together; more copies than that are made anew."""


class FeedBuffers:
    """Aligned arrays of one shape and dtype, in the order in which they were handed out. Thread-safe.

    Whoever still reads a buffer holds a reference to it, as XLA does for as long as the program may: their number tells whether it is free.
    """

    __slots__ = ("_arrays", "_lock", "_next")

    def __init__(self) -> None:
        self._arrays: list[np.ndarray] = []
        self._lock = threading.Lock()
        self._next = 0

    def copy(self, value: np.ndarray) -> Any:
        """A copy of the value, which nobody else will write to as long as there is a reference to it.

        All values have the same shape and dtype.
        """
        with self._lock:
            found = self._free()
            if found is None:
                found = private_copy(value)
                if (len(self._arrays) + 1) * value.nbytes <= KEPT_BYTES:
                    self._arrays.insert(self._next, found)
                    self._next += 1
                return found
        found[...] = value
        return found

    def _free(self) -> Any:
        """A buffer that nobody refers to: the one that was handed out the longest time ago, if that one is free."""
        arrays, at = self._arrays, self._next
        for _ in range(len(arrays)):
            if at == len(arrays):
                at = 0
            found = arrays[at]
            at += 1
            # References: the list, this one, and the argument of getrefcount; to the memory: the array's, and the argument.
            if sys.getrefcount(found) == 3 and sys.getrefcount(found.base) == 2:
                self._next = at
                return found
        return None

    def __len__(self) -> int:
        return len(self._arrays)
