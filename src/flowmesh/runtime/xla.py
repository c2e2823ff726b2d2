"""One cluster as one jitted XLA program: (inputs, state) -> (results, new state).

While it is traced, kernels whose inputs are all known run with NumPy: shapes, axes and what follows from them become constants of
the program. Inputs of the cluster on which such values depend are part of its signature.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flowmesh.passes import op_traits
from flowmesh.runtime.device import Device, load_jax
from flowmesh.runtime.program import Cell, Instruction, Program, invoke
from flowmesh.runtime.values import freeze

_log = logging.getLogger(__name__)

_LARGE_CONSTANT = 16384
"""Constants of more elements are handed to the program instead of built into it."""
_FOLD_LIMIT = 4096
"""Known values of more elements than this are computed in the program rather than built into it."""


class _Counters:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.counts = {"compiles": 0, "xla_runs": 0, "numpy_runs": 0, "fallbacks": 0}


_counters = _Counters()


def count(what: str) -> None:
    """Adds one to a counter of `statistics`."""
    with _counters.lock:
        _counters.counts[what] += 1


def statistics() -> dict[str, int]:
    """How many programs were compiled and how clusters were run in this process: 'compiles', 'xla_runs', 'numpy_runs', 'fallbacks'."""
    with _counters.lock:
        return dict(_counters.counts)


class CompiledProgram:
    """A program compiled for one signature. Thread-safe once the first call has returned."""

    def __init__(
        self,
        program: Program,
        device: Device,
        registers: Sequence[Any],
        cells: Sequence[Cell],
        label: str,
    ) -> None:
        """`registers` and `cells` are those of a run with the signature; their values of static inputs are kept."""
        self._program = program
        self._device = device
        self._label = label
        self._jax = load_jax()
        self._cell_registers = {
            i: registers[i].number for i in program.handles if isinstance(registers[i], Cell)
        }
        self._variables = [cell.variable for cell in cells]
        self._read_cells = [k for k, cell in enumerate(cells) if cell.value is not None]
        self._static = {
            i: freeze(np.array(registers[i]))
            for i in program.static_inputs
            if i not in program.handles
        }
        self._dynamic = [
            i
            for i in range(len(program.inputs))
            if i not in self._static and i not in self._cell_registers
        ]
        self._results: list[tuple[str, Any]] = []
        self._written: list[tuple[int, bool, Any]] = []
        self._implicit: list[tuple[bool, Any]] = []
        jax_device = device.jax_device()
        self._jax_device = jax_device
        self._default = jax_device == self._jax.devices()[0]
        self._large = self._large_constants()
        self._large_values = [
            self._jax.device_put(program.template[register], jax_device) for register in self._large
        ]
        self._function: Callable[..., Any] = self._jax.jit(self._traced)

    def _large_constants(self) -> list[int]:
        """The registers of constants that are arguments of the program."""
        program = self._program
        known: set[int] = set()
        for instruction in program.instructions:
            if instruction.op in program.folded:
                known.update(instruction.sources)
            known.update(instruction.sources[i] for i in instruction.needs_static)
        return [
            register
            for register, value in program.constants
            if value.size > _LARGE_CONSTANT and register not in known
        ]

    # -- tracing -------------------------------------------------------------------------------------

    def _traced(self, *flat: Any) -> tuple[Any, ...]:
        """The function that is traced: the flat arrays in, the flat arrays out; notes what goes where."""
        count("compiles")
        program = self._program
        values = iter(flat)
        registers: list[Any] = list(program.template)
        for i in (*self._large, *self._dynamic):
            registers[i] = next(values)
        for i, value in self._static.items():
            registers[i] = value
        cells = [Cell(variable, None, k) for k, variable in enumerate(self._variables)]
        for k in self._read_cells:
            cells[k].value = next(values)
        for i, k in self._cell_registers.items():
            registers[i] = cells[k]
        implicit = list(values)

        def call(instruction: Instruction, arguments: list[Any]) -> Any:
            return self._trace_call(instruction, arguments, implicit)

        with np.errstate(all="ignore"):
            program.evaluate(registers, implicit, call)
        return self._collect(registers, cells, implicit)

    def _collect(
        self, registers: list[Any], cells: list[Cell], implicit: list[Any]
    ) -> tuple[Any, ...]:
        out: list[Any] = []

        def put(value: Any) -> tuple[bool, Any]:
            """(traced, position among the results) or (not traced, the value itself)."""
            if isinstance(value, np.ndarray):
                return False, freeze(value)
            out.append(value)
            return True, len(out) - 1

        self._results = []
        for register in self._program.output_registers:
            value = registers[register]
            if isinstance(value, Cell):
                self._results.append(("cell", value.number))
            else:
                traced, where = put(value)
                self._results.append(("traced" if traced else "known", where))
        self._written = [(k, *put(c.value)) for k, c in enumerate(cells) if c.written]
        self._implicit = [put(value) for value in implicit]
        return tuple(out)

    def _trace_call(
        self, instruction: Instruction, arguments: list[Any], implicit: list[Any]
    ) -> Any:
        op = instruction.op
        if op.type in op_traits.SHAPE_OPS:
            stand_ins = [np.broadcast_to(np.zeros((), a.dtype), a.shape) for a in arguments]
            return invoke(instruction, np, stand_ins, implicit)
        jnp = self._jax.numpy
        known = [isinstance(a, np.ndarray) or a is None for a in arguments]
        for i in instruction.needs_static:
            if not known[i]:
                raise TypeError(f"Input {i} of {op.name} is not known when the program is traced")
        if self._is_foldable(instruction, known):
            return invoke(instruction, np, arguments, implicit)
        arguments = [
            jnp.asarray(a) if isinstance(a, np.ndarray) and i not in instruction.needs_static else a
            for i, a in enumerate(arguments)
        ]
        return invoke(instruction, jnp, arguments, implicit)

    def _is_foldable(self, instruction: Instruction, known: Sequence[bool]) -> bool:
        op = instruction.op
        definition = op.definition
        if definition.numpy_only:
            return True
        if definition.xla_only or instruction.implicit >= 0 or not all(known):
            return False
        if op in self._program.folded:
            return True
        sizes = [t.shape.num_elements() for t in op.outputs]
        return all(size is None or size <= _FOLD_LIMIT for size in sizes)

    # -- running -------------------------------------------------------------------------------------

    def __call__(
        self, registers: list[Any], cells: Sequence[Cell], implicit: list[Any]
    ) -> list[Any]:
        """Runs the program; returns the outputs and leaves new values in `cells` and `implicit`."""
        flat = [*self._large_values, *(self._argument(registers[i]) for i in self._dynamic)]
        flat += [self._state(cells[k]) for k in self._read_cells]
        flat += [self._argument(state) for state in implicit]
        if self._default:
            results = self._function(*flat)
        else:
            with self._jax.default_device(self._jax_device):
                results = self._function(*flat)
        for k, traced, where in self._written:
            cells[k].value = results[where] if traced else where
            cells[k].written = True
        for i, (traced, where) in enumerate(self._implicit):
            implicit[i] = results[where] if traced else where
        outputs = []
        for kind, where in self._results:
            if kind == "cell":
                outputs.append(cells[where].variable)
            else:
                outputs.append(results[where] if kind == "traced" else where)
        return outputs

    def _state(self, cell: Cell) -> Any:
        """The value of a variable; on an accelerator it stays there for the next run."""
        value = cell.value
        if not (self._device.is_accelerator and type(value) is np.ndarray):
            return self._argument(value)
        moved = self._jax.device_put(value, self._jax_device)
        variable = cell.variable
        with variable.lock:
            if variable.value is value:
                variable.value = moved
        return moved

    def _argument(self, value: Any) -> Any:
        """An array that the program may be given: on its device, and safe from changes while it runs."""
        if type(value) is np.ndarray:
            return freeze(value)
        if isinstance(value, self._jax.Array) and value.device != self._jax_device:
            return self._jax.device_put(value, self._jax_device)
        return value
