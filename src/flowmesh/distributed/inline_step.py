"""Steps that the client runs in its own thread, past the machinery of steps.

A plan of one part whose worker is in this process, and in which nothing can wait, needs no step of its own: `InlineStep.run` is
one function call away from the kernels. A session that ends waits for such steps as for all others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flowmesh.core.cancellation import CancellationManager
from flowmesh.runtime.inline import InlineRun


class InlineSteps:
    """The inline steps under way in one session."""

    def __init__(self, session: CancellationManager, ended: Callable[[], None]) -> None:
        """`session` is cancelled when the session ends; from then on `ended` is called after each step."""
        self.session = session
        self.ended = ended
        self.running: list[None] = []

    def __len__(self) -> int:
        return len(self.running)


class InlineStep:
    """One signature of a session, for one state of its graph. Thread-safe."""

    def __init__(self, steps: InlineSteps, run: InlineRun, version: int) -> None:
        """`version` is that of the graph for which the step was planned."""
        self.version = version
        self._steps = steps
        self._running = steps.running
        self._session = steps.session
        self._run = run

    def run(self, values: Sequence[Any]) -> list[Any] | None:
        """The fetches for feed values in their order; None, with nothing done, when the step must go the usual way."""
        if self._run.is_parallel():
            return None
        # Lists are safe to change from several threads: an end that comes now either sees the step or is seen by it.
        self._running.append(None)
        try:
            if self._session.cancelled:
                return None
            return self._run.run(values)
        finally:
            self._running.pop()
            if self._session.cancelled:
                self._steps.ended()
