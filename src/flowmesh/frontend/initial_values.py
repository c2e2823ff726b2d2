"""The initial values of variables: where their nodes stand, their shapes, and reads of other variables in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowmesh.core.shapes import TensorShape, as_shape, unknown_shape
from flowmesh.frontend.naming import name_scope
from flowmesh.graph import convert, registry
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.operation import Operation
from flowmesh.graph.tensor import Tensor


def initial_tensor(function: Callable[[], Any], scope: str, dtype: Any) -> Tensor:
    """Calls an initializer where its nodes belong: in `Initializer/`, colocated with the variable, on no other device."""
    with own_group(scope), name_scope("Initializer"), get_default_graph().device(None):
        return convert.convert_to_tensor(function(), name="initial_value", dtype=dtype)


def check_scope(scope: str) -> None:
    """Raises ValueError when a variable would have no name."""
    if not scope:
        raise ValueError("'' is not a valid node name")


def own_group(scope: str) -> Any:
    """Puts the nodes made inside into the colocation group of the variable that `scope` is named for."""
    name = scope.removesuffix("/")
    return get_default_graph()._attr_scope({"_class": (b"loc:@" + name.encode(),)})


def variable_shape(shape: Any, value: Tensor, validate_shape: bool) -> TensorShape:
    if shape is not None:
        wanted = as_shape(shape)
        if not value.shape.is_compatible_with(wanted):
            raise ValueError(
                f"The initial value's shape ({value.shape}) is not compatible with the explicitly supplied `shape` argument ({wanted})."
            )
        return wanted
    if not validate_shape:
        return unknown_shape()
    if not value.shape.is_fully_defined():
        raise ValueError(f"initial_value must have a shape specified: {value}")
    return value.shape


def guard_uninitialized(scope: str, initial_value: Tensor) -> Tensor:
    """The initial value with reads of other ref variables replaced by their initialized values, so that variables may be
    initialized in any order. Copied nodes are called `<original>_<variable>`; `scope` is the variable's name and a slash.
    """
    if not _reads_ref_variable(initial_value.op):
        return initial_value
    return _Guard(scope).tensor(initial_value)


def _reads_ref_variable(op: Operation) -> bool:
    stack, seen = [op], {op}
    while stack:
        current = stack.pop()
        if current.type in _REFS:
            return True
        if current.type not in _LEFT_ALONE:
            sources = [t.op for t in current.inputs if t.op not in seen]
            seen.update(sources)
            stack.extend(sources)
    return False


VARIABLE_OPS = ("Variable", "VariableV2", "VarHandleOp")
"""The ops that hold a variable."""
_REFS = ("Variable", "VariableV2")
_LEFT_ALONE = ("IsVariableInitialized", "VarIsInitializedOp", "ReadVariableOp", "VarHandleOp")


class _Guard:
    """Copies the part of a graph between variables and an initial value, reading the variables' initialized values."""

    def __init__(self, scope: str) -> None:
        self._scope = scope
        self._done: dict[Operation, Operation] = {}

    def tensor(self, tensor: Tensor) -> Tensor:
        """`tensor`, or its copy over safe reads."""
        op = tensor.op
        if op not in self._done:
            self._done[op] = self._operation(op)
        return self._done[op].outputs[tensor.value_index]

    def _operation(self, op: Operation) -> Operation:
        if op.type in _LEFT_ALONE:
            return op
        if op.type in _REFS:
            variable = _variable_of(op)
            return op if variable is None else variable.initialized_value().op
        inputs = [self.tensor(t) for t in op.inputs]
        if all(a is b for a, b in zip(inputs, op.inputs)):
            return op
        kind = "Switch" if op.type == "RefSwitch" else op.type
        definition = registry.lookup(kind)(op.definition.attrs)
        name = f"{op.name}_{self._scope}".replace(":", "_")
        copy = op.graph.create_operation(definition, inputs, name)
        copy.extra_attrs.update(op.extra_attrs)
        return copy


def _variable_of(op: Operation) -> Any:
    for key in (GraphKeys.GLOBAL_VARIABLES, GraphKeys.LOCAL_VARIABLES):
        for variable in op.graph.get_collection_ref(key):
            if getattr(variable, "op", None) is op:
                return variable
    return None
