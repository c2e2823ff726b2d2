"""Rows of Cast and Bitcast."""

from __future__ import annotations

import numpy as np

from tests.ops.table import Row

VALUES = np.array([[0.0, 1.0, 2.6], [-1.7, 100.0, -3.0]])
KINDS = [
    "float32",
    "float64",
    "float16",
    "int8",
    "int16",
    "int32",
    "int64",
    "complex64",
    "complex128",
]

ROWS = [
    Row(
        "Cast",
        [VALUES],
        {"DstT": target},
        want=lambda x, t=target: (
            np.trunc(x.real).astype(t) if np.dtype(t).kind == "i" else x.astype(t)
        ),
        dtypes=[k for k in KINDS if np.dtype(target).kind == "c" or not k.startswith("complex")],
        vary="SrcT",
        id=target,
        rtol=1e-3,
    )
    for target in KINDS
]
ROWS += [
    Row(
        "Cast",
        [np.array([1 + 2j, -3j])],
        {"DstT": "float32"},
        want=np.array([1.0, 0.0]),
        id="real",
        grad=False,
    ),
    Row(
        "Cast",
        [np.array([0.0, 0.5, np.nan])],
        {"DstT": "bool"},
        want=np.array([False, True, True]),
        id="bool",
    ),
    Row(
        "Cast",
        [np.array([True, False])],
        {"DstT": "float32"},
        want=np.array([1.0, 0.0]),
        id="from-bool",
    ),
    Row(
        "Cast",
        [np.array([1.7, -1.7, 3e10, np.nan, np.inf], np.float32)],
        {"DstT": "int32"},
        want=np.array([1, -1, -(2**31), -(2**31), -(2**31)], np.int32),
        id="overflow",
    ),
    Row(
        "Cast",
        [np.array([1.7, -1.7, 300.0], np.float32)],
        {"DstT": "uint8"},
        want=np.array([1, 255, 44], np.uint8),
        id="wrap",
    ),
    Row(
        "Cast",
        [np.array([1.0 + 2**-7 + 2**-8 + 2**-9], np.float32)],
        {"DstT": "bfloat16", "Truncate": True},
        want=np.array([1.0 + 2**-7]),
        rtol=0.0,
        atol=0.0,
        id="truncate",
    ),
    Row(
        "Bitcast",
        [np.array([1.0, -2.5], np.float32)],
        {"type": "int32"},
        want=lambda x: x.view(np.int32),
    ),
    Row(
        "Bitcast",
        [np.array([[1, 2], [3, 4]], np.int16)],
        {"type": "int32"},
        want=lambda x: x.view(np.int32)[:, 0],
        id="wider",
    ),
    Row(
        "Bitcast",
        [np.array([1.5, 2.5], np.float64)],
        {"type": "int32"},
        want=lambda x: x.view(np.int32).reshape(2, 2),
        id="narrower",
    ),
]
