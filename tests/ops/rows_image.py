"""Rows of the image ops."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np

from tests.ops.nn_reference import transposed
from tests.ops.table import Row

IMAGES = (np.arange(24).reshape(1, 3, 4, 2) * 7 % 23) / 4.0
UP, DOWN = np.int32([5, 6]), np.int32([2, 3])


def place(i: int, into: int, out: int, align: bool, half: bool) -> float:
    scale = (into - 1) / (out - 1) if align and out > 1 else into / out
    return (i + 0.5) * scale - 0.5 if half else i * scale


def bilinear(align: bool = False, half: bool = False) -> Any:
    """Resizing pixel by pixel."""

    def resize(images: Any, size: Any) -> Any:
        out = np.zeros((images.shape[0], *size, images.shape[3]))
        for i, j in np.ndindex(*size):
            y = place(i, images.shape[1], size[0], align, half)
            x = place(j, images.shape[2], size[1], align, half)
            for dy, wy in ((0, 1 - (y - np.floor(y))), (1, y - np.floor(y))):
                for dx, wx in ((0, 1 - (x - np.floor(x))), (1, x - np.floor(x))):
                    row = int(np.clip(np.floor(y) + dy, 0, images.shape[1] - 1))
                    column = int(np.clip(np.floor(x) + dx, 0, images.shape[2] - 1))
                    out[:, i, j] += wy * wx * images[:, row, column]
        return out

    return resize


def nearest(align: bool = False, half: bool = False) -> Any:
    def resize(images: Any, size: Any) -> Any:
        out = np.zeros((images.shape[0], *size, images.shape[3]), images.dtype)
        for i, j in np.ndindex(*size):
            at = []
            for k, into, to in ((i, images.shape[1], size[0]), (j, images.shape[2], size[1])):
                p = place(k, into, to, align, half) + (0.5 if half else 0.0)
                at.append(min(int(np.floor(p + 0.5) if align else np.floor(p)), into - 1))
            out[:, i, j] = images[:, at[0], at[1]]
        return out

    return resize


def contrast(images: Any, factor: Any) -> Any:
    mean = images.mean((-3, -2), keepdims=True)
    return (images - mean) * factor + mean


COLOURS = np.array([[0.1, 0.6, 0.3], [0.9, 0.2, 0.2], [0.5, 0.5, 0.5], [0.3, 0.1, 0.7], [0, 0, 0]])
COLOURS = COLOURS.reshape(1, 5, 3)


def hsv(images: Any) -> Any:
    flat = [colorsys.rgb_to_hsv(*(float(v) for v in c)) for c in images.reshape(-1, 3)]
    return np.array(flat).reshape(images.shape)


def rgb(images: Any) -> Any:
    flat = [colorsys.hsv_to_rgb(*(float(v) for v in c)) for c in images.reshape(-1, 3)]
    return np.array(flat).reshape(images.shape)


def turned(images: Any, delta: Any) -> Any:
    return rgb((hsv(images) + [delta, 0, 0]) % [1, 9, 9])


def saturated(images: Any, scale: Any) -> Any:
    return rgb(np.minimum(hsv(images) * [1, scale, 1], 1))


ALIGN, HALF = {"align_corners": True}, {"half_pixel_centers": True}
CLOSE: dict[str, float] = {"rtol": 2e-5, "atol": 2e-5}
GRADS = np.float32(IMAGES[:, :, :3] / 3)
NUMBERS = ["uint8", "int32", "float16", "float32", "float64"]

ROWS = [
    Row("ResizeBilinear", [IMAGES, UP], want=bilinear(), dtypes=NUMBERS, grad=False, **CLOSE),
    Row("ResizeBilinear", [IMAGES, DOWN], want=bilinear(), id="down", grad=False, **CLOSE),
    Row(
        "ResizeBilinear", [IMAGES, UP], ALIGN, want=bilinear(True), grad=False, id="align", **CLOSE
    ),
    Row(
        "ResizeBilinear",
        [IMAGES, UP],
        HALF,
        want=bilinear(half=True),
        grad=False,
        id="half",
        **CLOSE,
    ),
    Row(
        "ResizeBilinearGrad",
        [GRADS, np.float32(np.zeros([1, 5, 2, 2]))],
        want=lambda g, x: transposed(lambda v: bilinear()(v, g.shape[1:3]), x.shape, g),
        **CLOSE,
    ),
    Row(
        "ResizeBilinearGrad",
        [GRADS, np.float32(np.zeros([1, 2, 5, 2]))],
        ALIGN,
        want=lambda g, x: transposed(lambda v: bilinear(True)(v, g.shape[1:3]), x.shape, g),
        id="align",
        **CLOSE,
    ),
    Row("ResizeNearestNeighbor", [IMAGES, UP], want=nearest(), dtypes=NUMBERS),
    Row("ResizeNearestNeighbor", [IMAGES, DOWN], ALIGN, want=nearest(True), id="align"),
    Row("ResizeNearestNeighbor", [IMAGES, UP], HALF, want=nearest(half=True), id="half"),
    Row(
        "ResizeNearestNeighborGrad",
        [GRADS, np.int32([2, 4])],
        want=lambda g, s: transposed(lambda v: nearest()(v, g.shape[1:3]), (1, *s, 2), g),
        dtypes=["float32", "float64"],
    ),
    Row("RGBToHSV", [COLOURS], want=hsv, dtypes=["float16", "float32", "float64"]),
    Row("HSVToRGB", [COLOURS], want=rgb, dtypes=["float16", "float32", "float64"]),
    Row("AdjustHue", [COLOURS.astype(np.float32), np.float32(0.25)], want=turned, **CLOSE),
    Row("AdjustSaturation", [COLOURS.astype(np.float32), np.float32(1.5)], want=saturated, **CLOSE),
    Row(
        "AdjustContrastv2", [IMAGES, np.float32(1.5)], want=contrast, dtypes=["float16", "float32"]
    ),
]


def windows(ksizes: Any, strides: Any, rates: Any, padding: str) -> Any:
    """Patches gathered window by window."""

    def patches(images: Any) -> Any:
        batch, height, width, depth = images.shape
        extent = [(k - 1) * r + 1 for k, r in zip(ksizes, rates)]
        if padding == "VALID":
            counts = [(n - e) // s + 1 for n, e, s in zip((height, width), extent, strides)]
            before = [0, 0]
        else:
            counts = [-(-n // s) for n, s in zip((height, width), strides)]
            before = [
                max(0, (c - 1) * s + e - n) // 2
                for c, s, e, n in zip(counts, strides, extent, (height, width))
            ]
        out = np.zeros((batch, *counts, ksizes[0], ksizes[1], depth), images.dtype)
        for i, j, k, m in np.ndindex(*counts, *ksizes):
            y = i * strides[0] - before[0] + k * rates[0]
            x = j * strides[1] - before[1] + m * rates[1]
            if 0 <= y < height and 0 <= x < width:
                out[:, i, j, k, m] = images[:, y, x]
        return out.reshape(batch, *counts, -1)

    return patches


ROWS += [
    Row(
        "ExtractImagePatches",
        [IMAGES],
        {
            "ksizes": [1, *k, 1],
            "strides": [1, *s, 1],
            "rates": [1, *r, 1],
            "padding": padding,
        },
        want=windows(k, s, r, padding),
        dtypes=["float32", "float64", "int32"] if padding == "SAME" else (),
        id=padding,
    )
    for k, s, r, padding in [((2, 3), (1, 2), (1, 1), "SAME"), ((2, 2), (1, 1), (2, 1), "VALID")]
]
