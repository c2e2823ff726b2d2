"""Between-graph replication: a chief and a second worker train variables on two parameter servers together."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flowmesh
from flowmesh.distributed.server import Server
from flowmesh.training import session_manager, supervisor
from tests.distributed.clusters import cluster, cluster_spec
from tests.training.names import tf

TIMEOUT = 60
STEPS = 150


class Replica:
    """The graph of one worker: y = w x + b by Adagrad, and its supervisor."""

    def __init__(self, server: Server, index: int, logdir: Path | None, **options: Any) -> None:
        self.server = server
        self.graph = tf.Graph()
        with self.graph.as_default():
            spec = server.server_def.cluster
            with tf.device(
                tf.train.replica_device_setter(
                    worker_device=f"/job:worker/task:{index}", cluster=spec
                )
            ):
                self.x = tf.placeholder(tf.float32, [None], name="x")
                self.y = tf.placeholder(tf.float32, [None], name="y")
                self.w = tf.Variable(0.0, name="w")
                self.b = tf.Variable(0.0, name="b", use_resource=True)
                self.step = tf.train.create_global_step()
                error = self.w * self.x + self.b - self.y
                self.loss = tf.reduce_mean(error * error)
                adagrad = tf.train.AdagradOptimizer(0.8)
                self.train = adagrad.minimize(self.loss, global_step=self.step)
                tf.summary.scalar("loss_of_w", self.w.value())
                saver = tf.train.Saver(sharded=True)
            self.supervisor = tf.train.Supervisor(
                is_chief=index == 0, logdir=logdir, saver=saver, global_step=self.step, **options
            )

    def run(self, seed: int, limit: int = STEPS) -> tuple[float, float]:
        """Trains until the global step reaches the limit; returns w and b."""
        draw = np.random.RandomState(seed)
        with self.supervisor.managed_session(self.server.target) as session:
            step = 0
            while step < limit and not self.supervisor.should_stop():
                x = draw.rand(20).astype(np.float32)
                feed = {self.x: x, self.y: 2 * x + 0.2}
                _, step = session.run([self.train, self.step], feed)
            return tuple(float(v) for v in session.run([self.w, self.b]))


@pytest.fixture(autouse=True)
def _writers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_writer_factory", tf.summary.FileWriter)


def test_two_workers_and_two_parameter_servers(tmp_path: Path) -> None:
    with cluster(ps=2, worker=2) as servers:
        chief = Replica(servers["worker:0"], 0, tmp_path, save_model_secs=1000)
        other = Replica(servers["worker:1"], 1, None, recovery_wait_secs=0.05)
        devices = {v.op.name: v.device for v in chief.graph.get_collection("variables")}
        assert devices["w"] == "/job:ps/task:0"
        assert devices["b"] == devices["b/Adagrad"] == "/job:ps/task:1"
        results: dict[str, Any] = {}

        def work(name: str, replica: Replica, seed: int) -> None:
            results[name] = replica.run(seed)

        threads = [
            threading.Thread(target=work, args=("other", other, 2)),  # it has to wait for the chief
            threading.Thread(target=work, args=("chief", chief, 1)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT)
        assert sorted(results) == ["chief", "other"]
        for w, b in results.values():
            assert w == pytest.approx(2.0, abs=0.1)
            assert b == pytest.approx(0.2, abs=0.1)
    prefix = tf.train.latest_checkpoint(tmp_path)
    assert prefix is not None
    assert [n for n, _ in tf.train.list_variables(prefix)] == [
        "b", "b/Adagrad", "global_step", "w", "w/Adagrad",
    ]  # fmt: skip
    assert len(list(tmp_path.glob("*.data-*-of-00002"))) == 2


def test_a_restarted_worker_joins_without_a_reset() -> None:
    spec = cluster_spec(ps=1, worker=2)
    ps, first = Server(spec, "ps", 0), Server(spec, "worker", 0)
    with ps, first:
        with Server(spec, "worker", 1) as second:
            chief = Replica(first, 0, None)
            chief.run(1, limit=10)
            Replica(second, 1, None).run(2, limit=20)
        with Server(spec, "worker", 1) as again:
            replica = Replica(again, 1, None)
            with replica.supervisor.managed_session(again.target) as session:
                assert session.run(replica.step) == 20
                assert session.run(replica.w) > 0


def test_a_worker_without_a_chief_says_what_it_waits_for() -> None:
    with cluster(ps=1, worker=2) as servers:
        replica = Replica(servers["worker:1"], 1, None, recovery_wait_secs=0.01)
        with pytest.raises(
            tf.errors.DeadlineExceededError, match="not initialized: w, b, global_step"
        ):
            replica.supervisor.prepare_or_wait_for_session(
                servers["worker:1"].target, max_wait_secs=0.1
            )


def test_a_waiting_worker_asks_often_and_in_one_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow asks every 30 seconds, each time in a new session."""
    made: list[str] = []
    pauses: list[float] = []
    with cluster(ps=1, worker=2) as servers, flowmesh.Graph().as_default():
        with flowmesh.device("/job:ps/task:0"):
            w = flowmesh.Variable(3.0, name="w")
        manager = flowmesh.train.SessionManager(ready_op=flowmesh.report_uninitialized_variables())
        chief = flowmesh.Session(servers["worker:0"].target)

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 4:
                chief.run(w.initializer)

        def session(target: str, **more: Any) -> Any:
            made.append(target)
            return flowmesh.Session(target, **more)

        monkeypatch.setattr(manager._pause, "wait", pause)
        monkeypatch.setattr(session_manager, "Session", session)
        with manager.wait_for_session(servers["worker:1"].target) as ready:
            assert ready.run(w) == 3.0
        chief.close()
    assert made == [servers["worker:1"].target]
    assert len(pauses) == 4 and max(pauses) <= 0.2
