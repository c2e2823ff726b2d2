"""`tf.contrib.util`."""

from __future__ import annotations

from flowmesh.frontend.tensor_protos import (
    make_ndarray as make_ndarray,
    make_tensor_proto as make_tensor_proto,
)
from flowmesh.graph.constant_value import constant_value as constant_value

__all__ = ["constant_value", "make_ndarray", "make_tensor_proto"]
