"""What input producers and batching share: runners, summaries, the shapes of queues, conditional enqueues."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.shapes import TensorShape
from flowmesh.frontend.naming import name_scope
from flowmesh.frontend.smart_cond import smart_cond
from flowmesh.frontend.summary_merge import collect
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.composite import SparseTensor, convert_to_tensor_or_sparse_tensor
from flowmesh.graph.constant_value import constant_value
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.control import no_op
from flowmesh.ops.data_flow import FIFOQueue, PaddingFIFOQueue, QueueBase
from flowmesh.training.queue_runner import QueueRunner, add_queue_runner

_BAD_IN_TAGS = "".join(chr(c) for c in range(128) if not (chr(c).isalnum() or chr(c) in "-/_."))
_CLEAN = str.maketrans(dict.fromkeys(_BAD_IN_TAGS, "_"))


# -- summaries ------------------------------------------------------------------------------------


def scalar_summary(name: str, value: Any) -> None:
    """Adds a scalar to the graph's summaries, under the tag that the open scopes and `name` make."""
    with name_scope(name.translate(_CLEAN).lstrip("/"), None, [value]) as scope:
        made = raw.ScalarSummary(scope.rstrip("/"), value, name=scope)
        collect(made, None, [GraphKeys.SUMMARIES])


def scaled(count: Any, capacity: int) -> Tensor:
    """An int32 scalar as a fraction of `capacity`."""
    return raw.Mul(raw.Cast(count, DstT=dtypes.float32), np.float32(1.0 / capacity), name="mul")


def summarize_fullness(queue: QueueBase, capacity: int) -> None:
    """The summary of how full a queue is."""
    scalar_summary(f"fraction_of_{capacity}_full", scaled(queue.size(), capacity))


def summarize_shuffle(queue: QueueBase, capacity: int, min_after_dequeue: int) -> None:
    """The summary of how far a shuffling queue is filled above its minimum; ValueError if there is no room above."""
    if capacity <= min_after_dequeue:
        raise ValueError(
            f"capacity {capacity} must be bigger than min_after_dequeue {min_after_dequeue}."
        )
    spare = capacity - min_after_dequeue
    above = raw.Sub(queue.size(), np.int32(min_after_dequeue), name="sub")
    fraction = scaled(raw.Maximum(np.int32(0), above), spare)
    scalar_summary(f"fraction_over_{min_after_dequeue}_of_{spare}_full", fraction)


# -- arguments ------------------------------------------------------------------------------------


def as_tensor_list(tensors: Any) -> list[Any]:
    """The values of a dict in the order of its keys, or the list itself."""
    if isinstance(tensors, dict):
        return [tensors[key] for key in sorted(tensors, key=str)]
    return tensors


def as_tensor_list_list(tensors_list: Any) -> list[list[Any]]:
    """`as_tensor_list` of each entry; ValueError when there is none, or when dicts have other keys."""
    if not tensors_list:
        raise ValueError("Expected at least one set of tensors")
    if isinstance(tensors_list[0], dict):
        expected = set(tensors_list[0].keys())
        if any(set(tensors.keys()) != expected for tensors in tensors_list[1:]):
            raise ValueError("All dictionaries in tensors_list must have the same keys")
        return [as_tensor_list(tensors) for tensors in tensors_list]
    return tensors_list


def as_original_type(original: Any, tensors: Any) -> Any:
    """What was dequeued, in the form of what was given: a dict, a list of one, or as it is."""
    if isinstance(original, dict):
        tensors = [tensors] if len(original) == 1 else tensors
        return {key: tensors[i] for i, key in enumerate(sorted(original, key=str))}
    return tensors


def validated(tensors: Any) -> list[Any]:
    """The arguments as tensors or sparse tensors; ValueError when there is none."""
    found = [convert_to_tensor_or_sparse_tensor(t) for t in tensors]
    if not found:
        raise ValueError("Expected at least one tensor in batch().")
    return found


def validated_join(tensors_list: Any) -> list[list[Any]]:
    """The arguments of a join as tensors; ValueError when there is none."""
    found = [[convert_to_tensor_or_sparse_tensor(t) for t in tensors] for tensors in tensors_list]
    if not found:
        raise ValueError("Expected at least one input in batch_join().")
    return found


def validated_keep(keep_input: Any, enqueue_many: bool) -> Tensor:
    """`keep_input` as a tensor of a rank that is known and fits."""
    keep = convert_to_tensor(keep_input)
    if keep.shape.ndims is None:
        raise ValueError("`keep_input` dimensions must be known at graph construction.")
    if not enqueue_many and keep.shape.ndims == 1:
        raise ValueError("`keep_input` cannot be a vector when `enqueue_many=False`.")
    if keep.shape.ndims > 1:
        raise ValueError("`keep_input` must be 0 or 1 dimensions.")
    return keep


# -- queues -----------------------------------------------------------------------------------------


def common_dtypes(tensor_list_list: Sequence[Sequence[Any]]) -> list[Any]:
    """The dtype of each component; TypeError when the lists differ."""
    result = []
    for column in zip(*tensor_list_list):
        kinds = [t.dtype.base_dtype for t in column]
        for other in kinds[1:]:
            if other != kinds[0]:
                raise TypeError(
                    f"Expected types to be consistent: {kinds[0].name} vs. {other.name}."
                )
        result.append(kinds[0])
    return result


def common_shapes(
    tensor_list_list: Sequence[Sequence[Any]], shapes: Any, enqueue_many: bool
) -> Any:
    """The shape of each component of an element: `shapes`, or what the tensors have in common."""
    if shapes is not None:
        return shapes
    count = len(tensor_list_list[0])
    for tensors in tensor_list_list:
        for tensor in tensors:
            if tensor.shape.ndims is None:
                raise ValueError(f"Cannot infer Tensor's rank: {tensor}")
    columns = [[tensors[i].shape for tensors in tensor_list_list] for i in range(count)]
    if enqueue_many:
        columns = [[s.with_rank_at_least(1)[1:] for s in column] for column in columns]
    return [_merged(column) for column in columns]


def _merged(shapes: Sequence[TensorShape]) -> TensorShape:
    result = shapes[0]
    for shape in shapes[1:]:
        result = result.merge_with(shape)
    return result


def queue_class(dynamic_pad: bool) -> Callable[..., QueueBase]:
    """The kind of queue that batches are made from."""
    return PaddingFIFOQueue if dynamic_pad else FIFOQueue


def _kept_rows(tensors: Sequence[Any], keep: Tensor) -> list[Any]:
    """The rows for which the vector `keep` is true."""
    parts = raw.Cast(keep, DstT=dtypes.int32)
    return [raw.DynamicPartition(t, parts, num_partitions=2)[1] for t in tensors]


def _enqueue_op(queue: QueueBase, tensors: Sequence[Any], many: bool, keep: Tensor) -> Any:
    start = queue.enqueue_many if many else queue.enqueue
    if keep.shape.ndims == 1:
        return queue.enqueue_many(_kept_rows(tensors, keep))
    return smart_cond(keep, lambda: start(tensors), no_op)


def fill(queue: QueueBase, tensors: Sequence[Any], threads: int, many: bool, keep: Tensor) -> None:
    """Adds the runner that enqueues `tensors` from `threads` threads."""
    add_queue_runner(QueueRunner(queue, [_enqueue_op(queue, tensors, many, keep)] * threads))


def fill_join(
    queue: QueueBase, tensor_list_list: Sequence[Sequence[Any]], many: bool, keep: Tensor
) -> None:
    """Adds the runner that enqueues each list of tensors from a thread of its own."""
    ops = [_enqueue_op(queue, tensors, many, keep) for tensors in tensor_list_list]
    add_queue_runner(QueueRunner(queue, ops))


def batch_from(queue: QueueBase, size: Any, smaller: bool, name: str) -> Any:
    """The node that takes a batch out of the queue."""
    if smaller:
        return queue.dequeue_up_to(size, name=name)
    return queue.dequeue_many(size, name=name)


def known_keep(keep: Tensor) -> bool | None:
    """The value of a scalar `keep` where it is constant."""
    value = constant_value(keep)
    return None if value is None or np.ndim(value) else bool(value)


def is_sparse(value: Any) -> bool:
    """Whether a component is a SparseTensor."""
    return isinstance(value, SparseTensor)
