"""`Master`: runs the graphs of clients on the workers of a cluster."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Sequence
from typing import Any

from flowmesh.core import errors
from flowmesh.core.deadline import Deadline
from flowmesh.distributed import failure, futures
from flowmesh.distributed.discovery import contact, patience_of
from flowmesh.distributed.fanned_step import WarmFannedStep
from flowmesh.distributed.inline_step import HostedStep, InlineStep, RepeatedStep
from flowmesh.distributed.interfaces import (
    NEVER,
    DeviceAttributes,
    MasterInterface,
    WorkerInterface,
)
from flowmesh.distributed.leases import Caller, Leases, lease_of
from flowmesh.distributed.master_session import MasterSession
from flowmesh.distributed.peers import Peers
from flowmesh.graph.graph import Graph
from flowmesh.proto import config_pb2, tensorflow_server_pb2

_log = logging.getLogger(__name__)


class Master(MasterInterface):
    """The master of one task; its sessions use the workers of the whole cluster. Thread-safe."""

    def __init__(
        self,
        peers: Peers,
        config: Any = None,
        connect_cluster: Callable[[Any], Peers] | None = None,
    ):
        """`config` is for sessions that bring none; `connect_cluster` makes the peers of a session that names a cluster."""
        self._peers = peers
        self._config = config
        self._connect_cluster = connect_cluster
        self._lock = threading.Lock()
        self._sessions: dict[str, MasterSession] = {}
        self._own_peers: dict[str, Peers] = {}
        self._closed = False
        self.leases = Leases(lease_of(config), self._lease_over)
        """Those of sessions whose clients are in other processes."""

    # -- sessions --------------------------------------------------------------------------------------

    def create_session(
        self, graph: Graph, config: Any, target: str, deadline: Deadline = NEVER
    ) -> str:
        if self._closed:
            raise errors.CancelledError(None, None, f"The server of {self._peers.own} was stopped")
        config = self._effective(config)
        peers, server_def = self._cluster_of(config)
        handle = secrets.token_hex(8)
        deadline = Deadline.after(patience_of(config).timeout).min(deadline)
        created: list[WorkerInterface] = []
        try:
            tasks = peers.filtered(config.device_filters)
            workers = {task: peers.worker(task) for task in tasks}
            devices = self._contact(peers, workers, config, "CreateSession", deadline)
            self._create_worker_sessions(
                handle, workers, server_def, config, deadline, self._self_among(devices)
            )
            created = list(workers.values())
            direct = self._use_direct(handle, workers, deadline)
            session = MasterSession(handle, graph, config, peers.own, workers, devices, direct)
        except BaseException:
            for worker in created:
                worker.delete_worker_session(handle, Deadline.after(1.0))
            if peers is not self._peers:
                peers.close()
            raise
        with self._lock:
            self._sessions[handle] = session
            if peers is not self._peers:
                self._own_peers[handle] = peers
        return handle

    def _effective(self, config: Any) -> Any:
        """The session's ConfigProto: the client's, else the server's."""
        effective = config_pb2.ConfigProto()
        source = config if config is not None else self._config
        if source is not None:
            effective.CopyFrom(source)
        return effective

    def _cluster_of(self, config: Any) -> tuple[Peers, Any]:
        """The tasks of a session, and the ServerDef that tells its workers of them when they are not the server's own."""
        if not config.cluster_def.job or self._connect_cluster is None:
            return self._peers, None
        server_def = tensorflow_server_pb2.ServerDef(protocol="grpc")
        server_def.cluster.CopyFrom(config.cluster_def)
        return self._connect_cluster(server_def), server_def

    def _contact(
        self,
        peers: Peers,
        workers: dict[str, WorkerInterface],
        config: Any,
        what: str,
        deadline: Deadline,
    ) -> list[DeviceAttributes]:
        """The devices of all tasks, those of this one first."""
        found = contact(
            {task: (worker, peers.address(task)) for task, worker in workers.items()},
            patience_of(config),
            what,
            deadline,
        )
        return [device for task in workers for device in found[task]]

    def _self_among(self, devices: Sequence[DeviceAttributes]) -> tuple[str, int]:
        """The task of this master, and the incarnation of its first device as a signed number, as TensorFlow 2 has it."""
        own = self._peers.own
        for device in devices:
            if device.name.startswith(f"{own}/"):
                return own, device.incarnation - (device.incarnation >> 63 << 64)
        return "", 0

    def _create_worker_sessions(
        self,
        handle: str,
        workers: dict[str, WorkerInterface],
        server_def: Any,
        config: Any,
        deadline: Deadline,
        master: tuple[str, int],
    ) -> None:
        asked = {
            task: worker.create_worker_session(
                handle, server_def, config.isolate_session_state, deadline, master
            )
            for task, worker in workers.items()
        }
        late = futures.wait_all(asked.values(), deadline)
        failures = [e for f in asked.values() if f.done() and (e := futures.error_of(f))]
        if late and not failures:
            tasks = ", ".join(task for task, f in asked.items() if not f.done())
            failures.append(
                errors.DeadlineExceededError(
                    None, None, f"CreateSession: no answer to CreateWorkerSession from {tasks}"
                )
            )
        if failures:
            for worker in workers.values():
                worker.delete_worker_session(handle, Deadline.after(1.0))
            raise failure.root_cause(failures)

    def _use_direct(
        self, handle: str, workers: dict[str, WorkerInterface], deadline: Deadline
    ) -> dict[str, str]:
        """The tasks that push tensors to each other, which all of them are told, with their servers' identities."""
        direct = {task: found for task, w in workers.items() if (found := w.identity)}
        if len(direct) < 2:
            return {}
        asked = {t: workers[t].use_direct(handle, direct, deadline) for t in direct}
        late = futures.wait_all(asked.values(), deadline)
        failures = [e for f in asked.values() if f.done() and (e := futures.error_of(f))]
        if late and not failures:
            tasks = ", ".join(task for task, f in asked.items() if not f.done())
            failures.append(
                errors.DeadlineExceededError(None, None, f"CreateSession: no answer from {tasks}")
            )
        if failures:
            raise failure.root_cause(failures)
        return direct

    def session(self, handle: str) -> MasterSession:
        """A session; AbortedError, in TensorFlow's words, when there is none."""
        found = self._sessions.get(handle)
        if found is None:
            why = self.leases.why(handle)
            raise errors.AbortedError(None, None, f"Session {handle} is not found.{why}")
        return found

    def opened(self, handle: str, caller: Caller, config: Any) -> None:
        """A session is that of a client in another process: it ends when that does not come back. `config` is the client's, or None."""
        self.leases.opened(handle, caller, lease_of(config, self._config))
        if handle not in self._sessions:
            self.leases.closed(handle)

    def _lease_over(self, handle: str, why: str) -> None:
        _log.warning("Session %s of a client is closed: %s", handle, why)
        self.close_session(handle)

    def knows(self, handle: str) -> bool:
        """Whether there is such a session."""
        return handle in self._sessions

    def extend_session(
        self, handle: str, graph: Graph, since_id: int, deadline: Deadline = NEVER
    ) -> None:
        session = self.session(handle)
        if session.graph is not graph:
            raise errors.InvalidArgumentError(
                None, None, "A session in this process is extended by its own graph only"
            )

    def close_session(self, handle: str) -> None:
        with self._lock:
            session = self._sessions.pop(handle, None)
            peers = self._own_peers.pop(handle, None)
        self.leases.closed(handle)
        if session is not None:
            session.close()
        if peers is not None:
            peers.close()

    def list_devices(self, handle: str) -> list[DeviceAttributes]:
        return list(self.session(handle).devices)

    # -- steps -----------------------------------------------------------------------------------------

    def run_step(
        self,
        handle: str,
        feeds: Sequence[tuple[str, Any]],
        fetches: Sequence[str],
        targets: Sequence[str],
        options: Any = None,
        metadata: Any = None,
    ) -> list[Any]:
        return self.session(handle).run_step(feeds, fetches, targets, options, metadata)

    def inline_step(
        self, handle: str, feeds: Sequence[str], fetches: Sequence[str], targets: Sequence[str]
    ) -> InlineStep | HostedStep | WarmFannedStep | None:
        return self.session(handle).inline_step(feeds, fetches, targets)

    def repeated_step(self, handle: str, target: str) -> RepeatedStep | None:
        return self.session(handle).repeated_step(target)

    def partial_run_setup(
        self, handle: str, feeds: Sequence[str], fetches: Sequence[str], targets: Sequence[str]
    ) -> str:
        return self.session(handle).partial_run_setup(feeds, fetches, targets)

    def partial_run(
        self,
        handle: str,
        partial_handle: str,
        feeds: Sequence[tuple[str, Any]],
        fetches: Sequence[str],
    ) -> list[Any]:
        return self.session(handle).partial_run(partial_handle, feeds, fetches)

    def make_callable(self, handle: str, options: Any) -> int:
        return self.session(handle).make_callable(options)

    def run_callable(
        self, handle: str, callable_id: int, feeds: Sequence[Any], metadata: Any = None
    ) -> list[Any]:
        return self.session(handle).run_callable(callable_id, feeds, metadata)

    def release_callable(self, handle: str, callable_id: int) -> None:
        self.session(handle).release_callable(callable_id)

    # -- the whole cluster -------------------------------------------------------------------------------

    def reset(self, containers: Sequence[str] = (), device_filters: Sequence[str] = ()) -> None:
        self.close_all()
        tasks = self._peers.filtered(device_filters)
        workers = {task: self._peers.worker(task) for task in tasks}
        deadline = Deadline.after(patience_of(self._config).timeout)
        self._contact(self._peers, workers, self._effective(None), "Reset", deadline)
        asked = {t: w.cleanup_all(containers, deadline) for t, w in workers.items()}
        late = futures.wait_all(asked.values(), deadline)
        failures = [e for f in asked.values() if f.done() and (e := futures.error_of(f))]
        if failures:
            raise failure.root_cause(failures)
        if late:
            tasks_late = ", ".join(t for t, f in asked.items() if not f.done())
            raise errors.DeadlineExceededError(None, None, f"Reset: no answer from {tasks_late}")

    def close_all(self) -> None:
        """Closes all sessions."""
        with self._lock:
            handles = list(self._sessions)
        for handle in handles:
            self.close_session(handle)

    def refuse(self, refusal: errors.OpError) -> None:
        """Lets no new session or step start."""
        self._closed = True
        with self._lock:
            sessions = list(self._sessions.values())
        for session in sessions:
            session.refuse(refusal)

    def drain(self, deadline: Deadline) -> None:
        """Gives the steps under way until the deadline to end."""
        with self._lock:
            sessions = list(self._sessions.values())
        for session in sessions:
            session.drain(deadline)

    def close(self) -> None:
        """Closes all sessions; no new ones start."""
        self._closed = True
        self.leases.close()
        self.close_all()
