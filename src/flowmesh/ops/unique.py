"""Where, Unique and ListDiff: ops whose output sizes depend on values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.dtypes import bool, int32, int64
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.op_def import Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import INDEX, NUMERIC_KINDS, ints, invalid, with_rank
from flowmesh.ops.naming import name_scope

_BOTH = ("CPU", "GPU")


class Where(OpDef):
    """The coordinates of the elements that are not zero, in row-major order."""

    input = Input("T")
    index = Output(int64)
    T = type_attr(NUMERIC_KINDS, bool)
    numpy_only = True
    devices = _BOTH
    NotDifferentiable = True

    def infer(self, ctx: Any, input: TensorShape) -> TensorShape:
        return TensorShape([None, input.ndims])

    def compute(self, xp: Any, input: Any) -> Any:
        values = np.asarray(input)
        if values.ndim == 0:
            return np.zeros((int(values != 0), 0), np.int64)
        return np.argwhere(values != 0).astype(np.int64)


def _first_seen(values: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(where each distinct value stands first, the number of each value's distinct one, counts)."""
    seen: dict[Any, int] = {}
    first: list[int] = []
    numbers = np.empty(len(values), np.int64)
    counts: list[int] = []
    for i, value in enumerate(values):
        number = seen.setdefault(value, len(first))
        if number == len(first):
            first.append(i)
            counts.append(0)
        counts[number] += 1
        numbers[i] = number
    return np.array(first, np.int64), numbers, np.array(counts, np.int64)


def _unique(x: Any, out: Any, axis: Any = None) -> tuple[Any, Any, Any]:
    """(distinct slices in order of appearance, their numbers, their counts)."""
    x = np.asarray(x)
    if axis is None or np.size(axis) == 0:
        if x.ndim != 1:
            raise invalid("unique expects a 1D vector.")
        keys: Any = x.tolist()
        at = 0
    else:
        if np.size(axis) > 1:
            raise invalid("axis does not support input tensors larger than 1 elements")
        at = ints(axis)[0]
        if not -x.ndim <= at < x.ndim:
            raise invalid(f"axis expects to be in the range [{-x.ndim}, {x.ndim})")
        moved = np.moveaxis(x, at, 0)
        rows = moved.reshape(moved.shape[0], math.prod(moved.shape[1:]))
        keys = [tuple(row) for row in rows.tolist()]
    first, numbers, counts = _first_seen(keys)
    dtype = out.as_numpy_dtype
    return np.take(x, first, at), numbers.astype(dtype), counts.astype(dtype)


class Unique(OpDef):
    """The distinct elements of a vector in order of appearance, and the number of each element's."""

    x = Input("T")
    y = Output("T")
    idx = Output("out_idx")
    T = type_attr()
    out_idx = type_attr(INDEX, int32)
    numpy_only = True
    devices = _BOTH

    def infer(self, ctx: Any, x: TensorShape) -> Any:
        return unknown_shape(rank=1), with_rank(x, 1)

    def compute(self, xp: Any, x: Any) -> Any:
        return _unique(x, self.attrs["out_idx"])[:2]


class UniqueV2(OpDef):
    """The distinct slices along `axis` in order of appearance, and the number of each slice's."""

    x, axis = Input("T"), Input("Taxis")
    y = Output("T")
    idx = Output("out_idx")
    T = type_attr()
    Taxis = type_attr(INDEX, int64)
    out_idx = type_attr(INDEX, int32)
    numpy_only = True

    def infer(self, ctx: Any, x: TensorShape, axis: TensorShape) -> Any:
        return unknown_shape(rank=x.ndims), unknown_shape(rank=1)

    def compute(self, xp: Any, x: Any, axis: Any) -> Any:
        return _unique(x, self.attrs["out_idx"], axis)[:2]


class UniqueWithCounts(OpDef):
    """Like Unique, and how often each distinct element occurs."""

    x = Input("T")
    y = Output("T")
    idx, count = Output("out_idx"), Output("out_idx")
    T = type_attr()
    out_idx = type_attr(INDEX, int32)
    numpy_only = True

    def infer(self, ctx: Any, x: TensorShape) -> Any:
        return unknown_shape(rank=1), with_rank(x, 1), unknown_shape(rank=1)

    def compute(self, xp: Any, x: Any) -> Any:
        return _unique(x, self.attrs["out_idx"])


class UniqueWithCountsV2(OpDef):
    """Like UniqueV2, and how often each distinct slice occurs."""

    x, axis = Input("T"), Input("Taxis")
    y = Output("T")
    idx, count = Output("out_idx"), Output("out_idx")
    T = type_attr()
    Taxis = type_attr(INDEX, int64)
    out_idx = type_attr(INDEX, int32)
    numpy_only = True

    def infer(self, ctx: Any, x: TensorShape, axis: TensorShape) -> Any:
        return unknown_shape(rank=x.ndims), unknown_shape(rank=1), unknown_shape(rank=1)

    def compute(self, xp: Any, x: Any, axis: Any) -> Any:
        return _unique(x, self.attrs["out_idx"], axis)


class ListDiff(OpDef):
    """The elements of `x` that are not in `y`, and where they stand in `x`."""

    x, y = Input("T"), Input("T")
    out = Output("T")
    idx = Output("out_idx")
    T = type_attr()
    out_idx = type_attr(INDEX, int32)
    numpy_only = True

    def infer(self, ctx: Any, x: TensorShape, y: TensorShape) -> Any:
        with_rank(x, 1)
        with_rank(y, 1)
        return unknown_shape(rank=1), unknown_shape(rank=1)

    def compute(self, xp: Any, x: Any, y: Any) -> Any:
        for name, value in (("x", x), ("y", y)):
            if np.ndim(value) != 1:
                raise invalid(f"{name} should be a 1D vector.")
        dropped = set(np.asarray(y).tolist())
        kept = [i for i, v in enumerate(np.asarray(x).tolist()) if v not in dropped]
        where = np.array(kept, np.int64)
        return np.asarray(x)[where], where.astype(self.attrs["out_idx"].as_numpy_dtype)


def where(condition: Any, x: Any = None, y: Any = None, name: str | None = None) -> Tensor:
    """The coordinates (int64, [n, rank]) where `condition` is true, or, with `x` and `y`, their elements picked by it (tf.where).

    Raises ValueError when only one of `x` and `y` is given.
    """
    if x is None and y is None:
        with name_scope(name, "Where", [condition]) as scope:
            condition = convert_to_tensor(condition, preferred_dtype=dtypes.bool, name="condition")
            return raw.Where(condition, name=scope)
    if x is not None and y is not None:
        return raw.Select(condition, x, y, name=name)
    raise ValueError("x and y must both be non-None or both be None.")


def unique(x: Any, out_idx: Any = int32, name: str | None = None) -> Any:
    """(y, idx): the distinct elements of the vector `x` in order of appearance, with y[idx[i]] = x[i] (tf.unique)."""
    return raw.Unique(x, out_idx=dtypes.as_dtype(out_idx), name=name)


def unique_with_counts(x: Any, out_idx: Any = int32, name: str | None = None) -> Any:
    """(y, idx, count): `unique` and how often each element occurs (tf.unique_with_counts)."""
    return raw.UniqueWithCounts(x, out_idx=dtypes.as_dtype(out_idx), name=name)


def setdiff1d(x: Any, y: Any, index_dtype: Any = int32, name: str | None = None) -> Any:
    """(out, idx): the elements of vector `x` that are not in `y`, and where they stand (tf.setdiff1d)."""
    return raw.ListDiff(x, y, out_idx=dtypes.as_dtype(index_dtype), name=name)


listdiff = setdiff1d
