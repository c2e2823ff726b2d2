"""Adam (TensorFlow: `tf.train.AdamOptimizer`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.raw import raw
from flowmesh.ops import control
from flowmesh.ops.cast import cast
from flowmesh.training.fused import FusedOptimizer


class AdamOptimizer(FusedOptimizer):
    """Steps from running means of the gradient and of its square, corrected for their start at zero.

    Rows without a gradient decay too: a sparse update is equal to the dense one of the same gradient.
    """

    _op = "Adam"
    _op_slots = {"m": "m", "v": "v"}

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta1: Any = 0.9,
        beta2: Any = 0.999,
        epsilon: Any = 1e-8,
        use_locking: bool = False,
        name: str = "Adam",
    ) -> None:
        hyperparameters = {
            "lr": ("learning_rate", learning_rate),
            "beta1": ("beta1", beta1),
            "beta2": ("beta2", beta2),
            "epsilon": ("epsilon", epsilon),
        }
        super().__init__(use_locking, name, hyperparameters)
        self._lr = learning_rate
        self._beta1 = beta1
        self._beta2 = beta2
        self._epsilon = epsilon

    def _get_beta_accumulators(self) -> tuple[Any, Any]:
        graph = get_default_graph()
        return (
            self._get_non_slot_variable("beta1_power", graph),
            self._get_non_slot_variable("beta2_power", graph),
        )

    def _create_slots(self, var_list: list[Any]) -> None:
        first = min(var_list, key=lambda v: v.name)
        for power, value in (("beta1_power", self._beta1), ("beta2_power", self._beta2)):
            self._create_non_slot_variable(
                self._call_if_callable(value), name=power, colocate_with=first
            )
        for var in var_list:
            self._zeros_slot(var, "m", self._name)
            self._zeros_slot(var, "v", self._name)

    def _operands(self, var: Any) -> dict[str, Any]:
        dtype = var.dtype.base_dtype
        powers = dict(zip(("beta1_power", "beta2_power"), self._get_beta_accumulators()))
        tensors = {**powers, **self._tensors}
        return {argument: cast(t, dtype) for argument, t in tensors.items()}

    def _apply_sparse(self, grad: Any, var: Any) -> Any:
        def add_rows(slot: Any, indices: Any, rows: Any) -> Any:
            return raw.ScatterAdd(slot._ref(), indices, rows, use_locking=self._use_locking)

        return self._apply_rows(grad.values, var, grad.indices, add_rows)

    def _resource_apply_sparse(self, grad: Any, handle: Any, indices: Any) -> Any:
        def add_rows(slot: Any, indices: Any, rows: Any) -> Any:
            update = raw.ResourceScatterAdd(slot.handle, indices, rows)
            with get_default_graph().control_dependencies([update]):
                return slot.value()

        return self._apply_rows(grad, handle, indices, add_rows)

    def _apply_rows(self, grad: Any, var: Any, indices: Any, add_rows: Callable[..., Any]) -> Any:
        dtype = var.dtype.base_dtype
        beta1_power, beta2_power = (cast(p, dtype) for p in self._get_beta_accumulators())
        lr, beta1, beta2, epsilon = (
            cast(self._tensors[n], dtype) for n in ("lr", "beta1", "beta2", "epsilon")
        )
        rate = lr * raw.Sqrt(1 - beta2_power) / (1 - beta1_power)
        m = self._decayed(self.get_slot(var, "m"), beta1, indices, grad * (1 - beta1), add_rows)
        squares = (grad * grad) * (1 - beta2)
        v = self._decayed(self.get_slot(var, "v"), beta2, indices, squares, add_rows)
        root = raw.Sqrt(v)
        step = rate * m / (root + epsilon)
        update = var.assign_sub(step, use_locking=self._use_locking)
        return control.group(update, m, v)

    def _decayed(
        self, slot: Any, decay: Any, indices: Any, rows: Any, add_rows: Callable[..., Any]
    ) -> Any:
        """slot = slot * decay, then plus the rows; returns its new value."""
        shrunk = slot.assign(slot * decay, use_locking=self._use_locking)
        with get_default_graph().control_dependencies([shrunk]):
            return add_rows(slot, indices, rows)

    def _finish(self, update_ops: list[Any], name_scope: str) -> Any:
        graph = get_default_graph()
        with graph.control_dependencies(update_ops):
            powers = self._get_beta_accumulators()
            assigns = []
            with graph.colocate_with(powers[0].op):
                for power, beta in zip(powers, (self._tensors["beta1"], self._tensors["beta2"])):
                    assigns.append(power.assign(power * beta, use_locking=self._use_locking))
        return control.group(*update_ops, *assigns, name=name_scope)
