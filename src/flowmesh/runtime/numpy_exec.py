"""Interpreting a cluster with NumPy. Kernels that only XLA has are run one by one through `jax.numpy`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flowmesh.graph.op_def import DEAD
from flowmesh.ops.target import tracing_for
from flowmesh.passes.frames import MERGES
from flowmesh.runtime import in_place, interruption
from flowmesh.runtime.cost import measured_work
from flowmesh.runtime.device import Device, load_jax
from flowmesh.runtime.failures import NodeFailure
from flowmesh.runtime.program import Instruction, LoopProgram, Nested, Program, invoke
from flowmesh.runtime.trace import TraceCollector
from flowmesh.runtime.values import as_output, to_host

_CHECKED = 64
"""After so many rounds a loop asks whether its step still wants it."""


def interpret(
    program: Program,
    registers: list[Any],
    implicit: list[Any],
    device: Device,
    measure: bool = False,
    trace: TraceCollector | None = None,
    recorder: Any = None,
) -> int:
    """Runs the program in place; returns the work it was when `measure`, else 0. `recorder` hears of each instruction.

    `registers` hold inputs (arrays of any kind) and cells; afterwards they hold the outputs. Raises NodeFailure.
    """
    _fetch_inputs(program, registers, implicit)
    calls = _Calls(registers, implicit, device, measure)
    total = 0

    def observe(instruction: Instruction, arguments: list[Any], outputs: Sequence[Any]) -> None:
        nonlocal total
        total += measured_work(instruction.op, arguments, outputs)
        if recorder is not None:
            recorder(instruction, arguments, outputs)

    with np.errstate(all="ignore"):
        if trace is None and not measure and recorder is None:
            _fast(program, registers, implicit, calls.call)
        elif trace is not None:
            program.evaluate(registers, implicit, _Timed(calls.call, trace), observe)
        else:
            program.evaluate(registers, implicit, calls.call, observe)
    return total + calls.work


class _Calls:
    """Runs the kernels of one run of a program.

    An object and no pair of functions: those would refer to each other, and what the run holds would stay until the garbage
    collector comes, so that no variable could be written to in its own memory.
    """

    __slots__ = ("_device", "_implicit", "_measure", "_registers", "work")

    def __init__(
        self, registers: list[Any], implicit: list[Any], device: Device, measure: bool
    ) -> None:
        self._registers = registers
        self._implicit = implicit
        self._device = device
        self._measure = measure
        self.work = 0
        """That of loops, when it is measured."""

    def call(self, instruction: Instruction, arguments: list[Any]) -> Any:
        """The outputs of one kernel."""
        if not instruction.plain:
            for i, argument in enumerate(arguments):
                arguments[i] = to_host(argument)
            argument = None  # a reference would keep its memory from being written to
        if instruction.loop is not None:
            rounds = _Rounds(instruction.loop, self._implicit, self._call_inside)
            result = rounds.run(arguments)
            if self._measure:
                self.work += rounds.count * rounds.work
            return result
        if instruction.in_place and not self._device.is_accelerator:
            updated = _in_place(instruction, arguments, self._registers)
            if updated is not None:
                return updated
        if instruction.op.definition.xla_only:
            return _eager(instruction, arguments, self._implicit, self._device)
        return invoke(instruction, np, arguments, self._implicit)

    def _call_inside(self, instruction: Instruction, arguments: list[Any]) -> Any:
        """A kernel in a loop, where registers are others."""
        if instruction.in_place:
            return invoke(instruction, np, [to_host(a) for a in arguments], self._implicit)
        return self.call(instruction, arguments)


def _fetch_inputs(program: Program, registers: list[Any], implicit: list[Any]) -> None:
    """Has NumPy's arrays in the registers of the inputs, and for the implicit states."""
    for i in range(len(program.inputs)):
        if i not in program.handles:
            registers[i] = to_host(registers[i])
    for position, state in enumerate(implicit):
        implicit[position] = to_host(state)


def _in_place(instruction: Instruction, arguments: list[Any], registers: list[Any]) -> Any:
    """What the kernel returns, the variables updated in their own memory where possible; None, with nothing done, when they
    are small or written to for the second time."""
    variables = []
    for register, position in instruction.written_positions:
        cell = registers[register]
        value = arguments[position]
        if cell.written or type(value) is not np.ndarray or value.nbytes < in_place.SMALL:
            return None
        variables.append((position, cell.variable))
    for register, _ in instruction.written_positions:
        registers[register].value = None
    del value
    try:
        new = in_place.update(instruction.op.definition, arguments, variables)
    except BaseException:
        for register, _ in instruction.written_positions:
            cell = registers[register]
            cell.value = cell.variable.value
        raise
    return tuple(new) if len(new) > 1 else new[0]


class _Rounds:
    """One run of a loop."""

    def __init__(self, loop: LoopProgram, implicit: list[Any], call: Any) -> None:
        """`call` runs one kernel."""
        self._loop = loop
        self._implicit = implicit
        self._call = call
        self.count = 0
        """How often it went round."""
        self.work = loop.cond.program.static_work + loop.body.program.static_work
        """What one round takes."""

    def run(self, arguments: list[Any]) -> tuple[Any, ...]:
        """The outputs of the loop."""
        loop = self._loop
        number = loop.loop.variables
        values = list(arguments)
        piece = loop.piece
        while True:
            (goes_on,) = self._evaluate(loop.cond, values)
            if not goes_on or (piece and self.count >= piece):
                break
            following = self._evaluate(loop.body, values)
            if not self.count:
                self._measure(following)
            values[:number] = following
            self.count += 1
            if not self.count % _CHECKED:
                interruption.check()
        return loop.outcome(values[:number], np.asarray(bool(goes_on)))

    def _evaluate(self, nested: Nested, values: list[Any]) -> list[Any]:
        registers = nested.registers(values)
        if nested.program.may_die:
            _branching(nested, registers, self._implicit, self._call)
        else:
            _fast(nested.program, registers, self._implicit, self._call)
        return nested.results(registers, values)

    def _measure(self, values: list[Any]) -> None:
        """Takes what is handed on for the size of what is worked on, where static shapes do not tell."""
        moved = sum(getattr(v, "size", 0) for v in values)
        self.work = max(self.work, moved)


def _branching(nested: Nested, registers: list[Any], implicit: list[Any], call: Any) -> None:
    """Runs a program with branches: what takes a dead value is dead."""
    program = nested.program
    skipped = [False] * len(program.instructions)
    instruction = None
    try:
        for number, instruction in enumerate(program.instructions):
            gates = nested.gates[number]
            merges = instruction.op.type in MERGES
            values = [registers[r] for r in instruction.sources]
            dead = any(skipped[g] for g in gates) or (
                all(v is DEAD for v in values) if merges else any(v is DEAD for v in values)
            )
            if dead:
                skipped[number] = True
                for register in instruction.outputs:
                    registers[register] = DEAD
                for target, _ in instruction.aliases:
                    registers[target] = DEAD
                continue
            if merges:
                arguments = [v if v is DEAD else to_host(v) for v in values]
            else:
                arguments = instruction.arguments(registers)
            instruction.store(registers, implicit, call(instruction, arguments))
    except NodeFailure:
        raise
    except Exception as exc:
        assert instruction is not None
        raise NodeFailure(instruction.op, exc) from exc


def interpret_plain(program: Program, inputs: Sequence[Any]) -> list[Any]:
    """The outputs of a program of simple kernels alone (`Program.is_plain`), in the shortest way. Raises NodeFailure."""
    registers = program.template.copy()
    for i, value in enumerate(inputs):
        registers[i] = value if type(value) is np.ndarray else to_host(value)
    _simple(program, registers)
    return [registers[r] for r in program.output_registers]


@np.errstate(all="ignore")
def _simple(program: Program, registers: list[Any]) -> None:
    instruction = None
    try:
        for instruction in program.instructions:
            result = instruction.compute(np, *[registers[r] for r in instruction.sources])
            if type(result) is not np.ndarray:
                if type(result) is tuple:
                    (result,) = result
                result = as_output(result, instruction.dtypes[0])
            registers[instruction.outputs[0]] = result
    except Exception as exc:
        assert instruction is not None
        raise NodeFailure(instruction.op, exc) from exc


def _fast(program: Program, registers: list[Any], implicit: list[Any], call: Any) -> None:
    """What `Program.evaluate` does, with fewer calls for simple instructions."""
    instruction = None
    try:
        for instruction in program.instructions:
            if instruction.simple:
                result = instruction.compute(np, *[registers[r] for r in instruction.sources])
                if type(result) is not np.ndarray:
                    if type(result) is tuple:
                        (result,) = result
                    result = as_output(result, instruction.dtypes[0])
                registers[instruction.outputs[0]] = result
            else:
                result = call(instruction, instruction.arguments(registers))
                instruction.store(registers, implicit, result)
            for register in instruction.drops:
                registers[register] = None
    except NodeFailure:
        raise
    except Exception as exc:
        assert instruction is not None
        raise NodeFailure(instruction.op, exc) from exc


def _eager(
    instruction: Instruction, arguments: list[Any], implicit: list[Any], device: Device
) -> Any:
    """One kernel by `jax.numpy`, with NumPy values in and out."""
    jax = load_jax()
    on = device.jax_device()
    with jax.default_device(on), tracing_for(on.platform):
        wanted = [
            a
            if i in instruction.needs_static or not isinstance(a, np.ndarray)
            else jax.numpy.asarray(a)
            for i, a in enumerate(arguments)
        ]
        result = invoke(instruction, jax.numpy, wanted, implicit)
    return _fetched(result)


def _fetched(result: Any) -> Any:
    if isinstance(result, (tuple, list)):
        return type(result)(_fetched(r) for r in result)
    return to_host(result)


class _Timed:
    """Calls a kernel and records when it ran."""

    def __init__(self, call: Any, trace: TraceCollector) -> None:
        self._call = call
        self._trace = trace

    def __call__(self, instruction: Instruction, arguments: list[Any]) -> Any:
        start = self._trace.now()
        result = self._call(instruction, arguments)
        end = self._trace.now()
        outputs = result if isinstance(result, (tuple, list)) else (result,)
        op = instruction.op
        self._trace.record(op.device, op.name, label(op), start, end, outputs)
        return result


def label(op: Any) -> str:
    """`name = Op(input, ^control)`: what a timeline shows for a node."""
    names = [t._as_node_def_input() for t in op.inputs] + [f"^{c.name}" for c in op._control_inputs]
    return f"{op.name} = {op.type}({', '.join(names)})"
