"""`tf.nn`'s convolution functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flowmesh.core.dtypes import int32
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops import windows
from flowmesh.ops.building import name_scope


def _one_of(first: Any, second: Any, names: str) -> Any:
    """The one of two spellings of an argument that is given."""
    if first is not None and second is not None:
        raise ValueError(f"Cannot specify both {names}")
    return first if second is None else second


def _explicit(padding: Any, data_format: str) -> dict[str, Any]:
    """The padding attrs: a name, or a list of (before, behind) for each axis."""
    if not isinstance(padding, (list, tuple)):
        return {"padding": padding}
    if len(padding) != 4 or any(len(pair) != 2 for pair in padding):
        raise ValueError(
            f"`padding` must be a list of 4 (before, after) pairs, but got {padding!r}"
        )
    layout = data_format.encode()
    if any(tuple(padding[i]) != (0, 0) for i in (0, windows.channel_axis(layout))):
        raise ValueError(
            "padding of the batch and channel dimensions must be (0, 0) "
            f"with data_format {data_format}, but got {padding!r}"
        )
    return {"padding": "EXPLICIT", "explicit_paddings": [int(p) for pair in padding for p in pair]}


def conv2d(
    input: Any,
    filter: Any = None,
    strides: Any = None,
    padding: Any = None,
    use_cudnn_on_gpu: bool = True,
    data_format: str | None = "NHWC",
    dilations: Any = (1, 1, 1, 1),
    name: str | None = None,
    filters: Any = None,
) -> Tensor:
    """The 2-D convolution of a float [batch, height, width, in] tensor with [height, width, in, out] (tf.nn.conv2d).

    `strides` and `dilations` hold 1, 2 or 4 numbers; `padding` is "SAME", "VALID" or four (before, behind) pairs;
    `filters` is another name of `filter`. Raises ValueError for shapes and attrs that do not fit.
    """
    kernel = _one_of(filter, filters, "'filter' and 'filters'")
    layout = data_format or "NHWC"
    return raw.Conv2D(
        input,
        kernel,
        strides=windows.per_axis(strides, 2, layout, "strides"),
        use_cudnn_on_gpu=use_cudnn_on_gpu,
        data_format=layout,
        dilations=windows.per_axis(dilations, 2, layout, "dilations"),
        name=name,
        **_padding(padding, layout),
    )


def _padding(padding: Any, layout: str) -> dict[str, Any]:
    if padding is None:
        raise TypeError("Expected string for argument 'padding' not None.")
    return _explicit(padding, layout)


def conv2d_backprop_input(
    input_sizes: Any,
    filter: Any = None,
    out_backprop: Any = None,
    strides: Any = None,
    padding: Any = None,
    use_cudnn_on_gpu: bool = True,
    data_format: str = "NHWC",
    dilations: Sequence[int] = (1, 1, 1, 1),
    name: str | None = None,
    filters: Any = None,
) -> Tensor:
    """The derivative of `conv2d` by its input, of shape `input_sizes` (tf.nn.conv2d_backprop_input)."""
    return raw.Conv2DBackpropInput(
        input_sizes,
        _one_of(filter, filters, "'filter' and 'filters'"),
        out_backprop,
        strides=list(strides),
        use_cudnn_on_gpu=use_cudnn_on_gpu,
        data_format=data_format,
        dilations=list(dilations),
        name=name,
        **_padding(padding, data_format),
    )


def conv2d_backprop_filter(
    input: Any,
    filter_sizes: Any,
    out_backprop: Any,
    strides: Any,
    padding: Any,
    use_cudnn_on_gpu: bool = True,
    data_format: str = "NHWC",
    dilations: Sequence[int] = (1, 1, 1, 1),
    name: str | None = None,
) -> Tensor:
    """The derivative of `conv2d` by its filter, of shape `filter_sizes` (tf.nn.conv2d_backprop_filter)."""
    return raw.Conv2DBackpropFilter(
        input,
        filter_sizes,
        out_backprop,
        strides=list(strides),
        use_cudnn_on_gpu=use_cudnn_on_gpu,
        data_format=data_format,
        dilations=list(dilations),
        name=name,
        **_padding(padding, data_format),
    )


def conv2d_transpose(
    value: Any = None,
    filter: Any = None,
    output_shape: Any = None,
    strides: Any = None,
    padding: Any = "SAME",
    data_format: str = "NHWC",
    name: str | None = None,
    input: Any = None,
    filters: Any = None,
    dilations: Any = None,
) -> Tensor:
    """The transpose of `conv2d` (tf.nn.conv2d_transpose): `value` has the shape of its output, the result that of its input.

    `filter` is [height, width, out, in]; `output_shape` is the result's shape.
    """
    x = _one_of(value, input, "'value' and 'input'")
    kernel = _one_of(filter, filters, "'filter' and 'filters'")
    layout = data_format or "NHWC"
    with name_scope(name, "conv2d_transpose", [x, kernel, output_shape]) as scope:
        return raw.Conv2DBackpropInput(
            output_shape,
            kernel,
            x,
            strides=windows.per_axis(strides, 2, layout, "strides"),
            data_format=layout,
            dilations=windows.per_axis(dilations, 2, layout, "dilations"),
            name=scope,
            **_padding(padding, layout),
        )


def conv1d(
    value: Any = None,
    filters: Any = None,
    stride: Any = None,
    padding: Any = None,
    use_cudnn_on_gpu: bool | None = None,
    data_format: str | None = None,
    name: str | None = None,
    input: Any = None,
    dilations: Any = None,
) -> Tensor:
    """The 1-D convolution of a [batch, width, in] tensor with [width, in, out] (tf.nn.conv1d).

    `data_format` is "NWC" (or its old name "NHWC") or "NCW" ("NCHW"); other formats raise ValueError.
    """
    x = _one_of(value, input, "'value' and 'input'")
    if data_format in (None, "NHWC", "NWC"):
        layout, axis = "NHWC", 1
    elif data_format in ("NCHW", "NCW"):
        layout, axis = "NCHW", 2
    else:
        raise ValueError('data_format must be "NWC" or "NCW".')
    with name_scope(name, "conv1d", [x, filters]) as scope:
        flat = "NWC" if layout == "NHWC" else "NCW"
        strides = windows.per_axis(stride, 1, flat, "stride")
        rates = windows.per_axis(dilations, 1, flat, "dilations")
        wide = raw.ExpandDims(x, np.int32(axis))
        kernel = raw.ExpandDims(filters, np.int32(0))
        result = raw.Conv2D(
            wide,
            kernel,
            strides=[*strides[:axis], 1, *strides[axis:]],
            use_cudnn_on_gpu=use_cudnn_on_gpu is None or use_cudnn_on_gpu,
            data_format=layout,
            padding=padding,
            dilations=[*rates[:axis], 1, *rates[axis:]],
            name=scope,
        )
        return raw.Squeeze(result, squeeze_dims=[axis])


def conv3d(
    input: Any,
    filter: Any = None,
    strides: Any = None,
    padding: Any = None,
    data_format: str | None = "NDHWC",
    dilations: Any = (1, 1, 1, 1, 1),
    name: str | None = None,
    filters: Any = None,
) -> Tensor:
    """The 3-D convolution of a [batch, depth, height, width, in] tensor (tf.nn.conv3d); see `conv2d`."""
    layout = data_format or "NDHWC"
    return raw.Conv3D(
        input,
        _one_of(filter, filters, "'filter' and 'filters'"),
        strides=windows.per_axis(strides, 3, layout, "strides"),
        padding=padding,
        data_format=layout,
        dilations=windows.per_axis(dilations, 3, layout, "dilations"),
        name=name,
    )


def _rates(rate: Any, dilations: Any, layout: str) -> list[int]:
    """Dilation of the two image axes as a full attr."""
    return windows.per_axis(_one_of(rate, dilations, "'rate' and 'dilations'"), 2, layout, "rate")


def depthwise_conv2d(
    input: Any,
    filter: Any,
    strides: Any,
    padding: Any,
    rate: Any = None,
    name: str | None = None,
    data_format: str | None = None,
    dilations: Any = None,
) -> Tensor:
    """Convolves each channel with its own filters (tf.nn.depthwise_conv2d).

    `filter` is [height, width, in, multiplier]; the result has `in * multiplier` channels. `rate` dilates the filters.
    """
    layout = data_format or "NHWC"
    with name_scope(name, "depthwise", [input, filter]) as scope:
        input = convert_to_tensor(input, name="tensor_in")
        filter = convert_to_tensor(filter, name="filter_in")
        return raw.DepthwiseConv2dNative(
            input,
            filter,
            strides=list(strides),
            padding=padding,
            data_format=layout,
            dilations=_rates(rate, dilations, layout),
            name=scope,
        )


def depthwise_conv2d_native(
    input: Any,
    filter: Any,
    strides: Any,
    padding: Any,
    data_format: str = "NHWC",
    dilations: Sequence[int] = (1, 1, 1, 1),
    name: str | None = None,
) -> Tensor:
    """The op DepthwiseConv2dNative (tf.nn.depthwise_conv2d_native); see `depthwise_conv2d`."""
    return raw.DepthwiseConv2dNative(
        input,
        filter,
        strides=list(strides),
        padding=padding,
        data_format=data_format,
        dilations=list(dilations),
        name=name,
    )


def separable_conv2d(
    input: Any,
    depthwise_filter: Any,
    pointwise_filter: Any,
    strides: Any,
    padding: Any,
    rate: Any = None,
    name: str | None = None,
    data_format: str | None = None,
    dilations: Any = None,
) -> Tensor:
    """`depthwise_conv2d` followed by a 1 x 1 `conv2d` with `pointwise_filter` (tf.nn.separable_conv2d).

    Raises ValueError when the pointwise filter is not 1 x 1.
    """
    layout = data_format or "NHWC"
    with name_scope(name, "separable_conv2d", [input, depthwise_filter, pointwise_filter]) as scope:
        input = convert_to_tensor(input, name="tensor_in")
        depthwise_filter = convert_to_tensor(depthwise_filter, name="depthwise_filter")
        pointwise_filter = convert_to_tensor(pointwise_filter, name="pointwise_filter")
        for size in pointwise_filter.shape.with_rank(4)[:2]:
            size.assert_is_compatible_with(1)
        each = raw.DepthwiseConv2dNative(
            input,
            depthwise_filter,
            strides=list(strides),
            padding=padding,
            data_format=layout,
            dilations=_rates(rate, dilations, layout),
            name="depthwise",
        )
        return raw.Conv2D(
            each,
            pointwise_filter,
            strides=[1, 1, 1, 1],
            padding="VALID",
            data_format=layout,
            name=scope,
        )


def convolution(
    input: Any,
    filter: Any,
    padding: Any,
    strides: Any = None,
    dilation_rate: Any = None,
    name: str | None = None,
    data_format: str | None = None,
    filters: Any = None,
    dilations: Any = None,
) -> Tensor:
    """A convolution over one, two or three spatial axes, as the rank of `input` says (tf.nn.convolution).

    Dilation is an attr of the convolution. Raises ValueError for another rank.
    """
    kernel = _one_of(filter, filters, "'filter' and 'filters'")
    rate = _one_of(dilation_rate, dilations, "'dilation_rate' and 'dilations'")
    with name_scope(name, "convolution", [input, kernel]) as scope:
        input = convert_to_tensor(input, name="input")
        kernel = convert_to_tensor(kernel, name="filter")
        rank = input.shape.ndims or kernel.shape.ndims
        if rank == 3:
            return conv1d(
                input, kernel, strides or 1, padding, None, data_format, scope, dilations=rate
            )
        if rank == 4:
            return conv2d(input, kernel, strides or 1, padding, True, data_format, rate or 1, scope)
        if rank == 5:
            return conv3d(input, kernel, strides or 1, padding, data_format, rate or 1, scope)
        raise ValueError(f"Input tensor must have rank 3, 4 or 5 but was {rank}")


def atrous_conv2d(
    value: Any, filters: Any, rate: int, padding: Any, name: str | None = None
) -> Tensor:
    """`conv2d` with filters dilated by `rate` (tf.nn.atrous_conv2d)."""
    return convolution(value, filters, padding, dilation_rate=[rate, rate], name=name)


def atrous_conv2d_transpose(
    value: Any, filters: Any, output_shape: Any, rate: int, padding: Any, name: str | None = None
) -> Tensor:
    """The transpose of `atrous_conv2d` (tf.nn.atrous_conv2d_transpose)."""
    with name_scope(name, "atrous_conv2d_transpose", [value, filters, output_shape]) as scope:
        sizes = convert_to_tensor(output_shape, dtype=int32, name="output_shape")
        return conv2d_transpose(
            value, filters, sizes, 1, padding, name=scope, dilations=[rate, rate]
        )
