"""Simplification of one part before it is clustered: folding, common subexpressions, identities, transposes, dead code.

Rules, for *pure* ops alone: array kernels without state, host side, refs, resources, random numbers or control flow
  1. A pure op of one output whose inputs are small constants is turned into the constant that its kernel computes,
     unless that fails: then it is left to fail when it runs.
  2. Of two pure ops with the same type, attrs, inputs, control inputs and device, the later one's users take the earlier one's
     outputs.
  3. Users of an Identity (or StopGradient ...) without control inputs take its input, when both are on one device.
  4. A Transpose that undoes another one, or nothing, is such an identity. A Reshape of a Reshape takes the inner one's input.
  5. A pure op that had users, and has none left, is removed. One that never had any was asked for by the program, if
     only for the error it may raise, and stays.
What has an effect, or may wait, stays as it is and in its order; so do ops that others have control edges to, and what comes out of Switch
and Merge. Values are those of the same kernels on the same inputs: nothing is reassociated.
Precondition: the part is owned by the caller (it is changed in place); its ops stand in topological order.
Postcondition: the same results and effects; ops still stand in topological order; no edge leaves the part.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from flowmesh.core.shapes import TensorShape
from flowmesh.graph import registry
from flowmesh.graph.graph import Graph
from flowmesh.graph.operation import Operation
from flowmesh.graph.tensor import Tensor
from flowmesh.passes import op_traits
from flowmesh.passes.frames import FRAME_OPS, MERGES, SWITCHES
from flowmesh.passes.op_traits import Kind

MAX_FOLDED = 4096
"""Elements up to which a constant is computed, or taken as an input of one."""
_MAX_COMPARED = 4096
"""Bytes up to which constants are compared."""
_IDENTITIES = frozenset({"Identity", "StopGradient", "PreventGradient", "Snapshot"})


def simplify(part: Graph, *, folding: bool = True, sharing: bool = True) -> int:
    """Simplifies the part in place; returns how many ops it has lost.

    `folding` allows rule 1, `sharing` rule 2 (ConfigProto: `do_constant_folding`, `do_common_subexpression_elimination`).
    """
    return _Simplifier(part, folding, sharing).run()


class _Simplifier:
    def __init__(self, part: Graph, folding: bool, sharing: bool) -> None:
        self._part = part
        self._ops = list(part.get_operations())
        self._folding = folding
        self._sharing = sharing
        self._instead: dict[Tensor, Tensor] = {}
        self._seen: dict[Hashable, Operation] = {}
        self._removable = {
            op for op in self._ops if any(t._consumers for t in op.outputs) and _is_pure(op)
        }

    def run(self) -> int:
        for op in self._ops:
            self._redirect(op)
            if not _is_pure(op):
                continue
            if self._folding and self._fold(op):
                self._removable.add(op)
            source = self._same_as(op)
            if source is not None:
                self._instead[op.outputs[0]] = source
                continue
            if op.type == "Reshape" and op.inputs[0].op.type == "Reshape":
                self._skip_inner(op)
            if self._sharing:
                self._share(op)
        return self._remove()

    def _redirect(self, op: Operation) -> None:
        """Lets the op take what its inputs have been replaced by."""
        for index, tensor in enumerate(op.inputs):
            other = self._instead.get(tensor)
            if other is not None:
                op._update_input(index, other)

    # -- rule 1 ----------------------------------------------------------------------------------------

    def _fold(self, op: Operation) -> bool:
        definition = op.definition
        if (
            not op.inputs
            or op._control_inputs
            or len(op.outputs) != 1
            or definition.xla_only
            or not op_traits.is_traceable(op.outputs[0].dtype)
            or not all(_is_small_constant(t.op) for t in op.inputs)
        ):
            return False
        size = op.outputs[0].shape.num_elements()
        if size is None or size > MAX_FOLDED:
            return False
        values = [t.op.definition.attrs["value"] for t in op.inputs]
        if any(arg.is_list for arg in definition.input_args):
            values = definition.group_inputs(values)
        dtype = op.outputs[0].dtype
        try:
            with np.errstate(all="ignore"):
                value = definition.compute(np, *values)
            (value,) = value if isinstance(value, tuple) else (value,)
            array = np.array(value, dtype.as_numpy_dtype)
        except Exception:
            return False
        if array.dtype != getattr(value, "dtype", array.dtype) or array.size > MAX_FOLDED:
            return False
        array.flags.writeable = False
        for tensor in op.inputs:
            tensor._consumers.remove(op)
        op._inputs = ()
        op.definition = registry.lookup("Const")({"value": array, "dtype": dtype})
        return True

    # -- rule 2 ----------------------------------------------------------------------------------------

    def _share(self, op: Operation) -> None:
        key = _key(op)
        if key is None:
            return
        first = self._seen.setdefault(key, op)
        if first is not op:
            self._instead.update(zip(op.outputs, first.outputs))

    # -- rules 3 and 4 ---------------------------------------------------------------------------------

    def _same_as(self, op: Operation) -> Tensor | None:
        """The tensor whose value the op passes on as it is."""
        if op._control_inputs or not op.inputs:
            return None
        source = op.inputs[0]
        if source.op.device != op.device or source.op.type in SWITCHES | MERGES:
            return None
        if op.type in _IDENTITIES:
            return source
        if op.type != "Transpose":
            return None
        order = _order(op)
        if order is None or source.shape.ndims != len(order):
            return None
        if order == sorted(order):
            return source
        inner = source.op
        if inner.type == "Transpose" and not inner._control_inputs and inner.device == op.device:
            first = _order(inner)
            if (
                first is not None
                and [first[i] for i in order] == sorted(order)
                and inner.inputs[0].op.type not in SWITCHES | MERGES
            ):
                return inner.inputs[0]
        return None

    def _skip_inner(self, op: Operation) -> None:
        inner = op.inputs[0].op
        source = inner.inputs[0]
        if inner._control_inputs or source.op.type in SWITCHES | MERGES:
            return
        # The inner one must be known to succeed: its error is not to be lost.
        size = source.shape.num_elements()
        if size is not None and size == inner.outputs[0].shape.num_elements():
            op._update_input(0, source)

    # -- rule 5 ----------------------------------------------------------------------------------------

    def _remove(self) -> int:
        gone: set[Operation] = set()
        for op in reversed(self._ops):
            if op not in self._removable or op._control_outputs:
                continue
            if any(t._consumers for t in op.outputs):
                continue
            gone.add(op)
            for tensor in op.inputs:
                tensor._consumers.remove(op)
            op._remove_all_control_inputs()
        if gone:
            self._part._discard(gone)
        return len(gone)


def _is_pure(op: Operation) -> bool:
    """Whether running the op does nothing but compute arrays from arrays (or an error)."""
    definition = op.definition
    if definition.stateful or definition.host or definition.implicit_state or not op.outputs:
        return False
    if op.type in FRAME_OPS:
        return False
    if op_traits.kind_of(op) not in (Kind.COMPUTE, Kind.NUMPY, Kind.CONSTANT):
        return False
    if op.type == "Const":
        return True
    tensors = (*op.inputs, *op.outputs)
    if not op.inputs or any(t.dtype._is_ref_dtype for t in tensors):
        return False
    return all(t.dtype.is_numpy_compatible for t in tensors) and all(
        arg.access is None for arg in definition.input_args
    )


def _is_small_constant(op: Operation) -> bool:
    if op.type != "Const" or op._control_inputs:
        return False
    value = op.definition.attrs.get("value")
    return (
        isinstance(value, np.ndarray)
        and value.size <= MAX_FOLDED
        and op_traits.is_traceable(op.outputs[0].dtype)
    )


def _order(op: Operation) -> list[int] | None:
    """The permutation of a Transpose, when it is a constant."""
    given = op.inputs[1].op
    if not _is_small_constant(given):
        return None
    return [int(i) for i in given.definition.attrs["value"].reshape(-1)]


def _key(op: Operation) -> Hashable | None:
    """Equal for ops that compute the same."""
    attrs = []
    for name, value in sorted(op.definition.attrs.items()):
        if isinstance(value, np.ndarray):
            if value.nbytes > _MAX_COMPARED or value.dtype.hasobject:
                return None
            value = (value.shape, value.dtype.str, value.tobytes())
        elif isinstance(value, TensorShape):
            value = value.key
        attrs.append((name, value))
    key = (op.type, op.device, tuple(attrs), op._inputs, frozenset(op._control_inputs))
    try:
        hash(key)
    except TypeError:
        return None
    return key
