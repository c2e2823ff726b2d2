"""Steps over several tasks: few messages, no thread in between, the usual way for what is unusual, and no step that hangs."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.distributed.fanned_step import FannedStep
from flowmesh.distributed.steps import StepTable
from flowmesh.distributed.transport.direct import frames, service
from flowmesh.distributed.transport.direct.channel import Channel
from flowmesh.distributed.transport.direct.link import Link
from flowmesh.distributed.transport.direct.plane import DirectOptions
from flowmesh.runtime import staged
from flowmesh.runtime.cluster_runner import ClusterRunner
from flowmesh.runtime.feed_buffers import FeedBuffers
from tests.distributed.clusters import cluster, eventually, in_thread, is_sign_of_life


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kinds of the messages that arrive in this process, pushes with the number of their tensors; signs of life left out."""
    found: list[str] = []
    handle = Link._handle

    def noted(self: Link, message: Any) -> None:
        name = frames.Kind(message.kind).name
        if name != "CREDIT" and not is_sign_of_life(message):
            found.append(f"PUSH {len(message.tensors)}" if name == "PUSH" else name)
        handle(self, message)

    monkeypatch.setattr(Link, "_handle", noted)
    return found


@pytest.fixture
def fanned(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A number for each step that is fanned out."""
    found: list[int] = []
    start = FannedStep._start

    def noted(self: FannedStep, step: Any, step_id: int, *args: Any) -> None:
        found.append(step_id)
        start(self, step, step_id, *args)

    monkeypatch.setattr(FannedStep, "_start", noted)
    return found


def regression(ps: int = 1) -> tuple[Any, Any, Any, list[Any]]:
    """A linear regression whose variables are on the parameter servers."""
    variables = []
    for index in range(ps):
        with tf.device(f"/job:ps/task:{index}"):
            variables += [tf.Variable(0.5), tf.Variable(0.0)]
    with tf.device("/job:worker/task:0"):
        x, y = tf.placeholder(tf.float32), tf.placeholder(tf.float32)
        sums = [x * w + b for w, b in zip(variables[::2], variables[1::2])]
        loss = tf.square(tf.add_n(sums) - y)
        train = tf.train.AdagradOptimizer(0.1).minimize(loss)
    return x, y, train, variables


@pytest.fixture
def graph() -> Iterator[Any]:
    with tf.Graph().as_default() as made:
        yield made


@pytest.mark.parametrize("ps", [1, 3])
def test_a_training_step_is_four_messages_for_each_server(
    graph: Any, messages: list[str], fanned: list[int], ps: int
) -> None:
    x, y, train, variables = regression(ps)
    feed = {x: np.float32(0.5), y: np.float32(2)}
    with cluster(ps=ps, worker=1) as servers, tf.Session(servers["worker:0"].target) as session:
        session.run(tf.global_variables_initializer())
        for _ in range(3):
            session.run(train, feed)
        messages.clear()
        fanned.clear()
        for _ in range(5):
            session.run(train, feed)
        assert len(fanned) == 5
        assert sorted(messages) == sorted(["RUN_GRAPH", "PUSH 2", "PUSH 2", "REPLY"] * 5 * ps)
        expected = session.run(variables)
    single = _alone(8)
    if ps == 1:
        np.testing.assert_array_equal(expected, single)


def _alone(steps: int) -> list[Any]:
    """The variables after so many steps without a cluster."""
    with tf.Graph().as_default():
        w, b = tf.Variable(0.5), tf.Variable(0.0)
        x, y = tf.placeholder(tf.float32), tf.placeholder(tf.float32)
        train = tf.train.AdagradOptimizer(0.1).minimize(tf.square(tf.add_n([x * w + b]) - y))
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            for _ in range(steps):
                session.run(train, {x: np.float32(0.5), y: np.float32(2)})
            return list(session.run([w, b]))


def test_work_is_done_where_messages_are_read(graph: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, train, _ = regression()
    feed = {x: np.float32(0.5), y: np.float32(2)}
    threads: dict[str, list[str]] = {"worker": [], "ps": []}
    run = ClusterRunner.run

    def noted(self: ClusterRunner, *args: Any) -> Any:
        job = "worker" if "worker" in self.device.name else "ps"
        threads[job].append(threading.current_thread().name)
        return run(self, *args)

    with cluster(ps=1, worker=1) as servers, tf.Session(servers["worker:0"].target) as session:
        session.run(tf.global_variables_initializer())
        for _ in range(5):  # what may have to be compiled goes to a pool
            session.run(train, feed)
        monkeypatch.setattr(ClusterRunner, "run", noted)
        here = threading.current_thread().name
        # The worker's part runs in the thread that called `run`, unless the reading thread of a busy machine comes first.
        for runs in range(1, 501):
            session.run(train, feed)
            if runs >= 50 and here in threads["worker"]:
                break
        assert len(threads["worker"]) == runs
        assert set(threads["worker"]) <= {here, "flowmesh-direct-read"}
        assert here in threads["worker"]
        assert set(threads["ps"]) == {"flowmesh-direct-read"}


def test_work_that_is_known_is_done_where_messages_are_read(
    graph: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large inputs of open shapes may mean much work; once a run with these shapes has been measured, that is known."""
    with tf.device("/job:ps/task:0"):
        v = tf.Variable(tf.ones([300_000]))
    with tf.device("/job:worker/task:0"):
        x = tf.placeholder(tf.float32, [None])
        total = tf.reduce_sum(v * x)
    threads: list[str] = []
    run = ClusterRunner.run

    def noted(self: ClusterRunner, *args: Any) -> Any:
        if "worker" in self.device.name:
            threads.append(threading.current_thread().name)
        return run(self, *args)

    begun = threading.Event()
    start, deliver = staged.StagedRun.start, StepTable.deliver_all

    def start_it(self: Any, *args: Any, **named: Any) -> None:
        start(self, *args, **named)
        if self._plan.receives:
            begun.set()

    def deliver_later(self: Any, *args: Any) -> None:
        """Holds back what comes before the step has begun: the calling thread would take it along."""
        assert begun.wait(20)
        deliver(self, *args)

    here = threading.current_thread().name
    reading = {here, "flowmesh-direct-read"}
    with cluster(ps=1, worker=1) as servers, tf.Session(servers["worker:0"].target) as session:
        session.run(v.initializer)
        monkeypatch.setattr(ClusterRunner, "run", noted)
        monkeypatch.setattr(staged.StagedRun, "start", start_it)
        monkeypatch.setattr(StepTable, "deliver_all", deliver_later)
        feed = {x: np.full(300_000, 2.0, np.float32)}
        assert session.run(total, feed) == 600_000
        assert not reading & set(threads)
        for _ in range(5):
            session.run(total, feed)
        threads.clear()
        for runs in range(1, 501):
            session.run(total, feed)
            if runs >= 10 and here in threads:  # on a busy machine the reading thread comes first
                break
        assert len(threads) == runs
        assert set(threads) <= reading
        assert here in threads
        threads.clear()
        begun.clear()
        assert session.run(total, {x: np.ones(1, np.float32)}) == 300_000  # another shape
        assert not reading & set(threads)


def test_feeds_are_copied_while_parameters_are_under_way(
    graph: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compiled program wants them aligned and for itself; small ones, and those that NumPy reads, are left alone."""
    with tf.device("/job:ps/task:0"):
        v = tf.Variable(tf.ones([64, 3]))
    with tf.device("/job:worker/task:0"):
        x, small = tf.placeholder(tf.float32, [100, 64]), tf.placeholder(tf.float32, [3])
        total = tf.reduce_sum(tf.matmul(x, v) + small)
    early: list[tuple[int, ...]] = []
    late: list[tuple[int, ...]] = []

    def noted(found: list[tuple[int, ...]], copy: Any) -> Any:
        return lambda *args: (found.append(args[-1].shape), copy(*args))[1]

    monkeypatch.setattr(staged, "shared_copy", noted(early, staged.shared_copy))
    monkeypatch.setattr(FeedBuffers, "copy", noted(late, FeedBuffers.copy))
    fed = np.ones((100, 64), np.float32)
    for mode in ("xla", "numpy"):
        config = tf.ConfigProto()
        config.experimental.flowmesh.execution = mode
        with (
            cluster(ps=1, worker=1) as servers,
            tf.Session(servers["worker:0"].target, config=config) as session,
        ):
            session.run(v.initializer)
            for number in range(1, 6):
                fed[:] = number  # it was free as soon as the run before was over
                found = session.run(total, {x: fed, small: np.ones(3, np.float32)})
                assert found == 300 * (64 * number + 1)
        assert set(early) == ({(100, 64)} if mode == "xla" else set())
        assert set(late) <= {(3,)}
        early.clear()


@pytest.mark.parametrize("limit", [0, 60_000])
def test_frames_of_one_arrival_leave_with_one_call(
    graph: Any, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    options = tf.RunOptions(timeout_in_ms=limit) if limit else None
    with tf.device("/job:ps/task:0"):
        variables = [tf.Variable(float(n)) for n in range(20)]
    with tf.device("/job:worker/task:0"):
        total = tf.add_n(variables)
    with cluster(ps=1, worker=1) as servers, tf.Session(servers["worker:0"].target) as session:
        session.run(tf.global_variables_initializer())
        for _ in range(3):
            assert session.run(total) == 190
        calls: list[int] = []
        flush = Channel._flush

        def noted(self: Channel, may_wait: bool) -> None:
            calls.append(len(self._queue))
            flush(self, may_wait)

        monkeypatch.setattr(Channel, "_flush", noted)
        session.run(total, options=options)
        assert calls == [2]  # the pushed tensors, and the answer


def test_values_that_come_before_the_step_begins_are_kept(
    graph: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tf.device("/job:ps/task:0"):
        v = tf.Variable(3.0)
    with tf.device("/job:worker/task:0"):
        doubled = v * 2.0
    arrived = threading.Event()
    with cluster(ps=1, worker=1) as servers, tf.Session(servers["worker:0"].target) as session:
        session.run(tf.global_variables_initializer())
        assert session.run(doubled) == 6
        worker = servers["worker:0"]._worker
        begin, deliver = worker._steps.begin, worker._steps.deliver

        def late(run: Any) -> None:
            assert arrived.wait(20)
            begin(run)

        def noted(*args: Any) -> None:
            deliver(*args)
            arrived.set()

        monkeypatch.setattr(worker._steps, "begin", late)
        monkeypatch.setattr(worker._steps, "deliver", noted)
        assert session.run(doubled) == 6
        assert not worker.step_ids()


def test_a_dead_value_is_passed_on(graph: Any) -> None:
    choice = tf.placeholder(tf.bool, [])
    with tf.device("/job:ps/task:0"):
        v = tf.Variable(3.0)
        taken = tf.raw_ops.Switch(data=v.read_value(), pred=choice).output_true
    with tf.device("/job:worker/task:0"):
        far = taken * 2.0
    with cluster(ps=1, worker=1) as servers, tf.Session(servers["worker:0"].target) as session:
        session.run(v.initializer)
        for _ in range(3):
            assert session.run(far, {choice: True}) == 6
            with pytest.raises(tf.errors.InvalidArgumentError, match="does not have value"):
                session.run(far, {choice: False})
        assert not any(server._worker.step_ids() for server in servers.values())


def test_an_error_on_one_task_ends_the_step_on_all(graph: Any, fanned: list[int]) -> None:
    ids = tf.placeholder(tf.int32, [None])
    with tf.device("/job:ps/task:0"):
        rows = tf.gather(tf.Variable([1.0, 2.0]), ids, name="rows")
        u = tf.Variable(1.0)
    with tf.device("/job:worker/task:0"):
        total = tf.reduce_sum(rows)
    with tf.device("/job:ps/task:0"):
        update = tf.assign_add(u, total)
    with cluster(ps=1, worker=1) as servers, tf.Session(servers["worker:0"].target) as session:
        session.run(tf.global_variables_initializer())
        for _ in range(3):
            session.run(update.op, {ids: [0, 1]})
            with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?s)= 9 .*rows"):
                session.run(update.op, {ids: [9]})
        assert len(fanned) >= 6
        assert session.run(u) == 10
        assert not any(server._worker.step_ids() for server in servers.values())


def _blocked(servers: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Has the parameter server keep what it would send; set when a step has come so far."""
    kept = threading.Event()

    def keep(self: Any, run: Any, transfers: Any) -> None:
        kept.set()

    monkeypatch.setattr("flowmesh.distributed.staged_part.StagedPart.send_all", keep)
    return kept


@pytest.mark.parametrize("way", ["close", "stop"])
def test_a_step_that_waits_ends_with_its_session_or_server(
    graph: Any, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    x, y, train, _ = regression()
    feed = {x: np.float32(0.5), y: np.float32(2)}
    with cluster(ps=1, worker=1) as servers:
        session = tf.Session(servers["worker:0"].target)
        session.run(tf.global_variables_initializer())
        session.run(train, feed)
        kept = _blocked(servers, monkeypatch)
        join = in_thread(lambda: session.run(train, feed))
        assert kept.wait(20)
        if way == "close":
            session.close()
        else:
            servers["ps:0"].stop()
        with pytest.raises(
            (tf.errors.CancelledError, tf.errors.AbortedError, tf.errors.UnavailableError)
        ):
            join()
        assert not servers["worker:0"]._worker.step_ids()
        session.close()


@pytest.mark.parametrize("way", ["session", "run"])
def test_a_time_limit_costs_no_message_and_no_timer(
    graph: Any, messages: list[str], fanned: list[int], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    x, y, train, variables = regression(2)
    feed = {x: np.float32(0.5), y: np.float32(2)}

    def schedule(at: float, callback: Any) -> int:
        raise AssertionError("a timer was set")

    def answered() -> bool:
        """Nobody is still to answer what no step waits for (that it may forget an old part)."""
        planes = [server._plane for server in servers.values()]
        return not any(link._pending for plane in planes for link in list(plane._links.values()))

    def ten_steps(session: Any, options: Any = None) -> Any:
        """The messages of ten steps, and the variables after them."""
        session.run(tf.global_variables_initializer())
        for _ in range(4):
            session.run(train, feed, options)
        eventually(answered)
        messages.clear()
        fanned.clear()
        with monkeypatch.context() as patch:
            patch.setattr("flowmesh.runtime.timer.schedule", schedule)
            for _ in range(10):
                session.run(train, feed, options)
        assert len(fanned) == 10
        return sorted(messages), session.run(variables)

    limit = tf.ConfigProto(operation_timeout_in_ms=60_000) if way == "session" else None
    options = tf.RunOptions(timeout_in_ms=60_000) if way == "run" else None
    with cluster(ps=2, worker=1) as servers, ExitStack() as sessions:
        # Both are open to the end: a session that closes has messages of its own.
        target = servers["worker:0"].target
        free = ten_steps(sessions.enter_context(tf.Session(target)))
        limited = ten_steps(sessions.enter_context(tf.Session(target, config=limit)), options)
    assert free[0] == limited[0]
    assert len(free[0]) == 10 * 2 * 4
    np.testing.assert_array_equal(free[1], limited[1])


@pytest.mark.parametrize("way", ["session", "run"])
def test_the_deadline_names_what_each_task_waits_for(
    graph: Any, fanned: list[int], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr("flowmesh.distributed.running_step._SLACK", 20.0)
    x, y, train, variables = regression()
    feed = {x: np.float32(0.5), y: np.float32(2)}
    config = tf.ConfigProto(operation_timeout_in_ms=60_000)
    with (
        cluster(ps=1, worker=1) as servers,
        tf.Session(servers["worker:0"].target, config=config) as session,
    ):
        session.run(tf.global_variables_initializer())
        for _ in range(2):
            session.run(train, feed)
        fanned.clear()
        with monkeypatch.context() as patch:
            _blocked(servers, patch)
            with pytest.raises(tf.errors.DeadlineExceededError) as caught:
                if way == "session":
                    (warm,) = [step for step in session._warm.values() if step._feeds]
                    patch.setattr(warm._run.__self__, "_limit", 30)
                    session.run(train, feed)
                else:
                    session.run(train, feed, tf.RunOptions(timeout_in_ms=30))
        assert len(fanned) == 1
        text = caught.value.message
        assert text.startswith("Operation timed out. ")
        for job in ("ps", "worker"):
            assert f"/job:{job}/replica:0/task:0: Timed out waiting for notification. Still" in text
        assert "(rendezvous key /job:ps/replica:0/task:0/device:CPU:0;" in text
        eventually(lambda: not any(s._worker.step_ids() for s in servers.values()))
        session.run(train, feed, tf.RunOptions(timeout_in_ms=60_000))
        assert len(fanned) == 2
        np.testing.assert_array_equal(session.run(variables), _alone(3))


def test_the_deadline_names_an_op_that_another_task_waits_for(
    graph: Any, fanned: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with tf.device("/job:ps/task:0"):
        queue = tf.FIFOQueue(3, [tf.float32], [[]], shared_name="empty")
        got = queue.dequeue(name="take")
        put = queue.enqueue([1.0])
    with tf.device("/job:worker/task:0"):
        doubled = got * 2.0
    limit = tf.RunOptions(timeout_in_ms=30)
    monkeypatch.setattr("flowmesh.distributed.running_step._SLACK", 20.0)
    with cluster(ps=1, worker=1) as servers, tf.Session(servers["worker:0"].target) as session:
        session.run(put)
        session.run(doubled)
        fanned.clear()
        for _ in range(2):
            with pytest.raises(tf.errors.DeadlineExceededError) as caught:
                session.run(doubled, options=limit)
            assert "task:0: Timed out waiting for notification. Still waiting for: take" in str(
                caught.value
            )
        assert len(fanned) == 2
        eventually(lambda: not any(s._worker.step_ids() for s in servers.values()))
        session.run(put)  # nobody is left in line to take it
        assert session.run(doubled, options=tf.RunOptions(timeout_in_ms=60_000)) == 2


def test_a_task_that_does_not_answer_is_named(
    graph: Any, fanned: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowmesh.distributed.running_step._SLACK", 0.05)
    x, y, train, _ = regression()
    feed = {x: np.float32(0.5), y: np.float32(2)}
    with cluster(ps=1, worker=1) as servers, tf.Session(servers["worker:0"].target) as session:
        session.run(tf.global_variables_initializer())
        session.run(train, feed)
        fanned.clear()
        with monkeypatch.context() as patch:
            patch.setitem(service._HANDLERS, frames.Kind.RUN_GRAPH, lambda *_: None)
            with pytest.raises(
                tf.errors.DeadlineExceededError,
                match=r"Still waiting for /job:ps/replica:0/task:0, which did not answer",
            ):
                session.run(train, feed, tf.RunOptions(timeout_in_ms=30))
        assert len(fanned) == 1
        session.run(train, feed)


def test_a_step_with_a_limit_does_not_wait_for_a_connection_that_takes_no_more(
    graph: Any, fanned: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Far more is sent than a socket takes, to a task whose threads do not read."""
    with tf.device("/job:ps/task:0"):
        x = tf.placeholder(tf.float32, [None])
        far = tf.reduce_sum(x)
    with tf.device("/job:worker/task:0"):
        near = far + 1.0
    big = np.ones(4_000_000, np.float32)
    options = DirectOptions(unix=False, shared_memory=False)
    monkeypatch.setattr("flowmesh.distributed.running_step._SLACK", 0.05)
    monkeypatch.setattr(DirectOptions, "from_environment", lambda: options)
    with cluster(ps=1, worker=1) as servers, tf.Session(servers["worker:0"].target) as session:
        assert session.run(near, {x: big}) == 4_000_001
        link = servers["ps:0"]._plane.link(servers["worker:0"]._plane.identity)
        fanned.clear()
        with (
            link.turn.lock,  # nobody reads
            pytest.raises(tf.errors.DeadlineExceededError, match="which did not answer"),
        ):
            session.run(near, {x: big}, tf.RunOptions(timeout_in_ms=30))
        assert len(fanned) == 1
        assert session.run(near, {x: big}) == 4_000_001


def test_traces_go_the_usual_way(graph: Any, fanned: list[int]) -> None:
    x, y, train, _ = regression()
    feed = {x: np.float32(0.5), y: np.float32(2)}
    with cluster(ps=1, worker=1) as servers, tf.Session(servers["worker:0"].target) as session:
        session.run(tf.global_variables_initializer())
        session.run(train, feed)
        fanned.clear()
        metadata = tf.RunMetadata()
        options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
        session.run(train, feed, options=options, run_metadata=metadata)
        assert not fanned
        assert {d.device.split("/")[1] for d in metadata.step_stats.dev_stats} == {
            "job:ps",
            "job:worker",
        }


def test_steps_of_many_threads_at_once(graph: Any) -> None:
    with tf.device("/job:ps/task:0"):
        total = tf.Variable(0.0)
    with tf.device("/job:worker/task:0"):
        one = tf.identity(total) * 0.0 + 1.0
    with tf.device("/job:ps/task:0"):
        add = tf.assign_add(total, one).op
    with cluster(ps=1, worker=1) as servers, tf.Session(servers["worker:0"].target) as session:
        session.run(total.initializer)

        def work() -> None:
            for _ in range(25):
                session.run(add)

        joins = [in_thread(work) for _ in range(6)]
        for join in joins:
            join()
        assert session.run(total) == 150


def test_long_work_leaves_the_reading_thread(graph: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staged, "_LONG", 0)
    x, y, train, variables = regression()
    feed = {x: np.float32(0.5), y: np.float32(2)}
    with cluster(ps=1, worker=1) as servers, tf.Session(servers["worker:0"].target) as session:
        session.run(tf.global_variables_initializer())
        for _ in range(8):
            session.run(train, feed)
        np.testing.assert_array_equal(session.run(variables), _alone(8))


def test_steps_leave_nothing_to_the_garbage_collector(graph: Any) -> None:
    x, y, train, _ = regression()
    feed = {x: np.float32(0.5), y: np.float32(2)}

    def objects_after(steps: int) -> int:
        for _ in range(steps):
            session.run(train, feed)
        return len(gc.get_objects())

    with cluster(ps=1, worker=1) as servers, tf.Session(servers["worker:0"].target) as session:
        session.run(tf.global_variables_initializer())
        objects_after(20)
        gc.collect()
        gc.disable()
        try:
            before = objects_after(5)
            assert objects_after(200) - before < 100
        finally:
            gc.enable()


def test_a_master_that_drains_refuses_prepared_steps(graph: Any, fanned: list[int]) -> None:
    x, y, train, _ = regression()
    with tf.device("/job:worker/task:0"):
        local = tf.constant(1.0) + 1.0
    feed = {x: np.float32(0.5), y: np.float32(2)}
    with cluster(ps=1, worker=1) as servers, tf.Session(servers["worker:0"].target) as session:
        session.run(tf.global_variables_initializer())
        for _ in range(3):
            session.run(train, feed)
            session.run(local)
        fanned.clear()
        master = session._master.session(session._handle)
        master.refuse(tf.errors.UnavailableError(None, None, "no more steps"))
        for _ in range(2):
            with pytest.raises(tf.errors.UnavailableError, match="no more steps"):
                session.run(train, feed)
            with pytest.raises(tf.errors.UnavailableError, match="no more steps"):
                session.run(local)
        assert not fanned
