"""Runtime values: `np.ndarray`, `jax.Array`, resource objects and `DEAD`. Values are never modified in place."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from flowmesh.core.dtypes import DType
from flowmesh.graph.op_def import DEAD
from flowmesh.resources.manager import Resource
from flowmesh.resources.variable import Variable

__all__ = [
    "DEAD",
    "SMALL_FEED",
    "as_output",
    "freeze",
    "host_view",
    "is_array",
    "is_frozen",
    "leave",
    "private_copy",
    "read_only_view",
    "shared_copy",
    "to_host",
]

_ALIGNMENT = 64
SMALL_FEED = 1 << 20
"""Bytes up to which an array that others may change is copied; a run that is given larger ones ends only when it has read them."""
_COPIED = 16384
"""Bytes up to which results are copied for the program; larger ones are handed over where that is safe."""


class Loan:
    """Goes back when nobody holds it any more, which may be at any point of any thread: no lock is taken."""

    __slots__ = ("_back", "_item")

    def __init__(self, back: deque[Any], item: Any) -> None:
        self._back = back
        self._item = item

    def __del__(self) -> None:
        self._back.append(self._item)


class Received(np.ndarray):
    """Memory that was filled for one value alone: what `base` of that value is. A value with another base may be shared."""

    loan: Loan
    """What goes back with the last array over the memory, if it is on loan."""


def is_array(value: Any) -> bool:
    """Whether the value is an array, on the host or on a device."""
    return hasattr(value, "shape") and hasattr(value, "dtype") and not isinstance(value, Resource)


def to_host(value: Any) -> Any:
    """The value as NumPy has it: a device array is fetched (without a copy where the device is the CPU)."""
    if type(value) is np.ndarray or not is_array(value):
        return value
    return host_view(value)


class _Borrowed:
    """Gives NumPy the memory of a device array on the host, and keeps the array alive as long as NumPy uses it."""

    __slots__ = ("__array_interface__", "held")

    def __init__(self, array: Any, writeable: bool) -> None:
        self.held = array
        dtype = array.dtype
        self.__array_interface__ = {
            "version": 3,
            "data": (array.unsafe_buffer_pointer(), not writeable),
            "shape": array.shape,
            "typestr": dtype.str,
        }


def host_view(value: Any, writeable: bool = False) -> np.ndarray:
    """A device array as NumPy's. On the CPU it is the same memory: the view holds a reference to the array, so that
    counting the array's references tells whether anybody can still see it (JAX's own conversion hides that)."""
    if not hasattr(value, "unsafe_buffer_pointer") or value.platform() != "cpu" or not value.size:
        return np.asarray(value)
    value.block_until_ready()
    dtype = value.dtype
    if dtype.kind == "V":
        return np.asarray(value) if dtype.itemsize not in (1, 2) else _bits_view(value, writeable)
    return np.asarray(_Borrowed(value, writeable))


def _bits_view(value: Any, writeable: bool) -> np.ndarray:
    """A view of a dtype that NumPy does not know itself (bfloat16)."""
    borrowed = _Borrowed(value, writeable)
    unsigned = f"<u{value.dtype.itemsize}"
    borrowed.__array_interface__ = {**borrowed.__array_interface__, "typestr": unsigned}
    return np.asarray(borrowed).view(value.dtype)


def leave(value: Any, alone: bool) -> np.ndarray:
    """A device array as a program gets it: writable, and its own. Memory that nobody else sees (`alone`) is handed over."""
    if (
        alone
        and value.nbytes > _COPIED
        and hasattr(value, "platform")
        and value.platform() == "cpu"
    ):
        return host_view(value, writeable=True)
    return np.array(host_view(value))


def is_frozen(value: np.ndarray) -> bool:
    """Whether nobody can write to the memory of the array."""
    base: Any = value
    while isinstance(base, np.ndarray):
        if base.flags.writeable:
            return False
        base = base.base
    return True


def private_copy(value: np.ndarray) -> np.ndarray:
    """A copy that nobody else sees, aligned so that XLA takes it as it is."""
    size = value.nbytes
    raw = np.empty(size + _ALIGNMENT, np.uint8)
    start = -raw.__array_interface__["data"][0] % _ALIGNMENT
    copy = raw[start : start + size].view(value.dtype).reshape(value.shape)
    np.copyto(copy, value)
    return copy


def shared_copy(value: Any) -> Any:
    """What several programs are to read: a small array that may still change is copied once for all of them, frozen and aligned."""
    if type(value) is not np.ndarray or value.dtype.hasobject:
        return value  # strings are no business of XLA's
    if value.nbytes > SMALL_FEED or is_frozen(value):
        return value
    copy = private_copy(value)
    memory: Any = copy
    while isinstance(memory, np.ndarray):
        memory.flags.writeable = False
        memory = memory.base
    return copy


def as_output(value: Any, dtype: DType) -> Any:
    """What a kernel returned for an output of `dtype`, as a runtime value: Python and NumPy scalars become arrays."""
    if type(value) is np.ndarray:
        return value
    if isinstance(value, np.generic) and dtype.is_numpy_compatible:
        return np.asarray(value, dtype.as_numpy_dtype)
    if isinstance(value, (Resource, Variable)) or not dtype.is_numpy_compatible:
        return value
    if isinstance(value, (int, float, complex, bool, bytes, list, tuple)):
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
