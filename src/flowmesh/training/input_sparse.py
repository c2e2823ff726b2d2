"""Sparse components of batches: they travel through a queue as handles of a map that keeps the parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.frontend.smart_cond import smart_cond
from flowmesh.graph.composite import SparseTensor
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.building import constant
from flowmesh.ops.control import with_dependencies
from flowmesh.ops.sparse_serialize import (
    add_many_sparse_to_tensors_map,
    add_sparse_to_tensors_map,
    take_many_sparse_from_tensors_map,
)
from flowmesh.training.input_support import is_sparse, known_keep


@dataclass
class SparseInfo:
    """What is needed to make a sparse tensor of a column of handles; `sparse` is False for dense components."""

    sparse: bool
    map_op: Any = None
    rank: int | None = None


def _map_op_of(handle: Tensor) -> Any:
    """The operation that puts sparse tensors into a map, behind the Merge of a cond where there is one."""
    op = handle.op
    while op.type == "Merge":
        op = op.inputs[1].op
    return op


def _store(tensor: SparseTensor, enqueue_many: bool, keep: Tensor, shared: Any = None) -> Tensor:
    """The handle (or vector of handles) of a sparse tensor; -1 where it is not to be kept."""
    name = None if shared is None else shared.name
    add = add_many_sparse_to_tensors_map if enqueue_many else add_sparse_to_tensors_map

    def put(value: SparseTensor) -> Tensor:
        return add(value, shared_name=name)

    if keep.shape.ndims == 1:
        return put(_kept(tensor, keep))
    if enqueue_many:
        return smart_cond(keep, lambda: put(tensor), lambda: _minus_ones(tensor))
    if known_keep(keep):
        return put(tensor)
    return smart_cond(keep, lambda: put(tensor), lambda: constant(np.int64(-1), dtypes.int64))


def _minus_ones(tensor: SparseTensor) -> Tensor:
    rows = tensor.dense_shape[0]  # type: ignore[index]
    count = raw.Reshape(raw.Cast(rows, DstT=dtypes.int32), np.array([1], np.int32))
    return raw.Mul(np.int64(-1), raw.Fill(count, np.int64(1)))


def _kept(tensor: SparseTensor, keep: Tensor) -> SparseTensor:
    """The entries of the rows for which `keep` is true; the shape stays."""
    first: Any = tensor.indices[:, 0]  # type: ignore[index]
    which = raw.GatherV2(keep, first, np.int32(0), name="GatherV2")
    rows = raw.Reshape(raw.Where(which), np.array([-1], np.int32))
    return SparseTensor(
        raw.GatherV2(tensor.indices, rows, np.int32(0), name="GatherV2"),
        raw.GatherV2(tensor.values, rows, np.int32(0), name="GatherV2"),
        raw.Identity(tensor.dense_shape),
    )


def store(
    tensors: Sequence[Any], enqueue_many: bool, keep: Tensor, shared: Sequence[Any] | None = None
) -> tuple[list[Any], list[SparseInfo]]:
    """The components with handles, one dimension deeper, in place of sparse tensors; and what they stand for."""
    infos: list[SparseInfo] = []
    stored: list[Any] = []
    for i, tensor in enumerate(tensors):
        if not is_sparse(tensor):
            infos.append(SparseInfo(False))
            stored.append(tensor)
            continue
        known = None if shared is None else shared[i].map_op
        handle = _store(tensor, enqueue_many, keep, known)
        rank = tensor.dense_shape.shape.with_rank(1)[0].value
        if rank is not None and not enqueue_many:
            rank += 1
        infos.append(SparseInfo(True, known or _map_op_of(handle), rank))
        # A trailing dimension keeps the handles apart from the batch dimension.
        stored.append(raw.ExpandDims(handle, np.array([-1], np.int32), name="ExpandDims"))
    return stored, infos


def store_join(
    tensor_list_list: Sequence[Sequence[Any]], enqueue_many: bool, keep: Tensor
) -> tuple[list[list[Any]], list[SparseInfo]]:
    """`store` of several lists, whose sparse tensors share one map per component."""
    first, infos = store(tensor_list_list[0], enqueue_many, keep)
    result = [first]
    for tensors in tensor_list_list[1:]:
        if any(is_sparse(t) != info.sparse for t, info in zip(tensors, infos)):
            raise ValueError(
                f"Inconsistent SparseTensors list: {list(tensor_list_list[0])} vs. {list(tensors)}"
            )
        result.append(store(tensors[: len(infos)], enqueue_many, keep, infos)[0])
    return result, infos


def restore(batch: Any, infos: Sequence[SparseInfo]) -> Any:
    """A batch with sparse tensors in place of handles."""
    if not any(info.sparse for info in infos):
        return batch
    tensors = batch if isinstance(batch, (list, tuple)) else [batch]
    restored = [
        _take(tensor, info) if info.sparse else tensor for tensor, info in zip(tensors, infos)
    ]
    flat: list[Any] = []
    for value in restored:
        flat += [value.indices, value.values, value.dense_shape] if is_sparse(value) else [value]
    done = iter([with_dependencies(flat, part) for part in flat])
    if not isinstance(batch, (list, tuple)):
        return restored[0]  # all its parts come from one node
    return [
        SparseTensor(next(done), next(done), next(done)) if info.sparse else next(done)
        for info in infos
    ]


def _take(handles: Tensor, info: SparseInfo) -> SparseTensor:
    flat = raw.Squeeze(handles, squeeze_dims=[1])
    return take_many_sparse_from_tensors_map(info.map_op, flat, rank=info.rank)
