"""Ops on images: resizing and contrast."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.dtypes import FLOATS, float16, float32, float64, int32
from flowmesh.core.errors import InvalidArgumentError
from flowmesh.core.shapes import TensorShape
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.ops.array_support import scatter_add
from flowmesh.ops.building import shape_of
from flowmesh.ops.kernels import as_type
from flowmesh.ops.shape_rules import at_least, same_size, scalar_input, with_rank

_SMALL_INTS = {dtypes.int8, dtypes.uint8, dtypes.int16, dtypes.uint16, dtypes.int32, dtypes.int64}


class _Resize(OpDef, abstract=True):
    """What the resizing ops share: where output pixels lie in the input."""

    def places(self, into: int, out: int) -> np.ndarray:
        """The input coordinate of each output pixel along one axis, float32."""
        attrs = self.attrs
        if attrs["align_corners"] and out > 1:
            scale = np.float32(into - 1) / np.float32(out - 1)
        else:
            scale = np.float32(into) / np.float32(out)
        pixels = np.arange(out, dtype=np.float32)
        if attrs["half_pixel_centers"]:
            return (pixels + np.float32(0.5)) * scale - np.float32(0.5)
        return pixels * scale

    def neighbours(self, into: int, out: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`(lower, upper, weight of upper)` of each output pixel along one axis."""
        place = self.places(into, out)
        floor = np.floor(place)
        lower = np.maximum(floor.astype(np.int64), 0)
        upper = np.minimum(np.ceil(place).astype(np.int64), into - 1)
        return lower, upper, place - floor

    def matrix(self, into: int, out: int) -> np.ndarray:
        """Linear interpolation along one axis as a matrix [out, in]."""
        lower, upper, weight = self.neighbours(into, out)
        rows = np.arange(out)
        result = np.zeros((out, into), np.float32)
        np.add.at(result, (rows, lower), 1 - weight)
        np.add.at(result, (rows, upper), weight)
        return result

    def nearest(self, into: int, out: int) -> np.ndarray:
        """The nearest input pixel of each output pixel along one axis."""
        place = self.places(into, out)
        if self.attrs["half_pixel_centers"]:
            place = place + np.float32(0.5)
        chosen = np.floor(place + 0.5) if self.attrs["align_corners"] else np.floor(place)
        return np.clip(chosen.astype(np.int64), 0, into - 1)

    def resized(self, ctx: Any, images: TensorShape, size: TensorShape) -> TensorShape:
        """The shape of `images` with height and width from input 1."""
        batch, _, _, channels = with_rank(images, 4).as_list()
        same_size(with_rank(size, 1).as_list()[0], 2)
        value = ctx.value(1)
        height, width = (None, None) if value is None else (int(v) for v in value)
        return TensorShape([batch, height, width, channels])


def _target(images: Any, size: Any) -> tuple[int, int]:
    height, width = (int(v) for v in np.asarray(size).reshape(-1))
    if height <= 0 or width <= 0:
        raise InvalidArgumentError(None, None, "output dimensions must be positive")
    if images.ndim != 4:
        raise InvalidArgumentError(
            None, None, f"input must be 4-dimensional but got shape {list(images.shape)}"
        )
    if 0 in images.shape[1:3]:
        raise InvalidArgumentError(None, None, "input image must be of non-zero size")
    return height, width


class ResizeBilinear(_Resize):
    """`images` resized to `size` by bilinear interpolation, as float32."""

    images = Input("T")
    size = Input(int32)
    resized_images = Output(float32)
    T = type_attr(_SMALL_INTS | FLOATS)
    align_corners = Attr("bool", False)
    half_pixel_centers = Attr("bool", False)
    static_inputs = ("size",)

    def infer(self, ctx: Any, images: TensorShape, size: TensorShape) -> TensorShape:
        return self.resized(ctx, images, size)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        images, size = inputs
        height, width = _target(images, size)
        wide = images.astype(xp.float32)
        top, bottom, down = self.neighbours(images.shape[1], height)
        left, right, across = self.neighbours(images.shape[2], width)
        across = across[None, None, :, None]

        def row(which: Any) -> Any:
            line = wide[:, which]
            first, second = line[:, :, left], line[:, :, right]
            return first + (second - first) * across

        upper = row(top)
        return upper + (row(bottom) - upper) * down[None, :, None, None]

    def gradient(self, op: Any, grad: Any) -> Any:
        shared = {k: self.attrs[k] for k in ("align_corners", "half_pixel_centers")}
        image = op.inputs[0]
        if image.dtype.base_dtype not in FLOATS:
            return None, None
        return raw.ResizeBilinearGrad(grad, image, **shared), None


class ResizeBilinearGrad(_Resize):
    """The derivative of ResizeBilinear by its images."""

    grads = Input(float32)
    original_image = Input("T")
    output = Output("T")
    T = type_attr(FLOATS)
    align_corners = Attr("bool", False)
    half_pixel_centers = Attr("bool", False)

    def infer(self, ctx: Any, grads: TensorShape, image: TensorShape) -> TensorShape:
        return with_rank(image, 4)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        grads, image = inputs
        down = xp.asarray(self.matrix(image.shape[1], grads.shape[1]))
        across = xp.asarray(self.matrix(image.shape[2], grads.shape[2]))
        lines = xp.einsum("bijc,jw->biwc", grads, across)
        return xp.einsum("biwc,ih->bhwc", lines, down).astype(image.dtype)


class ResizeNearestNeighbor(_Resize):
    """`images` resized to `size`, every pixel the nearest of the input."""

    images = Input("T")
    size = Input(int32)
    resized_images = Output("T")
    T = type_attr(_SMALL_INTS | {float16, float32, float64})
    align_corners = Attr("bool", False)
    half_pixel_centers = Attr("bool", False)
    static_inputs = ("size",)

    def infer(self, ctx: Any, images: TensorShape, size: TensorShape) -> TensorShape:
        return self.resized(ctx, images, size)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        images, size = inputs
        height, width = _target(images, size)
        rows = self.nearest(images.shape[1], height)
        columns = self.nearest(images.shape[2], width)
        return images[:, rows][:, :, columns]

    def gradient(self, op: Any, grad: Any) -> Any:
        shared = {k: self.attrs[k] for k in ("align_corners", "half_pixel_centers")}
        image = op.inputs[0]
        sizes = image.shape[1:3]
        if sizes.is_fully_defined():
            size: Any = np.array(sizes.as_list(), np.int32)
        else:
            whole: Any = shape_of(image)
            size = whole[1:3]
        return raw.ResizeNearestNeighborGrad(grad, size, **shared), None


class ResizeNearestNeighborGrad(_Resize):
    """The derivative of ResizeNearestNeighbor: the sum of the gradients of each pixel's copies."""

    grads = Input("T")
    size = Input(int32)
    output = Output("T")
    T = type_attr({dtypes.uint8, dtypes.int8, int32, float16, float32, float64})
    align_corners = Attr("bool", False)
    half_pixel_centers = Attr("bool", False)
    static_inputs = ("size",)

    def infer(self, ctx: Any, grads: TensorShape, size: TensorShape) -> TensorShape:
        return self.resized(ctx, grads, size)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        grads, size = inputs
        height, width = _target(grads, size)
        rows = self.nearest(height, grads.shape[1])
        columns = self.nearest(width, grads.shape[2])
        batch, channels = grads.shape[0], grads.shape[3]
        start = xp.zeros((batch, height, width, channels), grads.dtype)
        index = (slice(None), rows[:, None], columns[None, :])
        return scatter_add(xp, start, index, grads)


class AdjustContrastv2(OpDef):
    """Every channel's distance from its mean over the image, times a factor."""

    images = Input("T")
    contrast_factor = Input(float32)
    output = Output("T")
    T = type_attr({float16, float32}, float32)

    def infer(self, ctx: Any, images: TensorShape, factor: TensorShape) -> TensorShape:
        scalar_input(factor)
        return at_least(images, 3)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        images, factor = inputs
        wide = images.astype(xp.float32)
        mean = xp.mean(wide, axis=(-3, -2), keepdims=True)
        return as_type((wide - mean) * factor + mean, images.dtype)
