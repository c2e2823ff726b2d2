"""Rows of the ops that assign to a slice of a variable."""

import numpy as np

from tests.ops.table import Row

OLD = np.arange(12, dtype=np.float32).reshape(3, 4)


def floats(*values):
    return np.array(values, np.float32)


def vector(*numbers):
    return np.array(numbers, np.int32)


def with_slice(*key):
    def want(old, begin, end, strides, value):
        result = np.array(old)
        result[key] = value
        return result

    return want


def rows(op):
    block = [OLD, vector(1, 0), vector(3, 4), vector(1, 2), floats([-1.0, -2.0], [-3.0, -4.0])]
    want = with_slice(slice(1, 3), slice(0, 4, 2))
    yield Row(op, block, want=want, dtypes=["float32", "int64"])
    one = [OLD, vector(2), vector(3), vector(1), floats(9.0, 8.0, 7.0, 6.0)]
    yield Row(op, one, {"shrink_axis_mask": 1}, id="row", want=with_slice(2))
    spread = [OLD, vector(0, -1), vector(0, -5), vector(1, -1), np.float32(5.0)]
    masks = {"begin_mask": 1, "end_mask": 1}
    yield Row(op, spread, masks, id="spread", want=with_slice(slice(None), slice(None, None, -1)))
    added = [OLD, vector(0, 1), vector(0, 2), vector(1, 1), floats([1.0, 2.0, 3.0, 4.0])]
    yield Row(op, added, {"new_axis_mask": 1}, id="new_axis", want=with_slice(slice(1, 2)))
    whole = [np.float32(3.0), vector(), vector(), vector(), np.float32(4.0)]
    yield Row(op, whole, id="scalar", want=np.float32(4.0))


ROWS = [*rows("StridedSliceAssign"), *rows("ResourceStridedSliceAssign")]
