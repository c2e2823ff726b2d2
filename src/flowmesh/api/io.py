"""Files and records: the names of `tf.io`."""

from __future__ import annotations

from flowmesh.ops.data_flow import (
    PaddingFIFOQueue as PaddingFIFOQueue,
    PriorityQueue as PriorityQueue,
    QueueBase as QueueBase,
    RandomShuffleQueue as RandomShuffleQueue,
)
from flowmesh.ops.io_ops import (
    matching_files as matching_files,
    read_file as read_file,
    write_file as write_file,
)

__all__ = [
    "PaddingFIFOQueue",
    "PriorityQueue",
    "QueueBase",
    "RandomShuffleQueue",
    "matching_files",
    "read_file",
    "write_file",
]
