"""Datasets as values: recipes for sequences of elements, and the iterators that make them (no graph, no files).

An element is a tuple of component values. `DatasetIterator.next()` returns one, or END; what it raises belongs to that element alone, and
the next call goes on behind it. `next` is called by one thread at a time. Where it has to wait (a function that dequeues, a prefetch
that has nothing yet) it waits in the calling thread: `IteratorResource` sees to it that this is no thread of the executor.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeAlias

import numpy as np

from flowmesh.core import errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.dtypes import DType
from flowmesh.core.shapes import TensorShape
from flowmesh.resources.manager import Resource

Element: TypeAlias = tuple[Any, ...]


class _End:
    def __repr__(self) -> str:
        return "END"


END: Any = _End()
"""What `next` returns behind the last element."""
NOT_YET: Any = object()
"""What `try_next` returns when there is nothing yet."""


class IterationContext:
    """What the iterators of one pipeline share: cancellation, and where work in the background goes."""

    def __init__(
        self,
        background: Callable[[Callable[[], None]], None],
        cancellation: CancellationManager | None = None,
    ) -> None:
        """`background(job)` has a job run by another thread."""
        self.background = background
        self.cancellation = cancellation or CancellationManager()
        self.kept: dict[Any, Any] = {}
        """What belongs to the pipeline as a whole: random states of functions go on from one pass to the next."""


class Dataset(Resource):
    """A recipe for elements with `types` and (partial) `shapes`; immutable."""

    type_name = "Dataset"
    waits = False
    """Whether making an element may have to wait, or calls the program's own code."""

    def __init__(
        self, types: Sequence[DType], shapes: Sequence[TensorShape], *inputs: Dataset
    ) -> None:
        self.types = tuple(types)
        self.shapes_of_elements = tuple(shapes)
        self.inputs = inputs
        if any(source.waits for source in inputs):
            self.waits = True

    def iterate(self, context: IterationContext) -> DatasetIterator:
        """An iterator over the elements from the first one on."""
        raise NotImplementedError


class DatasetIterator:
    """Makes the elements of a dataset one after the other."""

    def next(self) -> Any:
        """The next element, or END; after END, END again."""
        raise NotImplementedError

    def next_rows(self, count: int) -> Any:
        """The next `count` elements, each component in one array, where they lie side by side already; None, with nothing taken,
        where they have to be taken one by one."""
        return None

    def close(self) -> None:
        """Gives back files and stops what runs in the background."""


class UnaryIterator(DatasetIterator):
    """Over one input, which is closed with it."""

    def __init__(self, source: DatasetIterator) -> None:
        self.source = source

    def close(self) -> None:
        self.source.close()


class Elements(Dataset):
    """Elements that are there already."""

    def __init__(
        self, types: Sequence[DType], shapes: Sequence[TensorShape], elements: Sequence[Element]
    ) -> None:
        super().__init__(types, shapes)
        self.elements = elements

    def iterate(self, context: IterationContext) -> DatasetIterator:
        return _ElementsIterator(self.elements)


class _ElementsIterator(DatasetIterator):
    def __init__(self, elements: Sequence[Element]) -> None:
        self._elements = iter(elements)

    def next(self) -> Any:
        return next(self._elements, END)


class Prefetch(Dataset):
    """The elements of the input, made in the background before they are asked for, at most `size` ahead."""

    def __init__(self, source: Dataset, size: int) -> None:
        super().__init__(source.types, source.shapes_of_elements, source)
        self.size = size

    def iterate(self, context: IterationContext) -> DatasetIterator:
        return PrefetchIterator(self.inputs[0].iterate(context), self.size, context)


class PrefetchIterator(DatasetIterator):
    """Fills a bounded buffer by jobs in the background; no thread is held while the buffer is full.

    A job starts when the buffer has become half empty, so that threads do not change for each single element.
    """

    def __init__(self, source: DatasetIterator, size: int, context: IterationContext) -> None:
        self._source = source
        self._size = size
        self._context = context
        self._condition = threading.Condition()
        self._buffer: deque[tuple[Any, BaseException | None]] = deque()
        self._filling = False
        self._ended = False
        self._closed = False
        self._ready: Callable[[], None] | None = None
        self._token = context.cancellation.register(self._cancelled)

    def try_next(self, ready: Callable[[], None]) -> Any:
        """The next element, END, or NOT_YET: then `ready()` is called, by another thread, when there is one."""
        with self._condition:
            if not self._buffer:
                if self._ended or self._closed:
                    return END
                self._ready = ready
                self._start()
                return NOT_YET
            return self._take()

    def next(self) -> Any:
        with self._condition:
            while not self._buffer:
                if self._context.cancellation.cancelled:
                    self._context.cancellation.check()
                if self._ended or self._closed:
                    return END
                self._start()
                self._condition.wait()
            return self._take()

    def _take(self) -> Any:
        """The first of the buffer. Called with the lock held."""
        element, error = self._buffer.popleft()
        if len(self._buffer) <= self._size // 2:
            self._start()
        if error is not None:
            raise error
        return element

    def _start(self) -> None:
        if not (self._filling or self._ended or self._closed):
            self._filling = True
            self._context.background(self._fill)

    def _fill(self) -> None:
        while True:
            element, error = END, None
            try:
                with np.errstate(all="ignore"):
                    element = self._source.next()
            except BaseException as found:
                error = found
            with self._condition:
                if error is None and element is END:
                    self._ended = True
                elif not self._closed:
                    self._buffer.append((element, error))
                full = len(self._buffer) >= max(1, self._size)
                stop = full or self._ended or self._closed
                if stop:
                    self._filling = False
                ready, self._ready = self._ready, None
                self._condition.notify_all()
                closes = stop and self._closed
            if closes:
                self._source.close()
            if ready is not None:
                ready()
            if stop:
                return

    def _cancelled(self, error: errors.OpError) -> None:
        with self._condition:
            self._condition.notify_all()

    def close(self) -> None:
        self._context.cancellation.deregister(self._token)
        with self._condition:
            if self._closed:
                return
            self._closed = True
            self._buffer.clear()
            ready, self._ready = self._ready, None
            self._condition.notify_all()
            busy = self._filling
        if not busy:
            self._source.close()
        if ready is not None:
            ready()


def run_in(
    background: Callable[[Callable[[], None]], None], work: Callable[[], Any]
) -> Future[Any]:
    """The result of `work()`, which another thread does."""
    future: Future[Any] = Future()

    def job() -> None:
        try:
            with np.errstate(all="ignore"):
                future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    background(job)
    return future
