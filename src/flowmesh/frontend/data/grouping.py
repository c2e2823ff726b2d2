"""Grouping elements by a key, or by their length (TensorFlow: `tf.data.experimental.group_by_window`, `bucket_by_sequence_length`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.shapes import as_shape
from flowmesh.frontend.data import building, nest
from flowmesh.frontend.data.building import Recipe
from flowmesh.frontend.data.dataset import Dataset, DatasetV1Adapter
from flowmesh.frontend.data.functions import StructuredFunction
from flowmesh.frontend.data.structure import DatasetSpec, TensorSpec
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.raw import raw
from flowmesh.ops.assertions import assert_less
from flowmesh.ops.constant import constant

_WHAT = "tf.data.experimental.group_by_window()"
_LENGTHS = np.iinfo(np.int32)


def group_by_window(
    key_func: Callable[..., Any],
    reduce_func: Callable[..., Any],
    window_size: Any = None,
    window_size_func: Callable[..., Any] | None = None,
) -> Callable[[Dataset], Dataset]:
    """The elements of `reduce_func(key, window)` for windows of `window_size` elements with one `key_func` (an int64 scalar).

    Raises ValueError unless exactly one of `window_size` and `window_size_func` (of the key) is given.
    """
    if (window_size is None) == (window_size_func is None):
        raise ValueError(
            "Must pass either window_size or window_size_func."
            if window_size is None
            else "Only one of window_size and window_size_func may be given."
        )
    size = window_size_func or (lambda _: window_size)
    return lambda dataset: DatasetV1Adapter(_grouped(dataset, key_func, reduce_func, size))


def _grouped(
    source: Dataset,
    key_func: Callable[..., Any],
    reduce_func: Callable[..., Any],
    size_func: Callable[..., Any],
) -> Recipe:
    number = TensorSpec([], dtypes.int64)

    def sized(key: Any) -> Any:
        return convert_to_tensor(size_func(key), dtypes.int64)

    key = StructuredFunction(key_func, _WHAT, source.element_spec)
    if not number.is_compatible_with(key.output_spec):
        raise ValueError(f"`key_func` must return a single tf.int64 tensor. Got {key.output_spec}")
    reduced = StructuredFunction(reduce_func, _WHAT, (number, DatasetSpec(source.element_spec)))
    if not isinstance(reduced.output_spec, DatasetSpec):
        raise TypeError(f"`reduce_func` must return a `Dataset` object. Got {reduced.output_spec}")
    size = StructuredFunction(sized, _WHAT, number)
    spec = reduced.output_spec.element_spec
    variant = raw.GroupByWindowDataset(
        source._variant_tensor,
        key.captured,
        reduced.captured,
        size.captured,
        key_func=key.function,
        reduce_func=reduced.function,
        window_size_func=size.function,
        **building.flat(spec),
    )
    return Recipe(variant, spec, (source,), (key, reduced, size))


def bucket_by_sequence_length(
    element_length_func: Callable[..., Any],
    bucket_boundaries: Sequence[int],
    bucket_batch_sizes: Sequence[int],
    padded_shapes: Any = None,
    padding_values: Any = None,
    pad_to_bucket_boundary: bool = False,
    no_padding: bool = False,
    drop_remainder: bool = False,
) -> Callable[[Dataset], Dataset]:
    """Batches of elements of similar `element_length_func` (int32): each bucket up to a boundary has a batch size of its own.

    Batches are padded to their longest element, or with `pad_to_bucket_boundary` to the bucket's boundary less one. ValueError unless
    there is one more batch size than boundaries.
    """
    if len(bucket_batch_sizes) != len(bucket_boundaries) + 1:
        raise ValueError("len(bucket_batch_sizes) must equal len(bucket_boundaries) + 1")
    with get_default_graph().name_scope("bucket_by_seq_length"):
        sizes = constant(list(bucket_batch_sizes), dtypes.int64)
    low = constant_list([_LENGTHS.min, *bucket_boundaries])
    high = constant_list([*bucket_boundaries, _LENGTHS.max])

    def bucket(*element: Any) -> Any:
        length = convert_to_tensor(element_length_func(*element), dtypes.int32)
        inside = raw.LogicalAnd(raw.LessEqual(low, length), raw.Less(length, high))
        return raw.Min(raw.Where(inside), [0, 1])

    def size_of(number: Any) -> Any:
        return raw.GatherV2(sizes, number, 0)

    def batches(number: Any, window: Dataset) -> Dataset:
        size = size_of(number)
        if no_padding:
            return window.batch(size, drop_remainder)
        filler = _boundary(number, bucket_boundaries) if pad_to_bucket_boundary else None
        shapes = _shapes(padded_shapes or window.output_shapes, filler)
        return window.padded_batch(size, shapes, padding_values, drop_remainder)

    return group_by_window(bucket, batches, window_size_func=size_of)


def constant_list(values: Sequence[int]) -> np.ndarray:
    """Numbers as int32."""
    return np.array(values, np.int32)


def _boundary(number: Any, boundaries: Sequence[int]) -> Any:
    check = assert_less(
        number,
        np.int64(len(boundaries)),
        message="When pad_to_bucket_boundary=True, elements must have length < max(bucket_boundaries).",
    )
    with get_default_graph().control_dependencies([check]):
        return raw.Sub(raw.GatherV2(np.array(boundaries, np.int64), number, 0), np.int64(1))


def _shapes(shapes: Any, filler: Any) -> Any:
    def known(shape: Any) -> Any:
        dims = as_shape(shape).as_list()
        return [filler if d is None else np.int64(d) for d in dims] if filler is not None else dims

    return nest.map_structure(known, shapes)
