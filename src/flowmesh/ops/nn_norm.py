"""Fused batch normalisation and local response normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core.dtypes import bfloat16, float16, float32
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph import shape_functions
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.ops.column_sums import column_sums
from flowmesh.ops.shape_rules import same_size, with_rank

_LAYOUTS = (b"NHWC", b"NCHW")
_EPSILON = float(np.float32(1e-4))
_NARROW = {float16, bfloat16, float32}


class _Norm(OpDef, abstract=True):
    """What the batch norm ops share."""

    def _channel(self) -> int:
        return 1 if self.attrs["data_format"] == b"NCHW" else 3

    def _along(self) -> Any:
        """How to lay a per-channel vector along the channel axis."""
        shape = tuple(-1 if i == self._channel() else 1 for i in range(4))
        return lambda vector: vector.reshape(shape)

    def _sums(self, xp: Any, x: Any) -> Any:
        """The sum of each channel's elements."""
        return column_sums(xp, x) if self._channel() == 3 else xp.sum(x, axis=(0, 2, 3))

    def _channels(
        self, x: TensorShape, vectors: list[TensorShape]
    ) -> tuple[TensorShape, TensorShape]:
        """The shape of `x` and of a per-channel vector, from all that is known."""
        sizes = with_rank(x, 4).as_list()
        count = sizes[self._channel()]
        for vector in vectors:
            count = same_size(count, with_rank(vector, 1).as_list()[0])
        sizes[self._channel()] = count
        return TensorShape(sizes), TensorShape([count])


class BatchNorm(_Norm, abstract=True):
    """`(x - mean) / sqrt(variance + epsilon) * scale + offset`, with the batch's own moments in training."""

    extra_outputs = 0

    def infer(self, ctx: Any, *shapes: Any) -> Any:
        given = shapes[1:3] if self.attrs["is_training"] else shapes[1:5]
        for shape in shapes[3:5]:
            with_rank(shape, 1)
        whole, vector = self._channels(shapes[0], list(given))
        return (whole, *[vector] * 4, *[unknown_shape()] * self.extra_outputs)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        x, scale, offset, mean, variance = inputs
        along = self._along()
        wide = x.astype(xp.float32)
        reported = variance
        if self.attrs["is_training"]:
            count = x.size // x.shape[self._channel()]
            mean = self._sums(xp, wide) / np.float32(count)
            variance = self._sums(xp, xp.square(wide - along(mean))) / np.float32(count)
            reported = variance * np.float32(count / max(count - 1, 1))
        inverse = 1 / xp.sqrt(variance + np.float32(self.attrs["epsilon"]))
        y = (wide - along(mean)) * along(inverse * scale) + along(offset)
        extra = [xp.zeros((), xp.float32)] * self.extra_outputs
        return (y.astype(x.dtype), mean, reported, mean, variance, *extra)

    def back(self, op: Any, grads: Any, op_type: str) -> Any:
        """The gradient nodes; inference in NCHW is turned to NHWC and back, as TensorFlow does."""
        x, scale, _, mean, variance = op.inputs
        grad = grads[0]
        training = self.attrs["is_training"]
        reserved = list(op.outputs[3:]) if training else [mean, variance, *op.outputs[5:]]
        layout = self.attrs["data_format"]
        turned = not training and layout == b"NCHW"
        if turned:
            x = raw.Transpose(x, np.array([0, 2, 3, 1], np.int32), name="transpose")
            grad = raw.Transpose(grad, np.array([0, 2, 3, 1], np.int32), name="transpose")
        result = getattr(raw, op_type)(
            grad,
            x,
            scale,
            *reserved,
            epsilon=self.attrs["epsilon"],
            data_format=b"NHWC" if turned else layout,
            is_training=training,
        )
        by_x = result[0]
        if turned:
            by_x = raw.Transpose(by_x, np.array([0, 3, 1, 2], np.int32), name="transpose")
        return by_x, result[1], result[2], None, None


class FusedBatchNorm(BatchNorm):
    """Batch normalisation of a float32 image batch."""

    x, scale, offset, mean, variance = (Input("T") for _ in range(5))
    y, batch_mean, batch_variance = Output("T"), Output("T"), Output("T")
    reserve_space_1, reserve_space_2 = Output("T"), Output("T")
    T = type_attr({float32})
    epsilon = Attr("float", _EPSILON)
    data_format = Attr("string", b"NHWC", allowed=_LAYOUTS)
    is_training = Attr("bool", True)

    def gradient(self, op: Any, *grads: Any) -> Any:
        return self.back(op, grads, "FusedBatchNormGrad")


class FusedBatchNormV2(BatchNorm):
    """Batch normalisation of an image batch, with float32 statistics."""

    x = Input("T")
    scale, offset, mean, variance = (Input("U") for _ in range(4))
    y = Output("T")
    batch_mean, batch_variance = Output("U"), Output("U")
    reserve_space_1, reserve_space_2 = Output("U"), Output("U")
    T = type_attr(_NARROW)
    U = type_attr({float32})
    epsilon = Attr("float", _EPSILON)
    data_format = Attr("string", b"NHWC", allowed=_LAYOUTS)
    is_training = Attr("bool", True)

    def gradient(self, op: Any, *grads: Any) -> Any:
        return self.back(op, grads, "FusedBatchNormGradV2")


class FusedBatchNormV3(BatchNorm):
    """Batch normalisation of an image batch, with float32 statistics and one more reserved output."""

    extra_outputs = 1
    x = Input("T")
    scale, offset, mean, variance = (Input("U") for _ in range(4))
    y = Output("T")
    batch_mean, batch_variance = Output("U"), Output("U")
    reserve_space_1, reserve_space_2, reserve_space_3 = Output("U"), Output("U"), Output("U")
    T = type_attr(_NARROW)
    U = type_attr({float32})
    epsilon = Attr("float", _EPSILON)
    data_format = Attr("string", b"NHWC", allowed=_LAYOUTS)
    is_training = Attr("bool", True)

    def gradient(self, op: Any, *grads: Any) -> Any:
        return self.back(op, grads, "FusedBatchNormGradV3")


class _BatchNormGrad(_Norm, abstract=True):
    """The derivatives of batch normalisation by x, scale and offset."""

    def infer(self, ctx: Any, *shapes: Any) -> Any:
        whole, vector = self._channels(with_rank(shapes[0], 4), list(shapes[2:5]))
        whole, _ = self._channels(shapes[1], [vector]) if whole.ndims is None else (whole, vector)
        return whole, vector, vector, TensorShape([0]), TensorShape([0])

    def compute(self, xp: Any, *inputs: Any) -> Any:
        grad, x, scale, mean, variance = inputs[:5]
        along = self._along()
        g, wide = grad.astype(xp.float32), x.astype(xp.float32)
        inverse = 1 / xp.sqrt(variance + np.float32(self.attrs["epsilon"]))
        normal = (wide - along(mean)) * along(inverse)
        by_offset = self._sums(xp, g)
        by_scale = self._sums(xp, g * normal)
        inner = g
        if self.attrs["is_training"]:
            count = np.float32(x.size // x.shape[self._channel()])
            inner = g - along(by_offset / count) - normal * along(by_scale / count)
        by_x = inner * along(scale * inverse)
        empty = xp.zeros((0,), xp.float32)
        return by_x.astype(x.dtype), by_scale, by_offset, empty, empty


class FusedBatchNormGrad(_BatchNormGrad):
    """The gradient of FusedBatchNorm."""

    y_backprop, x, scale = Input("T"), Input("T"), Input("T")
    reserve_space_1, reserve_space_2 = Input("T"), Input("T")
    x_backprop, scale_backprop, offset_backprop = Output("T"), Output("T"), Output("T")
    reserve_space_3, reserve_space_4 = Output("T"), Output("T")
    T = type_attr({float32})
    epsilon = Attr("float", _EPSILON)
    data_format = Attr("string", b"NHWC", allowed=_LAYOUTS)
    is_training = Attr("bool", True)


class FusedBatchNormGradV2(_BatchNormGrad):
    """The gradient of FusedBatchNormV2."""

    y_backprop, x = Input("T"), Input("T")
    scale = Input(float32)
    reserve_space_1, reserve_space_2 = Input("U"), Input("U")
    x_backprop = Output("T")
    scale_backprop, offset_backprop = Output("U"), Output("U")
    reserve_space_3, reserve_space_4 = Output("U"), Output("U")
    T = type_attr(_NARROW)
    U = type_attr({float32})
    epsilon = Attr("float", _EPSILON)
    data_format = Attr("string", b"NHWC", allowed=_LAYOUTS)
    is_training = Attr("bool", True)


class FusedBatchNormGradV3(_BatchNormGrad):
    """The gradient of FusedBatchNormV3."""

    y_backprop, x = Input("T"), Input("T")
    scale = Input(float32)
    reserve_space_1, reserve_space_2, reserve_space_3 = Input("U"), Input("U"), Input("U")
    x_backprop = Output("T")
    scale_backprop, offset_backprop = Output("U"), Output("U")
    reserve_space_4, reserve_space_5 = Output("U"), Output("U")
    T = type_attr(_NARROW)
    U = type_attr({float32})
    epsilon = Attr("float", _EPSILON)
    data_format = Attr("string", b"NHWC", allowed=_LAYOUTS)
    is_training = Attr("bool", True)


def _window_sum(xp: Any, x: Any, radius: int) -> Any:
    """The sum over up to `radius` neighbours on each side along the last axis."""
    depth = x.shape[-1]
    padded = xp.pad(x, [(0, 0)] * (x.ndim - 1) + [(radius, radius)])
    return sum(padded[..., i : i + depth] for i in range(2 * radius + 1))


class _ResponseNorm(OpDef, abstract=True):
    def scaling(self, xp: Any, x: Any) -> Any:
        """`bias + alpha * sum(x ** 2)` over the neighbouring channels."""
        attrs = self.attrs
        squares = _window_sum(xp, xp.square(x), attrs["depth_radius"])
        return np.float32(attrs["bias"]) + np.float32(attrs["alpha"]) * squares


class LRN(_ResponseNorm):
    """Local response normalisation: each channel over a power of the squares of its neighbours."""

    input = Input("T")
    output = Output("T")
    depth_radius = Attr("int", 5)
    bias = Attr("float", 1.0)
    alpha = Attr("float", 1.0)
    beta = Attr("float", 0.5)
    T = type_attr(_NARROW, float32)

    def infer(self, ctx: Any, x: TensorShape) -> TensorShape:
        return with_rank(x, 4)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        (x,) = inputs
        wide = x.astype(xp.float32)
        norm = self.scaling(xp, wide)
        return (wide * norm ** np.float32(-self.attrs["beta"])).astype(x.dtype)

    def gradient(self, op: Any, grad: Any) -> Any:
        names = ("depth_radius", "bias", "alpha", "beta")
        shared = {name: self.attrs[name] for name in names}
        return raw.LRNGrad(grad, op.inputs[0], op.outputs[0], **shared)


class LRNGrad(_ResponseNorm):
    """The gradient of LRN."""

    input_grads, input_image, output_image = Input("T"), Input("T"), Input("T")
    output = Output("T")
    depth_radius = Attr("int", 5)
    bias = Attr("float", 1.0)
    alpha = Attr("float", 1.0)
    beta = Attr("float", 0.5)
    T = type_attr(_NARROW, float32)

    infer = shape_functions.same

    def compute(self, xp: Any, *inputs: Any) -> Any:
        grad, x, y = (v.astype(xp.float32) for v in inputs)
        attrs = self.attrs
        norm = self.scaling(xp, x)
        shared = _window_sum(xp, grad * y / norm, attrs["depth_radius"])
        factor = np.float32(-2 * attrs["alpha"] * attrs["beta"])
        result = grad * norm ** np.float32(-attrs["beta"]) + factor * x * shared
        return result.astype(inputs[0].dtype)
