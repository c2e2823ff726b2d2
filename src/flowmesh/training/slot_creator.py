"""Slots: variables that an optimizer keeps beside each variable it updates, on the same device."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from flowmesh.frontend.resource_variable import ResourceVariable
from flowmesh.frontend.save_slice_info import SaveSliceInfo
from flowmesh.frontend.variable_scope import get_variable, get_variable_scope, variable_scope
from flowmesh.frontend.variables import Variable
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.graph import get_default_graph
from flowmesh.ops import fill


def create_slot(
    primary: Any, val: Any, name: str, colocate_with_primary: bool = True, use_resource: Any = None
) -> Any:
    """A variable `<primary>/<name>` that starts with the value `val` (a Tensor of any shape and dtype).

    It is not trainable. TensorFlow: `slot_creator.create_slot`.
    """
    val = convert_to_tensor(val)
    return _create(primary, val, name, colocate_with_primary, None, None)


def create_slot_with_initializer(
    primary: Any,
    initializer: Any,
    shape: Any,
    dtype: Any,
    name: str,
    colocate_with_primary: bool = True,
) -> Any:
    """A variable `<primary>/<name>` of `shape` and `dtype` whose first value comes from an initializer.

    TensorFlow: `slot_creator.create_slot_with_initializer`.
    """
    return _create(primary, initializer, name, colocate_with_primary, shape, dtype)


def create_zeros_slot(
    primary: Any, name: str, dtype: Any = None, colocate_with_primary: bool = True
) -> Any:
    """A variable `<primary>/<name>` of the shape and, unless given, dtype of `primary`, full of zeros.

    TensorFlow: `slot_creator.create_zeros_slot`.
    """
    dtype = primary.dtype.base_dtype if dtype is None else dtype
    shape = primary.shape
    if shape.is_fully_defined():
        from flowmesh.frontend.initializers import Zeros

        return _create(primary, Zeros(), name, colocate_with_primary, shape, dtype)
    source = primary.initialized_value() if isinstance(primary, Variable) else primary
    with get_default_graph().device(None):
        zeros = fill.zeros_like(source, dtype=dtype, optimize=False)
    return _create(primary, zeros, name, colocate_with_primary, None, None)


def _create(
    primary: Any, initializer: Any, name: str, colocate: bool, shape: Any, dtype: Any
) -> Any:
    of_tensor = shape is None
    validate = (initializer if of_tensor else shape).shape if of_tensor else shape
    graph = get_default_graph()
    place: AbstractContextManager[Any] = (
        graph.colocate_with(primary.op) if colocate else nullcontext()
    )
    with variable_scope(None, f"{primary.op.name}/{name}"), place:
        scope: Any = get_variable_scope()
        partitioner = scope.partitioner
        scope.set_partitioner(None)
        try:
            slot = get_variable(
                "",
                shape=shape,
                dtype=dtype,
                initializer=initializer,
                trainable=False,
                use_resource=isinstance(primary, ResourceVariable),
                validate_shape=validate.is_fully_defined(),
            )
        finally:
            scope.set_partitioner(partitioner)
    _copy_slice_info(primary, slot)
    return slot


def _copy_slice_info(primary: Any, slot: Any) -> None:
    """The slot of one part of a partitioned variable is the same part of the slot of the whole."""
    info = primary._get_save_slice_info() if isinstance(primary, Variable) else None
    if info is None:
        return
    suffix = slot.op.name[len(primary.op.name) + 1 :]
    slot._set_save_slice_info(
        SaveSliceInfo(
            f"{info.full_name}/{suffix}", info.full_shape, info.var_offset, info.var_shape
        )
    )
