"""Summaries: the names of `tf.summary`."""

from __future__ import annotations

from flowmesh.frontend.summary_merge import (
    merge as merge,
    merge_all as merge_all,
)
from flowmesh.proto.event_pb2 import (
    Event as Event,
    SessionLog as SessionLog,
    TaggedRunMetadata as TaggedRunMetadata,
)
from flowmesh.proto.summary_pb2 import (
    Summary as Summary,
    SummaryDescription as SummaryDescription,
)
from flowmesh.summaries.summary import (
    audio as audio,
    get_summary_description as get_summary_description,
    histogram as histogram,
    image as image,
    scalar as scalar,
    tensor_summary as tensor_summary,
    text as text,
)
from flowmesh.summaries.writer import (
    FileWriter as FileWriter,
    FileWriterCache as FileWriterCache,
)

__all__ = [
    "Event",
    "FileWriter",
    "FileWriterCache",
    "SessionLog",
    "Summary",
    "SummaryDescription",
    "TaggedRunMetadata",
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
