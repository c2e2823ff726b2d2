"""`tf.image`'s functions for image files: `decode_*`, `encode_*`, `decode_image`, JPEG quality."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.dtypes import as_dtype, int32, uint8
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.building import constant, name_scope
from flowmesh.ops.control_flow import Assert, cond
from flowmesh.ops.image_functions import convert_image_dtype
from flowmesh.ops.random_ops import random_uniform
from flowmesh.ops.strings import substr

_JPEG_START = b"\xff\xd8\xff"
_PNG_START = b"\x89PN"
_GIF_START = b"GIF"


def decode_jpeg(
    contents: Any,
    channels: int = 0,
    ratio: int = 1,
    fancy_upscaling: bool = True,
    try_recover_truncated: bool = False,
    acceptable_fraction: float = 1,
    dct_method: str = "",
    name: str | None = None,
) -> Tensor:
    """The pixels of a JPEG, uint8 [height, width, channels] (tf.image.decode_jpeg).

    `channels` is 0 (as in the file), 1 or 3; `ratio` 1, 2, 4 or 8 scales down. The other arguments of TensorFlow are taken;
    Pillow's decoder decides on its own transform. Raises InvalidArgumentError when run on bad data.
    """
    return raw.DecodeJpeg(
        contents,
        channels=channels,
        ratio=ratio,
        fancy_upscaling=fancy_upscaling,
        try_recover_truncated=try_recover_truncated,
        acceptable_fraction=float(acceptable_fraction),
        dct_method=dct_method,
        name=name,
    )


def decode_and_crop_jpeg(
    contents: Any,
    crop_window: Any,
    channels: int = 0,
    ratio: int = 1,
    fancy_upscaling: bool = True,
    try_recover_truncated: bool = False,
    acceptable_fraction: float = 1,
    dct_method: str = "",
    name: str | None = None,
) -> Tensor:
    """The window [top, left, height, width] of a JPEG (tf.image.decode_and_crop_jpeg); see `decode_jpeg`."""
    return raw.DecodeAndCropJpeg(
        contents,
        crop_window,
        channels=channels,
        ratio=ratio,
        fancy_upscaling=fancy_upscaling,
        try_recover_truncated=try_recover_truncated,
        acceptable_fraction=float(acceptable_fraction),
        dct_method=dct_method,
        name=name,
    )


def decode_png(
    contents: Any, channels: int = 0, dtype: Any = uint8, name: str | None = None
) -> Tensor:
    """The pixels of a PNG, uint8 or uint16 [height, width, channels] (tf.image.decode_png).

    `channels` is 0 (as in the file), 1, 3 or 4. Raises InvalidArgumentError when run on bad data.
    """
    return raw.DecodePng(contents, channels=channels, dtype=as_dtype(dtype), name=name)


def decode_gif(contents: Any, name: str | None = None) -> Tensor:
    """The frames of a GIF, uint8 [frames, height, width, 3] (tf.image.decode_gif)."""
    return raw.DecodeGif(contents, name=name)


def decode_bmp(contents: Any, channels: int = 0, name: str | None = None) -> Tensor:
    """The pixels of a BMP, uint8 [height, width, channels] (tf.image.decode_bmp)."""
    return raw.DecodeBmp(contents, channels=channels, name=name)


def extract_jpeg_shape(contents: Any, output_type: Any = int32, name: str | None = None) -> Tensor:
    """Height, width and channels of a JPEG, read from its header (tf.image.extract_jpeg_shape)."""
    return raw.ExtractJpegShape(contents, output_type=as_dtype(output_type), name=name)


def encode_png(image: Any, compression: int = -1, name: str | None = None) -> Tensor:
    """A PNG, a string scalar, of uint8 or uint16 pixels [height, width, 1 to 4] (tf.image.encode_png)."""
    return raw.EncodePng(image, compression=compression, name=name)


def encode_jpeg(
    image: Any,
    format: str = "",
    quality: int = 95,
    progressive: bool = False,
    optimize_size: bool = False,
    chroma_downsampling: bool = True,
    density_unit: str = "in",
    x_density: int = 300,
    y_density: int = 300,
    xmp_metadata: str = "",
    name: str | None = None,
) -> Tensor:
    """A JPEG, a string scalar, of uint8 pixels [height, width, 1 or 3] (tf.image.encode_jpeg).

    Raises ValueError for another format or unit; running it InvalidArgumentError for other channels or qualities.
    """
    return raw.EncodeJpeg(
        image,
        format=format,
        quality=quality,
        progressive=progressive,
        optimize_size=optimize_size,
        chroma_downsampling=chroma_downsampling,
        density_unit=density_unit,
        x_density=x_density,
        y_density=y_density,
        xmp_metadata=xmp_metadata,
        name=name,
    )


def _starts(contents: Any, length: int, with_bytes: bytes, scope: str | None, default: str) -> Any:
    with name_scope(scope, default):
        start = substr(contents, 0, length)
        return raw.Equal(start, with_bytes, name=scope)


def is_jpeg(contents: Any, name: str | None = None) -> Tensor:
    """Whether a string starts like a JPEG, a bool scalar (tf.image.is_jpeg)."""
    return _starts(contents, 3, _JPEG_START, name, "is_jpeg")


def _is_png(contents: Any, name: str | None = None) -> Tensor:
    return _starts(contents, 3, _PNG_START, name, "is_png")


def decode_image(
    contents: Any,
    channels: int | None = None,
    dtype: Any = uint8,
    name: str | None = None,
    expand_animations: bool = True,
) -> Tensor:
    """The pixels of a JPEG, PNG, BMP or GIF, whichever it is (tf.image.decode_image).

    [height, width, channels], or [frames, height, width, 3] for a GIF unless `expand_animations` is False (then its
    first frame). The static shape is not known. Raises ValueError for other `channels` than None, 0, 1, 3 and 4; running
    it InvalidArgumentError when the form is not known or does not have these channels.
    """
    with name_scope(name, "decode_image"):
        if channels not in (None, 0, 1, 3, 4):
            raise ValueError("channels must be in (None, 0, 1, 3, 4)")
        start = substr(contents, 0, 3)
        decode = _ByForm(contents, channels or 0, as_dtype(dtype), start, expand_animations)
        return cond(is_jpeg(contents), decode.jpeg, decode.not_jpeg, name="cond_jpeg")


class _ByForm:
    """The branches of `decode_image`."""

    def __init__(self, contents: Any, channels: int, dtype: Any, start: Any, expand: bool) -> None:
        self._contents = contents
        self._channels = channels
        self._dtype = dtype
        self._start = start
        self._expand = expand

    def _converted(self, image: Any) -> Tensor:
        return convert_image_dtype(image, self._dtype)

    def jpeg(self) -> Tensor:
        good = raw.NotEqual(np.int32(self._channels), np.int32(4), name="check_jpeg_channels")
        check = Assert(good, ["Channels must be in (None, 0, 1, 3) when decoding JPEG images"])
        with get_default_graph().control_dependencies([check]):
            return self._converted(decode_jpeg(self._contents, self._channels))

    def not_jpeg(self) -> Tensor:
        return cond(_is_png(self._contents), self.png, self.not_png, name="cond_png")

    def png(self) -> Tensor:
        kind = uint8 if self._dtype == uint8 else dtypes.uint16
        return self._converted(decode_png(self._contents, self._channels, dtype=kind))

    def not_png(self) -> Tensor:
        is_gif = raw.Equal(self._start, _GIF_START, name="is_gif")
        return cond(is_gif, self.gif, self.bmp, name="cond_gif")

    def gif(self) -> Tensor:
        channels = np.int32(self._channels)
        not_one = raw.NotEqual(channels, np.int32(1), name="check_gif_channels")
        not_four = raw.NotEqual(channels, np.int32(4), name="check_gif_channels")
        good = raw.LogicalAnd(not_one, not_four)
        check = Assert(good, ["Channels must be in (None, 0, 3) when decoding GIF images"])
        with get_default_graph().control_dependencies([check]):
            frames: Any = self._converted(decode_gif(self._contents))
            return frames if self._expand else frames[0]

    def bmp(self) -> Tensor:
        is_bmp = raw.Equal(substr(self._contents, 0, 2), b"BM", name="is_bmp")
        known = Assert(is_bmp, ["Unable to decode bytes as JPEG, PNG, GIF, or BMP"])
        good = raw.NotEqual(np.int32(self._channels), np.int32(1), name="check_channels")
        check = Assert(good, ["Channels must be in (None, 0, 3) when decoding BMP images"])
        with get_default_graph().control_dependencies([known, check]):
            return self._converted(decode_bmp(self._contents))


def adjust_jpeg_quality(image: Any, jpeg_quality: Any, name: str | None = None) -> Tensor:
    """The image after encoding to and decoding from a JPEG of that quality (tf.image.adjust_jpeg_quality)."""
    with name_scope(name, "adjust_jpeg_quality", [image]):
        image = convert_to_tensor(image, name="image")
        original = image.dtype.base_dtype
        small = convert_image_dtype(image, uint8)
        if not isinstance(jpeg_quality, Tensor):
            jpeg_quality = constant(np.array(jpeg_quality, np.int32), int32)
        encoded = raw.EncodeJpegVariableQuality(small, jpeg_quality)
        return convert_image_dtype(decode_jpeg(encoded), original)


def random_jpeg_quality(
    image: Any, min_jpeg_quality: int, max_jpeg_quality: int, seed: int | None = None
) -> Tensor:
    """`adjust_jpeg_quality` with a random quality in [min, max) (tf.image.random_jpeg_quality).

    Raises ValueError unless 0 <= min < max <= 100.
    """
    if not (0 <= min_jpeg_quality <= 100 and 0 <= max_jpeg_quality <= 100):
        raise ValueError("jpeg encoding range must be between 0 and 100.")
    if min_jpeg_quality >= max_jpeg_quality:
        raise ValueError("`min_jpeg_quality` must be less than `max_jpeg_quality`.")
    quality = random_uniform([], min_jpeg_quality, max_jpeg_quality, dtype=int32, seed=seed)
    return adjust_jpeg_quality(image, quality)
