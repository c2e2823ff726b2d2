"""Slice and StridedSlice with its gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import (
    INDEX,
    Dims,
    dims_of,
    ints,
    invalid,
    scatter_set,
    shape_of,
    with_rank,
    zeros_of,
)
from flowmesh.ops.fill import ones_like
from flowmesh.ops.shape_ops import rank as rank_tensor, shape as shape_tensor
from flowmesh.ops.stack import stack


class Slice(OpDef):
    """`size` elements from `begin` on along each dimension."""

    input = Input("T")
    begin, size = Input("Index"), Input("Index")
    output = Output("T")
    T = type_attr()
    Index = type_attr(INDEX)
    static_inputs = ("begin", "size")

    def infer(
        self, ctx: Any, input: TensorShape, begin: TensorShape, size: TensorShape
    ) -> TensorShape:
        with_rank(begin, 1)
        with_rank(size, 1)
        lengths = [s.as_list()[0] for s in (begin, size) if s.ndims == 1]
        known = [n for n in lengths if n is not None]
        if len(known) == 2 and known[0] != known[1]:
            raise ValueError(f"Dimensions must be equal, but are {known[0]} and {known[1]}")
        rank = known[0] if known else input.ndims
        if rank is None:
            return unknown_shape()
        dims = dims_of(with_rank(input, rank))
        assert dims is not None
        starts, sizes = ctx.value(1), ctx.value(2)
        if sizes is None:
            partial = ctx.value_as_shape(2)
            if partial.ndims == rank:
                return partial
            return unknown_shape(rank=rank)
        out: Dims = []
        for i, count in enumerate(ints(sizes)):
            start = None if starts is None else ints(starts)[i]
            out.append(_slice_size(dims[i], start, count))
        return shape_of(out)

    def compute(self, xp: Any, input: Any, begin: Any, size: Any) -> Any:
        starts, sizes, rank = ints(begin), ints(size), np.ndim(input)
        if len(starts) != rank or len(sizes) != rank:
            raise invalid(
                f"Expected begin and size arguments to be 1-D tensors of size {rank}, but got shapes "
                f"[{len(starts)}] and [{len(sizes)}] instead."
            )
        index = []
        for i, (start, count, whole) in enumerate(zip(starts, sizes, input.shape)):
            if not 0 <= start <= whole:
                raise invalid(f"Expected begin[{i}] in [0, {whole}], but got {start}")
            count = whole - start if count == -1 else count
            if not 0 <= count <= whole - start:
                raise invalid(f"Expected size[{i}] in [0, {whole - start}], but got {count}")
            index.append(slice(start, start + count))
        return input[tuple(index)]

    def gradient(self, op: Any, grad: Any) -> Any:
        source, begin = op.inputs[0], op.inputs[1]
        rank = rank_tensor(source)
        taken = shape_tensor(op.outputs[0])
        column = stack([rank, 1])
        before = raw.Reshape(begin, column)
        whole: Any = shape_tensor(source)
        after = raw.Reshape(whole - taken - begin, column)
        paddings = raw.ConcatV2([before, after], 1, name="concat")
        return raw.Pad(grad, paddings), None, None


def _slice_size(whole: int | None, start: int | None, count: int) -> int | None:
    if count == -1:
        if whole is None or start is None:
            return None
        if start > whole:
            raise ValueError(f"Negative dimension size caused by subtracting {start} from {whole}")
        return whole - start
    if count < -1:
        raise ValueError(f"Dimension size must be non-negative, but is {count}")
    return count


@dataclass(frozen=True)
class Masks:
    """The five bit masks of a strided slice."""

    begin: int
    end: int
    ellipsis: int
    new_axis: int
    shrink_axis: int

    @classmethod
    def of(cls, definition: OpDef) -> Masks:
        """The masks of a StridedSlice node."""
        a = definition.attrs
        return cls(
            a["begin_mask"],
            a["end_mask"],
            a["ellipsis_mask"],
            a["new_axis_mask"],
            a["shrink_axis_mask"],
        )


@dataclass
class _Axis:
    """What a strided slice does with one dimension of its input; None: value not known."""

    begin: int | None = 0
    end: int | None = 0
    stride: int = 1
    open_begin: bool = True
    open_end: bool = True
    shrink: bool = False


_NEW, _SHRUNK = "new", "shrunk"


def _expand(
    begin: list[int] | None, end: list[int] | None, strides: list[int], masks: Masks, rank: int
) -> tuple[list[_Axis], list[Any]]:
    """(what happens to each input dimension, the output's dimensions: `_NEW` or the input's index)."""
    axes: list[_Axis] = []
    layout: list[Any] = []
    if masks.ellipsis & (masks.ellipsis - 1):
        raise ValueError("Multiple ellipses in slice spec not allowed")
    count = len(strides)
    if not masks.ellipsis:
        masks = Masks(masks.begin, masks.end, 1 << count, masks.new_axis, masks.shrink_axis)
        count += 1
    after_ellipsis_new = sum(
        1 for i in range(count) if (1 << i) > masks.ellipsis and masks.new_axis & (1 << i)
    )
    for i in range(count):
        bit = 1 << i
        if bit & masks.ellipsis:
            stop = min(rank - (count - i) + 1 + after_ellipsis_new, rank)
            while len(axes) < stop:
                layout.append(len(axes))
                axes.append(_Axis())
        elif bit & masks.new_axis:
            layout.append(_NEW)
        else:
            if len(axes) == rank:
                raise ValueError(
                    f"Index out of range using input dim {len(axes)}; input has only {rank} dims"
                )
            shrink = bool(bit & masks.shrink_axis)
            layout.append(_SHRUNK if shrink else len(axes))
            axes.append(
                _Axis(
                    None if begin is None else begin[i],
                    None if end is None else end[i],
                    strides[i],
                    bool(bit & masks.begin) and not shrink,
                    bool(bit & masks.end) and not shrink,
                    shrink,
                )
            )
    return axes, layout


def _resolve(axis: _Axis, at: int, size: int | None) -> tuple[slice | None, int | None]:
    """(the slice of one dimension in canonical bounds, its length); None where not known."""
    stride = axis.stride
    if stride == 0:
        raise ValueError(f"strides[{at}] must be non-zero")
    if axis.shrink and stride <= 0:
        raise ValueError("only stride 1 allowed on non-range indexing.")
    if size is None:
        return None, 1 if axis.shrink else None
    if axis.shrink:
        if axis.begin is None:
            return None, 1
        start = axis.begin + size if axis.begin < 0 else axis.begin
        if not 0 <= start < size:
            raise ValueError(f"slice index {axis.begin} of dimension {at} out of bounds.")
        return slice(start, start + 1, 1), 1
    low, high = (0, size) if stride > 0 else (-1, size - 1)
    if (axis.begin is None and not axis.open_begin) or (axis.end is None and not axis.open_end):
        return None, None
    start = _bound(axis.begin, axis.open_begin, size, low, high, low if stride > 0 else high)
    stop = _bound(axis.end, axis.open_end, size, low, high, high if stride > 0 else low)
    length = max(0, -(-(stop - start) // stride) if stride > 0 else -(-(start - stop) // -stride))
    if length == 0:
        return slice(0, 0, 1), 0
    return slice(start, None if stop < 0 else stop, stride), length


def _bound(value: int | None, is_open: bool, size: int, low: int, high: int, default: int) -> int:
    if is_open or value is None:
        return default
    value = value + size if value < 0 else value
    return min(max(value, low), high)


def _output_dims(layout: list[Any], lengths: list[int | None]) -> Dims:
    out: Dims = []
    for item in layout:
        if item is _NEW:
            out.append(1)
        elif item is not _SHRUNK:
            out.append(lengths[item])
    return out


def _plan(
    definition: OpDef, begin: Any, end: Any, strides: Any, dims: Dims
) -> tuple[list[slice | None], list[int | None], list[Any]]:
    """(slice of each input dimension, lengths, layout) of a strided slice of a tensor of known rank."""
    axes, layout = _expand(
        None if begin is None else ints(begin),
        None if end is None else ints(end),
        ints(strides),
        Masks.of(definition),
        len(dims),
    )
    resolved = [_resolve(axis, i, size) for i, (axis, size) in enumerate(zip(axes, dims))]
    return [s for s, _ in resolved], [n for _, n in resolved], layout


def strided_plan(
    definition: OpDef, begin: Any, end: Any, strides: Any, dims: Any
) -> tuple[tuple[slice, ...], list[int], list[int]]:
    """(slices, the shape they cut out, the shape of the result) for known values; used by the assigning ops too.

    Raises InvalidArgumentError in TensorFlow's words.
    """
    try:
        slices, lengths, layout = _plan(definition, begin, end, strides, list(dims))
    except ValueError as error:
        raise invalid(str(error)) from None
    cut = [n for n in lengths if n is not None]
    return (
        tuple(s for s in slices if s is not None),
        cut,
        [n for n in _output_dims(layout, lengths) if n is not None],
    )


_MASKS = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")


def _mask_attrs(op: Any) -> dict[str, int]:
    return {name: op.get_attr(name) for name in _MASKS}


class StridedSlice(OpDef):
    """begin:end:stride along each dimension, with masks for open ends, `...`, new and dropped dimensions."""

    input = Input("T")
    begin, end, strides = Input("Index"), Input("Index"), Input("Index")
    output = Output("T")
    T = type_attr()
    Index = type_attr(INDEX)
    begin_mask = Attr("int", 0)
    end_mask = Attr("int", 0)
    ellipsis_mask = Attr("int", 0)
    new_axis_mask = Attr("int", 0)
    shrink_axis_mask = Attr("int", 0)
    static_inputs = ("begin", "end", "strides")

    def infer(
        self,
        ctx: Any,
        input: TensorShape,
        begin: TensorShape,
        end: TensorShape,
        strides: TensorShape,
    ) -> TensorShape:
        for shape in (begin, end, strides):
            with_rank(shape, 1)
        steps, dims = ctx.value(3), dims_of(input)
        if steps is None or dims is None:
            return unknown_shape()
        _, lengths, layout = _plan(self, ctx.value(1), ctx.value(2), steps, dims)
        return shape_of(_output_dims(layout, lengths))

    def compute(self, xp: Any, input: Any, begin: Any, end: Any, strides: Any) -> Any:
        index, _, shape = strided_plan(self, begin, end, strides, input.shape)
        cut = input[index] if index else input
        return xp.reshape(cut, shape)

    def gradient(self, op: Any, grad: Any) -> Any:
        source, begin, end, strides = op.inputs
        size = shape_tensor(source, out_type=begin.dtype)
        return (
            raw.StridedSliceGrad(size, begin, end, strides, grad, **_mask_attrs(op)),
            None,
            None,
            None,
        )


class StridedSliceGrad(OpDef):
    """`dy` put back where StridedSlice took it from, zeros elsewhere."""

    shape = Input("Index")
    begin, end, strides = Input("Index"), Input("Index"), Input("Index")
    dy = Input("T")
    output = Output("T")
    T = type_attr()
    Index = type_attr(INDEX)
    begin_mask = Attr("int", 0)
    end_mask = Attr("int", 0)
    ellipsis_mask = Attr("int", 0)
    new_axis_mask = Attr("int", 0)
    shrink_axis_mask = Attr("int", 0)
    static_inputs = ("shape", "begin", "end", "strides")

    def infer(self, ctx: Any, *shapes: TensorShape) -> TensorShape:
        return ctx.value_as_shape(0)

    def compute(self, xp: Any, shape: Any, begin: Any, end: Any, strides: Any, dy: Any) -> Any:
        dims = ints(shape)
        index, cut, _ = strided_plan(self, begin, end, strides, dims)
        piece = xp.reshape(dy, cut)
        if not index:
            return piece
        if all(s.step == 1 for s in index):
            pads = [(s.start, d - s.start - n) for s, d, n in zip(index, dims, cut)]
            if all(n for n in cut):
                return xp.pad(piece, pads)
        empty = zeros_of(xp, dims, self.attrs["T"].as_numpy_dtype)
        return scatter_set(xp, empty, index, piece)

    def gradient(self, op: Any, grad: Any) -> Any:
        _, begin, end, strides = op.inputs[:4]
        cut = raw.StridedSlice(
            grad,
            begin,
            end,
            strides,
            **_mask_attrs(op),
        )
        return None, None, None, None, cut


def slice_(input_: Any, begin: Any, size: Any, name: str | None = None) -> Tensor:
    """`size[i]` elements (-1: all that are left) from `begin[i]` on along each dimension (tf.slice)."""
    return raw.Slice(input_, begin, size, name=name)


def strided_slice(
    input_: Any,
    begin: Any,
    end: Any,
    strides: Any = None,
    begin_mask: int = 0,
    end_mask: int = 0,
    ellipsis_mask: int = 0,
    new_axis_mask: int = 0,
    shrink_axis_mask: int = 0,
    var: Any = None,
    name: str | None = None,
) -> Tensor:
    """begin:end:strides of `input_`, with TensorFlow's bit masks (tf.strided_slice).

    With `var`, a variable, the result gets a method `assign(value, name=None)` that writes the slice.
    """
    if strides is None:
        strides = ones_like(begin)
    masks = {
        "begin_mask": begin_mask,
        "end_mask": end_mask,
        "ellipsis_mask": ellipsis_mask,
        "new_axis_mask": new_axis_mask,
        "shrink_axis_mask": shrink_axis_mask,
    }
    result = raw.StridedSlice(input_, begin, end, strides, name=name, **masks)

    scope = name

    def assign(value: Any, name: str | None = None) -> Any:
        if var is None:
            raise ValueError("Sliced assignment is only supported for variables")
        if name is None:
            name = f"{scope}_assign" if scope else "StridedSliceAssign"
        return var._strided_slice_assign(
            begin=begin, end=end, strides=strides, value=value, name=name, **masks
        )

    result.assign = assign
    return result
