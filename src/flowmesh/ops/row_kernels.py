"""Kernels for many records at once: what an op does to each of them, done to all in one call, with the same bits.

Each entry takes (definition, count, flat inputs, which of them have a row for each record) and returns the outputs, a row for each
record, or None where it cannot tell. Only ops whose results do not depend on what stands beside them are here: elementwise ones that are
rounded exactly, and those that move data. What adds up or approximates (sums, products of matrices, `exp`) is done record by record.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

RowKernel: TypeAlias = Callable[[Any, int, Sequence[Any], Sequence[bool]], "list[Any] | None"]

_EXACT = [
    "Abs",
    "Add",
    "AddV2",
    "Cast",
    "Ceil",
    "Equal",
    "Floor",
    "Greater",
    "GreaterEqual",
    "Identity",
    "Less",
    "LessEqual",
    "LogicalAnd",
    "LogicalNot",
    "LogicalOr",
    "Maximum",
    "Minimum",
    "Mul",
    "Neg",
    "NotEqual",
    "RealDiv",
    "Snapshot",
    "Sqrt",
    "Square",
    "StopGradient",
    "StringToNumber",
    "Sub",
]
_MASKS = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")


def _aligned(inputs: Sequence[Any], rows: Sequence[bool]) -> list[Any]:
    """The inputs so that broadcasting matches the records' own dimensions."""
    ranks = [x.ndim - row for x, row in zip(inputs, rows)]
    rank = max(ranks)
    return [
        x.reshape(x.shape[:1] + (1,) * (rank - own) + x.shape[1:]) if row and own < rank else x
        for x, row, own in zip(inputs, rows, ranks)
    ]


def _spread(inputs: Sequence[Any], rows: Sequence[bool], count: int) -> list[Any]:
    """The inputs, each with a row for each record."""
    return [x if row else np.broadcast_to(x, (count, *x.shape)) for x, row in zip(inputs, rows)]


def _behind(axis: int) -> int:
    """A dimension of a record as one of many records."""
    return axis + 1 if axis >= 0 else axis


def _elementwise(definition: Any, count: int, inputs: Sequence[Any], rows: Sequence[bool]) -> Any:
    if any(x.dtype.kind == "c" for x in inputs):
        return None
    result = definition.compute(np, *_aligned(inputs, rows))
    return [result[0] if type(result) is tuple else result]


def _reshape(definition: Any, count: int, inputs: Sequence[Any], rows: Sequence[bool]) -> Any:
    tensor, shape = inputs
    if rows[1] or shape.ndim != 1 or not tensor.size:
        return None
    record = np.broadcast_to(np.empty((), np.bool_), tensor.shape[1:])
    own = definition.compute(np, record, shape).shape  # with the errors that it has
    return [tensor.reshape(count, *own)]


def _expand(definition: Any, count: int, inputs: Sequence[Any], rows: Sequence[bool]) -> Any:
    tensor, axis = inputs
    if rows[1] or axis.size != 1 or not -tensor.ndim <= int(axis.reshape(())) < tensor.ndim:
        return None
    return [np.expand_dims(tensor, _behind(int(axis.reshape(()))))]


def _squeeze(definition: Any, count: int, inputs: Sequence[Any], rows: Sequence[bool]) -> Any:
    (tensor,) = inputs
    axes = definition.attrs["squeeze_dims"]
    if axes:
        axes = tuple(_behind(axis) for axis in axes)
        if 0 in axes or -tensor.ndim in axes:
            return None
    else:
        axes = tuple(i for i, size in enumerate(tensor.shape) if i and size == 1)
    return [np.squeeze(tensor, axes)]


def _pack(definition: Any, count: int, inputs: Sequence[Any], rows: Sequence[bool]) -> Any:
    values = _spread(inputs, rows, count)
    rank = values[0].ndim
    axis = definition.attrs["axis"]
    if len({x.shape for x in values}) != 1 or not -rank <= axis < rank:
        return None
    return [np.stack(values, _behind(axis))]


def _concat(definition: Any, count: int, inputs: Sequence[Any], rows: Sequence[bool]) -> Any:
    *tensors, axis = inputs
    values = _spread(tensors, rows[:-1], count)
    rank = values[0].ndim - 1
    if rows[-1] or axis.size != 1 or any(x.ndim - 1 != rank for x in values):
        return None
    at = int(axis.reshape(()))
    if not -rank <= at < rank:
        return None
    return [np.concatenate(values, _behind(at))]


def _transpose(definition: Any, count: int, inputs: Sequence[Any], rows: Sequence[bool]) -> Any:
    tensor, order = inputs
    if rows[1] or sorted(order.tolist()) != list(range(tensor.ndim - 1)):
        return None
    return [np.transpose(tensor, [0, *(order + 1)])]


def _strided_slice(definition: Any, count: int, inputs: Sequence[Any], rows: Sequence[bool]) -> Any:
    """The same cut of all rows: a dimension in front that is taken whole."""
    tensor, begin, end, strides = inputs
    if any(rows[1:]) or not rows[0]:
        return None
    attrs = dict(definition.attrs)
    for mask in _MASKS:
        attrs[mask] = attrs[mask] << 1 | (mask in ("begin_mask", "end_mask"))
    front = [
        np.concatenate([np.array([first], x.dtype), x.reshape(-1)])
        for first, x in ((0, begin), (0, end), (1, strides))
    ]
    return [type(definition)(attrs).compute(np, tensor, *front)]


def _decode_csv(definition: Any, count: int, inputs: Sequence[Any], rows: Sequence[bool]) -> Any:
    records, *defaults = inputs
    if any(rows[1:]):
        return None
    (columns,) = definition.compute(np, records, defaults)
    return list(columns)


def _decode_raw(definition: Any, count: int, inputs: Sequence[Any], rows: Sequence[bool]) -> Any:
    (texts,) = inputs
    if len(set(map(len, texts.reshape(-1).tolist()))) != 1:
        return None
    return [definition.compute(np, texts)]


def _gather(definition: Any, count: int, inputs: Sequence[Any], rows: Sequence[bool]) -> Any:
    """Rows of one tensor, chosen by each record."""
    params, indices, *axis = inputs
    if rows[0] or (axis and (rows[2] or axis[0].size != 1 or int(axis[0].reshape(())))):
        return None
    if definition.attrs.get("batch_dims", 0):
        return None
    return [definition.compute(np, params, indices, *axis)]


ROW_KERNELS: dict[str, RowKernel] = {
    **dict.fromkeys(_EXACT, _elementwise),
    "ConcatV2": _concat,
    "DecodeCSV": _decode_csv,
    "DecodeRaw": _decode_raw,
    "ExpandDims": _expand,
    "Gather": _gather,
    "GatherV2": _gather,
    "Pack": _pack,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "StridedSlice": _strided_slice,
    "Transpose": _transpose,
}
"""By op type."""
