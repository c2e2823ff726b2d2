"""Datasets of groups: elements with equal keys, a window of them at a time, in a dataset that a function makes of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.shapes import scalar
from flowmesh.graph.op_def import Attr, Input, Output
from flowmesh.ops.dataset_base import BoundFunction, DatasetOp, dataset_of, invalid
from flowmesh.resources.datasets import (
    END,
    Dataset,
    DatasetIterator,
    Element,
    Elements,
    IterationContext,
    UnaryIterator,
)


class _GroupByWindow(Dataset):
    def __init__(
        self, types: Any, shapes: Any, source: Dataset, functions: tuple[BoundFunction, ...]
    ) -> None:
        super().__init__(types, shapes, source)
        self.functions = functions
        self.waits = self.waits or any(f.waits for f in functions)

    def iterate(self, context: IterationContext) -> DatasetIterator:
        return _GroupIterator(self, context)


class _GroupIterator(UnaryIterator):
    """Gives a group when it is full, and behind the last element what is left of each, by key."""

    def __init__(self, dataset: _GroupByWindow, context: IterationContext) -> None:
        super().__init__(dataset.inputs[0].iterate(context))
        self._dataset = dataset
        self._context = context
        self._key, self._reduce, self._size = (f.caller(context) for f in dataset.functions)
        self._sizes: dict[int, int] = {}
        self._groups: dict[int, list[Element]] = {}
        self._current: DatasetIterator | None = None
        self._over = False

    def next(self) -> Any:
        while True:
            if self._current is not None:
                element = self._current.next()
                if element is not END:
                    return element
                self._current.close()
                self._current = None
            key = self._full()
            if key is None:
                if not self._groups:
                    return END
                key = min(self._groups)
            self._begin(key)

    def _full(self) -> int | None:
        """Takes elements until a group is full; its key, or None behind the last element."""
        while not self._over:
            element = self.source.next()
            if element is END:
                self._over = True
                break
            key = _number(self._key(element), "`key_func` must return a scalar int64.")
            if key not in self._sizes:
                size = _number(
                    self._size((np.array(key, np.int64),)),
                    "`window_size_func` must return a scalar int64.",
                )
                if size <= 0:
                    raise invalid(f"Window size must be greater than zero, but got {size}.")
                self._sizes[key] = size
            group = self._groups.setdefault(key, [])
            group.append(element)
            if len(group) == self._sizes[key]:
                return key
        return None

    def _begin(self, key: int) -> None:
        source = self._dataset.inputs[0]
        window = Elements(source.types, source.shapes_of_elements, self._groups.pop(key))
        result = self._reduce((np.array(key, np.int64), window))
        if len(result) != 1 or not isinstance(result[0], Dataset):
            raise invalid("`reduce_func` must return a single dataset.")
        self._current = result[0].iterate(self._context)

    def close(self) -> None:
        if self._current is not None:
            self._current.close()
        self.source.close()


def _number(result: Element, message: str) -> int:
    if len(result) != 1 or np.ndim(result[0]) != 0 or result[0].dtype != np.int64:
        raise invalid(message)
    return int(result[0])


class _Groups(DatasetOp, abstract=True):
    input_dataset = Input(dtypes.variant)
    key_func_other_arguments = Input(types="Tkey_func_other_arguments")
    reduce_func_other_arguments = Input(types="Treduce_func_other_arguments")
    window_size_func_other_arguments = Input(types="Twindow_size_func_other_arguments")
    handle = Output(dtypes.variant)
    key_func = Attr("func")
    reduce_func = Attr("func")
    window_size_func = Attr("func")
    Tkey_func_other_arguments = Attr("list(type)", minimum=0)
    Treduce_func_other_arguments = Attr("list(type)", minimum=0)
    Twindow_size_func_other_arguments = Attr("list(type)", minimum=0)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)

    def run(self, ctx: Any, source: Any, key: Any, reduce: Any, size: Any) -> Any:  # type: ignore[override]
        dataset = dataset_of(source)
        functions = (
            BoundFunction(ctx, self.attrs["key_func"], dataset.shapes_of_elements, key),
            BoundFunction(ctx, self.attrs["reduce_func"], [scalar(), scalar()], reduce),
            BoundFunction(ctx, self.attrs["window_size_func"], [scalar()], size),
        )
        return _GroupByWindow(self.element_types, self.element_shapes, dataset, functions)


class GroupByWindowDataset(_Groups):
    """The elements of the datasets that `reduce_func` makes of windows of elements with one key."""


class ExperimentalGroupByWindowDataset(_Groups):
    """An older name of GroupByWindowDataset."""
