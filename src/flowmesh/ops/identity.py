"""Ops that pass their input on: identities, gradient stops and checks."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core.dtypes import bfloat16, float16, float32, float64
from flowmesh.core.shapes import TensorShape, as_shape
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import brackets, invalid, merge_shapes


class _Pass(OpDef, abstract=True):
    def infer(self, ctx: Any, *shapes: Any) -> Any:
        return shapes[0]

    def compute(self, xp: Any, *inputs: Any) -> Any:
        return inputs[0]


class Identity(_Pass):
    """The input."""

    input = Input("T")
    output = Output("T")
    T = type_attr()

    def gradient(self, op: Any, grad: Any) -> Any:
        return grad


class IdentityN(OpDef):
    """The inputs, as one unit."""

    input = Input(types="T")
    output = Output(types="T")
    T = Attr("list(type)", minimum=1)

    def infer(self, ctx: Any, input: Any) -> Any:
        return (input,)

    def compute(self, xp: Any, input: Any) -> Any:
        return (list(input),)

    def gradient(self, op: Any, *grads: Any) -> Any:
        return grads


class RefIdentity(OpDef):
    """The reference `input`."""

    input = Input("T", ref=True)
    output = Output("T", ref=True, alias="input")
    T = type_attr()

    def infer(self, ctx: Any, input: TensorShape) -> TensorShape:
        return input

    def compute(self, xp: Any, input: Any) -> Any:
        return ()

    def gradient(self, op: Any, grad: Any) -> Any:
        return grad


class Snapshot(_Pass):
    """A copy of the input."""

    input = Input("T")
    output = Output("T")
    T = type_attr()


class DeepCopy(_Pass):
    """A copy of the input that shares no memory with it."""

    x = Input("T")
    y = Output("T")
    T = type_attr()
    stateful = True

    def compute(self, xp: Any, *inputs: Any) -> Any:
        return xp.array(inputs[0])


class StopGradient(_Pass):
    """The input; no gradient passes."""

    input = Input("T")
    output = Output("T")
    T = type_attr()
    NotDifferentiable = True


class PreventGradient(_Pass):
    """The input; asking for a gradient is an error."""

    input = Input("T")
    output = Output("T")
    T = type_attr()
    message = Attr("string", b"")

    def gradient(self, op: Any, grad: Any) -> Any:
        raise LookupError(f"Gradient explicitly disabled. Reason: {op.get_attr('message')}")


class GuaranteeConst(_Pass):
    """The input, which the caller promises not to change."""

    input = Input("T")
    output = Output("T")
    T = type_attr()
    stateful = True


class EnsureShape(OpDef):
    """The input; running it with another shape than attr `shape` is an error."""

    input = Input("T")
    output = Output("T")
    shape = Attr("shape")
    T = type_attr()

    def infer(self, ctx: Any, input: TensorShape) -> TensorShape:
        return merge_shapes(input, self.attrs["shape"])

    def compute(self, xp: Any, input: Any) -> Any:
        shape = self.attrs["shape"]
        if not shape.is_compatible_with(input.shape):
            raise invalid(
                f"Shape of tensor {list(input.shape)} is not compatible with expected shape "
                f"{brackets(shape.key)}."
            )
        return input

    def gradient(self, op: Any, grad: Any) -> Any:
        return grad


class CheckNumerics(_Pass):
    """The input; an Inf or NaN in it is an error."""

    tensor = Input("T")
    output = Output("T")
    T = type_attr((bfloat16, float16, float32, float64))
    message = Attr("string")
    stateful = True
    numpy_only = True
    devices = ("CPU", "GPU")

    def compute(self, xp: Any, *inputs: Any) -> Any:
        values = np.asarray(inputs[0])
        found = [
            what
            for what, bad in (("Inf", np.isinf(values).any()), ("NaN", np.isnan(values).any()))
            if bad
        ]
        if found:
            told = " and ".join(found) + " values"
            raise invalid(f"{self.attrs['message'].decode()} : Tensor had {told}")
        return inputs[0]

    def gradient(self, op: Any, grad: Any) -> Any:
        return raw.CheckNumerics(
            grad,
            message="Not a number (NaN) or infinity (Inf) values detected in gradient. "
            + str(op.get_attr("message")),
        )


def identity(input: Any, name: str | None = None) -> Tensor:
    """A tensor with the value of `input` (tf.identity)."""
    return raw.Identity(input, name=name)


def identity_n(input: Any, name: str | None = None) -> list[Tensor]:
    """Tensors with the values of `input`, made together (tf.identity_n)."""
    return raw.IdentityN(input, name=name)


def stop_gradient(input: Any, name: str | None = None) -> Tensor:
    """`input`, which gradients take for a constant (tf.stop_gradient)."""
    return raw.StopGradient(input, name=name)


def prevent_gradient(input: Any, message: str = "", name: str | None = None) -> Tensor:
    """`input`; a gradient through it raises LookupError with `message` (tf.raw_ops.PreventGradient)."""
    return raw.PreventGradient(input, message=message, name=name)


def check_numerics(tensor: Any, message: str, name: str | None = None) -> Tensor:
    """`tensor` (floating); running it with an Inf or NaN raises InvalidArgumentError with `message`
    (tf.check_numerics)."""
    return raw.CheckNumerics(tensor, message=message, name=name)


def ensure_shape(x: Any, shape: Any, name: str | None = None) -> Tensor:
    """`x` with `shape` merged into its static shape and checked at run time (tf.ensure_shape)."""
    return raw.EnsureShape(x, shape=as_shape(shape), name=name)
