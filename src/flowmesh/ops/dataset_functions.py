"""Datasets that call functions: map, filter, flat_map, interleave, one after the other or several at a time."""

from __future__ import annotations

from collections import deque
from typing import Any

from flowmesh.core import dtypes, errors
from flowmesh.graph.op_def import Attr, HostContext, Input, Output
from flowmesh.ops.dataset_base import BoundFunction, Call, DatasetOp, dataset_of, invalid, scalar_of
from flowmesh.resources.datasets import (
    END,
    Dataset,
    DatasetIterator,
    Element,
    IterationContext,
    PrefetchIterator,
    UnaryIterator,
    run_in,
)

_AUTOMATIC = 4
"""How many calls go on at once where the program leaves it open."""


class Calls(Dataset):
    """A dataset that calls a function on the elements of its input."""

    def __init__(self, types: Any, shapes: Any, source: Dataset, function: BoundFunction) -> None:
        super().__init__(types, shapes, source)
        self.function = function
        self.waits = self.waits or function.waits


class Map(Calls):
    """The results of a function of each element, `parallel` calls at a time, in order."""

    parallel = 1

    def iterate(self, context: IterationContext) -> DatasetIterator:
        source = self.inputs[0].iterate(context)
        alone = self.parallel <= 1 or self.function.keeps_state
        if alone or (self.function.is_light and not self.function.waits):
            return _MapIterator(source, self.function.caller(context))
        return _ParallelMapIterator(source, self.function, self.parallel, context)


class _MapIterator(UnaryIterator):
    def __init__(self, source: DatasetIterator, call: Call) -> None:
        super().__init__(source)
        self._call = call
        self._over = False

    def next(self) -> Any:
        if self._over:
            return END
        element = self.source.next()
        if element is END:
            return END
        try:
            return self._call(element)
        except errors.OutOfRangeError:  # how a function ends the sequence
            self._over = True
            return END


class _ParallelMapIterator(UnaryIterator):
    """Keeps up to `parallel` calls under way in other threads; results come in the order of the elements."""

    def __init__(
        self,
        source: DatasetIterator,
        function: BoundFunction,
        parallel: int,
        context: IterationContext,
    ) -> None:
        super().__init__(source)
        self._start = function.starter(context)
        self._parallel = parallel
        self._context = context
        self._running: deque[Any] = deque()
        self._over = False

    def next(self) -> Any:
        self._fill()
        if not self._running:
            return END
        call = self._running.popleft()
        self._fill()
        try:
            if isinstance(call, errors.OpError):
                raise call
            return tuple(call.result().result())
        except errors.OutOfRangeError:
            self._over = True
            self._running.clear()
            return END

    def _fill(self) -> None:
        while not self._over and len(self._running) < self._parallel:
            try:
                element = self.source.next()
            except errors.OpError as error:
                self._running.append(error)
                continue
            if element is END:
                self._over = True
            else:
                self._running.append(run_in(self._context.background, self._work(element)))

    def _work(self, element: Element) -> Any:
        return lambda: self._start(element)


def make_map(op: DatasetOp, ctx: HostContext, source: Any, captured: Any, parallel: int) -> Map:
    """The dataset of a map op."""
    dataset = dataset_of(source)
    function = BoundFunction(ctx, op.attrs["f"], dataset.shapes_of_elements, captured)
    made = Map(op.element_types, op.element_shapes, dataset, function)
    made.parallel = parallel
    return made


def calls_at_once(value: Any) -> int:
    """The number in a `num_parallel_calls`."""
    parallel: int = scalar_of(value, "num_parallel_calls")
    if parallel == -1:
        return _AUTOMATIC
    if parallel <= 0:
        raise invalid("num_parallel_calls must be greater than zero.")
    return parallel


class MapDataset(DatasetOp):
    """`f` of each element."""

    input_dataset = Input(dtypes.variant)
    other_arguments = Input(types="Targuments")
    handle = Output(dtypes.variant)
    f = Attr("func")
    Targuments = Attr("list(type)", minimum=0)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)
    use_inter_op_parallelism = Attr("bool", True)
    preserve_cardinality = Attr("bool", False)

    def run(self, ctx: Any, source: Any, captured: Any) -> Any:  # type: ignore[override]
        return make_map(self, ctx, source, captured, 1)


class ParallelMapDataset(DatasetOp):
    """`f` of each element, up to `num_parallel_calls` at a time; the order is that of the elements."""

    input_dataset = Input(dtypes.variant)
    other_arguments = Input(types="Targuments")
    num_parallel_calls = Input(dtypes.int32)
    handle = Output(dtypes.variant)
    f = Attr("func")
    Targuments = Attr("list(type)", minimum=0)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)
    use_inter_op_parallelism = Attr("bool", True)
    sloppy = Attr("bool", False)
    preserve_cardinality = Attr("bool", False)

    def run(self, ctx: Any, source: Any, captured: Any, parallel: Any) -> Any:  # type: ignore[override]
        return make_map(self, ctx, source, captured, calls_at_once(parallel))


class _Filter(Calls):
    def iterate(self, context: IterationContext) -> DatasetIterator:
        return _FilterIterator(self.inputs[0].iterate(context), self.function.caller(context))


class _FilterIterator(UnaryIterator):
    def __init__(self, source: DatasetIterator, predicate: Call) -> None:
        super().__init__(source)
        self._predicate = predicate

    def next(self) -> Any:
        while True:
            element = self.source.next()
            if element is END:
                return END
            result = self._predicate(element)
            if len(result) != 1 or result[0].size != 1:
                raise invalid("Filter predicate `f` must return a scalar bool.")
            if result[0]:
                return element


class FilterDataset(DatasetOp):
    """The elements for which `predicate` is true."""

    input_dataset = Input(dtypes.variant)
    other_arguments = Input(types="Targuments")
    handle = Output(dtypes.variant)
    predicate = Attr("func")
    Targuments = Attr("list(type)", minimum=0)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)

    def run(self, ctx: Any, source: Any, captured: Any) -> Any:  # type: ignore[override]
        dataset = dataset_of(source)
        function = BoundFunction(ctx, self.attrs["predicate"], dataset.shapes_of_elements, captured)
        return _Filter(dataset.types, dataset.shapes_of_elements, dataset, function)


class TakeWhileDataset(DatasetOp):
    """The elements up to the first one for which `predicate` is false."""

    input_dataset = Input(dtypes.variant)
    other_arguments = Input(types="Targuments")
    handle = Output(dtypes.variant)
    predicate = Attr("func")
    Targuments = Attr("list(type)", minimum=0)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)

    def run(self, ctx: Any, source: Any, captured: Any) -> Any:  # type: ignore[override]
        dataset = dataset_of(source)
        function = BoundFunction(ctx, self.attrs["predicate"], dataset.shapes_of_elements, captured)
        return _TakeWhile(dataset.types, dataset.shapes_of_elements, dataset, function)


class _TakeWhile(Calls):
    def iterate(self, context: IterationContext) -> DatasetIterator:
        return _TakeWhileIterator(self.inputs[0].iterate(context), self.function.caller(context))


class _TakeWhileIterator(UnaryIterator):
    def __init__(self, source: DatasetIterator, predicate: Call) -> None:
        super().__init__(source)
        self._predicate = predicate
        self._over = False

    def next(self) -> Any:
        element = END if self._over else self.source.next()
        if element is END or self._predicate(element)[0]:
            return element
        self._over = True
        return END


def _inner(result: Element) -> Dataset:
    if len(result) != 1 or not isinstance(result[0], Dataset):
        raise invalid("`f` must return a single scalar of dtype DT_VARIANT.")
    return result[0]


class _FlatMap(Calls):
    def iterate(self, context: IterationContext) -> DatasetIterator:
        source = self.inputs[0].iterate(context)
        return _FlatMapIterator(source, self.function.caller(context), context)


class _FlatMapIterator(UnaryIterator):
    def __init__(self, source: DatasetIterator, call: Call, context: IterationContext) -> None:
        super().__init__(source)
        self._call = call
        self._context = context
        self._current: DatasetIterator | None = None

    def next(self) -> Any:
        while True:
            if self._current is None:
                element = self.source.next()
                if element is END:
                    return END
                self._current = _inner(self._call(element)).iterate(self._context)
            element = self._current.next()
            if element is not END:
                return element
            self._current.close()
            self._current = None

    def close(self) -> None:
        if self._current is not None:
            self._current.close()
        self.source.close()


class FlatMapDataset(DatasetOp):
    """The elements of the datasets that `f` makes of the elements."""

    input_dataset = Input(dtypes.variant)
    other_arguments = Input(types="Targuments")
    handle = Output(dtypes.variant)
    f = Attr("func")
    Targuments = Attr("list(type)", minimum=0)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)

    def run(self, ctx: Any, source: Any, captured: Any) -> Any:  # type: ignore[override]
        dataset = dataset_of(source)
        function = BoundFunction(ctx, self.attrs["f"], dataset.shapes_of_elements, captured)
        return _FlatMap(self.element_types, self.element_shapes, dataset, function)


class Interleave(Calls):
    """Elements of `cycle` datasets in turn, `block` of each."""

    cycle = 1
    block = 1
    ahead = 0
    """How many elements of each dataset are made in the background, where making them may have to wait."""
    refills = False
    """Whether a dataset that has ended is replaced at once, in its place."""

    def iterate(self, context: IterationContext) -> DatasetIterator:
        source = self.inputs[0].iterate(context)
        return _InterleaveIterator(source, self, context)


class _InterleaveIterator(UnaryIterator):
    def __init__(
        self, source: DatasetIterator, dataset: Interleave, context: IterationContext
    ) -> None:
        super().__init__(source)
        self._dataset = dataset
        self._call = dataset.function.caller(context)
        self._context = context
        self._slots: list[DatasetIterator | None] = [None] * dataset.cycle
        self._at = 0
        self._given = 0
        self._open = 0
        self._input_over = False

    def next(self) -> Any:
        while self._open or not self._input_over:
            current = self._slots[self._at]
            if current is None:
                if self._input_over:
                    self._turn()
                else:
                    self._fill(self._at)
                continue
            if self._dataset.ahead:
                self._fill_others()
            element = current.next()
            if element is not END:
                self._given += 1
                if self._given == self._dataset.block:
                    self._turn()
                return element
            current.close()
            self._slots[self._at] = None
            self._open -= 1
            if not self._dataset.refills:
                self._turn()
                continue
            given = self._given
            if not self._input_over:
                self._fill(self._at)
            filled = self._slots[self._at] is not None
            self._turn()
            self._given = 0 if filled else given
        return END

    def _turn(self) -> None:
        self._given = 0
        self._at = (self._at + 1) % self._dataset.cycle

    def _fill_others(self) -> None:
        """Begins with all of the cycle at once, so that they are made side by side."""
        for step in range(self._dataset.cycle):
            if self._input_over:
                return
            slot = (self._at + step) % self._dataset.cycle
            if self._slots[slot] is None:
                self._fill(slot)

    def _fill(self, slot: int) -> None:
        element = self.source.next()
        if element is END:
            self._input_over = True
            return
        dataset = _inner(self._call(element))
        iterator = dataset.iterate(self._context)
        if self._dataset.ahead and dataset.waits:
            iterator = PrefetchIterator(iterator, self._dataset.ahead, self._context)
        self._slots[slot] = iterator
        self._open += 1

    def close(self) -> None:
        for iterator in self._slots:
            if iterator is not None:
                iterator.close()
        self.source.close()


def _interleave(
    op: DatasetOp, ctx: HostContext, source: Any, captured: Any, cycle: Any, block: Any
) -> Interleave:
    dataset = dataset_of(source)
    function = BoundFunction(ctx, op.attrs["f"], dataset.shapes_of_elements, captured)
    made = Interleave(op.element_types, op.element_shapes, dataset, function)
    made.cycle, made.block = scalar_of(cycle, "cycle_length"), scalar_of(block, "block_length")
    if made.cycle == -1 and isinstance(op, ParallelInterleaveDatasetV2):
        made.cycle = _AUTOMATIC
    if made.cycle <= 0:
        raise invalid("cycle_length must be greater than zero.")
    if made.block <= 0:
        raise invalid("block_length must be greater than zero.")
    return made


class InterleaveDataset(DatasetOp):
    """Elements of the datasets that `f` makes, `cycle_length` of them in turn."""

    input_dataset = Input(dtypes.variant)
    other_arguments = Input(types="Targuments")
    cycle_length = Input(dtypes.int64)
    block_length = Input(dtypes.int64)
    handle = Output(dtypes.variant)
    f = Attr("func")
    Targuments = Attr("list(type)", minimum=0)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)

    def run(self, ctx: Any, source: Any, captured: Any, cycle: Any, block: Any) -> Any:  # type: ignore[override]
        return _interleave(self, ctx, source, captured, cycle, block)


class ParallelInterleaveDatasetV2(DatasetOp):
    """As InterleaveDataset; the datasets of a cycle are read side by side, `num_parallel_calls` at a time."""

    input_dataset = Input(dtypes.variant)
    other_arguments = Input(types="Targuments")
    cycle_length = Input(dtypes.int64)
    block_length = Input(dtypes.int64)
    num_parallel_calls = Input(dtypes.int64)
    handle = Output(dtypes.variant)
    f = Attr("func")
    Targuments = Attr("list(type)", minimum=0)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)
    sloppy = Attr("bool", False)

    def run(  # type: ignore[override]
        self, ctx: Any, source: Any, captured: Any, cycle: Any, block: Any, parallel: Any
    ) -> Any:
        made = _interleave(self, ctx, source, captured, cycle, block)
        if calls_at_once(parallel) > made.cycle and int(parallel) != -1:
            raise invalid(
                f"num_parallel_calls must less than or equal to cycle_length, but {int(parallel)} > {made.cycle}."
            )
        made.ahead = made.block
        return made


class _ParallelInterleave(DatasetOp, abstract=True):
    input_dataset = Input(dtypes.variant)
    other_arguments = Input(types="Targuments")
    cycle_length = Input(dtypes.int64)
    block_length = Input(dtypes.int64)
    sloppy = Input(dtypes.bool)
    buffer_output_elements = Input(dtypes.int64)
    prefetch_input_elements = Input(dtypes.int64)
    handle = Output(dtypes.variant)
    f = Attr("func")
    Targuments = Attr("list(type)", minimum=0)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)

    def run(  # type: ignore[override]
        self,
        ctx: Any,
        source: Any,
        captured: Any,
        cycle: Any,
        block: Any,
        sloppy: Any,
        ahead: Any,
        prefetch: Any,
    ) -> Any:
        made = _interleave(self, ctx, source, captured, cycle, block)
        made.ahead = scalar_of(ahead, "buffer_output_elements")
        if made.ahead <= 0:
            raise invalid("`buffer_output_elements` must be > 0")
        if scalar_of(prefetch, "prefetch_input_elements") < 0:
            raise invalid("`prefetch_input_elements` must be >= 0")
        made.refills = True
        return made


class ParallelInterleaveDataset(_ParallelInterleave):
    """Elements of the datasets that `f` makes, `cycle_length` of them in turn; one that ends is replaced in its place."""


class ExperimentalParallelInterleaveDataset(_ParallelInterleave):
    """An older name of ParallelInterleaveDataset."""
