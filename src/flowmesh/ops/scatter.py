"""Writing to rows and elements of variables: `ScatterAdd` and its family, for refs and resources."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core import dtypes, errors
from flowmesh.core.dtypes import INDEX, NUMBERS
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.ops.row_updates import beyond, check_indices, combine_at
from flowmesh.ops.shape_rules import bracketed, merge

_GPU_TYPES = frozenset({dtypes.float16, dtypes.float32, dtypes.float64})
_ORDERED = frozenset(
    {
        dtypes.float16,
        dtypes.bfloat16,
        dtypes.float32,
        dtypes.float64,
        dtypes.int32,
        dtypes.int64,
    }
)


def _tail(shape: TensorShape, start: int) -> TensorShape:
    return unknown_shape() if shape.key is None else TensorShape(shape.key[start:])


def _check_rows(variable: TensorShape, indices: TensorShape, updates: TensorShape) -> TensorShape:
    """The shape function of all row updates; an update may be one scalar for all."""
    if updates.ndims != 0:
        merge(updates, indices.concatenate(_tail(variable, 1)))
    return variable


def _brackets(shape: Any) -> str:
    return f"[{','.join(map(str, shape))}]"


def _scatter_rows(
    xp: Any, kind: str, ref: Any, indices: Any, updates: Any, in_place: bool = False
) -> Any:
    """The kernel of all row updates."""
    if ref.ndim < 1:
        raise errors.InvalidArgumentError(
            None, None, f"params must be at least 1-D, got shape {_brackets(ref.shape)}"
        )
    wanted = indices.shape + ref.shape[1:]
    if updates.shape not in ((), wanted):
        raise errors.InvalidArgumentError(
            None,
            None,
            "Must have updates.shape = indices.shape + params.shape[1:] or updates.shape = [], got "
            f"updates.shape {_brackets(updates.shape)}, indices.shape {_brackets(indices.shape)}, "
            f"params.shape {_brackets(ref.shape)}",
        )
    if xp is np:
        check_indices(indices, ref.shape[0])
    else:
        indices = beyond(xp, indices, ref.shape[0])
    return combine_at(xp, kind, ref, indices, updates, in_place)


class _RefScatter(OpDef, abstract=True):
    kind = ""
    in_place = True
    fast_in_place = True
    ref = Input("T", ref=True, access="update")
    indices = Input("Tindices")
    updates = Input("T")
    output_ref = Output("T", ref=True, alias="ref")
    NotDifferentiable = True
    gpu_types = _GPU_TYPES

    def infer(
        self, ctx: Any, ref: TensorShape, indices: TensorShape, updates: TensorShape
    ) -> TensorShape:
        return _check_rows(ref, indices, updates)

    def compute(self, xp: Any, ref: Any, indices: Any, updates: Any) -> Any:
        return _scatter_rows(xp, self.kind, ref, indices, updates)

    def compute_in_place(self, ref: Any, indices: Any, updates: Any) -> None:
        _scatter_rows(np, self.kind, ref, indices, updates, in_place=True)


class _ResourceScatter(OpDef, abstract=True):
    kind = ""
    in_place = True
    fast_in_place = True
    resource = Input(dtypes.resource, access="update")
    indices = Input("Tindices")
    updates = Input("dtype")
    stateful = True
    NotDifferentiable = True
    gpu_types = _GPU_TYPES

    def infer(
        self, ctx: Any, resource: TensorShape, indices: TensorShape, updates: TensorShape
    ) -> tuple[()]:
        _check_rows(ctx.handle_shape(0), indices, updates)
        return ()

    def compute(self, xp: Any, resource: Any, indices: Any, updates: Any) -> Any:
        return _scatter_rows(xp, self.kind, resource, indices, updates)

    def compute_in_place(self, resource: Any, indices: Any, updates: Any) -> None:
        _scatter_rows(np, self.kind, resource, indices, updates, in_place=True)


def _row_family(suffix: str, kind: str, doc: str, ref_types: Any, resource_types: Any) -> None:
    """Registers Scatter<suffix> and ResourceScatter<suffix>."""
    body: dict[str, Any] = {"__module__": __name__, "kind": kind}
    ref = body | {
        "__doc__": f"{doc} a ref variable at the rows `indices`.",
        "T": type_attr(ref_types),
        "Tindices": type_attr(INDEX),
        "use_locking": Attr("bool", kind == "update"),
    }
    resource = body | {
        "__doc__": f"{doc} a resource variable at the rows `indices`.",
        "dtype": type_attr(resource_types),
        "Tindices": type_attr(INDEX),
    }
    type(f"Scatter{suffix}", (_RefScatter,), ref)
    type(f"ResourceScatter{suffix}", (_ResourceScatter,), resource)


_row_family("Add", "add", "Adds `updates` to", NUMBERS, NUMBERS)
_row_family("Sub", "sub", "Subtracts `updates` from", NUMBERS, NUMBERS)
_row_family("Mul", "mul", "Multiplies by `updates`", NUMBERS, NUMBERS)
_row_family("Div", "div", "Divides by `updates`", NUMBERS, NUMBERS)
_row_family("Min", "min", "Takes the minimum with `updates` into", _ORDERED, NUMBERS)
_row_family("Max", "max", "Takes the maximum with `updates` into", _ORDERED, NUMBERS)
_row_family("Update", "update", "Writes `updates` to", None, None)


# -- elements addressed by several coordinates -------------------------------------------------------


def _check_nd(variable: TensorShape, indices: TensorShape, updates: TensorShape) -> TensorShape:
    """The shape function of the Nd updates."""
    if variable.key is None or indices.key is None or updates.key is None or not indices.key:
        return variable
    depth, outer = indices.key[-1], len(indices.key) - 1
    head = TensorShape(updates.key[:outer])
    try:
        merge(TensorShape(indices.key[:-1]), head)
    except ValueError as error:
        raise ValueError(
            f"The outer {outer} dimensions of indices.shape={bracketed(indices)} must match the outer "
            f"{outer} dimensions of updates.shape={bracketed(updates)}: {error}"
        ) from None
    if depth is None:
        return variable
    try:
        merge(TensorShape(variable.key[depth:]), TensorShape(updates.key[outer:]))
    except ValueError as error:
        raise ValueError(
            f"The inner {max(len(variable.key) - depth, 0)} dimensions of "
            f"input.shape={bracketed(variable)} must match the inner {len(updates.key) - outer} "
            f"dimensions of updates.shape={bracketed(updates)}: {error}"
        ) from None
    return variable


def _scatter_nd(xp: Any, kind: str, ref: Any, indices: Any, updates: Any) -> Any:
    """The kernel of the Nd updates."""
    depth = indices.shape[-1] if indices.ndim else 1
    outer = indices.shape[:-1]
    if updates.shape[: len(outer)] != outer:
        raise errors.InvalidArgumentError(
            None,
            None,
            "The outermost dimension of updates and indices must match. Got indices.shape "
            f"{_brackets(indices.shape)}, updates.shape {_brackets(updates.shape)}",
        )
    if depth > ref.ndim or updates.shape[len(outer) :] != ref.shape[depth:]:
        raise errors.InvalidArgumentError(
            None,
            None,
            f"Inner dimensions of output shape must match inner dimensions of updates shape. Output: "
            f"{_brackets(ref.shape)} updates: {_brackets(updates.shape)}",
        )
    flat = indices.reshape((-1, depth))
    updates = updates.reshape((flat.shape[0], *ref.shape[depth:]))
    sizes = np.array(ref.shape[:depth], flat.dtype)
    if xp is np:
        wrong = np.flatnonzero(((flat < 0) | (flat >= sizes)).any(axis=1))
        if wrong.size:
            row = int(wrong[0])
            raise errors.InvalidArgumentError(
                None,
                None,
                f"indices[{row}] = {_brackets(flat[row])} does not index into shape {_brackets(ref.shape)}",
            )
    else:
        flat = xp.where((flat < 0) | (flat >= sizes), sizes, flat)
    if depth == 0:
        return _scatter_whole(xp, kind, ref, updates)
    return combine_at(xp, kind, ref, tuple(flat[:, i] for i in range(depth)), updates)


def _scatter_whole(xp: Any, kind: str, ref: Any, updates: Any) -> Any:
    """Every update is for the whole variable."""
    if updates.shape[0] == 0:
        return ref
    if kind == "update":
        return updates[-1]
    total = updates.sum(axis=0, dtype=ref.dtype)
    return ref + total if kind == "add" else ref - total


class _RefScatterNd(OpDef, abstract=True):
    kind = ""
    ref = Input("T", ref=True, access="update")
    indices = Input("Tindices")
    updates = Input("T")
    output_ref = Output("T", ref=True, alias="ref")
    NotDifferentiable = True
    gpu_types = _GPU_TYPES

    def infer(
        self, ctx: Any, ref: TensorShape, indices: TensorShape, updates: TensorShape
    ) -> TensorShape:
        return _check_nd(ref, indices, updates)

    def compute(self, xp: Any, ref: Any, indices: Any, updates: Any) -> Any:
        return _scatter_nd(xp, self.kind, ref, indices, updates)


class _ResourceScatterNd(OpDef, abstract=True):
    kind = ""
    ref = Input(dtypes.resource, access="update")
    indices = Input("Tindices")
    updates = Input("T")
    T = type_attr()
    Tindices = type_attr(INDEX)
    use_locking = Attr("bool", True)
    stateful = True
    NotDifferentiable = True
    gpu_types = _GPU_TYPES

    def infer(
        self, ctx: Any, ref: TensorShape, indices: TensorShape, updates: TensorShape
    ) -> tuple[()]:
        _check_nd(ctx.handle_shape(0), indices, updates)
        return ()

    def compute(self, xp: Any, ref: Any, indices: Any, updates: Any) -> Any:
        return _scatter_nd(xp, self.kind, ref, indices, updates)


class ScatterNdUpdate(_RefScatterNd):
    """Writes `updates` to the elements or slices of a ref variable that the last axis of `indices` addresses."""

    kind = "update"
    T = type_attr()
    Tindices = type_attr(INDEX)
    use_locking = Attr("bool", True)


class ScatterNdAdd(_RefScatterNd):
    """Adds `updates` to the elements or slices of a ref variable."""

    kind = "add"
    T = type_attr(NUMBERS)
    Tindices = type_attr(INDEX)
    use_locking = Attr("bool", False)


class ScatterNdSub(_RefScatterNd):
    """Subtracts `updates` from the elements or slices of a ref variable."""

    kind = "sub"
    T = type_attr(NUMBERS)
    Tindices = type_attr(INDEX)
    use_locking = Attr("bool", False)


class ResourceScatterNdUpdate(_ResourceScatterNd):
    """Writes `updates` to the elements or slices of a resource variable."""

    kind = "update"


class ResourceScatterNdAdd(_ResourceScatterNd):
    """Adds `updates` to the elements or slices of a resource variable."""

    kind = "add"


class ResourceScatterNdSub(_ResourceScatterNd):
    """Subtracts `updates` from the elements or slices of a resource variable."""

    kind = "sub"


# -- public wrappers ---------------------------------------------------------------------------------


def _scatter(
    suffix: str, ref: Any, indices: Any, updates: Any, use_locking: bool | None, name: str | None
) -> Any:
    """The op for the kind of variable that `ref` is; returns what reads the new value."""
    if ref.dtype._is_ref_dtype:
        op = getattr(raw, f"Scatter{suffix}")
        return op(ref, indices, updates, use_locking=use_locking, name=name)
    op = getattr(raw, f"ResourceScatter{suffix}")
    after = getattr(ref, "_after", None)
    node = op(ref.handle, indices, convert_to_tensor(updates, ref.dtype), name=name)
    if after is not None:
        return after(node, True)
    with node.graph.control_dependencies([node]):
        return raw.ReadVariableOp(ref.handle, dtype=ref.dtype)


def scatter_update(
    ref: Any, indices: Any, updates: Any, use_locking: bool = True, name: str | None = None
) -> Any:
    """Writes `updates` to the rows `indices` of a variable (TensorFlow: `tf.scatter_update`).

    `indices` is int32 or int64 of any shape, `updates` has shape indices.shape + ref.shape[1:], or is one scalar for
    all. Returns what reads the new value. Running it raises InvalidArgumentError for an index out of range.
    """
    return _scatter("Update", ref, indices, updates, use_locking, name)


def scatter_add(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Any:
    """Adds `updates` to the rows `indices`; equal indices add up (TensorFlow: `tf.scatter_add`)."""
    return _scatter("Add", ref, indices, updates, use_locking, name)


def scatter_sub(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Any:
    """Subtracts `updates` from the rows `indices` (TensorFlow: `tf.scatter_sub`)."""
    return _scatter("Sub", ref, indices, updates, use_locking, name)


def scatter_mul(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Any:
    """Multiplies the rows `indices` by `updates` (TensorFlow: `tf.scatter_mul`)."""
    return _scatter("Mul", ref, indices, updates, use_locking, name)


def scatter_div(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Any:
    """Divides the rows `indices` by `updates` (TensorFlow: `tf.scatter_div`)."""
    return _scatter("Div", ref, indices, updates, use_locking, name)


def scatter_min(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Any:
    """Lowers the rows `indices` to `updates` where these are smaller (TensorFlow: `tf.scatter_min`)."""
    return _scatter("Min", ref, indices, updates, use_locking, name)


def scatter_max(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Any:
    """Raises the rows `indices` to `updates` where these are larger (TensorFlow: `tf.scatter_max`)."""
    return _scatter("Max", ref, indices, updates, use_locking, name)


def scatter_nd_update(
    ref: Any, indices: Any, updates: Any, use_locking: bool = True, name: str | None = None
) -> Any:
    """Writes `updates` where `indices` points (TensorFlow: `tf.scatter_nd_update`).

    The last axis of `indices` (int32 or int64, [..., K]) addresses an element (K = rank of `ref`) or a slice of
    it; `updates` has shape indices.shape[:-1] + ref.shape[K:].
    """
    return _scatter("NdUpdate", ref, indices, updates, use_locking, name)


def scatter_nd_add(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Any:
    """Adds `updates` where `indices` points (TensorFlow: `tf.scatter_nd_add`)."""
    return _scatter("NdAdd", ref, indices, updates, use_locking, name)


def scatter_nd_sub(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Any:
    """Subtracts `updates` where `indices` points (TensorFlow: `tf.scatter_nd_sub`)."""
    return _scatter("NdSub", ref, indices, updates, use_locking, name)
