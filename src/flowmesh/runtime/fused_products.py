"""A matrix product with the vector that is added to it and the rectifier after that, in the memory of the product. The numbers are added and
compared as the separate kernels do.

Not in the pieces of the product: the calls are short, and two threads that make them at a time wait for the interpreter's lock longer than
they take.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from flowmesh.graph.operation import Operation
from flowmesh.runtime.products import Room, can_be_shared, multiplied, operands

Step: TypeAlias = tuple[Any, ...]
"""Kernel, registers of its inputs, register of its only output or -1 ..., instruction, ... (see `shaped`)."""

_SUMS = frozenset({"Add", "AddV2", "BiasAdd", "BiasAddV1"})


def fused(steps: Sequence[Step], outputs: Sequence[int], last: Any) -> list[Step]:
    """The steps of a cluster that writes no variables, with products that are followed by a sum with a vector in one step with it. `last` is
    the instruction of the last large product."""
    used = Counter(source for step in steps for source in step[1])
    used.update(outputs)
    makers = {step[2]: at for at, step in enumerate(steps)}
    gone: set[int] = set()
    found: list[Step] = []
    for at, step in enumerate(steps):
        if at not in gone:
            chain = _chain(steps, at, used, makers)
            gone.update(chain)
            found.append(_one_step([step, *(steps[i] for i in chain)], last) if chain else step)
    return found


def _chain(
    steps: Sequence[Step], at: int, used: Counter[int], makers: Mapping[int, int]
) -> list[int]:
    """The steps that can be one with the product at this place: a sum, or a sum and a rectifier; none where it is no product."""
    step = steps[at]
    follower = _follower(steps, step, used) if can_be_shared(step[4].op) else None
    if follower is None or not _adds_vector(steps[follower], step[2]):
        return []
    if makers.get(steps[follower][1][1], -1) >= at:
        return []  # the vector is not there yet
    rectifier = _follower(steps, steps[follower], used)
    if rectifier is None or steps[rectifier][4].op.type != "Relu":
        return [follower]
    return [follower, rectifier]


def _one_step(chain: Sequence[Step], last: Any) -> Step:
    instruction = chain[0][4]
    vector = chain[1][1][1]
    kernel = _kernel(instruction.op, len(chain) == 3, instruction is last)
    _, _, target, targets, _, drops = chain[-1]
    return (kernel, (*chain[0][1], vector), target, targets, instruction, drops)


def _follower(steps: Sequence[Step], step: Step, used: Counter[int]) -> int | None:
    """The only step that uses the only output of a step."""
    target = step[2]
    if target < 0 or used[target] != 1:
        return None
    return next((at for at, other in enumerate(steps) if target in other[1]), None)


def _adds_vector(step: Step, product: int) -> bool:
    """Whether the step adds a vector to each row of a product, which is its first input; static shapes tell."""
    op = step[4].op
    if op.type not in _SUMS or step[2] < 0 or step[1][0] != product:
        return False
    matrix, vector = (t.shape.key for t in op.inputs)
    return (
        matrix is not None
        and vector is not None
        and len(matrix) == 2
        and len(vector) == 1
        and matrix[1] is not None
        and matrix[1] == vector[0]
    )


def _kernel(op: Operation, is_rectified: bool, is_last: bool) -> Callable[..., Any]:
    split = operands(op)

    def kernel(xp: Any, a: Any, b: Any, vector: Any, room: Room | None = None) -> Any:
        left, right = split(a, b)
        out = multiplied(left, right, room, is_last)
        out += vector
        if is_rectified:
            np.maximum(out, np.zeros(vector.shape, vector.dtype), out=out)
        return out

    return kernel
