"""Clustering: the ops of one part as units that each run in one go.

Rules
  1. Compute ops on one device and under one condition are joined into clusters; so are NumPy-only ops. All CPU devices of a task are the same
     processor, and count as one here: a program that knows all of their work shares it out better than several that wait for each other.
     Everything else is a unit of its own.
  2. A cluster is convex: no path leaves it and comes back.
  3. Joining delays nothing that others may wait for. Receives and host ops may block; sends, host ops and writes of variables
     are what others see. No such effect may come to wait for a receive or host op that it did not wait
     for in the graph. (Otherwise two tasks could wait for each other.)
  4. An op whose input must be known when it is traced is not joined with the producer of that input, when the value comes from
     a variable, a random op or a kernel that only XLA has.
  5. All ops of a cluster have the same condition (see `conditions.py`): they are alive or dead together.
Precondition: `ops` are all ops of the part, in topological order.
Postcondition: units are in topological order, and so are the ops of a unit; ops with a value before the run (constants, arguments,
variables without control inputs) and results are in no unit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from flowmesh.graph.operation import Operation
from flowmesh.passes import op_traits
from flowmesh.passes.conditions import Condition, find_conditions
from flowmesh.passes.op_traits import Kind
from flowmesh.passes.prune import topological_order

_CLUSTERED = (Kind.COMPUTE, Kind.NUMPY)
_LOGICAL_CPU = re.compile(r"CPU:\d+$", re.IGNORECASE)
_CANDIDATES = 16
_ALL = -1  # all bits set


@dataclass(eq=False)
class Unit:
    """Ops that run together."""

    kind: Kind
    device: str
    """That of the first op."""
    condition: Condition
    ops: list[Operation] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<Unit {self.kind.value} {self.device} {[op.name for op in self.ops]}>"


@dataclass
class Clustering:
    """The outcome: units, what is known before a run, and what the caller wants."""

    units: list[Unit]
    constants: list[Operation]
    arguments: list[Operation]
    sources: list[Operation]
    results: list[Operation]


def cluster(ops: Iterable[Operation]) -> Clustering:
    """Groups the ops of a part."""
    return _Clusterer(topological_order(list(ops))).run()


class _State:
    """A unit in the making: the units it follows, the blocking ops it waits for, and those it may wait for."""

    __slots__ = ("allowed", "ancestors", "index", "unit", "waits")

    def __init__(self, unit: Unit, index: int, ancestors: int, waits: int, allowed: int) -> None:
        self.unit = unit
        self.index = index
        self.ancestors = ancestors
        self.waits = waits
        self.allowed = allowed


class _Clusterer:
    def __init__(self, ops: Sequence[Operation]) -> None:
        self._ops = ops
        self._kinds = {op: op_traits.kind_of(op) for op in ops}
        self._free = {op for op in ops if self._is_free(op)}
        self._preds = {op: self._predecessors(op) for op in ops}
        self._conditions = find_conditions(ops)
        self._blocking, self._waits = self._find_waits()
        self._allowed = self._find_allowed()
        self._volatile = self._find_volatile()
        self._states: list[_State] = []
        self._of: dict[Operation, _State] = {}
        self._open: dict[tuple[Kind, str, Condition], list[_State]] = {}

    def _is_free(self, op: Operation) -> bool:
        """Whether the value of `op` is there before the run begins."""
        kind = self._kinds[op]
        return kind in (Kind.CONSTANT, Kind.ARGUMENT) or (
            kind is Kind.SOURCE and not op._control_inputs
        )

    def _predecessors(self, op: Operation) -> list[Operation]:
        before = dict.fromkeys([t.op for t in op.inputs] + op._control_inputs)
        return [p for p in before if p not in self._free]

    # -- facts about single ops --------------------------------------------------------------------

    def _find_waits(self) -> tuple[dict[Operation, int], dict[Operation, int]]:
        """One bit for each op that may block, and for each op the bits of those it waits for (its own included)."""
        blocking: dict[Operation, int] = {}
        waits: dict[Operation, int] = {}
        for op in self._ops:
            bits = 0
            for p in self._preds[op]:
                bits |= waits[p]
            if self._kinds[op] in (Kind.RECV, Kind.HOST, Kind.LOOP):
                blocking[op] = 1 << len(blocking)
                bits |= blocking[op]
            waits[op] = bits
        return blocking, waits

    def _find_allowed(self) -> dict[Operation, int]:
        """Rule 3: the bits that an op may come to wait for, which is what all effects behind it wait for anyway."""
        allowed = dict.fromkeys(self._ops, _ALL)
        for op in reversed(self._ops):
            if self._kinds[op] in (Kind.SEND, Kind.HOST, Kind.LOOP) or op_traits.writes_state(op):
                allowed[op] &= self._waits[op]
            for p in self._preds[op]:
                allowed[p] &= allowed[op]
        return allowed

    def _find_volatile(self) -> set[Operation]:
        """Rule 4: ops whose values cannot be known while a program that holds them is traced."""
        volatile: set[Operation] = set()
        for op in self._ops:
            if self._kinds[op] is not Kind.COMPUTE or op.type in op_traits.KNOWN_WHEN_TRACED:
                continue
            definition = op.definition
            if (
                definition.implicit_state
                or definition.xla_only
                or op_traits.reads_state(op)
                or any(t.op in volatile for t in op.inputs)
            ):
                volatile.add(op)
        return volatile

    # -- joining ---------------------------------------------------------------------------------------

    def run(self) -> Clustering:
        kinds = self._kinds
        for op in self._ops:
            if op not in self._free and kinds[op] is not Kind.RESULT:
                self._add(op)

        def of(kind: Kind) -> list[Operation]:
            return [op for op in self._ops if kinds[op] is kind]

        return Clustering(
            self._ordered(),
            of(Kind.CONSTANT),
            of(Kind.ARGUMENT),
            [op for op in of(Kind.SOURCE) if op in self._free],
            of(Kind.RESULT),
        )

    def _add(self, op: Operation) -> None:
        kind, device = self._kinds[op], op.device
        before = {self._of[p].index for p in self._preds[op]}
        if kind in _CLUSTERED:
            key = (kind, _LOGICAL_CPU.sub("CPU:*", device), self._conditions[op])
            states = self._open.setdefault(key, [])
            banned = self._banned(op)
            for state in self._candidates(states, before):
                if state.index not in banned and self._try_join(op, state, before):
                    return
            states.append(self._new_state(op, kind, before))
        else:
            self._new_state(op, kind, before)

    def _candidates(self, states: list[_State], before: set[int]) -> list[_State]:
        """Clusters `op` might join: those it takes inputs from first, then the newest."""
        own = [s for s in states if s.index in before]
        others = [s for s in states[-_CANDIDATES:] if s.index not in before]
        return own[::-1] + others[::-1]

    def _banned(self, op: Operation) -> set[int]:
        return {
            self._of[op.inputs[i].op].index
            for i in op_traits.static_input_indices(op)
            if op.inputs[i].op in self._volatile
        }

    def _new_state(self, op: Operation, kind: Kind, before: set[int]) -> _State:
        ancestors, waits = self._reach(before)
        unit = Unit(kind, op.device, self._conditions[op], [op])
        state = _State(
            unit,
            len(self._states),
            ancestors,
            waits | self._blocking.get(op, 0),
            self._allowed[op],
        )
        self._states.append(state)
        self._of[op] = state
        return state

    def _reach(self, before: Iterable[int]) -> tuple[int, int]:
        ancestors = waits = 0
        for i in before:
            state = self._states[i]
            ancestors |= state.ancestors | (1 << i)
            waits |= state.waits
        return ancestors, waits

    def _try_join(self, op: Operation, state: _State, before: set[int]) -> bool:
        bit = 1 << state.index
        ancestors, waits = self._reach(i for i in before if i != state.index)
        if ancestors & bit:
            return False
        ancestors |= state.ancestors
        waits |= state.waits
        if waits & ~(state.allowed & self._allowed[op]):
            return False
        followers: list[_State] = []
        if ancestors != state.ancestors:
            followers = [s for s in self._states if s.ancestors & bit]
            if any((s.waits | waits) & ~s.allowed for s in followers):
                return False
        state.ancestors, state.waits = ancestors, waits
        state.allowed &= self._allowed[op]
        for follower in followers:
            follower.ancestors |= ancestors
            follower.waits |= waits
        state.unit.ops.append(op)
        self._of[op] = state
        return True

    def _ordered(self) -> list[Unit]:
        """Topological: a unit stands after its ancestors; ties by the first op."""
        position = {op: i for i, op in enumerate(self._ops)}
        return [
            s.unit
            for s in sorted(
                self._states, key=lambda s: (s.ancestors.bit_count(), position[s.unit.ops[0]])
            )
        ]
