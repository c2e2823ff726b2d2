"""Public functions over segments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.raw import raw
from flowmesh.ops.building import filled, name_scope, shape_of

_COMMON = "`data`: a tensor of rank 1 or more. `segment_ids`: a vector as long as its first axis, sorted and not negative."


def _sorted(op_type: str, name: str, what: str) -> Callable[..., Any]:
    def function(data: Any, segment_ids: Any, name: str | None = None) -> Any:
        return getattr(raw, op_type)(data, segment_ids, name=name)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"{what} of the rows of each segment (TensorFlow: `tf.{name}`).\n\n{_COMMON} Returns one row per id up to the "
        "largest. Raises InvalidArgumentError when the ids are not sorted."
    )
    return function


def _unsorted(op_type: str, name: str, what: str) -> Callable[..., Any]:
    def function(data: Any, segment_ids: Any, num_segments: Any, name: str | None = None) -> Any:
        return getattr(raw, op_type)(data, segment_ids, num_segments, name=name)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"{what} of the entries with each id (TensorFlow: `tf.{name}`).\n\n"
        "`segment_ids`: any integers, of the shape that the shape of `data` begins with; entries with a negative id are left "
        "out. Returns `num_segments` rows. Raises InvalidArgumentError for an id that is too large."
    )
    return function


segment_sum = _sorted("SegmentSum", "segment_sum", "The sum")
segment_mean = _sorted("SegmentMean", "segment_mean", "The mean")
segment_prod = _sorted("SegmentProd", "segment_prod", "The product")
segment_max = _sorted("SegmentMax", "segment_max", "The maximum")
segment_min = _sorted("SegmentMin", "segment_min", "The minimum")
unsorted_segment_sum = _unsorted("UnsortedSegmentSum", "unsorted_segment_sum", "The sum")
unsorted_segment_prod = _unsorted("UnsortedSegmentProd", "unsorted_segment_prod", "The product")
unsorted_segment_max = _unsorted("UnsortedSegmentMax", "unsorted_segment_max", "The maximum")
unsorted_segment_min = _unsorted("UnsortedSegmentMin", "unsorted_segment_min", "The minimum")


def _counts(data: Any, ids: Any, num_segments: Any) -> Any:
    """How many entries each segment has, at least 1, with axes of size 1 to divide by."""
    ids = convert_to_tensor(ids)
    dtype = data.dtype.base_dtype
    ones = filled(shape_of(ids), 1, dtype, "ones")
    totals = raw.UnsortedSegmentSum(ones, ids, num_segments)
    rank, inner = data.shape.ndims, ids.shape.ndims
    if rank is None or inner is None:
        raise ValueError("The ranks of data and segment_ids must be known")
    known = totals.shape.key
    size = known[0] if known is not None and known[0] is not None else num_segments
    shape: Any = [size, *[1] * (rank - inner)]
    if all(isinstance(s, (int, np.integer)) for s in shape):
        shape = np.array(shape, np.int32)
    return raw.Maximum(raw.Reshape(totals, shape), 1)


def unsorted_segment_mean(
    data: Any, segment_ids: Any, num_segments: Any, name: str | None = None
) -> Any:
    """The mean of the entries with each id, 0 where there are none (TensorFlow: `tf.unsorted_segment_mean`)."""
    with name_scope(name, "UnsortedSegmentMean"):
        data = convert_to_tensor(data)
        ids = convert_to_tensor(segment_ids)
        counts = _counts(data, ids, num_segments)
        total = raw.UnsortedSegmentSum(data, ids, num_segments)
        return raw.RealDiv(total, counts, name="truediv")


def unsorted_segment_sqrt_n(
    data: Any, segment_ids: Any, num_segments: Any, name: str | None = None
) -> Any:
    """The sum of the entries with each id over the square root of their number (TensorFlow: `tf.unsorted_segment_sqrt_n`)."""
    with name_scope(name, "UnsortedSegmentSqrtN"):
        data = convert_to_tensor(data)
        ids = convert_to_tensor(segment_ids)
        counts = _counts(data, ids, num_segments)
        total = raw.UnsortedSegmentSum(data, ids, num_segments)
        return raw.RealDiv(total, raw.Sqrt(counts), name="truediv")


def _sparse(op_type: str, name: str, what: str) -> Callable[..., Any]:
    def function(
        data: Any, indices: Any, segment_ids: Any, name: str | None = None, num_segments: Any = None
    ) -> Any:
        if num_segments is None:
            return getattr(raw, op_type)(data, indices, segment_ids, name=name)
        build = getattr(raw, f"{op_type}WithNumSegments")
        return build(data, indices, segment_ids, num_segments, name=name)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"{what} of the rows `data[indices]` of each segment (TensorFlow: `tf.{name}`).\n\n"
        "`indices`, `segment_ids`: vectors of one length, the ids sorted. Returns one row per id, or `num_segments` rows. Raises "
        "InvalidArgumentError for an index out of range."
    )
    return function


sparse_segment_sum = _sparse("SparseSegmentSum", "sparse_segment_sum", "The sum")
sparse_segment_mean = _sparse("SparseSegmentMean", "sparse_segment_mean", "The mean")
sparse_segment_sqrt_n = _sparse(
    "SparseSegmentSqrtN", "sparse_segment_sqrt_n", "The sum over the square root of the number"
)
