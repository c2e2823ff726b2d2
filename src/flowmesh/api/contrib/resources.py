"""Resources of a graph: the names of `tensorflow.python.ops.resources`."""

from __future__ import annotations

from flowmesh.frontend.contrib_resources import (
    initialize_resources as initialize_resources,
    local_resources as local_resources,
    shared_resources as shared_resources,
)

__all__ = ["initialize_resources", "local_resources", "shared_resources"]
