"""Input functions over arrays in memory (TensorFlow: `tf.estimator.inputs`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from flowmesh.core import errors
from flowmesh.core.dtypes import as_dtype, int64
from flowmesh.frontend.contrib_summaries import summarize_tensor
from flowmesh.frontend.naming import name_scope
from flowmesh.ops.cast import cast
from flowmesh.ops.data_flow import FIFOQueue, RandomShuffleQueue
from flowmesh.ops.placeholder import placeholder
from flowmesh.training.queue_runner import FeedingQueueRunner, add_queue_runner

_TARGETS = "__target_key__"


def numpy_input_fn(
    x: Any,
    y: Any = None,
    batch_size: int = 128,
    num_epochs: int | None = 1,
    shuffle: bool | None = None,
    queue_capacity: int = 1000,
    num_threads: int = 1,
) -> Callable[[], Any]:
    """An input function of batches of NumPy arrays (TensorFlow: `tf.estimator.inputs.numpy_input_fn`).

    `x` is an array or a dict of arrays, `y` an array, a dict of arrays or None; all of the same length. The function returns
    `(features, labels)`, or features alone without `y`, as tensors [batch, ...] of the arrays' dtypes, from a queue that
    threads fill: in random order with `shuffle`, `num_epochs` times (None: for ever). Raises ValueError when `shuffle` is not
    given, for empty or unequal lengths and keys both in x and y, TypeError for what is no array.
    """
    if not isinstance(shuffle, bool):
        raise ValueError(
            f"shuffle must be provided and explicitly set as boolean (it is recommended to set it as True for training); got {shuffle}"
        )

    def input_fn() -> Any:
        columns, of_x, of_y = _columns(x, y)
        batch = _dequeued(columns, batch_size, num_epochs, shuffle, queue_capacity, num_threads)
        features = _part(batch, x, of_x)
        return features if y is None else (features, _part(batch, y, of_y))

    return input_fn


def pandas_input_fn(
    x: Any,
    y: Any = None,
    batch_size: int = 128,
    num_epochs: int | None = 1,
    shuffle: bool | None = None,
    queue_capacity: int = 1000,
    num_threads: int = 1,
    target_column: str = "target",
) -> Callable[[], Any]:
    """As `numpy_input_fn` for a pandas DataFrame and a Series or DataFrame of labels (TensorFlow:
    `tf.estimator.inputs.pandas_input_fn`). ValueError when their indices differ or a column is called `target_column`.
    """
    if y is not None:
        if target_column in x:
            raise ValueError(
                f"Cannot use name {target_column} for target column: DataFrame already has a column with that name: {list(x.columns)}"
            )
        if not np.array_equal(x.index, y.index):
            raise ValueError(
                f"Index for x and y are mismatched.\nIndex for x: {x.index}\nIndex for y: {y.index}\n"
            )
    features = {str(name): x[name].to_numpy() for name in x.columns}
    labels = None
    if y is not None:
        several = getattr(y, "columns", None)
        labels = y.to_numpy() if several is None else {str(n): y[n].to_numpy() for n in several}
    return numpy_input_fn(
        features, labels, batch_size, num_epochs, shuffle, queue_capacity, num_threads
    )


def _columns(x: Any, y: Any) -> tuple[dict[str, np.ndarray], list[str], list[str]]:
    """All arrays by name, the names of `x`'s in order, and those of `y`'s."""
    if isinstance(x, Mapping):
        if not x:
            raise ValueError("x cannot be an empty dict")
        features = {key: x[key] for key in sorted(x)}
    elif isinstance(x, np.ndarray):
        features = {"__direct_np_input__": x}
    else:
        raise TypeError(f"x must be a dict or array; got {type(x).__name__}")
    if y is None:
        targets: dict[str, Any] = {}
    elif isinstance(y, Mapping):
        if not y:
            raise ValueError("y cannot be empty dict, use None instead.")
        targets = {key: y[key] for key in sorted(y)}
    else:
        targets = {_TARGETS: y}
    if both := set(features) & set(targets):
        raise ValueError(f"{len(both)} duplicate keys are found in both x and y: {sorted(both)}")
    columns = {key: np.asarray(value) for key, value in {**features, **targets}.items()}
    lengths = {key: value.shape[0] for key, value in columns.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(
            f"Length of tensors in x and y is mismatched. All elements in x and y must have the same length.\nShapes: {lengths}"
        )
    return columns, list(features), list(targets)


def _part(batch: dict[str, Any], given: Any, names: list[str]) -> Any:
    return {n: batch[n] for n in names} if isinstance(given, Mapping) else batch[names[0]]


class _Slices:
    """Feeds consecutive rows to a queue, round and round or so many times. One thread's."""

    def __init__(
        self,
        arrays: list[np.ndarray],
        fed: list[Any],
        rows: int,
        epochs: int | None,
        seed: int | None,
    ) -> None:
        self._arrays, self._fed, self._rows, self._epochs = arrays, fed, rows, epochs
        self._length = len(arrays[0])
        begins_anywhere = seed is not None and epochs is None
        self._next = (
            int(np.random.RandomState(seed).randint(self._length)) if begins_anywhere else 0
        )
        self._left = None if epochs is None else self._length * epochs

    def __call__(self) -> dict[Any, Any]:
        """The next rows, with their numbers; OutOfRangeError at the end of the last epoch."""
        count = self._rows if self._left is None else min(self._rows, self._left)
        if count == 0:
            raise errors.OutOfRangeError(None, None, f"Already emitted {self._epochs} epochs.")
        numbers = (np.arange(count) + self._next) % self._length
        self._next = (self._next + count) % self._length
        if self._left is not None:
            self._left -= count
        return dict(zip(self._fed, [numbers, *(a[numbers] for a in self._arrays)], strict=True))


def _dequeued(
    columns: dict[str, np.ndarray],
    batch_size: int,
    num_epochs: int | None,
    shuffle: bool,
    capacity: int,
    num_threads: int,
) -> dict[str, Any]:
    """Batches of all columns, out of a queue that threads fill."""
    arrays = list(columns.values())
    types = [int64, *(as_dtype(a.dtype) for a in arrays)]
    shapes: list[Any] = [(), *(a.shape[1:] for a in arrays)]
    least = capacity // 4
    with name_scope("enqueue_input"):
        queue: Any
        if shuffle:
            queue = RandomShuffleQueue(capacity, least, dtypes=types, shapes=shapes)
        else:
            least, num_threads = 0, 1
            queue = FIFOQueue(capacity, dtypes=types, shapes=shapes)
        rows = max(1, min(64, capacity // 4 or 1))
        enqueues, feeds = [], []
        for i in range(num_threads):
            fed = [
                placeholder(t, [None, *s], name="Placeholder")
                for t, s in zip(types, shapes, strict=True)
            ]
            enqueues.append(queue.enqueue_many(fed))
            feeds.append(
                _Slices(arrays, fed, rows, num_epochs, (i + 12345) if num_threads > 1 else None)
            )
        add_queue_runner(FeedingQueueRunner(queue, enqueues, feed_fns=feeds))
        full = cast(queue.size() - least, "float32") * (1.0 / max(1, capacity - least))
        summarize_tensor(
            full, f"queue/{queue.name}fraction_over_{least}_of_{capacity - least}_full"
        )
    taken = (
        queue.dequeue_many(batch_size) if num_epochs is None else queue.dequeue_up_to(batch_size)
    )
    return dict(zip(columns, taken[1:], strict=True))
