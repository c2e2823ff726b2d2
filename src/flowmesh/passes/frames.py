"""Frames: which loop each op of a graph belongs to.

Rules
  1. An Enter's output lies in the frame that it names, a child of the frame of its input; an Exit's output in the parent of the frame of its input.
  2. Any other op lies in the innermost frame that an input or control input of it lies in; ops without either lie in no frame.
  3. The edge from a NextIteration to a Merge goes back to the beginning of the frame, and counts neither for rule 2 nor for the order of ops.
Precondition: `ops` are in topological order, back edges left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flowmesh.core import errors
from flowmesh.graph.operation import Operation

ENTERS = frozenset({"Enter", "RefEnter"})
EXITS = frozenset({"Exit", "RefExit"})
NEXT_ITERATIONS = frozenset({"NextIteration", "RefNextIteration"})
SWITCHES = frozenset({"Switch", "RefSwitch"})
MERGES = frozenset({"Merge", "RefMerge"})
_TRANSFERS = frozenset({"_Send", "_HostSend", "_Recv", "_HostRecv"})
FRAME_OPS = ENTERS | EXITS | NEXT_ITERATIONS | {"LoopCond"}


class Frame:
    """One loop (or, with no parent, what is in none)."""

    __slots__ = ("children", "depth", "enters", "exits", "name", "ops", "parent")

    def __init__(self, name: str, parent: Frame | None) -> None:
        self.name = name
        self.parent = parent
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.children: dict[str, Frame] = {}
        self.ops: list[Operation] = []
        """The ops whose outputs lie in the frame, Exits of inner frames included, its own Enters not."""
        self.enters: list[Operation] = []
        self.exits: list[Operation] = []
        """The Exits that lead out of the frame."""

    def child(self, name: str) -> Frame:
        """The frame of this name inside this one."""
        found = self.children.get(name)
        if found is None:
            found = self.children[name] = Frame(name, self)
        return found

    def all_ops(self) -> list[Operation]:
        """The ops of the frame and of those inside it, with what leads in and out."""
        found = [*self.enters, *self.ops, *self.exits]
        for inner in self.children.values():
            found.extend(inner.all_ops())
        return list(dict.fromkeys(found))

    @property
    def is_spread(self) -> bool:
        """Whether it is one task's part of a loop over several: tensors are sent or received in each iteration, or in one of a loop in it."""
        return any(op.type in _TRANSFERS for op in self.ops) or any(
            inner.is_spread for inner in self.children.values()
        )


def has_frames(ops: Iterable[Operation]) -> bool:
    """Whether there is any loop, or a piece of one."""
    return any(op.type in FRAME_OPS for op in ops)


def is_back_edge(op: Operation, source: Operation) -> bool:
    """Whether the edge from `source` to `op` goes back to the beginning of a loop."""
    return op.type in MERGES and source.type in NEXT_ITERATIONS


def find_frames(ops: Sequence[Operation]) -> tuple[Frame, dict[Operation, Frame]]:
    """(what is in no loop, the frame that the outputs of each op lie in)."""
    root = Frame("", None)
    frame_of: dict[Operation, Frame] = {}
    for op in ops:
        inside = root
        before = [t.op for t in op.inputs if not is_back_edge(op, t.op)]
        for source in (*before, *op._control_inputs):
            frame = frame_of.get(source, root)
            if frame is inside or frame.depth < inside.depth:
                continue
            if frame.depth == inside.depth or not _is_inside(frame, inside):
                raise errors.InvalidArgumentError(
                    None,
                    op,
                    f"The node {op.name} has inputs from different frames: {inside.name} and {frame.name}",
                )
            inside = frame
        if op.type in ENTERS:
            name = op.definition.attrs["frame_name"]
            frame = inside.child(name.decode() if isinstance(name, bytes) else name)
            frame.enters.append(op)
        elif op.type in FRAME_OPS and inside.parent is None:
            raise errors.InvalidArgumentError(
                None,
                op,
                f"The node {op.name} ({op.type}) belongs to a loop, but is in none. A loop must be whole in one task's part "
                "of the graph: leave it, and its gradients, on one task.",
            )
        elif op.type in EXITS:
            assert inside.parent is not None
            inside.exits.append(op)
            frame = inside.parent
            frame.ops.append(op)
        else:
            frame = inside
            frame.ops.append(op)
        frame_of[op] = frame
    return root, frame_of


def _is_inside(frame: Frame, outer: Frame) -> bool:
    each: Frame | None = frame
    while each is not None and each is not outer:
        each = each.parent
    return each is outer
