"""Convolutions and their gradient ops, compiled by XLA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flowmesh.core.dtypes import FLOATS, INDEX, int32
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.ops import nn_conv_pointwise as pointwise, nn_conv_strided as strided, windows
from flowmesh.ops.building import shape_of
from flowmesh.ops.shape_rules import same_size, with_rank
from flowmesh.ops.target import on_cpu

_SAME_VALID = (b"SAME", b"VALID")
_WITH_EXPLICIT = (b"SAME", b"VALID", b"EXPLICIT")
_FLAT_LAYOUTS = (b"NHWC", b"NCHW")
_DEEP_LAYOUTS = (b"NDHWC", b"NCDHW")


class _Convolution(OpDef, abstract=True):
    """What all convolution ops share: geometry from the attrs, and the forward function."""

    xla_only = True
    depthwise = False

    def _axes(self) -> list[int]:
        return windows.spatial_axes(self.attrs["data_format"])

    def _rank(self) -> int:
        return len(self._axes()) + 2

    def forward(self, x: Any, kernel: Any) -> Any:
        """The convolution of `x` with `kernel`, of shape spatial + [in, out] ([in, multiplier] if depthwise)."""
        from jax import lax

        attrs, axes = self.attrs, self._axes()
        layout = attrs["data_format"].decode()
        windows.check_unit(
            attrs["strides"], [0, windows.channel_axis(attrs["data_format"])], "strides"
        )
        channels = x.shape[layout.index("C")]
        spatial = kernel.shape[:-2]
        strides = windows.pick(attrs["strides"], axes)
        pads = self._pads(x.shape, spatial)
        if self.pointwise_strides(x.shape, kernel.shape) is not None:
            return pointwise.forward(x, kernel, strides)
        if self.depthwise:
            groups = channels
            kernel = kernel.reshape((*spatial, 1, kernel.shape[-2] * kernel.shape[-1]))
        else:
            groups = channels // kernel.shape[-2]
        letters = "".join(layout[i] for i in axes)
        return lax.conv_general_dilated(
            x,
            kernel,
            strides,
            pads,
            rhs_dilation=windows.pick(attrs["dilations"], axes),
            dimension_numbers=(layout, letters + "IO", layout),
            feature_group_count=groups,
        )

    def _pads(self, shape: Sequence[int], spatial: Sequence[int]) -> windows.Pads:
        """The zeros to add along each spatial axis of an input of this shape."""
        attrs, axes = self.attrs, self._axes()
        strides, dilations = (windows.pick(attrs[n], axes) for n in ("strides", "dilations"))
        sizes = [shape[i] for i in axes]
        return windows.paddings(
            sizes, spatial, strides, attrs["padding"], dilations, self._explicit()
        )

    def pointwise_strides(self, shape: Sequence[int], kernel: Sequence[int]) -> list[int] | None:
        """The spatial strides, when the convolution of these shapes is to be traced as a matrix product; else None."""
        attrs, axes = self.attrs, self._axes()
        layout = attrs["data_format"].decode()
        if self.depthwise or not on_cpu() or len(kernel) != len(axes) + 2:
            return None
        pads = self._pads(shape, kernel[:-2])
        if not pointwise.is_pointwise(kernel, shape[layout.index("C")], pads, layout):
            return None
        return windows.pick(attrs["strides"], axes)

    def _is_strided(self, shape: Sequence[int], kernel: Sequence[int]) -> bool:
        """Whether the gradient by an input of this shape is better put together from convolutions without strides."""
        attrs, axes = self.attrs, self._axes()
        strides, dilations = (windows.pick(attrs[n], axes) for n in ("strides", "dilations"))
        layout = attrs["data_format"].decode()
        return (
            on_cpu()
            and not self.depthwise
            and kernel[-2] == shape[layout.index("C")]
            and strided.suits(layout, strides, dilations, kernel)
        )

    def _explicit(self) -> windows.Pads | None:
        if self.attrs["padding"] != b"EXPLICIT":
            return None
        return windows.explicit_pairs(self.attrs["explicit_paddings"], self._axes())

    def output_shape(self, x: TensorShape, kernel: TensorShape) -> TensorShape:
        """The shape function of the forward op."""
        attrs, rank, axes = self.attrs, self._rank(), self._axes()
        x, kernel = with_rank(x, rank), with_rank(kernel, rank)
        for name in ("strides", "dilations"):
            windows.check_length(attrs[name], rank, self.op_type, name)
        self._check_explicit(rank)
        sizes, window = x.as_list(), kernel.as_list()
        layout = attrs["data_format"]
        channel = windows.channel_axis(layout)
        result: list[int | None] = [sizes[0]] * rank
        result[channel] = self._depth(sizes[channel], window[-2], window[-1])
        explicit = self._explicit() or [(0, 0)] * len(axes)
        for i, axis in enumerate(axes):
            result[axis] = windows.output_size(
                sizes[axis],
                window[i],
                attrs["strides"][axis],
                attrs["padding"],
                attrs["dilations"][axis],
                explicit[i],
            )
        return TensorShape(result)

    def _check_explicit(self, rank: int) -> None:
        given = self.attrs.get("explicit_paddings", ())
        if self.attrs["padding"] != b"EXPLICIT":
            if given:
                raise ValueError(
                    "explicit_paddings attribute must be empty if the padding attribute is not EXPLICIT"
                )
        elif len(given) != 2 * rank:
            raise ValueError(
                f"explicit_paddings attribute must contain {2 * rank} values, but got: {len(given)}"
            )

    def _depth(self, depth: int | None, into: int | None, out: int | None) -> int | None:
        if self.depthwise:
            depth = same_size(depth, into)
            return None if depth is None or out is None else depth * out
        if depth is not None and into is not None and (into == 0 or depth % into):
            raise ValueError(
                f"Depth of input ({depth}) is not a multiple of input depth of filter ({into})"
            )
        return out

    def shared(self) -> dict[str, Any]:
        """The attrs that a gradient op takes over."""
        return {
            name: value for name, value in self.attrs.items() if name not in ("T", "Tshape", "Tdim")
        }


class _Forward(_Convolution, abstract=True):
    def infer(self, ctx: Any, x: TensorShape, kernel: TensorShape) -> TensorShape:
        return self.output_shape(x, kernel)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        return self.forward(*inputs)


class _BackpropInput(_Convolution, abstract=True):
    """The derivative by the input: the transposed convolution."""

    static_inputs = ("input_sizes",)

    def infer(self, ctx: Any, sizes: TensorShape, kernel: TensorShape, grad: TensorShape) -> Any:
        rank = self._rank()
        with_rank(sizes, 1)
        with_rank(kernel, rank)
        with_rank(grad, rank)
        shape = ctx.value_as_shape(0)
        if shape.ndims == rank - 2:  # only the spatial sizes were given
            return self._whole(shape.as_list(), kernel, grad)
        return unknown_shape(rank) if shape.ndims is None else with_rank(shape, rank)

    def _whole(
        self, spatial: Sequence[int | None], kernel: TensorShape, grad: TensorShape
    ) -> TensorShape:
        layout = self.attrs["data_format"]
        result: list[int | None] = [None] * self._rank()
        result[0] = grad.as_list()[0] if grad.ndims is not None else None
        result[windows.channel_axis(layout)] = kernel.as_list()[-2] if kernel.ndims else None
        for axis, size in zip(self._axes(), spatial):
            result[axis] = size
        return TensorShape(result)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        import jax

        sizes, kernel, grad = inputs
        dims = [int(d) for d in np.asarray(sizes).reshape(-1)]
        if len(dims) == self._rank() - 2:
            whole = self._whole(dims, TensorShape(kernel.shape), TensorShape(grad.shape))
            dims = [int(d or 0) for d in whole.as_list()]
        strides = self.pointwise_strides(dims, kernel.shape)
        if strides is not None:
            return pointwise.by_input(dims, kernel, grad, strides)
        if self._is_strided(dims, kernel.shape):
            attrs = self.attrs
            return strided.by_input(
                dims,
                kernel,
                grad,
                windows.pick(attrs["strides"], self._axes()),
                self._pads(dims, kernel.shape[:-2]),
                attrs["data_format"].decode(),
            )
        like = jax.ShapeDtypeStruct(tuple(dims), grad.dtype)
        return jax.linear_transpose(lambda x: self.forward(x, kernel), like)(grad)[0]


class _BackpropFilter(_Convolution, abstract=True):
    """The derivative by the filter."""

    static_inputs = ("filter_sizes",)

    def infer(self, ctx: Any, x: TensorShape, sizes: TensorShape, grad: TensorShape) -> Any:
        rank = self._rank()
        with_rank(x, rank)
        with_rank(sizes, 1)
        with_rank(grad, rank)
        shape = ctx.value_as_shape(1)
        return unknown_shape(rank) if shape.ndims is None else with_rank(shape, rank)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        import jax

        x, sizes, grad = inputs
        shape = tuple(int(d) for d in np.asarray(sizes))
        strides = self.pointwise_strides(x.shape, shape)
        if strides is not None:
            return pointwise.by_filter(x, shape, grad, strides)
        like = jax.ShapeDtypeStruct(shape, grad.dtype)
        return jax.linear_transpose(lambda kernel: self.forward(x, kernel), like)(grad)[0]


class Conv2D(_Forward):
    """The 2-D convolution of `input` with `filter` [height, width, in, out]."""

    input, filter = Input("T"), Input("T")
    output = Output("T")
    T = type_attr(FLOATS)
    strides = Attr("list(int)")
    use_cudnn_on_gpu = Attr("bool", True)
    padding = Attr("string", allowed=_WITH_EXPLICIT)
    explicit_paddings = Attr("list(int)", ())
    data_format = Attr("string", b"NHWC", allowed=_FLAT_LAYOUTS)
    dilations = Attr("list(int)", (1, 1, 1, 1))

    def gradient(self, op: Any, grad: Any) -> Any:
        x, kernel = op.inputs
        x_sizes, kernel_sizes = raw.ShapeN([x, kernel])
        return (
            raw.Conv2DBackpropInput(x_sizes, kernel, grad, **self.shared()),
            raw.Conv2DBackpropFilter(x, kernel_sizes, grad, **self.shared()),
        )


class Conv2DBackpropInput(_BackpropInput):
    """The derivative of Conv2D by its input."""

    input_sizes = Input(int32)
    filter, out_backprop = Input("T"), Input("T")
    output = Output("T")
    T = type_attr(FLOATS)
    strides = Attr("list(int)")
    use_cudnn_on_gpu = Attr("bool", True)
    padding = Attr("string", allowed=_WITH_EXPLICIT)
    explicit_paddings = Attr("list(int)", ())
    data_format = Attr("string", b"NHWC", allowed=_FLAT_LAYOUTS)
    dilations = Attr("list(int)", (1, 1, 1, 1))

    def gradient(self, op: Any, grad: Any) -> Any:
        _, kernel, out = op.inputs
        sizes = shape_of(kernel)
        return (
            None,
            raw.Conv2DBackpropFilter(grad, sizes, out, **self.shared()),
            raw.Conv2D(grad, kernel, **self.shared()),
        )


class Conv2DBackpropFilter(_BackpropFilter):
    """The derivative of Conv2D by its filter."""

    input = Input("T")
    filter_sizes = Input(int32)
    out_backprop = Input("T")
    output = Output("T")
    T = type_attr(FLOATS)
    strides = Attr("list(int)")
    use_cudnn_on_gpu = Attr("bool", True)
    padding = Attr("string", allowed=_WITH_EXPLICIT)
    explicit_paddings = Attr("list(int)", ())
    data_format = Attr("string", b"NHWC", allowed=_FLAT_LAYOUTS)
    dilations = Attr("list(int)", (1, 1, 1, 1))

    def gradient(self, op: Any, grad: Any) -> Any:
        x, _, out = op.inputs
        sizes = shape_of(x)
        return (
            raw.Conv2DBackpropInput(sizes, grad, out, **self.shared()),
            None,
            raw.Conv2D(x, grad, **self.shared()),
        )


class DepthwiseConv2dNative(_Forward):
    """Each channel of `input` convolved with its own filters: `filter` [height, width, in, multiplier]."""

    depthwise = True
    input, filter = Input("T"), Input("T")
    output = Output("T")
    T = type_attr(FLOATS)
    strides = Attr("list(int)")
    padding = Attr("string", allowed=_SAME_VALID)
    data_format = Attr("string", b"NHWC", allowed=_FLAT_LAYOUTS)
    dilations = Attr("list(int)", (1, 1, 1, 1))

    def gradient(self, op: Any, grad: Any) -> Any:
        x, kernel = op.inputs
        x_sizes = shape_of(x)
        by_x = raw.DepthwiseConv2dNativeBackpropInput(x_sizes, kernel, grad, **self.shared())
        sizes = shape_of(kernel)
        return by_x, raw.DepthwiseConv2dNativeBackpropFilter(x, sizes, grad, **self.shared())


class DepthwiseConv2dNativeBackpropInput(_BackpropInput):
    """The derivative of DepthwiseConv2dNative by its input."""

    depthwise = True
    input_sizes = Input(int32)
    filter, out_backprop = Input("T"), Input("T")
    output = Output("T")
    T = type_attr(FLOATS)
    strides = Attr("list(int)")
    padding = Attr("string", allowed=_SAME_VALID)
    data_format = Attr("string", b"NHWC", allowed=_FLAT_LAYOUTS)
    dilations = Attr("list(int)", (1, 1, 1, 1))

    def gradient(self, op: Any, grad: Any) -> Any:
        _, kernel, out = op.inputs
        sizes = shape_of(kernel)
        return (
            None,
            raw.DepthwiseConv2dNativeBackpropFilter(grad, sizes, out, **self.shared()),
            raw.DepthwiseConv2dNative(grad, kernel, **self.shared()),
        )


class DepthwiseConv2dNativeBackpropFilter(_BackpropFilter):
    """The derivative of DepthwiseConv2dNative by its filter."""

    depthwise = True
    input = Input("T")
    filter_sizes = Input(int32)
    out_backprop = Input("T")
    output = Output("T")
    T = type_attr(FLOATS)
    strides = Attr("list(int)")
    padding = Attr("string", allowed=_SAME_VALID)
    data_format = Attr("string", b"NHWC", allowed=_FLAT_LAYOUTS)
    dilations = Attr("list(int)", (1, 1, 1, 1))

    def gradient(self, op: Any, grad: Any) -> Any:
        x, _, out = op.inputs
        sizes = shape_of(x)
        return (
            raw.DepthwiseConv2dNativeBackpropInput(sizes, grad, out, **self.shared()),
            None,
            raw.DepthwiseConv2dNative(x, grad, **self.shared()),
        )


class Conv3D(_Forward):
    """The 3-D convolution of `input` with `filter` [depth, height, width, in, out]."""

    input, filter = Input("T"), Input("T")
    output = Output("T")
    T = type_attr(FLOATS)
    strides = Attr("list(int)", minimum=5)
    padding = Attr("string", allowed=_SAME_VALID)
    data_format = Attr("string", b"NDHWC", allowed=_DEEP_LAYOUTS)
    dilations = Attr("list(int)", (1, 1, 1, 1, 1))

    def gradient(self, op: Any, grad: Any) -> Any:
        x, kernel = op.inputs
        x_sizes, kernel_sizes = raw.ShapeN([x, kernel])
        return (
            raw.Conv3DBackpropInputV2(x_sizes, kernel, grad, **self.shared()),
            raw.Conv3DBackpropFilterV2(x, kernel_sizes, grad, **self.shared()),
        )


class Conv3DBackpropInputV2(_BackpropInput):
    """The derivative of Conv3D by its input."""

    input_sizes = Input("Tshape")
    filter, out_backprop = Input("T"), Input("T")
    output = Output("T")
    T = type_attr(FLOATS)
    strides = Attr("list(int)", minimum=5)
    padding = Attr("string", allowed=_SAME_VALID)
    data_format = Attr("string", b"NDHWC", allowed=_DEEP_LAYOUTS)
    dilations = Attr("list(int)", (1, 1, 1, 1, 1))
    Tshape = type_attr(INDEX, int32)

    def gradient(self, op: Any, grad: Any) -> Any:
        _, kernel, out = op.inputs
        sizes = shape_of(kernel)
        return (
            None,
            raw.Conv3DBackpropFilterV2(grad, sizes, out, **self.shared()),
            raw.Conv3D(grad, kernel, **self.shared()),
        )


class Conv3DBackpropFilterV2(_BackpropFilter):
    """The derivative of Conv3D by its filter."""

    input = Input("T")
    filter_sizes = Input(int32)
    out_backprop = Input("T")
    output = Output("T")
    T = type_attr(FLOATS)
    strides = Attr("list(int)", minimum=5)
    padding = Attr("string", allowed=_SAME_VALID)
    data_format = Attr("string", b"NDHWC", allowed=_DEEP_LAYOUTS)
    dilations = Attr("list(int)", (1, 1, 1, 1, 1))

    def gradient(self, op: Any, grad: Any) -> Any:
        x, _, out = op.inputs
        sizes = shape_of(x)
        return (
            raw.Conv3DBackpropInputV2(sizes, grad, out, **self.shared()),
            None,
            raw.Conv3D(x, grad, **self.shared()),
        )
