"""What shape functions of ops share: checks of partial shapes, in the words of TensorFlow's errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowmesh.core.shapes import TensorShape, broadcast_shapes, unknown_shape

__all__ = [
    "at_least",
    "at_most",
    "bracketed",
    "broadcast_shapes",
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
    if shape.key is None:
        return "?"
    return "[" + ",".join("?" if d is None else str(d) for d in shape.key) + "]"


def with_rank(shape: TensorShape, rank: int) -> TensorShape:
    """`shape` known to have `rank` dimensions; ValueError when it has another number of them."""
    if shape.key is None:
        return unknown_shape(rank)
    if len(shape.key) != rank:
        raise ValueError(f"Shape must be rank {rank} but is rank {len(shape.key)}")
    return shape


def scalar_input(shape: TensorShape) -> None:
    """Checks that an input is a scalar."""
    with_rank(shape, 0)


def at_least(shape: TensorShape, rank: int) -> TensorShape:
    """`shape`; ValueError when it has fewer than `rank` dimensions."""
    if shape.key is not None and len(shape.key) < rank:
        raise ValueError(f"Shape must be at least rank {rank} but is rank {len(shape.key)}")
    return shape


def at_most(shape: TensorShape, rank: int) -> TensorShape:
    """`shape`; ValueError when it has more than `rank` dimensions."""
    if shape.key is not None and len(shape.key) > rank:
        raise ValueError(f"Shape must be at most rank {rank} but is rank {len(shape.key)}")
    return shape


def same_size(x: int | None, y: int | None) -> int | None:
    """The one size that two dimensions must have; ValueError when they differ."""
    if x is None or y is None:
        return y if x is None else x
    if x != y:
        raise ValueError(f"Dimensions must be equal, but are {x} and {y}")
    return x


def merge(x: TensorShape, y: TensorShape) -> TensorShape:
    """What is known of a shape from two descriptions of it; ValueError when they contradict each other."""
    if x.key is None or y.key is None:
        return y if x.key is None else x
    if len(x.key) != len(y.key):
        raise ValueError(f"Shapes must be equal rank, but are {len(x.key)} and {len(y.key)}")
    sizes: list[int | None] = []
    for axis, (p, q) in enumerate(zip(x.key, y.key)):
        if p is not None and q is not None and p != q:
            raise ValueError(
                f"Dimension {axis} in both shapes must be equal, but are {p} and {q}. "
                f"Shapes are {bracketed(x)} and {bracketed(y)}."
            )
        sizes.append(q if p is None else p)
    return TensorShape.from_key(tuple(sizes))


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
