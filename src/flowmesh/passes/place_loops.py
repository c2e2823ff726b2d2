"""Loops stay whole: after placement, the ops of a loop that lies on several tasks are moved to one of them.

Rules
  1. Where an op of the loop must stay with something that lives on a task (a variable, a queue), the loop goes to that task. If that is so
     for two tasks, it is an error that names the ops.
  2. Otherwise the loop goes to the task on which its LoopCond is. What was asked for explicitly gives way: a loop is not spread over tasks.
  3. Loops with ops of one colocation group count as one: a backward loop goes with its forward loop.
  4. Ops move with their colocation groups, to the device of the same type and index, or the first one that has a kernel.
Postcondition: the ops of each loop that is in no other one, with what leads in and out, are on one task.
"""

from __future__ import annotations

from collections.abc import Sequence

from flowmesh.core import device_spec, errors
from flowmesh.core.device_spec import DeviceSpec
from flowmesh.graph.operation import Operation
from flowmesh.passes.colocation import Colocation
from flowmesh.passes.frames import Frame, find_frames, has_frames


def keep_loops_whole(
    ops: Sequence[Operation],
    placement: dict[Operation, str],
    colocation: Colocation,
    devices: Sequence[str],
) -> None:
    """Changes the placement of the loops among `ops` (in topological order) that lie on several tasks.

    Raises InvalidArgumentError for a loop that must be on two tasks.
    """
    if not has_frames(ops):
        return
    root, _ = find_frames(ops)
    for frames in _joined(list(root.children.values()), placement, colocation):
        inside = [op for frame in frames for op in frame.all_ops()]
        members = [op for op in dict.fromkeys(inside) if op in placement]
        tasks = {device_spec.task_name(placement[op]) for op in members}
        if len(tasks) > 1:
            task = _home(frames[0], members, placement, colocation)
            for op in members:
                if device_spec.task_name(placement[op]) != task:
                    _move(op, task, placement, colocation, devices)


def _joined(
    frames: Sequence[Frame], placement: dict[Operation, str], colocation: Colocation
) -> list[list[Frame]]:
    """The loops, those together that have ops of one colocation group (a loop and its backward loop, say)."""
    found: list[tuple[list[Frame], set[int]]] = []
    for frame in frames:
        groups = {id(colocation.group(op)) for op in frame.all_ops() if op in placement}
        together, apart = [frame], []
        for others, known in found:
            if known.isdisjoint(groups):
                apart.append((others, known))
            else:
                together, groups = [*others, *together], groups | known
        found = [*apart, (together, groups)]
    return [together for together, _ in found]


def _home(
    frame: Frame,
    members: Sequence[Operation],
    placement: dict[Operation, str],
    colocation: Colocation,
) -> str:
    fixed: dict[str, Operation] = {}
    for op in members:
        if any(_lives_on_a_task(m) for m in colocation.group(op).members):
            fixed.setdefault(device_spec.task_name(placement[op]), op)
    if len(fixed) > 1:
        told = ", ".join(f"{op.name} ({op.type}) on {placement[op]}" for op in fixed.values())
        raise errors.InvalidArgumentError(
            None,
            next(iter(fixed.values())),
            f"The loop {frame.name} would be spread over {len(fixed)} tasks: {told}. A loop runs on one task: keep the "
            "variables and queues that it uses as such on one, or use their values (for a variable: its cached read, made "
            "outside of the loop) rather than themselves.",
        )
    if fixed:
        return next(iter(fixed))
    conds = [op for op in members if op.type == "LoopCond"]
    return device_spec.task_name(placement[(conds or list(members))[0]])


def _lives_on_a_task(op: Operation) -> bool:
    """Whether an op stands for something that outlives the step."""
    definition = op.definition
    if definition.variable_source:
        return True
    return (
        definition.stateful
        and not definition.step_object
        and not op.inputs
        and any(t.dtype._is_ref_dtype or t.dtype.name == "resource" for t in op.outputs)
    )


def _move(
    op: Operation,
    task: str,
    placement: dict[Operation, str],
    colocation: Colocation,
    devices: Sequence[str],
) -> None:
    group = colocation.group(op)
    here = DeviceSpec.from_string(placement[op])
    candidates = [
        name
        for name in devices
        if device_spec.task_name(name) == task
        and DeviceSpec.from_string(name).device_type in group.types
    ]
    same = [
        name
        for name in candidates
        if DeviceSpec.from_string(name).device_type == here.device_type
        and DeviceSpec.from_string(name).device_index == here.device_index
    ]
    if not candidates:
        raise errors.InvalidArgumentError(
            None,
            op,
            f"The loop that {op.name} belongs to runs on {task}, which has no device for {op.type}",
        )
    target = (same or candidates)[0]
    for member in group.members:
        if member in placement:
            placement[member] = target
    group.assigned = target
