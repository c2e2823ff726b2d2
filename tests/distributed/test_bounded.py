"""Bounded time and named causes: deadlines over everything, reasons of silence, stopping, and what is left behind."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import pytest

from flowmesh.client.session import Session
from flowmesh.core import dtypes, errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.deadline import Deadline
from flowmesh.distributed import futures
from flowmesh.distributed.diagnosis import diagnose
from flowmesh.distributed.server import Server
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.proto import config_pb2
from tests.distributed.clusters import Client, cluster, cluster_spec, config, free_ports, in_thread


@contextmanager
def listener(says: bytes | None, closes: bool = False) -> Iterator[str]:
    """Something that listens: says a few bytes to whoever comes, closes the connection, or neither."""
    held = []
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = sock.accept()
                    held.append(connection)
                    if says is not None:
                        connection.recv(64)
                        connection.sendall(says)
                    if closes:
                        connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{sock.getsockname()[1]}"
        finally:
            sock.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in held:
                connection.close()


@pytest.mark.parametrize(
    ("says", "closes", "text"),
    [
        (None, False, "connected, but the server does not answer"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False, "it says 'HTTP/1.1 400 Bad Request'"),
        (b"SSH-2.0-OpenSSH_9\r\n", False, "not a Flowmesh or TensorFlow server"),
        (b"\x15\x03\x03\x00\x02\x02\x46", False, "wants TLS"),
        (None, True, "closes connections at once"),
    ],
)
def test_what_listens_there_is_told(says: bytes | None, closes: bool, text: str) -> None:
    with listener(says, closes) as address:
        assert text in diagnose(address, {})


def test_a_flowmesh_server_that_does_not_answer_is_told_from_others() -> None:
    with Server.create_local_server() as server:
        assert "does not answer" in diagnose(server.target.removeprefix("grpc://"), {})


def test_a_proxy_in_the_environment_is_mentioned_and_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxied = {"HTTP_PROXY": "http://proxy.invalid:3128"}
    assert "HTTP_PROXY names is not used" in diagnose("no-such-host.invalid:1", proxied)
    assert "proxy" not in diagnose(f"127.0.0.1:{free_ports(1)[0]}", proxied)
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://proxy.invalid:3128")
    monkeypatch.setenv("no_proxy", "")
    with Graph().as_default() as graph, Server.create_local_server() as server:
        raw.Neg(np.float32(2), name="n")
        with Client(server.target, graph, config(rpc=True)) as client:
            assert client.run("n:0") == -2


def test_the_timeout_of_a_run_holds_while_the_session_is_made() -> None:
    with Graph().as_default() as graph, listener(None) as address:
        tensor = raw.Neg(np.float32(2), name="n")
        options = config_pb2.RunOptions(timeout_in_ms=300)
        with Session(f"grpc://{address}", graph=graph) as session:
            began = time.monotonic()
            with pytest.raises(errors.DeadlineExceededError, match=f"the server at {address}"):
                session.run(tensor, options=options)
            assert time.monotonic() - began < 8


def test_operation_timeout_bounds_connecting() -> None:
    with Graph().as_default() as graph:
        tensor = raw.Neg(np.float32(2), name="n")
        address = f"localhost:{free_ports(1)[0]}"
        settings = config(operation_timeout_in_ms=300)
        with (
            Session(f"grpc://{address}", graph=graph, config=settings) as session,
            pytest.raises(errors.UnavailableError, match=r"within 0\.3 s .*refused"),
        ):
            session.run(tensor)


def test_a_lock_that_another_thread_holds_is_waited_for_until_the_deadline() -> None:
    lock = threading.Lock()
    with (
        futures.held(lock, Deadline(), "nobody"),
        pytest.raises(errors.DeadlineExceededError, match="Still waiting for somebody"),
        futures.held(lock, Deadline.after(0.01), "somebody"),
    ):
        raise AssertionError("the lock was free")
    assert not lock.locked()


# -- stopping ------------------------------------------------------------------------------------------


def test_steps_under_way_may_end_and_new_ones_are_refused() -> None:
    kinds = {"component_types": [dtypes.float32]}
    with Graph().as_default() as graph:
        queue = raw.FIFOQueueV2(**kinds, shared_name="q", name="q")
        raw.QueueDequeueV2(queue, **kinds, name="block")
        raw.QueueEnqueueV2(queue, [np.float32(3)], name="go")
        raw.QueueSizeV2(queue, name="size")
    server = Server.create_local_server()
    with Client(server.target, graph, config(rpc=True)) as client:
        client.run("size:0")
        join = in_thread(lambda: client.run("block:0"))
        while not server._worker.step_ids():
            threading.Event().wait(0.01)
        stop = in_thread(lambda: server.stop(grace=20))
        while server._worker._refusal is None:
            threading.Event().wait(0.01)
        with pytest.raises(errors.UnavailableError, match="is stopping"):
            client.run("size:0")
        began = time.monotonic()
        _enqueue(server, np.float32(3))
        assert join() == 3
        stop()
        assert time.monotonic() - began < 15


def _enqueue(server: Server, value: np.float32) -> None:
    """Past the refusal: as a step that was under way would."""
    from flowmesh.resources.queues import Queue

    queue = server._worker.resources.lookup("", "q", Queue)
    queue.enqueue([value], CancellationManager()).result(5)


JOIN = """
import os, signal, threading
from flowmesh.distributed.server import Server
server = Server.create_local_server()
print(server.target, flush=True)
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
try:
    server.join()
finally:
    print("left", flush=True)
"""


def test_sigterm_ends_join_and_stops_the_server() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", JOIN], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2])
        out, _ = process.communicate(timeout=20)
        assert out == "left\n"
        assert process.returncode == 128 + signal.SIGTERM
    with Server({"a": [f"localhost:{port}"]}):
        pass


def test_ports_are_free_at_once() -> None:
    spec = cluster_spec(ps=1, worker=1)
    with Graph().as_default() as graph, graph.device("/job:ps/task:0"):
        raw.Neg(np.float32(2), name="n")
    for _ in range(3):
        with (
            Server(spec, "ps", 0),
            Server(spec, "worker", 0) as worker,
            Client(worker.target, graph, config(rpc=True)) as client,
        ):
            assert client.run("n:0") == -2


def _open_files() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0


@pytest.mark.slow
def test_200_starts_and_stops_leave_nothing() -> None:
    with Graph().as_default() as graph:
        with graph.device("/job:b/task:0"):
            raw.Neg(np.float32(2), name="n")
        with graph.device("/job:a/task:0"):
            raw.Neg(graph.get_tensor_by_name("n:0"), name="m")

    def once() -> None:
        with (
            cluster(a=1, b=1) as servers,
            Client(servers["a:0"].target, graph, config(rpc=True)) as client,
        ):
            assert client.run("m:0") == 2

    for _ in range(20):
        once()
    threads, files = threading.active_count(), _open_files()
    for _ in range(180):
        once()
    assert threading.active_count() <= threads + 3
    assert _open_files() <= files + 6


INTERRUPT = """
import os, signal, sys, threading
import flowmesh as tf
signal.signal(signal.SIGINT, signal.default_int_handler)
target = "" if sys.argv[1] == "local" else tf.train.Server.create_local_server().target
queue = tf.FIFOQueue(1, [tf.float32], shared_name="queue")
element = queue.dequeue()
def interrupt():
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
with tf.Session(target) as session:
    value = tf.py_func(interrupt, [], [])
    with tf.control_dependencies([value]):
        blocked = tf.group(queue.dequeue())
    session.run(queue.size())
    try:
        session.run(blocked)
    except KeyboardInterrupt:
        print("interrupted")
    print(session.run(queue.size()))
"""


@pytest.mark.parametrize("where", ["local", "server"])
def test_ctrl_c_ends_a_blocked_run_in_this_process(where: str) -> None:
    """And the session goes on."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPT, where],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "interrupted\n0\n", done.stderr
    assert done.returncode == 0
