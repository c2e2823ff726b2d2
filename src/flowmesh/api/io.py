"""Files and records: the names of `tf.io`."""

from __future__ import annotations

from flowmesh.ops.data_flow import (
    PaddingFIFOQueue as PaddingFIFOQueue,
    PriorityQueue as PriorityQueue,
    QueueBase as QueueBase,
    RandomShuffleQueue as RandomShuffleQueue,
)
from flowmesh.ops.decode_csv import (
    decode_csv as decode_csv,
)
from flowmesh.ops.io_ops import (
    matching_files as matching_files,
    read_file as read_file,
    write_file as write_file,
)
from flowmesh.ops.sparse_serialize import (
    deserialize_many_sparse as deserialize_many_sparse,
    parse_tensor as parse_tensor,
    serialize_many_sparse as serialize_many_sparse,
    serialize_sparse as serialize_sparse,
    serialize_tensor as serialize_tensor,
)
from flowmesh.ops.string_numbers import (
    decode_base64 as decode_base64,
    decode_raw as decode_raw,
    encode_base64 as encode_base64,
)
from flowmesh.training.graph_io import (
    write_graph as write_graph,
)
from flowmesh.training.input_producers import (
    match_filenames_once as match_filenames_once,
)

__all__ = [
    "PaddingFIFOQueue",
    "PriorityQueue",
    "QueueBase",
    "RandomShuffleQueue",
    "decode_base64",
    "decode_csv",
    "decode_raw",
    "deserialize_many_sparse",
    "encode_base64",
    "match_filenames_once",
    "matching_files",
    "parse_tensor",
    "read_file",
    "serialize_many_sparse",
    "serialize_sparse",
    "serialize_tensor",
    "write_file",
    "write_graph",
]
