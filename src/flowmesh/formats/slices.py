"""Slices of tensors, by which partitioned variables are saved and restored.

A slice is one (start, length) pair per dimension; the length FULL takes the whole dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowmesh.core.errors import InvalidArgumentError
from flowmesh.formats import ordered_code
from flowmesh.proto.tensor_slice_pb2 import TensorSliceProto

FULL = -1

TensorSlice = tuple[tuple[int, int], ...]
Box = tuple[tuple[int, int], ...]  # (start, stop) per dimension


def whole(rank: int) -> TensorSlice:
    """The slice that takes everything."""
    return ((0, FULL),) * rank


def is_whole(part: TensorSlice) -> bool:
    return all(length == FULL for _, length in part)


def parse_shape_and_slice(text: str) -> tuple[tuple[int, ...], TensorSlice]:
    """Reads "4 10 0,2:-": rows 0 and 1 of a tensor of shape (4, 10)."""
    *sizes, extents = text.strip(" ").split(" ")
    try:
        shape = tuple(int(size) for size in sizes)
    except ValueError as error:
        raise _invalid(f"Non numerical dimension in shape_and_slice: {text}") from error
    if any(size < 0 for size in shape) or not shape:
        raise _invalid(f"Need at least one dimension, and none negative, in: {text}")
    part = parse_slice(extents)
    if len(part) != len(shape):
        raise _invalid(f"Slice and shape have different ranks in shape_and_slice: {text}")
    box(part, shape)
    return shape, part


def parse_slice(text: str) -> TensorSlice:
    """Reads "0,2:-", the part of `parse_shape_and_slice` behind the shape."""
    part = []
    for extent in text.split(":"):
        if extent == "-":
            part.append((0, FULL))
            continue
        try:
            start, length = map(int, extent.split(","))
        except ValueError as error:
            raise _invalid(
                f"Expected a pair of numbers or '-' but got '{extent}': string = {text}"
            ) from error
        if start < 0 or length <= 0:
            raise _invalid(f"Expected non-negative start and positive length but got '{extent}'")
        part.append((start, length))
    return tuple(part)


def to_text(part: TensorSlice) -> str:
    """The slice as `parse_slice` reads it."""
    return ":".join("-" if length == FULL else f"{start},{length}" for start, length in part)


def box(part: TensorSlice, shape: Sequence[int]) -> Box:
    """Where the slice lies in a tensor of that shape; InvalidArgumentError if it lies outside."""
    if len(part) != len(shape):
        raise _invalid(f"Slice {to_text(part)} does not fit shape {list(shape)}: ranks differ")
    bounds = []
    for (start, length), size in zip(part, shape):
        stop = size if length == FULL else start + length
        if not 0 <= start <= stop <= size:
            raise _invalid(f"Slice {to_text(part)} extends out of shape {list(shape)}")
        bounds.append((start, stop))
    return tuple(bounds)


def intersect(a: Box, b: Box) -> Box | None:
    """What two boxes share, or None; a box without elements shares nothing."""
    shared = tuple((max(p[0], q[0]), min(p[1], q[1])) for p, q in zip(a, b))
    return shared if all(start < stop for start, stop in shared) else None


def index_in(inner: Box, outer: Box) -> tuple[slice, ...]:
    """Selects `inner` from an array that holds `outer`."""
    return tuple(slice(i[0] - o[0], i[1] - o[0]) for i, o in zip(inner, outer))


def to_proto(part: TensorSlice) -> TensorSliceProto:
    proto = TensorSliceProto()
    for start, length in part:
        extent = proto.extent.add()
        if length != FULL:
            extent.start = start
            extent.length = length
    return proto


def from_proto(proto: TensorSliceProto) -> TensorSlice:
    return tuple(
        (int(extent.start), int(extent.length) if extent.HasField("length") else FULL)
        for extent in proto.extent
    )


def key(name: bytes, part: TensorSlice) -> bytes:
    """The key under which a checkpoint keeps that slice of a tensor; it starts with a zero byte."""
    numbers: list[Any] = [ordered_code.encode_signed(n) for extent in part for n in extent]
    return b"".join(
        (
            ordered_code.encode_unsigned(0),
            ordered_code.encode_string(name),
            ordered_code.encode_unsigned(len(part)),
            *numbers,
        )
    )


def _invalid(message: str) -> InvalidArgumentError:
    return InvalidArgumentError(None, None, message)
