"""Whether the step that this thread works for has been cancelled, or has no time left: what loops ask as they go round."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from flowmesh.core import errors
from flowmesh.runtime.step import StepContext

_current = threading.local()


@contextmanager
def working_for(step: StepContext) -> Iterator[None]:
    """Work done inside is on behalf of `step`."""
    before = getattr(_current, "step", None)
    _current.step = step
    try:
        yield
    finally:
        _current.step = before


def check() -> None:
    """Raises the reason when the step was cancelled, DeadlineExceededError when its time is over."""
    step = getattr(_current, "step", None)
    if step is not None:
        check_step(step)


def check_step(step: StepContext) -> None:
    """`check` for a step that is known."""
    step.cancellation.check()
    if step.deadline.expired:
        raise errors.DeadlineExceededError(
            None, None, "Timed out waiting for notification. A loop was still going round."
        )
