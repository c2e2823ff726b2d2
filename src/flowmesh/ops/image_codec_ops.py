"""Ops that decode and encode image files: DecodeJpeg, DecodePng, DecodeGif, DecodeBmp, EncodeJpeg, EncodePng ..."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core.dtypes import int32, int64, string, uint8, uint16
from flowmesh.core.shapes import TensorShape, scalar
from flowmesh.formats import images
from flowmesh.formats.summary import encode_png
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.ops.array_support import ints, invalid
from flowmesh.ops.io_ops import string_scalar
from flowmesh.ops.shape_rules import scalar_input, with_rank
from flowmesh.resources.messages import shape_string

_DCT_METHODS = (b"", b"INTEGER_FAST", b"INTEGER_ACCURATE")


def _data(contents: Any) -> bytes:
    if np.ndim(contents) != 0:
        raise invalid(f"contents must be scalar, got shape {shape_string(np.shape(contents))}")
    return bytes(np.asarray(contents, object).item())


class _Decode(OpDef, abstract=True):
    """What the decoders of JPEG and PNG share: each of them reads any of JPEG, PNG and (one frame of) GIF."""

    slow = True
    numpy_only = True
    NotDifferentiable = True

    def infer(self, ctx: Any, contents: TensorShape, *_: TensorShape) -> TensorShape:
        scalar_input(contents)
        channels = self.attrs.get("channels", 0)
        if channels < 0:
            raise ValueError(f"channels must be non-negative, got {channels}")
        return TensorShape([None, None, channels or None])

    def _decoded(self, data: bytes, wide: bool = False) -> np.ndarray:
        """The pixels of the one image; InvalidArgumentError when there is none of a known form."""
        channels = self.attrs.get("channels", 0)
        if channels not in (0, 1, 3, 4):
            raise invalid(f"channels must be 0, 1, 3, or 4, got {channels}")
        kind = images.kind_of(data)
        if kind == "png":
            return images.decode_png(data, channels, wide)
        if not kind:
            start = data[:16].decode("latin-1").encode("unicode_escape").decode()
            raise invalid(
                f"Expected image (JPEG, PNG, or GIF), got unknown format starting with '{start}'"
            )
        if wide:
            raise invalid(f"{kind.upper()} does not support uint16 output")
        if kind == "gif":
            return self._from_gif(images.decode_gif(data), channels)
        if channels == 4:
            raise invalid("channels must be 0, 1, or 3 for JPEG, got 4")
        return images.decode_jpeg(
            data,
            channels,
            self.attrs.get("ratio", 1),
            self.attrs.get("try_recover_truncated", False),
        )

    def _from_gif(self, frames: np.ndarray, channels: int) -> np.ndarray:
        if channels not in (0, 3):
            raise invalid(f"channels must be 0 or 3 for GIF, got {channels}")
        if len(frames) != 1:
            raise invalid(
                f"Got {len(frames)} frames, but animated gifs can only be decoded by "
                "tf.image.decode_gif or tf.image.decode_image"
            )
        return frames[0]

    def _check_jpeg(self) -> None:
        if self.attrs["ratio"] not in (1, 2, 4, 8):
            raise invalid(f"ratio must be 1, 2, 4, or 8, got {self.attrs['ratio']}")
        if self.attrs["dct_method"] not in _DCT_METHODS:
            raise invalid("dct_method must be one of {'', 'INTEGER_FAST', 'INTEGER_ACCURATE'}")


class _Jpeg(_Decode, abstract=True):
    channels = Attr("int", 0)
    ratio = Attr("int", 1)
    fancy_upscaling = Attr("bool", True)
    try_recover_truncated = Attr("bool", False)
    acceptable_fraction = Attr("float", 1.0)
    dct_method = Attr("string", b"")


class DecodeJpeg(_Jpeg):
    """The pixels of a JPEG (also of a PNG or of a GIF with one frame)."""

    contents = Input(string)
    image = Output(uint8)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        self._check_jpeg()
        return self._decoded(_data(inputs[0]))


class DecodeAndCropJpeg(_Jpeg):
    """The pixels of a window of a JPEG."""

    contents = Input(string)
    crop_window = Input(int32)
    image = Output(uint8)

    def infer(self, ctx: Any, contents: TensorShape, *rest: TensorShape) -> TensorShape:
        shape = super().infer(ctx, contents)
        count = with_rank(rest[0], 1).as_list()[0]
        if count not in (None, 4):
            raise ValueError(f"Dimension must be 4 but is {count}")
        window = ctx.value(1)
        if window is None:
            return shape
        return TensorShape([int(window[2]), int(window[3]), shape.as_list()[2]])

    def compute(self, xp: Any, *inputs: Any) -> Any:
        self._check_jpeg()
        data = _data(inputs[0])
        top, left, height, width = ints(inputs[1])
        pixels = self._decoded(data)
        fits = top >= 0 and left >= 0 and height > 0 and width > 0
        if not fits or top + height > pixels.shape[0] or left + width > pixels.shape[1]:
            raise invalid(f"Invalid JPEG data or crop window, data size {len(data)}")
        return np.ascontiguousarray(pixels[top : top + height, left : left + width])


class DecodePng(_Decode):
    """The pixels of a PNG (also of a JPEG or of a GIF with one frame)."""

    contents = Input(string)
    image = Output("dtype")
    channels = Attr("int", 0)
    dtype = type_attr({uint8, uint16}, uint8)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        return self._decoded(_data(inputs[0]), wide=self.attrs["dtype"] == uint16)


class DecodeGif(_Decode):
    """The frames of a GIF (also a JPEG or PNG, as the only frame)."""

    contents = Input(string)
    image = Output(uint8)

    def infer(self, ctx: Any, contents: TensorShape, *_: TensorShape) -> TensorShape:
        scalar_input(contents)
        return TensorShape([None, None, None, 3])

    def compute(self, xp: Any, *inputs: Any) -> Any:
        data = _data(inputs[0])
        if images.kind_of(data) == "gif":
            return images.decode_gif(data)
        return images.with_channels(self._decoded(data), 3)[None]


class DecodeBmp(OpDef):
    """The pixels of an uncompressed BMP."""

    contents = Input(string)
    image = Output(uint8)
    channels = Attr("int", 0)
    slow = True
    numpy_only = True
    NotDifferentiable = True

    def infer(self, ctx: Any, contents: TensorShape) -> TensorShape:
        scalar_input(contents)
        return TensorShape([None, None, self.attrs["channels"] or None])

    def compute(self, xp: Any, *inputs: Any) -> Any:
        channels = self.attrs["channels"]
        if channels not in (0, 1, 3, 4):
            raise invalid(f"channels must be 0, 1, 3 or 4, got {channels}")
        return images.decode_bmp(_data(inputs[0]), channels)


class ExtractJpegShape(OpDef):
    """Height, width and channels of a JPEG, without decoding it."""

    contents = Input(string)
    image_shape = Output("output_type")
    output_type = type_attr({int32, int64}, int32)
    numpy_only = True
    NotDifferentiable = True

    def infer(self, ctx: Any, contents: TensorShape) -> TensorShape:
        scalar_input(contents)
        return TensorShape([3])

    def compute(self, xp: Any, *inputs: Any) -> Any:
        shape = images.jpeg_shape(_data(inputs[0]))
        return np.array(shape, self.attrs["output_type"].as_numpy_dtype)


class _Encode(OpDef, abstract=True):
    slow = True
    numpy_only = True
    NotDifferentiable = True

    def infer(self, ctx: Any, image: TensorShape, *_: TensorShape) -> TensorShape:
        with_rank(image, 3)
        return scalar()


def _jpeg_pixels(image: Any) -> np.ndarray:
    pixels = np.asarray(image)
    if pixels.ndim != 3:
        raise invalid(f"image must be 3-dimensional {shape_string(pixels.shape)}")
    if pixels.shape[2] not in (1, 3):
        raise invalid(f"image must have 1 or 3 channels, got {shape_string(pixels.shape)}")
    return pixels


def _check_quality(quality: int) -> None:
    if not 0 <= quality <= 100:
        raise invalid(f"quality must be in [0,100], got {quality}")


class EncodeJpeg(_Encode):
    """An image as a JPEG."""

    image = Input(uint8)
    contents = Output(string)
    format = Attr("string", b"", allowed=(b"", b"grayscale", b"rgb"))
    quality = Attr("int", 95)
    progressive = Attr("bool", False)
    optimize_size = Attr("bool", False)
    chroma_downsampling = Attr("bool", True)
    density_unit = Attr("string", b"in", allowed=(b"in", b"cm"))
    x_density = Attr("int", 300)
    y_density = Attr("int", 300)
    xmp_metadata = Attr("string", b"")

    def compute(self, xp: Any, *inputs: Any) -> Any:
        a = self.attrs
        _check_quality(a["quality"])
        pixels = _jpeg_pixels(inputs[0])
        wanted = {b"grayscale": 1, b"rgb": 3}.get(a["format"])
        if wanted is not None and pixels.shape[2] != wanted:
            raise invalid(
                f"format {a['format'].decode()} expects {wanted} channels, got {shape_string(pixels.shape)}"
            )
        per_inch = 2.54 if a["density_unit"] == b"cm" else 1.0
        return string_scalar(
            images.encode_jpeg(
                pixels,
                a["quality"],
                a["progressive"],
                a["optimize_size"],
                a["chroma_downsampling"],
                (round(a["x_density"] * per_inch), round(a["y_density"] * per_inch)),
                a["xmp_metadata"],
            )
        )


class EncodeJpegVariableQuality(_Encode):
    """An image as a JPEG of a quality that is an input."""

    images = Input(uint8)
    quality = Input(int32)
    contents = Output(string)

    def infer(self, ctx: Any, image: TensorShape, *rest: TensorShape) -> TensorShape:
        scalar_input(rest[0])
        return super().infer(ctx, image)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        quality = int(inputs[1])
        _check_quality(quality)
        return string_scalar(images.encode_jpeg(_jpeg_pixels(inputs[0]), quality))


class EncodePng(_Encode):
    """An image as a PNG."""

    image = Input("T")
    contents = Output(string)
    compression = Attr("int", -1)
    T = type_attr({uint8, uint16}, uint8)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        pixels = np.asarray(inputs[0])
        if not -1 <= self.attrs["compression"] <= 9:
            raise invalid(f"compression should be in [-1,9], got {self.attrs['compression']}")
        if pixels.ndim != 3:
            raise invalid(f"image must be 3-dimensional{shape_string(pixels.shape)}")
        if pixels.shape[2] not in (1, 2, 3, 4):
            raise invalid(f"image must have 1, 2, 3, or 4 channels, got {pixels.shape[2]}")
        return string_scalar(encode_png(pixels, self.attrs["compression"]))
