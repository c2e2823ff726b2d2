"""Placeholders: tensors that the caller feeds."""

from __future__ import annotations

from typing import Any

from flowmesh.core.shapes import TensorShape, as_shape, unknown_shape
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import invalid, merge_shapes


def _not_fed(definition: OpDef, name: str) -> Any:
    dtype, shape = definition.attrs["dtype"], definition.attrs["shape"]
    kind = {"float32": "float", "float64": "double", "float16": "half"}.get(dtype.name, dtype.name)
    told = f" and shape {_printed(shape)}" if shape.key else ""
    return invalid(f"You must feed a value for placeholder tensor '{name}' with dtype {kind}{told}")


def _printed(shape: TensorShape) -> str:
    return "[" + ",".join("?" if d is None else str(d) for d in shape.key or ()) + "]"


class Placeholder(OpDef):
    """A tensor whose value is fed."""

    output = Output("dtype")
    dtype = type_attr()
    shape = Attr("shape", unknown_shape())
    devices = ("CPU", "GPU")

    def infer(self, ctx: Any) -> TensorShape:
        return self.attrs["shape"]

    def run(self, ctx: Any) -> Any:
        """Raises InvalidArgumentError: a placeholder that runs has not been fed."""
        raise _not_fed(self, ctx.name)


class PlaceholderV2(OpDef):
    """The `Placeholder` of old graphs, whose shape has to be given."""

    output = Output("dtype")
    dtype = type_attr()
    shape = Attr("shape")
    devices = ("CPU", "GPU")

    def infer(self, ctx: Any) -> TensorShape:
        return self.attrs["shape"]

    def run(self, ctx: Any) -> Any:
        """Raises InvalidArgumentError: a placeholder that runs has not been fed."""
        raise _not_fed(self, ctx.name)


class PlaceholderWithDefault(OpDef):
    """Passes `input` through unless its output is fed."""

    input = Input("dtype")
    output = Output("dtype")
    dtype = type_attr()
    shape = Attr("shape")

    def infer(self, ctx: Any, input: TensorShape) -> TensorShape:
        shape: TensorShape = self.attrs["shape"]
        merge_shapes(input, shape)
        return shape

    def compute(self, xp: Any, input: Any) -> Any:
        return input

    def gradient(self, op: Any, grad: Any) -> Any:
        return grad


def placeholder(dtype: Any, shape: Any = None, name: str | None = None) -> Tensor:
    """A tensor that has to be fed (tf.placeholder).

    Args:
      dtype: the dtype of the elements that are fed.
      shape: the shape that is fed, with None for open dimensions; by default any shape.

    Running it unfed raises InvalidArgumentError.
    """
    return raw.Placeholder(dtype=dtype, shape=shape, name=name)


def placeholder_with_default(input: Any, shape: Any, name: str | None = None) -> Tensor:
    """`input`, unless the result is fed (tf.placeholder_with_default); `shape` may be less specific than input's."""
    return raw.PlaceholderWithDefault(input, shape=as_shape(shape), name=name)
