"""Who waits long is told for whom, where and why: a line for each cause."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import numpy as np
import pytest

from flowmesh.core import errors
from flowmesh.distributed.server import Server
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from tests.distributed.clusters import Client, cluster_spec, config, free_ports
from tests.distributed.test_bounded import listener

PS = "/job:ps/replica:0/task:0"


@contextmanager
def nobody() -> Iterator[str]:
    yield f"127.0.0.1:{free_ports(1)[0]}"


@contextmanager
def no_name() -> Iterator[str]:
    yield "no-such-host.invalid:2222"


@contextmanager
def full() -> Iterator[str]:
    """A port whose queue is full: the kernel drops what else comes, as a firewall would."""
    with ExitStack() as stack:
        sock = stack.enter_context(socket.socket())
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        for _ in range(8):
            caller = stack.enter_context(socket.socket())
            caller.settimeout(0.3)
            try:
                caller.connect(sock.getsockname())
            except TimeoutError:
                break
        else:
            pytest.skip("this system queues more")
        yield f"127.0.0.1:{sock.getsockname()[1]}"


CAUSES = [
    (no_name, "host name 'no-such-host.invalid' does not resolve"),
    (nobody, "connection refused: no server listens there"),
    (full, "connecting timed out: the host is down, or a firewall drops packets"),
    (lambda: listener(None), "connected, but the server does not answer"),
    (
        lambda: listener(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        "not a Flowmesh or TensorFlow server: it says 'HTTP/1.1 400",
    ),
    (lambda: listener(b"", closes=True), "it closes connections at once"),
]
NAMES = ["name", "refused", "timed out", "silent", "stranger", "closes"]


@pytest.mark.parametrize(("where", "why"), CAUSES, ids=NAMES)
@pytest.mark.parametrize("who", ["server", "client"])
def test_the_line_says_who_is_waited_for_where_and_why(
    where: AbstractContextManager[str], why: str, who: str, capsys: pytest.CaptureFixture
) -> None:
    settings = config()
    settings.experimental.flowmesh.connect_timeout_in_ms = 1500
    settings.experimental.flowmesh.wait_log_after_secs = 0.1
    with ExitStack() as stack:
        address = stack.enter_context(where())  # type: ignore[operator]
        if who == "server":
            spec = {**cluster_spec(worker=1), "ps": [address]}
            target = stack.enter_context(Server(spec, "worker", 0)).target
            whom = PS
        else:
            target = f"grpc://{address}"
            whom = "the server"
        with Graph().as_default() as graph:
            raw.Neg(np.float32(2), name="n")
        with pytest.raises((errors.UnavailableError, errors.DeadlineExceededError)) as caught:
            Client(target, graph, settings)
    text = f"{whom} at {address} ({why}"
    assert text in caught.value.message
    lines = [line for line in capsys.readouterr().err.splitlines() if "still waiting" in line]
    assert any(text in line for line in lines), lines


def test_the_line_says_that_the_proxy_of_the_environment_is_not_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.invalid:3128")
    settings = config()
    settings.experimental.flowmesh.connect_timeout_in_ms = 500
    settings.experimental.flowmesh.wait_log_after_secs = 0.1
    with pytest.raises(errors.UnavailableError):
        Client("grpc://no-such-host.invalid:2222", Graph(), settings)
    told = capsys.readouterr().err
    assert "still waiting" in told
    assert "the proxy that https_proxy names is not used within a cluster" in told
