"""NoOp, ControlTrigger, group, tuple, with_dependencies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowmesh.core import errors
from flowmesh.graph import hooks
from flowmesh.graph.composite import IndexedSlices, SparseTensor
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.op_def import Attr, OpDef
from flowmesh.graph.operation import Operation
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.naming import name_scope

_builtin_tuple = tuple


class NoOp(OpDef):
    """Does nothing; its control inputs make it a barrier."""

    devices = ("CPU", "GPU")

    def infer(self, ctx: Any) -> Any:
        return ()

    def compute(self, xp: Any) -> Any:
        return ()


class ControlTrigger(OpDef):
    """A NoOp that fires even when its control inputs are dead."""

    devices = ("CPU", "GPU")

    def infer(self, ctx: Any) -> Any:
        return ()

    def compute(self, xp: Any) -> Any:
        return ()


class Abort(OpDef):
    """Ends the step with an error (or in silence). TensorFlow's ends the process: here no graph can do that."""

    error_msg = Attr("string", b"")
    exit_without_error = Attr("bool", False)
    stateful = True

    def infer(self, ctx: Any) -> Any:
        return ()

    def run(self, ctx: Any) -> Any:
        """Raises AbortedError with `error_msg`, unless `exit_without_error`."""
        if not self.attrs["exit_without_error"]:
            text = self.attrs["error_msg"].decode(errors="replace")
            raise errors.AbortedError(None, None, text or "Abort")
        return ()


def no_op(name: str | None = None) -> Operation:
    """An Operation that does nothing (tf.no_op)."""
    return raw.NoOp(name=name)


def _flat(values: Any) -> list[Any]:
    """The leaves of nested lists, tuples and dicts (by sorted key)."""
    if isinstance(values, dict):
        return [leaf for key in sorted(values) for leaf in _flat(values[key])]
    if isinstance(values, (list, _builtin_tuple)):
        return [leaf for value in values for leaf in _flat(value)]
    return [values]


def _grouped(deps: Sequence[Any], device: str | None, name: str) -> Operation:
    graph = get_default_graph()
    with graph.control_dependencies(deps):
        if device is None:
            return no_op(name=name)
        with graph.device(device):
            return no_op(name=name)


def group(*inputs: Any, **kwargs: Any) -> Operation:
    """An Operation that finishes when all `inputs` (ops, tensors, nested structures of them) have (tf.group).

    Inputs on several devices are first grouped on each device. Keyword: `name`. Raises TypeError for anything else.
    """
    name = kwargs.pop("name", None)
    if kwargs:
        raise ValueError("Unknown keyword arguments: " + ", ".join(kwargs))
    with name_scope(name, "group_deps", list(inputs)) as scope:
        if not inputs:
            return no_op(name=scope)
        by_device: dict[str, list[Any]] = {}
        for value in _flat(inputs):
            if not hasattr(value, "device"):
                raise TypeError(
                    f"Expected tf.group() expected Tensor arguments not '{value}' with type '{type(value)}'"
                )
            by_device.setdefault(value.device, []).append(value)
        if len(by_device) == 1:
            ((device, deps),) = by_device.items()
            return _grouped(deps, device, scope)
        parts = []
        for device in sorted(by_device):
            parts.append(_grouped(by_device[device], device or "", "NoOp"))
        with get_default_graph().control_dependencies(parts):
            return no_op(name=scope)


def with_dependencies(dependencies: Sequence[Any], output: Any, name: str | None = None) -> Any:
    """`output` (Tensor or IndexedSlices) as a value that waits for `dependencies`
    (tensorflow.python.ops.control_flow_ops.with_dependencies)."""
    with name_scope(name, "control_dependency", [*dependencies, output]) as scope:
        graph = get_default_graph()
        with graph.colocate_with(output), graph.control_dependencies(dependencies):
            if isinstance(output, IndexedSlices):
                return IndexedSlices(
                    raw.Identity(output.values, name=scope), output.indices, output.dense_shape
                )
            if output.dtype._is_ref_dtype:
                return raw.RefIdentity(output, name=scope)
            return raw.Identity(output, name=scope)


def tuple(tensors: Any, name: str | None = None, control_inputs: Any = None) -> list[Any]:
    """The tensors, none of which is ready before all are (tf.tuple); None entries stay None.

    Raises ValueError when there is no tensor, TypeError for a control input that is neither Operation nor Tensor.
    """
    with name_scope(name, "tuple", list(tensors)):
        gating = [t if isinstance(t, Operation) else t.op for t in tensors if t is not None]
        for control in control_inputs or ():
            if isinstance(control, Tensor):
                control = control.op
            elif not isinstance(control, Operation):
                raise TypeError(f"Control input must be Operation or Tensor: {control}")
            gating.append(control)
        gating = sorted(set(gating), key=lambda op: op.id)
        if not gating:
            raise ValueError("Must have at least one Tensor: " + str(tensors))
        gate = group(*gating)
        results = []
        for item in tensors:
            if isinstance(item, (Tensor, IndexedSlices, SparseTensor)) or hasattr(item, "dtype"):
                results.append(with_dependencies([gate], item))
            elif isinstance(item, Operation):
                with get_default_graph().control_dependencies([gate]):
                    results.append(item)
            else:
                results.append(None)
        return results


hooks.convert_tuple = tuple
