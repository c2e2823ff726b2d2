"""Partitioners: functions that say into how many parts to cut each axis of a variable (for `get_variable`, `variable_scope`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from flowmesh.core.dtypes import DType, string
from flowmesh.core.shapes import TensorShape

Partitioner = Callable[..., list[int]]
"""`partitioner(shape=..., dtype=...)` gives the number of parts for each axis."""


def _along(axis: int, parts: int, rank: int) -> list[int]:
    counts = [1] * rank
    counts[axis] = parts
    return counts


def _element_size(dtype: DType, bytes_per_string_element: int) -> int:
    return bytes_per_string_element if dtype.base_dtype == string else dtype.size


def fixed_size_partitioner(num_shards: int, axis: int = 0) -> Partitioner:
    """A partitioner into `num_shards` parts along `axis`, fewer where the axis is shorter (tf.fixed_size_partitioner)."""

    def partitioner(shape: Any, **_: Any) -> list[int]:
        return _along(axis, min(num_shards, shape.as_list()[axis]), len(shape))

    return partitioner


def variable_axis_size_partitioner(
    max_shard_bytes: int,
    axis: int = 0,
    bytes_per_string_element: int = 16,
    max_shards: int | None = None,
) -> Partitioner:
    """A partitioner into parts of at most `max_shard_bytes` along `axis` (tf.variable_axis_size_partitioner).

    A part holds at least one slice of the axis, however large that is; `max_shards` bounds the number of parts and goes
    before the bound on bytes. Raises ValueError for bounds that are not positive; the partitioner does for a shape that is not
    fully defined and for a dtype that is none.
    """
    if max_shard_bytes < 1 or bytes_per_string_element < 1:
        raise ValueError("Both max_shard_bytes and bytes_per_string_element must be positive.")
    if max_shards and max_shards < 1:
        raise ValueError("max_shards must be positive.")

    def partitioner(shape: Any, dtype: Any) -> list[int]:
        if not isinstance(shape, TensorShape):
            raise ValueError(f"shape is not a TensorShape: {shape}")
        if not shape.is_fully_defined():
            raise ValueError(f"shape is not fully defined: {shape}")
        if not isinstance(dtype, DType):
            raise ValueError(f"dtype is not a DType: {dtype}")
        sizes = [int(d) for d in shape.as_list() if d is not None]
        length = sizes[axis]
        rest = math.prod(sizes) // length if length else 1
        slice_bytes = max(1, rest * _element_size(dtype, bytes_per_string_element))
        shards = math.ceil(length / max(1, max_shard_bytes // slice_bytes))
        return _along(axis, min(max_shards, shards) if max_shards else shards, len(sizes))

    return partitioner


def min_max_variable_partitioner(
    max_partitions: int = 1,
    axis: int = 0,
    min_slice_size: int = 256 << 10,
    bytes_per_string_element: int = 16,
) -> Partitioner:
    """A partitioner into at most `max_partitions` parts of at least `min_slice_size` bytes (tf.min_max_variable_partitioner).

    The partitioner raises ValueError for a variable that has no such axis.
    """

    def partitioner(shape: Any, dtype: Any) -> list[int]:
        rank = len(shape)
        if axis >= rank:
            raise ValueError(
                f"Can not partition variable along axis {axis} when shape is only {shape}"
            )
        size = shape.num_elements() * _element_size(dtype, bytes_per_string_element)
        wanted = math.ceil(size / min_slice_size)
        return _along(axis, max(1, min(int(shape[axis]), max_partitions, wanted)), rank)

    return partitioner


def partitions_of(partitioner: Any, shape: TensorShape, dtype: Any) -> Sequence[int]:
    """What a partitioner says for a variable; raises ValueError when a variable cannot be cut that way."""
    if not shape.is_fully_defined():
        raise ValueError(
            f"Shape of a new partitioned variable must be fully defined, but instead was {shape}."
        )
    if not len(shape):
        raise ValueError(f"A partitioned Variable must have rank at least 1, shape: {shape}")
    counts = partitioner(shape=shape, dtype=dtype)
    if not isinstance(counts, Sequence):
        raise ValueError(f"Partitioner must return a sequence, but saw: {counts}")
    if len(counts) != len(shape):
        raise ValueError(
            "Partitioner returned a partition list that does not match the Variable's rank: "
            f"{counts} vs. {shape}"
        )
    if any(count < 1 for count in counts):
        raise ValueError(f"Partitioner returned zero partitions for some axes: {counts}")
    if sum(count > 1 for count in counts) > 1:
        raise ValueError(
            f"Can only slice a variable along one dimension: shape: {shape}, partitioning: {counts}"
        )
    return counts


class PartitionInfo:
    """Which part of a larger variable an initializer is to give the value of: its `partition_info` argument.

    Raises ValueError for an offset outside of the whole.
    """

    def __init__(self, full_shape: Sequence[int], var_offset: Sequence[int]) -> None:
        self.full_shape = list(full_shape)
        self.var_offset = list(var_offset)
        for offset, size in zip(self.var_offset, self.full_shape):
            if not 0 <= offset < size:
                raise ValueError(
                    f"Expected 0 <= offset < shape but found offset={offset}, shape={size} for "
                    f"var_offset={self.var_offset}, full_shape={self.full_shape}"
                )

    def single_slice_dim(self, shape: Sequence[int]) -> int | None:
        """The one axis along which a part of `shape` is smaller than the whole; None for a part that is the whole.

        Raises ValueError when there are several, or the part reaches out of the whole.
        """
        sizes = [int(d) for d in shape]
        if len(sizes) != len(self.full_shape):
            raise ValueError(
                f"Expected equal length, but received shape={sizes} of length {len(sizes)} while "
                f"self.full_shape={self.full_shape} is of length {len(self.full_shape)}."
            )
        for offset, size, full in zip(self.var_offset, sizes, self.full_shape):
            if offset + size > full:
                raise ValueError(
                    "With self.var_offset set, a partition of shape="
                    f"{sizes} would exceed full_shape={self.full_shape} (offset {self.var_offset})."
                )
        cut = [i for i, (size, full) in enumerate(zip(sizes, self.full_shape)) if size != full]
        if len(cut) > 1:
            raise ValueError(
                f"Cannot use single_slice_dim() with shape={sizes} and full_shape={self.full_shape} since slice dim "
                f"could be either dimension {cut[0]} or {cut[1]}."
            )
        return cut[0] if cut else None

    def single_offset(self, shape: Sequence[int]) -> int:
        """Where a part of `shape` begins along the axis of `single_slice_dim`; 0 for a part that is the whole."""
        axis = self.single_slice_dim(shape)
        return 0 if axis is None else self.var_offset[axis]


def slices_of(shape: Sequence[int], partitions: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """The (offset, shape) of each part, in order; the first parts are one longer where the axis does not divide evenly.

    Raises ValueError when there are more parts than the axis is long.
    """
    axis = next((i for i, count in enumerate(partitions) if count > 1), 0)
    count = partitions[axis]
    each, longer = divmod(shape[axis], count)
    found = []
    offset = 0
    for part in range(count):
        at, size = [0] * len(shape), list(shape)
        at[axis], size[axis] = offset, each + (part < longer)
        found.append((at, size))
        offset += size[axis]
    return found
