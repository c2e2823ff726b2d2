"""Clusters whose tasks talk on the direct plane."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from flowmesh.core import dtypes, errors
from flowmesh.distributed.server import Server
from flowmesh.distributed.transport.direct import frames
from flowmesh.distributed.transport.direct.link import Link
from flowmesh.distributed.transport.direct.plane import DirectOptions, DirectPlane
from flowmesh.distributed.transport.grpc_client import Connection
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from tests.distributed.clusters import Client, cluster, config, in_thread, variable

PLANES = [
    DirectOptions(),
    DirectOptions(shared_memory=False),
    DirectOptions(unix=False),
    DirectOptions(enabled=False),
]


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many messages of each kind were sent in this process: direct ones by name, gRPC ones as "grpc Name"."""
    found: dict[str, int] = {}

    def count(what: str) -> None:
        found[what] = found.get(what, 0) + 1

    handle, start = Link._handle, Connection.start

    def counted_handle(self: Link, message: Any) -> None:
        count(frames.Kind(message.kind).name)
        handle(self, message)

    def counted_start(self: Connection, method: str, *args: Any, **kwargs: Any) -> Any:
        count(f"grpc {method}")
        return start(self, method, *args, **kwargs)

    monkeypatch.setattr(Link, "_handle", counted_handle)
    monkeypatch.setattr(Connection, "start", counted_start)
    return found


@pytest.fixture
def graph() -> Iterator[Graph]:
    """v and a large w on the ps; 'sum' adds v to itself on the worker, 'back' puts it into v; 'far' is -w on the worker."""
    with Graph().as_default() as made:
        variable("v", np.float32([1, 2]), "/job:ps/task:0")
        variable("w", np.arange(300_000, dtype=np.float32), "/job:ps/task:0")
        with made.device("/job:worker/task:0"):
            total = raw.AddV2(*[made.get_tensor_by_name("v/read:0")] * 2, name="sum")
            raw.Neg(made.get_tensor_by_name("w/read:0"), name="far")
        with made.device("/job:ps/task:0"):
            raw.Assign(made.get_tensor_by_name("v:0"), total, name="back")
            kinds = {"component_types": [dtypes.float32]}
            queue = raw.FIFOQueueV2(**kinds, shared_name="q", name="q")
            raw.QueueDequeueV2(queue, **kinds, name="block")
        with made.device("/job:worker/task:0"):
            raw.Neg(made.get_tensor_by_name("block:0"), name="blocked")
        yield made


@pytest.fixture(params=PLANES, ids=["shared", "unix", "tcp", "off"])
def options(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> DirectOptions:
    """What the servers of the test may use."""
    chosen: DirectOptions = request.param
    monkeypatch.setattr(DirectOptions, "from_environment", classmethod(lambda cls: chosen))
    return chosen


def test_steps_of_two_tasks(options: DirectOptions, graph: Graph) -> None:
    with cluster(ps=1, worker=1) as servers:
        for target, proto in (
            (servers["worker:0"].target, None),
            (servers["ps:0"].target, config(True)),
        ):
            with Client(target, graph, proto) as client:
                client.run(targets=["v/init", "w/init"])
                np.testing.assert_array_equal(client.run("back:0"), [2, 4])
                np.testing.assert_array_equal(client.run("sum:0"), [4, 8])
                expected = -np.arange(300_000, dtype=np.float32)
                for _ in range(3):
                    np.testing.assert_array_equal(client.run("far:0"), expected)
        assert all(not s._worker.step_ids() for s in servers.values())


def test_a_step_is_one_request_and_no_pull(graph: Graph, counts: dict[str, int]) -> None:
    with cluster(ps=1, worker=1) as servers, Client(servers["worker:0"].target, graph) as client:
        client.run(targets=["v/init"])
        client.run(targets=["back"])
        before = dict(counts)
        for _ in range(10):
            client.run(targets=["back"])
        sent = {k: n - before.get(k, 0) for k, n in counts.items() if n != before.get(k, 0)}
        assert sent == {"RUN_GRAPH": 10, "REPLY": 10, "PUSH": 20}


def test_steps_of_a_client_in_another_process(graph: Graph, counts: dict[str, int]) -> None:
    with cluster(ps=1, worker=1) as servers:
        client = Client(servers["worker:0"].target, graph, config(True))
        with client:
            client.run(targets=["v/init"])
            assert counts["RUN_STEP"] == 1
            np.testing.assert_array_equal(
                client.run("sum:0", feed={"v/read:0": np.float32([5])}), [10]
            )
            with pytest.raises(errors.InvalidArgumentError, match="float64"):
                client.run("sum:0", feed={"v/read:0": np.float64([5])})


def test_a_blocked_step_ends_with_its_session(graph: Graph) -> None:
    with cluster(ps=1, worker=1) as servers:
        client = Client(servers["worker:0"].target, graph, config(True))
        join = in_thread(lambda: client.run("blocked:0"))
        while not servers["ps:0"]._worker.step_ids():
            client.master.list_devices(client.handle)
        client.close()
        with pytest.raises((errors.CancelledError, errors.AbortedError)):
            join()


def test_a_stopped_task_fails_the_steps_that_need_it(graph: Graph) -> None:
    with cluster(ps=1, worker=1) as servers, Client(servers["worker:0"].target, graph) as client:
        client.run(targets=["v/init"])
        join = in_thread(lambda: client.run("blocked:0"))
        while not servers["ps:0"]._worker.step_ids():
            client.master.list_devices(client.handle)
        servers["ps:0"].stop()
        with pytest.raises(errors.UnavailableError, match="/job:ps/replica:0/task:0"):
            join()


def _ask(server: Server, **fields: Any) -> dict[str, Any]:
    plane = server._plane
    request = {"version": frames.VERSION, "identity": "me", "host": "", **fields}
    answer: dict[str, Any] = json.loads(plane.handshake(json.dumps(request).encode()))
    return answer


def _greet(answer: dict[str, Any], token: str, edit: Callable[[bytes], bytes] = bytes) -> bytes:
    """What a server says to who shows a token."""
    with socket.create_connection(("127.0.0.1", answer["tcp"]), 10) as connection:
        head = frames.pack_strings([token, "me", "", ""])
        connection.sendall(edit(frames.frame(frames.Kind.HELLO, 0, head, ())))
        try:
            return connection.recv(1000)
        except ConnectionError:
            return b""


def test_only_a_token_opens_the_door_and_only_once() -> None:
    with Server.create_local_server() as server:
        answer = _ask(server)
        assert _greet(answer, "0" * 32) == b""
        assert _greet(answer, answer["token"], lambda data: data[:10] + b"junk" * 400) == b""
        assert answer["proof"].encode() in _greet(answer, answer["token"])
        assert _greet(answer, answer["token"]) == b""


def test_other_versions_are_told_to_use_grpc() -> None:
    with (
        Server.create_local_server() as server,
        pytest.raises(errors.UnimplementedError, match="version"),
    ):
        _ask(server, version=999)


def test_a_client_plane_answers_nobody() -> None:
    plane = DirectPlane()
    with pytest.raises(errors.UnimplementedError):
        plane.handshake(b"{}")
    plane.close()
