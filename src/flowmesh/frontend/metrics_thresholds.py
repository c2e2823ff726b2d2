"""Streaming metrics over thresholds: AUC, counts, precision and recall (TensorFlow: `tf.metrics.auc` ...)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flowmesh.core.dtypes import bool as bool_, float32, int32, int64
from flowmesh.frontend.losses_weights import broadcast_weights, fit_to_predictions
from flowmesh.frontend.metrics_support import Pair, collected, metric_scope, metric_variable
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.raw import raw
from flowmesh.ops import assertions, comparison, elementwise, math_functions, shape_ops, state
from flowmesh.ops.cast import cast
from flowmesh.ops.constant import constant
from flowmesh.ops.pad import tile
from flowmesh.ops.reduce_functions import cumsum, reduce_min, reduce_sum
from flowmesh.ops.reshape import reshape
from flowmesh.ops.stack import stack
from flowmesh.ops.transpose import transpose

_TINY = 1e-7
_COUNTS = ("tp", "fn", "tn", "fp")
_NAMES = {"tp": "true_positives", "fn": "false_negatives", "tn": "true_negatives", "fp": "false_positives"}  # fmt: skip


def _confusion(
    labels: Any,
    predictions: Any,
    thresholds: Sequence[float],
    weights: Any = None,
    includes: Sequence[str] = _COUNTS,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values and updates of the counts asked for, one entry per threshold."""
    graph = get_default_graph()
    checks = [
        assertions.assert_greater_equal(
            predictions, cast(0.0, predictions.dtype), message="predictions must be in [0, 1]"
        ),
        assertions.assert_less_equal(
            predictions, cast(1.0, predictions.dtype), message="predictions must be in [0, 1]"
        ),
    ]
    with graph.control_dependencies(checks):
        predictions, labels, weights = fit_to_predictions(
            cast(predictions, float32), cast(labels, bool_), weights
        )
    predictions.shape.assert_is_compatible_with(labels.shape)
    count = len(thresholds)
    column = reshape(predictions, np.array([-1, 1], np.int32))
    row = reshape(labels, np.array([1, -1], np.int32))
    number = column.shape.as_list()[0]
    if number is None:
        number = shape_ops.shape(column)[0]
    limits = tile(
        raw.ExpandDims(constant(np.asarray(thresholds, np.float32)), np.array([1], np.int32)),
        stack([1, number]),
    )
    positive = comparison.greater(tile(transpose(column), [count, 1]), limits)
    negative = comparison.logical_not(positive) if {"fn", "tn"} & set(includes) else None
    true = tile(row, [count, 1])
    false = comparison.logical_not(true) if {"fp", "tn"} & set(includes) else None
    if weights is not None:
        spread = broadcast_weights(cast(weights, float32), predictions)
        weights = tile(reshape(spread, np.array([1, -1], np.int32)), [count, 1])
    masks = {"tp": (true, positive), "fn": (true, negative), "tn": (false, negative), "fp": (false, positive)}  # fmt: skip
    values, updates = {}, {}
    for kind in _COUNTS:
        if kind in includes:
            values[kind], updates[kind] = _counted(kind, masks[kind], weights, count)
    return values, updates


def _counted(kind: str, masks: tuple[Any, Any], weights: Any, count: int) -> Pair:
    total = metric_variable([count], float32, _NAMES[kind])
    hits = cast(comparison.logical_and(*masks), float32)
    if weights is not None:
        hits = hits * weights
    return total, state.assign_add(total, reduce_sum(hits, 1))


def _grid(count: int) -> list[float]:
    inner = [(i + 1) * 1.0 / (count - 1) for i in range(count - 2)]
    return [0.0 - _TINY, *inner, 1.0 + _TINY]


def auc(
    labels: Any,
    predictions: Any,
    weights: Any = None,
    num_thresholds: int = 200,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    curve: str = "ROC",
    name: str | None = None,
    summation_method: str = "trapezoidal",
    thresholds: Sequence[float] | None = None,
) -> Pair:
    """The area under the ROC or PR curve, from counts at thresholds (tf.metrics.auc).

    `predictions` lie in [0, 1]. `summation_method`: trapezoidal, careful_interpolation (PR), minoring, majoring.
    Raises ValueError for another curve or method.
    """
    with metric_scope(name, "auc", labels, predictions, weights):
        if curve not in ("ROC", "PR"):
            raise ValueError(f"curve must be either ROC or PR, {curve} unknown")
        if thresholds is None:
            limits = _grid(num_thresholds)
        else:
            limits = sorted({-_TINY, *thresholds, 1.0 + _TINY})
        values, updates = _confusion(labels, predictions, limits, weights)
        value = _area(values, curve, summation_method, len(limits), "value")
        update = _area(updates, curve, summation_method, len(limits), "update_op")
        return collected(value, update, metrics_collections, updates_collections)


def _area(counts: dict[str, Any], curve: str, method: str, count: int, name: str) -> Any:
    tiny = 1.0e-6
    if curve == "PR" and method == "careful_interpolation":
        return _interpolated(counts, count, name)
    tp, fn, tn, fp = (counts[k] for k in _COUNTS)
    rate = math_functions.div(tp + tiny, tp + fn + tiny)
    if curve == "ROC":
        x, y = math_functions.div(fp, fp + tn + tiny), rate
    else:
        x, y = rate, math_functions.div(tp + tiny, tp + fp + tiny)
    last = count - 1
    widths = x[:last] - x[1:]
    if method in ("trapezoidal", "careful_interpolation"):
        heights = (y[:last] + y[1:]) / 2.0
    elif method == "minoring":
        heights = math_functions.minimum(y[:last], y[1:])
    elif method == "majoring":
        heights = math_functions.maximum(y[:last], y[1:])
    else:
        raise ValueError(f"Invalid summation_method: {method}")
    return reduce_sum(math_functions.multiply(widths, heights), name=name)


def _interpolated(counts: dict[str, Any], count: int, name: str) -> Any:
    """Precision as a function of true positives between neighbouring thresholds, integrated exactly."""
    divide = math_functions.div_no_nan
    tp, fn, fp = counts["tp"], counts["fn"], counts["fp"]
    last = count - 1
    steps = tp[:last] - tp[1:]
    total = tp + fp
    slope = divide(steps, math_functions.maximum(total[:last] - total[1:], 0), name="prec_slope")
    start = tp[1:] - math_functions.multiply(slope, total[1:])
    known = comparison.logical_and(total[:last] > 0, total[1:] > 0)
    ratio = raw.Select(
        known,
        divide(total[:last], math_functions.maximum(total[1:], 0), name="recall_relative_ratio"),
        raw.OnesLike(total[1:]),
    )
    parts = math_functions.multiply(
        slope, steps + math_functions.multiply(start, elementwise.log(ratio))
    )
    whole = math_functions.maximum(tp[1:] + fn[1:], 0)
    return reduce_sum(divide(parts, whole, name="pr_auc_increment"), name=name)


def _at_thresholds(name: str, kind: str, what: str) -> Any:
    def metric(
        labels: Any,
        predictions: Any,
        thresholds: Sequence[float],
        weights: Any = None,
        metrics_collections: Any = None,
        updates_collections: Any = None,
        name: str | None = None,
    ) -> Pair:
        with metric_scope(name, default, predictions, labels, weights):
            values, updates = _confusion(labels, predictions, thresholds, weights, (kind,))
            return collected(values[kind], updates[kind], metrics_collections, updates_collections)

    default = name.removesuffix("_at_thresholds")
    metric.__name__ = metric.__qualname__ = name
    metric.__doc__ = f"How many {what} there were at each threshold (tf.metrics.{name})."
    return metric


true_positives_at_thresholds = _at_thresholds("true_positives_at_thresholds", "tp", "true positives")  # fmt: skip
false_positives_at_thresholds = _at_thresholds("false_positives_at_thresholds", "fp", "false positives")  # fmt: skip
false_negatives_at_thresholds = _at_thresholds("false_negatives_at_thresholds", "fn", "false negatives")  # fmt: skip
true_negatives_at_thresholds = _at_thresholds("true_negatives_at_thresholds", "tn", "true negatives")  # fmt: skip


def _ratio_at_thresholds(default: str, other: str, what: str) -> Any:
    def metric(
        labels: Any,
        predictions: Any,
        thresholds: Sequence[float],
        weights: Any = None,
        metrics_collections: Any = None,
        updates_collections: Any = None,
        name: str | None = None,
    ) -> Pair:
        with metric_scope(name, f"{default}_at_thresholds", predictions, labels, weights):
            values, updates = _confusion(labels, predictions, thresholds, weights, ("tp", other))

            def ratio(counts: dict[str, Any], suffix: str) -> Any:
                whole = _TINY + counts["tp"] + counts[other]
                return math_functions.div(counts["tp"], whole, name=f"{default}_{suffix}")

            value, update = ratio(values, "value"), ratio(updates, "update_op")
            return collected(value, update, metrics_collections, updates_collections)

    metric.__name__ = metric.__qualname__ = f"{default}_at_thresholds"
    metric.__doc__ = f"{what} at each threshold (tf.metrics.{default}_at_thresholds)."
    return metric


precision_at_thresholds = _ratio_at_thresholds("precision", "fp", "The precision")
recall_at_thresholds = _ratio_at_thresholds("recall", "fn", "The recall")


def sensitivity_at_specificity(
    labels: Any,
    predictions: Any,
    specificity: float,
    weights: Any = None,
    num_thresholds: int = 200,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Pair:
    """The recall at the threshold whose specificity is nearest to the given (tf.metrics.sensitivity_at_specificity)."""
    if specificity < 0 or specificity > 1:
        raise ValueError("`specificity` must be in the range [0, 1].")

    def pick(counts: dict[str, Any], name: str) -> Any:
        tp, fn, tn, fp = (counts[k] for k in _COUNTS)
        found = math_functions.div(tn, tn + fp + _TINY)
        return _at_nearest(found, specificity, tp, fn, name)

    with metric_scope(name, "sensitivity_at_specificity", predictions, labels, weights):
        values, updates = _confusion(labels, predictions, _grid(num_thresholds), weights)
        value, update = pick(values, "value"), pick(updates, "update_op")
        return collected(value, update, metrics_collections, updates_collections)


def _at_nearest(
    found: Any, wanted: float, hits: Any, misses: Any, name: str, last: bool = False
) -> Any:
    """hits / (hits + misses) at the first (or last) threshold whose `found` is nearest to `wanted`."""
    distance = math_functions.abs(found - wanted)
    if last:
        nearest = cast(comparison.equal(distance, reduce_min(distance)), int64)
        index = comparison.argmax(cumsum(nearest), 0)
    else:
        index = comparison.argmin(distance, 0)
    index = cast(index, int32)
    return math_functions.div(hits[index], hits[index] + misses[index] + _TINY, name=name)


def specificity_at_sensitivity(
    labels: Any,
    predictions: Any,
    sensitivity: float,
    weights: Any = None,
    num_thresholds: int = 200,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Pair:
    """The specificity at the threshold whose recall is nearest to the given (tf.metrics.specificity_at_sensitivity)."""
    if sensitivity < 0 or sensitivity > 1:
        raise ValueError("`sensitivity` must be in the range [0, 1].")

    def pick(counts: dict[str, Any], name: str) -> Any:
        tp, fn, tn, fp = (counts[k] for k in _COUNTS)
        found = math_functions.div(tp, tp + fn + _TINY)
        return _at_nearest(found, sensitivity, tn, fp, name, last=True)

    with metric_scope(name, "specificity_at_sensitivity", predictions, labels, weights):
        values, updates = _confusion(labels, predictions, _grid(num_thresholds), weights)
        value, update = pick(values, "value"), pick(updates, "update_op")
        return collected(value, update, metrics_collections, updates_collections)
