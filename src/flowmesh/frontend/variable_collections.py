"""The variables of a graph by collection, and operations over all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from flowmesh.frontend.initial_values import VARIABLE_OPS
from flowmesh.frontend.naming import name_scope
from flowmesh.frontend.variables import Variable
from flowmesh.graph import convert
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.operation import Operation
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.control import group
from flowmesh.ops.masks import boolean_mask


def global_variables(scope: str | None = None) -> list[Any]:
    """The variables shared by all replicas, in creation order."""
    return get_default_graph().get_collection(GraphKeys.GLOBAL_VARIABLES, scope)


def local_variables(scope: str | None = None) -> list[Any]:
    """The variables of this process alone."""
    return get_default_graph().get_collection(GraphKeys.LOCAL_VARIABLES, scope)


def model_variables(scope: str | None = None) -> list[Any]:
    """The variables that the model needs for inference."""
    return get_default_graph().get_collection(GraphKeys.MODEL_VARIABLES, scope)


def trainable_variables(scope: str | None = None) -> list[Any]:
    """The variables that optimizers update by default."""
    return get_default_graph().get_collection(GraphKeys.TRAINABLE_VARIABLES, scope)


def moving_average_variables(scope: str | None = None) -> list[Any]:
    """The variables that keep moving averages."""
    return get_default_graph().get_collection(GraphKeys.MOVING_AVERAGE_VARIABLES, scope)


def variables_initializer(var_list: Iterable[Any], name: str = "init") -> Operation:
    """An operation that initializes the given variables."""
    return group(*[v.initializer for v in var_list], name=name)


def global_variables_initializer() -> Operation:
    """An operation that initializes all global variables."""
    return variables_initializer(global_variables())


def local_variables_initializer() -> Operation:
    """An operation that initializes all local variables."""
    return variables_initializer(local_variables(), name="init")


def is_variable_initialized(variable: Any) -> Tensor:
    """A bool scalar: whether the variable has a value."""
    return variable.is_initialized()


def report_uninitialized_variables(
    var_list: Sequence[Any] | None = None, name: str = "report_uninitialized_variables"
) -> Tensor:
    """The names of the variables without a value: a 1-D string tensor, empty when all have one."""
    if var_list is None:
        var_list = global_variables() + local_variables()
        if not var_list:
            var_list = [
                op.outputs[0]
                for op in get_default_graph().get_operations()
                if op.type in VARIABLE_OPS
            ]
    with name_scope(name):
        states = [
            v.is_initialized() if isinstance(v, Variable) else raw.IsVariableInitialized(v)
            for v in var_list
        ]
        with get_default_graph().device("/cpu:0"):
            names = np.array([v.op.name.encode() for v in var_list], object)
            if not var_list:
                return convert.make_constant(np.array([], object), name="Const")
            mask = raw.LogicalNot(raw.Pack(states, name="stack"))
            return boolean_mask(convert.make_constant(names, name="Const"), mask)


def assert_variables_initialized(var_list: Sequence[Any] | None = None) -> Any:
    """An operation that fails with FailedPreconditionError unless all the variables have a value; None without any."""
    if var_list is None:
        var_list = global_variables() + local_variables()
    if not var_list:
        return None
    ranks = []
    for variable in var_list:
        with get_default_graph().colocate_with(variable.op):
            ranks.append(raw.Rank(variable))
    return ranks[0] if len(ranks) == 1 else raw.Pack(ranks, name="stack")
