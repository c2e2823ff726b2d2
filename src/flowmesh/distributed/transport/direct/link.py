"""`Link`: the conversation of two processes over one channel: requests and replies both ways, pushed tensors, credit."""

from __future__ import annotations

import contextlib
import itertools
import logging
import struct
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from flowmesh.core import errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.deadline import Deadline
from flowmesh.core.errors import OpError
from flowmesh.distributed import failure, futures
from flowmesh.distributed.heartbeat import Heartbeat, Rhythm, silence
from flowmesh.distributed.transport.direct import channel as channels, frames
from flowmesh.distributed.transport.direct.channel import Channel, Message
from flowmesh.distributed.transport.direct.frames import Encoded, Kind

_log = logging.getLogger(__name__)

WINDOW = 64 << 20
"""Bytes of pushed tensors that the other side has not yet asked for. A larger tensor goes when little else is under way."""
_OVERHEAD = 256
_PUSH = struct.Struct("<QBxxxI")
_CREDIT = struct.Struct("<Q")


class Service(Protocol):
    """What a process does for those that are connected to it."""

    def request(self, link: Link, message: Message) -> None:
        """Handles a request; replies now or later. Never waits."""

    def pushed(
        self, link: Link, step_id: int, key: str, value: Any, is_dead: bool, size: int
    ) -> None:
        """Takes a tensor that another task sends; `link.consumed(size)` follows when it is used."""

    def lost(self, link: Link, error: OpError) -> None:
        """The connection is gone."""

    def close(self) -> None:
        """Nothing arrives any more."""


class Link:
    """One connection that has been agreed on. Thread-safe; `run` is for the reading thread."""

    def __init__(
        self,
        channel: Channel,
        identity: str,
        name: str,
        service: Service | None,
        window: int = WINDOW,
    ):
        """`identity` is that of the server or client at the other end, `name` what to call it in errors."""
        self.channel = channel
        self.identity = identity
        self.name = name
        self.alive = True
        self.serving: dict[int, CancellationManager] = {}
        """What cancels the requests that are being answered."""
        self.known: dict[bytes, Any] = {}
        """Parsed heads, for the service."""
        self._service = service
        self._window = window
        self._numbers = itertools.count(1)
        self._pending: dict[int, tuple[Future[Any], Callable[[Message], Any]]] = {}
        self._credit_lock = threading.Lock()
        self._outstanding = 0
        self._consumed = 0
        self._held: deque[tuple[bytes, Encoded, int]] = deque()
        self._on_close: list[Callable[[Link], None]] = []

    def on_close(self, callback: Callable[[Link], None]) -> None:
        """Has `callback(link)` called at the end, now if that has come."""
        self._on_close.append(callback)
        if not self.alive:
            callback(self)

    def watch(self, rhythm: Rhythm) -> None:
        """Asks the other side for signs of life from now on: a silent one ends the connection."""
        heartbeat = Heartbeat(
            self.name,
            rhythm,
            self._ping,
            lambda seconds: self.close(errors.UnavailableError(None, None, silence(seconds))),
            self.channel.progress,
        )
        self.on_close(lambda _: heartbeat.close())
        heartbeat.begin()

    def _ping(self, deadline: Deadline) -> Future[Any]:
        channels.cork()  # never waits for the socket
        try:
            return self.call(Kind.PING, b"", (), lambda message: None)
        finally:
            channels.uncork()

    def __repr__(self) -> str:
        return f"<Link to {self.name}{'' if self.alive else ' (closed)'}>"

    # -- asking ------------------------------------------------------------------------------------------

    def call(
        self,
        kind: Kind,
        head: bytes,
        tensors: Sequence[Encoded],
        convert: Callable[[Message], Any],
        cancellation: CancellationManager | None = None,
    ) -> Future[Any]:
        """Sends a request; the future has what `convert` makes of the reply. Cancelling tells the other side, and fails the
        future with the reason at once."""
        future: Future[Any] = Future()
        number = next(self._numbers)
        self._pending[number] = (future, convert)
        if cancellation is not None:
            token = cancellation.register(lambda error: self._give_up(number, error))
            future.add_done_callback(lambda _: cancellation.deregister(token))
            if future.done():
                return future
        try:
            self.channel.send(kind, number, head, tensors)
        except OpError as error:
            if self._pending.pop(number, None) is not None:
                futures.fail(future, self._lost_error(error))
        return future

    def tell(self, kind: Kind, head: bytes) -> None:
        """Sends a message that has no reply; does nothing when the connection is gone."""
        with contextlib.suppress(OpError):
            self.channel.send(kind, 0, head)

    def _give_up(self, number: int, error: OpError) -> None:
        found = self._pending.pop(number, None)
        if found is None:
            return
        with contextlib.suppress(OpError):
            self.channel.send(Kind.ABORT, number, frames.pack_error(*failure.to_wire(error)))
        futures.fail(found[0], error)

    # -- pushing -----------------------------------------------------------------------------------------

    def push(self, step_id: int, key: str, value: Any, is_dead: bool) -> None:
        """Sends a tensor that the other side will ask for; it is kept here while too much is under way.

        Raises UnavailableError when the connection is gone.
        """
        encoded = frames.encode(None if is_dead else value)
        data = key.encode()
        head = _PUSH.pack(step_id & 0xFFFFFFFFFFFFFFFF, is_dead, len(data)) + data
        size = encoded.size + _OVERHEAD
        with self._credit_lock:
            if self._held or not self._fits(size):
                self._held.append((head, encoded, size))
                return
            self._outstanding += size
        try:
            self.channel.send(Kind.PUSH, 0, head, (encoded,))
        except OpError as error:
            raise self._lost_error(error) from None

    def _fits(self, size: int) -> bool:
        return self._outstanding + size <= self._window or self._outstanding <= self._window // 2

    def consumed(self, size: int) -> None:
        """A pushed tensor of this size was asked for: the other side may send more."""
        with self._credit_lock:
            self._consumed += size
            if self._consumed < self._window // 4:
                return
            amount, self._consumed = self._consumed, 0
        self.tell(Kind.CREDIT, _CREDIT.pack(amount))

    def _credited(self, amount: int) -> None:
        ready = []
        with self._credit_lock:
            self._outstanding = max(0, self._outstanding - amount)
            while self._held and self._fits(self._held[0][2]):
                head, encoded, size = self._held.popleft()
                self._outstanding += size
                ready.append((head, encoded))
        for head, encoded in ready:
            self.channel.send(Kind.PUSH, 0, head, (encoded,))

    # -- answering -----------------------------------------------------------------------------------------

    def reply(self, number: int, head: bytes, tensors: Sequence[Encoded] = ()) -> None:
        """Answers a request; what cannot be delivered is dropped."""
        with contextlib.suppress(OpError):
            self.channel.send(Kind.REPLY, number, head, tensors)

    def reply_error(self, number: int, error: BaseException) -> None:
        """Answers a request with an error."""
        code, text = failure.to_wire(failure.of_exception(error))
        with contextlib.suppress(OpError):
            self.channel.send(Kind.ERROR, number, frames.pack_error(code, text))

    # -- reading -------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Handles what arrives until the connection ends."""
        why = "the other side closed the connection"
        channel = self.channel
        try:
            while (message := channel.read_message()) is not None:
                channels.cork()
                try:
                    if not channel.handle_own(message):
                        self._handle(message)
                    del message
                    channel.give_back()
                finally:
                    channels.uncork()
        except (frames.MalformedError, struct.error) as error:
            why = f"it sent a malformed message: {error}"
            _log.warning("The connection to %s is closed: %s", self.name, why)
        except MemoryError:
            why = "no memory for what it sent"
        except OpError as error:
            why = error.message
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            _log.exception("The connection to %s is closed", self.name)
        finally:
            self.close(errors.UnavailableError(None, None, why))
            channel.release()

    def _handle(self, message: Message) -> None:
        kind = message.kind
        if kind == Kind.REPLY or kind == Kind.ERROR:
            self._answered(message)
        elif kind == Kind.PUSH:
            self._push_arrived(message)
        elif kind == Kind.CREDIT:
            self._credited(*_CREDIT.unpack_from(message.meta))
        elif kind == Kind.ABORT:
            cancellation = self.serving.get(message.request)
            if cancellation is not None:
                cancellation.cancel(failure.from_wire(*frames.unpack_error(_stripped(message))))
        elif kind == Kind.PING:
            self.reply(message.request, b"")
        elif self._service is None:
            error = errors.UnimplementedError(None, None, f"Message {kind} is not for a client")
            self.reply_error(message.request, error)
        else:
            self._service.request(self, message)

    def _answered(self, message: Message) -> None:
        found = self._pending.pop(message.request, None)
        if found is None:
            return  # it was given up
        future, convert = found
        if message.kind == Kind.ERROR:
            code, text = frames.unpack_error(_stripped(message))
            futures.fail(future, failure.from_wire(code, text))
            return
        try:
            value = convert(message)
        except Exception as exc:
            futures.fail(future, failure.of_exception(exc))
            return
        futures.settle(future, value)

    def _push_arrived(self, message: Message) -> None:
        step_id, is_dead, length = _PUSH.unpack_from(message.meta)
        start = _PUSH.size
        if len(message.tensors) != 1 or start + length > message.head_size:
            raise frames.MalformedError("a pushed tensor without value or key")
        key = message.meta[start : start + length].decode()
        if step_id >= 1 << 63:
            step_id -= 1 << 64
        tensor = message.tensors[0]
        value = frames.decode(tensor)
        size = tensor.size + _OVERHEAD
        if self._service is None:
            self.consumed(size)
        else:
            self._service.pushed(self, step_id, key, value, bool(is_dead), size)

    # -- the end -------------------------------------------------------------------------------------------

    def close(self, error: OpError) -> None:
        """Ends the connection: what waits for it fails with UnavailableError, what it asked for here is cancelled."""
        self.channel.close(error)
        with self._credit_lock:
            if not self.alive:
                return
            self.alive = False
        lost = self._lost_error(error)
        while self._pending:
            try:
                _, (future, _) = self._pending.popitem()
            except KeyError:
                break
            futures.fail(future, lost)
        gone = failure.mark_derived(
            errors.CancelledError(None, None, f"The connection to {self.name} was lost")
        )
        for cancellation in list(self.serving.values()):
            cancellation.cancel(gone)
        self._held.clear()
        for callback in self._on_close:
            callback(self)
        if self._service is not None:
            self._service.lost(self, lost)

    def _lost_error(self, error: OpError) -> OpError:
        return errors.UnavailableError(
            None, None, f"{self.name} cannot be reached: {error.message}"
        )


def _stripped(message: Message) -> bytes:
    """The head without the zero bytes that fill it up."""
    head = message.head
    return head[:4] + head[4:].rstrip(b"\0")
