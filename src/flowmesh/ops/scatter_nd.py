"""ScatterNd and the TensorScatter family."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core.shapes import TensorShape
from flowmesh.graph.op_def import Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import (
    INDEX,
    NUMERIC_KINDS,
    dims_of,
    first_bad_index,
    ints,
    invalid,
    merge_dim,
    scatter_add,
    scatter_set,
    zeros_of,
)


def _check(indices: Any, updates: Any, dims: list[int]) -> None:
    depth = indices.shape[-1] if indices.ndim else 1
    if depth > len(dims):
        raise invalid(
            f"Index innermost dimension length must be <= shape rank; saw: {depth} vs. {len(dims)}"
        )
    wanted = tuple(indices.shape[:-1]) + tuple(dims[depth:])
    if tuple(updates.shape) != wanted:
        raise invalid(
            f"Must have updates.shape = indices.shape[:batch_dim] + params_shape[slice_dim:], got "
            f"updates.shape: {_text(updates.shape)}, indices.shape: {_text(indices.shape)}, "
            f"params_shape: {_text(dims)}, slice_dim: {depth}"
        )
    if isinstance(indices, np.ndarray):
        error = check_vectors(indices, dims)
        if error is not None:
            raise error


def check_vectors(indices: np.ndarray, dims: list[int]) -> Exception | None:
    """The error for the first index vector that is not within a shape, if there is one."""
    for d in range(indices.shape[-1] if indices.ndim else 1):
        bad = first_bad_index(indices[..., d], dims[d])
        if bad is not None:
            where = ", ".join(map(str, bad[0]))
            vector = ", ".join(str(int(v)) for v in indices[bad[0]])
            return invalid(f"indices[{where}] = [{vector}] does not index into shape {_text(dims)}")
    return None


def _text(dims: Any) -> str:
    return "[" + ",".join(map(str, dims)) + "]"


def _index(indices: Any) -> tuple[Any, ...]:
    return tuple(indices[..., d] for d in range(indices.shape[-1]))


def _check_static(indices: TensorShape, updates: TensorShape, target: TensorShape) -> None:
    ind, upd, dims = dims_of(indices), dims_of(updates), dims_of(target)
    if ind is not None and not ind:
        raise ValueError("Shape must be at least rank 1 but is rank 0")
    if ind is None or upd is None or dims is None or ind[-1] is None:
        return
    wanted = ind[:-1] + dims[ind[-1] :]
    if len(wanted) != len(upd):
        raise ValueError(f"Shapes must be equal rank, but are {len(wanted)} and {len(upd)}")
    for a, b in zip(wanted, upd):
        merge_dim(a, b)


class ScatterNd(OpDef):
    """Zeros of a shape with the updates added at the index vectors."""

    indices, updates = Input("Tindices"), Input("T")
    shape = Input("Tindices")
    output = Output("T")
    T = type_attr()
    Tindices = type_attr(INDEX)
    static_inputs = ("shape",)

    def infer(
        self, ctx: Any, indices: TensorShape, updates: TensorShape, shape: TensorShape
    ) -> TensorShape:
        target = ctx.value_as_shape(2)
        _check_static(indices, updates, target)
        return target

    def compute(self, xp: Any, indices: Any, updates: Any, shape: Any) -> Any:
        dims = ints(shape)
        _check(indices, updates, dims)
        target = zeros_of(xp, dims, self.attrs["T"].as_numpy_dtype)
        if self.attrs["T"].name in ("string", "bool"):
            return scatter_set(xp, target, _index(indices), updates)
        return scatter_add(xp, target, _index(indices), updates)

    def gradient(self, op: Any, grad: Any) -> Any:
        return None, raw.GatherNd(grad, op.inputs[0]), None


class _OnTensor(OpDef, abstract=True):
    def infer(
        self, ctx: Any, tensor: TensorShape, indices: TensorShape, updates: TensorShape
    ) -> TensorShape:
        _check_static(indices, updates, tensor)
        return tensor

    def compute(self, xp: Any, tensor: Any, indices: Any, updates: Any) -> Any:
        _check(indices, updates, list(tensor.shape))
        return self.apply(xp, tensor, _index(indices), updates)

    def apply(self, xp: Any, tensor: Any, index: Any, updates: Any) -> Any:
        """The tensor with the updates applied at `index`."""
        return scatter_add(xp, tensor, index, updates)


class TensorScatterAdd(_OnTensor):
    """`tensor` with the updates added at the index vectors."""

    tensor, indices, updates = Input("T"), Input("Tindices"), Input("T")
    output = Output("T")
    T = type_attr()
    Tindices = type_attr(INDEX)

    def gradient(self, op: Any, grad: Any) -> Any:
        return grad, None, raw.GatherNd(grad, op.inputs[1])


class TensorScatterSub(_OnTensor):
    """`tensor` with the updates subtracted at the index vectors."""

    tensor, indices, updates = Input("T"), Input("Tindices"), Input("T")
    output = Output("T")
    T = type_attr()
    Tindices = type_attr(INDEX)

    def apply(self, xp: Any, tensor: Any, index: Any, updates: Any) -> Any:
        return scatter_add(xp, tensor, index, -updates)

    def gradient(self, op: Any, grad: Any) -> Any:
        return grad, None, -raw.GatherNd(grad, op.inputs[1])


class TensorScatterUpdate(_OnTensor):
    """`tensor` with the updates in place of what stood at the index vectors."""

    tensor, indices, updates = Input("T"), Input("Tindices"), Input("T")
    output = Output("T")
    T = type_attr()
    Tindices = type_attr(INDEX)

    def apply(self, xp: Any, tensor: Any, index: Any, updates: Any) -> Any:
        return scatter_set(xp, tensor, index, updates)

    def gradient(self, op: Any, grad: Any) -> Any:
        kept = raw.TensorScatterUpdate(grad, op.inputs[1], raw.ZerosLike(op.inputs[2]))
        return kept, None, raw.GatherNd(grad, op.inputs[1])


class ScatterNdNonAliasingAdd(_OnTensor):
    """`input` with the updates added at the index vectors."""

    input, indices, updates = Input("T"), Input("Tindices"), Input("T")
    output = Output("T")
    T = type_attr(NUMERIC_KINDS)
    Tindices = type_attr(INDEX)

    def gradient(self, op: Any, grad: Any) -> Any:
        return grad, None, raw.GatherNd(grad, op.inputs[1])


def scatter_nd(indices: Any, updates: Any, shape: Any, name: str | None = None) -> Tensor:
    """Zeros of `shape` with `updates` added at the index vectors in the last dimension of `indices` (tf.scatter_nd)."""
    return raw.ScatterNd(indices, updates, shape, name=name)


def tensor_scatter_add(tensor: Any, indices: Any, updates: Any, name: str | None = None) -> Tensor:
    """`tensor` with `updates` added at the index vectors (tf.tensor_scatter_add)."""
    return raw.TensorScatterAdd(tensor, indices, updates, name=name)


def tensor_scatter_sub(tensor: Any, indices: Any, updates: Any, name: str | None = None) -> Tensor:
    """`tensor` with `updates` subtracted at the index vectors (tf.tensor_scatter_sub)."""
    return raw.TensorScatterSub(tensor, indices, updates, name=name)


def tensor_scatter_update(
    tensor: Any, indices: Any, updates: Any, name: str | None = None
) -> Tensor:
    """`tensor` with `updates` written at the index vectors (tf.tensor_scatter_update)."""
    return raw.TensorScatterUpdate(tensor, indices, updates, name=name)
