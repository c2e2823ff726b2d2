"""Rows of matrix ops, special functions, counting and spacing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg
import scipy.special

from tests.ops.table import Row

FLOATS = ["float16", "bfloat16", "float32", "float64"]
REAL = ["float32", "float64"]
MATRICES = ["float32", "float64", "complex64", "complex128"]
A = np.array([[1.0, 2.0, -0.5], [0.5, -1.5, 3.0]])
B = np.array([[2.0, 0.5], [-1.0, 1.5], [0.25, 1.0]])
SQUARE = np.array([[3.0, 0.5, -0.4], [0.7, 2.5, 0.3], [-0.2, 0.6, 4.0]])
SQUARES = np.stack([SQUARE, SQUARE.T + 0.5 * np.eye(3)])
POSITIVE = SQUARE @ SQUARE.T + np.eye(3)
RHS = np.array([[1.0, -2.0], [0.5, 1.5], [2.0, 0.3]])


def product(t_a: bool, t_b: bool) -> Callable[..., Any]:
    return lambda a, b: (a.T if t_a else a) @ (b.T if t_b else b)


def h(x: Any) -> Any:
    return np.conj(np.swapaxes(x, -1, -2))


ROWS = [
    Row(
        "MatMul",
        [A.T if t_a else A, B.T if t_b else B],
        {"transpose_a": t_a, "transpose_b": t_b},
        want=product(t_a, t_b),
        dtypes=[*FLOATS, "complex64", "complex128", "int32", "int64"] if not (t_a or t_b) else REAL,
        id=f"{t_a:d}{t_b:d}",
    )
    for t_a in (False, True)
    for t_b in (False, True)
]
BATCH_A, BATCH_B = np.stack([A, 2 * A - 1]), np.stack([B, B + 1])
ROWS += [
    Row(
        op,
        [h(BATCH_A) if adj_x else BATCH_A, h(BATCH_B) if adj_y else BATCH_B],
        {"adj_x": adj_x, "adj_y": adj_y},
        want=lambda x, y, p=adj_x, q=adj_y: (h(x) if p else x) @ (h(y) if q else y),
        dtypes=["float32", "float64", "complex64"],
        id=f"{adj_x:d}{adj_y:d}",
    )
    for op in ("BatchMatMul", "BatchMatMulV2")
    for adj_x in (False, True)
    for adj_y in (False, True)
]
ROWS += [
    Row("BatchMatMulV2", [BATCH_A, B], want=np.matmul, dtypes=["float64"], id="broadcast"),
    Row(
        "SparseMatMul",
        [A, B.astype(np.float32)],
        {"a_is_sparse": True},
        want=np.matmul,
        dtypes=["float32"],
        vary="Ta",
        grad=False,
    ),
    Row("MatrixInverse", [SQUARE], want=np.linalg.inv, dtypes=MATRICES),
    Row(
        "MatrixInverse",
        [SQUARES],
        {"adjoint": True},
        want=lambda x: np.linalg.inv(h(x)),
        dtypes=REAL,
        id="adjoint",
    ),
    Row("MatrixDeterminant", [SQUARES], want=np.linalg.det, dtypes=MATRICES),
    Row("LogMatrixDeterminant", [SQUARES], want=lambda x: tuple(np.linalg.slogdet(x)), dtypes=REAL),
    Row("MatrixSolve", [SQUARE, RHS], want=np.linalg.solve, dtypes=MATRICES),
    Row(
        "MatrixSolve",
        [SQUARES, np.stack([RHS, RHS])],
        {"adjoint": True},
        want=lambda a, b: np.linalg.solve(h(a), b),
        dtypes=REAL,
        id="adjoint",
    ),
    *(
        Row(
            "MatrixTriangularSolve",
            [SQUARE, RHS],
            {"lower": lower, "adjoint": adjoint},
            want=lambda a, b, p=lower, q=adjoint: scipy.linalg.solve_triangular(
                a, b, trans=2 * q, lower=p
            ),
            dtypes=["float32", "float64", "complex128"],
            id=f"{lower:d}{adjoint:d}",
        )
        for lower in (False, True)
        for adjoint in (False, True)
    ),
    Row("Cholesky", [POSITIVE], want=np.linalg.cholesky, dtypes=MATRICES, grad=False),
]


def is_qr(x: np.ndarray) -> Callable[..., None]:
    def check(q: Any, r: Any) -> None:
        np.testing.assert_allclose(q @ r, x, atol=1e-4)
        np.testing.assert_allclose(h(q) @ q, np.eye(q.shape[-1]), atol=1e-4)
        np.testing.assert_allclose(r, np.triu(r), atol=1e-6)

    return check


def is_svd(x: np.ndarray) -> Callable[..., None]:
    def check(s: Any, u: Any, v: Any) -> None:
        size = s.shape[-1]
        np.testing.assert_allclose(
            (u[..., :size] * s[..., None, :]) @ h(v[..., :size]), x, atol=1e-4
        )
        assert np.all(np.diff(s) <= 0)

    return check


def is_eigen(x: np.ndarray) -> Callable[..., None]:
    def check(e: Any, v: Any) -> None:
        np.testing.assert_allclose(v @ np.diag(e) @ h(v), x, atol=1e-3)
        assert np.all(np.diff(e) >= 0)

    return check


EMPTY = np.zeros([0])
ROWS += [
    Row("Qr", [B], check=is_qr(B), dtypes=REAL),
    Row("Qr", [A], {"full_matrices": True}, check=is_qr(A), dtypes=REAL, id="full", grad=False),
    Row("Svd", [A], check=is_svd(A), dtypes=REAL, grad=False),
    Row("Svd", [B], {"full_matrices": True}, check=is_svd(B), dtypes=REAL, id="full", grad=False),
    Row(
        "Svd",
        [SQUARE],
        {"compute_uv": False},
        want=lambda x: (np.linalg.svd(x, compute_uv=False), EMPTY, EMPTY),
        dtypes=REAL,
        id="values",
    ),
    Row("SelfAdjointEigV2", [POSITIVE], check=is_eigen(POSITIVE), dtypes=REAL, grad=False),
    Row(
        "SelfAdjointEigV2",
        [POSITIVE],
        {"compute_v": False},
        want=lambda x: (np.linalg.eigvalsh(x), EMPTY),
        dtypes=REAL,
        id="values",
    ),
]


def with_diagonal(x: Any, diagonal: Any) -> Any:
    x = x.copy()
    for i in range(diagonal.shape[-1]):
        x[..., i, i] = diagonal[..., i]
    return x


def band(x: Any, lower: Any, upper: Any) -> Any:
    rows, columns = np.indices(x.shape[-2:])
    inside = ((lower < 0) | (rows - columns <= lower)) & ((upper < 0) | (columns - rows <= upper))
    return np.where(inside, x, 0)


ROWS += [
    Row(
        "MatrixDiag",
        [A],
        want=lambda d: np.stack([np.diag(r) for r in d]),
        dtypes=[*REAL, "int32", "bool"],
    ),
    Row(
        "MatrixDiagPart",
        [np.stack([A, A])],
        want=lambda x: np.stack([np.diag(m) for m in x]),
        dtypes=[*REAL, "int32"],
    ),
    Row(
        "MatrixDiagPart",
        [SQUARES],
        want=lambda x: np.stack([np.diag(m) for m in x]),
        dtypes=REAL,
        id="square",
    ),
    Row("MatrixSetDiag", [SQUARES, A], want=with_diagonal, dtypes=[*REAL, "complex64"]),
    Row("MatrixSetDiag", [A, np.array([7.0, 8.0])], want=with_diagonal, dtypes=REAL, id="wide"),
    Row("MatrixSetDiag", [B, np.array([7.0, 8.0])], want=with_diagonal, dtypes=REAL, id="high"),
    *(
        Row(
            "MatrixBandPart",
            [SQUARES, np.int64(low), np.int64(up)],
            want=band,
            dtypes=REAL,
            id=f"{low}:{up}",
        )
        for low, up in ((0, 0), (1, -1), (-1, 1), (2, 0))
    ),
    Row("Diag", [np.array([1.0, 2.0, 3.0])], want=np.diag, dtypes=[*FLOATS, "int32", "complex64"]),
    Row(
        "Diag",
        [A],
        want=lambda d: np.diag(d.reshape(-1)).reshape(2, 3, 2, 3),
        dtypes=REAL,
        id="matrix",
    ),
    Row("DiagPart", [SQUARE], want=np.diag, dtypes=[*REAL, "int32"]),
    Row("Cross", [A, A[::-1]], want=np.cross, dtypes=[*REAL, "int32"]),
]

P = np.array([0.6, 1.4, 2.5])
Q = np.array([0.9, 2.1, 1.7])
ROWS += [
    Row("Igamma", [P, Q], want=scipy.special.gammainc, dtypes=REAL, rtol=1e-5),
    Row("Igammac", [P, Q], want=scipy.special.gammaincc, dtypes=REAL, rtol=1e-5),
    Row("IgammaGradA", [P, Q], check=lambda z: None, dtypes=REAL),
    Row("Zeta", [P + 1, Q], want=scipy.special.zeta, dtypes=REAL, grad=(1,), rtol=1e-5),
    Row(
        "Polygamma",
        [np.array([1.0, 2.0, 1.0]), Q],
        want=scipy.special.polygamma,
        dtypes=REAL,
        grad=(1,),
        rtol=1e-4,
    ),
    Row(
        "Betainc",
        [P, Q, np.array([0.2, 0.5, 0.8])],
        want=scipy.special.betainc,
        dtypes=REAL,
        grad=(2,),
        rtol=1e-4,
    ),
    Row("LinSpace", [1.0, 3.0, 5], want=np.linspace(1.0, 3.0, 5), dtypes=REAL),
    Row("LinSpace", [1.0, 3.0, 1], want=np.array([1.0]), dtypes=REAL, id="one"),
    Row(
        "Bincount",
        [[1, 3, 1, 0, 9], 5, np.zeros([0])],
        want=np.array([1, 2, 0, 1, 0]),
        dtypes=["int32", "float32"],
    ),
    Row(
        "Bincount",
        [[1, 3, 1], 4, [0.5, 2.0, 1.0]],
        want=np.array([0, 1.5, 0, 2.0]),
        dtypes=["float32", "float64"],
        id="weights",
    ),
    Row(
        "HistogramFixedWidth",
        [np.array([-1.0, 0.0, 1.5, 2.0, 5.0, 15.0]), np.array([0.0, 5.0]), 5],
        want=np.array([2, 1, 1, 0, 2]),
        dtypes=REAL,
    ),
    Row(
        "Bucketize",
        [np.array([[-5.0, 10000.0], [150.0, 10.0], [5.0, 100.0]])],
        {"boundaries": [0.0, 10.0, 100.0]},
        want=np.array([[0, 3], [3, 2], [1, 3]]),
        dtypes=[*REAL, "int32", "int64"],
    ),
    Row("ClipByValue", [A, -1.0, 1.5], want=np.clip, dtypes=[*REAL, "int32"]),
    Row("ClipByValue", [A, A - 1, A - 0.5], want=A - 0.5, dtypes=REAL, id="full"),
]
