"""`tf.nn`'s moments and normalisation functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.dtypes import float32
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.building import constant, name_scope, shape_of, zeros_like

_SMALLEST_EPSILON = 1.001e-5  # what cuDNN takes at least


def _keep(keep_dims: Any, keepdims: Any) -> bool:
    if keep_dims is not None and keepdims is not None:
        raise ValueError("Cannot specify both 'keepdims' and 'keep_dims'")
    return bool(keepdims if keep_dims is None else keep_dims)


def _axes(axes: Any) -> Any:
    return axes if isinstance(axes, Tensor) else np.asarray(axes, np.int32)


def _dropped(axes: Any) -> list[int]:
    return [int(a) for a in np.atleast_1d(np.asarray(axes))]


def moments(
    x: Any,
    axes: Any,
    shift: Any = None,
    name: str | None = None,
    keep_dims: bool | None = None,
    keepdims: bool | None = None,
) -> tuple[Tensor, Tensor]:
    """`(mean, variance)` of `x` over `axes` (tf.nn.moments); `shift` is not used.

    16-bit floats are averaged as float32. The reduced axes stay with size 1 where `keepdims` is set.
    """
    keep = _keep(keep_dims, keepdims)
    with name_scope(name, "moments", [x, axes]):
        given = convert_to_tensor(x, name="x")
        narrow = given.dtype in (dtypes.float16, dtypes.bfloat16)
        y = raw.Cast(given, DstT=float32) if narrow else given
        mean = raw.Mean(y, _axes(axes), keep_dims=True, name="mean")
        spread = raw.SquaredDifference(y, raw.StopGradient(mean))
        variance = raw.Mean(spread, _axes(axes), keep_dims=True, name="variance")
        if not keep:
            mean = raw.Squeeze(mean, squeeze_dims=_dropped(axes))
            variance = raw.Squeeze(variance, squeeze_dims=_dropped(axes))
        if narrow:
            mean = raw.Cast(mean, DstT=given.dtype)
            variance = raw.Cast(variance, DstT=given.dtype)
        return mean, variance


def weighted_moments(
    x: Any,
    axes: Any,
    frequency_weights: Any,
    name: str | None = None,
    keep_dims: bool | None = None,
    keepdims: bool | None = None,
) -> tuple[Tensor, Tensor]:
    """`(mean, variance)` of `x` over `axes`, each element counted `frequency_weights` times (tf.nn.weighted_moments)."""
    keep = _keep(keep_dims, keepdims)
    with name_scope(name, "weighted_moments", [x, frequency_weights, axes]):
        x = convert_to_tensor(x, name="x")
        weights = convert_to_tensor(frequency_weights, name="frequency_weights")
        kind = x.dtype.base_dtype
        narrow = kind in (dtypes.float16, dtypes.bfloat16)
        if narrow:
            x = raw.Cast(x, DstT=float32)
        if weights.dtype.base_dtype != x.dtype.base_dtype:
            weights = raw.Cast(weights, DstT=x.dtype.base_dtype)
        total = raw.Sum(
            raw.Mul(weights, x, name="mul"), _axes(axes), keep_dims=True, name="weighted_input_sum"
        )
        spread = raw.AddV2(weights, zeros_like(x), name="add")
        sum_of_weights = raw.Sum(spread, _axes(axes), keep_dims=True, name="sum_of_weights")
        inverse = raw.Reciprocal(sum_of_weights, name="inv_weight_sum")
        mean = raw.Mul(total, inverse)
        squares = raw.Mul(weights, raw.SquaredDifference(x, mean), name="mul")
        squares = raw.Sum(squares, _axes(axes), keep_dims=True, name="weighted_distsq")
        variance = raw.Mul(squares, inverse)
        if not keep:
            mean = raw.Squeeze(mean, squeeze_dims=_dropped(axes))
            variance = raw.Squeeze(variance, squeeze_dims=_dropped(axes))
        if narrow:
            mean, variance = raw.Cast(mean, DstT=kind), raw.Cast(variance, DstT=kind)
        return mean, variance


def sufficient_statistics(
    x: Any,
    axes: Any,
    shift: Any = None,
    keep_dims: bool | None = None,
    name: str | None = None,
    keepdims: bool | None = None,
) -> tuple[Tensor, Tensor, Tensor, Any]:
    """`(count, sum, sum of squares, shift)` of `x` over `axes` (tf.nn.sufficient_statistics)."""
    keep = _keep(keep_dims, keepdims)
    with name_scope(name, "sufficient_statistics", [x, shift]):
        x = convert_to_tensor(x, name="x")
        sizes = x.shape.as_list() if x.shape.ndims is not None else None
        picked = None if sizes is None else [sizes[a] for a in _dropped(axes)]
        if picked is not None and None not in picked:
            kind = x.dtype.base_dtype
            count = constant(np.prod(picked, dtype=np.int64), kind)
        else:
            lengths = raw.GatherV2(shape_of(x), _axes(axes), np.int32(0))
            lengths = raw.Cast(lengths, DstT=x.dtype.base_dtype)
            count = raw.Prod(lengths, np.array([0], np.int32), name="count")
        if shift is not None:
            shift = convert_to_tensor(shift, name="shift")
            first = raw.Sub(x, shift)
            second = raw.SquaredDifference(x, shift)
        else:
            first, second = x, raw.Square(x)
        first = raw.Sum(first, _axes(axes), keep_dims=keep, name="mean_ss")
        second = raw.Sum(second, _axes(axes), keep_dims=keep, name="var_ss")
        return count, first, second, shift


def normalize_moments(
    counts: Any, mean_ss: Any, variance_ss: Any, shift: Any, name: str | None = None
) -> tuple[Tensor, Tensor]:
    """`(mean, variance)` from `sufficient_statistics` (tf.nn.normalize_moments)."""
    with name_scope(name, "normalize", [counts, mean_ss, variance_ss, shift]):
        divisor = raw.Reciprocal(counts, name="divisor")
        if shift is not None:
            shifted = raw.Mul(mean_ss, divisor, name="shifted_mean")
            mean = raw.Add(shifted, shift, name="mean")
        else:
            shifted = mean = raw.Mul(mean_ss, divisor, name="mean")
        variance = raw.Sub(raw.Mul(variance_ss, divisor), raw.Square(shifted), name="variance")
        return mean, variance


def batch_normalization(
    x: Any,
    mean: Any,
    variance: Any,
    offset: Any,
    scale: Any,
    variance_epsilon: Any,
    name: str | None = None,
) -> Tensor:
    """`(x - mean) / sqrt(variance + variance_epsilon) * scale + offset` (tf.nn.batch_normalization).

    `offset` and `scale` may be None; all broadcast against `x`.
    """
    with name_scope(name, "batchnorm", [x, mean, variance, scale, offset]):
        mean, variance = convert_to_tensor(mean), convert_to_tensor(variance)
        x = convert_to_tensor(x)
        if not isinstance(variance_epsilon, Tensor):
            variance_epsilon = np.asarray(variance_epsilon, variance.dtype.as_numpy_dtype)
        inverse = raw.Rsqrt(raw.AddV2(variance, variance_epsilon, name="add"))
        if scale is not None:
            inverse = raw.Mul(inverse, scale, name="mul")
        product = raw.Mul(x, _like(inverse, x), name="mul")
        if offset is not None:
            constant_part = raw.Sub(offset, raw.Mul(mean, inverse, name="mul"), name="sub")
        else:
            constant_part = raw.Mul(raw.Neg(mean), inverse, name="mul")
        return raw.AddV2(product, _like(constant_part, x), name="add")


def _like(value: Any, x: Any) -> Any:
    """`value` in the dtype of `x`."""
    if value.dtype.base_dtype == x.dtype.base_dtype:
        return value
    return raw.Cast(value, DstT=x.dtype.base_dtype)


def batch_norm_with_global_normalization(
    t: Any = None,
    m: Any = None,
    v: Any = None,
    beta: Any = None,
    gamma: Any = None,
    variance_epsilon: Any = None,
    scale_after_normalization: Any = None,
    name: str | None = None,
    input: Any = None,
    mean: Any = None,
    variance: Any = None,
) -> Tensor:
    """`batch_normalization` in its older form (tf.nn.batch_norm_with_global_normalization)."""
    t = t if input is None else input
    m = m if mean is None else mean
    v = v if variance is None else variance
    scale = gamma if scale_after_normalization else None
    return batch_normalization(t, m, v, beta, scale, variance_epsilon, name)


def fused_batch_norm(
    x: Any,
    scale: Any,
    offset: Any,
    mean: Any = None,
    variance: Any = None,
    epsilon: float = 0.001,
    data_format: str = "NHWC",
    is_training: bool = True,
    name: str | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch normalisation of an image batch as one op (tf.nn.fused_batch_norm).

    Returns `(y, batch_mean, batch_variance)`; in training these are the batch's own mean and unbiased variance, else
    `mean` and `variance` as given. Raises ValueError when training is asked for with moments given.
    """
    if is_training and (mean is not None or variance is not None):
        raise ValueError("Both 'mean' and 'variance' must be None if is_training is True.")
    x = convert_to_tensor(x, name="input")
    scale = convert_to_tensor(scale, name="scale")
    offset = convert_to_tensor(offset, name="offset")
    mean = constant(np.zeros([0], np.float32)) if mean is None else mean
    variance = constant(np.zeros([0], np.float32)) if variance is None else variance
    result = raw.FusedBatchNormV3(
        x,
        scale,
        offset,
        mean,
        variance,
        epsilon=max(epsilon, _SMALLEST_EPSILON),
        data_format=data_format,
        is_training=is_training,
        name=name,
    )
    return result[0], result[1], result[2]


def local_response_normalization(
    input: Any,
    depth_radius: int = 5,
    bias: float = 1,
    alpha: float = 1,
    beta: float = 0.5,
    name: str | None = None,
) -> Tensor:
    """Divides each channel by `(bias + alpha * sum of squares of its neighbours) ** beta`
    (tf.nn.local_response_normalization, tf.nn.lrn)."""
    return raw.LRN(input, depth_radius=depth_radius, bias=bias, alpha=alpha, beta=beta, name=name)


lrn = local_response_normalization
