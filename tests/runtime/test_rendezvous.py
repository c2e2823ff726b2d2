"""Rendezvous: either side first, abort, and the table of steps."""

from __future__ import annotations

import pytest

from flowmesh.core import errors
from flowmesh.runtime.rendezvous import Rendezvous, RendezvousManager, make_key, parse_key

ERROR = errors.AbortedError(None, None, "step over")


def test_keys():
    key = make_key("/job:a/replica:0/task:0/device:CPU:0", 255, "/job:b", "edge_1_x")
    assert key == "/job:a/replica:0/task:0/device:CPU:0;00000000000000ff;/job:b;edge_1_x;0:0"
    assert parse_key(key) == (
        "/job:a/replica:0/task:0/device:CPU:0",
        255,
        "/job:b",
        "edge_1_x",
        "0:0",
    )
    with pytest.raises(errors.InvalidArgumentError, match="Invalid  rendezvous key"):
        parse_key("nonsense")


def test_send_first():
    rendezvous = Rendezvous(1)
    rendezvous.send("k", 5)
    assert rendezvous.recv_async("k").result(0) == (5, False)


def test_receive_first():
    rendezvous = Rendezvous(1)
    future = rendezvous.recv_async("k")
    assert not future.done()
    assert rendezvous.pending_keys() == ["k"]
    rendezvous.send("k", 5, is_dead=True)
    assert future.result(0) == (5, True)
    assert rendezvous.pending_keys() == []


def test_values_of_a_key_keep_their_order():
    rendezvous = Rendezvous(1)
    rendezvous.send("k", 1)
    rendezvous.send("k", 2)
    assert [rendezvous.recv_async("k").result(0)[0] for _ in range(2)] == [1, 2]


def test_abort_fails_both_sides():
    rendezvous = Rendezvous(1)
    future = rendezvous.recv_async("k")
    rendezvous.abort(ERROR)
    rendezvous.abort(errors.InternalError(None, None, "too late"))
    assert future.exception(0) is ERROR
    assert rendezvous.recv_async("k").exception(0) is ERROR
    with pytest.raises(errors.AbortedError):
        rendezvous.send("k", 1)


def test_a_receiver_that_gave_up_is_no_problem():
    rendezvous = Rendezvous(1)
    assert rendezvous.recv_async("k").cancel()
    rendezvous.send("k", 1)


def test_the_manager_knows_steps():
    manager = RendezvousManager()
    first = manager.find_or_create(7)
    assert manager.find_or_create(7) is first
    assert manager.step_ids() == [7]
    future = first.recv_async("k")
    manager.cleanup(7)
    assert isinstance(future.exception(0), errors.AbortedError)
    assert manager.find(7) is None
    manager.cleanup(7)


def test_abort_all():
    manager = RendezvousManager()
    futures = [manager.find_or_create(i).recv_async("k") for i in range(3)]
    manager.abort_all(ERROR)
    assert all(f.exception(0) is ERROR for f in futures)
    assert manager.step_ids() == []
