"""Branches (Switch and Merge) inside a loop, in an XLA program: `lax.cond`.

Instructions that follow each other under one condition are a group: it is run where the condition holds, otherwise its outputs are zeros that nobody
looks at, and all state stays as it is. A Switch hands its data on, a Merge selects by the conditions of its inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from flowmesh.ops.traced_arrays import TracedArray, TracedStack
from flowmesh.passes.conditions import Condition, find_conditions, tensor_condition
from flowmesh.passes.frames import MERGES, SWITCHES
from flowmesh.runtime import lanes
from flowmesh.runtime.loop_checks import LoopChecks
from flowmesh.runtime.program import Cell, Instruction, Nested

_Run = Callable[[Instruction, list[Any]], None]


class Branches:
    """A program with branches, to be traced."""

    def __init__(
        self,
        jax: Any,
        nested: Nested,
        registers: list[Any],
        implicit: list[Any],
        run: _Run,
        checks: LoopChecks,
    ) -> None:
        """`run` traces one instruction."""
        self._jax = jax
        self._checks = checks
        self._program = nested.program
        self._registers = registers
        self._implicit = implicit
        self._run = run
        self._conditions = find_conditions(self._program.ops)
        self._results = {register for register, _, _ in nested.gives}
        self._register_of = {t.name: r for t, r in self._program.registers.items()}

    def evaluate(self) -> None:
        """Traces all groups in order. Raises TypeError for what cannot be traced."""
        for condition, group in self._groups():
            first = group[0]
            if first.op.type in SWITCHES:
                data = self._registers[first.sources[0]]
                for tensor in first.op.outputs:
                    self._registers[self._program.registers[tensor]] = data
            elif first.op.type in MERGES:
                self._merge(first)
            elif not condition:
                for instruction in group:
                    self._run(instruction, self._registers)
            else:
                self._guarded(condition, group)

    def _groups(self) -> Iterator[tuple[Condition, list[Instruction]]]:
        group: list[Instruction] = []
        condition: Condition = frozenset()
        for instruction in self._program.instructions:
            own = self._conditions[instruction.op]
            alone = instruction.op.type in SWITCHES | MERGES
            if group and (alone or own != condition):
                yield condition, group
                group = []
            if alone:
                yield own, [instruction]
            else:
                group.append(instruction)
                condition = own
        if group:
            yield condition, group

    # -- conditions ----------------------------------------------------------------------------------------

    def _holds(self, condition: Condition) -> Any:
        """Whether a condition holds, traced."""
        jnp = self._jax.numpy
        found: Any = True
        for name, side in sorted(condition):
            if name not in self._register_of:
                raise TypeError(f"The condition {name} is not known in the loop")
            pred = jnp.asarray(self._registers[self._register_of[name]]).reshape(())
            found = found & (pred if side else ~pred)
        return found

    def _merge(self, instruction: Instruction) -> None:
        jnp = self._jax.numpy
        values = [self._registers[r] for r in instruction.sources]
        alive = [self._holds(tensor_condition(t, self._conditions)) for t in instruction.op.inputs]
        shapes = {np.shape(v) for v in values}
        if len(shapes) > 1:
            raise TypeError("The branches of a cond have several shapes")
        value, index = jnp.asarray(lanes.settled(values[-1])), jnp.int32(len(values) - 1)
        for k in reversed(range(len(values) - 1)):
            value = jnp.where(alive[k], jnp.asarray(lanes.settled(values[k])), value)
            index = jnp.where(alive[k], jnp.int32(k), index)
        for tensor, made in zip(instruction.op.outputs, (value, index)):
            self._registers[self._program.registers[tensor]] = made

    # -- a group -------------------------------------------------------------------------------------------

    def _guarded(self, condition: Condition, group: list[Instruction]) -> None:
        """Runs a group where the condition holds."""
        made = [r for i in group for r in i.outputs]
        inside = set(group)
        used = {
            r for i in self._program.instructions if i not in inside for r in i.sources
        } | self._results
        wanted = [r for r in made if r in used]
        known = self._try(group, wanted)
        arrays = [r for r in wanted if r not in known]
        holders = _Holders(self._registers, self._implicit, group, self._jax.numpy, self._checks)
        before = holders.state()

        def taken() -> Any:
            inner = self._evaluate(group)
            values = [self._jax.numpy.asarray(lanes.settled(inner[r])) for r in arrays]
            state = holders.state()
            holders.load(before)
            return values, state

        shapes = self._jax.eval_shape(taken)[0]
        holders.load(before)

        def skipped() -> Any:
            return [self._jax.numpy.zeros(s.shape, s.dtype) for s in shapes], before

        values, state = self._jax.lax.cond(self._holds(condition), taken, skipped)
        holders.load(state)
        self._registers_set(arrays, values)
        for register, value in known.items():
            self._registers[register] = value
        for instruction in group:
            for target, source in instruction.aliases:
                self._registers[target] = self._registers[source]

    def _registers_set(self, where: Sequence[int], values: Sequence[Any]) -> None:
        for register, value in zip(where, values):
            self._registers[register] = value

    def _evaluate(self, group: Sequence[Instruction]) -> list[Any]:
        registers = list(self._registers)
        for instruction in group:
            self._run(instruction, registers)
        return registers

    def _try(self, group: Sequence[Instruction], wanted: Sequence[int]) -> dict[int, Any]:
        """Traces a group for nothing: what is known of its outputs; arrays whose elements are seen then are made."""
        known: dict[int, Any] = {}
        holders = _Holders(self._registers, self._implicit, group, self._jax.numpy, self._checks)
        before = holders.state()
        stacks = [(s, s.pushed, s.counting) for s in holders.stacks]
        for stack, _, _ in stacks:
            stack.counting = True

        def trial() -> Any:
            registers = self._evaluate(group)
            for register in wanted:
                value = registers[register]
                if isinstance(value, np.ndarray) or not hasattr(value, "dtype"):
                    known[register] = value
            return ()

        self._jax.eval_shape(trial)
        holders.load(before)
        for stack, pushed, counting in stacks:
            stack.pushed, stack.counting = pushed, counting
        for item in _objects(self._registers):
            if isinstance(item, TracedArray) and item not in holders.objects:
                item.forget()
                if item.shape_of_elements is not None:
                    item.allocate()
        return known


class _Holders:
    """What a group may change beside its outputs."""

    def __init__(
        self,
        registers: list[Any],
        implicit: list[Any],
        group: Sequence[Instruction],
        jnp: Any,
        checks: LoopChecks,
    ) -> None:
        self._checks = checks
        self._jnp = jnp
        self._implicit = implicit
        cells: dict[int, Cell] = {}
        for instruction in group:
            written = list(instruction.writes)
            if instruction.loop is not None:
                written += [instruction.sources[i] for i in instruction.loop.writes]
            for register in written:
                cell = registers[register]
                if isinstance(cell, Cell):
                    cells[id(cell)] = cell
        self._cells = list(cells.values())
        self._states = sorted(
            {i.implicit for i in group if i.implicit >= 0}
            | {k for i in group if i.loop is not None for k in i.loop.implicit}
        )
        found = _objects(registers)
        self.stacks = [o for o in found if isinstance(o, TracedStack)]
        self.objects = [o for o in found if o.allocated]

    def state(self) -> Any:
        """The present state."""
        return (
            [self._jnp.asarray(cell.read()) for cell in self._cells],
            [self._jnp.asarray(self._implicit[k]) for k in self._states],
            [[self._jnp.asarray(part) for part in item.state] for item in self.objects],
            self._checks.state(self._jnp),
        )

    def load(self, state: Any) -> None:
        """Makes a state the present one."""
        cells, states, parts, checks = state
        self._checks.load(checks)
        for cell, value in zip(self._cells, cells):
            cell.value, cell.written = value, True
        for k, value in zip(self._states, states):
            self._implicit[k] = value
        for item, values in zip(self.objects, parts):
            item.state = list(values)


def _objects(registers: Sequence[Any]) -> list[Any]:
    """The TensorArrays and stacks in registers, and the gradients of these."""
    found: dict[int, Any] = {}
    pending = [v for v in registers if isinstance(v, (TracedArray, TracedStack))]
    while pending:
        item = pending.pop()
        if id(item) not in found:
            found[id(item)] = item
            if isinstance(item, TracedArray):
                pending.extend(item.gradients.values())
    return list(found.values())
