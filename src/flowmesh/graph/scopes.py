"""The scopes of a graph: name, device, control dependencies, colocation, container, attrs.

`ScopedGraph` is the part of `Graph` that keeps, for each thread, the stacks which `with graph.name_scope(...)` and its
siblings push to, and that applies them to a new operation.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from flowmesh.core import device_spec
from flowmesh.graph.operation import Operation
from flowmesh.graph.tensor import Tensor

_VALID_OP_NAME = re.compile(r"^[A-Za-z0-9.][A-Za-z0-9_./-]*$")
_VALID_SCOPE_NAME = re.compile(r"^[A-Za-z0-9_./-]*$")


class _ThreadState(threading.local):
    """The scope stacks of one thread in one graph."""

    def __init__(self) -> None:
        self.name_stack = ""
        self.devices: list[Any] = []
        self.controllers: list[_ControlDependencies] = []
        self.colocation: list[Operation] = []
        self.attrs: dict[str, Any] = {}
        self.control_flow_context: Any = None
        self.gradient_overrides: dict[str, str] = {}


class _ControlDependencies:
    """One `with control_dependencies([...])`; remembers which ops were made under it."""

    def __init__(self, graph: ScopedGraph, control_inputs: Sequence[Operation] | None) -> None:
        self._graph = graph
        self.new_stack = control_inputs is None
        self.control_inputs: list[Operation] = list(control_inputs or ())
        self.seen: set[Operation] = set()
        self._saved: list[_ControlDependencies] = []
        self._saved_context: Any = None

    def __enter__(self) -> None:
        state = self._graph._state
        if self.new_stack:
            self._saved, state.controllers = state.controllers, []
            self._saved_context, state.control_flow_context = state.control_flow_context, None
        state.controllers.append(self)

    def __exit__(self, *exc: object) -> None:
        state = self._graph._state
        state.controllers.remove(self)
        if self.new_stack:
            state.controllers = self._saved
            state.control_flow_context = self._saved_context


class ScopedGraph:
    """The scope stacks of a graph and what they do to new operations."""

    def __init__(self) -> None:
        self._state = _ThreadState()
        self._names_in_use: dict[str, int] = {}
        self._names_lock = threading.Lock()
        self._container = ""

    # -- names ---------------------------------------------------------------------------------------

    @property
    def _name_stack(self) -> str:
        return self._state.name_stack

    @_name_stack.setter
    def _name_stack(self, value: str) -> None:
        self._state.name_stack = value

    def get_name_scope(self) -> str:
        """The current name scope ("a/b")."""
        return self._state.name_stack

    def unique_name(self, name: str, mark_as_used: bool = True) -> str:
        """A name in the current scope that no node has yet ("a/b_1"); names are compared without case."""
        stack = self._state.name_stack
        if stack:
            name = f"{stack}/{name}"
        key = name.lower()
        with self._names_lock:
            used = self._names_in_use
            count = used.get(key, 0)
            if mark_as_used:
                used[key] = count + 1
            if count > 0:
                base = key
                while key in used:
                    key = f"{base}_{count}"
                    count += 1
                if mark_as_used:
                    used[key] = 1
                name = f"{name}_{count - 1}"
        return name

    def _scope_for(self, name: str) -> str:
        """The full name, without closing slash, of a scope or node to be called `name` in the current scope."""
        pattern = _VALID_SCOPE_NAME if self._state.name_stack else _VALID_OP_NAME
        if not pattern.match(name):
            raise ValueError(f"'{name}' is not a valid scope name")
        return name[:-1] if name[-1] == "/" else self.unique_name(name)

    @contextmanager
    def name_scope(self, name: str | None) -> Iterator[str]:
        """Prefixes the names of nodes made inside; None or "" goes back to the top, "x/" re-enters x.

        Raises ValueError for a name that is no valid scope name.
        """
        state = self._state
        old = state.name_stack
        if isinstance(name, bytes):
            name = name.decode()
        new = state.name_stack = self._scope_for(name) if name else ""
        try:
            yield "" if not name else new + "/"
        finally:
            state.name_stack = old

    # -- devices ------------------------------------------------------------------------------------

    @contextmanager
    def device(self, device_name_or_function: Any) -> Iterator[None]:
        """Puts nodes made inside on a device: a (partial) name, a function of the Operation, or None to ignore
        the scopes outside. Inner scopes win; names merge part by part.
        """
        entry = device_name_or_function
        if entry is not None and not callable(entry):
            entry = device_spec.canonical_name(entry)
        elif isinstance(entry, device_spec.DeviceSpec):
            entry = entry.to_string()
        devices = self._state.devices
        self._state.devices = [*devices, entry]
        try:
            yield
        finally:
            self._state.devices = devices

    def _apply_device_functions(self, op: Operation) -> None:
        for entry in reversed(self._state.devices):
            if entry is None:
                break
            if isinstance(entry, str):
                op.device = device_spec.merge_names(entry, op.device)
            else:
                named = entry(op)
                if named is None:
                    raise TypeError(f"Expected binary or unicode string, got {named!r}")
                op.device = device_spec.canonical_name(named)

    # -- control dependencies --------------------------------------------------------------------

    def control_dependencies(self, control_inputs: Any) -> _ControlDependencies:
        """Makes nodes created inside run after the given ops and tensors; None clears the scopes outside."""
        if control_inputs is None:
            return _ControlDependencies(self, None)
        ops: list[Operation] = []
        for item in control_inputs:
            if (hasattr(item, "_handle") and hasattr(item, "op")) or type(
                item
            ).__name__ == "IndexedSlices":
                item = item.op
            element = self.as_graph_element(item)
            op = element.op if isinstance(element, Tensor) else element
            if op not in ops:
                ops.append(op)
        return _ControlDependencies(self, ops)

    def as_graph_element(
        self, obj: Any, allow_tensor: bool = True, allow_operation: bool = True
    ) -> Any:
        """See `Graph.as_graph_element`."""
        raise NotImplementedError

    def _current_control_dependencies(self) -> set[Operation]:
        return {op for c in self._state.controllers for op in c.control_inputs}

    def _control_dependencies_for_inputs(self, input_ops: set[Operation]) -> list[Operation]:
        """The control inputs of a new op: those not implied already by its data inputs."""
        result: list[Operation] = []
        for controller in self._state.controllers:
            if controller.seen and not controller.seen.isdisjoint(input_ops):
                continue
            result.extend(
                op for op in controller.control_inputs if op not in input_ops and op not in result
            )
        return result

    def _record_op_seen(self, op: Operation) -> None:
        for controller in self._state.controllers:
            controller.seen.add(op)

    # -- colocation, containers, attrs, control flow ----------------------------------------------

    @contextmanager
    def colocate_with(self, op: Any, ignore_existing: bool = False) -> Iterator[None]:
        """Puts nodes made inside on the device of `op` (an Operation, Tensor, IndexedSlices; None: nowhere)."""
        if op is None and not ignore_existing:
            raise ValueError(
                "Trying to reset colocation (op is None) but ignore_existing is not True"
            )
        state = self._state
        devices, colocation = state.devices, state.colocation
        if op is not None:
            op = _op_of(op)
        state.devices = []  # colocation is stronger than device scopes
        state.colocation = [] if ignore_existing else list(colocation)
        if op is not None:
            state.colocation.append(op)
        try:
            yield
        finally:
            state.devices, state.colocation = devices, colocation

    def _apply_colocation(self, op: Operation) -> None:
        groups: set[bytes] = set()
        for other in reversed(self._state.colocation):
            groups.update(other.colocation_groups())
            if other.device:
                op.device = other.device
        op.extra_attrs["_class"] = tuple(sorted(groups))

    @contextmanager
    def container(self, container_name: str) -> Iterator[str]:
        """Puts the state of stateful ops made inside into the named resource container."""
        old, self._container = self._container, container_name
        try:
            yield container_name
        finally:
            self._container = old

    @contextmanager
    def _attr_scope(self, attr_map: dict[str, Any]) -> Iterator[None]:
        state = self._state
        old = state.attrs
        state.attrs = {**old, **attr_map}
        try:
            yield
        finally:
            state.attrs = old

    @contextmanager
    def gradient_override_map(self, op_type_map: dict[str, str]) -> Iterator[None]:
        """Uses the gradient registered under another name for some op types (`tf.RegisterGradient`)."""
        if not isinstance(op_type_map, dict):
            raise TypeError("op_type_map must be a dictionary mapping strings to strings")
        if not all(isinstance(k, str) for k in op_type_map):
            raise TypeError("Keys in op_type_map must be strings")
        if not all(isinstance(v, str) for v in op_type_map.values()):
            raise TypeError("Values in op_type_map must be strings")
        state = self._state
        old = state.gradient_overrides
        state.gradient_overrides = {**old, **op_type_map}
        try:
            yield
        finally:
            state.gradient_overrides = old

    @property
    def control_flow_context(self) -> Any:
        """The innermost cond context of this thread, or None."""
        return self._state.control_flow_context

    def _get_control_flow_context(self) -> Any:
        return self._state.control_flow_context

    def _set_control_flow_context(self, context: Any) -> None:
        self._state.control_flow_context = context

    def _finish_operation(self, op: Operation) -> None:
        """Applies the scopes of this thread to a new node."""
        state = self._state
        if state.devices:
            self._apply_device_functions(op)
        if state.attrs:
            for name, value in state.attrs.items():
                value = value(op.node_def) if callable(value) else value
                if value is not None:
                    op.extra_attrs[name] = value
        if state.colocation:
            self._apply_colocation(op)
        if state.gradient_overrides and op.type in state.gradient_overrides:
            op.extra_attrs["_gradient_op_type"] = state.gradient_overrides[op.type].encode()
        if (
            self._container
            and op.definition.stateful
            and op.definition.attrs.get("container") == b""
        ):
            op.definition = type(op.definition)(
                {**op.definition.attrs, "container": self._container.encode()}
            )


def _op_of(obj: Any) -> Operation:
    """The Operation that an Operation, Tensor, Variable or IndexedSlices stands for."""
    if isinstance(obj, Operation):
        return obj
    if hasattr(obj, "_as_graph_element"):
        obj = obj._as_graph_element()
    return obj if isinstance(obj, Operation) else obj.op
