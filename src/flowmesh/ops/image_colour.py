"""Colour spaces of images: RGB and HSV, hue and saturation."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core.dtypes import FLOATS, float16, float32
from flowmesh.core.shapes import TensorShape
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.op_def import Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.building import name_scope
from flowmesh.ops.image_functions import convert_image_dtype
from flowmesh.ops.kernels import as_type
from flowmesh.ops.random_ops import random_uniform
from flowmesh.ops.shape_rules import at_least, same_size, scalar_input


def _to_hsv(xp: Any, images: Any) -> Any:
    """Hue, saturation and value, each in [0, 1], of colours on the last axis."""
    red, green, blue = images[..., 0], images[..., 1], images[..., 2]
    value = xp.max(images, axis=-1)
    spread = value - xp.min(images, axis=-1)
    saturation = xp.where(value > 0, spread / xp.where(value > 0, value, 1), 0)
    unit = 1 / (6 * xp.where(spread > 0, spread, 1))
    hue = xp.where(
        red == value,
        unit * (green - blue),
        xp.where(green == value, unit * (blue - red) + 2 / 6, unit * (red - green) + 4 / 6),
    )
    hue = xp.where(spread > 0, hue, 0)
    return xp.stack([xp.where(hue < 0, hue + 1, hue), saturation, value], axis=-1)


def _to_rgb(xp: Any, images: Any) -> Any:
    """The colours of hue, saturation and value on the last axis."""
    hue, saturation, value = images[..., 0] * 6, images[..., 1], images[..., 2]
    parts = [xp.abs(hue - 3) - 1, 2 - xp.abs(hue - 2), 2 - xp.abs(hue - 4)]
    return xp.stack(
        [(1 - saturation + saturation * xp.clip(p, 0, 1)) * value for p in parts], axis=-1
    )


def _wide(x: Any) -> Any:
    return x.astype(np.float32) if x.dtype.itemsize == 2 else x


class _Colours(OpDef, abstract=True):
    def infer(self, ctx: Any, images: TensorShape, *factor: Any) -> TensorShape:
        for shape in factor:
            scalar_input(shape)
        key = at_least(images, 3 if factor else 1).key
        if key is None:
            return images
        return TensorShape([*key[:-1], same_size(key[-1], 3)])


class RGBToHSV(_Colours):
    """Images in RGB turned into HSV."""

    images = Input("T")
    output = Output("T")
    T = type_attr(FLOATS, float32)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        return as_type(_to_hsv(xp, _wide(inputs[0])), inputs[0].dtype)


class HSVToRGB(_Colours):
    """Images in HSV turned into RGB."""

    images = Input("T")
    output = Output("T")
    T = type_attr(FLOATS, float32)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        return as_type(_to_rgb(xp, _wide(inputs[0])), inputs[0].dtype)


class AdjustHue(_Colours):
    """RGB images with `delta` turns added to their hue."""

    images = Input("T")
    delta = Input(float32)
    output = Output("T")
    T = type_attr({float16, float32}, float32)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        images, delta = inputs
        hsv = _to_hsv(xp, _wide(images))
        hue = xp.mod(hsv[..., :1] + delta, 1)
        return as_type(_to_rgb(xp, xp.concatenate([hue, hsv[..., 1:]], axis=-1)), images.dtype)


class AdjustSaturation(_Colours):
    """RGB images with their saturation times `scale`, at most 1."""

    images = Input("T")
    scale = Input(float32)
    output = Output("T")
    T = type_attr({float16, float32}, float32)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        images, scale = inputs
        hsv = _to_hsv(xp, _wide(images))
        parts = [hsv[..., :1], xp.clip(hsv[..., 1:2] * scale, 0, 1), hsv[..., 2:]]
        return as_type(_to_rgb(xp, xp.concatenate(parts, axis=-1)), images.dtype)


# -- what programs call ----------------------------------------------------------------------------


def rgb_to_hsv(images: Any, name: str | None = None) -> Tensor:
    """Float images in RGB (last axis, [0, 1]) turned into HSV (tf.image.rgb_to_hsv)."""
    return raw.RGBToHSV(images, name=name)


def hsv_to_rgb(images: Any, name: str | None = None) -> Tensor:
    """Float images in HSV (last axis, [0, 1]) turned into RGB (tf.image.hsv_to_rgb)."""
    return raw.HSVToRGB(images, name=name)


def _adjusted(op_type: str, scope: str, image: Any, factor: Any, name: str | None) -> Tensor:
    with name_scope(name, scope, [image]):
        image = convert_to_tensor(image, name="image")
        original = image.dtype.base_dtype
        wide = image if original in (float16, float32) else convert_image_dtype(image, float32)
        return convert_image_dtype(getattr(raw, op_type)(wide, factor), original)


def adjust_hue(image: Any, delta: Any, name: str | None = None) -> Tensor:
    """RGB images with their hue turned by `delta`, in whole turns (tf.image.adjust_hue)."""
    return _adjusted("AdjustHue", "adjust_hue", image, delta, name)


def adjust_saturation(image: Any, saturation_factor: Any, name: str | None = None) -> Tensor:
    """RGB images with their saturation times `saturation_factor` (tf.image.adjust_saturation)."""
    return _adjusted("AdjustSaturation", "adjust_saturation", image, saturation_factor, name)


def random_hue(image: Any, max_delta: float, seed: int | None = None) -> Tensor:
    """`adjust_hue` with a uniform delta in [-max_delta, max_delta) (tf.image.random_hue).

    Raises ValueError for a `max_delta` outside [0, 0.5].
    """
    if max_delta > 0.5:
        raise ValueError("max_delta must be <= 0.5.")
    if max_delta < 0:
        raise ValueError("max_delta must be non-negative.")
    return adjust_hue(image, random_uniform([], -max_delta, max_delta, seed=seed))


def random_saturation(image: Any, lower: float, upper: float, seed: int | None = None) -> Tensor:
    """`adjust_saturation` with a uniform factor in [lower, upper) (tf.image.random_saturation).

    Raises ValueError unless 0 <= lower < upper.
    """
    if upper <= lower:
        raise ValueError("upper must be > lower.")
    if lower < 0:
        raise ValueError("lower must be non-negative.")
    return adjust_saturation(image, random_uniform([], lower, upper, seed=seed))
