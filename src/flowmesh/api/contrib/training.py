"""`tf.contrib.training`: strategies that spread variables over parameter servers."""

from __future__ import annotations

from flowmesh.training.device_setter import (
    GreedyLoadBalancingStrategy as GreedyLoadBalancingStrategy,
    byte_size_load_fn as byte_size_load_fn,
)

__all__ = ["GreedyLoadBalancingStrategy", "byte_size_load_fn"]
