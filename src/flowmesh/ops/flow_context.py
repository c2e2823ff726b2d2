"""Control flow contexts: which branch or loop a node belongs to while it is built, and how values come in from outside.

`Graph.create_operation` asks the active context to admit each new node: its inputs from outside are replaced by what brings them in
(a Switch, an Enter), its control inputs by what the branch or loop allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flowmesh.graph.graph import Graph, get_default_graph
from flowmesh.graph.op_def import OpDef
from flowmesh.graph.operation import Operation
from flowmesh.graph.tensor import Tensor

_EXITS = frozenset({"Exit", "RefExit"})


class FlowContext:
    """What branches and loops have in common."""

    is_while = False
    is_cond = False
    grad_state: Any = None
    """For the loop of a backward pass: what it knows of the forward loop."""

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph = graph
        self.name = name
        self.outer_context: Any = graph._get_control_flow_context()
        self._values: set[Tensor] = set()
        self._external: dict[Tensor, Tensor] = {}
        self._before: list[Any] = []

    def enter(self) -> None:
        """Makes this the context of new nodes, until `exit`."""
        self._before.append(self.graph._get_control_flow_context())
        self.graph._set_control_flow_context(self)

    def exit(self) -> None:
        """Goes back to the context before `enter`."""
        self.graph._set_control_flow_context(self._before.pop())

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Makes this the context of the nodes built inside."""
        self.enter()
        try:
            yield
        finally:
            self.exit()

    @property
    def while_context(self) -> Any:
        """The innermost loop that this is in, or is."""
        return None if self.outer_context is None else self.outer_context.while_context

    @property
    def control_pivot(self) -> Any:
        """The tensor that nodes without inputs wait for."""
        return None

    def add_value(self, value: Tensor) -> Tensor:
        """`value` as this context sees it."""
        raise NotImplementedError

    def add_name(self, value: Tensor) -> None:
        """Makes a tensor known that needs nothing to come in."""
        self._values.add(value)

    def admit(
        self, definition: OpDef, inputs: list[Tensor], controls: list[Operation]
    ) -> tuple[list[Tensor], list[Operation], Any]:
        """The inputs, control inputs and context of a new node."""
        raise NotImplementedError

    def op_added(self, op: Operation) -> None:
        """Called when a node of this context has been made."""
        raise NotImplementedError

    def inner_op_added(self, op: Operation) -> None:
        """Called when a node of a context inside this one has been made."""
        if self.outer_context is not None:
            self.outer_context.inner_op_added(op)

    def exit_result(self, results: list[Tensor]) -> None:
        """Makes the results known to the context outside."""
        if self.outer_context is not None:
            for result in results:
                self.outer_context.add_name(result)

    def _split_controls(self, controls: list[Operation]) -> tuple[list[Operation], list[Operation]]:
        """(those in the same loop, those from outside it)."""
        loop = self.while_context
        if loop is None:
            return controls, []
        inside = [c for c in controls if loop_of_output(c) is loop]
        return inside, [c for c in controls if c not in inside]


def output_context(op: Operation) -> Any:
    """The context that the outputs of `op` belong to: for an Exit the one outside."""
    context = op._control_flow_context
    if context is not None and op.type in _EXITS:
        return context.outer_context
    return context


def loop_of(op: Operation) -> Any:
    """The loop that `op` is in, or None."""
    context = op._control_flow_context
    return None if context is None else context.while_context


def loop_of_output(op: Operation) -> Any:
    """The loop that the outputs of `op` are in, or None."""
    context = output_context(op)
    return None if context is None else context.while_context


def contains(outer: Any, context: Any) -> bool:
    """Whether `outer` is `context` or one around it (None is around all)."""
    while context is not outer:
        if context is None:
            return False
        context = context.outer_context
    return True


def current_context() -> Any:
    """The context of the nodes that are made now in the default graph."""
    return get_default_graph()._get_control_flow_context()
