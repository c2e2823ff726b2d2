"""Staging areas: small buffers of tensor tuples, in order (`Staging`) or by key (`StagingMap`)."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeAlias

import numpy as np

from flowmesh.core import errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.resources.manager import Resource
from flowmesh.resources.waiting import NOT_YET, Line, Request

Values: TypeAlias = dict[int, Any]
"""Tensors by the number of their component."""


def _invalid(message: str) -> errors.InvalidArgumentError:
    return errors.InvalidArgumentError(None, None, message)


def _bytes(values: Values) -> int:
    return sum(np.asarray(v).nbytes for v in values.values())


class _Area(Resource):
    """Waiting and limits; puts, and takes and peeks, wait in two lines."""

    def __init__(self, name: str, capacity: int = 0, memory_limit: int = 0):
        """0 is no limit; `memory_limit` is in bytes."""
        self.name = name
        self.capacity = capacity
        self.memory_limit = memory_limit
        self._lock = threading.Lock()
        self._puts = Line(self._lock, "Staging put was cancelled")
        self._takes = Line(self._lock, "Staging get was cancelled")
        self._used = 0

    def _size(self) -> int:
        raise NotImplementedError

    def _room(self, values: Values) -> bool:
        """Whether `values` fit now; ResourceExhaustedError when they never do."""
        size = _bytes(values)
        if self.memory_limit and size > self.memory_limit:
            raise errors.ResourceExhaustedError(
                None,
                None,
                f"Attempted to insert tensors with combined size of '{size}' bytes into Staging Area with a memory "
                f"limit of '{self.memory_limit}'.",
            )
        if self.capacity and self._size() >= self.capacity:
            return False
        return not self.memory_limit or self._used + size <= self.memory_limit

    def _flush(self) -> list[Request]:
        done: list[Request] = []
        while True:
            more = self._puts.flush() + self._takes.flush()
            if not more:
                return done
            done += more

    def _start(
        self, line: Line, attempt: Callable[[], Any], cancellation: CancellationManager | None
    ) -> Future[Any]:
        return line.start(attempt, cancellation, self._flush)

    def size(self) -> int:
        """How many elements there are."""
        with self._lock:
            return self._size()

    def release(self) -> None:
        error = errors.CancelledError(None, None, f"Staging area '{self.name}' was removed")
        with self._lock:
            gone = self._puts.fail_all(error) + self._takes.fail_all(error)
        _deliver(gone)


def _deliver(requests: list[Request]) -> None:
    for request in requests:
        request.deliver()


class Staging(_Area):
    """Elements in order (TensorFlow: the Stage ops). Thread-safe; what has to wait is a future."""

    type_name = "N10tensorflow6BufferE"

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._elements: deque[list[Any]] = deque()

    def _size(self) -> int:
        return len(self._elements)

    def put(
        self, values: Sequence[Any], cancellation: CancellationManager | None = None
    ) -> Future[None]:
        """Adds an element, once there is room."""
        numbered = dict(enumerate(values))

        def attempt() -> Any:
            if not self._room(numbered):
                return NOT_YET
            self._elements.append(list(values))
            self._used += _bytes(numbered)
            return None

        return self._start(self._puts, attempt, cancellation)

    def get(self, cancellation: CancellationManager | None = None) -> Future[list[Any]]:
        """Takes the oldest element."""

        def attempt() -> Any:
            if not self._elements:
                return NOT_YET
            values = self._elements.popleft()
            self._used -= _bytes(dict(enumerate(values)))
            return values

        return self._start(self._takes, attempt, cancellation)

    def peek(
        self, index: int, cancellation: CancellationManager | None = None
    ) -> Future[list[Any]]:
        """The element at `index`, which stays; waits until there is one."""

        def attempt() -> Any:
            return self._elements[index] if index < len(self._elements) else NOT_YET

        return self._start(self._takes, attempt, cancellation)

    def clear(self) -> None:
        """Drops all elements."""
        with self._lock:
            self._elements.clear()
            self._used = 0
            done = self._flush()
        _deliver(done)


class StagingMap(_Area):
    """Elements by key, whose components may come and go one by one (TensorFlow: the MapStage ops)."""

    type_name = "N10tensorflow10StagingMapE"

    def __init__(self, *args: Any, ordered: bool = False, **kwargs: Any):
        """An ordered map gives out the smallest key first."""
        super().__init__(*args, **kwargs)
        self._count = 0
        self._ordered = ordered
        self._incomplete: dict[int, Values] = {}
        self._complete: dict[int, Values] = {}

    def _size(self) -> int:
        return len(self._complete)

    def put(
        self,
        key: int,
        values: Values,
        count: int,
        cancellation: CancellationManager | None = None,
    ) -> Future[None]:
        """Sets components, of `count` in all, of the element `key`, once there is room.

        InvalidArgumentError for a component that is there already.
        """

        def attempt() -> Any:
            self._count = count
            if key in self._complete:
                raise _invalid(f"The key '{key}' has already been inserted into the staging area")
            entry = self._incomplete.get(key, {})
            for index in values:
                if not 0 <= index < self._count:
                    raise _invalid(f"Index '{index}' for key '{key}' was out of bounds.")
                if index in entry:
                    raise _invalid(
                        f"The tensor for index '{index}' for key '{key}' was already initialized '{len(entry)}'."
                    )
            full = len(entry) + len(values) == self._count
            if not self._room(values) and (full or self.memory_limit):
                return NOT_YET
            self._incomplete.setdefault(key, {}).update(values)
            self._used += _bytes(values)
            if full:
                self._complete[key] = self._incomplete.pop(key)
            return None

        return self._start(self._puts, attempt, cancellation)

    def _chosen(self, key: int | None) -> int | None:
        if key is not None:
            return key if key in self._complete else None
        if not self._complete:
            return None
        return min(self._complete) if self._ordered else next(iter(self._complete))

    def _picked(self, key: int, indices: Sequence[int], remove: bool) -> list[Any]:
        entry = self._complete[key]
        for index in indices:
            if not 0 <= index < self._count:
                raise _invalid(f"Index '{index}' for key '{key}' was out of bounds.")
            if index not in entry:
                raise _invalid(
                    f"Tensor at index '{index}' for key '{key}' has already been removed."
                )
        values = [entry[index] for index in indices]
        if remove:
            for index in indices:
                self._used -= _bytes({index: entry.pop(index)})
            if not entry:
                del self._complete[key]
        return values

    def get(
        self,
        key: int | None,
        indices: Sequence[int],
        remove: bool = True,
        cancellation: CancellationManager | None = None,
    ) -> Future[tuple[int, list[Any]]]:
        """(key, components) of the element `key`, or of any; waits until it is complete."""

        def attempt() -> Any:
            chosen = self._chosen(key)
            if chosen is None:
                return NOT_YET
            return chosen, self._picked(chosen, indices, remove)

        return self._start(self._takes, attempt, cancellation)

    def incomplete_size(self) -> int:
        """How many elements lack a component."""
        with self._lock:
            return len(self._incomplete)

    def clear(self) -> None:
        """Drops all elements."""
        with self._lock:
            self._incomplete.clear()
            self._complete.clear()
            self._used = 0
            done = self._flush()
        _deliver(done)
