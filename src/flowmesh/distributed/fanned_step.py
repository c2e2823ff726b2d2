"""Steps over several tasks that push their tensors to each other: fanned out once, gathered once.

All that the runs of a plan have in common is prepared here: the calls, which feeds go where, the part of this process. A run then is one message to
each other task and one answer from each; the part of this process runs in the calling thread, which also reads what
arrives (`RunningStep.wait`). Plans with time limits, and with parts that cannot run in stages, take the usual way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from flowmesh.core import errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.errors import OpError
from flowmesh.distributed import failure
from flowmesh.distributed.inline_step import InlineSteps
from flowmesh.distributed.interfaces import NEVER, RunGraphResult, StartCall
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

    def bound(self, fetches: Sequence[str], version: int) -> WarmFannedStep:
        """The step with its fetches in order, for the client."""
        return WarmFannedStep(self, self._steps, fetches, version)

    def run(
        self, values: Sequence[Any], outer: CancellationManager | None = None
    ) -> list[RunGraphResult] | None:
        """The results of the parts for these values of the feeds; None, with nothing done, when the step must go the usual way.

        Cancelling `outer` ends it. Raises the OpError of the step.
        """
        own = self._own
        if not self.alive or (own is not None and not own.usable):
            return None
        others = self._calls if own is None else self._calls[:-1]
        links = [worker.link for worker, _, _ in others]
        if None in links:
            return None
        step_id = self._new_step_id()
        cancellation = CancellationManager(self._steps.session)
        token = -1 if outer is None else outer.register(cancellation.cancel)
        step = RunningStep(self._parts, cancellation, links)
        endings: list[Callable[[OpError], object]] = []
        try:
            self._start(step, step_id, values, cancellation, endings)
            return step.wait(NEVER)
        except BaseException:
            self._clean_up(step_id, self._parts)
            raise
        finally:
            endings.clear()  # a step is freed when it is over, without the garbage collector
            cancellation.close()
            if outer is not None:
                outer.deregister(token)

    def _start(
        self,
        step: RunningStep,
        step_id: int,
        values: Sequence[Any],
        cancellation: CancellationManager,
        endings: list[Callable[[OpError], object]],
    ) -> None:
        def end(error: OpError) -> None:
            for ending in list(endings):
                ending(error)

        own = self._own
        for index, (worker, call, places) in enumerate(self._calls):
            told = partial(step.told, index)
            try:
                if own is not None and index == len(self._calls) - 1:
                    run = own.run(step_id, told)
                    endings.append(run.cancel)
                    cancellation.register(end)
                    run.start({name: values[at] for name, at in zip(call.feeds, places)})
                    return
                ending = worker.start_graph(call, step_id, [values[at] for at in places], told)
                if ending is None:
                    text = f"{self._parts[index].task} cannot be reached: the connection was lost"
                    raise errors.UnavailableError(None, None, text)
                endings.append(ending)
            except Exception as exc:
                step.told(index, None, failure.of_exception(exc))
        cancellation.register(end)


class WarmFannedStep:
    """One signature of a session, as `InlineStep`. Thread-safe."""

    def __init__(
        self, step: FannedStep, steps: InlineSteps, fetches: Sequence[str], version: int
    ) -> None:
        """`version` is that of the graph for which the step was planned."""
        self.version = version
        self._step = step
        self._steps = steps
        self._fetches = list(fetches)

    def run(self, values: Sequence[Any]) -> list[Any] | None:
        """The fetches for feed values in their order; None, with nothing done, when the step must go the usual way."""
        steps = self._steps
        try:
            results = self._step.run(values) if steps.enter() else None
            return None if results is None else values_of(results, self._fetches, {})
        finally:
            steps.leave()
