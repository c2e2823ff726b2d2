"""Rows of queue ops: they are tested together, by what goes in and comes out of a queue."""

from tests.ops.table import Row

_OPERATIONS = ["Enqueue", "EnqueueMany", "Dequeue", "DequeueMany", "DequeueUpTo", "Close", "Size"]
_KINDS = ["FIFOQueue", "PaddingFIFOQueue", "RandomShuffleQueue", "PriorityQueue"]
_NAMES = _KINDS + [f"Queue{name}" for name in [*_OPERATIONS, "IsClosed"]]

ROWS = [
    Row(name + suffix, covered_by="tests/ops/test_queue_ops.py")
    for name in _NAMES
    for suffix in ("", "V2")
]
