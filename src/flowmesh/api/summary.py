"""Summaries: the names of `tf.summary`."""

from __future__ import annotations

from flowmesh.proto.event_pb2 import (
    Event as Event,
    SessionLog as SessionLog,
    TaggedRunMetadata as TaggedRunMetadata,
)
from flowmesh.proto.summary_pb2 import (
    Summary as Summary,
    SummaryDescription as SummaryDescription,
)

__all__ = [
    "Event",
    "SessionLog",
    "Summary",
    "SummaryDescription",
    "TaggedRunMetadata",
]
