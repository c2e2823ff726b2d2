"""Clipping, counting, evenly spaced numbers and the cross product."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core import errors
from flowmesh.core.dtypes import REALS, as_dtype, bfloat16, float32, float64, int32, int64
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.ops import kernels
from flowmesh.ops.building import constant, name_scope, shape_of
from flowmesh.ops.shape_rules import at_least, bracketed, merge, with_rank


def _invalid(message: str) -> errors.InvalidArgumentError:
    return errors.InvalidArgumentError(None, None, message)


class ClipByValue(OpDef):
    """The elements, limited to a range."""

    t, clip_value_min, clip_value_max = Input("T"), Input("T"), Input("T")
    output = Output("T")
    T = type_attr(kernels.NUMBER_TYPES)

    def infer(self, ctx: Any, t: TensorShape, low: TensorShape, high: TensorShape) -> TensorShape:
        return t

    def compute(self, xp: Any, t: Any, clip_value_min: Any, clip_value_max: Any) -> Any:
        for limit in (clip_value_min, clip_value_max):
            if limit.ndim and limit.shape != t.shape:
                raise _invalid(
                    "clip_value_min and clip_value_max must be either of the same shape as input, or a scalar. "
                    f"input shape: {list(t.shape)} clip_value_min shape: {list(clip_value_min.shape)} "
                    f"clip_value_max shape: {list(clip_value_max.shape)}"
                )
        return xp.minimum(xp.maximum(t, clip_value_min), clip_value_max)


class Cross(OpDef):
    """Cross products of vectors of 3."""

    a, b = Input("T"), Input("T")
    product = Output("T")
    T = type_attr(REALS)

    def infer(self, ctx: Any, a: TensorShape, b: TensorShape) -> TensorShape:
        at_least(a, 1)
        at_least(b, 1)
        result = merge(a, b)
        if result.key is not None and result.key[-1] not in (None, 3):
            raise ValueError(f"Dimension must be 3 but is {result.key[-1]}")
        return result

    def compute(self, xp: Any, a: Any, b: Any) -> Any:
        return xp.cross(a, b)

    def gradient(self, op: Any, grad: Any) -> tuple[Any, Any]:
        u, v = op.inputs
        first = raw.Cross(v, grad)
        return first, raw.Cross(grad, u)


class LinSpace(OpDef):
    """Evenly spaced numbers."""

    start, stop = Input("T"), Input("T")
    num = Input("Tidx")
    output = Output("T")
    T = type_attr({bfloat16, float32, float64})
    Tidx = type_attr({int32, int64}, int32)
    static_inputs = ("num",)
    NotDifferentiable = True

    def infer(
        self, ctx: Any, start: TensorShape, stop: TensorShape, num: TensorShape
    ) -> TensorShape:
        for shape, what in ((start, "start"), (stop, "stop"), (num, "num")):
            try:
                with_rank(shape, 0)
            except ValueError as error:
                raise ValueError(f"{error}\n\t for '{what}'") from None
        count = ctx.value(2)
        if count is None:
            return unknown_shape(1)
        if int(count) <= 0:
            raise ValueError(f"Requires num > 0: {int(count)}")
        return TensorShape([int(count)])

    def compute(self, xp: Any, start: Any, stop: Any, num: Any) -> Any:
        count = int(num)
        if count <= 0:
            raise _invalid(f"Requires num > 0: {count}")
        if count == 1:
            return xp.reshape(start, (1,))
        step = (stop - start) / np.array(count - 1, start.dtype)
        inner = start + step * np.arange(count - 1).astype(start.dtype)
        return kernels.as_type(xp.concatenate([inner, xp.reshape(stop, (1,))]), start.dtype)


class Bincount(OpDef):
    """How often each small integer occurs, or the sum of the weights where it does."""

    arr, size = Input(int32), Input(int32)
    weights = Input("T")
    bins = Output("T")
    T = type_attr({int32, int64, float32, float64})
    static_inputs = ("size",)
    NotDifferentiable = True

    def infer(
        self, ctx: Any, arr: TensorShape, size: TensorShape, weights: TensorShape
    ) -> TensorShape:
        with_rank(size, 0)
        count = ctx.value(1)
        if count is None:
            return unknown_shape(1)
        if int(count) < 0:
            raise ValueError(f"size ({int(count)}) must be non-negative")
        return TensorShape([int(count)])

    def compute(self, xp: Any, arr: Any, size: Any, weights: Any) -> Any:
        count = int(size)
        if count < 0:
            raise _invalid(f"size ({count}) must be non-negative")
        flat = xp.reshape(arr, (-1,))
        if kernels.is_numpy(xp) and np.any(flat < 0):
            raise _invalid("Input arr must be non-negative!")
        amounts = xp.reshape(weights, (-1,)) if weights.size else xp.ones(flat.shape, weights.dtype)
        result = xp.zeros([count], weights.dtype)
        if not kernels.is_numpy(xp):
            return result.at[xp.where(flat < 0, count, flat)].add(amounts, mode="drop")
        kept = flat < count
        np.add.at(result, flat[kept], amounts[kept])
        return result


class HistogramFixedWidth(OpDef):
    """How many values fall into each of equally wide bins."""

    values, value_range = Input("T"), Input("T")
    nbins = Input(int32)
    out = Output("dtype")
    T = type_attr({int32, int64, float32, float64})
    dtype = type_attr({int32, int64}, int32)
    static_inputs = ("nbins",)

    def infer(
        self, ctx: Any, values: TensorShape, limits: TensorShape, nbins: TensorShape
    ) -> TensorShape:
        if limits.key is not None and limits.key not in ((2,), (None,)):
            raise ValueError(f"Shape of value_range must be [2], not {bracketed(limits)}")
        with_rank(nbins, 0)
        count = ctx.value(2)
        if count is None:
            return unknown_shape(1)
        if int(count) <= 0:
            raise ValueError(f"Requires nbins > 0: {int(count)}")
        return TensorShape([int(count)])

    def compute(self, xp: Any, values: Any, value_range: Any, nbins: Any) -> Any:
        count = int(nbins)
        if kernels.is_numpy(xp) and not value_range[0] < value_range[1]:
            raise _invalid(
                f"value_range should satisfy value_range[0] < value_range[1], but got '[{value_range[0]}, {value_range[1]}]'"
            )
        if count <= 0:
            raise _invalid(f"nbins should be a positive number, but got '{count}'")
        flat = xp.reshape(values, (-1,)).astype(np.float64)
        low, high = value_range[0].astype(np.float64), value_range[1].astype(np.float64)
        index = xp.clip(xp.floor((flat - low) / ((high - low) / count)), 0, count - 1).astype(
            np.int32
        )
        kind = self.attrs["dtype"].as_numpy_dtype
        return xp.bincount(
            index, minlength=count, **({} if kernels.is_numpy(xp) else {"length": count})
        ).astype(kind)


class Bucketize(OpDef):
    """The index of the bucket that each element falls into."""

    input = Input("T")
    output = Output(int32)
    T = type_attr({int32, int64, float32, float64})
    boundaries = Attr("list(float)")
    NotDifferentiable = True

    def infer(self, ctx: Any, input: TensorShape) -> TensorShape:
        return input

    def compute(self, xp: Any, input: Any) -> Any:
        edges = np.array(self.attrs["boundaries"], np.float32)
        if np.any(np.diff(edges) < 0):
            raise _invalid("Expected sorted boundaries")
        wide = np.float64 if input.dtype != np.float32 else np.float32
        return xp.searchsorted(
            xp.asarray(edges.astype(wide)), input.astype(wide), side="right"
        ).astype(np.int32)


# -- public functions ------------------------------------------------------------------------------------


def cross(a: Any, b: Any, name: str | None = None) -> Any:
    """Cross products of the vectors in the last axis, of size 3, of two tensors of one shape (TensorFlow: `tf.cross`)."""
    return raw.Cross(a, b, name=name)


def linspace(start: Any, stop: Any, num: Any, name: str | None = None) -> Any:
    """`num` evenly spaced floats from `start` to `stop`, both included (TensorFlow: `tf.linspace`).

    Raises ValueError when `num` is not positive.
    """
    return raw.LinSpace(start, stop, num, name=name)


lin_space = linspace


def bincount(
    arr: Any,
    weights: Any = None,
    minlength: Any = None,
    maxlength: Any = None,
    dtype: Any = int32,
    name: str | None = None,
) -> Any:
    """How often each value occurs in an int32 tensor of non-negative numbers (TensorFlow: `tf.bincount`).

    With `weights` (the shape of `arr`) their sums, in their dtype, else counts of `dtype`. The length of the result is the
    largest value plus one, at least `minlength` and at most `maxlength`. Raises InvalidArgumentError for a negative value.
    """
    with name_scope(name, "bincount"):
        arr = convert_to_tensor(arr, name="arr", dtype=int32)
        shape = shape_of(arr)
        all_axes = constant(np.array([0], np.int32), int32)
        filled = raw.Greater(raw.Prod(shape, all_axes), 0)
        nonempty = raw.Cast(filled, DstT=int32)
        axes = (
            raw.Range(0, raw.Rank(arr), 1, name="range")
            if arr.shape.ndims is None
            else constant(np.arange(arr.shape.ndims, dtype=np.int32), int32)
        )
        largest = raw.AddV2(raw.Max(arr, axes), 1, name="add")
        size = raw.Mul(nonempty, largest, name="mul")
        if minlength is not None:
            size = raw.Maximum(convert_to_tensor(minlength, name="minlength", dtype=int32), size)
        if maxlength is not None:
            size = raw.Minimum(convert_to_tensor(maxlength, name="maxlength", dtype=int32), size)
        if weights is None:
            kind = as_dtype(dtype)
            weights = constant(np.array([], kind.as_numpy_dtype), kind)
        else:
            weights = convert_to_tensor(weights, name="weights")
        return raw.Bincount(arr, size, weights)


def histogram_fixed_width(
    values: Any, value_range: Any, nbins: Any = 100, dtype: Any = int32, name: str | None = None
) -> Any:
    """How many values fall into each of `nbins` equal bins over `value_range` (TensorFlow: `tf.histogram_fixed_width`).

    Values outside the range are counted in the first or the last bin. Returns a vector of `dtype`.
    """
    with name_scope(name, "histogram_fixed_width", [values, value_range, nbins]) as scope:
        return raw.HistogramFixedWidth(
            values, value_range, nbins, dtype=as_dtype(dtype), name=scope
        )


def histogram_fixed_width_bins(
    values: Any, value_range: Any, nbins: Any = 100, dtype: Any = int32, name: str | None = None
) -> Any:
    """The bin of `histogram_fixed_width` that each value falls into (TensorFlow: `tf.histogram_fixed_width_bins`)."""
    with name_scope(name, "histogram_fixed_width_bins", [values, value_range, nbins]):
        values = convert_to_tensor(values, name="values")
        shape = shape_of(values)
        flat = raw.Reshape(values, np.array([-1], np.int32))
        limits = convert_to_tensor(value_range, dtype=values.dtype.base_dtype, name="value_range")
        nbins = convert_to_tensor(nbins, dtype=int32, name="nbins")
        low = raw.GatherV2(limits, 0, 0)
        width = raw.Sub(raw.GatherV2(limits, 1, 0), low, name="sub")
        scaled = (raw.Sub(flat, low, name="sub")) / width
        count = raw.Cast(nbins, DstT=scaled.dtype.base_dtype)
        index = raw.Cast(raw.Floor(raw.Mul(count, scaled, name="mul")), DstT=int32)
        last = raw.Sub(nbins, 1, name="sub")
        index = raw.Maximum(raw.Minimum(index, last), 0)
        return raw.Cast(raw.Reshape(index, shape), DstT=as_dtype(dtype))
