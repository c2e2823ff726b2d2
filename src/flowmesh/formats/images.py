"""Image files as arrays: what Pillow decodes, and the two forms that it does not (BMP as TensorFlow reads it, 16-bit PNG).

Pillow is optional (`pip install flowmesh[images]`) and imported on first use.
"""

from __future__ import annotations

import io
import struct
import threading
import zlib
from typing import Any

import numpy as np

from flowmesh.core.errors import InvalidArgumentError, UnimplementedError

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_GIFS = (b"GIF87a", b"GIF89a", b"GIF8")
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_PALETTE = 3
_HEADER_LINE = struct.Struct(">IIBBBBB")
_BMP_LEAST = 32
_BYTE = 8
_WIDE = 16


def _invalid(message: str) -> InvalidArgumentError:
    return InvalidArgumentError(None, None, message)


def pillow() -> Any:
    """Pillow's Image module; UnimplementedError with the remedy when it is not installed."""
    try:
        from PIL import Image
    except ImportError:
        raise UnimplementedError(
            None,
            None,
            "Decoding and encoding of images needs Pillow on the task that runs the op. Install it with "
            "`pip install flowmesh[images]` (or `pip install pillow`).",
        ) from None
    return Image


def kind_of(data: bytes) -> str:
    """ "jpeg", "png", "gif" or "" by the first bytes."""
    if data.startswith(_JPEG):
        return "jpeg"
    if data.startswith(_PNG):
        return "png"
    return "gif" if data.startswith(_GIFS) else ""


def gray(pixels: np.ndarray) -> np.ndarray:
    """The luminance of RGB pixels, [..., 1], cut off to an integer."""
    red, green, blue = (pixels[..., i].astype(np.int64) for i in range(3))
    total = red * 9798 + green * 19235 + blue * 3735
    return (total >> 15).astype(pixels.dtype)[..., None]


def with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """The pixels [h, w, c] with `channels` channels (0: as many as they have); alpha is added opaque or dropped."""
    have = pixels.shape[-1]
    if channels in (0, have):
        return pixels
    top = np.iinfo(pixels.dtype).max
    alpha = pixels[..., have - 1 :] if have in (2, 4) else np.full_like(pixels[..., :1], top)
    colour = pixels[..., : have - 1] if have in (2, 4) else pixels
    if channels in (1, 2):
        colour = gray(colour) if colour.shape[-1] == 3 else colour
    elif colour.shape[-1] == 1:
        colour = np.repeat(colour, 3, -1)
    return np.concatenate([colour, alpha], -1) if channels in (2, 4) else colour


# -- PNG ---------------------------------------------------------------------------------------------


def _png_header(data: bytes) -> tuple[int, int, int, int, int]:
    """Width, height, bit depth, colour type and interlacing."""
    if len(data) < 33:
        raise _invalid(f"Invalid PNG header, data size {len(data)}")
    width, height, depth, colour, _, _, interlaced = _HEADER_LINE.unpack_from(data, 16)
    return width, height, depth, colour, interlaced


def decode_png(data: bytes, channels: int, wide: bool) -> np.ndarray:
    """The pixels [height, width, channels] of a PNG, uint8 or (`wide`) uint16."""
    _, _, depth, colour, interlaced = _png_header(data)
    if depth == _WIDE and not interlaced:
        pixels = _wide_png(data)
        pixels = pixels if wide else (pixels >> _BYTE).astype(np.uint8)
        return with_channels(pixels, channels)
    image = _opened(data, f"Invalid PNG header, data size {len(data)}")
    try:
        image.load()
    except (OSError, ValueError, SyntaxError):
        raise _invalid(f"Invalid PNG data, size {len(data)}") from None
    if colour == _PNG_PALETTE:
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif image.mode in ("1", "I", "F") or image.mode.startswith("I;"):
        image = image.convert("L")
    pixels = _pixels(image)
    if wide:
        pixels = pixels.astype(np.uint16) * 257
    return with_channels(pixels, channels)


def _png_stream(data: bytes) -> bytes:
    """The uncompressed scan lines of a PNG."""
    at, parts = len(_PNG), []
    while at + _BYTE <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IDAT":
            parts.append(data[at + 8 : at + 8 + size])
        at += size + 12
    try:
        return zlib.decompress(b"".join(parts))
    except zlib.error:
        raise _invalid(f"Invalid PNG data, size {len(data)}") from None


def _wide_png(data: bytes) -> np.ndarray:
    """The pixels of a 16-bit PNG that is not interlaced."""
    width, height, _, colour, _ = _png_header(data)
    channels = _PNG_CHANNELS.get(colour, 0)
    step = channels * 2
    line = width * step
    stream = _png_stream(data)
    if not channels or len(stream) < height * (line + 1):
        raise _invalid(f"Invalid PNG data, size {len(data)}")
    rows = np.frombuffer(stream, np.uint8, height * (line + 1)).reshape(height, line + 1)
    out = np.zeros((height + 1, line), np.uint8)
    for i, row in enumerate(rows):
        out[i + 1] = _unfiltered(int(row[0]), row[1:], out[i], step)
    return out[1:].view(">u2").astype(np.uint16).reshape(height, width, channels)


def _unfiltered(kind: int, line: np.ndarray, above: np.ndarray, step: int) -> np.ndarray:
    """One scan line without its filter (PNG: none, sub, up, average, Paeth)."""
    if kind == 0:
        return line
    if kind == 1:
        return np.cumsum(line.reshape(-1, step), 0, dtype=np.uint8).reshape(-1)
    if kind == 2:
        return line + above
    if kind not in (3, 4):
        raise _invalid(f"Invalid PNG data: unknown filter {kind}")
    given, up = line.tolist(), above.tolist()
    out = [0] * len(given)
    for i, value in enumerate(given):
        left = out[i - step] if i >= step else 0
        if kind == 3:
            guess = (left + up[i]) // 2
        else:
            guess = _paeth(left, up[i], up[i - step] if i >= step else 0)
        out[i] = (value + guess) & 0xFF
    return np.array(out, np.uint8)


def _paeth(left: int, up: int, corner: int) -> int:
    estimate = left + up - corner
    a, b, c = abs(estimate - left), abs(estimate - up), abs(estimate - corner)
    if a <= b and a <= c:
        return left
    return up if b <= c else corner


# -- JPEG and GIF ------------------------------------------------------------------------------------


def _opened(data: bytes, complaint: str) -> Any:
    try:
        return pillow().open(io.BytesIO(data))
    except (OSError, ValueError, SyntaxError):
        raise _invalid(complaint) from None


def _pixels(image: Any) -> np.ndarray:
    array = np.asarray(image)
    return array[..., None] if array.ndim == 2 else array


def jpeg_shape(data: bytes) -> tuple[int, int, int]:
    """Height, width and channels of a JPEG, from its header."""
    complaint = f"Invalid JPEG data, size {len(data)}"
    if kind_of(data) != "jpeg":
        raise _invalid(complaint)
    image = _opened(data, complaint)
    return image.height, image.width, len(image.getbands())


def decode_jpeg(data: bytes, channels: int, ratio: int = 1, truncated: bool = False) -> np.ndarray:
    """The pixels [height, width, 1 or 3] of a JPEG, scaled down by `ratio`."""
    complaint = f"Invalid JPEG data or crop window, data size {len(data)}"
    image = _opened(data, complaint)
    mode = "L" if channels == 1 or (channels == 0 and image.mode == "L") else "RGB"
    size = (-(-image.width // ratio), -(-image.height // ratio))
    image.draft(mode, (max(image.width // ratio, 1), max(image.height // ratio, 1)))
    try:
        if truncated:
            _load_truncated(image)
        else:
            image.load()
    except (OSError, ValueError, SyntaxError):
        raise _invalid(complaint) from None
    if image.size != size and ratio > 1:
        image = image.resize(size, pillow().Resampling.BOX)
    return _pixels(image.convert(mode))


_truncated_lock = threading.Lock()


def _load_truncated(image: Any) -> None:
    """Loads an image that may be cut off; what is missing stays gray."""
    from PIL import ImageFile

    with _truncated_lock:  # Pillow has one switch for the whole process
        before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
        try:
            image.load()
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before


def decode_gif(data: bytes) -> np.ndarray:
    """All frames of a GIF, [frames, height, width, 3]."""
    from PIL import ImageSequence

    complaint = f"Invalid GIF data (size {len(data)})"
    image = _opened(data, f"{complaint}, failed to open gif file: no screen descriptor or no frame")
    try:
        frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]
    except (OSError, ValueError, SyntaxError, IndexError) as error:
        raise _invalid(f"{complaint}, failed to slurp gif file: {error}") from None
    if not frames:
        raise _invalid("GIF has no frames")
    return np.stack(frames)


def encode_jpeg(
    pixels: np.ndarray,
    quality: int = 95,
    progressive: bool = False,
    optimize: bool = False,
    downsampling: bool = True,
    dpi: tuple[int, int] = (300, 300),
    xmp: bytes = b"",
) -> bytes:
    """A JPEG of [height, width, 1 or 3] pixels."""
    image = pillow().fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    out = io.BytesIO()
    options: dict[str, Any] = {"xmp": xmp} if xmp else {}
    image.save(
        out,
        "JPEG",
        quality=max(quality, 1),
        progressive=progressive,
        optimize=optimize,
        subsampling=2 if downsampling else 0,
        dpi=dpi,
        **options,
    )
    return out.getvalue()


# -- BMP ---------------------------------------------------------------------------------------------


def decode_bmp(data: bytes, channels: int) -> np.ndarray:
    """The pixels [height, width, 1, 3 or 4] of an uncompressed BMP; colours without their palette."""
    if len(data) < _BMP_LEAST:
        raise _invalid(
            f"Incomplete bmp content, requires at least {_BMP_LEAST} bytes to find the header size, width, height, and "
            f"bpp, got {len(data)} bytes"
        )
    start, width, height, depth = (
        struct.unpack_from("<I", data, 10)[0],
        struct.unpack_from("<i", data, 18)[0],
        struct.unpack_from("<i", data, 22)[0],
        struct.unpack_from("<H", data, 28)[0],
    )
    have = depth // _BYTE
    if channels and channels != have:
        raise _invalid(
            f"channels attribute {channels} does not match bits per pixel from file {have}"
        )
    if have not in (1, 3, 4):
        raise _invalid(f"Number of channels must be 1, 3 or 4, was {have}")
    line = (width * have + 3) // 4 * 4
    rows = abs(height)
    last = start + line * rows
    if width <= 0 or not rows or last > len(data):
        raise _invalid(
            f"Incomplete bmp content, requires at least {last} bytes, got {len(data)} bytes"
        )
    table = np.frombuffer(data, np.uint8, line * rows, start).reshape(rows, line)
    pixels = table[:, : width * have].reshape(rows, width, have)
    if height > 0:
        pixels = pixels[::-1]
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[have]
    return np.ascontiguousarray(pixels[..., order])
