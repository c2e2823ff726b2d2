"""Streaming metrics: means, errors, accuracy (TensorFlow: `tf.metrics`).

Each function returns `(value, update_op)`: a step that runs `update_op` takes a batch in, `value` is the metric of all batches so
far. The totals are local variables (LOCAL_VARIABLES, METRIC_VARIABLES): run `tf.local_variables_initializer()` first.
"""

from __future__ import annotations

from typing import Any

from flowmesh.core.dtypes import float32
from flowmesh.frontend.losses_weights import (
    broadcast_weights,
    fit_to_predictions,
    remove_squeezable_dimensions,
)
from flowmesh.frontend.metrics_support import Pair, collected, metric_scope, metric_variable
from flowmesh.graph.graph import get_default_graph
from flowmesh.ops import comparison, elementwise, fill, math_functions, shape_ops, state
from flowmesh.ops.cast import cast
from flowmesh.ops.reduce_functions import reduce_sum
from flowmesh.ops.unique import where


def _ratio(total: Any, count: Any, name: str) -> Any:
    return math_functions.div_no_nan(total, math_functions.maximum(count, 0), name=name)


def mean(
    values: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Pair:
    """The weighted mean of all elements of `values` (tf.metrics.mean)."""
    with metric_scope(name, "mean", values, weights):
        values = cast(values, float32)
        total = metric_variable([], float32, "total")
        count = metric_variable([], float32, "count")
        if weights is None:
            number = cast(shape_ops.size(values), float32)
        else:
            values, _, weights = fit_to_predictions(values, None, weights)
            weights = broadcast_weights(cast(weights, float32), values)
            values = math_functions.multiply(values, weights)
            number = reduce_sum(weights)
        update_total = state.assign_add(total, reduce_sum(values))
        with get_default_graph().control_dependencies([values]):
            update_count = state.assign_add(count, number)
        value = _ratio(total, count, "value")
        update = _ratio(update_total, update_count, "update_op")
        return collected(value, update, metrics_collections, updates_collections)


def accuracy(
    labels: Any,
    predictions: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Pair:
    """How often `predictions` equal `labels` (tf.metrics.accuracy)."""
    predictions, labels, weights = fit_to_predictions(predictions, labels, weights)
    predictions.shape.assert_is_compatible_with(labels.shape)
    if labels.dtype != predictions.dtype:
        predictions = cast(predictions, labels.dtype)
    correct = cast(comparison.equal(predictions, labels), float32)
    return mean(correct, weights, metrics_collections, updates_collections, name or "accuracy")


def mean_tensor(
    values: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Pair:
    """The weighted mean of each element of `values`, whose shape must be known (tf.metrics.mean_tensor)."""
    with metric_scope(name, "mean", values, weights):
        values = cast(values, float32)
        shape = values.shape
        total = metric_variable(shape, float32, "total_tensor")
        count = metric_variable(shape, float32, "count_tensor")
        return _mean_tensor(values, weights, total, count, metrics_collections, updates_collections)


def _mean_tensor(
    values: Any, weights: Any, total: Any, count: Any, metrics: Any, updates: Any
) -> Pair:
    number = fill.ones_like(values)
    if weights is not None:
        values, _, weights = fit_to_predictions(values, None, weights)
        weights = broadcast_weights(cast(weights, float32), values)
        values = math_functions.multiply(values, weights)
        number = math_functions.multiply(number, weights)
    update_total = state.assign_add(total, values)
    with get_default_graph().control_dependencies([values]):
        update_count = state.assign_add(count, number)
    value = _ratio(total, count, "value")
    update = _ratio(update_total, update_count, "update_op")
    return collected(value, update, metrics, updates)


def mean_absolute_error(
    labels: Any,
    predictions: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Pair:
    """The mean of `|predictions - labels|` (tf.metrics.mean_absolute_error)."""
    predictions, labels, weights = fit_to_predictions(predictions, labels, weights)
    error = math_functions.abs(predictions - labels)
    name = name or "mean_absolute_error"
    return mean(error, weights, metrics_collections, updates_collections, name)


def mean_squared_error(
    labels: Any,
    predictions: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Pair:
    """The mean of `(predictions - labels) ** 2` (tf.metrics.mean_squared_error)."""
    predictions, labels, weights = fit_to_predictions(predictions, labels, weights)
    error = math_functions.squared_difference(labels, predictions)
    name = name or "mean_squared_error"
    return mean(error, weights, metrics_collections, updates_collections, name)


def root_mean_squared_error(
    labels: Any,
    predictions: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Pair:
    """The root of the mean squared error (tf.metrics.root_mean_squared_error)."""
    predictions, labels, weights = fit_to_predictions(predictions, labels, weights)
    name = name or "root_mean_squared_error"
    squared, update = mean_squared_error(labels, predictions, weights, None, None, name)
    return collected(
        elementwise.sqrt(squared),
        elementwise.sqrt(update),
        metrics_collections,
        updates_collections,
    )


def mean_relative_error(
    labels: Any,
    predictions: Any,
    normalizer: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Pair:
    """The mean of `|predictions - labels| / normalizer` (tf.metrics.mean_relative_error); 0 where that is 0."""
    predictions, labels, weights = fit_to_predictions(predictions, labels, weights)
    predictions, normalizer = remove_squeezable_dimensions(predictions, normalizer)
    predictions.shape.assert_is_compatible_with(normalizer.shape)
    error = where(
        comparison.equal(normalizer, 0.0),
        fill.zeros_like(labels),
        math_functions.div(math_functions.abs(labels - predictions), normalizer),
    )
    name = name or "mean_relative_error"
    return mean(error, weights, metrics_collections, updates_collections, name)


def mean_cosine_distance(
    labels: Any,
    predictions: Any,
    dim: int,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Pair:
    """The mean of `1 - sum(predictions * labels)` along axis `dim` (tf.metrics.mean_cosine_distance)."""
    predictions, labels, weights = fit_to_predictions(predictions, labels, weights)
    product = math_functions.multiply(predictions, labels)
    similarity = reduce_sum(product, axis=[dim], keepdims=True)
    found, update = mean(similarity, weights, None, None, name or "mean_cosine_distance")
    return collected(
        math_functions.subtract(1.0, found), math_functions.subtract(1.0, update),
        metrics_collections, updates_collections,
    )  # fmt: skip


def percentage_below(
    values: Any,
    threshold: float,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Pair:
    """How large a part of `values` is below `threshold` (tf.metrics.percentage_below)."""
    below = cast(comparison.less(values, threshold), float32)
    name = name or "percentage_below_threshold"
    return mean(below, weights, metrics_collections, updates_collections, name)
