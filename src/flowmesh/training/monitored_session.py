"""Sessions that call hooks, stop together with their queue runners, and survive lost tasks (TensorFlow:
`tf.train.MonitoredSession`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from flowmesh.core import errors
from flowmesh.graph.graph import get_default_graph
from flowmesh.training.hooks_files import CheckpointSaverHook, SummarySaverHook
from flowmesh.training.hooks_steps import StepCounterHook
from flowmesh.training.monitored_layers import (
    CoordinatedCreator,
    RecoverableSession,
    StepContext,
)
from flowmesh.training.scaffold import Scaffold
from flowmesh.training.session_creators import (
    ChiefSessionCreator,
    SessionCreator,
    WorkerSessionCreator,
)
from flowmesh.training.session_run_hook import SessionRunHook

USE_DEFAULT = object()
"""The default of arguments for which None means: never."""

_DEFAULT_SAVE_SECS = 600
_DEFAULT_SUMMARY_STEPS = 100
_STEP_FN_ARGUMENTS = (("step_context",), ("self", "step_context"))


class _MonitoredSession:
    """A session around a training loop: makes the model ready, calls hooks around each step, ends everything together."""

    StepContext = StepContext

    def __init__(
        self,
        session_creator: SessionCreator | None,
        hooks: Sequence[SessionRunHook] | None,
        should_recover: bool,
        stop_grace_period_secs: float = 120,
    ) -> None:
        self._graph_was_finalized = get_default_graph().finalized
        self._built_graph = get_default_graph()
        self._hooks = list(hooks or [])
        for hook in self._hooks:
            hook.begin()
        self._coordinated_creator = CoordinatedCreator(
            session_creator or ChiefSessionCreator(), self._hooks, stop_grace_period_secs
        )
        self._sess: Any
        if should_recover:
            self._sess = RecoverableSession(self._coordinated_creator)
        else:
            self._sess = self._coordinated_creator.create_session()

    @property
    def graph(self) -> Any:
        """The graph of the session, None after `close`."""
        session = self._tf_sess()
        return None if session is None else session.graph

    def run(
        self, fetches: Any, feed_dict: Any = None, options: Any = None, run_metadata: Any = None
    ) -> Any:
        """As `tf.Session.run`, with the hooks around it.

        Raises RuntimeError after `close` or after a stop was requested; an error of a queue runner is raised here.
        """
        return self._open_session().run(
            fetches, feed_dict=feed_dict, options=options, run_metadata=run_metadata
        )

    def run_step_fn(self, step_fn: Callable[..., Any]) -> Any:
        """Calls `step_fn(step_context)` and returns what it returns.

        `step_context.session` runs without hooks, `step_context.run_with_hooks` with them; `step_context.request_stop()` leaves
        the training loop by StopIteration. Raises ValueError for a function with other arguments.
        """
        names = tuple(inspect.signature(step_fn).parameters)
        if inspect.ismethod(step_fn):
            names = ("self", *names)
        if names not in _STEP_FN_ARGUMENTS:
            raise ValueError(
                "`step_fn` may either have one `step_context` argument, or `self` and `step_context` arguments if it's an "
                f"instance method. Got {names} instead."
            )
        return self._open_session().run_step_fn(step_fn)

    def should_stop(self) -> bool:
        """Whether the training is over: a hook asked for it, a queue runner stopped, or the session is closed."""
        return self._sess is None or bool(self._sess.should_stop())

    def close(self) -> None:
        """Calls `end` of the hooks, stops the queue runners and closes the session; RuntimeError when it is closed."""
        self._close_internal(None)

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if exception_type in (errors.OutOfRangeError, StopIteration):
            exception_type = None
        self._close_internal(exception_type)
        return exception_type is None

    def _close_internal(self, exception_type: type[BaseException] | None) -> None:
        try:
            if exception_type is None and self._sess is not None:
                for hook in self._hooks:
                    hook.before_end(self._coordinated_creator.tf_sess)
                for hook in self._hooks:
                    hook.end(self._coordinated_creator.tf_sess)
        finally:
            try:
                self._open_session().close()
            finally:
                self._sess = None
                self._coordinated_creator.forget()
                if not self._graph_was_finalized:
                    self._built_graph._unsafe_unfinalize()

    def _open_session(self) -> Any:
        if self._sess is None:
            raise RuntimeError("Session is already closed.")
        return self._sess

    def _is_closed(self) -> bool:
        return self._coordinated_creator.tf_sess is None

    def _tf_sess(self) -> Any:
        return self._coordinated_creator.tf_sess


class MonitoredSession(_MonitoredSession):
    """A monitored session that goes on with a new session (and `after_create_session` of the hooks) after AbortedError and
    UnavailableError, which tell that a task was lost (TensorFlow: `tf.train.MonitoredSession`).

    `session_creator` makes the sessions (ChiefSessionCreator by default); queue runners get `stop_grace_period_secs` to end.
    In a `with` statement OutOfRangeError and StopIteration end the loop without an error.
    """

    def __init__(
        self,
        session_creator: SessionCreator | None = None,
        hooks: Sequence[SessionRunHook] | None = None,
        stop_grace_period_secs: float = 120,
    ) -> None:
        super().__init__(
            session_creator,
            hooks,
            should_recover=True,
            stop_grace_period_secs=stop_grace_period_secs,
        )


class SingularMonitoredSession(_MonitoredSession):
    """A monitored session in one session that is not recovered, and which others may use: `raw_session` (TensorFlow:
    `tf.train.SingularMonitoredSession`).
    """

    def __init__(
        self,
        hooks: Sequence[SessionRunHook] | None = None,
        scaffold: Scaffold | None = None,
        master: str = "",
        config: Any = None,
        checkpoint_dir: str | None = None,
        stop_grace_period_secs: float = 120,
        checkpoint_filename_with_path: str | None = None,
    ) -> None:
        creator = ChiefSessionCreator(
            scaffold=scaffold,
            master=master,
            config=config,
            checkpoint_dir=checkpoint_dir,
            checkpoint_filename_with_path=checkpoint_filename_with_path,
        )
        super().__init__(
            creator, hooks, should_recover=False, stop_grace_period_secs=stop_grace_period_secs
        )

    def raw_session(self) -> Any:
        """The session itself."""
        return self._tf_sess()


def MonitoredTrainingSession(
    master: str = "",
    is_chief: bool = True,
    checkpoint_dir: str | None = None,
    scaffold: Scaffold | None = None,
    hooks: Sequence[SessionRunHook] | None = None,
    chief_only_hooks: Sequence[SessionRunHook] | None = None,
    save_checkpoint_secs: Any = USE_DEFAULT,
    save_summaries_steps: Any = USE_DEFAULT,
    save_summaries_secs: Any = USE_DEFAULT,
    config: Any = None,
    stop_grace_period_secs: float = 120,
    log_step_count_steps: int | None = 100,
    max_wait_secs: float = 7200,
    save_checkpoint_steps: Any = USE_DEFAULT,
    summary_dir: str | None = None,
) -> MonitoredSession:
    """The MonitoredSession of a training (TensorFlow: `tf.train.MonitoredTrainingSession`).

    The chief restores or initializes the model, saves checkpoints to `checkpoint_dir` (every 600 seconds by default) and
    summaries to `summary_dir` (the same directory by default; every 100 steps) and counts steps; other workers wait for it
    up to `max_wait_secs`. None for an interval turns the thing off.
    """
    save_summaries_steps, save_summaries_secs = _interval(
        save_summaries_steps, save_summaries_secs, (_DEFAULT_SUMMARY_STEPS, None)
    )
    save_checkpoint_steps, save_checkpoint_secs = _interval(
        save_checkpoint_steps, save_checkpoint_secs, (None, _DEFAULT_SAVE_SECS)
    )
    scaffold = scaffold or Scaffold()
    if not is_chief:
        return MonitoredSession(
            WorkerSessionCreator(scaffold, master, config, max_wait_secs),
            hooks=hooks,
            stop_grace_period_secs=stop_grace_period_secs,
        )
    all_hooks = list(chief_only_hooks or [])
    all_hooks += _summary_hooks(
        scaffold,
        summary_dir or checkpoint_dir,
        log_step_count_steps,
        save_summaries_steps,
        save_summaries_secs,
    )
    if checkpoint_dir and (_positive(save_checkpoint_secs) or _positive(save_checkpoint_steps)):
        all_hooks.append(
            CheckpointSaverHook(
                checkpoint_dir,
                save_steps=save_checkpoint_steps,
                save_secs=save_checkpoint_secs,
                scaffold=scaffold,
            )
        )
    return MonitoredSession(
        ChiefSessionCreator(scaffold, master, config, checkpoint_dir),
        hooks=[*all_hooks, *(hooks or [])],
        stop_grace_period_secs=stop_grace_period_secs,
    )


def _summary_hooks(
    scaffold: Scaffold, folder: str | None, count_steps: int | None, save_steps: Any, save_secs: Any
) -> list[SessionRunHook]:
    """The hooks that write to the summaries of a directory, none without one."""
    if not folder:
        return []
    hooks: list[SessionRunHook] = []
    if _positive(count_steps):
        hooks.append(StepCounterHook(output_dir=folder, every_n_steps=count_steps))
    if _positive(save_steps) or _positive(save_secs):
        hooks.append(
            SummarySaverHook(
                scaffold=scaffold, save_steps=save_steps, save_secs=save_secs, output_dir=folder
            )
        )
    return hooks


def _interval(steps: Any, secs: Any, default: tuple[Any, Any]) -> tuple[Any, Any]:
    """(steps, seconds) between two actions: `default` when neither is given, else None for the one that is not."""
    if steps is USE_DEFAULT and secs is USE_DEFAULT:
        return default
    return (None if steps is USE_DEFAULT else steps), (None if secs is USE_DEFAULT else secs)


def _positive(value: Any) -> bool:
    return bool(value) and value > 0
