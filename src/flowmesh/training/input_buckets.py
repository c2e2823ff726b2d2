"""Batches of examples that belong together (`tf.contrib.training.bucket`, `bucket_by_sequence_length`)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flowmesh.core import dtypes, errors
from flowmesh.core.shapes import TensorShape
from flowmesh.frontend.naming import name_scope
from flowmesh.frontend.smart_cond import smart_cond
from flowmesh.graph.constant_value import constant_value
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.building import constant
from flowmesh.ops.control import group, no_op
from flowmesh.ops.control_flow import cond
from flowmesh.ops.data_flow import PaddingFIFOQueue, QueueBase
from flowmesh.training import input_sparse, input_support as support
from flowmesh.training.queue_runner import QueueRunner, add_queue_runner

_ENDED = (errors.OutOfRangeError, errors.CancelledError)


def _capacities(given: Any, capacity: int, count: int) -> list[int]:
    if given is None:
        return [capacity] * count
    if len(given) != count:
        raise ValueError(
            f"The list bucket_capacities ({given}) must have exactly num_buckets ({count}) elements."
        )
    return list(given)


def _batch_sizes(sizes: Sequence[Any]) -> list[Any]:
    """The batch size of each bucket: ints where they are known, else tensors."""
    result: list[Any] = []
    for size in sizes:
        tensor = convert_to_tensor(size, dtype=dtypes.int32, name="batch_size")
        known = constant_value(tensor)
        result.append(tensor if known is None else int(known))
    return result


def _common_size(sizes: Sequence[Any], smaller: bool) -> int | None:
    """The batch size, when it is the same for all buckets and always."""
    first = sizes[0]
    same = all(isinstance(s, int) and s == first for s in sizes)
    return first if same and not smaller else None


def _make_queues(
    tensors: Sequence[Any],
    sizes: Sequence[Any],
    capacities: Sequence[int],
    capacity: int,
    shapes: Any,
    dynamic_pad: bool,
    smaller: bool,
    shared_name: str | None,
) -> tuple[list[QueueBase], QueueBase]:
    """One queue per bucket, and the queue of full batches."""
    kinds = support.common_dtypes([tensors])
    element_shapes = support.common_shapes([tensors], shapes, False)
    make = support.queue_class(dynamic_pad)
    buckets = [
        make(
            capacity=room,
            dtypes=kinds,
            shapes=element_shapes,
            shared_name=None if shared_name is None else f"{shared_name}_{i}",
            name=f"bucket_queue_{i}",
        )
        for i, room in enumerate(capacities)
    ]
    lead = TensorShape([_common_size(sizes, smaller)])
    batch_shapes = [lead.concatenate(shape) for shape in buckets[0].shapes]
    top = PaddingFIFOQueue(
        capacity=capacity,
        dtypes=[dtypes.int32, *kinds],
        shapes=[TensorShape([]), *batch_shapes],
        shared_name=shared_name,
        name="top_queue",
    )
    return buckets, top


def _enqueue_which(
    buckets: Sequence[QueueBase], which: Tensor, tensors: Sequence[Any]
) -> Callable[[], Any]:
    """A function that builds the operation which puts an example into its bucket."""

    def put(queue: QueueBase) -> Callable[[], Any]:
        return lambda: queue.enqueue(tensors)

    def build() -> Any:
        ops = [
            cond(raw.Equal(which, np.int32(i)), put(queue), no_op)
            for i, queue in enumerate(buckets)
        ]
        return group(*ops, name="group_enqueues")

    return build


def _add_runners(
    buckets: Sequence[QueueBase],
    top: QueueBase,
    sizes: Sequence[Any],
    enqueue: Any,
    threads: int,
    smaller: bool,
) -> None:
    """The runners of the bucket queues (which fill the top queue) and of the examples (which fill the buckets)."""
    moves = []
    for i, (queue, size) in enumerate(zip(buckets, sizes)):
        number = constant(np.int32(i), dtypes.int32)
        batch = support.batch_from(queue, size, smaller, f"read_bucket_{i}")
        parts = batch if isinstance(batch, list) else [batch]
        moves.append(top.enqueue([number, *parts], name=f"enqueue_from_bucket_{i}"))
    add_queue_runner(
        QueueRunner(
            buckets[0],
            moves,
            close_op=top.close(),
            cancel_op=top.close(cancel_pending_enqueues=True),
            queue_closed_exception_types=_ENDED,
        )
    )
    add_queue_runner(
        QueueRunner(
            top,
            [enqueue] * threads,
            close_op=group(*[q.close() for q in buckets]),
            cancel_op=group(*[q.close(cancel_pending_enqueues=True) for q in buckets]),
            queue_closed_exception_types=_ENDED,
        )
    )


def _summarize(buckets: Sequence[QueueBase], top: QueueBase, capacity: int) -> None:
    for queue in buckets:
        support.scalar_summary(
            f"bucket/{queue.name}/size", raw.Cast(top.size(), DstT=dtypes.float32)
        )
    support.scalar_summary(
        f"bucket/{top.name}/fraction_of_{capacity}_full", support.scaled(top.size(), capacity)
    )


def bucket(
    tensors: Any,
    which_bucket: Any,
    batch_size: Any,
    num_buckets: int,
    num_threads: int = 1,
    capacity: int = 32,
    bucket_capacities: Any = None,
    shapes: Any = None,
    dynamic_pad: bool = False,
    allow_smaller_final_batch: bool = False,
    keep_input: Any = True,
    shared_name: str | None = None,
    name: str | None = None,
) -> tuple[Tensor, Any]:
    """Batches of examples of one bucket (TensorFlow: `tf.contrib.training.bucket`).

    `which_bucket` is an int32 scalar in [0, num_buckets); `batch_size` one number or one per bucket. Returns the bucket's
    number and the batch in the form of `tensors`. The other arguments are those of `batch`. Raises ValueError
    when the lists do not fit `num_buckets`.
    """
    listed = isinstance(batch_size, (list, tuple))
    sizes = list(batch_size) if listed else [batch_size] * num_buckets
    if len(sizes) != num_buckets:
        raise ValueError("If batch_size is a list it must have num_buckets elements")
    capacities = _capacities(bucket_capacities, capacity, num_buckets)
    tensor_list = support.as_tensor_list(tensors)
    with name_scope(name, "bucket", list(tensor_list)):
        if not tensor_list:
            raise ValueError("Expected at least one tensor in bucket().")
        checked = support.validated(tensor_list)
        keep = support.validated_keep(keep_input, enqueue_many=False)
        stored, sparse = input_sparse.store(checked, False, keep)
        sizes = _batch_sizes(sizes)
        which = convert_to_tensor(which_bucket, dtype=dtypes.int32, name="which_bucket")
        buckets, top = _make_queues(
            stored,
            sizes,
            capacities,
            capacity,
            shapes,
            dynamic_pad,
            allow_smaller_final_batch,
            shared_name,
        )
        enqueue = smart_cond(keep, _enqueue_which(buckets, which, stored), no_op)
        _add_runners(buckets, top, sizes, enqueue, num_threads, allow_smaller_final_batch)
        _summarize(buckets, top, capacity)
        number, *batch = top.dequeue(name="dequeue_top")
        restored = input_sparse.restore(batch[0] if len(batch) == 1 else batch, sparse)
        return number, support.as_original_type(tensors, restored)


def _checked_boundaries(boundaries: Any) -> list[int]:
    if not isinstance(boundaries, (list, tuple)):
        raise TypeError(f"bucket_boundaries must be a list or tuple, but received: {boundaries}")
    if not boundaries:
        raise ValueError("bucket_boundaries must not be empty")
    for small, large in itertools.pairwise(boundaries):
        if not isinstance(small, int) or not isinstance(large, int):
            raise TypeError(f"bucket boundaries must be integers, but saw: {small} and {large}")
        if small >= large:
            raise ValueError(
                f"Buckets must contain sequential increasing lengths, but saw: {small} before {large}"
            )
    return list(boundaries)


def bucket_by_sequence_length(
    input_length: Any,
    tensors: Any,
    batch_size: Any,
    bucket_boundaries: Any,
    num_threads: int = 1,
    capacity: int = 32,
    bucket_capacities: Any = None,
    shapes: Any = None,
    dynamic_pad: bool = False,
    allow_smaller_final_batch: bool = False,
    keep_input: Any = True,
    shared_name: str | None = None,
    name: str | None = None,
) -> tuple[Tensor, Any]:
    """Batches of examples of similar length (TensorFlow: `tf.contrib.training.bucket_by_sequence_length`).

    The buckets lie between the increasing ints of `bucket_boundaries`, below and above them; `input_length` is an int32
    scalar. Returns the lengths and the batch. Raises TypeError and ValueError for bad boundaries.
    """
    tensor_list = support.as_tensor_list(tensors)
    boundaries = _checked_boundaries(bucket_boundaries)
    count = len(boundaries) + 1
    if isinstance(batch_size, (list, tuple)) and len(batch_size) != count:
        raise ValueError("If batch_size is a list it must have num_buckets elements")
    capacities = _capacities(bucket_capacities, capacity, count)
    limits = np.iinfo(np.int32)
    with name_scope(name, "bucket_by_sequence_length", [input_length, *tensor_list]):
        length = convert_to_tensor(input_length, dtype=dtypes.int32, name="input_length")
        low = np.array([limits.min, *boundaries], np.int32)
        high = np.array([*boundaries, limits.max], np.int32)
        above = raw.LessEqual(low, length)
        inside = raw.LogicalAnd(above, raw.Less(length, high))
        first = raw.Min(raw.Where(inside), constant(np.array([0, 1], np.int32)))
        which = raw.Cast(first, DstT=dtypes.int32)
        which.set_shape([])
        _, batch = bucket(
            tensors=[length, *tensor_list],
            which_bucket=which,
            batch_size=batch_size,
            num_buckets=count,
            num_threads=num_threads,
            capacity=capacity,
            bucket_capacities=capacities,
            shapes=None if shapes is None else [TensorShape([]), *shapes],
            dynamic_pad=dynamic_pad,
            allow_smaller_final_batch=allow_smaller_final_batch,
            keep_input=keep_input,
            shared_name=shared_name,
        )
        lengths, rest = batch[0], list(batch[1:])
        return lengths, _like(tensors, rest)


def _like(original: Any, batch: list[Any]) -> Any:
    """A batch in the form that `bucket_by_sequence_length` gives it: a dict, or a list."""
    if isinstance(original, dict):
        return dict(zip(sorted(original, key=str), batch))
    return batch
