"""Bias, L2 loss, top-k membership, and the small functions of `tf.nn` that are built from other ops."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.dtypes import FLOATS, INDEX, NUMBERS, QUANTIZED, DType, float32, int32
from flowmesh.core.shapes import TensorShape
from flowmesh.graph.constant_value import constant_value
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.building import (
    constant,
    name_scope,
    ones_like,
    rank_of,
    shape_of,
    zeros_like,
)
from flowmesh.ops.control_flow import cond
from flowmesh.ops.kernels import as_type
from flowmesh.ops.random_ops import random_uniform
from flowmesh.ops.shape_rules import at_least, same_size, scalar_input, with_rank

_LAYOUTS = (b"NHWC", b"NCHW")


def _sum(xp: Any, x: Any, axes: Any = None) -> Any:
    """The sum in the dtype of `x`; 16-bit floats are added up as float32."""
    wide = x.astype(np.float32) if x.dtype.itemsize == 2 and x.dtype.kind not in "iu" else x
    return as_type(xp.sum(wide, axis=axes, dtype=wide.dtype), x.dtype)


def _bias_shape(value: TensorShape, bias: TensorShape, channels_first: bool) -> TensorShape:
    at_least(value, 2)
    length = with_rank(bias, 1).as_list()[0]
    if value.key is None:
        return value
    axis = 1 if channels_first else len(value.key) - 1
    sizes = list(value.key)
    sizes[axis] = same_size(sizes[axis], length)
    return TensorShape(sizes)


class BiasAdd(OpDef):
    """`value` plus `bias` along the channel axis."""

    value, bias = Input("T"), Input("T")
    output = Output("T")
    T = type_attr(NUMBERS | QUANTIZED)
    data_format = Attr("string", b"NHWC", allowed=_LAYOUTS)

    def infer(self, ctx: Any, value: TensorShape, bias: TensorShape) -> TensorShape:
        return _bias_shape(value, bias, self.attrs["data_format"] == b"NCHW")

    def compute(self, xp: Any, *inputs: Any) -> Any:
        value, bias = inputs
        if self.attrs["data_format"] == b"NCHW":
            bias = bias.reshape((-1,) + (1,) * (value.ndim - 2))
        return value + bias

    def gradient(self, op: Any, grad: Any) -> Any:
        return grad, raw.BiasAddGrad(grad, data_format=self.attrs["data_format"])


class BiasAddV1(OpDef):
    """`value` plus `bias` along the last axis."""

    value, bias = Input("T"), Input("T")
    output = Output("T")
    T = type_attr(NUMBERS | QUANTIZED)

    def infer(self, ctx: Any, value: TensorShape, bias: TensorShape) -> TensorShape:
        return _bias_shape(value, bias, False)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        return inputs[0] + inputs[1]

    def gradient(self, op: Any, grad: Any) -> Any:
        last = raw.Sub(rank_of(grad), np.int32(1), name="sub")
        axes = raw.Range(np.int32(0), last, np.int32(1), name="range")
        return grad, raw.Sum(grad, axes)


class BiasAddGrad(OpDef):
    """The sum of `out_backprop` over all axes but the channel axis."""

    out_backprop = Input("T")
    output = Output("T")
    T = type_attr(NUMBERS | QUANTIZED)
    data_format = Attr("string", b"NHWC", allowed=_LAYOUTS)

    def infer(self, ctx: Any, out_backprop: TensorShape) -> TensorShape:
        key = at_least(out_backprop, 2).key
        if key is None:
            return TensorShape([None])
        return TensorShape([key[1] if self.attrs["data_format"] == b"NCHW" else key[-1]])

    def compute(self, xp: Any, *inputs: Any) -> Any:
        (grad,) = inputs
        keep = 1 if self.attrs["data_format"] == b"NCHW" else grad.ndim - 1
        return _sum(xp, grad, tuple(axis for axis in range(grad.ndim) if axis != keep))

    def gradient(self, op: Any, grad: Any) -> Any:
        shape, length = shape_of(op.inputs[0]), shape_of(grad)
        one = np.array([1], np.int32)
        if self.attrs["data_format"] == b"NCHW":
            expanded = [ones_like(shape[:1]), length, ones_like(shape[2:])]
            target = raw.ConcatV2(expanded, np.int32(0), name="concat")
            repeats = [shape[:1], one, shape[2:]]
        else:
            expanded = [ones_like(shape[:-1]), length]
            target = raw.ConcatV2(expanded, np.int32(0), name="concat")
            repeats = [shape[:-1], one]
        times = raw.ConcatV2(repeats, np.int32(0), name="concat")
        return raw.Tile(raw.Reshape(grad, target), times)


class L2Loss(OpDef):
    """`sum(t ** 2) / 2`."""

    t = Input("T")
    output = Output("T")
    T = type_attr(FLOATS)

    def infer(self, ctx: Any, *shapes: Any) -> TensorShape:
        return TensorShape([])

    def compute(self, xp: Any, *inputs: Any) -> Any:
        (t,) = inputs
        wide = t.astype(np.float32) if t.dtype.itemsize == 2 else t
        return xp.asarray(xp.sum(xp.square(wide)) / 2).astype(t.dtype)

    def gradient(self, op: Any, grad: Any) -> Any:
        return raw.Mul(op.inputs[0], grad, name="mul")


def _in_top_k(xp: Any, predictions: Any, targets: Any, k: Any) -> Any:
    """Whether fewer than `k` predictions of a row beat its target's; False where something is not finite."""
    classes = predictions.shape[1]
    inside = (targets >= 0) & (targets < classes)
    column = xp.where(inside, targets, 0)[:, None]
    own = xp.take_along_axis(predictions, column, axis=1)
    better = xp.sum(predictions > own, axis=1)
    return (better < k) & inside & xp.isfinite(predictions).all(axis=1)


def _in_top_k_shape(predictions: TensorShape, targets: TensorShape) -> TensorShape:
    rows = with_rank(predictions, 2).as_list()[0]
    return TensorShape([same_size(rows, with_rank(targets, 1).as_list()[0])])


class InTopK(OpDef):
    """Whether the target class is among the `k` largest predictions of its row."""

    predictions = Input(float32)
    targets = Input("T")
    precision = Output(dtypes.bool)
    k = Attr("int")
    T = type_attr(INDEX, int32)
    NotDifferentiable = True

    def infer(self, ctx: Any, predictions: TensorShape, targets: TensorShape) -> TensorShape:
        return _in_top_k_shape(predictions, targets)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        predictions, targets = inputs
        return _in_top_k(xp, predictions, targets, self.attrs["k"])


class InTopKV2(OpDef):
    """Whether the target class is among the `k` largest predictions of its row."""

    predictions = Input(float32)
    targets, k = Input("T"), Input("T")
    precision = Output(dtypes.bool)
    T = type_attr(INDEX, int32)
    NotDifferentiable = True

    def infer(self, ctx: Any, *shapes: Any) -> TensorShape:
        predictions, targets, k = shapes
        scalar_input(k)
        return _in_top_k_shape(predictions, targets)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        predictions, targets, k = inputs
        return _in_top_k(xp, predictions, targets, k)


# -- what programs call ----------------------------------------------------------------------------


def bias_add(
    value: Any, bias: Any, data_format: str | None = None, name: str | None = None
) -> Tensor:
    """`value` plus the vector `bias` along its channels (tf.nn.bias_add).

    `data_format` "N...C" (default) has the channels last, "NC..." second. Raises ValueError for other formats
    and for a bias whose length is not the number of channels.
    """
    if data_format is None:
        layout = "NHWC"
    elif data_format.startswith("NC"):
        layout = "NCHW"
    elif data_format.startswith("N") and data_format.endswith("C"):
        layout = "NHWC"
    else:
        raise ValueError("data_format must be of the form `N...C` or `NC...`")
    with name_scope(name, "BiasAdd", [value, bias]) as scope:
        value = convert_to_tensor(value, name="input")
        bias = convert_to_tensor(bias, dtype=value.dtype, name="bias")
        return raw.BiasAdd(value, bias, data_format=layout, name=scope)


def bias_add_v1(value: Any, bias: Any, name: str | None = None) -> Tensor:
    """`value` plus the vector `bias` along its last axis, as the old op BiasAddV1."""
    with name_scope(name, "BiasAddV1", [value, bias]) as scope:
        value = convert_to_tensor(value, name="input")
        bias = convert_to_tensor(bias, dtype=value.dtype, name="bias")
        return raw.BiasAddV1(value, bias, name=scope)


def l2_loss(t: Any, name: str | None = None) -> Tensor:
    """`sum(t ** 2) / 2` of a float tensor, a scalar (tf.nn.l2_loss)."""
    return raw.L2Loss(t, name=name)


def xw_plus_b(x: Any, weights: Any, biases: Any, name: str | None = None) -> Tensor:
    """`matmul(x, weights) + biases` (tf.nn.xw_plus_b)."""
    with name_scope(name, "xw_plus_b", [x, weights, biases]) as scope:
        product, biases = _dense(x, weights, biases)
        return raw.BiasAdd(product, biases, name=scope)


def relu_layer(x: Any, weights: Any, biases: Any, name: str | None = None) -> Tensor:
    """`relu(matmul(x, weights) + biases)` (tf.nn.relu_layer)."""
    with name_scope(name, "relu_layer", [x, weights, biases]) as scope:
        product, biases = _dense(x, weights, biases)
        return raw.Relu(raw.BiasAdd(product, biases), name=scope)


def _dense(x: Any, weights: Any, biases: Any) -> tuple[Tensor, Tensor]:
    x = convert_to_tensor(x, name="x")
    weights = convert_to_tensor(weights, name="weights")
    biases = convert_to_tensor(biases, name="biases")
    return raw.MatMul(x, weights), biases


def dropout(
    x: Any,
    keep_prob: Any = None,
    noise_shape: Any = None,
    seed: int | None = None,
    name: str | None = None,
    rate: Any = None,
) -> Tensor:
    """`x` with elements set to 0 with probability `rate`, the others scaled by `1 / (1 - rate)` (tf.nn.dropout).

    Args:
      x: a float tensor.
      keep_prob: `1 - rate`; give one of the two.
      noise_shape: 1-D; where it is 1, all elements along that axis are kept or dropped together.
      seed: the op seed.
    Raises ValueError without rate, with both, for a rate outside [0, 1) and for integers.
    """
    try:
        kept = None if keep_prob is None else 1.0 - keep_prob
    except TypeError:
        raise ValueError(
            f"keep_prob must be a floating point number or Tensor (got {keep_prob!r})"
        ) from None
    if rate is not None and kept is not None:
        raise ValueError(
            "Passed keep_prob and rate to dropout: give only `rate` (it is 1 - keep_prob)."
        )
    rate = kept if rate is None else rate
    if rate is None:
        raise ValueError("You must provide a rate to dropout.")
    return dropout_v2(x, rate, noise_shape, seed, name)


def dropout_v2(
    x: Any, rate: Any, noise_shape: Any = None, seed: int | None = None, name: str | None = None
) -> Tensor:
    """`dropout` with the probability of dropping, `rate` (TensorFlow 2's tf.nn.dropout)."""
    with name_scope(name, "dropout", [x]):
        x = convert_to_tensor(x, name="x")
        if not x.dtype.is_floating:
            raise ValueError(
                "x has to be a floating point tensor since it's going to be scaled. "
                f"Got a {x.dtype} tensor instead."
            )
        if isinstance(rate, numbers.Real):
            if not 0 <= float(rate) < 1:
                raise ValueError(
                    "rate must be a scalar tensor or a float in the range [0, 1), "
                    f"got {float(rate):g}"
                )
            if rate == 0:
                return x
        rate = convert_to_tensor(rate, dtype=x.dtype, name="rate")
        if rate.shape.ndims not in (None, 0):
            raise ValueError(f"Shape {rate.shape} must have rank 0")
        if constant_value(rate) == 0:
            return x
        drawn = random_uniform(_noise_shape(x, noise_shape), seed=seed, dtype=x.dtype)
        one = np.asarray(1, x.dtype.as_numpy_dtype)
        scale = raw.RealDiv(one, raw.Sub(one, rate, name="sub"), name="truediv")
        keep = raw.GreaterEqual(drawn, rate)
        scaled = raw.Mul(x, scale, name="mul")
        result = raw.Mul(scaled, raw.Cast(keep, DstT=x.dtype), name="mul")
        result.set_shape(x.shape)
        return result


def _noise_shape(x: Any, noise_shape: Any) -> Any:
    """The shape of the random numbers: that of `x` unless another is given (None entries are those of `x`)."""
    if noise_shape is None:
        return shape_of(x)
    try:
        wanted = TensorShape(noise_shape)
    except (TypeError, ValueError):
        return noise_shape
    if wanted.ndims is not None and wanted.ndims == x.shape.ndims:
        sizes = [w if w is not None else s for w, s in zip(wanted.as_list(), x.shape.as_list())]
        return TensorShape(sizes)
    return noise_shape


def l2_normalize(
    x: Any, axis: Any = None, epsilon: float = 1e-12, name: str | None = None, dim: Any = None
) -> Tensor:
    """`x / sqrt(max(sum(x ** 2, axis), epsilon))` (tf.nn.l2_normalize); `dim` is the old name of `axis`."""
    if dim is not None:
        if axis is not None:
            raise ValueError("Cannot specify both 'axis' and 'dim'")
        axis = dim
    with name_scope(name, "l2_normalize", [x]) as scope:
        x = convert_to_tensor(x, name="x")
        total = raw.Sum(raw.Square(x), _axes(x, axis), keep_dims=True)
        floor = np.asarray(epsilon, x.dtype.as_numpy_dtype)
        return raw.Mul(x, raw.Rsqrt(raw.Maximum(total, floor)), name=scope)


def _axes(x: Any, axis: Any) -> Any:
    """A reduction's axes: those given, or all of them as a constant."""
    if axis is not None:
        return axis if isinstance(axis, Tensor) else np.asarray(axis, np.int32)
    if x.shape.ndims is not None:
        return constant(np.arange(x.shape.ndims, dtype=np.int32))
    return raw.Range(np.int32(0), rank_of(x), np.int32(1), name="range")


def zero_fraction(value: Any, name: str | None = None) -> Tensor:
    """The fraction of zeros in `value`, a float32 scalar; NaN when it is empty (tf.nn.zero_fraction)."""
    with name_scope(name, "zero_fraction", [value]):
        value = convert_to_tensor(value, name="value")
        size = _long_size(value)
        small = raw.LessEqual(size, np.array(int32.max, np.int64))
        count = cond(
            small,
            lambda: raw.Cast(_count_nonzero(value, int32), DstT=dtypes.int64),
            lambda: _count_nonzero(value, dtypes.int64),
        )
        with name_scope(None, "counts_to_fraction"):
            zeros = raw.Cast(raw.Sub(size, count, name="sub"), DstT=float32)
            fraction = raw.RealDiv(zeros, raw.Cast(size, DstT=float32), name="truediv")
        return raw.Identity(fraction, name="fraction")


def _long_size(value: Any) -> Any:
    """The number of elements as int64, a constant where it is known."""
    known = value.shape.num_elements()
    if known is None:
        return raw.Size(value, out_type=dtypes.int64)
    return constant(np.array(known, np.int64), name="Size")


def _count_nonzero(value: Any, dtype: DType) -> Tensor:
    with name_scope(None, "count_nonzero"):
        zero = constant(np.array(0, value.dtype.as_numpy_dtype), name="zeros")
        nonzero = raw.Cast(raw.NotEqual(value, zero), DstT=dtype)
        return raw.Sum(nonzero, _axes(nonzero, None), name="nonzero_count")


def in_top_k(predictions: Any, targets: Any, k: Any, name: str | None = None) -> Tensor:
    """Whether each row's target is among the `k` largest predictions (tf.nn.in_top_k).

    `predictions` is float32 [batch, classes], `targets` an integer [batch]; the result is bool [batch]. A row that
    holds something not finite gives False.
    """
    with name_scope(name, "in_top_k"):
        return raw.InTopKV2(predictions, targets, k)


def sigmoid_cross_entropy_with_logits(
    _sentinel: Any = None, labels: Any = None, logits: Any = None, name: str | None = None
) -> Tensor:
    """The cross entropy of independent probabilities `sigmoid(logits)` with `labels`, elementwise
    (tf.nn.sigmoid_cross_entropy_with_logits).

    Raises ValueError for arguments given by position, missing ones, and different shapes.
    """
    if _sentinel is not None:
        raise ValueError(
            "Only call `sigmoid_cross_entropy_with_logits` with named arguments "
            "(labels=..., logits=..., ...)"
        )
    if labels is None or logits is None:
        raise ValueError("Both labels and logits must be provided.")
    with name_scope(name, "logistic_loss", [logits, labels]) as scope:
        logits = convert_to_tensor(logits, name="logits")
        labels = convert_to_tensor(labels, name="labels")
        _check_same(logits, labels, "logits and labels")
        zeros = zeros_like(logits)
        positive = raw.GreaterEqual(logits, zeros)
        above = raw.Select(positive, logits, zeros)
        negative = raw.Select(positive, raw.Neg(logits), logits)
        base = raw.Sub(above, raw.Mul(logits, labels, name="mul"), name="sub")
        return raw.Add(base, raw.Log1p(raw.Exp(negative)), name=scope)


def _check_same(a: Any, b: Any, what: str) -> None:
    if not a.shape.is_compatible_with(b.shape):
        raise ValueError(f"{what} must have the same shape ({a.shape} vs {b.shape})")


def weighted_cross_entropy_with_logits(
    labels: Any = None,
    logits: Any = None,
    pos_weight: Any = None,
    name: str | None = None,
    targets: Any = None,
) -> Tensor:
    """`sigmoid_cross_entropy_with_logits` with the positive labels weighted by `pos_weight`
    (tf.nn.weighted_cross_entropy_with_logits); `targets` is the old name of `labels`."""
    if targets is not None:
        if labels is not None:
            raise ValueError("Cannot specify both 'labels' and 'targets'")
        labels = targets
    with name_scope(name, "logistic_loss", [logits, labels]) as scope:
        logits = convert_to_tensor(logits, name="logits")
        labels = convert_to_tensor(labels, name="targets")
        _check_same(logits, labels, "logits and targets")
        one = np.asarray(1, logits.dtype.as_numpy_dtype)
        if not isinstance(pos_weight, Tensor):
            pos_weight = np.asarray(pos_weight, logits.dtype.as_numpy_dtype) - one
        else:
            pos_weight = raw.Sub(pos_weight, one, name="sub")
        weight = raw.AddV2(one, raw.Mul(pos_weight, labels, name="mul"), name="add")
        first = raw.Mul(raw.Sub(one, labels, name="sub"), logits, name="mul")
        spread = raw.Log1p(raw.Exp(raw.Neg(raw.Abs(logits))))
        total = raw.AddV2(spread, raw.Relu(raw.Neg(logits)), name="add")
        return raw.Add(first, raw.Mul(weight, total, name="mul"), name=scope)


def log_poisson_loss(
    targets: Any, log_input: Any, compute_full_loss: bool = False, name: str | None = None
) -> Tensor:
    """The loss `exp(log_input) - log_input * targets` of a Poisson model, with Stirling's term where
    `compute_full_loss` is set (tf.nn.log_poisson_loss)."""
    with name_scope(name, "log_poisson_loss", [log_input, targets]):
        log_input = convert_to_tensor(log_input, name="log_input")
        targets = convert_to_tensor(targets, name="targets")
        _check_same(log_input, targets, "log_input and targets")
        rate = raw.Exp(log_input)
        result = raw.Sub(rate, raw.Mul(log_input, targets, name="mul"), name="sub")
        if not compute_full_loss:
            return result
        kind = targets.dtype.base_dtype
        half, two_pi = constant(0.5, kind), constant(2 * np.pi, kind)
        stirling = raw.Sub(raw.Mul(targets, raw.Log(targets), name="mul"), targets, name="sub")
        tail = raw.Mul(half, raw.Log(raw.Mul(two_pi, targets, name="mul")), name="mul")
        stirling = raw.AddV2(stirling, tail, name="add")
        zeros, ones = zeros_like(targets), ones_like(targets)
        small = raw.LogicalAnd(raw.GreaterEqual(targets, zeros), raw.LessEqual(targets, ones))
        return raw.AddV2(result, raw.Select(small, zeros, stirling), name="add")
