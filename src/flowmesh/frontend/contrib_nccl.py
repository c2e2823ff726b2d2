"""Sums and other reductions over tensors on several devices, with the result on each of them.

The names of `tf.contrib.nccl` and of `tf.contrib.all_reduce.python.all_reduce`. What those libraries do by rings and trees, the
placement of a few ordinary ops does here: one reduction in each place that needs the result, and XLA's collectives where devices
share a program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor


def _checked(tensors: Sequence[Any]) -> list[Any]:
    tensors = list(tensors)
    if not tensors:
        raise ValueError("Must pass >0 tensors to all reduce operations")
    shape = tensors[0].shape
    for tensor in tensors:
        if not tensor.shape.is_compatible_with(shape):
            raise ValueError("Tensors passed to all reduce must all have the same shape")
        if tensor.dtype != tensors[0].dtype:
            raise TypeError("Tensors passed to all reduce must all have the same dtype")
        if not tensor.device:
            raise ValueError(f"Device assignment required for nccl collective ops: {tensor.name}")
        shape = shape.merge_with(tensor.shape)
    return tensors


def _everywhere(tensors: Sequence[Any], reduce: Callable[[list[Any]], Any]) -> list[Tensor]:
    """The reduction of `tensors`, computed on the device of the first, as one tensor on each device."""
    tensors = _checked(tensors)
    graph = get_default_graph()
    with graph.device(tensors[0].device):
        result = reduce(tensors)
    outputs = [result]
    for tensor in tensors[1:]:
        with graph.device(tensor.device):
            outputs.append(raw.Identity(result))
    return outputs


def _folded(operation: Callable[[Any, Any], Any]) -> Callable[[list[Any]], Any]:
    def reduce(tensors: list[Any]) -> Any:
        result = tensors[0]
        for tensor in tensors[1:]:
            result = operation(result, tensor)
        return result if len(tensors) > 1 else raw.Identity(result)

    return reduce


def _sum(tensors: list[Any]) -> Any:
    return raw.AddN(tensors)


def all_sum(tensors: Sequence[Any]) -> list[Tensor]:
    """The sum of tensors of one shape and dtype, on the device of each of them (tf.contrib.nccl.all_sum).

    Raises ValueError for no tensors, differing shapes, or a tensor without a device, TypeError for differing dtypes.
    """
    return _everywhere(tensors, _sum)


def all_prod(tensors: Sequence[Any]) -> list[Tensor]:
    """The product of tensors, on the device of each of them (tf.contrib.nccl.all_prod). Errors as `all_sum`."""
    return _everywhere(tensors, _folded(raw.Mul))


def all_min(tensors: Sequence[Any]) -> list[Tensor]:
    """The least of tensors, on the device of each of them (tf.contrib.nccl.all_min). Errors as `all_sum`."""
    return _everywhere(tensors, _folded(raw.Minimum))


def all_max(tensors: Sequence[Any]) -> list[Tensor]:
    """The greatest of tensors, on the device of each of them (tf.contrib.nccl.all_max). Errors as `all_sum`."""
    return _everywhere(tensors, _folded(raw.Maximum))


def reduce_sum(tensors: Sequence[Any]) -> Tensor:
    """The sum of tensors, on the current device (tf.contrib.nccl.reduce_sum). Errors as `all_sum`."""
    return raw.AddN(_checked(tensors))


def broadcast(tensor: Any) -> Tensor:
    """`tensor`, to be used on any device (tf.contrib.nccl.broadcast)."""
    return raw.Identity(tensor)


# -- tf.contrib.all_reduce -------------------------------------------------------------------------------


def _reduced(
    tensors: Sequence[Any], devices: Sequence[str], red_op: Any, un_op: Any
) -> list[Tensor]:
    """The reduction by `red_op`, then `un_op`, on each of `devices`, which are dealt out parts of the work."""
    inputs = list(tensors)
    shape = inputs[0].shape
    for tensor in inputs:
        shape = shape.merge_with(tensor.shape)
    graph = get_default_graph()
    pieces, parts = len(devices), []
    sizes = [len(p) for p in np.array_split(np.arange(shape.num_elements() or 0), pieces)]
    if shape.num_elements() is None:
        pieces, sizes = 1, []
    flat = []
    for tensor in inputs:
        with graph.colocate_with(tensor.op):
            vector = raw.Reshape(tensor, np.array([-1], np.int32))
            flat.append(
                raw.SplitV(vector, np.array(sizes, np.int64), np.int32(0), num_split=pieces)
                if pieces > 1
                else [vector]
            )
    for number in range(pieces):
        with graph.device(devices[number]):
            part = flat[0][number]
            for other in flat[1:]:
                part = red_op(part, other[number])
            parts.append(un_op(part) if un_op else part)
    results = []
    for tensor in inputs:
        with graph.colocate_with(tensor.op):
            whole = raw.ConcatV2(parts, np.int32(0)) if pieces > 1 else raw.Identity(parts[0])
            result = raw.Reshape(whole, raw.Shape(tensor))
            result.set_shape(shape)
            results.append(result)
    return results


def build_ring_all_reduce(
    input_tensors: Sequence[Any],
    num_workers: int,
    num_subchunks: int,
    gpu_perm: Sequence[int],
    red_op: Any,
    un_op: Any = None,
) -> list[Tensor]:
    """The reduction of one tensor for each device, with the result on each (tf.contrib.all_reduce).

    The work is dealt out to the devices of the inputs; `num_workers`, `num_subchunks` and `gpu_perm` only order it.
    """
    devices = [t.device for t in input_tensors]
    return _reduced(input_tensors, devices, red_op, un_op)


def build_recursive_hd_all_reduce(
    input_tensors: Sequence[Any], red_op: Any, un_op: Any = None
) -> list[Tensor]:
    """As `build_ring_all_reduce`, for a power of two of tensors; ValueError for other numbers."""
    if len(input_tensors) & (len(input_tensors) - 1):
        raise ValueError("input_tensors must be a power of two long")
    return _reduced(input_tensors, [t.device for t in input_tensors], red_op, un_op)


def build_shuffle_all_reduce(
    input_tensors: Sequence[Any], gather_devices: Sequence[str], red_op: Any, un_op: Any = None
) -> list[Tensor]:
    """As `build_ring_all_reduce`, with the work dealt out to `gather_devices`."""
    return _reduced(input_tensors, list(gather_devices), red_op, un_op)


def build_nccl_all_reduce(
    input_tensors: Sequence[Any], red_op: Any, un_op: Any = None
) -> list[Tensor]:
    """The reduction of one tensor for each device, with the result on each (tf.contrib.all_reduce)."""
    results = _everywhere(input_tensors, _folded(red_op))
    if un_op is None:
        return results
    graph = get_default_graph()
    ended = []
    for result in results:
        with graph.colocate_with(result.op):
            ended.append(un_op(result))
    return ended
