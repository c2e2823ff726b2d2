"""Sets: the names of `tf.sets`."""

from __future__ import annotations

from flowmesh.ops.shape_ops import (
    size as size,
)

__all__ = [
    "size",
]
