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
from flowmesh.distributed.transport.direct.service import STEP, TELLS
from flowmesh.distributed.transport.grpc_client import Connection
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.proto import config_pb2
from tests.distributed.clusters import (
    Client,
    cluster,
    config,
    eventually,
    in_thread,
    is_sign_of_life,
    variable,
)

PLANES = [
    DirectOptions(),
    DirectOptions(shared_memory=False),
    DirectOptions(unix=False),
    DirectOptions(enabled=False),
]


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many messages of each kind were sent in this process: direct ones by name, gRPC ones as "grpc Name"; signs of life left out."""
    found: dict[str, int] = {}

    def count(what: str) -> None:
        found[what] = found.get(what, 0) + 1

    handle, start = Link._handle, Connection.start

    def counted_handle(self: Link, message: Any) -> None:
        if not is_sign_of_life(message):
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


@pytest.fixture
def traced() -> Any:
    """Options of a step that tells everything."""
    return config_pb2.RunOptions(
        trace_level=config_pb2.RunOptions.FULL_TRACE, output_partition_graphs=True
    )


@pytest.mark.parametrize("rpc", [False, True])
def test_steps_that_are_traced_go_the_same_way(
    graph: Graph, counts: dict[str, int], traced: Any, rpc: bool
) -> None:
    with (
        cluster(ps=1, worker=1) as servers,
        Client(servers["worker:0"].target, graph, config(rpc)) as client,
    ):
        client.run(targets=["w/init"])
        metadata = config_pb2.RunMetadata()
        far = client.run("far:0", options=traced, metadata=metadata)
        np.testing.assert_array_equal(far, -np.arange(300_000, dtype=np.float32))
        found = {
            d.device: {n.node_name for n in d.node_stats} for d in metadata.step_stats.dev_stats
        }
        assert "w/read" in found["/job:ps/replica:0/task:0/device:CPU:0"]
        assert "far" in found["/job:worker/replica:0/task:0/device:CPU:0"]
        assert len(metadata.partition_graphs) == 2
        bare = config_pb2.RunMetadata(step_stats={})
        np.testing.assert_array_equal(client.run("far:0", metadata=bare), far)
        assert not bare.HasField("step_stats")
        traced.timeout_in_ms = 60_000
        client.run("far:0", options=traced)  # nobody takes what it tells
    assert counts["RUN_GRAPH"] == 4
    assert counts.get("RUN_STEP", 0) == (4 if rpc else 0)
    assert not {"grpc RunGraph", "grpc RunStep", "grpc RecvTensor"} & set(counts)


@pytest.mark.parametrize("rpc", [False, True])
def test_steps_in_pieces_and_callables_go_the_same_way(
    graph: Graph, counts: dict[str, int], rpc: bool
) -> None:
    fed = {"v/read:0": np.float32([1, 2])}
    with graph.device("/job:worker/task:0"):
        late = raw.Placeholder(dtype=dtypes.float32, shape=[2], name="late")
        raw.AddV2(graph.get_tensor_by_name("back:0"), late, name="end")
    with (
        cluster(ps=1, worker=1) as servers,
        Client(servers["worker:0"].target, graph, config(rpc)) as client,
    ):
        master, handle = client.master, client.handle
        client.run(targets=["v/init"])
        step = master.partial_run_setup(handle, [*fed, "late:0"], ["sum:0", "end:0"], [])
        (total,) = master.partial_run(handle, step, list(fed.items()), ["sum:0"])
        np.testing.assert_array_equal(total, [2, 4])
        (end,) = master.partial_run(handle, step, [("late:0", np.float32([1, 1]))], ["end:0"])
        np.testing.assert_array_equal(end, [3, 5])
        with pytest.raises(errors.InvalidArgumentError, match="Must run 'setup'"):
            master.partial_run(handle, step, [], ["end:0"])

        options = config_pb2.CallableOptions(feed=list(fed), fetch=["sum:0"])
        options.run_options.timeout_in_ms = 60_000
        options.run_options.trace_level = config_pb2.RunOptions.FULL_TRACE
        call = master.make_callable(handle, options)
        metadata = config_pb2.RunMetadata()
        (total,) = master.run_callable(handle, call, [np.float32([3, 4])], metadata)
        np.testing.assert_array_equal(total, [6, 8])
        assert metadata.step_stats.dev_stats
        with pytest.raises(errors.InvalidArgumentError, match="Expected 1 feeds"):
            master.run_callable(handle, call, [])
        master.release_callable(handle, call)
        with pytest.raises(errors.InvalidArgumentError, match="No such callable"):
            master.run_callable(handle, call, [np.float32([3, 4])])
        eventually(lambda: not any(s._worker.step_ids() for s in servers.values()))
    assert not {"grpc RunGraph", "grpc RunStep", "grpc RecvTensor"} & set(counts)


def test_a_step_that_says_nonsense_about_itself_is_refused(graph: Graph) -> None:
    with Server.create_local_server() as server, Graph().as_default() as own:
        raw.Const(value=np.float32(1), dtype=dtypes.float32, name="one")
        with Client(server.target, own, config(True)) as client:
            link = client.master._link
            names = [[client.handle], ["one:0"], []]
            head = STEP.pack(0.0, TELLS) + b"".join(map(frames.pack_strings, names))
            for tensors in (
                (),
                [frames.encode(np.array(b"\xff\xff\xff", object))],
                [frames.encode(np.float32(1))],
                [frames.encode(None)],
            ):
                asked = link.call(frames.Kind.RUN_STEP, head, tensors, lambda message: None)
                with pytest.raises(errors.InvalidArgumentError, match="no RunOptions message"):
                    asked.result(30)
            assert client.run("one:0") == 1


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
