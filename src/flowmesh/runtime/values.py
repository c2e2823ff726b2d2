"""Runtime values: `np.ndarray`, `jax.Array`, resource objects and `DEAD`. Values are never modified in place."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core.dtypes import DType
from flowmesh.graph.op_def import DEAD
from flowmesh.resources.manager import Resource
from flowmesh.resources.variable import Variable

__all__ = ["DEAD", "as_output", "freeze", "is_array", "read_only_view", "to_host"]


def is_array(value: Any) -> bool:
    """Whether the value is an array, on the host or on a device."""
    return hasattr(value, "shape") and hasattr(value, "dtype") and not isinstance(value, Resource)


def to_host(value: Any) -> Any:
    """The value as NumPy has it: a device array is fetched (without a copy where the device is the CPU)."""
    if type(value) is np.ndarray or not is_array(value):
        return value
    return np.asarray(value)


def as_output(value: Any, dtype: DType) -> Any:
    """What a kernel returned for an output of `dtype`, as a runtime value: Python and NumPy scalars become arrays."""
    if type(value) is np.ndarray:
        return value
    if isinstance(value, (Resource, Variable)) or not dtype.is_numpy_compatible:
        return value
    if isinstance(value, (np.generic, int, float, complex, bool, bytes, list, tuple)):
        return np.asarray(value, dtype.as_numpy_dtype)
    return value


def freeze(value: Any) -> Any:
    """The value in a form that nobody can change later: what variables keep. Copies only what others may still write to."""
    if type(value) is not np.ndarray:
        return value
    if value.flags.writeable:
        if value.base is not None:
            value = value.copy()
        value.flags.writeable = False
        return value
    base = value.base
    while isinstance(base, np.ndarray):
        if base.flags.writeable:
            value = value.copy()
            value.flags.writeable = False
            return value
        base = base.base
    return value


def read_only_view(value: Any) -> Any:
    """The caller's array, protected from us: `freeze` copies it when it is kept."""
    if isinstance(value, np.ndarray):
        view = value.view(np.ndarray)
        view.flags.writeable = False
        return view
    return value
