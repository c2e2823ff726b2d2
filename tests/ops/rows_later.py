"""Rows of the ops of later releases."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.ops.table import Row

A = np.arange(1.0, 13.0).reshape(3, 4)
BATCH = np.stack([A, -A])
ALIGNMENTS = ("RIGHT_LEFT", "LEFT_RIGHT", "LEFT_LEFT", "RIGHT_RIGHT")
REAL = ["float32", "float64"]


def place(lines: list[list[float]], align: str, low: int, high: int) -> np.ndarray:
    """Diagonals from the highest to the lowest as rows, filled up with 9."""
    above, below = align.split("_")
    longest = max(map(len, lines))
    rows = []
    for line, which in zip(lines, range(high, low - 1, -1)):
        fill = [9.0] * (longest - len(line))
        left = (which >= 0 and above == "LEFT") or (which <= 0 and below == "LEFT")
        rows.append([*line, *fill] if left else [*fill, *line])
    return np.array(rows)


def diagonals(x: np.ndarray, low: int, high: int) -> list[list[float]]:
    return [np.diagonal(x, d).tolist() for d in range(high, low - 1, -1)]


def banded(x: np.ndarray, low: int, high: int, around: Any) -> np.ndarray:
    """The band of a matrix, and something else around it."""
    which = np.arange(x.shape[1])[None, :] - np.arange(x.shape[0])[:, None]
    return np.where((which >= low) & (which <= high), x, around)


SQUARE = np.arange(1.0, 17.0).reshape(4, 4)
ROWS = [
    Row(
        "MatrixDiagPartV3",
        [BATCH, np.array([-2, 2]), 9.0],
        {"align": align},
        want=lambda x, k, p, a=align: np.stack([place(diagonals(m, -2, 2), a, -2, 2) for m in x]),
        dtypes=REAL,
        id=align,
    )
    for align in ALIGNMENTS
]
ROWS += [
    Row(
        "MatrixDiagPartV3",
        [BATCH, np.array(1), 9.0],
        want=lambda x, k, p: np.diagonal(x, 1, 1, 2),
        dtypes=REAL,
        id="one",
    ),
    Row(
        "MatrixDiagV3",
        [np.array([1.0, 2.0, 3.0]), np.array(0), np.array(-1), np.array(-1), 0.0],
        want=lambda d, *others: np.diag(d),
        dtypes=REAL,
        id="plain",
    ),
    Row(
        "MatrixDiagV3",
        [np.array([1.0, 2.0, 3.0]), np.array(-1), np.array(-1), np.array(3), 0.0],
        want=lambda d, *others: np.diag(d, -1)[:, :3],
        dtypes=REAL,
        id="below",
    ),
    Row(
        "MatrixSetDiagV3",
        [A, np.array([7.0, 8.0, 9.0]), np.array(0)],
        want=lambda x, d, k: np.where(np.eye(3, 4) > 0, np.append(d, 0.0), x),
        dtypes=REAL,
        id="plain",
    ),
]
ROWS += [
    Row(
        "MatrixDiagV3",
        [
            place(diagonals(SQUARE, -1, 2), align, -1, 2),
            np.array([-1, 2]),
            np.array(4),
            np.array(4),
            -1.0,
        ],
        {"align": align},
        want=lambda *inputs: banded(SQUARE, -1, 2, -1.0),
        dtypes=REAL,
        id=align,
    )
    for align in ALIGNMENTS
]
ROWS += [
    Row(
        "MatrixSetDiagV3",
        [A * 0.0, place(diagonals(A, -1, 1), align, -1, 1), np.array([-1, 1])],
        {"align": align},
        want=lambda *inputs: banded(A, -1, 1, 0.0),
        dtypes=REAL,
        id=align,
    )
    for align in ALIGNMENTS
]
ROWS += [
    Row(
        "Einsum",
        [inputs],
        {"equation": equation},
        want=lambda xs, e=equation: np.einsum(e, *xs),
        dtypes=["float32", "float64", "complex64"],
        id=name,
    )
    for name, equation, inputs in (
        ("product", "ij,jk->ik", [A, A.T]),
        ("batch", "bij,bkj->bik", [BATCH, BATCH]),
        ("dots", "...ij,jk->...ik", [BATCH, A.T]),
        ("sum", "ij->j", [A]),
        ("trace", "ii->", [SQUARE]),
    )
]
COUNTED = np.array([1, 3, 1, 7])
ROWS += [
    Row(
        "DenseBincount",
        [COUNTED, np.array(5), np.array([], np.float32)],
        want=np.array([0, 2, 0, 1, 0], np.float32),
    ),
    Row(
        "DenseBincount",
        [COUNTED, np.array(4), np.array([0.5, 1.0, 2.0, 4.0], np.float32)],
        want=np.array([0, 2.5, 0, 1.0], np.float32),
        id="weights",
    ),
    Row(
        "DenseBincount",
        [np.array([[0, 0], [2, 1]]), np.array(3), np.array([], np.int32)],
        {"binary_output": True},
        want=np.array([[1, 0, 0], [0, 1, 1]], np.int32),
        id="rows",
    ),
    Row(
        "SparseTensorDenseAdd",
        [np.array([[0, 1], [2, 3], [2, 3]]), np.array([10.0, 20.0, 0.5]), np.array([3, 4]), A],
        want=lambda i, v, s, b: b + np.array([[0, 10, 0, 0], [0] * 4, [0, 0, 0, 20.5]], b.dtype),
        dtypes=["float64", "float32"],
    ),
]
