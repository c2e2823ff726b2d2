"""`Server`: one task of a cluster, with a master and a worker behind a port (TensorFlow: `tf.train.Server`)."""

from __future__ import annotations

import atexit
import errno
import logging
import signal
import socket
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from flowmesh.core import errors
from flowmesh.core.cluster_spec import ClusterSpec, join_address, split_address
from flowmesh.core.deadline import Deadline
from flowmesh.distributed.credentials import (
    check_exposure,
    from_environment,
    insecure_by_environment,
)
from flowmesh.distributed.heartbeat import rhythm_of
from flowmesh.distributed.interfaces import WorkerInterface
from flowmesh.distributed.master import Master
from flowmesh.distributed.peers import Peers, addresses_of, task_name
from flowmesh.distributed.policy import Policy
from flowmesh.distributed.transport import inproc
from flowmesh.distributed.worker import Worker
from flowmesh.proto import tensorflow_server_pb2
from flowmesh.runtime.device import make_devices

if TYPE_CHECKING:
    from flowmesh.distributed.transport.direct.plane import DirectOptions

_log = logging.getLogger(__name__)

_FAREWELL = 0.5
"""Seconds in which calls that `stop` has ended tell their callers so."""


class Server:
    """The server of one task: other tasks and clients reach its master and its worker at `target`.

    Args:
      server_or_cluster_def: a ServerDef, ClusterDef, ClusterSpec, or a dict from job names to addresses.
      job_name, task_index: which task this is; may be left out where there is only one. Override those of a ServerDef.
      protocol: "grpc".
      config: ConfigProto for the devices, and for sessions that bring none.
      start: whether to serve at once.
      insecure: whether other machines may connect without TLS; by default what FLOWMESH_INSECURE says.
      policy: what graphs of other processes may do here; by default what FLOWMESH_ALLOW_FILES, FLOWMESH_DENY_OPS and
        FLOWMESH_ALLOW_OPS say.
      direct: how it connects to other Flowmesh tasks; by default what FLOWMESH_DIRECT_PLANE and FLOWMESH_SHARED_MEMORY say.

    Listens on the host that the cluster names for the task, and on no other interface; with the credentials of the folder that
    FLOWMESH_TLS_DIR names, if it is set. Raises TypeError and ValueError for
    arguments that do not fit, NotFoundError for a protocol there is not, InvalidArgumentError or InternalError for a
    task that is not in the cluster, UnknownError when the address cannot be listened on, FailedPreconditionError when other machines
    can reach it and there are neither credentials nor `insecure`. Also a context manager that stops the server.
    """

    def __init__(
        self,
        server_or_cluster_def: Any,
        job_name: str | None = None,
        task_index: int | None = None,
        protocol: str | None = None,
        config: Any = None,
        start: bool = True,
        *,
        insecure: bool = False,
        policy: Policy | None = None,
        direct: DirectOptions | None = None,
    ) -> None:
        self._insecure = insecure or insecure_by_environment()
        self._policy = policy or Policy.from_environment()
        self._server_def = make_server_def(
            server_or_cluster_def, job_name, task_index, protocol, config
        )
        definition = self._server_def
        host, port = _own_address(definition)
        self._task = task_name(definition.job_name, definition.task_index)
        self._lock = threading.Lock()
        self._state = "new"
        self._over = threading.Event()
        default = definition.default_session_config
        devices = make_devices(definition.job_name, 0, definition.task_index, default)
        self._rhythm = rhythm_of(default)
        self._direct = direct
        self._plane: Any = None
        self._peers = self._connect_cluster(definition)
        self._worker = Worker(self._task, devices, self._peers, default, self._session_peers)
        self._master = Master(self._peers, default, self._session_peers)
        try:
            self._transport = self._bind(host, port)
        except BaseException:
            self._worker.close()
            raise
        self._address = join_address(host, self._transport.port)
        _servers.add(self)
        if start:
            self.start()

    # -- what it is ----------------------------------------------------------------------------------

    @property
    def server_def(self) -> Any:
        """The ServerDef of this task."""
        return self._server_def

    @property
    def target(self) -> str:
        """What a Session in any process is given to run on this server: "grpc://host:port"."""
        return f"grpc://{self._address}"

    def __repr__(self) -> str:
        return f"<Server {self._task} at {self._address} {self._state}>"

    # -- life ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begins to serve; without effect when it does already. InvalidArgumentError after `stop`."""
        with self._lock:
            if self._state == "started":
                return
            if self._state == "stopped":
                raise errors.InvalidArgumentError(None, None, "Server has stopped.")
            self._transport.start()
            self._state = "started"
        inproc.register(self._address, self._master)
        _log.info("Started server of %s with target: %s", self._task, self.target)

    def join(self, timeout: float | None = None) -> bool:
        """Waits until the server is stopped, for `timeout` seconds at most; whether it is. Returns at once when it was not
        started. Ctrl-C ends the wait with KeyboardInterrupt; SIGTERM, unless the program handles it, with SystemExit, so that
        the server is stopped and tells its callers before the process ends."""
        if self._state == "new":
            return False
        with _terminated():
            return self._over.wait(timeout)

    def stop(self, grace: float | None = None) -> None:
        """Ends all sessions and steps, and frees the port. Steps under way get `grace` seconds to end, while new ones are
        refused (by default just long enough to say that they were ended); nobody waits longer than they take."""
        with self._lock:
            if self._state == "stopped":
                return
            self._state = "stopped"
        _servers.discard(self)
        inproc.unregister(self._address, self._master)
        if grace:
            deadline = Deadline.after(grace)
            refusal = errors.UnavailableError(None, None, f"The server of {self._task} is stopping")
            self._master.refuse(refusal)
            self._worker.refuse(refusal)
            self._master.drain(deadline)
            self._worker.drain(deadline)
            grace = max(_FAREWELL, deadline.remaining() or 0.0)
        self._master.close()
        self._worker.close()
        self._plane.close(_FAREWELL if grace is None else grace)
        self._transport.stop(_FAREWELL if grace is None else grace)
        self._peers.close()
        self._over.set()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @staticmethod
    def create_local_server(config: Any = None, start: bool = True) -> Server:
        """A cluster of one task, "/job:local/task:0", on a free port of this machine's loopback interface."""
        return Server({"local": ["localhost:0"]}, protocol="grpc", config=config, start=start)

    # -- parts -----------------------------------------------------------------------------------------

    def _bind(self, host: str, port: int) -> Any:
        from flowmesh.distributed.transport.grpc_server import GrpcServer
        from flowmesh.distributed.transport.master_service import MasterService
        from flowmesh.distributed.transport.worker_service import WorkerService

        interface = _interface(host, port, self._task)
        if interface.startswith("127.") and host not in ("localhost", interface):
            _log.warning(
                "The name %s means %s on this machine: other machines cannot reach %s. Use a name or address of the "
                "network in the cluster specification.",
                host,
                interface,
                self._task,
            )
        exposed = check_exposure(
            self._task, join_address(host, port), interface, from_environment(), self._insecure
        )
        self._worker.policy = self._policy.without_files() if exposed else self._policy
        try:
            return GrpcServer(
                interface,
                port,
                MasterService(self._master, self._task),
                WorkerService(self._worker),
                self._open_plane(interface),
                self._rhythm,
            )
        except OSError as error:
            raise _bind_error(join_address(host, port), self._task, error) from error

    def _open_plane(self, interface: str) -> dict[str, Any]:
        """The direct plane of this task; returns the gRPC method that tells others of it."""
        from flowmesh.distributed.transport.direct.plane import HANDSHAKE, DirectPlane
        from flowmesh.distributed.transport.direct.service import DirectService

        self._plane = DirectPlane(self._task, self._direct, interface)
        self._plane.rhythm = self._rhythm
        self._plane.serve(DirectService(self._worker, self._master))
        if self._plane.options.enabled:
            self._worker.set_identity(self._plane.identity)
        return {HANDSHAKE: self._plane.handshake}

    def _connect_cluster(self, server_def: Any) -> Peers:
        """The tasks of a cluster as seen from this one."""

        def connect(task: str, address: str) -> WorkerInterface:
            from flowmesh.distributed.transport.direct.worker import DirectWorker

            worker = DirectWorker(task, address, self._plane)
            worker.connection.watch(self._rhythm)
            return worker

        return Peers(self._task, addresses_of(server_def.cluster), connect)

    def _session_peers(self, server_def: Any) -> Peers:
        """The tasks of a session that names a cluster of its own."""
        peers = self._connect_cluster(server_def)
        peers.set_local(self._worker)
        return peers


def make_server_def(
    server_or_cluster_def: Any,
    job_name: str | None,
    task_index: int | None,
    protocol: str | None,
    config: Any,
) -> Any:
    """The ServerDef that the arguments of `Server` mean, with what is left out filled in where it is clear."""
    result = tensorflow_server_pb2.ServerDef()
    if isinstance(server_or_cluster_def, tensorflow_server_pb2.ServerDef):
        result.CopyFrom(server_or_cluster_def)
        index_known = True
    else:
        try:
            cluster = ClusterSpec(server_or_cluster_def)
        except TypeError:
            raise TypeError(
                "Could not convert `server_or_cluster_def` to a `tf.train.ServerDef` or `tf.train.ClusterSpec`."
            ) from None
        result.cluster.CopyFrom(cluster.as_cluster_def())
        result.protocol = "grpc"
        index_known = False
    if job_name is not None:
        result.job_name = job_name
    if protocol is not None:
        result.protocol = protocol
    if config is not None:
        result.default_session_config.MergeFrom(config)
    if not result.job_name and not index_known:
        if len(result.cluster.job) != 1:
            raise ValueError("Must specify an explicit `job_name`.")
        result.job_name = result.cluster.job[0].name
    if task_index is not None:
        result.task_index = task_index
    elif not index_known:
        tasks = [i for job in result.cluster.job if job.name == result.job_name for i in job.tasks]
        if len(tasks) > 1:
            raise ValueError("Must specify an explicit `task_index`.")
        result.task_index = tasks[0] if tasks else 0
    return result


def _own_address(server_def: Any) -> tuple[str, int]:
    """Host and port of the task; TensorFlow's errors for what is not there."""
    if server_def.protocol != "grpc":
        raise errors.NotFoundError(
            None,
            None,
            f"No server factory registered for the given ServerDef: {server_def}\nThe available server factories are: "
            "[ GRPC_SERVER ]",
        )
    cluster = ClusterSpec(server_def.cluster)
    job, index = server_def.job_name, server_def.task_index
    if job not in cluster.jobs:
        known = ", ".join(cluster.jobs)
        raise errors.InternalError(
            None, None, f'Job "{job}" was not defined in cluster (its jobs are: {known})'
        )
    if index not in cluster.task_indices(job):
        known = ", ".join(map(str, cluster.task_indices(job)))
        raise errors.InvalidArgumentError(
            None, None, f'Task {index} was not defined in job "{job}" (its tasks are: {known})'
        )
    address = cluster.task_address(job, index)
    try:
        return split_address(address)
    except ValueError as error:
        raise errors.InvalidArgumentError(
            None, None, f'Could not parse port for local server from "{address}". {error}'
        ) from error


def _interface(host: str, port: int, task: str) -> str:
    """The numeric address to listen on for a host name; UnknownError, telling why, when it cannot be listened on."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise _bind_error(join_address(host, port), task, error) from error
    # "localhost" may mean ::1 too; TensorFlow tasks and most clients try IPv4 first.
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    family, kind, proto, _, target = found[0]
    with socket.socket(family, kind, proto) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(target)
        except OSError as error:
            raise _bind_error(join_address(host, port), task, error) from error
    return str(target[0])


def _bind_error(address: str, task: str, error: Exception) -> errors.OpError:
    host, port = split_address(address)
    code = getattr(error, "errno", None)
    if code == errno.EADDRINUSE:
        how = (
            f"lsof -nP -iTCP:{port} -sTCP:LISTEN"
            if sys.platform == "darwin"
            else f"ss -ltnp 'sport = :{port}'"
        )
        why = (
            f"the address is in use by another process. Find it with: {how} ; stop it, or give {task} another port in "
            "the cluster specification of all tasks"
        )
    elif code == errno.EADDRNOTAVAIL:
        why = (
            f"{host} is no address of this machine. The cluster specification says that {task} is there: is this server "
            "started on the right machine, with the right job name and task index?"
        )
    elif code == errno.EACCES:
        why = f"permission denied; ports below 1024 are for the superuser: give {task} a higher one"
    elif isinstance(error, socket.gaierror):
        why = f"the host name {host!r} does not resolve ({error.strerror})"
    else:
        why = str(error)
    return errors.UnknownError(
        None, None, f"Could not start gRPC server: {task} cannot listen on {address}: {why}."
    )


@contextmanager
def _terminated() -> Iterator[None]:
    """Has SIGTERM raise SystemExit here, in the main thread of a program that does nothing about it itself."""
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


_servers: weakref.WeakSet[Server] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """Servers that a program leaves behind are stopped while their threads still can be."""
    for server in list(_servers):
        server.stop()
