"""Coordinators and queue runners: threads stop together, errors come back, nothing waits for ever."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from tests.training.names import tf

TIMEOUT = 20


def test_stop_is_seen_by_all_threads() -> None:
    coord = tf.train.Coordinator()
    turns: list[int] = []

    def work() -> None:
        while not coord.should_stop():
            turns.append(1)
            if len(turns) > 10:
                coord.request_stop()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    coord.join(threads, stop_grace_period_secs=TIMEOUT)
    assert coord.joined
    assert coord.wait_for_stop(0)
    coord.clear_stop()
    assert not coord.should_stop()
    assert not coord.joined


def test_first_exception_is_raised_by_join() -> None:
    coord = tf.train.Coordinator()

    def fail(message: str) -> None:
        with coord.stop_on_exception():
            raise RuntimeError(message)

    first = threading.Thread(target=fail, args=("first",))
    first.start()
    first.join(TIMEOUT)
    second = threading.Thread(target=fail, args=("second",))
    second.start()
    second.join(TIMEOUT)
    with pytest.raises(RuntimeError, match="first"):
        coord.raise_requested_exception()
    with pytest.raises(RuntimeError, match="first"):
        coord.join([first, second])
    with pytest.raises(KeyError):
        coord.request_stop(KeyError("late"))


def test_clean_stops_are_not_raised() -> None:
    coord = tf.train.Coordinator()
    coord.request_stop(tf.errors.OutOfRangeError(None, None, "end"))
    coord.join([])
    other = tf.train.Coordinator(clean_stop_exception_types=(KeyError,))
    other.request_stop(KeyError("end"))
    other.join([])
    with pytest.raises(TypeError, match="must be an exception"):
        other.request_stop(3)


def test_stragglers_are_named_with_the_place_where_they_are() -> None:
    coord = tf.train.Coordinator()
    release, begun = threading.Event(), threading.Event()

    def sleeps_on() -> None:
        begun.set()
        release.wait(TIMEOUT)

    slow = threading.Thread(target=sleeps_on, name="slow")
    slow.start()
    assert begun.wait(TIMEOUT)
    coord.register_thread(slow)
    coord.request_stop()
    try:
        with pytest.raises(RuntimeError, match="threads still running: slow") as caught:
            coord.join(stop_grace_period_secs=0.01)
        place = str(caught.value).split("Thread slow is at (most recent call last):\n")[1]
        assert place.splitlines()[0].startswith(f'  File "{__file__}", line ')
        assert place.splitlines()[0].endswith(", in sleeps_on")
        coord.join([slow], stop_grace_period_secs=0.01, ignore_live_threads=True)
    finally:
        release.set()
        slow.join(TIMEOUT)


def test_join_ends_when_all_threads_have_ended() -> None:
    coord = tf.train.Coordinator()
    thread = threading.Thread(target=lambda: None)
    thread.start()
    coord.join([thread])
    assert not coord.should_stop()


def test_loopers() -> None:
    coord = tf.train.Coordinator()
    seen: list[Any] = []

    def target(value: int, add: int) -> None:
        seen.append(value + add)
        if len(seen) == 3:
            coord.request_stop()

    tf.train.LooperThread.loop(coord, 0, target, args=(1,), kwargs={"add": 2})
    coord.join(stop_grace_period_secs=TIMEOUT)
    assert seen == [3, 3, 3]

    class Looper(tf.train.LooperThread):
        def start_loop(self) -> None:
            seen.append("start")

        def run_loop(self) -> None:
            raise ValueError("in the loop")

    coord = tf.train.Coordinator()
    Looper(coord, None).start()
    with pytest.raises(ValueError, match="in the loop"):
        coord.join(stop_grace_period_secs=TIMEOUT)
    assert seen[-1] == "start"
    with pytest.raises(ValueError, match="'coord' argument must be a Coordinator"):
        tf.train.LooperThread(3, 1.0)
    with pytest.raises(ValueError, match="require that you also pass 'target'"):
        tf.train.LooperThread(coord, 1.0, args=(1,))


class _Queue:
    """A queue of the graph, as the queue classes look to a queue runner."""

    def __init__(self) -> None:
        self.ref = tf.raw_ops.FIFOQueueV2(component_types=[tf.float32], capacity=2, name="q")
        self.name = self.ref.op.name

    def close(self, cancel_pending_enqueues: bool = False) -> Any:
        return tf.raw_ops.QueueCloseV2(self.ref, cancel_pending_enqueues=cancel_pending_enqueues)

    def enqueue(self, value: Any) -> Any:
        return tf.raw_ops.QueueEnqueueV2(self.ref, [value])

    def dequeue(self) -> Any:
        return tf.raw_ops.QueueDequeueV2(self.ref, component_types=[tf.float32])[0]


def _counting_runner(limit: int) -> tuple[_Queue, Any, Any]:
    queue = _Queue()
    counter = tf.Variable(0, name="counter")
    value = tf.raw_ops.Cast(counter.count_up_to(limit), DstT=tf.float32)
    return queue, counter, tf.train.QueueRunner(queue, [queue.enqueue(value)])


def test_queue_runner_feeds_until_the_end() -> None:
    with tf.Graph().as_default():
        queue, _, runner = _counting_runner(5)
        tf.train.add_queue_runner(runner)
        item = queue.dequeue()
        coord = tf.train.Coordinator()
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            threads = tf.train.start_queue_runners(session, coord)
            assert runner.create_threads(session, coord) == []
            got = []
            with pytest.raises(tf.errors.OutOfRangeError):
                while True:
                    got.append(float(session.run(item)))
            assert got == [0.0, 1.0, 2.0, 3.0, 4.0]
            coord.request_stop()
            coord.join(threads, stop_grace_period_secs=TIMEOUT)
        assert runner.exceptions_raised == []


def test_a_blocked_queue_runner_stops() -> None:
    with tf.Graph().as_default():
        _, _, runner = _counting_runner(10**6)
        coord = tf.train.Coordinator()
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            threads = runner.create_threads(session, coord, daemon=True, start=True)
            coord.request_stop()
            coord.join(threads, stop_grace_period_secs=TIMEOUT)


def test_errors_of_queue_runners_are_reported() -> None:
    with tf.Graph().as_default():
        queue = _Queue()
        bad = tf.raw_ops.CheckNumerics(tf.constant(np.float32(np.nan)), message="bad input")
        runner = tf.train.QueueRunner(queue, [queue.enqueue(bad)])
        coord = tf.train.Coordinator()
        with tf.Session() as session:
            runner.create_threads(session, coord, start=True)
            with pytest.raises(tf.errors.InvalidArgumentError, match="bad input"):
                coord.join(stop_grace_period_secs=TIMEOUT)
            (thread,) = runner.create_threads(session, start=True)
            thread.join(TIMEOUT)
            (error,) = runner.exceptions_raised
            assert "bad input" in str(error)


def test_queue_runner_round_trip() -> None:
    with tf.Graph().as_default() as graph:
        _, _, runner = _counting_runner(5)
        tf.train.add_queue_runner(runner)
        message = runner.to_proto()
        assert message.queue_name == "q"
        meta = tf.train.export_meta_graph()
        assert runner.to_proto(export_scope="other") is None
    with tf.Graph().as_default() as graph:
        tf.train.import_meta_graph(meta)
        (again,) = graph.get_collection(tf.GraphKeys.QUEUE_RUNNERS)
        assert again.to_proto() == message
        assert again.name == "q"
        assert again.queue_closed_exception_types == (tf.errors.OutOfRangeError,)


def test_queue_runner_arguments() -> None:
    with tf.Graph().as_default():
        with pytest.raises(ValueError, match="Must provide queue and enqueue_ops"):
            tf.train.QueueRunner()
        queue = _Queue()
        with pytest.raises(TypeError, match=r"must be a tuple of tf\.error types"):
            tf.train.QueueRunner(queue, [queue.close()], queue_closed_exception_types=[KeyError])
        with pytest.raises(ValueError, match="No default session is registered"):
            tf.train.start_queue_runners()
        with pytest.raises(TypeError, match=r"sess must be a `tf\.Session` object"):
            tf.train.start_queue_runners(3)
        with tf.Session(), pytest.warns(UserWarning, match="no queue runners were defined"):
            assert tf.train.start_queue_runners() == []
