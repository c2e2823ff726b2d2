"""Public functions on matrices that are built from other ops: transposes, `eye`, `trace`, `norm`, decompositions."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core.dtypes import as_dtype, float32, int32
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.building import constant, filled, name_scope, shape_of
from flowmesh.ops.fill import ones, zeros
from flowmesh.ops.math_functions import abs as absolute, conj
from flowmesh.ops.reduce_functions import reduce_max, reduce_sum
from flowmesh.ops.transpose import transpose

# -- transposes ------------------------------------------------------------------------------------------


def matrix_transpose(a: Any, name: str | None = "matrix_transpose", conjugate: bool = False) -> Any:
    """Matrices [..., m, n] with their last two axes exchanged (TensorFlow: `tf.matrix_transpose`).

    Raises ValueError for a tensor of rank below 2.
    """
    with name_scope(name, "matrix_transpose", [a]):
        a = convert_to_tensor(a, name="a")
        rank = a.shape.ndims
        if rank is not None:
            if rank < 2:
                raise ValueError(
                    f"Argument 'a' should be a (batch) matrix, with rank >= 2.  Found: {a.shape}"
                )
            order: Any = [*range(rank - 2), rank - 1, rank - 2]
            return transpose(a, perm=order, conjugate=conjugate)
        count = raw.Rank(a)
        before = raw.Range(0, raw.Sub(count, 2, name="sub"), 1, name="Range")
        last, other = raw.Sub(count, 1, name="sub"), raw.Sub(count, 2, name="sub")
        with name_scope("concat") as scope:
            swapped = raw.Pack([last, other], name="values_1")
            order = raw.ConcatV2([before, swapped], 0, name=scope)
        return transpose(a, perm=order, conjugate=conjugate)


def adjoint(matrix: Any, name: str | None = None) -> Any:
    """Matrices [..., m, n] transposed and conjugated (TensorFlow: `tf.linalg.adjoint`)."""
    with name_scope(name, "adjoint", [matrix]):
        matrix = convert_to_tensor(matrix, name="matrix")
        return matrix_transpose(matrix, conjugate=matrix.dtype.is_complex)


# -- identity matrices -------------------------------------------------------------------------------------


def shape_part(vector: Any, begin: int, end: int, **masks: int) -> Any:
    """A slice of a shape vector, as a strided slice node."""
    with name_scope("strided_slice") as scope:
        bounds = [
            constant(np.array([value], np.int32), int32, name)
            for name, value in (("stack", begin), ("stack_1", end), ("stack_2", 1))
        ]
        return raw.StridedSlice(vector, *bounds, name=scope, **masks)


def identity_like(matrix: Tensor) -> Any:
    """Identity matrices of the size, batch shape and dtype of `matrix`, built for whatever shape it has at run time."""
    size = shape_part(shape_of(matrix), -1, 0, shrink_axis_mask=1)
    batch = shape_part(shape_of(matrix), 0, -2, begin_mask=1)
    return eye(size, batch_shape=batch, dtype=matrix.dtype.base_dtype)


def _joined(batch: Any, sizes: list[Any], name: str) -> Any:
    """A batch shape followed by sizes, as TensorFlow concatenates them."""
    with name_scope(name) as scope:
        if any(isinstance(s, Tensor) for s in sizes):
            packed = _packed(sizes, "values_1")
        else:
            packed = constant(np.array(sizes, np.int32), int32, "values_1")
        return raw.ConcatV2([batch, packed], 0, name=scope)


def _packed(sizes: list[Any], name: str) -> Any:
    with name_scope(name) as scope:
        items = [
            s if isinstance(s, Tensor) else constant(np.array(s, np.int32), int32, str(i))
            for i, s in enumerate(sizes)
        ]
        return raw.Pack(items, name=scope)


def eye(
    num_rows: Any,
    num_columns: Any = None,
    batch_shape: Any = None,
    dtype: Any = float32,
    name: str | None = None,
) -> Any:
    """Identity matrices [*batch_shape, num_rows, num_columns] of `dtype` (TensorFlow: `tf.eye`).

    `num_columns` defaults to `num_rows`. Sizes may be ints or integer scalar tensors.
    """
    kind = as_dtype(dtype)
    with name_scope(name, "eye", [num_rows, num_columns, batch_shape]):
        is_square = num_columns is None
        columns = num_rows if num_columns is None else num_columns
        known = all(not isinstance(v, Tensor) for v in (num_rows, columns, batch_shape))
        if known:
            batch = [int(n) for n in (() if batch_shape is None else batch_shape)]
            smaller = min(int(num_rows), int(columns))
            diagonal = ones([*batch, smaller], dtype=kind)
            if int(num_rows) == int(columns):
                return raw.MatrixDiag(diagonal, name="diag")
            empty = zeros([*batch, int(num_rows), int(columns)], dtype=kind)
            return raw.MatrixSetDiag(empty, diagonal, name="set_diag")
        smaller = raw.Minimum(num_rows, columns)
        if not isinstance(batch_shape, Tensor):
            sizes = np.array(() if batch_shape is None else batch_shape, np.int32)
            batch_shape = constant(sizes, int32, "shape")
        diagonal_shape = _joined(batch_shape, [smaller], "concat")
        if is_square:
            return raw.MatrixDiag(filled(diagonal_shape, 1, kind, "ones"), name="diag")
        full_shape = _joined(batch_shape, [num_rows, columns], "concat")
        diagonal = filled(diagonal_shape, 1, kind, "ones")
        empty = filled(full_shape, 0, kind, "zeros")
        return raw.MatrixSetDiag(empty, diagonal, name="set_diag")


# -- trace and norms ---------------------------------------------------------------------------------------


def trace(x: Any, name: str | None = None) -> Any:
    """The sums of the diagonals of matrices [..., m, n] (TensorFlow: `tf.trace`)."""
    with name_scope(name, "Trace", [x]) as scope:
        x = convert_to_tensor(x, name="x")
        return reduce_sum(raw.MatrixDiagPart(x, name="diag_part"), [-1], name=scope)


def norm(
    tensor: Any,
    ord: Any = "euclidean",
    axis: Any = None,
    keepdims: bool | None = None,
    name: str | None = None,
    keep_dims: bool | None = None,
) -> Any:
    """The norm of vectors (one `axis`, or all elements when None) or matrices (two) (TensorFlow: `tf.norm`).

    `ord`: "euclidean", 1, 2, numpy.inf or any positive number for vectors; "euclidean", "fro", 1, 2, numpy.inf for matrices.
    Returns a tensor without `axis`, or with size 1 there when `keepdims`. Raises ValueError for another `ord` or `axis`.
    """
    if keep_dims is not None:
        if keepdims is not None:
            raise ValueError("Cannot specify both 'keep_dims' and 'keepdims'")
        keepdims = keep_dims
    matrix = isinstance(axis, (list, tuple)) and len(axis) == 2
    _check_norm(ord, axis, matrix)
    with name_scope(name, "norm", [tensor]):
        tensor = convert_to_tensor(tensor)
        result = _norm_kept(tensor, ord, axis, matrix)
        if keepdims:
            return result
        axes = None if axis is None else list(axis) if isinstance(axis, (list, tuple)) else [axis]
        return raw.Squeeze(result, squeeze_dims=axes) if axes else raw.Squeeze(result)


def _check_norm(ord: Any, axis: Any, matrix: bool) -> None:
    if matrix:
        if axis[0] == axis[1]:
            raise ValueError("'axis' must be None, an integer, or a tuple of 2 unique integers")
        supported = ["euclidean", "fro", 1, 2, np.inf]
        if ord not in supported:
            raise ValueError(f"'ord' must be a supported matrix norm in {supported}, got {ord}")
        return
    if isinstance(axis, (list, tuple)) and len(axis) != 1:
        raise ValueError("'axis' must be None, an integer, or a tuple of 2 unique integers")
    if (isinstance(ord, str) and ord != "euclidean") or (not isinstance(ord, str) and ord <= 0):
        raise ValueError(f"'ord' must be a supported vector norm, got {ord}")


def _norm_kept(tensor: Any, ord: Any, axis: Any, matrix: bool) -> Any:
    """The norm with its axes kept at size 1."""
    axes: Any = None
    if axis is not None:
        axes = list(axis) if isinstance(axis, (list, tuple)) else [axis]
    if ord in ("fro", "euclidean", 2, 2.0):
        if matrix and ord in (2, 2.0):
            return _spectral_norm(tensor, axes)
        squares = raw.Mul(tensor, conj(tensor), name="mul")
        return raw.Sqrt(reduce_sum(squares, axes, keepdims=True))
    magnitude = absolute(tensor)
    if ord == 1:
        total = reduce_sum(magnitude, None if axes is None else axes[0], keepdims=True)
        return reduce_max(total, axes[1], keepdims=True) if matrix else total
    if ord == np.inf:
        if matrix:
            magnitude = reduce_sum(magnitude, axes[1], keepdims=True)
            return reduce_max(magnitude, axes[0], keepdims=True)
        return reduce_max(magnitude, axes, keepdims=True)
    powers = raw.Pow(magnitude, ord)
    return raw.Pow(reduce_sum(powers, axes, keepdims=True), 1.0 / ord)


def _spectral_norm(tensor: Any, axes: list[int]) -> Any:
    """The largest singular value of the matrices in two axes."""
    rank = tensor.shape.ndims
    if rank is None:
        raise ValueError("The 2-norm of matrices needs a tensor of known rank")
    normal = [a % rank for a in axes]
    order = [i for i in range(rank) if i not in normal] + normal
    values = raw.Svd(raw.Transpose(tensor, order, name="transpose"), compute_uv=False)[0]
    largest = reduce_max(absolute(values), -1, keepdims=True)
    back = [order.index(i) for i in range(rank)]
    return raw.Transpose(raw.ExpandDims(largest, -1), back, name="transpose")


# -- systems and decompositions -------------------------------------------------------------------------


def matrix_inverse(input: Any, adjoint: bool = False, name: str | None = None) -> Any:
    """The inverses of square matrices [..., n, n], or of their adjoints (TensorFlow: `tf.matrix_inverse`).

    The kernel raises InvalidArgumentError for a matrix that has none.
    """
    return raw.MatrixInverse(input, adjoint=adjoint, name=name)


def matrix_determinant(input: Any, name: str | None = None) -> Any:
    """The determinants [...] of square matrices [..., n, n] (TensorFlow: `tf.matrix_determinant`)."""
    return raw.MatrixDeterminant(input, name=name)


def slogdet(input: Any, name: str | None = None) -> Any:
    """Sign and log of the absolute value of the determinants of square matrices (TensorFlow: `tf.linalg.slogdet`)."""
    return raw.LogMatrixDeterminant(input, name=name)


def logdet(matrix: Any, name: str | None = None) -> Any:
    """The log of the determinants of Hermitian positive definite matrices (TensorFlow: `tf.linalg.logdet`)."""
    with name_scope(name, "logdet", [matrix]):
        diagonal = raw.MatrixDiagPart(raw.Cholesky(matrix), name="diag_part")
        logs = raw.Log(raw.Real(diagonal) if diagonal.dtype.is_complex else diagonal)
        return raw.Mul(2.0, reduce_sum(logs, [-1]), T=logs.dtype.base_dtype, name="mul")


def matrix_solve(matrix: Any, rhs: Any, adjoint: bool = False, name: str | None = None) -> Any:
    """`x` with `matrix @ x = rhs`, for [..., n, n] and [..., n, k] (TensorFlow: `tf.matrix_solve`)."""
    return raw.MatrixSolve(matrix, rhs, adjoint=adjoint, name=name)


def matrix_triangular_solve(
    matrix: Any, rhs: Any, lower: bool = True, adjoint: bool = False, name: str | None = None
) -> Any:
    """`x` with `matrix @ x = rhs` for triangular matrices [..., n, n] (TensorFlow: `tf.matrix_triangular_solve`)."""
    return raw.MatrixTriangularSolve(matrix, rhs, lower=lower, adjoint=adjoint, name=name)


def cholesky(input: Any, name: str | None = None) -> Any:
    """The lower triangular factors of positive definite matrices [..., n, n] (TensorFlow: `tf.cholesky`)."""
    return raw.Cholesky(input, name=name)


def cholesky_solve(chol: Any, rhs: Any, name: str | None = None) -> Any:
    """`x` with `A @ x = rhs`, from the Cholesky factor of `A` (TensorFlow: `tf.cholesky_solve`)."""
    with name_scope(name, "cholesky_solve", [chol, rhs]):
        half = raw.MatrixTriangularSolve(chol, rhs, adjoint=False, lower=True)
        return raw.MatrixTriangularSolve(chol, half, adjoint=True, lower=True)


def qr(input: Any, full_matrices: bool = False, name: str | None = None) -> Any:
    """`(q, r)`: orthogonal times upper triangular, for matrices [..., m, n] (TensorFlow: `tf.qr`)."""
    return raw.Qr(input, full_matrices=full_matrices, name=name)


def svd(
    tensor: Any, full_matrices: bool = False, compute_uv: bool = True, name: str | None = None
) -> Any:
    """`(s, u, v)` of matrices [..., m, n], singular values falling; only `s` when not `compute_uv` (TensorFlow: `tf.svd`)."""
    s, u, v = raw.Svd(tensor, compute_uv=compute_uv, full_matrices=full_matrices, name=name)
    return (s, u, v) if compute_uv else s


def self_adjoint_eig(tensor: Any, name: str | None = None) -> Any:
    """Eigenvalues, rising, and eigenvectors of self-adjoint matrices (TensorFlow: `tf.self_adjoint_eig`)."""
    e, v = raw.SelfAdjointEigV2(tensor, compute_v=True, name=name)
    return e, v


def self_adjoint_eigvals(tensor: Any, name: str | None = None) -> Any:
    """Eigenvalues, rising, of self-adjoint matrices (TensorFlow: `tf.self_adjoint_eigvals`)."""
    return raw.SelfAdjointEigV2(tensor, compute_v=False, name=name)[0]
