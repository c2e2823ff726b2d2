"""The sum of a sparse and a dense tensor."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core import errors
from flowmesh.core.dtypes import INDEX, NUMBERS
from flowmesh.core.shapes import TensorShape
from flowmesh.graph.op_def import Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw


class SparseTensorDenseAdd(OpDef):
    """`b` with the values of a sparse tensor of the same shape added."""

    a_indices = Input("Tindices")
    a_values = Input("T")
    a_shape = Input("Tindices")
    b = Input("T")
    output = Output("T")
    T = type_attr(NUMBERS)
    Tindices = type_attr(INDEX)
    numpy_only = True

    def infer(self, ctx: Any, indices: Any, values: Any, shape: Any, b: TensorShape) -> TensorShape:
        return b

    def compute(self, xp: Any, indices: Any, values: Any, shape: Any, b: Any) -> Any:
        if tuple(shape) != b.shape:
            raise errors.InvalidArgumentError(
                None,
                None,
                f"Dimensions do not agree: the sparse tensor has shape {list(shape)}, the dense one {list(b.shape)}",
            )
        if len(indices) and not (np.all(indices >= 0) and np.all(indices < shape)):
            raise errors.InvalidArgumentError(None, None, "Sparse tensor has an invalid index")
        result = np.array(b)
        np.add.at(result, tuple(np.asarray(indices).T), values)
        return result

    def gradient(self, op: Any, grad: Any) -> Any:
        return None, raw.GatherNd(grad, op.inputs[0]), None, grad
