"""`tf.image`'s functions that are built from other ops: flips, crops, padding, brightness, contrast, dtypes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.dtypes import DType, as_dtype, float32, int32
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.building import constant, name_scope, shape_of
from flowmesh.ops.control_flow import cond
from flowmesh.ops.random_ops import random_uniform

_GRAY_WEIGHTS = (0.2989, 0.5870, 0.1140)


class ResizeMethod:
    """The interpolations of `resize_images` (tf.image.ResizeMethod)."""

    BILINEAR = 0
    NEAREST_NEIGHBOR = 1
    BICUBIC = 2
    AREA = 3


_METHODS = {"bilinear": 0, "nearest": 1, "bicubic": 2, "area": 3}  # as TensorFlow 2 calls them


def _image(image: Any, name: str = "image") -> Tensor:
    """An image or batch of images; ValueError when its rank is neither 3 nor 4."""
    image = convert_to_tensor(image, name=name)
    if image.shape.ndims not in (None, 3, 4):
        raise ValueError(f"'{name}' must have either 3 or 4 dimensions.")
    return image


def _batched(image: Any) -> tuple[Any, bool]:
    """The image as a batch of one, and whether it was a single image."""
    image = _image(image)
    if image.shape.ndims == 3:
        return raw.ExpandDims(image, np.int32(0)), True
    if image.shape.ndims is None:
        image.set_shape([None] * 4)
    return image, False


def _passed(image: Any) -> Any:
    """The image behind the node that TensorFlow hangs its run-time checks on."""
    return raw.Identity(image, name="control_dependency")


def _single(image: Any) -> Any:
    return raw.Squeeze(image, squeeze_dims=[0])


def resize_images(
    images: Any,
    size: Any,
    method: int | str = ResizeMethod.BILINEAR,
    align_corners: bool = False,
    preserve_aspect_ratio: bool = False,
    name: str | None = None,
) -> Tensor:
    """Images resized to `size` = (height, width) (tf.image.resize_images).

    `images` is [height, width, channels] or a batch of those. BILINEAR gives float32, NEAREST_NEIGHBOR the dtype of
    the images. With `preserve_aspect_ratio` the result fits into `size`. Raises ValueError for other methods, ranks
    and sizes.
    """
    with name_scope(name, "resize", [images, size]):
        images = convert_to_tensor(images, name="images")
        if images.shape.ndims not in (3, 4):
            raise ValueError("'images' must have either 3 or 4 dimensions.")
        single = images.shape.ndims == 3
        if single:
            images = raw.ExpandDims(images, np.int32(0))
        _, height, width, _ = images.shape.as_list()
        try:
            size = convert_to_tensor(size, int32, name="size")
        except (TypeError, ValueError):
            raise ValueError("'size' must be a 1-D int32 Tensor") from None
        if not size.shape.is_compatible_with([2]):
            raise ValueError("'size' must be a 1-D Tensor of 2 elements: new_height, new_width")
        if preserve_aspect_ratio:
            size = _fitted(images, size)
        known = size.op.attrs.get("value")
        if known is not None and (height, width) == tuple(int(v) for v in known):
            return _single(images) if single else images
        method = _METHODS.get(method, method) if isinstance(method, str) else method
        if method == ResizeMethod.BILINEAR:
            images = raw.ResizeBilinear(images, size, align_corners=align_corners)
        elif method == ResizeMethod.NEAREST_NEIGHBOR:
            images = raw.ResizeNearestNeighbor(images, size, align_corners=align_corners)
        elif method == ResizeMethod.BICUBIC:
            images = raw.ResizeBicubic(images, size, align_corners=align_corners)
        elif method == ResizeMethod.AREA:
            images = raw.ResizeArea(images, size, align_corners=align_corners)
        else:
            raise ValueError("Resize method is not implemented.")
        return _single(images) if single else images


def _fitted(images: Any, size: Any) -> Any:
    """The largest size within `size` that keeps the images' proportions."""
    shape: Any = shape_of(images)
    actual = raw.Cast(shape[1:3], DstT=float32)
    scale = raw.Min(raw.RealDiv(raw.Cast(size, DstT=float32), actual), np.array([0], np.int32))
    return raw.Cast(raw.Round(raw.Mul(actual, scale)), DstT=int32)


def resize_bilinear(
    images: Any,
    size: Any,
    align_corners: bool = False,
    name: str | None = None,
    half_pixel_centers: bool = False,
) -> Tensor:
    """A batch of images resized to `size`, as float32 (tf.image.resize_bilinear)."""
    return raw.ResizeBilinear(
        images, size, align_corners=align_corners, half_pixel_centers=half_pixel_centers, name=name
    )


def resize_nearest_neighbor(
    images: Any,
    size: Any,
    align_corners: bool = False,
    name: str | None = None,
    half_pixel_centers: bool = False,
) -> Tensor:
    """A batch of images resized to `size`, pixel for pixel (tf.image.resize_nearest_neighbor)."""
    return raw.ResizeNearestNeighbor(
        images, size, align_corners=align_corners, half_pixel_centers=half_pixel_centers, name=name
    )


# -- mirrors and turns -----------------------------------------------------------------------------


def _flip(image: Any, axis: int, scope: str) -> Tensor:
    with name_scope(None, scope, [image]):
        image = _passed(_image(image))
        return _mirrored(image, axis)


def _mirrored(image: Any, axis: int) -> Any:
    place = axis if image.shape.ndims == 3 else axis + 1
    return raw.ReverseV2(image, np.array([place], np.int32))


def flip_left_right(image: Any) -> Tensor:
    """The image (or batch) mirrored along its width (tf.image.flip_left_right)."""
    return _flip(image, 1, "flip_left_right")


def flip_up_down(image: Any) -> Tensor:
    """The image (or batch) mirrored along its height (tf.image.flip_up_down)."""
    return _flip(image, 0, "flip_up_down")


def _random_flip(image: Any, axis: int, seed: int | None, scope: str) -> Tensor:
    with name_scope(None, scope, [image]) as name:
        image = _passed(_image(image))
        half = np.float32(0.5)
        if image.shape.ndims == 3:
            drawn = random_uniform([], 0, 1.0, seed=seed)
            result = cond(
                raw.Less(drawn, half), lambda: _mirrored(image, axis), lambda: image, name=name
            )
            result.set_shape(image.shape)
            return result
        shape: Any = shape_of(image)
        drawn = random_uniform(shape[:1], 0, 1.0, seed=seed)
        chosen = raw.Reshape(raw.Greater(drawn, half), np.array([-1, 1, 1, 1], np.int32))
        return raw.SelectV2(chosen, _mirrored(image, axis), image)


def random_flip_left_right(image: Any, seed: int | None = None) -> Tensor:
    """Each image mirrored along its width with probability 1/2 (tf.image.random_flip_left_right)."""
    return _random_flip(image, 1, seed, "random_flip_left_right")


def random_flip_up_down(image: Any, seed: int | None = None) -> Tensor:
    """Each image mirrored along its height with probability 1/2 (tf.image.random_flip_up_down)."""
    return _random_flip(image, 0, seed, "random_flip_up_down")


def transpose_image(image: Any, name: str | None = None) -> Tensor:
    """The image (or batch) with rows and columns exchanged (tf.image.transpose_image)."""
    with name_scope(name, "transpose", [image]):
        image = _passed(_image(image))
        order = [1, 0, 2] if image.shape.ndims == 3 else [0, 2, 1, 3]
        return raw.Transpose(image, np.array(order, np.int32), name="transpose")


def rot90(image: Any, k: int = 1, name: str | None = None) -> Tensor:
    """The image (or batch) turned counter-clockwise by `k` right angles (tf.image.rot90); `k` is a Python int."""
    with name_scope(name, "rot90", [image]) as scope:
        image = _passed(_image(image))
        order = np.array([1, 0, 2] if image.shape.ndims == 3 else [0, 2, 1, 3], np.int32)
        turns: list[Callable[[], Any]] = [
            lambda: raw.Identity(image, name=scope),
            lambda: raw.Transpose(_mirrored(image, 1), order, name=scope),
            lambda: _mirrored(_mirrored(image, 0), 1),
            lambda: _mirrored(raw.Transpose(image, order), 1),
        ]
        return turns[k % 4]()


# -- crops and borders ------------------------------------------------------------------------------


def _sizes(image: Any) -> tuple[Any, Any]:
    """Height and width of a batch: ints where they are known, else scalar tensors."""
    _, height, width, _ = image.shape.as_list()
    shape: Any = None if height is not None and width is not None else shape_of(image)
    return shape[1] if height is None else height, shape[2] if width is None else width


def _vector(*entries: Any) -> Any:
    """Ints and scalar tensors as one vector called `stack`."""
    if any(isinstance(e, Tensor) for e in entries):
        return raw.Pack(list(entries), name="stack")
    return constant(np.array([int(e) for e in entries], np.int32), name="stack")


def _require(value: Any, message: str) -> None:
    """ValueError where a known condition does not hold."""
    if value is not None and not value:
        raise ValueError(message)


def _known(*values: Any) -> bool:
    return not any(isinstance(v, Tensor) for v in values)


def crop_to_bounding_box(
    image: Any, offset_height: Any, offset_width: Any, target_height: Any, target_width: Any
) -> Tensor:
    """The window of the given size at (offset_height, offset_width) (tf.image.crop_to_bounding_box).

    Raises ValueError where it is known not to lie within the image.
    """
    with name_scope(None, "crop_to_bounding_box", [image]):
        image, single = _batched(image)
        height, width = _sizes(image)
        if _known(offset_width, offset_height):
            _require(offset_width >= 0, "offset_width must be >= 0.")
            _require(offset_height >= 0, "offset_height must be >= 0.")
        if _known(target_width, target_height):
            _require(target_width > 0, "target_width must be > 0.")
            _require(target_height > 0, "target_height must be > 0.")
        if _known(width, target_width, offset_width):
            _require(width >= target_width + offset_width, "width must be >= target + offset.")
        if _known(height, target_height, offset_height):
            _require(height >= target_height + offset_height, "height must be >= target + offset.")
        image = _passed(image)
        begin = _vector(0, offset_height, offset_width, 0)
        size = _vector(-1, target_height, target_width, -1)
        window = raw.Slice(image, begin, size)
        known = [v if _known(v) else None for v in (target_height, target_width)]
        window.set_shape([image.shape[0], *known, image.shape[3]])
        return _single(window) if single else window


def pad_to_bounding_box(
    image: Any, offset_height: Any, offset_width: Any, target_height: Any, target_width: Any
) -> Tensor:
    """The image with zeros around it: it starts at the offsets of a result of the given size
    (tf.image.pad_to_bounding_box). Raises ValueError where it is known not to fit.
    """
    with name_scope(None, "pad_to_bounding_box", [image]):
        image, single = _batched(image)
        height, width = _sizes(image)
        after_width = target_width - offset_width - width
        after_height = target_height - offset_height - height
        if _known(offset_height):
            _require(offset_height >= 0, "offset_height must be >= 0")
        if _known(offset_width):
            _require(offset_width >= 0, "offset_width must be >= 0")
        if _known(after_width):
            _require(after_width >= 0, "width must be <= target - offset")
        if _known(after_height):
            _require(after_height >= 0, "height must be <= target - offset")
        image = _passed(image)
        borders = _vector(0, 0, offset_height, after_height, offset_width, after_width, 0, 0)
        padded = raw.Pad(image, raw.Reshape(borders, np.array([4, 2], np.int32)))
        known = [v if _known(v) else None for v in (target_height, target_width)]
        padded.set_shape([image.shape[0], *known, image.shape[3]])
        return _single(padded) if single else padded


def resize_image_with_crop_or_pad(image: Any, target_height: Any, target_width: Any) -> Tensor:
    """The image cropped or padded evenly to the given size (tf.image.resize_image_with_crop_or_pad)."""
    with name_scope(None, "resize_image_with_crop_or_pad", [image]):
        image, single = _batched(image)
        image = _passed(image)
        height, width = _sizes(image)
        spare_width, spare_height = target_width - width, target_height - height
        cropped = crop_to_bounding_box(
            image,
            _at_least(-spare_height // 2),
            _at_least(-spare_width // 2),
            _smaller(target_height, height),
            _smaller(target_width, width),
        )
        padded = pad_to_bounding_box(
            cropped,
            _at_least(spare_height // 2),
            _at_least(spare_width // 2),
            target_height,
            target_width,
        )
        padded = _passed(padded)
        return _single(padded) if single else padded


def _at_least(value: Any) -> Any:
    return raw.Maximum(value, np.int32(0)) if isinstance(value, Tensor) else max(value, 0)


def _smaller(a: Any, b: Any) -> Any:
    return min(a, b) if _known(a, b) else raw.Minimum(a, b)


def central_crop(image: Any, central_fraction: float) -> Tensor:
    """The middle of the image, `central_fraction` of its height and width (tf.image.central_crop).

    Raises ValueError for a fraction outside (0, 1].
    """
    with name_scope(None, "central_crop", [image]):
        image = _image(image)
        if central_fraction <= 0.0 or central_fraction > 1.0:
            raise ValueError("central_fraction must be within (0, 1]")
        if central_fraction == 1.0:
            return image
        _passed(image)
        first = 0 if image.shape.ndims == 3 else 1
        sizes = image.shape.as_list()
        shape: Any = None if None not in sizes[first : first + 2] else shape_of(image)
        begin: list[Any] = [0] * len(sizes)
        size: list[Any] = [-1] * len(sizes)
        for axis in (first, first + 1):
            begin[axis], size[axis] = _middle(
                sizes[axis] if sizes[axis] is not None else shape[axis], central_fraction
            )
        cropped = raw.Slice(image, _vector(*begin), _vector(*size))
        if shape is not None:  # the axes that are not cropped stay as long as they are
            cropped.set_shape(
                [None if s == first or s == first + 1 else sizes[s] for s in range(len(sizes))]
            )
        return cropped


def _middle(size: Any, fraction: float) -> tuple[Any, Any]:
    """Where the middle part of an axis begins, and how long it is."""
    if not isinstance(size, Tensor):
        begin: Any = int((size - size * fraction) / 2)
        return begin, size - begin * 2
    wide = raw.Cast(size, DstT=dtypes.float64)
    begin = raw.Cast((wide - wide * np.float64(fraction)) / np.float64(2), DstT=int32)
    return begin, size - begin * 2


# -- values -----------------------------------------------------------------------------------------


def convert_image_dtype(
    image: Any, dtype: Any, saturate: bool = False, name: str | None = None
) -> Tensor:
    """The image in another dtype, scaled: floats lie in [0, 1), integers fill their range
    (tf.image.convert_image_dtype). `saturate` clips before an integer cast."""
    image = convert_to_tensor(image, name="image")
    dtype = as_dtype(dtype)
    if dtype == image.dtype.base_dtype:
        return raw.Identity(image, name=name)
    with name_scope(name, "convert_image", [image]) as scope:
        before = image.dtype.base_dtype
        if before.is_integer and dtype.is_integer:
            return _between_ints(image, before, dtype, saturate, scope)
        if before.is_floating and dtype.is_floating:
            return raw.Cast(image, DstT=dtype, name=scope)
        if before.is_integer:
            scale = np.asarray(1.0 / before.max, dtype.as_numpy_dtype)
            image = raw.Cast(image, DstT=dtype)
            return raw.Mul(image, constant(scale, dtype, name="y"), name=scope)
        top = np.asarray(dtype.max + 0.5, before.as_numpy_dtype)
        scaled = raw.Mul(image, top)
        return _cast(scaled, dtype, saturate, scope)


def _between_ints(image: Any, before: DType, dtype: DType, saturate: bool, name: str) -> Tensor:
    wide_in, wide_out = before.max, dtype.max
    if wide_in > wide_out:
        factor = np.asarray((wide_in + 1) // (wide_out + 1), before.as_numpy_dtype)
        return _cast(raw.FloorDiv(image, factor, name="floordiv"), dtype, saturate, name)
    wide = _cast(image, dtype, saturate, None)
    factor = np.asarray((wide_out + 1) // (wide_in + 1), dtype.as_numpy_dtype)
    return raw.Mul(wide, factor, name=name)


def _cast(value: Any, dtype: DType, saturate: bool, name: str | None) -> Tensor:
    """A cast, clipped to the range of the target where that is smaller and `saturate` is set."""
    kind = value.dtype.base_dtype
    if saturate:
        if kind.min < dtype.min:
            low = constant(np.asarray(dtype.min, kind.as_numpy_dtype), kind, name="min")
            value = raw.Maximum(value, low)
        if kind.max > dtype.max:
            high = constant(np.asarray(dtype.max, kind.as_numpy_dtype), kind, name="max")
            value = raw.Minimum(value, high)
    return raw.Cast(value, DstT=dtype, name=name)


def _as_float(image: Any) -> tuple[Any, Any]:
    """The image as floats, and its own dtype."""
    original = image.dtype.base_dtype
    if original in (dtypes.float16, float32):
        return image, original
    return convert_image_dtype(image, float32), original


def adjust_brightness(image: Any, delta: Any) -> Tensor:
    """The image with `delta` added, in the scale of floats in [0, 1) (tf.image.adjust_brightness)."""
    with name_scope(None, "adjust_brightness", [image, delta]) as scope:
        image = convert_to_tensor(image, name="image")
        wide, original = _as_float(image)
        if isinstance(delta, Tensor):
            if delta.dtype != wide.dtype:
                delta = raw.Cast(delta, DstT=wide.dtype)
        else:
            delta = constant(np.asarray(delta, wide.dtype.as_numpy_dtype), name="Cast/x")
        result = raw.Add(wide, delta, name=scope)
        return convert_image_dtype(result, original, saturate=True)


def random_brightness(image: Any, max_delta: float, seed: int | None = None) -> Tensor:
    """`adjust_brightness` with a uniform delta in [-max_delta, max_delta) (tf.image.random_brightness).

    Raises ValueError for a negative `max_delta`.
    """
    if max_delta < 0:
        raise ValueError("max_delta must be non-negative.")
    return adjust_brightness(image, random_uniform([], -max_delta, max_delta, seed=seed))


def adjust_contrast(images: Any, contrast_factor: Any) -> Tensor:
    """Each channel's distance from its mean times `contrast_factor` (tf.image.adjust_contrast)."""
    with name_scope(None, "adjust_contrast", [images, contrast_factor]) as scope:
        images = convert_to_tensor(images, name="images")
        wide, original = _as_float(images)
        result = raw.AdjustContrastv2(wide, contrast_factor, name=scope)
        return convert_image_dtype(result, original, saturate=True)


def random_contrast(image: Any, lower: float, upper: float, seed: int | None = None) -> Tensor:
    """`adjust_contrast` with a uniform factor in [lower, upper) (tf.image.random_contrast).

    Raises ValueError unless 0 <= lower < upper.
    """
    if upper <= lower:
        raise ValueError("upper must be > lower.")
    if lower < 0:
        raise ValueError("lower must be non-negative.")
    return adjust_contrast(image, random_uniform([], lower, upper, seed=seed))


def per_image_standardization(image: Any) -> Tensor:
    """Each image with mean 0 and deviation 1 (tf.image.per_image_standardization).

    The deviation counts as at least `1 / sqrt(pixels)`, so that uniform images stay finite.
    """
    with name_scope(None, "per_image_standardization", [image]) as scope:
        image = _passed(_image(image))
        wide, original = _as_float(image)
        shape: Any = shape_of(wide)
        sizes = shape[-3:]
        count = raw.Prod(sizes, constant(np.array([0], np.int32)))
        axes = np.array([-1, -2, -3], np.int32)
        mean = raw.Mean(wide, axes, keep_dims=True)
        with name_scope(None, "reduce_std"):
            with name_scope(None, "reduce_variance"):
                centre = raw.Mean(wide, axes, keep_dims=True)
                squares = raw.Square(raw.Sub(wide, centre, name="sub"))
                variance = raw.Mean(squares, axes, keep_dims=True)
            deviation = raw.Sqrt(variance)
        least = raw.Rsqrt(raw.Cast(count, DstT=wide.dtype))
        deviation = raw.Maximum(deviation, least)
        result = raw.RealDiv(raw.Sub(wide, mean, name="sub"), deviation, name=scope)
        return convert_image_dtype(result, original, saturate=True)


def rgb_to_grayscale(images: Any, name: str | None = None) -> Tensor:
    """The weighted sum of the three colours as one channel (tf.image.rgb_to_grayscale)."""
    with name_scope(name, "rgb_to_grayscale", [images]) as scope:
        images = convert_to_tensor(images, name="images")
        original = images.dtype.base_dtype
        wide = convert_image_dtype(images, float32)
        weights = constant(np.array(_GRAY_WEIGHTS, np.float32), name="weights")
        gray = raw.Sum(raw.Mul(wide, weights, name="mul"), np.int32(-1), keep_dims=True)
        return convert_image_dtype(gray, original, name=scope)


def grayscale_to_rgb(images: Any, name: str | None = None) -> Tensor:
    """The one channel three times (tf.image.grayscale_to_rgb)."""
    with name_scope(name, "grayscale_to_rgb", [images]) as scope:
        images = _passed(convert_to_tensor(images, name="images"))
        rank = images.shape.ndims
        if rank is None or images.shape[-1].value not in (None, 1):
            raise ValueError("Last dimension of a grayscale image should be size 1.")
        times = constant(np.array([1] * (rank - 1) + [3], np.int32), name="concat")
        return raw.Tile(images, times, name=scope)
