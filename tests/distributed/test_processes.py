"""Clusters of real processes, and what happens when they die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest

from flowmesh.core import dtypes, errors
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.proto import config_pb2
from tests.distributed.clusters import Client, cluster_spec, config, in_thread, variable

SERVE = """
import json, sys
import flowmesh.ops
from flowmesh.distributed.server import Server
cluster, job, index = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])
with Server(cluster, job, index) as server:
    print(server.target, flush=True)
    server.join()
"""

RUN = """
import signal
import sys
import flowmesh.ops
from flowmesh.core import dtypes
from flowmesh.distributed import cluster_target
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
kinds = {"component_types": [dtypes.float32]}
with Graph().as_default() as graph:
    queue = raw.FIFOQueueV2(**kinds, shared_name="q", name="q")
    raw.QueueDequeueV2(queue, **kinds, name="block")
master, close = cluster_target.connect(sys.argv[1], None)
handle = master.create_session(graph, None, sys.argv[1])
try:
    print("running", flush=True)
    master.run_step(handle, [], ["block:0"], [])
except KeyboardInterrupt:
    print("interrupted", flush=True)
master.close_session(handle)
close()
"""


class Processes:
    """The tasks of a cluster, each a process."""

    def __init__(self, stack: ExitStack, **jobs: int):
        self._stack = stack
        self.spec = cluster_spec(**jobs)
        self.running: dict[str, subprocess.Popen] = {}
        for job, addresses in self.spec.items():
            for index in range(len(addresses)):
                self.start(job, index)
        for process in self.running.values():
            process.stdout.readline()

    def start(self, job: str, index: int) -> subprocess.Popen:
        """Starts a task; its target comes as the first line."""
        arguments = [sys.executable, "-c", SERVE, json.dumps(self.spec), job, str(index)]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        self._stack.enter_context(process)
        self._stack.callback(process.kill)
        self.running[f"{job}:{index}"] = process
        return process

    def target(self, job: str, index: int) -> str:
        return f"grpc://{self.spec[job][index]}"

    @contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        """Stops a process for a while. A signal takes time to reach every thread: here they have all stopped."""
        pid = self.running[name].pid
        os.kill(pid, signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def kill(self, name: str, how: signal.Signals = signal.SIGKILL) -> None:
        self.running[name].send_signal(how)
        self.running[name].wait(20)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture
def graph() -> Iterator[Graph]:
    """v on the ps, 'more' adds 1 to it; 'far' needs the second worker; 'block' waits there."""
    kinds = {"component_types": [dtypes.float32]}
    with Graph().as_default() as made:
        variable("v", np.float32([0]), "/job:ps/task:0")
        raw.AssignAdd(made.get_tensor_by_name("v:0"), np.float32([1]), name="more")
        with made.device("/job:worker/task:1"):
            raw.Neg(made.get_tensor_by_name("v/read:0"), name="far")
            empty = raw.FIFOQueueV2(**kinds, shared_name="empty", name="empty")
            signal_queue = raw.FIFOQueueV2(**kinds, shared_name="signal", name="signal")
            say = raw.QueueEnqueueV2(signal_queue, [np.float32(1)], name="say")
            raw.QueueDequeueV2(signal_queue, **kinds, name="started")
            with made.control_dependencies([say]):
                raw.QueueDequeueV2(empty, **kinds, name="block")
        yield made


def test_a_killed_worker_fails_only_what_needs_it_and_rejoins(
    stack: ExitStack, graph: Graph
) -> None:
    cluster = Processes(stack, ps=1, worker=2)
    filters = ["/job:ps", "/job:worker/task:0"]
    first = stack.enter_context(Client(cluster.target("worker", 0), graph))
    alone = stack.enter_context(
        Client(cluster.target("ps", 0), Graph(), config(device_filters=["/job:ps"]))
    )
    assert len(alone.master.list_devices(alone.handle)) == 1
    first.run(targets=["v/init"])
    np.testing.assert_array_equal(first.run("far:0"), [0])
    join = in_thread(lambda: first.run("block:0"))
    first.run("started:0")
    cluster.kill("worker:1")
    with pytest.raises(errors.UnavailableError, match="/job:worker/replica:0/task:1 at localhost:"):
        join()
    first.run(targets=["more"])
    with pytest.raises(errors.UnavailableError, match="/job:worker/replica:0/task:1"):
        first.run("far:0")
    with Graph().as_default() as small:
        variable("v", np.float32([0]), "/job:ps/task:0")
    with Client(cluster.target("worker", 0), small, config(device_filters=filters)) as other:
        np.testing.assert_array_equal(other.run("v/read:0"), [1])
    cluster.start("worker", 1).stdout.readline()
    with Client(cluster.target("worker", 1), graph) as back:
        back.run(targets=["more"])
        np.testing.assert_array_equal(back.run("far:0"), [-2])


def test_a_killed_ps_is_named_and_comes_back_empty(stack: ExitStack, graph: Graph) -> None:
    cluster = Processes(stack, ps=1, worker=2)
    with Client(cluster.target("worker", 0), graph) as client:
        client.run(targets=["v/init"])
        cluster.kill("ps:0")
        with pytest.raises(errors.UnavailableError, match="/job:ps/replica:0/task:0 at localhost:"):
            client.run(targets=["more"])
        cluster.start("ps", 0).stdout.readline()
    with (
        Client(cluster.target("worker", 0), graph) as client,
        pytest.raises(errors.FailedPreconditionError, match="uninitialized value v"),
    ):
        client.run("far:0")


def test_a_time_limit_names_a_ps_that_is_stopped(stack: ExitStack, graph: Graph) -> None:
    """It reads nothing, and keeps what it was sent; once it goes on it drops that."""
    cluster = Processes(stack, ps=1, worker=2)
    limit = config_pb2.RunOptions(timeout_in_ms=200)
    text = "Operation timed out. Still waiting for /job:ps/replica:0/task:0, which did not answer."
    with Client(cluster.target("worker", 0), graph) as client:
        client.run(targets=["v/init"])
        client.run("far:0")
        with cluster.stopped("ps:0"), pytest.raises(errors.DeadlineExceededError) as caught:
            client.run("far:0", options=limit)
        assert caught.value.message == text
        client.run(targets=["more"])
        np.testing.assert_array_equal(client.run("far:0"), [-1])


def test_a_killed_master_is_reported_to_its_client(stack: ExitStack, graph: Graph) -> None:
    cluster = Processes(stack, ps=1, worker=2)
    with Client(cluster.target("worker", 0), graph) as client:
        join = in_thread(lambda: client.run("block:0"))
        client.run("started:0")
        cluster.kill("worker:0")
        with pytest.raises(errors.UnavailableError, match="localhost:"):
            join()


def test_ctrl_c_ends_a_blocked_run(stack: ExitStack) -> None:
    cluster = Processes(stack, worker=1)
    process = stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-c", RUN, cluster.target("worker", 0)],
            stdout=subprocess.PIPE,
            text=True,
        )
    )
    stack.callback(process.kill)
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=20)
    assert "interrupted" in rest
    assert process.returncode == 0
