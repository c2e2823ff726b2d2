"""The structures that `Session.run` takes as fetches, and how results are put back into them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flowmesh.core import errors
from flowmesh.graph.composite import (
    IndexedSlices,
    IndexedSlicesValue,
    SparseTensor,
    SparseTensorValue,
)
from flowmesh.graph.graph import Graph
from flowmesh.graph.operation import Operation
from flowmesh.graph.tensor import Tensor

_Expansion = tuple[list[Any], Callable[[list[Any]], Any]]
_CONVERSIONS: list[tuple[Any, Callable[[Any], _Expansion], Any, Any]] = []


def register_session_run_conversion_functions(
    tensor_type: type,
    fetch_function: Callable[[Any], _Expansion],
    feed_function: Callable[[Any, Any], list[tuple[Any, Any]]] | None = None,
    feed_function_for_partial_run: Callable[[Any], list[Any]] | None = None,
) -> None:
    """Teaches `Session.run` a type: how to fetch it as tensors, and how to feed it.

    Raises ValueError when the type is known already.
    """
    for known, *_ in _CONVERSIONS:
        if issubclass(tensor_type, known):
            raise ValueError(f"{tensor_type} has already been registered so ignore it.")
    _CONVERSIONS.insert(
        0, (tensor_type, fetch_function, feed_function, feed_function_for_partial_run)
    )


def _slices_tensors(slices: IndexedSlices) -> list[Any]:
    parts = [slices.values, slices.indices]
    return parts if slices.dense_shape is None else [*parts, slices.dense_shape]


def _expand_sparse(fetch: Any) -> _Expansion:
    return [fetch.indices, fetch.values, fetch.dense_shape], lambda v: SparseTensorValue(*v)


def _expand_slices(fetch: Any) -> _Expansion:
    parts = _slices_tensors(fetch)
    return parts, lambda v: IndexedSlicesValue(v[0], v[1], v[2] if len(v) == 3 else None)


def _feed_pairs(tensors: list[Any], values: Any) -> list[tuple[Any, Any]]:
    if len(values) != len(tensors):
        raise ValueError(f"a feed of {len(tensors)} parts is expected, not {len(values)}")
    return list(zip(tensors, values))


_CONVERSIONS.append(
    (
        SparseTensor,
        _expand_sparse,
        lambda k, v: _feed_pairs([k.indices, k.values, k.dense_shape], v),
        lambda k: [k.indices, k.values, k.dense_shape],
    )
)
_CONVERSIONS.append(
    (
        IndexedSlices,
        _expand_slices,
        lambda k, v: _feed_pairs(_slices_tensors(k), tuple(v)[: len(_slices_tensors(k))]),
        _slices_tensors,
    )
)


def expand_feed(key: Any, value: Any) -> list[tuple[Any, Any]]:
    """The (tensor-like, value) pairs that one entry of a feed_dict stands for."""
    for kind, _, feed, _ in _CONVERSIONS:
        if isinstance(key, kind) and feed is not None:
            return feed(key, value)
    return [(key, value)]


def expand_feed_key(key: Any) -> list[Any]:
    """The tensors that one feed of `partial_run_setup` stands for."""
    for kind, _, _, partial in _CONVERSIONS:
        if isinstance(key, kind) and partial is not None:
            return partial(key)
    return [key]


Rebuild = Callable[[Sequence[Any]], Any]
"""From the values of all fetched tensors to one part of the caller's structure."""


class FetchMapper:
    """A fetch structure, flattened to unique tensors and target operations.

    `fetches` and `targets` are what the master is asked for; `rebuild(values)` gives the caller's structure back.
    """

    def __init__(self, graph: Graph, structure: Any) -> None:
        self._graph = graph
        self.fetches: list[Tensor] = []
        self.targets: list[Operation] = []
        self._index: dict[Tensor, int] = {}
        self.rebuild: Rebuild = self._map(structure)

    def _map(self, fetch: Any) -> Rebuild:
        if fetch is None:
            raise TypeError(f"Fetch argument {fetch!r} has invalid type {type(fetch)!r}")
        if isinstance(fetch, (list, tuple)):
            return self._map_sequence(fetch)
        if isinstance(fetch, Mapping):
            keys = list(fetch)
            parts = [self._map(fetch[k]) for k in keys]
            mapping: Any = type(fetch)
            if mapping is dict:
                return lambda values: {k: part(values) for k, part in zip(keys, parts)}
            return lambda values: mapping((k, part(values)) for k, part in zip(keys, parts))
        if hasattr(type(fetch), "__attrs_attrs__"):
            names = [a.name for a in type(fetch).__attrs_attrs__]
            fields = [self._map(getattr(fetch, n)) for n in names]
            made = type(fetch)
            return lambda values: made(*(part(values) for part in fields))
        for kind_, expand, _, _ in _CONVERSIONS:
            if isinstance(fetch, kind_):
                tensors, contract = expand(fetch)
                parts = [self._map_element(t) for t in tensors]
                return lambda values: contract([part(values) for part in parts])
        return self._map_element(fetch)

    def _map_sequence(self, fetch: Any) -> Rebuild:
        parts = [self._map(f) for f in fetch]
        kind = type(fetch)
        if kind is list:
            return lambda values: [part(values) for part in parts]
        if hasattr(fetch, "_fields"):
            return lambda values: kind(*(part(values) for part in parts))
        return lambda values: kind(part(values) for part in parts)

    def _map_element(self, fetch: Any) -> Rebuild:
        try:
            element = self._graph.as_graph_element(fetch)
        except TypeError as error:
            raise TypeError(
                f"Fetch argument {fetch!r} has invalid type {type(fetch)!r}, must be a string or Tensor. ({error})"
            ) from error
        except (ValueError, KeyError) as error:
            raise ValueError(
                f"Fetch argument {fetch!r} cannot be interpreted as a Tensor. ({error!s})"
            ) from error
        op = element.op if isinstance(element, Tensor) else element
        if not self._graph.is_fetchable(op):
            raise errors.InaccessibleTensorError(
                f"Operation {op.name!r} has been marked as not fetchable. Typically this happens when it is "
                "defined in another function or code block. Use return values,explicit Python locals or "
                "TensorFlow collections to access it."
            )
        if isinstance(element, Operation):
            if element not in self.targets:
                self.targets.append(element)
            return lambda values: None
        index = self._index.setdefault(element, len(self.fetches))
        if index == len(self.fetches):
            self.fetches.append(element)
        return lambda values: values[index]
