"""Images: the names of `tf.image`."""

from __future__ import annotations

from flowmesh.formats.summary import (
    encode_png as encode_png,
)
from flowmesh.ops.random_ops import (
    random_crop as random_crop,
)
from flowmesh.ops.transpose import (
    transpose as transpose,
)

__all__ = [
    "encode_png",
    "random_crop",
    "transpose",
]
