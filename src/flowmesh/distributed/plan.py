"""Plans: what a master has prepared for one signature of feeds, fetches and targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from flowmesh.core import dtypes, errors
from flowmesh.distributed.interfaces import WorkerInterface
from flowmesh.distributed.worker_session import is_client_end
from flowmesh.graph.graph import Graph
from flowmesh.graph.operation import Operation
from flowmesh.graph.tensor import Tensor

Signature: TypeAlias = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
"""Names of the feeds, fetches and targets."""


@dataclass
class Part:
    """The part of one task, registered with its worker."""

    task: str
    worker: WorkerInterface
    graph: Graph
    feeds: tuple[str, ...]
    fetches: tuple[str, ...]
    handle: str = ""


@dataclass
class Plan:
    """The parts that one signature needs, for one state of the graph."""

    signature: Signature
    version: int
    fingerprint: Any
    """Equal for equal operations, inputs and devices: a graph that grew elsewhere needs no new plan."""
    parts: list[Part]
    feed_dtypes: tuple[Any, ...] = ()
    """The NumPy dtype of each feed, None where it is not checked."""
    deferred: bool = False
    fanned: Any = None
    """A `FannedStep`, where one can run this plan."""


@dataclass(frozen=True)
class Elements:
    """The graph elements that a signature names."""

    feeds: tuple[Tensor, ...]
    fetches: tuple[Tensor, ...]
    targets: tuple[Operation, ...]


def resolve(graph: Graph, signature: Signature) -> Elements:
    """The elements of a signature; NotFoundError or InvalidArgumentError, in TensorFlow's words, for what is not there."""
    feeds, fetches, targets = signature
    if not fetches and not targets:
        raise errors.InvalidArgumentError(
            None, None, "Must specify at least one target to fetch or execute."
        )
    missing = [name for name in targets if _operation(graph, name) is None]
    if missing:
        raise errors.NotFoundError(
            None, None, f"PruneForTargets: Some target nodes not found: {','.join(missing)} "
        )
    if len(set(feeds)) != len(feeds):
        double = next(name for i, name in enumerate(feeds) if name in feeds[:i])
        raise errors.InvalidArgumentError(None, None, f'Endpoint "{double}" fed more than once.')
    return Elements(
        tuple(
            _tensor(graph, name, f"FeedInputs: unable to find feed output {name}", "FeedInputs")
            for name in feeds
        ),
        tuple(
            _tensor(graph, name, f"FetchOutputs node {name}: not found", "FetchOutputs")
            for name in fetches
        ),
        tuple(op for op in (_operation(graph, name) for name in targets) if op is not None),
    )


def _operation(graph: Graph, name: str) -> Operation | None:
    try:
        return graph._get_operation_by_name_unsafe(name)
    except KeyError:
        return None


def _tensor(graph: Graph, name: str, not_found: str, what: str) -> Tensor:
    op_name, colon, index = name.partition(":")
    op = _operation(graph, op_name)
    if op is None or (colon and not index.isdigit()):
        raise errors.NotFoundError(None, None, not_found)
    number = int(index) if colon else 0
    if number >= len(op.outputs):
        raise errors.InvalidArgumentError(
            None, op, f"{what} {name}: output index too large, must be < {len(op.outputs)}"
        )
    return op.outputs[number]


def fingerprint(ops: Sequence[Operation]) -> Any:
    """What a plan depends on in the graph."""
    return tuple(
        (op, op.definition, op.device, op._inputs, tuple(op._control_inputs)) for op in ops
    )


def make_part(task: str, worker: WorkerInterface, graph: Graph) -> Part:
    """A part, not yet registered, with the feeds and fetches that it holds."""
    ends = [op for op in graph.get_operations() if is_client_end(op)]
    names = {True: list[str](), False: list[str]()}
    for op in ends:
        names[not op.outputs].append(op.definition.attrs["tensor_name"].decode())
    return Part(task, worker, graph, tuple(names[False]), tuple(names[True]))


def feed_dtype(tensor: Tensor) -> Any:
    """The NumPy dtype that values for this tensor must have; None when any will do."""
    base = tensor.dtype.base_dtype
    if base == dtypes.string:
        return np.dtype(object)
    if base in (dtypes.resource, dtypes.variant) or base.is_quantized:
        return None
    return np.dtype(base.as_numpy_dtype)


def check_feeds(plan: Plan, feeds: Sequence[tuple[str, Any]]) -> None:
    """Raises InvalidArgumentError for a value whose dtype is not its tensor's."""
    for (name, value), wanted in zip(feeds, plan.feed_dtypes):
        if wanted is not None and getattr(value, "dtype", wanted) != wanted:
            raise errors.InvalidArgumentError(
                None,
                None,
                f"Feed {name} is of type {value.dtype}, but the tensor is of type {wanted}",
            )
