"""Tasks that share no file system with the chief: every task has a current directory of its own, and paths are relative."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import flowmesh as tf
from tests.training.forked import Cluster

pytestmark = pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="needs fork"
)


def serve_at(say: Callable[..., None], spec: Any, index: int, folder: str) -> None:
    """A ps with a directory of its own."""
    import flowmesh as tf

    os.makedirs(folder, exist_ok=True)
    os.chdir(folder)
    server = tf.train.Server(spec, "ps", index)
    say(serving=True)
    server.join()


def train(say: Callable[..., None], spec: Any, folder: str, last_step: int) -> None:
    """The chief, with a directory of its own; its checkpoints go to the relative path 'log'."""
    import flowmesh as tf

    os.makedirs(f"{folder}/log", exist_ok=True)
    os.chdir(folder)
    server = tf.train.Server(spec, "worker", 0)
    with tf.device(tf.train.replica_device_setter(cluster=spec)):
        step = tf.train.get_or_create_global_step()
        with tf.variable_scope("p", partitioner=tf.fixed_size_partitioner(2)):
            pieces = tf.get_variable("pieces", [4], initializer=tf.zeros_initializer())
        w = tf.get_variable("w", initializer=0.0, use_resource=True)
        loss = -(tf.reduce_sum(tf.convert_to_tensor(pieces)) + w)
        train_op = tf.train.MomentumOptimizer(1.0, 0.0).minimize(loss, global_step=step)
    with tf.train.MonitoredTrainingSession(
        server.target,
        checkpoint_dir="log",
        hooks=[tf.train.StopAtStepHook(last_step=last_step)],
        save_checkpoint_steps=5,
        save_summaries_steps=None,
        log_step_count_steps=None,
    ) as session:
        say(began=int(session.run_step_fn(lambda step_context: step_context.session.run(step))))
        while not session.should_stop():
            session.run(train_op)
    say(finished=True)
    server.stop()


@pytest.mark.parametrize("shards", [1, 2])
def test_checkpoints_stream_through_the_session(tmp_path: Path, shards: int) -> None:
    with Cluster(workers=1, ps=0) as cluster:
        cluster.spec["ps"] = Cluster(workers=shards).spec["worker"]
        servers = [
            cluster.start(f"ps {i}", serve_at, i, str(tmp_path / f"ps{i}")) for i in range(shards)
        ]
        for server in servers:
            server.wait_for("serving")
        chief = cluster.start("chief", train, str(tmp_path / "chief"), 12)
        assert chief.end() == 0, chief.said
        log = tmp_path / "chief" / "log"
        reader = tf.train.NewCheckpointReader(tf.train.latest_checkpoint(log))
        assert reader.get_tensor("global_step") == 12
        assert reader.get_tensor("p/pieces").tolist() == [12.0] * 4
        assert reader.get_tensor("w") == 12.0
        assert not (tmp_path / "ps0" / "log" / "model.ckpt-12.index").exists()
        for server in servers:
            server.kill()
        again = [
            cluster.start(f"ps {i}", serve_at, i, str(tmp_path / f"new{i}")) for i in range(shards)
        ]
        for server in again:
            server.wait_for("serving")
        chief = cluster.start("chief", train, str(tmp_path / "chief"), 20)
        assert chief.end() == 0, chief.said
        assert chief.wait_for("began") == 12, "restored from the chief's disk"
        reader = tf.train.NewCheckpointReader(tf.train.latest_checkpoint(log))
        assert reader.get_tensor("global_step") == 20
        assert reader.get_tensor("p/pieces").tolist() == [20.0] * 4
