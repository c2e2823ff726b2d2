"""Nested structures: lists, tuples, namedtuples and dicts of values, as `tf.cond` branches return them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def _is_namedtuple(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(value, "_fields")


def flatten(value: Any) -> list[Any]:
    """The leaves from left to right; dicts by sorted key."""
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in flatten(value[key])]
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in flatten(item)]
    return [value]


def pack(structure: Any, leaves: Iterator[Any]) -> Any:
    """The structure with its leaves replaced, in the order of `flatten`."""
    if isinstance(structure, dict):
        packed = {key: pack(structure[key], leaves) for key in sorted(structure)}
        return type(structure)((key, packed[key]) for key in structure)
    if _is_namedtuple(structure):
        return type(structure)(*[pack(item, leaves) for item in structure])
    if isinstance(structure, (list, tuple)):
        return type(structure)([pack(item, leaves) for item in structure])
    return next(leaves)


def map_leaves(function: Callable[[Any], Any], structure: Any) -> Any:
    """The structure with `function` applied to each leaf."""
    return pack(structure, iter([function(leaf) for leaf in flatten(structure)]))


def assert_same(a: Any, b: Any) -> None:
    """Raises TypeError (kinds of sequence) or ValueError (lengths, keys) when two structures differ."""
    if not isinstance(a, (list, tuple, dict)) and not isinstance(b, (list, tuple, dict)):
        return
    if not isinstance(a, (list, tuple, dict)) or not isinstance(b, (list, tuple, dict)):
        raise ValueError(
            "The two structures don't have the same nested structure.\n\nFirst structure: "
            f"type={type(a).__name__} str={a}\n\nSecond structure: type={type(b).__name__} str={b}"
        )
    if type(a) is not type(b):
        raise TypeError(
            "The two structures don't have the same sequence type. First structure has type "
            f"{type(a)}, while second structure has type {type(b)}."
        )
    if isinstance(a, dict):
        if set(a) != set(b):
            raise ValueError(
                "The two dictionaries don't have the same set of keys. First structure has keys "
                f"{list(a)}, while second structure has keys {list(b)}"
            )
        for key in a:
            assert_same(a[key], b[key])
        return
    if len(a) != len(b):
        raise ValueError(
            "The two structures don't have the same nested structure.\n\nThe two structures don't have the same "
            f"number of elements. First structure: {a}\n\nSecond structure: {b}"
        )
    for x, y in zip(a, b):
        assert_same(x, y)
