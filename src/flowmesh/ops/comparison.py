"""Comparisons, logic, selection by a condition, and the index of an extremum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from flowmesh.core import dtypes, errors
from flowmesh.core.dtypes import FLOATS, NUMBERS, REALS, DType, int32, int64
from flowmesh.core.shapes import TensorShape, broadcast_shapes, unknown_shape
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.ops import kernels
from flowmesh.ops.arithmetic import check_broadcast
from flowmesh.ops.building import constant, shape_of, zeros_like
from flowmesh.ops.shape_rules import merge, with_rank

BOOL = dtypes.bool
EQUATABLE = (NUMBERS - {dtypes.uint16, dtypes.uint32, dtypes.uint64}) | {
    dtypes.quint8,
    dtypes.qint8,
    dtypes.qint32,
    dtypes.string,
    BOOL,
}


class _Comparison(OpDef, abstract=True):
    """Two inputs of one dtype that broadcast against each other, a bool output."""

    x, y = Input("T"), Input("T")
    z = Output(BOOL)
    NotDifferentiable = True
    kernel: ClassVar[Any]

    def infer(self, ctx: Any, x: TensorShape, y: TensorShape) -> TensorShape:
        return broadcast_shapes(x, y)

    def compute(self, xp: Any, x: Any, y: Any) -> Any:
        check_broadcast(x, y)
        with np.errstate(all="ignore"):
            return kernels.as_type(xp.asarray(type(self).kernel(xp, x, y)), np.bool_)


def _ordered(op_type: str, kernel: Callable[[Any, Any, Any], Any], sign: str) -> type[OpDef]:
    return type(
        op_type,
        (_Comparison,),
        {
            "__module__": __name__,
            "__doc__": f"Elementwise `x {sign} y`.",
            "T": type_attr(REALS),
            "kernel": staticmethod(kernel),
        },
    )


Less = _ordered("Less", lambda xp, x, y: xp.less(x, y), "<")
LessEqual = _ordered("LessEqual", lambda xp, x, y: xp.less_equal(x, y), "<=")
Greater = _ordered("Greater", lambda xp, x, y: xp.greater(x, y), ">")
GreaterEqual = _ordered("GreaterEqual", lambda xp, x, y: xp.greater_equal(x, y), ">=")


class _Equality(OpDef, abstract=True):
    """Equality of two tensors; with `incompatible_shape_error` off, shapes that do not broadcast are just unequal."""

    x, y = Input("T"), Input("T")
    z = Output(BOOL)
    T = type_attr(EQUATABLE)
    incompatible_shape_error = Attr("bool", True)
    NotDifferentiable = True
    unequal: ClassVar[bool]

    def infer(self, ctx: Any, x: TensorShape, y: TensorShape) -> TensorShape:
        if self.attrs["incompatible_shape_error"]:
            return broadcast_shapes(x, y)
        try:
            result = broadcast_shapes(x, y)
        except ValueError:
            return TensorShape([])
        return result if x.is_fully_defined() and y.is_fully_defined() else unknown_shape()

    def compute(self, xp: Any, x: Any, y: Any) -> Any:
        try:
            check_broadcast(x, y)
        except errors.InvalidArgumentError:
            if self.attrs["incompatible_shape_error"]:
                raise
            return np.array(type(self).unequal)
        compare = xp.not_equal if type(self).unequal else xp.equal
        return kernels.as_type(xp.asarray(compare(x, y)), np.bool_)


class Equal(_Equality):
    """Elementwise `x == y`."""

    unequal = False


class NotEqual(_Equality):
    """Elementwise `x != y`."""

    unequal = True


class ApproximateEqual(OpDef):
    """Elementwise `abs(x - y) < tolerance`."""

    x, y = Input("T"), Input("T")
    z = Output(BOOL)
    T = type_attr(kernels.NUMBER_TYPES)
    tolerance = Attr("float", 1e-5)
    NotDifferentiable = True

    def infer(self, ctx: Any, x: TensorShape, y: TensorShape) -> TensorShape:
        return merge(x, y)

    def compute(self, xp: Any, x: Any, y: Any) -> Any:
        tolerance = np.array(self.attrs["tolerance"], np.float32).astype(xp.abs(x).dtype)
        return xp.asarray(xp.abs(x - y) < tolerance)


# -- logic ---------------------------------------------------------------------------------------------------


class _Logical(OpDef, abstract=True):
    x, y = Input(BOOL), Input(BOOL)
    z = Output(BOOL)
    NotDifferentiable = True
    kernel: ClassVar[Any]

    def infer(self, ctx: Any, x: TensorShape, y: TensorShape) -> TensorShape:
        return broadcast_shapes(x, y)

    def compute(self, xp: Any, x: Any, y: Any) -> Any:
        check_broadcast(x, y)
        return type(self).kernel(xp, x, y)


class LogicalAnd(_Logical):
    """Elementwise `x and y`."""

    kernel = staticmethod(lambda xp, x, y: xp.logical_and(x, y))


class LogicalOr(_Logical):
    """Elementwise `x or y`."""

    kernel = staticmethod(lambda xp, x, y: xp.logical_or(x, y))


class LogicalNot(OpDef):
    """Elementwise `not x`."""

    x = Input(BOOL)
    y = Output(BOOL)
    NotDifferentiable = True

    def infer(self, ctx: Any, x: TensorShape) -> TensorShape:
        return x

    def compute(self, xp: Any, x: Any) -> Any:
        return xp.logical_not(x)


def _test(op_type: str, kernel: Callable[[Any, Any], Any], what: str) -> type[OpDef]:
    def infer(self: OpDef, ctx: Any, x: TensorShape) -> TensorShape:
        return x

    def compute(self: OpDef, xp: Any, x: Any) -> Any:
        return kernel(xp, x)

    body: dict[str, Any] = {
        "__module__": __name__,
        "__doc__": f"Whether each element is {what}.",
        "x": Input("T"),
        "y": Output(BOOL),
        "T": type_attr(FLOATS),
        "NotDifferentiable": True,
        "infer": infer,
        "compute": compute,
    }
    return type(op_type, (OpDef,), body)


IsNan = _test("IsNan", lambda xp, x: xp.isnan(x), "not a number")
IsInf = _test("IsInf", lambda xp, x: xp.isinf(x), "infinite")
IsFinite = _test("IsFinite", lambda xp, x: xp.isfinite(x), "finite")


# -- selection -------------------------------------------------------------------------------------------------


class Select(OpDef):
    """Elements (or, with a vector condition, rows) of `t` where the condition holds, else of `e`."""

    condition = Input(BOOL)
    t, e = Input("T"), Input("T")
    output = Output("T")
    T = type_attr()

    def infer(
        self, ctx: Any, condition: TensorShape, t: TensorShape, e: TensorShape
    ) -> TensorShape:
        result = merge(t, e)
        if condition.ndims in (None, 0) or result.ndims is None:
            return result
        if condition.ndims == 1 and result.ndims > 1:
            first = TensorShape.from_key(result.key[:1] if result.key is not None else None)
            merged = merge(condition, first)
            return merged.concatenate(TensorShape.from_key((result.key or ())[1:]))
        return merge(result, condition)

    def compute(self, xp: Any, condition: Any, t: Any, e: Any) -> Any:
        if condition.ndim == 1 and t.ndim > 1:
            condition = xp.reshape(condition, (-1,) + (1,) * (t.ndim - 1))
        elif condition.ndim and condition.shape != t.shape:
            raise errors.InvalidArgumentError(
                None, None, "Inputs to operation Select must have the same size and shape."
            )
        if t.shape != e.shape:
            raise errors.InvalidArgumentError(
                None, None, "Inputs to operation Select must have the same size and shape."
            )
        return xp.where(condition, t, e)

    def gradient(self, op: Any, grad: Any) -> tuple[Any, ...]:
        condition = op.inputs[0]
        zeros = zeros_like(op.inputs[1])
        return None, raw.Select(condition, grad, zeros), raw.Select(condition, zeros, grad)


class SelectV2(OpDef):
    """Elements of `t` where the condition holds, else of `e`; all three broadcast."""

    condition = Input(BOOL)
    t, e = Input("T"), Input("T")
    output = Output("T")
    T = type_attr()

    def infer(
        self, ctx: Any, condition: TensorShape, t: TensorShape, e: TensorShape
    ) -> TensorShape:
        return broadcast_shapes(condition, broadcast_shapes(t, e))

    def compute(self, xp: Any, condition: Any, t: Any, e: Any) -> Any:
        return xp.where(condition, t, e)

    def gradient(self, op: Any, grad: Any) -> tuple[Any, ...]:
        condition, t, e = op.inputs
        dtype = grad.dtype.base_dtype
        zeros = constant(np.zeros([], dtype.as_numpy_dtype), dtype, "zeros")
        output_shape: list[Any] = []

        def reduced(partial: Any, source: Any) -> Any:
            source_shape = shape_of(source)
            if not output_shape:
                output_shape.append(shape_of(op.outputs[0]))
            axes, _ = raw.BroadcastGradientArgs(source_shape, output_shape[0])
            return raw.Reshape(raw.Sum(partial, axes, keep_dims=True), source_shape)

        first = reduced(raw.SelectV2(condition, grad, zeros), t)
        return None, first, reduced(raw.SelectV2(condition, zeros, grad), e)


# -- the index of an extremum ----------------------------------------------------------------------------------


class _ArgExtremum(OpDef, abstract=True):
    input = Input("T")
    dimension = Input("Tidx")
    output = Output("output_type")
    T = type_attr(kernels.NUMBER_TYPES)
    Tidx = type_attr({int32, int64}, int32)
    output_type = type_attr({int32, int64}, int64)
    static_inputs = ("dimension",)
    function: ClassVar[str]

    def infer(self, ctx: Any, input: TensorShape, dimension: TensorShape) -> TensorShape:
        with_rank(dimension, 0)
        if input.ndims is None:
            return unknown_shape()
        if input.ndims <= 1:
            return TensorShape([])
        axis = ctx.value(1)
        if axis is None:
            return unknown_shape(input.ndims - 1)
        axis, rank = int(axis), input.ndims
        if not -rank <= axis < rank:
            raise ValueError(
                f"Dimension ({axis}) must be in the range [{-rank}, {rank}), where {rank} is the "
                "number of dimensions in the input."
            )
        sizes = list(input.key or ())
        del sizes[axis % rank]
        return TensorShape(sizes)

    def compute(self, xp: Any, input: Any, dimension: Any) -> Any:
        axis, rank = int(dimension), input.ndim
        if not -rank <= axis < rank:
            raise errors.InvalidArgumentError(
                None, None, f"Expected dimension in the range [{-rank}, {rank}), but got {axis}"
            )
        if input.shape[axis] == 0:
            shape = ",".join(map(str, input.shape))
            raise errors.InvalidArgumentError(
                None, None, f"Reduction axis {axis} is empty in shape [{shape}]"
            )
        found = getattr(xp, type(self).function)(input, axis=axis)
        return found.astype(self.attrs["output_type"].as_numpy_dtype)

    def gradient(self, op: Any, grad: Any) -> tuple[None, None]:
        return None, None


class ArgMax(_ArgExtremum):
    """The index of the largest element along one axis (the first of equals)."""

    function = "argmax"


class ArgMin(_ArgExtremum):
    """The index of the smallest element along one axis (the first of equals)."""

    function = "argmin"


# -- public functions --------------------------------------------------------------------------------------------


def _function(op_type: str, name: str, what: str) -> Callable[..., Any]:
    def function(x: Any, y: Any, name: str | None = None) -> Any:
        return getattr(raw, op_type)(x, y, name=name)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"{what}, element by element with broadcasting (TensorFlow: `tf.{name}`, op `{op_type}`).\n\n"
        "`x`, `y`: tensors of one dtype. Returns a bool tensor. Raises TypeError when the dtypes differ, ValueError "
        "when the shapes do not broadcast."
    )
    return function


equal = _function("Equal", "equal", "`x == y`")
not_equal = _function("NotEqual", "not_equal", "`x != y`")
less = _function("Less", "less", "`x < y`")
less_equal = _function("LessEqual", "less_equal", "`x <= y`")
greater = _function("Greater", "greater", "`x > y`")
greater_equal = _function("GreaterEqual", "greater_equal", "`x >= y`")
logical_and = _function("LogicalAnd", "logical_and", "`x and y`")
logical_or = _function("LogicalOr", "logical_or", "`x or y`")


def logical_not(x: Any, name: str | None = None) -> Any:
    """`not x`, element by element, of a bool tensor (TensorFlow: `tf.logical_not`)."""
    return raw.LogicalNot(x, name=name)


def logical_xor(x: Any, y: Any, name: str | None = "LogicalXor") -> Any:
    """Whether exactly one of two bool tensors holds, element by element (TensorFlow: `tf.logical_xor`)."""
    either = raw.LogicalOr(x, y)
    return raw.LogicalAnd(either, raw.LogicalNot(raw.LogicalAnd(x, y)), name=name)


def approximate_equal(x: Any, y: Any, tolerance: float = 1e-5, name: str | None = None) -> Any:
    """`abs(x - y) < tolerance`, element by element, of tensors of one shape (TensorFlow: `tf.approximate_equal`)."""
    return raw.ApproximateEqual(x, y, tolerance=tolerance, name=name)


def is_nan(x: Any, name: str | None = None) -> Any:
    """Whether each element is not a number (TensorFlow: `tf.is_nan`)."""
    return raw.IsNan(x, name=name)


def is_inf(x: Any, name: str | None = None) -> Any:
    """Whether each element is infinite (TensorFlow: `tf.is_inf`)."""
    return raw.IsInf(x, name=name)


def is_finite(x: Any, name: str | None = None) -> Any:
    """Whether each element is finite (TensorFlow: `tf.is_finite`)."""
    return raw.IsFinite(x, name=name)


def _extremum_axis(axis: Any, dimension: Any) -> Any:
    if axis is not None and dimension is not None:
        raise ValueError("Cannot specify both 'dimension' and 'axis'")
    if axis is None:
        axis = dimension
    return 0 if axis is None else axis


def argmax(
    input: Any,
    axis: Any = None,
    name: str | None = None,
    dimension: Any = None,
    output_type: DType | str = int64,
) -> Any:
    """The index of the largest element along `axis` (default 0; the first of equals; TensorFlow: `tf.argmax`).

    `input`: a numeric tensor. Returns a tensor of `output_type` (int64 or int32) without that axis. `dimension` is the old
    name of `axis`. Raises ValueError for both, or for an axis out of range.
    """
    return raw.ArgMax(input, _extremum_axis(axis, dimension), output_type=output_type, name=name)


def argmin(
    input: Any,
    axis: Any = None,
    name: str | None = None,
    dimension: Any = None,
    output_type: DType | str = int64,
) -> Any:
    """The index of the smallest element along `axis`; otherwise like `argmax` (TensorFlow: `tf.argmin`)."""
    return raw.ArgMin(input, _extremum_axis(axis, dimension), output_type=output_type, name=name)
