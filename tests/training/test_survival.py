"""SIGKILL to the chief, a worker or a ps amid the training of MonitoredTrainingSessions: it goes on and ends where it should."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

import flowmesh as tf
from tests.training import survivor
from tests.training.forked import Cluster, Task

pytestmark = pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="needs fork"
)
LAST = 400
KILLED_AFTER = 40


def start(cluster: Cluster, index: int, folder: Path) -> Task:
    return cluster.start(f"worker {index}", survivor.work, index, LAST, str(folder))


def saved(folder: Path) -> tuple[int, float]:
    reader = tf.train.NewCheckpointReader(tf.train.latest_checkpoint(folder))
    return int(reader.get_tensor("global_step")), float(reader.get_tensor("w"))


def trained(task: Task, step: int = KILLED_AFTER) -> int:
    """Waits until the task has trained to the step."""
    return int(task.wait_for("step", lambda now: now >= step))


@pytest.mark.parametrize("victim", [0, 1], ids=["chief", "worker"])
def test_a_killed_worker_comes_back(tmp_path: Path, victim: int) -> None:
    with Cluster(workers=2, ps=2) as cluster:
        workers = [start(cluster, i, tmp_path) for i in range(2)]
        trained(workers[victim])
        workers[victim].kill()
        workers[victim] = start(cluster, victim, tmp_path)
        workers[victim].wait_for("ready")
        assert [w.end() for w in workers] == [0, 0], [w.said[-3:] for w in workers]
        steps = [m["step"] for m in workers[1 - victim].said if "step" in m]
        assert steps == sorted(steps), "nothing was reset for the other one"
        assert workers[victim].wait_for("step") >= KILLED_AFTER
    step, w = saved(tmp_path)
    assert LAST <= step <= LAST + 2
    assert abs(w - step) <= 2, "what one step on each ps does of a killed worker may be half done"


def test_a_killed_ps_comes_back(tmp_path: Path) -> None:
    """The ps of w is killed; the global step, on the other ps, goes on, and w goes on from the newest checkpoint."""
    with Cluster(workers=2, ps=2) as cluster:
        workers = [start(cluster, i, tmp_path) for i in range(2)]
        before = trained(workers[1])
        cluster.tasks[1].kill()
        assert (
            "w"
            in tf.train.NewCheckpointReader(
                tf.train.latest_checkpoint(tmp_path)
            ).get_variable_to_shape_map()
        )
        cluster.start_ps(1)
        assert [w.end() for w in workers] == [0, 0], [w.said[-3:] for w in workers]
        assert any("Restoring only what was lost" in m.get("told", "") for m in workers[0].said)
        assert all(trained(w, LAST - 5) > before for w in workers), "both go on"
    step, w = saved(tmp_path)
    assert LAST <= step <= LAST + 2
    assert step - 60 <= w <= step, "only steps since the newest checkpoint are missing"


def test_the_only_ps_comes_back(tmp_path: Path) -> None:
    """Everything goes on from the newest checkpoint, the global step, too."""
    with Cluster(workers=2) as cluster:
        workers = [start(cluster, i, tmp_path) for i in range(2)]
        trained(workers[1])
        trained(workers[0])
        cluster.tasks[0].kill()
        cluster.start_ps(0)
        assert [w.end() for w in workers] == [0, 0], [w.said[-3:] for w in workers]
        assert all(trained(w, LAST - 5) for w in workers), "both go on"
    step, w = saved(tmp_path)
    assert LAST <= step <= LAST + 2
    assert abs(w - step) <= 2
