"""Sessions whose clients and masters do not come back: they end, others stay, and who comes too late is told."""

from __future__ import annotations

import gc
import logging
import socket
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from flowmesh.core import errors
from flowmesh.distributed.leases import USUAL_SECONDS, Leases, lease_of
from flowmesh.distributed.master_leases import MasterLeases
from flowmesh.distributed.server import Server
from flowmesh.distributed.transport import connections
from flowmesh.distributed.transport.connections import GrpcCaller, address_of, connected_in
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.proto import config_pb2, worker_pb2
from tests.clock import Hands
from tests.distributed.clusters import (
    Client,
    cluster,
    cluster_spec,
    config,
    eventually,
    in_thread,
    variable,
)

DAY = 24 * 3600.0


class Caller:
    """Somebody who calls."""

    tells = False

    def __init__(self) -> None:
        self.gone = False


class Kit:
    """Leases, a clock, and what has ended."""

    def __init__(self, seconds: float | None = 100.0) -> None:
        self.clock = Hands()
        self.over: dict[Any, str] = {}
        self.leases = Leases(seconds, self.over.__setitem__, self.clock, lambda work: work())
        self.caller = Caller()


# -- the rules -----------------------------------------------------------------------------------------


def test_what_nobody_comes_back_for_ends() -> None:
    kit = Kit()
    kit.leases.opened("s", kit.caller)
    kit.caller.gone = True
    kit.clock.pass_by(99.0)
    assert not kit.over
    kit.clock.pass_by(26.0)
    assert list(kit.over) == ["s"]
    assert "not used for 100 s, and the connection of its caller is gone" in kit.over["s"]
    assert kit.over["s"] in kit.leases.why("s")
    assert kit.clock.idle


def test_a_caller_that_is_connected_may_rest() -> None:
    kit = Kit()
    kit.leases.opened("s", kit.caller)
    kit.clock.pass_by(10_000.0)
    assert not kit.over and not kit.leases.why("s")


def test_the_time_begins_anew_with_each_call_and_with_the_end_of_the_connection() -> None:
    kit = Kit()
    kit.leases.opened("s", kit.caller)
    kit.clock.pass_by(90.0)
    other = Caller()
    kit.leases.used("s", other)
    kit.caller.gone = True
    kit.clock.pass_by(1000.0)  # the latest caller counts
    other.gone = True
    kit.leases.lost(other)
    kit.clock.pass_by(99.0)
    assert not kit.over
    kit.clock.pass_by(26.0)
    assert list(kit.over) == ["s"]


def test_what_is_in_use_does_not_end() -> None:
    kit = Kit()
    kit.leases.opened("s", kit.caller)
    kit.caller.gone = True
    with kit.leases.using("s", kit.caller):
        kit.clock.pass_by(10_000.0)
    kit.clock.pass_by(99.0)
    assert not kit.over
    kit.clock.pass_by(26.0)
    assert list(kit.over) == ["s"]


def test_leases_may_be_closed_longer_or_for_ever() -> None:
    kit = Kit()
    kit.caller.gone = True
    kit.leases.opened("closed", kit.caller)
    kit.leases.opened("longer", kit.caller, 1000.0)
    kit.leases.opened("ever", kit.caller, None)
    kit.leases.closed("closed")
    kit.clock.pass_by(900.0)
    assert not kit.over
    kit.clock.pass_by(400.0)
    assert list(kit.over) == ["longer"]
    kit.leases.opened("more", kit.caller)
    kit.leases.close()
    assert kit.clock.idle
    kit.leases.opened("too late", kit.caller)
    assert kit.clock.idle
    assert Kit(None).leases.opened("s", kit.caller) is None


def test_the_length_is_the_first_that_is_asked_for() -> None:
    asks, never = config_pb2.ConfigProto(), config_pb2.ConfigProto()
    asks.experimental.flowmesh.session_lease_in_ms = 1500
    never.experimental.flowmesh.session_lease_in_ms = -1
    assert lease_of(None, config_pb2.ConfigProto()) == USUAL_SECONDS == DAY
    assert lease_of(config_pb2.ConfigProto(), asks) == 1.5
    assert lease_of(never, asks) is None


def test_a_connection_that_tells_of_its_end_stands_for_its_process() -> None:
    kit = Kit()
    link, call = Caller(), Caller()
    link.tells = True
    call.gone = True
    kit.leases.opened("s", kit.caller)
    kit.leases.used("s", link)
    kit.leases.used("s", call)
    kit.clock.pass_by(1000.0)
    assert not kit.over
    link.gone = True
    kit.leases.lost(link)
    kit.clock.pass_by(90.0)
    kit.leases.used("s", call)
    kit.clock.pass_by(90.0)
    assert not kit.over
    kit.clock.pass_by(40.0)
    assert list(kit.over) == ["s"]


# -- connections ---------------------------------------------------------------------------------------


def test_addresses_as_grpc_and_the_kernel_write_them() -> None:
    assert address_of("ipv4:127.0.0.1:4711") == (b"\x7f\0\0\1", 4711)
    assert address_of("ipv6:%5B::1%5D:80") == (bytes(15) + b"\1", 80)
    assert address_of("ipv6:[::ffff:10.0.0.1]:5") == (b"\x0a\0\0\1", 5)
    assert address_of("unix:/tmp/socket") is None
    for host, family, table in (
        ("127.0.0.1", socket.AF_INET, "/proc/net/tcp"),
        ("::1", socket.AF_INET6, "/proc/net/tcp6"),
    ):
        with (
            socket.create_server((host, 0), family=family) as listener,
            socket.create_connection(listener.getsockname()[:2]) as client,
            open(table) as lines,
        ):
            there = connected_in(lines)
            assert (socket.inet_pton(family, host), client.getsockname()[1]) in there


def test_a_connection_that_cannot_be_judged_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not GrpcCaller("unix:").gone
    monkeypatch.setattr(connections, "_kernel", connections._Kernel())
    monkeypatch.setattr(connections, "_TABLES", ("/nowhere", "/nowhere"))
    assert not GrpcCaller("ipv4:10.1.2.3:4").gone


# -- sessions of clients -------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel says is asked for each time."""
    monkeypatch.setattr(connections, "_FRESH", -1.0)


def with_hands(leases: Leases) -> Hands:
    """Gives leases another clock."""
    clock = Hands()
    leases._clock, leases._submit = clock, lambda work: work()
    return clock


@pytest.fixture
def graph() -> Iterator[Graph]:
    with Graph().as_default() as made:
        variable("v", np.float32([1, 2]))
        yield made


def leave(client: Client) -> None:
    """Goes without closing the session, as a client that dies."""
    client._open = False
    client._disconnect()


@pytest.mark.parametrize("plane", ["direct", "off"])
def test_the_session_of_a_client_that_does_not_come_back(
    graph: Graph, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, plane: str
) -> None:
    if plane == "off":
        monkeypatch.setenv("FLOWMESH_DIRECT_PLANE", "off")
    with Server.create_local_server() as server:
        clock = with_hands(server._master.leases)
        client = Client(server.target, graph, config(rpc=True))
        client.run(targets=["v/init"])
        (caller,) = [x.caller for x in server._master.leases._leases.values()]
        assert not caller.gone
        (session,) = map(weakref.ref, server._worker._sessions.values())
        clock.pass_by(30 * DAY)
        assert server._worker.session_handles() == [client.handle]
        leave(client)
        eventually(lambda: caller.gone)
        clock.pass_by(0.9 * DAY)
        clock.pass_by(1.1 * DAY)
        assert not server._worker.session_handles()
        assert f"Session {client.handle} of a client is closed: it was not used for" in caplog.text
        gc.collect()
        assert session() is None
        with Client(server.target, graph, config(rpc=True)) as other:
            assert list(other.run("v/read:0")) == [1, 2]
            other.handle, mine = client.handle, other.handle
            with pytest.raises(
                errors.AbortedError,
                match=f"Session {client.handle} is not found. It was ended here: it was not used",
            ):
                other.run("v/read:0")
            other.handle = mine


def test_a_session_with_a_step_under_way_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kinds: dict[str, Any] = {"component_types": [np.float32]}
    with Graph().as_default() as graph:
        queue = raw.FIFOQueueV2(**kinds, shared_name="q", name="q")
        raw.QueueDequeueV2(queue, **kinds, name="block")
        raw.QueueEnqueueV2(queue, [np.float32(3)], name="go")
        raw.QueueSizeV2(queue, name="size")
    monkeypatch.setattr(GrpcCaller, "gone", property(lambda self: True))
    monkeypatch.setenv("FLOWMESH_DIRECT_PLANE", "off")
    with Server.create_local_server() as server:
        clock = with_hands(server._master.leases)
        with Client(server.target, graph, config(rpc=True)) as client:
            client.run("size:0")
            join = in_thread(lambda: client.run("block:0"))
            eventually(lambda: bool(server._worker.step_ids()))
            clock.pass_by(30 * DAY)
            client.run(targets=["go"])
            assert join() == 3
            clock.pass_by(0.5 * DAY)
            assert client.run("size:0") == 0
            clock.pass_by(2 * DAY)
            with pytest.raises(errors.AbortedError, match="is not found"):
                client.run("size:0")


def test_sessions_of_this_process_have_no_lease(graph: Graph) -> None:
    with Server.create_local_server() as server, Client(server.target, graph) as client:
        clock = with_hands(server._master.leases)
        client.run(targets=["v/init"])
        clock.pass_by(30 * DAY)
        assert clock.idle and list(client.run("v/read:0")) == [1, 2]


# -- what masters have on workers ------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["gone", "restarted", "lives"])
def test_a_master_is_asked_before_its_session_is_forgotten(
    graph: Graph, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    with graph.device("/job:ps/task:0"):
        raw.Neg(np.float32(2), name="there")
    with cluster(ps=1, worker=1) as servers:
        ps = servers["ps:0"]._worker
        clock = with_hands(ps.leases)
        with Client(servers["worker:0"].target, graph) as client:
            assert client.run("there:0") == -2
            session = ps._sessions[client.handle]
            (lease,) = ps.leases._leases.values()
            assert lease.caller is servers["ps:0"]._plane.link(servers["worker:0"]._plane.identity)
            clock.pass_by(30 * DAY)  # connected: nobody asks
            lease.caller = Caller()
            lease.caller.gone = True
            if how == "restarted":
                session.master = (session.master[0], session.master[1] + 1)
            elif how == "gone":
                servers["worker:0"].stop()
                ps._sessions[client.handle] = session  # as if it had died
                ps.leases.session_opened(client.handle, lease.caller)
            clock.pass_by(1.5 * DAY)
            if how == "lives":
                eventually(lambda: client.handle in ps.leases._leases)
                assert client.run("there:0") == -2
                assert not ps.leases.why(client.handle)
                return
            eventually(lambda: not ps.session_handles())
            assert f"Session {client.handle} of /job:worker/replica:0/task:0 is forg" in caplog.text
            if how == "restarted":
                with pytest.raises(
                    errors.AbortedError,
                    match=r"(?s)Session handle is not found: .* just restarted\. It was ended here",
                ):
                    client.run("there:0")


def test_graphs_of_masters_without_a_session(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Old masters of TensorFlow register them so."""
    from flowmesh.distributed.transport.worker_service import WorkerService

    class Call:
        caller = Caller()
        alive = True

        def on_cancel(self, callback: Callable[[], object]) -> None: ...

        def header(self, name: str) -> str:
            return ""

    call = Call()
    with Server.create_local_server() as server:
        clock = with_hands(server._worker.leases)
        service = WorkerService(server._worker)
        made = service.RegisterGraph(worker_pb2.RegisterGraphRequest(session_handle="x"), call)
        run = worker_pb2.RunGraphRequest(graph_handle=made.graph_handle, step_id=7)
        service.RunGraph(run, call)
        clock.pass_by(30 * DAY)
        service.RunGraph(run, call)
        call.caller.gone = True
        clock.pass_by(0.5 * DAY)
        service.RunGraph(run, call)
        clock.pass_by(0.9 * DAY)
        service.RunGraph(run, call)
        clock.pass_by(1.5 * DAY)
        assert not server._worker._default._graphs
        assert f"Graph {made.graph_handle} of a master without session is forgotten" in caplog.text
        with pytest.raises(errors.AbortedError, match="Graph handle is not found"):
            service.RunGraph(run, call)
        again = service.RegisterGraph(worker_pb2.RegisterGraphRequest(session_handle="x"), call)
        service.DeregisterGraph(
            worker_pb2.DeregisterGraphRequest(graph_handle=again.graph_handle), call
        )
        assert not server._worker.leases._leases


def test_a_restarted_master_is_known_by_its_steps(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "flowmesh.distributed.worker")
    spec = cluster_spec(ps=1, worker=1)
    with Server(spec, "ps", 0) as server:
        worker = server._worker
        master = "/job:worker/replica:0/task:0"
        for handle, incarnation in (("old", 5), ("other", 6)):
            worker.create_worker_session(handle, None, False, master=(master, incarnation)).result()
        worker._unended._restarted((master, 6))
        assert worker.session_handles() == ["other"]
        assert f"Session old is forgotten: its master {master} was restarted" in caplog.text


def test_leases_are_those_of_the_servers_config() -> None:
    patient = config()
    patient.experimental.flowmesh.session_lease_in_ms = 2000
    with Server.create_local_server(config=patient) as server:
        assert isinstance(server._worker.leases, MasterLeases)
        assert server._worker.leases._seconds == server._master.leases._seconds == 2.0
