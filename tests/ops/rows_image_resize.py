"""Rows of ResizeBicubic, ResizeArea and CropAndResize with their gradients, against plain loops over pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.ops.nn_reference import transposed
from tests.ops.table import Row

IMAGES = np.float32((np.arange(40).reshape(1, 4, 5, 2) * 7 % 23) / 4.0)
UP, DOWN = np.int32([6, 3]), np.int32([2, 7])
BOXES = np.float32(
    [[0, 0, 1, 1], [0.1, 0.2, 0.7, 0.9], [-0.3, 0.2, 1.5, 0.8], [0.8, 0.8, 0.1, 0.1]]
)
WHICH = np.int32([0, 0, 0, 0])
SIZE = np.int32([3, 2])


def place(i: int, into: int, out: int, align: bool, half: bool) -> float:
    scale = (into - 1) / (out - 1) if align and out > 1 else into / out
    return (i + 0.5) * scale - 0.5 if half else i * scale


def cubic(x: float, a: float) -> float:
    """Keys' kernel."""
    x = abs(x)
    if x < 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a if x < 2 else 0.0


def weights(i: int, into: int, out: int, align: bool, half: bool) -> np.ndarray:
    """How much each input pixel counts for output pixel `i` along one axis."""
    where = place(i, into, out, align, half)
    base, result = int(np.floor(where)), np.zeros(into)
    for j in range(base - 1, base + 3):
        if half and not 0 <= j < into:
            continue
        result[min(max(j, 0), into - 1)] += cubic(where - j, -0.5 if half else -0.75)
    return result / result.sum() if half else result


def bicubic(align: bool = False, half: bool = False) -> Any:
    def resize(images: Any, size: Any) -> Any:
        out = np.zeros((images.shape[0], *size, images.shape[3]))
        for i, j in np.ndindex(*size):
            down = weights(i, images.shape[1], size[0], align, half)
            across = weights(j, images.shape[2], size[1], align, half)
            out[:, i, j] = np.einsum("bhwc,h,w->bc", images, down, across)
        return out

    return resize


def area(images: Any, size: Any) -> Any:
    """The mean over the area that each output pixel covers, counted in small squares."""
    tall, wide = (np.lcm(a, b) for a, b in zip(images.shape[1:3], size))
    fine = images.repeat(tall // images.shape[1], 1).repeat(wide // images.shape[2], 2)
    blocks = fine.reshape(len(images), size[0], tall // size[0], size[1], wide // size[1], -1)
    return blocks.mean((2, 4))


def crops(image: Any, boxes: Any, which: Any, size: Any, outside: float = 0.0) -> Any:
    out = np.full((len(boxes), *size, image.shape[3]), outside)
    height, width = image.shape[1] - 1, image.shape[2] - 1
    for n, (y1, x1, y2, x2) in enumerate(np.float64(boxes)):
        for i, j in np.ndindex(*size):
            y = (y1 + (y2 - y1) * i / (size[0] - 1)) * height
            x = (x1 + (x2 - x1) * j / (size[1] - 1)) * width
            if not (0 <= y <= height and 0 <= x <= width):
                continue
            value = 0.0
            for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
                row, column = min(int(y) + dy, height), min(int(x) + dx, width)
                part = (y % 1 if dy else 1 - y % 1) * (x % 1 if dx else 1 - x % 1)
                value = value + part * image[which[n], row, column]
            out[n, i, j] = value
    return out


def by_boxes(grads: Any, image: Any, boxes: Any, which: Any) -> Any:
    """The derivative by the boxes, by small differences."""
    step, out = 1e-6, np.zeros(boxes.shape)
    for n, k in np.ndindex(*boxes.shape):
        moved = [np.float64(boxes), np.float64(boxes)]
        moved[0][n, k] += step
        moved[1][n, k] -= step
        up, down = (crops(image, m, which, grads.shape[1:3]) for m in moved)
        out[n, k] = (grads * (up - down)).sum() / (2 * step)
    return out


ALIGN, HALF = {"align_corners": True}, {"half_pixel_centers": True}
TABLE: dict[str, float] = {"rtol": 2e-3, "atol": 2e-2}  # TensorFlow rounds distances to 1/1024
CLOSE: dict[str, float] = {"rtol": 2e-5, "atol": 2e-5}
GRADS = np.float32(np.arange(36).reshape(1, 6, 3, 2) % 7)
FLOW = np.float32(np.arange(48).reshape(4, 3, 2, 2) % 5)
SLANTED = np.float32([[0.05, 0.06, 0.93, 0.91], [0.11, 0.23, 0.71, 0.87]])
TWO = np.int32([0, 0])

ROWS = [
    Row("ResizeBicubic", [IMAGES, UP], want=bicubic(), grad=False, **TABLE),
    Row(
        "ResizeBicubic", [IMAGES, DOWN], ALIGN, want=bicubic(True), grad=False, id="align", **TABLE
    ),
    Row(
        "ResizeBicubic", [IMAGES, UP], HALF, want=bicubic(half=True), grad=False, id="half", **TABLE
    ),
    Row(
        "ResizeBicubicGrad",
        [GRADS, IMAGES],
        want=lambda g, x: transposed(lambda v: bicubic()(v, g.shape[1:3]), x.shape, g),
        **TABLE,
    ),
    Row("ResizeArea", [IMAGES, UP], want=area, **CLOSE),
    Row("ResizeArea", [IMAGES, DOWN], want=area, id="down", **CLOSE),
    Row("CropAndResize", [IMAGES, BOXES, WHICH, SIZE], want=crops, grad=False, **CLOSE),
    Row(
        "CropAndResize",
        [IMAGES, BOXES, WHICH, SIZE],
        {"extrapolation_value": 7.0},
        want=lambda *args: crops(*args, outside=7.0),
        grad=False,
        id="outside",
        **CLOSE,
    ),
    Row(
        "CropAndResizeGradImage",
        [FLOW, BOXES, WHICH, np.int32([1, 4, 5, 2])],
        {"T": "float32"},
        want=lambda g, b, w, s: transposed(lambda v: crops(v, b, w, g.shape[1:3]), tuple(s), g),
        **CLOSE,
    ),
    Row(
        "CropAndResizeGradBoxes",
        [FLOW[:2], IMAGES, SLANTED, TWO],
        want=by_boxes,
        rtol=1e-3,
        atol=1e-3,
    ),
]
