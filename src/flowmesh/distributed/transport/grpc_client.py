"""Masters and workers that are reached over gRPC."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import grpc

from flowmesh.core import errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.deadline import Deadline
from flowmesh.distributed import failure, futures
from flowmesh.distributed.credentials import Credentials, from_environment
from flowmesh.distributed.heartbeat import Heartbeat, Rhythm, silence
from flowmesh.distributed.interfaces import (
    NEVER,
    DeviceAttributes,
    RunGraphCall,
    RunGraphResult,
    WorkerInterface,
)
from flowmesh.distributed.transport import messages
from flowmesh.distributed.transport.grpc_options import CHANNEL_OPTIONS
from flowmesh.distributed.transport.grpc_security import call_metadata, open_channel
from flowmesh.distributed.worker_session import client_ends
from flowmesh.graph import serde
from flowmesh.graph.graph import Graph
from flowmesh.proto import worker_pb2

_NO_REASON = frozenset({"", "CANCELLED", "RPC CANCELLED", "CANCELLED ON THE SERVER SIDE"})
"""What gRPC says of a call that was cancelled without a word."""
_CLEANUP_REPEATS = 3
_RUN_SLACK = 1.0
"""Seconds beyond its own deadline that a task gets to tell what it waited for."""


class _Line:
    """One channel of a connection; a task that falls silent is given up with it."""

    def __init__(self, address: str, paths: dict[str, str], credentials: Credentials | None):
        self.channel = open_channel(address, CHANNEL_OPTIONS, credentials)
        self.methods: dict[str, Any] = {
            name: self.channel.unary_unary(path) for name, path in paths.items()
        }
        self.status = self.channel.unary_unary(messages.WORKER_PATHS["GetStatus"])
        self.lost: errors.OpError | None = None


class Connection:
    """A channel to one task, with TensorFlow's methods on it."""

    def __init__(self, task: str, address: str, paths: dict[str, str]):
        self.task = task
        self.address = address
        credentials = from_environment()
        self._metadata = call_metadata(credentials)
        self._open = lambda: _Line(address, paths, credentials)
        self._line = self._open()
        self._closed = False
        self._heartbeat = Heartbeat(self.name, Rhythm(), self._ping, self._silent)

    def watch(self, rhythm: Rhythm) -> None:
        """How to find out that the task has fallen silent; before any call."""
        self._heartbeat = Heartbeat(self.name, rhythm, self._ping, self._silent)

    def close(self) -> None:
        """Ends all calls and closes the channel."""
        self._closed = True
        self._heartbeat.close()
        self._line.channel.close()

    def _ping(self, deadline: Deadline) -> Future[Any]:
        result: Future[Any] = Future()
        line = self._line
        try:
            call = line.status.future(
                b"", timeout=deadline.remaining(), metadata=self._metadata or None
            )
        except Exception as exc:
            return futures.failed(self._closed_error(exc))

        def finish(finished: Any) -> None:
            try:
                futures.settle(result, finished.result())
            except Exception as exc:
                futures.fail(result, self._error("GetStatus", exc, line))

        call.add_done_callback(finish)
        return result

    def _silent(self, seconds: float) -> None:
        """Fails what waits for the task. Later calls connect anew: a dead connection would hold them up."""
        line = self._line
        line.lost = errors.UnavailableError(
            None, None, f"{self.name} cannot be reached: {silence(seconds)}."
        )
        self._line = self._open()
        line.channel.close()
        if self._closed:
            self._line.channel.close()

    def start(
        self,
        method: str,
        request: Any,
        deadline: Deadline = NEVER,
        wait: bool = False,
        cancellation: CancellationManager | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> Future[Any]:
        """Starts a call; the future has the response message. Cancelling ends it with the reason given."""
        result: Future[Any] = Future()
        line = self._line
        if not wait:
            self._heartbeat.begin()
            result.add_done_callback(self._heartbeat.end)
        try:
            call = line.methods[method].future(
                _serialize(method, request),
                timeout=deadline.remaining(),
                wait_for_ready=wait,
                metadata=(*self._metadata, *headers) or None,
            )
        except Exception as exc:
            futures.fail(result, self._closed_error(exc))
            return result
        token = -1
        if cancellation is not None:
            token = cancellation.register(lambda error: _give_up(result, call, error))

        def finish(finished: Any) -> None:
            if cancellation is not None:
                cancellation.deregister(token)
            try:
                response = messages.response_type(method).FromString(finished.result())
            except Exception as exc:
                futures.fail(result, self._error(method, exc, line))
            else:
                futures.settle(result, response)

        call.add_done_callback(finish)
        return result

    def call(self, method: str, request: Any, timeout: float | None = None) -> Any:
        """Calls and waits for the response message."""
        line = self._line
        self._heartbeat.begin()
        try:
            data = line.methods[method](
                _serialize(method, request), timeout=timeout, metadata=self._metadata or None
            )
            return messages.response_type(method).FromString(data)
        except errors.OpError:
            raise
        except (grpc.RpcError, ValueError) as exc:
            raise self._error(method, exc, line) from None
        finally:
            self._heartbeat.end()

    def call_raw(self, path: str, request: bytes, timeout: float) -> bytes:
        """Calls a method of another service, bytes to bytes, and waits for the answer."""
        try:
            data: bytes = self._line.channel.unary_unary(path)(
                request,
                timeout=timeout,
                wait_for_ready=True,
                metadata=self._metadata or None,
            )
        except (grpc.RpcError, ValueError) as exc:
            raise self._error(path, exc, self._line) from None
        return data

    def _error(self, method: str, exc: BaseException, line: _Line) -> errors.OpError:
        """The OpError that a failed call stands for."""
        if line.lost is not None:
            return line.lost
        if isinstance(exc, (grpc.FutureCancelledError, grpc.FutureTimeoutError)):
            return errors.CancelledError(None, None, f"{method} on {self.name} was cancelled")
        if not isinstance(exc, grpc.RpcError) or not hasattr(exc, "code"):
            return self._closed_error(exc)
        code: int = exc.code().value[0]
        details: str = exc.details() or ""  # type: ignore[attr-defined]
        if code == errors.DEADLINE_EXCEEDED and details == "Deadline Exceeded":
            details = f"{method}: no answer from {self.name} in time"
        elif code == errors.CANCELLED and details.upper() in _NO_REASON:
            # Nobody here cancelled it, or the caller would have the reason: the server is going away.
            code, details = errors.UNAVAILABLE, f"{method}: {self.name} ended the call"
        elif code == errors.UNAVAILABLE and not self._is_named(details):
            details = f"{method}: {self.name} cannot be reached: {details}"
        elif code == errors.RESOURCE_EXHAUSTED and "larger than max" in details:
            details = (
                f"{method}: {self.name} does not take so large a message: {details}. Start it with --limit message=SIZE to "
                "allow it, or FLOWMESH_LIMITS=message=SIZE in its environment."
            )
        elif code == errors.UNIMPLEMENTED:
            details = f"{method}: {self.name} does not know this method: {details}"
        return failure.from_wire(code, details)

    def _is_named(self, details: str) -> bool:
        return (self.task or self.address) in details

    def _closed_error(self, exc: BaseException) -> errors.OpError:
        if isinstance(exc, errors.OpError):
            return exc
        return errors.CancelledError(None, None, f"The connection to {self.name} was closed: {exc}")

    @property
    def name(self) -> str:
        """What to call the task in errors."""
        return f"{self.task} at {self.address}" if self.task else f"the server at {self.address}"


def _serialize(method: str, request: Any) -> bytes:
    try:
        data: bytes = request.SerializeToString()
    except ValueError as error:
        raise errors.ResourceExhaustedError(
            None,
            None,
            f"{method}: the request is too large for a message (the limit is 2 GB): {error}",
        ) from error
    return data


def _give_up(result: Future[Any], call: Any, error: errors.OpError) -> None:
    futures.fail(result, error)
    call.cancel()


class RemoteWorker(WorkerInterface):
    """The worker of another task. Thread-safe."""

    def __init__(self, task: str, address: str):
        self.connection = Connection(task, address, messages.WORKER_PATHS)
        self._lock = threading.Lock()
        self._keys: dict[tuple[str, str], tuple[dict[str, str], dict[str, str]]] = {}

    def close(self) -> None:
        self.connection.close()

    def _ask(
        self,
        method: str,
        deadline: Deadline,
        convert: Callable[[Any], Any] = lambda response: None,
        **fields: Any,
    ) -> Future[Any]:
        request = messages.request_type(method)(**fields)
        return futures.then(self.connection.start(method, request, deadline), convert)

    def get_status(
        self, deadline: Deadline = NEVER, wait: bool = False
    ) -> Future[list[DeviceAttributes]]:
        request = worker_pb2.GetStatusRequest()
        future = self.connection.start("GetStatus", request, deadline, wait)
        return futures.then(
            future, lambda r: [messages.device_from_proto(d) for d in r.device_attributes]
        )

    def create_worker_session(
        self,
        session_handle: str,
        server_def: Any,
        isolate: bool,
        deadline: Deadline = NEVER,
        master: tuple[str, int] = ("", 0),
    ) -> Future[None]:
        fields: dict[str, Any] = {} if server_def is None else {"server_def": server_def}
        return self._ask(
            "CreateWorkerSession",
            deadline,
            session_handle=session_handle,
            isolate_session_state=isolate,
            master_task=master[0],
            master_incarnation=master[1],
            **fields,
        )

    def delete_worker_session(
        self, session_handle: str, deadline: Deadline = NEVER
    ) -> Future[None]:
        with self._lock:
            for key in [k for k in self._keys if k[0] == session_handle]:
                del self._keys[key]
        return self._ask("DeleteWorkerSession", deadline, session_handle=session_handle)

    def register_graph(
        self, session_handle: str, part: Graph, config: Any, deadline: Deadline = NEVER
    ) -> Future[str]:
        try:
            request = worker_pb2.RegisterGraphRequest(
                session_handle=session_handle,
                create_worker_session_called=True,
                graph_def=serde.to_graph_def(part),
                config_proto=config,
            )
            request.graph_options.SetInParent()
            if config is not None:
                request.graph_options.CopyFrom(config.graph_options)
        except Exception as exc:
            return futures.failed(failure.of_exception(exc))
        keys = client_ends(part)

        def registered(response: Any) -> str:
            with self._lock:
                self._keys[session_handle, response.graph_handle] = keys
            handle: str = response.graph_handle
            return handle

        future = self.connection.start("RegisterGraph", request, deadline)
        return futures.then(future, registered)

    def deregister_graph(
        self, session_handle: str, graph_handle: str, deadline: Deadline = NEVER
    ) -> Future[None]:
        with self._lock:
            self._keys.pop((session_handle, graph_handle), None)
        return self._ask(
            "DeregisterGraph",
            deadline,
            session_handle=session_handle,
            graph_handle=graph_handle,
            create_worker_session_called=True,
        )

    def run_graph(
        self, call: RunGraphCall, cancellation: CancellationManager, deadline: Deadline = NEVER
    ) -> Future[RunGraphResult]:
        feed_keys, fetch_keys = self._keys.get((call.session_handle, call.graph_handle), ({}, {}))
        try:
            request = worker_pb2.RunGraphRequest(
                session_handle=call.session_handle,
                create_worker_session_called=True,
                graph_handle=call.graph_handle,
                step_id=call.step_id,
                recv_key=messages.keyed(call.fetches, fetch_keys),
                is_partial=call.partial,
                is_last_partial_run=call.last,
                store_errors_in_response_body=True,
            )
            request.exec_opts.record_timeline = request.exec_opts.record_costs = call.trace
            request.exec_opts.record_partition_graphs = call.partition_graphs
            named = zip(messages.keyed(list(call.feeds), feed_keys), call.feeds.values())
            messages.fill_named(request.send, named)
        except Exception as exc:
            return futures.failed(failure.of_exception(exc))
        left = deadline.remaining()
        headers = (
            [(messages.TIMEOUT_HEADER, str(deadline.remaining_ms()))] if left is not None else []
        )
        limit = NEVER if left is None else Deadline.after(left + _RUN_SLACK)
        future = self.connection.start("RunGraph", request, limit, False, cancellation, headers)
        return futures.then(future, _run_result)

    def cleanup_graph(self, step_id: int, deadline: Deadline = NEVER) -> Future[None]:
        # A connection that is lost, the message with it, may come back: the task must hear of the end nevertheless.
        request = worker_pb2.CleanupGraphRequest(step_id=step_id)
        result: Future[None] = Future()

        def send(left: int) -> None:
            future = self.connection.start("CleanupGraph", request, deadline, wait=True)
            future.add_done_callback(lambda sent: over(sent, left))

        def over(sent: Future[Any], left: int) -> None:
            error = futures.error_of(sent)
            if error is None:
                futures.settle(result, None)
            elif left and error.error_code == errors.UNAVAILABLE and not deadline.expired:
                send(left - 1)
            else:
                futures.fail(result, error)

        send(_CLEANUP_REPEATS)
        return result

    def cleanup_all(self, containers: Sequence[str], deadline: Deadline = NEVER) -> Future[None]:
        return self._ask("CleanupAll", deadline, container=list(containers))

    def recv_tensor(
        self, step_id: int, key: str, cancellation: CancellationManager
    ) -> Future[tuple[Any, bool]]:
        request = worker_pb2.RecvTensorRequest(step_id=step_id, rendezvous_key=key, dma_ok=True)
        future = self.connection.start("RecvTensor", request, NEVER, False, cancellation)
        return futures.then(future, messages.delivery_from_proto)

    def logging(
        self, enable: bool, disable: bool, clear: bool, fetch_step_ids: Sequence[int]
    ) -> Future[list[tuple[int, Any]]]:
        return self._ask(
            "Logging",
            NEVER,
            lambda r: [(s.step_id, s.step_stats) for s in r.step],
            enable_rpc_logging=enable,
            disable_rpc_logging=disable,
            clear=clear,
            fetch_step_id=list(fetch_step_ids),
        )

    def tracing(self, duration: float) -> Future[None]:
        request = worker_pb2.TracingRequest()
        request.options.duration = duration
        return futures.then(self.connection.start("Tracing", request), lambda _: None)


def _run_result(response: Any) -> RunGraphResult:
    error = messages.stored_error(response)
    if error is not None:
        raise error
    tensors = {messages.tensor_name_of(n): v for n, v in messages.named_values(response.recv)}
    stats = response.step_stats if response.HasField("step_stats") else None
    return RunGraphResult(tensors, stats, list(response.partition_graph))
