"""`Channel`: frames over one socket. Anybody may send; one thread reads and hands on what arrives.

Sending never waits in a reading thread: what the socket does not take at once a thread made for the purpose sends, and it also copies what
is very large into shared memory. Frames that a reading thread causes are sent together when it has handled what it read.
"""

from __future__ import annotations

import array
import contextlib
import os
import select
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from flowmesh.core import errors, limits
from flowmesh.distributed import sending
from flowmesh.distributed.transport.direct import frames
from flowmesh.distributed.transport.direct.frames import Descriptor, Encoded, Form, Kind, Place
from flowmesh.distributed.transport.direct.memory import BufferPool, shared_pool
from flowmesh.distributed.transport.direct.segments import THRESHOLD, Mappings, Segment, SendPool

_BUFFER = 256 << 10
_BATCH = 64
_CORKED = 64 << 10
"""Bytes from which on a reading thread does not keep frames back."""
_LARGE = 64 << 20
"""Bytes that take so long to copy that a reading thread does not do it."""
_HELD_BACK = 8 << 20
"""Bytes of the other side's segments that may wait for a frame to go with."""
_FDS = 16
_SEGMENT = struct.Struct("<IQ")
_NOWAIT = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL

_NOTHING = frames.frame(Kind.FREE, 0, b"", ())

_thread = threading.local()


class Message(NamedTuple):
    """A frame that arrived, with its data."""

    kind: int
    flags: int
    request: int
    meta: bytes
    """Begins with the head."""
    head_size: int
    tensors: list[Descriptor]
    refusal: errors.OpError | None = None
    """Why the tensors' data was not taken."""

    @property
    def head(self) -> bytes:
        """The message's own fields; may end with up to seven zero bytes."""
        return self.meta[: self.head_size]


class Channel:
    """One connection. `close` may be called from any thread."""

    def __init__(self, sock: socket.socket, pool: BufferPool = shared_pool):
        self._socket = sock
        self._unix = sock.family == socket.AF_UNIX
        self._pool = pool
        self._lock = threading.Lock()
        self._queue: deque[tuple[Any, Segment | None]] = deque()
        self._sending = False
        self._failure: errors.OpError | None = None
        self._segments: SendPool | None = None
        self._mappings = Mappings()
        self._fds: deque[int] = deque()
        self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._received = self._sent = 0
        self.latest = 0
        """The kind of the message that was read last."""
        self.is_limited = False
        """Whether tensors over the process's limit are refused, other than in replies."""
        if not self._unix:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self, shared_memory: bool) -> None:
        """The greetings are over. `shared_memory`: whether both ends can share memory, and want to."""
        if shared_memory:
            self._segments = SendPool(self._forget_segments)

    def progress(self) -> tuple[int, int]:
        """Changes when something arrives, or the other side takes what waits to be sent."""
        return self._received, self._sent if self._queue else 0

    @property
    def shared_memory(self) -> bool:
        """Whether large tensors are sent through shared memory."""
        return self._segments is not None

    # -- sending -----------------------------------------------------------------------------------------

    def send(
        self,
        kind: int,
        request: int,
        head: bytes,
        tensors: Sequence[Encoded] = (),
        flags: int = 0,
    ) -> None:
        """Sends a frame. Waits for the socket only in a thread that does not read from one. Raises the failure of a channel
        that is closed."""
        if is_reading() and sum(t.size for t in tensors) > _LARGE:
            work = (kind, request, head, tensors, flags)
            threading.Thread(
                target=self._send_quietly, args=work, name="flowmesh-direct-send"
            ).start()
            return
        buffers: list[tuple[Any, Segment | None]] = []
        streamed: list[Any] = []
        for tensor in tensors:
            if tensor.place == Place.STREAM:
                self._place(tensor, buffers, streamed)
        buffers.append((frames.frame(kind, request, head, tensors, flags), None))
        buffers.extend((data, None) for data in streamed)
        if self._mappings.returned:
            buffers.append((self._free_frame(), None))
        self._enqueue(buffers)

    def _send_quietly(self, *work: Any) -> None:
        with contextlib.suppress(errors.OpError):  # the connection is gone: all who wait are told
            self.send(*work)

    def _place(
        self,
        tensor: Encoded,
        buffers: list[tuple[Any, Segment | None]],
        streamed: list[Any],
    ) -> None:
        """Puts a large tensor into shared memory, or else after the frame."""
        if not self._share(tensor, buffers):
            streamed.append(memoryview(tensor.data))

    def _share(self, tensor: Encoded, buffers: list[tuple[Any, Segment | None]]) -> bool:
        """Puts a large tensor into shared memory, if it can be; a new piece of it has to be announced by what is put into `buffers`."""
        if (
            self._segments is None
            or tensor.size < THRESHOLD
            or tensor.form != Form.NUMBERS
            or (taken := self._segments.take(tensor.size)) is None
        ):
            return False
        segment, new = taken
        np.copyto(segment.array[: tensor.size], tensor.data)
        tensor.place, tensor.segment = Place.SHARED, segment.number
        if new:
            buffers.append(self._announcement(segment))
        return True

    @staticmethod
    def _announcement(segment: Segment) -> tuple[bytes, Segment]:
        head = _SEGMENT.pack(segment.number, segment.size)
        return frames.frame(Kind.SEGMENT, 0, head, ()), segment

    def room(self, size: int) -> tuple[Segment, SendPool] | None:
        """Shared memory for a large tensor, and the pool to which it goes back if it is not sent; None where there is none."""
        pool = self._segments
        if pool is None or size < THRESHOLD or (taken := pool.take(size)) is None:
            return None
        segment, new = taken
        if new:
            self._enqueue([self._announcement(segment)])
        return segment, pool

    def place(self, tensor: Encoded) -> SendPool | None:
        """Copies a large tensor into shared memory, from where a later frame sends it; the pool to which its segment goes back
        otherwise. None, with nothing done, when it has no place there."""
        buffers: list[tuple[Any, Segment | None]] = []
        if tensor.place != Place.STREAM or not self._share(tensor, buffers):
            return None
        tensor.data = None  # who has a reference keeps a variable from being written to in place
        if buffers:
            self._enqueue(buffers)
        return self._segments

    def _enqueue(self, buffers: list[tuple[Any, Segment | None]]) -> None:
        corked = getattr(_thread, "corked", None)
        with self._lock:
            if self._failure is not None:
                # A new one each time: its traceback must not keep alive what this channel is part of.
                raise errors.make(self._failure.error_code, self._failure.message)
            queue = self._queue
            if not queue and not self._sending and corked is None and len(buffers) == 1:
                # The usual case: one small frame, which the socket takes at once.
                data, segment = buffers[0]
                if segment is None and self._send_at_once(data):
                    return
            queue.extend(buffers)
            if self._sending:
                return
            if corked is not None:
                if self not in corked:
                    corked.append(self)
                if len(queue) < _BATCH and sum(len(b) for b, _ in buffers) < _CORKED:
                    return
            self._sending = True
        self._flush(may_wait=corked is None and sending.waits())

    def _send_at_once(self, data: bytes | bytearray) -> bool:
        try:
            sent = self._socket.send(data, _NOWAIT)
        except OSError:  # full or broken: the ordinary way finds out
            return False
        if sent == len(data):
            return True
        self._queue.append((memoryview(data)[sent:], None))
        self._sending = True
        threading.Thread(target=self._flush, args=(True,), name="flowmesh-direct-send").start()
        return True

    def send_at_once(self, data: bytes | bytearray) -> bool:
        """Sends a frame now, also in a thread that keeps frames back; False, with nothing sent, when others wait to be sent."""
        with self._lock:
            if self._queue or self._sending or self._failure is not None:
                return False
            return self._send_at_once(data)

    def wake(self) -> None:
        """Has the other side's reading thread run, so that it is awake when what will be sent soon arrives: a list of no segments."""
        self.send_at_once(_NOTHING)

    def flush(self) -> None:
        """Sends what a reading thread has kept back."""
        with self._lock:
            if self._sending or not self._queue:
                return
            self._sending = True
        self._flush(may_wait=False)

    def _flush(self, may_wait: bool) -> None:
        while True:
            with self._lock:
                if not self._queue or self._failure is not None:
                    self._sending = False
                    return
                batch, segment = self._next_batch()
            try:
                if segment is None:
                    sent = self._socket.sendmsg(batch, (), _NOWAIT)
                else:
                    ancillary = (
                        socket.SOL_SOCKET,
                        socket.SCM_RIGHTS,
                        array.array("i", [segment.fd]),
                    )
                    sent = self._socket.sendmsg(batch, (ancillary,), _NOWAIT)
            except (BlockingIOError, InterruptedError):
                if may_wait:
                    self._wait_writable()
                    continue
                # Leaves `_sending` set: the queue is the new thread's now.
                threading.Thread(
                    target=self._flush, args=(True,), name="flowmesh-direct-send"
                ).start()
                return
            except OSError as error:
                self.close(
                    errors.UnavailableError(None, None, f"connection lost: {error.strerror}")
                )
                return
            if segment is not None:
                segment.announced()
            with self._lock:
                self._sent += sent
                self._drop(sent)

    def _next_batch(self) -> tuple[list[Any], Segment | None]:
        """Buffers to send with one call, and the segment that goes with the first of them."""
        first = self._queue[0][1]
        batch = []
        for number, (data, segment) in enumerate(self._queue):
            if number and (segment is not None or number >= _BATCH):
                break
            batch.append(data)
        return batch, first

    def _drop(self, sent: int) -> None:
        queue = self._queue
        while queue:
            data, _ = queue[0]
            size = data.nbytes if isinstance(data, memoryview) else len(data)
            if sent < size:
                queue[0] = (memoryview(data).cast("B")[sent:], None)
                return
            sent -= size
            queue.popleft()
            if not sent:
                return

    def _wait_writable(self) -> None:
        poll = select.poll()
        try:
            poll.register(self._socket, select.POLLOUT)
            poll.poll()
        except (OSError, ValueError):
            pass  # closed meanwhile: sending finds out

    def _free_frame(self) -> bytes:
        numbers = array.array("I")
        returned = self._mappings.returned
        while returned:
            numbers.append(returned.popleft())
        return frames.frame(Kind.FREE, 0, numbers.tobytes(), (), len(numbers))

    def _forget_segments(self, numbers: Sequence[int]) -> None:
        """Has the other side unmap segments."""
        head = array.array("I", numbers).tobytes()
        with contextlib.suppress(errors.OpError):  # gone, and the mappings with it
            self.send(Kind.FREE, 1, head, (), len(numbers))

    # -- receiving ---------------------------------------------------------------------------------------

    def read_message(self, limit: int = frames.MAX_META) -> Message | None:
        """The next message, waiting for it; None when the other side is gone. MalformedError for what is none, or
        is longer than `limit` without its tensors."""
        header = frames.HEADER
        if not self._buffered(header.size):
            return None
        size, head_size, kind, flags, count, request = header.unpack_from(self._buffer, self._start)
        if size > limit or head_size > size:
            raise frames.MalformedError(f"a frame of {size} bytes with a head of {head_size}")
        self._start += header.size
        self.latest = kind
        if size <= self._end - self._start:
            meta = bytes(self._view[self._start : self._start + size])
            self._start += size
        else:
            long = bytearray(size)
            if not self._fill(memoryview(long)):
                return None
            meta = bytes(long)
        tensors: list[Descriptor] = []
        if count:
            if limit != frames.MAX_META:
                raise frames.MalformedError("tensors in a greeting")
            tensors = frames.parse_descriptors(meta, head_size, count)
            if self.is_limited and kind != Kind.REPLY:
                largest = 0
                for tensor in tensors:
                    if tensor.size > largest:
                        largest = tensor.size
                if largest > limits.current().tensor:
                    refusal = limits.exceeded("A tensor is too large", largest, "tensor")
                    if not self._discard(tensors):
                        return None
                    return Message(kind, flags, request, meta, head_size, tensors, refusal)
            for tensor in tensors:
                if tensor.place != Place.INLINE and not self._fetch(tensor):
                    return None
        return Message(kind, flags, request, meta, head_size, tensors)

    def _discard(self, tensors: Sequence[Descriptor]) -> bool:
        """Reads past the data of tensors."""
        left = sum(tensor.size for tensor in tensors if tensor.place == Place.STREAM)
        scrap = memoryview(bytearray(min(left, _BUFFER)))
        while left:
            part = scrap[: min(left, len(scrap))]
            if not self._fill(part):
                return False
            left -= len(part)
        for tensor in tensors:
            if tensor.place == Place.SHARED:
                self._mappings.returned.append(tensor.segment)
        return True

    def _fetch(self, tensor: Descriptor) -> bool:
        if tensor.place == Place.SHARED:
            try:
                tensor.data = self._mappings.view(tensor.segment, tensor.size)
            except KeyError:
                raise frames.MalformedError(f"no such segment: {tensor.segment}") from None
            return True
        tensor.data, tensor.start = self._pool.take(tensor.size)
        return self._fill(memoryview(tensor.data.data)[tensor.start :][: tensor.size])

    def _buffered(self, size: int) -> bool:
        """Waits until that many bytes are in the buffer."""
        while self._end - self._start < size:
            if self._start == self._end:
                self._start = self._end = 0
            elif self._start > _BUFFER // 2:
                left = self._end - self._start
                self._buffer[:left] = self._buffer[self._start : self._end]
                self._start, self._end = 0, left
            received = self._receive(self._view[self._end :])
            if not received:
                return False
            self._end += received
        return True

    def _fill(self, target: memoryview) -> bool:
        """Reads straight into `target` what is not in the buffer already."""
        done = min(len(target), self._end - self._start)
        target[:done] = self._view[self._start : self._start + done]
        self._start += done
        while done < len(target):
            received = self._receive(target[done:])
            if not received:
                return False
            done += received
        return True

    def _receive(self, target: memoryview) -> int:
        try:
            if not self._unix:
                size = self._socket.recv_into(target)
                self._received += size
                return size
            space = socket.CMSG_SPACE(4 * _FDS)
            size, ancillary, _, _ = self._socket.recvmsg_into(
                [target], space, socket.MSG_CMSG_CLOEXEC
            )
        except OSError:
            return 0
        self._received += size
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array.array("i")
                numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
                self._fds.extend(numbers)
        return size

    @property
    def can_poll(self) -> bool:
        """Whether the descriptor tells that there is something to read."""
        return isinstance(self._socket, socket.socket)

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    @property
    def has_more(self) -> bool:
        """Whether (a part of) another message has been read already."""
        return self._end > self._start

    def handle_own(self, message: Message) -> bool:
        """Handles messages about shared memory; False for others. MalformedError for nonsense."""
        if message.kind == Kind.SEGMENT:
            if not self._fds or message.head_size < _SEGMENT.size:
                raise frames.MalformedError("a segment without a descriptor")
            number, size = _SEGMENT.unpack_from(message.meta)
            try:
                self._mappings.add(number, size, self._fds.popleft())
            except (OSError, ValueError, OverflowError) as error:
                raise frames.MalformedError(f"a segment that cannot be mapped: {error}") from error
            return True
        if message.kind == Kind.FREE:
            numbers = array.array("I")
            if message.head_size < 4 * message.flags:
                raise frames.MalformedError("a list that is cut short")
            numbers.frombytes(message.meta[: 4 * message.flags])
            for number in numbers:
                if message.request:
                    self._mappings.forget(number)
                elif self._segments is not None:
                    self._segments.give_back(number)
            return True
        return False

    def give_back(self, answers: bool) -> None:
        """Returns segments that are no longer used here. `answers` tells that a frame will follow soon: with that they go,
        unless they are large, for a message of their own would wake the other side."""
        returned = self._mappings.returned
        if returned and not (answers and self._mappings.size_of(tuple(returned)) <= _HELD_BACK):
            self._enqueue([(self._free_frame(), None)])

    # -- the end -----------------------------------------------------------------------------------------

    def close(self, error: errors.OpError) -> None:
        """Ends the connection; later sends raise `error`. The reading thread sees the end of its stream."""
        with self._lock:
            if self._failure is not None:
                return
            self._failure = error
            queue, self._queue = self._queue, deque()
        with contextlib.suppress(OSError):  # the other side may be faster
            self._socket.shutdown(socket.SHUT_RDWR)
        for _, segment in queue:
            if segment is not None:
                segment.announced()
        if self._segments is not None:
            self._segments.close()

    def release(self) -> None:
        """Gives back the socket, the mappings and the buffer: for the reading thread, as its last act."""
        self._socket.close()
        self._mappings.close()
        self._start = self._end = 0
        self._buffer = bytearray()
        self._view = memoryview(self._buffer)
        while self._fds:
            os.close(self._fds.popleft())


def cork() -> None:
    """From now on this thread keeps frames back until `uncork`."""
    _thread.corked = []


def uncork() -> None:
    """Sends the frames that were kept back."""
    channels: list[Channel] = _thread.corked
    _thread.corked = None
    for channel in channels:
        channel.flush()
    later: list[Callable[[], None]] | None = getattr(_thread, "later", None)
    if later:
        _thread.later = None
        for work in later:
            work()


def afterwards(work: Callable[[], None]) -> None:
    """Does something once the frames that this thread keeps back are sent: now, if it keeps none back."""
    if not is_reading():
        work()
        return
    later = getattr(_thread, "later", None)
    if later is None:
        later = _thread.later = []
    later.append(work)


def is_reading() -> bool:
    """Whether this thread is one that handles arrivals."""
    return getattr(_thread, "corked", None) is not None


Handler = Callable[[Message], None]
