"""`Const`, `tf.constant`, and the conversion of Python values, shapes and lists to tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.dtypes import DType
from flowmesh.core.shapes import Dimension, TensorShape
from flowmesh.graph import convert, hooks
from flowmesh.graph.op_def import Attr, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.naming import is_dense, name_scope
from flowmesh.ops.tensor_value import to_array


class Const(OpDef):
    """A constant tensor."""

    output = Output("dtype")
    value = Attr("tensor")
    dtype = type_attr()
    NotDifferentiable = True

    def infer(self, ctx: Any) -> TensorShape:
        return TensorShape(self.attrs["value"].shape)

    def compute(self, xp: Any) -> Any:
        return self.attrs["value"]


def constant(
    value: Any,
    dtype: Any = None,
    shape: Any = None,
    name: str | None = "Const",
    verify_shape: bool = False,
) -> Tensor:
    """A tensor that holds `value` (tf.constant).

    Args:
      value: a scalar, nested list or array. Python floats become float32 and ints int32; NumPy values keep their dtype.
      dtype: the dtype of the elements; values that it cannot hold raise TypeError.
      shape: the dimensions; the last element fills what is missing, too many raise ValueError.
      verify_shape: raise TypeError when the value's own shape is not `shape`.
    """
    array = to_array(value, dtype, shape, verify_shape, name)
    return raw.Const(value=array, dtype=dtypes.as_dtype(array.dtype), name=name)


constant_v1 = constant


def _convert_value(
    value: Any, dtype: Any = None, name: str | None = None, as_ref: bool = False
) -> Any:
    return constant(value, dtype, name=name or "Const")


def _convert_shape(
    value: TensorShape, dtype: Any = None, name: str | None = None, as_ref: bool = False
) -> Any:
    if not value.is_fully_defined():
        raise ValueError(f"Cannot convert a partially known TensorShape to a Tensor: {value}")
    sizes = [int(d) for d in value]
    if dtype is not None:
        if dtypes.as_dtype(dtype) not in (dtypes.int32, dtypes.int64):
            raise TypeError(f"Cannot convert a TensorShape to dtype: {dtype}")
    elif any(size >= 2**31 for size in sizes):
        if any(size >= 2**63 for size in sizes):
            raise ValueError(f"Dimension too large to fit in int64: {value}")
        dtype = dtypes.int64
    else:
        dtype = dtypes.int32
    return constant(sizes, dtype, name=name or "shape_as_tensor")


def _convert_dimension(
    value: Dimension, dtype: Any = None, name: str | None = None, as_ref: bool = False
) -> Any:
    if value.value is None:
        raise ValueError(f"Cannot convert an unknown Dimension to a Tensor: {value}")
    if dtype is None:
        dtype = dtypes.int64 if value.value >= 2**31 else dtypes.int32
    elif dtypes.as_dtype(dtype) not in (dtypes.int32, dtypes.int64):
        raise TypeError(f"Cannot convert a TensorShape to dtype: {dtype}")
    return constant(value.value, dtype, name=name or "shape_as_tensor")


# -- lists that hold tensors -----------------------------------------------------------------------


def _first_tensor_dtype(value: Any) -> DType | None:
    for item in value:
        if is_dense(item):
            return item.dtype.base_dtype
        if isinstance(item, (list, tuple)):
            dtype = _first_tensor_dtype(item)
            if dtype is not None:
                return dtype
    return None


def _cast_tensors(value: Any, dtype: DType) -> Any:
    """The nested list with every tensor of another dtype cast."""
    if isinstance(value, (list, tuple)):
        return [_cast_tensors(v, dtype) for v in value]
    if is_dense(value) and value.dtype.base_dtype != dtype:
        return raw.Cast(value, DstT=dtype)
    return value


def _pack(value: Any, dtype: DType, name: str) -> Any:
    """The nested list as one tensor, or a list of Python values where it holds no tensor."""
    packed = False
    items: list[Any] = []
    with name_scope(name) as scope:
        for i, item in enumerate(value):
            if is_dense(item):
                if item.dtype.base_dtype != dtype:
                    raise TypeError(
                        f"Cannot convert a list containing a tensor of dtype {item.dtype} to {dtype} "
                        f"(Tensor is: {item!r})"
                    )
                packed = True
            elif isinstance(item, (list, tuple)):
                item = _pack(item, dtype, str(i))
                packed = packed or isinstance(item, Tensor)
            items.append(item)
        if not packed:
            return items
        tensors = [
            item if is_dense(item) else constant(item, dtype, name=str(i))
            for i, item in enumerate(items)
        ]
        return raw.Pack(tensors, name=scope)


def _convert_list(
    value: Any, dtype: Any = None, name: str | None = None, as_ref: bool = False
) -> Any:
    if as_ref:
        return NotImplemented
    found = _first_tensor_dtype(value)
    if found is None:
        return NotImplemented
    if dtype is None:
        dtype = found
    else:
        dtype = dtypes.as_dtype(dtype).base_dtype
        if dtype != found:
            value = _cast_tensors(value, dtype)
    return _pack(value, dtype, name or "packed")


hooks.constant = constant
convert.register_tensor_conversion_function((list, tuple), _convert_list, 99)
convert.register_tensor_conversion_function(TensorShape, _convert_shape, 100)
convert.register_tensor_conversion_function(Dimension, _convert_dimension, 100)
convert.register_tensor_conversion_function((list, tuple), _convert_value, 100)
convert.register_tensor_conversion_function((np.ndarray, np.generic), _convert_value, 100)
convert.register_tensor_conversion_function((str, object), _convert_value, 200)
