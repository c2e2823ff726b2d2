"""What a shape function may ask about the inputs of its node, besides their static shapes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from flowmesh.core.dtypes import DType
from flowmesh.core.shapes import TensorShape
from flowmesh.graph import constant_value
from flowmesh.graph.op_def import OpDef, output_shapes
from flowmesh.graph.tensor import Tensor


class InferenceContext:
    """The inputs of the node whose shapes are inferred."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        self.inputs = inputs

    def value(self, index: int) -> Any:
        """The constant NumPy value of flat input `index`, or None when it is not known at build time."""
        return constant_value.constant_value(self.inputs[index])

    def value_as_shape(self, index: int) -> TensorShape:
        """The partial shape that the shape-valued flat input `index` holds."""
        return constant_value.constant_value_as_shape(self.inputs[index])

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
    except ValueError as error:
        raise ValueError(_message(error, definition, name, inputs)) from error
    return output_shapes(definition, inferred)


def _message(error: ValueError, definition: OpDef, name: str, inputs: Sequence[Tensor]) -> str:
    text = str(error)
    if " for '" in text and "(op:" in text:
        return text
    text = _cpp_words(text)
    message = f"{text} for '{name}' (op: '{definition.op_type}') with input shapes: " + ", ".join(
        str(t.shape).replace("(", "[").replace(",)", ")").replace(")", "]").replace(" ", "")
        if t.shape.ndims is not None
        else "<unknown>"
        for t in inputs
    )
    known = []
    for i, tensor in enumerate(inputs):
        value = tensor._constant
        if hasattr(value, "tolist") and getattr(value, "size", 9) <= 8 and value.dtype != object:
            known.append(f"input[{i}] = <{_flat(value)}>")
    if known:
        message += " and with computed input tensors: " + ", ".join(known)
    return message + "."


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
                    f"Shapes are [{','.join(a)}] and [{','.join(b)}]"
                )
    return text


def _flat(value: Any) -> str:
    return str(value.tolist()).replace(",", "")
