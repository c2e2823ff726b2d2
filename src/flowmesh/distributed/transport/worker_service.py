"""WorkerService: from messages to a `WorkerInterface` and back."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from flowmesh.core import errors, limits
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.deadline import Deadline
from flowmesh.distributed import failure
from flowmesh.distributed.interfaces import RunGraphCall, RunGraphResult
from flowmesh.distributed.leases import Caller
from flowmesh.distributed.master_leases import graph_key
from flowmesh.distributed.transport import messages
from flowmesh.distributed.transport.foreign import in_our_terms
from flowmesh.distributed.worker import Worker
from flowmesh.graph.graph import Graph
from flowmesh.graph.importer import load_graph_def
from flowmesh.passes.conditions import doubt_receives
from flowmesh.proto import worker_pb2

T = TypeVar("T")


class Call(Protocol):
    """The call being answered."""

    def on_cancel(self, callback: Any) -> None:
        """Has `callback` called when the caller gives up."""

    @property
    def alive(self) -> bool:
        """Whether the caller still waits."""

    def header(self, name: str) -> str:
        """Metadata of the call."""

    @property
    def caller(self) -> Caller:
        """Who calls."""


def wait(future: Future[T], call: Call, cancellation: CancellationManager | None = None) -> T:
    """The result; a caller that gives up cancels the work."""
    if not future.done() and cancellation is not None:
        call.on_cancel(lambda: cancellation.cancel(_gone()))
    return future.result()


def _gone() -> errors.OpError:
    return failure.mark_derived(errors.CancelledError(None, None, "The caller gave up on the call"))


def time_limit(call: Call) -> Deadline:
    """How long the caller allows a run to take."""
    text = call.header(messages.TIMEOUT_HEADER)
    return Deadline.from_ms(int(text)) if text.isascii() and text.isdigit() else Deadline()


class WorkerService:
    """One method for each of WorkerService's; each blocks until there is an answer."""

    def __init__(self, worker: Worker):
        self._worker = worker

    def GetStatus(self, request: Any, call: Call) -> Any:
        response = worker_pb2.GetStatusResponse()
        for device in self._worker.get_status().result():
            response.device_attributes.append(messages.device_to_proto(device))
        return response

    def CreateWorkerSession(self, request: Any, call: Call) -> Any:
        server_def = request.server_def if request.server_def.cluster.job else None
        self._worker.create_worker_session(
            request.session_handle,
            server_def,
            request.isolate_session_state,
            master=(request.master_task, request.master_incarnation),
        ).result()
        self._worker.leases.session_opened(request.session_handle, call.caller)
        return worker_pb2.CreateWorkerSessionResponse()

    def DeleteWorkerSession(self, request: Any, call: Call) -> Any:
        self._worker.delete_worker_session(request.session_handle).result()
        return worker_pb2.DeleteWorkerSessionResponse()

    def RegisterGraph(self, request: Any, call: Call) -> Any:
        part = Graph()
        load_nodes(part, in_our_terms(request.graph_def))
        doubt_receives(part.get_operations())
        config = request.config_proto if request.HasField("config_proto") else None
        session = _session(request)
        with self._worker.leases.using(session, call.caller):
            handle = self._worker.register_graph(session, part, config).result()
        if not session:
            self._worker.leases.graph_opened(handle, call.caller)
        return worker_pb2.RegisterGraphResponse(graph_handle=handle)

    def DeregisterGraph(self, request: Any, call: Call) -> Any:
        session, graph = _session(request), request.graph_handle
        self._worker.leases.used(session, call.caller)
        self._worker.deregister_graph(session, graph).result()
        return worker_pb2.DeregisterGraphResponse()

    def RunGraph(self, request: Any, call: Call) -> Any:
        response = worker_pb2.RunGraphResponse()
        # Graphs that belong to no session are on a lease of their own.
        leased = _session(request) or graph_key(request.graph_handle)
        try:
            with self._worker.leases.using(leased, call.caller):
                self._run_graph(request, call, response)
        except Exception as exc:
            if not request.store_errors_in_response_body:
                raise
            response.Clear()
            messages.store_error(response, failure.of_exception(exc))
        return response

    def _run_graph(self, request: Any, call: Call, response: Any) -> None:
        names = {key: messages.tensor_name_of(key) for key in request.recv_key}
        step = RunGraphCall(
            _session(request),
            request.graph_handle,
            request.step_id,
            {messages.tensor_name_of(n): v for n, v in messages.named_values(request.send)},
            list(names.values()),
            trace=request.exec_opts.record_timeline or request.exec_opts.record_costs,
            partition_graphs=request.exec_opts.record_partition_graphs,
            partial=request.is_partial,
            last=request.is_last_partial_run,
        )
        cancellation = CancellationManager()
        future = self._worker.run_graph(step, cancellation, time_limit(call))
        try:
            result = wait(future, call, cancellation)
        finally:
            if call.alive:
                self._worker.await_cleanup(_session(request), request.step_id)
            else:
                # Nobody is left who would clean up.
                self._worker.cleanup_graph(request.step_id)
        _fill(response, result, names)

    def CleanupGraph(self, request: Any, call: Call) -> Any:
        self._worker.cleanup_graph(request.step_id).result()
        return worker_pb2.CleanupGraphResponse()

    def CleanupAll(self, request: Any, call: Call) -> Any:
        self._worker.cleanup_all(list(request.container)).result()
        return worker_pb2.CleanupAllResponse()

    def RecvTensor(self, request: Any, call: Call) -> Any:
        cancellation = CancellationManager()
        future = self._worker.recv_tensor(request.step_id, request.rendezvous_key, cancellation)
        value, is_dead = wait(future, call, cancellation)
        response = worker_pb2.RecvTensorResponse(is_dead=is_dead)
        proto = messages.dead_proto() if is_dead else messages.value_to_proto(value)
        response.tensor.CopyFrom(proto)
        return response

    def Logging(self, request: Any, call: Call) -> Any:
        response = worker_pb2.LoggingResponse()
        found = self._worker.logging(
            request.enable_rpc_logging,
            request.disable_rpc_logging,
            request.clear,
            list(request.fetch_step_id),
        ).result()
        for step_id, stats in found:
            response.step.add(step_id=step_id).step_stats.CopyFrom(stats)
        return response

    def Tracing(self, request: Any, call: Call) -> Any:
        self._worker.tracing(request.options.duration).result()
        return worker_pb2.TracingResponse()

    def MarkRecvFinished(self, request: Any, call: Call) -> Any:
        """Nothing is kept for tensors that were received."""
        return worker_pb2.MarkRecvFinishedResponse()


def load_nodes(graph: Graph, graph_def: Any) -> None:
    """Adds the nodes of a GraphDef that came with a call. Where they were made only the sender knows.

    Raises ResourceExhaustedError for what is over the limits, and the importer's errors.
    """
    last_id = graph.last_id
    graph.foreign = True
    graph.producer = graph_def.versions.producer
    allowed = limits.current()
    size = graph_def.ByteSize()
    if size > allowed.graph:
        raise limits.exceeded("The GraphDef is too large", size, "graph")
    nodes = len(graph.get_operations()) + len(graph_def.node)
    nodes += sum(len(function.node_def) for function in graph_def.library.function)
    if nodes > allowed.nodes:
        raise limits.exceeded("The graph has too many nodes", nodes, "nodes")
    try:
        load_graph_def(graph, graph_def)
    finally:
        for op in graph.operations_since(last_id):
            op._frames = ()
    for op in graph.operations_since(last_id):
        if op.type == "Const" and (value := op.definition.attrs["value"]).nbytes > allowed.tensor:
            limits.check_shape(value.shape, value.itemsize)


def _session(request: Any) -> str:
    """The session that a request is for; "" is the task's own, for masters that made none."""
    handle: str = request.session_handle
    return handle if request.create_worker_session_called else ""


def _fill(response: Any, result: RunGraphResult, names: dict[str, str]) -> None:
    """The values under the keys by which they were asked for."""
    for key, name in names.items():
        if name not in result.tensors:
            raise errors.InvalidArgumentError(
                None, None, f"The registered graph has no fetch {name} (receive key {key})"
            )
        messages.fill_named(response.recv, [(key, result.tensors[name])])
    if result.step_stats is not None:
        response.step_stats.CopyFrom(result.step_stats)
    response.partition_graph.extend(result.partition_graphs)
