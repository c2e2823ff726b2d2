"""Public functions of elementwise arithmetic (`add`, `divide`, `pow` ...) and the sums of many tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowmesh.core import dtypes
from flowmesh.core.dtypes import DType
from flowmesh.core.shapes import as_shape, unknown_shape
from flowmesh.graph.composite import IndexedSlices, SparseTensor
from flowmesh.graph.convert import convert_n_to_tensor, convert_to_tensor
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.building import name_scope, zeros_like

# What `/` turns its arguments into; None keeps the dtype.
_QUOTIENT_TYPES: dict[DType, DType | None] = {
    **dict.fromkeys((dtypes.uint8, dtypes.int8, dtypes.uint16, dtypes.int16), dtypes.float32),
    **dict.fromkeys((dtypes.int32, dtypes.int64), dtypes.float64),
    **dict.fromkeys(dtypes.FLOATS | dtypes.COMPLEX),
}


def _function(op_type: str, name: str, what: str) -> Callable[..., Any]:
    def function(x: Any, y: Any, name: str | None = None) -> Any:
        return getattr(raw, op_type)(x, y, name=name)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"{what}, element by element with broadcasting (TensorFlow: `tf.{name}`, op `{op_type}`).\n\n"
        "`x`, `y`: tensors of one dtype, or what converts to one. Returns a tensor of that dtype. Raises TypeError when the dtypes "
        "differ or have no kernel, ValueError when the shapes do not broadcast."
    )
    return function


add = _function("Add", "add", "`x + y`; strings are joined")
subtract = _function("Sub", "subtract", "`x - y`")
multiply = _function("Mul", "multiply", "`x * y`")
realdiv = _function("RealDiv", "realdiv", "`x / y`")
floormod = _function("FloorMod", "floormod", "The remainder of `x / y` with the sign of `y`")
mod = _function("FloorMod", "mod", "The remainder of `x / y` with the sign of `y`")
truncatediv = _function("TruncateDiv", "truncatediv", "`x / y` rounded towards 0")
truncatemod = _function(
    "TruncateMod", "truncatemod", "The remainder of `x / y` with the sign of `x`"
)
floor_div = _function("FloorDiv", "floor_div", "`x / y` rounded down")
maximum = _function("Maximum", "maximum", "The larger of `x` and `y`")
minimum = _function("Minimum", "minimum", "The smaller of `x` and `y`")
squared_difference = _function("SquaredDifference", "squared_difference", "`(x - y) ** 2`")
xdivy = _function("Xdivy", "xdivy", "`x / y`, but 0 where `x` is 0")
xlogy = _function("Xlogy", "xlogy", "`x * log(y)`, but 0 where `x` is 0")


def atan2(y: Any, x: Any, name: str | None = None) -> Any:
    """The angle of the point (`x`, `y`), element by element, in [-pi, pi] (TensorFlow: `tf.atan2`)."""
    return raw.Atan2(y, x, name=name)


def pow(x: Any, y: Any, name: str | None = None) -> Any:
    """`x` to the power of `y`, element by element with broadcasting (TensorFlow: `tf.pow`)."""
    with name_scope(name, "Pow", [x]) as scope:
        return raw.Pow(x, y, name=scope)


def div_no_nan(x: Any, y: Any, name: str | None = None) -> Any:
    """`x / y`, element by element, but 0 where `y` is 0 (TensorFlow: `tf.div_no_nan`)."""
    with name_scope(name, "div_no_nan", [x, y]) as scope:
        x = convert_to_tensor(x, name="x")
        y = convert_to_tensor(y, name="y", dtype=x.dtype.base_dtype)
        return raw.DivNoNan(x, y, name=scope)


def multiply_no_nan(x: Any, y: Any, name: str | None = None) -> Any:
    """`x * y`, element by element, but 0 where `y` is 0, whatever `x` is (TensorFlow: `tf.math.multiply_no_nan`)."""
    with name_scope(name, "multiply_no_nan", [x, y]) as scope:
        x = convert_to_tensor(x, name="x")
        y = convert_to_tensor(y, name="y", dtype=x.dtype.base_dtype)
        return raw.MulNoNan(x, y, name=scope)


def nextafter(x1: Any, x2: Any, name: str | None = None) -> Any:
    """The float that follows `x1` on the way to `x2`, element by element (TensorFlow: `tf.math.nextafter`)."""
    return raw.NextAfter(x1, x2, name=name)


# -- division ------------------------------------------------------------------------------------------


def _same_types(x: Any, y: Any) -> DType:
    a, b = x.dtype.base_dtype, y.dtype.base_dtype
    if a != b:
        raise TypeError(f"x and y must have the same dtype, got {a!r} != {b!r}")
    return a


def truediv(x: Any, y: Any, name: str | None = None) -> Any:
    """`x / y` as Python 3 divides: integers become floats first (TensorFlow: `tf.truediv`).

    8 and 16 bit integers give float32, wider ones float64. Raises TypeError when the dtypes differ or cannot be divided.
    """
    with name_scope(name, "truediv", [x, y]) as scope:
        x = convert_to_tensor(x, name="x")
        y = convert_to_tensor(y, dtype_hint=x.dtype.base_dtype, name="y")
        dtype = _same_types(x, y)
        if dtype not in _QUOTIENT_TYPES:
            raise TypeError(f"Invalid dtype {dtype!r} in __truediv__")
        target = _QUOTIENT_TYPES[dtype]
        if target is not None:
            x, y = raw.Cast(x, DstT=target), raw.Cast(y, DstT=target)
        return raw.RealDiv(x, y, name=scope)


def div(x: Any, y: Any, name: str | None = None) -> Any:
    """`x / y` as Python 2 divided: integers are rounded down (TensorFlow: `tf.div`)."""
    with name_scope(name, "div", [x, y]) as scope:
        x = convert_to_tensor(x, name="x")
        y = convert_to_tensor(y, name="y", dtype=x.dtype.base_dtype)
        dtype = _same_types(x, y)
        if dtype.is_floating or dtype.is_complex:
            return raw.RealDiv(x, y, name=scope)
        return raw.FloorDiv(x, y, name=scope)


def divide(x: Any, y: Any, name: str | None = None) -> Any:
    """`x / y` as Python 3 divides (TensorFlow: `tf.divide`)."""
    return truediv(x, y, name) if name is not None else x / y


def floordiv(x: Any, y: Any, name: str | None = None) -> Any:
    """`x / y` rounded down, element by element (TensorFlow: `tf.floordiv`)."""
    with name_scope(name, "floordiv", [x, y]) as scope:
        return raw.FloorDiv(x, y, name=scope)


def scalar_mul(scalar: Any, x: Any, name: str | None = None) -> Any:
    """`x` times a scalar; an IndexedSlices stays one (TensorFlow: `tf.scalar_mul`).

    Raises ValueError when `scalar` is not a scalar.
    """
    scalar = convert_to_tensor(scalar, dtype=x.dtype.base_dtype, name="scalar")
    if scalar.shape.ndims != 0:
        raise ValueError(f"Only scalar multiply works, got shape {scalar.shape}")
    if isinstance(x, IndexedSlices):
        return IndexedSlices(raw.Mul(scalar, x.values, name=name), x.indices, x.dense_shape)
    return raw.Mul(scalar, x, name=name)


# -- sums of many ----------------------------------------------------------------------------------------


def add_n(inputs: Any, name: str | None = None) -> Any:
    """The sum of a list of tensors of one shape and dtype (TensorFlow: `tf.add_n`).

    `inputs`: a non-empty list of Tensors or IndexedSlices. Returns a Tensor, the input itself when there is one. Raises ValueError for
    an empty list or shapes that differ, TypeError for dtypes that differ.
    """
    message = (
        "inputs must be a list of at least one Tensor/IndexedSlices with the same dtype and shape"
    )
    if not inputs:
        raise ValueError(message)
    items = [x if isinstance(x, IndexedSlices) else convert_to_tensor(x) for x in list(inputs)]
    if len(items) == 1:
        only = items[0]
        values = convert_to_tensor(only) if isinstance(only, IndexedSlices) else only
        return raw.Identity(values, name=name) if name else values
    return raw.AddN([convert_to_tensor(x) for x in items], name=name)


def accumulate_n(
    inputs: Any, shape: Any = None, tensor_dtype: Any = None, name: str | None = None
) -> Any:
    """The sum of a list of tensors of one shape and dtype, without keeping all of them (TensorFlow: `tf.accumulate_n`).

    `shape` and `tensor_dtype` say what the inputs are, where that is not known. Raises ValueError for an empty list and for
    inputs that differ, TypeError when `tensor_dtype` is another one.
    """
    message = "inputs must be a list of at least one Tensor with the same dtype and shape"
    if not inputs or not isinstance(inputs, (list, tuple)):
        raise ValueError(message)
    tensors = convert_n_to_tensor(inputs)
    if not all(t.dtype == tensors[0].dtype for t in tensors):
        raise ValueError(message)
    merged = as_shape(shape) if shape is not None else unknown_shape()
    for tensor in tensors:
        merged = merged.merge_with(tensor.shape)
    if tensor_dtype is not None and tensor_dtype != tensors[0].dtype:
        raise TypeError(f"tensor_dtype is {tensor_dtype}, but input is of type {tensors[0].dtype}")
    if len(tensors) == 1 and name is None:
        return tensors[0]
    if len(tensors) == 1:
        return raw.Identity(tensors[0], name=name)
    return raw.AccumulateNV2(tensors, shape=merged, name=name)


# -- absolute values and complex numbers -----------------------------------------------------------------


def abs(x: Any, name: str | None = None) -> Any:
    """The absolute value, element by element; of complex numbers as floats (TensorFlow: `tf.abs`).

    `x`: a Tensor or SparseTensor of floats, signed integers or complex numbers.
    """
    with name_scope(name, "Abs", [x]) as scope:
        if isinstance(x, SparseTensor):
            return SparseTensor(x.indices, abs(x.values, scope), x.dense_shape)
        x = convert_to_tensor(x, name="x")
        if x.dtype.is_complex:
            return raw.ComplexAbs(x, Tout=x.dtype.real_dtype, name=scope)
        return raw.Abs(x, name=scope)


def complex(real: Any, imag: Any, name: str | None = None) -> Any:
    """Complex numbers from their parts (TensorFlow: `tf.complex`).

    `real`, `imag`: both float32 (gives complex64) or both float64 (complex128); they broadcast. Raises TypeError otherwise.
    """
    real = convert_to_tensor(real, name="real")
    imag = convert_to_tensor(imag, name="imag")
    with name_scope(name, "Complex", [real, imag]) as scope:
        parts = (real.dtype.base_dtype, imag.dtype.base_dtype)
        targets = {
            (dtypes.float64, dtypes.float64): dtypes.complex128,
            (dtypes.float32, dtypes.float32): dtypes.complex64,
        }
        if parts not in targets:
            raise TypeError(
                f"real and imag have incorrect types: {real.dtype.name} {imag.dtype.name}"
            )
        return raw.Complex(real, imag, Tout=targets[parts], name=scope)


def real(input: Any, name: str | None = None) -> Any:
    """The real part, element by element; real tensors are returned as they are (TensorFlow: `tf.real`)."""
    with name_scope(name, "Real", [input]) as scope:
        x = convert_to_tensor(input)
        return raw.Real(x, Tout=x.dtype.real_dtype, name=scope) if x.dtype.is_complex else x


def imag(input: Any, name: str | None = None) -> Any:
    """The imaginary part, element by element; zeros for a real tensor (TensorFlow: `tf.imag`)."""
    with name_scope(name, "Imag", [input]) as scope:
        x = convert_to_tensor(input, name="input")
        if x.dtype.is_complex:
            return raw.Imag(x, Tout=x.dtype.real_dtype, name=scope)
        return zeros_like(x)


def angle(input: Any, name: str | None = None) -> Any:
    """The angle of complex numbers; zeros for a real tensor (TensorFlow: `tf.angle`)."""
    with name_scope(name, "Angle", [input]) as scope:
        x = convert_to_tensor(input, name="input")
        if x.dtype.is_complex:
            return raw.Angle(x, Tout=x.dtype.real_dtype, name=scope)
        return zeros_like(x)


def conj(x: Any, name: str | None = None) -> Any:
    """The complex conjugate; real tensors are returned as they are (TensorFlow: `tf.conj`).

    Raises TypeError for a tensor that is not numeric.
    """
    if isinstance(x, Tensor) and (x.dtype.is_floating or x.dtype.is_integer):
        return x
    with name_scope(name, "Conj", [x]) as scope:
        x = convert_to_tensor(x, name="x")
        if x.dtype.is_complex or x.dtype == dtypes.variant:
            return raw.Conj(x, name=scope)
        if x.dtype.is_floating or x.dtype.is_integer:
            return x
        raise TypeError(f"Expected numeric or variant tensor, got dtype {x.dtype!r}")


def log_sigmoid(x: Any, name: str | None = None) -> Any:
    """`log(sigmoid(x))`, element by element, without underflow (TensorFlow: `tf.log_sigmoid`)."""
    with name_scope(name, "LogSigmoid", [x]) as scope:
        x = convert_to_tensor(x, name="x")
        return raw.Neg(raw.Softplus(raw.Neg(x)), name=scope)
