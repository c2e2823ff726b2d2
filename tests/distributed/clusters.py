"""Clusters of in-process servers, clients of their masters, and graphs to run on them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import flowmesh.ops  # noqa: F401  (registers the ops)
from flowmesh.core import dtypes
from flowmesh.distributed import cluster_target
from flowmesh.distributed.interfaces import MasterInterface
from flowmesh.distributed.server import Server
from flowmesh.distributed.transport.direct import frames
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.proto import config_pb2
from tests.ports import free_ports


def cluster_spec(**jobs: int) -> dict[str, list[str]]:
    """So many tasks of each job, on free ports."""
    ports = iter(free_ports(sum(jobs.values())))
    return {job: [f"localhost:{next(ports)}" for _ in range(n)] for job, n in jobs.items()}


@contextmanager
def cluster(**jobs: int) -> Iterator[dict[str, Server]]:
    """Running servers by 'job:index'."""
    spec = cluster_spec(**jobs)
    with ExitStack() as stack:
        servers = {}
        for job, addresses in spec.items():
            for index in range(len(addresses)):
                server = Server(spec, job, index)
                stack.callback(server.stop)
                servers[f"{job}:{index}"] = server
        yield servers


def config(rpc: bool = False, **fields: Any) -> Any:
    """A ConfigProto; `rpc` has even a master of this process called over gRPC."""
    result = config_pb2.ConfigProto(**fields)
    result.rpc_options.use_rpc_for_inprocess_master = rpc
    return result


class Client:
    """A session at a master, without `tf.Session`."""

    def __init__(self, target: str, graph: Graph, proto: Any = None):
        self.graph = graph
        self.master: MasterInterface
        self.master, self._disconnect = cluster_target.connect(target, proto)
        try:
            self.handle = self.master.create_session(graph, proto, target)
        except BaseException:
            self._disconnect()
            raise
        self._sent = graph.last_id
        self._open = True

    def run(
        self, *fetches: str, feed: Any = None, targets: Sequence[str] = (), **kwargs: Any
    ) -> Any:
        """The value of one fetch, or a list of several."""
        if self.graph.last_id > self._sent:
            self.master.extend_session(self.handle, self.graph, self._sent)
            self._sent = self.graph.last_id
        feeds = list((feed or {}).items())
        values = self.master.run_step(self.handle, feeds, fetches, targets, **kwargs)
        return values[0] if len(fetches) == 1 else values

    def close(self) -> None:
        """Closes the session and the connection."""
        if self._open:
            self._open = False
            try:
                self.master.close_session(self.handle)
            finally:
                self._disconnect()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def variable(name: str, value: Any, device: str = "") -> None:
    """A float variable `name` in the default graph, with 'name/init' to set it and 'name/read'."""
    graph = raw_graph()
    with graph.device(device):
        ref = raw.VariableV2(
            shape=list(value.shape), dtype=dtypes.float32, shared_name=name, name=name
        )
        raw.Assign(ref, value, name=f"{name}/init")
        raw.Identity(ref, name=f"{name}/read")


def raw_graph() -> Graph:
    """The default graph."""
    from flowmesh.graph.graph import get_default_graph

    return get_default_graph()


def in_thread(function: Callable[[], Any]) -> Callable[[], Any]:
    """Starts `function` in a thread; what is returned joins it and returns or raises what it did."""
    outcome: list[Any] = []

    def target() -> None:
        try:
            outcome.append((function(), None))
        except BaseException as exc:
            outcome.append((None, exc))

    thread = threading.Thread(target=target)
    thread.start()

    def join() -> Any:
        thread.join(30)
        assert outcome, "the thread is still running"
        value, error = outcome[0]
        if error is not None:
            raise error
        return value

    return join


def is_sign_of_life(message: Any) -> bool:
    """Whether a message of the direct plane is a PING or the answer to one, which has neither head nor tensors: how many there are depends on
    the time that a test takes."""
    if message.kind == frames.Kind.REPLY:
        return not message.head_size and not message.tensors
    return bool(message.kind == frames.Kind.PING)


def eventually(condition: Callable[[], bool]) -> None:
    """Waits some seconds for something that other threads are about to do."""
    pause = threading.Event()
    for _ in range(2000):
        if condition():
            return
        pause.wait(0.01)
    assert condition()
