"""Rows of the segment ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.ops.table import Row

X = np.array([[1.0, 2.0], [3.0, 5.0], [4.0, -1.0], [0.5, 2.5]])
WHOLE = np.array([[1, 2], [3, 5], [4, 1], [2, 7]])
SORTED = np.array([0, 0, 2, 2])
MIXED = np.array([2, 0, -1, 2])
FLOATS = ["float32", "float64", "float16"]
MANY = ["float32", "float64", "int32", "int64"]


def by_segment(function: Callable[..., Any], empty: float) -> Callable[..., Any]:
    def want(data: Any, ids: Any, count: Any = None) -> Any:
        size = int(ids.max()) + 1 if count is None else int(count)
        shape = data.shape[np.ndim(ids) :]
        rows = [data[ids == i] for i in range(size)]
        return np.stack(
            [function(r, axis=0) if len(r) else np.full(shape, empty, data.dtype) for r in rows]
        ).astype(data.dtype)

    return want


def chosen(divide: Callable[[int], float], count: int | None = None) -> Callable[..., Any]:
    def want(data: Any, indices: Any, ids: Any, *_: Any) -> Any:
        size = int(ids.max()) + 1 if count is None else count
        result = np.zeros((size, *data.shape[1:]), data.dtype)
        for index, segment in zip(indices, ids):
            result[segment] += data[index] / data.dtype.type(divide(int(np.sum(ids == segment))))
        return result

    return want


ROWS = [
    Row(op, [data, SORTED], want=by_segment(function, empty), dtypes=dtypes, loose_shape=True)
    for op, function, empty, data, dtypes in (
        ("SegmentSum", np.sum, 0, WHOLE, [*MANY, "float16", "complex64"]),
        ("SegmentMean", np.mean, 0, X, FLOATS),
        ("SegmentProd", np.prod, 1, WHOLE, MANY),
        ("SegmentMax", np.max, 0, WHOLE, MANY),
        ("SegmentMin", np.min, 0, WHOLE, MANY),
    )
]
LOWEST = {"float32": -np.finfo(np.float32).max, "float64": -np.finfo(np.float64).max}
ROWS += [
    Row(
        "UnsortedSegmentSum",
        [WHOLE, MIXED, 4],
        want=by_segment(np.sum, 0),
        dtypes=[*MANY, "complex64"],
    ),
    Row(
        "UnsortedSegmentProd",
        [X, MIXED, 4],
        want=by_segment(np.prod, 1),
        dtypes=["float32", "float64"],
    ),
    Row(
        "UnsortedSegmentProd",
        [np.array([0.0, 2.0, 3.0, 0.0, 0.0]), np.array([0, 0, 1, 2, 2]), 3],
        want=np.array([0.0, 3.0, 0.0]),
        dtypes=["float64"],
        id="zeros",
    ),
    *(
        Row(
            op,
            [X, MIXED, 3],
            want=by_segment(function, sign * LOWEST[kind]),
            dtypes=[kind],
            grad_tolerance=1e-4,
        )
        for op, function, sign in (
            ("UnsortedSegmentMax", np.max, 1),
            ("UnsortedSegmentMin", np.min, -1),
        )
        for kind in ("float32", "float64")
    ),
    Row(
        "UnsortedSegmentSum",
        [np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[0, 1], [1, 1]]), 2],
        want=np.array([1.0, 9.0]),
        dtypes=["float64"],
        id="matrix",
    ),
]
INDICES = np.array([3, 0, 0, 2])
TARGETS = np.array([0, 0, 1, 2])
MODES: list[tuple[str, Callable[[int], float]]] = [
    ("SparseSegmentSum", lambda n: 1.0),
    ("SparseSegmentMean", float),
    ("SparseSegmentSqrtN", lambda n: float(np.sqrt(n))),
]
ROWS += [
    row
    for op, divide in MODES
    for row in (
        Row(
            op,
            [X, INDICES, TARGETS],
            want=chosen(divide),
            dtypes=["float32", "float64"],
            loose_shape=True,
        ),
        Row(
            f"{op}WithNumSegments",
            [X, INDICES, TARGETS, np.array(5)],
            want=chosen(divide, 5),
            dtypes=["float32", "float64"],
            loose_shape=True,
        ),
    )
]


def spread(divide: Callable[[int], float]) -> Callable[..., Any]:
    def want(grad: Any, indices: Any, ids: Any, size: Any) -> Any:
        result = np.zeros((int(size), *grad.shape[1:]), grad.dtype)
        for index, segment in zip(indices, ids):
            result[index] += grad[segment] / grad.dtype.type(divide(int(np.sum(ids == segment))))
        return result

    return want


ROWS += [
    Row(
        f"{op}Grad",
        [X[:3], INDICES, TARGETS, 4],
        want=spread(divide),
        dtypes=["float32", "float64"],
        loose_shape=True,
    )
    for op, divide in MODES[1:]
]
