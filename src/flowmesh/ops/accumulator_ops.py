"""Conditional accumulators: ops on a resource handle or a ref, and `ConditionalAccumulator`, `SparseConditionalAccumulator`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.dtypes import DType, int32, int64
from flowmesh.core.shapes import TensorShape, as_shape, scalar, unknown_shape, vector
from flowmesh.graph.composite import IndexedSlices
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import invalid
from flowmesh.ops.cast import cast
from flowmesh.ops.queue_ops import checked_handle, mapped, private_name
from flowmesh.ops.shape_rules import scalar_input
from flowmesh.resources.accumulators import (
    Accumulator,
    ConditionalAccumulator as _Dense,
    SparseConditionalAccumulator as _Sparse,
)
from flowmesh.resources.messages import dtype_string

_TYPES = {
    dtypes.float32,
    dtypes.float64,
    int32,
    dtypes.uint8,
    dtypes.int16,
    dtypes.int8,
    dtypes.complex64,
    int64,
    dtypes.qint8,
    dtypes.quint8,
    dtypes.qint32,
    dtypes.bfloat16,
    dtypes.uint16,
    dtypes.complex128,
    dtypes.float16,
    dtypes.uint32,
    dtypes.uint64,
}


# -- sources -------------------------------------------------------------------------------------------


class _Source(OpDef, abstract=True):
    """An op that makes an accumulator, or finds the one of its shared name."""

    dtype = type_attr(_TYPES)
    shape = Attr("shape")
    container = Attr("string", "")
    shared_name = Attr("string", "")
    reduction_type = Attr("string", b"MEAN", allowed=(b"MEAN", b"SUM"))
    stateful = True
    NotDifferentiable = True
    kind: type[Accumulator] = _Dense

    def infer(self, ctx: Any) -> TensorShape:
        return vector(2)

    def _make(self, name: str) -> Accumulator:
        reduction = self.attrs["reduction_type"].decode()
        return self.kind(name, self.attrs["dtype"], self.attrs["shape"], reduction)

    def run(self, ctx: Any) -> Accumulator:  # type: ignore[override]
        shared = self.attrs["shared_name"].decode()
        if not shared:
            own: Accumulator | None = ctx.state.get("accumulator")
            if own is None:
                made = self._make(private_name(ctx.name))
                own = ctx.state.setdefault("accumulator", made)
            return own
        container = self.attrs["container"].decode() or ctx.container
        found: Accumulator = ctx.resources.lookup_or_create(
            container, shared, Accumulator, lambda: self._make(shared)
        )
        return found


class ResourceConditionalAccumulator(_Source):
    """An accumulator of dense gradients."""

    handle = Output(dtypes.resource)


class ConditionalAccumulatorRef(_Source):
    """An accumulator of dense gradients, behind a ref."""

    op_type = "ConditionalAccumulator"
    handle = Output(dtypes.string, ref=True)


class SparseConditionalAccumulatorRef(_Source):
    """An accumulator of gradients in rows, behind a ref."""

    op_type = "SparseConditionalAccumulator"
    handle = Output(dtypes.string, ref=True)
    kind = _Sparse


# -- operations ----------------------------------------------------------------------------------------


class _Op(OpDef, abstract=True):
    NotDifferentiable = True

    def infer(self, ctx: Any, *shapes: TensorShape) -> Any:
        return ()

    def _accumulator(self, handle: Any) -> Accumulator:
        found: Accumulator = checked_handle(handle, Accumulator)
        wanted: DType | None = self.attrs.get("dtype")
        if wanted is not None and wanted != found.dtype:
            raise invalid(
                f"Expected gradient of type {dtype_string(found.dtype)}, got {dtype_string(wanted)}"
            )
        return found


class _Apply(_Op, abstract=True):
    def infer(self, ctx: Any, *shapes: TensorShape) -> Any:
        scalar_input(shapes[1])
        return ()

    def run(self, ctx: Any, handle: Any, local_step: Any, gradient: Any) -> None:  # type: ignore[override]
        self._accumulator(handle).apply(np.asarray(gradient), int(local_step))


class _Take(_Op, abstract=True):
    def infer(self, ctx: Any, *shapes: TensorShape) -> Any:
        scalar_input(shapes[1])
        return unknown_shape()

    def run(self, ctx: Any, handle: Any, num_required: Any) -> Any:  # type: ignore[override]
        taken = self._accumulator(handle).take(int(num_required), ctx.cancellation)
        return mapped(taken, lambda value: value)


class _Count(_Op, abstract=True):
    def infer(self, ctx: Any, *shapes: TensorShape) -> Any:
        return scalar()

    def run(self, ctx: Any, handle: Any) -> Any:  # type: ignore[override]
        return np.int32(self._accumulator(handle).num_accumulated)


class _SetStep(_Op, abstract=True):
    def infer(self, ctx: Any, *shapes: TensorShape) -> Any:
        scalar_input(shapes[1])
        return ()

    def run(self, ctx: Any, handle: Any, new_global_step: Any) -> None:  # type: ignore[override]
        self._accumulator(handle).set_global_step(int(new_global_step))


def _both_forms(name: str, base: type[OpDef], doc: str, **members: Callable[[], Any]) -> None:
    """Registers Resource<name> on a resource handle and <name> on a ref."""
    for prefix in ("Resource", ""):
        dtype = dtypes.resource if prefix else dtypes.string
        body: dict[str, Any] = {
            "__module__": __name__,
            "__doc__": doc + ("" if prefix else " The accumulator is behind a ref."),
            "handle": Input(dtype, ref=not prefix),
            "stateful": bool(prefix),
        }
        body.update({member: make() for member, make in members.items()})
        type(prefix + name, (base,), body)


_both_forms(
    "AccumulatorApplyGradient",
    _Apply,
    "Adds a gradient, unless its step is over.",
    local_step=lambda: Input(int64),
    gradient=lambda: Input("dtype"),
    dtype=lambda: type_attr(_TYPES),
)
_both_forms(
    "AccumulatorTakeGradient",
    _Take,
    "The average of at least `num_required` gradients.",
    num_required=lambda: Input(int32),
    average=lambda: Output("dtype"),
    dtype=lambda: type_attr(_TYPES),
)
_both_forms(
    "AccumulatorNumAccumulated",
    _Count,
    "How many gradients have come since the last take.",
    num_accumulated=lambda: Output(int32),
)
_both_forms(
    "AccumulatorSetGlobalStep",
    _SetStep,
    "Sets the step whose gradients are wanted.",
    new_global_step=lambda: Input(int64),
)


class SparseAccumulatorApplyGradient(_Op):
    """Adds a gradient in rows, unless its step is over."""

    handle = Input(dtypes.string, ref=True)
    local_step = Input(int64)
    gradient_indices = Input(int64)
    gradient_values = Input("dtype")
    gradient_shape = Input(int64)
    dtype = type_attr(_TYPES)
    has_known_shape = Attr("bool")

    def infer(self, ctx: Any, *shapes: TensorShape) -> Any:
        scalar_input(shapes[1])
        return ()

    def run(  # type: ignore[override]
        self, ctx: Any, handle: Any, local_step: Any, indices: Any, values: Any, shape: Any
    ) -> None:
        known = tuple(int(d) for d in np.asarray(shape).reshape(-1))
        gradient = np.asarray(indices), np.asarray(values), known
        accumulator = self._accumulator(handle)
        if not self.attrs["has_known_shape"]:
            gradient = gradient[0], gradient[1], ()
        accumulator.apply(gradient, int(local_step))


class SparseAccumulatorTakeGradient(_Op):
    """The average, row by row, of at least `num_required` gradients."""

    handle = Input(dtypes.string, ref=True)
    num_required = Input(int32)
    indices, values, shape = Output(int64), Output("dtype"), Output(int64)
    dtype = type_attr(_TYPES)

    def infer(self, ctx: Any, *shapes: TensorShape) -> Any:
        scalar_input(shapes[1])
        return unknown_shape(), unknown_shape(), unknown_shape()

    def run(self, ctx: Any, handle: Any, num_required: Any) -> Any:  # type: ignore[override]
        taken = self._accumulator(handle).take(int(num_required), ctx.cancellation)
        return mapped(taken, lambda value: value)


# -- Python objects ------------------------------------------------------------------------------------


class ConditionalAccumulatorBase:
    """What both kinds of accumulator have in common (TensorFlow: `tf.ConditionalAccumulatorBase`)."""

    def __init__(self, dtype: Any, shape: Any, accumulator_ref: Tensor):
        self._dtype = dtype
        self._shape = unknown_shape() if shape is None else as_shape(shape)
        self._accumulator_ref = accumulator_ref
        self._name = accumulator_ref.op.name.split("/")[-1]

    @property
    def accumulator_ref(self) -> Tensor:
        """The tensor that holds the handle of the accumulator."""
        return self._accumulator_ref

    @property
    def name(self) -> str:
        """The name of the accumulator."""
        return self._name

    @property
    def dtype(self) -> DType:
        """The dtype of the gradients."""
        return self._dtype

    def _op(self, name: str) -> Callable[..., Any]:
        prefix = "Resource" if self._accumulator_ref.dtype.base_dtype == dtypes.resource else ""
        builder: Callable[..., Any] = getattr(raw, prefix + name)
        return builder

    def num_accumulated(self, name: str | None = None) -> Tensor:
        """How many gradients have come since the last take, an int32 scalar."""
        count: Tensor = self._op("AccumulatorNumAccumulated")(
            self._accumulator_ref, name=name or f"{self._name}_NumAccumulated"
        )
        return count

    def set_global_step(self, new_global_step: Any, name: str | None = None) -> Any:
        """The operation that sets the accumulator's step; earlier gradients are dropped from then on."""
        return self._op("AccumulatorSetGlobalStep")(
            self._accumulator_ref, _as_int64(new_global_step), name=name
        )


def _as_int64(value: Any) -> Tensor:
    """A value as an int64 tensor, behind a cast where it is no int64 tensor yet."""
    return cast(convert_to_tensor(value), int64)


class ConditionalAccumulator(ConditionalAccumulatorBase):
    """An accumulator of dense gradients (TensorFlow: `tf.ConditionalAccumulator`).

    `take_grad` waits until enough gradients came and gives their average (or sum, with `reduction_type` "SUM");
    gradients whose `local_step` is below the accumulator's step are dropped, and each take raises that step.
    """

    def __init__(
        self,
        dtype: Any,
        shape: Any = None,
        shared_name: str | None = None,
        name: str = "conditional_accumulator",
        reduction_type: str = "MEAN",
    ):
        """Accumulators with one `shared_name` on a device are one. TypeError for a dtype that has no numbers."""
        dtype = dtypes.as_dtype(dtype)
        ref = raw.ResourceConditionalAccumulator(
            dtype=dtype,
            shape=as_shape(shape) if shape is not None else unknown_shape(),
            shared_name=shared_name or "",
            name=name,
            reduction_type=reduction_type,
        )
        super().__init__(dtype, shape, ref)

    def apply_grad(self, grad: Any, local_step: Any = 0, name: str | None = None) -> Any:
        """The operation that adds a gradient computed in `local_step`; dropped without an error when that is over.

        Raises ValueError when the shape does not fit; running it raises InvalidArgumentError.
        """
        grad = convert_to_tensor(grad, self._dtype)
        grad.shape.assert_is_compatible_with(self._shape)
        step = _as_int64(local_step)
        return self._op("AccumulatorApplyGradient")(self._accumulator_ref, step, grad, name=name)

    def take_grad(self, num_required: Any, name: str | None = None) -> Tensor:
        """The average, as soon as `num_required` (int32 scalar, positive) gradients have come."""
        out: Tensor = self._op("AccumulatorTakeGradient")(
            self._accumulator_ref, num_required, dtype=self._dtype, name=name
        )
        out.set_shape(self._shape)
        return out


class SparseConditionalAccumulator(ConditionalAccumulatorBase):
    """An accumulator of gradients in rows (TensorFlow: `tf.SparseConditionalAccumulator`).

    Each row is averaged over the gradients that have it. Otherwise as `ConditionalAccumulator`.
    """

    def __init__(
        self,
        dtype: Any,
        shape: Any = None,
        shared_name: str | None = None,
        name: str = "sparse_conditional_accumulator",
        reduction_type: str = "MEAN",
    ):
        """`shape` is that of the dense gradient; unknown dimensions may be None."""
        dtype = dtypes.as_dtype(dtype)
        ref = raw.SparseConditionalAccumulator(
            dtype=dtype,
            shape=as_shape(shape) if shape is not None else unknown_shape(),
            shared_name=shared_name or "",
            name=name,
            reduction_type=reduction_type,
        )
        super().__init__(dtype, shape, ref)

    def apply_indexed_slices_grad(
        self, grad: IndexedSlices, local_step: Any = 0, name: str | None = None
    ) -> Any:
        """As `apply_grad`, of IndexedSlices."""
        return self.apply_grad(
            grad_indices=grad.indices,
            grad_values=grad.values,
            grad_shape=grad.dense_shape,
            local_step=local_step,
            name=name,
        )

    def apply_grad(
        self,
        grad_indices: Any,
        grad_values: Any,
        grad_shape: Any = None,
        local_step: Any = 0,
        name: str | None = None,
    ) -> Any:
        """The operation that adds `grad_values` [n, ...] at the rows `grad_indices` [n] of a tensor of `grad_shape`."""
        step = _as_int64(local_step)
        return raw.SparseAccumulatorApplyGradient(
            self._accumulator_ref,
            step,
            cast(grad_indices, int64),
            grad_values,
            cast(np.zeros(0, np.int32) if grad_shape is None else grad_shape, int64),
            has_known_shape=grad_shape is not None,
            name=name,
        )

    def take_grad(self, num_required: Any, name: str | None = None) -> Any:
        """(indices, values, shape) of the average, as soon as `num_required` gradients have come."""
        return raw.SparseAccumulatorTakeGradient(
            self._accumulator_ref, num_required, dtype=self._dtype, name=name
        )

    def take_indexed_slices_grad(self, num_required: Any, name: str | None = None) -> IndexedSlices:
        """As `take_grad`, as IndexedSlices."""
        taken = self.take_grad(num_required, name)
        return IndexedSlices(taken.values, taken.indices, taken.shape)


__all__ = [
    "ConditionalAccumulator",
    "ConditionalAccumulatorBase",
    "SparseConditionalAccumulator",
]
