"""Reverse, ReverseV2, ReverseSequence."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.dtypes import bool, int32, int64, string
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import INDEX, dims_of, ints, invalid, merge_dim, shape_of, with_rank

_INTS = tuple(
    getattr(dtypes, n) for n in ["uint8", "int8", "uint16", "int16", "int32", "int64", "bool"]
)
_REST = (
    dtypes.float16,
    dtypes.float32,
    dtypes.float64,
    dtypes.complex64,
    dtypes.complex128,
    string,
)


class Reverse(OpDef):
    """`tensor` backwards along the dimensions whose flag is set."""

    tensor, dims = Input("T"), Input(bool)
    output = Output("T")
    T = type_attr((*_INTS, *_REST))
    static_inputs = ("dims",)

    def infer(self, ctx: Any, tensor: TensorShape, dims: TensorShape) -> TensorShape:
        with_rank(dims, 1)
        length = dims.as_list()[0] if dims.ndims == 1 else None
        if length is not None:
            tensor = with_rank(tensor, length)
        return tensor

    def compute(self, xp: Any, tensor: Any, dims: Any) -> Any:
        if len(dims) != np.ndim(tensor):
            raise invalid(
                f"'dims' must have the same number of values as 'input' has dimensions. 'input' has "
                f"{np.ndim(tensor)}'dims' has {len(dims)} values"
            )
        return xp.flip(tensor, tuple(i for i, flag in enumerate(dims) if flag))

    def gradient(self, op: Any, grad: Any) -> Any:
        return raw.Reverse(grad, op.inputs[1]), None


class ReverseV2(OpDef):
    """`tensor` backwards along the dimensions in `axis`."""

    tensor, axis = Input("T"), Input("Tidx")
    output = Output("T")
    Tidx = type_attr(INDEX, int32)
    T = type_attr((*_INTS, dtypes.bfloat16, *_REST))
    static_inputs = ("axis",)

    def infer(self, ctx: Any, tensor: TensorShape, axis: TensorShape) -> TensorShape:
        with_rank(axis, 1)
        value, rank = ctx.value(1), tensor.ndims
        if value is not None and rank is not None:
            seen = set()
            for d in ints(value):
                if not -rank <= d < rank:
                    raise ValueError(f"'axis'[{d}] = {d} is out of valid range [0, {rank - 1})")
                if d % rank in seen:
                    raise ValueError(f"axis {d % rank} specified more than once.")
                seen.add(d % rank)
        return tensor

    def compute(self, xp: Any, tensor: Any, axis: Any) -> Any:
        rank = np.ndim(tensor)
        for i, d in enumerate(ints(axis)):
            if not -rank <= d < rank:
                raise invalid(f"'axis'[{i}] = {d} is out of valid range [0, {rank - 1}")
        if len({d % max(rank, 1) for d in ints(axis)}) != len(ints(axis)):
            raise invalid(f"axis {ints(axis)} specified more than once.")
        return xp.flip(tensor, tuple(ints(axis)))

    def gradient(self, op: Any, grad: Any) -> Any:
        return raw.ReverseV2(grad, op.inputs[1]), None


class ReverseSequence(OpDef):
    """The first seq_lengths[i] elements of each batch entry backwards."""

    input, seq_lengths = Input("T"), Input("Tlen")
    output = Output("T")
    seq_dim = Attr("int")
    batch_dim = Attr("int", 0)
    T = type_attr()
    Tlen = type_attr(INDEX, int64)

    def infer(self, ctx: Any, input: TensorShape, seq_lengths: TensorShape) -> TensorShape:
        with_rank(seq_lengths, 1)
        seq, batch = self.attrs["seq_dim"], self.attrs["batch_dim"]
        dims = dims_of(input)
        if dims is None:
            return unknown_shape()
        if batch >= len(dims):
            raise ValueError(f"batch_dim must be < input rank: {batch} vs. {len(dims)}")
        if seq >= len(dims):
            raise ValueError(f"seq_dim must be < input rank: {seq} vs. {len(dims)}")
        if seq_lengths.ndims == 1:
            dims[batch] = merge_dim(dims[batch], seq_lengths.as_list()[0])
        return shape_of(dims)

    def compute(self, xp: Any, input: Any, seq_lengths: Any) -> Any:
        seq, batch = self.attrs["seq_dim"], self.attrs["batch_dim"]
        rank, size = np.ndim(input), input.shape[seq]
        if seq == batch:
            raise invalid(f"batch_dim == seq_dim == {seq}")
        if len(seq_lengths) != input.shape[batch]:
            raise invalid(
                f"Length of seq_lengths != input.dims({batch}), ({len(seq_lengths)} vs. "
                f"{input.shape[batch]})"
            )
        if xp is np:
            for d, n in enumerate(seq_lengths):
                if n < 0:
                    raise invalid(f"seq_lens({d}) < 0")
                if n > size:
                    raise invalid(f"seq_lens({d}) > input.dims({seq})")
        places = xp.arange(size).reshape([size if i == seq else 1 for i in range(rank)])
        counts = xp.reshape(
            seq_lengths, [input.shape[batch] if i == batch else 1 for i in range(rank)]
        )
        source = xp.where(places < counts, counts - 1 - places, places)
        source = xp.broadcast_to(source, input.shape)
        return xp.take_along_axis(input, source, seq)

    def gradient(self, op: Any, grad: Any) -> Any:
        return raw.ReverseSequence(
            grad,
            op.inputs[1],
            seq_dim=op.get_attr("seq_dim"),
            batch_dim=op.get_attr("batch_dim"),
        ), None


def reverse(tensor: Any, axis: Any, name: str | None = None) -> Tensor:
    """`tensor` backwards along the dimensions in the 1-D integer `axis` (tf.reverse)."""
    return raw.ReverseV2(tensor, axis, name=name)


def reverse_sequence(
    input: Any,
    seq_lengths: Any,
    seq_axis: int | None = None,
    batch_axis: int | None = None,
    name: str | None = None,
    seq_dim: int | None = None,
    batch_dim: int | None = None,
) -> Tensor:
    """The first `seq_lengths[i]` elements along `seq_axis` of entry i along `batch_axis` backwards
    (tf.reverse_sequence; old names `seq_dim`, `batch_dim`)."""
    for new, old, what in (
        (seq_axis, seq_dim, "seq"),
        (batch_axis, batch_dim, "batch"),
    ):
        if new is not None and old is not None:
            raise ValueError(f"Cannot specify both '{what}_axis' and '{what}_dim'")
    seq = seq_dim if seq_axis is None else seq_axis
    batch = batch_dim if batch_axis is None else batch_axis
    return raw.ReverseSequence(
        input, seq_lengths, seq_dim=seq, batch_dim=0 if batch is None else batch, name=name
    )
