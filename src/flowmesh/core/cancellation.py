"""`CancellationManager`: tells everything that waits on behalf of a step to give up."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeAlias

from flowmesh.core.errors import OpError

Callback: TypeAlias = Callable[[OpError], object]

_log = logging.getLogger(__name__)


class CancellationManager:
    """Callbacks to run once, with the reason, when the work is cancelled. Thread-safe."""

    def __init__(self, parent: CancellationManager | None = None):
        """With a `parent`, is cancelled whenever the parent is, until `close` is called."""
        self._lock = threading.Lock()
        self._callbacks: dict[int, Callback] = {}
        self._next_token = 0
        self._error: OpError | None = None
        self._parent = parent
        self._parent_token = -1 if parent is None else parent.register(self.cancel)

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._error is not None

    @property
    def error(self) -> OpError | None:
        """The reason given to the first `cancel`, or None."""
        return self._error

    @property
    def waiting(self) -> int:
        """How many callbacks are registered."""
        return len(self._callbacks)

    def check(self) -> None:
        """Raises the reason if cancelled."""
        if self._error is not None:
            raise self._error

    def register(self, callback: Callback) -> int:
        """Has `callback(error)` called on cancellation: here and now if that has happened."""
        with self._lock:
            token = self._next_token
            self._next_token += 1
            if self._error is None:
                self._callbacks[token] = callback
                return token
        _call(callback, self._error)
        return token

    def deregister(self, token: int) -> bool:
        """True if the callback is withdrawn; False if it has been or is being called."""
        with self._lock:
            return self._callbacks.pop(token, None) is not None

    def cancel(self, error: OpError) -> None:
        """Cancels with `error` as the reason; does nothing the second time.

        Callbacks run in this thread, in the order of registration, with no lock held. One that
        raises is logged and does not stop the others.
        """
        with self._lock:
            if self._error is not None:
                return
            self._error = error
            callbacks, self._callbacks = self._callbacks, {}
        for callback in callbacks.values():
            _call(callback, error)

    def child(self) -> CancellationManager:
        """A manager that is cancelled with this one but can be cancelled alone."""
        return CancellationManager(self)

    def close(self) -> None:
        """Detaches from the parent, which then no longer holds on to this manager."""
        if self._parent is not None:
            self._parent.deregister(self._parent_token)


def _call(callback: Callback, error: OpError) -> None:
    try:
        callback(error)
    except Exception:
        _log.exception("A cancellation callback failed: %r", callback)
