"""Few messages for tensors that go through shared memory, and none of its own for the memory that comes back."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

from flowmesh.distributed.transport.direct.channel import Channel
from flowmesh.distributed.transport.direct.frames import Kind
from flowmesh.distributed.transport.direct.link import Link
from tests.distributed.direct.test_link import Recorder, connected, echo

SMALL = np.arange(10)
LARGE = np.ones(1 << 18, np.float32)  # 1 MB
HUGE = np.ones(5 << 18, np.float32)


def pushed_together(near: Link, recorder: Recorder, *values: Any) -> list[int]:
    """How many tensors are in each of the messages in which these are pushed."""
    before = len(recorder.pushed_values)
    near.push(7, [(str(n), value, False) for n, value in enumerate(values)])
    for _ in values:
        assert recorder.arrived.acquire(timeout=20)
    arrived = recorder.pushed_values[before:]
    assert [key for _, key, _, _, _ in arrived] == [str(n) for n in range(len(values))]
    counts: list[int] = []
    left = 0
    for at, (_, _, value, _, size) in enumerate(arrived):
        np.testing.assert_array_equal(value, values[at])
        if not left:
            left, rest = 0, size
            while rest > 0:
                rest -= values[at + left].nbytes + 256
                left += 1
            assert rest == 0
            counts.append(left)
        left -= 1
    return counts


@pytest.mark.parametrize(
    ("shared", "values", "counts"),
    [
        (True, (SMALL, LARGE, SMALL, LARGE), [4]),
        (False, (SMALL, LARGE, SMALL, LARGE), [1, 1, 1, 1]),
        (True, (SMALL, HUGE, SMALL), [1, 1, 1]),
        (True, (LARGE,) * 6, [3, 3]),
        (True, (SMALL, SMALL), [2]),
    ],
)
def test_what_is_pushed_in_one_message(shared: bool, values: Any, counts: list[int]) -> None:
    for near, _, recorder in connected(shared):
        assert pushed_together(near, recorder, *values) == counts


def start_request(near: Link, recorder: Recorder) -> None:
    """Has the far end serve a request that is not answered."""
    near.call(Kind.CLEANUP, b"", (), lambda message: None)
    assert recorder.arrived.acquire(timeout=20)


@pytest.mark.parametrize(
    ("value", "waits"), [(LARGE, True), (HUGE, True), (np.ones(9 << 20, np.uint8), False)]
)
def test_memory_goes_back_with_the_answer_unless_it_is_large(value: Any, waits: bool) -> None:
    for near, far, recorder in connected(shared=True):
        start_request(near, recorder)
        assert pushed_together(near, recorder, value) == [1]
        recorder.pushed_values.clear()
        gc.collect()
        assert pushed_together(near, recorder, SMALL) == [1]
        near.ping().result(20)  # what was sent before the answer to this has arrived
        pool = near.channel._segments
        assert pool is not None
        if waits:
            # The answer to the ping took it along.
            assert not far.channel._mappings.returned
        assert len(pool._free) == 1
        echo(near, SMALL)
        assert not pool._busy


def test_memory_waits_for_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[Channel, int]] = []
    enqueue = Channel._enqueue

    def noted(self: Channel, buffers: list[Any]) -> None:
        sent.append((self, len(buffers)))
        enqueue(self, buffers)

    for near, far, recorder in connected(shared=True):
        start_request(near, recorder)
        assert pushed_together(near, recorder, LARGE) == [1]
        recorder.pushed_values.clear()
        gc.collect()
        pool = near.channel._segments
        assert pool is not None
        monkeypatch.setattr(Channel, "_enqueue", noted)
        for _ in range(3):
            assert pushed_together(near, recorder, SMALL) == [1]
        assert [channel for channel, _ in sent if channel is far.channel] == []
        assert len(pool._busy) == 1
        (number,) = far.serving
        far.reply(number, b"")
        assert sent[-1] == (far.channel, 2)
        near.ping().result(20)
        assert not pool._busy
