"""Rows of the control flow, assertion and printing ops: modules of their own test them."""

from __future__ import annotations

from tests.ops.table import Row

CONTROL = "tests/ops/test_array_control.py"

ROWS = [
    Row(op, covered_by=CONTROL)
    for op in (
        "NoOp",
        "ControlTrigger",
        "Abort",
        "Switch",
        "RefSwitch",
        "Merge",
        "RefMerge",
        "RefIdentity",
        "Assert",
        "Print",
        "PrintV2",
        "PyFunc",
        "PyFuncStateless",
    )
]
