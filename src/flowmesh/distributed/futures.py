"""Small helpers around `concurrent.futures.Future`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

from flowmesh.core import errors
from flowmesh.core.deadline import Deadline
from flowmesh.distributed import failure

T = TypeVar("T")


def done(value: T) -> Future[T]:
    """A future that has its value."""
    future: Future[T] = Future()
    future.set_result(value)
    return future


def failed(exc: BaseException) -> Future[Any]:
    """A future that has failed."""
    future: Future[Any] = Future()
    future.set_exception(exc)
    return future


def attempt(function: Callable[..., T], *args: Any) -> Future[T]:
    """The result of a quick call, or what it raised, as a future."""
    try:
        return done(function(*args))
    except Exception as exc:
        return failed(failure.of_exception(exc))


def settle(future: Future[T], value: T) -> bool:
    """Sets the result unless the future is over; whether it did."""
    try:
        future.set_result(value)
    except Exception:
        return False
    return True


def fail(future: Future[Any], exc: BaseException) -> bool:
    """Sets the exception unless the future is over; whether it did."""
    try:
        future.set_exception(exc)
    except Exception:
        return False
    return True


def then(future: Future[Any], convert: Callable[[Any], T]) -> Future[T]:
    """A future of `convert(result)`; errors pass through as OpErrors."""
    result: Future[T] = Future()

    def finish(source: Future[Any]) -> None:
        try:
            value = convert(source.result())
        except BaseException as exc:
            fail(result, failure.of_exception(exc))
        else:
            settle(result, value)

    future.add_done_callback(finish)
    return result


def gather(sources: Iterable[Future[Any]]) -> Future[None]:
    """Done when all are; fails with the first error."""
    pending = list(sources)
    result: Future[None] = Future()
    left = len(pending)
    lock = threading.Lock()

    def finish(source: Future[Any]) -> None:
        nonlocal left
        exc = error_of(source)
        with lock:
            left -= 1
            over = left == 0
        if exc is not None:
            fail(result, exc)
        elif over:
            settle(result, None)

    if not pending:
        result.set_result(None)
    for source in pending:
        source.add_done_callback(finish)
    return result


@contextmanager
def held(lock: Any, deadline: Deadline, who: str) -> Iterator[None]:
    """Holds a lock; DeadlineExceededError, saying who has it, when the deadline comes first."""
    left = deadline.remaining()
    if not lock.acquire(timeout=-1 if left is None else left):
        raise errors.DeadlineExceededError(
            None, None, f"Operation timed out. Still waiting for {who}."
        )
    try:
        yield
    finally:
        lock.release()


def wait_all(
    futures: Iterable[Future[Any]], deadline: Deadline, until_error: bool = False
) -> list[Future[Any]]:
    """Waits until all are over or the deadline comes, or with `until_error` one has failed; returns those that are not over."""
    futures = list(futures)
    pending = {f for f in futures if not f.done()}
    if not pending:
        return []
    count = len(pending)
    lock, event = threading.Lock(), threading.Event()

    def finish(future: Future[Any]) -> None:
        nonlocal count
        with lock:
            count -= 1
            if count == 0 or (until_error and error_of(future) is not None):
                event.set()

    if until_error and any(f.done() and error_of(f) is not None for f in futures):
        return list(pending)

    for future in pending:
        future.add_done_callback(finish)
    event.wait(deadline.remaining())
    return [f for f in pending if not f.done()]


def error_of(future: Future[Any]) -> errors.OpError | None:
    """The error of a future that is over, or None."""
    if future.cancelled():
        return errors.CancelledError(None, None, "The operation was cancelled.")
    exc = future.exception()
    return None if exc is None else failure.of_exception(exc)
