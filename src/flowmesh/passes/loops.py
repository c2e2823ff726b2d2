"""Raising: the frames of a part become loops with a condition and a body, each a graph of its own (`Loop` ops).

Rules
  1. A Merge with a NextIteration is a loop variable: its other input comes from an Enter, its first value; what goes into the
     NextIteration is its next value. All other Enters are invariants, and so is what a frame uses from outside without one.
  2. What the input of LoopCond depends on is the condition; all other ops of the frame are the body. An op of the condition that the body
     uses is copied into the body when it has no effect, otherwise its value is handed over (`shared`).
  3. In the body the Switch of a variable is the variable. An Exit, which takes the other side of it, is a result of the loop.
  4. Inner frames first; a loop stands in the frame around it as one op.
  5. Control inputs from outside a frame are those of the loop. Inside, those that only say that the iteration goes on are dropped.
  6. `Counter`s note what may be known of the number of iterations.
  7. TensorFlow's masters spread loops over tasks: each part of one has transfers in it, and where LoopCond is on another task a loop that only
     receives its value. Such a frame becomes one graph, an iteration, with the Switches of its variables; values are dead as in TensorFlow, for
     both sides count on being told.
Precondition: the part is owned by the caller; each frame lies in it as a whole.
Postcondition: a graph without frames, its ops in topological order; the part itself when it has none.
"""

from __future__ import annotations

from collections.abc import Iterable

from flowmesh.core import errors
from flowmesh.core.dtypes import DType, bool as bool_dtype
from flowmesh.core.shapes import unknown_shape
from flowmesh.graph import registry
from flowmesh.graph.graph import Graph
from flowmesh.graph.operation import Operation
from flowmesh.graph.tensor import Tensor
from flowmesh.passes.conditions import RECEIVES, encode
from flowmesh.passes.frames import (
    ENTERS,
    EXITS,
    MERGES,
    NEXT_ITERATIONS,
    SWITCHES,
    Frame,
    find_frames,
    has_frames,
    is_back_edge,
)
from flowmesh.passes.loop_counters import find_counters
from flowmesh.passes.loop_kinds import classify
from flowmesh.passes.loop_op import Argument, Loop, LoopBody, Result, SpreadBody, is_loop
from flowmesh.passes.prune import topological_order
from flowmesh.passes.simplify import simplify

NUMBERED = 400
"""The first releases (TensorFlow 2.3) whose executors number the frames of loops, where earlier ones name them."""
_IDENTITIES = frozenset({"Identity", "RefIdentity"})


def raise_loops(part: Graph) -> Graph:
    """The part with its frames as `Loop` ops. InvalidArgumentError for frames that are no loops, or not whole."""
    ops = part.get_operations()
    if not has_frames(ops):
        return part
    ordered = topological_order(ops)
    root, frame_of = find_frames(ordered)
    _refuse_ends_inside(ordered, root, frame_of)
    graph = Graph()
    graph.foreign, graph.functions, graph.producer = part.foreign, part.functions, part.producer
    target = _Target(graph, root, frame_of, {})
    target.add(root.ops)
    target.add_spread(root)
    for op in graph.get_operations():
        if is_loop(op):
            classify(op)
    return graph


def _refuse_ends_inside(
    ops: Iterable[Operation], root: Frame, frame_of: dict[Operation, Frame]
) -> None:
    """What is fetched or run must be outside of loops: inside there is no one value."""
    for op in ops:
        ends = op.type == "_Retval" or op.definition.attrs.get("client_terminated")
        ends = ends or "_client" in op.extra_attrs
        if op.inputs and ends and frame_of[op] is not root:
            source = op.inputs[0]
            raise errors.InvalidArgumentError(
                None,
                source.op,
                f"The tensor {source.name} is inside the loop {frame_of[op].name}, where it has no one value: it cannot be "
                "fetched. Fetch what leaves the loop.",
            )
    for frame in _frames_in(root) - {root}:
        if not frame.exits and not frame.is_spread:
            first = frame.all_ops()[0]
            raise errors.InvalidArgumentError(
                None,
                first,
                f"Nothing that leaves the loop {frame.name} is asked for: an operation inside a loop cannot be run alone",
            )


class _Target:
    """A graph into which the ops of one frame are copied."""

    def __init__(
        self,
        graph: Graph,
        frame: Frame,
        frame_of: dict[Operation, Frame],
        tensors: dict[Tensor, Tensor],
        spread: bool = False,
    ) -> None:
        """`spread`: the frame stays as it is but for its beginning and end."""
        self.spread = spread
        self.graph = graph
        self.frame = frame
        self.frame_of = frame_of
        self.tensors = tensors
        self.copies: dict[Operation, Operation] = {}
        self._loops: dict[Frame, Operation] = {}

    def add(self, ops: Iterable[Operation]) -> None:
        """Copies the ops; the Exits of inner frames stand for those."""
        for op in ops:
            if op not in self.copies:
                self._add(op)

    def add_spread(self, frame: Frame) -> None:
        """Copies the loops in a frame that nothing comes out of: parts of loops whose values are wanted elsewhere."""
        for inner in frame.children.values():
            if inner.is_spread and not inner.exits:
                self._add_loop(inner)

    def _add(self, op: Operation) -> None:
        """Copies an op after all that it depends on (an inner loop depends on more than each of its Exits)."""
        stack = [op]
        waiting: set[Operation] = set()
        while stack:
            each = stack[-1]
            missing = [o for o in self._before(each) if o not in self.copies]
            if missing:
                waiting.add(each)
                if not waiting.isdisjoint(missing):
                    raise errors.InvalidArgumentError(
                        None, each, f"A loop takes values that come out of it: {each.name}"
                    )
                stack.extend(missing)
                continue
            waiting.discard(each)
            stack.pop()
            if each in self.copies:
                continue
            if each.type in EXITS:
                self._add_loop(self._inner_frame(each))
            else:
                self.copies[each] = self._copy(each)

    def _inner_frame(self, exit_op: Operation) -> Frame:
        return self.frame_of[exit_op.inputs[0].op]

    def _before(self, op: Operation) -> list[Operation]:
        if op.type in EXITS:
            inner = self._inner_frame(op)
            return list(
                dict.fromkeys(
                    o
                    for tensor_or_op in _from_outside(inner, self.frame_of)
                    for o in (
                        tensor_or_op.op if isinstance(tensor_or_op, Tensor) else tensor_or_op,
                    )
                    if self._is_here(tensor_or_op)
                )
            )
        sources = [t.op for t in op.inputs if t not in self.tensors]
        return [*sources, *(c for c in op._control_inputs if self._counts(c))]

    def _is_here(self, item: Tensor | Operation) -> bool:
        """Whether something is made by an op of this frame that has to be copied first."""
        if isinstance(item, Tensor):
            return item not in self.tensors
        return self._counts(item)

    def _counts(self, control: Operation) -> bool:
        """Whether a control input is an op of this frame, and says more than that the iteration goes on."""
        if self.frame_of.get(control) is not self.frame:
            return False
        if self.spread:
            return control.type not in ENTERS and not _is_variable(control)
        return not _is_pivot(control, self.frame)

    def _copy(self, op: Operation) -> Operation:
        inputs = [self.tensor(t) for t in op.inputs]
        if op.type == "LoopCond":  # a value like any other
            definition = registry.lookup("Identity")({"T": bool_dtype})
            return self.make(op, definition, inputs, [], [t.shape for t in op.outputs])
        controls = [self.copies[c] for c in op._control_inputs if self._counts(c)]
        return self.make(op, op.definition, inputs, controls, [t.shape for t in op.outputs])

    def make(
        self, origin: Operation, definition: object, inputs: list[Tensor],
        controls: list[Operation], shapes: list[object], name: str = "",
    ) -> Operation:  # fmt: skip
        """A node of the graph, with what errors and the executor want to know of its origin."""
        made = self.graph.create_operation(
            definition,  # type: ignore[arg-type]
            inputs,
            self.graph.unique_name(name) + "/" if name else origin.name + "/",
            list(dict.fromkeys(controls)),
            origin.device,
            shapes,
        )
        made.device = origin.device
        made._frames = origin._frames
        if not name:
            made.extra_attrs = dict(origin.extra_attrs)
        return made

    def tensor(self, tensor: Tensor) -> Tensor:
        """The copy of a tensor."""
        found = self.tensors.get(tensor)
        if found is None:
            found = self.copies[tensor.op].outputs[tensor.value_index]
        return found

    def _add_loop(self, frame: Frame) -> None:
        maker = (_SpreadMaker if frame.is_spread else _LoopMaker)(frame, self.frame_of)
        inputs = [self.tensor(t) for t in maker.inputs]
        # An invariant that is a reference is one inside, too, and read when it is used.
        kinds = [op.outputs[0].dtype for op in maker.merges]
        kinds += [t.dtype for t in inputs[len(kinds) :]]
        loop = maker.make(kinds)
        controls = [self.copies[c] for c in maker.controls if self._counts(c)]
        outputs = [t.outputs[0] for t in frame.exits]
        definition = Loop(loop, kinds, [t.dtype for t in outputs])
        made = self.make(
            maker.cond, definition, inputs, controls, [t.shape for t in outputs], frame.name
        )
        if frame.is_spread:  # whether it is alive, it learns from others
            made.extra_attrs["_condition"] = encode(frozenset({(f"^{made.name}", 1)}))
        for op, tensor in zip(frame.exits, made.outputs):
            self.copies[op] = made
            self.tensors[op.outputs[0]] = tensor


def _is_pivot(op: Operation, frame: Frame) -> bool:
    """Whether an op of a frame does nothing but be there in each iteration."""
    while op.type in _IDENTITIES and not op._control_inputs:
        source = op.inputs[0].op
        if source.type in SWITCHES:
            return _is_loop_switch(source)
        op = source
    return (
        op.type in ENTERS
        or op.type == "LoopCond"
        or (op.type in MERGES and any(t.op.type in NEXT_ITERATIONS for t in op.inputs))
        or (op.type in SWITCHES and _is_loop_switch(op))
    )


def _is_loop_switch(op: Operation) -> bool:
    source = op.inputs[1].op
    while source.type in _IDENTITIES:
        source = source.inputs[0].op
    return source.type == "LoopCond"


def _from_outside(frame: Frame, frame_of: dict[Operation, Frame]) -> list[Tensor | Operation]:
    """The tensors, and the ops as control inputs, that a frame and those in it take from outside."""
    inside = _frames_in(frame)
    found: dict[Tensor | Operation, None] = {}
    for op in frame.all_ops():
        if op in frame.exits:
            continue
        own = frame_of[op]
        for tensor in op.inputs:
            if frame_of[tensor.op] not in inside:
                found[tensor] = None
        for control in op._control_inputs:
            if frame_of[control] not in inside and own in inside:
                found[control] = None
    return list(found)


def _frames_in(frame: Frame) -> set[Frame]:
    found = {frame}
    for inner in frame.children.values():
        found |= _frames_in(inner)
    return found


class _LoopMaker:
    """One frame as a `LoopBody`."""

    def __init__(self, frame: Frame, frame_of: dict[Operation, Frame]) -> None:
        self._frame = frame
        self._frame_of = frame_of
        self._inside = _frames_in(frame)
        self.merges = [op for op in frame.ops if _is_variable(op)]
        conds = self._conditions()
        if len(conds) != 1 or not self.merges:
            raise self._error("it has no single LoopCond" if self.merges else "it has no variable")
        self.cond = conds[0]
        for op in self.merges:
            if any(is_back_edge(op, t.op) and frame_of[t.op] is not frame for t in op.inputs):
                raise self._error(f"{op.name} takes a value of another frame's iteration")
        self._switches = [op for op in frame.ops if op.type in SWITCHES and _is_loop_switch(op)]
        self._numbers = {op: i for i, op in enumerate(self.merges)}
        taken = self._find_invariants()
        self._constants = [t for t in taken if _is_constant(t)]
        """What is copied rather than handed in."""
        self.invariants = [t for t in taken if t not in self._constants]
        first = [self._first_value(op) for op in self.merges]
        self.inputs = [*first, *self.invariants]
        self.controls = [o for o in _from_outside(frame, frame_of) if isinstance(o, Operation)]

    def _error(self, why: str) -> errors.InvalidArgumentError:
        frame = self._frame
        names = ", ".join(op.name for op in [*frame.enters, *frame.ops][:5])
        return errors.InvalidArgumentError(
            None,
            (frame.ops or frame.enters)[0],
            f"The frame {frame.name} (with {names} ...) is no loop that can be run here: {why}. A loop must be whole in one "
            "task's part of the graph: leave it, and its gradients, on one task.",
        )

    def _conditions(self) -> list[Operation]:
        """What decides whether the loop goes on."""
        return [op for op in self._frame.ops if op.type == "LoopCond"]

    def _first_value(self, op: Operation) -> Tensor:
        for tensor in op.inputs:
            if tensor.op.type in ENTERS and self._frame_of[tensor.op] is self._frame:
                return tensor.op.inputs[0]
        raise self._error(f"the variable {op.name} does not enter it")

    def _find_invariants(self) -> list[Tensor]:
        """What comes from outside, in the order in which it enters."""
        starts = {t.op for op in self.merges for t in op.inputs}
        found: dict[Tensor, None] = {}
        for op in self._frame.enters:
            used = any(c not in self._numbers for t in op.outputs for c in t._consumers)
            if used or op not in starts:
                found[op.inputs[0]] = None
        for item in _from_outside(self._frame, self._frame_of):
            if isinstance(item, Tensor) and self._is_used_directly(item):
                found[item] = None
        return list(found)

    def _is_used_directly(self, tensor: Tensor) -> bool:
        """Whether an op inside takes a tensor from outside that did not go through an Enter of the frame."""
        return any(
            self._frame_of.get(op) in self._inside and op not in self._frame.enters
            for op in tensor._consumers
        )

    # -- graphs --------------------------------------------------------------------------------------------

    def make(self, kinds: list[DType]) -> LoopBody:
        """The loop; `kinds` are the dtypes of its inputs."""
        self._kinds = kinds
        needed = self._slice([self.cond.inputs[0]], self.cond._control_inputs)
        shared = self._shared(needed)
        cond = self._graph([self.cond.inputs[0], *shared], needed, [])
        keep = [op for op in self._frame.ops if op not in needed and not self._is_structure(op)]
        following = [self._next_value(op) for op in self.merges]
        again = [] if shared else [o for o in self._slice(following, [], keep) if o in needed]
        chosen = set(keep) | set(again)
        body = self._graph(following, [op for op in self._frame.ops if op in chosen], shared)
        loop = LoopBody(
            self._frame.name,
            cond,
            body,
            len(self.merges),
            len(self.invariants),
            len(shared),
            tuple(self._result(op) for op in self._frame.exits),
            ops=self._frame.all_ops(),
        )
        for graph in loop.graphs:
            simplify(graph)
        loop.counters = find_counters(loop)
        return loop

    def _is_structure(self, op: Operation) -> bool:
        return (
            op in self._numbers
            or op is self.cond
            or op in self._switches
            or op.type in NEXT_ITERATIONS
        )

    def _next_value(self, merge: Operation) -> Tensor:
        (source,) = [t.op for t in merge.inputs if t.op.type in NEXT_ITERATIONS][:1]
        return source.inputs[0]

    def _result(self, op: Operation) -> int:
        """The variable whose last value leaves through an Exit."""
        tensor = op.inputs[0]
        while tensor.op.type in _IDENTITIES:
            tensor = tensor.op.inputs[0]
        if tensor.op in self._switches and tensor.value_index == 0:
            tensor = tensor.op.inputs[0]
        if tensor.op not in self._numbers or tensor.value_index:
            raise self._error(f"{op.name} does not take the last value of a variable out of it")
        return self._numbers[tensor.op]

    def _slice(
        self,
        tensors: Iterable[Tensor],
        controls: Iterable[Operation],
        more: Iterable[Operation] = (),
    ) -> list[Operation]:
        """The ops of the frame that some tensors and ops depend on, in the frame's order."""
        found: set[Operation] = set()
        stack = [t.op for t in tensors] + list(controls) + list(more)
        while stack:
            op = stack.pop()
            if op in found or self._frame_of.get(op) is not self._frame or op.type in ENTERS:
                continue
            if op in self._numbers:
                continue
            found.add(op)
            if op.type in EXITS:
                inner = self._frame_of[op.inputs[0].op]
                for item in _from_outside(inner, self._frame_of):
                    stack.append(item.op if isinstance(item, Tensor) else item)
                continue
            if op in self._switches:
                stack.append(op.inputs[0].op)
                continue
            stack.extend(t.op for t in op.inputs)
            stack.extend(c for c in op._control_inputs if not _is_pivot(c, self._frame))
        return [op for op in self._frame.ops if op in found]

    def _shared(self, needed: list[Operation]) -> list[Tensor]:
        """What the body takes from the condition, when that may not simply be done again."""
        if not any(_has_effect(op, self._frame_of) for op in needed):
            return []
        inside = set(needed)
        taken: dict[Tensor, None] = {}
        for op in self._frame.ops:
            if op in inside or op is self.cond:
                continue
            for tensor in op.inputs:
                if tensor.op in inside and not is_back_edge(op, tensor.op):
                    taken[tensor] = None
        return list(taken)

    def _graph(
        self,
        results: list[Tensor],
        ops: Iterable[Operation],
        shared: list[Tensor],
        spread: bool = False,
    ) -> Graph:
        graph = Graph()
        graph.functions = self.cond.graph.functions
        target = _Target(graph, self._frame, self._frame_of, {}, spread)
        arguments: dict[Tensor, Tensor] = {}

        def argument(origin: Tensor) -> Tensor:
            index = len(graph.get_operations())
            kind = self._kinds[index] if index < len(self._kinds) else origin.dtype
            definition = Argument({"index": index}, outputs=[kind])
            made = target.make(self.cond, definition, [], [], [_shape_of(origin)], f"_arg_{index}")
            return made.outputs[0]

        for merge in self.merges:
            arguments[merge.outputs[0]] = argument(merge.outputs[0])
        for tensor in self.invariants:
            arguments[tensor] = argument(tensor)
        for tensor in self._constants:
            arguments[tensor] = target.make(
                tensor.op, tensor.op.definition, [], [], [tensor.shape], tensor.op.name
            ).outputs[0]
        for op in self._frame.enters:
            if op.inputs[0] in arguments:
                arguments[op.outputs[0]] = arguments[op.inputs[0]]
        for tensor in shared:
            arguments[tensor] = argument(tensor)
        for op in self._switches if not spread else ():
            value = op.inputs[0]
            while value not in arguments and value.op.type in _IDENTITIES:
                value = value.op.inputs[0]
            if value in arguments:
                arguments[op.outputs[1]] = arguments[value]
        target.tensors = arguments
        target.add(ops)
        if spread:
            target.add_spread(self._frame)
        for index, tensor in enumerate(results):
            if tensor not in arguments and tensor.op not in target.copies:
                target.add([tensor.op])
            value = target.tensor(tensor)
            target.make(
                self.cond,
                Result({"index": index}, inputs=[value.dtype]),
                [value],
                [],
                [],
                f"_result_{index}",
            )
        return graph


class _SpreadMaker(_LoopMaker):
    """One task's part of a loop over several tasks, as a `SpreadBody`."""

    def _conditions(self) -> list[Operation]:
        here = super()._conditions()
        if here:
            return here
        # Its value comes from the task where LoopCond is: that is what the variables' Switches take.
        taken = (op.inputs[1].op for op in self._frame.ops if self._splits_a_variable(op))
        return list(dict.fromkeys(op for op in taken if op.type in RECEIVES))

    @staticmethod
    def _splits_a_variable(op: Operation) -> bool:
        return op.type in SWITCHES and _is_variable(op.inputs[0].op)

    def make(self, kinds: list[DType]) -> LoopBody:
        """The loop; `kinds` are the dtypes of its inputs."""
        self._kinds = kinds
        begins = {*self.merges, *(op for op in self._frame.ops if op.type in NEXT_ITERATIONS)}
        ops = [op for op in self._frame.ops if op not in begins]
        following = [self._next_value(op) for op in self.merges]
        leaving = [op.inputs[0] for op in self._frame.exits]
        graph = self._graph([self.cond.outputs[0], *following, *leaving], ops, [], spread=True)
        return SpreadBody(
            self._frame.name,
            graph,
            graph,
            len(self.merges),
            len(self.invariants),
            0,
            (),
            ops=self._frame.all_ops(),
            numbered=self.cond.graph.producer >= NUMBERED,
        )


def _is_variable(op: Operation) -> bool:
    """Whether an op is the variable of a loop."""
    return op.type in MERGES and any(t.op.type in NEXT_ITERATIONS for t in op.inputs)


def _shape_of(tensor: Tensor) -> object:
    """The static shape of an argument: that of a Merge is what its Enter says, which a loop need not keep to."""
    return unknown_shape() if tensor.op.type in MERGES else tensor.shape


def _is_constant(tensor: Tensor) -> bool:
    return tensor.op.type == "Const" and not tensor.op._control_inputs


def _has_effect(op: Operation, frame_of: dict[Operation, Frame]) -> bool:
    if op.type in EXITS:
        inner = frame_of[op.inputs[0].op]
        return any(_has_effect(o, frame_of) for o in inner.all_ops() if o.type not in EXITS)
    definition = op.definition
    return definition.stateful or definition.host or definition.implicit_state
