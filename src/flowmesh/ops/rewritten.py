"""Ops that no program names: TensorFlow's masters put them in place of several of a program's ops before they send a part
of a graph to a worker."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flowmesh.core import errors
from flowmesh.core.dtypes import bfloat16, float16, float32, float64
from flowmesh.core.shapes import TensorShape
from flowmesh.graph import registry, shape_functions
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.ops.matmul import MatMul
from flowmesh.ops.nn_conv import Conv2D, Conv3D, DepthwiseConv2dNative
from flowmesh.ops.nn_norm import BatchNorm

_EPSILON = 0.0001
_ALPHA = 0.2
_NARROW = frozenset({float16, bfloat16, float32})
_ACTIVATIONS = frozenset(
    {
        b"Relu",
        b"Relu6",
        b"Elu",
        b"LeakyRelu",
        b"Tanh",
        b"Sigmoid",
        b"GeluApproximate",
        b"GeluExact",
    }
)


class _Fused(OpDef, abstract=True):
    """An op followed by those that its attr `fused_ops` names: a bias or a normalisation, then perhaps something to be added, and an activation."""

    num_args = Attr("int", minimum=0)
    fused_ops = Attr("list(string)", ())
    epsilon = Attr("float", _EPSILON)
    leakyrelu_alpha = Attr("float", _ALPHA)
    NotDifferentiable = True
    main: type[OpDef]

    def _main(self) -> OpDef:
        return self.main({name: self.attrs[name] for name in self.main.attr_defs})

    def _channel_first(self) -> bool:
        return self.attrs.get("data_format") in (b"NCHW", b"NCDHW")

    def infer(self, ctx: Any, first: TensorShape, second: TensorShape, args: Any) -> Any:
        return self._main().infer(ctx, first, second)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        first, second, args = inputs
        result = self._main().compute(xp, first, second)
        left = [self._vector(a, result.ndim) for a in args]
        for name in self.attrs["fused_ops"]:
            if name == b"BiasAdd" and left:
                result = result + left.pop(0)
            elif name == b"FusedBatchNorm" and len(left) >= 4:
                scale, offset, mean, variance = (left.pop(0) for _ in range(4))
                spread = xp.sqrt(variance + self.attrs["epsilon"])
                result = (result - mean) * (scale / spread) + offset
            elif name == b"Add" and left:
                result = result + left.pop(0)
            elif name in _ACTIVATIONS:
                alpha = self.attrs["leakyrelu_alpha"]
                result = _activate(name, xp, result, self.attrs["T"], alpha)
            else:
                raise errors.UnimplementedError(
                    None,
                    None,
                    f"{self.op_type} cannot fuse {name.decode()} with {len(left)} arguments",
                )
        return result.astype(first.dtype)

    def _vector(self, value: Any, rank: int) -> Any:
        """A vector with an element for each channel, to go with a result of this rank; other values as they are."""
        if value.ndim != 1 or not self._channel_first():
            return value
        return value.reshape((-1,) + (1,) * (rank - 2))


def _apply(name: bytes, xp: Any, x: Any, dtype: Any, **more: Any) -> Any:
    """One unary op by name."""
    cls = registry.lookup(name.decode())
    attrs = {key: attr.default for key, attr in cls.attr_defs.items()}
    return cls({**attrs, "T": dtype, **more}).compute(xp, x)


def _activate(name: bytes, xp: Any, x: Any, dtype: Any, alpha: float = _ALPHA) -> Any:
    """An activation by its name in `fused_ops`."""
    if name == b"LeakyRelu":
        return _apply(name, xp, x, dtype, alpha=alpha)
    if name == b"GeluExact":
        return _half(x) * (1 + _apply(b"Erf", xp, x * x.dtype.type(math.sqrt(0.5)), dtype))
    if name == b"GeluApproximate":
        inner = (x + x.dtype.type(0.044715) * x * x * x) * x.dtype.type(math.sqrt(2 / math.pi))
        return _half(x) * (1 + xp.tanh(inner))
    return _apply(name, xp, x, dtype)


def _half(x: Any) -> Any:
    return x * x.dtype.type(0.5)


class _FusedMatMul(_Fused):
    """A matrix product, a bias and an activation."""

    a, b = Input("T"), Input("T")
    args = Input("T", number="num_args")
    product = Output("T")
    transpose_a = Attr("bool", False)
    transpose_b = Attr("bool", False)
    T = type_attr(_NARROW)
    main = MatMul


class _FusedConv2D(_Fused):
    """A convolution, a bias or a normalisation, and an activation."""

    input, filter = Input("T"), Input("T")
    args = Input("T", number="num_args")
    output = Output("T")
    T = type_attr({float16, float32, float64})
    TArgs = Attr("list(type)", ())
    strides = Attr("list(int)")
    padding = Attr("string", allowed=(b"SAME", b"VALID", b"EXPLICIT"))
    explicit_paddings = Attr("list(int)", ())
    data_format = Attr("string", b"NHWC", allowed=(b"NHWC", b"NCHW"))
    dilations = Attr("list(int)", (1, 1, 1, 1))
    use_cudnn_on_gpu = Attr("bool", True)
    xla_only = True
    main = Conv2D


class _FusedDepthwiseConv2dNative(_Fused):
    """A convolution of each channel with its own filters, a bias and an activation (TensorFlow 2)."""

    input, filter = Input("T"), Input("T")
    args = Input("T", number="num_args")
    output = Output("T")
    T = type_attr({float16, bfloat16, float32, float64})
    strides = Attr("list(int)")
    padding = Attr("string", allowed=(b"SAME", b"VALID"))
    data_format = Attr("string", b"NHWC", allowed=(b"NHWC", b"NCHW"))
    dilations = Attr("list(int)", (1, 1, 1, 1))
    xla_only = True
    main = DepthwiseConv2dNative


class _FusedConv3D(_Fused):
    """A 3-D convolution, a bias and an activation (TensorFlow 2)."""

    input, filter = Input("T"), Input("T")
    args = Input("T", number="num_args")
    output = Output("T")
    T = type_attr(_NARROW)
    strides = Attr("list(int)", minimum=5)
    padding = Attr("string", allowed=(b"SAME", b"VALID"))
    data_format = Attr("string", b"NDHWC", allowed=(b"NDHWC", b"NCDHW"))
    dilations = Attr("list(int)", (1, 1, 1, 1, 1))
    xla_only = True
    main = Conv3D


class _FusedBatchNormEx(BatchNorm):
    """Batch normalisation, something to be added, and an activation (TensorFlow 2)."""

    extra_outputs = 1
    x = Input("T")
    scale, offset, mean, variance = (Input("U") for _ in range(4))
    side_input = Input("T", number="num_side_inputs")
    y = Output("T")
    batch_mean, batch_variance = Output("U"), Output("U")
    reserve_space_1, reserve_space_2, reserve_space_3 = Output("U"), Output("U"), Output("U")
    T = type_attr(_NARROW)
    U = type_attr({float32})
    data_format = Attr("string", b"NHWC", allowed=(b"NHWC", b"NCHW"))
    is_training = Attr("bool", True)
    epsilon = Attr("float", _EPSILON)
    num_side_inputs = Attr("int", 0, minimum=0)
    activation_mode = Attr("string", b"Identity", allowed=(b"Identity", *sorted(_ACTIVATIONS)))
    NotDifferentiable = True

    def infer(self, ctx: Any, *shapes: Any) -> Any:
        return super().infer(ctx, *shapes[:5])

    def compute(self, xp: Any, *inputs: Any) -> Any:
        *given, added = inputs
        y, *statistics = super().compute(xp, *given)
        for value in added:
            y = y + value
        name = self.attrs["activation_mode"]
        if name != b"Identity":
            y = _activate(name, xp, y, self.attrs["T"])
        return (y.astype(given[0].dtype), *statistics)


class _Elementwise(OpDef, abstract=True):
    NotDifferentiable = True
    infer = shape_functions.unchanged


class _Activation(_Elementwise, abstract=True):
    features = Input("T")
    activations = Output("T")


class _MklSwish(_Activation):
    """x * sigmoid(x) (TensorFlow 2)."""

    T = type_attr(_NARROW, float32)

    def compute(self, xp: Any, features: Any) -> Any:
        return features * _apply(b"Sigmoid", xp, features, self.attrs["T"])


class _MklFusedMish(_Activation):
    """x * tanh(softplus(x)) (TensorFlow 2)."""

    T = type_attr(_NARROW)

    def compute(self, xp: Any, features: Any) -> Any:
        return features * xp.tanh(_apply(b"Softplus", xp, features, self.attrs["T"]))


class _MklLayerNorm(OpDef):
    """Normalisation over the last dimension (TensorFlow 2)."""

    x, scale, offset = Input("T"), Input("T"), Input("T")
    y = Output("T")
    T = type_attr(_NARROW)
    epsilon = Attr("float", 0.001)
    NotDifferentiable = True

    def infer(self, ctx: Any, x: TensorShape, scale: Any, offset: Any) -> TensorShape:
        return x

    def compute(self, xp: Any, x: Any, scale: Any, offset: Any) -> Any:
        wide = x.astype(xp.float32)
        centred = wide - xp.mean(wide, -1, keepdims=True)
        spread = xp.mean(xp.square(centred), -1, keepdims=True)
        inverse = 1 / xp.sqrt(spread + np.float32(self.attrs["epsilon"]))
        return (centred * inverse * scale + offset).astype(x.dtype)


class _UnaryOpsComposition(_Elementwise):
    """Elementwise functions of one tensor, applied in the order of `op_names`."""

    x = Input("T")
    y = Output("T")
    T = type_attr({float32, float16, float64})
    op_names = Attr("list(string)")

    def compute(self, xp: Any, x: Any) -> Any:
        for name in self.attrs["op_names"]:
            x = _apply(name, xp, x, self.attrs["T"])
        return x
