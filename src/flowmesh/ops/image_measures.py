"""`tf.image`'s measures of images: edges, differences of neighbours, structural similarity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flowmesh.core.dtypes import float32
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.building import name_scope, shape_of
from flowmesh.ops.image_functions import convert_image_dtype

_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_SOBEL = np.array(
    [[[-1, -2, -1], [0, 0, 0], [1, 2, 1]], [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]], np.float32
)


def _batch(image: Any, name: str) -> Tensor:
    image = convert_to_tensor(image)
    if image.shape.ndims != 4 or image.shape.as_list()[3] is None:
        raise ValueError(
            f"{name} expects images [batch, height, width, channels] with a known number of channels, not {image.shape}"
        )
    return image


def sobel_edges(image: Any) -> Tensor:
    """The vertical and horizontal differences by Sobel's filter, [batch, height, width, channels, 2] (tf.image.sobel_edges).

    `image` is a float32 batch with a known number of channels; ValueError otherwise.
    """
    with name_scope(None, "sobel_edges", [image]):
        image = _batch(image, "sobel_edges")
        channels = image.shape.as_list()[3]
        filters = np.tile(_SOBEL.transpose(1, 2, 0)[:, :, None, :], (1, 1, channels, 1))
        around = np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32)
        padded = raw.MirrorPad(image, around, mode="REFLECT")
        edges = raw.DepthwiseConv2dNative(padded, filters, strides=[1, 1, 1, 1], padding="VALID")
        shape = raw.ConcatV2([shape_of(image), np.array([2], np.int32)], np.int32(0))
        result = raw.Reshape(edges, shape)
        result.set_shape(image.shape.concatenate([2]))
        return result


def image_gradients(image: Any) -> tuple[Tensor, Tensor]:
    """The differences to the next row and to the next column, zero in the last ones: (dy, dx), each shaped like `image`
    (tf.image.image_gradients). ValueError unless `image` is [batch, height, width, depth].
    """
    image = convert_to_tensor(image)
    if image.shape.ndims != 4:
        raise ValueError(
            f"image_gradients expects a 4D tensor [batch_size, h, w, d], not {image.shape}."
        )
    results = []
    for axis in (1, 2):
        after: list[Any] = [slice(None)] * 4
        before: list[Any] = [slice(None)] * 4
        after[axis], before[axis] = slice(1, None), slice(None, -1)
        margins = np.zeros((4, 2), np.int32)
        margins[axis, 1] = 1
        difference = raw.Pad(raw.Sub(image[tuple(after)], image[tuple(before)]), margins)
        difference.set_shape(image.shape)
        results.append(difference)
    return results[0], results[1]


def _gauss(size: int, sigma: float) -> np.ndarray:
    """A Gaussian window of `size` by `size` with sum one."""
    line = np.exp(-0.5 * np.square((np.arange(size) - (size - 1) / 2) / sigma))
    window = np.outer(line, line)
    return np.asarray(window / window.sum(), np.float32)


def _compatible(a: Any, b: Any, original: Any = None) -> tuple[Tensor, Tensor]:
    """Two images as float32; ValueError when their last three dimensions cannot be the same."""
    a, b = convert_to_tensor(a), convert_to_tensor(b)
    first, second = a.shape.with_rank_at_least(3), b.shape.with_rank_at_least(3)
    first[-3:].assert_is_compatible_with(second[-3:])
    return convert_image_dtype(a, float32), convert_image_dtype(b, float32)


def _top(max_val: Any, dtype: Any) -> Tensor:
    return convert_image_dtype(
        convert_to_tensor(np.asarray(max_val, dtype.as_numpy_dtype)), float32
    )


def _ssim_per_channel(
    a: Any, b: Any, top: Any, size: int, sigma: float, k1: float, k2: float
) -> tuple[Tensor, Tensor]:
    """Similarity, and its part for contrast and structure, of each channel: [..., channels]."""
    shape = a.shape.as_list()
    if any(n is not None and n < size for n in shape[-3:-1]):
        raise ValueError(
            f"The images are {shape[-3]} by {shape[-2]}, smaller than the filter_size {size}"
        )
    channels = shape[-1]
    if channels is None:
        raise ValueError("ssim needs a known number of channels")
    window = np.tile(_gauss(size, sigma)[:, :, None, None], (1, 1, channels, 1))

    def mean(x: Any) -> Any:
        full = shape_of(x)
        flat = raw.Reshape(x, raw.ConcatV2([np.array([-1], np.int32), full[-3:]], np.int32(0)))
        out = raw.DepthwiseConv2dNative(flat, window, strides=[1, 1, 1, 1], padding="VALID")
        return raw.Reshape(out, raw.ConcatV2([full[:-3], shape_of(out)[1:]], np.int32(0)))

    c1, c2 = raw.Square(k1 * top), raw.Square(k2 * top)
    mean_a, mean_b = mean(a), mean(b)
    product = mean_a * mean_b * np.float32(2)
    squares = raw.Square(mean_a) + raw.Square(mean_b)
    luminance = (product + c1) / (squares + c1)
    both = mean(a * b) * np.float32(2)
    each = mean(raw.Square(a) + raw.Square(b))
    contrast = (both - product + c2) / (each - squares + c2)
    axes = np.array([-3, -2], np.int32)
    return raw.Mean(luminance * contrast, axes), raw.Mean(contrast, axes)


def ssim(
    img1: Any,
    img2: Any,
    max_val: Any,
    filter_size: int = 11,
    filter_sigma: float = 1.5,
    k1: float = 0.01,
    k2: float = 0.03,
) -> Tensor:
    """The structural similarity of two batches of images, float32 [...] for [..., height, width, channels] (tf.image.ssim).

    `max_val` is the largest value that the images may hold. Raises ValueError for shapes that do not fit each other, or
    images smaller than `filter_size`.
    """
    with name_scope(None, "SSIM", [img1, img2]):
        img1 = convert_to_tensor(img1)
        top = _top(max_val, img1.dtype.base_dtype)
        a, b = _compatible(img1, img2)
        value, _ = _ssim_per_channel(a, b, top, filter_size, filter_sigma, k1, k2)
    return raw.Mean(value, np.array([-1], np.int32))


def ssim_multiscale(
    img1: Any,
    img2: Any,
    max_val: Any,
    power_factors: Sequence[float] = _SCALE_WEIGHTS,
    filter_size: int = 11,
    filter_sigma: float = 1.5,
    k1: float = 0.01,
    k2: float = 0.03,
) -> Tensor:
    """The structural similarity over several scales, each half as large as the one before (tf.image.ssim_multiscale).

    Shapes and errors as of `ssim`, where the smallest scale must not be smaller than `filter_size`.
    """
    with name_scope(None, "MS-SSIM", [img1, img2]):
        img1 = convert_to_tensor(img1)
        top = _top(max_val, img1.dtype.base_dtype)
        a, b = _compatible(img1, img2)
        parts: list[Any] = []
        value: Any = None
        for scale in range(len(power_factors)):
            if scale:
                parts[-1] = raw.Relu(parts[-1])
                a, b = _halved(a), _halved(b)
            value, contrast = _ssim_per_channel(a, b, top, filter_size, filter_sigma, k1, k2)
            parts.append(contrast)
        parts[-1] = raw.Relu(value)
        weighed = raw.Pow(raw.Pack(parts, axis=-1), np.asarray(power_factors, np.float32))
        each = raw.Prod(weighed, np.array([-1], np.int32))
        return raw.Mean(each, np.array([-1], np.int32))


def _halved(images: Any) -> Any:
    """Images of half the size: means of two by two pixels; an odd last row or column is doubled first."""
    full = shape_of(images)
    static = images.shape.as_list()
    flat = raw.Reshape(images, raw.ConcatV2([np.array([-1], np.int32), full[-3:]], np.int32(0)))
    odd = full[-3:-1] % 2
    margins = raw.Pad(
        raw.Pack([raw.ZerosLike(odd), odd], axis=1), np.array([[1, 1], [0, 0]], np.int32)
    )
    padded = raw.MirrorPad(flat, margins, mode="SYMMETRIC")
    padded.set_shape([None, None, None, static[-1]])
    small = raw.AvgPool(padded, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="VALID")
    out = raw.Reshape(small, raw.ConcatV2([full[:-3], shape_of(small)[1:]], np.int32(0)))
    halves = [None if n is None else -(-n // 2) for n in static[-3:-1]]
    out.set_shape([*static[:-3], *halves, static[-1]])
    return out
