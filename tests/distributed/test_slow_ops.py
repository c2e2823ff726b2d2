"""Ops that block or take long: the threads that read connections never run them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowmesh.core import dtypes
from flowmesh.distributed.policy import Policy
from flowmesh.distributed.server import Server
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.ops.py_func import py_func
from flowmesh.proto import config_pb2
from flowmesh.runtime.pool import slow_pool
from tests.distributed.clusters import Client, cluster_spec, config, in_thread, variable

IN_TIME = config_pb2.RunOptions(timeout_in_ms=60_000)
PS = "/job:ps/task:0"
WORKER = "/job:worker/task:0"


class Gate:
    """A Python function for graphs, which waits until it is let go."""

    def __init__(self) -> None:
        self.inside = threading.Semaphore(0)
        self.open = threading.Event()

    def __call__(self, value: Any) -> Any:
        self.inside.release()
        assert self.open.wait(60)
        return value


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open.set()


@pytest.fixture
def servers() -> Iterator[dict[str, Server]]:
    """A ps and a worker that let graphs call Python functions."""
    spec = cluster_spec(ps=1, worker=1)
    policy = Policy(allow_ops={"PyFunc"})
    with ExitStack() as stack:
        yield {
            job: stack.enter_context(Server(spec, job, 0, policy=policy))
            for job in ("ps", "worker")
        }


def _graph(build: Callable[[Graph], None]) -> Graph:
    with Graph().as_default() as graph:
        variable("v", np.float32([1, 2]), PS)
        build(graph)
    return graph


def test_a_blocked_function_blocks_neither_heartbeats_nor_other_steps(
    servers: dict[str, Server], gate: Gate
) -> None:
    def build(graph: Graph) -> None:
        with graph.device(PS):
            blocked = py_func(gate, [graph.get_tensor_by_name("v/read:0")], dtypes.float32)
        with graph.device(WORKER):
            raw.Neg(blocked, name="blocked")
            raw.Neg(graph.get_tensor_by_name("v/read:0"), name="free")

    with Client(servers["worker"].target, _graph(build)) as client:
        client.run(targets=["v/init"])
        steps = [in_thread(lambda: client.run("blocked:0")) for _ in range(3)]
        for _ in steps:
            assert gate.inside.acquire(timeout=60)
        link = servers["worker"]._peers.worker("/job:ps/replica:0/task:0").link
        assert link is not None
        link.ping().result(60)
        np.testing.assert_array_equal(client.run("free:0", options=IN_TIME), [-1, -2])
        assert not gate.open.is_set()
        gate.open.set()
        for join in steps:
            np.testing.assert_array_equal(join(), [-1, -2])


def test_a_function_of_what_another_task_sends_does_not_hold_its_connection(
    servers: dict[str, Server], gate: Gate
) -> None:
    """The tensor's arrival makes the function ready; the thread that reads it goes on reading."""

    def build(graph: Graph) -> None:
        with graph.device(WORKER):
            negative = raw.Neg(graph.get_tensor_by_name("v/read:0"))
            blocked = py_func(gate, [negative], dtypes.float32)
            raw.Identity(blocked, name="blocked")
            raw.Neg(graph.get_tensor_by_name("v/read:0"), name="free")

    with Client(servers["ps"].target, _graph(build)) as client:
        client.run(targets=["v/init"])
        join = in_thread(lambda: client.run("blocked:0"))
        assert gate.inside.acquire(timeout=60)
        np.testing.assert_array_equal(client.run("free:0", options=IN_TIME), [-1, -2])
        gate.open.set()
        np.testing.assert_array_equal(join(), [-1, -2])


def test_functions_of_one_step_wait_for_each_other() -> None:
    """As TensorFlow's do, which have a thread each."""
    meet = threading.Barrier(3)

    def function(value: Any) -> Any:
        meet.wait(60)
        return value

    with Graph().as_default() as graph, Server.create_local_server() as server:
        raw.AddN([py_func(function, [np.float32(n)], dtypes.float32) for n in range(3)], name="sum")
        for target in ("", server.target):
            with Client(target, graph) as client:
                assert client.run("sum:0", options=IN_TIME) == 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_file_that_blocks_does_not_block_who_names_it(
    servers: dict[str, Server], tmp_path: Path
) -> None:
    """A reader waits for a file name; the step that enqueues it does not wait for the file."""
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def build(graph: Graph) -> None:
        with graph.device(PS):
            kinds = {"component_types": [dtypes.string]}
            queue = raw.FIFOQueueV2(**kinds, shared_name="names", name="names")
            reader = raw.WholeFileReaderV2(shared_name="reader", name="reader")
            raw.ReaderReadV2(reader, queue, name="read")
            raw.QueueEnqueueV2(queue, [np.array(str(path).encode(), object)], name="put")

    with Client(servers["worker"].target, _graph(build), config()) as client:
        client.run(targets=["v/init"])
        join = in_thread(lambda: client.run("read:1"))
        while not servers["ps"]._worker.step_ids():
            client.master.list_devices(client.handle)
        client.run(targets=["put"], options=IN_TIME)
        np.testing.assert_array_equal(client.run("v/read:0", options=IN_TIME), [1, 2])
        path.write_bytes(b"at last")
        assert join() == b"at last"


def test_slow_ops_have_threads_of_their_own() -> None:
    found: list[str] = []
    over = threading.Event()

    def job() -> None:
        found.append(threading.current_thread().name)
        over.set()

    slow_pool().submit(job)
    assert over.wait(60)
    assert found[0].startswith("flowmesh-slow")
