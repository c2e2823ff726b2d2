"""Rows of file and checkpoint ops."""

import os

import numpy as np

from tests.ops.table import Row

FILE_TESTS = "tests/ops/test_io_ops.py"
HERE = os.path.dirname(os.path.abspath(__file__)).encode()


def string(value):
    return np.array(value, object)


ROWS = [
    Row("ReadFile", covered_by=FILE_TESTS),
    Row("WriteFile", covered_by=FILE_TESTS),
    Row(
        "MatchingFiles",
        [HERE + b"/rows_i?.py"],
        want=string([HERE + b"/rows_io.py"]),
        loose_shape=True,
    ),
    Row("ShardedFilename", [b"a", 1, 3], want=string(b"a-00001-of-00003")),
    Row("ShardedFilespec", [b"a", 3], want=string(b"a-?????-of-00003")),
    *(Row(op, covered_by=FILE_TESTS) for op in ("Save", "SaveSlices", "Restore", "RestoreSlice")),
    Row("SaveV2", covered_by=FILE_TESTS),
    Row("RestoreV2", covered_by=FILE_TESTS),
    Row("MergeV2Checkpoints", covered_by=FILE_TESTS),
]
