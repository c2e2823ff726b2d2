"""Sparse tensors: the names of `tf.sparse`."""

from __future__ import annotations

from flowmesh.graph.composite import (
    SparseTensor as SparseTensor,
)
from flowmesh.ops.accumulator_ops import (
    SparseConditionalAccumulator as SparseConditionalAccumulator,
)
from flowmesh.ops.segment_functions import (
    sparse_segment_mean as segment_mean,
    sparse_segment_sqrt_n as segment_sqrt_n,
    sparse_segment_sum as segment_sum,
)
from flowmesh.ops.sparse_merge import sparse_merge as merge, sparse_reorder as reorder
from flowmesh.ops.sparse_values import (
    sparse_placeholder as placeholder,
    sparse_tensor_to_dense as to_dense,
)

__all__ = [
    "SparseConditionalAccumulator",
    "SparseTensor",
    "merge",
    "placeholder",
    "reorder",
    "segment_mean",
    "segment_sqrt_n",
    "segment_sum",
    "to_dense",
]
