"""The two services of a task over gRPC, under TensorFlow's method names."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from flowmesh.core import errors
from flowmesh.core.cluster_spec import join_address
from flowmesh.distributed import failure
from flowmesh.distributed.credentials import from_environment
from flowmesh.distributed.heartbeat import USUAL, Rhythm
from flowmesh.distributed.transport import messages
from flowmesh.distributed.transport.connections import GrpcCaller
from flowmesh.distributed.transport.grpc_options import MAX_CALLS, server_options
from flowmesh.distributed.transport.grpc_security import TokenGate, listen
from flowmesh.distributed.transport.master_service import MasterService
from flowmesh.distributed.transport.thread_pool import ElasticPool
from flowmesh.distributed.transport.worker_service import WorkerService

_log = logging.getLogger(__name__)
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class GrpcCall:
    """What a service may ask about the call that it answers."""

    def __init__(self, context: Any):
        self._context = context
        self._lock = threading.Lock()
        self._answered = False

    def on_cancel(self, callback: Callable[[], object]) -> None:
        """Has `callback` called when the caller gives up or goes away before there is an answer."""

        def ended() -> None:
            with self._lock:
                if self._answered:
                    return
            callback()

        if not self._context.add_callback(ended):
            ended()

    @property
    def alive(self) -> bool:
        """Whether the caller still waits."""
        return bool(self._context.is_active())

    @property
    def caller(self) -> GrpcCaller:
        """The other end of the connection."""
        return GrpcCaller(self._context.peer() or "")

    def header(self, name: str) -> str:
        """Metadata that came with the call, or ""."""
        for key, value in self._context.invocation_metadata() or ():
            if key == name:
                return value if isinstance(value, str) else value.decode(errors="replace")
        return ""

    def answered(self) -> None:
        """The answer is there: what happens to the call now is no cancellation."""
        with self._lock:
            self._answered = True


class _Services(grpc.GenericRpcHandler):
    """Finds the method for a path."""

    def __init__(self, master: MasterService, worker: WorkerService, more: Mapping[str, Any]):
        self._handlers: dict[str, Any] = dict(more)
        for paths, service in (
            (messages.MASTER_PATHS, master),
            (messages.WORKER_PATHS, worker),
        ):
            for method, path in paths.items():
                handler = _handler(method, getattr(service, method))
                self._handlers[path] = grpc.unary_unary_rpc_method_handler(handler)

    def service(self, handler_call_details: Any) -> Any:
        return self._handlers.get(handler_call_details.method)


def _handler(
    method: str, function: Callable[[Any, GrpcCall], Any]
) -> Callable[[bytes, Any], bytes]:
    """Bytes to bytes around a service method; whatever goes wrong becomes a status."""
    request_type = messages.request_type(method)

    def handle(data: bytes, context: Any) -> bytes:
        call = GrpcCall(context)
        try:
            try:
                request = request_type.FromString(data)
            except DecodeError as error:
                raise errors.InvalidArgumentError(
                    None, None, f"{method}: the request is not a {request_type.__name__} message"
                ) from error
            del data
            response = function(request, call)
            answer: bytes = _serialize(method, response)
        except Exception as exc:
            if not isinstance(exc, errors.OpError):
                _log.debug("%s failed", method, exc_info=True)
            code, message = failure.to_wire(failure.of_exception(exc), short=True)
        else:
            call.answered()
            return answer
        call.answered()
        context.abort(_CODES.get(code, grpc.StatusCode.UNKNOWN), message)
        raise AssertionError("abort raises")

    return handle


def _raw_handler(function: Callable[[bytes], bytes]) -> Any:
    """A gRPC handler for a function of bytes."""

    def handle(data: bytes, context: Any) -> bytes:
        try:
            return function(data)
        except Exception as exc:
            code, message = failure.to_wire(failure.of_exception(exc), short=True)
        context.abort(_CODES.get(code, grpc.StatusCode.UNKNOWN), message)
        raise AssertionError("abort raises")

    return grpc.unary_unary_rpc_method_handler(handle)


def _serialize(method: str, response: Any) -> bytes:
    try:
        data: bytes = response.SerializeToString()
    except (ValueError, MemoryError) as error:
        raise errors.ResourceExhaustedError(
            None,
            None,
            f"{method}: the answer is too large for a message (the limit is 2 GB): {error}",
        ) from error
    return data


class GrpcServer:
    """A listening port with the services of one task behind it."""

    def __init__(
        self,
        host: str,
        port: int,
        master: MasterService,
        worker: WorkerService,
        raw: Mapping[str, Callable[[bytes], bytes]] | None = None,
        rhythm: Rhythm = USUAL,
    ):
        """Binds 'host:port' (0 chooses a port); OSError when that cannot be done. `raw` are further methods, by path, that take
        and give bytes."""
        more = {path: _raw_handler(function) for path, function in (raw or {}).items()}
        self._pool = ElasticPool(MAX_CALLS, f"flowmesh-grpc-{port or 'any'}")
        credentials = from_environment()
        services: grpc.GenericRpcHandler = _Services(master, worker, more)
        if credentials is not None:
            services = TokenGate(services, credentials)
        self._server = grpc.server(
            self._pool,  # type: ignore[arg-type]  # any Executor will do
            handlers=[services],
            options=server_options(rhythm),
            maximum_concurrent_rpcs=MAX_CALLS,
        )
        try:
            self.port: int = listen(self._server, join_address(host, port), credentials)
        except RuntimeError as error:
            raise OSError(str(error)) from error
        if not self.port:
            raise OSError(f"failed to bind {join_address(host, port)}")

    def start(self) -> None:
        """Begins to serve."""
        self._server.start()

    def stop(self, grace: float | None = None) -> None:
        """Refuses new calls, gives those under way `grace` seconds, and frees the port."""
        self._server.stop(grace).wait()
        self._pool.shutdown(wait=True)
