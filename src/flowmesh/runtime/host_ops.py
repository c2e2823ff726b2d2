"""Host ops as the executor runs them, and the variables that a part names."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from flowmesh.core.shapes import TensorShape, as_shape
from flowmesh.graph.op_def import HostContext
from flowmesh.graph.operation import Operation
from flowmesh.resources.manager import ResourceManager
from flowmesh.resources.variable import Variable
from flowmesh.runtime.interruption import check_step
from flowmesh.runtime.numpy_exec import label
from flowmesh.runtime.pool import slow_pool
from flowmesh.runtime.schedule import Task
from flowmesh.runtime.step import SessionState, StepContext
from flowmesh.runtime.values import as_output, read_only_view, to_host

_log = logging.getLogger(__name__)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


class VariableSource:
    """Finds the variable that a VariableV2, Variable or VarHandleOp names."""

    __slots__ = ("_container", "_name", "_op", "_resources")

    def __init__(self, op: Operation, resources: ResourceManager) -> None:
        attrs = op.definition.attrs
        self._op = op
        self._resources = resources
        self._container = _text(attrs.get("container", b""))
        self._name = _text(attrs.get("shared_name", b"")) or op.name

    def find(self) -> Variable:
        """The variable, made without a value when it does not exist."""
        return self._resources.lookup_or_create(self._container, self._name, Variable, self._make)

    def _make(self) -> Variable:
        op = self._op
        attrs = op.definition.attrs
        shape: TensorShape = as_shape(attrs["shape"])
        if op.type == "Variable" and not shape.ndims:
            shape = TensorShape(None)
        return Variable(
            self._name,
            attrs["dtype"],
            shape,
            container=self._container or self._resources.default_container,
            device=op.device,
            is_resource=not op.outputs[0].dtype._is_ref_dtype,
        )


class HostRunner:
    """One host op of one executable."""

    def __init__(
        self,
        task: Task,
        resources: ResourceManager,
        session: SessionState,
        files: Any = None,
        log: Callable[[str], None] | None = None,
        functions: Any = None,
    ) -> None:
        op = task.op
        definition = op.definition
        self._op = op
        self._run = definition.run
        self._resources = resources
        self._session = session
        self._files = files
        self._log = log or _log.info
        self._functions = functions
        self._reads = task.reads_refs
        self._container = _text(definition.attrs.get("container", b""))
        self._grouped = any(arg.is_list for arg in definition.input_args)
        self._dtypes = [t.dtype.base_dtype for t in op.outputs]
        self._lists = tuple(arg.is_list for arg in definition.output_args)
        self._wanted = tuple(slot >= 0 for slot in task.outputs)
        self._found: tuple[int, list[Any]] | None = None
        """What an op that only finds a resource found, and the generation of the resources then."""

    def run(self, inputs: Sequence[Any], step: StepContext) -> Any:
        """The outputs, or a Future (of what `outputs` takes) when the op has to wait."""
        op = self._op
        trace = step.trace
        generation = self._resources.generation
        if self._found is not None and self._found[0] == generation and trace is None:
            return self._found[1]
        values: list[Any] = []
        for value, reads in zip(inputs, self._reads):
            if isinstance(value, Variable):
                values.append(to_host(value.read()) if reads else value)
            else:
                values.append(to_host(value))
        if self._grouped:
            values = op.definition.group_inputs(values)
        context = HostContext(
            name=op.name,
            device=op.device,
            resources=self._resources,
            container=self._container,
            step_id=step.step_id,
            cancellation=step.cancellation,
            state=self._session.node_state(op.name),
            files=self._files,
            log=self._log,
            functions=self._functions,
            session=self._session,
            at_home=step.at_home,
            spawn=slow_pool().submit,
            check=lambda: check_step(step),
            wanted=self._wanted if trace is None else (),
        )
        if trace is None:
            result = self._run(context, *values)  # type: ignore[misc]
            if isinstance(result, Future):
                return result
            outputs = self.outputs(result)
            if op.definition.finds_resource:
                self._found = (generation, outputs)
            return outputs
        start = trace.now()
        result = self._run(context, *values)  # type: ignore[misc]
        if isinstance(result, Future):
            result.add_done_callback(
                lambda _: trace.record(op.device, op.name, label(op), start, trace.now())
            )
            return result
        outputs = self.outputs(result)
        trace.record(op.device, op.name, label(op), start, trace.now(), outputs)
        return outputs

    def found(self, generation: int) -> Any:
        """The resource that an op which only finds one found, while the resources are those of `generation`; else None."""
        found = self._found
        return found[1][0] if found is not None and found[0] == generation else None

    def outputs(self, result: Any) -> list[Any]:
        """What `run` returned as one runtime value for each output."""
        expected = len(self._lists)
        if expected == 0:
            return []
        if expected == 1:
            if isinstance(result, tuple) and len(result) == 1:
                (result,) = result
            parts: Sequence[Any] = (result,)
        else:
            parts = result
        flat: list[Any] = []
        for part, is_list in zip(parts, self._lists):
            if is_list:
                flat.extend(part)
            else:
                flat.append(part)
        if len(flat) != len(self._dtypes):
            raise AssertionError(
                f"{self._op.type} gave {len(flat)} values for {len(self._dtypes)} outputs"
            )
        return [read_only_view(as_output(v, d)) for v, d in zip(flat, self._dtypes)]
