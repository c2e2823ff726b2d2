"""Steps that the client runs in its own thread, past the machinery of steps.

A plan of one part whose worker is in this process, and in which nothing can wait, needs no step of its own: `InlineStep.run` is
one function call away from the kernels. Where host ops may have to wait, `HostedStep.run` waits in the client's thread. A session that ends waits for such steps as for all others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.deadline import Deadline
from flowmesh.runtime.hosted import HostedRun
from flowmesh.runtime.inline import InlineRun
from flowmesh.runtime.many_records import ManyRecords

_Run = TypeVar("_Run")


class InlineSteps:
    """The inline steps under way in one session."""

    def __init__(self, session: CancellationManager, ended: Callable[[], None]) -> None:
        """`session` is cancelled when the session ends; from then on `ended` is called after each step."""
        self.session = session
        self.refused = False
        """Whether no new step may start: the usual way says why."""
        self.running: list[None] = []
        self.ended = ended

    def enter(self) -> bool:
        """Notes a step that is about to run; False when it must not. `leave` follows either way."""
        # Lists are safe to change from several threads: an end that comes now either sees the step or is seen by it.
        self.running.append(None)
        return not (self.refused or self.session.cancelled)

    def leave(self) -> None:
        """The step is over."""
        self.running.pop()
        if self.refused or self.session.cancelled:
            self.ended()

    def __len__(self) -> int:
        return len(self.running)


class _Step(Generic[_Run]):
    """One signature of a session, for one state of its graph."""

    def __init__(self, steps: InlineSteps, run: _Run, version: int) -> None:
        """`version` is that of the graph for which the step was planned."""
        self.version = version
        self._steps = steps
        self._run = run


class InlineStep(_Step[InlineRun]):
    """One signature of a session, for one state of its graph. Thread-safe."""

    def run(self, values: Sequence[Any], limit: int = 0) -> list[Any] | None:
        """The fetches for feed values in their order; None, with nothing done, when the step must go the usual way.

        A time limit is of no account: nothing is waited for.
        """
        if self._run.is_parallel():
            return None
        steps = self._steps
        steps.running.append(None)  # `enter` and `leave`, without the calls
        try:
            if steps.refused or steps.session.cancelled:
                return None
            return self._run.run(values)
        finally:
            steps.running.pop()
            if steps.refused or steps.session.cancelled:
                steps.ended()


class HostedStep(_Step[HostedRun]):
    """One signature whose steps may wait, in the thread of the client. Thread-safe."""

    def __init__(self, steps: InlineSteps, run: HostedRun, version: int, limit: int) -> None:
        """`limit` is the session's time limit in milliseconds, 0 if it has none."""
        super().__init__(steps, run, version)
        self._limit = limit

    def run(self, values: Sequence[Any], limit: int = 0) -> list[Any] | None:
        """The fetches for feed values in their order; None, with nothing done, when the step must go the usual way.

        `limit` is a time limit in milliseconds, instead of the session's.
        """
        limit = limit or self._limit
        if self._run.is_parallel() or (limit and not self._run.can_be_limited()):
            return None
        steps = self._steps
        try:
            if not steps.enter():
                return None
            return self._run.run(values, steps.session, Deadline.from_ms(limit))
        finally:
            steps.leave()


class RepeatedStep(_Step[ManyRecords]):
    """A step that is run again and again, many times in one go where that can be. For one thread."""

    def run(self) -> int:
        """How many steps were done; 0, with nothing done, when one must go the usual way."""
        steps = self._steps
        try:
            return self._run.run() if steps.enter() else 0
        finally:
            steps.leave()
