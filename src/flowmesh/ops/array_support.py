"""Small helpers that array kernels and shape functions share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flowmesh.core import dtypes, errors
from flowmesh.core.dtypes import int32, int64
from flowmesh.core.shapes import TensorShape, unknown_shape

Dims = list[int | None]
INDEX = (int32, int64)
NUMERIC_KINDS = tuple(
    getattr(dtypes, name)
    for name in [
        "float32",
        "float64",
        "int32",
        "uint8",
        "int16",
        "int8",
        "complex64",
        "int64",
        "qint8",
        "quint8",
        "qint32",
        "bfloat16",
        "uint16",
        "complex128",
        "float16",
        "uint32",
        "uint64",
        "bool",
    ]
)
"""Every dtype of numbers, and bool, in the order in which TensorFlow lists them."""


def invalid(message: str) -> errors.InvalidArgumentError:
    """The error of a kernel whose input values are wrong; the executor adds the node to it."""
    return errors.InvalidArgumentError(None, None, message)


def shape_of(dims: Sequence[int | None] | None) -> TensorShape:
    """The shape with these sizes; None is an unknown rank."""
    return unknown_shape() if dims is None else TensorShape(list(dims))


def dims_of(shape: TensorShape) -> Dims | None:
    """The sizes as a list, or None for an unknown rank."""
    return None if shape.key is None else list(shape.key)


def with_rank(shape: TensorShape, rank: int) -> TensorShape:
    """`shape` with its rank set; ValueError in TensorFlow's words when it has another."""
    if shape.ndims is None:
        return unknown_shape(rank=rank)
    if shape.ndims != rank:
        raise ValueError(f"Shape must be rank {rank} but is rank {shape.ndims}")
    return shape


def with_rank_at_least(shape: TensorShape, rank: int) -> TensorShape:
    """`shape`; ValueError in TensorFlow's words when its rank is lower than `rank`."""
    if shape.ndims is not None and shape.ndims < rank:
        raise ValueError(f"Shape must be at least rank {rank} but is rank {shape.ndims}")
    return shape


def brackets(dims: Sequence[int | None] | None) -> str:
    """A shape as shape functions print it: `[2,?]`."""
    if dims is None:
        return "?"
    return "[" + ",".join("?" if d is None else str(d) for d in dims) + "]"


def merge_dim(a: int | None, b: int | None) -> int | None:
    """What is known of a size from both."""
    if a is not None and b is not None and a != b:
        raise ValueError(f"Dimensions must be equal, but are {a} and {b}")
    return b if a is None else a


def merge_shapes(a: TensorShape, b: TensorShape, note: str = "") -> TensorShape:
    """What is known of a shape from both; ValueError in TensorFlow's words when they differ."""
    x, y = a.key, b.key
    if x is None:
        return b
    if y is None:
        return a
    if len(x) != len(y):
        raise ValueError(f"Shapes must be equal rank, but are {len(x)} and {len(y)}{note}")
    for i, (p, q) in enumerate(zip(x, y)):
        if p is not None and q is not None and p != q:
            raise ValueError(
                f"Dimension {i} in both shapes must be equal, but are {p} and {q}. "
                f"Shapes are {brackets(x)} and {brackets(y)}.{note}"
            )
    return TensorShape([q if p is None else p for p, q in zip(x, y)])


def ints(value: Any) -> list[int]:
    """The elements of an integer array as Python ints."""
    return [int(v) for v in np.asarray(value).reshape(-1)]


def scatter_set(xp: Any, target: Any, index: Any, value: Any) -> Any:
    """`target` with `target[index] = value`, as a new array."""
    if xp is np:
        target = np.array(target)
        target[index] = value
        return target
    return target.at[index].set(value)


def scatter_add(xp: Any, target: Any, index: Any, value: Any) -> Any:
    """`target` with `value` added at `index`; repeated indices add up."""
    if xp is np:
        target = np.array(target)
        np.add.at(target, index, value)
        return target
    return target.at[index].add(value)


def first_bad_index(indices: Any, limit: int) -> tuple[tuple[int, ...], int] | None:
    """Where the first index outside [0, limit) is, and what it is."""
    bad = (indices < 0) | (indices >= limit)
    if not np.any(bad):
        return None
    at = tuple(int(i) for i in np.argwhere(bad)[0])
    return at, int(indices[at])


def empty_strings(shape: Sequence[int]) -> np.ndarray:
    """A string tensor of empty strings."""
    out = np.empty(tuple(shape), object)
    out[...] = b""
    return out


def zeros_of(xp: Any, shape: Sequence[int], dtype: Any) -> Any:
    """Zeros of a NumPy dtype; empty strings for the dtype of strings."""
    if np.dtype(dtype) == object:
        return empty_strings(shape)
    return xp.zeros(tuple(shape), dtype)
