"""Queues filled with file names, ranges and slices, for a number of epochs (`tf.train.*_producer`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.frontend.naming import name_scope
from flowmesh.frontend.variables import Variable
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.composite import convert_to_tensor_or_indexed_slices
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.building import constant, shape_of, size_of
from flowmesh.ops.control_flow import Assert
from flowmesh.ops.data_flow import FIFOQueue
from flowmesh.ops.random_ops import random_shuffle
from flowmesh.ops.sequence import range as number_range
from flowmesh.training.input_support import scalar_summary, scaled
from flowmesh.training.queue_runner import QueueRunner, add_queue_runner


def match_filenames_once(pattern: Any, name: str | None = None) -> Any:
    """A local variable with the sorted names of the files that match (TensorFlow: `tf.train.match_filenames_once`).

    `pattern` is a glob or a 1-D tensor of them. The files are matched when local variables are initialized.
    """
    with name_scope(name, "matching_filenames", [pattern]) as scope:
        files = raw.MatchingFiles(pattern, name="MatchingFiles")
        return Variable(
            initial_value=files,
            trainable=False,
            name=scope,
            validate_shape=False,
            collections=[GraphKeys.LOCAL_VARIABLES],
        )


def limit_epochs(tensor: Any, num_epochs: int | None = None, name: str | None = None) -> Any:
    """`tensor`, which can be evaluated `num_epochs` times (TensorFlow: `tf.train.limit_epochs`).

    After that OutOfRangeError is raised. The count is a local variable `epochs`. Without `num_epochs` the tensor itself is
    returned; raises ValueError when that is not positive.
    """
    if num_epochs is None:
        return tensor
    if num_epochs <= 0:
        raise ValueError(f"num_epochs must be > 0 not {num_epochs}.")
    with name_scope(name, "limit_epochs", [tensor]) as scope:
        zero = constant(np.int64(0), dtypes.int64)
        epochs = Variable(
            zero, name="epochs", trainable=False, collections=[GraphKeys.LOCAL_VARIABLES]
        )
        counter = epochs.count_up_to(num_epochs)
        with get_default_graph().control_dependencies([counter]):
            return raw.Identity(tensor, name=scope)


def input_producer(
    input_tensor: Any,
    element_shape: Any = None,
    num_epochs: int | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    capacity: int = 32,
    shared_name: str | None = None,
    summary_name: str | None = None,
    name: str | None = None,
    cancel_op: Any = None,
) -> FIFOQueue:
    """A queue with the rows of `input_tensor`, and the runner that fills it (TensorFlow: `tf.train.input_producer`).

    The rows come `num_epochs` times, for ever by default, shuffled anew within each epoch. `summary_name` names a
    summary of how full the queue is. Raises ValueError when the shape of a row is not known.
    """
    with name_scope(name, "input_producer", [input_tensor]):
        tensor = convert_to_tensor(input_tensor, name="input_tensor")
        shape = tensor.shape[1:].merge_with(element_shape)
        if not shape.is_fully_defined():
            raise ValueError(
                "Either `input_tensor` must have a fully defined shape or `element_shape` must be specified"
            )
        if shuffle:
            tensor = random_shuffle(tensor, seed=seed)
        tensor = limit_epochs(tensor, num_epochs)
        queue = FIFOQueue(
            capacity,
            [tensor.dtype.base_dtype],
            [shape],
            shared_name=shared_name,
            name="FIFOQueueV2" if name is None else name,
        )
        enqueue = queue.enqueue_many([tensor])
        add_queue_runner(QueueRunner(queue, [enqueue], cancel_op=cancel_op))
        if summary_name is not None:
            scalar_summary(summary_name, scaled(queue.size(), capacity))
        return queue


def string_input_producer(
    string_tensor: Any,
    num_epochs: int | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    capacity: int = 32,
    shared_name: str | None = None,
    name: str | None = None,
    cancel_op: Any = None,
) -> FIFOQueue:
    """A queue with the given strings, mostly file names (TensorFlow: `tf.train.string_input_producer`).

    `string_tensor` is 1-D. Raises ValueError for an empty list, InvalidArgumentError when run for an empty tensor.
    """
    complaint = "string_input_producer requires a non-null input tensor"
    if not isinstance(string_tensor, Tensor) and not _given(string_tensor):
        raise ValueError(complaint)
    with name_scope(name, "input_producer", [string_tensor]) as scope:
        strings = convert_to_tensor(string_tensor, dtype=dtypes.string)
        check = Assert(raw.Greater(size_of(strings), np.int32(0)), [complaint])
        with get_default_graph().control_dependencies([check]):
            strings = raw.Identity(strings)
        return input_producer(
            strings,
            element_shape=[],
            num_epochs=num_epochs,
            shuffle=shuffle,
            seed=seed,
            capacity=capacity,
            shared_name=shared_name,
            summary_name=f"fraction_of_{capacity}_full",
            name=scope,
            cancel_op=cancel_op,
        )


def _given(value: Any) -> bool:
    """Whether there is anything in what stands for a tensor (a variable, list or array)."""
    if value is None:
        return False
    return hasattr(value, "_as_graph_element") or np.size(value) > 0


def range_input_producer(
    limit: Any,
    num_epochs: int | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    capacity: int = 32,
    shared_name: str | None = None,
    name: str | None = None,
) -> FIFOQueue:
    """A queue with the numbers 0 to limit - 1, int32 (TensorFlow: `tf.train.range_input_producer`)."""
    with name_scope(name, "input_producer", [limit]) as scope:
        return input_producer(
            number_range(limit),
            [],
            num_epochs,
            shuffle,
            seed,
            capacity,
            shared_name,
            f"fraction_of_{capacity}_full",
            scope,
        )


def slice_input_producer(
    tensor_list: Any,
    num_epochs: int | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    capacity: int = 32,
    shared_name: str | None = None,
    name: str | None = None,
) -> list[Any]:
    """One row of each tensor at a time, all of one index (TensorFlow: `tf.train.slice_input_producer`).

    The tensors have the same first dimension. Raises ValueError when there is none.
    """
    with name_scope(name, "input_producer", list(tensor_list)):
        tensors = [convert_to_tensor_or_indexed_slices(t) for t in tensor_list]
        if not tensors:
            raise ValueError("Expected at least one tensor in slice_input_producer().")
        shape: Any = shape_of(tensors[0])
        queue = range_input_producer(shape[0], num_epochs, shuffle, seed, capacity, shared_name)
        index = queue.dequeue()
        return [raw.GatherV2(t, index, np.int32(0), name="GatherV2") for t in tensors]
