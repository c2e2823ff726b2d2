"""The master of a server in another process."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from flowmesh.core import errors
from flowmesh.core.deadline import Deadline
from flowmesh.distributed.discovery import contact, patience_of
from flowmesh.distributed.futures import held
from flowmesh.distributed.heartbeat import rhythm_of
from flowmesh.distributed.interfaces import NEVER, DeviceAttributes, MasterInterface
from flowmesh.distributed.transport import messages
from flowmesh.distributed.transport.grpc_client import Connection, RemoteWorker
from flowmesh.graph import serde
from flowmesh.graph.graph import Graph
from flowmesh.proto import master_pb2

_ANSWER = 10.0
"""Seconds for a server to answer what needs no other task, and that run calls get beyond their own deadline."""


_WORTH_TELLING = 1.0
"""Seconds that must have passed before a server is told that less time than the config says is left."""


def _beyond(deadline: Deadline) -> float | None:
    """A time limit for a call: the server tells more about what is late than a call that is cut off."""
    left = deadline.remaining()
    return None if left is None else left + _ANSWER


class _Sent:
    """What a server knows of a session's graph."""

    def __init__(self, last_id: int, config: Any):
        self.last_id = last_id
        self.version = 0
        self.lock = threading.Lock()
        self.timeout_in_ms = config.operation_timeout_in_ms if config is not None else 0


class RemoteMaster(MasterInterface):
    """A master reached over gRPC. Thread-safe; calls block, a Ctrl-C ends the wait and the step."""

    def __init__(self, address: str):
        self._address = address
        self.connection = Connection("", address, messages.MASTER_PATHS)
        self._sessions: dict[str, _Sent] = {}
        self._callables: dict[tuple[str, int], Any] = {}

    def close(self) -> None:
        """Closes the connection."""
        self.connection.close()

    def _reach(self, config: Any, what: str, deadline: Deadline) -> None:
        """Waits until the server answers."""
        self.connection.watch(rhythm_of(config))
        probe = RemoteWorker("", self._address)
        try:
            contact({"": (probe, self._address)}, patience_of(config), what, deadline)
        finally:
            probe.close()

    def create_session(
        self, graph: Graph, config: Any, target: str, deadline: Deadline = NEVER
    ) -> str:
        patience = patience_of(config)
        deadline = Deadline.after(patience.timeout).min(deadline)
        self._reach(config, "CreateSession", deadline)
        left = deadline.remaining() or 0.0
        timeout = left + _ANSWER
        request = master_pb2.CreateSessionRequest(config=config, target=target)
        if left < patience.timeout - _WORTH_TELLING:
            # The server looks for the other tasks in what is left of the time.
            milliseconds = max(1, round(left * 1000))
            request.config.experimental.flowmesh.connect_timeout_in_ms = milliseconds
        with graph.lock:
            last_id = graph.last_id
            request.graph_def.CopyFrom(serde.to_graph_def(graph))
        response = self.connection.call("CreateSession", request, timeout)
        sent = _Sent(last_id, config)
        sent.version = response.graph_version
        handle: str = response.session_handle
        self._sessions[handle] = sent
        return handle

    def extend_session(
        self, handle: str, graph: Graph, since_id: int, deadline: Deadline = NEVER
    ) -> None:
        sent = self._sent(handle)
        with held(sent.lock, deadline, "another thread that extends the session"):
            with graph.lock:
                last_id = graph.last_id
                if last_id <= sent.last_id:
                    return
                graph_def = serde.to_graph_def(graph, sent.last_id)
            request = master_pb2.ExtendSessionRequest(
                session_handle=handle, graph_def=graph_def, current_graph_version=sent.version
            )
            response = self.connection.call("ExtendSession", request, _beyond(deadline))
            sent.last_id, sent.version = last_id, response.new_graph_version

    def _sent(self, handle: str) -> _Sent:
        found = self._sessions.get(handle)
        if found is None:
            raise errors.AbortedError(None, None, f"Session {handle} is not found.")
        return found

    def _timeout(self, handle: str, options: Any) -> float | None:
        """The server tells more about a step that is late than a call that is cut off: it gets some time to do so."""
        sent = self._sessions.get(handle)
        milliseconds = (options.timeout_in_ms if options is not None else 0) or (
            sent.timeout_in_ms if sent is not None else 0
        )
        return milliseconds / 1000 + _ANSWER if milliseconds else None

    def run_step(
        self,
        handle: str,
        feeds: Sequence[tuple[str, Any]],
        fetches: Sequence[str],
        targets: Sequence[str],
        options: Any = None,
        metadata: Any = None,
    ) -> list[Any]:
        request = master_pb2.RunStepRequest(
            session_handle=handle, fetch=fetches, target=targets, options=options
        )
        return self._run(request, feeds, fetches, metadata, self._timeout(handle, options))

    def _run(
        self,
        request: Any,
        feeds: Sequence[tuple[str, Any]],
        fetches: Sequence[str],
        metadata: Any,
        timeout: float | None,
    ) -> list[Any]:
        messages.fill_named(request.feed, feeds)
        request.store_errors_in_response_body = True
        response = self.connection.call("RunStep", request, timeout)
        error = messages.stored_error(response)
        if error is not None:
            raise error
        if metadata is not None:
            metadata.CopyFrom(response.metadata)
        values = dict(messages.named_values(response.tensor))
        return [values[name] for name in fetches]

    def partial_run_setup(
        self, handle: str, feeds: Sequence[str], fetches: Sequence[str], targets: Sequence[str]
    ) -> str:
        request = master_pb2.PartialRunSetupRequest(
            session_handle=handle, feed=feeds, fetch=fetches, target=targets
        )
        response = self.connection.call("PartialRunSetup", request, self._timeout(handle, None))
        partial_handle: str = response.partial_run_handle
        return partial_handle

    def partial_run(
        self,
        handle: str,
        partial_handle: str,
        feeds: Sequence[tuple[str, Any]],
        fetches: Sequence[str],
    ) -> list[Any]:
        tensors = [name for name in fetches if ":" in name]
        request = master_pb2.RunStepRequest(
            session_handle=handle, partial_run_handle=partial_handle, fetch=tensors
        )
        return self._run(request, feeds, tensors, None, self._timeout(handle, None))

    def make_callable(self, handle: str, options: Any) -> int:
        request = master_pb2.MakeCallableRequest(session_handle=handle, options=options)
        number: int = self.connection.call(
            "MakeCallable", request, self._timeout(handle, options.run_options)
        ).handle
        self._callables[handle, number] = options.run_options
        return number

    def run_callable(
        self, handle: str, callable_id: int, feeds: Sequence[Any], metadata: Any = None
    ) -> list[Any]:
        request = master_pb2.RunCallableRequest(session_handle=handle, handle=callable_id)
        for value in feeds:
            request.feed.append(messages.value_to_proto(value))
        timeout = self._timeout(handle, self._callables.get((handle, callable_id)))
        response = self.connection.call("RunCallable", request, timeout)
        if metadata is not None:
            metadata.CopyFrom(response.metadata)
        return [messages.value_from_proto(proto) for proto in response.fetch]

    def release_callable(self, handle: str, callable_id: int) -> None:
        self._callables.pop((handle, callable_id), None)
        request = master_pb2.ReleaseCallableRequest(session_handle=handle, handle=callable_id)
        self.connection.call("ReleaseCallable", request, _ANSWER)

    def close_session(self, handle: str) -> None:
        self._sessions.pop(handle, None)
        request = master_pb2.CloseSessionRequest(session_handle=handle)
        # A server that was restarted, reset or stopped has no session left to close, one that is silent will find out itself.
        with suppress(
            errors.AbortedError,
            errors.UnavailableError,
            errors.CancelledError,
            errors.DeadlineExceededError,
        ):
            self.connection.call("CloseSession", request, 2 * _ANSWER)

    def list_devices(self, handle: str) -> list[DeviceAttributes]:
        request = master_pb2.ListDevicesRequest(session_handle=handle)
        response = self.connection.call("ListDevices", request, _ANSWER)
        found = [*response.local_device, *response.remote_device]
        return [messages.device_from_proto(device) for device in found]

    def reset(self, containers: Sequence[str] = (), device_filters: Sequence[str] = ()) -> None:
        deadline = Deadline.after(patience_of(None).timeout)
        self._reach(None, "Reset", deadline)
        request = master_pb2.ResetRequest(container=containers, device_filters=device_filters)
        self.connection.call("Reset", request, _beyond(deadline))
