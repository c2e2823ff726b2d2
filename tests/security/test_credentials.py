"""Certificates and tokens: made, kept private, asked for."""

import contextlib
import datetime
import json
import os
import select
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

import flowmesh.ops
from flowmesh.core import dtypes, errors
from flowmesh.distributed import certificates, credentials
from flowmesh.distributed.credentials import Credentials
from flowmesh.distributed.diagnosis import diagnose
from flowmesh.distributed.server import Server
from flowmesh.distributed.transport import messages
from flowmesh.distributed.transport.direct import tls
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.proto import worker_pb2
from tests.cli.commands import ENV, flowmesh, script
from tests.distributed.clusters import Client, cluster, config

x509 = pytest.importorskip("cryptography.x509")
LOCAL = {"a": ["localhost:0"]}


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the environment the tests were started in."""
    for name in (credentials.FOLDER_VARIABLE, credentials.INSECURE_VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Credentials of this machine, in force."""
    path = tmp_path / "tls"
    certificates.for_this_machine().save(path)
    monkeypatch.setenv(credentials.FOLDER_VARIABLE, str(path))
    yield path


def get_status(server: Server, made: Credentials | None, header: bool = True) -> object:
    """A call from outside; the status code, or None when it is answered."""
    address = server.target.removeprefix("grpc://")
    if made is not None and made.tls:
        secrets = grpc.ssl_channel_credentials(made.authority, made.key, made.certificate)
        channel = grpc.secure_channel(address, secrets)
    else:
        channel = grpc.insecure_channel(address)
    with channel:
        try:
            channel.unary_unary(messages.WORKER_PATHS["GetStatus"])(
                worker_pb2.GetStatusRequest().SerializeToString(),
                timeout=10,
                metadata=(made.header,) if made is not None and header else None,
            )
        except grpc.RpcError as error:
            return error.code()  # type: ignore[attr-defined]
    return None


def test_the_folder_and_its_files_are_private(tmp_path: Path) -> None:
    certificates.for_this_machine().save(tmp_path / "tls")
    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700
    names = {"ca.pem", "cert.pem", "key.pem", "token"}
    files = list((tmp_path / "tls").iterdir())
    assert {file.name for file in files} == names
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_credentials_survive_the_folder_and_hide_their_secrets(tmp_path: Path) -> None:
    made = certificates.for_this_machine()
    made.save(tmp_path)
    assert Credentials.load(tmp_path) == made
    assert made.token not in repr(made)
    assert made.key.decode() not in repr(made)


def test_making_credentials_is_quick() -> None:
    certificates.for_this_machine()  # the import, once
    began = time.process_time()
    certificates.for_this_machine()
    assert time.process_time() - began < 0.1


def test_the_certificate_names_the_machine_and_can_sign_nothing() -> None:
    authority = certificates.Authority.create(days=3)
    made = authority.issue(["ps.example.com", "10.1.2.3"], days=3)
    found = x509.load_pem_x509_certificate(made.certificate)
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "ps.example.com" in names.get_values_for_type(x509.DNSName)
    assert "10.1.2.3" in map(str, names.get_values_for_type(x509.IPAddress))
    assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    left = found.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(days=2) < left <= datetime.timedelta(days=3)


@pytest.mark.parametrize("missing", ["token", "cert.pem"])
def test_a_folder_without_a_file_is_refused_by_name(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(errors.FailedPreconditionError, match=missing):
        Server(LOCAL)


def test_a_key_that_others_can_read_is_told_of(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "key.pem").chmod(0o644)
    Credentials.load(folder)
    assert "chmod 600" in caplog.text


def test_strangers_are_turned_away(folder: Path) -> None:
    made = Credentials.load(folder)
    with Server(LOCAL) as server:
        assert get_status(server, made) is None
        assert get_status(server, None) is grpc.StatusCode.UNAVAILABLE
        assert get_status(server, made, header=False) is grpc.StatusCode.UNAUTHENTICATED
        assert get_status(server, certificates.for_this_machine()) is grpc.StatusCode.UNAVAILABLE


def test_a_token_alone_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = certificates.token_only()
    made.save(tmp_path / "token-only")
    monkeypatch.setenv(credentials.FOLDER_VARIABLE, str(tmp_path / "token-only"))
    with Server(LOCAL) as server:
        assert get_status(server, made) is None
        assert get_status(server, certificates.token_only()) is grpc.StatusCode.UNAUTHENTICATED
        assert get_status(server, None) is grpc.StatusCode.UNAUTHENTICATED


def test_who_has_other_credentials_or_none_is_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates.for_this_machine().save(tmp_path / "other")
    with Server(LOCAL) as server:
        address = server.target.removeprefix("grpc://")
        monkeypatch.delenv(credentials.FOLDER_VARIABLE)
        assert "wants TLS (set FLOWMESH_TLS_DIR" in diagnose(address)
        monkeypatch.setenv(credentials.FOLDER_VARIABLE, str(tmp_path / "other"))
        assert "of another cluster" in diagnose(address)
    monkeypatch.delenv(credentials.FOLDER_VARIABLE)
    with Server(LOCAL) as server:
        address = server.target.removeprefix("grpc://")
        assert "TLS" not in diagnose(address)
        monkeypatch.setenv(credentials.FOLDER_VARIABLE, str(folder))
        assert "it speaks no TLS" in diagnose(address)


@pytest.mark.parametrize("plane", ["", "tcp", "off"])
def test_a_cluster_with_credentials_computes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, plane: str
) -> None:
    monkeypatch.setenv("FLOWMESH_DIRECT_PLANE", plane)
    with cluster(ps=1, worker=1) as servers, Graph().as_default() as graph:
        with graph.device("/job:ps"):
            big = raw.Fill(np.array([3_000_000], np.int32), np.float32(1.0))
            half = raw.Mul(big, np.float32(0.5))
        with graph.device("/job:worker"):
            total = raw.Sum(half, np.array([0], np.int32))
        client = Client(servers["worker:0"].target, graph, config(rpc=True))
        try:
            for _ in range(3):
                assert client.run(total.name) == 1_500_000.0
            assert client.run(half.name).shape == (3_000_000,)
        finally:
            client.close()


def test_tls_sockets_carry_what_the_socket_does_not_take_at_once(folder: Path) -> None:
    made = credentials.from_environment()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        outgoing = socket.create_connection(listener.getsockname())
        incoming, _ = listener.accept()
    script_ = """
import socket, sys
from flowmesh.distributed.transport.direct import tls
connection = tls.secure(socket.socket(fileno=int(sys.argv[1])), 10.0)
total, buffer = 0, bytearray(1 << 16)
digest = __import__("hashlib").sha256()
while size := connection.recv_into(memoryview(buffer)):
    digest.update(buffer[:size])
print(digest.hexdigest())
"""
    assert made is not None
    with subprocess.Popen(
        [sys.executable, "-c", script_, str(incoming.fileno())],
        env={**ENV, credentials.FOLDER_VARIABLE: str(folder)},
        pass_fds=[incoming.fileno()],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        incoming.close()
        data = np.random.default_rng(0).bytes(8 << 20)
        connection = tls.secure(outgoing, 10.0, "127.0.0.1")
        rest = memoryview(data)
        while rest:
            select.select([], [connection], [], 30.0)
            with contextlib.suppress(BlockingIOError):
                rest = rest[connection.sendmsg([rest[: 1 << 20], rest[1 << 20 :]]) :]
        connection.shutdown(socket.SHUT_WR)
        out, _ = process.communicate(timeout=60)
        connection.close()
    assert out.strip() == __import__("hashlib").sha256(data).hexdigest()


# -- interfaces that others can reach ----------------------------------------------------------------------


def own_address() -> str:
    """An address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            found = str(probe.getsockname()[0])
        except OSError:
            found = "127.0.0.1"
    if found.startswith("127."):
        pytest.skip("this machine has no network")
    return found


def test_other_interfaces_need_credentials_or_a_word(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    exposed = {"a": [f"{own_address()}:0"]}
    with pytest.raises(errors.FailedPreconditionError, match=r"flowmesh certs.*--insecure"):
        Server(exposed)
    with Server(exposed, insecure=True):
        assert f"INSECURE: /job:a/replica:0/task:0 listens on {own_address()}" in caplog.text
    monkeypatch.setenv(credentials.INSECURE_VARIABLE, "1")
    with Server(exposed) as server:
        assert get_status(server, None) is None


def test_other_interfaces_are_fine_with_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    certificates.Authority.create().issue([own_address()]).save(tmp_path / "tls")
    monkeypatch.setenv(credentials.FOLDER_VARIABLE, str(tmp_path / "tls"))
    with Server({"a": [f"{own_address()}:0"]}) as server, Graph().as_default() as graph:
        client = Client(server.target, graph, config(rpc=True))
        answer = raw.Const(value=np.int32(4), dtype=dtypes.int32)
        assert client.run(answer.name) == 4
        client.close()
    assert "INSECURE" not in caplog.text


@pytest.mark.parametrize(
    ("interface", "loopback"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("0.0.0.0", False), ("::", False)],
)
def test_what_counts_as_loopback(interface: str, loopback: bool) -> None:
    assert credentials.is_loopback(interface) is loopback


# -- the commands --------------------------------------------------------------------------------------------


SAYS = "import os; print(os.environ['FLOWMESH_TLS_DIR'], os.path.exists(os.environ['FLOWMESH_TLS_DIR'] + '/key.pem'))"


def test_up_makes_credentials_and_takes_them_away(tmp_path: Path) -> None:
    done = flowmesh("up", "--plain", "--ps", 0, "--workers", 1, script(tmp_path, SAYS))
    path, there = done.stdout.removeprefix("worker/0 | ").split()
    assert there == "True"
    assert not os.path.exists(path)
    assert f"(TLS; clients: export FLOWMESH_TLS_DIR={path})" in done.stderr


def test_up_can_be_told_not_to(tmp_path: Path) -> None:
    done = flowmesh(
        "up", "--plain", "--insecure", "--ps", 0, "--workers", 1, script(tmp_path, SAYS)
    )
    assert done.stdout == "worker/0 | off False\n"
    assert "(no TLS)" in done.stderr


def test_certs_makes_a_folder_for_each_host_and_adds_more_later(tmp_path: Path) -> None:
    out = tmp_path / "tls"
    done = flowmesh("certs", "--out", out, "ps.example.com,10.0.0.5", "localhost")
    assert done.returncode == 0, done.stderr
    assert "export FLOWMESH_TLS_DIR" in done.stdout
    more = flowmesh("certs", "--out", out, "later")
    assert more.returncode == 0, more.stderr
    made = {name: Credentials.load(out / name) for name in ("ps.example.com", "localhost", "later")}
    assert len({each.authority for each in made.values()}) == 1
    assert len({each.token for each in made.values()}) == 1
    assert len({each.key for each in made.values()}) == 3
    assert not (out / "localhost" / "ca.key").exists()
    assert stat.S_IMODE((out / "authority" / "ca.key").stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["../up", "authority"])
def test_certs_refuses_what_is_no_host(tmp_path: Path, name: str) -> None:
    done = flowmesh("certs", "--out", tmp_path / "tls", name)
    assert done.returncode == 1
    assert "no host name" in done.stderr


def test_serve_says_what_is_missing() -> None:
    spec = json.dumps({"a": [f"{own_address()}:1"]})
    done = flowmesh("serve", "--cluster", spec, "--job", "a", "--task", 0)
    assert done.returncode == 1
    assert "--insecure" in done.stderr
