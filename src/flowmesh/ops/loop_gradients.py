"""Gradients of loops: a backward loop that runs as often as the forward loop did, with the values of each iteration on stacks.

For each forward loop that lies between ys and xs there is a `LoopGradient`. The forward loop gets a counter, and, for each value that the
backward pass needs, a stack that it is pushed to; the backward loop counts down and pops. The nodes and their names are TensorFlow 1.15's.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

import numpy as np

from flowmesh.core.dtypes import int32, resource
from flowmesh.core.shapes import TensorShape
from flowmesh.graph import hooks
from flowmesh.graph.composite import IndexedSlices
from flowmesh.graph.constant_value import constant_value
from flowmesh.graph.operation import Operation
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.concat import concat
from flowmesh.ops.constant import constant
from flowmesh.ops.fill import zeros, zeros_like
from flowmesh.ops.flow_context import loop_of, output_context
from flowmesh.ops.loops import constant_enter_of, enter, is_exit, leave, next_iteration
from flowmesh.ops.shape_ops import shape_internal
from flowmesh.ops.switch_merge import (
    is_loop_switch,
    is_switch,
    merge,
    switch,
    switch_ref_or_tensor,
    zeros_for_gradient,
)
from flowmesh.ops.while_context import WhileContext


class LoopGradient:
    """A forward loop and its backward loop, while the gradients are built."""

    def __init__(self, forward: WhileContext, outer: LoopGradient | None) -> None:
        self.outer = outer
        self.forward_context = forward
        self.graph = forward.graph
        self.history: dict[Tensor, Tensor] = {}
        """The value in the backward loop of what the forward loop computed."""
        self.switch_map: dict[Operation, Tensor] = {}
        self.unused_exits: list[Tensor] = []
        self.deferred_exits: list[Tensor] = []
        self.forward_exits = list(forward.loop_exits)
        self.pending_exits = len(forward.loop_exits)
        self._forward_sync: Operation | None = None
        self._backward_sync: Operation | None = None
        around = outer.forward_context if outer is not None else forward.outer_context
        with _entered(around):
            count, self.forward_index = self._count_forward()
        if outer is None:
            with _entered(around):
                self.context = self._backward_context()
                self.backward_index = self._count_backward(count)
            return
        around.add_name(count)
        history = outer.saved(count)
        with outer.context.entered():
            self.context = self._backward_context()
            real = outer.restored(history, count)
            self.backward_index = self._count_backward(real)

    def _backward_context(self) -> WhileContext:
        forward = self.forward_context
        return WhileContext(
            forward.maximum_iterations,
            forward.parallel_iterations,
            forward.back_prop,
            forward.swap_memory,
            forward.name,
            self,
        )

    # -- counters ----------------------------------------------------------------------------------------

    def _count_forward(self) -> tuple[Tensor, Tensor]:
        """Counts the iterations of the forward loop: (how many there were, the count in the next iteration)."""
        context = self.forward_context
        zero = constant(0, name="f_count")
        if (
            self.outer is not None
        ):  # pushes of one run of an inner loop come before those of the next
            zero.op._add_control_inputs([self.outer.forward_index.op.inputs[0].op])
        with context.entered():
            context.add_name(zero)
            entered = _enter(context, zero, "f_count")
            merged = merge([entered, entered])[0]
            switched = switch(merged, context.pivot)
            following = next_iteration(raw.Add(switched[1], 1))
            merged.op._update_input(1, following)
            total = leave(switched[0], name="f_count")
            context.loop_exits.append(total)
            context.exit_result([total])
        return total, following

    def _count_backward(self, count: Tensor) -> Tensor:
        """Ends the backward loop after `count` iterations; the count in the next iteration."""
        context = self.context
        one = constant(1, name="b_count")
        with context.entered():
            context.add_name(count)
            entered = _enter(context, count, "b_count")
            merged = merge([entered, entered])[0]
            context.pivot_for_pred = merged
            context.pivot = raw.LoopCond(raw.GreaterEqual(merged, one), name="b_count")
            switched = switch(merged, context.pivot)
            index = raw.Sub(switched[1], one)
            context.pivot_for_body = index
            following = next_iteration(index)
            merged.op._update_input(1, following)
            last = leave(switched[0], name="b_count")
            context.loop_exits.append(last)
            if self.outer is not None:
                self.outer.backward_sync._add_control_input(last.op)
            context.exit_result([last])
        return following

    @property
    def forward_sync(self) -> Operation:
        """What the next iteration of the forward loop waits for."""
        if self._forward_sync is None:
            with self.graph.control_dependencies(None):
                self._forward_sync = raw.ControlTrigger(name="f_sync")
            self._forward_sync._set_control_flow_context(self.forward_context)
            self.forward_index.op._add_control_input(self._forward_sync)
        return self._forward_sync

    @property
    def backward_sync(self) -> Operation:
        """What the next iteration of the backward loop waits for."""
        if self._backward_sync is None:
            with self.graph.control_dependencies(None):
                self._backward_sync = raw.ControlTrigger(name="b_sync")
            self._backward_sync._set_control_flow_context(self.context)
            self.backward_index.op._add_control_input(self._backward_sync)
            if self.context.outer_context is not None:
                self.context.outer_context.inner_op_added(self._backward_sync)
        return self._backward_sync

    # -- values of the forward loop ------------------------------------------------------------------------

    def saved(self, value: Tensor, dead_branch: bool = False) -> Tensor:
        """The stack that keeps a value of the forward loop, one for each iteration. Called outside the backward loop."""
        graph = self.graph
        current = graph._get_control_flow_context()
        with graph.control_dependencies(None):
            with _entered(current), graph.colocate_with(value.op):
                unlimited = constant(-1, int32)
                stack: Tensor = raw.StackV2(
                    unlimited, elem_type=value.dtype.base_dtype, name="f_acc"
                )
            handle = self.forward_context.add_value(stack)
            push = self._push(handle, value, dead_branch)
            push._add_control_input(self.forward_index.op.inputs[0].op)
        return stack

    def _push(self, handle: Tensor, value: Tensor, dead_branch: bool) -> Operation:
        forward = self.forward_context
        context = output_context(value.op)

        def push() -> Operation:
            pushed = raw.StackPushV2(handle, value, swap_memory=forward.swap_memory)
            return pushed.op  # type: ignore[no-any-return]

        if context is forward:
            with forward.entered():
                op = push()
            self.forward_index.op._add_control_input(op)
            return op
        if context is None or not context.is_cond:
            raise TypeError(f"value_ctxt is not a CondContext: {context}")
        if dead_branch:
            with context.outer_context.entered():
                op = push()
            op._set_control_flow_context(context)
        else:
            with context.entered():
                op = push()
        self.forward_sync._add_control_input(op)
        return op

    def restored(self, history: Tensor, value: Tensor, dead_branch: bool = False) -> Tensor:
        """The value that was saved in the iteration to which the backward loop has come."""
        branch = self._branch_between(value, history)
        with self.graph.control_dependencies(None), self.context.entered():
            if branch is not None:
                pred = self._predicate(branch)
                side = 1 - branch.branch if dead_branch else branch.branch
                history = switch_ref_or_tensor(history, pred)[side]
            popped: Tensor = raw.StackPopV2(history, elem_type=value.dtype.base_dtype)
            popped.set_shape(value.shape)
        if self.context.parallel_iterations > 1:
            self.backward_sync._add_control_input(popped.op)
        return popped

    @staticmethod
    def _branch_between(value: Tensor, history: Tensor) -> Any:
        """The innermost cond that `value` is in and the stack is not."""
        end = history.op._control_flow_context
        context = value.op._control_flow_context
        while context is not None and context is not end:
            if context.is_cond:
                return context
            context = context.outer_context
        return None

    def _predicate(self, branch: Any) -> Tensor:
        state: LoopGradient | None = self
        while state is not None:
            found = state.history.get(branch.pred)
            if found is not None:
                return found
            state = state.outer
        pred: Tensor = branch.pred
        return pred

    def real_value(self, value: Tensor) -> Tensor:
        """In the backward loop: the value that a tensor of the forward loop had in that iteration."""
        real = self.history.get(value)
        if real is None:
            real = self.history[value] = self._find_real(value)
        return real

    def _find_real(self, value: Tensor) -> Tensor:
        state: LoopGradient = self
        while True:
            invariant = constant_enter_of(value)
            if invariant is not None:
                value = invariant.inputs[0]
                if state.outer is None:
                    return self.context.add_value(value)
                state = state.outer
            elif value.op.type == "Const":
                return constant(np.array(constant_value(value)), dtype=value.dtype)
            else:
                break
        self.context.exit()
        try:
            history = state.saved(value)
        finally:
            self.context.enter()
        real = state.restored(history, value)
        return real if state is self else self.context.add_value(real)

    def real_predicate(self, pred: Tensor) -> Tensor:
        """The predicate of a cond in the forward loop, as it was in that iteration."""
        real = self.history.get(pred)
        if real is None:
            self.context.exit()
            try:
                history = self.saved(pred)
            finally:
                self.context.enter()
            real = self.history[pred] = self.restored(history, pred)
        return real

    # -- gradients of invariants ---------------------------------------------------------------------------

    def accumulated(self, op: Operation, grad: Any) -> Any:
        """The sum over all iterations of the gradient of an invariant, whose Enter is `op`."""
        if isinstance(grad, Tensor):
            return self._accumulated_dense(op, grad)
        if isinstance(grad, IndexedSlices):
            return self._accumulated_slices(op, grad)
        raise TypeError(f"Type {type(grad)} not supported")

    def _accumulated_dense(self, op: Operation, grad: Tensor) -> Tensor:
        context = self.context
        context.exit()
        try:
            start = self._zeros_before(op, grad)
        finally:
            context.enter()
        context.add_name(start)
        entered = _enter(context, start, "b_acc")
        merged = merge([entered, entered], name="b_acc")[0]
        before, goes_on = switch(merged, context.pivot)
        following = next_iteration(raw.Add(goes_on, grad))
        merged.op._update_input(1, following)
        result = leave(before, name="b_acc")
        context.loop_exits.append(result)
        context.exit_result([result])
        return result

    def _zeros_before(self, op: Operation, grad: Tensor) -> Tensor:
        """The sum before the first iteration."""
        outer = self.context.outer_context
        if grad.shape.is_fully_defined():
            with _entered(outer):
                return constant(0, grad.dtype, shape=grad.shape, name="b_acc")
        value = op.inputs[0]
        if outer is not None and outer.is_while and outer.grad_state is not None:
            assert self.outer is not None
            with self.forward_context.outer_context.entered():
                shape = shape_internal(value, optimize=False)
            history = self.outer.saved(shape)
            with outer.entered():
                return zeros(self.outer.restored(history, shape), grad.dtype)
        with _entered(outer):
            return zeros(shape_internal(value, optimize=False), grad.dtype)

    def _accumulated_slices(self, op: Operation, grad: IndexedSlices) -> IndexedSlices:
        context = self.context
        context.exit()
        try:
            with _entered(context.outer_context):
                starts = self._slices_before(op, grad)
        finally:
            context.enter()
        for start in starts:
            context.add_name(start)
        entered = [_enter(context, t, "b_acc", use_input_shape=False) for t in starts]
        entered[0].set_shape([None])
        if starts[1].shape.ndims is not None:
            entered[1].set_shape([None, *starts[1].shape.as_list()[1:]])
        merged = [merge([t, t], name="b_acc")[0] for t in entered]
        switched = [switch(t, context.pivot) for t in merged]
        sums = [
            concat([pair[1], new], 0) for pair, new in zip(switched, (grad.indices, grad.values))
        ]
        if grad.dense_shape is not None:
            sums.append(raw.Maximum(grad.dense_shape, switched[2][1]))
        for before, after in zip(merged, [next_iteration(t) for t in sums]):
            before.op._update_input(1, after)
        exits = [leave(pair[0], name="b_acc") for pair in switched]
        context.loop_exits.extend(exits)
        context.exit_result(exits)
        return IndexedSlices(exits[1], exits[0], exits[2] if len(exits) > 2 else None)

    @staticmethod
    def _slices_before(op: Operation, grad: IndexedSlices) -> list[Tensor]:
        """Indices, values and dense shape before the first iteration: one row of zeros."""
        values, value = grad.values, op.inputs[0]
        if values.shape.is_fully_defined():
            shape = TensorShape([1, *values.shape.as_list()[1:]])
            rows = constant(0, values.dtype, shape=shape, name="b_acc")
        else:
            whole = raw.VariableShape(value) if value.dtype == resource else None
            dims = shape_internal(value, optimize=False) if whole is None else whole
            rows = zeros(concat([[1], dims[1:]], 0), dtype=values.dtype)
        parts = [constant([0], grad.indices.dtype), rows]
        dense = grad.dense_shape
        if dense is not None:
            if dense.shape.is_fully_defined():
                parts.append(constant(0, dense.dtype, shape=dense.shape))
            else:
                wanted = shape_internal(value, optimize=False, out_type=dense.dtype)
                parts.append(zeros_like(wanted, optimize=False))
        return parts


class LoopGradients:
    """All loops between ys and xs of one gradients call."""

    def __init__(self) -> None:
        self._states: dict[WhileContext, LoopGradient] = {}

    def add(self, op: Operation, between: dict[Operation, None]) -> None:
        """Prepares for the loop that the Exit `op` belongs to; its other exits come between, too."""
        forward = loop_of(op)
        if forward in self._states:
            return
        outer = forward.outer_context
        loop = None if outer is None else outer.while_context
        state = LoopGradient(forward, None if loop is None else self._states.get(loop))
        self._states[forward] = state
        for tensor in state.forward_exits:
            between.setdefault(tensor.op)

    def state_of(self, op: Operation, before: bool) -> LoopGradient | None:
        """What is known of the loop `op` is in; for an Exit, `before` asks for the loop outside."""
        forward = _loop_outside_exit(op, before)
        return None if forward is None else self._states.get(forward)

    def entered(self, op: Operation, before: bool) -> Any:
        """The backward loop of the loop that `op` is in as the context of new nodes."""
        state = self.state_of(op, before)
        return _entered(None if state is None else state.context)

    def unused_exits(
        self, pending: dict[Operation, int], to_ops: Iterable[Operation]
    ) -> list[Tensor]:
        """The exits that nothing depends on, of loops all of whose exits are known now."""
        wanted = set(to_ops)
        found: list[Tensor] = []
        for state in self._states.values():
            for tensor in state.forward_exits:
                if not pending.get(tensor.op, 0):
                    state.pending_exits -= 1
                    if tensor.op not in wanted:
                        state.unused_exits.append(tensor)
                    if not state.pending_exits:
                        found.extend(state.unused_exits)
            for tensor in state.forward_context.loop_enters:
                if not pending.get(tensor.op, 0):
                    pending[tensor.op] = 1
        return found

    def zeros_for_exit(self, value: Tensor) -> Tensor:
        """The gradient of an exit that nothing depends on."""
        shape = value.shape
        around = value.op._control_flow_context.outer_context
        loop = None if around is None else around.while_context
        outer = None if loop is None else self._states.get(loop)
        if outer is None:
            if shape.is_fully_defined():
                return zeros(shape.as_list(), value.dtype)
            return zeros_like(value, optimize=False)
        if shape.is_fully_defined():
            with outer.context.entered():
                return zeros(shape.as_list(), value.dtype)
        with around.entered():
            dims = shape_internal(value, optimize=False)
        history = outer.saved(dims)
        with outer.context.entered():
            return zeros(outer.restored(history, dims), value.dtype)

    def zeros_for(self, op: Operation, index: int) -> Any:
        """The gradient of an output that nothing depends on; called in the backward loop. None for a Switch of the loop itself."""
        if is_loop_switch(op):
            return None
        forward = loop_of(op)
        state = None if forward is None else self._states.get(forward)
        if state is None:
            return zeros_for_gradient(op, index)
        context = op._control_flow_context
        dead = is_switch(op)
        value = op.outputs[index]
        if value.shape.is_fully_defined():
            result = constant(0, dtype=value.dtype, shape=value.shape)
            if dead:
                pred = state.real_predicate(context.pred)
                result = switch_ref_or_tensor(result, pred)[1 - context.branch]
            return result
        if dead:
            with context.outer_context.entered():
                value = switch_ref_or_tensor(op.inputs[0], context.pred)[1 - context.branch]
                dims = shape_internal(value, optimize=False)
            value.op._set_control_flow_context(context)
            dims.op._set_control_flow_context(context)
        else:
            with context.entered():
                dims = shape_internal(value, optimize=False)
        state.context.exit()
        try:
            history = state.saved(dims, dead_branch=dead)
        finally:
            state.context.enter()
        return zeros(state.restored(history, dims, dead), value.dtype)

    def finish(self) -> None:
        """Closes the backward loops of variables whose new value does not depend on the old one."""
        for state in self._states.values():
            for merged in state.switch_map.values():
                first, second = merged.op.inputs
                if first is not second:
                    continue
                if first.shape.is_fully_defined():
                    with state.context.entered():
                        value = constant(0, dtype=first.dtype, shape=first.shape)
                        following = next_iteration(value)
                else:
                    with _entered(state.context.outer_context):
                        shape = shape_internal(first.op.inputs[0], optimize=False)
                        value = zeros(shape, first.dtype)
                    with state.context.entered():
                        following = next_iteration(value)
                merged.op._update_input(1, following)

    is_exit = staticmethod(is_exit)
    is_loop_switch = staticmethod(is_loop_switch)


def _loop_outside_exit(op: Operation, before: bool) -> Any:
    """The loop that `op` is in; for an Exit, when `before`, the one outside."""
    if before and is_exit(op):
        outer = op._control_flow_context.outer_context
        return None if outer is None else outer.while_context
    return loop_of(op)


def start_loop_gradients(between: dict[Operation, None], colocate: bool) -> LoopGradients | None:
    """What the backward pass needs for the loops among the ops `between`, None where there is none.

    Exits of these loops that were not between come in addition.
    """
    state: LoopGradients | None = None
    pending = list(between)
    done: set[Operation] = set()
    while pending:
        for op in pending:
            done.add(op)
            if not is_exit(op):
                continue
            if op._control_flow_context is None:
                raise ValueError(
                    f"The gradient of the loop that {op.name} belongs to cannot be built: the loop was imported from a "
                    "GraphDef. Import it with its MetaGraphDef (tf.train.import_meta_graph), which describes its loops."
                )
            state = state or LoopGradients()
            with ExitStack() as stack:
                if colocate:
                    stack.enter_context(op.graph.colocate_with(op))
                state.add(op, between)
        pending = [op for op in between if op not in done]
    return state


def _entered(context: Any) -> Any:
    return ExitStack() if context is None else context.entered()


def _enter(context: WhileContext, value: Tensor, name: str, use_input_shape: bool = True) -> Tensor:
    entered = enter(
        value,
        context.name,
        parallel_iterations=context.parallel_iterations,
        use_input_shape=use_input_shape,
        name=name,
    )
    context.loop_enters.append(entered)
    return entered


hooks.start_loop_gradients = start_loop_gradients
