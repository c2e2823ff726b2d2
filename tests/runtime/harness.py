"""What the tests of the runtime share: sessions without a client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import pytest

import flowmesh.ops  # noqa: F401  (registers the ops)
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.deadline import Deadline
from flowmesh.graph.graph import Graph
from flowmesh.graph.operation import Operation
from flowmesh.graph.tensor import Tensor
from flowmesh.passes.partition import partition
from flowmesh.passes.place import place
from flowmesh.passes.prune import prune
from flowmesh.proto import config_pb2
from flowmesh.resources.manager import ResourceManager
from flowmesh.runtime.cluster_runner import ClusterRunner
from flowmesh.runtime.device import Device, make_devices
from flowmesh.runtime.executor import Executable
from flowmesh.runtime.rendezvous import Rendezvous
from flowmesh.runtime.shaped import ShapedCluster
from flowmesh.runtime.step import SessionState, StepContext
from flowmesh.runtime.trace import TraceCollector


def config(mode: str = "numpy", gpus: int = 0, cpus: int = 1) -> Any:
    """A ConfigProto that forces a way of execution and simulates GPUs."""
    made = config_pb2.ConfigProto()
    made.experimental.flowmesh.execution = mode
    made.experimental.flowmesh.simulate_gpus = gpus
    made.device_count["CPU"] = cpus
    return made


class Machine:
    """One task with its resources and one session on it; runs fetches of a graph, split by device if asked."""

    def __init__(self, mode: str = "numpy", gpus: int = 0, cpus: int = 1, by_device: bool = False):
        self.config = config(mode, gpus, cpus)
        self.devices: list[Device] = make_devices("localhost", 0, 0, self.config)
        self.resources = ResourceManager()
        self.state = SessionState()
        self._key = str if by_device else None
        self._steps = 0

    def prepare(
        self,
        graph: Graph,
        fetches: Sequence[Any],
        feeds: Sequence[Tensor] = (),
        deferred: bool = False,
    ) -> list[Executable]:
        """The executables for fetches (tensors and operations)."""
        tensors = [f for f in fetches if isinstance(f, Tensor)]
        targets = [f for f in fetches if isinstance(f, Operation)]
        ops = prune(graph, tensors, targets, feeds)
        placement = place(ops, self.devices)
        options: dict[str, Any] = {"deferred": deferred}
        if self._key is not None:
            options["key"] = self._key
        parts = partition(ops, placement, feeds, tensors, **options)
        return [
            Executable(part, self.devices, self.resources, self.state, self.config)
            for part in parts.values()
        ]

    def step(
        self, timeout: float | None = None, trace: TraceCollector | None = None
    ) -> StepContext:
        """A new step."""
        self._steps += 1
        return StepContext(
            self._steps,
            Rendezvous(self._steps),
            CancellationManager(),
            Deadline.after(timeout),
            trace,
        )

    def start(
        self,
        graph: Graph,
        fetches: Sequence[Any],
        feed: Mapping[Tensor, Any] | None = None,
        step: StepContext | None = None,
    ) -> list[Future[dict[str, Any]]]:
        """Starts a run of all parts."""
        feed = feed or {}
        step = step or self.step()
        args = {t.name: v for t, v in feed.items()}
        return [e.run(step, args) for e in self.prepare(graph, fetches, list(feed))]

    def run(
        self,
        graph: Graph,
        fetches: Sequence[Any],
        feed: Mapping[Tensor, Any] | None = None,
        step: StepContext | None = None,
    ) -> list[Any]:
        """The values of the fetched tensors."""
        futures = self.start(graph, fetches, feed, step)
        results: dict[str, Any] = {}
        for future in futures:
            results.update(future.result(timeout=60))
        return [results[f.name] if isinstance(f, Tensor) else None for f in fetches]


def note_shaped(monkeypatch: pytest.MonkeyPatch) -> list[ShapedCluster]:
    """The short ways of NumPy that are made from now on."""
    found: list[ShapedCluster] = []
    keep = ClusterRunner._keep

    def kept(self: ClusterRunner, recorder: Any, entry: Any) -> None:
        keep(self, recorder, entry)
        found.extend(s for s, _ in self._shaped.values() if s not in found)

    monkeypatch.setattr(ClusterRunner, "_keep", kept)
    return found
