"""Datasets whose elements are several elements of the input together, or parts of one: batches, padded batches, windows."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from flowmesh.core import dtypes, errors
from flowmesh.core.shapes import TensorShape
from flowmesh.graph.op_def import Attr, Input, Output
from flowmesh.ops.dataset_base import DatasetOp, dataset_of, invalid, scalar_of
from flowmesh.ops.dataset_functions import Map, calls_at_once, make_map
from flowmesh.resources.datasets import (
    END,
    Dataset,
    DatasetIterator,
    Element,
    Elements,
    IterationContext,
    UnaryIterator,
)
from flowmesh.resources.messages import shape_string


class Batch(Dataset):
    """Groups of `size` elements, stacked."""

    size = 1
    drops = False
    whole = False
    """Whether an error in one element is that of the whole batch: where a map and the batch behind it are made one."""

    def iterate(self, context: IterationContext) -> DatasetIterator:
        kind = _WholeBatchIterator if self.whole else _BatchIterator
        return kind(self.inputs[0].iterate(context), self.size, self.drops)


class _BatchIterator(UnaryIterator):
    def __init__(self, source: DatasetIterator, size: int, drops: bool) -> None:
        super().__init__(source)
        self._size = size
        self._drops = drops
        self._over = False

    def next(self) -> Any:
        whole = None if self._over else self.source.next_rows(self._size)
        if whole is not None:
            return whole
        rows: list[Element] = []
        following = self.source.next
        for _ in range(0 if self._over else self._size):
            element = following()
            if element is END:
                self._over = True
                break
            rows.append(element)
        if not rows or (self._drops and len(rows) < self._size):
            return END
        return self._batched(rows)

    def _batched(self, rows: list[Element]) -> Element:
        if len(rows[0]) == 1:
            return (_stack([row[0] for row in rows], 0),)
        return tuple(_stack(column, i) for i, column in enumerate(zip(*rows)))


class _WholeBatchIterator(_BatchIterator):
    def next(self) -> Any:
        rows: list[Element] = []
        first: errors.OpError | None = None
        for _ in range(0 if self._over else self._size):
            try:
                element = self.source.next()
            except errors.OpError as error:
                first = first or error
                continue
            if element is END:
                self._over = True
                break
            rows.append(element)
        if first is not None:
            raise first
        if not rows or (self._drops and len(rows) < self._size):
            return END
        for row in rows:
            for value, like in zip(row, rows[0]):
                if value.shape != like.shape:
                    shapes = [shape_string(TensorShape(list(v.shape))) for v in (value, like)]
                    raise invalid(
                        "Cannot add tensor to the batch: number of elements does not match. Shapes are: [tensor]: "
                        f"{shapes[0]}, [batch]: {shapes[1]}"
                    )
        return self._batched(rows)


def joined(dataset: Dataset) -> Dataset:
    """The dataset with each map and the batch behind it made one, here and in its inputs."""
    inputs = tuple(joined(source) for source in dataset.inputs)
    whole = type(dataset) is Batch and isinstance(inputs[0], Map)
    if whole or inputs != dataset.inputs:
        dataset = copy.copy(dataset)
        dataset.inputs = inputs
        if isinstance(dataset, Batch):
            dataset.whole = whole
    return dataset


def _stack(column: Sequence[Any], number: int) -> np.ndarray:
    """The values of one component, one after the other."""
    first = column[0]
    shape = first.shape
    if not shape and first.dtype != object:
        return np.fromiter(column, first.dtype, len(column))
    out = np.empty((len(column), *shape), first.dtype)
    for i, value in enumerate(column):
        if value.shape != shape:
            raise invalid(
                f"Cannot batch tensors with different shapes in component {number}. First element had shape "
                f"{shape_string(TensorShape(list(shape)))} and element {i} had shape {shape_string(TensorShape(list(value.shape)))}."
            )
        out[i] = value if shape else value[()]
    return out


def _batch_size(value: Any) -> int:
    size: int = scalar_of(value, "batch_size")
    if size <= 0:
        raise invalid("Batch size must be greater than zero.")
    return size


def _make_batch(op: DatasetOp, source: Dataset, size: Any, drops: Any) -> Batch:
    made = Batch(op.element_types, op.element_shapes, source)
    made.size, made.drops = _batch_size(size), bool(drops)
    return made


class BatchDataset(DatasetOp):
    """`batch_size` elements together; the last batch may be smaller."""

    input_dataset = Input(dtypes.variant)
    batch_size = Input(dtypes.int64)
    handle = Output(dtypes.variant)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)

    def run(self, ctx: Any, source: Any, size: Any) -> Any:  # type: ignore[override]
        return _make_batch(self, dataset_of(source), size, False)


class BatchDatasetV2(DatasetOp):
    """`batch_size` elements together; a smaller last batch is left out with `drop_remainder`."""

    input_dataset = Input(dtypes.variant)
    batch_size = Input(dtypes.int64)
    drop_remainder = Input(dtypes.bool)
    handle = Output(dtypes.variant)
    parallel_copy = Attr("bool", False)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)

    def run(self, ctx: Any, source: Any, size: Any, drops: Any) -> Any:  # type: ignore[override]
        return _make_batch(self, dataset_of(source), size, drops)


class _MapAndBatch(DatasetOp, abstract=True):
    input_dataset = Input(dtypes.variant)
    other_arguments = Input(types="Targuments")
    batch_size = Input(dtypes.int64)
    num_parallel_calls = Input(dtypes.int64)
    drop_remainder = Input(dtypes.bool)
    handle = Output(dtypes.variant)
    f = Attr("func")
    Targuments = Attr("list(type)", minimum=0)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)
    preserve_cardinality = Attr("bool", False)

    def run(  # type: ignore[override]
        self, ctx: Any, source: Any, captured: Any, size: Any, parallel: Any, drops: Any
    ) -> Any:
        mapped = make_map(self, ctx, source, captured, calls_at_once(parallel))
        made = _make_batch(self, mapped, size, drops)
        made.whole = True
        return made


class MapAndBatchDataset(_MapAndBatch):
    """`f` of each element, `num_parallel_calls` at a time, in batches."""


class ExperimentalMapAndBatchDataset(_MapAndBatch):
    """An older name of MapAndBatchDataset."""


class _PaddedBatch(Batch):
    padded_shapes: Sequence[np.ndarray] = ()
    padding: Sequence[Any] = ()

    def iterate(self, context: IterationContext) -> DatasetIterator:
        return _PaddedBatchIterator(self.inputs[0].iterate(context), self)


class _PaddedBatchIterator(_BatchIterator):
    def __init__(self, source: DatasetIterator, dataset: _PaddedBatch) -> None:
        super().__init__(source, dataset.size, dataset.drops)
        self._shapes = dataset.padded_shapes
        self.source = _OneByOne(source)
        self._padding = dataset.padding

    def _batched(self, rows: list[Element]) -> Element:
        columns = zip(zip(*rows), self._shapes, self._padding)
        return tuple(_pad(column, *rest) for column, *rest in columns)


class _OneByOne(UnaryIterator):
    """Hides that elements lie side by side."""

    def next(self) -> Any:
        return self.source.next()


def _pad(column: Sequence[Any], wanted: np.ndarray, filler: Any) -> np.ndarray:
    rank = len(wanted)
    for value in column:
        if value.ndim != rank:
            raise invalid(
                f"All elements in a batch must have the same rank as the padded shape for component: expected rank {rank} but got element with rank {value.ndim}"
            )
    longest = [max(value.shape[axis] for value in column) for axis in range(rank)]
    for axis, size in enumerate(wanted):
        if size >= 0:
            if longest[axis] > size:
                raise errors.DataLossError(
                    None, None, "Attempted to pad to a smaller size than the input element."
                )
            longest[axis] = int(size)
    first = column[0]
    out = np.empty((len(column), *longest), first.dtype)
    out[...] = np.asarray(filler)[()]
    for i, value in enumerate(column):
        if rank:
            out[i][tuple(map(slice, value.shape))] = value
        else:
            out[i] = value[()]
    return out


def _padded(op: DatasetOp, source: Any, size: Any, shapes: Any, values: Any, drops: Any) -> Any:
    dataset = dataset_of(source)
    made = _PaddedBatch(op.element_types, op.element_shapes, dataset)
    made.size, made.drops = _batch_size(size), bool(drops)
    for shape in shapes:
        if np.ndim(shape) != 1:
            raise invalid("All padded shapes must be vectors")
    for value in values:
        if np.ndim(value):
            raise invalid("All padding values must be scalars")
    made.padded_shapes, made.padding = shapes, values
    return made


class PaddedBatchDataset(DatasetOp):
    """`batch_size` elements together, each padded to one shape (-1: to the largest of the batch)."""

    input_dataset = Input(dtypes.variant)
    batch_size = Input(dtypes.int64)
    padded_shapes = Input(dtypes.int64, number="N")
    padding_values = Input(types="Toutput_types")
    handle = Output(dtypes.variant)
    Toutput_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)
    N = Attr("int", minimum=1)

    def run(self, ctx: Any, source: Any, size: Any, shapes: Any, values: Any) -> Any:  # type: ignore[override]
        return _padded(self, source, size, shapes, values, False)


class PaddedBatchDatasetV2(DatasetOp):
    """As PaddedBatchDataset; a smaller last batch is left out with `drop_remainder`."""

    input_dataset = Input(dtypes.variant)
    batch_size = Input(dtypes.int64)
    padded_shapes = Input(dtypes.int64, number="N")
    padding_values = Input(types="Toutput_types")
    drop_remainder = Input(dtypes.bool)
    handle = Output(dtypes.variant)
    parallel_copy = Attr("bool", False)
    Toutput_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)
    N = Attr("int", minimum=1)

    def run(  # type: ignore[override]
        self, ctx: Any, source: Any, size: Any, shapes: Any, values: Any, drops: Any
    ) -> Any:
        return _padded(self, source, size, shapes, values, drops)


class _Unbatch(Dataset):
    def iterate(self, context: IterationContext) -> DatasetIterator:
        return _UnbatchIterator(self.inputs[0].iterate(context))


class _UnbatchIterator(UnaryIterator):
    def __init__(self, source: DatasetIterator) -> None:
        super().__init__(source)
        self._batch: Element = ()
        self._at = 0
        self._size = 0

    def next(self) -> Any:
        while self._at >= self._size:
            batch = self.source.next()
            if batch is END:
                return END
            sizes = {value.shape[0] for value in batch}
            if len(sizes) != 1:
                raise invalid("Input element must have the same batch size in each component.")
            self._batch, self._at, self._size = batch, 0, sizes.pop()
        at, self._at = self._at, self._at + 1
        return tuple([value[at, ...] for value in self._batch])


class _UnbatchOp(DatasetOp, abstract=True):
    input_dataset = Input(dtypes.variant)
    handle = Output(dtypes.variant)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)

    def run(self, ctx: Any, source: Any) -> Any:  # type: ignore[override]
        return _Unbatch(self.element_types, self.element_shapes, dataset_of(source))


class UnbatchDataset(_UnbatchOp):
    """The rows of each element."""


class ExperimentalUnbatchDataset(_UnbatchOp):
    """An older name of UnbatchDataset."""


class _Window(Dataset):
    size, shift, stride = 1, 1, 1
    drops = False

    def iterate(self, context: IterationContext) -> DatasetIterator:
        return _WindowIterator(self.inputs[0].iterate(context), self)


class _WindowIterator(UnaryIterator):
    def __init__(self, source: DatasetIterator, dataset: _Window) -> None:
        super().__init__(source)
        self._dataset = dataset
        self._held: list[Element] = []
        self._skip = 0
        self._over = False

    def next(self) -> Any:
        window = self._dataset
        span = (window.size - 1) * window.stride + 1
        while not self._over and len(self._held) < span:
            element = self.source.next()
            if element is END:
                self._over = True
            elif self._skip:
                self._skip -= 1
            else:
                self._held.append(element)
        full = len(self._held) >= span
        if not self._held or (window.drops and not full):
            self._held.clear()
            return END
        elements = self._held[: span : window.stride]
        gone = min(window.shift, len(self._held))
        self._skip = window.shift - gone
        del self._held[:gone]
        source = window.inputs[0]
        return tuple(
            Elements(
                source.types[i : i + 1],
                source.shapes_of_elements[i : i + 1],
                [(e[i],) for e in elements],
            )
            for i in range(len(source.types))
        )


class WindowDataset(DatasetOp):
    """Datasets of `size` elements each, one beginning `shift` elements behind the other."""

    input_dataset = Input(dtypes.variant)
    size = Input(dtypes.int64)
    shift = Input(dtypes.int64)
    stride = Input(dtypes.int64)
    drop_remainder = Input(dtypes.bool)
    handle = Output(dtypes.variant)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)

    def run(self, ctx: Any, source: Any, size: Any, shift: Any, stride: Any, drops: Any) -> Any:  # type: ignore[override]
        made = _Window(self.element_types, self.element_shapes, dataset_of(source))
        made.size = scalar_of(size, "size")
        made.shift = scalar_of(shift, "shift")
        made.stride = scalar_of(stride, "stride")
        made.drops = bool(drops)
        for name in ("size", "shift", "stride"):
            if getattr(made, name) <= 0:
                raise invalid(f"Window {name} must be greater than zero.")
        return made
