"""Copies of feeds: memory is used again, but never while anybody may read it."""

from __future__ import annotations

import gc
import threading
from typing import Any

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.runtime import feed_buffers
from flowmesh.runtime.feed_buffers import FeedBuffers
from flowmesh.runtime.warm import WarmCluster


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def xla_session() -> Any:
    config = tf.ConfigProto()
    config.experimental.flowmesh.execution = "xla"
    return tf.Session(config=config)


def test_memory_is_used_again_when_nobody_refers_to_it():
    buffers = FeedBuffers()
    value = np.arange(12, dtype=np.float32).reshape(3, 4)
    first = buffers.copy(value)
    value += 1
    second = buffers.copy(value)
    assert address(first) != address(second) and address(first) % 64 == 0
    assert first[0, 0] == 0 and second[0, 0] == 1
    places = {address(first), address(second)}
    del first, second
    for number in range(5):
        copy = buffers.copy(value + number)
        assert address(copy) in places
        np.testing.assert_array_equal(copy, value + number)
        del copy
    assert len(buffers) == 2


@pytest.mark.parametrize("kind", ["view", "memory"])
def test_memory_is_not_used_again_while_a_part_of_it_is_seen(kind):
    buffers = FeedBuffers()
    copy = buffers.copy(np.zeros(8, np.int64))
    seen: Any = copy[2:4] if kind == "view" else memoryview(copy)
    del copy
    other = buffers.copy(np.ones(8, np.int64))
    assert list(seen[:2]) == [0, 0] and other.all()


def test_what_is_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(feed_buffers, "KEPT_BYTES", 300)
    buffers = FeedBuffers()
    held = [buffers.copy(np.full(100, n, np.uint8)) for n in range(10)]
    assert len(buffers) == 3
    assert [copy[0] for copy in held] == list(range(10))


def test_copies_of_several_threads_are_their_own():
    buffers = FeedBuffers()
    failures: list[int] = []

    def work(number: int) -> None:
        value = np.full(2000, number)
        for _ in range(300):
            copy = buffers.copy(value)
            if not (copy == number).all():
                failures.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(buffers) <= 8  # while a thread makes one, it has the one before


def test_steps_that_run_ahead_read_what_they_were_fed():
    """Each step is long enough for the next ones to be started meanwhile; one that is given the feed of another would be seen in the sum."""
    size = 256
    with tf.Graph().as_default(), xla_session() as session:
        x = tf.placeholder(tf.float32, [size, size])
        w = tf.Variable(tf.zeros([size, size]), name="w")
        session.run(w.initializer)
        product = tf.matmul(tf.matmul(x, tf.eye(size)), tf.eye(size))
        step = tf.assign_add(w, product).op
        fed = np.empty((size, size), np.float32)
        for _ in range(3):
            for number in range(1, 101):
                fed[:] = number
                session.run(step, {x: fed})
            fed[:] = np.nan
            assert (session.run(w) == 5050).all()
            session.run(w.initializer)
        warm = [o for o in gc.get_objects() if type(o) is WarmCluster and o._arrays]
        kept = [len(buffers) for o in warm for *_, buffers in o._arrays if len(buffers)]
        assert kept and max(kept) * fed.nbytes <= feed_buffers.KEPT_BYTES


def test_a_feed_that_is_a_result_keeps_its_memory():
    with tf.Graph().as_default(), xla_session() as session:
        x = tf.placeholder(tf.float32, [5000])
        w = tf.Variable(tf.zeros([5000]), name="w")
        session.run(w.initializer)
        fetches = [tf.assign(w, x), tf.identity(x) * 1.0, tf.reshape(x, [50, 100])]
        fed = np.empty(5000, np.float32)
        results = []
        for number in range(6):
            fed[:] = number
            results.append(session.run(fetches, {x: fed}))
            assert (session.run(w) == number).all()
        for number, found in enumerate(results):
            assert all((value == number).all() for value in found)
