"""Convolution layers (TensorFlow: `tf.layers.conv2d` and its siblings)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flowmesh.core.shapes import TensorShape, as_shape
from flowmesh.frontend.initializers import Zeros
from flowmesh.frontend.layers.base import InputSpec, Layer
from flowmesh.frontend.layers.core import normal_data_format
from flowmesh.frontend.layers.pooling import normal_padding, output_length, sizes_of
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.raw import raw
from flowmesh.ops import nn_conv_functions, nn_misc, shape_ops
from flowmesh.ops.constant import constant
from flowmesh.ops.stack import stack

_zeros = Zeros()
_LAYOUTS = {1: ("NWC", "NCW"), 2: ("NHWC", "NCHW"), 3: ("NDHWC", "NCDHW")}


class Conv(Layer):
    """`activation(convolution(inputs, kernel) + bias)` over `rank` spatial axes.

    A dilation is an attribute of the convolution, where TensorFlow rearranges the batch: equal values, fewer nodes.
    """

    def __init__(
        self,
        rank: int,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = "channels_last",
        dilation_rate: Any = 1,
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
        self.rank = rank
        self.filters = None if filters is None else int(filters)
        self.kernel_size = sizes_of(kernel_size, rank, "kernel_size")
        self.strides = sizes_of(strides, rank, "strides")
        self.padding = normal_padding(padding)
        self.data_format = normal_data_format(data_format or "channels_last")
        self.dilation_rate = sizes_of(dilation_rate, rank, "dilation_rate")
        self.activation, self.use_bias = activation, use_bias
        self.kernel_initializer, self.bias_initializer = kernel_initializer, bias_initializer
        self.kernel_regularizer, self.bias_regularizer = kernel_regularizer, bias_regularizer
        self.kernel_constraint, self.bias_constraint = kernel_constraint, bias_constraint
        self.input_spec = InputSpec(ndim=rank + 2)
        self.kernel: Any
        self.bias: Any = None

    # -- geometry ----------------------------------------------------------------------------------

    @property
    def _channels_last(self) -> bool:
        return self.data_format == "channels_last"

    @property
    def _layout(self) -> str:
        return _LAYOUTS[self.rank][0 if self._channels_last else 1]

    def _full(self, sizes: tuple[int, ...]) -> list[int]:
        return [1, *sizes, 1] if self._channels_last else [1, 1, *sizes]

    def _channels(self, input_shape: Any) -> int:
        axis = -1 if self._channels_last else 1
        size = TensorShape(input_shape).as_list()[axis]
        if size is None:
            raise ValueError("The channel dimension of the inputs should be defined. Found `None`.")
        self.input_spec = InputSpec(ndim=self.rank + 2, axes={axis: size})
        return int(size)

    # -- variables ---------------------------------------------------------------------------------

    def _kernel_shape(self, channels: int) -> list[int]:
        return [*self.kernel_size, channels, self.filters]  # type: ignore[list-item]

    def _add_bias(self) -> None:
        if self.use_bias:
            self.bias = self.add_weight(
                "bias", [self.filters], initializer=self.bias_initializer,
                regularizer=self.bias_regularizer, constraint=self.bias_constraint,
            )  # fmt: skip

    def build(self, input_shape: Any) -> None:
        """Makes `kernel` [window, in, out] and `bias` [out]; ValueError when the number of channels is unknown."""
        channels = self._channels(input_shape)
        self.kernel = self.add_weight(
            "kernel", self._kernel_shape(channels), initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer, constraint=self.kernel_constraint,
        )  # fmt: skip
        self._add_bias()
        if any(s > 1 for s in self.strides) and any(r > 1 for r in self.dilation_rate):
            raise ValueError("strides > 1 not supported in conjunction with dilation_rate > 1")
        constant(np.array(self.dilation_rate, np.int32), name="dilation_rate")
        self.built = True

    # -- computing ---------------------------------------------------------------------------------

    def call(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The activation of the convolution."""
        return self._finished(self._convolved(inputs))

    def _convolved(self, inputs: Any) -> Any:
        if self.rank == 1:
            if self.padding == "causal":
                left = self.dilation_rate[0] * (self.kernel_size[0] - 1)
                pads = [[0, 0], [left, 0], [0, 0]]
                if not self._channels_last:
                    pads = [[0, 0], [0, 0], [left, 0]]
                inputs = raw.Pad(inputs, np.array(pads, np.int32))
            padding = "VALID" if self.padding == "causal" else self.padding.upper()
            return nn_conv_functions.conv1d(
                inputs, self.kernel, self.strides[0], padding, data_format=self._layout,
                dilations=list(self.dilation_rate), name="conv1d",
            )  # fmt: skip
        build = raw.Conv2D if self.rank == 2 else raw.Conv3D
        return build(
            inputs,
            self.kernel,
            strides=self._full(self.strides),
            padding=self.padding.upper(),
            data_format=self._layout,
            dilations=self._full(self.dilation_rate),
        )

    def _finished(self, outputs: Any) -> Any:
        if self.use_bias:
            if self._channels_last or self.rank == 1:
                shaped = self.bias
                if not self._channels_last:
                    shaped = raw.Reshape(self.bias, np.array([1, self.filters, 1], np.int32))
                    outputs = outputs + shaped
                else:
                    outputs = nn_misc.bias_add(outputs, shaped, data_format="NHWC")
            elif self.rank == 2:
                outputs = nn_misc.bias_add(outputs, self.bias, data_format="NCHW")
            else:
                column = np.array([1, self.filters, 1, 1, 1], np.int32)
                outputs = outputs + raw.Reshape(self.bias, column)
        return outputs if self.activation is None else self.activation(outputs)

    def compute_output_shape(self, input_shape: Any) -> TensorShape:
        """The number of windows along each axis, and `filters` channels."""
        sizes = as_shape(input_shape).as_list()
        first = 1 if self._channels_last else 2
        space = [
            output_length(
                sizes[first + axis], self.kernel_size[axis], self.padding, self.strides[axis], self.dilation_rate[axis]
            )
            for axis in range(self.rank)
        ]  # fmt: skip
        if self._channels_last:
            return TensorShape([sizes[0], *space, self.filters])
        return TensorShape([sizes[0], self.filters, *space])


class Conv1D(Conv):
    """Convolution of sequences [batch, steps, channels]."""

    def __init__(self, filters: int, kernel_size: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(1, filters, kernel_size, *args, **kwargs)


class Conv2D(Conv):
    """Convolution of images [batch, height, width, channels]."""

    def __init__(self, filters: int, kernel_size: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(2, filters, kernel_size, *args, **kwargs)


class Conv3D(Conv):
    """Convolution of volumes [batch, depth, height, width, channels]."""

    def __init__(self, filters: int, kernel_size: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(3, filters, kernel_size, *args, **kwargs)


class Conv2DTranspose(Conv):
    """The transpose of a convolution of images: the output is larger by the strides."""

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str | None = "channels_last",
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(2, filters, kernel_size, strides, padding, data_format, 1, *args, **kwargs)

    def _kernel_shape(self, channels: int) -> list[int]:
        return [*self.kernel_size, self.filters, channels]  # type: ignore[list-item]

    def build(self, input_shape: Any) -> None:
        """Makes `kernel` [window, out, in] and `bias` [out]."""
        channels = self._channels(input_shape)
        self.kernel = self.add_weight(
            "kernel", self._kernel_shape(channels), initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer, constraint=self.kernel_constraint,
        )  # fmt: skip
        self._add_bias()
        self.built = True

    def _grown(self, size: Any, axis: int) -> Any:
        """The size of an axis of the output: a number, or a tensor for a tensor."""
        if size is None:
            return None
        grown = size * self.strides[axis]
        more = max(self.kernel_size[axis] - self.strides[axis], 0)
        return grown + more if self.padding == "valid" and more else grown

    def call(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The activation of the transposed convolution."""
        first = 1 if self._channels_last else 2
        known = shape_ops.shape(inputs)
        batch = known[0]
        height, width = known[first], known[first + 1]
        height, width = self._grown(height, 0), self._grown(width, 1)
        sizes = [batch, height, width, self.filters]
        if not self._channels_last:
            sizes = [batch, self.filters, height, width]
        wanted = stack(sizes)
        _ = wanted[0]
        outputs = nn_conv_functions.conv2d_transpose(
            inputs,
            self.kernel,
            wanted,
            self._full(self.strides),
            self.padding.upper(),
            self._layout,
        )
        outputs.set_shape(self.compute_output_shape(inputs.shape))
        return self._finished(outputs)

    def compute_output_shape(self, input_shape: Any) -> TensorShape:
        """The grown spatial axes, and `filters` channels."""
        sizes = as_shape(input_shape).as_list()
        first = 1 if self._channels_last else 2
        space = [self._grown(sizes[first], 0), self._grown(sizes[first + 1], 1)]
        if self._channels_last:
            return TensorShape([sizes[0], *space, self.filters])
        return TensorShape([sizes[0], self.filters, *space])


Convolution1D, Convolution2D, Convolution3D = Conv1D, Conv2D, Conv3D
Deconvolution2D = Deconv2D = Convolution2DTranspose = Conv2DTranspose


class SeparableConv2D(Conv):
    """A convolution of each channel by itself followed by a 1 x 1 convolution over the channels."""

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str | None = "channels_last",
        dilation_rate: Any = (1, 1),
        depth_multiplier: int = 1,
        activation: Callable[..., Any] | None = None,
        use_bias: bool = True,
        depthwise_initializer: Any = None,
        pointwise_initializer: Any = None,
        bias_initializer: Any = _zeros,
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        trainable: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            2, filters, kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, None,
            bias_initializer, None, bias_regularizer, activity_regularizer, None, bias_constraint, trainable, name, **kwargs,
        )  # fmt: skip
        self.depth_multiplier = depth_multiplier
        self._depthwise = (depthwise_initializer, depthwise_regularizer, depthwise_constraint)
        self._pointwise = (pointwise_initializer, pointwise_regularizer, pointwise_constraint)
        self.depthwise_kernel: Any
        self.pointwise_kernel: Any

    def build(self, input_shape: Any) -> None:
        """Makes `depthwise_kernel` [window, in, multiplier], `pointwise_kernel` [1, 1, in * multiplier, out] and `bias`."""
        channels = self._channels(input_shape)
        middle = channels * self.depth_multiplier
        for name, shape, (initializer, regularizer, constraint) in (
            ("depthwise_kernel", [*self.kernel_size, channels, self.depth_multiplier], self._depthwise),
            ("pointwise_kernel", [1, 1, middle, self.filters], self._pointwise),
        ):  # fmt: skip
            made = self.add_weight(
                name, shape, initializer=initializer, regularizer=regularizer, constraint=constraint
            )
            setattr(self, name, made)
        self._add_bias()
        self.built = True

    def call(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The activation of the two convolutions."""
        with get_default_graph().name_scope("separable_conv2d") as scope:
            shape_ops.shape(self.depthwise_kernel)
            constant(np.array(self.dilation_rate, np.int32), name="dilation_rate")
            each = raw.DepthwiseConv2dNative(
                inputs,
                self.depthwise_kernel,
                strides=self._full(self.strides),
                padding=self.padding.upper(),
                data_format=self._layout,
                dilations=self._full(self.dilation_rate),
                name="depthwise",
            )
            outputs = raw.Conv2D(
                each,
                self.pointwise_kernel,
                strides=[1, 1, 1, 1],
                padding="VALID",
                data_format=self._layout,
                name=scope,
            )
        return self._finished(outputs)


SeparableConvolution2D = SeparableConv2D


def _functional(layer: type[Layer], name: str, defaults: int, what: str) -> Callable[..., Any]:
    """`layer` as a function of the inputs: its arguments by position, `name` and `reuse` by name."""

    def call(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        reuse = kwargs.pop("reuse", None)
        if len(args) > defaults:
            raise TypeError(f"{name}() takes at most {defaults + 1} positional arguments")
        return layer(*args, **kwargs, _reuse=reuse, _scope=kwargs.get("name")).apply(inputs)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = what
    return call


_ARGUMENTS = """

    Further arguments, in TensorFlow's order: filters, kernel_size, strides, padding ("valid" or "same"), data_format
    ("channels_last" or "channels_first"), dilation_rate, activation, use_bias, kernel_initializer, bias_initializer,
    kernel_regularizer, bias_regularizer, activity_regularizer, kernel_constraint, bias_constraint, trainable, name, reuse.
    """
conv1d = _functional(Conv1D, "conv1d", 17, "A convolution layer on [batch, steps, channels] (tf.layers.conv1d)." + _ARGUMENTS)  # fmt: skip
conv2d = _functional(Conv2D, "conv2d", 17, "A convolution layer on [batch, height, width, channels] (tf.layers.conv2d)." + _ARGUMENTS)  # fmt: skip
conv3d = _functional(Conv3D, "conv3d", 17, "A convolution layer on [batch, depth, height, width, channels] (tf.layers.conv3d)." + _ARGUMENTS)  # fmt: skip
conv2d_transpose = _functional(Conv2DTranspose, "conv2d_transpose", 16, "A transposed convolution layer on images (tf.layers.conv2d_transpose), without dilation." + _ARGUMENTS)  # fmt: skip
separable_conv2d = _functional(SeparableConv2D, "separable_conv2d", 20, "A depthwise separable convolution layer on images (tf.layers.separable_conv2d): depth_multiplier after dilation_rate, and depthwise_* and pointwise_* in place of kernel_* arguments." + _ARGUMENTS)  # fmt: skip
convolution1d, convolution2d, convolution3d = conv1d, conv2d, conv3d
deconvolution2d = deconv2d = convolution2d_transpose = conv2d_transpose
separable_convolution2d = separable_conv2d
