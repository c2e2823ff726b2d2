"""The public reductions (`reduce_sum` ... `reduce_logsumexp`) and cumulative functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flowmesh.core.dtypes import DType, int32, int64
from flowmesh.core.shapes import TensorShape
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.building import constant, name_scope, rank_of, shape_of, zeros_like


def _one_of(new_name: str, new: Any, old_name: str, old: Any) -> Any:
    if old is None:
        return new
    if new is not None:
        raise ValueError(f"Cannot specify both '{old_name}' and '{new_name}'")
    return old


def _arguments(
    axis: Any, keepdims: Any, reduction_indices: Any, keep_dims: Any
) -> tuple[Any, bool]:
    """Axis and keepdims under their new or old names."""
    axis = _one_of("axis", axis, "reduction_indices", reduction_indices)
    return axis, bool(_one_of("keepdims", keepdims, "keep_dims", keep_dims))


def reduction_axes(x: Any, axis: Any) -> Any:
    """The axes to reduce: `axis`, or all of them where it is None."""
    if axis is not None:
        return axis
    if isinstance(x, Tensor):
        rank = x.shape.ndims
        if rank is not None:
            return constant(np.arange(rank, dtype=np.int32), int32)
        all_axes = raw.Rank(x)
    else:
        with name_scope("Rank") as scope:
            all_axes = rank_of(convert_to_tensor(x), scope)
    return raw.Range(0, all_axes, 1, name="range")


def _scalar_if_all(output: Any, axis: Any, keepdims: bool) -> Any:
    if axis is None and not keepdims:
        output.set_shape(TensorShape([]))
    return output


def _reduce(op_type: str, x: Any, axis: Any, keepdims: bool, name: str | None) -> Any:
    axes = reduction_axes(x, axis)
    output = getattr(raw, op_type)(x, axes, keep_dims=keepdims, name=name)
    return _scalar_if_all(output, axis, keepdims)


def _function(
    op_type: str, name: str, what: str, dtypes: str = "a numeric tensor"
) -> Callable[..., Any]:
    def function(
        input_tensor: Any,
        axis: Any = None,
        keepdims: bool | None = None,
        name: str | None = None,
        reduction_indices: Any = None,
        keep_dims: bool | None = None,
    ) -> Any:
        axis, keep = _arguments(axis, keepdims, reduction_indices, keep_dims)
        return _reduce(op_type, input_tensor, axis, keep, name)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"{what} along `axis` (TensorFlow: `tf.{name}`, op `{op_type}`).\n\n"
        f"`input_tensor`: {dtypes}. `axis`: an int, a list of ints or an integer tensor; None means all axes, which gives a "
        "scalar. With `keepdims` the reduced axes stay, with size 1. `reduction_indices` and `keep_dims` are the old names.\n"
        "Returns a tensor of the same dtype. Raises ValueError for an axis out of range or an argument given under both names."
    )
    return function


reduce_sum = _function("Sum", "reduce_sum", "The sum")
reduce_mean = _function("Mean", "reduce_mean", "The mean (of integers, rounded towards 0)")
reduce_prod = _function("Prod", "reduce_prod", "The product")
reduce_max = _function("Max", "reduce_max", "The largest element")
reduce_min = _function("Min", "reduce_min", "The smallest element")
reduce_all = _function("All", "reduce_all", "Whether all elements hold", "a bool tensor")
reduce_any = _function("Any", "reduce_any", "Whether any element holds", "a bool tensor")


def reduce_euclidean_norm(
    input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None
) -> Any:
    """The square root of the sum of squares along `axis` (TensorFlow: `tf.math.reduce_euclidean_norm`)."""
    return _reduce("EuclideanNorm", input_tensor, axis, bool(keepdims), name)


def reduce_logsumexp(
    input_tensor: Any,
    axis: Any = None,
    keepdims: bool | None = None,
    name: str | None = None,
    reduction_indices: Any = None,
    keep_dims: bool | None = None,
) -> Any:
    """`log(sum(exp(x)))` along `axis`, without overflow (TensorFlow: `tf.reduce_logsumexp`).

    Arguments, result and errors are those of `reduce_sum`, for float and complex tensors.
    """
    axis, keep = _arguments(axis, keepdims, reduction_indices, keep_dims)
    with name_scope(name, "ReduceLogSumExp", [input_tensor]):
        largest = _reduce("Max", input_tensor, axis, True, None)
        finite = raw.Select(raw.IsFinite(largest), largest, zeros_like(largest))
        offset = raw.StopGradient(finite)
        exponentials = raw.Exp(raw.Sub(input_tensor, offset))
        result = raw.Log(_reduce("Sum", exponentials, axis, keep, None))
        if not keep:
            offset = raw.Reshape(offset, shape_of(result))
        return _scalar_if_all(raw.Add(result, offset), axis, keep)


def reduce_variance(
    input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None
) -> Any:
    """The mean squared distance from the mean along `axis` (TensorFlow: `tf.math.reduce_variance`)."""
    with name_scope(name or "reduce_variance"):
        means = _reduce("Mean", input_tensor, axis, True, None)
        squares = raw.Square(raw.Sub(input_tensor, means, name="sub"))
        return _reduce("Mean", squares, axis, bool(keepdims), None)


def reduce_std(
    input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None
) -> Any:
    """The standard deviation along `axis` (TensorFlow: `tf.math.reduce_std`)."""
    with name_scope(name or "reduce_std"):
        return raw.Sqrt(reduce_variance(input_tensor, axis, keepdims))


def count_nonzero(
    input_tensor: Any = None,
    axis: Any = None,
    keepdims: bool | None = None,
    dtype: DType = int64,
    name: str | None = None,
    reduction_indices: Any = None,
    keep_dims: bool | None = None,
    input: Any = None,
) -> Any:
    """The number of elements along `axis` that are not zero, as `dtype` (TensorFlow: `tf.count_nonzero`).

    `input_tensor` (also called `input`): numbers, bools or strings; otherwise as in `reduce_sum`.
    """
    input_tensor = _one_of("input", input, "input_tensor", input_tensor)
    axis, keep = _arguments(axis, keepdims, reduction_indices, keep_dims)
    with name_scope(name, "count_nonzero", [input_tensor]):
        x = convert_to_tensor(input_tensor, name="input_tensor")
        kind = x.dtype.base_dtype
        zero = np.array(b"" if kind.name == "string" else 0, kind.as_numpy_dtype)
        nonzero = raw.NotEqual(x, constant(zero, kind, "zeros"))
        return _reduce("Sum", raw.Cast(nonzero, DstT=dtype), axis, keep, None)


def _cumulative(
    op_type: str, x: Any, axis: Any, exclusive: bool, reverse: bool, name: str | None
) -> Any:
    with name_scope(name, op_type, [x]) as scope:
        x = convert_to_tensor(x, name="x")
        build = getattr(raw, op_type)
        return build(x, axis, exclusive=exclusive, reverse=reverse, name=scope)


def cumsum(
    x: Any, axis: Any = 0, exclusive: bool = False, reverse: bool = False, name: str | None = None
) -> Any:
    """The running sum along `axis` (TensorFlow: `tf.cumsum`).

    `x`: a numeric tensor. `exclusive` leaves each element itself out, `reverse` runs from the end. Returns a tensor of the
    same shape and dtype.
    """
    return _cumulative("Cumsum", x, axis, exclusive, reverse, name)


def cumprod(
    x: Any, axis: Any = 0, exclusive: bool = False, reverse: bool = False, name: str | None = None
) -> Any:
    """The running product along `axis`; arguments as in `cumsum` (TensorFlow: `tf.cumprod`)."""
    return _cumulative("Cumprod", x, axis, exclusive, reverse, name)
