"""What the clustering and the executor ask about a single op."""

from __future__ import annotations

from enum import Enum

from flowmesh.core import dtypes
from flowmesh.graph.op_def import OpDef
from flowmesh.graph.operation import Operation
from flowmesh.graph.tensor import Tensor
from flowmesh.passes.frames import MERGES, SWITCHES
from flowmesh.passes.loop_op import LOOP, nested_ops

SHAPE_OPS = frozenset({"Shape", "ShapeN", "Size", "Rank"})
KNOWN_WHEN_TRACED = SHAPE_OPS | {"TensorArraySizeV3"}
_SENDS = frozenset({"_Send", "_HostSend"})
_RECVS = frozenset({"_Recv", "_HostRecv"})


class Kind(Enum):
    """How the executor treats an op."""

    COMPUTE = "compute"
    """A pure kernel that may become part of an XLA program."""
    NUMPY = "numpy"
    """A pure kernel that only NumPy can run (strings, shapes that depend on values, objects)."""
    HOST = "host"
    """`run(ctx, ...)`: queues, files ..."""
    SEND = "send"
    RECV = "recv"
    SWITCH = "switch"
    MERGE = "merge"
    LOOP = "loop"
    """A loop that is run iteration by iteration, or in pieces (see `runtime/loop_runner.py`)."""
    SOURCE = "source"
    """Makes or finds a variable."""
    CONSTANT = "constant"
    """A `Const` without control inputs: its value is known before any run."""
    ARGUMENT = "argument"
    """A value given by the caller of the run."""
    RESULT = "result"
    """A value wanted by the caller of the run."""


def kind_of(op: Operation) -> Kind:
    """How the executor treats `op`."""
    definition = op.definition
    kind = _structural_kind(op)
    if kind is not None:
        return kind
    if definition.host:
        return Kind.HOST
    if definition.step_object:
        return Kind.COMPUTE if _holds_arrays(op) else Kind.NUMPY
    if not _is_array_op(op) or (definition.numpy_only and not is_foldable(op)):
        return Kind.NUMPY
    return Kind.COMPUTE


def _structural_kind(op: Operation) -> Kind | None:
    kind = op.type
    attrs = op.definition.attrs
    if kind == "_Arg":
        return Kind.ARGUMENT
    if kind == "_Retval":
        return Kind.RESULT
    if kind in _RECVS:
        return Kind.ARGUMENT if attrs.get("client_terminated") else Kind.RECV
    if kind in _SENDS:
        return Kind.RESULT if attrs.get("client_terminated") else Kind.SEND
    if kind == "Const":
        return (
            Kind.COMPUTE
            if op._control_inputs and _is_array_op(op)
            else (Kind.NUMPY if op._control_inputs else Kind.CONSTANT)
        )
    if kind in SWITCHES:
        return Kind.SWITCH
    if kind in MERGES:
        return Kind.MERGE
    if op.definition.variable_source:
        return Kind.SOURCE
    if kind == LOOP:
        return Kind.LOOP if attrs.get("bounded") is None else Kind.COMPUTE
    return None


def is_traceable(dtype: dtypes.DType) -> bool:
    """Whether XLA has arrays of this dtype."""
    base = dtype.base_dtype
    return base.is_numpy_compatible and base != dtypes.string and not base.is_quantized


def static_sources(op: Operation) -> list[Tensor]:
    """What the value of an op depends on when it is traced: for shapes nothing, for the size of a TensorArray what it was made with."""
    if op.type in SHAPE_OPS:
        return []
    if op.type != "TensorArraySizeV3":
        return [] if op.definition.step_object else list(op.inputs)
    source = op.inputs[0].op
    while source.inputs and source.type != "TensorArrayV3":
        source = source.inputs[0].op
    return list(source.inputs)


def flat_access(definition: OpDef) -> list[str | None]:
    """The access of each flat input."""
    return [arg.access for arg in definition.flat_input_args()]


def writes_state(op: Operation) -> bool:
    """Whether running `op` changes a variable."""
    if op.type == LOOP:
        return any(writes_state(inner) for inner in nested_ops(op))
    return any(arg.access in ("write", "update") for arg in op.definition.input_args)


def reads_state(op: Operation) -> bool:
    """Whether running `op` reads a variable: by declared access, or by an ordinary input that is given a ref."""
    if op.type == LOOP:
        return any(reads_state(inner) for inner in nested_ops(op))
    wanted = op.definition.flat_input_args()
    for tensor, arg in zip(op.inputs, wanted):
        if arg.access in ("read", "update"):
            return True
        if tensor.dtype._is_ref_dtype and not arg.ref:
            return True
    return False


def _holds_arrays(op: Operation) -> bool:
    """Whether what a TensorArray or stack op holds are arrays XLA knows."""
    values = (v for v in op.definition.attrs.values() if isinstance(v, dtypes.DType))
    return all(is_traceable(dtype) for dtype in values)


def _is_array_op(op: Operation) -> bool:
    """Whether all that goes in and comes out are arrays XLA knows, or variables used through an access."""
    for tensor, arg in zip(op.inputs, op.definition.flat_input_args()):
        if arg.access is not None:
            continue
        if arg.ref or not is_traceable(tensor.dtype):
            return False
    for tensor, arg in zip(op.outputs, op.definition.flat_output_args()):
        if not is_traceable(tensor.dtype):
            return False
        if tensor.dtype._is_ref_dtype and arg.alias is None:
            return False
    return True


def is_foldable(op: Operation, depth: int = 12) -> bool:
    """Whether the value of `op` follows from constants and from the shapes of its inputs alone."""
    definition = op.definition
    if op.type in SHAPE_OPS:
        return all(is_traceable(t.dtype) for t in op.inputs)
    if op.type == "TensorArraySizeV3":
        return all(is_foldable(t.op) for t in static_sources(op))
    if definition.host or definition.stateful or definition.xla_only or depth == 0:
        return False
    if op.type == "Const":
        return True
    if not op.inputs or not _is_array_op(op):
        return False
    return all(not t.dtype._is_ref_dtype and is_foldable(t.op, depth - 1) for t in op.inputs)


def static_input_indices(op: Operation) -> list[int]:
    """The flat inputs whose values must be known when `op` is traced."""
    if op.definition.numpy_only:
        return list(range(len(op.inputs)))
    if op.type == LOOP:
        known = op.definition.attrs.get("bounded") or ()
        return sorted(i for i in known if i < len(op.inputs))
    names = op.definition.static_inputs
    if not names:
        return []
    return [i for i, arg in enumerate(op.definition.flat_input_args()) if arg.name in names]
