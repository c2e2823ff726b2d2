"""Helpers for kernels on string tensors (NumPy object arrays of bytes)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np


def strings(values: Iterable[bytes], shape: Any) -> np.ndarray:
    """A string tensor of the given elements and shape."""
    flat = list(values)
    out = np.empty(len(flat), object)
    out[:] = flat
    return out.reshape(tuple(shape))


def map_strings(function: Callable[[bytes], bytes], tensor: Any) -> np.ndarray:
    """`function` of each element."""
    array = np.asarray(tensor, object)
    return strings([function(as_bytes(v)) for v in array.reshape(-1)], array.shape)


def as_bytes(value: Any) -> bytes:
    """An element of a string tensor as bytes."""
    return value.encode("utf-8") if isinstance(value, str) else bytes(value)


def decoded(value: bytes) -> str:
    """The text of an element; what is no UTF-8 survives a round trip."""
    return value.decode("utf-8", "surrogateescape")


def encoded(text: str) -> bytes:
    """The reverse of `decoded`."""
    return text.encode("utf-8", "surrogateescape")
