"""Matrix products, single and batched."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from flowmesh.core import errors
from flowmesh.core.dtypes import COMPLEX, FLOATS, bfloat16, float32, int32, int64
from flowmesh.core.shapes import TensorShape, broadcast_shapes, unknown_shape
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.ops import kernels
from flowmesh.ops.array_support import brackets
from flowmesh.ops.building import conj, name_scope, shape_of, static_shape, sum_to
from flowmesh.ops.shape_rules import at_least, merge, same_size, with_rank

PRODUCTS = FLOATS | COMPLEX | {int32, int64}


def multiply_matrices(xp: Any, a: Any, b: Any) -> Any:
    """`a @ b` in their dtype; 16-bit floats are added up in 32 bits."""
    with np.errstate(all="ignore"):
        if kernels.is_numpy(xp):
            if a.dtype.itemsize == 2:
                return np.matmul(a.astype(np.float32), b.astype(np.float32)).astype(a.dtype)
            return np.matmul(a, b)
        if kernels.is_integer(a):
            return xp.matmul(a, b)
        return xp.matmul(a, b, precision="highest")


def _transposed(xp: Any, x: Any) -> Any:
    return xp.swapaxes(x, -1, -2)


class MatMul(OpDef):
    """Matrix product of `a` and `b`, either of them optionally transposed."""

    a, b = Input("T"), Input("T")
    product = Output("T")
    transpose_a = Attr("bool", False)
    transpose_b = Attr("bool", False)
    T = type_attr(PRODUCTS)

    def infer(self, ctx: Any, a: TensorShape, b: TensorShape) -> TensorShape:
        rows, inner_a = _matrix_sizes(a, self.attrs["transpose_a"])
        inner_b, columns = _matrix_sizes(b, self.attrs["transpose_b"])
        same_size(inner_a, inner_b)
        return TensorShape.from_key((rows, columns))

    def compute(self, xp: Any, a: Any, b: Any) -> Any:
        if a.ndim != 2 or b.ndim != 2:
            which, shape = ("0", a.shape) if a.ndim != 2 else ("1", b.shape)
            raise errors.InvalidArgumentError(
                None, None, f"In[{which}] is not a matrix. Instead it has shape {list(shape)}"
            )
        left = a.T if self.attrs["transpose_a"] else a
        right = b.T if self.attrs["transpose_b"] else b
        if left.shape[1] != right.shape[0]:
            raise errors.InvalidArgumentError(
                None,
                None,
                f"Matrix size-incompatible: In[0]: [{a.shape[0]},{a.shape[1]}], "
                f"In[1]: [{b.shape[0]},{b.shape[1]}]",
            )
        return multiply_matrices(xp, left, right)

    def gradient(self, op: Any, grad: Any) -> tuple[Any, Any]:
        t_a, t_b = op.get_attr("transpose_a"), op.get_attr("transpose_b")
        a, b = conj(op.inputs[0]), conj(op.inputs[1])
        if not t_a and not t_b:
            first = raw.MatMul(grad, b, transpose_b=True)
            return first, raw.MatMul(a, grad, transpose_a=True)
        if not t_a:
            first = raw.MatMul(grad, b)
            return first, raw.MatMul(grad, a, transpose_a=True)
        if not t_b:
            first = raw.MatMul(b, grad, transpose_b=True)
            return first, raw.MatMul(a, grad)
        first = raw.MatMul(b, grad, transpose_a=True, transpose_b=True)
        return first, raw.MatMul(grad, a, transpose_a=True, transpose_b=True)


def _matrix_sizes(shape: TensorShape, transposed: bool) -> tuple[int | None, int | None]:
    key = with_rank(shape, 2).key or (None, None)
    return (key[1], key[0]) if transposed else (key[0], key[1])


class _BatchMatMul(OpDef, abstract=True):
    """Matrix products over leading batch dimensions."""

    x, y = Input("T"), Input("T")
    output = Output("T")
    T = type_attr(PRODUCTS)
    adj_x = Attr("bool", False)
    adj_y = Attr("bool", False)
    broadcasts: ClassVar[bool]

    def infer(self, ctx: Any, x: TensorShape, y: TensorShape) -> TensorShape:
        at_least(x, 2)
        at_least(y, 2)
        if x.key is None or y.key is None:
            return unknown_shape()
        rows, inner_x = self._sizes(x, self.attrs["adj_x"])
        inner_y, columns = self._sizes(y, self.attrs["adj_y"])
        join = broadcast_shapes if type(self).broadcasts else merge
        batch = join(TensorShape.from_key(x.key[:-2]), TensorShape.from_key(y.key[:-2]))
        same_size(inner_x, inner_y)
        return batch.concatenate(TensorShape.from_key((rows, columns)))

    @staticmethod
    def _sizes(shape: TensorShape, adjoint: bool) -> tuple[int | None, int | None]:
        key = (shape.key or ())[-2:]
        return (key[1], key[0]) if adjoint else (key[0], key[1])

    def compute(self, xp: Any, x: Any, y: Any) -> Any:
        left = xp.conj(_transposed(xp, x)) if self.attrs["adj_x"] else x
        right = xp.conj(_transposed(xp, y)) if self.attrs["adj_y"] else y
        if left.shape[-1] != right.shape[-2]:
            raise errors.InvalidArgumentError(
                None,
                None,
                f"In[0] mismatch In[1] shape: {left.shape[-1]} vs. {right.shape[-2]}: "
                f"{brackets(x.shape)} {brackets(y.shape)} {int(self.attrs['adj_x'])} {int(self.attrs['adj_y'])}",
            )
        return multiply_matrices(xp, left, right)


def _batch_gradients(op: Any, grad: Any) -> tuple[Any, Any]:
    x, y = op.inputs
    adj_x, adj_y = op.get_attr("adj_x"), op.get_attr("adj_y")
    if not adj_x and not adj_y:
        first = matmul(grad, y, adjoint_b=True)
        return first, matmul(x, grad, adjoint_a=True)
    if not adj_x:
        first = matmul(grad, y)
        return first, matmul(grad, x, adjoint_a=True)
    if not adj_y:
        first = matmul(y, grad, adjoint_b=True)
        return first, matmul(x, grad)
    first = matmul(y, grad, adjoint_a=True, adjoint_b=True)
    return first, matmul(grad, x, adjoint_a=True, adjoint_b=True)


class BatchMatMul(_BatchMatMul):
    """Matrix products of batches of one shape."""

    broadcasts = False

    def gradient(self, op: Any, grad: Any) -> tuple[Any, Any]:
        return _batch_gradients(op, grad)


class BatchMatMulV2(_BatchMatMul):
    """Matrix products of batches that broadcast against each other."""

    broadcasts = True

    def gradient(self, op: Any, grad: Any) -> tuple[Any, Any]:
        x, y = op.inputs
        grad_x, grad_y = _batch_gradients(op, grad)
        known_x, known_y = static_shape(x), static_shape(y)
        if known_x is not None and known_x == known_y:
            return grad_x, grad_y
        sx, sy = shape_of(x), shape_of(y)
        rx, ry = raw.BroadcastGradientArgs(_batch_part(sx), _batch_part(sy))
        return sum_to(grad_x, rx, sx), sum_to(grad_y, ry, sy)


def _batch_part(shape: Any) -> Any:
    """All but the last two entries of a shape tensor."""
    with name_scope("strided_slice") as scope:
        begin = np.array([0], np.int32)
        end = np.array([-2], np.int32)
        with_names = [
            convert_to_tensor(begin, name="stack"),
            convert_to_tensor(end, name="stack_1"),
            convert_to_tensor(np.array([1], np.int32), name="stack_2"),
        ]
        return raw.StridedSlice(shape, *with_names, begin_mask=1, name=scope)


class SparseMatMul(OpDef):
    """Matrix product of matrices with many zeros, as float32."""

    a, b = Input("Ta"), Input("Tb")
    product = Output(float32)
    transpose_a = Attr("bool", False)
    transpose_b = Attr("bool", False)
    a_is_sparse = Attr("bool", False)
    b_is_sparse = Attr("bool", False)
    Ta = type_attr({float32, bfloat16}, float32)
    Tb = type_attr({float32, bfloat16}, float32)

    def infer(self, ctx: Any, a: TensorShape, b: TensorShape) -> TensorShape:
        rows, inner_a = _matrix_sizes(a, self.attrs["transpose_a"])
        inner_b, columns = _matrix_sizes(b, self.attrs["transpose_b"])
        same_size(inner_a, inner_b)
        return TensorShape.from_key((rows, columns))

    def compute(self, xp: Any, a: Any, b: Any) -> Any:
        a, b = a.astype(np.float32), b.astype(np.float32)
        left = a.T if self.attrs["transpose_a"] else a
        right = b.T if self.attrs["transpose_b"] else b
        return multiply_matrices(xp, left, right)

    def gradient(self, op: Any, grad: Any) -> tuple[Any, Any]:
        a, b = op.inputs
        t_a, t_b = op.get_attr("transpose_a"), op.get_attr("transpose_b")
        a_sparse, b_sparse = op.get_attr("a_is_sparse"), op.get_attr("b_is_sparse")
        grad_sparse = grad.op.type == "ReluGrad"

        def product(x: Any, xs: bool, y: Any, ys: bool, dtype: Any, tx: bool, ty: bool) -> Any:
            made = matmul(x, y, tx, ty, a_is_sparse=xs, b_is_sparse=ys)
            return raw.Cast(made, DstT=dtype) if made.dtype != dtype else made

        to_a, to_b = a.dtype.base_dtype, b.dtype.base_dtype
        if not t_a and not t_b:
            first = product(grad, grad_sparse, b, b_sparse, to_a, False, True)
            return first, product(a, a_sparse, grad, grad_sparse, to_b, True, False)
        if not t_a:
            first = product(grad, grad_sparse, b, b_sparse, to_a, False, False)
            return first, product(grad, grad_sparse, a, a_sparse, to_b, True, False)
        if not t_b:
            first = product(b, b_sparse, grad, grad_sparse, to_a, False, True)
            return first, product(a, a_sparse, grad, grad_sparse, to_b, False, False)
        first = product(b, b_sparse, grad, grad_sparse, to_a, True, True)
        return first, product(grad, grad_sparse, a, a_sparse, to_b, True, True)


def matmul(
    a: Any,
    b: Any,
    transpose_a: bool = False,
    transpose_b: bool = False,
    adjoint_a: bool = False,
    adjoint_b: bool = False,
    a_is_sparse: bool = False,
    b_is_sparse: bool = False,
    name: str | None = None,
) -> Any:
    """The matrix product of `a` and `b` (TensorFlow: `tf.matmul`).

    `a`: [..., n, k], `b`: [..., k, m], of one float, complex, int32 or int64 dtype; batch dimensions broadcast. Each may be
    transposed, or conjugated and transposed, first. Returns [..., n, m]. Raises ValueError for sizes that do not fit and for
    transposing and adjoining the same argument.
    """
    with name_scope(name, "MatMul", [a, b]) as scope:
        if transpose_a and adjoint_a:
            raise ValueError("Only one of transpose_a and adjoint_a can be True.")
        if transpose_b and adjoint_b:
            raise ValueError("Only one of transpose_b and adjoint_b can be True.")
        a = convert_to_tensor(a, name="a")
        b = convert_to_tensor(b, dtype_hint=a.dtype.base_dtype, name="b")
        ranks = a.shape.ndims, b.shape.ndims
        sparse = a_is_sparse or b_is_sparse
        if not sparse and any(r is None or r > 2 for r in ranks):
            return _batched(a, b, transpose_a, transpose_b, adjoint_a, adjoint_b, scope)
        if adjoint_a:
            a, transpose_a = conj(a), True
        if adjoint_b:
            b, transpose_b = conj(b), True
        small = {bfloat16, float32}
        if sparse and a.dtype.base_dtype in small and b.dtype.base_dtype in small:
            return raw.SparseMatMul(
                a,
                b,
                transpose_a=transpose_a,
                transpose_b=transpose_b,
                a_is_sparse=a_is_sparse,
                b_is_sparse=b_is_sparse,
                name=scope,
            )
        return raw.MatMul(a, b, transpose_a=transpose_a, transpose_b=transpose_b, name=scope)


def _batched(a: Any, b: Any, t_a: bool, t_b: bool, adj_a: bool, adj_b: bool, scope: str) -> Any:
    if t_a:
        a, adj_a = conj(a), True
    if t_b:
        b, adj_b = conj(b), True
    return raw.BatchMatMulV2(a, b, adj_x=adj_a, adj_y=adj_b, name=scope)


def sparse_matmul(
    a: Any,
    b: Any,
    transpose_a: bool = False,
    transpose_b: bool = False,
    a_is_sparse: bool = False,
    b_is_sparse: bool = False,
    name: str | None = None,
) -> Any:
    """The float32 product of float32 or bfloat16 matrices with many zeros (TensorFlow: `tf.sparse_matmul`)."""
    return raw.SparseMatMul(
        a,
        b,
        transpose_a=transpose_a,
        transpose_b=transpose_b,
        a_is_sparse=a_is_sparse,
        b_is_sparse=b_is_sparse,
        name=name,
    )
