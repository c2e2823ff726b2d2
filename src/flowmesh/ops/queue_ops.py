"""Queue ops: the sources (`FIFOQueueV2` and its relatives) and what is done with a queue, by resource or by ref."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from flowmesh.core import dtypes, errors
from flowmesh.core.dtypes import DType
from flowmesh.core.shapes import TensorShape, scalar, unknown_shape, vector
from flowmesh.graph.op_def import Attr, Input, OpDef, Output
from flowmesh.ops import philox
from flowmesh.resources.manager import Resource
from flowmesh.resources.messages import dtype_string, shape_string
from flowmesh.resources.queue_rows import elements_of
from flowmesh.resources.queues import (
    SESSION_FAILURE,
    FIFOQueue,
    PaddingFIFOQueue,
    PriorityQueue,
    Queue,
    RandomShuffleQueue,
)

_private_numbers = itertools.count()
_STOPS_WITHIN_SECS = 30.0  # between a failure and the stop of the pipeline that it causes
_WORDS_AT_ONCE = 64  # blocks of four random words


def _invalid(message: str) -> errors.InvalidArgumentError:
    return errors.InvalidArgumentError(None, None, message)


def random_words(seed: int, seed2: int) -> Iterator[int]:
    """The 32-bit words that TensorFlow's generator gives for two seeds; from entropy when both are 0."""
    state = philox.initial_state(seed, seed2)
    while True:
        yield from philox.blocks(np, state, _WORDS_AT_ONCE).reshape(-1).tolist()
        state = philox.skip(np, state, _WORDS_AT_ONCE)


def mapped(future: Future[Any], function: Callable[[Any], Any]) -> Any:
    """The future of `function` of the result; the plain value if that is there already."""
    if future.done():
        return function(future.result())
    result: Future[Any] = Future()

    def finish(done: Future[Any]) -> None:
        try:
            value = function(done.result())
        except BaseException as error:
            result.set_exception(error)
        else:
            result.set_result(value)

    future.add_done_callback(finish)
    return result


def private_name(node: str) -> str:
    """The name of a resource that belongs to one node of one session."""
    return f"_{next(_private_numbers)}_{node}"


def _types_text(types: Sequence[DType]) -> str:
    return ", ".join(map(dtype_string, types))


# -- sources -------------------------------------------------------------------------------------------


class _Source(OpDef, abstract=True):
    """An op that makes a queue, or finds the one of its shared name."""

    stateful = True
    finds_resource = True
    NotDifferentiable = True

    def infer(self, ctx: Any) -> TensorShape:
        return vector(2) if self.output_args[0].ref else scalar()

    def run(self, ctx: Any) -> Queue:  # type: ignore[override]
        shared = self.attrs["shared_name"].decode()
        if not shared:
            queue: Queue | None = ctx.state.get("queue")
            if queue is None:
                queue = ctx.state.setdefault("queue", self._make(private_name(ctx.name)))
            return queue
        container = self.attrs["container"].decode() or ctx.container
        queue = ctx.resources.lookup_or_create(container, shared, Queue, lambda: self._make(shared))
        self._check_same(queue)
        return queue

    def _types(self) -> tuple[DType, ...]:
        types: tuple[DType, ...] = tuple(self.attrs["component_types"])
        return types

    def _shapes(self) -> tuple[TensorShape, ...]:
        shapes = tuple(self.attrs["shapes"])
        if shapes and len(shapes) != len(self._types()):
            listed = ", ".join(map(shape_string, shapes))
            raise _invalid(
                "Different number of component types.  "
                f"Types: {_types_text(self._types())}, Shapes: [{listed}]"
            )
        return shapes

    def _make(self, name: str) -> Queue:
        raise NotImplementedError

    def _check_same(self, queue: Queue) -> None:
        """InvalidArgumentError if a shared queue is not the one that this node describes."""
        mine = self._make(queue.name)
        if type(queue) is not type(mine):
            raise _invalid(f"Expected {type(queue).__name__}, found {self.op_type}")
        start = f"Shared queue '{queue.name}' has "
        if queue.capacity != mine.capacity:
            raise _invalid(
                f"{start}capacity {queue.capacity} but requested capacity was {mine.capacity}"
            )
        if queue.component_types != mine.component_types:
            raise _invalid(
                f"{start}component types {_types_text(queue.component_types)} but requested "
                f"component types were {_types_text(mine.component_types)}"
            )
        keys = [[s.key for s in q.shapes or ()] for q in (queue, mine)]
        if keys[0] != keys[1]:
            texts = [", ".join(map(shape_string, q.shapes or ())) for q in (queue, mine)]
            raise _invalid(
                f"{start}component shapes [{texts[0]}] but requested component shapes were "
                f"[{texts[1]}]"
            )
        self._check_same_order(queue, start)

    def _check_same_order(self, queue: Queue, start: str) -> None:
        """Compares what only some kinds of queue have."""


class _FIFO(_Source, abstract=True):
    component_types = Attr("list(type)", minimum=1)
    shapes = Attr("list(shape)", ())
    capacity = Attr("int", -1)
    container = Attr("string", "")
    shared_name = Attr("string", "")

    def _make(self, name: str) -> Queue:
        return FIFOQueue(name, self._types(), self._shapes(), self.attrs["capacity"])


class FIFOQueueV2(_FIFO):
    """A first-in first-out queue."""

    handle = Output(dtypes.resource)


class FIFOQueueV1(_FIFO):
    """A first-in first-out queue behind a ref."""

    op_type = "FIFOQueue"
    handle = Output(dtypes.string, ref=True)


class _Padding(_FIFO, abstract=True):
    def _make(self, name: str) -> Queue:
        return PaddingFIFOQueue(name, self._types(), self._shapes(), self.attrs["capacity"])


class PaddingFIFOQueueV2(_Padding):
    """A first-in first-out queue that pads the elements of a batch to one shape."""

    handle = Output(dtypes.resource)


class PaddingFIFOQueueV1(_Padding):
    """A padding queue behind a ref."""

    op_type = "PaddingFIFOQueue"
    handle = Output(dtypes.string, ref=True)


class _RandomShuffle(_Source, abstract=True):
    component_types = Attr("list(type)", minimum=1)
    shapes = Attr("list(shape)", ())
    capacity = Attr("int", -1)
    min_after_dequeue = Attr("int", 0)
    seed = Attr("int", 0)
    seed2 = Attr("int", 0)
    container = Attr("string", "")
    shared_name = Attr("string", "")

    def _make(self, name: str) -> Queue:
        capacity, minimum = self.attrs["capacity"], self.attrs["min_after_dequeue"]
        if minimum < 0:
            raise _invalid(f"min_after_dequeue {minimum} must be >= 0")
        if 0 <= capacity <= minimum:
            raise _invalid(f"min_after_dequeue {minimum} must be < capacity {capacity}")
        seeds = (self.attrs["seed"], self.attrs["seed2"])
        return RandomShuffleQueue(
            name,
            self._types(),
            self._shapes(),
            capacity,
            min_after_dequeue=minimum,
            seeds=seeds,
            words=random_words(*seeds),
        )

    def _check_same_order(self, queue: Queue, start: str) -> None:
        assert isinstance(queue, RandomShuffleQueue)
        if queue.min_after_dequeue != self.attrs["min_after_dequeue"]:
            raise _invalid(
                f"{start}min_after_dequeue {queue.min_after_dequeue} but requested "
                f"min_after_dequeue was {self.attrs['min_after_dequeue']}."
            )
        seeds = (self.attrs["seed"], self.attrs["seed2"])
        if queue.seeds != seeds:
            raise _invalid(f"{start}random seeds {queue.seeds} but requested seeds are {seeds}.")


class RandomShuffleQueueV2(_RandomShuffle):
    """A queue that gives out its elements in random order."""

    handle = Output(dtypes.resource)


class RandomShuffleQueueV1(_RandomShuffle):
    """A shuffling queue behind a ref."""

    op_type = "RandomShuffleQueue"
    handle = Output(dtypes.string, ref=True)


class _Priority(_Source, abstract=True):
    component_types = Attr("list(type)", ())
    shapes = Attr("list(shape)")
    capacity = Attr("int", -1)
    container = Attr("string", "")
    shared_name = Attr("string", "")

    def _make(self, name: str) -> Queue:
        return PriorityQueue(name, self._types(), self._shapes(), self.attrs["capacity"])


class PriorityQueueV2(_Priority):
    """A queue that gives out the element with the smallest first component first."""

    handle = Output(dtypes.resource)


class PriorityQueueV1(_Priority):
    """A priority queue behind a ref."""

    op_type = "PriorityQueue"
    handle = Output(dtypes.string, ref=True)


# -- operations ----------------------------------------------------------------------------------------


def checked_handle(handle: Any, kind: type[Resource]) -> Any:
    """The resource behind a handle; InvalidArgumentError if it is of another kind."""
    if not isinstance(handle, kind):
        got = getattr(type(handle), "type_name", type(handle).__name__)
        raise _invalid(
            f"Trying to access resource using the wrong type. Expected {kind.type_name} got {got}"
        )
    return handle


class _QueueOp(OpDef, abstract=True):
    """An operation on the queue that `handle` is."""

    NotDifferentiable = True

    def _queue(self, handle: Any) -> Queue:
        queue: Queue = checked_handle(handle, Queue)
        return queue

    def _match(
        self, queue: Queue, given: Sequence[DType], taken: Sequence[DType], more: str = ""
    ) -> None:
        """InvalidArgumentError if the components of this node are not those of the queue."""
        if self.attrs["timeout_ms"] != -1:
            raise _invalid("Timeout not supported yet.")
        want = queue.component_types
        if tuple(given or taken) == want:
            return
        first = ("string_ref" if self.input_args[0].ref else "resource") + more
        if given:
            texts = [f"{first}, {_types_text(types)}->" for types in (given, want)]
        else:
            texts = [f"{first}->{_types_text(types)}" for types in (taken, want)]
        raise _invalid(f"Signature mismatch, have: {texts[0]} expected: {texts[1]}")


class _Enqueue(_QueueOp, abstract=True):
    Tcomponents = Attr("list(type)", minimum=1)
    timeout_ms = Attr("int", -1)
    many = False
    fills_queue = True  # the runtime tells the queue when a step that was to fill it fails

    def infer(self, ctx: Any, handle: TensorShape, components: Sequence[TensorShape]) -> tuple[()]:
        return ()

    def run(self, ctx: Any, handle: Any, components: Sequence[Any]) -> Any:  # type: ignore[override]
        queue = self._queue(handle)
        self._match(queue, self.attrs["Tcomponents"], ())
        start = queue.enqueue_many if self.many else queue.enqueue
        return mapped(start(components, ctx.cancellation), lambda _: None)

    @staticmethod
    def put_rows(handle: Any, columns: Sequence[Any], count: int) -> int:
        """Does what `count` runs would, as far as they need not wait (see `Queue.put_rows`)."""
        queue: Queue = checked_handle(handle, Queue)
        return queue.put_rows(columns, count)


class _Dequeue(_QueueOp, abstract=True):
    component_types = Attr("list(type)", minimum=1)
    timeout_ms = Attr("int", -1)

    def infer(self, ctx: Any, *shapes: TensorShape) -> list[TensorShape]:
        return [unknown_shape()] * len(self.attrs["component_types"])


class _TakenElements:
    """Elements that were taken on approval (see `Queue.take_rows`)."""

    def __init__(self, queue: Queue, attempt: Any) -> None:
        self._queue, self._attempt = queue, attempt
        self.count: int = attempt.taken

    def columns(self, wanted: Sequence[bool]) -> list[Any]:
        """The outputs of the op, a list with one array for each run; None for those that nobody wants."""
        columns = zip(*elements_of(self._attempt.elements))
        return [list(column) if wants else None for column, wants in zip(columns, wanted)]

    def settle(self, used: int) -> None:
        """The first `used` were of use, the others were never taken."""
        self._queue.settle(self._attempt, used)


class _DequeueOne(_Dequeue, abstract=True):
    @staticmethod
    def take_rows(limit: int, handle: Any) -> _TakenElements | None:
        """What up to `limit` runs would give that need not wait; None when there is nothing of that kind."""
        queue: Queue = checked_handle(handle, Queue)
        attempt = queue.take_rows(limit)
        return None if attempt is None else _TakenElements(queue, attempt)

    def run(self, ctx: Any, handle: Any) -> Any:  # type: ignore[override]
        queue = self._queue(handle)
        self._match(queue, (), self.attrs["component_types"])
        return mapped(queue.dequeue(ctx.cancellation), lambda element: (list(element),))


class _DequeueBatch(_Dequeue, abstract=True):
    up_to = False

    def infer(self, ctx: Any, *shapes: TensorShape) -> list[TensorShape]:
        n = ctx.value(1)
        if n is not None and np.size(n) == 1 and int(np.reshape(n, ())) < 0:
            raise ValueError(f"Input 'n' must be >= 0, but is {int(np.reshape(n, ()))}")
        return super().infer(ctx, *shapes)

    def run(self, ctx: Any, handle: Any, n: Any) -> Any:  # type: ignore[override]
        queue = self._queue(handle)
        self._match(queue, (), self.attrs["component_types"], ", int32")
        start = queue.dequeue_up_to if self.up_to else queue.dequeue_many
        count = int(np.asarray(n).reshape(-1)[0])
        return mapped(start(count, ctx.cancellation), lambda batch: (list(batch),))


class _Close(_QueueOp, abstract=True):
    cancel_pending_enqueues = Attr("bool", False)

    def infer(self, ctx: Any, handle: TensorShape) -> tuple[()]:
        return ()

    def run(self, ctx: Any, handle: Any) -> Any:  # type: ignore[override]
        queue = self._queue(handle)
        cancel = self.attrs["cancel_pending_enqueues"]
        if cancel and not queue.failure:
            self._tell_failure(ctx, queue)
        closed = queue.close(cancel, ctx.cancellation)
        return mapped(closed, lambda _: None)

    @staticmethod
    def _tell_failure(ctx: Any, queue: Queue) -> None:
        """A pipeline that is stopped as a whole after a failure: all its queues know the reason."""
        shared = ctx.session.shared if ctx.session is not None else {}
        reason, at = shared.get(SESSION_FAILURE, ("", 0.0))
        if reason and time.monotonic() - at < _STOPS_WITHIN_SECS:
            queue.note_failure(reason)


class _Size(_QueueOp, abstract=True):
    def infer(self, ctx: Any, handle: TensorShape) -> TensorShape:
        return scalar()

    def run(self, ctx: Any, handle: Any) -> Any:  # type: ignore[override]
        return np.int32(self._queue(handle).size())


class _IsClosed(_QueueOp, abstract=True):
    def infer(self, ctx: Any, handle: TensorShape) -> TensorShape:
        return scalar()

    def run(self, ctx: Any, handle: Any) -> Any:  # type: ignore[override]
        return np.bool_(self._queue(handle).is_closed())


def _both_forms(name: str, base: type[OpDef], doc: str, **members: Callable[[], Any]) -> None:
    """Registers <name>V2 on a resource handle and <name> on a ref; `members` make the other inputs and outputs."""
    for suffix in ("V2", ""):
        dtype = dtypes.resource if suffix else dtypes.string
        body: dict[str, Any] = {
            "__module__": __name__,
            "__doc__": doc + ("" if suffix else " The queue is behind a ref."),
            "handle": Input(dtype, ref=not suffix),
            "stateful": bool(suffix),
        }
        body.update({member: make() for member, make in members.items()})
        if name == "QueueEnqueueMany":
            body["many"] = True
        type(name + suffix, (base,), body)


def _given() -> Any:
    return Input(types="Tcomponents")


def _taken() -> Any:
    return Output(types="component_types")


def _n() -> Any:
    return Input(dtypes.int32)


_both_forms("QueueEnqueue", _Enqueue, "Adds one element to a queue.", components=_given)
_both_forms("QueueEnqueueMany", _Enqueue, "Adds the rows of tensors to a queue.", components=_given)
_both_forms("QueueDequeue", _DequeueOne, "Takes one element out of a queue.", components=_taken)
_both_forms(
    "QueueDequeueMany",
    _DequeueBatch,
    "Takes `n` elements out of a queue, as a batch.",
    n=_n,
    components=_taken,
)


class _DequeueUpTo(_DequeueBatch, abstract=True):
    up_to = True


_both_forms(
    "QueueDequeueUpTo",
    _DequeueUpTo,
    "Takes `n` elements, or what is left of a closed queue, as a batch.",
    n=_n,
    components=_taken,
)
_both_forms("QueueClose", _Close, "Lets no more into a queue.")
_both_forms(
    "QueueSize", _Size, "The number of elements in a queue.", size=lambda: Output(dtypes.int32)
)
_both_forms(
    "QueueIsClosed",
    _IsClosed,
    "Whether a queue is closed.",
    is_closed=lambda: Output(dtypes.bool),
)
