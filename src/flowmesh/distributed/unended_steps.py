"""Steps that have run here for masters which call over gRPC, and that only their master ends: it is watched until it has.

Between the answer to a run and CleanupGraph no call is under way whose connection could break: a master that dies then is missed
by nobody. So it is asked for signs of life, as any peer that somebody waits for. A master that did not say who it is (TensorFlow 1's do
not) cannot be asked; of its steps the latest are kept.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

from flowmesh.core import errors
from flowmesh.core.deadline import Deadline
from flowmesh.distributed import futures
from flowmesh.distributed.heartbeat import Heartbeat, Rhythm
from flowmesh.distributed.interfaces import DeviceAttributes, WorkerInterface
from flowmesh.distributed.peers import signed
from flowmesh.distributed.worker_session import WorkerSession
from flowmesh.runtime import timer
from flowmesh.runtime.timer import Clock

_log = logging.getLogger(__name__)

MAX_UNWATCHED = 4096
"""Steps of masters that cannot be asked."""


class _Watched:
    """The steps of one master."""

    def __init__(self) -> None:
        self.steps: dict[int, str] = {}
        """The session of each, the oldest first."""
        self.heartbeat: Heartbeat | None = None


class UnendedSteps:
    """Thread-safe. `wait`, `over` and `session_over` are cheap and may be called for steps that are not known."""

    def __init__(
        self,
        own: str,
        rhythm: Rhythm,
        end: Callable[[int], object],
        clock: Clock = timer.clock,
        restarted: Callable[[tuple[str, int]], object] = lambda master: None,
    ):
        """`own` is the task here, whose master needs no watching; `end` has it forget a step; `restarted` is called with a master, and the
        incarnation of its present process, where that was another one."""
        self._own = own
        self._rhythm = rhythm
        self._end = end
        self._clock = clock
        self._restarted = restarted
        self._lock = threading.Lock()
        self._masters: dict[tuple[str, int], _Watched] = {}
        self._by_step: dict[int, tuple[str, int]] = {}
        self._closed = False

    def wait(self, step_id: int, session: WorkerSession) -> None:
        """A run of this step has been answered."""
        master = session.master
        if master[0] == self._own:
            return
        excess = None
        with self._lock:
            if step_id in self._by_step or self._closed:
                return
            watched = self._masters.get(master)
            if watched is None:
                watched = self._masters[master] = _Watched()
                if master[0] and master[1] and master[0] in session.peers.tasks():
                    watched.heartbeat = self._heartbeat(master, session.peers.worker(master[0]))
            watched.steps[step_id] = session.handle
            self._by_step[step_id] = master
            heartbeat = watched.heartbeat
            if heartbeat is None and len(watched.steps) > MAX_UNWATCHED:
                excess = next(iter(watched.steps))
        if heartbeat is not None:
            heartbeat.begin()
        if excess is not None:
            self._drop([excess], "there are too many of its master's")

    def over(self, step_id: int) -> None:
        """The step has been ended."""
        if step_id not in self._by_step:
            return
        with self._lock:
            master = self._by_step.pop(step_id, None)
            watched = None if master is None else self._masters.get(master)
            if watched is None or watched.steps.pop(step_id, None) is None:
                return
        if watched.heartbeat is not None:
            watched.heartbeat.end()

    def session_over(self, session: WorkerSession) -> None:
        """Nobody is left who would end the session's steps."""
        with self._lock:
            watched = self._masters.get(session.master)
            steps = watched.steps.items() if watched is not None else ()
            left = [step_id for step_id, handle in steps if handle == session.handle]
        self._drop(left, "its session is over")
        with self._lock:
            watched = self._masters.get(session.master)
            if watched is None or watched.steps:
                return
            del self._masters[session.master]
        if watched.heartbeat is not None:
            watched.heartbeat.close()

    def close(self) -> None:
        """Watches nobody any more."""
        with self._lock:
            self._closed = True
            masters, self._masters = self._masters, {}
            self._by_step.clear()
        for watched in masters.values():
            if watched.heartbeat is not None:
                watched.heartbeat.close()

    def _drop(self, step_ids: Iterable[int], why: str) -> None:
        for step_id in step_ids:
            _log.info("Step %d is ended: %s", step_id, why)
            self._end(step_id)
            self.over(step_id)

    # -- masters -------------------------------------------------------------------------------------------

    def _heartbeat(self, master: tuple[str, int], worker: WorkerInterface) -> Heartbeat:
        def ping(deadline: Deadline) -> Future[Any]:
            return futures.then(worker.get_status(deadline), lambda found: self._met(master, found))

        def lost(seconds: float) -> None:
            self._gone(
                master, f"its master {master[0]} has shown no sign of life for {seconds:.1f} s"
            )

        name = f"{master[0]}, the master of a step,"
        return Heartbeat(name, self._rhythm, ping, lost, clock=self._clock)

    def _met(self, master: tuple[str, int], found: Iterable[DeviceAttributes]) -> None:
        """Who has answered: another process there means that the master is gone."""
        present = [signed(device.incarnation) for device in found]
        if master[1] not in present:
            self._gone(master, f"its master {master[0]} was restarted")
            if present:
                self._restarted((master[0], present[0]))
            raise errors.AbortedError(None, None, f"{master[0]} was restarted")

    def _gone(self, master: tuple[str, int], why: str) -> None:
        with self._lock:
            watched = self._masters.pop(master, None)
        if watched is None:
            return
        if watched.heartbeat is not None:
            watched.heartbeat.close()
        self._drop(list(watched.steps), why)
