"""Steps with host ops in the caller's thread: what may wait waits there, and everything else is as on the usual way."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.core import errors
from flowmesh.runtime import hosted

PATIENCE = 60.0


@pytest.fixture
def runs(monkeypatch):
    """One entry for each run in the caller's thread, made as it begins."""
    begun = []
    original = hosted.HostedRun.run

    def run(self, *args):
        begun.append(threading.get_ident())
        return original(self, *args)

    monkeypatch.setattr(hosted.HostedRun, "run", run)
    return begun


def in_thread(function):
    """Starts `function`; gives what it will have returned or raised."""
    outcome = {}

    def work():
        try:
            outcome["value"] = function()
        except BaseException as error:
            outcome["error"] = error

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def end():
        thread.join(PATIENCE)
        assert not thread.is_alive()
        return outcome

    return end


def until_somebody_waits(session):
    """Returns when a dequeue waits in the line of the session's only queue."""
    (worker,) = session._master.session(session._handle)._workers.values()
    states = worker._session(session._handle).state._node_state.values()
    (queue,) = {id(state["queue"]): state["queue"] for state in states if "queue" in state}.values()
    while not queue._dequeues:
        pass


@pytest.fixture
def made():
    """A session with a queue of numbers and what can be done with it."""
    with tf.Graph().as_default(), tf.Session() as session:
        number = tf.placeholder(tf.float32, [])
        queue = tf.FIFOQueue(2, [tf.float32], [[]])
        put, take = queue.enqueue([number * 2.0]), queue.dequeue() + 1.0
        for value in range(3):  # from the second run on, steps are warm
            session.run(put, {number: value})
            session.run(take)
        yield session, queue, number, put, take


def test_a_step_that_waits_goes_on_with_what_comes(made, runs):
    session, _queue, number, put, take = made
    end = in_thread(lambda: [session.run(take), session.run(take)])
    until_somebody_waits(session)
    session.run(put, {number: 5})
    session.run(put, {number: 6})
    assert end()["value"] == [11.0, 13.0]
    assert len(runs) == 4 and len(set(runs)) == 2


def test_a_closed_session_ends_a_step_that_waits(made, runs):
    session, _queue, _, _, take = made
    end = in_thread(lambda: session.run(take))
    until_somebody_waits(session)
    session.close()
    assert isinstance(end()["error"], errors.CancelledError)
    assert "Session was closed" in str(end()["error"])
    assert runs


def test_the_end_of_a_queue_names_the_node(made, runs):
    session, queue, _, _, take = made
    end = in_thread(lambda: session.run(take))
    until_somebody_waits(session)
    session.run(queue.close())
    error = end()["error"]
    assert isinstance(error, errors.OutOfRangeError) and "is closed and has insufficient" in str(
        error
    )
    assert error.op is not None and error.op.type == "QueueDequeueV2"


def test_one_step_may_wait_for_what_it_puts_in_itself(runs):
    with tf.Graph().as_default(), tf.Session() as session:
        queue = tf.FIFOQueue(1, [tf.int32], [[]])
        both = [queue.dequeue(), queue.enqueue([7])]
        back = [queue.enqueue([8]), queue.dequeue()]
        for _ in range(4):
            assert session.run(both)[0] == 7
            assert session.run(back)[1] == 8
    assert len(runs) == 6


def test_several_waits_end_in_any_order(runs):
    with tf.Graph().as_default(), tf.Session() as session:
        queues = [tf.FIFOQueue(5, [tf.int32], [[]]) for _ in range(3)]
        values = tf.placeholder(tf.int32, [3])
        puts = [q.enqueue([values[i]]) for i, q in enumerate(queues)]
        total = tf.add_n([q.dequeue() for q in queues])
        for _ in range(2):
            session.run(puts, {values: [1, 2, 3]})
            assert session.run(total) == 6
        end = in_thread(lambda: session.run(total))
        for i in (2, 0, 1):
            session.run(puts[i], {values: [10, 20, 30]})
        assert end()["value"] == 60
    assert runs


def test_an_error_withdraws_what_else_the_step_waits_for(runs):
    with tf.Graph().as_default(), tf.Session() as session:
        queue = tf.FIFOQueue(5, [tf.int32], [[]])
        text = tf.placeholder(tf.string, [1])
        put = queue.enqueue([1])
        step = [queue.dequeue(), tf.decode_csv(text, [[0]])[0]]
        for _ in range(2):
            session.run(put)
            assert session.run(step, {text: ["4"]})[1].tolist() == [4]
        with pytest.raises(errors.InvalidArgumentError, match="not a valid int32: x"):
            session.run(step, {text: ["x"]})
        session.run(put)
        assert session.run(queue.size()) == 1  # nobody is left in line to take it


def test_a_time_limit_is_kept_in_the_callers_thread(made, runs, monkeypatch):
    def schedule(at, callback):
        raise AssertionError("a timer was set")

    monkeypatch.setattr("flowmesh.runtime.timer.schedule", schedule)
    session, _, number, put, take = made
    options = tf.RunOptions(timeout_in_ms=20)
    waiting = "Timed out waiting for notification. Still waiting for: fifo_queue_Dequeue."
    with pytest.raises(errors.DeadlineExceededError) as caught:
        session.run(take, options=options)
    assert caught.value.message == waiting and len(runs) == 1
    limit = tf.RunOptions(timeout_in_ms=60_000)
    session.run(put, {number: 5}, limit)  # nobody is left in line to take it
    assert session.run(take, options=limit) == 11.0
    assert len(runs) == 3


def test_the_time_limit_of_a_session_is_kept_in_the_callers_thread(runs, monkeypatch):
    config = tf.ConfigProto(operation_timeout_in_ms=60_000)
    with tf.Graph().as_default(), tf.Session(config=config) as session:
        queues = [tf.FIFOQueue(2, [tf.float32], [[]]) for _ in range(2)]
        puts, takes = [q.enqueue([1.0]) for q in queues], [q.dequeue() for q in queues]
        for _ in range(2):
            session.run(puts)
            session.run(takes)
        runs.clear()
        (warm,) = [s for s in session._warm.values() if s._run.__self__._run._results]
        assert warm._run.__self__._limit == 60_000
        with monkeypatch.context() as patch:
            patch.setattr(warm._run.__self__, "_limit", 20)
            with pytest.raises(errors.DeadlineExceededError, match=r"queue_Deq.*, fifo_queue_1_D"):
                session.run(takes)
        session.run(puts)
        assert session.run(takes) == [1.0, 1.0]
    assert len(runs) == 3


def test_what_may_block_is_left_when_its_time_is_over(runs, monkeypatch):
    for name in ("_SLACK", "_GRACE"):
        monkeypatch.setattr(f"flowmesh.distributed.running_step.{name}", 0.05)
    release = threading.Event()
    with tf.Graph().as_default(), tf.Session() as session:
        flag = tf.placeholder(tf.bool, [])
        waits = tf.py_func(lambda wait: not wait or release.wait(PATIENCE), [flag], tf.bool)
        for _ in range(2):
            assert session.run(waits, {flag: False})
        assert len(runs) == 1
        try:
            with pytest.raises(errors.DeadlineExceededError):
                session.run(waits, {flag: True}, tf.RunOptions(timeout_in_ms=20))
        finally:
            release.set()
    assert len(runs) == 1


def test_python_functions_run_in_the_callers_thread(runs):
    seen = []

    def double(x):
        seen.append(threading.get_ident())
        return x * 2

    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [2])
        y = tf.py_func(double, [x], tf.float32) + 1.0
        for _ in range(4):
            np.testing.assert_array_equal(session.run(y, {x: [1, 2]}), [3, 5])
    assert len(runs) == 3 and set(seen[1:]) == {threading.get_ident()}


def test_functions_that_may_wait_for_each_other_run_side_by_side(runs):
    with tf.Graph().as_default(), tf.Session() as session:
        for _ in range(2):
            event = threading.Event()

            def release(event=event):
                event.set()
                return np.float32(1)

            def await_it(event=event):
                return np.float32(event.wait(PATIENCE))

            a, b = (tf.py_func(f, [], tf.float32) for f in (await_it, release))
            for _ in range(3):
                event.clear()
                assert session.run([a, b]) == [1.0, 1.0]
    assert not runs


def test_a_failed_step_tells_its_queue_why(runs):
    with tf.Graph().as_default(), tf.Session() as session:
        text = tf.placeholder(tf.string, [])
        queue = tf.FIFOQueue(5, [tf.int32], [[]])
        put, close = queue.enqueue([tf.decode_csv(text, [[0]])[0]]), queue.close()
        take = queue.dequeue()
        for _ in range(3):
            session.run(put, {text: "1"})
            session.run(take)
        with pytest.raises(errors.InvalidArgumentError):
            session.run(put, {text: "x"})
        session.run(close)
        with pytest.raises(
            errors.OutOfRangeError, match="Its input had failed: InvalidArgumentError"
        ):
            session.run(take)
    assert runs
