"""What a master does for its clients: the same, whether it is in this process or behind gRPC, of one's own or a server's."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from flowmesh.core import dtypes, errors
from flowmesh.distributed.server import Server
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.proto import config_pb2
from tests.distributed.clusters import Client, config, in_thread, variable

Connect = Callable[..., Client]


@pytest.fixture(params=["local", "in process", "grpc"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Opens sessions on a graph; they are closed at the end."""
    clients: list[Client] = []
    server = None if request.param == "local" else Server.create_local_server()
    target = "" if server is None else server.target

    def open_session(graph: Graph, **fields: object) -> Client:
        client = Client(target, graph, config(request.param == "grpc", **fields))
        clients.append(client)
        return client

    yield open_session
    for client in clients:
        client.close()
    if server is not None:
        server.stop()


@pytest.fixture
def graph() -> Iterator[Graph]:
    """x (fed), y = x + 1, z = y * y; variable v."""
    with Graph().as_default() as made:
        x = raw.Placeholder(dtype=dtypes.float32, shape=[2], name="x")
        y = raw.Add(x, np.float32([1, 1]), name="y")
        raw.Mul(y, y, name="z")
        variable("v", np.float32([5, 6]))
        yield made


X = np.float32([1, 2])


def test_runs_fetches_feeds_and_targets(connect: Connect, graph: Graph) -> None:
    client = connect(graph)
    z, y = client.run("z:0", "y:0", feed={"x:0": X})
    np.testing.assert_array_equal(z, [4, 9])
    np.testing.assert_array_equal(y, [2, 3])
    assert client.run(targets=["v/init"]) == []
    np.testing.assert_array_equal(client.run("v/read:0"), [5, 6])
    np.testing.assert_array_equal(client.run("v:0"), [5, 6])


def test_a_fetch_may_be_repeated_and_fed(connect: Connect, graph: Graph) -> None:
    values = connect(graph).run("y:0", "x:0", "y:0", feed={"x:0": X})
    np.testing.assert_array_equal(values, [[2, 3], [1, 2], [2, 3]])


def test_what_is_only_needed_for_a_feed_is_not_run(connect: Connect, graph: Graph) -> None:
    np.testing.assert_array_equal(connect(graph).run("z:0", feed={"y:0": X}), [1, 4])


def test_a_step_has_something_to_run(connect: Connect, graph: Graph) -> None:
    client = connect(graph)
    with pytest.raises(errors.InvalidArgumentError, match="Must specify at least one target"):
        client.run()
    with pytest.raises(errors.InvalidArgumentError, match="Must specify at least one target"):
        client.master.partial_run_setup(client.handle, [], [], [])
    with pytest.raises(errors.InvalidArgumentError, match="Must specify at least one target"):
        client.master.make_callable(client.handle, config_pb2.CallableOptions())


def test_strings_and_empty_tensors_travel(connect: Connect, graph: Graph) -> None:
    raw.Placeholder(dtype=dtypes.string, shape=None, name="s")
    raw.Identity(graph.get_tensor_by_name("s:0"), name="t")
    client = connect(graph)
    text = np.array([[b"a", b"\xff\x00"], [b"", b"long" * 100]], object)
    np.testing.assert_array_equal(client.run("t:0", feed={"s:0": text}), text)
    empty = np.zeros([0, 3], object)
    assert client.run("t:0", feed={"s:0": empty}).shape == (0, 3)


def test_a_graph_may_grow(connect: Connect, graph: Graph) -> None:
    client = connect(graph)
    client.run("y:0", feed={"x:0": X})
    raw.Neg(graph.get_tensor_by_name("y:0"), name="n")
    np.testing.assert_array_equal(client.run("n:0", feed={"x:0": X}), [-2, -3])


@pytest.mark.parametrize(
    ("fetches", "targets", "feed", "kind", "text"),
    [
        (["q:0"], [], {}, errors.NotFoundError, "FetchOutputs node q:0: not found"),
        (["y:3"], [], {}, errors.InvalidArgumentError, "output index too large, must be < 1"),
        ([], ["q", "r"], {}, errors.NotFoundError, "Some target nodes not found: q,r "),
        (["y:0"], [], {"q:0": X}, errors.NotFoundError, "unable to find feed output q:0"),
        (
            ["y:0"],
            [],
            {"x:0": np.int64([1, 2])},
            errors.InvalidArgumentError,
            "Feed x:0 is of type int64",
        ),
        (
            ["y:0"],
            [],
            {},
            errors.InvalidArgumentError,
            "You must feed a value for placeholder tensor 'x'",
        ),
        (
            ["v/read:0"],
            [],
            {},
            errors.FailedPreconditionError,
            "Attempting to use uninitialized value v",
        ),
    ],
)
def test_errors_arrive_with_class_and_text(
    connect: Connect,
    graph: Graph,
    fetches: list[str],
    targets: list[str],
    feed: dict,
    kind: type,
    text: str,
) -> None:
    client = connect(graph)
    with pytest.raises(kind) as caught:
        client.run(*fetches, targets=targets, feed=feed)
    assert text in caught.value.message
    np.testing.assert_array_equal(client.run("y:0", feed={"x:0": X}), [2, 3])


def test_an_error_names_the_node(connect: Connect, graph: Graph) -> None:
    client = connect(graph)
    with pytest.raises(errors.OpError) as caught:
        client.run("y:0", feed={"x:0": np.float32([1, 2, 3])})
    assert "node y" in caught.value.message


def test_trace_and_partition_graphs(connect: Connect, graph: Graph) -> None:
    client = connect(graph)
    options = config_pb2.RunOptions(
        trace_level=config_pb2.RunOptions.FULL_TRACE, output_partition_graphs=True
    )
    metadata = config_pb2.RunMetadata()
    client.run("z:0", feed={"x:0": X}, options=options, metadata=metadata)
    (device,) = metadata.step_stats.dev_stats
    nodes = {node.node_name: node for node in device.node_stats}
    assert {"y", "z"} <= set(nodes)
    assert nodes["z"].all_start_micros > 0
    assert nodes["z"].output[0].tensor_description.shape.dim[0].size == 2
    (part,) = metadata.partition_graphs
    assert {"y", "z"} <= {node.name for node in part.node}
    assert all(node.device == device.device for node in part.node)
    client.run("z:0", feed={"x:0": X}, metadata=metadata)
    assert not metadata.step_stats.dev_stats


def test_callables(connect: Connect, graph: Graph) -> None:
    client = connect(graph)
    options = config_pb2.CallableOptions(feed=["x:0"], fetch=["z:0", "y:0"])
    number = client.master.make_callable(client.handle, options)
    z, y = client.master.run_callable(client.handle, number, [X])
    np.testing.assert_array_equal([z, y], [[4, 9], [2, 3]])
    client.master.release_callable(client.handle, number)
    with pytest.raises(errors.InvalidArgumentError, match="No such callable handle"):
        client.master.run_callable(client.handle, number, [X])
    options.tensor_connection.add(from_tensor="x:0", to_tensor="y:0")
    with pytest.raises(errors.UnimplementedError, match="tensor_connection"):
        client.master.make_callable(client.handle, options)


@pytest.fixture
def pieces(graph: Graph) -> Graph:
    """a, b, c fed; r1 = a + b; r2 = r1 * c."""
    a, b, c = (raw.Placeholder(dtype=dtypes.float32, shape=[], name=n) for n in "abc")
    r1 = raw.Add(a, b, name="r1")
    raw.Mul(r1, c, name="r2")
    return graph


def _one(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def test_partial_runs(connect: Connect, pieces: Graph) -> None:
    client = connect(pieces)
    master, handle = client.master, client.handle
    step = master.partial_run_setup(handle, ["a:0", "b:0", "c:0"], ["r1:0", "r2:0"], [])
    r1 = master.partial_run(handle, step, [("a:0", _one(1)), ("b:0", _one(2))], ["r1:0"])
    assert r1 == [3]
    assert master.partial_run(handle, step, [("c:0", _one(10))], ["r2:0"]) == [30]
    with pytest.raises(errors.InvalidArgumentError, match="Must run 'setup'"):
        master.partial_run(handle, step, [], ["r2:0"])


def test_partial_runs_check_what_they_are_given(connect: Connect, pieces: Graph) -> None:
    client = connect(pieces)
    master, handle = client.master, client.handle
    step = master.partial_run_setup(handle, ["a:0", "b:0", "c:0"], ["r1:0", "r2:0"], [])
    with pytest.raises(errors.InvalidArgumentError, match="can't be computed from the feeds"):
        master.partial_run(handle, step, [("a:0", _one(1))], ["r1:0"])
    with pytest.raises(errors.InvalidArgumentError, match="The feed x:0 was not specified"):
        master.partial_run(handle, step, [("x:0", X)], [])
    master.partial_run(handle, step, [("a:0", _one(1))], [])
    with pytest.raises(errors.InvalidArgumentError, match="a:0 had already been fed"):
        master.partial_run(handle, step, [("a:0", _one(1))], [])
    assert master.partial_run(handle, step, [("b:0", _one(1))], ["r1:0"]) == [2]
    with pytest.raises(errors.InvalidArgumentError, match="r1:0 had already been fetched"):
        master.partial_run(handle, step, [], ["r1:0"])


def test_a_failed_partial_run_is_over(connect: Connect, pieces: Graph) -> None:
    client = connect(pieces)
    master, handle = client.master, client.handle
    step = master.partial_run_setup(handle, ["a:0", "b:0"], ["r1:0", "v/read:0"], [])
    with pytest.raises(errors.FailedPreconditionError, match="uninitialized value v"):
        master.partial_run(handle, step, [("a:0", _one(1))], ["v/read:0"])
    with pytest.raises(errors.InvalidArgumentError, match="Must run 'setup'"):
        master.partial_run(handle, step, [("b:0", _one(1))], ["r1:0"])


@pytest.fixture
def queues(graph: Graph) -> Graph:
    """'block' says 'started' through a second queue, then dequeues from an empty queue; 'started' tells; 'give' enqueues."""
    kinds = {"component_types": [dtypes.float32]}
    empty = raw.FIFOQueueV2(**kinds, capacity=9, shared_name="empty", name="empty")
    signal = raw.FIFOQueueV2(**kinds, capacity=9, shared_name="signal", name="signal")
    say = raw.QueueEnqueueV2(signal, [np.float32(1)], name="say")
    raw.QueueDequeueV2(signal, **kinds, name="started")
    raw.QueueEnqueueV2(empty, [np.float32(7)], name="give")
    with graph.control_dependencies([say]):
        raw.QueueDequeueV2(empty, **kinds, name="block")
    return graph


def test_a_blocked_step_goes_on_when_another_gives(connect: Connect, queues: Graph) -> None:
    client = connect(queues)
    join = in_thread(lambda: client.run("block:0"))
    assert client.run("started:0") == 1
    client.run(targets=["give"])
    assert join() == 7


def test_closing_cancels_running_steps(connect: Connect, queues: Graph) -> None:
    client = connect(queues)
    join = in_thread(lambda: client.run("block:0"))
    client.run("started:0")
    client.close()
    with pytest.raises(errors.CancelledError, match="Session was closed"):
        join()


def test_run_timeout_names_what_is_waited_for(connect: Connect, queues: Graph) -> None:
    client = connect(queues)
    options = config_pb2.RunOptions(timeout_in_ms=100)
    with pytest.raises(errors.DeadlineExceededError, match="block"):
        client.run("block:0", options=options)
    client.run(targets=["give"])
    client.run("block:0", options=options)


def test_operation_timeout_of_the_session(connect: Connect, queues: Graph) -> None:
    client = connect(queues, operation_timeout_in_ms=100)
    with pytest.raises(errors.DeadlineExceededError, match="block"):
        client.run("block:0")


def test_a_closed_session_is_not_found(connect: Connect, graph: Graph) -> None:
    client = connect(graph)
    client.close()
    if client.master.__class__.__name__ != "Master":
        return
    with pytest.raises(errors.AbortedError, match="is not found"):
        client.run("v:0")


def test_reset_clears_resources_and_ends_sessions(connect: Connect, graph: Graph) -> None:
    client = connect(graph)
    client.run(targets=["v/init"])
    client.master.reset()
    with pytest.raises(errors.AbortedError, match="is not found"):
        client.run("v/read:0")
    other = connect(graph)
    with pytest.raises(errors.FailedPreconditionError, match="uninitialized"):
        other.run("v/read:0")


def test_list_devices(connect: Connect, graph: Graph) -> None:
    client = connect(graph, device_count={"CPU": 1})
    (device,) = [d for d in client.master.list_devices(client.handle) if d.device_type == "CPU"]
    assert device.name.endswith("/replica:0/task:0/device:CPU:0")
    assert device.incarnation and device.memory_limit


def test_placement_is_logged(connect: Connect, graph: Graph, capsys: pytest.CaptureFixture) -> None:
    client = connect(graph, log_device_placement=True)
    client.run("y:0", feed={"x:0": X})
    raw.Neg(graph.get_tensor_by_name("y:0"), name="n")
    client.run("n:0", feed={"x:0": X})
    lines = capsys.readouterr().err.splitlines()
    device = client.master.list_devices(client.handle)[0].name
    assert lines[0].startswith("Device mapping:")
    assert [line for line in lines if line.startswith("y: ")] == [f"y: (Add): {device}"]
    assert f"n: (Neg): {device}" in lines


def test_placement_errors(connect: Connect, graph: Graph) -> None:
    with graph.device("/job:nowhere"):
        raw.NoOp(name="lost")
    client = connect(graph)
    with pytest.raises(
        errors.InvalidArgumentError, match=r"lost.*was explicitly assigned to /job:nowhere"
    ):
        client.run(targets=["lost"])


def test_sessions_of_a_server_share_variables(graph: Graph) -> None:
    with (
        Server.create_local_server() as server,
        Client(server.target, graph, config(rpc=True)) as first,
        Client(server.target, graph, config(rpc=False)) as second,
        Client(server.target, graph, config(isolate_session_state=True)) as isolated,
        Client("", graph) as local,
    ):
        first.run(targets=["v/init"])
        np.testing.assert_array_equal(second.run("v/read:0"), [5, 6])
        for other in (isolated, local):
            with pytest.raises(errors.FailedPreconditionError):
                other.run("v/read:0")


def test_many_threads_share_a_session(connect: Connect, graph: Graph) -> None:
    client = connect(graph)

    def work(number: int) -> None:
        for i in range(20):
            value = np.float32([number, i])
            np.testing.assert_array_equal(client.run("y:0", feed={"x:0": value}), value + 1)

    for join in [in_thread(lambda n=n: work(n)) for n in range(8)]:
        join()


def test_plans_are_kept_as_long_as_they_hold(graph: Graph) -> None:
    with Client("", graph) as client:
        worker = client.master.worker  # type: ignore[attr-defined]
        made: list[str] = []
        register = worker._register
        worker._register = lambda *args: made.append(args[0]) or register(*args)
        for _ in range(3):
            client.run("y:0", feed={"x:0": X})
        raw.Neg(graph.get_tensor_by_name("y:0"), name="n")
        client.run("y:0", feed={"x:0": X})
        assert len(made) == 1
        graph.get_operation_by_name("y")._update_input(1, graph.get_tensor_by_name("x:0"))
        np.testing.assert_array_equal(client.run("y:0", feed={"x:0": X}), [2, 4])
        assert len(made) == 2
        assert not worker.step_ids()
