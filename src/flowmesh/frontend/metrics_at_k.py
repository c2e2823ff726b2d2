"""Streaming metrics of the best k of many classes (TensorFlow: `tf.metrics.precision_at_k` ...).

The relevant classes of an example are a set: int64 labels [..., number], or [...] for one of them, or a SparseTensor. With `class_id`
everything is about this class alone. `weights` is a scalar or of the examples' shape [...]. All functions return float64
`(value, update_op)`, NaN where there is nothing to divide by, and raise ValueError for shapes that do not fit.
"""

from __future__ import annotations

from typing import Any

from flowmesh.core.dtypes import float64, int64
from flowmesh.frontend.losses_weights import broadcast_weights
from flowmesh.frontend.metrics_support import Pair, collected, metric_scope, metric_variable
from flowmesh.graph.composite import SparseTensor
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.ops import comparison, math_functions, sequence, state
from flowmesh.ops.cast import cast
from flowmesh.ops.fill import ones_like
from flowmesh.ops.reduce_functions import cumsum, reduce_any, reduce_sum
from flowmesh.ops.reshape import expand_dims
from flowmesh.ops.shape_ops import shape
from flowmesh.ops.sparse_values import sparse_tensor_to_dense
from flowmesh.ops.top_k import top_k

_RECALL = "recall", "false_negative"
_PRECISION = "precision", "false_positive"
_NOTHING = -(2**62)
"""No class: what fills up rows of a SparseTensor."""


def _sets(labels: Any, rank: int | None, class_id: int | None) -> tuple[Any, Any]:
    """`(labels, counts)`, both [..., number]: whether a label is the first of its set that is equal, and of the class asked for."""
    if isinstance(labels, SparseTensor):
        labels = cast(labels, int64)
        labels = sparse_tensor_to_dense(labels, default_value=_NOTHING, validate_indices=False)
    else:
        labels = cast(convert_to_tensor(labels), int64)
        if rank is not None and labels.shape.ndims == rank - 1:
            labels = expand_dims(labels, -1)
    places = sequence.range(shape(labels)[-1])
    earlier = comparison.less(expand_dims(places, 0), expand_dims(places, 1))
    equal = comparison.equal(expand_dims(labels, -1), expand_dims(labels, -2))
    again = reduce_any(comparison.logical_and(equal, earlier), -1)
    counts = comparison.logical_and(
        comparison.logical_not(again), comparison.not_equal(labels, _NOTHING)
    )
    if class_id is not None:
        counts = comparison.logical_and(counts, comparison.equal(labels, class_id))
    return labels, counts


def _hits(labels: Any, counts: Any, best: Any) -> Any:
    """Which of the best classes [..., k] are relevant, as 0 and 1 in float64."""
    equal = comparison.equal(expand_dims(best, -1), expand_dims(labels, -2))
    return cast(reduce_any(comparison.logical_and(equal, expand_dims(counts, -2)), -1), float64)


def _total(values: Any, weights: Any, name: str) -> Pair:
    """The weighted sum over all batches."""
    if weights is not None:
        values = math_functions.multiply(values, broadcast_weights(cast(weights, float64), values))
    variable = metric_variable([], float64, name)
    return variable, state.assign_add(variable, reduce_sum(values))


def _part_of(
    metric: tuple[str, str],
    labels: Any,
    predictions: Any,
    k: int | None,
    class_id: int | None,
    weights: Any,
    collections: tuple[Any, Any],
    name: str | None,
    scores: bool,
) -> Pair:
    """What was right: of the relevant (recall), or of the predicted (precision).

    `metric` is the name of the metric and of what is wrong; `predictions` are `scores` of all classes, or the best classes.
    """
    called, wrong_name = metric
    with metric_scope(name, _named(called, k, class_id), predictions, weights):
        best = _best(predictions, k) if scores else predictions
        best = cast(convert_to_tensor(best), int64)
        labels, counts = _sets(labels, best.shape.ndims, class_id)
        found = reduce_sum(_hits(labels, counts, best), -1)
        if metric == _RECALL:
            among = reduce_sum(cast(counts, float64), -1)
        else:
            predicted = ones_like(best) if class_id is None else comparison.equal(best, class_id)
            among = reduce_sum(cast(predicted, float64), -1)
        right, update_right = _total(found, weights, _named("true_positive", k, class_id))
        wrong, update_wrong = _total(among - found, weights, _named(wrong_name, k, class_id))
        value = math_functions.div(right, math_functions.add(right, wrong))
        update = math_functions.div(update_right, math_functions.add(update_right, update_wrong))
        return collected(value, update, *collections)


def _named(what: str, k: int | None, class_id: int | None) -> str:
    name = f"{what}_at_{'k' if k is None else k}"
    return name if class_id is None else f"{name}_class{class_id}"


def _best(predictions: Any, k: int | None) -> Any:
    return top_k(convert_to_tensor(predictions), k)[1]


def recall_at_k(
    labels: Any,
    predictions: Any,
    k: int,
    class_id: int | None = None,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Pair:
    """The part of the relevant classes among the `k` with the highest of `predictions` [..., classes] (tf.metrics.recall_at_k)."""
    collections = metrics_collections, updates_collections
    return _part_of(_RECALL, labels, predictions, k, class_id, weights, collections, name, True)


def recall_at_top_k(
    labels: Any,
    predictions_idx: Any,
    k: int | None = None,
    class_id: int | None = None,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Pair:
    """As `recall_at_k`, of the best classes themselves, [..., k] (tf.metrics.recall_at_top_k)."""
    collections = metrics_collections, updates_collections
    return _part_of(
        _RECALL, labels, predictions_idx, k, class_id, weights, collections, name, False
    )


def precision_at_k(
    labels: Any,
    predictions: Any,
    k: int,
    class_id: int | None = None,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Pair:
    """The part of the `k` classes with the highest of `predictions` [..., classes] that is relevant (tf.metrics.precision_at_k)."""
    collections = metrics_collections, updates_collections
    return _part_of(_PRECISION, labels, predictions, k, class_id, weights, collections, name, True)


def precision_at_top_k(
    labels: Any,
    predictions_idx: Any,
    k: int | None = None,
    class_id: int | None = None,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Pair:
    """As `precision_at_k`, of the best classes themselves, [..., k] (tf.metrics.precision_at_top_k)."""
    collections = metrics_collections, updates_collections
    return _part_of(
        _PRECISION, labels, predictions_idx, k, class_id, weights, collections, name, False
    )


def average_precision_at_k(
    labels: Any,
    predictions: Any,
    k: int,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Pair:
    """The mean over examples of the precision at each relevant one of the best `k` classes (tf.metrics.average_precision_at_k).

    An example's sum is divided by its number of relevant classes, or `k` if that is less: NaN for one without any.
    """
    with metric_scope(name, f"average_precision_at_{k}", predictions, weights):
        best = cast(_best(predictions, k), int64)
        several = isinstance(labels, SparseTensor)
        labels, counts = _sets(labels, best.shape.ndims, None)
        hits = _hits(labels, counts, best)
        places = cast(sequence.range(1, k + 1), float64)
        reached = math_functions.divide(cumsum(hits, -1), places)
        relevant = cast(counts if several else ones_like(labels), float64)
        most = math_functions.minimum(reduce_sum(relevant, -1), float(k))
        average = math_functions.divide(reduce_sum(reached * hits, -1), most)
        total, update_total = _total(average, weights, "total")
        number, update_number = _total(ones_like(average), weights, "max")
        value = math_functions.div_no_nan(total, number)
        update = math_functions.div_no_nan(update_total, update_number)
        return collected(value, update, metrics_collections, updates_collections)
