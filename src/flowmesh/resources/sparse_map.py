"""A map that keeps sparse tensors under numbers while the numbers travel through a queue."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from flowmesh.core import errors
from flowmesh.resources.manager import Resource

Sparse: TypeAlias = tuple[Any, Any, tuple[int, ...]]
"""Indices [n, rank] (int64), values [n], and the dense shape."""


class SparseTensorsMap(Resource):
    """Sparse tensors by handle; each is given out once. Thread-safe (TensorFlow: `SparseTensorsMap`)."""

    type_name = "N10tensorflow16SparseTensorsMapE"

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._next = 0
        self._kept: dict[int, Sparse] = {}

    def add(self, tensors: Iterable[Sparse]) -> list[int]:
        """Keeps the tensors; returns their handles."""
        with self._lock:
            handles = []
            for tensor in tensors:
                self._kept[self._next] = tensor
                handles.append(self._next)
                self._next += 1
            return handles

    def take(self, handles: Sequence[int]) -> list[Sparse]:
        """Removes and returns the tensors; InvalidArgumentError for a handle that the map does not have."""
        with self._lock:
            found = []
            for handle in handles:
                tensor = self._kept.pop(handle, None)
                if tensor is None:
                    raise errors.InvalidArgumentError(
                        None, None, f"Unable to find SparseTensor: {handle} in map: {self.name}"
                    )
                found.append(tensor)
            return found

    def size(self) -> int:
        """How many tensors are kept."""
        with self._lock:
            return len(self._kept)
