"""Cancellation managers."""

import threading
from typing import Any

import pytest

from flowmesh.core import errors
from flowmesh.core.cancellation import CancellationManager

REASON = errors.CancelledError(None, None, "stop")
OTHER = errors.AbortedError(None, None, "later")


def test_cancel_calls_back_once_in_order() -> None:
    manager, calls = CancellationManager(), []
    for i in range(3):
        manager.register(lambda error, i=i: calls.append((i, error)))
    assert not manager.cancelled and manager.error is None
    manager.check()
    manager.cancel(REASON)
    manager.cancel(OTHER)
    assert calls == [(0, REASON), (1, REASON), (2, REASON)]
    assert manager.cancelled and manager.error is REASON
    with pytest.raises(errors.CancelledError, match="stop"):
        manager.check()


def test_deregister() -> None:
    manager, calls = CancellationManager(), []
    token = manager.register(calls.append)
    kept = manager.register(calls.append)
    assert manager.deregister(token)
    assert not manager.deregister(token)
    manager.cancel(REASON)
    assert calls == [REASON]
    assert not manager.deregister(kept)


def test_register_after_cancel_calls_back_at_once() -> None:
    manager, calls = CancellationManager(), []
    manager.cancel(REASON)
    token = manager.register(calls.append)
    assert calls == [REASON]
    assert not manager.deregister(token)


def test_callbacks_run_without_the_lock() -> None:
    manager, calls = CancellationManager(), []

    def callback(error: Any) -> None:
        manager.cancel(OTHER)
        assert not manager.deregister(0)
        manager.register(calls.append)

    manager.register(callback)
    manager.cancel(REASON)
    assert calls == [REASON]


def test_a_failing_callback_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    manager, calls = CancellationManager(), []

    def fail(error: Any) -> None:
        raise RuntimeError("broken")

    manager.register(fail)
    manager.register(calls.append)
    manager.cancel(REASON)
    assert calls == [REASON]
    assert "broken" in caplog.text


def test_children() -> None:
    parent = CancellationManager()
    first, second, closed = parent.child(), parent.child(), parent.child()
    first.cancel(OTHER)
    assert not parent.cancelled and not second.cancelled
    closed.close()
    parent.close()
    parent.cancel(REASON)
    assert (first.error, second.error, closed.error) == (OTHER, REASON, None)
    assert parent.child().error is REASON


def test_race_of_cancels_and_registrations() -> None:
    manager, count, lock = CancellationManager(), 0, threading.Lock()
    start = threading.Barrier(8)

    def callback(error: Any) -> None:
        nonlocal count
        with lock:
            count += 1

    def work(number: int) -> None:
        start.wait()
        for i in range(100):
            manager.register(callback)
            if number % 2 and i == 50:
                manager.cancel(REASON)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count == 800
