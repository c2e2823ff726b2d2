"""`Link`: the conversation of two processes over one channel: requests and replies both ways, pushed tensors, credit."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import struct
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, TypeAlias

import numpy as np

from flowmesh.core import errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.deadline import Deadline
from flowmesh.core.errors import OpError
from flowmesh.distributed import failure, futures
from flowmesh.distributed.heartbeat import Heartbeat, Rhythm, silence
from flowmesh.distributed.transport.direct import channel as channels, frames
from flowmesh.distributed.transport.direct.channel import Channel, Message
from flowmesh.distributed.transport.direct.frames import Encoded, Form, Kind, Place
from flowmesh.distributed.transport.direct.helping import HELP, Turn, Waker, help_out, thread_waker
from flowmesh.distributed.transport.direct.segments import THRESHOLD, SendPool
from flowmesh.distributed.transport.direct.spinning import arrived

_log = logging.getLogger(__name__)

WINDOW = 64 << 20
"""Bytes of pushed tensors that the other side has not yet asked for. A larger tensor goes when little else is under way."""
_OVERHEAD = 256
_TOGETHER = 64 << 10
"""Bytes up to which tensors are pushed in one message."""
_COPIED = 6
"""As many binary digits less counts towards that what goes through shared memory: 4 MB in one message."""
_MAX_PACKED = 4096
_PUSH = struct.Struct("<q")
"""The step; the rendezvous keys follow, each with a tensor."""
_CREDIT = struct.Struct("<Q")


Transfer: TypeAlias = tuple[str, Any, bool]
"""Rendezvous key, value, and whether it is dead."""


class Service(Protocol):
    """What a process does for those that are connected to it."""

    def request(self, link: Link, message: Message) -> None:
        """Handles a request; replies now or later. Never waits."""

    def pushed(self, link: Link, step_id: int, transfers: Sequence[Transfer], size: int) -> None:
        """Takes tensors that another task sends; `link.consumed(size)` follows when the last of them is used."""

    def found(self, link: Link) -> None:
        """There is a new connection."""

    def lost(self, link: Link, error: OpError) -> None:
        """The connection is gone."""

    def close(self) -> None:
        """Nothing arrives any more."""


class Sink(Protocol):
    """Who waits for the answer to a request; one of the methods is called, once."""

    def answered(self, message: Message) -> None:
        """Takes the answer."""

    def failed(self, error: OpError) -> None:
        """There is none."""


class Cancellable(Protocol):
    """What is being done for the other side."""

    def cancel(self, error: OpError) -> None:
        """Ends it."""


class _FutureSink:
    """Makes a Future of an answer."""

    __slots__ = ("_convert", "_future")

    def __init__(self, future: Future[Any], convert: Callable[[Message], Any]) -> None:
        self._future = future
        self._convert = convert

    def answered(self, message: Message) -> None:
        try:
            value = self._convert(message)
        except Exception as exc:
            futures.fail(self._future, failure.of_exception(exc))
            return
        futures.settle(self._future, value)

    def failed(self, error: OpError) -> None:
        futures.fail(self._future, error)


class Placed:
    """A copy of an array in memory that the other side of a link can read (see `PlacedCopy`)."""

    __slots__ = ("_encoded", "_pool", "array", "link")

    def __init__(self, link: Link, encoded: Encoded, pool: SendPool) -> None:
        self.link = link
        self.array: Any = None
        self._encoded: Encoded | None = encoded
        self._pool = pool

    def leave(self, link: Link) -> Encoded:
        """The tensor as it is sent on this link. Once only: the memory is the other side's then."""
        encoded = self._encoded
        if link is not self.link or encoded is None:
            return frames.encode(self.array)
        self._encoded = None
        return encoded

    def as_sent(self, transfer: Transfer) -> Transfer:
        """The transfer from here, if its value is what was made here."""
        key, value, is_dead = transfer
        return (key, self, False) if value is self.array and not is_dead else transfer

    @property
    def encoded(self) -> Encoded:
        """The tensor, as it will be sent."""
        assert self._encoded is not None
        return self._encoded

    def give_back(self) -> None:
        """See `PlacedCopy`."""
        encoded, self._encoded = self._encoded, None
        if encoded is not None:
            self._pool.give_back(encoded.segment)

    def __del__(self) -> None:
        # This may happen at any point of any thread: no lock is taken.
        if self._encoded is not None:
            self._pool.unsent.append(self._encoded.segment)


class Ready:
    """A message with tensors to be pushed, all but the step that they are for (see `ReadyPush`)."""

    __slots__ = ("_copies", "_frame", "_size", "link")

    def __init__(
        self,
        link: Link,
        packed: bytes,
        tensors: Sequence[Encoded],
        copies: Sequence[Placed],
        size: int,
    ) -> None:
        """`packed` are the rendezvous keys, `copies` those whose memory goes with the message; `size` is what is under way once it is
        sent."""
        self.link = link
        self._size = size
        self._copies = copies
        self._frame = bytearray(frames.frame(Kind.PUSH, 0, _PUSH.pack(0) + packed, tensors))
        for tensor in tensors:
            if tensor.place == Place.STREAM:
                self._frame += memoryview(tensor.data)

    def send(self, step_id: int) -> bool:
        """See `ReadyPush`."""
        _PUSH.pack_into(self._frame, frames.HEADER.size, step_id)
        if not self.link.push_ready(self._frame, self._size):
            return False
        for copy in self._copies:
            copy.leave(self.link)
        return True


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
        self.serving: dict[int, Cancellable] = {}
        """What cancels the requests that are being answered."""
        self.steps: set[int] = set()
        """The steps that the other side, a master, has parts of here, and has not ended."""
        self.known: dict[bytes, Any] = {}
        """Parsed heads, for the service."""
        self._service = service
        channel.is_limited = service is not None
        self._window = window
        self._numbers = itertools.count(1)
        self._pending: dict[int, Sink] = {}
        self._credit_lock = threading.Lock()
        self._outstanding = 0
        self._consumed = 0
        self._unused = 0
        """Bytes of tensors pushed to this side for which it has given no credit."""
        self._held: deque[tuple[bytes, list[Encoded], int]] = deque()
        self._packed: dict[tuple[str, ...], bytes] = {}
        self._reason: OpError | None = None
        self._on_close: list[Callable[[Link], None]] = []
        self.turn = Turn(channel)
        self.ended = False
        """Whether nothing more can be read."""
        self._why = "the other side closed the connection"

    tells = True

    @property
    def gone(self) -> bool:
        """See `Caller`."""
        return not self.alive

    @property
    def busy(self) -> bool:
        """Whether requests are under way, in either direction."""
        return self.alive and bool(self.serving or self._pending)

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
            self._silent,
            self.channel.progress,
        )
        self.on_close(lambda _: heartbeat.close())
        heartbeat.begin()

    def _silent(self, seconds: float) -> None:
        self._reason = errors.UnavailableError(None, None, silence(seconds))
        self.close(self._reason)

    def _ping(self, deadline: Deadline) -> Future[Any]:
        channels.cork()  # never waits for the socket
        try:
            return self.ping()
        finally:
            channels.uncork()

    def ping(self) -> Future[Any]:
        """Done when the other side has answered; fails with UnavailableError, the connection then closed, when it is gone."""
        return self.call(Kind.PING, b"", (), lambda message: None)

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
        self._pending[number] = _FutureSink(future, convert)
        if cancellation is not None:
            token = cancellation.register(lambda error: self.give_up(number, error))
            future.add_done_callback(lambda _: cancellation.deregister(token))
            if future.done():
                return future
        self._ask(kind, number, head, tensors)
        return future

    def ask(self, kind: Kind, head: bytes, tensors: Sequence[Encoded], sink: Sink) -> int:
        """Sends a request; `sink` is told the answer or the error, which may be before this returns. The number that `give_up` takes."""
        number = next(self._numbers)
        self._pending[number] = sink
        self._ask(kind, number, head, tensors)
        return number

    def _ask(self, kind: Kind, number: int, head: bytes, tensors: Sequence[Encoded]) -> None:
        try:
            self.channel.send(kind, number, head, tensors)
        except OpError as error:
            sink = self._pending.pop(number, None)
            if sink is not None:
                sink.failed(self._lost_error(error))

    def expire(self, number: int, error: OpError) -> None:
        """Tells the other side that the time for a request is over; the answer, which says what was waited for, is still taken."""
        if number in self._pending:
            self._abort(number, error)

    def _abort(self, number: int, error: OpError) -> None:
        with contextlib.suppress(OpError):
            self.channel.send(Kind.ABORT, number, frames.pack_error(*failure.to_wire(error)))

    def tell(self, kind: Kind, head: bytes) -> None:
        """Sends a message that has no reply; does nothing when the connection is gone."""
        with contextlib.suppress(OpError):
            self.channel.send(kind, 0, head)

    def give_up(self, number: int, error: OpError) -> None:
        """Ends the wait for an answer with this error, and tells the other side."""
        sink = self._pending.pop(number, None)
        if sink is None:
            return
        self._abort(number, error)
        sink.failed(error)

    # -- pushing -----------------------------------------------------------------------------------------

    def push(self, step_id: int, transfers: Sequence[Transfer]) -> None:
        """Sends tensors that the other side will ask for, small ones together; they are kept here while too much is under way.

        Raises UnavailableError when the connection is gone.
        """
        keys: list[str] = []
        group: list[Encoded] = []
        size = weight = 0
        for key, value, is_dead in transfers:
            if type(value) is Placed:
                encoded = value.leave(self)
            else:
                encoded = frames.encode(None if is_dead else value)
            added = self._weight(encoded)
            if group and weight + added > _TOGETHER:
                self._push(step_id, keys, group, size)
                keys, group, size, weight = [], [], 0, 0
            keys.append(key)
            group.append(encoded)
            size += encoded.size + _OVERHEAD
            weight += added + _OVERHEAD
        self._push(step_id, keys, group, size)

    def room(self, shape: tuple[int, ...], dtype: Any) -> Placed | None:
        """An array of numbers where the other side can read it, to be filled and pushed later; None where there is no place for it."""
        size = math.prod(shape) * dtype.itemsize
        try:
            found = self.channel.room(size)
        except OpError:  # the connection is gone
            return None
        if found is None:
            return None
        segment, pool = found
        encoded = frames.encoded_in(segment.number, shape, dtype)
        placed = Placed(self, encoded, pool)
        placed.array = segment.array[:size].view(dtype).reshape(shape)
        return placed

    def place(self, array: np.ndarray) -> Placed | None:
        """A copy of an array where the other side can read it, to be pushed later; None where there is no place for it."""
        if array.nbytes < THRESHOLD:
            return None
        try:
            encoded = frames.encode(array)
            pool = self.channel.place(encoded)
        except OpError:  # the connection is gone, or it is no array to be sent
            return None
        return None if pool is None else Placed(self, encoded, pool)

    def _weight(self, encoded: Encoded) -> int:
        """How long others in the same message wait for this tensor, in bytes that are sent."""
        if encoded.size >= THRESHOLD and self.channel.shared_memory:
            return encoded.size >> _COPIED  # the message is small, but waits until all is copied
        return encoded.size

    def ready(self, tensors: Sequence[tuple[str, Any]]) -> Ready | None:
        """What `push` would send for these keys and values, of which some may be placed copies; None where that is several messages."""
        if len(tensors) > _TOGETHER // _OVERHEAD:
            return None
        group: list[Encoded] = []
        copies: list[Placed] = []
        size = weight = len(tensors) * _OVERHEAD
        for _, value in tensors:
            if type(value) is Placed:
                encoded = value.encoded
                copies.append(value)
            else:
                encoded = frames.encode(value)
                weight += encoded.size
                if weight > _TOGETHER:
                    return None
            size += encoded.size
            group.append(encoded)
        return Ready(self, self._names(tuple([key for key, _ in tensors])), group, copies, size)

    def push_ready(self, frame: bytearray, size: int) -> bool:
        """Sends a message that was made ready; False, with nothing sent, when it would have to wait for others."""
        with self._credit_lock:
            if self._held or not self._fits(size):
                return False
            self._outstanding += size
        if self.channel.send_at_once(frame):
            return True
        with self._credit_lock:
            self._outstanding -= size
        return False

    def _names(self, names: tuple[str, ...]) -> bytes:
        packed = self._packed.get(names)
        if packed is None:
            packed = frames.pack_strings(names)
            if len(self._packed) >= _MAX_PACKED:
                self._packed.clear()
            self._packed[names] = packed
        return packed

    def _push(self, step_id: int, keys: list[str], group: list[Encoded], size: int) -> None:
        head = _PUSH.pack(step_id) + self._names(tuple(keys))
        with self._credit_lock:
            if self._held or not self._fits(size):
                self._held.append((head, group, size))
                return
            self._outstanding += size
        try:
            self.channel.send(Kind.PUSH, 0, head, group)
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
            self._unused -= amount
        self.tell(Kind.CREDIT, _CREDIT.pack(amount))

    def _credited(self, amount: int) -> None:
        ready = []
        with self._credit_lock:
            self._outstanding = max(0, self._outstanding - amount)
            while self._held and self._fits(self._held[0][2]):
                head, group, size = self._held.popleft()
                self._outstanding += size
                ready.append((head, group))
        for head, group in ready:
            self.channel.send(Kind.PUSH, 0, head, group)

    # -- answering -----------------------------------------------------------------------------------------

    @staticmethod
    def waker() -> Waker:
        """See `thread_waker`."""
        return thread_waker()

    @staticmethod
    def help_out(
        links: Sequence[Link], waker: Waker, over: Callable[[], bool], seconds: float | None
    ) -> None:
        """See the function of this name; for so many seconds at most."""
        help_out(links, waker, over, HELP if seconds is None else min(HELP, seconds))

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
        """Handles what arrives until the connection ends. Steps aside while waiting threads do so themselves (`help_out`)."""
        turn = self.turn
        while not self.ended:
            turn.step_aside()
            if turn.wait():
                with turn.lock:
                    if not self.ended and turn.is_due():
                        self.read()
        self.close(errors.UnavailableError(None, None, self._why))
        self.channel.release()

    def read(self) -> None:
        """Waits for one message and handles it; sets `ended` when there will be no more. The turn is held."""
        channel = self.channel
        over = True
        try:
            message = channel.read_message()
            if message is None:
                return
            arrived()
            channels.cork()
            try:
                if not channel.handle_own(message):
                    self._handle(message)
                del message
                channel.give_back(bool(self.serving))
            finally:
                channels.uncork()
            over = False
        except (frames.MalformedError, struct.error) as error:
            self._why = f"it sent a malformed message: {error}"
            _log.warning("The connection to %s is closed: %s", self.name, self._why)
        except MemoryError:
            self._why = "no memory for what it sent"
        except OpError as error:
            self._why = error.message
        except Exception as error:
            self._why = f"{type(error).__name__}: {error}"
            _log.exception("The connection to %s is closed", self.name)
        finally:
            if over:
                self.ended = True
                # The reading thread is woken, and closes the link.
                self.channel.close(errors.UnavailableError(None, None, self._why))

    def _handle(self, message: Message) -> None:
        kind = message.kind
        if message.refusal is not None:
            if kind == Kind.PUSH:  # somebody waits for it
                raise message.refusal
            self.reply_error(message.request, message.refusal)
            return
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
        sink = self._pending.pop(message.request, None)
        if sink is None:
            return  # it was given up
        if message.kind == Kind.ERROR:
            code, text = frames.unpack_error(_stripped(message))
            sink.failed(failure.from_wire(code, text))
        else:
            sink.answered(message)

    def _push_arrived(self, message: Message) -> None:
        (step_id,) = _PUSH.unpack_from(message.meta)
        packed = message.meta[_PUSH.size : message.head_size]
        keys = self.known.get(packed)
        if keys is None:
            keys = frames.unpack_strings(packed, 0)[0]
            if len(self.known) >= _MAX_PACKED:
                self.known.clear()
            self.known[packed] = keys
        tensors = message.tensors
        if not keys or len(tensors) != len(keys):
            raise frames.MalformedError("pushed tensors without values or keys")
        size = _OVERHEAD * len(tensors)
        transfers = []
        for key, tensor in zip(keys, tensors):
            size += tensor.size
            transfers.append((key, frames.decode(tensor), tensor.form == Form.DEAD))
        with self._credit_lock:
            # A sender that keeps to the rules has seen no more credit than was given: see `_fits`.
            if self._unused > self._window // 2 and self._unused + size > self._window:
                raise frames.MalformedError("it pushes more than is taken from it")
            self._unused += size
        if self._service is None:
            self.consumed(size)
        else:
            self._service.pushed(self, step_id, transfers, size)

    # -- the end -------------------------------------------------------------------------------------------

    def close(self, error: OpError) -> None:
        """Ends the connection: what waits for it fails with UnavailableError, what it asked for here is cancelled."""
        error = self._reason or error  # closing wakes the reading thread, which only sees the end
        self.channel.close(error)
        with self._credit_lock:
            if not self.alive:
                return
            self.alive = False
        self.turn.resume()
        lost = self._lost_error(error)
        while self._pending:
            try:
                _, sink = self._pending.popitem()
            except KeyError:
                break
            sink.failed(lost)
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
