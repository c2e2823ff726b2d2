"""`tf.contrib.nccl`: reductions over tensors on several devices."""

from __future__ import annotations

from flowmesh.frontend.contrib_nccl import (
    all_max as all_max,
    all_min as all_min,
    all_prod as all_prod,
    all_sum as all_sum,
    broadcast as broadcast,
    reduce_sum as reduce_sum,
)

__all__ = ["all_max", "all_min", "all_prod", "all_sum", "broadcast", "reduce_sum"]
