"""ResizeBicubic and ResizeArea: resizing as two small matrices, one along each axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.dtypes import FLOATS, float32, float64, int32
from flowmesh.core.shapes import TensorShape
from flowmesh.graph.op_def import Attr, Input, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.ops.image_ops import _SMALL_INTS, _Resize, _target
from flowmesh.ops.shape_rules import with_rank

_TABLE = 1024  # weights are taken from a table with this many steps between two pixels
_SHARP, _SMOOTH = -0.75, -0.5  # the cubic's parameter without and with half-pixel centers


def _cubic_table(a: float) -> tuple[np.ndarray, np.ndarray]:
    """The weights of the near and of the far neighbour by distance, in float32."""
    x = np.arange(_TABLE + 1, dtype=np.float64) / _TABLE
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    y = x + 1
    far = ((a * y - 5 * a) * y + 8 * a) * y - 4 * a
    return near.astype(np.float32), far.astype(np.float32)


class _Bicubic(_Resize, abstract=True):
    def cubic(self, into: int, out: int) -> np.ndarray:
        """Cubic interpolation along one axis as a matrix [out, in]."""
        half = self.attrs["half_pixel_centers"]
        near, far = _cubic_table(_SMOOTH if half else _SHARP)
        place = self.places(into, out)
        base = np.floor(place).astype(np.int64)
        step = np.rint((place - base.astype(np.float32)) * np.float32(_TABLE)).astype(np.int64)
        weights = np.stack([far[step], near[step], near[_TABLE - step], far[_TABLE - step]], 1)
        columns = base[:, None] + np.arange(-1, 3)
        bounded = np.clip(columns, 0, into - 1)
        if half:  # nothing is taken from outside of the image
            weights = np.where(bounded == columns, weights, np.float32(0))
            total = weights.sum(1, keepdims=True)
            usable = np.abs(total) >= 1000 * np.finfo(np.float32).tiny
            weights = np.where(usable, weights / np.where(usable, total, 1), weights)
        result = np.zeros((out, into), np.float32)
        np.add.at(result, (np.arange(out)[:, None], bounded), weights)
        return result


def _apply(xp: Any, images: Any, down: np.ndarray, across: np.ndarray) -> Any:
    """Both matrices applied to a batch of images."""
    wide = images.astype(xp.float32)
    lines = xp.einsum("ow,bhwc->bhoc", xp.asarray(across), wide)
    return xp.einsum("oh,bhwc->bowc", xp.asarray(down), lines)


class ResizeBicubic(_Bicubic):
    """`images` resized to `size` by bicubic interpolation, as float32."""

    images = Input("T")
    size = Input(int32)
    resized_images = Output(float32)
    T = type_attr(_SMALL_INTS | (FLOATS - {dtypes.bfloat16}))
    align_corners = Attr("bool", False)
    half_pixel_centers = Attr("bool", False)
    static_inputs = ("size",)

    def infer(self, ctx: Any, images: TensorShape, size: TensorShape) -> TensorShape:
        return self.resized(ctx, images, size)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        images, size = inputs
        height, width = _target(images, size)
        down = self.cubic(images.shape[1], height)
        return _apply(xp, images, down, self.cubic(images.shape[2], width))

    def gradient(self, op: Any, grad: Any) -> Any:
        image = op.inputs[0]
        if image.dtype.base_dtype not in (float32, float64):
            return None, None
        shared = {k: self.attrs[k] for k in ("align_corners", "half_pixel_centers")}
        return raw.ResizeBicubicGrad(grad, image, **shared), None


class ResizeBicubicGrad(_Bicubic):
    """The derivative of ResizeBicubic by its images."""

    grads = Input(float32)
    original_image = Input("T")
    output = Output("T")
    T = type_attr({float32, float64})
    align_corners = Attr("bool", False)
    half_pixel_centers = Attr("bool", False)

    def infer(self, ctx: Any, grads: TensorShape, image: TensorShape) -> TensorShape:
        return with_rank(image, 4)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        grads, image = inputs
        down = self.cubic(image.shape[1], grads.shape[1]).T
        across = self.cubic(image.shape[2], grads.shape[2]).T
        return _apply(xp, grads, down, across).astype(image.dtype)


class ResizeArea(_Resize):
    """`images` resized to `size`, every pixel the mean of the area that it covers, as float32."""

    images = Input("T")
    size = Input(int32)
    resized_images = Output(float32)
    T = type_attr(_SMALL_INTS | (FLOATS - {dtypes.bfloat16}))
    align_corners = Attr("bool", False)
    static_inputs = ("size",)
    NotDifferentiable = True

    def infer(self, ctx: Any, images: TensorShape, size: TensorShape) -> TensorShape:
        return self.resized(ctx, images, size)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        images, size = inputs
        height, width = _target(images, size)
        down = self._areas(images.shape[1], height)
        return _apply(xp, images, down, self._areas(images.shape[2], width))

    def _areas(self, into: int, out: int) -> np.ndarray:
        """How much of each input pixel lies in each output pixel along one axis, [out, in]."""
        if self.attrs["align_corners"] and out > 1:
            scale = np.float32(into - 1) / np.float32(out - 1)
        else:
            scale = np.float32(into) / np.float32(out)
        result = np.zeros((out, into), np.float32)
        for i in range(out):
            low, high = np.float32(i) * scale, np.float32(i + 1) * scale
            for j in range(int(np.floor(low)), int(np.ceil(high))):
                part = np.minimum(np.float32(j + 1), high) - np.maximum(np.float32(j), low)
                result[i, min(max(j, 0), into - 1)] += part / scale
        return result
