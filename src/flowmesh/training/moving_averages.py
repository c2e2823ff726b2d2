"""Moving averages of variables and tensors (TensorFlow: `tf.train.ExponentialMovingAverage`)."""

from __future__ import annotations

from typing import Any

from flowmesh.core.dtypes import float16, float32, float64
from flowmesh.frontend.initializers import Zeros
from flowmesh.frontend.naming import init_scope, name_scope
from flowmesh.frontend.variable_collections import (
    global_variables,
    moving_average_variables,
    trainable_variables,
)
from flowmesh.frontend.variable_scope import get_variable, variable_scope
from flowmesh.frontend.variables import RefVariable, Variable
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.raw import raw
from flowmesh.ops import control
from flowmesh.ops.cast import cast
from flowmesh.training import slot_creator


def assign_moving_average(
    variable: Any, value: Any, decay: Any, zero_debias: bool = True, name: str | None = None
) -> Any:
    """variable = variable * decay + value * (1 - decay); returns what reads the new value.

    With `zero_debias` the average starts at zero and is divided by what it has seen so far: two more variables,
    `<variable>/biased` and `<variable>/local_step`, keep the sum and the count.
    """
    with name_scope(name, "AssignMovingAvg", [variable, value, decay]) as scope:
        rate = convert_to_tensor(1.0 - decay, name="decay")
        if rate.dtype.base_dtype != variable.dtype.base_dtype:
            rate = cast(rate, variable.dtype.base_dtype)
        value = _current(value)
        if zero_debias:
            return _unbiased(variable, value, rate, scope)
        return variable.assign_sub((variable - value) * rate, name=scope)


def _current(value: Any) -> Any:
    """`value`, read after the updates that the enclosing control dependencies wait for."""
    if isinstance(value, RefVariable) and get_default_graph()._current_control_dependencies():
        return value.read_value()
    return value


def _unbiased(variable: Any, value: Any, rate: Any, scope: str) -> Any:
    graph = get_default_graph()
    with variable_scope(variable.op.name, values=[variable, value, rate]):
        with init_scope(), graph.colocate_with(variable.op):
            biased = get_variable(
                "biased", initializer=Zeros(), shape=variable.shape,
                dtype=variable.dtype.base_dtype, trainable=False,
            )  # fmt: skip
            count = get_variable(
                "local_step", initializer=Zeros(), shape=[], dtype=variable.dtype.base_dtype, trainable=False
            )  # fmt: skip
        with graph.name_scope(scope):
            total = biased.assign_sub((biased - value) * rate)
            steps = count.assign_add(1)
            seen = 1 - raw.Pow(1.0 - rate, steps)
            return variable.assign(total / seen, name=scope)


class ExponentialMovingAverage:
    """Keeps moving averages of variables in shadow variables `<variable>/<name>`.

    `decay` is near 1; with `num_updates` it is at most (1 + num_updates) / (10 + num_updates).
    """

    def __init__(
        self,
        decay: Any,
        num_updates: Any = None,
        zero_debias: bool = False,
        name: str = "ExponentialMovingAverage",
    ) -> None:
        self._decay = decay
        self._num_updates = num_updates
        self._zero_debias = zero_debias
        self._name = name
        self._averages: dict[Any, Any] = {}

    @property
    def name(self) -> str:
        """The name of the averages."""
        return self._name

    def apply(self, var_list: Any = None) -> Any:
        """The operation that updates the averages of `var_list` (variables or tensors; the trainable ones by default).

        Raises TypeError for a dtype that is not floating.
        """
        variables = trainable_variables() if var_list is None else list(var_list)
        debiased = set()
        for variable in variables:
            if variable.dtype.base_dtype not in (float16, float32, float64):
                raise TypeError(f"The variables must be half, float, or double: {variable.name}")
            if variable not in self._averages and self._make(variable) and self._zero_debias:
                debiased.add(variable)
        with name_scope(self._name) as scope:
            decay = convert_to_tensor(self._decay, name="decay")
            if self._num_updates is not None:
                count = cast(_current(self._num_updates), float32, name="num_updates")
                decay = raw.Minimum(decay, (1.0 + count) / (10.0 + count))
            updates = [
                assign_moving_average(self._averages[v], v, decay, zero_debias=v in debiased)
                for v in variables
            ]
            return control.group(*updates, name=scope)

    def _make(self, variable: Any) -> bool:
        """Makes the shadow variable; returns whether it starts at zero."""
        graph = get_default_graph()
        with init_scope():
            if isinstance(variable, Variable):
                average = slot_creator.create_slot(
                    variable, variable.initialized_value(), self._name
                )
            else:
                average = slot_creator.create_zeros_slot(
                    variable,
                    self._name,
                    colocate_with_primary=variable.op.type
                    in ("Variable", "VariableV2", "VarHandleOp"),
                )
        if isinstance(variable, Variable):
            graph.add_to_collection(GraphKeys.MOVING_AVERAGE_VARIABLES, variable)
        self._averages[variable] = average
        return not isinstance(variable, Variable)

    def average(self, var: Any) -> Any:
        """The variable that holds the average of `var`, or None."""
        return self._averages.get(var)

    def average_name(self, var: Any) -> str:
        """The name under which the average of `var` is saved."""
        if var in self._averages:
            return str(self._averages[var].op.name)
        graph = get_default_graph()
        return graph.unique_name(f"{var.op.name}/{self._name}", mark_as_used=False)

    def variables_to_restore(self, moving_avg_variables: Any = None) -> dict[str, Any]:
        """Names to variables for a Saver that restores averages in place of the variables they belong to."""
        if moving_avg_variables is None:
            averaged = {*trainable_variables(), *moving_average_variables()}
        else:
            averaged = set(moving_avg_variables)
        names = {v.op.name for v in averaged}
        restored = {self.average_name(v): v for v in sorted(averaged, key=lambda v: v.name)}
        for variable in [*moving_average_variables(), *global_variables()]:
            if variable.op.name not in names and variable.op.name not in restored:
                restored[variable.op.name] = variable
        return restored
