"""Embedding lookup over one tensor or several partitions, and losses on sampled classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.dtypes import float32, int32, int64
from flowmesh.graph.composite import SparseTensor
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.building import (
    constant,
    filled,
    name_scope,
    ones_like,
    rank_of,
    shape_of,
    size_of,
    zeros_like,
)
from flowmesh.ops.candidate_sampling import compute_accidental_hits, log_uniform_candidate_sampler
from flowmesh.ops.nn_misc import sigmoid_cross_entropy_with_logits
from flowmesh.ops.nn_softmax import softmax_cross_entropy_with_logits_v2


def embedding_lookup(
    params: Any,
    ids: Any,
    partition_strategy: str = "mod",
    name: str | None = None,
    validate_indices: bool = True,
    max_norm: Any = None,
) -> Tensor:
    """The rows of `params` at `ids` (tf.nn.embedding_lookup).

    Args:
      params: one tensor or variable, or the partitions of one table (a list or a partitioned variable).
      ids: int32 or int64 of any shape; the result has shape `ids.shape + row.shape`.
      partition_strategy: "mod" (row i lies in partition i % n) or "div" (partitions hold consecutive rows).
      max_norm: if given, longer rows are scaled to this Euclidean length.
    Raises ValueError without params and for another strategy.
    """
    parts = _parts_of(params)
    if not parts:
        raise ValueError("Need at least one param")
    with name_scope(name, "embedding_lookup", [*parts, ids]) as scope:
        parts = [p if _is_resource(p) else convert_to_tensor(p, name="params") for p in parts]
        ids = convert_to_tensor(ids, name="ids")
        if len(parts) == 1:
            with get_default_graph().colocate_with(_held(parts[0])):
                rows = _clip(_gather(parts[0], ids, scope), ids, max_norm)
            return raw.Identity(rows)
        return _clip(_partitioned(parts, ids, partition_strategy, scope), ids, max_norm)


def _parts_of(params: Any) -> list[Any]:
    """The partitions of a table: given one by one, those of a partitioned variable, or the one that is the whole."""
    if hasattr(params, "_get_variable_list"):
        return list(params._get_variable_list())
    return list(params) if isinstance(params, (list, tuple)) else [params]


def _is_resource(param: Any) -> bool:
    return hasattr(param, "handle") and isinstance(param.handle, Tensor)


def _held(param: Any) -> Any:
    """What rows of a table are gathered beside: the handle or the tensor."""
    return param.handle if _is_resource(param) else param


def _gather(param: Any, ids: Any, name: str | None) -> Tensor:
    """Rows of a tensor, or of a resource variable without reading it whole."""
    if not _is_resource(param):
        axis = (
            constant(np.array(0, np.int32), name="axis")
            if name and name.endswith("/")
            else np.int32(0)
        )
        return raw.GatherV2(param, ids, axis, name=name)
    with name_scope(name, "Gather") as scope:
        rows = raw.ResourceGather(param.handle, ids, dtype=param.dtype.base_dtype, name=scope)
    return raw.Identity(rows)


def _clip(rows: Any, ids: Any, max_norm: Any) -> Any:
    """Rows longer than `max_norm` scaled down to it."""
    if max_norm is None:
        return rows
    first = ids.shape.ndims
    if first is None or rows.shape.ndims is None:
        axes: Any = raw.Range(rank_of(ids), rank_of(rows), np.int32(1), name="range")
    else:
        axes = np.arange(first, rows.shape.ndims, dtype=np.int32)
    with name_scope(None, "clip_by_norm", [rows]) as scope:
        limit = np.asarray(max_norm, rows.dtype.as_numpy_dtype)
        squares = raw.Sum(raw.Mul(rows, rows, name="mul"), axes, keep_dims=True)
        positive = raw.Greater(squares, np.asarray(0, rows.dtype.as_numpy_dtype))
        safe = raw.Select(positive, squares, ones_like(squares))
        length = raw.Select(positive, raw.Sqrt(safe), squares)
        scaled = raw.Mul(rows, limit, name="mul")
        result = raw.RealDiv(scaled, raw.Maximum(length, limit), name="truediv")
        return raw.Identity(result, name=scope)


def _partitioned(parts: list[Any], ids: Any, strategy: str, scope: str) -> Tensor:
    count = len(parts)
    flat = raw.Reshape(ids, np.array([-1], np.int32))
    positions = raw.Range(np.int32(0), size_of(flat), np.int32(1), name="range")
    if strategy == "mod":
        n = np.asarray(count, flat.dtype.as_numpy_dtype)
        part = raw.FloorMod(flat, n, name="mod")
        row = raw.FloorDiv(flat, n, name="floordiv")
    elif strategy == "div":
        part, row = _consecutive(parts, flat)
    else:
        raise ValueError("Unrecognized partition strategy: " + strategy)
    if part.dtype != int32:
        part = raw.Cast(part, DstT=int32)
    rows = raw.DynamicPartition(row, part, num_partitions=count)
    places = raw.DynamicPartition(positions, part, num_partitions=count)
    found = []
    for param, wanted in zip(parts, rows):
        with get_default_graph().colocate_with(_held(param)):
            found.append(_gather(param, wanted, None))
    result = raw.ParallelDynamicStitch(places, found, name=scope)
    row_shape = parts[0].shape[1:]
    for param in parts[1:]:
        row_shape = row_shape.merge_with(param.shape[1:])
    tail = (
        np.array(row_shape.as_list(), np.int32)
        if row_shape.is_fully_defined()
        else shape_of(parts[0])[1:]
    )
    shape = raw.ConcatV2([shape_of(ids), tail], np.int32(0), name="concat")
    result = raw.Reshape(result, shape)
    result.set_shape(ids.shape.concatenate(row_shape))
    return result


def _consecutive(parts: list[Any], flat: Any) -> tuple[Any, Any]:
    """`(partition, row in it)` of each id when partitions hold consecutive rows, the first ones one row more."""
    kind = flat.dtype.base_dtype
    lengths = [p.shape[0].value for p in parts]
    count = len(parts)
    if None not in lengths:
        total: Any = constant(np.array(sum(lengths)), kind)
    else:
        sizes = [shape_of(p)[0] for p in parts]
        total = raw.Cast(raw.AddN(sizes), DstT=kind)
    n = np.asarray(count, kind.as_numpy_dtype)
    one = np.asarray(1, kind.as_numpy_dtype)
    each = raw.FloorDiv(total, n, name="floordiv")
    extras = raw.FloorMod(total, n, name="mod")
    early = raw.FloorDiv(flat, raw.AddV2(each, one, name="add"), name="floordiv")
    late = raw.FloorDiv(raw.Sub(flat, extras, name="sub"), each, name="floordiv")
    part = raw.Maximum(early, late)
    is_early = raw.Less(part, extras)
    in_early = raw.FloorMod(flat, raw.AddV2(each, one, name="add"), name="mod")
    in_late = raw.FloorMod(raw.Sub(flat, extras, name="sub"), each, name="mod")
    row = raw.Select(is_early, in_early, in_late)
    return part, row


def embedding_lookup_sparse(
    params: Any,
    sp_ids: Any,
    sp_weights: Any,
    partition_strategy: str = "mod",
    name: str | None = None,
    combiner: str | None = None,
    max_norm: Any = None,
) -> Tensor:
    """The rows of `params` at the ids of each row of a sparse matrix, combined (tf.nn.embedding_lookup_sparse).

    Args:
      sp_ids: SparseTensor of ids; each row of it gives one row of the result.
      sp_weights: SparseTensor of weights at the same places, or None for ones.
      combiner: "sum", "mean" (default) or "sqrtn": the weighted sum, divided by the sum of weights or by the root
        of the sum of their squares.
    Raises ValueError for another combiner, TypeError for ids or weights that are not sparse.
    """
    combiner = combiner or "mean"
    if combiner not in ("mean", "sqrtn", "sum"):
        raise ValueError("combiner must be one of 'mean', 'sqrtn' or 'sum'")
    parts = _parts_of(params)
    if not isinstance(sp_ids, SparseTensor):
        raise TypeError("sp_ids must be SparseTensor")
    if sp_weights is not None:
        _check_weights(sp_ids, sp_weights)
    with name_scope(name, "embedding_lookup_sparse", [*parts, sp_ids.values]) as scope:
        segments: Any = sp_ids.indices
        segments = segments[:, 0]
        if segments.dtype != int32:
            segments = raw.Cast(segments, DstT=int32)
        ids, places = raw.Unique(sp_ids.values)
        rows = embedding_lookup(parts, ids, partition_strategy, max_norm=max_norm)
        if rows.dtype in (dtypes.float16, dtypes.bfloat16):
            rows = raw.Cast(rows, DstT=float32)
        if sp_weights is None:
            kind = {"sum": "Sum", "mean": "Mean", "sqrtn": "SqrtN"}[combiner]
            return getattr(raw, f"SparseSegment{kind}")(rows, places, segments, name=scope)
        rows = raw.GatherV2(rows, places, np.int32(0))
        return _weighted(rows, sp_weights.values, segments, combiner, scope)


def _check_weights(sp_ids: Any, sp_weights: Any) -> None:
    if not isinstance(sp_weights, SparseTensor):
        raise TypeError("sp_weights must be either None or SparseTensor")
    sp_ids.values.shape.assert_is_compatible_with(sp_weights.values.shape)
    sp_ids.indices.shape.assert_is_compatible_with(sp_weights.indices.shape)
    sp_ids.dense_shape.shape.assert_is_compatible_with(sp_weights.dense_shape.shape)


def _weighted(rows: Any, weights: Any, segments: Any, combiner: str, name: str) -> Tensor:
    if weights.dtype != rows.dtype:
        weights = raw.Cast(weights, DstT=rows.dtype)
    extra = raw.ExpandDims(raw.Sub(rank_of(rows), np.int32(1), name="sub"), np.int32(0))
    ones = raw.Fill(extra, np.int32(1))
    shape = raw.ConcatV2([shape_of(weights), ones], np.int32(0), name="concat")
    static = rows.shape
    weights = raw.Reshape(weights, shape)
    if static.ndims is not None:
        weights.set_shape([None] + [1] * (static.ndims - 1))
    rows = raw.Mul(rows, weights, name="mul")
    if combiner == "sum":
        return raw.SegmentSum(rows, segments, name=name)
    total = raw.SegmentSum(rows, segments)
    if combiner == "mean":
        return raw.RealDiv(total, raw.SegmentSum(weights, segments), name=name)
    squares = raw.Pow(weights, np.asarray(2, weights.dtype.as_numpy_dtype))
    return raw.RealDiv(total, raw.Sqrt(raw.SegmentSum(squares, segments)), name=name)


# -- losses on sampled classes ---------------------------------------------------------------------


def _rows(tensor: Any) -> Any:
    return shape_of(tensor)[0]


def _stack(*sizes: Any) -> Any:
    """Sizes as one vector (a Pack node called `stack`)."""
    return convert_to_tensor(list(sizes), dtype=int32, name="stack")


def _row_sums(x: Any) -> Tensor:
    """The sum of each row of a matrix, as a product with ones."""
    columns: Any = shape_of(x)
    ones = filled(_stack(columns[1], 1), 1, x.dtype.base_dtype, "ones")
    return raw.Reshape(raw.MatMul(x, ones), np.array([-1], np.int32))


def _sampled_logits(
    weights: Any,
    biases: Any,
    labels: Any,
    inputs: Any,
    num_sampled: int,
    num_classes: int,
    num_true: int,
    sampled_values: Any,
    subtract_log_q: bool,
    remove_accidental_hits: bool,
    partition_strategy: str,
    name: str | None,
    seed: int | None,
) -> tuple[Tensor, Tensor]:
    """Logits and labels of the true classes and a sample of the others: [batch, num_true + num_sampled] each."""
    parts = _parts_of(weights)
    with name_scope(name, "compute_sampled_logits", [*parts, biases, inputs, labels]):
        labels = convert_to_tensor(labels, name="labels")
        inputs = convert_to_tensor(inputs, name="inputs")
        if labels.dtype != int64:
            labels = raw.Cast(labels, DstT=int64)
        flat = raw.Reshape(labels, np.array([-1], np.int32))
        if sampled_values is None:
            sampled_values = log_uniform_candidate_sampler(
                labels, num_true, num_sampled, True, num_classes, seed
            )
        sampled, true_expected, sampled_expected = (raw.StopGradient(s) for s in sampled_values)
        sampled = sampled if sampled.dtype == int64 else raw.Cast(sampled, DstT=int64)
        every = raw.ConcatV2([flat, sampled], np.int32(0), name="concat")
        all_w: Any = embedding_lookup(parts, every, partition_strategy)
        true_w = raw.Slice(all_w, np.array([0, 0], np.int32), _stack(_rows(flat), -1))
        sampled_w = raw.Slice(all_w, _stack(_rows(flat), 0), np.array([-1, -1], np.int32))
        sampled_logits = raw.MatMul(inputs, sampled_w, transpose_b=True)
        all_b = embedding_lookup(biases, every, partition_strategy)
        true_b = raw.Slice(all_b, np.array([0], np.int32), shape_of(flat))
        sampled_b = raw.Slice(all_b, shape_of(flat), np.array([-1], np.int32))
        width: Any = shape_of(true_w)
        width = width[1:2]
        shape = raw.ConcatV2(
            [np.array([-1, num_true], np.int32), width], np.int32(0), name="concat"
        )
        products = raw.Mul(raw.ExpandDims(inputs, np.int32(1)), raw.Reshape(true_w, shape))
        matrix = raw.ConcatV2([np.array([-1], np.int32), width], np.int32(0), name="concat")
        sums = _row_sums(raw.Reshape(products, matrix))
        grid = np.array([-1, num_true], np.int32)
        true_logits = raw.AddV2(raw.Reshape(sums, grid), raw.Reshape(true_b, grid), name="add")
        sampled_logits = raw.AddV2(sampled_logits, sampled_b, name="add")
        if remove_accidental_hits:
            sampled_logits = _without_hits(sampled_logits, labels, sampled, num_true, num_sampled)
        if subtract_log_q:
            true_logits = raw.Sub(true_logits, raw.Log(true_expected), name="sub")
            sampled_logits = raw.Sub(sampled_logits, raw.Log(sampled_expected), name="sub")
        logits = raw.ConcatV2([true_logits, sampled_logits], np.int32(1), name="concat")
        share = np.asarray(num_true, true_logits.dtype.as_numpy_dtype)
        targets = [
            raw.RealDiv(ones_like(true_logits), share, name="truediv"),
            zeros_like(sampled_logits),
        ]
        return logits, raw.ConcatV2(targets, np.int32(1), name="concat")


def _without_hits(logits: Any, labels: Any, sampled: Any, num_true: int, num_sampled: int) -> Any:
    """The logits with candidates that are true classes of their row pushed to the lowest float."""
    rows, ids, masks = compute_accidental_hits(labels, sampled, num_true)
    row_column = raw.Reshape(rows, np.array([-1, 1], np.int32))
    id_column = raw.Reshape(raw.Cast(ids, DstT=int32), np.array([-1, 1], np.int32))
    places = raw.ConcatV2([row_column, id_column], np.int32(1), name="sparse_indices")
    batch: Any = shape_of(labels)
    shape = raw.ConcatV2(
        [batch[:1], raw.ExpandDims(np.int32(num_sampled), np.int32(0))], np.int32(0), name="concat"
    )
    masks = masks if masks.dtype == logits.dtype else raw.Cast(masks, DstT=logits.dtype)
    zero = np.asarray(0, logits.dtype.as_numpy_dtype)
    dense = raw.SparseToDense(places, shape, masks, zero, validate_indices=False)
    return raw.AddV2(logits, dense, name="add")


def nce_loss(
    weights: Any,
    biases: Any,
    labels: Any,
    inputs: Any,
    num_sampled: int,
    num_classes: int,
    num_true: int = 1,
    sampled_values: Any = None,
    remove_accidental_hits: bool = False,
    partition_strategy: str = "mod",
    name: str = "nce_loss",
) -> Tensor:
    """The noise-contrastive estimation loss of each example (tf.nn.nce_loss).

    Args:
      weights: [num_classes, dim], or a list of partitions of it; `biases` [num_classes].
      labels: int64 [batch, num_true]; `inputs` [batch, dim].
      sampled_values: what a candidate sampler gave; log-uniform samples by default.
    Returns float [batch].
    """
    logits, targets = _sampled_logits(
        weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values,
        True, remove_accidental_hits, partition_strategy, name, None,
    )  # fmt: skip
    losses = sigmoid_cross_entropy_with_logits(labels=targets, logits=logits, name="sampled_losses")
    return _row_sums(losses)


def sampled_softmax_loss(
    weights: Any,
    biases: Any,
    labels: Any,
    inputs: Any,
    num_sampled: int,
    num_classes: int,
    num_true: int = 1,
    sampled_values: Any = None,
    remove_accidental_hits: bool = True,
    partition_strategy: str = "mod",
    name: str = "sampled_softmax_loss",
    seed: int | None = None,
) -> Tensor:
    """The softmax cross entropy over the true classes and a sample of the others (tf.nn.sampled_softmax_loss).

    For training only; the arguments are those of `nce_loss`. Returns float [batch].
    """
    logits, targets = _sampled_logits(
        weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values,
        True, remove_accidental_hits, partition_strategy, name, seed,
    )  # fmt: skip
    stopped = raw.StopGradient(targets, name="labels_stop_gradient")
    return softmax_cross_entropy_with_logits_v2(labels=stopped, logits=logits)
