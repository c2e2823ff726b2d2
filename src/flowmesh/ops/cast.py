"""Conversion between dtypes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.dtypes import NUMBERS, QUANTIZED, DType, as_dtype
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph.composite import IndexedSlices, SparseTensor
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops import kernels
from flowmesh.ops.building import constant, name_scope


class Cast(OpDef):
    """The elements converted to another dtype; floats are cut off towards 0."""

    x = Input("SrcT")
    y = Output("DstT")
    SrcT = type_attr()
    DstT = type_attr()
    Truncate = Attr("bool", False)

    def infer(self, ctx: Any, x: TensorShape) -> TensorShape:
        return x

    def compute(self, xp: Any, x: Any) -> Any:
        target = self.attrs["DstT"].as_numpy_dtype
        if self.attrs["Truncate"]:
            x = _cut_mantissa(x, target)
        if kernels.is_complex(x) and not np.issubdtype(target, np.complexfloating):
            x = xp.real(x) if target is not np.bool_ else x
        with np.errstate(all="ignore"):
            if not kernels.is_complex(x) and _to_integer(x, target):
                return _float_to_integer(xp, x, target)
            return kernels.as_type(x, np.dtype(target))

    def gradient(self, op: Any, grad: Any) -> tuple[Any]:
        differentiable = dtypes.FLOATS | dtypes.COMPLEX
        source, target = op.inputs[0].dtype.base_dtype, grad.dtype.base_dtype
        if source in differentiable and target in differentiable:
            return (raw.Cast(grad, DstT=source),)
        return (None,)


def _to_integer(x: Any, target: Any) -> bool:
    return not kernels.is_integer(x) and x.dtype != np.bool_ and np.issubdtype(target, np.integer)


def _float_to_integer(xp: Any, x: Any, target: Any) -> Any:
    """Cuts towards 0; what does not fit becomes the lowest value (as x86 does), small types wrap around."""
    bounds = np.iinfo(target)
    if bounds.bits < 32:
        return _float_to_integer(xp, x, np.int32).astype(target)
    low, high = np.array(bounds.min, x.dtype), np.array(float(bounds.max) + 1, x.dtype)
    fits = xp.isfinite(x) & (x >= low) & (x < high)
    fallback = bounds.min if bounds.min < 0 else bounds.max
    safe = xp.where(fits, x, xp.zeros_like(x))
    return xp.where(fits, safe.astype(target), xp.asarray(fallback, target))


def _cut_mantissa(x: Any, target: Any) -> Any:
    """Clears the mantissa bits that `target` has no room for, so that the conversion cannot round up."""
    bits = {np.float64: (np.uint64, 52), np.float32: (np.uint32, 23)}
    kept = {"float16": 10, "bfloat16": 7, "float32": 23}.get(np.dtype(target).name)
    if x.dtype.type not in bits or kept is None:
        return x
    unsigned, width = bits[x.dtype.type]
    mask = ~np.array((1 << max(width - kept, 0)) - 1, unsigned)
    return (x.view(unsigned) & mask).view(x.dtype)


class Bitcast(OpDef):
    """The same bytes read as another dtype."""

    input = Input("T")
    output = Output("type")
    T = type_attr(NUMBERS | QUANTIZED)
    type = type_attr(NUMBERS | QUANTIZED)

    def infer(self, ctx: Any, input: TensorShape) -> TensorShape:
        before, after = self.attrs["T"].size, self.attrs["type"].size
        if input.key is None:
            return unknown_shape()
        if before > after:
            return input.concatenate([before // after])
        if before == after:
            return input
        if not input.key:
            raise ValueError(
                f"Cannot bitcast from dtype {self.attrs['T'].name} to {self.attrs['type'].name} due to shape. "
                "A scalar cannot be bitcast to a larger type"
            )
        last = input.key[-1]
        if last is not None and last * before != after:
            raise ValueError(
                f"Cannot bitcast due to shape. {last} does not match {after // before}"
            )
        return TensorShape.from_key(input.key[:-1])

    def compute(self, xp: Any, input: Any) -> Any:
        target = np.dtype(self.attrs["type"].as_numpy_dtype)
        if kernels.is_numpy(xp):
            before, after = input.dtype.itemsize, target.itemsize
            shape = input.shape
            if before > after:
                shape = (*shape, before // after)
            elif before < after:
                shape = shape[:-1]
            return np.ascontiguousarray(input).reshape(-1).view(target).reshape(shape)
        from jax import lax

        return lax.bitcast_convert_type(input, target)


# -- public functions -----------------------------------------------------------------------------------


def cast(x: Any, dtype: Any, name: str | None = None) -> Any:
    """The elements of `x` converted to `dtype` (TensorFlow: `tf.cast`).

    `x`: a Tensor, SparseTensor, IndexedSlices or what converts to a tensor. Returns the same kind, itself when it has that
    dtype. Floats are cut off towards 0, complex numbers lose their imaginary part. Raises TypeError when `x` cannot be converted.
    """
    base = as_dtype(dtype).base_dtype
    if (isinstance(x, Tensor) or hasattr(x, "handle")) and base == x.dtype:
        return x  # a resource variable too: whoever takes it reads it
    with name_scope(name, "Cast", [x]) as scope:
        if isinstance(x, SparseTensor):
            return SparseTensor(x.indices, cast(x.values, base, scope), x.dense_shape)
        if isinstance(x, IndexedSlices):
            return IndexedSlices(cast(x.values, base, scope), x.indices, x.dense_shape)
        x = convert_to_tensor(x, name="x")
        return x if x.dtype.base_dtype == base else raw.Cast(x, DstT=base, name=scope)


def saturate_cast(value: Any, dtype: Any, name: str | None = None) -> Any:
    """Like `cast`, but values outside the range of `dtype` become its nearest end (TensorFlow: `tf.saturate_cast`)."""
    with name_scope(name, "saturate_cast", [value]) as scope:
        value = convert_to_tensor(value, name="value")
        base = as_dtype(dtype).base_dtype
        source = value.dtype.base_dtype
        if source.min < base.min:
            low = np.array(base.min, source.as_numpy_dtype)
            value = raw.Maximum(value, constant(low, source, "min"))
        if source.max > base.max:
            high = np.array(base.max, source.as_numpy_dtype)
            value = raw.Minimum(value, constant(high, source, "max"))
        return cast(value, base, scope)


def bitcast(input: Any, type: Any, name: str | None = None) -> Any:
    """The bytes of `input` read as another dtype (TensorFlow: `tf.bitcast`).

    A smaller type adds a last axis, a larger one takes the last axis away. Raises ValueError when that axis does not fit.
    """
    return raw.Bitcast(input, type=type, name=name)


def _to(dtype: DType, name: str, default: str) -> Callable[..., Any]:
    def function(x: Any, name: str = default) -> Any:
        return cast(x, dtype, name)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"`cast(x, tf.{dtype.name})` under its old name (TensorFlow: `tf.{name}`)."
    return function


to_float = _to(dtypes.float32, "to_float", "ToFloat")
to_double = _to(dtypes.float64, "to_double", "ToDouble")
to_int32 = _to(dtypes.int32, "to_int32", "ToInt32")
to_int64 = _to(dtypes.int64, "to_int64", "ToInt64")
to_bfloat16 = _to(dtypes.bfloat16, "to_bfloat16", "ToBFloat16")
to_complex64 = _to(dtypes.complex64, "to_complex64", "ToComplex64")
to_complex128 = _to(dtypes.complex128, "to_complex128", "ToComplex128")
