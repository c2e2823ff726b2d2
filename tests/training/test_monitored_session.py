"""Monitored sessions: hooks around steps, stopping, recovery, scaffolds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import flowmesh as tf
from flowmesh.distributed.server import Server
from tests.distributed.clusters import cluster_spec

TIMEOUT = 20


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    with tf.Graph().as_default():
        yield
    tf.summary.FileWriterCache.clear()
    assert not [t for t in threading.enumerate() if t.name.startswith("QueueRunner")]


class Recorder(tf.train.SessionRunHook):
    """Notes what is called; asks for a stop, feeds and fetches as told."""

    def __init__(self, stop_after: int = 0, args: Any = None) -> None:
        self.calls: list[str] = []
        self.results: list[Any] = []
        self.sessions: list[Any] = []
        self.left, self.args = stop_after, args

    def begin(self) -> None:
        self.calls.append("begin")

    def after_create_session(self, session: Any, coord: Any) -> None:
        self.calls.append("after_create_session")
        self.sessions.append(session)
        assert session.graph.finalized
        assert not coord.should_stop()

    def before_run(self, run_context: Any) -> Any:
        self.calls.append("before_run")
        assert run_context.session is self.sessions[-1]
        assert not run_context.stop_requested
        return self.args

    def after_run(self, run_context: Any, run_values: Any) -> None:
        self.calls.append("after_run")
        self.results.append(run_values.results)
        self.left -= 1
        if self.left == 0:
            run_context.request_stop()

    def end(self, session: Any) -> None:
        self.calls.append("end")


class Failing(tf.train.SessionRunHook):
    """Raises the given errors, one before each of the first steps."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    def before_run(self, run_context: Any) -> None:
        if self.errors:
            raise self.errors.pop(0)


def _counter() -> tuple[Any, Any]:
    step = tf.train.get_or_create_global_step()
    return step, tf.assign_add(step, 1)


def test_the_order_of_calls_and_the_end() -> None:
    a = tf.constant(3.0)
    hook = Recorder(stop_after=2, args=tf.train.SessionRunArgs({"twice": a * 2}))
    with tf.train.MonitoredSession(hooks=[hook]) as session:
        assert session.graph is tf.get_default_graph() and session.graph.finalized
        while not session.should_stop():
            assert session.run({"a": a}) == {"a": 3.0}
        with pytest.raises(RuntimeError, match=r"Run called even after should_stop requested."):
            session.run(a)
    assert hook.calls == [
        "begin", "after_create_session", "before_run", "after_run", "before_run", "after_run", "end",
    ]  # fmt: skip
    assert hook.results == [{"twice": 6.0}] * 2
    assert session.should_stop() and session.graph is None
    assert not tf.get_default_graph().finalized
    with pytest.raises(RuntimeError, match=r"Session is already closed."):
        session.close()


def test_an_error_skips_end_and_clean_ends_are_swallowed() -> None:
    hook, a = Recorder(), tf.constant(1.0)
    with pytest.raises(KeyError), tf.train.MonitoredSession(hooks=[hook]) as session:
        session.run(a)
        raise KeyError
    assert "end" not in hook.calls
    for clean in (StopIteration(), tf.errors.OutOfRangeError(None, None, "over")):
        hook = Recorder()
        with tf.train.MonitoredSession(hooks=[hook]):
            raise clean
        assert hook.calls[-1] == "end"


def test_feeds_of_hooks_and_user() -> None:
    x, y = tf.placeholder(tf.float32, []), tf.placeholder(tf.float32, [])
    total, feed = x + y, tf.train.FeedFnHook(lambda: {x: 2.0})
    with tf.train.MonitoredSession(hooks=[feed]) as session:
        assert session.run(total, {y: 1.0}) == 3.0
        with pytest.raises(RuntimeError, match=r"fed by a SessionRunHook and user. Conflict"):
            session.run(x, {x: 1.0})
    with (
        tf.train.MonitoredSession(hooks=[feed, feed]) as session,
        pytest.raises(RuntimeError, match=r"Same tensor is fed by two hooks. Conflict"),
    ):
        session.run(x)


def test_options_of_hooks_are_merged() -> None:
    options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
    seen = []

    class Look(tf.train.SessionRunHook):
        def after_run(self, run_context: Any, run_values: Any) -> None:
            seen.append(
                (run_values.options.trace_level, len(run_values.run_metadata.step_stats.dev_stats))
            )

    hook = Recorder(args=tf.train.SessionRunArgs(None, options=options))
    a = tf.constant(1.0) + 1.0
    with tf.train.MonitoredSession(hooks=[hook, Look()]) as session:
        session.run(a, options=tf.RunOptions(timeout_in_ms=9000))
    assert hook.results == [None]
    assert seen[0][0] == tf.RunOptions.FULL_TRACE and seen[0][1] > 0


@pytest.mark.parametrize("kind", [tf.errors.AbortedError, tf.errors.UnavailableError])
def test_a_lost_session_is_replaced(kind: Any, tmp_path: Path) -> None:
    _, train = _counter()
    hook, failing = Recorder(), Failing()
    stop = tf.train.StopAtStepHook(num_steps=4)
    with tf.train.MonitoredTrainingSession(
        checkpoint_dir=str(tmp_path), hooks=[hook, failing, stop], save_checkpoint_steps=1,
        log_step_count_steps=None, save_checkpoint_secs=None,
    ) as session:  # fmt: skip
        session.run(train)
        session.run(train)
        failing.errors = [kind(None, None, "lost"), kind(None, None, "again")]
        assert session.run(train) == 3
        assert not session.should_stop()
        session.run(train)
        assert session.should_stop()
    assert hook.calls.count("after_create_session") == 3
    assert hook.calls.count("begin") == 1
    assert len({id(s) for s in hook.sessions}) == 3


def test_other_errors_are_raised_and_singular_sessions_do_not_recover() -> None:
    a = tf.constant(1.0)
    error = tf.errors.AbortedError(None, None, "lost")
    with (
        pytest.raises(tf.errors.InternalError),
        tf.train.MonitoredSession(
            hooks=[Failing(tf.errors.InternalError(None, None, "bad"))]
        ) as session,
    ):
        session.run(a)
    with (
        pytest.raises(tf.errors.AbortedError),
        tf.train.SingularMonitoredSession(hooks=[Failing(error)]) as singular,
    ):
        assert singular.raw_session().run(a) == 1.0
        singular.run(a)


def test_a_session_that_is_lost_while_it_is_made() -> None:
    class Creator(tf.train.ChiefSessionCreator):
        attempts = 0

        def create_session(self) -> Any:
            self.attempts += 1
            if self.attempts < 3:
                raise tf.errors.UnavailableError(None, None, "not yet")
            return super().create_session()

    creator, a = Creator(), tf.constant(1.0)
    with tf.train.MonitoredSession(creator) as session:
        assert session.run(a) == 1.0
    assert creator.attempts == 3


def test_step_functions() -> None:
    _, train = _counter()
    hook = Recorder()

    def step_fn(step_context: Any) -> Any:
        step_context.session.run(train)
        return step_context.run_with_hooks(train)

    class Model:
        def step(self, step_context: Any) -> int:
            return 7

    def stop(step_context: Any) -> None:
        step_context.request_stop()

    with tf.train.MonitoredSession(hooks=[hook]) as session:
        assert session.run_step_fn(step_fn) == 2
        assert hook.calls.count("before_run") == 1
        assert session.run_step_fn(Model().step) == 7
        with pytest.raises(ValueError, match="may either have one `step_context` argument"):
            session.run_step_fn(lambda x: x)
        session.run_step_fn(stop)
        raise AssertionError("not reached")
    assert hook.calls[-1] == "end"


def test_queue_runners_end_the_loop_and_report() -> None:
    queue = tf.train.input_producer([1, 2, 3], num_epochs=1, shuffle=False)
    taken = queue.dequeue()
    seen = []
    with tf.train.MonitoredSession() as session:
        while not session.should_stop():
            seen.append(int(session.run(taken)))
    assert seen == [1, 2, 3]


def test_an_error_of_a_queue_runner_is_raised() -> None:
    queue = tf.FIFOQueue(10, tf.float32, shapes=[])
    bad = queue.enqueue(tf.check_numerics(tf.constant(float("nan")), "not a number"))
    tf.train.add_queue_runner(tf.train.QueueRunner(queue, [bad]))
    taken = queue.dequeue()
    with (
        pytest.raises(tf.errors.InvalidArgumentError, match="not a number"),
        tf.train.MonitoredSession() as session,
    ):
        session.run(taken)


def test_the_chief_initializes_and_the_worker_waits() -> None:
    spec = cluster_spec(ps=1, worker=2)
    with Server(spec, "ps", 0), Server(spec, "worker", 0) as one, Server(spec, "worker", 1) as two:
        with tf.device("/job:ps/task:0"):
            _, train = _counter()
        ready = threading.Event()
        values: list[int] = []

        def work() -> None:
            with tf.Graph().as_default():
                with tf.device("/job:ps/task:0"):
                    _, train = _counter()
                with tf.train.MonitoredTrainingSession(two.target, is_chief=False) as session:
                    ready.wait(TIMEOUT)
                    values.append(int(session.run(train)))

        worker = threading.Thread(target=work)
        worker.start()
        with tf.train.MonitoredTrainingSession(one.target) as session:
            session.run(train)
            ready.set()
            worker.join(TIMEOUT)
            assert values == [2]


def test_a_restarted_ps_is_survived(tmp_path: Path) -> None:
    spec = cluster_spec(ps=1, worker=1)
    with Server(spec, "worker", 0) as worker:
        ps = Server(spec, "ps", 0)
        with tf.device("/job:ps/task:0"):
            _, train = _counter()
        hook = Recorder()
        try:
            with tf.train.MonitoredTrainingSession(
                worker.target, checkpoint_dir=str(tmp_path), save_checkpoint_steps=1,
                hooks=[hook, tf.train.StopAtStepHook(last_step=6)],
            ) as session:  # fmt: skip
                for _ in range(3):
                    session.run(train)
                ps.stop()
                ps = Server(spec, "ps", 0)
                while not session.should_stop():
                    value = session.run(train)
            assert value == 6
        finally:
            ps.stop()
    assert hook.calls.count("after_create_session") >= 2
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "model.ckpt-6")


def test_scaffold_parts() -> None:
    w = tf.Variable(1.0, name="w")
    called = []
    scaffold = tf.train.Scaffold(init_fn=lambda s, sess: called.append((s, sess.run(w))))
    copy = tf.train.Scaffold(copy_from_scaffold=scaffold)
    scaffold.finalize()
    graph = tf.get_default_graph()
    assert graph.finalized
    assert scaffold.init_op.name == "group_deps" and scaffold.ready_op.name == "concat:0"
    assert scaffold.ready_for_local_init_op.name == "concat_1:0"
    assert scaffold.local_init_op.name == "group_deps_1"
    assert graph.get_collection(tf.GraphKeys.SAVERS) == [scaffold.saver]
    with tf.train.MonitoredSession(tf.train.ChiefSessionCreator(copy)):
        pass
    assert called == [(copy, 1.0)]
    with pytest.raises(TypeError, match=r"copy_from_scaffold is not a Scaffold instance."):
        tf.train.Scaffold(copy_from_scaffold=3)


def test_scaffold_refuses_an_ambiguous_collection() -> None:
    for _ in range(2):
        tf.add_to_collection(tf.GraphKeys.INIT_OP, tf.no_op())
    with pytest.raises(
        RuntimeError, match=r"to the tf.Scaffold constructor as:  tf.Scaffold\(init_op"
    ):
        tf.train.Scaffold().finalize()
