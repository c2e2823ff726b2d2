"""The ops of a `ReplicaQuorum`, Flowmesh's own: synchronous replicas that may come and go."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core.dtypes import float32, int32, int64, resource, string
from flowmesh.core.shapes import TensorShape, scalar
from flowmesh.graph.op_def import Attr, Input, OpDef, Output
from flowmesh.ops.queue_ops import checked_handle, mapped
from flowmesh.ops.shape_rules import scalar_input
from flowmesh.resources.replica_quorum import POLICIES, ReplicaQuorum as _Quorum, Rules


def _text(value: Any) -> str:
    """A string scalar as text."""
    item = np.asarray(value, object).item()
    return item.decode(errors="replace") if isinstance(item, bytes) else str(item)


class ReplicaQuorum(OpDef):
    """The quorum of its shared name, with these rules."""

    handle = Output(resource)
    total = Attr("int", minimum=1)
    required = Attr("int", minimum=1)
    policy = Attr("string", allowed=tuple(p.encode() for p in POLICIES))
    minimum = Attr("int", 1, minimum=1)
    container = Attr("string", "")
    shared_name = Attr("string")
    stateful = True
    NotDifferentiable = True

    def infer(self, ctx: Any) -> TensorShape:
        return scalar()

    def run(self, ctx: Any) -> _Quorum:  # type: ignore[override]
        a = self.attrs
        rules = Rules(a["total"], a["required"], a["policy"].decode(), a["minimum"])
        name = a["shared_name"].decode()
        container = a["container"].decode() or ctx.container
        found: _Quorum = ctx.resources.lookup_or_create(
            container, name, _Quorum, lambda: _Quorum(name, rules)
        )
        found.configure(rules)
        return found


class _Op(OpDef, abstract=True):
    stateful = True
    NotDifferentiable = True

    def infer(self, ctx: Any, *shapes: TensorShape) -> Any:
        for shape in shapes:
            scalar_input(shape)
        return tuple(scalar() for _ in self.output_args)

    def _quorum(self, handle: Any) -> _Quorum:
        quorum: _Quorum = checked_handle(handle, _Quorum)
        return quorum


class ReplicaQuorumReset(_Op):
    """The chief begins at `step`; replicas that wait compute their gradients again."""

    handle = Input(resource)
    chief = Input(string)
    step = Input(int64)

    def run(self, ctx: Any, handle: Any, chief: Any, step: Any) -> None:  # type: ignore[override]
        self._quorum(handle).reset(_text(chief), int(step))


class ReplicaQuorumAttend(_Op):
    """Ends when the replica finishes; a replica whose step is cancelled is lost."""

    handle = Input(resource)
    replica = Input(string)
    address = Input(string)

    def run(self, ctx: Any, handle: Any, replica: Any, address: Any) -> Any:  # type: ignore[override]
        return self._quorum(handle).attend(_text(replica), _text(address), ctx.cancellation)


class ReplicaQuorumJoined(_Op):
    """Ends when the replica attends."""

    handle = Input(resource)
    replica = Input(string)

    def run(self, ctx: Any, handle: Any, replica: Any) -> Any:  # type: ignore[override]
        return self._quorum(handle).joined(_text(replica), ctx.cancellation)


class ReplicaQuorumFinish(_Op):
    """The replica leaves for good."""

    handle = Input(resource)
    replica = Input(string)
    reason = Input(string)

    def run(self, ctx: Any, handle: Any, replica: Any, reason: Any) -> None:  # type: ignore[override]
        self._quorum(handle).finish(_text(replica), _text(reason))


class ReplicaQuorumDrained(_Op):
    """Ends when no other replica trains."""

    handle = Input(resource)
    replica = Input(string)

    def run(self, ctx: Any, handle: Any, replica: Any) -> Any:  # type: ignore[override]
        return self._quorum(handle).drained(_text(replica), ctx.cancellation)


class ReplicaQuorumArrive(_Op):
    """The replica has given a gradient of `local_step`; ends with the step that is to be next."""

    handle = Input(resource)
    replica = Input(string)
    local_step = Input(int64)
    step = Output(int64)

    def run(self, ctx: Any, handle: Any, replica: Any, local_step: Any) -> Any:  # type: ignore[override]
        arrived = self._quorum(handle).arrive(_text(replica), int(local_step), ctx.cancellation)
        return mapped(arrived, np.int64)


class ReplicaQuorumGather(_Op):
    """How many gradients the step has, once it is complete."""

    handle = Input(resource)
    given = Output(int32)

    def run(self, ctx: Any, handle: Any) -> Any:  # type: ignore[override]
        return mapped(self._quorum(handle).gather(ctx.cancellation), np.int32)


class ReplicaQuorumAdvance(_Op):
    """The step `step` begins."""

    handle = Input(resource)
    step = Input(int64)

    def run(self, ctx: Any, handle: Any, step: Any) -> None:  # type: ignore[override]
        self._quorum(handle).advance(int(step))


class ReplicaQuorumAbort(_Op):
    """All that wait fail with DeadlineExceededError."""

    handle = Input(resource)
    message = Input(string)

    def run(self, ctx: Any, handle: Any, message: Any) -> None:  # type: ignore[override]
        self._quorum(handle).abort(_text(message))


class ReplicaQuorumReport(_Op):
    """How the step stands: whom it waits for, and for how many seconds; empty and 0 when nobody waits."""

    handle = Input(resource)
    step = Output(int64)
    given, required = Output(int32), Output(int32)
    seconds = Output(float32)
    waits_for = Output(string)

    def run(self, ctx: Any, handle: Any) -> Any:  # type: ignore[override]
        r = self._quorum(handle).report()
        text = np.array(r.waits_for.encode(), object)
        return (
            np.int64(r.step),
            np.int32(r.given),
            np.int32(r.required),
            np.float32(r.seconds),
            text,
        )
