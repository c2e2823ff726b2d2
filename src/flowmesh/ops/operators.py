"""The operators of Tensor: `+`, `/`, `@`, `<`, `-x` ... with TensorFlow 1.15's node names and op types.

`==` stays identity and slicing belongs to the array ops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowmesh.core import dtypes
from flowmesh.graph.composite import SparseTensor
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.building import name_scope
from flowmesh.ops.comparison import logical_not, logical_xor
from flowmesh.ops.elementwise import negative
from flowmesh.ops.math_functions import abs as absolute, div, floordiv, pow as power, truediv
from flowmesh.ops.matmul import matmul

Function = Callable[..., Any]


def _add(x: Tensor, y: Any, name: str) -> Any:
    return raw.Add(x, y, name=name) if x.dtype == dtypes.string else raw.AddV2(x, y, name=name)


def _by_raw(op_type: str) -> Function:
    return lambda x, y, name: getattr(raw, op_type)(x, y, name=name)


def _install(operator: str, function: Function) -> None:
    """Defines `x operator y` and, for a Tensor on the right only, the reflected form."""

    def binary(x: Any, y: Any) -> Any:
        with name_scope(None, operator, [x, y]) as scope:
            if isinstance(y, SparseTensor):
                return NotImplemented
            if not isinstance(y, Tensor):
                try:
                    y = convert_to_tensor(y, dtype_hint=x.dtype.base_dtype, name="y")
                except TypeError:
                    if hasattr(type(y), f"__r{operator}__"):
                        return NotImplemented
                    raise
            return function(x, y, name=scope)

    def reflected(y: Any, x: Any) -> Any:
        with name_scope(None, operator, [x, y]) as scope:
            x = convert_to_tensor(x, dtype=y.dtype.base_dtype, name="x")
            return function(x, y, name=scope)

    binary.__name__, reflected.__name__ = f"__{operator}__", f"__r{operator}__"
    Tensor._override_operator(f"__{operator}__", binary)
    Tensor._override_operator(f"__r{operator}__", reflected)


def _compare(operator: str, op_type: str) -> None:
    Tensor._override_operator(operator, lambda x, y: getattr(raw, op_type)(x, y, name=op_type))


_install("add", _add)
_install("sub", _by_raw("Sub"))
_install("mul", _by_raw("Mul"))
_install("div", div)
_install("truediv", truediv)
_install("floordiv", floordiv)
_install("mod", _by_raw("FloorMod"))
_install("pow", power)
_install("and", _by_raw("LogicalAnd"))
_install("or", _by_raw("LogicalOr"))
_install("xor", logical_xor)
_install("matmul", matmul)
_compare("__lt__", "Less")
_compare("__le__", "LessEqual")
_compare("__gt__", "Greater")
_compare("__ge__", "GreaterEqual")
Tensor._override_operator("__invert__", logical_not)
Tensor._override_operator("__neg__", negative)
Tensor._override_operator("__abs__", absolute)
