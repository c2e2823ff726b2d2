"""One cluster as one jitted XLA program: (inputs, state) -> (results, new state).

While it is traced, kernels whose inputs are all known run with NumPy: shapes, axes and what follows from them become constants of
the program. Inputs of the cluster on which such values depend are part of its signature.

Variables that the program both reads and writes are *donated*: XLA writes the new value into the memory of the old one. That is safe because
`append_state` has the variable let go of its array first, and donates it only when nobody else holds a reference to it; otherwise
the program gets a view, which XLA does not write to, and makes a new array. NumPy arrays are never written to either.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np

from flowmesh.ops.target import tracing_for
from flowmesh.passes import op_traits
from flowmesh.resources.variable import Variable, take_all
from flowmesh.runtime import kept_programs, lanes
from flowmesh.runtime.compile_options import options_for
from flowmesh.runtime.device import Device, load_jax
from flowmesh.runtime.execution import precision_of_products, rounded_operands
from flowmesh.runtime.guards import Guards
from flowmesh.runtime.kept_programs import KeptProgram, Outcome, quick
from flowmesh.runtime.loop_trace import TracedLoop
from flowmesh.runtime.program import Cell, Instruction, Program, invoke
from flowmesh.runtime.stored import StoredValues
from flowmesh.runtime.values import SMALL_FEED, freeze, host_view, is_frozen, private_copy

_log = logging.getLogger(__name__)

_LARGE_CONSTANT = 16384
"""Constants of more elements are handed to the program instead of built into it."""
_FOLD_LIMIT = 4096
"""Known values of more elements than this are computed in the program rather than built into it."""


_ALONE: int = next(map(sys.getrefcount, [np.zeros(0)]))
"""What `map(sys.getrefcount, values)` gives for what only the list `values` refers to."""


class _Counters:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.counts = {
            "compiles": 0,
            "xla_runs": 0,
            "numpy_runs": 0,
            "fallbacks": 0,
            "moves": 0,
            "loads": 0,
        }


_counters = _Counters()


def count(what: str) -> None:
    """Adds one to a counter of `statistics`."""
    with _counters.lock:
        _counters.counts[what] += 1


def statistics() -> dict[str, int]:
    """What happened in this process: 'compiles', 'xla_runs' and 'numpy_runs' of clusters, 'fallbacks' of programs that cannot be traced, 'moves'
    of the values of variables from NumPy to a device. 'loads' tells how many of the 'compiles' were read from the cache of programs."""
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
        precision: str = "float32",
    ) -> None:
        """`registers` and `cells` are those of a run with the signature; their values of static inputs are kept."""
        self._program = program
        self._device = device
        self._label = label
        self._precision = precision
        self.jax = load_jax()
        self._cell_registers = {
            i: registers[i].number for i in program.handles if isinstance(registers[i], Cell)
        }
        self.variables = [cell.variable for cell in cells]
        self.read_cells = [k for k, cell in enumerate(cells) if cell.value is not None]
        self.static = {
            i: freeze(np.array(registers[i]))
            for i in program.static_inputs
            if i not in program.handles
        }
        self.dynamic = [
            i
            for i in range(len(program.inputs))
            if i not in self.static and i not in self._cell_registers
        ]
        self.results: list[tuple[str, Any]] = []
        """Where each output comes from: ("traced", position), ("known", value) or ("cell", number)."""
        self.written: list[tuple[int, bool, Any]] = []
        self.implicit: list[tuple[bool, Any]] = []
        self.jax_device = device.jax_device()
        self.guards = Guards(len(program.inputs))
        self.several = len(self.jax.devices(self.jax_device.platform)) > 1
        self.array_type: Any = type(self.jax.device_put(np.zeros((), np.float32)))
        self._large = self._large_constants()
        self.large_values = [
            self.jax.device_put(program.template[register], self.jax_device)
            for register in self._large
        ]
        self.donated = self._find_donated()
        self._reads = [(self.variables[k], k in self.donated) for k in self.read_cells]
        self._kept = [variable for variable, donated in self._reads if not donated]
        self._taken = [variable for variable, donated in self._reads if donated]
        first = len(self._large) + len(self.dynamic)
        self.loaded = False
        """Whether it was found in the cache of programs."""
        self._trace_count = 0
        self._depth = 0
        self._options = options_for(self.jax, self.jax_device.platform, program.every)
        self.function: Any = self._jitted(first)

    def _jitted(self, first: int) -> Any:
        """The function to call; its arguments from `first` on are the variables that are read."""
        sharding = self.jax.sharding.SingleDeviceSharding(self.jax_device)
        return self.jax.jit(
            self._traced,
            in_shardings=sharding,
            out_shardings=sharding,
            donate_argnums=tuple(
                first + at for at, k in enumerate(self.read_cells) if k in self.donated
            ),
            compiler_options=self._options,
        )

    def _find_donated(self) -> frozenset[int]:
        """The cells that are read and written, and whose new values have the shapes of the old ones."""
        written = {self._cell_registers.get(i) for i in self._program.written_inputs}
        return frozenset(
            k
            for k in self.read_cells
            if k in written and self.variables[k].shape.is_fully_defined()
        )

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
        self._trace_count += 1
        if self._trace_count > 1:
            raise TypeError(f"{self._label} was given arrays that do not fit its signature")
        program = self._program
        values = iter(flat)
        registers: list[Any] = list(program.template)
        for i in (*self._large, *self.dynamic):
            registers[i] = next(values)
        for i, value in self.static.items():
            registers[i] = value
        cells = [Cell(variable, None, k) for k, variable in enumerate(self.variables)]
        for k in self.read_cells:
            cells[k].value = next(values)
        for i, k in self._cell_registers.items():
            registers[i] = cells[k]
        implicit = list(values)

        def call(instruction: Instruction, arguments: list[Any]) -> Any:
            return self._trace_call(instruction, arguments, implicit)

        stored = StoredValues(program)

        def observe(instruction: Instruction, *_: Any) -> None:
            stored.note(instruction, registers)

        platform = self.jax_device.platform
        precision = precision_of_products(self.jax, platform, self._precision)
        with np.errstate(all="ignore"), tracing_for(platform), precision:
            program.evaluate(registers, implicit, call, observe if platform == "cpu" else None)
        return self._collect(registers, cells, implicit)

    def _collect(
        self, registers: list[Any], cells: list[Cell], implicit: list[Any]
    ) -> tuple[Any, ...]:
        out: list[Any] = []

        def put(value: Any) -> tuple[bool, Any]:
            """(traced, position among the results) or (not traced, the value itself)."""
            value = lanes.settled(value)
            if isinstance(value, np.ndarray):
                return False, freeze(value)
            out.append(value)
            return True, len(out) - 1

        for k in self.donated:
            cells[k].value = self.jax.numpy.asarray(lanes.settled(cells[k].value))
        self.written = [(k, *put(c.value)) for k, c in enumerate(cells) if c.written]
        self.results = []
        for register in self._program.output_registers:
            value = registers[register]
            if isinstance(value, Cell):
                self.results.append(("cell", value.number))
            else:
                traced, where = put(value)
                self.results.append(("traced" if traced else "known", where))
        self.implicit = [put(value) for value in implicit]
        self.guards.collect(self.jax.numpy, out)
        return tuple(out)

    def _trace_call(
        self, instruction: Instruction, arguments: list[Any], implicit: list[Any]
    ) -> Any:
        op = instruction.op
        if instruction.loop is not None:
            self._depth += 1
            try:
                return TracedLoop(
                    self.jax,
                    instruction.loop,
                    arguments,
                    implicit,
                    self._trace_call,
                    self.guards.loops,
                ).run()
            finally:
                self._depth -= 1
        if op.type in op_traits.SHAPE_OPS:
            stand_ins = [np.broadcast_to(np.zeros((), a.dtype), a.shape) for a in arguments]
            return invoke(instruction, np, stand_ins, implicit)
        jnp = self.jax.numpy
        if any(isinstance(a, lanes.Lanes) for a in arguments):
            return lanes.call(instruction, jnp, arguments, implicit)
        if instruction.implicit >= 0 and self.jax_device.platform == "cpu":
            drawn = lanes.draw(instruction, jnp, arguments, implicit)
            if drawn is not None:
                return drawn
        known = [isinstance(a, np.ndarray) or a is None for a in arguments]
        for i in instruction.needs_static:
            if not known[i]:
                raise TypeError(f"Input {i} of {op.name} is not known when the program is traced")
        if self._is_foldable(instruction, known):
            return invoke(instruction, np, arguments, implicit)
        if op.definition.step_object:  # what is known may stay so
            return invoke(instruction, jnp, arguments, implicit)
        if self.jax_device.platform == "cpu":
            guards = self.guards.loops if self._depth else self.guards
            guards.note(jnp, instruction, arguments)
        arguments = [
            jnp.asarray(a) if isinstance(a, np.ndarray) and i not in instruction.needs_static else a
            for i, a in enumerate(arguments)
        ]
        if self._precision == "bfloat16":
            arguments = rounded_operands(self.jax, op.type, arguments)
        return invoke(instruction, jnp, arguments, implicit)

    def _is_foldable(self, instruction: Instruction, known: Sequence[bool]) -> bool:
        op = instruction.op
        definition = op.definition
        if definition.step_object:
            return False
        if definition.numpy_only:
            return True
        if definition.xla_only or instruction.implicit >= 0 or not all(known):
            return False
        if op in self._program.folded:
            return True
        sizes = [t.shape.num_elements() for t in op.outputs]
        return all(size is None or size <= _FOLD_LIMIT for size in sizes)

    # -- running -------------------------------------------------------------------------------------

    def prepare(self, registers: list[Any], cells: Sequence[Cell], implicit: Sequence[Any]) -> None:
        """Finds the program in the cache, or traces it, which changes nothing; raises what stands in the way."""
        flat = [*self.large_values, *(self.argument(registers[i])[0] for i in self.dynamic)]
        flat += [cells[k].value for k in self.read_cells]
        flat += [self.argument(state)[0] for state in implicit]
        started = time.perf_counter()
        kept = KeptProgram(
            self.jax, self._program, self.jax_device, self._large, self._facts(), flat
        )
        found = kept.load()
        if found is not None:
            self.function, outcome = found
            self.results, self.written = outcome.results, outcome.written
            self.implicit, self.guards = outcome.implicit, outcome.guards
            self.loaded = True
            count("loads")
            return
        lowered = self.function.trace(*flat).lower()
        compiled = kept.compile(lowered)
        self.function = quick(compiled)
        if time.perf_counter() - started >= kept_programs.MINIMUM_SECONDS:
            outcome = Outcome(self.results, self.written, self.implicit, self.guards)
            kept.store(lowered, compiled, outcome)

    def _facts(self) -> tuple[Any, ...]:
        """What the program is made for, beside the shapes of its arguments."""
        return (
            tuple(self.dynamic),
            tuple((i, self.static[i]) for i in sorted(self.static)),
            tuple(sorted(self._cell_registers.items())),
            tuple(self.read_cells),
            tuple(sorted(self.donated)),
            tuple(sorted((self._options or {}).items())),
            tuple((v.dtype, v.shape) for v in self.variables),
            self.several,
            self._precision,
        )

    def __call__(
        self, registers: list[Any], cells: Sequence[Cell], implicit: list[Any]
    ) -> list[Any]:
        """Runs the program; returns the outputs and leaves new values in `cells` and `implicit`.

        The caller holds the locks of the variables that are written.
        """
        self.guards.look_outside(registers)
        flat: list[Any] = list(self.large_values)
        wait = False
        for i in self.dynamic:
            value, borrowed = self.argument(registers[i])
            wait = wait or borrowed
            flat.append(value)
        first = len(flat)
        for cell in cells:
            cell.value = None  # the reference would keep the array from being donated
        try:
            self.append_state(flat)
            flat += [self.argument(state)[0] for state in implicit]
            results = self.function(*flat)
        except BaseException:
            self.give_back(flat[first:])
            for k in self.read_cells:
                cells[k].value = cells[k].variable.value
            raise
        failure = self.guards.failure(results)
        if failure is not None:
            for k, traced, where in self.written:
                self.variables[k].put(results[where] if traced else freeze(where))
            raise failure
        for k, traced, where in self.written:
            cells[k].value = results[where] if traced else where
            cells[k].written = True
        for i, (traced, where) in enumerate(self.implicit):
            implicit[i] = results[where] if traced else where
        outputs = []
        for kind, where in self.results:
            if kind == "cell":
                outputs.append(self.variables[where])
            else:
                outputs.append(results[where] if kind == "traced" else where)
        if wait and results:
            results[0].block_until_ready()
        return outputs

    def append_state(self, flat: list[Any]) -> None:
        """Adds the values of the variables that are read: for the program to overwrite where they are written and nobody else
        sees them; the locks of those are held. Nothing is taken before the rest has been read: whoever has taken a
        variable never waits for another one, and so those who wait for it get on.
        """
        first = len(flat)
        if not self._kept:
            take_all(self._taken, flat)
        else:
            kept = iter([self.state(variable) for variable in self._kept])
            for variable, donated in self._reads:
                flat.append(variable.take() if donated else next(kept))
        if self.several or any(
            n != _ALONE for n in map(sys.getrefcount, islice(flat, first, None))
        ):
            for at, (_, donated) in enumerate(self._reads, first):
                if donated:
                    flat[at] = self._to_overwrite(flat, at)

    def _to_overwrite(self, flat: list[Any], at: int) -> Any:
        """The value that was taken, or what the program can have in its place when somebody else sees it."""
        value = flat[at]
        # references: the list, this one, and the argument of getrefcount
        if type(value) is np.ndarray or sys.getrefcount(value) == 3:
            return value if not self.several else self._on_device(value)
        if value.platform() == "cpu":
            return host_view(value)
        return self._on_device(value).copy()

    def give_back(self, taken: Sequence[Any]) -> None:
        """After a failure: the variables get the arrays back that were taken from them."""
        for k, value in zip(self.read_cells, taken):
            if k in self.donated:
                self.variables[k].put(value)

    def state(self, variable: Variable) -> Any:
        """The value of a variable that stays as it is. Where it is NumPy's, it is moved to the device for good: otherwise
        every run would hand it over anew, with a copy when it is not aligned.
        """
        value = variable.value
        if type(value) is not np.ndarray:
            return self.argument(value)[0]
        moved = self.jax.device_put(value, self.jax_device)
        count("moves")
        variable.move(value, moved)
        return moved

    def argument(self, value: Any) -> tuple[Any, bool]:
        """An array that the program may be given, and whether somebody may change it once the run is over."""
        if type(value) is np.ndarray:
            if is_frozen(value):
                return value, False
            if value.nbytes <= SMALL_FEED:
                return private_copy(value), False
            return value, True
        return (self._on_device(value) if self.several else value), False

    def _on_device(self, value: Any) -> Any:
        if isinstance(value, self.array_type) and value.device != self.jax_device:
            return self.jax.device_put(value, self.jax_device)
        return value
