"""`Link`: the conversation of two processes over one channel: requests and replies both ways, pushed tensors, credit."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import select
import struct
import threading
import time
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
HELP = 0.05
"""Seconds for which a waiting thread reads by itself."""
_ASIDE = 0.01
"""Seconds for which a reading thread steps aside after a waiting one has read."""
_LEND = 0.002
"""Seconds to wait for the reading thread to step aside."""
_CONTENTION = 1.0
"""Seconds for which it does not, when several threads wait at a time."""
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

    def found(self, link: Link) -> None:
        """There is a new connection."""

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
        self.steps: set[int] = set()
        """The steps that the other side, a master, has parts of here, and has not ended."""
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
        self._reason: OpError | None = None
        self._on_close: list[Callable[[Link], None]] = []
        self._role = threading.Lock()
        """Held by the thread that reads."""
        self._helped = False
        self._ended = False
        self._resume = threading.Event()
        self._kick = Waker()
        self._poll: Any = None
        self._contended = 0.0
        self._why = "the other side closed the connection"

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

    @staticmethod
    def waker() -> Waker:
        """See `thread_waker`."""
        return thread_waker()

    @staticmethod
    def help_out(links: Sequence[Link], waker: Waker, over: Callable[[], bool]) -> None:
        """See the function of this name."""
        help_out(links, waker, over)

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
        while not self._ended:
            while self._helped:
                self._helped = False
                self._resume.wait(_ASIDE)
                self._resume.clear()
            with self._role:
                if not self._ended and self._wait_readable():
                    self._read()
        self.close(errors.UnavailableError(None, None, self._why))
        self.channel.release()

    def _wait_readable(self) -> bool:
        """Waits until something arrives; False when a waiting thread wants to read it."""
        if not self.channel.can_poll or self.channel.has_more:
            return True
        poll = self._poll
        if poll is None:
            poll = self._poll = select.poll()
            poll.register(self.channel.fileno(), select.POLLIN)
            poll.register(self._kick.fd, select.POLLIN)
        ready = poll.poll()
        if any(number == self._kick.fd for number, _ in ready):
            self._kick.rest()
            return len(ready) > 1 and not self._helped
        return True

    def _lend(self) -> bool:
        """Takes the role of the reading thread over, if it can be had soon."""
        if not self.channel.can_poll or time.monotonic() < self._contended:
            return False
        self._helped = True
        if self._role.acquire(blocking=False):
            return True
        self._kick()
        if self._role.acquire(timeout=_LEND):
            return True
        # Several threads wait for this connection: they leave it to the thread that is made for it.
        self._contended = time.monotonic() + _CONTENTION
        self._return()
        return False

    def _return(self) -> None:
        """Has the reading thread go on at once."""
        self._helped = False
        self._resume.set()

    def _read(self) -> None:
        """Waits for one message and handles it; sets `_ended` when there will be no more. `_role` is held."""
        channel = self.channel
        self._ended = True
        try:
            message = channel.read_message()
            if message is None:
                return
            channels.cork()
            try:
                if not channel.handle_own(message):
                    self._handle(message)
                del message
                channel.give_back()
            finally:
                channels.uncork()
            self._ended = False
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
            if self._ended:
                # The reading thread is woken, and closes the link.
                self.channel.close(errors.UnavailableError(None, None, self._why))

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
        error = self._reason or error  # closing wakes the reading thread, which only sees the end
        self.channel.close(error)
        with self._credit_lock:
            if not self.alive:
                return
            self.alive = False
        self._return()
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


class Waker:
    """Ends a `help_out` from another thread."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._used = False

    def __call__(self) -> None:
        os.eventfd_write(self.fd, 1)
        self._used = True  # last: what was written is read sooner or later

    def rest(self) -> None:
        """Forgets earlier calls."""
        if self._used:
            self._used = False
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self.fd)

    def __del__(self) -> None:
        os.close(self.fd)


_thread = threading.local()


def thread_waker() -> Waker:
    """The waker of this thread."""
    found: Waker | None = getattr(_thread, "waker", None)
    if found is None:
        found = _thread.waker = Waker()
    found.rest()
    return found


def help_out(
    links: Sequence[Link], waker: Waker, over: Callable[[], bool], seconds: float = HELP
) -> None:
    """Handles what arrives on these links in the calling thread, which waits for some of it, until `over()` or for so long.
    `waker` is the thread's own: who ends the wait from elsewhere calls it.

    To wake a thread costs about as much as a message does. Links that another thread is reading from are left to it.
    """
    mine = []
    poll = select.poll()
    poll.register(waker.fd, select.POLLIN)
    try:
        for link in links:
            if not link._lend():
                break
            mine.append(link)
            if not link._ended:
                poll.register(link.channel.fileno(), select.POLLIN)
        else:
            _help(mine, poll, over, time.monotonic() + seconds)
    finally:
        for link in mine:
            if over() and not link._ended and time.monotonic() >= link._contended:
                link._helped = True
            else:
                link._return()
            link._role.release()


def _help(links: Sequence[Link], poll: Any, over: Callable[[], bool], end: float) -> None:
    by_number = {link.channel.fileno(): link for link in links}
    while not over():
        ready = [link for link in links if link.channel.has_more]
        if not ready:
            left = end - time.monotonic()
            if left <= 0:
                return
            ready = [by_number[n] for n, _ in poll.poll(left * 1000) if n in by_number]
            if not ready:
                return
        for link in ready:
            link._read()
            if link._ended:
                return


def _stripped(message: Message) -> bytes:
    """The head without the zero bytes that fill it up."""
    head = message.head
    return head[:4] + head[4:].rstrip(b"\0")
