"""The ops that loops are made of in a graph (frames): Enter, Exit, NextIteration, LoopCond.

A loop variable goes Enter -> Merge -> Switch -> (body) -> NextIteration -> Merge, and leaves through Exit; a value from outside that
does not change goes through an Enter with `is_constant`. They are never run as such: `passes/loops.py` makes loops of them.
"""

from __future__ import annotations

from typing import Any

from flowmesh.core.dtypes import bool
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import with_rank
from flowmesh.ops.flow_context import current_context

ENTERS = frozenset({"Enter", "RefEnter"})
EXITS = frozenset({"Exit", "RefExit"})


class _Frame(OpDef, abstract=True):
    control_flow = True
    devices = ("CPU", "GPU")

    def infer(self, ctx: Any, data: TensorShape) -> Any:
        return data

    def compute(self, xp: Any, data: Any) -> Any:
        """The value, as it is."""
        return data


class _Entering(_Frame, abstract=True):
    def gradient(self, op: Any, grad: Any) -> Any:
        return _enter_gradient(op, grad)


class _Exiting(_Frame, abstract=True):
    def gradient(self, op: Any, grad: Any) -> Any:
        return _exit_gradient(op, grad)


class _Continuing(_Frame, abstract=True):
    def gradient(self, op: Any, grad: Any) -> Any:
        return grad


class Enter(_Entering):
    """Brings `data` into the frame `frame_name`."""

    data = Input("T")
    output = Output("T")
    T = type_attr()
    frame_name = Attr("string")
    is_constant = Attr("bool", False)
    parallel_iterations = Attr("int", 10)

    def infer(self, ctx: Any, data: TensorShape) -> Any:
        return data if self.attrs["is_constant"] else unknown_shape()


class RefEnter(_Entering):
    """Brings the reference `data` into the frame `frame_name`."""

    data = Input("T", ref=True)
    output = Output("T", ref=True, alias="data")
    T = type_attr()
    frame_name = Attr("string")
    is_constant = Attr("bool", False)
    parallel_iterations = Attr("int", 10)


class Exit(_Exiting):
    """Brings `data` out of its frame."""

    data = Input("T")
    output = Output("T")
    T = type_attr()


class RefExit(_Exiting):
    """Brings the reference `data` out of its frame."""

    data = Input("T", ref=True)
    output = Output("T", ref=True, alias="data")
    T = type_attr()


class NextIteration(_Continuing):
    """Brings `data` into the next iteration."""

    data = Input("T")
    output = Output("T")
    T = type_attr()


class RefNextIteration(_Continuing):
    """Brings the reference `data` into the next iteration."""

    data = Input("T", ref=True)
    output = Output("T", ref=True, alias="data")
    T = type_attr()


class LoopCond(OpDef):
    """Whether the loop goes on."""

    input = Input(bool)
    output = Output(bool)
    control_flow = True
    devices = ("CPU", "GPU")
    NotDifferentiable = True

    def infer(self, ctx: Any, input: TensorShape) -> Any:
        return with_rank(input, 0)

    def compute(self, xp: Any, input: Any) -> Any:
        """The value, as it is."""
        return input


def enter(
    data: Any,
    frame_name: str,
    is_constant: Any = False,
    parallel_iterations: int = 10,
    use_input_shape: Any = True,
    name: str | None = None,
) -> Tensor:
    """`data` in the frame `frame_name`."""
    data = convert_to_tensor(data, as_ref=True)
    make = raw.RefEnter if data.dtype._is_ref_dtype else raw.Enter
    result: Tensor = make(
        data,
        frame_name=frame_name,
        is_constant=is_constant,
        parallel_iterations=parallel_iterations,
        name=name,
    )
    if use_input_shape:
        result.set_shape(data.shape)
    return result


def leave(data: Any, name: str | None = None) -> Tensor:
    """`data` outside its frame."""
    data = convert_to_tensor(data, as_ref=True)
    make = raw.RefExit if data.dtype._is_ref_dtype else raw.Exit
    result: Tensor = make(data, name=name)
    return result


def next_iteration(data: Any, name: str | None = None) -> Tensor:
    """`data` in the next iteration."""
    data = convert_to_tensor(data, as_ref=True)
    make = raw.RefNextIteration if data.dtype._is_ref_dtype else raw.NextIteration
    result: Tensor = make(data, name=name)
    return result


def is_enter(op: Any) -> Any:
    """Whether `op` brings a value into a frame."""
    return op.type in ENTERS


def is_exit(op: Any) -> Any:
    """Whether `op` brings a value out of a frame."""
    return op.type in EXITS


def is_constant_enter(op: Any) -> Any:
    """Whether `op` brings a loop invariant into a frame."""
    return op.type in ENTERS and op.definition.attrs["is_constant"]


def constant_enter_of(tensor: Tensor) -> Any:
    """The Enter of the loop invariant that `tensor` passes on, or None."""
    op = tensor.op
    while op.type in ("Switch", "RefSwitch", "Identity", "RefIdentity"):
        op = op.inputs[0].op
    return op if is_constant_enter(op) else None


def _enter_gradient(op: Any, grad: Any) -> Any:
    """The gradient of a loop variable leaves the backward loop; those of an invariant are added up over the iterations."""
    context = current_context()
    if context is None or not context.back_prop or context.grad_state is None:
        return grad
    if op.definition.attrs["is_constant"]:
        return context.grad_state.accumulated(op, grad)
    result = leave(grad)
    context.loop_exits.append(result)
    context.exit_result([result])
    return result


def _exit_gradient(op: Any, grad: Any) -> Any:
    """The gradient of a loop's result enters the backward loop."""
    context = current_context()
    if context is None or not context.back_prop:
        return None
    if op._control_flow_context.grad_state is not None:
        raise TypeError("Second-order gradient for while loops not supported.")
    if not isinstance(grad, Tensor):
        raise TypeError(f"Type {type(grad)} not supported")
    context.add_name(grad)
    context.enter()
    try:
        result = enter(
            grad,
            context.name,
            parallel_iterations=context.parallel_iterations,
            name="b_exit",
        )
        context.loop_enters.append(result)
    finally:
        context.exit()
    return result
