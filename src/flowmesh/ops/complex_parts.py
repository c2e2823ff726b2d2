"""Ops between complex numbers and their parts."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from flowmesh.core.dtypes import (
    COMPLEX,
    complex64,
    complex128,
    float32,
    float64,
    variant,
)
from flowmesh.core.shapes import TensorShape, broadcast_shapes
from flowmesh.graph.op_def import Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.ops import kernels
from flowmesh.ops.building import after, broadcast_shapes_of, constant, sum_to, zeros_like


class _Part(OpDef, abstract=True):
    """A real number for each complex one."""

    input = Input("T")
    output = Output("Tout")
    T = type_attr(COMPLEX, complex64)
    Tout = type_attr({float32, float64}, float32)
    kernel: ClassVar[Any]

    def infer(self, ctx: Any, input: TensorShape) -> TensorShape:
        return input

    def compute(self, xp: Any, input: Any) -> Any:
        return kernels.as_type(type(self).kernel(xp, input), self.attrs["Tout"].as_numpy_dtype)


def _zero(grad: Any) -> Any:
    dtype = grad.dtype.base_dtype
    return constant(np.array(0, dtype.as_numpy_dtype), dtype)


def _complex_of(real: Any, imag: Any) -> Any:
    """The Complex node of two real tensors."""
    wide = real.dtype.base_dtype == float64
    return raw.Complex(real, imag, Tout=complex128 if wide else complex64)


class Real(_Part):
    """The real part."""

    kernel = staticmethod(lambda xp, x: xp.real(x))

    def gradient(self, op: Any, grad: Any) -> tuple[Any]:
        return (_complex_of(grad, _zero(grad)),)


class Imag(_Part):
    """The imaginary part."""

    kernel = staticmethod(lambda xp, x: xp.imag(x))

    def gradient(self, op: Any, grad: Any) -> tuple[Any]:
        return (_complex_of(_zero(grad), grad),)


class Angle(_Part):
    """The angle in the complex plane."""

    kernel = staticmethod(lambda xp, x: xp.angle(x))

    def gradient(self, op: Any, grad: Any) -> tuple[Any]:
        x = op.inputs[0]
        with after(grad):
            kind = op.outputs[0].dtype.base_dtype
            real, imag = raw.Real(x, Tout=kind), raw.Imag(x, Tout=kind)
            inverse = raw.Reciprocal(_complex_of(imag, real))
            complex_grad = _complex_of(grad, _zero(grad))
            return (raw.Mul(raw.Neg(complex_grad), inverse, name="mul"),)


class ComplexAbs(OpDef):
    """The absolute value of complex numbers."""

    x = Input("T")
    y = Output("Tout")
    T = type_attr(COMPLEX, complex64)
    Tout = type_attr({float32, float64}, float32)

    def infer(self, ctx: Any, x: TensorShape) -> TensorShape:
        return x

    def compute(self, xp: Any, x: Any) -> Any:
        return kernels.as_type(xp.abs(x), self.attrs["Tout"].as_numpy_dtype)

    def gradient(self, op: Any, grad: Any) -> tuple[Any]:
        scaled = raw.Mul(_complex_of(grad, zeros_like(grad)), op.inputs[0], name="mul")
        size = op.outputs[0]
        return (raw.DivNoNan(scaled, _complex_of(size, zeros_like(size)), name="div_no_nan"),)


class Conj(OpDef):
    """The complex conjugate."""

    input = Input("T")
    output = Output("T")
    T = type_attr(COMPLEX | {variant}, complex64)

    def infer(self, ctx: Any, input: TensorShape) -> TensorShape:
        return input

    def compute(self, xp: Any, input: Any) -> Any:
        return xp.conj(input)

    def gradient(self, op: Any, grad: Any) -> tuple[Any]:
        return (raw.Conj(grad),)


class Complex(OpDef):
    """Complex numbers from their real and imaginary parts."""

    real, imag = Input("T"), Input("T")
    out = Output("Tout")
    T = type_attr({float32, float64}, float32)
    Tout = type_attr(COMPLEX, complex64)

    def infer(self, ctx: Any, real: TensorShape, imag: TensorShape) -> TensorShape:
        return broadcast_shapes(real, imag)

    def compute(self, xp: Any, real: Any, imag: Any) -> Any:
        target = self.attrs["Tout"].as_numpy_dtype
        if kernels.is_numpy(xp):
            result = np.empty(np.broadcast_shapes(real.shape, imag.shape), target)
            result.real, result.imag = real, imag
            return result
        from jax import lax

        real, imag = xp.broadcast_arrays(real, imag)
        return lax.complex(real, imag)

    def gradient(self, op: Any, grad: Any) -> tuple[Any, Any]:
        real, imag = op.inputs
        sx, sy, rx, ry = broadcast_shapes_of(real, imag)
        kind = real.dtype.base_dtype
        first = sum_to(raw.Real(grad, Tout=kind), rx, sx)
        return first, sum_to(raw.Imag(grad, Tout=kind), ry, sy)
