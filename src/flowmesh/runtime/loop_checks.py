"""What a compiled loop finds wrong with values, carried round with everything else that it carries.

For each check of an op in a loop there is a flag, and the values as they were when the flag was set. Loops and branches carry both as they carry the
state of a random generator; a loop in which something is wrong ends, for nothing says that it would end otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from flowmesh.ops.value_checks import ValueCheck, checks_of, may_have_checks
from flowmesh.runtime.program import Instruction, LoopProgram, Nested, instructions_with_nested

State = list[list[Any]]


class Found:
    """One check, with the arguments that it was made for."""

    __slots__ = ("arguments", "check", "instruction", "number", "shape")

    def __init__(
        self,
        instruction: Instruction,
        number: int,
        check: ValueCheck,
        arguments: Sequence[Any],
    ) -> None:
        """`check` is one of a kernel's, the one with this number."""
        self.instruction = instruction
        self.number = number
        self.check = check
        self.arguments = arguments
        value = arguments[check.position]
        self.shape: tuple[Any, Any] = (tuple(value.shape), np.dtype(value.dtype))

    def initial(self) -> list[Any]:
        """The flag and the values where nothing has been wrong so far."""
        return [np.zeros((), np.bool_), np.zeros(*self.shape)]


class LoopChecks:
    """The checks in the loops of one program, found while it is traced, and the present state of each."""

    def __init__(self) -> None:
        self.found: list[Found] = []
        self._numbers: dict[tuple[Instruction, int], int] = {}
        self._state: State = []
        self._only_if: Any = None
        self.noted = 0
        """How often a check was made so far."""

    def note(self, jnp: Any, instruction: Instruction, arguments: Sequence[Any]) -> None:
        """Hears of an instruction in a loop before it is traced."""
        for number, check in enumerate(checks_of(instruction.op.definition, arguments)):
            value = arguments[check.position]
            if not value.size or (isinstance(value, np.ndarray) and not check.wrong(np, value)):
                continue
            key = (instruction, number)
            at = self._numbers.get(key)
            if at is None:
                at = self._numbers[key] = len(self.found)
                self.found.append(Found(instruction, number, check, arguments))
                self._state.append(self.found[at].initial())
            self.noted += 1
            flag, kept = self._state[at]
            wrong = jnp.asarray(check.wrong(jnp, value))
            if self._only_if is not None:
                wrong = wrong & self._only_if
            first = wrong & ~jnp.asarray(flag)
            self._state[at] = [flag | wrong, jnp.where(first, value, kept)]

    @contextmanager
    def while_right(self, jnp: Any) -> Iterator[None]:
        """What is looked at here counts only if nothing was wrong before: what follows from a row that does not exist is nobody's fault."""
        before, self._only_if = self._only_if, ~jnp.asarray(self.any_wrong(jnp))
        try:
            yield
        finally:
            self._only_if = before

    def state(self, jnp: Any) -> State:
        """What is carried: for each check its flag and its values."""
        return [[jnp.asarray(part) for part in parts] for parts in self._state]

    def load(self, state: Sequence[Sequence[Any]]) -> None:
        """Makes a state the present one; checks that were found later have found nothing."""
        self._state = [list(parts) for parts in state]
        self._state += [found.initial() for found in self.found[len(self._state) :]]

    def any_wrong(self, jnp: Any) -> Any:
        """Whether anything has been wrong."""
        wrong: Any = np.zeros((), np.bool_)
        for flag, _ in self._state:
            wrong = jnp.asarray(flag) | wrong
        return wrong

    def results(self) -> list[tuple[Found, Any, Any]]:
        """Each check with its flag and the values that were wrong."""
        return [(found, *parts) for found, parts in zip(self.found, self._state)]


def has_checks(loop: LoopProgram) -> bool:
    """Whether there may be something to look at in the loop."""
    return condition_has_checks(loop) or _has_checks(loop.body)


def condition_has_checks(loop: LoopProgram) -> bool:
    """Whether there may be something to look at in the condition of the loop."""
    return _has_checks(loop.cond)


def _has_checks(nested: Nested) -> bool:
    return any(may_have_checks(i.op) for i in instructions_with_nested(nested.program))
