"""Sparse tensors put together from their parts: SparseReorder, `sparse_reorder`, `sparse_merge`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flowmesh.core.dtypes import int64
from flowmesh.core.shapes import TensorShape
from flowmesh.graph.composite import SparseTensor
from flowmesh.graph.op_def import Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.building import name_scope
from flowmesh.ops.cast import cast
from flowmesh.ops.shape_rules import with_rank


class SparseReorder(OpDef):
    """The entries of a sparse tensor in row-major order."""

    input_indices, input_values, input_shape = Input(int64), Input("T"), Input(int64)
    output_indices, output_values = Output(int64), Output("T")
    T = type_attr()
    numpy_only = True

    def infer(self, ctx: Any, *shapes: TensorShape) -> Any:
        indices, values, shape = shapes
        with_rank(shape, 1)
        return with_rank(indices, 2), with_rank(values, 1)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        indices, values, _ = (np.asarray(v) for v in inputs)
        order = np.lexsort(indices.T[::-1]) if indices.shape[1] else np.arange(len(indices))
        return indices[order], values[order]

    def gradient(self, op: Any, *grads: Any) -> Any:
        places = raw.Range(np.int32(0), raw.Size(op.inputs[1]), np.int32(1))
        entries = raw.SparseReorder(op.inputs[0], places, op.inputs[2])
        back = raw.InvertPermutation(entries[1])
        return None, raw.GatherV2(grads[1], back, np.int32(0)), None


def sparse_reorder(sp_input: Any, name: str | None = None) -> SparseTensor:
    """The SparseTensor with its entries in row-major order (tf.sparse_reorder)."""
    indices, values = raw.SparseReorder(
        sp_input.indices, sp_input.values, sp_input.dense_shape, name=name
    )
    known = sp_input.shape
    if known.is_fully_defined():
        return SparseTensor(indices, values, np.array(known.as_list(), np.int64))
    return SparseTensor(indices, values, raw.Identity(sp_input.dense_shape))


def sparse_merge(
    sp_ids: Any,
    sp_values: SparseTensor,
    vocab_size: Any,
    name: str | None = None,
    already_sorted: bool = False,
) -> SparseTensor:
    """The values of `sp_values` at places whose last coordinates are the ids in `sp_ids` (tf.sparse_merge).

    `sp_ids` is a SparseTensor or a list of them, `vocab_size` a size (or a list) for the new dimensions. Raises TypeError
    for other types, ValueError for lists of different lengths.
    """
    if not isinstance(sp_values, SparseTensor):
        raise TypeError(f"sp_values has to be a SparseTensor. Found {type(sp_values)}")
    if isinstance(sp_ids, SparseTensor):
        sp_ids, vocab_size = [sp_ids], [vocab_size]
    if not isinstance(vocab_size, (list, tuple)):
        raise TypeError(
            f"vocab_size has to be a list of Tensors or Python ints. Found {type(vocab_size)}"
        )
    for size in vocab_size:
        if not isinstance(size, (Tensor, int)):
            raise TypeError(f"vocab_size has to be a Tensor or Python int. Found {type(size)}")
    if len(sp_ids) != len(vocab_size):
        raise ValueError("sp_ids and vocab_size have to have equal lengths.")
    with name_scope(name, "SparseMerge", [*sp_ids, sp_values]):
        merged = _merged(sp_ids, sp_values, vocab_size)
        if already_sorted:
            return merged
        ordered = sparse_reorder(merged)
        return SparseTensor(ordered.indices, ordered.values, merged.dense_shape)


def _merged(
    sp_ids: Sequence[SparseTensor], values: SparseTensor, sizes: Sequence[Any]
) -> SparseTensor:
    columns, dims = [], []
    for ids, size in zip(sp_ids, sizes):
        column = ids.values
        if column.dtype != int64:
            column = raw.Cast(column, DstT=int64)
        columns.append(raw.ExpandDims(column, np.int32(1), name="ExpandDims"))
        dims.append(cast(size, int64))
    first: Any = sp_ids[0].indices
    shape: Any = sp_ids[0].dense_shape
    indices = raw.ConcatV2([first[:, :-1], *columns], np.int32(1), name="concat")
    full = raw.ConcatV2(
        [shape[:-1], raw.Pack(dims, name="concat_1/values_1")], np.int32(0), name="concat"
    )
    return SparseTensor(indices, values.values, full)
