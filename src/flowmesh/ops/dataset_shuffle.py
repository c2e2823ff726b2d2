"""Shuffling through a bounded buffer, with TensorFlow's random numbers: equal seeds give its order.

The buffer is a ring cut into slices, one for each epoch that has elements in it. An element is drawn from the oldest slice; where
it lay goes the first element of that slice. A shuffle with a repeat behind it is one (`ShuffleAndRepeatDataset`): the buffer
takes elements of the next epoch before the one before is given out.
"""

from __future__ import annotations

import copy
import os
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

from flowmesh.core import dtypes
from flowmesh.graph.op_def import Attr, Input, Output
from flowmesh.ops.dataset_base import DatasetOp, dataset_of, invalid, scalar_of
from flowmesh.ops.queue_ops import random_words
from flowmesh.resources.datasets import END, Dataset, DatasetIterator, Element, IterationContext


class Shuffle(Dataset):
    """The elements of `count` passes over the input in random order."""

    def __init__(
        self, source: Dataset, size: int, seeds: tuple[int, int], reshuffles: bool, count: int = 1
    ) -> None:
        super().__init__(source.types, source.shapes_of_elements, source)
        self.size = size
        self.seeds = _chosen(seeds)
        self.reshuffles = reshuffles
        self.count = count
        self._words = random_words(*self.seeds)
        self._lock = threading.Lock()

    def iterate(self, context: IterationContext) -> DatasetIterator:
        seeds = self.seeds
        if self.reshuffles:
            with self._lock:
                seeds = (next(self._words), next(self._words))
        return _ShuffleIterator(self, random_words(*seeds), context)


def _chosen(seeds: tuple[int, int]) -> tuple[int, int]:
    """The seeds, or seeds by chance where they say nothing."""
    if seeds != (0, 0):
        return seeds
    first = int.from_bytes(os.urandom(7)) | 1
    return first, int.from_bytes(os.urandom(7))


class _ShuffleIterator(DatasetIterator):
    def __init__(self, dataset: Shuffle, words: Iterator[int], context: IterationContext) -> None:
        self._dataset = dataset
        self._words = words
        self._context = context
        self._source: DatasetIterator | None = None
        self._buffer: list[Element | None] = [None] * min(dataset.size, 1024)
        self._slices: deque[list[int]] = deque([[0, 0]])
        self._held = 0
        self._epoch = 0
        self._started = False
        self._over = False

    def next(self) -> Any:
        size = self._dataset.size
        while not self._over and self._held < size:
            element = self._input()
            if element is END:
                break
            end = self._slices[-1][1]
            self._put(end % size, element)
            self._slices[-1][1] = end + 1
            self._held += 1
        if not self._held:
            return END
        slices = self._slices
        while slices[0][0] == slices[0][1]:
            slices.popleft()
        first = slices[0]
        start, end = first
        index = (start + next(self._words) % (end - start)) % size
        buffer = self._buffer
        element = buffer[index]
        buffer[index] = buffer[start % size]
        buffer[start % size] = None
        first[0] = start + 1
        self._held -= 1
        return element

    def _put(self, index: int, element: Element) -> None:
        buffer = self._buffer
        if index >= len(buffer):
            buffer.extend([None] * min(len(buffer), self._dataset.size - len(buffer)))
        buffer[index] = element

    def _input(self) -> Any:
        """The next element of this pass, or of the next one; END behind the last pass."""
        dataset = self._dataset
        if not self._started:
            self._started = True
            self._source = dataset.inputs[0].iterate(self._context)
        first = self._epoch == 0 and self._slices[-1] == [0, 0]
        while dataset.count < 0 or self._epoch < dataset.count:
            assert self._source is not None
            element = self._source.next()
            if element is not END:
                return element
            if first and dataset.count < 0:
                break
            self._epoch += 1
            end = self._slices[-1][1]
            self._slices.append([end, end])
            self._source.close()
            self._source = dataset.inputs[0].iterate(self._context)
        self._over = True
        if self._source is not None:
            self._source.close()
            self._source = None
        return END

    def close(self) -> None:
        if self._source is not None:
            self._source.close()


def fused(dataset: Dataset, repeat: type[Dataset]) -> Dataset:
    """The dataset with each reshuffling shuffle that is the input of a `repeat` joined with it, here and in its inputs."""
    inputs = tuple(fused(source, repeat) for source in dataset.inputs)
    if inputs != dataset.inputs:
        dataset = copy.copy(dataset)
        dataset.inputs = inputs
    if type(dataset) is repeat:
        (inner,) = inputs
        if type(inner) is Shuffle and inner.reshuffles and inner.count == 1:
            count: int = dataset.count  # type: ignore[attr-defined]  # a Repeat's
            return Shuffle(inner.inputs[0], inner.size, inner.seeds, False, count)
    return dataset


def _size(value: Any) -> int:
    size: int = scalar_of(value, "buffer_size")
    if size <= 0:
        raise invalid("buffer_size must be greater than zero.")
    return size


class ShuffleDataset(DatasetOp):
    """The elements in random order."""

    input_dataset = Input(dtypes.variant)
    buffer_size = Input(dtypes.int64)
    seed = Input(dtypes.int64)
    seed2 = Input(dtypes.int64)
    handle = Output(dtypes.variant)
    reshuffle_each_iteration = Attr("bool", True)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)

    def run(self, ctx: Any, source: Any, buffer_size: Any, seed: Any, seed2: Any) -> Any:  # type: ignore[override]
        seeds = (scalar_of(seed, "seed"), scalar_of(seed2, "seed2"))
        again = self.attrs["reshuffle_each_iteration"]
        return Shuffle(dataset_of(source), _size(buffer_size), seeds, again)


class ShuffleAndRepeatDataset(DatasetOp):
    """The elements of `count` passes over the input (-1: for ever) in random order."""

    input_dataset = Input(dtypes.variant)
    buffer_size = Input(dtypes.int64)
    seed = Input(dtypes.int64)
    seed2 = Input(dtypes.int64)
    count = Input(dtypes.int64)
    handle = Output(dtypes.variant)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)

    def run(  # type: ignore[override]
        self, ctx: Any, source: Any, buffer_size: Any, seed: Any, seed2: Any, count: Any
    ) -> Any:
        passes = scalar_of(count, "count")
        if not (passes > 0 or passes == -1):
            raise invalid("count must be greater than zero or equal to -1.")
        seeds = (scalar_of(seed, "seed"), scalar_of(seed2, "seed2"))
        return Shuffle(dataset_of(source), _size(buffer_size), seeds, False, passes)
