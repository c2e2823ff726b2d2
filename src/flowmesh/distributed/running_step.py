"""One step under way: fanned out to the workers of its parts, gathered, and always cleaned up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from flowmesh.core import errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.deadline import Deadline
from flowmesh.core.errors import OpError
from flowmesh.distributed import failure, futures
from flowmesh.distributed.interfaces import NEVER, RunGraphCall, RunGraphResult
from flowmesh.distributed.plan import Part

_SLACK = 1.5
"""Seconds that parts get beyond the deadline to tell what they waited for."""
_GRACE = 10.0
"""Seconds that the parts of a step which was ended get to say so."""


class RunningStep:
    """The runs of all parts of one step. The first error ends the others."""

    def __init__(
        self,
        parts: Sequence[Part],
        cancellation: CancellationManager,
        links: Sequence[Any] | None = None,
        deadline: Deadline = NEVER,
    ):
        """`cancellation` is the step's own: cancelling it ends all parts. `links` are the connections on which answers come, if
        they are known already."""
        self._parts = parts
        self._links = links
        self._cancellation = cancellation
        self._deadline = deadline
        self._lock = threading.Lock()
        self._left = len(parts)
        self._pending: set[int] = set(range(len(parts)))
        self._over: threading.Event | None = None
        self._helper = 0
        self._waker: Callable[[], None] | None = None
        self._failures: dict[int, OpError] = {}
        self._results: list[RunGraphResult | None] = [None] * len(parts)

    def start(self, make_call: Callable[[Part], RunGraphCall]) -> None:
        """Starts all parts, which keep the deadline themselves; those of this process last, for they run in this thread."""
        for index, part in enumerate(self._parts):
            try:
                future = part.worker.run_graph(make_call(part), self._cancellation, self._deadline)
            except Exception as exc:
                future = futures.failed(exc)
            if future.done():
                self._finished(index, future)
            else:
                future.add_done_callback(partial(self._finished, index))

    def told(self, index: int, tensors: dict[str, Any] | None, error: OpError | None) -> None:
        """Takes the outcome of a part: the values of its fetches, or the error."""
        result = None if tensors is None else RunGraphResult(tensors, cleaned=True)
        self._take(index, result, error)

    def _finished(self, index: int, future: Future[RunGraphResult]) -> None:
        error = futures.error_of(future)
        self._take(index, future.result() if error is None else None, error)

    def _take(self, index: int, result: RunGraphResult | None, error: OpError | None) -> None:
        first = False
        with self._lock:
            self._pending.discard(index)
            self._left -= 1
            if error is None:
                self._results[index] = result
            else:
                first = not self._failures
                self._failures[index] = error
            event = self._over if self._left == 0 else None
        # All parts have the same deadline, and each tells what it waits for.
        timed_out = error is not None and self._is_due(error)
        if first and self._left and error is not None and not timed_out:
            self._cancellation.cancel(_consequence(error, self._parts[index].task))
        if event is not None:
            event.set()
        elif not self._left and self._waker is not None and self._helper != threading.get_ident():
            self._waker()

    def _is_due(self, error: OpError) -> bool:
        """Whether the error is the step's deadline; an op may have one of its own, which ends the step."""
        left = self._deadline.remaining()
        return error.error_code == errors.DEADLINE_EXCEEDED and left is not None and left < _SLACK

    def wait(self, expire: Callable[[OpError], object] | None = None) -> list[RunGraphResult]:
        """The result of each part, or the error that is the cause.

        Raises DeadlineExceededError, naming the tasks that were waited for, when the deadline comes first; then, and when
        the thread is interrupted, the parts are ended. Parts that do not know the deadline are told by `expire` that it has come, so that
        they say what they wait for.
        """
        try:
            if self._left:
                self._help()
            if not self._wait_in_time(expire):
                raise self._timed_out()
        except OpError:
            raise
        except BaseException:
            self._cancellation.cancel(errors.CancelledError(None, None, "The run was interrupted."))
            self._wait(_GRACE)
            raise
        with self._lock:
            failures = dict(self._failures)
        # One that ended the whole step from outside (a closed session, a deadline) is the cause.
        reason = self._cancellation.error
        if reason is not None and failures and not failure.is_derived(reason):
            raise reason
        if failures:
            raise self._cause(failures)
        return [r for r in self._results if r is not None]

    def _help(self) -> None:
        """Reads the answers in this thread for a while: most steps end before it is worth while to wake another one."""
        links = self._links
        if links is None:
            links = [link for part in self._parts if (link := part.worker.link) is not None]
        if links:
            self._helper = threading.get_ident()
            self._waker = waker = links[0].waker()
            links[0].help_out(links, waker, lambda: not self._left, self._deadline.remaining())

    def _wait_in_time(self, expire: Callable[[OpError], object] | None) -> bool:
        """Whether all parts are over, before the deadline or soon after: each then says what it waits for."""
        left = self._deadline.remaining()
        if left is None or expire is None:
            return self._wait(None if left is None else left + _SLACK)
        if self._wait(left):
            return True
        expire(errors.DeadlineExceededError(None, None, "Timed out waiting for notification."))
        return self._wait(_SLACK)

    def _wait(self, seconds: float | None) -> bool:
        with self._lock:
            if self._left == 0:
                return True
            if self._over is None:
                self._over = threading.Event()
            event = self._over
        return event.wait(seconds)

    def _cause(self, failures: Mapping[int, OpError]) -> OpError:
        """The error for the caller; of several parts that timed out, what each of them waited for."""
        cause = failure.root_cause(failures.values())
        late = [i for i, e in sorted(failures.items()) if e.error_code == cause.error_code]
        if len(self._parts) == 1:
            return cause
        if not self._is_due(cause):
            teller = next(i for i, e in failures.items() if e is cause)
            return _said_by(self._parts[teller].task, cause)
        told = "; ".join(f"{self._parts[i].task}: {failures[i].message}" for i in late)
        return errors.DeadlineExceededError(None, None, f"Operation timed out. {told}")

    def _timed_out(self) -> OpError:
        """Ends the parts; the error for the caller says who was waited for."""
        with self._lock:
            tasks = [self._parts[i] for i in sorted(self._pending)]
        names = ", ".join(part.task for part in tasks)
        error = errors.DeadlineExceededError(
            None, None, f"Operation timed out. Still waiting for {names}, which did not answer."
        )
        self._cancellation.cancel(error)
        self._wait(_GRACE)
        return error


def _said_by(task: str, error: OpError) -> OpError:
    """An error that somebody cannot be reached, with the task that says so, in TensorFlow's words: it may be the other one that is in trouble."""
    if error.error_code != errors.UNAVAILABLE or task in (error.message or ""):
        return error
    text = f"From {task}:\n{error.message}"
    named = errors.make(error.error_code, text, error.node_def, error.op)
    named.__cause__ = error.__cause__
    return named


def _consequence(error: OpError, task: str) -> OpError:
    """What the other parts of a step are told when one failed."""
    return failure.mark_derived(
        errors.CancelledError(
            None, None, f"The step was ended because of an error on {task}: {error.message}"
        )
    )


def values_of(
    results: Sequence[RunGraphResult], fetches: Sequence[str], fed: Mapping[str, Any]
) -> list[Any]:
    """The values of the fetches, from the results of the parts and from the feeds."""
    if len(results) == 1 and not fed:
        tensors: Mapping[str, Any] = results[0].tensors
    else:
        merged = dict(fed)
        for result in results:
            merged.update(result.tensors)
        tensors = merged
    return [tensors[name] for name in fetches]
