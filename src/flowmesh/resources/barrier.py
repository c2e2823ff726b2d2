"""A barrier: elements whose components arrive one by one, by key, and leave when they are complete."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from flowmesh.core import errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.dtypes import DType
from flowmesh.core.shapes import TensorShape
from flowmesh.resources.manager import Resource
from flowmesh.resources.messages import shape_string
from flowmesh.resources.waiting import NOT_YET, Line, Request

_FIRST_INDEX = -(2**63)


def _invalid(message: str) -> errors.InvalidArgumentError:
    return errors.InvalidArgumentError(None, None, message)


class Barrier(Resource):
    """Collects the components of elements by key (TensorFlow: `Barrier`).

    Complete elements are taken in the order in which their first components came. Thread-safe; a take that has to wait is
    a future.
    """

    type_name = "N10tensorflow7barrier7BarrierE"

    def __init__(
        self, name: str, component_types: Sequence[DType], shapes: Sequence[TensorShape] = ()
    ):
        self.name = name
        self.component_types = tuple(component_types)
        self.shapes = tuple(shapes)
        self._lock = threading.Lock()
        self._line = Line(self._lock, "Barrier operation was cancelled")
        self._incomplete: dict[bytes, tuple[int, list[Any]]] = {}
        self._ready: list[tuple[int, int, bytes, list[Any]]] = []
        self._serial = 0
        self._index = _FIRST_INDEX
        self._closed = False
        self._cancelled = False

    # -- operations ------------------------------------------------------------------------------------

    def insert_many(self, component: int, keys: Sequence[bytes], values: Any) -> None:
        """Sets one component of several elements; new keys start new elements.

        InvalidArgumentError for a component that is set already, CancelledError once the barrier is closed for it.
        """
        count = len(self.component_types)
        if component >= count:
            raise _invalid(
                f"The component ID is out of range {component} > num_components (= {count})"
            )
        if self.shapes:
            want = self.shapes[component]
            if not want.is_compatible_with(TensorShape(values.shape[1:])):
                raise _invalid(
                    f"Shape mismatch in tuple component {component}. Expected "
                    f"{shape_string(want)}, got {shape_string(values.shape[1:])}"
                )
        with self._lock:
            try:
                self._check_open(keys)
                self._insert(component, keys, values)
            finally:
                done = self._line.flush()
        _deliver(done)

    def _check_open(self, keys: Sequence[bytes]) -> None:
        new = [key for key in keys if key not in self._incomplete]
        if self._cancelled:
            raise errors.CancelledError(
                None,
                None,
                f"Barrier {self.name} is closed.  Pending enqueues cancelled: 1.  Number of new insertions: "
                f"{len(new)}.  Number of incomplete keys: {len(self._incomplete)}.",
            )
        if self._closed and new:
            raise errors.CancelledError(
                None,
                None,
                f"Barrier {self.name} is closed, but attempted to insert a brand new key: {_text(new[0])}.  "
                f"Pending enqueues cancelled: 0.  Insertion index: {keys.index(new[0])}.  Number of incomplete keys: "
                f"{len(self._incomplete)}.",
            )

    def _insert(self, component: int, keys: Sequence[bytes], values: Any) -> None:
        index, fresh = self._index, False
        kind = self.component_types[component].as_numpy_dtype
        try:
            for key, value in zip(keys, values):
                entry = self._incomplete.get(key)
                if entry is None:
                    entry = self._incomplete[key] = index, [None] * len(self.component_types)
                    fresh = True
                if entry[1][component] is not None:
                    raise _invalid(
                        f"Key {_text(key)} already has a value for component {component} in barrier {self.name}"
                    )
                entry[1][component] = np.asarray(value, kind)
                if all(v is not None for v in entry[1]):
                    del self._incomplete[key]
                    self._ready.append((entry[0], self._serial, key, entry[1]))
                    self._serial += 1
        finally:
            self._index += fresh
            self._ready.sort(key=lambda item: item[:2])

    def take_many(
        self, n: int, allow_small: bool = False, cancellation: CancellationManager | None = None
    ) -> Future[tuple[Any, ...]]:
        """The indices, keys and stacked components of `n` complete elements.

        `allow_small` gives what is complete, at least one element, once the barrier is closed; OutOfRangeError when nothing
        can come any more.
        """
        if n < 0:
            raise _invalid(f"num_elements must be >= 0, got {n}")
        return self._line.start(self._taker(n, allow_small), cancellation, self._line.flush)

    def _taker(self, n: int, allow_small: bool) -> Callable[[], Any]:
        def attempt() -> Any:
            have = len(self._ready)
            if have >= n:
                return self._batch(n)
            if not self._closed:
                return NOT_YET
            if allow_small and have:
                return self._batch(have)
            if allow_small or have + len(self._incomplete) < n:
                wanted = 0 if allow_small else n
                raise errors.OutOfRangeError(
                    None,
                    None,
                    f"Barrier '{self.name}' is closed and has insufficient elements (requested {wanted}, total size "
                    f"{have})",
                )
            return NOT_YET

        return attempt

    def _batch(self, n: int) -> tuple[Any, ...]:
        taken, self._ready = self._ready[:n], self._ready[n:]
        keys = np.empty(len(taken), object)
        keys[:] = [key for _, _, key, _ in taken]
        columns = []
        for i, dtype in enumerate(self.component_types):
            rows = [values[i] for *_, values in taken]
            columns.append(_stacked(rows, dtype, self.shapes[i] if self.shapes else None))
        return np.array([index for index, *_ in taken], np.int64), keys, columns

    def close(self, cancel_pending: bool = False) -> None:
        """Lets no new keys in; with `cancel_pending` drops what is incomplete and lets no components in either.

        CancelledError when it is closed already.
        """
        with self._lock:
            if self._cancelled or (self._closed and not cancel_pending):
                raise errors.CancelledError(None, None, f"Barrier '{self.name}' is already closed.")
            self._closed = True
            if cancel_pending:
                self._cancelled = True
                self._incomplete.clear()
            done = self._line.flush()
        _deliver(done)

    def ready_size(self) -> int:
        """How many elements are complete."""
        with self._lock:
            return len(self._ready)

    def incomplete_size(self) -> int:
        """How many elements still lack a component."""
        with self._lock:
            return len(self._incomplete)

    def release(self) -> None:
        with self._lock:
            self._closed = self._cancelled = True
            gone = self._line.fail_all(
                errors.CancelledError(None, None, "Barrier operation was cancelled")
            )
        _deliver(gone)


def _deliver(requests: list[Request]) -> None:
    for request in requests:
        request.deliver()


def _text(key: bytes) -> str:
    return key.decode("utf-8", "backslashreplace")


def _stacked(rows: list[Any], dtype: DType, shape: TensorShape | None) -> Any:
    if not rows:
        sizes = [] if shape is None else [d or 0 for d in shape.as_list()]
        return np.zeros((0, *sizes), dtype.as_numpy_dtype)
    first = rows[0].shape
    for row in rows:
        if row.shape != first:
            raise _invalid(
                f"Shape mismatch between elements of a barrier: {shape_string(first)} and {shape_string(row.shape)}"
            )
    return np.stack(rows)
