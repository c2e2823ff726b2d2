"""Summary messages: scalars, histograms with TensorFlow's buckets, images."""

from __future__ import annotations

import functools
import struct
import sys
import zlib
from collections.abc import Sequence

import numpy as np

from flowmesh.core.errors import InvalidArgumentError
from flowmesh.proto.summary_pb2 import HistogramProto, Summary

_SMALLEST_LIMIT = 1e-12
_LARGEST_LIMIT = 1e20
_GROWTH = 1.1

_NO_CONTRAST = 1e-6  # images whose values stay below it come out flat
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> gray, gray+alpha, RGB, RGBA


def scalar(tag: str, value: float) -> Summary:
    """A summary of one number."""
    return Summary(value=[Summary.Value(tag=tag, simple_value=float(value))])


def histogram(tag: str, values: np.ndarray) -> Summary:
    """A summary of how `values` are distributed."""
    return Summary(value=[Summary.Value(tag=tag, histo=histogram_proto(values, tag))])


@functools.cache
def bucket_limits() -> np.ndarray:
    """Upper bucket limits: 0 and, to both sides of it, 1e-12 growing by a tenth up to 1e20."""
    positive = []
    limit = _SMALLEST_LIMIT
    while limit < _LARGEST_LIMIT:
        positive.append(limit)
        limit *= _GROWTH
    positive.append(sys.float_info.max)
    ascending = np.array(positive)
    limits = np.concatenate([-ascending[::-1], [0.0], ascending])
    limits.flags.writeable = False
    return limits


def histogram_proto(values: np.ndarray, name: str = "") -> HistogramProto:
    """The histogram of all elements; empty buckets in a row are merged.

    Sums run from the first element to the last, so that they round as TensorFlow's do.
    """
    flat = np.ravel(values).astype(np.float64, copy=False)
    if not np.isfinite(flat).all():
        what = "Nan" if np.isnan(flat[~np.isfinite(flat)][0]) else "Infinity"
        raise InvalidArgumentError(None, None, f"{what} in summary histogram for: {name}")
    limits = bucket_limits()
    if not flat.size:
        largest = sys.float_info.max
        return HistogramProto(min=largest, max=-largest, bucket_limit=[largest], bucket=[0.0])
    index = np.searchsorted(limits, flat, side="right")
    # The largest double belongs to the last bucket, whose limit it is.
    counts = np.bincount(np.minimum(index, limits.size - 1), minlength=limits.size)
    used = counts > 0
    # A used bucket is kept, and of a run of unused ones the last, whose limit ends the run.
    kept = used | np.append(used[1:], True)
    with np.errstate(over="ignore", invalid="ignore"):
        total, squares = np.cumsum(flat)[-1], np.cumsum(flat * flat)[-1]
    return HistogramProto(
        min=float(flat.min()),
        max=float(flat.max()),
        num=float(flat.size),
        sum=float(total),
        sum_squares=float(squares),
        bucket_limit=limits[kept].tolist(),
        bucket=counts[kept].astype(np.float64).tolist(),
    )


def image(
    tag: str,
    images: np.ndarray,
    max_images: int = 3,
    bad_color: Sequence[int] = (255, 0, 0, 255),
) -> Summary:
    """A summary of the first images of a [batch, height, width, channels] array.

    Floating-point images are scaled each for itself (see `scale_to_bytes`); pixels that are not
    finite get `bad_color`.
    """
    if images.ndim != 4 or images.shape[3] not in (1, 3, 4):
        raise InvalidArgumentError(
            None,
            None,
            "Tensor must be 4-D with last dim 1, 3, or 4, not " + _shape_text(images.shape),
        )
    _, height, width, channels = images.shape
    if len(bad_color) < channels and images.dtype != np.uint8:
        raise InvalidArgumentError(
            None, None, f"expected {channels} values in bad_color, got {len(bad_color)}"
        )
    summary = Summary()
    for i, pixels in enumerate(images[:max_images]):
        if pixels.dtype != np.uint8:
            pixels = scale_to_bytes(pixels, bad_color)
        value = summary.value.add(tag=f"{tag}/image/{i}" if max_images > 1 else f"{tag}/image")
        value.image.height = height
        value.image.width = width
        value.image.colorspace = channels
        value.image.encoded_image_string = encode_png(pixels)
    return summary


def scale_to_bytes(pixels: np.ndarray, bad_color: Sequence[int]) -> np.ndarray:
    """A floating-point image as bytes.

    If no value is negative, the largest becomes 255. Otherwise 0 becomes 128 (rounded down from
    there), and the value farthest from it one end of the range.
    """
    pixels = pixels.astype(np.float32, copy=False)
    finite = np.isfinite(pixels).all(axis=-1)
    good = pixels[finite]
    low = float(good.min()) if good.size else 0.0
    high = float(good.max()) if good.size else 0.0
    if low < 0:
        largest, reach, offset = max(abs(low), abs(high)), 127.0, 128.0
    else:
        largest, reach, offset = high, 255.0, 0.0
    scale = np.float32(0.0 if largest < _NO_CONTRAST else reach / np.float32(largest))
    out = np.empty(pixels.shape, np.uint8)
    out[finite] = np.clip(good * scale + np.float32(offset), 0, 255).astype(np.uint8)
    out[~finite] = np.asarray(bad_color[: pixels.shape[-1]], np.uint8)
    return out


def encode_png(pixels: np.ndarray, level: int = -1) -> bytes:
    """A PNG of a [height, width, channels] array of uint8 or uint16, with 1 to 4 channels."""
    if pixels.ndim != 3 or pixels.shape[2] not in _PNG_COLOR_TYPES or 0 in pixels.shape:
        raise InvalidArgumentError(
            None,
            None,
            "PNG images must be 3-D, not empty, with 1 to 4 channels, not "
            + _shape_text(pixels.shape),
        )
    if pixels.dtype not in (np.uint8, np.uint16):
        raise InvalidArgumentError(
            None, None, f"PNG images are uint8 or uint16, not {pixels.dtype}"
        )
    height, width, channels = pixels.shape
    samples = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(">"))
    lines = samples.reshape(height, -1).view(np.uint8)
    filtered = np.pad(lines, ((0, 0), (1, 0)))  # each line is led by its filter: none
    header = struct.pack(
        ">IIBBBBB", width, height, 8 * pixels.itemsize, _PNG_COLOR_TYPES[channels], 0, 0, 0
    )
    return b"".join(
        (
            _PNG_SIGNATURE,
            _png_chunk(b"IHDR", header),
            _png_chunk(b"IDAT", zlib.compress(filtered.tobytes(), level)),
            _png_chunk(b"IEND", b""),
        )
    )


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _shape_text(shape: Sequence[int]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"
