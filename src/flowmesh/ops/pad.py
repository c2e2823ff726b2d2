"""Tile, Pad, PadV2, MirrorPad."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core.dtypes import int32
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph.composite import IndexedSlices
from flowmesh.graph.constant_value import constant_value
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import INDEX, dims_of, ints, invalid, shape_of, with_rank
from flowmesh.ops.sequence import range as range_tensor
from flowmesh.ops.shape_ops import rank as rank_tensor, shape as shape_tensor, size as size_tensor
from flowmesh.ops.stack import stack
from flowmesh.ops.transpose import transpose


class Tile(OpDef):
    """`input` repeated `multiples` times along each dimension."""

    input, multiples = Input("T"), Input("Tmultiples")
    output = Output("T")
    T = type_attr()
    Tmultiples = type_attr(INDEX, int32)
    static_inputs = ("multiples",)

    def infer(self, ctx: Any, input: TensorShape, multiples: TensorShape) -> TensorShape:
        with_rank(multiples, 1)
        times = ctx.value_as_shape(1)
        rank = input.ndims if input.ndims is not None else times.ndims
        if rank is None:
            return unknown_shape()
        length = dims_of(multiples)
        if length is not None and length[0] not in (None, rank):
            raise ValueError(f"Shape must be rank {rank} but is rank {length[0]}")
        dims, counts = dims_of(input), dims_of(times)
        if dims is None or counts is None:
            return unknown_shape(rank=rank)
        return shape_of([_times(d, m) for d, m in zip(dims, counts)])

    def compute(self, xp: Any, input: Any, multiples: Any) -> Any:
        times = ints(multiples)
        if len(times) != np.ndim(input):
            raise invalid(
                f"Expected multiples argument to be a vector of length {np.ndim(input)} but got length "
                f"{len(times)}"
            )
        for i, m in enumerate(times):
            if m < 0:
                raise invalid(f"Expected multiples[{i}] >= 0, but got {m}")
        return xp.tile(input, times)

    def gradient(self, op: Any, grad: Any) -> Any:
        size = shape_tensor(op.inputs[0])
        split = raw.Reshape(transpose(stack([op.inputs[1], size])), [-1])
        axes = range_tensor(0, size_tensor(split), 2)
        if isinstance(grad, IndexedSlices):
            rows = raw.Cast(size[0], DstT=grad.indices.dtype)
            grad = raw.UnsortedSegmentSum(grad.values, raw.FloorMod(grad.indices, rows), rows)
            split = raw.ConcatV2([[1], split[1:]], 0)
        total = raw.Sum(raw.Reshape(grad, split), axes)
        total.set_shape(op.inputs[0].shape)
        return total, None


def _times(a: int | None, b: int | None) -> int | None:
    if a == 0 or b == 0:
        return 0
    return None if a is None or b is None else a * b


def _pad_shape(ctx: Any, input: TensorShape, paddings: TensorShape) -> TensorShape:
    with_rank(paddings, 2)
    if paddings.ndims == 2 and paddings.as_list()[1] not in (None, 2):
        raise ValueError(f"Dimension must be 2 but is {paddings.as_list()[1]}")
    rows = paddings.as_list()[0] if paddings.ndims == 2 else None
    value = ctx.value(1)
    if value is None:
        if rows is not None:
            with_rank(input, rows)
            return unknown_shape(rank=rows)
        return unknown_shape(rank=input.ndims)
    rank = len(value)
    dims = dims_of(with_rank(input, rank))
    assert dims is not None
    out: list[int | None] = []
    for d, (before, after) in zip(dims, value):
        if before < 0 or after < 0:
            raise ValueError(f"Paddings must be non-negative, but are {int(before)}, {int(after)}")
        out.append(None if d is None else d + int(before) + int(after))
    return shape_of(out)


def _pairs(paddings: Any, rank: int) -> list[tuple[int, int]]:
    if np.ndim(paddings) != 2 or np.shape(paddings)[1] != 2:
        raise invalid(f"paddings must be a matrix with 2 columns: {list(np.shape(paddings))}")
    if len(paddings) != rank:
        raise invalid(
            f"The first dimension of paddings must be the rank of inputs{list(np.shape(paddings))} "
            f"input of rank {rank}"
        )
    pairs = [(int(a), int(b)) for a, b in paddings]
    for pair in pairs:
        if min(pair) < 0:
            raise invalid(f"Paddings must be non-negative: {pair[0]} {pair[1]}")
    return pairs


def _pad_gradient(op: Any, grad: Any) -> Any:
    x, paddings = op.inputs[0], op.inputs[1]
    before = raw.Slice(paddings, [0, 0], stack([rank_tensor(x), 1]))
    begin = raw.Reshape(before, [-1])
    return raw.Slice(grad, begin, shape_tensor(x)), None


class Pad(OpDef):
    """`input` with zeros around it."""

    input, paddings = Input("T"), Input("Tpaddings")
    output = Output("T")
    T = type_attr()
    Tpaddings = type_attr(INDEX, int32)
    static_inputs = ("paddings",)

    def infer(self, ctx: Any, input: TensorShape, paddings: TensorShape) -> TensorShape:
        return _pad_shape(ctx, input, paddings)

    def compute(self, xp: Any, input: Any, paddings: Any) -> Any:
        pairs = _pairs(paddings, np.ndim(input))
        if input.dtype == object:
            return np.pad(input, pairs, constant_values=b"")  # type: ignore[call-overload]
        return xp.pad(input, pairs) if pairs else input

    def gradient(self, op: Any, grad: Any) -> Any:
        return _pad_gradient(op, grad)


class PadV2(OpDef):
    """`input` with `constant_values` around it."""

    input, paddings, constant_values = Input("T"), Input("Tpaddings"), Input("T")
    output = Output("T")
    T = type_attr()
    Tpaddings = type_attr(INDEX, int32)
    static_inputs = ("paddings",)

    def infer(
        self, ctx: Any, input: TensorShape, paddings: TensorShape, constant_values: TensorShape
    ) -> TensorShape:
        return _pad_shape(ctx, input, paddings)

    def compute(self, xp: Any, input: Any, paddings: Any, constant_values: Any) -> Any:
        pairs = _pairs(paddings, np.ndim(input))
        if not pairs:
            return input
        if input.dtype == object:
            constant_values = np.asarray(constant_values).item()
        return xp.pad(input, pairs, constant_values=constant_values)

    def gradient(self, op: Any, grad: Any) -> Any:
        return (*_pad_gradient(op, grad), None)


_NUMPY_MODE = {b"REFLECT": "reflect", b"SYMMETRIC": "symmetric"}


def _mirror_pairs(paddings: Any, dims: Any, mode: bytes) -> list[tuple[int, int]]:
    pairs = _pairs(paddings, len(dims))
    for i, ((before, after), size) in enumerate(zip(pairs, dims)):
        limit = size if mode == b"SYMMETRIC" else size - 1
        if max(before, after) > max(limit, 0):
            word = "no greater" if mode == b"SYMMETRIC" else "less"
            raise invalid(
                f"paddings must be {word} than the dimension size: {before}, {after} {word} than {size}"
            )
        del i
    return pairs


class MirrorPad(OpDef):
    """`input` with its own mirror image around it."""

    input, paddings = Input("T"), Input("Tpaddings")
    output = Output("T")
    T = type_attr()
    Tpaddings = type_attr(INDEX, int32)
    mode = Attr("string", allowed=(b"REFLECT", b"SYMMETRIC"))
    static_inputs = ("paddings",)

    def infer(self, ctx: Any, input: TensorShape, paddings: TensorShape) -> TensorShape:
        return _pad_shape(ctx, input, paddings)

    def compute(self, xp: Any, input: Any, paddings: Any) -> Any:
        mode = self.attrs["mode"]
        pairs = _mirror_pairs(paddings, input.shape, mode)
        return xp.pad(input, pairs, mode=_NUMPY_MODE[mode])

    def gradient(self, op: Any, grad: Any) -> Any:
        return raw.MirrorPadGrad(grad, op.inputs[1], mode=op.get_attr("mode")), None


def _fold(xp: Any, grad: Any, axis: int, before: int, after: int, mode: bytes) -> Any:
    """Adds the mirrored borders of one dimension back onto the middle."""
    size = grad.shape[axis] - before - after
    skip = 1 if mode == b"REFLECT" else 0

    def part(start: int, stop: int, flip: bool = False) -> Any:
        index = [slice(None)] * grad.ndim
        index[axis] = slice(start, stop)
        piece = grad[tuple(index)]
        return xp.flip(piece, axis) if flip else piece

    def widened(piece: Any, left: int, right: int) -> Any:
        pads = [(0, 0)] * grad.ndim
        pads[axis] = (left, right)
        return xp.pad(piece, pads)

    middle = part(before, before + size)
    if before:
        head = part(0, before, flip=True)
        middle = middle + widened(head, skip, size - skip - before)
    if after:
        tail = part(before + size, before + size + after, flip=True)
        middle = middle + widened(tail, size - skip - after, skip)
    return middle


class MirrorPadGrad(OpDef):
    """The gradient of MirrorPad: borders folded back onto what they mirror."""

    input, paddings = Input("T"), Input("Tpaddings")
    output = Output("T")
    T = type_attr()
    Tpaddings = type_attr(INDEX, int32)
    mode = Attr("string", allowed=(b"REFLECT", b"SYMMETRIC"))
    static_inputs = ("paddings",)

    def infer(self, ctx: Any, input: TensorShape, paddings: TensorShape) -> TensorShape:
        with_rank(paddings, 2)
        value = ctx.value(1)
        dims = dims_of(input)
        if value is None or dims is None:
            return unknown_shape(rank=input.ndims)
        return shape_of(
            [None if d is None else d - int(a) - int(b) for d, (a, b) in zip(dims, value)]
        )

    def compute(self, xp: Any, input: Any, paddings: Any) -> Any:
        mode = self.attrs["mode"]
        pairs = _pairs(paddings, np.ndim(input))
        inner = [d - a - b for d, (a, b) in zip(input.shape, pairs)]
        _mirror_pairs(paddings, inner, mode)
        for axis, (before, after) in enumerate(pairs):
            input = _fold(xp, input, axis, before, after, mode)
        return input.astype(self.attrs["T"].as_numpy_dtype)

    def gradient(self, op: Any, grad: Any) -> Any:
        return raw.MirrorPad(grad, op.inputs[1], mode=op.get_attr("mode")), None


def tile(input: Any, multiples: Any, name: str | None = None) -> Tensor:
    """`input` repeated `multiples[i]` times along dimension i (tf.tile)."""
    return raw.Tile(input, multiples, name=name)


def pad(
    tensor: Any,
    paddings: Any,
    mode: str = "CONSTANT",
    name: str | None = None,
    constant_values: Any = 0,
) -> Tensor:
    """`tensor` with `paddings[i] = [before, after]` elements around dimension i (tf.pad).

    `mode` is CONSTANT (`constant_values`), REFLECT or SYMMETRIC; ValueError for another.
    """
    mode = mode.upper()
    if mode == "CONSTANT":
        if isinstance(constant_values, Tensor) or constant_values != 0:
            result = raw.PadV2(tensor, paddings, constant_values, name=name)
        else:
            result = raw.Pad(tensor, paddings, name=name)
    elif mode in ("REFLECT", "SYMMETRIC"):
        result = raw.MirrorPad(tensor, paddings, mode=mode, name=name)
    else:
        raise ValueError(f"Unknown padding mode: {mode}")
    _refine_pad_shape(result)
    return result


def _refine_pad_shape(result: Tensor) -> None:
    """What the paddings tell of the shape when some of them are known."""
    op = result.op
    dims, value = dims_of(op.inputs[0].shape), constant_value(op.inputs[1])
    if dims is None or value is None:
        return
    result.set_shape([None if d is None else d + int(a) + int(b) for d, (a, b) in zip(dims, value)])
