"""Rows of the reductions and cumulative ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.ops.table import Row

FLOATS = ["float16", "bfloat16", "float32", "float64"]
REALS = [*FLOATS, "int32", "int64", "int8", "uint8"]
NUMBERS = [*REALS, "complex64", "complex128"]
X = np.array([[[1.0, 2.0, 4.0], [3.0, 5.0, 0.5]], [[2.5, 6.0, 1.5], [0.25, 7.0, 3.5]]])
SMALL = np.array([[1, 2, 3], [2, 1, 4]])
TRUTH = np.array([[True, True, False], [True, True, True]])


def over(function: Callable[..., Any], keep: bool = False) -> Callable[..., Any]:
    def want(x: Any, axes: Any) -> Any:
        axis = tuple(np.atleast_1d(axes).tolist())
        return np.asarray(function(x, axis=axis, keepdims=keep)).astype(x.dtype)

    return want


def truncated_mean(x: Any, axis: Any, keepdims: bool) -> Any:
    mean = np.mean(
        x.astype(np.complex128 if x.dtype.kind == "c" else np.float64), axis=axis, keepdims=keepdims
    )
    return np.trunc(mean) if x.dtype.kind in "iu" else mean


def norm(x: Any, axis: Any, keepdims: bool) -> Any:
    return np.sqrt(np.sum(np.abs(x.astype(np.complex128)) ** 2, axis=axis, keepdims=keepdims))


def rows(op: str, function: Callable[..., Any], dtypes: list[str]) -> list[Row]:
    few = ["float32", "float64"]
    return [
        Row(op, [SMALL, [1]], want=over(function), dtypes=dtypes),
        Row(op, [X, [0, 2]], want=over(function), dtypes=few, id="two"),
        Row(op, [X, [0, 1, 2]], want=over(function), dtypes=few, id="all"),
        Row(op, [X, -1], {"keep_dims": True}, want=over(function, True), dtypes=few, id="keep"),
        Row(
            op,
            [X, np.array([], np.int32)],
            want=over(lambda x, axis, keepdims: function(x, axis=axis, keepdims=keepdims)),
            dtypes=few,
            id="none",
        ),
        Row(op, [X, np.array([1], np.int64)], want=over(function), dtypes=few, id="int64"),
    ]


ROWS = [
    *rows("Sum", np.sum, NUMBERS),
    *rows("Mean", truncated_mean, NUMBERS),
    *rows("Prod", np.prod, NUMBERS),
    *rows("Max", np.max, REALS),
    *rows("Min", np.min, REALS),
    *rows("EuclideanNorm", norm, ["float32", "float64", "complex64"]),
    Row(
        "Mean",
        [np.array([-1, -2, -4]), [0]],
        want=np.array(-2),
        dtypes=["int32", "int64"],
        id="negative",
    ),
    Row(
        "Max",
        [np.zeros([0, 2]), [0]],
        want=np.array([-np.inf] * 2),
        dtypes=["float32"],
        id="empty",
        grad=False,
    ),
    Row(
        "Sum", [np.zeros([0, 2]), [0]], want=np.zeros(2), dtypes=["float32"], id="empty", grad=False
    ),
    Row("All", [TRUTH, [1]], want=np.array([False, True])),
    Row("All", [TRUTH, [0, 1]], {"keep_dims": True}, want=np.array([[False]]), id="keep"),
    Row("Any", [~TRUTH, [1]], want=np.array([True, False])),
    Row("Any", [~TRUTH, 0], want=np.array([False, False, True]), id="scalar"),
]


def running(function: Callable[..., Any], exclusive: bool, reverse: bool) -> Callable[..., Any]:
    def want(x: Any, axis: Any) -> Any:
        x = np.moveaxis(x, int(axis), 0)
        x = x[::-1] if reverse else x
        size = x.shape[0]
        parts = [function(x[: i if exclusive else i + 1], axis=0) for i in range(size)]
        result = np.stack(parts)[::-1] if reverse else np.stack(parts)
        return np.moveaxis(result, 0, int(axis)).astype(x.dtype)

    return want


ROWS += [
    Row(
        op,
        [X, axis],
        {"exclusive": exclusive, "reverse": reverse},
        want=running(function, exclusive, reverse),
        dtypes=dtypes,
        id=f"{axis}{exclusive:d}{reverse:d}",
    )
    for op, function in (("Cumsum", np.sum), ("Cumprod", np.prod))
    for axis, exclusive, reverse, dtypes in (
        (0, False, False, ["float32", "float64", "float16", "int32", "complex64"]),
        (2, True, False, ["float32", "float64"]),
        (-1, False, True, ["float32"]),
        (1, True, True, ["float64"]),
    )
]
