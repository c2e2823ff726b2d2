"""Variables, queues and readers belong to their task: all sessions of all clients share them, by container and name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import flowmesh as tf
from flowmesh.distributed.server import Server
from flowmesh.graph.raw import raw
from tests.distributed.clusters import cluster, cluster_spec, config, in_thread

PS = "/job:ps/task:0"


def _queue(shared: str, **kwargs: Any) -> Any:
    with tf.device(PS):
        return tf.FIFOQueue(100, [tf.int32], [[]], shared_name=shared, **kwargs)


def _variable(value: float, container: str = "", resource: bool = False) -> Any:
    with tf.device(PS), tf.container(container):
        return tf.get_variable("v", initializer=value, use_resource=resource)


@pytest.mark.parametrize("resource", [False, True])
def test_variables_outlive_sessions_and_are_shared_by_masters(resource: bool) -> None:
    with cluster(ps=1, worker=2) as servers:
        for number, (name, rpc) in enumerate(
            [("worker:0", False), ("worker:1", True), ("ps:0", True), ("worker:0", True)]
        ):
            with tf.Graph().as_default(), tf.Session(servers[name].target, config=config(rpc)) as s:
                v = _variable(10.0, resource=resource)
                assert bool(s.run(tf.is_variable_initialized(v))) is (number > 0)
                if not number:
                    s.run(v.initializer)
                assert s.run(v) == 10.0 + number
                s.run(v.assign_add(1.0).op)


@pytest.mark.parametrize("rpc", [False, True])
def test_containers_keep_names_apart_and_are_cleared_alone(rpc: bool) -> None:
    with cluster(ps=1, worker=1) as servers:
        target = servers["worker:0"].target
        names = ["", "red", "blue"]

        def values(init: bool) -> list[Any]:
            found: list[Any] = []
            for number, name in enumerate(names):
                with tf.Graph().as_default(), tf.Session(target) as session:
                    v = _variable(float(number), name)
                    if init:
                        session.run(v.initializer)
                    set_ = session.run(tf.is_variable_initialized(v))
                    found.append(float(session.run(v)) if set_ else None)
            return found

        assert values(init=True) == [0.0, 1.0, 2.0]
        assert values(init=False) == [0.0, 1.0, 2.0]
        tf.Session.reset(target, ["red"], config(rpc))
        assert values(init=False) == [0.0, None, 2.0]
        tf.Session.reset(target, config=config(rpc))
        assert values(init=False) == [None, None, 2.0]
        tf.Session.reset(target, ["blue", "no such container"], config(rpc))
        assert values(init=False) == [None, None, None]


def test_a_reset_clears_all_tasks_that_its_filters_leave_and_ends_the_masters_sessions() -> None:
    with cluster(ps=2, worker=2) as servers:
        target, other = servers["worker:0"].target, servers["worker:1"].target

        def build() -> list[Any]:
            made = []
            for index in range(2):
                with tf.device(f"/job:ps/task:{index}"):
                    made.append(tf.get_variable(f"v{index}", initializer=1.0))
            return made

        with tf.Graph().as_default():
            both = build()
            session, elsewhere = tf.Session(target), tf.Session(other)
            session.run(tf.global_variables_initializer())
            assert elsewhere.run(both) == [1.0, 1.0]
            tf.Session.reset(target, config=config(device_filters=["/job:ps/task:1"]))
            with pytest.raises(tf.errors.AbortedError, match=r"Session .* is not found"):
                session.run(both)
            assert elsewhere.run(both[0]) == 1.0
            with pytest.raises(tf.errors.FailedPreconditionError, match="uninitialized value v1"):
                elsewhere.run(both[1])
            elsewhere.close()
            session.close()


def test_queues_are_shared_by_name() -> None:
    with cluster(ps=1, worker=2) as servers:
        with tf.Graph().as_default(), tf.Session(servers["worker:0"].target) as producer:
            producer.run(_queue("jobs").enqueue_many([[1, 2, 3]]))
        with tf.Graph().as_default(), tf.Session(servers["worker:1"].target) as consumer:
            queue = _queue("jobs", name="another_name")
            assert consumer.run([queue.dequeue(), queue.size()])[0] == 1
            assert list(consumer.run(queue.dequeue_many(2))) == [2, 3]
            waiting = in_thread(lambda: consumer.run(queue.dequeue()))
            with tf.Graph().as_default(), tf.Session(servers["worker:0"].target) as producer:
                producer.run(_queue("jobs").enqueue(4))
            assert waiting() == 4
            with (
                tf.Graph().as_default(),
                tf.container("apart"),
                tf.Session(servers["worker:0"].target) as other,
            ):
                assert other.run(_queue("jobs").size()) == 0


def test_a_reset_fails_those_who_wait_on_a_queue() -> None:
    with cluster(ps=1, worker=2) as servers, tf.Graph().as_default():
        queue = _queue("jobs")
        signal = _queue("signal")
        with tf.control_dependencies([signal.enqueue(1)]):
            wanted = queue.dequeue()
        with tf.Session(servers["worker:1"].target) as session:
            waiting = in_thread(lambda: session.run(wanted))
            session.run(signal.dequeue())
            tf.Session.reset(servers["worker:0"].target)
            with pytest.raises((tf.errors.CancelledError, tf.errors.AbortedError)):
                waiting()


def test_queues_of_other_attributes_are_refused() -> None:
    with (
        cluster(ps=1) as servers,
        tf.Graph().as_default(),
        tf.Session(servers["ps:0"].target) as session,
    ):
        session.run(_queue("jobs").size())
        with tf.device(PS):
            other = tf.FIFOQueue(5, [tf.float32], [[]], shared_name="jobs")
        with pytest.raises(tf.errors.InvalidArgumentError, match="Shared queue 'jobs' has"):
            session.run(other.size())


def test_readers_are_shared_by_name(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text("a\nb\nc\nd\n")
    with cluster(ps=1, worker=2) as servers:
        seen = []
        for number, name in enumerate(("worker:0", "worker:1")):
            with tf.Graph().as_default(), tf.Session(servers[name].target) as session:
                with tf.device(PS):
                    files = tf.FIFOQueue(9, [tf.string], [[]], shared_name="files")
                    line = _reader("lines").read(files)
                if not number:
                    session.run([files.enqueue([str(path)]), files.close()])
                seen += [session.run(line.value) for _ in range(2)]
        assert seen == [b"a", b"b", b"c", b"d"]


def _reader(name: str) -> Any:
    """A TextLineReader under a shared name, which the class has no argument for."""
    reader = tf.TextLineReader()
    reader._reader_ref = raw.TextLineReaderV2(shared_name=name)
    return reader


def test_a_session_without_a_cluster_keeps_its_state_to_itself() -> None:
    with tf.Graph().as_default():
        v = tf.get_variable("v", initializer=1.0)
        queue = tf.FIFOQueue(5, [tf.int32], [[]], shared_name="jobs")
        with tf.Session() as first, tf.Session() as second:
            first.run([v.initializer, queue.enqueue(1)])
            assert first.run(v) == 1.0
            assert first.run(queue.size()) == 1
            assert second.run(queue.size()) == 0
            with pytest.raises(tf.errors.FailedPreconditionError, match="uninitialized value v"):
                second.run(v)
        with tf.Session() as third:
            assert not third.run(tf.is_variable_initialized(v))
            assert third.run(queue.size()) == 0


def test_an_isolated_session_has_state_of_its_own() -> None:
    with cluster(ps=1, worker=1) as servers, tf.Graph().as_default():
        target = servers["worker:0"].target
        v = _variable(1.0)
        with (
            tf.Session(target) as shared,
            tf.Session(target, config=config(isolate_session_state=True)) as alone,
        ):
            shared.run(v.initializer)
            assert not alone.run(tf.is_variable_initialized(v))
            alone.run(v.assign(5.0))
            assert shared.run(v) == 1.0
        with tf.Session(target) as shared:
            assert shared.run(v) == 1.0


# -- many clients ------------------------------------------------------------------------------------------


def test_many_threads_and_masters_add_to_one_variable() -> None:
    with cluster(ps=1, worker=3) as servers:

        def client(number: int) -> None:
            target = servers[f"worker:{number % 3}"].target
            with tf.Graph().as_default(), tf.Session(target, config=config(number % 2 == 0)) as s:
                add = _variable(0.0).assign_add(1.0, use_locking=True)
                for _ in range(20):
                    s.run(add.op)

        with tf.Graph().as_default(), tf.Session(servers["ps:0"].target) as session:
            v = _variable(0.0)
            session.run(v.initializer)
            joins = [in_thread(lambda n=n: client(n)) for n in range(9)]
            for join in joins:
                join()
            assert session.run(v) == 180.0


def test_threads_share_one_session() -> None:
    with cluster(ps=1, worker=1) as servers, tf.Graph().as_default():
        v = _variable(0.0, resource=True)
        add = v.assign_add(1.0, read_value=False)
        x = tf.placeholder(tf.float32, [])
        y = x * 2.0
        with tf.Session(servers["worker:0"].target) as session:
            session.run(v.initializer)

            def work(number: int) -> list[Any]:
                return [session.run([y, add], {x: number + i})[0] for i in range(20)]

            joins = [in_thread(lambda n=n: work(100 * n)) for n in range(6)]
            for n, join in enumerate(joins):
                assert join() == [2.0 * (100 * n + i) for i in range(20)]
            assert session.run(v) == 120.0


_CLIENT = """
import sys
import flowmesh as tf
with tf.device("/job:ps/task:0"):
    v = tf.get_variable("v", initializer=0.0)
    done = tf.FIFOQueue(10, [tf.int32], [[]], shared_name="done")
add = v.assign_add(1.0, use_locking=True)
with tf.Session(sys.argv[1]) as session:
    for _ in range(25):
        session.run(add.op)
    session.run(done.enqueue(int(sys.argv[2])))
"""


def test_processes_share_the_state_of_a_cluster() -> None:
    with cluster(ps=1, worker=2) as servers, tf.Graph().as_default():
        v = _variable(0.0)
        with tf.device(PS):
            done = tf.FIFOQueue(10, [tf.int32], [[]], shared_name="done")
        with tf.Session(servers["ps:0"].target) as session:
            session.run(v.initializer)
            clients = [
                subprocess.Popen(
                    [sys.executable, "-c", _CLIENT, servers[f"worker:{n % 2}"].target, str(n)]
                )
                for n in range(2)
            ]
            try:
                options = tf.RunOptions(timeout_in_ms=60_000)
                assert sorted(session.run(done.dequeue_many(2), options=options)) == [0, 1]
            finally:
                codes = [client.wait(60) for client in clients]
            assert codes == [0, 0]
            assert session.run(v) == 50.0


# -- device filters ------------------------------------------------------------------------------------------


_ONE_PS = config(device_filters=["/job:ps/task:0"])


def _names(session: Any) -> list[str]:
    return sorted(
        {d.name.split("/device")[0].replace("/replica:0", "") for d in session.list_devices()}
    )


@pytest.mark.parametrize("rpc", [False, True])
def test_filters_leave_the_masters_own_task_and_those_they_name(rpc: bool) -> None:
    with cluster(ps=2, worker=2) as servers, tf.Graph().as_default():
        target = servers["worker:0"].target
        tf.constant(1)
        for filters, expected in (
            ([], ["/job:ps/task:0", "/job:ps/task:1", "/job:worker/task:0", "/job:worker/task:1"]),
            (["/job:ps"], ["/job:ps/task:0", "/job:ps/task:1", "/job:worker/task:0"]),
            (["/job:ps/task:1"], ["/job:ps/task:1", "/job:worker/task:0"]),
            (["/job:ps/task:1", "/job:worker/task:1"],
             ["/job:ps/task:1", "/job:worker/task:0", "/job:worker/task:1"]),
            (["/job:worker/task:0"], ["/job:worker/task:0"]),
            (["/job:absent"], ["/job:worker/task:0"]),
        ):  # fmt: skip
            with tf.Session(target, config=config(rpc, device_filters=filters)) as session:
                assert _names(session) == expected
                devices = session.list_devices()
                assert devices[0].name.startswith("/job:worker/replica:0/task:0/")
                assert all(d.device_type and d.incarnation for d in devices)


def test_an_op_on_a_task_that_is_filtered_out_is_refused_by_name() -> None:
    with cluster(ps=2, worker=1) as servers, tf.Graph().as_default():
        with tf.device("/job:ps/task:0"):
            near = tf.constant(1.0) + 1.0
        with tf.Session(servers["worker:0"].target, config=_ONE_PS) as session:
            assert session.run(near) == 2.0
            with tf.device("/job:ps/task:1"):
                far = tf.add(near, near, name="far")
            with pytest.raises(
                tf.errors.InvalidArgumentError,
                match=r"operation far: .* was explicitly assigned to /job:ps/task:1 but available",
            ):
                session.run(far)


def test_a_task_that_is_down_does_not_matter_to_a_session_that_filters_it_out() -> None:
    with cluster(ps=2, worker=1) as servers, tf.Graph().as_default():
        servers["ps:1"].stop()
        v = _variable(3.0)
        with tf.Session(servers["worker:0"].target, config=_ONE_PS) as session:
            session.run(v.initializer)
            assert session.run(v) == 3.0
            tf.Session.reset(servers["worker:0"].target, config=_ONE_PS)
        impatient = config()
        impatient.experimental.flowmesh.connect_timeout_in_ms = 300
        with (
            tf.Session(servers["worker:0"].target, config=impatient) as session,
            pytest.raises(tf.errors.UnavailableError, match=r"task:1.*device_filters"),
        ):
            session.run(v)


@pytest.mark.parametrize("bad", ["job ps", "/job:", "ps:0"])
def test_a_malformed_filter_is_refused(bad: str) -> None:
    with cluster(ps=1) as servers, tf.Graph().as_default():
        c = tf.constant(1)
        filters = config(device_filters=[bad])
        with (
            tf.Session(servers["ps:0"].target, config=filters) as session,
            pytest.raises(tf.errors.InvalidArgumentError, match="device filter"),
        ):
            session.run(c)


def test_filters_of_the_server_hold_for_sessions_without_a_config() -> None:
    spec = cluster_spec(ps=2, worker=1)
    with (
        Server(spec, "ps", 0),
        Server(spec, "worker", 0, config=config(device_filters=["/job:ps/task:0"])) as worker,
        tf.Graph().as_default(),
    ):
        tf.constant(1)
        with tf.Session(worker.target) as session:
            assert _names(session) == ["/job:ps/task:0", "/job:worker/task:0"]
