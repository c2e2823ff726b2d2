"""Conditional accumulators: gradients add up until enough have come, and late ones are dropped.

A gradient carries the step that it was computed in. Those older than the accumulator's own step are dropped; taking
the average raises that step by one and starts anew.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeAlias

import numpy as np

from flowmesh.core import errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.dtypes import DType
from flowmesh.core.shapes import TensorShape
from flowmesh.resources.manager import Resource
from flowmesh.resources.messages import shape_string
from flowmesh.resources.waiting import NOT_YET, Line, Request

_log = logging.getLogger("flowmesh")

SparseGradient: TypeAlias = tuple[np.ndarray, np.ndarray, tuple[int, ...]]
"""Row numbers [n], rows [n, ...], and the dense shape (empty when the sender does not know it)."""


def _invalid(message: str) -> errors.InvalidArgumentError:
    return errors.InvalidArgumentError(None, None, message)


class Accumulator(Resource):
    """What dense and sparse accumulators have in common. Thread-safe; a take that has to wait is a future."""

    type_name = "N10tensorflow26ConditionalAccumulatorBaseE"

    def __init__(self, name: str, dtype: DType, shape: TensorShape, reduction: str = "MEAN"):
        self.name = name
        self.dtype = dtype
        self.shape = shape
        self.reduction = reduction
        self._lock = threading.Lock()
        self._line = Line(self._lock, "TakeGrad operation was cancelled")
        self._count = 0
        self._step = 0
        self._dropped = 0

    # -- what a subclass decides, called with the lock held ------------------------------------------

    def _check(self, gradient: Any) -> None:
        """InvalidArgumentError if the gradient does not fit."""
        raise NotImplementedError

    def _add(self, gradient: Any) -> None:
        raise NotImplementedError

    def _total(self, divisor: int) -> Any:
        """The sum, divided; the accumulator is empty afterwards."""
        raise NotImplementedError

    # -- operations ------------------------------------------------------------------------------------

    def apply(self, gradient: Any, local_step: int) -> bool:
        """Adds a gradient; returns False when it was dropped because `local_step` is over."""
        with self._lock:
            if local_step < self._step:
                self._dropped += 1
                return False
            self._check(gradient)
            self._add(gradient)
            self._count += 1
            done = self._line.flush()
        _deliver(done)
        return True

    def take(
        self, num_required: int, cancellation: CancellationManager | None = None
    ) -> Future[Any]:
        """The average (or sum) of what was added, as soon as `num_required` gradients have come."""
        if num_required <= 0:
            raise _invalid(f"Argument num_required must be positive, but was {num_required}")
        return self._line.start(self._taker(num_required), cancellation, self._line.flush)

    def _taker(self, num_required: int) -> Callable[[], Any]:
        def attempt() -> Any:
            if self._count < num_required:
                return NOT_YET
            result = self._total(self._count if self.reduction == "MEAN" else 1)
            self._count = 0
            self._step += 1
            return result

        return attempt

    def set_global_step(self, step: int) -> None:
        """Gradients of earlier steps than `step` are dropped from now on."""
        with self._lock:
            if step < self._step:
                _log.warning(
                    "Attempt to set current_global_step_ to smaller value: current_global_step_ = %d >= %d = "
                    "new_global_step.",
                    self._step,
                    step,
                )
            self._step = step

    @property
    def num_accumulated(self) -> int:
        """How many gradients have come since the last take."""
        with self._lock:
            return self._count

    @property
    def num_dropped(self) -> int:
        """How many gradients came too late, ever."""
        with self._lock:
            return self._dropped

    @property
    def global_step(self) -> int:
        """The step whose gradients are wanted."""
        with self._lock:
            return self._step

    @property
    def waiting(self) -> int:
        """How many takes wait for gradients."""
        with self._lock:
            return len(self._line)

    def release(self) -> None:
        with self._lock:
            gone = self._line.fail_all(
                errors.CancelledError(None, None, "TakeGrad operation was cancelled")
            )
        _deliver(gone)


def _deliver(requests: list[Request]) -> None:
    for request in requests:
        request.deliver()


class ConditionalAccumulator(Accumulator):
    """An accumulator of dense gradients."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._sum: Any = None

    def _check(self, gradient: Any) -> None:
        if not self.shape.is_compatible_with(TensorShape(gradient.shape)):
            raise _invalid(
                f"Shape mismatch: expected {shape_string(self.shape)}, got {shape_string(gradient.shape)}"
            )
        if self._count and self._sum.shape != gradient.shape:
            raise _invalid(
                f"Shape mismatch: expected {shape_string(self._sum.shape)}, got {shape_string(gradient.shape)}"
            )

    def _add(self, gradient: Any) -> None:
        if self._count:
            np.add(self._sum, gradient, out=self._sum)
        else:
            self._sum = np.array(gradient)  # ours to change

    def _total(self, divisor: int) -> Any:
        total, self._sum = self._sum, None
        if divisor != 1:
            total = (total / total.dtype.type(divisor)).astype(total.dtype)
        return total


class SparseConditionalAccumulator(Accumulator):
    """An accumulator of gradients in rows: each row is averaged over the gradients that have it."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._indices = np.zeros(0, np.int64)
        self._values = np.zeros(0, self.dtype.as_numpy_dtype)
        self._counts = np.zeros(0, np.int64)
        self._seen: tuple[int | None, ...] | None = None

    def _check(self, gradient: Any) -> None:
        indices, values, shape = gradient
        if indices.ndim != 1:
            raise _invalid(
                f"Input indices should be vector but received shape: {shape_string(indices.shape)}"
            )
        if values.ndim == 0 or len(values) != len(indices):
            given = values.shape[0] if values.ndim else 0
            raise _invalid(f"Expected {len(indices)} non-empty input values, got {given}")
        if len(shape) and (len(shape) != values.ndim or tuple(shape[1:]) != values.shape[1:]):
            raise _invalid(
                f"Shape mismatch: expected values of {shape_string(shape[1:])}, got "
                f"{shape_string(values.shape[1:])}"
            )
        expected = self._seen if self._count else self.shape.key or None  # TF: rank 0 fits all
        if expected is not None:
            self._check_against(expected, values, shape)
        self._check_rows(expected, indices, shape)

    def _check_against(
        self, expected: tuple[int | None, ...], values: Any, shape: tuple[int, ...]
    ) -> None:
        if values.ndim != len(expected):
            raise _invalid(
                f"Shape mismatch: expected values rank {len(expected)}, got {values.ndim}"
            )
        for axis, want in enumerate(expected):
            if want is None:
                continue
            if len(shape) and shape[axis] != want:
                raise _invalid(
                    f"Shape mismatch: expected shape dim {axis} to be {want}, got {shape[axis]}"
                )
            if axis and values.shape[axis] != want:
                raise _invalid(
                    f"Shape mismatch: expected values dim {axis} to be {want}, got {values.shape[axis]}"
                )

    def _check_rows(
        self, expected: tuple[int | None, ...] | None, indices: Any, shape: tuple[int, ...]
    ) -> None:
        limit = shape[0] if len(shape) else expected[0] if expected else None
        for i in np.flatnonzero(indices >= limit) if limit is not None else ():
            raise _invalid(
                f"Shape mismatch: index of slice {i} exceeded limits of shape; index is {indices[i]} exceeded {limit}"
            )

    def _add(self, gradient: Any) -> None:
        indices, values, _ = gradient
        ones = np.ones(len(indices), np.int64)
        if not self._count:
            self._indices, self._values, self._counts = indices.copy(), np.array(values), ones
            self._seen = ((self.shape.key or (None,))[0], *values.shape[1:])
            return
        merged, mine, theirs = _merged(self._indices, indices)
        out = np.zeros((len(merged), *values.shape[1:]), values.dtype)
        counts = np.zeros(len(merged), np.int64)
        out[mine], counts[mine] = self._values, self._counts
        out[theirs] += values
        counts[theirs] += ones
        self._indices, self._values, self._counts = merged, out, counts

    def _total(self, divisor: int) -> Any:
        values = self._values
        if self.reduction == "MEAN":
            times = self._counts.reshape(-1, *[1] * (values.ndim - 1))
            values = (values / times.astype(values.dtype)).astype(values.dtype)
        seen = self._seen or ()
        shape = np.array([-1 if d is None else d for d in seen], np.int64)
        result = (self._indices, values, shape)
        self._indices, self._counts = self._indices[:0], self._counts[:0]
        self._values, self._seen = self._values[:0], None
        return result


def _merged(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two lists of row numbers as one, and the places in it of the first and of the second.

    The lists are merged as sorted ones: a number that one of them has twice stays twice.
    """
    if _increasing(a) and _increasing(b):
        merged = np.union1d(a, b)
        return merged, np.searchsorted(merged, a), np.searchsorted(merged, b)
    rows: list[int] = []
    places: tuple[list[int], list[int]] = ([], [])
    i = j = 0
    while i < len(a) or j < len(b):
        left = j >= len(b) or (i < len(a) and a[i] <= b[j])
        right = i >= len(a) or (j < len(b) and b[j] <= a[i])
        if left:
            places[0].append(len(rows))
        if right:
            places[1].append(len(rows))
        rows.append(int(a[i] if left else b[j]))
        i, j = i + left, j + right
    return np.array(rows, np.int64), np.array(places[0], int), np.array(places[1], int)


def _increasing(numbers: np.ndarray) -> bool:
    return bool(np.all(numbers[1:] > numbers[:-1]))
