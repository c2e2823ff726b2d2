"""MasterService: from messages to a `Master` and back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

from flowmesh.core import errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.distributed import failure
from flowmesh.distributed.master import Master
from flowmesh.distributed.transport import messages
from flowmesh.distributed.transport.worker_service import Call, load_nodes
from flowmesh.distributed.worker_session import TRANSFERS
from flowmesh.graph.graph import Graph
from flowmesh.proto import config_pb2, graph_pb2, master_pb2

_Method = Callable[["MasterService", Any, Call], Any]


def _uses_session(method: _Method) -> _Method:
    """A method that is called for a session, which its caller needs."""

    @wraps(method)
    def call_it(self: MasterService, request: Any, call: Call) -> Any:
        with self._master.leases.using(request.session_handle, call.caller):
            return method(self, request, call)

    return call_it


class MasterService:
    """One method for each of MasterService's; each blocks until there is an answer."""

    def __init__(self, master: Master, own_task: str):
        self._master = master
        self._own_prefix = own_task + "/"
        self._lock = threading.Lock()
        self._current: dict[str, int] = {}

    def CreateSession(self, request: Any, call: Call) -> Any:
        graph = Graph()
        _check_no_transfers(request.graph_def)
        load_nodes(graph, request.graph_def)
        config = request.config if request.HasField("config") else None
        handle = self._master.create_session(graph, config, request.target)
        with self._lock:
            for old in [h for h in self._current if not self._master.knows(h)]:
                del self._current[old]
            self._current[handle] = 0
        self._master.opened(handle, call.caller, config)
        return master_pb2.CreateSessionResponse(session_handle=handle, graph_version=0)

    @_uses_session
    def ExtendSession(self, request: Any, call: Call) -> Any:
        handle = request.session_handle
        graph = self._master.session(handle).graph
        with graph.lock:
            current = self._current.get(handle, 0)
            if request.current_graph_version != current:
                raise errors.AbortedError(
                    None,
                    None,
                    f"Current version is {current} but caller expected {request.current_graph_version}.",
                )
            _check_no_transfers(request.graph_def)
            load_nodes(graph, _new_nodes(graph, request.graph_def))
            with self._lock:
                self._current[handle] = current + 1
        return master_pb2.ExtendSessionResponse(new_graph_version=current + 1)

    @_uses_session
    def RunStep(self, request: Any, call: Call) -> Any:
        response = master_pb2.RunStepResponse()
        try:
            self._run_step(request, call, response)
        except Exception as exc:
            if not request.store_errors_in_response_body:
                raise
            response.Clear()
            messages.store_error(response, failure.of_exception(exc))
        return response

    def _run_step(self, request: Any, call: Call, response: Any) -> None:
        feeds = messages.named_values(request.feed)
        fetches = list(request.fetch)
        session = self._master.session(request.session_handle)
        if request.partial_run_handle:
            values = session.partial_run(request.partial_run_handle, feeds, fetches)
        else:
            cancellation = CancellationManager()
            call.on_cancel(
                lambda: cancellation.cancel(
                    errors.CancelledError(None, None, "The client gave up on the step")
                )
            )
            options = request.options if request.HasField("options") else None
            metadata = config_pb2.RunMetadata()
            values = session.run_step(
                feeds, fetches, list(request.target), options, metadata, cancellation
            )
            response.metadata.CopyFrom(metadata)
        messages.fill_named(response.tensor, zip(fetches, values))

    @_uses_session
    def PartialRunSetup(self, request: Any, call: Call) -> Any:
        handle = self._master.partial_run_setup(
            request.session_handle, list(request.feed), list(request.fetch), list(request.target)
        )
        return master_pb2.PartialRunSetupResponse(partial_run_handle=handle)

    @_uses_session
    def MakeCallable(self, request: Any, call: Call) -> Any:
        number = self._master.make_callable(request.session_handle, request.options)
        return master_pb2.MakeCallableResponse(handle=number)

    @_uses_session
    def RunCallable(self, request: Any, call: Call) -> Any:
        response = master_pb2.RunCallableResponse()
        feeds = [messages.value_from_proto(proto) for proto in request.feed]
        values = self._master.run_callable(
            request.session_handle, request.handle, feeds, response.metadata
        )
        for value in values:
            response.fetch.append(messages.value_to_proto(value))
        return response

    @_uses_session
    def ReleaseCallable(self, request: Any, call: Call) -> Any:
        self._master.release_callable(request.session_handle, request.handle)
        return master_pb2.ReleaseCallableResponse()

    def CloseSession(self, request: Any, call: Call) -> Any:
        self._master.session(request.session_handle)
        self._master.close_session(request.session_handle)
        with self._lock:
            self._current.pop(request.session_handle, None)
        return master_pb2.CloseSessionResponse()

    @_uses_session
    def ListDevices(self, request: Any, call: Call) -> Any:
        response = master_pb2.ListDevicesResponse()
        for device in self._master.list_devices(request.session_handle):
            own = device.name.startswith(self._own_prefix)
            field = response.local_device if own else response.remote_device
            field.append(messages.device_to_proto(device))
        return response

    def Reset(self, request: Any, call: Call) -> Any:
        self._master.reset(list(request.container), list(request.device_filters))
        with self._lock:
            self._current.clear()
        return master_pb2.ResetResponse()


def _check_no_transfers(graph_def: Any) -> None:
    """InvalidArgumentError for the nodes that only masters make: a client's would receive what nobody sends."""
    for node in graph_def.node:
        if node.op in TRANSFERS:
            raise errors.InvalidArgumentError(
                None,
                None,
                f"Node '{node.name}': a client's graph cannot have ops of type {node.op}",
            )


def _new_nodes(graph: Graph, graph_def: Any) -> Any:
    """The nodes that are not there yet: an extension that failed halfway is sent again as a whole."""
    known = graph._by_name
    if not any(node.name in known for node in graph_def.node):
        return graph_def
    new = graph_pb2.GraphDef(versions=graph_def.versions, library=graph_def.library)
    for node in graph_def.node:
        existing = known.get(node.name)
        if existing is None:
            new.node.append(node)
        elif existing.type != node.op:
            raise errors.InvalidArgumentError(
                None,
                None,
                f"Node '{node.name}' is already in the session's graph, as a {existing.type}",
            )
    return new
