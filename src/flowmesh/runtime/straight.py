"""Small functions as one list of kernels: what `InlineRun` does, without asking anew each time what is known to stay.

A function that is called for each element of a dataset does so little that finding the way costs more than the work. Once all its clusters
are NumPy's for ever (`ClusterRunner.is_settled`) their instructions are put one after the other. A call that is unlike the others (shapes), or
that fails, goes the usual way, which is the one that tells errors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flowmesh.runtime.inline import in_order
from flowmesh.runtime.program import Instruction
from flowmesh.runtime.shaped import grouped_kernel
from flowmesh.runtime.values import as_output

Call = Callable[[Sequence[Any]], "list[Any] | None"]


def straight_call(executable: Any, feeds: Sequence[str], fetches: Sequence[str]) -> Call | None:
    """A function of the arguments that gives the results, or None for arguments of other shapes than announced; None when the
    executable has anything but settled clusters of kernels of values.

    `executable` satisfies `is_inline`. Kernels run under the caller's `np.errstate`.
    """
    schedule = executable.schedule
    tasks = in_order(schedule)
    runners = [executable.clusters[task.index] for task in tasks]
    if executable.sources or not all(r.is_settled and is_pure(r.program) for r in runners):
        return None
    template: list[Any] = list(schedule.template)
    steps: list[tuple[Any, tuple[int, ...], int, Any]] = []
    for task, runner in zip(tasks, runners):
        _add(task, runner.program, template, steps)
    shapes = {n: op.outputs[0].shape for n, op in schedule.argument_ops.items()}
    arguments = [
        (at, schedule.arguments[name], _known(shapes[name]))
        for at, name in enumerate(feeds)
        if name in schedule.arguments
    ]
    by_name = {name: slot for name, slot, _ in schedule.results}
    return _call(template, arguments, steps, [by_name[name] for name in fetches])


def _known(shape: Any) -> tuple[int, ...] | None:
    return tuple(shape.as_list()) if shape.is_fully_defined() else None


def is_pure(program: Any) -> bool:
    """Whether a cluster has kernels of values alone."""
    return not program.handles and all(
        i.plain
        and i.implicit < 0
        and not i.writes
        and not i.aliases
        and not i.op.definition.xla_only
        for i in program.instructions
    )


def _add(task: Any, program: Any, template: list[Any], steps: list[Any]) -> None:
    """Appends a cluster's instructions."""
    slots = slots_of(task, program, template)
    for instruction in program.instructions:
        sources = tuple(slots[r] for r in instruction.sources)
        targets = [slots[r] for r in instruction.outputs]
        kernel = _kernel(instruction, program.fixed)
        if len(targets) == 1 and instruction.list_outputs == (False,):
            steps.append((kernel, sources, targets[0], instruction.dtypes[0]))
        else:
            several = (instruction.list_outputs, targets, instruction.dtypes)
            steps.append((kernel, sources, -1, several))


def slots_of(task: Any, program: Any, template: list[Any]) -> dict[int, int]:
    """Makes the registers of a cluster slots of the whole; the slot of each."""
    slots: dict[int, int] = dict(enumerate(task.inputs))
    for register, slot in zip(program.output_registers, task.outputs):
        if slot >= 0:
            slots[register] = slot
    for register in range(program.size):
        if register not in slots:
            slots[register] = len(template)
            template.append(program.template[register])
    return slots


def _kernel(instruction: Instruction, fixed: bool) -> Any:
    if instruction.grouped:
        return grouped_kernel(instruction)
    definition = instruction.op.definition
    return definition.settled_kernel() if fixed else definition.compute


def _call(
    template: list[Any],
    arguments: list[tuple[int, int, tuple[int, ...] | None]],
    steps: list[Any],
    results: list[int],
) -> Call:
    ndarray = np.ndarray

    def call(values: Sequence[Any]) -> list[Any] | None:
        registers = template.copy()
        for at, slot, shape in arguments:
            value = values[at]
            if type(value) is not ndarray or (shape is not None and value.shape != shape):
                return None
            registers[slot] = value
        for kernel, sources, target, dtype in steps:
            result = kernel(np, *[registers[s] for s in sources])
            if target < 0:
                _store(registers, result, *dtype)
                continue
            if type(result) is not ndarray:
                if type(result) is tuple:
                    (result,) = result
                result = as_output(result, dtype)
            registers[target] = result
        return [registers[r] for r in results]

    return call


def _store(
    registers: list[Any], result: Any, lists: tuple[bool, ...], targets: list[int], kinds: Any
) -> None:
    """Puts the outputs of a kernel with several in their places."""
    if len(lists) == 1:
        if type(result) is tuple and len(result) == 1:
            (result,) = result
        parts: Sequence[Any] = (result,)
    else:
        parts = result
    flat: list[Any] = []
    for part, is_list in zip(parts, lists):
        if is_list:
            flat.extend(part)
        else:
            flat.append(part)
    for target, value, dtype in zip(targets, flat, kinds):
        registers[target] = value if type(value) is np.ndarray else as_output(value, dtype)
