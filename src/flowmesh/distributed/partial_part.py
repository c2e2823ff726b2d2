"""Partial runs on one worker: one execution of a graph that several calls feed and fetch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeAlias

from flowmesh.core import errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.distributed import failure, futures
from flowmesh.distributed.interfaces import RunGraphCall, RunGraphResult
from flowmesh.distributed.worker_session import RegisteredGraph
from flowmesh.runtime.rendezvous import Rendezvous
from flowmesh.runtime.trace import TraceCollector

Started: TypeAlias = tuple[Future[Any], TraceCollector | None, Rendezvous, CancellationManager]
"""A run, its trace, its rendezvous, and what cancels it."""


class PartialParts:
    """The executions under way, by step and graph. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[tuple[int, str], Started] = {}

    def run(
        self,
        call: RunGraphCall,
        graph: RegisteredGraph,
        cancellation: CancellationManager,
        start: Callable[[], Started],
    ) -> Future[RunGraphResult]:
        """Starts the execution with the first call of a step; each call gives feeds and waits for its fetches.

        Cancelling any of the calls ends the execution.
        """
        key = (call.step_id, call.graph_handle)
        with self._lock:
            running = self._running.get(key)
        if running is None:
            running = start()
            with self._lock:
                self._running[key] = running
        run, _, rendezvous, own = running
        wanted: dict[str, Future[Any]] = {}
        try:
            for name, value in call.feeds.items():
                rendezvous.send(_key(graph.feed_keys, name, "feed"), value)
            for name in call.fetches:
                wanted[name] = rendezvous.recv_async(_key(graph.fetch_keys, name, "fetch"))
        except Exception as exc:
            # An aborted step refuses feeds with the consequence; the run has the cause.
            cause = futures.error_of(run) if run.done() else None
            return futures.failed(cause or failure.of_exception(exc))
        if call.last:
            with self._lock:
                self._running.pop(key, None)
        token = cancellation.register(own.cancel)
        result = _gather(wanted, run, wait_for_run=call.last)
        result.add_done_callback(lambda _: cancellation.deregister(token))
        return result

    def end(self, step_id: int) -> None:
        """Forgets the executions of a step."""
        if not self._running:
            return
        with self._lock:
            keys = [k for k in self._running if k[0] == step_id]
            ended = [self._running.pop(key) for key in keys]
        for run, _, _, own in ended:
            if not run.done():
                own.cancel(errors.CancelledError(None, None, f"Step {step_id} was ended"))


def _key(keys: Mapping[str, str], name: str, what: str) -> str:
    try:
        return keys[name]
    except KeyError:
        raise errors.InvalidArgumentError(
            None, None, f"The registered graph has no {what} {name}"
        ) from None


def _gather(
    wanted: Mapping[str, Future[Any]], run: Future[Any], wait_for_run: bool
) -> Future[RunGraphResult]:
    """All wanted values, or the error that keeps one from coming."""
    result: Future[RunGraphResult] = Future()
    sources = [*wanted.values(), *([run] if wait_for_run else [])]
    lock = threading.Lock()
    left = len(sources)

    def check_run(finished: Future[Any]) -> None:
        error = futures.error_of(finished)
        if error is not None:
            futures.fail(result, error)

    def arrived(finished: Future[Any]) -> None:
        nonlocal left
        error = futures.error_of(finished)
        with lock:
            left -= 1
            over = left == 0
        if error is not None:
            # The run's own error, which comes at the same time, tells more than the aborted rendezvous.
            if not run.done() and failure.is_derived(error):
                run.add_done_callback(lambda _: futures.fail(result, error))
            else:
                futures.fail(result, error)
        elif over:
            _finish(result, wanted)

    run.add_done_callback(check_run)
    for source in sources:
        source.add_done_callback(arrived)
    if not sources:
        _finish(result, wanted)
    return result


def _finish(result: Future[RunGraphResult], wanted: Mapping[str, Future[Any]]) -> None:
    dead = [name for name, future in wanted.items() if future.result()[1]]
    if dead:
        error = errors.InvalidArgumentError(
            None, None, f"Retval[0] does not have value: the tensor {dead[0]} is dead"
        )
        futures.fail(result, error)
    else:
        values = {name: future.result()[0] for name, future in wanted.items()}
        futures.settle(result, RunGraphResult(values))
