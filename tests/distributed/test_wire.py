"""The services as other implementations meet them: method names, messages, status codes, and bytes that mean nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from flowmesh.core import dtypes, errors
from flowmesh.distributed.server import Server
from flowmesh.distributed.transport import messages
from flowmesh.formats.tensor import from_tensor_proto
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.proto import master_pb2, worker_pb2
from flowmesh.runtime.rendezvous import make_key
from tests.distributed.clusters import Client, config, in_thread

DEVICE = "/job:local/replica:0/task:0/device:CPU:0"


class Wire:
    """A channel to a server, with messages or with plain bytes."""

    def __init__(self, channel: grpc.Channel):
        self._channel = channel

    def bytes(self, path: str, data: bytes) -> bytes:
        return self._channel.unary_unary(path)(data, timeout=20)

    def __call__(self, method: str, **fields: Any) -> Any:
        path = {**messages.MASTER_PATHS, **messages.WORKER_PATHS}[method]
        data = self.bytes(path, messages.request_type(method)(**fields).SerializeToString())
        return messages.response_type(method).FromString(data)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server.create_local_server() as running:
        yield running


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    with grpc.insecure_channel(server.target.removeprefix("grpc://")) as channel:
        yield Wire(channel)


@pytest.fixture
def graph() -> Iterator[Graph]:
    """x fed; y = x + 1."""
    with Graph().as_default() as made:
        x = raw.Placeholder(dtype=dtypes.float32, shape=None, name="x")
        raw.Add(x, np.float32([1, 1]), name="y")
        yield made


def _feed(request: Any, name: str, value: Any) -> None:
    messages.fill_named(request.feed, [(name, value)])


def _refused(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details()


def test_a_session_in_messages(wire: Wire, graph: Graph) -> None:
    created = wire("CreateSession", graph_def=graph.as_graph_def())
    handle = created.session_handle
    request = master_pb2.RunStepRequest(session_handle=handle, fetch=["y:0"], target=["y"])
    _feed(request, "x:0", np.float32([1, 2]))
    path = messages.MASTER_PATHS["RunStep"]

    def run() -> Any:
        data = wire.bytes(path, request.SerializeToString())
        return master_pb2.RunStepResponse.FromString(data)

    (tensor,) = run().tensor
    assert tensor.name == "y:0"
    np.testing.assert_array_equal(from_tensor_proto(tensor.tensor), [2, 3])

    last = graph.last_id
    raw.Neg(graph.get_tensor_by_name("y:0"), name="n")
    extension = graph.as_graph_def(from_version=last)
    extended = wire(
        "ExtendSession",
        session_handle=handle,
        graph_def=extension,
        current_graph_version=created.graph_version,
    )
    assert extended.new_graph_version == created.graph_version + 1
    code, text = _refused(
        lambda: wire(
            "ExtendSession", session_handle=handle, graph_def=extension, current_graph_version=7
        )
    )
    assert code is grpc.StatusCode.ABORTED
    assert text == "Current version is 1 but caller expected 7."
    request.fetch[:] = ["n:0"]
    np.testing.assert_array_equal(from_tensor_proto(run().tensor[0].tensor), [-2, -3])

    devices = wire("ListDevices", session_handle=handle)
    assert devices.local_device[0].name == DEVICE
    assert not devices.remote_device
    wire("CloseSession", session_handle=handle)
    code, text = _refused(lambda: wire("CloseSession", session_handle=handle))
    assert (code, text) == (grpc.StatusCode.ABORTED, f"Session {handle} is not found.")


def test_errors_come_as_a_status_or_in_the_body(wire: Wire, graph: Graph) -> None:
    handle = wire("CreateSession", graph_def=graph.as_graph_def()).session_handle
    fields = {"session_handle": handle, "fetch": ["y:0"]}
    code, text = _refused(lambda: wire("RunStep", **fields))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "You must feed a value for placeholder tensor 'x' with dtype float" in text
    assert "{{node x}}" in text
    response = wire("RunStep", **fields, store_errors_in_response_body=True)
    assert response.status_code == errors.INVALID_ARGUMENT
    assert response.status_error_message == text


def test_long_messages_fit_into_a_status(wire: Wire, graph: Graph) -> None:
    handle = wire("CreateSession", graph_def=graph.as_graph_def()).session_handle
    fields = {"session_handle": handle, "target": ["none" * 5000]}
    code, text = _refused(lambda: wire("RunStep", **fields))
    assert code is grpc.StatusCode.NOT_FOUND
    assert text.endswith("... [truncated]")
    response = wire("RunStep", **fields, store_errors_in_response_body=True)
    assert len(response.status_error_message) > 20000


@pytest.mark.parametrize("method", [*messages.MASTER_PATHS, *messages.WORKER_PATHS])
@pytest.mark.parametrize("data", [b"\xff", b"\x0a\xff\xff\xff\xff\x0f", bytes(range(256))])
def test_bytes_that_are_no_message_are_refused(wire: Wire, method: str, data: bytes) -> None:
    path = {**messages.MASTER_PATHS, **messages.WORKER_PATHS}[method]
    code, text = _refused(lambda: wire.bytes(path, data))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert f"{method}Request" in text
    assert wire("GetStatus").device_attributes[0].name == DEVICE


MALFORMED = {
    "unknown op": (lambda g: g.node.add(name="a", op="NoSuchOp"), errors.NOT_FOUND, "NoSuchOp"),
    "unknown input": (
        lambda g: g.node.add(name="a", op="NoOp", input=["^gone"]),
        errors.INVALID_ARGUMENT,
        "gone",
    ),
    "missing attr": (
        lambda g: g.node.add(name="a", op="Placeholder"),
        errors.INVALID_ARGUMENT,
        "dtype",
    ),
    "bad name": (lambda g: g.node.add(name="a b", op="NoOp"), errors.INVALID_ARGUMENT, "a b"),
    "twice": (
        lambda g: [g.node.add(name="a", op="NoOp") for _ in range(2)],
        errors.INVALID_ARGUMENT,
        "a",
    ),
    "cycle": (
        lambda g: [
            g.node.add(name="a", op="NoOp", input=["^b"]),
            g.node.add(name="b", op="NoOp", input=["^a"]),
        ],
        errors.INVALID_ARGUMENT,
        "cycle",
    ),
    "bad device": (
        lambda g: g.node.add(name="a", op="NoOp", device="/jobs:x"),
        errors.INVALID_ARGUMENT,
        "/jobs:x",
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_graphs_are_refused(server: Server, wire: Wire, graph: Graph, case: str) -> None:
    spoil, code, text = MALFORMED[case]
    graph_def = graph.as_graph_def()
    spoil(graph_def)
    for method, fields in (("CreateSession", {}), ("RegisterGraph", {"session_handle": ""})):
        got, details = _refused(lambda m=method, f=fields: wire(m, graph_def=graph_def, **f))
        assert got.value[0] == code
        assert text in details
    handle = wire("CreateSession", graph_def=graph.as_graph_def()).session_handle
    _refused(lambda: wire("ExtendSession", session_handle=handle, graph_def=graph_def))
    wire("CloseSession", session_handle=handle)
    assert server._master._sessions == {}


def test_unknown_handles(wire: Wire) -> None:
    part = Graph().as_graph_def()
    missing = {"session_handle": "gone", "create_worker_session_called": True}
    for call, text in (
        (
            lambda: wire("RegisterGraph", graph_def=part, **missing),
            "Session handle is not found: gone",
        ),
        (
            lambda: wire("RunGraph", graph_handle="x", **missing),
            "Session handle is not found: gone",
        ),
        (lambda: wire("RunGraph", graph_handle="x"), "Graph handle is not found: x"),
        (lambda: wire("DeregisterGraph", graph_handle="x"), "Graph handle is not found: x"),
        (lambda: wire("RunStep", session_handle="gone"), "Session gone is not found."),
    ):
        code, details = _refused(call)
        assert code is grpc.StatusCode.ABORTED
        assert text in details


def test_nodes_on_other_tasks_are_refused(wire: Wire) -> None:
    with Graph().as_default() as part, part.device("/job:other/replica:0/task:0/device:CPU:0"):
        raw.NoOp(name="a")
    code, text = _refused(lambda: wire("RegisterGraph", graph_def=part.as_graph_def()))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "no device of task /job:local/replica:0/task:0" in text


# -- a worker under somebody else's master ---------------------------------------------------------------


def _ends(incarnation: int, name: bytes, client: bool) -> dict[str, Any]:
    return {
        "tensor_name": name,
        "send_device": DEVICE.encode(),
        "send_device_incarnation": incarnation,
        "recv_device": b"/job:peer/replica:0/task:0/device:CPU:0"
        if not client
        else DEVICE.encode(),
        "client_terminated": client,
    }


@pytest.fixture
def part(wire: Wire) -> tuple[Any, int]:
    """Feed 'in:0', twice it as fetch 'out:0', and sent to a peer as 'edge'; and the device's incarnation."""
    incarnation = wire("GetStatus").device_attributes[0].incarnation
    with Graph().as_default() as graph, graph.device(DEVICE):
        x = raw._Recv(tensor_type=dtypes.float32, **_ends(incarnation, b"in:0", True), name="in")
        y = raw.Add(x, x, name="double")
        raw._Send(y, **_ends(incarnation, b"out:0", True), name="out")
        raw._Send(y, **_ends(incarnation, b"edge", False), name="edge")
    return graph.as_graph_def(), incarnation


def _run_request(handle: str, step: int, incarnation: int, **fields: Any) -> Any:

    def key(name: str) -> str:
        return make_key(DEVICE, incarnation, DEVICE, name)

    request = worker_pb2.RunGraphRequest(
        session_handle="s",
        create_worker_session_called=True,
        graph_handle=handle,
        step_id=step,
        recv_key=[key("out:0")],
        **fields,
    )
    messages.fill_named(request.send, [(key("in:0"), np.float32([1, 2]))])
    return request


def test_a_worker_under_another_master(server: Server, wire: Wire, part: tuple[Any, int]) -> None:
    graph_def, incarnation = part
    wire("CreateWorkerSession", session_handle="s")
    registered = {"session_handle": "s", "create_worker_session_called": True}
    handle = wire("RegisterGraph", graph_def=graph_def, **registered).graph_handle
    edge = make_key(DEVICE, incarnation, "/job:peer/replica:0/task:0/device:CPU:0", "edge")
    # The receiver may come before the step.
    join = in_thread(lambda: wire("RecvTensor", step_id=5, rendezvous_key=edge))
    request = _run_request(handle, 5, incarnation, exec_opts={"record_timeline": True})
    path = messages.WORKER_PATHS["RunGraph"]
    response = worker_pb2.RunGraphResponse.FromString(wire.bytes(path, request.SerializeToString()))
    (received,) = response.recv
    assert received.name == request.recv_key[0]
    np.testing.assert_array_equal(from_tensor_proto(received.tensor), [2, 4])
    assert response.step_stats.dev_stats[0].device == DEVICE
    np.testing.assert_array_equal(from_tensor_proto(join().tensor), [2, 4])
    wire("CleanupGraph", step_id=5)
    assert server._worker.step_ids() == []
    code, text = _refused(lambda: wire("RecvTensor", step_id=5, rendezvous_key=edge))
    assert code is grpc.StatusCode.ABORTED
    assert "Step 5 has ended" in text
    wire("DeregisterGraph", graph_handle=handle, **registered)
    wire("DeleteWorkerSession", session_handle="s")
    assert server._worker.session_handles() == []


def test_a_partial_run_under_another_master(
    server: Server, wire: Wire, part: tuple[Any, int]
) -> None:
    graph_def, incarnation = part
    wire("CreateWorkerSession", session_handle="s")
    handle = wire(
        "RegisterGraph", graph_def=graph_def, session_handle="s", create_worker_session_called=True
    ).graph_handle
    path = messages.WORKER_PATHS["RunGraph"]
    first = _run_request(handle, 6, incarnation, is_partial=True)
    out = list(first.recv_key)
    del first.recv_key[:]
    wire.bytes(path, first.SerializeToString())
    last = _run_request(handle, 6, incarnation, is_partial=True, is_last_partial_run=True)
    del last.send[:]
    last.recv_key[:] = out
    response = worker_pb2.RunGraphResponse.FromString(wire.bytes(path, last.SerializeToString()))
    np.testing.assert_array_equal(from_tensor_proto(response.recv[0].tensor), [2, 4])
    wire("CleanupGraph", step_id=6)
    wire("DeleteWorkerSession", session_handle="s")


def test_run_graph_with_missing_or_unknown_ends(wire: Wire, part: tuple[Any, int]) -> None:
    graph_def, incarnation = part
    wire("CreateWorkerSession", session_handle="s")
    handle = wire(
        "RegisterGraph", graph_def=graph_def, session_handle="s", create_worker_session_called=True
    ).graph_handle
    path = messages.WORKER_PATHS["RunGraph"]
    request = _run_request(handle, 7, incarnation)
    del request.send[:]
    code, text = _refused(lambda: wire.bytes(path, request.SerializeToString()))
    assert (code, "feed in:0" in text) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    request = _run_request(handle, 8, incarnation, store_errors_in_response_body=True)
    request.recv_key.append("other:0")
    response = worker_pb2.RunGraphResponse.FromString(wire.bytes(path, request.SerializeToString()))
    assert response.status_code == errors.INVALID_ARGUMENT
    assert "other:0" in response.status_error_message
    for step in (7, 8):
        wire("CleanupGraph", step_id=step)
    wire("DeleteWorkerSession", session_handle="s")


@pytest.mark.parametrize(
    ("key", "code", "text"),
    [
        ("nonsense", grpc.StatusCode.INVALID_ARGUMENT, "nvalid"),
        (
            make_key("/job:other/task:0/device:CPU:0", 1, DEVICE, "e"),
            grpc.StatusCode.INVALID_ARGUMENT,
            "another sender",
        ),
        (
            make_key(DEVICE.replace("CPU:0", "GPU:7"), 1, DEVICE, "e"),
            grpc.StatusCode.INVALID_ARGUMENT,
            "not a device",
        ),
        (
            make_key(DEVICE, 12345, DEVICE, "e"),
            grpc.StatusCode.ABORTED,
            "RecvTensor expects a different device incarnation: 12345",
        ),
    ],
)
def test_recv_tensor_for_what_is_not_sent_here(
    wire: Wire, key: str, code: object, text: str
) -> None:
    got, details = _refused(lambda: wire("RecvTensor", step_id=1, rendezvous_key=key))
    assert got is code
    assert text in details


def test_a_receiver_that_gives_up_leaves_nothing(server: Server, wire: Wire) -> None:
    key = make_key(DEVICE, 0, DEVICE, "never")
    request = worker_pb2.RecvTensorRequest(step_id=9, rendezvous_key=key)
    with grpc.insecure_channel(server.target.removeprefix("grpc://")) as channel:
        call = channel.unary_unary(messages.WORKER_PATHS["RecvTensor"])
        with pytest.raises(grpc.RpcError) as caught:
            call(request.SerializeToString(), timeout=0.2)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    for _ in range(500):
        if not server._worker.step_ids():
            return
        wire("GetStatus")
    assert server._worker.step_ids() == []


def test_logging_and_tracing(wire: Wire, server: Server, part: tuple[Any, int]) -> None:
    graph_def, incarnation = part
    wire("Logging", enable_rpc_logging=True)
    wire("CreateWorkerSession", session_handle="s")
    handle = wire(
        "RegisterGraph", graph_def=graph_def, session_handle="s", create_worker_session_called=True
    ).graph_handle
    request = _run_request(handle, 11, incarnation)
    wire.bytes(messages.WORKER_PATHS["RunGraph"], request.SerializeToString())
    edge = make_key(DEVICE, incarnation, "/job:peer/replica:0/task:0/device:CPU:0", "edge")
    wire("RecvTensor", step_id=11, rendezvous_key=edge)
    (step,) = wire("Logging", fetch_step_id=[11, 12], disable_rpc_logging=True, clear=True).step
    assert step.step_id == 11
    (device,) = step.step_stats.dev_stats
    assert device.device == DEVICE
    assert device.node_stats[0].node_name == "RecvTensor"
    assert "[8B] edge" in device.node_stats[0].timeline_label
    assert not wire("Logging", fetch_step_id=[11]).step
    code, _ = _refused(lambda: wire("Tracing"))
    assert code is grpc.StatusCode.UNIMPLEMENTED
    wire("MarkRecvFinished", request_id=1)
    wire("CleanupGraph", step_id=11)
    wire("DeleteWorkerSession", session_handle="s")


def test_methods_there_are_not(wire: Wire) -> None:
    for path in ("/tensorflow.WorkerService/RecvBuf", "/flowmesh.Direct/Hello"):
        code, _ = _refused(lambda path=path: wire.bytes(path, b""))
        assert code is grpc.StatusCode.UNIMPLEMENTED


def test_large_tensors(server: Server, graph: Graph) -> None:
    value = np.arange(2_000_000, dtype=np.float32).reshape(-1, 2)
    with Client(server.target, graph, config(rpc=True)) as client:
        np.testing.assert_array_equal(client.run("y:0", feed={"x:0": value}), value + 1)


def test_a_client_that_goes_away_ends_its_step(server: Server, wire: Wire) -> None:
    kinds = {"component_types": [dtypes.float32]}
    with Graph().as_default() as graph:
        queue = raw.FIFOQueueV2(**kinds, shared_name="q", name="q")
        raw.QueueDequeueV2(queue, **kinds, name="block")
    handle = wire("CreateSession", graph_def=graph.as_graph_def()).session_handle
    request = master_pb2.RunStepRequest(session_handle=handle, fetch=["block:0"])
    with grpc.insecure_channel(server.target.removeprefix("grpc://")) as channel:
        future = channel.unary_unary(messages.MASTER_PATHS["RunStep"]).future(
            request.SerializeToString()
        )
        while not server._worker.step_ids():
            wire("GetStatus")
        future.cancel()
    for _ in range(500):
        if not server._worker.step_ids():
            break
        wire("GetStatus")
    assert server._worker.step_ids() == []
    wire("CloseSession", session_handle=handle)


@pytest.mark.parametrize(
    "value",
    [
        np.float32(1.5),
        np.arange(6, dtype=np.int64).reshape(2, 3),
        np.zeros([0, 4], np.complex128),
        np.array([True, False]),
        np.array([[b"a"], [b"\xff"]], object),
    ],
    ids=lambda v: str(v.dtype),
)
def test_values_travel_unchanged(value: Any) -> None:
    back = messages.value_from_proto(messages.value_to_proto(value))
    assert back.dtype == value.dtype
    np.testing.assert_array_equal(back, value)


def test_values_that_cannot_travel() -> None:
    with pytest.raises(errors.InvalidArgumentError, match="has no message form"):
        messages.value_to_proto(np.zeros(2, "M8[s]"))
