"""Loops at run time: compiled with what is around them, in pieces, step by step; and ended when nobody wants them."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.runtime.xla import statistics


def session(mode: str = "") -> tf.Session:
    config = tf.ConfigProto()
    config.experimental.flowmesh.execution = mode
    return tf.Session(config=config)


def counted(work: Any) -> dict[str, int]:
    before = statistics()
    work()
    return {name: value - before[name] for name, value in statistics().items()}


def lstm(batch: int | None, steps: int | None) -> tuple[Any, Any]:
    x = tf.placeholder(tf.float32, [batch, steps, 4])
    tf.set_random_seed(1)
    outputs, state = tf.nn.dynamic_rnn(tf.nn.rnn_cell.BasicLSTMCell(3), x, dtype=tf.float32)
    return x, (outputs, state)


@pytest.mark.parametrize("shape", [(2, 20), (None, None)])
def test_an_lstm_is_one_program(shape: Any) -> None:
    with tf.Graph().as_default():
        x, (outputs, state) = lstm(*shape)
        value = np.ones([2, 20, 4], np.float32)
        with session("xla") as sess:
            sess.run(tf.global_variables_initializer())
            fetches = [outputs, state.h]
            done = counted(lambda: sess.run(fetches, {x: value}))
            assert (done["compiles"], done["xla_runs"], done["numpy_runs"]) == (1, 1, 0)
            found = sess.run(fetches, {x: value})
        np.testing.assert_allclose(found[0][:, -1], found[1], rtol=1e-6)


@pytest.mark.parametrize("batch", [2, None])
def test_a_training_step_of_an_lstm_is_one_program(batch: int | None) -> None:
    with tf.Graph().as_default():
        x, (outputs, _) = lstm(batch, 5)
        loss = tf.reduce_mean(tf.square(outputs - 0.5))
        train = tf.train.GradientDescentOptimizer(0.5).minimize(loss)
        value = np.ones([2, 5, 4], np.float32)
        losses = {}
        for mode in ("numpy", "xla"):
            with session(mode) as sess:
                sess.run(tf.global_variables_initializer())
                done = counted(lambda s=sess: s.run(train, {x: value}))
                losses[mode] = [
                    sess.run([loss, train], {x: value})[0],
                    sess.run(loss, {x: value}),
                ]
            if mode == "xla":
                assert (done["compiles"], done["fallbacks"]) == (1, 0)
        np.testing.assert_allclose(losses["numpy"], losses["xla"], rtol=1e-5)
        assert losses["xla"][1] < losses["xla"][0]


def test_nested_loops_and_their_gradients_give_the_same_both_ways() -> None:
    with tf.Graph().as_default():
        x = tf.constant([0.1, 0.2])

        def body(i: Any, a: Any) -> Any:
            inner = tf.while_loop(lambda j, b: j < 3, lambda j, b: (j + 1, tf.sin(b) + x), [0, a])
            return i + 1, inner[1] * x

        y = tf.while_loop(lambda i, a: i < 4, body, [0, x])[1]
        wanted = [y, *tf.gradients(y, x)]
        found = []
        for mode in ("numpy", "xla"):
            with session(mode) as sess:
                found.append(sess.run(wanted))
        np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


def test_branches_in_a_loop_are_compiled_with_it() -> None:
    with tf.Graph().as_default():
        x = tf.constant([0.3, 0.7])
        count = tf.Variable(0.0, name="count")

        def even(a: Any) -> Any:
            with tf.control_dependencies([tf.assign_add(count, 1.0)]):
                return tf.cond(a[0] > 0.5, lambda: a * x, lambda: a + x)

        def body(i: Any, a: Any, kept: Any) -> Any:
            a = tf.cond(tf.equal(i % 3, 0), lambda: even(a), lambda: tf.sin(a) * x)
            return i + 1, a, kept.write(i, a)

        kept = tf.TensorArray(tf.float32, 7)
        _, y, kept = tf.while_loop(lambda i, *_: i < 7, body, [0, x, kept])
        wanted = [y, kept.stack(), *tf.gradients(tf.reduce_sum(y), x)]
        found, counts = [], []
        for mode in ("numpy", "xla"):
            with session(mode) as sess:
                sess.run(tf.global_variables_initializer())
                done = counted(lambda s=sess: found.append(s.run(wanted)))
                counts.append(sess.run(count))
        assert counts == [3.0, 3.0]
        assert (done["compiles"], done["numpy_runs"], done["fallbacks"]) == (1, 0, 0)
        for a, b in zip(*found):
            np.testing.assert_allclose(a, b, rtol=1e-5)


def test_a_long_loop_is_compiled_while_it_runs() -> None:
    with tf.Graph().as_default():
        n = tf.placeholder(tf.int64, [])
        zero = tf.constant(0, tf.int64)
        i, total = tf.while_loop(lambda i, t: i < n, lambda i, t: (i + 1, t + i), [zero, zero])
        with session() as sess:
            done = counted(lambda: sess.run([i, total], {n: 10}))
            assert done["compiles"] == 0
            count = 300_000
            done = counted(lambda: sess.run(total, {n: count}))
            assert done["compiles"] == 1
            assert done["numpy_runs"] > 1
            assert sess.run(total, {n: count}) == count * (count - 1) // 2


ENDLESS = {
    "pieces": lambda q: tf.while_loop(lambda i: i > -1, lambda i: (i + 1) % 7, [0]),
    "numpy": lambda q: tf.while_loop(
        lambda i: i > -1, lambda i: tf.size(tf.unique([i])[0]) * 0, [0]
    ),
    "steps": lambda q: tf.while_loop(lambda i: i > -1, lambda i: i * 0 + q.size(), [0]),
    "waiting": lambda q: tf.while_loop(lambda i: i > -1, lambda i: q.dequeue(), [0]),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_endless_loop_ends_with_its_time(kind: str) -> None:
    with tf.Graph().as_default():
        result = ENDLESS[kind](tf.FIFOQueue(3, tf.int32, [[]]))
        with tf.Session() as sess:
            with pytest.raises(tf.errors.DeadlineExceededError):
                sess.run(result, options=tf.RunOptions(timeout_in_ms=60))
            assert sess.run(tf.constant(1)) == 1


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_endless_loop_ends_with_its_server_session(kind: str) -> None:
    with tf.Graph().as_default() as graph:
        result = ENDLESS[kind](tf.FIFOQueue(3, tf.int32, [[]]))
        begun = threading.Event()
        server = tf.train.Server.create_local_server()
        try:
            sess = tf.Session(server.target, graph=graph)
            failed: list[Exception] = []

            def work() -> None:
                begun.set()
                try:
                    sess.run(result)
                except tf.errors.OpError as error:
                    failed.append(error)

            thread = threading.Thread(target=work)
            thread.start()
            begun.wait(10)
            sess.close()
            thread.join(30)
            assert not thread.is_alive()
        finally:
            server.stop(0)
        assert len(failed) == 1


def test_a_loop_in_one_that_waits() -> None:
    with tf.Graph().as_default(), session() as sess:
        queue = tf.FIFOQueue(10, [tf.float32], [[]])
        put = queue.enqueue_many([[1.0, 2.0, 3.0]])

        def body(i: Any, x: Any) -> Any:
            more = queue.dequeue()
            inner = tf.while_loop(lambda j, y: j < i, lambda j, y: (j + 1, y + more), [0, x])
            return i + 1, inner[1]

        _, x = tf.while_loop(lambda i, x: i < 3, body, [0, 0.0])
        for _ in range(3):
            sess.run(put)
            assert sess.run(x) == 2 + 3 + 3


def test_an_error_in_a_loop_names_its_op() -> None:
    with tf.Graph().as_default():
        x = tf.placeholder(tf.int32, [None])
        body = lambda i: i + tf.gather(x, i * 5, name="too_far")  # noqa: E731
        result = tf.while_loop(lambda i: i < 3, body, [0])
        with (
            tf.Session() as sess,
            pytest.raises(tf.errors.InvalidArgumentError, match="while/too_far"),
        ):
            sess.run(result, {x: [1, 2]})


def test_two_steps_run_one_loop_at_once() -> None:
    with tf.Graph().as_default():
        queue = tf.FIFOQueue(10, tf.int32, [[]])
        put = queue.enqueue_many([[1, 2, 3, 4, 5, 6]])
        total = tf.while_loop(lambda i, t: i < 3, lambda i, t: (i + 1, t + queue.dequeue()), [0, 0])
        with tf.Session() as sess:
            found: list[int] = []
            threads = [
                threading.Thread(target=lambda: found.append(int(sess.run(total[1]))))
                for _ in range(2)
            ]
            for thread in threads:
                thread.start()
            sess.run(put)
            for thread in threads:
                thread.join(30)
            assert sum(found) == 21
