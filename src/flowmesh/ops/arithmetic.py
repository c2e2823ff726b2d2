"""Elementwise arithmetic on two tensors that broadcast against each other, and the sums of many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from flowmesh.core import errors
from flowmesh.core.dtypes import (
    COMPLEX,
    FLOATS,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    string,
    uint8,
    uint16,
)
from flowmesh.core.shapes import TensorShape, broadcast_shapes
from flowmesh.graph.op_def import Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.ops import kernels
from flowmesh.ops.building import (
    Unbroadcast,
    after,
    broadcast_shapes_of,
    conj,
    constant,
    filled,
    name_scope,
    ones_like,
    same_static_shapes,
    shape_of,
    sum_to,
    zeros_like,
)

NUMERIC = FLOATS | COMPLEX
BASIC = NUMERIC | {uint8, int8, int16, int32, int64}
WIDE = BASIC | {uint16}
SAFE = COMPLEX | {float16, float32, float64}

Pair = tuple[Any, Any]


class Binary(OpDef, abstract=True):
    """Two inputs of one dtype that broadcast against each other, one output of that dtype."""

    x, y = Input("T"), Input("T")
    z = Output("T")
    kernel: ClassVar[Any]

    def infer(self, ctx: Any, x: TensorShape, y: TensorShape) -> TensorShape:
        return broadcast_shapes(x, y)

    def compute(self, xp: Any, x: Any, y: Any) -> Any:
        check_broadcast(x, y)
        with np.errstate(all="ignore"):
            return kernels.as_type(type(self).kernel(xp, x, y), x.dtype)

    def settled_kernel(self) -> Callable[..., Any]:
        if type(self).compute is not Binary.compute:
            return self.compute
        kernel, as_type = type(self).kernel, kernels.as_type
        return lambda xp, x, y: as_type(kernel(xp, x, y), x.dtype)


def check_broadcast(x: Any, y: Any) -> None:
    """Raises InvalidArgumentError in TensorFlow's words when two arrays do not broadcast."""
    for p, q in zip(reversed(x.shape), reversed(y.shape)):
        if p != q and p != 1 and q != 1:
            raise errors.InvalidArgumentError(
                None, None, f"Incompatible shapes: {shape_text(x.shape)} vs. {shape_text(y.shape)}"
            )


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as kernels' errors write it: `[2,3]`."""
    return "[" + ",".join(map(str, shape)) + "]"


def _check_divisor(xp: Any, x: Any, y: Any) -> None:
    if kernels.is_numpy(xp) and kernels.is_integer(x) and not np.all(y):
        raise errors.InvalidArgumentError(None, None, "Integer division by zero")


# -- sums and products ---------------------------------------------------------------------------------


def _add_gradient(self: OpDef, op: Any, grad: Any) -> Pair:
    x, y = op.inputs
    if same_static_shapes(x, y, grad):
        return grad, grad
    unbroadcast = Unbroadcast(x, y, grad)
    return unbroadcast(0, grad), unbroadcast(1, grad)


class Add(Binary):
    """Elementwise sum; strings are joined."""

    T = type_attr(BASIC | {string})
    kernel = staticmethod(lambda xp, x, y: x + y)
    gradient = _add_gradient


class AddV2(Binary):
    """Elementwise sum (the `+` operator)."""

    T = type_attr(BASIC)
    kernel = staticmethod(lambda xp, x, y: x + y)
    gradient = _add_gradient


class Sub(Binary):
    """Elementwise difference."""

    T = type_attr(WIDE)
    kernel = staticmethod(lambda xp, x, y: x - y)

    def gradient(self, op: Any, grad: Any) -> Pair:
        x, y = op.inputs
        if same_static_shapes(x, y, grad):
            return grad, raw.Neg(grad)
        unbroadcast = Unbroadcast(x, y, grad)
        return unbroadcast(0, grad), unbroadcast(1, raw.Neg(grad))


class Mul(Binary):
    """Elementwise product."""

    T = type_attr(WIDE)
    kernel = staticmethod(lambda xp, x, y: x * y)

    def gradient(self, op: Any, grad: Any) -> Pair:
        x, y = op.inputs
        if same_static_shapes(x, y, grad) and grad.dtype.base_dtype in (int32, float32):
            return raw.Mul(grad, y), raw.Mul(grad, x)
        unbroadcast = Unbroadcast(x, y, grad)
        x, y = conj(x), conj(y)
        return unbroadcast(0, raw.Mul(grad, y)), unbroadcast(1, raw.Mul(x, grad))


class MulNoNan(Binary):
    """Elementwise product that is 0 where `y` is 0, whatever `x` is there."""

    T = type_attr(SAFE)
    kernel = staticmethod(lambda xp, x, y: xp.where(y == 0, xp.zeros_like(y), x * y))

    def gradient(self, op: Any, grad: Any) -> Pair:
        x, y = op.inputs
        if same_static_shapes(x, y, grad):
            return raw.MulNoNan(grad, y), raw.MulNoNan(x, grad)
        sx, sy, rx, ry = broadcast_shapes_of(x, y)
        gx = sum_to(raw.MulNoNan(grad, y), rx, sx)
        return gx, sum_to(raw.MulNoNan(x, grad), ry, sy)


class SquaredDifference(Binary):
    """Elementwise `(x - y) * conj(x - y)`."""

    T = type_attr(NUMERIC | {int32, int64})
    kernel = staticmethod(lambda xp, x, y: (x - y) * xp.conj(x - y))

    def gradient(self, op: Any, grad: Any) -> Pair:
        x, y = op.inputs
        with after(grad):
            two = constant(np.array(2, grad.dtype.as_numpy_dtype), grad.dtype.base_dtype, "scalar")
            doubled = raw.Mul(two, grad)
            slope = raw.Mul(doubled, raw.Sub(x, y, name="sub"), name="mul")
        if same_static_shapes(x, y, grad):
            return slope, raw.Neg(slope)
        unbroadcast = Unbroadcast(x, y, grad)
        gx = unbroadcast(0, slope)
        return gx, raw.Neg(unbroadcast(1, slope))


# -- quotients and remainders ----------------------------------------------------------------------------


def _true_quotient(xp: Any, x: Any, y: Any) -> Any:
    if kernels.is_integer(x):
        return _truncated_quotient(xp, x, y)
    return x / y


def _truncated_quotient(xp: Any, x: Any, y: Any) -> Any:
    if not kernels.is_integer(x):
        return x / y if kernels.is_complex(x) else xp.trunc(x / y)
    _check_divisor(xp, x, y)
    quotient = x // y
    return quotient + ((quotient < 0) & (quotient * y != x)).astype(x.dtype)


def _floor_quotient(xp: Any, x: Any, y: Any) -> Any:
    _check_divisor(xp, x, y)
    if kernels.is_integer(x):
        return x // y
    return x / y if kernels.is_complex(x) else xp.floor(x / y)


def _floor_remainder(xp: Any, x: Any, y: Any) -> Any:
    _check_divisor(xp, x, y)
    return xp.mod(x, y)


def _truncated_remainder(xp: Any, x: Any, y: Any) -> Any:
    _check_divisor(xp, x, y)
    return xp.fmod(x, y)


def _quotient_gradient(divide: Callable[[Any, Any], Any]) -> Callable[..., Pair]:
    def gradient(self: OpDef, op: Any, grad: Any) -> Pair:
        x, y = op.inputs
        sx, sy, rx, ry = broadcast_shapes_of(x, y)
        x, y = conj(x), conj(y)
        gx = sum_to(divide(grad, y), rx, sx)
        slope = divide(divide(raw.Neg(x), y), y)
        return gx, sum_to(raw.Mul(grad, slope, name="mul"), ry, sy)

    return gradient


class Div(Binary):
    """Elementwise quotient; of integers, rounded towards 0."""

    T = type_attr(WIDE)
    kernel = staticmethod(_true_quotient)
    gradient = _quotient_gradient(lambda a, b: raw.RealDiv(a, b, name="truediv"))


class RealDiv(Binary):
    """Elementwise quotient (the `/` operator)."""

    T = type_attr(WIDE)
    kernel = staticmethod(_true_quotient)
    gradient = _quotient_gradient(lambda a, b: raw.RealDiv(a, b, name="RealDiv"))


class FloorDiv(Binary):
    """Elementwise quotient rounded down."""

    T = type_attr(WIDE)
    kernel = staticmethod(_floor_quotient)

    def gradient(self, op: Any, grad: Any) -> Pair:
        return None, None


class TruncateDiv(Binary):
    """Elementwise quotient of integers, rounded towards 0."""

    T = type_attr(WIDE)
    kernel = staticmethod(_truncated_quotient)

    def gradient(self, op: Any, grad: Any) -> Pair:
        return None, None


class DivNoNan(Binary):
    """Elementwise quotient that is 0 where the divisor is 0."""

    T = type_attr(SAFE)
    kernel = staticmethod(
        lambda xp, x, y: xp.where(
            y == 0, xp.zeros_like(y), x / xp.where(y == 0, xp.ones_like(y), y)
        )
    )
    gradient = _quotient_gradient(lambda a, b: raw.DivNoNan(a, b, name="div_no_nan"))


class FloorMod(Binary):
    """Elementwise remainder with the sign of the divisor."""

    T = type_attr(FLOATS | {int32, int64})
    kernel = staticmethod(_floor_remainder)

    def gradient(self, op: Any, grad: Any) -> Pair:
        x, y = op.inputs
        sx, sy, rx, ry = broadcast_shapes_of(x, y)
        quotient = raw.FloorDiv(x, y)
        gx = sum_to(grad, rx, sx)
        return gx, sum_to(raw.Mul(grad, raw.Neg(quotient), name="mul"), ry, sy)


class Mod(Binary):
    """Elementwise remainder with the sign of the dividend."""

    T = type_attr(FLOATS | {int32, int64})
    kernel = staticmethod(_truncated_remainder)


class TruncateMod(Binary):
    """Elementwise remainder with the sign of the dividend."""

    T = type_attr(FLOATS | {int32, int64})
    kernel = staticmethod(_truncated_remainder)


# -- products that stay 0 where x is 0 -----------------------------------------------------------------


def _nonzero(x: Any) -> Any:
    """1 where `x` is not 0, under the node names that TensorFlow gives these steps."""
    dtype = x.dtype.base_dtype
    with name_scope("Cast"):
        zero = constant(np.array(0, dtype.as_numpy_dtype), dtype, "x")
    return raw.Cast(raw.NotEqual(x, zero), DstT=dtype)


def _zero_safe_gradient(op: Any, grad: Any, slopes: Callable[[Any, Any], Pair]) -> Pair:
    x, y = op.inputs
    sx, sy, rx, ry = broadcast_shapes_of(x, y)
    with after(grad):
        partial_x, partial_y = slopes(x, y)
        gx = sum_to(raw.Mul(partial_x, grad, name="mul"), rx, sx)
        return gx, sum_to(raw.Mul(partial_y, grad, name="mul"), ry, sy)


class Xdivy(Binary):
    """Elementwise `x / y` that is 0 where `x` is 0."""

    T = type_attr(SAFE)
    kernel = staticmethod(
        lambda xp, x, y: xp.where(
            x == 0, xp.zeros_like(x), x / xp.where(x == 0, xp.ones_like(y), y)
        )
    )

    def gradient(self, op: Any, grad: Any) -> Pair:
        def slopes(x: Any, y: Any) -> Pair:
            first = raw.Xdivy(_nonzero(x), y)
            return first, raw.Xdivy(raw.Neg(x), raw.Pow(y, 2.0, name="pow"))

        return _zero_safe_gradient(op, grad, slopes)


class Xlogy(Binary):
    """Elementwise `x * log(y)` that is 0 where `x` is 0."""

    T = type_attr(SAFE)
    kernel = staticmethod(
        lambda xp, x, y: xp.where(
            x == 0, xp.zeros_like(x), x * xp.log(xp.where(x == 0, xp.ones_like(y), y))
        )
    )

    def gradient(self, op: Any, grad: Any) -> Pair:
        def slopes(x: Any, y: Any) -> Pair:
            first = raw.Xlogy(_nonzero(x), y)
            return first, raw.Xdivy(x, y)

        return _zero_safe_gradient(op, grad, slopes)


# -- powers, extrema, angles ------------------------------------------------------------------------------


def _power(xp: Any, x: Any, y: Any) -> Any:
    if kernels.is_integer(x) and kernels.is_numpy(xp) and np.any(y < 0):
        raise errors.InvalidArgumentError(
            None, None, "Integers to negative integer powers are not allowed"
        )
    return xp.power(x, y)


class Pow(Binary):
    """Elementwise `x` to the power of `y`."""

    T = type_attr(NUMERIC | {int32, int64})
    kernel = staticmethod(_power)

    def gradient(self, op: Any, grad: Any) -> Pair:
        x, y = op.inputs
        unbroadcast = Unbroadcast(x, y, grad)
        x, y, z = conj(x), conj(y), conj(op.outputs[0])
        scaled = raw.Mul(grad, y, name="mul")
        below = raw.Pow(x, raw.Sub(y, 1, name="sub"))
        gx = unbroadcast(0, raw.Mul(scaled, below, name="mul"))
        logarithm = _masked_log(x)
        slope = raw.Mul(raw.Mul(grad, z, name="mul"), logarithm, name="mul")
        return gx, unbroadcast(1, slope)


def _masked_log(x: Any) -> Any:
    """`log(x)` where it is defined (x > 0; complex: x != 0), elsewhere 0."""
    mask = raw.NotEqual(x, 0) if x.dtype.is_complex else raw.Greater(x, 0)
    safe = raw.Select(mask, x, ones_like(x))
    logarithm = raw.Log(safe)
    return raw.Select(mask, logarithm, zeros_like(x))


def _extremum_gradient(chosen: str) -> Callable[..., Pair]:
    """The gradient goes to the input that was chosen; to `x` when both are equal."""

    def gradient(self: OpDef, op: Any, grad: Any) -> Pair:
        x, y = op.inputs
        sx, sy, sg = shape_of(x), shape_of(y), shape_of(grad)
        zeros = filled(sg, 0, grad.dtype.base_dtype, "zeros")
        mask = getattr(raw, chosen)(x, y)
        rx, ry = raw.BroadcastGradientArgs(sx, sy)
        gx = sum_to(raw.Select(mask, grad, zeros), rx, sx)
        return gx, sum_to(raw.Select(mask, zeros, grad), ry, sy)

    return gradient


class Maximum(Binary):
    """The larger of `x` and `y`, element by element."""

    T = type_attr(FLOATS | {int32, int64})
    kernel = staticmethod(lambda xp, x, y: xp.maximum(x, y))
    gradient = _extremum_gradient("GreaterEqual")


class Minimum(Binary):
    """The smaller of `x` and `y`, element by element."""

    T = type_attr(FLOATS | {int32, int64})
    kernel = staticmethod(lambda xp, x, y: xp.minimum(x, y))
    gradient = _extremum_gradient("LessEqual")


class Atan2(OpDef):
    """The angle of the point (x, y)."""

    y, x = Input("T"), Input("T")
    z = Output("T")
    T = type_attr(FLOATS)

    def infer(self, ctx: Any, y: TensorShape, x: TensorShape) -> TensorShape:
        return broadcast_shapes(y, x)

    def compute(self, xp: Any, y: Any, x: Any) -> Any:
        check_broadcast(y, x)
        return kernels.as_type(xp.arctan2(y, x), y.dtype)

    def gradient(self, op: Any, grad: Any) -> Pair:
        y, x = op.inputs
        with after(grad):
            first = raw.Square(x)
            norm = raw.AddV2(first, raw.Square(y), name="add")
            scaled = raw.RealDiv(grad, norm, name="truediv")
            grad_y = raw.Mul(x, scaled, name="mul")
            return grad_y, raw.Mul(raw.Neg(y), scaled, name="mul")


class NextAfter(OpDef):
    """The float that follows `x1` on the way to `x2`."""

    x1, x2 = Input("T"), Input("T")
    output = Output("T")
    T = type_attr({float64, float32}, float32)

    def infer(self, ctx: Any, x1: TensorShape, x2: TensorShape) -> TensorShape:
        return broadcast_shapes(x1, x2)

    def compute(self, xp: Any, x1: Any, x2: Any) -> Any:
        check_broadcast(x1, x2)
        return xp.nextafter(x1, x2)
