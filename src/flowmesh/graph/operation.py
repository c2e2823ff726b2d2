"""A node of a graph (TensorFlow: `tf.Operation`)."""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Iterable, Sequence
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf import text_format

from flowmesh.core import device_spec, errors
from flowmesh.core.shapes import TensorShape
from flowmesh.graph import default_stack
from flowmesh.graph.op_def import OpDef
from flowmesh.graph.tensor import Tensor

if TYPE_CHECKING:
    from flowmesh.graph.graph import Graph

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_MAX_FRAMES = 24


def capture_traceback() -> tuple[tuple[CodeType, int], ...]:
    """The frames of the user's program (innermost last) that lead here; frames of this package are left out."""
    frames: list[tuple[CodeType, int]] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and len(frames) < _MAX_FRAMES:
        code = frame.f_code
        if not code.co_filename.startswith(_PACKAGE) and not code.co_filename.startswith("<frozen"):
            frames.append((code, frame.f_lineno))
        frame = frame.f_back
    frames.reverse()
    return tuple(frames)


class Operation:
    """One node: an op definition bound to attrs, its inputs, control inputs, outputs, name and device."""

    def __init__(
        self,
        graph: Graph,
        definition: OpDef,
        name: str,
        inputs: Sequence[Tensor],
        control_inputs: Sequence[Operation],
        output_shapes: Sequence[TensorShape],
        op_id: int,
    ) -> None:
        self.graph = graph
        self.definition = definition
        self.name = name
        self.id = op_id
        self.device = ""
        self._inputs: tuple[Tensor, ...] = tuple(inputs)
        self._control_inputs: list[Operation] = list(control_inputs)
        self._control_outputs: list[Operation] = []
        self.extra_attrs: dict[str, Any] = {}
        self._frames = capture_traceback()
        self._control_flow_context: Any = None
        self.outputs: list[Tensor] = [
            Tensor(self, i, dtype, shape)
            for i, (dtype, shape) in enumerate(zip(definition.output_dtypes(), output_shapes))
        ]
        for tensor in self._inputs:
            tensor._consumers.append(self)
        for op in self._control_inputs:
            op._control_outputs.append(self)

    # -- what it is ------------------------------------------------------------------------------

    @property
    def type(self) -> str:
        """The op type ("MatMul")."""
        return self.definition.op_type

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The data inputs, flat."""
        return self._inputs

    @property
    def control_inputs(self) -> list[Operation]:
        """The operations that must have run before this one."""
        return list(self._control_inputs)

    @property
    def attrs(self) -> dict[str, Any]:
        """All attrs: the definition's and the node's own ("_class" ...)."""
        return {**self.definition.attrs, **self.extra_attrs}

    def get_attr(self, name: str) -> Any:
        """The value of an attr: a Python value, DType or list of these, a TensorShapeProto or TensorProto for a shape
        or tensor. Raises ValueError when the op has no attr of that name.
        """
        try:
            value = (
                self.extra_attrs[name] if name in self.extra_attrs else self.definition.attrs[name]
            )
        except KeyError:
            raise ValueError(f"Operation '{self.name}' has no attr named '{name}'.") from None
        if isinstance(value, (TensorShape, np.ndarray)):
            return self.graph.attr_message(value, self.definition.attrs.get("dtype"))
        return list(value) if isinstance(value, tuple) else value

    @property
    def node_def(self) -> Any:
        """A NodeDef message of this node."""
        return self.graph.node_def_of(self)

    @property
    def op_def(self) -> Any:
        """An OpDef message of this op's type."""
        return self.graph.op_def_of(self)

    @property
    def traceback(self) -> list[tuple[str, int, str, str | None]]:
        """(file, line, function, text) of the user's frames that created the node, innermost last."""
        return [
            (
                code.co_filename,
                line,
                code.co_name,
                linecache.getline(code.co_filename, line).strip() or None,
            )
            for code, line in self._frames
        ]

    @property
    def defined_at(self) -> str:
        """`file:line` of the innermost user frame, or ""."""
        if not self._frames:
            return ""
        code, line = self._frames[-1]
        return f"{code.co_filename}:{line}"

    def colocation_groups(self) -> list[bytes]:
        """The groups (`loc:@name`) that this node must share a device with; its own when it has none."""
        groups = [c for c in self.extra_attrs.get("_class", ()) if c.startswith(b"loc:@")]
        return groups or [b"loc:@" + self.name.encode()]

    def values(self) -> tuple[Tensor, ...]:
        """The outputs."""
        return tuple(self.outputs)

    def run(self, feed_dict: Any = None, session: Any = None) -> None:
        """`session.run(self, feed_dict)` in the given or default session."""
        session = default_stack.session_for("execute operation", "run()", self.graph, session)
        session.run(self, feed_dict)

    # -- what may be changed after creation --------------------------------------------------------

    def _set_device(self, device: Any) -> None:
        self.device = device_spec.canonical_name(device)
        self.graph._bump_version()

    def _set_attr(self, name: str, value: Any) -> None:
        if name in self.definition.attrs:
            self.definition = type(self.definition)({**self.definition.attrs, name: value})
        else:
            self.extra_attrs[name] = value
        self.graph._bump_version()

    def _add_control_input(self, op: Operation) -> None:
        self._add_control_inputs([op])

    def _add_control_inputs(self, ops: Iterable[Operation]) -> None:
        for op in ops:
            if op.graph is not self.graph:
                raise ValueError(f"{op.name} is of another graph than {self.name}")
            if op not in self._control_inputs:
                self._control_inputs.append(op)
                op._control_outputs.append(self)
        self.graph._bump_version()

    def _remove_all_control_inputs(self) -> None:
        for op in self._control_inputs:
            op._control_outputs.remove(self)
        self._control_inputs.clear()
        self.graph._bump_version()

    def _update_input(self, index: int, tensor: Tensor) -> None:
        if not 0 <= index < len(self._inputs):
            raise errors.OutOfRangeError(
                None,
                None,
                f"Cannot update edge. Input index [{index}] is greater than the number of total inputs "
                f"[{len(self._inputs)}].",
            )
        if tensor.graph is not self.graph:
            raise ValueError(f"{tensor.name} is of another graph than {self.name}")
        if tensor.dtype.base_dtype != self._inputs[index].dtype.base_dtype:
            raise errors.InvalidArgumentError(
                None,
                self,
                f"Input {index} of node {self.name} was passed {tensor.dtype.name} from {tensor.name} "
                f"incompatible with expected {self._inputs[index].dtype.name}.",
            )
        self._inputs[index]._consumers.remove(self)
        changed = list(self._inputs)
        changed[index] = tensor
        self._inputs = tuple(changed)
        tensor._consumers.append(self)
        self.graph._bump_version()

    def _get_control_flow_context(self) -> Any:
        return self._control_flow_context

    def _set_control_flow_context(self, context: Any) -> None:
        self._control_flow_context = context

    def _as_graph_element(self) -> Operation:
        return self

    def __str__(self) -> str:
        return text_format.MessageToString(self.node_def)

    def __repr__(self) -> str:
        return f"<tf.Operation '{self.name}' type={self.type}>"
