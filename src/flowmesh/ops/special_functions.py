"""Special functions of several arguments (incomplete gamma and beta, zeta) and the bitwise ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from flowmesh.core.dtypes import INTS, float32, float64
from flowmesh.core.shapes import TensorShape, broadcast_shapes
from flowmesh.graph.op_def import Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.ops import kernels
from flowmesh.ops.arithmetic import Binary, check_broadcast
from flowmesh.ops.building import after, broadcast_shapes_of, name_scope, sum_to
from flowmesh.ops.shape_rules import merge

WIDE_FLOATS = {float32, float64}


class _Special(OpDef, abstract=True):
    """Two inputs that broadcast; only XLA has the function."""

    xla_only = True
    function: ClassVar[str]

    def infer(self, ctx: Any, x: TensorShape, y: TensorShape) -> TensorShape:
        return broadcast_shapes(x, y)

    def compute(self, xp: Any, x: Any, y: Any) -> Any:
        check_broadcast(x, y)
        return kernels.as_type(kernels.special(xp, type(self).function, x, y), x.dtype)


class Igamma(_Special):
    """The lower regularised incomplete gamma function of `x` with parameter `a`."""

    a, x = Input("T"), Input("T")
    z = Output("T")
    T = type_attr(WIDE_FLOATS)
    function = "gammainc"

    def gradient(self, op: Any, grad: Any) -> tuple[Any, Any]:
        a, x = op.inputs
        sa, sx, ra, rx = broadcast_shapes_of(a, x)
        with after(grad):
            by_a = raw.IgammaGradA(a, x)
            by_x = raw.Exp(_log_density(a, x))
            first = sum_to(raw.Mul(by_a, grad, name="mul"), ra, sa)
            return first, sum_to(raw.Mul(by_x, grad, name="mul"), rx, sx)


def _log_density(a: Any, x: Any) -> Any:
    """`-x + (a - 1) log(x) - lgamma(a)`."""
    minus = raw.Neg(x)
    power = raw.Mul(raw.Sub(a, 1, name="sub"), raw.Log(x), name="mul")
    return raw.Sub(raw.AddV2(minus, power, name="add"), raw.Lgamma(a), name="sub")


class Igammac(_Special):
    """The upper regularised incomplete gamma function of `x` with parameter `a`."""

    a, x = Input("T"), Input("T")
    z = Output("T")
    T = type_attr(WIDE_FLOATS)
    function = "gammaincc"

    def gradient(self, op: Any, grad: Any) -> tuple[Any, Any]:
        by_a, by_x = Igamma.gradient(self, op, grad)  # type: ignore[misc, arg-type]
        return raw.Neg(by_a), raw.Neg(by_x)


class IgammaGradA(OpDef):
    """The derivative of `Igamma` with respect to its parameter."""

    a, x = Input("T"), Input("T")
    z = Output("T")
    T = type_attr(WIDE_FLOATS)
    xla_only = True

    def infer(self, ctx: Any, a: TensorShape, x: TensorShape) -> TensorShape:
        return broadcast_shapes(a, x)

    def compute(self, xp: Any, a: Any, x: Any) -> Any:
        from jax import lax

        a, x = xp.broadcast_arrays(a, x)
        return lax.igamma_grad_a(a, x)


class Zeta(_Special):
    """The Hurwitz zeta function."""

    x, q = Input("T"), Input("T")
    z = Output("T")
    T = type_attr(WIDE_FLOATS)
    function = "zeta"

    def gradient(self, op: Any, grad: Any) -> tuple[None, Any]:
        x, q = op.inputs
        _, sq, _, rq = broadcast_shapes_of(x, q)
        with after(grad):
            slope = raw.Mul(raw.Neg(x), raw.Zeta(raw.AddV2(x, 1, name="add"), q), name="mul")
            return None, sum_to(raw.Mul(slope, grad, name="mul"), rq, sq)


class Polygamma(_Special):
    """The derivative of order `a` of the digamma function."""

    a, x = Input("T"), Input("T")
    z = Output("T")
    T = type_attr(WIDE_FLOATS)

    def compute(self, xp: Any, x: Any, y: Any) -> Any:
        from jax import lax

        check_broadcast(x, y)
        return lax.polygamma(*xp.broadcast_arrays(x, y))

    def gradient(self, op: Any, grad: Any) -> tuple[None, Any]:
        a, x = op.inputs
        _, sx, _, rx = broadcast_shapes_of(a, x)
        with after(grad):
            slope = raw.Polygamma(raw.AddV2(a, 1, name="add"), x)
            return None, sum_to(raw.Mul(slope, grad, name="mul"), rx, sx)


class Betainc(OpDef):
    """The regularised incomplete beta function."""

    a, b, x = Input("T"), Input("T"), Input("T")
    z = Output("T")
    T = type_attr(WIDE_FLOATS)
    xla_only = True

    def infer(self, ctx: Any, a: TensorShape, b: TensorShape, x: TensorShape) -> TensorShape:
        known = [s for s in (a, b, x) if s.ndims != 0]
        result = TensorShape([])
        for index, shape in enumerate(known):
            result = shape if not index else merge(result, shape)
        return result

    def compute(self, xp: Any, a: Any, b: Any, x: Any) -> Any:
        return kernels.as_type(kernels.special(xp, "betainc", a, b, x), x.dtype)

    def gradient(self, op: Any, grad: Any) -> tuple[None, None, Any]:
        a, b, x = op.inputs
        _, sx, _, rx = broadcast_shapes_of(a, x)
        logarithm = raw.Sub(
            raw.AddV2(raw.Lgamma(a), raw.Lgamma(b), name="add"),
            raw.Lgamma(raw.AddV2(a, b, name="add")),
            name="sub",
        )
        dtype = x.dtype.base_dtype
        upper = raw.Sub(b, 1, name="sub")
        upper = raw.Mul(upper, raw.Log(raw.Sub(1, x, T=dtype, name="sub")), name="mul")
        lower = raw.Mul(raw.Sub(a, 1, name="sub"), raw.Log(x), name="mul")
        density = raw.Exp(raw.Sub(raw.AddV2(upper, lower, name="add"), logarithm, name="sub"))
        return None, None, sum_to(raw.Mul(density, grad, name="mul"), rx, sx)


# -- bits -----------------------------------------------------------------------------------------------


def _shift(left: bool) -> Callable[..., Any]:
    """Shifts by an amount that is kept inside [0, bits), as TensorFlow does."""

    def kernel(xp: Any, x: Any, y: Any) -> Any:
        amount = xp.clip(y, 0, np.iinfo(x.dtype).bits - 1).astype(x.dtype)
        return xp.left_shift(x, amount) if left else xp.right_shift(x, amount)

    return kernel


def _bitwise(op_type: str, kernel: Callable[..., Any], what: str) -> type[OpDef]:
    return type(
        op_type,
        (Binary,),
        {
            "__module__": __name__,
            "__doc__": f"Elementwise bitwise {what}.",
            "T": type_attr(INTS),
            "kernel": staticmethod(kernel),
            "NotDifferentiable": True,
        },
    )


BitwiseAnd = _bitwise("BitwiseAnd", lambda xp, x, y: xp.bitwise_and(x, y), "and")
BitwiseOr = _bitwise("BitwiseOr", lambda xp, x, y: xp.bitwise_or(x, y), "or")
BitwiseXor = _bitwise("BitwiseXor", lambda xp, x, y: xp.bitwise_xor(x, y), "exclusive or")
LeftShift = _bitwise("LeftShift", _shift(left=True), "shift to the left")
RightShift = _bitwise("RightShift", _shift(left=False), "shift to the right")


class Invert(OpDef):
    """All bits flipped."""

    x = Input("T")
    y = Output("T")
    T = type_attr(INTS)
    NotDifferentiable = True

    def infer(self, ctx: Any, x: TensorShape) -> TensorShape:
        return x

    def compute(self, xp: Any, x: Any) -> Any:
        return xp.invert(x)


# -- public functions --------------------------------------------------------------------------------------


def igamma(a: Any, x: Any, name: str | None = None) -> Any:
    """The lower regularised incomplete gamma function P(a, x), float32 or float64 (TensorFlow: `tf.igamma`)."""
    return raw.Igamma(a, x, name=name)


def igammac(a: Any, x: Any, name: str | None = None) -> Any:
    """The upper regularised incomplete gamma function Q(a, x), float32 or float64 (TensorFlow: `tf.igammac`)."""
    return raw.Igammac(a, x, name=name)


def zeta(x: Any, q: Any, name: str | None = None) -> Any:
    """The Hurwitz zeta function of `x` and `q`, float32 or float64 (TensorFlow: `tf.zeta`)."""
    return raw.Zeta(x, q, name=name)


def polygamma(a: Any, x: Any, name: str | None = None) -> Any:
    """The polygamma function of order `a` at `x`, float32 or float64 (TensorFlow: `tf.polygamma`)."""
    return raw.Polygamma(a, x, name=name)


def betainc(a: Any, b: Any, x: Any, name: str | None = None) -> Any:
    """The regularised incomplete beta function I_x(a, b), float32 or float64 (TensorFlow: `tf.betainc`)."""
    return raw.Betainc(a, b, x, name=name)


def lbeta(x: Any, name: str | None = None) -> Any:
    """`log |Beta(x)|` over the last axis (TensorFlow: `tf.lbeta`)."""
    with name_scope(name, "lbeta", [x]):
        from flowmesh.graph.convert import convert_to_tensor

        x = convert_to_tensor(x, name="x")
        logs = raw.Sum(raw.Lgamma(x), np.array([-1], np.int32))
        total = raw.Lgamma(raw.Sum(x, np.array([-1], np.int32)))
        return raw.Sub(logs, total, name="sub")
