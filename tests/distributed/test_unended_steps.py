"""Steps whose master dies between the answer to its last run and CleanupGraph."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from concurrent.futures import Future
from typing import Any

import pytest

from flowmesh.core import errors
from flowmesh.core.deadline import Deadline
from flowmesh.distributed import futures, unended_steps
from flowmesh.distributed.heartbeat import Rhythm
from flowmesh.distributed.interfaces import DeviceAttributes
from flowmesh.distributed.peers import Peers
from flowmesh.distributed.server import Server
from flowmesh.distributed.unended_steps import UnendedSteps
from flowmesh.distributed.worker_session import WorkerSession
from flowmesh.resources.manager import ResourceManager
from tests.clock import Hands
from tests.distributed.clusters import cluster_spec, config, eventually

PS = "/job:ps/replica:0/task:0"
MASTER = "/job:worker/replica:0/task:0"
RHYTHM = Rhythm(3.0, 12.0)


class Remote:
    """The worker in the master's process."""

    def __init__(self) -> None:
        self.incarnation = -7
        self.gone = False
        self.asked = 0

    def get_status(self, deadline: Deadline) -> Future[Any]:
        self.asked += 1
        if self.gone:
            return futures.failed(errors.UnavailableError(None, None, "gone"))
        device = DeviceAttributes(f"{MASTER}/device:CPU:0", "CPU", 0, self.incarnation % (1 << 64))
        return futures.done([device])


class Kit:
    """The steps of one task, a clock, and a master."""

    def __init__(self) -> None:
        self.remote = Remote()
        self.peers = Peers(PS, {PS: "a:1", MASTER: "b:1"}, lambda task, address: self.remote)  # type: ignore[arg-type, return-value]
        self.clock = Hands()
        self.ended: list[int] = []
        self.steps = UnendedSteps(PS, RHYTHM, self.end, self.clock)

    def end(self, step_id: int) -> None:
        """As the worker does it."""
        self.ended.append(step_id)
        self.steps.over(step_id)

    def session(self, handle: str = "s", master: tuple[str, int] = (MASTER, -7)) -> WorkerSession:
        return WorkerSession(handle, ResourceManager("ps"), self.peers, master=master)


@pytest.fixture
def kit() -> Kit:
    return Kit()


def test_a_master_that_lives_takes_its_time(kit: Kit) -> None:
    kit.steps.wait(1, kit.session())
    kit.clock.pass_by(3600.0)
    assert not kit.ended
    assert kit.remote.asked > 100
    kit.end(1)
    asked = kit.remote.asked
    kit.clock.pass_by(3600.0)
    assert kit.remote.asked == asked
    assert kit.clock.idle


def test_the_steps_of_a_silent_master_end(kit: Kit) -> None:
    kit.steps.wait(1, kit.session())
    kit.steps.wait(2, kit.session("t"))
    kit.clock.pass_by(60.0)
    kit.remote.gone = True
    kit.clock.pass_by(9.0)
    assert not kit.ended
    kit.clock.pass_by(6.0)
    assert kit.ended == [1, 2]
    assert kit.clock.idle
    kit.remote.gone = False  # it was the network: the next step is watched again
    kit.steps.wait(3, kit.session())
    kit.clock.pass_by(60.0)
    assert kit.ended == [1, 2]
    kit.steps.close()
    assert kit.clock.idle


def test_the_steps_of_a_restarted_master_end_at_the_first_question(kit: Kit) -> None:
    kit.steps.wait(1, kit.session())
    kit.remote.incarnation = 99
    kit.clock.pass_by(RHYTHM.interval)
    assert kit.ended == [1]
    assert kit.clock.idle


def test_the_steps_of_a_session_end_with_it(kit: Kit) -> None:
    one, two = kit.session(), kit.session("t")
    kit.steps.wait(1, one)
    kit.steps.wait(2, two)
    kit.steps.session_over(one)
    assert kit.ended == [1]
    kit.steps.session_over(two)
    assert kit.ended == [1, 2]
    assert kit.clock.idle


def test_masters_that_nobody_knows_cannot_pile_up_steps(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unended_steps, "MAX_UNWATCHED", 3)
    session = kit.session(master=("", 0))
    for step_id in range(5):
        kit.steps.wait(step_id, session)
    assert kit.ended == [0, 1]
    assert not kit.remote.asked
    assert kit.clock.idle


def test_the_own_master_is_not_watched(kit: Kit) -> None:
    kit.steps.wait(1, kit.session(master=(PS, -7)))
    assert kit.clock.idle


DIES = """
import json, os, signal, sys
import numpy as np
import flowmesh.ops
from flowmesh.distributed import cluster_target
from flowmesh.distributed.server import Server
from flowmesh.distributed.transport.grpc_client import RemoteWorker
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw

RemoteWorker.cleanup_graph = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
with Server(json.loads(sys.argv[1]), "worker", 0) as server, Graph().as_default() as graph:
    with graph.device("/job:ps/task:0"):
        raw.Neg(np.float32(1), name="there")
    with graph.device("/job:worker/task:0"):
        raw.Neg(graph.get_tensor_by_name("there:0"), name="here")
    master, close = cluster_target.connect(server.target, None)
    master.run_step(master.create_session(graph, None, server.target), [], ["here:0"], [])
"""


def test_a_master_that_dies_before_it_cleans_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FLOWMESH_DIRECT_PLANE", "off")
    caplog.set_level(logging.INFO, "flowmesh.distributed.unended_steps")
    spec = cluster_spec(ps=1, worker=1)
    impatient = config()
    impatient.experimental.flowmesh.heartbeat_timeout_in_ms = 400
    impatient.experimental.flowmesh.heartbeat_interval_in_ms = 100
    with Server(spec, "ps", 0, config=impatient) as ps:
        words = [sys.executable, "-c", DIES, json.dumps(spec)]
        assert subprocess.run(words, timeout=60, check=False).returncode == -9
        eventually(
            lambda: f"is ended: its master {MASTER} has shown no sign of life" in caplog.text
        )
        assert not ps._worker.step_ids()
