"""Shape, size and rank of tensors; constants where the static shape is known."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.dtypes import int32
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph import hooks
from flowmesh.graph.composite import SparseTensor
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import INDEX, invalid, shape_of
from flowmesh.ops.constant import constant
from flowmesh.ops.naming import name_scope


def _shape_vector(shape: TensorShape) -> TensorShape:
    return TensorShape([shape.ndims])


class Shape(OpDef):
    """The shape of the input as a vector."""

    input = Input("T")
    output = Output("out_type")
    T = type_attr()
    out_type = type_attr(INDEX, int32)
    NotDifferentiable = True

    def infer(self, ctx: Any, input: TensorShape) -> TensorShape:
        return _shape_vector(input)

    def compute(self, xp: Any, input: Any) -> Any:
        return np.array(np.shape(input), self.attrs["out_type"].as_numpy_dtype)


class ShapeN(OpDef):
    """The shapes of the inputs as vectors."""

    input = Input("T", number="N")
    output = Output("out_type", number="N")
    N = Attr("int", minimum=1)
    T = type_attr()
    out_type = type_attr(INDEX, int32)
    NotDifferentiable = True

    def infer(self, ctx: Any, input: Any) -> Any:
        return [_shape_vector(s) for s in input]

    def compute(self, xp: Any, input: Any) -> Any:
        dtype = self.attrs["out_type"].as_numpy_dtype
        return ([np.array(np.shape(x), dtype) for x in input],)


class Size(OpDef):
    """The number of elements of the input."""

    input = Input("T")
    output = Output("out_type")
    T = type_attr()
    out_type = type_attr(INDEX, int32)
    NotDifferentiable = True

    def infer(self, ctx: Any, input: TensorShape) -> TensorShape:
        return TensorShape([])

    def compute(self, xp: Any, input: Any) -> Any:
        return np.array(
            np.prod(np.shape(input), dtype=np.int64), self.attrs["out_type"].as_numpy_dtype
        )


class Rank(OpDef):
    """The number of dimensions of the input."""

    input = Input("T")
    output = Output(int32)
    T = type_attr()
    NotDifferentiable = True

    def infer(self, ctx: Any, input: TensorShape) -> TensorShape:
        return TensorShape([])

    def compute(self, xp: Any, input: Any) -> Any:
        return np.array(np.ndim(input), np.int32)


class BroadcastArgs(OpDef):
    """The shape that two shapes broadcast to."""

    s0, s1 = Input("T"), Input("T")
    r0 = Output("T")
    T = type_attr(INDEX, int32)
    static_inputs = ("s0", "s1")

    def infer(self, ctx: Any, s0: TensorShape, s1: TensorShape) -> TensorShape:
        if s0.ndims == 1 and s1.ndims == 1:
            a, b = s0.as_list()[0], s1.as_list()[0]
            return TensorShape([None if a is None or b is None else max(a, b)])
        return unknown_shape(rank=1)

    def compute(self, xp: Any, s0: Any, s1: Any) -> Any:
        try:
            shape = np.broadcast_shapes(tuple(int(d) for d in s0), tuple(int(d) for d in s1))
        except ValueError:
            raise invalid(
                f"Incompatible shapes: [{','.join(map(str, s0))}] vs. [{','.join(map(str, s1))}]"
            ) from None
        return np.array(shape, self.attrs["T"].as_numpy_dtype)


def shape_internal(
    input: Any, name: str | None = None, optimize: bool = True, out_type: Any = int32
) -> Tensor:
    """`tf.shape`; without `optimize` always a Shape node."""
    with name_scope(name, "Shape", [input]) as scope:
        if isinstance(input, SparseTensor):
            return raw.Cast(input.dense_shape, DstT=dtypes.as_dtype(out_type))
        tensor = convert_to_tensor(input)
        if optimize and tensor.shape.is_fully_defined():
            return constant(tensor.shape.as_list(), out_type, name=scope)
        return raw.Shape(tensor, out_type=out_type, name=scope)


def size_internal(
    input: Any, name: str | None = None, optimize: bool = True, out_type: Any = int32
) -> Tensor:
    """`tf.size`; without `optimize` always a Size node."""
    with name_scope(name, "Size", [input]) as scope:
        if isinstance(input, SparseTensor):
            return raw.Prod(
                raw.Cast(input.dense_shape, DstT=dtypes.as_dtype(out_type)), 0, name=scope
            )
        tensor = convert_to_tensor(input)
        if optimize:
            count = tensor.shape.num_elements()
            if count is not None:
                return constant(count, out_type, name=scope)
        return raw.Size(tensor, out_type=out_type, name=scope)


def rank_internal(input: Any, name: str | None = None, optimize: bool = True) -> Tensor:
    """`tf.rank`; without `optimize` always a Rank node."""
    with name_scope(name, "Rank", [input]) as scope:
        if isinstance(input, SparseTensor):
            return raw.Size(input.dense_shape, name=scope)
        tensor = convert_to_tensor(input)
        if optimize and tensor.shape.ndims is not None:
            return constant(tensor.shape.ndims, int32, name=scope)
        return raw.Rank(tensor, name=scope)


def shape(input: Any, name: str | None = None, out_type: Any = int32) -> Tensor:
    """The shape of `input` (a tensor or SparseTensor) as a 1-D tensor of `out_type` (tf.shape).

    A constant when the static shape is fully known.
    """
    return shape_internal(input, name, True, out_type)


def shape_n(input: Any, out_type: Any = int32, name: str | None = None) -> list[Tensor]:
    """The shapes of a list of tensors of one dtype (tf.shape_n)."""
    return raw.ShapeN(input, out_type=out_type, name=name)


def size(input: Any, name: str | None = None, out_type: Any = int32) -> Tensor:
    """The number of elements of `input` as a scalar of `out_type` (tf.size)."""
    return size_internal(input, name, True, out_type)


def rank(input: Any, name: str | None = None) -> Tensor:
    """The number of dimensions of `input` as an int32 scalar (tf.rank)."""
    return rank_internal(input, name, True)


def broadcast_dynamic_shape(shape_x: Any, shape_y: Any) -> Tensor:
    """The shape (1-D, int32 or int64) that two shapes broadcast to (tf.broadcast_dynamic_shape)."""
    return raw.BroadcastArgs(shape_x, shape_y)


def broadcast_static_shape(shape_x: TensorShape, shape_y: TensorShape) -> TensorShape:
    """The static shape that two static shapes broadcast to (tf.broadcast_static_shape).

    Raises ValueError when they cannot be broadcast together.
    """
    x, y = shape_x.key, shape_y.key
    if x is None or y is None:
        return unknown_shape()
    dims: list[int | None] = []
    for i in range(1, max(len(x), len(y)) + 1):
        a = x[-i] if i <= len(x) else 1
        b = y[-i] if i <= len(y) else 1
        if a is None or b is None:
            known = b if a is None else a
            dims.append(known if known is not None and known > 1 else None)
        elif a == b or b == 1:
            dims.append(a)
        elif a == 1:
            dims.append(b)
        else:
            raise ValueError(f"Incompatible shapes for broadcasting: {shape_x} and {shape_y}")
    return shape_of(dims[::-1])


hooks.shape_of = shape
