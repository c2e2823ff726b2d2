"""The hooks of `SyncReplicasOptimizer`: they start a replica, and the updates on the chief, with each session."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
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
_AGAIN_SECS = 0.2


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
        self._initialize(session)
        if self._runner is not None:
            _start_updates(self._runner, session, coord)
            _start_thread(coord, "report", lambda: self._watch(session, coord))

    def _watch(self, session: Any, coord: Any) -> None:
        """Says that a step does not end: after a while, and then whenever it has taken twice as long as when it was said."""
        optimizer = self._optimizer
        pause = optimizer._stall_secs[0]
        last, since, told = None, time.monotonic(), pause
        with contextlib.suppress(Exception):  # the end of the session
            while not coord.wait_for_stop(pause):
                step, now = int(session.run(optimizer._global_step)), time.monotonic()
                if step != last:
                    last, since, told = step, now, pause
                elif now - since >= told:
                    told = 2 * (now - since)
                    tf_logging.warning(
                        "Synchronous step %d has not ended for %.1f s: fewer than %d gradients have come. For which replicas it waits is "
                        "known with SyncReplicasOptimizer(on_replica_loss='wait'), and 'continue' goes on without lost ones.",
                        step,
                        now - since,
                        optimizer._replicas_to_aggregate,
                    )

    def _initialize(self, session: Any) -> None:
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
        """As above, and joins the quorum before; DeadlineExceededError when the ps does not answer."""
        self._finished = False
        self._initialize(session)
        _Attendance(session, self._quorum, coord).start()
        session.run(self._quorum.joined, options=RunOptions(timeout_in_ms=_JOIN_MS))
        if self._runner is not None:
            _start_updates(self._runner, session, coord)
        if self._is_chief:
            _start_thread(coord, "report", lambda: self._report(session, coord))

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

    def _report(self, session: Any, coord: Any) -> None:
        """Says which replicas a step waits for, and ends the wait when it takes too long."""
        pause = (
            self._report_secs
            if self._limit_secs is None
            else min(self._report_secs, self._limit_secs)
        )
        try:
            while not coord.wait_for_stop(pause):
                report = read_report(session, self._quorum)
                if report.seconds >= self._report_secs:
                    tf_logging.warning("%s", stall_text(report))
                if self._limit_secs is not None and report.seconds >= self._limit_secs:
                    session.run(self._quorum.abort, {self._quorum.text: stall_text(report)})
        except Exception as error:
            if not coord.should_stop():
                tf_logging.info("Stalled steps are not reported any more: %s", error)


class _Attendance:
    """Has the replica attend until it finishes or the coordinator stops; again, when the ps gave it up for lost meanwhile.

    On a cluster the step that attends has a session of its own, which is closed when the coordinator stops.
    """

    def __init__(self, session: Any, quorum: Quorum, coord: Any) -> None:
        self._session = session
        self._quorum = quorum
        self._coord = coord
        self._lock = threading.Lock()
        self._own: Any = None

    def start(self) -> None:
        """Starts the threads."""
        _start_thread(self._coord, "attend", self._attend)
        _start_thread(self._coord, "attend-close", self._close_on_stop)

    def _attend(self) -> None:
        address = self._session.sess_str.removeprefix("grpc://")
        while True:
            try:
                own = _session_like(self._session)
                with self._lock:
                    self._own = own
                if not self._coord.should_stop():
                    own.run(self._quorum.attend, {self._quorum.address: address})
                return
            except Exception as error:
                if self._coord.wait_for_stop(_AGAIN_SECS):
                    return
                tf_logging.info("Replica %s joins again: %s", self._quorum.name, error)
            finally:
                self._close()

    def _close_on_stop(self) -> None:
        self._coord.wait_for_stop()
        self._close()

    def _close(self) -> None:
        with self._lock:
            own, self._own = self._own, None
        if own is not None and own is not self._session:
            with contextlib.suppress(Exception):
                own.close()


def _start_thread(coord: Any, what: str, target: Callable[[], None]) -> None:
    thread = threading.Thread(target=target, name=f"SyncReplicas-{what}", daemon=True)
    coord.register_thread(thread)
    thread.start()


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

    _start_thread(coord, f"{what}-close", close_on_stop)
