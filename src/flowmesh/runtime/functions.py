"""Running functions of a graph's library: host ops that have functions (dataset ops ...) call them through `HostContext.functions`.

A function is prepared once for each part, device and argument shapes: its body becomes a part of its own, run by the same executor. Bodies that
can never wait (`InlineRun`) are run in the caller's thread without any machinery. Random ops in a body keep their state in an *instance*.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from flowmesh.core import dtypes, errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.shapes import TensorShape
from flowmesh.graph import constant_value, registry
from flowmesh.graph.attrs import FunctionRef
from flowmesh.graph.function import Body, Function, named_functions
from flowmesh.graph.graph import Graph
from flowmesh.graph.operation import Operation
from flowmesh.graph.tensor import Tensor
from flowmesh.passes.frames import is_back_edge
from flowmesh.passes.prune import prune
from flowmesh.passes.simplify import simplify
from flowmesh.runtime.cost import HEAVY
from flowmesh.runtime.failures import IN_FUNCTION
from flowmesh.runtime.inline import InlineRun, is_inline
from flowmesh.runtime.rendezvous import Rendezvous
from flowmesh.runtime.step import SessionState, StepContext
from flowmesh.runtime.straight import Call, straight_call

if TYPE_CHECKING:
    from flowmesh.runtime.executor import Executable

_SOURCES = ("Iterator", "VarHandleOp", "Variable")
_calls = itertools.count(1)
_TRIES = (3, 100)
"""The calls after which a function is tried to be made a list of kernels."""


class FunctionLibrary:
    """The functions of a part, prepared when they are first asked for. Thread-safe."""

    def __init__(
        self, functions: Mapping[str, Function], build: Callable[[Graph], Executable]
    ) -> None:
        """`build` makes an executable of a part of this task."""
        self._functions = functions
        self._build = build
        self._lock = threading.RLock()
        self._prepared: dict[Any, PreparedFunction] = {}
        self._prompt: dict[str, bool] = {}

    def prepare(
        self, ref: FunctionRef, device: str, shapes: Sequence[TensorShape] | None = None
    ) -> PreparedFunction:
        """The function that a `func` attr names, ready to run on `device` for arguments of these (partial) shapes.

        Raises NotFoundError when the library has none of that name, or the error of a body that cannot be built.
        """
        known = tuple(s.key for s in shapes) if shapes is not None else None
        key = (ref.name, device, known)
        found = self._prepared.get(key)
        if found is not None:
            return found
        with self._lock:
            found = self._prepared.get(key)
            if found is None:
                function = self._functions.get(ref.name)
                if function is None:
                    raise errors.NotFoundError(
                        None,
                        None,
                        f"Function {ref.name} is not defined: the graph's library does not have it. Send the library with "
                        "the graph.",
                    )
                part = body_part(function, device, shapes)
                part.functions = dict(self._functions)
                executable = self._build(part)
                executable.slow.clear()  # whoever calls it sees to the right thread
                found = PreparedFunction(function, executable, self.is_prompt(ref.name))
                self._prepared[key] = found
        return found

    def is_prompt(self, name: str) -> bool:
        """Whether a function, with those that ops in it call, never waits and calls none of the program's own code."""
        known = self._prompt.get(name)
        if known is None:
            self._prompt[name] = True  # of a function that calls itself the rest decides
            function = self._functions.get(name)
            known = function is not None and self._is_prompt_body(function.body)
            self._prompt[name] = known
        return known

    def _is_prompt_body(self, body: Body) -> bool:
        arguments = {tensor.op for tensor in body.inputs}
        return all(
            (op.definition.prompt or not op.definition.host)
            and all(self.is_prompt(inner) for inner in named_functions(op.definition))
            for op in body.graph.get_operations()
            if op not in arguments
        )


class PreparedFunction:
    """A function ready to run; `instance()` gives it fresh random states."""

    def __init__(self, function: Function, executable: Executable, prompt: bool) -> None:
        """`prompt`: whether a call never waits, nor calls the program's own code."""
        self.prompt = prompt
        self.name = function.name
        self.output_types = tuple(argument.dtype for argument in function.outputs)
        self._executable = executable
        self._feeds = [str(i) for i in range(len(function.inputs))]
        self._fetches = [str(i) for i in range(len(function.outputs))]
        self.keeps_state = any(
            runner.program.implicit for runner in executable.clusters.values()
        ) or any(runner.keeps_state for runner in executable.loops.values())
        self._shared = None if self.keeps_state else self._make(executable)

    @property
    def is_light(self) -> bool:
        """Whether calls are too small to be worth another thread, as far as is known."""
        return sum(r.work for r in self._executable.clusters.values()) < HEAVY

    def instance(self) -> FunctionInstance:
        """The function with random states of its own; the same one again where it has none."""
        if self._shared is not None:
            return self._shared
        return self._make(self._executable.with_state(SessionState()))

    def _make(self, executable: Executable) -> FunctionInstance:
        return FunctionInstance(self.name, executable, self._feeds, self._fetches)


class FunctionInstance:
    """A function that can be called. Thread-safe."""

    def __init__(
        self, name: str, executable: Executable, feeds: Sequence[str], fetches: Sequence[str]
    ) -> None:
        self.name = name
        self._executable = executable
        self._feeds = feeds
        self._fetches = fetches
        wanted = {n for n in feeds if n in executable.schedule.arguments}
        self._calls = 0
        self._straight: Call | None = None
        self.inline: InlineRun | None = None
        """What runs the body where it never has to wait."""
        if is_inline(executable, list(wanted), fetches):
            self.inline = InlineRun(executable, feeds, fetches)

    def start(
        self, arguments: Sequence[Any], cancellation: CancellationManager | None = None
    ) -> Future[list[Any]]:
        """Starts a call; the Future gives the results, or fails with the OpError of the op that failed."""
        done: Future[list[Any]] = Future()
        if self.inline is not None:
            try:
                done.set_result(self.inline.run(arguments))
            except errors.OpError as error:
                done.set_exception(self._told(error))
            return done
        number = next(_calls)
        own = CancellationManager(cancellation)
        step = StepContext(number, Rendezvous(number), own)
        running = self._executable.run(step, dict(zip(self._feeds, arguments)))

        def finish(run: Future[dict[str, Any]]) -> None:
            own.close()
            error = run.exception()
            if error is not None:
                done.set_exception(self._told(error))
            else:
                results = run.result()
                done.set_result([results[name] for name in self._fetches])

        running.add_done_callback(finish)
        return done

    def call(
        self, arguments: Sequence[Any], cancellation: CancellationManager | None = None
    ) -> list[Any]:
        """The results; waits in this thread where the body has to wait. Raises the OpError of the op that failed."""
        straight = self._straight
        if straight is not None:
            try:
                found = straight(arguments)
            except Exception:  # the usual way says it better
                found = None
            if found is not None:
                return found
        if self.inline is not None:
            try:
                found = self.inline.run(arguments)
            except errors.OpError as error:
                raise self._told(error) from error
            self._calls += 1
            if self._calls in _TRIES:
                self._straight = straight_call(self._executable, self._feeds, self._fetches)
            return found
        return self.start(arguments, cancellation).result()

    def _told(self, error: BaseException) -> BaseException:
        """The error with the function's name, in TensorFlow's words."""
        if not isinstance(error, errors.OpError) or error.message.startswith(IN_FUNCTION):
            return error
        told = errors.make(error.error_code, f"{IN_FUNCTION} {self.name}}}}} {error.message}")
        told.__cause__ = error
        return told


def body_part(
    function: Function, device: str, shapes: Sequence[TensorShape] | None = None
) -> Graph:
    """The body as a part of the task: all ops on `device`, arguments and results as `_Arg` and `_Retval`."""
    body = function.body
    part = Graph()
    part.foreign = body.graph.foreign
    copies: dict[Tensor, Tensor] = {}
    made: dict[Operation, Operation] = {}

    def add(op_type: str, attrs: dict[str, Any], inputs: Sequence[Tensor], name: str) -> Operation:
        op = part.create_operation(
            registry.lookup(op_type)(attrs), inputs, part.unique_name(name) + "/"
        )
        op.device = device
        return op

    for index, tensor in enumerate(body.inputs):
        argument = add("_Arg", {"T": tensor.dtype.base_dtype, "index": index}, [], tensor.op.name)
        shape = tensor.shape if shapes is None else tensor.shape.merge_with(shapes[index])
        argument.outputs[0].set_shape(shape)
        if tensor.dtype.base_dtype == dtypes.resource:
            constant_value.set_handle_shape(
                argument.outputs[0], constant_value.handle_shape(tensor)
            )
        copies[tensor] = argument.outputs[0]
    for op in prune(body.graph, body.outputs, _effects(function), body.inputs):
        controls = [made[c] for c in op._control_inputs if c in made]
        copy = part.create_operation(
            op.definition,
            [copies[op.inputs[0] if is_back_edge(op, t.op) else t] for t in op.inputs],
            op.name + "/",
            controls,
            device,
        )
        copy.device = device
        copy.extra_attrs = {k: v for k, v in op.extra_attrs.items() if k != "_class"}
        copy._frames = op._frames
        made[op] = copy
        copies.update(zip(op.outputs, copy.outputs))
    for op, copy in made.items():
        for index, tensor in enumerate(op.inputs):
            if is_back_edge(op, tensor.op):
                copy._update_input(index, copies[tensor])
    for index, tensor in enumerate(body.outputs):
        value = copies[tensor]
        add("_Retval", {"T": value.dtype.base_dtype, "index": index}, [value], "result")
    simplify(part)
    return part


def _effects(function: Function) -> list[Operation]:
    """The ops that run although no result needs them: those that the function names, else all with effects."""
    body = function.body
    if body.controls or function.message is None:
        return list(body.controls)
    return [
        op
        for op in body.graph.get_operations()
        if op.definition.stateful
        and not op.definition.implicit_state
        and not op.type.endswith(("Dataset", "DatasetV2"))
        and not op.type.startswith(_SOURCES)
    ]
