"""Whether this thread waits for a connection that takes no more.

A thread that has sent more than the other side reads usually waits until there is room: that slows down who sends too much. One whose step
has a time limit must not: another thread sends the rest.
"""

from __future__ import annotations

import threading


class _Thread(threading.local):
    waits = True


_thread = _Thread()


def waits() -> bool:
    """Whether this thread may wait for a connection."""
    return _thread.waits


def set_waits(waits: bool) -> None:
    """Says so for the sends that follow in this thread."""
    _thread.waits = waits
