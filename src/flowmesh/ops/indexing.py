"""`Tensor.__getitem__`: Python's slice syntax to StridedSlice."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.shapes import Dimension
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.constant import constant
from flowmesh.ops.masks import boolean_mask
from flowmesh.ops.naming import is_dense, name_scope
from flowmesh.ops.slicing import strided_slice
from flowmesh.ops.stack import stack

newaxis = None

_ALLOWED = (
    "Only integers, slices (`:`), ellipsis (`...`), tf.newaxis (`None`) and scalar "
    "tf.int32/tf.int64 tensors are valid indices"
)


def _check_index(index: Any) -> None:
    if isinstance(index, (int, np.integer, Dimension)) and not isinstance(index, bool):
        return
    dtype = getattr(index, "dtype", None)
    fits = dtype is not None and dtype in (
        dtypes.int32,
        dtypes.int64,
        dtypes.int32_ref,
        dtypes.int64_ref,
        np.int32,
        np.int64,
    )
    rank = getattr(getattr(index, "shape", None), "ndims", None)
    if not fits or rank == 1:
        raise TypeError(f"{_ALLOWED}, got {index!r}")


def _is_mask(spec: Any) -> bool:
    if isinstance(spec, bool):
        return True
    if is_dense(spec):
        return spec.dtype.base_dtype == dtypes.bool
    return isinstance(spec, np.ndarray) and spec.dtype == np.bool_


class _Spec:
    """The begin, end, strides and masks that a subscript is collected into."""

    def __init__(self) -> None:
        self.begin: list[Any] = []
        self.end: list[Any] = []
        self.strides: list[Any] = []
        self.masks: dict[str, Any] = dict.fromkeys(
            ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask"), 0
        )

    def _mark(self, mask: str) -> None:
        self.masks[mask] |= 1 << len(self.strides)

    def _add(self, begin: Any, end: Any, stride: Any) -> None:
        self.begin.append(begin)
        self.end.append(end)
        self.strides.append(stride)

    def _bound(self, value: Any, mask: str) -> Any:
        if value is not None and (is_dense(value) or value != sys.maxsize):
            _check_index(value)
            return value
        self._mark(mask)
        return 0

    def add(self, item: Any) -> None:
        """Takes one element of the subscript."""
        if isinstance(item, slice):
            begin = self._bound(item.start, "begin_mask")
            end = self._bound(item.stop, "end_mask")
            stride = 1
            if item.step is not None:
                _check_index(item.step)
                stride = item.step
            self._add(begin, end, stride)
        elif item is Ellipsis:
            self._mark("ellipsis_mask")
            self._add(0, 0, 1)
        elif item is newaxis:
            self._mark("new_axis_mask")
            self._add(0, 0, 1)
        else:
            _check_index(item)
            end = item + 1
            self._mark("shrink_axis_mask")
            self._add(item, end, 1)


def slice_helper(tensor: Any, slice_spec: Any, var: Any = None) -> Tensor:
    """`tensor[slice_spec]` (tf.Tensor.__getitem__): ints, slices, `...`, None, integer scalar tensors, boolean masks.

    Raises TypeError for anything else. With `var` the result has `assign`.
    """
    if _is_mask(slice_spec):
        return boolean_mask(tensor=tensor, mask=slice_spec)
    items = slice_spec if isinstance(slice_spec, (list, tuple)) else [slice_spec]
    spec = _Spec()
    for item in items:
        spec.add(item)
    with name_scope(
        None, "strided_slice", [tensor, *spec.begin, *spec.end, *spec.strides]
    ) as scope:
        if spec.begin:
            packed = [stack(part) for part in (spec.begin, spec.end, spec.strides)]
            if any(p.dtype == dtypes.int64 for p in packed):
                packed = [
                    p if p.dtype == dtypes.int64 else raw.Cast(p, DstT=dtypes.int64) for p in packed
                ]
        else:
            packed = [constant([], dtypes.int32)] * 3
        begin, end, strides = packed
        return strided_slice(tensor, begin, end, strides, var=var, name=scope, **spec.masks)


def _getitem(self: Tensor, slice_spec: Any) -> Tensor:
    return slice_helper(self, slice_spec)


Tensor._override_operator("__getitem__", _getitem)
