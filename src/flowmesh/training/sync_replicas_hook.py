"""The hooks of `SyncReplicasOptimizer`: they start a replica, and the updates on the chief, with each session."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

from flowmesh.client.session import Session
from flowmesh.core import errors
from flowmesh.core.platform import tf_logging
from flowmesh.proto.config_pb2 import RunOptions
from flowmesh.training.queue_runner import QueueRunner
from flowmesh.training.session_manager import SessionManager
from flowmesh.training.session_run_hook import SessionRunHook
from flowmesh.training.sync_replicas_quorum import Quorum, read_report, stall_text

if TYPE_CHECKING:
    from flowmesh.training.sync_replicas_optimizer import SyncReplicasOptimizer

_JOIN_MS = 60_000


class SyncReplicasHook(SessionRunHook):
    """Sets the replica's local step in each session; on the chief also starts the updates."""

    def __init__(self, optimizer: SyncReplicasOptimizer, is_chief: bool, num_tokens: int) -> None:
        self._optimizer = optimizer
        self._is_chief = is_chief
        self._num_tokens = num_tokens
        self._local_init_op: Any = None
        self._init_tokens_op: Any = None
        self._runner: QueueRunner | None = None

    def begin(self) -> None:
        """Adds the chief's nodes to the graph; ValueError before `apply_gradients`."""
        optimizer = self._optimizer
        if not optimizer._gradients_applied:
            raise ValueError(
                "SyncReplicasOptimizer.apply_gradient should be called before using the hook."
            )
        if self._is_chief:
            self._local_init_op = optimizer.chief_init_op
            self._runner = optimizer.get_chief_queue_runner()
            self._init_tokens_op = optimizer.get_init_tokens_op(self._num_tokens)
        else:
            self._local_init_op = optimizer.local_step_init_op

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Sets the steps; RuntimeError when the model's variables are not initialized."""
        manager = SessionManager(
            ready_op=self._optimizer.ready_for_local_init_op, graph=session.graph
        )
        message = manager._not_ready(self._optimizer.ready_for_local_init_op, session)
        if message is not None:
            raise RuntimeError(
                "Init operations did not make model ready for SyncReplicasOptimizer local_init. Init op: "
                f"{self._local_init_op.name}, error: {message}"
            )
        session.run(self._local_init_op)
        if self._init_tokens_op is not None:
            session.run(self._init_tokens_op)
        if self._runner is not None:
            _start_updates(self._runner, session, coord)


class QuorumHook(SyncReplicasHook):
    """Also takes part in the quorum for as long as the session lives, and leaves it at the end of the data.

    The chief tells of stalled steps, and at its end serves the others until they have ended, too.
    """

    def __init__(
        self,
        optimizer: SyncReplicasOptimizer,
        is_chief: bool,
        report_secs: float,
        limit_secs: float | None,
    ) -> None:
        super().__init__(optimizer, is_chief, 0)
        self._report_secs = report_secs
        self._limit_secs = limit_secs
        self._finished = False

    def after_create_session(self, session: Any, coord: Any) -> None:
        """As above, and joins the quorum; DeadlineExceededError when the ps does not answer."""
        self._finished = False
        super().after_create_session(session, coord)
        own = _session_like(session)
        self._thread(coord, "attend", self._attend, own, session.sess_str, coord)
        session.run(self._quorum.joined, options=RunOptions(timeout_in_ms=_JOIN_MS))
        if self._is_chief:
            self._thread(coord, "report", self._report, own, coord)
        if own is not session:
            _close_on_stop(own, coord, "quorum")

    @property
    def _quorum(self) -> Quorum:
        quorum = self._optimizer._quorum
        assert quorum is not None, "begin() has checked it"
        return quorum

    def before_end(self, session: Any) -> None:
        """Leaves the quorum; the chief stays until no other replica trains."""
        if self._finished:
            return
        self._finished = True
        with contextlib.suppress(errors.AbortedError, errors.UnavailableError):
            session.run(self._quorum.finish, {self._quorum.text: "it has finished"})
            if self._is_chief and self._optimizer._outlives_chief:
                session.run(self._quorum.drained)

    def end(self, session: Any) -> None:
        """As `before_end`, for loops that do not call that."""
        self.before_end(session)

    @staticmethod
    def _thread(coord: Any, what: str, target: Any, *args: Any) -> None:
        thread = threading.Thread(
            target=target, args=args, name=f"SyncReplicas-{what}", daemon=True
        )
        coord.register_thread(thread)
        thread.start()

    def _attend(self, own: Any, target: str, coord: Any) -> None:
        """Attends until the replica finishes, or the session ends."""
        address = target.removeprefix("grpc://")
        try:
            own.run(self._quorum.attend, {self._quorum.address: address})
        except Exception as error:
            if not coord.should_stop():
                tf_logging.info("Replica %s left the quorum: %s", self._quorum.name, error)

    def _report(self, own: Any, coord: Any) -> None:
        """Says which replicas a step waits for, and ends the wait when it takes too long."""
        pause = (
            self._report_secs
            if self._limit_secs is None
            else min(self._report_secs, self._limit_secs)
        )
        try:
            while not coord.wait_for_stop(pause):
                report = read_report(own, self._quorum)
                if report.seconds >= self._report_secs:
                    tf_logging.warning("%s", stall_text(report))
                if self._limit_secs is not None and report.seconds >= self._limit_secs:
                    own.run(self._quorum.abort, {self._quorum.text: stall_text(report)})
        except Exception as error:
            if not coord.should_stop():
                tf_logging.info("Stalled steps are not reported any more: %s", error)


def _session_like(session: Any) -> Any:
    """A session of its own for a thread whose runs may wait for long; the same one where there is no cluster."""
    if not session.sess_str:
        return session
    return Session(session.sess_str, graph=session.graph, config=session._config)


def _start_updates(runner: QueueRunner, session: Any, coord: Any) -> None:
    """Starts the threads of the updates.

    On a cluster they have a session of their own, which is closed when the coordinator stops: an update that waits for
    gradients nobody sends any more ends then, and nobody waits for it.
    """
    own = _session_like(session)
    runner.create_threads(own, coord=coord, daemon=True, start=True)
    if own is not session:
        _close_on_stop(own, coord, runner.name)


def _close_on_stop(own: Any, coord: Any, what: str) -> None:
    def close_on_stop() -> None:
        coord.wait_for_stop()
        own.close()

    closer = threading.Thread(target=close_on_stop, name=f"SyncReplicas-{what}-close", daemon=True)
    coord.register_thread(closer)
    closer.start()
