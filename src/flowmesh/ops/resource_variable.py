"""Variables that live behind a resource handle: `VarHandleOp`, its reads and assignments."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core import dtypes, errors
from flowmesh.core.dtypes import INDEX, DType
from flowmesh.core.shapes import TensorShape, scalar, unknown_shape, vector
from flowmesh.graph.composite import IndexedSlices
from flowmesh.graph.constant_value import handle_shape
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.ops.building import constant, size_of
from flowmesh.ops.row_updates import check_indices
from flowmesh.ops.shape_rules import at_least, merge, scalar_input
from flowmesh.ops.state import counted
from flowmesh.resources.messages import dtype_string
from flowmesh.resources.variable import Variable


def _handle_dtype(handle: Any) -> DType | None:
    """The dtype of the variable behind a handle tensor, if the graph tells."""
    op = handle.op
    while op.type in ("Identity", "Enter") and op.inputs:
        op = op.inputs[0].op
    return op.attrs["dtype"] if op.type == "VarHandleOp" else None


def _check_dtype(ctx: Any, dtype: DType) -> None:
    expected = _handle_dtype(ctx.inputs[0])
    if expected is not None and expected != dtype:
        raise ValueError(
            f"Trying to read variable with wrong dtype. Expected {dtype_string(expected)} "
            f"got {dtype_string(dtype)}"
        )


class VarHandleOp(OpDef):
    """A handle to a variable; the variable gets its value from `AssignVariableOp`."""

    resource = Output(dtypes.resource)
    container = Attr("string", "")
    shared_name = Attr("string", "")
    dtype = type_attr()
    shape = Attr("shape")
    stateful = True
    variable_source = True
    NotDifferentiable = True
    gpu_types = frozenset(
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

    def infer(self, ctx: Any) -> TensorShape:
        return scalar()


class ReadVariableOp(OpDef):
    """The value of a resource variable; FailedPreconditionError if it has none."""

    resource = Input(dtypes.resource, access="read")
    value = Output("dtype")
    dtype = type_attr()
    stateful = True

    def infer(self, ctx: Any, resource: TensorShape) -> TensorShape:
        _check_dtype(ctx, self.attrs["dtype"])
        return ctx.handle_shape(0)

    def compute(self, xp: Any, resource: Any) -> Any:
        _check_value(resource, self.attrs["dtype"])
        return resource

    def gradient(self, op: Any, grad: Any) -> Any:  # type: ignore[override]
        return (grad,)


def checked(resource: Any) -> Variable:
    """The variable behind a handle; InvalidArgumentError for another kind of resource."""
    if not isinstance(resource, Variable):
        got = getattr(type(resource), "type_name", type(resource).__name__)
        raise errors.InvalidArgumentError(
            None,
            None,
            f"Trying to access resource using the wrong type. Expected {Variable.type_name} got {got}",
        )
    return resource


def _check_value(value: Any, dtype: DType) -> None:
    if value.dtype != dtype.as_numpy_dtype:
        raise errors.InvalidArgumentError(
            None,
            None,
            "Trying to read variable with wrong dtype. "
            f"Expected {dtype_string(dtypes.as_dtype(value.dtype))} got {dtype_string(dtype)}",
        )


class _AssignVariable(OpDef, abstract=True):
    stateful = True
    NotDifferentiable = True

    def infer(self, ctx: Any, resource: TensorShape, value: TensorShape) -> tuple[()]:
        _check_dtype(ctx, self.attrs["dtype"])
        merge(ctx.handle_shape(0), value)
        return ()

    def _check(self, old: Any, value: Any) -> None:
        if old.shape != value.shape:
            before, after = (f"[{','.join(map(str, a.shape))}]" for a in (old, value))
            raise errors.InvalidArgumentError(
                None,
                None,
                f"Cannot update variable with shape {before} using a Tensor with shape {after}, "
                "shapes must be equal.",
            )


class AssignVariableOp(_AssignVariable):
    """Gives a resource variable a new value."""

    resource = Input(dtypes.resource, access="write")
    value = Input("dtype")
    dtype = type_attr()

    def compute(self, xp: Any, resource: None, value: Any) -> Any:
        return value


class AssignAddVariableOp(_AssignVariable):
    """Adds to a resource variable."""

    resource = Input(dtypes.resource, access="update")
    value = Input("dtype")
    dtype = type_attr()

    def compute(self, xp: Any, resource: Any, value: Any) -> Any:
        self._check(resource, value)
        return xp.add(resource, value)


class AssignSubVariableOp(_AssignVariable):
    """Subtracts from a resource variable."""

    resource = Input(dtypes.resource, access="update")
    value = Input("dtype")
    dtype = type_attr()

    def compute(self, xp: Any, resource: Any, value: Any) -> Any:
        self._check(resource, value)
        return xp.subtract(resource, value)


class VarIsInitializedOp(OpDef):
    """Whether a resource variable has a value."""

    resource = Input(dtypes.resource)
    is_initialized = Output(dtypes.bool)
    stateful = True
    devices = ("CPU", "GPU")
    NotDifferentiable = True

    def infer(self, ctx: Any, resource: TensorShape) -> TensorShape:
        return scalar()

    def run(self, ctx: Any, resource: Variable) -> np.bool_:  # type: ignore[override]
        return np.bool_(checked(resource).is_initialized)


class DestroyResourceOp(OpDef):
    """Removes a resource; NotFoundError, unless ignored, if it is not there."""

    resource = Input(dtypes.resource)
    ignore_lookup_error = Attr("bool", True)
    stateful = True
    devices = ("CPU", "GPU")
    NotDifferentiable = True

    def infer(self, ctx: Any, resource: TensorShape) -> tuple[()]:
        return ()

    def run(self, ctx: Any, resource: Any) -> None:  # type: ignore[override]
        if isinstance(resource, Variable) and not resource.is_initialized:
            self._missing(f"Resource {resource.container}/{resource.name}/{resource.type_name}")
            return
        container = getattr(resource, "container", ctx.container)
        try:
            ctx.resources.delete(container, resource.name, type(resource))
        except errors.NotFoundError:
            # A resource that is private to its node is in no container: it ends here.
            resource.release()

    def _missing(self, what: str) -> None:
        if not self.attrs["ignore_lookup_error"]:
            raise errors.NotFoundError(None, None, f"{what} does not exist.")


class VariableShape(OpDef):
    """The shape of the value of a resource variable."""

    input = Input(dtypes.resource, access="read")
    output = Output("out_type")
    out_type = type_attr(INDEX, dtypes.int32)
    stateful = True
    NotDifferentiable = True

    def infer(self, ctx: Any, input: TensorShape) -> TensorShape:
        return vector(ctx.handle_shape(0).ndims)

    def compute(self, xp: Any, input: Any) -> Any:
        return np.array(input.shape, self.attrs["out_type"].as_numpy_dtype)


class ResourceGather(OpDef):
    """The rows `indices` of a resource variable, without reading the rest of it."""

    resource = Input(dtypes.resource, access="read")
    indices = Input("Tindices")
    output = Output("dtype")
    batch_dims = Attr("int", 0)
    validate_indices = Attr("bool", True)
    dtype = type_attr()
    Tindices = type_attr(INDEX)
    stateful = True

    def infer(self, ctx: Any, resource: TensorShape, indices: TensorShape) -> TensorShape:
        _check_dtype(ctx, self.attrs["dtype"])
        shape = at_least(ctx.handle_shape(0), 1 + self.attrs["batch_dims"])
        if shape.key is None or indices.key is None:
            return unknown_shape()
        batch = self.attrs["batch_dims"]
        return TensorShape(shape.key[:batch] + indices.key[batch:] + shape.key[batch + 1 :])

    def compute(self, xp: Any, resource: Any, indices: Any) -> Any:
        batch = self.attrs["batch_dims"]
        _check_value(resource, self.attrs["dtype"])
        if resource.ndim < batch + 1:
            raise errors.InvalidArgumentError(None, None, "params must be at least 1 dimensional")
        if xp is np:
            check_indices(indices, resource.shape[batch])
        if batch == 0:
            return xp.take(resource, indices, axis=0, **({} if xp is np else {"mode": "clip"}))
        grids = xp.meshgrid(*(xp.arange(n) for n in indices.shape), indexing="ij")[:batch]
        return resource[(*grids, indices)]

    def gradient(self, op: Any, grad: Any) -> Any:  # type: ignore[override]
        handle, indices = op.inputs
        known = handle_shape(handle)
        if known.is_fully_defined():
            shape = constant(np.array(known.as_list(), np.int32))
        else:
            shape = raw.VariableShape(handle)
        size = raw.ExpandDims(size_of(indices), constant(0, name="ExpandDims/dim"))
        rest = shape[1:]
        values_shape = raw.ConcatV2([size, rest], constant(0, name="concat/axis"), name="concat")
        values = raw.Reshape(grad, values_shape)
        return IndexedSlices(values, raw.Reshape(indices, size), shape), None


class ResourceGatherNd(OpDef):
    """The elements or slices of a resource variable that the last axis of `indices` addresses."""

    resource = Input(dtypes.resource, access="read")
    indices = Input("Tindices")
    output = Output("dtype")
    dtype = type_attr()
    Tindices = type_attr(INDEX)
    stateful = True

    def infer(self, ctx: Any, resource: TensorShape, indices: TensorShape) -> TensorShape:
        _check_dtype(ctx, self.attrs["dtype"])
        shape = ctx.handle_shape(0)
        if shape.key is None or not indices.key or indices.key[-1] is None:
            return unknown_shape()
        depth = indices.key[-1]
        if depth > len(shape.key):
            raise ValueError(
                "indices.shape[-1] must be <= params.rank, but saw indices.shape: "
                f"[{','.join('?' if d is None else str(d) for d in indices.key)}] and params.shape: "
                f"[{','.join('?' if d is None else str(d) for d in shape.key)}]"
            )
        return TensorShape(indices.key[:-1] + shape.key[depth:])

    def compute(self, xp: Any, resource: Any, indices: Any) -> Any:
        depth = indices.shape[-1]
        sizes = np.array(resource.shape[:depth], indices.dtype)
        if xp is np:
            wrong = np.argwhere(((indices < 0) | (indices >= sizes)).any(axis=-1))
            if wrong.size:
                place = tuple(int(i) for i in wrong[0])
                raise errors.InvalidArgumentError(
                    None,
                    None,
                    f"indices[{','.join(map(str, place))}] = "
                    f"[{', '.join(map(str, indices[place]))}] does not index into param shape "
                    f"[{','.join(map(str, resource.shape))}]",
                )
        return resource[tuple(indices[..., i] for i in range(depth))]

    def gradient(self, op: Any, grad: Any) -> Any:  # type: ignore[override]
        handle, indices = op.inputs
        shape = raw.VariableShape(handle, out_type=indices.dtype.base_dtype)
        if indices.shape.ndims == 2 and indices.shape.as_list()[-1] == 1:
            flat = raw.Squeeze(indices, squeeze_dims=[-1])
            return IndexedSlices(grad, flat, shape), None
        return raw.ScatterNd(indices, grad, shape), None


class ResourceCountUpTo(OpDef):
    """`CountUpTo` for a resource variable."""

    resource = Input(dtypes.resource, access="update")
    output = Output("T")
    limit = Attr("int")
    T = type_attr(INDEX)
    stateful = True
    numpy_only = True
    devices = ("CPU",)
    NotDifferentiable = True

    def infer(self, ctx: Any, resource: TensorShape) -> TensorShape:
        scalar_input(ctx.handle_shape(0))
        return scalar()

    def compute(self, xp: Any, resource: Any) -> Any:
        return counted(resource, self.attrs["limit"])
