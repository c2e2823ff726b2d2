"""What a session remembers of a `run`, so that the next one like it is quick: how to convert the feeds, the prepared step, the structure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from flowmesh.client.feeds import feed_value
from flowmesh.graph.operation import Operation
from flowmesh.graph.tensor import Tensor

_ELEMENTS = (Tensor, Operation, str)


def step_key(fetches: Any, feed_dict: Any) -> Any:
    """A key for `run(fetches, feed_dict)` with these feed keys. It may be unhashable, and is then of no use."""
    kind = type(fetches)
    parts = (kind, *fetches) if kind is list or kind is tuple else (None, fetches)
    return (parts, *feed_dict) if feed_dict else parts


def is_simple(fetches: Any) -> bool:
    """Whether `step_key` tells the structure from all others: one element, or a list or tuple of elements."""
    if type(fetches) in (list, tuple):
        return all(isinstance(f, _ELEMENTS) for f in fetches)
    return isinstance(fetches, _ELEMENTS)


class FeedConverter:
    """Checks and converts the values that are fed to one tensor: what `feed_value` does, quickly for the usual ones."""

    __slots__ = ("_dims", "_dtype", "_floating", "_shape", "_tensor")

    def __init__(self, tensor: Tensor) -> None:
        base = tensor.dtype.base_dtype
        self._tensor = tensor
        self._shape = tensor.shape
        self._dims = self._shape.key
        self._floating = base.is_floating
        numeric = base.is_floating or base.is_integer or base.is_bool or base.is_complex
        self._dtype = np.dtype(base.as_numpy_dtype) if numeric and not base.is_quantized else None

    def __call__(self, value: Any) -> Any:
        """As `feed_value`."""
        if type(value) is np.ndarray:
            array = value
        elif type(value) is float and self._floating:
            array = np.array(value, self._dtype)
        else:
            return feed_value(self._tensor, value)
        if array.dtype != self._dtype or self._tensor.shape is not self._shape:
            return feed_value(self._tensor, value)
        dims, shape = self._dims, array.shape
        if dims is not None and dims != shape:
            if len(dims) != len(shape):
                return feed_value(self._tensor, value)
            for wanted, size in zip(dims, shape):
                if wanted is not None and wanted != size:
                    return feed_value(self._tensor, value)
        return array


class WarmStep:
    """One kind of `run`, for one state of the graph."""

    __slots__ = ("_feeds", "_run", "rebuild", "version")

    def __init__(
        self, step: Any, feeds: Iterable[Tensor], rebuild: Callable[[list[Any]], Any]
    ) -> None:
        """`step` is an `InlineStep` with these feeds; `rebuild` puts the results into the caller's structure."""
        self.version = step.version
        self.rebuild = rebuild
        self._run = step.run
        self._feeds = tuple(FeedConverter(t) for t in feeds)

    def run(self, values: Iterable[Any], limit: int = 0) -> list[Any] | None:
        """The fetched values, or None, with nothing done, when the step must go the usual way.

        `limit` is a time limit in milliseconds, instead of the session's. Raises TypeError or ValueError for a feed that does not fit, or the OpError of the step.
        """
        return self._run([convert(value) for convert, value in zip(self._feeds, values)], limit)  # type: ignore[no-any-return]


def warm_step(
    master: Any,
    handle: Any,
    feeds: Sequence[Tensor],
    fetches: Sequence[Tensor],
    targets: Sequence[Operation],
    rebuild: Callable[[list[Any]], Any],
) -> WarmStep | None:
    """A warm step for what was just run, if there can be one."""
    if not all(isinstance(t, Tensor) for t in feeds) or not set(feeds).isdisjoint(fetches):
        return None
    step = master.inline_step(
        handle, [t.name for t in feeds], [t.name for t in fetches], [op.name for op in targets]
    )
    return None if step is None else WarmStep(step, feeds, rebuild)


def repeated(session: Any, operation: Operation, once: Callable[[], Any]) -> Callable[[], int]:
    """See `BaseSession._make_repeated`; `once` runs the operation once.

    Whether several runs can be done in one go may become known only after some: it is asked after 2, 4, 8 ... runs.
    """
    runs, asked_at = 0, 2
    step: Any = None

    def run() -> int:
        nonlocal runs, asked_at, step
        if step is not None:
            if step.version == session.graph.version and not session._closed:
                done = step.run()
                if done:
                    return int(done)
            else:
                step, runs, asked_at = None, 0, 2
        once()
        runs += 1
        if step is None and runs == asked_at:
            asked_at *= 2
            step = session._repeated_step(operation)
        return 1

    return run
