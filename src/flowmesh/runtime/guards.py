"""Looking at values on behalf of compiled programs on processors, which cannot raise (see `ops/value_checks.py`).

Indices that come from outside the program, as fed labels and ids do, are looked at before it runs: nothing has changed then, and it costs one pass over
them. What the program computes itself is looked at by the program: it returns one flag for each check, for which the run waits. What
such a run has written to variables stays written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flowmesh.graph.operation import Operation
from flowmesh.ops.value_checks import ValueCheck, checks_of
from flowmesh.runtime.failures import NodeFailure
from flowmesh.runtime.program import Instruction
from flowmesh.runtime.values import to_host

_PASS_ON = frozenset(
    {"Identity", "StopGradient", "Reshape", "ExpandDims", "Squeeze", "Snapshot", "PreventGradient"}
)
_UNSIGNED = {
    np.dtype(f"int{bits}"): (np.dtype(f"uint{bits}"), 1 << (bits - 1)) for bits in (8, 16, 32, 64)
}


class _Outside:
    """A check of an input of the program."""

    __slots__ = ("_check", "_op", "_shape", "limit", "position")

    def __init__(self, op: Operation, check: ValueCheck, position: int, shape: Any) -> None:
        self.position = position
        self._op = op
        self._check = check
        self._shape = tuple(shape)
        plain = check.limits is not None and len(check.limits) == 1 and not check.negative
        self.limit: int | None = check.limits[0] if plain and check.limits else None

    def look(self, value: Any) -> None:
        """NodeFailure when the value is wrong."""
        value = to_host(value)
        if not value.size:
            return
        # Negative numbers are large ones when they are read as unsigned: one pass instead of two.
        unsigned = _UNSIGNED.get(value.dtype) if self.limit is not None else None
        if unsigned is not None and self.limit is not None and self.limit <= unsigned[1]:
            if np.maximum.reduce(value.view(unsigned[0]), axis=None) < self.limit:
                return
        elif not self._check.wrong(np, value.reshape(self._shape)):
            return
        _fail(self._op, self._check, value.reshape(self._shape))


class Guards:
    """The checks of one program, found while it is traced."""

    def __init__(self, inputs: int) -> None:
        """`inputs` is the number of the program's inputs, which have the first registers."""
        self._inputs = inputs
        self._origins: dict[int, int] = {}
        self._traced: list[tuple[Operation, ValueCheck, Any]] = []
        self.outside: list[_Outside] = []
        self._inside: list[tuple[Operation, ValueCheck, int]] = []
        self._flags = -1

    def note(self, jnp: Any, instruction: Instruction, arguments: Sequence[Any]) -> None:
        """Hears of an instruction before it is traced. Raises NodeFailure for known values that are wrong."""
        op = instruction.op
        if op.type in _PASS_ON:
            origin = self._origin(instruction.sources[0])
            if origin >= 0:
                self._origins[instruction.outputs[0]] = origin
            return
        for check in checks_of(op.definition, arguments):
            value = arguments[check.position]
            origin = self._origin(instruction.sources[check.position])
            if isinstance(value, np.ndarray):
                if value.size and check.wrong(np, value):
                    _fail(op, check, value)
            elif origin >= 0:
                self.outside.append(_Outside(op, check, origin, value.shape))
            elif value.size:
                self._traced.append((op, check, value))

    def _origin(self, register: int) -> int:
        """The input whose values are those of a register; -1 when there is none."""
        return register if register < self._inputs else self._origins.get(register, -1)

    def collect(self, jnp: Any, out: list[Any]) -> None:
        """Adds what the program has to return on account of the checks to its outputs."""
        traced, self._traced = self._traced, []
        if not traced:
            return
        for op, check, value in traced:
            self._inside.append((op, check, len(out)))
            out.append(value)
        self._flags = len(out)
        out.append(jnp.stack([check.wrong(jnp, value) for _, check, value in traced]))

    def look_outside(self, inputs: Sequence[Any]) -> None:
        """Looks at the inputs of a run before it begins. Raises NodeFailure."""
        for check in self.outside:
            check.look(inputs[check.position])

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
