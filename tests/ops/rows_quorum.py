"""Rows of the ops of synchronous replicas: they are tested together, as a quorum."""

from tests.ops.table import Row

_PARTS = ["", "Reset", "Attend", "Joined", "Finish", "Drained", "Arrive", "Gather", "Advance"]

ROWS = [
    Row(f"ReplicaQuorum{part}", covered_by="tests/ops/test_quorum_ops.py")
    for part in [*_PARTS, "Abort", "Report"]
]
