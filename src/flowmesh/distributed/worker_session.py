"""What a master's session has on one worker: registered graphs and the state that is the session's own."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flowmesh.core import errors
from flowmesh.distributed.peers import Peers
from flowmesh.distributed.routes import Routes
from flowmesh.distributed.staged_part import StagedPart, staged_part
from flowmesh.distributed.steps import StepTable
from flowmesh.graph import serde
from flowmesh.graph.graph import Graph
from flowmesh.graph.importer import load_graph_def
from flowmesh.graph.operation import Operation
from flowmesh.resources.manager import ResourceManager
from flowmesh.runtime.executor import Executable
from flowmesh.runtime.rendezvous import make_key
from flowmesh.runtime.step import SessionState

_SENDS = frozenset({"_Send", "_HostSend"})
_RECVS = frozenset({"_Recv", "_HostRecv"})
TRANSFERS = _SENDS | _RECVS
"""The op types that masters put between parts."""


class RegisteredGraph:
    """One part of a graph, ready to run."""

    def __init__(
        self,
        part: Graph,
        devices: Sequence[Any],
        session: WorkerSession,
        config: Any,
        files: Any = None,
    ):
        self.part = part
        self._make = lambda graph: Executable(
            graph, devices, session.resources, session.state, config, files=files
        )
        ends = [op for op in part.get_operations() if is_client_end(op)]
        self.feed_keys, self.fetch_keys = client_ends(part)
        self._deferred = bool(ends) and all("_client" in op.extra_attrs for op in ends)
        self._lock = threading.Lock()
        self._piecewise: Executable | None = None
        self._executable = self._make(part)
        self._staged: tuple[Routes, StagedPart | None] | None = None

    def arguments(self, feeds: Mapping[str, Any]) -> Mapping[str, Any]:
        """The feeds that the part needs; InvalidArgumentError when one is missing."""
        if self._deferred:
            raise errors.InvalidArgumentError(
                None, None, "A graph that was registered for partial runs must be run as one"
            )
        if len(feeds) != len(self.feed_keys):
            for name in self.feed_keys:
                if name not in feeds:
                    raise errors.InvalidArgumentError(
                        None, None, f"RunGraph did not get a value for the feed {name}"
                    )
            return {name: feeds[name] for name in self.feed_keys}
        return feeds

    def staged(
        self, routes: Routes, steps: StepTable, over: Callable[[], None]
    ) -> StagedPart | None:
        """The part as one that runs in stages; None when it cannot."""
        found = self._staged
        if found is None or found[0] is not routes:
            part = None if self._deferred else staged_part(self._executable, routes, steps, over)
            found = self._staged = (routes, part)
        return found[1]

    def executable(self, partial: bool) -> Executable:
        """What runs the part, at once or piece by piece."""
        if not partial or self._deferred or not (self.feed_keys or self.fetch_keys):
            return self._executable
        with self._lock:
            if self._piecewise is None:
                self._piecewise = self._make(deferred_copy(self.part))
            return self._piecewise


class WorkerSession:
    """The registered graphs and the state of one session. Thread-safe."""

    def __init__(
        self,
        handle: str,
        resources: ResourceManager,
        peers: Peers,
        isolated: bool = False,
        own_peers: bool = False,
        master: tuple[str, int] = ("", 0),
    ):
        """`master` is the master's task and the incarnation of its process, where it told them."""
        self.handle = handle
        self.master = master
        self.resources = resources
        self.peers = peers
        self.routes = Routes(peers.own, peers)
        self.isolated = isolated
        self.state = SessionState()
        self._own_peers = own_peers
        self._numbers = itertools.count(1)
        self._graphs: dict[str, RegisteredGraph] = {}

    def add(self, graph: RegisteredGraph) -> str:
        """Keeps a graph; returns its handle."""
        handle = f"{next(self._numbers):016x}"
        self._graphs[handle] = graph
        return handle

    def graph(self, handle: str) -> RegisteredGraph:
        """A registered graph; AbortedError when there is none."""
        found = self._graphs.get(handle)
        if found is None:
            raise errors.AbortedError(
                None,
                None,
                f"Graph handle is not found: {handle}. Possibly, this worker just restarted.",
            )
        return found

    def remove(self, handle: str) -> None:
        """Forgets a graph; AbortedError when there is none."""
        self.graph(handle)
        del self._graphs[handle]

    def close(self) -> None:
        """Gives back what is the session's own."""
        self._graphs.clear()
        self.state.close()
        if self.isolated:
            self.resources.clear_all()
        if self._own_peers:
            self.peers.close()


def is_client_end(op: Operation) -> bool:
    """Whether the op takes a feed or gives a fetch, of a whole run or of a partial one."""
    if op.type not in _SENDS and op.type not in _RECVS:
        return False
    return bool(op.definition.attrs["client_terminated"]) or "_client" in op.extra_attrs


def _tensor_name(op: Operation) -> str:
    name: bytes = op.definition.attrs["tensor_name"]
    return name.decode()


def key_of(op: Operation) -> str:
    """The rendezvous key of a send or receive."""
    attrs = op.definition.attrs
    return make_key(
        attrs["send_device"].decode(),
        attrs["send_device_incarnation"],
        attrs["recv_device"].decode(),
        _tensor_name(op),
    )


def transfer_keys(part: Graph) -> list[str]:
    """The rendezvous keys under which the part sends to and receives from other parts."""
    return [
        key_of(op)
        for op in part.get_operations()
        if (op.type in _SENDS or op.type in _RECVS) and not is_client_end(op)
    ]


def client_ends(part: Graph) -> tuple[dict[str, str], dict[str, str]]:
    """The rendezvous keys of the feeds, and of the fetches, that a part has, by tensor name."""
    ends = [op for op in part.get_operations() if is_client_end(op)]
    return (
        {_tensor_name(op): key_of(op) for op in ends if op.type in _RECVS},
        {_tensor_name(op): key_of(op) for op in ends if op.type in _SENDS},
    )


def deferred_copy(part: Graph) -> Graph:
    """The part with feeds and fetches that pass through the rendezvous: TensorFlow masters say only when they run a graph
    that they do so piece by piece."""
    graph_def = serde.to_graph_def(part)
    for node in graph_def.node:
        if node.op in _SENDS | _RECVS and node.attr["client_terminated"].b:
            node.attr["client_terminated"].b = False
            node.attr["_client"].s = b"fetch" if node.op in _SENDS else b"feed"
    copy = Graph()
    load_graph_def(copy, graph_def)
    return copy
