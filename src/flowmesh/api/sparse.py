"""Sparse tensors: the names of `tf.sparse`."""

from __future__ import annotations

from flowmesh.formats.crc import (
    mask as mask,
)
from flowmesh.frontend.summary_merge import (
    merge as merge,
)
from flowmesh.graph.composite import (
    SparseTensor as SparseTensor,
)
from flowmesh.ops.accumulator_ops import (
    SparseConditionalAccumulator as SparseConditionalAccumulator,
)
from flowmesh.ops.concat import (
    concat as concat,
)
from flowmesh.ops.math_extra import (
    cross as cross,
)
from flowmesh.ops.math_functions import (
    add as add,
    maximum as maximum,
    minimum as minimum,
)
from flowmesh.ops.matmul import (
    matmul as matmul,
)
from flowmesh.ops.matrix_functions import (
    eye as eye,
)
from flowmesh.ops.nn_softmax import (
    softmax as softmax,
)
from flowmesh.ops.placeholder import (
    placeholder as placeholder,
)
from flowmesh.ops.reduce_functions import (
    reduce_max as reduce_max,
    reduce_sum as reduce_sum,
)
from flowmesh.ops.reshape import (
    expand_dims as expand_dims,
    reshape as reshape,
)
from flowmesh.ops.segment_functions import (
    segment_mean as segment_mean,
    segment_sum as segment_sum,
)
from flowmesh.ops.split import (
    split as split,
)
from flowmesh.ops.transpose import (
    transpose as transpose,
)

__all__ = [
    "SparseConditionalAccumulator",
    "SparseTensor",
    "add",
    "concat",
    "cross",
    "expand_dims",
    "eye",
    "mask",
    "matmul",
    "maximum",
    "merge",
    "minimum",
    "placeholder",
    "reduce_max",
    "reduce_sum",
    "reshape",
    "segment_mean",
    "segment_sum",
    "softmax",
    "split",
    "transpose",
]
