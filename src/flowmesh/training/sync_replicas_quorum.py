"""The nodes by which synchronous replicas join, leave and wait for one another (see `SyncReplicasOptimizer`)."""

from __future__ import annotations

import os
import socket
from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.dtypes import int64, string
from flowmesh.core.shapes import scalar
from flowmesh.frontend.variables import RefVariable
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.raw import raw
from flowmesh.ops.cast import cast
from flowmesh.resources.replica_quorum import POLICIES, Report


def checked_policy(policy: str | None, minimum: int, total: int) -> str | None:
    """The policy; ValueError when there is no such, or the minimum does not fit."""
    if policy is not None and policy not in POLICIES:
        raise ValueError(
            f"on_replica_loss must be one of {', '.join(map(repr, POLICIES))} or None, not {policy!r}"
        )
    if not 1 <= minimum <= total:
        raise ValueError(f"min_replicas must be from 1 to the {total} replicas, not {minimum}")
    return policy


def replica_name(device: str) -> str:
    """What a replica is called: its device, or its process where it has none."""
    return device or f"{socket.gethostname()}:{os.getpid()}"


class Quorum:
    """The quorum of a training, a resource on the device of the global step. Its nodes are made in the graph's root scope."""

    def __init__(
        self, name: str, global_step: Any, total: int, required: int, policy: str, minimum: int
    ) -> None:
        self.name = name
        self._global_step = global_step
        self._device = global_step.device
        with get_default_graph().device(self._device):
            self._handle = raw.ReplicaQuorum(
                total=total,
                required=required,
                policy=policy,
                minimum=minimum,
                shared_name=f"{global_step.op.name}/replica_quorum",
                name="replica_quorum",
            )
            self.gathered = raw.ReplicaQuorumGather(self._handle, name="replica_quorum_gather")
            self.address = raw.Placeholder(
                dtype=string, shape=scalar(), name="replica_quorum_address"
            )
            self.text = raw.Placeholder(dtype=string, shape=scalar(), name="replica_quorum_text")
            self.attend = raw.ReplicaQuorumAttend(
                self._handle, self._name(), self.address, name="replica_quorum_attend"
            )
            self.joined = raw.ReplicaQuorumJoined(
                self._handle, self._name(), name="replica_quorum_joined"
            )
            self.finish = raw.ReplicaQuorumFinish(
                self._handle, self._name(), self.text, name="replica_quorum_finish"
            )
            self.drained = raw.ReplicaQuorumDrained(
                self._handle, self._name(), name="replica_quorum_drained"
            )
            self.abort = raw.ReplicaQuorumAbort(
                self._handle, self.text, name="replica_quorum_abort"
            )
            self.report = raw.ReplicaQuorumReport(self._handle, name="replica_quorum_report")

    def _name(self) -> Any:
        return np.array(self.name.encode(), object)

    def arrive(self, local_step: Any) -> Any:
        """The step of the replica's next gradient, of the global step's dtype; waits until it begins."""
        dtype = self._global_step.dtype.base_dtype
        with get_default_graph().device(self._device):
            step = raw.ReplicaQuorumArrive(
                self._handle, self._name(), cast(local_step, int64), name="replica_quorum_arrive"
            )
            return step if dtype == dtypes.int64 else cast(step, dtype)

    def advance(self) -> Any:
        """The operation that begins the step that the global step says when it runs."""
        step = self._global_step
        with get_default_graph().device(self._device):
            now = step._ref() if isinstance(step, RefVariable) else step.read_value()
            return raw.ReplicaQuorumAdvance(
                self._handle, raw.Cast(now, DstT=int64), name="replica_quorum_advance"
            )

    def reset(self) -> Any:
        """The operation by which the chief begins."""
        with get_default_graph().device(self._device):
            return raw.ReplicaQuorumReset(
                self._handle,
                self._name(),
                cast(self._global_step, int64),
                name="replica_quorum_reset",
            )


def read_report(session: Any, quorum: Quorum) -> Report:
    """How the step stands, asked in a session."""
    step, given, required, seconds, waits_for = session.run(quorum.report)
    return Report(int(step), int(given), int(required), float(seconds), waits_for.decode())


def stall_text(report: Report) -> str:
    """A sentence for people."""
    return (
        f"Synchronous step {report.step} has {report.given} of {report.required} gradients and has been waiting for "
        f"{report.seconds:.1f} s. It waits for {report.waits_for or 'the update by the chief'}"
    )
