"""A loop in an XLA program: `lax.while_loop`.

What the loop carries round is the values of its variables and, beside them, the state of all that its body changes: variables that it assigns
to, random generators, TensorArrays and stacks. The body is traced once for nothing where there are such arrays, for the shapes of their
elements show only then; they are made before the loop, as large as the loop is long.

XLA's condition can say nothing but whether the loop goes on. Where something has to be looked at in a condition it is traced before the loop and at the end
of the body instead, and its answer is carried round, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flowmesh.ops.traced_arrays import TracedArray, TracedStack
from flowmesh.passes.loop_counters import iterations
from flowmesh.runtime import lanes
from flowmesh.runtime.branch_trace import Branches
from flowmesh.runtime.failures import NodeFailure
from flowmesh.runtime.loop_checks import LoopChecks, condition_has_checks, has_checks
from flowmesh.runtime.program import Cell, Instruction, LoopProgram, Nested

_ANSWER = 5
"""Where in what is carried the answer of a condition is that is traced with the body."""

_Call = Callable[[Instruction, list[Any], list[Any]], Any]


class TracedLoop:
    """A loop with its arguments, to be traced."""

    def __init__(
        self,
        jax: Any,
        loop: LoopProgram,
        arguments: Sequence[Any],
        implicit: list[Any],
        call: _Call,
        checks: LoopChecks,
    ) -> None:
        """`call` traces one instruction, and `checks` hears from it what has to be looked at."""
        self._jax = jax
        self._checks = checks
        self._loop = loop
        self._number = loop.loop.variables
        self._arguments = [lanes.settled(a) for a in arguments]
        self._implicit = implicit
        self._call = call
        self._cells: list[Cell] = list(
            {
                id(arguments[i]): arguments[i]
                for i in sorted(loop.writes)
                if isinstance(arguments[i], Cell)
            }.values()
        )
        self._states = sorted(set(loop.implicit))
        self._bound = self._find_bound()
        self._asks_in_body = False

    def _find_bound(self) -> int | None:
        """How often the loop goes round at most, None when that is not known."""
        counts = []
        for counter in self._loop.loop.counters:
            first = self._arguments[counter.variable]
            limit: Any = counter.constant
            if counter.limit is not None:
                limit = self._arguments[counter.limit]
            if isinstance(first, np.ndarray) and isinstance(limit, (int, np.ndarray)):
                counts.append(iterations(counter, first, limit))
        return min(counts, default=None)

    def run(self) -> tuple[Any, ...]:
        """The outputs; the implicit states, and the state of what is among the arguments, are those after the loop.

        Raises TypeError for what cannot be traced: shapes that change, stacks of unknown size.
        """
        first = [self._as_array(v) for v in self._arguments[: self._number]]
        self._make_arrays(first)
        objects = [o for o in self._objects() if o.allocated]
        self._asks_in_body = self._condition_is_checked(first, objects)
        answer = (self._answer(first),) if self._asks_in_body else ()
        carry = (*self._carry(first, objects), *answer)
        piece = self._loop.piece
        if piece:
            carry = (*carry, np.int32(0))
        stacks = [(o, o.counting) for o in objects if isinstance(o, TracedStack)]
        for stack, _ in stacks:
            stack.depth, stack.counting = stack.depth + 1, False
        last = self._jax.lax.while_loop(
            lambda c: self._goes_on(c, objects, piece),
            lambda c: self._step(c, objects, piece),
            carry,
        )
        for stack, counting in stacks:
            stack.depth, stack.counting = stack.depth - 1, counting
        values = self._load(last, objects)
        goes_on = None
        if piece:
            goes_on = last[_ANSWER] if self._asks_in_body else self._asked(values)
        return self._loop.outcome(values, goes_on)

    def _as_array(self, value: Any) -> Any:
        return self._jax.numpy.asarray(lanes.settled(value))

    # -- what is carried round ---------------------------------------------------------------------------

    def _objects(self) -> list[Any]:
        """The TensorArrays and stacks that the loop is given, and the gradients of these."""
        found: dict[int, Any] = {}
        pending = [a for a in self._arguments if isinstance(a, (TracedArray, TracedStack))]
        while pending:
            item = pending.pop()
            if id(item) not in found:
                found[id(item)] = item
                if isinstance(item, TracedArray):
                    pending.extend(item.gradients.values())
        return list(found.values())

    def _carry(self, values: Sequence[Any], objects: Sequence[Any]) -> tuple[Any, ...]:
        return (
            [self._as_array(v) for v in values],
            [self._as_array(cell.read()) for cell in self._cells],
            [self._as_array(self._implicit[k]) for k in self._states],
            [[self._as_array(part) for part in item.state] for item in objects],
            self._checks.state(self._jax.numpy),
        )

    def _load(self, carry: tuple[Any, ...], objects: Sequence[Any]) -> list[Any]:
        """Makes what was carried the present state; the values of the variables."""
        values, cells, states, parts, checks = carry[:5]
        self._checks.load(checks)
        for cell, value in zip(self._cells, cells):
            cell.value, cell.written = value, True
        for k, value in zip(self._states, states):
            self._implicit[k] = value
        for item, state in zip(objects, parts):
            item.state = state
        return list(values)

    # -- tracing -----------------------------------------------------------------------------------------

    def _evaluate(self, nested: Nested, values: Sequence[Any]) -> list[Any]:
        arguments = [*values, *self._arguments[self._number :]]
        registers = nested.registers(arguments)
        if nested.program.may_die:
            branches = Branches(
                self._jax, nested, registers, self._implicit, self._run, self._checks
            )
            branches.evaluate()
        else:
            nested.program.evaluate(
                registers, self._implicit, lambda i, a: self._call(i, a, self._implicit)
            )
        return nested.results(registers, arguments)

    def _run(self, instruction: Instruction, registers: list[Any]) -> None:
        """Traces one instruction."""
        try:
            arguments = instruction.arguments(registers)
            result = self._call(instruction, arguments, self._implicit)
            instruction.store(registers, self._implicit, result)
        except NodeFailure:
            raise
        except Exception as exc:
            raise NodeFailure(instruction.op, exc) from exc

    def _asked(self, values: Sequence[Any]) -> Any:
        """Whether the loop goes on with these values."""
        (answer,) = self._evaluate(self._loop.cond, values)
        return self._as_array(answer).reshape(())

    def _answer(self, values: Sequence[Any]) -> Any:
        """Whether the loop goes on with these values, for which the condition is looked at; it does not when something is wrong. Nothing else changes."""
        implicit = list(self._implicit)
        with self._checks.while_right(self._jax.numpy):
            answer = self._asked(values)
        self._implicit[:] = implicit
        return answer & ~self._checks.any_wrong(self._jax.numpy)

    def _condition_is_checked(self, values: Sequence[Any], objects: Sequence[Any]) -> bool:
        """Whether there is something to look at in the condition; what there is, is known afterwards."""
        if not condition_has_checks(self._loop):
            return False
        carry = self._carry(values, objects)
        before = self._checks.noted
        self._jax.eval_shape(lambda c: self._answer(self._load(c, objects)), carry)
        self._load(carry, objects)
        return self._checks.noted > before

    def _goes_on(self, carry: tuple[Any, ...], objects: Sequence[Any], piece: int) -> Any:
        if self._asks_in_body:
            answer = carry[_ANSWER]
        else:
            values = self._load(carry, objects)
            right = ~self._checks.any_wrong(self._jax.numpy)
            answer = self._asked(values) & right
        return answer & (carry[-1] < piece) if piece else answer

    def _step(self, carry: tuple[Any, ...], objects: Sequence[Any], piece: int) -> Any:
        values = self._load(carry, objects)
        following = self._evaluate(self._loop.body, values)
        for before, after in zip(values, following):
            if np.shape(before) != np.shape(after):
                raise TypeError("A loop variable changes its shape")
        carried = self._carry(following, objects)
        if self._asks_in_body:
            values = self._load(carried, objects)
            answer = self._answer(values)
            carried = (*self._carry(values, objects), answer)
        return (*carried, carry[-1] + np.int32(1)) if piece else carried

    def _make_arrays(self, values: Sequence[Any]) -> None:
        """Traces the body for nothing, and makes the arrays whose elements have been seen then. Checks are known afterwards, too."""
        objects = self._objects()
        if not objects and not has_checks(self._loop):
            return
        ready = [o for o in objects if o.allocated]
        stacks = [o for o in objects if isinstance(o, TracedStack)]
        before = [(s, s.pushed, s.counting) for s in stacks]
        carry = self._carry(values, ready)
        for stack in stacks:
            stack.pushed, stack.counting = 0, True
        self._jax.eval_shape(lambda carried: self._step(carried, ready, 0), carry)
        self._load(carry, ready)
        for stack, pushed, counting in before:
            total = self._pushes(stack.pushed)
            stack.pushed, stack.counting = pushed + total, counting
            if stack in ready:
                stack.reserve(total)
                continue
            stack.forget()
            if total:
                stack.allocate(total)
        for item in self._objects():
            if isinstance(item, TracedArray) and item not in ready:
                item.forget()
                if item.shape_of_elements is not None:
                    item.allocate()

    def _pushes(self, pushed: int) -> int:
        """How much the whole loop pushes when one iteration pushes so much."""
        if not pushed:
            return 0
        if self._bound is None:
            raise TypeError("A stack is pushed to by a loop of unknown length")
        return max(1, pushed * self._bound)
