"""Many runs of a part in one go, where a run takes one record from somewhere, computes, and puts the result into a queue.

That is what the threads of queue runners do all the time: read, decode, enqueue. `ManyRecords.run` takes the records that are there,
computes each op for all of them, and enqueues the results at once, as far as there is room: after it the program sees exactly what so many
runs one after the other leave behind. It never waits; where a run would have to, where there is nothing to take, and where
a record is bad it does nothing, and the next runs are single ones, which wait or tell the error.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from flowmesh.ops.row_kernels import ROW_KERNELS, RowKernel
from flowmesh.passes.op_traits import Kind
from flowmesh.resources.manager import ResourceManager
from flowmesh.runtime.inline import in_order
from flowmesh.runtime.shaped import grouped_kernel
from flowmesh.runtime.straight import is_pure, slots_of
from flowmesh.runtime.values import as_output

if TYPE_CHECKING:
    from flowmesh.runtime.executor import Executable

_FIRST, _MOST = 16, 1024
_LONG_SECS, _SHORT_SECS = 0.008, 0.002
"""Records at first and at most, and how long the work for as many as are taken at a time should take: a coordinator that wants to stop,
and a consumer of the first element, wait for it. What comes out does not depend on it."""
_LARGE = 1 << 14
"""Bytes of a result from which on results are not copied into one array."""


@dataclass(eq=False)
class _Op:
    """One pure op: kernels, and the slots it reads and fills."""

    definition: Any
    kernel: Any
    for_all: RowKernel | None
    sources: tuple[int, ...]
    targets: tuple[int, ...]
    lists: tuple[bool, ...]
    dtypes: tuple[Any, ...]


@dataclass(eq=False)
class _Guard:
    """Stands in front of the ops of a cluster that NumPy runs for some shapes only."""

    runner: Any
    inputs: tuple[int, ...]

    def check(self, count: int, slots: list[Any], state: bytearray) -> None:
        """Raises `_NotNow` when it is not known that NumPy will always run these records."""
        ragged = any(state[s] == _LIST for s in self.inputs)
        for i in range(count if ragged else 1):
            if not self.runner.is_numpys([_record(slots[s], state[s], i) for s in self.inputs]):
                raise _NotNow


class _NotNow(Exception):
    """Some single runs are needed first."""


@dataclass(eq=False)
class _Plan:
    """What a run does: look handles up, take from `source`, compute, put into `sink`."""

    template: list[Any]
    finders: list[tuple[int, int]]
    source: Any
    ops: list[_Op | _Guard]
    sink: Any


class ManyRecords:
    """One executable of that kind, for one thread."""

    def __init__(self, executable: Executable, plan: _Plan) -> None:
        self._hosts = executable.hosts
        self._resources: ResourceManager = executable.resources
        self._plan = plan
        self._size = _FIRST
        self._single = 0
        """How many runs are to be single ones, for one of them fails."""
        source, sink = plan.source, plan.sink
        self._take = source.op.definition.take_rows
        self._wanted = [slot >= 0 for slot in source.outputs]
        self._put = sink.op.definition.put_rows

    def run(self) -> int:
        """How many runs were done; 0 when the next one must be a single one."""
        if self._single:
            self._single -= 1
            return 0
        slots = self._handles()
        if slots is None:
            return 0
        plan = self._plan
        room = slots[plan.sink.inputs[0]].room()
        if room < 2:
            return 0
        started = time.perf_counter()
        taken = self._take(min(room, self._size), *[slots[i] for i in plan.source.inputs])
        if taken is None:
            return 0
        used = 0
        try:
            used = self._run(slots, taken)
        except Exception:  # told by the single run that comes upon it
            self._single = taken.count
        finally:
            taken.settle(used)
        self._adapt(taken.count, time.perf_counter() - started)
        return used

    def _handles(self) -> list[Any] | None:
        """The slots with queues and readers; None when they have to be looked up anew."""
        slots = self._plan.template.copy()
        generation = self._resources.generation
        for slot, number in self._plan.finders:
            found = self._hosts[number].found(generation)
            if found is None:
                return None
            slots[slot] = found
        return slots

    def _adapt(self, count: int, seconds: float) -> None:
        if seconds > _LONG_SECS:
            self._size = max(2, count // 2)
        elif seconds < _SHORT_SECS and count == self._size:
            self._size = min(2 * count, _MOST)

    def _run(self, slots: list[Any], taken: Any) -> int:
        plan, count = self._plan, taken.count
        state = bytearray(len(slots))  # of each slot: a value, an array with rows, a list of values
        columns = taken.columns(self._wanted)
        for slot, column in zip(plan.source.outputs, columns):
            if slot >= 0:
                slots[slot] = column
                state[slot] = _ARRAY if isinstance(column, np.ndarray) else _LIST
        with np.errstate(all="ignore"):
            for slot in [i for i in range(len(slots)) if state[i] == _LIST]:
                _compact(slots, state, slot)
            for op in plan.ops:
                if isinstance(op, _Guard):
                    op.check(count, slots, state)
                else:
                    _run_op(op, count, slots, state)
        results = []
        for slot in plan.sink.inputs[1:]:
            value = slots[slot]
            results.append(value if state[slot] else np.broadcast_to(value, (count, *value.shape)))
        return self._put(slots[plan.sink.inputs[0]], results, count)  # type: ignore[no-any-return]


_ARRAY, _LIST = 1, 2


def _run_op(op: _Op, count: int, slots: list[Any], state: bytearray) -> None:
    kinds = [state[s] for s in op.sources]
    inputs = [slots[s] for s in op.sources]
    if not any(kinds):
        for slot, value in zip(op.targets, _outputs(op, op.kernel(np, *inputs))):
            slots[slot] = value
        return
    if op.for_all is not None and _LIST not in kinds:
        together = op.for_all(op.definition, count, inputs, [bool(kind) for kind in kinds])
        if together is not None:
            for slot, value in zip(op.targets, together):
                slots[slot], state[slot] = value, _ARRAY
            return
    rows = []
    for i in range(count):
        record = [_record(x, kind, i) for x, kind in zip(inputs, kinds)]
        rows.append(_outputs(op, op.kernel(np, *record)))
    for slot, column in zip(op.targets, zip(*rows)):
        slots[slot], state[slot] = list(column), _LIST
        _compact(slots, state, slot)


def _record(value: Any, kind: int, number: int) -> Any:
    """What one record has in a slot."""
    if not kind:
        return value
    return value[number] if kind == _LIST else value[number, ...]


def _compact(slots: list[Any], state: bytearray, slot: int) -> None:
    """Makes a list of small arrays of one shape an array."""
    column = slots[slot]
    first = column[0]
    if first.nbytes < _LARGE and all(
        x.shape == first.shape and x.dtype == first.dtype for x in column
    ):
        slots[slot], state[slot] = np.stack(column), _ARRAY


def _outputs(op: _Op, result: Any) -> list[Any]:
    """What a kernel returned, as one array for each output."""
    if len(op.lists) == 1:
        if type(result) is tuple and len(result) == 1:
            (result,) = result
        result = (result,)
    flat: list[Any] = []
    for part, is_list in zip(result, op.lists):
        if is_list:
            flat.extend(part)
        else:
            flat.append(part)
    return [as_output(value, dtype) for value, dtype in zip(flat, op.dtypes)]


# -- which parts ------------------------------------------------------------------------------------------


def many_records(executable: Executable) -> ManyRecords | None:
    """Runs of many records at a time, where the part is of that kind: one op that takes a record, pure ops that NumPy will always run, one
    enqueue. None for all others, and for those of which that is not known yet: it may be after some more runs."""
    schedule = executable.schedule
    if schedule.may_die or schedule.results or schedule.arguments or executable.sources:
        return None
    source = sink = None
    finders: list[tuple[int, int]] = []
    ops: list[_Op | _Guard] = []
    template = list(schedule.template)
    for task in in_order(schedule):
        definition: Any = task.op.definition
        if task.kind in (Kind.COMPUTE, Kind.NUMPY):
            if not _add(executable.clusters[task.index], task, template, ops):
                return None
        elif task.kind is not Kind.HOST or sink is not None:
            return None
        elif definition.finds_resource and not task.inputs and len(task.outputs) == 1:
            finders.append((task.outputs[0], task.index))
        elif source is None and hasattr(definition, "take_rows"):
            source = task
        elif getattr(definition, "fills_queue", False) and not definition.many:
            sink = task
        else:
            return None
    if source is None or sink is None:
        return None
    found = {slot for slot, _ in finders}
    if not found.issuperset(source.inputs) or sink.inputs[0] not in found:
        return None
    return ManyRecords(executable, _Plan(template, finders, source, ops, sink))


def _add(runner: Any, task: Any, template: list[Any], ops: list[_Op | _Guard]) -> bool:
    """Appends a cluster's ops; False when NumPy may not always run it, or records could depend on each other."""
    program = runner.program
    if runner.device.is_accelerator or not is_pure(program) or program.multiplies:
        return False
    if not runner.is_settled:
        if program.fixed:  # known after a few runs
            return False
        ops.append(_Guard(runner, task.inputs))
    slots = slots_of(task, program, template)
    for instruction in program.instructions:
        definition = instruction.op.definition
        if definition.stateful or instruction.loop is not None:
            return False
        ops.append(
            _Op(
                definition,
                grouped_kernel(instruction) if instruction.grouped else instruction.compute,
                ROW_KERNELS.get(instruction.op.type),
                tuple(slots[r] for r in instruction.sources),
                tuple(slots[r] for r in instruction.outputs),
                instruction.list_outputs,
                instruction.dtypes,
            )
        )
    return True
