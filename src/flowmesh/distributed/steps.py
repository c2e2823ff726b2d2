"""The steps under way on one task, and the rendezvous that reaches over to other tasks."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any

from flowmesh.core import errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.errors import OpError
from flowmesh.distributed import failure, futures
from flowmesh.distributed.routes import Routes, source_task, target_task
from flowmesh.distributed.step_ids import owner, owner_of
from flowmesh.runtime import timer
from flowmesh.runtime.rendezvous import Rendezvous, parse_key
from flowmesh.runtime.staged import StagedRun, Transfer

_REMEMBERED = 4096
ORPHAN_SECONDS = 5.0
"""How long tensors that were pushed for a step which has not started wait once its master is gone: it may come back."""


class TaskRendezvous(Rendezvous):
    """The rendezvous of one step on one task: a receive from another task asks the worker there."""

    def __init__(self, step_id: int, routes: Routes):
        super().__init__(step_id)
        self.routes = routes
        self.runs = 0
        self.asked = 0
        self.ended = False
        self.successor: StagedRun | None = None
        """The run that takes what is delivered here, once it has begun."""
        self._unused: dict[str, Callable[[], None]] = {}
        self._pulls: CancellationManager | None = None
        self._pulls_lock = threading.Lock()

    def recv_async(self, key: str) -> Future[Any]:
        """As `Rendezvous.recv_async`, whichever task sends."""
        try:
            source = self.routes.puller(key)
            if source is None:
                return self._recv_here(key)
            return source.recv_tensor(self.step_id, key, self._cancellation())
        except OpError as error:
            return futures.failed(error)

    def _recv_here(self, key: str) -> Future[Any]:
        future = super().recv_async(key)
        if self._unused:
            unused = self._unused.pop(key, None)
            if unused is not None:
                unused()
        return future

    def send(self, key: str, value: Any, is_dead: bool = False) -> None:
        """As `Rendezvous.send`; what another task waits for is sent there at once."""
        target = self.routes.target(key)
        if target is None:
            super().send(key, value, is_dead)
            return
        if self.error is not None:
            raise self.error
        task = target_task(key)
        target.push(self.routes.direct[task], self.step_id, key, value, is_dead)

    def deliver(self, key: str, value: Any, is_dead: bool, used: Callable[[], None]) -> None:
        """Takes what another task has pushed; calls `used` when it is asked for or dropped."""
        future = None
        with self._lock:
            successor = self.successor
            if successor is None and self._error is None and not self.ended:
                waiting = self._waiting.get(key)
                if not waiting:
                    self._values.setdefault(key, deque()).append((value, is_dead))
                    self._unused[key] = used
                    return
                future = waiting.popleft()
                if not waiting:
                    del self._waiting[key]
        used()
        if future is not None:
            futures.settle(future, (value, is_dead))
        if successor is not None:
            successor.deliver([(key, value, is_dead)])

    def hand_over(self, run: StagedRun) -> None:
        """Has `run` take what was delivered early, and what is delivered from now on."""
        with self._lock:
            self.successor = run
            values, self._values = self._values, {}
            transfers = [(key, *delivery) for key, many in values.items() for delivery in many]
        self.drop_unused()
        run.deliver(transfers)

    def waits_for(self, identity: str) -> bool:
        """Whether something is awaited from the server with this identity."""
        direct = self.routes.direct
        return any(direct.get(source_task(key)) == identity for key in self.pending_keys())

    def drop_unused(self) -> None:
        """Gives up what was pushed and never asked for."""
        while self._unused:
            try:
                _, used = self._unused.popitem()
            except KeyError:
                return
            used()

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
        self.drop_unused()
        with self._pulls_lock:
            pulls = self._pulls
        if pulls is not None:
            pulls.cancel(error)


class StepTable:
    """The rendezvous of each step. Remembers the latest ended steps, so that stragglers do not revive them."""

    def __init__(self, routes: Routes, orphan_seconds: float = ORPHAN_SECONDS):
        """`routes` are for steps that are not known yet."""
        self._routes = routes
        self._early: set[int] = set()
        """Steps that something was pushed for before they started."""
        self._masters: dict[int, int] = {}
        """How many connections there are to the masters of steps, by owner (see `step_ids`)."""
        self._orphans: deque[tuple[float, int]] = deque()
        self._orphan_seconds = orphan_seconds
        self._timer: int | None = None
        self._lock = threading.Lock()
        self._steps: dict[int, TaskRendezvous] = {}
        self._ended: OrderedDict[int, None] = OrderedDict()
        self.runs: dict[int, StagedRun] = {}
        """The runs of steps that need no rendezvous."""

    def begin(self, run: StagedRun) -> None:
        """Has `run`, which is about to start, take all that is delivered for its step; AbortedError when that has ended already."""
        step_id = run.step_id
        with self._lock:
            if self._ended and step_id in self._ended:
                raise self._has_ended(step_id)
            early = self._steps.pop(step_id, None)
            self._early.discard(step_id)
            self.runs[step_id] = run
        if early is not None:
            early.hand_over(run)

    def deliver_all(
        self, step_id: int, transfers: Sequence[Transfer], used: Callable[[], None]
    ) -> None:
        """As `deliver`, for tensors that arrived together; `used` is called once, for all of them."""
        run = self.runs.get(step_id)
        if run is not None:
            used()
            run.deliver(transfers)
            return
        last = transfers[-1]
        for transfer in transfers:
            self.deliver(step_id, *transfer, used if transfer is last else _nothing)

    def enter(self, step_id: int, routes: Routes | None = None) -> TaskRendezvous:
        """The rendezvous for a run that starts; AbortedError when the step has ended already."""
        with self._lock:
            step = self._find_or_create(step_id)
            step.runs += 1
            if routes is not None:
                step.routes = routes
            if self._early:
                self._early.discard(step_id)
            return step

    def deliver(
        self, step_id: int, key: str, value: Any, is_dead: bool, used: Callable[[], None]
    ) -> None:
        """Takes a tensor that another task has pushed, maybe before the step starts here; `used` is called once it is asked for,
        or dropped because the step has ended."""
        with self._lock:
            run = self.runs.get(step_id)
            step = self._steps.get(step_id)
            if step is None and run is None and step_id not in self._ended:
                step = self._find_or_create(step_id)
                self._early.add(step_id)
                if owner_of(step_id) not in self._masters:
                    self._orphan([step_id])
        if run is not None:
            used()
            run.deliver([(key, value, is_dead)])
        elif step is None:
            used()
        else:
            step.deliver(key, value, is_dead, used)

    # -- masters that go -----------------------------------------------------------------------------------

    def master_found(self, identity: str) -> None:
        """There is a connection to a process that may be the master of steps."""
        mark = owner(identity)
        with self._lock:
            self._masters[mark] = self._masters.get(mark, 0) + 1

    def master_lost(self, identity: str) -> None:
        """A connection is gone. Steps that a master had not yet started here when it died are forgotten after a while:
        nobody will end them."""
        mark = owner(identity)
        with self._lock:
            left = self._masters.get(mark, 0) - 1
            if left > 0:
                self._masters[mark] = left
                return
            self._masters.pop(mark, None)
            self._orphan([step_id for step_id in self._early if owner_of(step_id) == mark])

    def _orphan(self, step_ids: Iterable[int]) -> None:
        at = time.monotonic() + self._orphan_seconds
        self._orphans.extend((at, step_id) for step_id in step_ids)
        if self._orphans and self._timer is None:
            self._timer = timer.schedule(self._orphans[0][0], self._sweep)

    def _sweep(self) -> None:
        """Ends the steps that nobody has started in time."""
        due = []
        with self._lock:
            now = time.monotonic()
            while self._orphans and self._orphans[0][0] <= now:
                _, step_id = self._orphans.popleft()
                if step_id in self._early:
                    due.append(step_id)
            self._timer = None
            if self._orphans:
                self._timer = timer.schedule(self._orphans[0][0], self._sweep)
        for step_id in due:
            self.end(step_id)

    def peer_lost(self, identity: str, error: OpError) -> None:
        """Ends the steps that wait for tensors from a server that is gone."""
        with self._lock:
            steps = list(self._steps.values())
        for step in steps:
            if step.waits_for(identity):
                Rendezvous.abort(step, error)
        for run in list(self.runs.values()):
            run.lose(identity, error)

    def finish(self, step_id: int) -> None:
        """Forgets a step that has succeeded and of which nothing can come any more."""
        with self._lock:
            step = self._steps.pop(step_id, None)
        if step is not None:
            step.ended = True
            if step._unused:
                step.drop_unused()

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
                raise self._has_ended(step_id)
            step = self._steps[step_id] = TaskRendezvous(step_id, self._routes)
        return step

    def _has_ended(self, step_id: int) -> OpError:
        text = f"Step {step_id} has ended on {self._routes.own}"
        return failure.mark_derived(errors.AbortedError(None, None, text))

    def end(self, step_id: int) -> None:
        """Forgets a step; whoever still waits in it fails with AbortedError."""
        run = self.runs.pop(step_id, None)
        with self._lock:
            step = self._steps.pop(step_id, None)
            self._early.discard(step_id)
            self._ended[step_id] = None
            if len(self._ended) > _REMEMBERED:
                self._ended.popitem(last=False)
        if run is not None:
            text = f"Cleanup {step_id}"
            run.cancel(failure.mark_derived(errors.AbortedError(None, None, text)))
        if step is None:
            return
        step.ended = True
        step.drop_unused()
        if step.in_use:
            step.abort(errors.AbortedError(None, None, f"Cleanup {step_id}"))

    def abort_all(self, error: OpError) -> None:
        """Ends every step with this error."""
        with self._lock:
            steps, self._steps = self._steps, {}
            for step_id in steps:
                self._ended[step_id] = None
            self._early.clear()
            self._orphans.clear()
            number, self._timer = self._timer, None
        if number is not None:
            timer.cancel(number)
        for step in steps.values():
            step.abort(error)
        for run in list(self.runs.values()):
            run.cancel(error)

    def knows(self, step_id: int) -> bool:
        """Whether there is something of the step here."""
        return step_id in self._steps or step_id in self.runs

    def step_ids(self) -> list[int]:
        """The steps there are, sorted."""
        with self._lock:
            return sorted({*self._steps, *self.runs})


def _nothing() -> None:
    pass


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
