"""A cluster as a straight-line program over registers: the same one is interpreted with NumPy and traced for XLA.

Registers hold the cluster's inputs, constants and intermediate values. A register of a ref or resource holds a `Cell`:
the variable with its value so far, so that state is threaded through the program in the order of its instructions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from enum import IntEnum
from typing import Any

import numpy as np

from flowmesh.core import dtypes, errors
from flowmesh.graph.graph import Graph
from flowmesh.graph.growth import GROWING, check_traced
from flowmesh.graph.op_def import DEAD, ArgDef
from flowmesh.graph.operation import Operation
from flowmesh.graph.tensor import Tensor
from flowmesh.passes import op_traits
from flowmesh.passes.frames import SWITCHES
from flowmesh.passes.loop_counters import iterations
from flowmesh.passes.loop_op import is_loop, loop_of, nested_ops
from flowmesh.passes.prune import topological_order
from flowmesh.resources.variable import Variable
from flowmesh.runtime.cost import CONTRACTIONS, static_work
from flowmesh.runtime.failures import NodeFailure
from flowmesh.runtime.values import as_output, freeze

_GUESS = 10
"""Iterations of a loop of which nothing is known."""


class Mode(IntEnum):
    """How an instruction takes an input."""

    VALUE = 0
    READ = 1
    """The value of the variable in the register."""
    WRITE = 2
    """Nothing: the variable is overwritten."""
    OBJECT = 3
    """The resource itself."""
    CELL = 4
    """What is in the register, for a loop to hand on."""


class Cell:
    """A variable during one run of a program."""

    __slots__ = ("number", "value", "variable", "written")

    def __init__(self, variable: Variable, value: Any, number: int) -> None:
        """`number` tells the distinct variables of the run apart."""
        self.number = number
        self.variable = variable
        self.value = value
        self.written = False

    def read(self) -> Any:
        """The value so far; the variable's own error when it has none."""
        if self.value is None:
            raise self.variable.uninitialized_error()
        return self.value


class Instruction:
    """One op of the program."""

    __slots__ = (
        "aliases",
        "checks_shape",
        "compute",
        "drops",
        "dtypes",
        "grouped",
        "implicit",
        "in_place",
        "inputs",
        "list_outputs",
        "loop",
        "needs_static",
        "op",
        "outputs",
        "plain",
        "simple",
        "sources",
        "writes",
        "written_positions",
    )

    def __init__(
        self,
        op: Operation,
        registers: dict[Tensor, int],
        implicit: int,
        loop: LoopProgram | None = None,
    ) -> None:
        definition = op.definition
        wanted = definition.flat_input_args()
        self.op = op
        self.compute: Callable[..., Any] = _KERNELS.get(op.type, definition.compute)
        self.implicit = implicit
        self.loop = loop
        self.inputs = tuple(
            (registers[tensor], _mode(tensor, arg) if loop is None else _handed_on(tensor, arg))
            for tensor, arg in zip(op.inputs, wanted)
        )
        self.plain = all(mode is Mode.VALUE for _, mode in self.inputs)
        self.grouped = any(arg.is_list for arg in definition.input_args)
        self.writes = tuple(
            register
            for (register, _), arg in zip(self.inputs, wanted)
            if arg.access in ("write", "update")
        )
        self.written_positions = tuple(
            (register, position)
            for position, ((register, _), arg) in enumerate(zip(self.inputs, wanted))
            if arg.access == "update"
        )
        self.sources = tuple(register for register, _ in self.inputs)
        self.checks_shape = bool(definition.attrs.get("validate_shape", False))
        self.list_outputs: tuple[bool, ...] = ()
        self.outputs: tuple[int, ...] = ()
        self.dtypes: tuple[dtypes.DType, ...] = ()
        self.aliases: tuple[tuple[int, int], ...] = ()
        self.drops: tuple[int, ...] = ()
        self.needs_static = frozenset(
            op_traits.static_input_indices(op) if loop is None else loop.static
        )
        self._bind_outputs(registers)
        self.simple = self._is_simple()
        self.in_place = (
            definition.in_place
            and not self.outputs
            and not self.grouped
            and self.implicit < 0
            and len(self.written_positions) == len(self.writes)
        )
        """Whether the kernel can write to the variables' arrays themselves."""

    def _bind_outputs(self, registers: dict[Tensor, int]) -> None:
        op = self.op
        by_name = {
            arg.name: register
            for (register, _), arg in zip(self.inputs, op.definition.flat_input_args())
        }
        outputs: list[int] = []
        kinds: list[dtypes.DType] = []
        aliases: list[tuple[int, int]] = []
        lists: list[bool] = []
        flat = iter(op.outputs)
        for arg in op.definition.output_args:
            tensors = [next(flat) for _ in op.definition.arg_dtypes(arg)]
            if arg.alias is not None:
                aliases.append((registers[tensors[0]], by_name[arg.alias]))
                continue
            lists.append(arg.is_list)
            outputs += [registers[t] for t in tensors]
            kinds += [t.dtype.base_dtype for t in tensors]
        self.outputs, self.dtypes = tuple(outputs), tuple(kinds)
        self.aliases, self.list_outputs = tuple(aliases), tuple(lists)

    def _is_simple(self) -> bool:
        """Whether it is a NumPy kernel of values alone with one output and no state."""
        return (
            self.plain
            and not self.grouped
            and self.implicit < 0
            and self.loop is None
            and not self.writes
            and not self.aliases
            and self.list_outputs == (False,)
            and not self.op.definition.xla_only
        )

    def arguments(self, registers: list[Any]) -> list[Any]:
        """The flat inputs of the kernel."""
        if self.plain:
            return [registers[r] for r, _ in self.inputs]
        values = []
        for register, mode in self.inputs:
            value = registers[register]
            if mode is Mode.READ:
                value = value.read() if isinstance(value, (Cell, Variable)) else value
            elif mode is Mode.WRITE:
                value = None
            elif mode is Mode.OBJECT and isinstance(value, Cell):
                value = value.variable
            values.append(value)
        return values

    def store(self, registers: list[Any], implicit: list[Any], result: Any) -> Sequence[Any]:
        """Puts what the kernel returned where it belongs; returns the flat outputs."""
        head = (self.implicit >= 0) + len(self.writes)
        if not head and len(self.outputs) == 1 and not self.list_outputs[0]:
            if type(result) is tuple:
                (result,) = result
            registers[self.outputs[0]] = result = as_output(result, self.dtypes[0])
        else:
            result = self._store_many(registers, implicit, result, head)
        for target, source in self.aliases:
            registers[target] = registers[source]
        return result if type(result) is list else (result,)

    def _store_many(
        self, registers: list[Any], implicit: list[Any], result: Any, head: int
    ) -> list[Any]:
        parts = self._parts(result, head + len(self.list_outputs))
        at = 0
        if self.implicit >= 0:
            implicit[self.implicit] = parts[0]
            at = 1
        for register in self.writes:
            cell = registers[register]
            value = as_output(parts[at], cell.variable.dtype.base_dtype)
            if self.checks_shape:
                cell.variable.check_shape(tuple(value.shape))
            cell.value, cell.written = value, True
            at += 1
        flat: list[Any] = []
        for part, is_list in zip(parts[at:], self.list_outputs):
            if is_list:
                flat.extend(part)
            else:
                flat.append(part)
        if len(flat) != len(self.outputs):
            raise AssertionError(
                f"{self.op.type} returned {len(flat)} values for {len(self.outputs)} outputs"
            )
        flat = [as_output(v, d) for v, d in zip(flat, self.dtypes)]
        for register, value in zip(self.outputs, flat):
            registers[register] = value
        return flat

    def _parts(self, result: Any, expected: int) -> Sequence[Any]:
        if expected == 1:
            if type(result) is tuple and len(result) == 1:
                return result
            return (result,)
        if expected == 0:
            return ()
        if len(result) != expected:
            raise AssertionError(f"{self.op.type} returned {len(result)} things, not {expected}")
        return tuple(result)


def _mode(tensor: Tensor, arg: ArgDef) -> Mode:
    if arg.access == "write":
        return Mode.WRITE
    if arg.access is not None:
        return Mode.READ
    if arg.ref or tensor.dtype == dtypes.resource:
        return Mode.OBJECT
    return Mode.READ if tensor.dtype._is_ref_dtype else Mode.VALUE


def _handed_on(tensor: Tensor, arg: ArgDef) -> Mode:
    """How a loop takes an input."""
    return Mode.CELL if arg.ref or tensor.dtype == dtypes.resource else _mode(tensor, arg)


def _switch(xp: Any, data: Any, pred: Any) -> tuple[Any, Any]:
    """The two sides of a Switch in a program that is run by NumPy."""
    return (DEAD, data) if pred else (data, DEAD)


def _merge(xp: Any, inputs: Sequence[Any]) -> tuple[Any, Any]:
    """The one that is alive, and which one it is."""
    for number, value in enumerate(inputs):
        if value is not DEAD:
            return value, np.asarray(number, np.int32)
    raise AssertionError("a Merge of dead values is skipped")


_KERNELS: dict[str, Callable[..., Any]] = {
    "Switch": _switch,
    "RefSwitch": _switch,
    "Merge": _merge,
    "RefMerge": _merge,
}


def _instruction(
    op: Operation, registers: dict[Tensor, int], numbers: dict[Operation, int]
) -> Instruction:
    loop = LoopProgram(op, numbers) if is_loop(op) else None
    return Instruction(op, registers, numbers.get(op, -1), loop)


class Program:
    """The instructions of a cluster, its inputs, outputs and state.

    `inputs` are the tensors that come from outside, `outputs` those that are used outside (`wanted`), constants
    are built in. `static_inputs` are the positions of inputs whose values have to be known to trace the program.
    """

    def __init__(
        self,
        ops: Sequence[Operation],
        constants: dict[Tensor, Any],
        wanted: Collection[Tensor],
        numbers: dict[Operation, int] | None = None,
    ) -> None:
        """`numbers`: in a loop, which implicit states of the program around it belong to which ops."""
        self.ops = tuple(ops)
        inside = set(ops)
        registers: dict[Tensor, int] = {}
        self.inputs: list[Tensor] = []
        self.constants: list[tuple[int, Any]] = []
        for tensor in dict.fromkeys(t for op in ops for t in op.inputs):
            if tensor.op not in inside and tensor not in constants:
                registers[tensor] = len(self.inputs)
                self.inputs.append(tensor)
        for tensor in dict.fromkeys(t for op in ops for t in op.inputs):
            if tensor.op not in inside and tensor in constants:
                registers[tensor] = len(registers)
                self.constants.append((registers[tensor], constants[tensor]))
        for op in ops:
            for tensor in op.outputs:
                registers[tensor] = len(registers)
        self.size = len(registers)
        self.registers = registers
        self.implicit = [op for op in with_nested(ops) if op.definition.implicit_state]
        numbers = {op: i for i, op in enumerate(self.implicit)} if numbers is None else numbers
        self.instructions = [_instruction(op, registers, numbers) for op in ops]
        self.may_die = any(op.type in SWITCHES for op in ops)
        """Whether it has branches, of which one is skipped."""
        self.outputs = [t for op in ops for t in op.outputs if t in wanted]
        self.output_registers = [registers[t] for t in self.outputs]
        self.handles = self._find_handles()
        self.read_inputs, self.written_inputs = self._find_accesses()
        self.writes = bool(self.written_inputs)
        self.every = every = with_nested(ops)
        """The ops, and those in loops."""
        self.xla_only = any(op.definition.xla_only for op in every)
        self.static_work: int = sum(
            static_work(i.op) if i.loop is None else i.loop.static_work for i in self.instructions
        )
        self.static_inputs, self.folded = self._find_static()
        self._find_drops()
        self.is_plain = not self.handles and all(i.simple for i in self.instructions)
        """Whether it has nothing but NumPy kernels of values: no state, no lists."""
        self.multiplies = any(op.type in CONTRACTIONS for op in every)
        """Whether it has matrix products."""
        self.fixed = all(
            t.shape.is_fully_defined() for i, t in enumerate(self.inputs) if i not in self.handles
        ) and all(t.shape.is_fully_defined() for op in self.ops for t in op.outputs)
        """Whether every run has the same shapes."""
        self.grows = any(
            op.type in GROWING and not all(t.shape.is_fully_defined() for t in op.outputs)
            for op in self.ops
        )
        """Whether values of its inputs say how large its outputs are."""
        self.template: list[Any] = [None] * self.size
        for register, value in self.constants:
            self.template[register] = value

    def _find_handles(self) -> frozenset[int]:
        """The inputs that may be variables."""
        return frozenset(
            i
            for i, t in enumerate(self.inputs)
            if t.dtype._is_ref_dtype or t.dtype == dtypes.resource
        )

    def _find_accesses(self) -> tuple[frozenset[int], frozenset[int]]:
        """The inputs whose variables are read, and those whose variables are written."""
        origin = {i: i for i in self.handles}
        reads: set[int] = set()
        writes: set[int] = set()
        for instruction in self.instructions:
            for at, (register, mode) in enumerate(instruction.inputs):
                if register not in origin:
                    continue
                if mode is Mode.READ:
                    reads.add(origin[register])
                elif instruction.loop is not None:
                    if at in instruction.loop.reads:
                        reads.add(origin[register])
                    if at in instruction.loop.writes:
                        writes.add(origin[register])
            writes.update(origin[r] for r in instruction.writes if r in origin)
            for target, source in instruction.aliases:
                if source in origin:
                    origin[target] = origin[source]
        return frozenset(reads), frozenset(writes)

    def _find_static(self) -> tuple[frozenset[int], frozenset[Operation]]:
        """The inputs, and the ops inside, on whose values a static input depends."""
        inside = {op: i for i, op in enumerate(self.ops)}
        positions = {t: i for i, t in enumerate(self.inputs)}
        found: set[int] = set()
        folded: set[Operation] = set()
        stack = [i.op.inputs[k] for i in self.instructions for k in sorted(i.needs_static)]
        while stack:
            tensor = stack.pop()
            if tensor in positions:
                found.add(positions[tensor])
            elif tensor.op in inside and tensor.op not in folded:
                folded.add(tensor.op)
                stack.extend(op_traits.static_sources(tensor.op))
        return frozenset(found), frozenset(folded)

    def _find_drops(self) -> None:
        """Lets go of each value after its last use."""
        keep = set(self.output_registers) | {r for r, _ in self.constants}
        keep |= set(range(len(self.inputs)))
        seen: set[int] = set()
        for instruction in reversed(self.instructions):
            used = [r for r, _ in instruction.inputs] + list(instruction.outputs)
            used += [target for target, _ in instruction.aliases]
            instruction.drops = tuple(
                r for r in dict.fromkeys(used) if r not in seen and r not in keep
            )
            seen.update(used)

    def evaluate(
        self,
        registers: list[Any],
        implicit: list[Any],
        call: Callable[[Instruction, list[Any]], Any],
        observe: Callable[[Instruction, list[Any], Sequence[Any]], None] | None = None,
    ) -> None:
        """Runs the instructions in order; `call` runs one kernel, `observe` hears of each with its inputs and outputs.

        Raises NodeFailure when an instruction fails.
        """
        for instruction in self.instructions:
            try:
                arguments = instruction.arguments(registers)
                result = call(instruction, arguments)
                outputs = instruction.store(registers, implicit, result)
            except NodeFailure:
                raise
            except Exception as exc:
                raise NodeFailure(instruction.op, exc) from exc
            if observe is not None:
                observe(instruction, arguments, outputs)
            for register in instruction.drops:
                registers[register] = None


def invoke(instruction: Instruction, xp: Any, arguments: list[Any], implicit: list[Any]) -> Any:
    """Calls the kernel with its arguments grouped as declared, the implicit state first."""
    if instruction.grouped:
        arguments = instruction.op.definition.group_inputs(arguments)
    if instruction.implicit >= 0:
        arguments = [implicit[instruction.implicit], *arguments]
    result = instruction.compute(xp, *arguments)
    if xp is not np:
        check_traced(result)
    return result


class LoopProgram:
    """A loop in a program: its condition and its body as programs, in terms of the loop's arguments (variables, then invariants)."""

    def __init__(self, op: Operation, numbers: dict[Operation, int]) -> None:
        """`numbers`: the implicit states of the program around it, by op."""
        loop = loop_of(op)
        self.op = op
        self.loop = loop
        self.piece = op.definition.attrs.get("piece", 0)
        """After how many iterations it stops to be gone on with, 0 when it does not."""
        self.cond = Nested(loop.cond, numbers)
        self.body = Nested(loop.body, numbers)
        self.implicit = [numbers[o] for o in nested_ops(op) if o.definition.implicit_state]
        known = set(op_traits.static_input_indices(op)) | self.cond.static | self.body.static
        self.static: list[int] = sorted(i for i in known if i < len(op.inputs))
        """The arguments that must be known when it is traced."""
        self.reads = self.cond.reads | self.body.reads
        self.writes = self.cond.writes | self.body.writes
        rounds = self.piece or expected_iterations(op)
        self.static_work: int = rounds * (
            self.cond.program.static_work + self.body.program.static_work
        )

    def outcome(self, variables: Sequence[Any], goes_on: Any) -> tuple[Any, ...]:
        """The outputs, from the last values of the variables."""
        if self.piece:
            return (*variables, goes_on)
        return tuple(variables[i] for i in self.loop.results)


class Nested:
    """A graph of a loop as a program."""

    def __init__(self, graph: Graph, numbers: dict[Operation, int]) -> None:
        constants: dict[Tensor, Any] = {}
        arguments: dict[Tensor, int] = {}
        results: list[tuple[int, Tensor]] = []
        ops: list[Operation] = []
        for op in topological_order(graph.get_operations()):
            if op.type == "_Arg":
                arguments[op.outputs[0]] = op.definition.attrs["index"]
            elif op.type == "_Retval":
                results.append((op.definition.attrs["index"], op.inputs[0]))
            elif op_traits.kind_of(op) is op_traits.Kind.CONSTANT:
                constants[op.outputs[0]] = constant_of(op)
            else:
                ops.append(op)
        wanted = [tensor for _, tensor in sorted(results, key=lambda r: r[0])]
        self.program = program = Program(ops, constants, set(wanted), numbers)
        registers = program.registers
        self.takes = [(registers[t], i) for t, i in arguments.items() if t in registers]
        """The register of each argument that is used."""
        self.gives: list[tuple[int, int, Any]] = []
        """For each result its register, or (-1) the argument that it is, or (-2) its constant value."""
        for tensor in wanted:
            if tensor in arguments:
                self.gives.append((-1, arguments[tensor], None))
            elif tensor in constants:
                self.gives.append((-2, 0, constants[tensor]))
            else:
                self.gives.append((registers[tensor], 0, None))
        positions = {t: arguments[t] for t in program.inputs if t in arguments}
        self.reads = {positions[program.inputs[i]] for i in program.read_inputs}
        self.writes = {positions[program.inputs[i]] for i in program.written_inputs}
        handles = program.handles
        self.static: set[int] = {
            positions[program.inputs[i]] for i in program.static_inputs if i not in handles
        }
        self._keep_results()
        self._find_gates()

    def _keep_results(self) -> None:
        """Results are read after the run."""
        kept = {register for register, _, _ in self.gives}
        for instruction in self.program.instructions:
            instruction.drops = tuple(r for r in instruction.drops if r not in kept)

    def _find_gates(self) -> None:
        """With branches: the instructions whose control inputs may be dead, and what they wait for."""
        numbers = {op: n for n, op in enumerate(self.program.ops)}
        self.gates: list[tuple[int, ...]] = [
            tuple(numbers[c] for c in op._control_inputs if c in numbers) for op in self.program.ops
        ]

    def registers(self, arguments: Sequence[Any]) -> list[Any]:
        """The registers before a run."""
        registers = self.program.template.copy()
        for register, index in self.takes:
            registers[register] = arguments[index]
        return registers

    def results(self, registers: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
        """The results after a run."""
        return [
            registers[r] if r >= 0 else (arguments[i] if r == -1 else value)
            for r, i, value in self.gives
        ]


def instructions_with_nested(program: Program) -> list[Instruction]:
    """The instructions of a program, each followed by those of the loop that it is: the same order for the same program."""
    found: list[Instruction] = []
    for instruction in program.instructions:
        found.append(instruction)
        if instruction.loop is not None:
            for nested in (instruction.loop.cond, instruction.loop.body):
                found += instructions_with_nested(nested.program)
    return found


def with_nested(ops: Sequence[Operation]) -> list[Operation]:
    """The ops, and those in the loops among them."""
    found: list[Operation] = []
    for op in ops:
        found.append(op)
        if is_loop(op):
            found.extend(nested_ops(op))
    return found


def expected_iterations(op: Operation) -> int:
    """How often a loop goes round, as far as constants tell; a guess where they do not."""
    counts = []
    for counter in loop_of(op).counters:
        first = _constant_input(op.inputs[counter.variable])
        limit: Any = counter.constant
        if counter.limit is not None:
            limit = _constant_input(op.inputs[counter.limit])
        if first is not None and limit is not None:
            counts.append(iterations(counter, first, limit))
    return min(counts, default=_GUESS)


def _constant_input(tensor: Tensor) -> Any:
    if tensor.op.type != "Const":
        return None
    value = tensor.op.definition.attrs["value"]
    return value if isinstance(value, np.ndarray) and value.size == 1 else None


def constant_of(op: Operation) -> Any:
    """The value of a constant; InvalidArgumentError when it cannot be read."""
    value = op.definition.attrs.get("value")
    if not isinstance(value, np.ndarray):
        try:
            value = np.asarray(op.definition.compute(np))
        except Exception as exc:
            raise errors.InvalidArgumentError(
                None, op, f"The value of constant {op.name} cannot be read: {exc}"
            ) from exc
    return freeze(value)
