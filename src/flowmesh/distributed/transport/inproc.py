"""The servers of this process: a session with such a target calls their master directly."""

from __future__ import annotations

import threading

from flowmesh.core.cluster_spec import join_address, split_address
from flowmesh.distributed.interfaces import MasterInterface

_lock = threading.Lock()
_masters: dict[str, MasterInterface] = {}


def register(address: str, master: MasterInterface) -> None:
    """Makes the master of the server at 'host:port' known."""
    with _lock:
        _masters[_normal(address)] = master


def unregister(address: str, master: MasterInterface) -> None:
    """Forgets it."""
    with _lock:
        if _masters.get(_normal(address)) is master:
            del _masters[_normal(address)]


def lookup(address: str) -> MasterInterface | None:
    """The master of the server at this address, if it is in this process."""
    with _lock:
        return _masters.get(_normal(address))


def _normal(address: str) -> str:
    """One spelling for the ways to say "this machine"."""
    host, port = split_address(address)
    return join_address("localhost" if host in ("127.0.0.1", "::1") else host.lower(), port)
