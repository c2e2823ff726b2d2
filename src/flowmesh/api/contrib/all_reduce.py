"""`tf.contrib.all_reduce.python.all_reduce`: reductions over tensors on several devices."""

from __future__ import annotations

from flowmesh.frontend.contrib_nccl import (
    build_nccl_all_reduce as build_nccl_all_reduce,
    build_recursive_hd_all_reduce as build_recursive_hd_all_reduce,
    build_ring_all_reduce as build_ring_all_reduce,
    build_shuffle_all_reduce as build_shuffle_all_reduce,
)

__all__ = [
    "build_nccl_all_reduce",
    "build_recursive_hd_all_reduce",
    "build_ring_all_reduce",
    "build_shuffle_all_reduce",
]
