"""Ops that no program names: TensorFlow's masters put them in place of several of a program's ops before they send a part
of a graph to a worker."""

from __future__ import annotations

from typing import Any

from flowmesh.core import errors
from flowmesh.core.dtypes import float16, float32, float64
from flowmesh.core.shapes import TensorShape
from flowmesh.graph import registry
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.ops.matmul import MatMul
from flowmesh.ops.nn_conv import Conv2D

_EPSILON = 0.0001
_ACTIVATIONS = frozenset({b"Relu", b"Relu6", b"Elu", b"LeakyRelu", b"Tanh", b"Sigmoid"})


class _Fused(OpDef, abstract=True):
    """An op followed by those that its attr `fused_ops` names: a bias or a normalisation, then perhaps an activation."""

    NotDifferentiable = True
    main: type[OpDef]

    def _main(self) -> OpDef:
        return self.main({name: self.attrs[name] for name in self.main.attr_defs})

    def _channel_first(self) -> bool:
        return bool(self.attrs.get("data_format") == b"NCHW")

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
            elif name in _ACTIVATIONS:
                result = _apply(name, xp, result, self.attrs["T"])
            else:
                raise errors.UnimplementedError(
                    None,
                    None,
                    f"{self.op_type} cannot fuse {name.decode()} with {len(left)} arguments",
                )
        return result.astype(first.dtype)

    def _vector(self, value: Any, rank: int) -> Any:
        """A vector with an element for each channel, to go with a result of this rank."""
        return value.reshape((-1,) + (1,) * (rank - 2)) if self._channel_first() else value


def _apply(name: bytes, xp: Any, x: Any, dtype: Any) -> Any:
    """One unary op by name."""
    cls = registry.lookup(name.decode())
    attrs = {key: attr.default for key, attr in cls.attr_defs.items()}
    return cls({**attrs, "T": dtype}).compute(xp, x)


class _FusedMatMul(_Fused):
    """A matrix product, a bias and an activation."""

    a, b = Input("T"), Input("T")
    args = Input("T", number="num_args")
    product = Output("T")
    transpose_a = Attr("bool", False)
    transpose_b = Attr("bool", False)
    T = type_attr({float32})
    num_args = Attr("int", minimum=0)
    fused_ops = Attr("list(string)", ())
    epsilon = Attr("float", _EPSILON)
    main = MatMul


class _FusedConv2D(_Fused):
    """A convolution, a bias or a normalisation, and an activation."""

    input, filter = Input("T"), Input("T")
    args = Input("T", number="num_args")
    output = Output("T")
    T = type_attr({float32, float64})
    num_args = Attr("int", minimum=0)
    strides = Attr("list(int)")
    padding = Attr("string", allowed=(b"SAME", b"VALID", b"EXPLICIT"))
    explicit_paddings = Attr("list(int)", ())
    data_format = Attr("string", b"NHWC", allowed=(b"NHWC", b"NCHW"))
    dilations = Attr("list(int)", (1, 1, 1, 1))
    use_cudnn_on_gpu = Attr("bool", True)
    fused_ops = Attr("list(string)", ())
    epsilon = Attr("float", _EPSILON)
    xla_only = True
    main = Conv2D


class _UnaryOpsComposition(OpDef):
    """Elementwise functions of one tensor, applied in the order of `op_names`."""

    x = Input("T")
    y = Output("T")
    T = type_attr({float32, float16, float64})
    op_names = Attr("list(string)")
    NotDifferentiable = True

    def infer(self, ctx: Any, x: TensorShape) -> TensorShape:
        return x

    def compute(self, xp: Any, x: Any) -> Any:
        for name in self.attrs["op_names"]:
            x = _apply(name, xp, x, self.attrs["T"])
        return x
