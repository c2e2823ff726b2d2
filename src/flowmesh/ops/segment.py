"""Sums, means and extrema over the segments of a tensor's first axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from flowmesh.core import dtypes, errors
from flowmesh.core.dtypes import REALS, as_dtype, float32, float64, int32, int64
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph.op_def import Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.ops import kernels
from flowmesh.ops.building import (
    constant,
    name_scope,
    ones_like,
    rank_of,
    shape_of,
    zeros_like,
)
from flowmesh.ops.shape_rules import at_least, same_size, with_rank


def _invalid(message: str) -> errors.InvalidArgumentError:
    return errors.InvalidArgumentError(None, None, message)


def _neutral(kind: str, dtype: Any) -> Any:
    """What an empty segment holds, and what combining starts from."""
    if kind in ("add", "multiply"):
        return np.array(0 if kind == "add" else 1, dtype)
    largest = kind == "maximum"
    if np.issubdtype(dtype, np.integer):
        bounds = np.iinfo(dtype)
        return np.array(bounds.min if largest else bounds.max, dtype)
    known = as_dtype(np.dtype(dtype))
    return np.array(known.min if largest else known.max, dtype)


def scatter_rows(xp: Any, kind: str, data: Any, ids: Any, count: int, start: Any) -> Any:
    """Combines the rows of `data` into `count` rows by `ids`; negative ids are left out."""
    shape = (count, *data.shape[1:])
    if not kernels.is_numpy(xp):
        result = xp.full(shape, start, data.dtype)
        ids = xp.where(ids < 0, count, ids)
        method = {"add": "add", "multiply": "multiply", "maximum": "max", "minimum": "min"}[kind]
        return getattr(result.at[ids], method)(data, mode="drop")
    result = np.full(shape, start, data.dtype)
    kept = ids >= 0
    getattr(np, kind).at(result, ids[kept], data[kept])
    return result


def check_segments(ids: Any, rows: int, sorted_ids: bool = True) -> int:
    """Checks segment ids and gives the number of segments they name."""
    if ids.shape[0] != rows:
        raise _invalid("segment_ids should be the same size as dimension 0 of input.")
    if not ids.size:
        return 0
    if sorted_ids and (np.any(np.diff(ids) < 0) or ids[0] < 0):
        raise _invalid(
            "segment ids are not increasing" if ids[0] >= 0 else "segment ids must be >= 0"
        )
    return int(ids[-1]) + 1


class _Segment(OpDef, abstract=True):
    """Combines rows that have the same id; the ids are sorted and say how many rows come out."""

    data = Input("T")
    segment_ids = Input("Tindices")
    output = Output("T")
    numpy_only = True
    kind: ClassVar[str]

    def infer(self, ctx: Any, data: TensorShape, segment_ids: TensorShape) -> TensorShape:
        with_rank(segment_ids, 1)
        at_least(data, 1)
        if data.key is None:
            return unknown_shape()
        return TensorShape.from_key((None, *data.key[1:]))

    def compute(self, xp: Any, data: Any, segment_ids: Any) -> Any:
        count = check_segments(segment_ids, data.shape[0])
        zeros = xp.zeros((count, *data.shape[1:]), data.dtype)
        if not count:
            return zeros
        with np.errstate(all="ignore"):
            start = _neutral(type(self).kind, data.dtype)
            return self.finish(
                xp, scatter_rows(xp, type(self).kind, data, segment_ids, count, start), segment_ids
            )

    def finish(self, xp: Any, combined: Any, ids: Any) -> Any:
        """Puts 0 into the segments that no row belongs to."""
        if type(self).kind == "add":
            return combined
        present = _rowwise(np.bincount(ids, minlength=combined.shape[0]) > 0, combined.ndim)
        empty = np.array(1 if type(self).kind == "multiply" else 0, combined.dtype)
        return xp.where(present, combined, empty)


def _rowwise(values: Any, rank: int) -> Any:
    return values.reshape(values.shape + (1,) * (rank - 1))


def _gathered(values: Any, ids: Any) -> Any:
    return raw.GatherV2(values, ids, 0)


class SegmentSum(_Segment):
    """The sum of each segment."""

    T = type_attr(kernels.NUMBER_TYPES)
    Tindices = type_attr({int32, int64})
    kind = "add"

    def gradient(self, op: Any, grad: Any) -> tuple[Any, None]:
        return _gathered(grad, op.inputs[1]), None


class SegmentMean(_Segment):
    """The mean of each segment."""

    T = type_attr(kernels.NUMBER_TYPES)
    Tindices = type_attr({int32, int64})
    kind = "add"

    def finish(self, xp: Any, combined: Any, ids: Any) -> Any:
        counts = np.maximum(np.bincount(ids, minlength=combined.shape[0]), 1)
        divisor = _rowwise(counts.astype(combined.dtype), combined.ndim)
        if kernels.is_integer(combined):
            quotient = combined // divisor
            return quotient + ((quotient < 0) & (quotient * divisor != combined)).astype(
                combined.dtype
            )
        return combined / divisor

    def gradient(self, op: Any, grad: Any) -> tuple[Any, None]:
        data, ids = op.inputs
        rank = rank_of(data)
        ids_shape = shape_of(ids)
        ones = raw.Fill(raw.ExpandDims(raw.Sub(rank, 1, name="sub"), 0), 1)
        shape = raw.ConcatV2([ids_shape, ones], 0, name="concat")
        dtype = grad.dtype.base_dtype
        counts = raw.SegmentSum(
            raw.Fill(shape, constant(np.array(1, dtype.as_numpy_dtype), dtype)), ids
        )
        return _gathered(raw.RealDiv(grad, counts, name="truediv"), ids), None


class SegmentProd(_Segment):
    """The product of each segment."""

    T = type_attr(kernels.NUMBER_TYPES)
    Tindices = type_attr({int32, int64})
    kind = "multiply"


def _segment_extremum_gradient(self: OpDef, op: Any, grad: Any) -> tuple[Any, None]:
    """Rows that equal the extremum of their segment share its gradient."""
    data, ids = op.inputs
    zeros = zeros_like(data)
    chosen = raw.Equal(data, _gathered(op.outputs[0], ids))
    counts = raw.SegmentSum(raw.Cast(chosen, DstT=grad.dtype.base_dtype), ids)
    shared = _gathered(raw.RealDiv(grad, counts, name="truediv"), ids)
    return raw.Select(chosen, shared, zeros), None


class SegmentMax(_Segment):
    """The largest element of each segment."""

    T = type_attr(REALS)
    Tindices = type_attr({int32, int64})
    kind = "maximum"
    gradient = _segment_extremum_gradient


class SegmentMin(_Segment):
    """The smallest element of each segment."""

    T = type_attr(REALS)
    Tindices = type_attr({int32, int64})
    kind = "minimum"
    gradient = _segment_extremum_gradient


# -- unsorted ----------------------------------------------------------------------------------------------


class _UnsortedSegment(OpDef, abstract=True):
    """Combines the entries that have the same id, in any order; `num_segments` rows come out."""

    data = Input("T")
    segment_ids = Input("Tindices")
    num_segments = Input("Tnumsegments")
    output = Output("T")
    static_inputs = ("num_segments",)
    kind: ClassVar[str]

    def infer(
        self, ctx: Any, data: TensorShape, ids: TensorShape, num_segments: TensorShape
    ) -> TensorShape:
        with_rank(num_segments, 0)
        value = ctx.value(2)
        if value is not None and int(value) < 0:
            raise ValueError(
                f"Dimension size, given by scalar input 2, must be non-negative but is {value}"
            )
        if data.key is None or ids.key is None:
            return unknown_shape()
        at_least(data, len(ids.key))
        for p, q in zip(data.key, ids.key):
            same_size(p, q)
        return TensorShape([None if value is None else int(value), *data.key[len(ids.key) :]])

    def compute(self, xp: Any, data: Any, segment_ids: Any, num_segments: Any) -> Any:
        count = int(num_segments)
        rank = segment_ids.ndim
        if data.shape[:rank] != segment_ids.shape:
            raise _invalid(
                f"data.shape = {list(data.shape)} does not start with segment_ids.shape = "
                f"{list(segment_ids.shape)}"
            )
        if kernels.is_numpy(xp):
            check_range(segment_ids, count)
        rows = (
            xp.reshape(data, (-1, *data.shape[rank:]))
            if data.size
            else xp.zeros((segment_ids.size, *data.shape[rank:]), data.dtype)
        )
        start = _neutral(type(self).kind, data.dtype)
        with np.errstate(all="ignore"):
            return scatter_rows(
                xp, type(self).kind, rows, xp.reshape(segment_ids, (-1,)), count, start
            )


def check_range(ids: Any, count: int) -> None:
    """InvalidArgumentError if a segment number is not below `count`."""
    wrong = np.argwhere(ids >= count)
    if wrong.size:
        at = ",".join(map(str, wrong[0].tolist()))
        raise _invalid(f"segment_ids[{at}] = {ids[tuple(wrong[0])]} is out of range [0, {count})")


def _gather_dropping(values: Any, ids: Any, zero_clipped: Any = None, valid: Any = None) -> Any:
    """Rows of `values` by id, zeros for negative ids; with the two masks that finding them needs."""
    if zero_clipped is None:
        zero_clipped = raw.Maximum(ids, zeros_like(ids))
    gathered = raw.GatherV2(values, zero_clipped, 0)
    if valid is None:
        valid = raw.GreaterEqual(ids, 0)
        missing = (gathered.shape.ndims or 0) - (valid.shape.ndims or 0)
        if gathered.shape.ndims is None or valid.shape.ndims is None:
            valid = _expand_dynamically(valid, gathered)
        else:
            for _ in range(missing):
                valid = raw.ExpandDims(valid, -1)
        valid = raw.LogicalAnd(valid, ones_like(gathered, dtypes.bool), name="and")
    return raw.Select(valid, gathered, zeros_like(gathered)), zero_clipped, valid


def _expand_dynamically(valid: Any, gathered: Any) -> Any:
    """Gives the mask as many axes of size 1 as `gathered` has more than it, when ranks are known only at run time."""
    more = raw.Sub(raw.Rank(gathered), raw.Rank(valid), name="sub")
    ones = raw.Fill(raw.ExpandDims(more, 0), 1)
    return raw.Reshape(valid, raw.ConcatV2([raw.Shape(valid), ones], 0, name="concat"))


class UnsortedSegmentSum(_UnsortedSegment):
    """The sum of each segment."""

    T = type_attr(kernels.NUMBER_TYPES)
    Tindices = type_attr({int32, int64})
    Tnumsegments = type_attr({int32, int64}, int32)
    kind = "add"

    def gradient(self, op: Any, grad: Any) -> tuple[Any, None, None]:
        return _gather_dropping(grad, op.inputs[1])[0], None, None


class UnsortedSegmentProd(_UnsortedSegment):
    """The product of each segment."""

    T = type_attr(kernels.NUMBER_TYPES)
    Tindices = type_attr({int32, int64})
    Tnumsegments = type_attr({int32, int64}, int32)
    kind = "multiply"

    def gradient(self, op: Any, grad: Any) -> tuple[Any, None, None]:
        data, ids, count = op.inputs
        is_zero = raw.Equal(data, 0)
        zeros = raw.UnsortedSegmentSum(raw.Cast(is_zero, DstT=int32), ids, count)
        grad = raw.Select(raw.Greater(zeros, 1), zeros_like(grad), grad)
        nonzero = raw.Select(is_zero, ones_like(data), data)
        products = raw.UnsortedSegmentProd(nonzero, ids, count)
        clipped = raw.Maximum(ids, zeros_like(ids))
        whole = raw.GatherV2(op.outputs[0], clipped, 0)
        rest = raw.GatherV2(products, clipped, 0)
        without = raw.Select(is_zero, rest, raw.RealDiv(whole, data, name="truediv"))
        gathered = _gather_dropping(grad, ids, clipped)[0]
        return raw.Mul(gathered, without, name="mul"), None, None


def _unsorted_extremum_gradient(self: OpDef, op: Any, grad: Any) -> tuple[Any, None, None]:
    data, ids, count = op.inputs
    extrema, clipped, valid = _gather_dropping(op.outputs[0], ids)
    chosen = raw.LogicalAnd(raw.Equal(data, extrema), valid)
    counts = raw.UnsortedSegmentSum(raw.Cast(chosen, DstT=grad.dtype.base_dtype), ids, count)
    weighted = raw.RealDiv(grad, counts, name="truediv")
    gathered = _gather_dropping(weighted, ids, clipped, valid)[0]
    return raw.Select(chosen, gathered, zeros_like(gathered)), None, None


class UnsortedSegmentMax(_UnsortedSegment):
    """The largest element of each segment; the lowest value of the dtype for an empty one."""

    T = type_attr(REALS)
    Tindices = type_attr({int32, int64})
    Tnumsegments = type_attr({int32, int64}, int32)
    kind = "maximum"
    gradient = _unsorted_extremum_gradient


class UnsortedSegmentMin(_UnsortedSegment):
    """The smallest element of each segment; the highest value of the dtype for an empty one."""

    T = type_attr(REALS)
    Tindices = type_attr({int32, int64})
    Tnumsegments = type_attr({int32, int64}, int32)
    kind = "minimum"
    gradient = _unsorted_extremum_gradient


# -- of chosen rows --------------------------------------------------------------------------------------------


def _weights(counts: Any, mode: str, dtype: Any) -> Any:
    """By what a segment's sum is divided."""
    counts = np.maximum(counts, 1)
    divisor = (
        counts if mode == "mean" else np.sqrt(counts) if mode == "sqrtn" else np.ones_like(counts)
    )
    return divisor.astype(dtype)


class _SparseSegment(OpDef, abstract=True):
    """Combines the rows of `data` that `indices` chooses, by sorted segment ids."""

    mode: ClassVar[str]
    numpy_only = True

    def infer(
        self, ctx: Any, data: TensorShape, indices: TensorShape, ids: TensorShape, *more: Any
    ) -> TensorShape:
        at_least(data, 1)
        same_size((with_rank(indices, 1).key or (None,))[0], (with_rank(ids, 1).key or (None,))[0])
        count = None
        if more:
            with_rank(more[0], 0)
            value = ctx.value(3)
            count = None if value is None else int(value)
            if count is not None and count < 0:
                raise ValueError("Cannot specify a negative value for num_segments")
        if data.key is None:
            return unknown_shape()
        return TensorShape.from_key((count, *data.key[1:]))

    def compute(self, xp: Any, data: Any, indices: Any, segment_ids: Any, *more: Any) -> Any:
        count = check_segments(segment_ids, indices.shape[0])
        if more:
            if count > int(more[0]):
                raise _invalid("segment ids must be < num_segments")
            count = int(more[0])
        wrong = np.flatnonzero((indices < 0) | (indices >= data.shape[0]))
        if wrong.size:
            raise _invalid(
                f"Bad: indices[{wrong[0]}] == {indices[wrong[0]]} out of range [0, {data.shape[0]})"
            )
        total = scatter_rows(
            xp, "add", data[indices], segment_ids, count, _neutral("add", data.dtype)
        )
        if type(self).mode == "sum":
            return total
        counts = np.bincount(segment_ids, minlength=count)
        return total / _rowwise(_weights(counts, type(self).mode, data.dtype), total.ndim)


def _first_size(data: Any) -> Any:
    """The size of the first axis, as TensorFlow slices it off the shape."""
    shape = shape_of(data)
    with name_scope("strided_slice") as scope:
        bounds = [
            constant(np.array([value], np.int32), int32, name)
            for name, value in (("stack", 0), ("stack_1", 1), ("stack_2", 1))
        ]
        return raw.StridedSlice(shape, *bounds, shrink_axis_mask=1, name=scope)


def _sparse_sum_gradient(self: OpDef, op: Any, grad: Any) -> tuple[Any, ...]:
    data, indices, ids = op.inputs[:3]
    size = _first_size(data)
    rows = _gathered(grad, ids)
    return (raw.UnsortedSegmentSum(rows, indices, size), *[None] * (len(op.inputs) - 1))


def _sparse_gradient_by(op_type: str) -> Callable[..., Any]:
    def gradient(self: OpDef, op: Any, grad: Any) -> tuple[Any, ...]:
        size = _first_size(op.inputs[0])
        made = getattr(raw, op_type)(grad, op.inputs[1], op.inputs[2], size)
        return (made, *[None] * (len(op.inputs) - 1))

    return gradient


def _sparse(op_type: str, mode: str, allowed: Any, gradient: Any, counted: bool) -> type[OpDef]:
    body: dict[str, Any] = {
        "__module__": __name__,
        "__doc__": f"The {mode} of each segment of chosen rows.",
        "data": Input("T"),
        "indices": Input("Tidx"),
        "segment_ids": Input(int32),
    }
    if counted:
        body["num_segments"] = Input("Tnumsegments")
    body |= {
        "output": Output("T"),
        "T": type_attr(allowed),
        "Tidx": type_attr({int32, int64}, int32),
    }
    if counted:
        body["Tnumsegments"] = type_attr({int32, int64}, int32)
    return type(op_type, (_SparseSegment,), body | {"mode": mode, "gradient": gradient})


for _type, _mode, _allowed, _build in (
    ("SparseSegmentSum", "sum", REALS, _sparse_sum_gradient),
    ("SparseSegmentMean", "mean", {float32, float64}, _sparse_gradient_by("SparseSegmentMeanGrad")),
    (
        "SparseSegmentSqrtN",
        "sqrtn",
        {float32, float64},
        _sparse_gradient_by("SparseSegmentSqrtNGrad"),
    ),
):
    _sparse(_type, _mode, _allowed, _build, counted=False)
    _sparse(f"{_type}WithNumSegments", _mode, _allowed, _build, counted=True)


class _SparseSegmentGrad(OpDef, abstract=True):
    grad = Input("T")
    indices = Input("Tidx")
    segment_ids = Input(int32)
    output_dim0 = Input(int32)
    output = Output("T")
    T = type_attr({float32, float64})
    Tidx = type_attr({int32, int64}, int32)
    numpy_only = True
    mode: ClassVar[str]

    def infer(
        self, ctx: Any, grad: TensorShape, indices: TensorShape, ids: TensorShape, size: TensorShape
    ) -> TensorShape:
        at_least(grad, 1)
        with_rank(indices, 1)
        with_rank(ids, 1)
        with_rank(size, 0)
        value = ctx.value(3)
        if grad.key is None:
            return unknown_shape()
        return TensorShape.from_key((None if value is None else int(value), *grad.key[1:]))

    def compute(self, xp: Any, grad: Any, indices: Any, segment_ids: Any, output_dim0: Any) -> Any:
        counts = np.bincount(segment_ids, minlength=grad.shape[0])
        scaled = grad / _rowwise(_weights(counts, type(self).mode, grad.dtype), grad.ndim)
        start = _neutral("add", grad.dtype)
        return scatter_rows(xp, "add", scaled[segment_ids], indices, int(output_dim0), start)


class SparseSegmentMeanGrad(_SparseSegmentGrad):
    """The gradient of SparseSegmentMean."""

    mode = "mean"


class SparseSegmentSqrtNGrad(_SparseSegmentGrad):
    """The gradient of SparseSegmentSqrtN."""

    mode = "sqrtn"
