"""Compression of what travels between tasks: nodes on either side of a `_Send` and its `_Recv`.

Rules
  1. Tensors of float32 and float64 are compressed, except for those that are known to be small.
  2. How is said by the attr `_transfer_compression` of a variable (of its reads, and of what is sent to an op that updates
     it) or of any op (of its outputs), else by the session.
  3. "bfloat16" and "float16" are a Cast there and a Cast back. "float16" holds numbers up to 65504: larger ones become that.
  4. "int8" sends whole numbers from -127 to 127 and the size of one, which is the largest magnitude divided by 127.
  5. Only TensorFlow's own ops are used, so that it does not matter which of the two a task is.
Relative to the value the error of "bfloat16" is at most 2^-8, that of "float16" 2^-11 (for magnitudes from 2^-14 on); that of
"int8" is at most 1/254 of the tensor's largest magnitude. Not all of this holds for infinities: see `docs/clusters.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flowmesh.core import dtypes, errors
from flowmesh.core.shapes import TensorShape
from flowmesh.graph import registry
from flowmesh.graph.graph import Graph
from flowmesh.graph.operation import Operation
from flowmesh.graph.tensor import Tensor

ATTR = "_transfer_compression"
KINDS = ("none", "bfloat16", "float16", "int8")
SMALL = 256
"""Tensors with fewer elements travel as they are."""

_READS = frozenset({"Identity", "ReadVariableOp", "Enter", "Switch", "RefSwitch"})
_LEVELS = 127.0
_TINY = 1e-37
_HALF_MAX = 65504.0

Transfer = Callable[[Tensor], Operation]
"""Sends a tensor; returns the op that receives it."""


def check(kind: str) -> str:
    """The kind of compression, "" for none; InvalidArgumentError for one there is not."""
    if kind and kind not in KINDS:
        raise errors.InvalidArgumentError(
            None,
            None,
            f"There is no transfer compression {kind!r}: write one of {', '.join(KINDS)}",
        )
    return "" if kind == "none" else kind


def kind_of(tensor: Tensor, consumer: Operation, usual: str) -> str:
    """How the tensor is compressed on its way to `consumer`, "" for not at all."""
    if tensor.dtype.base_dtype not in (dtypes.float32, dtypes.float64):
        return ""
    elements = tensor.shape.num_elements()
    if elements is not None and elements < SMALL:
        return ""
    found = _marked(tensor.op)
    if found is None:
        updated = (t.op for t in consumer.inputs if _is_variable(t))
        found = next((mark for op in updated if (mark := _marked(op)) is not None), None)
    return usual if found is None else check(found)


def _is_variable(tensor: Tensor) -> bool:
    return tensor.dtype._is_ref_dtype or tensor.dtype == dtypes.resource


def _marked(op: Operation) -> str | None:
    """What the op says, or the variable that it reads."""
    while True:
        mark = op.extra_attrs.get(ATTR)
        if mark is not None:
            return mark.decode() if isinstance(mark, bytes) else str(mark)
        if op.type not in _READS or not op.inputs:
            return None
        op = op.inputs[0].op


def transfer(
    sent: Tensor, kind: str, transfer_one: Transfer, sending: Graph, receiving: Graph
) -> tuple[Operation, Operation]:
    """Sends `sent` compressed.

    Returns the op that reads it, and the op on the other side that has the value again.
    """
    if kind != "int8":
        return _cast(sent, kind, transfer_one, sending, receiving)
    base = sent.dtype.base_dtype
    here = _Builder(sending, sent.op, sent.op.device)
    value = here.add("Identity", [sent], sent.shape, T=base)
    axes = here.add("Range", [here.constant(0), here.add("Rank", [value], [], T=base), here.constant(1)], [None], Tidx=dtypes.int32)  # fmt: skip
    largest = here.add("Max", [here.add("Abs", [value], sent.shape, T=base), axes], [], T=base, Tidx=dtypes.int32, keep_dims=False)  # fmt: skip
    unit = here.add("RealDiv", [largest, here.constant(_LEVELS, base)], [], T=base)
    unit = here.add("Maximum", [unit, here.constant(_TINY, base)], [], T=base)
    steps = here.add("Round", [here.add("RealDiv", [value, unit], sent.shape, T=base)], sent.shape, T=base)  # fmt: skip
    numbers = here.add("Cast", [steps], sent.shape, SrcT=base, DstT=dtypes.int8, Truncate=False)
    received = [transfer_one(numbers), transfer_one(unit)]
    there = _Builder(receiving, sent.op, received[0].device)
    back = there.add("Cast", [received[0].outputs[0]], sent.shape, SrcT=dtypes.int8, DstT=base, Truncate=False)  # fmt: skip
    result = there.add("Mul", [back, received[1].outputs[0]], sent.shape, T=base)
    return value.op, result.op


def _cast(
    sent: Tensor, kind: str, transfer_one: Transfer, sending: Graph, receiving: Graph
) -> tuple[Operation, Operation]:
    base, short = sent.dtype.base_dtype, dtypes.as_dtype(kind)
    here = _Builder(sending, sent.op, sent.op.device)
    value = here.add("Identity", [sent], sent.shape, T=base)
    bounded = value
    if kind == "float16":
        bounded = here.add("Minimum", [bounded, here.constant(_HALF_MAX, base)], sent.shape, T=base)
        bounded = here.add(
            "Maximum", [bounded, here.constant(-_HALF_MAX, base)], sent.shape, T=base
        )
    packed = here.add("Cast", [bounded], sent.shape, SrcT=base, DstT=short, Truncate=False)
    received = transfer_one(packed)
    there = _Builder(receiving, sent.op, received.device)
    result = there.add(
        "Cast", [received.outputs[0]], sent.shape, SrcT=short, DstT=base, Truncate=False
    )
    return value.op, result.op


class _Builder:
    """Adds nodes to one part, on one device."""

    def __init__(self, graph: Graph, origin: Operation, device: str):
        self._graph = graph
        self._origin = origin
        self._device = device

    def add(
        self, op_type: str, inputs: Sequence[Tensor], shape: TensorShape | list[Any], **attrs: Any
    ) -> Tensor:
        """The output of a new node."""
        op = self._graph.create_operation(
            registry.lookup(op_type)(attrs),
            list(inputs),
            self._graph.unique_name(f"{self._origin.name}/_compressed/{op_type}") + "/",
            (),
            self._device,
            [shape if isinstance(shape, TensorShape) else TensorShape(shape)],
        )
        op.device = self._device
        op._frames = self._origin._frames
        return op.outputs[0]

    def constant(self, value: float, dtype: Any = dtypes.int32) -> Tensor:
        """A scalar."""
        array = np.asarray(value, dtype.as_numpy_dtype)
        return self.add("Const", [], [], value=array, dtype=dtype)
