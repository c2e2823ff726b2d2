"""DynamicPartition, DynamicStitch, ParallelDynamicStitch."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core.dtypes import int32
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph.composite import IndexedSlices
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import (
    Dims,
    dims_of,
    first_bad_index,
    invalid,
    merge_shapes,
    shape_of,
    zeros_of,
)
from flowmesh.ops.constant import constant
from flowmesh.ops.reshape import reshape
from flowmesh.ops.sequence import range as range_tensor
from flowmesh.ops.shape_ops import shape as shape_tensor


class DynamicPartition(OpDef):
    """`data` split by the partition number of each entry."""

    data, partitions = Input("T"), Input(int32)
    outputs_ = Output("T", number="num_partitions", name="outputs")
    num_partitions = Attr("int", minimum=1)
    T = type_attr()
    numpy_only = True
    devices = ("CPU", "GPU")

    def infer(self, ctx: Any, data: TensorShape, partitions: TensorShape) -> Any:
        count = self.attrs["num_partitions"]
        dims, by = dims_of(data), dims_of(partitions)
        if dims is None or by is None:
            return [[unknown_shape()] * count]
        if len(dims) < len(by):
            raise ValueError(f"Shape must be at least rank {len(by)} but is rank {len(dims)}")
        merge_shapes(shape_of(dims[: len(by)]), partitions)
        return [[shape_of([None, *dims[len(by) :]])] * count]

    def compute(self, xp: Any, data: Any, partitions: Any) -> Any:
        count, data, by = self.attrs["num_partitions"], np.asarray(data), np.asarray(partitions)
        if data.shape[: by.ndim] != by.shape:
            raise invalid(
                f"data.shape must start with partitions.shape, got data.shape = {_text(data.shape)}, "
                f"partitions.shape = {_text(by.shape)}"
            )
        bad = first_bad_index(by, count)
        if bad is not None:
            where = ",".join(map(str, bad[0]))
            raise invalid(f"partitions[{where}] = {bad[1]} is not in [0, {count})")
        return ([data[by == i] for i in range(count)],)

    def gradient(self, op: Any, *grads: Any) -> Any:
        data, by = op.inputs
        count = op.get_attr("num_partitions")
        prefix = shape_tensor(by)
        every = range_tensor(0, raw.Prod(prefix, constant([0], int32)))
        original = reshape(every, prefix)
        where = raw.DynamicPartition(original, by, num_partitions=count)
        joined = raw.DynamicStitch(where, list(grads))
        return reshape(joined, shape_tensor(data)), None


def _text(dims: Any) -> str:
    return "[" + ",".join(map(str, dims)) + "]"


def _stitch_shape(ctx: Any, indices: Any, data: Any) -> TensorShape:
    count, rest, top = len(indices), unknown_shape(), -1
    known = True
    for i in range(count):
        value = ctx.value(i)
        if value is None:
            known = False
        elif value.size:
            top = max(top, int(value.max()))
        index_dims, data_dims = dims_of(indices[i]), dims_of(data[i])
        if index_dims is None or data_dims is None:
            continue
        if len(data_dims) < len(index_dims):
            raise ValueError(
                f"Shape must be at least rank {len(index_dims)} but is rank {len(data_dims)}"
            )
        merge_shapes(shape_of(data_dims[: len(index_dims)]), indices[i])
        rest = merge_shapes(rest, shape_of(data_dims[len(index_dims) :]))
    dims = dims_of(rest)
    if dims is None:
        return unknown_shape()
    first: Dims = [top + 1 if known else None]
    return shape_of(first + dims)


class _Stitch(OpDef, abstract=True):
    def infer(self, ctx: Any, indices: Any, data: Any) -> TensorShape:
        return _stitch_shape(ctx, indices, data)

    def compute(self, xp: Any, indices: Any, data: Any) -> Any:
        where = [np.asarray(i) for i in indices]
        size = max((int(i.max()) for i in where if i.size), default=-1) + 1
        rest = data[0].shape[where[0].ndim :]
        merged = zeros_of(xp, (size, *rest), self.attrs["T"].as_numpy_dtype)
        for n, (index, values) in enumerate(zip(where, data)):
            if tuple(values.shape) != (*index.shape, *rest):
                raise invalid(
                    f"data[{n}].shape = {_text(values.shape)} does not start with "
                    f"indices[{n}].shape = {_text(index.shape)}"
                )
            bad = first_bad_index(index, size)
            if bad is not None:
                raise invalid(f"indices[{n}] is out of range: {bad[1]} is not in [0, {size})")
            flat = index.reshape(-1)
            rows = xp.reshape(values, (flat.size, *rest))
            if xp is np:
                merged[flat] = rows
            elif flat.size:
                last = {int(at): i for i, at in enumerate(flat)}
                keep = np.array(sorted(last.values()))
                merged = merged.at[flat[keep]].set(rows[keep])
        return merged

    def gradient(self, op: Any, grad: Any) -> Any:
        count = len(op.inputs) // 2
        if isinstance(grad, IndexedSlices):
            rows = shape_tensor(op.outputs[0])[0]
            grad = raw.UnsortedSegmentSum(grad.values, grad.indices, rows)
        pieces = [raw.GatherV2(grad, op.inputs[i], 0) for i in range(count)]
        return [None] * count + pieces


class DynamicStitch(_Stitch):
    """The rows of `data` at their indices; later ones win."""

    indices = Input(int32, number="N")
    data = Input("T", number="N")
    merged = Output("T")
    N = Attr("int", minimum=1)
    T = type_attr()
    static_inputs = ("indices",)


class ParallelDynamicStitch(_Stitch):
    """DynamicStitch for indices that do not repeat."""

    indices = Input(int32, number="N")
    data = Input("T", number="N")
    merged = Output("T")
    N = Attr("int", minimum=1)
    T = type_attr()
    static_inputs = ("indices",)


def dynamic_partition(
    data: Any, partitions: Any, num_partitions: int, name: str | None = None
) -> list[Tensor]:
    """`data` split into `num_partitions` tensors by the int32 `partitions`, whose shape starts data's (tf.dynamic_partition)."""
    return raw.DynamicPartition(data, partitions, num_partitions=num_partitions, name=name)


def dynamic_stitch(indices: Any, data: Any, name: str | None = None) -> Tensor:
    """`merged[indices[m][i, ...], ...] = data[m][i, ..., ...]`; later entries win (tf.dynamic_stitch)."""
    return raw.DynamicStitch(indices, data, name=name)
