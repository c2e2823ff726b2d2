"""Conditions: which switch outputs an op depends on, so that it runs only when all of them are alive.

Rules
  1. An op is alive when all its inputs and control inputs are. An output of a Switch is alive when the predicate selects it.
  2. A Merge is alive when one of its inputs is: of two inputs that differ only in the branch of one predicate, that is
     when what they have in common holds.
  3. A loop is alive when what enters it is: its Merges are alive with their Enters, and an Exit forgets whether the loop goes on.
  4. What a receive depends on in the part it comes from is told by its attr `_condition`; masters other than ours do not
     tell, then each receive is a condition of its own (`doubt_receives`).
Precondition: ops in topological order.
Postcondition: ops with equal conditions are alive or dead together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from flowmesh.graph.operation import Operation
from flowmesh.graph.tensor import Tensor
from flowmesh.passes.frames import EXITS, MERGES, SWITCHES, is_back_edge

Literal: TypeAlias = tuple[str, int]
"""A predicate by name, and which way it goes."""
Condition: TypeAlias = frozenset[Literal]

RECEIVES = frozenset({"_Recv", "_HostRecv"})
ALWAYS: Condition = frozenset()


def find_conditions(ops: Iterable[Operation]) -> dict[Operation, Condition]:
    """The condition of each op."""
    found: dict[Operation, Condition] = {}
    ops = list(ops)
    loop_conds = {op.outputs[0].name for op in ops if op.type == "LoopCond"}
    for op in ops:
        told = op.extra_attrs.get("_condition")
        own = ALWAYS if told is None else decode(told)
        control = own.union(*(found.get(c, ALWAYS) for c in op._control_inputs))
        parts = [tensor_condition(t, found) for t in op.inputs]
        if op.type in MERGES:
            first = [p for p, t in zip(parts, op.inputs) if not is_back_edge(op, t.op)]
            found[op] = control | _either(op, first)
        elif op.type in EXITS:
            found[op] = frozenset(c for c in control.union(*parts) if c[0] not in loop_conds)
        else:
            found[op] = control.union(*parts)
    return found


def tensor_condition(tensor: Tensor, found: dict[Operation, Condition]) -> Condition:
    """The condition of one output of an op whose condition is known."""
    op = tensor.op
    condition = found.get(op, ALWAYS)
    if op.type in SWITCHES:
        return condition | {(op.inputs[1].name, tensor.value_index)}
    return condition


def doubt_receives(ops: Iterable[Operation]) -> None:
    """Has each receive from another task, of a part that says nothing of conditions, count as a condition of its own."""
    for op in ops:
        if op.type in RECEIVES and not op.definition.attrs["client_terminated"]:
            op.extra_attrs.setdefault("_condition", encode(frozenset({(f"^{op.name}", 1)})))


def encode(condition: Condition) -> tuple[bytes, ...]:
    """The condition as an attr value."""
    return tuple(f"{branch}{name}".encode() for name, branch in sorted(condition))


def decode(value: Iterable[bytes]) -> Condition:
    """The condition that `encode` wrote."""
    return frozenset((text[1:].decode(), int(text[:1])) for text in value)


def _either(merge: Operation, parts: Sequence[Condition]) -> Condition:
    """The condition under which at least one of `parts` holds."""
    alternatives = set(parts)
    if len(alternatives) == 1:
        return parts[0]
    if len(alternatives) == 2:
        first, second = alternatives
        only_first, only_second = first - second, second - first
        if len(only_first) == 1 and len(only_second) == 1:
            (a,), (b,) = only_first, only_second
            if a[0] == b[0] and {a[1], b[1]} == {0, 1}:
                return first & second
    return frozenset.intersection(*alternatives) | {(f"^{merge.name}", 1)}
