"""Rows of the ops that loops are made of, TensorArrays and stacks: they are tested together, by what loops do."""

from __future__ import annotations

from tests.ops.table import Row

_FRAMES = ["Enter", "RefEnter", "Exit", "RefExit", "NextIteration", "RefNextIteration", "LoopCond"]
_ARRAYS = ["", "Grad", "Write", "Read", "Gather", "Scatter", "Concat", "Split", "Size", "Close"]
_STACKS = ["StackV2", "StackPushV2", "StackPopV2", "StackCloseV2"]

ROWS = [
    Row(op, covered_by="tests/ops/test_loops.py")
    for op in [*_FRAMES, *(f"TensorArray{name}V3" for name in _ARRAYS), *_STACKS]
]
ROWS += [
    Row(op, covered_by="tests/ops/test_functional_flow.py")
    for op in ("If", "StatelessIf", "Case", "StatelessCase", "While", "StatelessWhile")
]
