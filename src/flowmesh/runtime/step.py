"""What a run of a part needs besides the part: the step it belongs to and the state of its session."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.deadline import Deadline
from flowmesh.graph.operation import Operation
from flowmesh.runtime.frame_ids import OUTSIDE, FrameId
from flowmesh.runtime.rendezvous import Rendezvous
from flowmesh.runtime.trace import TraceCollector


class ImplicitState:
    """The state of one op in one session (a random generator), with the lock that makes its use atomic."""

    __slots__ = ("lock", "value")

    def __init__(self, value: Any) -> None:
        self.lock = threading.RLock()
        self.value = value


class SessionState:
    """What belongs to one session and is lost with it: implicit states and the dicts of host ops. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._implicit: dict[str, ImplicitState] = {}
        self._node_state: dict[str, dict[Any, Any]] = {}
        self._closing: list[Callable[[], None]] = []
        self.shared: dict[Any, Any] = {}

    def implicit(self, op: Operation) -> ImplicitState:
        """The implicit state of `op`, made on first use."""
        found = self._implicit.get(op.name)
        if found is None:
            with self._lock:
                found = self._implicit.get(op.name)
                if found is None:
                    found = ImplicitState(op.definition.initial_state())
                    self._implicit[op.name] = found
        return found

    def node_state(self, name: str) -> dict[Any, Any]:
        """The dict that a host op keeps between steps."""
        found = self._node_state.get(name)
        if found is None:
            with self._lock:
                found = self._node_state.setdefault(name, {})
        return found

    def on_close(self, callback: Callable[[], None]) -> None:
        """Has `callback()` called when the session ends."""
        with self._lock:
            self._closing.append(callback)

    def close(self) -> None:
        """Gives back what belongs to the session alone."""
        with self._lock:
            closing, self._closing = self._closing, []
        for callback in closing:
            callback()


@dataclass
class StepContext:
    """One step of one task."""

    step_id: int
    rendezvous: Rendezvous
    cancellation: CancellationManager = field(default_factory=CancellationManager)
    deadline: Deadline = field(default_factory=Deadline)
    trace: TraceCollector | None = None
    at_home: bool = True
    """Whether the thread that starts the run may do heavy work, rather than others that wait for it."""
    iteration: str = ""
    """For an iteration of a loop over several tasks, what stands for it in the keys of its transfers; its arguments and results may be dead."""

    frame: FrameId = OUTSIDE
    """The loop over several tasks that this run is an iteration of."""

    def key(self, key: str) -> str:
        """The rendezvous key of a transfer in this run."""
        return f"{key.rpartition(';')[0]};{self.iteration}" if self.iteration else key


def local_step(
    step_id: int = 0, deadline: Deadline | None = None, trace: TraceCollector | None = None
) -> StepContext:
    """A step that takes place in one part only."""
    return StepContext(
        step_id, Rendezvous(step_id), CancellationManager(), deadline or Deadline(), trace
    )
