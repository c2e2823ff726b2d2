"""A step that waits for a queue whose runner was never started: the program is told, rather than left to hang silently."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import Any

from flowmesh.core.platform import tf_logging
from flowmesh.graph.collections import GraphKeys
from flowmesh.runtime import timer

WAITS_SECS = 10.0
"""How long a step may wait before the program is told."""


def _idle(session: Any) -> list[Any]:
    """The queue runners of the session's graph that have not been started in it."""
    runners = session.graph.get_collection(GraphKeys.QUEUE_RUNNERS)
    return [r for r in runners if not getattr(r, "was_started", lambda _: True)(session)]


def _queues_behind(ops: Iterable[Any]) -> set[str]:
    """The names of the queues that operations take from, directly or not."""
    found, seen, pending = set(), set(), list(ops)
    while pending:
        op = pending.pop()
        if op in seen:
            continue
        seen.add(op)
        if op.type.startswith("QueueDequeue"):
            found.add(op.inputs[0].op.name)
        pending += [t.op for t in op.inputs]
        pending += op.control_inputs
    return found


def waited_for(session: Any, ops: Iterable[Any]) -> list[str]:
    """The names of the queues that `ops` take from and whose runners have not been started."""
    idle = {runner.name for runner in _idle(session)}
    return sorted(idle & _queues_behind(ops)) if idle else []


@contextlib.contextmanager
def watched(session: Any, ops: Iterable[Any]) -> Iterator[None]:
    """Logs a warning when what is run inside still waits after `WAITS_SECS` and needs a queue with an idle runner."""
    names = waited_for(session, ops)
    if not names:
        yield
        return
    number = timer.schedule(time.monotonic() + WAITS_SECS, lambda: _tell(session, names))
    try:
        yield
    finally:
        timer.cancel(number)


def _tell(session: Any, names: list[str]) -> None:
    still = [name for name in names if name in {runner.name for runner in _idle(session)}]
    if still:
        tf_logging.warning(
            "A step waits for %s, which nobody fills: the queue runner was not started in this session. Call "
            "tf.train.start_queue_runners(sess, coord) before the step.",
            ", ".join(f"the queue '{name}'" for name in still),
        )
