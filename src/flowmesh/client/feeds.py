"""Feeds: from a `feed_dict` to checked NumPy values by tensor name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from flowmesh.client import fetches
from flowmesh.core import dtypes
from flowmesh.graph.graph import Graph
from flowmesh.graph.tensor import Tensor


def flatten_feed_dict(graph: Graph, feed_dict: Any) -> dict[Tensor, Any]:
    """One checked array per fed tensor.

    Raises TypeError for a key that is no tensor or a value that is a Tensor or of the wrong type, ValueError for a shape
    that does not fit or a tensor that may not be fed.
    """
    if not isinstance(feed_dict, Mapping):
        raise TypeError("input must be a dictionary")
    result: dict[Tensor, Any] = {}
    for key, value in feed_dict.items():
        items = _nested(key, value)
        for feed, item in items:
            for subfeed, subvalue in fetches.expand_feed(feed, item):
                tensor = feed_tensor(graph, subfeed)
                result[tensor] = feed_value(tensor, subvalue)
    return result


def _nested(key: Any, value: Any) -> list[tuple[Any, Any]]:
    """Keys may be tuples of tensors, fed with tuples of values."""
    if isinstance(key, tuple) and not hasattr(key, "dense_shape"):
        count = len(value) if isinstance(value, (list, tuple)) else 1
        if not isinstance(value, (list, tuple)) or len(key) != count:
            raise ValueError(
                f"Could not flatten dictionary. Key had {len(key)} elements, but value had {count} elements. "
                f"Key: {list(key)}, value: {value}."
            )
        return [pair for k, v in zip(key, value) for pair in _nested(k, v)]
    return [(key, value)]


def feed_tensor(graph: Graph, key: Any) -> Tensor:
    """The tensor that a feed key means."""
    try:
        tensor: Tensor = graph.as_graph_element(key, allow_operation=False)
    except (TypeError, ValueError, KeyError) as error:
        text = error.args[0] if error.args else error
        raise TypeError(f"Cannot interpret feed_dict key as Tensor: {text}") from error
    if not graph.is_feedable(tensor):
        raise ValueError(f"Tensor {tensor} may not be fed.")
    return tensor


def feed_value(tensor: Tensor, value: Any) -> Any:
    """`value` as an array of the tensor's dtype, its shape checked."""
    if isinstance(value, Tensor):
        raise TypeError(
            "The value of a feed cannot be a tf.Tensor object. Acceptable feed values include Python scalars, "
            "strings, lists, numpy ndarrays, or TensorHandles. For reference, the tensor object was "
            f"{value} which was passed to the feed with key {tensor}."
        )
    dtype = tensor.dtype.base_dtype
    if dtype in (dtypes.resource, dtypes.variant):
        return value
    wanted = dtype.as_numpy_dtype
    if dtype == dtypes.string:
        array = _string_array(value)
    else:
        if isinstance(value, int) and not isinstance(value, bool) and dtype.is_integer:
            info = np.iinfo(wanted)
            if not info.min <= value <= info.max:
                raise TypeError(
                    f"Type of feed value {value} with type {type(value)} is not compatible with Tensor type "
                    f"{wanted}. Try explicitly setting the type of the feed tensor to a larger type (e.g. int64)."
                )
        array = np.asarray(value, dtype=wanted)
    if not tensor.shape.is_compatible_with(array.shape):
        raise ValueError(
            f"Cannot feed value of shape {array.shape!r} for Tensor {tensor.name!r}, which has shape "
            f"'{tensor.shape}'"
        )
    return array


def _string_array(value: Any) -> np.ndarray:
    array = np.asarray(value)
    flat = [_bytes(item) for item in array.ravel().tolist()]
    result = np.empty(len(flat), object)
    result[:] = flat
    return result.reshape(array.shape)


def _bytes(item: Any) -> bytes:
    if isinstance(item, bytes):
        return item
    if isinstance(item, str):
        return item.encode()
    raise TypeError(f"a string feed holds {item!r}, which is neither str nor bytes")
