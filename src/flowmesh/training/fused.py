"""Optimizers whose whole update is one op: `Apply<Name>` in its ref, resource, dense and sparse forms."""

from __future__ import annotations

from typing import Any, ClassVar

from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.raw import raw
from flowmesh.ops.cast import cast
from flowmesh.training.optimizer import Optimizer


class FusedOptimizer(Optimizer):
    """Base of optimizers with one update op.

    A subclass names the op (`_op`), the slots in the order of the op's variables (`_op_slots`, slot name by op argument), and
    gives the constructor its hyperparameters: op argument -> (name of the tensor, value or function).
    """

    _op: ClassVar[str]
    _op_slots: ClassVar[dict[str, str]] = {}
    _gradient: ClassVar[str] = "grad"

    def __init__(
        self, use_locking: bool, name: str, hyperparameters: dict[str, tuple[str, Any]]
    ) -> None:
        super().__init__(use_locking, name)
        self._hyperparameters = hyperparameters
        self._tensors: dict[str, Any] = {}

    def _prepare(self) -> None:
        self._tensors = {
            argument: convert_to_tensor(self._call_if_callable(value), name=name)
            for argument, (name, value) in self._hyperparameters.items()
        }

    def _op_name(self) -> str:
        return self._op

    def _op_attrs(self) -> dict[str, Any]:
        return {}

    def _operands(self, var: Any) -> dict[str, Any]:
        """The hyperparameters in the dtype of `var`, by op argument."""
        dtype = var.dtype.base_dtype
        return {argument: cast(t, dtype) for argument, t in self._tensors.items()}

    def _variables(self, var: Any) -> dict[str, Any]:
        found = {"var": var}
        found.update((a, self.get_slot(var, slot)) for a, slot in self._op_slots.items())
        return found

    def _apply(self, form: str, var: Any, **gradient: Any) -> Any:
        variables = self._variables(var)
        if form.startswith("Resource"):
            variables = {argument: v.handle for argument, v in variables.items()}
        return getattr(raw, form + self._op_name())(
            **variables,
            **self._operands(var),
            **gradient,
            use_locking=self._use_locking,
            **self._op_attrs(),
        )

    def _apply_dense(self, grad: Any, var: Any) -> Any:
        return self._apply("Apply", var, **{self._gradient: grad}).op

    def _resource_apply_dense(self, grad: Any, handle: Any) -> Any:
        return self._apply("ResourceApply", handle, **{self._gradient: grad})

    def _apply_sparse(self, grad: Any, var: Any) -> Any:
        return self._apply("SparseApply", var, grad=grad.values, indices=grad.indices)

    def _resource_apply_sparse(self, grad: Any, handle: Any, indices: Any) -> Any:
        return self._apply("ResourceSparseApply", handle, grad=grad, indices=indices)
