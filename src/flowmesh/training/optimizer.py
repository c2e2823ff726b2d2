"""The base of all optimizers: gradients of a loss, and the nodes that apply them (TensorFlow: `tf.train.Optimizer`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from flowmesh.core import dtypes
from flowmesh.frontend.naming import init_scope, name_scope
from flowmesh.frontend.resource_variable import ResourceVariable
from flowmesh.frontend.variable_collections import trainable_variables
from flowmesh.frontend.variables import Variable
from flowmesh.graph import gradients as backprop, hooks
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.composite import IndexedSlices, convert_to_tensor_or_indexed_slices
from flowmesh.graph.graph import Graph, get_default_graph
from flowmesh.graph.operation import Operation
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops import control
from flowmesh.training import slot_creator

_VALID_DTYPES = frozenset({dtypes.float16, dtypes.bfloat16, dtypes.float32, dtypes.float64})


def deduplicate_indexed_slices(values: Any, indices: Any) -> tuple[Any, Any]:
    """Adds up the rows of `values` with equal index: the summed rows and their distinct indices."""
    unique = raw.Unique(indices)
    rows = raw.Shape(unique[0])[0]
    return raw.UnsortedSegmentSum(values, unique[1], rows), unique[0]


def _is_resource(variable: Any) -> bool:
    return isinstance(variable, ResourceVariable)


def _flat(values: Any) -> list[Any]:
    if isinstance(values, dict):
        return [leaf for key in sorted(values) for leaf in _flat(values[key])]
    if isinstance(values, (list, tuple)):
        return [leaf for value in values for leaf in _flat(value)]
    return [values]


def _slot_key(variable: Any) -> tuple[Graph, str]:
    return variable.op.graph, variable.op.name


class Optimizer:
    """Base class of optimizers; `minimize` is `compute_gradients` followed by `apply_gradients`.

    A subclass says in `_create_slots`, `_prepare`, `_apply_dense`, `_apply_sparse`, `_resource_apply_dense`,
    `_resource_apply_sparse` and `_finish` what an update is; the defaults of the last four apply to optimizers that do not
    support the case, and fail.
    """

    GATE_NONE: ClassVar[int] = 0
    GATE_OP: ClassVar[int] = 1
    GATE_GRAPH: ClassVar[int] = 2

    def __init__(self, use_locking: bool, name: str) -> None:
        if not name:
            raise ValueError("Must specify the optimizer name")
        self._use_locking = use_locking
        self._name = name
        self._slots: dict[str, dict[Any, Any]] = {}
        self._non_slot_dict: dict[tuple[str, Graph], Any] = {}

    def get_name(self) -> str:
        """The name given to the constructor."""
        return self._name

    # -- what programs call ----------------------------------------------------------------------------

    def minimize(
        self,
        loss: Any,
        global_step: Any = None,
        var_list: Any = None,
        gate_gradients: int = GATE_OP,
        aggregation_method: int | None = None,
        colocate_gradients_with_ops: bool = False,
        name: str | None = None,
        grad_loss: Any = None,
    ) -> Operation:
        """The operation that does one step down the gradient of `loss`, and increments `global_step` if given.

        Raises ValueError when no variable of `var_list` (the trainable ones by default) has a gradient.
        """
        pairs = self.compute_gradients(
            loss,
            var_list=var_list,
            gate_gradients=gate_gradients,
            aggregation_method=aggregation_method,
            colocate_gradients_with_ops=colocate_gradients_with_ops,
            grad_loss=grad_loss,
        )
        if all(grad is None for grad, _ in pairs):
            names = [str(variable) for _, variable in pairs]
            raise ValueError(
                "No gradients provided for any variable, check your graph for ops that do not support "
                f"gradients, between variables {names} and loss {loss}."
            )
        return self.apply_gradients(pairs, global_step=global_step, name=name)

    def compute_gradients(
        self,
        loss: Any,
        var_list: Any = None,
        gate_gradients: int = GATE_OP,
        aggregation_method: int | None = None,
        colocate_gradients_with_ops: bool = False,
        grad_loss: Any = None,
    ) -> list[tuple[Any, Any]]:
        """The pairs (gradient, variable) for `loss`; a gradient is a Tensor, IndexedSlices, or None.

        `loss` is a Tensor (or a function that returns it). Raises TypeError or ValueError for arguments that do not fit.
        """
        if callable(loss):
            loss = loss()
        gates = (Optimizer.GATE_NONE, Optimizer.GATE_OP, Optimizer.GATE_GRAPH)
        if gate_gradients not in gates:
            raise ValueError(
                "gate_gradients must be one of: Optimizer.GATE_NONE, Optimizer.GATE_OP, "
                f"Optimizer.GATE_GRAPH.  Not {gate_gradients}"
            )
        self._assert_valid_dtypes([loss])
        if grad_loss is not None:
            self._assert_valid_dtypes([grad_loss])
        variables = trainable_variables() if var_list is None else _flat(var_list)
        if not variables:
            raise ValueError("No variables to optimize.")
        for variable in variables:
            _check_target(variable)
        grads = backprop.gradients(
            loss,
            variables,
            grad_ys=grad_loss,
            gate_gradients=gate_gradients == Optimizer.GATE_OP,
            aggregation_method=aggregation_method,
            colocate_gradients_with_ops=colocate_gradients_with_ops,
        )
        if gate_gradients == Optimizer.GATE_GRAPH:
            grads = control.tuple(grads)
        pairs = list(zip(grads, variables))
        self._assert_valid_dtypes([v for g, v in pairs if g is not None])
        return pairs

    def apply_gradients(
        self, grads_and_vars: Iterable[Any], global_step: Any = None, name: str | None = None
    ) -> Operation:
        """The operation that applies gradients to their variables, and increments `global_step` if given.

        Raises TypeError for a gradient that is none, ValueError when there is no variable or no gradient at all.
        """
        pairs = tuple(grads_and_vars)
        if not pairs:
            raise ValueError("No variables provided.")
        converted = [(_as_gradient(grad), variable) for grad, variable in pairs]
        updated = [variable for grad, variable in converted if grad is not None]
        if not updated:
            names = [str(variable) for _, variable in converted]
            raise ValueError(f"No gradients provided for any variable: {names}.")
        graph = get_default_graph()
        with init_scope():
            self._create_slots(updated)
        with name_scope(name, self._name) as scope:
            self._prepare()
            updates = []
            for grad, variable in converted:
                if grad is None:
                    continue
                with name_scope(f"update_{variable.op.name}"), graph.colocate_with(variable.op):
                    updates.append(self._update(grad, variable))
            if global_step is None:
                train_op = self._finish(updates, scope)
            else:
                with (
                    graph.control_dependencies([self._finish(updates, "update")]),
                    graph.colocate_with(global_step.op),
                ):
                    train_op = _increment(global_step, scope)
            if isinstance(train_op, Tensor):
                train_op = train_op.op
            if train_op not in graph.get_collection_ref(GraphKeys.TRAIN_OP):
                graph.add_to_collection(GraphKeys.TRAIN_OP, train_op)
            return train_op

    def get_slot(self, var: Any, name: str) -> Any:
        """The slot `name` of `var`, or None when it has none."""
        return self._slots.get(name, {}).get(_slot_key(var))

    def get_slot_names(self) -> list[str]:
        """The names of all slots, sorted."""
        return sorted(self._slots)

    def variables(self) -> list[Any]:
        """The variables that hold the optimizer's state in the current default graph, by name."""
        graph = get_default_graph()
        held = [v for v in self._non_slot_variables() if v.op.graph is graph]
        for slots in self._slots.values():
            held += [slot for (owner, _), slot in slots.items() if owner is graph]
        return sorted(held, key=lambda v: v.name)

    # -- what subclasses define --------------------------------------------------------------------------

    def _create_slots(self, var_list: list[Any]) -> None:
        """Makes the slots that updating `var_list` needs."""

    def _prepare(self) -> None:
        """Makes the tensors of hyperparameters, in the optimizer's name scope."""

    def _apply_dense(self, grad: Any, var: Any) -> Operation:
        """Updates a ref variable by a gradient of its shape."""
        raise NotImplementedError(f"{type(self).__name__} does not update ref variables")

    def _resource_apply_dense(self, grad: Any, handle: Any) -> Operation:
        """Updates a resource variable by a gradient of its shape."""
        raise NotImplementedError(f"{type(self).__name__} does not update resource variables")

    def _apply_sparse(self, grad: Any, var: Any) -> Operation:
        """Updates rows of a ref variable; the indices of `grad` are distinct."""
        raise NotImplementedError(f"{type(self).__name__} does not update rows of ref variables")

    def _resource_apply_sparse(self, grad: Any, handle: Any, indices: Any) -> Operation:
        """Updates rows of a resource variable; the indices are distinct."""
        raise NotImplementedError(
            f"{type(self).__name__} does not update rows of resource variables"
        )

    def _apply_sparse_duplicate_indices(self, grad: Any, var: Any) -> Operation:
        """Updates rows of a ref variable; indices may repeat, and are made distinct here."""
        summed, indices = deduplicate_indexed_slices(grad.values, grad.indices)
        return self._apply_sparse(IndexedSlices(summed, indices, grad.dense_shape), var)

    def _resource_apply_sparse_duplicate_indices(
        self, grad: Any, handle: Any, indices: Any
    ) -> Operation:
        """Updates rows of a resource variable; indices may repeat, and are made distinct here."""
        summed, distinct = deduplicate_indexed_slices(grad, indices)
        return self._resource_apply_sparse(summed, handle, distinct)

    def _finish(self, update_ops: list[Any], name_scope: str) -> Any:
        """The operation that stands for all updates."""
        return control.group(*update_ops, name=name_scope)

    def _valid_dtypes(self) -> frozenset[Any]:
        """The dtypes of variables and losses that the optimizer takes."""
        return _VALID_DTYPES

    # -- what subclasses use -----------------------------------------------------------------------------

    def _assert_valid_dtypes(self, tensors: Iterable[Any]) -> None:
        valid = self._valid_dtypes()
        for tensor in tensors:
            dtype = tensor.dtype.base_dtype
            if dtype not in valid:
                allowed = sorted((d.name for d in valid), reverse=True)
                raise ValueError(f"Invalid type {dtype!r} for {tensor.name}, expected: {allowed}.")

    @staticmethod
    def _call_if_callable(param: Any) -> Any:
        return param() if callable(param) else param

    def _slot_dict(self, slot_name: str) -> dict[Any, Any]:
        return self._slots.setdefault(slot_name, {})

    def _get_or_make_slot(self, var: Any, val: Any, slot_name: str, op_name: str) -> Any:
        slots = self._slot_dict(slot_name)
        if _slot_key(var) not in slots:
            slots[_slot_key(var)] = slot_creator.create_slot(var, val, op_name)
        return slots[_slot_key(var)]

    def _get_or_make_slot_with_initializer(
        self, var: Any, initializer: Any, shape: Any, dtype: Any, slot_name: str, op_name: str
    ) -> Any:
        slots = self._slot_dict(slot_name)
        if _slot_key(var) not in slots:
            slots[_slot_key(var)] = slot_creator.create_slot_with_initializer(
                var, initializer, shape, dtype, op_name
            )
        return slots[_slot_key(var)]

    def _zeros_slot(self, var: Any, slot_name: str, op_name: str) -> Any:
        slots = self._slot_dict(slot_name)
        if _slot_key(var) not in slots:
            slots[_slot_key(var)] = slot_creator.create_zeros_slot(var, op_name)
        return slots[_slot_key(var)]

    def _create_non_slot_variable(self, initial_value: Any, name: str, colocate_with: Any) -> Any:
        graph = colocate_with.op.graph
        found = self._non_slot_dict.get((name, graph))
        if found is None:
            with graph.colocate_with(colocate_with.op):
                make: Any = Variable
                found = make(
                    initial_value,
                    name=name,
                    trainable=False,
                    use_resource=_is_resource(colocate_with),
                )
            self._non_slot_dict[name, graph] = found
        return found

    def _get_non_slot_variable(self, name: str, graph: Any = None) -> Any:
        return self._non_slot_dict.get((name, graph))

    def _non_slot_variables(self) -> list[Any]:
        return list(self._non_slot_dict.values())

    # -- one update ----------------------------------------------------------------------------------------

    def _update(self, grad: Any, variable: Any) -> Any:
        if not isinstance(grad, IndexedSlices):
            apply = self._resource_apply_dense if _is_resource(variable) else self._apply_dense
            update = apply(grad, variable)
            if variable.constraint is None:
                return update
            with get_default_graph().control_dependencies([update]):
                return variable.assign(variable.constraint(variable.read_value()))
        if variable.constraint is not None:
            raise RuntimeError("Cannot use a constraint function on a sparse variable.")
        if _is_resource(variable):
            return self._resource_apply_sparse_duplicate_indices(
                grad.values, variable, grad.indices
            )
        return self._apply_sparse_duplicate_indices(grad, variable)


def _check_target(variable: Any) -> None:
    if not isinstance(variable, Variable):
        kind = "Tensor" if isinstance(variable, Tensor) else type(variable).__name__
        raise NotImplementedError(f"Trying to optimize unsupported type {kind}: {variable}")


def _as_gradient(grad: Any) -> Any:
    if grad is None:
        return None
    try:
        return convert_to_tensor_or_indexed_slices(grad)
    except TypeError:
        raise TypeError(
            f"Gradient must be convertible to a Tensor or IndexedSlices, or None: {grad}"
        ) from None


def _increment(global_step: Any, name: str) -> Any:
    dtype = global_step.dtype.base_dtype
    if _is_resource(global_step):
        one = hooks.constant(1, dtype=dtype, name="Const")
        return raw.AssignAddVariableOp(global_step.handle, one, name=name)
    ref = global_step._ref() if isinstance(global_step, Variable) else global_step
    return raw.AssignAdd(ref, 1, name=name)
