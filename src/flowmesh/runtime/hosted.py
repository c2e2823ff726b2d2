"""Running an executable with host ops in the caller's thread, which waits where an op has to wait.

The usual way (`executor.py`) gives each run a Future, locks and callbacks, for its units may be completed by many threads. A part whose steps one
thread calls again and again (a queue runner's, a training step's that begins with a batch) needs none of that: the units run in an order
that is known, and where nothing is left but to wait, the caller's thread waits, until the step's time is over. Cancelling, errors and what
queues are told of them are as there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from flowmesh.core import errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.deadline import Deadline
from flowmesh.passes.op_traits import Kind
from flowmesh.runtime.cost import HEAVY
from flowmesh.runtime.failures import annotate, timed_out
from flowmesh.runtime.inline import OrderedRun, in_order, is_complete, read_result, wanted
from flowmesh.runtime.queue_failures import tell_queues
from flowmesh.runtime.rendezvous import Rendezvous
from flowmesh.runtime.schedule import Schedule, Task
from flowmesh.runtime.step import StepContext

if TYPE_CHECKING:
    from flowmesh.runtime.executor import Executable

_NEVER = Deadline()
_KINDS = (Kind.COMPUTE, Kind.NUMPY, Kind.HOST)


@dataclass(eq=False)
class _Unit:
    """One unit: what runs it, its slots, its bit, and the bits of the units that it waits for."""

    task: Task
    runner: Any
    is_host: bool
    inputs: tuple[int, ...]
    outputs: list[tuple[int, int]]
    bit: int
    before: int


class HostedRun(OrderedRun):
    """One executable with its feeds and fetches in order. Thread-safe."""

    def __init__(
        self,
        executable: Executable,
        feeds: Sequence[str],
        fetches: Sequence[str],
        running: CancellationManager,
        over: Callable[[], None],
    ) -> None:
        """`executable` satisfies `is_hosted(executable, feeds, fetches)`. `running` ends all runs of this process, `over` is called
        after each."""
        super().__init__(executable, feeds, fetches)
        schedule = executable.schedule
        self._running, self._over = running, over
        before = _before(schedule)
        self._units = [
            _Unit(
                task,
                executable.clusters.get(task.index) or executable.hosts[task.index],
                task.kind is Kind.HOST,
                task.inputs,
                wanted(task.outputs),
                1 << task.index,
                before[task.index],
            )
            for task in in_order(schedule, executable.slow)
        ]
        self._clusters = list(executable.clusters.values())

    def is_parallel(self) -> bool:
        """Whether several clusters are worth a thread of their own: the usual way runs those side by side."""
        return len(self._clusters) > 1 and sum(c.work >= HEAVY for c in self._clusters) > 1

    def can_be_limited(self) -> bool:
        """Whether nothing in it may hold on to the caller's thread when its time is over."""
        return not self._executable.slow

    def run(
        self, values: Sequence[Any], session: CancellationManager, deadline: Deadline = _NEVER
    ) -> list[Any]:
        """The fetched values, for feeds in their order. `session` ends the run when it is cancelled.

        Raises an OpError that names the node, the reason of a cancellation, or a DeadlineExceededError that names what was waited for.
        """
        own = CancellationManager(session)
        token = self._running.register(own.cancel)
        step = StepContext(0, Rendezvous(0), own, deadline)
        slots = list(self._executable.schedule.template)
        try:
            self._bind(slots, values)
            self._run(slots, step)
            return [
                read_result(slots[s], op) if not self._plain else slots[s]
                for s, op in self._results
            ]
        except Exception as exc:
            error = own.error or annotate(None, exc)
            tell_queues(self._executable, slots, step, error)
            own.cancel(error)
            if error is exc:
                raise
            raise error from exc
        except BaseException as exc:  # a key was pressed: what waits is withdrawn
            own.cancel(errors.CancelledError(None, None, f"{type(exc).__name__} in the step"))
            raise
        finally:
            own.close()
            self._running.deregister(token)
            self._over()

    def _bind(self, slots: list[Any], values: Sequence[Any]) -> None:
        for at, slot in self._arguments:
            value = values[at]
            if type(value) is np.ndarray and value.flags.writeable:
                value = value.view()
                value.flags.writeable = False
            slots[slot] = value
        for slot, source in self._executable.sources:
            slots[slot] = source.find()

    def _run(self, slots: list[Any], step: StepContext) -> None:
        units: Sequence[_Unit] = self._units
        waiting: dict[Future[Any], _Unit] = {}
        while True:
            units = self._run_ready(units, slots, step, waiting)
            if not waiting:
                return
            done: Any = waiting
            left = step.deadline.remaining()
            if left is not None or len(waiting) > 1:
                done, _ = wait(waiting, left, FIRST_COMPLETED)
                if not done:
                    raise timed_out(unit.task for unit in waiting.values())
            for future in list(done):
                unit = waiting.pop(future)
                try:
                    outputs = unit.runner.outputs(future.result())
                except Exception as exc:
                    raise annotate(unit.task.op, exc) from exc
                for slot, at in unit.outputs:
                    slots[slot] = outputs[at]

    def _run_ready(
        self,
        units: Sequence[_Unit],
        slots: list[Any],
        step: StepContext,
        waiting: dict[Future[Any], _Unit],
    ) -> list[_Unit]:
        """Runs what does not wait for what is in `waiting`, and starts what waits itself; the units that are left."""
        state = self._executable.session_state
        blocked = 0
        for unit in waiting.values():
            blocked |= unit.bit
        left: list[_Unit] = []
        for unit in units:
            if blocked and unit.before & blocked:
                blocked |= unit.bit
                left.append(unit)
                continue
            inputs = [slots[i] for i in unit.inputs]
            try:
                outputs = unit.runner.run(inputs, step if unit.is_host else state)
                if isinstance(outputs, Future):
                    if not outputs.done():
                        waiting[outputs] = unit
                        blocked |= unit.bit
                        continue
                    outputs = unit.runner.outputs(outputs.result())
            except Exception as exc:
                raise annotate(unit.task.op, exc) from exc
            for slot, at in unit.outputs:
                slots[slot] = outputs[at]
            if step.cancellation.cancelled:
                step.cancellation.check()
        return left


def is_hosted(executable: Executable, feeds: Sequence[str], fetches: Sequence[str]) -> bool:
    """Whether a run of the executable with these feeds and fetches can be left to one thread: nothing that takes long or blocks stands
    beside what may have to wait for it."""
    schedule = executable.schedule
    if not executable.hosts or executable.functions is not None:
        return False
    if not is_complete(schedule, feeds, fetches):
        return False
    if not all(task.kind in _KINDS for task in schedule.tasks):
        return False
    if any(op.definition.step_object for task in schedule.tasks for op in task.ops):
        return False
    above = _above(schedule)
    may_wait = [
        t.index
        for t in schedule.tasks
        if (
            t.kind is Kind.HOST
            and not t.op.definition.finds_resource
            and not t.op.definition.prompt
        )
        or t.index in executable.slow
    ]
    return all(
        above[a] >> b & 1 or above[b] >> a & 1
        for a in may_wait
        if a in executable.slow
        for b in may_wait
        if a != b
    )


def _before(schedule: Schedule) -> list[int]:
    """The bits of the units that each unit waits for."""
    before = [0] * len(schedule.tasks)
    for task in schedule.tasks:
        for number in task.successors:
            before[number] |= 1 << task.index
    return before


def _above(schedule: Schedule) -> list[int]:
    """The same, with those that these wait for, and so on."""
    above = _before(schedule)
    for task in in_order(schedule):
        for number in task.successors:
            above[number] |= above[task.index]
    return above
