"""Ops on boxes in images: cropping, drawing, sampling and choosing among overlapping ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from flowmesh.core import dtypes, errors
from flowmesh.core.dtypes import float16, float32, float64, int32, int64
from flowmesh.core.shapes import TensorShape, vector
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.ops import philox
from flowmesh.ops.array_support import ints, invalid, scatter_add
from flowmesh.ops.shape_rules import same_size, scalar_input, with_rank

_NUMBERS = {
    dtypes.uint8,
    dtypes.uint16,
    dtypes.int8,
    dtypes.int16,
    int32,
    int64,
    float16,
    float32,
    float64,
}


# -- crops -----------------------------------------------------------------------------------------------


class _Crops(OpDef, abstract=True):
    """Where the pixels of crops lie in their images."""

    def lines(self, xp: Any, low: Any, high: Any, into: int, out: int) -> Any:
        """The coordinates [boxes, out] along one axis, between `low` and `high` (parts of the image)."""
        last = np.float32(into - 1)
        if out == 1:
            return xp.float32(0.5) * (low + high)[:, None] * last
        step = (high - low) * last / np.float32(out - 1)
        return (low * last)[:, None] + xp.arange(out, dtype=xp.float32)[None, :] * step[:, None]

    def between(self, xp: Any, place: Any, into: int) -> tuple[Any, Any, Any, Any]:
        """Lower and upper pixel, weight of the upper, and whether the place is inside of the image."""
        inside = (place >= 0) & (place <= into - 1)
        safe = xp.where(inside, place, 0 * place)
        low = xp.floor(safe)
        return low.astype(xp.int32), xp.ceil(safe).astype(xp.int32), safe - low, inside


def _check_boxes(xp: Any, box_ind: Any, batch: int) -> None:
    if xp is np and np.any((box_ind < 0) | (box_ind >= batch)):
        raise errors.OutOfRangeError(None, None, "box_index has values outside [0, batch_size)")


def _crop_size(value: Any) -> tuple[int, int]:
    height, width = ints(value)
    if height <= 0 or width <= 0:
        raise invalid("crop dimensions must be positive")
    return height, width


class CropAndResize(_Crops):
    """Crops of images, given as boxes in parts of their size, resized to one size."""

    image = Input("T")
    boxes = Input(float32)
    box_ind = Input(int32)
    crop_size = Input(int32)
    crops = Output(float32)
    T = type_attr(_NUMBERS)
    method = Attr("string", b"bilinear", allowed=(b"bilinear", b"nearest"))
    extrapolation_value = Attr("float", 0.0)
    static_inputs = ("crop_size",)

    def infer(self, ctx: Any, *shapes: TensorShape) -> TensorShape:
        image, boxes, box_ind, size = shapes
        depth = with_rank(image, 4).as_list()[3]
        count, four = with_rank(boxes, 2).as_list()
        same_size(four, 4)
        count = same_size(count, with_rank(box_ind, 1).as_list()[0])
        same_size(with_rank(size, 1).as_list()[0], 2)
        value = ctx.value(3)
        height, width = (None, None) if value is None else (int(v) for v in value)
        return TensorShape([count, height, width, depth])

    def compute(self, xp: Any, *inputs: Any) -> Any:
        image, boxes, box_ind, crop_size = inputs
        height, width = _crop_size(crop_size)
        _check_boxes(xp, box_ind, image.shape[0])
        wide = image.astype(xp.float32)
        ys = self.lines(xp, boxes[:, 0], boxes[:, 2], image.shape[1], height)
        xs = self.lines(xp, boxes[:, 1], boxes[:, 3], image.shape[2], width)
        top, bottom, down, in_y = self.between(xp, ys, image.shape[1])
        left, right, across, in_x = self.between(xp, xs, image.shape[2])
        which = box_ind[:, None, None]

        def at(rows: Any, columns: Any) -> Any:
            return wide[which, rows[:, :, None], columns[:, None, :]]

        if self.attrs["method"] == b"nearest":
            crops = at(_rounded(xp, ys, in_y), _rounded(xp, xs, in_x))
        else:
            part = across[:, None, :, None]
            upper = at(top, left) + (at(top, right) - at(top, left)) * part
            lower = at(bottom, left) + (at(bottom, right) - at(bottom, left)) * part
            crops = upper + (lower - upper) * down[:, :, None, None]
        inside = (in_y[:, :, None] & in_x[:, None, :])[..., None]
        return xp.where(inside, crops, xp.float32(self.attrs["extrapolation_value"]))

    def gradient(self, op: Any, grad: Any) -> Any:
        image, boxes, box_ind = op.inputs[:3]
        method = self.attrs["method"]
        in_image = None
        if image.dtype.base_dtype in (float16, float32, float64):
            size = raw.Shape(image)
            in_image = raw.CropAndResizeGradImage(
                grad, boxes, box_ind, size, T=image.dtype.base_dtype, method=method
            )
        in_boxes = raw.CropAndResizeGradBoxes(grad, image, boxes, box_ind)
        return in_image, in_boxes, None, None


def _rounded(xp: Any, place: Any, inside: Any) -> Any:
    """The nearest pixel, halves away from 0 as in C."""
    safe = xp.where(inside, place, 0 * place)
    return xp.floor(safe + xp.float32(0.5)).astype(xp.int32)


class CropAndResizeGradImage(_Crops):
    """The derivative of CropAndResize by its images."""

    grads = Input(float32)
    boxes = Input(float32)
    box_ind = Input(int32)
    image_size = Input(int32)
    output = Output("T")
    T = type_attr({float16, float32, float64})
    method = Attr("string", b"bilinear", allowed=(b"bilinear", b"nearest"))
    static_inputs = ("image_size",)

    def infer(self, ctx: Any, *shapes: TensorShape) -> TensorShape:
        return with_rank(ctx.value_as_shape(3), 4)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        grads, boxes, box_ind, image_size = inputs
        batch, height, width, depth = ints(image_size)
        _check_boxes(xp, box_ind, batch)
        ys = self.lines(xp, boxes[:, 0], boxes[:, 2], height, grads.shape[1])
        xs = self.lines(xp, boxes[:, 1], boxes[:, 3], width, grads.shape[2])
        top, bottom, down, in_y = self.between(xp, ys, height)
        left, right, across, in_x = self.between(xp, xs, width)
        inside = (in_y[:, :, None] & in_x[:, None, :])[..., None]
        flow = xp.where(inside, grads, xp.float32(0))
        out = xp.zeros((batch, height, width, depth), xp.float32)
        which = box_ind[:, None, None]

        def spread(target: Any, rows: Any, columns: Any, weight: Any) -> Any:
            return scatter_add(
                xp, target, (which, rows[:, :, None], columns[:, None, :]), flow * weight
            )

        if self.attrs["method"] == b"nearest":
            out = spread(out, _rounded(xp, ys, in_y), _rounded(xp, xs, in_x), xp.float32(1))
        else:
            v, h = down[:, :, None, None], across[:, None, :, None]
            out = spread(out, top, left, (1 - v) * (1 - h))
            out = spread(out, top, right, (1 - v) * h)
            out = spread(out, bottom, left, v * (1 - h))
            out = spread(out, bottom, right, v * h)
        return out.astype(self.attrs["T"].as_numpy_dtype)


class CropAndResizeGradBoxes(_Crops):
    """The derivative of CropAndResize by its boxes."""

    grads = Input(float32)
    image = Input("T")
    boxes = Input(float32)
    box_ind = Input(int32)
    output = Output(float32)
    T = type_attr(_NUMBERS)
    method = Attr("string", b"bilinear", allowed=(b"bilinear",))

    def infer(self, ctx: Any, *shapes: TensorShape) -> TensorShape:
        return with_rank(shapes[2], 2)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        grads, image, boxes, box_ind = inputs
        _check_boxes(xp, box_ind, image.shape[0])
        wide = image.astype(xp.float32)
        tall, broad = grads.shape[1], grads.shape[2]
        ys = self.lines(xp, boxes[:, 0], boxes[:, 2], image.shape[1], tall)
        xs = self.lines(xp, boxes[:, 1], boxes[:, 3], image.shape[2], broad)
        top, bottom, down, in_y = self.between(xp, ys, image.shape[1])
        left, right, across, in_x = self.between(xp, xs, image.shape[2])
        which = box_ind[:, None, None]

        def at(rows: Any, columns: Any) -> Any:
            return wide[which, rows[:, :, None], columns[:, None, :]]

        v, h = down[:, :, None, None], across[:, None, :, None]
        by_y = (1 - h) * (at(bottom, left) - at(top, left)) + h * (
            at(bottom, right) - at(top, right)
        )
        by_x = (1 - v) * (at(top, right) - at(top, left)) + v * (
            at(bottom, right) - at(bottom, left)
        )
        inside = (in_y[:, :, None] & in_x[:, None, :])[..., None]
        flow = xp.where(inside, grads, xp.float32(0))
        along_y = (flow * by_y).sum((2, 3)) * np.float32(image.shape[1] - 1)
        along_x = (flow * by_x).sum((1, 3)) * np.float32(image.shape[2] - 1)
        y1, y2 = _ends(xp, along_y, tall)
        x1, x2 = _ends(xp, along_x, broad)
        return xp.stack([y1, x1, y2, x2], 1).astype(xp.float32)


def _ends(xp: Any, flow: Any, count: int) -> tuple[Any, Any]:
    """The derivatives by the two ends of an axis from those by its coordinates."""
    part = xp.arange(count, dtype=xp.float32) / max(count - 1, 1) if count > 1 else xp.float32(0.5)
    return (flow * (1 - part)).sum(1), (flow * part).sum(1)


# -- drawing ---------------------------------------------------------------------------------------------

_COLORS: np.ndarray = np.array(
    [
        [1, 1, 0, 1],
        [0, 0, 1, 1],
        [1, 0, 0, 1],
        [0, 1, 0, 1],
        [0.5, 0, 0.5, 1],
        [0.5, 0.5, 0, 1],
        [0.5, 0, 0, 1],
        [0, 0, 0.5, 1],
        [0, 1, 1, 1],
        [1, 0, 1, 1],
    ],
    np.float32,
)
"""Yellow, blue, red, lime, purple, olive, maroon, navy, aqua, fuchsia."""


class _Draw(OpDef, abstract=True):
    numpy_only = True
    NotDifferentiable = True

    def infer(self, ctx: Any, images: TensorShape, boxes: TensorShape, *_: Any) -> TensorShape:
        with_rank(boxes, 3)
        same_size(boxes.key[2] if boxes.key else None, 4)
        shape = with_rank(images, 4)
        if shape.key is not None and shape.key[3] not in (None, 1, 3, 4):
            raise ValueError("Channel depth should be either 1 (GRY), 3 (RGB), or 4 (RGBA)")
        return shape

    def draw(self, images: Any, boxes: Any, colors: np.ndarray) -> Any:
        canvas = np.array(images)
        _, height, width, depth = canvas.shape
        scale = np.array([height - 1, width - 1, height - 1, width - 1], np.float32)
        for picture, listed in zip(canvas, np.asarray(boxes, np.float32)):
            for number, box in enumerate(listed):
                color = colors[number % len(colors), :depth].astype(canvas.dtype)
                _outline(picture, [int(v) for v in box * scale], color)
        return canvas


def _outline(picture: Any, box: list[int], color: Any) -> None:
    """Draws the edges of a box that lie within the picture."""
    height, width = picture.shape[:2]
    top, left, bottom, right = box
    if top > bottom or left > right or top >= height or bottom < 0 or left >= width or right < 0:
        return
    rows = slice(max(top, 0), min(bottom, height - 1) + 1)
    columns = slice(max(left, 0), min(right, width - 1) + 1)
    if top >= 0:
        picture[top, columns] = color
    if bottom < height:
        picture[bottom, columns] = color
    if left >= 0:
        picture[rows, left] = color
    if right < width:
        picture[rows, right] = color


class DrawBoundingBoxes(_Draw):
    """Images with the outlines of boxes, in ten colours."""

    images = Input("T")
    boxes = Input(float32)
    output = Output("T")
    T = type_attr({float16, float32}, float32)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        images, boxes = inputs
        colors = _COLORS.copy()
        if images.shape[3] == 1:
            colors[:, 0] = 1
        return self.draw(images, boxes, colors)


class DrawBoundingBoxesV2(_Draw):
    """Images with the outlines of boxes, in the given colours."""

    images = Input("T")
    boxes = Input(float32)
    colors = Input(float32)
    output = Output("T")
    T = type_attr({float16, float32}, float32)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        images, boxes, colors = inputs
        given = np.asarray(colors, np.float32)
        if not len(given):
            given = _COLORS
        if images.shape[3] == 1:
            given = given.copy()
            given[:, 0] = 1
        return self.draw(images, boxes, given)


# -- sampling --------------------------------------------------------------------------------------------


class _Sample(OpDef, abstract=True):
    """A random crop that covers enough of one of the boxes."""

    stateful = True
    NotDifferentiable = True

    def infer(self, ctx: Any, image_size: TensorShape, boxes: TensorShape, *_: Any) -> Any:
        same_size(with_rank(image_size, 1).as_list()[0], 3)
        with_rank(boxes, 3)
        return vector(3), vector(3), TensorShape([1, 1, 4])

    def sample(self, ctx: Any, image_size: Any, boxes: Any, covered: float) -> Any:
        a = self.attrs
        height, width = ints(image_size)[:2]
        listed = np.asarray(boxes, np.float32).reshape(-1, 4)
        if not len(listed) and not a["use_image_if_no_bounding_boxes"]:
            raise invalid(
                "No bounding boxes provided as input. One must enable use_image_if_no_bounding_boxes if you wish to "
                "not provide any bounding boxes."
            )
        scale = np.array([height, width, height, width], np.float32)
        objects = [tuple(int(v) for v in box * scale) for box in listed] or [(0, 0, height, width)]
        draw = self._words(ctx)
        crop = (0, 0, height, width)
        for _ in range(a["max_attempts"]):
            ratios = a["aspect_ratio_range"]
            spread = np.float32(ratios[1]) - np.float32(ratios[0])
            ratio = float(_unit(next(draw)) * spread + np.float32(ratios[0]))
            found = _random_crop(draw, height, width, a["area_range"], ratio)
            if found is not None and _covers(found, objects, covered):
                crop = found
                break
        top, left, bottom, right = crop
        kind = a["T"].as_numpy_dtype
        place = [top / height, left / width, bottom / height, right / width]
        box = np.array([[place]], np.float32)
        begin = np.array([top, left, 0]).astype(kind)
        return begin, np.array([bottom - top, right - left, -1]).astype(kind), box

    def _words(self, ctx: Any) -> Iterator[int]:
        """The 32-bit words of this run; the next run goes on behind those that it may use."""
        state = ctx.state.get("philox")
        if state is None:
            state = philox.initial_state(self.attrs["seed"], self.attrs["seed2"])
        ctx.state["philox"] = philox.skip(np, state, self.attrs["max_attempts"])

        def stream() -> Iterator[int]:
            at = state
            while True:
                yield from philox.blocks(np, at, 1).reshape(-1).tolist()
                at = philox.skip(np, at, 1)

        return stream()


def _unit(word: int) -> Any:
    """A float32 in [0, 1) of 23 bits of a word."""
    bits = np.uint32(127 << 23 | word & 0x7FFFFF)
    return bits.view(np.float32) - np.float32(1)


def _random_crop(
    draw: Iterator[int], height: int, width: int, areas: Any, ratio: float
) -> tuple[int, int, int, int] | None:
    """A crop (top, left, bottom, right) of an area in the range and a ratio of width to height, if there is one."""
    least, most = (float(np.float32(part) * width * height) for part in areas)
    tall = round(float(np.sqrt(least / ratio)))
    tallest = round(float(np.sqrt(most / ratio)))
    if round(tallest * ratio) > width:
        tallest = int((width + 0.5 - 1e-7) / ratio)
    tallest = min(tallest, height)
    tall = min(tall, tallest)
    if tall < tallest:
        tall += next(draw) % (tallest - tall + 1)
    broad = round(tall * ratio)
    if tall * broad < least:
        tall += 1
        broad = round(tall * ratio)
    if tall * broad > most:
        tall -= 1
        broad = round(tall * ratio)
    fits = 0 < tall <= height and 0 < broad <= width
    if not fits or not least <= tall * broad <= most:
        return None
    top = next(draw) % (height - tall) if tall < height else 0
    left = next(draw) % (width - broad) if broad < width else 0
    return top, left, top + tall, left + broad


def _covers(crop: Any, objects: Any, least: float) -> bool:
    """Whether a crop covers at least a part of one of the objects."""
    if _area(crop) < 1:
        return False
    for box in objects:
        size = _area(box)
        if size < 1:
            continue
        common = (*map(max, crop[:2], box[:2]), *map(min, crop[2:], box[2:]))
        if _area(common) / size >= np.float32(least):
            return True
    return False


def _area(box: Any) -> int:
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


_SIZES = {dtypes.uint8, dtypes.int8, dtypes.int16, int32, int64}


class SampleDistortedBoundingBox(_Sample):
    """A random crop of an image that covers enough of one of its boxes."""

    image_size = Input("T")
    bounding_boxes = Input(float32)
    begin, size, bboxes = Output("T"), Output("T"), Output(float32)
    T = type_attr(_SIZES)
    seed = Attr("int", 0)
    seed2 = Attr("int", 0)
    min_object_covered = Attr("float", 0.1)
    aspect_ratio_range = Attr("list(float)", (0.75, 1.33))
    area_range = Attr("list(float)", (0.05, 1.0))
    max_attempts = Attr("int", 100)
    use_image_if_no_bounding_boxes = Attr("bool", False)

    def run(self, ctx: Any, image_size: Any, boxes: Any) -> Any:  # type: ignore[override]
        return self.sample(ctx, image_size, boxes, self.attrs["min_object_covered"])


class SampleDistortedBoundingBoxV2(_Sample):
    """As SampleDistortedBoundingBox, with the part to be covered as an input."""

    image_size = Input("T")
    bounding_boxes = Input(float32)
    min_object_covered = Input(float32)
    begin, size, bboxes = Output("T"), Output("T"), Output(float32)
    T = type_attr(_SIZES)
    seed = Attr("int", 0)
    seed2 = Attr("int", 0)
    aspect_ratio_range = Attr("list(float)", (0.75, 1.33))
    area_range = Attr("list(float)", (0.05, 1.0))
    max_attempts = Attr("int", 100)
    use_image_if_no_bounding_boxes = Attr("bool", False)

    def run(self, ctx: Any, image_size: Any, boxes: Any, covered: Any) -> Any:  # type: ignore[override]
        return self.sample(ctx, image_size, boxes, float(covered))


# -- choosing --------------------------------------------------------------------------------------------


class _Suppress(OpDef, abstract=True):
    numpy_only = True
    NotDifferentiable = True

    def infer(self, ctx: Any, boxes: TensorShape, scores: TensorShape, *rest: TensorShape) -> Any:
        count, four = with_rank(boxes, 2).as_list()
        same_size(count, with_rank(scores, 1).as_list()[0])
        same_size(four, 4)
        for shape in rest:
            scalar_input(shape)
        return vector(None)

    def choose(self, boxes: Any, scores: Any, most: Any, overlap: Any, least: Any) -> Any:
        """The numbers of the best boxes, none of which overlaps a better one by more than `overlap`."""
        if not 0 <= overlap <= 1:
            raise invalid("iou_threshold must be in [0, 1]")
        corners = np.asarray(boxes, np.float32)
        low = np.minimum(corners[:, :2], corners[:, 2:])
        high = np.maximum(corners[:, :2], corners[:, 2:])
        areas = np.prod(high - low, 1)
        order = np.argsort(-np.asarray(scores, np.float32), kind="stable")
        chosen: list[int] = []
        for i in order:
            if len(chosen) >= int(most):
                break
            if not scores[i] > least:
                continue
            sides = np.minimum(high[chosen], high[i]) - np.maximum(low[chosen], low[i])
            common = np.prod(np.maximum(sides, 0), 1)
            whole = areas[chosen] + areas[i] - common
            usable = (areas[chosen] > 0) & (areas[i] > 0)
            shared = np.where(usable, common / np.where(usable, whole, 1), 0)
            if not np.any(shared > overlap):
                chosen.append(int(i))
        return np.array(chosen, np.int32)


class NonMaxSuppression(_Suppress):
    """The best of overlapping boxes, for a fixed threshold."""

    boxes, scores, max_output_size = Input(float32), Input(float32), Input(int32)
    selected_indices = Output(int32)
    iou_threshold = Attr("float", 0.5)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        boxes, scores, most = inputs
        return self.choose(boxes, scores, most, self.attrs["iou_threshold"], -np.inf)


class NonMaxSuppressionV2(_Suppress):
    """The best of overlapping boxes."""

    boxes, scores, max_output_size = Input("T"), Input("T"), Input(int32)
    iou_threshold = Input("T_threshold")
    selected_indices = Output(int32)
    T = type_attr({float16, float32}, float32)
    T_threshold = type_attr({float16, float32}, float32)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        boxes, scores, most, overlap = inputs
        return self.choose(boxes, scores, most, overlap, -np.inf)


class NonMaxSuppressionV3(_Suppress):
    """The best of overlapping boxes whose score is above a threshold."""

    boxes, scores, max_output_size = Input("T"), Input("T"), Input(int32)
    iou_threshold, score_threshold = Input("T_threshold"), Input("T_threshold")
    selected_indices = Output(int32)
    T = type_attr({float16, float32}, float32)
    T_threshold = type_attr({float16, float32}, float32)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        return self.choose(*inputs)
