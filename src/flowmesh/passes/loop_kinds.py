"""How loops are run: inside a cluster, in pieces, or step by step.

Rules
  1. A loop with anything that may wait, or that is not on one device, is run step by step: its condition and its body are parts like any other.
  2. Any other one is a program. It is traceable when all in it is (and its condition only asks), and when the loops in it end by a counter.
  3. A traceable loop is `bounded`, and so part of a cluster, when it is known how often it goes round at most before it runs: a counter has
     a first value and a limit that follow from constants and shapes, or counts down what such a loop has counted up. The inputs on which that
     depends must be known when the cluster is traced. Very long ones are run in pieces all the same, so that they can be stopped.
"""

from __future__ import annotations

from flowmesh.graph.operation import Operation
from flowmesh.graph.tensor import Tensor
from flowmesh.passes import op_traits
from flowmesh.passes.loop_counters import iterations
from flowmesh.passes.loop_op import Counter, is_loop, loop_of, nested_ops
from flowmesh.passes.op_traits import Kind

MOST_ITERATIONS = 100_000
"""Of a loop in a cluster, whose run cannot be stopped half-way."""
_PLAIN = frozenset({Kind.COMPUTE, Kind.CONSTANT, Kind.ARGUMENT, Kind.RESULT, Kind.NUMPY, Kind.LOOP})
_BRANCHES = frozenset({Kind.SWITCH, Kind.MERGE})


def classify(op: Operation) -> None:
    """Notes on a loop that lies in no other one how it is run (attrs `steps`, `traceable`, `bounded`), and, where that is step by step, on those
    in it."""
    attrs = op.definition.attrs
    inner = nested_ops(op)
    kinds = {op_traits.kind_of(o) for o in inner}
    loops = [o for o in [op, *inner] if is_loop(o)]
    devices = {o.device for o in inner if o.type != "Const"}
    attrs["steps"] = (
        not kinds <= _PLAIN | _BRANCHES or len(devices) > 1 or any(loop_of(o).shared for o in loops)
    )
    attrs["traceable"] = (
        not attrs["steps"]
        and Kind.NUMPY not in kinds
        and all(_only_asks(o) for o in loops)
        and all(loop_of(o).counters for o in loops if o is not op)
    )
    attrs["bounded"] = _bound(op) if attrs["traceable"] else None
    if attrs["steps"]:
        for graph in loop_of(op).graphs:
            for each in graph.get_operations():
                if is_loop(each):
                    classify(each)


def _only_asks(op: Operation) -> bool:
    """Whether the condition of a loop changes nothing."""
    for inner in loop_of(op).cond.get_operations():
        definition = inner.definition
        if inner.type in ("_Arg", "_Retval"):
            continue
        if definition.implicit_state or definition.stateful or op_traits.writes_state(inner):
            return False
    return True


def _bound(op: Operation) -> tuple[int, ...] | None:
    """The inputs that tell how often the loop goes round; None when that is not known."""
    for counter in loop_of(op).counters:
        found = _known_counter(op, counter)
        if found is not None:
            return found
    return None


def _known_counter(op: Operation, counter: Counter) -> tuple[int, ...] | None:
    first = op.inputs[counter.variable]
    limit = None if counter.limit is None else op.inputs[counter.limit]
    if limit is not None and not op_traits.is_foldable(limit.op):
        return None
    if counter.step < 0 and limit is None and _counted_by(first):
        return ()
    if not op_traits.is_foldable(first.op):
        return None
    values = [_constant(first), counter.constant if limit is None else _constant(limit)]
    if None not in values and iterations(counter, *values) > MOST_ITERATIONS:
        return None
    return (counter.variable,) if counter.limit is None else (counter.variable, counter.limit)


def _counted_by(tensor: Tensor) -> bool:
    """Whether a tensor is what a bounded loop before has counted."""
    op = tensor.op
    while op.type == "Identity":
        tensor = op.inputs[0]
        op = tensor.op
    if not is_loop(op) or op.definition.attrs.get("bounded") is None:
        return False
    variable = loop_of(op).results[tensor.value_index]
    # The first value says nothing where the variable is not counted up from zero.
    return _constant(op.inputs[variable]) == 0


def _constant(tensor: Tensor) -> int | None:
    value = tensor.op.definition.attrs.get("value") if tensor.op.type == "Const" else None
    return int(value.reshape(-1)[0]) if value is not None and value.size == 1 else None
