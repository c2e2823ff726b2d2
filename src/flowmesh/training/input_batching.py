"""Batches of single examples through a queue (`tf.train.batch`, `shuffle_batch` and their joins)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowmesh.frontend.naming import name_scope
from flowmesh.ops.data_flow import QueueBase, RandomShuffleQueue
from flowmesh.training import input_sparse, input_support as support

_MakeQueue = Callable[[Any, Any], QueueBase]
_Summarize = Callable[[QueueBase], None]


def _batched(
    tensors: Any,
    batch_size: Any,
    keep_input: Any,
    enqueue_many: bool,
    shapes: Any,
    smaller: bool,
    scope_names: tuple[str | None, str],
    threads: int,
    make_queue: _MakeQueue,
    summarize: _Summarize,
) -> Any:
    """A batch of one list of tensors, enqueued by `threads` threads."""
    tensor_list = support.as_tensor_list(tensors)
    with name_scope(*scope_names, [*tensor_list, keep_input]) as scope:
        tensor_list = support.validated(tensor_list)
        keep = support.validated_keep(keep_input, enqueue_many)
        stored, sparse = input_sparse.store(tensor_list, enqueue_many, keep)
        kinds = support.common_dtypes([stored])
        queue = make_queue(kinds, support.common_shapes([stored], shapes, enqueue_many))
        support.fill(queue, stored, threads, enqueue_many, keep)
        return _taken(queue, tensors, batch_size, smaller, sparse, scope, summarize)


def _joined(
    tensors_list: Any,
    batch_size: Any,
    keep_input: Any,
    enqueue_many: bool,
    shapes: Any,
    smaller: bool,
    scope_names: tuple[str | None, str],
    make_queue: _MakeQueue,
    summarize: _Summarize,
) -> Any:
    """A batch of several lists of tensors, each enqueued by a thread of its own."""
    lists = support.as_tensor_list_list(tensors_list)
    flat = [tensor for tensors in lists for tensor in tensors]
    with name_scope(*scope_names, [*flat, keep_input]) as scope:
        lists = support.validated_join(lists)
        keep = support.validated_keep(keep_input, enqueue_many)
        stored, sparse = input_sparse.store_join(lists, enqueue_many, keep)
        kinds = support.common_dtypes(stored)
        queue = make_queue(kinds, support.common_shapes(stored, shapes, enqueue_many))
        support.fill_join(queue, stored, enqueue_many, keep)
        return _taken(queue, tensors_list[0], batch_size, smaller, sparse, scope, summarize)


def _taken(
    queue: QueueBase,
    original: Any,
    batch_size: Any,
    smaller: bool,
    sparse: list[input_sparse.SparseInfo],
    scope: str,
    summarize: _Summarize,
) -> Any:
    summarize(queue)
    batch = support.batch_from(queue, batch_size, smaller, scope)
    return support.as_original_type(original, input_sparse.restore(batch, sparse))


def _plain(
    dynamic_pad: bool, capacity: int, shared_name: str | None
) -> tuple[_MakeQueue, _Summarize]:
    def make(kinds: Any, shapes: Any) -> QueueBase:
        make_one = support.queue_class(dynamic_pad)
        return make_one(capacity=capacity, dtypes=kinds, shapes=shapes, shared_name=shared_name)

    return make, lambda queue: support.summarize_fullness(queue, capacity)


def _shuffling(
    capacity: int, minimum: int, seed: int | None, shared_name: str | None
) -> tuple[_MakeQueue, _Summarize]:
    def make(kinds: Any, shapes: Any) -> QueueBase:
        return RandomShuffleQueue(
            capacity, minimum, kinds, shapes, seed=seed, shared_name=shared_name
        )

    return make, lambda queue: support.summarize_shuffle(queue, capacity, minimum)


def batch(
    tensors: Any,
    batch_size: Any,
    num_threads: int = 1,
    capacity: int = 32,
    enqueue_many: bool = False,
    shapes: Any = None,
    dynamic_pad: bool = False,
    allow_smaller_final_batch: bool = False,
    shared_name: str | None = None,
    name: str | None = None,
) -> Any:
    """Batches of `batch_size` examples in order (TensorFlow: `tf.train.batch`).

    `tensors` is a list or dict of tensors (dense or sparse) of one example, or of several stacked along the first
    dimension with `enqueue_many`; the result has the same form and a batch dimension. `num_threads` threads evaluate
    them. `dynamic_pad` allows unknown dimensions and pads each batch; `allow_smaller_final_batch` gives out what is left
    when the input ends, else that is dropped. Raises ValueError when shapes are not known, and OutOfRangeError when run
    after the end of the input.
    """
    return maybe_batch(
        tensors,
        True,
        batch_size,
        num_threads,
        capacity,
        enqueue_many,
        shapes,
        dynamic_pad,
        allow_smaller_final_batch,
        shared_name,
        name,
    )


def maybe_batch(
    tensors: Any,
    keep_input: Any,
    batch_size: Any,
    num_threads: int = 1,
    capacity: int = 32,
    enqueue_many: bool = False,
    shapes: Any = None,
    dynamic_pad: bool = False,
    allow_smaller_final_batch: bool = False,
    shared_name: str | None = None,
    name: str | None = None,
) -> Any:
    """As `batch`, of the examples for which the bool `keep_input` is true (TensorFlow: `tf.train.maybe_batch`).

    With `enqueue_many` it may be a vector, one entry per example.
    """
    return _batched(
        tensors,
        batch_size,
        keep_input,
        enqueue_many,
        shapes,
        allow_smaller_final_batch,
        (name, "batch"),
        num_threads,
        *_plain(dynamic_pad, capacity, shared_name),
    )


def batch_join(
    tensors_list: Any,
    batch_size: Any,
    capacity: int = 32,
    enqueue_many: bool = False,
    shapes: Any = None,
    dynamic_pad: bool = False,
    allow_smaller_final_batch: bool = False,
    shared_name: str | None = None,
    name: str | None = None,
) -> Any:
    """As `batch`, of several lists (or dicts) of tensors, one thread for each (TensorFlow: `tf.train.batch_join`)."""
    return maybe_batch_join(
        tensors_list,
        True,
        batch_size,
        capacity,
        enqueue_many,
        shapes,
        dynamic_pad,
        allow_smaller_final_batch,
        shared_name,
        name,
    )


def maybe_batch_join(
    tensors_list: Any,
    keep_input: Any,
    batch_size: Any,
    capacity: int = 32,
    enqueue_many: bool = False,
    shapes: Any = None,
    dynamic_pad: bool = False,
    allow_smaller_final_batch: bool = False,
    shared_name: str | None = None,
    name: str | None = None,
) -> Any:
    """As `batch_join`, of the examples for which `keep_input` is true (TensorFlow: `tf.train.maybe_batch_join`)."""
    return _joined(
        tensors_list,
        batch_size,
        keep_input,
        enqueue_many,
        shapes,
        allow_smaller_final_batch,
        (name, "batch_join"),
        *_plain(dynamic_pad, capacity, shared_name),
    )


def shuffle_batch(
    tensors: Any,
    batch_size: Any,
    capacity: int,
    min_after_dequeue: int,
    num_threads: int = 1,
    seed: int | None = None,
    enqueue_many: bool = False,
    shapes: Any = None,
    allow_smaller_final_batch: bool = False,
    shared_name: str | None = None,
    name: str | None = None,
) -> Any:
    """As `batch`, of examples in random order (TensorFlow: `tf.train.shuffle_batch`).

    Each is drawn from at least `min_after_dequeue` others; `seed` fixes the order. Raises ValueError unless
    `capacity` is bigger.
    """
    return maybe_shuffle_batch(
        tensors,
        batch_size,
        capacity,
        min_after_dequeue,
        True,
        num_threads,
        seed,
        enqueue_many,
        shapes,
        allow_smaller_final_batch,
        shared_name,
        name,
    )


def maybe_shuffle_batch(
    tensors: Any,
    batch_size: Any,
    capacity: int,
    min_after_dequeue: int,
    keep_input: Any,
    num_threads: int = 1,
    seed: int | None = None,
    enqueue_many: bool = False,
    shapes: Any = None,
    allow_smaller_final_batch: bool = False,
    shared_name: str | None = None,
    name: str | None = None,
) -> Any:
    """As `shuffle_batch`, of the examples for which `keep_input` is true (TensorFlow: `tf.train.maybe_shuffle_batch`)."""
    return _batched(
        tensors,
        batch_size,
        keep_input,
        enqueue_many,
        shapes,
        allow_smaller_final_batch,
        (name, "shuffle_batch"),
        num_threads,
        *_shuffling(capacity, min_after_dequeue, seed, shared_name),
    )


def shuffle_batch_join(
    tensors_list: Any,
    batch_size: Any,
    capacity: int,
    min_after_dequeue: int,
    seed: int | None = None,
    enqueue_many: bool = False,
    shapes: Any = None,
    allow_smaller_final_batch: bool = False,
    shared_name: str | None = None,
    name: str | None = None,
) -> Any:
    """As `shuffle_batch`, of several lists of tensors, one thread for each (TensorFlow: `tf.train.shuffle_batch_join`)."""
    return maybe_shuffle_batch_join(
        tensors_list,
        batch_size,
        capacity,
        min_after_dequeue,
        True,
        seed,
        enqueue_many,
        shapes,
        allow_smaller_final_batch,
        shared_name,
        name,
    )


def maybe_shuffle_batch_join(
    tensors_list: Any,
    batch_size: Any,
    capacity: int,
    min_after_dequeue: int,
    keep_input: Any,
    seed: int | None = None,
    enqueue_many: bool = False,
    shapes: Any = None,
    allow_smaller_final_batch: bool = False,
    shared_name: str | None = None,
    name: str | None = None,
) -> Any:
    """As `shuffle_batch_join`, of the examples for which `keep_input` is true
    (TensorFlow: `tf.train.maybe_shuffle_batch_join`)."""
    return _joined(
        tensors_list,
        batch_size,
        keep_input,
        enqueue_many,
        shapes,
        allow_smaller_final_batch,
        (name, "shuffle_batch_join"),
        *_shuffling(capacity, min_after_dequeue, seed, shared_name),
    )


__all__ = [
    "batch",
    "batch_join",
    "maybe_batch",
    "maybe_batch_join",
    "maybe_shuffle_batch",
    "maybe_shuffle_batch_join",
    "shuffle_batch",
    "shuffle_batch_join",
]
