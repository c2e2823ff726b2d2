"""Variables that live behind a ref: `VariableV2` and the assignments to it."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core import dtypes, errors
from flowmesh.core.dtypes import INDEX, NUMBERS
from flowmesh.core.shapes import TensorShape, as_shape, scalar, unknown_shape
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.ops.shape_rules import merge, scalar_input
from flowmesh.resources.variable import Variable as VariableResource

GPU_VARIABLE_TYPES = frozenset(
    {
        dtypes.float16,
        dtypes.float32,
        dtypes.float64,
        dtypes.complex64,
        dtypes.complex128,
        dtypes.bool,
        dtypes.int64,
    }
)
"""What a variable on a GPU may hold."""
GPU_ARITHMETIC_TYPES = frozenset({dtypes.float16, dtypes.float32, dtypes.float64, dtypes.int64})


class VariableV2(OpDef):
    """A variable: its value outlives the steps. The output is a ref that other ops read and assign."""

    ref = Output("dtype", ref=True)
    shape = Attr("shape")
    dtype = type_attr()
    container = Attr("string", "")
    shared_name = Attr("string", "")
    stateful = True
    variable_source = True
    NotDifferentiable = True
    gpu_types = GPU_VARIABLE_TYPES

    def infer(self, ctx: Any) -> TensorShape:
        return as_shape(self.attrs["shape"])


class Variable(OpDef):
    """The first form of `VariableV2`, whose shape attr () means any shape."""

    ref = Output("dtype", ref=True)
    shape = Attr("shape")
    dtype = type_attr()
    container = Attr("string", "")
    shared_name = Attr("string", "")
    stateful = True
    variable_source = True
    NotDifferentiable = True
    gpu_types = GPU_VARIABLE_TYPES

    def infer(self, ctx: Any) -> TensorShape:
        shape = as_shape(self.attrs["shape"])
        return shape if shape.ndims else unknown_shape()


class Assign(OpDef):
    """Gives a variable a new value, of the same shape unless `validate_shape` is false."""

    ref = Input("T", ref=True, access="write")
    value = Input("T")
    output_ref = Output("T", ref=True, alias="ref")
    T = type_attr()
    validate_shape = Attr("bool", True)
    use_locking = Attr("bool", True)
    NotDifferentiable = True
    gpu_types = GPU_VARIABLE_TYPES

    def infer(self, ctx: Any, ref: TensorShape, value: TensorShape) -> TensorShape:
        return merge(ref, value) if self.attrs["validate_shape"] else value

    def compute(self, xp: Any, ref: None, value: Any) -> Any:
        return value


class _AssignUpdate(OpDef, abstract=True):
    ref = Input("T", ref=True, access="update")
    value = Input("T")
    output_ref = Output("T", ref=True, alias="ref")
    T = type_attr(NUMBERS)
    use_locking = Attr("bool", False)
    NotDifferentiable = True
    gpu_types = GPU_ARITHMETIC_TYPES

    def infer(self, ctx: Any, ref: TensorShape, value: TensorShape) -> TensorShape:
        return merge(ref, value)

    def _check(self, ref: Any, value: Any) -> None:
        if ref.shape != value.shape:
            raise errors.InvalidArgumentError(
                None, None, "Parameters and update must be the same size"
            )


class AssignAdd(_AssignUpdate):
    """Adds to a variable."""

    def compute(self, xp: Any, ref: Any, value: Any) -> Any:
        self._check(ref, value)
        return xp.add(ref, value)


class AssignSub(_AssignUpdate):
    """Subtracts from a variable."""

    def compute(self, xp: Any, ref: Any, value: Any) -> Any:
        self._check(ref, value)
        return xp.subtract(ref, value)


class IsVariableInitialized(OpDef):
    """Whether a ref variable has a value."""

    ref = Input("dtype", ref=True)
    is_initialized = Output(dtypes.bool)
    dtype = type_attr()
    devices = ("CPU", "GPU")
    gpu_types = GPU_VARIABLE_TYPES
    NotDifferentiable = True

    def infer(self, ctx: Any, ref: TensorShape) -> TensorShape:
        return scalar()

    def run(self, ctx: Any, ref: VariableResource) -> np.bool_:  # type: ignore[override]
        return np.bool_(ref.is_initialized)


class CountUpTo(OpDef):
    """The variable's value, which is then raised by one; OutOfRangeError once it has reached `limit`."""

    ref = Input("T", ref=True, access="update")
    output = Output("T")
    limit = Attr("int")
    T = type_attr(INDEX)
    numpy_only = True
    devices = ("CPU",)
    NotDifferentiable = True

    def infer(self, ctx: Any, ref: TensorShape) -> TensorShape:
        scalar_input(ref)
        return scalar()

    def compute(self, xp: Any, ref: Any) -> Any:
        return counted(ref, self.attrs["limit"])


def counted(value: Any, limit: int) -> tuple[Any, Any]:
    """(value + 1, value); OutOfRangeError if the value is not below `limit`."""
    if value.ndim != 0:
        raise errors.InvalidArgumentError(None, None, "input is not a scalar")
    if value >= limit:
        raise errors.OutOfRangeError(None, None, f"Reached limit of {limit}")
    return (value + 1).astype(value.dtype), value


class TemporaryVariable(OpDef):
    """A ref to memory that lives for one step, until `DestroyTemporaryVariable` takes the value out."""

    ref = Output("dtype", ref=True)
    shape = Attr("shape")
    dtype = type_attr()
    var_name = Attr("string", "")
    stateful = True
    NotDifferentiable = True

    def infer(self, ctx: Any) -> TensorShape:
        return as_shape(self.attrs["shape"])

    def run(self, ctx: Any) -> VariableResource:  # type: ignore[override]
        name = self.attrs["var_name"].decode() or ctx.name
        shape = as_shape(self.attrs["shape"])
        variable = VariableResource(name, self.attrs["dtype"], shape, device=ctx.device)
        sizes = [int(d or 0) for d in shape.as_list()]
        variable.value = np.zeros(sizes, self.attrs["dtype"].as_numpy_dtype)
        return variable


class DestroyTemporaryVariable(OpDef):
    """The final value of a temporary variable."""

    ref = Input("T", ref=True)
    value = Output("T")
    T = type_attr()
    var_name = Attr("string")
    NotDifferentiable = True

    def infer(self, ctx: Any, ref: TensorShape) -> TensorShape:
        return ref

    def run(self, ctx: Any, ref: VariableResource) -> Any:  # type: ignore[override]
        value = ref.read()
        ref.release()
        return value


# -- public wrappers ---------------------------------------------------------------------------------


def variable_op_v2(
    shape: Any, dtype: Any, name: str = "Variable", container: str = "", shared_name: str = ""
) -> Any:
    """A ref variable node of this shape and dtype, without a value (TensorFlow: `state_ops.variable_op_v2`)."""
    return raw.VariableV2(
        shape=shape, dtype=dtype, name=name, container=container, shared_name=shared_name
    )


def _is_ref(ref: Any) -> bool:
    return bool(ref.dtype._is_ref_dtype)


def is_variable_initialized(ref: Any, name: str | None = None) -> Any:
    """Whether a variable has a value, as a bool scalar tensor (TensorFlow: `tf.is_variable_initialized`).

    `ref` is a variable or a ref tensor.
    """
    if _is_ref(ref):
        return raw.IsVariableInitialized(ref, name=name)
    return ref.is_initialized(name=name)


def assign(
    ref: Any,
    value: Any,
    validate_shape: bool | None = None,
    use_locking: bool | None = None,
    name: str | None = None,
) -> Any:
    """Gives `ref` the value `value` (TensorFlow: `tf.assign`).

    `ref` is a variable or ref tensor; `value` has its dtype and, unless `validate_shape` is false, its
    shape. Returns what reads the new value: the ref, or the variable if it is a resource variable.
    Raises ValueError when the shapes differ.
    """
    if _is_ref(ref):
        return raw.Assign(
            ref, value, validate_shape=validate_shape, use_locking=use_locking, name=name
        )
    return ref.assign(value, name=name)


def assign_add(
    ref: Any, value: Any, use_locking: bool | None = None, name: str | None = None
) -> Any:
    """Adds `value`, of the same shape and dtype, to a variable (TensorFlow: `tf.assign_add`)."""
    if _is_ref(ref):
        return raw.AssignAdd(ref, value, use_locking=use_locking, name=name)
    return ref.assign_add(value)


def assign_sub(
    ref: Any, value: Any, use_locking: bool | None = None, name: str | None = None
) -> Any:
    """Subtracts `value`, of the same shape and dtype, from a variable (TensorFlow: `tf.assign_sub`)."""
    if _is_ref(ref):
        return raw.AssignSub(ref, value, use_locking=use_locking, name=name)
    return ref.assign_sub(value)


def count_up_to(ref: Any, limit: int, name: str | None = None) -> Any:
    """The scalar integer variable's value before it is raised by one (TensorFlow: `tf.count_up_to`).

    Running it raises OutOfRangeError once the variable has reached `limit`.
    """
    if _is_ref(ref):
        return raw.CountUpTo(ref, limit=limit, name=name)
    return raw.ResourceCountUpTo(ref.handle, limit=limit, T=ref.dtype, name=name)
