"""Elementwise string ops: joining, cutting, case, length."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core.dtypes import int32, string
from flowmesh.core.shapes import TensorShape, broadcast_shapes, unknown_shape
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import INDEX, dims_of, ints, invalid, merge_shapes, shape_of
from flowmesh.ops.constant import constant
from flowmesh.ops.naming import name_scope
from flowmesh.ops.shape_ops import rank as rank_tensor
from flowmesh.ops.string_support import as_bytes, decoded, encoded, map_strings, strings

_UNITS = (b"BYTE", b"UTF8_CHAR")
_SPACE = b" \t\n\v\f\r"


class _Strings(OpDef, abstract=True):
    """One string tensor in, one of the same shape out."""

    numpy_only = True

    def infer(self, ctx: Any, *shapes: TensorShape) -> TensorShape:
        return shapes[0]


class StringJoin(OpDef):
    """The strings at the same place of several tensors, joined."""

    inputs = Input(string, number="N")
    output = Output(string)
    N = Attr("int", minimum=1)
    separator = Attr("string", b"")
    numpy_only = True
    NotDifferentiable = True

    def infer(self, ctx: Any, inputs: Any) -> TensorShape:
        merged = TensorShape([])
        for shape in inputs:
            if shape.key is None:
                merged = unknown_shape()
                break
            if shape.ndims == 0:
                continue
            merged = shape if merged.ndims == 0 else merge_shapes(merged, shape)
        return merged

    def compute(self, xp: Any, inputs: Any) -> Any:
        full = [np.shape(v) for v in inputs if np.ndim(v)]
        if any(s != full[0] for s in full):
            raise invalid(
                f"Input shapes do not match at dimension 0, {list(full[0])} vs {list(full[-1])}"
            )
        shape = full[0] if full else ()
        parts = [np.broadcast_to(np.asarray(v, object), shape).reshape(-1) for v in inputs]
        separator = self.attrs["separator"]
        return strings([separator.join(map(as_bytes, row)) for row in zip(*parts)], shape)


class ReduceJoin(OpDef):
    """The strings along some dimensions, joined."""

    inputs = Input(string)
    reduction_indices = Input(int32)
    output = Output(string)
    keep_dims = Attr("bool", False)
    separator = Attr("string", b"")
    numpy_only = True
    NotDifferentiable = True

    def infer(self, ctx: Any, inputs: TensorShape, reduction_indices: TensorShape) -> TensorShape:
        axes, dims = ctx.value(1), dims_of(inputs)
        if axes is None or dims is None:
            return unknown_shape(rank=inputs.ndims if self.attrs["keep_dims"] else None)
        named = set()
        for d in ints(axes):
            if not -len(dims) <= d < len(dims):
                raise ValueError(
                    f"Invalid reduction dimension {d} for input with {len(dims)} dimensions."
                )
            named.add(d % len(dims))
        if self.attrs["keep_dims"]:
            return shape_of([1 if i in named else d for i, d in enumerate(dims)])
        return shape_of([d for i, d in enumerate(dims) if i not in named])

    def compute(self, xp: Any, inputs: Any, reduction_indices: Any) -> Any:
        array = np.asarray(inputs, object)
        rank = array.ndim
        axes = []
        for d in ints(reduction_indices):
            if not -rank <= d < rank:
                raise invalid(f"Invalid reduction dimension {d} for input with {rank} dimension(s)")
            if d % rank in axes:
                raise invalid(f"Duplicate reduction dimension {d % rank}")
            axes.append(d % rank)
        kept = [i for i in range(rank) if i not in axes]
        moved = np.transpose(array, kept + axes[::-1])
        outer = [array.shape[i] for i in kept]
        rows = moved.reshape(int(np.prod(outer, dtype=int)), -1)
        separator = self.attrs["separator"]
        joined = [separator.join(map(as_bytes, row)) for row in rows]
        if self.attrs["keep_dims"]:
            outer = [1 if i in axes else d for i, d in enumerate(array.shape)]
        return strings(joined, outer)


def _range_of(text: Any, pos: int, length: int, at: str) -> Any:
    """The part of a string (bytes or text) that Substr takes."""
    size = len(text)
    if pos > size or pos < -size:
        shown = text if isinstance(text, bytes) else encoded(text)
        raise invalid(f"pos {pos} out of range for string {shown!r} at index {at}")
    start = pos + size if pos < 0 else pos
    return text[start:] if length < 0 else text[start : start + length]


class Substr(OpDef):
    """`len` units of each string from `pos` on."""

    input = Input(string)
    pos, len = Input("T"), Input("T")
    output = Output(string)
    T = type_attr(INDEX)
    unit = Attr("string", b"BYTE", allowed=_UNITS)
    numpy_only = True

    def infer(self, ctx: Any, input: TensorShape, pos: TensorShape, len: TensorShape) -> Any:
        merge_shapes(pos, len)
        return broadcast_shapes(input, pos)

    def compute(self, xp: Any, input: Any, pos: Any, len: Any) -> Any:
        texts, starts, counts = np.broadcast_arrays(np.asarray(input, object), pos, len)
        unit = self.attrs["unit"]
        out = []
        for i, (text, start, count) in enumerate(zip(texts.flat, starts.flat, counts.flat)):
            raw_text = as_bytes(text)
            if unit == b"BYTE":
                out.append(_range_of(raw_text, int(start), int(count), str(i)))
            else:
                part = _range_of(decoded(raw_text), int(start), int(count), str(i))
                out.append(encoded(part))
        return strings(out, texts.shape)


class StringStrip(_Strings):
    """Each string without white space at its ends."""

    input = Input(string)
    output = Output(string)

    def compute(self, xp: Any, input: Any) -> Any:
        return map_strings(lambda v: v.strip(_SPACE), input)


class StringLower(_Strings):
    """Each string in lower case (ASCII, or all of Unicode for utf-8)."""

    input = Input(string)
    output = Output(string)
    encoding = Attr("string", b"")

    def compute(self, xp: Any, input: Any) -> Any:
        if self.attrs["encoding"] == b"utf-8":
            return map_strings(lambda v: encoded(decoded(v).lower()), input)
        return map_strings(bytes.lower, input)


class StringUpper(_Strings):
    """Each string in upper case (ASCII, or all of Unicode for utf-8)."""

    input = Input(string)
    output = Output(string)
    encoding = Attr("string", b"")

    def compute(self, xp: Any, input: Any) -> Any:
        if self.attrs["encoding"] == b"utf-8":
            return map_strings(lambda v: encoded(decoded(v).upper()), input)
        return map_strings(bytes.upper, input)


class StringLength(OpDef):
    """The number of bytes or characters of each string."""

    input = Input(string)
    output = Output(int32)
    unit = Attr("string", b"BYTE", allowed=_UNITS)
    numpy_only = True

    def infer(self, ctx: Any, input: TensorShape) -> TensorShape:
        return input

    def compute(self, xp: Any, input: Any) -> Any:
        array = np.asarray(input, object)
        if self.attrs["unit"] == b"BYTE":
            sizes = [len(as_bytes(v)) for v in array.flat]
        else:
            sizes = [sum((b & 0xC0) != 0x80 for b in as_bytes(v)) for v in array.flat]
        return np.array(sizes, np.int32).reshape(array.shape)


def string_join(inputs: Any, separator: str = "", name: str | None = None) -> Tensor:
    """The strings at the same place of the tensors `inputs` (one shape, or scalars) joined by `separator`
    (tf.string_join, tf.strings.join)."""
    return raw.StringJoin(inputs, separator=separator, name=name)


def reduce_join(
    inputs: Any,
    axis: Any = None,
    keep_dims: bool | None = None,
    separator: str = "",
    name: str | None = None,
    reduction_indices: Any = None,
    keepdims: bool | None = None,
) -> Tensor:
    """The strings along `axis` (an int or ints in order; default: all) joined by `separator` (tf.reduce_join).

    Raises ValueError when both names of an argument are given.
    """
    if axis is not None and reduction_indices is not None:
        raise ValueError("Cannot specify both 'axis' and 'reduction_indices'")
    axis = reduction_indices if axis is None else axis
    keep = bool(keep_dims or keepdims)
    with name_scope(name, "ReduceJoin", [inputs]):
        tensor = convert_to_tensor(inputs)
        if axis is None:
            rank = tensor.shape.ndims
            if rank is not None:
                axis = constant(np.arange(rank - 1, -1, -1, dtype=np.int32))
            else:
                count: Any = rank_tensor(tensor)
                axis = raw.Range(count - 1, -1, -1)
        return raw.ReduceJoin(tensor, axis, keep_dims=keep, separator=separator)


def substr(input: Any, pos: Any, len: Any, name: str | None = None, unit: str = "BYTE") -> Tensor:
    """`len` units (BYTE or UTF8_CHAR) of each string from `pos` on (negative: from the end) (tf.substr, tf.strings.substr).

    A position outside the string raises InvalidArgumentError when run.
    """
    return raw.Substr(input, pos, len, unit=unit, name=name)


def string_strip(input: Any, name: str | None = None) -> Tensor:
    """Each string without white space at its ends (tf.strings.strip)."""
    return raw.StringStrip(input, name=name)


def string_lower(input: Any, encoding: str = "", name: str | None = None) -> Tensor:
    """Each string in lower case; `encoding` "" (ASCII) or "utf-8" (tf.strings.lower)."""
    return raw.StringLower(input, encoding=encoding, name=name)


def string_upper(input: Any, encoding: str = "", name: str | None = None) -> Tensor:
    """Each string in upper case; `encoding` "" (ASCII) or "utf-8" (tf.strings.upper)."""
    return raw.StringUpper(input, encoding=encoding, name=name)


def string_length(input: Any, name: str | None = None, unit: str = "BYTE") -> Tensor:
    """The number of units (BYTE or UTF8_CHAR) of each string, int32 (tf.strings.length)."""
    return raw.StringLength(input, unit=unit, name=name)
