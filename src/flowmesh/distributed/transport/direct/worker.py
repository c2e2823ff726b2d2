"""`DirectWorker`: the worker of another task, reached on the direct plane where it has one, over gRPC where not."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from flowmesh.core import errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.deadline import Deadline
from flowmesh.core.errors import OpError
from flowmesh.distributed import failure, futures
from flowmesh.distributed.interfaces import (
    NEVER,
    DeviceAttributes,
    RunGraphCall,
    RunGraphResult,
    StartCall,
    StartedPart,
    StepSink,
)
from flowmesh.distributed.transport.direct import frames, records
from flowmesh.distributed.transport.direct.channel import Message
from flowmesh.distributed.transport.direct.frames import Kind
from flowmesh.distributed.transport.direct.link import Link, Transfer
from flowmesh.distributed.transport.direct.plane import HANDSHAKE, DirectPlane
from flowmesh.distributed.transport.direct.service import CLEANS_UP, LAST, PIECE, RECV, RUN, TRACES
from flowmesh.distributed.transport.grpc_client import RemoteWorker
from flowmesh.proto import step_stats_pb2

_MEET_SECONDS = 10.0
_MAX_HEADS = 4096


class DirectWorker(RemoteWorker):
    """The worker of another task. Thread-safe. What the direct plane has no message for goes over gRPC."""

    def __init__(self, task: str, address: str, plane: DirectPlane):
        super().__init__(task, address)
        self._plane = plane
        self._found: Link | None = None
        self._connecting: Future[Any] | None = None
        self._grpc_only = False
        self._connect_lock = threading.Lock()
        self._heads: dict[Any, bytes] = {}

    @property
    def _link(self) -> Link | None:
        found = self._found
        return found if found is not None and found.alive else None

    def _connect(self) -> Future[Any]:
        """A future of the link, None where the other side has no direct plane."""
        with self._connect_lock:
            link = self._link
            if link is not None or self._grpc_only:
                return futures.done(link)
            if self._connecting is not None:
                return self._connecting
            connecting = self._connecting = self._plane.connect(
                self.connection.name, self.connection.address, self._ask_handshake
            )
        connecting.add_done_callback(self._connected)
        return connecting

    def _connected(self, future: Future[Any]) -> None:
        with self._connect_lock:
            self._connecting = None
            self._found = future.result()

    def _ask_handshake(self, request: bytes, seconds: float) -> bytes:
        try:
            return self.connection.call_raw(HANDSHAKE, request, seconds)
        except OpError as error:
            if error.error_code == errors.UNIMPLEMENTED:
                self._grpc_only = True
            raise

    # -- sessions ------------------------------------------------------------------------------------------

    def get_status(
        self, deadline: Deadline = NEVER, wait: bool = False
    ) -> Future[list[DeviceAttributes]]:
        result: Future[list[DeviceAttributes]] = Future()

        def answered(status: Future[list[DeviceAttributes]]) -> None:
            error = futures.error_of(status)
            if error is not None:
                futures.fail(result, error)
                return
            devices = status.result()
            self._grpc_only = False  # it may be another server than last time

            def connect(_: Any = None) -> None:
                self._connect().add_done_callback(lambda _: futures.settle(result, devices))

            link = self._link
            if link is None:
                connect()
            else:  # a connection to the server's former self is found out before a session relies on it
                link.ping().add_done_callback(connect)

        super().get_status(deadline, wait).add_done_callback(answered)
        return result

    @property
    def identity(self) -> str:
        link = self._link
        return "" if link is None else link.identity

    def use_direct(
        self, session_handle: str, identities: Mapping[str, str], deadline: Deadline = NEVER
    ) -> Future[None]:
        link = self._link
        if link is None:
            return futures.failed(self._gone())
        words = [session_handle, *(word for pair in identities.items() for word in pair)]
        return link.call(Kind.SESSION, frames.pack_strings(words), (), lambda message: None)

    def _gone(self) -> OpError:
        return errors.UnavailableError(
            None, None, f"{self.connection.name} cannot be reached: the connection was lost"
        )

    @property
    def link(self) -> Link | None:
        return self._link

    def meet(self, identity: str) -> Future[None]:
        link = self._link
        if link is not None and link.identity == identity:
            return futures.done(None)
        return futures.then(self._connect(), lambda found: self._check(found, identity))

    def _check(self, link: Link | None, identity: str) -> None:
        if link is None:
            raise errors.UnavailableError(
                None,
                None,
                f"{self._plane.task} has no direct connection to {self.connection.name}, which other tasks of the session have",
            )
        if link.identity != identity:
            raise errors.AbortedError(
                None, None, f"{self.connection.name} was restarted since the session began"
            )

    # -- steps ---------------------------------------------------------------------------------------------

    def run_graph(
        self, call: RunGraphCall, cancellation: CancellationManager, deadline: Deadline = NEVER
    ) -> Future[RunGraphResult]:
        link = self._link
        if link is None:
            if self._found is not None:
                self._connect()
            return super().run_graph(call, cancellation, deadline)
        if call.partition_graphs:
            return super().run_graph(call, cancellation, deadline)
        left = deadline.remaining()
        flags = _flags(call)
        head = RUN.pack(call.step_id, -1.0 if left is None else left, flags) + self._names(call)
        try:
            tensors = [frames.encode(v) for v in call.feeds.values()] if call.feeds else ()
        except Exception as exc:
            return futures.failed(failure.of_exception(exc))
        fetches = call.fetches

        def result(message: Message) -> RunGraphResult:
            tensors: Sequence[frames.Descriptor] = message.tensors
            stats = None
            if flags & TRACES:
                tensors, stats = records.take(tensors, step_stats_pb2.StepStats)
            values = dict(zip(fetches, (frames.decode(t, True) for t in tensors)))
            return RunGraphResult(values, stats, cleaned=message.meta[:1] == b"\1")

        return link.call(Kind.RUN_GRAPH, head, tensors, result, cancellation)

    def start_graph(
        self, call: StartCall, step_id: int, values: Sequence[Any], sink: StepSink
    ) -> StartedPart | None:
        link = self._link
        if link is None:
            return None
        tensors = [frames.encode(v) for v in values]
        head = RUN.pack(step_id, -1.0, CLEANS_UP) + self._names(call)
        number = link.ask(Kind.RUN_GRAPH, head, tensors, _Started(call.fetches, sink))
        return _Asked(link, number)

    def _names(self, call: RunGraphCall | StartCall) -> bytes:
        key = (call.session_handle, call.graph_handle, tuple(call.fetches), tuple(call.feeds))
        head = self._heads.get(key)
        if head is None:
            names = [call.session_handle, call.graph_handle, *call.fetches]
            head = frames.pack_strings(names) + frames.pack_strings(list(call.feeds))
            if len(self._heads) >= _MAX_HEADS:
                self._heads.clear()
            self._heads[key] = head
        return head

    def cleanup_graph(self, step_id: int, deadline: Deadline = NEVER) -> Future[None]:
        link = self._link
        if link is None:
            return super().cleanup_graph(step_id, deadline)
        link.tell(Kind.CLEANUP, RECV.pack(step_id))
        return futures.done(None)

    def recv_tensor(
        self, step_id: int, key: str, cancellation: CancellationManager
    ) -> Future[tuple[Any, bool]]:
        link = self._link
        if link is None:
            if not self._grpc_only:
                self._connect()  # for the next time
            return super().recv_tensor(step_id, key, cancellation)
        head = RECV.pack(step_id) + frames.pack_strings([key])
        return link.call(Kind.RECV_TENSOR, head, (), _delivery, cancellation)

    def push_all(self, identity: str, step_id: int, transfers: Sequence[Transfer]) -> None:
        link = self._link
        if link is None or link.identity != identity:
            try:
                link = self._connect().result(_MEET_SECONDS)
            except TimeoutError:
                link = None
            self._check(link, identity)
            assert link is not None
        link.push(step_id, transfers)


def _flags(call: RunGraphCall) -> int:
    if call.partial:
        return PIECE | LAST if call.last else PIECE
    return (CLEANS_UP if call.cleans_up else 0) | (TRACES if call.trace else 0)


class _Asked:
    """A part that runs on another task."""

    __slots__ = ("_link", "_number")

    def __init__(self, link: Link, number: int) -> None:
        self._link = link
        self._number = number

    def cancel(self, error: OpError) -> None:
        """See `StartedPart`."""
        self._link.give_up(self._number, error)

    def expire(self, error: OpError) -> None:
        """See `StartedPart`."""
        self._link.expire(self._number, error)


class _Started:
    """Tells a step the outcome of one of its parts."""

    __slots__ = ("_fetches", "_sink")

    def __init__(self, fetches: Sequence[str], sink: StepSink) -> None:
        self._fetches = fetches
        self._sink = sink

    def answered(self, message: Message) -> None:
        """See `Sink`."""
        try:
            values = [frames.decode(t, True) for t in message.tensors]
        except Exception as exc:
            self._sink(None, failure.of_exception(exc))
            return
        self._sink(dict(zip(self._fetches, values)), None)

    def failed(self, error: OpError) -> None:
        """See `Sink`."""
        self._sink(None, error)


def _delivery(message: Message) -> tuple[Any, bool]:
    if len(message.tensors) != 1:
        raise frames.MalformedError("not one tensor")
    value = frames.decode(message.tensors[0])
    return value, message.tensors[0].form == frames.Form.DEAD
