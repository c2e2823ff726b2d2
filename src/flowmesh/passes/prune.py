"""Pruning: the operations that a run needs, in an order in which they can run.

Rules
  1. An op is needed when it is a target, produces a fetched tensor, or is an input or control input of
     a needed op.
  2. A fed tensor has a value already: what only it depends on is not needed. A control edge from an op with a
     fed output counts as satisfied, and does not make the op needed.
  3. Of two ops that could both come next, the one created first does.
  4. The edges that close loops (NextIteration to Merge) make an op needed, but do not count for the order.
Precondition: all fetches, targets and feeds belong to `graph`.
Postcondition: every op of the result stands after all ops of the result that it depends on.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator

from flowmesh.core import errors
from flowmesh.graph.graph import Graph
from flowmesh.graph.operation import Operation
from flowmesh.graph.tensor import Tensor
from flowmesh.passes.frames import is_back_edge


def prune(
    graph: Graph,
    fetches: Iterable[Tensor],
    targets: Iterable[Operation] = (),
    feeds: Collection[Tensor] = (),
) -> list[Operation]:
    """The ops that fetching `fetches` and running `targets` needs when `feeds` are given, in topological order.

    Raises InvalidArgumentError when they contain a cycle, naming the ops on it.
    """
    fed = set(feeds)
    fed_ops = {tensor.op for tensor in fed}
    start = [tensor.op for tensor in fetches if tensor not in fed]
    start += targets
    with graph.lock:
        needed = _reachable(start, fed, fed_ops)
        return _sorted(needed, fed, fed_ops)


def topological_order(ops: Collection[Operation]) -> list[Operation]:
    """`ops` in an order in which they can run; edges from other ops are ignored."""
    return _sorted(set(ops), frozenset(), frozenset())


def dependencies(
    op: Operation, fed: Collection[Tensor], fed_ops: Collection[Operation]
) -> Iterator[Operation]:
    """The ops that must run before `op`: producers of its inputs and control inputs, less those that feeds replace."""
    for tensor in op.inputs:
        if tensor not in fed:
            yield tensor.op
    for control in op._control_inputs:
        if control not in fed_ops:
            yield control


def _reachable(
    start: Iterable[Operation], fed: Collection[Tensor], fed_ops: Collection[Operation]
) -> set[Operation]:
    needed: set[Operation] = set()
    stack = list(start)
    while stack:
        op = stack.pop()
        if op not in needed:
            needed.add(op)
            stack.extend(dependencies(op, fed, fed_ops))
    return needed


def _sorted(
    needed: set[Operation], fed: Collection[Tensor], fed_ops: Collection[Operation]
) -> list[Operation]:
    waiting: dict[Operation, int] = {}
    successors: dict[Operation, list[Operation]] = {op: [] for op in needed}
    for op in needed:
        before = {
            d for d in dependencies(op, fed, fed_ops) if d in needed and not is_back_edge(op, d)
        }
        waiting[op] = len(before)
        for dependency in before:
            successors[dependency].append(op)
    heap = [(op.id, op) for op in needed if not waiting[op]]
    heapq.heapify(heap)
    order: list[Operation] = []
    while heap:
        _, op = heapq.heappop(heap)
        order.append(op)
        for successor in successors[op]:
            waiting[successor] -= 1
            if not waiting[successor]:
                heapq.heappush(heap, (successor.id, successor))
    if len(order) != len(needed):
        raise _cycle_error({op for op in needed if waiting[op]}, fed, fed_ops)
    return order


def _cycle_error(
    stuck: set[Operation], fed: Collection[Tensor], fed_ops: Collection[Operation]
) -> errors.InvalidArgumentError:
    """Walks backwards from one stuck op until one comes up again: the walk since then is a cycle."""
    op = min(stuck, key=lambda o: o.id)
    seen: dict[Operation, int] = {}
    path: list[Operation] = []
    while op not in seen:
        seen[op] = len(path)
        path.append(op)
        op = min((d for d in dependencies(op, fed, fed_ops) if d in stuck), key=lambda o: o.id)
    cycle = sorted(path[seen[op] :], key=lambda o: o.id)
    names = ", ".join(o.name for o in cycle)
    places = "".join(
        f"\n\t [[node {o.name} (defined at {o.defined_at}) ]]" for o in cycle[:1] if o.defined_at
    )
    return errors.InvalidArgumentError(
        None,
        cycle[0],
        f"Graph is invalid, contains a cycle with {len(cycle)} nodes, including: {names}{places}",
    )
