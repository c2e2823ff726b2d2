"""Streaming metrics of yes-or-no predictions: counts, precision, recall (TensorFlow: `tf.metrics`)."""

from __future__ import annotations

from typing import Any

from flowmesh.core.dtypes import bool as bool_, float32
from flowmesh.frontend.losses_weights import broadcast_weights, fit_to_predictions
from flowmesh.frontend.metrics_support import Pair, collected, metric_scope, metric_variable
from flowmesh.ops import assertions, comparison, identity, math_functions, state
from flowmesh.ops.cast import cast
from flowmesh.ops.reduce_functions import reduce_sum
from flowmesh.ops.unique import where


def _count(
    hits: Any, weights: Any, metrics_collections: Any = None, updates_collections: Any = None
) -> Pair:
    """How often the bools `hits` hold, weighted, over all batches."""
    assertions.assert_type(hits, bool_)
    count = metric_variable([], float32, "count")
    values = cast(hits, float32)
    if weights is not None:
        weights = cast(weights, float32)
        values = math_functions.multiply(values, broadcast_weights(weights, values))
    value = identity.identity(count)
    update = state.assign_add(count, reduce_sum(values))
    return collected(value, update, metrics_collections, updates_collections)


def _counter(name: str, label: bool, prediction: bool, what: str) -> Any:
    def metric(
        labels: Any,
        predictions: Any,
        weights: Any = None,
        metrics_collections: Any = None,
        updates_collections: Any = None,
        name: str | None = None,
    ) -> Pair:
        with metric_scope(name, default, predictions, labels, weights):
            predictions, labels, weights = fit_to_predictions(
                cast(predictions, bool_), cast(labels, bool_), weights
            )
            hits = comparison.logical_and(
                comparison.equal(labels, label), comparison.equal(predictions, prediction)
            )
            return _count(hits, weights, metrics_collections, updates_collections)

    default = name
    metric.__name__ = metric.__qualname__ = name
    metric.__doc__ = (
        f"How many {what} there were, weighted (tf.metrics.{name}).\n\n    `labels` and `predictions` are cast to bool. "
        "Returns `(value, update_op)`."
    )
    return metric


true_positives = _counter("true_positives", True, True, "labels that hold were predicted")
false_positives = _counter("false_positives", False, True, "labels that do not hold were predicted")
false_negatives = _counter("false_negatives", True, False, "labels that hold were not predicted")
true_negatives = _counter(
    "true_negatives", False, False, "labels that do not hold were not predicted"
)


def _part(hits: Any, misses: Any, name: str) -> Any:
    found = comparison.greater(hits + misses, 0)
    return where(found, math_functions.div(hits, hits + misses), 0, name)


def _of_counts(
    default: str,
    other: Any,
    labels: Any,
    predictions: Any,
    weights: Any,
    collections: tuple[Any, Any],
    name: str | None,
) -> Pair:
    with metric_scope(name, default, predictions, labels, weights):
        predictions, labels, weights = fit_to_predictions(
            cast(predictions, bool_), cast(labels, bool_), weights
        )
        hits, update_hits = true_positives(labels, predictions, weights)
        misses, update_misses = other(labels, predictions, weights)
        value = _part(hits, misses, "value")
        update = _part(update_hits, update_misses, "update_op")
        return collected(value, update, *collections)


def precision(
    labels: Any,
    predictions: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Pair:
    """The part of the predicted that holds (tf.metrics.precision); 0 while nothing was predicted."""
    collections = metrics_collections, updates_collections
    return _of_counts("precision", false_positives, labels, predictions, weights, collections, name)


def recall(
    labels: Any,
    predictions: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Pair:
    """The part of what holds that was predicted (tf.metrics.recall); 0 while nothing held."""
    collections = metrics_collections, updates_collections
    return _of_counts("recall", false_negatives, labels, predictions, weights, collections, name)
