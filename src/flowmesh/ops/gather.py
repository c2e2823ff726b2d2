"""Gather, GatherV2, GatherNd."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flowmesh.core.dtypes import int32, int64
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph.composite import IndexedSlices
from flowmesh.graph.constant_value import constant_value
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import (
    INDEX,
    dims_of,
    first_bad_index,
    invalid,
    merge_shapes,
    shape_of,
    with_rank_at_least,
)
from flowmesh.ops.concat import concat
from flowmesh.ops.fill import ones, zeros
from flowmesh.ops.naming import name_scope
from flowmesh.ops.reshape import reshape
from flowmesh.ops.sequence import range as range_tensor
from flowmesh.ops.shape_ops import shape as shape_tensor, size as size_tensor
from flowmesh.ops.stack import stack
from flowmesh.ops.transpose import transpose


def bad_index_error(indices: np.ndarray, limit: int) -> Exception | None:
    """The error for the first index that is not in [0, limit), if there is one."""
    bad = first_bad_index(indices, limit)
    if bad is None:
        return None
    at, value = bad
    where = ",".join(map(str, at))
    name = f"indices[{where}]" if at else "indices"
    return invalid(f"{name} = {value} is not in [0, {limit})")


def bad_vector_error(indices: np.ndarray, shape: list[int]) -> Exception | None:
    """The error for the first index vector that is not within `shape`, if there is one."""
    for d in range(indices.shape[-1]):
        bad = first_bad_index(indices[..., d], shape[d])
        if bad is not None:
            where = ",".join(map(str, bad[0]))
            vector = ", ".join(str(int(v)) for v in indices[bad[0]])
            return invalid(
                f"indices[{where}] = [{vector}] does not index into param shape {_text(shape)}"
            )
    return None


def _take(xp: Any, params: Any, indices: Any, axis: int) -> Any:
    """`params` at `indices` along `axis`; an index out of bounds is an error in NumPy, 0 in a program (see `value_checks`)."""
    if xp is np:
        error = bad_index_error(np.asarray(indices), params.shape[axis])
        if error is not None:
            raise error
        return np.asarray(np.take(params, indices, axis), params.dtype)
    return xp.take(params, indices, axis=axis, mode="fill", fill_value=0)


class Gather(OpDef):
    """Rows of `params`."""

    params, indices = Input("Tparams"), Input("Tindices")
    output = Output("Tparams")
    validate_indices = Attr("bool", True)
    Tparams = type_attr()
    Tindices = type_attr(INDEX)

    def infer(self, ctx: Any, params: TensorShape, indices: TensorShape) -> TensorShape:
        dims, more = dims_of(params), dims_of(indices)
        if dims is not None and not dims:
            raise ValueError("Shape must be at least rank 1 but is rank 0")
        return shape_of(None if dims is None or more is None else more + dims[1:])

    def compute(self, xp: Any, params: Any, indices: Any) -> Any:
        return _take(xp, params, indices, 0)

    def gradient(self, op: Any, grad: Any) -> Any:
        return _row_gradient(op, grad), None


def _row_gradient(op: Any, grad: Any) -> IndexedSlices:
    """The gradient of rows as IndexedSlices; the shape of the rows' source stands next to it."""
    params, indices = op.inputs[0], op.inputs[1]
    with params.graph.colocate_with(params):
        whole = shape_tensor(params, out_type=int64)
        whole = raw.Cast(whole, DstT=int32)
    rows = raw.ExpandDims(size_tensor(indices), 0)
    values_shape = concat([rows, whole[1:]], 0)
    values = reshape(grad, values_shape)
    flat = reshape(indices, rows)
    return IndexedSlices(values, flat, whole)


class GatherV2(OpDef):
    """Slices of `params` along `axis`."""

    params, indices, axis = Input("Tparams"), Input("Tindices"), Input("Taxis")
    output = Output("Tparams")
    batch_dims = Attr("int", 0)
    Tparams = type_attr()
    Tindices = type_attr(INDEX)
    Taxis = type_attr(INDEX)
    static_inputs = ("axis",)

    def infer(
        self, ctx: Any, params: TensorShape, indices: TensorShape, axis: TensorShape
    ) -> TensorShape:
        with_rank_at_least(params, 1)
        dims, more, at = dims_of(params), dims_of(indices), ctx.value(2)
        batch = self.attrs["batch_dims"]
        if at is None:
            if dims is not None and more is not None and batch >= 0:
                return unknown_shape(rank=len(dims) + len(more) - 1 - batch)
            return unknown_shape()
        at = int(at)
        need = at + 1 if at >= 0 else -at
        if dims is not None and len(dims) < need:
            raise ValueError(f"Shape must be at least rank {need} but is rank {len(dims)}")
        if dims is None or more is None:
            return unknown_shape()
        at %= len(dims)
        batch = batch + len(more) if batch < 0 else batch
        if batch > at:
            raise ValueError(f"batch_dims ({batch}) must be less than or equal to axis ({at})")
        head = merge_shapes(shape_of(dims[:batch]), shape_of(more[:batch])).as_list()
        return shape_of(head + dims[batch:at] + more[batch:] + dims[at + 1 :])

    def compute(self, xp: Any, params: Any, indices: Any, axis: Any) -> Any:
        rank, at = np.ndim(params), int(axis)
        if not -rank <= at < rank:
            raise invalid(f"Expected axis in the range [{-rank}, {rank}), but got {at}")
        at %= rank
        batch = self.attrs["batch_dims"]
        batch = batch + np.ndim(indices) if batch < 0 else batch
        if batch == 0:
            return _take(xp, params, indices, at)
        return _batch_take(xp, params, indices, at, batch)

    def gradient(self, op: Any, grad: Any) -> Any:
        axis = constant_value(op.inputs[2])
        if axis is not None and int(axis) == 0 and op.get_attr("batch_dims") == 0:
            return _row_gradient(op, grad), None, None
        return _axis_gradient(op, grad), None, None


def _batch_take(xp: Any, params: Any, indices: Any, axis: int, batch: int) -> Any:
    """Gathers with shared leading dimensions, as one gather from the flattened batch."""
    if xp is np:
        error = bad_index_error(np.asarray(indices), params.shape[axis])
        if error is not None:
            raise error
    lead = params.shape[:batch]
    outer = params.shape[batch:axis]
    inner = params.shape[axis + 1 :]
    count = math.prod(lead)
    moved = xp.moveaxis(xp.reshape(params, (count, *params.shape[batch:])), axis - batch + 1, 1)
    flat_indices = xp.reshape(indices, (count, -1))
    rows = moved[np.arange(count)[:, None], flat_indices]
    rows = xp.reshape(rows, (count, *indices.shape[batch:], *outer, *inner))
    picked = len(indices.shape) - batch
    order = (
        [0]
        + [1 + picked + i for i in range(len(outer))]
        + [1 + i for i in range(picked)]
        + [1 + picked + len(outer) + i for i in range(len(inner))]
    )
    return xp.reshape(xp.transpose(rows, order), (*lead, *outer, *indices.shape[batch:], *inner))


def _axis_gradient(op: Any, grad: Any) -> Tensor:
    """The gradient along another axis than 0: a segment sum over the axis moved behind the shared dimensions."""
    params, indices, axis = op.inputs
    batch = op.get_attr("batch_dims")
    batch = batch + (indices.shape.ndims or 0) if batch < 0 else batch
    with params.graph.colocate_with(params):
        whole = raw.Cast(shape_tensor(params, out_type=int64), DstT=int32)
    raw.ExpandDims(size_tensor(indices), 0)
    outer = whole[:axis]
    inner = whole[axis:][1:]
    values_shape = concat([outer, [-1], inner], 0)
    values_dims = size_tensor(values_shape)
    axis_dims: Any = size_tensor(outer)
    shared = range_tensor(batch)
    between: Any = range_tensor(batch, axis_dims)
    behind = range_tensor(axis_dims + 1, values_dims)
    values = reshape(grad, values_shape)
    moved = transpose(values, concat([shared, [axis_dims], between, behind], 0))
    total = _segment_gradient(whole, moved, indices, batch, whole[axis])
    result = transpose(total, concat([shared, between + 1, [batch], behind], 0))
    result.set_shape(params.shape)
    return result


def _segment_gradient(
    whole: Tensor, values: Tensor, indices: Tensor, batch: int, count: Tensor
) -> Tensor:
    """`values` summed by index, separately for each entry of the `batch` leading dimensions."""
    rows = raw.ExpandDims(size_tensor(indices), 0)
    if not batch:
        return raw.UnsortedSegmentSum(values, reshape(indices, rows), count)
    values_shape = shape_tensor(values)
    outer, inner = values_shape[:batch], values_shape[batch:][1:]
    entries = raw.Prod(outer, [0])
    places = _with_offsets(concat([whole[:batch], [count]], 0), indices, batch)
    flat_values = reshape(values, concat([[-1], inner], 0))
    total = raw.UnsortedSegmentSum(flat_values, reshape(places, rows), count * entries)
    return reshape(total, concat([outer, [-1], inner], 0))


def _with_offsets(whole: Tensor, indices: Any, batch: int) -> Any:
    """Indices into dimension `batch` as indices into the first batch + 1 dimensions flattened to one."""
    rank, dtype = indices.shape.ndims, indices.dtype.base_dtype
    if rank is None:
        raise ValueError("batch_gather does not allow indices with unknown shape.")
    step: Any = ones((), dtype)
    sizes = raw.Cast(whole, DstT=dtype)
    for dim in range(batch, 0, -1):
        size = sizes[dim - 1]
        step = step * sizes[dim]
        along = raw.Range(zeros((), dtype), size, ones((), dtype)) * step
        column = stack([1] * (dim - 1) + [size] + [1] * (rank - dim), axis=0)
        indices = indices + reshape(along, column)
    return indices


class GatherNd(OpDef):
    """Slices of `params` at index vectors."""

    params, indices = Input("Tparams"), Input("Tindices")
    output = Output("Tparams")
    Tparams = type_attr()
    Tindices = type_attr(INDEX)

    def infer(self, ctx: Any, params: TensorShape, indices: TensorShape) -> TensorShape:
        dims, more = dims_of(params), dims_of(indices)
        if more is not None and not more:
            raise ValueError("Shape must be at least rank 1 but is rank 0")
        if dims is None or more is None or more[-1] is None:
            return unknown_shape()
        if more[-1] > len(dims):
            raise ValueError(
                f"indices.shape[-1] must be <= params.rank, but saw indices shape: "
                f"{_text(more)} and params shape: {_text(dims)}"
            )
        return shape_of(more[:-1] + dims[more[-1] :])

    def compute(self, xp: Any, params: Any, indices: Any) -> Any:
        depth = indices.shape[-1]
        if depth > np.ndim(params):
            raise invalid("index innermost dimension length must be <= params rank")
        if xp is np:
            error = bad_vector_error(indices, list(params.shape))
            if error is not None:
                raise error
            taken = params[tuple(indices[..., d] for d in range(depth))] if depth else None
        elif depth:
            taken = params.at[tuple(indices[..., d] for d in range(depth))].get(
                mode="fill", fill_value=0
            )
        if not depth:
            return xp.broadcast_to(params, indices.shape[:-1] + params.shape)
        return np.asarray(taken, params.dtype) if xp is np else taken

    def gradient(self, op: Any, grad: Any) -> Any:
        params, indices = op.inputs
        whole = shape_tensor(params, out_type=indices.dtype)
        if indices.shape.ndims == 2 and indices.shape.as_list()[-1] == 1:
            return IndexedSlices(grad, raw.Squeeze(indices, squeeze_dims=[-1]), whole), None
        return raw.ScatterNd(indices, grad, whole), None


def _text(dims: Any) -> str:
    return "[" + ",".join("?" if d is None else str(d) for d in dims) + "]"


def gather(
    params: Any,
    indices: Any,
    validate_indices: Any = None,
    name: str | None = None,
    axis: Any = None,
    batch_dims: int = 0,
) -> Tensor:
    """Slices of `params` at integer `indices` along `axis` (default: `batch_dims`) (tf.gather).

    The result has the shape params.shape[:axis] + indices.shape[batch_dims:] + params.shape[axis + 1:]. An index out
    of bounds raises InvalidArgumentError on the CPU and gives 0 on a GPU.
    """
    del validate_indices
    if axis is None:
        axis = batch_dims
    axis_value = axis if isinstance(axis, Tensor) else int(axis)
    if not isinstance(axis_value, Tensor) and axis_value == 0 and batch_dims == 0:
        reader = getattr(params, "sparse_read", None)
        if reader is not None:
            return reader(indices, name=name)
    return raw.GatherV2(params, indices, axis, batch_dims=batch_dims, name=name)


def gather_nd(params: Any, indices: Any, name: str | None = None, batch_dims: int = 0) -> Tensor:
    """Slices of `params` at the index vectors in the last dimension of `indices` (tf.gather_nd).

    The result has the shape indices.shape[:-1] + params.shape[indices.shape[-1]:].
    """
    if batch_dims:
        return batch_gather_nd(params, indices, batch_dims, name)
    reader = getattr(params, "gather_nd", None)
    if reader is not None and not isinstance(params, Tensor):
        return reader(indices, name=name)
    return raw.GatherNd(params, indices, name=name)


def batch_gather_nd(params: Any, indices: Any, batch_dims: int, name: str | None = None) -> Tensor:
    """`gather_nd` with `batch_dims` leading dimensions shared by both arguments."""
    with name_scope(name, "BatchGatherND", [params, indices]):
        params = convert_to_tensor(params)
        indices = convert_to_tensor(indices)
        rank = indices.shape.ndims
        if rank is None:
            raise ValueError("batch_gather_nd does not allow indices with unknown shape.")
        if not 0 <= batch_dims < rank:
            raise ValueError(f"batch_dims = {batch_dims} must be in [0, {rank})")
        sizes = raw.Unpack(raw.Slice(shape_tensor(indices), [0], [batch_dims]), num=batch_dims)
        columns = []
        for i, size in enumerate(sizes):
            shape = [1] * rank
            shape[i] = -1
            column = reshape(raw.Cast(raw.Range(0, size, 1), DstT=indices.dtype.base_dtype), shape)
            columns.append(column + raw.ZerosLike(indices[..., :1]))
        return raw.GatherNd(params, raw.ConcatV2([*columns, indices], -1))


def batch_gather(params: Any, indices: Any, name: str | None = None) -> Tensor:
    """`gather` with all but the last dimension of `indices` shared (tf.batch_gather).

    Raises ValueError when the rank of `indices` is unknown.
    """
    with name_scope(name, "BatchGather", [params, indices]):
        indices = convert_to_tensor(indices, name="indices")
        params = convert_to_tensor(params, name="params")
        if indices.shape.ndims is None:
            raise ValueError("batch_gather does not allow indices with unknown shape.")
        batch = indices.shape.ndims - 1
        indices_shape = shape_tensor(indices)
        whole = shape_tensor(params)
        flat = reshape(_with_offsets(whole, indices, batch), [-1])
        rest = whole[batch + 1 :]
        rows = raw.Prod(whole[: batch + 1], [0])
        taken = gather(reshape(params, concat([[rows], rest], 0)), flat)
        return reshape(taken, concat([indices_shape, rest], 0))
