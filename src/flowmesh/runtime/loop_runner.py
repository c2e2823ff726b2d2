"""Running a loop that is a unit of its own: in pieces, or step by step.

In pieces: the loop is a program that stops after a number of iterations, to be gone on with; it is run by a `ClusterRunner`, by NumPy at
first, and compiled as soon as the work done would have paid for it. Step by step: condition and body are executables, and an iteration
that has to wait (for a queue, say) holds no thread. Between pieces and steps the loop asks whether it is still wanted. A part of a loop over
several tasks goes iteration by iteration, under the names that TensorFlow's tasks give these.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from flowmesh.core.dtypes import bool as bool_dtype
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph.graph import Graph
from flowmesh.graph.operation import Operation
from flowmesh.passes.loop_op import Argument, Loop, SpreadBody, is_spread, loop_of, nested_ops
from flowmesh.resources.variable import Variable
from flowmesh.runtime import cost
from flowmesh.runtime.cluster_runner import ClusterRunner
from flowmesh.runtime.device import Device
from flowmesh.runtime.execution import Execution
from flowmesh.runtime.interruption import check_step, working_for
from flowmesh.runtime.program import Program, expected_iterations
from flowmesh.runtime.step import SessionState, StepContext
from flowmesh.runtime.values import DEAD, to_host

_PIECE_WORK = 30_000_000
"""What a piece may take: it cannot be stopped half-way."""
_SHORTEST, _LONGEST = 16, 65_536


class PieceRunner:
    """A loop in pieces."""

    def __init__(
        self, op: Operation, device: Device, how: Execution, session: SessionState, label: str
    ) -> None:
        self._op = op
        self._session = session
        self._variables = loop_of(op).variables
        self._results = loop_of(op).results
        piece = _piece(op)
        program = Program([piece], {}, set(piece.outputs))
        order = {tensor: i for i, tensor in enumerate(piece.inputs)}
        self._taken = [order[t] for t in program.inputs]
        self._runner = ClusterRunner(
            program, device, how, bool(op.definition.attrs["traceable"]), label
        )

    def run(self, inputs: Sequence[Any], step: StepContext) -> list[Any]:
        """The outputs."""
        values = list(inputs)
        number = self._variables
        with working_for(step):
            while True:
                outputs = self._runner.run(
                    [values[i] for i in self._taken], self._session, step.trace
                )
                values[:number] = outputs[:number]
                if not bool(to_host(outputs[number])):
                    return [values[i] for i in self._results]
                check_step(step)


def _piece(op: Operation) -> Operation:
    """The loop, in a graph of its own, as an op that stops after a number of iterations and says whether it goes on."""
    loop = loop_of(op)
    graph = Graph()
    inputs = []
    for i, tensor in enumerate(op.inputs):
        argument = Argument({"index": i}, outputs=[tensor.dtype])
        shape = tensor.shape if i >= loop.variables else unknown_shape()
        made = graph.create_operation(
            argument, [], f"{tensor.op.name}/_arg_{i}/", (), None, [shape]
        )
        inputs.append(made.outputs[0])
    kinds = [t.dtype for t in inputs[: loop.variables]]
    definition = Loop(loop, [t.dtype for t in inputs], [*kinds, bool_dtype])
    shapes = [unknown_shape()] * loop.variables + [TensorShape([])]
    piece = graph.create_operation(definition, inputs, op.name + "/", (), None, shapes)
    piece.device = op.device
    piece._frames = op._frames
    rounds = max(1, expected_iterations(op))
    work = Program([piece], {}, set()).static_work // rounds
    definition.attrs["piece"] = min(_LONGEST, max(_SHORTEST, _PIECE_WORK // max(work, 1)))
    return piece


class _Rounds(ABC):
    """One run of a loop whose parts are executables: one run of a part after the other, none of which holds a thread while it waits."""

    def __init__(self, inputs: Sequence[Any], step: StepContext) -> None:
        self._outer = step
        self._values = list(inputs)
        self._future: Future[list[Any]] = Future()

    def run(self) -> Any:
        """The outputs, or a Future of them."""
        self._go_on()
        future = self._future
        return future.result() if future.done() else future

    @abstractmethod
    def _start(self) -> Future[dict[str, Any]]:
        """Starts the part whose turn it is."""

    @abstractmethod
    def _take(self, results: dict[str, Any]) -> list[Any] | None:
        """Takes the results of that part; the outputs when the loop is over."""

    def _go_on(self) -> None:
        """Runs parts until one has to wait, or the loop is over."""
        try:
            while True:
                waiting = self._start()
                if not waiting.done():
                    waiting.add_done_callback(self._arrived)
                    return
                if self._is_over(waiting.result()):
                    return
        except Exception as exc:
            self._future.set_exception(exc)

    def _arrived(self, waiting: Future[dict[str, Any]]) -> None:
        try:
            over = self._is_over(waiting.result())
        except Exception as exc:
            self._future.set_exception(exc)
            return
        if not over:
            self._go_on()

    def _is_over(self, results: dict[str, Any]) -> bool:
        outputs = self._take(results)
        if outputs is not None:
            self._future.set_result(outputs)
        return outputs is not None


class StepRunner:
    """A loop whose condition and body are executables."""

    def __init__(self, op: Operation, make: Callable[[Graph], Any]) -> None:
        """`make` makes the executable of a graph."""
        loop = loop_of(op)
        self.loop = loop
        self.cond = make(loop.cond)
        self.body = make(loop.body)

    def run(self, inputs: Sequence[Any], step: StepContext) -> Any:
        """The outputs, or a Future of them."""
        return _Steps(self, inputs, step).run()


class _Steps(_Rounds):
    """One run of a loop step by step: condition and body in turn."""

    def __init__(self, runner: StepRunner, inputs: Sequence[Any], step: StepContext) -> None:
        super().__init__(inputs, step)
        self._runner = runner
        self._step = StepContext(
            step.step_id, step.rendezvous, step.cancellation, trace=step.trace, at_home=True
        )
        self._shared: list[Any] = []
        self._in_body = False

    def _start(self) -> Future[dict[str, Any]]:
        if self._in_body:
            return _run(self._runner.body, self._step, [*self._values, *self._shared])
        check_step(self._outer)
        return _run(self._runner.cond, self._step, self._values)

    def _take(self, results: dict[str, Any]) -> list[Any] | None:
        loop = self._runner.loop
        if self._in_body:
            self._values[: loop.variables] = [results[str(i)] for i in range(loop.variables)]
            self._in_body = False
            return None
        if not bool(to_host(results["0"])):
            return [self._values[i] for i in loop.results]
        self._shared = [results[str(i + 1)] for i in range(loop.shared)]
        self._in_body = True
        return None


class SpreadRunner:
    """A part of a loop over several tasks."""

    def __init__(self, op: Operation, make: Callable[[Graph], Any]) -> None:
        """`make` makes the executable of a graph."""
        self.loop = loop_of(op)
        self.iteration = make(self.loop.body)
        self.exits = len(op.outputs)

    def run(self, inputs: Sequence[Any], step: StepContext) -> Any:
        """The outputs, or a Future of them."""
        return _Iterations(self, inputs, step).run()


class _Iterations(_Rounds):
    """One run of such a part."""

    def __init__(self, runner: SpreadRunner, inputs: Sequence[Any], step: StepContext) -> None:
        super().__init__(inputs, step)
        self._runner = runner
        numbered = isinstance(runner.loop, SpreadBody) and runner.loop.numbered
        self._frame = step.frame.inner(runner.loop.name, numbered)

    def _start(self) -> Future[dict[str, Any]]:
        outer = self._outer
        check_step(outer)
        step = StepContext(outer.step_id, outer.rendezvous, outer.cancellation, trace=outer.trace)
        step.frame = self._frame
        step.iteration = self._frame.key
        return _run(self._runner.iteration, step, self._values)

    def _take(self, results: dict[str, Any]) -> list[Any] | None:
        variables = self._runner.loop.variables
        self._frame = self._frame.following()
        goes_on = results["0"]
        if goes_on is not DEAD and bool(to_host(goes_on)):
            self._values[:variables] = [results[str(i + 1)] for i in range(variables)]
            return None
        leaving = range(1 + variables, 1 + variables + self._runner.exits)
        return [results[str(i)] for i in leaving]


def _run(part: Any, step: StepContext, given: Sequence[Any]) -> Future[dict[str, Any]]:
    """Runs an executable whose arguments are called by their numbers."""
    arguments = {name: given[int(name)] for name in part.schedule.arguments}
    return part.run(step, arguments)  # type: ignore[no-any-return]


class LoopRunner:
    """A loop of an executable, run in whichever way suits it."""

    def __init__(
        self,
        op: Operation,
        device: Device,
        how: Execution,
        session: SessionState,
        label: str,
        make: Callable[[Graph], Any],
        reads: Sequence[bool],
    ) -> None:
        """`reads`: which inputs are refs whose values are wanted."""
        self._reads = list(reads)
        self.keeps_state = any(o.definition.implicit_state for o in nested_ops(op))
        """Whether there are random generators in it."""
        self._runner: PieceRunner | StepRunner | SpreadRunner
        if is_spread(op):
            self._runner = SpreadRunner(op, make)
        elif op.definition.attrs["steps"]:
            self._runner = StepRunner(op, make)
        else:
            self._runner = PieceRunner(op, device, how, session, label)
        self.work = cost.HEAVY
        """A loop is worth a thread of its own."""

    def run(self, inputs: Sequence[Any], step: StepContext) -> Any:
        """The outputs, or a Future of them."""
        values = [
            v.read() if reads and isinstance(v, Variable) else v
            for v, reads in zip(inputs, self._reads)
        ]
        return self._runner.run(values, step)
