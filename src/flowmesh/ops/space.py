"""SpaceToDepth, DepthToSpace, SpaceToBatch(ND), BatchToSpace(ND)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flowmesh.core.dtypes import int32
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph.constant_value import constant_value
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import INDEX, Dims, ints, invalid, shape_of, with_rank
from flowmesh.ops.constant import constant

_FORMATS = (b"NHWC", b"NCHW", b"NCHW_VECT_C")


def _divided(size: int | None, by: int) -> int | None:
    if size is None:
        return None
    if size % by:
        raise ValueError(f"Dimension size must be evenly divisible by {by} but is {size}")
    return size // by


def _times(size: int | None, by: int) -> int | None:
    return None if size is None else size * by


class _Blocks(OpDef, abstract=True):
    """Space and depth traded for each other."""

    def _check(self) -> bool:
        """Whether the format is NHWC."""
        layout = self.attrs["data_format"]
        if layout == b"NCHW_VECT_C":
            raise invalid("Only NHWC and NCHW data_format supported.")
        return bool(layout == b"NHWC")


class SpaceToDepth(_Blocks):
    """Blocks of height and width moved into depth."""

    input = Input("T")
    output = Output("T")
    T = type_attr()
    block_size = Attr("int", minimum=2)
    data_format = Attr("string", b"NHWC", allowed=_FORMATS)

    def infer(self, ctx: Any, input: TensorShape) -> TensorShape:
        block = self.attrs["block_size"]
        if self.attrs["data_format"] == b"NCHW_VECT_C":
            n, c, h, w, v = with_rank(input, 5).as_list()
            return shape_of([n, _times(c, block**2), _divided(h, block), _divided(w, block), v])
        dims = with_rank(input, 4).as_list()
        if self.attrs["data_format"] == b"NHWC":
            n, h, w, c = dims
            return shape_of([n, _divided(h, block), _divided(w, block), _times(c, block**2)])
        n, c, h, w = dims
        return shape_of([n, _times(c, block**2), _divided(h, block), _divided(w, block)])

    def compute(self, xp: Any, input: Any) -> Any:
        b = self.attrs["block_size"]
        if self._check():
            n, h, w, c = input.shape
            parts = xp.reshape(input, (n, h // b, b, w // b, b, c))
            return xp.reshape(
                xp.transpose(parts, (0, 1, 3, 2, 4, 5)), (n, h // b, w // b, b * b * c)
            )
        n, c, h, w = input.shape
        parts = xp.reshape(input, (n, c, h // b, b, w // b, b))
        return xp.reshape(xp.transpose(parts, (0, 3, 5, 1, 2, 4)), (n, b * b * c, h // b, w // b))

    def gradient(self, op: Any, grad: Any) -> Any:
        return raw.DepthToSpace(
            grad, block_size=op.get_attr("block_size"), data_format=op.get_attr("data_format")
        )


class DepthToSpace(_Blocks):
    """Depth moved into blocks of height and width."""

    input = Input("T")
    output = Output("T")
    T = type_attr()
    block_size = Attr("int", minimum=2)
    data_format = Attr("string", b"NHWC", allowed=_FORMATS)

    def infer(self, ctx: Any, input: TensorShape) -> TensorShape:
        block = self.attrs["block_size"]
        if self.attrs["data_format"] == b"NCHW_VECT_C":
            n, c, h, w, v = with_rank(input, 5).as_list()
            return shape_of([n, _divided(c, block**2), _times(h, block), _times(w, block), v])
        dims = with_rank(input, 4).as_list()
        if self.attrs["data_format"] == b"NHWC":
            n, h, w, c = dims
            return shape_of([n, _times(h, block), _times(w, block), _divided(c, block**2)])
        n, c, h, w = dims
        return shape_of([n, _divided(c, block**2), _times(h, block), _times(w, block)])

    def compute(self, xp: Any, input: Any) -> Any:
        b = self.attrs["block_size"]
        if self._check():
            n, h, w, c = input.shape
            d = c // (b * b)
            parts = xp.reshape(input, (n, h, w, b, b, d))
            return xp.reshape(xp.transpose(parts, (0, 1, 3, 2, 4, 5)), (n, h * b, w * b, d))
        n, c, h, w = input.shape
        d = c // (b * b)
        parts = xp.reshape(input, (n, b, b, d, h, w))
        return xp.reshape(xp.transpose(parts, (0, 3, 4, 1, 5, 2)), (n, d, h * b, w * b))

    def gradient(self, op: Any, grad: Any) -> Any:
        return raw.SpaceToDepth(
            grad, block_size=op.get_attr("block_size"), data_format=op.get_attr("data_format")
        )


# -- batches -----------------------------------------------------------------------------------------


def _rows(value: Any) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in np.asarray(value).reshape(-1, 2)]


def _to_batch(xp: Any, x: Any, block: list[int], pads: list[tuple[int, int]]) -> Any:
    count, rank = len(block), np.ndim(x)
    if rank < 1 + count:
        raise invalid(f"input rank should be >= {1 + count} instead of {rank}")
    x = xp.pad(x, [(0, 0), *pads, *[(0, 0)] * (rank - 1 - count)])
    split: list[int] = [x.shape[0]]
    for size, b in zip(x.shape[1:], block):
        if size % b:
            raise invalid(
                f"padded_shape[{len(split) // 2}]={size} is not divisible by block_shape={b}"
            )
        split += [size // b, b]
    rest = list(x.shape[1 + count :])
    parts = xp.reshape(x, split + rest)
    order = (
        [2 + 2 * i for i in range(count)]
        + [0]
        + [1 + 2 * i for i in range(count)]
        + [1 + 2 * count + i for i in range(len(rest))]
    )
    sizes = [x.shape[0] * math.prod(block), *split[1::2], *rest]
    return xp.reshape(xp.transpose(parts, order), sizes)


def _from_batch(xp: Any, x: Any, block: list[int], crops: list[tuple[int, int]]) -> Any:
    count, total = len(block), math.prod(block)
    if x.shape[0] % total:
        raise invalid(
            f"Input batch dimension ({x.shape[0]}) is not divisible by product of block sizes ({total})"
        )
    batch, rest = x.shape[0] // total, list(x.shape[1 + count :])
    space = list(x.shape[1 : 1 + count])
    parts = xp.reshape(x, [*block, batch, *space, *rest])
    order = [count]
    for i in range(count):
        order += [count + 1 + i, i]
    order += [2 * count + 1 + i for i in range(len(rest))]
    whole = xp.reshape(
        xp.transpose(parts, order), [batch, *[s * b for s, b in zip(space, block)], *rest]
    )
    index = [slice(None)]
    for (before, after), size in zip(crops, whole.shape[1:]):
        if before + after > size:
            raise invalid(f"cropped size {size} is smaller than the crops {before}, {after}")
        index.append(slice(before, size - after))
    return whole[tuple(index)]


def _batch_shape(
    input: TensorShape, block: Any, borders: Any, grow: bool, count: int | None
) -> TensorShape:
    """The shape after moving space into the batch (`grow`) or back."""
    if input.ndims is None or (block is None and count is None):
        return unknown_shape(rank=input.ndims)
    n = len(block) if block is not None else count
    assert n is not None
    if input.ndims < n + 1:
        raise ValueError(f"Shape must be at least rank {n + 1} but is rank {input.ndims}")
    dims = input.as_list()
    if block is None:
        return shape_of([None] * (n + 1) + dims[n + 1 :])
    sizes = ints(block)
    total = math.prod(sizes)
    out: Dims = [_times(dims[0], total) if grow else _divided(dims[0], total)]
    for i, b in enumerate(sizes):
        size = dims[1 + i]
        if borders is None or size is None:
            out.append(None)
            continue
        before, after = _rows(borders)[i]
        if before < 0 or after < 0:
            raise ValueError("paddings cannot be negative" if grow else "crops cannot be negative")
        out.append(_divided(size + before + after, b) if grow else size * b - before - after)
    return shape_of(out + dims[n + 1 :])


def _length(shape: TensorShape) -> int | None:
    return with_rank(shape, 1).as_list()[0] if shape.ndims is not None else None


class SpaceToBatchND(OpDef):
    """Blocks of the dimensions after the first moved into the batch, after zero padding."""

    input, block_shape, paddings = Input("T"), Input("Tblock_shape"), Input("Tpaddings")
    output = Output("T")
    T = type_attr()
    Tblock_shape = type_attr(INDEX, int32)
    Tpaddings = type_attr(INDEX, int32)
    static_inputs = ("block_shape", "paddings")

    def infer(
        self, ctx: Any, input: TensorShape, block_shape: TensorShape, paddings: TensorShape
    ) -> TensorShape:
        return _batch_shape(input, ctx.value(1), ctx.value(2), True, _length(block_shape))

    def compute(self, xp: Any, input: Any, block_shape: Any, paddings: Any) -> Any:
        return _to_batch(xp, input, ints(block_shape), _rows(paddings))

    def gradient(self, op: Any, grad: Any) -> Any:
        return raw.BatchToSpaceND(grad, op.inputs[1], op.inputs[2]), None, None


class BatchToSpaceND(OpDef):
    """The reverse of SpaceToBatchND, then cropped."""

    input, block_shape, crops = Input("T"), Input("Tblock_shape"), Input("Tcrops")
    output = Output("T")
    T = type_attr()
    Tblock_shape = type_attr(INDEX, int32)
    Tcrops = type_attr(INDEX, int32)
    static_inputs = ("block_shape", "crops")

    def infer(
        self, ctx: Any, input: TensorShape, block_shape: TensorShape, crops: TensorShape
    ) -> TensorShape:
        return _batch_shape(input, ctx.value(1), ctx.value(2), False, _length(block_shape))

    def compute(self, xp: Any, input: Any, block_shape: Any, crops: Any) -> Any:
        return _from_batch(xp, input, ints(block_shape), _rows(crops))

    def gradient(self, op: Any, grad: Any) -> Any:
        return raw.SpaceToBatchND(grad, op.inputs[1], op.inputs[2]), None, None


class SpaceToBatch(OpDef):
    """SpaceToBatchND for square blocks of height and width."""

    input, paddings = Input("T"), Input("Tpaddings")
    output = Output("T")
    T = type_attr()
    Tpaddings = type_attr(INDEX, int32)
    block_size = Attr("int", minimum=2)
    static_inputs = ("paddings",)

    def infer(self, ctx: Any, input: TensorShape, paddings: TensorShape) -> TensorShape:
        block = [self.attrs["block_size"]] * 2
        return _batch_shape(with_rank(input, 4), block, ctx.value(1), True, 2)

    def compute(self, xp: Any, input: Any, paddings: Any) -> Any:
        return _to_batch(xp, input, [self.attrs["block_size"]] * 2, _rows(paddings))

    def gradient(self, op: Any, grad: Any) -> Any:
        size = op.get_attr("block_size")
        return raw.BatchToSpace(grad, op.inputs[1], block_size=size), None


class BatchToSpace(OpDef):
    """BatchToSpaceND for square blocks of height and width."""

    input, crops = Input("T"), Input("Tidx")
    output = Output("T")
    T = type_attr()
    block_size = Attr("int", minimum=2)
    Tidx = type_attr(INDEX, int32)
    static_inputs = ("crops",)

    def infer(self, ctx: Any, input: TensorShape, crops: TensorShape) -> TensorShape:
        block = [self.attrs["block_size"]] * 2
        return _batch_shape(with_rank(input, 4), block, ctx.value(1), False, 2)

    def compute(self, xp: Any, input: Any, crops: Any) -> Any:
        return _from_batch(xp, input, [self.attrs["block_size"]] * 2, _rows(crops))

    def gradient(self, op: Any, grad: Any) -> Any:
        size = op.get_attr("block_size")
        return raw.SpaceToBatch(grad, op.inputs[1], block_size=size), None


def space_to_depth(
    input: Any, block_size: int, name: str | None = None, data_format: str = "NHWC"
) -> Tensor:
    """Blocks of height and width of a rank 4 tensor moved into depth (tf.space_to_depth)."""
    return raw.SpaceToDepth(input, block_size=block_size, data_format=data_format, name=name)


def depth_to_space(
    input: Any, block_size: int, name: str | None = None, data_format: str = "NHWC"
) -> Tensor:
    """The depth of a rank 4 tensor moved into blocks of height and width (tf.depth_to_space)."""
    return raw.DepthToSpace(input, block_size=block_size, data_format=data_format, name=name)


def space_to_batch_nd(
    input: Any, block_shape: Any, paddings: Any, name: str | None = None
) -> Tensor:
    """Blocks of the dimensions after the first, zero padded, moved into the batch (tf.space_to_batch_nd)."""
    return raw.SpaceToBatchND(input, block_shape, paddings, name=name)


def batch_to_space_nd(input: Any, block_shape: Any, crops: Any, name: str | None = None) -> Tensor:
    """The reverse of `space_to_batch_nd`, cropped (tf.batch_to_space_nd)."""
    return raw.BatchToSpaceND(input, block_shape, crops, name=name)


def _set_rank(result: Tensor, input: Tensor) -> Tensor:
    if input.shape.ndims is not None:
        result.set_shape(with_rank(result.shape, input.shape.ndims))
    return result


def space_to_batch(
    input: Any,
    paddings: Any,
    block_size: int | None = None,
    name: str | None = None,
    block_shape: Any = None,
) -> Tensor:
    """`space_to_batch_nd` with `block_size` for height and width (tf.space_to_batch)."""
    block = [block_size] * 2 if block_shape is None else block_shape
    result = space_to_batch_nd(input, _as_block(block), paddings, name)
    return _set_rank(result, result.op.inputs[0])


def batch_to_space(
    input: Any,
    crops: Any,
    block_size: int | None = None,
    name: str | None = None,
    block_shape: Any = None,
) -> Tensor:
    """`batch_to_space_nd` with `block_size` for height and width (tf.batch_to_space)."""
    block = [block_size] * 2 if block_shape is None else block_shape
    result = batch_to_space_nd(input, _as_block(block), crops, name)
    return _set_rank(result, result.op.inputs[0])


def _as_block(block: Any) -> Any:
    if isinstance(block, Tensor):
        return block
    return np.array(block, np.int32)


def required_space_to_batch_paddings(
    input_shape: Any, block_shape: Any, base_paddings: Any = None, name: str | None = None
) -> tuple[Any, Any]:
    """(paddings, crops), each int32 [n, 2], that make `input_shape` divisible by `block_shape`
    (tf.required_space_to_batch_paddings). Both shapes have to be known when building: ValueError otherwise.
    """
    known = [
        np.asarray(v) if not isinstance(v, Tensor) else constant_value(v)
        for v in (input_shape, block_shape)
    ]
    base = (
        np.zeros((len(known[1]), 2), np.int32)
        if base_paddings is None and known[1] is not None
        else (constant_value(base_paddings) if isinstance(base_paddings, Tensor) else base_paddings)
    )
    if known[0] is None or known[1] is None or base is None:
        raise ValueError("The shapes and base_paddings have to be constants.")
    base = np.asarray(base)
    start = base[:, 0]
    full = known[0] + start + base[:, 1]
    extra = (known[1] - full % known[1]) % known[1]
    end = base[:, 1] + extra
    del name
    paddings = np.stack([start, end], 1).astype(np.int32)
    crops = np.stack([np.zeros_like(extra), extra], 1).astype(np.int32)
    return constant(paddings, name="paddings"), constant(crops, name="crops")
