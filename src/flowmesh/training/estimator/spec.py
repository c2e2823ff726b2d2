"""What a model function returns, and what a distributed training is told (TensorFlow: `tf.estimator.EstimatorSpec`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.operation import Operation
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.reshape import reshape
from flowmesh.training.scaffold import Scaffold
from flowmesh.training.session_run_hook import SessionRunHook


class ModeKeys:
    """What a model function builds its graph for (TensorFlow: `tf.estimator.ModeKeys`)."""

    TRAIN = "train"
    EVAL = "eval"
    PREDICT = "infer"


class EstimatorSpec(
    NamedTuple(
        "EstimatorSpec",
        [
            ("mode", str),
            ("predictions", Any),
            ("loss", Any),
            ("train_op", Any),
            ("eval_metric_ops", Any),
            ("export_outputs", Any),
            ("training_chief_hooks", Any),
            ("training_hooks", Any),
            ("scaffold", Any),
            ("evaluation_hooks", Any),
            ("prediction_hooks", Any),
        ],
    )
):
    """The ops of a model in one mode (TensorFlow: `tf.estimator.EstimatorSpec`).

    `loss` is a scalar tensor (or one of shape [1]), `train_op` an operation or tensor, `predictions` a tensor or a dict of
    tensors whose first axis is the batch, `eval_metric_ops` a dict of `(value, update_op)`. Raises ValueError when the mode
    lacks what it needs (TRAIN: `loss` and `train_op`, EVAL: `loss`, PREDICT: `predictions`) or a tensor is of another
    graph, TypeError for what is no tensor, metric, hook or Scaffold.
    """

    __slots__ = ()

    def __new__(
        cls,
        mode: str,
        predictions: Any = None,
        loss: Any = None,
        train_op: Any = None,
        eval_metric_ops: Any = None,
        export_outputs: Any = None,
        training_chief_hooks: Any = None,
        training_hooks: Any = None,
        scaffold: Any = None,
        evaluation_hooks: Any = None,
        prediction_hooks: Any = None,
    ) -> EstimatorSpec:
        if mode not in (ModeKeys.TRAIN, ModeKeys.EVAL, ModeKeys.PREDICT):
            raise ValueError(f"mode is {mode!r}; it must be one of tf.estimator.ModeKeys.")
        if scaffold is not None and not isinstance(scaffold, Scaffold):
            raise TypeError(f"scaffold must be tf.train.Scaffold. Given: {scaffold}")
        train_op = _checked_train_op(train_op, mode)
        loss = _checked_loss(loss, mode)
        return super().__new__(
            cls,
            mode,
            _checked_predictions(predictions, mode),
            loss,
            train_op,
            _checked_metrics(eval_metric_ops),
            export_outputs,
            _checked_hooks(training_chief_hooks),
            _checked_hooks(training_hooks),
            scaffold or Scaffold(),
            _checked_hooks(evaluation_hooks),
            _checked_hooks(prediction_hooks),
        )


def _own(element: Any, what: str) -> Any:
    if element.graph is not get_default_graph():
        raise ValueError(f"{what} must be from the default graph. Given: {element.name}")
    return element


def _checked_train_op(train_op: Any, mode: str) -> Any:
    if train_op is None:
        if mode == ModeKeys.TRAIN:
            raise ValueError("Missing train_op.")
        return None
    if not isinstance(train_op, (Tensor, Operation)) and not hasattr(train_op, "op"):
        raise TypeError(f"train_op must be Operation or Tensor, given: {train_op}")
    return _own(train_op, "train_op")


def _checked_loss(loss: Any, mode: str) -> Any:
    if loss is None:
        if mode in (ModeKeys.TRAIN, ModeKeys.EVAL):
            raise ValueError("Missing loss.")
        return None
    loss = _own(convert_to_tensor(loss), "loss")
    if not loss.get_shape().is_compatible_with([]):
        if loss.get_shape().num_elements() != 1:
            raise ValueError(f"Loss must be scalar, given: {loss}")
        loss = reshape(loss, [])
    return loss


def _checked_predictions(predictions: Any, mode: str) -> Any:
    if predictions is None:
        if mode == ModeKeys.PREDICT:
            raise ValueError("Missing predictions.")
        return {}
    if isinstance(predictions, Mapping):
        return {k: _own(_tensor(v, f"predictions[{k}]"), k) for k, v in predictions.items()}
    return _own(_tensor(predictions, "predictions"), "predictions")


def _tensor(value: Any, what: str) -> Any:
    if not isinstance(value, Tensor) and not hasattr(value, "dtype"):
        raise TypeError(f"{what} must be Tensor, given: {value}")
    return value


def _checked_metrics(metrics: Any) -> dict[str, tuple[Any, Any]]:
    if metrics is None:
        return {}
    if not isinstance(metrics, Mapping):
        raise TypeError(f"eval_metric_ops must be a dict, given: {metrics}")
    for key, pair in metrics.items():
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise TypeError(
                f"Values of eval_metric_ops must be (metric_value, update_op) tuples, given: {pair} for key: {key}"
            )
    return dict(metrics)


def _checked_hooks(hooks: Any) -> tuple[SessionRunHook, ...]:
    result = tuple(hooks or ())
    for hook in result:
        if not isinstance(hook, SessionRunHook):
            raise TypeError(f"All hooks must be SessionRunHook instances, given: {hook}")
    return result


class TrainSpec(NamedTuple):
    """How `train_and_evaluate` trains (TensorFlow: `tf.estimator.TrainSpec`)."""

    input_fn: Callable[..., Any]
    max_steps: int | None = None
    hooks: Sequence[Any] | None = None
    saving_listeners: Sequence[Any] | None = None


class EvalSpec(NamedTuple):
    """How `train_and_evaluate` evaluates (TensorFlow: `tf.estimator.EvalSpec`): `steps` batches (None: all) of `input_fn`,
    first after `start_delay_secs`, then not more often than every `throttle_secs`."""

    input_fn: Callable[..., Any]
    steps: int | None = 100
    name: str | None = None
    hooks: Sequence[Any] | None = None
    exporters: Any = None
    start_delay_secs: float = 120
    throttle_secs: float = 600
