"""What a shape function may ask about the inputs of its node, besides their static shapes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from flowmesh.core.dtypes import DType
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph import constant_value
from flowmesh.graph.op_def import OpDef, output_shapes
from flowmesh.graph.tensor import Tensor


class InferenceContext:
    """The inputs of the node whose shapes are inferred."""

    def __init__(self, inputs: Sequence[Tensor], granted: set[int] | None = None) -> None:
        """`granted`: the inputs whose values may be asked for (None: all); others are noted in `refused`."""
        self.inputs = inputs
        self.refused: set[int] = set()
        self.as_shapes: set[int] = set()
        self._granted = granted

    def _grant(self, index: int) -> bool:
        if self._granted is None or index in self._granted:
            return True
        self.refused.add(index)
        return False

    def value(self, index: int) -> Any:
        """The constant NumPy value of flat input `index`, or None when it is not known at build time."""
        return constant_value.constant_value(self.inputs[index]) if self._grant(index) else None

    def value_as_shape(self, index: int) -> TensorShape:
        """The partial shape that the shape-valued flat input `index` holds."""
        self.as_shapes.add(index)
        if self._grant(index):
            return constant_value.constant_value_as_shape(self.inputs[index])
        length = self.inputs[index].shape
        return unknown_shape(length.as_list()[0] if length.ndims == 1 else None)

    def dtype(self, index: int) -> DType:
        """The base dtype of flat input `index`."""
        return self.inputs[index].dtype.base_dtype

    def handle_shape(self, index: int) -> TensorShape:
        """The shape of the variable behind the resource handle at flat input `index`."""
        return constant_value.handle_shape(self.inputs[index])


def infer_shapes(definition: OpDef, name: str, inputs: Sequence[Tensor]) -> list[TensorShape]:
    """The output shapes of a new node; a ValueError of the shape function gets TensorFlow's ending."""
    shapes = [t.shape for t in inputs]
    try:
        inferred = definition.infer(InferenceContext(inputs), *definition.group_inputs(shapes))
        return output_shapes(definition, inferred)
    except ValueError as error:
        raise ValueError(_message(error, definition, name, inputs)) from error


def _message(error: ValueError, definition: OpDef, name: str, inputs: Sequence[Tensor]) -> str:
    text = str(error)
    if (" for '" in text and "(op:" in text) or text.startswith("Invalid value in tensor"):
        return text
    error, context, granted = _replayed(error, definition, inputs)
    message = (
        f"{_cpp_words(str(error))} for '{name}' (op: '{definition.op_type}') with input shapes: "
        + ", ".join(_brackets(t.shape) for t in inputs)
    )
    values, shapes = [], []
    for i in sorted(granted):
        if i in context.as_shapes:
            shape = constant_value.constant_value_as_shape(inputs[i])
            if shape.ndims is not None:
                shapes.append(f"input[{i}] = {_brackets(shape)}")
            continue
        value = constant_value.constant_value(inputs[i])
        if value is not None:
            values.append(f"input[{i}] = <{_summary(value)}>")
    if values:
        message += " and with computed input tensors: " + ", ".join(values)
    if shapes:
        message += " and with input tensors computed as partial shapes: " + ",".join(shapes)
    return message + "."


def _replayed(
    error: ValueError, definition: OpDef, inputs: Sequence[Tensor]
) -> tuple[ValueError, InferenceContext, set[int]]:
    """(the error, the context, the values known) as TensorFlow meets them: it infers first without any value,
    then again with those that the shape function asked for."""
    shapes = [t.shape for t in inputs]
    granted: set[int] = set()
    while True:
        context = InferenceContext(inputs, set(granted))
        try:
            definition.infer(context, *definition.group_inputs(shapes))
        except ValueError as found:
            return found, context, granted
        if not context.refused:
            return error, context, granted
        granted |= context.refused


def _brackets(shape: TensorShape) -> str:
    if shape.key is None:
        return "?"
    return "[" + ",".join("?" if d is None else str(d) for d in shape.key) + "]"


_RANK = re.compile(r"^Shape (\(.*\)) must have rank (at least |at most )?(\d+)$")
_SHAPES = re.compile(r"^Shapes (\(.*?\)) and (\(.*?\)) are not compatible$")
_DIMENSIONS = re.compile(r"^Dimensions (\d+) and (\d+) are not compatible$")


def _cpp_words(text: str) -> str:
    """TensorFlow words the same complaint differently in Python (TensorShape) and in shape functions."""
    if match := _RANK.match(text):
        rank = len([d for d in match[1][1:-1].split(",") if d.strip()])
        return f"Shape must be {match[2] or ''}rank {match[3]} but is rank {rank}"
    if match := _DIMENSIONS.match(text):
        return f"Dimensions must be equal, but are {match[1]} and {match[2]}"
    if match := _SHAPES.match(text):
        a, b = ([d.strip() for d in m[1:-1].split(",") if d.strip()] for m in match.groups())
        if len(a) != len(b):
            return f"Shapes must be equal rank, but are {len(a)} and {len(b)}"
        for i, (x, y) in enumerate(zip(a, b)):
            if "?" not in (x, y) and x != y:
                return (
                    f"Dimension {i} in both shapes must be equal, but are {x} and {y}. "
                    f"Shapes are [{','.join(a)}] and [{','.join(b)}]."
                )
    return text


def _summary(value: Any) -> str:
    """The elements of an array, rows in brackets: `1 2`, `[1 2][3 4]`."""
    if value.ndim == 0:
        return str(value.tolist())
    if value.ndim == 1:
        return " ".join(str(v) for v in value.tolist()[:256])
    return "".join(f"[{_summary(row)}]" for row in value)
