"""What op files share when they build nodes: constants, shapes, zeros, and the broadcasting part of gradients.

No op is defined here. Names are given explicitly because node names are part of the contract: a gradient
builds the nodes that TensorFlow 1.15 builds, under the same names.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.dtypes import DType
from flowmesh.graph import hooks
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.naming import name_scope as name_scope

# What gradients remember of a graph, as long as it lives (TensorFlow keeps the same two tables on the graph).
_REMEMBERED: weakref.WeakKeyDictionary[Any, dict[Any, Any]] = weakref.WeakKeyDictionary()


def remembered(graph: Any) -> dict[Any, Any]:
    """The table of results that gradients compute once per graph and reuse without adding nodes."""
    return _REMEMBERED.setdefault(graph, {})


def constant(value: Any, dtype: DType | None = None, name: str = "Const") -> Tensor:
    """A Const node with this very name."""
    tensor: Tensor = hooks.constant(value, dtype=dtype, name=name)
    return tensor


def static_shape(tensor: Any) -> tuple[int, ...] | None:
    """The sizes of a tensor whose static shape is fully known, else None."""
    key = tensor.shape.key
    return None if key is None or None in key else key


def shape_of(tensor: Any, name: str = "Shape") -> Tensor:
    """The shape as an int32 tensor: a constant where it is known, else a Shape node."""
    known = static_shape(tensor)
    if known is not None:
        return constant(np.array(known, np.int32), dtypes.int32, name)
    result: Tensor = raw.Shape(tensor, name=name)
    return result


def size_of(tensor: Any, name: str = "Size") -> Tensor:
    """The number of elements: a constant where it is known, else a Size node."""
    known = static_shape(tensor)
    if known is not None:
        return constant(np.array(np.prod(known, dtype=np.int64), np.int32), dtypes.int32, name)
    result: Tensor = raw.Size(tensor, name=name)
    return result


def rank_of(tensor: Any, name: str = "Rank") -> Tensor:
    """The number of dimensions: a constant where it is known, else a Rank node."""
    rank = tensor.shape.ndims
    if rank is not None:
        return constant(np.array(rank, np.int32), dtypes.int32, name)
    result: Tensor = raw.Rank(tensor, name=name)
    return result


def filled(shape: Any, value: Any, dtype: DType, name: str) -> Tensor:
    """A Fill node called `name` with its value as `name/Const` (TensorFlow: `zeros` and `ones` of a shape tensor)."""
    with name_scope(name) as scope:
        element = constant(np.array(value, dtype.as_numpy_dtype), dtype)
        result: Tensor = raw.Fill(shape, element, name=scope)
        return result


def zeros_like(tensor: Any) -> Tensor:
    """Zeros of the shape and dtype of `tensor`; a constant where the shape is known."""
    result: Tensor = hooks.zeros_like(tensor)
    return result


def ones_like(tensor: Any, dtype: DType | None = None) -> Tensor:
    """Ones of the shape of `tensor`, as a Fill node called `ones_like`."""
    with name_scope("ones_like") as scope:
        shape = shape_of(tensor)
        kind = dtype or tensor.dtype.base_dtype
        element = constant(np.array(1, kind.as_numpy_dtype), kind)
        result: Tensor = raw.Fill(shape, element, name=scope)
        return result


def conj(tensor: Any) -> Any:
    """The complex conjugate; a real tensor is returned as it is."""
    return raw.Conj(tensor) if tensor.dtype.is_complex else tensor


@contextmanager
def after(*gradients: Any) -> Iterator[None]:
    """Nodes made inside run only when the incoming gradients are there, so they are not computed too early."""
    with get_default_graph().control_dependencies(gradients):
        yield


def same_static_shapes(*tensors: Any) -> bool:
    """Whether all are tensors with one and the same, fully known shape."""
    if not all(isinstance(t, Tensor) for t in tensors):
        return False
    shapes = {static_shape(t) for t in tensors}
    return len(shapes) == 1 and None not in shapes


def sum_to(gradient: Any, axes: Any, shape: Any) -> Any:
    """Sums a gradient over the axes along which its input was broadcast, and gives it the input's shape."""
    return raw.Reshape(raw.Sum(gradient, axes), shape)


def broadcast_shapes_of(x: Any, y: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`(shape_x, shape_y, axes_x, axes_y)`: shapes of two inputs and the axes to sum their gradients over."""
    sx, sy = shape_of(x), shape_of(y)
    rx, ry = raw.BroadcastGradientArgs(sx, sy)
    return sx, sy, rx, ry


class Unbroadcast:
    """Brings the gradients of a broadcasting op back to its inputs' shapes.

    With fully known shapes the axes are computed here, once per graph and pair of shapes, and an input that was
    not broadcast gets its gradient as it is; otherwise the axes are computed in the graph.
    """

    def __init__(self, x: Any, y: Any, gradient: Any) -> None:
        shapes = [static_shape(t) if isinstance(t, Tensor) else None for t in (x, y, gradient)]
        if shapes[0] is None or shapes[1] is None or not isinstance(gradient, Tensor):
            self._shapes: Sequence[Any] = (raw.Shape(x), raw.Shape(y))
            self._axes: Sequence[Any] = raw.BroadcastGradientArgs(*self._shapes)
            self._needed = (True, True)
            return
        self._shapes = shapes[:2]
        known = remembered(x.graph)
        key = ("broadcast", shapes[0], shapes[1])
        if key not in known:
            raw.BroadcastGradientArgs(np.array(shapes[0], np.int32), np.array(shapes[1], np.int32))
            known[key] = broadcast_axes(shapes[0], shapes[1])
        self._axes = known[key]
        self._needed = (shapes[0] != shapes[2], shapes[1] != shapes[2])

    def __call__(self, index: int, gradient: Any) -> Any:
        """`gradient` in the shape of input `index` (0 or 1)."""
        if not self._needed[index]:
            return gradient
        axes, shape = self._axes[index], self._shapes[index]
        if isinstance(axes, tuple):
            axes, shape = np.array(axes, np.int32), np.array(shape, np.int32)
        return sum_to(gradient, axes, shape)


def broadcast_axes(x: Sequence[int], y: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes of the broadcast result along which each of two shapes was repeated (size 1 against 1 counts too)."""
    rank = max(len(x), len(y))
    long_x = (1,) * (rank - len(x)) + tuple(x)
    long_y = (1,) * (rank - len(y)) + tuple(y)
    axes: tuple[list[int], list[int]] = ([], [])
    for axis, (p, q) in enumerate(zip(long_x, long_y)):
        if p == q == 1:
            axes[0].append(axis)
            axes[1].append(axis)
        elif p == 1:
            axes[0].append(axis)
        elif q == 1:
            axes[1].append(axis)
        elif p != q:
            raise ValueError(f"Incompatible shapes: {list(x)} vs. {list(y)}")
    if tuple(x) == tuple(y):
        return (), ()
    return tuple(axes[0]), tuple(axes[1])
