"""The optimizers (TensorFlow: `tf.train.GradientDescentOptimizer` and so on); Adam is in `adam.py`."""

from __future__ import annotations

from typing import Any

from flowmesh.core import dtypes
from flowmesh.frontend.initializers import Constant, Ones
from flowmesh.graph.composite import IndexedSlices
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.raw import raw
from flowmesh.ops import constant as constant_ops, fill
from flowmesh.ops.cast import cast
from flowmesh.training.fused import FusedOptimizer


def _constant_like(var: Any, value: float) -> Any:
    """A tensor of the shape and dtype of `var`, on its device."""
    with get_default_graph().colocate_with(var.op):
        return constant_ops.constant(value, shape=var.shape, dtype=var.dtype.base_dtype)


class GradientDescentOptimizer(FusedOptimizer):
    """var -= learning_rate * gradient."""

    _op = "GradientDescent"
    _gradient = "delta"

    def __init__(
        self, learning_rate: Any, use_locking: bool = False, name: str = "GradientDescent"
    ) -> None:
        super().__init__(use_locking, name, {"alpha": ("learning_rate", learning_rate)})
        self._learning_rate = learning_rate

    def _apply_sparse_duplicate_indices(self, grad: Any, var: Any) -> Any:
        step = grad.values * cast(self._tensors["alpha"], var.dtype.base_dtype)
        slices = IndexedSlices(step, grad.indices, grad.dense_shape)
        return var.scatter_sub(slices, use_locking=self._use_locking)

    def _resource_apply_sparse_duplicate_indices(self, grad: Any, handle: Any, indices: Any) -> Any:
        step = -grad * self._call_if_callable(self._learning_rate)
        return raw.ResourceScatterAdd(handle.handle, indices, step)


class ProximalGradientDescentOptimizer(FusedOptimizer):
    """Gradient descent followed by a step towards zero for L1 and L2 regularization."""

    _op = "ProximalGradientDescent"
    _gradient = "delta"

    def __init__(
        self,
        learning_rate: Any,
        l1_regularization_strength: Any = 0.0,
        l2_regularization_strength: Any = 0.0,
        use_locking: bool = False,
        name: str = "ProximalGradientDescent",
    ) -> None:
        hyperparameters = {
            "alpha": ("learning_rate", learning_rate),
            "l1": ("l1_regularization_strength", l1_regularization_strength),
            "l2": ("l2_regularization_strength", l2_regularization_strength),
        }
        super().__init__(use_locking, name, hyperparameters)
        self._learning_rate = learning_rate


class MomentumOptimizer(FusedOptimizer):
    """accum = momentum * accum + gradient; var -= learning_rate * accum, or the Nesterov form of it."""

    _op = "Momentum"
    _op_slots = {"accum": "momentum"}

    def __init__(
        self,
        learning_rate: Any,
        momentum: Any,
        use_locking: bool = False,
        name: str = "Momentum",
        use_nesterov: bool = False,
    ) -> None:
        hyperparameters = {
            "lr": ("learning_rate", learning_rate),
            "momentum": ("momentum", momentum),
        }
        super().__init__(use_locking, name, hyperparameters)
        self._learning_rate = learning_rate
        self._momentum = momentum
        self._use_nesterov = use_nesterov

    def _create_slots(self, var_list: list[Any]) -> None:
        for var in var_list:
            self._zeros_slot(var, "momentum", self._name)

    def _op_attrs(self) -> dict[str, Any]:
        return {"use_nesterov": self._use_nesterov}


class AdagradOptimizer(FusedOptimizer):
    """accum += gradient^2; var -= learning_rate * gradient / sqrt(accum)."""

    _op = "Adagrad"
    _op_slots = {"accum": "accumulator"}

    def __init__(
        self,
        learning_rate: Any,
        initial_accumulator_value: float = 0.1,
        use_locking: bool = False,
        name: str = "Adagrad",
    ) -> None:
        if initial_accumulator_value <= 0.0:
            raise ValueError(
                f"initial_accumulator_value must be positive: {initial_accumulator_value}"
            )
        super().__init__(use_locking, name, {"lr": ("learning_rate", learning_rate)})
        self._learning_rate = learning_rate
        self._initial_accumulator_value = initial_accumulator_value

    def _create_slots(self, var_list: list[Any]) -> None:
        for var in var_list:
            dtype = var.dtype.base_dtype
            initializer: Any = Constant(self._initial_accumulator_value, dtype=dtype)
            shape: Any = var.shape
            if not shape.is_fully_defined():
                self._get_or_make_slot(var, self._filled_like(var), "accumulator", self._name)
                continue
            self._get_or_make_slot_with_initializer(
                var, initializer, shape, dtype, "accumulator", self._name
            )

    def _filled_like(self, var: Any) -> Any:
        with get_default_graph().colocate_with(var.op):
            start = cast(
                constant_ops.constant(self._initial_accumulator_value), var.dtype.base_dtype
            )
            return fill.fill(raw.Shape(var.initialized_value()), start)


class ProximalAdagradOptimizer(FusedOptimizer):
    """Adagrad followed by a step towards zero for L1 and L2 regularization."""

    _op = "ProximalAdagrad"
    _op_slots = {"accum": "accumulator"}

    def __init__(
        self,
        learning_rate: Any,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: Any = 0.0,
        l2_regularization_strength: Any = 0.0,
        use_locking: bool = False,
        name: str = "ProximalAdagrad",
    ) -> None:
        if initial_accumulator_value <= 0.0:
            raise ValueError(
                f"initial_accumulator_value must be positive: {initial_accumulator_value}"
            )
        hyperparameters = {
            "lr": ("learning_rate", learning_rate),
            "l1": ("l1_regularization_strength", l1_regularization_strength),
            "l2": ("l2_regularization_strength", l2_regularization_strength),
        }
        super().__init__(use_locking, name, hyperparameters)
        self._learning_rate = learning_rate
        self._initial_accumulator_value = initial_accumulator_value

    def _create_slots(self, var_list: list[Any]) -> None:
        for var in var_list:
            start = _constant_like(var, self._initial_accumulator_value)
            self._get_or_make_slot(var, start, "accumulator", self._name)


class AdagradDAOptimizer(FusedOptimizer):
    """Adagrad by dual averaging, for large sparse linear models; `global_step` must be incremented with each step."""

    _op = "AdagradDA"
    _op_slots = {
        "gradient_accumulator": "gradient_accumulator",
        "gradient_squared_accumulator": "gradient_squared_accumulator",
    }

    def __init__(
        self,
        learning_rate: Any,
        global_step: Any,
        initial_gradient_squared_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        use_locking: bool = False,
        name: str = "AdagradDA",
    ) -> None:
        if initial_gradient_squared_accumulator_value <= 0.0:
            raise ValueError(
                "initial_gradient_squared_accumulator_value must be positive: "
                f"{initial_gradient_squared_accumulator_value}"
            )
        super().__init__(use_locking, name, {"lr": ("learning_rate", learning_rate)})
        self._learning_rate = learning_rate
        self._initial_squares = initial_gradient_squared_accumulator_value
        self._l1 = l1_regularization_strength
        self._l2 = l2_regularization_strength
        self._global_step = global_step
        self._next_step: Any = None

    def _create_slots(self, var_list: list[Any]) -> None:
        for var in var_list:
            totals, squares = _constant_like(var, 0.0), _constant_like(var, self._initial_squares)
            self._get_or_make_slot(var, totals, "gradient_accumulator", self._name)
            self._get_or_make_slot(var, squares, "gradient_squared_accumulator", self._name)

    def _prepare(self) -> None:
        super()._prepare()
        with get_default_graph().colocate_with(self._tensors["lr"]):
            self._next_step = raw.Identity(self._global_step) + 1

    def _operands(self, var: Any) -> dict[str, Any]:
        dtype = var.dtype.base_dtype
        with get_default_graph().device(var.device):
            step = raw.Identity(self._next_step)
        return {
            "lr": cast(self._tensors["lr"], dtype),
            "l1": cast(self._l1, dtype),
            "l2": cast(self._l2, dtype),
            "global_step": step if step.dtype == dtypes.int64 else cast(step, dtypes.int64),
        }


class AdadeltaOptimizer(FusedOptimizer):
    """Steps scaled by the ratio of the running sizes of past steps and gradients."""

    _op = "Adadelta"
    _op_slots = {"accum": "accum", "accum_update": "accum_update"}

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: Any = 0.95,
        epsilon: Any = 1e-8,
        use_locking: bool = False,
        name: str = "Adadelta",
    ) -> None:
        hyperparameters = {
            "lr": ("lr", learning_rate),
            "rho": ("rho", rho),
            "epsilon": ("epsilon", epsilon),
        }
        super().__init__(use_locking, name, hyperparameters)
        self._lr = learning_rate

    def _create_slots(self, var_list: list[Any]) -> None:
        for var in var_list:
            self._zeros_slot(var, "accum", self._name)
            self._zeros_slot(var, "accum_update", self._name)


class RMSPropOptimizer(FusedOptimizer):
    """Gradients divided by the root of their running mean square (with `centered`: variance), with momentum."""

    def __init__(
        self,
        learning_rate: Any,
        decay: Any = 0.9,
        momentum: Any = 0.0,
        epsilon: Any = 1e-10,
        use_locking: bool = False,
        centered: bool = False,
        name: str = "RMSProp",
    ) -> None:
        hyperparameters = {
            "lr": ("learning_rate", learning_rate),
            "rho": ("decay", decay),
            "momentum": ("momentum", momentum),
            "epsilon": ("epsilon", epsilon),
        }
        super().__init__(use_locking, name, hyperparameters)
        self._learning_rate = learning_rate
        self._centered = centered

    def _create_slots(self, var_list: list[Any]) -> None:
        for var in var_list:
            dtype, shape = var.dtype.base_dtype, var.shape
            if shape.is_fully_defined():
                self._get_or_make_slot_with_initializer(
                    var, Ones(dtype), shape, dtype, "rms", self._name
                )
            else:
                self._get_or_make_slot(var, fill.ones_like(var), "rms", self._name)
            if self._centered:
                self._zeros_slot(var, "mg", self._name)
            self._zeros_slot(var, "momentum", self._name)

    def _op_name(self) -> str:
        return "CenteredRMSProp" if self._centered else "RMSProp"

    def _variables(self, var: Any) -> dict[str, Any]:
        found = {"var": var}
        if self._centered:
            found["mg"] = self.get_slot(var, "mg")
        return {**found, "ms": self.get_slot(var, "rms"), "mom": self.get_slot(var, "momentum")}


class FtrlOptimizer(FusedOptimizer):
    """FTRL-proximal: follow the regularized leader, per coordinate; with shrinkage when it is not zero."""

    _op_slots = {"accum": "accum", "linear": "linear"}

    def __init__(
        self,
        learning_rate: Any,
        learning_rate_power: Any = -0.5,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: Any = 0.0,
        l2_regularization_strength: Any = 0.0,
        use_locking: bool = False,
        name: str = "Ftrl",
        accum_name: str | None = None,
        linear_name: str | None = None,
        l2_shrinkage_regularization_strength: Any = 0.0,
    ) -> None:
        for label, value in (
            ("initial_accumulator_value", initial_accumulator_value),
            ("l1_regularization_strength", l1_regularization_strength),
            ("l2_regularization_strength", l2_regularization_strength),
            ("l2_shrinkage_regularization_strength", l2_shrinkage_regularization_strength),
        ):
            if value < 0.0:
                raise ValueError(f"{label} {value:f} needs to be positive or zero")
        if learning_rate_power > 0.0:
            raise ValueError(
                f"learning_rate_power {learning_rate_power:f} needs to be negative or zero"
            )
        hyperparameters = {
            "lr": ("learning_rate", learning_rate),
            "l1": ("l1_regularization_strength", l1_regularization_strength),
            "l2": ("l2_regularization_strength", l2_regularization_strength),
            "l2_shrinkage": (
                "l2_shrinkage_regularization_strength",
                l2_shrinkage_regularization_strength,
            ),
            "lr_power": ("learning_rate_power", learning_rate_power),
        }
        super().__init__(use_locking, name, hyperparameters)
        self._learning_rate = learning_rate
        self._initial_accumulator_value = initial_accumulator_value
        self._shrinks = l2_shrinkage_regularization_strength > 0.0
        self._accum_name = accum_name
        self._linear_name = linear_name

    def _create_slots(self, var_list: list[Any]) -> None:
        for var in var_list:
            start = _constant_like(var, self._initial_accumulator_value)
            self._get_or_make_slot(var, start, "accum", self._accum_name or self._name)
            self._zeros_slot(var, "linear", self._linear_name or self._name)

    def _op_name(self) -> str:
        return "FtrlV2" if self._shrinks else "Ftrl"

    def _operands(self, var: Any) -> dict[str, Any]:
        operands = super()._operands(var)
        if not self._shrinks:
            del operands["l2_shrinkage"]
        return operands
