"""TensorProto messages of values, and back (TensorFlow: `tf.make_tensor_proto`, `tf.make_ndarray`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core.dtypes import as_dtype
from flowmesh.formats.tensor import from_tensor_proto, to_tensor_proto
from flowmesh.graph.graph import Graph
from flowmesh.ops.constant import constant


def make_tensor_proto(
    values: Any,
    dtype: Any = None,
    shape: Any = None,
    verify_shape: bool = False,
    allow_broadcast: bool = False,
) -> Any:
    """The TensorProto of a number, string, nested list or array; it may be filled up or reshaped to `shape`.

    Raises TypeError or ValueError as `tf.constant` does.
    """
    if hasattr(values, "DESCRIPTOR"):
        return values
    if shape is not None and allow_broadcast:
        array = np.broadcast_to(np.asarray(values), tuple(int(d) for d in shape))
        return to_tensor_proto(array, None if dtype is None else as_dtype(dtype))
    with Graph().as_default():
        made = constant(values, dtype=dtype, shape=shape, verify_shape=verify_shape)
    return to_tensor_proto(made.op.definition.attrs["value"], made.dtype)


def make_ndarray(tensor: Any) -> np.ndarray:
    """The array in a TensorProto, of its own; TypeError for a dtype that NumPy has not."""
    return np.array(from_tensor_proto(tensor))
