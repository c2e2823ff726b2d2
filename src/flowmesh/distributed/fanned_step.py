"""Steps over several tasks that push their tensors to each other: fanned out once, gathered once.

All that the runs of a plan have in common is prepared here: the calls, which feeds go where, the part of this process. A run then is one message to
each other task and one answer from each; the part of this process runs in the calling thread, which also reads what
arrives (`RunningStep.wait`). A time limit is kept by that thread alone: when it has come, the parts are told, and say what they are waiting for.
Steps that are traced, and parts that cannot run in stages, take the usual way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from flowmesh.core import errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.deadline import Deadline
from flowmesh.core.errors import OpError
from flowmesh.distributed import failure, sending
from flowmesh.distributed.inline_step import InlineSteps
from flowmesh.distributed.interfaces import NEVER, RunGraphResult, StartCall, StartedPart
from flowmesh.distributed.plan import Part
from flowmesh.distributed.running_step import RunningStep, values_of
from flowmesh.distributed.staged_part import StagedPart


class FannedStep:
    """One plan whose parts are all connected directly. Thread-safe."""

    def __init__(
        self,
        steps: InlineSteps,
        session_handle: str,
        parts: Sequence[Part],
        own: StagedPart | None,
        feeds: Sequence[str],
        new_step_id: Callable[[], int],
        clean_up: Callable[[int, Sequence[Part]], None],
    ) -> None:
        """`own` is the last of the parts, if that is one of this process; `feeds` are all names, in the order of the values."""
        self.alive = True
        """Whether the parts are still registered."""
        self._steps = steps
        self._parts = list(parts)
        self._own = own
        self._new_step_id = new_step_id
        self._clean_up = clean_up
        place = {name: at for at, name in enumerate(feeds)}
        self._calls = [
            (
                part.worker,
                StartCall(session_handle, part.handle, part.feeds, part.fetches),
                [place[name] for name in part.feeds],
            )
            for part in parts
        ]

    def bound(self, fetches: Sequence[str], version: int, limit: int) -> WarmFannedStep:
        """The step with its fetches in order, and its time limit in milliseconds (0: none), for the client."""
        return WarmFannedStep(self, self._steps, fetches, version, limit)

    def run(
        self,
        values: Sequence[Any],
        outer: CancellationManager | None = None,
        deadline: Deadline = NEVER,
    ) -> list[RunGraphResult] | None:
        """The results of the parts for these values of the feeds; None, with nothing done, when the step must go the usual way.

        Cancelling `outer` ends it. Raises the OpError of the step; DeadlineExceededError that names what was waited for.
        """
        own = self._own
        limited = deadline.at is not None
        if not self.alive or (own is not None and not own.usable(limited)):
            return None
        others = self._calls if own is None else self._calls[:-1]
        links = [worker.link for worker, _, _ in others]
        if None in links:
            return None
        step_id = self._new_step_id()
        cancellation = CancellationManager(self._steps.session)
        token = -1 if outer is None else outer.register(cancellation.cancel)
        step = RunningStep(self._parts, cancellation, links, deadline)
        started: list[StartedPart] = []
        waits = sending.waits()
        if limited:
            sending.set_waits(False)
        try:
            self._start(step, step_id, values, cancellation, started)
            return step.wait(partial(_expire, started))
        except BaseException:
            self._clean_up(step_id, self._parts)
            raise
        finally:
            sending.set_waits(waits)
            started.clear()  # a step is freed when it is over, without the garbage collector
            cancellation.close()
            if outer is not None:
                outer.deregister(token)

    def _start(
        self,
        step: RunningStep,
        step_id: int,
        values: Sequence[Any],
        cancellation: CancellationManager,
        started: list[StartedPart],
    ) -> None:
        def end(error: OpError) -> None:
            for part in list(started):
                part.cancel(error)

        own = self._own
        for index, (worker, call, places) in enumerate(self._calls):
            told = partial(step.told, index)
            try:
                if own is not None and index == len(self._calls) - 1:
                    run = own.run(step_id, told)
                    started.append(run)
                    cancellation.register(end)
                    run.start({name: values[at] for name, at in zip(call.feeds, places)})
                    return
                begun = worker.start_graph(call, step_id, [values[at] for at in places], told)
                if begun is None:
                    text = f"{self._parts[index].task} cannot be reached: the connection was lost"
                    raise errors.UnavailableError(None, None, text)
                started.append(begun)
            except Exception as exc:
                step.told(index, None, failure.of_exception(exc))
        cancellation.register(end)


def _expire(started: Sequence[StartedPart], error: OpError) -> None:
    for part in list(started):
        part.expire(error)


class WarmFannedStep:
    """One signature of a session, as `InlineStep`. Thread-safe."""

    def __init__(
        self,
        step: FannedStep,
        steps: InlineSteps,
        fetches: Sequence[str],
        version: int,
        limit: int = 0,
    ) -> None:
        """`version` is that of the graph for which the step was planned, `limit` its time limit in milliseconds."""
        self.version = version
        self._step = step
        self._steps = steps
        self._fetches = list(fetches)
        self._limit = limit

    def run(self, values: Sequence[Any], limit: int = 0) -> list[Any] | None:
        """The fetches for feed values in their order; None, with nothing done, when the step must go the usual way.

        `limit` is a time limit in milliseconds, instead of the session's.
        """
        steps = self._steps
        try:
            if not steps.enter():
                return None
            limit = limit or self._limit
            deadline = Deadline.from_ms(limit) if limit else NEVER
            results = self._step.run(values, None, deadline)
            return None if results is None else values_of(results, self._fetches, {})
        finally:
            steps.leave()
