"""Diagonals and bands of matrices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flowmesh.core import errors
from flowmesh.core.dtypes import COMPLEX, FLOATS, int32, int64
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph.op_def import Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.ops.building import constant, zeros_like
from flowmesh.ops.shape_rules import at_least, merge, same_size

DIAGONALS = FLOATS | COMPLEX | {int32, int64}


def _minimum(x: int | None, y: int | None) -> int | None:
    if x == 0 or y == 0:
        return 0
    return None if x is None or y is None else min(x, y)


def _on_diagonal(xp: Any, rows: int, columns: int) -> Any:
    return np.arange(rows)[:, None] == np.arange(columns)[None, :]


class MatrixDiag(OpDef):
    """Square matrices with the given diagonals and zeros elsewhere."""

    diagonal = Input("T")
    output = Output("T")
    T = type_attr()

    def infer(self, ctx: Any, diagonal: TensorShape) -> TensorShape:
        at_least(diagonal, 1)
        return unknown_shape() if diagonal.key is None else diagonal.concatenate(diagonal[-1:])

    def compute(self, xp: Any, diagonal: Any) -> Any:
        size = diagonal.shape[-1]
        zero = xp.zeros([], diagonal.dtype)
        return xp.where(_on_diagonal(xp, size, size), diagonal[..., None], zero)

    def gradient(self, op: Any, grad: Any) -> tuple[Any]:
        return (raw.MatrixDiagPart(grad, name="diag_part"),)


class MatrixDiagPart(OpDef):
    """The diagonals of matrices."""

    input = Input("T")
    diagonal = Output("T")
    T = type_attr()

    def infer(self, ctx: Any, input: TensorShape) -> TensorShape:
        at_least(input, 2)
        if input.key is None:
            return unknown_shape()
        return TensorShape.from_key((*input.key[:-2], _minimum(input.key[-2], input.key[-1])))

    def compute(self, xp: Any, input: Any) -> Any:
        return xp.diagonal(input, axis1=-2, axis2=-1)

    def gradient(self, op: Any, grad: Any) -> tuple[Any]:
        key = op.inputs[0].shape.key
        if key is not None and key[-2] is not None and key[-2] == key[-1]:
            return (raw.MatrixDiag(grad, name="diag"),)
        return (raw.MatrixSetDiag(zeros_like(op.inputs[0]), grad, name="set_diag"),)


class MatrixSetDiag(OpDef):
    """Matrices with their diagonals replaced."""

    input, diagonal = Input("T"), Input("T")
    output = Output("T")
    T = type_attr()

    def infer(self, ctx: Any, input: TensorShape, diagonal: TensorShape) -> TensorShape:
        at_least(input, 2)
        at_least(diagonal, 1)
        if input.key is None:
            return input
        smaller = _minimum(input.key[-2], input.key[-1])
        batch = TensorShape.from_key(input.key[:-2])
        merged = merge(diagonal, batch.concatenate(TensorShape([smaller])))
        return TensorShape.from_key((merged.key or ())[:-1] + input.key[-2:])

    def compute(self, xp: Any, input: Any, diagonal: Any) -> Any:
        rows, columns = input.shape[-2:]
        if diagonal.shape != (*input.shape[:-2], min(rows, columns)):
            raise errors.InvalidArgumentError(
                None,
                None,
                f"must have diagonal.shape == input.shape[:-2] + min(input.shape[-2:]), but received "
                f"input shape: {list(input.shape)} and diagonal shape: {list(diagonal.shape)}",
            )
        index = np.minimum(np.arange(rows), max(min(rows, columns) - 1, 0))
        spread = diagonal[..., index][..., None] if min(rows, columns) else input
        return xp.where(_on_diagonal(xp, rows, columns), spread, input)

    def gradient(self, op: Any, grad: Any) -> tuple[Any, Any]:
        input_shape = merge(op.inputs[0].shape, grad.shape)
        diagonal_shape = op.inputs[1].shape
        if input_shape.key is not None:
            smaller = _minimum(input_shape.key[-2], input_shape.key[-1])
            batch = TensorShape.from_key(input_shape.key[:-2])
            diagonal_shape = merge(diagonal_shape, batch.concatenate(TensorShape([smaller])))
        dtype = grad.dtype.base_dtype
        if diagonal_shape.is_fully_defined():
            zeros = constant(
                np.zeros(diagonal_shape.as_list(), dtype.as_numpy_dtype), dtype, "zeros"
            )
        else:
            zeros = zeros_like(op.inputs[1])
        grad_input = raw.MatrixSetDiag(grad, zeros, name="set_diag")
        return grad_input, raw.MatrixDiagPart(grad, name="diag_part")


class MatrixBandPart(OpDef):
    """Matrices with everything outside a central band set to zero."""

    input = Input("T")
    num_lower, num_upper = Input("Tindex"), Input("Tindex")
    band = Output("T")
    T = type_attr()
    Tindex = type_attr({int32, int64}, int64)

    def infer(
        self, ctx: Any, input: TensorShape, lower: TensorShape, upper: TensorShape
    ) -> TensorShape:
        return input

    def compute(self, xp: Any, input: Any, num_lower: Any, num_upper: Any) -> Any:
        if input.ndim < 2:
            raise errors.InvalidArgumentError(
                None, None, f"input must be at least 2-dim, received shape: {list(input.shape)}"
            )
        rows, columns = input.shape[-2:]
        below = np.arange(rows)[:, None] - np.arange(columns)[None, :]
        inside = ((num_lower < 0) | (below <= num_lower)) & (
            (num_upper < 0) | (-below <= num_upper)
        )
        return xp.where(inside, input, xp.zeros([], input.dtype))

    def gradient(self, op: Any, grad: Any) -> tuple[Any, None, None]:
        return raw.MatrixBandPart(grad, op.inputs[1], op.inputs[2]), None, None


class Diag(OpDef):
    """A tensor of twice the rank, with the input on its diagonal."""

    diagonal = Input("T")
    output = Output("T")
    T = type_attr(DIAGONALS)

    def infer(self, ctx: Any, diagonal: TensorShape) -> TensorShape:
        at_least(diagonal, 1)
        return unknown_shape() if diagonal.key is None else diagonal.concatenate(diagonal)

    def compute(self, xp: Any, diagonal: Any) -> Any:
        return xp.reshape(xp.diag(xp.reshape(diagonal, (-1,))), diagonal.shape * 2)

    def gradient(self, op: Any, grad: Any) -> tuple[Any]:
        return (raw.DiagPart(grad),)


class DiagPart(OpDef):
    """The diagonal of a tensor of even rank whose two halves have one shape."""

    input = Input("T")
    diagonal = Output("T")
    T = type_attr(DIAGONALS)

    def infer(self, ctx: Any, input: TensorShape) -> TensorShape:
        if input.key is None:
            return unknown_shape()
        rank = len(input.key)
        if rank % 2 or not rank:
            raise ValueError(f"Input must have even and non-zero rank, input rank is {rank}")
        half = rank // 2
        return TensorShape.from_key(
            tuple(same_size(p, q) for p, q in zip(input.key[:half], input.key[half:]))
        )

    def compute(self, xp: Any, input: Any) -> Any:
        shape = input.shape[: input.ndim // 2]
        size = math.prod(shape)
        return xp.reshape(xp.diagonal(xp.reshape(input, (size, size))), shape)

    def gradient(self, op: Any, grad: Any) -> tuple[Any]:
        return (raw.Diag(grad),)


# -- public functions -----------------------------------------------------------------------------------


def matrix_diag(diagonal: Any, name: str | None = "diag") -> Any:
    """Square matrices [..., n, n] with `diagonal` [..., n] and zeros elsewhere (TensorFlow: `tf.matrix_diag`)."""
    return raw.MatrixDiag(diagonal, name=name)


def matrix_diag_part(input: Any, name: str | None = "diag_part") -> Any:
    """The diagonals [..., min(m, n)] of matrices [..., m, n] (TensorFlow: `tf.matrix_diag_part`)."""
    return raw.MatrixDiagPart(input, name=name)


def matrix_set_diag(input: Any, diagonal: Any, name: str | None = "set_diag") -> Any:
    """Matrices [..., m, n] with their diagonals [..., min(m, n)] replaced (TensorFlow: `tf.matrix_set_diag`)."""
    return raw.MatrixSetDiag(input, diagonal, name=name)


def matrix_band_part(input: Any, num_lower: Any, num_upper: Any, name: str | None = None) -> Any:
    """Matrices [..., m, n] with zeros outside the band of `num_lower` diagonals below and `num_upper` above the main one;
    a negative number keeps them all (TensorFlow: `tf.matrix_band_part`).
    """
    return raw.MatrixBandPart(input, num_lower, num_upper, name=name)


def diag(diagonal: Any, name: str | None = None) -> Any:
    """A tensor of shape `s + s` with `diagonal` of shape `s` on its diagonal (TensorFlow: `tf.diag`)."""
    return raw.Diag(diagonal, name=name)


def diag_part(input: Any, name: str | None = None) -> Any:
    """The diagonal, of shape `s`, of a tensor of shape `s + s` (TensorFlow: `tf.diag_part`)."""
    return raw.DiagPart(input, name=name)
