"""Transformations for `dataset.apply`, and functions around datasets (TensorFlow: `tf.data.experimental`, `tf.contrib.data`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowmesh.frontend.data import building, structure
from flowmesh.frontend.data.building import AUTOTUNE
from flowmesh.frontend.data.dataset import Dataset, DatasetV1Adapter
from flowmesh.graph.raw import raw

Transformation = Callable[[Dataset], Dataset]
INFINITE_CARDINALITY = -1
UNKNOWN_CARDINALITY = -2


def map_and_batch(
    map_func: Callable[..., Any],
    batch_size: Any,
    num_parallel_batches: Any = None,
    drop_remainder: Any = False,
    num_parallel_calls: Any = None,
) -> Transformation:
    """`map_func` of each element, `num_parallel_calls` at a time, in batches (tf.data.experimental.map_and_batch).

    Raises ValueError when both `num_parallel_batches` and `num_parallel_calls` are given.
    """
    if num_parallel_batches is not None and num_parallel_calls is not None:
        raise ValueError(
            "The `num_parallel_batches` and `num_parallel_calls` arguments are mutually exclusive."
        )
    if num_parallel_calls is None:
        batches = 1 if num_parallel_batches is None else num_parallel_batches
        num_parallel_calls = batch_size if batches == 1 else batch_size * batches
    return lambda dataset: DatasetV1Adapter(
        building.mapped_and_batched(
            dataset, map_func, batch_size, num_parallel_calls, drop_remainder
        )
    )


map_and_batch_with_legacy_function = map_and_batch


def shuffle_and_repeat(buffer_size: Any, count: Any = None, seed: Any = None) -> Transformation:
    """Random order over `count` passes, which run into each other (tf.data.experimental.shuffle_and_repeat)."""
    return lambda dataset: DatasetV1Adapter(
        building.shuffled_and_repeated(dataset, buffer_size, count, seed)
    )


def parallel_interleave(
    map_func: Callable[..., Any],
    cycle_length: Any,
    block_length: Any = 1,
    sloppy: Any = False,
    buffer_output_elements: Any = None,
    prefetch_input_elements: Any = None,
) -> Transformation:
    """Elements in turn of datasets that are read side by side; the order is fixed, `sloppy` or not
    (tf.data.experimental.parallel_interleave)."""
    return lambda dataset: DatasetV1Adapter(
        building.parallel_interleaved(
            dataset,
            map_func,
            cycle_length,
            block_length,
            sloppy,
            buffer_output_elements,
            prefetch_input_elements,
        )
    )


def sloppy_interleave(
    map_func: Callable[..., Any], cycle_length: Any, block_length: Any = 1
) -> Transformation:
    """`parallel_interleave` with `sloppy` (tf.contrib.data.sloppy_interleave)."""
    return parallel_interleave(map_func, cycle_length, block_length, True)


def unbatch() -> Transformation:
    """The rows of each element (tf.data.experimental.unbatch)."""
    return lambda dataset: dataset.unbatch()


def ignore_errors() -> Transformation:
    """Leaves out the elements that raise an error (tf.data.experimental.ignore_errors)."""
    return lambda dataset: DatasetV1Adapter(building.same(dataset, raw.IgnoreErrorsDataset))


def take_while(predicate: Callable[..., Any]) -> Transformation:
    """The elements up to the first one for which `predicate` is false (tf.data.experimental.take_while)."""
    return lambda dataset: DatasetV1Adapter(building.taken_while(dataset, predicate))


def enumerate_dataset(start: Any = 0) -> Transformation:
    """Pairs of a number and an element (tf.data.experimental.enumerate_dataset)."""
    return lambda dataset: dataset.enumerate(start)


def batch_and_drop_remainder(batch_size: Any) -> Transformation:
    """Batches that are all full (tf.contrib.data.batch_and_drop_remainder)."""
    return lambda dataset: dataset.batch(batch_size, drop_remainder=True)


def padded_batch_and_drop_remainder(
    batch_size: Any, padded_shapes: Any, padding_values: Any = None
) -> Transformation:
    """Padded batches that are all full (tf.contrib.data.padded_batch_and_drop_remainder)."""
    return lambda dataset: dataset.padded_batch(batch_size, padded_shapes, padding_values, True)


def prefetch_to_device(device: Any, buffer_size: Any = None) -> Transformation:
    """Prefetches; values go to `device` when they are used there (tf.data.experimental.prefetch_to_device)."""
    return lambda dataset: dataset.prefetch(AUTOTUNE if buffer_size is None else buffer_size)


def Counter(start: Any = 0, step: Any = 1, dtype: Any = None) -> Dataset:
    """The numbers from `start` on, without end (tf.data.experimental.Counter)."""
    bound = 2**63 - 1 if not isinstance(step, int) or step >= 0 else -(2**63)
    dataset = Dataset.range(start, bound, step)
    if dtype is None or dtype == dataset.output_types:
        return dataset
    return dataset.map(lambda number: raw.Cast(number, DstT=dtype))


def get_single_element(dataset: Dataset) -> Any:
    """The one element of a dataset as tensors (tf.data.experimental.get_single_element).

    TypeError for no dataset; running it raises InvalidArgumentError unless there is exactly one.
    """
    if not isinstance(dataset, Dataset):
        raise TypeError("`dataset` must be a `tf.data.Dataset` object.")
    spec = dataset.element_spec
    tensors = raw.DatasetToSingleElement(dataset._variant_tensor, **building.flat(spec))
    return structure.from_tensors(spec, tensors)
