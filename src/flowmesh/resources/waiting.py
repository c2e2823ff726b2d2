"""A line of requests that wait for a resource to become ready: no thread is held, every request has a future.

For resources whose requests are served in order of arrival. The owner changes its state under `lock`, calls `flush` there and
`deliver` after releasing it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from flowmesh.core import errors
from flowmesh.core.cancellation import CancellationManager

NOT_YET: Any = object()
"""What a request's function returns while it has to wait."""


@dataclass(eq=False, kw_only=True)
class Pending:
    """An operation that may have to wait: its future, what becomes of it, and where its cancellation is registered."""

    future: Future[Any] = field(default_factory=Future)
    result: Any = None
    error: Exception | None = None
    cancellation: CancellationManager | None = None
    token: int | None = None

    def deliver(self) -> None:
        """Completes the future; called without the resource's lock."""
        if self.cancellation is not None and self.token is not None:
            self.cancellation.deregister(self.token)
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


@dataclass(eq=False)
class Request(Pending):
    """One operation: `attempt()` returns its result or NOT_YET, or raises what the operation fails with."""

    attempt: Callable[[], Any]
    done: bool = False


class Line:
    """Requests in order of arrival; the first one that cannot go on holds up those behind it."""

    def __init__(self, lock: threading.Lock, cancelled: str) -> None:
        """`cancelled` is the message of a CancelledError."""
        self._lock = lock
        self._cancelled = cancelled
        self._waiting: deque[Request] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def flush(self) -> list[Request]:
        """Serves requests as far as possible; returns those to deliver. Called with the lock held."""
        done: list[Request] = []
        while self._waiting:
            request = self._waiting[0]
            try:
                request.result = request.attempt()
            except errors.OpError as error:
                request.error = error
            else:
                if request.result is NOT_YET:
                    break
            self._waiting.popleft()
            request.done = True
            done.append(request)
        return done

    def fail_all(self, error: Exception) -> list[Request]:
        """Fails all that wait; returns them for delivery. Called with the lock held."""
        gone = list(self._waiting)
        self._waiting.clear()
        for request in gone:
            request.done, request.error = True, error
        return gone

    def start(
        self,
        attempt: Callable[[], Any],
        cancellation: CancellationManager | None,
        flush: Callable[[], list[Request]],
    ) -> Future[Any]:
        """Adds a request and serves what it makes ready; `flush` is the owner's, over all of its lines."""
        request = Request(attempt)
        if cancellation is not None and cancellation.cancelled:
            request.future.set_exception(self._error())
            return request.future
        with self._lock:
            self._waiting.append(request)
            ready = flush()
        for other in ready:
            other.deliver()
        if cancellation is not None and not request.done:
            request.cancellation = cancellation
            request.token = cancellation.register(lambda _: self._cancel(request, flush))
            if request.done:  # by another thread, which may not have seen the token
                cancellation.deregister(request.token)
        return request.future

    def _cancel(self, request: Request, flush: Callable[[], list[Request]]) -> None:
        with self._lock:
            if request.done:
                return
            self._waiting.remove(request)
            request.done, request.error = True, self._error()
            ready = [request, *flush()]
        for other in ready:
            other.deliver()

    def _error(self) -> errors.CancelledError:
        return errors.CancelledError(None, None, self._cancelled)
