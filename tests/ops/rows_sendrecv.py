"""Rows of the ops that partitioning inserts; none has a kernel of its own."""

from __future__ import annotations

from tests.ops.table import Row

PARTITION = "tests/passes/test_partition.py"
INTERNAL = "tests/passes/test_sendrecv.py"

ROWS = [
    Row("_Send", covered_by=PARTITION),
    Row("_Recv", covered_by=PARTITION),
    *(Row(op, covered_by=INTERNAL) for op in ("_HostSend", "_HostRecv", "_Arg", "_Retval")),
]
