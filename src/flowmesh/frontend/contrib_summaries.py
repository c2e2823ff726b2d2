"""Summaries of tensors and collections (TensorFlow: `tf.contrib.layers.summarize_tensor` ...)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from flowmesh.core.dtypes import float32
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.raw import raw
from flowmesh.ops import comparison
from flowmesh.ops.cast import cast
from flowmesh.ops.reduce_functions import reduce_mean


def _add(kind: str, name: str, values: Any) -> Any:
    """A summary node `name`, in the collection SUMMARIES, tagged with its full name."""
    graph = get_default_graph()
    with graph.name_scope(re.sub(r"[^-/\w.]", "_", name).lstrip("/")) as scope:
        build = raw.ScalarSummary if kind == "scalar" else raw.HistogramSummary
        made = build(scope.rstrip("/"), values, name=scope)
    graph.add_to_collection(GraphKeys.SUMMARIES, made)
    return made


def summarize_tensor(tensor: Any, tag: str | None = None) -> Any:
    """A scalar summary of a scalar, a histogram of anything else."""
    name = tag or f"{tensor.op.name}_summary"
    return _add("scalar" if tensor.shape.ndims == 0 else "histogram", name, tensor)


def _part(name: str, holds: Any) -> None:
    """A scalar summary of how large a part of bools holds."""
    _add("scalar", name, reduce_mean(cast(holds, float32, name="ToFloat")))


def summarize_activation(op: Any) -> Any:
    """A histogram of the tensor, and for relu and the like the part that is zero."""
    if op.op.type in ("Relu", "Softplus", "Relu6"):
        source = op.op.inputs[0]
        _part(f"{op.op.name}/zeros", comparison.less(source, cast(0.0, source.dtype)))
    if op.op.type == "Relu6":
        source = op.op.inputs[0]
        _part(f"{op.op.name}/sixes", comparison.greater(source, cast(6.0, source.dtype)))
    return _add("histogram", f"{op.op.name}/activation", op)


def summarize_tensors(
    tensors: Iterable[Any], summarizer: Callable[[Any], Any] = summarize_tensor
) -> list[Any]:
    """`summarizer` of each."""
    return [summarizer(tensor) for tensor in tensors]


def summarize_collection(
    collection: str,
    name_filter: str | None = None,
    summarizer: Callable[[Any], Any] = summarize_tensor,
) -> list[Any]:
    """`summarizer` of what stands in a collection and matches the filter."""
    tensors = get_default_graph().get_collection(collection)
    if name_filter is not None:
        tensors = [t for t in tensors if re.match(name_filter, t.op.name)]
    return summarize_tensors(tensors, summarizer)


def summarize_activations(
    name_filter: str | None = None, summarizer: Callable[[Any], Any] = summarize_activation
) -> list[Any]:
    """Summaries of the collection ACTIVATIONS."""
    return summarize_collection(GraphKeys.ACTIVATIONS, name_filter, summarizer)
