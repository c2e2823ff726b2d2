"""Kernels for many records give what the op gives for each of them, bit by bit, or leave it to others."""

from __future__ import annotations

import numpy as np
import pytest

from flowmesh.core import dtypes
from flowmesh.graph.registry import lookup
from flowmesh.ops.row_kernels import ROW_KERNELS

COUNT = 37
SOURCE = np.random.RandomState(3)


def floats(*shape, dtype=np.float32):
    return SOURCE.standard_normal((COUNT, *shape)).astype(dtype)


def ints(*shape, low=-50, high=50, dtype=np.int32):
    return SOURCE.randint(low, high, (COUNT, *shape)).astype(dtype)


def texts(make):
    out = np.empty(COUNT, object)
    out[:] = [make(i) for i in range(COUNT)]
    return out


def const(value, dtype=np.int32):
    return np.array(value, dtype)


class One:
    """An input that is the same for all records."""

    def __init__(self, value, dtype=np.int32):
        self.value = np.array(value, dtype)


CASES = {
    "Add vectors and a scalar": ("Add", {"T": dtypes.float32}, [floats(3), floats()]),
    "Sub of higher rank": ("Sub", {"T": dtypes.float32}, [floats(3), One(np.ones((2, 3)), np.float32)]),
    "Mul rows": ("Mul", {"T": dtypes.float64}, [floats(2, 3, dtype=np.float64), floats(3, dtype=np.float64)]),
    "RealDiv": ("RealDiv", {"T": dtypes.float32}, [floats(), One(3, np.float32)]),
    "Maximum": ("Maximum", {"T": dtypes.int32}, [ints(4), One(0)]),
    "Sqrt": ("Sqrt", {"T": dtypes.float32}, [np.abs(floats(5))]),
    "Equal": ("Equal", {"T": dtypes.int32}, [ints(4, high=-48), One(-49)]),
    "Cast": ("Cast", {"SrcT": dtypes.float32, "DstT": dtypes.int32, "Truncate": False}, [floats(5) * 9]),
    "StringToNumber": ("StringToNumber", {"out_type": dtypes.float32}, [texts(lambda i: b"%d.5e-1" % i)]),
    "Pack scalars": ("Pack", {"T": dtypes.float32, "N": 3, "axis": -1}, [floats(), One(2, np.float32), floats()]),
    "Pack in front": ("Pack", {"T": dtypes.float32, "N": 2, "axis": 0}, [floats(3), floats(3)]),
    "ConcatV2": (
        "ConcatV2",
        {"T": dtypes.float32, "N": 2, "Tidx": dtypes.int32},
        [floats(2, 3), One(np.zeros((2, 1)), np.float32), One(1)],
    ),
    "ConcatV2 backwards": (
        "ConcatV2",
        {"T": dtypes.float32, "N": 2, "Tidx": dtypes.int32},
        [floats(2, 3), floats(1, 3), One(-2)],
    ),
    "ExpandDims": ("ExpandDims", {"T": dtypes.float32, "Tdim": dtypes.int32}, [floats(3), One(0)]),
    "ExpandDims at the end": ("ExpandDims", {"T": dtypes.float32, "Tdim": dtypes.int32}, [floats(3), One(-1)]),
    "Squeeze": ("Squeeze", {"T": dtypes.float32, "squeeze_dims": ()}, [floats(1, 3, 1)]),
    "Squeeze one": ("Squeeze", {"T": dtypes.float32, "squeeze_dims": (-1,)}, [floats(1, 3, 1)]),
    "Reshape": ("Reshape", {"T": dtypes.float32, "Tshape": dtypes.int32}, [floats(6), One([2, -1])]),
    "Reshape to a scalar": ("Reshape", {"T": dtypes.float32, "Tshape": dtypes.int32}, [floats(1), One([])]),
    "Transpose": ("Transpose", {"T": dtypes.float32, "Tperm": dtypes.int32}, [floats(2, 3, 4), One([2, 0, 1])]),
    "StridedSlice": (
        "StridedSlice",
        {"T": dtypes.float32, "Index": dtypes.int32, "begin_mask": 1, "end_mask": 0, "ellipsis_mask": 0, "new_axis_mask": 4, "shrink_axis_mask": 2},
        [floats(5, 4), One([3, 1, 0]), One([-1, 2, 1]), One([2, 1, 1])],
    ),
    "StridedSlice with an ellipsis": (
        "StridedSlice",
        {"T": dtypes.float32, "Index": dtypes.int32, "begin_mask": 0, "end_mask": 2, "ellipsis_mask": 1, "new_axis_mask": 0, "shrink_axis_mask": 0},
        [floats(5, 4), One([0, 1]), One([0, 9]), One([1, 2])],
    ),
    "DecodeCSV": (
        "DecodeCSV",
        {
            "OUT_TYPE": (dtypes.int32, dtypes.string, dtypes.float32),
            "field_delim": b",",
            "use_quote_delim": True,
            "na_value": b"",
            "select_cols": (),
        },
        [texts(lambda i: b'%d,"w,%d",%d.25' % (i, i, i)), One(0), One(b"", object), One(0.5, np.float32)],
    ),
    "DecodeRaw": ("DecodeRaw", {"out_type": dtypes.int16, "little_endian": False}, [texts(lambda i: bytes([i, 1, 2, i]))]),
    "GatherV2": (
        "GatherV2",
        {"Tparams": dtypes.float32, "Tindices": dtypes.int32, "Taxis": dtypes.int32, "batch_dims": 0},
        [One(np.arange(12).reshape(4, 3), np.float32), ints(2, low=0, high=4), One(0)],
    ),
}  # fmt: skip


def outputs_of(result):
    if type(result) is tuple and len(result) == 1 and isinstance(result[0], (list, tuple)):
        (result,) = result
    return list(result) if isinstance(result, (list, tuple)) else [result]


@pytest.mark.parametrize("name", CASES)
def test_many_records_are_what_each_is_alone(name):
    kind, attrs, given = CASES[name]
    definition = lookup(kind)(attrs)
    inputs = [x.value if isinstance(x, One) else x for x in given]
    rows = [not isinstance(x, One) for x in given]
    together = ROW_KERNELS[kind](definition, COUNT, inputs, rows)
    assert together is not None
    for number in range(COUNT):
        record = [x[number, ...] if row else x for x, row in zip(inputs, rows)]
        alone = outputs_of(definition.compute(np, *definition.group_inputs(record)))
        assert len(alone) == len(together)
        for one, all_of_them in zip(alone, together):
            one = np.asarray(one)
            assert all_of_them.shape[1:] == one.shape and all_of_them.dtype == one.dtype
            np.testing.assert_array_equal(all_of_them[number], one)


def test_every_family_of_kernels_is_tried():
    tried = {ROW_KERNELS[kind] for kind, _, _ in CASES.values()}
    assert tried == set(ROW_KERNELS.values())


@pytest.mark.parametrize(
    ("kind", "attrs", "inputs", "rows"),
    [
        ("Reshape", {"T": dtypes.float32, "Tshape": dtypes.int32}, [floats(6), ints(2)], [True, True]),
        ("DecodeRaw", {"out_type": dtypes.uint8, "little_endian": True}, [texts(lambda i: b"x" * i)], [True]),
        ("Pack", {"T": dtypes.float32, "N": 2, "axis": 0}, [floats(3), floats(2)], [True, True]),
        ("Transpose", {"T": dtypes.float32, "Tperm": dtypes.int32}, [floats(2, 3), const([0, 0])], [True, False]),
    ],
)  # fmt: skip
def test_what_differs_from_record_to_record_is_left_to_others(kind, attrs, inputs, rows):
    assert ROW_KERNELS[kind](lookup(kind)(attrs), COUNT, inputs, rows) is None
