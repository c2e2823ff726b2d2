"""Hooks: what a program adds to each step of a monitored session (TensorFlow: `tf.train.SessionRunHook`)."""

from __future__ import annotations

from typing import Any, NamedTuple


class SessionRunArgs(NamedTuple):
    """What a hook wants run in the next step: `fetches` (any structure), `feed_dict`, `options` (a RunOptions)."""

    fetches: Any
    feed_dict: Any = None
    options: Any = None


class SessionRunValues(NamedTuple):
    """What came of a step: the values of the hook's own fetches (None without any), the step's options and metadata."""

    results: Any
    options: Any
    run_metadata: Any


class SessionRunContext:
    """What a hook is told of the step that is run, and through which it asks for the end of the training."""

    def __init__(self, original_args: Any, session: Any) -> None:
        self._original_args = original_args
        self._session = session
        self._stop_requested = False

    @property
    def original_args(self) -> Any:
        """The SessionRunArgs that the program itself gave to `run`."""
        return self._original_args

    @property
    def session(self) -> Any:
        """The session that runs the step."""
        return self._session

    @property
    def stop_requested(self) -> bool:
        """Whether a hook asked for the end."""
        return self._stop_requested

    def request_stop(self) -> None:
        """Makes `should_stop` of the monitored session true from here on."""
        self._stop_requested = True


class SessionRunHook:
    """Base class of hooks; every method may be left as it is.

    The order is `begin` (the graph may still grow), `after_create_session` for each session (also those made in a recovery),
    `before_run` and `after_run` around each step, `end` when the training ended without an error.
    """

    def begin(self) -> None:
        """Called once, before the graph is finalized and a session is made."""

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Called with each new session, whose variables are ready, and the coordinator of its queue runners."""

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs | None:
        """What to run together with the step, None for nothing."""
        return None

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        """Called with the results of a step; not called when the step failed."""

    def before_end(self, session: Any) -> None:
        """Called for all hooks before the first `end`: for what must be over before others save the model.

        Flowmesh's own; TensorFlow has no such method.
        """

    def end(self, session: Any) -> None:
        """Called at the end with the session still open; not called when a step failed."""
