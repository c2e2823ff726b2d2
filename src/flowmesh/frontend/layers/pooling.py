"""Pooling layers (TensorFlow: `tf.layers.max_pooling2d` and its siblings)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flowmesh.core.shapes import TensorShape, as_shape
from flowmesh.frontend.layers.base import InputSpec, Layer
from flowmesh.frontend.layers.core import normal_data_format
from flowmesh.graph.raw import raw
from flowmesh.ops import nn_pool

Pool = Callable[..., Any]


def sizes_of(value: Any, count: int, name: str) -> tuple[int, ...]:
    """`count` integers: one for all axes, or one each; ValueError otherwise."""
    if isinstance(value, (int, np.integer)):
        return (int(value),) * count
    error = ValueError(
        f"The `{name}` argument must be a tuple of {count} integers. Received: {value}"
    )
    try:
        given = tuple(value)
    except TypeError:
        raise error from None
    if len(given) != count:
        raise error
    for item in given:
        try:
            int(item)
        except (ValueError, TypeError):
            raise ValueError(
                f"The `{name}` argument must be a tuple of {count} integers. Received: {value} "
                f"including element {item} of type {type(item)}"
            ) from None
    return tuple(int(item) for item in given)


def normal_padding(value: Any) -> str:
    """`valid` or `same` in lower case; ValueError for anything else."""
    text = str(value).lower()
    if text not in ("valid", "same", "causal"):
        raise ValueError(
            'The `padding` argument must be a list/tuple or one of "valid", "same" (or "causal", only for `Conv1D). '
            f"Received: {text}"
        )
    return text


def output_length(
    length: int | None, window: int, padding: str, stride: int, rate: int = 1
) -> int | None:
    """How many windows fit an axis of this length."""
    if length is None:
        return None
    reach = window + (window - 1) * (rate - 1)
    places = length if padding in ("same", "causal") else length - reach + 1
    return (places + stride - 1) // stride


class _Pooling(Layer):
    """Pooling over the spatial axes."""

    rank = 2
    pool: Pool

    def __init__(
        self,
        pool_size: Any,
        strides: Any,
        padding: str = "valid",
        data_format: str = "channels_last",
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        strides = pool_size if strides is None else strides
        self.pool_size = sizes_of(pool_size, self.rank, "pool_size")
        self.strides = sizes_of(strides, self.rank, "strides")
        self.padding = normal_padding(padding)
        self.data_format = normal_data_format(data_format)
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def _full(self, sizes: tuple[int, ...]) -> list[int]:
        if self.data_format == "channels_last":
            return [1, *sizes, 1]
        return [1, 1, *sizes]

    def call(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The pooled tensor."""
        pool = type(self).pool
        return pool(
            inputs,
            self._full(self.pool_size),
            self._full(self.strides),
            self.padding.upper(),
            "NHWC" if self.data_format == "channels_last" else "NCHW",
        )

    def compute_output_shape(self, input_shape: Any) -> TensorShape:
        """The number of windows along each axis."""
        sizes = as_shape(input_shape).as_list()
        first = 1 if self.data_format == "channels_last" else 2
        for axis in range(self.rank):
            sizes[first + axis] = output_length(
                sizes[first + axis], self.pool_size[axis], self.padding, self.strides[axis]
            )
        return TensorShape(sizes)


class _Pooling1D(_Pooling):
    rank = 1

    def call(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The pooled tensor: pooling of an image one pixel wide."""
        last = self.data_format == "channels_last"
        axis = 2 if last else 3
        wide = raw.ExpandDims(inputs, np.int32(axis))
        pool = type(self).pool
        pooled = pool(
            wide,
            self._full((*self.pool_size, 1)),
            self._full((*self.strides, 1)),
            self.padding.upper(),
            "NHWC" if last else "NCHW",
        )
        return raw.Squeeze(pooled, squeeze_dims=[axis])


class MaxPooling2D(_Pooling):
    """The largest element of each window of an image batch."""

    pool = staticmethod(nn_pool.max_pool)


class AveragePooling2D(_Pooling):
    """The mean of each window of an image batch."""

    pool = staticmethod(nn_pool.avg_pool)


class MaxPooling1D(_Pooling1D):
    """The largest element of each window of a batch of sequences."""

    pool = staticmethod(nn_pool.max_pool)


class AveragePooling1D(_Pooling1D):
    """The mean of each window of a batch of sequences."""

    pool = staticmethod(nn_pool.avg_pool)


MaxPool1D, MaxPool2D = MaxPooling1D, MaxPooling2D
AvgPool1D, AvgPool2D = AveragePooling1D, AveragePooling2D


def max_pooling2d(
    inputs: Any,
    pool_size: Any,
    strides: Any,
    padding: str = "valid",
    data_format: str = "channels_last",
    name: str | None = None,
) -> Any:
    """The largest element of each window of a rank-4 tensor (tf.layers.max_pooling2d)."""
    return MaxPooling2D(pool_size, strides, padding, data_format, name).apply(inputs)


def average_pooling2d(
    inputs: Any,
    pool_size: Any,
    strides: Any,
    padding: str = "valid",
    data_format: str = "channels_last",
    name: str | None = None,
) -> Any:
    """The mean of each window of a rank-4 tensor (tf.layers.average_pooling2d)."""
    return AveragePooling2D(pool_size, strides, padding, data_format, name).apply(inputs)


def max_pooling1d(
    inputs: Any,
    pool_size: Any,
    strides: Any,
    padding: str = "valid",
    data_format: str = "channels_last",
    name: str | None = None,
) -> Any:
    """The largest element of each window of a rank-3 tensor (tf.layers.max_pooling1d)."""
    return MaxPooling1D(pool_size, strides, padding, data_format, name).apply(inputs)


def average_pooling1d(
    inputs: Any,
    pool_size: Any,
    strides: Any,
    padding: str = "valid",
    data_format: str = "channels_last",
    name: str | None = None,
) -> Any:
    """The mean of each window of a rank-3 tensor (tf.layers.average_pooling1d)."""
    return AveragePooling1D(pool_size, strides, padding, data_format, name).apply(inputs)
