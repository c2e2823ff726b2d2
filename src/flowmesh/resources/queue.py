"""`Queue`: a queue of tensor tuples and its waiting rules. The storage orders are in `resources/queues.py`.

An operation that cannot proceed holds no thread. It is an *attempt* that waits in line; whoever makes the queue
ready (an enqueue, a dequeue, a close, a cancellation) also advances the attempts that are now able to move, in
order of arrival, and completes their futures after releasing the lock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np

from flowmesh.core import dtypes, errors, limits
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.dtypes import DType
from flowmesh.core.shapes import TensorShape
from flowmesh.resources.manager import Resource
from flowmesh.resources.messages import dtype_string, shape_string
from flowmesh.resources.queue_rows import (
    Block,
    Element,
    Piece,
    batched,
    count_of,
    elements_of,
    rows_of,
    size_of,
    split,
)
from flowmesh.resources.waiting import Pending

Progress: TypeAlias = Literal["none", "some", "done"]

_UNBOUNDED = 2**31 - 1
FAILED_BEFORE = "Its input had failed: "
"""How the message of a queue that was closed after a failure goes on; the reason follows."""
SESSION_FAILURE = "queue failure"
"""Where a session keeps the last such reason, and when that was (`time.monotonic`)."""
_FORGIVEN_AFTER = 1000  # enqueues that went well, after which an earlier failure explains nothing


@dataclass(eq=False)
class _Attempt(Pending):
    """One enqueue, dequeue or close that may have to wait."""

    advance: Callable[[_Attempt], Progress]
    wanted: int = 0
    up_to: bool = False
    single: bool = False
    elements: list[Piece] = field(default_factory=list)
    taken: int = 0
    finished: bool = False
    settled: bool = False
    """Of `take_rows`: it is known which elements were of use."""


class Queue(Resource):
    """Base of all queues. Every operation returns a future, completed at once when nothing has to be awaited.

    Elements are tuples of one array per component. `shapes` is None when elements may differ in shape; then
    nothing can be dequeued in batches. Futures end with TensorFlow's errors: `InvalidArgumentError` for
    components that do not fit, `OutOfRangeError` when a closed queue has too few elements, `CancelledError` for an
    enqueue on a closed queue and for operations that are cancelled.
    """

    type_name = "N10tensorflow14QueueInterfaceE"
    label: ClassVar[str] = "Queue"
    """What messages call the class."""
    single_label: ClassVar[str] = "Queue"
    """The same in messages about single elements."""

    in_order: ClassVar[bool] = False
    """Whether elements that were taken can go back as if they had not been."""

    def __init__(
        self,
        name: str,
        component_types: Sequence[DType],
        shapes: Sequence[TensorShape] | None = None,
        capacity: int = -1,
    ):
        self.name = name
        self.component_types = tuple(component_types)
        self.shapes = tuple(shapes) if shapes else None
        self.capacity = _UNBOUNDED if capacity < 0 else capacity
        self._lock = threading.Lock()
        self._closed = False
        self._held = 0  # bytes, those of waiting enqueues too
        self._failure = ""  # why an enqueue failed lately
        self._enqueued_since = 0
        self._enqueues: deque[_Attempt] = deque()
        self._dequeues: deque[_Attempt] = deque()
        if self.shapes is not None and len(self.shapes) != len(self.component_types):
            raise errors.InvalidArgumentError(
                None,
                None,
                "Different number of component types and shapes: "
                f"{len(self.component_types)} types, {len(self.shapes)} shapes.",
            )

    # -- storage: what a subclass decides -----------------------------------------------------------

    def _count(self) -> int:
        raise NotImplementedError

    def _push(self, element: Element) -> None:
        raise NotImplementedError

    def _pop(self) -> Element:
        raise NotImplementedError

    def _restore(self, elements: list[Element]) -> None:
        """Puts popped elements back, in the order they were popped in."""
        raise NotImplementedError

    def _put(self, pieces: Iterable[Piece]) -> None:
        """Adds elements, in order."""
        for element in elements_of(pieces):
            self._push(element)

    def _take(self, count: int) -> list[Piece]:
        """Takes as many elements out; there are as many."""
        return [self._pop() for _ in range(count)]

    def _take_back(self, pieces: list[Piece]) -> None:
        """Puts elements back that `_take` gave, in that order."""
        self._restore(list(elements_of(pieces)))

    def _reserve(self) -> int:
        """How many elements must stay while the queue is open."""
        return 0

    def _batch(self, pieces: list[Piece]) -> tuple[Any, ...]:
        """The components of several elements, each stacked along a new first axis."""
        shapes = self.shapes or ()
        if not pieces:
            return tuple(
                np.empty((0, *(d or 0 for d in shape.as_list())), dtype.as_numpy_dtype)
                for shape, dtype in zip(shapes, self.component_types)
            )
        return batched(pieces, shapes, self.component_types)

    # -- operations ---------------------------------------------------------------------------------

    def enqueue(
        self, values: Sequence[Any], cancellation: CancellationManager | None = None
    ) -> Future[None]:
        """Adds one element, once there is room."""
        element = self._checked(values, None)
        return self._start_enqueue([element], cancellation)

    def enqueue_many(
        self, values: Sequence[Any], cancellation: CancellationManager | None = None
    ) -> Future[None]:
        """Adds the rows of `values` as elements, in order, as room appears."""
        shape = np.shape(values[0]) if values else ()
        rows = shape[0] if shape else 0
        columns = self._checked(values, rows)
        return self._start_enqueue([Block(columns, 0, rows)] if rows else [], cancellation)

    def dequeue(self, cancellation: CancellationManager | None = None) -> Future[Element]:
        """Takes one element: the future's result is a tuple with one array per component."""
        return self._start(
            self._dequeues, _Attempt(self._advance_dequeue, wanted=1, single=True), cancellation
        )

    def dequeue_many(
        self, n: int, cancellation: CancellationManager | None = None
    ) -> Future[Element]:
        """Takes `n` elements, batched; if the queue is closed with fewer left, takes none and fails."""
        return self._dequeue_batch(n, False, cancellation)

    def dequeue_up_to(
        self, n: int, cancellation: CancellationManager | None = None
    ) -> Future[Element]:
        """Takes `n` elements, batched, or what is left (at least one) of a closed queue."""
        return self._dequeue_batch(n, True, cancellation)

    def size(self) -> int:
        """How many elements there are."""
        with self._lock:
            return self._count()

    def is_closed(self) -> bool:
        """Whether `close` has taken effect."""
        with self._lock:
            return self._closed

    def close(
        self, cancel_pending: bool = False, cancellation: CancellationManager | None = None
    ) -> Future[None]:
        """Lets no more in. Waits for the enqueues that wait already, unless `cancel_pending` fails them."""
        if not cancel_pending:
            return self._start(self._enqueues, _Attempt(self._advance_close), cancellation)
        with self._lock:
            self._closed = True
            gone = self._fail_all(self._enqueues, "Enqueue")
            gone += self._flush()
        for attempt in gone:
            attempt.deliver()
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def note_failure(self, reason: str) -> None:
        """Remembers why a step failed that was to add elements: told to who finds the queue closed and empty."""
        with self._lock:
            if not self._closed:
                self._failure, self._enqueued_since = reason, 0

    @property
    def failure(self) -> str:
        """The reason that is remembered, or ""."""
        return self._failure

    # -- many at once, without waiting ----------------------------------------------------------------

    def room(self) -> int:
        """How many elements could be enqueued now; 0 when the queue is closed, or others wait to enqueue."""
        with self._lock:
            return self._room()

    def _room(self) -> int:
        if self._closed or self._enqueues:
            return 0
        return max(0, self.capacity - self._count())

    def put_rows(self, columns: Sequence[Any], count: int) -> int:
        """Does what `count` enqueues would, as far as they need not wait; returns how many elements are in.

        Each component is an array with a row for each element, or a list of arrays. Raises as `enqueue`, with nothing done.
        """
        pieces: list[Piece]
        if all(isinstance(column, np.ndarray) for column in columns):
            pieces = [Block(self._checked(columns, count), 0, count)]
        else:
            rows = [rows_of(c) if isinstance(c, np.ndarray) else c for c in columns]
            pieces = [self._checked(element, None) for element in zip(*rows)]
        with self._lock:
            count = min(count, self._room())
            if count:
                pieces, _ = split(pieces, count)
                self._hold(size_of(pieces))
                self._put(pieces)
                self._went_well(count)
            done = self._flush()
        for attempt in done:
            attempt.deliver()
        return count

    def take_rows(self, limit: int) -> _Attempt | None:
        """Takes up to `limit` elements as that many dequeues would, none of which has to wait; None where that cannot be.

        They are the attempt's `elements`. All other dequeues wait until `settle` is called.
        """
        if not self.in_order:
            return None
        attempt = _Attempt(lambda _: "done" if attempt.settled else "none")
        with self._lock:
            limit = min(limit, self._count())
            if self._dequeues or not limit:
                return None
            attempt.elements, attempt.taken = self._take(limit), limit
            self._held -= size_of(attempt.elements)
            self._dequeues.append(attempt)
            done = self._flush()
        for other in done:
            other.deliver()
        return attempt

    def settle(self, attempt: _Attempt, used: int) -> None:
        """The first `used` elements of `take_rows` were of use, the others go back where they were."""
        with self._lock:
            if attempt.finished:  # the queue is gone
                return
            _, attempt.elements = split(attempt.elements, used)
            self._undo(attempt)
            attempt.settled = True
            done = self._flush()
        for other in done:
            other.deliver()

    def release(self) -> None:
        """Closes the queue and fails everything that waits on it."""
        with self._lock:
            self._closed = True
            gone = self._fail_all(self._enqueues, "Enqueue")
            gone += self._fail_all(self._dequeues, "Dequeue")
        for attempt in gone:
            attempt.deliver()

    # -- arguments ------------------------------------------------------------------------------------

    def _checked(self, values: Sequence[Any], rows: int | None) -> Element:
        """The components as arrays; `rows` is the batch size of an enqueue of many."""
        if len(values) != len(self.component_types):
            raise errors.InvalidArgumentError(
                None,
                None,
                "Wrong number of components in tuple. "
                f"Expected {len(self.component_types)}, got {len(values)}",
            )
        arrays = tuple(_kept(v) for v in values)
        for i, (array, dtype) in enumerate(zip(arrays, self.component_types)):
            if array.dtype != dtype.as_numpy_dtype:
                raise errors.InvalidArgumentError(
                    None,
                    None,
                    f"Type mismatch in tuple component {i}. Expected {dtype_string(dtype)}, "
                    f"got {dtype_string(dtypes.as_dtype(array.dtype))}",
                )
            self._check_shape(i, array.shape, rows)
        return arrays

    def _check_shape(self, index: int, shape: tuple[int, ...], rows: int | None) -> None:
        if self.shapes is not None:
            expected = self.shapes[index]
            if rows is not None:
                expected = TensorShape((rows,)).concatenate(expected)
        elif rows is None:
            return
        else:
            expected = TensorShape((rows, *shape[1:]))
        if not expected.is_compatible_with(TensorShape(shape)):
            raise errors.InvalidArgumentError(
                None,
                None,
                f"Shape mismatch in tuple component {index}. "
                f"Expected {shape_string(expected)}, got {shape_string(shape)}",
            )

    def _dequeue_batch(
        self, n: int, up_to: bool, cancellation: CancellationManager | None
    ) -> Future[Element]:
        if self.shapes is None:
            raise errors.InvalidArgumentError(
                None,
                None,
                f"{self.label}'s DequeueMany and DequeueUpTo require the components to have specified shapes.",
            )
        if n < 0:
            raise errors.InvalidArgumentError(
                None, None, f"DequeueManyOp requested {n} < 0 elements"
            )
        if n == 0:
            empty: Future[Element] = Future()
            empty.set_result(self._batch([]))
            return empty
        return self._start(
            self._dequeues, _Attempt(self._advance_dequeue, wanted=n, up_to=up_to), cancellation
        )

    # -- waiting in line ----------------------------------------------------------------------------

    def _start_enqueue(
        self, elements: list[Piece], cancellation: CancellationManager | None
    ) -> Future[None]:
        """Puts an enqueue in line; ResourceExhaustedError when the queue would hold more than the limit."""
        if cancellation is None or not cancellation.cancelled:
            with self._lock:
                self._hold(size_of(elements))
        return self._start(
            self._enqueues, _Attempt(self._advance_enqueue, elements=elements), cancellation
        )

    def _hold(self, size: int) -> None:
        """Counts bytes that come in; ResourceExhaustedError when they are too many."""
        held = self._held + size
        if held > limits.current().queue:
            raise limits.exceeded(f"{self.label} '{self.name}' is full", held, "queue")
        self._held = held

    def _start(
        self,
        line: deque[_Attempt],
        attempt: _Attempt,
        cancellation: CancellationManager | None,
    ) -> Future[Any]:
        kind = "Enqueue" if line is self._enqueues else "Dequeue"
        if cancellation is not None and cancellation.cancelled:
            attempt.future.set_exception(_cancelled(kind))
            return attempt.future
        with self._lock:
            line.append(attempt)
            done = self._flush()
        for other in done:
            other.deliver()
        if cancellation is not None and not attempt.finished:
            attempt.cancellation = cancellation
            attempt.token = cancellation.register(lambda _: self._cancel(line, attempt, kind))
            if attempt.finished:  # by another thread, which may not have seen the token
                cancellation.deregister(attempt.token)
        return attempt.future

    def _cancel(self, line: deque[_Attempt], attempt: _Attempt, kind: str) -> None:
        with self._lock:
            if attempt.finished:
                return
            line.remove(attempt)
            self._abandon(attempt, kind)
            done = [attempt, *self._flush()]
        for other in done:
            other.deliver()

    def _abandon(self, attempt: _Attempt, kind: str) -> None:
        """Fails an attempt that waits; the elements that a dequeue holds go back where they were."""
        if kind == "Dequeue":
            self._undo(attempt)
        else:
            self._held -= size_of(attempt.elements)
        attempt.finished, attempt.error = True, _cancelled(kind)

    def _undo(self, attempt: _Attempt) -> None:
        """Puts back what a dequeue has taken."""
        if attempt.elements:
            self._held += size_of(attempt.elements)
            self._take_back(attempt.elements)
            attempt.elements, attempt.taken = [], 0

    def _fail_all(self, line: deque[_Attempt], kind: str) -> list[_Attempt]:
        gone = list(line)
        line.clear()
        for attempt in gone:
            self._abandon(attempt, kind)
        return gone

    def _flush(self) -> list[_Attempt]:
        """Advances both lines as far as they go; returns the attempts to deliver after the lock is released."""
        done: list[_Attempt] = []
        moved = True
        while moved:
            moved = False
            for line in (self._enqueues, self._dequeues):
                while line:
                    attempt = line[0]
                    progress = attempt.advance(attempt)
                    moved = moved or progress != "none"
                    if progress != "done":
                        break
                    line.popleft()
                    attempt.finished = True
                    done.append(attempt)
        return done

    def _advance_enqueue(self, attempt: _Attempt) -> Progress:
        if self._closed:
            self._held -= size_of(attempt.elements)
            attempt.error = errors.CancelledError(
                None, None, f"{self.label} '{self.name}' is closed."
            )
            return "done"
        elements = attempt.elements
        room = self.capacity - self._count()
        if room >= len(elements) and room >= count_of(elements):
            self._put(elements)
            self._went_well(1)
            return "done"
        if room <= 0:
            return "none"
        fitting, attempt.elements = split(elements, room)
        self._put(fitting)
        return "some"

    def _went_well(self, runs: int) -> None:
        self._enqueued_since += runs
        if self._failure and self._enqueued_since > _FORGIVEN_AFTER:
            self._failure = ""

    def _advance_close(self, attempt: _Attempt) -> Progress:
        if self._closed:
            attempt.error = errors.CancelledError(
                None, None, f"Queue '{self.name}' is already closed."
            )
        self._closed = True
        return "done"

    def _advance_dequeue(self, attempt: _Attempt) -> Progress:
        size = self._count()
        missing = attempt.wanted - attempt.taken
        if self._closed and size < missing:
            self._undo(attempt)
            if not attempt.up_to or self._count() == 0:
                attempt.error = errors.OutOfRangeError(
                    None,
                    None,
                    f"{self.single_label if attempt.single else self.label} '{self.name}' "
                    "is closed and has insufficient elements "
                    f"(requested {missing}, current size {size})"
                    + (f". {FAILED_BEFORE}{self._failure}" if self._failure else ""),
                )
                return "done"
            size = missing = attempt.wanted = self._count()
        available = size if self._closed else size - self._reserve()
        take = min(missing, available)
        if take > 0:
            taken = self._take(take)
            self._held -= size_of(taken)
            attempt.elements += taken
            attempt.taken += take
        if take < missing:
            return "some" if take > 0 else "none"
        try:
            attempt.result = (
                next(elements_of(attempt.elements))
                if attempt.single
                else self._batch(attempt.elements)
            )
        except Exception as error:
            attempt.error = error
        return "done"


def _kept(value: Any) -> np.ndarray:
    """An array that nobody else can change: the value itself where that is certain, else a copy."""
    if not isinstance(value, np.ndarray):
        return np.array(value)
    base: Any = value
    while base is not None:
        if not isinstance(base, np.ndarray) or base.flags.writeable:
            value = value.copy()
            value.flags.writeable = False
            return value
        base = base.base
    return value


def _cancelled(kind: str) -> errors.CancelledError:
    return errors.CancelledError(None, None, f"{kind} operation was cancelled")
