"""Loss functions, weighted and reduced, in the collection LOSSES (TensorFlow: `tf.losses`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowmesh.core.dtypes import float32
from flowmesh.frontend.losses_weights import (
    assert_broadcastable,
    broadcast_weights,
    squeeze_or_expand,
)
from flowmesh.frontend.naming import name_scope
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.graph import get_default_graph
from flowmesh.ops import (
    comparison,
    elementwise,
    fill,
    identity,
    math_functions,
    nn_activation,
    nn_misc,
    nn_softmax,
    sequence,
    shape_ops,
)
from flowmesh.ops.cast import cast
from flowmesh.ops.constant import constant
from flowmesh.ops.reduce_functions import reduce_sum
from flowmesh.ops.unique import where

_multiply, _subtract = math_functions.multiply, math_functions.subtract


class Reduction:
    """How the weighted losses of the elements become one number."""

    NONE = "none"
    SUM = "weighted_sum"
    SUM_OVER_BATCH_SIZE = "weighted_sum_over_batch_size"
    MEAN = "weighted_mean"
    SUM_BY_NONZERO_WEIGHTS = "weighted_sum_by_nonzero_weights"
    SUM_OVER_NONZERO_WEIGHTS = SUM_BY_NONZERO_WEIGHTS

    @classmethod
    def all(cls) -> tuple[str, ...]:
        """All of them."""
        return (
            cls.NONE, cls.SUM, cls.MEAN, cls.SUM_OVER_BATCH_SIZE, cls.SUM_OVER_NONZERO_WEIGHTS,
            cls.SUM_BY_NONZERO_WEIGHTS,
        )  # fmt: skip

    @classmethod
    def validate(cls, key: str) -> None:
        """Raises ValueError unless `key` is one of them."""
        if key not in cls.all():
            raise ValueError(f"Invalid Reduction Key {key}.")


_BY_NONZERO = Reduction.SUM_BY_NONZERO_WEIGHTS
_LOSSES = GraphKeys.LOSSES


# -- collections -----------------------------------------------------------------------------------


def add_loss(loss: Any, loss_collection: str | None = _LOSSES) -> None:
    """Adds a loss to a collection (tf.losses.add_loss)."""
    if loss_collection:
        get_default_graph().add_to_collection(loss_collection, loss)


def get_losses(scope: str | None = None, loss_collection: str = _LOSSES) -> list[Any]:
    """The losses of a collection (tf.losses.get_losses)."""
    return get_default_graph().get_collection(loss_collection, scope)


def get_regularization_losses(scope: str | None = None) -> list[Any]:
    """The losses of regularizers (tf.losses.get_regularization_losses)."""
    return get_default_graph().get_collection(GraphKeys.REGULARIZATION_LOSSES, scope)


def get_regularization_loss(
    scope: str | None = None, name: str = "total_regularization_loss"
) -> Any:
    """The sum of the losses of regularizers, 0.0 when there is none (tf.losses.get_regularization_loss)."""
    losses = get_regularization_losses(scope)
    return math_functions.add_n(losses, name=name) if losses else constant(0.0)


def get_total_loss(
    add_regularization_losses: bool = True, name: str = "total_loss", scope: str | None = None
) -> Any:
    """The sum of all losses (tf.losses.get_total_loss); ValueError when there is none."""
    losses = get_losses(scope=scope)
    if add_regularization_losses:
        losses += get_regularization_losses(scope=scope)
    return math_functions.add_n(losses, name=name)


# -- weighting -------------------------------------------------------------------------------------


def _safe_mean(losses: Any, count: Any) -> Any:
    return math_functions.div_no_nan(reduce_sum(losses), count, name="value")


def _num_present(losses: Any, weights: Any, per_batch: bool = False) -> Any:
    """How many losses have a weight that is not zero; [batch, 1, ...] with `per_batch`."""
    with name_scope(None, "num_present", [losses, weights]) as scope:
        weights = cast(weights, float32)
        ones = fill.ones_like
        present = where(comparison.equal(weights, 0.0), fill.zeros_like(weights), ones(weights))
        present = broadcast_weights(present, losses)
        if not per_batch:
            return reduce_sum(present, name=scope)
        axes = sequence.range(1, shape_ops.rank(present))
        return reduce_sum(present, axis=axes, keepdims=True, name=scope)


def _num_elements(losses: Any) -> Any:
    with name_scope(None, "num_elements", [losses]) as scope:
        return cast(shape_ops.size(losses, name=scope), losses.dtype)


def compute_weighted_loss(
    losses: Any,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: str | None = _LOSSES,
    reduction: str = _BY_NONZERO,
) -> Any:
    """`losses` times `weights`, reduced (tf.losses.compute_weighted_loss).

    `weights` is a scalar or has the rank of `losses`, with sizes equal or 1. ValueError when it cannot stretch over them.
    """
    Reduction.validate(reduction)
    with name_scope(scope, "weighted_loss", [losses, weights]):
        check = assert_broadcastable(weights, losses)
        with get_default_graph().control_dependencies([check]):
            dtype = losses.dtype
            losses, weights = cast(losses, float32), cast(weights, float32)
            loss = _multiply(losses, weights)
            if reduction != Reduction.NONE:
                loss = reduce_sum(loss)
                if reduction == Reduction.MEAN:
                    loss = _safe_mean(loss, reduce_sum(fill.ones_like(losses) * weights))
                elif reduction == _BY_NONZERO:
                    loss = _safe_mean(loss, _num_present(losses, weights))
                elif reduction == Reduction.SUM_OVER_BATCH_SIZE:
                    loss = _safe_mean(loss, _num_elements(losses))
            loss = cast(loss, dtype)
            add_loss(loss, loss_collection)
            return loss


def _require(**tensors: Any) -> None:
    for name, tensor in tensors.items():
        if tensor is None:
            raise ValueError(f"{name} must not be None.")


def _float_loss(
    scope: str | None,
    default: str,
    given: tuple[Any, Any, Any],
    function: Callable[[Any, Any], Any],
    loss_collection: str | None,
    reduction: str,
) -> Any:
    """The weighted `function(labels, predictions)` of float32 tensors of shapes that fit."""
    labels, predictions, weights = given
    with name_scope(scope, default, [predictions, labels, weights]) as entered:
        predictions, labels = cast(predictions, float32), cast(labels, float32)
        predictions.shape.assert_is_compatible_with(labels.shape)
        losses = function(labels, predictions)
        return compute_weighted_loss(losses, weights, entered, loss_collection, reduction)


# -- losses ----------------------------------------------------------------------------------------


def absolute_difference(
    labels: Any,
    predictions: Any,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: str | None = _LOSSES,
    reduction: str = _BY_NONZERO,
) -> Any:
    """`|predictions - labels|`, weighted and reduced (tf.losses.absolute_difference)."""
    _require(labels=labels, predictions=predictions)

    def losses(y: Any, p: Any) -> Any:
        return math_functions.abs(_subtract(p, y))

    given = labels, predictions, weights
    return _float_loss(scope, "absolute_difference", given, losses, loss_collection, reduction)


def cosine_distance(
    labels: Any,
    predictions: Any,
    axis: int | None = None,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: str | None = _LOSSES,
    reduction: str = _BY_NONZERO,
    dim: int | None = None,
) -> Any:
    """`1 - sum(predictions * labels)` along `axis`, of vectors of length 1 (tf.losses.cosine_distance)."""
    if dim is not None:
        if axis is not None:
            raise ValueError("Cannot specify both 'dim' and 'axis'")
        axis = dim
    if axis is None:
        raise ValueError("You must specify 'axis'.")
    _require(labels=labels, predictions=predictions)
    along = axis

    def losses(y: Any, p: Any) -> Any:
        return 1 - reduce_sum(_multiply(p, y), axis=(along,), keepdims=True)

    given = labels, predictions, weights
    return _float_loss(scope, "cosine_distance_loss", given, losses, loss_collection, reduction)


def hinge_loss(
    labels: Any,
    logits: Any,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: str | None = _LOSSES,
    reduction: str = _BY_NONZERO,
) -> Any:
    """`max(0, 1 - y * logits)` where y is -1 for label 0 and 1 for label 1 (tf.losses.hinge_loss)."""
    _require(labels=labels, logits=logits)

    def losses(y: Any, p: Any) -> Any:
        ones = fill.ones_like(y)
        signs = _subtract(2 * y, ones)
        return nn_activation.relu(_subtract(ones, _multiply(signs, p)))

    given = labels, logits, weights
    return _float_loss(scope, "hinge_loss", given, losses, loss_collection, reduction)


def huber_loss(
    labels: Any,
    predictions: Any,
    weights: Any = 1.0,
    delta: float = 1.0,
    scope: str | None = None,
    loss_collection: str | None = _LOSSES,
    reduction: str = _BY_NONZERO,
) -> Any:
    """Half the square of errors up to `delta`, linear beyond (tf.losses.huber_loss)."""
    _require(labels=labels, predictions=predictions)

    def losses(y: Any, p: Any) -> Any:
        size = math_functions.abs(_subtract(p, y))
        quadratic = math_functions.minimum(size, delta)
        linear = _subtract(size, quadratic)
        half = convert_to_tensor(0.5, dtype=quadratic.dtype)
        square = _multiply(half, _multiply(quadratic, quadratic))
        return math_functions.add(square, _multiply(delta, linear))

    given = labels, predictions, weights
    return _float_loss(scope, "huber_loss", given, losses, loss_collection, reduction)


def log_loss(
    labels: Any,
    predictions: Any,
    weights: Any = 1.0,
    epsilon: float = 1e-7,
    scope: str | None = None,
    loss_collection: str | None = _LOSSES,
    reduction: str = _BY_NONZERO,
) -> Any:
    """The cross entropy of probabilities (tf.losses.log_loss); `epsilon` keeps logarithms finite."""
    _require(labels=labels, predictions=predictions)

    def losses(y: Any, p: Any) -> Any:
        log = elementwise.log
        return -_multiply(y, log(p + epsilon)) - _multiply((1 - y), log(1 - p + epsilon))

    given = labels, predictions, weights
    return _float_loss(scope, "log_loss", given, losses, loss_collection, reduction)


def mean_squared_error(
    labels: Any,
    predictions: Any,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: str | None = _LOSSES,
    reduction: str = _BY_NONZERO,
) -> Any:
    """`(predictions - labels) ** 2`, weighted and reduced (tf.losses.mean_squared_error)."""
    _require(labels=labels, predictions=predictions)

    def losses(y: Any, p: Any) -> Any:
        return math_functions.squared_difference(p, y)

    given = labels, predictions, weights
    return _float_loss(scope, "mean_squared_error", given, losses, loss_collection, reduction)


def mean_pairwise_squared_error(
    labels: Any,
    predictions: Any,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: str | None = _LOSSES,
) -> Any:
    """How the differences between elements of one example are off (tf.losses.mean_pairwise_squared_error).

    `weights` is a scalar or has one entry per example.
    """
    _require(labels=labels, predictions=predictions)
    with name_scope(scope, "mean_pairwise_squared_error", [predictions, labels, weights]):
        weights, labels = cast(weights, float32), cast(labels, float32)
        check = assert_broadcastable(weights, labels)
        with get_default_graph().control_dependencies([check]):
            predictions = cast(predictions, float32)
            predictions.shape.assert_is_compatible_with(labels.shape)
            loss = _pairwise(_subtract(predictions, labels), weights)
            add_loss(loss, loss_collection)
            return loss


def _pairwise(diffs: Any, weights: Any) -> Any:
    divide, maximum = math_functions.div_no_nan, math_functions.maximum
    axes = sequence.range(1, shape_ops.rank(diffs))
    squares = reduce_sum(elementwise.square(diffs), axis=axes, keepdims=True)
    present = _num_present(diffs, weights, per_batch=True)
    first = 2.0 * divide(squares, maximum(present - 1, 0), name="value")
    total = reduce_sum(diffs, axis=axes, keepdims=True)
    squared = elementwise.square(total)
    pairs = maximum(_multiply(present, present - 1), 0)
    second = 2.0 * divide(squared, pairs, name="value")
    loss = reduce_sum(_multiply(first - second, weights))
    return where(reduce_sum(present) > 0, loss, fill.zeros_like(loss), name="value")


def sigmoid_cross_entropy(
    multi_class_labels: Any,
    logits: Any,
    weights: Any = 1.0,
    label_smoothing: float = 0,
    scope: str | None = None,
    loss_collection: str | None = _LOSSES,
    reduction: str = _BY_NONZERO,
) -> Any:
    """The cross entropy of independent classes (tf.losses.sigmoid_cross_entropy); smoothing moves labels towards 1/2."""
    _require(multi_class_labels=multi_class_labels, logits=logits)
    values = [logits, multi_class_labels, weights]
    with name_scope(scope, "sigmoid_cross_entropy_loss", values) as entered:
        logits = convert_to_tensor(logits)
        labels = cast(multi_class_labels, logits.dtype)
        logits.shape.assert_is_compatible_with(labels.shape)
        if label_smoothing > 0:
            labels = labels * (1 - label_smoothing) + 0.5 * label_smoothing
        losses = nn_misc.sigmoid_cross_entropy_with_logits(
            labels=labels, logits=logits, name="xentropy"
        )
        return compute_weighted_loss(losses, weights, entered, loss_collection, reduction)


def softmax_cross_entropy(
    onehot_labels: Any,
    logits: Any,
    weights: Any = 1.0,
    label_smoothing: float = 0,
    scope: str | None = None,
    loss_collection: str | None = _LOSSES,
    reduction: str = _BY_NONZERO,
) -> Any:
    """The cross entropy of exclusive classes, labels one-hot [batch, classes] (tf.losses.softmax_cross_entropy).

    Smoothing moves labels towards 1/classes. `weights` has one entry per example.
    """
    _require(onehot_labels=onehot_labels, logits=logits)
    values = [logits, onehot_labels, weights]
    with name_scope(scope, "softmax_cross_entropy_loss", values) as entered:
        logits = convert_to_tensor(logits)
        labels = cast(onehot_labels, logits.dtype)
        logits.shape.assert_is_compatible_with(labels.shape)
        if label_smoothing > 0:
            classes = cast(shape_ops.shape(labels)[-1], logits.dtype)
            other = label_smoothing / classes
            labels = labels * (1.0 - label_smoothing) + other
        labels = identity.stop_gradient(labels, name="labels_stop_gradient")
        losses = nn_softmax.softmax_cross_entropy_with_logits_v2(
            labels=labels, logits=logits, name="xentropy"
        )
        return compute_weighted_loss(losses, weights, entered, loss_collection, reduction)


def sparse_softmax_cross_entropy(
    labels: Any,
    logits: Any,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: str | None = _LOSSES,
    reduction: str = _BY_NONZERO,
) -> Any:
    """The cross entropy of exclusive classes, labels their indices [batch] or [batch, 1]
    (tf.losses.sparse_softmax_cross_entropy). `weights` has one entry per example.
    """
    _require(labels=labels, logits=logits)
    values = [logits, labels, weights]
    with name_scope(scope, "sparse_softmax_cross_entropy_loss", values) as entered:
        labels, logits, weights = squeeze_or_expand(labels, logits, weights, expected_rank_diff=1)
        losses = nn_softmax.sparse_softmax_cross_entropy_with_logits(
            labels=labels, logits=logits, name="xentropy"
        )
        return compute_weighted_loss(losses, weights, entered, loss_collection, reduction)
