"""Fill, ZerosLike, OnesLike, BroadcastTo; zeros, ones and their relatives."""

from __future__ import annotations

import functools
import operator
from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.dtypes import (
    INDEX,
    DType,
    bool,
    float32,
    int32,
    string,
    variant,
)
from flowmesh.core.shapes import TensorShape
from flowmesh.graph import hooks
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import (
    brackets,
    dims_of,
    empty_strings,
    ints,
    invalid,
    with_rank,
)
from flowmesh.ops.constant import constant
from flowmesh.ops.naming import name_scope
from flowmesh.ops.sequence import range as range_tensor
from flowmesh.ops.shape_ops import rank as rank_tensor, shape as shape_tensor, shape_internal

_SMALL = 1000


class Fill(OpDef):
    """A tensor of shape `dims` with `value` everywhere."""

    dims, value = Input("index_type"), Input("T")
    output = Output("T")
    T = type_attr()
    index_type = type_attr(INDEX, int32)
    static_inputs = ("dims",)

    def infer(self, ctx: Any, dims: TensorShape, value: TensorShape) -> TensorShape:
        with_rank(dims, 1)
        with_rank(value, 0)
        return ctx.value_as_shape(0)

    def compute(self, xp: Any, dims: Any, value: Any) -> Any:
        if np.ndim(dims) > 1:
            raise invalid(f"dims must be a vector, got shape {list(np.shape(dims))}")
        if np.ndim(value) != 0:
            raise invalid(f"value must be a scalar, got shape {list(np.shape(value))}")
        shape = ints(dims)
        for i, d in enumerate(shape):
            if d < 0:
                raise invalid(f"Dimension {d} must be >= 0")
            del i
        if self.attrs["T"] == string:
            filled = empty_strings(shape)
            filled[...] = np.asarray(value, object).item()
            return filled
        return xp.full(tuple(shape), value, self.attrs["T"].as_numpy_dtype)

    def gradient(self, op: Any, grad: Any) -> Any:
        return None, raw.Sum(grad, _all_axes(grad))


def _all_axes(tensor: Tensor) -> Tensor:
    rank = tensor.shape.ndims
    if rank is not None:
        return constant(np.arange(rank, dtype=np.int32))
    return range_tensor(0, rank_tensor(tensor))


class ZerosLike(OpDef):
    """Zeros in the shape of `x`."""

    x = Input("T")
    y = Output("T")
    T = type_attr()
    NotDifferentiable = True

    def infer(self, ctx: Any, x: TensorShape) -> TensorShape:
        return x

    def compute(self, xp: Any, x: Any) -> Any:
        if self.attrs["T"] == string:
            return empty_strings(x.shape)
        return xp.zeros(x.shape, self.attrs["T"].as_numpy_dtype)


_ONES = tuple(
    getattr(dtypes, name)
    for name in [
        "bfloat16",
        "float16",
        "float32",
        "float64",
        "int8",
        "uint8",
        "int16",
        "uint16",
        "int32",
        "int64",
        "complex64",
        "complex128",
        "bool",
    ]
)


class OnesLike(OpDef):
    """Ones in the shape of `x`."""

    x = Input("T")
    y = Output("T")
    T = type_attr(_ONES)
    NotDifferentiable = True

    def infer(self, ctx: Any, x: TensorShape) -> TensorShape:
        return x

    def compute(self, xp: Any, x: Any) -> Any:
        return xp.ones(x.shape, self.attrs["T"].as_numpy_dtype)


class BroadcastTo(OpDef):
    """`input` broadcast to a shape."""

    input, shape = Input("T"), Input("Tidx")
    output = Output("T")
    T = type_attr()
    Tidx = type_attr(INDEX, int32)
    static_inputs = ("shape",)

    def infer(self, ctx: Any, input: TensorShape, shape: TensorShape) -> TensorShape:
        with_rank(shape, 1)
        target = ctx.value_as_shape(1)
        have, want = dims_of(input), dims_of(target)
        if have is None or want is None:
            return target
        if len(have) > len(want):
            raise ValueError(f"Shape must be at most rank {len(want)} but is rank {len(have)}")
        for h, w in zip(have[::-1], want[::-1]):
            if h not in (None, 1) and w is not None and h != w:
                raise ValueError(f"Dimensions must be equal, but are {h} and {w}")
        return target

    def compute(self, xp: Any, input: Any, shape: Any) -> Any:
        try:
            return xp.broadcast_to(input, tuple(ints(shape)))
        except ValueError:
            raise invalid(
                f"Incompatible shapes: {brackets(list(input.shape))} vs. {brackets(ints(shape))}"
            ) from None

    def gradient(self, op: Any, grad: Any) -> Any:
        before, target = op.inputs
        size = shape_tensor(before, out_type=target.dtype.base_dtype)
        axes = raw.BroadcastGradientArgs(target, size)[1]
        total = raw.Sum(grad, axes, keep_dims=True)
        return raw.Reshape(total, size), None


class Empty(OpDef):
    """A tensor of the given shape whose contents are not defined (zeros here)."""

    shape = Input(int32)
    output = Output("dtype")
    dtype = type_attr()
    init = Attr("bool", False)
    stateful = True
    static_inputs = ("shape",)

    def infer(self, ctx: Any, shape: TensorShape) -> TensorShape:
        return ctx.value_as_shape(0)

    def compute(self, xp: Any, shape: Any) -> Any:
        if self.attrs["dtype"] == string:
            return empty_strings(ints(shape))
        return xp.zeros(tuple(ints(shape)), self.attrs["dtype"].as_numpy_dtype)


def fill(dims: Any, value: Any, name: str | None = None) -> Tensor:
    """A tensor of shape `dims` (1-D integer) with the scalar `value` everywhere (tf.fill)."""
    return raw.Fill(dims, value, name=name)


def _product(shape: Any) -> Any:
    """The product of the sizes of a list or array, a node where one of them is a tensor."""
    if isinstance(shape, (list, tuple, TensorShape)):
        sizes = list(shape)
        return functools.reduce(operator.mul, sizes) if sizes else 1
    return np.prod(shape)


def _small_constant(value: Any, shape: Any, dtype: DType, name: str) -> Tensor | None:
    try:
        if _product(shape) < _SMALL:
            return constant(value, dtype, shape=_sizes(shape), name=name)
    except TypeError:
        pass
    return None


def _sizes(shape: Any) -> list[int]:
    return [int(d) for d in shape]


def _filled(shape: Any, value: Any, dtype: Any, name: str | None, default: str) -> Tensor:
    dtype = dtypes.as_dtype(dtype).base_dtype
    with name_scope(name, default, [shape]) as scope:
        if dtype == bool:
            value = builtin_bool(value)
        elif dtype == string:
            value = value or ""
        if not isinstance(shape, Tensor):
            try:
                small = _small_constant(value, shape, dtype, scope)
                if small is not None:
                    return small
                shape = convert_to_tensor(TensorShape(shape))
            except (TypeError, ValueError):
                shape = convert_to_tensor(shape, int32)
        if shape.shape.ndims in (None, 0):
            shape = raw.Reshape(shape, [-1])
        return raw.Fill(shape, constant(value, dtype), name=scope)


def builtin_bool(value: Any) -> Any:
    """Whether `value` is true (the name `bool` is a dtype in this module)."""
    return value is True or value == 1


def zeros(shape: Any, dtype: Any = float32, name: str | None = None) -> Tensor:
    """Zeros (empty strings, False) of a shape given as ints, a TensorShape or an integer tensor (tf.zeros)."""
    return _filled(shape, 0, dtype, name, "zeros")


def ones(shape: Any, dtype: Any = float32, name: str | None = None) -> Tensor:
    """Ones (True) of a shape given as ints, a TensorShape or an integer tensor (tf.ones)."""
    return _filled(shape, 1, dtype, name, "ones")


def zeros_like(
    tensor: Any, dtype: Any = None, name: str | None = None, optimize: Any = True
) -> Tensor:
    """Zeros in the shape of `tensor`, with its dtype or `dtype` (tf.zeros_like).

    With `optimize` a constant where the static shape is known.
    """
    with name_scope(name, "zeros_like", [tensor]) as scope:
        tensor = convert_to_tensor(tensor, name="tensor")
        wanted = tensor.dtype.base_dtype if dtype is None else dtypes.as_dtype(dtype).base_dtype
        if optimize and tensor.shape.is_fully_defined() and tensor.dtype.base_dtype != variant:
            return zeros(tensor.shape, wanted, scope)
        if wanted != tensor.dtype.base_dtype and wanted != variant:
            return zeros(shape_internal(tensor, optimize=optimize), wanted, scope)
        return raw.ZerosLike(tensor, name=scope)


def ones_like(
    tensor: Any, dtype: Any = None, name: str | None = None, optimize: Any = True
) -> Tensor:
    """Ones in the shape of `tensor`, with its dtype or `dtype` (tf.ones_like)."""
    with name_scope(name, "ones_like", [tensor]) as scope:
        tensor = convert_to_tensor(tensor, name="tensor")
        shape = shape_internal(tensor, optimize=optimize)
        result = ones(shape, tensor.dtype if dtype is None else dtype, scope)
        result.set_shape(tensor.shape)
        return result


def broadcast_to(input: Any, shape: Any, name: str | None = None) -> Tensor:
    """`input` broadcast to `shape` (1-D integer) by NumPy's rules (tf.broadcast_to)."""
    return raw.BroadcastTo(input, shape, name=name)


hooks.zeros_like = zeros_like
