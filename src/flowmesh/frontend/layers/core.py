"""Fully connected layers, dropout and flattening (TensorFlow: `tf.layers.dense`, `dropout`, `flatten`)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from flowmesh.core.dtypes import as_dtype
from flowmesh.core.shapes import TensorShape, as_shape
from flowmesh.frontend.initializers import Zeros
from flowmesh.frontend.layers.base import InputSpec, Layer
from flowmesh.frontend.smart_cond import smart_cond
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.raw import raw
from flowmesh.ops import contraction, nn_misc, shape_ops, transpose
from flowmesh.ops.reshape import reshape

_zeros = Zeros()


class Dense(Layer):
    """`activation(inputs @ kernel + bias)` over the last axis, with `units` outputs."""

    def __init__(
        self,
        units: int,
        activation: Callable[..., Any] | None = None,
        use_bias: bool = True,
        kernel_initializer: Any = None,
        bias_initializer: Any = _zeros,
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        trainable: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(trainable, name, activity_regularizer=activity_regularizer, **kwargs)
        self.units = int(units)
        self.activation = activation
        self.use_bias = use_bias
        self.kernel_initializer, self.bias_initializer = kernel_initializer, bias_initializer
        self.kernel_regularizer, self.bias_regularizer = kernel_regularizer, bias_regularizer
        self.kernel_constraint, self.bias_constraint = kernel_constraint, bias_constraint
        self.input_spec = InputSpec(min_ndim=2)
        self.kernel: Any
        self.bias: Any

    def build(self, input_shape: Any) -> None:
        """Makes `kernel` [last axis, units] and `bias` [units]; ValueError when the last axis is unknown."""
        dtype = as_dtype(self._dtype or "float32")
        if not (dtype.is_floating or dtype.is_complex):
            raise TypeError(f"Unable to build `Dense` layer with non-floating point dtype {dtype}")
        last = TensorShape(input_shape).as_list()[-1]
        if last is None:
            raise ValueError(
                "The last dimension of the inputs to `Dense` should be defined. Found `None`."
            )
        self.input_spec = InputSpec(min_ndim=2, axes={-1: last})
        self.kernel = self.add_weight(
            "kernel", [last, self.units], initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer, constraint=self.kernel_constraint,
        )  # fmt: skip
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                "bias", [self.units], initializer=self.bias_initializer,
                regularizer=self.bias_regularizer, constraint=self.bias_constraint,
            )  # fmt: skip
        self.built = True

    def call(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The activation of the affine map."""
        rank = inputs.shape.ndims
        if rank is not None and rank > 2:
            outputs = contraction.tensordot(inputs, self.kernel, [[rank - 1], [0]])
            outputs.set_shape([*inputs.shape.as_list()[:-1], self.units])
        else:
            outputs = raw.MatMul(inputs, self.kernel)
        if self.use_bias:
            outputs = nn_misc.bias_add(outputs, self.bias)
        return outputs if self.activation is None else self.activation(outputs)

    def compute_output_shape(self, input_shape: Any) -> TensorShape:
        """The input's shape with `units` for its last axis."""
        shape = as_shape(input_shape).with_rank_at_least(2)
        sizes = shape.as_list()
        if sizes[-1] is None:
            raise ValueError(
                f"The innermost dimension of input_shape must be defined, but saw: {input_shape}"
            )
        return TensorShape([*sizes[:-1], self.units])


class Dropout(Layer):
    """In training, zeroes a fraction `rate` of the elements and scales the others by `1 / (1 - rate)`."""

    def __init__(
        self,
        rate: Any = 0.5,
        noise_shape: Any = None,
        seed: int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.rate, self.noise_shape, self.seed = rate, noise_shape, seed

    def _noise(self, inputs: Any) -> Any:
        if self.noise_shape is None:
            return None
        sizes = shape_ops.shape(inputs)
        return convert_to_tensor(
            [sizes[i] if given is None else given for i, given in enumerate(self.noise_shape)]
        )

    def call(self, inputs: Any, training: Any = False) -> Any:  # type: ignore[override]
        """`inputs` with dropout where `training` (a bool or bool tensor) holds."""

        def dropped() -> Any:
            noise = self._noise(inputs)
            return nn_misc.dropout(inputs, noise_shape=noise, seed=self.seed, rate=self.rate)

        return smart_cond(training, dropped, lambda: raw.Identity(inputs))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's shape."""
        return input_shape


class Flatten(Layer):
    """Joins all axes but the first."""

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = normal_data_format(data_format or "channels_last")
        self.input_spec = InputSpec(min_ndim=1)

    def call(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """A [batch, everything else] tensor; with channels_first the channels are moved last before."""
        rank = inputs.shape.ndims
        if self.data_format == "channels_first" and rank is not None and rank > 1:
            order = np.array([0, *range(2, rank), 1], np.int32)
            inputs = transpose.transpose(inputs, order)
        batch = inputs.shape.as_list()[0]
        first = batch if batch is not None else shape_ops.shape(inputs)[0]
        outputs = reshape(inputs, (first, -1))
        outputs.set_shape(self.compute_output_shape(inputs.shape))
        return outputs

    def compute_output_shape(self, input_shape: Any) -> TensorShape:
        """The batch size and the product of the other sizes, where known."""
        sizes = as_shape(input_shape).as_list()
        known = [size for size in sizes[1:] if size is not None]
        rest = math.prod(known) if len(known) == len(sizes) - 1 else None
        return TensorShape([sizes[0], rest])


def normal_data_format(value: Any) -> str:
    """`channels_first` or `channels_last` in lower case; ValueError for anything else."""
    text = str(value).lower()
    if text not in ("channels_first", "channels_last"):
        raise ValueError(
            f'The `data_format` argument must be one of "channels_first", "channels_last". Received: {value}'
        )
    return text


def dense(
    inputs: Any,
    units: int,
    activation: Any = None,
    use_bias: bool = True,
    kernel_initializer: Any = None,
    bias_initializer: Any = _zeros,
    kernel_regularizer: Any = None,
    bias_regularizer: Any = None,
    activity_regularizer: Any = None,
    kernel_constraint: Any = None,
    bias_constraint: Any = None,
    trainable: bool = True,
    name: str | None = None,
    reuse: Any = None,
) -> Any:
    """A fully connected layer on `inputs` [..., n]: [..., units] (tf.layers.dense).

    Variables `<name>/kernel` and `<name>/bias`. Raises ValueError when the last axis is unknown.
    """
    layer = Dense(
        units, activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
        activity_regularizer, kernel_constraint, bias_constraint, trainable, name, _scope=name, _reuse=reuse,
    )  # fmt: skip
    return layer.apply(inputs)


fully_connected = dense


def dropout(
    inputs: Any,
    rate: Any = 0.5,
    noise_shape: Any = None,
    seed: int | None = None,
    training: Any = False,
    name: str | None = None,
) -> Any:
    """Dropout of `inputs` where `training` holds (tf.layers.dropout); `rate` is the fraction to drop."""
    return Dropout(rate, noise_shape, seed, name).apply(inputs, training=training)


def flatten(inputs: Any, name: str | None = None, data_format: str = "channels_last") -> Any:
    """`inputs` with all axes but the first joined (tf.layers.flatten)."""
    return Flatten(name=name, data_format=data_format).apply(inputs)
