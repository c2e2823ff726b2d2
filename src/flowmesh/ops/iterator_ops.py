"""Iterators: resources that give the elements of a dataset, one for each step that asks."""

from __future__ import annotations

import os
from concurrent.futures import Future
from typing import Any

import numpy as np

from flowmesh.core import dtypes, errors
from flowmesh.core.shapes import scalar
from flowmesh.formats import resource_handle
from flowmesh.graph.op_def import Attr, HostContext, Input, Output
from flowmesh.ops.dataset_base import BoundFunction, DatasetOp, dataset_of, invalid
from flowmesh.ops.dataset_files import string_element
from flowmesh.ops.io_ops import matching_paths, string_scalar
from flowmesh.ops.queue_ops import checked_handle, private_name
from flowmesh.resources.datasets import END, Elements, IterationContext
from flowmesh.resources.iterator import IteratorResource


def _iterator(handle: Any) -> IteratorResource:
    iterator: IteratorResource = checked_handle(handle, IteratorResource)
    return iterator


class _Source(DatasetOp, abstract=True):
    """An op that makes an iterator, or finds the one of its shared name."""

    stateful = True
    finds_resource = True

    def _find(self, ctx: HostContext) -> IteratorResource:
        shared = self.attrs["shared_name"].decode()
        container = self.attrs["container"].decode() or ctx.container
        if shared:
            found: IteratorResource = ctx.resources.lookup_or_create(
                container, shared, IteratorResource, lambda: self._make(ctx, shared, container)
            )
            if found.types != self.element_types:
                raise invalid(
                    f"The iterator '{shared}' is shared, and has elements of types {[t.name for t in found.types]}, not "
                    f"{[t.name for t in self.element_types]}"
                )
            return found
        known: IteratorResource | None = ctx.state.get("iterator")
        if known is None:
            name = private_name(ctx.name)
            known = ctx.state.setdefault("iterator", self._make(ctx, name, container))
            if known.name == name:
                self._keep(ctx, known, container)
        return known

    def _make(self, ctx: HostContext, name: str, container: str) -> IteratorResource:
        made = IteratorResource(name, self.element_types, self.element_shapes, container)
        made.device = ctx.device
        return made

    @staticmethod
    def _keep(ctx: HostContext, iterator: IteratorResource, container: str) -> None:
        """An iterator without a shared name can be found by its handle, and ends with its session."""
        resources = ctx.resources
        resources.lookup_or_create(container, iterator.name, IteratorResource, lambda: iterator)

        def end() -> None:
            try:
                resources.delete(container, iterator.name, IteratorResource)
            except errors.NotFoundError:  # its container was cleared
                iterator.release()

        if ctx.session is not None:
            ctx.session.on_close(end)


class Iterator(_Source):
    """An iterator without a dataset."""

    handle = Output(dtypes.resource)
    shared_name = Attr("string")
    container = Attr("string")
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)

    def run(self, ctx: Any) -> Any:  # type: ignore[override]
        return self._find(ctx)


class IteratorV2(_Source):
    """An iterator without a dataset."""

    handle = Output(dtypes.resource)
    shared_name = Attr("string")
    container = Attr("string")
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)

    def run(self, ctx: Any) -> Any:  # type: ignore[override]
        return self._find(ctx)


class OneShotIterator(_Source):
    """An iterator over the dataset that a function makes, once."""

    handle = Output(dtypes.resource)
    dataset_factory = Attr("func")
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)
    container = Attr("string", "")
    shared_name = Attr("string", "")
    prompt = False

    def run(self, ctx: Any) -> Any:  # type: ignore[override]
        found = self._find(ctx)
        if found.initialized:
            return found
        factory = BoundFunction(ctx, self.attrs["dataset_factory"], [])
        instance = factory.prepared.instance()
        made = instance.start((), ctx.cancellation)
        if made.done():
            return self._begin(ctx, found, made.result())
        result: Future[Any] = Future()

        def finish(done: Future[Any]) -> None:
            try:
                result.set_result(self._begin(ctx, found, done.result()))
            except BaseException as error:
                result.set_exception(error)

        made.add_done_callback(finish)
        return result

    @staticmethod
    def _begin(ctx: HostContext, iterator: IteratorResource, made: Any) -> IteratorResource:
        iterator.start_once(dataset_of(made[0]), ctx.spawn)
        return iterator


class MakeIterator(DatasetOp):
    """Lets an iterator begin with a dataset."""

    dataset = Input(dtypes.variant)
    iterator = Input(dtypes.resource)
    stateful = True

    def infer(self, ctx: Any, *shapes: Any) -> Any:
        return ()

    def run(self, ctx: Any, dataset: Any, iterator: Any) -> Any:  # type: ignore[override]
        _iterator(iterator).start(dataset_of(dataset), ctx.spawn)
        return ()


class _GetNext(DatasetOp, abstract=True):
    iterator = Input(dtypes.resource)
    components = Output(types="output_types")
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)
    stateful = True
    prompt = False

    def infer(self, ctx: Any, *shapes: Any) -> Any:
        return [list(self.element_shapes)]

    def run(self, ctx: Any, iterator: Any) -> Any:  # type: ignore[override]
        found = _iterator(iterator).get_next(ctx.cancellation, ctx.at_home)
        if type(found) is not Future:
            return (found,)
        if found.done():
            return (found.result(),)
        result: Future[Any] = Future()

        def finish(done: Future[Any]) -> None:
            error = done.exception()
            if error is not None:
                result.set_exception(error)
            else:
                result.set_result((done.result(),))

        found.add_done_callback(finish)
        return result


class IteratorGetNext(_GetNext):
    """The next element; OutOfRangeError behind the last one."""


class IteratorGetNextSync(_GetNext):
    """The next element; OutOfRangeError behind the last one."""


class IteratorToStringHandle(DatasetOp):
    """The handle of an iterator as a string that can be fed."""

    resource_handle = Input(dtypes.resource)
    string_handle = Output(dtypes.string)
    stateful = True

    def run(self, ctx: Any, handle: Any) -> Any:  # type: ignore[override]
        found = _iterator(handle)
        data = resource_handle.encode(found.device, found.container, found.name, found.type_name)
        return string_scalar(data)


class _FromString(DatasetOp, abstract=True):
    string_handle = Input(dtypes.string)
    resource_handle = Output(dtypes.resource)
    output_types = Attr("list(type)", (), minimum=0)
    output_shapes = Attr("list(shape)", (), minimum=0)
    stateful = True

    def run(self, ctx: Any, string_handle: Any) -> Any:  # type: ignore[override]
        if np.ndim(string_handle):
            raise invalid("string_handle must be a scalar")
        _, container, name, _ = resource_handle.decode(np.asarray(string_handle, object).item())
        found: IteratorResource = ctx.resources.lookup(container, name, IteratorResource)
        if self.element_types and found.types != self.element_types:
            wanted = [t.name for t in self.element_types]
            raise invalid(
                f"The handle is that of an iterator with elements of types {[t.name for t in found.types]}, not {wanted}"
            )
        return found


class IteratorFromStringHandle(_FromString):
    """The iterator behind a string."""


class IteratorFromStringHandleV2(_FromString):
    """The iterator behind a string."""


# -- without an iterator ---------------------------------------------------------------------------------


class DatasetToSingleElement(DatasetOp):
    """The one element of a dataset."""

    dataset = Input(dtypes.variant)
    components = Output(types="output_types")
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)
    stateful = True
    prompt = False

    def infer(self, ctx: Any, *shapes: Any) -> Any:
        return [list(self.element_shapes)]

    def run(self, ctx: Any, dataset: Any) -> Any:  # type: ignore[override]
        source = dataset_of(dataset)
        return _elsewhere(ctx, source.waits, lambda: (_only_element(ctx, source),))


def _only_element(ctx: HostContext, dataset: Any) -> Any:
    context = IterationContext(ctx.spawn, ctx.cancellation.child())
    iterator = dataset.iterate(context)
    try:
        element = iterator.next()
        if element is END:
            raise invalid("Dataset was empty.")
        if iterator.next() is not END:
            raise invalid("Dataset had more than one element.")
        return element
    finally:
        context.cancellation.close()
        iterator.close()


class ReduceDataset(DatasetOp):
    """The state after `f` of the state and each element in turn."""

    input_dataset = Input(dtypes.variant)
    initial_state = Input(types="Tstate")
    other_arguments = Input(types="Targuments")
    components = Output(types="output_types")
    f = Attr("func")
    Tstate = Attr("list(type)", minimum=1)
    Targuments = Attr("list(type)", minimum=0)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)
    use_inter_op_parallelism = Attr("bool", True)
    stateful = True
    prompt = False

    def infer(self, ctx: Any, *shapes: Any) -> Any:
        return [list(self.element_shapes)]

    def run(self, ctx: Any, dataset: Any, state: Any, captured: Any) -> Any:  # type: ignore[override]
        source = dataset_of(dataset)
        shapes = [*self.element_shapes, *source.shapes_of_elements]
        function = BoundFunction(ctx, self.attrs["f"], shapes, captured)
        waits = source.waits or function.waits
        return _elsewhere(ctx, waits, lambda: (_reduced(ctx, source, function, tuple(state)),))


def _reduced(ctx: HostContext, dataset: Any, function: BoundFunction, state: Any) -> Any:
    context = IterationContext(ctx.spawn, ctx.cancellation.child())
    iterator = dataset.iterate(context)
    call = function.caller(context)
    try:
        while (element := iterator.next()) is not END:
            ctx.cancellation.check()
            state = call(state + element)
        return state
    finally:
        context.cancellation.close()
        iterator.close()


def _elsewhere(ctx: HostContext, waits: bool, work: Any) -> Any:
    """The result of `work()`, done in this thread unless it may wait or the thread is needed elsewhere."""
    if ctx.at_home and not waits:
        with np.errstate(all="ignore"):
            return work()
    result: Future[Any] = Future()

    def job() -> None:
        try:
            with np.errstate(all="ignore"):
                result.set_result(work())
        except BaseException as error:
            result.set_exception(error)

    ctx.spawn(job)
    return result


class MatchingFilesDataset(DatasetOp):
    """The names of the files that match patterns."""

    patterns = Input(dtypes.string)
    handle = Output(dtypes.variant)
    stateful = True

    def run(self, ctx: Any, patterns: Any) -> Any:  # type: ignore[override]
        names: set[str] = set()
        for pattern in np.asarray(patterns, object).reshape(-1):
            names.update(matching_paths(os.fsdecode(pattern), ctx.files))
        elements = [string_element(os.fsencode(name)) for name in sorted(names)]
        return Elements((dtypes.string,), (scalar(),), elements)
