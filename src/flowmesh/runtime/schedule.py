"""The static schedule of a part: units with the slots they read and fill, what they wait for and what waits for them.

Made once per executable. A slot holds one tensor that crosses a unit boundary; constants have their values in the template of the slots.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flowmesh.core import dtypes
from flowmesh.graph.graph import Graph
from flowmesh.graph.operation import Operation
from flowmesh.graph.tensor import Tensor
from flowmesh.passes.cluster import Unit, cluster
from flowmesh.passes.loop_op import is_spread
from flowmesh.passes.op_traits import Kind
from flowmesh.runtime.program import Program, constant_of
from flowmesh.runtime.rendezvous import make_key


@dataclass(eq=False)
class Task:
    """One unit as the executor sees it."""

    index: int
    kind: Kind
    device: str
    ops: list[Operation]
    inputs: tuple[int, ...] = ()
    """Slots, in the order the unit takes them."""
    outputs: tuple[int, ...] = ()
    """Slots, in the order the unit gives them; -1 where nobody uses an output."""
    pending: int = 0
    """How many units must be done before this one."""
    successors: tuple[int, ...] = ()
    controls: tuple[int, ...] = ()
    """Units that this one has control edges from: dead if they are."""
    program: Program | None = None
    traceable: bool = False
    """Whether a cluster can be an XLA program: what lives for one step (TensorArrays) must not leave it."""
    key: str = ""
    """The rendezvous key of a send or receive."""
    reads_refs: tuple[bool, ...] = ()
    """For a host op: which inputs are refs whose values it wants."""

    @property
    def op(self) -> Operation:
        """The first op: the only one but in a cluster."""
        return self.ops[0]

    @property
    def is_cluster(self) -> bool:
        """Whether the unit is run by a `ClusterRunner`."""
        return self.program is not None


@dataclass
class Schedule:
    """Everything about a part that does not change from run to run."""

    tasks: list[Task] = field(default_factory=list)
    template: list[Any] = field(default_factory=list)
    """The slots before the run."""
    arguments: dict[str, int] = field(default_factory=dict)
    """The slot of each argument, by tensor name."""
    argument_ops: dict[str, Operation] = field(default_factory=dict)
    results: list[tuple[str, int, Operation]] = field(default_factory=list)
    """Tensor name, slot, and the op that makes it, of each result."""
    sources: list[tuple[int, Operation]] = field(default_factory=list)
    """Variables to look up at the start of a run, and their slots."""
    roots: list[int] = field(default_factory=list)
    may_die: bool = False
    feed_keys: dict[str, str] = field(default_factory=dict)
    fetch_keys: dict[str, str] = field(default_factory=dict)


def make_schedule(part: Graph) -> Schedule:
    """The schedule of a part. Raises InvalidArgumentError for a cycle."""
    return _Builder(part).build()


class _Builder:
    def __init__(self, part: Graph) -> None:
        self._clustering = cluster(part.get_operations())
        self._schedule = Schedule()
        self._slots: dict[Tensor, int] = {}
        self._constants: dict[Tensor, Any] = {}
        self._unit_of: dict[Operation, int] = {}

    def build(self) -> Schedule:
        clustering, schedule = self._clustering, self._schedule
        for op in clustering.constants:
            self._constants[op.outputs[0]] = constant_of(op)
        for number, unit in enumerate(clustering.units):
            for op in unit.ops:
                self._unit_of[op] = number
        self._find_boundary()
        for op in clustering.arguments:
            name = _client_name(op)
            schedule.arguments[name] = self._slot(op.outputs[0])
            schedule.argument_ops[name] = op
        for op in clustering.sources:
            if op.outputs[0] in self._slots:
                schedule.sources.append((self._slots[op.outputs[0]], op))
        for op in clustering.results:
            name = _client_name(op)
            schedule.results.append((name, self._slot(op.inputs[0]), op.inputs[0].op))
        for number, unit in enumerate(clustering.units):
            schedule.tasks.append(self._task(number, unit))
        self._link()
        schedule.template = [None] * len(self._slots)
        for tensor, slot in self._slots.items():
            if tensor in self._constants:
                schedule.template[slot] = self._constants[tensor]
        schedule.roots = [t.index for t in schedule.tasks if not t.pending]
        schedule.may_die = any(
            t.kind in (Kind.SWITCH, Kind.RECV) or is_spread(t.op) for t in schedule.tasks
        )
        return schedule

    def _slot(self, tensor: Tensor) -> int:
        return self._slots.setdefault(tensor, len(self._slots))

    def _find_boundary(self) -> None:
        """Gives a slot to each tensor that is used outside the unit that makes it (constants inside clusters need none)."""
        for op in self._clustering.results:
            self._slot(op.inputs[0])
        for number, unit in enumerate(self._clustering.units):
            clustered = unit.kind in (Kind.COMPUTE, Kind.NUMPY)
            for op in unit.ops:
                for tensor in op.inputs:
                    if self._unit_of.get(tensor.op) == number:
                        continue
                    if not (clustered and tensor in self._constants):
                        self._slot(tensor)

    def _task(self, number: int, unit: Unit) -> Task:
        task = Task(number, unit.kind, unit.device, unit.ops)
        if unit.kind in (Kind.COMPUTE, Kind.NUMPY):
            wanted = {t for op in unit.ops for t in op.outputs if t in self._slots}
            task.program = Program(unit.ops, self._constants, wanted)
            task.inputs = tuple(self._slot(t) for t in task.program.inputs)
            task.outputs = tuple(self._slot(t) for t in task.program.outputs)
            task.traceable = unit.kind is Kind.COMPUTE and not any(
                t.dtype == dtypes.resource for t in task.program.outputs
            )
            return task
        op = task.op
        task.inputs = tuple(self._slot(t) for t in op.inputs)
        task.outputs = tuple(self._slots.get(t, -1) for t in op.outputs)
        if unit.kind in (Kind.SEND, Kind.RECV):
            task.key = _rendezvous_key(op)
            role = op.extra_attrs.get("_client")
            if role == b"feed":
                self._schedule.feed_keys[_text(op.definition.attrs["tensor_name"])] = task.key
            elif role == b"fetch":
                self._schedule.fetch_keys[_text(op.definition.attrs["tensor_name"])] = task.key
        elif unit.kind in (Kind.HOST, Kind.LOOP):
            task.reads_refs = tuple(
                tensor.dtype._is_ref_dtype and not arg.ref
                for tensor, arg in zip(op.inputs, op.definition.flat_input_args())
            )
        return task

    def _link(self) -> None:
        tasks = self._schedule.tasks
        successors: list[list[int]] = [[] for _ in tasks]
        for task in tasks:
            before: dict[int, None] = {}
            controls: dict[int, None] = {}
            for op in task.ops:
                for tensor in op.inputs:
                    number = self._unit_of.get(tensor.op)
                    if number is not None and number != task.index:
                        before[number] = None
                for control in op._control_inputs:
                    number = self._unit_of.get(control)
                    if number is not None and number != task.index:
                        before[number] = controls[number] = None
            task.pending = len(before)
            task.controls = tuple(controls)
            for number in before:
                successors[number].append(task.index)
        for task, after in zip(tasks, successors):
            task.successors = tuple(after)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _client_name(op: Operation) -> str:
    """The name of an argument or result: of the tensor, or its number in a function body."""
    attrs = op.definition.attrs
    return _text(attrs["tensor_name"]) if "tensor_name" in attrs else str(attrs["index"])


def _rendezvous_key(op: Operation) -> str:
    attrs = op.definition.attrs
    return make_key(
        _text(attrs["send_device"]),
        attrs["send_device_incarnation"],
        _text(attrs["recv_device"]),
        _text(attrs["tensor_name"]),
    )
