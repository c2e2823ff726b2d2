"""Concat, ConcatV2, ConcatOffset, ParallelConcat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flowmesh.core.dtypes import int32
from flowmesh.core.shapes import TensorShape, as_shape, unknown_shape
from flowmesh.graph.composite import IndexedSlices
from flowmesh.graph.constant_value import constant_value
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import (
    INDEX,
    dims_of,
    ints,
    invalid,
    merge_shapes,
    shape_of,
    with_rank,
    with_rank_at_least,
)
from flowmesh.ops.constant import constant
from flowmesh.ops.flow_context import output_context
from flowmesh.ops.naming import name_scope
from flowmesh.ops.shape_ops import rank as rank_tensor, shape as shape_tensor, shape_n


def concat_shapes(shapes: Sequence[TensorShape], axis: int | None) -> TensorShape:
    """The shape of a concatenation along `axis` (None: not known yet)."""
    ranks = [s.ndims for s in shapes if s.ndims is not None]
    if not ranks:
        return unknown_shape()
    if 0 in ranks:
        raise ValueError("Can't concatenate scalars (use tf.stack instead)")
    for s in shapes:
        with_rank(s, ranks[0])
    if axis is None:
        return unknown_shape(rank=ranks[0])
    need = axis + 1 if axis >= 0 else -axis
    before: TensorShape | None = None
    after = before
    total: int | None = 0
    for s in reversed(shapes):
        with_rank_at_least(s, need)
        dims = dims_of(s)
        if dims is None:
            total = None
            continue
        at = axis % len(dims)
        total = None if total is None or dims[at] is None else total + (dims[at] or 0)
        head, tail = shape_of(dims[:at]), shape_of(dims[at + 1 :])
        before = head if before is None else merge_shapes(head, before)
        after = tail if after is None else merge_shapes(tail, after)
    if before is None or after is None:
        return unknown_shape()
    return before.concatenate([total]).concatenate(after)


def _concatenate(xp: Any, axis: Any, values: Sequence[Any]) -> Any:
    at, rank = ints(axis)[0], np.ndim(values[0])
    if not -rank <= at < rank and not (rank == 0 and at in (0, -1)):
        raise invalid(
            f"ConcatOp : Expected concatenating dimensions in the range [{-rank}, {rank}), but got {at}"
        )
    for i, value in enumerate(values):
        if np.ndim(value) != rank:
            raise invalid(
                f"ConcatOp : Ranks of all input tensors should match: shape[0] = {_bracketed(values[0])} "
                f"vs. shape[{i}] = {_bracketed(value)}"
            )
        same = all(
            p == q or d == at % rank for d, (p, q) in enumerate(zip(values[0].shape, value.shape))
        )
        if not same:
            raise invalid(
                f"ConcatOp : Dimensions of inputs should match: shape[0] = {_bracketed(values[0])} "
                f"vs. shape[{i}] = {_bracketed(value)}"
            )
    if rank == 0:
        return xp.stack(list(values))
    return xp.concatenate(list(values), at)


def _bracketed(value: Any) -> str:
    return "[" + ",".join(str(d) for d in np.shape(value)) + "]"


def _input_shapes(values: Sequence[Tensor]) -> list[Tensor]:
    """Constants where all static shapes are known, else one ShapeN."""
    sizes = []
    for value in values:
        size = shape_tensor(value)
        if size.op.type != "Const":
            return shape_n(values)
        sizes.append(size)
    return sizes


def _concat_gradient(values: Sequence[Tensor], axis: Any, grad: Any) -> list[Any]:
    if len(values) == 1:
        return [grad]
    if isinstance(grad, IndexedSlices):
        return _sparse_concat_gradient(values, axis, grad)
    if axis.op.type == "Const" and output_context(axis.op) is not output_context(grad.op):
        axis = constant(np.array(constant_value(axis)), axis.dtype)
    at = axis % rank_tensor(values[0])
    sizes = _input_shapes(values)
    if len(values) > 16:
        along = raw.Squeeze(raw.Slice(raw.Pack(sizes, axis=1), [at, 0], [1, -1]))
        return list(raw.SplitV(grad, along, at, num_split=len(values)))
    offsets = raw.ConcatOffset(at, sizes)
    return [raw.Slice(grad, begin, size) for begin, size in zip(offsets, sizes)]


def _sparse_concat_gradient(
    values: Sequence[Tensor], axis: Tensor, grad: IndexedSlices
) -> list[Any]:
    at = constant_value(axis)
    if at is None:
        raise ValueError("Can only compute IndexedSlices gradient with statically-known concat_dim")
    at = int(at)
    if at < 0:
        ndims = values[0].shape.ndims
        if ndims is None:
            raise ValueError(
                "Can only compute IndexedSlices gradient with negative concat_dim when first value rank is "
                "statically-known."
            )
        at %= ndims
    grads: list[Any] = []
    shapes = [raw.Shape(v, out_type=grad.indices.dtype) for v in values]
    if at > 0:
        starts = raw.ConcatOffset(at, [raw.Shape(v) for v in values])
        for begin, size, whole in zip(starts, [raw.Shape(v) for v in values], shapes):
            slice_begin = raw.ConcatV2([[0], begin[1:]], 0)
            slice_size = raw.ConcatV2([[-1], size[1:]], 0)
            part = raw.Slice(grad.values, slice_begin, slice_size)
            grads.append(IndexedSlices(part, grad.indices, whole))
        return grads
    start = constant(0, grad.indices.dtype)
    for size, whole in zip([raw.Shape(v, out_type=grad.indices.dtype) for v in values], shapes):
        end = start + size[0]
        inside = raw.LogicalAnd(raw.GreaterEqual(grad.indices, start), raw.Less(grad.indices, end))
        picked = raw.Squeeze(raw.Where(inside), squeeze_dims=[1])
        grads.append(
            IndexedSlices(
                raw.GatherV2(grad.values, picked, 0),
                raw.GatherV2(grad.indices, picked, 0) - start,
                whole,
            )
        )
        start = end
    return grads


class Concat(OpDef):
    """The values joined along `concat_dim`."""

    concat_dim = Input(int32)
    values = Input("T", number="N")
    output = Output("T")
    N = Attr("int", minimum=2)
    T = type_attr()
    static_inputs = ("concat_dim",)

    def infer(self, ctx: Any, concat_dim: TensorShape, values: Any) -> TensorShape:
        with_rank(concat_dim, 0)
        axis = ctx.value(0)
        return concat_shapes(values, None if axis is None else int(axis))

    def compute(self, xp: Any, concat_dim: Any, values: Any) -> Any:
        return _concatenate(xp, concat_dim, values)

    def gradient(self, op: Any, grad: Any) -> Any:
        return [None, *_concat_gradient(op.inputs[1:], op.inputs[0], grad)]


class ConcatV2(OpDef):
    """The values joined along `axis`."""

    values = Input("T", number="N")
    axis = Input("Tidx")
    output = Output("T")
    N = Attr("int", minimum=2)
    T = type_attr()
    Tidx = type_attr(INDEX, int32)
    static_inputs = ("axis",)

    def infer(self, ctx: Any, values: Any, axis: TensorShape) -> TensorShape:
        with_rank(axis, 0)
        at = ctx.value(len(values))
        return concat_shapes(values, None if at is None else int(at))

    def compute(self, xp: Any, values: Any, axis: Any) -> Any:
        return _concatenate(xp, axis, values)

    def gradient(self, op: Any, grad: Any) -> Any:
        return [*_concat_gradient(op.inputs[:-1], op.inputs[-1], grad), None]


class ConcatOffset(OpDef):
    """Where each value starts in their concatenation."""

    concat_dim = Input(int32)
    shape = Input(int32, number="N")
    offset = Output(int32, number="N")
    N = Attr("int", minimum=2)
    NotDifferentiable = True
    static_inputs = ("concat_dim", "shape")

    def infer(self, ctx: Any, concat_dim: TensorShape, shape: Any) -> Any:
        return [with_rank(s, 1) for s in shape]

    def compute(self, xp: Any, concat_dim: Any, shape: Any) -> Any:
        rank, at = len(shape[0]), ints(concat_dim)[0]
        if not -rank <= at < rank:
            raise invalid(f"Concat dim is out of range: {at} vs. {rank}")
        offsets, start = [], 0
        for i, sizes in enumerate(shape):
            if len(sizes) != rank:
                raise invalid(f"input {i} should contain {rank} elements, but got {len(sizes)}")
            offset = np.zeros(rank, np.int32)
            offset[at] = start
            start += int(sizes[at])
            offsets.append(offset)
        return (offsets,)


class ParallelConcat(OpDef):
    """The values, each of leading size 1, joined along dimension 0."""

    values = Input("T", number="N")
    output = Output("T")
    N = Attr("int", minimum=1)
    T = type_attr()
    shape = Attr("shape")

    def infer(self, ctx: Any, values: Any) -> TensorShape:
        shape: TensorShape = self.attrs["shape"]
        if not shape.is_fully_defined():
            raise ValueError("shape attr must be fully defined.")
        for value in values:
            merge_shapes(value, TensorShape([1, *shape.as_list()[1:]]))
        return shape

    def compute(self, xp: Any, values: Any) -> Any:
        return xp.concatenate(list(values), 0)


def concat(values: Any, axis: Any, name: str = "concat") -> Tensor:
    """The tensors `values` (all of one dtype) joined along dimension `axis` (tf.concat).

    Raises ValueError when the static shapes differ elsewhere; one single value gives an Identity.
    """
    if not isinstance(values, (list, tuple)):
        values = [values]
    if len(values) == 1:
        with name_scope(name):
            checked = convert_to_tensor(axis, int32, name="concat_dim")
            merge_shapes(checked.shape, TensorShape([]))
            return raw.Identity(values[0], name="concat")
    return raw.ConcatV2(list(values), axis, name=name)


def parallel_stack(values: Any, name: str = "parallel_stack") -> Tensor:
    """The tensors `values` of one fully known shape, stacked along a new first dimension (tf.parallel_stack)."""
    with name_scope(name):
        first = convert_to_tensor(values[0])
        whole = as_shape([len(values)]).concatenate(first.shape)
        return raw.ParallelConcat([raw.ExpandDims(v, 0) for v in values], shape=whole)
