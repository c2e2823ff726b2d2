"""Running a part of a step that spans several tasks, without a Future for each tensor that it waits for.

Eligible is an executable of clusters, sends and receives. Each unit has the set of receives that it needs, itself or through others, as bits; when
tensors arrive, the units whose sets are complete run one after the other in the thread that delivers, and what they
send leaves together. Steps that are traced or come in pieces take the usual way (`executor.py`), and so do parts with work for several
threads. Nothing here looks at a clock: who waits for the run says when its time is over (`expire`).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeAlias

import numpy as np

from flowmesh.core import errors
from flowmesh.core.errors import OpError
from flowmesh.passes.op_traits import Kind
from flowmesh.resources.variable import Variable
from flowmesh.runtime.cost import PARALLEL
from flowmesh.runtime.executor import Executable
from flowmesh.runtime.failures import annotate, timed_out
from flowmesh.runtime.inline import in_order
from flowmesh.runtime.pool import slow_pool
from flowmesh.runtime.products import Room
from flowmesh.runtime.schedule import Task
from flowmesh.runtime.values import DEAD, shared_copy

_CLUSTERS = (Kind.COMPUTE, Kind.NUMPY)
_PROMPT = 200_000
"""Work from which on what is ready to be sent does not wait for the next unit."""
_COPIED = 16_384
"""Bytes from which on a feed of a compiled cluster is copied before the cluster has all that it needs."""
_READS = frozenset({"Identity", "ReadVariableOp"})
"""Ops whose output is their first input, or what the variable there holds."""
_LONG = 30_000_000
"""Work from which on a unit does not run in a thread that merely delivered a value."""

Transfer: TypeAlias = tuple[str, Any, bool]
"""Rendezvous key, value, and whether it is dead."""
Done: TypeAlias = Callable[[dict[str, Any] | None, OpError | None], None]
"""Told the results by tensor name, or the error, exactly once."""


class Owner(Protocol):
    """Who runs the parts of a task."""

    def send_all(self, run: StagedRun, transfers: Sequence[Transfer]) -> None:
        """Sends tensors to the tasks that wait for them; raises an OpError when one cannot be reached."""

    def room(self, run: StagedRun, key: str, shape: tuple[int, ...], dtype: Any) -> Any:
        """An array of this shape and type that nobody else uses, to be sent under this rendezvous key later; None for any other one."""

    def is_filled(self, run: StagedRun) -> None:
        """What was computed in the room will be sent soon."""

    def over(self, run: StagedRun) -> None:
        """The run has ended; nothing need be delivered any more."""

    def comes_from(self, key: str, identity: str) -> bool:
        """Whether the server with this identity sends under this rendezvous key."""


class _Unit:
    """A cluster, or a send."""

    __slots__ = (
        "does_nothing",
        "drops",
        "index",
        "inputs",
        "mask",
        "op",
        "outputs",
        "reads",
        "rooms",
        "runner",
        "slow",
        "task",
    )

    def __init__(self, task: Task, mask: int, runner: Any, slow: bool) -> None:
        self.slow = slow
        self.rooms: dict[int, str] = {}
        """Positions of outputs that are sent and used for nothing else, with the rendezvous key."""
        self.drops: tuple[int, ...] = ()
        """Slots that nobody else uses: a variable that is updated later in the step should find its array unused."""
        self.task = task
        self.index = task.index
        self.mask = mask
        self.runner = runner
        self.inputs = task.inputs
        self.outputs = [(slot, at) for at, slot in enumerate(task.outputs) if slot >= 0]
        self.op = task.op
        self.does_nothing = runner is not None and all(op.type == "NoOp" for op in task.ops)
        self.reads = runner is None and task.op.inputs[0].dtype._is_ref_dtype

    def takes_long(self, slots: Sequence[Any]) -> bool:
        """Whether a thread that merely delivered a value leaves it to another one."""
        runner = self.runner
        return bool(
            self.slow or runner.work >= _LONG or runner.may_take_long(slots, self.inputs, _LONG)
        )


class StagedPlan:
    """An executable as units with the receives they need. Thread-safe."""

    def __init__(self, executable: Executable) -> None:
        """`executable` satisfies `can_be_staged`."""
        schedule = executable.schedule
        self.state = executable.session_state
        self.has_slow = bool(executable.slow)
        """Whether there are units that may block."""
        self.pool = slow_pool() if self.has_slow else executable.pool
        self.arguments = schedule.arguments
        self.argument_ops = schedule.argument_ops
        self.results = schedule.results
        self.receives: dict[str, tuple[int, int, Task]] = {}
        """Bit, slot and unit of each rendezvous key that is awaited."""
        self.units: list[_Unit] = []
        self._executable = executable
        self._resources = executable.resources
        self._bound: tuple[int, list[Any]] = (-1, [])
        self._find_units()
        self._find_drops()
        self.early = self._find_early()
        """Fed slots of clusters that have to wait for tensors, with the cluster: there is time to copy such a feed before these arrive."""
        self.after_variables = self._find_after_variables()
        """The units that are left when all variables have been sent that can be sent at once; None when the part begins with more than that."""
        self.awaited = (1 << len(self.receives)) - 1
        """The bits of all receives."""
        self._heavy = [u.runner for u in self.units if u.runner is not None]

    def _find_units(self) -> None:
        masks: dict[int, int] = {}
        tasks = self._executable.schedule.tasks
        before: dict[int, int] = dict.fromkeys(range(len(tasks)), 0)
        for task in in_order(self._executable.schedule):
            mask = before[task.index]
            if task.kind is Kind.RECV:
                bit = 1 << len(self.receives)
                mask |= bit
                self.receives[task.key] = (bit, task.outputs[0], task)
            else:
                runner = self._executable.clusters.get(task.index)
                slow = task.index in self._executable.slow
                self.units.append(_Unit(task, mask, runner, slow))
            masks[task.index] = mask
            for number in task.successors:
                before[number] |= mask

    def _find_drops(self) -> None:
        used = Counter(slot for unit in self.units for slot in set(unit.inputs))
        kept = {slot for _, slot, _ in self.results}
        for unit in self.units:
            unit.drops = tuple(s for s in set(unit.inputs) if used[s] == 1 and s not in kept)
        sends = {
            unit.inputs[0]: unit.task.key
            for unit in self.units
            if unit.runner is None and unit.inputs[0] in unit.drops
        }
        for unit in self.units:
            unit.rooms = {position: sends[slot] for slot, position in unit.outputs if slot in sends}

    def _find_early(self) -> list[tuple[int, Any]]:
        fed = set(self._executable.schedule.arguments.values())
        users: dict[int, list[_Unit]] = {}
        for unit in self.units:
            for slot in fed.intersection(unit.inputs):
                users.setdefault(slot, []).append(unit)
        return [
            (slot, units[0].runner)
            for slot, units in users.items()
            if all(unit.mask and unit.runner is not None for unit in units)
        ]

    def _find_after_variables(self) -> list[_Unit] | None:
        sent = self.variables_sent(0)
        first = [unit for unit in self.units if not unit.mask]
        sends = [unit for unit in first if unit.runner is None]
        reads = [unit for unit in first if unit.runner is not None]
        rest = [unit for unit in self.units if unit.mask]
        used = {slot for unit in [*reads, *rest] for slot in unit.inputs}
        used.update(slot for _, slot, _ in self.results)
        if (
            not sent
            or {unit.task.key for unit in sends} != set(sent)
            or any(op.type not in _READS for unit in reads for op in unit.task.ops)
            or any(slot in used for unit in reads for slot, _ in unit.outputs)
        ):
            return None
        return rest

    @property
    def is_bound(self) -> bool:
        """Whether the variables of the latest run are still the part's."""
        return self._bound[0] == self._resources.generation

    def variables_sent(self, size: int) -> dict[str, int]:
        """The slots of variables that are sent as they are and may have `size` bytes or more, by the rendezvous key of the send."""
        slots = {op: slot for slot, op in self._executable.schedule.sources}
        found: dict[str, int] = {}
        for unit in self.units:
            if unit.runner is None:
                tensor = unit.op.inputs[0]
                count = tensor.shape.num_elements()
                op = tensor.op
                while op.type in _READS:
                    op = op.inputs[0].op
                if op in slots and (count is None or count * tensor.dtype.size >= size):
                    found[unit.task.key] = slots[op]
        return found

    @property
    def sends(self) -> list[str]:
        """The rendezvous keys under which it sends."""
        return [u.task.key for u in self.units if u.runner is None]

    def is_parallel(self) -> bool:
        """Whether several units are worth a thread of their own."""
        heavy = self._heavy
        if len(heavy) < 2:
            return False
        count = 0
        for runner in heavy:
            if runner.work >= PARALLEL:
                count += 1
        return count > 1

    def slots(self) -> list[Any]:
        """The slots at the beginning of a run: constants and variables are there."""
        generation, bound = self._bound
        if generation != self._resources.generation:
            generation = self._resources.generation
            bound = list(self._executable.schedule.template)
            for slot, source in self._executable.sources:
                bound[slot] = source.find()
            self._bound = (generation, bound)
        return bound.copy()

    def latest(self, slots: Mapping[str, int]) -> list[tuple[str, Any]]:
        """What the latest run began with in these slots, by their names; nothing when it would have to be looked up again."""
        if not self.is_bound:
            return []
        bound = self._bound[1]
        return [(name, bound[slot]) for name, slot in slots.items()]


class StagedRun:
    """One run. Thread-safe: tensors may be delivered from several threads, also before `start`."""

    __slots__ = (
        "_arrived",
        "_dead",
        "_done",
        "_driving",
        "_lock",
        "_over",
        "_owner",
        "_plan",
        "_slots",
        "_todo",
        "placed",
        "step_id",
    )

    def __init__(
        self, plan: StagedPlan, step_id: int, owner: Owner, done: Done, sent: bool = False
    ) -> None:
        """`sent` tells that the plan's variables have been sent (`after_variables`). Raises what looking up the part's variables
        raises."""
        self.step_id = step_id
        self.placed: dict[str, Any] = {}
        """For the owner: what is to be sent from the room that it gave."""
        self._plan = plan
        self._owner = owner
        self._done = done
        self._lock = threading.Lock()
        self._slots = plan.slots()
        self._todo: Sequence[_Unit] = plan.units
        if sent and plan.after_variables is not None:
            self._todo = plan.after_variables
        self._arrived = 0
        self._dead: set[int] | None = None
        self._driving = True
        """Whether a thread runs units, which looks for more before it stops; `start` begins with that."""
        self._over = False

    def start(self, values: Mapping[str, Any], at_home: bool = True) -> None:
        """Runs what needs no receive, in this thread. `values` are those of the fed tensors by name; `at_home` tells whether the
        thread may do work that takes long."""
        slots = self._slots
        for name, slot in self._plan.arguments.items():
            try:
                value = values[name]
            except KeyError:
                op = self._plan.argument_ops[name]
                text = f"No value was given for the fed tensor {name}"
                self.cancel(annotate(op, errors.InvalidArgumentError(None, op, text)))
                return
            if type(value) is np.ndarray and value.flags.writeable:
                value = value.view()
                value.flags.writeable = False
            slots[slot] = value
        for slot, runner in self._plan.early:
            value = slots[slot]
            if type(value) is np.ndarray and value.nbytes >= _COPIED and runner.is_compiled:
                slots[slot] = shared_copy(value)
        self._drive(at_home)

    def deliver(self, transfers: Iterable[Transfer]) -> None:
        """Takes tensors, and runs what they complete. Those that nobody waits for are dropped."""
        receives = self._plan.receives
        with self._lock:
            for key, value, is_dead in transfers:
                found = receives.get(key)
                if found is None or self._over:
                    continue
                bit, slot, task = found
                if is_dead:
                    value = DEAD
                    if self._dead is None:
                        self._dead = set()
                    self._dead.add(task.index)
                if slot >= 0:
                    self._slots[slot] = value
                self._arrived |= bit
            if self._driving or self._over:
                return
            self._driving = True
        self._drive(at_home=False)

    def cancel(self, error: OpError) -> None:
        """Ends the run with this error, unless it is over; when its time is over, with one that tells what it was waiting for."""
        if error.error_code == errors.DEADLINE_EXCEEDED:
            receives = self._plan.receives.values()
            error = timed_out(task for bit, _, task in receives if not self._arrived & bit)
        with self._lock:
            if self._over:
                return
            self._over = True
        self._owner.over(self)
        self._done(None, error)

    expire = cancel

    def lose(self, identity: str, error: OpError) -> None:
        """Ends the run when it waits for a tensor from the server with this identity, which is gone."""
        for key, (bit, _, task) in self._plan.receives.items():
            if not self._arrived & bit and self._owner.comes_from(key, identity):
                self.cancel(annotate(task.op, error))
                return

    def missing(self) -> list[str]:
        """The rendezvous keys that are still waited for, sorted."""
        return sorted(k for k, (b, _, _) in self._plan.receives.items() if not self._arrived & b)

    # -- the loop ------------------------------------------------------------------------------------------

    def _drive(self, at_home: bool) -> None:
        """Runs units as long as there are any that are ready. `at_home`: whether the thread has nothing else to do."""
        while True:
            arrived = self._arrived
            try:
                if not self._run_ready(arrived, at_home):
                    self._plan.pool.submit(lambda: self._drive(at_home=True))
                    return
            except OpError as error:
                self.cancel(error)
                return
            with self._lock:
                if self._over:
                    return
                if self._arrived == arrived:
                    if self._todo or arrived != self._plan.awaited:
                        self._driving = False
                        return
                    self._over = True
                    break
        self._finish()

    def _run_ready(self, arrived: int, at_home: bool) -> bool:
        """Runs the units whose receives have arrived, in order; False when another thread should go on."""
        slots, state = self._slots, self._plan.state
        outbox: list[tuple[Transfer, _Unit]] = []
        later: list[_Unit] = []
        units = self._todo
        for at, unit in enumerate(units):
            if unit.mask & ~arrived:
                later.append(unit)
                continue
            runner = unit.runner
            if self._dead is not None and self._is_dead(unit):
                self._skip(unit, outbox)
            elif runner is None:
                outbox.append(((unit.task.key, self._value(unit), False), unit))
            elif not unit.does_nothing:
                if runner.work >= _PROMPT and outbox:
                    self._send(outbox)
                    outbox = []
                if not at_home and unit.takes_long(self._slots):
                    if outbox:
                        self._send(outbox)
                    self._todo = [*later, *units[at:]]
                    return False
                try:
                    rooms = self._rooms(unit) if unit.rooms and runner.shares else None
                    results = runner.run([slots[i] for i in unit.inputs], state, None, rooms)
                except Exception as exc:
                    raise annotate(unit.op, exc) from exc
                if rooms and self.placed:
                    self._owner.is_filled(self)
                for slot, number in unit.outputs:
                    slots[slot] = results[number]
            for slot in unit.drops:
                slots[slot] = None
            if self._over:
                return True
        self._todo = later
        if outbox:
            self._send(outbox)
        return True

    def _rooms(self, unit: _Unit) -> dict[int, Room]:
        return {p: partial(self._owner.room, self, key) for p, key in unit.rooms.items()}

    def _send(self, outbox: Sequence[tuple[Transfer, _Unit]]) -> None:
        try:
            self._owner.send_all(self, [transfer for transfer, _ in outbox])
        except Exception as exc:
            raise annotate(outbox[0][1].op, exc) from exc

    def _value(self, unit: _Unit) -> Any:
        value = self._slots[unit.inputs[0]]
        if unit.reads and isinstance(value, Variable):
            try:
                return value.read()
            except OpError as exc:
                raise annotate(unit.op.inputs[0].op, exc) from exc
        return value

    def _is_dead(self, unit: _Unit) -> bool:
        dead = self._dead
        assert dead is not None
        return any(self._slots[i] is DEAD for i in unit.inputs) or any(
            number in dead for number in unit.task.controls
        )

    def _skip(self, unit: _Unit, outbox: list[tuple[Transfer, _Unit]]) -> None:
        """Passes a dead unit over; a dead send tells the other side."""
        assert self._dead is not None
        self._dead.add(unit.index)
        for slot, _ in unit.outputs:
            self._slots[slot] = DEAD
        if unit.runner is None:
            outbox.append(((unit.task.key, None, True), unit))

    def _finish(self) -> None:
        """Tells the results; refs are read only now, after all updates of the step."""
        self._owner.over(self)
        results: dict[str, Any] = {}
        try:
            for number, (name, slot, op) in enumerate(self._plan.results):
                value = self._slots[slot]
                if isinstance(value, Variable):
                    try:
                        value = value.read()
                    except OpError as exc:
                        raise annotate(op, exc) from exc
                elif value is DEAD:
                    raise errors.InvalidArgumentError(
                        None, op, f"Retval[{number}] does not have value"
                    )
                results[name] = value
        except OpError as error:
            self._slots = []
            self._done(None, error)
            return
        self._slots = []
        self._done(results, None)


def can_be_staged(executable: Executable) -> bool:
    """Whether it has nothing but clusters, sends and receives, and is fed and fetched at once."""
    schedule = executable.schedule
    return (
        all(task.kind in (*_CLUSTERS, Kind.SEND, Kind.RECV) for task in schedule.tasks)
        and not schedule.feed_keys
        and not schedule.fetch_keys
    )
