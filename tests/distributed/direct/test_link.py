"""Two ends of one connection: requests, pushed tensors, credit, shared memory, the end."""

from __future__ import annotations

import contextlib
import gc
import socket
import struct
import threading
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from flowmesh.core import errors, limits
from flowmesh.core.cancellation import CancellationManager
from flowmesh.distributed.transport.direct import frames, helping
from flowmesh.distributed.transport.direct.channel import Channel, Message
from flowmesh.distributed.transport.direct.frames import Kind
from flowmesh.distributed.transport.direct.link import Link, Transfer
from tests.distributed.clusters import in_thread

Pair = tuple[Link, Link, "Recorder"]


class Recorder:
    """The service of the second end: keeps what arrives; answers a RECV_TENSOR with what came with it, never a CLEANUP."""

    def __init__(self) -> None:
        self.pushed_values: list[tuple[int, str, Any, bool, int]] = []
        self.arrived = threading.Semaphore(0)
        self.lost_error: Any = None

    def request(self, link: Link, message: Message) -> None:
        if message.kind == Kind.RECV_TENSOR:
            values = [frames.decode(t) for t in message.tensors]
            link.reply(message.request, b"", [frames.encode(v) for v in values])
        elif message.kind == Kind.RUN_STEP:
            link.reply_error(message.request, errors.NotFoundError(None, None, "nothing here"))
        else:
            link.serving[message.request] = cancellation = CancellationManager()
            cancellation.register(lambda error: self.arrived.release())
            self.arrived.release()

    def pushed(self, link: Link, step_id: int, transfers: Sequence[Transfer], size: int) -> None:
        for key, value, is_dead in transfers:
            self.pushed_values.append((step_id, key, value, is_dead, size))
            self.arrived.release()

    def found(self, link: Link) -> None:
        pass

    def lost(self, link: Link, error: errors.OpError) -> None:
        self.lost_error = error

    def close(self) -> None:
        pass


def connected(shared: bool, tcp: bool = False, window: int = 64 << 20) -> Iterator[Pair]:
    """Two links with their reading threads."""
    if tcp:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            left = socket.create_connection(listener.getsockname())
            right, _ = listener.accept()
    else:
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    recorder = Recorder()
    channels = [Channel(left), Channel(right)]
    for channel in channels:
        channel.start(shared)
    near = Link(channels[0], "near", "the far end", None, window)
    far = Link(channels[1], "far", "the near end", recorder, window)
    threads = [threading.Thread(target=link.run) for link in (near, far)]
    for thread in threads:
        thread.start()
    try:
        yield near, far, recorder
    finally:
        near.close(errors.UnavailableError(None, None, "over"))
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()


@pytest.fixture(params=["shared", "unix", "tcp"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    yield from connected(request.param == "shared", request.param == "tcp")


def echo(link: Link, *values: Any) -> list[Any]:
    """The values after a journey there and back."""
    future: Future[Any] = link.call(
        Kind.RECV_TENSOR,
        b"",
        [frames.encode(v) for v in values],
        lambda m: [frames.decode(t, True) for t in m.tensors],
    )
    result: list[Any] = future.result(20)
    return result


def test_tensors_of_all_sizes_come_back(pair: Pair) -> None:
    values = [np.arange(n, dtype=np.float32) for n in (0, 1, 1000, 2000, 100_000, 3_000_000)]
    results = echo(pair[0], *values)
    for value, result in zip(values, results):
        np.testing.assert_array_equal(value, result)
    large = [r for r in results if r.nbytes > frames.INLINE]
    assert all(r.ctypes.data % 64 == 0 and r.flags.writeable for r in large)


def test_many_requests_at_a_time(pair: Pair) -> None:
    results: list[Any] = [None] * 8

    def ask(number: int) -> None:
        for _ in range(20):
            results[number] = echo(pair[0], np.full(20_000, number))[0]

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [int(r[-1]) for r in results] == list(range(8))


def test_errors_arrive_with_their_class(pair: Pair) -> None:
    future = pair[0].call(Kind.RUN_STEP, b"", (), lambda m: m)
    with pytest.raises(errors.NotFoundError, match="nothing here"):
        future.result(10)


def test_cancelling_tells_the_other_side(pair: Pair) -> None:
    near, _, recorder = pair
    cancellation = CancellationManager()
    future = near.call(Kind.RUN_GRAPH, b"", (), lambda m: m, cancellation)
    assert recorder.arrived.acquire(timeout=10)
    cancellation.cancel(errors.CancelledError(None, None, "enough"))
    with pytest.raises(errors.CancelledError, match="enough"):
        future.result(0)
    assert recorder.arrived.acquire(timeout=10)


def test_the_end_fails_what_is_under_way(pair: Pair) -> None:
    near, far, recorder = pair
    future = near.call(Kind.RUN_GRAPH, b"", (), lambda m: m)
    assert recorder.arrived.acquire(timeout=10)
    far.close(errors.UnavailableError(None, None, "stopped"))
    with pytest.raises(errors.UnavailableError, match="the far end cannot be reached"):
        future.result(10)
    assert recorder.arrived.acquire(timeout=10)
    assert isinstance(recorder.lost_error, errors.UnavailableError)
    with pytest.raises(errors.UnavailableError):
        near.push(1, [("key", np.float32(1), False)])


@pytest.mark.parametrize("shared", [True, False])
def test_the_end_gives_the_memory_back_without_the_garbage_collector(shared: bool) -> None:
    seen: list[weakref.ref[Any]] = []
    was_on = gc.isenabled()
    gc.disable()
    try:
        for near, _, _ in connected(shared):
            echo(near, np.zeros(1 << 20, np.uint8))
            seen = [weakref.ref(near.channel), weakref.ref(near.channel._segments or near.turn)]
            for _ in range(2):
                near.channel.close(errors.UnavailableError(None, None, "over"))
                with pytest.raises(errors.UnavailableError, match="over"):
                    near.channel.send(Kind.PING, 1, b"")
            channel = near.channel
        assert len(channel._buffer) == 0
        del channel, near, _
        assert seen[1]() is None
    finally:
        if was_on:
            gc.enable()


def test_a_malformed_message_ends_the_connection_only(pair: Pair) -> None:
    near, _, _ = pair
    future = near.call(Kind.PING, b"", (), lambda m: "pong")
    assert future.result(10) == "pong"
    near.channel._enqueue([(struct.pack("<IIHHIQ", 1 << 31, 0, 6, 0, 0, 0), None)])
    with pytest.raises(errors.UnavailableError):
        near.call(Kind.RECV_TENSOR, b"", (), lambda m: m).result(10)


def test_pushed_tensors_wait_for_credit() -> None:
    for near, far, recorder in connected(False, window=1 << 20):
        chunk = np.zeros(100_000, np.float32)
        for number in range(10):
            near.push(5, [(f"k{number}", chunk, False)])
        for _ in range(2):
            assert recorder.arrived.acquire(timeout=10)
        near.call(Kind.PING, b"", (), lambda m: m).result(10)
        got = len(recorder.pushed_values)
        assert got * chunk.nbytes <= (1 << 20) + chunk.nbytes
        for number in range(10):
            while len(recorder.pushed_values) <= number:
                assert recorder.arrived.acquire(timeout=10)
            far.consumed(recorder.pushed_values[number][4])
        assert [k for _, k, *_ in recorder.pushed_values] == [f"k{n}" for n in range(10)]


def test_a_tensor_larger_than_the_window_is_pushed() -> None:
    for near, _, recorder in connected(False, window=1 << 10):
        near.push(-3, [("k", np.arange(10_000), False)])
        assert recorder.arrived.acquire(timeout=10)
        step_id, _, value, is_dead, _ = recorder.pushed_values[0]
        assert (step_id, is_dead) == (-3, False)
        assert value.flags.writeable is False
        np.testing.assert_array_equal(value, np.arange(10_000))


def test_segments_are_used_again() -> None:
    for near, _, _ in connected(True):
        value = np.ones(1 << 20, np.float32)
        for _ in range(20):
            assert echo(near, value)[0][0] == 1
            gc.collect()
        segments = near.channel._segments
        assert segments is not None
        assert segments.bytes <= 4 * value.nbytes


@pytest.mark.parametrize("shared", [True, False])
def test_a_kept_array_keeps_its_memory(shared: bool) -> None:
    for near, _, _ in connected(shared):
        kept = [echo(near, np.full(1 << 18, n, np.float32))[0] for n in range(6)]
        assert [float(a[-1]) for a in kept] == [0, 1, 2, 3, 4, 5]
        kept[0][:] = 9  # its own
        assert [float(a[-1]) for a in kept[1:]] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("aside", [0.0, 0.01])
def test_waiting_threads_and_the_reading_thread_take_turns(
    aside: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However they come and go, every answer arrives, and the connection stays."""
    monkeypatch.setattr(helping, "_ASIDE", aside)
    for near, far, _ in connected(False):
        for number in range(400):
            future: Future[Any] = near.call(
                Kind.RECV_TENSOR,
                b"",
                [frames.encode(np.float32(number))],
                lambda m, near=near: (frames.decode(m.tensors[0], True), near.ended),  # type: ignore[misc]
            )
            if number % 7:
                helping.help_out((near,), helping.thread_waker(), future.done)
            # To the reading thread a connection that another thread reads from has not ended.
            assert future.result(20) == (number, False)
        assert near.alive
        assert far.alive


def test_several_waiting_threads_leave_a_connection_to_its_own(pair: Pair) -> None:
    near = pair[0]

    def ask() -> None:
        for number in range(30):
            future: Future[Any] = near.call(
                Kind.RECV_TENSOR,
                b"",
                [frames.encode(np.arange(number))],
                lambda m: frames.decode(m.tensors[0], True),
            )
            helping.help_out((near,), helping.thread_waker(), future.done)
            assert future.result(20).shape == (number,)

    joins = [in_thread(ask) for _ in range(4)]
    for join in joins:
        join()
    assert near.alive


def _free_memory() -> int:
    """Bytes that this machine has to spare; much where it does not tell."""
    try:
        with open("/proc/meminfo") as file:
            return next(int(x.split()[1]) << 10 for x in file if x.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return 1 << 40


@pytest.mark.slow
@pytest.mark.skipif(_free_memory() < 8 << 30, reason="needs memory")
def test_a_tensor_may_have_more_than_2_gb() -> None:
    """What is sent are zeros, which take no memory; what arrives does."""
    value = np.zeros((1 << 31) + 16, np.uint8)
    value[[0, 1 << 31, -1]] = 1, 2, 3
    for near, _, recorder in connected(shared=False):
        near.push(7, [("key", value, False)])
        assert recorder.arrived.acquire(timeout=120)
        arrived = recorder.pushed_values[0][2]
        assert arrived.shape == value.shape
        assert arrived[[0, 1, 1 << 31, -1]].tolist() == [1, 0, 2, 3]


def test_a_reading_thread_does_not_copy_what_is_very_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flowmesh.distributed.transport.direct.channel._LARGE", 100_000)
    copying: list[str] = []
    place = Channel._place

    def noted(self: Channel, *args: Any) -> None:
        copying.append(threading.current_thread().name)
        place(self, *args)

    monkeypatch.setattr(Channel, "_place", noted)
    for near, _, _ in connected(shared=True):
        sizes = (10_000, 1_000_000)
        for size in sizes:
            np.testing.assert_array_equal(echo(near, np.arange(size))[0], np.arange(size))
    assert copying[0::2] == [threading.current_thread().name] * 2
    assert copying[1] != "flowmesh-direct-send"
    assert copying[3] == "flowmesh-direct-send"


def test_who_pushes_more_than_is_taken_is_cut_off() -> None:
    """A sender that ignores the window: the receiver does not keep what it sends."""
    for near, far, recorder in connected(False, window=1 << 20):
        far._window = 1 << 19
        waiting: Future[Any] = near.call(Kind.RUN_GRAPH, b"", (), lambda m: m)
        chunk = np.zeros(50_000, np.float32)
        with contextlib.suppress(errors.UnavailableError):
            for number in range(5):
                near.push(1, [(f"k{number}", chunk, False)])
        with pytest.raises(errors.UnavailableError):
            waiting.result(20)
        assert "pushes more than is taken" in far._why
        assert len(recorder.pushed_values) == 2


@pytest.mark.parametrize("shared", [False, True])
def test_a_tensor_over_the_limit_is_refused_and_the_connection_goes_on(shared: bool) -> None:
    with limits.use(limits.Limits(tensor=1 << 20)):
        for near, far, _ in connected(shared):
            with pytest.raises(errors.ResourceExhaustedError, match="over the limit of 1048576"):
                echo(near, np.zeros(1 << 21, np.uint8))
            np.testing.assert_array_equal(echo(near, np.arange(7))[0], np.arange(7))
            assert not far.channel.has_more


def test_a_copy_made_ahead_is_sent_once(pair: Pair) -> None:
    near, _, recorder = pair
    value = np.arange(1 << 17, dtype=np.float32)
    placed = near.place(value)
    if not near.channel.shared_memory:
        assert placed is None
        return
    assert placed is not None
    placed.array = other = value + 1
    near.push(1, [("k", placed, False), ("again", placed, False)])
    for _ in range(2):
        assert recorder.arrived.acquire(timeout=20)
    first, again = (v for _, _, v, _, _ in recorder.pushed_values)
    np.testing.assert_array_equal(first, value)
    np.testing.assert_array_equal(again, other)


def test_a_copy_made_ahead_does_not_hold_what_it_is_a_copy_of() -> None:
    for near, _, _ in connected(True):
        value = np.ones(1 << 17, np.float32)
        there = weakref.ref(value)
        placed = near.place(value)
        del value
        assert placed is not None and there() is None


def test_a_copy_that_is_not_sent_gives_its_memory_back() -> None:
    for near, _, _ in connected(True):
        value = np.ones(1 << 17, np.float32)
        for _ in range(5):
            assert near.place(value) is not None
        segments = near.channel._segments
        assert segments is not None and segments.bytes < 2 * value.nbytes


def test_a_copy_that_is_given_back_is_free_at_once() -> None:
    for near, _, _ in connected(True):
        placed = near.place(np.ones(1 << 17, np.float32))
        segments = near.channel._segments
        assert placed is not None and segments is not None and segments._busy
        placed.give_back()
        del placed
        assert not segments._busy and not segments.unsent


def test_the_garbage_collector_may_come_while_memory_is_handed_out() -> None:
    for near, _, _ in connected(True):
        placed = near.place(np.ones(1 << 17, np.float32))
        segments = near.channel._segments
        assert placed is not None and segments is not None
        with segments._lock:
            del placed  # as if it were part of a cycle that is found now, in this thread
        assert len(segments.unsent) == 1
        segments.collect()
        assert not segments._busy and not segments.unsent


def test_a_copy_for_a_connection_that_is_gone_is_none() -> None:
    for near, _, recorder in connected(True):
        value = np.ones(1 << 17, np.float32)
        placed = near.place(value)
        assert placed is not None
        placed.array = value
        for other, _, seen in connected(True):
            other.push(1, [("k", placed, False)])
            assert seen.arrived.acquire(timeout=20)
            np.testing.assert_array_equal(seen.pushed_values[0][2], value)
        near.close(errors.UnavailableError(None, None, "over"))
        assert near.place(value) is None
        assert not recorder.pushed_values


def test_what_is_small_is_not_copied_ahead(pair: Pair) -> None:
    assert pair[0].place(np.ones(100, np.float32)) is None
    assert pair[0].place(np.array([b"x" * (1 << 20)], object)) is None


def test_room_is_filled_and_pushed_without_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[Any] = []
    share = Channel._share
    monkeypatch.setattr(
        Channel, "_share", lambda self, t, buffers: copied.append(t) or share(self, t, buffers)
    )
    for near, _, recorder in connected(True):
        room = near.room((512, 256), np.dtype(np.float32))
        assert room is not None
        assert room.array.shape == (512, 256) and room.array.dtype == np.float32
        room.array[:] = expected = np.arange(1 << 17, dtype=np.float32).reshape(512, 256)
        near.push(1, [room.as_sent(("k", room.array, False))])
        assert recorder.arrived.acquire(timeout=20)
        ((_, key, value, is_dead, _),) = recorder.pushed_values
        assert key == "k" and not is_dead
        np.testing.assert_array_equal(value, expected)
    assert not copied


def test_room_is_for_its_own_array_only() -> None:
    for near, _, _ in connected(True):
        room = near.room((1 << 17,), np.dtype(np.float32))
        assert room is not None
        other = ("k", room.array.copy(), False)
        assert room.as_sent(other) is other
        dead = ("k", room.array, True)
        assert room.as_sent(dead) is dead
        segments = near.channel._segments
        assert segments is not None and segments._busy
        del room, dead
        segments.collect()
        assert not segments._busy, "what is not sent goes back"


def test_there_is_no_room_for_what_is_small_or_goes_through_the_socket(pair: Pair) -> None:
    near, _, _ = pair
    assert near.room((10, 10), np.dtype(np.float32)) is None
    if not near.channel.shared_memory:
        assert near.room((1 << 20,), np.dtype(np.float32)) is None
    near.close(errors.UnavailableError(None, None, "over"))
    assert near.room((1 << 20,), np.dtype(np.float32)) is None


def test_a_message_that_is_ready_lacks_only_its_step(pair: Pair) -> None:
    near, _, recorder = pair
    small = np.arange(6, dtype=np.int64).reshape(2, 3)
    medium = np.arange(10_000, dtype=np.float32)  # its data come after the frame
    large = np.arange(1 << 17, dtype=np.float32)
    values: dict[str, Any] = {"small": small, "medium": medium}
    if near.channel.shared_memory:
        values["large"] = large
    sent: dict[str, Any] = dict(values)
    if near.channel.shared_memory:
        sent["large"] = near.place(large)
    ready = near.ready(list(sent.items()))
    assert ready is not None and ready.link is near
    assert ready.send(7)
    for _ in values:
        assert recorder.arrived.acquire(timeout=20)
    arrived = {key: (step, value) for step, key, value, _, _ in recorder.pushed_values}
    assert list(arrived) == list(values)
    for key, (step, value) in arrived.items():
        assert step == 7
        np.testing.assert_array_equal(value, values[key])
    near.push(8, [("after", small, False)])
    assert recorder.arrived.acquire(timeout=20)
    np.testing.assert_array_equal(recorder.pushed_values[-1][2], small)


def test_what_is_several_messages_is_never_ready(pair: Pair) -> None:
    near, _, _ = pair
    assert near.ready([("k", np.zeros(1 << 16, np.float32))]) is None
    assert near.ready([(str(n), np.float32(n)) for n in range(1000)]) is None


def test_a_ready_message_waits_for_no_credit_and_no_other(pair: Pair) -> None:
    near, _, recorder = pair
    ready = near.ready([("k", np.arange(3))])
    assert ready is not None
    near._outstanding = near._window + 1
    assert not ready.send(1), "too much is under way"
    assert near._outstanding == near._window + 1
    near._outstanding = 0
    near.channel._sending = True
    assert not ready.send(1), "another message is on its way"
    assert near._outstanding == 0
    near.channel._sending = False
    assert ready.send(2)
    assert recorder.arrived.acquire(timeout=20)
    assert [step for step, *_ in recorder.pushed_values] == [2]
