"""Rows of comparisons, logic, selection, arg-extrema and the bitwise ops."""

from __future__ import annotations

import numpy as np

from tests.ops.table import Row

REALS = ["float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8"]
A, B = np.array([[1, 5, 3], [7, 2, 2]]), np.array([[1, 4, 6], [7, 3, 1]])
ROW = np.array([1, 5, 2])
TRUTH = np.array([True, False, True, False])
OTHER = np.array([True, True, False, False])
X = np.array([[0.5, -1.25, 2.0], [3.5, 1.0, -0.75]])
Y = np.array([[1.5, 0.25, -2.0], [0.5, 4.0, 2.25]])
CHOICE = np.array([[True, False, True], [False, False, True]])
BITS = np.array([5, 12, 7, 0])
MORE_BITS = np.array([3, 2, 1, 6])

ROWS = [
    row
    for op, want in (
        ("Less", np.less),
        ("LessEqual", np.less_equal),
        ("Greater", np.greater),
        ("GreaterEqual", np.greater_equal),
        ("Equal", np.equal),
        ("NotEqual", np.not_equal),
    )
    for row in (
        Row(op, [A, B], want=want, dtypes=REALS),
        Row(op, [A, ROW], want=want, dtypes=["float32"], id="broadcast"),
    )
]
ROWS += [
    Row("Equal", [[b"a", b"b"], b"a"], want=np.array([True, False]), id="string"),
    Row("NotEqual", [[b"a", b"b"], b"a"], want=np.array([False, True]), id="string"),
    Row("Equal", [TRUTH, OTHER], want=np.equal, id="bool"),
    Row("Equal", [A * 1j, B * 1j], want=np.equal, dtypes=["complex64", "complex128"]),
    Row(
        "Equal",
        [A, [1.0, 2.0]],
        {"incompatible_shape_error": False},
        want=np.array(False),
        dtypes=["float32"],
        id="incompatible",
    ),
    Row(
        "ApproximateEqual",
        [np.array([1.0, 2.0, 3.0]), np.array([1.05, 2.2, 3.0])],
        {"tolerance": 0.1},
        want=np.array([True, False, True]),
        dtypes=["float32", "float64", "float16"],
    ),
    Row("LogicalAnd", [TRUTH, OTHER], want=np.logical_and),
    Row("LogicalOr", [TRUTH, OTHER], want=np.logical_or),
    Row("LogicalOr", [TRUTH, np.array(False)], want=np.logical_or, id="scalar"),
    Row("LogicalNot", [TRUTH], want=np.logical_not),
    Row(
        "Select", [CHOICE, X, Y], want=np.where, dtypes=["float32", "float64", "int32", "complex64"]
    ),
    Row(
        "Select",
        [np.array([True, False]), X, Y],
        want=np.array([X[0], Y[1]]),
        dtypes=["float64"],
        id="rows",
    ),
    Row("Select", [np.array(True), X, Y], want=X, dtypes=["float64"], id="scalar"),
    Row(
        "Select",
        [np.array([True, False]), [b"a", b"b"], [b"c", b"d"]],
        want=np.array([b"a", b"d"], object),
        id="string",
    ),
    Row("SelectV2", [CHOICE, X, Y], want=np.where, dtypes=["float32", "float64", "int32"]),
    Row(
        "SelectV2",
        [CHOICE[:, :1], X, Y[0]],
        want=np.where,
        dtypes=["float32", "float64"],
        id="broadcast",
    ),
    Row("SelectV2", [CHOICE, 1.5, Y[0]], want=np.where, dtypes=["float64"], id="scalar"),
]
ROWS += [
    Row(
        op,
        [A, axis],
        {"output_type": out},
        want=lambda x, d, f=f, o=out: f(x, int(d)).astype(o),
        dtypes=kinds,
    )
    for op, f in (("ArgMax", np.argmax), ("ArgMin", np.argmin))
    for axis, out, kinds in (
        (0, "int64", REALS),
        (1, "int32", ["float32"]),
        (-1, "int64", ["float32"]),
    )
]
ROWS += [
    Row(
        op,
        [BITS, MORE_BITS],
        want=want,
        dtypes=["int8", "int16", "int32", "int64", "uint8", "uint16"],
    )
    for op, want in (
        ("BitwiseAnd", np.bitwise_and),
        ("BitwiseOr", np.bitwise_or),
        ("BitwiseXor", np.bitwise_xor),
        ("LeftShift", np.left_shift),
        ("RightShift", np.right_shift),
    )
]
ROWS += [Row("Invert", [BITS], want=np.invert, dtypes=["int8", "int16", "int32", "int64", "uint8"])]
