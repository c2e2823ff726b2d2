"""`Server`: which task it is, where it listens, how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest

from flowmesh.core import errors
from flowmesh.core.cluster_spec import ClusterSpec
from flowmesh.distributed import cluster_target
from flowmesh.distributed.server import Server
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.proto import config_pb2, tensorflow_server_pb2
from tests.distributed.clusters import Client, cluster_spec, config, free_ports, in_thread


@pytest.mark.parametrize(
    ("cluster", "arguments", "kind", "text"),
    [
        (
            {"a": ["localhost:0"], "b": ["localhost:0"]},
            {},
            ValueError,
            "Must specify an explicit `job_name`.",
        ),
        (
            {"a": ["localhost:0", "localhost:0"]},
            {},
            ValueError,
            "Must specify an explicit `task_index`.",
        ),
        (3, {}, TypeError, "Could not convert `server_or_cluster_def` to a `tf.train.ServerDef`"),
        (
            {"a": ["localhost:0"]},
            {"job_name": "z"},
            errors.InternalError,
            'Job "z" was not defined in cluster',
        ),
        (
            {"a": ["localhost:0"]},
            {"job_name": "a", "task_index": 7},
            errors.InvalidArgumentError,
            'Task 7 was not defined in job "a"',
        ),
        (
            {"a": ["localhost:0"]},
            {"protocol": "foo"},
            errors.NotFoundError,
            "No server factory registered for the given ServerDef",
        ),
        (
            {"a": ["localhost"]},
            {},
            errors.InvalidArgumentError,
            'Could not parse port for local server from "localhost".',
        ),
        (tensorflow_server_pb2.ServerDef(), {}, errors.NotFoundError, "No server factory"),
    ],
)
def test_arguments_that_do_not_fit(cluster: object, arguments: dict, kind: type, text: str) -> None:
    with pytest.raises(kind) as caught:
        Server(cluster, **arguments)
    assert text in str(caught.value)


def test_job_and_task_are_inferred() -> None:
    with Server({"a": ["localhost:0"]}, start=False) as server:
        definition = server.server_def
        assert (definition.job_name, definition.task_index, definition.protocol) == ("a", 0, "grpc")
        assert definition.cluster == ClusterSpec({"a": ["localhost:0"]}).as_cluster_def()
    with Server({"a": {3: "localhost:0"}}, start=False) as server:
        assert server.server_def.task_index == 3


def test_a_server_def_can_be_given_and_changed() -> None:
    definition = tensorflow_server_pb2.ServerDef(job_name="a", task_index=0, protocol="grpc")
    definition.cluster.CopyFrom(
        ClusterSpec({"a": ["localhost:0"], "b": ["localhost:0"]}).as_cluster_def()
    )
    with Server(definition, job_name="b", config=config(log_device_placement=True)) as server:
        assert server.server_def.job_name == "b"
        assert server.server_def.default_session_config.log_device_placement
    assert definition.job_name == "a"


def test_local_server() -> None:
    with Server.create_local_server() as server:
        assert server.server_def.job_name == "local"
        assert server.target.startswith("grpc://localhost:")
        with Graph().as_default() as graph:
            raw.Neg(np.float32(2), name="n")
        with Client(server.target, graph) as client:
            assert client.run("n:0") == -2
            assert client.master is server._master
        with Client(server.target.replace("localhost", "127.0.0.1"), graph) as client:
            assert client.master is server._master
        with Client(server.target, graph, config(rpc=True)) as client:
            assert client.master is not server._master


def test_devices_come_from_the_servers_config() -> None:
    settings = config_pb2.ConfigProto(device_count={"CPU": 2})
    with Server.create_local_server(settings) as server, Graph().as_default() as graph:
        with Client(server.target, graph) as client:
            names = [d.name for d in client.master.list_devices(client.handle)]
        assert "/job:local/replica:0/task:0/device:CPU:1" in names


def test_listens_on_the_host_of_the_cluster_only() -> None:
    with Server.create_local_server() as server:
        port = int(server.target.rpartition(":")[2])
        socket.create_connection(("127.0.0.1", port)).close()
        with socket.socket() as elsewhere:  # another loopback address is another interface
            elsewhere.settimeout(1)
            with pytest.raises(OSError):
                elsewhere.connect(("127.0.0.2", port))


def test_a_taken_port_is_explained() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(errors.UnknownError) as caught:
            Server({"a": [f"localhost:{port}"]})
    assert "Could not start gRPC server" in caught.value.message
    assert f"localhost:{port}" in caught.value.message
    assert "in use by another process" in caught.value.message
    assert f":{port}" in caught.value.message.split("Find it with: ")[1]


def test_two_servers_do_not_share_a_port() -> None:
    with Server.create_local_server() as server:
        address = server.target.removeprefix("grpc://")
        with pytest.raises(errors.UnknownError, match="in use"):
            Server({"a": [address]})


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("192.0.2.1", "192.0.2.1 is no address of this machine"),
        ("no-such-host.invalid", "host name 'no-such-host.invalid' does not resolve"),
    ],
)
def test_a_host_that_is_not_here_is_explained(host: str, text: str) -> None:
    with pytest.raises(errors.UnknownError) as caught:
        Server({"a": [f"{host}:{free_ports(1)[0]}"]})
    assert text in caught.value.message


def test_stop_frees_the_port_at_once() -> None:
    spec = cluster_spec(a=1)
    for _ in range(5):
        with Server(spec) as server, Graph().as_default() as graph:
            raw.Neg(np.float32(2), name="n")
            with Client(server.target, graph, config(rpc=True)) as client:
                client.run("n:0")


def test_states() -> None:
    server = Server.create_local_server(start=False)
    assert server.join() is False
    server.start()
    server.start()
    assert server.join(timeout=0.01) is False
    join = in_thread(server.join)
    server.stop()
    assert join() is True
    server.stop()
    with pytest.raises(errors.InvalidArgumentError, match="has stopped"):
        server.start()
    settings = config()
    settings.experimental.flowmesh.connect_timeout_in_ms = 200
    with pytest.raises(errors.UnavailableError):
        Client(server.target, Graph(), settings)


def test_start_run_stop_many_times_leaves_nothing() -> None:
    with Graph().as_default() as graph:
        raw.Neg(np.float32(2), name="n")
    files = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    for _ in range(20):
        with (
            Server.create_local_server() as server,
            Client(server.target, graph, config(rpc=True)) as client,
        ):
            client.run("n:0")
    assert threading.active_count() < 20
    if files:
        assert len(os.listdir("/proc/self/fd")) < files + 12


@pytest.mark.parametrize("target", ["local", "foo://bar", "grpc//x:1", "localhost:2222"])
def test_targets_that_do_not_exist(target: str) -> None:
    with pytest.raises(errors.NotFoundError) as caught:
        cluster_target.connect(target, config_pb2.ConfigProto(device_count={"CPU": 1}))
    assert (
        f'No session factory registered for the given session options: {{target: "{target}"'
        in caught.value.message
    )


@pytest.mark.parametrize("target", ["grpc://", "grpc://host", "grpc://host:port", "grpc://a:b:1"])
def test_malformed_targets(target: str) -> None:
    with pytest.raises(errors.InvalidArgumentError, match="Malformed address"):
        cluster_target.connect(target)


def test_reset_of_local_sessions() -> None:
    with Graph().as_default() as graph:
        raw.Neg(np.float32(2), name="n")
    with Client("", graph) as client:
        client.run("n:0")
        cluster_target.reset("")
        with pytest.raises(errors.AbortedError, match="is not found"):
            client.run("n:0")


def test_importing_and_local_sessions_need_no_grpc() -> None:
    program = (
        "import sys, numpy as np\n"
        "import flowmesh.ops\n"
        "from flowmesh.distributed import cluster_target\n"
        "from flowmesh.distributed.server import Server\n"
        "from flowmesh.graph.graph import Graph\n"
        "from flowmesh.graph.raw import raw\n"
        "with Graph().as_default() as graph: raw.Neg(np.float32(2), name='n')\n"
        "master, close = cluster_target.connect('', None)\n"
        "handle = master.create_session(graph, None, '')\n"
        "assert master.run_step(handle, [], ['n:0'], []) == [-2]\n"
        "close()\n"
        "assert 'grpc' not in sys.modules and 'jax' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


JOIN = """
import signal
from flowmesh.distributed.server import Server
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
server = Server.create_local_server()
try:
    print(server.target, flush=True)
    server.join()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_ends_join() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", JOIN], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("grpc://localhost:")
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=20)
        finally:
            process.kill()
    assert "interrupted" in rest
    assert process.returncode == 0
