"""What the number of iterations of a loop may be known from: variables that are counted, and what they are compared with."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.graph.operation import Operation
from flowmesh.graph.tensor import Tensor
from flowmesh.passes.loop_op import Counter, LoopBody, argument_of

_COMPARISONS = {
    # op type: (counts up, inclusive), with the counter on the left
    "Less": (True, False),
    "LessEqual": (True, True),
    "Greater": (False, False),
    "GreaterEqual": (False, True),
}
_MIRRORED = {"Less": "Greater", "LessEqual": "GreaterEqual", "Greater": "Less", "GreaterEqual": "LessEqual"}  # fmt: skip


def find_counters(loop: LoopBody) -> tuple[Counter, ...]:
    """The counters of a loop: it ends when any of them does."""
    steps = _steps(loop)
    found: list[Counter] = []
    pending = [_result(loop.cond, 0)]
    while pending:
        op = _source(pending.pop())
        if op.type == "LogicalAnd":
            pending.extend(op.inputs)
        elif op.type in _COMPARISONS:
            counter = _counter(op, steps)
            if counter is not None:
                found.append(counter)
    return tuple(found)


def iterations(counter: Counter, first: Any, limit: Any) -> int:
    """How often a loop goes round at most, for the first value of the counter and its limit."""
    distance = (int(limit) - int(first)) * (1 if counter.step > 0 else -1)
    if counter.inclusive:
        distance += 1
    return max(0, -(-distance // abs(counter.step)))


def _result(graph: Any, index: int) -> Tensor:
    for op in graph.get_operations():
        if op.type == "_Retval" and op.definition.attrs["index"] == index:
            return op.inputs[0]  # type: ignore[no-any-return]
    raise AssertionError("a loop has all its results")


def _source(tensor: Tensor) -> Operation:
    op = tensor.op
    while op.type == "Identity" and op.inputs:
        op = op.inputs[0].op
    return op


def _steps(loop: LoopBody) -> dict[int, int]:
    """What is added to each variable in each iteration, for those where that is a constant."""
    steps: dict[int, int] = {}
    for number in range(loop.variables):
        op = _source(_result(loop.body, number))
        if op.type not in ("Add", "AddV2", "Sub") or not op.outputs[0].dtype.is_integer:
            continue
        left, right = op.inputs
        if op.type != "Sub" and argument_of(right) == number:
            left, right = right, left
        amount = _constant(right)
        if argument_of(left) == number and amount:
            steps[number] = -amount if op.type == "Sub" else amount
    return steps


def _counter(op: Operation, steps: dict[int, int]) -> Counter | None:
    left, right = op.inputs
    kind = op.type
    if argument_of(left) not in steps:
        left, right, kind = right, left, _MIRRORED[kind]
    variable = argument_of(left)
    if variable is None or variable not in steps:
        return None
    up, inclusive = _COMPARISONS[kind]
    if (steps[variable] > 0) != up:
        return None
    value = _constant(right)
    limit = argument_of(right)
    if value is None and (limit is None or limit in steps):
        return None
    return Counter(
        variable, steps[variable], None if value is not None else limit, value or 0, inclusive
    )


def _constant(tensor: Tensor) -> int | None:
    op = _source(tensor)
    value = op.definition.attrs.get("value") if op.type == "Const" else None
    if isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in "iu":
        return int(value.reshape(-1)[0])
    return None
