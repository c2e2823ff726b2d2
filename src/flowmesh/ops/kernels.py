"""Numeric functions that kernels share, written against an array namespace `xp` (NumPy or jax.numpy)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from flowmesh.core import dtypes

# What TensorFlow's op definitions call "numbertype".
NUMBER_TYPES = dtypes.NUMBERS | {dtypes.qint8, dtypes.quint8, dtypes.qint32}


def is_numpy(xp: Any) -> bool:
    """Whether the kernel runs in NumPy rather than being traced."""
    return xp is np


def as_type(value: Any, dtype: Any) -> Any:
    """`value` with this dtype; itself when it has it."""
    if isinstance(value, bytes):  # of two string scalars
        return np.asarray(value, dtype)
    return value if value.dtype == dtype else value.astype(dtype)


def is_complex(x: Any) -> bool:
    """Whether an array holds complex numbers."""
    return bool(np.issubdtype(x.dtype, np.complexfloating))


def is_integer(x: Any) -> bool:
    """Whether an array holds integers."""
    return bool(np.issubdtype(x.dtype, np.integer))


def from_math(function: Callable[[float], float]) -> Callable[[Any], Any]:
    """A NumPy function made from one on Python floats; poles and overflow give infinity."""

    def guarded(value: float) -> float:
        try:
            return function(value)
        except (OverflowError, ValueError):
            return math.nan if math.isnan(value) or value == -math.inf else math.inf

    vectorised = np.vectorize(guarded, otypes=[np.float64])

    def apply(x: Any) -> Any:
        return vectorised(np.asarray(x, np.float64)).astype(x.dtype)

    return apply


_NUMPY_SPECIAL = {
    "erf": from_math(math.erf),
    "erfc": from_math(math.erfc),
    "gammaln": from_math(math.lgamma),
}


def special(xp: Any, name: str, *inputs: Any) -> Any:
    """A function of `jax.scipy.special`, or its NumPy equal where there is one."""
    if is_numpy(xp):
        return _NUMPY_SPECIAL[name](*inputs)
    import jax.scipy.special

    return getattr(jax.scipy.special, name)(*inputs)


def reciprocal(xp: Any, x: Any) -> Any:
    """`1 / x` in the dtype of `x`."""
    if is_integer(x):
        safe = xp.where(x == 0, xp.ones_like(x), x)
        return as_type(xp.where(xp.abs(x) == 1, safe, xp.zeros_like(x)), x.dtype)
    return as_type(xp.ones_like(x) / x, x.dtype)


def rsqrt(xp: Any, x: Any) -> Any:
    """`1 / sqrt(x)`."""
    if is_numpy(xp):
        return as_type(np.ones_like(x) / np.sqrt(x), x.dtype)
    from jax import lax

    return lax.rsqrt(x)


def sign(xp: Any, x: Any) -> Any:
    """-1, 0 or 1; for complex numbers `x / |x|`, 0 at 0."""
    if not is_complex(x):
        return xp.sign(x)
    size = xp.abs(x)
    safe = xp.where(size == 0, xp.ones_like(size), size)
    return as_type(xp.where(size == 0, xp.zeros_like(x), x / safe), x.dtype)


def sigmoid(xp: Any, x: Any) -> Any:
    """`1 / (1 + exp(-x))` without overflow."""
    if not is_numpy(xp):
        import jax

        return jax.nn.sigmoid(x)
    if is_complex(x):
        return as_type(1 / (1 + np.exp(-x)), x.dtype)
    small = np.exp(-np.abs(x))
    one = np.ones_like(small)
    return as_type(np.where(x >= 0, one, small) / (one + small), x.dtype)


def round_half_even(xp: Any, x: Any) -> Any:
    """The nearest integer, ties to the even one; complex parts each for itself."""
    if is_integer(x):
        return x
    if is_complex(x):
        real, imag = xp.round(xp.real(x)), xp.round(xp.imag(x))
        return as_type(real + imag * np.array(1j, x.dtype), x.dtype)
    return xp.round(x)
