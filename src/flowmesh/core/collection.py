"""Python's cycle collector, held back while many objects are made that will live long."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_depth = 0
_was_on = False


@contextmanager
def held_back() -> Iterator[None]:
    """Within the block nothing is collected: each collection would walk over all of a graph, which takes as long as making it. Any number of
    threads may be in such blocks at once."""
    global _depth, _was_on
    with _lock:
        _depth += 1
        if _depth == 1:
            _was_on = gc.isenabled()
            gc.disable()
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if not _depth and _was_on:
                gc.enable()
