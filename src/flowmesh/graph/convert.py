"""From Python values to tensors: the registry behind `tf.convert_to_tensor`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flowmesh.core.dtypes import DType, as_dtype
from flowmesh.graph import hooks
from flowmesh.graph.tensor import Tensor

Converter = Callable[..., Any]
_REGISTRY: dict[int, list[tuple[Any, Converter]]] = {}
_CACHE: dict[type, list[tuple[Any, Converter]]] = {}


def register_tensor_conversion_function(
    base_type: Any, conversion_func: Converter, priority: int = 100
) -> None:
    """Registers `conversion_func(value, dtype=None, name=None, as_ref=False)` for a type or tuple of types.

    Lower priorities run first; a function may return NotImplemented to pass.
    """
    if not (
        isinstance(base_type, type)
        or (isinstance(base_type, tuple) and all(isinstance(t, type) for t in base_type))
    ):
        raise TypeError("base_type must be a type or a tuple of types.")
    if not callable(conversion_func):
        raise TypeError("conversion_func must be callable.")
    _REGISTRY.setdefault(priority, []).append((base_type, conversion_func))
    _CACHE.clear()


def _converters(kind: type) -> list[tuple[Any, Converter]]:
    found = _CACHE.get(kind)
    if found is None:
        found = [
            (base, function)
            for priority in sorted(_REGISTRY)
            for base, function in _REGISTRY[priority]
            if issubclass(kind, base)
        ]
        _CACHE[kind] = found
    return found


def convert_to_tensor(
    value: Any,
    dtype: Any = None,
    name: str | None = None,
    preferred_dtype: Any = None,
    dtype_hint: Any = None,
    as_ref: bool = False,
) -> Tensor:
    """A Tensor of `value` (tensor, variable, array, number, string, nested list) in the default graph.

    Raises TypeError when there is no conversion, ValueError when a tensor has another dtype than `dtype`.
    """
    preferred_dtype = preferred_dtype if preferred_dtype is not None else dtype_hint
    if dtype is not None:
        dtype = as_dtype(dtype)
    if isinstance(value, Tensor):
        if not dtype_fits(dtype, value.dtype):
            raise ValueError(
                f"Tensor conversion requested dtype {dtype.name} for Tensor with dtype {value.dtype.name}: {value!r}"
            )
        return value
    for base, function in _converters(type(value)):
        result = _try(function, value, dtype, preferred_dtype, name, as_ref)
        if result is not NotImplemented:
            return _checked(result, function, base, dtype, name)
    if hasattr(value, "_as_graph_element"):
        element = value._as_graph_element()
        if isinstance(element, Tensor):
            return convert_to_tensor(element, dtype, name, as_ref=as_ref)
    raise TypeError(
        f"{_prefix(name)}Cannot convert {_short(value)} with type {type(value)} to Tensor: no conversion function registered."
    )


def _try(
    function: Converter,
    value: Any,
    dtype: DType | None,
    preferred: Any,
    name: str | None,
    as_ref: bool,
) -> Any:
    if dtype is None and preferred is not None:
        try:
            result = function(value, dtype=as_dtype(preferred), name=name, as_ref=as_ref)
        except (TypeError, ValueError):
            result = NotImplemented
        if result is not NotImplemented:
            return result
    return function(value, dtype=dtype, name=name, as_ref=as_ref)


def _checked(
    result: Any, function: Converter, base: Any, dtype: DType | None, name: str | None
) -> Tensor:
    who = f"{_prefix(name)}Conversion function {function!r} for type {base} returned"
    if not isinstance(result, Tensor):
        raise RuntimeError(f"{who} non-Tensor: {result!r}")
    if dtype is not None and not dtype_fits(dtype, result.dtype):
        raise RuntimeError(
            f"{who} incompatible dtype: requested = {dtype.name}, actual = {result.dtype.name}"
        )
    return result


def _prefix(name: str | None) -> str:
    return "" if name is None else f"{name}: "


def dtype_fits(wanted: DType | None, dtype: DType) -> bool:
    """Whether a tensor of `dtype` serves where `wanted` was asked (a ref serves as its base type)."""
    return (
        wanted is None
        or wanted == dtype
        or wanted == dtype.base_dtype
        or wanted.base_dtype == dtype
    )


def convert_n_to_tensor(
    values: Sequence[Any],
    dtype: Any = None,
    name: str | None = None,
    as_ref: bool = False,
    preferred_dtype: Any = None,
) -> list[Tensor]:
    """Converts each value; the names get `_0`, `_1` ..."""
    return [
        convert_to_tensor(
            v, dtype, None if name is None else f"{name}_{i}", preferred_dtype, as_ref=as_ref
        )
        for i, v in enumerate(values)
    ]


def is_tensor_like(value: Any) -> bool:
    """Whether `value` is a symbolic tensor or stands for one (variable, sparse tensor ...)."""
    return (
        isinstance(value, Tensor)
        or hasattr(value, "_as_graph_element")
        or hasattr(value, "dense_shape")
    )


def make_constant(value: Any, dtype: Any = None, name: str | None = None) -> Tensor:
    """A Const tensor."""
    return hooks.constant(value, dtype=dtype, name=name or "Const")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:200] + "..."
