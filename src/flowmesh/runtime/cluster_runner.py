"""Running one cluster again and again: binding its state, and choosing between NumPy and XLA.

The choice (`choose`) is a pure function of counts and sizes. The first run of a signature (shapes, dtypes, static values) is
NumPy's unless the work is known to be worth a compilation at once; clusters with kernels that only XLA has are always compiled.

A cluster that writes variables holds their locks, in an order that all clusters keep, from reading them to writing
them: no update is ever lost. Random ops' states likewise.
"""

from __future__ import annotations

import functools
import logging
import sys
import threading
import time
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from flowmesh.core.errors import InvalidArgumentError, OpError
from flowmesh.graph.tensor import Tensor
from flowmesh.resources.manager import Resource
from flowmesh.resources.variable import Variable
from flowmesh.runtime import cores, cost, numpy_exec
from flowmesh.runtime.blas import single_thread
from flowmesh.runtime.device import Device
from flowmesh.runtime.execution import Execution
from flowmesh.runtime.failures import NodeFailure
from flowmesh.runtime.products import MOST_CORES, Room
from flowmesh.runtime.program import Cell, Program
from flowmesh.runtime.running_ahead import RunningAhead
from flowmesh.runtime.shaped import Recorder, ShapedCluster
from flowmesh.runtime.step import ImplicitState, SessionState
from flowmesh.runtime.trace import TraceCollector
from flowmesh.runtime.values import freeze, is_array, to_host
from flowmesh.runtime.warm import WarmCluster
from flowmesh.runtime.xla import CompiledProgram, count

_log = logging.getLogger(__name__)

MAX_SIGNATURES = 16
"""Programs kept for one cluster; beyond that new signatures are run by NumPy."""
MAX_SHAPED = 128
"""Shapes of its inputs for which a cluster that NumPy runs is prepared."""
_LIGHT_BYTES = 1 << 20
"""Inputs of open shapes with so many bytes are no light work."""
_LIGHT_ELEMENTS = 1 << 18
_MAX_RANK = 64
"""Longer integer vectors are no shapes."""
_MAX_KNOWN = 512
_MAX_STATIC_SIZE = 1024
_RECORDED = 2
"""The run of a cluster that is NumPy's for ever at which it is prepared for more."""


def choose(
    mode: str,
    runs: int,
    work: int,
    ops: int,
    *,
    xla_only: bool = False,
    accelerator: bool = False,
    full: bool = False,
) -> str:
    """ "numpy" or "xla" for the next run of a signature that was run `runs` times with `work` each.

    `mode` is "auto", "numpy" or "xla"; `full` tells that the cluster has as many programs as it may.
    """
    if mode == "numpy" or full:
        return "numpy"
    if mode == "xla" or xla_only:
        return "xla"
    return "xla" if cost.worth_compiling(runs, work, ops, accelerator) else "numpy"


class _Entry:
    """What is known about one signature."""

    __slots__ = ("broken", "compiled", "key", "left", "limit", "lock", "runs", "warm", "work")

    def __init__(self, key: tuple[Any, ...]) -> None:
        self.key = key
        self.runs = 0
        self.limit = sys.maxsize
        """As many runs may be NumPy's before the choice is made anew."""
        self.work: int | None = None
        self.warm: WarmCluster | None = None
        self.compiled: CompiledProgram | None = None
        self.broken = False
        self.left = False
        """Whether it is left to NumPy although an XLA program would be worth while."""
        self.lock = threading.Lock()


class ClusterRunner:
    """One cluster of one executable. Thread-safe."""

    def __init__(
        self,
        program: Program,
        device: Device,
        how: Execution,
        traceable: bool,
        label: str,
        awaits: bool = False,
    ) -> None:
        """`traceable`: whether XLA can run it at all; `label` names the cluster in logs and traces; `awaits`: whether it belongs to a
        part of a step that waits for other tasks."""
        self.program = program
        self.device = device
        self.label = label
        self._how, self._traceable, self._awaits = how, traceable, awaits
        self.work = program.static_work
        """The work of the latest measured run; before it, what static shapes tell."""
        self._mode = how.mode if traceable else "numpy"
        self._entries: dict[Hashable, _Entry] = {}
        self._lock = threading.Lock()
        self._compiled = 0
        self._warned = False
        self._latest: _Entry | None = None
        """Of the programs: the one that was compiled last."""
        self._warm: WarmCluster | None = None
        """Of the programs: the one that ran last, bound to its variables."""
        self._warm_work: int | None = None
        """What a run of that one costs, where it was measured."""
        self._shaped: dict[Any, tuple[ShapedCluster, _Entry]] = {}
        """What NumPy runs the short way, by the shapes of the inputs."""
        self._usual: tuple[ShapedCluster, _Entry] | None = None
        """What NumPy ran the short way the last time."""
        self._always = _Entry(())
        """Stands for all signatures when NumPy always runs this cluster."""
        self._recordable = not device.is_accelerator and not program.implicit
        self._settled = self._mode == "numpy" or (
            self._mode == "auto" and not device.is_accelerator and cost.moves_nothing(program.ops)
        )
        """Whether it is certain that this cluster will always be run by NumPy."""

    @property
    def is_settled(self) -> bool:
        """Whether NumPy will run it for ever."""
        return self._settled and not self.device.is_accelerator

    @property
    def is_compiled(self) -> bool:
        """Whether the latest run was an XLA program's."""
        return self._warm is not None

    @property
    def shares(self) -> bool:
        """Whether the latest run was one that two threads share."""
        usual = self._usual
        return usual is not None and usual[0].shares

    def is_numpys(self, inputs: Sequence[Any]) -> bool:
        """Whether it is known that NumPy will always run it for inputs of these shapes."""
        found = self._shaped.get(_shapes(inputs))
        return found is not None and found[1].limit == sys.maxsize

    def fresh(self) -> ClusterRunner:
        """A runner for another session's states: the same one where the cluster has none."""
        if not self.program.implicit:
            return self
        return ClusterRunner(
            self.program, self.device, self._how, self._traceable, self.label, self._awaits
        )

    def may_take_long(self, slots: Sequence[Any], inputs: Sequence[int], limit: int) -> bool:
        """Whether a run with the inputs in these slots may take more than the work `limit` although its work seems small: it may be
        compiled first, or the sizes of its values be known only now."""
        if (
            not self.program.fixed
            and not self._known_work([slots[i] for i in inputs]) < limit
            and (
                sum(getattr(slots[i], "nbytes", 0) for i in inputs) > _LIGHT_BYTES
                or (self.program.grows and self._asks_for_much(slots, inputs))
            )
        ):
            return not cost.moves_nothing(self.program.ops)
        if self._settled or self._warm is not None:
            return False
        usual = self._usual
        if usual is not None:
            return usual[1].runs + 1 >= usual[1].limit
        return self.program.xla_only or self.work >= cost.MINIMUM_FOR_XLA

    def _known_work(self, values: Sequence[Any]) -> int:
        """The work of a run with inputs of these shapes, if that is how it ran the last time; else a great deal."""
        warm, usual = self._warm, self._usual
        if warm is not None:
            work = self._warm_work if warm.fits(values) else None
        else:
            work = usual[1].work if usual is not None and usual[0].fits(values) else None
        return sys.maxsize if work is None else work

    def _asks_for_much(self, slots: Sequence[Any], inputs: Sequence[int]) -> bool:
        """Whether values that may say how large an output is have a large product."""
        for position in self.program.static_inputs:
            value = slots[inputs[position]]
            if is_array(value) and value.size <= _MAX_RANK and value.dtype.kind in "iu":
                product = 1
                for number in to_host(value).ravel().tolist():
                    product *= max(1, abs(number))
                if product > _LIGHT_ELEMENTS:
                    return True
        return False

    def run(
        self,
        inputs: Sequence[Any],
        session: SessionState,
        trace: TraceCollector | None = None,
        rooms: Mapping[int, Room] | None = None,
    ) -> list[Any]:
        """The outputs for these inputs; variables and implicit states are updated. `rooms` tell where outputs are wanted, by position;
        they may be elsewhere.

        Raises NodeFailure naming the op that failed.
        """
        program = self.program
        if trace is None:
            warm = self._warm
            if warm is not None:
                results = warm.run(inputs)
                if results is not None:
                    count("xla_runs")
                    return results
            if self._shaped:
                outputs = self._run_shaped(inputs, rooms)
                if outputs is not None:
                    return outputs
            elif warm is None and self._settled and program.is_plain and not program.multiplies:
                self._always.runs += 1
                if self._always.runs < _RECORDED or not self._recordable:
                    return numpy_exec.interpret_plain(program, inputs)
        registers = list(program.template)
        cells: dict[int, Cell] = {}
        for i, value in enumerate(inputs):
            if isinstance(value, Variable):
                cell = cells.get(id(value))
                if cell is None:
                    cell = cells[id(value)] = Cell(value, None, len(cells))
                value = cell
            registers[i] = value
        if not program.writes and not program.implicit:
            self._read(registers)
            return self._execute(registers, list(cells.values()), [], trace, (), ())
        states = [session.implicit(op) for op in program.implicit]
        locks = self._locks(registers, states)
        for lock in locks:
            lock.acquire()
        try:
            self._read(registers)
            implicit = [state.value for state in states]
            outputs = self._execute(registers, list(cells.values()), implicit, trace, states, locks)
            for cell in cells.values():
                if cell.written:
                    cell.variable.value = freeze(cell.value)
            for state, value in zip(states, implicit):
                state.value = value
        finally:
            for lock in locks:
                lock.release()
        return outputs

    def _run_shaped(
        self, inputs: Sequence[Any], rooms: Mapping[int, Room] | None = None
    ) -> list[Any] | None:
        """The outputs, when NumPy has run inputs of these shapes before and is to do so again."""
        found = self._usual
        if found is None or not found[0].fits(inputs):
            found = self._shaped.get(_shapes(inputs))
            if found is None:
                return None
            self._usual = found
        shaped, entry = found
        if entry.runs >= entry.limit:
            return None
        if self.program.multiplies and self.work <= cost.SINGLE_THREAD:
            with single_thread:
                outputs = shaped.run(inputs, rooms)
        else:
            outputs = shaped.run(inputs, rooms)
        if outputs is not None:
            entry.runs += 1
            count("numpy_runs")
        return outputs

    def _read(self, registers: list[Any]) -> None:
        for i in self.program.read_inputs:
            cell = registers[i]
            if isinstance(cell, Cell):
                cell.value = cell.variable.value
            elif isinstance(cell, Resource):
                raise _wrong_type(cell)

    def _locks(self, registers: list[Any], states: Sequence[ImplicitState]) -> list[Any]:
        """The locks to hold, in an order that all runs keep."""
        cells = [registers[i] for i in self.program.written_inputs]
        for cell in cells:
            if not isinstance(cell, Cell):
                raise _wrong_type(cell)
        locks = [cell.variable.lock for cell in cells]
        locks += [state.lock for state in states]
        return sorted(dict.fromkeys(locks), key=id)

    # -- NumPy or XLA ----------------------------------------------------------------------------------

    def _execute(
        self,
        registers: list[Any],
        cells: list[Cell],
        implicit: list[Any],
        trace: TraceCollector | None,
        states: Sequence[ImplicitState],
        locks: Sequence[Any],
    ) -> list[Any]:
        if self._settled:
            return self._by_numpy(registers, cells, implicit, trace, self._always)
        entry = self._entry(registers, cells)
        if entry is None or entry.broken:
            return self._by_numpy(registers, cells, implicit, trace, entry)
        if entry.compiled is None and self._choice(entry) == "numpy":
            return self._by_numpy(registers, cells, implicit, trace, entry)
        outputs = self._by_xla(registers, cells, implicit, trace, entry)
        if entry.compiled is not None:
            if entry.warm is None:
                held = entry.key[len(self.program.inputs) :]
                compiled, program = entry.compiled, self.program
                ahead = RunningAhead(compiled.jax) if self._runs_ahead(entry) else None
                entry.warm = WarmCluster(program, compiled, registers, held, states, locks, ahead)
            self._warm_work = entry.work
            self._warm = entry.warm
        return outputs

    def _runs_ahead(self, entry: _Entry) -> bool:
        """Whether its runs hand over work that keeps all cores busy, and nobody waits for them; long ones would hold the caller
        back for too long at a time.
        """
        program, compiled = self.program, entry.compiled
        return (
            compiled is not None
            and compiled.jax_device.platform == "cpu"
            and any(traced for _, traced, _ in compiled.written)
            and not any(kind == "traced" for kind, _ in compiled.results)
            and not compiled.guards.waits
            and not any(cost.is_row_update(op.type) for op in program.every)
            and cost.PARALLEL <= self._work_of(entry) <= cost.AHEAD
        )

    def _work_of(self, entry: _Entry) -> int:
        """What a run with this signature costs: what was measured, or else what static shapes tell."""
        return self.program.static_work if entry.work is None else entry.work

    def _choice(self, entry: _Entry) -> str:
        program = self.program
        work = self._work_of(entry)
        ask = functools.partial(
            choose,
            self._mode,
            entry.runs,
            work,
            len(program.ops),
            xla_only=program.xla_only,
            accelerator=self.device.is_accelerator,
        )
        choice = ask(full=entry.left)
        if choice == "xla" and self._compiled >= MAX_SIGNATURES:
            self._warn_of_signatures()
            entry.limit = sys.maxsize
            return ask(full=True)
        return choice

    def _is_too_small(self, work: int) -> bool:
        """Whether no number of runs would make compilation worth while."""
        return (
            self._mode == "auto"
            and not self.program.xla_only
            and work
            < (cost.MINIMUM_FOR_ACCELERATOR if self.device.is_accelerator else cost.MINIMUM_FOR_XLA)
        )

    def _warn_of_signatures(self) -> None:
        if not self._warned:
            self._warned = True
            _log.warning(
                "The cluster %s on %s was compiled for %d different shapes or static values; others are run by NumPy "
                "from now on. Remedy: pad its inputs to a fixed shape, and make shape-like values constants.",
                self.label,
                self.device.name,
                MAX_SIGNATURES,
            )

    def _entry(self, registers: list[Any], cells: list[Cell]) -> _Entry | None:
        """The entry of this run's signature, or None when it has none that could be compiled."""
        key = self._signature(registers, cells)
        if key is None:
            return None
        entry = self._entries.get(key)
        if entry is None:
            with self._lock:
                if len(self._entries) >= _MAX_KNOWN:
                    return None
                entry = self._entries.setdefault(key, _Entry(key))
        return entry

    def _signature(self, registers: list[Any], cells: list[Cell]) -> tuple[Any, ...] | None:
        parts: list[Any] = []
        static = self.program.static_inputs
        for i in range(len(self.program.inputs)):
            value = registers[i]
            if isinstance(value, Cell):
                parts.append(value.number)
            elif not is_array(value):
                return None
            elif i in static:
                if value.size > _MAX_STATIC_SIZE:
                    return None
                value = registers[i] = to_host(value)
                parts.append((value.shape, value.dtype, value.tobytes()))
            else:
                parts.append((value.shape, value.dtype))
        for cell in cells:
            held = cell.variable.value
            parts.append(None if held is None else (held.shape, held.dtype, cell.value is None))
        return tuple(parts)

    def _by_numpy(
        self,
        registers: list[Any],
        cells: list[Cell],
        implicit: list[Any],
        trace: TraceCollector | None,
        entry: _Entry | None,
    ) -> list[Any]:
        program = self.program
        measure = entry is not None and entry.work is None and entry is not self._always
        recorder = None
        if entry is not None and trace is None and self._is_to_be_recorded(entry):
            recorder = Recorder(program, registers, self._may_share())
        if program.multiplies and self.work <= cost.SINGLE_THREAD:
            with single_thread:
                work = numpy_exec.interpret(
                    program, registers, implicit, self.device, measure, trace, recorder
                )
        else:
            work = numpy_exec.interpret(
                program, registers, implicit, self.device, measure, trace, recorder
            )
        if recorder is not None and entry is not None:
            self._keep(recorder, entry)
        count("numpy_runs")
        if entry is not None:
            entry.runs += 1
            if measure:
                self.work = entry.work = work
                self._settled = program.fixed and self._is_too_small(work)
        outputs = [registers[r] for r in program.output_registers]
        return [v.variable if isinstance(v, Cell) else v for v in outputs]

    def _may_share(self) -> bool:
        """Whether NumPy with two threads may be better than an XLA program, whose threads sleep while the part waits and have to be
        woken in each step."""
        return (
            self._awaits
            and self._mode == "auto"
            and self.program.multiplies
            and cores.available() <= MOST_CORES
            and single_thread.is_known
        )

    def _is_to_be_recorded(self, entry: _Entry) -> bool:
        """Whether this signature is worth a short way: it comes again, and NumPy will run it once more at least."""
        if not self._recordable or len(self._shaped) >= MAX_SHAPED:
            return False
        if entry is self._always:
            return entry.runs >= _RECORDED
        return entry.runs >= 1 and entry.work is not None

    def _keep(self, recorder: Recorder, entry: _Entry) -> None:
        shaped = recorder.make()
        if shaped is None:
            self._recordable = False
            return
        if entry is not self._always:
            # What need not be computed in each run is no reason to compile.
            self.work = entry.work = shaped.work
            in_place = shaped.only_updates and shaped.work < cost.COMPILED_UPDATES
            entry.left = shaped.shares
            if not entry.broken and not in_place and not entry.left:
                entry.limit = cost.runs_before_compiling(shaped.work, len(self.program.ops))
        self._shaped[shaped.shapes] = (shaped, entry)

    def _by_xla(
        self,
        registers: list[Any],
        cells: list[Cell],
        implicit: list[Any],
        trace: TraceCollector | None,
        entry: _Entry,
    ) -> list[Any]:
        start = trace.now() if trace is not None else 0
        compiled = entry.compiled
        if compiled is None:
            with entry.lock:
                if entry.compiled is None and not entry.broken:
                    outputs = self._compile(registers, cells, implicit, entry, trace)
                    if outputs is not None:
                        return self._traced(outputs, trace, start)
                compiled = entry.compiled
            if compiled is None:
                return self._by_numpy(registers, cells, implicit, trace, entry)
        outputs = compiled(registers, cells, implicit)
        count("xla_runs")
        entry.runs += 1
        return self._traced(outputs, trace, start)

    def _compile(
        self,
        registers: list[Any],
        cells: list[Cell],
        implicit: list[Any],
        entry: _Entry,
        trace: TraceCollector | None,
    ) -> list[Any] | None:
        """Compiles and runs; None when the cluster cannot be traced, in which case nothing has changed."""
        started = time.perf_counter()
        try:
            compiled = CompiledProgram(
                self.program, self.device, registers, cells, self.label, self._how.precision
            )
            compiled.prepare(registers, cells, implicit)
            outputs = compiled(registers, cells, implicit)
        except NodeFailure as failure:
            if isinstance(failure.cause, OpError):
                raise
            self._give_up(entry, failure.cause, failure.op.name)
            return None
        except Exception as exc:
            self._give_up(entry, exc, self.label)
            return None
        entry.compiled = compiled
        entry.runs += 1
        with self._lock:
            self._compiled += 1
            before, self._latest = self._latest, entry
        count("xla_runs")
        count("compiles")
        self._tell(entry, before, time.perf_counter() - started, trace)
        return outputs

    def _tell(
        self, entry: _Entry, before: _Entry | None, seconds: float, trace: TraceCollector | None
    ) -> None:
        """Says in the log, and in the record of a traced step, what was compiled and why."""
        cause = self._cause(entry, before)
        _log.debug(
            "Compiled %s on %s (%d ops, run %d, %.0f ms): %s",
            self.label,
            self.device.name,
            len(self.program.ops),
            entry.runs,
            seconds * 1e3,
            cause,
        )
        if trace is not None:
            now = trace.now()
            text = f"compilation of {self.label}: {cause}"
            trace.record(
                self.device.name, f"{self.label}/compile", text, now - int(seconds * 1e9), now
            )

    def _cause(self, entry: _Entry, before: _Entry | None) -> str:
        if before is None:
            wanted = [t.name for t in self.program.outputs[:4]] or [self.program.ops[-1].name]
            return f"new set of fetches and feeds, for {', '.join(wanted)}"
        program = self.program
        for i, (new, old) in enumerate(zip(entry.key, before.key)):
            if new == old:
                continue
            if i >= len(program.inputs):
                return f"new shape of a variable: {new[:2]} after {old and old[:2]}"
            what = "value of the static" if i in program.static_inputs else "shape of the"
            return f"new {what} input {_client_name(program.inputs[i])}: {new[:2]} after {old[:2]}"
        return "new combination of variables"

    def _give_up(self, entry: _Entry, exc: BaseException, where: str) -> None:
        entry.broken = True
        entry.limit = sys.maxsize
        count("fallbacks")
        _log.debug(
            "%s cannot be traced (%s: %s): %s is run by NumPy",
            where,
            type(exc).__name__,
            exc,
            self.label,
        )

    def _traced(self, outputs: list[Any], trace: TraceCollector | None, start: int) -> list[Any]:
        """Records a run of the XLA program: its time shared out among its ops by their estimated work."""
        if trace is None:
            return outputs
        for value in outputs:
            if hasattr(value, "block_until_ready"):
                value.block_until_ready()
        end = trace.now()
        produced = dict(zip(self.program.outputs, outputs))
        shares = [cost.static_work(op) for op in self.program.ops]
        total, done = sum(shares) or 1, 0
        for op, share in zip(self.program.ops, shares):
            at = start + (end - start) * done // total
            done += share
            until = start + (end - start) * done // total
            values = [produced[t] for t in op.outputs if t in produced]
            trace.record(
                op.device,
                op.name,
                f"{numpy_exec.label(op)} in {self.label}",
                at,
                until,
                values,
                start,
            )
        return outputs


def _shapes(inputs: Sequence[Any]) -> tuple[Any, ...]:
    return tuple([None if isinstance(v, Resource) else getattr(v, "shape", None) for v in inputs])


def _wrong_type(value: Any) -> InvalidArgumentError:
    """The error for something else where a variable must be."""
    got = getattr(type(value), "type_name", type(value).__name__)
    return InvalidArgumentError(
        None,
        None,
        f"Trying to access resource using the wrong type. Expected {Variable.type_name} got {got}",
    )


def _client_name(tensor: Tensor) -> str:
    """The name by which the program knows a tensor: for a feed, that of the fed tensor."""
    name = tensor.op.definition.attrs.get("tensor_name")
    return name.decode() if isinstance(name, bytes) else tensor.name
