"""Barriers: the Barrier ops and `Barrier`."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core.dtypes import DType, int32, int64, string
from flowmesh.core.shapes import TensorShape, scalar, unknown_shape, vector
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import invalid
from flowmesh.ops.data_flow import _shape_list, _type_list
from flowmesh.ops.queue_ops import checked_handle, mapped, private_name
from flowmesh.ops.shape_rules import scalar_input, with_rank
from flowmesh.resources.barrier import Barrier as _Barrier


class BarrierSource(OpDef):
    """Makes a barrier, or finds the one of its shared name."""

    op_type = "Barrier"
    handle = Output(string, ref=True)
    component_types = Attr("list(type)", minimum=1)
    shapes = Attr("list(shape)", ())
    capacity = Attr("int", -1)
    container = Attr("string", "")
    shared_name = Attr("string", "")
    stateful = True
    NotDifferentiable = True

    def infer(self, ctx: Any) -> TensorShape:
        return vector(2)

    def _make(self, name: str) -> _Barrier:
        return _Barrier(name, self.attrs["component_types"], self.attrs["shapes"])

    def run(self, ctx: Any) -> _Barrier:  # type: ignore[override]
        shared = self.attrs["shared_name"].decode()
        if not shared:
            own: _Barrier | None = ctx.state.get("barrier")
            if own is None:
                made = self._make(private_name(ctx.name))
                own = ctx.state.setdefault("barrier", made)
            return own
        container = self.attrs["container"].decode() or ctx.container
        found: _Barrier = ctx.resources.lookup_or_create(
            container, shared, _Barrier, lambda: self._make(shared)
        )
        return found


class _Op(OpDef, abstract=True):
    NotDifferentiable = True

    def infer(self, ctx: Any, *shapes: TensorShape) -> Any:
        return tuple(scalar() for _ in self.output_args)

    def _barrier(self, handle: Any) -> _Barrier:
        barrier: _Barrier = checked_handle(handle, _Barrier)
        return barrier


class BarrierInsertMany(_Op):
    """Sets one component of the elements with the given keys."""

    handle = Input(string, ref=True)
    keys = Input(string)
    values = Input("T")
    T = type_attr()
    component_index = Attr("int")

    def infer(self, ctx: Any, *shapes: TensorShape) -> Any:
        _, keys, values = shapes
        count = with_rank(keys, 1)
        if values.key is not None:
            if not values.key:
                raise ValueError("Shape must be at least rank 1 but is rank 0")
            a, b = (count.key or (None,))[0], values.key[0]
            if a is not None and b is not None and a != b:
                raise ValueError(
                    f"Dimension 0 in both shapes must be equal, but are {a} and {b}. "
                    f"Shapes are [{a}] and [{b}]."
                )
        return ()

    def run(self, ctx: Any, handle: Any, keys: Any, values: Any) -> None:  # type: ignore[override]
        listed = [bytes(k) for k in np.asarray(keys, object)]
        self._barrier(handle).insert_many(self.attrs["component_index"], listed, np.asarray(values))


class BarrierTakeMany(_Op):
    """Takes complete elements."""

    handle = Input(string, ref=True)
    num_elements = Input(int32)
    indices, keys = Output(int64), Output(string)
    values = Output(types="component_types")
    component_types = Attr("list(type)", minimum=1)
    allow_small_batch = Attr("bool", False)
    wait_for_incomplete = Attr("bool", False)
    timeout_ms = Attr("int", -1)

    def infer(self, ctx: Any, *shapes: TensorShape) -> Any:
        scalar_input(shapes[1])
        unknown = unknown_shape()
        return unknown, unknown, [unknown] * len(self.attrs["component_types"])

    def run(self, ctx: Any, handle: Any, num_elements: Any) -> Any:  # type: ignore[override]
        if self.attrs["timeout_ms"] != -1:
            raise invalid("Timeout not supported yet.")
        # A small batch waits for the incomplete elements too, where that is asked for.
        small = self.attrs["allow_small_batch"] and not self.attrs["wait_for_incomplete"]
        taken = self._barrier(handle).take_many(int(num_elements), small, ctx.cancellation)
        return mapped(taken, lambda batch: batch)


class BarrierClose(_Op):
    """Lets no new keys into a barrier."""

    handle = Input(string, ref=True)
    cancel_pending_enqueues = Attr("bool", False)

    def infer(self, ctx: Any, *shapes: TensorShape) -> Any:
        return ()

    def run(self, ctx: Any, handle: Any) -> None:  # type: ignore[override]
        self._barrier(handle).close(self.attrs["cancel_pending_enqueues"])


class BarrierReadySize(_Op):
    """How many elements are complete."""

    handle = Input(string, ref=True)
    size = Output(int32)

    def run(self, ctx: Any, handle: Any) -> Any:  # type: ignore[override]
        return np.int32(self._barrier(handle).ready_size())


class BarrierIncompleteSize(_Op):
    """How many elements lack a component."""

    handle = Input(string, ref=True)
    size = Output(int32)

    def run(self, ctx: Any, handle: Any) -> Any:  # type: ignore[override]
        return np.int32(self._barrier(handle).incomplete_size())


class Barrier:
    """Elements whose components come one by one, by string key (TensorFlow: `data_flow_ops.Barrier`).

    An element can be taken once all of its components were inserted; elements leave in the order of their first insertion.
    """

    def __init__(
        self, types: Any, shapes: Any = None, shared_name: str | None = None, name: str = "barrier"
    ):
        """One dtype, and optionally one fully known shape, per component. ValueError for other shapes."""
        self._types: list[DType] = _type_list(types)
        if shapes is not None:
            fixed = _shape_list(shapes) or []
            for shape in fixed:
                if shape.num_elements() == 0:
                    raise ValueError(
                        "Empty tensors are not supported, but received shape '{shape}' "
                        f"at index {fixed.index(shape)}"
                    )
            self._shapes = fixed
        else:
            self._shapes = [unknown_shape() for _ in self._types]
        self._barrier_ref: Tensor = raw.Barrier(
            component_types=self._types,
            shapes=self._shapes if shapes is not None else [],
            shared_name=shared_name or "",
            name=name,
        )
        self._name = self._barrier_ref.op.name.split("/")[-1]

    @property
    def barrier_ref(self) -> Tensor:
        """The tensor that holds the handle of the barrier."""
        return self._barrier_ref

    @property
    def name(self) -> str:
        """The name of the barrier."""
        return self._barrier_ref.op.name

    def insert_many(
        self, component_index: int, keys: Any, values: Any, name: str | None = None
    ) -> Any:
        """The operation that sets one component: `keys` is a string vector [n], `values` [n, ...]."""
        return raw.BarrierInsertMany(
            self._barrier_ref,
            keys,
            values,
            component_index=component_index,
            name=name or f"{self._name}_BarrierInsertMany",
        )

    def take_many(
        self,
        num_elements: Any,
        allow_small_batch: bool = False,
        timeout: int | None = None,
        name: str | None = None,
    ) -> Any:
        """(indices, keys, values) of complete elements, waiting for `num_elements` of them.

        `allow_small_batch` takes fewer from a closed barrier; else, or when there is none, OutOfRangeError is raised.
        `timeout` is not supported, as in TensorFlow: use `RunOptions.timeout_in_ms`.
        """
        taken = raw.BarrierTakeMany(
            self._barrier_ref,
            num_elements,
            component_types=self._types,
            allow_small_batch=allow_small_batch,
            timeout_ms=-1 if timeout is None else timeout,
            name=name or f"{self._name}_BarrierTakeMany",
        )
        self._set_shapes(taken, num_elements, allow_small_batch)
        return taken

    def _set_shapes(self, taken: Any, num_elements: Any, small: bool) -> None:
        op = taken[0].op
        known = None if small else num_elements if isinstance(num_elements, int) else None
        op.outputs[0].set_shape(vector(known))
        op.outputs[1].set_shape(vector(known))
        for output, shape in zip(op.outputs[2:], self._shapes):
            output.set_shape(vector(known).concatenate(shape))

    def close(self, cancel_pending_enqueues: bool = False, name: str | None = None) -> Any:
        """The operation that lets no new keys in, and with `cancel_pending_enqueues` drops what is incomplete."""
        return raw.BarrierClose(
            self._barrier_ref,
            cancel_pending_enqueues=cancel_pending_enqueues,
            name=name or f"{self._name}_BarrierClose",
        )

    def ready_size(self, name: str | None = None) -> Tensor:
        """How many elements are complete, an int32 scalar."""
        size: Tensor = raw.BarrierReadySize(
            self._barrier_ref, name=name or f"{self._name}_BarrierReadySize"
        )
        return size

    def incomplete_size(self, name: str | None = None) -> Tensor:
        """How many elements lack a component, an int32 scalar."""
        size: Tensor = raw.BarrierIncompleteSize(
            self._barrier_ref, name=name or f"{self._name}_BarrierIncompleteSize"
        )
        return size
