"""`tf.image`'s functions on boxes, sizes and differences: crops, sampling, padding, total variation, PSNR, colour spaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flowmesh.core.dtypes import float32, int32
from flowmesh.graph.constant_value import constant_value
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.building import name_scope
from flowmesh.ops.cast import cast
from flowmesh.ops.contraction import tensordot
from flowmesh.ops.image_functions import (
    ResizeMethod,
    _as_float,
    _sizes,
    convert_image_dtype,
    pad_to_bounding_box,
    resize_images,
)


def resize_bicubic(
    images: Any,
    size: Any,
    align_corners: bool = False,
    name: str | None = None,
    half_pixel_centers: bool = False,
) -> Tensor:
    """A batch of images resized to `size` by bicubic interpolation, float32 (tf.image.resize_bicubic)."""
    return raw.ResizeBicubic(
        images, size, align_corners=align_corners, half_pixel_centers=half_pixel_centers, name=name
    )


def resize_area(
    images: Any, size: Any, align_corners: bool = False, name: str | None = None
) -> Tensor:
    """A batch of images resized to `size`, every pixel a mean over an area, float32 (tf.image.resize_area)."""
    return raw.ResizeArea(images, size, align_corners=align_corners, name=name)


def crop_and_resize(
    image: Any,
    boxes: Any,
    box_ind: Any = None,
    crop_size: Any = None,
    method: str = "bilinear",
    extrapolation_value: float = 0,
    name: str | None = None,
    box_indices: Any = None,
) -> Tensor:
    """Crops of images resized to one size, float32 [boxes, *crop_size, depth] (tf.image.crop_and_resize).

    `boxes` are [y1, x1, y2, x2] in parts of the image that `box_ind` numbers; places outside get `extrapolation_value`.
    Raises OutOfRangeError when run with a number that no image has.
    """
    return raw.CropAndResize(
        image,
        boxes,
        box_ind if box_indices is None else box_indices,
        crop_size,
        method=method,
        extrapolation_value=float(extrapolation_value),
        name=name,
    )


def draw_bounding_boxes(
    images: Any, boxes: Any, name: str | None = None, colors: Any = None
) -> Tensor:
    """Images with the outlines of boxes [batch, boxes, 4] (tf.image.draw_bounding_boxes)."""
    if colors is None:
        return raw.DrawBoundingBoxes(images, boxes, name=name)
    return raw.DrawBoundingBoxesV2(images, boxes, colors, name=name)


def sample_distorted_bounding_box(
    image_size: Any,
    bounding_boxes: Any,
    seed: int | None = None,
    seed2: int | None = None,
    min_object_covered: Any = 0.1,
    aspect_ratio_range: Any = None,
    area_range: Any = None,
    max_attempts: int | None = None,
    use_image_if_no_bounding_boxes: bool | None = None,
    name: str | None = None,
) -> Any:
    """(begin, size, bboxes) of a random crop that covers a part of one of the boxes (tf.image.sample_distorted_bounding_box).

    `begin` and `size` suit `tf.slice`, `bboxes` [1, 1, 4] `draw_bounding_boxes`. The whole image when `max_attempts` (100)
    tries do not fit the ranges of ratios (0.75 to 1.33) and areas (0.05 to 1). The seeds are taken as they are: the graph's
    seed does not count.
    """
    with name_scope(name, "sample_distorted_bounding_box"):
        return raw.SampleDistortedBoundingBoxV2(
            image_size,
            bounding_boxes,
            min_object_covered,
            seed=seed or 0,
            seed2=seed2 or 0,
            aspect_ratio_range=[0.75, 1.33] if aspect_ratio_range is None else aspect_ratio_range,
            area_range=[0.05, 1.0] if area_range is None else area_range,
            max_attempts=100 if max_attempts is None else max_attempts,
            use_image_if_no_bounding_boxes=bool(use_image_if_no_bounding_boxes),
            name=name,
        )


def non_max_suppression(
    boxes: Any,
    scores: Any,
    max_output_size: Any,
    iou_threshold: Any = 0.5,
    score_threshold: Any = float("-inf"),
    name: str | None = None,
) -> Tensor:
    """The numbers of the best boxes that do not overlap too much, int32 (tf.image.non_max_suppression)."""
    with name_scope(name, "non_max_suppression"):
        overlap = convert_to_tensor(iou_threshold, float32, name="iou_threshold")
        least = convert_to_tensor(score_threshold, float32, name="score_threshold")
        return raw.NonMaxSuppressionV3(boxes, scores, max_output_size, overlap, least)


def resize_image_with_pad(
    image: Any,
    target_height: Any,
    target_width: Any,
    method: int = ResizeMethod.BILINEAR,
    align_corners: bool = False,
) -> Tensor:
    """The image resized to fit, with zeros around it (tf.image.resize_image_with_pad).

    [height, width, channels] or a batch; ValueError for other ranks and for sizes that are not positive.
    """
    with name_scope(None, "resize_image_with_pad", [image]):
        image = convert_to_tensor(image, name="image")
        if image.shape.ndims not in (3, 4):
            raise ValueError("'image' must have either 3 or 4 dimensions.")
        single = image.shape.ndims == 3
        if single:
            image = raw.ExpandDims(image, np.int32(0))
        for what, value in (("height", target_height), ("width", target_width)):
            known = constant_value(value) if isinstance(value, Tensor) else value
            if known is not None and known <= 0:
                raise ValueError(f"target_{what} must be > 0.")
        image = raw.Identity(image, name="control_dependency")
        new, offsets = _fitted(_sizes(image), (target_height, target_width))
        resized = resize_images(image, new, method, align_corners)
        top, left = offsets
        padded = pad_to_bounding_box(resized, top, left, target_height, target_width)
        return raw.Squeeze(padded, squeeze_dims=[0]) if single else padded


def _fitted(size: tuple[Any, Any], target: tuple[Any, Any]) -> tuple[list[Any], list[Any]]:
    """The size within `target` that keeps the proportions, and where it starts; int32 scalar tensors."""
    sizes = [cast(s, float32) for s in size]
    goals = [cast(t, float32) for t in target]
    across = raw.RealDiv(sizes[1], goals[1], name="truediv")
    ratio = raw.Maximum(across, raw.RealDiv(sizes[0], goals[0], name="truediv"))
    exact = [raw.RealDiv(s, ratio, name="truediv") for s in sizes]
    new = [raw.Cast(raw.Floor(e), DstT=int32) for e in exact]
    spare = [
        raw.RealDiv(raw.Sub(g, e, name="sub"), np.float32(2), name="truediv")
        for g, e in zip(goals, exact)
    ]
    floors = [raw.Floor(s) for s in spare]
    return new, [raw.Maximum(np.int32(0), raw.Cast(f, DstT=int32)) for f in floors]


def total_variation(images: Any, name: str | None = None) -> Tensor:
    """The sum of the differences between neighbours, per image (tf.image.total_variation).

    A scalar for [height, width, channels], [batch] for a batch; ValueError for other ranks.
    """
    with name_scope(name, "total_variation"):
        images = convert_to_tensor(images)
        rank = images.shape.ndims
        if rank not in (3, 4):
            raise ValueError("'images' must be either 3 or 4-dimensional.")
        every = slice(None)
        lead: tuple[Any, ...] = (every,) * (rank - 3)
        after, before = slice(1, None), slice(None, -1)
        down = raw.Sub(
            images[(*lead, after, every, every)], images[(*lead, before, every, every)], name="sub"
        )
        across = raw.Sub(
            images[(*lead, every, after, every)], images[(*lead, every, before, every)], name="sub"
        )
        axes = None if rank == 3 else np.array([1, 2, 3], np.int32)

        def total(difference: Any) -> Any:
            summed = np.arange(3, dtype=np.int32) if axes is None else axes
            return raw.Sum(raw.Abs(difference), summed)

        return raw.AddV2(total(down), total(across), name="add")


def adjust_gamma(image: Any, gamma: Any = 1, gain: Any = 1) -> Tensor:
    """`gain * image ** gamma`, in the scale of floats in [0, 1] (tf.image.adjust_gamma).

    Raises ValueError for a negative `gamma`.
    """
    with name_scope(None, "adjust_gamma", [image, gamma, gain]):
        image = convert_to_tensor(image, name="image")
        wide, original = _as_float(image)
        known = constant_value(gamma) if isinstance(gamma, Tensor) else gamma
        if known is not None and known < 0:
            raise ValueError("Gamma should be a non-negative real number.")
        power = raw.Pow(wide, _like(gamma, wide), name="pow")
        result = raw.Mul(_like(gain, wide), power, name="mul")
        return convert_image_dtype(result, original, saturate=True)


def _like(value: Any, tensor: Any) -> Any:
    """A number in the dtype of a tensor."""
    if isinstance(value, Tensor):
        return value
    return np.asarray(value, tensor.dtype.base_dtype.as_numpy_dtype)


def psnr(a: Any, b: Any, max_val: Any, name: str | None = None) -> Tensor:
    """The peak signal-to-noise ratio of two batches of images in dB, float32 [batch] (tf.image.psnr)."""
    with name_scope(name, "PSNR", [a, b]):
        a, b = convert_to_tensor(a, name="a"), convert_to_tensor(b, name="b")
        original = a.dtype.base_dtype
        top = convert_image_dtype(
            convert_to_tensor(np.asarray(max_val, original.as_numpy_dtype)), float32
        )
        a, b = convert_image_dtype(a, float32), convert_image_dtype(b, float32)
        error = raw.Mean(raw.SquaredDifference(a, b), np.array([-3, -2, -1], np.int32))
        tens = np.float32(np.log(10.0))
        high = raw.Mul(np.float32(20), raw.RealDiv(raw.Log(top), tens))
        return raw.Sub(high, raw.Mul(np.float32(10 / np.log(10)), raw.Log(error)), name="psnr")


_RGB_TO_YIQ: list[list[float]] = [
    [0.299, 0.59590059, 0.2115],
    [0.587, -0.27455667, -0.52273617],
    [0.114, -0.32134392, 0.31119955],
]
_YIQ_TO_RGB: list[list[float]] = [
    [1, 1, 1],
    [0.95598634, -0.27201283, -1.10674021],
    [0.6208248, -0.64720424, 1.70423049],
]
_RGB_TO_YUV: list[list[float]] = [
    [0.299, -0.14714119, 0.61497538],
    [0.587, -0.28886916, -0.51496512],
    [0.114, 0.43601035, -0.10001026],
]
_YUV_TO_RGB: list[list[float]] = [
    [1, 1, 1],
    [0, -0.394642334, 2.03206185],
    [1.13988303, -0.58062185, 0],
]


def _times(images: Any, matrix: Sequence[Sequence[float]]) -> Tensor:
    images = convert_to_tensor(images, name="images")
    kernel = convert_to_tensor(
        np.array(matrix, images.dtype.base_dtype.as_numpy_dtype), name="kernel"
    )
    return tensordot(images, kernel, axes=[[images.shape.ndims - 1], [0]])


def rgb_to_yiq(images: Any) -> Tensor:
    """RGB pixels [..., 3] in the YIQ space (tf.image.rgb_to_yiq)."""
    return _times(images, _RGB_TO_YIQ)


def yiq_to_rgb(images: Any) -> Tensor:
    """YIQ pixels [..., 3] as RGB (tf.image.yiq_to_rgb)."""
    return _times(images, _YIQ_TO_RGB)


def rgb_to_yuv(images: Any) -> Tensor:
    """RGB pixels [..., 3] in the YUV space (tf.image.rgb_to_yuv)."""
    return _times(images, _RGB_TO_YUV)


def yuv_to_rgb(images: Any) -> Tensor:
    """YUV pixels [..., 3] as RGB (tf.image.yuv_to_rgb)."""
    return _times(images, _YUV_TO_RGB)
