"""Nested structures of datasets: tuples, namedtuples and dicts. Lists are no structure here: they become tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


def is_nested(value: Any) -> bool:
    """Whether `value` is a structure rather than a leaf."""
    return isinstance(value, (tuple, Mapping)) and not _is_leaf_tuple(value)


def _is_leaf_tuple(value: Any) -> bool:
    return type(value).__name__ in ("SparseTensorValue", "IndexedSlicesValue")


def children(structure: Any) -> list[Any]:
    """The parts of a structure; those of a dict in the order of its keys."""
    if isinstance(structure, Mapping):
        return [structure[key] for key in _keys(structure)]
    return list(structure)


def _keys(structure: Mapping[Any, Any]) -> list[Any]:
    try:
        return sorted(structure)
    except TypeError:
        raise TypeError("nest only supports dicts with sortable keys.") from None


def flatten(structure: Any) -> list[Any]:
    """The leaves from left to right."""
    if not is_nested(structure):
        return [structure]
    return [leaf for child in children(structure) for leaf in flatten(child)]


def rebuild(like: Any, parts: list[Any]) -> Any:
    """A structure like `like` with other parts."""
    if isinstance(like, Mapping):
        by_key = dict(zip(_keys(like), parts))
        return type(like)((key, by_key[key]) for key in like)  # type: ignore[call-arg]
    return type(like)(*parts) if hasattr(like, "_fields") else type(like)(parts)


def pack(structure: Any, leaves: Any) -> Any:
    """`leaves` in the form of `structure`; ValueError for another number of them."""
    flat = list(leaves)
    count = len(flatten(structure))
    if count != len(flat):
        raise ValueError(
            f"Could not pack sequence. Structure had {count} elements, but flat_sequence had {len(flat)} elements.  "
            f"Structure: {structure}, flat_sequence: {flat}."
        )
    return _pack(structure, iter(flat))


def _pack(structure: Any, leaves: Iterator[Any]) -> Any:
    if not is_nested(structure):
        return next(leaves)
    return rebuild(structure, [_pack(child, leaves) for child in children(structure)])


def map_structure(function: Callable[..., Any], *structures: Any) -> Any:
    """`function` of the leaves of structures of one form, in that form."""
    for other in structures[1:]:
        check_same(structures[0], other)
    leaves = zip(*(flatten(s) for s in structures))
    return pack(structures[0], [function(*items) for items in leaves])


def flatten_up_to(shallow: Any, deep: Any) -> list[Any]:
    """The parts of `deep` where `shallow` has its leaves; TypeError or ValueError where it has another form."""
    if not is_nested(shallow):
        return [deep]
    if not is_nested(deep):
        raise TypeError(
            f"If shallow structure is a sequence, input must also be a sequence. Input has type: '{type(deep).__name__}'."
        )
    if not isinstance(deep, type(shallow)) and not (
        isinstance(shallow, Mapping) and isinstance(deep, Mapping)
    ):
        raise TypeError(
            "The two structures don't have the same sequence type. Input structure has type "
            f"'{type(deep).__name__}', while shallow structure has type '{type(shallow).__name__}'."
        )
    if len(deep) != len(shallow):
        raise ValueError(
            "The two structures don't have the same sequence length. Input structure has length "
            f"{len(deep)}, while shallow structure has length {len(shallow)}."
        )
    pairs = zip(children(shallow), children(deep))
    return [part for a, b in pairs for part in flatten_up_to(a, b)]


def map_structure_up_to(shallow: Any, function: Callable[..., Any], *deep: Any) -> Any:
    """`function` of the parts of `deep` where `shallow` has its leaves, in the form of `shallow`."""
    parts = zip(*(flatten_up_to(shallow, d) for d in deep))
    return pack(shallow, [function(*items) for items in parts])


def check_same(first: Any, second: Any) -> None:
    """ValueError or TypeError, in TensorFlow's words, unless two structures have one form."""
    if is_nested(first) != is_nested(second):
        whole, single = (first, second) if is_nested(first) else (second, first)
        raise ValueError(
            f"The two structures don't have the same nested structure.\n\nFirst structure: type={type(first).__name__} "
            f"str={first}\n\nSecond structure: type={type(second).__name__} str={second}\n\nMore specifically: Substructure "
            f'"type={type(whole).__name__} str={whole}" is a sequence, while substructure "type={type(single).__name__} '
            f'str={single}" is not'
        )
    if not is_nested(first):
        return
    if type(first) is not type(second) and not (
        isinstance(first, Mapping) and isinstance(second, Mapping)
    ):
        raise TypeError(
            f"The two structures don't have the same sequence type. First structure has type {type(first)}, while second "
            f"structure has type {type(second)}."
        )
    if isinstance(first, Mapping) and set(first) != set(second):
        raise ValueError(
            f"The two dictionaries don't have the same set of keys. First structure: {first}. Second structure: {second}."
        )
    a, b = children(first), children(second)
    if len(a) != len(b):
        raise ValueError(
            f"The two structures don't have the same number of elements. First structure: {first}. Second structure: {second}."
        )
    for x, y in zip(a, b):
        check_same(x, y)
