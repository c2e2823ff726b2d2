"""A step that is fed and fetched piece by piece, on all its tasks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from flowmesh.core import errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.deadline import Deadline
from flowmesh.distributed.interfaces import RunGraphCall
from flowmesh.distributed.plan import Elements, Part, Plan, check_feeds
from flowmesh.distributed.running_step import RunningStep, values_of
from flowmesh.passes.prune import prune


class PartialRun:
    """One such step. Pieces are run one after the other."""

    def __init__(
        self,
        step_id: int,
        session_handle: str,
        prepared: Plan,
        elements: Elements,
        cancellation: CancellationManager,
        clean_up: Callable[[int, Sequence[Part]], None],
    ):
        self.over = False
        self._step_id = step_id
        self._session_handle = session_handle
        self._plan = prepared
        self._tensors = dict(zip(prepared.signature[0], elements.feeds))
        self._targets = {op.name for op in elements.targets}
        self._fetchable = dict(zip(prepared.signature[1], elements.fetches))
        self._feeds_left = dict.fromkeys(prepared.signature[0])
        self._fetches_left = dict.fromkeys(prepared.signature[1])
        self._fed: dict[str, Any] = {}
        self._cancellation = cancellation
        self._clean_up = clean_up
        self._lock = threading.Lock()

    def run(
        self, feeds: Sequence[tuple[str, Any]], fetches: Sequence[str], deadline: Deadline
    ) -> list[Any]:
        """Gives more feeds and returns more fetches; an error of the step, or the last piece, ends it."""
        with self._lock:
            names = [name for name in fetches if name not in self._targets]
            self._check(feeds, names)
            for name, value in feeds:
                del self._feeds_left[name]
                self._fed[name] = value
            for name in dict.fromkeys(names):
                del self._fetches_left[name]
            last = not self._feeds_left and not self._fetches_left
            try:
                values = self._piece(dict(feeds), names, last, deadline)
            except BaseException:
                self.end()
                raise
            if last:
                self.end()
            return values

    def _piece(
        self, feeds: dict[str, Any], fetches: Sequence[str], last: bool, deadline: Deadline
    ) -> list[Any]:
        # Each piece can be cancelled on its own in vain only: what ends one ends the step.
        step = RunningStep(self._plan.parts, self._cancellation, deadline=deadline)
        wanted = set(fetches)

        def make_call(part: Part) -> RunGraphCall:
            return RunGraphCall(
                self._session_handle,
                part.handle,
                self._step_id,
                {n: feeds[n] for n in part.feeds if n in feeds},
                [n for n in part.fetches if n in wanted],
                partial=True,
                last=last,
            )

        step.start(make_call)
        results = step.wait()
        direct = {n: self._fed[n] for n in fetches if n in self._fed}
        return values_of(results, fetches, direct)

    def _check(self, feeds: Sequence[tuple[str, Any]], fetches: Sequence[str]) -> None:
        for name, _ in feeds:
            if name in self._feeds_left:
                continue
            problem = (
                f"The feed {name} had already been fed."
                if name in self._tensors
                else f"The feed {name} was not specified in partial_run_setup."
            )
            raise errors.InvalidArgumentError(None, None, problem)
        for name in fetches:
            if name in self._fetches_left:
                continue
            problem = (
                f"The fetch {name} had already been fetched."
                if name in self._fetchable
                else f"The fetch {name} was not specified in partial_run_setup."
            )
            raise errors.InvalidArgumentError(None, None, problem)
        order = self._plan.signature[0]
        dtypes = dict(zip(order, self._plan.feed_dtypes))
        given = Plan(self._plan.signature, 0, None, [], tuple(dtypes[n] for n, _ in feeds))
        check_feeds(given, feeds)
        self._check_fetchable({name for name, _ in feeds}, fetches)

    def _check_fetchable(self, now: set[str], fetches: Sequence[str]) -> None:
        """Raises when a fetch depends on a feed that is still to come."""
        missing = {self._tensors[n] for n in self._feeds_left if n not in now}
        if not missing or not fetches:
            return
        given = [t for n, t in self._tensors.items() if n in self._fed or n in now]
        graph = next(iter(missing)).graph
        for name in fetches:
            tensor = self._fetchable[name]
            ops = prune(graph, [tensor], (), given)
            if tensor in missing or any(t in missing for op in ops for t in op.inputs):
                raise errors.InvalidArgumentError(
                    None,
                    tensor.op,
                    f"Fetch {name} can't be computed from the feeds that have been fed so far.",
                )

    def end(self) -> None:
        """Ends the step wherever it is."""
        if not self.over:
            self.over = True
            self._cancellation.cancel(
                errors.CancelledError(None, None, "PRunSetup has been closed.")
            )
            self._cancellation.close()
            self._clean_up(self._step_id, self._plan.parts)
