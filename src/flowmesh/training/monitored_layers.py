"""What a monitored session is made of: hooks around a session, a coordinator around that, recovery around both."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

from flowmesh.core import errors
from flowmesh.core.platform import tf_logging
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.graph import get_default_graph
from flowmesh.proto.config_pb2 import RunMetadata, RunOptions
from flowmesh.training import queue_runner
from flowmesh.training.coordinator import Coordinator
from flowmesh.training.session_creators import SessionCreator
from flowmesh.training.session_run_hook import (
    SessionRunArgs,
    SessionRunContext,
    SessionRunHook,
    SessionRunValues,
)

PREEMPTION_ERRORS = (errors.AbortedError, errors.UnavailableError)
"""What tells that a task was lost, and a new session may do better."""

_LONGEST_PAUSE = 1.0


class StepContext:
    """What a step function of `MonitoredSession.run_step_fn` works with."""

    def __init__(self, session: Any, run_with_hooks_fn: Callable[..., Any]) -> None:
        self._session = session
        self._run_with_hooks_fn = run_with_hooks_fn

    @property
    def session(self) -> Any:
        """The session without hooks."""
        return self._session

    def run_with_hooks(self, *args: Any, **kwargs: Any) -> Any:
        """As `MonitoredSession.run`."""
        return self._run_with_hooks_fn(*args, **kwargs)

    def request_stop(self) -> None:
        """Leaves the step function and the training loop: raises StopIteration."""
        raise StopIteration("step_fn has requested the iterations to stop.")


class HookedSession:
    """Calls hooks around each step of a session."""

    def __init__(self, session: Any, hooks: Sequence[SessionRunHook]) -> None:
        self._session = session
        self._hooks = hooks
        self._should_stop = False

    def should_stop(self) -> bool:
        """Whether a hook asked for the end."""
        return self._should_stop

    def close(self) -> None:
        """Closes the session."""
        self._session.close()

    def run(
        self, fetches: Any, feed_dict: Any = None, options: Any = None, run_metadata: Any = None
    ) -> Any:
        """One step. RuntimeError after a hook asked for the end, or when two feed the same tensor."""
        if self._should_stop:
            raise RuntimeError("Run called even after should_stop requested.")
        context = SessionRunContext(SessionRunArgs(fetches, feed_dict), self._session)
        wanted: list[Any] = [fetches]
        places: list[int | None] = []
        feeds: dict[Any, Any] = {}
        asked = options
        for hook in self._hooks:
            request = hook.before_run(context)
            places.append(None)
            if request is None:
                continue
            if request.fetches is not None:
                places[-1] = len(wanted)
                wanted.append(request.fetches)
            if request.feed_dict:
                _check_conflict(feeds, request.feed_dict, "two hooks")
                feeds.update(request.feed_dict)
            if request.options is not None:
                asked = _merged(asked, request.options)
        if feed_dict:
            _check_conflict(feeds, feed_dict, "a SessionRunHook and user")
            feeds.update(feed_dict)
        metadata = RunMetadata() if run_metadata is None else run_metadata
        results = self._session.run(
            wanted,
            feed_dict=feeds or None,
            options=asked,
            run_metadata=metadata if asked is not None or run_metadata is not None else None,
        )
        shown = RunOptions() if asked is None else asked
        for hook, place in zip(self._hooks, places, strict=True):
            own = None if place is None else results[place]
            hook.after_run(context, SessionRunValues(own, shown, metadata))
        self._should_stop = self._should_stop or context.stop_requested
        return results[0]

    def run_step_fn(self, step_fn: Callable[..., Any], run_with_hooks: Any = None) -> Any:
        """Calls a step function."""
        return step_fn(StepContext(self._session, run_with_hooks or self.run))


def _check_conflict(feeds: dict[Any, Any], more: dict[Any, Any], who: str) -> None:
    both = [key for key in more if key in feeds]
    if both:
        raise RuntimeError(f"Same tensor is fed by {who}. Conflict(s): {both}")


def _merged(options: Any, more: Any) -> Any:
    """Two RunOptions as one: the fuller trace, the longer time limit, the tensors to be watched of both."""
    if options is None:
        return more
    both = RunOptions()
    both.CopyFrom(options)
    both.trace_level = max(options.trace_level, more.trace_level)
    both.timeout_in_ms = max(options.timeout_in_ms, more.timeout_in_ms)
    both.inter_op_thread_pool = max(options.inter_op_thread_pool, more.inter_op_thread_pool)
    both.output_partition_graphs = options.output_partition_graphs or more.output_partition_graphs
    both.debug_options.debug_tensor_watch_opts.extend(more.debug_options.debug_tensor_watch_opts)
    return both


class CoordinatedSession:
    """A hooked session whose end is that of its queue runners: they stop together, and their errors are raised by `run`."""

    def __init__(self, session: HookedSession, coord: Coordinator, grace_secs: float) -> None:
        self._session = session
        self._coord = coord
        self._grace_secs = grace_secs

    def check_stop(self) -> bool:
        """Whether the coordinator stopped; raises what a thread reported to it."""
        self._coord.raise_requested_exception()
        return self._coord.should_stop()

    def should_stop(self) -> bool:
        """Whether the coordinator stopped or a hook asked for the end; raises what a thread reported."""
        return self.check_stop() or self._session.should_stop()

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """One step."""
        with self._errors_of_threads_first():
            return self._session.run(*args, **kwargs)

    def run_step_fn(self, step_fn: Callable[..., Any]) -> Any:
        """Calls a step function."""
        with self._errors_of_threads_first():
            return self._session.run_step_fn(step_fn, self.run)

    @contextlib.contextmanager
    def _errors_of_threads_first(self) -> Any:
        """Raises what a thread reported in place of the error of a step, which is likely to follow from it."""
        try:
            yield
        except PREEMPTION_ERRORS:
            raise
        except Exception as error:
            try:
                self._coord.raise_requested_exception()
            except PREEMPTION_ERRORS:
                raise
            except Exception as reported:
                if reported is not error:
                    raise reported from error
            raise

    def close(self) -> None:
        """Stops the threads, giving them the grace period, and closes the session; raises what a thread reported."""
        self._coord.request_stop()
        try:
            self._coord.join(stop_grace_period_secs=self._grace_secs, ignore_live_threads=True)
        finally:
            with contextlib.suppress(Exception):
                self._session.close()


class CoordinatedCreator:
    """Makes coordinated sessions: a session, its queue runners, and `after_create_session` of the hooks."""

    def __init__(
        self, creator: SessionCreator, hooks: Sequence[SessionRunHook], grace_secs: float
    ) -> None:
        self._creator = creator
        self._hooks = hooks
        self._grace_secs = grace_secs
        self.tf_sess: Any = None
        self.coord: Coordinator | None = None

    def create_session(self) -> CoordinatedSession:
        """A new session; nothing of it is left when that fails."""
        self.tf_sess = self._creator.create_session()
        self.coord = Coordinator(clean_stop_exception_types=[])
        made = CoordinatedSession(
            HookedSession(self.tf_sess, self._hooks), self.coord, self._grace_secs
        )
        try:
            if get_default_graph().get_collection(GraphKeys.QUEUE_RUNNERS):
                queue_runner.start_queue_runners(sess=self.tf_sess, coord=self.coord)
            for hook in self._hooks:
                hook.after_create_session(self.tf_sess, self.coord)
        except BaseException:
            with contextlib.suppress(Exception):
                made.close()
            raise
        return made

    def forget(self) -> None:
        """Lets go of the session."""
        self.tf_sess = None
        self.coord = None


class RecoverableSession:
    """Goes on with a new session when one was lost with its task."""

    def __init__(self, creator: CoordinatedCreator) -> None:
        self._creator = creator
        self._pause = threading.Event()
        self._session: CoordinatedSession | None = self._create()

    def _create(self) -> CoordinatedSession:
        """A new session, however often it takes, waiting a little longer from one attempt to the next."""
        wait = 0.0
        while True:
            try:
                return self._creator.create_session()
            except PREEMPTION_ERRORS as error:
                tf_logging.info(
                    "A task was lost while a session was being created, which is tried again. If this goes on, look whether "
                    "all tasks of the cluster are running. Error: %s",
                    error,
                )
                self._pause.wait(wait)
                wait = min(2 * wait + 0.05, _LONGEST_PAUSE)

    def _lost(self, error: BaseException, where: str) -> None:
        tf_logging.info(
            "A task was lost while %s. The session is closed, and a new one is made. Error: %s",
            where,
            error,
        )
        session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(Exception):
                session.close()

    def should_stop(self) -> bool:
        """Whether the training is over; a lost session does not end it, another error of a thread does."""
        if self._session is None:
            return False
        try:
            return self._session.should_stop()
        except PREEMPTION_ERRORS as error:
            self._lost(error, "the end of the training was considered")
            return False
        except Exception as error:
            tf_logging.info("The training ends because of an error in a thread: %s", error)
            return True

    def close(self) -> None:
        """Closes the session; the loss of a task does no harm any more."""
        session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(*PREEMPTION_ERRORS):
                session.close()

    def run(
        self, fetches: Any, feed_dict: Any = None, options: Any = None, run_metadata: Any = None
    ) -> Any:
        """One step, in a new session when the present one turns out to be lost."""
        return self._retried(
            lambda session: session.run(
                fetches, feed_dict=feed_dict, options=options, run_metadata=run_metadata
            )
        )

    def run_step_fn(self, step_fn: Callable[..., Any]) -> Any:
        """Calls a step function, again when its session turns out to be lost."""
        return self._retried(lambda session: session.run_step_fn(step_fn))

    def _retried(self, step: Callable[[CoordinatedSession], Any]) -> Any:
        while True:
            if self._session is None:
                self._session = self._create()
            try:
                return step(self._session)
            except PREEMPTION_ERRORS as error:
                self._lost(error, "a step was running")
