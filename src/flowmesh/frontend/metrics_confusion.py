"""Confusion matrices and the metrics made of them (TensorFlow: `tf.confusion_matrix`, `tf.metrics.mean_iou` ...)."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core.dtypes import float32, float64, int32, int64
from flowmesh.frontend.losses_weights import fit_to_predictions, remove_squeezable_dimensions
from flowmesh.frontend.metrics_support import Pair, collected, metric_scope, metric_variable
from flowmesh.frontend.naming import name_scope
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.ops import assertions, comparison, diagonal, fill, math_functions, state
from flowmesh.ops.cast import cast
from flowmesh.ops.control import with_dependencies
from flowmesh.ops.reduce_functions import reduce_max, reduce_mean, reduce_sum
from flowmesh.ops.reshape import reshape
from flowmesh.ops.scatter_nd import scatter_nd
from flowmesh.ops.stack import stack
from flowmesh.ops.unique import where


def confusion_matrix(
    labels: Any,
    predictions: Any,
    num_classes: Any = None,
    dtype: Any = int32,
    name: str | None = None,
    weights: Any = None,
) -> Any:
    """How often class i was predicted as class j: a [classes, classes] matrix (tf.confusion_matrix).

    `labels`, `predictions`: class numbers [batch]; `weights`: one per prediction. Without `num_classes`, the largest number
    plus one. A negative number, or one too large, raises InvalidArgumentError when run.
    """
    with name_scope(name, "confusion_matrix", [predictions, labels, num_classes, weights]):
        labels, predictions = remove_squeezable_dimensions(
            convert_to_tensor(labels, name="labels"),
            convert_to_tensor(predictions, name="predictions"),
        )
        predictions, labels = cast(predictions, int64), cast(labels, int64)
        labels = _checked(labels, "`labels` contains negative values")
        predictions = _checked(predictions, "`predictions` contains negative values")
        if num_classes is None:
            count: Any = math_functions.maximum(reduce_max(predictions), reduce_max(labels)) + 1
        else:
            count = num_classes
            limit = cast(num_classes, int64)
            labels = with_dependencies(
                [assertions.assert_less(labels, limit, message="`labels` out of bound")], labels
            )
            predictions = with_dependencies(
                [assertions.assert_less(predictions, limit, message="`predictions` out of bound")],
                predictions,
            )
        if weights is not None:
            weights = convert_to_tensor(weights)
            predictions.shape.assert_is_compatible_with(weights.shape)
            weights = cast(weights, dtype)
        shape = stack([count, count])
        indices = stack([labels, predictions], axis=1)
        values = fill.ones_like(predictions, dtype) if weights is None else weights
        return scatter_nd(indices, values, cast(shape, int64))


def _checked(numbers: Any, message: str) -> Any:
    return with_dependencies([assertions.assert_non_negative(numbers, message=message)], numbers)


def _streaming(labels: Any, predictions: Any, num_classes: int, weights: Any) -> Pair:
    """The sum of the confusion matrices of all batches, and its update."""
    total = metric_variable([num_classes, num_classes], float64, "total_confusion_matrix")
    predictions, labels = cast(predictions, int64), cast(labels, int64)

    def flat(value: Any) -> Any:
        if value is None or value.shape.ndims == 1:
            return value
        return reshape(value, np.array([-1], np.int32))

    current = confusion_matrix(
        flat(labels), flat(predictions), num_classes, weights=flat(weights), dtype=float64
    )
    return total, state.assign_add(total, current)


def mean_iou(
    labels: Any,
    predictions: Any,
    num_classes: int,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Pair:
    """The mean over the classes of intersection over union (tf.metrics.mean_iou); the update is the confusion matrix."""
    with metric_scope(name, "mean_iou", predictions, labels, weights):
        predictions, labels, weights = _fitted(predictions, labels, weights)
        total, update = _streaming(labels, predictions, num_classes, weights)
        rows, columns = cast(reduce_sum(total, 0), float32), cast(reduce_sum(total, 1), float32)
        both = cast(diagonal.diag_part(total), float32)
        either = rows + columns - both
        present = reduce_sum(cast(comparison.not_equal(either, 0), float32))
        either = where(comparison.greater(either, 0), either, fill.ones_like(either))
        found = reduce_sum(math_functions.div(both, either))
        value = where(comparison.greater(present, 0), found / present, 0.0, name="mean_iou")
        return collected(value, update, metrics_collections, updates_collections)


def _fitted(predictions: Any, labels: Any, weights: Any) -> Any:
    predictions, labels = convert_to_tensor(predictions), convert_to_tensor(labels)
    predictions.shape.assert_is_compatible_with(labels.shape)
    return fit_to_predictions(predictions, labels, weights)


def mean_per_class_accuracy(
    labels: Any,
    predictions: Any,
    num_classes: int,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Pair:
    """The mean over the classes of their accuracy (tf.metrics.mean_per_class_accuracy); the update has one entry per class."""
    with metric_scope(name, "mean_accuracy", predictions, labels, weights):
        predictions, labels, weights = _fitted(predictions, labels, weights)
        labels = cast(labels, int64)
        total = metric_variable([num_classes], float32, "total")
        count = metric_variable([num_classes], float32, "count")
        labels = reshape(labels, np.array([-1], np.int32))
        predictions = reshape(cast(predictions, int64), np.array([-1], np.int32))
        number = fill.ones_like(labels, float32)
        correct = cast(comparison.equal(predictions, labels), float32)
        if weights is not None:
            weights = cast(reshape(weights, np.array([-1], np.int32)), float32)
            correct, number = correct * weights, number * weights
        index = reshape(labels, np.array([-1, 1], np.int32))
        shape = np.array([num_classes], np.int64)
        update_total = state.assign_add(total, scatter_nd(index, number, shape))
        update_count = state.assign_add(count, scatter_nd(index, correct, shape))
        divide, maximum = math_functions.div_no_nan, math_functions.maximum
        per_class = divide(count, maximum(total, 0), name=None)
        value = reduce_mean(per_class, name="mean_accuracy")
        update = divide(update_count, maximum(update_total, 0), name="update_op")
        return collected(value, update, metrics_collections, updates_collections)
