"""`IteratorResource`: where a pipeline has got to, for all steps and sessions that take elements from it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from typing import Any

import numpy as np

from flowmesh.core import errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.dtypes import DType
from flowmesh.core.shapes import TensorShape
from flowmesh.resources.datasets import (
    END,
    NOT_YET,
    Dataset,
    DatasetIterator,
    IterationContext,
    PrefetchIterator,
)
from flowmesh.resources.manager import Resource
from flowmesh.resources.messages import dtype_string, shape_string

Background = Callable[[Callable[[], None]], None]


class _Request:
    """One wanted element."""

    __slots__ = ("cancellation", "future", "token")

    def __init__(self, cancellation: CancellationManager | None) -> None:
        self.future: Future[Any] = Future()
        self.cancellation = cancellation
        self.token: int | None = None

    def deliver(self, element: Any, error: BaseException | None) -> bool:
        """False when the request was cancelled before."""
        if self.cancellation is not None and self.token is not None:
            self.cancellation.deregister(self.token)
        try:
            if error is not None:
                self.future.set_exception(error)
            else:
                self.future.set_result(element)
        except InvalidStateError:
            return False
        return True


class IteratorResource(Resource):
    """The state of iterating through a dataset (TensorFlow: `tf.data.Iterator`). Thread-safe.

    Elements are given in the order in which they are asked for. Whoever asks makes the element, in his own thread, unless that may have to
    wait or somebody is at it already; nobody waits holding a thread of the executor. An element made for a step that was
    cancelled meanwhile is kept for the next one.
    """

    type_name = "N10tensorflow4data16IteratorResourceE"

    def __init__(
        self, name: str, types: Sequence[DType], shapes: Sequence[TensorShape], container: str = ""
    ) -> None:
        self.name = name
        self.container = container
        self.device = ""
        self.types = tuple(types)
        self.element_shapes = tuple(shapes)
        self._lock = threading.Lock()
        self._once = threading.Lock()
        self._line: deque[_Request] = deque()
        self._serving = False
        self._iterator: DatasetIterator | None = None
        self._context: IterationContext | None = None
        self._kept: list[tuple[Any, BaseException | None]] = []
        self._waits = False
        self._released = False

    # -- what it iterates over -----------------------------------------------------------------------

    def start(self, dataset: Dataset, background: Background) -> None:
        """Begins with the dataset, from its first element on; InvalidArgumentError when it does not fit."""
        self._check(dataset)
        context = IterationContext(background)
        iterator = dataset.iterate(context)
        with self._lock:
            before, old = self._iterator, self._context
            self._iterator, self._context = iterator, context
            self._waits = dataset.waits
            self._kept.clear()
        _end(before, old)

    def start_once(self, dataset: Dataset, background: Background) -> None:
        """Begins with the dataset unless there is one already."""
        with self._once:
            if not self.initialized:
                self.start(dataset, background)

    def _check(self, dataset: Dataset) -> None:
        if self._released:
            raise _gone(self.name)
        if len(dataset.types) != len(self.types):
            raise errors.InvalidArgumentError(
                None,
                None,
                f"Number of components does not match: expected {len(self.types)} types but got {len(dataset.types)}.",
            )
        for i, (wanted, got) in enumerate(zip(self.types, dataset.types)):
            if wanted != got:
                raise errors.InvalidArgumentError(
                    None,
                    None,
                    f"Data type mismatch at component {i}: expected {dtype_string(wanted)} but got {dtype_string(got)}.",
                )
        for i, (shape, found) in enumerate(zip(self.element_shapes, dataset.shapes_of_elements)):
            if not shape.is_compatible_with(found):
                raise errors.InvalidArgumentError(
                    None,
                    None,
                    f"Incompatible shapes at component {i}: expected {shape_string(shape)} but got {shape_string(found)}.",
                )

    @property
    def initialized(self) -> bool:
        """Whether there is a dataset."""
        return self._iterator is not None

    # -- elements ------------------------------------------------------------------------------------

    def get_next(self, cancellation: CancellationManager | None = None, here: bool = True) -> Any:
        """The next element, or a Future of it.

        `here`: whether this thread may be used to make it. OutOfRangeError behind the last element, FailedPreconditionError when there is no
        dataset yet, CancelledError when the resource is gone.
        """
        request: _Request | None = None
        with self._lock:
            iterator, context = self._iterator, self._context
            if self._released:
                raise _gone(self.name)
            if iterator is None or context is None:
                raise errors.FailedPreconditionError(
                    None,
                    None,
                    "GetNext() failed because the iterator has not been initialized. Ensure that you have run the initializer "
                    "operation for this iterator before getting the next element.",
                )
            at_once = not self._serving and here and not self._waits and not self._kept
            direct = at_once and type(iterator) is not PrefetchIterator
            if not direct:
                request = _Request(cancellation)
                self._line.append(request)
            serves = not self._serving
            self._serving = True
        if request is None:
            return self._make_here(iterator)
        if serves:
            if at_once or type(iterator) is PrefetchIterator:
                self._serve(request)
            else:
                context.background(self._serve)
        if cancellation is not None and not request.future.done():
            request.cancellation = cancellation
            request.token = cancellation.register(lambda _: self._cancel(request))
        return request.future

    def _make_here(self, iterator: DatasetIterator) -> Any:
        try:
            with np.errstate(all="ignore"):
                element = iterator.next()
        finally:
            self._pass_on()
        if element is END:
            raise _end_of_sequence()
        return element

    def _pass_on(self) -> None:
        """Lets another thread serve those who came meanwhile."""
        with self._lock:
            if not self._line:
                self._serving = False
                return
            context = self._context
        if context is not None:
            context.background(self._serve)

    def _serve(self, own: _Request | None = None) -> None:
        """Serves the line; with `own`, other threads serve what is behind that request. The caller has set `_serving`."""
        while True:
            with self._lock:
                if not self._line:
                    self._serving = False
                    return
                if own is not None and own.future.done():
                    context = self._context
                    break
                iterator = self._iterator
                kept = self._kept.pop(0) if self._kept else None
            element, error = kept if kept is not None else self._produce(iterator)
            if element is NOT_YET:
                return
            with self._lock:
                request = self._line.popleft() if self._line else None
            taken = request is not None and request.deliver(element, error)
            if not taken and not isinstance(error, errors.OutOfRangeError):
                self._keep(iterator, element, error)
        if context is not None:
            context.background(self._serve)

    def _keep(
        self, iterator: DatasetIterator | None, element: Any, error: BaseException | None
    ) -> None:
        with self._lock:
            if iterator is self._iterator:
                self._kept.append((element, error))

    def _produce(self, iterator: DatasetIterator | None) -> tuple[Any, BaseException | None]:
        try:
            if self._released or iterator is None:
                raise _gone(self.name)
            if type(iterator) is PrefetchIterator:
                element = iterator.try_next(self._serve)
            else:
                with np.errstate(all="ignore"):
                    element = iterator.next()
            if element is END:
                raise _gone(self.name) if self._released else _end_of_sequence()
        except BaseException as error:
            return None, error
        return element, None

    def _cancel(self, request: _Request) -> None:
        with self._lock:
            # The one at the head may be under way: its element is kept when it comes.
            if request in self._line and self._line[0] is not request:
                self._line.remove(request)
        request.deliver(
            None, errors.CancelledError(None, None, "IteratorGetNext operation was cancelled")
        )

    def release(self) -> None:
        """Stops all that goes on in the background; whoever waits gets a CancelledError."""
        with self._lock:
            self._released = True
            iterator, context = self._iterator, self._context
            self._iterator = self._context = None
            waiting = list(self._line)
            self._line.clear()
        _end(iterator, context)
        for request in waiting:
            request.deliver(None, _gone(self.name))


def _end(iterator: DatasetIterator | None, context: IterationContext | None) -> None:
    if context is not None:
        context.cancellation.cancel(
            errors.CancelledError(None, None, "The iterator was destroyed or initialized again")
        )
    if iterator is not None:
        iterator.close()


def _end_of_sequence() -> errors.OutOfRangeError:
    return errors.OutOfRangeError(None, None, "End of sequence")


def _gone(name: str) -> errors.CancelledError:
    return errors.CancelledError(None, None, f"The iterator {name} is gone: its session was closed")
