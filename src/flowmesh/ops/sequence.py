"""Range and OneHot."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.dtypes import bfloat16, float32, float64, int32, int64, uint8
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import dims_of, invalid, shape_of, with_rank
from flowmesh.ops.naming import name_scope

_HIERARCHY = [int32, int64, float32, float64]


def _count(start: Any, limit: Any, delta: Any, integral: bool) -> int:
    if delta == 0:
        raise ValueError("Requires delta != 0")
    if delta > 0 and start > limit:
        raise ValueError(f"Requires start <= limit when delta > 0: {start}/{limit}")
    if delta < 0 and start < limit:
        raise ValueError(f"Requires start >= limit when delta < 0: {start}/{limit}")
    if integral:
        start, limit, delta = int(start), int(limit), int(delta)
        return -(-abs(limit - start) // abs(delta))
    return math.ceil(abs((float(limit) - float(start)) / float(delta)))


class Range(OpDef):
    """start, start + delta, ... up to but without `limit`."""

    start, limit, delta = Input("Tidx"), Input("Tidx"), Input("Tidx")
    output = Output("Tidx")
    Tidx = type_attr((bfloat16, float32, float64, int32, int64), int32)
    NotDifferentiable = True
    static_inputs = ("start", "limit", "delta")

    def infer(
        self, ctx: Any, start: TensorShape, limit: TensorShape, delta: TensorShape
    ) -> TensorShape:
        for what, shape in (("start", start), ("limit", limit), ("delta", delta)):
            if shape.ndims not in (None, 0):
                raise ValueError(f"Shape must be rank 0 but is rank {shape.ndims}\n\t for '{what}'")
        values = [ctx.value(i) for i in range_(3)]
        if any(v is None for v in values):
            return unknown_shape(rank=1)
        count = _count(values[0], values[1], values[2], self.attrs["Tidx"].is_integer)
        return TensorShape([count])

    def compute(self, xp: Any, start: Any, limit: Any, delta: Any) -> Any:
        for what, value in (("start", start), ("limit", limit), ("delta", delta)):
            if np.ndim(value) != 0:
                raise invalid(f"{what} must be a scalar, not shape {list(np.shape(value))}")
        try:
            count = _count(start, limit, delta, self.attrs["Tidx"].is_integer)
        except ValueError as error:
            raise invalid(str(error)) from None
        dtype = self.attrs["Tidx"].as_numpy_dtype
        steps = np.arange(count)
        if self.attrs["Tidx"].is_integer:
            return (int(start) + steps * int(delta)).astype(dtype)
        return _running_sum(start, delta, count, dtype)


range_ = range


def _running_sum(start: Any, delta: Any, count: int, dtype: Any) -> np.ndarray:
    """TensorFlow adds `delta` again and again in the tensor's own precision."""
    if count == 0:
        return np.zeros(0, dtype)
    steps = np.full(count, delta, dtype)
    steps[0] = start
    return np.add.accumulate(steps, dtype=dtype)


class OneHot(OpDef):
    """`on_value` where the position along the new dimension is the index, else `off_value`."""

    indices = Input("TI")
    depth = Input(int32)
    on_value, off_value = Input("T"), Input("T")
    output = Output("T")
    axis = Attr("int", -1)
    T = type_attr()
    TI = type_attr((uint8, int32, int64), int64)
    NotDifferentiable = True
    static_inputs = ("depth",)

    def infer(
        self,
        ctx: Any,
        indices: TensorShape,
        depth: TensorShape,
        on_value: TensorShape,
        off_value: TensorShape,
    ) -> TensorShape:
        axis = self.attrs["axis"]
        if axis < -1:
            raise ValueError("axis must be >= -1")
        for shape in (depth, on_value, off_value):
            with_rank(shape, 0)
        value = ctx.value(1)
        if value is not None and int(value) < 0:
            raise ValueError("Dimension size must be non-negative, but is " + str(int(value)))
        dims = dims_of(indices)
        if dims is None:
            return unknown_shape()
        if axis > len(dims):
            raise ValueError(f"axis must be between -1 and {len(dims)}, but is {axis}")
        dims.insert(len(dims) if axis == -1 else axis, None if value is None else int(value))
        return shape_of(dims)

    def compute(self, xp: Any, indices: Any, depth: Any, on_value: Any, off_value: Any) -> Any:
        axis, size = self.attrs["axis"], int(depth)
        if size < 0:
            raise invalid(f"depth must be non-negative, got: {size}")
        rank = np.ndim(indices)
        if axis > rank:
            raise invalid(
                f"Expected axis to be -1 or between [0, {rank + 1}).  But received: {axis}"
            )
        at = rank if axis == -1 else axis
        places = np.arange(size).reshape([size if i == at else 1 for i in range_(rank + 1)])
        hot = xp.expand_dims(indices, at).astype(np.int64) == places
        if self.attrs["T"].name == "string":
            on_value = np.asarray(on_value, object)
            off_value = np.asarray(off_value, object)
        return xp.where(hot, on_value, off_value)


def range(
    start: Any, limit: Any = None, delta: Any = 1, dtype: Any = None, name: str = "range"
) -> Tensor:
    """start, start + delta, ... below `limit`, as a 1-D tensor; range(limit) starts at 0 (tf.range).

    The dtype is the widest of the arguments' dtypes (int32, int64, float32, float64), or `dtype`.
    Raises ValueError for a delta of 0 or of the wrong sign.
    """
    if limit is None:
        start, limit = 0, start
    with name_scope(name, "Range", [start, limit, delta]) as scope:
        values = [
            convert_to_tensor(value, dtype, what)
            for value, what in ((start, "start"), (limit, "limit"), (delta, "delta"))
        ]
        if dtype is None:
            found = [v.dtype.base_dtype for v in values]
            if all(d in _HIERARCHY for d in found):
                widest = max(found, key=_HIERARCHY.index)
                values = [
                    v if v.dtype.base_dtype == widest else raw.Cast(v, DstT=widest) for v in values
                ]
        return raw.Range(*values, name=scope)


def one_hot(
    indices: Any,
    depth: Any,
    on_value: Any = None,
    off_value: Any = None,
    axis: int | None = None,
    dtype: Any = None,
    name: str | None = None,
) -> Tensor:
    """A tensor with `on_value` at each index along a new dimension of size `depth`, `off_value` elsewhere (tf.one_hot).

    Indices outside [0, depth) give a row of `off_value`. The dtype is `dtype`, else that of the values, else float32.
    Raises TypeError when the two values' dtypes differ from each other or from `dtype`.
    """
    with name_scope(name, "one_hot", [indices, depth, on_value, off_value, axis, dtype]) as scope:
        on_dtype = off_dtype = None
        if on_value is not None:
            on_dtype = convert_to_tensor(on_value).dtype.base_dtype
        if off_value is not None:
            off_dtype = convert_to_tensor(off_value).dtype.base_dtype
        if on_dtype is None and off_dtype is None:
            dtype = float32 if dtype is None else dtypes.as_dtype(dtype)
        else:
            wanted = None if dtype is None else dtypes.as_dtype(dtype)
            dtype = wanted or on_dtype or off_dtype
            for what, found in (("on_value", on_dtype), ("off_value", off_dtype)):
                if found is not None and wanted is not None and found != wanted:
                    raise TypeError(
                        f"dtype {found} of {what} does not match dtype parameter {wanted}"
                    )
        if on_value is None:
            on_value = convert_to_tensor(1, dtype, name="on_value")
            on_dtype = dtype
        if off_value is None:
            off_value = convert_to_tensor(0, dtype, name="off_value")
            off_dtype = dtype
        if on_dtype != off_dtype:
            raise TypeError(
                f"dtype {on_dtype} of on_value does not match dtype {off_dtype} of off_value"
            )
        return raw.OneHot(
            indices, depth, on_value, off_value, axis=-1 if axis is None else axis, name=scope
        )
