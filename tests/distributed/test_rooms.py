"""Large products that another task waits for are computed where it can read them; what anybody else may see is not."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.distributed.transport.direct.link import Link, Placed
from flowmesh.runtime import cores
from tests.distributed.clusters import cluster

SIZE = 400


@pytest.fixture(autouse=True)
def few_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that NumPy computes the products."""
    monkeypatch.setattr(cores, "available", lambda: 2)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Placed | None]:
    """The room that was given."""
    found: list[Placed | None] = []
    room = Link.room

    def noted(self: Link, shape: tuple[int, ...], dtype: Any) -> Placed | None:
        found.append(room(self, shape, dtype))
        return found[-1]

    monkeypatch.setattr(Link, "room", noted)
    return found


@pytest.fixture
def session() -> Iterator[Any]:
    """A function that opens a session on a cluster for what has been built."""
    with tf.Graph().as_default(), cluster(ps=1, worker=1) as servers:
        opened = []

        def begin() -> Any:
            opened.append(tf.Session(servers["worker:0"].target))
            opened[-1].run(tf.global_variables_initializer())
            return opened[-1]

        yield begin
        for one in opened:
            one.close()


Begin = Callable[[], Any]


def product() -> tuple[Any, Any, Any]:
    """A variable on the ps, a feed, and their product on the worker, which thus waits for the ps."""
    with tf.device("/job:ps/task:0"):
        w = tf.get_variable("w", initializer=tf.eye(SIZE))
        total = tf.get_variable("total", initializer=tf.zeros([SIZE, SIZE]))
    with tf.device("/job:worker/task:0"):
        x = tf.placeholder(tf.float32, [SIZE, SIZE])
        made = tf.matmul(x, w)
    return x, made, total


def feeds(count: int) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [random.random((SIZE, SIZE), np.float32) for _ in range(count)]


def test_a_product_is_computed_where_the_other_task_reads_it(
    session: Begin, given: list[Any]
) -> None:
    x, made, total = product()
    with tf.device("/job:ps/task:0"):
        add = total.assign_add(made).op
    with session() as running:
        values = feeds(12)
        for value in values:
            running.run(add, {x: value})
        np.testing.assert_allclose(running.run(total), sum(values), rtol=1e-5)
    assert len(given) >= 8, "after a few runs of the usual kind"
    assert all(room is not None for room in given)


def test_a_product_that_is_fetched_as_well_is_the_programs_own(
    session: Begin, given: list[Any]
) -> None:
    x, made, total = product()
    with tf.device("/job:ps/task:0"):
        add = total.assign_add(made).op
    with session() as running:
        values = feeds(8)
        fetched = [running.run([made, add], {x: value})[0] for value in values]
        for one, value in zip(fetched, values):
            np.testing.assert_array_equal(one, value)
    assert not given


def test_a_product_that_is_used_on_its_task_as_well_is_its_own(
    session: Begin, given: list[Any]
) -> None:
    x, made, total = product()
    with tf.device("/job:worker/task:0"):
        kept = tf.reshape(made, [-1])  # a view of the same memory
    with tf.device("/job:ps/task:0"):
        add = total.assign_add(made).op
    with session() as running:
        values = feeds(8)
        fetched = [running.run([kept, add], {x: value})[0] for value in values]
        for one, value in zip(fetched, values):
            np.testing.assert_array_equal(one, value.reshape(-1))
    assert not given


def test_a_product_that_a_variable_keeps_is_its_own(session: Begin, given: list[Any]) -> None:
    x, made, total = product()
    with tf.device("/job:worker/task:0"):
        kept = tf.get_variable("kept", initializer=tf.zeros([SIZE, SIZE]))
        keep = kept.assign(made)
    with tf.device("/job:ps/task:0"):
        add = total.assign_add(made).op
    with session() as running:
        values = feeds(8)
        for value in values:
            running.run([keep.op, add], {x: value})
            np.testing.assert_array_equal(running.run(kept), value)
    assert not given


def test_room_goes_back_when_the_step_fails(session: Begin, given: list[Any]) -> None:
    x, made, total = product()
    with tf.device("/job:worker/task:0"):
        limit = tf.placeholder(tf.float32, [])
        with tf.control_dependencies([made.op]):
            late = tf.check_numerics(1.0 / limit, "too small")
    with tf.device("/job:ps/task:0"):
        add = tf.group(total.assign_add(made), total.assign_add(tf.fill([SIZE, SIZE], late)))
    with session() as running:
        (value,) = feeds(1)
        for _ in range(6):
            running.run(add, {x: value, limit: 1.0})
        for _ in range(3):
            with pytest.raises(tf.errors.InvalidArgumentError, match="too small"):
                running.run(add, {x: value, limit: 0.0})
        running.run(add, {x: value, limit: 1.0})
        rooms = [room for room in given if room is not None]
        pools = {id(room._pool): room._pool for room in rooms}
        size = SIZE * SIZE * 4
        given.clear()
        rooms.clear()
        gc.collect()
        assert all(pool.bytes <= 8 * size for pool in pools.values()), "memory is used again"


def test_large_gradients_of_a_network_are_those_of_one_process(given: list[Any]) -> None:
    def train(target: str, on: Callable[[str], Any]) -> list[np.ndarray]:
        random = np.random.default_rng(3)
        with on("ps"):
            w = tf.get_variable("w", initializer=random.random((784, 300), np.float32) - 0.5)
            v = tf.get_variable("v", initializer=random.random((300, 10), np.float32) - 0.5)
        with on("worker"):
            x = tf.placeholder(tf.float32, [None, 784])
            y = tf.placeholder(tf.float32, [None, 10])
            logits = tf.matmul(tf.nn.relu(tf.matmul(x, w)), v)
            loss = tf.reduce_mean(
                tf.nn.softmax_cross_entropy_with_logits_v2(labels=y, logits=logits)
            )
            step = tf.train.GradientDescentOptimizer(0.05).minimize(loss)
        with tf.Session(target) as running:
            running.run(tf.global_variables_initializer())
            for _ in range(10):
                images = random.random((100, 784), np.float32)
                labels = np.eye(10, dtype=np.float32)[random.integers(0, 10, 100)]
                running.run(step, {x: images, y: labels})
            return list(running.run([w, v]))

    with tf.Graph().as_default():
        alone = train("", lambda job: tf.device("/cpu:0"))
    assert not given
    with tf.Graph().as_default(), cluster(ps=1, worker=1) as servers:
        target = servers["worker:0"].target
        together = train(target, lambda job: tf.device(f"/job:{job}/task:0"))
    assert given
    for one, other in zip(alone, together):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=1e-5)
