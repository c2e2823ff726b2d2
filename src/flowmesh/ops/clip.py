"""Clipping of values and norms, built from other ops as TensorFlow 1.15 builds it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flowmesh.core.dtypes import float16, float32
from flowmesh.graph.composite import IndexedSlices
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.raw import raw
from flowmesh.ops.building import constant, name_scope, ones_like, rank_of, size_of
from flowmesh.ops.cast import cast
from flowmesh.ops.reduce_functions import reduction_axes


def clip_by_value(t: Any, clip_value_min: Any, clip_value_max: Any, name: str | None = None) -> Any:
    """The elements of `t` limited to [`clip_value_min`, `clip_value_max`] (TensorFlow: `tf.clip_by_value`).

    `t`: a Tensor or IndexedSlices; the limits are scalars or broadcast to the shape of `t`. Returns the same kind. Raises
    ValueError when the limits would make the result larger than `t`.
    """
    with name_scope(name, "clip_by_value", [t, clip_value_min, clip_value_max]) as scope:
        values = convert_to_tensor(t.values if isinstance(t, IndexedSlices) else t, name="t")
        limited = raw.Minimum(values, clip_value_max)
        values.shape.merge_with(limited.shape)
        result = raw.Maximum(limited, clip_value_min, name=scope)
        values.shape.merge_with(result.shape)
        if isinstance(t, IndexedSlices):
            return IndexedSlices(result, t.indices, t.dense_shape)
        return result


def clip_by_norm(t: Any, clip_norm: Any, axes: Any = None, name: str | None = None) -> Any:
    """`t`, scaled down where its L2 norm along `axes` (default all) exceeds `clip_norm` (TensorFlow: `tf.clip_by_norm`).

    `t`: a float Tensor or IndexedSlices. Returns the same kind, shape and dtype.
    """
    with name_scope(name, "clip_by_norm", [t, clip_norm]) as scope:
        values = convert_to_tensor(t.values if isinstance(t, IndexedSlices) else t, name="t")
        squares = raw.Mul(values, values, name="mul")
        total = raw.Sum(squares, reduction_axes(squares, axes), keep_dims=True)
        positive = raw.Greater(total, 0)
        safe = raw.Select(positive, total, ones_like(total))
        norm = raw.Select(positive, raw.Sqrt(safe), total)
        scaled = raw.Mul(values, clip_norm, name="mul")
        values.shape.merge_with(scaled.shape)
        clipped = raw.Identity(
            raw.RealDiv(scaled, raw.Maximum(norm, clip_norm), name="truediv"), name=scope
        )
        if isinstance(t, IndexedSlices):
            return IndexedSlices(clipped, t.indices, t.dense_shape)
        return clipped


def global_norm(t_list: Any, name: str | None = None) -> Any:
    """The L2 norm of several tensors together, as a scalar (TensorFlow: `tf.global_norm`).

    `t_list`: Tensors, IndexedSlices or None. Raises TypeError when it is no sequence.
    """
    items = _sequence(t_list)
    with name_scope(name, "global_norm", [_values(t) for t in items if t is not None]):
        values = [
            convert_to_tensor(t.values if isinstance(t, IndexedSlices) else t, name=f"t_{i}")
            if t is not None
            else None
            for i, t in enumerate(items)
        ]
        halves = []
        for value in values:
            if value is not None:
                with get_default_graph().colocate_with(value):
                    halves.append(raw.L2Loss(value))
        stacked = raw.Pack(halves, name="stack")
        half = raw.Sum(stacked, reduction_axes(stacked, None))
        dtype = half.dtype.base_dtype
        two = constant(np.array(2.0, dtype.as_numpy_dtype), dtype)
        return raw.Sqrt(raw.Mul(half, two, name="mul"), name="global_norm")


def _sequence(t_list: Any) -> list[Any]:
    if not isinstance(t_list, Sequence) or isinstance(t_list, str):
        raise TypeError("t_list should be a sequence")
    return list(t_list)


def _values(t: Any) -> Any:
    return t.values if isinstance(t, IndexedSlices) else t


def clip_by_global_norm(
    t_list: Any, clip_norm: Any, use_norm: Any = None, name: str | None = None
) -> tuple[list[Any], Any]:
    """Several tensors scaled down together so that their common L2 norm is at most `clip_norm`.

    `t_list`: Tensors, IndexedSlices or None. `use_norm`: their norm, where it is known already. Returns the scaled list and the
    norm; when the norm is not finite, all results are NaN. Raises TypeError when `t_list` is no sequence
    (TensorFlow: `tf.clip_by_global_norm`).
    """
    items = _sequence(t_list)
    norm = global_norm(items, name) if use_norm is None else convert_to_tensor(use_norm)
    with name_scope(
        name, "clip_by_global_norm", [*[_values(t) for t in items if t is not None], clip_norm]
    ) as scope:
        dtype = norm.dtype.base_dtype
        inverse = raw.RealDiv(1.0, norm, T=dtype, name="truediv")
        limit = raw.RealDiv(
            constant(np.array(1.0, dtype.as_numpy_dtype), dtype), clip_norm, name="truediv"
        )
        scale = raw.Mul(clip_norm, raw.Minimum(inverse, limit), T=dtype, name="mul")
        finite = raw.IsFinite(norm)
        nan = constant(np.array(np.nan, dtype.as_numpy_dtype), dtype)
        scale = raw.Select(finite, scale, nan)
        values = [
            convert_to_tensor(_values(t), name=f"t_{i}") if t is not None else None
            for i, t in enumerate(items)
        ]
        clipped: list[Any] = []
        for index, value in enumerate(values):
            if value is None:
                clipped.append(None)
                continue
            with get_default_graph().colocate_with(value):
                factor = cast(scale, float32) if value.dtype.base_dtype == float16 else scale
                if value.dtype.base_dtype != factor.dtype.base_dtype:
                    factor = cast(factor, value.dtype.base_dtype)
                product = raw.Mul(value, factor, name="mul")
                clipped.append(raw.Identity(product, name=f"{scope}_{index}"))
    results = [
        IndexedSlices(c, t.indices, t.dense_shape) if isinstance(t, IndexedSlices) else c
        for c, t in zip(clipped, items)
    ]
    return results, norm


def clip_by_average_norm(t: Any, clip_norm: Any, name: str | None = None) -> Any:
    """`t` scaled down where its L2 norm divided by its size exceeds `clip_norm` (TensorFlow: `tf.clip_by_average_norm`)."""
    with name_scope(name, "clip_by_average_norm", [t, clip_norm]) as scope:
        t = convert_to_tensor(t, name="t")
        count = raw.Cast(size_of(t), DstT=float32)
        squares = raw.Mul(t, t, name="mul")
        axes = raw.Range(0, rank_of(t), 1, name="range")
        inverse = raw.Rsqrt(raw.Sum(squares, axes))
        scaled = raw.Mul(t, clip_norm, name="mul")
        average = raw.Mul(inverse, count, name="mul")
        limit = raw.RealDiv(constant(np.array(1.0, np.float32), float32), clip_norm, name="truediv")
        factor = raw.Minimum(average, limit)
        return raw.Identity(raw.Mul(scaled, factor, name="mul"), name=scope)
