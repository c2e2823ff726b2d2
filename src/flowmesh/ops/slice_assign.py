"""Assignment to a slice of a variable: `v[1:3].assign(x)` (TensorFlow: StridedSliceAssign, ResourceStridedSliceAssign)."""

from __future__ import annotations

from typing import Any

from flowmesh.core import dtypes
from flowmesh.core.dtypes import INDEX
from flowmesh.core.shapes import TensorShape
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.ops.array_support import brackets, invalid, scatter_set, with_rank
from flowmesh.ops.slicing import strided_plan


class _SliceAssign(OpDef, abstract=True):
    static_inputs = ("begin", "end", "strides")
    NotDifferentiable = True

    def _assigned(self, xp: Any, old: Any, begin: Any, end: Any, strides: Any, value: Any) -> Any:
        index, cut, wanted = strided_plan(self, begin, end, strides, old.shape)
        try:
            piece = xp.broadcast_to(value, tuple(wanted))
        except ValueError:
            raise invalid(
                f"Cannot assign a value of shape {brackets(value.shape)} to a slice of shape {brackets(wanted)}"
            ) from None
        return scatter_set(xp, old, index, xp.reshape(piece, cut)) if index else piece


class StridedSliceAssign(_SliceAssign):
    """Gives a slice of a ref variable new values; `value` broadcasts to the slice."""

    ref = Input("T", ref=True, access="update")
    begin, end, strides = Input("Index"), Input("Index"), Input("Index")
    value = Input("T")
    output_ref = Output("T", ref=True, alias="ref")
    T = type_attr()
    Index = type_attr(INDEX)
    begin_mask = Attr("int", 0)
    end_mask = Attr("int", 0)
    ellipsis_mask = Attr("int", 0)
    new_axis_mask = Attr("int", 0)
    shrink_axis_mask = Attr("int", 0)

    def infer(self, ctx: Any, ref: TensorShape, *shapes: TensorShape) -> TensorShape:
        for shape in shapes[:3]:
            with_rank(shape, 1)
        return ref

    def compute(self, xp: Any, ref: Any, begin: Any, end: Any, strides: Any, value: Any) -> Any:
        return self._assigned(xp, ref, begin, end, strides, value)


class ResourceStridedSliceAssign(_SliceAssign):
    """Gives a slice of a resource variable new values; `value` broadcasts to the slice."""

    ref = Input(dtypes.resource, access="update")
    begin, end, strides = Input("Index"), Input("Index"), Input("Index")
    value = Input("T")
    T = type_attr()
    Index = type_attr(INDEX)
    begin_mask = Attr("int", 0)
    end_mask = Attr("int", 0)
    ellipsis_mask = Attr("int", 0)
    new_axis_mask = Attr("int", 0)
    shrink_axis_mask = Attr("int", 0)
    stateful = True

    def infer(self, ctx: Any, ref: TensorShape, *shapes: TensorShape) -> tuple[()]:
        for shape in shapes[:3]:
            with_rank(shape, 1)
        return ()

    def compute(self, xp: Any, ref: Any, begin: Any, end: Any, strides: Any, value: Any) -> Any:
        return self._assigned(xp, ref, begin, end, strides, value)
