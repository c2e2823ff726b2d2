"""How the runtime's error messages name dtypes and shapes: TensorFlow's C++ spelling, not Python's."""

from __future__ import annotations

from collections.abc import Sequence

from flowmesh.core import dtypes
from flowmesh.core.dtypes import DType
from flowmesh.core.shapes import TensorShape

_SHORT_NAMES = {dtypes.float32: "float", dtypes.float64: "double", dtypes.float16: "half"}


def dtype_string(dtype: DType) -> str:
    """What TensorFlow's runtime calls a dtype in its messages: "float", not "float32"."""
    return _SHORT_NAMES.get(dtype.base_dtype, dtype.base_dtype.name)


def shape_string(shape: TensorShape | Sequence[int | None]) -> str:
    """A shape as the runtime's messages show it: "[2,?]"."""
    key = shape.key if isinstance(shape, TensorShape) else tuple(shape)
    if key is None:
        return "<unknown>"
    return f"[{','.join('?' if d is None else str(d) for d in key)}]"
