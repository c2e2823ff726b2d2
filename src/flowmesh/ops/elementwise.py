"""Elementwise functions of one tensor: each op is a row of a table.

Gradients build TensorFlow 1.15's nodes: its own `...Grad` ops where it has them, and a control dependency on the
incoming gradient for what would otherwise be computed during the forward pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np

from flowmesh.core.dtypes import COMPLEX, FLOATS, DType, int8, int16, int32, int64
from flowmesh.core.shapes import TensorShape
from flowmesh.graph.composite import SparseTensor
from flowmesh.graph.op_def import Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.ops import kernels
from flowmesh.ops.building import after, conj, constant, filled, shape_of
from flowmesh.ops.shape_rules import merge

NUMERIC = FLOATS | COMPLEX
WITH_INTS = NUMERIC | {int32, int64}

Kernel = Callable[[Any, Any], Any]
UnaryGradient = Callable[[Any, Any, Any, Any], Any]


class _Unary(OpDef, abstract=True):
    """One input, one output of the same shape and dtype."""

    x = Input("T")
    y = Output("T")
    kernel: ClassVar[Any]

    def infer(self, ctx: Any, x: TensorShape) -> TensorShape:
        return x

    def compute(self, xp: Any, x: Any) -> Any:
        with np.errstate(all="ignore"):
            return kernels.as_type(type(self).kernel(xp, x), x.dtype)

    def settled_kernel(self) -> Callable[..., Any]:
        if type(self).compute is not _Unary.compute:
            return self.compute
        kernel, as_type = type(self).kernel, kernels.as_type
        return lambda xp, x: as_type(kernel(xp, x), x.dtype)


class _GradientOf(OpDef, abstract=True):
    """The gradient of a unary op from its output `y` and the incoming gradient `dy`."""

    y, dy = Input("T"), Input("T")
    z = Output("T")
    T = type_attr(NUMERIC)
    kernel: ClassVar[Any]

    def infer(self, ctx: Any, y: TensorShape, dy: TensorShape) -> TensorShape:
        return merge(y, dy)

    def compute(self, xp: Any, y: Any, dy: Any) -> Any:
        with np.errstate(all="ignore"):
            return kernels.as_type(type(self).kernel(xp, y, dy), y.dtype)


def unary(
    op_type: str,
    allowed: Iterable[DType],
    kernel: Kernel,
    gradient: UnaryGradient | None = None,
    **members: Any,
) -> type[OpDef]:
    """Defines an elementwise op. `gradient(op, x, y, grad)` builds the gradient of `x`; without it, none flows back."""
    body: dict[str, Any] = {
        "__module__": __name__,
        "__doc__": f"Elementwise {op_type}.",
        "T": type_attr(allowed),
        "kernel": staticmethod(kernel),
        **members,
    }
    if gradient is None:
        body["NotDifferentiable"] = True
    else:
        build = gradient

        def method(self: OpDef, op: Any, grad: Any) -> tuple[Any]:
            return (build(op, op.inputs[0], op.outputs[0], grad),)

        body["gradient"] = method
    return type(op_type, (_Unary,), body)


# -- gradients -----------------------------------------------------------------------------------------


def _times(slope: Callable[[Any], Any], use_output: bool = False) -> UnaryGradient:
    """The gradient `grad * slope(conj(x))`, or of the output where that is cheaper."""

    def gradient(op: Any, x: Any, y: Any, grad: Any) -> Any:
        with after(grad):
            return raw.Mul(grad, slope(conj(y if use_output else x)), name="mul")

    return gradient


def _neg_times(slope: Callable[[Any], Any]) -> UnaryGradient:
    """The gradient `-grad * slope(conj(x))`."""

    def gradient(op: Any, x: Any, y: Any, grad: Any) -> Any:
        with after(grad):
            factor = slope(conj(x))
            return raw.Mul(raw.Neg(grad), factor, name="mul")

    return gradient


def _by_op(op_type: str) -> UnaryGradient:
    """The gradient computed from the output by an op of its own."""
    return lambda op, x, y, grad: getattr(raw, op_type)(y, grad)


def _node(op_type: str) -> Callable[..., Any]:
    """The builder of an op, found when it is called."""

    def build(*inputs: Any) -> Any:
        return getattr(raw, op_type)(*inputs)

    return build


def _one(x: Any) -> Any:
    return constant(np.array(1, x.dtype.as_numpy_dtype), x.dtype.base_dtype)


def _square_gradient(op: Any, x: Any, y: Any, grad: Any) -> Any:
    with after(grad):
        x = conj(x)
        two = constant(np.array(2, x.dtype.as_numpy_dtype), x.dtype.base_dtype)
        return raw.Mul(grad, raw.Mul(x, two))


def _cos_gradient(op: Any, x: Any, y: Any, grad: Any) -> Any:
    with after(grad):
        x = conj(x)
        return raw.Mul(raw.Neg(grad), raw.Sin(x), name="mul")


def _tan_gradient(op: Any, x: Any, y: Any, grad: Any) -> Any:
    with after(grad):
        secant = raw.Reciprocal(raw.Cos(conj(x)))
        return raw.Mul(raw.Square(secant), grad, name="mul")


def _asin_slope(x: Any) -> Any:
    squared = raw.Square(x)
    return raw.Reciprocal(raw.Sqrt(raw.Sub(_one(x), squared)))


def _atan_slope(x: Any) -> Any:
    squared = raw.Square(x)
    return raw.Reciprocal(raw.Add(_one(x), squared))


def _atanh_slope(x: Any) -> Any:
    squared = raw.Square(x)
    return raw.Reciprocal(raw.Sub(_one(x), squared))


def _over(slope: str) -> UnaryGradient:
    """The gradient `grad / slope(y)`, for the inverse hyperbolic functions."""

    def gradient(op: Any, x: Any, y: Any, grad: Any) -> Any:
        with after(grad):
            return raw.RealDiv(grad, getattr(raw, slope)(conj(y)), name="truediv")

    return gradient


def _error_function(sign: float) -> UnaryGradient:
    def gradient(op: Any, x: Any, y: Any, grad: Any) -> Any:
        scale = constant(
            np.array(sign * 2 / math.sqrt(math.pi), x.dtype.as_numpy_dtype), grad.dtype.base_dtype
        )
        with after(grad):
            scaled = raw.Mul(grad, scale, name="mul")
            return raw.Mul(scaled, raw.Exp(raw.Neg(raw.Square(x))), name="mul")

    return gradient


def _sign_gradient(op: Any, x: Any, y: Any, grad: Any) -> Any:
    dtype = x.dtype.base_dtype
    return filled(shape_of(x), 0, dtype, "zeros")


def _abs_gradient(op: Any, x: Any, y: Any, grad: Any) -> Any:
    return raw.Mul(grad, raw.Sign(x), name="mul")


# -- the table -------------------------------------------------------------------------------------------

Neg = unary("Neg", WITH_INTS, lambda xp, x: -x, lambda op, x, y, grad: raw.Neg(grad))
Abs = unary("Abs", FLOATS | {int8, int16, int32, int64}, lambda xp, x: xp.abs(x), _abs_gradient)
Sign = unary("Sign", WITH_INTS, kernels.sign, _sign_gradient)
Reciprocal = unary("Reciprocal", WITH_INTS, kernels.reciprocal, _by_op("ReciprocalGrad"))
Inv = unary("Inv", WITH_INTS, kernels.reciprocal, _by_op("ReciprocalGrad"))
Square = unary("Square", WITH_INTS, lambda xp, x: x * x, _square_gradient)
Sqrt = unary("Sqrt", NUMERIC, lambda xp, x: xp.sqrt(x), _by_op("SqrtGrad"))
Rsqrt = unary("Rsqrt", NUMERIC, kernels.rsqrt, _by_op("RsqrtGrad"))
Exp = unary("Exp", NUMERIC, lambda xp, x: xp.exp(x), _times(lambda y: y, use_output=True))
Expm1 = unary("Expm1", NUMERIC, lambda xp, x: xp.expm1(x), _times(_node("Exp")))
Log = unary("Log", NUMERIC, lambda xp, x: xp.log(x), _times(_node("Reciprocal")))
Log1p = unary(
    "Log1p",
    NUMERIC,
    lambda xp, x: xp.log1p(x),
    _times(lambda x: raw.Reciprocal(raw.AddV2(1, x, T=x.dtype.base_dtype, name="add"))),
)
Sin = unary("Sin", NUMERIC, lambda xp, x: xp.sin(x), _times(_node("Cos")))
Cos = unary("Cos", NUMERIC, lambda xp, x: xp.cos(x), _cos_gradient)
Tan = unary("Tan", WITH_INTS, lambda xp, x: xp.tan(x), _tan_gradient)
Asin = unary("Asin", WITH_INTS, lambda xp, x: xp.arcsin(x), _times(_asin_slope))
Acos = unary("Acos", WITH_INTS, lambda xp, x: xp.arccos(x), _neg_times(_asin_slope))
Atan = unary("Atan", WITH_INTS, lambda xp, x: xp.arctan(x), _times(_atan_slope))
Sinh = unary("Sinh", NUMERIC, lambda xp, x: xp.sinh(x), _times(_node("Cosh")))
Cosh = unary("Cosh", NUMERIC, lambda xp, x: xp.cosh(x), _times(_node("Sinh")))
Asinh = unary("Asinh", NUMERIC, lambda xp, x: xp.arcsinh(x), _over("Cosh"))
Acosh = unary("Acosh", NUMERIC, lambda xp, x: xp.arccosh(x), _over("Sinh"))
Atanh = unary("Atanh", NUMERIC, lambda xp, x: xp.arctanh(x), _times(_atanh_slope))
Tanh = unary("Tanh", NUMERIC, lambda xp, x: xp.tanh(x), _by_op("TanhGrad"))
Sigmoid = unary("Sigmoid", NUMERIC, kernels.sigmoid, _by_op("SigmoidGrad"))
Erf = unary("Erf", FLOATS, lambda xp, x: kernels.special(xp, "erf", x), _error_function(1.0))
Erfc = unary("Erfc", FLOATS, lambda xp, x: kernels.special(xp, "erfc", x), _error_function(-1.0))
Lgamma = unary(
    "Lgamma",
    FLOATS,
    lambda xp, x: kernels.special(xp, "gammaln", x),
    _times(_node("Digamma")),
)
Digamma = unary(
    "Digamma",
    FLOATS,
    lambda xp, x: kernels.special(xp, "digamma", x),
    _times(lambda x: raw.Polygamma(_one(x), x)),
    xla_only=True,
)
Floor = unary("Floor", FLOATS, lambda xp, x: xp.floor(x))
Ceil = unary("Ceil", FLOATS, lambda xp, x: xp.ceil(x))
Round = unary("Round", WITH_INTS, kernels.round_half_even)
Rint = unary("Rint", FLOATS, kernels.round_half_even)


class ReciprocalGrad(_GradientOf):
    """Gradient of `1 / x` from the output."""

    kernel = staticmethod(lambda xp, y, dy: -dy * xp.conj(y) * xp.conj(y))

    def gradient(self, op: Any, grad: Any) -> tuple[Any, Any]:
        y = op.inputs[0]
        with after(grad):
            cy, cg = conj(y), conj(grad)
            doubled = raw.Mul(cg, -2.0, T=cg.dtype.base_dtype, name="mul")
            scaled = raw.Mul(raw.Mul(doubled, op.inputs[1], name="mul"), cy, name="mul")
            return scaled, raw.ReciprocalGrad(cy, grad)


class InvGrad(_GradientOf):
    """Gradient of `Inv`, the older name of `Reciprocal`."""

    kernel = staticmethod(lambda xp, y, dy: -dy * xp.conj(y) * xp.conj(y))
    gradient = ReciprocalGrad.gradient


class SqrtGrad(_GradientOf):
    """Gradient of `sqrt(x)` from the output."""

    kernel = staticmethod(lambda xp, y, dy: dy * np.array(0.5, y.dtype) / xp.conj(y))

    def gradient(self, op: Any, grad: Any) -> tuple[Any, Any]:
        y = op.inputs[0]
        with after(grad):
            ratio = raw.RealDiv(grad, conj(y), name="truediv")
            first = raw.Mul(raw.Neg(conj(ratio)), op.outputs[0], name="mul")
            return first, raw.Mul(0.5, ratio, T=y.dtype.base_dtype, name="mul")


class RsqrtGrad(_GradientOf):
    """Gradient of `1 / sqrt(x)` from the output."""

    kernel = staticmethod(
        lambda xp, y, dy: dy * np.array(-0.5, y.dtype) * xp.conj(y) * xp.conj(y) * xp.conj(y)
    )

    def gradient(self, op: Any, grad: Any) -> tuple[Any, Any]:
        a, b = op.inputs
        with after(grad):
            ca, cg = conj(a), conj(grad)
            scaled = raw.Mul(-1.5, cg, T=cg.dtype.base_dtype, name="mul")
            first = raw.Mul(raw.Mul(scaled, b, name="mul"), raw.Square(ca), name="mul")
            return first, raw.RsqrtGrad(ca, grad)


class TanhGrad(_GradientOf):
    """Gradient of `tanh(x)` from the output."""

    kernel = staticmethod(lambda xp, y, dy: dy * (np.array(1, y.dtype) - xp.conj(y) * xp.conj(y)))

    def gradient(self, op: Any, grad: Any) -> tuple[Any, Any]:
        with after(grad):
            a, b = conj(op.inputs[0]), conj(op.inputs[1])
            doubled = raw.Mul(grad, -2.0, T=a.dtype.base_dtype, name="mul")
            first = raw.Mul(raw.Mul(doubled, b, name="mul"), a, name="mul")
            return first, raw.TanhGrad(a, grad)


class SigmoidGrad(_GradientOf):
    """Gradient of `sigmoid(x)` from the output."""

    kernel = staticmethod(lambda xp, y, dy: dy * xp.conj(y) * (np.array(1, y.dtype) - xp.conj(y)))

    def gradient(self, op: Any, grad: Any) -> tuple[Any, Any]:
        with after(grad):
            a, b = conj(op.inputs[0]), conj(op.inputs[1])
            both = raw.Mul(grad, b, name="mul")
            doubled = raw.Mul(2.0, both, T=a.dtype.base_dtype, name="mul")
            first = raw.Sub(both, raw.Mul(doubled, a, name="mul"), name="sub")
            return first, raw.SigmoidGrad(a, grad)


# -- public functions -----------------------------------------------------------------------------------


def _function(op_type: str, name: str, what: str, sparse: bool = False) -> Callable[..., Any]:
    def function(x: Any, name: str | None = None) -> Any:
        if sparse and isinstance(x, SparseTensor):
            values = getattr(raw, op_type)(x.values, name=name)
            return SparseTensor(x.indices, values, x.dense_shape)
        return getattr(raw, op_type)(x, name=name)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"{what}, element by element (TensorFlow: `tf.{name}`, op `{op_type}`).\n\n"
        f"`x`: a tensor or what converts to one{', or a SparseTensor' if sparse else ''}. Returns a tensor of the "
        "same shape and dtype. Raises TypeError for a dtype that the op has no kernel for."
    )
    return function


negative = _function("Neg", "negative", "`-x`", sparse=True)
sign = _function("Sign", "sign", "The sign of `x`: -1, 0 or 1 (complex: `x / |x|`)", sparse=True)
reciprocal = _function("Reciprocal", "reciprocal", "`1 / x`")
square = _function("Square", "square", "`x * x`", sparse=True)
sqrt = _function("Sqrt", "sqrt", "The square root of `x`", sparse=True)
rsqrt = _function("Rsqrt", "rsqrt", "`1 / sqrt(x)`")
exp = _function("Exp", "exp", "`e` to the power of `x`")
expm1 = _function("Expm1", "expm1", "`exp(x) - 1`, exact near 0")
log = _function("Log", "log", "The natural logarithm of `x`")
log1p = _function("Log1p", "log1p", "`log(1 + x)`, exact near 0")
sin = _function("Sin", "sin", "The sine of `x`")
cos = _function("Cos", "cos", "The cosine of `x`")
tan = _function("Tan", "tan", "The tangent of `x`")
asin = _function("Asin", "asin", "The inverse sine of `x`")
acos = _function("Acos", "acos", "The inverse cosine of `x`")
atan = _function("Atan", "atan", "The inverse tangent of `x`")
sinh = _function("Sinh", "sinh", "The hyperbolic sine of `x`")
cosh = _function("Cosh", "cosh", "The hyperbolic cosine of `x`")
asinh = _function("Asinh", "asinh", "The inverse hyperbolic sine of `x`")
acosh = _function("Acosh", "acosh", "The inverse hyperbolic cosine of `x`")
atanh = _function("Atanh", "atanh", "The inverse hyperbolic tangent of `x`")
tanh = _function("Tanh", "tanh", "The hyperbolic tangent of `x`", sparse=True)
sigmoid = _function("Sigmoid", "sigmoid", "`1 / (1 + exp(-x))`")
erf = _function("Erf", "erf", "The Gauss error function of `x`", sparse=True)
erfc = _function("Erfc", "erfc", "`1 - erf(x)`")
lgamma = _function("Lgamma", "lgamma", "The logarithm of `|gamma(x)|`")
digamma = _function("Digamma", "digamma", "The derivative of `lgamma(x)`")
floor = _function("Floor", "floor", "The largest integer not above `x`")
ceil = _function("Ceil", "ceil", "The smallest integer not below `x`")
rint = _function("Rint", "rint", "The integer nearest to `x`, ties to the even one")


def round(x: Any, name: str | None = None) -> Any:
    """The integer nearest to `x`, ties to the even one, in the dtype of `x` (TensorFlow: `tf.round`)."""
    from flowmesh.graph.convert import convert_to_tensor

    x = convert_to_tensor(x, name="x")
    return x if x.dtype.is_integer else raw.Round(x, name=name)
