"""Synchronous replicas that are killed or run out of data: the others wait, go on, or fail, and say for whom they wait."""

from __future__ import annotations

import multiprocessing
import signal
from pathlib import Path
from typing import Any

import pytest

import flowmesh as tf
from tests.training import replica
from tests.training.forked import Cluster, Task

pytestmark = pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="needs fork"
)
VICTIM = "/job:worker/task:2"


def start(cluster: Cluster, workers: int = 3, **options: Any) -> list[Task]:
    """The workers, all of them started."""
    return [cluster.start(f"worker {i}", replica.work, i, options) for i in range(workers)]


def saved(folder: Path) -> tuple[int, float]:
    """The global step and w of the newest checkpoint."""
    reader = tf.train.NewCheckpointReader(tf.train.latest_checkpoint(folder))
    return int(reader.get_tensor("global_step")), float(reader.get_tensor("w"))


def test_the_others_go_on_without_a_killed_worker(tmp_path: Path) -> None:
    with Cluster(workers=3) as cluster:
        workers = start(
            cluster,
            optimizer={"replicas_to_aggregate": 3, "on_replica_loss": "continue"},
            die_after={2: 3},
            last_step=8,
            folder=str(tmp_path),
        )
        assert [w.end() for w in workers] == [0, 0, -9], [w.said for w in workers]
    # three steps of (1 + 3 + 5) / 3, five of (1 + 3) / 2
    assert saved(tmp_path) == (8, -(3 * 3.0 + 5 * 2.0))


def test_the_others_go_on_when_a_worker_has_no_more_data(tmp_path: Path) -> None:
    """The chief is the first to end, and serves the others to the last step."""
    with Cluster(workers=3) as cluster:
        workers = start(
            cluster,
            optimizer={"replicas_to_aggregate": 3, "on_replica_loss": "continue"},
            batches={0: 2, 1: 4, 2: 7},
            folder=str(tmp_path),
        )
        assert [w.end() for w in workers] == [0, 0, 0], [w.said for w in workers]
        assert [w.wait_for("finished") for w in workers] == [2, 4, 7]
    assert saved(tmp_path) == (7, -(2 * 3.0 + 2 * 4.0 + 3 * 5.0))


def test_a_step_waits_for_a_killed_worker_and_says_so(tmp_path: Path) -> None:
    options = {
        "replicas_to_aggregate": 3,
        "on_replica_loss": "wait",
        "stall_report_secs": 0.1,
    }
    with Cluster(workers=3) as cluster:
        workers = start(
            cluster, optimizer=options, die_after={2: 3}, last_step=5, folder=str(tmp_path)
        )
        assert workers[2].end() == -9
        text = workers[0].wait_for("warning", lambda t: "lost" in t)
        address = cluster.spec["worker"][2]
        assert "Synchronous step 3 has 2 of 3 gradients" in text
        assert f"It waits for {VICTIM} ({address}): lost" in text
        again = cluster.start("worker 2", replica.work, 2, {"optimizer": options, "last_step": 5})
        assert [w.end() for w in (*workers[:2], again)] == [0, 0, 0], workers[0].said
        assert again.wait_for("finished") == 2
    assert saved(tmp_path) == (5, -5 * 3.0)


def test_a_killed_chief_comes_back(tmp_path: Path) -> None:
    """The ps may still make the update under way, without the chief's gradient; then nothing happens until it is back."""
    options = {"replicas_to_aggregate": 3, "on_replica_loss": "continue"}
    more = {"optimizer": options, "last_step": 6, "folder": str(tmp_path)}
    with Cluster(workers=3) as cluster:
        workers = start(cluster, die_after={0: 3}, **more)
        assert workers[0].end() == -9
        workers[0] = cluster.start("worker 0", replica.work, 0, more)
        assert [w.end() for w in workers] == [0, 0, 0], [w.said for w in workers]
    step, w = saved(tmp_path)
    assert step == 6
    assert -(5 * 3.0 + 4.0) <= w <= -6 * 3.0


@pytest.mark.slow
def test_a_stopped_worker_is_given_up_and_joins_again() -> None:
    """A process that is there but silent, as one on a machine that hangs; later it goes on."""
    options = {
        "optimizer": {"replicas_to_aggregate": 3, "on_replica_loss": "continue"},
        "batches": dict.fromkeys(range(3), 100_000),
        "heartbeat_ms": 1500,
    }
    with Cluster(workers=3, heartbeat_ms=1500) as cluster:
        workers = start(cluster, **options)
        workers[2].wait_for("done", lambda done: done >= 5)
        workers[2].signal(signal.SIGSTOP)
        # What was on its way when the worker was stopped: a step at most.
        there = max(m["done"] for m in list(workers[0].said) if "done" in m)
        workers[0].wait_for("done", lambda done: done >= there + 20)
        at = max(m["done"] for m in list(workers[2].said) if "done" in m)
        workers[2].signal(signal.SIGCONT)
        workers[2].wait_for("done", lambda done: done >= at + 20)
        workers[2].wait_for("told")  # that it had been given up


def test_all_fail_when_a_worker_is_killed() -> None:
    with Cluster(workers=3) as cluster:
        workers = start(
            cluster,
            optimizer={"replicas_to_aggregate": 3, "on_replica_loss": "fail"},
            die_after={2: 3},
        )
        assert [w.end() for w in workers] == [1, 1, -9]
        for worker in workers[:2]:
            assert worker.wait_for("error") == "FailedPreconditionError"
            text = worker.wait_for("message")
            assert f"2 are left: {VICTIM} ({cluster.spec['worker'][2]}): lost" in text
            assert "on_replica_loss='continue'" in text


def test_all_end_when_a_worker_has_no_more_data(tmp_path: Path) -> None:
    with Cluster(workers=2) as cluster:
        workers = start(
            cluster,
            workers=2,
            optimizer={"replicas_to_aggregate": 2, "on_replica_loss": "fail"},
            batches={1: 3},
            folder=str(tmp_path),
        )
        assert [w.end() for w in workers] == [0, 0], [w.said for w in workers]
    assert saved(tmp_path) == (3, -3 * 2.0)


def test_too_long_a_wait_fails_by_name() -> None:
    with Cluster(workers=2) as cluster:
        workers = start(
            cluster,
            workers=2,
            optimizer={
                "replicas_to_aggregate": 2,
                "on_replica_loss": "wait",
                "stall_timeout_secs": 0.3,
            },
            die_after={1: 2},
        )
        assert [w.end() for w in workers] == [1, -9]
        assert workers[0].wait_for("error") == "DeadlineExceededError"
        text = workers[0].wait_for("message")
        assert "Synchronous step 2 has 1 of 2 gradients" in text
        assert f"/job:worker/task:1 ({cluster.spec['worker'][1]}): lost" in text
