"""What a member of a chaos cluster can do: serve a task, train, wait, save, close; a small model whose updates can be counted."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

import flowmesh.ops  # noqa: F401  (registers the ops)
from flowmesh.cli.chaos.network import detour
from flowmesh.client.session import Session
from flowmesh.core import dtypes
from flowmesh.distributed import cluster_target
from flowmesh.distributed.server import Server
from flowmesh.distributed.transport import grpc_server as _grpc_server  # noqa: F401  (imported before forking)
from flowmesh.distributed.transport.direct import master as _master, worker as _worker  # noqa: F401
from flowmesh.frontend.variables import Variable
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.proto import config_pb2
from flowmesh.training.saver import Saver

PS = "/job:ps/task:0"
_BALLAST = 1 << 16


class Model:
    """`count` on the ps, which each `more` adds 1 to after work on every task of `tasks`; `wait` ends when somebody says `go`."""

    def __init__(self, tasks: list[str], other: bool):
        """The graph that is `other` has variables of the same names but of another shape."""
        self.graph = Graph()
        shape = [2] if other else []
        kinds = {"component_types": [dtypes.float32]}
        with self.graph.as_default():
            with self.graph.device(PS):
                self.count = Variable(np.zeros(shape), name="count", dtype=dtypes.float64)
                ballast = np.zeros(_BALLAST + len(shape), np.float32)
                self.ballast = Variable(ballast, name="ballast", dtype=dtypes.float32)
            work = []
            for index, task in enumerate(tasks):
                with self.graph.device(task):
                    work.append(raw.Neg(self.ballast.value(), name=f"work_{index}").op)
            with self.graph.control_dependencies(work), self.graph.device(PS):
                one = np.ones(shape)
                self.more = raw.AssignAdd(self.count._variable, one, name="more").op
            with self.graph.device(tasks[-1] if tasks else PS):
                queue = raw.FIFOQueueV2(**kinds, shared_name="chaos", name="queue")
                self.wait = raw.QueueDequeueV2(queue, **kinds, name="wait")
                self.go = raw.QueueEnqueueV2(queue, [np.float32(1)], name="go")
            self.init = raw.NoOp(name="nothing")
            with self.graph.control_dependencies(
                [self.count.initializer, self.ballast.initializer]
            ):
                self.init = raw.NoOp(name="init")
            self.ready = [
                raw.IsVariableInitialized(v._variable) for v in (self.count, self.ballast)
            ]
            self.saver = Saver([self.count, self.ballast])


class DetourSession(Session):
    """A session whose direct plane goes over the links that may be broken."""

    def _connect(self, target: str, config: Any) -> Any:
        return cluster_target.connect(target, config, detour())


class Program:
    """The commands of one member; each may be called from a thread of its own."""

    def __init__(self) -> None:
        self._server: Server | None = None
        self._model: Model
        self._session: Session
        self._acknowledged = 0
        self._attempted = 0
        self._lock = threading.Lock()
        self._enough = threading.Event()

    # -- the server ----------------------------------------------------------------------------------------

    def serve(self, cluster: Any, job: str, index: int, config: dict[str, int]) -> str:
        """Starts the server of a task; its target."""
        self._server = Server(cluster, job, index, config=_config(config), direct=detour())
        return self._server.target

    def stop(self, grace: float | None = None) -> None:
        """Stops the server."""
        if self._server is not None:
            self._server.stop(grace)

    def steps(self) -> list[int]:
        """The steps that have something left on this task."""
        assert self._server is not None
        return self._server._worker.step_ids()

    # -- the client ----------------------------------------------------------------------------------------

    def open(
        self,
        target: str,
        tasks: list[str],
        filters: list[str],
        config: dict[str, int],
        other: bool = False,
    ) -> int:
        """Makes the session; the number of its devices."""
        self._model = Model(tasks, other)
        settings = _config(config)
        settings.device_filters.extend(filters)
        if target == "own" and self._server is not None:
            target = self._server.target
        self._session = DetourSession(target, graph=self._model.graph, config=settings)
        return len(self._session.list_devices())

    def prepare(self, checkpoint: str = "") -> str:
        """Initializes the model unless it lives; restores it when there is a checkpoint. Says which of these it did."""
        ready = self._session.run(self._model.ready)
        if all(ready):
            return "alive"
        if checkpoint:
            self._model.saver.restore(self._session, checkpoint)
            return "restored"
        self._session.run(self._model.init)
        return "initialized"

    def more(self, steps: int = 1) -> int:
        """That many updates; how many of all were acknowledged."""
        for _ in range(steps):
            self._update()
        return self._acknowledged

    def train(self) -> int:
        """Updates until `enough` is said."""
        self._enough.clear()
        while not self._enough.is_set():
            self._update()
        return self._acknowledged

    def enough(self) -> None:
        """Ends `train`."""
        self._enough.set()

    def _update(self) -> None:
        with self._lock:
            self._attempted += 1
        self._session.run(self._model.more)
        with self._lock:
            self._acknowledged += 1

    def updates(self) -> list[int]:
        """How many updates were acknowledged, and how many attempted."""
        with self._lock:
            return [self._acknowledged, self._attempted]

    def wait(self) -> float:
        """A step that waits on the last of the model's tasks."""
        return float(np.ravel(self._session.run(self._model.wait))[0])

    def go(self) -> None:
        """Ends one `wait`."""
        self._session.run(self._model.go)

    def save(self, path: str) -> list[Any]:
        """Saves the model; where, and how many updates had been acknowledged before."""
        before = self._acknowledged
        written = self._model.saver.save(self._session, path, write_meta_graph=False)
        return [written, before]

    def reset(self, target: str) -> None:
        """Clears the containers of the target's task."""
        config = config_pb2.ConfigProto(device_filters=[PS])
        Session.reset(target, config=config)

    def value(self) -> float:
        """The count."""
        return float(np.max(self._session.run(self._model.count.value())))

    def close(self) -> None:
        """Closes the session."""
        self._session.close()


def _config(options: dict[str, int]) -> Any:
    config = config_pb2.ConfigProto()
    for name, value in options.items():
        setattr(config.experimental.flowmesh, name, value)
    return config
