"""The context of a loop while it is built (TensorFlow: `WhileContext`): values from outside come in through an Enter."""

from __future__ import annotations

from typing import Any

from flowmesh.graph.graph import Graph, get_default_graph
from flowmesh.graph.op_def import OpDef
from flowmesh.graph.operation import Operation
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.flow_context import FlowContext, loop_of, output_context
from flowmesh.ops.loops import constant_enter_of, enter, is_constant_enter, is_exit

__all__ = ["WhileContext", "constant_enter_of"]

_SHAPES = frozenset({"Shape", "Size", "Rank"})


class WhileContext(FlowContext):
    """One loop: of a program, or of the backward pass of one (`grad_state`)."""

    is_while = True

    def __init__(
        self,
        maximum_iterations: Tensor | None = None,
        parallel_iterations: int = 10,
        back_prop: bool = True,
        swap_memory: bool = False,
        name: str = "while_context",
        grad_state: Any = None,
    ) -> None:
        if not isinstance(parallel_iterations, int) or parallel_iterations <= 0:
            raise ValueError(
                f"`parallel_iterations` must be a positive integer: {parallel_iterations}"
            )
        graph = get_default_graph()
        super().__init__(graph, graph.unique_name(name))
        self.maximum_iterations = maximum_iterations
        self.parallel_iterations = parallel_iterations
        self.back_prop = back_prop
        self.swap_memory = swap_memory
        self.grad_state = grad_state
        self.pivot_for_pred: Tensor | None = None
        self.pivot_for_body: Tensor | None = None
        self.pivot: Tensor | None = None
        """Whether the loop goes on."""
        self.loop_enters: list[Tensor] = []
        self.loop_exits: list[Tensor] = []

    @property
    def while_context(self) -> Any:
        """This loop."""
        return self

    @property
    def control_pivot(self) -> Any:
        """What nodes without inputs wait for: a value of the condition, later one of the body."""
        return self.pivot_for_pred if self.pivot_for_body is None else self.pivot_for_body

    def set_values(self, values: list[Tensor]) -> None:
        """The values that are known in the loop, and no others."""
        self._values = set(values)

    # -- values from outside -------------------------------------------------------------------------------

    def add_value(self, value: Tensor) -> Tensor:
        """`value` in this loop: itself, what it was saved as in the forward loop, or the output of an Enter."""
        if value in self._values or value.op._control_flow_context is self:
            return self._external.get(value, value)
        self._values.add(value)
        saved = self._from_forward(value)
        if saved is not None:
            self._external[value] = saved
            return saved
        result = value
        if self.outer_context is not None:
            result = self.outer_context.add_value(value)
        with self.graph.control_dependencies(None):
            entered = enter(
                result,
                self.name,
                is_constant=True,
                parallel_iterations=self.parallel_iterations,
            )
            self.graph.prevent_feeding(entered)
            if self.outer_context is not None:
                self.outer_context.inner_op_added(entered.op)
        self.adopt([entered])
        self._values.add(entered)
        self._external[value] = entered
        return entered

    def _from_forward(self, value: Tensor) -> Tensor | None:
        """In the loop of a backward pass: the value that a tensor of the forward loop had in that iteration."""
        context = self.graph._get_control_flow_context()
        loop = None if context is None else context.while_context
        if loop is None or loop.grad_state is None:
            return None
        forward = loop_of(value.op)
        if forward is not None and is_exit(value.op):
            outer = forward.outer_context
            forward = None if outer is None else outer.while_context
        if forward is not loop.grad_state.forward_context:
            return None
        real: Tensor = loop.grad_state.real_value(value)
        return real

    def adopt(self, enters: list[Tensor]) -> None:
        """Makes Enters nodes of this loop, with those control inputs of the scopes that are in a context around it."""
        graph = self.graph
        for tensor in enters:
            before = tensor.op.inputs[0].op
            controls = [
                op for op in graph._control_dependencies_for_inputs({before}) if self._may_wait(op)
            ]
            tensor.op._set_control_flow_context(self)
            if controls:
                tensor.op._add_control_inputs(controls)
            graph._record_op_seen(tensor.op)

    def _may_wait(self, op: Operation) -> bool:
        wanted = output_context(op)
        outer = self.outer_context
        loop = None if outer is None else outer.while_context
        while outer is not wanted:
            if outer is None or outer is loop:
                return False
            outer = outer.outer_context
        return True

    # -- called by the graph for each new node -------------------------------------------------------------

    def admit(
        self, definition: OpDef, inputs: list[Tensor], controls: list[Operation]
    ) -> tuple[list[Tensor], list[Operation], Any]:
        """Shapes of values of a forward loop are taken there, so that the shapes are saved rather than the values."""
        if definition.op_type in _SHAPES and self.grad_state is not None:
            forward = self.grad_state.forward_context
            if loop_of(inputs[0].op) is forward:
                context = inputs[0].op._control_flow_context
                return context.admit(definition, inputs, controls)  # type: ignore[no-any-return]
        inside, outside = self._split_controls(controls)
        if not inputs:
            if not inside:
                inside = [self.control_pivot.op]
        else:
            inputs = [self.add_value(t) for t in inputs]
            if not inside and all(is_constant_enter(t.op) for t in inputs):
                inside = [self.control_pivot.op]
        if any(op.outputs for op in outside):
            inside = inside + self._brought_in(outside, definition.op_type == "Const")
        return inputs, inside, self

    def _brought_in(self, controls: list[Operation], above: bool) -> list[Operation]:
        """Control inputs from outside the loop, as data that comes in; named in the scope `above` the node's own, or in that."""
        state = self.graph._state
        scope = state.name_stack
        if above:
            state.name_stack = scope.rpartition("/")[0]
        try:
            with self.graph.control_dependencies(None), self.entered():
                return [raw.Identity(op.outputs[0]).op for op in controls if op.outputs]
        finally:
            state.name_stack = scope

    def op_added(self, op: Operation) -> None:
        """Notes the outputs of a new node of the loop."""
        self._values.update(op.outputs)
        graph: Graph = self.graph
        if self.outer_context is not None or not is_exit(op):
            graph.prevent_fetching(op)
            for tensor in op.outputs:
                graph.prevent_feeding(tensor)
        if self.outer_context is not None:
            self.outer_context.inner_op_added(op)
