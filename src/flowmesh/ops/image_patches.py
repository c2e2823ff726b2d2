"""Windows of images: ExtractImagePatches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flowmesh.core.dtypes import NUMBERS
from flowmesh.core.shapes import TensorShape
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.building import shape_of


def _starts(size: int, window: int, stride: int, rate: int, padding: str) -> tuple[int, int]:
    """How many windows an axis has, and how far before the image the first begins."""
    extent = (window - 1) * rate + 1
    if padding == "VALID":
        return max(0, (size - extent) // stride + 1), 0
    count = -(-size // stride)
    return count, max(0, (count - 1) * stride + extent - size) // 2


class ExtractImagePatches(OpDef):
    """Windows of images, each laid out along the last dimension."""

    images = Input("T")
    patches = Output("T")
    ksizes = Attr("list(int)", minimum=4)
    strides = Attr("list(int)", minimum=4)
    rates = Attr("list(int)", minimum=4)
    T = type_attr(NUMBERS)
    padding = Attr("string", allowed=(b"SAME", b"VALID"))

    def _axes(self, sizes: Sequence[int]) -> list[tuple[int, int]]:
        padding = self.attrs["padding"].decode()
        return [
            _starts(size, self.ksizes[i], self.strides[i], self.rates[i], padding)
            for i, size in zip((1, 2), sizes)
        ]

    def infer(self, ctx: Any, images: TensorShape) -> TensorShape:
        batch, height, width, depth = images.with_rank(4).as_list()
        for name in ("ksizes", "strides", "rates"):
            values = getattr(self, name)
            if len(values) != 4 or values[0] != 1 or values[3] != 1:
                raise ValueError(
                    f"ExtractImagePatches requires {name} of the form [1, rows, columns, 1], but got {list(values)}"
                )
        depth = None if depth is None else depth * self.ksizes[1] * self.ksizes[2]
        out = [
            None if s is None else self._axes([s, s])[i][0] for i, s in enumerate((height, width))
        ]
        return TensorShape([batch, *out, depth])

    def compute(self, xp: Any, images: Any) -> Any:
        padded, places = images, []
        for axis, (count, before) in zip((1, 2), self._axes(images.shape[1:3])):
            window, stride, rate = self.ksizes[axis], self.strides[axis], self.rates[axis]
            place = np.arange(count)[:, None] * stride + np.arange(window) * rate
            after = max(0, int(place.max(initial=0)) + 1 - before - images.shape[axis])
            margins = [(0, 0)] * 4
            margins[axis] = (before, after)
            padded = xp.pad(padded, margins)
            places.append(place)
        rows, columns = places
        found = padded[:, rows[:, None, :, None], columns[None, :, None, :], :]
        return found.reshape(*found.shape[:3], -1)

    def gradient(self, op: Any, grad: Any) -> Any:
        """The windows are a convolution with the identity: its gradient is that convolution's."""
        depth = op.inputs[0].shape.as_list()[3]
        rows, columns = self.ksizes[1], self.ksizes[2]
        ones = np.eye(rows * columns * depth, dtype=self.T.as_numpy_dtype)
        return raw.Conv2DBackpropInput(
            shape_of(op.inputs[0]),
            ones.reshape(rows, columns, depth, -1),
            grad,
            strides=list(self.strides),
            padding=self.attrs["padding"].decode(),
            dilations=list(self.rates),
        )


def extract_image_patches(
    images: Any,
    ksizes: Any = None,
    strides: Any = None,
    rates: Any = None,
    padding: str | None = None,
    name: str | None = None,
    sizes: Any = None,
) -> Tensor:
    """The windows of `images` [batch, rows, columns, depth], as [batch, out rows, out columns, window rows * window columns * depth]
    (tf.image.extract_image_patches).

    `ksizes` (or `sizes`), `strides` and `rates` are [1, rows, columns, 1]. Raises ValueError for other forms and ranks.
    """
    return raw.ExtractImagePatches(
        images,
        ksizes=sizes if ksizes is None else ksizes,
        strides=strides,
        rates=rates,
        padding=padding,
        name=name,
    )


def extract_patches(
    images: Any,
    sizes: Any,
    strides: Any,
    rates: Any,
    padding: str,
    name: str | None = None,
) -> Tensor:
    """`extract_image_patches` under its later name (tf.image.extract_patches)."""
    return raw.ExtractImagePatches(
        images, ksizes=sizes, strides=strides, rates=rates, padding=padding, name=name
    )
