"""Attr values: from what a caller passes to the plain Python form that nodes keep, and their checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flowmesh.core.dtypes import DType, as_dtype
from flowmesh.core.shapes import TensorShape, as_shape
from flowmesh.graph.op_def import AttrDef


@dataclass(frozen=True)
class FunctionRef:
    """The value of a `func` attr: a function of the graph's library, by name, with its own attrs."""

    name: str
    attrs: tuple[tuple[str, Any], ...] = field(default=())


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise TypeError(f"a string is expected, not {value!r}")


def _int(value: Any) -> int:
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        if isinstance(value, (float, np.floating)) and float(value).is_integer():
            return int(value)
        if isinstance(value, (bool, np.bool_)):
            return int(value)
        raise TypeError(f"an int is expected, not {value!r}")
    return int(value.__index__())


def _float(value: Any) -> float:
    if isinstance(value, (str, bytes)) or value is None:
        raise TypeError(f"a float is expected, not {value!r}")
    return float(value)


def _bool(value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_, int)):
        raise TypeError(f"a bool is expected, not {value!r}")
    return bool(value)


def _type(value: Any) -> DType:
    return as_dtype(value).base_dtype


def _shape(value: Any) -> TensorShape:
    return as_shape(value)


def _tensor(value: Any) -> np.ndarray:
    return value if isinstance(value, np.ndarray) else np.asarray(value)


def _func(value: Any) -> FunctionRef:
    if isinstance(value, FunctionRef):
        return value
    return FunctionRef(value if isinstance(value, str) else value.name)


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "string": _bytes,
    "int": _int,
    "float": _float,
    "bool": _bool,
    "type": _type,
    "shape": _shape,
    "tensor": _tensor,
    "func": _func,
}


def convert(value: Any, definition: AttrDef, op_type: str) -> Any:
    """The plain form of an attr value; raises TypeError naming attr and op when it does not fit."""
    kind = definition.type
    try:
        if kind.startswith("list("):
            one = _CONVERTERS[kind[5:-1]]
            if not isinstance(value, (list, tuple)):
                if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
                    raise TypeError(f"a list is expected, not {value!r}")
            return tuple(one(v) for v in value)
        return _CONVERTERS[kind](value)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"Expected {kind} for argument '{definition.name}' of '{op_type}' Op, not {value!r}: {error}"
        ) from error


def check_allowed(value: Any, definition: AttrDef, op_type: str, input_name: str | None) -> None:
    """Raises TypeError or ValueError in TensorFlow's words when the value is not among those allowed."""
    if definition.minimum is not None:
        size = len(value) if isinstance(value, tuple) else value
        if isinstance(size, int) and size < definition.minimum:
            raise ValueError(
                f"Attr '{definition.name}' of '{op_type}' Op passed {size} less than minimum {definition.minimum}."
            )
    if definition.allowed is None:
        return
    items = value if isinstance(value, tuple) else (value,)
    for item in items:
        if item in definition.allowed:
            continue
        if isinstance(item, DType):
            names = ", ".join(sorted(d.name for d in definition.allowed))
            if input_name is not None:
                raise TypeError(
                    f"Value passed to parameter '{input_name}' has DataType {item.name} not in list of allowed "
                    f"values: {names}"
                )
            raise TypeError(
                f"Value for attr '{definition.name}' of {item.name} is not in the list of allowed values: {names}"
            )
        names = ", ".join(
            sorted(repr(a.decode() if isinstance(a, bytes) else a) for a in definition.allowed)
        )
        shown = item.decode() if isinstance(item, bytes) else item
        raise ValueError(
            f"Attr '{definition.name}' of '{op_type}' Op passed string '{shown}' not in: {names}."
        )
