"""After a task of the cluster was restarted: what it held is restored, what the others hold is left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.core import errors
from flowmesh.distributed.server import Server
from tests.distributed.clusters import cluster_spec


class Model:
    """a on the first ps, b and the resource variable c on the second, all saved; both counts go up together."""

    def __init__(self, **saver: Any) -> None:
        self.graph = tf.Graph()
        with self.graph.as_default():
            with tf.device("/job:ps/task:0"):
                self.a = tf.Variable(1.0, name="a")
            with tf.device("/job:ps/task:1"):
                self.b = tf.Variable(2.0, name="b")
                self.c = tf.Variable(3.0, name="c", use_resource=True)
            self.more = tf.group(*(v.assign_add(10.0) for v in (self.a, self.b, self.c)))
            self.saver = tf.train.Saver(**saver)
            self.init = tf.global_variables_initializer()
            self.manager = tf.train.SessionManager(
                ready_op=tf.report_uninitialized_variables(), recovery_wait_secs=0.01
            )

    def prepare(self, target: str, folder: Path | None = None, **more: Any) -> Any:
        return self.manager.prepare_session(
            target,
            init_op=self.init,
            saver=self.saver,
            checkpoint_dir=str(folder) if folder else None,
            **more,
        )

    def values(self, session: Any) -> list[float]:
        return [float(v) for v in session.run([self.a, self.b, self.c])]


# A step that meets the restarted task fails with Aborted; one that meets the connection to its former self, with Unavailable.
LOST = (errors.AbortedError, errors.UnavailableError)


@pytest.fixture
def spec() -> dict:
    return cluster_spec(ps=2, worker=1)


@pytest.mark.parametrize("saver", [{}, {"sharded": True}])
def test_only_the_lost_shard_is_restored(spec: dict, tmp_path: Path, saver: dict) -> None:
    model = Model(**saver)
    with Server(spec, "ps", 0), Server(spec, "worker", 0) as worker:
        second = Server(spec, "ps", 1)
        with model.prepare(worker.target, tmp_path) as session:
            session.run(model.more)
            model.saver.save(session, str(tmp_path / "model"))
            session.run(model.more)
            second.stop()
            second = Server(spec, "ps", 1)
            with (
                second,
                pytest.raises(LOST, match=r"ps.*task:1"),
            ):
                session.run(model.more)
            second = Server(spec, "ps", 1)
            with second:
                again = tf.Session(worker.target, graph=model.graph)
                missing = again.run(model.manager._ready_op)
                assert sorted(missing) == [b"b", b"c"]
                again.close()
                with model.prepare(worker.target, tmp_path) as recovered:
                    assert model.values(recovered)[1:] == [12.0, 13.0]
                    assert model.values(recovered)[0] >= 21.0, "the live variable keeps its value"


def test_live_state_is_not_initialized_again(spec: dict, tmp_path: Path) -> None:
    model = Model()
    with Server(spec, "ps", 0), Server(spec, "ps", 1), Server(spec, "worker", 0) as worker:
        with model.prepare(worker.target) as session:
            session.run(model.more)
            model.saver.save(session, str(tmp_path / "model"))
            session.run(model.more)
        called: list[Any] = []
        with model.prepare(worker.target, init_fn=called.append) as session:
            assert model.values(session) == [21.0, 22.0, 23.0]
        with model.prepare(worker.target, tmp_path) as session:
            assert model.values(session) == [21.0, 22.0, 23.0]
        assert not called
        tf.Session.reset(worker.target)
        with model.prepare(worker.target, tmp_path) as session:
            assert model.values(session) == [11.0, 12.0, 13.0]


def test_without_checkpoint_only_what_was_lost_is_initialized(spec: dict) -> None:
    model = Model()
    with Server(spec, "ps", 0), Server(spec, "worker", 0) as worker:
        with Server(spec, "ps", 1), model.prepare(worker.target) as session:
            session.run(model.more)
        with Server(spec, "ps", 1), model.prepare(worker.target) as session:
            assert model.values(session) == [11.0, 2.0, 3.0]


def test_what_cannot_be_told_apart_is_restored_whole(spec: dict, tmp_path: Path) -> None:
    model = Model(restore_sequentially=True)
    with Server(spec, "ps", 0), Server(spec, "worker", 0) as worker:
        with Server(spec, "ps", 1), model.prepare(worker.target, tmp_path) as session:
            model.saver.save(session, str(tmp_path / "model"))
            session.run(model.more)
        with Server(spec, "ps", 1), model.prepare(worker.target, tmp_path) as session:
            values = model.values(session)
            assert values[1:] == [2.0, 3.0]
            assert values[0] in (1.0, 11.0)
    np.testing.assert_equal(len(values), 3)
