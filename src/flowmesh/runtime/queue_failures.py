"""A queue that a failed step was to fill is told why, so that whoever finds it closed and empty learns the reason."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flowmesh.core import errors
from flowmesh.core.errors import OpError
from flowmesh.resources.queues import FAILED_BEFORE, SESSION_FAILURE, Queue
from flowmesh.runtime.step import StepContext

if TYPE_CHECKING:
    from flowmesh.runtime.executor import Executable
    from flowmesh.runtime.schedule import Task

# A step that was given up, or that came to the end of its own input, is not why a queue was closed.
_ORDINARY = (errors.CANCELLED, errors.DEADLINE_EXCEEDED, errors.ABORTED, errors.UNAVAILABLE)


def tell_queues(
    executable: Executable, slots: Sequence[Any], step: StepContext, error: OpError
) -> None:
    """Notes `error` on the queues that the run was to fill."""
    fillers = () if error.error_code in _ORDINARY else executable.fillers
    if not fillers:
        return
    reason = _reason(error)
    if reason is None:
        return
    executable.session_state.shared[SESSION_FAILURE] = reason, time.monotonic()
    for task in fillers:
        with contextlib.suppress(Exception):  # the queue may be on another task, or never be made
            queue = _queue_of(executable, task, slots, step)
            if queue is not None:
                queue.note_failure(reason)


def _reason(error: OpError) -> str | None:
    """What is told of an error: its class, its first line and its node; None for the end of an input."""
    if error.error_code == errors.OUT_OF_RANGE:
        _, found, reason = error.message.partition(FAILED_BEFORE)
        return reason.partition("\n")[0] if found else None
    text = error.message.partition("\n")[0].rstrip()
    node = f" (node {error.op.name})" if error.op is not None else ""
    return f"{type(error).__name__}: {text}{node}"


def _queue_of(
    executable: Executable, task: Task, slots: Sequence[Any], step: StepContext
) -> Queue | None:
    """The queue that an enqueue takes, which need not have been looked up yet when the step failed."""
    found = slots[task.inputs[0]]
    if isinstance(found, Queue):
        return found
    source = task.op.inputs[0].op
    for number, runner in executable.hosts.items():
        made = executable.schedule.tasks[number]
        if made.op is source and not made.inputs:
            found = runner.run((), step)[0]
    return found if isinstance(found, Queue) else None
