"""Looking at values on behalf of compiled programs on processors, which cannot raise (see `ops/value_checks.py`).

Indices that come from outside the program, as fed labels and ids do, are looked at before it runs: nothing has changed then, and it costs one pass over
them. What the program computes itself is looked at by the program: it returns one flag for each check, for which the run waits. What
such a run has written to variables stays written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flowmesh.core.dtypes import as_dtype
from flowmesh.graph.operation import Operation
from flowmesh.ops.value_checks import ValueCheck, checks_of
from flowmesh.runtime.failures import NodeFailure
from flowmesh.runtime.loop_checks import LoopChecks
from flowmesh.runtime.program import Instruction, Program, instructions_with_nested
from flowmesh.runtime.values import is_array, to_host

_PASS_ON = frozenset(
    {"Identity", "StopGradient", "Reshape", "ExpandDims", "Squeeze", "Snapshot", "PreventGradient"}
)
_JOINS = frozenset({"Concat", "ConcatV2"})
_UNSIGNED = {
    np.dtype(f"int{bits}"): (np.dtype(f"uint{bits}"), 1 << (bits - 1)) for bits in (8, 16, 32, 64)
}


@dataclass(frozen=True)
class _Origin:
    """Where values come from, all of them and in their order: one input of the program, or several joined along an axis."""

    inputs: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...] = ()
    """What the inputs are reshaped to before they are joined."""
    axis: int = 0


class _Outside:
    """A check of inputs of the program."""

    __slots__ = ("_op", "check", "limit", "origin", "shape")

    def __init__(self, op: Operation, check: ValueCheck, origin: _Origin, shape: Any) -> None:
        self.origin = origin
        self.shape = tuple(shape)
        self._op = op
        self.check = check
        plain = check.limits is not None and len(check.limits) == 1 and not check.negative
        self.limit: int | None = check.limits[0] if plain and check.limits else None

    def look(self, inputs: Sequence[Any]) -> None:
        """NodeFailure when a value is wrong."""
        for position in self.origin.inputs:
            value = to_host(inputs[position])
            if value.size and not self._is_right(value):
                _fail(self._op, self.check, self._whole(inputs))

    def _is_right(self, value: np.ndarray) -> bool:
        # Negative numbers are large ones when they are read as unsigned: one pass instead of two.
        unsigned = _UNSIGNED.get(value.dtype) if self.limit is not None else None
        if unsigned is not None and self.limit is not None and self.limit <= unsigned[1]:
            return bool(np.maximum.reduce(value.view(unsigned[0]), axis=None) < self.limit)
        if len(self.origin.inputs) == 1:
            value = value.reshape(self.shape)
        return not self.check.wrong(np, value)

    def _whole(self, inputs: Sequence[Any]) -> np.ndarray:
        """The values as the kernel gets them."""
        origin = self.origin
        parts = [to_host(inputs[position]) for position in origin.inputs]
        if len(parts) > 1:
            shaped = [part.reshape(shape) for part, shape in zip(parts, origin.shapes)]
            parts = [np.concatenate(shaped, axis=origin.axis)]
        return parts[0].reshape(self.shape)

    def is_like(self, other: _Outside) -> bool:
        """Whether the other one finds the same."""
        return self.origin.inputs == other.origin.inputs and (
            (self.check.limits, self.check.negative) == (other.check.limits, other.check.negative)
        )


class _Noted:
    """Which check of which instruction it was, and what is needed to make it again: shapes and dtypes of the arguments, values of the static ones."""

    __slots__ = ("_arguments", "_instruction", "_number")

    def __init__(self, instruction: Instruction, number: int, arguments: Sequence[Any]) -> None:
        self._instruction = instruction
        self._number = number
        self._arguments = [
            a
            if isinstance(a, np.ndarray) and i in instruction.needs_static
            else (np.dtype(a.dtype).name, list(a.shape))
            if is_array(a)
            else None
            for i, a in enumerate(arguments)
        ]

    def describe(
        self, numbers: dict[Instruction, int], put: Callable[[np.ndarray], int]
    ) -> list[Any]:
        arguments = [put(a) if isinstance(a, np.ndarray) else a for a in self._arguments]
        return [numbers[self._instruction], self._number, arguments]

    def is_described(self, check: ValueCheck) -> bool:
        """Whether the description is enough to make the check again."""
        arguments = [_stand_in(a) for a in self._arguments]
        again = checks_of(self._instruction.op.definition, arguments)[self._number]
        return (again.position, again.limits, again.negative) == (
            check.position,
            check.limits,
            check.negative,
        )


def _found(
    program: Program, noted: list[Any], arrays: Sequence[np.ndarray]
) -> tuple[Operation, ValueCheck]:
    """The check that was described."""
    at, number, described = noted
    arguments = [_stand_in(arrays[a] if isinstance(a, int) else a) for a in described]
    op = instructions_with_nested(program)[at].op
    return op, checks_of(op.definition, arguments)[number]


def _stand_in(described: Any) -> Any:
    """An array for one of which dtype and shape are known; arrays and None are themselves."""
    if described is None or isinstance(described, np.ndarray):
        return described
    name, shape = described
    return np.broadcast_to(np.zeros((), as_dtype(name).as_numpy_dtype), shape)


class Guards:
    """The checks of one program, found while it is traced."""

    def __init__(self, inputs: int) -> None:
        """`inputs` is the number of the program's inputs, which have the first registers."""
        self._inputs = inputs
        self._origins: dict[int, _Origin] = {}
        self._traced: list[tuple[Operation, ValueCheck, Any]] = []
        self.outside: list[_Outside] = []
        self._inside: list[tuple[Operation, ValueCheck, int]] = []
        self._flags = -1
        self.loops = LoopChecks()
        """The checks in loops."""
        self._noted: tuple[list[_Noted], list[_Noted]] = [], []
        """Where the checks of inputs, and those of other values, came from."""

    def note(self, jnp: Any, instruction: Instruction, arguments: Sequence[Any]) -> None:
        """Hears of an instruction before it is traced. Raises NodeFailure for known values that are wrong."""
        op = instruction.op
        if op.type in _PASS_ON:
            origin = self._origin(instruction.sources[0])
            if origin is not None:
                self._origins[instruction.outputs[0]] = origin
            return
        if op.type in _JOINS:
            self._note_join(instruction, arguments)
            return
        for number, check in enumerate(checks_of(op.definition, arguments)):
            value = arguments[check.position]
            origin = self._origin(instruction.sources[check.position])
            if isinstance(value, np.ndarray):
                if value.size and check.wrong(np, value):
                    _fail(op, check, value)
            elif origin is not None and (len(origin.inputs) == 1 or len(check.limits or ()) == 1):
                self._note_outside(
                    instruction, number, _Outside(op, check, origin, value.shape), arguments
                )
            elif value.size:
                self._traced.append((op, check, value))
                self._noted[1].append(_Noted(instruction, number, arguments))

    def _note_outside(
        self, instruction: Instruction, number: int, found: _Outside, arguments: Sequence[Any]
    ) -> None:
        if not any(found.is_like(other) for other in self.outside):
            self.outside.append(found)
            self._noted[0].append(_Noted(instruction, number, arguments))

    def _note_join(self, instruction: Instruction, arguments: Sequence[Any]) -> None:
        """Values that are joined come from where the parts come from."""
        first = instruction.op.type == "Concat"
        axis = arguments[0 if first else -1]
        parts = list(zip(instruction.sources, arguments))[1 if first else 0 : None if first else -1]
        origins = [self._origin(register) for register, _ in parts]
        if all(o is not None and len(o.inputs) == 1 for o in origins):
            self._origins[instruction.outputs[0]] = _Origin(
                tuple(o.inputs[0] for o in origins if o is not None),
                tuple(tuple(part.shape) for _, part in parts),
                int(axis),
            )

    def _origin(self, register: int) -> _Origin | None:
        """The inputs whose values are those of a register; None when they are not."""
        return _Origin((register,)) if register < self._inputs else self._origins.get(register)

    def collect(self, jnp: Any, out: list[Any]) -> None:
        """Adds what the program has to return on account of the checks to its outputs."""
        traced, self._traced = self._traced, []
        flags = []
        for op, check, value in traced:
            self._inside.append((op, check, len(out)))
            out.append(value)
            flags.append(check.wrong(jnp, value))
        for found, flag, value in self.loops.results():
            self._inside.append((found.instruction.op, found.check, len(out)))
            self._noted[1].append(_Noted(found.instruction, found.number, found.arguments))
            out.append(jnp.asarray(value))
            flags.append(flag)
        if flags:
            self._flags = len(out)
            out.append(jnp.stack(flags))

    def describe(self, program: Program, put: Callable[[np.ndarray], int]) -> dict[str, Any]:
        """The checks in terms of JSON; `put` keeps an array and gives its number. ValueError when they cannot be described."""
        numbers = {i: n for n, i in enumerate(instructions_with_nested(program))}
        outside, inside = self._noted
        checks = [*(o.check for o in self.outside), *(check for _, check, _ in self._inside)]
        if not all(n.is_described(c) for n, c in zip([*outside, *inside], checks, strict=True)):
            raise ValueError("a check depends on values that are not described")
        return {
            "outside": [
                [n.describe(numbers, put), o.origin.inputs, o.origin.shapes, o.origin.axis, o.shape]
                for n, o in zip(outside, self.outside, strict=True)
            ],
            "inside": [
                [n.describe(numbers, put), at]
                for n, (_, _, at) in zip(inside, self._inside, strict=True)
            ],
            "flags": self._flags,
        }

    @classmethod
    def from_description(
        cls, program: Program, facts: dict[str, Any], arrays: Sequence[np.ndarray]
    ) -> Guards:
        """The checks of a program that was not traced."""
        guards = cls(len(program.inputs))
        for noted, inputs, shapes, axis, shape in facts["outside"]:
            op, check = _found(program, noted, arrays)
            origin = _Origin(tuple(inputs), tuple(map(tuple, shapes)), axis)
            guards.outside.append(_Outside(op, check, origin, shape))
        for noted, at in facts["inside"]:
            guards._inside.append((*_found(program, noted, arrays), at))
        guards._flags = facts["flags"]
        return guards

    def look_outside(self, inputs: Sequence[Any]) -> None:
        """Looks at the inputs of a run before it begins. Raises NodeFailure."""
        for check in self.outside:
            check.look(inputs)

    def failure(self, results: Sequence[Any]) -> NodeFailure | None:
        """What was wrong in a run with these results; waits for its end."""
        if self._flags < 0:
            return None
        flags = to_host(results[self._flags])
        if not flags.any():
            return None
        op, check, at = self._inside[int(np.argmax(flags))]
        return _failure(op, check, to_host(results[at]))

    @property
    def waits(self) -> bool:
        """Whether a run has to be waited for."""
        return self._flags >= 0


def _failure(op: Operation, check: ValueCheck, values: np.ndarray) -> NodeFailure | None:
    error = check.error(values)
    return None if error is None else NodeFailure(op, error)


def _fail(op: Operation, check: ValueCheck, values: np.ndarray) -> None:
    failure = _failure(op, check, values)
    if failure is not None:
        raise failure from failure.cause
