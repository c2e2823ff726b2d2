"""The short way through a cluster that NumPy runs: for a run that is like an earlier one.

A run is recorded, and what follows from the shapes of its inputs alone (shapes, the axes of a gradient's sum, constants made by Fill) is known from then
on; ops that hand their input on (identities, reshapes to the same shape, sums over no axis) are passed by, and what nobody uses
any more is left out. What remains is a list of kernels over registers, bound to the variables of the recorded run. When a
later run has other shapes, dtypes or variables it is refused, with nothing changed, and goes the long way.

The kernels that are left are the same ones with the same inputs, so that the bits are the same, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from flowmesh.passes import op_traits
from flowmesh.resources.variable import Variable
from flowmesh.runtime import cost, in_place
from flowmesh.runtime.cost import FREE, measured_work
from flowmesh.runtime.failures import NodeFailure
from flowmesh.runtime.fused_products import fused
from flowmesh.runtime.helpers import helper
from flowmesh.runtime.products import WORTH, Room, can_be_shared, mostly_products, shared_kernel
from flowmesh.runtime.program import Cell, Instruction, Mode, Program
from flowmesh.runtime.values import as_output, freeze, to_host

_KNOWN_LIMIT = 4096
"""Known values of more elements are computed in each run."""
_IN_PLACE = -2
_LARGE = 1 << 16
"""Bytes from which on a value is let go after its last use."""
_SHAPE_ONLY = frozenset({"ZerosLike", "OnesLike"})
_PASS_ON = frozenset({"Identity", "StopGradient", "PreventGradient"})
_RESHAPES = frozenset({"Reshape", "BroadcastTo", "Squeeze", "ExpandDims"})
_REDUCTIONS = frozenset({"Sum", "Max", "Min", "Prod", "Mean"})


class Recorder:
    """Hears of each instruction of a run (`Program.evaluate`), and finds out what a run with these shapes needs."""

    def __init__(self, program: Program, registers: Sequence[Any], may_share: bool = False) -> None:
        """`registers` are those of the run before it begins; `may_share` allows two threads for large matrix products."""
        self._program = program
        self._may_share = may_share
        self._inputs = [to_host(v) for v in registers[: len(program.inputs)]]
        self._known: dict[int, Any] = dict(program.constants)
        self._alias: dict[int, int] = {}
        self._cells: dict[int, int] = {
            i: value.number for i, value in enumerate(self._inputs) if isinstance(value, Cell)
        }
        """The number of the variable in each register that holds one."""
        self._initialized = {
            value.number: value.value is not None
            for value in self._inputs
            if isinstance(value, Cell)
        }
        self._kept: list[Instruction] = []
        self._large: set[int] = set()
        self._work: dict[Instruction, int] = {}
        self._written: set[int] = set()
        self._open: set[int] = set()
        """Registers whose shapes may be others in the next run although its inputs have the same."""

    def __call__(
        self, instruction: Instruction, arguments: Sequence[Any], outputs: Sequence[Any]
    ) -> None:
        for target, source in instruction.aliases:
            if source in self._cells:
                self._cells[target] = self._cells[source]
        self._large.update(
            r for r, v in zip(instruction.outputs, outputs) if getattr(v, "nbytes", 0) > _LARGE
        )
        self._work[instruction] = measured_work(instruction.op, arguments, outputs)
        if self._has_effect(instruction) or self._sees_a_variable(instruction):
            self._written.update(self._cells[r] for r in instruction.writes if r in self._cells)
            self._kept.append(instruction)
            return
        sources = [self._origin(r) for r in instruction.sources]
        kind = instruction.op.type
        from_open = not self._open.isdisjoint(sources)
        if not all(r in self._known for r in sources) and self._is_open(instruction, from_open):
            self._open.update(instruction.outputs)
        if (
            (not from_open and (kind in op_traits.SHAPE_OPS or kind in _SHAPE_ONLY))
            or all(r in self._known for r in sources)
        ) and all(_is_small(v) for v in outputs):
            self._known.update(
                (r, freeze(np.array(v))) for r, v in zip(instruction.outputs, outputs)
            )
        elif sources and self._hands_on(kind, sources, arguments, outputs, from_open):
            self._alias[instruction.outputs[0]] = sources[0]
        else:
            self._kept.append(instruction)

    def _sees_a_variable(self, instruction: Instruction) -> bool:
        """Whether what the instruction gives depends on the value of a variable, or on its shape after it was written."""
        cells = {
            self._cells[register]
            for register, mode in instruction.inputs
            if mode is not Mode.VALUE and register in self._cells
        }
        if instruction.op.type in op_traits.SHAPE_OPS:
            return not cells.isdisjoint(self._written)
        return bool(cells)

    def _origin(self, register: int) -> int:
        return self._alias.get(register, register)

    def _has_effect(self, instruction: Instruction) -> bool:
        definition = instruction.op.definition
        return bool(instruction.writes or instruction.aliases or definition.stateful)

    def _is_open(self, instruction: Instruction, from_open: bool) -> bool:
        """Whether the shapes of the outputs may depend on values: those of strings, of a condition, of a shape that is computed."""
        op = instruction.op
        if all(t.shape.is_fully_defined() for t in op.outputs) or op.type in op_traits.SHAPE_OPS:
            return False
        return (
            from_open
            or op.definition.numpy_only
            or any(
                self._origin(instruction.sources[i]) not in self._known
                for i in op_traits.static_input_indices(op)
            )
        )

    def _hands_on(
        self,
        kind: str,
        sources: Sequence[int],
        arguments: Sequence[Any],
        outputs: Sequence[Any],
        from_open: bool,
    ) -> bool:
        """Whether the output is the first input, whatever its values."""
        if len(outputs) != 1 or type(arguments[0]) is not np.ndarray:
            return False
        given, made = arguments[0], outputs[0]
        if given.shape != made.shape or given.dtype != made.dtype:
            return False
        if kind in _PASS_ON:
            return True
        if from_open:
            return False
        rest_known = all(r in self._known for r in sources[1:])
        if kind in _RESHAPES:
            return rest_known
        return kind in _REDUCTIONS and rest_known and arguments[1].size == 0

    def make(self) -> ShapedCluster | None:
        """What runs such a run; None when something in the program stands in the way."""
        if any(not isinstance(v, (Cell, np.ndarray)) for v in self._inputs) or any(
            i.implicit >= 0
            or i.loop is not None
            or i.op.definition.xla_only
            or i.op.definition.step_object
            or any(i.list_outputs)
            for i in self._kept
        ):
            return None
        needed = self._needed()
        work = sum(self._work[i] for i in needed)
        shared = (
            self._may_share
            and work <= cost.SINGLE_THREAD
            and mostly_products([(i.op, self._work[i]) for i in needed])
        )
        return ShapedCluster(
            self._program,
            self._inputs,
            self._initialized,
            self._known,
            self._alias,
            self._cells,
            needed,
            self._large,
            work,
            shared,
            next((i for i in reversed(needed) if self._is_large_product(i)), None),
        )

    def _is_large_product(self, instruction: Instruction) -> bool:
        return can_be_shared(instruction.op) and self._work[instruction] >= WORTH

    def _needed(self) -> list[Instruction]:
        """The instructions that have an effect, or whose outputs are used."""
        used = {self._origin(r) for r in self._program.output_registers}
        needed: list[Instruction] = []
        for instruction in reversed(self._kept):
            if self._has_effect(instruction) or not used.isdisjoint(instruction.outputs):
                needed.append(instruction)
                used.update(self._origin(r) for r in instruction.sources)
        return needed[::-1]


def _is_small(value: Any) -> bool:
    return isinstance(value, (np.ndarray, np.generic)) and value.size <= _KNOWN_LIMIT


class ShapedCluster:
    """A program for inputs of certain shapes, with the variables of one session. Thread-safe."""

    def __init__(
        self,
        program: Program,
        inputs: Sequence[Any],
        initialized: dict[int, bool],
        known: dict[int, Any],
        alias: dict[int, int],
        cells: dict[int, int],
        instructions: Sequence[Instruction],
        large: set[int],
        work: int,
        shares: bool,
        last_shared: Instruction | None,
    ) -> None:
        """See `Recorder`: `inputs` are arrays and cells, `cells` tells which registers hold which variable; `last_shared` is the last of the
        large products that two threads compute."""
        size = program.size
        self.work = work
        """What a run costs (see `cost.py`)."""
        self.shares = shares
        """Whether two threads compute its large products, which is most of its work."""
        self.only_updates = all(
            (i.in_place and i.op.definition.fast_in_place) or i.op.type in FREE
            for i in instructions
        )
        """Whether all it does is to update variables in their own memory, which an XLA program would not do faster."""
        held = {c.number: c for c in inputs if isinstance(c, Cell)}
        self.shapes = tuple([None if isinstance(v, Cell) else v.shape for v in inputs])
        """Of the inputs; None for variables."""
        self._handles = [(i, c.variable) for i, c in enumerate(inputs) if isinstance(c, Cell)]
        self._arrays = [
            (i, v.shape, v.dtype) for i, v in enumerate(inputs) if not isinstance(v, Cell)
        ]
        self._places = [i for i, _, _ in self._arrays]
        self._place_shapes = [shape for _, shape, _ in self._arrays]
        states = {number: size + at for at, number in enumerate(held)}
        """The register of each variable's value."""
        self._nothing = size + len(held)
        self._template: list[Any] = [None] * (self._nothing + 1)
        for register, value in known.items():
            self._template[register] = value
        for register, number in cells.items():
            self._template[register] = held[number].variable
        written = {cells[r] for i in instructions for r in i.writes}
        read = sorted({cells[i] for i in program.read_inputs if i in cells})
        self._reads = [_state_to_read(held[n].variable, states[n], initialized[n]) for n in read]
        self._held = {n: c.variable for n, c in held.items()}
        self._sizes = {n: getattr(v.value, "nbytes", 0) for n, v in self._held.items()}
        self._touched: set[int] = set()
        self._writes = [(held[n].variable, states[n]) for n in sorted(written)]
        self._locks = sorted(dict.fromkeys(held[n].variable.lock for n in written), key=id)
        self._outputs = [alias.get(r, r) for r in program.output_registers]
        self._last_shared = last_shared
        self._steps = [self._step(i, alias, cells, states) for i in instructions]
        if self.shares and not self._locks:
            self._steps = fused(self._steps, self._outputs, last_shared)
        self._let_go(large)
        self._rooms = self._find_rooms() if self.shares and not self._locks else {}
        """The register from which the kernel of each output gets room, by position, for outputs that nothing else has to do with."""

    def _step(
        self,
        instruction: Instruction,
        alias: dict[int, int],
        cells: dict[int, int],
        states: dict[int, int],
    ) -> tuple[Any, ...]:
        """Kernel, registers of its inputs, register of its only output or -1, what to do with all outputs, instruction, drops."""
        sources = []
        for register, mode in instruction.inputs:
            register = alias.get(register, register)
            if register in cells and mode is Mode.READ:
                register = states[cells[register]]
            elif mode is Mode.WRITE:
                register = self._nothing
            sources.append(register)
        targets = [
            (
                states[cells[r]],
                self._template[r].dtype.base_dtype,
                self._template[r] if instruction.checks_shape else None,
            )
            for r in instruction.writes
        ]
        targets += [(r, d, None) for r, d in zip(instruction.outputs, instruction.dtypes)]
        definition = instruction.op.definition
        if self.shares and can_be_shared(instruction.op):
            kernel = shared_kernel(instruction.op, instruction is self._last_shared)
        elif instruction.grouped:
            kernel = grouped_kernel(instruction)
        else:
            kernel = definition.settled_kernel()
        simple = len(targets) == 1 and not instruction.writes
        if self._is_in_place(instruction, cells):
            numbers = [(p, cells[r]) for r, p in instruction.written_positions]
            places = [(p, self._held[n], states[n]) for p, n in numbers]
            return (definition, tuple(sources), _IN_PLACE, places, instruction, ())
        return (
            kernel,
            tuple(sources),
            targets[0][0] if simple else -1,
            targets,
            instruction,
            (),
        )

    def _let_go(self, large: set[int]) -> None:
        """Has large values forgotten after their last use."""
        seen = set(self._outputs)
        for at, (kernel, sources, target, targets, instruction, _) in reversed(
            list(enumerate(self._steps))
        ):
            if target == _IN_PLACE:
                seen |= {*sources, *(state for _, _, state in targets)}
                continue
            used = {*sources, *(t[0] for t in targets)}
            drops = tuple((used & large) - seen)
            seen |= used
            self._steps[at] = (kernel, sources, target, targets, instruction, drops)

    def _find_rooms(self) -> dict[int, int]:
        used = Counter(source for step in self._steps for source in step[1])
        used.update(self._outputs)
        rooms: dict[int, int] = {}
        for at, (kernel, sources, target, targets, instruction, drops) in enumerate(self._steps):
            if target in self._outputs and used[target] == 1 and can_be_shared(instruction.op):
                register = len(self._template)
                self._template.append(None)
                rooms[self._outputs.index(target)] = register
                sources = (*sources, register)
                self._steps[at] = (kernel, sources, target, targets, instruction, drops)
        return rooms

    def _is_in_place(self, instruction: Instruction, cells: dict[int, int]) -> bool:
        """Whether it is worth while to let it write to the variables' own memory: they are large, and not written to before."""
        if not instruction.in_place:
            return False
        numbers = [cells[r] for r, _ in instruction.written_positions]
        large = all(self._sizes.get(n, 0) >= in_place.SMALL for n in numbers)
        fresh = self._touched.isdisjoint(numbers) and len(set(numbers)) == len(numbers)
        self._touched.update(cells[r] for r in instruction.writes)
        return large and fresh

    def _update(self, registers: list[Any], step: tuple[Any, ...]) -> None:
        """Runs a kernel that writes to the variables' own memory."""
        definition, sources, _, places, _, _ = step
        arguments = [registers[r] for r in sources]
        for _, _, state in places:
            registers[state] = None
        new = in_place.update(definition, arguments, [(p, v) for p, v, _ in places])
        for (_, variable, state), value in zip(places, new):
            registers[state] = value
            variable.put(value)

    def fits(self, inputs: Sequence[Any]) -> bool:
        """Whether the arrays among the inputs have these shapes."""
        return [getattr(inputs[i], "shape", None) for i in self._places] == self._place_shapes

    def run(
        self, inputs: Sequence[Any], rooms: Mapping[int, Room] | None = None
    ) -> list[Any] | None:
        """The outputs, or None, with nothing changed, when this run is unlike the recorded one. Raises NodeFailure.

        `rooms` tell where outputs are wanted, by position.
        """
        for i, variable in self._handles:
            if inputs[i] is not variable:
                return None
        registers = self._template.copy()
        if rooms is not None:
            for position, register in self._rooms.items():
                registers[register] = rooms.get(position)
        for i, shape, dtype in self._arrays:
            value = inputs[i]
            if type(value) is not np.ndarray:
                value = to_host(value)
                if type(value) is not np.ndarray:
                    return None
            if value.shape != shape or value.dtype != dtype:
                return None
            registers[i] = value
        locks = self._locks
        if not locks:
            if not self._load(registers):
                return None
            if self.shares:
                self._evaluate_with_help(registers)
            else:
                self._evaluate(registers)
        else:
            for lock in locks:
                lock.acquire()
            try:
                if not self._load(registers):
                    return None
                self._evaluate(registers)
                for variable, register in self._writes:
                    variable.value = freeze(registers[register])
            finally:
                for lock in locks:
                    lock.release()
        return [registers[r] for r in self._outputs]

    def _load(self, registers: list[Any]) -> bool:
        """Reads the variables; whether they are as they were."""
        for variable, register, shape, dtype in self._reads:
            value = variable.value
            if type(value) is not np.ndarray and value is not None:
                value = to_host(value)
            if value is None:
                if shape is not None:
                    return False
            elif shape is None or value.shape != shape or value.dtype != dtype:
                return False
            registers[register] = value
        return True

    def _evaluate_with_help(self, registers: list[Any]) -> None:
        team = helper()
        try:
            team.begin()
            self._evaluate(registers)
        finally:
            team.end()

    @np.errstate(all="ignore")
    def _evaluate(self, registers: list[Any]) -> None:
        ndarray = np.ndarray
        step = None
        try:
            for step in self._steps:
                kernel, sources, target, targets, _, drops = step
                if target == _IN_PLACE:
                    self._update(registers, step)
                    continue
                result = kernel(np, *[registers[r] for r in sources])
                if target >= 0:
                    if type(result) is not ndarray:
                        if type(result) is tuple:
                            (result,) = result
                        result = as_output(result, targets[0][1])
                    registers[target] = result
                else:
                    _store(registers, targets, result)
                for register in drops:
                    registers[register] = None
        except Exception as exc:
            assert step is not None
            raise NodeFailure(step[4].op, exc) from exc


def _state_to_read(
    variable: Variable, register: int, initialized: bool
) -> tuple[Variable, int, Any, Any]:
    """A variable, the register for its value, and the shape and dtype that it had; None for both when it had no value."""
    value = variable.value if initialized else None
    if value is None:
        return variable, register, None, None
    return variable, register, value.shape, value.dtype


def _store(
    registers: list[Any], targets: Sequence[tuple[int, Any, Variable | None]], result: Any
) -> None:
    if type(result) is not tuple:
        result = (result,) if targets else ()
    for value, (register, dtype, checked) in zip(result, targets, strict=True):
        value = as_output(value, dtype)
        if checked is not None:
            checked.check_shape(tuple(value.shape))
        registers[register] = value


def grouped_kernel(instruction: Instruction) -> Callable[..., Any]:
    definition = instruction.op.definition
    compute = definition.compute
    if len(definition.input_args) == 1:  # one list
        return lambda xp, *arguments: compute(xp, list(arguments))

    def kernel(xp: Any, *arguments: Any) -> Any:
        return compute(xp, *definition.group_inputs(list(arguments)))

    return kernel
