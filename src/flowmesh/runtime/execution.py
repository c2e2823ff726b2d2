"""How a session wants its programs executed: by NumPy or XLA, and with which precision products are computed."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np

from flowmesh.core import errors
from flowmesh.runtime.cost import CONTRACTIONS, CONVOLUTIONS

_MODES = ("auto", "numpy", "xla")
_PRECISIONS = ("float32", "tensorfloat32", "bfloat16")
_PRODUCTS = (
    CONTRACTIONS
    | CONVOLUTIONS
    | {"DepthwiseConv2dNativeBackpropInput", "DepthwiseConv2dNativeBackpropFilter", "Einsum"}
)
_BFLOAT16_BITS = {"exponent_bits": 8, "mantissa_bits": 7}


class Execution(NamedTuple):
    """The wishes of one session."""

    mode: str = "auto"
    """"auto", "numpy" or "xla"."""
    precision: str = "float32"
    """Of the float32 operands of matrix products and convolutions in compiled programs: "float32", "tensorfloat32" or "bfloat16"."""


def execution_of(config: Any) -> Execution:
    """What a ConfigProto (or None) asks for; InvalidArgumentError for a word that is not known."""
    if config is None:
        return Execution()
    wishes = config.experimental.flowmesh
    return Execution(
        _one_of("execution", wishes.execution, _MODES),
        _one_of("matmul_precision", wishes.matmul_precision, _PRECISIONS),
    )


def _one_of(field: str, given: str, known: tuple[str, ...]) -> str:
    if not given:
        return known[0]
    if given not in known:
        *some, last = map(repr, known)
        raise errors.InvalidArgumentError(
            None,
            None,
            f"config.experimental.flowmesh.{field} is {given!r}; it may be {', '.join(some)} or {last}",
        )
    return given


def precision_of_products(jax: Any, platform: str, precision: str) -> AbstractContextManager[Any]:
    """Within it products are traced so that XLA computes them with this precision. Processors know float32 only; JAX's default
    for GPUs is TensorFloat-32."""
    if platform == "cpu":
        return nullcontext()
    # for bfloat16 the operands have been rounded: what TensorFloat-32 makes of them is exact
    jax_name = "float32" if precision == "float32" else "tensorfloat32"
    return jax.default_matmul_precision(jax_name)  # type: ignore[no-any-return]


def rounded_operands(jax: Any, op_type: str, arguments: list[Any]) -> list[Any]:
    """The arguments of an op whose products are to be those of bfloat16 numbers, with sums in float32."""
    if op_type not in _PRODUCTS:
        return arguments
    return [
        jax.lax.reduce_precision(a, **_BFLOAT16_BITS)
        if not isinstance(a, np.ndarray) and getattr(a, "dtype", None) == np.float32
        else a
        for a in arguments
    ]
