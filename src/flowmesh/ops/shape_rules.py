"""What shape functions of ops share: checks of partial shapes, in the words of TensorFlow's errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.ops.array_support import (
    brackets,
    merge_dim as same_size,
    merge_shapes as merge,
    with_rank,
    with_rank_at_least as at_least,
)

__all__ = [
    "at_least",
    "at_most",
    "bracketed",
    "joined",
    "merge",
    "merge_all",
    "same_size",
    "scalar_input",
    "square",
    "with_rank",
]


def bracketed(shape: TensorShape) -> str:
    """A shape as TensorFlow's errors write it: `[2,?]`, or `?` when even the rank is unknown."""
    return brackets(shape.key)


def scalar_input(shape: TensorShape) -> None:
    """Checks that an input is a scalar."""
    with_rank(shape, 0)


def at_most(shape: TensorShape, rank: int) -> TensorShape:
    """`shape`; ValueError when it has more than `rank` dimensions."""
    if shape.key is not None and len(shape.key) > rank:
        raise ValueError(f"Shape must be at most rank {rank} but is rank {len(shape.key)}")
    return shape


def merge_all(shapes: Sequence[TensorShape]) -> TensorShape:
    """The shape that all inputs of a list must have; the error says which one did not fit."""
    result = shapes[-1]
    for index in range(len(shapes) - 2, -1, -1):
        try:
            result = merge(shapes[index], result)
        except ValueError as error:
            raise ValueError(f"{error}\n\tFrom merging shape {index} with other shapes.") from None
    return result


def square(shape: TensorShape) -> tuple[TensorShape, int | None]:
    """The batch shape and size of a square matrix (or batch of them); ValueError when it is not square."""
    at_least(shape, 2)
    if shape.key is None:
        return unknown_shape(), None
    return TensorShape.from_key(shape.key[:-2]), same_size(shape.key[-2], shape.key[-1])


def joined(batch: TensorShape, *sizes: Any) -> TensorShape:
    """A batch shape followed by sizes; unknown when the batch shape is."""
    if batch.key is None:
        return unknown_shape()
    return TensorShape.from_key(batch.key + sizes)
