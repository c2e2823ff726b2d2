"""Reductions along axes and the cumulative ones, with their gradients and public functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from flowmesh.core import dtypes, errors
from flowmesh.core.dtypes import int32, int64
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.ops import kernels
from flowmesh.ops.building import (
    constant,
    name_scope,
    rank_of,
    remembered,
    shape_of,
    size_of,
    static_shape,
)
from flowmesh.ops.shape_rules import at_most


def normal_axes(axes: Any, rank: int) -> tuple[int, ...]:
    """Reduction axes as sorted non-negative ints without doubles; InvalidArgumentError when one is out of range."""
    given = np.asarray(axes).reshape(-1).tolist()
    if len(given) == 1 and 0 <= given[0] < rank:
        return (given[0],)
    found: set[int] = set()
    for axis in given:
        if not -rank <= axis < rank:
            raise errors.InvalidArgumentError(
                None,
                None,
                f"Invalid reduction dimension ({axis} for input with {rank} dimension(s)",
            )
        found.add(axis % rank)
    return tuple(sorted(found))


def reduced_static_shape(
    ctx: Any, input: TensorShape, indices: TensorShape, keep: bool
) -> TensorShape:
    """The shape function of all reductions."""
    at_most(indices, 1)
    axes = ctx.value(1)
    if input.key is None or axes is None:
        if input.key is not None and keep:
            return unknown_shape(len(input.key))
        return unknown_shape()
    rank = len(input.key)
    gone: set[int] = set()
    for axis in np.asarray(axes).reshape(-1).tolist():
        if not -rank <= axis < rank:
            raise ValueError(
                f"Invalid reduction dimension {axis} for input with {rank} dimensions."
            )
        gone.add(axis % rank)
    sizes = [1 if i in gone else size for i, size in enumerate(input.key) if keep or i not in gone]
    return TensorShape.from_key(tuple(sizes))


class _Reduction(OpDef, abstract=True):
    """Combines the elements of a tensor along axes."""

    input = Input("T")
    reduction_indices = Input("Tidx")
    output = Output("T")
    keep_dims = Attr("bool", False)
    T = type_attr(kernels.NUMBER_TYPES)
    Tidx = type_attr({int32, int64}, int32)
    static_inputs = ("reduction_indices",)
    kernel: ClassVar[Callable[..., Any]]

    def infer(self, ctx: Any, input: TensorShape, reduction_indices: TensorShape) -> TensorShape:
        return reduced_static_shape(ctx, input, reduction_indices, self.attrs["keep_dims"])

    def compute(self, xp: Any, input: Any, reduction_indices: Any) -> Any:
        if not reduction_indices.size and self.op_type == "Sum":
            return input
        axes = normal_axes(reduction_indices, input.ndim)
        with np.errstate(all="ignore"):
            result = type(self).kernel(xp, input, axes, self.attrs["keep_dims"])
        return kernels.as_type(result, input.dtype)


def _count(x: Any, axes: tuple[int, ...]) -> int:
    return int(np.prod([x.shape[a] for a in axes], dtype=np.int64))


def _sum(xp: Any, x: Any, axes: tuple[int, ...], keep: bool) -> Any:
    if kernels.is_numpy(xp) and x.dtype.itemsize == 2 and not kernels.is_integer(x):
        return np.sum(x, axis=axes, keepdims=keep, dtype=np.float32).astype(x.dtype)
    total: Callable[..., Any] = np.add.reduce if kernels.is_numpy(xp) else xp.sum
    return total(x, axis=axes, keepdims=keep, dtype=x.dtype)


def _mean(xp: Any, x: Any, axes: tuple[int, ...], keep: bool) -> Any:
    count = _count(x, axes)
    if not kernels.is_integer(x):
        if kernels.is_numpy(xp) and x.dtype.itemsize == 2:
            total = np.sum(x, axis=axes, keepdims=keep, dtype=np.float32)
            return (total / np.float32(count)).astype(x.dtype)
        return _sum(xp, x, axes, keep) / xp.asarray(count, x.dtype)
    if count == 0:
        raise errors.InvalidArgumentError(None, None, "Mean of no integers is not defined")
    total = _sum(xp, x, axes, keep)
    divisor = np.array(count, np.int64).astype(x.dtype)
    quotient = total // divisor
    return quotient + ((quotient < 0) & (quotient * divisor != total)).astype(x.dtype)


def _extremum(largest: bool) -> Callable[..., Any]:
    def kernel(xp: Any, x: Any, axes: tuple[int, ...], keep: bool) -> Any:
        function = xp.max if largest else xp.min
        if kernels.is_integer(x):
            bounds = np.iinfo(x.dtype)
            initial: Any = bounds.min if largest else bounds.max
        else:
            initial = -np.inf if largest else np.inf
        if _count(x, axes):
            return function(x, axis=axes, keepdims=keep)
        return function(x, axis=axes, keepdims=keep, initial=np.array(initial, x.dtype))

    return kernel


def _euclidean_norm(xp: Any, x: Any, axes: tuple[int, ...], keep: bool) -> Any:
    squares = xp.real(x * xp.conj(x))
    total = xp.sum(squares, axis=axes, keepdims=keep, dtype=squares.dtype)
    return xp.floor(xp.sqrt(total)) if kernels.is_integer(x) else xp.sqrt(total)


# -- gradients -----------------------------------------------------------------------------------------------


def reduced_shape(input_shape: Any, axes: Any) -> Any:
    """The shape that is left when `axes` are reduced to size 1, as a tensor."""
    axes = _as_int32(axes)
    rank = size_of(input_shape)
    axes = raw.FloorMod(raw.AddV2(axes, rank, name="add"), rank, name="mod")
    axes_shape = shape_of(axes)
    everything = raw.Range(0, rank, 1, name="range")
    return raw.DynamicStitch([everything, axes], [input_shape, raw.Fill(axes_shape, 1)])


def _as_int32(axes: Any) -> Any:
    return axes if axes.dtype.base_dtype == int32 else raw.Cast(axes, DstT=int32)


def _repeats(shape: Any, kept: Any) -> Any:
    """How often each axis of a reduced tensor is repeated to fill the original shape."""
    return raw.FloorDiv(shape, raw.Maximum(kept, 1), name="floordiv")


def _known_shapes(x: Any, shape: tuple[int, ...], axes: Any) -> tuple[Any, Any]:
    """Reduced shape and repeats of a known shape, worked out once per graph."""
    flat = tuple(np.asarray(axes).reshape(-1).tolist())
    known = remembered(x.graph)
    key = ("reduced", shape, flat)
    if key not in known:
        with name_scope("Cast"):
            full = constant(np.array(shape, np.int32), int32, "x")
        with name_scope("Cast"):
            indices = constant(np.array(flat, np.int32), int32, "x")
        reduced_shape(full, indices)
        gone = {axis % len(shape) for axis in flat}
        kept = np.array([1 if i in gone else n for i, n in enumerate(shape)], np.int32)
        repeats = np.array(shape, np.int32) // np.maximum(kept, 1)
        raw.FloorDiv(
            np.array(shape, np.int32), raw.Maximum(kept, np.array(1, np.int32)), name="floordiv"
        )
        known[key] = (kept, repeats)
    return known[key]


def _sum_gradient(op: Any, grad: Any) -> tuple[Any, None]:
    x = op.inputs[0]
    rank = x.shape.ndims
    axes = _constant_of(op.inputs[1]) if rank is not None else None
    if rank is not None and axes is not None:
        if np.array_equal(axes, np.arange(rank)):
            grad = raw.Reshape(grad, np.ones([rank], np.int32))
            shape = static_shape(x)
            full = raw.Shape(x) if shape is None else constant(np.array(shape, np.int32), int32)
            return raw.Tile(grad, full), None
        shape = static_shape(x)
        if shape is not None:
            kept, repeats = _known_shapes(x, shape, axes)
            return raw.Tile(raw.Reshape(grad, kept), repeats), None
    input_shape = shape_of(x)
    with input_shape.graph.colocate_with(input_shape):
        kept = reduced_shape(input_shape, op.inputs[1])
        repeats = _repeats(input_shape, kept)
    return raw.Tile(raw.Reshape(grad, kept), repeats), None


def _constant_of(tensor: Any) -> Any:
    from flowmesh.graph.constant_value import constant_value

    return constant_value(tensor)


def _extremum_gradient(self: OpDef, op: Any, grad: Any) -> tuple[Any, None]:
    """Equal extrema share the gradient evenly."""
    x, axes = op.inputs
    kept = reduced_shape(shape_of(x), axes)
    y = raw.Reshape(op.outputs[0], kept)
    grad = raw.Reshape(grad, kept)
    chosen = raw.Cast(raw.Equal(y, x), DstT=grad.dtype.base_dtype)
    count = raw.Reshape(raw.Sum(chosen, axes), kept)
    return raw.Mul(raw.RealDiv(chosen, count, name="truediv"), grad, name="mul"), None


class Sum(_Reduction):
    """The sum along axes."""

    kernel = staticmethod(_sum)

    def gradient(self, op: Any, grad: Any) -> tuple[Any, None]:
        return _sum_gradient(op, grad)


class Mean(_Reduction):
    """The mean along axes."""

    kernel = staticmethod(_mean)

    def gradient(self, op: Any, grad: Any) -> tuple[Any, None]:
        total = _sum_gradient(op, grad)[0]
        before, after = static_shape(op.inputs[0]), static_shape(op.outputs[0])
        if before is not None and after is not None:
            size = int(np.prod(before, dtype=np.int64))
            factor = size // max(int(np.prod(after, dtype=np.int64)), 1)
            dtype = total.dtype.base_dtype
            return raw.RealDiv(
                total, constant(np.array(factor, dtype.as_numpy_dtype), dtype), name="truediv"
            ), None
        shapes = shape_of(op.inputs[0]), shape_of(op.outputs[0])
        sizes = [raw.Prod(s, constant(np.array([0], np.int32), int32)) for s in shapes]
        count = raw.FloorDiv(sizes[0], raw.Maximum(sizes[1], 1), name="floordiv")
        divisor = raw.Cast(count, DstT=total.dtype.base_dtype)
        return raw.RealDiv(total, divisor, name="truediv"), None


class Prod(_Reduction):
    """The product along axes."""

    kernel = staticmethod(
        lambda xp, x, axes, keep: xp.prod(x, axis=axes, keepdims=keep, dtype=x.dtype)
    )

    def gradient(self, op: Any, grad: Any) -> tuple[Any, None]:
        x = op.inputs[0]
        input_shape = shape_of(x)
        axes = raw.Reshape(op.inputs[1], np.array([-1], np.int32))
        kept = reduced_shape(input_shape, op.inputs[1])
        repeats = _repeats(input_shape, kept)
        grad = raw.Tile(raw.Reshape(grad, kept), repeats)
        # Shapes are worked out on the CPU, where ListDiff has its only kernel.
        with get_default_graph().device("/cpu:0"):
            rank = rank_of(x)
            axes = _as_int32(axes)
            axes = raw.FloorMod(raw.AddV2(axes, rank, name="add"), rank, name="mod")
            others = raw.ListDiff(raw.Range(0, rank, 1, name="range"), axes)[0]
            order = raw.ConcatV2([axes, others], 0, name="concat")
            reduced = raw.Prod(raw.GatherV2(input_shape, axes, 0), _first_axis())
            other = raw.Prod(raw.GatherV2(input_shape, others, 0), _first_axis())
        permuted = raw.Transpose(x, order, name="transpose")
        permuted_shape = shape_of(permuted)
        with name_scope("Reshape") as scope:
            sizes = raw.Pack([reduced, other], name="shape")
            rows = raw.Reshape(permuted, sizes, name=scope)
        left = raw.Cumprod(rows, 0, exclusive=True)
        right = raw.Cumprod(rows, 0, exclusive=True, reverse=True)
        rest = raw.Reshape(raw.Mul(left, right, name="mul"), permuted_shape)
        back = raw.Transpose(rest, raw.InvertPermutation(order), name="transpose")
        return raw.Reshape(raw.Mul(grad, back, name="mul"), input_shape), None


def _first_axis() -> Any:
    return constant(np.array([0], np.int32), int32)


class Max(_Reduction):
    """The largest element along axes."""

    kernel = staticmethod(_extremum(largest=True))
    gradient = _extremum_gradient


class Min(_Reduction):
    """The smallest element along axes."""

    kernel = staticmethod(_extremum(largest=False))
    gradient = _extremum_gradient


class EuclideanNorm(_Reduction):
    """The square root of the sum of squares along axes."""

    kernel = staticmethod(_euclidean_norm)
    NotDifferentiable = True


class _LogicalReduction(OpDef, abstract=True):
    input = Input(dtypes.bool)
    reduction_indices = Input("Tidx")
    output = Output(dtypes.bool)
    keep_dims = Attr("bool", False)
    Tidx = type_attr({int32, int64}, int32)
    static_inputs = ("reduction_indices",)
    NotDifferentiable = True
    function: ClassVar[str]

    def infer(self, ctx: Any, input: TensorShape, reduction_indices: TensorShape) -> TensorShape:
        return reduced_static_shape(ctx, input, reduction_indices, self.attrs["keep_dims"])

    def compute(self, xp: Any, input: Any, reduction_indices: Any) -> Any:
        axes = normal_axes(reduction_indices, input.ndim)
        return getattr(xp, type(self).function)(input, axis=axes, keepdims=self.attrs["keep_dims"])


class All(_LogicalReduction):
    """Whether all elements along axes hold."""

    function = "all"


class Any_(_LogicalReduction):
    """Whether any element along axes holds."""

    op_type = "Any"
    function = "any"


# -- cumulative ------------------------------------------------------------------------------------------------


class _Cumulative(OpDef, abstract=True):
    x = Input("T")
    axis = Input("Tidx")
    out = Output("T")
    exclusive = Attr("bool", False)
    reverse = Attr("bool", False)
    T = type_attr(kernels.NUMBER_TYPES)
    Tidx = type_attr({int32, int64}, int32)
    static_inputs = ("axis",)
    function: ClassVar[str]
    neutral: ClassVar[int]

    def infer(self, ctx: Any, x: TensorShape, axis: TensorShape) -> TensorShape:
        return x

    def compute(self, xp: Any, x: Any, axis: Any) -> Any:
        at = int(axis)
        if not -x.ndim <= at < x.ndim:
            raise errors.InvalidArgumentError(
                None,
                None,
                f"ScanOp: Expected scan axis in the range [{-x.ndim}, {x.ndim}), but got {at}",
            )
        if self.attrs["reverse"]:
            x = xp.flip(x, at)
        with np.errstate(all="ignore"):
            result = getattr(xp, type(self).function)(x, axis=at, dtype=x.dtype)
        if self.attrs["exclusive"]:
            first = [slice(None)] * x.ndim
            first[at] = slice(0, 1)
            rest = [slice(None)] * x.ndim
            rest[at] = slice(0, max(x.shape[at] - 1, 0))
            start = xp.full_like(x[tuple(first)], type(self).neutral)
            result = xp.concatenate([start, result[tuple(rest)]], axis=at)
        return xp.flip(result, at) if self.attrs["reverse"] else result


class Cumsum(_Cumulative):
    """The running sum along an axis."""

    function, neutral = "cumsum", 0

    def gradient(self, op: Any, grad: Any) -> tuple[Any, None]:
        exclusive, reverse = op.get_attr("exclusive"), op.get_attr("reverse")
        return raw.Cumsum(grad, op.inputs[1], exclusive=exclusive, reverse=not reverse), None


class Cumprod(_Cumulative):
    """The running product along an axis."""

    function, neutral = "cumprod", 1

    def gradient(self, op: Any, grad: Any) -> tuple[Any, None]:
        x, axis = op.inputs
        exclusive, reverse = op.get_attr("exclusive"), op.get_attr("reverse")
        products = raw.Cumprod(x, axis, exclusive=exclusive, reverse=reverse)
        scaled = raw.Mul(products, grad, name="mul")
        summed = raw.Cumsum(scaled, axis, exclusive=exclusive, reverse=not reverse)
        return raw.RealDiv(summed, x, name="truediv"), None
