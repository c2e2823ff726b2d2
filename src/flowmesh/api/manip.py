"""Array manipulation: the names of `tf.manip`."""

from __future__ import annotations

from flowmesh.ops.gather import (
    gather_nd as gather_nd,
)
from flowmesh.ops.pad import (
    tile as tile,
)
from flowmesh.ops.reshape import (
    reshape as reshape,
)
from flowmesh.ops.reverse import (
    reverse as reverse,
)
from flowmesh.ops.scatter_nd import (
    scatter_nd as scatter_nd,
)
from flowmesh.ops.space import (
    batch_to_space_nd as batch_to_space_nd,
    space_to_batch_nd as space_to_batch_nd,
)

__all__ = [
    "batch_to_space_nd",
    "gather_nd",
    "reshape",
    "reverse",
    "scatter_nd",
    "space_to_batch_nd",
    "tile",
]
