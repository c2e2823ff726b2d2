"""Graph surgery: the names of `tf.graph_util`."""

from __future__ import annotations

from flowmesh.graph.importer import (
    import_graph_def as import_graph_def,
)

__all__ = [
    "import_graph_def",
]
