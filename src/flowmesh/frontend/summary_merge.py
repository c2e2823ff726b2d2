"""Merging summaries into one node: what both the summary functions and the supervisor need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from flowmesh.frontend.naming import name_scope
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.raw import raw


def collect(value: Any, collections: Iterable[str] | None, default: Sequence[str]) -> None:
    """Adds a summary to the collections given, or to the default ones."""
    for key in default if collections is None else collections:
        get_default_graph().add_to_collection(key, value)


def merge(
    inputs: Sequence[Any], collections: Iterable[str] | None = None, name: str | None = None
) -> Any:
    """A string scalar with the values of several serialized summaries (TensorFlow: `tf.summary.merge`).

    `inputs` are string tensors; the result is added to `collections`, none by default. Running it raises
    InvalidArgumentError when a tag comes twice.
    """
    with name_scope(name, "Merge", inputs):
        value = raw.MergeSummary(list(inputs), name=name)
        collect(value, collections, [])
    return value


def merge_all(
    key: str = GraphKeys.SUMMARIES, scope: str | None = None, name: str | None = None
) -> Any:
    """The merged summaries of a collection of the default graph, None when it is empty
    (TensorFlow: `tf.summary.merge_all`).
    """
    summaries = get_default_graph().get_collection(key, scope=scope)
    return merge(summaries, name=name) if summaries else None
