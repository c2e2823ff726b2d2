"""What work costs, from counts and sizes alone, and which way of running a cluster is worth while.

Unit of work: about a nanosecond of NumPy on one core. Nothing here looks at a clock, so that equal programs always
take the same paths and give the same bits.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from flowmesh.graph.operation import Operation

PER_OP = 1_500
"""What calling one NumPy kernel costs whatever its size."""
MULTIPLY_ADDS_PER_UNIT = 8
MINIMUM_FOR_XLA = 60_000
"""Below this NumPy is done before an XLA program is even started."""
MINIMUM_FOR_ACCELERATOR = 10_000
COMPILE_BASE = 100_000_000
COMPILE_PER_OP = 5_000_000
HEAVY = 300_000
"""From here on a unit is worth a thread of its own."""
PARALLEL = 2_000_000
"""From here on that is so in a step of several tasks, too, where the threads of other tasks want the cores."""

COMPILED_UPDATES = 16_000_000
"""From here on an XLA program, which uses all cores, is better at updating whole variables."""

AHEAD = 50_000_000
"""Up to here the runs of a program are started many at a time (see `running_ahead`)."""

SINGLE_THREAD = 10_000_000
"""Up to here NumPy's matrix products are done by one thread."""

CONTRACTIONS = frozenset({"MatMul", "BatchMatMul", "BatchMatMulV2", "SparseMatMul"})
CONVOLUTIONS = frozenset(
    {
        "Conv2D",
        "Conv3D",
        "DepthwiseConv2dNative",
        "Conv2DBackpropInput",
        "Conv2DBackpropFilter",
        "Conv3DBackpropInputV2",
        "Conv3DBackpropFilterV2",
    }
)
# Kernels that take many passes over their data.
_SLOW = {
    "RandomUniform": 20,
    "RandomStandardNormal": 40,
    "TruncatedNormal": 50,
    "Exp": 5,
    "Log": 5,
    "Tanh": 8,
    "Sigmoid": 8,
    "Pow": 10,
    "Sin": 8,
    "Cos": 8,
    "Softmax": 8,
    "TopK": 20,
    "TopKV2": 20,
}


FREE = frozenset(
    {
        "Assign",
        "AssignVariableOp",
        "Const",
        "Identity",
        "NoOp",
        "Rank",
        "ReadVariableOp",
        "Shape",
        "ShapeN",
        "Size",
    }
)
"""Ops that hand arrays on as they are: an XLA program would copy them."""


_LOOKUPS = frozenset({"Gather", "GatherV2", "ResourceGather", "Slice", "StridedSlice"})
"""Ops that read as much of their first input as they give."""
_SPARSE = ("Scatter", "ResourceScatter", "SparseApply", "ResourceSparseApply")
"""Beginnings of the names of ops that change a few rows: their cost is that of the rows."""


def is_row_update(op_type: str) -> bool:
    """Whether an op of this type changes a few rows of what it is given."""
    return op_type.startswith(_SPARSE)


def moves_nothing(ops: Sequence[Operation]) -> bool:
    """Whether NumPy does all these ops without touching the data."""
    return all(op.type in FREE for op in ops)


def compile_cost(ops: int) -> int:
    """The work that compiling a cluster of this many ops is worth."""
    return COMPILE_BASE + COMPILE_PER_OP * ops


def worth_compiling(runs: int, work: int, ops: int, accelerator: bool = False) -> bool:
    """Whether a signature that ran `runs` times with `work` each should now become an XLA program.

    It should once the work done, this run included, would have paid for the compilation; small work never does. On an
    accelerator, where NumPy has to fetch the data first, the second run is enough.
    """
    if accelerator and runs >= 1:
        return work >= MINIMUM_FOR_ACCELERATOR
    return work >= MINIMUM_FOR_XLA and (runs + 1) * work >= compile_cost(ops)


def measured_work(op: Operation, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """The work of one op with these values."""
    if is_row_update(op.type):
        wanted = op.definition.flat_input_args()
        return PER_OP + sum(_size(x) for x, arg in zip(inputs, wanted) if arg.access is None)
    moved = sum(_size(x) for x in inputs) + sum(_size(y) for y in outputs)
    return PER_OP + _weight(op, moved, [_shape(x) for x in inputs], [_shape(y) for y in outputs])


def static_work(op: Operation) -> int:
    """The work of one op as far as static shapes tell; open dimensions count as 1."""
    if is_row_update(op.type):
        given = zip(op.inputs, op.definition.flat_input_args())
        return PER_OP + sum(_product(_static(t)) for t, arg in given if arg.access is None)
    ins = [_static(t) for t in op.inputs]
    outs = [_static(t) for t in op.outputs]
    moved = sum(_product(s) for s in ins) + sum(_product(s) for s in outs)
    return PER_OP + _weight(op, moved, ins, outs)


def runs_before_compiling(work: int, ops: int) -> int:
    """How many runs a signature of so much work has without an XLA program, on a CPU (see `worth_compiling`)."""
    if work < MINIMUM_FOR_XLA:
        return sys.maxsize
    return max(0, -(-compile_cost(ops) // work) - 1)


def _weight(
    op: Operation,
    moved: int,
    inputs: Sequence[tuple[int, ...]],
    outputs: Sequence[tuple[int, ...]],
) -> int:
    if op.type in FREE:
        return 0
    if op.type in _LOOKUPS:
        return sum(_product(s) for s in [*inputs[1:], *outputs])
    if op.type in CONTRACTIONS and inputs and len(inputs[0]) >= 2 and outputs:
        flipped = op.definition.attrs.get("transpose_a") or op.definition.attrs.get("adj_x")
        inner = inputs[0][-2 if flipped else -1]
        return moved + _product(outputs[0]) * inner // MULTIPLY_ADDS_PER_UNIT
    if op.type in CONVOLUTIONS and len(inputs) >= 2:
        sizes = sorted(_product(s) for s in [*inputs, *outputs[:1]])
        return moved + sizes[-1] * max(1, sizes[0]) // MULTIPLY_ADDS_PER_UNIT
    return moved * _SLOW.get(op.type, 1)


def _size(value: Any) -> int:
    size = getattr(value, "size", 0)
    return size if isinstance(size, int) else 0


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(getattr(value, "shape", ()))


def _static(tensor: Any) -> tuple[int, ...]:
    key = tensor.shape.key
    return () if key is None else tuple(1 if d is None else d for d in key)


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product
