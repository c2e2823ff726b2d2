"""Resources that a graph registers, and their initialization (TensorFlow: `tensorflow.python.ops.resources`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.operation import Operation
from flowmesh.ops.control import group, no_op


def shared_resources() -> list[Any]:
    """The resources in the collection RESOURCES, shared by all replicas."""
    return get_default_graph().get_collection(GraphKeys.RESOURCES)


def local_resources() -> list[Any]:
    """The resources in the collection LOCAL_RESOURCES, of this process alone."""
    return get_default_graph().get_collection(GraphKeys.LOCAL_RESOURCES)


def initialize_resources(resource_list: Iterable[Any], name: str = "init") -> Operation:
    """An operation that creates the resources (what has a `create` op); it does nothing for none."""
    made = [resource.create for resource in resource_list]
    return group(*made, name=name) if made else no_op(name=name)
