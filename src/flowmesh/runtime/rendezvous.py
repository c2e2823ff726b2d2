"""Rendezvous: where the parts of a graph hand each other tensors during one step.

A key is used by one send and one receive; either may come first, and a receive may even come before its step starts.
State is a locked table; futures are completed with no lock held, in the thread that sends.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from concurrent.futures import Future, InvalidStateError
from typing import Any, TypeAlias

from flowmesh.core import errors
from flowmesh.core.errors import OpError

Delivery: TypeAlias = "tuple[Any, bool]"
"""A value and whether it is dead."""


def make_key(
    send_device: str, incarnation: int, recv_device: str, tensor_name: str, frame: str = "0:0"
) -> str:
    """`send_device;incarnation(16 hex);recv_device;tensor_name;frame:iter`."""
    return (
        f"{send_device};{incarnation & 0xFFFFFFFFFFFFFFFF:016x};{recv_device};{tensor_name};{frame}"
    )


def parse_key(key: str) -> tuple[str, int, str, str, str]:
    """The parts of a key: send device, incarnation, receive device, tensor name, frame:iter.

    Raises InvalidArgumentError for a malformed key.
    """
    parts = key.split(";")
    if len(parts) == 5:
        try:
            return parts[0], int(parts[1], 16), parts[2], parts[3], parts[4]
        except ValueError:
            pass
    raise errors.InvalidArgumentError(None, None, f"Invalid  rendezvous key: {key}")


class Rendezvous:
    """The tensors under way in one step of one task. Thread-safe."""

    def __init__(self, step_id: int) -> None:
        self.step_id = step_id
        self._lock = threading.Lock()
        self._values: dict[str, deque[Delivery]] = {}
        self._waiting: dict[str, deque[Future[Delivery]]] = {}
        self._error: OpError | None = None

    @property
    def error(self) -> OpError | None:
        """Why the rendezvous was aborted, or None."""
        return self._error

    def send(self, key: str, value: Any, is_dead: bool = False) -> None:
        """Hands over a value; never waits. Raises the reason if the step was aborted."""
        with self._lock:
            if self._error is not None:
                raise self._error
            waiting = self._waiting.get(key)
            future = waiting.popleft() if waiting else None
            if waiting is not None and not waiting:
                del self._waiting[key]
            if future is None:
                self._values.setdefault(key, deque()).append((value, is_dead))
                return
        _resolve(future, (value, is_dead))

    def recv_async(self, key: str) -> Future[Delivery]:
        """A future of (value, is_dead): done at once if the value is there, failed if the step was aborted."""
        future: Future[Delivery] = Future()
        with self._lock:
            error = self._error
            delivery: Delivery | None = None
            if error is None:
                values = self._values.get(key)
                if values:
                    delivery = values.popleft()
                    if not values:
                        del self._values[key]
                else:
                    self._waiting.setdefault(key, deque()).append(future)
        if error is not None:
            future.set_exception(error)
        elif delivery is not None:
            future.set_result(delivery)
        return future

    def abort(self, error: OpError) -> None:
        """Fails everything that waits, and everything that comes later, with `error`. The first reason counts."""
        with self._lock:
            if self._error is not None:
                return
            self._error = error
            waiting, self._waiting = self._waiting, {}
            self._values.clear()
        for futures in waiting.values():
            for future in futures:
                _fail(future, error)

    def pending_keys(self) -> list[str]:
        """The keys that are waited for, sorted."""
        with self._lock:
            return sorted(self._waiting)


def _resolve(future: Future[Delivery], delivery: Delivery) -> None:
    with contextlib.suppress(InvalidStateError):  # the receiver may have given up
        future.set_result(delivery)


def _fail(future: Future[Delivery], error: OpError) -> None:
    with contextlib.suppress(InvalidStateError):
        future.set_exception(error)


class RendezvousManager:
    """The rendezvous of all steps of one task. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._steps: dict[int, Rendezvous] = {}

    def make(self, step_id: int) -> Rendezvous:
        """A new rendezvous; a subclass decides of which kind."""
        return Rendezvous(step_id)

    def find_or_create(self, step_id: int) -> Rendezvous:
        """The rendezvous of this step."""
        with self._lock:
            found = self._steps.get(step_id)
            if found is None:
                found = self._steps[step_id] = self.make(step_id)
            return found

    def find(self, step_id: int) -> Rendezvous | None:
        """The rendezvous of this step, if there is one."""
        with self._lock:
            return self._steps.get(step_id)

    def cleanup(self, step_id: int) -> None:
        """Forgets the step; what still waits in it fails with AbortedError."""
        with self._lock:
            found = self._steps.pop(step_id, None)
        if found is not None:
            found.abort(errors.AbortedError(None, None, f"Cleanup {step_id}"))

    def step_ids(self) -> list[int]:
        """The steps there are, sorted."""
        with self._lock:
            return sorted(self._steps)

    def abort_all(self, error: OpError) -> None:
        """Aborts and forgets every step."""
        with self._lock:
            steps, self._steps = self._steps, {}
        for rendezvous in steps.values():
            rendezvous.abort(error)
