"""Datasets from tensors, ranges and Python generators."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core import dtypes, errors
from flowmesh.core.shapes import TensorShape, scalar
from flowmesh.graph.op_def import Attr, Input, Output, type_attr
from flowmesh.ops.dataset_base import BoundFunction, DatasetOp, invalid, scalar_of
from flowmesh.resources.datasets import END, Dataset, DatasetIterator, Elements, IterationContext


class TensorDataset(DatasetOp):
    """One element: the tensors themselves."""

    components = Input(types="Toutput_types")
    handle = Output(dtypes.variant)
    Toutput_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)
    stateful = True

    def run(self, ctx: Any, components: Any) -> Any:  # type: ignore[override]
        return Elements(self.element_types, self.element_shapes, [tuple(components)])


class _Slices(Dataset):
    def __init__(self, types: Any, shapes: Any, components: Any) -> None:
        super().__init__(types, shapes)
        self.components = components

    def iterate(self, context: IterationContext) -> DatasetIterator:
        return _SlicesIterator(self.components)


class _SlicesIterator(DatasetIterator):
    def __init__(self, components: Any) -> None:
        self._components = components
        self._at = 0
        self._size = len(components[0])

    def next(self) -> Any:
        at = self._at
        if at >= self._size:
            return END
        self._at = at + 1
        return tuple([c[at, ...] for c in self._components])

    def next_rows(self, count: int) -> Any:
        at = self._at
        if at + count > self._size:
            return None
        self._at = at + count
        return tuple([c[at : at + count] for c in self._components])


class TensorSliceDataset(DatasetOp):
    """The rows of tensors."""

    components = Input(types="Toutput_types")
    handle = Output(dtypes.variant)
    Toutput_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)
    stateful = True

    def run(self, ctx: Any, components: Any) -> Any:  # type: ignore[override]
        sizes = {c.shape[0] if c.ndim else None for c in components}
        if None in sizes:
            raise invalid("All components must be at least 1-dimensional")
        if len(sizes) != 1:
            raise invalid("All components must have the same size in the 0th dimension")
        return _Slices(self.element_types, self.element_shapes, components)


class SparseTensorSliceDataset(DatasetOp):
    """The rows of a sparse tensor: (indices, values, dense_shape) of each."""

    indices = Input(dtypes.int64)
    values = Input("Tvalues")
    dense_shape = Input(dtypes.int64)
    handle = Output(dtypes.variant)
    Tvalues = type_attr()
    stateful = True

    def run(self, ctx: Any, indices: Any, values: Any, dense_shape: Any) -> Any:  # type: ignore[override]
        if np.any(np.diff(indices[:, 0]) < 0):
            raise errors.UnimplementedError(
                None,
                None,
                "The SparseTensor must be ordered in the batch dimension; handling arbitrarily ordered input is not currently supported.",
            )
        rank = len(dense_shape)
        shape = dense_shape[1:]
        rows = []
        for row in range(int(dense_shape[0])):
            low, high = np.searchsorted(indices[:, 0], [row, row + 1])
            rows.append((indices[low:high, 1:], values[low:high], shape))
        types = (dtypes.int64, self.attrs["Tvalues"], dtypes.int64)
        shapes = (TensorShape([None, rank - 1]), TensorShape([None]), TensorShape([rank - 1]))
        return Elements(types, shapes, rows)


class _Range(Dataset):
    def __init__(self, start: int, stop: int, step: int, dtype: Any) -> None:
        super().__init__((dtype,), (scalar(),))
        self.numbers = range(start, stop, step)
        self.dtype = dtype.as_numpy_dtype

    def iterate(self, context: IterationContext) -> DatasetIterator:
        return _RangeIterator(iter(self.numbers), self.dtype)


class _RangeIterator(DatasetIterator):
    def __init__(self, numbers: Any, dtype: Any) -> None:
        self._numbers = numbers
        self._dtype = dtype

    def next(self) -> Any:
        for number in self._numbers:
            return (np.array(number, self._dtype),)
        return END


class RangeDataset(DatasetOp):
    """The numbers from `start` up to `stop`."""

    start = Input(dtypes.int64)
    stop = Input(dtypes.int64)
    step = Input(dtypes.int64)
    handle = Output(dtypes.variant)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)
    stateful = True

    def run(self, ctx: Any, start: Any, stop: Any, step: Any) -> Any:  # type: ignore[override]
        by = scalar_of(step, "step")
        if by == 0:
            raise invalid("step must be a non-zero integer.")
        return _Range(scalar_of(start, "start"), scalar_of(stop, "stop"), by, self.element_types[0])


class _Generator(Dataset):
    waits = True

    def __init__(self, types: Any, shapes: Any, functions: tuple[BoundFunction, ...]) -> None:
        super().__init__(types, shapes)
        self.functions = functions

    def iterate(self, context: IterationContext) -> DatasetIterator:
        return _GeneratorIterator(self.functions, context)


class _GeneratorIterator(DatasetIterator):
    """Calls `init` once, `next` for each element, `finalize` at the end."""

    def __init__(self, functions: tuple[BoundFunction, ...], context: IterationContext) -> None:
        init, following, finalize = functions
        self._init = init.caller(context)
        self._next = following.caller(context)
        # What finalizes runs when the iterator is destroyed, which cancels everything else.
        self._finalize = finalize.caller(IterationContext(context.background))
        self._state: Any = None
        self._over = False

    def next(self) -> Any:
        if self._over:
            return END
        if self._state is None:
            self._state = self._init(())
        try:
            return self._next(self._state)
        except errors.OutOfRangeError:
            self._over = True
            self._finalize(self._state)
            return END

    def close(self) -> None:
        if self._state is not None and not self._over:
            self._over = True
            self._finalize(self._state)


class GeneratorDataset(DatasetOp):
    """The results of a function that is called until it raises OutOfRangeError."""

    init_func_other_args = Input(types="Tinit_func_args")
    next_func_other_args = Input(types="Tnext_func_args")
    finalize_func_other_args = Input(types="Tfinalize_func_args")
    handle = Output(dtypes.variant)
    init_func = Attr("func")
    next_func = Attr("func")
    finalize_func = Attr("func")
    Tinit_func_args = Attr("list(type)", minimum=0)
    Tnext_func_args = Attr("list(type)", minimum=0)
    Tfinalize_func_args = Attr("list(type)", minimum=0)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)
    stateful = True

    def run(self, ctx: Any, init: Any, following: Any, finalize: Any) -> Any:  # type: ignore[override]
        first = BoundFunction(ctx, self.attrs["init_func"], [], init)
        unknown = [TensorShape(None)] * len(first.output_types)
        functions = (
            first,
            BoundFunction(ctx, self.attrs["next_func"], unknown, following),
            BoundFunction(ctx, self.attrs["finalize_func"], unknown, finalize),
        )
        return _Generator(self.element_types, self.element_shapes, functions)
