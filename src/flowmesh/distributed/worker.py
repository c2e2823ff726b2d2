"""`Worker`: a task that holds devices and resources, and runs the parts of graphs that masters register with it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from flowmesh.core import device_spec, errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.deadline import Deadline
from flowmesh.core.errors import OpError
from flowmesh.distributed import failure, futures
from flowmesh.distributed.heartbeat import rhythm_of
from flowmesh.distributed.interfaces import (
    NEVER,
    DeviceAttributes,
    RunGraphCall,
    RunGraphResult,
    WorkerInterface,
)
from flowmesh.distributed.master_leases import MasterLeases, graph_key
from flowmesh.distributed.partial_part import PartialParts, Started
from flowmesh.distributed.peers import Peers
from flowmesh.distributed.policy import Policy
from flowmesh.distributed.recv_log import RecvLog
from flowmesh.distributed.routes import Routes
from flowmesh.distributed.staged_part import StagedPart
from flowmesh.distributed.step_stats import to_step_stats
from flowmesh.distributed.steps import StepTable, TaskRendezvous, check_sender
from flowmesh.distributed.unended_steps import UnendedSteps
from flowmesh.distributed.worker_session import RegisteredGraph, WorkerSession, transfer_keys
from flowmesh.graph import serde
from flowmesh.graph.graph import Graph
from flowmesh.resources.manager import DEFAULT_CONTAINER, ResourceManager
from flowmesh.runtime.heap import Trimmer
from flowmesh.runtime.hosted import HostedRun, is_hosted
from flowmesh.runtime.inline import InlineRun, is_inline
from flowmesh.runtime.many_records import ManyRecords, many_records
from flowmesh.runtime.staged import Transfer
from flowmesh.runtime.step import StepContext
from flowmesh.runtime.trace import TraceCollector

_log = logging.getLogger(__name__)


class Worker(WorkerInterface):
    """The worker of one task. Thread-safe; no method blocks, except for what ops do in the calling thread."""

    def __init__(
        self,
        task: str,
        devices: Sequence[Any],
        peers: Peers,
        config: Any = None,
        connect_cluster: Callable[[Any], Peers] | None = None,
    ):
        """`devices` are the task's own; `connect_cluster` makes the peers of a session that names another cluster."""
        self.task = task
        self.devices = list(devices)
        self._job = device_spec.DeviceSpec.from_string(task).job or DEFAULT_CONTAINER
        self.resources = ResourceManager(self._job)
        self._config = config
        self._peers = peers
        self._connect_cluster = connect_cluster
        self._incarnations = {d.name: d.incarnation for d in devices}
        self._attributes = [attributes_of(d) for d in devices]
        self._steps = StepTable(Routes(task, peers))
        self._trimmer = Trimmer()
        self._unended = UnendedSteps(
            task, rhythm_of(config), self.cleanup_graph, restarted=self._forget_former
        )
        self.leases = MasterLeases(
            config,
            self._find_session,
            self._forget_session,
            self._forget_graph,
        )
        self._lock = threading.Lock()
        self._sessions: dict[str, WorkerSession] = {}
        self._default = WorkerSession("", self.resources, peers)
        self._partial = PartialParts()
        self.policy = Policy()
        self._log = RecvLog(task)
        self._quiet = threading.Condition(self._lock)
        self._stopped: OpError | None = None
        self._refusal: OpError | None = None
        self._running = CancellationManager()
        self._identity = ""
        peers.set_local(self)

    # -- what it is ----------------------------------------------------------------------------------

    def device_attributes(self) -> list[DeviceAttributes]:
        """The task's devices."""
        return list(self._attributes)

    def get_status(
        self, deadline: Deadline = NEVER, wait: bool = False
    ) -> Future[list[DeviceAttributes]]:
        return futures.done(self.device_attributes())

    def step_ids(self) -> list[int]:
        """The steps that have something here, sorted."""
        return self._steps.step_ids()

    def session_handles(self) -> list[str]:
        """The sessions that masters have here, sorted."""
        with self._lock:
            return sorted(self._sessions)

    # -- sessions --------------------------------------------------------------------------------------

    def create_worker_session(
        self,
        session_handle: str,
        server_def: Any,
        isolate: bool,
        deadline: Deadline = NEVER,
        master: tuple[str, int] = ("", 0),
    ) -> Future[None]:
        return futures.attempt(self._create_session, session_handle, server_def, isolate, master)

    def _create_session(
        self, handle: str, server_def: Any, isolate: bool, master: tuple[str, int]
    ) -> None:
        if self._stopped is not None:
            raise self._stopped
        if not handle:
            raise errors.InvalidArgumentError(None, None, "Session handle must not be empty")
        peers, own_peers = self._peers, False
        if server_def is not None and server_def.cluster.job and self._connect_cluster is not None:
            peers, own_peers = self._connect_cluster(server_def), True
        resources = ResourceManager(self._job) if isolate else self.resources
        session = WorkerSession(handle, resources, peers, isolate, own_peers, master)
        self._forget_former(master)
        with self._lock:
            if handle in self._sessions:
                raise errors.AlreadyExistsError(
                    None, None, f"Session {handle} exists already on {self.task}"
                )
            self._sessions[handle] = session

    def _forget_former(self, master: tuple[str, int]) -> None:
        """Forgets the sessions of a master whose process is not there any more: nobody else will."""
        task, incarnation = master
        if not task or not incarnation:
            return
        with self._lock:
            gone = [
                s
                for s in self._sessions.values()
                if s.master[0] == task and s.master[1] not in (0, incarnation)
            ]
            for session in gone:
                del self._sessions[session.handle]
        for session in gone:
            _log.info("Session %s is forgotten: its master %s was restarted", session.handle, task)
            self._end_session(session)
            self._trimmer.soon()

    def _find_session(self, handle: str) -> WorkerSession | None:
        return self._sessions.get(handle)

    def _end_session(self, session: WorkerSession) -> None:
        self.leases.closed(session.handle)
        self._unended.session_over(session)
        session.close()

    def _forget_session(self, handle: str) -> None:
        with self._lock:
            session = self._sessions.pop(handle, None)
        if session is not None:
            self._end_session(session)
            self._trimmer.soon()

    def _forget_graph(self, graph_handle: str) -> None:
        with suppress(errors.AbortedError):
            self._default.remove(graph_handle)
        self._trimmer.soon()

    def delete_worker_session(
        self, session_handle: str, deadline: Deadline = NEVER
    ) -> Future[None]:
        with self._lock:
            session = self._sessions.pop(session_handle, None)
        if session is not None:
            self._end_session(session)
        return futures.done(None)

    def _session(self, handle: str) -> WorkerSession:
        session = self._sessions.get(handle)
        if self._refusal is not None:
            raise self._refusal
        if session is not None:
            return session
        if not handle:
            return self._default
        if self._stopped is not None:
            raise self._stopped
        raise errors.AbortedError(
            None,
            None,
            f'Session handle is not found: {handle}. Possibly this worker ("{self.task}") just restarted.'
            + self.leases.why(handle),
        )

    # -- graphs ----------------------------------------------------------------------------------------

    def register_graph(
        self, session_handle: str, part: Graph, config: Any, deadline: Deadline = NEVER
    ) -> Future[str]:
        try:
            session = self._session(session_handle)
            handle = self._register(session, part, config)
        except Exception as exc:
            return futures.failed(failure.of_exception(exc))
        if not session.routes.direct:
            return futures.done(handle)
        routes = session.routes
        meetings = [
            session.peers.worker(task).meet(routes.direct[task])
            for task in routes.partners(transfer_keys(part))
        ]
        return futures.then(futures.gather(meetings), lambda _: handle)

    def _register(self, session: WorkerSession, part: Graph, config: Any) -> str:
        for op in part.get_operations():
            if op.device not in self._incarnations:
                raise errors.InvalidArgumentError(
                    None,
                    op,
                    f"Node {op.name} is assigned to '{op.device}', which is no device of task {self.task}",
                )
        files = None
        if part.foreign:
            self.policy.check(part)
            files = self.policy.files
        return session.add(
            RegisteredGraph(part, self.devices, session, config or self._config, files)
        )

    def deregister_graph(
        self, session_handle: str, graph_handle: str, deadline: Deadline = NEVER
    ) -> Future[None]:
        return futures.attempt(self._deregister, session_handle, graph_handle)

    def _deregister(self, session_handle: str, graph_handle: str) -> None:
        if not session_handle:
            self.leases.closed(graph_key(graph_handle))
        self._session(session_handle).remove(graph_handle)

    # -- steps -----------------------------------------------------------------------------------------

    def run_graph(
        self, call: RunGraphCall, cancellation: CancellationManager, deadline: Deadline = NEVER
    ) -> Future[RunGraphResult]:
        try:
            session = self._session(call.session_handle)
            graph = session.graph(call.graph_handle)
            if call.partial:
                return self._partial.run(
                    call,
                    graph,
                    cancellation,
                    lambda: self._start(call, session, graph, cancellation, NEVER),
                )
            run, trace, _, _ = self._start(call, session, graph, cancellation, deadline)
        except Exception as exc:
            return futures.failed(failure.of_exception(exc))
        if run.done() and run.exception() is None:
            try:
                return futures.done(self._result(call, graph, run.result(), trace))
            except Exception as exc:
                return futures.failed(failure.of_exception(exc))
        return futures.then(run, lambda tensors: self._result(call, graph, tensors, trace))

    def _start(
        self,
        call: RunGraphCall,
        session: WorkerSession,
        graph: RegisteredGraph,
        cancellation: CancellationManager,
        deadline: Deadline,
    ) -> Started:
        """Starts the executor, which ends what is left of the step here when this part fails."""
        cancellation.check()
        args = {} if call.partial else graph.arguments(call.feeds)
        rendezvous = self._steps.enter(call.step_id, session.routes)
        trace = TraceCollector() if call.trace else None
        # A child: the failure of this part is for the master to judge, not for the other parts of this process.
        own = CancellationManager(cancellation)
        token = self._running.register(own.cancel)
        run = graph.executable(call.partial).run(
            StepContext(call.step_id, rendezvous, own, deadline, trace, call.at_home), args
        )
        if run.done():
            self._over(own, token)
        else:
            run.add_done_callback(lambda _: self._over(own, token))
        return run, trace, rendezvous, own

    def staged(self, session_handle: str, graph_handle: str) -> StagedPart | None:
        """A registered graph that can be run in stages, if that is the best way to run it now; else None. Raises AbortedError for
        what is not known."""
        session = self._session(session_handle)
        part = session.graph(graph_handle).staged(session.routes, self._steps, self._staged_over)
        return part if part is not None and part.usable() else None

    def _over(self, own: CancellationManager, token: int) -> None:
        own.close()
        self._running.deregister(token)
        self._staged_over()

    def _staged_over(self) -> None:
        if self._refusal is not None:
            with self._lock:
                self._quiet.notify_all()

    def refuse(self, refusal: OpError) -> None:
        """Lets no new step start."""
        self._refusal = refusal

    def drain(self, deadline: Deadline) -> None:
        """Gives the steps under way until the deadline to end."""
        with self._lock:
            self._quiet.wait_for(
                lambda: not self._running.waiting and not self._steps.runs, deadline.remaining()
            )

    def _result(
        self, call: RunGraphCall, graph: RegisteredGraph, tensors: Any, trace: TraceCollector | None
    ) -> RunGraphResult:
        if call.cleans_up:
            self._steps.finish(call.step_id)
        stats = None if trace is None else to_step_stats(trace)
        graphs = [serde.to_graph_def(graph.part)] if call.partition_graphs else ()
        return RunGraphResult(tensors, stats, graphs, call.cleans_up)

    def inline_run(
        self, session_handle: str, graph_handle: str, feeds: Sequence[str], fetches: Sequence[str]
    ) -> InlineRun | HostedRun | None:
        executable = self._session(session_handle).graph(graph_handle).executable(False)
        if is_inline(executable, feeds, fetches):
            return InlineRun(executable, feeds, fetches)
        if is_hosted(executable, feeds, fetches):
            return HostedRun(executable, feeds, fetches, self._running, self._staged_over)
        return None

    def many_records(self, session_handle: str, graph_handle: str) -> ManyRecords | None:
        return many_records(self._session(session_handle).graph(graph_handle).executable(False))

    def cleanup_graph(self, step_id: int, deadline: Deadline = NEVER) -> Future[None]:
        self._partial.end(step_id)
        self._steps.end(step_id)
        self._unended.over(step_id)
        return futures.done(None)

    def await_cleanup(self, session_handle: str, step_id: int) -> None:
        """A run of this step was answered over a connection that need not stay: its master is watched until it ends the step."""
        session = self._sessions.get(session_handle, self._default)
        self._unended.wait(step_id, session)
        if not self._steps.knows(step_id):  # ended already, while the answer was made
            self._unended.over(step_id)

    def recv_tensor(
        self, step_id: int, key: str, cancellation: CancellationManager
    ) -> Future[tuple[Any, bool]]:
        try:
            if self._stopped is not None:
                raise self._stopped
            check_sender(key, self.task, self._incarnations)
            step = self._steps.ask(step_id)
        except OpError as error:
            return futures.failed(error)
        started = self._log.now()
        result: Future[tuple[Any, bool]] = Future()

        def give_up(error: OpError) -> None:
            futures.fail(result, error)

        token = cancellation.register(give_up)

        def deliver(source: Future[Any]) -> None:
            cancellation.deregister(token)
            error = futures.error_of(source)
            if error is not None:
                futures.fail(result, error)
            else:
                futures.settle(result, source.result())

        step.recv_local(key).add_done_callback(deliver)
        result.add_done_callback(lambda f: self._asked(f, step, key, started, cancellation))
        return result

    def _asked(
        self,
        result: Future[Any],
        step: TaskRendezvous,
        key: str,
        started: int,
        cancellation: CancellationManager,
    ) -> None:
        self._steps.answered(step, cancellation.cancelled)
        if self._log.enabled and result.exception() is None:
            self._log.record(step.step_id, key, started, result.result()[0])

    # -- tensors that are pushed ---------------------------------------------------------------------------

    @property
    def identity(self) -> str:
        return self._identity

    def set_identity(self, identity: str) -> None:
        """Says that other tasks can push tensors to this one."""
        self._identity = identity
        self._steps.master_found(identity)

    def use_direct(
        self, session_handle: str, identities: Mapping[str, str], deadline: Deadline = NEVER
    ) -> Future[None]:
        return futures.attempt(self._use_direct, session_handle, identities)

    def _use_direct(self, handle: str, identities: Mapping[str, str]) -> None:
        session = self._session(handle)
        session.routes = Routes(self.task, session.peers, identities)

    def deliver(
        self, step_id: int, key: str, value: Any, is_dead: bool, used: Callable[[], None]
    ) -> None:
        """Takes a tensor that another task has pushed; `used` is called when it is asked for, or dropped."""
        self._steps.deliver(step_id, key, value, is_dead, used)

    def deliver_all(
        self, step_id: int, transfers: Sequence[Transfer], used: Callable[[], None]
    ) -> None:
        """Takes tensors that another task has pushed in one message; `used` is called once, for all of them."""
        self._steps.deliver_all(step_id, transfers, used)

    def peer_found(self, identity: str) -> None:
        """There is a connection to another process on the direct plane."""
        self._steps.master_found(identity)

    def peer_lost(self, identity: str, error: OpError) -> None:
        """The connection over which a server pushes, or starts steps, is gone: steps that wait for it fail."""
        self._steps.peer_lost(identity, error)
        self._steps.master_lost(identity)
        self._trimmer.soon()

    # -- the task as a whole -----------------------------------------------------------------------------

    def cleanup_all(self, containers: Sequence[str], deadline: Deadline = NEVER) -> Future[None]:
        return futures.attempt(self._clear, containers)

    def _clear(self, containers: Sequence[str]) -> None:
        self.resources.clear(containers)
        with self._lock:
            sessions = [s for s in self._sessions.values() if s.isolated]
        for session in sessions:
            session.resources.clear(containers)

    def logging(
        self, enable: bool, disable: bool, clear: bool, fetch_step_ids: Sequence[int]
    ) -> Future[list[tuple[int, Any]]]:
        return futures.attempt(self._log.control, enable, disable, clear, fetch_step_ids)

    def tracing(self, duration: float) -> Future[None]:
        return futures.failed(errors.UnimplementedError(None, None, "Tracing"))

    def close(self) -> None:
        """Ends all steps and sessions, and releases all resources."""
        error = errors.UnavailableError(None, None, f"The server of {self.task} was stopped")
        self._stopped = error
        self.leases.close()
        self._unended.close()
        self._trimmer.close()
        self._running.cancel(error)
        self._steps.abort_all(error)
        with self._lock:
            sessions, self._sessions = self._sessions, {}
        for session in [*sessions.values(), self._default]:
            session.close()
        self.resources.clear_all()


def attributes_of(device: Any) -> DeviceAttributes:
    """What other tasks are told about a device."""
    locality = getattr(device, "locality", None)
    return DeviceAttributes(
        device.name,
        device.device_type,
        device.memory_limit,
        device.incarnation,
        device.physical_device_desc or "",
        int(getattr(locality, "bus_id", 0) or 0),
        int(getattr(locality, "numa_node", 0) or 0),
    )
