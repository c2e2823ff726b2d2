"""The tasks of a cluster as one of them sees it: names, addresses and, made on first use, connections."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from flowmesh.core import device_spec, errors
from flowmesh.core.cluster_spec import ClusterSpec
from flowmesh.distributed.interfaces import WorkerInterface

Connect = Callable[[str, str], WorkerInterface]
"""From task name and address to the worker there."""


def task_name(job: str, index: int) -> str:
    """`/job:J/replica:0/task:I`."""
    return f"/job:{job}/replica:0/task:{index}"


def addresses_of(cluster: Any) -> dict[str, str]:
    """The address of each task, by task name, from anything a ClusterSpec can be made of."""
    spec = ClusterSpec(cluster)
    return {
        task_name(job, index): spec.task_address(job, index)
        for job in spec.jobs
        for index in spec.task_indices(job)
    }


class Peers:
    """The workers of a cluster by task name. Thread-safe."""

    def __init__(self, own: str, addresses: Mapping[str, str], connect: Connect | None = None):
        """`own` is the task that this is; its worker is given with `set_local`."""
        self.own = own
        self._addresses = dict(addresses)
        self._connect = connect
        self._lock = threading.Lock()
        self._workers: dict[str, WorkerInterface] = {}
        self._remote: list[WorkerInterface] = []
        self._closed = False

    def set_local(self, worker: WorkerInterface) -> None:
        """Gives the worker of the own task."""
        self._workers[self.own] = worker

    def tasks(self) -> list[str]:
        """The names of all tasks, the own one first."""
        return [self.own, *sorted(t for t in self._addresses if t != self.own)]

    def filtered(self, filters: Iterable[str]) -> list[str]:
        """The tasks that some device filter matches, and the own one; all without filters."""
        specs = list(filters)
        for spec in specs:
            _check_filter(spec)
        return [
            task
            for task in self.tasks()
            if task == self.own or not specs or any(_overlap(spec, task) for spec in specs)
        ]

    def address(self, task: str) -> str:
        """Where the task listens, "" for the own one of a process without server."""
        return self._addresses.get(task, "")

    def addresses(self) -> dict[str, str]:
        """All addresses by task name."""
        return dict(self._addresses)

    def worker(self, task: str) -> WorkerInterface:
        """The worker of a task; InvalidArgumentError for a task that is not in the cluster."""
        found = self._workers.get(task)
        if found is not None:
            return found
        with self._lock:
            found = self._workers.get(task)
            if found is None:
                address = self._addresses.get(task)
                if address is None or self._connect is None:
                    known = ", ".join(self.tasks())
                    raise errors.InvalidArgumentError(
                        None, None, f"There is no task {task} in the cluster; its tasks are {known}"
                    )
                if self._closed:
                    raise errors.CancelledError(None, None, f"The server of {self.own} was stopped")
                found = self._workers[task] = self._connect(task, address)
                self._remote.append(found)
        return found

    def close(self) -> None:
        """Closes all connections."""
        with self._lock:
            self._closed = True
            remote, self._remote = self._remote, []
            for task in [t for t, w in self._workers.items() if w in remote]:
                del self._workers[task]
        for worker in remote:
            worker.close()


def _check_filter(spec: str) -> None:
    try:
        device_spec.canonical_name(spec)
    except ValueError as error:
        raise errors.InvalidArgumentError(
            None, None, f"Malformed device filter '{spec}' in the session's ConfigProto: {error}"
        ) from error


def _overlap(spec: str, task: str) -> bool:
    """Whether a filter such as '/job:ps' or '/job:worker/task:1/cpu:0' may mean devices of the task."""
    wanted = device_spec.DeviceSpec.from_string(spec).replace(device_type=None, device_index=None)
    return device_spec.matches(wanted.to_string(), task)


def signed(incarnation: int) -> int:
    """An incarnation as the int64 that graph attrs hold."""
    return incarnation - (1 << 64) if incarnation >= 1 << 63 else incarnation


def incarnations(devices: Sequence[Any]) -> dict[str, int]:
    """The incarnation of each device, by name, as graph attrs hold it."""
    return {device.name: signed(device.incarnation) for device in devices}
