"""Summary nodes: each gives a serialized `Summary` for an event file (TensorFlow: `tf.summary`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from google.protobuf import json_format

from flowmesh.core.dtypes import float32, string
from flowmesh.core.platform import tf_logging
from flowmesh.frontend.naming import name_scope
from flowmesh.frontend.summary_merge import collect, merge, merge_all
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.raw import raw
from flowmesh.proto.summary_pb2 import SummaryDescription, SummaryMetadata

_INVALID_TAG_CHARACTERS = re.compile(r"[^-/\w\.]")
_DEFAULT = (GraphKeys.SUMMARIES,)


def clean_tag(name: str | None) -> str | None:
    """A summary name with underscores for what a node name may not hold, and no leading slashes."""
    if name is None:
        return None
    cleaned = _INVALID_TAG_CHARACTERS.sub("_", name).lstrip("/")
    if cleaned != name:
        tf_logging.info("Summary name %s is illegal; using %s instead.", name, cleaned)
    return cleaned


@contextmanager
def summary_scope(
    name: str,
    family: str | None = None,
    default_name: str | None = None,
    values: Sequence[Any] | None = None,
) -> Iterator[tuple[str, str]]:
    """Opens the name scope of a summary; gives its tag and the scope."""
    name_, family = clean_tag(name), clean_tag(family)
    base = name_ if family is None else f"{family}/{name_}"
    with name_scope(base, default_name, values) as scope:
        tag = scope.rstrip("/")
        yield tag if family is None else f"{family}/{tag}", scope


def scalar(
    name: str, tensor: Any, collections: Iterable[str] | None = None, family: str | None = None
) -> Any:
    """A summary of one number: a real scalar tensor (TensorFlow: `tf.summary.scalar`).

    Returns a string scalar, added to `collections` (SUMMARIES by default). `family` prefixes the tag, which groups
    summaries in TensorBoard.
    """
    with summary_scope(name, family, values=[tensor]) as (tag, scope):
        value = raw.ScalarSummary(tag, tensor, name=scope)
        collect(value, collections, _DEFAULT)
    return value


def histogram(
    name: str, values: Any, collections: Iterable[str] | None = None, family: str | None = None
) -> Any:
    """A summary of the distribution of a real tensor of any shape (TensorFlow: `tf.summary.histogram`).

    Running it raises InvalidArgumentError for values that are not finite.
    """
    with summary_scope(name, family, "HistogramSummary", [values]) as (tag, scope):
        value = raw.HistogramSummary(tag, values, name=scope)
        collect(value, collections, _DEFAULT)
    return value


def image(
    name: str,
    tensor: Any,
    max_outputs: int = 3,
    collections: Iterable[str] | None = None,
    family: str | None = None,
) -> Any:
    """A summary of the first images of a [batch, height, width, channels] tensor with 1, 3 or 4 channels, uint8 or
    floating (TensorFlow: `tf.summary.image`).
    """
    with summary_scope(name, family, values=[tensor]) as (tag, scope):
        value = raw.ImageSummary(tag, tensor, max_images=max_outputs, name=scope)
        collect(value, collections, _DEFAULT)
    return value


def audio(
    name: str,
    tensor: Any,
    sample_rate: Any,
    max_outputs: int = 3,
    collections: Iterable[str] | None = None,
    family: str | None = None,
) -> Any:
    """A summary of the first clips of a float32 tensor [batch, frames, channels] or [batch, frames] with values from -1
    to 1 (TensorFlow: `tf.summary.audio`).
    """
    with summary_scope(name, family, values=[tensor]) as (tag, scope):
        rate = convert_to_tensor(sample_rate, dtype=float32, name="sample_rate")
        value = raw.AudioSummaryV2(tag, tensor, rate, max_outputs=max_outputs, name=scope)
        collect(value, collections, _DEFAULT)
    return value


def tensor_summary(
    name: str,
    tensor: Any,
    summary_description: str | None = None,
    collections: Iterable[str] | None = None,
    summary_metadata: Any = None,
    family: str | None = None,
    display_name: str | None = None,
) -> Any:
    """A summary of a whole tensor, with metadata for a TensorBoard plugin (TensorFlow: `tf.summary.tensor_summary`)."""
    metadata = SummaryMetadata()
    if summary_metadata is not None:
        metadata.CopyFrom(summary_metadata)
    if summary_description is not None:
        metadata.summary_description = summary_description
    if display_name is not None:
        metadata.display_name = display_name
    with summary_scope(name, family, values=[tensor]) as (tag, scope):
        value = raw.TensorSummaryV2(tag, tensor, metadata.SerializeToString(), name=scope)
        collect(value, collections, _DEFAULT)
    return value


def text(name: str, tensor: Any, collections: Iterable[str] | None = None) -> Any:
    """A summary of a string tensor, which TensorBoard shows as Markdown (TensorFlow: `tf.summary.text`).

    Raises ValueError for another dtype.
    """
    if tensor.dtype.base_dtype != string:
        raise ValueError(
            f"Expected tensor {tensor.name} to have dtype string, got {tensor.dtype!r}"
        )
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    return tensor_summary(name, tensor, summary_metadata=metadata, collections=collections)


def get_summary_description(node_def: Any) -> Any:
    """The SummaryDescription of a TensorSummary node (TensorFlow: `tf.summary.get_summary_description`).

    Raises ValueError for another op type.
    """
    if node_def.op != "TensorSummary":
        raise ValueError(f"Can't get_summary_description on {node_def.op}")
    description = SummaryDescription()
    json_format.Parse(node_def.attr["description"].s.decode(), description)
    return description


__all__ = [
    "audio",
    "get_summary_description",
    "histogram",
    "image",
    "merge",
    "merge_all",
    "scalar",
    "tensor_summary",
    "text",
]
