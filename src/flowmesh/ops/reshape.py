"""Reshape, ExpandDims, Squeeze."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flowmesh.core.dtypes import int32
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import INDEX, Dims, brackets, dims_of, ints, invalid, shape_of
from flowmesh.ops.shape_ops import shape as shape_tensor


def _one_unknown(dims: Dims) -> tuple[int, int | None, bool]:
    """(product of the known sizes, where the one unknown is, whether there are several)."""
    unknown = [i for i, d in enumerate(dims) if d is None]
    known = math.prod(d for d in dims if d is not None)
    return known, unknown[0] if unknown else None, len(unknown) > 1


def reshaped_dims(source: Dims | None, target: Dims | None) -> Dims | None:
    """The sizes of a reshape from `source` to `target`, filled in where they follow."""
    if target is None or source is None:
        return target
    have, have_at, have_many = _one_unknown(source)
    want, want_at, want_many = _one_unknown(target)
    if have_many or want_many:
        return target
    target = list(target)
    if have_at is None and want_at is None:
        if have != want:
            raise ValueError(
                f"Cannot reshape a tensor with {have} elements to shape {brackets(target)} "
                f"({want} elements)"
            )
    elif have_at is None and want_at is not None:
        if want > 0:
            target[want_at] = _divide(have, want)
    elif want_at is None:
        if have > 0:
            _divide(want, have)
    elif have == want and have_at is not None:
        target[want_at] = source[have_at]
    return target


def _divide(total: int, part: int) -> int:
    if total % part:
        raise ValueError(f"Dimension size must be evenly divisible by {part} but is {total}")
    return total // part


class Reshape(OpDef):
    """The elements of `tensor` in another shape; -1 stands for what is left."""

    tensor, shape = Input("T"), Input("Tshape")
    output = Output("T")
    T = type_attr()
    Tshape = type_attr(INDEX, int32)
    static_inputs = ("shape",)

    def infer(self, ctx: Any, tensor: TensorShape, shape: TensorShape) -> TensorShape:
        if shape.ndims is not None and shape.ndims != 1:
            value = ctx.value(1)
            if not (shape.ndims == 0 and value is not None and int(value) == -1):
                raise ValueError(f"Shape must be rank 1 but is rank {shape.ndims}")
        target = dims_of(ctx.value_as_shape(1))
        return shape_of(reshaped_dims(dims_of(tensor), target))

    def compute(self, xp: Any, tensor: Any, shape: Any) -> Any:
        wanted = ints(shape)
        if tensor.shape == tuple(wanted):
            return tensor
        size = math.prod(tensor.shape)
        open_dims = [i for i, d in enumerate(wanted) if d == -1]
        if len(open_dims) > 1:
            raise invalid(
                f"Only one input size may be -1, not both {open_dims[0]} and {open_dims[1]}"
            )
        for i, d in enumerate(wanted):
            if d < -1:
                raise invalid(f"Size {i} must be non-negative, not {d}")
        if open_dims:
            rest = math.prod(d for d in wanted if d != -1)
            if rest == 0 and size == 0:
                raise invalid(
                    "reshape cannot infer the missing input size for an empty tensor unless all "
                    "specified input sizes are non-zero"
                )
            if rest == 0 or size % rest:
                raise invalid(
                    f"Input to reshape is a tensor with {size} values, but the requested shape requires "
                    f"a multiple of {rest}"
                )
            wanted[open_dims[0]] = size // rest
        if math.prod(wanted) != size:
            raise invalid(
                f"Input to reshape is a tensor with {size} values, but the requested shape has "
                f"{math.prod(wanted)}"
            )
        return xp.reshape(tensor, wanted)

    def gradient(self, op: Any, grad: Any) -> Any:
        return raw.Reshape(grad, shape_tensor(op.inputs[0])), None


def _as_before(op: Any, grad: Any) -> Tensor:
    return raw.Reshape(grad, shape_tensor(op.inputs[0]))


class ExpandDims(OpDef):
    """The input with a dimension of size 1 inserted."""

    input, dim = Input("T"), Input("Tdim")
    output = Output("T")
    T = type_attr()
    Tdim = type_attr(INDEX, int32)
    static_inputs = ("dim",)

    def infer(self, ctx: Any, input: TensorShape, dim: TensorShape) -> TensorShape:
        if dim.num_elements() not in (None, 1):
            raise ValueError(
                f"Dimension must be 1 but is {dim.num_elements()}"
                if dim.ndims
                else "'dim' input must be a tensor with a single value"
            )
        value = ctx.value(1)
        dims = dims_of(input)
        if dims is None:
            return unknown_shape()
        if value is None:
            return unknown_shape(rank=len(dims) + 1)
        at = ints(value)[0]
        if not -len(dims) - 1 <= at <= len(dims):
            raise ValueError(f"dim {at} not in the interval [{-len(dims) - 1}, {len(dims)}].")
        dims.insert(at + len(dims) + 1 if at < 0 else at, 1)
        return shape_of(dims)

    def compute(self, xp: Any, input: Any, dim: Any) -> Any:
        if np.size(dim) != 1:
            raise invalid("'dim' must be a tensor with a single value")
        at, rank = ints(dim)[0], np.ndim(input)
        if not -rank - 1 <= at <= rank:
            raise invalid(f"Tried to expand dim index {at} for tensor with {rank} dimensions.")
        return xp.expand_dims(input, at)

    def gradient(self, op: Any, grad: Any) -> Any:
        return _as_before(op, grad), None


class Squeeze(OpDef):
    """The input without its dimensions of size 1, or without those named."""

    input = Input("T")
    output = Output("T")
    T = type_attr()
    squeeze_dims = Attr("list(int)", (), minimum=0)

    def _dropped(self, rank: int) -> set[int]:
        dropped = set()
        for i, at in enumerate(self.attrs["squeeze_dims"]):
            if not -rank <= at < rank:
                raise ValueError(f"squeeze_dims[{i}] not in [{-rank},{rank}).")
            dropped.add(at % rank)
        return dropped

    def infer(self, ctx: Any, input: TensorShape) -> TensorShape:
        dims = dims_of(input)
        if dims is None:
            return unknown_shape()
        named = self._dropped(len(dims))
        if not named:
            if None in dims:
                return unknown_shape()
            return shape_of([d for d in dims if d != 1])
        for i in sorted(named):
            if dims[i] not in (None, 1):
                raise ValueError(
                    f"Can not squeeze dim[{i}], expected a dimension of 1, got {dims[i]}"
                )
        return shape_of([d for i, d in enumerate(dims) if i not in named])

    def compute(self, xp: Any, input: Any) -> Any:
        dims = input.shape
        try:
            named = self._dropped(len(dims))
        except ValueError as error:
            raise invalid(
                "Tried to squeeze dim index "
                f"{self.attrs['squeeze_dims'][0]} for tensor with {len(dims)} dimensions."
            ) from error
        if not named:
            return xp.reshape(input, [d for d in dims if d != 1])
        for i in sorted(named):
            if dims[i] != 1:
                raise invalid(f"Can not squeeze dim[{i}], expected a dimension of 1, got {dims[i]}")
        return xp.reshape(input, [d for i, d in enumerate(dims) if i not in named])

    def gradient(self, op: Any, grad: Any) -> Any:
        return _as_before(op, grad)


def reshape(tensor: Any, shape: Any, name: str | None = None) -> Tensor:
    """The elements of `tensor` in the 1-D integer `shape`, of which one size may be -1 (tf.reshape).

    Raises ValueError when building, InvalidArgumentError when running, if the element counts differ.
    """
    return raw.Reshape(tensor, shape, name=name)


def _one_of(new_name: str, new: Any, old_name: str, old: Any) -> Any:
    if old is not None:
        if new is not None:
            raise ValueError(f"Cannot specify both '{old_name}' and '{new_name}'")
        return old
    return new


def expand_dims(input: Any, axis: Any = None, name: str | None = None, dim: Any = None) -> Tensor:
    """`input` with a dimension of size 1 at `axis`, in [-rank-1, rank] (tf.expand_dims; `dim` is the old name)."""
    axis = _one_of("axis", axis, "dim", dim)
    if axis is None:
        raise ValueError("Must specify an axis argument to tf.expand_dims()")
    return raw.ExpandDims(input, axis, name=name)


def squeeze(
    input: Any, axis: Any = None, name: str | None = None, squeeze_dims: Any = None
) -> Tensor:
    """`input` without all dimensions of size 1, or without those in `axis` (tf.squeeze; old name `squeeze_dims`).

    Raises ValueError or InvalidArgumentError when a named dimension is not 1.
    """
    axis = _one_of("axis", axis, "squeeze_dims", squeeze_dims)
    if axis is None:
        axis = []
    elif isinstance(axis, (int, np.integer)):
        axis = [axis]
    return raw.Squeeze(input, squeeze_dims=axis, name=name)
