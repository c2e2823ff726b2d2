"""Nested structures: lists, tuples, namedtuples and dicts of anything (TensorFlow: `tf.contrib.framework.nest`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


def is_sequence(seq: Any) -> bool:
    """Whether `seq` is a list, tuple or dict (a string is not)."""
    return isinstance(seq, (list, tuple, Mapping))


is_nested = is_sequence


def _children(structure: Any) -> Iterator[Any]:
    if isinstance(structure, Mapping):
        for key in sorted(structure):
            yield structure[key]
    else:
        yield from structure


def _leaves(structure: Any) -> Iterator[Any]:
    if not is_sequence(structure):
        yield structure
        return
    for child in _children(structure):
        yield from _leaves(child)


def flatten(structure: Any, expand_composites: bool = False) -> list[Any]:
    """The leaves from left to right; the values of a dict in the order of its sorted keys."""
    return list(_leaves(structure))


def _rebuild(like: Any, children: list[Any]) -> Any:
    if isinstance(like, Mapping):
        by_key = dict(zip(sorted(like), children))
        made: Any = type(like)
        return made((key, by_key[key]) for key in like)
    if hasattr(like, "_fields"):
        return type(like)(*children)
    return type(like)(children)


def pack_sequence_as(structure: Any, flat_sequence: Any, expand_composites: bool = False) -> Any:
    """`flat_sequence` in the form of `structure`; ValueError when it has another number of leaves."""
    flat = list(flat_sequence)
    count = len(flatten(structure))
    if len(flat) != count:
        raise ValueError(
            f"Could not pack sequence. Structure had {count} elements, but flat_sequence had {len(flat)} elements. "
            f"Structure: {structure}, flat_sequence: {flat}."
        )
    return _pack(structure, iter(flat))


def _pack(structure: Any, values: Iterator[Any]) -> Any:
    if not is_sequence(structure):
        return next(values)
    return _rebuild(structure, [_pack(child, values) for child in _children(structure)])


def assert_same_structure(
    nest1: Any, nest2: Any, check_types: bool = True, expand_composites: bool = False
) -> None:
    """Raises ValueError (other form) or TypeError (other types of sequence) unless the structures are alike."""
    if is_sequence(nest1) != is_sequence(nest2):
        raise ValueError(
            f"The two structures don't have the same nested structure.\n\nFirst structure: {nest1}\n\n"
            f"Second structure: {nest2}"
        )
    if not is_sequence(nest1):
        return
    if check_types and type(nest1) is not type(nest2):
        raise TypeError(
            f"The two structures don't have the same sequence type. First structure has type {type(nest1)}, while "
            f"second structure has type {type(nest2)}."
        )
    if isinstance(nest1, Mapping) and set(nest1) != set(nest2):
        raise ValueError(
            f"The two dictionaries don't have the same set of keys. First structure has keys {sorted(nest1)}, while "
            f"second structure has keys {sorted(nest2)}."
        )
    first, second = list(_children(nest1)), list(_children(nest2))
    if len(first) != len(second):
        raise ValueError(
            f"The two structures don't have the same number of elements. First structure: {nest1}. Second structure: {nest2}."
        )
    for a, b in zip(first, second):
        assert_same_structure(a, b, check_types)


def map_structure(func: Callable[..., Any], *structure: Any, **kwargs: Any) -> Any:
    """`func` of the leaves of structures of one form, in that form."""
    if not callable(func):
        raise TypeError(f"func must be callable, got: {func}")
    if not structure:
        raise ValueError("Must provide at least one structure")
    check_types = kwargs.pop("check_types", True)
    kwargs.pop("expand_composites", None)
    if kwargs:
        raise ValueError(
            f"Only valid keyword arguments are `check_types` and `expand_composites`, not: {sorted(kwargs)}"
        )
    for other in structure[1:]:
        assert_same_structure(structure[0], other, check_types)
    leaves = zip(*(flatten(s) for s in structure))
    return pack_sequence_as(structure[0], [func(*items) for items in leaves])


def flatten_up_to(shallow_tree: Any, input_tree: Any) -> list[Any]:
    """The parts of `input_tree` that stand where `shallow_tree` has its leaves."""
    if not is_sequence(shallow_tree):
        return [input_tree]
    if not is_sequence(input_tree):
        raise TypeError(
            f"If shallow structure is a sequence, input must also be a sequence. Input has type: {type(input_tree)}."
        )
    shallow, deep = list(_children(shallow_tree)), list(_children(input_tree))
    if len(shallow) != len(deep):
        raise ValueError(
            f"The two structures don't have the same sequence length. Input structure has length {len(deep)}, while shallow "
            f"structure has length {len(shallow)}."
        )
    return [part for a, b in zip(shallow, deep) for part in flatten_up_to(a, b)]


def map_structure_up_to(shallow_tree: Any, func: Callable[..., Any], *inputs: Any) -> Any:
    """`func` of the parts of the inputs below the leaves of `shallow_tree`, in its form."""
    parts = zip(*(flatten_up_to(shallow_tree, tree) for tree in inputs))
    return pack_sequence_as(shallow_tree, [func(*items) for items in parts])


def yield_flattened_up_to(shallow_tree: Any, input_tree: Any) -> Iterator[Any]:
    """As `flatten_up_to`, one by one."""
    yield from flatten_up_to(shallow_tree, input_tree)
