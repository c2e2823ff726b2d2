"""Rows of the ops that slice, gather, scatter, reverse and pick."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.ops.table import Row

A = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
M = np.array([[1.0, -2.0, 3.0], [4.0, 5.5, -6.0]], np.float32)
KINDS = ("float16", "float32", "float64", "int32", "complex64", "bool")
FIVE = np.array([3, 1, 3, 2, 1], np.int32)


def ints(*values: Any) -> np.ndarray:
    return np.array(values, np.int32)


def scattered(indices: np.ndarray, updates: np.ndarray, shape: np.ndarray) -> np.ndarray:
    out = np.zeros(shape, updates.dtype)
    np.add.at(out, tuple(indices.T), updates)
    return out


def put(sign: int) -> Any:
    """A reference for the TensorScatter family: 0 writes, +-1 adds."""

    def reference(tensor: np.ndarray, indices: np.ndarray, updates: np.ndarray) -> np.ndarray:
        out = tensor.copy()
        for at, value in zip(indices, updates):
            out[tuple(at)] = value if sign == 0 else out[tuple(at)] + sign * value
        return out

    return reference


def reversed_rows(x: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return np.stack([np.concatenate([row[:n][::-1], row[n:]]) for row, n in zip(x, lengths)])


def back_in_place(shape: Any, begin: Any, end: Any, strides: Any, dy: np.ndarray) -> np.ndarray:
    out = np.zeros(shape, dy.dtype)
    out[0:2:1, 2:0:-1] = dy
    return out


def largest(x: np.ndarray, k: Any = 2) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(-x.astype(np.float64), -1, kind="stable")[..., : int(k)]
    return np.take_along_axis(x, order, -1), order.astype(np.int32)


MASKED = {"begin_mask": 1, "end_mask": 1, "ellipsis_mask": 2, "shrink_axis_mask": 4}
PLACES = np.array([[0, 1], [1, 2], [0, 1]], np.int32)
UNIQUE_PLACES = PLACES[:2]

ROWS = [
    Row(
        "Slice",
        [A, ints(0, 1, 1), ints(2, -1, 2)],
        want=lambda x, b, s: x[0:2, 1:, 1:3],
        dtypes=KINDS,
    ),
    Row(
        "StridedSlice",
        [A, ints(0, 2, 1), ints(2, 0, 4), ints(1, -1, 2)],
        want=lambda x, *_: x[0:2, 2:0:-1, 1:4:2],
        dtypes=KINDS,
    ),
    Row(
        "StridedSlice",
        [A, ints(0, 0, -1), ints(0, 0, 0), ints(1, 1, 1)],
        MASKED,
        id="masks",
        want=lambda x, *_: x[:, ..., -1],
    ),
    Row(
        "StridedSlice",
        [M, ints(0, 0), ints(0, 1), ints(1, 1)],
        {"new_axis_mask": 1},
        id="newaxis",
        want=lambda x, *_: x[None, 0:1],
    ),
    Row(
        "StridedSliceGrad",
        [ints(2, 3), ints(0, 2), ints(2, 0), ints(1, -1), M[:, :2]],
        want=back_in_place,
    ),
    Row(
        "StridedSliceGrad",
        [ints(3, 4), ints(1, 1), ints(3, 4), ints(1, 1), M],
        id="dense",
        want=np.pad(M, [(1, 0), (1, 0)]),
    ),
    Row("Gather", [A, ints(1, 0, 1)], want=lambda x, i: x[i], dtypes=KINDS, vary="Tparams"),
    Row(
        "GatherV2",
        [A, np.array([[2, 0]], np.int64), np.int32(1)],
        want=lambda x, i, a: np.take(x, i, 1),
        dtypes=KINDS,
        vary="Tparams",
    ),
    Row(
        "GatherV2",
        [A, ints([2, 0], [1, 1]), np.int32(2)],
        {"batch_dims": 1},
        id="batch",
        want=lambda x, i, a: np.stack([x[b][:, i[b]] for b in range(2)]),
        vary="Tparams",
    ),
    Row("GatherNd", [A, PLACES], want=lambda x, i: x[tuple(i.T)], dtypes=KINDS, vary="Tparams"),
    Row(
        "ScatterNd",
        [PLACES, A[0][:, :2], ints(2, 3, 2)],
        want=scattered,
        dtypes=("float32", "int32"),
    ),
    Row("TensorScatterAdd", [M, PLACES, np.float32([1, 2, 3])], want=put(1)),
    Row("TensorScatterSub", [M, PLACES, np.float32([1, 2, 3])], want=put(-1)),
    Row("TensorScatterUpdate", [M, UNIQUE_PLACES, np.float32([8, 9])], want=put(0)),
    Row("ScatterNdNonAliasingAdd", [M, PLACES, np.float32([1, 2, 3])], want=put(1)),
    Row("Reverse", [A, np.array([True, False, True])], want=lambda x, d: x[::-1, :, ::-1]),
    Row("ReverseV2", [A, ints(-1, 0)], want=lambda x, a: x[::-1, :, ::-1], dtypes=KINDS),
    Row("ReverseSequence", [A, np.array([3, 2], np.int64)], {"seq_dim": 1}, want=reversed_rows),
    # -- sizes that depend on values ------------------------------------------------------------
    Row("Where", [M > 0], want=np.argwhere, loose_shape=True),
    Row(
        "Where",
        [np.float32([[0, 2], [3, 0]])],
        id="float",
        want=np.argwhere,
        loose_shape=True,
    ),
    Row("Unique", [FIVE], want=(ints(3, 1, 2), ints(0, 1, 0, 2, 1)), loose_shape=True),
    Row(
        "UniqueV2",
        [np.stack([FIVE, FIVE]), np.array([1], np.int64)],
        want=(ints([3, 1, 2], [3, 1, 2]), ints(0, 1, 0, 2, 1)),
        loose_shape=True,
    ),
    Row(
        "UniqueWithCounts",
        [FIVE],
        want=(ints(3, 1, 2), ints(0, 1, 0, 2, 1), ints(2, 2, 1)),
        loose_shape=True,
    ),
    Row(
        "UniqueWithCountsV2",
        [FIVE, np.array([0], np.int64)],
        want=(ints(3, 1, 2), ints(0, 1, 0, 2, 1), ints(2, 2, 1)),
        loose_shape=True,
    ),
    Row("ListDiff", [FIVE, ints(1)], want=(ints(3, 3, 2), ints(0, 2, 3)), loose_shape=True),
    Row(
        "DynamicPartition",
        [M.T, ints(1, 0, 1)],
        {"num_partitions": 3},
        want=lambda x, p: tuple(x[p == i] for i in range(3)),
        loose_shape=True,
    ),
    Row(
        "DynamicStitch",
        [[ints(2, 0), ints([1, 2])], [M, M[None] * 10]],
        want=np.stack([M[1], M[0] * 10, M[1] * 10]),
        grad=False,  # the gradient does not know which of two equal indices won
    ),
    Row("ParallelDynamicStitch", [[ints(2, 0), ints(1)], [M, M[:1]]], want=M[[1, 0, 0]]),
    Row("TopK", [A[0]], {"k": 2}, want=largest),
    Row(
        "TopKV2", [np.float32([[1, 5, 3, 5], [9, 2, 8, 1]]), np.int32(3)], want=largest, grad=False
    ),
    Row("TopKV2", [M, np.int32(2)], id="gradient", want=largest, dtypes=("float32", "int32")),
    Row(
        "SparseToDense",
        [ints([0, 1], [1, 2]), ints(2, 3), np.float32([4, 5]), np.float32(-1)],
        want=np.float32([[-1, 4, -1], [-1, -1, 5]]),
        loose_shape=True,
    ),
]
