"""The short way through a compiled cluster: for a run that is like an earlier one.

A `WarmCluster` is bound to the variables and shapes of an earlier run. It checks that they are the same (identity of variables, shapes and dtypes
of values, bytes of static inputs), and calls the program: no signature is made, nothing is looked up. When anything is different it
says so, having changed nothing, and the cluster goes the long way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flowmesh.resources.variable import Variable
from flowmesh.runtime.feed_buffers import FeedBuffers
from flowmesh.runtime.program import Cell, Program
from flowmesh.runtime.running_ahead import RunningAhead
from flowmesh.runtime.step import ImplicitState
from flowmesh.runtime.values import SMALL_FEED, freeze, is_frozen
from flowmesh.runtime.xla import CompiledProgram


class _Known:
    """Shape and dtype that a variable's value must have. Which generation of the variable had them is remembered, and XLA's own
    description of them, being quicker to compare."""

    __slots__ = ("aval", "dtype", "generation", "keeps", "shape", "variable")

    def __init__(self, variable: Variable, held: tuple[Any, ...] | None) -> None:
        """`held` begins with shape and dtype; None stands for an uninitialized variable."""
        self.variable = variable
        self.shape = None if held is None else held[0]
        self.dtype = None if held is None else held[1]
        self.aval: Any = None
        self.generation = -1
        self.keeps: bool | None = None
        """Whether what the program writes has them, too; None before its first run."""

    def holds(self) -> bool:
        """Whether the variable's value fits; its generation is not the one that did the last time."""
        generation = self.variable.generation
        if not self.fits(self.variable.value):
            return False
        self.generation = generation
        return True

    def fits(self, value: Any) -> bool:
        """Whether a value has the shape and dtype."""
        aval = getattr(value, "aval", None)
        if aval is not None and aval is self.aval:
            return True
        if value is None or self.shape is None:
            return value is None and self.shape is None
        if value.shape != self.shape or value.dtype != self.dtype:
            return False
        self.aval = aval
        return True


class WarmCluster:
    """A compiled program with the variables of one session. Thread-safe."""

    def __init__(
        self,
        program: Program,
        compiled: CompiledProgram,
        registers: Sequence[Any],
        held: Sequence[tuple[Any, ...] | None],
        states: Sequence[ImplicitState],
        locks: Sequence[Any],
        ahead: RunningAhead | None = None,
    ) -> None:
        """`registers` are those of the earlier run, `held` tells what its variables held, `locks` are the ones it took;
        `ahead` holds runs back that are far ahead of XLA."""
        self._ahead = ahead
        self._compiled = compiled
        self._function = compiled.function
        self._handles: list[tuple[int, Any]] = []
        self._arrays: list[tuple[int, tuple[int, ...], Any, FeedBuffers]] = []
        self._statics: list[tuple[int, np.ndarray, bytes]] = []
        for i in range(len(program.inputs)):
            value = registers[i]
            if isinstance(value, Cell):
                self._handles.append((i, value.variable))
            elif i in compiled.static:
                kept = compiled.static[i]
                self._statics.append((i, kept, kept.tobytes()))
        for i in compiled.dynamic:
            register = registers[i]
            self._arrays.append((i, tuple(register.shape), register.dtype, FeedBuffers()))
        self._known = [_Known(v, h) for v, h in zip(compiled.variables, held)]
        self._written = [(self._known[k], t, w) for k, t, w in compiled.written]
        self._implicit = [(s, t, w) for s, (t, w) in zip(states, compiled.implicit)]
        self._locks = list(locks)
        self._outputs = [
            (True, where)
            if kind == "traced"
            else (False, compiled.variables[where] if kind == "cell" else where)
            for kind, where in compiled.results
        ]

    def run(self, inputs: Sequence[Any]) -> list[Any] | None:
        """The outputs, or None, with nothing changed, when this run is unlike the earlier one."""
        flat = self._gather(inputs)
        if flat is None:
            return None
        guards = self._compiled.guards
        if guards.outside:
            guards.look_outside(inputs)
        if self._ahead is not None:
            self._ahead.hold()
        locks = self._locks
        for lock in locks:
            lock.acquire()
        try:
            for known in self._known:
                if known.generation != known.variable.generation and not known.holds():
                    return None
            results = self._call(flat)
            for known, traced, where in self._written:
                value = results[where] if traced else freeze(where)
                known.variable.put(value)
                if known.keeps is None:
                    known.keeps = known.fits(value)
                if known.keeps:
                    known.generation += 1
            for state, traced, where in self._implicit:
                state.value = results[where] if traced else where
        finally:
            for lock in locks:
                lock.release()
        if guards.waits:
            failure = guards.failure(results)
            if failure is not None:
                raise failure
        if self._must_wait(inputs) and results:
            results[0].block_until_ready()
        return [results[where] if traced else where for traced, where in self._outputs]

    def fits(self, inputs: Sequence[Any]) -> bool:
        """Whether the arrays among the inputs have the shapes, and the static ones the values, of the earlier run."""
        return all(
            getattr(inputs[i], "shape", None) == shape for i, shape, _, _ in self._arrays
        ) and all(
            type(inputs[i]) is np.ndarray and inputs[i].tobytes() == data
            for i, _, data in self._statics
        )

    def _gather(self, inputs: Sequence[Any]) -> list[Any] | None:
        for i, variable in self._handles:
            if inputs[i] is not variable:
                return None
        compiled = self._compiled
        flat = list(compiled.large_values)
        for i, shape, dtype, buffers in self._arrays:
            value = inputs[i]
            if type(value) is np.ndarray:
                if value.shape != shape or value.dtype != dtype:
                    return None
                if value.nbytes <= SMALL_FEED and not is_frozen(value):
                    value = buffers.copy(value)
            elif type(value) is compiled.array_type:
                if value.shape != shape or value.dtype != dtype:
                    return None
                if compiled.several:
                    value, _ = compiled.argument(value)
            else:
                return None
            flat.append(value)
        for i, kept, data in self._statics:
            value = inputs[i]
            if (
                type(value) is not np.ndarray
                or value.shape != kept.shape
                or value.dtype != kept.dtype
                or value.tobytes() != data
            ):
                return None
        return flat

    def _must_wait(self, inputs: Sequence[Any]) -> bool:
        """Whether the program may still be reading an array that its owner may change after the run."""
        for i, _, _, _ in self._arrays:
            value = inputs[i]
            if type(value) is np.ndarray and value.nbytes > SMALL_FEED and not is_frozen(value):
                return True
        return False

    def _call(self, flat: list[Any]) -> Sequence[Any]:
        compiled = self._compiled
        first = len(flat)
        try:
            compiled.append_state(flat)
            for state, _, _ in self._implicit:
                flat.append(state.value)
            results: Sequence[Any] = self._function(*flat)
        except BaseException:
            compiled.give_back(flat[first:])
            raise
        if self._ahead is not None:
            self._ahead.started(results)
        return results
