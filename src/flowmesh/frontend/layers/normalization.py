"""Batch normalisation as a layer (TensorFlow: `tf.layers.batch_normalization`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flowmesh.core.dtypes import as_dtype, bfloat16, float16, float32
from flowmesh.core.shapes import TensorShape
from flowmesh.frontend.initializers import Ones, Zeros
from flowmesh.frontend.layers.base import InputSpec, Layer
from flowmesh.frontend.smart_cond import smart_cond, smart_constant_value
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.raw import raw
from flowmesh.ops import nn_norm_functions, state
from flowmesh.ops.cast import cast
from flowmesh.ops.constant import constant
from flowmesh.ops.reshape import reshape

_zeros, _ones = Zeros(), Ones()


class BatchNormalization(Layer):
    """Normalises over all axes but `axis`, by the batch's moments in training and by moving averages otherwise.

    The moving averages are updated by ops in the collection UPDATE_OPS, which the train op must depend on. `fused` (by default
    for images with the channels first or last) is one op. `renorm`, `virtual_batch_size` and `adjustment` are not offered:
    ValueError.
    """

    def __init__(
        self,
        axis: Any = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = _zeros,
        gamma_initializer: Any = _ones,
        moving_mean_initializer: Any = _zeros,
        moving_variance_initializer: Any = _ones,
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        renorm: bool = False,
        renorm_clipping: Any = None,
        renorm_momentum: float = 0.99,
        fused: bool | None = None,
        trainable: bool = True,
        virtual_batch_size: int | None = None,
        adjustment: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(trainable, name, **kwargs)
        for option, given in (("renorm", renorm), ("virtual_batch_size", virtual_batch_size), ("adjustment", adjustment)):  # fmt: skip
            if given:
                raise ValueError(f"batch_normalization has no {option}: leave the argument out")
        self.axis = list(axis) if isinstance(axis, Sequence) else axis
        self.momentum, self.epsilon = momentum, epsilon
        self.center, self.scale = center, scale
        self._initializers = {
            "beta": beta_initializer,
            "gamma": gamma_initializer,
            "moving_mean": moving_mean_initializer,
            "moving_variance": moving_variance_initializer,
        }
        self._regularizers = {"beta": beta_regularizer, "gamma": gamma_regularizer}
        self._constraints = {"beta": beta_constraint, "gamma": gamma_constraint}
        self.fused = fused
        self.gamma: Any
        self.beta: Any
        self.moving_mean: Any
        self.moving_variance: Any

    def build(self, input_shape: Any) -> None:
        """Makes gamma, beta and the moving averages, of the size of `axis`; ValueError when that is unknown."""
        shape = TensorShape(input_shape)
        if shape.ndims is None:
            raise ValueError("Input has undefined rank:", shape)
        rank, sizes = shape.ndims, shape.as_list()
        axes = [self.axis] if isinstance(self.axis, int) else list(self.axis)
        axes = [axis + rank if axis < 0 else axis for axis in axes]
        for axis in axes:
            if axis < 0 or axis >= rank:
                raise ValueError(f"Invalid axis: {axis}")
        self.axis = axes
        for axis in axes:
            if sizes[axis] is None:
                raise ValueError(
                    "Input has undefined `axis` dimension. Input shape: ", TensorShape(input_shape)
                )
        if self.fused is None:
            self.fused = rank == 4 and axes in ([1], [3])
        if self.fused and (rank != 4 or axes not in ([1], [3])):
            raise ValueError(
                "Unsupported axis, fused batch norm only supports axis == [1] or axis == [3]"
                if rank == 4
                else f"Batch normalization layers with fused=True only support 4D input tensors, not rank {rank}."
            )
        self._data_format = "NCHW" if axes == [1] else "NHWC"
        self.input_spec = InputSpec(ndim=rank, axes={axis: sizes[axis] for axis in axes})
        self._make([sizes[a] if a in axes else 1 for a in range(rank)] if len(axes) > 1 else [sizes[axes[0]]])  # fmt: skip
        self.built = True

    def _make(self, shape: list[int | None]) -> None:
        given = as_dtype(self._dtype or "float32")
        dtype = float32 if given in (float16, bfloat16) else given

        def weight(name: str, trainable: bool) -> Any:
            return self.add_weight(
                name, shape, dtype, self._initializers[name], self._regularizers.get(name),
                trainable, self._constraints.get(name),
            )  # fmt: skip

        self.gamma = weight("gamma", True) if self.scale else None
        if self.gamma is None and self.fused:
            self._gamma_constant = constant(1.0, dtype, shape)
        self.beta = weight("beta", True) if self.center else None
        if self.beta is None and self.fused:
            self._beta_constant = constant(0.0, dtype, shape)
        partitioner = self._scope.partitioner
        self._scope.set_partitioner(None)  # the averages are assigned whole
        try:
            self.moving_mean = weight("moving_mean", False)
            self.moving_variance = weight("moving_variance", False)
        finally:
            self._scope.set_partitioner(partitioner)

    def call(self, inputs: Any, training: Any = False) -> Any:  # type: ignore[override]
        """`inputs` normalised; `training` is a bool or a bool tensor."""
        if self.fused:
            outputs = self._fused_call(inputs, training)
        else:
            outputs = self._plain_call(inputs, training)
        return outputs

    def _fused_call(self, inputs: Any, training: Any) -> Any:
        beta = self.beta if self.center else self._beta_constant
        gamma = self.gamma if self.scale else self._gamma_constant

        def train() -> Any:
            return nn_norm_functions.fused_batch_norm(
                inputs, gamma, beta, epsilon=self.epsilon, data_format=self._data_format
            )

        def infer() -> Any:
            return nn_norm_functions.fused_batch_norm(
                inputs, gamma, beta, mean=self.moving_mean, variance=self.moving_variance,
                epsilon=self.epsilon, is_training=False, data_format=self._data_format,
            )  # fmt: skip

        outputs, mean, variance = smart_cond(training, train, infer)
        known = smart_constant_value(training)
        if known is None:
            momentum = smart_cond(training, lambda: self.momentum, lambda: 1.0)
        else:
            momentum = convert_to_tensor(self.momentum)
        if known is not False:
            self.add_update(lambda: self._average(self.moving_mean, mean, momentum), inputs=inputs)
            self.add_update(
                lambda: self._average(self.moving_variance, variance, momentum), inputs=inputs
            )
        return outputs

    def _average(self, variable: Any, value: Any, momentum: Any) -> Any:
        graph = get_default_graph()
        with graph.name_scope("AssignMovingAvg") as scope, graph.colocate_with(variable.op):
            rate = convert_to_tensor(1.0 - momentum, name="decay")
            if rate.dtype.base_dtype != variable.dtype.base_dtype:
                rate = cast(rate, variable.dtype.base_dtype)
            delta = (variable - cast(value, variable.dtype.base_dtype)) * rate
            return state.assign_sub(variable, delta, name=scope)

    def _plain_call(self, inputs: Any, training: Any) -> Any:
        rank = inputs.shape.ndims
        kept = self.axis
        scale, offset = self._broadcast(self.gamma, inputs), self._broadcast(self.beta, inputs)
        mean, variance = self.moving_mean, self.moving_variance
        known = smart_constant_value(training)
        if known is not False:
            axes = [axis for axis in range(rank) if axis not in kept]
            mean, variance = nn_norm_functions.moments(inputs, axes, keep_dims=len(kept) > 1)
            batch = mean, variance
            mean = smart_cond(training, lambda: batch[0], lambda: self.moving_mean)
            variance = smart_cond(training, lambda: batch[1], lambda: self.moving_variance)
            self._update(self.moving_mean, mean, training, inputs)
            self._update(self.moving_variance, variance, training, inputs)
        dtype = inputs.dtype.base_dtype
        outputs = nn_norm_functions.batch_normalization(
            inputs,
            _cast(self._broadcast(mean, inputs), dtype),
            _cast(self._broadcast(variance, inputs), dtype),
            _cast(offset, dtype),
            _cast(scale, dtype),
            self.epsilon,
        )
        outputs.set_shape(inputs.shape)
        return outputs

    def _update(self, variable: Any, value: Any, training: Any, inputs: Any) -> None:
        def update() -> Any:
            return smart_cond(
                training, lambda: self._average(variable, value, self.momentum), lambda: variable
            )

        self.add_update(update, inputs=inputs)

    def _broadcast(self, value: Any, inputs: Any) -> Any:
        """`value` with its axis where the inputs have theirs."""
        rank = inputs.shape.ndims
        if value is None or len(self.axis) != 1 or self.axis == [rank - 1]:
            return value
        shape = np.ones(rank, np.int32)
        shape[self.axis[0]] = inputs.shape.as_list()[self.axis[0]]
        return reshape(value, shape)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's shape."""
        return input_shape


def _cast(value: Any, dtype: Any) -> Any:
    if value is None or value.dtype.base_dtype == dtype:
        return value
    return raw.Cast(value, DstT=dtype)


BatchNorm = BatchNormalization


def batch_normalization(
    inputs: Any,
    axis: Any = -1,
    momentum: float = 0.99,
    epsilon: float = 1e-3,
    center: bool = True,
    scale: bool = True,
    beta_initializer: Any = _zeros,
    gamma_initializer: Any = _ones,
    moving_mean_initializer: Any = _zeros,
    moving_variance_initializer: Any = _ones,
    beta_regularizer: Any = None,
    gamma_regularizer: Any = None,
    beta_constraint: Any = None,
    gamma_constraint: Any = None,
    training: Any = False,
    trainable: bool = True,
    name: str | None = None,
    reuse: Any = None,
    renorm: bool = False,
    renorm_clipping: Any = None,
    renorm_momentum: float = 0.99,
    fused: bool | None = None,
    virtual_batch_size: int | None = None,
    adjustment: Any = None,
) -> Any:
    """Batch normalisation of `inputs` over all axes but `axis` (tf.layers.batch_normalization).

    Variables gamma, beta, moving_mean, moving_variance; the updates of the last two stand in UPDATE_OPS.
    """
    layer = BatchNormalization(
        axis, momentum, epsilon, center, scale, beta_initializer, gamma_initializer, moving_mean_initializer,
        moving_variance_initializer, beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint, renorm,
        renorm_clipping, renorm_momentum, fused, trainable, virtual_batch_size, adjustment, name, _reuse=reuse, _scope=name,
    )  # fmt: skip
    return layer.apply(inputs, training=training)


batch_norm = batch_normalization
