"""Name scopes of functions that build several nodes, for the layers above `ops/`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from flowmesh.graph.builder import graph_of
from flowmesh.graph.graph import get_default_graph


@contextmanager
def name_scope(
    name: str | None, default_name: str | None = None, values: Sequence[Any] | None = None
) -> Iterator[str]:
    """Opens the scope `name`, or `default_name` when it is None, in the graph of `values` (TensorFlow: `tf.name_scope`).

    Gives the scope's full name with a closing slash. Raises ValueError when both names are None but values are given.
    """
    if name is None and default_name is None and values is not None:
        raise ValueError(
            f"At least one of name ({name}) and default_name ({default_name}) must be provided."
        )
    graph = graph_of(list(values)) if values else get_default_graph()
    with graph.as_default(), graph.name_scope(default_name if name is None else name) as scope:
        yield scope


@contextmanager
def init_scope() -> Iterator[None]:
    """Lifts nodes out of control dependencies and cond branches, so that initial values never depend on them."""
    graph = get_default_graph()
    scope = graph.get_name_scope()
    with graph.control_dependencies(None), graph.name_scope(scope + "/" if scope else None):
        yield
