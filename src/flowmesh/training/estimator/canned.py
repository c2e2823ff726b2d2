"""Ready-made models: linear ones and deep networks (TensorFlow: `tf.estimator.DNNClassifier` ...)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from flowmesh.core.dtypes import float32
from flowmesh.frontend.contrib_summaries import summarize_tensor
from flowmesh.frontend.initializers import VarianceScaling, Zeros
from flowmesh.frontend.layers.core import dense, dropout as dropout_layer
from flowmesh.frontend.partitioners import min_max_variable_partitioner
from flowmesh.frontend.variable_scope import get_variable, variable_scope
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.graph import get_default_graph
from flowmesh.ops.math_functions import add_n
from flowmesh.ops.matmul import matmul
from flowmesh.ops.nn_activation import relu
from flowmesh.ops.nn_misc import bias_add
from flowmesh.training.estimator.estimator import Estimator
from flowmesh.training.estimator.feature_columns import checked_columns, input_layer
from flowmesh.training.estimator.heads import Head, RegressionHead, classification
from flowmesh.training.estimator.spec import EstimatorSpec, ModeKeys
from flowmesh.training.global_step import get_global_step
from flowmesh.training.optimizer import Optimizer
from flowmesh.training.optimizers import AdagradOptimizer, FtrlOptimizer, GradientDescentOptimizer

_DNN_RATE, _LINEAR_RATE = 0.05, 0.2
_NAMED: dict[str, Callable[[float], Optimizer]] = {
    "Adagrad": AdagradOptimizer,
    "Ftrl": FtrlOptimizer,
    "SGD": GradientDescentOptimizer,
}
_LEAST_SLICE = 64 << 20
_OWN = "is not supported by this model. Write a model function for tf.estimator.Estimator."


def _optimizer(given: Any, rate: float) -> Optimizer:
    if isinstance(given, str):
        if given not in _NAMED:
            raise ValueError(
                f"Unsupported optimizer name: {given}. Supported names are: {tuple(sorted(_NAMED))}"
            )
        return _NAMED[given](rate)
    made = given() if callable(given) else given
    if not isinstance(made, Optimizer):
        raise ValueError(f"The given object is not an Optimizer instance. Given: {made}")
    return made


def _refuse(**unsupported: Any) -> None:
    for name, value in unsupported.items():
        if value is not None and value is not False:
            raise ValueError(f"{name} {_OWN}")


class _Canned(Estimator):
    """A model of layers below a head, with an optimizer for the variables of one scope."""

    _scope = ""
    _rate = 0.0

    def _set_up(
        self,
        head: Head,
        feature_columns: Any,
        optimizer: Any,
        partitioner: Any,
        model_dir: str | None,
        config: Any,
    ) -> None:
        columns = checked_columns(feature_columns)

        def model_fn(features: Any, labels: Any, mode: str, config: Any) -> EstimatorSpec:
            if not isinstance(features, dict):
                raise ValueError(
                    f"features should be a dictionary of `Tensor`s. Given type: {type(features)}"
                )
            split = partitioner or min_max_variable_partitioner(
                max_partitions=max(1, config.num_ps_replicas), min_slice_size=_LEAST_SLICE
            )
            with variable_scope(self._scope, values=tuple(features.values()), partitioner=split):
                logits = self._logits(features, columns, head.units, mode)

            def train_op(loss: Any) -> Any:
                variables = get_default_graph().get_collection(
                    GraphKeys.TRAINABLE_VARIABLES, self._scope + "/"
                )
                chosen = _optimizer(optimizer, self._rate_for(columns))
                return chosen.minimize(loss, global_step=get_global_step(), var_list=variables)

            return head.spec(mode, logits, labels, train_op)

        super().__init__(model_fn, model_dir, config)

    def _rate_for(self, columns: Sequence[Any]) -> float:
        return self._rate

    def _logits(self, features: Any, columns: Sequence[Any], units: int, mode: str) -> Any:
        raise NotImplementedError


class _Linear(_Canned):
    _scope = "linear"

    def _rate_for(self, columns: Sequence[Any]) -> float:
        return min(_LINEAR_RATE, 1.0 / math.sqrt(len(columns)))

    def _logits(self, features: Any, columns: Sequence[Any], units: int, mode: str) -> Any:
        with variable_scope("linear_model"):
            parts = []
            for column in columns:
                with variable_scope(column.name):
                    weights = get_variable("weights", [column.size, units], float32, Zeros())
                    parts.append(matmul(column.dense(features), weights, name="weighted_sum"))
            bias = get_variable("bias_weights", [units], float32, Zeros())
            total = parts[0] if len(parts) == 1 else add_n(parts, name="weighted_sum_no_bias")
            logits = bias_add(total, bias, name="weighted_sum")
        if units == 1:
            summarize_tensor(bias, "bias")
        return logits


class LinearClassifier(_Linear):
    """Classes by a linear model (TensorFlow: `tf.estimator.LinearClassifier`). Labels are integers below `n_classes`."""

    def __init__(
        self,
        feature_columns: Any,
        model_dir: str | None = None,
        n_classes: int = 2,
        weight_column: Any = None,
        label_vocabulary: Any = None,
        optimizer: Any = "Ftrl",
        config: Any = None,
        partitioner: Any = None,
        warm_start_from: Any = None,
    ) -> None:
        _refuse(
            weight_column=weight_column,
            label_vocabulary=label_vocabulary,
            warm_start_from=warm_start_from,
        )
        head = classification(n_classes)
        self._set_up(head, feature_columns, optimizer, partitioner, model_dir, config)


class LinearRegressor(_Linear):
    """Numbers by a linear model (TensorFlow: `tf.estimator.LinearRegressor`). Labels are [batch, label_dimension]."""

    def __init__(
        self,
        feature_columns: Any,
        model_dir: str | None = None,
        label_dimension: int = 1,
        weight_column: Any = None,
        optimizer: Any = "Ftrl",
        config: Any = None,
        partitioner: Any = None,
        warm_start_from: Any = None,
    ) -> None:
        _refuse(weight_column=weight_column, warm_start_from=warm_start_from)
        head = RegressionHead(label_dimension)
        self._set_up(head, feature_columns, optimizer, partitioner, model_dir, config)


class _Deep(_Canned):
    _scope = "dnn"
    _rate = _DNN_RATE
    _hidden: tuple[int, ...] = ()
    _activation: Callable[[Any], Any] = staticmethod(relu)
    _dropout: float | None = None

    def _shape(self, hidden_units: Sequence[int], activation: Any, dropout: float | None) -> None:
        self._hidden = tuple(hidden_units)
        if not self._hidden or any(not isinstance(n, int) or n < 1 for n in self._hidden):
            raise ValueError(
                f"hidden_units must be a list of positive integers, given: {hidden_units}"
            )
        self._activation, self._dropout = activation or relu, dropout

    def _logits(self, features: Any, columns: Sequence[Any], units: int, mode: str) -> Any:
        with variable_scope("input_from_feature_columns"):
            net = input_layer(features, columns)
        for i, size in enumerate(self._hidden):
            with variable_scope(f"hiddenlayer_{i}", values=(net,)) as scope:
                net = self._dense(net, size, self._activation, scope)
                if self._dropout is not None and mode == ModeKeys.TRAIN:
                    net = dropout_layer(net, rate=self._dropout, training=True)
        with variable_scope("logits", values=(net,)) as scope:
            return self._dense(net, units, None, scope)

    def _dense(self, net: Any, size: int, activation: Any, scope: Any) -> Any:
        return dense(
            net,
            size,
            activation=activation,
            kernel_initializer=VarianceScaling(mode="fan_avg", distribution="uniform"),
            name=scope,
        )


class DNNClassifier(_Deep):
    """Classes by a deep network (TensorFlow: `tf.estimator.DNNClassifier`). Labels are integers below `n_classes`."""

    def __init__(
        self,
        hidden_units: Sequence[int],
        feature_columns: Any,
        model_dir: str | None = None,
        n_classes: int = 2,
        weight_column: Any = None,
        label_vocabulary: Any = None,
        optimizer: Any = "Adagrad",
        activation_fn: Any = relu,
        dropout: float | None = None,
        input_layer_partitioner: Any = None,
        config: Any = None,
        warm_start_from: Any = None,
    ) -> None:
        _refuse(
            weight_column=weight_column,
            label_vocabulary=label_vocabulary,
            warm_start_from=warm_start_from,
        )
        self._shape(hidden_units, activation_fn, dropout)
        head = classification(n_classes)
        self._set_up(head, feature_columns, optimizer, input_layer_partitioner, model_dir, config)


class DNNRegressor(_Deep):
    """Numbers by a deep network (TensorFlow: `tf.estimator.DNNRegressor`). Labels are [batch, label_dimension]."""

    def __init__(
        self,
        hidden_units: Sequence[int],
        feature_columns: Any,
        model_dir: str | None = None,
        label_dimension: int = 1,
        weight_column: Any = None,
        optimizer: Any = "Adagrad",
        activation_fn: Any = relu,
        dropout: float | None = None,
        input_layer_partitioner: Any = None,
        config: Any = None,
        warm_start_from: Any = None,
    ) -> None:
        _refuse(weight_column=weight_column, warm_start_from=warm_start_from)
        self._shape(hidden_units, activation_fn, dropout)
        head = RegressionHead(label_dimension)
        self._set_up(head, feature_columns, optimizer, input_layer_partitioner, model_dir, config)
