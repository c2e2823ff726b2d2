"""What clients and masters of TensorFlow leave on Flowmesh's servers when they do not come back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flowmesh.distributed.leases import Leases
from flowmesh.distributed.server import Server
from flowmesh.distributed.transport import connections
from flowmesh.distributed.transport.connections import GrpcCaller
from tests.clock import Hands
from tests.distributed.clusters import eventually
from tests.interop import harness
from tests.ports import free_ports

DAY = 24 * 3600.0


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel says is asked for each time."""
    monkeypatch.setattr(connections, "_FRESH", -1.0)


@pytest.fixture
def start() -> Iterator[Callable[..., Any]]:
    """Starts processes, which end with the test."""
    started: list[harness.Process] = []

    def begin(kind: str, *args: str) -> Any:
        if harness.interpreter(kind) is None:
            pytest.skip(harness.missing(kind))
        made = harness.Process(kind, "server.py", *args) if args else harness.Client(kind)
        started.append(made)
        return made

    yield begin
    for process in started:
        process.stop()


def with_hands(leases: Leases) -> Hands:
    """Gives leases another clock."""
    clock = Hands()
    leases._clock, leases._submit = clock, lambda work: work()
    return clock


SHARED = {"workers": False, "isolated": False}


@pytest.mark.parametrize("kind", ["tf115", "tf2"])
def test_a_client_that_dies(start: Callable[..., Any], kind: str) -> None:
    port = free_ports(1)[0]
    with Server({"ps": [f"localhost:{port}"]}, "ps", 0) as server:
        clock = with_hands(server._master.leases)
        client = start(kind)
        client.run("leave_session", server.target, "left", extra=SHARED)
        (lease,) = server._master.leases._leases.values()
        clock.pass_by(30 * DAY)
        assert client.run("come_back", server.target, "left")["data"] == [3.0, 4.0]
        client.stop()
        eventually(lambda: lease.caller.gone)
        clock.pass_by(2.5 * DAY)
        assert not server._worker.session_handles()


def test_a_client_that_comes_back_too_late(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_ports(1)[0]
    with Server({"ps": [f"localhost:{port}"]}, "ps", 0) as server:
        clock = with_hands(server._master.leases)
        client = start("tf115")
        client.run("leave_session", server.target, "left", extra=SHARED)
        with monkeypatch.context() as patch:
            patch.setattr(GrpcCaller, "gone", property(lambda self: True))
            clock.pass_by(2.5 * DAY)
        kind, text = client.run("come_back", server.target, "left")
        assert kind == "AbortedError"
        assert "is not found. It was ended here: it was not used for" in text
        seen = client.run("look", server.target, "left")
        assert seen[0]["data"] == [2.0, 3.0]  # the variables are still there


@pytest.mark.parametrize("isolated", [False, True])
def test_a_master_that_dies(start: Callable[..., Any], isolated: bool) -> None:
    """TensorFlow's worker is the master, Flowmesh's parameter server has its session."""
    ports = free_ports(2)
    spec = {"ps": [f"localhost:{ports[0]}"], "worker": [f"localhost:{ports[1]}"]}
    with Server(spec, "ps", 0) as server:
        worker = server._worker
        clock = with_hands(worker.leases)
        master = start("tf115", json.dumps(spec), "worker", "0")
        target = master.line(harness.START_SECONDS).split()[1]
        client = start("tf115")
        client.run("leave_session", target, "left", extra={"workers": True, "isolated": isolated})
        assert len(worker.session_handles()) == 1
        callers = [lease.caller for lease in worker.leases._leases.values()]
        clock.pass_by(30 * DAY)
        client.run("come_back", target, "left")
        assert callers and not any(caller.gone for caller in callers)
        master.stop()
        eventually(lambda: all(caller.gone for caller in callers))
        clock.pass_by(2.5 * DAY)
        assert not worker.session_handles() and not worker.leases._leases
