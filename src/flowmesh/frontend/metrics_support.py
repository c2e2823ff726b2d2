"""What all metrics share: local variables, collections, replica-wide results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flowmesh.core.dtypes import float32
from flowmesh.frontend.variable_scope import variable_scope
from flowmesh.frontend.variables import Variable
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.graph import get_default_graph
from flowmesh.ops import fill

Pair = tuple[Any, Any]


def metric_variable(shape: Any, dtype: Any, name: str, validate_shape: bool = True) -> Any:
    """A local variable of zeros in LOCAL_VARIABLES and METRIC_VARIABLES."""
    return Variable(
        initial_value=lambda: fill.zeros(shape, dtype),
        trainable=False,
        collections=[GraphKeys.LOCAL_VARIABLES, GraphKeys.METRIC_VARIABLES],
        validate_shape=validate_shape,
        name=name,
    )


@contextmanager
def metric_scope(name: str | None, default: str, *values: Any) -> Iterator[None]:
    """The variable scope of a metric."""
    with variable_scope(name, default, [v for v in values if v is not None]):
        yield


def collected(value: Any, update: Any, metrics_collections: Any, updates_collections: Any) -> Pair:
    """`(value, update)`, added to the collections asked for."""
    graph = get_default_graph()
    if metrics_collections:
        graph.add_to_collections(metrics_collections, value)
    if updates_collections:
        graph.add_to_collections(updates_collections, update)
    return value, update


__all__ = ["Pair", "collected", "float32", "metric_scope", "metric_variable"]
