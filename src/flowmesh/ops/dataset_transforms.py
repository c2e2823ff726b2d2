"""Datasets that pass on elements of others as they are: repeat, take, skip, shard, concatenate, zip, cache, prefetch ..."""

from __future__ import annotations

import threading
from typing import Any

from flowmesh.core import dtypes, errors
from flowmesh.graph.op_def import Attr, Input, Output
from flowmesh.ops.dataset_base import DatasetOp, dataset_of, invalid, scalar_of, text_of
from flowmesh.ops.dataset_batch import joined
from flowmesh.ops.dataset_cache_files import FileCache
from flowmesh.ops.dataset_shuffle import fused
from flowmesh.resources.datasets import (
    END,
    Dataset,
    DatasetIterator,
    Element,
    IterationContext,
    Prefetch,
    UnaryIterator,
)


class _Same(Dataset):
    """Elements of the types and shapes of its one input."""

    def __init__(self, source: Dataset, shapes: Any = None) -> None:
        super().__init__(source.types, shapes or source.shapes_of_elements, source)


class Repeat(_Same):
    """The input `count` times; -1: for ever."""

    def __init__(self, source: Dataset, count: int) -> None:
        super().__init__(source)
        self.count = count

    def iterate(self, context: IterationContext) -> DatasetIterator:
        return _RepeatIterator(self.inputs[0], self.count, context)


class _RepeatIterator(DatasetIterator):
    def __init__(self, dataset: Dataset, count: int, context: IterationContext) -> None:
        self._dataset = dataset
        self._left = count
        self._context = context
        self._source: DatasetIterator | None = None

    def next(self) -> Any:
        while self._left:
            made = self._source is None
            if self._source is None:
                self._source = self._dataset.iterate(self._context)
            element = self._source.next()
            if element is not END:
                return element
            self._source.close()
            self._source = None
            if self._left > 0:
                self._left -= 1
            elif made:  # an empty input repeated for ever is empty
                self._left = 0
        return END

    def close(self) -> None:
        if self._source is not None:
            self._source.close()


class RepeatDataset(DatasetOp):
    """The elements of the input, `count` times (-1: for ever)."""

    input_dataset = Input(dtypes.variant)
    count = Input(dtypes.int64)
    handle = Output(dtypes.variant)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)

    def run(self, ctx: Any, source: Any, count: Any) -> Any:  # type: ignore[override]
        return Repeat(dataset_of(source), max(-1, scalar_of(count, "count")))


class _Take(_Same):
    def __init__(self, source: Dataset, count: int) -> None:
        super().__init__(source)
        self.count = count

    def iterate(self, context: IterationContext) -> DatasetIterator:
        return _TakeIterator(self.inputs[0].iterate(context), self.count)


class _TakeIterator(UnaryIterator):
    def __init__(self, source: DatasetIterator, count: int) -> None:
        super().__init__(source)
        self._left = count

    def next(self) -> Any:
        if not self._left:
            return END
        element = self.source.next()
        self._left = 0 if element is END else self._left - 1
        return element


class TakeDataset(DatasetOp):
    """The first `count` elements (-1: all)."""

    input_dataset = Input(dtypes.variant)
    count = Input(dtypes.int64)
    handle = Output(dtypes.variant)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)

    def run(self, ctx: Any, source: Any, count: Any) -> Any:  # type: ignore[override]
        return _Take(dataset_of(source), scalar_of(count, "count"))


class _Skip(_Same):
    def __init__(self, source: Dataset, count: int) -> None:
        super().__init__(source)
        self.count = count

    def iterate(self, context: IterationContext) -> DatasetIterator:
        return _SkipIterator(self.inputs[0].iterate(context), self.count)


class _SkipIterator(UnaryIterator):
    def __init__(self, source: DatasetIterator, count: int) -> None:
        super().__init__(source)
        self._left = count

    def next(self) -> Any:
        if self._left < 0:
            return END
        while self._left:
            self._left -= 1
            if self.source.next() is END:
                self._left = -1
                return END
        return self.source.next()


class SkipDataset(DatasetOp):
    """All but the first `count` elements (-1: none)."""

    input_dataset = Input(dtypes.variant)
    count = Input(dtypes.int64)
    handle = Output(dtypes.variant)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)

    def run(self, ctx: Any, source: Any, count: Any) -> Any:  # type: ignore[override]
        return _Skip(dataset_of(source), scalar_of(count, "count"))


class _Shard(_Same):
    def __init__(self, source: Dataset, shards: int, index: int, require: bool) -> None:
        super().__init__(source)
        self.shards, self.index, self.require = shards, index, require

    def iterate(self, context: IterationContext) -> DatasetIterator:
        return _ShardIterator(self.inputs[0].iterate(context), self)


class _ShardIterator(UnaryIterator):
    def __init__(self, source: DatasetIterator, shard: _Shard) -> None:
        super().__init__(source)
        self._shard = shard
        self._at = 0
        self._given = False

    def next(self) -> Any:
        shard = self._shard
        while True:
            element = self.source.next()
            if element is END:
                if shard.require and not self._given and self._at <= shard.index:
                    raise invalid(
                        f"There aren't enough elements in this dataset for each shard to have at least one element (# elems = {self._at}, # shards = {shard.shards})."
                    )
                return END
            mine = self._at % shard.shards == shard.index
            self._at += 1
            if mine:
                self._given = True
                return element


class ShardDataset(DatasetOp):
    """Each `num_shards`-th element, from number `index` on."""

    input_dataset = Input(dtypes.variant)
    num_shards = Input(dtypes.int64)
    index = Input(dtypes.int64)
    handle = Output(dtypes.variant)
    require_non_empty = Attr("bool", False)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)

    def run(self, ctx: Any, source: Any, num_shards: Any, index: Any) -> Any:  # type: ignore[override]
        shards, number = scalar_of(num_shards, "num_shards"), scalar_of(index, "index")
        if shards <= 0:
            raise invalid(
                f"Number of shards must be greater than zero (currently num_shards = {shards})."
            )
        if not 0 <= number < shards:
            raise invalid(f"Index must be between 0 and {shards - 1} (currently index = {number}).")
        return _Shard(dataset_of(source), shards, number, self.attrs["require_non_empty"])


class _Concatenate(Dataset):
    def iterate(self, context: IterationContext) -> DatasetIterator:
        return _ConcatenateIterator(self.inputs, context)


class _ConcatenateIterator(DatasetIterator):
    def __init__(self, datasets: tuple[Dataset, ...], context: IterationContext) -> None:
        self._left = list(datasets[1:])
        self._context = context
        self._source = datasets[0].iterate(context)

    def next(self) -> Any:
        while True:
            element = self._source.next()
            if element is not END or not self._left:
                return element
            self._source.close()
            self._source = self._left.pop(0).iterate(self._context)

    def close(self) -> None:
        self._source.close()


class ConcatenateDataset(DatasetOp):
    """The elements of one dataset, then those of another."""

    input_dataset = Input(dtypes.variant)
    another_dataset = Input(dtypes.variant)
    handle = Output(dtypes.variant)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)

    def run(self, ctx: Any, first: Any, second: Any) -> Any:  # type: ignore[override]
        a, b = dataset_of(first), dataset_of(second)
        if a.types != b.types:
            raise invalid("input dataset and dataset to concatenate have different output_types")
        return _Concatenate(self.element_types, self.element_shapes, a, b)


class _Zip(Dataset):
    def iterate(self, context: IterationContext) -> DatasetIterator:
        return _ZipIterator([source.iterate(context) for source in self.inputs])


class _ZipIterator(DatasetIterator):
    def __init__(self, sources: list[DatasetIterator]) -> None:
        self._sources = sources
        self._over = False

    def next(self) -> Any:
        if self._over:
            return END
        element: Element = ()
        for source in self._sources:
            part = source.next()
            if part is END:
                self._over = True
                return END
            element += part
        return element

    def close(self) -> None:
        for source in self._sources:
            source.close()


class ZipDataset(DatasetOp):
    """Elements of several datasets side by side, as long as all have one."""

    input_datasets = Input(dtypes.variant, number="N")
    handle = Output(dtypes.variant)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)
    N = Attr("int", minimum=1)

    def run(self, ctx: Any, sources: Any) -> Any:  # type: ignore[override]
        return _Zip(self.element_types, self.element_shapes, *map(dataset_of, sources))


class PrefetchDataset(DatasetOp):
    """Elements that are made in the background, `buffer_size` ahead (-1: as many as seem good)."""

    input_dataset = Input(dtypes.variant)
    buffer_size = Input(dtypes.int64)
    handle = Output(dtypes.variant)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)
    slack_period = Attr("int", 0)
    legacy_autotune = Attr("bool", True)

    def run(self, ctx: Any, source: Any, buffer_size: Any) -> Any:  # type: ignore[override]
        size = scalar_of(buffer_size, "buffer_size")
        if size < -1:
            raise invalid("buffer_size must be >= 0 or set buffer_size to be -1 for auto-tuning")
        dataset = dataset_of(source)
        return Prefetch(dataset, _AUTOMATIC if size < 0 else size) if size else dataset


_AUTOMATIC = 8
"""What is prefetched where the program leaves it open."""


class ModelDataset(DatasetOp):
    """The input itself: how many threads are used follows from the pipeline, not from measurements."""

    input_dataset = Input(dtypes.variant)
    handle = Output(dtypes.variant)
    algorithm = Attr("int", 0)
    cpu_budget = Attr("int", 0)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)

    def run(self, ctx: Any, source: Any) -> Any:  # type: ignore[override]
        return dataset_of(source)


class OptimizeDataset(DatasetOp):
    """The input with a shuffle and the repeat behind it made one, which changes the order as in TensorFlow, and a map with the batch
    behind it."""

    input_dataset = Input(dtypes.variant)
    optimizations = Input(dtypes.string)
    handle = Output(dtypes.variant)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)
    optimization_configs = Attr("list(string)", ())

    def run(self, ctx: Any, source: Any, optimizations: Any) -> Any:  # type: ignore[override]
        dataset, names = dataset_of(source), list(optimizations)
        if b"shuffle_and_repeat_fusion" in names:
            dataset = fused(dataset, Repeat)
        return joined(dataset) if b"map_and_batch_fusion" in names else dataset


class _Hint(DatasetOp, abstract=True):
    input_dataset = Input(dtypes.variant)

    def run(self, ctx: Any, source: Any, number: Any) -> Any:  # type: ignore[override]
        return dataset_of(source)


class MaxIntraOpParallelismDataset(_Hint):
    """The input itself."""

    max_intra_op_parallelism = Input(dtypes.int64)
    handle = Output(dtypes.variant)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)


class PrivateThreadPoolDataset(_Hint):
    """The input itself."""

    num_threads = Input(dtypes.int64)
    handle = Output(dtypes.variant)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)


class _MemoryCache(_Same):
    """Keeps the elements of the first complete pass for all later ones."""

    def __init__(self, source: Dataset) -> None:
        super().__init__(source)
        self.lock = threading.Lock()
        self.kept: list[Element] | None = None

    def iterate(self, context: IterationContext) -> DatasetIterator:
        return _MemoryCacheIterator(self, context)


class _MemoryCacheIterator(DatasetIterator):
    def __init__(self, cache: _MemoryCache, context: IterationContext) -> None:
        self._cache = cache
        self._kept = cache.kept
        self._source = None if self._kept is not None else cache.inputs[0].iterate(context)
        self._elements: list[Element] = []
        self._at = 0

    def next(self) -> Any:
        if self._kept is not None:
            at, self._at = self._at, self._at + 1
            return self._kept[at] if at < len(self._kept) else END
        assert self._source is not None
        element = self._source.next()
        if element is not END:
            self._elements.append(element)
            return element
        with self._cache.lock:
            if self._cache.kept is None:
                self._cache.kept = self._elements
        self._kept, self._at = self._elements, len(self._elements)
        return END

    def close(self) -> None:
        if self._source is not None:
            self._source.close()


class CacheDataset(DatasetOp):
    """The elements of the input, kept in memory or in a file after the first pass."""

    input_dataset = Input(dtypes.variant)
    filename = Input(dtypes.string)
    handle = Output(dtypes.variant)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)

    def run(self, ctx: Any, source: Any, filename: Any) -> Any:  # type: ignore[override]
        dataset, path = dataset_of(source), text_of(filename, "filename")
        if path:
            return FileCache(dataset, path, ctx.files)
        return _MemoryCache(dataset)


class _IgnoreErrors(_Same):
    def iterate(self, context: IterationContext) -> DatasetIterator:
        return _IgnoreErrorsIterator(self.inputs[0].iterate(context))


class _IgnoreErrorsIterator(UnaryIterator):
    def next(self) -> Any:
        while True:
            try:
                return self.source.next()
            except errors.CancelledError:
                raise
            except errors.OpError:
                continue


class IgnoreErrorsDataset(DatasetOp):
    """The elements that can be made; those that raise are left out."""

    input_dataset = Input(dtypes.variant)
    handle = Output(dtypes.variant)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)

    def run(self, ctx: Any, source: Any) -> Any:  # type: ignore[override]
        return _IgnoreErrors(dataset_of(source))
