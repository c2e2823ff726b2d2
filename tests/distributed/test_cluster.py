"""Graphs that span tasks: servers of this process that talk to each other over gRPC."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from flowmesh.core import dtypes, errors
from flowmesh.distributed.server import Server
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.proto import config_pb2
from tests.distributed.clusters import (
    Client,
    cluster,
    cluster_spec,
    config,
    eventually,
    free_ports,
    in_thread,
    variable,
)

PS = "/job:ps/replica:0/task:0"
WORKER = "/job:worker/replica:0/task:0"
X = np.float32([1, 2])


@pytest.fixture
def graph() -> Iterator[Graph]:
    """x fed; y = x + 1 on the ps; z = y * y on the worker; back = -z on the ps; v on the ps, 'more' adds x to it."""
    with Graph().as_default() as made:
        x = raw.Placeholder(dtype=dtypes.float32, shape=[2], name="x")
        with made.device("/job:ps/task:0"):
            y = raw.Add(x, np.float32([1, 1]), name="y")
        with made.device("/job:worker/task:0"):
            z = raw.Mul(y, y, name="z")
        with made.device("/job:ps/task:0"):
            raw.Neg(z, name="back")
        variable("v", np.float32([5, 6]), "/job:ps/task:0")
        raw.AssignAdd(made.get_tensor_by_name("v:0"), x, name="more")
        yield made


@pytest.fixture
def servers() -> Iterator[dict[str, Server]]:
    with cluster(ps=1, worker=2) as running:
        yield running


@pytest.mark.parametrize("at", ["ps:0", "worker:0", "worker:1"])
@pytest.mark.parametrize("rpc", [False, True])
def test_any_task_can_be_the_master(servers: dict, graph: Graph, at: str, rpc: bool) -> None:
    with Client(servers[at].target, graph, config(rpc)) as client:
        back, y, z = client.run("back:0", "y:0", "z:0", feed={"x:0": X})
        np.testing.assert_array_equal(back, [-4, -9])
        np.testing.assert_array_equal(y, [2, 3])
        np.testing.assert_array_equal(z, [4, 9])


def test_nothing_of_a_step_or_session_stays(servers: dict, graph: Graph) -> None:
    with Client(servers["worker:0"].target, graph) as client:
        for _ in range(5):
            client.run("back:0", feed={"x:0": X})
    for server in servers.values():
        worker = server._worker
        eventually(lambda worker=worker: not worker.step_ids() and not worker.session_handles())


def test_workers_share_the_variables_of_a_ps(servers: dict, graph: Graph) -> None:
    with (
        Client(servers["worker:0"].target, graph) as first,
        Client(servers["worker:1"].target, graph, config(rpc=True)) as second,
    ):
        first.run(targets=["v/init"])
        joins = [
            in_thread(lambda c=c: [c.run(targets=["more"], feed={"x:0": X}) for _ in range(10)])
            for c in (first, second)
        ]
        for join in joins:
            join()
        np.testing.assert_array_equal(second.run("v/read:0"), [25, 46])


def test_devices_of_all_tasks_are_listed(servers: dict, graph: Graph) -> None:
    with Client(servers["worker:0"].target, graph, config(rpc=True)) as client:
        names = [d.name for d in client.master.list_devices(client.handle)]
        tasks = [WORKER, PS, "/job:worker/replica:0/task:1"]
        assert [n for n in names if n.endswith("CPU:0")] == [f"{t}/device:CPU:0" for t in tasks]


def test_traces_and_partition_graphs_of_all_tasks(servers: dict, graph: Graph) -> None:
    options = config_pb2.RunOptions(
        trace_level=config_pb2.RunOptions.FULL_TRACE, output_partition_graphs=True
    )
    metadata = config_pb2.RunMetadata()
    with Client(servers["worker:0"].target, graph) as client:
        client.run("z:0", feed={"x:0": X}, options=options, metadata=metadata)
    traced = {d.device: {n.node_name for n in d.node_stats} for d in metadata.step_stats.dev_stats}
    assert "y" in traced[f"{PS}/device:CPU:0"]
    assert "z" in traced[f"{WORKER}/device:CPU:0"]
    ops = [{n.op for n in part.node} for part in metadata.partition_graphs]
    assert len(ops) == 2
    assert all({"_Send", "_Recv"} & found for found in ops)


def test_partial_runs_span_tasks(servers: dict, graph: Graph) -> None:
    with graph.device("/job:worker/task:1"):
        c = raw.Placeholder(dtype=dtypes.float32, shape=[2], name="c")
        raw.Mul(graph.get_tensor_by_name("back:0"), c, name="end")
    for rpc in (False, True):
        with Client(servers["worker:0"].target, graph, config(rpc)) as client:
            master, handle = client.master, client.handle
            step = master.partial_run_setup(handle, ["x:0", "c:0"], ["z:0", "end:0"], [])
            (z,) = master.partial_run(handle, step, [("x:0", X)], ["z:0"])
            np.testing.assert_array_equal(z, [4, 9])
            (end,) = master.partial_run(handle, step, [("c:0", X)], ["end:0"])
            np.testing.assert_array_equal(end, [-4, -18])
    eventually(lambda: not any(s._worker.step_ids() for s in servers.values()))


def test_an_abandoned_partial_run_ends_with_its_session(servers: dict, graph: Graph) -> None:
    with Client(servers["worker:0"].target, graph) as client:
        master, handle = client.master, client.handle
        step = master.partial_run_setup(handle, ["x:0"], ["y:0", "z:0"], [])
        master.partial_run(handle, step, [("x:0", X)], ["y:0"])
    eventually(lambda: not any(s._worker.step_ids() for s in servers.values()))


# -- errors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rpc", [False, True])
@pytest.mark.parametrize("at", ["ps:0", "worker:0", "worker:1"])
def test_the_cause_is_reported_whichever_task_it_is_on(
    servers: dict, graph: Graph, at: str, rpc: bool
) -> None:
    with Client(servers[at].target, graph, config(rpc)) as client:
        with pytest.raises(errors.InvalidArgumentError) as caught:
            client.run("back:0", feed={"x:0": np.float32([1, 2, 3])})
        assert "node y" in caught.value.message
        assert "_Derived_" not in caught.value.message
        client.run("back:0", feed={"x:0": X})


@pytest.fixture
def blocking(graph: Graph) -> Graph:
    """'block' dequeues from an empty queue on the ps after saying so on queue 'signal'; 'after' needs it on the worker;
    'fails' raises on the second worker once 'block' has begun."""
    kinds = {"component_types": [dtypes.float32]}
    with graph.device("/job:ps/task:0"):
        empty = raw.FIFOQueueV2(**kinds, capacity=9, shared_name="empty", name="empty")
        signal = raw.FIFOQueueV2(**kinds, capacity=9, shared_name="signal", name="signal")
        say = raw.QueueEnqueueV2(signal, [np.float32(1)], name="say")
        told = raw.QueueDequeueV2(signal, **kinds, name="started")
        with graph.control_dependencies([say]):
            block = raw.QueueDequeueV2(empty, **kinds, name="block")
    with graph.device("/job:worker/task:0"):
        raw.Neg(block[0], name="after")
    with graph.device("/job:worker/task:1"):
        w = raw.Placeholder(dtype=dtypes.float32, shape=None, name="w")
        with graph.control_dependencies([told[0].op]):
            raw.Reshape(w, np.int32([5]), name="fails")
    return graph


def test_an_error_on_one_task_ends_the_others(servers: dict, blocking: Graph) -> None:
    with Client(servers["worker:0"].target, blocking) as client:
        with pytest.raises(errors.InvalidArgumentError, match="fails"):
            client.run("after:0", "fails:0", feed={"w:0": X})
        eventually(lambda: not servers["ps:0"]._worker.step_ids())


@pytest.mark.parametrize("rpc", [False, True])
def test_a_timeout_names_op_and_task(servers: dict, blocking: Graph, rpc: bool) -> None:
    with Client(servers["worker:0"].target, blocking, config(rpc)) as client:
        with pytest.raises(errors.DeadlineExceededError) as caught:
            client.run("after:0", options=config_pb2.RunOptions(timeout_in_ms=200))
        assert re.search(rf"{PS}: .*waiting for: block", caught.value.message)
        eventually(lambda: not any(s._worker.step_ids() for s in servers.values()))


def test_closing_ends_steps_on_other_tasks(servers: dict, blocking: Graph) -> None:
    client = Client(servers["worker:0"].target, blocking, config(rpc=True))
    join = in_thread(lambda: client.run("after:0"))
    client.run("started:0")
    client.close()
    with pytest.raises(errors.CancelledError, match="Session was closed"):
        join()
    eventually(lambda: not any(s._worker.step_ids() for s in servers.values()))


def test_a_stopped_task_fails_the_step_that_needs_it(servers: dict, blocking: Graph) -> None:
    with Client(servers["worker:0"].target, blocking) as client:
        join = in_thread(lambda: client.run("after:0"))
        client.run("started:0")
        servers["ps:0"].stop()
        with pytest.raises((errors.UnavailableError, errors.CancelledError), match=PS):
            join()
        with pytest.raises(errors.UnavailableError, match=f"{PS} at localhost:"):
            client.run("y:0", feed={"x:0": X})
        with blocking.device("/job:worker/task:0"):
            raw.Neg(blocking.get_tensor_by_name("x:0"), name="local")
        np.testing.assert_array_equal(client.run("local:0", feed={"x:0": X}), [-1, -2])


def test_a_stopped_master_ends_its_sessions(servers: dict, blocking: Graph) -> None:
    client = Client(servers["worker:0"].target, blocking, config(rpc=True))
    join = in_thread(lambda: client.run("after:0"))
    client.run("started:0")
    servers["worker:0"].stop()
    with pytest.raises((errors.CancelledError, errors.UnavailableError)):
        join()
    with pytest.raises(errors.UnavailableError, match="cannot be reached"):
        client.run("y:0", feed={"x:0": X})
    client.close()
    eventually(lambda: not servers["ps:0"]._worker.step_ids())


def test_a_restarted_ps_is_another_one(graph: Graph) -> None:
    spec = cluster_spec(ps=1, worker=1)
    with Server(spec, "worker", 0) as worker:
        ps = Server(spec, "ps", 0)
        with Client(worker.target, graph) as client:
            client.run(targets=["v/init"])
            client.run("z:0", feed={"x:0": X})
            ps.stop()
            with Server(spec, "ps", 0):
                with pytest.raises((errors.AbortedError, errors.UnavailableError), match=PS):
                    for _ in range(50):  # the first calls may still meet the broken connection
                        try:
                            client.run("z:0", feed={"x:0": X})
                        except errors.UnavailableError:
                            threading.Event().wait(0.05)
                    raise errors.UnavailableError(None, None, f"{PS} never came back")
                with Client(worker.target, graph) as again:
                    with pytest.raises(
                        errors.FailedPreconditionError, match="uninitialized value v"
                    ):
                        again.run("v/read:0")
                    again.run(targets=["v/init"])
                    np.testing.assert_array_equal(again.run("v/read:0"), [5, 6])


def test_a_step_on_a_restarted_task_says_so(graph: Graph) -> None:
    spec = cluster_spec(ps=1, worker=1)
    with (
        Server(spec, "worker", 0) as worker,
        Server(spec, "ps", 0) as ps,
        Client(worker.target, graph) as client,
    ):
        client.run("y:0", feed={"x:0": X})
        ps._worker.delete_worker_session(client.handle)
        with pytest.raises(errors.AbortedError, match=f'"{PS}"\\) just restarted'):
            client.run("y:0", feed={"x:0": X})


# -- session creation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rpc", [False, True])
def test_a_missing_task_is_named_in_time(
    graph: Graph, rpc: bool, capsys: pytest.CaptureFixture
) -> None:
    spec = {
        **cluster_spec(worker=1),
        "ps": [f"localhost:{free_ports(1)[0]}", "no-such-host.invalid:1"],
    }
    settings = config(rpc)
    settings.experimental.flowmesh.connect_timeout_in_ms = 400
    settings.experimental.flowmesh.wait_log_after_secs = 0.1
    with Server(spec, "worker", 0) as server:
        with pytest.raises(errors.UnavailableError) as caught:
            Client(server.target, graph, settings)
        message = caught.value.message
        assert f"{PS} at {spec['ps'][0]} (connection refused" in message
        assert (
            "task:1 at no-such-host.invalid:1 (host name 'no-such-host.invalid' does not resolve"
            in message
        )
        assert "within 0.4 s" in message
        told = capsys.readouterr().err
        assert f"CreateSession still waiting for response from worker: {PS}" in told
        settings.device_filters.append("/job:worker")
        with Client(server.target, graph, settings) as client:
            assert [d.name for d in client.master.list_devices(client.handle)] == [
                f"{WORKER}/device:CPU:0"
            ]


def test_a_session_waits_for_a_task_that_comes(graph: Graph) -> None:
    spec = cluster_spec(ps=1, worker=1)
    with Server(spec, "worker", 0) as worker:
        join = in_thread(lambda: Client(worker.target, graph))
        with Server(spec, "ps", 0), join() as client:
            np.testing.assert_array_equal(client.run("z:0", feed={"x:0": X}), [4, 9])


def test_an_unreachable_server_is_named(graph: Graph) -> None:
    settings = config()
    settings.experimental.flowmesh.connect_timeout_in_ms = 300
    port = free_ports(1)[0]
    with pytest.raises(errors.UnavailableError, match=f"localhost:{port} .connection refused"):
        Client(f"grpc://localhost:{port}", graph, settings)


def test_a_task_that_is_somebody_else_is_refused(graph: Graph) -> None:
    spec = cluster_spec(ps=2)
    swapped = {"ps": [spec["ps"][0], spec["ps"][1]], "worker": [spec["ps"][1]]}
    with (
        Server(spec, "ps", 1),
        Server(swapped, "ps", 0) as server,
        pytest.raises(errors.UnavailableError, match=r"should be /job:worker.* but says it is"),
    ):
        Client(server.target, graph)


def test_malformed_device_filters_are_refused(servers: dict, graph: Graph) -> None:
    with pytest.raises(errors.InvalidArgumentError, match="Malformed device filter"):
        Client(servers["worker:0"].target, graph, config(device_filters=["/jobs/ps"]))


def test_reset_reaches_all_tasks(servers: dict, graph: Graph) -> None:
    with Client(servers["worker:0"].target, graph) as client:
        client.run(targets=["v/init"])
        client.master.reset(["other"])
    with Client(servers["worker:0"].target, graph) as client:
        np.testing.assert_array_equal(client.run("v/read:0"), [5, 6])
        client.master.reset()
    with (
        Client(servers["worker:0"].target, graph) as client,
        pytest.raises(errors.FailedPreconditionError),
    ):
        client.run("v/read:0")


def test_isolated_sessions(servers: dict, graph: Graph) -> None:
    target = servers["worker:0"].target
    with (
        Client(target, graph, config(isolate_session_state=True)) as isolated,
        Client(target, graph) as other,
    ):
        isolated.run(targets=["v/init"])
        np.testing.assert_array_equal(isolated.run("v/read:0"), [5, 6])
        with pytest.raises(errors.FailedPreconditionError):
            other.run("v/read:0")


def test_a_session_may_name_its_cluster(graph: Graph) -> None:
    spec = cluster_spec(ps=1, worker=1)
    with Server({"worker": spec["worker"]}, "worker", 0) as worker, Server(spec, "ps", 0):
        settings = config()
        for job, addresses in spec.items():
            settings.cluster_def.job.add(name=job).tasks[0] = addresses[0]
        with Client(worker.target, graph, settings) as client:
            np.testing.assert_array_equal(client.run("back:0", feed={"x:0": X}), [-4, -9])


def test_a_restarted_master_is_rid_of_its_former_sessions() -> None:
    """A master that was killed closed nothing: with its next session the other tasks forget what it had."""
    spec = cluster_spec(ps=1, worker=2)
    with Server(spec, "ps", 0) as ps, Server(spec, "worker", 1) as other:
        with Server(spec, "worker", 0) as first:
            kept = Client(other.target, Graph())
            lost = first._master.create_session(Graph(), None, first.target)
            assert len(ps._worker.session_handles()) == 2
            del first._master._sessions[lost]  # as a killed process: nobody tells the others
        with Server(spec, "worker", 0) as again, Client(again.target, Graph()):
            handles = ps._worker.session_handles()
            assert lost not in handles
            assert kept.handle in handles
            assert len(handles) == 2
        kept.close()
