"""TopK."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core.dtypes import REALS, int32, int64
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.ops.array_support import dims_of, invalid, shape_of, with_rank
from flowmesh.ops.constant import constant
from flowmesh.ops.fill import zeros
from flowmesh.ops.gather import gather
from flowmesh.ops.sequence import range as range_tensor
from flowmesh.ops.shape_ops import shape as shape_tensor, size as size_tensor
from flowmesh.ops.stack import stack


def _shapes(input: TensorShape, k: int | None) -> Any:
    dims = dims_of(input)
    if dims is None:
        return unknown_shape(), unknown_shape()
    if not dims:
        raise ValueError("Shape must be at least rank 1 but is rank 0")
    if k is not None and k < 0:
        raise ValueError(f"Need k >= 0, got {k}")
    if k is not None and dims[-1] is not None and dims[-1] < k:
        raise ValueError(f"input must have last dimension >= k = {k} but is {dims[-1]}")
    shape = shape_of([*dims[:-1], k])
    return shape, shape


def _top(xp: Any, input: Any, k: int) -> Any:
    if k < 0:
        raise invalid(f"Need k >= 0, got {k}")
    if np.ndim(input) < 1:
        raise invalid("input must be >= 1-D, got shape []")
    if input.shape[-1] < k:
        raise invalid(f"input must have at least k columns. Had {input.shape[-1]}, needed {k}")
    size = input.shape[-1]
    # A stable ascending sort of the reversed row, read backwards: equal values keep the lower index first.
    stable = {"kind": "stable"} if xp is np else {"stable": True}
    backwards = xp.argsort(xp.flip(input, -1), axis=-1, **stable)
    order = (size - 1 - xp.flip(backwards, -1))[..., :k]
    return xp.take_along_axis(input, order, -1), order.astype(np.int32)


def _gradient(op: Any, grad: Any, k_input: bool) -> Any:
    """The gradient scattered to where the values came from."""
    whole = shape_tensor(op.inputs[0])
    picked = shape_tensor(op.outputs[1])
    columns_at: Any = size_tensor(picked)
    columns = gather(raw.Cast(picked, DstT=int64), columns_at - 1)
    flat = raw.Reshape(op.outputs[1], stack([-1, columns]))
    width_at: Any = size_tensor(whole)
    width = gather(raw.Cast(whole, DstT=int64), width_at - 1)
    rows = shape_tensor(flat)[0]
    starts = range_tensor(0, raw.Cast(rows, DstT=int64) * width, width)
    where = raw.Reshape(flat + raw.Cast(raw.ExpandDims(starts, -1), DstT=int32), [-1])
    flat_grad = raw.Reshape(grad, [-1])
    total = raw.Prod(whole, constant([0], int32))
    scattered = raw.ScatterNd(raw.ExpandDims(where, -1), flat_grad, [total])
    result = raw.Reshape(scattered, whole)
    return (result, zeros([], int32)) if k_input else result


class TopK(OpDef):
    """The `k` largest entries of the last dimension (old form)."""

    input = Input("T")
    values = Output("T")
    indices = Output(int32)
    k = Attr("int", minimum=0)
    sorted = Attr("bool", True)
    T = type_attr(REALS)

    def infer(self, ctx: Any, input: TensorShape) -> Any:
        return _shapes(input, self.attrs["k"])

    def compute(self, xp: Any, input: Any) -> Any:
        return _top(xp, input, self.attrs["k"])

    def gradient(self, op: Any, grad: Any, _: Any) -> Any:
        return _gradient(op, grad, False)


class TopKV2(OpDef):
    """The `k` largest entries of the last dimension."""

    input = Input("T")
    k = Input(int32)
    values = Output("T")
    indices = Output(int32)
    sorted = Attr("bool", True)
    T = type_attr(REALS)
    static_inputs = ("k",)

    def infer(self, ctx: Any, input: TensorShape, k: TensorShape) -> Any:
        with_rank(k, 0)
        value = ctx.value(1)
        return _shapes(input, None if value is None else int(value))

    def compute(self, xp: Any, input: Any, k: Any) -> Any:
        if np.ndim(k) != 0:
            raise invalid(f"k must be scalar, got shape {list(np.shape(k))}")
        return _top(xp, input, int(k))

    def gradient(self, op: Any, grad: Any, _: Any) -> Any:
        return _gradient(op, grad, True)


def top_k(input: Any, k: Any = 1, sorted: bool = True, name: str | None = None) -> Any:
    """(values, indices int32): the `k` largest entries of the last dimension, the largest first; of equal values
    the one with the lower index (tf.nn.top_k)."""
    return raw.TopKV2(input, k, sorted=sorted, name=name)
