"""`DirectMaster`: the master of a server in another process, with its steps on the direct plane where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowmesh.core import errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.deadline import Deadline
from flowmesh.core.errors import OpError
from flowmesh.distributed import sending
from flowmesh.distributed.heartbeat import rhythm_of
from flowmesh.distributed.interfaces import NEVER
from flowmesh.distributed.transport.direct import frames, records
from flowmesh.distributed.transport.direct.channel import Message
from flowmesh.distributed.transport.direct.frames import Encoded, Kind
from flowmesh.distributed.transport.direct.helping import thread_waker
from flowmesh.distributed.transport.direct.link import Link
from flowmesh.distributed.transport.direct.plane import HANDSHAKE, DirectOptions, DirectPlane
from flowmesh.distributed.transport.direct.service import CONTINUES, STEP, TELLS
from flowmesh.distributed.transport.grpc_master import RemoteMaster
from flowmesh.graph.graph import Graph
from flowmesh.proto import config_pb2

_CONNECT_SECONDS = 10.0
_MAX_HEADS = 4096
_FAREWELL = 0.5
"""Seconds in which steps of other threads, ended by closing the session, may say so."""


class DirectMaster(RemoteMaster):
    """A master in another process. Thread-safe; calls block, a Ctrl-C ends the wait and the step."""

    def __init__(self, address: str, options: DirectOptions | None = None):
        """`options` are for the direct plane; by default what the environment says."""
        super().__init__(address)
        self._plane = DirectPlane(options=options)
        self._link: Link | None = None
        self._heads: dict[Any, bytes] = {}
        self._signatures: dict[tuple[str, int], Any] = {}
        """The CallableOptions of callables, by session and number."""

    def close(self) -> None:
        self._plane.close(_FAREWELL)
        super().close()

    def create_session(
        self, graph: Graph, config: Any, target: str, deadline: Deadline = NEVER
    ) -> str:
        self._plane.rhythm = rhythm_of(config)
        handle = super().create_session(graph, config, target, deadline)
        if self._link is None or not self._link.alive:
            self._link = self._plane.connect(
                f"the server at {self._address}", self._address, self._ask_handshake
            ).result(_CONNECT_SECONDS)
        return handle

    def _ask_handshake(self, request: bytes, seconds: float) -> bytes:
        return self.connection.call_raw(HANDSHAKE, request, seconds)

    def run_step(
        self,
        handle: str,
        feeds: Sequence[tuple[str, Any]],
        fetches: Sequence[str],
        targets: Sequence[str],
        options: Any = None,
        metadata: Any = None,
    ) -> list[Any]:
        link = self._link
        if link is None or not link.alive:
            return super().run_step(handle, feeds, fetches, targets, options, metadata)
        seconds = options.timeout_in_ms / 1000 if options is not None else 0.0
        tensors = [frames.encode(value) for _, value in feeds]
        tells = metadata is not None or _asks_for_more(options)
        if tells:
            tensors.append(records.encode(options or config_pb2.RunOptions()))
        head = STEP.pack(seconds, TELLS if tells else 0)
        head += self._names(handle, feeds, fetches, targets)
        limit = self._timeout(handle, options)
        values = self._ask(link, head, tensors, len(fetches) + tells, limit)
        if tells:
            told = values.pop().item()
            if metadata is not None:
                metadata.ParseFromString(told)
        return values

    def partial_run(
        self,
        handle: str,
        partial_handle: str,
        feeds: Sequence[tuple[str, Any]],
        fetches: Sequence[str],
    ) -> list[Any]:
        link = self._link
        if link is None or not link.alive:
            return super().partial_run(handle, partial_handle, feeds, fetches)
        wanted = [name for name in fetches if ":" in name]
        tensors = [frames.encode(value) for _, value in feeds]
        head = STEP.pack(0.0, CONTINUES) + self._names(handle, feeds, wanted, [partial_handle])
        return self._ask(link, head, tensors, len(wanted), self._timeout(handle, None))

    def make_callable(self, handle: str, options: Any) -> int:
        number = super().make_callable(handle, options)
        kept = config_pb2.CallableOptions()
        kept.CopyFrom(options)
        self._signatures[handle, number] = kept
        return number

    def run_callable(
        self, handle: str, callable_id: int, feeds: Sequence[Any], metadata: Any = None
    ) -> list[Any]:
        made, link = self._signatures.get((handle, callable_id)), self._link
        if made is None or len(feeds) != len(made.feed) or link is None or not link.alive:
            return super().run_callable(handle, callable_id, feeds, metadata)
        named = list(zip(made.feed, feeds))
        return self.run_step(
            handle, named, list(made.fetch), list(made.target), made.run_options, metadata
        )

    def release_callable(self, handle: str, callable_id: int) -> None:
        self._signatures.pop((handle, callable_id), None)
        super().release_callable(handle, callable_id)

    @staticmethod
    def _ask(
        link: Link, head: bytes, tensors: list[Encoded], count: int, limit: float | None
    ) -> list[Any]:
        """Has the server run a step, for `limit` seconds at most; the `count` values of its answer."""
        cancellation = CancellationManager()
        deadline = Deadline.after(limit)
        waits = sending.waits()
        sending.set_waits(limit is None)
        try:
            future = link.call(Kind.RUN_STEP, head, tuple(tensors), _values, cancellation)
            tensors.clear()  # what was sent is not kept while the answer is awaited
            if not future.done():
                link.help_out((link,), thread_waker(), future.done, limit)
            values: list[Any] = future.result(deadline.remaining())
        except OpError:
            raise
        except TimeoutError:
            error = errors.DeadlineExceededError(
                None, None, f"RunStep: no answer from {link.name} in time"
            )
            cancellation.cancel(error)
            raise error from None
        except BaseException:
            cancellation.cancel(errors.CancelledError(None, None, "The client gave up on the step"))
            raise
        finally:
            sending.set_waits(waits)
        if len(values) != count:
            raise errors.InternalError(None, None, "RunStep: the answer has too few values")
        return values

    def _names(
        self,
        handle: str,
        feeds: Sequence[tuple[str, Any]],
        fetches: Sequence[str],
        targets: Sequence[str],
    ) -> bytes:
        names = (handle, *(name for name, _ in feeds))
        key = (names, tuple(fetches), tuple(targets))
        head = self._heads.get(key)
        if head is None:
            head = b"".join(frames.pack_strings(texts) for texts in key)
            if len(self._heads) >= _MAX_HEADS:
                self._heads.clear()
            self._heads[key] = head
        return head


def _asks_for_more(options: Any) -> bool:
    """Whether the options hold more than a time limit."""
    if options is None:
        return False
    plain = config_pb2.RunOptions(timeout_in_ms=options.timeout_in_ms)
    return bool(plain != options)


def _values(message: Message) -> list[Any]:
    values = [frames.decode(tensor, True) for tensor in message.tensors]
    message.tensors.clear()
    return values
