"""Rows of reader ops: they are tested together, on files."""

from tests.ops.table import Row

_SOURCES = ["TextLine", "TFRecord", "WholeFile", "Identity", "FixedLengthRecord"]
_OPERATIONS = [
    "Read",
    "ReadUpTo",
    "NumRecordsProduced",
    "NumWorkUnitsCompleted",
    "Reset",
    "SerializeState",
    "RestoreState",
]
_NAMES = [
    *(f"{source}Reader" for source in _SOURCES),
    *(f"Reader{name}" for name in _OPERATIONS),
]

ROWS = [
    Row(name + suffix, covered_by="tests/ops/test_reader_ops.py")
    for name in _NAMES
    for suffix in ("", "V2")
]
