"""Sparse values: SparseToDense and sparse placeholders."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core.dtypes import int64
from flowmesh.core.shapes import TensorShape
from flowmesh.graph.composite import SparseTensor
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import INDEX, ints, invalid, zeros_of
from flowmesh.ops.fill import zeros
from flowmesh.ops.placeholder import placeholder


def _coordinates(indices: Any, rank: int) -> np.ndarray:
    indices = np.asarray(indices)
    if indices.ndim > 2:
        raise invalid(
            f"sparse_indices should be a scalar, vector, or matrix, got shape {list(indices.shape)}"
        )
    matrix = indices.reshape(-1, 1) if indices.ndim < 2 else indices
    if matrix.shape[1] != rank:
        raise invalid(
            f"output_shape has incorrect number of elements: {rank} should be: {matrix.shape[1]}"
        )
    return matrix


def _check_order(matrix: np.ndarray, dims: list[int]) -> None:
    previous: tuple[int, ...] | None = None
    for i, row in enumerate(matrix.tolist()):
        at = tuple(row)
        shown = ",".join(map(str, at))
        if any(not 0 <= v < d for v, d in zip(at, dims)):
            raise invalid(
                f"indices[{i}] = [{shown}] is out of bounds: need 0 <= index < [{','.join(map(str, dims))}]"
            )
        if previous is not None and at <= previous:
            why = (
                "is repeated"
                if at == previous
                else "is out of order. Many sparse ops require sorted indices.\n    Use `tf.sparse.reorder` to create a correctly ordered copy.\n\n"
            )
            raise invalid(f"indices[{i}] = [{shown}] {why}")
        previous = at


class SparseToDense(OpDef):
    """A dense tensor with values at the given coordinates and a default elsewhere."""

    sparse_indices, output_shape = Input("Tindices"), Input("Tindices")
    sparse_values, default_value = Input("T"), Input("T")
    dense = Output("T")
    validate_indices = Attr("bool", True)
    T = type_attr()
    Tindices = type_attr(INDEX)
    numpy_only = True

    def infer(self, ctx: Any, *shapes: TensorShape) -> TensorShape:
        return ctx.value_as_shape(1)

    def compute(
        self,
        xp: Any,
        sparse_indices: Any,
        output_shape: Any,
        sparse_values: Any,
        default_value: Any,
    ) -> Any:
        dims = ints(output_shape)
        matrix = _coordinates(sparse_indices, len(dims))
        if self.attrs["validate_indices"]:
            _check_order(matrix, dims)
        if np.ndim(default_value) != 0:
            raise invalid("default_value should be a scalar.")
        dense = zeros_of(np, dims, self.attrs["T"].as_numpy_dtype)
        dense[...] = default_value
        if np.ndim(sparse_values) == 1 and len(sparse_values) != len(matrix):
            raise invalid(
                f"sparse_values has incorrect shape [{len(sparse_values)}], should be [] or "
                f"[{len(matrix)}]"
            )
        dense[tuple(matrix.T)] = sparse_values
        return dense

    def gradient(self, op: Any, grad: Any) -> Any:
        values = raw.GatherNd(grad, op.inputs[0])
        default = _sum_all(grad) - _sum_all(values)
        return None, None, values, default


def _sum_all(tensor: Tensor) -> Any:
    flat = raw.Reshape(tensor, [-1])
    return raw.Sum(flat, [0])


def sparse_to_dense(
    sparse_indices: Any,
    output_shape: Any,
    sparse_values: Any,
    default_value: Any = 0,
    validate_indices: bool = True,
    name: str | None = None,
) -> Tensor:
    """A dense tensor of `output_shape` with `sparse_values` at `sparse_indices` (tf.sparse_to_dense).

    `sparse_indices` is [n, rank], [n] or a scalar; with `validate_indices` it has to be sorted and without repeats:
    InvalidArgumentError otherwise.
    """
    return raw.SparseToDense(
        sparse_indices,
        output_shape,
        sparse_values,
        default_value,
        validate_indices=validate_indices,
        name=name,
    )


def sparse_tensor_to_dense(
    sp_input: SparseTensor,
    default_value: Any = None,
    validate_indices: bool = True,
    name: str | None = None,
) -> Tensor:
    """The dense tensor of a SparseTensor (tf.sparse_tensor_to_dense, tf.sparse.to_dense)."""
    if default_value is None:
        default_value = zeros([], sp_input.dtype)
    return sparse_to_dense(
        sp_input.indices,
        sp_input.dense_shape,
        sp_input.values,
        default_value,
        validate_indices,
        name,
    )


def sparse_placeholder(dtype: Any, shape: Any = None, name: str | None = None) -> SparseTensor:
    """A SparseTensor whose parts have to be fed (tf.sparse_placeholder)."""
    shape_name = f"{name}/shape" if name is not None else None
    if shape is None:
        shape = placeholder(int64, [None], shape_name)
        rank: int | None = None
    elif isinstance(shape, Tensor):
        rank = shape.shape.as_list()[0] if shape.shape.ndims == 1 else None
    else:
        sizes = TensorShape(shape).as_list()
        rank = len(sizes)
        if None in sizes:
            shape = placeholder(int64, [rank], shape_name)
        else:
            shape = convert_to_tensor(np.array(sizes, np.int64), name=shape_name)
    return SparseTensor(
        values=placeholder(dtype, [None], f"{name}/values" if name is not None else None),
        indices=placeholder(int64, [None, rank], f"{name}/indices" if name is not None else None),
        dense_shape=shape,
    )
