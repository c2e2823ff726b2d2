"""What hooks share: when to act, the reading of the global step, and writers of summaries."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from flowmesh.frontend.naming import name_scope
from flowmesh.frontend.variables import Variable
from flowmesh.graph.graph import get_default_graph
from flowmesh.training import supervisor
from flowmesh.training.global_step import get_global_step, get_or_create_global_step

_READ_CACHE = "global_step_read_op_cache"
_cached_writer: Callable[[str], Any] | None = None


def set_cached_writer_factory(factory: Callable[[str], Any]) -> None:
    """Installs what finds or makes the one summary writer of a log directory (`tf.summary.FileWriterCache.get`)."""
    global _cached_writer
    _cached_writer = factory


def writer_of(folder: str) -> Any:
    """The summary writer of a directory, one for all hooks; RuntimeError when none is installed."""
    if _cached_writer is not None:
        return _cached_writer(folder)
    return supervisor._new_writer(folder)


def read_of_global_step(user: str) -> Any:
    """The tensor `global_step/add`, by which hooks read the global step also before it is initialized.

    Raises RuntimeError for a graph without a global step, naming the hook that needs it.
    """
    graph = get_default_graph()
    if get_global_step(graph) is None:
        raise RuntimeError(f"Global step should be created to use {user}.")
    cached = graph.get_collection(_READ_CACHE)
    if cached:
        return cached[0]
    step = get_or_create_global_step(graph)
    with graph.as_default(), name_scope(None), name_scope(step.op.name + "/"):
        value = step.initialized_value() if isinstance(step, Variable) else step
        read = value + 0
    graph.add_to_collection(_READ_CACHE, read)
    return read


class HookTimer:
    """Base of the timers that tell a hook in which steps to act."""

    def __init__(self) -> None:
        self._last_triggered_step: int | None = None

    def reset(self) -> None:
        """Forgets when it triggered."""
        self._last_triggered_step = None

    def should_trigger_for_step(self, step: int) -> bool:
        """Whether it is time to act in `step`."""
        raise NotImplementedError

    def update_last_triggered_step(self, step: int) -> tuple[float | None, int | None]:
        """Notes that the hook acted in `step`; returns (seconds, steps) since the last time, Nones at the first."""
        raise NotImplementedError

    def last_triggered_step(self) -> int | None:
        """The step in which the hook acted last, or None."""
        return self._last_triggered_step


class SecondOrStepTimer(HookTimer):
    """Triggers every `every_secs` seconds or every `every_steps` steps, and in the first step it is asked about
    (TensorFlow: `tf.train.SecondOrStepTimer`). ValueError unless exactly one of them is given.
    """

    def __init__(self, every_secs: float | None = None, every_steps: int | None = None) -> None:
        super().__init__()
        self._every_secs = every_secs
        self._every_steps = every_steps
        self._last_triggered_time: float | None = None
        if every_secs is None and every_steps is None:
            raise ValueError("Either every_secs or every_steps should be provided.")
        if every_secs is not None and every_steps is not None:
            raise ValueError("Can not provide both every_secs and every_steps.")

    def reset(self) -> None:
        """Forgets when it triggered."""
        super().reset()
        self._last_triggered_time = None

    def should_trigger_for_step(self, step: int) -> bool:
        """Whether it is time to act in `step`; never twice in one step."""
        if self._last_triggered_step is None or self._last_triggered_time is None:
            return True
        if step == self._last_triggered_step:
            return False
        if self._every_secs is not None:
            return time.time() >= self._last_triggered_time + self._every_secs
        return step >= self._last_triggered_step + (self._every_steps or 0)

    def update_last_triggered_step(self, step: int) -> tuple[float | None, int | None]:
        """Notes that the hook acted in `step`; returns (seconds, steps) since the last time, Nones at the first."""
        now = time.time()
        elapsed: tuple[float | None, int | None] = (None, None)
        if self._last_triggered_time is not None and self._last_triggered_step is not None:
            elapsed = now - self._last_triggered_time, step - self._last_triggered_step
        self._last_triggered_time = now
        self._last_triggered_step = step
        return elapsed


class NeverTriggerTimer(HookTimer):
    """Never triggers."""

    def should_trigger_for_step(self, step: int) -> bool:
        """False."""
        return False

    def update_last_triggered_step(self, step: int) -> tuple[float | None, int | None]:
        """(None, None)."""
        return None, None
