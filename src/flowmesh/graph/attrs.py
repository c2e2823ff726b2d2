"""Attr values: from what a caller passes to the plain Python form that nodes keep, and their checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flowmesh.core.dtypes import DType, as_dtype
from flowmesh.core.shapes import TensorShape, as_shape
from flowmesh.graph.op_def import AttrDef, python_name


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
    raise TypeError


def _int(value: Any) -> int:
    if isinstance(value, (str, bytes)):
        raise TypeError
    return int(value)


def _float(value: Any) -> float:
    if isinstance(value, (str, bytes)) or value is None:
        raise TypeError
    return float(value)


def _bool(value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError
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


_WORDS = {"type": "DataType", "func": "function", "tensor": "TensorProto"}


def convert(value: Any, definition: AttrDef, op_type: str) -> Any:
    """The plain form of an attr value; raises TypeError or ValueError naming the attr when it does not fit."""
    kind = definition.type
    if not kind.startswith("list("):
        return _convert_one(value, kind, definition.name)
    if not isinstance(value, (list, tuple)):
        raise TypeError(
            f"Expected list for '{definition.name}' argument to '{python_name(op_type)}' Op, not {value!r}."
        )
    return tuple(_convert_one(v, kind[5:-1], definition.name) for v in value)


def _convert_one(value: Any, kind: str, name: str) -> Any:
    try:
        return _CONVERTERS[kind](value)
    except (TypeError, ValueError, AttributeError) as error:
        if kind == "shape":
            text = str(error).removesuffix(".")
            raise type(error)(f"Error converting {name} to a TensorShape: {text}.") from error
        raise TypeError(
            f"Expected {_WORDS.get(kind, kind)} for argument '{name}' not {value!r}."
        ) from error


def check_allowed(value: Any, definition: AttrDef, op_type: str, input_name: str | None) -> None:
    """Raises TypeError or ValueError in TensorFlow's words when the value is not among those allowed."""
    if definition.minimum is not None:
        size = len(value) if isinstance(value, tuple) else value
        if isinstance(size, int) and size < definition.minimum:
            what = f"list of length {size}" if isinstance(value, tuple) else str(size)
            raise ValueError(
                f"Attr '{definition.name}' of '{op_type}' Op passed {what} less than minimum {definition.minimum}."
            )
    if definition.allowed is None:
        return
    items = value if isinstance(value, tuple) else (value,)
    for item in items:
        if item in definition.allowed:
            continue
        if isinstance(item, DType):
            names = ", ".join(d.name for d in definition.allowed)
            if input_name is not None:
                raise TypeError(
                    f"Value passed to parameter '{input_name}' has DataType {item.name} not in list of allowed "
                    f"values: {names}"
                )
            raise TypeError(
                f"Value for attr '{definition.name}' of {item.name} is not in the list of allowed values: {names}"
            )
        names = ", ".join(
            f'"{a.decode() if isinstance(a, bytes) else a}"' for a in definition.allowed
        )
        shown = item.decode() if isinstance(item, bytes) else item
        raise ValueError(
            f"Attr '{definition.name}' of '{op_type}' Op passed string '{shown}' not in: {names}."
        )
