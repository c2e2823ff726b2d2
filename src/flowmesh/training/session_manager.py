"""Sessions whose variables are ready: initialized, restored, or waited for (TensorFlow: `tf.train.SessionManager`)."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

import numpy as np

from flowmesh.client.session import Session
from flowmesh.core import errors
from flowmesh.core.platform import tf_logging
from flowmesh.graph.graph import get_default_graph
from flowmesh.training import recovery
from flowmesh.training.checkpoint_management import get_checkpoint_state

_MAX_POLL_SECS = 0.2
_LOG_EVERY_SECS = 30.0


def _named(op: Any) -> Any:
    """The name of an op (or of several), for messages."""
    if isinstance(op, (list, tuple)):
        return [_named(item) for item in op]
    return getattr(op, "name", op)


class SessionManager:
    """Makes sessions for the chief (`prepare_session`) and for other workers (`wait_for_session`).

    `ready_op` tells which variables are not initialized (an empty tensor when the model is ready), `ready_for_local_init_op`
    the same for `local_init_op`, which is run in each new session.
    """

    def __init__(
        self,
        local_init_op: Any = None,
        ready_op: Any = None,
        ready_for_local_init_op: Any = None,
        graph: Any = None,
        recovery_wait_secs: float = 30,
        local_init_run_options: Any = None,
        local_init_feed_dict: Any = None,
    ) -> None:
        if ready_for_local_init_op is not None and local_init_op is None:
            raise ValueError(
                "If you pass a ready_for_local_init_op you must also pass a local_init_op , ready_for_local_init_op "
                f"[{ready_for_local_init_op}]"
            )
        self._local_init_op = local_init_op
        self._ready_op = ready_op
        self._ready_for_local_init_op = ready_for_local_init_op
        self._graph = graph if graph is not None else get_default_graph()
        self._recovery_wait_secs = recovery_wait_secs
        self._poll_secs = min(max(recovery_wait_secs, 0.0), _MAX_POLL_SECS)
        self._local_init_run_options = local_init_run_options
        self._local_init_feed_dict = local_init_feed_dict
        self._pause = threading.Event()

    # -- the chief -----------------------------------------------------------------------------------------

    def prepare_session(
        self,
        master: str,
        init_op: Any = None,
        saver: Any = None,
        checkpoint_dir: str | None = None,
        checkpoint_filename_with_path: str | None = None,
        wait_for_checkpoint: bool = False,
        max_wait_secs: float = 7200,
        config: Any = None,
        init_feed_dict: Any = None,
        init_fn: Any = None,
    ) -> Any:
        """A session in which the model is ready: restored from the newest checkpoint, else initialized.

        Variables that other sessions of the cluster left with a value keep it, when `ready_op` names those that have none:
        after a parameter server was restarted only what it held is restored or initialized. Raises RuntimeError when it is not ready after that, naming the variables.
        """
        sess, loaded = self._restored(
            master,
            saver,
            checkpoint_dir,
            checkpoint_filename_with_path,
            wait_for_checkpoint,
            max_wait_secs,
            config,
        )
        try:
            if not loaded:
                if init_op is None and not init_fn and self._local_init_op is None:
                    raise RuntimeError(
                        "Model is not initialized and no init_op or init_fn or local_init_op was given"
                    )
                recovery.initialize_lost(sess, init_op, init_fn, init_feed_dict, self._ready_op)
            what, message = "ready for local_init", self._run_local_init(sess)
            if message is None:
                what, message = "ready", self._not_ready(self._ready_op, sess)
            if message is not None:
                raise RuntimeError(
                    f"Init operations did not make model {what}.  Init op: {_named(init_op)}, init fn: {init_fn}, "
                    f"local_init_op: {_named(self._local_init_op)}, error: {message}"
                )
        except BaseException:
            _close(sess)
            raise
        return sess

    def recover_session(
        self,
        master: str,
        saver: Any = None,
        checkpoint_dir: str | None = None,
        checkpoint_filename_with_path: str | None = None,
        wait_for_checkpoint: bool = False,
        max_wait_secs: float = 7200,
        config: Any = None,
    ) -> tuple[Any, bool]:
        """A session restored from the newest checkpoint, and whether that made the model ready."""
        sess, loaded = self._restored(
            master,
            saver,
            checkpoint_dir,
            checkpoint_filename_with_path,
            wait_for_checkpoint,
            max_wait_secs,
            config,
        )
        not_ready = self._run_local_init(sess)
        if not loaded:
            return sess, False
        where = checkpoint_dir or checkpoint_filename_with_path
        if not_ready is not None:
            tf_logging.info(
                "Restoring model from %s did not make model ready for local init: %s",
                where,
                not_ready,
            )
            return sess, False
        not_ready = self._not_ready(self._ready_op, sess)
        if not_ready is not None:
            tf_logging.info(
                "Restoring model from %s did not make model ready: %s", where, not_ready
            )
            return sess, False
        tf_logging.info("Restored model from %s", where)
        return sess, True

    def _restored(
        self,
        master: str,
        saver: Any,
        checkpoint_dir: str | None,
        filename: str | None,
        wait_for_checkpoint: bool,
        max_wait_secs: float,
        config: Any,
    ) -> tuple[Any, bool]:
        """A new session, and whether a checkpoint was restored in it."""
        if checkpoint_dir and filename:
            raise ValueError(
                "Can not provide both checkpoint_dir and checkpoint_filename_with_path."
            )
        sess = Session(master, graph=self._graph, config=config)
        try:
            if saver is None or not (checkpoint_dir or filename):
                return sess, False
            if filename:
                recovery.restore_lost(sess, saver, filename, self._ready_op)
                return sess, True
            state = get_checkpoint_state(checkpoint_dir)
            deadline = time.monotonic() + max_wait_secs
            while state is None or not state.model_checkpoint_path:
                left = deadline - time.monotonic()
                if not wait_for_checkpoint or left <= 0:
                    return sess, False
                self._pause.wait(min(self._poll_secs or _MAX_POLL_SECS, left))
                state = get_checkpoint_state(checkpoint_dir)
            recovery.restore_lost(sess, saver, state.model_checkpoint_path, self._ready_op)
            saver.recover_last_checkpoints(state.all_model_checkpoint_paths)
            return sess, True
        except BaseException:
            _close(sess)
            raise

    # -- the other workers ---------------------------------------------------------------------------------

    def wait_for_session(
        self, master: str, config: Any = None, max_wait_secs: float | None = float("inf")
    ) -> Any:
        """A session in which the chief has made the model ready; asks for it several times a second.

        Raises DeadlineExceededError after `max_wait_secs`, naming the variables that are not initialized.
        """
        limit = float("inf") if max_wait_secs is None else max_wait_secs
        start = time.monotonic()
        next_log = start
        sess = Session(master, graph=self._graph, config=config)
        try:
            while True:
                message = self._run_local_init(sess)
                if message is None:
                    message = self._not_ready(self._ready_op, sess)
                if message is None:
                    return sess
                now = time.monotonic()
                if now - start + self._poll_secs > limit:
                    raise errors.DeadlineExceededError(
                        None,
                        None,
                        f"Session was not ready after waiting {max_wait_secs:.0f} secs. {message}. Is the chief running, "
                        "and does its init_op initialize these variables?",
                    )
                if now >= next_log:
                    tf_logging.info("Waiting for model to be ready. %s", message)
                    next_log = now + _LOG_EVERY_SECS
                self._pause.wait(self._poll_secs)
        except BaseException:
            _close(sess)
            raise

    # -- readiness -----------------------------------------------------------------------------------------

    def _run_local_init(self, sess: Any) -> str | None:
        """Runs the local init op once the model is ready for it; returns why it is not."""
        if self._local_init_op is None:
            return None
        message = self._not_ready(self._ready_for_local_init_op, sess)
        if message is None:
            tf_logging.info("Running local_init_op.")
            sess.run(
                self._local_init_op,
                feed_dict=self._local_init_feed_dict,
                options=self._local_init_run_options,
            )
            tf_logging.info("Done running local_init_op.")
        return message

    def _not_ready(self, op: Any, sess: Any) -> str | None:
        """Why the model is not ready according to `op`, None when it is."""
        if op is None:
            return None
        try:
            value = sess.run(op)
        except errors.FailedPreconditionError as error:
            if "uninitialized" not in str(error):
                tf_logging.warning("%s : error [%s]", _named(op), error)
                raise
            return str(error.message)
        if value is None or np.asarray(value).dtype == np.int32 or np.size(value) == 0:
            return None
        names = [n.decode() if isinstance(n, bytes) else str(n) for n in np.ravel(value)]
        return "Variables not initialized: " + ", ".join(names)


def _close(sess: Any) -> None:
    with contextlib.suppress(Exception):
        sess.close()
