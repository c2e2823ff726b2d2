"""Inverses, determinants, linear systems and decompositions of (batches of) matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flowmesh.core import errors
from flowmesh.core.dtypes import COMPLEX, float16, float32, float64, int32
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.ops import kernels
from flowmesh.ops.building import after, constant, name_scope, shape_of, zeros_like
from flowmesh.ops.matmul import matmul
from flowmesh.ops.matrix_functions import adjoint, eye, identity_like, shape_part
from flowmesh.ops.shape_rules import at_least, joined, merge, same_size, square

MATRICES = COMPLEX | {float16, float32, float64}


def _invalid(message: str) -> errors.InvalidArgumentError:
    return errors.InvalidArgumentError(None, None, message)


def _check_square(x: Any) -> None:
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise _invalid(f"Input matrix must be square, got shape {list(x.shape)}")


def _solved(function: Callable[..., Any], message: str, *arrays: Any) -> Any:
    """Runs a linear algebra routine in at least single precision; its failure is an InvalidArgumentError."""
    dtype = arrays[0].dtype
    wide = [a.astype(np.float32) if a.dtype == np.float16 else a for a in arrays]
    try:
        result = function(*wide)
    except np.linalg.LinAlgError:
        raise _invalid(message) from None
    if isinstance(result, tuple):
        return tuple(kernels.as_type(r, dtype) for r in result)
    return kernels.as_type(result, dtype)


def _adjoint(xp: Any, x: Any) -> Any:
    return xp.conj(xp.swapaxes(x, -1, -2))


class MatrixInverse(OpDef):
    """The inverses of square matrices, or of their adjoints."""

    input = Input("T")
    output = Output("T")
    adjoint = Attr("bool", False)
    T = type_attr(MATRICES)

    def infer(self, ctx: Any, input: TensorShape) -> TensorShape:
        batch, size = square(input)
        return joined(batch, size, size)

    def compute(self, xp: Any, input: Any) -> Any:
        _check_square(input)
        matrix = _adjoint(xp, input) if self.attrs["adjoint"] else input
        return _solved(xp.linalg.inv, "Input is not invertible.", matrix)

    def gradient(self, op: Any, grad: Any) -> tuple[Any]:
        inverse = op.outputs[0]
        product = matmul(inverse, matmul(grad, inverse, adjoint_b=True), adjoint_a=True)
        result = raw.Neg(product)
        return (adjoint(result) if op.get_attr("adjoint") else result,)


class MatrixDeterminant(OpDef):
    """The determinants of square matrices."""

    input = Input("T")
    output = Output("T")
    T = type_attr(MATRICES)

    def infer(self, ctx: Any, input: TensorShape) -> TensorShape:
        return square(input)[0]

    def compute(self, xp: Any, input: Any) -> Any:
        _check_square(input)
        return kernels.as_type(xp.asarray(_solved(xp.linalg.det, "", input)), input.dtype)

    def gradient(self, op: Any, grad: Any) -> tuple[Any]:
        inverse = raw.MatrixInverse(op.inputs[0], adjoint=True)
        determinant = op.outputs[0]
        scaled = raw.Mul(grad, determinant, name="mul")
        return (raw.Mul(_as_matrices(scaled, determinant), inverse, name="mul"),)


def _as_matrices(values: Any, like: Any) -> Any:
    """Gives one number per matrix two more axes of size 1."""
    shape = shape_of(like)
    with name_scope("concat") as scope:
        ones = constant(np.array([1, 1], np.int32), int32, "values_1")
        full = raw.ConcatV2([shape, ones], 0, name=scope)
    return raw.Reshape(values, full)


class LogMatrixDeterminant(OpDef):
    """Sign and logarithm of the absolute value of the determinants of square matrices."""

    input = Input("T")
    sign, log_abs_determinant = Output("T"), Output("T")
    T = type_attr(MATRICES)

    def infer(self, ctx: Any, input: TensorShape) -> tuple[TensorShape, TensorShape]:
        batch, _ = square(input)
        return batch, batch

    def compute(self, xp: Any, input: Any) -> Any:
        _check_square(input)
        sign, logarithm = _solved(lambda x: tuple(xp.linalg.slogdet(x)), "", input)
        return sign, logarithm

    def gradient(self, op: Any, _: Any, grad: Any) -> tuple[Any]:
        inverse = raw.MatrixInverse(op.inputs[0], adjoint=True)
        return (raw.Mul(_as_matrices(grad, op.outputs[1]), inverse, name="mul"),)


class MatrixSolve(OpDef):
    """The solutions of `matrix @ x = rhs`."""

    matrix, rhs = Input("T"), Input("T")
    output = Output("T")
    adjoint = Attr("bool", False)
    T = type_attr(MATRICES)

    def infer(self, ctx: Any, matrix: TensorShape, rhs: TensorShape) -> TensorShape:
        return _solution_shape(matrix, rhs)

    def compute(self, xp: Any, matrix: Any, rhs: Any) -> Any:
        _check_square(matrix)
        system = _adjoint(xp, matrix) if self.attrs["adjoint"] else matrix
        return _solved(xp.linalg.solve, "Input matrix is not invertible.", system, rhs)

    def gradient(self, op: Any, grad: Any) -> tuple[Any, Any]:
        a, c = op.inputs[0], op.outputs[0]
        adjoint_a = op.get_attr("adjoint")
        grad_b = raw.MatrixSolve(a, grad, adjoint=not adjoint_a)
        pair = (c, grad_b) if adjoint_a else (grad_b, c)
        return raw.Neg(matmul(*pair, adjoint_b=True)), grad_b


def _solution_shape(matrix: TensorShape, rhs: TensorShape) -> TensorShape:
    batch, size = square(matrix)
    at_least(rhs, 2)
    if rhs.key is None:
        return unknown_shape()
    rows = same_size(size, rhs.key[-2])
    common = merge(batch, TensorShape.from_key(rhs.key[:-2]))
    return joined(common, rows, rhs.key[-1])


class MatrixTriangularSolve(OpDef):
    """The solutions of `matrix @ x = rhs` for triangular matrices; the other triangle is not looked at."""

    matrix, rhs = Input("T"), Input("T")
    output = Output("T")
    lower = Attr("bool", True)
    adjoint = Attr("bool", False)
    T = type_attr(MATRICES)

    def infer(self, ctx: Any, matrix: TensorShape, rhs: TensorShape) -> TensorShape:
        return _solution_shape(matrix, rhs)

    def compute(self, xp: Any, matrix: Any, rhs: Any) -> Any:
        _check_square(matrix)
        triangle = (xp.tril if self.attrs["lower"] else xp.triu)(matrix)
        if kernels.is_numpy(xp):
            system = _adjoint(xp, triangle) if self.attrs["adjoint"] else triangle
            return _solved(np.linalg.solve, "Input matrix is not invertible.", system, rhs)
        from jax import lax

        def solve(a: Any, b: Any) -> Any:
            flags = {"lower": self.attrs["lower"], "transpose_a": self.attrs["adjoint"]}
            return lax.linalg.triangular_solve(
                a, b, left_side=True, conjugate_a=self.attrs["adjoint"], **flags
            )

        return _solved(solve, "", triangle, rhs)

    def gradient(self, op: Any, grad: Any) -> tuple[Any, Any]:
        a, c = op.inputs[0], op.outputs[0]
        adjoint_a, lower = op.get_attr("adjoint"), op.get_attr("lower")
        grad_b = raw.MatrixTriangularSolve(a, grad, lower=lower, adjoint=not adjoint_a)
        pair = (c, grad_b) if adjoint_a else (grad_b, c)
        full = raw.Neg(matmul(*pair, adjoint_b=True))
        band = (-1, 0) if lower else (0, -1)
        return raw.MatrixBandPart(full, *band), grad_b


class Cholesky(OpDef):
    """The lower triangular factors of symmetric positive definite matrices; the upper triangle is not looked at."""

    input = Input("T")
    output = Output("T")
    T = type_attr(MATRICES)

    def infer(self, ctx: Any, input: TensorShape) -> TensorShape:
        batch, size = square(input)
        return joined(batch, size, size)

    def compute(self, xp: Any, input: Any) -> Any:
        _check_square(input)
        message = "Cholesky decomposition was not successful. The input might not be valid."
        if kernels.is_numpy(xp):
            return _solved(np.linalg.cholesky, message, input)
        from jax import lax

        return _solved(
            lambda x: xp.tril(lax.linalg.cholesky(x, symmetrize_input=False)), message, input
        )

    def gradient(self, op: Any, grad: Any) -> tuple[Any]:
        factor = op.outputs[0]
        inverse = raw.MatrixTriangularSolve(factor, identity_like(factor))
        middle = matmul(factor, grad, adjoint_a=True)
        dtype = factor.dtype.base_dtype
        half = raw.Mul(0.5, raw.MatrixDiagPart(middle, name="diag_part"), T=dtype, name="mul")
        middle = raw.MatrixSetDiag(middle, half, name="set_diag")
        middle = raw.MatrixBandPart(middle, -1, 0)
        result = matmul(matmul(inverse, middle, adjoint_a=True), inverse)
        return (raw.Mul(raw.AddV2(result, adjoint(result), name="add"), 0.5, name="mul"),)


def _rectangle(shape: TensorShape) -> tuple[TensorShape, int | None, int | None, int | None]:
    """Batch shape, rows, columns and the smaller of them."""
    at_least(shape, 2)
    if shape.key is None:
        return unknown_shape(), None, None, None
    rows, columns = shape.key[-2:]
    smaller = None if rows is None or columns is None else min(rows, columns)
    return TensorShape.from_key(shape.key[:-2]), rows, columns, smaller


class Qr(OpDef):
    """Matrices as products of an orthogonal and an upper triangular one."""

    input = Input("T")
    q, r = Output("T"), Output("T")
    full_matrices = Attr("bool", False)
    T = type_attr(MATRICES)

    def infer(self, ctx: Any, input: TensorShape) -> tuple[TensorShape, TensorShape]:
        batch, rows, columns, smaller = _rectangle(input)
        inner = rows if self.attrs["full_matrices"] else smaller
        return joined(batch, rows, inner), joined(batch, inner, columns)

    def compute(self, xp: Any, input: Any) -> Any:
        mode = "complete" if self.attrs["full_matrices"] else "reduced"
        return _solved(lambda x: tuple(xp.linalg.qr(x, mode=mode)), "", input)

    def gradient(self, op: Any, grad_q: Any, grad_r: Any) -> tuple[Any]:
        q, r = op.outputs
        if q.dtype.is_complex:
            raise NotImplementedError(f"QrGrad not implemented for dtype: {q.dtype}")
        key = r.shape.key
        if key is None or key[-2] is None or key[-1] is None or key[-2] != key[-1]:
            raise NotImplementedError(
                "QrGrad not implemented when nrows > ncols and full_matrices is true or ncols > nrows."
            )

        def solve(x: Any) -> Any:
            """`x` times the inverse of the adjoint of `r`."""
            return adjoint(raw.MatrixTriangularSolve(r, adjoint(x), lower=False, adjoint=False))

        q_part = matmul(q, grad_q, adjoint_a=True)
        skew_q = raw.Sub(q_part, adjoint(q_part), name="sub")
        r_part = matmul(r, grad_r, adjoint_b=True)
        skew_r = raw.Sub(r_part, adjoint(r_part), name="sub")
        lower = raw.MatrixBandPart(raw.AddV2(skew_q, skew_r, name="add"), -1, 0)
        inside = matmul(q, raw.AddV2(grad_r, solve(lower), name="add"))
        outside = solve(raw.Sub(grad_q, matmul(q, q_part), name="sub"))
        return (raw.AddV2(inside, outside, name="add"),)


class Svd(OpDef):
    """Singular values of matrices, and their left and right singular vectors."""

    input = Input("T")
    s, u, v = Output("T"), Output("T"), Output("T")
    compute_uv = Attr("bool", True)
    full_matrices = Attr("bool", False)
    T = type_attr(MATRICES)

    def infer(self, ctx: Any, input: TensorShape) -> tuple[TensorShape, ...]:
        batch, rows, columns, smaller = _rectangle(input)
        values = joined(batch, smaller)
        if not self.attrs["compute_uv"]:
            return values, TensorShape([0]), TensorShape([0])
        full = self.attrs["full_matrices"]
        left, right = (rows, columns) if full else (smaller, smaller)
        return values, joined(batch, rows, left), joined(batch, columns, right)

    def compute(self, xp: Any, input: Any) -> Any:
        full, vectors = self.attrs["full_matrices"], self.attrs["compute_uv"]

        def decompose(x: Any) -> Any:
            if not vectors:
                values = xp.linalg.svd(x, compute_uv=False)
                empty = xp.zeros([0], x.dtype)
                return values.astype(x.dtype), empty, empty
            u, s, vh = xp.linalg.svd(x, full_matrices=full)
            return s.astype(x.dtype), u, _adjoint(xp, vh)

        return _solved(decompose, "Singular value decomposition did not converge.", input)

    def gradient(self, op: Any, grad_s: Any, grad_u: Any, grad_v: Any) -> tuple[Any]:
        x = op.inputs[0]
        spread = raw.MatrixDiag(grad_s, name="diag")
        if not op.get_attr("compute_uv"):
            _, u, v = raw.Svd(x, compute_uv=True)
            return (matmul(u, matmul(spread, v, adjoint_b=True)),)
        _check_svd_shapes(op)
        rows, columns = x.shape.key[-2:]
        s, u, v = op.outputs
        flip = rows > columns
        if flip:
            u, v, grad_u, grad_v = v, u, grad_v, grad_u
        with after(grad_s, grad_u, grad_v):
            result = _svd_gradient(s, u, v, spread, grad_u, grad_v, min(rows, columns))
        return (adjoint(result) if flip else result,)


def _check_svd_shapes(op: Any) -> None:
    if op.inputs[0].dtype.is_complex:
        raise NotImplementedError("SVD gradient is not implemented for complex matrices.")
    key = op.inputs[0].shape.key
    if key is None or key[-2] is None or key[-1] is None:
        raise NotImplementedError(
            "SVD gradient has not been implemented for input with unknown inner matrix shape."
        )
    if op.get_attr("full_matrices") and abs(key[-2] - key[-1]) > 1:
        raise NotImplementedError(
            "svd gradient is not implemented for abs(m - n) > 1 when full_matrices is True"
        )


def _svd_gradient(s: Any, u: Any, v: Any, spread: Any, grad_u: Any, grad_v: Any, size: int) -> Any:
    """The gradient for matrices that are not higher than wide."""
    values = raw.MatrixDiag(s, name="diag")
    squares = raw.Square(s)
    shape = shape_of(s)
    count = shape_part(shape, -1, 0, shrink_axis_mask=1)
    batch = shape_part(shape, 0, -1, begin_mask=1)
    ones = eye(count, batch_shape=batch, dtype=s.dtype.base_dtype)
    columns_of = raw.ExpandDims(squares, -2)
    gaps = raw.Sub(columns_of, raw.ExpandDims(squares, -1), name="sub")
    gaps = raw.Reciprocal(raw.AddV2(gaps, ones, name="add"))
    f = raw.MatrixSetDiag(gaps, zeros_like(s), name="set_diag")
    inverse = raw.MatrixDiag(raw.Reciprocal(s), name="diag")
    v1, grad_v1 = _columns(v, 0, size), _columns(grad_v, 0, size)
    u_part = matmul(u, grad_u, adjoint_a=True)
    v_part = matmul(v1, grad_v1, adjoint_a=True)
    turn_u = raw.Mul(f, u_part, name="mul")
    turn_v = raw.Mul(f, v_part, name="mul")
    total = raw.AddV2(
        spread, matmul(raw.AddV2(turn_u, adjoint(turn_u), name="add"), values), name="add"
    )
    other = matmul(values, raw.AddV2(turn_v, adjoint(turn_v), name="add"))
    total = raw.AddV2(total, other, name="add")
    columns = v.shape.key[-2]
    if columns == size:
        return matmul(u, matmul(total, v1, adjoint_b=True))
    inside = matmul(total, v1, adjoint_b=True)
    weighted = matmul(inverse, grad_v1, adjoint_b=True)
    outside = raw.Sub(weighted, matmul(matmul(weighted, v1), v1, adjoint_b=True), name="sub")
    if v.shape.key[-1] > size:
        extra, grad_extra = _columns(v, size, columns), _columns(grad_v, size, columns)
        mixed = matmul(
            matmul(inverse, matmul(v1, grad_extra, adjoint_a=True)), extra, adjoint_b=True
        )
        outside = raw.Sub(outside, mixed, name="sub")
    return matmul(u, raw.AddV2(inside, outside, name="add"))


def _columns(x: Any, begin: int, end: int) -> Any:
    """The columns [begin, end) of matrices, as a strided slice `x[..., :, begin:end]`."""
    with name_scope("strided_slice") as scope:
        bounds = [
            constant(np.array(value, np.int32), int32, name)
            for name, value in (
                ("stack", [0, 0, begin]),
                ("stack_1", [0, 0, end]),
                ("stack_2", [1, 1, 1]),
            )
        ]
        return raw.StridedSlice(
            x, *bounds, begin_mask=2 if begin else 6, end_mask=2, ellipsis_mask=1, name=scope
        )


class SelfAdjointEigV2(OpDef):
    """Eigenvalues, in increasing order, and eigenvectors of self-adjoint matrices; only the lower triangle is looked at."""

    input = Input("T")
    e, v = Output("T"), Output("T")
    compute_v = Attr("bool", True)
    T = type_attr(MATRICES)

    def infer(self, ctx: Any, input: TensorShape) -> tuple[TensorShape, TensorShape]:
        batch, size = square(input)
        vectors = joined(batch, size, size) if self.attrs["compute_v"] else TensorShape([0])
        return joined(batch, size), vectors

    def compute(self, xp: Any, input: Any) -> Any:
        _check_square(input)

        def decompose(x: Any) -> Any:
            lower = xp.tril(x)
            whole = lower + _adjoint(xp, xp.tril(x, -1))
            if not self.attrs["compute_v"]:
                return xp.linalg.eigvalsh(whole).astype(x.dtype), xp.zeros([0], x.dtype)
            values, vectors = xp.linalg.eigh(whole)
            return values.astype(x.dtype), vectors

        return _solved(decompose, "Self-adjoint eigen decomposition was not successful.", input)

    def gradient(self, op: Any, grad_e: Any, grad_v: Any) -> tuple[Any]:
        e, v = op.outputs
        dtype = e.dtype.base_dtype
        with after(grad_e, grad_v):
            if op.get_attr("compute_v"):
                gaps = raw.Sub(raw.ExpandDims(e, -2), raw.ExpandDims(e, -1), name="sub")
                f = raw.MatrixSetDiag(raw.Reciprocal(gaps), zeros_like(e), name="set_diag")
                spread = raw.MatrixDiag(grad_e, name="diag")
                turn = raw.Mul(f, matmul(v, grad_v, adjoint_a=True), name="mul")
                inner = matmul(raw.AddV2(spread, turn, name="add"), v, adjoint_b=True)
                grad = matmul(v, inner)
            else:
                _, v = raw.SelfAdjointEigV2(op.inputs[0], compute_v=True)
                grad = matmul(v, matmul(raw.MatrixDiag(grad_e, name="diag"), v, adjoint_b=True))
            # Only the lower triangle is read, so only it has a gradient.
            lower = raw.MatrixBandPart(raw.AddV2(grad, adjoint(grad), name="add"), -1, 0)
            diagonal = raw.MatrixDiagPart(lower, name="diag_part")
            half = raw.Mul(0.5, diagonal, T=dtype, name="mul")
            return (raw.MatrixSetDiag(lower, half, name="set_diag"),)
