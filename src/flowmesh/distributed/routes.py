"""Where the tensors of one session come from and go to: within the task, pushed between tasks, or pulled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flowmesh.core import device_spec, errors
from flowmesh.distributed.interfaces import WorkerInterface
from flowmesh.distributed.peers import Peers

_MAX_KNOWN = 1 << 16


def source_task(key: str) -> str:
    """The task that sends under this key; InvalidArgumentError for a malformed key."""
    return _task(key, key.partition(";")[0])


def target_task(key: str) -> str:
    """The task that receives under this key; InvalidArgumentError for a malformed key."""
    parts = key.split(";", 3)
    return _task(key, parts[2] if len(parts) == 4 else "")


def _task(key: str, device: str) -> str:
    try:
        return device_spec.task_name(device)
    except ValueError as error:
        raise errors.InvalidArgumentError(
            None, None, f"Invalid rendezvous key: {key}: {error}"
        ) from error


class Routes:
    """What a task knows about the other tasks of a session. Thread-safe."""

    def __init__(self, own: str, peers: Peers, direct: Mapping[str, str] | None = None):
        """`direct`: the tasks that push to each other, with the identities of their servers. The session's master tells all of
        them the same."""
        self.own = own
        self.peers = peers
        self.direct = dict(direct or {})
        if own not in self.direct:
            self.direct = {}
        self._sources: dict[str, str | None] = {}
        self._targets: dict[str, WorkerInterface | None] = {}

    def puller(self, key: str) -> WorkerInterface | None:
        """Who must be asked for the tensor; None when it comes by itself."""
        try:
            task = self._sources[key]
        except KeyError:
            source = source_task(key)
            task = None if source == self.own or source in self.direct else source
            self._know(self._sources, key, task)
        return None if task is None else self.peers.worker(task)

    def target(self, key: str) -> WorkerInterface | None:
        """Whom the tensor must be sent to; None when it stays here until it is fetched."""
        try:
            return self._targets[key]
        except KeyError:
            task = target_task(key)
            worker = None
            if task != self.own and task in self.direct:
                worker = self.peers.worker(task)
            self._know(self._targets, key, worker)
            return worker

    @staticmethod
    def _know(table: dict[str, Any], key: str, value: Any) -> None:
        if len(table) >= _MAX_KNOWN:
            table.clear()
        table[key] = value

    def partners(self, keys: Iterable[str]) -> set[str]:
        """The other tasks that push or are pushed to under these keys."""
        found = {task for key in keys for task in (source_task(key), target_task(key))}
        return {task for task in found if task in self.direct and task != self.own}
