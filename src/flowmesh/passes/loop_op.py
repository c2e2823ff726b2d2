"""A loop as one op: what `passes/loops.py` makes of a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from flowmesh.core.dtypes import DType
from flowmesh.graph.graph import Graph
from flowmesh.graph.op_def import ArgDef, OpDef
from flowmesh.graph.operation import Operation
from flowmesh.graph.tensor import Tensor

LOOP = "_Loop"


@dataclass(frozen=True)
class Counter:
    """A loop variable that is counted up or down by a constant and ends the loop at a limit."""

    variable: int
    step: int
    limit: int | None
    """The argument (variables first, then invariants) that it is compared with, or None for a constant."""
    constant: int
    inclusive: bool
    """Whether the loop goes on at the limit itself."""


@dataclass
class LoopBody:
    """The graphs of a loop.

    `cond` and `body` have `_Arg` nodes for the variables, then for the invariants (then, in `body`, for what is `shared`), and `_Retval`
    nodes: of `cond` whether the loop goes on (then what is shared), of `body` the next values of the variables.
    """

    name: str
    cond: Graph
    body: Graph
    variables: int
    invariants: int
    shared: int
    results: tuple[int, ...]
    """For each output the variable whose last value it is."""
    counters: tuple[Counter, ...] = ()
    ops: list[Operation] = field(default_factory=list)
    """The ops of the frame, for messages."""

    @property
    def graphs(self) -> tuple[Graph, ...]:
        """Both."""
        return self.cond, self.body


@dataclass
class SpreadBody(LoopBody):
    """One task's part of a loop over several tasks: one graph is an iteration, with transfers and dead values.

    It has `_Arg` nodes for the variables and the invariants, and `_Retval` nodes: whether the loop goes on, the next values of the variables, and what
    leaves through the Exits; in the last iteration the next values are dead, in all others the last ones are. `cond` and `body` are this graph.
    """

    numbered: bool = False
    """Whether the other tasks number its frame, rather than name it (see `runtime/frame_ids.py`)."""

    @property
    def graphs(self) -> tuple[Graph, ...]:
        """The iteration."""
        return (self.body,)


class _Typed(OpDef, abstract=True):
    """An op whose inputs and outputs are declared by the instance."""

    def __init__(
        self,
        attrs: dict[str, Any],
        inputs: Sequence[DType] = (),
        outputs: Sequence[DType] = (),
    ) -> None:
        super().__init__(attrs)
        self.input_args = tuple(  # type: ignore[misc]
            ArgDef(f"input_{i}", False, d.base_dtype, ref=d._is_ref_dtype)
            for i, d in enumerate(inputs)
        )
        self.output_args = tuple(  # type: ignore[misc]
            ArgDef(f"output_{i}", True, d.base_dtype, ref=d._is_ref_dtype)
            for i, d in enumerate(outputs)
        )

    devices = ("CPU", "GPU")


class Argument(_Typed, abstract=True):
    """A value that a graph is given."""

    op_type = "_Arg"


class Result(_Typed, abstract=True):
    """A value that a graph gives."""

    op_type = "_Retval"


class Loop(_Typed, abstract=True):
    """A loop; its inputs are the first values of the variables, and the invariants."""

    op_type = LOOP
    stateful = True

    def __init__(self, loop: LoopBody, inputs: Sequence[DType], outputs: Sequence[DType]) -> None:
        super().__init__({}, inputs, outputs)
        self.loop = loop


def is_loop(op: Operation) -> bool:
    """Whether the op is a loop."""
    return op.type == LOOP


def loop_of(op: Operation) -> LoopBody:
    """The graphs of a loop."""
    definition: Any = op.definition
    return definition.loop  # type: ignore[no-any-return]


def is_spread(op: Operation) -> bool:
    """Whether the op is a part of a loop over several tasks. It runs whatever its inputs are: the other tasks want to be told that values are dead."""
    return is_loop(op) and isinstance(loop_of(op), SpreadBody)


def nested_ops(op: Operation) -> list[Operation]:
    """The ops in a loop, those of the loops in it included."""
    found: list[Operation] = []
    for graph in loop_of(op).graphs:
        for inner in graph.get_operations():
            found.append(inner)
            if is_loop(inner):
                found.extend(nested_ops(inner))
    return found


def argument_of(tensor: Tensor) -> int | None:
    """The number of the argument that a tensor passes on, or None."""
    op = tensor.op
    while op.type == "Identity" and not op._control_inputs:
        op = op.inputs[0].op
    return op.definition.attrs["index"] if op.type == "_Arg" else None
