"""Running an executable in the caller's thread, without the machinery for waiting.

Eligible is an executable of clusters alone: nothing in it can wait, receive, send or die, so there is nothing to cancel, to time out or
to clean up, and the units can run one after the other. What a run is given and returns are sequences in fixed orders: no names are looked up.
Steps that are traced, that have a time limit of their own, or that have work for several threads take the usual way.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from flowmesh.core.errors import OpError
from flowmesh.graph.operation import Operation
from flowmesh.passes.op_traits import Kind
from flowmesh.resources.variable import Variable
from flowmesh.runtime.cost import HEAVY
from flowmesh.runtime.failures import annotate
from flowmesh.runtime.schedule import Schedule, Task

if TYPE_CHECKING:
    from flowmesh.runtime.executor import Executable

_CLUSTERS = (Kind.COMPUTE, Kind.NUMPY)


class OrderedRun:
    """One executable with its feeds and fetches in order: which slots these are."""

    def __init__(
        self, executable: Executable, feeds: Sequence[str], fetches: Sequence[str]
    ) -> None:
        """`executable` satisfies `is_complete(executable.schedule, feeds, fetches)`."""
        schedule = executable.schedule
        self._executable = executable
        self._arguments = [
            (at, schedule.arguments[name])
            for at, name in enumerate(feeds)
            if name in schedule.arguments
        ]
        by_name = {name: (slot, op) for name, slot, op in schedule.results}
        self._results = [by_name[name] for name in fetches]
        self._plain = not any(is_ref(op) for _, op in self._results)


class InlineRun(OrderedRun):
    """One executable with its feeds and fetches in order. Thread-safe."""

    def __init__(
        self, executable: Executable, feeds: Sequence[str], fetches: Sequence[str]
    ) -> None:
        """`executable` satisfies `is_inline(executable, feeds, fetches)`."""
        super().__init__(executable, feeds, fetches)
        self._resources = executable.resources
        self._state = executable.session_state
        self._generation = -1
        self._bound: list[Any] = []
        self._units = [
            (executable.clusters[t.index], t.inputs, wanted(t.outputs), t.op)
            for t in in_order(executable.schedule)
        ]
        self._slots = [slot for slot, _ in self._results]

    def is_parallel(self) -> bool:
        """Whether several units are worth a thread of their own: the usual way runs those side by side."""
        return len(self._units) > 1 and sum(u[0].work >= HEAVY for u in self._units) > 1

    def run(self, values: Sequence[Any]) -> list[Any]:
        """The fetched values, for feeds in their order. Raises an OpError that names the node."""
        if self._generation != self._resources.generation:
            self._bind()
        slots = self._bound.copy()
        for at, slot in self._arguments:
            value = values[at]
            if type(value) is np.ndarray and value.flags.writeable:
                value = value.view()
                value.flags.writeable = False
            slots[slot] = value
        state = self._state
        for runner, inputs, outputs, op in self._units:
            try:
                results = runner.run([slots[i] for i in inputs], state)
            except Exception as exc:
                raise annotate(op, exc) from exc
            for slot, at in outputs:
                slots[slot] = results[at]
        if self._plain:
            return [slots[i] for i in self._slots]
        return [read_result(slots[slot], op) for slot, op in self._results]

    def _bind(self) -> None:
        """Looks the variables up; they stay the same until a resource is removed."""
        generation = self._resources.generation
        bound = list(self._executable.schedule.template)
        for slot, source in self._executable.sources:
            bound[slot] = source.find()
        self._bound = bound
        self._generation = generation


def is_inline(executable: Executable, feeds: Sequence[str], fetches: Sequence[str]) -> bool:
    """Whether a run of the executable with these feeds and fetches never has to wait for anything."""
    schedule = executable.schedule
    return all(task.kind in _CLUSTERS for task in schedule.tasks) and is_complete(
        schedule, feeds, fetches
    )


def is_complete(schedule: Schedule, feeds: Sequence[str], fetches: Sequence[str]) -> bool:
    """Whether a run with these feeds and fetches has no branches, is fed at once and fetched at once."""
    return (
        not schedule.may_die
        and set(feeds).issuperset(schedule.arguments)
        and {name for name, _, _ in schedule.results}.issuperset(fetches)
        and not schedule.feed_keys
        and not schedule.fetch_keys
    )


def in_order(schedule: Schedule, slow: Container[int] = ()) -> list[Task]:
    """The units in the order in which the usual way runs them: those that are `slow` come when nothing else is ready."""
    pending = [task.pending for task in schedule.tasks]
    stack = list(schedule.roots)[::-1]
    later: list[int] = []
    order = []
    while stack or later:
        if not stack:
            number = later.pop()
        elif (number := stack.pop()) in slow:
            later.append(number)
            continue
        task = schedule.tasks[number]
        order.append(task)
        ready = []
        for after in task.successors:
            pending[after] -= 1
            if not pending[after]:
                ready.append(after)
        stack.extend(ready[::-1])
    return order


def wanted(outputs: Sequence[int]) -> list[tuple[int, int]]:
    """The slot and the number of each output that somebody uses."""
    return [(slot, at) for at, slot in enumerate(outputs) if slot >= 0]


def is_ref(op: Operation) -> bool:
    """Whether the op gives a ref."""
    return any(t.dtype._is_ref_dtype for t in op.outputs)


def read_result(value: Any, op: Operation) -> Any:
    """A result; refs are read only now, after all updates of the step."""
    if isinstance(value, Variable):
        try:
            return value.read()
        except OpError as exc:
            raise annotate(op, exc) from exc
    return value
