"""Name scopes for wrappers that build several nodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from flowmesh.graph.builder import graph_of
from flowmesh.graph.operation import Operation
from flowmesh.graph.tensor import Tensor


@contextmanager
def name_scope(
    name: str | None, default_name: str | None = None, values: Sequence[Any] = ()
) -> Iterator[str]:
    """The scope `name`, or `default_name` where None, in the graph of `values`; yields "scope/"."""
    graph = graph_of(list(values))
    with graph.as_default(), graph.name_scope(default_name if name is None else name) as scope:
        yield scope


def is_dense(value: Any) -> bool:
    """Whether `value` is a Tensor or a variable."""
    if isinstance(value, Tensor):
        return True
    return (
        hasattr(value, "_as_graph_element")
        and hasattr(value, "dtype")
        and not isinstance(value, Operation)
    )
