"""Every test here must leave no thread behind, other than those that end by themselves when idle."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

_TRANSIENT = ("flowmesh-compute", "flowmesh-slow", "flowmesh-timer", "flowmesh-helper")


def _threads() -> set[threading.Thread]:
    return {t for t in threading.enumerate() if not t.name.startswith(_TRANSIENT)}


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Waits a little for threads that are ending."""
    before = _threads()
    yield
    left = _threads() - before
    for thread in left:
        thread.join(5)
    names = sorted(t.name for t in left if t.is_alive())
    assert not names, f"threads left behind: {names}"
