"""Colocation: which ops must share a device, and what they ask for together.

Rules
  1. Ops joined by `_class` = ["loc:@other"] share a device with `other`, when it is in the graph.
  2. An op with a ref input shares a device with the op that makes the ref; one with a resource input with the op
     that makes the handle. On such an edge the device asked for by the maker wins over the taker's.
  3. A group asks for the union of what its members ask for; contradictions are errors, or, with soft placement, leave
     out the device type and index.
Postcondition: each op is in exactly one `Group`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flowmesh.core import dtypes, errors
from flowmesh.core.device_spec import DeviceSpec
from flowmesh.graph.operation import Operation

_PARTS = (("job", "jobs"), ("replica", "replicas"), ("task", "tasks"))


class Group:
    """Ops that share a device."""

    __slots__ = ("assigned", "members", "spec", "types")

    def __init__(self, op: Operation, types: Sequence[str]) -> None:
        self.members: list[Operation] = [op]
        self.spec = DeviceSpec.from_string(op.device)
        self.types = tuple(t for t in types if op.definition.kernel_supported(t))
        self.assigned = ""


class Colocation:
    """The groups of a graph, by union-find."""

    def __init__(
        self, ops: Iterable[Operation], types: Sequence[str], allow_soft_placement: bool
    ) -> None:
        """`types`: the device types there are, best first."""
        self._soft = allow_soft_placement
        self._parent: dict[Operation, Operation] = {}
        self._groups: dict[Operation, Group] = {}
        ops = list(ops)
        for op in ops:
            self._parent[op] = op
            self._groups[op] = Group(op, types)
        by_name = {op.name: op for op in ops}
        for op in ops:
            self._join_handles(op)
        for op in ops:
            for entry in op.extra_attrs.get("_class", ()):
                if entry.startswith(b"loc:@"):
                    other = by_name.get(entry[5:].decode())
                    if other is not None:
                        self._join(op, other, override=False)

    def __contains__(self, op: Operation) -> bool:
        return op in self._parent

    def group(self, op: Operation) -> Group:
        """The group of `op`."""
        return self._groups[self._root(op)]

    def groups(self) -> list[Group]:
        """All groups, in the order of their first ops."""
        return list({id(g): g for g in (self.group(op) for op in self._parent)}.values())

    def _root(self, op: Operation) -> Operation:
        parent = self._parent
        while parent[op] is not op:
            parent[op] = parent[parent[op]]
            op = parent[op]
        return op

    def _join_handles(self, op: Operation) -> None:
        wanted = op.definition.input_dtypes() if op.inputs else ()
        for tensor, dtype in zip(op.inputs, wanted):
            shared = dtype._is_ref_dtype or dtype == dtypes.resource
            if shared and tensor.op in self._parent:
                self._join(op, tensor.op, override=True)

    def _join(self, op: Operation, other: Operation, override: bool) -> None:
        """Unites the groups of `op` and `other`; with `override`, `other`'s device wins."""
        a, b = self._root(op), self._root(other)
        if a is b:
            return
        first, second = self._groups[a], self._groups[b]
        spec = self._merged_spec(first, second, op, other, override)
        types = tuple(t for t in first.types if t in second.types)
        if not types and first.types and second.types:
            raise errors.InvalidArgumentError(
                None,
                op,
                f"Cannot colocate nodes {_node(op)} and {_node(other)} because no device type supports both of "
                f"those nodes and the other nodes colocated with them.\n\t [[{op.name}]]",
            )
        keep, drop = (a, b) if a.id < b.id else (b, a)
        group = self._groups[keep]
        group.members = sorted(first.members + second.members, key=lambda o: o.id)
        group.spec, group.types = spec, types
        del self._groups[drop]
        self._parent[drop] = keep

    def _merged_spec(
        self, first: Group, second: Group, op: Operation, other: Operation, override: bool
    ) -> DeviceSpec:
        mine, theirs = first.spec, second.spec
        if override:
            return mine.make_merged_spec(theirs)
        for part, plural in _PARTS:
            a, b = getattr(mine, part), getattr(theirs, part)
            if a is not None and b is not None and a != b:
                raise self._conflict(plural, mine, theirs, op, other)
        for part, plural in (("device_type", "types"), ("device_index", "ids")):
            a, b = getattr(mine, part), getattr(theirs, part)
            if a is not None and b is not None and a != b:
                if not self._soft:
                    raise self._conflict(plural, mine, theirs, op, other)
                merged = mine.make_merged_spec(theirs)
                return merged.replace(device_type=None, device_index=None)
        return mine.make_merged_spec(theirs)

    @staticmethod
    def _conflict(
        what: str, mine: DeviceSpec, theirs: DeviceSpec, op: Operation, other: Operation
    ) -> errors.InvalidArgumentError:
        return errors.InvalidArgumentError(
            None,
            op,
            f"Cannot colocate nodes {_node(op)} and {_node(other)}: Cannot merge devices with incompatible {what}: "
            f"'{mine.to_string()}' and '{theirs.to_string()}'\n\t [[{op.name}]]",
        )


def _node(op: Operation) -> str:
    place = f" (defined at {op.defined_at})" if op.defined_at else ""
    asked = f" placed on device {op.device}" if op.device else ""
    return f"node {op.name}{place}{asked}"
