"""Stacks that live for one step: where loops keep values of each iteration for their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core import errors
from flowmesh.core.dtypes import int32, resource
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.ops.traced_arrays import TracedStack
from flowmesh.resources.step_arrays import StepStack


def _stack(value: Any) -> Any:
    """The stack behind a handle; InvalidArgumentError for anything else."""
    if not isinstance(value, (StepStack, TracedStack)):
        raise errors.InvalidArgumentError(None, None, f"{value} is no stack of this step")
    return value


class _Using(OpDef, abstract=True):
    """An op on a stack."""

    stateful = True
    step_object = True
    devices = ("CPU", "GPU")
    NotDifferentiable = True


class StackV2(_Using):
    """Makes a stack of at most `max_size` values, of any number when that is negative."""

    max_size = Input(int32)
    handle = Output(resource)
    elem_type = type_attr()
    stack_name = Attr("string", b"")

    def infer(self, ctx: Any, max_size: TensorShape) -> Any:
        return TensorShape([2])

    def compute(self, xp: Any, max_size: Any) -> Any:
        """The stack."""
        if xp is not np:
            return TracedStack(xp, self.attrs["elem_type"].as_numpy_dtype)
        name = self.attrs["stack_name"].decode() or "stack"
        return StepStack(name, self.attrs["elem_type"], int(max_size))


class StackPushV2(_Using):
    """Pushes `elem`, and gives it."""

    handle, elem = Input(resource), Input("T")
    output = Output("T")
    T = type_attr()
    swap_memory = Attr("bool", False)

    def infer(self, ctx: Any, handle: Any, elem: TensorShape) -> Any:
        return elem

    def compute(self, xp: Any, handle: Any, elem: Any) -> Any:
        """The value."""
        _stack(handle).push(elem)
        return elem


class StackPopV2(_Using):
    """Takes the value that was pushed last."""

    handle = Input(resource)
    elem = Output("elem_type")
    elem_type = type_attr()

    def infer(self, ctx: Any, handle: Any) -> Any:
        return unknown_shape()

    def compute(self, xp: Any, handle: Any) -> Any:
        """The value."""
        return _stack(handle).pop()


class StackCloseV2(_Using):
    """Lets go of the values."""

    handle = Input(resource)

    def infer(self, ctx: Any, handle: Any) -> Any:
        return ()

    def compute(self, xp: Any, handle: Any) -> Any:
        """Nothing."""
        if isinstance(handle, StepStack):
            handle.close()
        return ()
