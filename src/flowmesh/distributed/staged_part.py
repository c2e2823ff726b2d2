"""`StagedPart`: a registered part of a graph that runs without futures, and where its tensors come from and go to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flowmesh.distributed.copies_ahead import MAX_TENSORS, CopiesAhead
from flowmesh.distributed.interfaces import WorkerInterface
from flowmesh.distributed.routes import Routes, source_task, target_task
from flowmesh.distributed.steps import StepTable
from flowmesh.distributed.transport.direct.segments import THRESHOLD
from flowmesh.runtime.executor import Executable
from flowmesh.runtime.staged import Done, StagedPlan, StagedRun, Transfer, can_be_staged


class StagedPart:
    """One part on one task, for one state of the session's routes. Thread-safe."""

    def __init__(
        self,
        executable: Executable,
        routes: Routes,
        steps: StepTable,
        over: Callable[[], None],
    ) -> None:
        """`over` is called after each run."""
        self.routes = routes
        self.plan = StagedPlan(executable)
        self._steps = steps
        self._over = over
        self._targets: dict[str, tuple[WorkerInterface, str]] = {}
        for key in self.plan.sends:
            target = routes.target(key)
            assert target is not None
            self._targets[key] = (target, routes.direct[target_task(key)])
        every = self.plan.variables_sent(0)
        is_message = (
            self.plan.after_variables is not None
            and len(every) <= MAX_TENSORS
            and len({self._targets[key][1] for key in every}) == 1
        )
        self._sent = every if is_message else self.plan.variables_sent(THRESHOLD)
        self._ahead: CopiesAhead | None = None
        if self._sent:
            targets = [(key, self._targets[key][0]) for key in self._sent]
            self._ahead = CopiesAhead(targets, is_message)

    def usable(self, limited: bool = False) -> bool:
        """Whether a run that begins now is best done this way. A run in the calling thread that is `limited` must not hold on to it."""
        return not (self.plan.is_parallel() or (limited and self.plan.has_slow))

    def run(self, step_id: int, done: Done) -> StagedRun:
        """A run that has been announced, so that tensors are delivered to it; it is to be started. Raises AbortedError when
        the step has ended already."""
        plan, ahead = self.plan, self._ahead
        # First of all what the other side waits for. It is not asked for when the step turns out to have ended.
        sent = ahead is not None and ahead.has_message and plan.is_bound and ahead.send(step_id)
        run = StagedRun(plan, step_id, self, done, sent)
        self._steps.begin(run)
        return run

    def send_all(self, run: StagedRun, transfers: Sequence[Transfer]) -> None:
        """See `staged.Owner`: those for one task leave in one message."""
        targets = self._targets
        if run.placed:
            placed = run.placed
            transfers = [placed.pop(t[0]).as_sent(t) if t[0] in placed else t for t in transfers]
        if self._ahead is not None:
            transfers = self._ahead.use(transfers)
        if len(transfers) > 1 and len(targets) > 1:
            groups: dict[str, tuple[WorkerInterface, list[Transfer]]] = {}
            for transfer in transfers:
                target, identity = targets[transfer[0]]
                groups.setdefault(identity, (target, []))[1].append(transfer)
            for identity, (target, group) in groups.items():
                target.push_all(identity, run.step_id, group)
            return
        target, identity = targets[transfers[0][0]]
        target.push_all(identity, run.step_id, transfers)

    def room(self, run: StagedRun, key: str, shape: tuple[int, ...], dtype: Any) -> Any:
        """See `staged.Owner`: what is large is computed where the other side can read it."""
        target, identity = self._targets[key]
        link = target.link
        if link is None or link.identity != identity:
            return None
        placed = link.room(shape, dtype)
        if placed is None:
            return None
        run.placed[key] = placed
        return placed.array

    def is_filled(self, run: StagedRun) -> None:
        """See `staged.Owner`: who waits for it is woken while the message is made."""
        for link in {placed.link for placed in run.placed.values()}:
            link.channel.wake()

    def prepare(self) -> None:
        """A run is over, and has told what it gave: there is time to prepare the next one."""
        ahead = self._ahead
        if ahead is not None and not ahead.is_resting():
            ahead.prepare(self.plan.latest(self._sent))

    def over(self, run: StagedRun) -> None:
        """See `staged.Owner`."""
        self._steps.runs.pop(run.step_id, None)
        self._over()

    def comes_from(self, key: str, identity: str) -> bool:
        """See `staged.Owner`."""
        return self.routes.direct.get(source_task(key)) == identity


def staged_part(
    executable: Executable, routes: Routes, steps: StepTable, over: Callable[[], None]
) -> StagedPart | None:
    """The part as one that can run in stages; None when it must go the usual way."""
    if not routes.direct or not can_be_staged(executable):
        return None
    part = StagedPlan(executable)
    for key in part.receives:
        source = source_task(key)
        if source == routes.own or source not in routes.direct:
            return None
    if any(routes.target(key) is None for key in part.sends):
        return None
    return StagedPart(executable, routes, steps, over)
