"""Silent peers: who waits for them is told, and nobody else is troubled."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from flowmesh.core import errors
from flowmesh.core.deadline import Deadline
from flowmesh.distributed import futures
from flowmesh.distributed.heartbeat import Heartbeat, Rhythm, rhythm_of
from flowmesh.distributed.server import Server
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.proto import config_pb2
from tests.clock import Hands
from tests.distributed.clusters import Client, cluster_spec, config, in_thread, variable
from tests.distributed.test_processes import Processes

QUICK = Rhythm(0.02, 0.1)


class Peer:
    """Answers questions as it is told to; counts them."""

    def __init__(self, answer: Any, progress: Callable[[], Any] | None = None):
        self.answer = answer
        self.asked = 0
        self.lost: list[float] = []
        self.clock = Hands()
        self.heartbeat = Heartbeat(
            "a peer", QUICK, self.ping, self.lost.append, progress, self.clock
        )

    def ping(self, deadline: Deadline) -> Future[Any]:
        self.asked += 1
        if self.answer is None:
            return Future()
        if isinstance(self.answer, Exception):
            return futures.failed(self.answer)
        return futures.done(self.answer)


@pytest.mark.parametrize("answer", ["here", errors.UnimplementedError(None, None, "what?")])
def test_a_peer_that_answers_is_left_alone(answer: Any) -> None:
    peer = Peer(answer)
    peer.heartbeat.begin()
    peer.clock.pass_by(30.0)
    assert not peer.lost
    assert peer.asked == pytest.approx(30.0 / QUICK.interval, abs=2)
    peer.heartbeat.close()
    assert peer.clock.idle


@pytest.mark.parametrize("answer", [None, errors.UnavailableError(None, None, "gone")])
def test_a_silent_peer_is_given_up(answer: Any, capsys: pytest.CaptureFixture) -> None:
    peer = Peer(answer)
    peer.heartbeat.begin()
    peer.clock.pass_by(QUICK.timeout - 0.001)
    assert not peer.lost
    peer.clock.pass_by(0.002)
    assert peer.lost == [pytest.approx(QUICK.timeout)]
    assert "a peer has shown no sign of life" in capsys.readouterr().err
    peer.clock.pass_by(2 * QUICK.timeout)
    assert peer.lost == [pytest.approx(QUICK.timeout)] * 3  # once per silence
    peer.heartbeat.close()
    assert peer.clock.idle


def test_a_peer_that_falls_silent_is_given_up_from_its_last_answer_on() -> None:
    peer = Peer("here")
    peer.heartbeat.begin()
    peer.clock.pass_by(1.0)
    peer.answer = None
    peer.clock.pass_by(QUICK.timeout - QUICK.interval)
    assert not peer.lost
    peer.clock.pass_by(2 * QUICK.interval)
    assert peer.lost == [pytest.approx(QUICK.timeout, abs=QUICK.interval)]
    peer.heartbeat.close()


def test_progress_is_a_sign_of_life() -> None:
    moves = itertools.count()
    peer = Peer(None, lambda: next(moves))
    peer.heartbeat.begin()
    peer.clock.pass_by(30.0)
    assert not peer.lost
    peer.heartbeat.close()


def test_nobody_is_asked_when_nobody_waits() -> None:
    peer = Peer("here")
    peer.heartbeat.begin()
    peer.heartbeat.end()
    peer.clock.pass_by(30.0)
    assert not peer.lost
    assert peer.asked == 0
    assert peer.clock.idle
    assert not peer.heartbeat._ticking


def test_a_heartbeat_runs_by_the_clock_of_the_process() -> None:
    lost = threading.Event()
    heartbeat = Heartbeat("a peer", QUICK, lambda deadline: Future(), lambda seconds: lost.set())
    heartbeat.begin()
    assert lost.wait(30)
    heartbeat.close()


def test_what_a_config_asks_for() -> None:
    assert rhythm_of(None) == Rhythm(3.0, 12.0)
    settings = config_pb2.ConfigProto()
    assert rhythm_of(settings) == Rhythm(3.0, 12.0)
    settings.experimental.flowmesh.heartbeat_timeout_in_ms = 4000
    assert rhythm_of(settings) == Rhythm(1.0, 4.0)
    settings.experimental.flowmesh.heartbeat_interval_in_ms = 100
    assert rhythm_of(settings) == Rhythm(0.1, 4.0)
    settings.experimental.flowmesh.heartbeat_timeout_in_ms = -1
    assert rhythm_of(settings).timeout < 0


def _impatient() -> Any:
    settings = config()
    settings.experimental.flowmesh.heartbeat_timeout_in_ms = 800
    settings.experimental.flowmesh.heartbeat_interval_in_ms = 150
    return settings


@pytest.mark.parametrize("plane", ["on", "off"])
def test_a_stopped_process_fails_the_step_that_needs_it_and_no_other(
    monkeypatch: pytest.MonkeyPatch, plane: str, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("FLOWMESH_DIRECT_PLANE", plane)
    with ExitStack() as stack, Graph().as_default() as graph:
        processes = Processes(stack, ps=2)
        spec = {**processes.spec, **cluster_spec(worker=1)}
        variable("a", np.float32([1]), "/job:ps/task:0")
        variable("b", np.float32([2]), "/job:ps/task:1")
        server = stack.enter_context(Server(spec, "worker", 0, config=_impatient()))
        client = stack.enter_context(Client(server.target, graph))
        client.run(targets=["a/init", "b/init"])
        client.run("b/read:0")
        client.run("a/read:0")
        with processes.stopped("ps:0"):
            began = time.monotonic()
            join = in_thread(lambda: client.run("a/read:0"))
            np.testing.assert_array_equal(client.run("b/read:0"), [2])
            with pytest.raises(errors.UnavailableError) as caught:
                join()
            assert time.monotonic() - began < 5
            message = caught.value.message
            assert "/job:ps/replica:0/task:0 at localhost:" in message
            assert "no sign of life" in message
            np.testing.assert_array_equal(client.run("b/read:0"), [2])


def test_a_stopped_master_is_reported_to_its_client() -> None:
    with ExitStack() as stack, Graph().as_default() as graph:
        processes = Processes(stack, worker=1)
        raw.Neg(np.float32(1), name="n")
        client = stack.enter_context(Client(processes.target("worker", 0), graph, _impatient()))
        assert client.run("n:0") == -1
        with (
            processes.stopped("worker:0"),
            pytest.raises(errors.UnavailableError, match=r"the server at .*no sign of life"),
        ):
            client.run("n:0")


def test_idle_servers_cost_nothing() -> None:
    with Graph().as_default() as graph, Server.create_local_server() as server:
        raw.Neg(np.float32(1), name="n")
        with Client(server.target, graph, config(rpc=True)) as client:
            client.run("n:0")
            before = time.process_time()
            threading.Event().wait(1.0)
            assert time.process_time() - before < 0.02
