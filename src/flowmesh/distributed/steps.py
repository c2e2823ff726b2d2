"""The steps under way on one task, and the rendezvous that reaches over to other tasks."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future
from typing import Any

from flowmesh.core import device_spec, errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.errors import OpError
from flowmesh.distributed import failure, futures
from flowmesh.distributed.peers import Peers
from flowmesh.runtime.rendezvous import Rendezvous, parse_key

_REMEMBERED = 4096


class TaskRendezvous(Rendezvous):
    """The rendezvous of one step on one task: a receive from another task asks the worker there."""

    def __init__(self, step_id: int, own: str, peers: Peers):
        super().__init__(step_id)
        self._own = own
        self.peers = peers
        self.runs = 0
        self.asked = 0
        self.ended = False
        self._pulls: CancellationManager | None = None
        self._pulls_lock = threading.Lock()

    def recv_async(self, key: str) -> Future[Any]:
        """As `Rendezvous.recv_async`, whichever task sends."""
        source = source_task(key)
        if source == self._own:
            return super().recv_async(key)
        try:
            return self.peers.worker(source).recv_tensor(self.step_id, key, self._cancellation())
        except OpError as error:
            return futures.failed(error)

    def _cancellation(self) -> CancellationManager:
        """What ends the requests to other tasks; made on first use, most steps of one task need none."""
        with self._pulls_lock:
            if self._pulls is None:
                self._pulls = CancellationManager()
                if self.error is not None:
                    self._pulls.cancel(self.error)
            return self._pulls

    @property
    def in_use(self) -> bool:
        """Whether somebody waits here, or this step for another task."""
        return bool(self._waiting) or self._pulls is not None

    def recv_local(self, key: str) -> Future[Any]:
        """What this task itself sends."""
        future = super().recv_async(key)
        if self.ended and not future.done():
            self.abort(errors.AbortedError(None, None, f"Cleanup {self.step_id}"))
        return future

    def abort(self, error: OpError) -> None:
        """Also gives up what other tasks were asked for. Whoever waits here is told a consequence, not the cause."""
        error = failure.mark_derived(error)
        super().abort(error)
        with self._pulls_lock:
            pulls = self._pulls
        if pulls is not None:
            pulls.cancel(error)


def source_task(key: str) -> str:
    """The task that sends under this key; InvalidArgumentError for a malformed key."""
    device = key.partition(";")[0]
    try:
        return device_spec.task_name(device)
    except ValueError as error:
        raise errors.InvalidArgumentError(
            None, None, f"Invalid rendezvous key: {key}: {error}"
        ) from error


class StepTable:
    """The rendezvous of each step. Remembers the latest ended steps, so that stragglers do not revive them."""

    def __init__(self, own: str, peers: Peers):
        self._own = own
        self._peers = peers
        self._lock = threading.Lock()
        self._steps: dict[int, TaskRendezvous] = {}
        self._ended: OrderedDict[int, None] = OrderedDict()

    def enter(self, step_id: int, peers: Peers | None = None) -> TaskRendezvous:
        """The rendezvous for a run that starts; AbortedError when the step has ended already."""
        with self._lock:
            step = self._find_or_create(step_id)
            step.runs += 1
            if peers is not None:
                step.peers = peers
            return step

    def ask(self, step_id: int) -> TaskRendezvous:
        """The rendezvous for another task that wants a tensor, which may be before the step starts here."""
        with self._lock:
            step = self._find_or_create(step_id)
            step.asked += 1
            return step

    def answered(self, step: TaskRendezvous, gave_up: bool) -> None:
        """Undoes `ask`; a step that was never started and for which nobody waits any more is dropped."""
        with self._lock:
            step.asked -= 1
            unused = gave_up and not step.asked and not step.runs
            if unused and self._steps.get(step.step_id) is step:
                del self._steps[step.step_id]

    def _find_or_create(self, step_id: int) -> TaskRendezvous:
        step = self._steps.get(step_id)
        if step is None:
            if step_id in self._ended:
                raise failure.mark_derived(
                    errors.AbortedError(None, None, f"Step {step_id} has ended on {self._own}")
                )
            step = self._steps[step_id] = TaskRendezvous(step_id, self._own, self._peers)
        return step

    def end(self, step_id: int) -> None:
        """Forgets a step; whoever still waits in it fails with AbortedError."""
        with self._lock:
            step = self._steps.pop(step_id, None)
            self._ended[step_id] = None
            if len(self._ended) > _REMEMBERED:
                self._ended.popitem(last=False)
        if step is None:
            return
        step.ended = True
        if step.in_use:
            step.abort(errors.AbortedError(None, None, f"Cleanup {step_id}"))

    def abort_all(self, error: OpError) -> None:
        """Ends every step with this error."""
        with self._lock:
            steps, self._steps = self._steps, {}
            for step_id in steps:
                self._ended[step_id] = None
        for step in steps.values():
            step.abort(error)

    def step_ids(self) -> list[int]:
        """The steps there are, sorted."""
        with self._lock:
            return sorted(self._steps)


def check_sender(key: str, own: str, incarnations: dict[str, int]) -> None:
    """Raises unless this task, in its present life, is the one that sends under `key`."""
    device, incarnation, _, _, _ = parse_key(key)
    if source_task(key) != own:
        raise errors.InvalidArgumentError(
            None, None, f"Invalid rendezvous key for task {own}, it names another sender: {key}"
        )
    actual = incarnations.get(device)
    if actual is None:
        raise errors.InvalidArgumentError(
            None, None, f"{device} is not a device of task {own} (rendezvous key {key})"
        )
    if incarnation not in (0, actual & 0xFFFFFFFFFFFFFFFF):
        raise errors.AbortedError(
            None,
            None,
            f"RecvTensor expects a different device incarnation: {incarnation} vs. {actual}. Your worker job "
            f'("{own}") was probably restarted. Check your worker job for the reason why it was restarted.',
        )
