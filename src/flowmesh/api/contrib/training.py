"""`tf.contrib.training`: strategies that spread variables over parameter servers, batches by length."""

from __future__ import annotations

from flowmesh.training.device_setter import (
    GreedyLoadBalancingStrategy as GreedyLoadBalancingStrategy,
    byte_size_load_fn as byte_size_load_fn,
)
from flowmesh.training.input_buckets import (
    bucket as bucket,
    bucket_by_sequence_length as bucket_by_sequence_length,
)

__all__ = [
    "GreedyLoadBalancingStrategy",
    "bucket",
    "bucket_by_sequence_length",
    "byte_size_load_fn",
]
