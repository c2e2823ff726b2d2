"""Functions of `ops/` that the graph layer needs (constants, zeros ...), bound when `flowmesh.ops` is imported.

The graph layer may not import ops/ (it stands above), so ops/ sets these names on import.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _unbound(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError("flowmesh.ops has not been imported")


constant: Callable[..., Any] = _unbound
"""`constant(value, dtype=None, shape=None, name="Const")` -> Tensor."""

zeros_like: Callable[..., Any] = _unbound
"""`zeros_like(tensor, optimize=True)` -> Tensor."""

zeros_for_gradient: Callable[..., Any] | None = None
"""`zeros_for_gradient(op, index)` -> Tensor: a zero gradient for an unused output (aware of cond contexts); optional."""

shape_of: Callable[..., Any] = _unbound
"""`shape(tensor)` -> Tensor: a Const where the static shape is known."""

convert_tuple: Callable[..., Any] = _unbound
"""`tuple(tensors)`: gate all tensors on each other (`tf.tuple`)."""

start_loop_gradients: Callable[..., Any] | None = None
"""`start_loop_gradients(between, colocate)` -> what a backward pass needs for the loops among the ops, or None."""
