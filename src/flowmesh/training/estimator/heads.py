"""From logits to losses, predictions and metrics: the last part of the ready-made models.

Losses are summed over the examples of a batch, as TensorFlow 1's canned estimators do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from flowmesh.core.dtypes import float32, int64
from flowmesh.frontend import metrics, metrics_counts, metrics_thresholds
from flowmesh.ops import elementwise, math_functions
from flowmesh.ops.cast import cast
from flowmesh.ops.comparison import argmax
from flowmesh.ops.concat import concat
from flowmesh.ops.fill import zeros_like
from flowmesh.ops.nn_misc import sigmoid_cross_entropy_with_logits
from flowmesh.ops.nn_softmax import softmax, sparse_softmax_cross_entropy_with_logits
from flowmesh.ops.reduce_functions import reduce_sum
from flowmesh.ops.reshape import expand_dims, reshape
from flowmesh.ops.string_numbers import as_string
from flowmesh.training.estimator.spec import EstimatorSpec, ModeKeys


class Head(ABC):
    """What the last layer of a model means."""

    units = 1
    """How many logits an example has."""

    @abstractmethod
    def predictions(self, logits: Any) -> dict[str, Any]:
        """What `predict` yields."""

    @abstractmethod
    def losses(self, logits: Any, labels: Any) -> Any:
        """The loss of each example, shape [batch, 1]."""

    @abstractmethod
    def metrics(self, predictions: dict[str, Any], losses: Any, labels: Any) -> dict[str, Any]:
        """What `evaluate` reports beside the losses."""

    def spec(
        self, mode: str, logits: Any, labels: Any, train_op_fn: Callable[[Any], Any]
    ) -> EstimatorSpec:
        """The EstimatorSpec of the logits [batch, units]; ValueError for a training or evaluation without labels."""
        predictions = self.predictions(logits)
        if mode == ModeKeys.PREDICT:
            return EstimatorSpec(mode, predictions)
        if labels is None:
            raise ValueError(
                "You must provide a labels Tensor. Given: None. Suggested troubleshooting steps: Check that your data "
                "contains your label feature and that your input_fn returns it with the features."
            )
        losses = self.losses(logits, labels)
        loss = reduce_sum(losses)
        if mode == ModeKeys.TRAIN:
            return EstimatorSpec(mode, predictions, loss, train_op_fn(loss))
        results = self.metrics(predictions, losses, _column(labels))
        results["average_loss"] = metrics.mean(losses)
        return EstimatorSpec(mode, predictions, loss, eval_metric_ops=results)


def _column(labels: Any) -> Any:
    """Labels of shape [batch] or [batch, 1] as [batch, 1]."""
    return expand_dims(labels, -1) if labels.shape.ndims == 1 else labels


def _classes(class_ids: Any) -> dict[str, Any]:
    return {"class_ids": class_ids, "classes": as_string(class_ids)}


class MultiClassHead(Head):
    """One of `n_classes` > 2; labels are integers [batch] or [batch, 1]."""

    def __init__(self, n_classes: int) -> None:
        self.units = n_classes

    def predictions(self, logits: Any) -> dict[str, Any]:
        """logits, probabilities [batch, n_classes]; class_ids and classes [batch, 1]."""
        ids = expand_dims(argmax(logits, -1), -1)
        return {"logits": logits, "probabilities": softmax(logits), **_classes(ids)}

    def losses(self, logits: Any, labels: Any) -> Any:
        """The cross entropy of each example."""
        flat = reshape(cast(labels, int64), [-1])
        losses = sparse_softmax_cross_entropy_with_logits(labels=flat, logits=logits)
        return expand_dims(losses, -1)

    def metrics(self, predictions: dict[str, Any], losses: Any, labels: Any) -> dict[str, Any]:
        """accuracy."""
        return {"accuracy": metrics.accuracy(cast(labels, int64), predictions["class_ids"])}


class BinaryHead(Head):
    """One of two classes; labels are 0 or 1, [batch] or [batch, 1]."""

    def predictions(self, logits: Any) -> dict[str, Any]:
        """logits, logistic [batch, 1], probabilities [batch, 2]; class_ids and classes [batch, 1]."""
        two = concat([zeros_like(logits), logits], -1)
        ids = expand_dims(argmax(two, -1), -1)
        return {
            "logits": logits,
            "logistic": elementwise.sigmoid(logits),
            "probabilities": softmax(two),
            **_classes(ids),
        }

    def losses(self, logits: Any, labels: Any) -> Any:
        """The cross entropy of each example."""
        wanted = cast(_column(labels), float32)
        return sigmoid_cross_entropy_with_logits(labels=wanted, logits=logits)

    def metrics(self, predictions: dict[str, Any], losses: Any, labels: Any) -> dict[str, Any]:
        """accuracy and the like, and the areas under the curves of ROC and of precision over recall."""
        labels = cast(labels, float32)
        logistic, ids = predictions["logistic"], predictions["class_ids"]
        mean, update = label_mean = metrics.mean(labels)
        baseline = tuple(math_functions.maximum(part, 1.0 - part) for part in (mean, update))
        return {
            "accuracy": metrics.accuracy(labels, ids),
            "accuracy_baseline": baseline,
            "auc": metrics_thresholds.auc(labels, logistic),
            "auc_precision_recall": metrics_thresholds.auc(labels, logistic, curve="PR"),
            "label/mean": label_mean,
            "precision": metrics_counts.precision(labels, ids),
            "prediction/mean": metrics.mean(logistic),
            "recall": metrics_counts.recall(labels, ids),
        }


class RegressionHead(Head):
    """Numbers; labels are floats [batch, label_dimension], or [batch] for one dimension."""

    def __init__(self, label_dimension: int) -> None:
        self.units = label_dimension

    def predictions(self, logits: Any) -> dict[str, Any]:
        """predictions [batch, label_dimension]."""
        return {"predictions": logits}

    def losses(self, logits: Any, labels: Any) -> Any:
        """The squared error of each number."""
        return math_functions.squared_difference(logits, cast(_column(labels), float32))

    def metrics(self, predictions: dict[str, Any], losses: Any, labels: Any) -> dict[str, Any]:
        """The means of labels and predictions."""
        return {
            "label/mean": metrics.mean(cast(labels, float32)),
            "prediction/mean": metrics.mean(predictions["predictions"]),
        }


def classification(n_classes: int) -> Head:
    """The head for so many classes; ValueError for less than two."""
    if n_classes < 2:
        raise ValueError(f"n_classes must be > 1 for a classifier: {n_classes}")
    return BinaryHead() if n_classes == 2 else MultiClassHead(n_classes)
