"""Sums of many tensors, and the op that finds the axes to sum a broadcast gradient over."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core import errors
from flowmesh.core.dtypes import int32, int64, variant
from flowmesh.core.shapes import TensorShape
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.ops import kernels
from flowmesh.ops.arithmetic import shape_text
from flowmesh.ops.building import broadcast_axes
from flowmesh.ops.shape_rules import merge_all


def _sum_all(inputs: list[Any]) -> Any:
    total = inputs[0]
    for index, item in enumerate(inputs[1:], 1):
        if item.shape != total.shape:
            raise errors.InvalidArgumentError(
                None,
                None,
                f"Inputs to operation must have the same size and shape.  Input 0: "
                f"{shape_text(total.shape)} != input {index}: {shape_text(item.shape)}",
            )
        total = total + item
    return total


class AddN(OpDef):
    """The sum of tensors of one shape."""

    inputs = Input("T", number="N")
    sum = Output("T")
    N = Attr("int", minimum=1)
    T = type_attr(kernels.NUMBER_TYPES | {variant})

    def infer(self, ctx: Any, inputs: list[TensorShape]) -> TensorShape:
        return merge_all(inputs)

    def compute(self, xp: Any, inputs: list[Any]) -> Any:
        with np.errstate(all="ignore"):
            return _sum_all(inputs)

    def gradient(self, op: Any, grad: Any) -> list[Any]:
        return [grad] * len(op.inputs)


class AccumulateNV2(OpDef):
    """The sum of tensors of one shape, which is given as an attr."""

    inputs = Input("T", number="N")
    sum = Output("T")
    N = Attr("int", minimum=1)
    T = type_attr(kernels.NUMBER_TYPES)
    shape = Attr("shape")

    def infer(self, ctx: Any, inputs: list[TensorShape]) -> TensorShape:
        return merge_all([*inputs, self.attrs["shape"]])

    def compute(self, xp: Any, inputs: list[Any]) -> Any:
        with np.errstate(all="ignore"):
            return _sum_all(inputs)

    def gradient(self, op: Any, grad: Any) -> list[Any]:
        return [grad] * len(op.inputs)


class BroadcastGradientArgs(OpDef):
    """The axes over which the gradients of two broadcast inputs are summed, from their shapes."""

    s0, s1 = Input("T"), Input("T")
    r0, r1 = Output("T"), Output("T")
    T = type_attr({int32, int64}, int32)
    static_inputs = ("s0", "s1")

    def infer(self, ctx: Any, s0: TensorShape, s1: TensorShape) -> tuple[TensorShape, TensorShape]:
        return TensorShape([None]), TensorShape([None])

    def compute(self, xp: Any, s0: Any, s1: Any) -> tuple[Any, Any]:
        try:
            axes = broadcast_axes(s0.tolist(), s1.tolist())
        except ValueError as error:
            raise errors.InvalidArgumentError(None, None, str(error)) from None
        return np.array(axes[0], s0.dtype), np.array(axes[1], s0.dtype)
