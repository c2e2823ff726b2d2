"""What masters in other processes have on a worker, and its end when they do not come back (`leases.py`).

A master that has said who it is (Flowmesh's, TensorFlow 2's) is asked before its session is forgotten. Old masters of TensorFlow make no session on
their workers: their graphs belong to none, and each is on a lease.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from flowmesh.core.deadline import Deadline
from flowmesh.distributed import futures
from flowmesh.distributed.interfaces import DeviceAttributes
from flowmesh.distributed.leases import Caller, Leases, lease_of
from flowmesh.distributed.peers import signed
from flowmesh.distributed.worker_session import WorkerSession

_log = logging.getLogger(__name__)
_ASK_SECONDS = 20.0


class MasterLeases(Leases):
    """The leases of sessions, by handle, and of graphs without one, by `graph_key`."""

    def __init__(
        self,
        config: Any,
        find: Callable[[str], WorkerSession | None],
        forget_session: Callable[[str], object],
        forget_graph: Callable[[str], object],
    ) -> None:
        """`find` gives a session by its handle."""
        super().__init__(lease_of(config), self._is_over)
        self._find = find
        self._forget_session = forget_session
        self._forget_graph = forget_graph

    def session_opened(self, handle: str, caller: Caller) -> None:
        """A session of a master in another process."""
        self.opened(handle, caller)
        if self._find(handle) is None:  # deleted meanwhile
            self.closed(handle)

    def graph_opened(self, graph_handle: str, caller: Caller) -> None:
        """A graph that was registered without a session."""
        self.opened(graph_key(graph_handle), caller)

    def _is_over(self, key: Any, why: str) -> None:
        if not isinstance(key, str):
            _log.warning("Graph %s of a master without session is forgotten: %s", key[0], why)
            self._forget_graph(key[0])
            return
        session = self._find(key)
        if session is None:
            return
        task, incarnation = session.master
        if not task or task not in session.peers.tasks():
            self._forget(key, why, "a master")
            return

        def answered(found: Future[list[DeviceAttributes]]) -> None:
            lives = futures.error_of(found) is None and any(
                signed(device.incarnation) == incarnation for device in found.result()
            )
            if lives:
                self.session_opened(key, _Unconnected())
            else:
                self._forget(key, why, task)

        asked = session.peers.worker(task).get_status(Deadline.after(_ASK_SECONDS))
        asked.add_done_callback(answered)

    def _forget(self, handle: str, why: str, master: str) -> None:
        _log.warning("Session %s of %s is forgotten: %s", handle, master, why)
        self._forget_session(handle)


class _Unconnected:
    """A master that has answered, and is asked again when the next lease is over."""

    tells = False
    gone = True


def graph_key(graph_handle: str) -> tuple[str]:
    """What the lease of a graph without a session is kept under."""
    return (graph_handle,)
