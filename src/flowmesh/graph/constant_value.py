"""Constant values of tensors at graph-building time, as far as they are cheap to know.

A tensor is constant when it is a Const, the shape of a tensor of known shape, or a small pure function of such
tensors; the kernels of the op definitions fold them with NumPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph.tensor import _UNSET, Tensor

_MAX_ELEMENTS = 4096
_MAX_DEPTH = 64


def constant_value(tensor: Tensor, partial: bool = False) -> Any:
    """The NumPy value of `tensor` when it can be known without running the graph, else None
    (TensorFlow: `tf.contrib.util.constant_value`).
    """
    return _evaluate(tensor, _MAX_DEPTH)


def _evaluate(tensor: Tensor, depth: int) -> Any:
    if tensor._constant is not _UNSET:
        return tensor._constant
    if depth <= 0:
        return None
    op = tensor.op
    if op.type == "Const":
        value = op.definition.attrs["value"]
    elif op.type in ("Shape", "ShapeN", "Size", "Rank"):
        return _shape_value(tensor)  # not cached: the static shape may become known later
    else:
        value = _fold(tensor, depth)
        if value is None:
            return None
    tensor._constant = value
    return value


def _shape_value(tensor: Tensor) -> Any:
    op = tensor.op
    shape = op.inputs[tensor.value_index].shape
    out = np.dtype(tensor.dtype.as_numpy_dtype)
    if op.type == "Rank":
        return None if shape.ndims is None else np.array(shape.ndims, out)
    if not shape.is_fully_defined():
        return None
    if op.type == "Size":
        return np.array(shape.num_elements(), out)
    return np.array(shape.as_list(), out)


def _foldable(tensor: Tensor) -> bool:
    op = tensor.op
    definition = op.definition
    if (
        definition.stateful
        or definition.host
        or definition.xla_only
        or definition.control_flow
        or definition.implicit_state
        or not op.inputs
        or any(a.access or a.ref for a in definition.input_args)
        or op._control_inputs
    ):
        return False
    size = tensor.shape.num_elements()
    return (size is None or size <= _MAX_ELEMENTS) and tensor.dtype.is_numpy_compatible


def _fold(tensor: Tensor, depth: int) -> Any:
    op = tensor.op
    if not _foldable(tensor) or op.type in (
        "Placeholder",
        "PlaceholderWithDefault",
        "PreventGradient",
    ):
        return None
    values = []
    for t in op.inputs:
        value = _evaluate(t, depth - 1)
        if value is None or value.size > _MAX_ELEMENTS:
            return None
        values.append(value)
    try:
        with np.errstate(all="ignore"):
            result = op.definition.compute(np, *op.definition.group_inputs(values))
    except Exception:  # an op that cannot be folded fails when it runs, with its own message
        return None
    outputs = result if isinstance(result, (tuple, list)) else (result,)
    flat: list[Any] = []
    for item in outputs:
        flat.extend(item) if isinstance(item, (list, tuple)) else flat.append(item)
    if len(flat) != len(op.outputs):
        return None
    return np.asarray(flat[tensor.value_index])


def constant_value_as_shape(tensor: Tensor) -> TensorShape:
    """The partial shape that a 1-D integer tensor holds (-1 and unknown elements become unknown sizes)."""
    value = constant_value(tensor)
    if value is not None:
        if value.ndim == 0:
            if int(value) == -1:
                return unknown_shape()
            raise ValueError(
                f"Received a scalar with value '{value}' as shape; require a statically known scalar with value '-1' to describe an unknown shape."
            )
        for size in value:
            if size < -1:
                raise ValueError(f"Invalid value in tensor used for shape: {int(size)}")
        return TensorShape([int(d) if d >= 0 else None for d in value])
    op = tensor.op
    if op.type == "Shape":
        return op.inputs[0].shape
    if op.type == "ShapeN":
        return op.inputs[tensor.value_index].shape
    if op.type == "Pack" and op.definition.attrs.get("axis", 0) == 0:
        sizes: list[int | None] = []
        for item in op.inputs:
            size = constant_value(item)
            sizes.append(None if size is None or int(size) < 0 else int(size))
        return TensorShape(sizes)
    if op.type in ("ConcatV2", "Concat"):
        return _concatenated(tensor)
    if op.type == "StridedSlice":
        sliced = _sliced(tensor)
        if sliced is not None:
            return sliced
    if op.type in ("Cast", "Identity", "StopGradient"):
        return constant_value_as_shape(op.inputs[0])
    if op.type == "PlaceholderWithDefault":
        return unknown_shape(
            op.outputs[0].shape.as_list()[0] if op.outputs[0].shape.ndims else None
        )
    shape = tensor.shape
    if shape.ndims == 1 and shape.key is not None:
        return unknown_shape(shape.key[0])
    return unknown_shape()


def _concatenated(tensor: Tensor) -> TensorShape:
    op = tensor.op
    pieces = op.inputs[:-1] if op.type == "ConcatV2" else op.inputs[1:]
    axis = constant_value(op.inputs[-1] if op.type == "ConcatV2" else op.inputs[0])
    if axis is None or int(axis) not in (0, -1):
        return unknown_shape()
    result = TensorShape([])
    for piece in pieces:
        result = result.concatenate(constant_value_as_shape(piece))
    return result


def _sliced(tensor: Tensor) -> TensorShape | None:
    op = tensor.op
    attrs = op.definition.attrs
    if attrs["ellipsis_mask"] or attrs["new_axis_mask"] or attrs["shrink_axis_mask"]:
        return None
    begin, end, strides = (constant_value(t) for t in op.inputs[1:4])
    if begin is None or end is None or strides is None or begin.shape != (1,):
        return None
    first = None if attrs["begin_mask"] & 1 else int(begin[0])
    last = None if attrs["end_mask"] & 1 else int(end[0])
    whole = constant_value_as_shape(op.inputs[0])
    return None if whole.ndims is None else whole[first : last : int(strides[0])]


def handle_shape(tensor: Tensor) -> TensorShape:
    """The shape of the variable behind a resource handle, as far as the graph tells."""
    op = tensor.op
    seen = 0
    while op.type in ("Identity", "Enter", "Switch") and op.inputs and seen < _MAX_DEPTH:
        op = op.inputs[0].op
        seen += 1
    told = getattr(op.outputs[0], "_handle_shape", None) if op.outputs else None
    if told is not None:
        return told
    shape = op.definition.attrs.get("shape") if op.definition.variable_source else None
    return shape if shape is not None else unknown_shape()


def set_handle_shape(tensor: Tensor, shape: TensorShape) -> None:
    """Says which shape the variable has whose handle a function's argument stands for."""
    tensor._handle_shape = shape  # type: ignore[attr-defined]  # few tensors have one
