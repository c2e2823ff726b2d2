"""Switch and Merge, the dataflow form of a branch, and their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core.dtypes import bool, int32, resource
from flowmesh.core.shapes import TensorShape
from flowmesh.graph import hooks
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.op_def import DEAD, Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import shape_of, with_rank
from flowmesh.ops.fill import zeros, zeros_like
from flowmesh.ops.flow_context import current_context, output_context
from flowmesh.ops.loops import is_enter, next_iteration
from flowmesh.ops.naming import name_scope
from flowmesh.ops.shape_ops import shape_internal


def _both_ways(data: Any, pred: Any) -> tuple[Any, Any]:
    return (DEAD, data) if np.asarray(pred).item() else (data, DEAD)


class _Switching(OpDef, abstract=True):
    control_flow = True
    devices = ("CPU", "GPU")

    def infer(self, ctx: Any, data: TensorShape, pred: TensorShape) -> Any:
        with_rank(pred, 0)
        return data, data

    def run(self, ctx: Any, data: Any, pred: Any) -> Any:
        """(output_false, output_true); the untaken one is DEAD."""
        return _both_ways(data, pred)

    def gradient(self, op: Any, *grads: Any) -> Any:
        return _switch_gradient(op, grads)


class Switch(_Switching):
    """Passes `data` to the output that `pred` selects."""

    data = Input("T")
    pred = Input(bool)
    output_false, output_true = Output("T"), Output("T")
    T = type_attr()


class RefSwitch(_Switching):
    """Passes the reference `data` to the output that `pred` selects."""

    data = Input("T", ref=True)
    pred = Input(bool)
    output_false = Output("T", ref=True, alias="data")
    output_true = Output("T", ref=True, alias="data")
    T = type_attr()


class _Merging(OpDef, abstract=True):
    control_flow = True
    devices = ("CPU", "GPU")

    def infer(self, ctx: Any, inputs: Any) -> Any:
        dims = None if inputs[0].key is None else list(inputs[0].key)
        for shape in inputs[1:]:
            other = shape.key
            if dims is None or other is None or len(dims) != len(other):
                dims = None
                break
            dims = [a if a == b else None for a, b in zip(dims, other)]
        return shape_of(dims), TensorShape([])

    def run(self, ctx: Any, inputs: Any) -> Any:
        """(the live input, its index)."""
        for i, value in enumerate(inputs):
            if value is not DEAD:
                return value, np.int32(i)
        return DEAD, DEAD

    def gradient(self, op: Any, grad: Any, _: Any) -> Any:
        return _merge_gradient(op, grad)


class Merge(_Merging):
    """The one input that is alive, and which one it is."""

    inputs = Input("T", number="N")
    output = Output("T")
    value_index = Output(int32)
    T = type_attr()
    N = Attr("int", minimum=1)


class RefMerge(_Merging):
    """The one reference that is alive, and which one it is."""

    inputs = Input("T", number="N", ref=True)
    output = Output("T", ref=True, alias="inputs")
    value_index = Output(int32)
    T = type_attr()
    N = Attr("int", minimum=1)


def switch(data: Any, pred: Any, name: str | None = None) -> Any:
    """(output_false, output_true): `data` forwarded to one of them; the other is dead
    (tensorflow.python.ops.control_flow_ops.switch)."""
    with name_scope(name, "Switch", [data, pred]) as scope:
        data = convert_to_tensor(data, name="data")
        pred = convert_to_tensor(pred, name="pred")
        return raw.Switch(data, pred, name=scope)


def switch_ref_or_tensor(data: Tensor, pred: Tensor, name: str = "Switch") -> Any:
    """A Switch, or a RefSwitch for a reference, next to what makes `data`."""
    data = convert_to_tensor(data, name="data")
    with data.graph.colocate_with(data.op, ignore_existing=True):
        if data.dtype._is_ref_dtype:
            return raw.RefSwitch(data, pred, name=name)
        return raw.Switch(data, pred, name=name)


def merge(inputs: Any, name: str | None = None) -> Any:
    """(output, value_index) of the one live tensor among `inputs`
    (tensorflow.python.ops.control_flow_ops.merge). Raises ValueError for a None among them."""
    if any(value is None for value in inputs):
        raise ValueError(f"At least one of the merge inputs is None: {inputs}")
    with name_scope(name, "Merge", list(inputs)) as scope:
        tensors = [convert_to_tensor(v, name=f"input_{i}") for i, v in enumerate(inputs)]
        if all(t.dtype._is_ref_dtype for t in tensors):
            return raw.RefMerge(tensors, name=scope)
        return raw.Merge(tensors, name=scope)


def is_switch(op: Any) -> Any:
    """Whether `op` is a Switch."""
    return op.type in ("Switch", "RefSwitch")


def is_loop_switch(op: Any) -> Any:
    """Whether `op` is the Switch of a loop variable (rather than of a cond in a loop)."""
    context = op._control_flow_context
    return is_switch(op) and context is not None and context.is_while and not _is_cond_switch(op)


def _is_cond_switch(op: Any) -> Any:
    for tensor in op.outputs:
        for consumer in tensor._consumers:
            context = consumer._control_flow_context
            if is_enter(consumer):
                context = context.outer_context
            if context is None or not context.is_cond:
                return False
    return True


def add_back_edge(merged: Tensor, value: Any, enforce_shape_invariant: Any = True) -> Tensor:
    """Brings `value` into the next iteration, where it is the other input of the Merge `merged`. ValueError for a shape that is
    less specific than the loop's."""
    following = next_iteration(convert_to_tensor(value))
    if enforce_shape_invariant and not _fits(following.shape, merged.shape):
        source = merged.op.inputs[0].op.inputs[0]
        raise ValueError(
            f"Input tensor '{source.name}' enters the loop with shape {source.shape}, but has shape {following.shape} "
            "after one iteration. To allow the shape to vary across iterations, use the `shape_invariants` argument of "
            "tf.while_loop to specify a less-specific shape."
        )
    merged.op._update_input(1, following)
    return following


def _fits(shape: TensorShape, wanted: TensorShape) -> Any:
    """Whether `shape` is at least as specific as `wanted`, and has the same sizes."""
    if wanted.key is None:
        return True
    if shape.key is None or len(shape.key) != len(wanted.key):
        return False
    return all(w is None or w == s for s, w in zip(shape.key, wanted.key))


shape_fits = _fits


def _switch_gradient(op: Any, grads: Any) -> Any:
    context = op._control_flow_context
    if context is not None and context.is_while:
        return _loop_switch_gradient(op, grads)
    if context is not None and context.is_cond:
        if grads[1 - context.branch] is None:
            if op.inputs[0].dtype == resource:
                taken = grads[context.branch]
                return merge([taken, taken], name="cond_resource_grad")[0], None
            return None, None
        return merge(grads, name="cond_grad")[0], None
    pred = op.inputs[1]
    false_grad = switch(grads[0], pred)[0]
    true_grad = switch(grads[1], pred)[1]
    return merge([false_grad, true_grad])[0], None


def _loop_switch_gradient(op: Any, grads: Any) -> Any:
    """A Switch of a loop is met twice. First from its Exit: a Merge is made; then from the body: the Merge gets its other input."""
    state = current_context().grad_state
    merged = state.switch_map.get(op)
    if merged is not None:
        if grads[1] is not None:
            add_back_edge(merged, grads[1], enforce_shape_invariant=False)
        return None, None
    if grads[0] is None:
        return None, None
    merged = merge([grads[0], grads[0]], name="b_switch")[0]
    state.switch_map[op] = merged
    return merged, None


def _merge_gradient(op: Any, grad: Any) -> Any:
    context = output_context(op.inputs[0].op)
    if context is not None and context.is_while:
        return list(switch_ref_or_tensor(grad, current_context().pivot))
    if context is not None and context.is_cond:
        backward = current_context()
        pred = context.pred
        if backward is not None and backward.grad_state is not None:
            pred = backward.grad_state.real_predicate(pred)
        return list(switch_ref_or_tensor(grad, pred, name="cond_grad"))
    taken = [raw.Equal(op.outputs[1], i) for i in range(len(op.inputs))]
    return [switch(grad, t)[1] for t in taken]


def zeros_for_gradient(op: Any, index: int) -> Tensor:
    """A zero gradient for an output of `op` that nothing depends on; alive where the output's branch is not taken."""
    value = op.outputs[index]
    context = op._control_flow_context
    if not is_switch(op):
        if value.dtype == resource:
            return zeros(raw.VariableShape(value))
        return zeros_like(value, optimize=False)
    if context is None or not context.is_cond:
        return zeros_like(value, optimize=False)
    other = switch(op.inputs[0], context.pred)[1 - context.branch]
    pivot = raw.Identity(other)
    graph = get_default_graph()
    if value.dtype == resource:
        with graph.control_dependencies([pivot]):
            return zeros(raw.VariableShape(other))
    dims = shape_internal(other, optimize=False)
    with graph.control_dependencies([pivot]):
        return zeros(dims, value.dtype)


hooks.zeros_for_gradient = zeros_for_gradient
