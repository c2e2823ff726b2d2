"""From a session's target to the master that runs its steps."""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from flowmesh.core import errors
from flowmesh.core.cluster_spec import split_address
from flowmesh.distributed.interfaces import MasterInterface
from flowmesh.distributed.master import Master
from flowmesh.distributed.peers import Peers
from flowmesh.distributed.transport import inproc
from flowmesh.distributed.worker import Worker
from flowmesh.proto import config_pb2
from flowmesh.runtime.device import make_devices

if TYPE_CHECKING:
    from flowmesh.distributed.transport.direct.plane import DirectOptions

_LOCAL = "/job:localhost/replica:0/task:0"


class LocalMaster(Master):
    """The master of a session without a cluster: one task in this process, gone with the session."""

    def __init__(self, config: Any):
        peers = Peers(_LOCAL, {})
        super().__init__(peers, config)
        self.worker = Worker(_LOCAL, make_devices("localhost", 0, 0, config), peers, config)

    def close(self) -> None:
        """Ends the session, and what its variables and queues hold."""
        super().close()
        self.worker.close()


_lock = threading.Lock()
_local_masters: weakref.WeakSet[LocalMaster] = weakref.WeakSet()


def connect(
    target: str, config: Any = None, direct: DirectOptions | None = None
) -> tuple[MasterInterface, Callable[[], None]]:
    """The master for a session's target, and what to call when it is no longer needed.

    "" is a task of the session's own in this process; "grpc://host:port" a server, called directly when it is in this process.
    `direct` are the options of the direct plane to it, by default what the environment says.
    Raises NotFoundError, as TensorFlow does, for other targets, InvalidArgumentError for a malformed address.
    """
    if not target:
        local = LocalMaster(config)
        with _lock:
            _local_masters.add(local)
        return local, local.close
    address = _address(target, config)
    known = inproc.lookup(address)
    if known is not None and not _wants_rpc(config):
        return known, _nothing
    from flowmesh.distributed.transport.direct.master import DirectMaster

    remote = DirectMaster(address, direct)
    return remote, remote.close


def reset(target: str, containers: Sequence[str] = (), config: Any = None) -> None:
    """Clears resource containers and ends sessions: of the target's cluster, or with "" of all local sessions of this
    process (TensorFlow: `tf.Session.reset`)."""
    if not target:
        with _lock:
            local = list(_local_masters)
        for each in local:
            each.reset(containers)
        return
    master, close = connect(target, config)
    try:
        master.reset(containers, list(config.device_filters) if config is not None else ())
    finally:
        close()


def _nothing() -> None:
    """The master of a server lives as long as the server."""


def _wants_rpc(config: Any) -> bool:
    return config is not None and bool(config.rpc_options.use_rpc_for_inprocess_master)


def _address(target: str, config: Any) -> str:
    match = re.fullmatch(r"grpc://([^/]*)/?", target)
    if match is None:
        shown = config if config is not None else config_pb2.ConfigProto()
        text = " ".join(str(shown).split())
        raise errors.NotFoundError(
            None,
            None,
            f'No session factory registered for the given session options: {{target: "{target}" config: {text}}} '
            'Registered factories are {DIRECT_SESSION, GRPC_SESSION}. A target is "" for this process, or '
            '"grpc://host:port" for a server.',
        )
    try:
        split_address(match.group(1))
    except ValueError as error:
        raise errors.InvalidArgumentError(
            None, None, f"Session target {target!r}: {error}"
        ) from error
    return match.group(1)
